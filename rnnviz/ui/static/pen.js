// Two pens with the same strokes: one draws on a canvas, the other writes SVG. A figure is painted once, in
// CSS pixels, and whoever holds the pen decides what comes out; so a download is what stands on the screen.

const measuring = document.createElement("canvas").getContext("2d");

/** Distance of the alphabetic baseline from the wanted line, in font sizes: the same for both pens. */
const BASELINE = { top: 0.78, middle: 0.35, bottom: -0.22, alphabetic: 0 };

const fontOf = (font, size, weight) => `${weight} ${size}px ${font}`;

class Pen {
  constructor(font) {
    this.font = font;
  }

  measure(string, size, weight = 400) {
    measuring.font = fontOf(this.font, size, weight);
    return measuring.measureText(string).width;
  }

  /** The string, shortened with an ellipsis where it is wider than `width`. */
  fitted(string, width, size, weight = 400) {
    if (this.measure(string, size, weight) <= width) return string;
    let length = string.length;
    while (length > 1 && this.measure(`${string.slice(0, length)}…`, size, weight) > width) length -= 1;
    return `${string.slice(0, length).trimEnd()}…`;
  }

  segment(x1, y1, x2, y2, style) {
    this.line([x1, x2], [y1, y2], style);
  }

  /** Slanting lines over a box. */
  hatch(x, y, width, height, { stroke, alpha = 1, every = 6, lineWidth = 1.5 }) {
    this.clip(x, y, width, height, () => {
      for (let at = x - height; at < x + width; at += every) {
        this.segment(at, y + height, at + height, y, { stroke, width: lineWidth, alpha });
      }
    });
  }
}

export class CanvasPen extends Pen {
  constructor(context, font) {
    super(font);
    this.context = context;
  }

  #stroke({ stroke, width = 1, dash = [], alpha = 1 }) {
    const { context } = this;
    context.globalAlpha = alpha;
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.lineCap = "butt";
    context.setLineDash(dash);
    context.stroke();
    context.globalAlpha = 1;
  }

  #fill(fill, alpha = 1) {
    const { context } = this;
    context.globalAlpha = alpha;
    context.fillStyle = fill;
    context.fill();
    context.globalAlpha = 1;
  }

  /** A line through the points; NaN in `ys` lifts the pen. */
  line(xs, ys, style) {
    const { context } = this;
    context.beginPath();
    let down = false;
    for (let i = 0; i < xs.length; i += 1) {
      if (Number.isNaN(ys[i])) down = false;
      else if (down) context.lineTo(xs[i], ys[i]);
      else {
        context.moveTo(xs[i], ys[i]);
        down = true;
      }
    }
    this.#stroke(style);
  }

  polygon(points, { fill, alpha }) {
    const { context } = this;
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    this.#fill(fill, alpha);
  }

  circles(xs, ys, radius, fill) {
    const { context } = this;
    context.beginPath();
    for (let i = 0; i < xs.length; i += 1) {
      if (Number.isNaN(ys[i])) continue;
      context.moveTo(xs[i] + radius, ys[i]);
      context.arc(xs[i], ys[i], radius, 0, 2 * Math.PI);
    }
    this.#fill(fill);
  }

  rect(x, y, width, height, { fill, alpha, stroke, lineWidth, dash, radius = 0 }) {
    const { context } = this;
    context.beginPath();
    if (radius) context.roundRect(x, y, width, height, radius);
    else context.rect(x, y, width, height);
    if (fill) this.#fill(fill, alpha);
    if (stroke) this.#stroke({ stroke, width: lineWidth, dash, alpha });
  }

  text(string, x, y, { size, weight = 400, align = "left", baseline = "alphabetic", fill, halo, around = 4 }) {
    const { context } = this;
    context.font = fontOf(this.font, size, weight);
    context.textAlign = align;
    context.textBaseline = "alphabetic";
    const line = y + BASELINE[baseline] * size;
    if (halo) { // stays readable on top of a line
      context.lineJoin = "round";
      context.setLineDash([]);
      context.lineWidth = around;
      context.strokeStyle = halo;
      context.strokeText(string, x, line);
    }
    context.fillStyle = fill;
    context.fillText(string, x, line);
  }

  clip(x, y, width, height, draw) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    draw();
    context.restore();
  }

  /** The screen has cells on a canvas of their own. */
  image() {}
}

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (value) => String(value).replace(/[&<>"]/g, (c) => ESCAPES[c])
  .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, ""); // what XML has no place for
const number = (x) => String(Math.round(x * 100) / 100);

/** rgba(…) is CSS; a drawing program wants the opacity apart. */
function paint(name, color, alpha = 1) {
  const match = /^rgba?\(\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)(?:[\s,/]+([\d.]+))?\s*\)$/.exec(color ?? "none");
  const opacity = alpha * Number(match?.[4] ?? 1);
  const flat = match ? `#${match.slice(1, 4).map((c) => Number(c).toString(16).padStart(2, "0")).join("")}` : color;
  return ` ${name}="${escaped(flat ?? "none")}"${opacity < 1 ? ` ${name}-opacity="${number(opacity)}"` : ""}`;
}

