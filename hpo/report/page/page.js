"use strict";
// Sorts and filters each run's table, and lights up the curve of the row that is pointed at or
// has the focus.
document.querySelectorAll("table[id$=leaderboard]").forEach((table) => {
  const own = table.closest("article");
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);

  let gathered = null;
  function all() {  // those that lie folded join the others when all are asked for
    if (gathered) return gathered;
    const rest = own.querySelector("details.rest");
    if (rest) {
      body.append(...rest.querySelectorAll("tbody tr"));
      rest.remove();
    }
    gathered = Array.from(body.rows);
    return gathered;
  }

  function value(row, column) {
    const cell = row.cells[column];
    const told = cell.dataset.v;
    if (told === undefined) return cell.textContent;
    return told === "" ? null : Number(told);
  }

  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b));
  }

  function sort(column) {
    const head = heads[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((h) => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const found = all().map((row, place) => [value(row, column), place, row]);
    found.sort((a, b) => {
      const missing = (a[0] === null) - (b[0] === null);  // last, whichever way
      if (missing) return missing;
      return (down ? -1 : 1) * compare(a[0], b[0]) || a[1] - b[1];
    });
    body.append(...found.map((entry) => entry[2]));
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });

  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "filter: crnn, stopped, cell=gru …";
  input.setAttribute("aria-label", "Filter the trials");
  let texts = null;
  input.addEventListener("input", () => {
    texts = texts || all().map((row) => [row, row.textContent.toLowerCase()]);
    const words = input.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    texts.forEach(([row, text]) => {
      row.hidden = !words.every((word) => text.includes(word));
    });
    stopAt(Array.from(body.rows).find((row) => !row.hidden));
  });
  table.parentElement.before(input);

  let stop = null;
  function stopAt(row) {  // Tab stops at one row; the arrows go on from there
    if (stop) stop.removeAttribute("tabindex");
    if (row) row.tabIndex = 0;
    stop = row;
  }
  stopAt(body.rows[0]);
  const ways = {ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling"};
  body.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    let row = way && event.target.closest("tr")[way];
    while (row && row.hidden) row = row[way];
    if (!row) return;
    event.preventDefault();
    stopAt(row);
    row.focus();
  });

  let lit = [];
  function light(row) {
    lit.forEach((element) => {
      element.classList.remove("lit");
      const picture = element.closest("svg");
      if (picture) picture.classList.remove("dim");
    });
    lit = [];
    if (!row) return;
    const trial = Number(row.dataset.trial);
    lit = [row, ...own.querySelectorAll(".curve-" + trial)];
    lit.forEach((element) => {
      element.classList.add("lit");
      const picture = element.closest("svg");
      if (picture) picture.classList.add("dim");
    });
  }
  body.addEventListener("pointerover", (event) => light(event.target.closest("tr")));
  body.addEventListener("pointerleave", () => light(null));
  body.addEventListener("focusin", (event) => light(event.target.closest("tr")));
  body.addEventListener("focusout", () => light(null));
});
