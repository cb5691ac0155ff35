// Plotly figures that the browser keeps: with every message only what has changed is drawn anew, and the camera
// and the zoom stay where the user put them. A surface and a map of the same numbers are linked: what lies under
// the pointer in one is marked in the other.
//
// A click into a map is reported as { x, y, n }. The root element says how often it has drawn: data-draws.

const instances = new WeakMap();
let library; // one promise for all: the script is large and loaded once

const STYLE = `
  .kept-figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem;
    color: var(--st-text-color, inherit); font-family: var(--st-font, sans-serif); }
  .kept-figures .kept { min-width: 0; position: relative; padding-bottom: 1.4rem; }
  .kept-figures .tools { position: absolute; right: 0; bottom: 0; z-index: 5; display: flex; gap: 0.25rem; }
  .kept-figures .tools button { font: inherit; font-size: 0.75rem; color: inherit; opacity: 0.65; cursor: pointer;
    background: none; border: 1px solid transparent; border-radius: 4px; padding: 0.15rem 0.4rem; min-height: 1.6rem; }
  .kept-figures .tools button:hover, .kept-figures .tools button:focus-visible { opacity: 1; border-color: currentColor; }
  .kept-figures.picking .nsewdrag { cursor: crosshair; }
`;

export function mount(component) {
  const { parentElement } = component;
  if (!instances.has(parentElement)) instances.set(parentElement, new Figures(parentElement, component.data.plotly));
  return instances.get(parentElement).update(component);
}

export function unmount(parentElement) {
  instances.get(parentElement)?.destroy();
  instances.delete(parentElement);
}

function plotly(source) {
  library ||= new Promise((found, failed) => {
    if (globalThis.Plotly) return found(globalThis.Plotly);
    const script = document.createElement("script");
    script.src = new URL(source, document.baseURI).href;
    script.addEventListener("load", () => found(globalThis.Plotly));
    script.addEventListener("error", () => {
      library = null; // another try may find it
      failed(new Error(`${source} could not be loaded`));
    });
    document.head.append(script);
  });
  return library;
}

const CONFIG = { displaylogo: false, displayModeBar: false, responsive: false, showSendToCloud: false };
const NARROW = 460; // px
const MARK = "rnnviz-mark"; // the trace that marks the place under the pointer in the other figure
const SURFACES = ["surface"];
const MAPS = ["heatmap", "contour"];

class Figures {
  constructor(parent, source) {
    this.loading = plotly(source);
    this.root = document.createElement("div");
    this.root.className = "kept-figures";
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.root.append(style);
    parent.append(this.root);
    this.charts = [];
    this.drawn = []; // what each chart shows, as it was sent
    this.draws = 0;
    this.picks = 0;
    this.observer = new ResizeObserver((entries) => this.#resized(entries));
    this.gone = false;
  }

  async update({ data, setStateValue }) {
    this.setState = setStateValue;
    this.text = data.text;
    this.filename = data.filename;
    this.picking = data.picking;
    this.picks = Math.max(this.picks, data.picked);
    this.latest = data.figures;
    this.root.classList.toggle("picking", data.picking);
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", data.alt);
    this.Plotly = await this.loading;
    if (this.gone || this.latest !== data.figures) return; // something newer came while the library was loaded
    while (this.charts.length > data.figures.length) this.#drop(this.charts.pop());
    while (this.charts.length < data.figures.length) this.charts.push(this.#make());
    const color = getComputedStyle(this.root).color;
    let changed = false;
    for (const [k, sent] of data.figures.entries()) {
      if (this.drawn[k] === sent + color) continue;
      this.drawn[k] = sent + color;
      await this.#draw(k, JSON.parse(sent), color);
      if (this.gone || this.latest !== data.figures) return; // what is newer is being drawn
      changed = true;
    }
    if (changed) this.draws += 1;
    this.root.dataset.draws = this.draws;
  }

  destroy() {
    this.gone = true;
    this.observer.disconnect();
    for (const chart of this.charts) this.#drop(chart);
    this.root.remove();
  }

  #drop(chart) {
    this.observer.unobserve(chart.box);
    if (this.Plotly) this.Plotly.purge(chart.plot);
    chart.box.remove();
  }

  #make() {
    const box = document.createElement("div");
    box.className = "kept";
    const plot = document.createElement("div");
    const tools = document.createElement("div");
    tools.className = "tools";
    box.append(plot, tools);
    this.root.append(box);
    const chart = { box, plot, ready: false };
    for (const format of ["png", "svg"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = format.toUpperCase();
      button.title = this.text.download.replace("{format}", format.toUpperCase());
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", () => this.#download(chart, format));
      tools.append(button);
    }
    this.observer.observe(box);
    return chart;
  }

  async #draw(k, figure, color) {
    const chart = this.charts[k];
    const layout = this.#themed(figure.layout, color);
    layout.width = Math.max(240, Math.floor(chart.box.clientWidth));
    const traces = [...figure.data, this.#mark(figure.data, color)];
    chart.marker = traces.length - 1;
    const camera = this.#camera(chart) ?? this.#farther(layout);
    // Another revision each time: this camera counts, and none that plotly.js remembers.
    if (camera) layout.scene = { ...layout.scene, camera, uirevision: (chart.revision = (chart.revision ?? 0) + 1) };
    await this.Plotly.react(chart.plot, traces, layout, CONFIG);
    if (!chart.ready) {
      chart.ready = true;
      chart.plot.on("plotly_hover", (event) => this.#hover(chart, event.points[0]));
      chart.plot.on("plotly_unhover", () => this.#point(chart, null));
      chart.plot.on("plotly_click", (event) => this.#click(event));
    }
  }

  /** Where there is little room, the first look is from a little farther away. */
  #farther({ scene, width }) {
    if (!scene?.camera?.eye || width >= NARROW) return null;
    const eye = Object.fromEntries(Object.entries(scene.camera.eye).map(([axis, at]) => [axis, (at * NARROW) / width]));
    return { ...scene.camera, eye };
  }

  /**
   * Where the camera is at this moment, also while somebody turns it, as the layout that is drawn next has it.
   * plotly.js writes it into the layout that was drawn first, at the end of a movement, and draws with another.
   */
  #camera({ plot }) {
    const camera = plot._fullLayout?.scene?._scene?.getCamera();
    if (camera) plot.layout.scene.camera = camera;
    return camera;
  }

  /** Colours of text for light and dark; what is drawn brings its own. */
  #themed(layout, color) {
    const font = { ...layout.font, color, family: getComputedStyle(this.root).fontFamily };
    return { ...layout, font, template: {}, autosize: false };
  }

  /** An empty trace that takes up the place under the pointer of the other figure. */
  #mark(traces, color) {
    const solid = traces.some((trace) => SURFACES.includes(trace.type));
    const flat = traces.find((trace) => MAPS.includes(trace.type));
    const marker = { color: "rgba(0,0,0,0)", line: { color, width: 3 } };
    const base = { name: MARK, mode: "markers", hoverinfo: "skip", showlegend: false, x: [null], y: [null] };
    if (solid) return { ...base, type: "scatter3d", z: [null], marker: { color, size: 6, symbol: "circle-open" } };
    return { ...base, type: "scatter", marker: { ...marker, size: 13 }, visible: Boolean(flat) };
  }

