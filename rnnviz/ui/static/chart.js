// One uPlot chart in the look of this component, and what all three share: axes and the crosshair.

import uPlot from "./uplot/uPlot.esm.js";
import { integer } from "./format.js";

const INTEGER_STEPS = [1, 2, 5].flatMap((m) => Array.from({ length: 9 }, (_, e) => m * 10 ** e)).sort((a, b) => a - b);
export const LEFT = 48; // width of the vertical axis: the same everywhere, so that the plots line up
const RIGHT = 20; // half of the longest step label

const nothing = () => null;

/**
 * host: element to draw in · view: the instance's shared state (theme, limit) · y: {range, splits, values, log}
 * series: uPlot series after x · hooks: uPlot hooks · horizontal: also a horizontal hair
 */
export function chart({ host, view, y, series, hooks, horizontal = false }) {
  const font = () => `11px ${view.theme.font}`;
  const axis = { stroke: () => view.theme.muted, font: font(), ticks: { show: false } };
  return new uPlot(
    {
      width: Math.max(60, host.clientWidth),
      height: Math.max(60, host.clientHeight),
      padding: [8, RIGHT, 0, 0],
      legend: { show: false },
      select: { show: false },
      scales: {
        x: { time: false, range: () => [0, view.limit] },
        y: { distr: y.log ? 3 : 1, range: y.range },
      },
      axes: [
        {
          ...axis,
          size: 20,
          gap: 5,
          space: 68,
          incrs: INTEGER_STEPS,
          values: (_, splits) => splits.map((x) => (view.run ? integer(x) : "")),
          grid: { show: false },
          border: { show: true, stroke: () => view.theme.rule, width: 1 },
          ticks: { show: true, size: 4, width: 1, stroke: () => (view.run ? view.theme.rule : "transparent") },
        },
        {
          ...axis,
          size: LEFT,
          gap: 8,
          splits: y.splits,
          values: y.values,
          filter: (_, splits) => splits, // a log axis would hide all but the decades
          grid: { stroke: () => view.theme.grid, width: 1, filter: (_, splits) => splits, ...(y.grid ?? {}) },
        },
      ],
      series: [{}, ...series],
      hooks,
      cursor: {
        x: true,
        y: horizontal,
        drag: { setScale: false, x: false, y: false },
        points: { size: 7, width: 1.5, stroke: () => view.theme.background },
        // The crosshair is moved by this component alone: mouse, pen and touch go through pointer events.
        bind: { mousedown: nothing, mouseup: nothing, mousemove: nothing, mouseleave: nothing, mouseenter: nothing,
          dblclick: nothing, click: nothing },
      },
    },
    [[0], ...series.map(() => [null])],
    host,
  );
}

/** Tells move(step, fraction of the height from the bottom) or move(null) while a pointer is over the plot. */
export function followPointer(plot, move, signal) {
  const over = plot.over;
  const follow = (event) => {
    const box = over.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - box.left, 0), box.width);
    const y = Math.min(Math.max(event.clientY - box.top, 0), box.height);
    move(plot.posToVal(x, "x"), 1 - y / box.height);
  };
  over.addEventListener("pointerdown", follow, { signal });
  over.addEventListener("pointermove", follow, { signal });
  over.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") move(null); // a lifted finger leaves its reading on the screen
  }, { signal });
}

export { uPlot };
