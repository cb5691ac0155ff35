"""Handwritten digits read pixel by pixel or row by row: real data, bundled with scikit-learn."""

import gzip
import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import final

import numpy as np

from .task import (
    NO_ANSWER,
    POOL_STREAM,
    Batch,
    Floats,
    Ints,
    Solved,
    Task,
    chosen,
    epoch_order,
    read_only,
    share_right,
)

SIDE = 8
PIXELS = SIDE * SIDE
CLASSES = 10
DARKEST = 16  # a pixel counts the inked dots, 0 to 16, of a 4 x 4 field of the scan
HELD_OUT = 450
TRAINING = 1347

SOURCE = (
    "Optical Recognition of Handwritten Digits (E. Alpaydin & C. Kaynak, 1998), UCI Machine Learning "
    "Repository, CC BY 4.0; the copy that comes with scikit-learn: 1,797 images of 8 x 8 pixels. "
    "1,347 train and 450 validate; the same writers are in both parts."
)


@final
class Digits(Task):
    """The same images with one pixel (`pixels_per_step` = 1) or one row (8) at each time step."""

    source = SOURCE
    loss = "cross_entropy"
    readout = "last"
    output_size = CLASSES
    accuracy_label = "digits read correctly"
    baseline_label = "guessing among 10 digits: ln 10"
    solved = Solved("accuracy", 0.95, "At least 95 % of the validation digits are read correctly.")
    most_sequences = TRAINING

    def __init__(self, name: str, label: str, question: str, explanation: str, pixels_per_step: int) -> None:
        self.name = name
        self.label = label
        self.question = question
        self.explanation = explanation
        self.input_size = pixels_per_step
        self.min_length = self.max_length = self.default_length = PIXELS // pixels_per_step
        self.fixed_length = self.default_length

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return math.log(CLASSES)

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        """Training digits, drawn with replacement."""
        self.check(length, size)
        training, _ = split()
        return self._batch(rng.choice(training, size=size))

    def training_batch(self, seed: int, step: int, length: int, size: int, pool: int = 0) -> Batch:
        """Training digits in shuffled epochs; a pool is the beginning of a fixed shuffle of them."""
        self.check(length, size, pool)
        training, _ = split()
        if pool:
            training = np.random.default_rng([0, POOL_STREAM]).permutation(training)[:pool]
        return self._batch(training[epoch_order(seed, step, size, len(training))])

    def validation_batch(self, length: int) -> Batch:
        self.check(length, HELD_OUT)
        return _validation_batch(self)

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        if self.input_size == 1:
            return ("ink",)
        return tuple(f"column {column}" for column in range(1, self.input_size + 1))

    def picture(self, batch: Batch, i: int) -> Floats:
        return batch.inputs[:, i].reshape(8, 8)

    def answer(self, batch: Batch, i: int) -> str:
        return str(batch.targets[i])

    def predicted(self, output: Floats) -> str:
        best = int(chosen(output))
        return NO_ANSWER if best < 0 else str(best)

    def _batch(self, index: Ints) -> Batch:
        pixels, labels = load()
        sequences = pixels[index].reshape(len(index), self.default_length, self.input_size)  # (B, T, I)
        inputs = np.ascontiguousarray(sequences.transpose(1, 0, 2))  # (T, B, I)
        return Batch(inputs, labels[index], np.empty((len(index), 0), dtype=np.int64))


@lru_cache(maxsize=2)
def _validation_batch(task: Digits) -> Batch:
    _, held_out = split()
    return read_only(task._batch(held_out))


@lru_cache(maxsize=1)
def load() -> tuple[Floats, Ints]:
    """Pixels (1797, 64) from 0 (paper) to 1 (ink), row by row from the top left, and the digits (1797,)."""
    # Found and read without importing scikit-learn, whose import takes longer than all the rest.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    pixels, labels = table[:, :PIXELS] / DARKEST, table[:, PIXELS].astype(np.int64)
    pixels.setflags(write=False)
    labels.setflags(write=False)
    return pixels, labels


@lru_cache(maxsize=1)
def split() -> tuple[Ints, Ints]:
    """Indices of the 1,347 training and the 450 validation digits, about one in four of each class."""
    # Spread evenly over the digits sorted by class: this keeps the shares of the classes and needs no chance.
    _, labels = load()
    order = np.argsort(labels, kind="stable")
    filled = np.arange(len(order) + 1) * HELD_OUT // len(order)
    held_out = np.diff(filled) == 1
    return np.sort(order[~held_out]), np.sort(order[held_out])


DIGITS = Digits(
    name="digits",
    label="Handwritten digits, pixel by pixel",
    question="Which digit do the 64 pixels show, read one at a time?",
    explanation=(
        "The network sees one pixel of an 8 x 8 image at every step, row by row from the top left, "
        "and never the image as a whole. "
        "After the 64th pixel it must name the digit: ink from the first rows has to last some fifty steps."
    ),
    pixels_per_step=1,
)
DIGITS_ROWS = Digits(
    name="digits_rows",
    label="Handwritten digits, row by row",
    question="Which digit do the 8 rows show, read one at a time?",
    explanation=(
        "The network sees a whole row of 8 pixels at every step, from top to bottom. "
        "After the 8th row it must name the digit. "
        "The images are the same as pixel by pixel, but the memory needed is eight times shorter."
    ),
    pixels_per_step=SIDE,
)
