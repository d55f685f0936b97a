"use strict";
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== (head.dataset.first === "up" ? "ascending" : "descending");
      const rising = (head.dataset.first === "up") === up;
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((one, other) => {
        const a = value(one), b = value(other), x = parseFloat(a), y = parseFloat(b);
        const missing = (v) => v === "" || v === "nan" || v === "–";
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
        return rising ? order : -order;
      });
      body.append(...rows);
    });
  });
}
for (const figure of document.querySelectorAll("figure.wrong")) {
  figure.querySelector("button").addEventListener("click", () => figure.classList.toggle("large"));
}
