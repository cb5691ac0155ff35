// The loss: of every training batch, of the validation set, and what has to be reached.

import { fill, integer, loss as lossText, percent, tick, write } from "./format.js";
import { drawable, markGaps, namedLine } from "./marks.js";
import { LinePane, extent } from "./lines.js";
import { runColor } from "./theme.js";

export class LossPane extends LinePane {
  constructor(parent, hover) {
    super("loss", parent, hover, false);
  }

  labels(ticks) {
    return ticks.map(tick);
  }

  words({ text, run, theme }) {
    write(this.title, text.loss_title);
    write(this.axis, fill(text.loss_axis, { label: run?.loss.label ?? text.loss_title }));
    write(this.xAxis, text.training_step);
    this.setHelp(text, text.loss_title, text.loss_help);
    this.setLegend([
      { key: "training", kind: "line", color: runColor(run, theme), label: text.loss_training },
      { key: "validation", kind: "dots", color: theme.text, label: text.loss_validation },
    ]);
  }

  series(view) {
    return [{ stroke: () => runColor(view.run, view.theme), width: 1, pxAlign: 0, points: { show: false } }];
  }

  draw({ run, losses, validation }) {
    const shown = losses.length || validation.length;
    const lines = shown && run ? [run.loss.baseline, run.loss.solved] : [];
    const [low, high] = extent(losses.values.loss, validation.values.loss, lines);
    this.feed(low, high, [losses.length ? losses.step : [0], losses.length ? drawable(losses.values.loss) : [null]]);
  }

  below() {
    const { run, theme, losses, validation, text } = this.view;
    this.lineNames = [];
    if (!run || !(losses.length || validation.length)) return;
    const { baseline, baseline_label: name, solved } = run.loss;
    const goal = solved > 0 ? fill(text.loss_goal, { loss: tick(solved) }) : "";
    if (baseline > 0) this.lineNames.push(namedLine(this.plot, theme, baseline, name, "right"));
    if (solved > 0) this.lineNames.push(namedLine(this.plot, theme, solved, goal, "left"));
  }

  above() {
    const { theme, losses, validation, text } = this.view;
    this.#validation(validation, theme);
    if (losses.length) markGaps(this.plot, theme, losses.step, losses.values.loss, text);
    for (const writeName of this.lineNames) writeName?.();
  }

  /** Dots joined by a line; only the line where the dots would run into each other. */
  #validation({ step, values }, theme) {
    const { ctx, bbox } = this.plot;
    const ratio = devicePixelRatio;
    const xs = step.map((x) => this.plot.valToPos(x, "x", true));
    const ys = values.loss.map((y) => (y > 0 && y < Infinity ? this.plot.valToPos(y, "y", true) : null));
    if (!xs.length) return;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left - 4 * ratio, bbox.top - 4 * ratio, bbox.width + 8 * ratio, bbox.height + 8 * ratio);
    ctx.clip();
    ctx.strokeStyle = theme.text;
    ctx.fillStyle = theme.text;
    ctx.lineWidth = 1.4 * ratio;
    ctx.lineJoin = "round";
    ctx.setLineDash([]); // uPlot leaves the last series' dashes behind
    ctx.beginPath();
    let pen = false;
    xs.forEach((x, i) => {
      if (ys[i] === null) pen = false;
      else if (pen) ctx.lineTo(x, ys[i]);
      else {
        ctx.moveTo(x, ys[i]);
        pen = true;
      }
    });
    ctx.stroke();
    const apart = (xs[xs.length - 1] - xs[0]) / Math.max(1, xs.length - 1);
    if (apart > 7 * ratio || xs.length === 1) {
      ctx.beginPath();
      xs.forEach((x, i) => {
        if (ys[i] === null) return;
        ctx.moveTo(x + 2.5 * ratio, ys[i]);
        ctx.arc(x, ys[i], 2.5 * ratio, 0, 2 * Math.PI);
      });
      ctx.fill();
    }
    ctx.restore();
  }

  readout(step) {
    const { losses, validation, text } = this.view;
    const i = step === null ? losses.length - 1 : losses.nearest(step);
    const j = step === null ? validation.length - 1 : validation.upTo(step);
    write(this.values.training, i < 0 ? "" : lossText(losses.values.loss[i], text));
    write(this.values.validation, j < 0 ? "" : lossText(validation.values.loss[j], text));
    write(this.at, i < 0 ? "" : fill(text.at_step, { step: integer(losses.step[i]) }));
  }

  caption() {
    const { losses, validation, text, run } = this.view;
    if (!losses.length) {
      this.setCaption([text.loss_waiting]);
      return;
    }
    const now = losses.values.loss[losses.length - 1];
    const first = losses.values.loss.findIndex((y) => !Number.isFinite(y));
    const kind = (y) => (Number.isNaN(y) ? "nan" : Number.isFinite(y) ? "finite" : "inf");
    const checked = validation.length ? validation.values.loss[validation.length - 1] : null;
    const sentences = [];
    if (Number.isFinite(now)) {
      sentences.push(fill(text.loss_now, { step: integer(losses.last), loss: lossText(now, text) }));
      if (first >= 0) sentences.push(fill(text.loss_gap, { step: integer(losses.step[first]) }));
    } else {
      let from = losses.length - 1;
      while (from > 0 && kind(losses.values.loss[from - 1]) === kind(now)) from -= 1;
      sentences.push(fill(Number.isNaN(now) ? text.loss_nan : text.loss_inf, { step: integer(losses.step[from]) }));
      if (first < from) sentences.push(fill(text.loss_gap, { step: integer(losses.step[first]) }));
    }
    if (checked !== null) {
      const baseline = run?.loss.baseline;
      sentences.push(fill(baseline > 0 && Number.isFinite(checked) ? text.loss_checked : text.loss_checked_plain,
        { loss: lossText(checked, text), share: percent(checked / baseline) }));
    }
    if (run?.solved_at != null) {
      sentences.push(fill(text.loss_solved, { step: integer(run.solved_at) }), run.solved_sentence);
    }
    this.setCaption(sentences);
  }
}
