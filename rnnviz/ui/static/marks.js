// What is drawn on a chart besides its lines, with any pen: named levels, letters at the ends of lines, changes of
// a setting, and the places where a number is missing.

import { fade } from "./theme.js";
import { nearest } from "./series.js";
import { sizes } from "./plot.js";

export const DOTTED = [2, 2.5]; // px drawn and left out
export const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "ring"];

/** Points of a shape of the given radius around the origin; circles are drawn as such. */
export function outline(shape, r) {
  const s = r * 0.9;
  const arm = r * 0.38;
  return {
    square: [[-s, -s], [s, -s], [s, s], [-s, s]],
    triangle: [[0, -r * 1.15], [r * 1.1, r * 0.85], [-r * 1.1, r * 0.85]],
    diamond: [[0, -r * 1.25], [r * 1.25, 0], [0, r * 1.25], [-r * 1.25, 0]],
    cross: [[-arm, -r], [arm, -r], [arm, -arm], [r, -arm], [r, arm], [arm, arm], [arm, r], [-arm, r], [-arm, arm],
      [-r, arm], [-r, -arm], [-arm, -arm]],
  }[shape] ?? null;
}

export function drawShape(pen, shape, x, y, r, color, background) {
  const points = outline(shape, r);
  const ring = outline(shape, r + 1.5);
  const moved = (list) => list.map(([a, b]) => [x + a, y + b]);
  if (points) {
    pen.polygon(moved(ring), { fill: background });
    pen.polygon(moved(points), { fill: color });
    return;
  }
  pen.circles([x], [y], r + 1.5, background);
  pen.circles([x], [y], r, color);
  if (shape === "ring") pen.circles([x], [y], r * 0.45, background);
}

/** White or black, whichever is easier to read on a colour given as #rrggbb. */
export function inkOn(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.3 ? "#101216" : "#ffffff";
}

/** A letter on its twin's colour. */
export function chip(pen, letter, x, y, color, { size, background }) {
  const side = size + 4;
  pen.rect(x - side / 2 - 1, y - side / 2 - 1, side + 2, side + 2, { fill: background, radius: 4 });
  pen.rect(x - side / 2, y - side / 2, side, side, { fill: color, radius: 3 });
  pen.text(letter, x, y, { size: size - 1, weight: 700, align: "center", baseline: "middle", fill: inkOn(color) });
}

/** Marks at the ends of lines, moved apart where they would cover each other. ends: [{x, y, color, letter | shape}] */
export function lineEnds(pen, plot, ends) {
  const { theme } = plot.view;
  const { k, letters } = sizes(plot.view);
  const { left, top, width, height } = plot.box;
  const reach = 8.5 * k;
  const most = plot.width - reach;
  const placed = ends.map((end) => ({ ...end, x: Math.min(Math.max(left, end.x) + (end.letter ? 10 : 3) * k, most) }))
    .sort((a, b) => a.y - b.y);
  const apart = 2 * reach - 1;
  const near = (a, b) => Math.abs(a.x - b.x) < apart;
  for (let round = 0; round < 8; round += 1) {
    for (let i = 1; i < placed.length; i += 1) {
      const [a, b] = [placed[i - 1], placed[i]];
      const missing = apart - (b.y - a.y);
      if (missing <= 0 || !near(a, b) || !a.letter || !b.letter) continue;
      a.y -= missing / 2;
      b.y += missing / 2;
    }
    for (const end of placed) {
      end.y = Math.min(Math.max(end.y, top + (end.letter ? reach - 4 : 0)), top + height - (end.letter ? reach - 2 : 0));
    }
  }
  for (const { x, y, color, letter, shape } of placed) {
    if (letter) chip(pen, letter, x, y, color, { size: letters + 1, background: theme.background });
    else drawShape(pen, shape, x, y, 3.4 * k, color, theme.background);
  }
}

/** Lines of text at the top of a chart in which names find a place beside each other. */
export class Rows {
  constructor(count, size) {
    this.height = size * 1.35;
    this.taken = Array.from({ length: count }, () => []);
  }

  /** Where the text of a line begins, from the top of the chart. */
  at(line) {
    return 2 + line * this.height;
  }

