"""Networks as plain autograd graphs, for tests: a twin of what the library derives by hand.

Only the forward step of a cell is shared with the library; the way back is autograd's, and layers,
directions, encoder and decoder, readout and loss are put together here once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.numpy import load, save
from torch import Tensor
from torch.nn import functional as F

from rnnviz.analysis.moment import Moment, moment
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.runs.state import parameters_to_bytes
from rnnviz.step import batch_of, dropout_masks
from rnnviz.tasks import TASKS
from rnnviz.training import begin

STEP = 3
#: Depths, directions, encoder and decoder, and both readouts, small enough for a graph of every cell.
SHAPES = {
    "one layer": {"task": "adding", "length": 6},
    "both ways": {"task": "adding", "length": 6, "direction": "both"},
    "two layers, both ways": {"task": "adding", "length": 6, "layers": 2, "direction": "both"},
    "an answer at every step": {"task": "copying", "length": 2, "layers": 2, "dropout": 0.3},
    "every step, both ways": {"task": "copying", "length": 2, "direction": "both"},
    "reads first": {"task": "reversal", "length": 4},
    "encoder and decoder": {
        "task": "reversal", "length": 4, "layers": 2, "architecture": "encoder_decoder",
    },
}  # fmt: skip


def small(**values) -> Experiment:
    plain = {"task": "adding", "length": 6, "hidden": 4, "batch": 3, "precision": "float64", "seed": 5}
    return Experiment(**{**plain, **values})


def blob_of(experiment: Experiment, **weights: object) -> bytes:
    """Fresh parameters by name; of those named here (a point written __) all elements have another value."""
    arrays = {k: v.copy() for k, v in load(parameters_to_bytes(begin(experiment))).items()}
    for name, value in weights.items():
        arrays[name.replace("__", ".")][...] = value
    return save(arrays)


def changed(blob: bytes, name: str, place: tuple[int, ...], by: float) -> bytes:
    """The same parameters but for one number."""
    arrays = {k: v.copy() for k, v in load(blob).items()}
    arrays[name][place] += by
    return save(arrays)


def moments(experiment: Experiment, kernel: str, blob: bytes | None = None) -> tuple[Moment, Twin]:
    """A moment with these parameters, and its twin."""
    blob = blob or blob_of(experiment)
    return moment(experiment, STEP, blob, kernel), twin(experiment, blob)


@dataclass
class Twin:
    """A graph: everything may be asked for its gradient. states: by part, layer and direction, for each step
    in the order of the sequence (B, H) by name."""

    parameters: dict[str, Tensor]
    inputs: Tensor  # (T, B, I)
    states: list[list[list[list[dict[str, Tensor]]]]]
    read: Tensor  # what the output layer reads, (A, B, D*H)
    outputs: Tensor  # (A, B, O)
    loss: Tensor

    def column(self, name: str, layer: int, direction: int) -> list[Tensor]:
        """A state at every step, those of a decoder after the encoder's."""
        return [now[name] for part in self.states for now in part[layer][direction]]

    def norms(self, name: str, layer: int, direction: int) -> Tensor:
        """(T, B): of the gradient of each sequence's own loss."""
        column = self.column(name, layer, direction)
        grads = torch.autograd.grad(self.loss, column, retain_graph=True, allow_unused=True)
        each = [torch.zeros_like(s) if g is None else g for s, g in zip(column, grads, strict=True)]
        return (torch.stack(each) * len(column[0])).norm(dim=-1)

    def gradients(self) -> dict[str, Tensor]:
        grads = torch.autograd.grad(self.loss, list(self.parameters.values()), retain_graph=True)
        return dict(zip(self.parameters, grads, strict=True))


def twin(experiment: Experiment, blob: bytes, step: int = STEP) -> Twin:
    e, task, cell = experiment, TASKS[experiment.task], CELLS[experiment.cell]
    p = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in load(blob).items()}
    batch = batch_of(e, step)
    x = torch.from_numpy(batch.inputs.astype(e.precision)).requires_grad_()
    T, A = len(x), task.answered(e.length)
    joined = e.architecture == "encoder_decoder"
    spans = {"encoder": (0, T - A), "decoder": (T - A, T)} if joined else {"rnn": (0, T)}
    masks = dropout_masks(e, step)
    states = []
    begins: dict[tuple[int, int], dict[str, Tensor]] = {}  # by layer and direction
    for part, (start, stop) in spans.items():
        rows, layers = x[start:stop], []
        for k in range(e.layers):
            columns = []
            for d in range(e.directions):
                end = f"_l{k}{'_reverse' if d else ''}"
                weights = {
                    n.split(".")[1].removesuffix(end): w
                    for n, w in p.items()
                    if n.startswith(f"{part}.") and n.endswith(end)
                }
                seen = list(unroll(cell, weights, rows.flip(0) if d else rows, begins.get((k, d))))
                begins[k, d] = {name: seen[-1][name] for name in cell.states}
                columns.append(seen[::-1] if d else seen)
            layers.append(columns)
            rows = torch.cat([torch.stack([now["h"] for now in column]) for column in columns], -1)
            if masks and k < e.layers - 1:
                rows = rows * masks[k][start:stop]
        states.append(layers)
    if task.readout == "every":
        read = rows[-A:]
    else:
        read = torch.cat([c[0 if d else -1]["h"] for d, c in enumerate(columns)], -1)[None]
    y = read @ p["out.weight"].T + p["out.bias"]
    targets = torch.from_numpy(batch.targets.copy())
    if task.loss == "mse":
        loss = ((y.reshape(targets.shape) - targets.to(y.dtype)) ** 2).sum(-1).mean()
    else:
        loss = F.cross_entropy(y.flatten(0, 1), targets.flatten())
    return Twin(p, x, states, read, y, loss)
