"""One layer of a network as a map from state to state: what a page asks of its step Jacobians, kept together.

The states are those of one layer in one direction over one sequence; layers above and below are held as they
are. Time steps count in the order of reading.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..bptt import Trace, Weights
from ..cells import CELLS, Cell
from ..experiment import Experiment, step_memory
from ..step import repeatable
from .bracket import with_frobenius
from .jacobians import (
    Bounds,
    JacobianMap,
    bounds,
    eigenvalues,
    frobenius_map,
    lyapunov,
    read_jacobians,
    singular_values,
)
from .lags import MOST_JACOBIANS
from .moment import Moment

MOST_KEPT, MOST_BYTES = 8, 1 << 29  # of all that is kept
MOST_TIMES = 48  # time steps at which singular values are taken: a picture needs no more
MOST_SPECTRA = 4e9  # S^3 T of a sequence whose spectra are taken
MOST_WORK = 2.5e10  # S^3 T^2 of a map that is made at once; this many take about a second


class Place(NamedTuple):
    """Which part of a network, and which sequence of the batch, all counted from 0."""

    layer: int = 0
    direction: int = 0
    part: int = 0
    sequence: int = 0


def states_of(experiment: Experiment) -> int:
    """S, the number of joined states of a layer."""
    return experiment.hidden * len(CELLS[experiment.cell].states)


@dataclass(frozen=True, eq=False)
class Dynamics:
    """One layer, direction and recurrent part of a moment's network, over one sequence of its batch."""

    moment: Moment
    place: Place

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.moment.network.cell

    @property
    def weights(self) -> Weights:
        """This layer's."""
        return self.moment.network.weights(*self.place[:3])

    @property
    def trace(self) -> Trace:
        """What it did with the batch."""
        return self.moment.trace(*self.place[:3])

    @property
    def T(self) -> int:
        """Time steps that it reads."""
        return len(self.trace.inputs)

    @property
    def S(self) -> int:
        """Joined states."""
        return states_of(self.moment.experiment)

    @property
    def work(self) -> float:
        """S^3 T^2, which the time for a map of all pairs goes with."""
        return float(states_of(self.moment.experiment)) ** 3 * self.T**2

    @property
    def fits(self) -> bool:
        """Whether the step Jacobians are small enough to be kept."""
        return self.S**2 * self.T <= MOST_JACOBIANS

    @property
    def quick(self) -> bool:
        """Whether their spectra take a few seconds at most."""
        return self.S**3 * self.T <= MOST_SPECTRA

    @property
    def bytes(self) -> int:
        """About what it holds once everything was asked."""
        return 8 * (self.S**2 * self.T + 8 * self.T**2) + step_memory(self.moment.experiment)

    @cached_property
    def jacobians(self) -> Tensor:
        """ds_t/ds_{t-1}: (T, S, S) float64, in the order of reading."""
        with repeatable():
            return read_jacobians(self.cell, self.weights, self.trace, self.place.sequence)

    @cached_property
    def map(self) -> JacobianMap:
        """Frobenius norms of ds_t/ds_k for all pairs."""
        with repeatable():
            return frobenius_map(self.cell, self.weights, self.trace, self.place.sequence, self.jacobians)

    @cached_property
    def spectral(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower and upper bounds of spectral norms, and Frobenius norms, of the same: (T, T) log10 each."""
        with repeatable():
            return with_frobenius(self.jacobians, range(self.T))

    @cached_property
    def bounds(self) -> Bounds | None:
        """What theory allows at most, for plain cells."""
        return bounds(self.cell, self.weights, self.trace, self.place.sequence)

    @cached_property
    def times(self) -> np.ndarray:
        """Time steps, from 0, whose singular values are taken; not the first: no state came before it."""
        first = min(1, self.T - 1)
        count = min(MOST_TIMES, self.T - first)
        return np.unique(np.linspace(first, self.T - 1, count).round().astype(int))

    @cached_property
    def singular(self) -> np.ndarray:
        """(N, S) singular values of the step Jacobians at `times`, descending."""
        with repeatable():
            return singular_values(self.jacobians[self.times.tolist()])

    def stretch(self, t: int) -> float:
        """Largest singular value of the step Jacobian at a time step."""
        with repeatable():
            return float(singular_values(self.jacobians[t : t + 1])[0, 0])

    def eigenvalues(self, t: int) -> np.ndarray:
        """(S,) complex, of the step Jacobian at a time step."""
        values: np.ndarray = eigenvalues(self.jacobians[t : t + 1])[0]
        return values

    @cached_property
    def blocks(self) -> dict[str, tuple[np.ndarray, float]]:
        """Of each gate's block of weight_hh: eigenvalues (H,) complex, largest singular value."""
        W = self.weights["weight_hh"].double()
        W = W.view(len(self.cell.gates), -1, W.shape[1])  # (G, H, H)
        with repeatable():
            largest, values = singular_values(W)[:, 0], eigenvalues(W)
        return {gate: (values[k], float(largest[k])) for k, gate in enumerate(self.cell.gates)}

    @cached_property
    def exponents(self) -> np.ndarray:
        """(S,) Lyapunov exponents a step, descending."""
        with repeatable():
            return lyapunov(self.jacobians[min(1, self.T - 1) :])


def dynamics(moment: Moment, place: Place = Place()) -> Dynamics:  # noqa: B008, a tuple of numbers
    """The dynamics of a moment. The last few are kept, and with all moments no more than fits."""
    key = (id(moment), place)
    with _lock:
        found = _kept.setdefault(key, Dynamics(moment, place))
        _kept.move_to_end(key)
        while len(_kept) > 1 and (
            len(_kept) > MOST_KEPT or sum(d.bytes for d in _kept.values()) > MOST_BYTES
        ):
            _kept.popitem(last=False)
        return found


_lock = Lock()
_kept: OrderedDict[tuple[int, Place], Dynamics] = OrderedDict()  # a moment that is kept has an id of its own
