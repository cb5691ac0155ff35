"""What goes on inside a network while it reads: every gate, candidate and state at every time step.

Three kinds of sequences can be read: the batch of the training step itself (to the bytes that training
computed), held-out ones, and one that somebody has typed, for which no right answer is known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ..bptt import Trace
from ..chain import ChainPassage
from ..experiment import Experiment
from ..step import repeatable
from ..tasks import TASKS, Batch
from .dynamics import Place
from .moment import Moment

OVER = ("step", "held_out")
HELD_OUT = 64  # sequences that are read, the first of the validation set; of large networks fewer,
LEAST_HELD_OUT = 8
STATE_NUMBERS = 1_000_000  # so that there are no more numbers of a state than this: a quarter of a second


@dataclass(frozen=True, eq=False)
class Reading:
    """Sequences and what the network made of them. Arrays are (T, B, H), time in the sequence's order.

    batch: with targets of no meaning where `known` is False. outputs: (B, O), or (A, B, O).
    """

    moment: Moment
    batch: Batch
    passage: ChainPassage
    outputs: np.ndarray
    loss: float  # NaN where no right answer is known
    known: bool

    def trace(self, place: Place) -> Trace:
        """One layer in one direction; of an encoder and a decoder one of them."""
        return self.passage.traces[place.part][place.layer][place.direction]

    def values(self, place: Place, name: str) -> np.ndarray:
        """(T, B, H): a gate, candidate or state by its name."""
        found: np.ndarray = self.trace(place).values[name].numpy()
        return found

    def before(self, place: Place, name: str) -> np.ndarray:
        """(T, B, H): a state as each step found it."""
        found: np.ndarray = self.trace(place).before(name).numpy()
        return found

    def grad(self, place: Place, name: str = "h") -> np.ndarray | None:
        """(T, B, H): dL/ds_t, L being each sequence's **own** loss; None where no right answer is known."""
        if not self.known:
            return None
        own: np.ndarray = self.trace(place).total[name].numpy() * self.batch.inputs.shape[1]
        return own

    @cached_property
    def B(self) -> int:
        return int(self.batch.inputs.shape[1])

    def steps(self, place: Place) -> np.ndarray:
        """The time steps, counted from 1, that this part reads: a decoder's follow the encoder's."""
        T = len(self.batch.inputs)
        reads = self.moment.network.reads(T)
        first = sum(reads[: place.part])
        return np.arange(first + 1, first + reads[place.part] + 1)


def read(moment: Moment, over: str) -> Reading:
    """The training step's own batch ("step") or the first held-out sequences ("held_out"); kept."""
    if over == "step":
        result = moment.true
        outputs = result.outputs.double().numpy()
        return Reading(moment, moment.batch, result.passage, outputs, result.loss, True)
    if over != "held_out":
        raise ValueError(f"over: got {over!r}; allowed: {', '.join(OVER)}.")
    found: Reading = moment.once("held_out", lambda: _held_out(moment))
    return found


