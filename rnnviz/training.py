"""Training: one experiment, step by step, recording as it goes.

`train` yields what happened in chunks of about a tenth of a second. `begin` and `advance` are the same in
pieces, for callers that stop and go on: a `State` holds everything that the next step depends on, so stopping
at any step and going on gives the same bytes as not stopping.

Steps are counted by the updates made so far: the loss recorded at step s is that of the parameters after
s updates, before update s + 1. An experiment of n steps records training metrics at 0 ... n - 1 and
validates at step 0, at regular steps and at step n.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .analysis.activity import PROBES, activity
from .analysis.spectrum import spectrum
from .clipping import CLIPPINGS, Memory
from .experiment import Experiment
from .kernels import default_kernel
from .network import Network, Pass
from .optimizers import OPTIMIZERS
from .recording import Chunk, Recorder
from .step import pass_of, repeatable, scoped
from .tasks import TASKS, VALIDATION_SIZE
from .vectors import norm, squares, update

CHUNK_SECONDS = 0.1
VALIDATIONS = 40  # how often a run is validated, beside the start
FEWEST_VALIDATIONS = 10
FEWEST_STEPS_BETWEEN = 10  # but not more often than this


class DivergedError(ArithmeticError):
    """A run has left the finite numbers and cannot go on."""


@dataclass(frozen=True)
class Compared:
    """One update: all parameters after it, flat, and where it would have led without clipping."""

    step: int
    taken: Tensor
    unclipped: Tensor


@dataclass
class State:
    """Where a run stands: everything that the next step depends on.

    The data needs no generator of its own here: a task's batch is a pure function of seed and step.
    """

    experiment: Experiment
    network: Network
    slots: dict[str, Tensor]  # the optimizer's memory, vectors like network.flat
    clip_memory: Memory = field(default_factory=lambda: array("d"))  # of the clip rule now in force
    step: int = 0
    clipped: int = 0  # steps so far whose gradient was clipped
    validated: int = -1  # last step at which the validation set was seen
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    train_loss: float | None = None
    solved_at: int | None = None
    diverged_at: int | None = None
    divergence: str | None = None  # what stopped being finite, as a sentence
    values: dict[str, Any] = field(default_factory=dict)  # the changeable fields now in force
    compare_at: int = -1  # the step whose update is also made without clipping, to see the difference
    compared: Compared | None = None  # that one, if it was clipped

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: all steps made, solved if that is the end, or diverged."""
        if self.diverged_at is not None or (self.experiment.until == "solved" and self.solved_at is not None):
            return True
        return self.step >= self.experiment.steps and self.validated == self.step

    def change(self, name: str, value: float | str) -> None:
        """Give a field another value from this step on, and record that in the experiment."""
        self.experiment = self.experiment.with_change(self.step, name, value)
        self.values = self.experiment.at(self.step)


def begin(experiment: Experiment, parameters: Tensor | None = None, kernel: str | None = None) -> State:
    """The state before the first step, with these flat parameters instead of fresh ones if they are given.

    `kernel` is what computes the run from here to its end, one of `stack.KERNELS`: by default compiled code
    where there is some for this machine.
    """
    network = Network(experiment, parameters, kernel or default_kernel())
    slots = {name: torch.zeros_like(network.flat) for name in OPTIMIZERS[experiment.optimizer].slots}
    return State(experiment, network, slots, values=experiment.at(0))


def train(experiment: Experiment, chunk_seconds: float = CHUNK_SECONDS) -> Iterator[Chunk]:
    """Train, yielding a `Chunk` about every `chunk_seconds`; ends after the last step or on divergence.

    >>> from rnnviz import Experiment, train
    >>> chunks = list(train(Experiment(task="digits_rows", steps=3)))
    >>> sum(len(c.loss) for c in chunks)
    3
    """
    state = begin(experiment)
    while not state.done:
        yield advance(state, seconds=chunk_seconds)


def advance(state: State, seconds: float | None = None, steps: int | None = None) -> Chunk:
    """Go on for about `seconds` or exactly `steps` (at least one step), and return what was recorded.

    `state` is changed in place. Raises DivergedError when the run has diverged before.
    """
    if state.diverged_at is not None:
        raise DivergedError(f"This run diverged at step {state.diverged_at} and cannot go on.")
    deadline = None if seconds is None else time.monotonic() + seconds
    last = state.experiment.steps if steps is None else min(state.step + steps, state.experiment.steps)
    recorder = Recorder(state.experiment)
    with repeatable():
        if state.validated < 0:
            _validate(state, recorder)
        while state.step < last and not state.done:
            _step(state, recorder)
            if deadline is not None and time.monotonic() >= deadline:
                break
    return recorder.chunk(state.step, state.clipped)


