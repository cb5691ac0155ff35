"""The latch problem: the first three steps name one of two classes, all that follows is noise."""

import math
from typing import final

import numpy as np

from .task import FEW_WRONG, Batch, Floats, GeneratedTask, named, share_right

INFORMATIVE = 3  # steps that tell the class: N in the paper
VARIANCE = 0.2  # of the noise
CLASSES = ("-1", "+1")


@final
class Latch(GeneratedTask):
    name = "latch"
    label = "Holding on to one bit"
    question = "Did the sequence begin with +1 or with -1?"
    explanation = (
        "The network sees one number at every step. The first three are all +1 or all -1, and the rest is "
        "noise around 0. After the last step the network must say which of the two it was. "
        "Few weights are enough for this, and even guessing weights at random can find them: "
        "to solve it proves little about how well a network learns."
    )
    source = (
        "Bengio, Simard & Frasconi (1994), Learning Long-Term Dependencies with Gradient Descent is "
        "Difficult; in the form of Hochreiter & Schmidhuber (1997), Long Short-Term Memory, experiment 3a"
    )
    loss = "cross_entropy"
    readout = "last"
    input_size = 1
    output_size = len(CLASSES)
    min_length = INFORMATIVE + 1
    max_length = 2000
    default_length = 50
    fixed_length = None
    accuracy_label = "classes right"
    baseline_label = "guessing between 2 classes: ln 2"
    solved = FEW_WRONG

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return math.log(len(CLASSES))

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        classes = rng.integers(len(CLASSES), size=size)
        values = rng.normal(0.0, math.sqrt(VARIANCE), size=(length, size))
        values[:INFORMATIVE] = 2.0 * classes - 1.0
        return Batch(values[..., None], classes, np.tile(np.arange(INFORMATIVE), (size, 1)))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return ("value",)

    def answer(self, batch: Batch, i: int) -> str:
        return CLASSES[int(batch.targets[i])]

    def predicted(self, output: Floats) -> str:
        return named(output, CLASSES)
