"""Handwritten digits read pixel by pixel or row by row: real data, bundled with scikit-learn."""

import gzip
import math
from abc import abstractmethod
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, final

import numpy as np

from .task import (
    NO_ANSWER,
    ORDER_STREAM,
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


class DigitTask(Task):
    """A task on the bundled images: which of them a batch holds; a subclass says what becomes of them."""

    source = SOURCE
    loss = "cross_entropy"
    most_sequences = TRAINING

    @abstractmethod
    def batch_of(self, index: Ints) -> Batch:
        """The images (B,) with these indices as sequences."""

    def steps(self, length: int) -> int:
        return length

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        """Training digits, drawn with replacement."""
        self.check(length, size)
        training, _ = split()
        return self.batch_of(rng.choice(training, size=size))

    def training_batch(self, seed: int, step: int, length: int, size: int, pool: int = 0) -> Batch:
        """Training digits in shuffled epochs; a pool is the beginning of a fixed shuffle of them."""
        self.check(length, size, pool)
        training, _ = split()
        if pool:
            training = np.random.default_rng([0, POOL_STREAM]).permutation(training)[:pool]
        return self.batch_of(training[epoch_order(seed, step, size, len(training))])

    def validation_batch(self, length: int) -> Batch:
        self.check(length, HELD_OUT)
        return _validation_batch(self)


@final
class Digits(DigitTask):
    """The same images with one pixel (`pixels_per_step` = 1) or one row (8) at each time step.

    `order`: pixels "as they lie", row by row; "permuted", all images in one and the same random order; or
    "shuffled", each image in a random order of its own, which stays the same in every epoch.
    """

    readout = "last"
    output_size = CLASSES
    accuracy_label = "digits read correctly"
    baseline_label = "guessing among 10 digits: ln 10"
    solved = Solved("accuracy", 0.95, "At least 95 % of the validation digits are read correctly.")

    def __init__(
        self,
        name: str,
        label: str,
        question: str,
        explanation: str,
        pixels_per_step: int,
        order: Literal["as they lie", "permuted", "shuffled"] = "as they lie",
    ) -> None:
        self.name = name
        self.label = label
        self.question = question
        self.explanation = explanation
        self.input_size = pixels_per_step
        self.order = order
        self.min_length = self.max_length = self.default_length = PIXELS // pixels_per_step
        self.fixed_length = self.default_length

    def baseline(self, length: int) -> float:
        return math.log(CLASSES)

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        if self.input_size == 1:
            return ("ink",)
        return tuple(f"column {column}" for column in range(1, self.input_size + 1))

    def picture(self, batch: Batch, i: int) -> Floats | None:
        if self.order == "shuffled":
            return None  # the sequence alone does not tell which pixel lay where
        pixels = batch.inputs[:, i].reshape(PIXELS)
        if self.order == "permuted":
            pixels = pixels[np.argsort(one_order())]
        return pixels.reshape(SIDE, SIDE)

    def answer(self, batch: Batch, i: int) -> str:
        return str(batch.targets[i])

    def predicted(self, output: Floats) -> str:
        best = int(chosen(output))
        return NO_ANSWER if best < 0 else str(best)

    def batch_of(self, index: Ints) -> Batch:
        pixels, labels = load()
        images = pixels[index]  # (B, 64)
        if self.order == "permuted":
            images = images[:, one_order()]
        elif self.order == "shuffled":
            images = np.take_along_axis(images, own_orders()[index], axis=1)
        sequences = images.reshape(len(index), self.default_length, self.input_size)  # (B, T, I)
        inputs = np.ascontiguousarray(sequences.transpose(1, 0, 2))  # (T, B, I)
        return Batch(inputs, labels[index], np.empty((len(index), 0), dtype=np.int64))


@lru_cache(maxsize=8)
def _validation_batch(task: DigitTask) -> Batch:
    _, held_out = split()
    return read_only(task.batch_of(held_out))


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


@lru_cache(maxsize=1)
def one_order() -> Ints:
    """The pixels (64,) in the random order in which "permuted" reads every image."""
    order = np.random.default_rng([0, ORDER_STREAM]).permutation(PIXELS)
    order.setflags(write=False)
    return order


@lru_cache(maxsize=1)
def own_orders() -> Ints:
    """The pixels (1797, 64) of each image in the random order in which "shuffled" reads it."""
    _, labels = load()
    pixels = np.tile(np.arange(PIXELS), (len(labels), 1))
    orders = np.random.default_rng([1, ORDER_STREAM]).permuted(pixels, axis=1)
    orders.setflags(write=False)
    return orders


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
DIGITS_PERMUTED = Digits(
    name="digits_permuted",
    label="Handwritten digits, pixels in one random order",
    question="Which digit do the 64 pixels show, read in an order that is random but always the same?",
    explanation=(
        "The network sees one pixel of an 8 x 8 image at every step, in a random order that is the same for "
        "all images. "
        "Nothing of the image is lost, but pixels that lie side by side now come at any distance in time, so "
        "that there are no short patterns to begin with. Known as permuted sequential digits."
    ),
    pixels_per_step=1,
    order="permuted",
)
DIGITS_SHUFFLED = Digits(
    name="digits_shuffled",
    label="Handwritten digits, every image shuffled",
    question="Which digit do the 64 pixels show, when every image is shuffled in another way?",
    explanation=(
        "A control: the network sees the 64 pixels of an image one by one, each image in a random order of "
        "its own. All that is left to know is how much ink there is of each darkness, so that what is read "
        "correctly here is read without the shape. The training images can still be learned by heart."
    ),
    pixels_per_step=1,
    order="shuffled",
)
