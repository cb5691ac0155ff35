"""The figure of curvature over training holds every number, negative ones too, and says how it is divided."""

from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from rnnviz.plots.sharpness import TEXT, History, Scale, over_training, scale_of

STEPS = np.array([0, 4, 8])
LARGEST = np.array([[3.0, 2.0], [np.nan, np.nan], [5.0, 1.0]])


def history(name: str = "", ends: float = -1.0, factor: float = 1.0, **values: object) -> History:
    plain = {
        "largest": factor * LARGEST, "least": np.array([ends, np.nan, ends]),
        "trace": np.array([4.0, np.nan, 6.0]), "error": np.array([0.5, np.nan, 0.25]),
    }  # fmt: skip
    return History(name, "#2f6bd0", STEPS, **{**plain, **values})


def numbers(trace: go.Scatter) -> np.ndarray:
    return np.asarray(trace.y, dtype=float)


def test_every_number_is_drawn_and_where_there_is_none_is_a_gap() -> None:
    figure = over_training([history(limit=np.array([9.0, 9.0, 2.0]), marked=4)])
    first, second, least, limit, trace = figure.data
    np.testing.assert_array_equal(numbers(first), [3, np.nan, 5])
    np.testing.assert_array_equal(numbers(second), [2, np.nan, 1])
    np.testing.assert_array_equal(numbers(least), [-1, np.nan, -1])
    np.testing.assert_array_equal(numbers(limit), [9, 9, 2])
    np.testing.assert_array_equal(numbers(trace), [4, np.nan, 6])
    np.testing.assert_array_equal(np.asarray(trace.error_y.array), [0.5, 0, 0.25])
    np.testing.assert_array_equal(np.asarray(trace.error_y.arrayminus)[[0, 2]], [0.5, 0.25])
    assert list(first.customdata) == ["3", "NaN", "5"]
    assert trace.customdata[0] == "4 ± 0.5"
    assert limit.line.shape == "hv", "a rate holds until it is changed"
    assert {shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1} == {4}
    assert first.yaxis == limit.yaxis != trace.yaxis


def test_there_is_no_limit_without_one() -> None:
    assert TEXT["limit"] not in [trace.name for trace in over_training([history()]).data]


def test_twins_share_both_scales_and_the_legend_says_each_thing_once() -> None:
    figure = over_training([history("A"), history("B", factor=1e4, ends=-1e-3)])
    assert [trace.name for trace in figure.data if trace.showlegend] == [
        "A",
        "the next 1",
        TEXT["least"],
        "B",
    ]
    assert {trace.yaxis for trace in figure.data} == {"y", "y2"}
    low, high = figure.layout.yaxis.range
    for trace in figure.data:
        if trace.yaxis == "y":
            seen = numbers(trace)[[0, 2]]
            assert ((low < seen) & (seen < high)).all()
    assert "B · most negative" in next(t for t in figure.data[::-1] if t.name == TEXT["least"]).hovertemplate


@pytest.mark.parametrize(
    ("values", "linear", "said"),
    [
        ([3.0, 2.0, -1.0], np.inf, "eigenvalue of the Hessian"),
        ([3.0, 2.0, 1e-3], 0.0, "eigenvalue of the Hessian (logarithmic)"),
        ([300.0, 2.0, -0.1], 0.1, "eigenvalue of the Hessian (logarithmic beyond ±0.1)"),
        ([1e9, 1e-9, -1.0], 1e5, "eigenvalue of the Hessian (logarithmic beyond ±1.00e5)"),
        ([np.nan] * 3, np.inf, "eigenvalue of the Hessian"),
        ([0.0] * 3, np.inf, "eigenvalue of the Hessian"),
    ],
)
def test_the_axis_is_the_one_that_tells_them_apart_and_says_so(
    values: list[float], linear: float, said: str
) -> None:
    assert scale_of([np.array(values)]).linear == pytest.approx(linear)
    same = history(largest=np.array([values[:2]] * 3), least=np.array([values[2]] * 3))
    assert over_training([same]).layout.annotations[0].text == said


def test_a_signed_scale_is_in_order_joined_at_its_border_and_labelled_where_numbers_are() -> None:
    scale = Scale(0.1)
    values = np.array([-1000.0, -10, -0.1, -0.05, 0, 0.05, 0.1, 10, 1000])
    np.testing.assert_allclose(scale.of(values), [-5, -3, -1, -0.5, 0, 0.5, 1, 3, 5])
    axis = scale.axis([values])
    for at, text in zip(axis["tickvals"], axis["ticktext"], strict=True):
        assert scale.of(np.array([float(text.replace(",", ""))]))[0] == pytest.approx(at)
    assert "0" in axis["ticktext"]
    assert 4 <= len(axis["ticktext"]) <= 12
    logarithm = Scale(0.0)
    np.testing.assert_allclose(logarithm.of(np.array([0.01, 1.0, -1.0, 0.0])), [-2, 0, np.nan, np.nan])
    for far in (5.0, 100.0, 1e12):
        labels = logarithm.axis([np.array([1.0, far])])["ticktext"]
        assert 2 <= len(labels) <= 12


def test_a_bar_below_zero_leaves_a_logarithmic_axis() -> None:
    wide = history(trace=np.array([1e-3, 1.0, 1e3]), error=np.array([1.0, 0.1, 1.0]))
    (trace,) = [trace for trace in over_training([wide]).data if trace.yaxis == "y2"]
    low = over_training([wide]).layout.yaxis2.range[0]
    assert trace.y[0] - trace.error_y.arrayminus[0] < low
    assert trace.y[1] - trace.error_y.arrayminus[1] == pytest.approx(np.log10(0.9))


@pytest.mark.parametrize("nothing", [False, True])
def test_the_page_shows_through_and_axes_are_named(nothing: bool) -> None:
    values = {name: np.full(3, np.nan) for name in ("least", "trace", "error")} if nothing else {}
    if nothing:
        values["largest"] = np.full((3, 2), np.nan)
    figure = over_training([history(**values)])
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
    assert figure.layout.font.color is None
    assert figure.layout.xaxis2.title.text == TEXT["training"]
    assert [one.text for one in figure.layout.annotations] == [TEXT["eigenvalue"], TEXT["trace"]]
    assert "NaN" not in json.dumps(json.loads(figure.to_json())["layout"])
