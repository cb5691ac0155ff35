"""The look that all still figures share: transparent, for light and dark pages alike, with few lines.

Colours of cells come with what is drawn; those here are middle tones that stand out from either background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..numbers import of, of_decades

INK = "#7f7f7f"  # what has no colour of its own
ACCENT = "#c2569c"  # what a figure points at
MOST_DECADES = 24  # of an axis: what is below fades out of sight, and the hover still says it

GRID = "rgba(128, 128, 128, 0.25)"
CLEAR = "rgba(0, 0, 0, 0)"

#: Activations and gradients never share a scale: these are for gradients, on a logarithmic scale.
GRADIENTS = "Cividis"
#: For numbers with a middle.
DIVERGING = [
    [0.0, "#0b4a8f"], [0.25, "#6d9ae0"], [0.5, "#b9b9bd"], [0.75, "#df9862"], [1.0, "#93400f"],
]  # fmt: skip

#: What `st.plotly_chart` is given for every figure: no bar of buttons but the camera, nothing sent to others.
CONFIG: dict[str, Any] = {"displaylogo": False, "displayModeBar": False, "showSendToCloud": False}


def themed(figure: go.Figure, height: int = 320, **layout: Any) -> go.Figure:
    """Give a figure the common look; `layout` goes on top of it."""
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    base: dict[str, Any] = {
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "height": height,
        "margin": {"t": 40, "r": 20, "b": 50, "l": 70},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
        "hovermode": "closest",
    }
    figure.update_layout({**base, **layout})
    return figure


def with_panels(figure: go.Figure, legend: bool) -> go.Figure:
    """For a figure of several panels: their titles at the left, small, and the legend above the first."""
    for title in figure.layout.annotations:
        if title.yref == "paper" and title.xanchor == "center":
            title.update(x=0, xanchor="left", font={"size": 13})
    if legend:
        figure.update_layout(legend={"y": 1, "yref": "container", "yanchor": "top", "x": 0})
    return figure


def log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high` in decades, with labels such as 1e-9, a handful of them."""
    low, high = float(np.floor(low)), float(np.ceil(high))
    if high <= low:
        low, high = low - 1.0, high + 1.0
    if high - low <= 2:
        fine = [m * 10.0**e for e in range(int(low), int(high)) for m in (1, 2, 5)] + [10.0**high]
        return {"range": [low, high], "tickvals": np.log10(fine).tolist(), "ticktext": [of(t) for t in fine]}
    spacing = max(1, int(np.ceil((high - low) / 8)))
    ticks = np.arange(low, high + 0.5, spacing)
    return {"range": [low, high], "tickvals": ticks.tolist(), "ticktext": [power(tick) for tick in ticks]}


def power(decades: float) -> str:
    """10 to a power as the figures write it: 1e-9, 0.01, 1, 100, 1e4."""
    exponent = round(decades)
    return f"1e{exponent}" if not -2 <= exponent <= 3 else f"{10.0**exponent:g}"


def color_axis(low: float, high: float, title: str) -> dict[str, object]:
    """A scale of colours for decades, whose labels are the norms."""
    axis = log_axis(low, high)
    return {
        "colorscale": GRADIENTS, "cmin": axis["range"][0], "cmax": axis["range"][1],
        "colorbar": {
            "tickvals": axis["tickvals"], "ticktext": axis["ticktext"], "thickness": 12,
            "title": {"text": title, "side": "right"},
        },
    }  # fmt: skip


def drawn(decades: np.ndarray) -> np.ndarray:
    """What is not finite is a gap: 0 has no logarithm, and infinity no place."""
    return np.where(np.isfinite(decades), decades, np.nan)


def said_all(decades: np.ndarray) -> np.ndarray:
    words: np.ndarray = np.vectorize(of_decades, otypes=[object])(decades)
    return words


def range_of(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """The decades that an axis shows: all that is finite, or the MOST_DECADES that most of it lies in.

    Of several such stretches the uppermost.
    """
    values = np.concatenate([np.ravel(a) for a in arrays] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if not len(values):
        return -1.0, 0.0
    values.sort()
    below = np.searchsorted(values, values - MOST_DECADES - 1e-9)  # what is too far below each to be shown
    shown = np.arange(len(values)) - below
    last = len(values) - 1 - int(np.argmax(shown[::-1]))
    return float(values[below[last]]), float(values[last])


def faint(color: str, opacity: float) -> str:
    """A colour #rrggbb with an opacity."""
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"
