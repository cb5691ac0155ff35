"""The figures of the page on gradients hold every number that they are given, and name their scales."""

from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from rnnviz.numbers import of_decades
from rnnviz.plots import flow, norms, products, shares, spectra
from rnnviz.plots.theme import MOST_DECADES, color_axis, faint, log_axis, power, range_of

T = 7
rng = np.random.default_rng(0)
DOWN = np.linspace(-9, 0, T)
ODD = np.array([-np.inf, np.nan, np.inf, -3.0, -2.0, -1.0, 0.0])


def curve(name: str = "", mean: np.ndarray = DOWN, used: np.ndarray | None = None) -> flow.Curve:
    return flow.Curve(name, "#2f6bd0", mean, mean - 0.1, mean - 1, mean + 1, used)


def lags(name: str = "", horizon: float = 4.2) -> products.Lags:
    fall = -np.arange(T) * 1.0
    return products.Lags(name, "#d1622b", fall, fall - 1, fall + 1, fall / 2, fall / 4, horizon)


def cloud(name: str = "gate i") -> spectra.Cloud:
    return spectra.Cloud(name, "#2f6bd0", np.array([0.5 + 0.5j, 0.5 - 0.5j, -0.2]), 1.5)


FIGURES = {
    "along time": lambda: flow.along_time([curve(used=DOWN - 2)], "norm of dL/dh_t"),
    "along time, twins": lambda: flow.along_time([curve("A"), curve("B")], "norm", decoder=4),
    "along time, odd": lambda: flow.along_time([curve(mean=ODD)], "norm"),
    "along time, one step": lambda: flow.along_time([curve(mean=np.array([-2.0]))], "norm"),
    "over training": lambda: flow.over_training(
        [flow.Heat(n, np.arange(5), rng.normal(size=(5, T)), 2, 3) for n in "AB"], "norm"
    ),
    "over training, odd": lambda: flow.over_training(
        [flow.Heat("", np.arange(7), ODD[:, None] + DOWN, 1)], "n"
    ),
    "all pairs": lambda: products.all_pairs([products.Pairs("", np.tril(rng.normal(size=(T, T))))], "norm"),
    "all pairs, nothing": lambda: products.all_pairs([products.Pairs("", np.full((T, T), np.nan))], "norm"),
    "by distance": lambda: products.by_distance([lags()], "norm"),
    "by distance, twins": lambda: products.by_distance([lags("A"), lags("B", np.inf)], "norm"),
    "on the circle": lambda: spectra.on_the_circle([cloud(), cloud("gate f")]),
    "on the circle, nothing": lambda: spectra.on_the_circle(
        [spectra.Cloud("x", "#2f6bd0", np.full(3, np.nan + 0j))]
    ),
    "spectra over training": lambda: spectra.over_training(
        [spectra.History("A", "#2f6bd0", np.arange(4), np.array([0.9, 1, 2, np.nan]), np.full(4, 3.0), 2)]
    ),
    "exponents": lambda: spectra.exponents(
        [spectra.Exponents("", "#2f6bd0", np.array([0.1, -0.5, -np.inf]))]
    ),
    "stretch": lambda: spectra.along_time([("", "#2f6bd0", np.array([np.nan, 0.5, 2.0]))], 2),
    "ledgers": lambda: shares.ledgers(
        {"W_hh": [shares.Shares("", "#2f6bd0", DOWN, np.ones(T), 0.5)], "out": [_last_only()]}
    ),
    "memory": lambda: shares.memory([shares.Memory("", "#2f6bd0", DOWN, DOWN - 1)], "norm of dy/dx_t", [3]),
    "states": lambda: shares.states([("A", "#2f6bd0", DOWN), ("B", "#15803d", ODD)]),
    "histograms": lambda: norms.histograms(
        {
            "all": [norms.Norms("", "#2f6bd0", rng.normal(size=99), 1.0)],
            "W": [norms.Norms("", "#2f6bd0", ODD)],
        }
    ),
    "histograms, nothing": lambda: norms.histograms(
        {"all": [norms.Norms("", "#2f6bd0", np.full(3, np.nan))]}
    ),
}


