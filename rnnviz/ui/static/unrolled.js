// The network unrolled: a column for each time step, inputs at the bottom, losses on top; arrows go up and to the right
// on the way forward, and beside them, in another colour, back.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 78; // of a node
const BACK = 11; // between an arrow and the one beside it that goes back

export const LEFT = 80; // where the first column begins: room for the state before it
export const PITCH = 130; // the least distance of two columns

export class Unrolled {
  /** pick(name): a node was clicked, and its stop is asked for. */
  constructor(parent, pick) {
    this.svg = svg("svg", { class: "unrolled", role: "img" }, parent);
    this.pick = pick;
  }

  build(data, pitch) {
    this.data = data;
    const { H } = data;
    const line = 16;
    this.tall = { X: 42, S: 26 + 2 * H * line, O: 42, L: 42 };
    this.y = { L: 46 };
    this.y.O = this.y.L + 82;
    this.y.S = this.y.O + 42 + 40 + this.tall.S / 2 - 21;
    this.y.X = this.y.S + this.tall.S / 2 + 36 + 21;
    this.height = this.y.X + 30;
    this.x = (t) => LEFT + pitch * (t - 0.5);
    this.svg.replaceChildren();
    this.svg.setAttribute("width", LEFT + pitch * data.T + 8);
    this.svg.setAttribute("height", this.height);
    this.svg.setAttribute("aria-label", data.text.diagram);
    this.parts = []; // [node, stop from which it counts, or null for always, stops that it is about, stops that use it]
    this.#markers();
    this.#edges(pitch);
    this.#nodes();
    if (!data.every && data.reach < data.T) this.#cut(pitch);
  }

  /** Show what is known at a stop. order(name): its place in the walk; -1 if there is none. */
  show(frame, at, order) {
    for (const [part, from, about, using] of this.parts) {
      part.classList.toggle("unknown", from !== null && (order(from) < 0 || order(from) > at));
      part.classList.toggle("active", about.includes(frame.name));
      part.classList.toggle("used", using.includes(frame.name));
    }
  }

