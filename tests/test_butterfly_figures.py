"""What the figures of Butterfly hold: the arrays that they were given, on the axes that they name."""

from __future__ import annotations

import numpy as np
import pytest

from rnnviz.plots.maps import Matrix, map_figure, singular_figure
from rnnviz.plots.orbits import TEXT, Curve, decades_figure, orbit_figure, transition_figure
from rnnviz.plots.spectra import Cloud, on_the_circle


def test_lines_are_drawn_in_decades_with_gaps_where_there_is_no_number() -> None:
    y = np.array([0.0, -3.0, -np.inf, np.nan, np.inf])
    figure = decades_figure([Curve("one", y, "#123456", "dot")], "size", mark=2)
    np.testing.assert_array_equal(figure.data[0].y, [0.0, -3.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(figure.data[0].x, range(5))
    assert figure.data[0].line.dash == "dot"
    assert list(figure.layout.yaxis.range) == [-3.0, 0.0]
    assert "1e-3" in figure.layout.yaxis.ticktext
    assert figure.layout.yaxis.title.text == "size"
    assert figure.layout.shapes[0].x0 == 2
    assert not figure.layout.showlegend


def test_labels_under_the_pointer_survive_what_no_float_holds() -> None:
    figure = decades_figure([Curve("one", np.array([0.0, np.log10(20959.0), -400.5]), "#123456")], "size")
    assert list(figure.data[0].customdata) == ["1", "2.10e4", "3.16e-401"]
    assert list(figure.layout.yaxis.range) == [-340.0, 5.0]


def test_a_curve_may_have_steps_of_its_own() -> None:
    figure = decades_figure([Curve("one", np.zeros(3), "#123456", x=np.array([0, 4, 9]))], "size")
    assert list(figure.data[0].x) == [0, 4, 9]


def test_the_orbit_stops_where_it_is_told_and_the_axes_hold_it() -> None:
    orbit = np.array([[0.0, 1.0], [3.0, 0.0], [50.0, 50.0]])
    circle = np.ones((3, 4, 2)) * np.arange(3)[:, None, None]
    figure = orbit_figure(orbit, circle, 1, "#123456")
    drawn = next(trace for trace in figure.data if trace.name == TEXT["orbit"])
    assert list(drawn.x) == [0.0, 3.0]
    assert list(figure.layout.xaxis.range) == pytest.approx([-3.3, 3.3])
    assert figure.layout.yaxis.scaleanchor == "x"
    assert [trace.name for trace in figure.data[:2]] == [TEXT["circle"], "its image, t = 1"]


def test_the_transition_marks_g_equal_one_and_where_one_is() -> None:
    gains, exponents = np.array([0.5, 0.9, 1.5]), np.array([-0.7, -0.1, 0.1])
    figure = transition_figure(gains, exponents, 1.02, (1.5, 0.1), "#123456")
    np.testing.assert_allclose(figure.data[0].y, np.log(np.array([0.5, 0.9]) * 1.02))
    np.testing.assert_array_equal(figure.data[1].y, exponents)
    assert (figure.data[2].x[0], figure.data[2].y[0]) == (1.5, 0.1)
    assert {shape.x0 for shape in figure.layout.shapes} >= {1}


def test_a_staircase_goes_up_to_the_map_and_across_to_the_diagonal() -> None:
    states = np.linspace(0, 1, 5)
    figure = map_figure(states, states**2, np.array([0.9, 0.81, 0.6561]), [(0.0, 0.0), (1.0, 2.0)], "#123456")
    stairs = figure.data[2]
    corners = list(zip(stairs.x, stairs.y, strict=True))
    assert corners == [(0.9, 0.9), (0.9, 0.81), (0.81, 0.81), (0.81, 0.6561), (0.6561, 0.6561)]
    kept, lost = figure.data[-2:]
    assert (list(kept.x), kept.name) == ([0.0], "stable")
    assert (list(lost.x), lost.name, list(lost.text)) == ([1.0], "unstable", ["2.00"])


def test_eigenvalues_and_singular_values_stand_beside_the_unit_circle_and_one() -> None:
    plane = on_the_circle([Cloud("mine", "#123456", np.array([1.5j, -1.5j]), shape="square")])
    values = singular_figure([Matrix("mine", np.array([2.0, 0.5]), "#123456", "dash")])
    np.testing.assert_allclose(np.hypot(plane.data[0].x, plane.data[0].y), 1.0)
    assert list(plane.data[1].y) == [1.5, -1.5]
    assert plane.data[1].marker.symbol == "square"
    assert list(plane.layout.yaxis.range) == pytest.approx([-1.65, 1.65])
    assert list(values.data[0].y) == [2.0, 0.5]
    assert values.layout.shapes[0].y0 == 1
