// How far an update moves the weights, as a share of their size.

import { LinePane, twinCurves } from "./lines.js";
import { each, fill, gradient, integer, write } from "./format.js";

const USUAL = 1e-3; // a rule of thumb: Karpathy, notes of Stanford's CS231n, "ratio of weights:updates"

export class UpdatePane extends LinePane {
  constructor(parent, hooks) {
    super("update", parent, hooks, "decades");
  }

  words() {
    const { text, slots, theme } = this.view;
    write(this.title, text.update_title);
    write(this.axis, text.update_axis);
    write(this.xAxis, text.training_step);
    this.setHelp(text, text.update_title, text.update_help);
    this.setLegend(slots.length > 1
      ? [{ kind: "faint", color: theme.text, label: text.update_ratio }, { kind: "line", color: theme.text, label: text.trend },
        ...slots.map((slot, i) => ({ key: `slot${i}`, kind: "chip", slot }))]
      : [{ key: "slot0", kind: "line", color: slots[0].color(theme), label: text.update_ratio }]);
  }

  scene(slots) {
    const { theme, text } = this.view;
    const many = slots.length > 1;
    return {
      slots,
      curves: many
        ? slots.flatMap((slot) => twinCurves(slot, slot.updates.step, slot.updates.values.ratio, this.view))
          .sort((a, b) => Number(b.behind ?? false) - Number(a.behind ?? false))
        : [{ x: slots[0].updates.step, y: slots[0].updates.values.ratio, color: slots[0].color(theme) }],
      levels: slots.some((slot) => slot.updates.length)
        ? [{ value: USUAL, label: text.update_usual, side: "left" }] : [],
    };
  }

  readout(step) {
    const { slots, text } = this.view;
    const at = ({ updates }) => (step === null ? updates.length - 1 : updates.nearest(step));
    slots.forEach((slot, i) => {
      const j = at(slot);
      write(this.values[`slot${i}`], j < 0 ? "" : gradient(slot.updates.values.ratio[j], text));
    });
    const steps = slots.map((slot) => slot.updates.step[at(slot)]).filter((one) => one !== undefined);
    write(this.at, steps.length ? fill(text.at_step, { step: integer(Math.max(...steps)) }) : "");
  }

  caption() {
    const { slots, text } = this.view;
    const known = slots.filter((slot) => slot.updates.length);
    const newest = ({ updates }) => gradient(updates.values.ratio.findLast(Number.isFinite) ?? NaN, text);
    if (!known.length) {
      this.setCaption([slots.some((slot) => slot.losses.length) ? text.not_recorded : text.update_waiting]);
    } else if (slots.length > 1) this.setCaption([fill(text.update_each, { list: each(known, newest) })]);
    else {
      const [slot] = known;
      const typical = slot.updates.values.ratio.filter((y) => y > 0).sort((a, b) => a - b);
      this.setCaption([
        fill(text.update_now, { step: integer(slot.updates.last), ratio: newest(slot) }),
        typical.length ? fill(text.update_median, { ratio: gradient(typical[typical.length >> 1], text) }) : "",
      ]);
    }
  }
}
