"""How numbers are written for readers: three significant digits, 1e-9 style for what is far from one."""

from __future__ import annotations

import math


def of(x: float) -> str:
    """A number: 0, 0.123, 12.3, 1,234, 1.23e-9; what is none is named, NaN or ∞.

    >>> of(999.7), of(9.999e-9), of(-1234.4)
    ('1,000', '1.00e-8', '-1,234')
    """
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else "∞" if x > 0 else "-∞"
    if x == 0:
        return "0"
    mantissa, _, power = f"{x:.2e}".partition("e")  # rounded first, since that may lead to another power
    exponent = int(power)
    if exponent == 3:
        return f"{x:,.0f}"
    if -2 <= exponent < 3:
        return f"{float(f'{x:.2e}'):.3g}"
    return f"{mantissa}e{exponent}"


def of_decades(decades: float) -> str:
    """A positive number by its logarithm to base 10, which may lie outside the range of numbers.

    >>> of_decades(-9.5), of_decades(-1000.5), of_decades(-math.inf)
    ('3.16e-10', '3.16e-1001', '0')
    """
    if not math.isfinite(decades):
        return "NaN" if math.isnan(decades) else "∞" if decades > 0 else "0"
    if abs(decades) < 300:
        return of(10.0**decades)
    exponent = math.floor(decades)
    mantissa = f"{10.0 ** (decades - exponent):.2f}"
    return f"1.00e{exponent + 1}" if mantissa == "10.00" else f"{mantissa}e{exponent}"
