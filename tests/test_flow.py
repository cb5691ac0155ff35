"""The flow of gradients through time: as it was recorded, as autograd has it, and what is said of it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnviz.analysis.diagnosis import WAY, _Run
from rnnviz.analysis.flow import _of_trace, alone, flow, ratio
from rnnviz.analysis.ledger import reach
from rnnviz.analysis.moment import moment
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.runs.chunk import _load, overview, screen
from rnnviz.runs.state import parameters_to_bytes
from rnnviz.training import advance, begin
from tests.unrolled import SHAPES, blob_of, changed, moments, small

every_cell = pytest.mark.parametrize("cell", CELLS)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_shape = pytest.mark.parametrize("shape", SHAPES)


# What was recorded


@every_kernel
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "values",
    [
        {"cell": "lstm", "clip": "norm", "clip_threshold": 0.1},
        {"cell": "gru", "task": "copying", "length": 3},
        {"cell": "lstm_peephole", "layers": 2, "direction": "both", "dropout": 0.4},
        {"cell": "lstm", "task": "reversal", "architecture": "encoder_decoder", "length": 4},
        {"cell": "tanh", "omega": 2.0, "optimizer": "sgd"},
    ],
    ids=lambda values: values["cell"] + values.get("task", ""),
)
def test_the_mean_is_what_was_recorded(kernel, precision, values):
    """Runs as they are: each step is made again from its parameters alone, to the same bytes."""
    experiment = small(**{"batch": 7, "hidden": 5, "precision": precision, **values})
    state = begin(experiment, kernel=kernel)
    for step in range(3):
        at = moment(experiment, step, parameters_to_bytes(state), kernel)
        chunk = advance(state, steps=1)
        for name, recorded in (("h", chunk.grad_hidden), ("c", chunk.grad_cell_state)):
            if name not in CELLS[experiment.cell].states:
                continue
            for layer in range(experiment.layers):
                for d in range(experiment.directions):
                    got = flow(at, name, layer, d)
                    assert got.used is None
                    assert got.mean.dtype == np.float64
                    assert got.mean.astype(precision).tobytes() == recorded[0, layer, d].tobytes()


@every_kernel
@pytest.mark.parametrize(
    "values", [{"truncate": 3, "truncate_every": 2}, {"clip": "delta", "clip_threshold": 1e-4}]
)
def test_where_training_used_another_gradient_both_are_there(kernel, values):
    experiment = small(cell="lstm", length=9, task="adding", batch=5, **values)
    state = begin(experiment, kernel=kernel)
    at = moment(experiment, 0, parameters_to_bytes(state), kernel)
    chunk = advance(state, steps=1)
    whole = experiment.changed(truncate=0, truncate_every=0, clip="none")
    true = moment(whole, 0, parameters_to_bytes(begin(experiment)), kernel)
    for name, recorded in (("h", chunk.grad_hidden), ("c", chunk.grad_cell_state)):
        got = flow(at, name)
        assert got.used is not None
        assert got.used.mean.tobytes() == recorded[0, 0, 0].tobytes()
        for field in ("mean", "median", "low", "high"):
            np.testing.assert_array_equal(getattr(got, field), getattr(flow(true, name), field))
        assert got.used.mean[0] < got.mean[0]


# Autograd


@every_cell
@every_kernel
@every_shape
def test_norms_and_quantiles_are_those_of_autograd(cell, kernel, shape):
    at, twin = moments(small(cell=cell, batch=4, **SHAPES[shape]), kernel)
    for layer in range(at.experiment.layers):
        for d in range(at.experiment.directions):
            for state in at.network.cell.states:
                assert_same(flow(at, state, layer, d), twin.norms(state, layer, d).numpy())


def assert_same(got, norms: np.ndarray) -> None:
    """norms: (T, B)."""
    np.testing.assert_allclose(got.mean, norms.mean(1), rtol=1e-9, atol=1e-16)
    for field, q in (("low", 0.1), ("median", 0.5), ("high", 0.9)):
        expected = np.quantile(norms, q, axis=1)
        np.testing.assert_allclose(getattr(got, field), expected, rtol=1e-9, atol=1e-16)


@every_kernel
def test_one_number_of_the_parameters_changes_all_that_hangs_on_it(kernel):
    experiment = small(cell="lstm", task="reversal", length=4)
    blob = blob_of(experiment)
    other = changed(blob, "rnn.weight_hh_l0", (2, 1), 0.37)
    (was, _), (now, twin) = moments(experiment, kernel, blob), moments(experiment, kernel, other)
    assert (flow(now).mean != flow(was).mean).sum() >= 7  # of 8: at the last step y alone may change
    norms = twin.norms("h", 0, 0).numpy()
    assert_same(flow(now), norms)
    expected = np.log10(norms.mean(1)[0] / norms.mean(1)[4])
    assert ratio(now).to_source == pytest.approx(expected, rel=1e-9)


def test_what_is_not_finite_stays_what_it_is():
    total = torch.ones(4, 5, 2)
    total[1, 3, 0] = math.nan
    total[2, 3:, 0] = math.inf
    total[3] = math.inf
    mean = np.full(4, 0.2)
    got = _of_trace(SimpleNamespace(total={"h": total}, grad_norms=lambda name: mean), "h")
    length = 5 * math.sqrt(2)
    np.testing.assert_array_equal(got.mean, np.full(4, 1.0))
    np.testing.assert_allclose(got.low, [length, math.nan, length, math.inf])
    np.testing.assert_allclose(got.median, [length, math.nan, length, math.inf])
    np.testing.assert_allclose(got.high, [length, math.nan, math.inf, math.inf])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("c", 0, 0), "state: got 'c'; allowed for gru: h."),
        (("h", 2, 0), "layer: got 2; allowed: 0 to 1."),
        (("h", 0, 1), "direction: got 1; allowed: 0 to 0."),
    ],
)
def test_a_state_that_is_not_there_is_named(arguments, sentence):
    at = moment(small(cell="gru", layers=2))
    with pytest.raises(ValueError, match=sentence):
        flow(at, *arguments)


# What is said of it


def of_factor(factor: float, **values) -> tuple[Experiment, bytes]:
    """A linear network whose every step multiplies gradients by this factor."""
    experiment = small(cell="linear", **{"length": 60, "batch": 5, **values})
    names = [f"rnn__weight_hh_l0{end}" for end in ("", "_reverse")[: experiment.directions]]
    return experiment, blob_of(experiment, **{name: factor * np.eye(4) for name in names})


@every_kernel
@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(0.8, "vanishing"), (0.83, "healthy"), (1.0, "healthy"), (1.1, "healthy"), (1.11, "exploding")],
)
def test_of_a_known_factor_everything_is_known(kernel, direction, factor, verdict):
    experiment, blob = of_factor(factor, direction=direction)
    at = moment(experiment, 0, blob, kernel)
    for d in range(experiment.directions):
        got = ratio(at, "h", 0, d)
        assert (got.verdict, got.decided) == (verdict, "way")
        assert (got.first, got.source, got.steps) == ((59, 0, 59) if d else (0, 59, 59))
        assert got.factor == pytest.approx(factor, rel=1e-12)
        assert got.to_source == pytest.approx(59 * math.log10(factor), abs=1e-12)
        assert got.decades == pytest.approx(round(WAY * 59) * math.log10(factor), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "decided"),
    [
        ({"cell": "tanh", "length": 50}, "way"),
        ({"cell": "lstm", "length": 40, "layers": 2}, "way"),
        ({"cell": "linear", "length": 50, "gain": 1.3, "initialization": "orthogonal"}, "way"),
        ({"cell": "gru", "task": "reversal", "length": 30}, "way"),
        ({"cell": "lstm", "task": "reversal", "length": 30, "architecture": "encoder_decoder"}, "way"),
        ({"cell": "tanh", "length": 50, "layers": 2, "direction": "both"}, "middle"),
    ],
)
def test_the_verdict_rests_on_the_number_of_the_diagnosis(values, decided):
    """The diagnosis reads rounded curves, one column here, of the same step."""
    experiment = small(hidden=16, batch=16, **values)
    state = begin(experiment)
    got = ratio(moment(experiment, 0, parameters_to_bytes(state)))
    arrays = _load(overview([screen(advance(state, steps=1))]))
    run = _Run(arrays, experiment)
    expected = run.loss_of_way[0]
    assert got.decided == decided
    assert expected != 0
    assert got.decades == pytest.approx(expected, abs=0.021)
    assert got.verdict == ("vanishing" if expected <= -4 else "exploding" if expected >= 2 else "healthy")


def test_with_a_loss_at_every_step_a_large_gradient_proves_nothing():
    """The sum of ever more losses grows on its way back, and may hide what vanishes."""
    experiment, blob = of_factor(1.15, task="echo")
    at = moment(experiment, 0, blob)
    mean = flow(at).mean
    assert math.log10(mean[0] / mean[round(WAY * (len(mean) - 1))]) > 2
    got = ratio(at)
    assert got.decided == "alone"
    assert got.factor == pytest.approx(1.15, rel=1e-9)
    fading, blob = of_factor(0.8, task="echo")
    hidden = flow(moment(fading, 0, blob)).mean
    assert hidden[0] > 0.1 * hidden[-1], "the sum of all losses hides it"
    got = ratio(moment(fading, 0, blob))
    assert (got.verdict, got.decided) == ("vanishing", "alone")
    assert got.factor == pytest.approx(0.8, rel=1e-9)


@every_kernel
@pytest.mark.parametrize("task", ["echo", "copying"])
def test_the_farthest_loss_alone_is_the_last_row_of_what_each_loss_reaches(kernel, task):
    """Of stacked layers too, whose paths add up: no bound of one layer's Jacobians is one of all of them."""
    experiment = small(cell="gru", task=task, layers=3, length=12)
    at = moment(experiment, 0, None, kernel)
    rows = [reach(at.network, at.batch, n)[:, :, -1] for n in range(experiment.batch)]  # (L, D, T) each
    for layer in range(3):
        np.testing.assert_allclose(alone(at, "h", layer), np.mean(rows, 0)[layer, 0], rtol=1e-9)


