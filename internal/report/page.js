"use strict";
(function () {
  const SVG = "http://www.w3.org/2000/svg";
  const narrow = matchMedia("(max-width: 560px)");

  function add(parent, tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  }

  // A logarithmic axis from low to high over the pixels a to b: its powers of ten, each or
  // every few, with marks between them; over less than two decades 1, 2 and 5 times each.
  function axis(low, high, a, b) {
    const lo = Math.log10(low) - 0.05, hi = Math.log10(high) + 0.05;
    const place = (v) => a + ((Math.log10(v) - lo) / (hi - lo)) * (b - a);
    const every = Math.max(1, Math.ceil((hi - lo) / 7)), ticks = [], marks = [];
    const labelled = hi - lo < 2 ? [1, 2, 5] : [1];
    for (let p = Math.floor(lo); p <= hi; p++) {
      for (let digit = 1; digit <= 9; digit++) {
        const v = parseFloat(digit + "e" + p), inside = Math.log10(v) >= lo && Math.log10(v) <= hi;
        if (!inside || (every > 1 && (digit > 1 || p % every !== 0))) continue;
        (labelled.includes(digit) ? ticks : marks).push(v);
      }
    }
    return { place, ticks, marks };
  }

  // Powers of ten near 1 are written out.
  function number(v) {
    const p = Math.floor(Math.log10(v) + 1e-9);
    if (p >= -3 && p <= 3) return String(v);
    const digit = Math.round(v / Math.pow(10, p));
    const power = "10" + String(p).replace(/[-0-9]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));
    return digit === 1 ? power : digit + "·" + power;
  }

  function drawAxes(svg, box, x, y, data) {
    for (const v of y.ticks) {
      const at = y.place(v);
      add(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at });
      add(svg, "text", { x: box.left - 6, y: at + 4, "text-anchor": "end" }, number(v));
    }
    add(svg, "line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
    for (const v of x.ticks.concat(x.marks)) {
      const at = x.place(v), labelled = x.ticks.includes(v);
      add(svg, "line", { class: "axis", x1: at, x2: at, y1: box.bottom, y2: box.bottom + (labelled ? 5 : 3) });
      if (labelled) add(svg, "text", { x: at, y: box.bottom + 19, "text-anchor": "middle" }, number(v));
    }
    add(svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" }, data.xLabel);
    add(svg, "text", { transform: "translate(14," + (box.top + box.bottom) / 2 + ") rotate(-90)", "text-anchor": "middle" }, data.yLabel);
  }

  function draw(figure, data, item) {
    const svg = figure.querySelector("svg");
    const box = { left: 58, right: narrow.matches ? 352 : 700, top: 12, bottom: narrow.matches ? 236 : 276 };
    svg.setAttribute("viewBox", "0 0 " + (box.right + 10) + " " + (box.bottom + 44));
    svg.replaceChildren();
    figure.querySelector(".note").textContent = item.note;
    const xs = item.x.concat(item.fitX), ys = item.y.concat(item.fitY);
    if (xs.length === 0) return;
    const x = axis(Math.min(...xs), Math.max(...xs), box.left, box.right);
    const y = axis(Math.min(...ys), Math.max(...ys), box.bottom, box.top);
    drawAxes(svg, box, x, y, data);
    item.x.forEach((v, i) => {
      const dot = add(svg, "circle", { class: "dot", cx: x.place(v), cy: y.place(item.y[i]), r: 3.5 });
      add(dot, "title", {}, data.xLabel + " " + v + ", " + data.yLabel + " " + item.y[i]);
    });
    if (item.fitX.length > 0) {
      const path = item.fitX.map((v, i) => (i ? "L" : "M") + x.place(v) + " " + y.place(item.fitY[i])).join("");
      add(svg, "path", { class: "fit", d: path });
    }
    if (item.mark > 0) {
      const at = x.place(item.mark), inner = at < box.right - 80;
      add(svg, "line", { class: "mark", x1: at, x2: at, y1: box.top, y2: box.bottom });
      add(svg, "text", { class: "marktext", x: at + (inner ? 5 : -5), y: box.bottom - 7, "text-anchor": inner ? "start" : "end" }, data.markLabel);
    }
  }

  const depth = (value, high) => (high > 0 ? Math.max(0, Math.min(1, value / high)) : 0);

  // A square matrix, its columns to the right and its rows down, each cell as deep as its value.
  function drawMatrix(figure, data, item) {
    const svg = figure.querySelector("svg");
    svg.replaceChildren();
    figure.querySelector(".note").textContent = item.note;
    const n = item.values.length;
    if (n === 0) return;
    const side = Math.min(300, 44 * n), cell = side / n, left = 70, top = 24;
    svg.setAttribute("viewBox", "0 0 710 " + (top + side + 14));
    const every = Math.ceil(15 / cell), high = Math.max(...item.values.flat());
    const center = (i) => (i + 0.5) * cell;
    for (let i = 0; i < n; i++) {
      if (i % every === 0) {
        add(svg, "text", { x: left - 8, y: top + center(i) + 4, "text-anchor": "end" }, i);
        add(svg, "text", { x: left + center(i), y: top - 8, "text-anchor": "middle" }, i);
      }
      for (let j = 0; j < n; j++) {
        const value = item.values[i][j], x = left + j * cell, y = top + i * cell;
        const size = Math.max(0.5, cell - 1);
        add(svg, "rect", { class: "ground", x, y, width: size, height: size });
        add(svg, "rect", { class: "heat", x, y, width: size, height: size, "fill-opacity": depth(value, high) });
        const deep = depth(value, high) > 0.55 ? "value deep" : "value";
        const text = (100 * value).toFixed(1);
        if (cell > 34) add(svg, "text", { class: deep, x: x + size / 2, y: y + size / 2 + 4, "text-anchor": "middle" }, text);
        const hint = data.rowName + " " + i + (i === j ? "" : ", " + data.rowName + " " + j) + ": " + (100 * value).toFixed(2) + " %";
        add(add(svg, "rect", { class: "hint", x, y, width: size, height: size }), "title", {}, hint);
      }
    }
    add(svg, "text", { transform: "translate(22," + (top + side / 2) + ") rotate(-90)", "text-anchor": "middle" }, data.rowName);
    add(svg, "text", { x: left + side + 24, y: top + 12 }, data.unit + ", from 0 to " + (100 * high).toFixed(1));
  }

  for (const figure of document.querySelectorAll(".explorer")) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const select = figure.querySelector("select");
    const show = () => (data.unit ? drawMatrix : draw)(figure, data, data.items[select.value]);
    select.addEventListener("change", show);
    narrow.addEventListener("change", show);
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
      const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
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
