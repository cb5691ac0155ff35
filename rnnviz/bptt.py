"""Backpropagation through time, by hand and recorded: one layer in one direction, with torch.

A layer runs forward over a sequence and leaves a trace; the trace runs backward and then holds the total
derivative of the loss with respect to every state. No second pass is needed for that: dL/dh_t is what the
backward recursion carries anyway,

    dL/dh_t = (direct term of the loss at t) + (ds_{t+1}/dh_t)^T dL/ds_{t+1},

and the gradient of a weight is a sum over time steps, dL/dW = sum_t (dL/da_t)^T operand_t
(Werbos 1990; Pascanu, Mikolov & Bengio 2013, eq. 3 to 5).

What stands here is the plain form, one operation after the other: the reference that `kernels` is held to,
and what autograd can follow. Names: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .cells import Cell

#: Weights of one layer and direction by PyTorch's names: weight_ih (G*H, I), weight_hh (G*H, H),
#: bias_ih (G*H,), bias_hh (G*H,) and, for a cell with peepholes, weight_peephole (number of them, H).
Weights = Mapping[str, Tensor]
Values = dict[str, Tensor]


class Trace(Protocol):
    """What a layer did with a sequence, in the sequence's order also where the layer read it backward.

    reverse: whether it read backward. inputs: (T, B, I).
    values: states, gates and what else the cell saves, (T, B, H) each by name.
    initial: the states before the first step that was read, (B, H) by name.
    After `backward`: total, dL/ds_t (T, B, H) by name; grad_initial, (B, H) by name.
    """

    reverse: bool
    inputs: Tensor
    values: Mapping[str, Tensor]
    initial: Mapping[str, Tensor]
    total: Mapping[str, Tensor]
    grad_initial: Mapping[str, Tensor]

    def before(self, name: str) -> Tensor:
        """The state before each step, (T, B, H)."""

    def backward(
        self, weights: Weights, grad: Weights, direct: Tensor | None = None,
        last: Mapping[str, Tensor] | None = None, span: tuple[int, int] | None = None,
        limit: float | None = None,
    ) -> None:  # fmt: skip
        """Run backward; the gradients of the weights are written into `grad`, tensors like the weights.

        direct: the direct terms of the loss, dL/dh_t with everything later held fixed, (T, B, H); last: such
        terms of the states after the last step that was read, (B, H) by name. What is left out is 0.
        With `span` only the steps from the first to before the second of these numbers, counted from 0 in
        the order of reading, are run through; `direct` is that of these steps alone, and what the totals hold
        for other steps is of no meaning then.
        With `limit` each element of what a step is handed by the one after it, and of `last`, is cut to
        between -limit and limit: what comes out is no longer the gradient.
        """

    def grad_inputs(self, weights: Weights, span: tuple[int, int] | None = None) -> Tensor:
        """dL/dx_t: (T, B, I), or of the steps of a span alone."""

    def grad_norms(self, name: str) -> np.ndarray:
        """(T,): the Euclidean norm of dL/ds_t over the units, averaged over the batch, in float64."""

    def grad_a(self, gate: str, recurrent: bool) -> Tensor:
        """(T, B, H): gradient of a gate's pre-activation, of its recurrent share or of the input's."""


class Layer(Protocol):
    """A cell with its sizes, ready to run."""

    cell: Cell

    def forward(
        self, weights: Weights, inputs: Tensor, initial: Mapping[str, Tensor] | None = None,
        keep: frozenset[str] | None = None,
    ) -> Trace:  # fmt: skip
        """Run over inputs (T, B, I) from initial states (B, H) by name, zeros by default.

        With `keep`, only the values that it names hold every time step afterwards, the others the last one
        that was read, (1, B, H); such a trace cannot run backward.
        """


class TorchOps:
    """What a cell's step is written in, on tensors (B, H): one step of one layer."""

    tanh = staticmethod(torch.tanh)
    sigmoid = staticmethod(torch.sigmoid)
    relu = staticmethod(torch.relu)

    def __init__(self, cell: Cell, weights: Weights, a_x: Tensor | None = None) -> None:
        self.cell, self.weights = cell, weights
        self.H = len(weights["weight_hh"]) // len(cell.gates)
        self.a_x = a_x  # W_ih x_t + b_ih, (B, G*H)

    def where_positive(self, h: Tensor, a: Tensor) -> Tensor:
        return torch.where(h > 0, a, 0.0)

    def input(self, gate: str) -> Tensor:
        assert self.a_x is not None
        return self.a_x[..., self._rows((gate,))]

    def product(self, number: int, operand: Tensor) -> tuple[Tensor, ...]:
        gates = self.cell.products[number].gates
        rows = self._rows(gates)
        a_h = operand @ self.weights["weight_hh"][rows].T + self.weights["bias_hh"][rows]
        shares = zip(gates, a_h.chunk(len(gates), -1), strict=True)
        return tuple(a if gate in self.cell.apart else a + self.input(gate) for gate, a in shares)

    def product_backward(self, number: int, grad: tuple[Tensor, ...]) -> Tensor:
        rows = self._rows(self.cell.products[number].gates)
        return torch.cat(grad, -1) @ self.weights["weight_hh"][rows]

    def _rows(self, gates: Sequence[str]) -> slice:
        first = self.cell.gates.index(gates[0])
        return slice(first * self.H, (first + len(gates)) * self.H)


