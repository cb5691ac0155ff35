"""The temporal order problem: A or B early, A or B again in the middle; answer which, in order."""

import math
from typing import final

import numpy as np

from .task import NO_ANSWER, Batch, Floats, GeneratedTask, Solved, chosen, one_hot, share_right

SYMBOLS = ("A", "B", "c", "d", "e", "f")
FIRST_FILLER = 2
CLASSES = ("A then A", "B then A", "A then B", "B then B")  # class = first + 2 * second


@final
class TemporalOrder(GeneratedTask):
    name = "temporal_order"
    label = "Temporal order"
    question = "Which of A and B came first, and which came second?"
    explanation = (
        "The network sees one of six symbols at every step. "
        "Four of them mean nothing; an A or a B appears early, and again an A or a B just past the middle. "
        "After the last step the network must say which of the four orders it saw."
    )
    source = (
        "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks; "
        "after Hochreiter & Schmidhuber (1997), experiment 6a"
    )
    loss = "cross_entropy"
    readout = "last"
    input_size = len(SYMBOLS)
    output_size = len(CLASSES)
    min_length = 10
    max_length = 500
    default_length = 50
    fixed_length = None
    accuracy_label = "orders right"
    baseline_label = "guessing among 4 orders: ln 4"
    # Between 990 and 991 right of 1,000, so that rounding to single precision cannot decide.
    solved = Solved("accuracy", 0.9905, "Under 1 % of the validation sequences are wrong.")

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return math.log(len(CLASSES))

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        # The ranges of the authors' code: [0.1 L, 0.2 L) and [0.5 L, 0.6 L), in whole tenths of the length.
        tenth, row = length // 10, np.arange(size)
        first = tenth + rng.integers(tenth, size=size)
        second = length // 2 + rng.integers(tenth, size=size)
        early, late = rng.integers(FIRST_FILLER, size=(2, size))
        symbols = rng.integers(FIRST_FILLER, len(SYMBOLS), size=(length, size))
        symbols[first, row] = early
        symbols[second, row] = late
        return Batch(one_hot(symbols, len(SYMBOLS)), early + 2 * late, np.stack([first, second], axis=1))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return SYMBOLS

    def answer(self, batch: Batch, i: int) -> str:
        return CLASSES[int(batch.targets[i])]

    def predicted(self, output: Floats) -> str:
        best = int(chosen(output))
        return NO_ANSWER if best < 0 else CLASSES[best]
