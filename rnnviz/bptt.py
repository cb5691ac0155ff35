"""Backpropagation through time, by hand and recorded.

`unroll` runs a cell over a sequence, `backpropagate` runs it backward and returns a `Tape` with the total
derivative of the loss with respect to every state. No second pass is needed for that: dL/dh_t is what the
backward recursion carries anyway,

    dL/dh_t = (direct term of the loss at t) + (ds_{t+1}/dh_t)^T dL/ds_{t+1},

and the gradient of a weight is a sum over time steps, dL/dW = sum_t (dL/da_t)^T operand_t
(Werbos 1990; Pascanu, Mikolov & Bengio 2013, eq. 3 to 5).

Names and shapes: L layers, D directions, T time, B batch, I input, H hidden, G gate blocks. One layer and
one direction so far; recordings carry both axes already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .cells import Cell, CellWeights, Step

#: Weights of one layer and direction by PyTorch's names: weight_ih (G*H, I), weight_hh (G*H, H),
#: bias_ih (G*H,), bias_hh (G*H,) and, for a cell with peepholes, weight_peephole (number of them, H).
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Tape:
    """One pass forward and backward through time.

    The recordings are properties, stacked when first asked for, so that training pays only for those it
    uses. The gradients are the total derivatives, through the recurrence, of the loss whose gradient was
    passed in.
    """

    cell: Cell
    steps: Sequence[Step]  # T of them
    grad_states: Sequence[tuple[Tensor, ...]]  # T times the total dL/ds_t, (B, H) each, as in cell.states
    grad_a_x: Tensor  # (T, B, G*H), gradients of the pre-activations' input side
    grad_weights: dict[str, Tensor]  # by the names of Weights
    weight_ih: Tensor  # (G*H, I)

    @cached_property
    def hidden(self) -> Tensor:
        """h_t: (L, D, T, B, H)."""
        return _over_time([step.state[0] for step in self.steps])

    @cached_property
    def grad_hidden(self) -> Tensor:
        """dL/dh_t: (L, D, T, B, H)."""
        return _over_time([grad[0] for grad in self.grad_states])

    @cached_property
    def cell_state(self) -> Tensor | None:
        """c_t: (L, D, T, B, H), or None for a cell without a memory."""
        return _over_time([step.state[1] for step in self.steps]) if "c" in self.cell.states else None

    @cached_property
    def grad_cell_state(self) -> Tensor | None:
        """dL/dc_t, the path through h_t included: (L, D, T, B, H), or None."""
        return _over_time([grad[1] for grad in self.grad_states]) if "c" in self.cell.states else None

    @cached_property
    def gates(self) -> dict[str, Tensor]:
        """Activated values of each gate, candidates included: name to (L, D, T, B, H)."""
        return {
            name: _over_time([step.gates[k] for step in self.steps]) for k, name in enumerate(self.cell.gates)
        }

    @cached_property
    def grad_inputs(self) -> Tensor:
        """dL/dx_t: (T, B, I)."""
        return self.grad_a_x @ self.weight_ih


def _over_time(values: list[Tensor]) -> Tensor:
    return torch.stack(values)[None, None]  # T of (B, H) to (1, 1, T, B, H)


def cell_weights(cell: Cell, weights: Weights) -> CellWeights:
    """The recurrent side of `weights`, as a cell wants it."""
    peephole = tuple(weights["weight_peephole"]) if cell.peepholes else ()
    return CellWeights(weights["weight_hh"], weights["bias_hh"], peephole)


def unroll(
    cell: Cell, weights: Weights, inputs: Tensor, initial: Sequence[Tensor] | None = None
) -> list[Step]:
    """Run `cell` over inputs (T, B, I) from the states `initial`, each (B, H), zeros by default.

    Differentiable by autograd when the weights require gradients.
    """
    return list(run_forward(cell, weights, inputs, initial))


def run_forward(
    cell: Cell, weights: Weights, inputs: Tensor, initial: Sequence[Tensor] | None = None
) -> Iterator[Step]:
    """`unroll` step by step, for callers that need not keep what a backward pass would."""
    T, B, _ = inputs.shape
    if initial is None:
        zero = inputs.new_zeros((B, weights["weight_hh"].shape[1]))
        initial = (zero,) * len(cell.states)
    recurrent = cell_weights(cell, weights)
    a_x = inputs @ weights["weight_ih"].T + weights["bias_ih"]  # (T, B, G*H), all time steps at once
    states = tuple(initial)
    for t in range(T):
        step = cell.forward(torch, recurrent, a_x[t], states)
        states = step.state
        yield step


@torch.no_grad()
def backpropagate(
    cell: Cell, weights: Weights, inputs: Tensor, steps: Sequence[Step], grad_outputs: Sequence[Tensor | None]
) -> Tape:
    """Backward through `steps`, made by `unroll` from the same weights and inputs.

    grad_outputs: for each of the T time steps the direct term of the loss, dL/dh_t of shape (B, H) with
    everything later held fixed, or None where the loss does not read h_t.
    """
    T = len(steps)
    if len(grad_outputs) != T:
        got = len(grad_outputs)
        raise ValueError(f"grad_outputs: got {got} entries for {T} time steps; one each is needed.")
    recurrent = cell_weights(cell, weights)
    zero = torch.zeros_like(steps[-1].state[0])
    carried: tuple[Tensor, ...] = (zero,) * len(cell.states)
    totals, grads = [], []
    for t in range(T - 1, -1, -1):
        direct = grad_outputs[t]
        grad_h = carried[0] if direct is None else carried[0] + direct
        gradient, total = cell.backward(torch, recurrent, steps[t], (grad_h, *carried[1:]))
        carried = gradient.before
        totals.append(total)
        grads.append(gradient)
    totals.reverse()
    grads.reverse()

    grad_a_x = torch.stack([g.a_x for g in grads])  # (T, B, G*H)
    same = all(g.a_x is g.a_h for g in grads)
    grad_a_h = grad_a_x if same else torch.stack([g.a_h for g in grads])
    grad_weights = {
        "weight_ih": _sum_over_time(grad_a_x, inputs),
        "weight_hh": _recurrent_gradient(cell, grad_a_h, steps),
        "bias_ih": grad_a_x.sum((0, 1)),
        "bias_hh": grad_a_h.sum((0, 1)),
    }
    if cell.peepholes:
        shares = [torch.stack([g.peephole[k] for g in grads]) for k in range(len(cell.peepholes))]
        grad_weights["weight_peephole"] = torch.stack([s.sum((0, 1)) for s in shares])  # (P, H)

    return Tape(cell, steps, totals, grad_a_x, grad_weights, weights["weight_ih"])


def _sum_over_time(grad_a: Tensor, operand: Tensor) -> Tensor:
    """sum over t and batch of grad_a_t^T operand_t: (T, B, M) and (T, B, N) to (M, N)."""
    return grad_a.flatten(0, 1).T @ operand.flatten(0, 1)


def _recurrent_gradient(cell: Cell, grad_a_h: Tensor, steps: Sequence[Step]) -> Tensor:
    """dL/dW_hh, block rows by the product they belong to: each product has its own operand."""
    hidden = grad_a_h.shape[-1] // len(cell.gates)
    rows, start = [], 0
    for k, gates in enumerate(cell.products):
        width = len(gates) * hidden
        operand = torch.stack([s.operands[k] for s in steps])  # (T, B, H)
        rows.append(_sum_over_time(grad_a_h[..., start : start + width], operand))
        start += width
    return rows[0] if len(rows) == 1 else torch.cat(rows)
