"""Inside a cell: all numbers of one time step, in float64, with gates held at a value where one wants that.

A network for one step is drawn by a seed; of a trained one, a layer's step in a sequence is taken. What a
gate is held at holds in every unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..bptt import Weights, unroll
from ..cells import CELLS, Cell
from .held import HeldCell
from .moment import Moment
from .traced import traced_step

#: Weights of the small network are uniform over -1 to 1, times this.
SPREAD = 1.2


@dataclass(frozen=True)
class Shares:
    """What a gate's pre-activation is the sum of, (H,) each; a peephole that is not there is 0."""

    input: np.ndarray  # W_ih x_t
    recurrent: np.ndarray  # W_hh times h_{t-1}, or what stands in its place
    bias_ih: np.ndarray
    bias_hh: np.ndarray
    peephole: np.ndarray


@dataclass(frozen=True)
class Inside:
    """One step. values: see `traced_step`, (H,) each; held: the gates that were held."""

    start: Start
    values: Mapping[str, np.ndarray]
    shares: Mapping[str, Shares]
    held: Mapping[str, float]

    @property
    def cell(self) -> Cell:
        return self.start.cell

    @property
    def x(self) -> np.ndarray:
        """The input (I,)."""
        found: np.ndarray = self.start.x.numpy()
        return found

    @property
    def units(self) -> int:
        return len(self.values["h"])

    def before_gate(self, gate: str) -> np.ndarray:
        """A gate's pre-activation (H,): what its nonlinearity is given."""
        memory = {"before": "c_before", "now": "c"}.get(self.cell.peepholes.get(gate, ""))
        if memory is not None:
            return self.values[f"a_{gate} + p_{gate} * {memory}"]
        if gate in self.cell.apart:
            return self.values[f"a_x{gate} + r * a_h{gate}"]
        return self.values[f"a_{gate}"]

    def at(self, unit: int) -> dict[str, float]:
        """The numbers of one unit; with "input_f", "recurrent_f" and "bias_f", both biases, for each gate."""
        numbers = {name: float(values[unit]) for name, values in self.values.items()}
        for gate, shares in self.shares.items():
            numbers[f"input_{gate}"] = float(shares.input[unit])
            numbers[f"recurrent_{gate}"] = float(shares.recurrent[unit])
            numbers[f"bias_{gate}"] = float(shares.bias_ih[unit] + shares.bias_hh[unit])
        return numbers


@dataclass(frozen=True)
class Start:
    """Where a step begins: the layer's weights, the input (I,) and the states (H,) before it, in float64."""

    cell: Cell
    weights: Weights
    x: Tensor
    before: Mapping[str, Tensor]

    def changed(self, unit: int, **states: float) -> Start:
        """With other states of one unit."""
        before = {name: values.clone() for name, values in self.before.items()}
        for name, value in states.items():
            before[name][unit] = value
        return replace(self, before=before)


def look(start: Start, held: Mapping[str, float] | None = None) -> Inside:
    """All numbers of a step. Raises ValueError, one sentence, for a held gate that the cell has not."""
    cell, weights, held = start.cell, start.weights, dict(held or {})
    _check(cell, held)
    before = {name: values[None] for name, values in start.before.items()}
    found, multiplied = traced_step(cell, weights, start.x[None], before, held)
    return Inside(
        start, {name: value[0].numpy() for name, value in found.items()},
        _shares(start, {k: value[0] for k, value in multiplied.items()}, found), held,
    )  # fmt: skip


def small_start(name: str, units: int, inputs: int, seed: int, x: tuple[float, ...]) -> Start:
    """A small network and the states before a step, drawn by a seed; x: its input, at least `inputs` long.

    What two cells have in common, a gate's weights or a state, is the same in both.
    """
    cell = CELLS[name]

    def drawn(what: str, *shape: int) -> Tensor:
        generator = np.random.default_rng([seed, *what.encode()])
        return torch.from_numpy(SPREAD * generator.uniform(-1, 1, shape))

    weights = {
        "weight_ih": torch.cat([drawn(f"ih {g}", units, inputs) for g in cell.gates]),
        "weight_hh": torch.cat([drawn(f"hh {g}", units, units) for g in cell.gates]),
        "bias_ih": torch.cat([drawn(f"bias_ih {g}", units) / 2 for g in cell.gates]),
        "bias_hh": torch.cat([drawn(f"bias_hh {g}", units) / 2 for g in cell.gates]),
    }
    if cell.peepholes:
        weights["weight_peephole"] = torch.stack([drawn(f"peephole {g}", units) for g in cell.peepholes])
    before = {state: drawn(f"before {state}", units) / SPREAD for state in cell.states}
    return Start(cell, weights, torch.tensor(x[:inputs], dtype=torch.float64), before)


