"""Gradients along the time of a sequence: curves, and heat maps over training.

Norms come as logarithms to base 10, since they leave the range of numbers; the axes say the norms themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import ACCENT, INK, color_axis, drawn, faint, log_axis, range_of, said_all, themed

#: Words of the figures, to be translated.
TEXT: Mapping[str, str] = {
    "time": "time step t",
    "norm": "norm of the gradient",
    "mean": "mean",
    "median": "median",
    "spread": "10 to 90 % of the batch",
    "used": "as training used it",
    "alone": "of the farthest loss alone",
    "training": "training step",
    "decoder": "decoder",
    "zero": "0",
}


@dataclass(frozen=True)
class Curve:
    """What one network contributes: everything (T,) in decades.

    mean, median, low, high: over the batch; used: the mean as training used it, where that is another one;
    alone: that of one loss alone, where there is one at every step.
    """

    name: str
    color: str
    mean: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    used: np.ndarray | None = None
    alone: np.ndarray | None = None


@dataclass(frozen=True)
class Heat:
    """One network's recording: at the training steps (n,), for each of R rows of time, decades (n, R).

    row_steps: time steps that a row stands for; marked: the training step that is looked at.
    """

    name: str
    steps: np.ndarray
    decades: np.ndarray
    row_steps: int
    marked: int | None = None


def along_time(
    curves: Sequence[Curve], of: str, decoder: int | None = None, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """The gradient's norm at each time step; `of` names it, `decoder` is the first step of one, from 1."""
    figure = go.Figure()
    alone = len(curves) == 1
    for curve in curves:
        t = np.arange(1, len(curve.mean) + 1)
        other = ACCENT if alone else curve.color  # of a single network, what training used stands out
        _band(figure, t, curve, text, alone)
        hover = f"t = %{{x}}: %{{customdata}}<extra>{curve.name}</extra>"
        for values, kind, width, dash in (
            (curve.mean, "mean", 2.5, "solid"),
            (curve.median, "median", 1.5, "dot"),
            (curve.used, "used", 2, "dash"),
            (curve.alone, "alone", 1.2, "solid"),
        ):
            if values is not None:
                figure.add_trace(
                    go.Scatter(
                        x=t,
                        y=drawn(values),
                        mode="lines" if len(t) > 1 else "markers",
                        customdata=said_all(values),
                        line={
                            "color": other if kind == "used" else curve.color,
                            "width": width,
                            "dash": dash,
                        },
                        name=text[kind] if alone else curve.name,
                        showlegend=alone or kind == "mean",
                        hovertemplate=hover,
                    )
                )
    low, high = range_of(
        [v for c in curves for v in (c.mean, c.low, c.high, c.used, c.alone) if v is not None]
    )
    figure.update_yaxes(title_text=of, **log_axis(low, high))
    figure.update_xaxes(title_text=text["time"], range=[0.5, max(len(c.mean) for c in curves) + 0.5])
    if decoder is not None:
        figure.add_vline(decoder - 0.5, line={"color": INK, "dash": "dash", "width": 1})
        figure.add_annotation(
            x=decoder - 0.5, y=1, yref="paper", text=text["decoder"], showarrow=False, xanchor="left"
        )
    return themed(figure, 400, margin={"t": 60, "r": 20, "b": 50, "l": 80})


def _band(figure: go.Figure, t: np.ndarray, curve: Curve, text: Mapping[str, str], alone: bool) -> None:
    known = np.isfinite(curve.low) & np.isfinite(curve.high)
    if not known.any():
        return
    x = np.concatenate([t[known], t[known][::-1]])
    y = np.concatenate([curve.high[known], curve.low[known][::-1]])
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="lines",
            fill="toself",
            fillcolor=faint(curve.color, 0.16),
            line={"width": 0},
            hoverinfo="skip",
            name=text["spread"],
            showlegend=alone,
        )
    )


def over_training(heats: Sequence[Heat], of: str, text: Mapping[str, str] = TEXT) -> go.Figure:
    """Time upward, training to the right: one map for each network, all on one scale of colours."""
    low, high = range_of([heat.decades for heat in heats])
    figure = make_subplots(
        rows=1,
        cols=len(heats),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[heat.name for heat in heats] if len(heats) > 1 else None,
    )
    for column, heat in enumerate(heats, start=1):
        t = (np.arange(heat.decades.shape[1]) + 0.5) * heat.row_steps + 0.5
        figure.add_trace(
            go.Heatmap(
                x=heat.steps,
                y=t,
                z=drawn(heat.decades).T,
                coloraxis="coloraxis",
                customdata=said_all(heat.decades).T,
                hovertemplate=f"{text['training']} %{{x}}, t = %{{y:.0f}}: %{{customdata}}<extra></extra>",
            ),
            row=1,
            col=column,
        )
        if heat.marked is not None:
            figure.add_vline(heat.marked, line={"color": ACCENT, "width": 2}, row=1, col=column)
    figure.update_xaxes(nticks=3 if len(heats) > 1 else None)
    figure.update_xaxes(title_text=text["training"], col=(len(heats) + 1) // 2)
    figure.update_yaxes(title_text=text["time"], col=1)
    figure.update_layout(coloraxis=color_axis(low, high, of))
    return themed(figure, 340, margin={"t": 40, "r": 20, "b": 50, "l": 60})
