"""One unit's map with its fixed points, and the singular values of recurrent matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from .theme import ACCENT, CLEAR, INK, themed

Floats = NDArray[np.float64]

TEXT: Mapping[str, str] = {
    "before": "state before the step, h(t-1)",
    "after": "state after it, h(t)",
    "map": "one step",
    "diagonal": "stays the same",
    "steps": "from the start",
    "stable": "stable",
    "unstable": "unstable",
    "slope": "h = {h:.3f}, slope {slope:.3f}",
    "rank": "singular value, the largest first",
    "singular": "size",
}
"""Default words of the figures here."""


def map_figure(
    states: Floats, after: Floats, orbit: Floats, fixed: Sequence[tuple[float, float]], color: str,
    text: Mapping[str, str] = TEXT,
) -> go.Figure:  # fmt: skip
    """A map against the diagonal, with a trajectory as a staircase between them (a cobweb).

    states, after: (n,) the map; orbit: (T + 1,) a trajectory; fixed: state and slope of each fixed point.
    """
    figure = go.Figure()
    figure.add_trace(_line([0, 1], [0, 1], text["diagonal"], INK, "dot"))
    figure.add_trace(_line(states, after, text["map"], color))
    # From (h, h) up to the curve and across to the diagonal, again and again.
    x, y = np.repeat(orbit, 2)[:-1], np.repeat(orbit, 2)[1:]
    figure.add_trace(_line(x, y, text["steps"], ACCENT, width=1))
    figure.add_trace(
        go.Scatter(
            x=orbit[:1], y=orbit[:1], mode="markers", showlegend=False, hoverinfo="skip",
            marker={"color": ACCENT, "size": 8, "symbol": "square"},
        )
    )  # fmt: skip
    for name, kept in (("stable", True), ("unstable", False)):
        at = [(h, slope) for h, slope in fixed if (abs(slope) < 1) is kept]
        if not at:
            continue
        figure.add_trace(
            go.Scatter(
                x=[h for h, _ in at], y=[h for h, _ in at], mode="markers+text", name=text[name],
                text=[f"{slope:.2f}" for _, slope in at], textposition="bottom right",
                customdata=[text["slope"].format(h=h, slope=slope) for h, slope in at],
                marker={"size": 12, "color": color if kept else CLEAR, "line": {"color": color, "width": 2}},
                hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title_text=text["before"], range=[-0.02, 1.02], constrain="domain")
    figure.update_yaxes(title_text=text["after"], range=[-0.02, 1.02], scaleanchor="x", constrain="domain")
    return themed(figure, 420)


def _line(
    x: Sequence[float] | Floats, y: Sequence[float] | Floats, name: str, color: str, dash: str = "solid",
    width: float = 2.0,
) -> go.Scatter:  # fmt: skip
    return go.Scatter(
        x=x, y=y, mode="lines", name=name, line={"color": color, "width": width, "dash": dash},
        hoverinfo="skip",
    )  # fmt: skip


@dataclass(frozen=True)
class Matrix:
    """A recurrent matrix by its name, with (H,) singular values, the largest first."""

    name: str
    singular: Floats
    color: str
    dash: str


def singular_figure(matrices: Sequence[Matrix], text: Mapping[str, str] = TEXT) -> go.Figure:
    """Singular values by rank: by how much each direction is stretched or shrunk in one step."""
    figure = go.Figure()
    figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"})
    for matrix in matrices:
        figure.add_trace(
            go.Scatter(
                x=np.arange(1, len(matrix.singular) + 1), y=matrix.singular, mode="lines", name=matrix.name,
                line={"color": matrix.color, "dash": matrix.dash, "width": 2},
                hovertemplate=f"{matrix.name}<br>%{{x}}: %{{y:.3g}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title_text=text["rank"])
    figure.update_yaxes(title_text=text["singular"], rangemode="tozero")
    return themed(figure, 300)
