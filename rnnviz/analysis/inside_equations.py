"""A cell's equations with the numbers of one unit in the place of the symbols, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable

from .inside import Inside
from .latex import number

Written = Callable[[float], str]
#: What stands for a number in an equation: a product with a matrix, a bias, a peephole, a state, a gate.
_SYMBOL = re.compile(
    r"W_\{(?P<by>[ih])(?P<gate>\w)\} (?:\(r_t \\odot h_\{t-1\}\)|[xh]_(?:t|\{t-1\}))"
    r"|b_\{(?P<bias>[ih])(?P<of>\w)\}|p_(?P<peephole>\w)|(?P<before>[hc])_\{t-1\}|(?P<now>\w)_t"
)


def substituted(inside: Inside, unit: int, written: Written = number) -> tuple[str, ...]:
    """Each of the cell's equations as "symbol = numbers = result"; of what is held, that it is.

    written: how a number is written
    """
    lines = []
    for equation in inside.cell.equations:
        left, right = equation.split(" = ", 1)
        name = left.removesuffix("_t")
        result = written(float(inside.values[name][unit]))
        if name in inside.held:
            lines.append(rf"{left} = {result} \quad \text{{(held)}}")
        else:
            lines.append(f"{left} = {_numbers(right, inside, unit, written)} = {result}")
    return tuple(lines)


def _numbers(text: str, inside: Inside, unit: int, written: Written) -> str:
    def put(match: re.Match[str]) -> str:
        value = written(_value(match, inside, unit))
        before = match.string[: match.start()].rstrip()
        factor = before.endswith((r"\odot", "-")) or match.string[match.end() :].startswith(r" \odot")
        return f"({value})" if value.startswith("-") and factor else value

    found = _SYMBOL.sub(put, text).replace(r"\odot", r"\cdot")
    return re.sub(r"\+ -", "- ", found)


def _value(match: re.Match[str], inside: Inside, unit: int) -> float:
    part = match.groupdict()
    if part["gate"]:
        shares = inside.shares[part["gate"]]
        return float((shares.input if part["by"] == "i" else shares.recurrent)[unit])
    if part["of"]:
        shares = inside.shares[part["of"]]
        return float((shares.bias_ih if part["bias"] == "i" else shares.bias_hh)[unit])
    name = part["now"] or (f"p_{part['peephole']}" if part["peephole"] else f"{part['before']}_before")
    return float(inside.values[name][unit])


__all__ = ["substituted"]