  #hover(chart, point) {
    if (point && Number.isFinite(point.x) && Number.isFinite(point.y)) this.#point(chart, point);
  }

  #point(from, point) {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      for (const chart of this.charts) {
        if (chart === from || !chart.ready || chart.marker === undefined) continue;
        const at = point && this.#height(chart, point);
        const moved = { x: [[at ? at.x : null]], y: [[at ? at.y : null]] };
        if (chart.plot.data[chart.marker]?.type === "scatter3d") moved.z = [[at ? at.z : null]];
        this.#camera(chart);
        this.Plotly.restyle(chart.plot, moved, [chart.marker]);
        this.root.dataset.marked = at ? `${at.x},${at.y}` : "";
      }
    });
  }

  /** The place of another figure's point in this one: on the surface, where there is one. */
  #height(chart, { x, y }) {
    const surface = chart.plot._fullData.find((trace) => SURFACES.includes(trace.type));
    if (!surface) return { x, y, z: null };
    const near = (values, value) => {
      let best = 0;
      for (let k = 1; k < values.length; k += 1) {
        if (Math.abs(values[k] - value) < Math.abs(values[best] - value)) best = k;
      }
      return best;
    };
    const [row, column] = [near(surface.y, y), near(surface.x, x)];
    const z = surface.z[row]?.[column];
    return Number.isFinite(z) ? { x, y, z } : { x, y, z: null };
  }

  #click(event) {
    const point = event.points[0];
    if (!this.picking || !point || point.data.type.endsWith("3d") || SURFACES.includes(point.data.type)) return;
    this.picks += 1;
    this.setState("picked", { x: point.x, y: point.y, n: this.picks });
  }

  /** As it stands on the screen, but on a ground of its own. */
  #download({ plot }, format) {
    const background = getComputedStyle(this.root).getPropertyValue("--st-background-color").trim() || "#ffffff";
    const layout = { ...plot.layout, paper_bgcolor: background };
    const { width, height } = plot._fullLayout;
    const data = plot.data.filter((trace) => trace.name !== MARK);
    const options = { format, filename: this.filename, width, height, scale: format === "png" ? 2 : 1 };
    return this.Plotly.downloadImage({ data, layout, config: CONFIG }, options);
  }

  #resized(entries) {
    for (const { target, contentRect } of entries) {
      const chart = this.charts.find(({ box }) => box === target);
      const width = Math.max(240, Math.floor(contentRect.width));
      if (!chart?.ready || Math.abs(chart.plot._fullLayout.width - width) < 2) continue;
      this.#camera(chart);
      this.Plotly.relayout(chart.plot, { width });
    }
  }
}
