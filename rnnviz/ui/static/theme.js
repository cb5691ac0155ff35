// Colours and font from Streamlit's custom properties, in the form that a canvas understands.

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Any CSS colour -> [red, green, blue, alpha]; painted and read back, which covers every notation. */
function rgba(color) {
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = "#808080";
  probe.fillStyle = color;
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

const faded = new Map(); // asked for at every drawing, and a canvas is slow to read

export function fade(color, alpha) {
  const key = `${color}|${alpha}`;
  if (!faded.has(key)) {
    const [r, g, b, a] = rgba(color);
    faded.set(key, `rgba(${r}, ${g}, ${b}, ${Number((a * alpha).toFixed(3))})`);
  }
  return faded.get(key);
}

export function readTheme(node) {
  const css = getComputedStyle(node);
  const get = (name, otherwise) => {
    const value = css.getPropertyValue(`--st-${name}`).trim();
    return value && value !== "unset" ? value : otherwise; // Streamlit writes "unset" for what is not configured
  };
  const text = get("text-color", css.color);
  const background = get("background-color", "#ffffff");
  const [r, g, b] = rgba(background);
  const dark = 0.2126 * r + 0.7152 * g + 0.0722 * b < 128;
  const theme = {
    dark,
    font: css.fontFamily,
    text,
    background,
    muted: fade(text, 0.62),
    faint: fade(text, 0.42),
    grid: fade(text, 0.09),
    rule: fade(text, 0.28),
    after: fade(text, 0.5),
    accent: get("primary-color", "#ff4b4b"),
    bad: get("red-text-color", dark ? "#ff6c6c" : "#bd4043"),
    // The three codes that are no norm: flat grey, flat red, black and white hatching. None of them
    // occurs on the viridis scale, and each differs from the others without its hue.
    zero: dark ? "#41454f" : "#d3d5db",
    inf: "#e5194f",
    nan: ["#101216", "#f7f7f7"],
  };
  return { ...theme, signature: JSON.stringify(theme) };
}
