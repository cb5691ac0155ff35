// The size of the gradient, before and after clipping.

import { LinePane, trend, twinCurves } from "./lines.js";
import { DOTTED } from "./marks.js";
import { differ, each, fill, gradient, integer, lettered, percent, write } from "./format.js";
import { fade } from "./theme.js";

/** A run whose clipping was switched off on the way still shows the clipped part. */
const clips = ({ run, norms: { values: { before, after, threshold } } }) => (
  Boolean(run && run.clip.mode !== "none") || threshold.some((y) => y > 0) || after.some((y, i) => y < before[i]));

/** Whether a gradient was cut off on its way back through time, so that there is a whole one to compare it with. */
const cut = ({ run, norms }) => Boolean(run?.truncate) && norms.values.full.some((y) => y > 0);

/** What a rule measures, over which part of the gradient, and what it compares that with. */
const measure = ({ run }) => run?.clip.measure;
const scope = ({ run }) => run?.clip.scope;
const largest = ({ run }) => (run ? Boolean(run.clip.largest) : null);
const limit = ({ run }) => (run && run.clip.limit !== "none" ? run.clip.limit : null);
const mode = ({ run }) => run?.clip.mode;
const limited = ({ norms }) => norms.values.threshold.some((y) => y > 0);

export class NormPane extends LinePane {
  constructor(parent, hooks) {
    super("norm", parent, hooks, "decades");
  }

  words() {
    const { text, slots, theme } = this.view;
    const run = slots.find((slot) => slot.run)?.run;
    const kind = differ(slots, largest) ? "_mixed" : slots.some(largest) ? "_largest" : "";
    this.shown = this.#shown();
    const title = text[`norm_title${kind}`];
    write(this.title, title);
    write(this.axis, text[`norm_axis${kind}`]);
    write(this.xAxis, text.training_step);
    const over = differ(slots, scope) ? lettered(slots, scope) : run?.clip.scope;
    this.setHelp(text, title, [this.#help(kind, run), this.shown.whole ? text.norm_help_full : "",
      kind === "_mixed" ? fill(text.norm_measures, { list: lettered(slots, measure) }) : "",
      over ? fill(text.norm_scope, { scope: over }) : ""].filter(Boolean).join(" "));
    const named = differ(slots, limit) ? text.norm_threshold_or_limit
      : slots.some((slot) => limit(slot) === "moving") ? text.norm_limit : text.norm_threshold;
    const dash = this.shown.limited || !run ? [{ key: "threshold", kind: "dash", color: theme.text, label: named }] : [];
    const whole = this.shown.whole ? [{ key: "full", kind: "dotted", color: theme.text, label: text.norm_full }] : [];
    if (slots.length > 1) {
      this.setLegend([
        { kind: "faint", color: theme.text, label: this.shown.clipped ? text.norm_before : text.norm_only },
        { kind: "line", color: theme.text, label: text.trend },
        ...[...whole, ...dash].map((item) => ({ ...item, key: undefined })),
        ...slots.map((slot, i) => ({ key: `slot${i}`, kind: "chip", slot })),
      ]);
      return;
    }
    const color = slots[0].color(theme);
    this.setLegend(this.shown.clipped || !run ? [
      { key: "before", kind: "line", color, label: text.norm_before },
      { key: "after", kind: "line", color: theme.after, label: text.norm_after },
      ...whole, ...dash,
    ] : [{ key: "before", kind: "line", color, label: text.norm_only }, ...whole]);
  }

  /** What there is to draw, for the legend to name and nothing else. */
  #shown() {
    const { slots } = this.view;
    return { clipped: slots.some(clips), whole: slots.some((slot) => this.#whole(slot)),
      limited: slots.some((slot) => limited(slot) || limit(slot)) };
  }

