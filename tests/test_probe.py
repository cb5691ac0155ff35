"""Linear probes and correlations, on states that hold what they are looked through for, or do not."""

from __future__ import annotations

import numpy as np
import pytest

from rnnviz.analysis import probe as module
from rnnviz.analysis.dynamics import Place
from rnnviz.analysis.held import held_forward, without_each
from rnnviz.analysis.moment import moment
from rnnviz.analysis.probe import FIT, SCORE, correlations, probes
from rnnviz.analysis.readings import read, read_typed, typed
from rnnviz.analysis.written import log_softmax, opinion, write
from rnnviz.step import batch_of
from rnnviz.tasks import TASKS
from tests.unrolled import SHAPES, blob_of, small


def test_a_probe_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((FIT + SCORE, 1))
    states = rng.standard_normal((FIT + SCORE, 12))
    assert abs(module._score(states, truth, symbol=False)) < 0.15
    states[:, 3] += 5 * truth[:, 0]
    assert module._score(states, truth, symbol=False) > 0.9
    symbols = np.eye(4)[rng.integers(0, 4, FIT + SCORE)]
    assert module._score(states, symbols, symbol=True) < 0.4
    assert (
        module._score(np.hstack([states, symbols @ rng.standard_normal((4, 3))]), symbols, symbol=True) > 0.95
    )
    states[0, 0] = np.nan
    assert np.isnan(module._score(states, truth, symbol=False))


def test_a_score_is_one_minus_the_share_of_variance_that_is_left() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((FIT + SCORE, 3))
    y = x @ np.array([[1.0], [2.0], [-1.0]]) + rng.standard_normal((FIT + SCORE, 1))
    coefficients = np.linalg.lstsq(np.hstack([x[:FIT], np.ones((FIT, 1))]), y[:FIT], rcond=None)[0]
    said = np.hstack([x[FIT:], np.ones((SCORE, 1))]) @ coefficients
    plain = 1 - ((said - y[FIT:]) ** 2).sum() / ((y[FIT:] - y[:FIT].mean()) ** 2).sum()
    assert module._score(x, y, symbol=False) == pytest.approx(plain, abs=0.003)


def test_a_network_that_forgets_at_once_knows_nothing_of_the_first_mark() -> None:
    e = small(cell="linear", length=12)
    blob = blob_of(
        e,
        rnn__weight_hh_l0=np.diag([0.0, 0.0, 0.0, 0.0]),
        rnn__weight_ih_l0=np.array([[1.0, 0], [0, 1], [0, 0], [0, 0]]),
    )
    found = probes(moment(e, 0, blob), Place(), "h")
    assert [p.target for p in found] == ["mark 1", "mark 2"]
    assert found[1].at.tolist() == list(range(1, 13))
    assert all(abs(p.score[0]) < 1.0 for p in found)
    assert found[0].score[-1] < 0.1


