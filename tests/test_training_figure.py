"""The figures of a run show its numbers as they are, also those that are none."""

from __future__ import annotations

import numpy as np
import pytest

from rnnviz.experiment import Experiment
from rnnviz.plots.training import TEXT, heat_figure, loss_figure, norm_figure
from rnnviz.recording import Chunk
from rnnviz.training import advance, begin


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    experiment = Experiment(task="digits_rows", hidden=6, steps=30, batch=8, clip_threshold=0.3)
    return advance(begin(experiment))


def test_the_loss_figure_shows_both_losses_and_the_baseline(chunk):
    figure = loss_figure(chunk.step, chunk.loss, chunk.validation_step, chunk.validation_loss, 2.3)
    training, validation = figure.data
    np.testing.assert_array_equal(training.x, chunk.step)
    np.testing.assert_array_equal(training.y, chunk.loss)
    np.testing.assert_array_equal(validation.x, [0, 10, 20, 30])
    np.testing.assert_array_equal(validation.y, chunk.validation_loss)
    assert training.line.width != validation.line.width, "told apart by more than colour"
    assert figure.layout.shapes[0].y0 == 2.3
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.title.text == "loss (log scale)"


def test_the_norm_figure_shows_what_clipping_did(chunk):
    figure = norm_figure(chunk.step, chunk.norm_before, chunk.norm_after, chunk.threshold)
    assert [trace.name for trace in figure.data] == ["before clipping", "after clipping", "threshold"]
    for trace, series in zip(
        figure.data, (chunk.norm_before, chunk.norm_after, chunk.threshold), strict=True
    ):
        np.testing.assert_array_equal(trace.y, series)
    nothing = np.full(30, np.nan)
    assert len(norm_figure(chunk.step, chunk.norm_before, chunk.norm_before, nothing).data) == 1


def test_lines_have_gaps_where_there_is_no_number():
    loss = np.array([1.0, np.inf, np.nan, 2.0])
    figure = loss_figure(np.arange(4), loss, np.arange(0), np.array([]))
    np.testing.assert_array_equal(figure.data[0].y, [1.0, np.nan, np.nan, 2.0])


def test_the_heat_figure_runs_upward_in_time(chunk):
    figure = heat_figure(chunk.step, chunk.grad_hidden)
    (trace,) = figure.data
    np.testing.assert_array_equal(trace.y, np.arange(1, 9))
    np.testing.assert_allclose(trace.z, np.log10(chunk.grad_hidden.astype(float)).T)
    assert figure.layout.yaxis.autorange is None, "t = 1 stands at the bottom"
    assert figure.layout.yaxis.title.text == "sequence time t"
    assert figure.layout.xaxis.title.text == "training step"


def test_what_has_no_logarithm_is_shown_as_itself():
    norms = np.array([[1.0, 0.0, 1e-3], [np.nan, np.inf, 10.0]])
    finite, underflow, odd = heat_figure(np.arange(2), norms).data
    np.testing.assert_allclose(finite.z, [[0, np.nan], [np.nan, np.nan], [-3, 1]])
    np.testing.assert_array_equal(np.argwhere(underflow.z == 1), [[1, 0]])
    np.testing.assert_array_equal(np.argwhere(odd.z == 1), [[0, 1], [1, 1]])
    assert "underflow" in underflow.hovertemplate
    assert "not a number" in odd.hovertemplate


def test_words_can_be_translated_and_the_page_shows_through(chunk):
    text = {name: f"<{name}>" for name in TEXT}
    figures = [
        loss_figure(chunk.step, chunk.loss, chunk.validation_step, chunk.validation_loss, 1.0, text),
        norm_figure(chunk.step, chunk.norm_before, chunk.norm_after, chunk.threshold, text),
        heat_figure(chunk.step, np.zeros((30, 8)), text),
    ]
    for figure in figures:
        words = figure.to_json()
        assert not any(word in words for word in TEXT.values() if " " in word)
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"
