// Opens every page of TODO in the frame, tries what a reader would try, and writes down what happened.
"use strict";
var frame = document.querySelector("iframe"), found = [], at = -1;

function brightness(color) {
  var part = color.match(/[\d.]+/g).map(Number).slice(0, 3).map(function (c) {
    c /= 255;
    return c <= 0.03928 ? c / 12.92 : Math.pow((c + 0.055) / 1.055, 2.4);
  });
  return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
}
function contrastOf(view, node) {
  var style = view.getComputedStyle(node), behind = node, ground = "rgb(255, 255, 255)";
  while (behind) {
    var color = view.getComputedStyle(behind).backgroundColor;
    if (!/^rgba\(.*, 0\)$|^transparent$/.test(color)) { ground = color; break; }
    behind = behind.parentElement;
  }
  var a = brightness(style.color), b = brightness(ground);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
function key(cell) { var s = cell.getAttribute("data-sort"); return s === null ? cell.textContent.trim() : s; }
function isSorted(values) {
  var numbers = values.map(Number);
  return values.every(function (v, i) {
    if (i === 0) { return true; }
    if (isNaN(numbers[i])) { return true; }
    return !isNaN(numbers[i - 1]) && numbers[i - 1] <= numbers[i];
  });
}
function tryTable(box, view, said) {
  var table = box.querySelector("table"), body = table.tBodies[0], n = body.rows.length;
  Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
    var before = Array.from(body.rows).map(function (r) { return key(r.cells[column]); });
    head.querySelector("button").click();
    var after = Array.from(body.rows).map(function (r) { return key(r.cells[column]); });
    if (head.getAttribute("aria-sort") !== "ascending") { said.push("not marked as sorted: " + head.textContent); }
    if (before.slice().sort().join("\n") !== after.slice().sort().join("\n")) { said.push("rows lost: " + head.textContent); }
    if (head.classList.contains("num") && !isSorted(after)) { said.push("not sorted: " + head.textContent); }
  });
  var filter = box.querySelector("input[type=search]");
  if (filter) {
    var wanted = body.rows[n - 1].cells[0].textContent.trim();
    filter.value = wanted;
    filter.dispatchEvent(new view.Event("input"));
    var shown = Array.from(body.rows).filter(function (r) { return !r.hidden; });
    if (!shown.length || shown.some(function (r) { return r.textContent.toLowerCase().indexOf(wanted.toLowerCase()) < 0; })) {
      said.push("not filtered: " + box.getAttribute("data-name"));
    }
    filter.value = "";
    filter.dispatchEvent(new view.Event("input"));
  }
  var save = box.querySelector(".bar button");
  if (save) {
    var saved = null;
    view.URL.createObjectURL = function (blob) { saved = blob; return "data:,"; };
    view.HTMLAnchorElement.prototype.click = function () { };
    save.click();
    if (!saved || saved.size < 10) { said.push("not saved: " + box.getAttribute("data-name")); }
  }
  return { filtered: filter ? 1 : 0, saved: save ? 1 : 0 };
}
function tryMarks(box, view, said) {
  var mark = box.querySelector("[data-tip]"), tip = view.document.querySelector(".tip");
  if (!mark) { return 0; }
  mark.dispatchEvent(new view.PointerEvent("pointermove", { bubbles: true, clientX: 50, clientY: 50 }));
  if (tip.hidden || tip.textContent.indexOf(mark.getAttribute("data-tip")) !== 0) { said.push("a mark says nothing"); }
  box.focus();
  box.dispatchEvent(new view.KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  var active = view.document.activeElement;
  if (!box.contains(active) || active === box || !active.getAttribute("aria-label")) { said.push("arrow keys reach no mark"); }
  return box.querySelectorAll("[data-tip]").length;
}
function probe(page, width) {
  var view = frame.contentWindow, doc = frame.contentDocument, aim = aimed(view, frame.contentDocument), said = [], sum = { filtered: 0, saved: 0, marks: 0 };
  var drawings = Array.from(doc.querySelectorAll("main .drawing svg[role]"));
  var root = doc.documentElement;
  var overflow = root.scrollWidth - root.clientWidth;
  var flat = drawings.filter(function (s) {
    var r = s.getBoundingClientRect(), folded = s.closest("details:not([open])");
    return !folded && (r.width < 100 || r.height < 30 || s.querySelectorAll("*").length < 3);
  }).length;
  var pale = [];
  doc.querySelectorAll("main *, header *, footer *").forEach(function (node) {
    var own = Array.from(node.childNodes).some(function (n) { return n.nodeType === 3 && n.textContent.trim(); });
    if (!own || node.closest("svg") || !node.getClientRects().length) { return; }
    var contrast = contrastOf(view, node);
    if (contrast < 4.5) { pale.push(node.tagName + " " + contrast.toFixed(2) + " " + node.textContent.trim().slice(0, 30)); }
  });
  doc.querySelectorAll(".tablebox").forEach(function (box) {
    var done = tryTable(box, view, said);
    sum.filtered += done.filtered;
    sum.saved += done.saved;
  });
  doc.querySelectorAll("main .drawing").forEach(function (box) { sum.marks += tryMarks(box, view, said); });
  var stuck = Array.from(doc.querySelectorAll(".scroll, figure .drawing")).filter(function (b) {
    return b.scrollWidth > b.clientWidth + 1 && b.tabIndex < 0;
  }).length;
  return {
    page: page, width: width, overflow: overflow, drawings: drawings.length, flat: flat, pale: pale.slice(0, 5), said: said,
    stuck: stuck, tables: doc.querySelectorAll(".tablebox").length, filtered: sum.filtered, saved: sum.saved, marks: sum.marks,
    broken: Array.from(doc.images).filter(function (i) { return i.complete && i.naturalWidth === 0; }).length,
    hostile: Boolean(view.__hostile), links: Array.from(doc.querySelectorAll("svg a[href]")).length,
    target: aim,
    asked: view.performance.getEntriesByType("resource").map(function (e) { return e.name; })
      .filter(function (name) { return !/^(file|data|blob):/.test(name); }),
  };
}
function aimed(view, doc) {
  if (!view.location.hash) { return null; }
  var node = doc.getElementById(decodeURIComponent(view.location.hash.slice(1)));
  if (!node) { return "nothing has the name of the link"; }
  var box = node.getBoundingClientRect();
  var isSeen = box.bottom > 0 && box.top < view.innerHeight;
  return { seen: isSeen, text: node.textContent.replace(/\s+/g, " ").slice(0, 20000) };
}
frame.addEventListener("load", function () {
  if (at < 0) { return; }
  setTimeout(function () {
    try { found.push(probe(TODO[at][0], TODO[at][1])); } catch (error) { found.push({ page: TODO[at][0], failed: String(error) }); }
    next();
  }, 60);
});
function next() {
  at += 1;
  if (at >= TODO.length) { document.querySelector("pre").textContent = JSON.stringify(found); return; }
  frame.width = TODO[at][1];
  frame.src = TODO[at][0];
}
next();
