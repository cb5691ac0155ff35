"""The embedded Reber grammar: predict every next symbol, one of which repeats the second of all."""

import math
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from .task import Batch, Floats, GeneratedTask, Ints, Solved, chosen, one_hot, spoken

SYMBOLS = ("B", "T", "P", "S", "X", "V", "E", "·")
BLANK = SYMBOLS.index("·")  # after the end of a string
SHORTEST = 9

# The Reber grammar after its B: node -> the two symbols that can follow, equally likely, each with the node
# it leads to. At node 5 an E ends the string.
GRAMMAR = {
    0: (("T", 1), ("P", 2)),
    1: (("S", 1), ("X", 3)),
    2: (("T", 2), ("V", 4)),
    3: (("X", 2), ("S", 5)),
    4: (("P", 3), ("V", 5)),
}
BRANCHES = ("T", "P")


def _automaton() -> tuple[Ints, Ints]:
    """Emitted symbols (Q, 2) and next states (Q, 2) of the embedded grammar, two equally likely for each.

    The first state is the beginning, the last one the end, which emits blanks for ever.
    """
    moves: dict[str, tuple[tuple[str, str], ...]] = {
        "start": (("B", "choice"),),
        "choice": tuple((branch, branch) for branch in BRANCHES),
    }
    for branch in BRANCHES:
        # A grammar of its own in each branch: the state is all that remembers which branch it was.
        moves[branch] = (("B", f"{branch}0"),)
        for node, pairs in GRAMMAR.items():
            moves[f"{branch}{node}"] = tuple((symbol, f"{branch}{to}") for symbol, to in pairs)
        moves[f"{branch}5"] = (("E", f"{branch} again"),)
        moves[f"{branch} again"] = ((branch, "last"),)
    moves["last"] = (("E", "end"),)
    moves["end"] = (("·", "end"),)
    number = {state: i for i, state in enumerate(moves)}
    table = [options if len(options) == 2 else options * 2 for options in moves.values()]
    symbols = np.array([[SYMBOLS.index(symbol) for symbol, _ in options] for options in table])
    return symbols, np.array([[number[to] for _, to in options] for options in table])


EMITTED, NEXT = _automaton()
END = len(NEXT) - 1


@final
class Reber(GeneratedTask):
    """`length` is the number of steps, into which the whole string fits."""

    name = "reber"
    label = "Embedded Reber grammar"
    question = "Which symbol came second? It comes again just before the end."
    explanation = (
        "The network reads a string of symbols, made by walking at random through a small diagram, and at "
        "every step names the next symbol. Often two symbols can follow, so that not every guess can be "
        "right. One can, with a memory: the second symbol of the string, T or P, comes again as the last but "
        "one, and nothing in between tells which it was. "
        "Strings differ in length; what is left of the T steps after the end is filled with blanks (·), and "
        "strings that are longer than T are not used."
    )
    source = (
        "Hochreiter & Schmidhuber (1997), Long Short-Term Memory, experiment 1; with blanks after the end "
        "and the share of right answers instead of their two output units at a time"
    )
    loss = "cross_entropy"
    readout = "every"
    tells_answers = True
    input_size = len(SYMBOLS)
    output_size = len(SYMBOLS)
    silent = BLANK
    min_length = SHORTEST
    max_length = 100
    default_length = 30  # 99.87 % of all strings fit
    fixed_length = None
    accuracy_label = "last but one symbols right"
    baseline_label = "guessing each symbol by its place alone"
    solved = Solved(
        "accuracy", 0.99, "The last but one symbol is right in at least 99 % of the validation strings."
    )

    def steps(self, length: int) -> int:
        return length

    def baseline(self, length: int) -> float:
        return _baseline(length)

    def sample(self, rng: np.random.Generator, length: int, size: int) -> Batch:
        self.check(length, size)
        kept: list[Ints] = []
        missing = size
        while missing:
            strings, fits = _draw(rng, length, missing)
            kept.append(strings[:, fits])
            missing -= int(fits.sum())
        symbols = np.concatenate(kept, axis=1)  # (T + 1, B): the last is there only to be predicted
        lengths = (symbols != BLANK).sum(axis=0)
        marks = np.stack([np.ones_like(lengths), lengths - 2], axis=1)
        return Batch(one_hot(symbols[:-1], len(SYMBOLS)), symbols[1:].copy(), marks)

    def accuracy(self, outputs: Floats, batch: Batch) -> float:
        """Of the last but one symbols only: most others cannot all be right, and need no long memory."""
        asked, row = (
            batch.marks[:, 1] - 1,
            np.arange(len(batch.marks)),
        )  # it is named one step before it comes
        return float(np.mean(chosen(outputs[asked, row]) == batch.targets[asked, row]))

    def channels(self) -> tuple[str, ...]:
        return SYMBOLS

    def answer(self, batch: Batch, i: int) -> str:
        return " ".join(SYMBOLS[symbol] for symbol in batch.targets[:, i].astype(int))

    def predicted(self, output: Floats) -> str:
        """The symbols named at each step: "·" for a blank, "?" where the output is not finite."""
        return spoken(output, SYMBOLS)


def _draw(rng: np.random.Generator, length: int, size: int) -> tuple[Ints, NDArray[np.bool_]]:
    """`size` strings (T + 1, B) with blanks after their end, and which of them (B,) end within `length`."""
    moves = rng.integers(2, size=(length, size))
    state = np.zeros(size, dtype=np.int64)
    symbols = np.full((length + 1, size), BLANK)
    for t in range(length):
        symbols[t] = EMITTED[state, moves[t]]
        state = NEXT[state, moves[t]]
    return symbols, state == END


@cache
def _baseline(length: int) -> float:
    """Mean entropy of the predicted symbols when only their place is known, of strings that fit; exact."""
    moves = np.zeros((len(NEXT), len(NEXT)))
    np.add.at(moves, (np.repeat(np.arange(len(NEXT)), 2), NEXT.ravel()), 0.5)
    # ends[n]: the chance (Q,) that n more symbols lead to the end.
    ends = [np.eye(len(NEXT))[END]]
    for _ in range(length):
        ends.append(moves @ ends[-1])
    at = np.eye(len(NEXT))[0]  # the chance of each state, and below of each symbol, for strings that fit
    total = 0.0
    for t in range(length):
        shares = np.zeros(len(SYMBOLS))
        np.add.at(shares, EMITTED, at[:, None] / 2 * ends[length - t - 1][NEXT])
        shares /= ends[length][0]
        # The first symbol is never predicted but always B, and the blank after the last step is as certain:
        # the sum over the steps that are read is that over the steps that are predicted.
        total -= math.fsum(share * math.log(share) for share in shares if share > 0)
        at = at @ moves
    return total / length
