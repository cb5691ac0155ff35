"""Curvature: Hessian products, eigenvalues and trace against autograd's own Hessian in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from rnnviz.analysis import curvature as curvatures
from rnnviz.analysis.curvature import Curvature, expected_seconds, gradient, sharpness, top_eigenvector
from rnnviz.analysis.lanczos import Krylov, Product, krylov, lanczos, over, sample, trace_of
from rnnviz.analysis.moment import moment
from rnnviz.experiment import Experiment, ExperimentError
from rnnviz.kernels import KERNELS
from rnnviz.layout import layout_of
from rnnviz.step import batch_of
from tests.unrolled import SHAPES, STEP, Twin, blob_of, moments, small

CELLS = ("tanh", "sigmoid", "lstm", "lstm_peephole", "gru", "gru_chung")


def flat_gradient(twin: Twin, e: Experiment) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Autograd's gradient, flat in the order of the layout, which can be differentiated once more."""
    leaves = [twin.parameters[name] for name in layout_of(e).shapes]
    grads = torch.autograd.grad(twin.loss, leaves, create_graph=True)
    return torch.cat([g.ravel() for g in grads]), leaves


def second(grad: torch.Tensor, leaves: list[torch.Tensor], v: np.ndarray) -> np.ndarray:
    """H v, exactly: the derivative of the gradient's part along v."""
    found = torch.autograd.grad(grad @ torch.from_numpy(v), leaves, retain_graph=True, allow_unused=True)
    each = [torch.zeros_like(p) if g is None else g for g, p in zip(found, leaves, strict=True)]
    return torch.cat([g.ravel() for g in each]).numpy()


def dense(twin: Twin, e: Experiment) -> np.ndarray:
    """The whole Hessian, (n, n)."""
    grad, leaves = flat_gradient(twin, e)
    return np.stack([second(grad, leaves, row) for row in np.eye(len(grad))])


def unit(size: int, seed: int = 1) -> np.ndarray:
    v = np.random.default_rng(seed).normal(size=size)
    return v / np.linalg.norm(v)


# Products ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_a_product_is_autograds(cell: str, shape: str, kernel: str) -> None:
    e = small(cell=cell, **SHAPES[shape])
    seen, twin = moments(e, kernel)
    curvature = Curvature(seen)
    grad, leaves = flat_gradient(twin, e)
    assert curvature.loss == pytest.approx(float(twin.loss.detach()), rel=1e-12)
    np.testing.assert_allclose(curvature.grad, grad.detach().numpy(), rtol=1e-9, atol=1e-14)
    for length in (1.0, 40.0):
        v = length * unit(curvature.size)
        exact = second(grad, leaves, v)
        assert np.linalg.norm(curvature.product(v) - exact) < 1e-8 * np.linalg.norm(exact)
    assert curvature.products == 2
    assert not curvature.product(np.zeros(curvature.size)).any()


def test_the_loss_is_not_what_training_makes_of_its_gradient() -> None:
    """Omega, truncation and deltas change the update, not the loss."""
    e = small(cell="tanh", length=8)
    v = unit(layout_of(e).size)
    plain = Curvature(moments(e, "torch")[0]).product(v)
    for values in ({"omega": 0.5}, {"truncate": 3}, {"clip": "delta", "clip_threshold": 1e-4}):
        seen = moments(e.changed(**values), "torch")[0]
        np.testing.assert_array_equal(Curvature(seen).product(v), plain)
        assert gradient(seen) == pytest.approx(seen.true.grad.numpy(), rel=1e-12)


def test_a_run_in_float32_is_looked_at_in_float64() -> None:
    e = small(cell="gru", precision="float32")
    blob = blob_of(e)
    wide = save({name: array.astype(np.float64) for name, array in load(blob).items()})
    twin = moments(e.changed(precision="float64"), "torch", wide)[1]
    exact = dense(twin, e)
    v = unit(len(exact))
    assert Curvature(moment(e, STEP, blob)).product(v) == pytest.approx(exact @ v, rel=1e-7, abs=1e-10)


def test_another_batch_is_another_loss() -> None:
    e = small(cell="gru")
    blob = blob_of(e)
    other = Curvature(moment(e, STEP, blob), batch_of(e, STEP + 1))
    v = unit(other.size)
    np.testing.assert_array_equal(other.product(v), Curvature(moment(e, STEP + 1, blob)).product(v))
    assert np.abs(other.product(v) - Curvature(moment(e, STEP, blob)).product(v)).max() > 1e-3


def test_what_does_not_fit_is_a_sentence() -> None:
    e = Experiment(task="adding", length=1000, cell="lstm", hidden=128, batch=256, precision="float32")
    with pytest.raises(ExperimentError, match="GiB"):
        Curvature(replace(moment(small()), experiment=e))


