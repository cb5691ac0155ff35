"""Gates over time and over training: how often they are shut, how long they keep, what a state knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import ACCENT, DIVERGING, INK, faint, log_axis, themed

#: A colour for each gate, candidate and state, the same wherever lines of them are drawn.
COLORS = {
    "i": "#2f9e6e", "f": "#3d7bd9", "g": "#d08a1d", "o": "#9a6fd0", "c": "#c2569c", "h": "#7f7f7f",
    "r": "#d0663d", "z": "#3d7bd9", "n": "#d08a1d",
}  # fmt: skip
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
DASHES = ("solid", "dash", "dot", "dashdot")

TEXT: Mapping[str, str] = {
    "shut": "share of time steps below 0.1 (shut)",
    "open": "share above 0.9 (open)",
    "unit": "unit {unit}",
    "step": "training step",
    "keep": "kept each step",
    "memory": "memory time, steps",
    "length": "T = {T}",
    "median": "median",
    "time": "time step t",
    "value": "value",
    "lag": "how many steps ago it was read",
    "r2": "R², share of variance",
    "named": "share named rightly",
    "chance": "chance",
    "initial": "bias at the start",
    "learned": "bias now",
    "same": "unchanged",
    "without": "unit",
    "loss": "loss without it",
    "all": "all units: {loss}",
    "correlation": "correlation",
}


@dataclass(frozen=True)
class Cloud:
    """(H,) each: of one gate of one network, the shares of its time at either end."""

    gate: str
    name: str
    shut: np.ndarray
    open: np.ndarray


def ends_figure(clouds: Sequence[Cloud], text: Mapping[str, str] = TEXT) -> go.Figure:
    """A point for each unit, a panel for each gate (Karpathy et al. 2015, figure 3)."""
    gates = list(dict.fromkeys(cloud.gate for cloud in clouds))
    names = list(dict.fromkeys(cloud.name for cloud in clouds))
    figure = make_subplots(1, len(gates), subplot_titles=gates, shared_yaxes=True, horizontal_spacing=0.06)
    for cloud in clouds:
        column, which = gates.index(cloud.gate) + 1, names.index(cloud.name)
        figure.add_trace(
            go.Scatter(
                x=cloud.shut, y=cloud.open, mode="markers", showlegend=False,
                marker={
                    "color": COLORS.get(cloud.gate, INK), "size": 8, "opacity": 0.75,
                    "symbol": SYMBOLS[which % len(SYMBOLS)], "line": {"width": 0.5, "color": INK},
                },
                customdata=np.arange(1, len(cloud.shut) + 1),
                hovertemplate=text["unit"].format(unit="%{customdata}")
                + "<br>%{x:.0%} / %{y:.0%}<extra></extra>",
            ), 1, column,
        )  # fmt: skip
    for column in range(1, len(gates) + 1):
        figure.add_trace(
            go.Scatter(
                x=[0, 1], y=[1, 0], mode="lines", line={"color": INK, "width": 1, "dash": "dot"},
                showlegend=False, hoverinfo="skip",
            ), 1, column,
        )  # fmt: skip
    for which, name in enumerate(names if len(names) > 1 else []):
        marker = {"color": INK, "size": 8, "symbol": SYMBOLS[which % len(SYMBOLS)]}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker), 1, 1)
    figure.update_xaxes(range=[-0.06, 1.06], tickformat=".0%", dtick=0.5)
    figure.update_xaxes(title_text=text["shut"], col=(len(gates) + 1) // 2)
    figure.update_yaxes(range=[-0.06, 1.06], tickformat=".0%", dtick=0.5)
    figure.update_yaxes(title_text=text["open"], col=1)
    figure.update_annotations(font={"size": 15})
    return themed(figure, 380, margin={"t": 70, "r": 20, "b": 50, "l": 70}, legend={
        "orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0,
    })  # fmt: skip


@dataclass(frozen=True)
class Keeps:
    """steps: (K,) checkpoints; quantiles: (K, 5), 10, 25, 50, 75 and 90 % of what is kept each step."""

    name: str
    color: str
    steps: np.ndarray
    quantiles: np.ndarray
    times: np.ndarray  # (K, 5), the memory times of the quantiles


def keeping_figure(
    curves: Sequence[Keeps], lengths: Sequence[int], text: Mapping[str, str] = TEXT
) -> go.Figure:
    """What is kept each step, and the memory time it implies, over training; T of each sequence as a line."""
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    for k, curve in enumerate(curves):
        for row, rows in ((1, curve.quantiles), (2, np.where(curve.times > 0, curve.times, np.nan))):
            steps = curve.steps
            for below, above, alpha in ((0, 4, 0.14), (1, 3, 0.24)):
                finite = np.isfinite(rows[:, below]) & np.isfinite(rows[:, above])
                figure.add_trace(
                    go.Scatter(
                        x=np.concatenate([steps[finite], steps[finite][::-1]]),
                        y=np.concatenate([rows[finite, above], rows[finite, below][::-1]]),
                        fill="toself", fillcolor=faint(curve.color, alpha), mode="lines",
                        line={"width": 0},
                        hoverinfo="skip", showlegend=False,
                    ), row, 1,
                )  # fmt: skip
            figure.add_trace(
                go.Scatter(
                    x=steps, y=rows[:, 2], mode="lines+markers", name=curve.name or text["median"],
                    line={"color": curve.color, "dash": DASHES[k % len(DASHES)]}, marker={"size": 4},
                    showlegend=row == 1 and len(curves) > 1,
                    # Of a single checkpoint there is no band.
                    error_y={
                        "type": "data", "symmetric": False, "array": rows[:, 4] - rows[:, 2],
                        "arrayminus": rows[:, 2] - rows[:, 0], "visible": len(steps) == 1,
                    },
                    hovertemplate="%{x:,}: %{y:.3g}<extra></extra>",
                ), row, 1,
            )  # fmt: skip
    times = np.concatenate([c.times.ravel() for c in curves])
    shown = np.append(times[np.isfinite(times) & (times > 0)], lengths)
    low, high = float(np.log10(shown.min())), float(np.log10(shown.max()))
    figure.update_xaxes(title_text=text["step"], row=2, col=1)
    figure.update_yaxes(title_text=text["keep"], range=[-0.02, 1.02], row=1, col=1)
    figure.update_yaxes(title_text=text["memory"], type="log", row=2, col=1)
    axis = log_axis(low, high)
    axis["tickvals"] = [10.0**v for v in axis["tickvals"]]
    figure.update_yaxes(**axis, row=2, col=1)
    for length in lengths:
        figure.add_hline(y=length, line={"color": ACCENT, "dash": "dot"}, row=2, col=1)
        figure.add_annotation(  # on a logarithmic axis a place is a power of ten
            x=1, xref="x2 domain", xanchor="right", y=np.log10(length), yref="y2", yanchor="bottom",
            text=text["length"].format(T=length), showarrow=False,
        )  # fmt: skip
    return themed(figure, 520, margin={"t": 40, "r": 20, "b": 50, "l": 60})


def bias_figure(
    initial: np.ndarray, learned: np.ndarray, color: str, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """(H,) each: a gate's bias before and after training, a point for each unit."""
    both = np.concatenate([initial, learned])
    finite = both[np.isfinite(both)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = 0.08 * max(high - low, 0.5)
    ends = [low - room, high + room]
    figure = go.Figure(
        [
            go.Scatter(
                x=ends, y=ends, mode="lines", name=text["same"], hoverinfo="skip",
                line={"color": INK, "dash": "dot", "width": 1},
            ),
            go.Scatter(
                x=initial, y=learned, mode="markers", showlegend=False,
                marker={"color": color, "size": 8, "opacity": 0.75},
                customdata=np.arange(1, len(initial) + 1),
                hovertemplate=text["unit"].format(unit="%{customdata}")
                + "<br>%{x:.3g} → %{y:.3g}<extra></extra>",
            ),
        ]
    )  # fmt: skip
    figure.update_xaxes(title_text=text["initial"], range=ends)
    figure.update_yaxes(title_text=text["learned"], range=ends)
    return themed(figure, 340)


@dataclass(frozen=True)
class Line:
    """(T,) values of one gate or state of one unit."""

    name: str
    unit: int
    values: np.ndarray


def lines_figure(
    lines: Sequence[Line], first: int, marks: Sequence[int], text: Mapping[str, str] = TEXT
) -> go.Figure:
    """Chosen units over time: a colour for each gate, a dash for each unit."""
    units = list(dict.fromkeys(line.unit for line in lines))
    figure = go.Figure()
    for line in lines:
        told = f"{line.name}, {text['unit'].format(unit=line.unit)}" if len(units) > 1 else line.name
        figure.add_trace(
            go.Scatter(
                x=np.arange(first, first + len(line.values)), y=line.values, name=told, mode="lines",
                line={
                    "color": COLORS.get(line.name, INK), "width": 1.8,
                    "dash": DASHES[units.index(line.unit) % len(DASHES)],
                },
                hovertemplate=f"{told} %{{y:.3g}}<extra></extra>",
            )
        )  # fmt: skip
    for t in marks:
        figure.add_vline(x=first + t, line={"color": ACCENT, "dash": "dot"})
    figure.update_xaxes(title_text=text["time"])
    figure.update_yaxes(title_text=text["value"])
    return themed(figure, 320, hovermode="x unified")


@dataclass(frozen=True)
class Known:
    """What a probe reads off a state. at, score: (N,); mark: where the thing was read, if always there."""

    name: str
    at: np.ndarray
    score: np.ndarray
    chance: float
    color: str
    mark: int | None = None
    dash: int = 0


def probe_figure(
    known: Sequence[Known], lag: bool, symbol: bool, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """Scores of probes over time, or over how many steps ago something was read."""
    figure = go.Figure()
    for one in known:
        figure.add_trace(
            go.Scatter(
                x=one.at, y=np.maximum(one.score, -0.1), name=one.name, mode="lines+markers",
                marker={"size": 4}, line={"color": one.color, "dash": DASHES[one.dash % len(DASHES)]},
                customdata=one.score, hovertemplate=f"{one.name} %{{customdata:.3g}}<extra></extra>",
            )
        )  # fmt: skip
        if one.mark is not None:
            figure.add_vline(x=one.mark, line={"color": one.color, "dash": "dot", "width": 1})
    chances = {round(one.chance, 3): one for one in known}
    for chance, one in chances.items():
        figure.add_hline(
            y=chance, line={"color": INK if len(chances) == 1 else one.color, "dash": "dot", "width": 1},
            annotation_text=text["chance"] if len(chances) == 1 else None,
            annotation_position="bottom right",
        )  # fmt: skip
    figure.update_xaxes(title_text=text["lag" if lag else "time"])
    figure.update_yaxes(title_text=text["named" if symbol else "r2"], range=[-0.12, 1.05])
    return themed(figure, 340, hovermode="x unified", showlegend=len(known) > 1)


def without_figure(
    units: np.ndarray, losses: np.ndarray, base: float, color: str, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """units: (H,) their numbers, in the order in which they are drawn; losses: (H,) without each of them."""
    names = [str(unit) for unit in units]
    figure = go.Figure(
        go.Bar(
            x=names, y=losses, marker={"color": color, "line_width": 0},
            hovertemplate=f"{text['unit'].format(unit='%{x}')}: %{{y:.4g}}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_hline(
        y=base, line={"color": INK, "dash": "dot"}, annotation_text=text["all"].format(loss=f"{base:.3g}"),
        annotation_position="top right",
    )  # fmt: skip
    figure.update_xaxes(
        title_text=text["without"], type="category", tickangle=0, dtick=1 if len(units) <= 40 else None
    )
    figure.update_yaxes(title_text=text["loss"], rangemode="tozero")
    return themed(figure, 320)


def correlation_figure(
    values: np.ndarray, events: Sequence[str], units: Sequence[int], text: Mapping[str, str] = TEXT
) -> go.Figure:
    """values: (U, E) correlations of units with events, on a scale from -1 to 1."""
    figure = go.Figure(
        go.Heatmap(
            z=values, x=list(events), y=[str(unit) for unit in units], colorscale=DIVERGING, zmin=-1, zmax=1,
            colorbar={"thickness": 12, "title": {"text": text["correlation"], "side": "right"}},
            hovertemplate=f"{text['unit'].format(unit='%{y}')}, %{{x}}: %{{z:.2f}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", title_text=text["without"], autorange="reversed")
    return themed(figure, max(220, 90 + 22 * len(units)))