def held_out_count(e: Experiment) -> int:
    """How many held-out sequences a network of this size reads."""
    numbers = e.steps_per_sequence() * e.hidden * e.layers * e.directions
    return max(LEAST_HELD_OUT, min(HELD_OUT, STATE_NUMBERS // numbers))


def _held_out_batch(e: Experiment) -> Batch:
    return first_of(TASKS[e.task].validation_batch(e.length), held_out_count(e), e.task)


def _held_out(moment: Moment) -> Reading:
    batch = _held_out_batch(moment.experiment)
    result = moment.network.loss_and_gradient(batch)
    return Reading(moment, batch, result.passage, result.outputs.double().numpy(), result.loss, True)


def held_out_values(moment: Moment, place: Place, name: str) -> np.ndarray:
    """(T, B, H): a gate or state over the held-out sequences, without the way back, which takes longer."""
    network = moment.network
    with repeatable():
        inputs = network.tensors(_held_out_batch(moment.experiment))[0]
        passage = network.forward(inputs, keep=frozenset({name}))
    found: np.ndarray = passage.traces[place.part][place.layer][place.direction].values[name].numpy()
    return found


def first_of(batch: Batch, count: int, task: str) -> Batch:
    """The first sequences of a batch."""
    every = TASKS[task].readout == "every"
    targets = batch.targets[:, :count] if every else batch.targets[:count]
    return Batch(batch.inputs[:, :count], targets, batch.marks[:count])


def read_typed(moment: Moment, inputs: np.ndarray) -> Reading:
    """One sequence of one's own, (T, I). Raises ValueError where the network could not read it."""
    experiment = moment.experiment
    answered, T = moment.network.answered, len(inputs)
    if experiment.architecture != "one" and experiment.steps_per_sequence() != T:
        raise ValueError(
            f"sequence: got {T} time steps; an encoder and a decoder need {experiment.steps_per_sequence()}."
        )
    if answered > T and TASKS[experiment.task].readout != "every":
        raise ValueError(f"sequence: got {T} time steps; allowed: {answered} or more.")
    key = ("typed", hashlib.sha256(inputs.tobytes()).hexdigest(), inputs.shape)
    found: Reading = moment.once(key, lambda: _typed(moment, inputs), "typed")
    return found


def _typed(moment: Moment, inputs: np.ndarray) -> Reading:
    network = moment.network
    one = inputs[:, None, :]
    nothing = Batch(one, np.zeros((1, 1)), np.empty((1, 0), dtype=np.int64))
    passage = network.forward(network.tensors(nothing)[0])
    every = network.readout == "every" and moment.experiment.architecture == "one"
    h = passage.outputs() if every else network.asked(passage)
    return Reading(moment, nothing, passage, network.read(h).double().numpy(), float("nan"), False)


def typed(task_name: str, text: str, most: int = 2000) -> np.ndarray:
    """A typed sequence as inputs (T, I).

    Of symbols: one character each where every symbol is one, else their names between spaces; capitals are
    as small letters where no symbol has one. Of numbers:
    time steps between spaces, the channels of each between commas. Raises ValueError, one sentence.
    """
    task = TASKS[task_name]
    names = [_symbol(name) for name in task.channels()]
    if symbolic(task_name):
        if all(name == name.lower() for name in names):
            text = text.lower()
        parts = list(text) if all(len(name) == 1 for name in names) else text.split()
        if " " not in names:
            parts = [part for part in parts if not part.isspace()]
        wrong = next((part for part in parts if part not in names), None)
        if wrong is not None:
            allowed = "".join(names) if all(len(n) == 1 for n in names) else ", ".join(names)
            raise ValueError(f"sequence: {wrong!r} is no symbol of this task; allowed: {allowed}")
        rows = np.eye(len(names))[[names.index(part) for part in parts]] if parts else np.empty((0, 1))
    else:
        rows = _numbers(text, len(names))
    if not 1 <= len(rows) <= most:
        raise ValueError(f"sequence: got {len(rows)} time steps; allowed: 1 to {most:,}.")
    return rows


def _numbers(text: str, size: int) -> np.ndarray:
    rows = []
    for k, part in enumerate(text.split(), 1):
        try:
            row = [float(number) for number in part.split(",")]
        except ValueError:
            row = []
        if len(row) != size or not np.isfinite(row).all():
            raise ValueError(
                f"sequence: time step {k} is {part!r}; allowed: {size} finite number(s) between commas."
            )
        rows.append(row)
    return np.array(rows).reshape(-1, size)


@cache
def symbolic(task_name: str) -> bool:
    """Whether a task's inputs are symbols, one at each time step, rather than numbers."""
    task = TASKS[task_name]
    return is_one_hot(task.sample(np.random.default_rng(0), task.default_length, 1).inputs[:, 0])


def as_text(task_name: str, inputs: np.ndarray, most: int | None = None) -> str:
    """The inverse of `typed`, (T, I) to what would have to be typed; numbers to three digits.

    most: characters, into which the first steps go, each of them whole.
    """
    task = TASKS[task_name]
    names = [_symbol(name) for name in task.channels()]
    if symbolic(task_name):
        parts = [names[k] for k in inputs.argmax(-1)]
        text = ("" if all(len(name) == 1 for name in names) else " ").join(parts)
    else:
        text = " ".join(",".join(f"{v:.3g}" for v in row) for row in inputs)
    if most is None or len(text) <= most:
        return text
    return text[:most].rsplit(" ", 1)[0] if " " in text[:most] else text[:most]


def _symbol(name: str) -> str:
    return " " if name == "space" else name


def is_one_hot(inputs: np.ndarray) -> bool:
    """Whether each time step of (T, I) has a single 1 and else 0."""
    one_hot = bool(np.isin(inputs, (0.0, 1.0)).all() and (inputs.sum(axis=-1) == 1.0).all())
    return inputs.shape[-1] > 1 and one_hot