# Eigenvalues and trace ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_both_ends_and_the_trace_are_those_of_the_dense_hessian(cell: str) -> None:
    e = small(cell=cell, hidden=5, length=8)
    seen, twin = moments(e, "torch")
    H = dense(twin, e)
    np.testing.assert_allclose(H, H.T, atol=1e-12)
    values = np.linalg.eigvalsh(H)
    found = sharpness(seen)
    assert (found.step, found.finite) == (STEP, True)
    assert found.loss == pytest.approx(float(twin.loss.detach()), rel=1e-12)
    assert found.grad_norm == pytest.approx(float(flat_gradient(twin, e)[0].detach().norm()), rel=1e-9)
    reach = np.abs(values).max()
    np.testing.assert_allclose(found.eigenvalues, values[::-1][:5], rtol=2e-3, atol=1e-4 * reach)
    assert found.least == pytest.approx(values[0], rel=2e-3, abs=1e-4 * reach)
    for value, residual in zip(found.eigenvalues, found.residuals, strict=True):
        assert np.abs(values - value).min() <= residual + 1e-9 * reach
        assert residual <= 0.01 * max(abs(value), 0.01 * reach)
    assert 0 < found.trace_error < np.linalg.norm(H)
    assert abs(found.trace - np.trace(H)) < 3 * found.trace_error
    assert found.asymmetry < 1e-7 * reach
    assert found.products <= curvatures.MOST + curvatures.SAMPLES


def test_residuals_are_those_of_the_vectors() -> None:
    e = small(cell="lstm", hidden=5, length=8)
    seen, twin = moments(e, "torch")
    H = dense(twin, e)
    curvature = Curvature(seen)
    space = lanczos(curvature.product, curvature.size, 3, most=12, tolerance=0.0)
    assert space.m == 12
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(12), atol=1e-13)
    ritz, vectors = space.ritz(3), space.vectors(3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-14)
    true = np.linalg.norm(vectors @ H - ritz.values[:, None] * vectors, axis=1)
    assert true.max() > 1e-6, "not settled yet"
    np.testing.assert_allclose(ritz.residuals, true, rtol=1e-3, atol=1e-8)
    assert not over(space, 3, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_the_top_eigenvector_is_a_unit_and_is_not_against_the_gradient(cell: str) -> None:
    e = small(cell=cell)
    for shift in (0.0, -3.0):
        blob = save({n: a + shift * (n == "out.bias") for n, a in load(blob_of(e)).items()})
        seen, twin = moments(e, "torch", blob)
        H = dense(twin, e)
        values, vectors = np.linalg.eigh(H)
        value, vector = top_eigenvector(seen)
        assert value == pytest.approx(values[-1], rel=1e-6)
        assert vector.dtype == np.float64
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-14)
        assert vector @ gradient(seen) >= 0
        assert abs(vector @ vectors[:, -1]) == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(H @ vector, value * vector, atol=1e-3 * value)


def test_the_eigenvector_is_turned_where_the_gradient_points_against_it() -> None:
    e = small(cell="tanh", hidden=5, length=8)
    signs = set()
    for shift in (0.0, 3.0, -3.0):
        blob = save({n: a + shift * (n == "out.bias") for n, a in load(blob_of(e)).items()})
        seen = moment(e, STEP, blob)
        curvature = Curvature(seen)
        space = lanczos(curvature.product, curvature.size, 1, curvatures.SEED, 48, 1e-4, least=False)
        sign = float(np.sign(space.vectors(1)[0] @ curvature.grad))
        signs.add(sign)
        np.testing.assert_array_equal(top_eigenvector(seen)[1], sign * space.vectors(1)[0])
    assert signs == {1.0, -1.0}


def test_the_same_moment_has_the_same_bytes_whatever_torch_is_set_to() -> None:
    e, blob = small(cell="gru", hidden=6), blob_of(small(cell="gru", hidden=6))
    first = sharpness(moment(e, STEP, blob))
    vector = top_eigenvector(moment(e, STEP, blob))[1]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = replace(moment(e, STEP, blob), _made=type(moment(e, STEP, blob)._made)())
        assert sharpness(seen) == first
        assert top_eigenvector(seen)[1].tobytes() == vector.tobytes()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert sharpness(moment(e, STEP, blob)) is first, "asking again costs nothing"


def test_weights_that_are_no_numbers_have_no_curvature_and_nothing_is_raised() -> None:
    e = small(cell="gru")
    for name, value in (("out.bias", math.nan), ("rnn.weight_hh_l0", math.inf), ("out.weight", 1e200)):
        blob = save({n: np.full_like(a, value) if n == name else a for n, a in load(blob_of(e)).items()})
        seen = moment(e, STEP, blob)
        found = sharpness(seen)
        assert not found.finite
        everything = [*found.eigenvalues, *found.residuals, found.least, found.trace, found.trace_error]
        assert all(math.isnan(value) for value in everything)
        top, vector = top_eigenvector(seen)
        assert math.isnan(top)
        assert np.isnan(vector).all()
        assert vector.shape == gradient(seen).shape


