// The gradient's norm for each group of parameters: the recurrent ones, those at the input, those at the output.

import { LinePane, trend } from "./lines.js";
import { coarse, fill, gradient, integer, write } from "./format.js";
import { SHAPES } from "./marks.js";

const NAMES = ["recurrent", "input", "output"];

export class GroupsPane extends LinePane {
  constructor(parent, hooks) {
    super("groups", parent, hooks, "decades", true);
  }

  #colors(slot) {
    const { theme } = this.view;
    return [slot.color(theme), theme.text, theme.faint];
  }

  #labels() {
    const { slots, text } = this.view;
    const told = slots.find((slot) => slot.run?.groups)?.run.groups;
    return NAMES.map((name, i) => told?.[i] ?? text[`groups_${name}`]);
  }

  words() {
    const { text, slots, theme } = this.view;
    write(this.title, text.groups_title);
    write(this.axis, text.groups_axis);
    write(this.xAxis, text.training_step);
    this.setHelp(text, text.groups_title, text.groups_help);
    const one = slots.length === 1;
    const colors = one ? this.#colors(slots[0]) : [theme.muted, theme.text, theme.faint];
    this.setLegend(this.#labels().map((label, i) => (
      { key: one ? NAMES[i] : "", kind: "shape", shape: SHAPES[i], color: colors[i], label })));
  }

  scene(slots) {
    const [slot] = slots;
    const colors = this.#colors(slot);
    const { step, values } = slot.groups;
    const faint = [];
    const strong = [];
    for (const i of [2, 1, 0]) {
      const y = values[NAMES[i]];
      const end = { shape: SHAPES[i] };
      const smooth = trend(step, y, this.view.limit);
      if (smooth) {
        faint.push({ x: step, y, color: colors[i], alpha: this.view.theme.dark ? 0.45 : 0.25 });
        strong.push({ ...smooth, color: colors[i], wide: true, hover: false, end });
      } else strong.push({ x: step, y, color: colors[i], end });
    }
    return { slots, curves: [...faint, ...strong] };
  }

  readout(step) {
    const { slots, text } = this.view;
    const at = ({ groups }) => (step === null ? groups.length - 1 : groups.nearest(step));
    const numbers = slots.map((slot) => {
      const i = at(slot);
      return NAMES.map((name) => (i < 0 ? "" : gradient(slot.groups.values[name][i], text)));
    });
    if (slots.length === 1) NAMES.forEach((name, i) => write(this.values[name], numbers[0][i]));
    else this.charts.forEach(({ reading }, i) => write(reading, numbers[i].filter(Boolean).join(" · ")));
    const steps = slots.map((slot) => slot.groups.step[at(slot)]).filter((one) => one !== undefined);
    write(this.at, steps.length ? fill(text.at_step, { step: integer(Math.max(...steps)) }) : "");
  }

  caption() {
    const { slots, text } = this.view;
    const known = slots.filter((slot) => slot.groups.length);
    if (!known.length) {
      this.setCaption([slots.some((slot) => slot.losses.length) ? text.not_recorded : text.groups_waiting]);
      return;
    }
    const labels = this.#labels();
    const said = known.map(({ groups, letter }) => {
      const now = NAMES.map((name) => groups.values[name].at(-1));
      const largest = now.indexOf(Math.max(...now));
      const smallest = now.indexOf(Math.min(...now));
      if (largest < 0 || smallest < 0) return null; // NaN is neither
      return { letter, step: integer(groups.last), largest: labels[largest], smallest: labels[smallest],
        ratio: coarse(now[largest] / now[smallest], text) };
    }).filter(Boolean);
    if (slots.length === 1) this.setCaption(said.map((one) => fill(text.groups_now, one)));
    else {
      this.setCaption([fill(text.groups_each, { list: said.map((one) => fill(text.groups_pair, one)).join("; ") })]);
    }
  }
}
