"""How a gate behaves over time: how often it is open or shut, and how long a memory it gives.

Left-saturated is a gate below 0.1, right-saturated above 0.9; a point for each unit, the share of its time at
either end, is the figure of Karpathy, Johnson & Fei-Fei, Visualizing and understanding recurrent networks
(2015). A memory that is multiplied by f at each step falls to 1/e after -1/ln f steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cells import CELLS, Cell
from .activity import SIGMOID_HIGH, SIGMOID_LOW

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Ends:
    """(H,) each: the share of time steps and sequences at which a gate is shut, < 0.1, or open, > 0.9.

    NaN where a value was not a number.
    """

    shut: np.ndarray
    open: np.ndarray


def ends(values: np.ndarray) -> Ends:
    """values: (T, B, H) of a sigmoid gate."""
    known = np.where(np.isnan(values).any((0, 1)), np.nan, 1.0)
    shut = (values < SIGMOID_LOW).mean((0, 1)) * known
    return Ends(shut, (values > SIGMOID_HIGH).mean((0, 1)) * known)


def memory_time(keep: np.ndarray) -> np.ndarray:
    """Steps after which 1/e of a memory is left that is multiplied by `keep` each step: -1 / ln keep.

    0 where nothing is kept, infinity where all is; NaN outside of 0 to 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        times = -1.0 / np.log(keep)
    return np.where((keep >= 0) & (keep <= 1), np.where(keep == 1, np.inf, np.abs(times)), np.nan)


def keeping_gate(cell: Cell) -> tuple[str, int] | None:
    """The gate that multiplies what was: its name, and +1 where its value 1 keeps, -1 where it overwrites.

    For an LSTM the forget gate, for a GRU the update gate z in its own convention; None for a plain cell.
    """
    if cell.forget_gate is not None:
        return cell.forget_gate, 1
    return next(iter(cell.memory_gates.items()), None)


def kept(cell: Cell, values: np.ndarray) -> np.ndarray:
    """The factor with which what was is kept, from the values of the gate that `keeping_gate` names."""
    gate = keeping_gate(cell)
    assert gate is not None
    return values if gate[1] > 0 else 1.0 - values


@dataclass(frozen=True)
class Keeping:
    """How much is kept each step. quantiles: (5,) of all values; mean: (H,) over time and sequences."""

    quantiles: np.ndarray
    mean: np.ndarray


def keeping(cell: Cell, values: np.ndarray) -> Keeping:
    """values: (T, B, H) of the gate that `keeping_gate` names. NaN where a value is not a number."""
    factor = kept(cell, values).astype(np.float64)
    return Keeping(np.quantile(factor, QUANTILES), factor.mean((0, 1)))


def bias_of(cell_name: str, gate: str, bias_ih: np.ndarray, bias_hh: np.ndarray, hidden: int) -> np.ndarray:
    """(H,): what a gate's two biases add up to."""
    k = CELLS[cell_name].gates.index(gate)
    rows = slice(k * hidden, (k + 1) * hidden)
    return np.asarray(bias_ih[rows].astype(np.float64) + bias_hh[rows])


def by_similarity(values: np.ndarray) -> np.ndarray:
    """An order of units (H,) in which those that behave alike stand together.

    values: (K, H), a column of behaviour for each unit. The order is that of the leaves of an average-linkage
    tree over 1 - |correlation|; units that do not move come last.
    """
    # Here, since loading it takes longer than all else.
    from scipy.cluster.hierarchy import leaves_list, linkage  # type: ignore[import-untyped]

    finite = np.isfinite(values).all(0)
    moved = finite & (np.where(finite, values, 0.0).std(0) > 1e-12)
    moving, still = np.flatnonzero(moved), np.flatnonzero(~moved)
    if len(moving) < 3:
        return np.concatenate([moving, still])
    distance = 1.0 - np.abs(np.corrcoef(values[:, moving].T))
    upper = np.clip(distance[np.triu_indices(len(moving), 1)], 0.0, None)
    return np.concatenate([moving[leaves_list(linkage(upper, "average"))], still])
