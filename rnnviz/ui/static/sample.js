// One sequence of the validation set: what goes in, the steps that matter, the right answer, today's prediction.

import { coarse, element, fill, integer, write } from "./format.js";
import { Pane, chipNode } from "./pane.js";
import { chip } from "./marks.js";
import { fade } from "./theme.js";
import { fromBase64 } from "./decode.js";
import { plainAxis, timeTicks } from "./axes.js";
import { sizes } from "./plot.js";

const MOST_PANELS = 3; // channels drawn as a row of bars each; more become a map of shades
const MOST_TOLD = 8; // channels that are named where the pointer is
const MOST_BARS = 160; // steps drawn as bars; more become a line

const floats = (base64) => (base64 === null || base64 === undefined ? null
  : new Float32Array(fromBase64(base64).slice().buffer));

/** The sample with its numbers unpacked: inputs(t, i) is a number. */
export function readSample(sample) {
  if (!sample) return null;
  const inputs = floats(sample.inputs);
  const at = (t, i) => (sample.symbols ? Number(sample.symbols[t] === i) : inputs?.[t * sample.I + i] ?? 0);
  return { ...sample, at, image: floats(sample.picture), key: JSON.stringify(sample) };
}

function softmax(logits) {
  const top = Math.max(...logits);
  const powers = Array.from(logits, (x) => Math.exp(x - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

const largest = (list) => list.reduce((best, x, i) => (x > list[best] ? i : best), 0);

export class SamplePane extends Pane {
  constructor(parent, hooks) {
    super("sample", parent, hooks, true);
    this.hovered = null;
  }

  /** Twins that see the same sequence see it once, with an answer for each. */
  grouped(slots) {
    const same = slots.every((slot) => slot.sample && slot.sample.key === slots[0].sample?.key);
    return same ? [slots] : slots.map((slot) => [slot]);
  }

  plotOptions() {
    return { left: 64, right: 12, top: 22 };
  }

  listen(chart) {
    chart.plot.follow((t) => this.#point(t), () => {}, chart.stop.signal);
    chart.words = element("div", "answers", chart.root);
  }

  #point(t) {
    this.hovered = t === null ? null : Math.round(t);
    for (const { plot } of this.charts) plot.setCursor(this.hovered);
    this.readout();
  }

  /** The crosshair of training steps has no place here: time runs along this axis. */
  setCursor() {}

  words() {
    const { text } = this.view;
    write(this.title, text.sample_title);
    write(this.axis, text.sample_axis);
    this.setHelp(text, text.sample_title, text.sample_help);
    this.setLegend([]);
  }

  draw() {
    for (const chart of this.charts) {
      const { plot, slots } = chart;
      const [{ sample }] = slots;
      // Answers at every step need a row for each twin.
      const rows = sample?.readout === "every" ? slots.length + 2 : 0;
      chart.figure.style.setProperty("--rows", String(rows));
      plot.resize();
      const length = sample?.T ?? 1;
      const ticks = sample ? timeTicks(length, Math.max(2, Math.floor(plot.box.width / 36))) : [];
      plot.x = { low: 0.5, high: length + 0.5, ticks, labels: ticks.map(integer) };
      plot.y = { low: 0, high: 1, log: false, ticks: [], labels: [], grid: false };
      const key = JSON.stringify([sample?.key, slots.map((slot) => [slot.prediction?.step, slot.letter, slot.given]), plot.width, plot.height, plot.density,
        this.view.theme.signature, this.view.large]);
      if (key === chart.frame) continue;
      chart.frame = key;
      plot.paint((pen) => this.#paint(pen, plot, slots));
      this.#answers(chart);
    }
  }

  printChart(pen, { plot, slots }) {
    plot.print(pen, (same) => this.#paint(same, plot, slots));
    const [{ sample }] = slots;
    if (!sample) return;
    const { text, theme } = this.view;
    const { k } = sizes(this.view);
    const truth = sample.readout === "every" ? sample.answer : this.#word(sample, sample.target);
    const words = [`${text.sample_truth}: ${truth}`, ...slots.filter((slot) => slot.prediction).map((slot) => (
      `${slot.letter || text.sample_said}: ${this.#said(sample, slot.prediction)}`))].join("     ");
    pen.text(pen.fitted(words, plot.box.width, 13 * k), plot.box.left, plot.height + 20 * k,
      { size: 13 * k, baseline: "middle", fill: theme.text });
  }

  /** A prediction in a few words. */
  #said(sample, prediction) {
    const { text } = this.view;
    if (sample.readout === "every") {
      const chosen = this.#chosen(sample, prediction);
      const right = chosen.filter((symbol, t) => symbol === sample.target[t]).length;
      return fill(text.sample_right, { right: integer(right), all: integer(chosen.length) });
    }
    if (!sample.classes) return this.#precise(prediction.outputs[0]);
    if (!prediction.outputs.every(Number.isFinite)) return text.sample_none;
    return sample.classes[largest([...prediction.outputs])];
  }

  #paint(pen, plot, slots) {
    const [{ sample }] = slots;
    if (!sample) return;
    const { left, top, width, height } = plot.box;
    const { k } = sizes(this.view);
    const extra = sample.readout === "every" ? 1 + slots.length : 0; // answers at every step, on the same time axis
    const room = height - extra * 17 * k - (extra ? 6 : 0);
    const cell = width / sample.T;
    if (sample.symbols || sample.channels.length > MOST_PANELS) this.#map(pen, plot, sample, top, room, cell);
    else this.#panels(pen, plot, sample, top, room, cell);
    this.#marks(pen, plot, sample, top, room, cell);
    if (extra) this.#everyStep(pen, plot, slots, top + room + 6, cell);
    pen.segment(left, top + room + 0.5, left + width, top + room + 0.5, { stroke: this.view.theme.rule });
  }

  #panels(pen, plot, sample, top, room, cell) {
    const { theme } = this.view;
    const { letters } = sizes(this.view);
    const { left, width } = plot.box;
    const n = sample.channels.length;
    const gap = 10;
    const high = (room - gap * (n - 1)) / n;
    sample.channels.forEach((name, i) => {
      const y = top + i * (high + gap);
      const values = Array.from({ length: sample.T }, (_, t) => sample.at(t, i));
      const axis = plainAxis(Math.min(0, ...values), Math.max(0, ...values), 2);
      const place = (value) => y + high * (1 - (value - axis.low) / (axis.high - axis.low));
      pen.text(pen.fitted(name, 56, letters), left - 8, y + high / 2,
        { size: letters, align: "right", baseline: "middle", fill: theme.muted });
      pen.segment(left, Math.round(place(0)) + 0.5, left + width, Math.round(place(0)) + 0.5, { stroke: theme.grid });
      const marked = new Set(sample.marks);
      if (sample.T > MOST_BARS) {
        pen.line(values.map((_, t) => plot.px(t + 1)), values.map(place), { stroke: theme.muted, width: 1 });
        return;
      }
      values.forEach((value, t) => {
        const wide = Math.max(1, Math.min(cell * 0.72, 14));
        const [from, to] = [place(Math.max(0, value)), place(Math.min(0, value))];
        pen.rect(plot.px(t + 1) - wide / 2, from, wide, Math.max(value ? 1 : 0, to - from),
          { fill: marked.has(t) ? theme.text : fade(theme.text, 0.32), radius: 0 });
      });
    });
  }

  #map(pen, plot, sample, top, room, cell) {
    const { theme } = this.view;
    const { letters } = sizes(this.view);
    const { left } = plot.box;
    const n = sample.channels.length;
    const high = room / n;
    const every = Math.max(1, Math.ceil((letters * 1.15) / high));
    const thin = high < 6; // lines between the rows would be all that is seen
    let most = 0;
    for (let t = 0; t < sample.T; t += 1) for (let i = 0; i < n; i += 1) most = Math.max(most, Math.abs(sample.at(t, i)));
    sample.channels.forEach((name, i) => {
      const y = top + i * high;
      if (i % every === 0) {
        pen.text(pen.fitted(name, 56, letters), left - 8, y + high / 2,
          { size: letters, align: "right", baseline: "middle", fill: theme.muted });
      }
      if (i && !thin) pen.segment(left, Math.round(y) + 0.5, left + cell * sample.T, Math.round(y) + 0.5, { stroke: theme.grid });
      for (let t = 0; t < sample.T; t += 1) {
        const value = sample.at(t, i) / (most || 1);
        if (!value) continue;
        const space = cell > 4 ? 1 : 0;
        pen.rect(left + t * cell + space / 2, thin ? y : y + 1, Math.max(1, cell - space), thin ? high : high - 2,
          { fill: sample.marks.includes(t) ? theme.text : theme.muted, alpha: Math.abs(value), radius: cell > 8 ? 2 : 0 });
      }
    });
  }

  #marks(pen, plot, sample, top, room, cell) {
    const { theme, text } = this.view;
    const { letters } = sizes(this.view);
    let last = -Infinity;
    for (const [from, to] of joined(sample.marks)) {
      const x = plot.px(from - 0.5);
      const wide = Math.max(cell * (to - from + 1), 3);
      pen.rect(x - 1.5, top - 3, wide + 3, room + 4,
        { stroke: theme.accent, lineWidth: 1.5, dash: [3, 2], radius: 3 });
      const words = from === to ? fill(text.sample_mark, { t: integer(from) })
        : fill(text.sample_marks, { from: integer(from), to: integer(to) });
      const size = pen.measure(words, letters);
      const middle = Math.min(Math.max(x + wide / 2, plot.box.left + size / 2), plot.box.left + plot.box.width - size / 2);
      if (middle - size / 2 < last) continue;
      last = middle + size / 2 + 8;
      pen.text(words, middle, top - 7, { size: letters, align: "center", baseline: "bottom", fill: theme.muted });
    }
  }

  /** Truth and predictions of every step, below each other. */
  #everyStep(pen, plot, slots, y, cell) {
    const [{ sample }] = slots;
    const { theme, text } = this.view;
    const { letters, k } = sizes(this.view);
    const row = 17 * k;
    const size = Math.min(letters, cell * 0.95);
    const legible = size >= 6.5;
    const word = (symbol) => { // a word that a cell is too narrow for stands as a dash
      const full = String(sample.classes?.[symbol] ?? symbol);
      return pen.measure(full, size, 700) <= cell ? full : "–";
    };
    const before = sample.T - sample.target.length; // steps that have no answer: the sequence is still being read
    const rows = [[text.sample_truth, sample.target, null],
      ...slots.map((slot) => [text.sample_said, this.#chosen(sample, slot.prediction), slot])];
    rows.forEach(([name, list, slot], j) => {
      const judged = slot !== null;
      const middle = y + row * (j + 0.5) + 2;
      if (slot?.letter) {
        chip(pen, slot.letter, plot.box.left - 15, middle, slot.color(theme), { size: letters, background: theme.background });
      } else {
        pen.text(name, plot.box.left - 8, middle, { size: letters, align: "right", baseline: "middle", fill: theme.muted });
      }
      list?.forEach((symbol, t) => {
        const right = !judged || symbol === sample.target[t];
        const x = plot.px(before + t + 1);
        if (!right) {
          pen.rect(x - cell / 2 + 0.5, middle - row / 2 + 1, Math.max(1, cell - 1), row - 2,
            { fill: theme.bad, alpha: 0.28, radius: 2 });
        }
        if (symbol === sample.silent && right) pen.circles([x], [middle], Math.min(1.2, cell / 5), theme.faint);
        else if (legible) {
          pen.text(word(symbol), x, middle,
            { size, weight: right ? 400 : 700, align: "center", baseline: "middle", fill: right ? theme.text : theme.bad });
        } else pen.rect(x - cell / 2, middle - 4, Math.max(1, cell), 8, { fill: right ? theme.muted : theme.bad });
      });
    });
  }

  #chosen(sample, prediction) {
    if (!prediction) return null;
    const size = sample.classes.length;
    const { outputs } = prediction;
    return sample.target.map((_, t) => largest([...outputs.subarray(t * size, (t + 1) * size)]));
  }

  /** What the networks say, in words and numbers, below the chart: bars for classes, a line for a number. */
  #answers({ words: box, slots }) {
    const { text, theme } = this.view;
    const [{ sample }] = slots;
    box.replaceChildren();
    if (!sample) return;
    if (sample.image) picture(sample, box, theme);
    const truth = element("span", "answer", box);
    element("span", "answer-name", truth).textContent = text.sample_truth;
    element("b", "", truth).textContent = sample.readout === "every" ? sample.answer : this.#word(sample, sample.target);
    for (const slot of slots) if (slot.prediction) this.#answer(sample, slot, box);
  }

  #answer(sample, slot, parent) {
    const { text, theme } = this.view;
    const { prediction } = slot;
    const box = element("span", "answer", parent);
    if (slot.letter) chipNode(slot, theme, box);
    const said = element("span", "answer-said", box);
    element("span", "answer-name", said).textContent = fill(slot.letter ? text.sample_at_step : text.sample_said_at,
      { step: integer(prediction.step) });
    if (sample.readout === "every") element("b", "", said).textContent = this.#said(sample, prediction);
    else if (sample.classes) this.#classes(sample, prediction, said, box, slot);
    else this.#number(sample, prediction, said, box, slot);
  }

  #word(sample, target) {
    return sample.classes ? sample.classes[target] : this.#precise(target);
  }

  #precise(value) {
    return Number.isFinite(value) ? value.toFixed(3) : Number.isNaN(value) ? this.view.text.nan : this.view.text.inf;
  }

  #classes(sample, { outputs }, said, box, slot) {
    const { text, theme } = this.view;
    if (!outputs.every(Number.isFinite)) {
      element("b", "", said).textContent = text.sample_none;
      return;
    }
    const shares = softmax(outputs);
    const best = largest(shares);
    verdict(element("b", "", said), sample.classes[best], best === sample.target, text);
    const bars = element("span", "answer-bars", box);
    shares.forEach((share, i) => {
      const bar = element("span", "answer-bar", bar_(bars, i === sample.target));
      element("span", "answer-class", bar.parentNode).textContent = short(sample.classes[i]);
      bar.style.setProperty("--share", String(share));
      bar.style.setProperty("--color", slot.color(theme));
      bar.parentNode.title = `${sample.classes[i]}: ${(share * 100).toFixed(1)}\u00a0%`;
    });
  }

  #number(sample, { outputs }, said, box, slot) {
    const { text, theme } = this.view;
    const value = outputs[0];
    element("b", "", said).textContent = this.#precise(value);
    if (!Number.isFinite(value)) return;
    const off = element("span", "answer-off", said);
    off.textContent = fill(text.sample_off, { difference: coarse(Math.abs(value - sample.target), text) });
    const [low, high] = [Math.min(0, sample.target, value), Math.max(2, sample.target, value)];
    const line = element("span", "answer-line", box);
    for (const [name, at, color] of [["truth", sample.target, theme.text], ["said", value, slot.color(theme)]]) {
      const node = element("i", `answer-point answer-point-${name}`, line);
      node.style.left = `${((at - low) / (high - low)) * 100}%`;
      node.style.setProperty("--color", color);
    }
  }

  readout() {
    const { slots, text } = this.view;
    const t = this.hovered;
    const sample = slots.find((slot) => slot.sample)?.sample;
    if (!sample || t === null || t < 1 || t > sample.T) {
      write(this.at, "");
      return;
    }
    const said = sample.symbols ? sample.channels[sample.symbols[t - 1]] : this.#values(sample, t - 1);
    write(this.at, fill(text.sample_at, { t: integer(t), value: said }));
  }

  /** The channels at a step; of many, some of those that are not 0. */
  #values(sample, t) {
    const all = sample.channels.map((name, i) => [name, sample.at(t, i)]);
    const told = all.length > MOST_TOLD ? all.filter(([, value]) => value !== 0).slice(0, MOST_TOLD) : all;
    return told.map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`).join(", ") || "0";
  }

  caption() {
    const { slots, text } = this.view;
    const known = slots.filter((slot) => slot.sample);
    if (!known.length) this.setCaption([text.sample_waiting]);
    else if (!known.some((slot) => slot.prediction)) {
      this.setCaption([fill(text.sample_answer, { answer: known[0].sample.answer }), text.sample_unasked]);
    } else this.setCaption([fill(text.sample_answer, { answer: known[0].sample.answer }), this.#distance(known[0].sample)]);
  }

  /** How long the network has to keep what it saw. */
  #distance({ marks, T, readout }) {
    if (!marks.length || readout === "every") return "";
    return fill(this.view.text.sample_distance, { steps: integer(T - 1 - Math.min(...marks)) });
  }
}

/** A class with its mark when it is the right one. */
function bar_(parent, right) {
  return element("span", right ? "answer-item right" : "answer-item", parent);
}

function verdict(node, word, right, text) {
  node.textContent = word;
  const mark = element("span", right ? "verdict good" : "verdict bad", node.parentNode);
  mark.textContent = right ? text.sample_good : text.sample_bad;
}

/** The first word of a class, where there is little room: "0", "A then B". */
function short(word) {
  const string = String(word);
  return string.length > 14 ? `${string.slice(0, 13)}…` : string;
}

function picture(sample, parent, theme) {
  const canvas = element("canvas", "answer-picture", parent);
  const { size } = sample;
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  sample.image.forEach((ink, i) => {
    context.globalAlpha = Math.min(1, Math.max(0, ink));
    context.fillStyle = theme.text;
    context.fillRect(i % size, Math.floor(i / size), 1, 1);
  });
}

/** Marked steps counted from 1, neighbours joined: [[first, last], ...] */
function joined(marks) {
  const found = [];
  for (const t of [...new Set(marks)].sort((a, b) => a - b).map((mark) => mark + 1)) {
    const last = found[found.length - 1];
    if (last && t === last[1] + 1) last[1] = t;
    else found.push([t, t]);
  }
  return found;
}
