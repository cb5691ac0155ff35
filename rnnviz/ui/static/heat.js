// The heat map of log10 |dL/dh_t|: training steps to the right, sequence time upward.
//
// The cells lie on a canvas of their own below axes and crosshair, at the screen's resolution, on which only new
// columns are painted. Twins stand side by side with the same axes and one colour scale.

import { coarse, each, element, fill, indexed, integer, write } from "./format.js";
import { INFINITE, NOT_A_NUMBER, UNDERFLOW, heatValue } from "./decode.js";
import { Rows, drawChanges } from "./marks.js";
import { PartChoice, shownPart } from "./parts.js";
import { Pane } from "./pane.js";
import { sizes } from "./plot.js";
import { stepAxis } from "./lines.js";
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

// What is smaller is zero: the smallest normal number and the smallest that the format can hold at all.
const FLOORS = {
  float32: { normal: "1.2e-38", smallest: "1.4e-45" },
  float64: { normal: "2.2e-308", smallest: "4.9e-324" },
};

/** The cells of one run: which lines of pixels show which rows, and which columns are painted already. */
class Cells {
  constructor(plot, view) {
    this.plot = plot;
    this.view = view;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "cells";
    this.context = this.canvas.getContext("2d");
    plot.over.prepend(this.canvas);
    this.painted = ""; // everything that places or colours a cell: when it changes, all are painted again
  }

