"""Sensitivities of answers to inputs: against autograd's Jacobians, and the sentence that is made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rnnviz.analysis import sensitivity as module
from rnnviz.analysis.moment import moment
from rnnviz.analysis.sensitivity import Sensitivity, memory, sensitivity
from rnnviz.cells import CELLS
from rnnviz.experiment import step_memory
from rnnviz.kernels import KERNELS
from tests.unrolled import SHAPES, Twin, blob_of, changed, moments, small

every_cell = pytest.mark.parametrize("cell", CELLS)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def by_autograd(twin: Twin, answer: int, sequences: int) -> np.ndarray:
    """(T,): one backward pass for each output; what one sequence answers hangs on its own inputs alone."""
    rows = [
        torch.autograd.grad(y, twin.inputs, retain_graph=True)[0][:, :sequences]
        for y in twin.outputs[answer].sum(0)
    ]
    norms: np.ndarray = torch.stack(rows).square().sum((0, 3)).sqrt().mean(1).numpy()  # O of (T, B, I)
    return norms


@every_cell
@every_kernel
@pytest.mark.parametrize("shape", SHAPES)
def test_sensitivities_are_those_of_autograd(cell, kernel, shape):
    at, twin = moments(small(cell=cell, **SHAPES[shape]), kernel)
    A = at.network.answered
    for answer in {-1, 0, A // 2}:
        got = sensitivity(at, answer)
        expected = by_autograd(twin, answer, 3)
        np.testing.assert_allclose(got.norm, expected, rtol=1e-9, atol=1e-16)
        if expected.any():  # a small ReLU network may be dead
            np.testing.assert_allclose(got.share, expected / expected.sum(), rtol=1e-9, atol=1e-16)
        assert got.sequences == 3
        assert got.step == len(expected) - A + answer % A


@every_kernel
def test_pieces_of_any_size_give_the_same(kernel, monkeypatch):
    at = moment(
        small(cell="gru", task="temporal_order", length=12, layers=2, dropout=0.3, batch=5), 0, None, kernel
    )
    whole = sensitivity(at)
    for size in (1, 7):
        monkeypatch.setattr(module, "PIECE_BYTES", size * (step_memory(at.experiment) // 5))
        np.testing.assert_allclose(sensitivity(at).norm, whole.norm, rtol=1e-6)
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    assert sensitivity(at).sequences == 1


@every_kernel
def test_so_many_sequences_that_the_copies_are_not_too_many(kernel, monkeypatch):
    at, twin = moments(small(task="temporal_order", length=10, batch=20), kernel)
    got = sensitivity(at)
    assert got.sequences == module.SEQUENCES == 16
    np.testing.assert_allclose(got.norm, by_autograd(twin, -1, 16), rtol=1e-9)
    monkeypatch.setattr(module, "MOST_ROWS", 11)  # of 4 outputs
    got = sensitivity(at)
    assert got.sequences == 2
    np.testing.assert_allclose(got.norm, by_autograd(twin, -1, 2), rtol=1e-9)


@every_kernel
def test_the_pass_of_the_moment_stays_as_it_is(kernel):
    at = moment(small(cell="lstm"), 0, None, kernel)
    before = {name: values.clone() for name, values in at.trace().total.items()}
    sensitivity(at)
    assert all(torch.equal(at.trace().total[name], values) for name, values in before.items())


@every_kernel
def test_one_number_of_the_parameters_changes_every_sensitivity(kernel):
    experiment = small(cell="gru")
    blob = blob_of(experiment)
    other = changed(blob, "rnn.weight_hh_l0", (9, 2), -0.4)
    (was, _), (now, twin) = moments(experiment, kernel, blob), moments(experiment, kernel, other)
    assert (sensitivity(now).norm != sensitivity(was).norm).all()
    np.testing.assert_allclose(sensitivity(now).norm, by_autograd(twin, -1, 3), rtol=1e-9)


def test_an_answer_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"answer: got 1; allowed: -1 to 0\."):
        sensitivity(moment(small()), 1)
    with pytest.raises(ValueError, match=r"answer: got -5; allowed: -4 to 3\."):
        sensitivity(moment(small(task="reversal", length=4)), -5)


def test_where_nothing_passes_there_are_no_shares():
    experiment = small(cell="tanh")
    for value, norm in ((0.0, 0.0), (math.nan, math.nan)):
        got = sensitivity(moment(experiment, 0, blob_of(experiment, rnn__weight_ih_l0=value)))
        np.testing.assert_array_equal(got.norm, np.full(6, norm))
        assert np.isnan(got.share).all()
        assert memory(got).first is None
        assert math.isnan(memory(got).early)


@pytest.mark.parametrize(
    ("norms", "first", "early"),
    [
        ([0.0, 0.009, 0.01, 0.0, 1.0], 2, 0.009 / 1.019),
        ([1.0, 0.0, 0.0, 0.0], 0, 1.0),
        ([0.0, 0.0, 0.0, 5.0], 3, 0.0),
        ([3.0, 1.0], 0, 0.75),
    ],
)
def test_memory_in_two_numbers(norms, first, early):
    array = np.array(norms)
    got = memory(Sensitivity(array, array / array.sum(), 1, len(norms) - 1))
    assert got.first == first
    assert got.early == pytest.approx(early, rel=1e-12)


@every_kernel
def test_of_a_known_network_the_memory_is_known(kernel):
    """Each step halves: a hundredth is reached between the sixth and the seventh step back."""
    experiment = small(cell="linear", length=20)
    blob = blob_of(experiment, rnn__weight_hh_l0=0.5 * np.eye(4))
    got = sensitivity(moment(experiment, 0, blob, kernel))
    np.testing.assert_allclose(got.norm[:-1] / got.norm[1:], 0.5, rtol=1e-12)
    assert memory(got).first == 19 - 6
    assert memory(got).early == pytest.approx(2.0**-10 * (1 - 2.0**-10) / (1 - 2.0**-20), rel=1e-9)