  #part(part, from, about = [from], using = []) {
    this.parts.push([part, from, about, using]);
    return part;
  }

  #markers() {
    const defs = svg("defs", {}, this.svg);
    for (const kind of ["forth", "back", "lost"]) {
      const marker = svg("marker", { id: `head-${kind}`, class: kind, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8,
        markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, defs);
      svg("path", { d: "M0 0.5 L8 4 L0 7.5 z" }, marker);
    }
  }

  #arrow(kind, x1, y1, x2, y2, parent) {
    return svg("line", { class: `edge ${kind}`, x1, y1, x2, y2, "marker-end": `url(#head-${kind})` }, parent);
  }

  #edges() {
    const { data, x, y, tall } = this;
    const half = WIDTH / 2;
    for (let t = 1; t <= data.T; t++) {
      const counted = data.counted.includes(t);
      const below = svg("g", {}, this.svg);
      this.#arrow("forth", x(t), y.X - tall.X / 2, x(t), y.S + tall.S / 2 + 1, below);
      symbol(below, x(t) - 7, y.S + tall.S / 2 + 24, "W_x", "end");
      this.#part(below, `S${t}`);
      const from = svg("g", {}, this.svg);
      const start = t === 1 ? LEFT - 25 : x(t - 1) + half;
      this.#arrow("forth", start, y.S - 8, x(t) - half - 1, y.S - 8, from);
      symbol(from, (start + x(t) - half) / 2, y.S - 14, "W_s", "middle");
      this.#part(from, `S${t}`);
      const above = svg("g", { class: counted ? "" : "aside" }, this.svg);
      this.#arrow("forth", x(t), y.S - tall.S / 2, x(t), y.O + tall.O / 2 + 1, above);
      symbol(above, x(t) - 7, y.O + tall.O / 2 + 24, "W_o", "end");
      this.#part(above, `O${t}`);
      if (counted) {
        const top = svg("g", {}, this.svg);
        this.#arrow("forth", x(t), y.O - tall.O / 2, x(t), y.L + tall.L / 2 + 1, top);
        this.#part(top, `L${t}`);
        this.#back(`dO${t}`, x(t) + BACK, y.L + tall.L / 2, x(t) + BACK, y.O - tall.O / 2 - 1, [data.grads.O[t - 1]]);
        this.#back(`dS${t}`, x(t) + BACK, y.O + tall.O / 2, x(t) + BACK, y.S - tall.S / 2 - 1, data.grads.direct[t - 1]);
      }
      if (t === data.T) continue;
      const right = x(t + 1) - half, left = x(t) + half + 1;
      const reached = data.reached[t - 1];
      const told = reached ? data.grads.carried[t - 1] : data.grads.cut[t - 1];
      this.#back(`dS${t}`, right, y.S + 6, left, y.S + 6, told, reached ? "back" : "lost");
    }
  }

  #back(name, x1, y1, x2, y2, values, kind = "back") {
    const group = svg("g", { class: "backward" }, this.svg);
    this.#arrow(kind, x1, y1, x2, y2, group);
    const flat = y1 === y2;
    values.forEach((value, i) => {
      const middle = (y1 + y2) / 2 + 4 + (i - (values.length - 1) / 2) * 14;
      const place = flat ? { x: (x1 + x2) / 2, y: y1 + 16 + 14 * i, "text-anchor": "middle" } : { x: x1 + 6, y: middle };
      svg("text", { class: `number ${kind}${flat ? " flat" : ""}`, ...place }, group).textContent = value;
    });
    this.#part(group, name);
  }

  #nodes() {
    const { data, x } = this;
    const next = (t) => (t <= data.T ? [`S${t}`, `dW${t}`] : []); // what needs the state before step t
    this.#node("S", LEFT - 52, "S_0", data.nodes.initial, null, [], next(1), "", 54);
    for (let t = 1; t <= data.T; t++) {
      const counted = data.counted.includes(t);
      const aside = counted ? "" : "aside";
      this.#node("X", x(t), `X_${t}`, [data.nodes.X[t - 1]], null, [], [`S${t}`, `dW${t}`]);
      const using = [`O${t}`, `dW${t}`, `dO${t}`, `dS${t - 1}`, ...next(t + 1)];
      const own = this.#node("S", x(t), `S_${t}`, data.nodes.S[t - 1], `S${t}`, [`S${t}`, `dS${t}`], using);
      this.#gradient(own, x(t), t);
      const about = [`O${t}`, `dO${t}`];
      this.#node("O", x(t), `O_${t}`, [data.nodes.O[t - 1]], `O${t}`, about, [`L${t}`, `dS${t}`], aside);
      if (!counted) continue;
      this.#node("L", x(t), `L_${t}`, [data.nodes.L[t - 1]], `L${t}`, [`L${t}`], [`dO${t}`]);
      const target = svg("text", { class: "target", x: x(t), y: 15, "text-anchor": "middle" }, this.svg);
      subscripted(target, `Y_${t}`);
      svg("tspan", {}, target).textContent = ` = ${data.nodes.Y[t - 1]}`;
    }
  }

  #node(row, x, name, values, from, about, using, more = "", width = WIDTH) {
    const y = this.y[row], tall = this.tall[row];
    const group = svg("g", { class: `node ${row} ${more}` }, this.svg);
    group.dataset.node = name;
    svg("rect", { x: x - width / 2, y: y - tall / 2, width, height: tall, rx: 9 }, group);
    const label = svg("text", { class: "label", x, y: y - tall / 2 + 15, "text-anchor": "middle" }, group);
    subscripted(label, name);
    values.forEach((value, i) => {
      svg("text", { class: "value", x, y: y - tall / 2 + 32 + 16 * i, "text-anchor": "middle" }, group).textContent = value;
    });
    if (from !== null) group.addEventListener("click", () => this.pick(from));
    group.classList.toggle("stop", from !== null);
    return this.#part(group, from, about, using);
  }

  /** dL/dS_t below the state's own value. */
  #gradient(group, x, t) {
    const { data, y, tall } = this;
    const inner = svg("g", { class: "backward" }, group);
    data.grads.S[t - 1].forEach((value, i) => {
      const place = { x, y: y.S - tall.S / 2 + 32 + 16 * (data.H + i), "text-anchor": "middle" };
      svg("text", { class: "number back", ...place }, inner).textContent = data.reached[t - 1] ? value : "0";
    });
    this.#part(inner, `dS${t}`);
  }

  #cut(pitch) {
    const at = LEFT + pitch * (this.data.T - this.data.reach);
    const group = svg("g", { class: "cut" }, this.svg);
    for (const [y1, y2] of [[22, this.y.S - 26], [this.y.S + 26, this.height - 4]]) {
      svg("line", { x1: at, x2: at, y1, y2 }, group); // open where the arrows pass
    }
    svg("text", { x: at, y: 14, "text-anchor": "middle" }, group).textContent = this.data.text.cut;
  }
}

function symbol(parent, x, y, name, anchor) {
  const text = svg("text", { class: "symbol", x, y, "text-anchor": anchor }, parent);
  subscripted(text, name);
}

function subscripted(text, name) {
  const [letter, index] = name.split("_");
  svg("tspan", { class: "letter" }, text).textContent = letter;
  svg("tspan", { class: "index", dy: 3 }, text).textContent = index;
  svg("tspan", { dy: -3 }, text).textContent = "\u200b"; // back on the line
}

function svg(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}
