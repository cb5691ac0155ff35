"""Numbers for readers: three digits, also where rounding leads to the next power or floats end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnviz.numbers import of, of_decades

WRITTEN = {
    0.0: "0", 1.0: "1", 0.5: "0.5", 12.34: "12.3", 999.4: "999", 999.7: "1,000", 1234.4: "1,234",
    9999.7: "1.00e4", 0.01: "0.01", 0.00999: "9.99e-3", 9.999e-9: "1.00e-8", -0.25: "-0.25",
    1e300: "1.00e300", math.inf: "∞", -math.inf: "-∞",
}  # fmt: skip


@pytest.mark.parametrize("x", WRITTEN)
def test_numbers_are_written_so(x: float) -> None:
    assert of(x) == WRITTEN[x]


def test_what_is_no_number_is_named() -> None:
    assert of(math.nan) == of_decades(math.nan) == "NaN"
    assert of_decades(math.inf) == "∞"
    assert of_decades(-math.inf) == "0"


@given(st.floats(1e-290, 1e290))
def test_three_digits_are_right(x: float) -> None:
    written = float(of(x).replace(",", ""))
    assert written == pytest.approx(x, rel=5.1e-3)
    assert float(of_decades(math.log10(x)).replace(",", "")) == pytest.approx(x, rel=5.2e-3)


@given(st.floats(-5000, 5000))
def test_decades_beyond_the_range_of_numbers(decades: float) -> None:
    mantissa, _, exponent = of_decades(decades).replace(",", "").partition("e")
    assert math.log10(float(mantissa)) + float(exponent or 0) == pytest.approx(decades, abs=3e-3)
    assert len(mantissa.replace(".", "").lstrip("0")) <= 4
