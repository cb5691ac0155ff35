"""Every optimizer against torch.optim, step by step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnviz.kernels import KERNELS
from rnnviz.optimizers import OPTIMIZERS
from rnnviz.vectors import norm, squares, update

TWINS = {
    "adam": lambda p, lr: torch.optim.Adam(p, lr=lr),
    "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr=lr),
}
STEPS = 50
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def fresh(name: str, parameters: torch.Tensor) -> dict[str, torch.Tensor]:
    return {slot: torch.zeros_like(parameters) for slot in OPTIMIZERS[name].slots}


def gradients(seed: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Random gradients of very different sizes, zeros among them."""
    rng = torch.Generator().manual_seed(seed)
    size = torch.logspace(-6, 3, 40, dtype=torch.float64)
    rows = [torch.randn(40, dtype=torch.float64, generator=rng) * size for _ in range(STEPS)]
    for row in rows[::3]:
        row[::5] = 0.0
    return [row.to(dtype) for row in rows]


def test_every_optimizer_has_a_twin():
    assert set(OPTIMIZERS) == set(TWINS)


@every_kernel
@every_optimizer
@pytest.mark.parametrize(
    "learning_rates", [[0.01] * STEPS, [0.05] * 20 + [0.002] * 30], ids=["fixed", "changed"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_fifty_steps_are_those_of_torch_optim(kernel, name, learning_rates, dtype, tolerance):
    start = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    twin, slots = TWINS[name]([theirs], learning_rates[0]), fresh(name, ours)
    for step, (grad, rate) in enumerate(zip(gradients(2, dtype), learning_rates, strict=True), start=1):
        before, old = grad.clone(), ours.clone()
        moved = update(kernel, OPTIMIZERS[name], ours, grad, slots, rate, step)
        assert moved == pytest.approx(float((ours.double() - old.double()).square().sum()), rel=1e-12)
        assert torch.equal(grad, before), "the gradient is read only"
        twin.param_groups[0]["lr"] = rate
        theirs.grad = grad.clone()
        twin.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=tolerance, atol=tolerance)
    assert ours.dtype == dtype


@every_kernel
@every_optimizer
def test_updates_are_made_in_place(kernel, name):
    parameters = torch.zeros(3)
    slots = fresh(name, parameters)
    pointers = [parameters.data_ptr(), *(s.data_ptr() for s in slots.values())]
    update(kernel, OPTIMIZERS[name], parameters, torch.tensor([1.0, -2.0, 0.0]), slots, 0.1, 1)
    assert [parameters.data_ptr(), *(s.data_ptr() for s in slots.values())] == pointers
    assert set(slots) == set(OPTIMIZERS[name].slots)
    assert parameters[0] < 0 < parameters[1]
    assert parameters[2] == 0


@every_optimizer
def test_an_optimizer_describes_itself(name):
    rule = OPTIMIZERS[name]
    assert rule.name == name
    assert rule.label
    assert rule.summary.endswith(".")
    assert len({r.label for r in OPTIMIZERS.values()}) == len(OPTIMIZERS)


@every_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 7, 8, 16, 17, 1000])
def test_squares_are_summed_in_float64(kernel, dtype, count):
    vector = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(count)).to(dtype)
    vector[0] = 1e30 if dtype == torch.float32 else 1e100
    exact = vector.double().square()
    assert squares(kernel, vector) == pytest.approx([float(exact.sum())], rel=1e-14)
    assert norm(kernel, vector) == pytest.approx(float(exact.sum().sqrt()), rel=1e-14)
    borders = (count // 3, count // 2)
    pieces = [exact[: borders[0]], exact[borders[0] : borders[1]], exact[borders[1] :]]
    assert squares(kernel, vector, borders) == pytest.approx([float(p.sum()) for p in pieces], rel=1e-14)
    vector[-1] = torch.nan
    assert np.isnan(squares(kernel, vector)[0])
