"""The temporal order problem: A or B at two or three places; answer which, in order."""

import math
from itertools import product
from typing import final

import numpy as np

from .task import FEW_WRONG, Batch, Floats, GeneratedTask, named, one_hot, share_right

SYMBOLS = ("A", "B", "c", "d", "e", "f")
FIRST_FILLER = 2


@final
class TemporalOrder(GeneratedTask):
    """A or B once in each range that begins at one of the `tenths` of the length and is a tenth long."""

    loss = "cross_entropy"
    readout = "last"
    input_size = len(SYMBOLS)
    min_length = 10
    max_length = 500
    default_length = 50
    fixed_length = None
    accuracy_label = "orders right"
    solved = FEW_WRONG

    def __init__(
        self, name: str, label: str, question: str, explanation: str, source: str, tenths: tuple[int, ...]
    ) -> None:
        self.name = name
        self.label = label
        self.question = question
        self.explanation = explanation
        self.source = source
        self.tenths = tenths
        # class = v0 + 2 * v1 + 4 * v2: the first place changes fastest.
        self.orders = tuple(" then ".join(word[::-1]) for word in product("AB", repeat=len(tenths)))
        self.output_size = len(self.orders)
        self.baseline_label = f"guessing among {self.output_size} orders: ln {self.output_size}"

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return math.log(self.output_size)

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        # The ranges of the authors' code, such as [0.1 L, 0.2 L), in whole tenths of the length.
        width, row, places = length // 10, np.arange(size), len(self.tenths)
        positions = [length * tenth // 10 + rng.integers(width, size=size) for tenth in self.tenths]
        values = rng.integers(FIRST_FILLER, size=(places, size))
        symbols = rng.integers(FIRST_FILLER, len(SYMBOLS), size=(length, size))
        for position, value in zip(positions, values, strict=True):
            symbols[position, row] = value
        classes = 2 ** np.arange(places) @ values
        return Batch(one_hot(symbols, len(SYMBOLS)), classes, np.stack(positions, axis=1))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return SYMBOLS

    def answer(self, batch: Batch, i: int) -> str:
        return self.orders[int(batch.targets[i])]

    def predicted(self, output: Floats) -> str:
        return named(output, self.orders)


TEMPORAL_ORDER = TemporalOrder(
    name="temporal_order",
    label="Temporal order",
    question="Which of A and B came first, and which came second?",
    explanation=(
        "The network sees one of six symbols at every step. "
        "Four of them mean nothing; an A or a B appears early, and again an A or a B just past the middle. "
        "After the last step the network must say which of the four orders it saw."
    ),
    source=(
        "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks; "
        "after Hochreiter & Schmidhuber (1997), experiment 6a"
    ),
    tenths=(1, 5),
)
TEMPORAL_ORDER_3 = TemporalOrder(
    name="temporal_order_3",
    label="Temporal order of three",
    question="Which of A and B came first, second and third?",
    explanation=(
        "The network sees one of six symbols at every step. "
        "Four of them mean nothing; an A or a B appears early, again about a third of the way through and "
        "once more past the middle. "
        "After the last step the network must say which of the eight orders it saw."
    ),
    source=(
        "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks; "
        "after Hochreiter & Schmidhuber (1997), experiment 6b"
    ),
    tenths=(1, 3, 6),
)
