"""Largest singular values of products of Jacobians, each between two bounds that are proven, not estimated.

From below: ||P v|| for a unit vector v, which power iteration turns towards the largest one; the vector of
one step is where the next begins. From above, whichever is least of

- sigma(J_t) times the bound of the step before, since norms of a product multiply at most;
- with theta = ||P v||^2, r = P^T P v - theta v and F = ||P||_F, the larger eigenvalue of
  [[theta, |r|], [|r|, F^2 - theta]]: what is orthogonal to v has no more than the rest of the trace of P^T P;
- c, where c^2 - P^T P has a Cholesky decomposition: then it is positive definite (Higham, Accuracy and
  stability of numerical algorithms, 2002, theorem 10.7, with the rounding errors on the safe side);
- the singular value itself, where the others leave more than a stated tolerance open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .products import Products, products

TOLERANCE = 0.05  # upper bound over lower bound, less one, that is good enough
CLOSE = 0.9  # share of it, in logarithms, that a test by Cholesky leaves open
EXACT_SHARE = 0.1  # of all products; no more of them have their singular values taken one by one
SWEEPS, MORE_SWEEPS = 1, 6
DITHER = 0.01  # of a fixed vector is added to v at every step, so that no direction is ever lost
ROUNDING = 1e-11  # what float64 may add up in what is computed here, relative; each bound gives way by it

Bounds = tuple[np.ndarray, np.ndarray]


def spectral_columns(
    jacobians: Tensor, columns: Sequence[int], tolerance: float = TOLERANCE, largest: np.ndarray | None = None
) -> Bounds:
    """Bounds of the spectral norms of ds_t/ds_k: (lower, upper), log10, (T, len(columns)) each.

    jacobians: (T, S, S) float64, ds_t/ds_{t-1}; columns: the k, ascending; largest: (T,) the Jacobians'
    own largest singular values, if they are known. NaN for t < k and where a Jacobian on the way is not
    finite, minus infinity for an exact zero.

    Few of the brackets are wider than `tolerance`: those that would take longer than the rest together.
    """
    lower, upper, _ = with_frobenius(jacobians, columns, tolerance, largest)
    return lower, upper


@torch.no_grad()
def with_frobenius(
    jacobians: Tensor, columns: Sequence[int], tolerance: float = TOLERANCE, largest: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same, and third the Frobenius norms, which come with them."""
    T = len(jacobians)
    result = np.full((3, T, len(columns)), np.nan)
    pairs = sum(T - 1 - k for k in columns)
    bracket = _Bracket(jacobians.shape[1], len(columns), tolerance, round(EXACT_SHARE * pairs))
    stretch = largest_singular(jacobians) if largest is None else largest
    with np.errstate(all="ignore"):  # NaN and zero go through, and come out as they should
        for product in products(jacobians, columns):
            n = len(product.norm)
            if product.t > columns[0]:
                bracket.advance(product, float(stretch[product.t]), columns)
            else:
                bracket.begin(n)
            result[0, product.t, :n] = bracket.lower[:n]
            result[1, product.t, :n] = bracket.upper[:n]
            result[2, product.t, :n] = np.log2(product.norm.numpy()) + product.exponent.numpy()
    lower, upper, frobenius = result * np.log10(2.0)
    return lower, upper, frobenius


def largest_singular(matrices: Tensor) -> np.ndarray:
    """(N, S, S) to (N,): the largest singular value of each, NaN where it is not finite."""
    result = np.full(len(matrices), np.nan)
    finite = matrices.isfinite().all(-1).all(-1)
    if bool(finite.any()):
        result[finite.numpy()] = torch.linalg.svdvals(matrices[finite])[:, 0].numpy()
    return result


