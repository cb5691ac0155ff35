"""Maps of ds_t/ds_k as a job stores them: column by column, so that they can be drawn while they fill in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from safetensors.numpy import load, save

#: A block of columns should need a few tenths of a second; small matrices take longer than their products do.
COSTLY, SMALL = 1.25e8, 256
VERSION = 1  # of how maps are computed: another one asks anew
_PLANES = ("lower", "upper", "frobenius")


@dataclass(frozen=True)
class SpectralMap:
    """How strongly the state at t depends on that at k, in the order of reading; known column by column.

    lower, upper: (T, T) log10, [t, k], bounds of the spectral norm of ds_t/ds_k. frobenius: the same, its
    Frobenius norm. NaN for t < k, where states are not finite and in columns that are not done; minus
    infinity for an exact zero. Stored in float32, the bounds rounded outward.
    done: (T,), which columns k are known.
    stretch: (T,) largest singular value of each step's own Jacobian, ds_t/ds_{t-1}.
    """

    lower: np.ndarray
    upper: np.ndarray
    frobenius: np.ndarray
    done: np.ndarray
    stretch: np.ndarray

    @property
    def width(self) -> float:
        """Within which factor every norm is known: the largest upper over lower bound; NaN if none is."""
        with np.errstate(invalid="ignore"):
            gap = np.where(self.lower == self.upper, 0.0, self.upper - self.lower)
        return float(10 ** np.nanmax(gap)) if not np.isnan(gap).all() else float("nan")

    def middle(self) -> np.ndarray:
        """(T, T) log10: between both bounds, the number to draw."""
        middle: np.ndarray = (self.lower + self.upper) / 2
        return middle

    def filled(self, columns: list[int], planes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> SpectralMap:
        """With these columns as well; each plane (T, len(columns))."""
        made = {name: getattr(self, name).copy() for name in (*_PLANES, "done")}
        for name, plane in zip(_PLANES, planes, strict=True):
            made[name][:, columns] = plane
        made["done"][columns] = True
        return replace(self, **made)


def empty_map(stretch: np.ndarray) -> SpectralMap:
    """A map of which nothing is known but each step's own Jacobian."""
    T = len(stretch)
    lower, upper, frobenius = np.full((3, T, T), np.nan)
    return SpectralMap(lower, upper, frobenius, np.zeros(T, dtype=bool), stretch)


def encode_map(known: SpectralMap) -> bytes:
    """As a safetensors blob with the columns that are done."""
    columns = np.flatnonzero(known.done)
    lower, upper, frobenius = (
        np.ascontiguousarray(getattr(known, name)[:, columns].T).astype(np.float32) for name in _PLANES
    )
    exact_lower, exact_upper = known.lower[:, columns].T, known.upper[:, columns].T
    lower = np.where(lower > exact_lower, np.nextafter(lower, np.float32(-np.inf)), lower)
    upper = np.where(upper < exact_upper, np.nextafter(upper, np.float32(np.inf)), upper)
    return save(
        {"columns": columns, "lower": lower, "upper": upper, "frobenius": frobenius, "stretch": known.stretch}
    )


def decode_map(blob: bytes) -> SpectralMap:
    """The inverse, with float64 arrays; for a partial result as for a whole one."""
    arrays = load(blob)
    planes = tuple(arrays[name].T.astype(np.float64) for name in _PLANES)
    return empty_map(arrays["stretch"]).filled(arrays["columns"].tolist(), planes)  # type: ignore[arg-type]


def column_blocks(T: int, S: int) -> list[list[int]]:
    """The columns of a map of S states in blocks of equal cost, those that show most first.

    Each block has every n-th column, n a power of two, and the next one lies halfway between what is there.
    """
    bits = 0
    while (1 << bits) < T and T * T * S * S * (1 + S / SMALL) / (1 << bits) > COSTLY:
        bits += 1
    residues = [int(f"{r:0{bits}b}"[::-1], 2) if bits else 0 for r in range(1 << bits)]
    return [list(range(r, T, 1 << bits)) for r in residues if r < T]
