"""Say it again: a sequence is read to its end, then written, in its order or from its end."""

import math
from typing import final

import numpy as np

from .task import Batch, Floats, GeneratedTask, Solved, one_hot, share_right, spoken

SYMBOLS = "abcdefgh"
GO = len(SYMBOLS)  # the channel that says: write


@final
class Repetition(GeneratedTask):
    """`length` is the number of symbols: T steps that read, and T steps that write."""

    source = (
        "Sutskever, Vinyals & Le (2014), Sequence to Sequence Learning with Neural Networks, who found that "
        "reversing the source helps; here with random symbols in place of sentences"
    )
    loss = "cross_entropy"
    readout = "every"
    tells_answers = True
    reads_first = True
    input_size = len(SYMBOLS) + 1
    output_size = len(SYMBOLS)
    min_length = 1
    max_length = 200
    default_length = 8
    fixed_length = None
    accuracy_label = "symbols right"
    baseline_label = "guessing among 8 symbols: ln 8"
    solved = Solved("accuracy", 0.99, "At least 99 % of the written validation symbols are right.")

    def __init__(self, name: str, label: str, question: str, remark: str, from_end: bool) -> None:
        """`from_end`: whether the last symbol is written first."""
        self.name, self.label, self.question, self.from_end = name, label, question, from_end
        self.explanation = (
            f"The network reads T random symbols, then a sign to write, and writes them {remark} "
            "While it writes it is told at each step which symbol was right at the step before, as is usual "
            "in training (teacher forcing); that helps little here, since the symbols are random. "
            "One network can do both, or an encoder reads and a decoder writes (architecture)."
        )

    def steps(self, length: int) -> int:
        return 2 * length

    def answered(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return math.log(len(SYMBOLS))

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        read = rng.integers(len(SYMBOLS), size=(length, size))  # (T, B)
        write = read[::-1].copy() if self.from_end else read
        told = np.concatenate([np.full((1, size), GO), write[:-1]])
        inputs = one_hot(np.concatenate([read, told]), self.input_size)
        return Batch(inputs, write, np.empty((size, 0), dtype=np.int64))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return (*SYMBOLS, "write")

    def answer(self, batch: Batch, i: int) -> str:
        return " ".join(SYMBOLS[symbol] for symbol in batch.targets[:, i].astype(int))

    def predicted(self, output: Floats) -> str:
        return spoken(output, tuple(SYMBOLS))


REPETITION = Repetition(
    "repetition",
    "Say it again",
    "Which symbols were read, in the same order?",
    "in the order in which they came, so that each has to be kept for T steps.",
    from_end=False,
)
REVERSAL = Repetition(
    "reversal",
    "Say it backward",
    "Which symbols were read, from the last to the first?",
    "from the last to the first: the first answer is near, and each further one is two steps further away.",
    from_end=True,
)
