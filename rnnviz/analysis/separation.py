"""Two neighbours under the same network: how fast do they part, and does a random network fall silent?

The average growth of a small difference per step, as a logarithm, is the largest Lyapunov exponent: below 0
differences vanish, above 0 neighbours part, which is chaos where the states stay bounded. A random tanh
network without input turns from one to the other at the gain 1 (Sompolinsky, Crisanti & Sommers 1988).
States of gated cells are all of them joined, (h, c) for an LSTM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..bptt import Trace, Weights
from ..cells import CELLS, Cell
from ..experiment import Experiment
from ..initialization import INITIALIZATIONS
from ..network import Network
from ..step import repeatable
from .orbits import PRECISION, Floats, orbit, path
from .spectrum import step_jacobians

TASK = "adding"  # whose two inputs the networks have: a number and a mark
JACOBIAN_ROWS = 4096  # at once: bounds the memory of a long sequence of large Jacobians
_STREAM = 0x0B17  # first word of the seeds here: apart from those of weights and data


def recurrent(cell: str, hidden: int, initialization: str, gain: float = 1.0, seed: int = 0) -> Weights:
    """First weights of one layer as training would draw them, in float64; no gain where there is none."""
    own = gain if INITIALIZATIONS[initialization].uses_gain else 1.0
    experiment = Experiment(
        task=TASK, cell=cell, hidden=hidden, initialization=initialization, gain=own, seed=seed,
        precision=PRECISION,
    )  # fmt: skip
    return Network(experiment).weights()


def somewhere(cell: Cell, hidden: int, seed: int) -> tuple[Floats, Floats]:
    """A random state, standard normal, and a random direction of length 1: (S,) each."""
    rng = np.random.default_rng([_STREAM, seed, 0])
    size = hidden * len(cell.states)
    state, direction = rng.standard_normal(size), rng.standard_normal(size)
    return state, direction / np.linalg.norm(direction)


def noise(T: int, inputs: int, seed: int) -> Tensor:
    """Standard normal inputs for one sequence: (T, 1, I)."""
    return torch.from_numpy(np.random.default_rng([_STREAM, seed, 1]).standard_normal((T, 1, inputs)))


def jacobians(cell: Cell, weights: Weights, trace: Trace, first: int = 0) -> Iterator[Tensor]:
    """The step Jacobians of the first sequence in order of time, (S, S) each, from step `first` on."""
    T, size = len(trace.inputs), weights["weight_hh"].shape[1] * len(cell.states)
    most = max(1, JACOBIAN_ROWS // size)
    for start in range(first, T, most):
        yield from step_jacobians(cell, weights, trace, range(start, min(T, start + most)))


def stretched(cell: Cell, weights: Weights, trace: Trace, direction: Floats, first: int = 0) -> Floats:
    """ln of what the product of the step Jacobians makes of a direction of length 1: (T - first + 1,).

    It begins with 0, before the step `first`. The direction is made as long as 1 again at each step, so
    nothing leaves the range of numbers; -inf from where a step lets nothing of it pass.
    """
    u = torch.from_numpy(direction)
    logs = [0.0]
    for J in jacobians(cell, weights, trace, first):
        u = J @ u
        length = float(u.norm())
        with np.errstate(divide="ignore"):
            logs.append(logs[-1] + float(np.log(length)))
        u = u / length if length > 0 else u
    return np.array(logs)


def exponent(log_lengths: Floats, warm_up: int = 0) -> float:
    """The largest Lyapunov exponent per step, from `stretched`, after the first `warm_up` steps."""
    return float((log_lengths[-1] - log_lengths[warm_up]) / (len(log_lengths) - 1 - warm_up))


@dataclass(frozen=True)
class Separation:
    """Two trajectories of one network from almost the same start.

    distance: (T + 1,) Euclidean distance of the two, all states joined; predicted: (T + 1,) log10 of the same
    by the product of the first one's step Jacobians, which holds while the distance is small; size: (T + 1,)
    root mean square of the first one's states; states: (T + 1, S) the first one; growth: factor per step of
    a small difference, from the Jacobians over all T steps.
    """

    distance: Floats
    predicted: Floats
    size: Floats
    states: Floats
    growth: float


@repeatable()  # and threads that wait for each other would take many times as long on a busy machine
def separation(
    cell: str, weights: Weights, epsilon: float, T: int, seed: int = 0, noisy: bool = False
) -> Separation:
    """Run a network twice, from a random state and from `epsilon` beside it; `noisy`: both hear one noise."""
    kind, H = CELLS[cell], weights["weight_hh"].shape[1]
    state, direction = somewhere(kind, H, seed)
    both = torch.from_numpy(np.stack([state, state + epsilon * direction]))  # (2, S)
    initial = dict(zip(kind.states, both.chunk(len(kind.states), -1), strict=True))
    inputs = noise(T, weights["weight_ih"].shape[1], seed).expand(T, 2, -1) if noisy else None
    trace = orbit(cell, weights, initial, T, inputs)
    states = path(trace, kind.states)  # (T + 1, 2, S)
    logs = stretched(kind, weights, trace, direction)
    return Separation(
        distance=_length(states[:, 1] - states[:, 0]),
        predicted=np.log10(epsilon) + logs / np.log(10.0),
        size=_length(states[:, 0]) / np.sqrt(states.shape[-1]),
        states=states[:, 0],
        growth=float(np.exp(exponent(logs))),
    )


def _length(vectors: Floats) -> Floats:
    """(T, S) to (T,): Euclidean norms, also of what has no square among the numbers."""
    largest = np.abs(vectors).max(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths: Floats = largest * np.linalg.norm(vectors / largest[:, None], axis=-1)
    return np.where((largest == 0) | np.isinf(largest), largest, lengths)


@dataclass(frozen=True)
class Transition:
    """Random tanh networks of one set of random numbers at several gains.

    gains, exponents: (G,), the largest Lyapunov exponent per step, see `largest_exponent`; radius:
    the largest eigenvalue's size at gain 1, where an endless network has 1.
    """

    gains: Floats
    exponents: Floats
    radius: float


@lru_cache(maxsize=16)
def transition(hidden: int, gains: tuple[float, ...], T: int = 200, seed: int = 0) -> Transition:
    """Sweep the gain of a random tanh network without input, W ~ N(0, gain^2 / N)."""
    found = []
    for gain in gains:
        weights = recurrent("tanh", hidden, "gaussian", gain, seed)
        found.append(largest_exponent(weights, T, seed))
    unit = recurrent("tanh", hidden, "gaussian", 1.0, seed)["weight_hh"]
    radius = float(torch.linalg.eigvals(unit).abs().max())
    return Transition(np.array(gains), np.array(found), radius)


@repeatable()
def largest_exponent(weights: Weights, T: int, seed: int = 0) -> float:
    """That of a tanh network without input, from a random state, over the last two fifths of T steps.

    The first half lets the state come to where it stays, a tenth lets the direction come to the one that
    grows fastest.
    """
    cell, H = CELLS["tanh"], weights["weight_hh"].shape[1]
    state, direction = somewhere(cell, H, seed)
    trace = orbit("tanh", weights, {"h": torch.from_numpy(state)[None]}, T)
    return exponent(stretched(cell, weights, trace, direction, T // 2), T // 10)
