// A walk through a small network, forward and back, stop by stop. All stops come at once, so that a key is answered
// without the server; it is told only where the reader came to rest, for the page's address.

import { Terms, RIGHT } from "./terms.js";
import { Unrolled, LEFT, PITCH } from "./unrolled.js";
import { element, fill, write } from "./format.js";
import { equation, worded } from "./typeset.js";

const REST = 600; // ms at one stop before the server hears of it
const PACE = 1300; // ms at a stop while it plays
// What uses the keys itself.
const OTHERS = "input, textarea, select, [contenteditable], [role=slider], [role=radio], [role=radiogroup], [role=tab], "
  + "[role=combobox], [role=listbox], [role=option], [role=menu], [role=grid], [role=spinbutton], [role=dialog]";
const ICONS = { first: "M5 4v12M16 4 8 10l8 6z", back: "M14 4 6 10l8 6z", forward: "M6 4l8 6-8 6z", last: "M15 4v12M4 4l8 6-8 6z",
  play: "M6 3.5v13l10-6.5z", pause: "M6.5 4v12M13.5 4v12" };

const instances = new WeakMap();

export function mount(component) {
  const { parentElement } = component;
  let walk = instances.get(parentElement);
  if (!walk) {
    walk = new Walk(parentElement);
    instances.set(parentElement, walk);
  }
  walk.update(component);
  return () => unmount(parentElement);
}

export function unmount(parentElement) {
  instances.get(parentElement)?.destroy();
  instances.delete(parentElement);
}

class Walk {
  constructor(parent) {
    this.listeners = new AbortController();
    this.at = 0;
    this.known = ""; // what is drawn
    this.stamp = null;
    this.root = element("div", "rnnviz-walk");
    this.root.tabIndex = 0;
    this.root.hidden = true;
    this.bar = element("div", "bar", this.root);
    this.#buttons();
    this.place = element("span", "place", this.bar);
    this.card = element("div", "card", this.root);
    this.scroll = element("div", "scroll", this.root);
    this.diagram = new Unrolled(this.scroll, (name) => this.#go(this.order(name)));
    this.terms = new Terms(this.scroll, (name) => this.#go(this.order(name)));
    this.reading = element("p", "reading", this.root);
    this.chain = element("div", "chain", this.root);
    this.said = element("p", "hidden-text", this.root);
    this.said.setAttribute("aria-live", "polite");
    this.order = (name) => this.names.get(name) ?? -1;
    const sheet = element("link", "");
    sheet.rel = "stylesheet";
    sheet.href = new URL("./walk.css", import.meta.url).href;
    const shown = () => {
      this.root.hidden = false;
      this.#layout();
    };
    for (const event of ["load", "error"]) sheet.addEventListener(event, shown, { once: true });
    parent.append(sheet, this.root);
    document.addEventListener("keydown", (event) => this.#key(event), { signal: this.listeners.signal });
    this.size = new ResizeObserver(() => this.#layout());
    this.size.observe(this.root);
  }

  update({ data, setStateValue }) {
    this.setState = setStateValue;
    const { at, stamp, module, ...content } = data;
    const now = JSON.stringify(content);
    if (now !== this.known) {
      const name = this.data?.frames[this.at]?.name;
      this.known = now;
      this.data = content;
      this.names = new Map(content.frames.map((frame, i) => [frame.name, i]));
      this.at = this.names.get(name) ?? Math.min(this.at, content.frames.length - 1);
      this.pitch = null;
      this.#words();
      this.#cards();
      this.#chain();
      this.#layout();
    }
    if (stamp !== this.stamp) { // the address or a preset says where to stand
      this.stamp = stamp;
      this.#pause();
      this.#go(at, false);
    } else {
      this.#show();
    }
  }

  destroy() {
    this.listeners.abort();
    this.size.disconnect();
    clearTimeout(this.rest);
    clearInterval(this.playing);
    this.root.remove();
  }

  #buttons() {
    this.buttons = {};
    const acts = { first: () => this.#go(0), back: () => this.#go(this.at - 1), play: () => this.#play(),
      forward: () => this.#go(this.at + 1), last: () => this.#go(this.data.frames.length - 1) };
    const group = element("span", "buttons", this.bar);
    for (const [name, act] of Object.entries(acts)) {
      const made = element("button", name, group);
      made.type = "button";
      made.addEventListener("click", () => {
        if (name !== "play") this.#pause();
        act();
      });
      this.#icon(made, name);
      this.buttons[name] = made;
    }
    this.slider = element("input", "slider", this.bar);
    this.slider.type = "range";
    this.slider.min = "1";
    this.slider.addEventListener("input", () => {
      this.#pause();
      this.#go(Number(this.slider.value) - 1);
    });
  }

  #icon(made, name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 20 20");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    made.replaceChildren(svg);
  }

  #words() {
    const { text } = this.data;
    for (const [name, made] of Object.entries(this.buttons)) this.#label(made, text[name]);
    this.slider.setAttribute("aria-label", text.slider);
    this.slider.max = String(this.data.frames.length);
    this.root.setAttribute("aria-label", text.walk);
    this.root.setAttribute("role", "group");
    this.root.style.setProperty("--cell", this.data.color);
  }

  #label(made, words) {
    made.setAttribute("aria-label", words);
    made.title = words;
  }

  /** One card for each stop, all in the same place, so that what is below never moves. */
  #cards() {
    this.card.replaceChildren();
    this.cards = this.data.frames.map((frame) => {
      const made = element("div", `stop ${frame.phase}`, this.card);
      const head = element("p", "head", made);
      worded(element("b", "", head), frame.title);
      worded(element("span", "", head), ` ${frame.sentence}`);
      const equations = element("div", "equations", made);
      for (const parts of frame.equations) equations.append(equation(...parts));
      return made;
    });
  }

