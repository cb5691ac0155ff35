"""A recurrent cell with a linear readout, its parameters in one flat vector.

The flat vector is laid out so that each clip scope is a prefix of it: first the weights that multiply a
state, then the rest of the recurrent layer, then the output layer. Views by name carry PyTorch's names
(`rnn.weight_ih_l0`, `out.weight`, ...), so they load into nn.RNN, nn.LSTM or nn.GRU with an nn.Linear.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bptt import Tape, Weights, backpropagate, run_forward, unroll
from .cells import CELLS, Cell, Step
from .experiment import Experiment
from .initialization import INITIALIZATIONS
from .losses import LOSSES
from .tasks import TASKS, Batch

EVALUATE_NUMBERS = 2**24  # pre-activations held at once when only the outputs are wanted
_STREAM = 0x1417  # keeps the weights' random numbers apart from those of the data


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the flat vector."""

    shapes: Mapping[str, tuple[int, ...]]
    scopes: Mapping[str, int]  # clip scope to the length of its prefix

    @property
    def size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Each parameter as a view of `flat`."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            count = math.prod(shape)
            views[name] = flat[start : start + count].view(shape)
            start += count
        return views

    def groups(self) -> dict[str, slice]:
        """Recurrent, input and output parameters as slices of the flat vector."""
        recurrent, rest = self.scopes["recurrent"], self.scopes["not_output"]
        return {
            "recurrent": slice(0, recurrent),
            "input": slice(recurrent, rest),
            "output": slice(rest, self.size),
        }


def layout(cell: Cell, inputs: int, hidden: int, outputs: int) -> Layout:
    """Parameter names and shapes of one recurrent layer of `cell` and its readout."""
    rows = len(cell.gates) * hidden
    recurrent = {"rnn.weight_hh_l0": (rows, hidden)}
    if cell.peepholes:
        recurrent["rnn.weight_peephole_l0"] = (len(cell.peepholes), hidden)
    shapes: dict[str, tuple[int, ...]] = {
        **recurrent,
        "rnn.weight_ih_l0": (rows, inputs),
        "rnn.bias_ih_l0": (rows,),
        "rnn.bias_hh_l0": (rows,),
    }
    rnn_size = sum(math.prod(s) for s in shapes.values())
    shapes |= {"out.weight": (outputs, hidden), "out.bias": (outputs,)}
    whole = sum(math.prod(s) for s in shapes.values())
    scopes = {
        "all": whole,
        "recurrent": sum(math.prod(s) for s in recurrent.values()),
        "not_output": rnn_size,
    }
    return Layout(shapes, scopes)


@dataclass(frozen=True)
class Pass:
    """Loss and gradient of one batch."""

    loss: float
    grad: Tensor  # flat, as the parameters
    tape: Tape
    outputs: Tensor  # (B, O), or (T, B, O) where the task has a target at every step


