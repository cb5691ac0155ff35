"""What a setting of a page may be: one of several names, a number, several of either.

Each kind reads a value from a text of the address, or says in a sentence what is allowed, and writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .text import _


class Kind(Protocol):
    """What a setting may be."""

    @property
    def default(self) -> Any: ...

    def read(self, text: str) -> Any:
        """The value of a text in the address. Raises ValueError with what is allowed, as a sentence."""

    def write(self, value: Any) -> str:
        """The inverse."""


@dataclass(frozen=True)
class Choice:
    """One of several names. `options`: name in the address to what a user reads."""

    default: str
    options: Mapping[str, str]

    def read(self, text: str) -> str:
        if text not in self.options:
            raise ValueError(_("allowed: {names}.").format(names=", ".join(self.options)))
        return text

    def write(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`, a whole one if `step` is."""

    default: float
    low: float
    high: float
    step: float = 0.01

    def read(self, text: str) -> float:
        whole = isinstance(self.step, int)
        try:
            value: float = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            kind = _("a whole number") if whole else _("a number")
            raise ValueError(
                _("allowed: {kind} from {low:g} to {high:g}.").format(kind=kind, low=self.low, high=self.high)
            )
        return value

    def of(self, value: float) -> float:
        """The value in the type that a widget wants all its numbers in."""
        return int(value) if isinstance(self.step, int) else float(value)

    def write(self, value: float) -> str:
        return str(value) if isinstance(self.step, int) else f"{value:.6g}"


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, between commas: as many as the default has, or `fewest` to `most`."""

    default: tuple[float, ...]
    low: float
    high: float
    fewest: int | None = None
    most: int | None = None

    def read(self, text: str) -> tuple[float, ...]:
        fewest = len(self.default) if self.fewest is None else self.fewest
        most = len(self.default) if self.most is None else self.most
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not fewest <= len(values) <= most or not all(self.low <= v <= self.high for v in values):
            count = f"{fewest}" if fewest == most else _("{low} to {high}").format(low=fewest, high=most)
            raise ValueError(
                _("allowed: {count} numbers from {low:g} to {high:g}, between commas.").format(
                    count=count, low=self.low, high=self.high
                )
            )
        return values

    def write(self, value: tuple[float, ...]) -> str:
        return ",".join(f"{v:.6g}" for v in value)


@dataclass(frozen=True)
class Several:
    """Some of several names, at least one, between commas. `options`: name in the address to what is read."""

    default: tuple[str, ...]
    options: Mapping[str, str]

    def read(self, text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        if not all(name in self.options for name in given):
            raise ValueError(_("allowed: {names}, between commas.").format(names=", ".join(self.options)))
        return given

    def write(self, value: tuple[str, ...]) -> str:
        return ",".join(value)


@dataclass(frozen=True)
class Words:
    """A text of at most `most` characters."""

    default: str
    most: int

    def read(self, text: str) -> str:
        if len(text) > self.most:
            raise ValueError(_("allowed: at most {most:,} characters.").format(most=self.most))
        return text

    def write(self, value: str) -> str:
        return value
