// The heat map of log10 |dL/dh_t|: training steps to the right, sequence time upward.
//
// uPlot draws the axes and the crosshair; the cells lie on a canvas of their own below them, at the
// screen's resolution, on which only new columns are painted.

import { coarse, element, fill, indexed, integer, write } from "./format.js";
import { INFINITE, NOT_A_NUMBER, UNDERFLOW, heatValue } from "./decode.js";
import { chart, followPointer } from "./chart.js";
import { Pane } from "./pane.js";
import { timeTicks } from "./axes.js";

// matplotlib's viridis at ten equal distances, the same stops that Plotly uses.
const VIRIDIS = [
  "#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
];
const SHADES = 512;

/** Colours as one 32-bit number for each pixel (red is the lowest byte of ImageData). */
const packed = (r, g, b) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

const TABLE = Uint32Array.from({ length: SHADES }, (_, k) => {
  const position = (k / (SHADES - 1)) * (VIRIDIS.length - 1);
  const left = Math.min(VIRIDIS.length - 2, Math.floor(position));
  const [a, b] = [channels(VIRIDIS[left]), channels(VIRIDIS[left + 1])];
  return packed(...a.map((x, i) => Math.round(x + (b[i] - x) * (position - left))));
});

export class HeatPane extends Pane {
  constructor(parent, hover) {
    super("heat", parent, hover);
    this.scaleBox = element("div", "scale", this.names);
    this.scaleName = element("span", "scale-name", this.scaleBox);
    this.bar = element("div", "bar", this.scaleBox);
    this.barTicks = element("div", "bar-ticks", this.bar);
    this.codes = Object.fromEntries(["zero", "inf", "nan"].map((code) => {
      const item = element("span", `code code-${code}`, this.scaleBox);
      element("i", "", item);
      return [code, { item, label: element("span", "", item) }];
    }));
    this.bar.style.setProperty("--viridis", `linear-gradient(to right, ${VIRIDIS.join(", ")})`);
    this.names.append(this.scaleBox);
    this.names.classList.add("with-scale");
    this.legend.append(this.at); // the reading stands beside the title here
    this.canvas = document.createElement("canvas");
    this.canvas.className = "cells";
    this.context = this.canvas.getContext("2d");
    this.painted = ""; // everything that places or colours a cell: when it changes, all are painted again
    this.domain = [-1, 0];
  }

  words({ text, theme }) {
    write(this.title, text.heat_title);
    write(this.axis, text.heat_axis);
    write(this.xAxis, text.training_step);
    indexed(this.scaleName, text.heat_scale);
    write(this.codes.zero.label, text.heat_zero);
    write(this.codes.inf.label, text.inf);
    write(this.codes.nan.label, text.nan);
    this.scaleBox.style.setProperty("--zero", theme.zero);
    this.scaleBox.style.setProperty("--inf", theme.inf);
    this.scaleBox.style.setProperty("--nan-dark", theme.nan[0]);
    this.scaleBox.style.setProperty("--nan-light", theme.nan[1]);
    this.setHelp(text, text.heat_title, text.heat_help);
  }

  build(view) {
    this.removePlot();
    this.view = view;
    this.plot = chart({
      host: this.figure,
      view,
      y: {
        range: () => [0.5, this.length + 0.5],
        splits: () => this.#ticks(),
        values: (_, splits) => splits.map(integer),
        grid: { show: false },
      },
      series: [{ paths: () => null, points: { show: false } }],
      hooks: {},
      horizontal: true,
    });
    this.plot.under.append(this.canvas);
    this.painted = "";
    followPointer(this.plot, (step, fraction) => this.hover(step, fraction), this.listeners.signal);
  }

  /** T of the sequence; before the run is known, what the rows say. */
  get length() {
    const { run, heat } = this.view;
    return Math.max(1, run?.sequence_steps ?? heat.rows);
  }

  get merged() {
    return Math.max(1, this.view.run?.row_steps ?? 1);
  }

