// The share of answers that are right on sequences the network never trains on.

import { LinePane, twinLevels } from "./lines.js";
import { differ, each, fill, integer, lettered, percent, write } from "./format.js";

const asked = ({ run }) => run?.accuracy?.label;

export class AccuracyPane extends LinePane {
  constructor(parent, hooks) {
    super("accuracy", parent, hooks, "share");
  }

  get #label() {
    return this.view.slots.find((slot) => slot.run?.accuracy)?.run.accuracy.label;
  }

  words() {
    const { text, slots, theme } = this.view;
    write(this.title, text.accuracy_title);
    write(this.axis, fill(text.accuracy_axis, {
      label: differ(slots, asked) ? lettered(slots, asked) : this.#label ?? text.accuracy_title }));
    write(this.xAxis, text.training_step);
    this.setHelp(text, text.accuracy_title, text.accuracy_help);
    this.setLegend(slots.length > 1
      ? slots.map((slot, i) => ({ key: `slot${i}`, kind: "chip", slot }))
      : [{ key: "slot0", kind: "dots", color: slots[0].color(theme), label: text.loss_validation }]);
  }

  scene(slots) {
    const { theme, text } = this.view;
    const many = slots.length > 1;
    return {
      slots,
      curves: slots.filter((slot) => slot.run?.accuracy).map((slot) => ({
        x: slot.validation.step, y: slot.validation.values.accuracy, color: slot.color(theme), dots: true,
        end: many ? { letter: slot.letter } : null })),
      levels: twinLevels(slots, theme, ({ run: { accuracy } }) => (accuracy ? [{ value: accuracy.solved,
        label: fill(text.accuracy_goal, { share: percent(accuracy.solved ?? NaN) }), side: "left" }] : []),
      ({ validation }) => validation.length > 0),
    };
  }

  readout(step) {
    const { slots, text } = this.view;
    const at = ({ validation }) => (step === null ? validation.length - 1 : validation.upTo(step));
    slots.forEach((slot, i) => {
      const j = slot.run?.accuracy ? at(slot) : -1;
      write(this.values[`slot${i}`], j < 0 ? "" : percent(slot.validation.values.accuracy[j]));
    });
    const steps = slots.map((slot) => slot.validation.step[at(slot)]).filter((one) => one !== undefined);
    write(this.at, steps.length ? fill(text.at_step, { step: integer(Math.max(...steps)) }) : "");
  }

  caption() {
    const { slots, text } = this.view;
    const known = slots.filter((slot) => slot.run?.accuracy && slot.validation.length);
    const told = slots.filter((slot) => slot.run);
    if (told.length && told.every((slot) => slot.run.accuracy === null)) this.setCaption([text.accuracy_none]);
    else if (!known.length) this.setCaption([text.accuracy_waiting]);
    else if (slots.length > 1) {
      this.setCaption([fill(differ(known, asked) ? text.accuracy_each_own : text.accuracy_each, { label: this.#label,
        list: each(known, ({ validation }) => percent(validation.values.accuracy.at(-1))) })]);
    } else {
      const [{ validation, run }] = known;
      const best = Math.max(...validation.values.accuracy.filter(Number.isFinite));
      this.setCaption([
        fill(text.accuracy_now, { step: integer(validation.last), label: run.accuracy.label,
          share: percent(validation.values.accuracy.at(-1)) }),
        Number.isFinite(best) ? fill(text.accuracy_best, { share: percent(best) }) : "",
        run.solved_at == null ? "" : fill(text.loss_solved, { step: integer(run.solved_at) }),
      ]);
    }
  }
}
