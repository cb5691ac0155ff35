"""What an initialization makes of differences, before anything is trained.

The eigenvalues and singular values of the recurrent matrix, and how ds_t/ds_0 grows or fades over the time
steps of real sequences: the product of the step Jacobians, through which every gradient has to go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ..cells import CELLS
from ..step import repeatable
from ..tasks import TASKS
from .orbits import Floats, orbit
from .separation import TASK, jacobians, recurrent

SEQUENCES = 3  # of the task, over which the norms are averaged
TIMES = 26  # time steps at which the largest singular value of a product is taken
_STREAM = 0x0B18


@dataclass(frozen=True)
class Beginning:
    """One untrained network.

    eigenvalues: (H,) and singular: (H,) of the recurrent matrix, the largest first; times: (N,) time steps;
    norms: (N,) log10 of the largest singular value of ds_t/ds_0, its mean over the sequences; -inf for 0.
    """

    eigenvalues: NDArray[np.complex128]
    singular: Floats
    times: NDArray[np.int64]
    norms: Floats


@lru_cache(maxsize=64)
@repeatable()
def beginning(
    initialization: str, cell: str, hidden: int, T: int, gain: float = 1.0, seed: int = 0
) -> Beginning:
    """A plain cell's network under an initialization, on sequences of the adding task from a state of 0."""
    weights = recurrent(cell, hidden, initialization, gain, seed)
    W = weights["weight_hh"]
    rng = np.random.default_rng([_STREAM, seed])
    inputs = torch.from_numpy(TASKS[TASK].sample(rng, T, SEQUENCES).inputs.astype(np.float64))  # (T, B, I)
    times = np.unique(np.linspace(0, T, TIMES).round().astype(np.int64))
    zero = torch.zeros(1, hidden, dtype=torch.float64)
    logs = []
    for b in range(SEQUENCES):
        trace = orbit(cell, weights, {name: zero for name in CELLS[cell].states}, T, inputs[:, b : b + 1])
        product, log_scale = torch.eye(hidden * len(CELLS[cell].states), dtype=torch.float64), [0.0]
        kept = [product]
        for t, J in enumerate(jacobians(CELLS[cell], weights, trace), start=1):
            product = J @ product
            size = float(product.abs().max())
            scale = size if size > 0 and np.isfinite(size) else 1.0
            product = product / scale
            log_scale.append(log_scale[-1] + float(np.log(scale)))
            if t in times:
                kept.append(product)
        largest = torch.linalg.svdvals(torch.stack(kept))[:, 0].numpy()  # (N,)
        with np.errstate(divide="ignore"):
            logs.append(np.log(largest) + np.array(log_scale)[times])
    mean = np.logaddexp.reduce(np.array(logs), axis=0) - np.log(SEQUENCES)
    values = torch.linalg.eigvals(W).numpy()
    order = np.argsort(-np.abs(values), kind="stable")
    return Beginning(values[order], torch.linalg.svdvals(W).numpy(), times, mean / np.log(10.0))
