"""The height of a loss surface at any parameters: one batch, and the network that reads it.

The numbers are those that training would have had there: the same kernel, precision and dropout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ..experiment import Experiment
from ..kernels import default_kernel
from ..network import Network
from ..step import batch_of, dropout_masks, repeatable
from ..tasks import TASKS, Batch

#: What a height is taken over: the training batch of the step, or everything that is held out for validation.
BATCHES = ("step", "held_out")


class Height(NamedTuple):
    """At one place. NaN stands for what was not asked for or has no number; infinity is kept."""

    loss: float
    accuracy: float
    gradient: float  # norm over all parameters


@dataclass(frozen=True)
class Reading:
    """What is read: a batch, and dropout's masks where training had them."""

    batch: Batch
    masks: list[torch.Tensor]
    whole: bool  # read as training reads it, all sequences at once; otherwise as validation does


def reading(experiment: Experiment, step: int, over: str = "step") -> Reading:
    """The batch of a training step with its dropout, or the held-out sequences, which have none."""
    if over == "held_out":
        return Reading(TASKS[experiment.task].validation_batch(experiment.length), [], False)
    return Reading(batch_of(experiment, step), dropout_masks(experiment, step), True)


class Heights:
    """Loss, accuracy and gradient norm of an experiment's network, as functions of its parameters.

    step, over: see `reading`. kernel: what computed the run, where this machine has it.
    Not for several threads at once: a network's buffers serve one pass at a time.
    """

    def __init__(
        self, experiment: Experiment, step: int = 0, over: str = "step", kernel: str | None = None
    ) -> None:
        here = default_kernel()
        self.experiment, self.task = experiment, TASKS[experiment.task]
        self.network = Network(experiment, kernel=here if kernel in (None, "compiled") else "torch")
        self.read = reading(experiment, step, over)
        self.inputs, self.targets = self.network.tensors(self.read.batch)
        self._flat = self.network.flat.numpy()

    def at(self, theta: np.ndarray, gradient: bool = False) -> Height:
        """The height at flat parameters (P,), which are rounded to the network's precision."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._flat[:] = theta
        return self._here(gradient)

    def many(self, thetas: Iterable[np.ndarray], gradient: bool = False) -> np.ndarray:
        """(N, 3): loss, accuracy and gradient norm at each of N points."""
        with repeatable():
            rows = [self.at(theta, gradient) for theta in thetas]
        return np.array(rows, dtype=np.float64).reshape(-1, len(Height._fields))

    def _here(self, gradient: bool) -> Height:
        network = self.network
        norm = math.nan
        if not self.read.whole:
            seen = network.evaluate(self.read.batch)
            loss, outputs = seen.loss, seen.outputs
        elif gradient:
            result = network.loss_and_gradient(self.read.batch, self.read.masks)
            loss, outputs = result.loss, result.outputs.double().numpy()
        else:
            last = frozenset({"h"}) if network.readout == "every" else None
            keep = frozenset[str]()
            passage = network.forward(self.inputs, self.read.masks, keep, last)
            y = network.read(network.asked(passage))
            loss, outputs = network.loss(y, self.targets)[0], y.double().numpy()
        if gradient:
            if not self.read.whole:
                result = network.loss_and_gradient(self.read.batch)
            norm = float(result.grad.double().norm())
        accuracy = self.task.accuracy(outputs, self.read.batch) if math.isfinite(loss) else None
        return Height(loss, math.nan if accuracy is None else accuracy, norm)
