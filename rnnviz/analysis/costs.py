"""What a cell costs: parameters and multiplications, and the time that they take on this machine.

A multiply-add is one product of a weight with a number, added to a sum: each entry of a weight matrix is used
for one at every time step of every sequence, whichever gate it belongs to. Products of one gate's value with
another's, unit by unit, are counted apart. Additions, biases and the nonlinearities are not counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..cells import CELLS, Cell
from ..kernels import default_kernel
from ..layout import suffix
from ..stack import Stack
from ..step import repeatable
from .shapes import MODULES, PROJECTS, Form, build, example, weights

ROUNDS = 7  # each contestant is timed so often
LEAST = 3e-3  # seconds of a round: as many calls as fill them
MOST_PRODUCTS = 100_000_000  # of an LSTM over the whole batch, forward: more would take too long to be timed


_Task = tuple[str, str, int]  # cell, whose, 0 forward or 1 with backward


@dataclass(frozen=True)
class Cost:
    """Of one cell in the place of a form's. `projected`: proj_size, 0 for none.

    products: multiply-adds with weights; pointwise: products unit by unit; both of one step of one sequence.
    """

    cell: str
    projected: int
    parameters: int
    products: int
    pointwise: int


def costs(form: Form) -> list[Cost]:
    """Every cell with the sizes of `form`, and the LSTM with its projection where it has one.

    Those that torch.nn has are counted in its modules, the others in this program's own, which always have
    both biases.
    """
    found = []
    for name in CELLS:
        for projected in (0, form.projected) if name == PROJECTS and form.projected else (0,):
            shapes = _shapes(form, name, projected)
            matrices = [s for key, s in shapes.items() if len(s) == 2 and "peephole" not in key]
            units = form.hidden * form.layers * form.directions
            found.append(
                Cost(
                    name, projected, sum(map(math.prod, shapes.values())), sum(map(math.prod, matrices)),
                    units * multiplications(CELLS[name]),
                )
            )  # fmt: skip
    return found


def _shapes(form: Form, cell: str, projected: int) -> Mapping[str, tuple[int, ...]]:
    if cell in MODULES:
        return {w.name: w.shape for w in weights(replace(form, cell=cell, projected=projected))}
    return own_shapes(form, cell)


def own_shapes(form: Form, cell: str) -> dict[str, tuple[int, ...]]:
    """The parameters of one of this program's own cells, by name."""
    one, H = CELLS[cell], form.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    rows = len(one.gates) * H
    for k in range(form.layers):
        for d in range(form.directions):
            end = suffix(k, d)
            shapes[f"weight_ih{end}"] = (rows, form.directions * H if k else form.inputs)
            shapes[f"weight_hh{end}"] = (rows, H)
            shapes |= {f"{bias}{end}": (rows,) for bias in ("bias_ih", "bias_hh")}
            if one.peepholes:
                shapes[f"weight_peephole{end}"] = (len(one.peepholes), H)
    return shapes


class _Counted:
    """Stands for a number of each unit in a cell's step, and counts its products with others."""

    def __init__(self, count: list[int]) -> None:
        self.count = count

    def __add__(self, other: Any) -> _Counted:
        return self

    __radd__ = __sub__ = __rsub__ = __add__

    def __mul__(self, other: Any) -> _Counted:
        self.count[0] += 1
        return self

    __rmul__ = __mul__


def multiplications(cell: Cell) -> int:
    """How many products unit by unit a step makes for each unit, counted in the cell's own lines."""
    count = [0]
    one = _Counted(count)
    ops: Any = SimpleNamespace(
        sigmoid=lambda a: one, tanh=lambda a: one, relu=lambda a: one, where_positive=lambda h, a: one,
        product=lambda number, operand: tuple(one for _ in cell.products[number].gates),
        input=lambda gate: one,
    )  # fmt: skip
    before = SimpleNamespace(**{name: one for name in cell.states})
    cell.forward(ops, before, SimpleNamespace(**{name: one for name in cell.peepholes}))
    return count[0]