class Network:
    """The network of an experiment: `flat` holds every parameter, `parameters` are its views by name.

    `flat` may be given, for a network that is under way; otherwise it is drawn as the experiment says.
    """

    def __init__(self, experiment: Experiment, flat: Tensor | None = None) -> None:
        task = TASKS[experiment.task]
        self.cell = CELLS[experiment.cell]
        self.readout = task.readout
        self.loss = LOSSES[task.loss]
        self.layout = layout(self.cell, task.input_size, experiment.hidden, task.output_size)
        self.precision = experiment.precision
        if flat is None:
            flat = torch.from_numpy(_initial(experiment, self.layout).astype(self.precision))
        self.flat = flat
        self.parameters = self.layout.views(self.flat)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.parameters = self.layout.views(self.flat)  # pickled views come back as copies

    @property
    def weights(self) -> Weights:
        """The recurrent layer's parameters by the names of `bptt.Weights`."""
        return {
            name.removeprefix("rnn.").removesuffix("_l0"): tensor
            for name, tensor in self.parameters.items()
            if name.startswith("rnn.")
        }

    def tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a batch in the network's precision."""
        real = np.dtype(self.precision)
        targets = batch.targets
        # Copies: batches may be cached, and torch wants memory that it may write to.
        targets = targets.astype(real if targets.dtype.kind == "f" else np.int64)
        return torch.from_numpy(batch.inputs.astype(real)), torch.from_numpy(targets)

    @torch.no_grad()
    def evaluate(
        self, batch: Batch, see: Callable[[int, int, Step], None] | None = None
    ) -> tuple[float, np.ndarray]:
        """Loss and outputs, forward only, a part of the batch at a time so that memory stays bounded.

        `see` is shown every step on the way: the number of the part's first sequence, t from 0, the step.
        """
        inputs, targets = self.tensors(batch)
        T, B, _ = inputs.shape
        at_once = max(1, EVALUATE_NUMBERS // (T * len(self.weights["bias_hh"])))
        parts = []
        for start in range(0, B, at_once):
            h, last = [], None
            part = inputs[:, start : start + at_once]
            for t, step in enumerate(run_forward(self.cell, self.weights, part)):
                if see is not None:
                    see(start, t, step)
                last = step.state[0]
                if self.readout == "every":
                    h.append(last)
            assert last is not None
            parts.append(self.read(torch.stack(h) if h else last))
        outputs = torch.cat(parts, -2)  # along the batch
        return float(self.loss(outputs, targets)[0]), outputs.double().numpy()

    @torch.no_grad()
    def loss_and_gradient(self, batch: Batch) -> Pass:
        """Forward and backward by hand."""
        inputs, targets = self.tensors(batch)
        weights = self.weights
        steps = unroll(self.cell, weights, inputs)
        every = self.readout == "every"
        h = torch.stack([s.state[0] for s in steps]) if every else steps[-1].state[0]  # (..., H)
        y = self.read(h)  # (..., O)
        loss, grad_y = self.loss(y, targets)
        direct = grad_y @ self.parameters["out.weight"]  # (..., H), the direct term dL/dh_t
        grad_outputs: list[Tensor | None] = list(direct) if every else [None] * (len(steps) - 1) + [direct]
        tape = backpropagate(self.cell, weights, inputs, steps, grad_outputs)

        grad = torch.empty_like(self.flat)
        views = self.layout.views(grad)
        for name, gradient in tape.grad_weights.items():
            views[f"rnn.{name}_l0"].copy_(gradient)
        flat_y, flat_h = grad_y.reshape(-1, grad_y.shape[-1]), h.reshape(-1, h.shape[-1])
        views["out.weight"].copy_(flat_y.T @ flat_h)
        views["out.bias"].copy_(flat_y.sum(0))
        return Pass(float(loss), grad, tape, y)

    def read(self, h: Tensor) -> Tensor:
        """The output layer: (..., H) to (..., O)."""
        return h @ self.parameters["out.weight"].T + self.parameters["out.bias"]


def _initial(experiment: Experiment, layout: Layout) -> np.ndarray:
    """Every parameter drawn, flat and in float64. Matrix schemes act on each gate's block."""
    cell, hidden = CELLS[experiment.cell], experiment.hidden
    scheme = INITIALIZATIONS[experiment.initialization]
    kinds = {
        "rnn.weight_hh_l0": ("recurrent", cell.gates),
        "rnn.weight_peephole_l0": ("peephole", cell.peepholes),
        "rnn.weight_ih_l0": ("input", cell.gates),
        "rnn.bias_ih_l0": ("bias", cell.gates),
        "rnn.bias_hh_l0": ("bias", cell.gates),
        "out.weight": ("output", ("",)),
        "out.bias": ("output_bias", ("",)),
    }
    drawn: dict[str, np.ndarray] = {}
    for name, shape in layout.shapes.items():
        kind, gates = kinds[name]
        block = (hidden,) if kind == "peephole" else (shape[0] // len(gates), *shape[1:])
        parts = []
        for gate in gates:
            # A stream for each block, known by its name: networks that differ in one thing share every other
            # number, the forget gates of two kinds of LSTM among them.
            rng = np.random.default_rng([_STREAM, experiment.seed, zlib.crc32(f"{name}.{gate}".encode())])
            parts.append(scheme.block(rng, kind, block, hidden, experiment.gain))
        drawn[name] = np.concatenate(parts).reshape(shape)
    if experiment.forget_bias is not None and cell.forget_gate is not None:
        start = cell.gates.index(cell.forget_gate) * hidden
        rows = slice(start, start + hidden)
        drawn["rnn.bias_ih_l0"][rows] = experiment.forget_bias
        drawn["rnn.bias_hh_l0"][rows] = 0.0  # PyTorch adds two biases: one of them carries the number
    return np.concatenate([drawn[name].ravel() for name in layout.shapes])
