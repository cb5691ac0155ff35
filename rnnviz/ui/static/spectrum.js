// How much one time step stretches the state: spectral radius of each recurrent matrix and of the step Jacobian.

import { coarse, differ, each, fill, gradient, integer, write } from "./format.js";
import { LinePane } from "./lines.js";
import { PartChoice, shownPart } from "./parts.js";
import { SHAPES } from "./marks.js";
import { fade } from "./theme.js";

const labels = ({ run }) => run?.spectrum ?? null;
const signature = (slot) => labels(slot) && JSON.stringify(labels(slot));

const SHADES = [0.9, 0.62, 0.44, 0.3];

export class SpectrumPane extends LinePane {
  constructor(parent, hooks) {
    super("spectrum", parent, hooks, "log", true);
    this.parts = new PartChoice(this.head, this.legend, hooks.choose);
  }

  /** The last matrix is the step Jacobian: the one that decides, in the run's own colour. */
  #color(slot, row, rows) {
    const { theme } = this.view;
    return row === rows - 1 ? slot.color(theme) : fade(theme.text, SHADES[row % SHADES.length]);
  }

  #shape(row, rows) {
    return row === rows - 1 ? SHAPES[0] : SHAPES[1 + (row % (SHAPES.length - 1))];
  }

  words() {
    const { text, slots, theme } = this.view;
    write(this.title, text.spectrum_title);
    write(this.axis, text.spectrum_axis);
    write(this.xAxis, text.training_step);
    this.parts.words(this.view, text.spectrum_title);
    this.setHelp(text, text.spectrum_title, [text.spectrum_help, this.parts.select.hidden ? "" : text.part_help]
      .filter(Boolean).join(" "));
    const one = slots.length === 1;
    const apart = differ(slots, signature); // other cells have other matrices: each chart names its own
    const common = slots.map(labels).find(Boolean) ?? [];
    const last = common.length - 1;
    const color = (row) => (one ? this.#color(slots[0], row, common.length)
      : row === last ? theme.muted : fade(theme.text, SHADES[row % SHADES.length]));
    const items = (names, shade, key) => names.map((label, row) => ({ key: key(row), kind: "shape", label,
      shape: this.#shape(row, names.length), color: shade(row) }));
    this.setLegend([
      ...(apart ? [] : items(common, color, (row) => (one ? `radius${row}` : ""))),
      ...(common.length ? [{ key: one ? `sigma${last}` : "", kind: "dash", color: apart ? theme.muted : color(last),
        label: text.spectrum_sigma }] : []),
    ]);
    this.setChartLegends(!apart ? null : this.charts.map(({ slots: [slot] }) => {
      const names = labels(slot) ?? [];
      return items(names, (row) => this.#color(slot, row, names.length), () => "");
    }));
  }

  scene(slots) {
    const [slot] = slots;
    const { spectrum } = slot;
    const curves = [];
    if (spectrum) {
      const { rows, step } = spectrum;
      curves.push({ x: step, y: slot.stretch(`sigma${rows - 1}`), color: this.#color(slot, rows - 1, rows), dash: [4, 3] });
      for (let row = 0; row < rows; row += 1) {
        const y = slot.stretch(`radius${row}`);
        curves.push({ x: step, y, color: this.#color(slot, row, rows), wide: true,
          end: { shape: this.#shape(row, rows) } });
      }
    }
    return { slots, curves, levels: spectrum?.length ? [{ value: 1, label: this.view.text.spectrum_one, side: "left" }] : [] };
  }

  readout(step) {
    const { slots, text } = this.view;
    const at = ({ spectrum }) => (!spectrum ? -1 : step === null ? spectrum.length - 1 : spectrum.upTo(step));
    if (slots.length === 1) {
      const i = at(slots[0]);
      for (const [key, node] of Object.entries(this.values)) {
        const y = i < 0 ? undefined : slots[0].stretch(key)?.[i];
        write(node, y === undefined ? "" : gradient(y, text));
      }
    } else {
      this.charts.forEach(({ reading }, j) => {
        const { spectrum } = slots[j];
        const i = at(slots[j]);
        write(reading, i < 0 ? "" : gradient(slots[j].stretch(`radius${spectrum.rows - 1}`)[i], text));
      });
    }
    const steps = slots.map((slot) => slot.spectrum?.step[at(slot)]).filter((one) => one !== undefined);
    write(this.at, steps.length ? fill(text.at_step, { step: integer(Math.max(...steps)) }) : "");
  }

  caption() {
    const { slots, text } = this.view;
    const newest = (slot) => slot.spectrum && slot.stretch(`radius${slot.spectrum.rows - 1}`).at(-1);
    const encoder = slots.some(({ run }) => run?.decoder) ? text.spectrum_encoder : "";
    const shown = [shownPart(slots, text), encoder].filter(Boolean).join(" ");
    const known = slots.filter((slot) => Number.isFinite(newest(slot)));
    if (!known.length) {
      const looked = slots.some((slot) => slot.validation.length);
      const measured = slots.some((slot) => slot.spectrum?.length);
      this.setCaption([looked ? (measured ? text.spectrum_unmeasured : text.not_recorded) : text.spectrum_waiting, shown]);
    } else if (slots.length > 1) {
      this.setCaption([fill(text.spectrum_each, { list: each(known, (slot) => gradient(newest(slot), text)) }), shown]);
    } else {
      const [{ spectrum, run }] = known;
      const radius = newest(known[0]);
      const T = run?.decoder ? run.decoder - 1 : run?.sequence_steps ?? 1; // a decoder's weights are others
      const power = coarse(radius ** T, text);
      this.setCaption([fill(text.spectrum_now, { step: integer(spectrum.last), radius: gradient(radius, text),
        sigma: gradient(known[0].stretch(`sigma${spectrum.rows - 1}`).at(-1), text) }),
      fill(text.spectrum_power, { T: integer(T), power }), shown]);
    }
  }
}
