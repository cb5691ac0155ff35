// The parts of a network: each layer in each direction in which it reads. One choice holds for all figures that
// show a part, and for all twins.

import { element, fill, lettered, write } from "./format.js";

/** What is shown until the viewer chooses: its gradient has come the whole way. */
export const FIRST = { layer: 1, backward: false };

/** The index of a run's part that comes nearest to what was chosen: its layer or the last one, in its direction. */
export function nearestPart(parts, { layer, backward }) {
  const there = Math.min(layer, Math.max(...parts.map((part) => part.layer)));
  const same = parts.findIndex((part) => part.layer === there && part.backward === backward);
  return Math.max(0, same < 0 ? parts.findIndex((part) => part.layer === there) : same);
}

/** All parts that one twin or another has, in their order. Who reads both ways names them more exactly. */
export function partsOf(slots) {
  const lists = slots.map(({ run }) => run?.parts ?? []);
  const both = (list) => list.some(({ backward }) => backward);
  const found = new Map();
  for (const part of [...lists.filter(both), ...lists.filter((list) => !both(list))].flat()) {
    if (!found.has(keyOf(part))) found.set(keyOf(part), part);
  }
  return [...found.values()].sort((a, b) => a.layer - b.layer || a.backward - b.backward);
}

const keyOf = ({ layer, backward }) => `${layer}${backward ? "b" : "f"}`;

/** Which part is shown, as a sentence for the caption: nothing where there is but one. */
export function shownPart(slots, text) {
  if (partsOf(slots).length < 2) return "";
  const told = slots.filter(({ run }) => run?.parts?.length);
  const label = ({ run, part }) => run.parts[part].label;
  const same = new Set(told.map(label)).size === 1;
  return fill(text.part_shown, { part: same ? label(told[0]) : lettered(told, label) });
}

/** The control in a figure's head: a list of the parts, hidden while there is but one. */
export class PartChoice {
  /** before: the node of the head in front of which it stands · chosen(part): another one is wanted */
  constructor(head, before, chosen) {
    this.select = element("select", "part");
    head.insertBefore(this.select, before);
    this.select.hidden = true;
    this.select.addEventListener("change", () => {
      const part = this.parts.find((one) => keyOf(one) === this.select.value);
      if (part) chosen({ layer: part.layer, backward: part.backward });
    });
  }

  words({ slots, text, theme, choice }, title) {
    const { select } = this;
    this.parts = partsOf(slots);
    select.hidden = this.parts.length < 2;
    if (select.hidden) return;
    select.setAttribute("aria-label", fill(text.part_choice, { title }));
    select.style.colorScheme = theme.dark ? "dark" : "light";
    const signature = JSON.stringify(this.parts);
    if (signature !== this.signature) {
      this.signature = signature; // an open list would close if it were made anew without need
      select.replaceChildren();
      for (const part of this.parts) {
        const option = element("option", "", select);
        option.value = keyOf(part);
        write(option, part.label);
      }
    }
    select.value = keyOf(this.parts[nearestPart(this.parts, choice)]);
  }
}