@dataclass(frozen=True)
class Times:
    """Milliseconds over a whole batch, of each round: forward alone, and with backward."""

    forward: tuple[float, ...]
    both: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """The times of a cell. None: there is no such thing."""

    cell: str
    module: Times | None  # torch.nn's
    own: Times | None  # this program's compiled code


@dataclass(frozen=True)
class Measured:
    """`rounds`: how often each was timed; `threads`: how many torch had; `kernel`: what computes our own.

    onednn: whether torch has this library, to which it hands an LSTM as a whole. (With it switched off, torch
    2.13 took six times as long for an LSTM of 64 units, about as long as for a GRU.)
    """

    timings: tuple[Timing, ...]
    rounds: int
    threads: int
    kernel: str
    onednn: bool


def too_large(form: Form) -> int | None:
    """The multiply-adds of an LSTM over the batch, where they are too many to be timed; otherwise None."""
    lstm = next(cost for cost in costs(form) if cost.cell == PROJECTS and not cost.projected)
    products = lstm.products * form.steps * form.with_batch.batch
    return products if products > MOST_PRODUCTS else None


_lock = Lock()  # two who measure at once would measure each other


def measure(form: Form) -> Measured:
    """Time every cell in the place of the form's, on one thread, without projection.

    The contestants take turns, so that a noisy moment hits them all. Backward is from the sum of all outputs
    to every parameter; our own has then also dL/dh_t of every step.
    """
    form = replace(form.with_batch, projected=0)
    kernel = default_kernel()
    with _lock, repeatable():
        tasks: dict[_Task, Callable[[], object]] = {}
        for name in CELLS:
            if name in MODULES:
                tasks |= {(name, "module", k): one for k, one in enumerate(_module(replace(form, cell=name)))}
            if kernel == "compiled":
                tasks |= {(name, "own", k): one for k, one in enumerate(_own(form, name))}
        times = _rounds(tasks)
        threads = torch.get_num_threads()
    found = []
    for name in CELLS:
        pairs = [
            Times(times[name, who, 0], times[name, who, 1]) if (name, who, 0) in times else None
            for who in ("module", "own")
        ]
        found.append(Timing(name, *pairs))
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return Measured(tuple(found), ROUNDS, threads, kernel, onednn)


def _module(form: Form) -> tuple[Callable[[], object], Callable[[], object]]:
    module, x = build(form), example(form)

    def forward() -> None:
        with torch.no_grad():
            module(x)

    def both() -> None:
        module.zero_grad(set_to_none=True)
        module(x)[0].sum().backward()

    return forward, both


def _own(form: Form, cell: str) -> tuple[Callable[[], object], Callable[[], object]]:
    form = replace(form, batch_first=False)
    most, generator = 1 / math.sqrt(form.hidden), torch.Generator().manual_seed(form.seed)
    drawn = {
        name: torch.empty(shape).uniform_(-most, most, generator=generator)
        for name, shape in own_shapes(form, cell).items()
    }
    stack = Stack(CELLS[cell], form.inputs, form.hidden, form.layers, form.directions, kernel="compiled")
    weights_of, x = stack.split(drawn), example(form)
    grad = stack.split({name: torch.empty_like(tensor) for name, tensor in drawn.items()})
    ones = torch.ones(form.steps, form.batch, form.directions * form.hidden)

    def forward() -> Tensor:
        return stack.forward(weights_of, x, keep=frozenset({"h"})).outputs()

    def both() -> None:
        stack.forward(weights_of, x).backward(ones, grad)

    return forward, both


def _rounds(tasks: Mapping[_Task, Callable[[], object]]) -> dict[_Task, tuple[float, ...]]:
    """Milliseconds a call, of each round."""
    counts: dict[_Task, int] = {}
    times: dict[_Task, list[float]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        task()  # what is made once
        started = time.perf_counter()
        task()
        counts[name] = max(1, round(LEAST / (time.perf_counter() - started)))
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            started = time.perf_counter()
            for _again in range(counts[name]):
                task()
            times[name].append((time.perf_counter() - started) / counts[name] * 1000)
    return {name: tuple(values) for name, values in times.items()}
