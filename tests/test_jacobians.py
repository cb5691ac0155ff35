"""Products of step Jacobians: against autograd, exact singular values and what is known in closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.analysis import bracket
from rnnviz.analysis.bracket import is_below, with_frobenius
from rnnviz.analysis.jacobians import (
    _block_norms,
    bounds,
    by_lag,
    eigenvalues,
    frobenius_map,
    horizon,
    lyapunov,
    read_jacobians,
    singular_values,
    spectral_columns,
)
from rnnviz.analysis.products import products
from rnnviz.bptt import TorchOps, Trace, peepholes
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.stack import layer_of

T, H = 9, 4
every_cell = pytest.mark.parametrize("name", CELLS)
PLAIN = [name for name, cell in CELLS.items() if cell.largest_slope is not None]


def network(name: str, hidden: int = H, precision: str = "float64", **values: Any) -> Network:
    made = Network(
        Experiment(task="adding", cell=name, hidden=hidden, length=T, precision=precision, **values),
        kernel="torch",
    )
    made.flat.mul_(1.7)  # away from the first weights, so that the gates do something
    return made


def trace_of(made: Network, reverse: bool = False, kernel: str = "torch", steps: int = T) -> Trace:
    """Three sequences of random inputs, from states that are not zero."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(steps, 3, 2, generator=generator, dtype=torch.float64).to(made.flat.dtype)
    hidden = made.weights()["weight_hh"].shape[1]
    initial = {
        name: 0.3 * torch.randn(3, hidden, generator=generator, dtype=torch.float64).to(made.flat.dtype)
        for name in made.cell.states
    }
    layer = layer_of(kernel)(made.cell, 2, hidden, made.precision, reverse)
    return layer.forward(made.weights(), inputs, initial)


def by_autograd(made: Network, trace: Trace, sequence: int) -> np.ndarray:
    """(T, T, S, S): ds_t/ds_k in the order of reading, from a graph of the layer's own equations."""
    cell, weights = made.cell, made.weights()
    inputs = trace.inputs[:, sequence : sequence + 1].double()
    inputs = inputs.flip(0) if trace.reverse else inputs
    s = torch.cat([trace.initial[name][sequence] for name in cell.states])[None]
    joined = []
    for x in inputs:
        a_x = x @ weights["weight_ih"].T + weights["bias_ih"]
        before = SimpleNamespace(**dict(zip(cell.states, s.chunk(len(cell.states), -1), strict=True)))
        now = cell.forward(TorchOps(cell, weights, a_x), before, peepholes(cell, weights))
        s = torch.cat([now[name] for name in cell.states], -1).requires_grad_()
        joined.append(s)
    S = s.shape[1]
    result = np.zeros((T, T, S, S))
    for t in range(T):
        for i in range(S):
            grads = torch.autograd.grad(joined[t][0, i], joined[: t + 1], retain_graph=True)
            result[t, : t + 1, i] = torch.cat(grads).numpy()
    return result


def logs(norms: np.ndarray) -> np.ndarray:
    """log10 of (T, T), NaN above the diagonal."""
    with np.errstate(divide="ignore"):
        return np.where(np.tri(len(norms), dtype=bool), np.log10(norms), np.nan)


# The map against autograd


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sequence", [0, 2])
def test_the_map_is_that_of_autograd(name, reverse, sequence):
    made = network(name)
    trace = trace_of(made, reverse)
    expected = by_autograd(made, trace, sequence)
    got = frobenius_map(made.cell, made.weights(), trace, sequence)
    np.testing.assert_allclose(got.frobenius, logs(np.linalg.norm(expected, axis=(2, 3))), rtol=0, atol=1e-11)
    np.testing.assert_allclose(got.frobenius.diagonal(), math.log10(H * len(made.cell.states)) / 2)
    assert got.frobenius.dtype == np.float64
    assert set(got.blocks) == {(a, b) for a in made.cell.states for b in made.cell.states}
    for i, a in enumerate(made.cell.states):
        for j, b in enumerate(made.cell.states):
            block = expected[:, :, i * H : (i + 1) * H, j * H : (j + 1) * H]
            norms = logs(np.linalg.norm(block, axis=(2, 3)))
            np.testing.assert_allclose(got.blocks[a, b], norms, rtol=0, atol=1e-11)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_spectral_norms_are_those_of_autograd(name, reverse):
    made = network(name)
    trace = trace_of(made, reverse)
    jacobians = read_jacobians(made.cell, made.weights(), trace, 1)
    expected = by_autograd(made, trace, 1)
    for t in range(1, T):
        np.testing.assert_allclose(jacobians[t], expected[t, t - 1], rtol=1e-10, atol=1e-13)
    lower, upper, frobenius = with_frobenius(jacobians, range(T))
    norms = logs(np.linalg.norm(expected, 2, axis=(2, 3)))
    inside = np.tri(T, dtype=bool)
    assert (lower[inside] <= norms[inside] + 1e-9).all()
    assert (upper[inside] >= norms[inside] - 1e-9).all()
    assert (np.isnan(lower) == ~inside).all()
    assert (np.isnan(upper) == ~inside).all()
    np.testing.assert_allclose(
        frobenius, frobenius_map(made.cell, made.weights(), trace, 1).frobenius, atol=1e-11
    )


