"""Lessons on memory: who remembers, how far back, and what helps."""

from __future__ import annotations

import itertools

from ..recording import Chunk
from .lesson import Lesson, accuracy, differ, percent, power, reach

SMALL = {"hidden": 32, "batch": 32}


def _right(record: Chunk) -> str:
    return f"{percent(accuracy(record))} right at the end"


def _best(record: Chunk) -> float:
    return float(record.validation_accuracy.max())


def _before(record: Chunk) -> str:
    return f"before training {power(reach(record))} of the last step's gradient reached the first step"


GATES = Lesson(
    name="gates",
    title="A memory with gates",
    question="An A or a B comes early in 60 symbols, another one just past the middle. Which network "
    "learns to tell their order?",
    choices=("The plain tanh network", "The GRU", "Both", "Neither"),
    answer=1,
    look="Accuracy: guessing gets 25 % right. Then the gradient at each time step: in which twin does the "
    "dark part, where nothing arrives, give way?",
    reveal="The GRU gets nearly all of the orders right, the tanh network goes on guessing. At every step "
    "the tanh network computes its whole state anew, and what the error says about an early symbol fades "
    "on its way back through all of these steps. A gate of the GRU can copy the old state instead, so both "
    "the memory and its gradient survive. Task: Pascanu, Mikolov & Bengio (2013), On the difficulty of "
    "training recurrent neural networks. GRU: Cho et al. (2014), Learning Phrase Representations using RNN "
    "Encoder-Decoder.",
    experiments=differ(
        {"task": "temporal_order", "length": 60, "steps": 800, **SMALL}, "cell", "tanh", "gru"
    ),
    twins=("tanh", "GRU"),
    panes=("accuracy", "heat", "loss"),
    effect="At the end the GRU has at least 90 % of the held-out orders right and the tanh network at most "
    "50 %.",
    criterion=lambda tanh, gru: accuracy(gru) >= 0.9 and accuracy(tanh) <= 0.5,
    number=_right,
)

FORGET_BIAS = Lesson(
    name="forget-bias",
    title="A habit of keeping",
    question="Two LSTMs learn the order of two symbols. One starts with its forget gates half open, the "
    "other keeps 98 % of its memory at each step from the start. Which one succeeds?",
    choices=("Half open (forget bias 0)", "Keeping 98 % (forget bias 4)", "Both", "Neither"),
    answer=1,
    look="Gradient at each time step, the very first columns: how far down, towards t = 1, does it reach "
    "before anything is learned?",
    reveal="Only the LSTM that starts by keeping learns. A gate at one half halves the memory at every "
    "step: after 49 steps almost nothing is left, of the gradient as well, so nothing tells the network "
    "that keeping would help. With bias 4 the gate stands at sigmoid(4) = 0.98, and 0.98 to the power of "
    "49 is still 0.4. Gers, Schmidhuber & Cummins (2000), Learning to Forget; Jozefowicz, Zaremba & "
    "Sutskever (2015), An Empirical Exploration of Recurrent Network Architectures.",
    experiments=differ(
        {
            "task": "temporal_order", "length": 50, "cell": "lstm", "learning_rate": 0.005, "steps": 700,
            **SMALL,
        },
        "forget_bias", 0.0, 4.0,
    ),
    twins=("bias 0", "bias 4"),
    panes=("heat", "accuracy", "loss"),
    effect="At the end the LSTM with forget bias 4 has at least 90 % of the held-out orders right and the "
    "one with 0 at most 50 %.",
    criterion=lambda half, keeping: accuracy(keeping) >= 0.9 and accuracy(half) <= 0.5,
    number=lambda r: f"{_right(r)}, {_before(r)}",
)  # fmt: skip

