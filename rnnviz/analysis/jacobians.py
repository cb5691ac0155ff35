"""Products of step Jacobians: how strongly the state at one time depends on the state at another.

The norm of ds_t/ds_k = J_t J_{t-1} ... J_{k+1} is what gradients gain or lose between the two (Pascanu,
Mikolov & Bengio 2013, section 2). All is in the order in which the layer reads: for a layer that reads
backward, time 0 is the last of the sequence. s is every state joined, (h, c) for an LSTM. float64, whatever
the network computes in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..bptt import TorchOps, Trace, Weights, peepholes
from ..cells import Cell
from .bracket import largest_singular, spectral_columns
from .lags import ByLag, by_lag, horizon
from .products import Products, products
from .spectrum import step_jacobians

__all__ = [
    "Bounds", "ByLag", "JacobianMap", "bounds", "by_lag", "eigenvalues", "frobenius_map", "horizon",
    "lyapunov", "read_jacobians", "singular_values", "spectral_columns",
]  # fmt: skip

ROWS_AT_ONCE = 1 << 15  # of Jacobians that are taken in one go: bounds the memory
FAINT = 1e-280  # sums of squares below this have lost digits
WARM_UP = 0.2  # share of the steps


@dataclass(frozen=True)
class JacobianMap:
    """log10 of the Frobenius norms of ds_t/ds_k, each (T, T) float64, [t, k] in the order of reading.

    A layer that reads backward counts from the end of the sequence: t = 0 is its last element. NaN for t < k,
    and where s_k, s_t or a state between is not finite; minus infinity for an exact zero.

    frobenius: of the states joined. The diagonal is the identity, with the norm sqrt(S).
    blocks: of each pair of states, ("c", "h") being dc_t/dh_k; for cells with one state ("h", "h") alone.
    """

    frobenius: np.ndarray
    blocks: Mapping[tuple[str, str], np.ndarray]


class Bounds(NamedTuple):
    """What limits the spectral norms of a plain cell's Jacobians (Pascanu et al. 2013, section 2.1), log10.

    log_largest: of largest singular value of W_hh times the nonlinearity's largest slope; the bound for
        lag n is n times it.
    log_measured: (T,), the same with the largest slope among the units at each time, in the order of
        reading; the bound for ds_t/ds_k is the sum over k + 1 to t. NaN where the states are not finite.
    """

    log_largest: float
    log_measured: np.ndarray


@torch.no_grad()
def read_jacobians(cell: Cell, weights: Weights, trace: Trace, sequence: int = 0) -> Tensor:
    """ds_t/ds_{t-1} of one sequence in the order of reading: (T, S, S) float64.

    The first is with respect to the initial state. NaN where the states before or after the step are not
    finite.
    """
    T, S = len(trace.inputs), weights["weight_hh"].shape[1] * len(cell.states)
    times = list(range(T))[::-1] if trace.reverse else list(range(T))
    at_once = max(1, ROWS_AT_ONCE // S)
    parts = [
        step_jacobians(cell, weights, trace, times[first : first + at_once], sequence).double()
        for first in range(0, T, at_once)
    ]
    jacobians = torch.cat(parts)
    for name in cell.states:
        known = trace.before(name)[times, sequence].isfinite().all(-1)
        if not bool(known.all()):
            jacobians[~known] = torch.nan
    return jacobians


@torch.no_grad()
def frobenius_map(
    cell: Cell, weights: Weights, trace: Trace, sequence: int = 0, jacobians: Tensor | None = None
) -> JacobianMap:
    """How strongly each state of one sequence depends on each before it, by the Frobenius norm.

    jacobians: what `read_jacobians` gives for it, if that is known already
    """
    if jacobians is None:
        jacobians = read_jacobians(cell, weights, trace, sequence)
    T, parts = len(jacobians), len(cell.states)
    joined, blocks = np.full((T, T), np.nan), np.full((parts, parts, T, T), np.nan)
    with np.errstate(divide="ignore"):
        for product in products(jacobians, range(T), parts):
            n, shift = len(product.norm), product.exponent.numpy() * math.log10(2.0)
            joined[product.t, :n] = np.log10(product.norm.numpy()) + shift
            blocks[:, :, product.t, :n] = _block_norms(product) + shift
    for name in cell.states:
        finite = trace.values[name][:, sequence].isfinite().all(-1).numpy()
        lost = ~(finite[::-1] if trace.reverse else finite)
        for norms in (joined, *blocks.reshape(-1, T, T)):
            norms[lost] = norms[:, lost] = np.nan
    pairs = [(i, j) for i in range(parts) for j in range(parts)]
    return JacobianMap(joined, {(cell.states[i], cell.states[j]): blocks[i, j] for i, j in pairs})


def _block_norms(product: Products) -> np.ndarray:
    """(parts, parts, n): log10 of the norm of each block, rows by the state at t, columns by that at k."""
    squares: np.ndarray = product.squares.numpy()
    H = len(product.matrices) // len(squares)
    norms: np.ndarray = np.log10(squares) / 2
    for a, b, i in zip(*np.nonzero(squares < FAINT), strict=True):  # zero, or faint beside a larger block
        block = product.matrices[a * H : (a + 1) * H, i, b * H : (b + 1) * H]
        largest = block.abs().max().numpy()
        if largest > 0:
            norms[a, b, i] = np.log10(largest) + np.log10((block / float(largest)).norm().numpy())
    return norms


@torch.no_grad()
def bounds(cell: Cell, weights: Weights, trace: Trace, sequence: int = 0) -> Bounds | None:
    """The theory for plain cells; None for the others, whose Jacobians no single slope bounds."""
    if cell.largest_slope is None:
        return None
    W = weights["weight_hh"].double()
    now = {name: values[:, sequence] for name, values in trace.values.items()}  # (T, H)
    before = {name: trace.before(name)[:, sequence] for name in cell.states}
    step = cell.backward(
        TorchOps(cell, weights), SimpleNamespace(**now), SimpleNamespace(**before),
        SimpleNamespace(h=torch.ones_like(now["h"])), peepholes(cell, weights),
    )  # fmt: skip
    slope = step.a["h"].double().abs().amax(-1)  # (T,)
    for values in (*now.values(), *before.values()):
        slope = torch.where(values.isfinite().all(-1), slope, torch.nan)
    sigma = float(largest_singular(W[None])[0])
    with np.errstate(divide="ignore"):
        measured = np.log10(sigma * slope.numpy())
        largest = float(np.log10(sigma * cell.largest_slope))
    return Bounds(largest, measured[::-1].copy() if trace.reverse else measured)


@torch.no_grad()
def lyapunov(jacobians: Tensor, warm_up: int | None = None) -> np.ndarray:
    """The Lyapunov exponents, (S,), natural logarithms for each time step, the largest first.

    J_t Q_t = Q_{t+1} R_{t+1} with R's diagonal positive; the exponents are the means of its logarithms
    (Benettin et al. 1980; for recurrent networks Vogt et al. 2022). jacobians: (T, S, S) in the order of
    reading. The first `warm_up` steps, by default a fifth, turn the directions only. Minus infinity where
    nothing of a direction is left, NaN where a Jacobian is not finite.

    Raises ValueError when no step is left after the warm-up.
    """
    T, S, _ = jacobians.shape
    skipped = int(WARM_UP * T) if warm_up is None else warm_up
    if not 0 <= skipped < T:
        raise ValueError(f"warm_up: got {skipped}; it must be at least 0 and below the {T} steps.")
    if not bool(jacobians.isfinite().all()):
        return np.full(S, np.nan)
    Q, total = torch.eye(S, dtype=torch.float64), torch.zeros(S, dtype=torch.float64)
    for t, J in enumerate(jacobians.double()):
        Q, R = torch.linalg.qr(J @ Q)
        if t >= skipped:
            total += R.diagonal().abs().log()  # the sign belongs to Q
    exponents: np.ndarray = np.sort((total / (T - skipped)).numpy())[::-1].copy()
    return exponents


@torch.no_grad()
def eigenvalues(matrices: Tensor) -> np.ndarray:
    """(N, S, S) to (N, S) complex, the largest first; NaN where a matrix is not finite."""
    result = np.full(matrices.shape[:2], complex(math.nan, math.nan))
    finite = matrices.isfinite().all(-1).all(-1)
    if bool(finite.any()):
        values = torch.linalg.eigvals(matrices[finite].double()).numpy()
        order = np.argsort(-np.abs(values), axis=1, kind="stable")
        result[finite.numpy()] = np.take_along_axis(values, order, 1)
    return result


@torch.no_grad()
def singular_values(matrices: Tensor) -> np.ndarray:
    """(N, S, S) to (N, S) float64, the largest first; NaN where a matrix is not finite."""
    result = np.full(matrices.shape[:2], np.nan)
    finite = matrices.isfinite().all(-1).all(-1)
    if bool(finite.any()):
        result[finite.numpy()] = torch.linalg.svdvals(matrices[finite].double()).numpy()
    return result
