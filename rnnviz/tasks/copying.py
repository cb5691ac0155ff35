"""The copying memory problem: ten symbols, a long blank, then repeat them."""

import math
from typing import final

import numpy as np

from .task import Batch, Floats, GeneratedTask, Solved, chosen, one_hot, share_right

ITEMS = 10
SYMBOLS = 8
BLANK = 0
MARKER = SYMBOLS + 1


@final
class Copying(GeneratedTask):
    name = "copying"
    label = "Copying ten symbols"
    question = "Which ten symbols came first, and in which order?"
    explanation = (
        "The network sees ten symbols, then T - 1 blanks, a marker and ten more blanks; "
        "it must answer blanks until the marker and then repeat the ten symbols in order. "
        "The paper uses T = 100 to 500, where learning takes hundreds of thousands of updates; "
        "the default here is shorter and is not the paper's setting."
    )
    source = (
        "Hochreiter & Schmidhuber (1997), Long Short-Term Memory; "
        "in the form of Arjovsky, Shah & Bengio (2016), Unitary Evolution Recurrent Neural Networks"
    )
    loss = "cross_entropy"
    readout = "every"
    input_size = SYMBOLS + 2
    output_size = SYMBOLS + 1
    silent = BLANK
    min_length = 1
    max_length = 500
    default_length = 20
    fixed_length = None
    accuracy_label = "recalled symbols right"
    baseline_label = "blanks, then guessing among 8 symbols: 10 ln 8 / (T + 20)"
    solved = Solved("accuracy", 0.99, "At least 99 % of the recalled validation symbols are right.")

    def steps(self, length: int) -> int:
        return length + 2 * ITEMS

    def baseline(self, length: int) -> float:
        return ITEMS * math.log(SYMBOLS) / self.steps(length)

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        items = rng.integers(1, SYMBOLS + 1, size=(ITEMS, size))
        symbols = np.full((self.steps(length), size), BLANK)  # (T + 20, B)
        targets = symbols.copy()
        symbols[:ITEMS] = items
        symbols[-ITEMS - 1] = MARKER
        targets[-ITEMS:] = items
        return Batch(one_hot(symbols, self.input_size), targets, np.tile(np.arange(ITEMS), (size, 1)))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        """Of the recalled symbols only: the blanks before them need no memory."""
        return share_right(outputs[-ITEMS:], batch.targets[-ITEMS:])

    def channels(self) -> tuple[str, ...]:
        return ("blank", *(str(symbol) for symbol in range(1, SYMBOLS + 1)), "marker")

    def answer(self, batch: Batch, i: int) -> str:
        return " ".join(str(symbol) for symbol in batch.targets[-ITEMS:, i])

    def predicted(self, output: Floats) -> str:
        """The ten recalled symbols: "·" for a blank, "?" where the output is not finite."""
        words = {BLANK: "·", -1: "?"}
        return " ".join(words.get(symbol, str(symbol)) for symbol in chosen(output[-ITEMS:]).tolist())
