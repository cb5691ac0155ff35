"""Recurrent layers with a linear readout, their parameters in one flat vector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as flattened
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import regularizer
from .bptt import Trace, Weights
from .cells import CELLS
from .chain import Chain, ChainPassage, ChainWeights
from .experiment import Experiment
from .first_weights import first_weights
from .layout import layout_of, parts
from .losses import LOSSES
from .stack import Stack, Tape
from .tasks import TASKS, Batch

EVALUATE_ROWS = 256  # sequences run at once when only the outputs are wanted: few calls, little memory


@dataclass(frozen=True)
class Pass:
    """Loss and gradient of one batch."""

    loss: float
    grad: Tensor  # flat, as the parameters
    passage: ChainPassage
    tape: Tape  # of the way back that `grad` comes from
    full: Tensor | None  # with truncation or a limit on the way back: the gradient without
    omega: float  # the regulariser, NaN without
    outputs: Tensor  # (B, O), or (A, B, O) where A steps have an answer


@dataclass(frozen=True)
class Evaluation:
    """Loss and outputs over a batch, and traces of its first sequences."""

    loss: float
    outputs: np.ndarray  # (B, O), or (A, B, O) where A steps have an answer
    traces: list[list[list[Trace]]]  # by recurrent part, layer and direction; empty if none were asked for


class Network:
    """The network of an experiment: `flat` holds every parameter, `parameters` are its views by name.

    `flat` may be given, for a network that is under way; otherwise it is drawn as the experiment says.
    `kernel` is one of `stack.KERNELS`.
    """

    def __init__(self, experiment: Experiment, flat: Tensor | None = None, kernel: str = "torch") -> None:
        task = TASKS[experiment.task]
        self.cell = CELLS[experiment.cell]
        self.readout = task.readout
        self.loss = LOSSES[task.loss]
        sizes = (experiment.layers, experiment.directions)
        self.layout = layout_of(experiment)
        self.precision, self.kernel = experiment.precision, kernel
        self.parts = parts(experiment.architecture)
        #: Time steps at the end of a sequence that have an answer.
        self.answered = task.answered(experiment.length)
        self._stack_of = (self.cell, task.input_size, experiment.hidden, *sizes, experiment.precision, kernel)
        self._make()
        if flat is None:
            flat = torch.from_numpy(first_weights(experiment, self.layout).astype(self.precision))
        self._use(flat)

    def _make(self) -> None:
        self.chain = Chain([Stack(*self._stack_of) for _ in self.parts])

    def _use(self, flat: Tensor) -> None:
        self.flat, self._grad = flat, torch.empty_like(flat)
        self.parameters, self._grads = self.layout.views(flat), self.layout.views(self._grad)
        self.layer_weights, self._grad_rnn = self.split(self.parameters), self.split(self._grads)

    def split(self, parameters: Mapping[str, Tensor]) -> ChainWeights:
        """Parameters by name as weights by recurrent part, layer and direction."""
        return [
            stack.split({name.removeprefix(f"{part}."): view for name, view in parameters.items()})
            for part, stack in zip(self.parts, self.chain.stacks, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        # Pickled views come back as copies, and code cannot be pickled.
        views = ("parameters", "chain", "_grad", "_grads", "layer_weights", "_grad_rnn")
        return {name: value for name, value in self.__dict__.items() if name not in views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make()
        self._use(self.flat)

    def weights(self, layer: int = 0, direction: int = 0, part: int = 0) -> Weights:
        """One layer's parameters in one direction, by the names of `bptt.Weights`."""
        return self.layer_weights[part][layer][direction]

    def reads(self, T: int) -> list[int]:
        """How many of T steps each recurrent part reads: a decoder those that have an answer."""
        return [T] if len(self.parts) == 1 else [T - self.answered, self.answered]

    def forward(
        self, inputs: Tensor, masks: Sequence[Tensor] = (), keep: frozenset[str] | None = None,
        keep_last: frozenset[str] | None = None,
    ) -> ChainPassage:  # fmt: skip
        """Run over inputs (T, B, I); see `Stack.forward`."""
        reads = self.reads(len(inputs))
        return self.chain.forward(self.layer_weights, inputs, reads, masks, keep, keep_last)

    def asked(self, passage: ChainPassage) -> Tensor:
        """What the output layer reads: h of the last step (B, D*H), or of all with an answer, (A, B, D*H)."""
        return passage.outputs()[-self.answered :] if self.readout == "every" else passage.last()

    def tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a batch in the network's precision."""
        real = np.dtype(self.precision)
        targets = batch.targets
        # Copies: batches may be cached, and torch wants memory that it may write to.
        targets = targets.astype(real if targets.dtype.kind == "f" else np.int64)
        return torch.from_numpy(batch.inputs.astype(real)), torch.from_numpy(targets)

    def evaluate(self, batch: Batch, traced: int = 0) -> Evaluation:
        """Forward only, some sequences at a time, which bounds the memory; the first `traced` are traced."""
        inputs, targets = self.tensors(batch)
        B, every = inputs.shape[1], self.readout == "every"
        last = frozenset({"h"}) if every else None
        traces: list[list[list[Trace]]] = []
        outputs = []
        start = 0
        while start < B:
            stop = min(B, start + (traced if traced and not start else EVALUATE_ROWS))
            keep = None if start < traced else frozenset[str]()
            passage = self.forward(inputs[:, start:stop], keep=keep, keep_last=last)
            if start < traced:
                traces = passage.traces
            outputs.append(self.read(self.asked(passage)))
            start = stop
        y = torch.cat(outputs, -2)  # along the batch
        return Evaluation(self.loss(y, targets)[0], y.double().numpy(), traces)

    def loss_and_gradient(
        self, batch: Batch, masks: Sequence[Tensor] = (), truncation: tuple[int, int] | None = None,
        limit: float | None = None, omega: float = 0.0,
    ) -> Pass:  # fmt: skip
        """Forward and backward by hand; `masks` are those of dropout, see `Stack.forward`.

        With truncation (k1, k2) `grad` is that of `Passage.backward_truncated`, with a limit that of
        `bptt.Trace.backward`, and `full` the gradient itself. `omega` times the regulariser of
        `regularizer.omega` is added to the loss of which `grad` is the gradient, but not to `loss`.
        """
        inputs, targets = self.tensors(batch)
        passage = self.forward(inputs, masks)
        h = self.asked(passage)  # (..., D*H)
        y = self.read(h)  # (..., O)
        loss, grad_y = self.loss(y, targets)
        direct = grad_y @ self.parameters["out.weight"]  # (..., D*H)
        flat_y, flat_h = grad_y.reshape(-1, grad_y.shape[-1]), h.reshape(-1, h.shape[-1])
        torch.mm(flat_y.T, flat_h, out=self._grads["out.weight"])
        torch.sum(flat_y, 0, out=self._grads["out.bias"])
        if truncation is None and limit is None:
            tape = passage.backward(direct, self._grad_rnn)
            penalty = self._add_omega(passage, omega) if omega else math.nan
            return Pass(loss, self._grad.clone(), passage, tape, None, penalty, y)
        passage.backward(direct, self._grad_rnn)
        full = self._grad.clone()
        if truncation is not None:
            tape = passage.passages[0].backward_truncated(direct, self._grad_rnn[0], *truncation)
        else:
            tape = passage.backward(direct, self._grad_rnn, limit)
        return Pass(loss, self._grad.clone(), passage, tape, full, math.nan, y)

    def _add_omega(self, passage: ChainPassage, factor: float) -> float:
        """Add `factor` times the regulariser's gradient; returns the regulariser."""
        total = 0.0
        for weights, grads, traces in zip(self.layer_weights, self._grad_rnn, passage.traces, strict=True):
            for w, g, trace in zip(*map(flattened.from_iterable, (weights, grads, traces)), strict=True):
                value, grad = regularizer.omega(self.cell, w["weight_hh"], trace)
                g["weight_hh"].add_(grad.to(g["weight_hh"].dtype), alpha=factor)
                total += value
        return total

    def read(self, h: Tensor) -> Tensor:
        """The output layer: (..., D*H) to (..., O)."""
        weight, bias = self.parameters["out.weight"], self.parameters["out.bias"]
        return torch.nn.functional.linear(h, weight, bias)
