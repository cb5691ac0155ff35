"""Which parameters a network has, and where each lies in one flat vector.

The vector is laid out so that each clip scope is a prefix of it: first the weights that multiply a state,
then the rest of the recurrent layers, then the output layer. Names are PyTorch's (`rnn.weight_ih_l0`,
`out.weight`, ...; with two recurrent parts `encoder.` and `decoder.` in place of `rnn.`), so that parameters
load into nn.RNN, nn.LSTM or nn.GRU with an nn.Linear.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .cells import CELLS
from .experiment import Experiment
from .tasks import TASKS


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the flat vector."""

    shapes: Mapping[str, tuple[int, ...]]
    scopes: Mapping[str, int]  # clip scope to the length of its prefix

    @cached_property
    def size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    @cached_property
    def borders(self) -> tuple[int, ...]:
        """Where the groups meet."""
        return tuple(group.stop for group in self.groups.values())[:-1]

    def views(self, flat: Any) -> dict[str, Any]:
        """Each parameter as a view of `flat`."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            count = math.prod(shape)
            views[name] = flat[start : start + count].view(shape)
            start += count
        return views

    @cached_property
    def groups(self) -> dict[str, slice]:
        """Recurrent, input and output parameters as slices of the flat vector."""
        recurrent, rest = self.scopes["recurrent"], self.scopes["not_output"]
        return {
            "recurrent": slice(0, recurrent),
            "input": slice(recurrent, rest),
            "output": slice(rest, self.size),
        }


def parts(architecture: str) -> tuple[str, ...]:
    """The recurrent parts of a network: what the names of their parameters begin with."""
    return ("encoder", "decoder") if architecture == "encoder_decoder" else ("rnn",)


def suffix(layer: int, direction: int) -> str:
    """The end of a parameter's name in PyTorch: _l0, _l0_reverse, _l1, ..."""
    return f"_l{layer}{'_reverse' if direction else ''}"


def layout_of(experiment: Experiment) -> Layout:
    """The parameters of an experiment's network."""
    task, cell, hidden = TASKS[experiment.task], CELLS[experiment.cell], experiment.hidden
    layers, directions = experiment.layers, experiment.directions
    rows = len(cell.gates) * hidden
    recurrent: dict[str, tuple[int, ...]] = {}
    rest: dict[str, tuple[int, ...]] = {}
    for part, layer, direction in itertools.product(
        parts(experiment.architecture), range(layers), range(directions)
    ):
        end = suffix(layer, direction)
        recurrent[f"{part}.weight_hh{end}"] = (rows, hidden)
        if cell.peepholes:
            recurrent[f"{part}.weight_peephole{end}"] = (len(cell.peepholes), hidden)
        rest[f"{part}.weight_ih{end}"] = (rows, task.input_size if layer == 0 else directions * hidden)
        rest |= {f"{part}.{bias}{end}": (rows,) for bias in ("bias_ih", "bias_hh")}
    out = {"out.weight": (task.output_size, directions * hidden), "out.bias": (task.output_size,)}
    sizes = [sum(math.prod(shape) for shape in part.values()) for part in (recurrent, rest, out)]
    scopes = {"all": sum(sizes), "recurrent": sizes[0], "not_output": sizes[0] + sizes[1]}
    return Layout({**recurrent, **rest, **out}, scopes)
