"""Compiled code on flat vectors of torch: see `updates`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..optimizers import OPTIMIZERS, Optimizer
from . import machine


def squares(vector: Tensor, borders: Sequence[int] = ()) -> list[float]:
    """The sums of a contiguous vector's squares, in float64, of each piece between the borders."""
    run, size, start = _functions(vector.dtype)["squares"], vector.element_size(), vector.data_ptr()
    sums, first = [], 0
    for border in (*borders, len(vector)):
        out = ctypes.c_double()
        run(start + first * size, border - first, ctypes.addressof(out))
        sums.append(out.value)
        first = border
    return sums


def update(
    rule: Optimizer, parameters: Tensor, grad: Tensor, slots: dict[str, Tensor], learning_rate: float,
    step: int,
) -> float:  # fmt: skip
    """Take one step in place; returns the sum of the squares of what was added, in float64."""
    numbers = (0.0, *rule.coefficients(learning_rate, step))
    out = (ctypes.c_double * len(numbers))(*numbers)
    address = ctypes.addressof(out)
    vectors = (parameters, grad, *(slots[name] for name in rule.slots))
    _functions(parameters.dtype)[f"update_{rule.name}"](
        *(v.data_ptr() for v in vectors), len(parameters), address + 8, address
    )
    return out[0]


_FUNCTIONS: dict[torch.dtype, dict[str, Callable[..., None]]] = {}


def _functions(dtype: torch.dtype) -> dict[str, Callable[..., None]]:
    if dtype not in _FUNCTIONS:
        names = {"squares": 3, **{f"update_{rule.name}": 5 + len(rule.slots) for rule in OPTIMIZERS.values()}}
        _FUNCTIONS[dtype] = machine.load("flat", str(dtype).removeprefix("torch."), names)
    return _FUNCTIONS[dtype]
