"""Training: one experiment, step by step, recording as it goes.

`train` yields what happened in chunks of about a tenth of a second. `begin` and `advance` are the same in
pieces, for callers that stop and go on: a `State` holds everything that the next step depends on, so stopping
at any step and going on gives the same bytes as not stopping.

Steps are counted by the updates made so far: the loss recorded at step s is that of the parameters after
s updates, before update s + 1. An experiment of n steps records training metrics at 0 ... n - 1 and
validates at step 0, at regular steps and at step n.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .analysis.activity import Probe
from .analysis.spectrum import spectrum
from .clipping import CLIPPINGS
from .experiment import Experiment
from .network import Network
from .optimizers import OPTIMIZERS
from .recording import GROUPS, Chunk, Recorder
from .tasks import TASKS

CHUNK_SECONDS = 0.1
VALIDATIONS = 50  # how often a run is validated, beside the start
FEWEST_STEPS_BETWEEN = 10  # but not more often than this


class DivergedError(ArithmeticError):
    """A run has left the finite numbers and cannot go on."""


@dataclass
class State:
    """Where a run stands: everything that the next step depends on.

    The data needs no generator of its own here: a task's batch is a pure function of seed and step.
    """

    experiment: Experiment
    network: Network
    slots: dict[str, Tensor]  # the optimizer's memory, vectors like network.flat
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


def begin(experiment: Experiment, parameters: Tensor | None = None) -> State:
    """The state before the first step, with these flat parameters instead of fresh ones if they are given."""
    network = Network(experiment, parameters)
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


def validation_interval(steps: int) -> int:
    """Steps between two validations of a run of that many steps."""
    return max(FEWEST_STEPS_BETWEEN, steps // VALIDATIONS)


@contextmanager
def repeatable() -> Iterator[None]:
    """Settings of this process that would change a run's bytes, put aside while it computes.

    Sums depend on how many threads share them, products on how many bits they are allowed to drop.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if threads != 1:
        torch.set_num_threads(1)
    if precision != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if threads != 1:
            torch.set_num_threads(threads)
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)


def _step(state: State, recorder: Recorder) -> None:
    """One update: batch, forward, backward, clip, optimizer, validation when due."""
    experiment, network = state.experiment, state.network
    state.values = experiment.at(state.step) if experiment.changes else state.values
    clip, threshold, scope, learning_rate = (
        state.values[k] for k in ("clip", "clip_threshold", "clip_scope", "learning_rate")
    )
    batch = TASKS[experiment.task].training_batch(
        experiment.seed, state.step, experiment.length, experiment.batch, experiment.train_size
    )
    result = network.loss_and_gradient(batch)
    groups = network.layout.groups()
    grad_norms = [_norm(result.grad[groups[name]]) for name in GROUPS]  # of the gradient as it came
    rule = CLIPPINGS[clip]
    scoped = result.grad[: network.layout.scopes[scope]]
    measured = rule.measure(scoped)
    clipped = rule.uses_threshold and measured > threshold
    if clipped:
        rule.apply(scoped, threshold, measured)
    recorder.step(
        step=state.step,
        loss=result.loss,
        norm_before=measured,
        norm_after=rule.measure(scoped) if clipped else measured,
        threshold=threshold if rule.uses_threshold else float("nan"),
        learning_rate=learning_rate,
        weight_norm=_norm(network.flat),
        grad_norms=grad_norms,
        # The task's loss is a batch mean; one sequence's gradient is B times its share.
        grad_hidden=_norms(result.tape.grad_hidden) * experiment.batch,
        grad_cell_state=(
            None
            if result.tape.grad_cell_state is None
            else _norms(result.tape.grad_cell_state) * experiment.batch
        ),
    )
    state.train_loss = result.loss
    state.clipped += int(clipped)
    if _diverged(state, "loss", np.isfinite(result.loss)):
        return
    if _diverged(state, "gradient", bool(torch.isfinite(result.grad).all()) and np.isfinite(measured)):
        return
    before = network.flat.clone()
    OPTIMIZERS[experiment.optimizer].update(
        network.flat, result.grad, state.slots, learning_rate, state.step + 1
    )
    if _diverged(state, "weights", bool(torch.isfinite(network.flat).all())):
        network.flat.copy_(before)  # the last weights that were numbers
        return
    recorder.update(_norm(network.flat.double() - before))
    state.step += 1
    if state.step % validation_interval(experiment.steps) == 0 or state.step == experiment.steps:
        _validate(state, recorder)


def _diverged(state: State, what: str, finite: bool) -> bool:
    if not finite:
        verb = "are" if what == "weights" else "is"
        state.diverged_at = state.step
        state.divergence = f"The {what} {verb} no longer finite at step {state.step}."
    return not finite


def _validate(state: State, recorder: Recorder) -> None:
    task = TASKS[state.experiment.task]
    network = state.network
    batch = task.validation_batch(state.experiment.length)
    probe = Probe(network.cell, state.experiment.steps_per_sequence())
    loss, outputs = network.evaluate(batch, probe.see)
    accuracy = task.accuracy(outputs, batch)
    state.validated, state.validation_loss, state.validation_accuracy = state.step, loss, accuracy
    recorder.look(
        step=state.step, loss=loss, accuracy=accuracy, saturated=probe.saturated(), dead=probe.dead(),
        spectrum=spectrum(network.cell, network.weights, probe.jacobian_steps),
        prediction=outputs[..., 0, :].ravel(),
    )  # fmt: skip
    if state.solved_at is None and task.solved.met(loss, accuracy):
        state.solved_at = state.step


def _norm(vector: Tensor) -> float:
    """Euclidean, summed in float64: squares of small or large float32 numbers leave its range."""
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))


def _norms(grad: Tensor) -> np.ndarray:
    """(1, 1, T, B, H) to (T,): the Euclidean norm over the units, averaged over the batch.

    In float64, because squares of small float32 numbers are zero long before the numbers are.
    """
    norms: np.ndarray = grad[0, 0].double().norm(dim=-1).mean(-1).numpy()
    return norms
