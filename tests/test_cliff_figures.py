"""The figures of the cliff hold every number that they are given, and show what is no number as a gap."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from rnnviz.plots.cliff import CAMERA, TEXT, Border, Ground, Track, map_figure, surface_figure
from rnnviz.plots.cliff_curves import descent_figure, slice_figure
from rnnviz.plots.theme import GRADIENTS

W, B = np.linspace(4.0, 7.0, 7), np.linspace(-4.0, -2.0, 5)
DECADES = -1.0 + 0.1 * np.add.outer(np.arange(5), np.arange(7))  # (5, 7), -1 to 0
ERROR = Ground(W, B, DECADES, False)
LINE = Border("cliff", W, np.linspace(-2.0, -4.0, 7), "#d9480f", "dash")
THROWN = Track(
    "Without clipping", np.array([5.0, 5.5, 105.5]), np.array([-3.0, -3.0, -3.0]),
    np.array([-1.0, -0.5, -2.0]), np.array([0.0, 3.0, -np.inf]), "#c2569c", "solid",
)  # fmt: skip
KEPT = replace(
    THROWN, name="By norm", w=np.array([5.0, 5.5, 5.4]), norm=np.array([0.0, 3.0, 1.0]), limit=10.0
)


def traces(figure: go.Figure, **values: object) -> list[Any]:
    return [one for one in figure.data if all(one[k] == v for k, v in values.items())]


def every_figure() -> list[go.Figure]:
    cut = (W, np.linspace(0.1, 0.4, 7), np.linspace(-3, 3, 7), "w", 5.2, (5.0, 0.2, -1.0), (5.001, 0.2, 1.0))
    return [
        surface_figure(ERROR, [LINE], [THROWN, KEPT]),
        map_figure(ERROR, [LINE], [THROWN, KEPT], (5.0, -3.0)),
        descent_figure([THROWN, KEPT]),
        slice_figure(*cut),
    ]


def test_every_figure_travels_and_suits_both_themes() -> None:
    for figure in every_figure():
        json.loads(str(figure.to_json()))
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
        assert figure.layout.font.color is None
        assert figure.layout.height


def test_surface_and_map_hold_the_numbers() -> None:
    (solid,) = traces(surface_figure(ERROR, [], []), type="surface")
    (flat,) = traces(map_figure(ERROR, [], [], (5.0, -3.0)), type="contour")
    for one in (solid, flat):
        np.testing.assert_allclose(one["x"], W)
        np.testing.assert_allclose(one["y"], B)
        np.testing.assert_allclose(one["z"], DECADES, atol=1e-6)
        np.testing.assert_allclose(one["customdata"], 10.0**DECADES, rtol=1e-6)
    assert solid["cmin"] == flat["zmin"]
    assert solid["cmax"] == flat["zmax"]


def test_errors_and_gradients_share_no_scale_and_name_themselves() -> None:
    gradient = replace(ERROR, gradient=True)
    for make in (lambda g: surface_figure(g, [], []), lambda g: map_figure(g, [], [], (5.0, -3.0))):
        of_error, of_gradient = (make(g).data[0].colorscale for g in (ERROR, gradient))
        assert of_error != of_gradient
        named = go.Figure(go.Heatmap(colorscale=GRADIENTS)).data[0].colorscale
        assert of_gradient == named
    assert surface_figure(gradient, [], []).layout.scene.zaxis.title.text == TEXT["norm"]
    assert surface_figure(ERROR, [], []).layout.scene.zaxis.title.text == TEXT["error"]


def test_what_is_no_number_is_a_hole() -> None:
    odd = DECADES.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    ground = replace(ERROR, decades=odd)
    for figure in (surface_figure(ground, [LINE], [KEPT]), map_figure(ground, [LINE], [KEPT], (5.0, -3.0))):
        z = figure.data[0].z
        assert np.isnan(z[0, :3]).all()
        assert np.isfinite(z).sum() == 32
    nothing = replace(ERROR, decades=np.full((5, 7), np.nan))
    for figure in (surface_figure(nothing, [LINE], []), map_figure(nothing, [LINE], [], (5.0, -3.0))):
        json.loads(str(figure.to_json()))


def test_the_scale_leaves_the_deepest_spot_out_and_keeps_the_rest() -> None:
    many = np.linspace(-2.0, 0.0, 10_000).reshape(100, 100)
    many[0, 0] = -9.0
    low, high = Ground(np.arange(100.0), np.arange(100.0), many, False).axis["range"]
    assert (low, high) == (-2.0, 0.0)


def test_the_camera_and_the_zoom_are_the_users() -> None:
    one = surface_figure(ERROR, [LINE], [KEPT])
    other = surface_figure(replace(ERROR, w=W + 1, gradient=True), [], [])
    for figure in (one, other):
        assert figure.layout.scene.uirevision == figure.layout.uirevision == "cliff"
        assert figure.layout.scene.camera.to_plotly_json() == CAMERA
    maps = [map_figure(g, [], [], (5.0, -3.0)) for g in (ERROR, replace(ERROR, w=W + 1))]
    assert maps[0].layout.uirevision == maps[1].layout.uirevision
    assert maps[0].layout.xaxis.uirevision != maps[1].layout.xaxis.uirevision, "another window, another zoom"


def test_lines_and_paths_hover_just_above_the_surface() -> None:
    figure = surface_figure(ERROR, [LINE], [KEPT])
    (line,) = traces(figure, type="scatter3d", name="cliff")
    for w, b, z in zip(line["x"], line["y"], line["z"], strict=True):
        near = DECADES[np.argmin(np.abs(B - b)), np.argmin(np.abs(W - w))]
        assert near < z < near + 0.4
    (path,) = traces(figure, type="scatter3d", name="By norm")
    lift = path["z"] - np.clip(KEPT.error, -1.0, 0.0)
    assert ((lift[:2] > 0) & (lift[:2] < 0.1)).all()
    gradient = surface_figure(replace(ERROR, gradient=True), [], [KEPT])
    (path,) = traces(gradient, type="scatter3d", name="By norm")
    assert path["z"][0] == pytest.approx(0.0, abs=0.1), "at the height of the norm, 1"


def test_a_path_that_leaves_ends_at_the_border_in_three_dimensions() -> None:
    (path,) = traces(surface_figure(ERROR, [], [THROWN]), type="scatter3d")
    np.testing.assert_allclose(path["x"], [5.0, 5.5, 7.0])
    np.testing.assert_allclose(path["y"], [-3.0, -3.0, -3.0])
    assert path["z"][2] == path["z"][1]
    outside = replace(THROWN, w=THROWN.w + 50)
    (path,) = traces(surface_figure(ERROR, [], [outside]), type="scatter3d")
    assert len(path["x"]) == 0


def test_the_map_shows_both_paths_their_start_and_the_line() -> None:
    figure = map_figure(ERROR, [LINE], [THROWN, KEPT], (5.0, -3.0))
    for track in (THROWN, KEPT):
        (line,) = traces(figure, name=track.name)
        np.testing.assert_allclose(line["x"], track.w)
        (points,) = traces(figure, name=f"{track.name}: places")
        np.testing.assert_allclose(points["customdata"][:, 1], 10.0**track.error, rtol=1e-6)
    (start,) = traces(figure, name="start")
    assert (list(start["x"]), list(start["y"])) == ([5.0], [-3.0])
    assert list(figure.layout.xaxis.range) == [4.0, 7.0]
    assert list(figure.layout.yaxis.range) == [-4.0, -2.0]
    (line,) = traces(figure, name="cliff")
    assert line["line"]["dash"] == "dash"
    (field,) = traces(figure, type="contour")
    assert field["hoverinfo"] != "skip", "a click is heard where the pointer finds something"


def test_the_steps_show_error_and_norm_with_the_threshold() -> None:
    figure = descent_figure([THROWN, KEPT])
    upper, lower = traces(figure, name="By norm")
    np.testing.assert_allclose(upper["y"], KEPT.error)
    np.testing.assert_allclose(lower["y"], KEPT.norm)
    free = traces(figure, name="Without clipping")[1]["y"]
    assert np.isnan(free[2]), "a gradient of 0 has no logarithm"
    assert [shape["y0"] for shape in figure.to_dict()["layout"]["shapes"]] == [1.0]
    low, high = figure.layout.yaxis2.range
    assert low <= 0.0
    assert high >= 3.0
    assert descent_figure([THROWN]).layout.shapes == ()


def test_an_error_that_goes_to_zero_does_not_press_the_rest_together() -> None:
    low, high = descent_figure([replace(KEPT, error=np.array([0.0, -12.0, -30.0]))]).layout.yaxis.range
    assert high - low < 12


def test_a_slice_marks_both_places_and_the_cliff() -> None:
    error, norms = np.linspace(0.1, 0.4, 7), np.array([-1.0, 0.0, 3.0, np.inf, -np.inf, np.nan, 1.0])
    figure = slice_figure(W, error, norms, "w", 5.2, (5.0, 0.2, -1.0), (5.5, 0.3, np.nan))
    upper, lower = traces(figure, mode="lines")
    np.testing.assert_allclose(upper["y"], error)
    np.testing.assert_array_equal(np.isnan(lower["y"]), [False] * 3 + [True] * 3 + [False])
    places = traces(figure, mode="markers")
    assert [(one["x"][0], one["y"][0]) for one in places[:3]] == [(5.0, 0.2), (5.5, 0.3), (5.0, -1.0)]
    assert np.isnan(places[3]["y"][0])
    assert figure.layout.shapes[0].x0 == 5.2
    assert figure.layout.yaxis.title.text == TEXT["error"]
    assert figure.layout.xaxis2.title.text == TEXT["w"]
    assert not slice_figure(W, error, norms, "b", 9.0, (5, 0.2, -1), (5, 0.2, -1)).layout.shapes


def test_an_error_without_a_ceiling_is_drawn_in_decades() -> None:
    error = 10.0 ** np.arange(7.0)
    figure = slice_figure(W, error, np.zeros(7), "w", None, (5.0, 100.0, 0.0), (5.0, 100.0, 0.0))
    np.testing.assert_allclose(traces(figure, mode="lines")[0]["y"], np.arange(7.0))
    assert traces(figure, mode="markers")[0]["y"][0] == pytest.approx(2.0)
    assert "1e4" in figure.layout.yaxis.ticktext
