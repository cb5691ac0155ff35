// The drawing of a cell with its numbers, and bars below it. A number that has become another one is written in its
// place, and a pulse runs along its wire, in the order of computation; everything else stays as it is. Where there is
// a sequence, the arrow keys walk through it.

import { element, write } from "./format.js";

const BEAT = 180; // ms from what is computed to what is computed from it
// What uses the keys itself.
const OTHERS = "input, textarea, select, [contenteditable], [role=slider], [role=radio], [role=radiogroup], [role=tab], "
  + "[role=combobox], [role=listbox], [role=option], [role=menu], [role=grid], [role=spinbutton], [role=dialog]";

const instances = new WeakMap();

export function mount(component) {
  const { parentElement } = component;
  let inside = instances.get(parentElement);
  if (!inside) {
    inside = new Inside(parentElement);
    instances.set(parentElement, inside);
  }
  inside.update(component);
  return () => unmount(parentElement);
}

export function unmount(parentElement) {
  instances.get(parentElement)?.destroy();
  instances.delete(parentElement);
}

class Inside {
  constructor(parent) {
    this.listeners = new AbortController();
    this.carried = {};
    this.updates = 0;
    this.moves = 0;
    this.root = element("div", "rnnviz-cell");
    this.root.hidden = true;
    this.scroll = element("div", "scroll", this.root);
    this.scroll.setAttribute("role", "group");
    this.scroll.tabIndex = 0; // so that it can be scrolled by keys where it is wider than the screen
    this.bars = element("div", "bars", this.root);
    const sheet = element("link", "");
    sheet.rel = "stylesheet";
    sheet.href = new URL("./cell.css", import.meta.url).href;
    const shown = () => { this.root.hidden = false; };
    for (const event of ["load", "error"]) sheet.addEventListener(event, shown, { once: true });
    parent.append(sheet, this.root);
    document.addEventListener("keydown", (event) => this.#key(event), { signal: this.listeners.signal });
  }

  update({ data, setStateValue }) {
    this.setState = setStateValue;
    this.data = data;
    this.t = data.t;
    this.root.style.setProperty("--cell", data.color);
    this.scroll.setAttribute("aria-label", data.text.scroll);
    if (data.svg !== this.svg) {
      this.svg = data.svg;
      this.scroll.innerHTML = data.svg;
      this.places = new Map([...this.scroll.querySelectorAll("[data-number]")].map((one) => [one.dataset.number, one]));
      this.wires = new Map([...this.scroll.querySelectorAll("[data-wire]")].map((one) => [one.dataset.wire, one]));
    }
    const told = this.scroll.querySelector("svg");
    told.setAttribute("aria-label", data.told);
    const first = this.updates === 0;
    const changed = [];
    for (const [name, place] of this.places) {
      write(place, data.numbers[name]);
      place.classList.toggle("held", data.held.includes(name));
    }
    for (const [name, wire] of this.wires) {
      if (!first && this.carried[name] !== data.carried[name]) changed.push(wire);
    }
    this.carried = data.carried;
    this.#pulse(changed);
    this.#bars();
    this.updates += 1;
    this.root.dataset.updates = String(this.updates);
    this.root.dataset.pulsed = changed.map((wire) => wire.dataset.wire).join(" ");
  }

  destroy() {
    this.listeners.abort();
    this.root.remove();
  }

  #pulse(changed) {
    for (const wire of this.wires.values()) wire.classList.remove("on");
    if (changed.length === 0) return;
    const earliest = Math.min(...changed.map((wire) => Number(wire.dataset.order)));
    void this.root.offsetWidth; // so that a pulse that was under way begins again
    for (const wire of changed) {
      wire.style.setProperty("--wait", `${(Number(wire.dataset.order) - earliest) * BEAT}ms`);
      wire.classList.add("on");
    }
  }

  #bars() {
    const { bars, zero } = this.data;
    while (this.bars.children.length > bars.length) this.bars.lastChild.remove();
    bars.forEach((bar, i) => {
      let row = this.bars.children[i];
      if (!row) {
        row = element("div", "row", this.bars);
        element("span", "name", row);
        const track = element("span", "track", row);
        element("span", "zero", track);
        element("span", "bar", track);
        element("span", "value", row);
      }
      const [name, track, value] = row.children;
      write(name, bar.name);
      write(value, bar.value);
      track.firstChild.style.left = `${100 * zero}%`;
      const drawn = track.lastChild;
      drawn.className = `bar ${bar.kind}`;
      drawn.hidden = bar.from === null;
      if (bar.from !== null) {
        drawn.style.left = `${100 * Math.min(bar.from, bar.to)}%`;
        drawn.style.width = `${100 * Math.abs(bar.to - bar.from)}%`;
      }
    });
  }

  #key(event) {
    if (!this.data?.steps || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const path = event.composedPath();
    const elsewhere = path.some((one) => one instanceof Element && one.matches(OTHERS));
    if ((event.key === "Home" || event.key === "End") && !path.includes(this.root)) return; // the page's own
    const to = { ArrowLeft: this.t - 1, ArrowRight: this.t + 1, Home: 1, End: this.data.steps }[event.key];
    if (elsewhere || to === undefined) return;
    if (path.includes(this.scroll) && this.scroll.scrollWidth > this.scroll.clientWidth + 1) return; // it scrolls
    event.preventDefault();
    const t = Math.max(1, Math.min(this.data.steps, to));
    if (t === this.t) return;
    this.t = t;
    this.moves += 1;
    this.setState?.("moved", { t, n: this.moves });
  }
}
