"""A cell's step with every value on its way in sight: each sum and product that `Cell.forward` makes.

The cell's own lines are run on values that remember what they were made of. So a number is found by what it
stands for, "f * c_before" or "1 - z", and is the very number that the cell went on with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..bptt import TorchOps, Weights, peepholes
from ..cells import Cell


@dataclass(frozen=True, eq=False)
class Traced:
    """A value (B, H), what it was made of, and the gate whose pre-activation it is a part of."""

    value: Any
    of: tuple[Any, ...]  # texts, and values that were traced
    gate: str | None = None
    name: str = ""  # of what enters a step; the others are called by what they are made of

    def __add__(self, other: Any) -> Traced:
        return _joined(self, " + ", other)

    def __radd__(self, other: Any) -> Traced:
        return _joined(other, " + ", self)

    def __sub__(self, other: Any) -> Traced:
        return _joined(self, " - ", other)

    def __rsub__(self, other: Any) -> Traced:
        return _joined(other, " - ", self)

    def __mul__(self, other: Any) -> Traced:
        return _joined(self, " * ", other)

    def __rmul__(self, other: Any) -> Traced:
        return _joined(other, " * ", self)


def _joined(left: Any, sign: str, right: Any) -> Traced:
    a, b = (one.value if isinstance(one, Traced) else one for one in (left, right))
    value = a + b if sign == " + " else a - b if sign == " - " else a * b
    gate = getattr(left, "gate", None) or getattr(right, "gate", None)
    return Traced(value, (left, sign, right), gate)


def _leaf(name: str, value: Tensor, gate: str | None = None) -> Traced:
    return Traced(value, (), gate, name)


class TracedOps:
    """A step's operations on traced values. A gate in `held` gives that value, in every unit.

    multiplied: what each product with weight_hh was made with, (B, H), by the number of the product.
    """

    def __init__(self, cell: Cell, weights: Weights, x: Tensor, held: Mapping[str, float]) -> None:
        self._ops = TorchOps(cell, weights, x @ weights["weight_ih"].T + weights["bias_ih"])
        self._cell, self._held = cell, held
        self.multiplied: dict[int, Tensor] = {}

    def sigmoid(self, a: Traced) -> Traced:
        return self._activated("sigmoid", torch.sigmoid, a)

    def tanh(self, a: Traced) -> Traced:
        return self._activated("tanh", torch.tanh, a)

    def relu(self, a: Traced) -> Traced:
        return self._activated("relu", torch.relu, a)

    def _activated(self, word: str, phi: Any, a: Traced) -> Traced:
        held = None if a.gate is None else self._held.get(a.gate)
        value = phi(a.value) if held is None else torch.full_like(a.value, held)
        return Traced(value, (f"{word}(", a, ")"))

    def where_positive(self, h: Traced, a: Traced) -> Traced:
        raise NotImplementedError("a traced step runs forward only")

    def product_backward(self, number: int, grad: Any) -> Any:
        raise NotImplementedError("a traced step runs forward only")

    def input(self, gate: str) -> Traced:
        return _leaf(f"a_x{gate}", self._ops.input(gate), gate)

    def product(self, number: int, operand: Traced) -> tuple[Traced, ...]:
        self.multiplied[number] = operand.value
        found = self._ops.product(number, operand.value)
        gates = self._cell.products[number].gates
        names = [f"a_h{gate}" if gate in self._cell.apart else f"a_{gate}" for gate in gates]
        return tuple(_leaf(name, a, gate) for name, a, gate in zip(names, found, gates, strict=True))


def traced_step(
    cell: Cell, weights: Weights, x: Tensor, before: Mapping[str, Tensor], held: Mapping[str, float]
) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """One step of a cell: every value that it made (B, H), by what it is, and what was multiplied.

    x: (B, I); before: the states, (B, H) each by name. "a_f" is the pre-activation of f as the product gives
    it (without a peephole; "a_xn" and "a_hn" for a gate that sees its two shares apart), "h_before" a state
    before the step, "p_f" a peephole; gates, states and what the cell saves have its names; the rest is
    written as in the code, "f * c_before".
    """
    ops = TracedOps(cell, weights, x, held)
    entering = {name: _leaf(f"{name}_before", value) for name, value in before.items()}
    p = {name: _leaf(f"p_{name}", value) for name, value in vars(peepholes(cell, weights)).items()}
    found = cell.forward(ops, SimpleNamespace(**entering), SimpleNamespace(**p))
    names: dict[int, str] = {}
    for name, one in found.items():
        names.setdefault(id(one), name)
    values = {_written(one, names): one.value for result in found.values() for one in _parts(result)}
    values |= {one.name: one.value.expand_as(found["h"].value) for one in (*entering.values(), *p.values())}
    return values | {name: one.value for name, one in found.items()}, ops.multiplied


def _parts(one: Traced) -> Iterator[Traced]:
    yield one
    for part in one.of:
        if isinstance(part, Traced):
            yield from _parts(part)


def _written(one: Traced, names: Mapping[int, str]) -> str:
    """What a value is, in the words of the code."""
    if one.name or id(one) in names:
        return one.name or names[id(one)]
    parts = []
    for part in one.of:
        if isinstance(part, Traced):
            text = _written(part, names)
            parts.append(f"({text})" if " * " in one.of and (" + " in text or " - " in text) else text)
        else:
            parts.append(part if isinstance(part, str) else f"{part:g}")
    return "".join(parts)


__all__ = ["Traced", "TracedOps", "traced_step"]
