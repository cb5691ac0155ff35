"""What becomes of a difference: lines over time in decades, the plane of two units, the transition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from ..numbers import of_decades
from .theme import ACCENT, CLEAR, INK, faint, log_axis, themed

Floats = NDArray[np.float64]

MOST_DECADES = 340  # float64 ends at 1e308, and below at 5e-324
IMAGES = 5  # images of the unit circle that are drawn, the circle itself among them

TEXT: Mapping[str, str] = {
    "time": "time step t",
    "first": "first unit",
    "second": "second unit",
    "start": "start",
    "orbit": "orbit",
    "circle": "unit circle",
    "image": "its image, t = {t}",
    "gain": "gain g of the recurrent weights",
    "exponent": "largest Lyapunov exponent (ln per step)",
    "here": "your gain",
}
"""Default words of the figures here."""


@dataclass(frozen=True)
class Curve:
    """One line over time. y: log10 of what is drawn, a gap where it is no number; x: 0, 1, 2 … if None."""

    name: str
    y: Floats
    color: str
    dash: str = "solid"
    x: NDArray[np.int64] | None = None
    width: float = 2.0


def decades_figure(
    curves: Sequence[Curve], label: str, mark: float | None = None, text: Mapping[str, str] = TEXT,
    height: int = 360,
) -> go.Figure:  # fmt: skip
    """Lines over time on a logarithmic axis.

    label: of the vertical axis, with its unit; mark: a time step that is pointed at.
    """
    figure = go.Figure()
    low, high = 0.0, 0.0
    for curve in curves:
        y = np.where(np.isfinite(curve.y), curve.y, np.nan)
        t = np.arange(len(y)) if curve.x is None else curve.x
        if np.isfinite(y).any():
            low, high = min(low, float(np.nanmin(y))), max(high, float(np.nanmax(y)))
        figure.add_trace(
            go.Scatter(
                x=t, y=y, mode="lines", name=curve.name, connectgaps=False,
                line={"color": curve.color, "width": curve.width, "dash": curve.dash},
                customdata=[of_decades(v) for v in y],
                hovertemplate=f"{curve.name}<br>t = %{{x}}: %{{customdata}}<extra></extra>",
            )
        )  # fmt: skip
    if mark is not None:
        figure.add_vline(x=mark, line={"color": ACCENT, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=text["time"])
    axis = log_axis(max(low, -MOST_DECADES), min(high, MOST_DECADES))
    figure.update_yaxes(title_text=label, **axis)
    return themed(figure, height, showlegend=len(curves) > 1)


def orbit_figure(
    orbit: Floats, circle: Floats, upto: int, color: str, text: Mapping[str, str] = TEXT
) -> go.Figure:  # fmt: skip
    """Two units: where the state goes, and what becomes of the unit circle.

    orbit: (T + 1, 2); circle: (T + 1, K, 2) images of the unit circle; upto: the last step that is drawn.
    """
    figure = go.Figure()
    shown = np.unique(np.linspace(0, upto, IMAGES).round().astype(int))
    for n, t in enumerate(shown):
        last = n == len(shown) - 1
        name = text["circle"] if t == 0 else text["image"].format(t=int(t))
        figure.add_trace(
            go.Scatter(
                x=circle[t, :, 0], y=circle[t, :, 1], mode="lines", name=name,
                showlegend=bool(last or t == 0),
                line={"color": ACCENT if last and t else INK, "width": 2 if t == 0 or last else 1,
                      "dash": "dot" if t == 0 else "solid"},
                opacity=1.0 if t == 0 or last else 0.5, hovertemplate=f"{name}<extra></extra>",
            )
        )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=orbit[: upto + 1, 0], y=orbit[: upto + 1, 1], mode="lines+markers", name=text["orbit"],
            line={"color": faint(color, 0.6), "width": 1}, marker={"color": color, "size": 5},
            customdata=np.arange(upto + 1),
            hovertemplate="t = %{customdata}: (%{x:.3g}, %{y:.3g})<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=orbit[:1, 0], y=orbit[:1, 1], mode="markers", name=text["start"], hoverinfo="skip",
            marker={"color": CLEAR, "size": 12, "line": {"color": color, "width": 2}},
        )
    )  # fmt: skip
    most = _extent(np.concatenate([orbit[: upto + 1], circle[shown].reshape(-1, 2)]))
    figure.update_xaxes(title_text=text["first"], range=[-most, most], constrain="domain")
    figure.update_yaxes(title_text=text["second"], range=[-most, most], scaleanchor="x", constrain="domain")
    return themed(figure, 420)


def _extent(points: Floats) -> float:
    """Half of the side of a square around the origin that holds all points that are numbers."""
    finite = np.abs(points[np.isfinite(points)])
    return 1.1 * max(1.0, float(finite.max(initial=1.0)))


def transition_figure(
    gains: Floats, exponents: Floats, radius: float, here: tuple[float, float], color: str,
    text: Mapping[str, str] = TEXT,
) -> go.Figure:  # fmt: skip
    """The largest Lyapunov exponent of random tanh networks against their gain.

    gains, exponents: (G,); radius: the largest eigenvalue's size at gain 1; here: the gain that is on show
    and its exponent.
    """
    figure = go.Figure()
    figure.add_hline(y=0, line={"color": INK, "width": 1})
    figure.add_vline(x=1, line={"color": INK, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=1, y=1, yref="paper", text="g = 1", showarrow=False, xanchor="left", yanchor="top", xshift=4
    )
    # Around the state 0 the exponent is the logarithm of the largest eigenvalue: what rules below 1.
    quiet = gains[gains * radius <= 1.0]
    figure.add_trace(
        go.Scatter(
            x=quiet, y=np.log(quiet * radius), mode="lines", name=f"ln(g · {radius:.3f})",
            line={"color": INK, "width": 2, "dash": "dash"},
            hovertemplate="g = %{x:.3g}: %{y:.3g}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=gains, y=exponents, mode="lines+markers", name=text["exponent"],
            line={"color": color, "width": 2}, hovertemplate="g = %{x:.3g}: %{y:.3g}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=[here[0]], y=[here[1]], mode="markers", name=text["here"],
            marker={"color": ACCENT, "size": 12, "symbol": "diamond"},
            hovertemplate="g = %{x:.3g}: %{y:.3g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text=text["gain"])
    figure.update_yaxes(title_text=text["exponent"])
    return themed(figure, 360)
