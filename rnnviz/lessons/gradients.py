"""Lessons on the gradient's way back through time, before anything is learned."""

from __future__ import annotations

from ..recording import Chunk
from .lesson import Lesson, differ, power, reach

# So small a rate leaves the weights as they were drawn: every column of the heat map shows the same start.
STILL = {
    "task": "adding", "initialization": "orthogonal", "optimizer": "sgd", "learning_rate": 1e-6,
    "hidden": 32, "batch": 32, "steps": 60,
}  # fmt: skip
GAINS = (0.9, 1.0, 1.1)


def _reach(record: Chunk) -> str:
    return f"the gradient at the first step is {power(reach(record))} of that at the last"


SIGMOID = Lesson(
    name="sigmoid",
    title="A quarter at each step",
    question="The slope of a sigmoid is at most 1/4, that of a tanh at most 1. How much of the gradient is "
    "left in the sigmoid network after 19 steps back through time?",
    choices=("About a quarter", "About an eightieth", "Less than a billionth"),
    answer=2,
    look="Gradient at each time step: t = 20 at the top, t = 1 at the bottom. The weights hardly move "
    "here, so every column shows the same start.",
    reveal="Factors multiply: 1/4 to the power of 19 is 4e-12. The recurrent weights of both networks keep "
    "every length as it is, so all that shrinks is due to the slope. What arrives at the first step is too "
    "small to learn from: the gradient has vanished. Hochreiter (1991); Pascanu, Mikolov & Bengio (2013), "
    "On the difficulty of training recurrent neural networks.",
    experiments=differ({**STILL, "length": 20, "precision": "float64"}, "cell", "sigmoid", "tanh"),
    twins=("sigmoid", "tanh"),
    panes=("heat", "norm", "spectrum"),
    effect="Before training the gradient at t = 1, as a multiple of that at t = 20, is below 1/4 to the "
    "power of 19 with sigmoid units and more than a billion times that with tanh units.",
    criterion=lambda sigmoid, tanh: reach(sigmoid) < 0.25**19 and reach(tanh) > 1e9 * reach(sigmoid),
    number=_reach,
)

TEN_PERCENT = Lesson(
    name="ten-percent",
    title="Ten per cent more or less",
    question="Three networks without an activation function. Their recurrent weights turn the state and "
    "multiply its length by 0.9, 1 or 1.1. How far apart are the gradients of the first and the third "
    "after 99 steps?",
    choices=("Some 20 %", "A factor of about 20", "A factor of more than 100 million"),
    answer=2,
    look="Gradient at each time step, the same colours for all three: where does it fade on the way down "
    "to t = 1, and where does it grow?",
    reveal="0.9 to the power of 99 is 0.00003, 1.1 to the power of 99 is about 12,500, and only 1 keeps "
    "the gradient as it is. Vanishing and exploding are one thing, a product of many factors, and the "
    "border between them is narrow. Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear "
    "dynamics of learning in deep linear neural networks.",
    experiments=differ({**STILL, "length": 100, "cell": "linear"}, "gain", *GAINS),
    twins=tuple(f"gain {gain:g}" for gain in GAINS),
    panes=("heat", "norm", "spectrum"),
    effect="Before training the gradient at t = 1, as a multiple of that at t = 100, is within 1 % of 0.9, "
    "1 and 1.1 to the power of 99.",
    criterion=lambda *runs: all(
        abs(reach(run) / gain**99 - 1) < 0.01 for run, gain in zip(runs, GAINS, strict=True)
    ),
    number=_reach,
)

HEALTHY_START = Lesson(
    name="healthy-start",
    title="Born to remember?",
    question="LSTMs are famous for their long memory. Before any training, both with orthogonal recurrent "
    "weights: which network passes more gradient back over 50 steps?",
    choices=("The plain tanh network", "The LSTM", "Both the same"),
    answer=0,
    look="Gradient at each time step: compare the colours at the bottom, at t = 1.",
    reveal="The plain network, by far. The forget gates of a fresh LSTM stand at about one half, so its "
    "memory halves at every step until it has learned to keep. Gates make a long memory learnable, they do "
    "not come with one; a larger forget bias at the start helps, which is a lesson of its own. Orthogonal "
    "weights: Saxe, McClelland & Ganguli (2014); forget bias: Jozefowicz, Zaremba & Sutskever (2015), An "
    "Empirical Exploration of Recurrent Network Architectures.",
    experiments=differ({**STILL, "length": 50}, "cell", "tanh", "lstm"),
    twins=("tanh", "LSTM"),
    panes=("heat", "norm", "spectrum"),
    effect="Before training the gradient at t = 1, as a multiple of that at t = 50, is at least 100 times "
    "larger in the tanh network than in the LSTM.",
    criterion=lambda tanh, lstm: reach(tanh) >= 100 * reach(lstm),
    number=_reach,
)

LESSONS = (SIGMOID, TEN_PERCENT, HEALTHY_START)
