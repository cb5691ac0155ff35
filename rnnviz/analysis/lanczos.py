"""Eigenvalues and trace of a symmetric matrix that is known only by its products with vectors.

Lanczos' method with full reorthogonalisation: after m products the largest and the smallest eigenvalues of an
m by m matrix are those of the large one, closely, since a Krylov space takes hold of both ends of a spectrum
first (Golub & Van Loan, Matrix computations, 2013, chapter 10). ARPACK, behind `eigsh` of SciPy, does the
same, but wants all its products in one go: it cannot stop between two of them, hand over what it has and go
on from there in another process, as a job has to, and takes each end of the spectrum by itself.

Sums here run in one thread and in one order, so that the same products give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

#: A vector (n,) to the matrix times that vector, both float64.
Product = Callable[[np.ndarray], np.ndarray]

_STREAM = 0x4E55  # keeps these random numbers apart from all others
#: Of the largest number in the small matrix: a new direction shorter than that is what rounding has left.
EXHAUSTED = 1e-8
FLOOR = 0.01  # of the largest eigenvalue: what is smaller need not be known to more than a share of this


@dataclass(frozen=True, eq=False)
class Ritz:
    """Eigenvalues as the space knows them. values: the largest, descending; least: the smallest.

    A residual is |Hv - value v| for the unit vector v that belongs to the value: so far away, at most, lies
    an eigenvalue.
    """

    values: np.ndarray
    residuals: np.ndarray
    least: float
    least_residual: float

    @property
    def reach(self) -> float:
        """The largest of them without its sign."""
        return max(abs(float(self.values[0])), abs(self.least))


@dataclass(frozen=True, eq=False)
class Krylov:
    """A Krylov space of m vectors, and what the matrix is within it.

    basis: (m, n) orthonormal rows; following: (n,) the unit vector that the next product is taken with, 0
    where the space is whole; diagonal, beside: (m,) of the tridiagonal matrix, beside[j] between j and j + 1.
    asymmetry: the largest |u.Hv - v.Hu| among pairs of the basis, 0 for products without an error.
    """

    following: np.ndarray
    basis: np.ndarray
    diagonal: np.ndarray = field(default_factory=lambda: np.zeros(0))
    beside: np.ndarray = field(default_factory=lambda: np.zeros(0))
    asymmetry: float = 0.0
    seed: int = 0

    @property
    def m(self) -> int:
        return len(self.diagonal)

    @property
    def finite(self) -> bool:
        """Whether every product so far was a number."""
        return bool(np.isfinite(self.diagonal).all() and np.isfinite(self.beside).all())

    @property
    def whole(self) -> bool:
        """Whether there is no direction left."""
        return not self.following.any()

    def grown(self, product: Product) -> Krylov:
        """With one more vector, for one product."""
        q = self.following
        w = product(q)
        # u.Hq of all u that are there, and q.Hu: what q adds to the Hu before it is all of Hu that is new.
        across, back = combine(self.basis, w), np.zeros(self.m)
        back[-1:] = self.beside[-1:]
        asymmetry = max(self.asymmetry, float(np.max(np.abs(across - back), initial=0.0)))
        basis = np.vstack([self.basis, q])
        diagonal = np.append(self.diagonal, np.einsum("i,i", q, w))
        w = orthogonal(w, basis)
        length = _length(w)
        scale = max(np.max(np.abs(diagonal)), np.max(self.beside, initial=0.0), length)
        if length <= EXHAUSTED * scale:  # an invariant space: go on in what it leaves out
            w, length = _another(basis, self.seed), 0.0
        else:
            w = w / length
        return Krylov(w, basis, diagonal, np.append(self.beside, length), asymmetry, self.seed)

    def ritz(self, k: int) -> Ritz:
        """The k largest eigenvalues, NaN where there are none yet, and the smallest.

        All are NaN where products are not finite.
        """
        values, residuals = np.full((2, k), np.nan)
        if not self.m or not self.finite:
            return Ritz(values, residuals, math.nan, math.nan)
        eigenvalues, vectors = self._solved
        found = min(k, self.m)
        # In exact arithmetic it is the first alone; nothing is known better than the products are.
        left = np.maximum(self.beside[-1] * np.abs(vectors[-1]), self.asymmetry)
        values[:found], residuals[:found] = eigenvalues[::-1][:found], left[::-1][:found]
        return Ritz(values, residuals, float(eigenvalues[0]), float(left[0]))

    def vectors(self, k: int) -> np.ndarray:
        """(k, n): the unit eigenvectors of the k largest, k at most m; NaN if not finite."""
        if not self.finite:
            return np.full((k, len(self.following)), np.nan)
        rows = np.einsum("mk,mn->kn", self._solved[1][:, ::-1][:, :k], self.basis)
        units: np.ndarray = rows / np.sqrt(np.einsum("kn,kn->k", rows, rows))[:, None]
        return units

    @cached_property
    def _solved(self) -> tuple[np.ndarray, np.ndarray]:
        T = np.diag(self.diagonal) + np.diag(self.beside[:-1], 1) + np.diag(self.beside[:-1], -1)
        eigenvalues, vectors = np.linalg.eigh(T)  # ascending
        return eigenvalues, vectors


def krylov(size: int, seed: int = 0) -> Krylov:
    """The beginning: a random direction, since one that was chosen might lack an eigenvector."""
    empty = np.zeros((0, size))
    return Krylov(_another(empty, seed), empty, seed=seed)


def lanczos(
    product: Product, size: int, k: int, seed: int = 0, most: int = 60, tolerance: float = 1e-6,
    least: bool = True,
) -> Krylov:  # fmt: skip
    """Products until the k largest eigenvalues and the smallest are `settled`, `most` at most."""
    space = krylov(size, seed)
    while space.m < most and not over(space, k, tolerance, least):
        space = space.grown(product)
    return space


def over(space: Krylov, k: int, tolerance: float, least: bool = True) -> bool:
    """Whether more products are of no use: the eigenvalues are settled, or there is no number among them.

    tolerance: of an eigenvalue, how large its residual may be; of those that are small beside the largest,
    FLOOR of that one counts instead. least: whether the smallest has to be settled as well. An eigenvalue
    is off by about the square of its residual over the distance to the next, so far less than that.
    """
    if space.whole or not space.finite:
        return True
    if space.m <= k:
        return False
    found = space.ritz(k)
    values, residuals = found.values, found.residuals
    if least:
        values, residuals = np.append(values, found.least), np.append(residuals, found.least_residual)
    return bool((residuals <= tolerance * np.maximum(np.abs(values), FLOOR * found.reach)).all())


def sample(product: Product, size: int, number: int, seed: int = 0, space: Krylov | None = None) -> float:
    """One number whose mean is the trace, for one product with a vector of random signs (Hutchinson 1990).

    space: what is known of the matrix already. Its share of the trace is left out, so that only the rest is
    drawn by lot, which makes the error many times smaller (Meyer, Musco, Musco & Woodruff 2021, Hutch++).
    """
    rng = np.random.default_rng([seed, _STREAM, 1, number])
    z = np.where(rng.integers(0, 2, size) == 1, 1.0, -1.0)
    if space is not None and space.m:
        z = orthogonal(z, space.basis)
    return float(np.einsum("i,i", z, product(z)))


def trace_of(samples: np.ndarray, space: Krylov | None = None) -> tuple[float, float]:
    """Trace and standard error, from numbers of `sample`; the error is NaN for fewer than two of them."""
    known = 0.0 if space is None else float(np.sum(space.diagonal))
    if space is not None and space.whole:
        return known, 0.0
    if not len(samples):
        return math.nan, math.nan
    error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples)) if len(samples) > 1 else math.nan
    return known + float(np.mean(samples)), error


def combine(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(m, n) and (n,) to (m,); without BLAS, whose sums depend on its threads."""
    found: np.ndarray = np.einsum("mn,n->m", rows, vector)
    return found


def orthogonal(vector: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The vector without its part in the basis; twice, for what rounding leaves the first time."""
    for _again in range(2):
        vector = vector - np.einsum("m,mn->n", combine(basis, vector), basis)
    return vector


def _length(vector: np.ndarray) -> float:
    return math.sqrt(float(np.einsum("i,i", vector, vector)))


def _another(basis: np.ndarray, seed: int) -> np.ndarray:
    """A random unit vector outside the basis; 0 where there is none."""
    m, n = basis.shape
    if m >= n:
        return np.zeros(n)
    drawn = orthogonal(np.random.default_rng([seed, _STREAM, 0, m]).standard_normal((n,)), basis)
    drawn = orthogonal(drawn / _length(drawn), basis)  # once more at full length: the last one may be short
    unit: np.ndarray = drawn / _length(drawn)
    return unit
