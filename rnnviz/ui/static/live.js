// The live component: the figures of one to four training runs, drawn as their numbers arrive.
//
// Streamlit calls mount() after every run of its script, always with the same parent element. The
// charts are built once and only fed; no script runs between two updates.

import { Source, ended } from "./source.js";
import { AccuracyPane } from "./accuracy.js";
import { Film } from "./film.js";
import { GroupsPane } from "./groups.js";
import { Header } from "./header.js";
import { HeatPane } from "./heat.js";
import { LossPane } from "./loss.js";
import { NormPane } from "./norm.js";
import { FIRST as FIRST_PART } from "./parts.js";
import { SamplePane, readSample } from "./sample.js";
import { Slot } from "./slot.js";
import { SpectrumPane } from "./spectrum.js";
import { UpdatePane } from "./update.js";
import { element } from "./format.js";
import { ownerToken } from "./owner.js";
import { readTheme } from "./theme.js";
import { stepLimit } from "./axes.js";

const PANES = { loss: LossPane, norm: NormPane, heat: HeatPane, accuracy: AccuracyPane, groups: GroupsPane,
  spectrum: SpectrumPane, update: UpdatePane, sample: SamplePane };
const FIRST = ["loss", "norm", "heat"];
const WORDS_EVERY = 500; // ms between two captions: numbers in a sentence cannot be read faster
const FIGURES_EVERY = 40; // ms between two drawings of news: more often is not seen, and costs frames
const TELL_AFTER = 250; // ms in which the stream may catch up with what the page has just said
const AWAY_EVERY = 1000; // ms between two drawings of a pane that is scrolled out of sight
const BUDGET = 7; // ms of one frame for figures; what is left waits for the next frame

const instances = new WeakMap();

export function mount(component) {
  const { parentElement } = component;
  let live = instances.get(parentElement);
  if (!live) {
    live = new Live(parentElement, component.data ?? {});
    instances.set(parentElement, live);
  }
  live.update(component);
  return () => unmount(parentElement);
}

export function unmount(parentElement) {
  instances.get(parentElement)?.destroy();
  instances.delete(parentElement);
}

class Live {
  constructor(parent, data) {
    this.parent = parent;
    this.listeners = new AbortController();
    this.timers = {};
    this.frame = 0;
    this.due = {};
    this.queue = [];
    this.built = false;
    this.updates = 0;
    this.hover = { step: null, fraction: null };
    this.pinned = null;
    this.view = { slots: [new Slot(null)], text: {}, theme: null, limit: 1, large: false, choice: FIRST_PART };
    this.notice = ""; // name of a template
    this.source = new Source(() => this.view.slots, {
      run: (slot, run, known) => this.#run(slot, run, known),
      chunk: (slot, arrays) => this.#take(slot, arrays),
      clear: (slot) => this.#clear(slot),
      complete: () => this.#complete(),
      notice: (name) => this.#notice(name),
      tell: (name, value) => this.setState?.(name, value),
    });

    this.root = element("div", "rnnviz-live");
    this.root.hidden = true;
    this.header = new Header(this.root);
    this.film = new Film(this.root, this.view, () => {
      this.#schedule({ data: true, figures: true, words: true });
    });
    this.grid = element("div", "grid", this.root);
    this.panes = new Map();
    this.hooks = { view: this.view, hover: (step, fraction) => this.#hover(step, fraction),
      pin: (step, fraction) => this.#pin(step, fraction), choose: (part) => this.#choose(part) };
    this.#styles(data.css);
  }

  /** The charts measure their boxes, so they wait for the style sheet; numbers are taken in meanwhile. */
  #styles(css) {
    if (css) { // a page of one file brings the words of the sheet
      this.sheet = element("style", "");
      this.sheet.textContent = css;
    } else {
      this.sheet = element("link", "");
      this.sheet.rel = "stylesheet";
      this.sheet.href = new URL("./live.css", import.meta.url).href;
    }
    const loaded = css ? Promise.resolve() : new Promise((resolve) => {
      this.sheet.addEventListener("load", resolve, { once: true });
      this.sheet.addEventListener("error", resolve, { once: true });
    });
    this.parent.append(this.sheet, this.root);
    loaded.then(() => {
      if (!this.listeners.signal.aborted) this.#build();
    });
  }

