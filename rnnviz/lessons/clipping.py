"""Lessons on exploding gradients and on clipping them."""

from __future__ import annotations

import numpy as np

from ..recording import Chunk
from .lesson import Lesson, accuracy, clipped, differ, diverged, percent, power

SMALL = {"hidden": 32, "batch": 32}
# Every unit feeds itself 1.05 times its value: 1.05 to the power of 99 is 125.
LOUD = {
    "task": "adding", "length": 100, "initialization": "scaled_identity", "gain": 1.05, "optimizer": "sgd",
    "learning_rate": 0.01, **SMALL,
}  # fmt: skip
# The experiment of Pascanu et al., smaller.
ORDER = {
    "task": "temporal_order", "length": 20, "cell": "tanh", "optimizer": "sgd", "learning_rate": 0.1,
    "steps": 3000, **SMALL,
}  # fmt: skip
ROWS = {"task": "digits_rows", "cell": "tanh", "steps": 1000, **SMALL}


def _end(record: Chunk) -> str:
    norms = record.norm_before[np.isfinite(record.norm_before)]
    end = f"no finite numbers after {record.next_step} updates" if diverged(record) else "finite to the end"
    return f"{end}, largest finite gradient norm {power(float(norms.max()))}"


def _right_and_clipped(record: Chunk) -> str:
    return f"{percent(accuracy(record))} right at the end, {percent(clipped(record))} of the steps clipped"


def _units(record: Chunk) -> str:
    first = power(float(record.grad_hidden[-1, 0, 0, 0]))
    return (
        f"{percent(float(record.dead[-1]))} of the units dead at the end, gradient at the first step {first}"
    )


EXPLODE = Lesson(
    name="explode",
    title="A factor of 1.05",
    question="A network multiplies its state by 1.05 at each of 100 steps. One twin follows the gradient "
    "as it is, the other shortens it to length 1 first. What happens to the first one?",
    choices=("It learns faster", "It learns more slowly", "Its numbers become infinite"),
    answer=2,
    look="Gradient norm, on a logarithmic axis: how much does it grow from one update to the next? Go "
    "through it step by step.",
    reveal="At the third update the numbers grow beyond what the computer can hold. A large gradient makes "
    "a large update, the update makes the recurrent weights larger, and the next gradient holds 99 factors "
    "of them. Clipping keeps the direction and bounds the step, so the run survives. It does not solve the "
    "task, which no network without an activation function can. Pascanu, Mikolov & Bengio (2013), On the "
    "difficulty of training recurrent neural networks.",
    experiments=differ({**LOUD, "cell": "linear", "steps": 150}, "clip", "none", "norm"),
    twins=("clipping off", "clipped to norm 1"),
    panes=("norm", "loss", "heat"),
    effect="Without clipping the run leaves the finite numbers within 20 updates; with it all updates are "
    "made.",
    criterion=lambda off, on: diverged(off) and off.next_step <= 20 and not diverged(on),
    number=_end,
)

DEAD = Lesson(
    name="dead",
    title="Dead silence",
    question="A ReLU answers 0 to everything negative. In a network of them the gradient explodes at the "
    "start. What does the twin without clipping do after that?",
    choices=("It recovers and learns", "Its numbers become infinite", "Most of its units never answer again"),
    answer=2,
    look="Gradient norm of both, then the heat map: one of them goes dark and stays dark but for its top "
    "rows.",
    reveal="One huge update pushes most units below zero for every input. There a ReLU answers 0 and its "
    "slope is 0, so no gradient passes: at the first step it is exactly zero, and nothing brings the units "
    "back. The loss looks calm, for the output layer still learns to guess. Clipped updates are too short "
    "to do this here. Lu, Shin, Su & Karniadakis (2020), Dying ReLU and Initialization.",
    experiments=differ({**LOUD, "cell": "relu", "steps": 300, "learning_rate": 0.02}, "clip", "none", "norm"),
    twins=("clipping off", "clipped to norm 1"),
    panes=("norm", "heat", "loss"),
    effect="At the end at least 75 % of the units are dead without clipping and at most 60 % with it, and "
    "the gradient at the first step is exactly 0 without clipping and not with it. (A unit is dead when it "
    "hardly moves whatever the input; some are from the start.)",
    criterion=lambda off, on: (
        off.dead[-1] >= 0.75
        and on.dead[-1] <= 0.6
        and off.grad_hidden[-1, 0, 0, 0] == 0
        and on.grad_hidden[-1, 0, 0, 0] > 0
    ),
    number=_units,
)

CLIP = Lesson(
    name="clip",
    title="A shorter step gets further",
    question="A tanh network learns the order of two symbols with plain gradient descent. One twin clips "
    "its gradient to norm 1. Which one learns?",
    choices=("Only the one that clips", "Only the one that does not", "Both"),
    answer=0,
    look="Gradient norm: single peaks, far above the rest. What does the loss of each twin do right after "
    "one?",
    reveal="Most gradients are short; now and then one is many times longer. Without clipping such a step "
    "throws the weights far away and what was learned is lost, again and again. With clipping the step "
    "goes in the same direction, only less far. Pascanu, Mikolov & Bengio (2013), On the difficulty of "
    "training recurrent neural networks, algorithm 1.",
    experiments=differ(ORDER, "clip", "none", "norm"),
    twins=("clipping off", "clipped to norm 1"),
    panes=("norm", "accuracy", "loss"),
    effect="At the end the run with clipping has at least 90 % of the held-out orders right and the other "
    "at most 75 %.",
    criterion=lambda off, on: accuracy(on) >= 0.9 and accuracy(off) <= 0.75,
    number=_right_and_clipped,
)

