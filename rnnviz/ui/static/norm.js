// The size of the gradient, before and after clipping.

import { decades, fill, gradient, integer, percent, write } from "./format.js";
import { drawable, markGaps } from "./marks.js";
import { fade, runColor } from "./theme.js";
import { LinePane, extent } from "./lines.js";
import { uPlot } from "./chart.js";

export class NormPane extends LinePane {
  constructor(parent, hover) {
    super("norm", parent, hover, true);
  }

  labels(ticks) {
    return decades(ticks);
  }

  #largest(run) {
    return run?.clip.measure === "largest element";
  }

  /** A run whose clipping was switched off on the way still shows the clipped part. */
  #clips({ run, norms }) {
    return Boolean(run && run.clip.mode !== "none") || norms.values.threshold.some((y) => y > 0);
  }

  words(view) {
    const { text, run, theme } = view;
    const largest = this.#largest(run);
    const clips = this.#clips(view);
    this.clipped = clips;
    const title = largest ? text.norm_title_largest : text.norm_title;
    write(this.title, title);
    write(this.axis, largest ? text.norm_axis_largest : text.norm_axis);
    write(this.xAxis, text.training_step);
    const help = !run || run.clip.mode === "norm" ? text.norm_help
      : run.clip.mode === "value" ? text.norm_help_value : text.norm_help_none;
    const scope = run?.clip.scope ? fill(text.norm_scope, { scope: run.clip.scope }) : "";
    this.setHelp(text, title, `${help} ${scope}`.trim());
    const color = runColor(run, theme);
    this.setLegend(clips || !run ? [
      { key: "before", kind: "line", color, label: text.norm_before },
      { key: "after", kind: "line", color: theme.after, label: text.norm_after },
      { key: "threshold", kind: "dash", color: theme.text, label: text.norm_threshold },
    ] : [{ key: "before", kind: "line", color, label: text.norm_only }]);
  }

  series(view) {
    const line = { width: 1, pxAlign: 0, points: { show: false } };
    return [
      { ...line, stroke: () => view.theme.after },
      { ...line, stroke: () => runColor(view.run, view.theme) },
      {
        ...line,
        stroke: () => fade(view.theme.text, 0.85),
        width: 1.2,
        dash: [4, 4],
        paths: uPlot.paths.stepped({ align: 1 }),
      },
    ];
  }

  draw(view) {
    const { norms } = view;
    const { before, after, threshold } = norms.values;
    const clips = this.#clips(view);
    if (clips !== this.clipped) this.words(view);
    const [low, high] = extent(before, ...(clips ? [after, threshold] : []));
    const none = norms.length ? before.map(() => null) : [null];
    this.feed(low, high, norms.length
      ? [norms.step, clips ? drawable(after) : none, drawable(before), clips ? drawable(threshold) : none]
      : [[0], none, none, none]);
  }

  below() {}

  above() {
    const { theme, norms, text } = this.view;
    if (norms.length) markGaps(this.plot, theme, norms.step, norms.values.before, text);
  }

  readout(step) {
    const { norms, text } = this.view;
    const i = step === null ? norms.length - 1 : norms.nearest(step);
    for (const [key, node] of Object.entries(this.values)) {
      const y = i < 0 ? NaN : norms.values[key][i];
      write(node, i < 0 ? "" : key === "threshold" && Number.isNaN(y) ? "–" : gradient(y, text));
    }
    write(this.at, i < 0 ? "" : fill(text.at_step, { step: integer(norms.step[i]) }));
  }

  caption() {
    const { norms, text, run } = this.view;
    if (!norms.length) {
      this.setCaption([text.norm_waiting]);
      return;
    }
    const { before, after, threshold } = norms.values;
    const n = norms.length - 1;
    const step = integer(norms.last);
    const sentences = [];
    if (run && this.#clips(this.view)) {
      sentences.push(run.clipped_steps > 0
        ? fill(text.norm_clipped, {
          share: percent(run.clipped_share), clipped: integer(run.clipped_steps), made: integer(run.made_steps) })
        : text.norm_never);
    }
    const template = Number.isNaN(threshold[n]) ? text.norm_now_none
      : this.#largest(run) ? text.norm_now_largest : text.norm_now;
    sentences.push(fill(template, { step, before: gradient(before[n], text), after: gradient(after[n], text) }));
    const first = before.findIndex((y) => !Number.isFinite(y));
    if (first >= 0 && first < n) {
      const kind = Number.isNaN(before[first]) ? text.nan : text.inf;
      sentences.push(fill(text.norm_gap, { kind, step: integer(norms.step[first]) }));
    }
    this.setCaption(sentences);
  }
}
