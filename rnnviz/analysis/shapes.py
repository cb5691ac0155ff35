"""What a recurrent module of torch.nn holds and returns: read from a real one, not from a table.

Names: L layers, D directions, T time, B batch, I input, H hidden, P projected size (proj_size), G gates; R is
P where there is a projection and H elsewhere: how wide h is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..cells import CELLS

#: Cells that are modules of torch.nn.
MODULES = tuple(name for name, cell in CELLS.items() if cell.torch_module is not None)
#: The only module that has proj_size.
PROJECTS = "lstm"
Named = dict[str, Tensor]


@dataclass(frozen=True)
class Form:
    """Which module, and what it is given. `cell` is a name in CELLS; `projected` is proj_size, 0 for none.

    `seed`: of the weights and of the input. Raises ValueError, one sentence, for what PyTorch does not have.
    """

    cell: str = "lstm"
    inputs: int = 3
    hidden: int = 8
    layers: int = 1
    directions: int = 1
    batch_first: bool = False
    bias: bool = True
    projected: int = 0
    steps: int = 6
    batch: int = 4
    batched: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cell not in MODULES:
            raise ValueError(f"cell: got {self.cell!r}; allowed: {', '.join(MODULES)}.")
        if self.projected and self.cell != PROJECTS:
            raise ValueError(f"projected: got {self.projected}; only nn.LSTM has a proj_size.")
        if not 0 <= self.projected < self.hidden:
            raise ValueError(
                f"projected: got {self.projected}; it has to be less than the hidden size, {self.hidden}."
            )

    @property
    def R(self) -> int:
        """How wide h is in one direction."""
        return self.projected or self.hidden

    @property
    def letters(self) -> dict[str, int]:
        """The sizes by the letters of the dimensions' names; R by the letter that it stands for."""
        return {
            "I": self.inputs, "H": self.hidden, "L": self.layers, "D": self.directions, "T": self.steps,
            "B": self.batch, "P": self.projected,
        }  # fmt: skip

    @property
    def with_batch(self) -> Form:
        """The same, of one sequence a batch of one."""
        return self if self.batched else replace(self, batched=True, batch=1, batch_first=False)


class Rows(NamedTuple):
    """The rows of a gate, from `first` to `last`, counted from 0 and both included."""

    gate: str
    first: int
    last: int


@dataclass(frozen=True)
class Weight:
    """One parameter of a module by PyTorch's name; `kind` is the name without layer and direction.

    gates: which rows belong to which gate; none for weight_hr, whose rows are those of h.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    layer: int
    direction: int
    gates: tuple[Rows, ...]

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Array:
    """What goes in or comes out: its shape, and the names of its dimensions such as "T", "B", "2*H"."""

    name: str
    shape: tuple[int, ...]
    dimensions: tuple[str, ...]


def new_module(form: Form, device: str = "cpu") -> nn.RNNBase:
    """The module with the weights that PyTorch draws; on the device "meta" it has shapes and no numbers."""
    name, options = CELLS[form.cell].torch_module or ("", {})
    if form.projected:
        options = {**options, "proj_size": form.projected}  # type: ignore[dict-item]
    made: nn.RNNBase = getattr(nn, name)(
        form.inputs, form.hidden, form.layers, bias=form.bias, batch_first=form.batch_first,
        bidirectional=form.directions == 2, device=device, **options,
    )  # fmt: skip
    return made


def build(form: Form) -> nn.RNNBase:
    """The module with weights of its seed: uniform up to 1/sqrt(H), as PyTorch draws them."""
    module, most = new_module(form), 1 / math.sqrt(form.hidden)
    generator = torch.Generator().manual_seed(form.seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-most, most, generator=generator)
    return module


def example(form: Form) -> Tensor:
    """A random input: (T, B, I), (B, T, I) with batch_first, (T, I) for one sequence."""
    generator = torch.Generator().manual_seed(form.seed + 1)
    x = torch.randn(form.steps, form.batch, form.inputs, generator=generator)
    if not form.batched:
        return x[:, 0].contiguous()
    return x.transpose(0, 1).contiguous() if form.batch_first else x


@torch.no_grad()
def run(module: nn.RNNBase, x: Tensor) -> Named:
    """What the module returns, by PyTorch's names: output, h_n and, from an LSTM, c_n."""
    output, states = module(x)
    states = states if isinstance(states, tuple) else (states,)
    return {"output": output, **dict(zip(("h_n", "c_n"), states, strict=False))}


def weights(form: Form) -> list[Weight]:
    """Every parameter, in the module's own order."""
    found = []
    for name, parameter in new_module(form, "meta").named_parameters():
        kind, _, place = name.partition("_l")
        layer, _, reverse = place.partition("_")
        gates = () if kind == "weight_hr" else gate_rows(form.cell, form.hidden)
        found.append(Weight(name, tuple(parameter.shape), kind, int(layer), int(bool(reverse)), gates))
    return found


def gate_rows(cell: str, hidden: int) -> tuple[Rows, ...]:
    """Which rows of weight_ih and weight_hh, and which numbers of the biases, belong to which gate."""
    return tuple(Rows(gate, k * hidden, (k + 1) * hidden - 1) for k, gate in enumerate(CELLS[cell].gates))


def arrays(form: Form) -> list[Array]:
    """Input, output, h_n and c_n, with the shapes that a real call has."""
    x = example(form)
    made = {"input": x, **run(build(form), x)}
    batch = ("B",) if form.batched else ()
    wide = "P" if form.projected else "H"
    along = ("B", "T") if form.batch_first and form.batched else ("T", *batch)
    both = "2*" if form.directions == 2 else ""
    deep = f"{both}L"
    dimensions = {
        "input": (*along, "I"), "output": (*along, f"{both}{wide}"), "h_n": (deep, *batch, wide),
        "c_n": (deep, *batch, "H"),
    }  # fmt: skip
    return [Array(name, tuple(tensor.shape), dimensions[name]) for name, tensor in made.items()]
