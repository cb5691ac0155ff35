"""Numbers, vectors and matrices as LaTeX, three significant digits each."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

import numpy as np


def short(value: float) -> str:
    """A number with three significant digits and no needless zeros, small and large ones as 1.2e-5."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "\u2212∞"
    if value == 0:
        return "0"
    exact = Decimal(f"{value:.12g}")  # without the noise of the last bits, which would decide a half
    digits = exact.quantize(Decimal((0, (1,), exact.adjusted() - 2)), ROUND_HALF_UP)  # as one does by hand
    exponent = digits.adjusted()
    if -3 <= exponent < 4:
        return _minus(_without_zeros(f"{digits:f}"))
    mantissa = digits.scaleb(-exponent)
    return _minus(f"{_without_zeros(f'{mantissa:f}')}e{exponent}")


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _minus(text: str) -> str:
    return text.replace("-", "\u2212", 1) if text.startswith("-") else text


def plain(values: np.ndarray) -> str:
    """A number, or several of them as [1, 2] or [1, 2; 3, 4]: text, not LaTeX."""
    if values.size == 1:
        return short(values.item())
    rows = values[None] if values.ndim == 1 else values
    return "[" + "; ".join(", ".join(map(short, row)) for row in rows) + "]"


def number(value: float) -> str:
    """The same as LaTeX."""
    if not math.isfinite(value):
        return r"\text{NaN}" if math.isnan(value) else r"\infty" if value > 0 else r"-\infty"
    mantissa, _, exponent = short(value).replace("\u2212", "-", 1).partition("e")
    return mantissa + (rf"\mathrm{{e}}{{{exponent}}}" if exponent else "")


def array(values: np.ndarray) -> str:
    """A number, a column or a matrix; what has one element is written as a number."""
    if values.size == 1:
        return number(values.item())
    rows = values[:, None] if values.ndim == 1 else values
    return r"\begin{bmatrix}" + r" \\ ".join(" & ".join(map(number, row)) for row in rows) + r"\end{bmatrix}"


def factor(values: np.ndarray) -> str:
    """The same where something stands before it: a negative number in brackets."""
    written = array(values)
    return f"({written})" if written.startswith("-") else written


def product(*factors: np.ndarray) -> str:
    """Factors beside each other; numbers with a dot between them."""
    return r" \cdot ".join([array(factors[0]), *map(factor, factors[1:])])


def grad(of: str, by: str) -> str:
    """d of / d by."""
    return rf"\frac{{\partial {of}}}{{\partial {by}}}"