@every_kernel
def test_what_arrives_nowhere_vanishes(kernel):
    experiment = small(cell="relu")
    got = ratio(moment(experiment, 0, blob_of(experiment, out__weight=0.0), kernel))
    assert (got.verdict, got.decided, got.decades) == ("vanishing", "nothing", -math.inf)
    for dead in (blob_of(experiment, rnn__bias_ih_l0=-100.0), blob_of(experiment, rnn__weight_hh_l0=0.0)):
        got = ratio(moment(experiment, 0, dead, kernel))
        assert (got.verdict, got.decided, got.decades) == ("vanishing", "way", -math.inf)
        assert (got.to_source, got.factor) == (-math.inf, 0.0)


@every_kernel
def test_where_numbers_end_there_is_no_ratio(kernel):
    experiment, blob = of_factor(1e8, precision="float32", length=20)
    at = moment(experiment, 0, blob, kernel)
    got = ratio(at)
    assert (got.verdict, got.decided) == ("not finite", "not finite")
    assert not np.isfinite(flow(at).mean).all()


def test_nothing_below_the_lowest_is_told_apart():
    """What lets nothing pass has no logarithm."""
    experiment = small(cell="linear", task="echo", length=60)
    got = ratio(moment(experiment, 0, blob_of(experiment, rnn__weight_hh_l0=0.0)))
    assert (got.verdict, got.decided, got.decades) == ("vanishing", "alone", -math.inf)
