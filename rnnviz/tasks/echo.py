"""The delayed echo: repeat every bit d steps later."""

import math
from typing import final

import numpy as np

from .task import Batch, Floats, GeneratedTask, Solved, one_hot, share_right, spoken

BITS = ("0", "1")
NOTHING_YET = 2  # the class before the first echo
# Echoes in one sequence, the same number at every delay: so the accuracy counts equally many answers, and
# the longest delay costs no more than itself (as the ten recalled symbols of the copying problem do).
ECHOES = 20


@final
class Echo(GeneratedTask):
    """`length` is the delay."""

    name = "echo"
    label = "Delayed echo"
    question = "Which bit came d steps ago?"
    explanation = (
        "The network sees a random bit, 0 or 1, at every step and must repeat each one d steps later; "
        f"until then it answers that there is nothing yet. A sequence has d + {ECHOES} steps. "
        "All of the last d bits have to be kept at once and in order, so that what grows with d is not only "
        "how long but also how much must be remembered."
    )
    source = (
        "Jaeger (2001), Short Term Memory in Echo State Networks; "
        "with bits instead of real numbers and one fixed delay"
    )
    loss = "cross_entropy"
    readout = "every"
    input_size = len(BITS)
    output_size = len(BITS) + 1
    silent = NOTHING_YET
    min_length = 1
    max_length = 200
    default_length = 10
    fixed_length = None
    accuracy_label = "echoed bits right"
    baseline_label = f"nothing yet, then guessing bits: {ECHOES} ln 2 / (d + {ECHOES})"
    solved = Solved("accuracy", 0.99, "At least 99 % of the echoed validation bits are right.")

    def steps(self, length: int) -> int:
        return length + ECHOES

    def baseline(self, length: int) -> float:
        return ECHOES * math.log(len(BITS)) / self.steps(length)

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        bits = rng.integers(len(BITS), size=(self.steps(length), size))
        targets = np.full_like(bits, NOTHING_YET)
        targets[length:] = bits[:ECHOES]
        return Batch(one_hot(bits, len(BITS)), targets, np.tile(np.arange(ECHOES), (size, 1)))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        """Of the echoes only: the steps before them need no memory."""
        return share_right(outputs[-ECHOES:], batch.targets[-ECHOES:])

    def classes(self) -> tuple[str, ...]:
        return (*BITS, "nothing yet")

    def channels(self) -> tuple[str, ...]:
        return BITS

    def answer(self, batch: Batch, i: int) -> str:
        return " ".join(BITS[bit] for bit in batch.targets[-ECHOES:, i].astype(int))

    def predicted(self, output: Floats) -> str:
        """The echoed bits: "·" for nothing yet, "?" where the output is not finite."""
        return spoken(output[-ECHOES:], (*BITS, "·"))
