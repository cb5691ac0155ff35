"""One frame of an animated loss surface, as a part of a GIF: the relief beside the map, the path on both.

The only file that uses matplotlib, and only while a frame is drawn: it draws without a browser, which workers
do not have. All frames have one palette, so that a colour is the same height from the first to the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..numbers import of

if TYPE_CHECKING:
    from PIL.Image import Image

#: Words of a frame: `title` is filled with the step and its own loss.
WORDS: Mapping[str, str] = {
    "title": "step {step:,} · loss {loss}",
    "x": "x",
    "y": "y",
    "short_x": "x",
    "short_y": "y",
    "height": "loss",
    "none": "no finite number in this window",
}
WIDTH, HEIGHT, DPI = 1000, 480, 100
COLORS = {"loss": "viridis", "gradient": "cividis", "accuracy": "Blues_r"}  # as on the page
LEVELS = 24  # heights of one colour
SHADES = np.linspace(0.55, 1.0, 7)  # of each colour, from slopes in the shade to those in the light
GREYS, MIXES = 40, 6  # of lines and letters, and of each path's colour with white
LIGHT = np.array([-0.5, -0.6, 0.8])
MOST_DECADES = 24  # of the colours
CLOSED = b";"  # the end of a GIF
INK, FRAME = "#22282f", "#9aa3ad"


@dataclass(frozen=True)
class Look:
    """What all frames share: the places of the grid (n,), the height and its range on the axis of colours."""

    x: np.ndarray
    y: np.ndarray
    kind: str
    log: bool
    span: tuple[float, float]
    words: Mapping[str, str]

    def on_axis(self, heights: np.ndarray) -> np.ndarray:
        """Heights as colours count them: decades on a log scale, NaN where there is none."""
        return _on_axis(heights, self.log)

    def level(self, values: np.ndarray) -> np.ndarray:
        """Which of the LEVELS values on the axis belong to; NaN to the lowest."""
        low, high = self.span
        share = np.nan_to_num((values - low) / (high - low), nan=0.0)
        found: np.ndarray = np.clip((share * LEVELS).astype(int), 0, LEVELS - 1)
        return found


@dataclass(frozen=True)
class Trail:
    """A path up to the step of a frame: places (K, 2), and each point's own loss over the frame's batch."""

    name: str
    color: str
    places: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class Frame:
    """heights: (n, n), [y, x]. shown: which point of the first trail is the step itself."""

    step: int
    heights: np.ndarray
    trails: Sequence[Trail]
    shown: int


def _on_axis(heights: np.ndarray, log: bool) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(heights) if log else np.asarray(heights, dtype=np.float64)
    return np.where(np.isfinite(shown), shown, np.nan)


def span_of(heights: np.ndarray, log: bool) -> tuple[float, float] | None:
    """The range of all colours: of everything that is finite, at most its upper MOST_DECADES."""
    values = _on_axis(heights, log)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    if log:
        low = max(low, high - MOST_DECADES)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def opened(look: Look, colors: Sequence[str]) -> bytes:
    """The beginning of a GIF that starts again at its end."""
    from PIL import GifImagePlugin, Image

    empty = Image.new("P", (WIDTH, HEIGHT))
    empty.putpalette(palette_of(look, colors).tobytes())
    return b"".join(GifImagePlugin.getheader(empty, info={"loop": 0})[0])


def drawn(look: Look, frame: Frame, colors: Sequence[str], seconds: float) -> bytes:
    """The part of a GIF that is one frame; colors: of all paths of the film, for its palette."""
    from PIL import GifImagePlugin

    image = picture(look, frame, colors)
    return b"".join(GifImagePlugin.getdata(image, duration=round(1000 * seconds)))


def picture(look: Look, frame: Frame, colors: Sequence[str]) -> Image:
    """One frame in the colours of the palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    own = frame.trails[0].losses[frame.shown]
    title = look.words["title"].format(step=frame.step, loss=of(float(own)))
    figure.text(0.5, 0.94, title, ha="center", va="center", size=15, color=INK, parse_math=False)
    _map(figure, look, frame)
    _bar(figure, look)
    _relief(figure, look, frame)
    if len(frame.trails) > 1:
        for k, trail in enumerate(frame.trails):
            figure.text(0.02, 0.94 - 0.05 * k, trail.name, color=trail.color, size=10, parse_math=False)
    canvas.draw()
    drawing = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    keys = Image.new("P", (1, 1))
    keys.putpalette(palette_of(look, colors).tobytes())
    return drawing.quantize(palette=keys, dither=Image.Dither.NONE)


