// What all line charts share: axes that stand still, and curves, levels, bands and marks on them.

import { Pane } from "./pane.js";
import { Rows, drawChanges, drawGaps, level, levelNames, lineEnds } from "./marks.js";
import { decades, integer, tick } from "./format.js";
import { logAxis, shareAxis, stepTicks } from "./axes.js";
import { nearest } from "./series.js";
import { sizes } from "./plot.js";

const TICK_DISTANCE = 24; // px between labels of the vertical axis
const STEP_DISTANCE = 72;

/** Smallest and largest number of several lists that a log axis can show. */
function extent(...lists) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const y of list) {
      if (!(y > 0 && y < Infinity)) continue;
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  return [low, high];
}

/** The axis of training steps, the same in every chart. */
export function stepAxis(plot, limit, empty) {
  if (empty) return { low: 0, high: limit, ticks: [], labels: [] };
  const distance = STEP_DISTANCE * sizes(plot.view).k;
  const ticks = stepTicks(limit, Math.max(2, Math.floor(plot.box.width / distance)));
  return { low: 0, high: limit, ticks, labels: ticks.map(integer) };
}

/**
 * Where a curve runs, in pixels: {xs, ys}, NaN where there is nothing to draw. Of many values in one column of
 * pixels the first, the extremes and the last are left, which look the same.
 */
export function path(plot, steps, values, stepped = false) {
  const xs = [];
  const ys = [];
  const put = (x, y) => {
    xs.push(x);
    ys.push(y);
  };
  const log = plot.y.log;
  const y = (value) => ((log ? value > 0 && value < Infinity : Number.isFinite(value)) ? plot.py(value) : NaN);
  if (steps.length <= plot.box.width * 1.5 || stepped) {
    for (let i = 0; i < steps.length; i += 1) {
      const at = y(values[i]);
      if (stepped && i > 0) put(plot.px(steps[i]), ys[ys.length - 1]);
      put(plot.px(steps[i]), at);
    }
    return { xs, ys };
  }
  let column = null;
  let low = 0;
  let high = 0;
  let last = 0;
  const close = () => {
    if (column === null) return;
    if (low !== high) {
      put(column, low);
      put(column, high);
    }
    put(column, last);
  };
  for (let i = 0; i < steps.length; i += 1) {
    const at = y(values[i]);
    const x = Math.round(plot.px(steps[i]) * 2) / 2;
    if (Number.isNaN(at)) {
      close();
      column = null;
      put(x, NaN);
    } else if (x === column) {
      low = Math.min(low, at);
      high = Math.max(high, at);
      last = at;
    } else {
      close();
      column = x;
      [low, high, last] = [at, at, at];
      put(x, at);
    }
  }
  close();
  return { xs, ys };
}

/**
 * A pane whose charts are made of scenes. A scene holds
 *   curves: [{x, y, color, wide, alpha, dash, dots, stepped, end: {letter | shape, y}}], in drawing order
 *   levels: [{value, label, side, color}] · bands: [{x, low, high, color}] · gaps: [{x, y, letter}] · slots
 */
export class LinePane extends Pane {
  /** kind: "log", "decades" (a log axis with whole decades) or "share" */
  constructor(name, parent, hooks, kind, perSlot = false) {
    super(name, parent, hooks, perSlot);
    this.kind = kind;
    this.scenes = [];
  }

  draw() {
    const { view } = this;
    const empty = !view.slots.some((slot) => slot.run);
    this.scenes = this.charts.map(({ slots }) => this.scene(slots));
    const lists = this.scenes.flatMap(({ curves, levels = [], bands = [] }) => [
      ...curves.map((curve) => curve.y), levels.map(({ value }) => value),
      ...bands.flatMap(({ low, high }) => [low, high])]);
    const [low, high] = this.kind === "share" ? [0, 1] : extent(...lists);
    this.charts.forEach(({ plot }, i) => {
      const distance = TICK_DISTANCE * sizes(view).k;
      const most = Math.max(2, Math.floor((plot.box.height + 2) / distance) + 1);
      const axis = this.kind === "share" ? shareAxis(most) : logAxis(low, high, most, this.kind === "decades");
      const shown = this.kind === "share" ? !empty : axis.ticks.length > 0;
      plot.y = { ...axis, ticks: shown ? axis.ticks : [], log: this.kind !== "share", grid: true,
        labels: this.kind === "share" ? axis.ticks.map((share) => `${share * 100}\u00a0%`)
          : this.kind === "decades" ? decades(axis.ticks) : axis.ticks.map(tick) };
      plot.x = stepAxis(plot, view.limit, empty);
      plot.paint((pen) => this.#paint(pen, plot, this.scenes[i]));
    });
  }

  printChart(pen, chart, index) {
    chart.plot.print(pen, (same) => this.#paint(same, chart.plot, this.scenes[index]));
  }

  #paint(pen, plot, { curves, levels = [], bands = [], gaps = [], slots }) {
    const { left, top, width, height } = plot.box;
    const { line, thin, k, letters } = sizes(plot.view);
    const rows = new Rows(3, letters);
    const names = [];
    const ends = [];
    const paths = [];
    pen.clip(left - 4, top - 4, width + 8, height + 8, () => {
      for (const band of bands) this.#band(pen, plot, band);
      for (const one of levels) level(pen, plot, one);
      names.push(drawChanges(pen, plot, slots, rows));
      for (const curve of curves) {
        const { xs, ys } = path(plot, curve.x, curve.y, curve.stepped);
        paths.push({ xs, ys });
        // A thin line where it runs up and down in every pixel, a stronger one where single steps can be seen.
        const strong = curve.wide ?? (curve.dots || curve.x.length <= width);
        pen.line(xs, ys, { stroke: curve.color, alpha: curve.alpha ?? 1, dash: curve.dash,
          width: curve.dash && !curve.wide ? line * 0.8 : strong ? line : thin });
        const apart = (plot.px(curve.x.at(-1)) - plot.px(curve.x[0])) / Math.max(1, curve.x.length - 1);
        const lone = ys.length <= 3 && ys.filter((y) => Number.isFinite(y)).length === 1; // no line can be seen
        if (lone || (curve.dots && apart > 7 * k)) pen.circles(xs, ys, 2.5 * k, curve.color);
        if (curve.end && curve.x.length) ends.push(this.#end(plot, curve));
      }
      names.push(levelNames(pen, plot, levels, paths, ends, rows));
      for (const gap of gaps) drawGaps(pen, plot, gap, rows);
    });
    for (const write of names) write();
    lineEnds(pen, plot, ends.filter(({ y }) => Number.isFinite(y)));
  }

  #end(plot, { x, y, end, color }) {
    const value = end.y ?? y[y.length - 1];
    const drawn = plot.y.log ? value > 0 && value < Infinity : Number.isFinite(value);
    return { ...end, color: end.color ?? color, x: plot.px(x[x.length - 1]), y: drawn ? plot.py(value) : NaN };
  }

  #band(pen, plot, { x, low, high, color }) {
    if (x.length < 2) return;
    // null is what was not finite: it lies beyond the upper edge.
    const { top, height } = plot.box;
    const place = (value) => Math.min(top + height, Math.max(top - 8, value > 0 ? plot.py(value) : top - 8));
    const edge = (list) => x.map((step, i) => [plot.px(step), place(list[i])]);
    pen.polygon([...edge(high), ...edge(low).reverse()], { fill: color, alpha: 0.16 });
  }

