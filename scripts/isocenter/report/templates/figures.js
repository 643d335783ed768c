// Marks say what they are on hovering, on focus and by arrow keys; a legend's entry sets its own marks apart.
// Without scripts the same words are the marks' own titles.
"use strict";
(function () {
  var tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.appendChild(tip);
  function show(mark, x, y) {
    tip.textContent = mark.getAttribute("data-tip");
    if (mark.closest("a[href]")) {
      var more = document.createElement("span");
      more.textContent = "Enter or click: where it comes from";
      tip.appendChild(more);
    }
    tip.hidden = false;
    var wide = document.documentElement.clientWidth, box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 12, wide - box.width - 4)) + "px";
    tip.style.top = (y + 16 + box.height > window.innerHeight ? Math.max(4, y - box.height - 10) : y + 16) + "px";
  }
  function hide() { tip.hidden = true; }
  function markOf(node) { return node.closest ? node.closest("[data-tip]") || node.querySelector("[data-tip]") : null; }

  document.querySelectorAll(".drawing").forEach(function (box) {
    var stops = [];
    box.querySelectorAll("svg title").forEach(function (title) {
      var mark = title.parentNode, link = mark.closest("a[href]"), stop = link || mark, words = title.textContent;
      mark.setAttribute("data-tip", words);
      mark.removeChild(title);
      if (stop.hasAttribute("aria-label")) { return; }
      stop.setAttribute("aria-label", words);
      if (!link) { stop.setAttribute("role", "img"); }
      stop.setAttribute("tabindex", "-1");
      stops.push(stop);
    });
    if (!stops.length) { return; }
    box.setAttribute("aria-description", "Arrow keys step through the marks.");
    box.addEventListener("pointermove", function (event) {
      var mark = event.target.closest("[data-tip]");
      if (mark) { show(mark, event.clientX, event.clientY); } else { hide(); }
    });
    box.addEventListener("pointerleave", hide);
    box.addEventListener("focusin", function (event) {
      var mark = event.target === box ? null : markOf(event.target);
      if (!mark) { hide(); return; }
      var place = mark.getBoundingClientRect();
      show(mark, place.right - 8, place.bottom - 12);
    });
    box.addEventListener("focusout", hide);
    box.addEventListener("keydown", function (event) {
      var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") { hide(); box.focus(); return; }
      if (!step && event.key !== "Home" && event.key !== "End") { return; }
      var at = stops.indexOf(document.activeElement);
      var next = event.key === "Home" ? 0 : event.key === "End" ? stops.length - 1 :
        at < 0 ? (step > 0 ? 0 : stops.length - 1) : (at + step + stops.length) % stops.length;
      event.preventDefault();
      stops[next].focus();
    });
  });

  document.querySelectorAll("p.legend").forEach(function (legend) {
    var drawing = legend.previousElementSibling;
    if (!drawing || !drawing.querySelector("[data-group]")) { return; }
    Array.from(legend.children).forEach(function (entry) {
      var button = document.createElement("button"), name = entry.getAttribute("data-name");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.title = "Set " + name + " apart";
      while (entry.firstChild) { button.appendChild(entry.firstChild); }
      entry.appendChild(button);
      button.addEventListener("click", function () {
        var on = button.getAttribute("aria-pressed") !== "true";
        legend.querySelectorAll("button").forEach(function (b) { b.setAttribute("aria-pressed", "false"); });
        button.setAttribute("aria-pressed", String(on));
        drawing.querySelectorAll("[data-group]").forEach(function (mark) {
          mark.classList.toggle("dim", on && mark.getAttribute("data-group") !== name);
        });
      });
    });
  });
}());
