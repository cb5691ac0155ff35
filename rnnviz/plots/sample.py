"""One input sequence over time, with the steps that matter marked."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

Floats = NDArray[np.float64]

# Middle tones that stand out from a light and from a dark page; the font's colour is the page's own.
INK = "#7f7f7f"
ACCENT = "#c2569c"
GRID = "rgba(128, 128, 128, 0.25)"

MOST_PANELS = 3  # channels drawn as a panel each; more become the rows of a heat map
MOST_BARS = 128  # time steps drawn as bars; more become a line

TEXT: Mapping[str, str] = {
    "time": "time step t",
    "mark": "t = {t}",
    "marks": "t = {first} to {last}",
    "answer": "Right answer: {answer}",
    "predicted": "The network says: {predicted}",
}
"""Default words of the figure."""


def sample_figure(
    inputs: Floats,
    channels: tuple[str, ...],
    marks: Sequence[int] | NDArray[np.int64],
    answer: str,
    predicted: str | None = None,
    text: Mapping[str, str] = TEXT,
) -> go.Figure:
    """Draw one sequence over t = 1 to T.

    inputs: (T, I); one-hot symbols and many real channels become a heat map, up to three a panel each.
    channels: the I names.
    marks: time steps, counted from 0, on which the answer depends; neighbours share one label.
    answer, predicted: the right answer and the network's, in plain words.
    text: the words of `TEXT`, translated.
    """
    steps, size = _checked(inputs, channels, marks)
    symbols = size > 1 and _is_one_hot(inputs)
    heat_map = symbols or size > MOST_PANELS
    panels = 1 if heat_map else size
    figure = make_subplots(rows=panels, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    if heat_map:
        figure.add_trace(_heat_map(inputs, channels, symbols))
        figure.update_yaxes(type="category", autorange="reversed" if symbols else True)
    else:
        for row, channel in enumerate(channels, start=1):
            figure.add_trace(_panel(inputs[:, row - 1], channel), row=row, col=1)
            figure.update_yaxes(title_text=channel, rangemode="tozero", row=row, col=1)
    _draw_marks(figure, marks, steps, text)
    # With few steps Plotly would also label the halves between them.
    figure.update_xaxes(dtick=1 if steps <= 10 else None)
    figure.update_xaxes(range=[0.5, steps + 0.5], gridcolor=GRID, zeroline=False)
    figure.update_xaxes(title_text=text["time"], row=panels, col=1)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_layout(
        title={"text": _title(answer, predicted, text), "y": 1, "yanchor": "top", "pad_t": 14},
        title_font_size=15,
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        showlegend=False,
        bargap=0.2,
        height=320 if heat_map else 200 + 90 * panels,
        margin={"t": 90, "r": 20, "b": 50, "l": 70},
    )
    return figure


def _checked(
    inputs: Floats, channels: tuple[str, ...], marks: Sequence[int] | NDArray[np.int64]
) -> tuple[int, int]:
    if inputs.ndim != 2 or inputs.shape[1] != len(channels):
        raise ValueError(f"inputs must be (T, {len(channels)}), one column per channel; got {inputs.shape}")
    steps, size = inputs.shape
    outside = [int(mark) for mark in marks if not 0 <= mark < steps]
    if outside:
        raise ValueError(f"marks must be time steps from 0 to {steps - 1}; got {outside}")
    return steps, size


def _is_one_hot(inputs: Floats) -> bool:
    return bool(np.isin(inputs, (0.0, 1.0)).all() and (inputs.sum(axis=1) == 1.0).all())


def _heat_map(inputs: Floats, channels: tuple[str, ...], symbols: bool) -> go.Heatmap:
    t = np.arange(1, len(inputs) + 1)
    if symbols:
        # Absent symbols are gaps: the page's background shows through in either theme.
        return go.Heatmap(
            x=t,
            y=channels,
            z=np.where(inputs == 1.0, 1.0, np.nan).T,
            colorscale=[[0, INK], [1, INK]],
            showscale=False,
            xgap=1 if len(t) <= MOST_BARS else 0,
            ygap=1,
            hoverongaps=False,
            hovertemplate="t = %{x}: %{y}<extra></extra>",
        )
    return go.Heatmap(
        x=t,
        y=channels,
        z=inputs.T,
        colorscale="Cividis",
        colorbar={"thickness": 12},
        hovertemplate="t = %{x}, %{y}: %{z:.3g}<extra></extra>",
    )


def _panel(values: Floats, channel: str) -> go.Bar | go.Scatter:
    t = np.arange(1, len(values) + 1)
    hover = f"t = %{{x}}, {channel}: %{{y:.3g}}<extra></extra>"
    if len(t) <= MOST_BARS:
        return go.Bar(x=t, y=values, marker={"color": INK, "line_width": 0}, hovertemplate=hover)
    return go.Scatter(x=t, y=values, mode="lines", line={"color": INK, "width": 1}, hovertemplate=hover)


def _draw_marks(
    figure: go.Figure, marks: Sequence[int] | NDArray[np.int64], steps: int, text: Mapping[str, str]
) -> None:
    """A frame over all panels around each run of marked steps, with its time written above."""
    previous, level = -np.inf, 0
    for first, last in _runs(marks):
        figure.add_shape(
            type="rect",
            xref="x",
            yref="paper",
            x0=first - 0.5,
            x1=last + 0.5,
            y0=0,
            y1=1,
            line={"color": ACCENT, "width": 2, "dash": "dot"},
        )
        words = text["mark" if first == last else "marks"].format(t=first, first=first, last=last)
        centre = (first + last) / 2
        # Labels closer than a fifth of the width would run into each other: take turns at two heights.
        level = 1 - level if centre - previous < steps / 5 else 0
        previous = centre
        figure.add_annotation(
            text=f"▼ {words}",
            xref="x",
            yref="paper",
            x=centre,
            y=1,
            yanchor="bottom",
            yshift=16 * level,
            showarrow=False,
        )


def _runs(marks: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, int]]:
    """Marked steps, counted from 1, joined to (first, last) where they are neighbours."""
    runs: list[tuple[int, int]] = []
    for t in sorted({int(mark) + 1 for mark in marks}):
        if runs and t == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], t)
        else:
            runs.append((t, t))
    return runs


def _title(answer: str, predicted: str | None, text: Mapping[str, str]) -> str:
    title = text["answer"].format(answer=answer)
    return title if predicted is None else f"{title}<br>{text['predicted'].format(predicted=predicted)}"
