// The frame of one figure: title, help, legend, axis names, drawing area, caption.

import { element, fill, indexed, write } from "./format.js";

let count = 0;

export class Pane {
  /** name: "loss" | "norm" | "heat"; hover(step, fraction, pane) is told about the pointer. */
  constructor(name, parent, hover) {
    count += 1;
    this.name = name;
    this.hover = hover;
    this.listeners = new AbortController();
    this.root = element("section", `pane pane-${name}`, parent);

    const head = element("div", "pane-head", this.root);
    const title = element("div", "pane-title", head);
    this.title = element("h3", "", title);
    this.#help(title);
    this.legend = element("div", "legend", head);

    this.names = element("div", "axis-names", this.root);
    this.axis = element("span", "axis-name", this.names);
    this.at = element("span", "at", this.names);

    this.figure = element("figure", "figure", this.root);
    this.figure.setAttribute("role", "img");
    this.xAxis = element("div", "axis-name x-name", this.root);
    this.captionNode = element("p", "caption", this.root);
    this.plot = null;
    this.size = "";
  }

  /** A button and a popover in the browser's top layer: never clipped, closed by Escape or a click elsewhere. */
  #help(parent) {
    const { signal } = this.listeners;
    this.helpButton = element("button", "help", parent);
    this.helpButton.type = "button";
    this.helpButton.textContent = "?";
    this.helpBox = element("div", "help-box", parent);
    this.helpBox.id = `rnnviz-live-help-${count}`;
    this.helpBox.setAttribute("popover", "auto");
    this.helpButton.popoverTargetElement = this.helpBox;
    this.helpButton.setAttribute("aria-describedby", this.helpBox.id);
    const away = () => this.helpBox.hidePopover();
    this.helpBox.addEventListener("beforetoggle", (event) => {
      if (event.newState !== "open") {
        removeEventListener("scroll", away, true);
        return;
      }
      const box = this.helpButton.getBoundingClientRect();
      const width = Math.min(320, innerWidth - 32);
      const below = box.bottom < innerHeight - 180;
      Object.assign(this.helpBox.style, {
        width: `${width}px`,
        left: `${Math.max(16, Math.min(box.left - 12, innerWidth - width - 16))}px`,
        top: below ? `${box.bottom + 8}px` : "auto",
        bottom: below ? "auto" : `${innerHeight - box.top + 8}px`,
      });
      addEventListener("scroll", away, { capture: true, signal }); // the page moves on below a fixed box
    }, { signal });
  }

  setHelp(text, title, words) {
    indexed(this.helpBox, words);
    this.helpButton.setAttribute("aria-label", fill(text.help, { title }));
  }

  /** items: [{key, kind: "line"|"dots"|"dash", label}] -> this.values[key] are the nodes of the numbers. */
  setLegend(items) {
    const signature = JSON.stringify(items);
    if (signature === this.legendSignature) return;
    this.legendSignature = signature;
    this.legend.replaceChildren();
    this.values = {};
    for (const { key, kind, color, label } of items) {
      const item = element("span", "legend-item", this.legend);
      element("i", `swatch swatch-${kind}`, item).style.setProperty("--swatch", color);
      element("span", "legend-label", item).textContent = label;
      this.values[key] = element("b", "legend-value", item);
    }
  }

  /** The caption is also what a screen reader gets instead of the picture. */
  setCaption(sentences) {
    const caption = sentences.filter(Boolean).join(" ");
    write(this.captionNode, caption);
    const label = `${this.title.textContent}. ${caption}`;
    if (this.figure.getAttribute("aria-label") !== label) this.figure.setAttribute("aria-label", label);
  }

  /** Follows the size of its box; true if it changed. */
  resize() {
    const { clientWidth: width, clientHeight: height } = this.figure;
    if (!this.plot || !width || `${width}x${height}` === this.size) return false;
    this.size = `${width}x${height}`;
    this.plot.setSize({ width, height });
    return true;
  }

  /** Puts the crosshair at a training step (and, with a fraction, at a height); null hides it. */
  setCursor(step, fraction) {
    if (!this.plot) return;
    const inside = step !== null;
    this.plot.setCursor({
      left: inside ? this.plot.valToPos(step, "x") : -10,
      top: inside ? (1 - (fraction ?? 2)) * this.plot.over.clientHeight : -10,
    }, false);
  }

  removePlot() {
    this.plot?.destroy();
    this.plot = null;
    this.size = "";
  }

  destroy() {
    this.listeners.abort();
    this.removePlot();
    this.root.remove();
  }
}
