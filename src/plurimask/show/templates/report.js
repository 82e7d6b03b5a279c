// Makes the headings of a table.sortable into buttons that sort its last body; without scripts tables stay as written.
"use strict";
// A cell that says more than its number names the number apart.
const text = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
// The page writes a true minus sign; a dash, where a score is undefined, is no number.
const number = (written) => Number(written.replace("\u2212", "-"));
const compare = (a, b) => {
  const difference = number(a) - number(b);
  return Number.isNaN(difference) ? a.localeCompare(b, undefined, { numeric: true }) : difference;
};
const sort = (table, column, up) => {
  const body = [...table.tBodies].at(-1);
  const isDash = (row) => text(row, column) === "\u2013";
  const rows = [...body.rows].sort(
    (a, b) =>
      isDash(a) - isDash(b) || (up ? 1 : -1) * compare(text(a, column), text(b, column)),
  );
  body.append(...rows);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.classList.contains("picture")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, column, up);
    });
  });
}
// Paper shows what is folded away.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
