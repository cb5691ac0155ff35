// What the browser keeps of one run: its summary and its numbers. A twin is a slot; there are one to four.

import { Columns, Series } from "./series.js";

const CLOCKS = {
  step: ["loss", "norm_before", "norm_after", "threshold", "grad_recurrent", "grad_input", "grad_output",
    "update", "weight"],
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

export class Slot {
  constructor(id) {
    this.id = id;
    this.letter = "";
    this.title = "";
    this.given = null; // the colour that the page gives it
    this.run = null;
    this.sample = null;
    this.reel = []; // chunks of a recorded run, for the film
    this.losses = new Series(["loss"]);
    this.norms = new Series(["before", "after", "threshold"]);
    this.groups = new Series(["recurrent", "input", "output"]);
    this.updates = new Series(["ratio"]);
    this.validation = new Series(["loss", "accuracy", "saturated", "dead"]);
    this.heat = new Columns();
    this.spectrum = null; // made when its number of rows is known
    this.clear();
  }

  color(theme) {
    const given = [this.given, this.run?.color].find((color) => /^#[0-9a-f]{6}$/i.test(color ?? ""));
    return given ?? theme.accent;
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
    this.norms.append(step, [arrays.norm_before, arrays.norm_after, arrays.threshold]);
    if (arrays.grad_recurrent) {
      this.groups.append(step, [arrays.grad_recurrent, arrays.grad_input, arrays.grad_output]);
    }
    if (arrays.update && arrays.weight) {
      this.updates.append(step, [Array.from(arrays.update, (size, i) => size / arrays.weight[i])]);
    }
    const missing = new Float32Array(checked.length).fill(NaN);
    this.validation.append(checked, [arrays.validation_loss, arrays.validation_accuracy,
      arrays.saturated ?? missing, arrays.dead ?? missing]);
    if (arrays.spectrum) this.#spectrum(checked, arrays.spectrum, arrays.shape.spectrum[1]);
    this.heat.append(columns, arrays.heat, arrays.shape.heat?.[1] ?? 0);
    const predicted = arrays.prediction_step?.at(-1);
    if (predicted !== undefined && predicted > (this.prediction?.step ?? -Infinity)) {
      const size = arrays.shape.prediction[1];
      this.prediction = { step: predicted, outputs: arrays.prediction.slice(-size) };
    }
    return step.length + checked.length + columns.length > 0 || predicted !== undefined;
  }

  /** values: (m, K, 2) in one row; a column for each of radius and largest singular value of each matrix. */
  #spectrum(steps, values, rows) {
    if (!this.spectrum || this.spectrum.rows !== rows) {
      this.spectrum = new Series(Array.from({ length: 2 * rows }, (_, i) => `${i % 2 ? "sigma" : "radius"}${i >> 1}`));
      this.spectrum.rows = rows;
    }
    const columns = this.spectrum.names.map((_, j) => (
      Array.from(steps, (__, i) => values[i * 2 * rows + j])));
    this.spectrum.append(steps, columns);
  }

  /** Forgets the numbers; the run stays. */
  clear() {
    for (const kept of ["losses", "norms", "groups", "updates", "validation", "heat"]) this[kept].clear();
    this.spectrum = null;
    this.prediction = null;
  }
}
