"""A network some of whose gates or units are held at a value, whatever they would do: what changes then?

Holding a unit's h_t at 0 takes the unit away (an ablation): neither the next step nor what reads the layer
hears of it. Holding a gate at 1 or 0 pins it open or shut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cells import Cell, Ops
from ..chain import ChainPassage
from ..experiment import Experiment
from ..network import Network
from ..tasks import TASKS, Batch

MOST_ROWS = 1024  # sequences in a pass,
MOST_BYTES = 1 << 28  # whose states take no more than this


@dataclass(frozen=True)
class Hold:
    """`name` is a gate, a candidate or "h"; unit None: every unit of that layer and direction."""

    name: str
    value: float
    unit: int | None = None
    layer: int = 0
    direction: int = 0
    part: int = 0


@dataclass(frozen=True)
class Held:
    """A pass forward with something held. outputs: (B, O), or (A, B, O) where A steps have an answer."""

    loss: float
    accuracy: float  # NaN for a task without one
    outputs: np.ndarray
    passage: ChainPassage


def held_forward(experiment: Experiment, flat: Tensor, batch: Batch, holds: Sequence[Hold] = ()) -> Held:
    """Run these parameters over a batch with `holds` in force, operation by operation in torch.

    Raises ValueError, one sentence, for a hold on something that the network does not have.
    """
    network = Network(experiment, flat, "torch")
    for hold in holds:
        _check(network, hold)
    for part, stack in enumerate(network.chain.stacks):
        for k, directions in enumerate(stack.layers):
            for d, layer in enumerate(directions):
                own = [hold for hold in holds if (hold.part, hold.layer, hold.direction) == (part, k, d)]
                if own:
                    layer.cell = HeldCell(network.cell, _values(own, experiment.hidden, flat.dtype))  # type: ignore[assignment]
    inputs, targets = network.tensors(batch)
    with torch.no_grad():
        passage = network.forward(inputs)
        outputs = network.read(network.asked(passage))
        loss = network.loss(outputs, targets)[0]
    found = outputs.double().numpy()
    accuracy = TASKS[experiment.task].accuracy(found, batch)
    return Held(loss, np.nan if accuracy is None else accuracy, found, passage)


def without_each(
    experiment: Experiment, flat: Tensor, batch: Batch, layer: int = 0, direction: int = 0, part: int = 0
) -> np.ndarray:
    """(H,): the loss without each unit of a layer in turn, its h_t held at 0, as `held_forward` gives it.

    Many units share a pass, as copies of the batch.
    """
    H, B = experiment.hidden, batch.inputs.shape[1]
    network = Network(experiment, flat, "torch")
    _check(network, Hold("h", 0.0, None, layer, direction, part))
    own = network.chain.stacks[part].layers[layer][direction]
    inputs, targets = network.tensors(batch)
    numbers = len(inputs) * H * experiment.layers * experiment.directions  # of h, of one sequence
    at_once = max(1, min(MOST_ROWS, MOST_BYTES // (numbers * flat.element_size())) // B)
    every = network.readout == "every"
    losses = np.empty(H)
    for start in range(0, H, at_once):
        units = range(start, min(start + at_once, H))
        held = torch.full((len(units) * B, H), torch.nan, dtype=flat.dtype)
        for k, unit in enumerate(units):
            held[k * B : (k + 1) * B, unit] = 0.0
        own.cell = HeldCell(network.cell, {"h": held})  # type: ignore[assignment]
        with torch.no_grad():
            passage = network.forward(inputs.repeat(1, len(units), 1), keep=frozenset({"h"}))
            outputs = network.read(network.asked(passage))
        for k, unit in enumerate(units):
            rows = slice(k * B, (k + 1) * B)
            losses[unit] = network.loss(outputs[:, rows] if every else outputs[rows], targets)[0]
    return losses


class HeldCell:
    """A cell, some of whose values are held; its way back is not that of what it does, so it has none.

    held: (H,) or (B, H) by the name of a gate or state, NaN where a unit is free.
    """

    def __init__(self, cell: Cell, held: Mapping[str, Tensor]) -> None:
        self._cell, self._held = cell, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Tensor]:
        """As `Cell.forward`."""
        found = self._cell.forward(_Ops(ops, self._held), _marked(before), _marked(p))
        return {name: _hold(self._held, name, _bare(value)) for name, value in found.items()}

    def backward(self, *_given: Any) -> Any:
        raise NotImplementedError("a cell with held values runs forward only")


@dataclass(frozen=True)
class _Marked:
    """A value on its way through a step, and the gate whose pre-activation it is a part of."""

    value: Any
    gate: str | None = None

    def __add__(self, other: Any) -> _Marked:
        return _Marked(self.value + _bare(other), self.gate or getattr(other, "gate", None))

    def __sub__(self, other: Any) -> _Marked:
        return _Marked(self.value - _bare(other), self.gate or getattr(other, "gate", None))

    def __mul__(self, other: Any) -> _Marked:
        return _Marked(self.value * _bare(other), self.gate or getattr(other, "gate", None))

    def __radd__(self, other: Any) -> _Marked:
        return _Marked(other + self.value, self.gate)

    def __rsub__(self, other: Any) -> _Marked:
        return _Marked(other - self.value, self.gate)

    def __rmul__(self, other: Any) -> _Marked:
        return _Marked(other * self.value, self.gate)


class _Ops:
    """A step's operations, in which the activation of a held gate gives what it is held at."""

    def __init__(self, ops: Ops, held: Mapping[str, Tensor]) -> None:
        self._ops, self._held = ops, held

    def sigmoid(self, a: _Marked) -> _Marked:
        return self._activated(self._ops.sigmoid(a.value), a)

    def tanh(self, a: _Marked) -> _Marked:
        return self._activated(self._ops.tanh(a.value), a)

    def relu(self, a: _Marked) -> _Marked:
        return self._activated(self._ops.relu(a.value), a)

    def _activated(self, value: Tensor, a: _Marked) -> _Marked:
        return _Marked(value if a.gate is None else _hold(self._held, a.gate, value))

    def where_positive(self, h: _Marked, a: _Marked) -> _Marked:
        return _Marked(self._ops.where_positive(h.value, a.value), a.gate)

    def input(self, gate: str) -> _Marked:
        return _Marked(self._ops.input(gate), gate)

    def product(self, number: int, operand: _Marked) -> tuple[_Marked, ...]:
        gates = self._ops.cell.products[number].gates  # type: ignore[attr-defined]
        found = self._ops.product(number, operand.value)
        return tuple(_Marked(a, gate) for a, gate in zip(found, gates, strict=True))

    def product_backward(self, number: int, grad: tuple[Any, ...]) -> Any:
        raise NotImplementedError("a cell with held values runs forward only")


