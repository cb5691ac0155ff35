"""What a task is: sequences in, targets out, and the numbers that say how hard it is and when it is solved.

Shapes: T time steps, A of them with an answer, B sequences in a batch, I input channels, O outputs, M marked
steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Second word of every seed, so that no two streams of random numbers are ever the same one. The list names
# those that others draw as well. (Weights have a first word of their own, in first_weights.py.)
TRAINING_STREAM = 1
EPOCH_STREAM = 2
VALIDATION_STREAM = 3
POOL_STREAM = 4
DROPOUT_STREAM = 5  # training.py
ORDER_STREAM = 6
FRESH_STREAM = 7  # runs/job_kinds.py: sequences that nobody has seen
PROBE_STREAM = 8  # analysis/probe.py
WRITING_STREAM = 9  # analysis/written.py

VALIDATION_SIZE = 1000
LARGEST_POOL = 2000  # of long one-hot sequences that is 83 MB, and far too many to be learned by heart

DRAWN_SEQUENCES = 256  # most sequences, and most numbers, that are drawn together
DRAWN_NUMBERS = 2**20

NO_ANSWER = "no answer (not a finite number)"


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences with their targets."""

    inputs: Floats
    """(T, B, I)"""
    targets: Floats | Ints
    """"last" readout: (B, O) for "mse", classes (B,) for "cross_entropy"; "every": (A, B, O) or (A, B)
    for the A steps that have an answer, `Task.answered`"""
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


