// Recorded runs as a film: the numbers come back in their order, and a slider leads to any step.

import { element, fill, integer, write } from "./format.js";
import { select } from "./slot.js";

const SECONDS = 12;
const NEVER = -Infinity;

const PLAY = "M4.5 2.6v10.8L13.2 8z";
const PAUSE = "M4 2.8h3v10.4H4zM9 2.8h3v10.4H9z";
const AGAIN = "M8 2.7a5.3 5.3 0 1 0 5.3 5.3h-1.6A3.7 3.7 0 1 1 8 4.3v2.2l3.4-3L8 .6z";

function glyph(parent) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(svg.namespaceURI, "path");
  svg.append(shape);
  parent.append(svg);
  return shape;
}

export class Film {
  /** view: the shared state · changed(): something else is to be drawn */
  constructor(parent, view, changed) {
    this.view = view;
    this.changed = changed;
    this.at = NEVER; // step up to which is drawn
    this.playing = false;
    this.ready = false;
    this.root = element("div", "film", parent);
    this.root.hidden = true;
    this.button = element("button", "film-play", this.root);
    this.button.type = "button";
    this.glyph = glyph(this.button);
    this.slider = element("input", "film-slider", this.root);
    this.slider.type = "range";
    this.slider.min = "0";
    this.slider.step = "1";
    this.reading = element("output", "film-step", this.root);
    this.skip = element("button", "film-skip", this.root);
    this.skip.type = "button";
    this.button.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => {
      this.pause();
      this.show(Number(this.slider.value));
    });
    this.skip.addEventListener("click", () => {
      this.pause();
      this.show(this.last);
    });
  }

  get last() {
    return Math.max(0, ...this.view.slots.map((slot) => slot.received).filter(Number.isFinite));
  }

  /** Updates that the longest run has made; one that diverged made none at its last step. */
  get made() {
    return Math.max(0, ...this.view.slots.map((slot) => slot.final?.step).filter(Number.isFinite)) || this.last + 1;
  }

  /** Where the axis of steps ends: the last look comes after the last step. */
  get end() {
    return Math.max(this.last, ...this.view.slots.map((slot) => slot.checked).filter(Number.isFinite));
  }

  /** All numbers are there. Whoever wants little motion starts at the end. */
  start() {
    if (this.ready) return;
    this.ready = true;
    this.root.hidden = false;
    this.slider.max = String(this.last);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.show(this.last);
    else {
      this.show(0);
      this.play();
    }
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.at >= this.last) this.show(0);
    this.playing = true;
    let before = performance.now();
    let exact = Math.max(0, this.at);
    const turn = (now) => {
      if (!this.playing) return;
      exact += (Math.max(0, now - before) / (SECONDS * 1000)) * this.last;
      before = now;
      this.show(Math.min(this.last, Math.floor(exact)));
      if (this.at >= this.last) this.pause();
      else this.frame = requestAnimationFrame(turn);
    };
    this.frame = requestAnimationFrame(turn);
    this.words();
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.frame);
    this.words();
  }

  show(step) {
    if (step === this.at) return;
    for (const slot of this.view.slots) this.#slot(slot, step);
    this.at = step;
    this.slider.value = String(step);
    this.words();
    this.changed();
  }

  /** Draws a slot as it was at a step; a summary that came meanwhile is taken in too. */
  again(slot) {
    if (this.ready) this.#slot(slot, this.at);
  }

  #slot(slot, step) {
    const back = step < (slot.filmed ?? NEVER);
    if (back) slot.clear();
    const from = back ? NEVER : slot.filmed ?? NEVER;
    // A run of n steps ends at step n - 1, and is looked at once more after it, at step n.
    const over = step >= slot.received;
    for (const arrays of slot.reel) slot.take(select(arrays, from, over ? Infinity : step));
    slot.filmed = step;
    const { final } = slot;
    if (final) slot.run = over ? final : past(final, step);
  }

  words() {
    const { text } = this.view;
    const over = this.at >= this.last;
    this.glyph.setAttribute("d", this.playing ? PAUSE : over ? AGAIN : PLAY);
    this.button.setAttribute("aria-label", this.playing ? text.film_pause : over ? text.film_again : text.film_play);
    this.slider.setAttribute("aria-label", text.film_slider);
    // Updates made, as in the lines above the figures; the slider goes over the steps from 0.
    const step = Math.min(Math.max(0, this.at) + 1, this.made);
    write(this.reading, fill(text.film_step, { step: integer(step), steps: integer(this.made) }));
    write(this.skip, text.film_skip);
    this.skip.disabled = over && !this.playing;
    this.slider.style.setProperty("--share", String(this.last ? Math.max(0, this.at) / this.last : 0));
  }

  destroy() {
    this.pause();
    this.root.remove();
  }
}

/** A run's summary as it was at an earlier step. */
function past(run, step) {
  return { ...run, film: true, state: "replay", message: null, step: step + 1, repeats: null, diagnosis: [],
    steps_per_second: null, changes: (run.changes ?? []).filter((change) => change.step <= step),
    accuracy: run.accuracy && { ...run.accuracy, value: null },
    solved_at: run.solved_at !== null && run.solved_at <= step ? run.solved_at : null };
}
