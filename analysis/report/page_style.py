"""The style and the script of ``report.html``. Nothing in them comes from data, or from anywhere else."""

# Colours by name: (light, dark). Print is always light. The tests check that every pair in CONTRAST can be read.
COLOURS = {
    "ground": ("#f7f8f9", "#14181c"),
    "panel": ("#ffffff", "#1c2127"),
    "text": ("#1c2228", "#e6eaee"),
    "muted": ("#55606b", "#a9b3bd"),
    "line": ("#d5dae0", "#38414a"),
    "link": ("#0a58a8", "#83bdf7"),
    "bar": ("#3f7fbf", "#5b9bd9"),
    "good": ("#17612f", "#93dea8"),
    "good-ground": ("#e2f3e6", "#17331f"),
    "warn": ("#724500", "#f3c977"),
    "warn-ground": ("#fdf0d3", "#38290b"),
    "bad": ("#99101f", "#ffa3ad"),
    "bad-ground": ("#fbe5e7", "#42181d"),
    "plain": ("#3f4851", "#c6cdd4"),
    "plain-ground": ("#e8ebee", "#2c333b"),
}
CONTRAST = (
    *((ink, ground) for ink in ("text", "muted", "link") for ground in ("ground", "panel", "plain-ground")),
    *((kind, f"{kind}-ground") for kind in ("good", "warn", "bad", "plain")),
    ("text", "warn-ground"),
)


def _properties(column: int) -> str:
    return " ".join(f"--{name}: {pair[column]};" for name, pair in COLOURS.items())


