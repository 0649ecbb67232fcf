// Adds what needs a script: buttons that copy a command, sorting, filtering and opening in the table of all points.
// Without scripts, the table is complete and in the order of the index, and its details can be opened.
"use strict";
document.documentElement.classList.add("scripted");

const button = (text, action) => {
  const made = document.createElement("button");
  made.type = "button";
  made.append(text);
  made.addEventListener("click", () => action(made));
  return made;
};

for (const box of document.querySelectorAll(".command")) {
  const code = box.querySelector("code");
  box.append(button("Copy", async (made) => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {  // a file:// page in some browsers
      getSelection().selectAllChildren(code);
      copied = document.execCommand("copy");
    }
    made.textContent = copied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { made.textContent = "Copy"; }, 2000);
  }));
}

const collator = new Intl.Collator("en", { numeric: true });
const shown = (body, column) => {
  const cell = body.rows[0].cells[column];
  return cell.dataset.v ?? cell.textContent.trim();
};
const empty = ([text]) => text === "" || text === "\u2013";

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.classList.contains("unsorted")) return;
    const made = button("", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies].map((body) => [shown(body, column), body]);
      const known = rows.filter((entry) => !empty(entry));
      const numeric = known.every(([text]) => !Number.isNaN(Number(text)));
      known.sort(([a], [b]) => sign * (numeric ? a - b : collator.compare(a, b)));
      const sorted = document.createDocumentFragment();
      for (const [, body] of known.concat(rows.filter(empty))) sorted.append(body);
      table.append(sorted);
    });
    made.replaceChildren(...head.childNodes);
    head.append(made);
  });
  for (const body of table.tBodies) {
    const more = body.rows[1];
    if (!more) continue;
    more.hidden = true;
    const name = body.rows[0].querySelector(".name");
    const folded = more.querySelector("details");
    const made = button("", () => {
      more.hidden = !more.hidden;
      if (folded) folded.open = true;
      made.setAttribute("aria-expanded", String(!more.hidden));
    });
    made.setAttribute("aria-expanded", "false");
    made.replaceChildren(...name.childNodes);
    name.append(made);
  }
}

const filters = document.querySelector(".filters");
if (filters) {
  const bodies = [...document.querySelectorAll(".points tbody")].map((body) => [body, body.textContent.toLowerCase()]);
  const apply = () => {
    const { text, architecture, status } = filters.elements;
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const [body, content] of bodies) {
      const wanted = (!architecture.value || body.dataset.architecture === architecture.value)
        && (!status.value || body.dataset.status === status.value) && words.every((word) => content.includes(word));
      body.hidden = !wanted;
      count += wanted;
    }
    filters.querySelector("output").textContent = `${count.toLocaleString("en")} of ${bodies.length.toLocaleString("en")} points`;
  };
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
}