@every_cell
def test_the_first_jacobian_is_with_respect_to_the_initial_state(name):
    made = network(name)
    trace = trace_of(made)
    cell, weights = made.cell, made.weights()
    a_x = trace.inputs[0, :1] @ weights["weight_ih"].T + weights["bias_ih"]

    def first(s: torch.Tensor) -> torch.Tensor:
        before = SimpleNamespace(**dict(zip(cell.states, s[None].chunk(len(cell.states), -1), strict=True)))
        now = cell.forward(TorchOps(cell, weights, a_x), before, peepholes(cell, weights))
        return torch.cat([now[name] for name in cell.states], -1)[0]

    start = torch.cat([trace.initial[name][0] for name in cell.states])
    expected = torch.autograd.functional.jacobian(first, start)
    torch.testing.assert_close(read_jacobians(cell, weights, trace)[0], expected)


@every_cell
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_network_in_float32_has_nearly_the_same_map(name, kernel, reverse):
    made, single = network(name), network(name, precision="float32")
    single.flat.copy_(made.flat)
    exact = frobenius_map(made.cell, made.weights(), trace_of(made, reverse)).frobenius
    got = frobenius_map(single.cell, single.weights(), trace_of(single, reverse, kernel)).frobenius
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-4)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_where_a_state_is_no_number_nothing_is_known_of_what_goes_through_it(name, reverse, value):
    made = network(name)
    trace = trace_of(made, reverse)
    whole = frobenius_map(made.cell, made.weights(), trace).frobenius
    at = 5 if reverse else 3  # the fourth that is read
    for state in made.cell.states:
        trace.values[state][at, 0, 1] = value
    got = frobenius_map(made.cell, made.weights(), trace)
    jacobians = read_jacobians(made.cell, made.weights(), trace)
    lower, upper = spectral_columns(jacobians, range(T))
    t, k = np.indices((T, T))
    known = (t >= k) & ((t < 3) | (k > 3))
    np.testing.assert_array_equal(np.isfinite(got.frobenius), known)
    np.testing.assert_allclose(got.frobenius[known], whole[known], atol=1e-12)
    for block in got.blocks.values():
        assert np.isnan(block[~known]).all()
    through = (t > k) & ~known
    assert np.isnan(lower[through]).all()
    assert np.isnan(upper[through]).all()
    assert np.isfinite(upper[known]).all()


# Range


