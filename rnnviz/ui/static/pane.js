// The frame of one figure: title, help, download, legend, axis names, one or more charts, caption.

import { Plot } from "./plot.js";
import { download, pngOf, svgOf } from "./figure.js";
import { element, fill, indexed, write } from "./format.js";
import { inkOn, outline } from "./marks.js";

let count = 0;

const ARROW = "M8 2.5v7.2M4.8 7l3.2 3.2L11.2 7M3 13.2h10";

function icon(path, parent) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "path");
  line.setAttribute("d", path);
  svg.append(line);
  parent.append(svg);
}

/** A shape as it stands at the end of a line. */
function shapeIcon(shape, color, parent) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-6 -6 12 12");
  svg.setAttribute("class", "swatch-shape");
  svg.setAttribute("aria-hidden", "true");
  const points = outline(shape, 4);
  const node = document.createElementNS(svg.namespaceURI, points ? "polygon" : "circle");
  if (points) node.setAttribute("points", points.join(" "));
  else node.setAttribute("r", shape === "ring" ? 2.8 : 4);
  if (shape === "ring") {
    node.setAttribute("fill", "none");
    node.setAttribute("stroke", color);
    node.setAttribute("stroke-width", "2.4");
  } else node.setAttribute("fill", color);
  svg.append(node);
  parent.append(svg);
}

/** A twin's letter on its colour. */
export function chipNode(slot, theme, parent) {
  const node = element("span", "chip", parent);
  dressChip(node, slot, theme);
  return node;
}

export function dressChip(node, slot, theme) {
  const color = slot.color(theme);
  write(node, slot.letter);
  if (node.dataset.color === color) return;
  node.dataset.color = color;
  node.style.background = color;
  node.style.color = /^#[0-9a-f]{6}$/i.test(color) ? inkOn(color) : "#ffffff";
}

export class Pane {
  /**
   * name: "loss" and so on · hooks: {hover(step, fraction), pin(step)} · perSlot: a chart for each twin
   */
  constructor(name, parent, hooks, perSlot = false) {
    count += 1;
    this.name = name;
    this.hooks = hooks;
    this.perSlot = perSlot;
    this.view = hooks.view;
    this.listeners = new AbortController();
    this.charts = [];
    this.values = {};
    this.legendItems = [];
    this.root = element("section", `pane pane-${name}`, parent);

    this.head = element("div", "pane-head", this.root);
    const title = element("div", "pane-title", this.head);
    this.title = element("h3", "", title);
    this.#help(title);
    this.#menu(title);
    this.legend = element("div", "legend", this.head);

    this.names = element("div", "axis-names", this.root);
    this.axis = element("span", "axis-name", this.names);
    this.at = element("span", "at", this.names);

    this.chartsBox = element("div", "charts", this.root);
    this.xAxis = element("div", "axis-name x-name", this.root);
    this.captionNode = element("p", "caption", this.root);
  }

  /** What the chart of a slot, or of all of them, is called; sets the charts up for the slots there are. */
  arrange() {
    const { slots, theme } = this.view;
    const groups = this.grouped(slots);
    while (this.charts.length > groups.length) this.#drop(this.charts.pop());
    while (this.charts.length < groups.length) this.charts.push(this.#chart());
    this.chartsBox.dataset.count = String(groups.length);
    this.charts.forEach((chart, i) => {
      chart.slots = groups[i];
      const named = groups.length > 1 && groups[i][0].letter !== "";
      chart.name.hidden = !named;
      if (!named) return;
      dressChip(chart.chip, groups[i][0], theme);
      write(chart.title, groups[i][0].title);
    });
    this.root.classList.toggle("several", groups.length > 1);
  }

  grouped(slots) {
    return this.perSlot ? slots.map((slot) => [slot]) : [slots];
  }

  #chart() {
    const root = element("div", "chart", this.chartsBox);
    const name = element("div", "chart-name", root);
    const chip = element("span", "chip", name);
    const title = element("span", "chart-title", name);
    const reading = element("span", "chart-reading", name);
    const legend = element("div", "legend chart-legend", root);
    legend.hidden = true;
    const figure = element("figure", "figure", root);
    figure.setAttribute("role", "img");
    const chart = { root, name, chip, title, reading, legend, legendItems: [], figure, slots: [], stop: new AbortController() };
    chart.plot = new Plot(figure, this.view, this.plotOptions());
    this.listen(chart);
    return chart;
  }

  plotOptions() {
    return {};
  }

  listen(chart) {
    chart.plot.follow((step) => this.hooks.hover(step, null), (step) => this.hooks.pin(step, null), chart.stop.signal);
  }

