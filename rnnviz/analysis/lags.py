"""How a signal fades with distance: what a map of d s_t/d s_k says about each lag t - k."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

THOUSANDFOLD = 3.0  # decades: what changes by more vanishes or explodes
MOST_JACOBIANS = 1 << 26  # numbers in the step Jacobians of a sequence: half a gigabyte


class ByLag(NamedTuple):
    """(T,) each, log10, at lag n = 0 to T - 1: over all t. NaN where nothing is known."""

    median: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def by_lag(log_norms: np.ndarray) -> ByLag:
    """Median, least and largest log10 norm of d s_t/d s_{t-n} over t, for each n.

    log_norms: (T, T), [t, k], as in `JacobianMap`. Entries that are NaN are left out, so that a map that is
    computed in part can be asked as well.
    """
    T = len(log_norms)
    result = np.full((3, T), np.nan)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # lags of which nothing is known
        for n in range(T):
            norms = np.diagonal(log_norms, -n)
            result[:, n] = np.nanmedian(norms), np.nanmin(norms), np.nanmax(norms)
    return ByLag(*result)


def bound_by_lag(log_steps: np.ndarray) -> np.ndarray:
    """(T,) log10: for each lag n the median over k of the sum of the n steps after k.

    log_steps: (T,), what each step stretches by at most, in decades; that of the first step is not used. A
    step that lets nothing pass (minus infinity) makes every sum that holds it minus infinity.
    """
    closed = np.isneginf(log_steps[1:])
    sums = np.concatenate([[0.0], np.cumsum(np.where(closed, 0.0, log_steps[1:]))])
    count = np.concatenate([[0], np.cumsum(closed)])
    result = np.empty(len(log_steps))
    for n in range(len(result)):
        passed = sums[n:] - sums[: len(sums) - n]
        passed[count[n:] != count[: len(count) - n]] = -np.inf
        with np.errstate(invalid="ignore"):  # between minus infinity and itself
            result[n] = np.median(passed)
    return result


def horizon(log_norms: np.ndarray) -> float:
    """Over how many steps a signal falls a thousandfold: the memory's length, in time steps.

    The smallest lag n at which the median over t of the norm of d s_t/d s_{t-n} is below a thousandth of
    that at lag 0, where the Jacobian is the identity. Between two lags the logarithm is taken to fall evenly,
    so that a norm that halves at each step has a horizon of log2(1000) = 9.97 steps; where it falls to zero
    at once, the lag is told at which it is zero. Infinity when that never happens within the sequence; NaN
    when nothing is known of lag 0, or it is zero there (as that of an LSTM's c_t on h_t).

    log_norms: (T, T) log10, as in `JacobianMap`.
    """
    median = by_lag(log_norms).median
    if not math.isfinite(median[0]):
        return math.nan
    fall = median[0] - median  # decades lost
    known = np.flatnonzero(~np.isnan(fall))
    late = known[fall[known] > THOUSANDFOLD]
    if not len(late):
        return math.inf
    n = late[0]
    before = known[known < n][-1]
    if not math.isfinite(fall[n]):
        return float(n)
    share = (THOUSANDFOLD - fall[before]) / (fall[n] - fall[before])
    return float(before + share * (n - before))
