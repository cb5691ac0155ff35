// The complex plane with the unit circle and two eigenvalues that can be dragged: with a pointer, a finger or
// the arrow keys. A conjugate pair has two handles that mirror each other; two real ones move along the axis.
//
// One report is under way at a time: the next one waits until the page has drawn the last (it echoes its
// number), or for PATIENCE, so that dragging never keeps the figures from being drawn.

const NS = "http://www.w3.org/2000/svg";
const SIZE = 320; // units of the drawing, which fills the width that there is
const MARGIN = 14;
const PATIENCE = 800; // ms until a report that was not echoed counts as lost
const STEP = 0.01;
const instances = new WeakMap();

const STYLE = `
  .eigenvalues { color: var(--st-text-color, inherit); font-family: var(--st-font, sans-serif); }
  svg { display: block; width: 100%; max-width: 360px; margin: 0 auto; overflow: visible; }
  text { fill: currentColor; font-size: 12px; font-variant-numeric: tabular-nums; }
  .line { fill: none; stroke: currentColor; stroke-opacity: 0.25; }
  .circle { fill: currentColor; fill-opacity: 0.04; stroke: currentColor; stroke-opacity: 0.6; stroke-dasharray: 2 3; }
  .handle { cursor: grab; touch-action: none; outline: none; }
  .handle:active { cursor: grabbing; }
  .reach { fill: transparent; }
  .dot { fill: var(--st-primary-color, #6b46c1); stroke: var(--st-background-color, #fff); stroke-width: 2; }
  .handle:focus-visible .dot { stroke: currentColor; stroke-width: 3; }
`;

export function mount(component) {
  const { parentElement } = component;
  if (!instances.has(parentElement)) instances.set(parentElement, new Plane(parentElement));
  instances.get(parentElement).update(component);
}

export function unmount(parentElement) {
  instances.get(parentElement)?.destroy();
  instances.delete(parentElement);
}

function make(name, attributes, parent) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

const round = (x) => Math.round(x * 1000) / 1000 + 0; // + 0: no minus zero

class Plane {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "eigenvalues";
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.svg = make("svg", { viewBox: `0 0 ${SIZE} ${SIZE + 24}`, role: "group" });
    this.root.append(style, this.svg);
    parent.append(this.root);
    this.number = null; // of the last report
    this.dragged = null; // index of the handle under the pointer
    this.waiting = false; // for a report's echo
    this.due = false;
    this.timer = 0;
  }

  update({ data, setStateValue }) {
    this.setState = setStateValue;
    const first = this.number === null;
    if (first) {
      this.limit = data.limit;
      this.text = data.text;
      this.number = data.echo;
      this.#build();
    }
    const heard = data.echo >= this.number;
    if (heard) this.#arrived();
    // What the page says counts, unless it does not know yet what has been dragged since.
    if (first || (heard && this.dragged === null && !this.due)) {
      this.pair = data.pair;
      this.values = data.values.map(([re, im]) => ({ re, im }));
      this.#draw();
    }
  }

  destroy() {
    clearTimeout(this.timer);
    this.root.remove();
  }

  #at(re, im) {
    const scale = (SIZE / 2 - MARGIN) / this.limit;
    return [SIZE / 2 + scale * re, SIZE / 2 - scale * im];
  }

  #build() {
    const [left, middle] = this.#at(-this.limit, 0);
    const [right] = this.#at(this.limit, 0);
    const [one] = this.#at(1, 0);
    make("circle", { class: "circle", cx: middle, cy: middle, r: one - middle }, this.svg);
    make("path", { class: "line", d: `M${left} ${middle}H${right}M${middle} ${left}V${right}` }, this.svg);
    make("text", { x: one + 4, y: middle + 14 }, this.svg).textContent = "1";
    make("text", { x: middle + 4, y: this.#at(0, 1)[1] - 4 }, this.svg).textContent = "i";
    this.handles = [0, 1].map((k) => this.#handle(k));
    this.readout = make("text", { x: middle, y: SIZE + 16, "text-anchor": "middle" }, this.svg);
  }

  #handle(k) {
    const group = make("g", { class: "handle", tabindex: 0, role: "slider" }, this.svg);
    make("circle", { class: "reach", r: 18 }, group);
    make("circle", { class: "dot", r: 8 }, group);
    group.addEventListener("pointerdown", (event) => {
      group.setPointerCapture(event.pointerId);
      this.dragged = k;
    });
    group.addEventListener("pointermove", (event) => {
      if (this.dragged === k) this.#move(k, ...this.#under(event));
    });
    const end = () => {
      this.dragged = null;
      this.#report();
    };
    group.addEventListener("pointerup", end);
    group.addEventListener("pointercancel", end);
    group.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 * STEP : STEP;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (!by[event.key]) return;
      event.preventDefault();
      const { re, im } = this.values[k];
      this.#move(k, re + by[event.key][0], im + by[event.key][1]);
    });
    return group;
  }

  #under(event) {
    const box = this.svg.getBoundingClientRect();
    const scale = ((SIZE / 2 - MARGIN) / this.limit) * (box.width / SIZE);
    return [(event.clientX - box.left - box.width / 2) / scale, (box.top + box.width / 2 - event.clientY) / scale];
  }

  #move(k, re, im) {
    const within = (x) => round(Math.max(-this.limit, Math.min(this.limit, x)));
    const moved = { re: within(re), im: this.pair ? within(im) : 0 };
    this.values[k] = moved;
    if (this.pair) {
      // The first one stays above the axis.
      moved.im = k === 0 ? Math.max(0, moved.im) : Math.min(0, moved.im);
      this.values[1 - k] = { re: moved.re, im: -moved.im + 0 };
    }
    this.#draw();
    this.#report();
  }

  #draw() {
    const said = this.values.map(({ re, im }) => {
      const size = Math.hypot(re, im).toFixed(3);
      return { number: im ? `${re} ${im < 0 ? "−" : "+"} ${Math.abs(im)}i` : `${re}`, size };
    });
    this.handles.forEach((group, k) => {
      const { re, im } = this.values[k];
      group.setAttribute("transform", `translate(${this.#at(re, im).join(" ")})`);
      group.setAttribute("aria-label", this.text.handle.replace("{n}", k + 1));
      group.setAttribute("aria-valuemin", -this.limit);
      group.setAttribute("aria-valuemax", this.limit);
      group.setAttribute("aria-valuenow", re);
      group.setAttribute("aria-valuetext", `${said[k].number}, ${this.text.size} ${said[k].size}`);
    });
    const shown = this.pair ? said.slice(0, 1) : said;
    this.readout.textContent = shown.map(({ number, size }) => `λ = ${number}, |λ| = ${size}`).join("; ");
    this.root.dataset.values = this.values.map(({ re, im }) => `${re},${im}`).join(";");
  }

  #report() {
    if (this.waiting) {
      this.due = true;
      return;
    }
    this.due = false;
    this.waiting = true;
    this.number += 1;
    this.timer = setTimeout(() => this.#arrived(), PATIENCE);
    this.setState("eigenvalues", { n: this.number, values: this.values.map(({ re, im }) => [re, im]) });
  }

  #arrived() {
    clearTimeout(this.timer);
    this.waiting = false;
    if (this.due) this.#report();
  }
}
