"""Spectrum and activity: against eigenvalues, autograd and plain loops over everything that was seen."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.analysis import heat
from rnnviz.analysis.activity import PROBES, activity
from rnnviz.analysis.spectrum import jacobian_times, spectrum, step_jacobians, stretch
from rnnviz.bptt import TorchOps, Trace, peepholes, unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.stack import layer_of
from rnnviz.tasks import TASKS

every_cell = pytest.mark.parametrize("name", CELLS)


def network(name: str, hidden: int = 5, kernel: str = "torch", **values: Any) -> Network:
    plain = {"task": "digits_rows", "cell": name, "hidden": hidden, "precision": "float64"}
    made = Network(Experiment(**{**plain, **values}), kernel=kernel)
    made.flat.mul_(1.7)  # away from the first weights, so that the gates do something
    return made


def inputs(made: Network, task: str = "digits_rows") -> torch.Tensor:
    return made.tensors(TASKS[task].validation_batch(TASKS[task].default_length))[0]


def trace_of(made: Network, task: str = "digits_rows", reverse: bool = False) -> Trace:
    """What a layer did with the first sequences; the sequence that matters is the first."""
    layer = layer_of("torch")(made.cell, 8, made.weights()["weight_hh"].shape[1], made.precision, reverse)
    return layer.forward(made.weights(), inputs(made, task)[:, :2])


# The spectrum


def by_eigenvalues(matrix: np.ndarray) -> list[float]:
    return [np.abs(np.linalg.eigvals(matrix)).max(), np.linalg.norm(matrix, 2)]


@pytest.mark.parametrize("n", [1, 2, 16, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radius_and_largest_singular_value_of_random_matrices(n, dtype):
    generator = torch.Generator().manual_seed(n)
    matrices = torch.randn(6, n, n, generator=generator, dtype=dtype) / math.sqrt(n)
    matrices *= torch.tensor([1e-15, 1e-3, 0.5, 1.0, 40.0, 1e15], dtype=dtype)[:, None, None]
    expected = [by_eigenvalues(m.double().numpy()) for m in matrices]
    np.testing.assert_allclose(stretch(matrices), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.eye(9) * 1.05, (1.05, 1.05)),
        ([[0.0, -2.0], [2.0, 0.0]], (2.0, 2.0)),  # eigenvalues +-2i: powers of a vector would turn for ever
        ([[0.5, 100.0], [0.0, 0.25]], (0.5, 100.0)),  # far from normal: a large step, yet it dies out
        ([[0.0, 1.0], [0.0, 0.0]], (0.0, 1.0)),  # nilpotent
        (np.zeros((3, 3)), (0.0, 0.0)),
        ([[3.0, 0.0], [0.0, -7.0]], (7.0, 7.0)),
    ],
)
def test_matrices_whose_spectrum_is_known(matrix, expected):
    np.testing.assert_allclose(stretch(torch.tensor(matrix)[None])[0], expected, rtol=1e-3, atol=1e-12)


def test_a_matrix_that_is_not_finite_has_no_spectrum_and_its_neighbours_have():
    matrices = torch.eye(3).repeat(3, 1, 1)
    matrices[0, 0, 0], matrices[2, 1, 2] = math.nan, math.inf
    got = stretch(matrices)
    assert np.isnan(got[[0, 2]]).all()
    np.testing.assert_allclose(got[1], [1.0, 1.0], rtol=1e-3)
    assert np.isnan(stretch(matrices[:1])).all()


def by_autograd(made: Network, trace: Trace, t: int) -> torch.Tensor:
    """ds/ds_before of the first sequence at one step, by differentiating the step."""
    weights, states = made.weights(), made.cell.states
    a_x = trace.inputs[t, :1] @ weights["weight_ih"].T + weights["bias_ih"]

    def forward(*before: torch.Tensor) -> torch.Tensor:
        known = SimpleNamespace(**{s: b[None] for s, b in zip(states, before, strict=True)})
        now = made.cell.forward(TorchOps(made.cell, weights, a_x), known, peepholes(made.cell, weights))
        return torch.cat([now[s] for s in states], -1)[0]

    parts = torch.autograd.functional.jacobian(forward, tuple(trace.before(s)[t, 0] for s in states))
    return torch.cat(parts, -1)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_the_step_jacobian_is_that_of_autograd(name, reverse):
    made = network(name)
    trace, chosen = trace_of(made, reverse=reverse), [1, 4, 6]
    got = step_jacobians(made.cell, made.weights(), trace, chosen)
    size = 5 * len(made.cell.states)
    assert got.shape == (3, size, size)
    for t, jacobian in zip(chosen, got, strict=True):
        torch.testing.assert_close(jacobian, by_autograd(made, trace, t))


@every_cell
@pytest.mark.parametrize(("reverse", "times"), [(False, [1, 7]), (True, [6, 0])])
def test_the_spectrum_has_a_row_for_each_gate_and_one_for_the_step(name, reverse, times):
    made = network(name)
    trace = trace_of(made, reverse=reverse)
    got = spectrum(made.cell, made.weights(), trace)
    assert got.shape == (len(made.cell.gates) + 1, 2)
    assert got.dtype == np.float64
    blocks = made.weights()["weight_hh"].split(5)
    np.testing.assert_allclose(got[:-1], [by_eigenvalues(b.numpy()) for b in blocks], rtol=1e-3)
    each = [by_eigenvalues(by_autograd(made, trace, t).numpy()) for t in times]
    np.testing.assert_allclose(got[-1], np.exp(np.log(each).mean(0)), rtol=1e-3)


def test_of_a_linear_network_the_step_is_the_matrix_itself():
    made = network("linear")
    got = spectrum(made.cell, made.weights(), trace_of(made))
    np.testing.assert_allclose(got[0], got[1], rtol=1e-12)


def test_where_nothing_passes_the_mean_is_zero():
    """A ReLU network whose units are all off: the Jacobian is zero at every step."""
    made = network("relu")
    made.parameters["rnn.bias_ih_l0"].fill_(-100.0)
    assert spectrum(made.cell, made.weights(), trace_of(made))[-1].tolist() == [0.0, 0.0]


@every_cell
def test_where_the_states_are_no_numbers_there_is_no_jacobian(name):
    """The slope of a ReLU is 0 at NaN as well: nothing would seem to pass."""
    made = network(name)
    made.parameters["rnn.bias_ih_l0"].fill_(np.inf)
    made.parameters["rnn.weight_hh_l0"].fill_(-np.inf)
    got = spectrum(made.cell, made.weights(), trace_of(made))
    assert np.isnan(got[-1]).all()


def test_of_one_step_or_of_too_many_states_there_is_nothing_to_say():
    made = network("lstm")
    layer = layer_of("torch")(made.cell, 8, 5, "float64")
    got = spectrum(made.cell, made.weights(), layer.forward(made.weights(), inputs(made)[:1]))
    assert np.isnan(got[-1]).all()
    assert np.isfinite(got[:-1]).all()
    large = network("lstm", hidden=129)
    assert np.isnan(spectrum(large.cell, large.weights(), trace_of(large))).all()
    assert jacobian_times(50, 258) == frozenset()


@given(st.integers(1, 2000), st.integers(1, 256))
def test_times_are_evenly_spread_and_never_the_first(T, size):
    times = sorted(jacobian_times(T, size))
    assert len(times) <= 8
    assert (len(times) == 0) == (T == 1)
    assert all(1 <= t < T for t in times)
    if len(times) > 1:
        assert (times[0], times[-1]) == (1, T - 1)
        gaps = np.diff(times)
        assert gaps.max() - gaps.min() <= 1


def test_how_many_times():
    assert {s: len(jacobian_times(100, s)) for s in (8, 64, 128, 256)} == {8: 8, 64: 4, 128: 2, 256: 1}
    assert {T: len(jacobian_times(T, 64)) for T in (2, 8, 20, 30, 64)} == {2: 1, 8: 2, 20: 4, 30: 4, 64: 4}


# Activity


def counted(made: Network, x: torch.Tensor) -> tuple[float, float]:
    """Shares of saturated values and dead units, counted one by one."""
    steps = list(unroll(made.cell, made.weights(), x))
    flat = total = 0
    for now in steps:
        for gate, kind in zip(made.cell.gates, made.cell.activations, strict=True):
            for value in now[gate].flatten().tolist() if kind in ("sigmoid", "tanh") else ():
                total += 1
                flat += abs(value) > 0.9 or (kind == "sigmoid" and value < 0.1)
    hidden = np.array([now["h"].tolist() for now in steps])  # (T, B, H)
    dead = [len(set(unit)) < 2 or max(unit) - min(unit) < 1e-6 for unit in hidden.reshape(-1, 5).T.tolist()]
    return flat / total if total else math.nan, float(np.mean(dead))


def watched(made: Network) -> tuple[float, float]:
    (traces,) = made.evaluate(TASKS["digits_rows"].validation_batch(8), PROBES).traces
    return activity(made.cell, traces)


@pytest.mark.parametrize("kernel", KERNELS)
@every_cell
def test_shares_are_those_of_a_count_one_by_one(kernel, name):
    made = network(name, kernel=kernel, precision="float32")
    made.flat.mul_(2.0)
    made.parameters["rnn.bias_ih_l0"][:2] = -60.0  # two units that a ReLU keeps off
    saturated, dead = counted(made, inputs(made)[:, :32])
    np.testing.assert_allclose(watched(made), (saturated, dead), rtol=1e-3)
    if name in ("tanh", "sigmoid", "relu"):
        assert dead >= 0.4
    if name not in ("relu", "linear"):
        assert 0 < saturated < 1


def test_shares_are_of_all_layers_and_directions():
    made = network("gru", layers=2, direction="both")
    (traces,) = made.evaluate(TASKS["digits_rows"].validation_batch(8), PROBES).traces
    each = [activity(made.cell, [[trace]]) for directions in traces for trace in directions]
    assert len(each) == 4
    np.testing.assert_allclose(watched(made), np.mean(each, 0))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_shares_of_what_is_no_number_are_none(value):
    made = network("tanh")
    made.parameters["rnn.weight_ih_l0"][2] = value  # infinity times ink of 0 is no number either
    assert np.isnan(watched(made)).all()


# The scale of the heat map


@given(st.lists(st.floats(0.0) | st.just(math.nan), min_size=1, max_size=20))
@settings(max_examples=60)
def test_the_scale_goes_there_and_back(norms):
    array = np.array(norms)
    back = heat.log10_of(heat.codes(array))
    for norm, log in zip(norms, back.tolist(), strict=True):
        if norm == 0:
            assert log == -math.inf
        elif math.isnan(norm) or math.isinf(norm):
            assert repr(log) == repr(norm)
        else:
            assert log == pytest.approx(math.log10(norm), abs=0.0051)
