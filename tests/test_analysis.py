"""Spectrum and activity: against eigenvalues, autograd and plain loops over everything that was seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz import network as network_module
from rnnviz.analysis import activity, heat
from rnnviz.analysis.activity import Probe
from rnnviz.analysis.spectrum import jacobian_times, spectrum, step_jacobians, stretch
from rnnviz.bptt import cell_weights, unroll
from rnnviz.cells import CELLS, Cell, Step
from rnnviz.experiment import Experiment
from rnnviz.network import Network
from rnnviz.tasks import TASKS

every_cell = pytest.mark.parametrize("name", CELLS)


def network(name: str, hidden: int = 5, **values: Any) -> Network:
    made = Network(
        Experiment(task="digits_rows", cell=name, hidden=hidden, **{"precision": "float64", **values})
    )
    made.flat.mul_(1.7)  # away from the first weights, so that the gates do something
    return made


def inputs(made: Network, task: str = "digits_rows") -> torch.Tensor:
    return made.tensors(TASKS[task].validation_batch(TASKS[task].default_length))[0]


def of_sequence(step: Step, i: int) -> Step:
    return Step(*(tuple(part[i : i + 1] for part in parts) for parts in step))


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


def by_autograd(cell: Cell, made: Network, step: Step, a_x: torch.Tensor) -> torch.Tensor:
    """ds_t/ds_{t-1} of one sequence, by differentiating the step."""

    def forward(*before: torch.Tensor) -> torch.Tensor:
        weights = cell_weights(cell, made.weights)
        state = cell.forward(torch, weights, a_x, tuple(b[None] for b in before)).state
        return torch.cat(state, -1)[0]

    parts = torch.autograd.functional.jacobian(forward, tuple(b[0] for b in step.before))
    return torch.cat(parts, -1)


@every_cell
def test_the_step_jacobian_is_that_of_autograd(name):
    made = network(name)
    x = inputs(made)
    steps = [of_sequence(s, 3) for s in unroll(made.cell, made.weights, x)]
    a_x = x[:, 3:4] @ made.weights["weight_ih"].T + made.weights["bias_ih"]
    chosen = [1, 4, 7]
    got = step_jacobians(made.cell, made.weights, [steps[t] for t in chosen])
    size = 5 * len(made.cell.states)
    assert got.shape == (3, size, size)
    for t, jacobian in zip(chosen, got, strict=True):
        torch.testing.assert_close(jacobian, by_autograd(made.cell, made, steps[t], a_x[t]))


@every_cell
def test_the_spectrum_has_a_row_for_each_gate_and_one_for_the_step(name):
    made = network(name)
    steps = [of_sequence(s, 0) for s in unroll(made.cell, made.weights, inputs(made))][1:]
    got = spectrum(made.cell, made.weights, steps)
    assert got.shape == (len(made.cell.gates) + 1, 2)
    assert got.dtype == np.float64
    blocks = made.weights["weight_hh"].split(5)
    np.testing.assert_allclose(got[:-1], [by_eigenvalues(b.numpy()) for b in blocks], rtol=1e-3)
    each = [by_eigenvalues(j.numpy()) for j in step_jacobians(made.cell, made.weights, steps)]
    np.testing.assert_allclose(got[-1], np.exp(np.log(each).mean(0)), rtol=1e-3)


def test_of_a_linear_network_the_step_is_the_matrix_itself():
    made = network("linear")
    steps = [of_sequence(s, 0) for s in unroll(made.cell, made.weights, inputs(made))][1:]
    got = spectrum(made.cell, made.weights, steps)
    np.testing.assert_allclose(got[0], got[1], rtol=1e-12)


def test_where_nothing_passes_the_mean_is_zero():
    """A ReLU network whose units are all off: the Jacobian is zero at every step."""
    made = network("relu")
    made.parameters["rnn.bias_ih_l0"].fill_(-100.0)
    steps = [of_sequence(s, 0) for s in unroll(made.cell, made.weights, inputs(made))]
    assert spectrum(made.cell, made.weights, steps)[-1].tolist() == [0.0, 0.0]


def test_without_steps_or_with_too_many_states_there_is_nothing_to_say():
    made = network("lstm")
    assert np.isnan(spectrum(made.cell, made.weights, [])[-1]).all()
    assert np.isfinite(spectrum(made.cell, made.weights, [])[:-1]).all()
    large = network("lstm", hidden=129)
    steps = [of_sequence(s, 0) for s in unroll(large.cell, large.weights, inputs(large))]
    assert np.isnan(spectrum(large.cell, large.weights, steps)).all()
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
    assert {s: len(jacobian_times(100, s)) for s in (8, 64, 128, 256)} == {8: 8, 64: 8, 128: 4, 256: 2}
    assert {T: len(jacobian_times(T, 64)) for T in (2, 8, 20, 30, 64)} == {2: 1, 8: 2, 20: 5, 30: 7, 64: 8}


# Activity


def seen_all_at_once(made: Network, x: torch.Tensor) -> tuple[float, float]:
    """Shares of saturated values and dead units, counted one by one."""
    steps = unroll(made.cell, made.weights, x)
    flat = total = 0
    for step in steps:
        for gate, kind in zip(step.gates, made.cell.activations, strict=True):
            for value in gate.flatten().tolist() if kind in ("sigmoid", "tanh") else ():
                total += 1
                flat += abs(value) > 0.9 or (kind == "sigmoid" and value < 0.1)
    hidden = np.array([step.state[0].tolist() for step in steps])  # (T, B, H)
    dead = [len(set(unit)) < 2 or max(unit) - min(unit) < 1e-6 for unit in hidden.reshape(-1, 5).T.tolist()]
    return flat / total if total else math.nan, float(np.mean(dead))


def watched(made: Network, batch: Any) -> Probe:
    probe = Probe(made.cell, batch.inputs.shape[0])
    made.evaluate(batch, probe.see)
    return probe


@every_cell
def test_shares_are_those_of_a_count_one_by_one(name):
    made = network(name, precision="float32")
    made.flat.mul_(2.0)
    made.parameters["rnn.bias_ih_l0"][:2] = -60.0  # two units that a ReLU keeps off
    probe = watched(made, TASKS["digits_rows"].validation_batch(8))
    saturated, dead = seen_all_at_once(made, inputs(made)[:, :32])
    np.testing.assert_allclose(probe.saturated(), saturated, rtol=1e-9)
    assert probe.dead() == pytest.approx(dead)
    if name in ("tanh", "sigmoid", "relu"):
        assert dead >= 0.4
    if name not in ("relu", "linear"):
        assert 0 < saturated < 1


@pytest.mark.parametrize("numbers", [1, 2**12, 2**13 + 1, 2**24])
@pytest.mark.parametrize("kept", [1, 1000, 2**22])
def test_parts_of_the_batch_and_blocks_of_time_do_not_matter(numbers, kept, monkeypatch):
    """Long sequences are evaluated in parts, also of fewer sequences than are watched."""
    made, batch = network("gru"), TASKS["digits_rows"].validation_batch(8)
    whole = watched(made, batch)
    monkeypatch.setattr(network_module, "EVALUATE_NUMBERS", numbers)
    monkeypatch.setattr(activity, "BLOCK_NUMBERS", kept)
    parts = watched(made, batch)
    # Products of a few rows may be rounded otherwise than those of many.
    assert parts.saturated() == pytest.approx(whole.saturated(), abs=1e-3)
    assert parts.dead() == whole.dead()
    assert len(parts.jacobian_steps) == len(whole.jacobian_steps) == 2
    for one, other in zip(parts.jacobian_steps, whole.jacobian_steps, strict=True):
        torch.testing.assert_close(one.state, other.state)


@every_cell
def test_the_steps_that_a_probe_keeps_are_those_of_the_first_sequence(name):
    made = network(name)
    batch = TASKS["digits"].validation_batch(64)
    made = Network(Experiment(cell=name, hidden=5, precision="float64"))
    probe = watched(made, batch)
    steps = unroll(made.cell, made.weights, made.tensors(batch)[0][:, :1])
    for t, kept in zip(sorted(jacobian_times(64, 5)), probe.jacobian_steps, strict=True):
        for field in Step._fields:
            torch.testing.assert_close(getattr(kept, field), getattr(steps[t], field))


def test_a_probe_keeps_no_more_than_it_watches():
    made = network("lstm")
    probe = watched(made, TASKS["digits_rows"].validation_batch(8))
    for step in probe.jacobian_steps:
        for part in (*step.before, *step.state, *step.gates, *step.saved, *step.operands):
            assert part.untyped_storage().nbytes() == 5 * 8


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_shares_of_what_is_no_number_are_none(value):
    made = network("tanh")
    made.parameters["rnn.weight_ih_l0"][2] = value  # infinity times ink of 0 is no number either
    probe = watched(made, TASKS["digits_rows"].validation_batch(8))
    assert math.isnan(probe.saturated())
    assert math.isnan(probe.dead())


def test_before_anything_is_seen_nothing_is_known():
    probe = Probe(CELLS["gru"], 8)
    assert math.isnan(probe.saturated())
    assert math.isnan(probe.dead())


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
