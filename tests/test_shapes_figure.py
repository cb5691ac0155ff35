"""The drawing of a layer's parameters: its bands are the gates' rows, and a unit has a row in each."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest

from rnnviz.plots.shapes import MOST_LINES, Block, blocks_figure

GATES = {"i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o"}
BLOCKS = [Block("weight_ih_l0", 32, 3), Block("weight_hh_l0", 32, 8), Block("bias_ih_l0", 32, 1)]


def extent(trace: Any) -> tuple[float, float, float]:
    """Top, bottom and width of a rectangle."""
    return min(trace.y), max(trace.y), max(trace.x) - min(trace.x)


def of_panel(figure: go.Figure, panel: int) -> list[Any]:
    return [one for one in figure.data if (one.xaxis or "x") == ("x" if panel == 0 else f"x{panel + 1}")]


def test_each_panel_has_a_band_for_each_gate() -> None:
    figure = blocks_figure(BLOCKS, GATES, 8, 5)
    for panel, block in enumerate(BLOCKS):
        traces = of_panel(figure, panel)
        for k, gate in enumerate(GATES):
            (band,) = (one for one in traces if one.name == gate)
            assert extent(band) == (8 * k, 8 * k + 8, block.columns)
            assert band.text == f"{block.name}, gate {gate}: rows {8 * k} to {8 * k + 7}"
        unit = [one for one in traces if one.name == "unit 5"]
        assert [extent(one) for one in unit] == [(r, r + 1, block.columns) for r in (5, 13, 21, 29)]
        assert unit[2].text == f"{block.name}: row 21 belongs to unit 5, gate g"
    assert figure.layout.yaxis.range == (32, 0)  # from the top
    assert figure.layout.yaxis.ticktext == ("0 to 7", "8 to 15", "16 to 23", "24 to 31")
    assert [figure.layout[f"xaxis{n}"].title.text for n in ("", 2, 3)] == ["3", "8", "1"]


def test_names_stand_in_the_widest_panel_at_their_bands() -> None:
    figure = blocks_figure(BLOCKS, GATES, 8, 0)
    names = {one.text: one for one in figure.layout.annotations}
    assert [block.name in names for block in BLOCKS] == [True] * 3
    for k, name in enumerate(GATES.values()):
        one = names[f"<b>{name}</b>"]
        assert (one.xref, one.x, one.y) == ("x2", 4, 8 * k + 4)


@pytest.mark.parametrize("hidden", [1, MOST_LINES, MOST_LINES + 1])
def test_rows_are_drawn_where_there_is_room(hidden: int) -> None:
    figure = blocks_figure([Block("weight_hh_l0", hidden, hidden)], {"h": "new state h"}, hidden, 0)
    lines = [one for one in figure.data if one.hoverinfo == "skip"]
    assert len(lines) == (hidden <= MOST_LINES)
    assert figure.layout.yaxis.ticktext == ("0",) if hidden == 1 else (f"0 to {hidden - 1}",)
