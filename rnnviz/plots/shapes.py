"""The parameters of one layer and direction as they lie in memory: blocks of rows, one for each gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import ACCENT, CLEAR, INK, faint, themed

TEXT: Mapping[str, str] = {
    "rows": "row",
    "from_to": "{first} to {last}",
    "unit": "unit {unit}",
    "band": "{name}, gate {gate}: rows {first} to {last}",
    "row": "{name}: row {row} belongs to unit {unit}, gate {gate}",
}
"""Default words of the figure."""

#: Fills of neighbouring bands, middle tones for either theme; each band is named as well.
BANDS = ("#2f6bd0", "#d1622b", "#15803d", "#8a63c9")
MOST_LINES = 32  # rows of a gate that are drawn one by one
LEAST_WIDTH = 0.1  # of a panel, as a share of the widest


@dataclass(frozen=True)
class Block:
    """A parameter: its name, its shape, (rows, columns), with one column for a bias."""

    name: str
    rows: int
    columns: int


def blocks_figure(
    blocks: Sequence[Block], gates: Mapping[str, str], hidden: int, unit: int, text: Mapping[str, str] = TEXT
) -> go.Figure:
    """Each parameter as a panel, rows from the top; a band for each gate, and the rows of one unit marked.

    blocks: all of len(gates) * hidden rows. gates: what each is called. unit: counted from 0.
    """
    rows = len(gates) * hidden
    most = max(block.columns for block in blocks)
    figure = make_subplots(
        rows=1, cols=len(blocks), shared_yaxes=True, horizontal_spacing=0.03,
        column_widths=[max(LEAST_WIDTH, block.columns / most) for block in blocks],
        subplot_titles=[block.name for block in blocks],
    )  # fmt: skip
    for column, block in enumerate(blocks, start=1):
        for k, gate in enumerate(gates):
            figure.add_trace(_band(block, gate, k, hidden, text), row=1, col=column)
            figure.add_trace(_unit(block, gate, k * hidden + unit, unit, text), row=1, col=column)
        if hidden <= MOST_LINES:
            figure.add_trace(_lines(block, rows), row=1, col=column)
        figure.update_xaxes(  # the number alone: on a phone there is no room for a word
            title_text=str(block.columns), range=[0, block.columns], showticklabels=False, showgrid=False,
            row=1, col=column,
        )  # fmt: skip
    middles = [(k + 0.5) * hidden for k in range(len(gates))]
    widest = max(range(len(blocks)), key=lambda n: blocks[n].columns)
    for name, middle in zip(gates.values(), middles, strict=True):  # the names stand in the widest panel
        figure.add_annotation(
            text=f"<b>{name}</b>", x=blocks[widest].columns / 2, y=middle, showarrow=False, row=1,
            col=widest + 1,
        )  # fmt: skip
    spans = [text["from_to"].format(first=k * hidden, last=(k + 1) * hidden - 1) for k in range(len(gates))]
    figure.update_yaxes(
        range=[rows, 0], tickvals=middles, ticktext=spans if hidden > 1 else [str(k) for k in range(rows)],
        showgrid=False,
    )  # fmt: skip
    figure.update_yaxes(title_text=text["rows"], row=1, col=1)
    for title in figure.layout.annotations[: len(blocks)]:
        title.update(font={"size": 12}, textangle=-30, xanchor="left", yanchor="bottom")
    return themed(figure, 440, showlegend=False, margin={"t": 90, "r": 60, "b": 50, "l": 90})


def _band(block: Block, gate: str, k: int, hidden: int, text: Mapping[str, str]) -> go.Scatter:
    """The rows of one gate, filled."""
    top, bottom, right = k * hidden, (k + 1) * hidden, block.columns
    words = text["band"].format(name=block.name, gate=gate, first=top, last=bottom - 1)
    color = BANDS[k % len(BANDS)]
    return go.Scatter(
        x=[0, right, right, 0, 0], y=[top, top, bottom, bottom, top], mode="lines", fill="toself",
        fillcolor=faint(color, 0.35), line={"color": color, "width": 2}, name=gate, text=words,
        hoverinfo="text", hoveron="fills",
    )  # fmt: skip


def _unit(block: Block, gate: str, row: int, unit: int, text: Mapping[str, str]) -> go.Scatter:
    """One row, marked as that of a unit."""
    words = text["row"].format(name=block.name, row=row, unit=unit, gate=gate)
    right = block.columns
    return go.Scatter(
        x=[0, right, right, 0, 0], y=[row, row, row + 1, row + 1, row], mode="lines", fill="toself",
        fillcolor=faint(ACCENT, 0.75), line={"color": ACCENT, "width": 2}, hoverinfo="text", hoveron="fills",
        name=text["unit"].format(unit=unit), text=words,
    )  # fmt: skip


def _lines(block: Block, rows: int) -> go.Scatter:
    """Thin lines between the rows."""
    x = [value for _row in range(1, rows) for value in (0, block.columns, None)]
    y = [value for row in range(1, rows) for value in (row, row, None)]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": faint(INK, 0.35), "width": 1},
        hoverinfo="skip",
        fillcolor=CLEAR,
    )
