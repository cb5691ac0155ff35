"""What the gates and units of a network do while it reads: how many are saturated, how many are dead.

A gate is saturated where its nonlinearity is nearly flat, so that hardly any gradient passes. For sigmoids
the limits are those of Karpathy, Johnson & Fei-Fei, Visualizing and understanding recurrent networks (2015):
below 0.1 or above 0.9, where the slope has fallen to 36 % of its largest. tanh counts beyond 0.9 on either
side, where 19 % are left. ReLU and linear units have no such ends.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..cells import Cell, Step
from .spectrum import jacobian_times

PROBES = 32  # sequences that are watched, the first of the validation batch
SIGMOID_LOW, SIGMOID_HIGH = 0.1, 0.9
TANH_LIMIT = 0.9
STILL = 1e-6  # a unit that moves less than this over all that it reads tells the readout nothing
BLOCK_NUMBERS = 2**22  # values kept at once, so that long sequences do not fill the memory


class Probe:
    """Watches the first PROBES sequences of a forward pass; `see` is made for `Network.evaluate`.

    After the pass `saturated` and `dead` are known, and `jacobian_steps` holds the steps of the first
    sequence, (1, H) each, at which the step Jacobian is taken. T is the number of time steps.
    """

    def __init__(self, cell: Cell, T: int) -> None:
        self.jacobian_steps: list[Step] = []
        self._states = len(cell.states)
        self._T = T
        self._activations = cell.activations
        self._kept: list[Tensor] = []  # h and the gates, (1 + G, B', H), B' of the sequences
        self._saturated, self._gate_values = 0.0, 0
        self._lowest = self._highest = torch.empty(0)  # (H,), the range of each unit so far

    def see(self, first: int, t: int, step: Step) -> None:
        """One time step t, from 0, of the sequences from number `first` on."""
        take = PROBES - first
        if take <= 0:
            return
        if t == 0:
            self._count()  # another part of the batch may have another size
        h = step.state[0]
        if first == 0 and t in jacobian_times(self._T, self._states * h.shape[1]):
            self.jacobian_steps.append(_first_sequence(step))
        # Stacked, hence copied: views would keep the whole batch in memory.
        self._kept.append(torch.stack([values[:take] for values in (h, *step.gates)]))
        if len(self._kept) * self._kept[0].numel() >= BLOCK_NUMBERS:
            self._count()

    def saturated(self) -> float:
        """Share of saturated values over gates, units, time and sequences; NaN where none can be."""
        self._count()
        return self._saturated / self._gate_values if self._gate_values else math.nan

    def dead(self) -> float:
        """Share of hidden units that move by less than STILL over all time steps of all sequences."""
        self._count()
        moved = self._highest - self._lowest
        known = len(moved) and not bool(moved.isnan().any())
        return float((moved < STILL).double().mean()) if known else math.nan

    def _count(self) -> None:
        """Add up what was kept and let it go."""
        if not self._kept:
            return
        hidden, *gates = torch.stack(self._kept).unbind(1)  # (T', B', H) each
        rows = hidden.flatten(0, 1)  # (T' * B', H)
        low, high = rows.amin(0), rows.amax(0)  # (H,); quicker than aminmax
        if len(self._lowest):
            low, high = torch.minimum(low, self._lowest), torch.maximum(high, self._highest)
        self._lowest, self._highest = low, high
        for activation, gate in zip(self._activations, gates, strict=True):
            values = gate.numpy()  # comparing and counting is NumPy's strength
            if activation == "sigmoid":
                flat = np.count_nonzero((values < SIGMOID_LOW) | (values > SIGMOID_HIGH))
            elif activation == "tanh":
                flat = np.count_nonzero(np.abs(values) > TANH_LIMIT)
            else:
                continue
            unknown = math.nan if bool(gate.sum().isnan()) else 0.0  # bounded values: no other way to NaN
            self._saturated += flat + unknown
            self._gate_values += values.size
        self._kept = []


def _first_sequence(step: Step) -> Step:
    """The same step with the first sequence alone, (1, H) each, in memory of its own."""
    return Step(*(tuple(part[:1].clone() for part in parts) for parts in step))