class _Bracket:
    """The bounds of all columns at one time, as logarithms to base 2."""

    def __init__(self, S: int, columns: int, tolerance: float, exact: int) -> None:
        self.lower, self.upper = np.full((2, columns), np.nan)
        self.gap = np.log2(1.0 + tolerance)
        self.exact = exact
        dense = np.cos(
            np.arange(S) ** 2 + 1.0
        )  # some vector that is not orthogonal to anything in particular
        self.dense = dense / np.linalg.norm(dense)
        self.v = np.tile(self.dense, (columns, 1))
        self.n = 0

    def begin(self, n: int) -> None:
        """The newest columns start with the identity."""
        self.lower[self.n : n] = self.upper[self.n : n] = 0.0
        self.n = n

    def advance(self, product: Products, stretch: float, columns: Sequence[int]) -> None:
        """One step on; `stretch` is the step Jacobian's largest singular value."""
        old = self.n
        A = product.matrices.numpy().transpose(1, 0, 2)[:old]  # (old, S, S)
        norm, exponent = product.norm.numpy()[:old], product.exponent.numpy()[:old]
        carried = self.upper[:old] + np.log2(stretch) + ROUNDING
        direct = np.array([product.t - 1 == k for k in columns[:old]])  # one Jacobian, known already
        lower, upper, self.v[:old] = self._sweep(A, norm, self.v[:old], SWEEPS)
        self.lower[:old], self.upper[:old] = lower + exponent, np.fmin(upper + exponent, carried)
        self.lower[:old][direct] = np.log2(stretch) - ROUNDING
        self.upper[:old][direct] = np.log2(stretch) + ROUNDING
        nothing = norm == 0
        self.lower[:old][nothing] = self.upper[:old][nothing] = -np.inf
        unknown = ~np.isfinite(norm)
        self.lower[:old][unknown] = self.upper[:old][unknown] = np.nan
        if len(wide := self._wide(old)):
            self._narrow(A[wide], norm[wide], exponent[wide], wide)
        self.begin(len(product.norm))

    def _wide(self, n: int) -> np.ndarray:
        return np.flatnonzero(self.upper[:n] - self.lower[:n] > self.gap)

    def _sweep(
        self, A: np.ndarray, norm: np.ndarray, v: np.ndarray, sweeps: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Power iteration on (n, S, S) from (n, S): log2 of the bounds, and the vectors that it came to."""
        v = v + DITHER * self.dense
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        for _ in range(sweeps):
            u = (A @ v[:, :, None])[:, :, 0]
            w = (u[:, None] @ A)[:, 0]
            theta = (u * u).sum(1)
            size = np.linalg.norm(w, axis=1)
            before, v = v, np.where((size > 0)[:, None], w / size[:, None], v)
        rest = np.maximum(norm**2 - theta, 0.0)
        residual = np.linalg.norm(w - theta[:, None] * before, axis=1)
        top = (theta + rest) / 2 + np.hypot((theta - rest) / 2, residual)
        seen = np.fmax(np.fmax(np.sqrt(theta), size / np.sqrt(theta)), norm / np.sqrt(A.shape[1]))
        return np.log2(seen) - ROUNDING, np.log2(top) / 2 + ROUNDING, v

    def _narrow(self, A: np.ndarray, norm: np.ndarray, exponent: np.ndarray, wide: np.ndarray) -> None:
        """Better bounds for the columns `wide`, with more work for each."""
        A = np.ascontiguousarray(A)
        # Where one unit alone carries the most, power iteration may take long to turn to it.
        alone = np.einsum("nij,nij->nj", A, A)  # (n, S)
        better = np.flatnonzero(np.log2(alone.max(1)) / 2 + exponent > self.lower[wide])
        self.v[wide[better]] = np.eye(A.shape[1])[alone[better].argmax(1)]
        lower, upper, self.v[wide] = self._sweep(A, norm, self.v[wide], MORE_SWEEPS)
        self.lower[wide] = np.maximum(self.lower[wide], lower + exponent)
        self.upper[wide] = np.minimum(self.upper[wide], upper + exponent)
        left = np.flatnonzero(self.upper[wide] - self.lower[wide] > self.gap)
        if not len(left):
            return
        limit = self.lower[wide[left]] + CLOSE * self.gap
        below = is_below(A[left], limit - exponent[left])
        self.upper[wide[left[below]]] = limit[below]
        open_ = self.upper[wide] - self.lower[wide]
        left = np.flatnonzero(open_ > self.gap)
        left = left[np.argsort(-open_[left], kind="stable")][: self.exact]  # the widest first
        if len(left):
            self.exact -= len(left)
            value = np.log2(torch.linalg.svdvals(torch.from_numpy(A[left]))[:, 0].numpy()) + exponent[left]
            self.lower[wide[left]], self.upper[wide[left]] = value - ROUNDING, value + ROUNDING


def is_below(A: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """(n,): whether no singular value of A (n, S, S) is above 2^limit; false also where that is not sure.

    In float32, which is four times as fast; what rounding can do is on the safe side.
    """
    S = A.shape[1]
    Q = torch.from_numpy((A / np.exp2(limit)[:, None, None]).astype(np.float32))
    gram = torch.bmm(Q.mT, Q)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1).double()
    error = 2.0 * (S + 3) * torch.finfo(torch.float32).eps * (trace + S)
    test = (1.0 - error).float()[:, None, None] * torch.eye(S) - gram
    sound: np.ndarray = (torch.linalg.cholesky_ex(test).info == 0).numpy()
    return sound