  /** The whole gradient has a line where it is measured as the other one is: its norm, over all parameters. */
  #whole(slot) {
    return cut(slot) && slot.run.clip.whole;
  }

  #help(kind, run) {
    const { text, slots } = this.view;
    if (kind === "_mixed") return text.norm_help_mixed;
    if (kind) return text.norm_help_value;
    if (run && !this.shown.clipped) return text.norm_help_none;
    if (differ(slots, mode)) return text.norm_help_twins;
    if (!run || ["none", "norm"].includes(run.clip.mode)) return text.norm_help;
    return [fill(text.norm_help_rule, { rule: run.clip.summary }),
      { moving: text.norm_help_moving, none: text.norm_help_limitless }[run.clip.limit] ?? ""].join(" ");
  }

  scene(slots) {
    if (JSON.stringify(this.#shown()) !== JSON.stringify(this.shown)) this.words();
    const { theme } = this.view;
    const many = slots.length > 1;
    const curves = [];
    for (const slot of slots) {
      const { step, values: { before, after } } = slot.norms;
      // Twins would hide each other behind eight lines: what clipping leaves is the lower of norm and threshold.
      if (!many && clips(slot)) curves.push({ x: step, y: after, color: theme.after });
      if (this.#whole(slot)) curves.push(...this.#wholeCurves(slot, many));
      if (many) curves.push(...twinCurves(slot, step, before, this.view));
      else curves.push({ x: step, y: before, color: slot.color(theme) });
    }
    curves.sort((a, b) => Number(b.behind ?? false) - Number(a.behind ?? false));
    const bounded = slots.filter(limited);
    // A line for all would say that the twins are cut at the same place.
    const common = !differ(slots, largest) && !differ(slots, scope) && !slots.some((slot) => limit(slot) === "moving")
      && new Set(bounded.map(({ norms }) => norms.values.threshold.at(-1))).size === 1;
    bounded.forEach((slot, i) => {
      if (many && common && i > 0) return;
      const { step, values: { threshold } } = slot.norms;
      curves.push({ x: step, y: threshold, color: many && !common ? slot.color(theme) : fade(theme.text, 0.85),
        dash: [4, 4], stepped: limit(slot) !== "moving", hover: false });
    });
    return { slots, curves, gaps: slots.map(({ norms, letter }) => (
      { x: norms.step, y: norms.values.before, letter: many ? letter : "" })) };
  }

  /** Thin, and where it goes on top: beside the noise of the gradient itself nobody could tell the two apart. */
  #wholeCurves(slot, many) {
    const { theme } = this.view;
    const { step, values: { full } } = slot.norms;
    const color = many ? slot.color(theme) : theme.text;
    const smooth = trend(step, full, this.view.limit);
    const dotted = { color, dash: DOTTED, hover: false };
    if (!smooth) return [{ x: step, y: full, ...dotted, hover: true }];
    return [...(many ? [] : [{ x: step, y: full, color, wide: false, alpha: theme.dark ? 0.4 : 0.2, behind: true }]),
      { ...smooth, ...dotted, wide: true }];
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
    if (run?.clip.note && clips(slot)) sentences.push(run.clip.note);
    const moving = run?.clip.limit === "moving";
    const template = run?.clip.largest ? text.norm_now_largest
      : moving ? Number.isNaN(threshold[n]) ? text.norm_now_free : text.norm_now_limit
        : !run || (run.clip.mode === "none" && !(threshold[n] > 0)) ? text.norm_now_none : text.norm_now;
    sentences.push(fill(template, { step: integer(norms.last), before: gradient(before[n], text),
      after: gradient(after[n], text), limit: gradient(threshold[n], text) }));
    const cosine = norms.values.cosine[n];
    if (Number.isFinite(cosine)) {
      sentences.push(fill(run?.truncate ? text.norm_full_now : text.norm_turned, { steps: integer(run?.truncate ?? 0),
        share: gradient(norms.values.share[n], text), cosine: gradient(cosine, text) }));
    }
    const omega = norms.values.omega[n];
    if (Number.isFinite(omega)) sentences.push(fill(text.norm_omega, { value: gradient(omega, text) }));
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
    const left = each(slots.filter(cut), ({ norms: { values: { share, cosine } } }) => (
      fill(text.norm_full_pair, { share: gradient(share.at(-1), text), cosine: gradient(cosine.at(-1), text) })));
    const mixed = differ(slots, largest);
    const template = mixed ? text.norm_each_mixed : slots.some(largest) ? text.norm_each_largest : text.norm_each;
    return [shares ? fill(text.norm_each_clipped, { list: shares }) : "", fill(template, { list: now }),
      left ? fill(text.norm_full_each, { list: left }) : "",
      mixed ? fill(text.norm_measures, { list: lettered(slots, measure) }) : "",
      differ(slots, scope) ? fill(text.norm_scope, { scope: lettered(slots, scope) }) : ""];
  }
}