def validation_interval(steps: int, batch: int) -> int:
    """Steps between two validations of a run of that many steps with batches of that size.

    Small batches are validated on less often, so that validation takes no more time than training.
    """
    as_many = min(VALIDATION_SIZE // batch, steps // FEWEST_VALIDATIONS)
    return max(FEWEST_STEPS_BETWEEN, steps // VALIDATIONS, as_many)


def _step(state: State, recorder: Recorder) -> None:
    """One update, and validation when it is due."""
    _update(state, recorder)
    experiment = state.experiment
    due = state.step % validation_interval(experiment.steps, experiment.batch) == 0
    if (due or state.step == experiment.steps) and state.diverged_at is None:
        _validate(state, recorder)


def _update(state: State, recorder: Recorder) -> None:
    """Batch, forward, backward, clip, optimizer; where numbers end, the weights stay as they were."""
    experiment, network = state.experiment, state.network
    _take_changes(state)
    clip, threshold, scope, learning_rate = (
        state.values[k] for k in ("clip", "clip_threshold", "clip_scope", "learning_rate")
    )
    rule = CLIPPINGS[clip]
    result = pass_of(experiment, network, state.step, state.values)
    full_norm, full_cosine = _against(result.full, result.grad)
    kernel = network.kernel
    square = squares(kernel, result.grad, network.layout.borders)  # of each of GROUPS, as it came
    free = _unclipped(result, rule.inside) if state.step == state.compare_at else None
    done = rule.apply(scoped(network, result, scope), threshold, state.clip_memory)
    recorder.step(
        step=state.step,
        loss=result.loss,
        norm_before=done.before,
        norm_after=done.after,
        threshold=done.limit,
        learning_rate=learning_rate,
        weight_norm=norm(kernel, network.flat),
        grad_norms=[math.sqrt(one) for one in square],
        full_norm=full_norm,
        full_cosine=full_cosine,
        omega=result.omega,
        # The task's loss is a batch mean; one sequence's gradient is B times its share.
        grad_hidden=result.tape.grad_norms("h") * experiment.batch,
        grad_cell_state=result.tape.grad_norms("c") * experiment.batch
        if "c" in network.cell.states
        else None,
    )
    state.train_loss = result.loss
    state.clipped += int(done.clipped)
    if _diverged(state, "loss", math.isfinite(result.loss)):
        return
    # A rule inside the backward pass measures what is not used as well.
    measured = done.after if rule.inside else done.before
    if _diverged(state, "gradient", _finite(sum(square), result.grad) and math.isfinite(measured)):
        return
    before = network.flat.clone()
    optimizer = OPTIMIZERS[experiment.optimizer]
    elsewhere = None if free is None or not done.clipped else _led_to(state, free, learning_rate)
    moved = update(kernel, optimizer, network.flat, result.grad, state.slots, learning_rate, state.step + 1)
    if _diverged(state, "weights", _finite(moved, network.flat)):
        network.flat.copy_(before)  # the last weights that were numbers
        return
    recorder.update(math.sqrt(moved))
    if elsewhere is not None:
        state.compared = Compared(state.step, network.flat.clone(), elsewhere)
    state.step += 1


def _unclipped(result: Pass, inside: bool) -> Tensor:
    """The gradient as it was before clipping, which works in place or has been inside the way back."""
    return (result.full if inside and result.full is not None else result.grad).clone()


def _led_to(state: State, grad: Tensor, learning_rate: float) -> Tensor:
    """The parameters after the optimizer's step with this gradient; nothing else is changed."""
    flat, slots = state.network.flat.clone(), {name: slot.clone() for name, slot in state.slots.items()}
    optimizer = OPTIMIZERS[state.experiment.optimizer]
    update(state.network.kernel, optimizer, flat, grad, slots, learning_rate, state.step + 1)
    return flat


def _against(full: Tensor | None, grad: Tensor) -> tuple[float, float]:
    """Norm of the gradient itself, and its cosine with the one used; NaN where they are the same."""
    if full is None:
        return math.nan, math.nan
    whole, used = full.double(), grad.double()
    norm, length = float(whole.norm()), float(used.norm())
    return norm, float(whole @ used) / (norm * length) if norm and length else math.nan


def _take_changes(state: State) -> None:
    """Put the changes of this step in force."""
    experiment = state.experiment
    if not experiment.changes:
        return
    before, state.values = experiment.at(state.step - 1), experiment.at(state.step)
    if any(before[name] != state.values[name] for name in ("clip", "clip_scope")):
        state.clip_memory = array("d")  # what another rule remembers, or of other parameters, is no measure


def _finite(squares: float, vector: Tensor) -> bool:
    """Whether a vector is finite; squares whose sum is finite, as it nearly always is, say so at once."""
    return math.isfinite(squares) or bool(torch.isfinite(vector).all())


def _diverged(state: State, what: str, finite: bool) -> bool:
    if not finite:
        verb = "are" if what == "weights" else "is"
        state.diverged_at = state.step
        state.divergence = f"The {what} {verb} no longer finite at step {state.step}."
    return not finite


def _validate(state: State, recorder: Recorder) -> None:
    task, network = TASKS[state.experiment.task], state.network
    batch = task.validation_batch(state.experiment.length)
    seen = network.evaluate(batch, PROBES)
    accuracy = task.accuracy(seen.outputs, batch)
    state.validated, state.validation_loss, state.validation_accuracy = state.step, seen.loss, accuracy
    saturated, dead = activity(network.cell, [traces for part in seen.traces for traces in part])
    recorder.look(
        step=state.step, loss=seen.loss, accuracy=accuracy, saturated=saturated, dead=dead,
        spectrum=np.array([
            [spectrum(network.cell, network.weights(k, d), trace) for d, trace in enumerate(traces)]
            for k, traces in enumerate(seen.traces[0])
        ]),
        prediction=seen.outputs[..., 0, :].ravel(),
    )  # fmt: skip
    if state.solved_at is None and task.solved.met(seen.loss, accuracy):
        state.solved_at = state.step