  #build() {
    const { signal } = this.listeners;
    this.root.hidden = false;
    this.built = true;
    this.view.theme = readTheme(this.root);
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const pane = [...this.panes.values()].find((one) => one.root === target);
        if (!pane) continue;
        const appears = isIntersecting && pane.away;
        pane.away = !isIntersecting;
        if (appears) this.#schedule({ figures: true });
      }
    }, { rootMargin: "160px" });
    this.#arrange();
    this.observer = new ResizeObserver(() => {
      if ([...this.panes.values()].map((pane) => pane.resize()).includes(true)) this.#schedule({ figures: true });
    });
    this.observer.observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#retheme(), { signal });
    this.#density();
    // A tap outside the plots takes the crosshair away that a finger left behind.
    document.addEventListener("pointerdown", (event) => {
      const path = event.composedPath();
      if (!path.some((node) => node.classList?.contains("over"))) this.#hover(null, null);
    }, { signal });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.pinned) this.#pin(null, null);
      // Streamlit's own shortcut would stand in the button's name.
      if (event.key === "Enter" && event.ctrlKey) document.querySelector(".st-key-train button")?.click();
    }, { signal });
    this.#restarts();
    document.fonts?.ready.then(() => this.#retheme(true));
    this.#schedule({ figures: true, words: true });
  }

  /**
   * A page whose server was started anew has a session that knows nothing of it, and its first click would be
   * lost. The link holds everything, so it is loaded again.
   */
  #restarts() {
    const app = document.querySelector("[data-testid=stApp]");
    if (!app) return;
    const connected = () => app.getAttribute("data-test-connection-state") === "CONNECTED";
    let before = connected();
    this.connection = new MutationObserver(async () => {
      const now = connected();
      const back = now && !before;
      before = now;
      if (!back || !this.server) return;
      try {
        const answer = await fetch(this.server.path, { cache: "no-store" });
        if (answer.ok && (await answer.text()) !== this.server.id) location.reload();
      } catch {
        // It is gone again: the next connection asks again.
      }
    });
    this.connection.observe(app, { attributes: true, attributeFilter: ["data-test-connection-state"] });
  }

  /** The page was zoomed, or moved to a screen of another density. */
  #density() {
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", () => {
      this.#schedule({ figures: true });
      this.#density();
    }, { signal: this.listeners.signal, once: true });
  }

  update({ data, setStateValue, setTriggerValue }) {
    this.setState = setStateValue;
    this.setTrigger = setTriggerValue;
    if (!this.owned && setStateValue) {
      this.owned = true;
      setStateValue("owner", ownerToken());
    }
    const { stream = null, runs, windows, samples, slots, panes, states, text = {}, replay = false, large = false } = data ?? {};
    this.states = states ?? {};
    this.server = data?.server ?? null;
    const settings = JSON.stringify([text, slots ?? null, panes ?? null, large, samples ?? null]);
    this.#replay(Boolean(replay));
    if (settings !== this.settings) {
      this.settings = settings;
      this.view.text = text;
      this.view.large = Boolean(large);
      this.root.classList.toggle("large", this.view.large);
      this.wanted = (panes ?? FIRST).filter((name, i, all) => name in PANES && all.indexOf(name) === i);
      this.#slots(slots?.length ? slots.slice(0, 4) : [{ id: null }], samples ?? {});
      if (this.built) this.#arrange();
      this.#schedule({ figures: true, words: true });
    }
    this.source.update(stream, (runs ?? []).filter(Boolean), windows ?? {});
    if (this.built) this.#retheme();
    clearTimeout(this.timers.tell);
    this.timers.tell = setTimeout(() => {
      for (const slot of this.view.slots) this.#tell(slot.final ?? slot.run);
    }, TELL_AFTER);
  }

  /** A run that stays on the page keeps its numbers, whatever letter it gets. */
  #slots(wanted, samples) {
    const { view } = this;
    const old = view.slots;
    view.slots = wanted.map(({ id = null, letter = "", title = "", color = null }, i) => {
      const slot = old.find((one) => one.id === id && (id !== null || one === old[i])) ?? new Slot(id);
      Object.assign(slot, { letter, title, given: color, choice: view.choice });
      const sample = JSON.stringify(samples[id] ?? null);
      if (sample !== slot.told) {
        slot.told = sample;
        slot.sample = readSample(samples[id]);
      }
      return slot;
    });
    this.flush = true;
    if (this.replaying && view.slots.some((slot) => !old.includes(slot))) this.#rewound();
  }

  #replay(wanted) {
    if (wanted === Boolean(this.replaying)) return;
    this.replaying = wanted;
    this.#rewound();
  }

  /** Another film, or none. */
  #rewound() {
    this.film.pause();
    this.film.ready = false;
    this.film.root.hidden = true;
    this.film.at = -Infinity;
  }

  /** Panes come and go without the others being built anew. */
  #arrange() {
    const { view } = this;
    for (const [name, pane] of this.panes) {
      if (this.wanted.includes(name)) continue;
      this.seen.unobserve(pane.root);
      pane.destroy();
      this.panes.delete(name);
    }
    for (const name of this.wanted) {
      if (this.panes.has(name)) continue;
      const pane = new PANES[name](this.grid, this.hooks);
      this.panes.set(name, pane);
      this.seen.observe(pane.root);
    }
    const ordered = this.wanted.map((name) => this.panes.get(name));
    ordered.forEach((pane, i) => {
      if (this.grid.children[i] !== pane.root) this.grid.insertBefore(pane.root, this.grid.children[i] ?? null);
    });
    this.panes = new Map(this.wanted.map((name, i) => [name, ordered[i]]));
    for (const pane of ordered) pane.arrange();
    this.#widths(ordered, view.slots.length > 1);
    this.#words();
    for (const pane of ordered) pane.resize();
  }

  /** Two narrow panes share a row; one that would stand alone takes the whole of it. */
  #widths(panes, many) {
    const wide = (pane) => ["heat", "sample"].includes(pane.name) || (many && pane.perSlot);
    for (let i = 0; i < panes.length; i += 1) {
      const pair = !wide(panes[i]) && i + 1 < panes.length && !wide(panes[i + 1]);
      panes[i].root.classList.toggle("wide", !pair);
      if (pair) {
        panes[i + 1].root.classList.remove("wide");
        i += 1;
      }
    }
  }

  #notice(name) {
    if (name === this.notice) return;
    this.notice = name;
    this.#schedule({ words: true });
  }

  /** known: the page has just said this itself, so it need not be told that the state has changed. */
  #run(slot, run, known) {
    const before = this.replaying ? slot.final : slot.run;
    const state = before?.state ?? null;
    const appearance = ({ color, loss, accuracy, clip, truncate, sequence_steps, row_steps, spectrum, groups, changes, repeats,
      parts }) => (JSON.stringify([color, loss, accuracy?.label, clip, truncate, sequence_steps, row_steps, spectrum, groups, changes,
      repeats, parts]));
    const looksNew = !before || appearance(before) !== appearance(run);
    slot.run = run;
    if (this.replaying && ended(run)) {
      slot.final = run;
      this.film.again(slot);
    } else slot.final = null;
    if (looksNew && this.built) this.#words();
    this.#schedule({ words: true, figures: looksNew || (state !== run.state && ended(run)) });
    if (ended(run) && state !== run.state) this.flush = true;
    if (state === null) this.flush = true;
    if (!known) this.#tell(run);
  }

  /** The page drew its controls for the state in which it saw a run last: it is told when that is another now. */
  #tell(run) {
    const drawn = this.states[run?.id];
    if (drawn !== undefined && phase(drawn) !== phase(run.state)) this.setTrigger?.("state", run.state);
  }

  #take(slot, arrays) {
    if (this.replaying && ended(slot.final)) {
      slot.reel.push(arrays);
      if (this.film.ready) this.film.again(slot);
      return;
    }
    if (slot.take(arrays)) this.#schedule({ data: true, figures: true, words: true });
  }

  #complete() {
    if (!this.replaying) return;
    if (this.view.slots.every((slot) => slot.id === null || slot.reel.length || slot.run)) this.film.start();
  }

  /** Forgets what is drawn; the run stays. */
  #clear(slot) {
    slot.reel = [];
    slot.filmed = undefined;
    slot.clear();
    this.#schedule({ figures: true, words: true });
  }

  #words() {
    this.film.words();
    for (const pane of this.panes.values()) pane.words();
  }

  #retheme(always = false) {
    if (this.listeners.signal.aborted) return;
    const theme = readTheme(this.root);
    if (!always && theme.signature === this.view.theme.signature) return;
    this.view.theme = theme;
    if (always) for (const pane of this.panes.values()) for (const chart of pane.charts) chart.frame = "";
    for (const pane of this.panes.values()) pane.arrange();
    this.#words();
    this.flush = true;
    this.#schedule({ figures: true, words: true });
  }

  #hover(step, fraction) {
    if (this.pinned || (step === this.hover.step && fraction === this.hover.fraction)) return;
    this.hover = { step, fraction };
    this.#schedule({ cursor: true });
  }

  /** Holds the crosshair at a step; the second time, and with null, it is free again. */
  #pin(step, fraction) {
    this.pinned = this.pinned || step === null ? null : { step, fraction };
    this.hover = this.pinned ?? { step: null, fraction: null };
    this.root.classList.toggle("pinned", this.pinned !== null);
    this.setState?.("pinned", this.pinned ? Math.round(this.pinned.step) : null);
    this.#schedule({ cursor: true });
  }

  /** Another layer or direction, in all figures that show one. */
  #choose(choice) {
    this.view.choice = choice;
    for (const slot of this.view.slots) slot.choice = choice;
    this.#words();
    this.flush = true;
    this.#schedule({ figures: true, words: true });
  }

  #schedule(what) {
    for (const [name, wanted] of Object.entries(what)) this.due[name] ||= wanted; // what is due stays due
    this.due.urgent ||= what.figures && !what.data;
    if (this.frame || !this.built) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { due, view, root } = this;
    const now = performance.now();
    if (due.words) this.#caption();
    if (due.figures && !this.queue.length && (due.urgent || now - (this.drawn ?? -Infinity) >= FIGURES_EVERY)) {
      this.drawn = now;
      this.round = { data: due.data, step: Math.max(...view.slots.map((slot) => slot.losses.last)),
        steps: view.slots.map((slot) => slot.losses.last), points: view.slots.map((slot) => slot.losses.length),
        columns: view.slots.map((slot) => slot.heat.length) };
      view.limit = this.#limit();
      this.queue = root.clientWidth > 0 ? [...this.panes.values()].filter((pane) => this.#seen(pane, now)) : [];
      this.due = {};
      if (!this.queue.length) this.#marks();
    } else this.due = { ...due, words: false };
    const drawing = this.queue.length > 0;
    while (this.queue.length && (performance.now() - now < BUDGET || due.urgent)) {
      const pane = this.queue.shift();
      pane.drawnAt = now;
      pane.resize();
      pane.draw();
    }
    if (drawing && !this.queue.length) this.#marks();
    if (due.cursor || drawing) this.#reading();
    this.due.cursor = false;
    this.#state();
    if (this.queue.length || this.due.figures) this.#schedule({});
  }

  /** Whether a pane is to be drawn now: out of sight only now and then. */
  #seen(pane, now) {
    if (!pane.away || now - (pane.drawnAt ?? -Infinity) >= AWAY_EVERY) return true;
    this.timers.away ||= setTimeout(() => {
      this.timers.away = 0;
      this.#schedule({ figures: true });
    }, AWAY_EVERY);
    return false;
  }

  #limit() {
    const { slots } = this.view;
    if (this.film.ready && slots.every((slot) => slot.final)) return Math.max(1, this.film.end);
    const known = slots.filter((slot) => slot.run);
    const steps = Math.max(...known.map((slot) => slot.run.steps));
    return stepLimit(Math.max(...slots.map((slot) => slot.last)), known.length ? steps : Infinity,
      known.length > 0 && known.every((slot) => ended(slot.run)));
  }

  /** What has been drawn, for tests and measurements. */
  #marks() {
    const { root } = this;
    const { data, step, steps, points, columns } = this.round;
    if (data) this.updates += 1;
    const number = (x) => (Number.isFinite(x) ? x : 0);
    root.dataset.updates = String(this.updates);
    root.dataset.step = String(number(step));
    root.dataset.steps = steps.map(number).join(",");
    root.dataset.points = points.join(",");
    root.dataset.heatColumns = columns.join(",");
  }

  #state() {
    const { root, view } = this;
    root.classList.toggle("without-run", !view.slots.some((slot) => slot.run));
    const states = view.slots.map((slot) => slot.run?.state ?? "");
    set(root, "state", states[0]);
    set(root, "states", states.join(","));
    set(root, "settled", this.queue.length || this.due.figures ? "no" : "yes");
    set(root, "changes", view.slots.map((slot) => slot.run?.changes?.length ?? 0).join(","));
    set(root, "parts", view.slots.map((slot) => slot.part).join(","));
    set(root, "pinned", this.pinned ? String(Math.round(this.pinned.step)) : "");
    set(root, "film", this.film.ready ? (this.film.playing ? "playing" : "paused") : "");
  }

  #reading() {
    if (this.listeners.signal.aborted) return;
    const { step, fraction } = this.hover;
    for (const pane of this.panes.values()) {
      pane.setCursor(step, fraction);
      pane.readout(step, fraction);
    }
  }

  /** Header and captions, at most twice a second; a final state does not wait. */
  #caption() {
    const every = this.film.playing ? WORDS_EVERY / 3 : WORDS_EVERY;
    const wait = this.flush ? 0 : every - (performance.now() - (this.captioned ?? -Infinity));
    if (wait > 0) {
      this.timers.words ||= setTimeout(() => {
        this.timers.words = 0;
        this.#schedule({ words: true });
      }, wait);
      return;
    }
    this.flush = false;
    this.captioned = performance.now();
    this.header.update(this.view, {
      connecting: this.source.connecting,
      notice: this.view.text[this.notice] ?? "",
    });
    for (const pane of this.panes.values()) pane.caption();
  }

  destroy() {
    this.built = false; // nothing is scheduled any more
    this.source.close();
    this.listeners.abort();
    this.observer?.disconnect();
    this.seen?.disconnect();
    this.connection?.disconnect();
    cancelAnimationFrame(this.frame);
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.film.destroy();
    for (const pane of this.panes.values()) pane.destroy();
    this.view.slots = [];
    this.sheet.remove();
    this.root.remove();
  }
}

/** A run that waits for its turn has the same controls as one that moves. */
const phase = (state) => (state === "queued" ? "running" : state);

function set(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}
