"""Curvature over training: the largest eigenvalues of the Hessian, the most negative one, and the trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..numbers import of
from .theme import INK, drawn, faint, themed, with_panels

#: Words of the figure, to be translated.
TEXT: Mapping[str, str] = {
    "training": "training step",
    "eigenvalue": "eigenvalue of the Hessian",
    "largest": "largest eigenvalue",
    "others": "the next {n}",
    "least": "most negative eigenvalue",
    "limit": "2 / learning rate",
    "trace": "trace of the Hessian",
    "error": "standard error",
    "beyond": "logarithmic beyond ±{size}",
    "logarithmic": "logarithmic",
}

FAR = 100.0  # times the smallest that is drawn: numbers so far apart share no linear axis
MOST_DECADES = 4  # of a logarithmic axis that goes through 0: what is smaller lies around it


@dataclass(frozen=True)
class History:
    """Curvature of one network at the training steps (m,), NaN where there is none.

    largest: (m, k), descending; least: (m,); trace, error: (m,). limit: (m,), the eigenvalue from which on
    plain gradient descent is not stable, or None for another optimizer. marked: the step that is on show.
    """

    name: str
    color: str
    steps: np.ndarray
    largest: np.ndarray
    least: np.ndarray
    trace: np.ndarray
    error: np.ndarray
    limit: np.ndarray | None = None
    marked: int | None = None


@dataclass(frozen=True)
class Scale:
    """How numbers lie on an axis: `linear` below that and logarithmic beyond; 0 is a plain logarithm, and
    infinity a plain linear axis."""

    linear: float

    def of(self, values: np.ndarray) -> np.ndarray:
        """Where numbers are drawn; NaN where they have no place."""
        if np.isinf(self.linear):
            return drawn(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            if not self.linear:
                return drawn(np.log10(values))
            size = np.abs(values) / self.linear
            beyond = 1.0 + np.log10(np.maximum(size, 1.0))
            return drawn(np.sign(values) * np.where(size > 1.0, beyond, size))

    def axis(self, shown: Sequence[np.ndarray]) -> dict[str, Any]:
        """Range and labels of an axis that shows all of these."""
        if np.isinf(self.linear):
            return {}
        places = np.concatenate([np.ravel(self.of(one)) for one in shown])
        places = places[np.isfinite(places)]
        low, high = float(places.min()), float(places.max())
        room = 0.06 * max(high - low, 0.5)
        ticks = self._ticks(shown)
        where = self.of(np.array(ticks))
        kept = [(at, tick) for at, tick in zip(where, ticks, strict=True) if low - room <= at <= high + room]
        return {
            "range": [low - room, high + room],
            "tickvals": [float(at) for at, _tick in kept],
            "ticktext": [of(tick) for _at, tick in kept],
        }

    def _ticks(self, shown: Sequence[np.ndarray]) -> list[float]:
        values = np.concatenate([np.ravel(one) for one in shown])
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        first = np.floor(np.log10(self.linear or sizes.min()))
        last = np.ceil(np.log10(sizes.max()))
        every = max(1, int(np.ceil((last - first) * (2 if self.linear else 1) / 9)))
        decades = [float(size) for size in 10.0 ** np.arange(first, last + 1, every)]
        if last - first <= 2 and not self.linear:
            decades = [m * size for size in decades for m in (1, 2, 5)]
        return [-size for size in decades[::-1]] + [0.0] + decades if self.linear else decades


def scale_of(shown: Sequence[np.ndarray]) -> Scale:
    """The scale on which all of these can be told apart."""
    values = np.concatenate([np.ravel(one) for one in shown] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    sizes = np.sort(np.abs(values[values != 0]))
    if not len(sizes) or sizes[-1] < FAR * sizes[len(sizes) // 10]:
        return Scale(np.inf)
    if values.min() > 0:
        return Scale(0.0)
    smallest = max(sizes[len(sizes) // 10], sizes[-1] / 10.0**MOST_DECADES)
    return Scale(float(10.0 ** np.floor(np.log10(smallest))))


def over_training(histories: Sequence[History], text: Mapping[str, str] = TEXT) -> go.Figure:
    """Eigenvalues above, the trace with its error beneath, over one axis of training steps."""
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.64, 0.36], vertical_spacing=0.12,
        subplot_titles=(text["eigenvalue"], text["trace"]),
    )  # fmt: skip
    limits = [one.limit for one in histories if one.limit is not None]
    eigenvalues = [*(one.largest for one in histories), *(one.least for one in histories), *limits]
    above, below = scale_of(eigenvalues), scale_of([one.trace for one in histories])
    said: set[str] = set()  # of several networks the first says what thin and dotted lines are
    for one in histories:
        _eigenvalues(figure, one, above, text, said if len(histories) > 1 else set())
        _trace(figure, one, below, text)
        if one.marked is not None:
            figure.add_vline(one.marked, line={"color": faint(one.color, 0.6), "width": 1, "dash": "dash"})
    traces = [one.trace for one in histories]
    if below.linear:  # bars that reach below 0 have no end on a logarithmic axis
        traces += [one.trace + sign * np.nan_to_num(one.error) for one in histories for sign in (-1, 1)]
    _vertical(figure, 1, above, eigenvalues, text["eigenvalue"], text)
    _vertical(figure, 2, below, traces, text["trace"], text)
    figure.update_xaxes(title_text=text["training"], row=2)
    figure = themed(figure, 520, margin={"t": 110, "r": 20, "b": 50, "l": 70})
    return with_panels(figure, legend=True)


def _eigenvalues(
    figure: go.Figure, one: History, scale: Scale, text: Mapping[str, str], said: set[str]
) -> None:
    k = one.largest.shape[1]
    lines = [(one.name or text["largest"], one.largest[:, 0], {"color": one.color, "width": 2.5})]
    for rank in range(1, k):
        style: dict[str, Any] = {"color": faint(one.color, 0.75 - 0.45 * rank / k), "width": 1.2}
        lines.append((text["others"].format(n=k - 1), one.largest[:, rank], style))
    lines.append((text["least"], one.least, {"color": one.color, "width": 1.5, "dash": "dot"}))
    if one.limit is not None:
        style = {"color": one.color, "width": 1.5, "dash": "dashdot", "shape": "hv"}
        lines.append((text["limit"], one.limit, style))
    for name, values, style in lines:
        full = name if name == one.name or not one.name else f"{one.name} · {name}"
        figure.add_trace(
            go.Scatter(
                x=one.steps, y=scale.of(values), line=style, marker={"size": 4}, name=name,
                mode="lines" if style.get("shape") else "lines+markers",
                legendgroup=name, showlegend=name not in said,
                customdata=[of(value) for value in values.tolist()],
                hovertemplate=f"%{{x}}: %{{customdata}}<extra>{full}</extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
        said.add(name)


def _trace(figure: go.Figure, one: History, scale: Scale, text: Mapping[str, str]) -> None:
    """The trace; its error to either side as it lies on the axis."""
    at, error = scale.of(one.trace), np.nan_to_num(one.error)
    up, down = scale.of(one.trace + error) - at, at - scale.of(one.trace - error)
    down = np.where(np.isfinite(down), down, 4.0)  # below 0 a logarithm goes out of the picture
    figure.add_trace(
        go.Scatter(
            x=one.steps, y=at, mode="lines+markers", line={"color": one.color, "width": 1.5},
            marker={"size": 4}, name=one.name or text["trace"], showlegend=False,
            error_y={
                "type": "data", "symmetric": False, "array": np.nan_to_num(up), "arrayminus": down,
                "thickness": 1, "width": 2, "color": faint(one.color, 0.6),
            },
            customdata=[f"{of(t)} ± {of(e)}" for t, e in np.stack([one.trace, error], -1).tolist()],
            hovertemplate="%{x}: %{customdata}<extra>%{fullData.name}</extra>",
        ),
        row=2, col=1,
    )  # fmt: skip


def _vertical(
    figure: go.Figure, row: int, scale: Scale, shown: Sequence[np.ndarray], name: str, text: Mapping[str, str]
) -> None:
    """The axis of a panel, which says how it is divided, and a line at 0."""
    how = ""
    if not scale.linear:
        how = text["logarithmic"]
    elif np.isfinite(scale.linear):
        how = text["beyond"].format(size=of(scale.linear))
    figure.layout.annotations[row - 1].update(text=f"{name} ({how})" if how else name)
    figure.update_yaxes(row=row, **(scale.axis(shown) if np.isfinite(scale.linear) else {}))
    if scale.linear:
        figure.add_hline(0.0, line={"color": INK, "width": 1}, row=row, col=1)