  setCursor(step) {
    this.charts.forEach(({ plot }, i) => {
      const curves = (this.scenes[i]?.curves ?? []).filter((curve) => curve.hover !== false && curve.x.length);
      const dots = step === null ? [] : curves.map((curve) => {
        const at = nearest(curve.x, step);
        return { x: curve.x[at], y: curve.y[at], color: curve.color };
      });
      plot.setCursor(step, null, dots);
    });
  }
}

/**
 * Levels of twins. One that all of them have stands there once; any other names its twins, and is drawn in the
 * colour of the only one. found(slot): [{value, label, side}] · shown(slot): whether it has anything to compare
 */
export function twinLevels(slots, theme, found, shown) {
  const told = slots.filter((slot) => slot.run);
  const levels = new Map();
  for (const slot of told) {
    for (const one of found(slot)) {
      if (!(one.value > 0)) continue;
      const key = JSON.stringify([one.value, one.label]);
      if (!levels.has(key)) levels.set(key, { ...one, owners: [] });
      levels.get(key).owners.push(slot);
    }
  }
  return [...levels.values()].filter(({ owners }) => owners.some(shown)).map(({ owners, label, ...rest }) => {
    if (owners.length === told.length) return { ...rest, label };
    return { ...rest, label: `${owners.map(({ letter }) => letter).join(", ")}: ${label}`,
      color: owners.length === 1 ? owners[0].color(theme) : undefined };
  });
}

/** The last values of a noisy curve in one: the mean of the finite ones, in logarithms. */
export function settled(values, count = 12) {
  const last = values.slice(-count).filter((y) => y > 0 && y < Infinity);
  return last.length ? Math.exp(last.reduce((sum, y) => sum + Math.log(y), 0) / last.length) : NaN;
}

const BUCKETS = 90;
const FEW = 120; // values that can be told apart without help

/**
 * Where a noisy curve goes: the geometric mean of each stretch of training steps. The stretches hang on the axis,
 * not on the data, so that what is drawn stays where it is. null where there are too few values to need it.
 */
export function trend(steps, values, limit) {
  if (steps.length < FEW) return null;
  const width = Math.max(1, Math.ceil(limit / BUCKETS));
  const x = [];
  const y = [];
  let bucket = null;
  let sum = 0;
  let count = 0;
  const close = () => {
    if (bucket === null) return;
    x.push((bucket + 0.5) * width);
    y.push(count ? Math.exp(sum / count) : NaN);
  };
  for (let i = 0; i < steps.length; i += 1) {
    const at = Math.floor(steps[i] / width);
    if (at !== bucket) {
      close();
      [bucket, sum, count] = [at, 0, 0];
    }
    if (values[i] > 0 && values[i] < Infinity) {
      sum += Math.log(values[i]);
      count += 1;
    }
  }
  close();
  x[x.length - 1] = Math.min(x[x.length - 1], steps[steps.length - 1]);
  return { x, y };
}

/** A twin's noisy curve: every value faintly, and where it goes on top of them, with the twin's letter at its end. */
export function twinCurves(slot, steps, values, view) {
  const color = slot.color(view.theme);
  const smooth = trend(steps, values, view.limit);
  if (!smooth) return [{ x: steps, y: values, color, end: { letter: slot.letter } }];
  return [
    { x: steps, y: values, color, alpha: view.theme.dark ? 0.42 : 0.22, behind: true },
    { ...smooth, color, wide: true, hover: false, end: { letter: slot.letter } },
  ];
}