def test_where_nothing_is_marked_the_newest_input_is_known() -> None:
    e = small(cell="tanh", task="text", length=12, hidden=40)
    (found,) = probes(moment(e), Place(), "h")
    assert found.target == "lag"
    assert found.symbol
    assert found.at.tolist() == list(range(12))
    assert found.score[0] > 0.9 > found.score[-1]
    assert 0.1 < found.chance < 0.3


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(3)
    values, inputs = rng.standard_normal((7, 5, 3)), rng.standard_normal((7, 5, 2))
    marks = np.array([[1], [2], [3], [4], [0]])
    values[..., 2] = 1.0
    inputs = np.concatenate([inputs, np.zeros((7, 5, 1))], 2)
    inputs[marks[:, 0], np.arange(5), 2] = 1  # a channel that says what the marks say
    found, names = correlations(values, inputs, marks)
    assert names == [0, 1, "marked", "since", "time"]
    marked = np.zeros((7, 5))
    marked[marks[:, 0], np.arange(5)] = 1
    events = [inputs[..., 0], inputs[..., 1], marked, marked.cumsum(0), np.arange(7)[:, None] + np.zeros(5)]
    for u in range(2):
        for k, event in enumerate(events):
            plain = np.corrcoef(values[..., u].ravel(), event.ravel())[0, 1]
            assert found[u, k] == pytest.approx(plain, abs=1e-12)
    assert np.isnan(found[2]).all()
    from_the_end, _names = correlations(values, inputs, marks, backward=True)
    since = marked[::-1].cumsum(0)[::-1]
    plain = np.corrcoef(values[..., 0].ravel(), since.ravel())[0, 1]
    assert from_the_end[0, 3] == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_taking_each_unit_away_is_a_pass_for_each(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnviz.analysis import held

    e = small(cell="gru", **{**SHAPES[shape], "dropout": 0.0})
    m, batch = moment(e), batch_of(e, 2)
    layer, direction, part = e.layers - 1, e.directions - 1, int(e.architecture != "one")
    monkeypatch.setattr(held, "MOST_ROWS", 2 * batch.inputs.shape[1])  # several passes
    found = without_each(e, m.network.flat, batch, layer, direction, part)
    for unit in range(e.hidden):
        hold = held.Hold("h", 0.0, unit, layer, direction, part)
        plain = held_forward(e, m.network.flat, batch, [hold]).loss
        assert found[unit] == pytest.approx(plain, rel=1e-10)
    assert len({round(float(v), 12) for v in found}) > 1


def test_surprise_and_top_predictions_are_those_of_softmax() -> None:
    e = small(cell="lstm", task="text", length=11)
    reading = read(moment(e), "held_out")
    found = opinion(reading, 4, 3)
    y = reading.outputs[:, 4]
    p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    target = reading.batch.targets[:, 4].astype(int)
    np.testing.assert_allclose(found.surprise, -np.log(p[np.arange(11), target]))
    np.testing.assert_allclose(found.p, -np.sort(-p, 1)[:, :3])
    assert (np.take_along_axis(p, found.top, 1) == found.p).all() or np.allclose(
        np.take_along_axis(p, found.top, 1), found.p
    )
    # Of a typed text what came next is known but for the last character.
    own = opinion(read_typed(moment(e), typed("text", "abc")))
    assert np.isfinite(own.surprise).tolist() == [True, True, False]
    assert np.isnan(log_softmax(np.array([np.nan, 1.0]))).all()


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_written_text_is_what_the_whole_network_would_say_next(cell: str) -> None:
    e = small(cell=cell, task="text", length=10, layers=2, hidden=6)
    m = moment(e)
    beginning = np.array([3, 1, 4])
    greedy = write(m, beginning, 20, 0.0, 0)
    text = list(beginning)
    for symbol in greedy:
        assert symbol == read_typed(m, np.eye(35)[text]).outputs[-1, 0].argmax()
        text.append(symbol)
    assert write(m, beginning, 20, 1.0, 1).tolist() == write(m, beginning, 20, 1.0, 1).tolist()
    assert write(m, beginning, 20, 1.0, 1).tolist() != write(m, beginning, 20, 1.0, 2).tolist()


def test_a_drawn_symbol_comes_as_often_as_its_probability_says() -> None:
    e = small(cell="tanh", task="text", length=10, hidden=2)
    log_p = np.log(np.full(35, 1e-9))
    log_p[[2, 5]] = np.log([0.75, 0.25])
    blob = blob_of(e, out__weight=0.0, out__bias=log_p)
    m = moment(e, 0, blob)
    at_one = write(m, np.array([0]), 1500, 1.0, 0)
    assert set(at_one.tolist()) == {2, 5}
    assert (at_one == 2).mean() == pytest.approx(0.75, abs=0.04)
    # At temperature 2 probabilities are as their roots: 0.866 to 0.5.
    assert (write(m, np.array([0]), 1500, 2.0, 0) == 2).mean() == pytest.approx(0.634, abs=0.05)


def test_who_cannot_write_says_so_and_who_breaks_ends() -> None:
    with pytest.raises(ValueError, match="only a network that reads forward"):
        write(moment(small(cell="tanh", task="copying", length=2)), np.array([0]), 5, 1.0, 0)
    e = small(cell="tanh", task="text", length=10)
    with pytest.raises(ValueError, match="count: got 0; allowed: 1 to 2,000"):
        write(moment(e), np.array([0]), 0, 1.0, 0)
    broken = moment(e, 0, blob_of(e, out__bias=np.nan))
    assert write(broken, np.array([0]), 5, 1.0, 0).tolist() == []
    assert TASKS["text"].tells_answers


def test_a_symbol_that_is_always_the_same_tells_nothing() -> None:
    states = np.random.default_rng(0).standard_normal((FIT + SCORE, 3))
    always = np.tile(np.eye(4)[2], (FIT + SCORE, 1))
    assert np.isnan(module._score(states, always, symbol=True))
