"""Spelling digits: one picture in, a word out."""

from functools import lru_cache
from typing import final

import numpy as np

from .digits import PIXELS, SIDE, DigitTask, load, split
from .task import NO_ANSWER, Batch, Floats, Ints, Solved, chosen

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "".join(sorted(set("".join(WORDS))))
END = len(LETTERS)  # the class after the word's last letter
STEPS = max(map(len, WORDS)) + 1
UNKNOWN = "?"


@final
class Spelling(DigitTask):
    """The picture at the first step and nothing (0) at the others; a letter is due at each."""

    name = "spelling"
    label = "Spelling a handwritten digit"
    question = "Which digit does the picture show, letter by letter?"
    explanation = (
        "The network sees the whole 8 x 8 image at the first step and nothing afterwards. It must write the "
        "digit's English name, one letter at each step, and then that the word has ended: one input, many "
        "outputs, as when a network describes a photograph. It has to remember the digit, and how far it "
        "has come."
    )
    readout = "every"
    input_size = PIXELS
    output_size = len(LETTERS) + 1
    one_input = True
    silent = END
    min_length = max_length = default_length = fixed_length = STEPS
    accuracy_label = "words spelled correctly"
    baseline_label = "guessing each letter by how often it stands there"
    solved = Solved("accuracy", 0.95, "At least 95 % of the validation digits are spelled correctly.")

    def baseline(self, length: int) -> float:
        """Mean over the steps of the entropy of the letters that stand there, of all training digits."""
        return _baseline()

    def batch_of(self, index: Ints) -> Batch:
        pixels, labels = load()
        inputs = np.zeros((STEPS, len(index), PIXELS))
        inputs[0] = pixels[index]
        targets = np.ascontiguousarray(_targets()[labels[index]].T)  # (T, B)
        return Batch(inputs, targets, np.empty((len(index), 0), dtype=np.int64))

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        """Of whole words: a digit read as another one may still share letters with it."""
        return float(np.mean((chosen(outputs) == batch.targets).all(axis=0)))

    def channels(self) -> tuple[str, ...]:
        return tuple(f"pixel {place}" for place in range(1, PIXELS + 1))

    def classes(self) -> tuple[str, ...]:
        return (*LETTERS, "end")

    def picture(self, batch: Batch, i: int) -> Floats | None:
        picture: Floats = batch.inputs[0, i].reshape(SIDE, SIDE)
        return picture

    def answer(self, batch: Batch, i: int) -> str:
        return _word(batch.targets[:, i].astype(int).tolist())

    def predicted(self, output: Floats) -> str:
        """The letters: "·" after the word's end, "?" where the output is not finite."""
        letters = chosen(output).tolist()
        return NO_ANSWER if max(letters) < 0 else _word(letters)


def _word(letters: list[int]) -> str:
    known = {END: "·", -1: UNKNOWN}
    return "".join(known.get(letter) or LETTERS[letter] for letter in letters).rstrip("·")


@lru_cache(maxsize=1)
def _targets() -> Ints:
    """The letters of each digit's name, (10, T)."""
    return np.array([[LETTERS.index(c) for c in word] + [END] * (STEPS - len(word)) for word in WORDS])


@lru_cache(maxsize=1)
def _baseline() -> float:
    training, _ = split()
    _, labels = load()
    entropy = 0.0
    for letters in _targets()[labels[training]].T:
        p = np.bincount(letters) / len(letters)
        entropy -= float((p[p > 0] * np.log(p[p > 0])).sum())
    return entropy / STEPS
