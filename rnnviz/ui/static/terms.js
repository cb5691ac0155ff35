// The sums: a row for each weight, its terms below their time steps; and for one of them the sum as it builds up.

import { element } from "./format.js";
import { LEFT } from "./unrolled.js";
import { typeset, worded } from "./typeset.js";

const SVG = "http://www.w3.org/2000/svg";
const TALL = 104; // of the picture of the sum
const ROOM = 20; // above and below it, for numbers
export const RIGHT = 158; // width of the two columns behind the steps

export class Terms {
  /** pick(name): a term was clicked, and the stop that made it is asked for. */
  constructor(parent, pick) {
    this.table = element("table", "terms", parent);
    this.title = element("p", "sum-title", parent);
    this.sum = document.createElementNS(SVG, "svg");
    this.sum.setAttribute("class", "sum");
    this.sum.setAttribute("role", "img");
    parent.append(this.sum);
    this.pick = pick;
    this.chosen = "W_s 1 1";
  }

  build(data, pitch) {
    this.data = data;
    this.pitch = pitch;
    if (!data.rows.some((row) => row.name === this.chosen)) this.chosen = data.rows.find((row) => row.weight === "W_s").name;
    this.table.replaceChildren();
    this.table.style.width = `${LEFT + pitch * data.T + RIGHT}px`;
    element("caption", "hidden-text", this.table).textContent = data.text.terms;
    const widths = element("colgroup", "", this.table);
    for (const width of [LEFT, ...Array(data.T).fill(pitch), RIGHT / 2, RIGHT / 2]) {
      element("col", "", widths).style.width = `${width}px`;
    }
    const head = element("tr", "", element("thead", "", this.table));
    const first = element("th", "", head);
    first.scope = "col";
    first.append(...typeset(`\\frac{\\partial ${data.loss}}{\\partial W}`));
    for (let t = 1; t <= data.T; t++) this.#head(head, `t = ${t}`);
    this.#head(head, data.text.sum);
    this.#head(head, "autograd");
    const body = element("tbody", "", this.table);
    this.rows = data.rows.map((row) => this.#row(body, row));
  }

  #head(parent, text) {
    const cell = element("th", "", parent);
    cell.scope = "col";
    cell.textContent = text;
  }

  #row(body, row) {
    const line = element("tr", "", body);
    line.dataset.row = row.name;
    const label = element("th", "", line);
    label.scope = "row";
    const choose = element("button", "choose", label);
    choose.type = "button";
    choose.append(...typeset(row.label));
    choose.title = row.title;
    choose.setAttribute("aria-label", this.data.text.choose.replace("{weight}", row.title));
    choose.addEventListener("click", () => {
      this.chosen = row.name;
      this.show(...this.last);
    });
    const cells = row.terms.map((term, t) => {
      const cell = element("td", "term", line);
      cell.dataset.term = `${row.name} ${t + 1}`;
      cell.addEventListener("click", () => this.pick(row.stops[t]));
      return cell;
    });
    return { row, line, choose, cells, sum: element("td", "so-far", line), judge: element("td", "judge", line) };
  }

  show(frame, at, order) {
    this.last = [frame, at, order];
    for (const { row, line, choose, cells, sum, judge } of this.rows) {
      const chosen = row.name === this.chosen;
      line.classList.toggle("chosen", chosen);
      choose.setAttribute("aria-pressed", String(chosen));
      let first = null;
      cells.forEach((cell, t) => {
        const known = order(row.stops[t]) <= at;
        if (known && first === null) first = t;
        cell.classList.toggle("fresh", known && row.stops[t] === frame.name);
        cell.classList.toggle("none", !row.counts[t]);
        cell.replaceChildren();
        if (!known) return;
        if (row.counts[t] || row.left[t] === null) cell.append(row.terms[t].text);
        if (row.left[t] !== null) element("s", "left-out", cell).textContent = row.left[t].text;
      });
      sum.textContent = first === null ? "" : row.running[first].text;
      line.classList.toggle("summed", `sum ${row.weight}` === frame.name);
      judge.textContent = order(`sum ${row.weight}`) <= at ? row.autograd : "";
    }
    this.#picture(frame, at, order);
  }

  /** Bars from what the sum was to what it is, from the last step to the first, and the whole at the end. */
  #picture(frame, at, order) {
    const { data, pitch } = this;
    const { row } = this.rows.find((one) => one.row.name === this.chosen);
    const ends = row.counts.map((_, t) => (row.counts[t] ? row.running[t].value : row.whole[t].value));
    const low = Math.min(0, ...ends), high = Math.max(0, ...ends);
    const y = (value) => ROOM + (TALL - 2 * ROOM) * (high > low ? (high - value) / (high - low) : 0.5);
    const end = LEFT + pitch * data.T;
    this.sum.setAttribute("width", end + RIGHT);
    this.sum.setAttribute("height", TALL);
    this.sum.replaceChildren();
    line(this.sum, LEFT, end + RIGHT / 2, y(0), y(0), "zero");
    text(this.sum, 4, y(0) + 4, "0", "start", "tick");
    worded(this.title, data.text.building.replace("{weight}", row.title));
    let known = 0;
    for (let t = data.T; t >= 1; t--) {
      if (order(row.stops[t - 1]) > at) break;
      known = t;
      const kind = row.counts[t - 1] ? "kept" : "lost";
      const from = t === data.T ? 0 : ends[t], to = ends[t - 1];
      const x = LEFT + pitch * (t - 0.5);
      const fresh = row.stops[t - 1] === frame.name;
      bar(this.sum, x - 17, y(from), y(to), `${kind}${fresh ? " fresh" : ""}`);
      if (t < data.T) line(this.sum, x + 17, x + pitch - 17, y(from), y(from), "step");
      const told = (kind === "kept" ? row.running : row.whole)[t - 1].text;
      text(this.sum, x, beside(y(from), y(to), to), told, "middle", kind);
    }
    if (known === 0) return;
    const so = row.running[known - 1].value;
    bar(this.sum, end + RIGHT / 4 - 17, y(0), y(so), "whole");
    text(this.sum, end + RIGHT / 4, beside(y(0), y(so), so), row.running[known - 1].text, "middle", "kept");
    this.sum.setAttribute("aria-label", `${this.title.textContent}: ${row.running[known - 1].text}`);
  }
}

/** Where the number of a bar stands: above a sum that is positive, below one that is not. */
function beside(from, to, value) {
  return value < 0 ? Math.max(from, to) + 14 : Math.min(from, to) - 5;
}

function line(parent, x1, x2, y1, y2, kind) {
  const made = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ x1, x2, y1, y2, class: kind })) made.setAttribute(name, value);
  parent.append(made);
}

function bar(parent, x, from, to, kind) {
  const made = document.createElementNS(SVG, "rect");
  const place = { x, width: 34, y: Math.min(from, to), height: Math.max(1.5, Math.abs(from - to)), rx: 2, class: kind };
  for (const [name, value] of Object.entries(place)) made.setAttribute(name, value);
  parent.append(made);
}

function text(parent, x, y, words, anchor, kind) {
  const made = document.createElementNS(SVG, "text");
  for (const [name, value] of Object.entries({ x, y, "text-anchor": anchor, class: kind })) made.setAttribute(name, value);
  made.textContent = words;
  parent.append(made);
  return made;
}
