// Makes the headings of a table.sortable into buttons that sort its rows; without scripts the tables stay as written.
"use strict";
const text = (row, column) => row.cells[column].textContent.trim();
// The page writes a true minus sign; a dash, where a score is undefined, is no number.
const number = (written) => Number(written.replace("\u2212", "-"));
const compare = (a, b) => {
  const difference = number(a) - number(b);
  return Number.isNaN(difference) ? a.localeCompare(b, undefined, { numeric: true }) : difference;
};
const sort = (table, column, up) => {
  const rows = [...table.tBodies[0].rows];
  const isDash = (row) => text(row, column) === "\u2013";
  rows.sort(
    (a, b) =>
      isDash(a) - isDash(b) || (up ? 1 : -1) * compare(text(a, column), text(b, column)),
  );
  table.tBodies[0].append(...rows);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
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
