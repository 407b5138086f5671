"use strict";
(function () {
  const SVG = "http://www.w3.org/2000/svg";
  const box = { left: 58, right: 700, top: 12, bottom: 276 };

  function add(parent, tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }

  // A logarithmic axis from low to high over the pixels a to b, with its powers of ten.
  function axis(low, high, a, b) {
    const lo = Math.log10(low) - 0.05, hi = Math.log10(high) + 0.05;
    const place = (v) => a + ((Math.log10(v) - lo) / (hi - lo)) * (b - a);
    const every = Math.max(1, Math.ceil((hi - lo) / 7)), ticks = [];
    for (let p = Math.ceil(lo); p <= hi; p++) if (p % every === 0) ticks.push(p);
    return { place, ticks };
  }

  function power(p) {
    return "10" + String(p).replace(/[-0-9]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));
  }

  function draw(figure, data, item) {
    const svg = figure.querySelector("svg");
    svg.replaceChildren();
    figure.querySelector(".note").textContent = item.note;
    const xs = item.x.concat(item.fitX), ys = item.y.concat(item.fitY);
    if (xs.length === 0) return;
    const x = axis(Math.min(...xs), Math.max(...xs), box.left, box.right);
    const y = axis(Math.min(...ys), Math.max(...ys), box.bottom, box.top);
    for (const p of y.ticks) {
      const at = y.place(Math.pow(10, p));
      add(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at });
      add(svg, "text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, power(p));
    }
    add(svg, "line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
    for (const p of x.ticks) {
      const at = x.place(Math.pow(10, p));
      add(svg, "line", { class: "axis", x1: at, x2: at, y1: box.bottom, y2: box.bottom + 5 });
      add(svg, "text", { x: at, y: box.bottom + 19, "text-anchor": "middle" }, power(p));
    }
    add(svg, "text", { x: (box.left + box.right) / 2, y: 314, "text-anchor": "middle" }, data.xLabel);
    add(svg, "text", { transform: "translate(14," + (box.top + box.bottom) / 2 + ") rotate(-90)", "text-anchor": "middle" }, data.yLabel);
    item.x.forEach((v, i) => add(svg, "circle", { class: "dot", cx: x.place(v), cy: y.place(item.y[i]), r: 3.5 }));
    if (item.fitX.length > 0) {
      const path = item.fitX.map((v, i) => (i ? "L" : "M") + x.place(v) + " " + y.place(item.fitY[i])).join("");
      add(svg, "path", { class: "fit", d: path });
    }
    if (item.mark > 0) {
      const at = x.place(item.mark);
      add(svg, "line", { class: "mark", x1: at, x2: at, y1: box.top, y2: box.bottom });
      add(svg, "text", { class: "marktext", x: at + 5, y: box.top + 10 }, data.markLabel);
    }
  }

  for (const figure of document.querySelectorAll(".explorer")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const select = figure.querySelector("select");
    const show = () => draw(figure, data, data.items[select.value]);
    select.addEventListener("change", show);
    show();
  }

  // Figures sort as numbers, the rest as words; what is no number goes last either way.
  function sort(table, column, down) {
    const body = table.tBodies[0];
    const key = (row) => {
      const text = row.cells[column].textContent.trim().replace("−", "-");
      const number = parseFloat(text);
      return isNaN(number) ? text : number;
    };
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      const words = (typeof a === "string") - (typeof b === "string");
      if (words) return words;
      const order = typeof a === "string" ? a.localeCompare(b) : a - b;
      return down ? -order : order;
    });
    for (const [, row] of rows) body.appendChild(row);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column, all) => {
      const turn = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of all) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, column, down);
      };
      head.tabIndex = 0;
      head.addEventListener("click", turn);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          turn();
        }
      });
    });
  }
})();
