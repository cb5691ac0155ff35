// The size of the gradient, before and after clipping.

import { LinePane, twinCurves } from "./lines.js";
import { differ, each, fill, gradient, integer, lettered, percent, write } from "./format.js";
import { fade } from "./theme.js";

/** A run whose clipping was switched off on the way still shows the clipped part. */
const clips = ({ run, norms }) => (
  Boolean(run && run.clip.mode !== "none") || norms.values.threshold.some((y) => y > 0));

/** What a rule compares with its threshold, and over which part of the gradient. */
const measure = ({ run }) => run?.clip.measure;
const scope = ({ run }) => run?.clip.scope;
const largest = ({ run }) => (run ? Boolean(run.clip.largest) : null);

export class NormPane extends LinePane {
  constructor(parent, hooks) {
    super("norm", parent, hooks, "decades");
  }

  words() {
    const { text, slots, theme } = this.view;
    const run = slots.find((slot) => slot.run)?.run;
    const kind = differ(slots, largest) ? "_mixed" : slots.some(largest) ? "_largest" : "";
    this.clipped = slots.some(clips);
    const title = text[`norm_title${kind}`];
    write(this.title, title);
    write(this.axis, text[`norm_axis${kind}`]);
    write(this.xAxis, text.training_step);
    const help = kind === "_mixed" ? text.norm_help_mixed : kind ? text.norm_help_value
      : run && !this.clipped ? text.norm_help_none : text.norm_help;
    const over = differ(slots, scope) ? lettered(slots, scope) : run?.clip.scope;
    this.setHelp(text, title, [help, kind === "_mixed" ? fill(text.norm_measures, { list: lettered(slots, measure) }) : "",
      over ? fill(text.norm_scope, { scope: over }) : ""].filter(Boolean).join(" "));
    const dash = { key: "threshold", kind: "dash", color: theme.text, label: text.norm_threshold };
    if (slots.length > 1) {
      this.setLegend([
        { kind: "faint", color: theme.text, label: this.clipped ? text.norm_before : text.norm_only },
        { kind: "line", color: theme.text, label: text.trend },
        ...(this.clipped ? [{ ...dash, key: undefined }] : []),
        ...slots.map((slot, i) => ({ key: `slot${i}`, kind: "chip", slot })),
      ]);
      return;
    }
    const color = slots[0].color(theme);
    this.setLegend(this.clipped || !run ? [
      { key: "before", kind: "line", color, label: text.norm_before },
      { key: "after", kind: "line", color: theme.after, label: text.norm_after },
      dash,
    ] : [{ key: "before", kind: "line", color, label: text.norm_only }]);
  }

  scene(slots) {
    if (this.clipped !== slots.some(clips)) this.words();
    const { theme } = this.view;
    const many = slots.length > 1;
    const curves = [];
    for (const slot of slots) {
      const { step, values: { before, after } } = slot.norms;
      // Twins would hide each other behind eight lines: what clipping leaves is the lower of norm and threshold.
      if (!many && clips(slot)) curves.push({ x: step, y: after, color: theme.after });
      if (many) curves.push(...twinCurves(slot, step, before, this.view));
      else curves.push({ x: step, y: before, color: slot.color(theme) });
    }
    curves.sort((a, b) => Number(b.behind ?? false) - Number(a.behind ?? false));
    const thresholds = slots.map(({ norms }) => norms).filter(({ values }) => values.threshold.some((y) => y > 0));
    // A line for all would say that the twins are cut at the same place.
    const common = !differ(slots, largest) && !differ(slots, scope) && new Set(thresholds.map(({ values }) => values.threshold.at(-1))).size === 1;
    slots.filter(({ norms }) => thresholds.includes(norms)).forEach((slot, i) => {
      if (many && common && i > 0) return;
      const { step, values: { threshold } } = slot.norms;
      curves.push({ x: step, y: threshold, color: many && !common ? slot.color(theme) : fade(theme.text, 0.85),
        dash: [4, 4], stepped: true, hover: false });
    });
    return { slots, curves, gaps: slots.map(({ norms, letter }) => (
      { x: norms.step, y: norms.values.before, letter: many ? letter : "" })) };
  }

  readout(step) {
    const { slots, text } = this.view;
    const at = ({ norms }) => (step === null ? norms.length - 1 : norms.nearest(step));
    if (slots.length === 1) {
      const [{ norms }] = slots;
      const i = at(slots[0]);
      for (const [key, node] of Object.entries(this.values)) {
        const y = i < 0 ? NaN : norms.values[key][i];
        write(node, i < 0 ? "" : key === "threshold" && Number.isNaN(y) ? "–" : gradient(y, text));
      }
    } else {
      slots.forEach((slot, i) => {
        const { before } = slot.norms.values;
        const j = at(slot);
        write(this.values[`slot${i}`], j < 0 ? "" : gradient(before[j], text));
      });
    }
    const steps = slots.map((slot) => slot.norms.step[at(slot)]).filter((one) => one !== undefined);
    const shown = step === null ? Math.max(...steps) : steps.find((one) => Math.abs(one - step) < 1) ?? steps[0];
    write(this.at, steps.length ? fill(text.at_step, { step: integer(shown) }) : "");
  }

  caption() {
    const { slots, text } = this.view;
    if (!slots.some((slot) => slot.norms.length)) this.setCaption([text.norm_waiting]);
    else if (slots.length === 1) this.setCaption(this.#one(slots[0]));
    else this.setCaption(this.#compared(slots));
  }

  #one(slot) {
    const { norms, run } = slot;
    const { text } = this.view;
    const { before, after, threshold } = norms.values;
    const n = norms.length - 1;
    const sentences = [];
    if (run && !run.film && clips(slot)) {
      sentences.push(run.clipped_steps > 0
        ? fill(text.norm_clipped, {
          share: percent(run.clipped_share), clipped: integer(run.clipped_steps), made: integer(run.made_steps) })
        : text.norm_never);
    }
    const template = Number.isNaN(threshold[n]) ? text.norm_now_none
      : run?.clip.largest ? text.norm_now_largest : text.norm_now;
    sentences.push(fill(template,
      { step: integer(norms.last), before: gradient(before[n], text), after: gradient(after[n], text) }));
    const first = before.findIndex((y) => !Number.isFinite(y));
    if (first >= 0 && first < n) {
      const kind = Number.isNaN(before[first]) ? text.nan : text.inf;
      sentences.push(fill(text.norm_gap, { kind, step: integer(norms.step[first]) }));
    }
    return sentences;
  }

  #compared(slots) {
    const { text } = this.view;
    const now = each(slots, ({ norms }) => (norms.length ? gradient(norms.values.before.at(-1), text) : null));
    const shares = each(slots, (slot) => (
      slot.run && !slot.run.film && slot.norms.length && clips(slot) ? percent(slot.run.clipped_share) : null));
    const mixed = differ(slots, largest);
    const template = mixed ? text.norm_each_mixed : slots.some(largest) ? text.norm_each_largest : text.norm_each;
    return [shares ? fill(text.norm_each_clipped, { list: shares }) : "", fill(template, { list: now }),
      mixed ? fill(text.norm_measures, { list: lettered(slots, measure) }) : "",
      differ(slots, scope) ? fill(text.norm_scope, { scope: lettered(slots, scope) }) : ""];
  }
}