DISTANCE = Lesson(
    name="distance",
    title="How far is too far?",
    question="The same tanh network and the same task, but sequences of 10, 20, 40 and 80 symbols. Up to "
    "which length does it learn within 600 updates?",
    choices=("All of them", "20, perhaps 40", "Only 10", "None of them"),
    answer=1,
    look="Accuracy of the four twins; then the bottom of each heat map, the gradient at the first symbols.",
    reveal="10 and 20 are learned within seconds, 80 not at all, 40 is on the edge. On average each step "
    "back multiplies the gradient by a factor below 1, so twice the length squares what is left: some "
    "thousandths of it become some hundred-thousandths. That is why the limit is so sharp. Bengio, Simard "
    "& Frasconi (1994), Learning Long-Term Dependencies with Gradient Descent Is Difficult.",
    experiments=differ(
        {"task": "temporal_order", "cell": "tanh", "steps": 600, **SMALL}, "length", 10, 20, 40, 80
    ),
    twins=("T = 10", "T = 20", "T = 40", "T = 80"),
    panes=("accuracy", "heat", "loss"),
    effect="At the end the networks with T = 10 and T = 20 have at least 95 % of the held-out orders "
    "right, the one with T = 80 at most 50 %, and before training the share of the gradient that reaches t "
    "= 1 shrinks from each length to the next.",
    criterion=lambda *runs: (
        min(accuracy(run) for run in runs[:2]) >= 0.95
        and accuracy(runs[3]) <= 0.5
        and all(reach(near) > reach(far) for near, far in itertools.pairwise(runs))
    ),
    number=lambda r: f"{_right(r)}, {_before(r)}",
)

BITES = Lesson(
    name="bites",
    title="One picture, two ways to read it",
    question="A GRU reads handwritten digits: eight rows of 8 pixels, or the same 64 pixels one by one. "
    "Which way does it read better after 300 updates?",
    choices=("Row by row", "Pixel by pixel", "Equally well: the pictures are the same"),
    answer=0,
    look="Accuracy; and the sequence, to see what the network is shown at each step.",
    reveal="Row by row it reads about 95 of 100 digits, pixel by pixel about two in three. The pictures "
    "are the same, but the pixels have to be remembered over 64 steps instead of 8, and nothing tells the "
    "network that the ninth pixel lies just below the first. How data is cut into steps decides how long a "
    "memory has to be. After Le, Jaitly & Hinton (2015), A Simple Way to Initialize Recurrent Networks of "
    "Rectified Linear Units; digits: Alpaydin & Kaynak (1998), UCI Machine Learning Repository.",
    experiments=differ({"cell": "gru", "steps": 300, **SMALL}, "task", "digits_rows", "digits"),
    twins=("rows", "pixels"),
    panes=("accuracy", "sample", "loss"),
    effect="At the end at least 85 % of the held-out digits are read correctly row by row, and at least 20 "
    "percentage points fewer pixel by pixel.",
    criterion=lambda rows, pixels: accuracy(rows) >= 0.85 and accuracy(pixels) <= accuracy(rows) - 0.2,
    number=_right,
)

IDENTITY = Lesson(
    name="identity",
    title="Begin by copying",
    question="Two networks of ReLU units. One starts with random recurrent weights, the other with the "
    "identity matrix: every unit copies itself. Which one learns an order over 50 steps?",
    choices=("The one with random weights", "The one with the identity", "Both", "Neither"),
    answer=1,
    look="Gradient at each time step, at the start; then accuracy, where guessing gets 25 % right.",
    reveal="The network that starts by copying learns, though in jumps; the other goes on guessing. "
    "Multiplying by the identity changes nothing, so the gradient reaches the first step nearly whole, "
    "while small random weights shrink it to next to nothing. With plain units the start can matter more "
    "than the training. Le, Jaitly & Hinton (2015), A Simple Way to Initialize Recurrent Networks of "
    "Rectified Linear Units.",
    experiments=differ(
        {
            "task": "temporal_order", "length": 50, "cell": "relu", "hidden": 64, "batch": 32,
            "learning_rate": 0.0003, "steps": 1500,
        },
        "initialization", "pytorch", "identity",
    ),
    twins=("random", "identity"),
    panes=("heat", "accuracy", "loss"),
    effect="At its best the network that starts from the identity has at least 80 % of the held-out orders "
    "right, the other one never more than 40 %.",
    criterion=lambda random, identity: _best(identity) >= 0.8 and _best(random) <= 0.4,
    number=lambda r: f"{percent(_best(r))} right at best, {_before(r)}",
)  # fmt: skip

LESSONS = (GATES, FORGET_BIAS, DISTANCE, BITES, IDENTITY)
