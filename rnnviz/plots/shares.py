"""Shares along time: where a gradient came from, and what a prediction still depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import ACCENT, INK, drawn, log_axis, range_of, said_all, themed, with_panels

#: Words of the figures, to be translated.
TEXT: Mapping[str, str] = {
    "time": "time step t",
    "cosine": "cosine with the whole",
    "before": "before training",
    "marked": "what matters",
    "state": "norm of h_t",
    "share": "norm of the share",
}


@dataclass(frozen=True)
class Shares:
    """What each time step adds for one network: decades (T,), and its cosine with the sum of all."""

    name: str
    color: str
    decades: np.ndarray
    cosine: np.ndarray
    whole: float  # decades of the sum
    first: int = 0  # time steps before these


def ledgers(panels: Mapping[str, Sequence[Shares]], text: Mapping[str, str] = TEXT) -> go.Figure:
    """One panel for each weight; in each a line a network, whose level line is the whole gradient's norm."""
    titles = list(panels)
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.09, subplot_titles=titles
    )
    for row, title in enumerate(titles, start=1):
        low, high = range_of([v for one in panels[title] for v in (one.decades, np.array([one.whole]))])
        for one in panels[title]:
            t = one.first + np.arange(1, len(one.decades) + 1)
            few = np.count_nonzero(np.isfinite(one.decades)) < 3
            said = np.stack([said_all(one.decades), np.round(one.cosine, 3).astype(object)], -1)
            figure.add_trace(
                go.Scatter(
                    x=t,
                    y=drawn(one.decades),
                    mode="lines+markers" if few else "lines",
                    line={"color": one.color, "width": 2},
                    marker={"size": 8},
                    customdata=said,
                    name=one.name,
                    legendgroup=one.name,
                    showlegend=row == 1 and bool(one.name),
                    hovertemplate="t = %{x}: %{customdata[0]}, "
                    + text["cosine"]
                    + " %{customdata[1]}<extra>%{fullData.name}</extra>",
                ),
                row=row,
                col=1,
            )
            if np.isfinite(one.whole):
                figure.add_hline(
                    one.whole, line={"color": one.color, "width": 1, "dash": "dot"}, row=row, col=1
                )
        figure.update_yaxes(row=row, col=1, **log_axis(low, high))
    figure.update_xaxes(title_text=text["time"], row=len(titles), col=1)
    T = max(one.first + len(one.decades) for networks in panels.values() for one in networks)
    figure.update_xaxes(range=[0.5, T + 0.5])
    figure.update_yaxes(title_text=text["share"], row=(len(titles) + 1) // 2, col=1)
    named = any(one.name for networks in panels.values() for one in networks)
    figure = themed(
        figure, 200 + 150 * len(titles), margin={"t": 90 if named else 40, "r": 20, "b": 50, "l": 70}
    )
    return with_panels(figure, named)


@dataclass(frozen=True)
class Memory:
    """How much the prediction changes with each input: decades (T,), now and before training."""

    name: str
    color: str
    now: np.ndarray
    before: np.ndarray | None = None


def memory(
    networks: Sequence[Memory], of: str, marks: Sequence[int] = (), text: Mapping[str, str] = TEXT
) -> go.Figure:
    """What the network still remembers, against position; `marks` are the steps, from 1, that matter."""
    figure = go.Figure()
    for one in networks:
        for values, kind, dash, width in ((one.before, "before", "dot", 1.5), (one.now, "", "solid", 2.5)):
            if values is None:
                continue
            name = " · ".join(filter(None, (one.name, text["before"] if kind else "")))
            figure.add_trace(
                go.Scatter(
                    x=np.arange(1, len(values) + 1),
                    y=drawn(values),
                    mode="lines",
                    line={"color": one.color, "dash": dash, "width": width},
                    customdata=said_all(values),
                    name=name or of,
                    hovertemplate="t = %{x}: %{customdata}<extra>%{fullData.name}</extra>",
                )
            )
    for k, mark in enumerate(marks):
        figure.add_vline(
            mark,
            line={"color": ACCENT, "width": 1, "dash": "dot"},
            annotation_text=text["marked"] if k == 0 else None,
            annotation_position="top left",
        )
    low, high = range_of([v for one in networks for v in (one.now, one.before) if v is not None])
    figure.update_yaxes(title_text=of, **log_axis(low, high))
    figure.update_xaxes(title_text=text["time"])
    return themed(figure, 400, margin={"t": 70, "r": 20, "b": 50, "l": 80})


def states(networks: Sequence[tuple[str, str, np.ndarray]], text: Mapping[str, str] = TEXT) -> go.Figure:
    """Norm of the state that the output layer reads: (name, colour, decades (T,)) of each network."""
    figure = go.Figure()
    for name, color, decades in networks:
        figure.add_trace(
            go.Scatter(
                x=np.arange(1, len(decades) + 1),
                y=drawn(decades),
                mode="lines",
                line={"color": color, "width": 2},
                customdata=said_all(decades),
                name=name or text["state"],
                hovertemplate="t = %{x}: %{customdata}<extra>%{fullData.name}</extra>",
            )
        )
    figure.add_hline(0, line={"color": INK, "width": 1})
    low, high = range_of([*(decades for *_, decades in networks), np.array([-0.5, 0.5])])
    figure.update_yaxes(title_text=text["state"], **log_axis(low, high))
    figure.update_xaxes(title_text=text["time"])
    return themed(figure, 260, showlegend=len(networks) > 1, margin={"t": 40, "r": 20, "b": 50, "l": 70})