  /** Index of the first line with room from `from` to `to`, or -1. */
  take(from, to) {
    const line = this.taken.findIndex((spans) => spans.every(([a, b]) => to + 6 < a || from > b + 6));
    if (line >= 0) this.taken[line].push([from, to]);
    return line;
  }

  /** Keeps a box free for other words; y counts from the top of the chart. */
  keep(from, to, y, height) {
    this.taken.forEach((spans, line) => {
      if (this.at(line) < y + height && this.at(line) + this.height > y) spans.push([from, to]);
    });
  }
}

/** A line across the chart; `levelNames` writes its name. */
export function level(pen, plot, { value, color }) {
  const { theme } = plot.view;
  const { left, width } = plot.box;
  const y = levelAt(plot, value);
  if (y !== null) {
    pen.segment(left, y, left + width, y, { stroke: color ?? theme.muted, width: sizes(plot.view).thin, dash: [5, 4] });
  }
}

function levelAt(plot, value) {
  const { top, height } = plot.box;
  const y = Math.round(plot.py(value)) + 0.5;
  return y >= top - 1 && y <= top + height + 1 ? y : null;
}

/** How much of a curve runs through a box, in pixels of width. */
function crossing({ xs, ys }, [x0, y0, x1, y1]) {
  const inside = (a, b) => Math.max(a, b) >= y0 && Math.min(a, b) <= y1;
  if (xs.length === 1) return xs[0] >= x0 && xs[0] <= x1 && inside(ys[0], ys[0]) ? 1 : 0;
  let sum = 0;
  for (let i = Math.max(1, nearest(xs, x0)); i < xs.length && xs[i - 1] <= x1; i += 1) {
    const [a, b, wide] = [xs[i - 1], xs[i], xs[i] - xs[i - 1]];
    if (b < x0 || Number.isNaN(ys[i - 1] + ys[i])) continue;
    const at = (x) => (wide > 0 ? ys[i - 1] + ((x - a) / wide) * (ys[i] - ys[i - 1]) : x);
    const [from, to] = [Math.max(a, x0), Math.min(b, x1)];
    if (wide > 0 ? inside(at(from), at(to)) : inside(ys[i - 1], ys[i])) sum += Math.max(1, to - from);
  }
  return sum;
}

const COVERED = 1000; // what another name in the way counts for
const BETTER = 0.6; // a name changes its end only for one that is clearly emptier, so that it does not jump about

/**
 * Finds the names of levels a place above their lines, at the end where fewer curves come near; `side` is where a
 * name stands when both are alike. paths: [{xs, ys}] · ends: [{x, y}]. -> what writes them, once all is drawn
 */
export function levelNames(pen, plot, levels, paths, ends, rows) {
  const { theme } = plot.view;
  const { letters, k } = sizes(plot.view);
  const { left, top, width } = plot.box;
  const taken = ends.filter(({ y }) => Number.isFinite(y)).map(({ x, y }) => [x - 8 * k, y - 8 * k, x + 18 * k, y + 8 * k]);
  const overlaps = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const crowd = (box) => paths.reduce((sum, path) => sum + crossing(path, box), 0)
    + COVERED * taken.filter((other) => overlaps(box, other)).length;
  const names = [];
  for (const { value, label, side } of levels) {
    const y = levelAt(plot, value);
    if (y === null || !label) continue;
    const above = y - top > letters * 1.7;
    const words = pen.fitted(label, width - 8, letters);
    const wide = pen.measure(words, letters);
    const high = letters * 1.4;
    const box = (x) => [x, above ? y - 4 - high : y + 4, x + wide, above ? y - 4 : y + 4 + high];
    const boxes = { left: box(left + 4), right: box(left + width - 2 - wide) };
    let chosen = plot.sides.get(label) ?? side;
    const other = chosen === "left" ? "right" : "left";
    if (crowd(boxes[other]) < crowd(boxes[chosen]) * BETTER) chosen = other;
    plot.sides.set(label, chosen);
    const [x0, y0, x1] = boxes[chosen];
    taken.push(boxes[chosen]);
    rows.keep(x0, x1, y0 - top, high);
    names.push(() => pen.text(words, x0, y + (above ? -5 : 6), { size: letters, baseline: above ? "bottom" : "top",
      fill: fade(theme.text, 0.78), halo: theme.background, around: 7 * k }));
  }
  return () => names.forEach((write) => write());
}