STYLE = (
    f"""
:root {{ color-scheme: light; {_properties(0)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {_properties(1)} }} }}
"""
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--text); overflow-wrap: anywhere;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
header, main, footer { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
footer { padding-bottom: 2rem; color: var(--muted); font-size: .875rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; line-height: 1.35; margin: 1.5rem 0 .5rem; }
h4 { font-size: .95rem; margin: 1.25rem 0 .25rem; }
p, li { max-width: 80ch; }
p { margin: .5rem 0; }
ul { padding-left: 1.25rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, button:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
code, .name { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875em; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; margin: 1rem 0 0; padding: 0; font-size: .925rem; }
nav a { display: inline-block; padding: .25rem 0; }
.muted { color: var(--muted); }
.small { font-size: .875rem; }
.panel { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; margin: .75rem 0; }
.panel > :first-child { margin-top: 0; }
.panel > :last-child { margin-bottom: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: .75rem; }
.cards .panel { margin: 0; }
.names { columns: 20rem; max-width: none; margin: .5rem 0; }
.names li { break-inside: avoid; }
.caution { background: var(--warn-ground); border-left: .3rem solid var(--warn); }
.badge { display: inline-block; padding: .05rem .5rem; border-radius: 1rem; font-size: .8125rem; font-weight: 600;
  white-space: nowrap; overflow-wrap: normal; color: var(--plain); background: var(--plain-ground); }
.badge.good { color: var(--good); background: var(--good-ground); }
.badge.warn { color: var(--warn); background: var(--warn-ground); }
.badge.bad { color: var(--bad); background: var(--bad-ground); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.figures div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; }
.figures dt { color: var(--muted); font-size: .8125rem; line-height: 1.3; }
.figures dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.pairs { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: .2rem 1rem; margin: .5rem 0; font-size: .925rem; }
.pairs > div { display: contents; }
.pairs dt { color: var(--muted); max-width: 16rem; }
.pairs dd { margin: 0; min-width: 0; }
figure { margin: 1rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: .5rem; }
figcaption { margin-top: .4rem; font-size: .925rem; max-width: 80ch; }
details { margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; padding: .25rem 0; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; }
.tall { max-height: 85vh; overflow: auto; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; padding: .5rem .6rem; color: var(--muted); }
caption span { position: sticky; left: .6rem; display: inline-block; max-width: min(80ch, calc(100vw - 4.5rem)); }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; border-top: 1px solid var(--line); }
td { white-space: nowrap; }
td.t { white-space: normal; min-width: 9rem; max-width: 40rem; }
thead th { overflow-wrap: normal; word-break: normal; }
th { font-weight: 600; }
.t, tbody th { text-align: left; }
tbody th { font-weight: 400; min-width: 11rem; overflow-wrap: anywhere; }
.points tbody th { min-width: 0; text-align: right; }
.points { font-size: .8125rem; }
.points th, .points td { padding: .3rem .4rem; }
.points td.t { min-width: 0; }
.points td.name { min-width: 11rem; }
.name, .failures tbody th { min-width: 13rem; overflow-wrap: anywhere; }
.failures .why { min-width: 16rem; overflow-wrap: anywhere; }
thead th { position: sticky; top: 0; z-index: 1; vertical-align: bottom; background: var(--plain-ground); border-top: 0; }
td.t.links { white-space: nowrap; max-width: none; }
td.links a { display: inline-block; padding: 0 .15rem; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: .15rem 0; cursor: pointer; text-align: inherit;
  text-decoration: underline dotted; text-underline-offset: .2em; }
th[aria-sort=ascending] button::after { content: "\\00a0\\2191"; }
th[aria-sort=descending] button::after { content: "\\00a0\\2193"; }
.track { display: inline-block; width: 8rem; height: .65rem; background: var(--plain-ground); border-radius: .2rem; }
.fill { display: block; height: 100%; background: var(--bar); border-radius: .2rem; }
html:not(.scripted) .scripted-only { display: none; }
@media screen and (max-width: 40rem) {
  header, main, footer { padding-left: .875rem; padding-right: .875rem; }
  h1 { font-size: 1.4rem; }
  .pairs { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .pairs dd { margin-bottom: .5rem; }
  .pairs .pairs { padding-left: .75rem; }
  .tall { max-height: 70vh; }
  .failures thead { display: none; }
  .failures tr { display: block; border-top: 1px solid var(--line); padding: .4rem .6rem; }
  .failures tbody th, .failures td.t { display: block; border: 0; padding: .1rem 0; min-width: 0; max-width: none; }
  td.t { max-width: 20rem; }
  td.links a { padding: .25rem .3rem; }
}
@page { size: A4; margin: 12mm; }
@page wide { size: A4 landscape; margin: 10mm; }
@media print {
  body { background: #fff; font-size: 9.5pt; }
  header, main, footer { max-width: none; padding: 0; }
  nav, .scripted-only, .screen-only, th button::after { display: none !important; }
  h1, h2, h3, h4, summary, caption { break-after: avoid; }
  p, li { orphans: 3; widows: 3; }
  .panel, figure, .figures div { break-inside: avoid; }
  .cards { display: block; }
  .cards .panel { margin: .4rem 0; }
  figure img { max-height: 170mm; width: auto; max-width: 100%; border: 0; }
  .scroll, .tall { overflow: visible; max-height: none; border-radius: 0; }
  table { font-size: 7.5pt; }
  caption span, thead th { position: static; }
  caption span { max-width: none; }
  thead { display: table-header-group; break-inside: avoid; }
  tr { break-inside: avoid; }
  th, td { padding: .12rem .3rem; }
  td.t { min-width: 0; }
  /* A real button is a box that cannot be repeated, so the heading would stand on the first sheet only. */
  th button { display: contents; text-decoration: none; }
  .badge { font-size: inherit; padding: 0 .3rem; }
  .points, .points th { font-size: 7pt; }
  tbody th, .points td.name, .failures tbody th, .failures .why { min-width: 24mm; overflow-wrap: break-word; }
  .points tbody th { min-width: 0; }
  .points { page: wide; }
  .badge, .fill, .track, .caution { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  details::details-content { content-visibility: visible; }
}
"""
)

# Sorting is an addition: without it the table is whole and in the order of the index.
SCRIPT = """
"use strict";
document.documentElement.classList.add("scripted");
const collator = new Intl.Collator("en", { numeric: true });
const shown = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
const empty = ([text]) => text === "" || text === "\\u2013";
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
"""
