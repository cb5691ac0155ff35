// What a network does while it reads, as maps of time and unit, one below the other on one time axis. A time step
// or a unit under the pointer is marked in all of them; arrow keys move the mark, the space bar lets time run.
//
// The maps are pictures of T x rows pixels that the browser stretches, and the marks are elements that move over
// them: so nothing is painted while the mark moves. The root says where it stands: data-t, data-unit, data-drawn.

import { fromBase64 } from "../decode.js";
import { element, fill, gradient, loss, write } from "../format.js";
import { readTheme } from "../theme.js";

const instances = new WeakMap();

export function mount(component) {
  const { parentElement } = component;
  if (!instances.has(parentElement)) instances.set(parentElement, new Maps(parentElement));
  instances.get(parentElement).update(component);
}

export function unmount(parentElement) {
  instances.get(parentElement)?.destroy();
  instances.delete(parentElement);
}

// viridis, cividis (matplotlib) and our diverging scale, at equal distances.
const SCALES = {
  gate: ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"],
  decades: ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"],
  signed: ["#0b4a8f", "#6d9ae0", "#b9b9bd", "#df9862", "#93400f"],
};
const NOT_A_NUMBER = [194, 86, 156]; // no scale has this colour; the caption says what it is
const PACE = 60; // ms at a time step while time runs
const REST = 400; // ms at one place before the server hears of it
const ICONS = { play: "M6 3.5v13l10-6.5z", pause: "M6.5 4v12M13.5 4v12" };

const STYLE = `
  :host, .time-maps { color: var(--st-text-color, inherit); font-family: var(--st-font, sans-serif); }
  .time-maps { display: block; outline-offset: 4px; border-radius: 4px; font-variant-numeric: tabular-nums; }
  .time-maps:focus-visible { outline: 2px solid var(--st-primary-color, currentColor); }
  .reading { min-height: 2.6em; margin: 0 0 0.35rem; font-size: 0.875rem; line-height: 1.3; }
  .reading b { font-weight: 600; }
  .pane { margin: 0 0 0.6rem; }
  .head { display: flex; flex-wrap: wrap; align-items: baseline; column-gap: 0.75rem; font-size: 0.8125rem; line-height: 1.45; }
  .head .name { font-weight: 600; }
  .head .note { opacity: 0.7; flex: 1 1 10rem; min-width: 0; }
  .head .value { min-width: 5.5em; text-align: right; font-weight: 600; }
  .scale { display: inline-flex; align-items: center; gap: 0.35rem; opacity: 0.85; font-size: 0.75rem; }
  .scale i { display: inline-block; width: 4.5rem; height: 0.5rem; border-radius: 2px; }
  .map { position: relative; overflow: hidden; touch-action: pan-y; cursor: crosshair; background: color-mix(in srgb, currentColor 6%, transparent); }
  .pinned .map { cursor: default; }
  .map canvas { display: block; width: 100%; height: 100%; image-rendering: pixelated; }
  .map.many canvas { image-rendering: auto; }
  .cross, .line, .event { position: absolute; pointer-events: none; }
  .cross { top: 0; bottom: 0; left: 0; border: 1px solid var(--mark); border-width: 0 1px; box-shadow: 0 0 0 1px var(--halo); min-width: 1px; }
  .line { left: 0; right: 0; top: 0; border: 1px solid var(--mark); border-width: 1px 0; box-shadow: 0 0 0 1px var(--halo); min-height: 1px; }
  .letters span { position: absolute; top: 0; transform: translateX(-50%); font-size: 0.8125rem; line-height: 1.4rem; }
  .map canvas[hidden], .scale[hidden] { display: none; }
  .event { top: 0; bottom: 0; border-left: 2px dotted #c2569c; }
  .axis { position: relative; height: 1.3rem; font-size: 0.75rem; opacity: 0.85; }
  .axis span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
  .axis span.first { transform: none; } .axis span.last { transform: translateX(-100%); }
  .bar { display: flex; align-items: center; gap: 0.6rem; font-size: 0.8125rem; }
  .bar button { font: inherit; color: inherit; background: none; border: 1px solid color-mix(in srgb, currentColor 30%, transparent);
    border-radius: 8px; width: 2.4rem; height: 2.2rem; padding: 0; cursor: pointer; }
  .bar button:hover, .bar button:focus-visible { border-color: var(--st-primary-color, currentColor); }
  .bar svg { width: 1rem; height: 1rem; vertical-align: middle; fill: currentColor; stroke: currentColor; stroke-width: 2; }
  .bar input { flex: 1; min-width: 4rem; accent-color: var(--st-primary-color, auto); height: 2rem; }
  .hidden-text { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
`;