# Between 990 and 991 right of 1,000, so that rounding to single precision cannot decide.
FEW_WRONG = Solved("accuracy", 0.9905, "Under 1 % of the validation sequences are wrong.")


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
    most_sequences: int
    """the largest pool of training sequences"""
    reads_first: bool = False
    """whether everything is read before the first step that has an answer"""
    one_input: bool = False
    """whether there is something to read at the first step only"""
    tells_answers: bool = False
    """whether inputs hold the answers of earlier steps: who reads from the end has only to copy them"""
    silent: int | None = None
    """the class that means that there is nothing to say at a time step, if there is such a class"""

    @property
    def form(self) -> str:
        """How many steps are read for how many answers, in words."""
        if self.readout == "last":
            return "many to one: one answer at the end"
        if self.reads_first:
            return "many to many: everything is read before the first answer"
        if self.one_input:
            return "one to many: one input, an answer at every step"
        return "many to many, in step: an answer at every step"

    @abstractmethod
    def steps(self, length: int) -> int:
        """Time steps of one sequence."""

    def answered(self, length: int) -> int:
        """How many time steps at the end of a sequence have an answer."""
        return self.steps(length) if self.readout == "every" else 1

    @abstractmethod
    def baseline(self, length: int) -> float:
        """Loss of the best predictor that ignores the input; cross-entropy is in nats."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        """`size` sequences drawn with `rng`, never from the held-out part of a data set."""

    @abstractmethod
    def training_batch(self, seed: int, step: int, length: int, size: int, pool: int = 0) -> Batch:
        """The batch of a training step: a pure function of its arguments, so that a run resumes exactly.

        `pool` is how many sequences there are to learn from, 0 for as many as there are. A pool is the same
        for every seed, and a part of every larger one; the seed decides the order, anew in each epoch.
        """

    @abstractmethod
    def validation_batch(self, length: int) -> Batch:
        """Held-out sequences, the same for every seed. Cached, hence read-only."""

    @abstractmethod
    def accuracy(self, outputs: Floats, batch: Batch) -> float | None:
        """Share of right answers, 0 to 1, for outputs (B, O), or (A, B, O) where the readout is "every"."""

    @abstractmethod
    def channels(self) -> tuple[str, ...]:
        """Name of each of the I input channels."""

    @abstractmethod
    def answer(self, batch: Batch, i: int) -> str:
        """The right answer of sequence `i` in plain words."""

    @abstractmethod
    def predicted(self, output: Floats) -> str:
        """What the outputs of one sequence, (O,) or (A, O), say in plain words."""

    def classes(self) -> tuple[str, ...] | None:
        """Each class in plain words; None where the answer is a number."""
        if self.loss == "mse":
            return None
        if self.readout == "every":
            return self.channels()[: self.output_size]
        return tuple(self.predicted(row) for row in np.eye(self.output_size))

    def picture(self, batch: Batch, i: int) -> Floats | None:
        """Sequence `i` as the image it was made from, (rows, columns) of 0 to 1; None where there is none."""
        return None

    def check(self, length: int, size: int, pool: int = 0) -> None:
        """Raise ValueError unless `size` sequences of this length can be drawn from such a pool."""
        if not self.min_length <= length <= self.max_length:
            allowed = f"from {self.min_length} to {self.max_length}"
            if self.fixed_length is not None:
                allowed = f"of {self.fixed_length} only"
            raise ValueError(f"task {self.name!r} takes a length {allowed}; got {length}")
        if size < 1:
            raise ValueError(f"a batch holds at least 1 sequence; got {size}")
        if not 0 <= pool <= self.most_sequences:
            allowed = f"from 0 to {self.most_sequences} training sequences"
            raise ValueError(f"task {self.name!r} takes {allowed}; got {pool}")


class GeneratedTask(Task):
    """A task whose sequences are drawn afresh for every batch: both kinds of batch follow from `sample`."""

    most_sequences = LARGEST_POOL

    def training_batch(self, seed: int, step: int, length: int, size: int, pool: int = 0) -> Batch:
        self.check(length, size, pool)
        if not pool:
            block, place = divmod(step, self._steps_at_once(length, size))
            drawn = _drawn(self, seed, block, length, size)
            return self._cut(drawn, slice(place * size, (place + 1) * size))
        return self._cut(_pool(self, length), epoch_order(seed, step, size, pool))

    def validation_batch(self, length: int) -> Batch:
        return _validation_batch(self, length)

    def _cut(self, batch: Batch, index: slice | Ints) -> Batch:
        """Some sequences of a batch."""
        targets = batch.targets[:, index] if self.readout == "every" else batch.targets[index]
        return Batch(batch.inputs[:, index], targets, batch.marks[index])

    def _steps_at_once(self, length: int, size: int) -> int:
        """Steps whose sequences are drawn together: drawing many at once costs little more than a few."""
        numbers = self.steps(length) * self.input_size * size
        return max(1, min(DRAWN_SEQUENCES // size, DRAWN_NUMBERS // numbers))


@lru_cache(maxsize=8)
def _drawn(task: GeneratedTask, seed: int, block: int, length: int, size: int) -> Batch:
    """The sequences of as many steps as are drawn at once."""
    rng = np.random.default_rng([seed, TRAINING_STREAM, block])
    return read_only(task.sample(rng, length, size * task._steps_at_once(length, size)))


# Four, because a batch of long one-hot sequences takes up to 80 MB.
@lru_cache(maxsize=4)
def _validation_batch(task: GeneratedTask, length: int) -> Batch:
    rng = np.random.default_rng([0, VALIDATION_STREAM, length])
    return read_only(task.sample(rng, length, VALIDATION_SIZE))


@lru_cache(maxsize=2)
def _pool(task: GeneratedTask, length: int) -> Batch:
    """The largest pool; a smaller one is its beginning."""
    rng = np.random.default_rng([0, POOL_STREAM, length])
    return read_only(task.sample(rng, length, task.most_sequences))


def epoch_order(seed: int, step: int, size: int, count: int) -> Ints:
    """Places (size,) of a training step's batch among `count` sequences that are gone through in epochs.

    Every epoch has an order of its own; a batch may end one epoch and begin the next.
    """
    epochs, places = np.divmod(np.arange(step * size, (step + 1) * size), count)
    index = np.empty(size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = np.random.default_rng([seed, EPOCH_STREAM, int(epoch)]).permutation(count)
        index[epochs == epoch] = order[places[epochs == epoch]]
    return index


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


def named(output: Floats, names: Sequence[str]) -> str:
    """The name of the class that one sequence's output (O,) chooses."""
    best = int(chosen(output))
    return NO_ANSWER if best < 0 else names[best]


def spoken(outputs: Floats, names: Sequence[str]) -> str:
    """The names of the classes that the outputs (T, O) choose; "?" where they are not all finite."""
    return " ".join("?" if best < 0 else names[best] for best in chosen(outputs).tolist())


def share_right(outputs: Floats, classes: Floats | Ints) -> float:
    """Share, 0 to 1, of outputs (..., O) whose largest element is that of the right class (...)."""
    return float(np.mean(chosen(outputs) == classes))