def peepholes(cell: Cell, weights: Weights) -> SimpleNamespace:
    """The peephole vectors by name."""
    return SimpleNamespace(**{name: weights["weight_peephole"][k] for k, name in enumerate(cell.peepholes)})


def unroll(
    cell: Cell, weights: Weights, inputs: Tensor, initial: Mapping[str, Tensor] | None = None
) -> Iterator[Values]:
    """Run a cell over inputs (T, B, I), step by step: the values (B, H) of each, by name.

    Differentiable by autograd when the weights require gradients.
    """
    _, B, _ = inputs.shape
    zero = inputs.new_zeros((B, weights["weight_hh"].shape[1]))
    state = dict(initial) if initial is not None else {name: zero for name in cell.states}
    a_x = inputs @ weights["weight_ih"].T + weights["bias_ih"]  # (T, B, G*H), all time steps at once
    p = peepholes(cell, weights)
    for a in a_x:
        now = cell.forward(TorchOps(cell, weights, a), SimpleNamespace(**state), p)
        state = {name: now[name] for name in cell.states}
        yield now


class TorchLayer:
    """The reference: `unroll`, and its way back one operation after the other."""

    def __init__(self, cell: Cell, inputs: int, hidden: int, precision: str, reverse: bool = False) -> None:
        self.cell, self.reverse = cell, reverse

    @torch.no_grad()
    def forward(
        self, weights: Weights, inputs: Tensor, initial: Mapping[str, Tensor] | None = None,
        keep: frozenset[str] | None = None,
    ) -> TorchTrace:  # fmt: skip
        return TorchTrace(self, weights, inputs, initial, keep)