def start_of(
    moment: Moment, t: int, sequence: int = 0, layer: int = 0, direction: int = 0, part: int = 0,
    held: Mapping[str, float] | None = None,
) -> Start:  # fmt: skip
    """The start of step t, from 0, of a layer with one sequence of the moment's batch, computed in float64.

    held: gates that were held in all steps read before it as well.
    """
    network = moment.network
    trace = moment.trace(layer, direction, part)
    with torch.no_grad():
        weights = {
            name: values.detach().double() for name, values in network.weights(layer, direction, part).items()
        }
        inputs = trace.inputs[:, sequence : sequence + 1].double()
        state = {name: values[sequence : sequence + 1].double() for name, values in trace.initial.items()}
        read = inputs[t + 1 :].flip(0) if trace.reverse else inputs[:t]
        cell = network.cell
        if held:
            _check(cell, held)
            H = weights["weight_hh"].shape[1]
            full = {name: torch.full((H,), value, dtype=torch.float64) for name, value in held.items()}
            cell = HeldCell(cell, full)  # type: ignore[assignment]
        for now in unroll(cell, weights, read, state):
            state = {name: now[name] for name in cell.states}
    return Start(network.cell, weights, inputs[t, 0], {name: values[0] for name, values in state.items()})


def steps_of(moment: Moment, layer: int = 0, direction: int = 0, part: int = 0) -> int:
    """How many steps a recurrent part of a network reads."""
    return len(moment.trace(layer, direction, part).inputs)


def candidate(cell: Cell) -> str | None:
    """The gate that is no gate but what a cell would write; None in a plain cell."""
    if len(cell.gates) == 1:
        return None
    return next(g for g, phi in zip(cell.gates, cell.activations, strict=True) if phi == "tanh")


def plain_at(cell: Cell) -> dict[str, float]:
    """What to hold the gates at so that nothing is kept, and all that is new is written and shown."""
    new = candidate(cell)
    return {
        gate: 0.0 if cell.memory_gates.get(gate) == 1 else 1.0
        for gate in cell.gates
        if new is not None and gate != new
    }


def plain_twin(start: Start) -> np.ndarray:
    """h_t (H,) of the registered tanh cell with the weights of the candidate, from the same x and h_{t-1}."""
    cell, new = start.cell, candidate(start.cell)
    assert new is not None, f"{cell.label} has no candidate"
    H = start.weights["weight_hh"].shape[1]
    first = cell.gates.index(new) * H
    weights = {
        name: values[first : first + H]
        for name, values in start.weights.items()
        if name != "weight_peephole"
    }  # fmt: skip
    return look(Start(CELLS["tanh"], weights, start.x, {"h": start.before["h"]})).values["h"]


def _shares(start: Start, multiplied: Mapping[int, Tensor], found: Mapping[str, Tensor]) -> dict[str, Shares]:
    cell, w = start.cell, start.weights
    H = w["weight_hh"].shape[1]
    operands = {g: multiplied[k] for k, product in enumerate(cell.products) for g in product.gates}
    shares = {}
    for k, gate in enumerate(cell.gates):
        rows = slice(k * H, (k + 1) * H)
        memory = {"before": "c_before", "now": "c"}.get(cell.peepholes.get(gate, ""))
        peephole = np.zeros(H) if memory is None else found[f"p_{gate} * {memory}"][0].numpy()
        shares[gate] = Shares(
            (w["weight_ih"][rows] @ start.x).numpy(), (w["weight_hh"][rows] @ operands[gate]).numpy(),
            w["bias_ih"][rows].numpy(), w["bias_hh"][rows].numpy(), peephole,
        )  # fmt: skip
    return shares


def _check(cell: Cell, held: Mapping[str, float]) -> None:
    gates = cell.gates if len(cell.gates) > 1 else ()
    for name in held:
        if name not in gates:
            there = ", ".join(gates) or "none"
            raise ValueError(f"held: {name!r} is not a gate of {cell.label}; its gates: {there}.")


__all__ = [
    "Inside", "Shares", "Start", "candidate", "look", "plain_at", "plain_twin", "small_start", "start_of",
    "steps_of",
]  # fmt: skip