class Maps {
  constructor(parent) {
    this.listeners = new AbortController();
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.root = element("div", "time-maps");
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "group");
    this.reading = element("p", "reading", this.root);
    this.panes = element("div", "panes", this.root);
    this.axis = element("div", "axis", this.root);
    this.bar = element("div", "bar", this.root);
    this.button = element("button", "", this.bar);
    this.button.type = "button";
    this.slider = element("input", "", this.bar);
    this.slider.type = "range";
    this.where = element("span", "", this.bar);
    this.said = element("p", "hidden-text", this.root);
    this.said.setAttribute("aria-live", "polite");
    parent.append(style, this.root);
    this.drawn = []; // a pane each: its elements, and what was painted
    this.t = 0;
    this.unit = 0;
    this.pinned = false;
    this.count = 0;
    const on = (target, name, does) => target.addEventListener(name, does, { signal: this.listeners.signal });
    on(this.root, "keydown", (event) => this.#key(event));
    on(this.button, "click", () => (this.timer ? this.#pause() : this.#play()));
    on(this.slider, "input", () => this.#hold(Number(this.slider.value) - this.first, this.unit));
    on(this.panes, "pointermove", (event) => this.#pointed(event, false));
    on(this.panes, "pointerdown", (event) => this.#pointed(event, true));
  }

  destroy() {
    this.#pause();
    clearTimeout(this.rest);
    this.listeners.abort();
    this.root.remove();
  }

  update({ data, setStateValue }) {
    this.setState = setStateValue;
    this.text = data.text;
    this.T = data.T;
    this.first = data.first;
    this.order = data.order;
    this.place = new Map(data.order.map((unit, row) => [unit, row]));
    this.symbols = data.symbols;
    this.told = data.panes;
    this.root.setAttribute("aria-label", data.text.label);
    if (data.stamp !== this.stamp) { // the page says where to stand; after that the hand does
      this.stamp = data.stamp;
      [this.t, this.unit] = [data.at, data.unit];
    }
    this.t = Math.min(this.t, this.T - 1);
    if (!this.place.has(this.unit)) this.unit = data.order[0];
    const theme = readTheme(this.root);
    this.root.style.setProperty("--mark", theme.text);
    this.root.style.setProperty("--halo", theme.background);
    this.#lay(data, theme);
    this.#words();
    this.#mark();
    this.count += 1;
    this.root.dataset.drawn = this.count;
  }

  /** The panes, and in each what has changed. */
  #lay(data, theme) {
    while (this.drawn.length > data.panes.length) this.drawn.pop().root.remove();
    data.panes.forEach((pane, k) => {
      this.drawn[k] ??= this.#pane();
      const own = this.drawn[k];
      write(own.name, pane.title);
      write(own.note, pane.note);
      this.#scale(own, pane, theme);
      own.map.dataset.pane = k;
      own.map.style.height = `${pane.height}px`;
      own.map.classList.toggle("many", this.T > 900 || pane.rows > pane.height);
      const signature = `${pane.values.length}|${pane.low}|${pane.high}|${pane.kind}|${theme.signature}|${data.order}`;
      own.canvas.hidden = pane.kind === "symbols";
      if (pane.kind !== "symbols") own.letters?.replaceChildren();
      if (pane.kind === "symbols") {
        this.#write(own, data.symbols);
        own.encoded = null;
      } else if (own.encoded !== pane.values || own.signature !== signature) {
        [own.encoded, own.signature] = [pane.values, signature];
        const bytes = fromBase64(pane.values);
        own.values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4); // (T, rows)
        this.#paint(own, pane, theme);
      }
      own.events.replaceChildren(...data.marks.map((t) => {
        const line = element("div", "event");
        line.style.left = `${(100 * (t + 0.5)) / this.T}%`;
        return line;
      }));
    });
  }

  /** What is read, as text, a symbol above each time step. */
  #write(own, symbols) {
    own.letters ??= element("div", "letters", own.map);
    own.letters.replaceChildren(...symbols.map((symbol, t) => {
      const span = element("span", "");
      span.style.left = `${(100 * (t + 0.5)) / this.T}%`;
      write(span, symbol);
      return span;
    }));
  }

  #pane() {
    const root = element("div", "pane", this.panes);
    const head = element("div", "head", root);
    const own = { root };
    own.name = element("span", "name", head);
    own.note = element("span", "note", head);
    own.scale = element("span", "scale", head);
    own.low = element("span", "", own.scale);
    own.colors = element("i", "", own.scale);
    own.high = element("span", "", own.scale);
    own.value = element("span", "value", head);
    own.map = element("div", "map", root);
    own.canvas = element("canvas", "", own.map);
    own.events = element("div", "", own.map);
    own.cross = element("div", "cross", own.map);
    own.line = element("div", "line", own.map);
    return own;
  }

  #scale(own, pane, theme) {
    own.scale.hidden = pane.kind === "symbols";
    if (own.scale.hidden) return;
    const stops = pane.kind === "ink" ? ["transparent", theme.text] : SCALES[pane.kind];
    own.colors.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    write(own.low, pane.labels[0]);
    write(own.high, pane.labels[1]);
  }