class TorchTrace:
    """See `Trace`."""

    def __init__(
        self, layer: TorchLayer, weights: Weights, inputs: Tensor, initial: Mapping[str, Tensor] | None,
        keep: frozenset[str] | None,
    ) -> None:  # fmt: skip
        self.cell, self.inputs, self.reverse = layer.cell, inputs, layer.reverse
        kept: dict[str, list[Tensor]] = {name: [] for name in self.cell.values}
        for now in unroll(self.cell, weights, self._in_order_of_reading(inputs), initial):
            for name, values in kept.items():
                if keep is not None and name not in keep:
                    values.clear()
                values.append(now[name])
        self.values: Mapping[str, Tensor] = {
            name: self._in_order_of_reading(torch.stack(values)) if len(values) > 1 else values[0][None]
            for name, values in kept.items()
        }
        zero = torch.zeros_like(self.values["h"][0])
        self.initial: Mapping[str, Tensor] = (
            dict(initial) if initial is not None else {name: zero for name in self.cell.states}
        )
        self.total: Mapping[str, Tensor] = {}
        self.grad_initial: Mapping[str, Tensor] = {}
        self._grad_a: dict[bool, dict[str, Tensor]] = {}

    def _in_order_of_reading(self, values: Tensor) -> Tensor:
        """(T, ...) from the sequence's order to that of reading, or back."""
        return values.flip(0) if self.reverse else values

    def before(self, name: str) -> Tensor:
        first, rest = self.initial[name][None], self.values[name]
        return torch.cat([rest[1:], first]) if self.reverse else torch.cat([first, rest[:-1]])

    @torch.no_grad()
    def backward(
        self, weights: Weights, grad: Weights, direct: Tensor | None = None,
        last: Mapping[str, Tensor] | None = None, span: tuple[int, int] | None = None,
        limit: float | None = None,
    ) -> None:  # fmt: skip
        cell, T = self.cell, len(self.inputs)
        read = range(T - 1, -1, -1) if self.reverse else range(T)
        through = read if span is None else read[slice(*span)]
        earliest = min(through)
        before = {name: self.before(name) for name in cell.states}
        zero = torch.zeros_like(self.initial["h"])
        carried = {**{name: zero for name in cell.states}, **(last or {})}
        total: dict[str, list[Tensor]] = {name: [] for name in cell.states}
        grad_a: dict[bool, dict[str, list[Tensor]]] = {
            side: {g: [] for g in cell.gates} for side in (False, True)
        }
        peephole = {name: zero for name in cell.peepholes}
        ops, p = TorchOps(cell, weights), peepholes(cell, weights)
        for t in reversed(through):
            if limit is not None:
                carried = {name: values.clamp(-limit, limit) for name, values in carried.items()}
            step = cell.backward(
                ops,
                SimpleNamespace(**{name: values[t] for name, values in self.values.items()}),
                SimpleNamespace(**{name: values[t] for name, values in before.items()}),
                SimpleNamespace(
                    **{
                        **carried,
                        "h": carried["h"] if direct is None else carried["h"] + direct[t - earliest],
                    }
                ),
                p,
            )
            carried = dict(step.before)
            for name in cell.states:
                total[name].append(step.total[name])
            for gate in cell.gates:
                grad_a[False][gate].append(step.a[gate])
                grad_a[True][gate].append(step.apart.get(gate, step.a[gate]))
            peephole = {name: peephole[name] + step.peephole[name] for name in peephole}
        if not self.reverse:
            for values in (*total.values(), *grad_a[False].values(), *grad_a[True].values()):
                values.reverse()
        self.total = {name: self._placed(values, earliest) for name, values in total.items()}
        self._grad_a = {
            side: {gate: self._placed(values, earliest) for gate, values in sides.items()}
            for side, sides in grad_a.items()
        }
        self.grad_initial = carried
        self._add_up(grad)
        for k, name in enumerate(cell.peepholes):
            grad["weight_peephole"][k] = peephole[name].sum(0)

    def _placed(self, values: Sequence[Tensor], first: int) -> Tensor:
        """Steps from `first` on, in the order of the sequence, as (T, B, H); 0 where there is none."""
        stacked = torch.stack(list(values))
        if len(stacked) == len(self.inputs):
            return stacked
        whole = stacked.new_zeros(len(self.inputs), *stacked.shape[1:])
        whole[first : first + len(stacked)] = stacked
        return whole

    def _add_up(self, grad: Weights) -> None:
        """Gradients of matrices and biases, from those of the pre-activations."""
        a_x, a_h = self._joined(False), self._joined(True)  # (T, B, G*H)
        grad["weight_ih"].copy_(_sum_over_time(a_x, self.inputs))
        grad["bias_ih"].copy_(a_x.sum((0, 1)))
        grad["bias_hh"].copy_(a_h.sum((0, 1)))
        H, row = self.initial["h"].shape[-1], 0
        for product in self.cell.products:
            operand = self.before("h") if product.operand == "h" else self.values[product.operand]
            rows = slice(row, row + len(product.gates) * H)
            grad["weight_hh"][rows] = _sum_over_time(a_h[..., rows], operand)
            row = rows.stop

    def _joined(self, recurrent: bool) -> Tensor:
        return torch.cat([self._grad_a[recurrent][gate] for gate in self.cell.gates], -1)

    def grad_inputs(self, weights: Weights, span: tuple[int, int] | None = None) -> Tensor:
        T = len(self.inputs)
        start, stop = span or (0, T)
        steps = slice(T - stop, T - start) if self.reverse else slice(start, stop)
        return self._joined(False)[steps] @ weights["weight_ih"]

    def grad_norms(self, name: str) -> np.ndarray:
        norms: np.ndarray = self.total[name].double().norm(dim=-1).mean(-1).numpy()
        return norms

    def grad_a(self, gate: str, recurrent: bool) -> Tensor:
        return self._grad_a[recurrent][gate]


def _sum_over_time(grad_a: Tensor, operand: Tensor) -> Tensor:
    """sum over t and batch of grad_a_t^T operand_t: (T, B, M) and (T, B, N) to (M, N)."""
    return grad_a.flatten(0, 1).T @ operand.flatten(0, 1)
