"""Arithmetic on flat vectors, the parameters and what is shaped like them, by either kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .optimizers import Optimizer


def squares(kernel: str, vector: Tensor, borders: Sequence[int] = ()) -> list[float]:
    """The sums of a contiguous vector's squares, of each piece between the borders.

    In float64: squares of small or large float32 numbers leave its range.
    """
    if kernel == "compiled":
        sums: list[float] = _compiled().squares(vector, borders)
        return sums
    edges = (0, *borders, len(vector))
    return [float(vector[a:b].double().square().sum()) for a, b in pairwise(edges)]


def norm(kernel: str, vector: Tensor) -> float:
    """The Euclidean norm, in float64."""
    return math.sqrt(squares(kernel, vector)[0])


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """Imported when it is needed first, and not looked for at every step."""
    from .kernels import flat

    return flat


def update(
    kernel: str, rule: Optimizer, parameters: Tensor, grad: Tensor, slots: dict[str, Tensor],
    learning_rate: float, step: int,
) -> float:  # fmt: skip
    """Take an optimizer's step in place; `step` counts from 1.

    Returns the sum of the squares of what was added to the parameters, in float64.
    """
    if kernel == "compiled":
        moved: float = _compiled().update(rule, parameters, grad, slots, learning_rate, step)
        return moved
    before = parameters.clone()
    memory = SimpleNamespace(**slots)
    ops: Any = torch
    delta, new = rule.update(ops, grad, memory, rule.coefficients(learning_rate, step))
    parameters.add_(delta)
    for name, value in new.items():
        slots[name].copy_(value)
    return squares(kernel, parameters.double() - before.double())[0]
