"""The recurrent spectrum: does one time step stretch or shrink what passes through it?

For a plain network these are the spectral radius and the largest singular value of weight_hh (Pascanu,
Mikolov & Bengio 2013: the gradient vanishes for certain when the largest singular value is below one over
the nonlinearity's largest slope). For gated cells each gate has its own block, and what decides is the step
Jacobian ds_{t+1}/ds_t, s being all states joined: (h, c) for an LSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ..bptt import TorchOps, Trace, Weights, peepholes
from ..cells import Cell

MOST_STATE = 256  # largest number of joined states whose spectrum is taken in passing; others cost too much
MOST_TIMES = 8  # time steps at which the Jacobian is taken
STEPS_PER_TIME = 4  # short sequences get fewer, so that the cost keeps its share of training
JACOBIAN_ROWS = 256  # rows of all those Jacobians together: large states get fewer time steps
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
def spectrum(cell: Cell, weights: Weights, trace: Trace) -> np.ndarray:
    """(K, 2): spectral radius and largest singular value, float64, of one layer in one direction.

    Rows are each gate's block of weight_hh, in the order of `cell.gates`, and last the step Jacobian: the
    geometric mean over some time steps of the first sequence of `trace`. All NaN when there are more than
    MOST_STATE states; the last row is NaN for sequences too short to have such steps.
    """
    W = weights["weight_hh"]  # (G*H, H)
    H, K = W.shape[1], len(cell.gates) + 1
    result = np.full((K, 2), np.nan)
    if H * len(cell.states) > MOST_STATE:
        return result
    matrices = [W.reshape(-1, H, H)]
    T = len(trace.inputs)
    read = sorted(jacobian_times(T, H * len(cell.states)))  # in the order of reading
    times = [T - 1 - t if trace.reverse else t for t in read]
    if times:
        matrices.append(step_jacobians(cell, weights, trace, times))  # (N, S, S)
    one_size = len({matrix.shape[1:] for matrix in matrices}) == 1
    measured = [stretch(torch.cat(matrices))] if one_size else [stretch(matrix) for matrix in matrices]
    joined = np.concatenate(measured)  # (K - 1 + N, 2)
    result[:-1] = joined[: K - 1]
    if times:
        with np.errstate(divide="ignore"):  # a step that lets nothing pass makes the mean zero
            result[-1] = np.exp(np.log(joined[K - 1 :]).mean(0))
    return result


@torch.no_grad()
def step_jacobians(
    cell: Cell, weights: Weights, trace: Trace, times: Sequence[int], sequence: int = 0
) -> Tensor:  # fmt: skip
    """ds/ds_before at N steps of one sequence of a trace: (N, S, S), S = H times the number of states.

    The steps are counted from 0 in the order of the sequence; before the one that is read first stands the
    initial state. One backward step for every row of the Jacobian, all of them as one batch.
    """
    H, states = weights["weight_hh"].shape[1], len(cell.states)
    N, S = len(times), H * states

    def rows(values: Mapping[str, Tensor]) -> SimpleNamespace:
        """The sequence at each of the steps, S times: (N*S, H) each."""
        return SimpleNamespace(
            **{k: v[list(times), sequence].repeat_interleave(S, 0) for k, v in values.items()}
        )

    before = rows({name: trace.before(name) for name in cell.states})
    unit = torch.eye(S, dtype=weights["weight_hh"].dtype).repeat(N, 1)  # (N*S, S)
    grad = SimpleNamespace(**dict(zip(cell.states, unit.chunk(states, -1), strict=True)))
    step = cell.backward(
        TorchOps(cell, weights), rows(trace.values), before, grad, peepholes(cell, weights)
    )  # fmt: skip
    jacobians = torch.cat([step.before[name] for name in cell.states], -1).view(N, S, S)
    # Where the states are no numbers there is no Jacobian; a ReLU's slope would be 0 there.
    known = torch.stack([v[list(times), sequence].isfinite().all(-1) for v in trace.values.values()]).all(
        0
    )  # (N,)
    return torch.where(known[:, None, None], jacobians, torch.nan)


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
    for _ in range(SQUARINGS // 2):  # two at a time, which leaves the range of numbers no sooner
        A, norm = _scaled(A)
        log_norm = 4.0 * (log_norm + norm.log())
        A = A @ A
        A = A @ A
    return ((log_norm + _scaled(A)[1].log()) / 2.0**SQUARINGS).exp()


def _scaled(A: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices of norm 1, and their norms in float64; a matrix of zeros stays one."""
    norm = torch.linalg.matrix_norm(A, dtype=torch.float64)  # Frobenius
    divisor = torch.where(norm == 0, 1.0, norm).to(A.dtype)
    return A / divisor[:, None, None], norm
