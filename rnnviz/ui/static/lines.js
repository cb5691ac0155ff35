// What the two line charts share: a log axis that stands still, and how data reaches it.

import { chart, followPointer } from "./chart.js";
import { Pane } from "./pane.js";
import { logAxis } from "./axes.js";

const TICK_DISTANCE = 24; // px between labels of the vertical axis

/** Smallest and largest drawable number of several lists. */
export function extent(...lists) {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (const y of list) {
      if (!(y > 0 && y < Infinity)) continue;
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  return [low, high];
}

export class LinePane extends Pane {
  constructor(name, parent, hover, decades) {
    super(name, parent, hover);
    this.decades = decades;
    this.scale = { low: 0.1, high: 1, ticks: [] };
  }

  build(view) {
    this.removePlot();
    this.view = view;
    this.plot = chart({
      host: this.figure,
      view,
      y: {
        log: true,
        range: () => [this.scale.low, this.scale.high],
        splits: () => this.scale.ticks,
        values: (_, splits) => this.labels(splits),
      },
      series: this.series(view),
      hooks: { drawAxes: [() => this.below()], draw: [() => this.above()] },
    });
    followPointer(this.plot, (step) => this.hover(step, null), this.listeners.signal);
  }

  /** Axis first, then the data: uPlot asks for the range while it takes the data in. */
  feed(low, high, data) {
    const most = Math.max(2, Math.floor((this.figure.clientHeight - 28) / TICK_DISTANCE) + 1);
    this.scale = logAxis(low, high, most, this.decades);
    // A thin line where it runs up and down in every pixel, a stronger one where single steps can be seen.
    const dense = data[0].length > this.figure.clientWidth;
    for (const series of this.plot.series.slice(1)) if (!series.dash) series.width = dense ? 1 : 1.6;
    this.plot.setData(data);
  }
}
