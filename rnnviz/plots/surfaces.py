"""A loss surface over a plane: a relief that can be turned, a map with contours, and the path over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..numbers import of, of_decades
from .theme import CLEAR, GRADIENTS, GRID, INK, log_axis, range_of, themed

#: Words of the figures, to be translated.
TEXT: Mapping[str, str] = {
    "loss": "loss",
    "gradient": "gradient norm",
    "accuracy": "accuracy",
    "log": "{name} (log scale)",
    "log_short": "{name}, log",
    "path": "path of training",
    "step": "step {step:,}",
    "own": "own loss {loss}",
    "off": "{off} off the plane",
    "here": "step on show",
    "now": "now",
    "clipped": "step taken, clipped",
    "ghost": "without clipping",
    "profile": "along the line",
}

#: Each height keeps its colours; gradients have theirs everywhere.
COLORS = {"loss": "Viridis", "gradient": GRADIENTS, "accuracy": "Blues_r"}
#: Never changed afterwards: the user turns it.
CAMERA = {"eye": {"x": 1.45, "y": -1.7, "z": 1.0}, "center": {"x": 0.0, "y": 0.0, "z": -0.12}}
HEIGHT = 520
LIFT = 0.01  # of the height's range, by which lines lie above the surface
MOST_CONTOURS = 14


@dataclass(frozen=True)
class Relief:
    """Heights over a grid: x (n,), y (m,), heights (m, n); NaN and infinity are holes."""

    x: np.ndarray
    y: np.ndarray
    heights: np.ndarray
    kind: str = "loss"  # one of COLORS
    log: bool = True
    axes: tuple[str, str] = ("x", "y")
    short: tuple[str, str] = ("x", "y")  # of the same, for where there is little room

    @property
    def drawn(self) -> np.ndarray:
        """(m, n): what the vertical axis shows, in decades on a log scale; NaN where there is no height."""
        return self.on_axis(self.heights)

    def on_axis(self, heights: np.ndarray) -> np.ndarray:
        """Heights as the vertical axis counts them."""
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log10(heights) if self.log else np.asarray(heights, dtype=np.float64)
        return np.where(np.isfinite(shown), shown, np.nan)

    @property
    def span(self) -> tuple[float, float]:
        """The range of the vertical axis and of the colours."""
        if self.log:
            low, high = range_of([self.drawn])
        else:
            found = self.drawn[np.isfinite(self.drawn)]
            low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
        return (low, high) if high > low else (low - 0.5, high + 0.5)


@dataclass(frozen=True)
class Route:
    """A path of training: places (K, 2) in the plane, each point's own loss, its distance from the plane.

    now: the place in which the run stands and its loss, where it is beyond the last point.
    """

    name: str
    color: str
    steps: Sequence[int]
    places: np.ndarray
    losses: np.ndarray
    off: np.ndarray
    shown: int | None = None  # which of the points is the step on show
    now: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Ghost:
    """A clipped step: from where, where it led and where it would have led without clipping; (x, y) each."""

    name: str
    color: str
    step: int
    start: tuple[float, float]
    taken: tuple[float, float]
    unclipped: tuple[float, float]


def relief_figure(
    relief: Relief, routes: Sequence[Route] = (), ghosts: Sequence[Ghost] = (), text: Mapping[str, str] = TEXT
) -> go.Figure:
    """The surface from the side, with paths at their own losses: a dot may hang above it or lie under it."""
    low, high = relief.span
    figure = go.Figure()
    figure.add_trace(
        go.Surface(
            x=_small(relief.x), y=_small(relief.y), z=_small(relief.drawn), customdata=_small(relief.heights),
            cmin=low, cmax=high, colorscale=COLORS[relief.kind], showscale=False, connectgaps=False,
            lighting={"ambient": 0.72, "diffuse": 0.55, "specular": 0.06, "roughness": 0.9},
            contours={"z": {"highlight": False}, "x": {"highlight": False}, "y": {"highlight": False}},
            hovertemplate=_hover(relief, text, "customdata"),
        )
    )  # fmt: skip
    lift = LIFT * (high - low)
    if relief.kind == "loss":
        for route in routes:
            _route_3d(figure, relief, route, lift, text)
        for ghost in ghosts:
            _ghost_3d(figure, relief, ghost, lift)
    axis = {"gridcolor": GRID, "backgroundcolor": CLEAR, "showspikes": False, "zeroline": False}
    scale = _ticks(relief)
    name = text["log_short"].format(name=text[relief.kind]) if relief.log else text[relief.kind]
    return themed(
        figure, HEIGHT, uirevision="kept", showlegend=False, margin={"t": 0, "r": 0, "b": 0, "l": 0},
        scene={
            "xaxis": {**axis, "title": {"text": relief.short[0]}, "range": _ends(relief.x), "nticks": 5},
            "yaxis": {**axis, "title": {"text": relief.short[1]}, "range": _ends(relief.y), "nticks": 5},
            "zaxis": {**axis, **scale, "title": {"text": name}, "range": [low, high + 2 * lift]},
            "camera": CAMERA, "aspectmode": "manual", "aspectratio": {"x": 1.0, "y": 1.0, "z": 0.68},
            "dragmode": "orbit",
        },
    )  # fmt: skip


def contour_figure(
    relief: Relief, routes: Sequence[Route] = (), ghosts: Sequence[Ghost] = (), text: Mapping[str, str] = TEXT
) -> go.Figure:
    """The same from above: colours and contours, paths with dots in the colour of their own loss."""
    low, high = relief.span
    scale = _ticks(relief)
    figure = go.Figure()
    figure.add_trace(
        go.Contour(
            x=_small(relief.x), y=_small(relief.y), z=_small(relief.drawn), customdata=_small(relief.heights),
            zmin=low, zmax=high, colorscale=COLORS[relief.kind], connectgaps=False, showlegend=False,
            contours={"start": low, "end": high, "size": (high - low) / MOST_CONTOURS, "coloring": "heatmap"},
            line={"width": 0.6, "color": "rgba(255, 255, 255, 0.45)"},
            colorbar={
                "thickness": 12, "len": 0.95, "title": {"text": text[relief.kind], "side": "right"},
                **{k: v for k, v in scale.items() if k != "range"},
            },
            hovertemplate=_hover(relief, text, "customdata"),
        )
    )  # fmt: skip
    for route in routes:
        _route_2d(figure, relief, route, text)
    for ghost in ghosts:
        _ghost_2d(figure, ghost, text)
    figure.update_xaxes(title_text=relief.axes[0], range=_ends(relief.x))
    figure.update_yaxes(title_text=relief.axes[1], range=_ends(relief.y))
    return themed(
        figure, HEIGHT, uirevision="kept", dragmode="pan", margin={"t": 46, "r": 10, "b": 50, "l": 66},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "xanchor": "left", "x": 0},
    )  # fmt: skip


def profile_figure(
    relief: Relief, row: int, ends: Mapping[float, str], text: Mapping[str, str] = TEXT
) -> go.Figure:
    """The heights along one row of the grid; `ends` names places on it."""
    figure = go.Figure(
        go.Scatter(
            x=relief.x, y=relief.drawn[row], customdata=relief.heights[row], mode="lines+markers",
            line={"color": INK, "width": 2}, marker={"size": 4}, name=text["profile"], showlegend=False,
            hovertemplate=f"%{{x:.3g}}<br>{text[relief.kind]} %{{customdata:.3g}}<extra></extra>",
        )
    )  # fmt: skip
    for x, name in ends.items():
        figure.add_vline(x=x, line={"color": INK, "dash": "dot", "width": 1}, annotation_text=name)
    name = text["log"].format(name=text[relief.kind]) if relief.log else text[relief.kind]
    figure.update_xaxes(title_text=relief.axes[0])
    figure.update_yaxes(title_text=name, **_ticks(relief))
    return themed(figure, 300)


def _ticks(relief: Relief) -> dict[str, Any]:
    if not relief.log:
        return {}
    low, high = relief.span
    axis = log_axis(low, high)
    if sum(low <= tick <= high for tick in axis["tickvals"]) < 2:  # of a flat surface: between two of them
        ticks = np.linspace(low, high, 4)
        return {"tickvals": ticks.tolist(), "ticktext": [of_decades(float(tick)) for tick in ticks]}
    return {name: axis[name] for name in ("tickvals", "ticktext")}


def _small(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def _ends(values: np.ndarray) -> list[float]:
    return [float(values[0]), float(values[-1])]


def _hover(relief: Relief, text: Mapping[str, str], name: str) -> str:
    return f"(%{{x:.3g}}, %{{y:.3g}})<br>{text[relief.kind]} %{{{name}:.4g}}<extra></extra>"


def _told(route: Route, text: Mapping[str, str]) -> list[str]:
    lead = f"{route.name}<br>" if route.name else ""
    return [
        lead + "<br>".join(
            [
                text["step"].format(step=step),
                text["own"].format(loss=of(float(loss))),
                text["off"].format(off=of(float(off))),
            ]
        )
        for step, loss, off in zip(route.steps, route.losses, route.off, strict=True)
    ]  # fmt: skip


def _route_3d(figure: go.Figure, relief: Relief, route: Route, lift: float, text: Mapping[str, str]) -> None:
    low, high = relief.span
    z = np.clip(relief.on_axis(route.losses), low, high) + lift
    inside = _inside(relief, route.places)
    x, y = (np.where(inside, route.places[:, k], np.nan) for k in (0, 1))
    figure.add_trace(
        go.Scatter3d(
            x=x, y=y, z=z, mode="lines+markers", name=route.name or text["path"],
            line={"color": route.color, "width": 5},
            marker={
                "size": 4, "color": relief.on_axis(route.losses), "cmin": low, "cmax": high,
                "colorscale": COLORS["loss"], "line": {"color": route.color, "width": 2},
            },
            text=_told(route, text), hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    marks = [] if route.shown is None else [(x[route.shown], y[route.shown], z[route.shown], "diamond")]
    if route.now is not None:
        px, py, loss = route.now
        if _inside(relief, np.array([[px, py]]))[0]:
            height = float(np.clip(relief.on_axis(np.array(loss)), low, high)) + lift
            marks.append((px, py, height, "cross"))
    for mx, my, mz, symbol in marks:
        figure.add_trace(
            go.Scatter3d(
                x=[mx], y=[my], z=[mz], mode="markers", hoverinfo="skip",
                marker={"size": 7, "symbol": symbol, "color": route.color, "line": {"color": INK}},
            )
        )  # fmt: skip


def _route_2d(figure: go.Figure, relief: Relief, route: Route, text: Mapping[str, str]) -> None:
    low, high = relief.span
    values: dict[str, Any] = {"color": route.color}
    if relief.kind == "loss":
        values = {
            "color": relief.on_axis(route.losses), "cmin": low, "cmax": high, "colorscale": COLORS["loss"],
        }  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=route.places[:, 0], y=route.places[:, 1], mode="lines+markers", name=route.name or text["path"],
            line={"color": route.color, "width": 2},
            marker={"size": 7, "line": {"color": route.color, "width": 2}, **values},
            text=_told(route, text), hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    lead = f"{route.name}: " if route.name else ""
    if route.shown is not None:
        figure.add_trace(
            _mark(route.places[route.shown], lead + text["here"], "diamond", route.color)
        )  # fmt: skip
    if route.now is not None:
        figure.add_trace(_mark(np.array(route.now[:2]), lead + text["now"], "cross", route.color))


def _mark(place: np.ndarray, name: str, symbol: str, color: str) -> go.Scatter:
    return go.Scatter(
        x=[place[0]], y=[place[1]], mode="markers", name=name, hoverinfo="skip",
        marker={"size": 13, "symbol": symbol, "color": color, "line": {"color": "white", "width": 1.5}},
    )  # fmt: skip


def _ghost_2d(figure: go.Figure, ghost: Ghost, text: Mapping[str, str]) -> None:
    told = {trace.name for trace in figure.data}
    for end, name, dash, width in (
        (ghost.unclipped, text["ghost"], "dot", 2), (ghost.taken, text["clipped"], "solid", 3),
    ):  # fmt: skip
        if not np.isfinite(end).all():  # there is no such place
            continue
        x, y = np.array([ghost.start, end]).T
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines+markers", name=name, showlegend=name not in told, legendgroup=name,
                line={"color": ghost.color, "dash": dash, "width": width}, opacity=0.9,
                marker={"symbol": "arrow", "angleref": "previous", "size": [0, 11], "color": ghost.color},
                text=[f"{text['step'].format(step=ghost.step)}: {name}"] * 2,
                hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip


def _ghost_3d(figure: go.Figure, relief: Relief, ghost: Ghost, lift: float) -> None:
    """On the surface itself: of an end that lies beside the plane, its place in it."""
    low, high = relief.span
    for end, dash in ((ghost.unclipped, "dot"), (ghost.taken, "solid")):
        if not np.isfinite(end).all():
            continue
        start, stop = np.array(ghost.start), np.array(end)
        line = start + np.linspace(0, 1, 40)[:, None] * (stop - start)
        inside = _inside(relief, line)
        z = np.clip(_under(relief, line), low, high) + 2 * lift
        figure.add_trace(
            go.Scatter3d(
                x=np.where(inside, line[:, 0], np.nan), y=np.where(inside, line[:, 1], np.nan), z=z,
                mode="lines", hoverinfo="skip", line={"color": ghost.color, "width": 4, "dash": dash},
            )
        )  # fmt: skip


def _inside(relief: Relief, places: np.ndarray) -> np.ndarray:
    """Which places lie in the window."""
    inside: np.ndarray = (
        (places[:, 0] >= relief.x[0]) & (places[:, 0] <= relief.x[-1])
        & (places[:, 1] >= relief.y[0]) & (places[:, 1] <= relief.y[-1])
    )  # fmt: skip
    return inside


def _under(relief: Relief, places: np.ndarray) -> np.ndarray:
    """The height of the surface at places, on the axis, of the nearest node."""
    rows, columns = (
        np.clip(np.rint((places[:, k] - axis[0]) / (axis[-1] - axis[0]) * (len(axis) - 1)), 0, len(axis) - 1)
        for k, axis in ((1, relief.y), (0, relief.x))
    )
    under: np.ndarray = relief.drawn[rows.astype(int), columns.astype(int)]
    return under
