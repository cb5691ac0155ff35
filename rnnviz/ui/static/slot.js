// What the browser keeps of one run: its summary and its numbers. A twin is a slot; there are one to four.

import { Columns, Series } from "./series.js";
import { FIRST, nearestPart } from "./parts.js";

const CLOCKS = {
  step: ["loss", "norm_before", "norm_after", "threshold", "grad_recurrent", "grad_input", "grad_output",
    "update", "weight", "full_norm", "full_cosine", "omega"],
  validation_step: ["validation_loss", "validation_accuracy", "saturated", "dead", "spectrum"],
  prediction_step: ["prediction"],
  heat_step: ["heat"],
};

/** The rows of a chunk that are newer than `after` and not newer than `until`. */
export function select(arrays, after, until) {
  const chosen = { shape: {} };
  for (const [clock, names] of Object.entries(CLOCKS)) {
    const steps = arrays[clock];
    if (!steps) continue;
    let from = 0;
    while (from < steps.length && steps[from] <= after) from += 1;
    let to = from;
    while (to < steps.length && steps[to] <= until) to += 1;
    chosen[clock] = steps.subarray(from, to);
    for (const name of names) {
      if (!arrays[name]) continue;
      const shape = arrays.shape[name];
      const row = steps.length ? arrays[name].length / steps.length : 0;
      chosen[name] = arrays[name].subarray(from * row, to * row);
      chosen.shape[name] = [to - from, ...shape.slice(1)];
    }
  }
  return chosen;
}

/**
 * Of each step the norm of the gradient of which a part was left out on the way back, the cosine with what was left,
 * and the norm of that as a share of the whole; and the penalty on lengths that change. NaN in runs without, and in old recordings.
 */
function wholes({ step, full_norm: full, full_cosine: cosine, omega, grad_recurrent: a, grad_input: b, grad_output: c }) {
  const none = new Float32Array(step?.length ?? 0).fill(NaN);
  const known = full && a && b && c;
  const share = known ? Array.from(full, (norm, i) => Math.hypot(a[i], b[i], c[i]) / norm) : none;
  return [full ?? none, cosine ?? none, share, omega ?? none];
}

export class Slot {
  constructor(id) {
    this.id = id;
    this.letter = "";
    this.title = "";
    this.given = null; // the colour that the page gives it
    this.choice = FIRST; // the layer and direction that the viewer wants to see
    this.run = null;
    this.sample = null;
    this.reel = []; // chunks of a recorded run, for the film
    this.losses = new Series(["loss"]);
    this.norms = new Series(["before", "after", "threshold", "full", "cosine", "share", "omega"]);
    this.groups = new Series(["recurrent", "input", "output"]);
    this.updates = new Series(["ratio"]);
    this.validation = new Series(["loss", "accuracy", "saturated", "dead"]);
    this.heat = new Columns();
    this.spectrum = null; // made when its numbers of parts and rows are known
    this.clear();
  }

  color(theme) {
    const given = [this.given, this.run?.color].find((color) => /^#[0-9a-f]{6}$/i.test(color ?? ""));
    return given ?? theme.accent;
  }

  /** The index of the part of the network, a layer in a direction, that is shown. */
  get part() {
    return nearestPart(this.run?.parts ?? [FIRST], this.choice);
  }

  /** Whether the part that is shown reads the sequence from its end. */
  get backward() {
    return this.run?.parts?.[this.part]?.backward ?? false;
  }

  /** The stretch of one matrix of the part that is shown, at every look; name: "radius0", "sigma0" and so on. */
  stretch(name) {
    const { values, parts } = this.spectrum;
    return values[`${name}.${Math.min(this.part, parts - 1)}`];
  }

  /** The last training step that is drawn. */
  get last() {
    return Math.max(this.losses.last, this.validation.last, this.heat.last);
  }

  /** The last training step that has been received, drawn or not. */
  get received() {
    const steps = this.reel.map((arrays) => arrays.step?.at(-1) ?? -Infinity);
    return Math.max(this.losses.last, ...steps);
  }

  /** The step of the last look at the validation set that has been received, drawn or not. */
  get checked() {
    const steps = this.reel.map((arrays) => arrays.validation_step?.at(-1) ?? -Infinity);
    return Math.max(this.validation.last, ...steps);
  }

  /** Adds a chunk's news; true if there were any. */
  take(arrays) {
    const none = [];
    const { step = none, validation_step: checked = none, heat_step: columns = none } = arrays;
    this.losses.append(step, [arrays.loss]);
    this.norms.append(step, [arrays.norm_before, arrays.norm_after, arrays.threshold, ...wholes(arrays)]);
    if (arrays.grad_recurrent) {
      this.groups.append(step, [arrays.grad_recurrent, arrays.grad_input, arrays.grad_output]);
    }
    if (arrays.update && arrays.weight) {
      this.updates.append(step, [Array.from(arrays.update, (size, i) => size / arrays.weight[i])]);
    }
    const missing = new Float32Array(checked.length).fill(NaN);
    this.validation.append(checked, [arrays.validation_loss, arrays.validation_accuracy,
      arrays.saturated ?? missing, arrays.dead ?? missing]);
    if (arrays.spectrum) this.#spectrum(checked, arrays.spectrum, ...arrays.shape.spectrum.slice(1, 3));
    const [, parts = 1, rows = 0] = arrays.shape.heat ?? [];
    this.heat.append(columns, arrays.heat, rows, parts);
    const predicted = arrays.prediction_step?.at(-1);
    if (predicted !== undefined && predicted > (this.prediction?.step ?? -Infinity)) {
      const size = arrays.shape.prediction[1];
      this.prediction = { step: predicted, outputs: arrays.prediction.slice(-size) };
    }
    return step.length + checked.length + columns.length > 0 || predicted !== undefined;
  }

  /** values: (m, P, K, 2) in one row; a column for each of radius and largest singular value of each matrix. */
  #spectrum(steps, values, parts, rows) {
    if (!this.spectrum || this.spectrum.rows !== rows || this.spectrum.parts !== parts) {
      const names = Array.from({ length: 2 * rows }, (_, i) => `${i % 2 ? "sigma" : "radius"}${i >> 1}`);
      this.spectrum = new Series(Array.from({ length: parts }, (_, part) => names.map((name) => `${name}.${part}`)).flat());
      this.spectrum.rows = rows;
      this.spectrum.parts = parts;
    }
    const { names } = this.spectrum;
    const columns = names.map((_, j) => Array.from(steps, (__, i) => values[i * names.length + j]));
    this.spectrum.append(steps, columns);
  }

  /** Forgets the numbers; the run stays. */
  clear() {
    for (const kept of ["losses", "norms", "groups", "updates", "validation", "heat"]) this[kept].clear();
    this.spectrum = null;
    this.prediction = null;
  }
}