/** Changes of a setting in mid-run, those that all twins share as one. -> [{step, label, slot | null}] */
function changesOf(slots) {
  const told = slots.filter((slot) => slot.run);
  const all = new Map();
  for (const slot of told) {
    for (const { step, label } of slot.run.changes ?? []) {
      const key = JSON.stringify([step, label]);
      all.set(key, [...(all.get(key) ?? []), slot]);
    }
  }
  return [...all].flatMap(([key, owners]) => {
    const [step, label] = JSON.parse(key);
    if (owners.length === told.length) return [{ step, label, slot: null }];
    return owners.map((slot) => ({ step, label, slot }));
  }).sort((a, b) => a.step - b.step);
}

/** A thin line at each change, and what writes their names. `light` is for the dark ground of the heat map. */
export function drawChanges(pen, plot, slots, rows, light = false) {
  const { theme } = plot.view;
  const { letters, thin } = sizes(plot.view);
  const { left, top, width, height } = plot.box;
  const found = changesOf(slots).map((change) => ({ ...change, x: Math.round(plot.px(change.step)) + 0.5 }))
    .filter(({ x }) => x >= left && x <= left + width);
  for (const { x, slot } of found) {
    if (light) pen.segment(x, top, x, top + height, { stroke: "#000000", width: 3 * thin, alpha: 0.35 });
    const color = light ? "#ffffff" : slot && slots.length > 1 ? slot.color(theme) : theme.text;
    pen.segment(x, top, x, top + height, { stroke: color, width: 1.2 * thin, dash: [2, 2], alpha: 0.85 });
  }
  return () => {
    for (const { x, label, slot } of found) {
      const words = slot && slots.length > 1 && slot.letter ? `${slot.letter}: ${label}` : label;
      const wide = pen.measure(words, letters, 500);
      const right = x + 4 + wide <= left + width;
      const from = right ? x + 4 : Math.max(left, x - 4 - wide);
      if (!right && x - 4 - wide < left) continue; // the line alone says that there was a change
      const line = rows.take(from, from + wide);
      if (line < 0) continue;
      pen.text(words, from, top + rows.at(line), { size: letters, weight: 500, baseline: "top",
        fill: light ? "#ffffff" : theme.text, halo: light ? "rgba(16, 18, 22, 0.5)" : theme.background });
    }
  };
}

/** Runs of rows without a drawable value: [{kind: "nan"|"inf"|"zero", from, to}] with indices. */
function gaps(values) {
  const found = [];
  for (let i = 0; i < values.length; i += 1) {
    const y = values[i];
    if (y > 0 && y < Infinity) continue;
    const kind = Number.isNaN(y) ? "nan" : y === 0 ? "zero" : "inf";
    const last = found[found.length - 1];
    if (last && last.kind === kind && last.to === i - 1) last.to = i;
    else found.push({ kind, from: i, to: i });
  }
  return found;
}

/** Marks the gaps over the full height, so that a missing line cannot be taken for a small value. */
export function drawGaps(pen, plot, { x: steps, y: values, letter }, rows) {
  const { theme, text } = plot.view;
  const { letters } = sizes(plot.view);
  const { left: low, top, width: all, height } = plot.box;
  for (const { kind, from, to } of gaps(values)) {
    const at = (i) => plot.px(steps[Math.min(Math.max(i, 0), steps.length - 1)]);
    const center = (at(from) + at(to)) / 2;
    const wide = Math.max(4, at(to + 1) - at(from - 1));
    const left = Math.max(low, center - wide / 2);
    const right = Math.min(low + all, center + wide / 2);
    if (kind === "nan") pen.hatch(left, top, right - left, height, { stroke: theme.text, alpha: 0.3 });
    else {
      pen.rect(left, top, right - left, height, { fill: kind === "inf" ? theme.inf : theme.faint, alpha: 0.22 });
    }
    const words = letter ? `${letter}: ${text[kind]}` : text[kind];
    const half = pen.measure(words, letters, 600) / 2;
    const x = Math.min(Math.max((left + right) / 2, low + half), low + all - half);
    const line = rows.take(x - half, x + half);
    if (line < 0) continue; // gaps in a crowd are named where there is room
    pen.text(words, x, top + rows.at(line),
      { size: letters, weight: 600, align: "center", baseline: "top", fill: theme.muted, halo: theme.background });
  }
}