  #drop(chart) {
    chart.stop.abort();
    chart.plot.destroy();
    chart.root.remove();
  }

  /** A button and a popover in the browser's top layer: never clipped, closed by Escape or a click elsewhere. */
  #popover(button, name, parent, width) {
    const { signal } = this.listeners;
    const box = element("div", `popover ${name}-box`, parent);
    box.id = `rnnviz-live-${name}-${count}`;
    box.setAttribute("popover", "auto");
    button.popoverTargetElement = box;
    let place = null;
    // The page moves on below a fixed box; a twitch of it does not count.
    const away = () => {
      const now = button.getBoundingClientRect();
      if (Math.hypot(now.left - place.left, now.top - place.top) > 40) box.hidePopover();
    };
    box.addEventListener("beforetoggle", (event) => {
      if (event.newState !== "open") {
        removeEventListener("scroll", away, true);
        return;
      }
      const at = button.getBoundingClientRect();
      place = at;
      const wide = Math.min(width, innerWidth - 32);
      const below = at.bottom < innerHeight - 180;
      Object.assign(box.style, {
        width: `${wide}px`,
        left: `${Math.max(16, Math.min(at.left - 12, innerWidth - wide - 16))}px`,
        top: below ? `${at.bottom + 8}px` : "auto",
        bottom: below ? "auto" : `${innerHeight - at.top + 8}px`,
      });
      addEventListener("scroll", away, { capture: true, signal });
    }, { signal });
    return box;
  }

  #help(parent) {
    this.helpButton = element("button", "round help", parent);
    this.helpButton.type = "button";
    this.helpButton.textContent = "?";
    this.helpBox = this.#popover(this.helpButton, "help", parent, 320);
    this.helpButton.setAttribute("aria-describedby", this.helpBox.id);
  }

  #menu(parent) {
    this.menuButton = element("button", "round save", parent);
    this.menuButton.type = "button";
    icon(ARROW, this.menuButton);
    this.menuBox = this.#popover(this.menuButton, "save", parent, 176);
    const { signal } = this.listeners;
    const entry = (make, suffix) => {
      const button = element("button", `menu-entry save-${suffix}`, this.menuBox);
      button.type = "button";
      button.addEventListener("click", async () => {
        this.menuBox.hidePopover();
        download(await make(), `rnnviz-${this.name}.${suffix}`);
      }, { signal });
      return button;
    };
    const svg = () => svgOf(this, this.view);
    this.saves = [
      entry(() => pngOf(svg()), "png"),
      entry(() => new Blob([svg().source], { type: "image/svg+xml" }), "svg"),
    ];
  }

  setHelp(text, title, words) {
    indexed(this.helpBox, words);
    this.helpButton.setAttribute("aria-label", fill(text.help, { title }));
    this.menuButton.setAttribute("aria-label", fill(text.save, { title }));
    this.menuButton.title = fill(text.save, { title });
    write(this.saves[0], text.save_png);
    write(this.saves[1], text.save_svg);
  }

  /**
   * items: [{key, kind: "line"|"dots"|"dash"|"dotted"|"band"|"shape"|"chip"|"", color, label, shape, slot}]
   * -> this.values[key] are the nodes of the numbers.
   */
  setLegend(items) {
    const { theme } = this.view;
    const signature = JSON.stringify(items.map(({ slot, ...item }) => [item, slot?.letter, slot?.color(theme)]));
    this.legendItems = items;
    if (signature === this.legendSignature) return;
    this.legendSignature = signature;
    this.legend.replaceChildren();
    this.values = {};
    for (const one of items) {
      const item = this.#legendItem(one, this.legend);
      if (one.key) this.values[one.key] = element("b", "legend-value", item);
    }
    this.legend.append(...this.extras());
  }

  #legendItem({ kind, color, label, shape, slot }, parent) {
    const item = element("span", "legend-item", parent);
    if (kind === "chip") chipNode(slot, this.view.theme, item);
    else if (kind === "shape") shapeIcon(shape, color, item);
    else if (kind) element("i", `swatch swatch-${kind}`, item).style.setProperty("--swatch", color);
    if (label) indexed(element("span", "legend-label", item), label);
    return item;
  }

  /** A legend above each chart, where they differ; lists: items as for `setLegend` of each chart, null for none. */
  setChartLegends(lists) {
    this.root.classList.toggle("own-legends", lists !== null);
    this.charts.forEach((chart, i) => {
      const items = lists?.[i] ?? [];
      const signature = JSON.stringify(items);
      chart.legend.hidden = lists === null;
      chart.legendItems = items;
      if (signature === chart.legendSignature) return;
      chart.legendSignature = signature;
      chart.legend.replaceChildren();
      for (const one of items) this.#legendItem(one, chart.legend);
    });
  }

  /** Nodes that stand behind the legend. */
  extras() {
    return [];
  }

  /** The caption is also what a screen reader gets instead of the picture. */
  setCaption(sentences) {
    const caption = sentences.filter(Boolean).join(" ");
    if (this.captionNode.dataset.written !== caption) indexed(this.captionNode, caption);
    this.xAxis.hidden = !this.xAxis.textContent;
    this.charts.forEach(({ figure, title }, i) => {
      const label = [this.title.textContent, this.charts.length > 1 ? title.textContent : "", i ? "" : caption]
        .filter(Boolean).join(". ");
      if (figure.getAttribute("aria-label") !== label) figure.setAttribute("aria-label", label);
    });
  }

  /** Follows the size of its boxes; true if one changed. */
  resize() {
    return this.charts.map(({ plot }) => plot.resize()).includes(true);
  }

  /** Puts the crosshair at a training step (and, with a fraction, at a height); null hides it. */
  setCursor(step, fraction) {
    for (const { plot } of this.charts) plot.setCursor(step, fraction);
  }

  destroy() {
    this.listeners.abort();
    for (const chart of this.charts) this.#drop(chart);
    this.charts = [];
    this.root.remove();
  }
}
