"""The figures of a loss surface: what they are given is what they draw, at its place and height."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from rnnviz.plots.surfaces import (
    COLORS,
    Ghost,
    Relief,
    Route,
    contour_figure,
    profile_figure,
    relief_figure,
)

X, Y = np.linspace(-2, 2, 9), np.linspace(0, 8, 9)
rng = np.random.default_rng(0)
HEIGHTS = 10.0 ** rng.uniform(-3, 1, (9, 9))
HOLES = HEIGHTS.copy()
HOLES[1, 2], HOLES[3, 4], HOLES[5, 6] = np.nan, np.inf, 0.0
PLACES = np.array([[-2.0, 0.0], [-1.0, 3.0], [0.5, 8.0], [3.0, 4.0]])  # the last lies beside the window
ROUTE = Route(
    "A", "#2f6bd0", [0, 1, 2, 400], PLACES, np.array([1.0, 0.1, 0.01, 5.0]), np.array([0.5, 0.25, 0, 2]), 1
)
GHOST = Ghost("A", "#d1622b", 7, (-1.0, 3.0), (0.0, 3.0), (1.5, 3.0))

FIGURES = [relief_figure, contour_figure]


def drawn(figure: go.Figure, kind: str) -> list[Any]:
    """The traces of one kind, after all has gone through JSON as it does on its way to the browser."""
    assert json.loads(figure.to_json())
    return [one for one in figure.data if one.type == kind]


def ground(figure: go.Figure) -> Any:
    return figure.data[0]


def finite(values: Any) -> np.ndarray:
    found = np.array(values, dtype=np.float64)
    return found[np.isfinite(found)]


# The surface --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", FIGURES)
def test_heights_are_drawn_in_decades_and_hovered_as_they_are(make: Any) -> None:
    one = ground(make(Relief(X, Y, HEIGHTS)))
    np.testing.assert_array_equal(one.x, X.astype(np.float32))
    np.testing.assert_array_equal(one.y, Y.astype(np.float32))
    np.testing.assert_allclose(one.z, np.log10(HEIGHTS), rtol=1e-6)
    np.testing.assert_allclose(one.customdata, HEIGHTS, rtol=1e-6)
    assert "loss %{customdata:.4g}" in one.hovertemplate


@pytest.mark.parametrize("make", FIGURES)
def test_on_a_linear_scale_heights_are_drawn_as_they_are(make: Any) -> None:
    one = ground(make(Relief(X, Y, HOLES, log=False)))
    known = np.isfinite(HOLES)
    np.testing.assert_allclose(np.array(one.z)[known], HOLES[known], rtol=1e-6)
    assert np.isnan(np.array(one.z)[~known]).all()
    assert np.array(one.z)[5, 6] == 0


@pytest.mark.parametrize("make", FIGURES)
def test_holes_are_gaps(make: Any) -> None:
    one = ground(make(Relief(X, Y, HOLES)))
    z = np.array(one.z)
    assert [tuple(place) for place in np.argwhere(~np.isfinite(z))] == [(1, 2), (3, 4), (5, 6)]
    assert np.isnan(z[1, 2]), "no infinity, which has no place"
    assert not one.connectgaps


@pytest.mark.parametrize("make", FIGURES)
@pytest.mark.parametrize("heights", [np.full((9, 9), np.nan), np.full((9, 9), 0.25), np.zeros((9, 9))])
@pytest.mark.parametrize("log", [True, False])
def test_flat_and_empty_surfaces_are_drawn(make: Any, heights: np.ndarray, log: bool) -> None:
    relief = Relief(X, Y, heights, log=log)
    low, high = relief.span
    assert np.isfinite([low, high]).all()
    assert low < high
    figure = make(relief, [ROUTE], [GHOST])
    assert json.loads(figure.to_json())


def test_colours_and_the_vertical_axis_have_one_range() -> None:
    relief = Relief(X, Y, HEIGHTS)
    low, high = np.log10(HEIGHTS).min(), np.log10(HEIGHTS).max()
    assert relief.span == pytest.approx((low, high))
    solid, flat = relief_figure(relief), contour_figure(relief)
    assert (ground(solid).cmin, ground(solid).cmax) == pytest.approx((low, high))
    assert (ground(flat).zmin, ground(flat).zmax) == pytest.approx((low, high))
    bottom, top = solid.layout.scene.zaxis.range
    assert bottom == pytest.approx(low)
    assert high <= top < high + 0.1 * (high - low)


@pytest.mark.parametrize("kind", COLORS)
def test_axes_are_named_and_each_height_has_its_colours(kind: str) -> None:
    relief = Relief(
        X, Y, HEIGHTS, kind, kind != "accuracy", ("PC 1 of the path", "PC 2 of the path"), ("a", "b")
    )
    solid, flat = relief_figure(relief), contour_figure(relief)
    name = {"loss": "loss", "gradient": "gradient norm", "accuracy": "accuracy"}[kind]
    scene = solid.layout.scene
    assert (scene.xaxis.title.text, scene.yaxis.title.text) == ("a", "b")
    assert scene.zaxis.title.text == (name if kind == "accuracy" else f"{name}, log")
    assert (flat.layout.xaxis.title.text, flat.layout.yaxis.title.text) == relief.axes
    assert ground(flat).colorbar.title.text == name
    scales = {str(ground(relief_figure(Relief(X, Y, HEIGHTS, other))).colorscale) for other in COLORS}
    assert len(scales) == 3


def test_ticks_are_numbers_and_not_their_logarithms() -> None:
    solid, flat = (make(Relief(X, Y, HEIGHTS)) for make in FIGURES)
    for axis in (solid.layout.scene.zaxis, ground(flat).colorbar):
        assert [10.0**tick for tick in axis.tickvals] == pytest.approx([float(t) for t in axis.ticktext])
        inside = [low for low in axis.tickvals if -3 <= low <= 1]
        assert len(inside) >= 4
    linear = relief_figure(Relief(X, Y, HEIGHTS, log=False)).layout.scene.zaxis
    assert linear.tickvals is None


@pytest.mark.parametrize(
    ("low", "high"), [(0.21, 0.45), (0.166, 0.167), (0.9, 1.4), (1e-9, 1.1e-9), (0.3, 40)]
)
def test_flat_surfaces_have_ticks_too(low: float, high: float) -> None:
    heights = np.linspace(low, high, 81).reshape(9, 9)
    for axis in (
        relief_figure(Relief(X, Y, heights)).layout.scene.zaxis,
        ground(contour_figure(Relief(X, Y, heights))).colorbar,
    ):
        there = [(t, word) for t, word in zip(axis.tickvals, axis.ticktext, strict=True)
                 if np.log10(low) - 1e-9 <= t <= np.log10(high) + 1e-9]  # fmt: skip
        assert len(there) >= 2
        for tick, word in there:
            assert float(word) == pytest.approx(10.0**tick, rel=6e-3)


def test_both_figures_end_where_the_window_ends() -> None:
    relief = Relief(X, Y, HEIGHTS)
    solid, flat = relief_figure(relief, [ROUTE], [GHOST]), contour_figure(relief, [ROUTE], [GHOST])
    for x, y in (
        (solid.layout.scene.xaxis, solid.layout.scene.yaxis), (flat.layout.xaxis, flat.layout.yaxis)
    ):  # fmt: skip
        assert tuple(x.range) == (-2.0, 2.0)
        assert tuple(y.range) == (0.0, 8.0)


def test_what_the_user_has_turned_stays_turned() -> None:
    """The camera is given once, and the revision never changes, whatever is drawn."""
    ones = [
        relief_figure(Relief(X, Y, HEIGHTS)),
        relief_figure(Relief(X[::2], Y[::2], HOLES[::2, ::2]), [ROUTE]),
    ]
    assert ones[0].layout.scene.camera == ones[1].layout.scene.camera
    assert {one.layout.uirevision for one in ones} == {"kept"}
    assert contour_figure(Relief(X, Y, HEIGHTS)).layout.uirevision == "kept"


# The path -----------------------------------------------------------------------------------------------


def test_dots_stand_at_their_own_loss_and_not_on_the_surface() -> None:
    relief = Relief(X, Y, HEIGHTS)
    low, high = relief.span
    path, here = drawn(relief_figure(relief, [ROUTE]), "scatter3d")
    lift = path.z[0] - 0.0  # log10 of 1
    assert 0 < lift < 0.02 * (high - low)
    np.testing.assert_allclose(path.z[:3] - lift, [0, -1, -2], atol=1e-12)
    np.testing.assert_allclose(path.marker.color, np.log10(ROUTE.losses))
    assert (path.marker.cmin, path.marker.cmax) == (low, high)
    assert np.isnan(path.x[3]), "beside the window there is no ground"
    assert (here.x[0], here.y[0], here.z[0]) == (path.x[1], path.y[1], path.z[1])
    assert path.line.color == ROUTE.color


def test_dots_over_the_map_have_the_colour_of_their_own_loss() -> None:
    relief = Relief(X, Y, HEIGHTS)
    path, here = drawn(contour_figure(relief, [ROUTE]), "scatter")
    np.testing.assert_array_equal(np.array([path.x, path.y]).T, PLACES)
    np.testing.assert_allclose(path.marker.color, np.log10(ROUTE.losses))
    assert (path.marker.cmin, path.marker.cmax) == relief.span
    assert (here.x[0], here.y[0], here.name) == (-1.0, 3.0, "A: step on show")
    assert list(path.text)[3] == "A<br>step 400<br>own loss 5<br>2 off the plane"
    linear = drawn(contour_figure(Relief(X, Y, HEIGHTS, log=False), [ROUTE]), "scatter")[0]
    np.testing.assert_allclose(linear.marker.color, ROUTE.losses)


def test_over_other_heights_than_the_loss_a_path_has_places_alone() -> None:
    relief = Relief(X, Y, HEIGHTS, "gradient")
    assert drawn(relief_figure(relief, [ROUTE], [GHOST]), "scatter3d") == []
    path = drawn(contour_figure(relief, [ROUTE]), "scatter")[0]
    assert path.marker.color == ROUTE.color


@pytest.mark.parametrize(("now", "inside"), [((1.0, 2.0, 0.5), True), ((9.0, 2.0, 0.5), False)])
def test_where_a_run_stands_is_marked(now: tuple[float, float, float], inside: bool) -> None:
    route = Route("", "#2f6bd0", [0], PLACES[:1], np.ones(1), np.zeros(1), None, now)
    relief = Relief(X, Y, HEIGHTS)
    solid = drawn(relief_figure(relief, [route]), "scatter3d")[1:]
    assert len(solid) == int(inside)
    for one in solid:
        assert (one.x[0], one.y[0]) == now[:2]
        assert one.z[0] == pytest.approx(np.log10(0.5), abs=0.05)
    (flat,) = drawn(contour_figure(relief, [route]), "scatter")[1:]
    assert (flat.x[0], flat.y[0], flat.name) == (*now[:2], "now")


def test_a_loss_that_is_none_is_a_gap_in_the_path() -> None:
    route = Route("", "#2f6bd0", [0, 1], PLACES[:2], np.array([np.nan, np.inf]), np.zeros(2), 0)
    path = drawn(relief_figure(Relief(X, Y, HEIGHTS), [route]), "scatter3d")[0]
    assert np.isnan(path.z).all()
    assert "own loss NaN" in path.text[0]
    assert "own loss ∞" in path.text[1]


# Steps without clipping ---------------------------------------------------------------------------------


def test_arrows_lead_from_a_checkpoint_to_both_ends() -> None:
    relief = Relief(X, Y, HEIGHTS)
    ghost, taken = drawn(contour_figure(relief, [], [GHOST]), "scatter")
    assert (ghost.name, taken.name) == ("without clipping", "step taken, clipped")
    for one, end in ((ghost, GHOST.unclipped), (taken, GHOST.taken)):
        assert (one.x[0], one.y[0]) == GHOST.start
        assert (one.x[1], one.y[1]) == end
        assert one.marker.symbol == "arrow"
        assert "step 7" in one.text[0]
    assert (ghost.line.dash, taken.line.dash) == ("dot", "solid")
    solid = drawn(relief_figure(relief, [], [GHOST]), "scatter3d")
    for one, end in zip(solid, (GHOST.unclipped, GHOST.taken), strict=True):
        assert (one.x[0], one.y[0]) == GHOST.start
        assert (one.x[-1], one.y[-1]) == pytest.approx(end)
        nearest = relief.drawn[np.argmin(np.abs(Y - end[1])), np.argmin(np.abs(X - end[0]))]
        assert one.z[-1] == pytest.approx(nearest, abs=0.1), "on the surface"


def test_what_leads_out_of_the_window_ends_at_its_edge() -> None:
    ghost = Ghost("", "#d1622b", 7, (-1.0, 3.0), (0.0, 3.0), (1e9, 3.0))
    far = drawn(relief_figure(Relief(X, Y, HEIGHTS), [], [ghost]), "scatter3d")[0]
    assert len(finite(far.x)) >= 1
    assert finite(far.x).max() <= 2.0


@pytest.mark.parametrize("end", [(np.nan, 1.0), (np.inf, 0.0)])
def test_an_end_beyond_the_numbers_is_not_drawn(end: tuple[float, float]) -> None:
    beyond = Ghost("", "#d1622b", 7, (-1.0, 3.0), (0.0, 3.0), end)
    for ghosts, names in (
        ([beyond], ["step taken, clipped"]),
        ([beyond, GHOST], ["step taken, clipped", "without clipping", "step taken, clipped"]),
    ):
        flat = drawn(contour_figure(Relief(X, Y, HEIGHTS), [], ghosts), "scatter")
        assert [one.name for one in flat] == names
        assert sorted(one.name for one in flat if one.showlegend) == sorted(set(names)), "each once"
        assert len(drawn(relief_figure(Relief(X, Y, HEIGHTS), [], ghosts), "scatter3d")) == len(names)


# Along a line -------------------------------------------------------------------------------------------


def test_a_profile_is_one_row_with_its_ends_named() -> None:
    figure = profile_figure(Relief(X, Y, HOLES, axes=("from here", "y")), 1, {0.0: "here", 1.0: "there"})
    (curve,) = figure.data
    np.testing.assert_array_equal(curve.x, X)
    np.testing.assert_allclose(curve.y, np.where(np.arange(9) == 2, np.nan, np.log10(HOLES[1])))
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.0, 0.0), (1.0, 1.0)]
    assert [note.text for note in figure.layout.annotations] == ["here", "there"]
    assert figure.layout.xaxis.title.text == "from here"
    assert figure.layout.yaxis.title.text == "loss (log scale)"
