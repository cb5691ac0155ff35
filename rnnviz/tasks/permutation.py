"""The random permutation problem: remember the first of many symbols until the end."""

import math
from typing import final

import numpy as np

from .task import FEW_WRONG, Batch, Floats, GeneratedTask, named, one_hot, share_right

SYMBOLS = 100
CLASSES = ("0", "1")  # the symbols that a sequence can begin with; no other step has them


@final
class Permutation(GeneratedTask):
    name = "permutation"
    label = "The first of many symbols"
    question = "Was the first symbol a 0 or a 1?"
    explanation = (
        "The network sees one of a hundred symbols at every step. The first is 0 or 1, all others are drawn "
        "from the other 98 and mean nothing. After the last step the network must name the first. "
        "What makes it hard is that any of the many symbols in between can push the memory aside. "
        "In the paper the network also predicts every next symbol; since these are random, only the last "
        "prediction matters, and here it is the only one."
    )
    source = (
        "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks; "
        "after Hochreiter & Schmidhuber (1997), Long Short-Term Memory, experiment 2b"
    )
    loss = "cross_entropy"
    readout = "last"
    input_size = SYMBOLS
    output_size = len(CLASSES)
    min_length = 2
    max_length = 100  # a hundred channels: longer sequences would take too much memory
    default_length = 50
    fixed_length = None
    accuracy_label = "first symbols right"
    baseline_label = "guessing between 2 symbols: ln 2"
    solved = FEW_WRONG
    most_sequences = 1000  # 80 MB at the largest length, as much as the largest pool of the copying problem

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return math.log(len(CLASSES))

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        symbols = rng.integers(len(CLASSES), SYMBOLS, size=(length, size))
        symbols[0] = rng.integers(len(CLASSES), size=size)
        return Batch(one_hot(symbols, SYMBOLS), symbols[0].copy(), np.zeros((size, 1), dtype=np.int64))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return tuple(str(symbol) for symbol in range(SYMBOLS))

    def answer(self, batch: Batch, i: int) -> str:
        return CLASSES[int(batch.targets[i])]

    def predicted(self, output: Floats) -> str:
        return named(output, CLASSES)
