"""Gradient descent on the error of one unit, see `cliff`, without clipping and with it.

w <- w - rate dE/dw and the same with b, with two of the rules of `rnnviz.clipping` on a gradient of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..clipping import NORM_EPSILON
from .cliff import Floats, Unit, Window, at

RULES = ("norm", "value", "none")  # of `rnnviz.clipping.CLIPPINGS`


@dataclass(frozen=True)
class Descent:
    """A path of gradient descent, up to where float64 has no number for the next place.

    w, b, error, norm: (n + 1,) the places, E there and the gradient's norm there before clipping; clipped:
    (n,) whether the step from a place was; asked: how many steps it was to make.
    """

    w: Floats
    b: Floats
    error: Floats
    norm: Floats
    clipped: NDArray[np.bool_]
    asked: int

    @property
    def steps(self) -> int:
        return len(self.clipped)

    @property
    def broken(self) -> bool:
        """Whether it came to a place with no number for E or its gradient."""
        return self.steps < self.asked or not (math.isfinite(self.error[-1]) and math.isfinite(self.norm[-1]))

    @property
    def steepest(self) -> int:
        """The step with the largest gradient among those that were made from a number."""
        return int(np.argmax(np.where(np.isfinite(self.norm), self.norm, -1.0)))

    def leaves(self, window: Window) -> int | None:
        """The first place outside a window."""
        outside = (self.w < window[0]) | (self.w > window[1]) | (self.b < window[2]) | (self.b > window[3])
        return int(np.argmax(outside)) if outside.any() else None

    @property
    def longest(self) -> tuple[int, float]:
        """The longest step: from which place, and how far in the plane of w and b. (0, 0) without a step."""
        far = np.hypot(np.diff(self.w), np.diff(self.b))
        return (int(np.argmax(far)), float(far.max())) if len(far) else (0, 0.0)


def clip(rule: str, threshold: float, grad_w: float, grad_b: float) -> tuple[float, float, bool]:
    """The gradient after a rule, and whether the rule changed it: what `rnnviz.clipping` does to tensors.

    norm: both times threshold / (norm + 1e-6) where the norm exceeds the threshold; value: each cut to the
    threshold on its own.
    """
    if rule == "norm":
        length = math.hypot(grad_w, grad_b)
        if length > threshold:
            by = threshold / (length + NORM_EPSILON)
            return grad_w * by, grad_b * by, True
    elif rule == "value":
        cut = (max(-threshold, min(threshold, grad_w)), max(-threshold, min(threshold, grad_b)))
        return *cut, cut != (grad_w, grad_b)
    elif rule != "none":
        raise ValueError(f"rule: got {rule!r}; allowed: {', '.join(RULES)}.")
    return grad_w, grad_b, False


def descend(
    unit: Unit, start: tuple[float, float], rate: float, steps: int, rule: str = "none",
    threshold: float = 1.0,
) -> Descent:  # fmt: skip
    """Gradient descent on E from a place (w, b): w <- w - rate dE/dw and the same with b, so many times.

    Raises ValueError for a rule that is none of `RULES`.
    """
    w, b = start
    places: list[tuple[float, float, float, float]] = []
    clipped: list[bool] = []
    for step in range(steps + 1):
        found = at(unit, w, b)
        length = math.hypot(found.grad_w, found.grad_b)
        places.append((w, b, found.error, length))
        if step == steps or not math.isfinite(length):
            break
        grad_w, grad_b, cut = clip(rule, threshold, found.grad_w, found.grad_b)
        after = w - rate * grad_w, b - rate * grad_b
        if not (math.isfinite(after[0]) and math.isfinite(after[1])):
            break
        (w, b) = after
        clipped.append(cut)
    at_w, at_b, error, length_there = np.array(places, dtype=np.float64).T
    return Descent(at_w, at_b, error, length_there, np.array(clipped, dtype=bool), steps)