def _last_only() -> shares.Shares:
    decades = np.full(T, -np.inf)
    decades[-1] = -1.0
    return shares.Shares("", "#2f6bd0", decades, np.ones(T), -1.0)


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_is_named_and_the_page_shows_through(name: str) -> None:
    figure = FIGURES[name]()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
    assert figure.layout.font.color is None
    assert any(axis.title.text for axis in figure.select_xaxes())
    assert any(axis.title.text for axis in figure.select_yaxes())
    text = json.loads(figure.to_json())
    assert "NaN" not in json.dumps(text["layout"]), "a range or a tick that is no number"


def drawn(figure: go.Figure, name: str) -> np.ndarray:
    (trace,) = [trace for trace in figure.data if trace.name == name]
    return np.asarray(trace.y, dtype=float)


def test_curves_hold_the_numbers_and_gaps_where_there_are_none() -> None:
    figure = flow.along_time([curve(mean=ODD, used=DOWN)], "norm")
    np.testing.assert_array_equal(drawn(figure, "mean"), [np.nan, np.nan, np.nan, -3, -2, -1, 0])
    np.testing.assert_array_equal(drawn(figure, "as training used it"), DOWN)
    (mean,) = [trace for trace in figure.data if trace.name == "mean"]
    assert list(mean.customdata)[:4] == ["0", "NaN", "∞", "1.00e-3"], "hovering still says what it is"


def test_twins_are_named_once_each() -> None:
    figure = flow.along_time([curve("A"), curve("B")], "norm")
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["A", "B"]


def test_maps_of_twins_share_one_scale() -> None:
    pairs = [products.Pairs("A", np.full((3, 3), -5.0)), products.Pairs("B", np.full((3, 3), 2.0))]
    figure = products.all_pairs(pairs, "norm")
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-5, 2)
    np.testing.assert_array_equal(figure.data[0].z, pairs[0].decades)


def test_what_was_measured_fills_the_picture_and_bounds_may_leave_it() -> None:
    steep = products.Lags("", "#d1622b", np.zeros(T), np.zeros(T), np.zeros(T), bound=np.arange(T) * 100.0)
    low, high = products.by_distance([steep], "norm").layout.yaxis.range
    assert high <= 5
    assert low <= -3


def test_the_circle_is_round_and_everything_is_inside_the_picture() -> None:
    far = spectra.Cloud("x", "#2f6bd0", np.array([3.0 + 0j]))
    figure = spectra.on_the_circle([far])
    assert figure.layout.yaxis.scaleanchor == "x"
    assert figure.layout.xaxis.range[1] > 3


def test_histograms_count_every_step_and_draw_the_threshold() -> None:
    decades = np.log10([0.1, 0.1, 10.0, np.inf])
    figure = norms.histograms({"all": [norms.Norms("", "#2f6bd0", decades, 2.0)]})
    assert sum(figure.data[0].y) == pytest.approx(0.75), "shares of all steps, those without a number too"
    assert figure.layout.shapes[0].x0 == pytest.approx(np.log10(2))


def test_numbers_are_said_in_three_digits_or_by_name() -> None:
    assert [of_decades(x) for x in (0, 3, -1, -9.5, np.nan, np.inf, -np.inf)] == [
        "1", "1,000", "0.1", "3.16e-10", "NaN", "∞", "0",
    ]  # fmt: skip
    assert [power(x) for x in (-9, -2, 0, 3, 4)] == ["1e-9", "0.01", "1", "1000", "1e4"]
    assert faint("#2f6bd0", 0.5) == "rgba(47, 107, 208, 0.5)"


def test_axes_have_a_handful_of_labels_and_end_somewhere() -> None:
    for low, high in ((-300, 0), (-0.1, 0.1), (0, 0), (5, 6)):
        axis = log_axis(low, high)
        assert 2 <= len(axis["tickvals"]) <= 10
        assert axis["range"][0] < axis["range"][1]
    assert range_of([np.array([-1000.0, -1.0, 0.0])]) == (-1, 0)
    fall = np.linspace(-100, 0, 201)
    assert range_of([fall]) == (-MOST_DECADES, 0), "of equal stretches the uppermost"
    assert range_of([np.array([-2.0, -1.0, 0.0]), np.array([30.0])]) == (-2, 0), (
        "one that ran away hides none"
    )
    assert range_of([np.array([np.nan, np.inf])]) == (-1, 0)
    assert color_axis(-3, 0, "norm")["cmin"] == -3
