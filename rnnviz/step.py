"""What one training step computes before its update: which batch, which dropout, the way there and back, and
what a clip rule sees of the gradient.

Training makes its steps with this, and whoever looks at a step afterwards makes it again, to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .clipping import CLIPPINGS, Scoped
from .experiment import Experiment
from .network import Network, Pass
from .tasks import TASKS, Batch
from .tasks.task import DROPOUT_STREAM
from .vectors import norm


def batch_of(experiment: Experiment, step: int) -> Batch:
    """The batch of a training step: a pure function of seed and step."""
    return TASKS[experiment.task].training_batch(
        experiment.seed, step, experiment.length, experiment.batch, experiment.train_size
    )


def dropout_masks(experiment: Experiment, step: int) -> list[Tensor]:
    """What the outputs of each layer but the last are multiplied with, (T, B, D*H): 0, or 1 / (1 - p).

    Like the data a pure function of seed and step, so that a run resumes exactly.
    """
    if not experiment.dropout:
        return []
    keep = 1.0 - experiment.dropout
    shape = (experiment.steps_per_sequence(), experiment.batch, experiment.directions * experiment.hidden)
    rng = np.random.default_rng([experiment.seed, DROPOUT_STREAM, step])
    masks = (rng.random(shape) < keep for _ in range(experiment.layers - 1))
    return [torch.from_numpy((mask / keep).astype(experiment.precision)) for mask in masks]


def pass_of(experiment: Experiment, network: Network, step: int, values: Mapping[str, Any]) -> Pass:
    """Forward and backward of a training step; `values` are the changeable fields in force at it."""
    limit = values["clip_threshold"] if CLIPPINGS[values["clip"]].inside else None
    return network.loss_and_gradient(
        batch_of(experiment, step), dropout_masks(experiment, step), experiment.truncation, limit,
        experiment.omega,
    )  # fmt: skip


def scoped(network: Network, result: Pass, scope: str) -> Scoped:
    """What a clip rule sees of a gradient; it may change `result.grad` through that."""
    end = network.layout.scopes[scope]
    grad = result.grad[:end]
    return Scoped(
        grad=grad,
        norm=norm(network.kernel, grad),
        views=lambda: _in_scope(network, result.grad, scope),
        measure=partial(norm, network.kernel),
        unclipped=math.nan if result.full is None else norm(network.kernel, result.full[:end]),
    )


def _in_scope(network: Network, grad: Tensor, scope: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Gradient and weights of each parameter in a clip scope, as views by name."""
    layout, found, start = network.layout, {}, 0
    for name, view in layout.views(grad).items():
        if start < layout.scopes[scope]:
            found[name] = view, network.parameters[name]
        start += view.numel()
    return found


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
