"""Lessons on training itself: how fast, from where, and from how much."""

from __future__ import annotations

import math

from ..recording import Chunk
from .lesson import Lesson, accuracy, differ, loss, lowest_loss, percent

ROWS = {"task": "digits_rows", "hidden": 32, "batch": 32}
GUESSING = math.log(10)  # loss of a network that only guesses among ten digits
LAST = 50  # training steps whose mean loss is that of the end


def _right_and_loss(record: Chunk) -> str:
    return f"{percent(accuracy(record))} right at the end, loss {loss(record):.2f}"


def _training_loss(record: Chunk) -> float:
    return float(record.loss[-LAST:].mean())


LEARNING_RATE = Lesson(
    name="learning-rate",
    title="Too small, right, too large",
    question="Three twins with the learning rates 0.001, 0.3 and 3. Which of them learns to read digits "
    "within 1,000 updates?",
    choices=("0.001: small steps are safe", "0.3", "3: large steps are fast", "All, sooner or later"),
    answer=1,
    look="Loss: one line hardly moves, one jumps up. Compare both with the line of a network that only "
    "guesses.",
    reveal="At 0.001 the loss does fall, but a thousand updates are far too few. At 3 every update "
    "overshoots: the weights grow until the units are saturated, and the loss ends far above that of "
    "guessing. In a list of results both look the same, not learned, but the remedies are opposite, so "
    "look at the curve. Bengio (2012), Practical Recommendations for Gradient-Based Training of Deep "
    "Architectures.",
    experiments=differ(
        {**ROWS, "cell": "tanh", "optimizer": "sgd", "clip": "none", "steps": 1000},
        "learning_rate", 0.001, 0.3, 3.0,
    ),
    twins=("0.001", "0.3", "3"),
    panes=("loss", "accuracy", "update"),
    effect="At the end the twin with 0.3 reads at least 90 % of the held-out digits correctly and the "
    "others at most 30 %; the loss at 3 is above that of guessing, the loss at 0.001 is not.",
    criterion=lambda small, right, large: (
        accuracy(right) >= 0.9
        and max(accuracy(small), accuracy(large)) <= 0.3
        and loss(small) <= GUESSING < loss(large)
    ),
    number=_right_and_loss,
)  # fmt: skip

ZERO = Lesson(
    name="zero",
    title="All alike",
    question="Why draw the first weights at random at all? One twin starts with every weight at 0. What "
    "does it learn?",
    choices=("The same, a little later", "Only how frequent each digit is", "More than the other"),
    answer=1,
    look="Accuracy; and the heat map of the twin that starts at zero, in which nothing ever arrives.",
    reveal="With zero weights the state stays 0 and the output layer multiplies it by 0: only the output's "
    "bias gets a gradient. Even if some got through, all units would compute the same and receive the same "
    "gradient for ever. Random weights break this symmetry. Goodfellow, Bengio & Courville (2016), Deep "
    "Learning, section 8.4.",
    experiments=differ({**ROWS, "cell": "gru", "steps": 600}, "initialization", "pytorch", "zero"),
    twins=("random", "zero"),
    panes=("accuracy", "heat", "groups"),
    effect="At the end at least 90 % of the held-out digits are read correctly from random weights and at "
    "most 15 % from zeros, where the gradient at every time step is exactly 0 throughout.",
    criterion=lambda random, zero: (
        accuracy(random) >= 0.9 and accuracy(zero) <= 0.15 and not zero.grad_hidden.any()
    ),
    number=_right_and_loss,
)

FEW = Lesson(
    name="by-heart",
    title="Learned by heart",
    question="One twin learns from 1,347 handwritten digits, the other from 50 of them, over and over. "
    "Both soon make no mistake on what they train on. How well do they read digits they have never seen?",
    choices=("Both well", "The one with 50 clearly worse", "The one with 50 better: it has practised more"),
    answer=1,
    look="Loss: training and held-out loss of each twin. Where do the two part, and which of them turns "
    "upward?",
    reveal="With 50 digits the training loss goes to zero and the loss on new digits falls at first, then "
    "rises: the network grows ever more certain of what it has memorized. This is overfitting, and only "
    "held-out data shows it. It is also why one stops early, at the lowest point of that curve. "
    "Goodfellow, Bengio & Courville (2016), Deep Learning, sections 5.2 and 7.8.",
    experiments=differ({**ROWS, "cell": "gru", "steps": 1500}, "train_size", 0, 50),
    twins=("all digits", "50 digits"),
    panes=("loss", "accuracy", "sample"),
    effect="At the end both training losses are below 0.05; the twin with 50 digits reads at least 15 "
    "percentage points fewer held-out digits correctly, and its held-out loss is at least 1.2 times its "
    "lowest.",
    criterion=lambda full, few: (
        max(_training_loss(full), _training_loss(few)) < 0.05
        and accuracy(few) <= accuracy(full) - 0.15
        and loss(few) >= 1.2 * lowest_loss(few)
    ),
    number=lambda r: (
        f"{percent(accuracy(r))} right, training loss {_training_loss(r):.4f}, held-out loss {loss(r):.2f} "
        f"(lowest {lowest_loss(r):.2f})"
    ),
)

LESSONS = (LEARNING_RATE, ZERO, FEW)
