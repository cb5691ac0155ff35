"""One sigmoid unit that listens to itself: where it comes to rest, and when there are two such places.

h_t = sigmoid(w h_{t-1} + b). Its slope is w h (1 - h), at most w/4: up to w = 4 there is one resting place
for every b. Above, there are three while b lies between two folds (saddle-node bifurcations), the outer ones
stable and the middle one a ridge between them. Pascanu, Mikolov & Bengio (2013, section 2.2 and figure 3)
write the same unit before its sigmoid, x = w sigmoid(x) + b: the folds are at the same w and b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..cells import CELLS
from .orbits import Floats, orbit, plain_weights
from .spectrum import step_jacobians

HALVINGS = 60  # of an interval of length 1: below the spacing of float64


@dataclass(frozen=True)
class FixedPoint:
    """A state that stays where it is. slope: by how much a small difference from it is multiplied a step."""

    state: float
    slope: float

    @property
    def stable(self) -> bool:
        """Whether what starts close by comes closer."""
        return abs(self.slope) < 1.0


def folds(w: float) -> tuple[float, float] | None:
    """The two b between which there are three fixed points, the smaller one first; None up to w = 4."""
    if w <= 4.0:
        return None
    root = np.sqrt(1.0 - 4.0 / w)
    at = [(1.0 - root) / 2.0, (1.0 + root) / 2.0]  # where the slope w s (1 - s) is 1
    low, high = sorted(float(np.log(s / (1.0 - s)) - w * s) for s in at)
    return low, high


def step(w: float, b: float, states: Floats) -> Floats:
    """One step of the sigmoid cell from each of the states: (n,) to (n,)."""
    trace = orbit("sigmoid", plain_weights(np.array([[w]]), b), {"h": torch.from_numpy(states[:, None])}, 1)
    after: Floats = trace.values["h"][0, :, 0].numpy()
    return after


def slope(w: float, b: float, state: float) -> float:
    """dh_t/dh_{t-1} of one step from a state, by the cell's own backward step."""
    weights = plain_weights(np.array([[w]]), b)
    trace = orbit("sigmoid", weights, {"h": torch.full((1, 1), state, dtype=torch.float64)}, 1)
    return float(step_jacobians(CELLS["sigmoid"], weights, trace, [0])[0, 0, 0])


def fixed_points(w: float, b: float) -> list[FixedPoint]:
    """All states that stay where they are, in rising order: one, or three between the folds.

    They are bracketed by the places where the step's slope is 1, between which the distance from the diagonal
    rises or falls all the way, and found by halving.
    """
    edges = [0.0, 1.0]
    if w > 4.0:
        root = np.sqrt(1.0 - 4.0 / w)
        turning = [(np.log(s / (1.0 - s)) - b) / w for s in ((1.0 - root) / 2.0, (1.0 + root) / 2.0)]
        edges[1:1] = [float(h) for h in turning if 0.0 < h < 1.0]
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    above = step(w, b, low) - low > 0  # (n,) for each piece: on which side of the diagonal it begins
    crosses = above != (step(w, b, high) - high > 0)
    low, high, above = low[crosses], high[crosses], above[crosses]
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        same = (step(w, b, middle) - middle > 0) == above
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return [FixedPoint(float(h), slope(w, b, float(h))) for h in (low + high) / 2.0]