def test_kinks_and_cliffs_are_seen_in_the_asymmetry() -> None:
    """A unit of a ReLU network right at its kink: products no longer agree with each other."""
    e = small(cell="relu", hidden=5, length=8)
    arrays = load(blob_of(e))
    smooth = sharpness(moment(e, STEP, save(arrays)))
    seen = moment(e, STEP, save(arrays))
    first = seen.trace().values["h"][0, 0]  # of the first sequence
    k = int(torch.argmax(first))
    assert first[k] > 0
    arrays["rnn.bias_ih_l0"] = arrays["rnn.bias_ih_l0"].copy()
    arrays["rnn.bias_ih_l0"][k] -= float(first[k]) + 1e-12
    kinked = sharpness(moment(e, STEP, save(arrays)))
    assert smooth.asymmetry < 1e-7
    assert kinked.asymmetry > 1e-3


# Of matrices that are known ----------------------------------------------------------------------------


def hutchinson(
    product: Product, size: int, samples: int, seed: int = 0, space: Krylov | None = None
) -> tuple[float, float]:
    """The trace and its standard error."""
    return trace_of(
        np.array([sample(product, size, number, seed, space) for number in range(samples)]), space
    )


def of(H: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda v: H @ v


def symmetric(n: int, seed: int = 0) -> np.ndarray:
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A + A.T


def test_a_space_that_is_whole_knows_everything() -> None:
    H = symmetric(7)
    space = lanczos(of(H), 7, 5, tolerance=0.0)
    assert (space.m, space.whole) == (7, True)
    values = np.linalg.eigvalsh(H)
    np.testing.assert_allclose(space.ritz(5).values, values[::-1][:5], rtol=1e-12)
    assert space.ritz(5).least == pytest.approx(values[0])
    trace, error = hutchinson(of(H), 7, 3, space=space)
    assert trace == pytest.approx(np.trace(H))
    assert error == 0.0


def test_equal_eigenvalues_and_less_than_k_of_them() -> None:
    for H in (np.diag([2.0, 2.0, 2.0, -1.0, -1.0]), np.zeros((5, 5)), np.eye(5)):
        space = lanczos(of(H), 5, 4, tolerance=0.0)
        np.testing.assert_allclose(space.ritz(5).values, np.sort(np.diag(H))[::-1], atol=1e-12)
    two = lanczos(of(np.diag([3.0, 1.0])), 2, 5)
    np.testing.assert_allclose(two.ritz(5).values, [3, 1, np.nan, np.nan, np.nan])


def test_going_on_from_a_space_gives_the_same_bytes() -> None:
    H = symmetric(40)
    whole, part = krylov(40, seed=3), krylov(40, seed=3)
    for _product in range(12):
        whole = whole.grown(of(H))
    for products in (5, 7):
        part = replace(part, basis=part.basis.copy())
        for _product in range(products):
            part = part.grown(of(H))
    assert whole.basis.tobytes() == part.basis.tobytes()
    assert krylov(40, seed=4).following.tobytes() != krylov(40, seed=3).following.tobytes()


def test_asymmetry_is_measured() -> None:
    H = symmetric(30)
    assert lanczos(of(H), 30, 3, most=10, tolerance=0.0).asymmetry < 1e-12
    H[4, 9] += 0.5
    found = lanczos(of(H), 30, 3, most=30, tolerance=0.0).asymmetry
    assert 0.01 < found <= 0.5


def test_the_trace_is_met_within_its_error_and_a_space_narrows_it() -> None:
    H = symmetric(60) + 300 * np.outer(unit(60), unit(60))
    plain = [hutchinson(of(H), 60, 16, seed) for seed in range(40)]
    off = np.array([(value - np.trace(H)) / error for value, error in plain])
    assert 0.7 < np.sqrt(np.mean(off**2)) < 1.6, "errors are of the size that they are said to be"
    assert abs(np.mean(off)) < 0.5, "and of either sign"
    space = lanczos(of(H), 60, 2, most=12, tolerance=0.0)
    helped = [hutchinson(of(H), 60, 16, seed, space) for seed in range(40)]
    off = np.array([(value - np.trace(H)) / error for value, error in helped])
    assert 0.7 < np.sqrt(np.mean(off**2)) < 1.6
    assert np.mean([error for _value, error in helped]) < 0.5 * np.mean([error for _value, error in plain])
    assert math.isnan(hutchinson(of(H), 60, 1)[1])


def test_more_work_takes_longer() -> None:
    e = small()
    assert expected_seconds(e.changed(batch=6)) == pytest.approx(2 * expected_seconds(e))
    assert expected_seconds(e, "torch") > expected_seconds(e)
