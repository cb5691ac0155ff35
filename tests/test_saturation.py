"""Shares of time at either end, memory times and orders of units, on gates that were made up for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from rnnviz.analysis.saturation import (
    bias_of,
    by_similarity,
    ends,
    keeping,
    keeping_gate,
    kept,
    memory_time,
)
from rnnviz.cells import CELLS


def test_shares_of_time_at_either_end() -> None:
    values = np.full((10, 2, 4), 0.5)
    values[:3, :, 0] = 0.05  # shut for three steps of ten, in both sequences
    values[:, 0, 1] = 0.95  # open all the time in one of two sequences
    values[:, :, 2] = 0.1  # at the border: neither
    values[4, 1, 3] = np.nan
    found = ends(values)
    np.testing.assert_allclose(found.shut[:3], [0.3, 0.0, 0.0])
    np.testing.assert_allclose(found.open[:3], [0.0, 0.5, 0.0])
    assert np.isnan([found.shut[3], found.open[3]]).all()


@given(some.floats(1e-6, 0.999999))
def test_a_memory_time_is_when_one_e_th_is_left(keep: float) -> None:
    steps = float(memory_time(np.array(keep)))
    assert keep**steps == pytest.approx(math.exp(-1), rel=1e-9)


def test_memory_times_at_the_ends() -> None:
    found = memory_time(np.array([0.0, 0.5, 0.9, 0.99, 1.0, 1.1, -0.1, np.nan]))
    np.testing.assert_allclose(found[:4], [0.0, 1 / math.log(2), 9.491, 99.499], rtol=1e-4)
    assert found[4] == np.inf
    assert np.isnan(found[5:]).all()


def test_what_keeps_in_each_cell() -> None:
    told = {name: keeping_gate(cell) for name, cell in CELLS.items()}
    assert told == {
        "tanh": None, "relu": None, "sigmoid": None, "linear": None, "lstm": ("f", 1),
        "lstm_peephole": ("f", 1), "lstm_coupled": ("f", 1), "gru": ("z", 1), "gru_chung": ("z", -1),
    }  # fmt: skip
    z = np.array([[[0.2, 0.7]]])
    np.testing.assert_allclose(kept(CELLS["gru"], z), z)
    np.testing.assert_allclose(kept(CELLS["gru_chung"], z), 1 - z)


def test_quantiles_and_means_of_what_is_kept() -> None:
    values = np.linspace(0, 1, 101).repeat(2).reshape(101, 1, 2)
    found = keeping(CELLS["lstm"], values)
    np.testing.assert_allclose(found.quantiles, [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.005)
    np.testing.assert_allclose(found.mean, [0.5, 0.5])


def test_both_biases_of_a_gate_count() -> None:
    ih, hh = np.arange(8.0), np.arange(8.0) * 100
    np.testing.assert_allclose(bias_of("lstm", "f", ih, hh, 2), [202, 303])


def test_units_that_behave_alike_stand_together_and_still_ones_last() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50))
    noise = 0.01 * rng.standard_normal((50, 6))
    values = np.stack([a, b, -a, np.zeros(50), b, a], 1) + noise
    values[:, 3] = 0.7
    order = by_similarity(values).tolist()
    assert order[-1] == 3
    assert {frozenset(order[:3]), frozenset(order[3:5])} == {frozenset({0, 2, 5}), frozenset({1, 4})} or {
        frozenset(order[:2]), frozenset(order[2:5])
    } == {frozenset({0, 2, 5}), frozenset({1, 4})}  # fmt: skip
    assert sorted(by_similarity(np.full((5, 4), np.nan)).tolist()) == [0, 1, 2, 3]