export class SvgPen extends Pen {
  constructor(font) {
    super(font);
    this.parts = [];
    this.clips = 0;
    this.offset = [0, 0];
  }

  #style({ stroke, width = 1, dash = [], alpha = 1 }) {
    const dashes = dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : "";
    return `${paint("stroke", stroke, alpha)} stroke-width="${number(width)}"${dashes}`;
  }

  line(xs, ys, style) {
    let path = "";
    let down = false;
    for (let i = 0; i < xs.length; i += 1) {
      if (Number.isNaN(ys[i])) down = false;
      else {
        path += `${down ? "L" : "M"}${number(xs[i])} ${number(ys[i])}`;
        down = true;
      }
    }
    if (path) this.parts.push(`<path d="${path}" fill="none" stroke-linejoin="round"${this.#style(style)}/>`);
  }

  polygon(points, { fill, alpha }) {
    const list = points.map((point) => point.map(number).join(",")).join(" ");
    this.parts.push(`<polygon points="${list}"${paint("fill", fill, alpha)}/>`);
  }

  circles(xs, ys, radius, fill) {
    xs.forEach((x, i) => {
      if (Number.isNaN(ys[i])) return;
      this.parts.push(`<circle cx="${number(x)}" cy="${number(ys[i])}" r="${number(radius)}"${paint("fill", fill)}/>`);
    });
  }

  rect(x, y, width, height, { fill, alpha, stroke, lineWidth, dash, radius = 0 }) {
    const line = stroke ? this.#style({ stroke, width: lineWidth, dash, alpha }) : "";
    this.parts.push(`<rect x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}"`
      + `${radius ? ` rx="${radius}"` : ""}${paint("fill", fill ?? "none", alpha)}${line}/>`);
  }

  text(string, x, y, { size, weight = 400, align = "left", baseline = "alphabetic", fill, halo, around = 4 }) {
    const anchor = { left: "", center: ' text-anchor="middle"', right: ' text-anchor="end"' }[align];
    const bold = weight === 400 ? "" : ` font-weight="${weight}"`;
    const edge = halo
      ? `${paint("stroke", halo)} stroke-width="${number(around)}" stroke-linejoin="round" paint-order="stroke"` : "";
    this.parts.push(`<text x="${number(x)}" y="${number(y + BASELINE[baseline] * size)}" font-size="${number(size)}"`
      + `${anchor}${bold}${paint("fill", fill)}${edge}>${escaped(string)}</text>`);
  }

  clip(x, y, width, height, draw) {
    this.clips += 1;
    const name = `c${this.clips}`;
    this.parts.push(`<clipPath id="${name}"><rect x="${number(x)}" y="${number(y)}" width="${number(width)}" `
      + `height="${number(height)}"/></clipPath><g clip-path="url(#${name})">`);
    draw();
    this.parts.push("</g>");
  }

  image(canvas, x, y, width, height) {
    this.parts.push(`<image x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}" `
      + `preserveAspectRatio="none" href="${canvas.toDataURL()}"/>`);
  }

  /** Draws with another origin. */
  at(x, y, draw) {
    this.parts.push(`<g transform="translate(${number(x)} ${number(y)})">`);
    draw();
    this.parts.push("</g>");
  }

  document(width, height, background) {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${number(width)}" height="${number(height)}" `
      + `viewBox="0 0 ${number(width)} ${number(height)}" font-family="${escaped(this.font)}">\n`
      + `<rect width="100%" height="100%"${paint("fill", background)}/>\n${this.parts.join("\n")}\n</svg>\n`;
  }
}
