// The part of LaTeX that the walk is written in, set as plain HTML: nothing is loaded, and it is there at once.

const SYMBOLS = { partial: "∂", cdot: "·", odot: "⊙", sigma: "σ", delta: "δ", to: "→", infty: "∞", top: "⊤", sum: "∑",
  prod: "∏" };
const UPRIGHT = new Set(["tanh", "max"]);
const SPACES = { ",": "thin", ";": "thick" };
const RELATIONS = "=→";
const BINARY = "+−·⊙>";

/** Pieces of an equation, each a node; a line may end between two of them. */
export function typeset(latex) {
  const items = new Parser(latex).items(null);
  const pieces = [piece()];
  for (const item of items) {
    const breaks = item.dataset?.sign === "=" || item.dataset?.sign === "+";
    if (breaks && pieces.at(-1).childNodes.length) pieces.push(piece());
    pieces.at(-1).append(item);
  }
  return pieces;
}

/** An equation as one node that says its LaTeX to those who cannot see it. */
export function equation(...parts) {
  const line = make("span", "tex");
  line.setAttribute("role", "math");
  line.setAttribute("aria-label", parts.join(" = "));
  parts.forEach((part, i) => line.append(...typeset(i ? `= ${part}` : part)));
  return line;
}

function piece() {
  return make("span", "tex-piece");
}

function make(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

class Parser {
  constructor(latex) {
    this.tokens = latex.match(/\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|[^\s]/g) ?? [];
    this.at = 0;
  }

  /** What stands before one of the ends, or before the end of all. */
  items(...ends) {
    const found = [];
    while (this.at < this.tokens.length && !ends.includes(this.tokens[this.at])) {
      const token = this.tokens[this.at];
      if (token === "_" || token === "^") this.#script(found);
      else found.push(this.#item(found));
    }
    return found;
  }

  #item(before) {
    const token = this.tokens[this.at++];
    if (token === "{") return this.#closed(make("span", "tex-row"));
    if (token.startsWith("\\")) return this.#command(token.slice(1), before);
    if (/^\d/.test(token)) return make("span", "", token);
    if (/^[a-zA-Z]$/.test(token)) return make("i", "", token);
    return this.#sign(token === "-" ? "−" : token, before);
  }

  /** A sign stands free between two things, and close to what follows it otherwise. */
  #sign(sign, before) {
    const last = before.at(-1);
    const first = !last || (last.dataset.sign !== undefined && !")]".includes(last.dataset.sign));
    const between = RELATIONS.includes(sign) || (BINARY.includes(sign) && !first);
    const made = make("span", between ? "tex-between" : "", sign);
    made.dataset.sign = sign;
    return made;
  }

  #command(name, before) {
    if (name === "frac") {
      const made = make("span", "tex-frac");
      made.append(this.#group("tex-row"), this.#group("tex-row"));
      return made;
    }
    if (name === "left") return this.#fence();
    if (name === "begin") return this.#matrix();
    if (name === "textcolor") {
      this.#group("");
      return this.#group("tex-row tex-gray");
    }
    if (name === "mathrm" || name === "text") return this.#group("tex-row tex-upright");
    if (name in SPACES) return make("span", `tex-${SPACES[name]}`);
    if (name === "sum" || name === "prod") return make("span", "tex-big", SYMBOLS[name]);
    if (UPRIGHT.has(name)) return make("span", "tex-name", name);
    return this.#sign(SYMBOLS[name] ?? `\\${name}`, before);
  }

  /** What stands in the braces that come next. */
  #group(className) {
    this.at += 1;
    return this.#closed(make("span", className));
  }

  #closed(made) {
    made.append(...this.items("}"));
    this.at += 1;
    return made;
  }

  #script(found) {
    const up = this.tokens[this.at++] === "^";
    const content = this.tokens[this.at] === "{" ? this.#group("tex-row") : this.#item([]);
    let base = found.at(-1);
    if (!base?.classList.contains("tex-scripted")) {
      const made = make("span", "tex-scripted");
      if (base) {
        found.pop();
        made.classList.toggle("tex-limits", base.classList.contains("tex-big"));
        if (base.dataset.sign) made.dataset.sign = base.dataset.sign;
        base.classList.remove("tex-between");
        made.append(base);
      }
      found.push(made);
      base = made;
    }
    const script = make("span", up ? "tex-up" : "tex-down");
    script.append(content);
    base.append(script);
  }

  #fence() {
    const open = this.tokens[this.at++];
    const inner = make("span", "tex-row");
    inner.append(...this.items("\\right"));
    this.at += 1;
    const close = this.tokens[this.at++];
    const made = make("span", "tex-fence");
    const tall = inner.querySelector(".tex-matrix, .tex-frac") !== null;
    for (const [side, sign] of [["left", open], [null, inner], ["right", close]]) {
      if (side === null) made.append(sign);
      else if (tall) made.append(make("span", `tex-tall tex-${"[]".includes(sign) ? "square" : "round"} tex-${side}`));
      else made.append(make("span", "", sign));
    }
    return made;
  }

  #matrix() {
    this.#group("");
    const made = make("span", "tex-matrix");
    const grid = make("span", "tex-grid");
    let columns = 1;
    for (let rows = 1; this.at < this.tokens.length;) {
      const cell = make("span", "tex-row");
      cell.append(...this.items("&", "\\\\", "\\end"));
      grid.append(cell);
      const end = this.tokens[this.at++];
      if (end === "&" && rows === 1) columns += 1;
      if (end === "\\\\") rows += 1;
      if (end === "\\end") break;
    }
    this.#group("");
    grid.style.gridTemplateColumns = `repeat(${columns}, auto)`;
    made.append(make("span", "tex-tall tex-square tex-left"), grid, make("span", "tex-tall tex-square tex-right"));
    return made;
  }
}

/** Words in which S_1 gets a real index. */
export function worded(node, words) {
  node.replaceChildren();
  for (const piece of words.split(/([A-Za-zδ]_[A-Za-z0-9]+(?:−1)?)/u)) {
    const [letter, index] = piece.split("_");
    if (index === undefined) {
      node.append(piece);
      continue;
    }
    node.append(make("i", "symbol", letter), make("sub", "", index));
  }
}
