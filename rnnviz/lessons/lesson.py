"""What a lesson is: a question, twins that answer it, and the numbers in which the answer must show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..experiment import Experiment
from ..recording import Chunk

#: Whole runs, one record for each of a lesson's experiments, in their order.
Records = Sequence[Chunk]

LOOKS = 3  # validations that the end of a run is judged by: one alone may be a lucky or an unlucky one


@dataclass(frozen=True)
class Lesson:
    """A question answered by one to four experiments that differ in one setting.

    The texts are for somebody who meets the subject for the first time.
    """

    name: str
    """Safe in a link and in the name of a file"""
    title: str
    question: str
    """To be answered before anything is trained"""
    choices: tuple[str, ...]
    answer: int
    """Index into `choices`"""
    look: str
    """Which pane to look at, and for what"""
    reveal: str
    """What there was to see and why, with the source"""
    experiments: tuple[Experiment, ...]
    twins: tuple[str, ...]
    """A short name of each experiment"""
    panes: tuple[str, ...]
    effect: str
    """The criterion, in words"""
    criterion: Callable[..., bool] = field(repr=False)
    """The same as a function of the records, one argument for each experiment"""
    number: Callable[[Chunk], str] = field(repr=False)
    """What the criterion looks at in one record, in words"""

    def shows(self, records: Records) -> bool:
        """Whether these runs show the effect."""
        return bool(self.criterion(*records))

    def measure(self, records: Records) -> tuple[str, ...]:
        """The numbers behind that, a part of a sentence for each experiment."""
        return tuple(f"{name}: {self.number(r)}" for name, r in zip(self.twins, records, strict=True))

    def seeded(self, seed: int) -> tuple[Experiment, ...]:
        """The experiments with another seed."""
        return tuple(experiment.changed(seed=seed) for experiment in self.experiments)


def differ(base: dict[str, Any], name: str, *values: Any) -> tuple[Experiment, ...]:
    """Experiments that differ in the field `name` alone."""
    return tuple(Experiment(**{**base, name: value}) for value in values)


# Numbers of a whole run.


def accuracy(record: Chunk) -> float:
    """Share of right answers on held-out sequences at the end of the run."""
    return float(record.validation_accuracy[-LOOKS:].mean())


def loss(record: Chunk) -> float:
    """Loss on held-out sequences at the end of the run."""
    return float(record.validation_loss[-LOOKS:].mean())


def lowest_loss(record: Chunk) -> float:
    """The lowest loss on held-out sequences that the run has seen."""
    return float(np.nanmin(record.validation_loss))


def reach(record: Chunk, step: int = 0) -> float:
    """Gradient at the first time step as a multiple of that at the last: |dL/dh_1| / |dL/dh_T|.

    step: index of the training step, 0 for the network as it was drawn.
    """
    first, last = (float(record.grad_hidden[step, 0, 0, t]) for t in (0, -1))
    return first / last if last else float("nan")


def diverged(record: Chunk) -> bool:
    """Whether the run ended because a number was no longer finite: its last step made no update."""
    return int(record.step[-1]) >= record.next_step


def clipped(record: Chunk) -> float:
    """Share of the steps whose gradient was clipped."""
    return record.clipped / len(record)


def percent(share: float) -> str:
    """A share in words: "97 %", and "99.9 %" or "0.1 %" where rounding would say all or nothing."""
    if 0.01 <= share < 0.995 or share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"


def power(value: float) -> str:
    """A number in few digits, far from 1 as a power of ten: "0.125", "1,730", "3.6e-12"."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{float(f'{value:.3g}'):,.6g}"
    if not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
