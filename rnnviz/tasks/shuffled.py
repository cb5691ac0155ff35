"""A control: the same sequences with their steps in random order, to show what the order is worth."""

from typing import final

import numpy as np

from .task import Batch, Floats, GeneratedTask


@final
class Shuffled(GeneratedTask):
    """Another task's sequences, the steps of each in a random order of its own; the targets stay.

    For tasks whose sequences are drawn. A data set has to shuffle its sequences itself, since only it knows
    which of them is which (see `digits_shuffled`).
    """

    def __init__(self, task: GeneratedTask, remark: str) -> None:
        """`remark`: what can still be known without the order, in plain words."""
        self.task = task
        self.name = f"{task.name}_shuffled"
        self.label = f"{task.label}, shuffled"
        self.question = f"{task.question} (The steps are shuffled.)"
        self.explanation = (
            "A control: the steps of every sequence come in a random order, another one for each sequence, "
            f"and the answer stays. {remark} The task itself: {task.explanation}"
        )
        self.source = f"A control of our own, made from: {task.source}"
        self.loss = task.loss
        self.readout = task.readout
        self.input_size = task.input_size
        self.output_size = task.output_size
        self.min_length = task.min_length
        self.max_length = task.max_length
        self.default_length = task.default_length
        self.fixed_length = task.fixed_length
        self.accuracy_label = task.accuracy_label
        self.baseline_label = task.baseline_label
        self.solved = task.solved
        self.most_sequences = task.most_sequences

    def steps(self, length: int) -> int:
        return self.task.steps(length)

    def answered(self, length: int) -> int:
        return self.task.answered(length)

    def baseline(self, length: int) -> float:
        return self.task.baseline(length)

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        batch = self.task.sample(rng, length, size)
        steps = np.arange(self.steps(length))
        order = rng.permuted(np.tile(steps, (size, 1)), axis=1)  # (B, T): the step that comes t-th
        inputs = np.take_along_axis(batch.inputs, order.T[..., None], axis=0)
        # Where each step has gone: the inverse of the order.
        places = np.argsort(order, axis=1)
        return Batch(inputs, batch.targets, np.take_along_axis(places, batch.marks, axis=1))

    def accuracy(self, outputs: Floats, batch: Batch) -> float | None:
        return self.task.accuracy(outputs, batch)

    def channels(self) -> tuple[str, ...]:
        return self.task.channels()

    def answer(self, batch: Batch, i: int) -> str:
        return self.task.answer(batch, i)

    def predicted(self, output: Floats) -> str:
        return self.task.predicted(output)