  /** Training steps at which column i begins and ends: half way to its neighbours. */
  #edges(i) {
    const { step } = this.heat;
    const n = step.length;
    const half = (a, b) => (step[a] + step[b]) / 2;
    if (n === 1) return [step[0] - 0.5, step[0] + 0.5];
    const left = i > 0 ? half(i - 1, i) : step[0] - (half(0, 1) - step[0]);
    const right = i < n - 1 ? half(i, i + 1) : step[n - 1] + (step[n - 1] - half(n - 2, n - 1));
    return [Math.max(0, left), right];
  }

  paint(slot, domain, length, merged) {
    const { theme, limit } = this.view;
    const { heat, part } = slot;
    Object.assign(this, { heat, domain, length, merged });
    const { width: w, height: h } = this.plot.box;
    const width = Math.max(1, Math.round(w * devicePixelRatio));
    const height = Math.max(1, Math.round(h * devicePixelRatio));
    const placed = [slot.id, part, heat.generation, limit, length, theme.signature, domain, heat.rows, merged].join("|");
    if (placed !== this.painted || this.canvas.width !== width || this.canvas.height !== height) {
      this.painted = placed;
      this.canvas.width = width; // also clears it
      this.canvas.height = height;
      this.#rows(height);
      heat.changed = 0;
    }
    if (heat.changed >= heat.length) return;
    const pixel = (step) => Math.round((step / limit) * width);
    const from = Math.min(width - 1, Math.max(0, pixel(this.#edges(heat.changed)[0])));
    const to = Math.min(width, Math.max(from + 1, pixel(this.#edges(heat.length - 1)[1])));
    const image = this.context.createImageData(to - from, height);
    const pixels = new Uint32Array(image.data.buffer);
    this.#shades();
    for (let i = heat.changed; i < heat.length; i += 1) {
      const [begin, end] = this.#edges(i).map((step) => Math.min(to, Math.max(from, pixel(step))) - from);
      // A column narrower than a pixel still gets one: the last of those that share it is seen.
      this.#column(pixels, to - from, heat.column(i, part), Math.min(begin, to - from - 1), Math.max(end, begin + 1), from);
    }
    this.context.putImageData(image, from, 0);
    heat.changed = heat.length;
  }

  /** Which rows lie in which line of pixels: [first, one past the last]. */
  #rows(height) {
    const { rows } = this.heat;
    this.spans = Array.from({ length: height }, (_, y) => {
      const row = (line) => (((height - line) / height) * this.length) / this.merged;
      const first = Math.min(rows - 1, Math.floor(row(y + 1) + 1e-9));
      return [first, Math.max(first + 1, Math.min(rows, Math.floor(row(y) + 1e-9)))];
    });
  }

  #shades() {
    const { theme } = this.view;
    this.zero = packed(...channels(theme.zero));
    this.inf = packed(...channels(theme.inf));
    this.nan = theme.nan.map((hex) => packed(...channels(hex)));
  }

  #column(pixels, stride, codes, begin, end, offset) {
    const [low, high] = this.domain;
    const { zero, inf, nan: [dark, light] } = this;
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
}

export class HeatPane extends Pane {
  constructor(parent, hooks) {
    super("heat", parent, hooks, true);
    this.parts = new PartChoice(this.head, this.legend, hooks.choose);
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
    this.names.classList.add("with-scale");
    this.legend.append(this.at); // the reading stands beside the title here
    this.domain = [-1, 0];
  }

  plotOptions() {
    return { horizontal: true };
  }

  listen(chart) {
    chart.cells = new Cells(chart.plot, this.view);
    chart.plot.follow((step, fraction) => this.hooks.hover(step, fraction),
      (step, fraction) => this.hooks.pin(step, fraction), chart.stop.signal);
  }

  words() {
    const { text, theme, slots } = this.view;
    const run = slots.find((slot) => slot.run)?.run;
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
    const floor = FLOORS[run?.precision ?? "float32"];
    this.parts.words(this.view, text.heat_title);
    this.setHelp(text, text.heat_title,
      `${text.heat_help} ${this.#reading()} ${floor ? fill(text.heat_floor, { precision: run?.precision ?? "float32", ...floor }) : ""}`.trim());
  }

  /** Which rows tell whether a layer learns from afar, for each way of reading that is shown. */
  #reading() {
    const { slots, text } = this.view;
    if (this.parts.select.hidden) return text.heat_help_early;
    const ways = slots.map(({ backward }) => (backward ? text.heat_help_backward : text.heat_help_forward));
    const joined = slots.some(({ run }) => run?.parts?.some(({ layer, backward }) => backward && layer > 1));
    return [...new Set(ways), text.part_help, joined ? text.heat_help_joined : ""].filter(Boolean).join(" ");
  }

  /** T of the longest sequence; before a run is known, what the rows say. One axis for all twins. */
  get length() {
    return Math.max(1, ...this.view.slots.map(({ run, heat }) => run?.sequence_steps ?? heat.rows));
  }

  draw() {
    const { view } = this;
    const { slots } = view;
    const empty = !slots.some((slot) => slot.run);
    this.#domain();
    this.charts.forEach((chart) => {
      const { plot, slots: [slot] } = chart;
      const { length } = this;
      const distance = 26 * sizes(view).k;
      const ticks = empty ? [] : timeTicks(length, Math.max(2, Math.floor(plot.box.height / distance)));
      plot.y = { low: 0.5, high: length + 0.5, log: false, ticks, labels: ticks.map(integer), grid: false };
      plot.x = stepAxis(plot, view.limit, empty);
      const marks = JSON.stringify([slot.run?.changes ?? [], slot.run?.decoder]);
      // The axes change rarely; the cells are painted at every draw.
      const frame = [view.limit, length, plot.width, plot.height, plot.density, view.theme.signature, view.large, empty,
        marks, slot.letter].join("|");
      if (frame !== chart.frame) {
        chart.frame = frame;
        plot.paint((pen) => this.#over(pen, plot, slot));
      }
      chart.cells.paint(slot, this.domain, length, this.#merged(slot));
    });
  }

  #over(pen, plot, slot) {
    const border = slot.run?.decoder;
    if (border) {
      const { left, width } = plot.box;
      const y = Math.round(plot.py(border - 0.5));
      const { theme } = this.view;
      pen.segment(left, y + 0.5, left + width, y + 0.5, { stroke: theme.background, lineWidth: 3 });
      pen.segment(left, y + 0.5, left + width, y + 0.5, { stroke: theme.text, dash: [5, 4] });
    }
    drawChanges(pen, plot, [slot], new Rows(3, sizes(this.view).letters), true)();
  }

  printChart(pen, { plot, cells, slots: [slot] }) {
    plot.print(pen, () => {
      const { left, top, width, height } = plot.box;
      pen.image(cells.canvas, left, top, width, height);
      this.#over(pen, plot, slot);
    });
  }

  /** The colour scale in a download. */
  printLegend(pen, x, y, width) {
    const { theme, text, slots } = this.view;
    const { letters, k } = sizes(this.view);
    const [low, high] = this.domain;
    const style = { size: letters, baseline: "middle", fill: theme.muted };
    const middle = y + 8;
    const name = text.heat_scale;
    pen.text(name, x, middle, style);
    let at = x + pen.measure(name, letters) + 12;
    const bar = Math.min(200 * k, width / 2);
    const stripes = 64;
    for (let i = 0; i < stripes; i += 1) {
      const c = TABLE[Math.round((i / (stripes - 1)) * (SHADES - 1))];
      pen.rect(at + (i * bar) / stripes, y + 2, bar / stripes + 0.5, 8,
        { fill: `rgb(${c & 255}, ${(c >> 8) & 255}, ${(c >> 16) & 255})` });
    }
    for (const [e, align] of [[low, "left"], [high, "right"]]) {
      pen.text(`1e${e}`, at + ((e - low) / (high - low)) * bar, y + 18, { ...style, align });
    }
    at += bar + 16;
    for (const code of ["zero", "inf", "nan"]) {
      if (!slots.some(({ heat }) => heat.seen[code])) continue;
      const word = code === "zero" ? text.heat_zero : text[code];
      if (code === "nan") {
        pen.rect(at, y + 2, 12, 12, { fill: theme.nan[1] });
        pen.hatch(at, y + 2, 12, 12, { stroke: theme.nan[0], every: 4 });
      } else pen.rect(at, y + 2, 12, 12, { fill: theme[code] });
      pen.text(word, at + 17, middle, style);
      at += 17 + pen.measure(word, letters) + 14;
    }
    return y + 34;
  }

  #merged(slot) {
    return Math.max(1, slot.run?.row_steps ?? 1);
  }

  /** Whole decades around everything seen so far: it only ever grows, so that a colour keeps its meaning. */
  #domain() {
    const heats = this.view.slots.map((slot) => slot.heat);
    const lowest = Math.min(...heats.map((heat) => heat.low));
    const highest = Math.max(...heats.map((heat) => heat.high));
    const finite = lowest <= highest;
    const some = heats.some((heat) => heat.length);
    const seen = Object.fromEntries(Object.keys(this.codes).map((code) => [code, heats.some((heat) => heat.seen[code])]));
    const low = finite ? Math.floor(lowest / 100) : -1;
    this.domain = [low, finite ? Math.max(low + 1, Math.ceil(highest / 100)) : 0];
    const signature = `${this.domain}|${some}|${finite}|${JSON.stringify(seen)}`;
    if (signature === this.scaleSignature) return;
    this.scaleSignature = signature;
    const [from, to] = this.domain;
    this.scaleBox.classList.toggle("unused", !some);
    this.bar.classList.toggle("unused", !finite);
    const every = [1, 2, 3, 4, 5, 10, 20, 50].find((n) => (to - from) / n <= 4) ?? 50;
    this.barTicks.replaceChildren();
    for (let e = from; e <= to; e += every) {
      const node = element("span", "", this.barTicks);
      node.style.left = `${((e - from) / (to - from)) * 100}%`;
      node.textContent = `1e${e}`;
    }
    for (const [code, { item }] of Object.entries(this.codes)) item.classList.toggle("unused", !seen[code]);
  }

  setCursor(step, fraction) {
    for (const { plot } of this.charts) plot.setCursor(step, fraction);
  }

  /** "t = 5", or "t = 5 to 8" where a row holds several. */
  #time(slot, row) {
    const merged = this.#merged(slot);
    const first = row * merged + 1;
    const last = Math.min(slot.run?.sequence_steps ?? slot.heat.rows, first + merged - 1);
    return last > first ? fill(this.view.text.t_range, { from: integer(first), to: integer(last) }) : integer(first);
  }

  readout(step, fraction) {
    const { slots, text } = this.view;
    const known = slots.map((slot) => [slot, step === null ? -1 : slot.heat.nearest(step)]).filter(([, i]) => i >= 0);
    if (!known.length) {
      write(this.at, "");
      return;
    }
    const value = (slot, i, row) => coarse(heatValue(slot.heat.column(i, slot.part)[row]), text);
    const [[first, i]] = known;
    const at = fill(text.at_step, { step: integer(first.heat.step[i]) });
    const bottom = (slot, j) => value(slot, j, 0);
    const top = (slot, j) => value(slot, j, slot.heat.rows - 1);
    if (slots.length === 1) {
      const row = this.#row(first, fraction);
      write(this.at, `${at}   ${fraction === null
        ? fill(text.heat_ends, { first: this.#time(first, 0), first_value: bottom(first, i),
          last: this.#time(first, first.heat.rows - 1), last_value: top(first, i) })
        : fill(text.heat_cell, { t: this.#time(first, row), value: value(first, i, row) })}`);
      return;
    }
    const row = fraction === null ? 0 : this.#row(first, fraction);
    write(this.at, `${at}   ${fill(text.heat_each, { t: this.#time(first, row),
      list: known.filter(([slot]) => row < slot.heat.rows)
        .map(([slot, j]) => `${slot.letter}\u00a0${value(slot, j, row)}`).join("  ") })}`);
  }

  #row(slot, fraction) {
    const rows = slot.heat.rows;
    return Math.min(rows - 1, Math.max(0, Math.floor(((fraction ?? 0) * this.length) / this.#merged(slot))));
  }

  caption() {
    const { slots, text } = this.view;
    const known = slots.filter(({ heat }) => heat.length);
    const shown = shownPart(slots, text);
    if (!known.length) this.setCaption([text.heat_waiting, shown]);
    else if (slots.length > 1) {
      this.setCaption([this.#compared(known), this.#cut(known), this.#decoders(known), this.#shared(known), shown]);
    } else this.setCaption([this.#one(known[0]), this.#decoders(known), this.#shared(known), shown]);
  }

  /** Where a decoder has taken over. */
  #decoders(known) {
    const { text } = this.view;
    const own = known.find(({ run }) => run?.decoder);
    return own ? fill(text.heat_decoder, { t: integer(own.run.decoder) }) : "";
  }

  /** Where a gradient ends because it was cut off there, it has not faded. */
  #cut(known) {
    const list = each(known, ({ run }) => (run?.truncate ? integer(run.truncate) : null));
    return list ? fill(this.view.text.heat_cut_each, { list }) : "";
  }

  #shared([slot]) {
    const merged = this.#merged(slot);
    return merged > 1 ? fill(this.view.text.heat_rows, { rows: integer(merged) }) : "";
  }

  /** The rows of the steps that were read first and last: the gradient goes from the latter to the former. */
  #way({ heat, backward }) {
    return backward ? [heat.rows - 1, 0] : [0, heat.rows - 1];
  }

  #ends(slot) {
    const column = slot.heat.column(slot.heat.length - 1, slot.part);
    return this.#way(slot).map((row) => heatValue(column[row]));
  }

  #one(slot) {
    const { text } = this.view;
    const { heat, run } = slot;
    const loss = slot.losses.values.loss.at(-1);
    if (run?.state === "diverged" && loss !== undefined && !Number.isFinite(loss)) {
      return fill(text.heat_lost, { step: integer(heat.last) });
    }
    const [first, last] = this.#ends(slot);
    const ratio = first / last;
    const template = first === 0 ? (run?.truncate ? text.heat_cut : text.heat_vanished)
      : Number.isFinite(ratio) && ratio > 0 ? text.heat_ratio : text.heat_pair;
    return fill(template, {
      step: integer(heat.last),
      first: this.#time(slot, this.#way(slot)[0]),
      last: this.#time(slot, this.#way(slot)[1]),
      first_value: coarse(first, text),
      last_value: coarse(last, text),
      ratio: coarse(ratio, text),
      precision: run?.precision ?? "",
      steps: integer(run?.truncate ?? 0),
    });
  }

  /** "The gradient at t = 1 as a share of that at t = T: A 1e-9, B 0.3." */
  #compared(known) {
    const { text } = this.view;
    const backward = new Set(known.map((slot) => slot.backward));
    const template = backward.size > 1 ? text.heat_compared_mixed
      : backward.has(true) ? text.heat_compared_backward : text.heat_compared;
    return fill(template, { first: this.#time(known[0], 0),
      list: each(known, (slot) => {
        const [first, last] = this.#ends(slot);
        return first === 0 && last > 0 ? text.heat_zero : coarse(first / last, text);
      }) });
  }
}
