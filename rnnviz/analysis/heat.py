"""Norms on a logarithmic scale in two bytes: log10 in hundredths, with codes for what has no logarithm."""

from __future__ import annotations

import numpy as np

UNDERFLOW, NAN, INFINITE = -32768, 32766, 32767


def codes(norms: np.ndarray) -> np.ndarray:
    """Norms of any shape as int16."""
    with np.errstate(divide="ignore", invalid="ignore"):
        code = np.round(100.0 * np.log10(norms))
    code = np.where(norms == 0, UNDERFLOW, code)
    code = np.where(np.isposinf(norms), INFINITE, code)
    return np.where(np.isnan(norms), NAN, code).astype(np.int16)


def log10_of(code: np.ndarray) -> np.ndarray:
    """The inverse, as logarithms: minus infinity for an underflow, infinity and NaN as themselves."""
    values = np.where(code == UNDERFLOW, -np.inf, code / 100.0)
    values = np.where(code == INFINITE, np.inf, values)
    return np.where(code == NAN, np.nan, values)