NORM_OR_VALUE = Lesson(
    name="norm-or-value",
    title="One is not one",
    question="Both twins clip at 1: one the length of the whole gradient, the other each of its elements. "
    "Which of them learns?",
    choices=("Only the one that clips the length", "Only the one that clips elements", "Both: 1 is 1"),
    answer=0,
    look="Gradient norm: the share of steps that were clipped, and what the threshold is compared with in "
    "each twin.",
    reveal="A gradient of 1,412 elements can be 37 long although none of them exceeds 1. So at the same "
    "threshold clipping by value hardly ever acts here, and that twin fares like one without clipping. A "
    "threshold means nothing without its rule. Where it does act, clipping by value also bends the "
    "direction of the step; clipping by norm keeps it. Goodfellow, Bengio & Courville (2016), Deep "
    "Learning, section 10.11.1.",
    experiments=differ(ORDER, "clip", "norm", "value"),
    twins=("by norm", "by value"),
    panes=("norm", "accuracy", "loss"),
    effect="At least 5 % of the steps are clipped by norm and at most 2 % by value; at the end at least 90 "
    "% of the held-out orders are right with the first and at most 75 % with the second.",
    criterion=lambda norm, value: (
        clipped(norm) >= 0.05 and clipped(value) <= 0.02 and accuracy(norm) >= 0.9 and accuracy(value) <= 0.75
    ),
    number=_right_and_clipped,
)

SCOPE = Lesson(
    name="clip-scope",
    title="The part that was left out",
    question="Only the recurrent weights are multiplied with themselves 99 times. Is it enough to clip "
    "their gradient, or that of all but the output layer?",
    choices=("Either is enough", "All but the output layer is enough", "Only clipping everything is enough"),
    answer=2,
    look="Gradient norm and loss, step by step: which twin leaves the finite numbers first?",
    reveal="The state itself grows over the 100 steps, and with it the gradients of the input and output "
    "weights. Whatever is not clipped takes steps as long as its gradient, and here that is enough to "
    "drive the run to infinity, only later when the output layer alone is free. Where states are bounded, "
    "as with tanh, the output layer may well be left out. Pascanu, Mikolov & Bengio (2013) clip the "
    "gradient of all parameters together.",
    experiments=differ(
        {**LOUD, "cell": "linear", "steps": 150}, "clip_scope", "recurrent", "not_output", "all"
    ),
    twins=("recurrent only", "all but output", "all"),
    panes=("norm", "groups", "loss"),
    effect="Clipping the recurrent weights alone, or all but the output layer, ends outside the finite "
    "numbers, the first of them sooner; clipping everything makes all updates.",
    criterion=lambda recurrent, not_output, everything: (
        diverged(recurrent)
        and diverged(not_output)
        and recurrent.next_step < not_output.next_step
        and not diverged(everything)
    ),
    number=_end,
)

TOO_HARD = Lesson(
    name="clip-too-hard",
    title="On a short leash",
    question="Plain gradient descent with clip thresholds of 0.01, 1 and 100. Which of the three learns "
    "clearly worse within 1,000 updates?",
    choices=("0.01", "1", "100", "None of them"),
    answer=0,
    look="Gradient norm: the share of steps that were clipped, and how far the norm falls by it.",
    reveal="At 0.01 every step is clipped, and an update is some fifty times shorter than the gradient "
    "asks for: training crawls. 1 cuts what sticks out, 100 never acts, and here both learn. A good "
    "threshold lies near the usual norm of the gradient, from half of it to ten times it, say the authors. "
    "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks.",
    experiments=differ(
        {**ROWS, "optimizer": "sgd", "learning_rate": 0.1}, "clip_threshold", 0.01, 1.0, 100.0
    ),
    twins=("0.01", "1", "100"),
    panes=("norm", "accuracy", "update"),
    effect="At 0.01 at least 99 % of the steps are clipped and at most 50 % of the held-out digits are "
    "read correctly at the end; at 1 and at 100 at least 90 % are.",
    criterion=lambda hard, usual, loose: (
        clipped(hard) >= 0.99 and accuracy(hard) <= 0.5 and min(accuracy(usual), accuracy(loose)) >= 0.9
    ),
    number=_right_and_clipped,
)

UNDER_ADAM = Lesson(
    name="clip-under-adam",
    title="Adam does not mind",
    question="Under plain gradient descent a threshold of 0.01 ruins training. Now the optimizer is Adam. "
    "How much worse is the twin whose gradients are all cut to length 0.01?",
    choices=("It learns nothing", "It is clearly worse", "There is hardly a difference"),
    answer=2,
    look="Gradient norm: one twin is clipped at every step. Then compare the size of the updates.",
    reveal="Adam divides the gradient by a running mean of its own size. A factor that all gradients share "
    "cancels in that, so most of what clipping takes away comes back and the updates are about as long as "
    "before. Look at clipping under plain gradient descent if you want to see it at work. Kingma & Ba "
    "(2015), Adam: A Method for Stochastic Optimization, section 1.",
    experiments=differ({**ROWS, "optimizer": "adam", "learning_rate": 0.01}, "clip_threshold", 0.01, 100.0),
    twins=("0.01", "100"),
    panes=("norm", "update", "accuracy"),
    effect="At 0.01 at least 99 % of the steps are clipped, at 100 none; at the end both twins read at "
    "least 90 % of the held-out digits correctly and are within 5 percentage points of each other.",
    criterion=lambda hard, loose: (
        clipped(hard) >= 0.99
        and clipped(loose) == 0
        and min(accuracy(hard), accuracy(loose)) >= 0.9
        and abs(accuracy(hard) - accuracy(loose)) <= 0.05
    ),
    number=_right_and_clipped,
)

LESSONS = (EXPLODE, CLIP, TOO_HARD, UNDER_ADAM, NORM_OR_VALUE, SCOPE, DEAD)