@pytest.mark.parametrize("gain", [1e-150, 1e-40, 1e-3, 1e40, 1e150])
def test_products_far_out_of_range_keep_their_logarithms(gain):
    """A rotation that shrinks or grows: every norm is a power of the gain."""
    Q = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double())[0]
    jacobians = (gain * Q).expand(40, 6, 6)
    lower, upper, frobenius = with_frobenius(jacobians, range(0, 40, 3))
    lag = (np.arange(40)[:, None] - np.arange(0, 40, 3)).astype(float)
    exact = np.where(lag >= 0, lag * math.log10(gain), np.nan)
    np.testing.assert_allclose(frobenius, exact + math.log10(6) / 2, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(lower, exact, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(upper, exact, rtol=1e-9, atol=1e-7)


def test_a_block_that_is_faint_beside_another_keeps_its_size():
    """Two memories that are not joined, one of which fades: 1e-20 a step beside 1."""
    jacobian = torch.tensor([[1e-20, 0.0], [0.0, 1.0]]).double()
    for product in products(jacobian.expand(14, 2, 2), [0], 2):
        assert float(product.exponent[0]) == 0
        with np.errstate(divide="ignore"):
            norms = _block_norms(product)[:, :, 0]
        np.testing.assert_allclose(norms[0, 0], -20.0 * product.t, atol=1e-9)
        assert norms[1, 1] == 0
        assert norms[0, 1] == norms[1, 0] == -math.inf


def test_what_nothing_passes_is_minus_infinity():
    made = network("relu")
    made.parameters["rnn.bias_ih_l0"].fill_(-100.0)
    trace = trace_of(made)
    got = frobenius_map(made.cell, made.weights(), trace).frobenius
    lower, upper = spectral_columns(read_jacobians(made.cell, made.weights(), trace), range(T))
    below = np.tri(T, k=-1, dtype=bool)
    for plane in (got, lower, upper):
        assert (plane[below] == -np.inf).all()


# The bracket


def matrices(kind: str, S: int, steps: int, generator: torch.Generator) -> torch.Tensor:
    """Jacobians of which the products have a known trouble."""
    A = torch.randn(steps, S, S, generator=generator, dtype=torch.float64)
    if kind == "random":
        return A / math.sqrt(S)
    if kind == "orthogonal":
        return torch.linalg.qr(A)[0]
    if kind == "normal":
        Q = torch.linalg.qr(A[0])[0]
        return Q @ torch.diag_embed(torch.rand(steps, S, generator=generator).double() * 1.5) @ Q.T
    if kind == "diagonal":  # the largest direction changes, and power iteration has to find it again
        return torch.diag_embed(0.2 + torch.rand(steps, S, generator=generator).double())
    if kind == "not normal":
        return torch.triu(A, 1) * 30.0 + 0.9 * torch.eye(S)
    if kind == "nilpotent":
        return torch.triu(A, 1)
    if kind == "low rank":
        return A[:, :, :1] @ A[:, :1]
    if kind == "blocks":  # the way of a memory beside that of a state
        A[:, :, S // 2 :] = 0
        half = torch.arange(S // 2)
        A[:, half, S // 2 + half] = 0.3
        A[:, S // 2 + half, S // 2 + half] = 0.9
        return A / math.sqrt(S)
    if kind == "zeros":
        A[steps // 2] = 0
        return A
    raise ValueError(kind)


KINDS = (
    "random", "orthogonal", "normal", "diagonal", "not normal", "nilpotent", "low rank", "blocks", "zeros"
)  # fmt: skip


@given(
    st.sampled_from(KINDS), st.sampled_from([1, 2, 6, 16]), st.integers(0, 2**16),
    st.sampled_from([1e-35, 1e-3, 1.0, 1e35]), st.sampled_from([0.0, 0.05, 10.0]),
)  # fmt: skip
@settings(max_examples=120)
def test_the_exact_singular_value_lies_in_the_bracket(kind, S, seed, scale, tolerance):
    steps = 12
    jacobians = scale * matrices(kind, S, steps, torch.Generator().manual_seed(seed))
    lower, upper = spectral_columns(jacobians, [0, 1, 5], tolerance)
    for i, k in enumerate((0, 1, 5)):
        assert np.isnan(lower[:k, i]).all()
        assert lower[k, i] == upper[k, i] == 0
        P, exponent = np.eye(S), 0.0
        for t in range(k + 1, steps):
            P = jacobians[t].numpy() @ P
            largest = np.abs(P).max()
            if largest > 0:
                P, exponent = P / largest, exponent + math.log10(largest)
            with np.errstate(divide="ignore"):
                exact = np.log10(np.linalg.norm(P, 2)) + exponent
            if exact == -math.inf:
                assert lower[t, i] == upper[t, i] == -math.inf
            else:
                assert lower[t, i] <= exact + 1e-9
                assert upper[t, i] >= exact - 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_the_bracket_is_as_narrow_as_was_asked_for(kind):
    jacobians = matrices(kind, 16, 40, torch.Generator().manual_seed(1))
    lower, upper = spectral_columns(jacobians, range(0, 40, 4), 0.05)
    with np.errstate(invalid="ignore"):
        gap = np.where(lower == upper, 0.0, upper - lower)
    assert np.nanmax(gap) <= math.log10(1.05) + 1e-9


@given(st.integers(0, 2**16), st.sampled_from([1, 3, 20, 64]), st.floats(-0.5, 0.5))
@settings(max_examples=60)
def test_a_limit_that_cholesky_confirms_is_one(seed, S, shift):
    A = matrices("random", S, 4, torch.Generator().manual_seed(seed)).numpy()
    exact = np.log2(np.linalg.norm(A, 2, axis=(1, 2)))
    confirmed = is_below(A, exact + shift)
    assert (confirmed <= (shift >= 0)).all()
    if shift > 0.05:
        assert confirmed.all()


def test_without_the_budget_the_bracket_still_holds(monkeypatch):
    monkeypatch.setattr(bracket, "EXACT_SHARE", 0.0)
    monkeypatch.setattr(bracket, "is_below", lambda A, limit: np.zeros(len(A), dtype=bool))
    jacobians = matrices("random", 16, 30, torch.Generator().manual_seed(1))
    lower, upper = spectral_columns(jacobians, [0])
    exact = [
        np.log10(np.linalg.norm(np.linalg.multi_dot([np.eye(16), *jacobians[1 : t + 1].flip(0).numpy()]), 2))
        for t in range(1, 30)
    ]
    assert (lower[1:, 0] <= np.array(exact) + 1e-9).all()
    assert (upper[1:, 0] >= np.array(exact) - 1e-9).all()
    assert (upper - lower)[1:].max() > math.log10(1.05), "or the other ways were never needed"


# Theory


@given(st.sampled_from(PLAIN), st.floats(0.1, 3.0), st.integers(0, 2**10), st.floats(0.0, 5.0), st.booleans())
@settings(max_examples=60)
def test_no_norm_is_above_what_was_measured_and_that_not_above_the_largest_slope(
    name, gain, seed, size, reverse
):
    made = network(name, seed=seed)
    made.parameters["rnn.weight_hh_l0"].mul_(gain)
    made.parameters["rnn.weight_ih_l0"].mul_(size)
    trace = trace_of(made, reverse)
    theory = bounds(made.cell, made.weights(), trace, 1)
    assert theory.log_measured.shape == (T,)
    jacobians = read_jacobians(made.cell, made.weights(), trace, 1)
    lower, _ = spectral_columns(jacobians, range(T), 0.0)
    for k in range(T):
        measured = np.concatenate([[0.0], np.cumsum(theory.log_measured[k + 1 :])])
        largest = np.arange(T - k) * theory.log_largest
        assert (lower[k:, k] <= measured + 1e-9).all()
        assert (measured <= largest + 1e-9).all()
    slopes = 10 ** (theory.log_measured - math.log10(np.linalg.norm(made.weights()["weight_hh"].numpy(), 2)))
    h = trace.values["h"][:, 1].numpy()
    each = {"tanh": 1 - h**2, "relu": h > 0, "sigmoid": h * (1 - h), "linear": np.ones_like(h)}[name]
    np.testing.assert_allclose(slopes, (each[::-1] if reverse else each).max(1), rtol=1e-9, atol=1e-300)


def test_gated_cells_have_no_such_bound_and_lost_states_none_either():
    for name in set(CELLS) - set(PLAIN):
        made = network(name)
        assert bounds(made.cell, made.weights(), trace_of(made)) is None
    made = network("relu")
    trace = trace_of(made)
    trace.values["h"][4, 0, 0] = math.nan
    measured = bounds(made.cell, made.weights(), trace).log_measured
    assert np.isnan(measured).tolist() == [t in (4, 5) for t in range(T)]


# By lag


def test_the_horizon_of_a_norm_that_falls_evenly():
    lag = np.arange(40)[:, None] - np.arange(40)
    halving = np.where(lag >= 0, lag * math.log10(0.5) + 0.7, np.nan)
    assert horizon(halving) == pytest.approx(math.log2(1000))
    assert horizon(halving[:9, :9]) == math.inf
    assert horizon(-halving) == math.inf
    assert horizon(np.full((5, 5), np.nan)) != horizon(halving)
    assert math.isnan(horizon(np.full((5, 5), -np.inf)))
    dying = np.where(lag >= 3, -np.inf, np.where(lag >= 0, 0.0, np.nan))
    assert horizon(dying) == 3.0
    half = halving.copy()
    half[:, 1::2] = np.nan
    assert horizon(half) == pytest.approx(math.log2(1000))


def test_the_picture_by_lag():
    norms = np.full((4, 4), np.nan)
    norms[np.tril_indices(4)] = [0, 1, 0, 5, -np.inf, 0, 7, 6, 3, 0]
    got = by_lag(norms)
    np.testing.assert_array_equal(got.median, [0, 1, 5.5, 7])
    np.testing.assert_array_equal(got.lowest, [0, -np.inf, 5, 7])
    np.testing.assert_array_equal(got.highest, [0, 3, 6, 7])


# Lyapunov exponents and spectra


def test_exponents_of_a_scaled_rotation_are_all_the_same():
    Q = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double())[0]
    np.testing.assert_allclose(lyapunov((0.7 * Q).expand(30, 5, 5)), math.log(0.7), rtol=1e-12)


def test_the_exponent_of_one_unit_at_its_fixed_point():
    made = network("tanh", hidden=1)
    weights = {name: torch.zeros_like(value) for name, value in made.weights().items()}
    weights["weight_hh"].fill_(1.8)
    layer = layer_of("torch")(made.cell, 2, 1, "float64", False)
    start = {"h": torch.full((1, 1), 0.5).double()}
    trace = layer.forward(weights, torch.zeros(300, 1, 2).double(), start)
    x = float(trace.values["h"][-1])
    assert x == pytest.approx(math.tanh(1.8 * x), abs=1e-12)
    got = lyapunov(read_jacobians(made.cell, weights, trace), warm_up=200)
    np.testing.assert_allclose(got, [math.log(1.8 * (1 - x * x))], rtol=1e-9)


@given(st.integers(0, 2**16), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=30)
def test_exponents_add_up_to_the_change_of_volume(seed, S, warm_up):
    jacobians = matrices("random", S, 10, torch.Generator().manual_seed(seed))
    got = lyapunov(jacobians, warm_up)
    assert (np.diff(got) <= 0).all()
    volume = torch.linalg.slogdet(jacobians[warm_up:]).logabsdet.mean()
    assert got.sum() == pytest.approx(float(volume), rel=1e-9, abs=1e-9)


def test_exponents_of_diagonal_steps_are_the_means_of_their_logarithms():
    steps = torch.tensor([[2.0, -0.5, 0.1], [8.0, 0.5, 0.4]]).double()
    expected = [math.log(4), math.log(0.5), math.log(0.2)]
    np.testing.assert_allclose(lyapunov(torch.diag_embed(steps), 0), expected)
    np.testing.assert_allclose(lyapunov(torch.diag_embed(steps), 1), np.log([8.0, 0.5, 0.4]))
    assert lyapunov(torch.zeros(3, 2, 2).double(), 0).tolist() == [-math.inf] * 2
    assert np.isnan(lyapunov(torch.full((3, 2, 2), math.inf).double())).all()
    with pytest.raises(ValueError, match="warm_up: got 2; it must be at least 0 and below the 2 steps"):
        lyapunov(torch.diag_embed(steps), 2)


@pytest.mark.parametrize(("gain", "sign"), [(0.8, -1), (1.5, 1)])
def test_a_random_network_turns_chaotic_at_a_gain_of_one(gain, sign):
    """Sompolinsky, Crisanti & Sommers 1988: below it all dies out, above it nothing settles."""
    made, N = network("tanh", hidden=150), 150
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.zeros_like(value) for name, value in made.weights().items()}
    weights["weight_hh"].copy_(torch.randn(N, N, generator=generator).double() * gain / math.sqrt(N))
    layer = layer_of("torch")(made.cell, 2, N, "float64", False)
    start = {"h": torch.randn(1, N, generator=generator).double()}
    trace = layer.forward(weights, torch.zeros(150, 1, 2).double(), start)
    largest = lyapunov(read_jacobians(made.cell, weights, trace), 50)[0]
    assert sign * largest > 0.02  # at N = 150; chaos sets in slowly beyond a gain of 1


def test_eigenvalues_and_singular_values_with_what_is_not_finite():
    A = torch.tensor([[[0.0, -2.0], [2.0, 0.0]], [[math.nan, 0.0], [0.0, 1.0]], [[0.5, 100.0], [0.0, -3.0]]])
    values = eigenvalues(A)
    np.testing.assert_allclose(np.abs(values[0]), [2.0, 2.0])
    np.testing.assert_allclose(sorted(values[0].imag), [-2.0, 2.0])
    np.testing.assert_allclose(values[2], [-3.0, 0.5])
    np.testing.assert_allclose(singular_values(A)[0], [2.0, 2.0])
    np.testing.assert_allclose(singular_values(A)[2], np.linalg.svd(A[2].double(), compute_uv=False))
    assert np.isnan(values[1]).all()
    assert np.isnan(singular_values(A)[1]).all()
    assert np.isnan(eigenvalues(A[1:2])).all()
    assert values.dtype == np.complex128
