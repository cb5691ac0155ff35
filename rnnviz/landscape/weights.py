"""Parameters in whatever form somebody has them, as one flat vector."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load
from torch import nn

from ..network import Network

Shapes = Mapping[str, tuple[int, ...]]


def vector_of(
    weights: Any, shapes: Shapes, what: str, besides: Collection[str] = (), partial: bool = False
) -> np.ndarray:
    """(P,) in float64, in the order of `shapes`.

    weights: arrays or tensors by name, such as a state_dict; a safetensors file as bytes; a module or a
    `Network`; or a flat vector. what: the name of the argument, for messages. besides: names that may be
    there and are left out. partial: what is missing is 0.

    Raises ValueError, one sentence, for anything else.
    """
    if isinstance(weights, Network):
        weights = weights.flat
    elif isinstance(weights, nn.Module):
        weights = weights.state_dict()
    elif isinstance(weights, bytes):
        weights = load(weights)
    if isinstance(weights, Mapping):
        return _by_name(weights, shapes, what, besides, partial)
    size = sum(math.prod(shape) for shape in shapes.values())
    vector = _array(weights, what)
    if vector.shape != (size,):
        raise ValueError(f"{what}: got the shape {vector.shape}; a vector of all parameters has ({size},).")
    return vector


def _by_name(
    weights: Mapping[str, Any], shapes: Shapes, what: str, besides: Collection[str], partial: bool
) -> np.ndarray:
    strange = [name for name in weights if name not in shapes and name not in besides]
    if strange:
        raise ValueError(f"{what}: no parameter is called {strange[0]!r}; there are {', '.join(shapes)}.")
    pieces = []
    for name, shape in shapes.items():
        if name not in weights and partial:
            pieces.append(np.zeros(math.prod(shape)))
            continue
        if name not in weights:
            raise ValueError(f"{what}: {name} is missing.")
        array = _array(weights[name], f"{what}: {name}")
        if array.shape != shape:
            raise ValueError(f"{what}: {name}: got the shape {array.shape}; {shape} is needed.")
        pieces.append(array.ravel())
    return np.concatenate(pieces)


def _array(values: Any, what: str) -> np.ndarray:
    """In float64."""
    try:
        if isinstance(values, torch.Tensor):  # NumPy has no bfloat16
            return values.detach().double().cpu().numpy()
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        kind = type(values).__name__
        raise ValueError(f"{what}: got a {kind}; numbers are needed, by name or as one vector.") from None
