"""Spectra: eigenvalues on the plane with the unit circle, over training, and Lyapunov exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import GRID, INK, drawn, faint, log_axis, range_of, themed

#: Words of the figures, to be translated.
TEXT: Mapping[str, str] = {
    "real": "real part",
    "imaginary": "imaginary part",
    "eigenvalues": "eigenvalues",
    "singular": "largest singular value",
    "radius": "spectral radius",
    "circle": "unit circle",
    "training": "training step",
    "value": "spectral radius, singular value",
    "order": "direction, the most stretched first",
    "exponent": "exponent a step",
    "neither": "neither grows nor shrinks",
    "time": "time step t",
}

SHAPES = ("circle", "diamond", "square", "cross", "triangle-up", "star")


@dataclass(frozen=True)
class Cloud:
    """Eigenvalues of one matrix or of several, and the largest singular value, a circle where it is known."""

    name: str
    color: str
    eigenvalues: np.ndarray  # complex, any shape
    largest: float = np.nan
    shape: str = "circle"


@dataclass(frozen=True)
class History:
    """Radius and largest singular value at the training steps (m,), NaN where not finite."""

    name: str
    color: str
    steps: np.ndarray
    radius: np.ndarray
    largest: np.ndarray
    marked: int | None = None


@dataclass(frozen=True)
class Exponents:
    """Lyapunov exponents of one network, (S,) descending."""

    name: str
    color: str
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))


def on_the_circle(clouds: Sequence[Cloud], text: Mapping[str, str] = TEXT) -> go.Figure:
    """The complex plane: inside the unit circle a direction shrinks, outside it grows."""
    figure = go.Figure()
    turn = np.linspace(0, 2 * np.pi, 181)
    figure.add_trace(
        go.Scatter(
            x=np.cos(turn),
            y=np.sin(turn),
            mode="lines",
            line={"color": INK, "width": 1.5},
            name=text["circle"],
            hoverinfo="skip",
        )
    )
    reach = 1.1
    for cloud in clouds:
        points = cloud.eigenvalues[np.isfinite(cloud.eigenvalues)]
        figure.add_trace(
            go.Scatter(
                x=points.real,
                y=points.imag,
                mode="markers",
                name=cloud.name,
                marker={
                    "color": faint(cloud.color, 0.75),
                    "size": 7,
                    "symbol": cloud.shape,
                    "line": {"color": cloud.color, "width": 1},
                },
                customdata=np.abs(points),
                hovertemplate="%{x:.3g} + %{y:.3g}i, |·| = %{customdata:.4g}<extra>%{fullData.name}</extra>",
            )
        )
        if np.isfinite(cloud.largest):
            figure.add_trace(
                go.Scatter(
                    x=cloud.largest * np.cos(turn),
                    y=cloud.largest * np.sin(turn),
                    mode="lines",
                    line={"color": cloud.color, "width": 1, "dash": "dot"},
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        if len(points):
            reach = max(reach, 1.1 * float(np.abs(points).max()))
        if np.isfinite(cloud.largest) and cloud.largest < 4 * reach:
            reach = max(reach, 1.05 * cloud.largest)
    figure.update_xaxes(title_text=text["real"], range=[-reach, reach], constrain="domain")
    figure.update_yaxes(
        title_text=text["imaginary"], range=[-reach, reach], scaleanchor="x", constrain="domain"
    )
    return themed(figure, 460, margin={"t": 70, "r": 20, "b": 50, "l": 60})


def over_training(histories: Sequence[History], text: Mapping[str, str] = TEXT) -> go.Figure:
    """Spectral radius and largest singular value as training goes on, on a logarithmic axis."""
    figure = go.Figure()
    decades = []
    for one in histories:
        for values, kind, dash in ((one.radius, "radius", "solid"), (one.largest, "singular", "dot")):
            with np.errstate(divide="ignore", invalid="ignore"):
                log = np.log10(values)
            decades.append(log)
            figure.add_trace(
                go.Scatter(
                    x=one.steps,
                    y=drawn(log),
                    customdata=values,
                    mode="lines+markers",
                    line={"color": one.color, "dash": dash},
                    marker={"size": 4},
                    name=f"{one.name} · {text[kind]}" if len(histories) > 1 else text[kind],
                    hovertemplate="%{x}: %{customdata:.4g}<extra>%{fullData.name}</extra>",
                )
            )
        if one.marked is not None:
            figure.add_vline(one.marked, line={"color": one.color, "width": 1, "dash": "dash"})
    low, high = range_of([*decades, np.array([-0.2, 0.2])])
    figure.add_hline(0, line={"color": INK, "width": 1.5})
    figure.update_xaxes(title_text=text["training"])
    figure.update_yaxes(title_text=text["value"], **_fine_log_axis(low, high))
    return themed(figure, 340, margin={"t": 70, "r": 20, "b": 50, "l": 70})


def _fine_log_axis(low: float, high: float) -> dict[str, object]:
    """Of few decades: labels at 1, 2, 5, 10 ... as far as they fit."""
    if high - low > 3:
        return log_axis(low, high)
    ticks = [m * 10.0**e for e in range(int(np.floor(low)) - 1, int(np.ceil(high)) + 1) for m in (1, 2, 5)]
    pad = max(0.05, 0.05 * (high - low))
    if high - low < 0.7:
        ticks = [m * 10.0**e for e in (-1, 0, 1) for m in (1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8)]
    shown = [t for t in ticks if low - pad <= np.log10(t) <= high + pad]
    return {
        "range": [low - pad, high + pad],
        "tickvals": [float(np.log10(t)) for t in shown],
        "ticktext": [f"{t:.3g}" for t in shown],
    }


def exponents(spectra: Sequence[Exponents], text: Mapping[str, str] = TEXT) -> go.Figure:
    """Lyapunov exponents, the largest first: above 0 what is nearby parts, below it comes together."""
    figure = go.Figure()
    for one in spectra:
        order = np.arange(1, len(one.values) + 1)
        figure.add_trace(
            go.Scatter(
                x=order,
                y=drawn(one.values),
                mode="lines+markers",
                marker={"size": 5, "color": one.color},
                line={"color": one.color, "width": 1.5},
                name=one.name or text["exponent"],
                hovertemplate="%{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_hline(
        0,
        line={"color": INK, "width": 1.5},
        annotation_text=text["neither"],
        annotation_position="bottom right",
    )
    figure.update_xaxes(title_text=text["order"])
    figure.update_yaxes(title_text=text["exponent"])
    return themed(figure, 340, showlegend=len(spectra) > 1, margin={"t": 60, "r": 20, "b": 50, "l": 70})


def along_time(
    values: Sequence[tuple[str, str, np.ndarray]], marked: int | None = None, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """Largest singular value of the step Jacobian at each time step: (name, colour, (T,)) of each network."""
    figure = make_subplots()
    decades = []
    for name, color, largest in values:
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log10(largest)
        decades.append(log)
        figure.add_trace(
            go.Scatter(
                x=np.arange(1, len(log) + 1),
                y=drawn(log),
                customdata=largest,
                mode="lines",
                line={"color": color, "width": 2},
                name=name or text["singular"],
                hovertemplate="t = %{x}: %{customdata:.4g}<extra>%{fullData.name}</extra>",
            )
        )
    low, high = range_of([*decades, np.array([-0.2, 0.2])])
    figure.add_hline(0, line={"color": INK, "width": 1.5})
    if marked is not None:
        figure.add_vline(marked, line={"color": GRID, "width": 2})
    figure.update_xaxes(title_text=text["time"])
    figure.update_yaxes(title_text=text["singular"], **_fine_log_axis(low, high))
    return themed(figure, 300, showlegend=len(values) > 1, margin={"t": 40, "r": 20, "b": 50, "l": 70})
