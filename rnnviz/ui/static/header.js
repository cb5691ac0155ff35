// The lines above the figures, one for each run: what is running, how far it is, how well it does. Below them the
// diagnosis in words.

import { Phrase, element, integer, percent, rate, write } from "./format.js";
import { dressChip } from "./pane.js";

class Line {
  constructor(parent) {
    this.root = element("div", "head-row", parent);
    const line = element("div", "head-line", this.root);
    this.chip = element("span", "chip", line);
    this.title = element("span", "run-title", line);
    this.badge = element("span", "badge", line);
    this.badge.setAttribute("role", "status"); // a change of state is read out, the step numbers are not
    this.invitation = element("span", "invitation", line);
    this.stats = element("div", "stats", line);
    this.phrases = Object.fromEntries(["step", "rate", "queue", "accuracy", "solved"].map((name) => (
      [name, new Phrase(element("span", `stat stat-${name}`, this.stats))])));
    this.track = element("div", "track", this.root);
    this.track.setAttribute("role", "progressbar");
    this.fill = element("div", "track-fill", this.track);
    this.note = element("p", "note", this.root);
  }

  update(slot, { text, theme, slots }, connecting) {
    const { run } = slot;
    const many = slots.length > 1;
    const first = slot === slots[0];
    this.chip.hidden = !many;
    if (many) dressChip(this.chip, slot, theme);
    write(this.invitation, run || (many && !first && !connecting) ? "" : connecting ? text.connecting : text.empty);
    this.root.classList.toggle("without-run", !run);
    this.track.setAttribute("aria-label", text.progress);
    write(this.title, many ? slot.title : run?.title ?? "");
    this.title.title = many ? run?.title ?? "" : "";
    if (!run) {
      write(this.badge, "");
      write(this.note, "");
      for (const phrase of Object.values(this.phrases)) phrase.set(null);
      this.fill.style.transform = "scaleX(0)";
      return;
    }
    this.badge.dataset.state = run.state;
    write(this.badge, text[`state_${run.state}`]);
    this.#stats(slot, text, many);
    const share = run.steps > 0 ? Math.min(1, Math.max(0, run.step / run.steps)) : 0;
    this.fill.style.transform = `scaleX(${share})`;
    this.fill.style.background = slot.color(theme);
    this.track.setAttribute("aria-valuenow", String(Math.floor(share * 100)));
    write(this.note, run.message ?? "");
    this.note.classList.toggle("bad", ["failed", "diverged"].includes(run.state));
  }

  #stats({ run, validation }, text, many) {
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
    accuracy.set(known ? (many ? text.accuracy_short : text.accuracy) : null, { label: run.accuracy?.label ?? "", share: percent(share) });
    solved.set(run.solved_at == null ? null : text.solved, { step: run.solved_at == null ? "" : integer(run.solved_at) });
    solved.node.title = run.solved_sentence ?? "";
  }
}

/** What the numbers mean, the most important of it first; the rest behind a click. */
class Findings {
  constructor(parent) {
    this.root = element("div", "findings", parent);
    this.open = new Set();
    this.written = "";
  }

  update({ slots, text, theme }) {
    const told = slots.filter((slot) => slot.run?.diagnosis?.length);
    const now = JSON.stringify([told.map((slot) => [slot.id, slot.letter, slot.color(theme), slot.run.diagnosis]),
      [...this.open], slots.length]);
    if (now === this.written) return;
    this.written = now;
    this.root.replaceChildren();
    this.root.hidden = told.length === 0;
    for (const slot of told) {
      const list = slot.run.diagnosis;
      const shown = this.open.has(slot.id) ? list : list.slice(0, 1);
      shown.forEach((finding, i) => this.#row(slot, finding, i, slots, text, theme, list.length));
    }
  }

  #row(slot, { level, title, text: words, advice }, i, slots, text, theme, count) {
    const row = element("div", `finding finding-${level}`, this.root);
    if (slots.length > 1) {
      const chip = element("span", "chip", row);
      if (i === 0) dressChip(chip, slot, theme);
    }
    const sign = element("span", "finding-sign", row);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", text[`level_${level}`]);
    const body = element("p", "finding-body", row);
    element("b", "", body).textContent = /[.!?…]$/.test(title) ? title : `${title}.`;
    body.append(` ${words} `);
    if (advice) element("span", "finding-advice", body).textContent = advice;
    if (i > 0 || count < 2) return;
    const open = this.open.has(slot.id);
    const more = element("button", "more", body);
    more.type = "button";
    more.textContent = open ? text.findings_less : text.findings_more.replace("{count}", String(count - 1));
    more.setAttribute("aria-expanded", String(open));
    more.addEventListener("click", () => {
      if (!this.open.delete(slot.id)) this.open.add(slot.id);
      this.update(this.view);
      this.root.querySelector(`[data-slot="${CSS.escape(String(slot.id))}"]`)?.focus();
    });
    more.dataset.slot = String(slot.id);
  }
}

export class Header {
  constructor(parent) {
    this.root = element("div", "head", parent);
    this.lines = [];
    this.rows = element("div", "head-rows", this.root);
    this.notice = element("p", "note notice", this.root);
    this.findings = new Findings(this.root);
  }

  /** notice: a line about the connection, or "" */
  update(view, { connecting, notice }) {
    const { slots } = view;
    while (this.lines.length > slots.length) this.lines.pop().root.remove();
    while (this.lines.length < slots.length) this.lines.push(new Line(this.rows));
    this.root.classList.toggle("many", slots.length > 1);
    slots.forEach((slot, i) => this.lines[i].update(slot, view, connecting));
    write(this.notice, notice);
    this.findings.view = view;
    this.findings.update(view);
  }
}
