"""Parity: is the number of ones among random bits even or odd, at the end or after every bit?"""

import math
from typing import Literal, final

import numpy as np

from .task import FEW_WRONG, Batch, Floats, GeneratedTask, Solved, named, one_hot, share_right, spoken

BITS = ("0", "1")
CLASSES = ("even", "odd")

SOURCE = (
    "Bengio, Simard & Frasconi (1994), Learning Long-Term Dependencies with Gradient Descent is Difficult; "
    "with bits 0 and 1 instead of -1 and 1"
)


@final
class Parity(GeneratedTask):
    """Class 1 is odd. With the readout "every" the parity so far is asked at every step."""

    source = SOURCE
    loss = "cross_entropy"
    # A channel for each bit, so that a 0 is seen as clearly as a 1.
    input_size = len(BITS)
    output_size = len(CLASSES)
    min_length = 1
    max_length = 500
    default_length = 20
    fixed_length = None
    baseline_label = "guessing even or odd: ln 2"

    def __init__(
        self, name: str, label: str, question: str, explanation: str, readout: Literal["last", "every"]
    ) -> None:
        self.name = name
        self.label = label
        self.question = question
        self.explanation = explanation
        self.readout = readout
        if readout == "last":
            self.accuracy_label = "parities right"
            self.solved = FEW_WRONG
        else:
            self.accuracy_label = "parities right, of all steps"
            self.solved = Solved("accuracy", 0.99, "At least 99 % of the parities are right, over all steps.")

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        """The parity of any number of fair bits is a fair bit."""
        return math.log(len(CLASSES))

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        bits = rng.integers(len(BITS), size=(length, size))
        parities = bits.cumsum(axis=0) % 2
        targets = parities if self.readout == "every" else parities[-1].copy()
        return Batch(one_hot(bits, len(BITS)), targets, np.tile(np.arange(length), (size, 1)))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return BITS

    def answer(self, batch: Batch, i: int) -> str:
        if self.readout == "last":
            return CLASSES[int(batch.targets[i])]
        return " ".join(BITS[parity] for parity in batch.targets[:, i].astype(int))

    def predicted(self, output: Floats) -> str:
        """At every step 0 for even and 1 for odd, "?" where the output is not finite."""
        return named(output, CLASSES) if self.readout == "last" else spoken(output, BITS)


PARITY = Parity(
    name="parity",
    label="Parity",
    question="Was the number of ones even or odd?",
    explanation=(
        "The network sees a random bit, 0 or 1, at every step. "
        "After the last step it must say whether the number of ones was even or odd. "
        "Every bit matters: with one bit unknown the answer is a coin toss, so that a network that has "
        "understood only a part is no better than one that guesses."
    ),
    readout="last",
)
PARITY_RUNNING = Parity(
    name="parity_running",
    label="Parity after every bit",
    question="Is the number of ones so far even or odd?",
    explanation=(
        "The network sees a random bit, 0 or 1, at every step and says each time whether the number of ones "
        "so far is even (0) or odd (1). "
        "The first answers need hardly any memory, and the same rule gives all later ones: "
        "unlike the answer at the end alone, this can be learned from the first steps on."
    ),
    readout="every",
)
