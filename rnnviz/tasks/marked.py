"""What the adding and the multiplication problem share: one number of each half is marked."""

from abc import abstractmethod

import numpy as np

from .task import NO_ANSWER, Batch, Floats, GeneratedTask

# The error below which Hochreiter & Schmidhuber (1997, experiments 4 and 5) count an answer as right.
TOLERANCE = 0.04


class MarkedNumbers(GeneratedTask):
    """Values from U[0, 1] with a marker in each half; the answer is made of the two marked values."""

    sign: str
    """between the two values in plain words"""

    loss = "mse"
    readout = "last"
    input_size = 2
    output_size = 1
    min_length = 2
    max_length = 2000
    default_length = 50
    fixed_length = None

    @abstractmethod
    def result(self, first: Floats, second: Floats) -> Floats:
        """The answer (B,) for marked values (B,)."""

    def steps(self, length: int) -> int:
        return length

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        half, row = length // 2, np.arange(size)
        inputs = np.zeros((length, size, 2))
        inputs[..., 0] = rng.random((length, size))
        first = rng.integers(0, half, size=size)
        second = rng.integers(half, length, size=size)
        inputs[first, row, 1] = inputs[second, row, 1] = 1.0
        targets = self.result(inputs[first, row, 0], inputs[second, row, 0])[:, None]
        return Batch(inputs, targets, np.stack([first, second], axis=1))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return float(np.mean(np.abs(outputs - batch.targets) < TOLERANCE))

    def channels(self) -> tuple[str, ...]:
        return ("value", "marker")

    def answer(self, batch: Batch, i: int) -> str:
        first, second = batch.inputs[batch.marks[i], i, 0]
        # "about": rounded values need not make the rounded answer.
        return f"{first:.3f} {self.sign} {second:.3f} ≈ {float(batch.targets[i, 0]):.3f}"

    def predicted(self, output: Floats) -> str:
        value = float(output[0])
        return f"{value:.3f}" if np.isfinite(value) else NO_ANSWER
