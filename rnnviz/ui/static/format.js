// Numbers and templates as text. Three significant digits everywhere; two for the heat map, whose
// codes hold a hundredth of a decade (2.3 %), so that a third digit would be invented.

/** Thousands separators, and never a decimal: steps and counts. */
export function integer(x) {
  return String(Math.round(x)).replace(/\B(?=(\d{3})+$)/g, ",");
}

function scientific(x, digits) {
  return x.toExponential(digits - 1).replace("e+", "e");
}

function finite(x, digits, low) {
  const rounded = Number(x.toPrecision(digits)); // first, or 0.9999 would get a digit too many
  const size = Math.abs(rounded);
  if (size < low || size >= 1000) return scientific(x, digits);
  return rounded.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
}

/** NaN, Inf and zero keep their names: they are answers, not missing values. */
function special(x, text) {
  if (Number.isNaN(x)) return text.nan;
  if (x === Infinity) return text.inf;
  if (x === -Infinity) return "-" + text.inf;
  return x === 0 ? "0" : null;
}

export function loss(x, text) {
  return special(x, text) ?? finite(x, 3, 1e-3);
}

export function gradient(x, text) {
  return special(x, text) ?? finite(x, 3, 1e-2);
}

/** A value of the heat map, from a ratio or a norm. */
export function coarse(x, text) {
  return special(x, text) ?? finite(x, 2, 1e-2);
}

/** A share as per cent: 100 % and 0 % are said only when they are exact. */
export function percent(share) {
  const p = share * 100;
  if (!Number.isFinite(p)) return "–";
  if (p === 0 || p === 100) return `${p}\u00a0%`;
  if (p < 0.1) return "<0.1\u00a0%";
  if (p > 99.9 && p < 100) return ">99.9\u00a0%";
  return `${p < 1000 ? p.toFixed(1) : integer(p)}\u00a0%`;
}

export function rate(x) {
  return x < 10 ? x.toFixed(1) : integer(x);
}

/** An axis label: short, without needless zeros. */
export function tick(x) {
  if (x >= 1e-3 && x < 1e4) return String(Number(x.toPrecision(6)));
  return scientific(x, 6).replace(/\.?0*e/, "e");
}

/** Axis labels of a gradient: 1e-3 style where all of them are decades. */
export function decades(ticks) {
  const powers = ticks.map((x) => Math.log10(x)).map((p) => [p, Math.round(p)]);
  const all = powers.every(([p, whole]) => Math.abs(p - whole) < 1e-9);
  return ticks.map((x, i) => (all ? `1e${powers[i][1]}` : tick(x)));
}

/** "A 0.16, B 0.0045": a number of each twin that has one. number(slot) is text or null. */
export function each(slots, number) {
  return slots.map((slot) => [slot.letter, number(slot)]).filter(([, value]) => value !== null)
    .map(([letter, value]) => `${letter}\u00a0${value}`).join(", ");
}

/** "A, C: norm; B: largest element": a word of each twin that has one, equal ones together. word(slot) is text or null. */
export function lettered(slots, word) {
  const letters = new Map();
  for (const slot of slots) {
    const found = word(slot) ?? null;
    if (found !== null) letters.set(found, [...(letters.get(found) ?? []), slot.letter]);
  }
  return [...letters].map(([found, owners]) => `${owners.join(", ")}:\u00a0${found}`).join("; ");
}

/** Whether those that have a word say different ones. */
export function differ(slots, word) {
  return new Set(slots.map((slot) => word(slot) ?? null).filter((found) => found !== null)).size > 1;
}

/** Fills {name} in a template; an unknown name stays visible, so that a wrong translation is noticed. */
export function fill(template, values) {
  return (template ?? "").replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

/** A template in the page whose values are set apart (<b>); only what changed is written to the page. */
export class Phrase {
  constructor(node) {
    this.node = node;
    this.template = null;
    this.slots = [];
  }

  set(template, values) {
    if (template !== this.template) {
      this.template = template;
      this.slots = [];
      this.node.replaceChildren();
      for (const piece of (template ?? "").split(/(\{\w+\})/)) {
        const name = /^\{(\w+)\}$/.exec(piece)?.[1];
        if (name === undefined) {
          this.node.append(piece);
          continue;
        }
        const slot = document.createElement(name === "label" ? "span" : "b");
        this.node.append(slot);
        this.slots.push([name, slot]);
      }
    }
    for (const [name, slot] of this.slots) write(slot, values[name] ?? "");
    this.node.hidden = template === null;
  }
}

/** Sets text only when it differs: an equal write would still make the browser lay the line out again. */
export function write(node, value) {
  const string = String(value);
  if (node.textContent !== string) node.textContent = string;
}

/** Text in which h_t gets a real index, and in which no line ends within 1e-9. */
export function indexed(node, value) {
  if (node.dataset.written === value) return;
  node.dataset.written = value;
  node.replaceChildren();
  for (const piece of value.split(/(?<=\b(?:d?h|W|s))(_[a-z0-9]+)|(\S*\de-\d\S*)/)) {
    if (piece?.startsWith("_")) element("sub", "", node).textContent = piece.slice(1);
    else if (/\de-\d/.test(piece ?? "")) element("span", "whole", node).textContent = piece;
    else if (piece) node.append(piece);
  }
}

export function element(tag, className, parent) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (parent) parent.append(node);
  return node;
}
