// The loss: of every training batch, of the validation set, and what has to be reached.

import { LinePane, settled, twinLevels } from "./lines.js";
import { differ, each, fill, gradient, integer, lettered, loss as lossText, percent, tick, write } from "./format.js";

const unit = ({ run }) => run?.loss.label;

const MANY = 10; // times the baseline, from where a percentage says less

export class LossPane extends LinePane {
  constructor(parent, hooks) {
    super("loss", parent, hooks, "log");
  }

  words() {
    const { text, theme, slots } = this.view;
    const run = slots.find((slot) => slot.run)?.run;
    write(this.title, text.loss_title);
    write(this.axis, differ(slots, unit) ? fill(text.loss_axis_each, { list: lettered(slots, unit) })
      : fill(text.loss_axis, { label: run?.loss.label ?? text.loss_title }));
    write(this.xAxis, text.training_step);
    const repeats = slots.some((slot) => slot.run?.repeats);
    this.setHelp(text, text.loss_title, repeats ? `${text.loss_help} ${text.loss_help_repeats}` : text.loss_help);
    const band = repeats ? [{ kind: "band", color: slots.length > 1 ? theme.text : slots[0].color(theme),
      label: text.loss_repeats }] : [];
    if (slots.length === 1) {
      this.setLegend([
        { key: "training", kind: "line", color: slots[0].color(theme), label: text.loss_training },
        { key: "validation", kind: "dots", color: theme.text, label: text.loss_validation },
        ...band,
      ]);
      return;
    }
    this.setLegend([
      { kind: "faint", color: theme.text, label: text.loss_training },
      { kind: "dots", color: theme.text, label: text.loss_validation },
      ...band,
      ...slots.map((slot, i) => ({ key: `slot${i}`, kind: "chip", slot })),
    ]);
  }

  scene(slots) {
    const { theme, text } = this.view;
    const many = slots.length > 1;
    const curves = [];
    const bands = [];
    for (const slot of slots) {
      const color = slot.color(theme);
      curves.push({ x: slot.losses.step, y: slot.losses.values.loss, color,
        alpha: !many ? 1 : theme.dark ? 0.5 : 0.3 });
      const repeats = slot.run?.repeats;
      if (!repeats || repeats.runs < 1) continue;
      bands.push({ x: repeats.step, low: repeats.low, high: repeats.high, color });
      curves.push({ x: repeats.step, y: repeats.middle.map((y) => y ?? NaN), color, dash: [2, 3], hover: false });
    }
    for (const slot of slots) {
      const { validation, losses } = slot;
      const color = slot.color(theme);
      const checked = validation.length > 0;
      if (checked) {
        curves.push({ x: validation.step, y: validation.values.loss, color: many ? color : theme.text, dots: true,
          end: many ? { letter: slot.letter } : null });
      } else if (many && losses.length) {
        curves.push({ x: losses.step.slice(-1), y: losses.values.loss.slice(-1), color,
          end: { letter: slot.letter, y: settled(losses.values.loss) }, hover: false });
      }
    }
    return { slots, curves, bands, levels: this.#levels(slots),
      gaps: slots.map(({ losses, letter }) => ({ x: losses.step, y: losses.values.loss, letter: many ? letter : "" })) };
  }

