"""A run's curves as still figures: loss, gradient norm, and the gradient at every time step."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

TRAINING = "#8a8a8a"  # thin and pale, since it is noisy; told apart from the validation by its width as well
VALIDATION = "#2f6bd0"
BEFORE, AFTER = "#b08118", "#2f6bd0"
GRID = "rgba(128, 128, 128, 0.25)"
# Outside any scale of numbers, and told by the hover text as well.
UNDERFLOW, ODD = "#555555", "#c2569c"

TEXT: Mapping[str, str] = {
    "step": "training step",
    "loss": "loss (log scale)",
    "training": "training",
    "validation": "validation",
    "baseline": "baseline",
    "norm": "gradient norm (log scale)",
    "before": "before clipping",
    "after": "after clipping",
    "threshold": "threshold",
    "time": "sequence time t",
    "decades": "log10 of dL/dh",
    "underflow": "underflow: too small for its precision",
    "odd": "infinite or not a number",
}
"""Default words of the figures."""


def loss_figure(
    step: Ints, loss: Floats, validation_step: Ints, validation_loss: Floats, baseline: float | None = None,
    text: Mapping[str, str] = TEXT,
) -> go.Figure:  # fmt: skip
    """Training loss (n,) and validation loss (m,) over the steps; what is not finite leaves a gap.

    baseline: the loss of the best answer that ignores the input, drawn as a line.
    """
    figure = go.Figure()
    _line(figure, step, loss, text["training"], TRAINING, 1)
    _line(figure, validation_step, validation_loss, text["validation"], VALIDATION, 3)
    if baseline is not None:
        figure.add_hline(baseline, line={"dash": "dot", "width": 1}, annotation_text=text["baseline"])
    return _styled(figure, text["step"], text["loss"])


def norm_figure(
    step: Ints, before: Floats, after: Floats, threshold: Floats, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """The gradient's norm before and after clipping, (n,) each; threshold (n,) is NaN without clipping."""
    figure = go.Figure()
    _line(figure, step, before, text["before"], BEFORE, 1)
    if np.isfinite(threshold).any():
        _line(figure, step, after, text["after"], AFTER, 2)
        figure.add_scatter(
            x=step, y=threshold, name=text["threshold"], mode="lines",
            line={"dash": "dash", "width": 1, "shape": "hv", "color": TRAINING},
        )  # fmt: skip
    return _styled(figure, text["step"], text["norm"])


def heat_figure(step: Ints, grad_hidden: Floats, text: Mapping[str, str] = TEXT) -> go.Figure:
    """log10 of dL/dh_t, from norms (n, T), over training steps; t runs upward from 1 at the bottom."""
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(grad_hidden.astype(float)).T  # (T, n)
    t = np.arange(1, len(decades) + 1)
    where = f"t = %{{y}}, {text['step']} %{{x}}: "
    figure = go.Figure(
        go.Heatmap(
            x=step, y=t, z=np.where(np.isfinite(decades), decades, np.nan), colorscale="Viridis",
            colorbar={"thickness": 12, "title": {"text": text["decades"], "side": "right"}},
            hoverongaps=False, hovertemplate=where + "%{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    for there, color, words in (
        (np.isneginf(decades), UNDERFLOW, text["underflow"]),
        (np.isnan(decades) | np.isposinf(decades), ODD, text["odd"]),
    ):
        if there.any():
            figure.add_heatmap(
                x=step, y=t, z=np.where(there, 1.0, np.nan), colorscale=[[0, color], [1, color]],
                showscale=False, hoverongaps=False, name=words,
                hovertemplate=f"{where}{words}<extra></extra>",
            )  # fmt: skip
    return _styled(figure, text["step"], text["time"], logarithmic=False)


def _line(figure: go.Figure, x: Ints, y: Floats, name: str, color: str, width: int) -> None:
    shown = np.where(np.isfinite(y), y, np.nan)
    figure.add_scatter(x=x, y=shown, name=name, mode="lines", line={"color": color, "width": width})


def _styled(figure: go.Figure, x: str, y: str, logarithmic: bool = True) -> go.Figure:
    figure.update_xaxes(title_text=x, gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title_text=y, gridcolor=GRID, zeroline=False)
    if logarithmic:
        figure.update_yaxes(type="log", exponentformat="power")
    figure.update_layout(
        paper_bgcolor="rgba(0, 0, 0, 0)", plot_bgcolor="rgba(0, 0, 0, 0)", height=340,
        margin={"t": 40, "r": 20, "b": 50, "l": 70},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip
    return figure
