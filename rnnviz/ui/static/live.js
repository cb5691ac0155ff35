// The live component: the three figures of one training run, drawn as its numbers arrive.
//
// Streamlit calls mount() after every run of its script, always with the same parent element. The
// charts are built once and only fed; no script runs between two updates.

import { Columns, Series } from "./series.js";
import { Header } from "./header.js";
import { HeatPane } from "./heat.js";
import { LossPane } from "./loss.js";
import { NormPane } from "./norm.js";
import { Source, ended } from "./source.js";
import { element } from "./format.js";
import { ownerToken } from "./owner.js";
import { readTheme } from "./theme.js";
import { stepLimit } from "./axes.js";

const WORDS_EVERY = 500; // ms between two captions: numbers in a sentence cannot be read faster
const STYLES = ["./uplot/uPlot.min.css", "./live.css"].map((path) => new URL(path, import.meta.url).href);

const instances = new WeakMap();

export function mount(component) {
  const { parentElement } = component;
  let live = instances.get(parentElement);
  if (!live) {
    live = new Live(parentElement);
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
  constructor(parent) {
    this.parent = parent;
    this.listeners = new AbortController();
    this.timers = {};
    this.frame = 0;
    this.built = false;
    this.updates = 0;
    this.hover = { step: null, fraction: null };
    this.view = {
      run: null,
      text: {},
      theme: null,
      limit: 1,
      losses: new Series(["loss"]),
      norms: new Series(["before", "after", "threshold"]),
      validation: new Series(["loss", "accuracy"]),
      heat: new Columns(),
    };
    this.notice = ""; // name of a template
    this.source = new Source(this.view, {
      run: (run, known) => this.#run(run, known),
      chunk: (arrays) => this.#take(arrays),
      clear: () => this.#clear(),
      forget: () => this.#forget(),
      notice: (name) => this.#notice(name),
      tell: (name, value) => this.setState(name, value),
    });

    this.root = element("div", "rnnviz-live");
    this.root.hidden = true;
    this.header = new Header(this.root);
    const grid = element("div", "grid", this.root);
    const hover = (step, fraction) => this.#hover(step, fraction);
    this.panes = [new LossPane(grid, hover), new NormPane(grid, hover), new HeatPane(grid, hover)];
    this.#styles();
  }

  /** The charts measure their boxes, so they wait for the style sheets; numbers are taken in meanwhile. */
  #styles() {
    this.links = STYLES.map((href) => {
      const link = element("link", "");
      link.rel = "stylesheet";
      link.href = href;
      return link;
    });
    const loaded = this.links.map((link) => new Promise((resolve) => {
      link.addEventListener("load", resolve, { once: true });
      link.addEventListener("error", resolve, { once: true });
    }));
    this.parent.append(...this.links, this.root);
    Promise.all(loaded).then(() => {
      if (!this.listeners.signal.aborted) this.#build();
    });
  }

  #build() {
    const { signal } = this.listeners;
    this.root.hidden = false;
    this.built = true;
    this.view.theme = readTheme(this.root);
    this.#words();
    for (const pane of this.panes) pane.build(this.view);
    this.observer = new ResizeObserver(() => {
      if (this.panes.map((pane) => pane.resize()).includes(true)) this.#schedule({ figures: true });
    });
    this.observer.observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#retheme(), { signal });
    // uPlot tells when the page is zoomed or moved to a screen of another density, and redraws by itself.
    addEventListener("dppxchange", () => this.#schedule({ figures: true }), { signal });
    // A tap outside the plots takes the crosshair away that a finger left behind.
    document.addEventListener("pointerdown", (event) => {
      const path = event.composedPath();
      if (!this.panes.some((pane) => path.includes(pane.figure))) this.#hover(null, null);
    }, { signal });
    document.fonts?.ready.then(() => this.#retheme(true));
    this.#schedule({ figures: true, words: true });
  }

  update({ data, setStateValue, setTriggerValue }) {
    this.setState = setStateValue;
    this.setTrigger = setTriggerValue;
    if (!this.owned) {
      this.owned = true;
      setStateValue("owner", ownerToken());
    }
    const { stream = null, run = null, window = null, text = {} } = data ?? {};
    const worded = JSON.stringify(text);
    if (worded !== this.worded) {
      this.worded = worded;
      this.view.text = text;
      if (this.built) this.#words();
      this.#schedule({ figures: true, words: true });
    }
    this.source.update(stream, run, window);
    if (this.built) this.#retheme();
  }

  #notice(name) {
    if (name === this.notice) return;
    this.notice = name;
    this.#schedule({ words: true });
  }

  /** known: the page has just said this itself, so it need not be told that the state has changed. */
  #run(run, known) {
    const state = this.view.run?.id === run.id ? this.view.run.state : null;
    const appearance = ({ color, loss, accuracy, clip, sequence_steps, row_steps }) => (
      JSON.stringify([color, loss, accuracy?.label, clip, sequence_steps, row_steps]));
    const looksNew = !this.view.run || appearance(this.view.run) !== appearance(run);
    this.view.run = run;
    if (looksNew && this.built) this.#words();
    this.#schedule({ words: true, figures: looksNew || (state !== run.state && ended(run)) });
    if (ended(run) && state !== run.state) this.flush = true;
    if (!known && state !== null && state !== run.state) this.setTrigger("state", run.state);
  }

  #take(arrays) {
    const { losses, norms, validation, heat } = this.view;
    const none = [];
    const { step = none, validation_step: checked = none, heat_step: columns = none } = arrays;
    losses.append(step, [arrays.loss]);
    norms.append(step, [arrays.norm_before, arrays.norm_after, arrays.threshold]);
    validation.append(checked, [arrays.validation_loss, arrays.validation_accuracy]);
    heat.append(columns, arrays.heat, arrays.shape.heat?.[1] ?? 0);
    if (step.length || checked.length || columns.length) this.#schedule({ data: true, figures: true, words: true });
  }

  /** Forgets what is drawn; the run stays. */
  #clear() {
    for (const kept of ["losses", "norms", "validation", "heat"]) this.view[kept].clear();
    this.#schedule({ figures: true, words: true });
  }

  #forget() {
    this.view.run = null;
    this.#clear();
    if (this.built) this.#words();
  }

  #words() {
    for (const pane of this.panes) pane.words(this.view);
  }

  #retheme(always = false) {
    if (this.listeners.signal.aborted) return;
    const theme = readTheme(this.root);
    if (!always && theme.signature === this.view.theme.signature) return;
    const font = theme.font !== this.view.theme.font;
    this.view.theme = theme;
    this.#words();
    if (font) for (const pane of this.panes) pane.build(this.view); // uPlot keeps the font it was made with
    else for (const pane of this.panes) pane.plot.redraw();
    this.#schedule({ figures: true, words: true });
  }

  #hover(step, fraction) {
    if (step === this.hover.step && fraction === this.hover.fraction) return;
    this.hover = { step, fraction };
    this.#schedule({ cursor: true });
  }

  #schedule(what) {
    this.due = { ...this.due, ...what };
    if (this.frame || !this.built) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const due = this.due;
    this.due = {};
    const { view, root } = this;
    if (due.figures && root.clientWidth > 0) {
      const last = Math.max(view.losses.last, view.validation.last, view.heat.last);
      view.limit = stepLimit(last, view.run?.steps, ended(view.run));
      for (const pane of this.panes) {
        pane.resize();
        pane.draw(view);
      }
    }
    if (due.data) this.updates += 1;
    // uPlot draws in a microtask; the crosshair and its reading come after it.
    queueMicrotask(() => this.#reading());
    if (due.words) this.#caption();
    root.classList.toggle("without-run", !view.run);
    root.dataset.updates = String(this.updates);
    root.dataset.step = String(Number.isFinite(view.losses.last) ? view.losses.last : 0);
    root.dataset.state = view.run?.state ?? "";
    root.dataset.points = String(view.losses.length);
    root.dataset.heatColumns = String(view.heat.length);
  }

  #reading() {
    if (this.listeners.signal.aborted) return;
    const { step, fraction } = this.hover;
    for (const pane of this.panes) {
      pane.setCursor(step, fraction);
      pane.readout(step, fraction);
    }
  }

  /** Header and captions, at most twice a second; a final state does not wait. */
  #caption() {
    const wait = this.flush ? 0 : WORDS_EVERY - (performance.now() - (this.captioned ?? -Infinity));
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
    for (const pane of this.panes) pane.caption();
  }

  destroy() {
    this.built = false; // nothing is scheduled any more
    this.source.close();
    this.listeners.abort();
    this.observer?.disconnect();
    cancelAnimationFrame(this.frame);
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    for (const pane of this.panes) pane.destroy();
    this.#clear();
    for (const link of this.links) link.remove();
    this.root.remove();
  }
}