  #paint(own, pane, theme) {
    const { T } = this;
    const { rows } = pane;
    const colors = lookUp(pane.kind, theme);
    own.canvas.width = T;
    own.canvas.height = rows;
    const context = own.canvas.getContext("2d");
    const image = context.createImageData(T, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const span = pane.high - pane.low || 1;
    const bad = pack([...NOT_A_NUMBER, 255]);
    for (let row = 0; row < rows; row += 1) {
      const from = pane.units ? this.order[row] : row;
      for (let t = 0; t < T; t += 1) {
        const value = own.values[t * rows + from];
        if (Number.isNaN(value)) {
          pixels[row * T + t] = bad;
          continue;
        }
        if (pane.blank !== null && value === pane.blank) continue; // nothing is said at this step
        const share = Math.max(0, Math.min(1, (value - pane.low) / span));
        pixels[row * T + t] = colors[Math.round(255 * share)];
      }
    }
    context.putImageData(image, 0, 0);
  }

  #words() {
    const { text, T, first } = this;
    this.slider.min = first;
    this.slider.max = first + T - 1;
    this.slider.setAttribute("aria-label", text.time);
    this.#icon();
    const every = Math.max(1, Math.ceil(T / 8));
    const nice = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500].find((n) => n >= every) ?? every;
    const ticks = [first];
    for (let t = Math.ceil((first + 1) / nice) * nice; t < first + T; t += nice) {
      if (t - first >= nice / 2) ticks.push(t);
    }
    this.axis.replaceChildren(...ticks.map((t, k) => {
      const span = element("span", k === 0 ? "first" : t - first > 0.97 * T ? "last" : "");
      span.style.left = `${(100 * (t - first + (k === 0 ? 0 : 0.5))) / T}%`;
      write(span, k === 0 ? fill(text.axis, { t }) : String(t));
      return span;
    }));
  }

  #icon() {
    const playing = Boolean(this.timer);
    this.button.setAttribute("aria-label", playing ? this.text.pause : this.text.play);
    this.button.innerHTML = `<svg viewBox="0 0 20 20" aria-hidden="true"><path d="${playing ? ICONS.pause : ICONS.play}"/></svg>`;
  }

  /** The marks to where time and unit stand; nothing is painted. */
  #mark() {
    const { t, T, unit } = this;
    this.drawn.forEach((own, k) => {
      const pane = this.told[k];
      const row = pane.units ? this.place.get(unit) : null;
      own.cross.style.width = `${100 / T}%`;
      own.cross.style.left = `${(100 * t) / T}%`;
      own.line.hidden = row === null;
      if (row !== null) {
        own.line.style.height = `${100 / pane.rows}%`;
        own.line.style.top = `${(100 * row) / pane.rows}%`;
      }
      write(own.value, pane.units ? number(own.values[t * pane.rows + unit], pane, this.text) : "");
    });
    this.slider.value = t + this.first;
    write(this.where, fill(this.text.time_at, { t: t + this.first }));
    const place = fill(this.text.place, { t: t + this.first, unit: unit + 1 });
    const read = this.symbols ? fill(this.text.read, { symbol: this.symbols[t] }) : "";
    const values = this.told.map((pane, k) => [pane, this.drawn[k]]).filter(([pane]) => pane.units)
      .map(([pane, own]) => `${pane.name}\u00a0=\u00a0${number(own.values[t * pane.rows + unit], pane, this.text)}`);
    write(this.reading, `${[place, read].filter(Boolean).join(", ")}: ${values.join(", ")}`);
    this.root.dataset.t = t + this.first;
    this.root.dataset.unit = unit + 1;
  }

  #move(t, unit) {
    this.t = Math.max(0, Math.min(this.T - 1, t));
    this.unit = unit;
    if (this.waits) return;
    this.waits = requestAnimationFrame(() => {
      this.waits = 0;
      this.#mark();
    });
  }

  /** Move, and come to rest there: the page hears of it. */
  #hold(t, unit) {
    this.#move(t, unit);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      this.setState?.("place", { t: this.t, unit: this.unit, stamp: this.stamp });
      write(this.said, this.reading.textContent);
    }, REST);
  }

  #pointed(event, pressed) {
    const map = event.target.closest?.(".map") ?? event.composedPath().find((one) => one.classList?.contains("map"));
    if (!map || this.timer) return;
    const pane = this.told[Number(map.dataset.pane)];
    const box = map.getBoundingClientRect();
    const t = Math.floor(((event.clientX - box.left) / box.width) * this.T);
    const row = Math.max(0, Math.min(pane.rows - 1, Math.floor(((event.clientY - box.top) / box.height) * pane.rows)));
    const unit = pane.units ? this.order[row] : this.unit;
    if (pressed) {
      // A second click at the same place lets the mark follow the mouse again.
      this.pinned = event.pointerType === "mouse" && !(this.pinned && t === this.t && unit === this.unit);
      this.root.classList.toggle("pinned", this.pinned);
      this.#hold(t, unit);
    } else if (!this.pinned || event.buttons) {
      this.#move(t, unit);
    }
  }

  #key(event) {
    if (event.target !== this.root && event.target.matches?.("input, button")) return;
    const row = this.place.get(this.unit);
    const far = event.shiftKey ? 10 : 1;
    if (event.key === "Escape") {
      this.pinned = false;
      this.root.classList.remove("pinned");
      return;
    }
    const keys = {
      ArrowLeft: () => this.#hold(this.t - far, this.unit),
      ArrowRight: () => this.#hold(this.t + far, this.unit),
      ArrowUp: () => this.#hold(this.t, this.order[Math.max(0, row - far)]),
      ArrowDown: () => this.#hold(this.t, this.order[Math.min(this.order.length - 1, row + far)]),
      Home: () => this.#hold(0, this.unit),
      End: () => this.#hold(this.T - 1, this.unit),
      " ": () => (this.timer ? this.#pause() : this.#play()),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  }

  #play() {
    if (this.t >= this.T - 1) this.#move(0, this.unit);
    this.timer = setInterval(() => {
      if (this.t >= this.T - 1) this.#pause();
      else this.#move(this.t + 1, this.unit);
    }, Math.max(16, Math.min(PACE, 12_000 / this.T)));
    this.#icon();
  }

  #pause() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = null;
    if (!this.listeners.signal.aborted) {
      this.#icon();
      this.#hold(this.t, this.unit);
    }
  }
}

const pack = ([r, g, b, a]) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

function lookUp(kind, theme) {
  const found = new Uint32Array(256);
  if (kind === "ink") {
    const [r, g, b] = channels(theme.text);
    for (let k = 0; k < 256; k += 1) found[k] = pack([r, g, b, k]);
    return found;
  }
  const stops = SCALES[kind].map(channels);
  for (let k = 0; k < 256; k += 1) {
    const at = (k / 255) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    const mixed = stops[low].map((c, j) => Math.round(c + (at - low) * (stops[low + 1][j] - c)));
    found[k] = pack([...mixed, 255]);
  }
  return found;
}

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function channels(color) {
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = color;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

/** A value of a map as it reads: of decades the number itself. */
function number(value, pane, text) {
  if (pane.kind === "decades") return gradient(value === -Infinity ? 0 : 10 ** value, text);
  return loss(value, text).replace("-", "\u2212");
}
