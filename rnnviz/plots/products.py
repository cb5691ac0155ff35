"""Products of step Jacobians: the map of all pairs of time steps, and theory against what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..numbers import of as of_number
from .theme import ACCENT, INK, color_axis, drawn, faint, log_axis, range_of, said_all, themed

#: Words of the figures, to be translated.
TEXT: Mapping[str, str] = {
    "from": "from step k",
    "to": "to step t",
    "lag": "steps between, t \u2212 k",
    "norm": "norm of ds_t/ds_k",
    "measured": "measured (median; band: all pairs)",
    "slopes": "bound with the slopes at these states (median)",
    "bound": "bound with the largest slope",
    "thousandth": "a thousandth",
    "horizon": "horizon {lag}",
}


MOST_ROWS = 256  # of a map that are drawn: longer sequences show every n-th step


@dataclass(frozen=True)
class Pairs:
    """One network: decades (T, T), [t, k] of ds_t/ds_k in the order of reading, NaN where there is none."""

    name: str
    decades: np.ndarray


@dataclass(frozen=True)
class Lags:
    """One network by distance n = 0, 1, ...: decades (N,) each.

    slopes, bound: what theory allows at most, for plain cells; horizon: see `jacobians.horizon`.
    """

    name: str
    color: str
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    slopes: np.ndarray | None = None
    bound: np.ndarray | None = None
    horizon: float = np.inf


def all_pairs(maps: Sequence[Pairs], of: str, text: Mapping[str, str] = TEXT) -> go.Figure:
    """One map for each network, all on one scale of colours; the diagonal is 1 by definition."""
    low, high = range_of([one.decades for one in maps])
    figure = make_subplots(
        rows=1,
        cols=len(maps),
        horizontal_spacing=0.06,
        subplot_titles=[one.name for one in maps] if len(maps) > 1 else None,
    )
    for column, one in enumerate(maps, start=1):
        every = -(-len(one.decades) // MOST_ROWS)
        t = np.arange(len(one.decades))[::every]
        figure.add_trace(
            go.Heatmap(
                x=t + 1,
                y=t + 1,
                z=drawn(one.decades[::every, ::every]),
                coloraxis="coloraxis",
                hoverongaps=False,
                hovertemplate="t = %{y}, k = %{x}: 1e%{z:.2f}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(showticklabels=column == 1, col=column)
    figure.update_xaxes(nticks=5)
    figure.update_xaxes(title_text=text["from"], col=(len(maps) + 1) // 2)
    figure.update_yaxes(title_text=text["to"], col=1)
    figure.update_layout(coloraxis=color_axis(low, high, of))
    return themed(figure, 420, margin={"t": 40, "r": 20, "b": 50, "l": 60})


def by_distance(curves: Sequence[Lags], of: str, text: Mapping[str, str] = TEXT) -> go.Figure:
    """How much is left of a signal after so many steps, beside what theory allows at most."""
    figure = go.Figure()
    alone = len(curves) == 1
    for curve in curves:
        n = np.arange(len(curve.middle))
        known = np.isfinite(curve.low) & np.isfinite(curve.high)
        figure.add_trace(
            go.Scatter(
                mode="lines",
                x=np.concatenate([n[known], n[known][::-1]]),
                y=np.concatenate([curve.high[known], curve.low[known][::-1]]),
                fill="toself",
                fillcolor=faint(curve.color, 0.16),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        for values, kind, dash, width in (
            (curve.middle, "measured", "solid", 2.5),
            (curve.slopes, "slopes", "dash", 1.5),
            (curve.bound, "bound", "dot", 1.5),
        ):
            if values is None:
                continue
            figure.add_trace(
                go.Scatter(
                    x=n,
                    y=drawn(values),
                    mode="lines",
                    customdata=said_all(values),
                    line={"color": curve.color, "dash": dash, "width": width},
                    name=text[kind] if alone else curve.name,
                    showlegend=alone or kind == "measured",
                    hovertemplate="%{x}: %{customdata}<extra>%{fullData.name}</extra>",
                )
            )
        if np.isfinite(curve.horizon):
            # Where the curve has come to a thousandth.
            figure.add_trace(
                go.Scatter(
                    x=[curve.horizon],
                    y=[-3.0],
                    mode="markers",
                    marker={"color": curve.color, "size": 10, "symbol": "diamond"},
                    name=text["horizon"].format(lag=of_number(curve.horizon)),
                    showlegend=alone,
                    hovertemplate="%{fullData.name}<extra></extra>",
                )
            )
    if not alone:
        for kind, dash in (("slopes", "dash"), ("bound", "dot")):
            if any(getattr(curve, kind) is not None for curve in curves):
                figure.add_trace(
                    go.Scatter(
                        x=[None], y=[None], mode="lines", line={"color": INK, "dash": dash}, name=text[kind]
                    )
                )
    measured = [v for c in curves for v in (c.middle, c.low, c.high)]
    low, high = range_of([*measured, np.array([-3.5, 0.5])])
    theory = range_of([*measured, *(v for c in curves for v in (c.slopes, c.bound) if v is not None)])
    # Bounds leave the picture before they squeeze what was measured into a line.
    room = max(3.0, (high - low) / 2)
    low, high = max(min(low, theory[0]), low - room), min(max(high, theory[1]), high + room)
    figure.add_hline(
        -3,
        line={"color": ACCENT, "width": 1, "dash": "dot"},
        annotation_text=text["thousandth"],
        annotation_position="bottom left",
    )
    figure.add_hline(0, line={"color": INK, "width": 1})
    figure.update_yaxes(title_text=of, **log_axis(low, high))
    figure.update_xaxes(title_text=text["lag"], range=[0, max(1, *(len(c.middle) - 1 for c in curves))])
    return themed(figure, 400, margin={"t": 80, "r": 20, "b": 50, "l": 80})
