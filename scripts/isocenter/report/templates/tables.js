// Sort, filter and save the tables of a page. Without scripts they stay plain tables.
"use strict";
document.querySelectorAll(".tablebox").forEach(function (box) {
  var table = box.querySelector("table"), body = table.tBodies[0];
  var heads = Array.from(table.tHead.rows[0].cells);
  var text = function (cell) { return cell.textContent.trim(); };
  var key = function (cell) {
    var sort = cell.getAttribute("data-sort");
    return sort === null ? text(cell) : isNaN(Number(sort)) ? sort : Number(sort);
  };
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var rows = Array.from(body.rows);
      rows.sort(function (a, b) {
        var x = key(a.cells[column]), y = key(b.cells[column]), order;
        if (typeof x === "number" && typeof y === "number") { order = x - y; }
        else if (typeof x === "number") { return -1; }
        else if (typeof y === "number") { return 1; }
        else { order = x.localeCompare(y, "en", { numeric: true }); }
        return down ? -order : order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
  if (!box.classList.contains("tools")) { return; }
  var bar = document.createElement("div"), filter = document.createElement("input");
  var save = document.createElement("button"), count = document.createElement("span");
  bar.className = "bar";
  filter.type = "search";
  filter.placeholder = "Filter rows";
  filter.setAttribute("aria-label", "Filter the rows of this table");
  save.type = "button";
  save.textContent = "Download TSV";
  count.setAttribute("aria-live", "polite");
  if (body.rows.length > 8) { bar.appendChild(filter); }
  bar.appendChild(save);
  bar.appendChild(count);
  box.insertBefore(bar, box.firstChild);
  filter.addEventListener("input", function () {
    var wanted = filter.value.trim().toLowerCase(), shown = 0;
    Array.from(body.rows).forEach(function (row) {
      row.hidden = wanted !== "" && row.textContent.replace(/\s+/g, " ").toLowerCase().indexOf(wanted) < 0;
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = wanted === "" ? "" : shown + " of " + body.rows.length + " rows";
  });
  save.addEventListener("click", function () {
    var symbol = /^[✓▲✕–]\s+/;
    var lines = [heads.map(text)].concat(Array.from(body.rows).filter(function (row) { return !row.hidden; }).map(function (row) {
      return Array.from(row.cells).map(function (cell) { return text(cell).replace(symbol, "").replace(/\s+/g, " "); });
    }));
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map(function (l) { return l.join("\t"); }).join("\n") + "\n"], { type: "text/tab-separated-values" }));
    link.download = box.getAttribute("data-name") + ".tsv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
});
// A row that a link names may lie in a folded part. What is folded stays folded in print: summary first.
function reveal() {
  var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (var node = target; node; node = node.parentElement) { if (node.tagName === "DETAILS") { node.open = true; } }
  if (target) { target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" }); }
}
window.addEventListener("hashchange", reveal);
window.addEventListener("DOMContentLoaded", reveal);