def _hold(held: Mapping[str, Tensor], name: str, value: Tensor) -> Tensor:
    own = held.get(name)
    return value if own is None else torch.where(own.isnan(), value, own)


def _marked(values: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(**{name: _Marked(value) for name, value in vars(values).items()})


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, _Marked) else value


def _values(holds: Sequence[Hold], hidden: int, dtype: torch.dtype) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for hold in holds:
        own = found.setdefault(hold.name, torch.full((hidden,), torch.nan, dtype=dtype))
        own[slice(None) if hold.unit is None else hold.unit] = hold.value
    return found


def _check(network: Network, hold: Hold) -> None:
    cell, stacks = network.cell, network.chain.stacks
    names = dict.fromkeys((*cell.gates, "h"))
    if hold.name not in names:
        raise ValueError(f"hold: {hold.name!r} is not a gate of {cell.label}; it has {', '.join(names)}.")
    sizes = {
        "part": (hold.part, len(stacks)), "layer": (hold.layer, stacks[0].L),
        "direction": (hold.direction, stacks[0].D), "unit": (hold.unit or 0, stacks[0].H),
    }  # fmt: skip
    for what, (got, count) in sizes.items():
        if not 0 <= got < count:
            raise ValueError(f"hold: {what} {got} is not there; the network has 0 to {count - 1}.")


__all__ = ["Held", "HeldCell", "Hold", "held_forward", "without_each"]
