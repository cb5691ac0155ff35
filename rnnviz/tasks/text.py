"""Text, character by character: predict every next character of a book."""

import re
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np

from .task import (
    LARGEST_POOL,
    NO_ANSWER,
    POOL_STREAM,
    TRAINING_STREAM,
    VALIDATION_SIZE,
    Batch,
    Floats,
    Ints,
    Solved,
    Task,
    chosen,
    epoch_order,
    one_hot,
    read_only,
    share_right,
)

PATH = Path(__file__).parent / "data" / "alice.txt"
CHARACTERS = "abcdefghijklmnopqrstuvwxyz .,;:'!?-"
NAMES = tuple("space" if character == " " else character for character in CHARACTERS)
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # where an output is not finite; "?" is a character of the text
TRAINING_TENTHS = 9  # the first nine tenths train, the last one validates


@final
class Text(Task):
    """`length` is the number of characters that are read; one more is needed as the last answer."""

    name = "text"
    label = "Text, character by character"
    question = "Which character comes next?"
    explanation = (
        "The network reads a piece of a book, one character at every step, and each time names the next. "
        "Capital letters are made small, and only letters, spaces and common punctuation are kept. "
        "It first learns which letters are frequent, then which go together, then words; "
        "how far back it has to remember is not known, as in real data."
    )
    source = (
        "Lewis Carroll (1865), Alice's Adventures in Wonderland, in the public domain; the transcription of "
        "Project Gutenberg without its header and licence. The first nine tenths train, the last validates."
    )
    loss = "cross_entropy"
    readout = "every"
    tells_answers = True
    input_size = len(CHARACTERS)
    output_size = len(CHARACTERS)
    min_length = 10
    max_length = 200
    default_length = 50
    fixed_length = None
    accuracy_label = "next characters right"
    # A test holds the number against the text, which is not read before it is needed.
    baseline_label = "guessing by how frequent each character is: 2.97 nats (4.29 bits) each"
    solved = Solved(
        "loss",
        1.6,
        "The loss on the validation text is below 1.6 (2.3 bits per character); no paper states a threshold.",
    )
    most_sequences = LARGEST_POOL

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        """Cross-entropy of the training part's frequencies on the validation part."""
        return _baseline()

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        """Pieces at random places of the training part."""
        self.check(length, size)
        training, _ = split()
        return _windows(training, rng.integers(_places(length), size=size), length)

    def training_batch(self, seed: int, step: int, length: int, size: int, pool: int = 0) -> Batch:
        """Pieces at random places; those of a pool begin at different places and come in shuffled epochs."""
        self.check(length, size, pool)
        if not pool:
            return self.sample(np.random.default_rng([seed, TRAINING_STREAM, step]), length, size)
        training, _ = split()
        return _windows(training, _pool(length)[epoch_order(seed, step, size, pool)], length)

    def validation_batch(self, length: int) -> Batch:
        self.check(length, VALIDATION_SIZE)
        return _validation_batch(length)

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        return share_right(outputs, batch.targets)

    def channels(self) -> tuple[str, ...]:
        return NAMES

    def classes(self) -> tuple[str, ...]:
        return tuple("␣" if character == " " else character for character in CHARACTERS)

    def answer(self, batch: Batch, i: int) -> str:
        return "".join(CHARACTERS[character] for character in batch.targets[:, i].astype(int))

    def predicted(self, output: Floats) -> str:
        best = chosen(output).tolist()
        if max(best) < 0:
            return NO_ANSWER
        return "".join(UNKNOWN if character < 0 else CHARACTERS[character] for character in best)


def cleaned(text: str) -> str:
    """Small letters, spaces and common punctuation only; line ends are spaces, many spaces are one."""
    kept = re.sub(f"[^{re.escape(CHARACTERS)}]", "", re.sub(r"\s", " ", text.lower()))
    return re.sub(" +", " ", kept).strip()


@lru_cache(maxsize=1)
def load() -> Ints:
    """The whole text (N,) as places in `CHARACTERS`."""
    place = {character: i for i, character in enumerate(CHARACTERS)}
    text = cleaned(PATH.read_text(encoding="ascii"))
    symbols = np.array([place[character] for character in text])
    symbols.setflags(write=False)
    return symbols


def split() -> tuple[Ints, Ints]:
    """The training and the validation part."""
    symbols = load()
    border = len(symbols) * TRAINING_TENTHS // 10
    return symbols[:border], symbols[border:]


def _places(length: int) -> int:
    """How many places of the training part a piece can begin at."""
    training, _ = split()
    return len(training) - length


def _windows(symbols: Ints, starts: Ints, length: int) -> Batch:
    """The pieces that begin at `starts` (B,), each with the character after it as its last answer."""
    pieces = symbols[starts + np.arange(length + 1)[:, None]]  # (T + 1, B)
    marks = np.empty((len(starts), 0), dtype=np.int64)
    return Batch(one_hot(pieces[:-1], len(CHARACTERS)), pieces[1:].copy(), marks)


@lru_cache(maxsize=2)
def _pool(length: int) -> Ints:
    """Where the pieces of the largest pool begin; a smaller one is its beginning."""
    return np.random.default_rng([0, POOL_STREAM, length]).permutation(_places(length))[:LARGEST_POOL]


@lru_cache(maxsize=4)
def _validation_batch(length: int) -> Batch:
    """Pieces spread evenly over the validation part; no character is asked for in two of them."""
    _, held_out = split()
    last = len(held_out) - length - 1
    count = min(VALIDATION_SIZE, (len(held_out) - 1) // length)
    # One after the other fits, so that rounding down never makes two of them overlap.
    starts = np.arange(count) * last // max(1, count - 1)
    return read_only(_windows(held_out, starts, length))


@lru_cache(maxsize=1)
def _baseline() -> float:
    training, held_out = split()
    shares = np.bincount(training, minlength=len(CHARACTERS)) / len(training)
    return float(-np.log(shares[held_out]).mean())
