"""The losses against torch.nn.functional, their gradients against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from rnnviz.losses import LOSSES, cross_entropy, mse
from rnnviz.tasks import TASKS

# (O,) after the batch axis, and after a time axis where the task has a target at every step.
shapes = st.one_of(
    st.tuples(st.integers(1, 6), st.integers(2, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 5)),
)
seeds = st.integers(0, 2**32 - 1)


def draw(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outputs, real targets and classes."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randn(shape, dtype=torch.float64, generator=rng) * 3
    target = torch.randn(shape, dtype=torch.float64, generator=rng)
    classes = torch.randint(shape[-1], shape[:-1], generator=rng)
    return y, target, classes


def reference(name: str, y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The same number from torch: elementwise means and sums only."""
    if name == "mse":  # summed over the outputs, averaged over the rest
        return F.mse_loss(y, target, reduction="none").sum(-1).mean()
    return F.cross_entropy(y.flatten(0, -2), target.flatten())


def test_every_loss_of_a_task_is_there():
    assert {task.loss for task in TASKS.values()} == set(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
@given(shapes, seeds)
def test_value_and_gradient_are_those_of_torch(name, shape, seed):
    y, target, classes = draw(shape, seed)
    target = target if name == "mse" else classes
    before = y.clone()
    loss, grad = LOSSES[name](y, target)
    assert torch.equal(y, before)

    y.requires_grad_()
    expected = reference(name, y, target)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    torch.testing.assert_close(grad, y.grad, rtol=1e-12, atol=1e-14)
    assert grad.shape == y.shape


@pytest.mark.parametrize("name", LOSSES)
@given(shapes, seeds)
def test_gradient_fits_finite_differences(name, shape, seed):
    y, target, classes = draw(shape, seed)
    target = target if name == "mse" else classes
    direction = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    epsilon = 1e-6
    up, down = (float(LOSSES[name](y + s * epsilon * direction, target)[0]) for s in (1, -1))
    along = float((LOSSES[name](y, target)[1] * direction).sum())
    assert (up - down) / (2 * epsilon) == pytest.approx(along, abs=1e-7)


def test_mse_of_known_numbers():
    loss, grad = mse(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert loss == (1 + 4 + 0 + 4) / 2
    assert grad.tolist() == [[1.0, 2.0], [0.0, -2.0]]


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_guessing_costs_ln_of_the_number_of_classes(classes):
    loss, grad = cross_entropy(torch.zeros(3, classes, dtype=torch.float64), torch.tensor([0, 1, 1]))
    assert loss == pytest.approx(math.log(classes), rel=1e-15)
    assert grad[0, 0].item() == pytest.approx((1 / classes - 1) / 3)
    assert grad[0, 1].item() == pytest.approx(1 / classes / 3)


@given(shapes, seeds)
def test_cross_entropy_gradients_sum_to_zero(shape, seed):
    y, _, classes = draw(shape, seed)
    _, grad = cross_entropy(y, classes)
    assert grad.sum(-1).abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_of_huge_outputs_stays_finite(dtype):
    y = torch.tensor([[1e30, -1e30, 0.0], [1e4, 1e4, -1e4]], dtype=dtype)
    loss, grad = cross_entropy(y, torch.tensor([0, 1]))
    assert loss == pytest.approx(math.log(2) / 2)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, torch.tensor([[0.0, 0.0, 0.0], [0.25, -0.25, 0.0]], dtype=dtype))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_are_not_hidden(bad):
    y = torch.tensor([[0.0, bad], [0.0, 0.0]])
    for loss in (mse(y, torch.zeros(2, 2))[0], cross_entropy(y, torch.tensor([0, 0]))[0]):
        assert not math.isfinite(loss)
