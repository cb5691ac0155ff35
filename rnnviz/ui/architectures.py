"""The forms in which a recurrent network is used: what each is, which tasks have it, what to train it on.

Which tasks have a form follows from what they say of themselves; nothing here lists their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..experiment import Experiment
from ..tasks import TASKS
from ..tasks.task import Batch, Task
from ..twins import Twins

BLANKS, SPACE = (" ", "␣"), "space"  # what stands for a blank, and what it is written as


@dataclass(frozen=True)
class Architecture:
    """One form. All words are English, to be translated where they are shown."""

    label: str
    what: str
    """one sentence: what is read when, and what is answered when"""
    used: str
    """what it is used for, by the names that a reader may know"""
    notes: tuple[str, ...]
    """what else is worth knowing, a paragraph each"""
    preset: Experiment
    """what is trained here: solves its task, or visibly learns, in about 10 s"""
    has: Callable[[Task], bool]
    """whether a task can be trained in this form"""
    knobs: tuple[str, ...]
    """the fields of an experiment that make the form, beside the task"""
    drawn: Experiment
    """the same form over a few steps"""
    without: Mapping[str, Any] = field(default_factory=dict)
    """what the first of two twins has instead, where that is worth a comparison"""
    compared: str = ""
    """what such twins showed, with its numbers"""

    @property
    def twins(self) -> Twins:
        """Without what makes the form, and with it; empty where nothing is compared."""
        return (self.preset.changed(**self.without), self.preset) if self.without else ()


def _both_ways(task: Task) -> bool:
    return not task.tells_answers


_ROWS = Experiment(task="digits_rows", cell="tanh", hidden=16, layers=2, direction="both", steps=600)
_REVERSAL = Experiment(
    task="reversal", length=6, cell="tanh", hidden=64, architecture="encoder_decoder", steps=1000
)
_SPELLING = Experiment(task="spelling", cell="gru", hidden=64, steps=1000)
_REPETITION = Experiment(task="repetition", length=5, cell="gru", hidden=64, steps=1500)
_FIRST = Experiment(task="permutation", length=100, cell="tanh", hidden=16, direction="both", steps=600)
_SUM = Experiment(task="adding", length=50, cell="gru", hidden=32, steps=1500)
_RUNNING = Experiment(task="parity_running", length=20, cell="gru", hidden=32, steps=600)
_BIT = Experiment(task="parity", length=1, cell="tanh", hidden=8, steps=300)
_ECHO = Experiment(task="echo", length=5, cell="tanh", hidden=16, layers=2, steps=1000)

ARCHITECTURES: Mapping[str, Architecture] = {
    "one_to_one": Architecture(
        "One to one",
        "One input, one answer: T = 1.",
        "Classifying a single vector, which needs no recurrent network.",
        (
            "There is no recurrence to speak of. The only state before is h₀ = 0, so W_hh is multiplied by "
            "zero and its gradient is zero; what is left is a plain layer, tanh(W_ih x + b_ih + b_hh), with "
            "a linear layer on top. In a gated cell the gates are there, but nothing to keep.",
        ),
        _BIT,
        lambda task: task.steps(task.min_length) == 1,
        ("length",),
        _BIT,
    ),
    "one_to_many": Architecture(
        "One to many",
        "One input at the first step, nothing afterwards; an answer at every step.",
        "Describing a picture in words; making text or music from a single seed.",
        (
            "After the first step only the state says what was seen and how far the answer has come. "
            "A network that makes text usually reads its own last answer back as the next input; here it "
            "reads zeros.",
        ),
        _SPELLING,
        lambda task: task.readout == "every" and task.one_input and not task.reads_first,
        (),
        _SPELLING,
    ),
    "many_to_one": Architecture(
        "Many to one",
        "An input at every step, one answer after the last.",
        "Sentiment of a review, the topic of a message, the digit in a picture that is read row by row.",
        (
            "The loss stands at the last step alone. What happened at the first step is learned only from "
            "the gradient that comes back through all T steps: this is where gradients vanish.",
        ),
        _SUM,
        lambda task: task.readout == "last",
        (),
        _SUM.changed(length=5),
    ),
    "in_step": Architecture(
        "Many to many, in step",
        "An input and an answer at every step.",
        "Slot filling and tagging of words, the next character of a text (text generation), labels for the "
        "frames of a video.",
        (
            "Each answer has a loss of its own, so that early steps are learned from nearby losses as well. "
            "An answer at t knows the inputs up to t and none after.",
        ),
        _RUNNING,
        lambda task: task.readout == "every" and not task.reads_first and not task.one_input,
        (),
        _RUNNING.changed(length=5),
    ),
    "read_first": Architecture(
        "Read first, one network",
        "Everything is read before the first answer; the same network reads and writes.",
        "Translation, summaries, answers to questions, as sequence to sequence with shared weights.",
        (
            "One set of weights has to serve both: to store while it reads, and to give out while it "
            "writes. A sign to write tells it when to change over. While it writes it is told which symbol "
            "was right at the step before (teacher forcing).",
        ),
        _REPETITION,
        lambda task: task.reads_first,
        ("architecture",),
        _REPETITION.changed(length=3),
    ),
    "encoder_decoder": Architecture(
        "Encoder and decoder",
        "An encoder reads everything; a decoder with weights of its own goes on from its last state and "
        "writes.",
        "Translation (Cho et al. 2014; Sutskever, Vinyals & Le 2014), before attention.",
        (
            "The last state of each of the encoder's layers is all that the decoder learns about the input: "
            "H numbers for a sequence of any length. Attention was invented to widen this passage. The "
            "gradient crosses it on the way back, so the encoder has no loss of its own.",
        ),
        _REVERSAL,
        lambda task: task.reads_first,
        ("architecture",),
        _REVERSAL.changed(length=3),
        {"architecture": "one"},
        "Measured with four seeds, six symbols: after 1,000 steps one network writes 91 to 94 % of them "
        "right and has not solved the task; encoder and decoder solve it within 150 to 225 steps. They have "
        "twice the parameters (10,120 to 5,320), but one network of 92 units, with as many (10,220), does "
        "not solve it either (94 to 96 %).",
    ),
    "bidirectional": Architecture(
        "Bidirectional",
        "Two sets of units: one reads forward, the other from the end; their states lie side by side.",
        "Slot filling, tagging and speech recognition where the whole utterance is there; reading for "
        "sentiment.",
        (
            "The backward direction's final state stands at t = 1: it has read x_T first and x_1 last. An "
            "answer after all reads h_T of the forward and h_1 of the backward direction (h_n in PyTorch); "
            "output[-1] would give the backward direction after a single step.",
            "The whole sequence has to be there before the first answer. So it cannot predict the next "
            "symbol, and cannot answer while somebody is still speaking: the backward direction would have "
            "read what is asked for. Tasks whose inputs hold earlier answers therefore refuse it here.",
            "No task here has an answer in step that depends on later inputs, as a word's slot may: all "
            "of them can be solved forward, given enough memory. What the second direction saves is the way: "
            "in what is trained here the answer is the first symbol, that the backward direction reads last.",
        ),
        _FIRST,
        _both_ways,
        ("direction",),
        _FIRST.changed(length=5),
        {"direction": "forward"},
        "Measured with four seeds, a symbol 100 steps back: read both ways it is known within 15 to 30 "
        "steps of training. Reading forward, three networks of four (1,922 parameters to 3,842) still toss "
        "a coin after 600. With 28 units and about as many parameters (3,698), forward learns it for three "
        "seeds within 120 to 195 steps, and not at all for one: the memory can be learned, but here it need "
        "not be.",
    ),
    "deep": Architecture(
        "Deep",
        "Several recurrent layers: each reads the states of the one below at the same step.",
        "Language models and speech recognition, usually with 2 to 4 layers.",
        (
            "A state at layer k and step t needs layer k at t − 1 and layer k − 1 at t, so all nodes on a "  # noqa: RUF001
            "diagonal of the drawing can be computed together. Depth adds nonlinear steps between an input "
            "and an answer without making the way through time longer.",
        ),
        _ECHO,
        lambda _task: True,
        ("layers",),
        _RUNNING.changed(length=5, cell="tanh", hidden=16, layers=2),
        {"layers": 1},
        "Measured with four seeds, an echo after five steps: two layers solve it within 50 to 100 steps "
        "every time. One layer of 16 units solves it for two seeds (125 and 250 steps; 371 parameters) and "
        "for two stays at coin tosses for all 1,000. One layer of 28 units, with more parameters than the "
        "two (983 to 915), still fails for one seed of four.",
    ),
    "deep_bidirectional": Architecture(
        "Deep and bidirectional",
        "Several layers, each in both directions; the next one reads both states side by side.",
        "Speech recognition, tagging, and the word vectors of ELMo (which kept its directions apart).",
        (
            "From the second layer on both directions know the whole sequence, since the states below "
            "already do. And no state of a layer can be computed before the layer below has been through, "
            "both ways: watch the waves wait.",
        ),
        _ROWS,
        _both_ways,
        ("layers", "direction"),
        _ROWS,
        {"layers": 1, "direction": "forward"},
        "Measured with four seeds: the deep bidirectional network reads 95 % of the digits after 90 to 105 "
        "steps and 97 to 98 % at the end. One layer forward (586 parameters to 2,762) gets there for two "
        "seeds, after 435 and 495 steps, and ends at 87 to 96 %. But one layer forward of 42 units, with "
        "about as many parameters (2,614), does as well: 96 to 99 %. With 8 steps to read, what helps here "
        "is the number of units.",
    ),
}


def tasks_of(name: str) -> tuple[Task, ...]:
    """The tasks that can be trained in this form, in the order of their list."""
    return tuple(task for task in TASKS.values() if ARCHITECTURES[name].has(task))


def written(experiment: Experiment, sequence: int = 0) -> tuple[list[str], list[str]]:
    """A validation sequence for the nodes of a drawing: T inputs, and a right answer for each that is due."""
    task = TASKS[experiment.task]
    batch = task.validation_batch(experiment.length)
    inputs = [_input(task, batch, sequence, t) for t in range(len(batch.inputs))]
    targets = batch.targets[:, sequence] if task.readout == "every" else batch.targets[[sequence]]
    classes = task.classes()
    if classes is None:
        return inputs, [_number(float(target)) for target in np.ravel(targets)]
    return inputs, [_symbol(classes[int(target)]) for target in targets]


def _input(task: Task, batch: Batch, sequence: int, t: int) -> str:
    """What is read at a step: a symbol, part of a picture, nothing, or numbers."""
    values = batch.inputs[t, sequence]
    if task.one_input and t:
        return "nothing"
    picture = task.picture(batch, sequence)
    if picture is not None and values.size > 1:
        return "picture" if values.size == picture.size else f"row {t + 1}"
    rows = batch.inputs[:, sequence]
    if values.size > 1 and bool(np.isin(rows, (0.0, 1.0)).all() and (rows.sum(1) == 1.0).all()):
        return _symbol(task.channels()[int(values.argmax())])
    return ", ".join(_number(float(value)) for value in values)


def _number(value: float) -> str:
    """Two digits after the point; none for a mark, which is 0 or 1."""
    return f"{value:.0f}" if value in (0.0, 1.0) else f"{value:.2f}"


def _symbol(name: str) -> str:
    return SPACE if name in BLANKS else name
