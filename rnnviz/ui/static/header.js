// The line above the figures: what is running, how far it is, how well it does.

import { Phrase, element, integer, percent, rate, write } from "./format.js";
import { runColor } from "./theme.js";

export class Header {
  constructor(parent) {
    this.root = element("div", "head", parent);
    const line = element("div", "head-line", this.root);
    this.badge = element("span", "badge", line);
    this.badge.setAttribute("role", "status"); // a change of state is read out, the step numbers are not
    this.title = element("span", "run-title", line);
    this.invitation = element("span", "invitation", line);
    this.stats = element("div", "stats", line);
    this.phrases = Object.fromEntries(["step", "rate", "queue", "accuracy", "solved"].map((name) => (
      [name, new Phrase(element("span", `stat stat-${name}`, this.stats))])));
    this.track = element("div", "track", this.root);
    this.track.setAttribute("role", "progressbar");
    this.fill = element("div", "track-fill", this.track);
    this.note = element("p", "note", this.root);
  }

  /** notice: a line about the connection, or "" */
  update({ run, text, theme, validation }, { connecting, notice }) {
    write(this.invitation, run ? "" : connecting ? text.connecting : text.empty);
    this.track.setAttribute("aria-label", text.progress);
    if (!run) {
      write(this.badge, "");
      write(this.title, "");
      write(this.note, notice);
      for (const phrase of Object.values(this.phrases)) phrase.set(null);
      this.fill.style.transform = "scaleX(0)";
      return;
    }
    this.badge.dataset.state = run.state;
    write(this.badge, text[`state_${run.state}`]);
    write(this.title, run.title);
    this.#stats(run, text, validation);
    const share = run.steps > 0 ? Math.min(1, Math.max(0, run.step / run.steps)) : 0;
    this.fill.style.transform = `scaleX(${share})`;
    this.fill.style.background = runColor(run, theme);
    this.track.setAttribute("aria-valuenow", String(Math.floor(share * 100)));
    write(this.note, [run.message, notice].filter(Boolean).join(" "));
    this.note.classList.toggle("bad", ["failed", "diverged"].includes(run.state));
  }

  #stats(run, text, validation) {
    const { step, rate: speed, queue, accuracy, solved } = this.phrases;
    const queued = run.state === "queued";
    step.set(queued ? null : text.step_of, { step: integer(run.step), steps: integer(run.steps) });
    const moving = run.state === "running" && run.steps_per_second > 0;
    speed.set(moving ? text.rate : null, { rate: moving ? rate(run.steps_per_second) : "" });
    const place = queued ? run.queue_position : null;
    queue.set(place == null ? null : place <= 1 ? text.queue_next : text.queue, { position: integer(place ?? 0) });
    const shares = validation.values.accuracy;
    const share = shares.length ? shares[shares.length - 1] : run.accuracy?.value ?? NaN;
    const known = run.accuracy !== null && Number.isFinite(share);
    accuracy.set(known ? text.accuracy : null, { label: run.accuracy?.label ?? "", share: percent(share) });
    solved.set(run.solved_at == null ? null : text.solved, { step: run.solved_at == null ? "" : integer(run.solved_at) });
    solved.node.title = run.solved_sentence ?? "";
  }
}