  #ticks() {
    if (!this.view.run) return [];
    return timeTicks(this.length, Math.max(2, Math.floor(this.plot.over.clientHeight / 26)));
  }

  /** Training steps at which column i begins and ends: half way to its neighbours. */
  #edges(i) {
    const { step } = this.view.heat;
    const n = step.length;
    const half = (a, b) => (step[a] + step[b]) / 2;
    if (n === 1) return [step[0] - 0.5, step[0] + 0.5];
    const left = i > 0 ? half(i - 1, i) : step[0] - (half(0, 1) - step[0]);
    const right = i < n - 1 ? half(i, i + 1) : step[n - 1] + (step[n - 1] - half(n - 2, n - 1));
    return [Math.max(0, left), right];
  }

  draw() {
    const { heat, limit, theme } = this.view;
    const frame = `${limit}|${this.length}|${this.size}|${devicePixelRatio}|${theme.signature}|${Boolean(this.view.run)}`;
    if (frame !== this.frame) {
      this.frame = frame;
      // Only the axes hang on this. The redraw waits for a microtask; the paint below needs the box alone.
      this.plot.setData([heat.length ? heat.step : [0], heat.length ? heat.step.map(() => null) : [null]]);
    }
    this.#domain();
    this.#paint(`${frame}|${this.domain}|${heat.rows}|${this.merged}`);
  }

  /** Whole decades around everything seen so far: it only ever grows, so that a colour keeps its meaning. */
  #domain() {
    const { heat } = this.view;
    if (!(heat.low <= heat.high)) this.domain = [-1, 0];
    else {
      const low = Math.floor(heat.low / 100);
      this.domain = [low, Math.max(low + 1, Math.ceil(heat.high / 100))];
    }
    const signature = `${this.domain}|${heat.length > 0}|${JSON.stringify(heat.seen)}`;
    if (signature === this.scaleSignature) return;
    this.scaleSignature = signature;
    const [low, high] = this.domain;
    const finite = heat.low <= heat.high;
    this.scaleBox.classList.toggle("unused", !heat.length);
    this.bar.classList.toggle("unused", !finite);
    const every = [1, 2, 3, 4, 5, 10, 20, 50].find((n) => (high - low) / n <= 4) ?? 50;
    this.barTicks.replaceChildren();
    for (let e = low; e <= high; e += every) {
      const node = element("span", "", this.barTicks);
      node.style.left = `${((e - low) / (high - low)) * 100}%`;
      node.textContent = `1e${e}`;
    }
    for (const [code, { item }] of Object.entries(this.codes)) item.classList.toggle("unused", !heat.seen[code]);
  }

  #paint(placed) {
    const { heat } = this.view;
    const width = Math.max(1, Math.round(this.plot.over.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round(this.plot.over.clientHeight * devicePixelRatio));
    if (placed !== this.painted || this.canvas.width !== width || this.canvas.height !== height) {
      this.painted = placed;
      this.canvas.width = width; // also clears it
      this.canvas.height = height;
      this.#rows(height);
      heat.changed = 0;
    }
    if (heat.changed >= heat.length) return;
    const pixel = (step) => Math.round((step / this.view.limit) * width);
    const from = Math.min(width - 1, Math.max(0, pixel(this.#edges(heat.changed)[0])));
    const to = Math.min(width, Math.max(from + 1, pixel(this.#edges(heat.length - 1)[1])));
    const image = this.context.createImageData(to - from, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = heat.changed; i < heat.length; i += 1) {
      const [begin, end] = this.#edges(i).map((step) => Math.min(to, Math.max(from, pixel(step))) - from);
      // A column narrower than a pixel still gets one: the last of those that share it is seen.
      this.#column(pixels, to - from, heat.codes[i], Math.min(begin, to - from - 1), Math.max(end, begin + 1), from);
    }
    this.context.putImageData(image, from, 0);
    heat.changed = heat.length;
  }

  /** Which rows lie in which line of pixels: [first, one past the last]. */
  #rows(height) {
    const { rows } = this.view.heat;
    this.spans = Array.from({ length: height }, (_, y) => {
      const row = (line) => (((height - line) / height) * this.length) / this.merged;
      const first = Math.min(rows - 1, Math.floor(row(y + 1) + 1e-9));
      return [first, Math.max(first + 1, Math.min(rows, Math.floor(row(y) + 1e-9)))];
    });
  }

  #column(pixels, stride, codes, begin, end, offset) {
    const { theme } = this.view;
    const [low, high] = this.domain;
    const zero = packed(...channels(theme.zero));
    const inf = packed(...channels(theme.inf));
    const [dark, light] = theme.nan.map((hex) => packed(...channels(hex)));
    const hatch = Math.round(3 * devicePixelRatio);
    this.spans.forEach(([first, last], y) => {
      // Where rows share a line of pixels the largest is seen, and NaN before Inf before any number,
      // which is also the order of the codes but for these two.
      let code = UNDERFLOW;
      for (let r = first; r < last; r += 1) {
        if (codes[r] === NOT_A_NUMBER) {
          code = NOT_A_NUMBER;
          break;
        }
        if (codes[r] > code) code = codes[r];
      }
      const line = y * stride;
      if (code === NOT_A_NUMBER) {
        for (let x = begin; x < end; x += 1) {
          pixels[line + x] = Math.floor((x + offset + y) / hatch) % 2 ? dark : light;
        }
        return;
      }
      const shade = (code / 100 - low) / (high - low);
      const color = code === UNDERFLOW ? zero : code === INFINITE ? inf
        : TABLE[Math.round(Math.min(1, Math.max(0, shade)) * (SHADES - 1))];
      pixels.fill(color, line + begin, line + end);
    });
  }

  /** "t = 5", or "t = 5 to 8" where a row holds several. */
  #time(row) {
    const first = row * this.merged + 1;
    const last = Math.min(this.length, first + this.merged - 1);
    return last > first ? fill(this.view.text.t_range, { from: integer(first), to: integer(last) }) : integer(first);
  }

  readout(step, fraction) {
    const { heat, text } = this.view;
    const i = step === null ? -1 : heat.nearest(step);
    if (i < 0) {
      write(this.at, "");
      return;
    }
    const value = (row) => coarse(heatValue(heat.codes[i][row]), text);
    const at = fill(text.at_step, { step: integer(heat.step[i]) });
    if (fraction === null) {
      const top = heat.rows - 1;
      write(this.at, `${at}   ${fill(text.heat_ends, {
        first: this.#time(0), first_value: value(0), last: this.#time(top), last_value: value(top) })}`);
      return;
    }
    const row = Math.min(heat.rows - 1, Math.max(0, Math.floor((fraction * this.length) / this.merged)));
    write(this.at, `${at}   ${fill(text.heat_cell, { t: this.#time(row), value: value(row) })}`);
  }

  caption() {
    const { heat, text, run } = this.view;
    if (!heat.length) {
      this.setCaption([text.heat_waiting]);
      return;
    }
    const column = heat.codes[heat.length - 1];
    const [first, last] = [heatValue(column[0]), heatValue(column[heat.rows - 1])];
    const ratio = first / last;
    const template = first === 0 ? text.heat_vanished
      : Number.isFinite(ratio) && ratio > 0 ? text.heat_ratio : text.heat_pair;
    this.setCaption([
      fill(template, {
        step: integer(heat.last),
        first: this.#time(0),
        last: this.#time(heat.rows - 1),
        first_value: coarse(first, text),
        last_value: coarse(last, text),
        ratio: coarse(ratio, text),
        precision: run?.precision ?? "",
      }),
      this.merged > 1 ? fill(text.heat_rows, { rows: integer(this.merged) }) : "",
    ]);
  }
}
