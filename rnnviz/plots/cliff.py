"""The error of one unit over its two weights, as a surface and as a map, with paths of gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from .theme import ACCENT, GRADIENTS, drawn, log_axis, range_of, themed

Floats = NDArray[np.float64]
Window = tuple[float, float, float, float]

ERRORS = "Viridis"  # errors and gradients never share a scale
UNCLIPPED, CLIPPED = ACCENT, "#2f6bd0"
CLIFF, FOLD = "#d9480f", "#7a8794"
CASING = "rgba(255, 255, 255, 0.85)"  # under what is drawn on a map, whose colours may be anything
LIFT = 0.012  # of the height of the box: how far lines hover over the surface
LOWEST = 0.5  # per cent of the window that may be darker than the scale goes
CAMERA = {"eye": {"x": 1.65, "y": 1.5, "z": 0.95}, "center": {"x": 0.0, "y": 0.0, "z": -0.12}}

TEXT: Mapping[str, str] = {
    "w": "weight w",
    "b": "bias b",
    "error": "error E",
    "norm": "gradient norm",
    "cliff": "cliff",
    "fold": "bifurcations",
    "kink": "fold at the kink",
    "start": "start",
    "end": "end",
    "step": "step of gradient descent",
    "threshold": "threshold",
    "place": "cut here",
    "moved": "moved",
}
"""Default words of the figures."""


@dataclass(frozen=True)
class Ground:
    """What is drawn over the window. w: (W,), b: (B,), decades: (B, W) its log10; gradient: which scale."""

    w: Floats
    b: Floats
    decades: Floats
    gradient: bool

    @property
    def window(self) -> Window:
        return float(self.w[0]), float(self.w[-1]), float(self.b[0]), float(self.b[-1])

    @property
    def axis(self) -> dict[str, Any]:
        """The scale in decades: all of it, but for the deepest spots of the window."""
        values = drawn(self.decades)
        low, high = range_of([values])
        if np.isfinite(values).any():
            low = max(low, float(np.nanpercentile(values, LOWEST)))
        if high - low <= 1.5:
            return log_axis(low, high)
        low, high = np.floor(2 * low) / 2, np.ceil(2 * high) / 2  # whole decades would leave much of it empty
        return {**log_axis(low, high), "range": [float(low), float(high)]}

    def under(self, w: Floats, b: Floats) -> Floats:
        """The height of the surface's edge at places: the highest of the nine points around each."""
        column = np.clip(np.searchsorted(self.w, w), 1, len(self.w) - 2)
        row = np.clip(np.searchsorted(self.b, b), 1, len(self.b) - 2)
        around = [drawn(self.decades)[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        found: Floats = np.fmax.reduce(around)
        return found


@dataclass(frozen=True)
class Border:
    """A line over the plane: (n,) places, NaN where there is none."""

    name: str
    w: Floats
    b: Floats
    color: str
    dash: str


@dataclass(frozen=True)
class Track:
    """A path of gradient descent. w, b, error, norm: (n + 1,) the last two in decades; limit: of its rule."""

    name: str
    w: Floats
    b: Floats
    error: Floats
    norm: Floats
    color: str
    dash: str
    limit: float | None = None


def _label(ground: Ground, text: Mapping[str, str]) -> str:
    return text["norm"] if ground.gradient else text["error"]


def _scale(ground: Ground) -> dict[str, Any]:
    low, high = ground.axis["range"]
    return {"colorscale": GRADIENTS if ground.gradient else ERRORS, "cmin": low, "cmax": high}


def surface_figure(
    ground: Ground, borders: Sequence[Border], tracks: Sequence[Track], text: Mapping[str, str] = TEXT,
    height: int = 450,
) -> go.Figure:  # fmt: skip
    """The window as a surface, whose height and colour are decades, with lines and paths just above it."""
    figure = go.Figure()
    label = _label(ground, text)
    low, high = ground.axis["range"]
    lift = LIFT * (high - low)
    heights = drawn(ground.decades)
    figure.add_trace(
        go.Surface(
            x=ground.w, y=ground.b, z=np.clip(heights, low, high).astype(np.float32), showscale=False,
            customdata=numbers(ground.decades), name=label, **_scale(ground),
            lighting={"ambient": 0.75, "diffuse": 0.5, "specular": 0.05, "roughness": 0.9},
            hovertemplate=f"w = %{{x:.4~g}}, b = %{{y:.4~g}}<br>{label} %{{customdata:.3~g}}<extra></extra>",
        )
    )  # fmt: skip
    for border in borders:
        z = np.clip(ground.under(border.w, border.b), low, high) + lift
        inside = _inside(border.w, border.b, ground.window)
        figure.add_trace(_solid(border.w, border.b, np.where(inside, z, np.nan), border.name, border.color,
                                "dash" if border.dash == "dash" else "dot", 5))  # fmt: skip
    for track in tracks:
        w, b, z = _until_it_leaves(track, track.norm if ground.gradient else track.error, ground.window)
        z = np.clip(z, low, high) + 2 * lift
        figure.add_trace(_solid(w, b, z, track.name, track.color, track.dash, 7, markers=True))
    axes = {
        "showspikes": False,
        "backgroundcolor": "rgba(0, 0, 0, 0)",
        "gridcolor": "rgba(128, 128, 128, 0.3)",
    }
    window = ground.window
    return themed(
        figure, height, uirevision="cliff", showlegend=False, margin={"t": 10, "r": 0, "b": 30, "l": 0},
        scene={
            "xaxis": {**axes, "title": {"text": text["w"]}, "range": list(window[:2]), "nticks": 5},
            "yaxis": {**axes, "title": {"text": text["b"]}, "range": list(window[2:]), "nticks": 5},
            "zaxis": {**axes, **ground.axis, "range": [low, high + 3 * lift], "title": {"text": label}},
            "aspectmode": "manual", "aspectratio": {"x": 1.0, "y": 1.0, "z": 0.65},
            "camera": CAMERA, "uirevision": "cliff",
        },
    )  # fmt: skip


def map_figure(
    ground: Ground, borders: Sequence[Border], tracks: Sequence[Track], start: tuple[float, float],
    text: Mapping[str, str] = TEXT, height: int = 450,
) -> go.Figure:  # fmt: skip
    """The window from above, with contours, lines and paths. start: where the paths begin."""
    figure = go.Figure()
    label, axis, window = _label(ground, text), ground.axis, ground.window
    low, high = axis["range"]
    figure.add_trace(
        go.Contour(
            x=ground.w, y=ground.b, z=np.clip(drawn(ground.decades), low, high).astype(np.float32),
            zmin=low, zmax=high, colorscale=GRADIENTS if ground.gradient else ERRORS, name=label,
            contours={"coloring": "heatmap", "start": low, "end": high, "size": (high - low) / 20},
            line={"width": 0.5, "color": "rgba(0, 0, 0, 0.3)"}, hoverongaps=False, connectgaps=False,
            customdata=numbers(ground.decades),
            colorbar={"tickvals": axis["tickvals"], "ticktext": axis["ticktext"], "thickness": 12,
                      "title": {"text": label, "side": "right"}},
            hovertemplate=f"w = %{{x:.4~g}}, b = %{{y:.4~g}}<br>{label} %{{customdata:.3~g}}<extra></extra>",
        )
    )  # fmt: skip
    for border in borders:
        figure.add_trace(_flat(border.w, border.b, CASING, 4))
        figure.add_trace(_flat(border.w, border.b, border.color, 2, border.dash, border.name))
    for track in tracks:
        figure.add_trace(_flat(track.w, track.b, CASING, 5))
        figure.add_trace(_flat(track.w, track.b, track.color, 2.5, track.dash, track.name))
        figure.add_trace(_points(track))
    figure.add_trace(
        go.Scatter(
            x=[start[0]], y=[start[1]], mode="markers", name=text["start"], showlegend=False,
            marker={"symbol": "diamond", "size": 12, "color": "white",
                    "line": {"color": "#222222", "width": 2}},
            hovertemplate=f"{text['start']}: w = %{{x:.5~g}}, b = %{{y:.5~g}}<extra></extra>",
        )
    )  # fmt: skip
    zoom = ",".join(f"{side:g}" for side in window)  # another window is another picture
    figure.update_xaxes(title_text=text["w"], range=list(window[:2]), uirevision=zoom)
    figure.update_yaxes(title_text=text["b"], range=list(window[2:]), uirevision=zoom)
    legend = {
        "orientation": "h",
        "yref": "container",
        "y": 1,
        "yanchor": "top",
        "xref": "container",
        "x": 0,
        "xanchor": "left",
    }
    margin = {"t": 74, "r": 10, "b": 60, "l": 60}
    return themed(figure, height, uirevision="cliff", legend=legend, margin=margin)


def numbers(decades: Floats) -> Floats:
    """Decades as numbers again, for what is said at the pointer."""
    with np.errstate(over="ignore", invalid="ignore"):
        found: Floats = 10.0 ** drawn(decades)
    return found.astype(np.float32) if np.nanmax(found, initial=0.0) < 1e38 else found


def _inside(w: Floats, b: Floats, window: Window) -> NDArray[np.bool_]:
    return (w >= window[0]) & (w <= window[1]) & (b >= window[2]) & (b <= window[3])


def _solid(
    w: Floats, b: Floats, z: Floats, name: str, color: str, dash: str, width: float, markers: bool = False
) -> go.Scatter3d:
    return go.Scatter3d(
        x=w, y=b, z=z, mode="lines+markers" if markers else "lines", name=name, connectgaps=False,
        line={"color": color, "width": width, "dash": dash}, marker={"color": color, "size": 2.5},
        hoverinfo="skip",
    )  # fmt: skip


def _flat(
    w: Floats, b: Floats, color: str, width: float, dash: str = "solid", name: str | None = None
) -> go.Scatter:
    return go.Scatter(
        x=w, y=b, mode="lines", name=name, showlegend=name is not None, hoverinfo="skip", connectgaps=False,
        line={"color": color, "width": width, "dash": dash},
    )  # fmt: skip


def _points(track: Track) -> go.Scatter:
    """The places of a path; the last one is larger."""
    last = len(track.w) - 1
    return go.Scatter(
        x=track.w, y=track.b, mode="markers", showlegend=False, name=f"{track.name}: places",
        marker={"color": track.color, "size": np.where(np.arange(last + 1) == last, 10, 4),
                "line": {"color": CASING, "width": np.where(np.arange(last + 1) == last, 2, 0)}},
        customdata=np.stack([np.arange(last + 1), numbers(track.error), numbers(track.norm)], axis=1),
        hovertemplate=f"{track.name}, %{{customdata[0]:d}}<br>w = %{{x:.5~g}}, b = %{{y:.5~g}}"
                      "<br>E = %{customdata[1]:.3~g}, |dE| = %{customdata[2]:.3~g}<extra></extra>",
    )  # fmt: skip


def _until_it_leaves(track: Track, heights: Floats, window: Window) -> tuple[Floats, Floats, Floats]:
    """A path up to where it first crosses the window's border: (w, b, height), a gap where it is no number.

    The straight piece that crosses ends at the border, at the height of its beginning.
    """
    inside = _inside(track.w, track.b, window)
    heights = drawn(heights)
    if inside.all():
        return track.w, track.b, heights
    out = int(np.argmin(inside))
    if out == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    from_w, from_b = track.w[out - 1], track.b[out - 1]
    by_w, by_b = track.w[out] - from_w, track.b[out] - from_b
    share = 1.0
    for place, by, low, high in ((from_w, by_w, *window[:2]), (from_b, by_b, *window[2:])):
        if by:
            share = min(share, ((high if by > 0 else low) - place) / by)
    ends = (from_w + share * by_w, from_b + share * by_b, heights[out - 1])
    joined = [np.append(a[:out], end) for a, end in zip((track.w, track.b, heights), ends, strict=True)]
    return joined[0], joined[1], joined[2]
