// Sorts the table of all points. Without scripts, the table is complete and in the order of the index.
"use strict";
document.documentElement.classList.add("scripted");
const collator = new Intl.Collator("en", { numeric: true });
const shown = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
const empty = ([text]) => text === "" || text === "\u2013";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.classList.contains("screen-only")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [shown(row, column), row]);
      const known = rows.filter((entry) => !empty(entry));
      const numeric = known.every(([text]) => !Number.isNaN(Number(text)));
      known.sort(([a], [b]) => sign * (numeric ? a - b : collator.compare(a, b)));
      const sorted = document.createDocumentFragment();
      for (const [, row] of known.concat(rows.filter(empty))) sorted.append(row);
      table.tBodies[0].append(sorted);
    });
  });
}
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