def palette_of(look: Look, colors: Sequence[str]) -> np.ndarray:
    """(256, 3): the colours of heights in light and shade, greys, and the paths' own."""
    shaded = _levels(look.kind)[None] * SHADES[:, None, None]
    greys = np.linspace(0, 1, GREYS)[:, None].repeat(3, axis=1)
    mixes = np.linspace(0, 1, MIXES)[:, None]
    paths = [_rgb(color) * (1 - mixes) + mixes for color in colors]
    found = np.concatenate([shaded.reshape(-1, 3), greys, *paths])
    whole = np.pad(found, ((0, 256 - len(found)), (0, 0)), mode="edge")
    rounded: np.ndarray = np.rint(255 * whole).astype(np.uint8)
    return rounded


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def _levels(kind: str) -> np.ndarray:
    """(LEVELS, 3): the colour of each height, from the lowest on."""
    from matplotlib import colormaps

    found: np.ndarray = colormaps[COLORS[kind]](np.linspace(0, 1, LEVELS))[:, :3]
    return found


def _map(figure: Any, look: Look, frame: Frame) -> None:
    """From above: flat colours, and the paths with dots in the colour of their own loss."""
    axes = figure.add_axes((0.575, 0.13, 0.32, 0.75))
    values = np.clip(look.on_axis(frame.heights), *look.span)
    edges = np.linspace(*look.span, LEVELS + 1)
    if np.isfinite(values).any():
        masked = np.ma.masked_invalid(values)
        axes.contourf(look.x, look.y, masked, levels=edges, colors=_levels(look.kind), antialiased=False)
        axes.contour(
            look.x, look.y, masked, levels=edges[2:-1:2], colors="white", linewidths=0.5, linestyles="solid"
        )
    else:
        axes.text(0.5, 0.5, look.words["none"], ha="center", transform=axes.transAxes, color=INK)
    for k, trail in enumerate(frame.trails):
        x, y = trail.places.T
        axes.plot(x, y, color="white", lw=3.6, solid_capstyle="round", zorder=3)
        axes.plot(x, y, color=trail.color, lw=2.0, zorder=4)
        axes.scatter(x, y, s=26, c=_dots(look, trail), edgecolors=trail.color, linewidths=1.4, zorder=5)
        at = frame.shown if k == 0 else len(x) - 1
        if at >= 0:
            style = {"marker": "D" if k == 0 else "o", "edgecolors": "white", "linewidths": 1.6, "zorder": 6}
            axes.scatter(x[at : at + 1], y[at : at + 1], s=95, c=trail.color, **style)
    axes.set_xlim(look.x[0], look.x[-1])
    axes.set_ylim(look.y[0], look.y[-1])
    axes.set_xlabel(look.words["x"], size=9, color=INK, parse_math=False)
    axes.set_ylabel(look.words["y"], size=9, color=INK, parse_math=False)
    _quiet(axes)


def _dots(look: Look, trail: Trail) -> Any:
    """Colours of a path's points: of their own loss, where heights are losses."""
    if look.kind != "loss":
        return trail.color
    return _levels(look.kind)[look.level(look.on_axis(trail.losses))]


def _bar(figure: Any, look: Look) -> None:
    """Which colour is which height."""
    axes = figure.add_axes((0.905, 0.13, 0.014, 0.75))
    low, high = look.span
    edges = np.linspace(low, high, LEVELS + 1)
    axes.barh(edges[:-1], 1.0, height=edges[1] - edges[0], align="edge", color=_levels(look.kind))
    axes.set(xlim=(0, 1), ylim=(low, high), xticks=[])
    ticks = ticks_of(look)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_ylabel(look.words["height"], size=9, color=INK, parse_math=False)
    _quiet(axes)


