"""What a task is: sequences in, targets out, and the numbers that say how hard it is and when it is solved.

Shapes: T time steps, B sequences in a batch, I input channels, O outputs, M marked steps.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Second word of every seed, so that no two streams of random numbers are ever the same one.
TRAINING_STREAM = 1
EPOCH_STREAM = 2
VALIDATION_STREAM = 3

VALIDATION_SIZE = 1000

NO_ANSWER = "no answer (not a finite number)"


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences with their targets."""

    inputs: Floats
    """(T, B, I)"""
    targets: Floats | Ints
    """"last" readout: (B, O) for "mse", classes (B,) for "cross_entropy"; "every": (T, B, O) or (T, B)"""
    marks: Ints
    """(B, M): the time steps, counted from 0, on which the answer depends; M may be 0"""


@dataclass(frozen=True)
class Solved:
    """The stated criterion, measured on the validation set."""

    metric: Literal["loss", "accuracy"]
    threshold: float
    """loss: strictly below; accuracy (0 to 1): at least"""
    sentence: str
    """the same in plain words"""

    def met(self, loss: float, accuracy: float | None) -> bool:
        """Whether a validation loss and accuracy meet it; NaN never does."""
        if self.metric == "loss":
            return loss < self.threshold
        return accuracy is not None and accuracy >= self.threshold


class Task(ABC):
    """Sequences with a long dependency. `length` is always the T of the task's own definition."""

    name: str
    label: str
    question: str
    """one line: what has to be remembered"""
    explanation: str
    source: str
    """citation, or origin and licence of the data"""
    loss: Literal["mse", "cross_entropy"]
    readout: Literal["last", "every"]
    input_size: int
    output_size: int
    min_length: int
    max_length: int
    default_length: int
    fixed_length: int | None
    accuracy_label: str | None
    baseline_label: str
    solved: Solved

    @abstractmethod
    def steps(self, length: int) -> int:
        """Time steps of one sequence."""

    @abstractmethod
    def baseline(self, length: int) -> float:
        """Loss of the best predictor that ignores the input; cross-entropy is in nats."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        """`size` sequences drawn with `rng`, never from the held-out part of a data set."""

    @abstractmethod
    def training_batch(self, seed: int, step: int, length: int, size: int) -> Batch:
        """The batch of a training step: a pure function of its arguments, so that a run resumes exactly."""

    @abstractmethod
    def validation_batch(self, length: int) -> Batch:
        """Held-out sequences, the same for every seed. Cached, hence read-only."""

    @abstractmethod
    def accuracy(self, outputs: Floats, batch: Batch) -> float | None:
        """Share of right answers, 0 to 1, for outputs (B, O), or (T, B, O) where the readout is "every"."""

    @abstractmethod
    def channels(self) -> tuple[str, ...]:
        """Name of each of the I input channels."""

    @abstractmethod
    def answer(self, batch: Batch, i: int) -> str:
        """The right answer of sequence `i` in plain words."""

    @abstractmethod
    def predicted(self, output: Floats) -> str:
        """What the outputs of one sequence, (O,) or (T, O), say in plain words."""

    def picture(self, batch: Batch, i: int) -> Floats | None:
        """Sequence `i` as the image it was made from, (rows, columns) of 0 to 1; None where there is none."""
        return None

    def check(self, length: int, size: int) -> None:
        """Raise ValueError unless `size` sequences of this length can be drawn."""
        if not self.min_length <= length <= self.max_length:
            allowed = f"from {self.min_length} to {self.max_length}"
            if self.fixed_length is not None:
                allowed = f"of {self.fixed_length} only"
            raise ValueError(f"task {self.name!r} takes a length {allowed}; got {length}")
        if size < 1:
            raise ValueError(f"a batch holds at least 1 sequence; got {size}")


class GeneratedTask(Task):
    """A task whose sequences are drawn afresh for every batch: both kinds of batch follow from `sample`."""

    def training_batch(self, seed: int, step: int, length: int, size: int) -> Batch:
        return self.sample(np.random.default_rng([seed, TRAINING_STREAM, step]), length, size)

    def validation_batch(self, length: int) -> Batch:
        return _validation_batch(self, length)


# Four, because a batch of long one-hot sequences takes up to 42 MB.
@lru_cache(maxsize=4)
def _validation_batch(task: GeneratedTask, length: int) -> Batch:
    rng = np.random.default_rng([0, VALIDATION_STREAM, length])
    return read_only(task.sample(rng, length, VALIDATION_SIZE))


def read_only(batch: Batch) -> Batch:
    """The same batch with its arrays locked: many runs share it."""
    for array in (batch.inputs, batch.targets, batch.marks):
        array.setflags(write=False)
    return batch


def one_hot(symbols: Ints, count: int) -> Floats:
    """Symbols (...) from 0 to count - 1 as vectors (..., count)."""
    return np.eye(count)[symbols]


def chosen(outputs: Floats) -> Ints:
    """The class (...) with the largest of the outputs (..., O); -1 where they are not all finite."""
    # argmax of a row with NaN names the NaN's place: a diverged network would seem to answer.
    finite = np.isfinite(outputs).all(axis=-1)
    return np.where(finite, np.argmax(outputs, axis=-1), -1)


def share_right(outputs: Floats, classes: Floats | Ints) -> float:
    """Share, 0 to 1, of outputs (..., O) whose largest element is that of the right class (...)."""
    return float(np.mean(chosen(outputs) == classes))
