"""The recurrent spectrum: does one time step stretch or shrink what passes through it?

For a plain network these are the spectral radius and the largest singular value of weight_hh (Pascanu,
Mikolov & Bengio 2013: the gradient vanishes for certain when the largest singular value is below one over
the nonlinearity's largest slope). For gated cells each gate has its own block, and what decides is the step
Jacobian ds_{t+1}/ds_t, s being all states joined: (h, c) for an LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..bptt import Weights, cell_weights
from ..cells import Cell, Step

MOST_STATE = 256  # largest number of joined states whose spectrum is taken in passing; others cost too much
MOST_TIMES = 8  # time steps at which the Jacobian is taken
STEPS_PER_TIME = 4  # short sequences get fewer, so that the cost keeps its share of training
JACOBIAN_ROWS = 512  # rows of all those Jacobians together: large states get fewer time steps
SQUARINGS = 14


@lru_cache(maxsize=64)
def jacobian_times(T: int, size: int) -> frozenset[int]:
    """Evenly spaced time steps t from 1 to T - 1 whose Jacobian ds_t/ds_{t-1} is taken, for `size` states.

    Not t = 0: the state before it is no state that the network came to.
    """
    if T < 2 or size > MOST_STATE:
        return frozenset()
    count = max(1, min(MOST_TIMES, JACOBIAN_ROWS // size, T // STEPS_PER_TIME))
    return frozenset(np.linspace(1, T - 1, count).round().astype(int).tolist())


@torch.no_grad()
def spectrum(cell: Cell, weights: Weights, steps: Sequence[Step]) -> np.ndarray:
    """(K, 2): spectral radius and largest singular value, float64.

    Rows are each gate's block of weight_hh, in the order of `cell.gates`, and last the step Jacobian: the
    geometric mean over `steps`, each of one sequence (1, H). All NaN when there are more than MOST_STATE
    states; the last row is NaN without steps.
    """
    W = weights["weight_hh"]  # (G*H, H)
    H, K = W.shape[1], len(cell.gates) + 1
    result = np.full((K, 2), np.nan)
    if H * len(cell.states) > MOST_STATE:
        return result
    result[:-1] = stretch(W.reshape(-1, H, H))
    if steps:
        measured = stretch(step_jacobians(cell, weights, steps))  # (N, 2)
        with np.errstate(divide="ignore"):  # a step that lets nothing pass makes the mean zero
            result[-1] = np.exp(np.log(measured).mean(0))
    return result


@torch.no_grad()
def step_jacobians(cell: Cell, weights: Weights, steps: Sequence[Step]) -> Tensor:
    """ds_t/ds_{t-1} at each of N steps of one sequence: (N, S, S), S = H times the number of states.

    One backward step for every row of the Jacobian, all of them as one batch.
    """
    H, states = weights["weight_hh"].shape[1], len(cell.states)
    N, S = len(steps), H * states
    many = Step(*(_rows([step[k] for step in steps], S) for k in range(len(Step._fields))))
    unit = torch.eye(S, dtype=weights["weight_hh"].dtype).repeat(N, 1)  # (N*S, S)
    gradient, _ = cell.backward(torch, cell_weights(cell, weights), many, unit.chunk(states, -1))
    return torch.cat(gradient.before, -1).view(N, S, S)


def stretch(matrices: Tensor) -> np.ndarray:
    """(N, n, n) to (N, 2): spectral radius and largest singular value of each, NaN where not finite.

    The radius is Gelfand's: the 2^SQUARINGS-th root of the norm of that power, from repeated squaring. It is
    never too small but for rounding, and too large by a factor of at most (sqrt(n) c)^(1/2^SQUARINGS), c the
    eigenvectors' condition number: 1.0005 for n = 64 and c = 1000. Eigenvalues take twenty times as long.
    """
    result = np.full((len(matrices), 2), np.nan)
    finite = matrices.isfinite().all(-1).all(-1)
    if not bool(finite.any()):
        return result
    A = matrices[finite]
    result[finite.numpy(), 0] = _radius(A).numpy()
    result[finite.numpy(), 1] = torch.linalg.svdvals(A)[:, 0].double().numpy()
    return result


def _radius(A: Tensor) -> Tensor:
    """(N, n, n) to (N,). Powers are scaled to norm 1 on the way, their logarithms kept apart."""
    log_norm = torch.zeros(len(A), dtype=torch.float64)
    for _ in range(SQUARINGS):
        A, norm = _scaled(A)
        log_norm = 2.0 * (log_norm + norm.log())
        A = A @ A
    return ((log_norm + _scaled(A)[1].log()) / 2.0**SQUARINGS).exp()


def _scaled(A: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices of norm 1, and their norms in float64; a matrix of zeros stays one."""
    norm = torch.linalg.matrix_norm(A, dtype=torch.float64)  # Frobenius
    divisor = torch.where(norm == 0, 1.0, norm).to(A.dtype)
    return A / divisor[:, None, None], norm


def _rows(parts: Sequence[tuple[Tensor, ...]], S: int) -> tuple[Tensor, ...]:
    """Each part of N steps, (1, H), S times: (N*S, H)."""
    return tuple(torch.cat(one).repeat_interleave(S, 0) for one in zip(*parts, strict=True))
