"""What the gates and units of a network do while it reads: how many are saturated, how many are dead.

A gate is saturated where its nonlinearity is nearly flat, so that hardly any gradient passes. For sigmoids
the limits are those of Karpathy, Johnson & Fei-Fei, Visualizing and understanding recurrent networks (2015):
below 0.1 or above 0.9, where the slope has fallen to 36 % of its largest. tanh counts beyond 0.9 on either
side, where 19 % are left. ReLU and linear units have no such ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..bptt import Trace
from ..cells import Cell

PROBES = 32  # sequences that are watched, the first of the validation batch
SIGMOID_LOW, SIGMOID_HIGH = 0.1, 0.9
TANH_LIMIT = 0.9
STILL = 1e-6  # a unit that moves less than this over all that it reads tells the next layer nothing


def activity(cell: Cell, traces: Sequence[Sequence[Trace]]) -> tuple[float, float]:
    """(saturated, dead) over all layers and directions.

    saturated: share of the gate values, over gates, units, time and sequences; NaN where none can be.
    dead: share of the hidden units that move by less than STILL over all time steps of all sequences; NaN
    where a state is not a number.
    """
    flat, count = 0.0, 0
    still: list[np.ndarray] = []
    for trace in (trace for directions in traces for trace in directions):
        for gate, nonlinearity in zip(cell.gates, cell.activations, strict=True):
            values = trace.values[gate].numpy()  # comparing and counting is NumPy's strength
            if nonlinearity == "sigmoid":
                outside = (values < SIGMOID_LOW) | (values > SIGMOID_HIGH)
            elif nonlinearity == "tanh":
                outside = np.abs(values) > TANH_LIMIT
            else:
                continue
            unknown = math.nan if np.isnan(values.sum()) else 0.0  # bounded values: no other way to NaN
            flat += np.count_nonzero(outside) + unknown
            count += values.size
        h = trace.values["h"].numpy()  # (T, B, H)
        moved = h.max((0, 1)) - h.min((0, 1))
        still.append(np.where(np.isnan(moved), np.nan, moved < STILL))
    return (flat / count if count else math.nan), float(np.mean(still))