  #chain() {
    const { chain, reading, text } = this.data;
    this.reading.replaceChildren();
    element("b", "", this.reading).textContent = reading.verdict;
    worded(element("span", "", this.reading), ` ${reading.numbers} ${reading.advice}`);
    this.chain.replaceChildren();
    element("h3", "", this.chain).textContent = text.chain;
    const formula = element("div", "formula", this.chain);
    formula.append(equation(chain.formula));
    const table = element("table", "", element("div", "scroll-x", this.chain));
    const head = element("tr", "", element("thead", "", table));
    for (const column of chain.columns) {
      const cell = element("th", "", head);
      cell.scope = "col";
      cell.append(equation(column));
    }
    const body = element("tbody", "", table);
    for (const { cells, reached } of chain.rows) {
      const row = element("tr", reached ? "" : "left-out", body);
      for (const cell of cells) element("td", "", row).append(equation(cell));
    }
    worded(element("p", "note", this.chain), chain.note);
  }

  #layout() {
    if (!this.data || this.root.hidden) return;
    const room = (this.root.clientWidth - LEFT - RIGHT - 2) / this.data.T;
    const pitch = Math.round(Math.min(190, Math.max(PITCH, room)));
    if (pitch === this.pitch) return;
    this.pitch = pitch;
    this.diagram.build(this.data, pitch);
    this.terms.build(this.data, pitch);
    this.#show();
  }

  #go(at, tell = true) {
    this.at = Math.max(0, Math.min(this.data.frames.length - 1, at));
    this.#show();
    clearTimeout(this.rest);
    if (tell) this.rest = setTimeout(() => this.setState?.("stop", this.at + 1), REST);
  }

  #show() {
    const { frames, text } = this.data;
    const frame = frames[this.at];
    this.root.dataset.frame = frame.name;
    this.root.dataset.phase = frame.phase;
    this.root.dataset.stop = String(this.at + 1);
    this.cards.forEach((card, i) => card.classList.toggle("on", i === this.at));
    write(this.place, fill(text.place, { stop: this.at + 1, stops: frames.length, phase: text[`phase_${frame.phase}`] }));
    this.slider.value = String(this.at + 1);
    this.slider.setAttribute("aria-valuetext", `${this.place.textContent}: ${frame.title}`);
    write(this.said, `${frame.title} ${frame.sentence}`);
    for (const [name, end] of [["first", 0], ["back", 0], ["forward", frames.length - 1], ["last", frames.length - 1]]) {
      this.buttons[name].setAttribute("aria-disabled", String(this.at === end));
    }
    if (this.pitch === null) return;
    this.diagram.show(frame, this.at, this.order);
    this.terms.show(frame, this.at, this.order);
    this.#follow(frame);
  }

  /** Where the diagram is wider than the screen, the step that it is about comes into view. */
  #follow(frame) {
    const { scroll } = this;
    if (scroll.scrollWidth <= scroll.clientWidth + 1) return;
    const x = frame.step === null ? scroll.scrollWidth : LEFT + this.pitch * (frame.step - 0.5);
    const left = Math.max(0, x - scroll.clientWidth / 2 - LEFT / 4);
    if (Math.abs(left - scroll.scrollLeft) > scroll.clientWidth / 6) {
      scroll.scrollTo({ left, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    }
  }

  #play() {
    if (this.playing) {
      this.#pause();
      return;
    }
    if (this.at === this.data.frames.length - 1) this.#go(0);
    this.playing = setInterval(() => {
      this.#go(this.at + 1);
      if (this.at === this.data.frames.length - 1) this.#pause();
    }, PACE);
    this.#icon(this.buttons.play, "pause");
    this.#label(this.buttons.play, this.data.text.pause);
  }

  #pause() {
    if (!this.playing) return;
    clearInterval(this.playing);
    this.playing = null;
    this.#icon(this.buttons.play, "play");
    this.#label(this.buttons.play, this.data.text.play);
  }

  #key(event) {
    if (!this.data || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const path = event.composedPath();
    const elsewhere = !path.includes(this.root) && path.some((one) => one instanceof Element && one.matches(OTHERS));
    const to = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, Home: 0, End: this.data.frames.length - 1 }[event.key];
    if (elsewhere || to === undefined) return;
    event.preventDefault();
    this.#pause();
    this.#go(to);
  }
}