  #levels(slots) {
    const { theme, text } = this.view;
    return twinLevels(slots, theme, ({ run: { loss } }) => [
      { value: loss.baseline, label: loss.baseline_label, side: "right" },
      { value: loss.solved, label: fill(text.loss_goal, { loss: tick(loss.solved ?? 0) }), side: "left" },
    ], ({ losses, validation }) => losses.length + validation.length > 0);
  }

  #at(slot, step) {
    const { losses, validation } = slot;
    const i = step === null ? losses.length - 1 : losses.nearest(step);
    const j = step === null ? validation.length - 1 : validation.upTo(step);
    const { text } = this.view;
    return { step: i < 0 ? null : losses.step[i],
      training: i < 0 ? "" : lossText(losses.values.loss[i], text),
      validation: j < 0 ? "" : lossText(validation.values.loss[j], text) };
  }

  readout(step) {
    const { slots, text } = this.view;
    const read = slots.map((slot) => this.#at(slot, step));
    if (slots.length === 1) {
      write(this.values.training, read[0].training);
      write(this.values.validation, read[0].validation);
    } else {
      read.forEach(({ training, validation }, i) => {
        write(this.values[`slot${i}`], validation || training);
      });
    }
    const steps = read.map((one) => one.step).filter((one) => one !== null);
    const shown = step === null ? Math.max(...steps) : steps.find((one) => Math.abs(one - step) < 1) ?? steps[0];
    write(this.at, steps.length ? fill(text.at_step, { step: integer(shown) }) : "");
  }

  caption() {
    const { slots, text } = this.view;
    if (!slots.some((slot) => slot.losses.length)) this.setCaption([text.loss_waiting]);
    else if (slots.length === 1) this.setCaption(this.#one(slots[0]));
    else this.setCaption(this.#compared(slots));
  }

  #one({ losses, validation, run }) {
    const { text } = this.view;
    const now = losses.values.loss.at(-1);
    const first = losses.values.loss.findIndex((y) => !Number.isFinite(y));
    const checked = validation.length ? validation.values.loss.at(-1) : null;
    const sentences = [];
    if (Number.isFinite(now)) {
      sentences.push(fill(text.loss_now, { step: integer(losses.last), loss: lossText(now, text) }));
      if (first >= 0) sentences.push(fill(text.loss_gap, { step: integer(losses.step[first]) }));
    } else sentences.push(...this.#broken(losses));
    if (checked !== null) {
      const ratio = run?.loss.baseline > 0 ? checked / run.loss.baseline : NaN;
      const known = ratio < MANY ? text.loss_checked : text.loss_checked_times;
      sentences.push(fill(Number.isFinite(ratio) ? known : text.loss_checked_plain,
        { loss: lossText(checked, text), share: percent(ratio), times: gradient(ratio, text) }));
    }
    if (run?.solved_at != null) {
      sentences.push(fill(text.loss_solved, { step: integer(run.solved_at) }), run.solved_sentence);
    }
    if (run?.repeats?.runs) sentences.push(this.#repeats(run.repeats, "loss_repeated"));
    return sentences;
  }

  #repeats({ runs, ended, solved }, name, letter = "") {
    return fill(this.view.text[name], { letter, runs: integer(runs), ended: integer(ended), solved: integer(solved) });
  }

  /** Since when the loss is no number. */
  #broken(losses) {
    const { text } = this.view;
    const { loss } = losses.values;
    const kind = (y) => (Number.isNaN(y) ? "nan" : Number.isFinite(y) ? "finite" : "inf");
    const now = loss.at(-1);
    const first = loss.findIndex((y) => !Number.isFinite(y));
    let from = losses.length - 1;
    while (from > 0 && kind(loss[from - 1]) === kind(now)) from -= 1;
    const sentence = fill(Number.isNaN(now) ? text.loss_nan : text.loss_inf, { step: integer(losses.step[from]) });
    return first < from ? [sentence, fill(text.loss_gap, { step: integer(losses.step[first]) })] : [sentence];
  }

  #compared(slots) {
    const { text } = this.view;
    const sentences = [];
    const checked = each(slots, ({ validation }) => (
      validation.length ? lossText(validation.values.loss.at(-1), text) : null));
    if (checked) sentences.push(fill(text.loss_each_checked, { list: checked }));
    else {
      sentences.push(fill(text.loss_each, {
        list: each(slots, ({ losses }) => (losses.length ? lossText(losses.values.loss.at(-1), text) : null)) }));
    }
    if (differ(slots, unit)) sentences.push(text.loss_units);
    const solved = each(slots, ({ run }) => (
      run?.solved_at == null ? null : fill(text.at_step, { step: integer(run.solved_at) })));
    if (solved) sentences.push(fill(text.loss_each_solved, { list: solved }));
    for (const { losses, letter } of slots) {
      if (losses.length && !Number.isFinite(losses.values.loss.at(-1))) {
        sentences.push(`${letter}: ${this.#broken(losses)[0]}`);
      }
    }
    for (const { run, letter } of slots) {
      if (run?.repeats?.runs) sentences.push(this.#repeats(run.repeats, "loss_repeated_of", letter));
    }
    return sentences;
  }
}