def _quiet(axes: Any) -> None:
    axes.tick_params(labelsize=8, length=3, color=FRAME, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_color(FRAME)


def ticks_of(look: Look) -> dict[float, str]:
    """Places on the axis of heights, and how they are called: a handful of round numbers."""
    low, high = look.span
    if look.log and high - low >= 3:
        spacing = max(1, math.ceil((high - low) / 7))
        decades = range(math.ceil(low), math.floor(high) + 1, spacing)
        return {float(k): f"{10.0**k:g}" if -3 < k < 4 else f"1e{k}" for k in decades}
    if look.log and high - low >= 0.5:
        parts = (1, 2, 5) if high - low < 2 else (1, 3)
        marks = [part * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for part in parts]
        return {math.log10(mark): of(mark) for mark in marks if low <= math.log10(mark) <= high}
    places = np.linspace(low, high, 5)
    return {float(place): of(10.0**place if look.log else float(place)) for place in places}


def _relief(figure: Any, look: Look, frame: Frame) -> None:
    """From the side: the surface in light and shade, before it the paths at the height of their own loss."""
    from matplotlib import rc_context
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    with rc_context({"grid.color": "#e3e7ec", "grid.linewidth": 0.8}):  # read as the axes are made
        axes = figure.add_axes((-0.012, -0.01, 0.485, 0.94), projection="3d", computed_zorder=False)
    low, high = look.span
    values = np.clip(look.on_axis(frame.heights), low, high)
    quads, colors = _quads(look, values)
    if len(quads):
        faces = Poly3DCollection(quads, facecolors=colors, edgecolors=colors, linewidths=0.4, zorder=1)
        axes.add_collection3d(faces, autolim=False)
    if look.kind == "loss":
        for k, trail in enumerate(frame.trails):
            _trail(axes, look, trail, frame.shown if k == 0 else len(trail.losses) - 1)
    axes.set(xlim=(look.x[0], look.x[-1]), ylim=(look.y[0], look.y[-1]), zlim=(low, high))
    ticks = ticks_of(look)
    axes.set_zticks(list(ticks), list(ticks.values()))
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelsize=7, pad=0, labelcolor=INK)
    axes.set_xlabel(look.words["short_x"], size=9, color=INK, labelpad=0, parse_math=False)
    axes.set_ylabel(look.words["short_y"], size=9, color=INK, labelpad=0, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1.0, 1.0, 1.0, 1.0))
        axis.line.set_color(FRAME)
    axes.set_box_aspect((1.15, 1.15, 0.75), zoom=1.03)
    axes.view_init(elev=28, azim=-51)


def _quads(look: Look, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces (Q, 4, 3) between neighbouring nodes that all have a height, and their colours (Q, 3)."""
    low, high = look.span
    places = np.stack([*np.meshgrid(look.x, look.y), values], axis=-1)
    corners = np.stack([places[:-1, :-1], places[:-1, 1:], places[1:, 1:], places[1:, :-1]], axis=2)
    quads = corners.reshape(-1, 4, 3)
    quads = quads[np.isfinite(quads).all((1, 2))]
    # Slopes as the eye sees them, in a box with sides of about the same length.
    box = quads / np.array([np.ptp(look.x), np.ptp(look.y), high - low])
    normal = np.cross(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    lit = (normal / length) @ (LIGHT / np.linalg.norm(LIGHT))
    shade = np.clip((lit * len(SHADES)).astype(int), 0, len(SHADES) - 1)
    levels = look.level(quads[:, :, 2].mean(1))
    return quads, _levels(look.kind)[levels] * SHADES[shade, None]


def _trail(axes: Any, look: Look, trail: Trail, at: int) -> None:
    low, high = look.span
    z = np.clip(look.on_axis(trail.losses), low, high)
    x, y = trail.places.T
    inside = (x >= look.x[0]) & (x <= look.x[-1]) & (y >= look.y[0]) & (y <= look.y[-1])
    x, y, z = (np.where(inside, one, np.nan) for one in (x, y, z))
    axes.plot(x, y, z, color="white", lw=3.4, zorder=2)
    axes.plot(x, y, z, color=trail.color, lw=2.0, zorder=3)
    drawn = np.flatnonzero(np.isfinite(x) & np.isfinite(z))
    axes.scatter(
        x[drawn], y[drawn], z[drawn], s=16, c=_levels("loss")[look.level(z[drawn])], depthshade=False,
        edgecolors=trail.color, linewidths=1.2, zorder=4,
    )  # fmt: skip
    if at in drawn:
        axes.scatter(
            [x[at]], [y[at]], [z[at]], s=70, c=trail.color, marker="D", depthshade=False,
            edgecolors="white", linewidths=1.4, zorder=5,
        )  # fmt: skip
