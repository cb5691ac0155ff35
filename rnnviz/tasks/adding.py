"""The adding problem: one number of each half is marked; answer their sum."""

from typing import final

import numpy as np

from .task import NO_ANSWER, Batch, Floats, GeneratedTask, Solved

# The error below which Hochreiter & Schmidhuber (1997, experiment 4) count a sum as right.
TOLERANCE = 0.04


@final
class Adding(GeneratedTask):
    name = "adding"
    label = "Adding two numbers"
    question = "Which two numbers were marked, one in each half, and what is their sum?"
    explanation = (
        "At every step the network sees a random number between 0 and 1 and a marker, nearly always 0. "
        "The marker is 1 at one step of the first half and at one step of the second half. "
        "After the last step the network must answer the sum of the two marked numbers."
    )
    source = (
        "Hochreiter & Schmidhuber (1997), Long Short-Term Memory, experiment 4; "
        "in the form of Arjovsky, Shah & Bengio (2016), Unitary Evolution Recurrent Neural Networks"
    )
    loss = "mse"
    readout = "last"
    input_size = 2
    output_size = 1
    min_length = 2
    max_length = 1000
    default_length = 50
    fixed_length = None
    accuracy_label = f"sums right to within {TOLERANCE}"
    baseline_label = "always answering 1: MSE 1/6"
    solved = Solved("loss", 0.01, "The mean squared error on the validation sequences is below 0.01.")

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        """Variance of the sum of two independent U[0, 1]."""
        return 1 / 6

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        half, row = length // 2, np.arange(size)
        values = rng.random((length, size))
        first = rng.integers(0, half, size=size)
        second = rng.integers(half, length, size=size)
        markers = np.zeros((length, size))
        markers[first, row] = markers[second, row] = 1.0
        return Batch(
            inputs=np.stack([values, markers], axis=2),
            targets=(values[first, row] + values[second, row])[:, None],
            marks=np.stack([first, second], axis=1),
        )

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return float(np.mean(np.abs(outputs - batch.targets) < TOLERANCE))

    def channels(self) -> tuple[str, ...]:
        return ("value", "marker")

    def answer(self, batch: Batch, i: int) -> str:
        first, second = batch.inputs[batch.marks[i], i, 0]
        # "about": rounded terms need not add up to the rounded sum.
        return f"{first:.3f} + {second:.3f} ≈ {float(batch.targets[i, 0]):.3f}"

    def predicted(self, output: Floats) -> str:
        value = float(output[0])
        return f"{value:.3f}" if np.isfinite(value) else NO_ANSWER
