"""Stacks of layers in both directions against torch.nn, truncated backpropagation against detached graphs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.kernels import KERNELS
from rnnviz.layout import suffix
from rnnviz.stack import Stack

every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_cell = pytest.mark.parametrize("name", CELLS)
T, B, I, H = 7, 3, 4, 5  # noqa: E741


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parameters(name: str, layers: int, directions: int) -> dict[str, torch.Tensor]:
    cell, made = CELLS[name], {}
    rows = len(cell.gates) * H
    for layer in range(layers):
        for d in range(directions):
            end, seed = suffix(layer, d), 10 * layer + d
            made[f"weight_ih{end}"] = numbers(rows, I if layer == 0 else directions * H, seed=seed) * 0.5
            made[f"weight_hh{end}"] = numbers(rows, H, seed=seed + 100) / H**0.5
            made[f"bias_ih{end}"] = numbers(rows, seed=seed + 200) * 0.3
            made[f"bias_hh{end}"] = numbers(rows, seed=seed + 300) * 0.3
            if cell.peepholes:
                made[f"weight_peephole{end}"] = numbers(len(cell.peepholes), H, seed=seed + 400)
    return made


def empty(stack: Stack, like: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list]:
    grad = {key: torch.full_like(value, torch.nan) for key, value in like.items()}
    return grad, stack.split(grad)


def close(actual, expected, relative: float = 1e-12) -> None:
    difference = float((actual - expected).abs().max())
    assert difference <= relative * float(expected.abs().max())


@every_kernel
@pytest.mark.parametrize("name", [cell.name for cell in CELLS.values() if cell.torch_module])
@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("every", [True, False], ids=["loss at every step", "loss of the last states"])
def test_a_stack_is_that_of_torch_nn(kernel, name, layers, directions, every):
    stack, given = (
        Stack(CELLS[name], I, H, layers, directions, "float64", kernel),
        parameters(name, layers, directions),
    )
    kind, options = CELLS[name].torch_module
    module = getattr(nn, kind)(I, H, layers, bidirectional=directions == 2, dtype=torch.float64, **options)
    module.load_state_dict(given)
    x = numbers(T, B, I, seed=1)
    out, last = module(x)
    last = last[0] if isinstance(last, tuple) else last
    ends = torch.cat(list(last[-directions:]), -1)
    read = numbers(*(out if every else ends).shape, seed=2)
    ((out if every else ends) * read).sum().backward()
    passage = stack.forward(stack.split(given), x)
    close(passage.outputs(), out.detach())
    close(passage.last(), ends.detach())
    grad, split = empty(stack, given)
    tape = passage.backward(read, split)
    for key, weight in module.named_parameters():
        close(grad[key], weight.grad)
    shape = (layers, directions, T, B, H)
    assert tape.hidden.shape == tape.grad_hidden.shape == shape
    assert all(values.shape == shape for values in tape.gates.values())
    assert (tape.cell_state is None) == (tape.grad_cell_state is None) == ("c" not in CELLS[name].states)
    np.testing.assert_allclose(tape.grad_norms("h"), tape.grad_hidden.norm(dim=-1).mean(-1), rtol=1e-12)


@every_cell
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("directions", [1, 2])
def test_both_kernels_are_one(name, layers, directions):
    """With dropout between the layers, which both are given as the same masks."""
    given, x, read = (
        parameters(name, layers, directions),
        numbers(T, B, I, seed=1),
        numbers(T, B, directions * H, seed=2),
    )
    masks = [(numbers(T, B, directions * H, seed=5 + k) > 0).double() * 2 for k in range(layers - 1)]
    results = []
    for kernel in KERNELS:
        stack = Stack(CELLS[name], I, H, layers, directions, "float64", kernel)
        passage = stack.forward(stack.split(given), x, masks)
        grad, split = empty(stack, given)
        tape = passage.backward(read, split)
        results.append(
            (tape.hidden, tape.grad_hidden, passage.outputs(), *grad.values(), *tape.gates.values())
        )
        alone = stack.forward(stack.split(given), x, masks, keep=frozenset(), keep_last=frozenset({"h"}))
        assert torch.equal(alone.outputs(), passage.outputs())
        assert torch.equal(
            stack.forward(stack.split(given), x, masks, keep=frozenset()).last(), passage.last()
        )
    for one, other in zip(*results, strict=True):
        close(one, other)


def by_detaching(
    name: str, given: dict, x: torch.Tensor, read: torch.Tensor, layers: int, every: int, through: int
):
    """For each stretch its own graph, which begins with states of no past."""
    cell = CELLS[name]
    grad = {key: torch.zeros_like(w) for key, w in given.items()}
    total = torch.zeros(layers, T, B, H, dtype=torch.float64)
    for start in range(0, T, every):
        end = min(start + every, T)
        begin = max(0, end - through)
        weights = {key: w.clone().requires_grad_() for key, w in given.items()}
        own, hidden = x, []
        for layer in range(layers):
            used = {
                key.removesuffix(suffix(layer, 0)): w
                for key, w in weights.items()
                if key.endswith(suffix(layer, 0))
            }
            before = {key: w.detach() for key, w in used.items()}
            first = list(unroll(cell, before, own[:begin].detach()))
            state = {s: first[-1][s].detach() for s in cell.states} if first else None
            later = [now["h"] for now in unroll(cell, used, own[begin:end], state)]
            for h in later:
                h.retain_grad()
            hidden.append(later)
            own = (
                torch.cat([torch.stack([now["h"] for now in first]), torch.stack(later)])
                if first
                else torch.stack(later)
            )
        pairs = zip(range(begin, end), hidden[-1], strict=True)
        loss = torch.stack([(h * read[t]).sum() for t, h in pairs if t >= start]).sum()
        loss.backward()
        for key, w in weights.items():
            grad[key] += w.grad
        for layer, later in enumerate(hidden):
            for t, h in zip(range(begin, end), later, strict=True):
                total[layer, t] += h.grad if h.grad is not None else 0.0
    return grad, total


@every_kernel
@every_cell
@pytest.mark.parametrize(
    ("layers", "every", "through"),
    [(2, 1, 1), (2, 1, 3), (2, 2, 2), (2, 3, 5), (2, 7, 7), (2, 3, 100), (2, 100, 100), (1, 3, 5)],
)
def test_truncated_gradients_are_those_of_graphs_that_are_cut(kernel, name, layers, every, through):
    stack, given = Stack(CELLS[name], I, H, layers, 1, "float64", kernel), parameters(name, layers, 1)
    x, read = numbers(T, B, I, seed=1), numbers(T, B, H, seed=2)
    grad, split = empty(stack, given)
    tape = stack.forward(stack.split(given), x).backward_truncated(read, split, every, through)
    expected, total = by_detaching(name, given, x, read, layers, every, through)
    for key, gradient in expected.items():
        close(grad[key], gradient)
    close(tape.grad_hidden[:, 0], total)
    assert tape.grad_norms("h").shape == (layers, 1, T)


@every_kernel
@pytest.mark.parametrize("every", [True, False])
def test_truncation_to_the_whole_sequence_is_none(kernel, every):
    stack, given = Stack(CELLS["lstm"], I, H, 2, 1, "float64", kernel), parameters("lstm", 2, 1)
    x, read = numbers(T, B, I, seed=1), numbers(*((T, B, H) if every else (B, H)), seed=2)
    (whole, split), (cut, cut_split) = empty(stack, given), empty(stack, given)
    full = stack.forward(stack.split(given), x).backward(read, split)
    truncated = stack.forward(stack.split(given), x).backward_truncated(read, cut_split, T, T)
    for key, gradient in whole.items():
        close(cut[key], gradient)
    close(truncated.grad_hidden, full.grad_hidden)
    close(truncated.grad_cell_state, full.grad_cell_state)
