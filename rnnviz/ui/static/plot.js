// One chart: a canvas with axes and whatever is painted on it, a crosshair above it, and where things lie.
// Built once; from then on it is only fed.

import { CanvasPen } from "./pen.js";
import { element } from "./format.js";

const TOP = 8;

/** Sizes of letters and lines: the same on the screen and in a download, larger for a projector. */
export function sizes(view) {
  const k = view.large ? 1.35 : 1;
  return { k, letters: 11 * k, small: 10 * k, left: Math.round(48 * k), right: Math.round(20 * k),
    bottom: Math.round(22 * k), line: view.large ? 2.4 : 1.6, thin: view.large ? 1.6 : 1 };
}

export class Plot {
  /** host: element to draw in · view: the instance's shared state · options: {horizontal, narrow} */
  constructor(host, view, options = {}) {
    this.host = host;
    this.view = view;
    this.options = options;
    this.x = { low: 0, high: 1, ticks: [], labels: [] };
    this.y = { low: 0, high: 1, log: false, ticks: [], labels: [], grid: true };
    this.width = 0;
    this.height = 0;
    this.density = 0;
    this.root = element("div", "plot", host);
    this.canvas = element("canvas", "ink", this.root);
    this.context = this.canvas.getContext("2d");
    this.over = element("div", "over", this.root);
    this.hairX = element("div", "hair hair-x", this.over);
    this.hairY = element("div", "hair hair-y", this.over);
    this.dots = [];
    this.sides = new Map(); // at which end the name of a level stands
    this.setCursor(null);
  }

  /** Follows the size of its box and the screen's density; true if it changed. */
  resize() {
    const { clientWidth: width, clientHeight: height } = this.host;
    const density = devicePixelRatio;
    const large = this.view.large;
    if (!width || (width === this.width && height === this.height && density === this.density
      && large === this.large)) return false;
    Object.assign(this, { width, height, density, large });
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(height * density);
    const { left, top, width: w, height: h } = this.box;
    Object.assign(this.over.style, { left: `${left}px`, top: `${top}px`, width: `${w}px`, height: `${h}px` });
    return true;
  }

  get box() {
    const { left, right, bottom } = sizes(this.view);
    const from = this.options.left ?? left;
    const to = this.options.right ?? right;
    const under = this.options.bottom ?? bottom;
    const above = this.options.top ?? TOP;
    return { left: from, top: above, width: Math.max(1, this.width - from - to),
      height: Math.max(1, this.height - above - under) };
  }

  /** CSS pixels of a value, from the chart's corner. */
  px(x) {
    const { left, width } = this.box;
    return left + ((x - this.x.low) / (this.x.high - this.x.low)) * width;
  }

  py(y) {
    const { top, height } = this.box;
    const { low, high, log } = this.y;
    const share = log ? Math.log(y / low) / Math.log(high / low) : (y - low) / (high - low);
    return top + (1 - share) * height;
  }

  /** Writes the axes and lets `draw(pen)` paint over them, on the screen. */
  paint(draw) {
    const { context, density } = this;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.print(new CanvasPen(context, this.view.theme.font), draw);
  }

  /** The same with any pen. */
  print(pen, draw) {
    this.#axes(pen);
    draw(pen);
  }

  #axes(pen) {
    const { theme } = this.view;
    const { letters } = sizes(this.view);
    const { left, top, width, height } = this.box;
    const bottom = top + height;
    const crisp = (at) => Math.round(at) + 0.5;
    if (this.y.grid) {
      for (const tick of this.y.ticks) {
        const at = crisp(this.py(tick));
        pen.segment(left, at, left + width, at, { stroke: theme.grid });
      }
    }
    this.y.ticks.forEach((tick, i) => {
      pen.text(this.y.labels[i], left - 8, this.py(tick),
        { size: letters, align: "right", baseline: "middle", fill: theme.muted });
    });
    pen.segment(left, bottom + 0.5, left + width, bottom + 0.5, { stroke: theme.rule });
    this.x.ticks.forEach((tick, i) => {
      const at = crisp(this.px(tick));
      pen.segment(at, bottom, at, bottom + 4, { stroke: theme.rule });
      pen.text(this.x.labels[i], this.px(tick), bottom + 7,
        { size: letters, align: "center", baseline: "top", fill: theme.muted });
    });
  }

  /** Puts the crosshair at x, the second hair at a height from the bottom, and a dot on each line; null hides it. */
  setCursor(x, fraction = null, dots = []) {
    const box = this.box;
    const at = x === null ? null : this.px(x) - box.left;
    const inside = at !== null && at >= -1 && at <= box.width + 1;
    place(this.hairX, inside ? [at, 0] : null);
    place(this.hairY, inside && fraction !== null && this.options.horizontal
      ? [0, (1 - fraction) * box.height] : null);
    const shown = inside ? dots.filter(({ y }) => y >= this.y.low && y <= this.y.high) : [];
    while (this.dots.length < shown.length) this.dots.push(element("i", "hover-dot", this.over));
    this.dots.forEach((dot, i) => {
      place(dot, i < shown.length ? [this.px(shown[i].x) - box.left, this.py(shown[i].y) - box.top] : null);
      if (i < shown.length && dot.style.color !== shown[i].color) dot.style.color = shown[i].color;
    });
  }

  /**
   * Tells move(x, fraction of the height from the bottom) or move(null) while a pointer is over the plot, and
   * click(x) when it is pressed and let go at one place.
   */
  follow(move, click, signal) {
    const { over } = this;
    let pressed = null;
    const read = (event) => {
      const box = over.getBoundingClientRect();
      const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      const height = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1);
      return [this.x.low + share * (this.x.high - this.x.low), 1 - height];
    };
    over.addEventListener("pointerdown", (event) => {
      pressed = [event.clientX, event.clientY];
      move(...read(event));
    }, { signal });
    over.addEventListener("pointermove", (event) => move(...read(event)), { signal });
    over.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") move(null, null); // a lifted finger leaves its reading on the screen
    }, { signal });
    over.addEventListener("click", (event) => {
      if (!pressed || Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 6) return;
      click(...read(event));
    }, { signal });
  }

  destroy() {
    this.root.remove();
  }
}

function place(node, at) {
  const shown = at !== null;
  if (node.hidden === shown) node.hidden = !shown;
  if (shown) node.style.transform = `translate(${at[0].toFixed(1)}px, ${at[1].toFixed(1)}px)`;
}
