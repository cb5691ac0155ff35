// What is drawn on a line chart besides its lines: named levels, and the places where a number is missing.

/** A line across the plot with its name on it. side: where the name stands. */
export function namedLine(plot, theme, value, label, side) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const y = Math.round(plot.valToPos(value, "y", true)) + 0.5;
  if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
  ctx.save();
  ctx.strokeStyle = theme.muted;
  ctx.lineWidth = ratio;
  ctx.setLineDash([5 * ratio, 4 * ratio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
  return () => {
    if (!label) return;
    ctx.save();
    ctx.font = `${11 * ratio}px ${theme.font}`;
    ctx.textAlign = side;
    const above = y - bbox.top > 17 * ratio;
    ctx.textBaseline = above ? "bottom" : "top";
    label = fitted(ctx, label, bbox.width - 8 * ratio);
    const x = side === "right" ? bbox.left + bbox.width - 2 * ratio : bbox.left + 4 * ratio;
    haloText(ctx, theme, label, x, y + (above ? -3 : 4) * ratio);
    ctx.restore();
  };
}

function fitted(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && ctx.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length).trimEnd()}…`;
}

/** Text that stays readable on top of a line. */
function haloText(ctx, theme, text, x, y) {
  ctx.lineJoin = "round";
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.strokeStyle = theme.background;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = theme.muted;
  ctx.fillText(text, x, y);
}

/** Runs of rows without a drawable value: [{kind: "nan"|"inf"|"zero", from, to}] with indices. */
function gaps(values) {
  const found = [];
  for (let i = 0; i < values.length; i += 1) {
    const y = values[i];
    if (y > 0 && y < Infinity) continue;
    const kind = Number.isNaN(y) ? "nan" : y === 0 ? "zero" : "inf";
    const last = found[found.length - 1];
    if (last && last.kind === kind && last.to === i - 1) last.to = i;
    else found.push({ kind, from: i, to: i });
  }
  return found;
}

/** Marks the gaps over the full height, so that a missing line cannot be taken for a small value. */
export function markGaps(plot, theme, steps, values, text) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const ends = [-Infinity, -Infinity, -Infinity]; // right end of the names in each of three lines
  for (const { kind, from, to } of gaps(values)) {
    const at = (i) => plot.valToPos(steps[Math.min(Math.max(i, 0), steps.length - 1)], "x", true);
    const center = (at(from) + at(to)) / 2;
    const width = Math.max(4 * ratio, at(to + 1) - at(from - 1));
    const left = Math.max(bbox.left, center - width / 2);
    const right = Math.min(bbox.left + bbox.width, center + width / 2);
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bbox.top, right - left, bbox.height);
    ctx.clip();
    ctx.globalAlpha = kind === "nan" ? 0.3 : 0.22;
    ctx.fillStyle = ctx.strokeStyle = { nan: theme.text, inf: theme.inf, zero: theme.faint }[kind];
    if (kind === "nan") {
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([]); // uPlot leaves the last series' dashes behind
      ctx.beginPath();
      for (let x = left - bbox.height; x < right; x += 6 * ratio) {
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x + bbox.height, bbox.top);
      }
      ctx.stroke();
    } else {
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
    }
    ctx.restore();
    ctx.save();
    ctx.font = `600 ${11 * ratio}px ${theme.font}`;
    const half = ctx.measureText(text[kind]).width / 2;
    const x = Math.min(Math.max((left + right) / 2, bbox.left + half), bbox.left + bbox.width - half);
    const line = ends.findIndex((end) => x - half > end);
    if (line >= 0) { // gaps in a crowd are named where there is room
      ctx.textAlign = "center";
      ctx.textBaseline = "top";
      haloText(ctx, theme, text[kind], x, bbox.top + (3 + 14 * line) * ratio);
      ends[line] = x + half + 4 * ratio;
    }
    ctx.restore();
  }
}

/** Values for uPlot: null where a log axis has no place for them. */
export function drawable(values) {
  return values.map((y) => (y > 0 && y < Infinity ? y : null));
}
