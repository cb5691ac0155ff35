// A pane as a file: an SVG made from the same numbers with the same strokes as the screen, and a PNG of that SVG.

import { SvgPen } from "./pen.js";
import { DOTTED, chip, drawShape } from "./marks.js";
import { sizes } from "./plot.js";

const EDGE = 16;
const PNG_DENSITY = 2; // pixels for each CSS pixel: sharp on paper and on a projector

/** -> {source, width, height} */
export function svgOf(pane, view) {
  const { theme } = view;
  const { k, letters } = sizes(view);
  const pen = new SvgPen(theme.font);
  const box = pane.chartsBox.getBoundingClientRect();
  const width = box.width + 2 * EDGE;
  let y = EDGE;
  pen.text(pane.title.textContent, EDGE, y, { size: 15 * k, weight: 600, baseline: "top", fill: theme.text });
  y += 22 * k;
  y = pane.printLegend?.(pen, EDGE, y, box.width) ?? legend(pen, pane.legendItems, EDGE, y, box.width, view);
  pen.text(pane.axis.textContent, EDGE, y, { size: letters, baseline: "top", fill: theme.muted });
  y += letters + 8;
  pane.charts.forEach((chart, i) => {
    const at = chart.figure.getBoundingClientRect();
    pen.at(EDGE + at.left - box.left, y + at.top - box.top, () => {
      const above = (node) => node.getBoundingClientRect().top - at.top;
      if (!chart.name.hidden) {
        const slot = chart.slots[0];
        const middle = chart.legend.hidden ? -13 * k : above(chart.name) + 11 * k;
        chip(pen, slot.letter, 8 * k, middle, slot.color(theme), { size: letters + 1, background: theme.background });
        pen.text(slot.title, 20 * k, middle, { size: 12.5 * k, baseline: "middle", fill: theme.text });
      }
      if (!chart.legend.hidden) legend(pen, chart.legendItems, 0, above(chart.legend) + 3 * k, at.width, view);
      pane.printChart(pen, chart, i);
    });
  });
  y += box.height + 2;
  if (pane.xAxis.textContent) {
    pen.text(pane.xAxis.textContent, width - EDGE - 20 * k, y,
      { size: letters, align: "right", baseline: "top", fill: theme.muted });
    y += letters + 8;
  }
  for (const line of wrapped(pen, pane.captionNode.textContent, box.width, 13 * k)) {
    pen.text(line, EDGE, y, { size: 13 * k, baseline: "top", fill: theme.muted });
    y += 18 * k;
  }
  const height = y + EDGE - 4;
  return { source: pen.document(width, height, theme.background), width, height };
}

function legend(pen, items, left, y, width, view) {
  const { theme } = view;
  const { k } = sizes(view);
  const size = 12.5 * k;
  const line = 20 * k;
  let x = left;
  for (const { kind, color, label = "", shape, slot } of items) {
    const words = kind === "chip" && !label ? slot.title : label;
    const wide = (kind ? 22 * k : 0) + pen.measure(words, size) + 16 * k;
    if (x > left && x + wide - 16 * k > left + width) {
      x = left;
      y += line;
    }
    const middle = y + 7 * k;
    if (kind === "chip") chip(pen, slot.letter, x + 7 * k, middle, slot.color(theme), { size, background: theme.background });
    else if (kind === "shape") drawShape(pen, shape, x + 8 * k, middle, 4 * k, color, theme.background);
    else if (kind === "band") pen.rect(x, middle - 5 * k, 16 * k, 10 * k, { fill: color, alpha: 0.2 });
    else if (kind) {
      pen.segment(x, middle, x + 16 * k, middle, { stroke: color, width: kind === "faint" ? 1 : 2,
        alpha: kind === "faint" ? 0.4 : 1, dash: { dash: [4, 3], dotted: DOTTED }[kind] ?? [] });
      if (kind === "dots") pen.circles([x + 8 * k], [middle], 3 * k, color);
    }
    pen.text(words, x + (kind ? 22 * k : 0), middle, { size, baseline: "middle", fill: theme.muted });
    x += wide;
  }
  return y + (items.length ? line + 4 : 0);
}

function wrapped(pen, words, width, size) {
  const lines = [];
  let line = "";
  for (const word of words.split(" ").filter(Boolean)) {
    if (line && pen.measure(`${line} ${word}`, size) > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return line ? [...lines, line] : lines;
}

/** The SVG as a picture of pixels, twice as dense as the screen's own measure. */
export async function pngOf({ source, width, height }) {
  const url = URL.createObjectURL(new Blob([source], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(width * PNG_DENSITY);
    canvas.height = Math.round(height * PNG_DENSITY);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done) => canvas.toBlob(done, "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Hands a file to the visitor. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000); // the browser may still be reading it
}
