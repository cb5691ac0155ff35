"""One layer in one direction, run by compiled code: buffers, packed weights, and the two calls."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..cells import Cell
from . import machine
from .program import SIZES, WEIGHTS, columns, entries, input_runs

Weights = Mapping[str, Tensor]

STRETCH = 128  # rows, time steps times sequences, after which gradients of weights are added up
KEPT = 4  # sizes of batches whose buffers are kept
LINE = 64  # bytes: buffers begin where a line of the processor's cache does


class CompiledLayer:
    """A cell's compiled functions for H units and I inputs, and the buffers in which they work.

    Buffers are used again once nobody reads them any more.
    """

    def __init__(self, cell: Cell, inputs: int, hidden: int, precision: str, reverse: bool = False) -> None:
        self.cell, self.I, self.H, self.reverse = cell, inputs, hidden, reverse
        self.precision, self.dtype = precision, getattr(torch, precision)
        functions = machine.load(cell.name, precision, {"forward": 1, "backward": 1, "norms": 7})
        self.run_forward, self.run_backward, self.norms = (
            functions[f] for f in ("forward", "backward", "norms")
        )
        code = machine.blank(precision)
        self.padded = padded = -(-hidden // code.W) * code.W
        runs = input_runs(cell)
        fixed = {
            **{f"W_input.{k}": (run.count * padded, inputs) for k, run in enumerate(runs)},
            **{f"W.{k}": (len(product.gates) * padded, hidden) for k, product in enumerate(cell.products)},
            **{f"W_back.{k}": (padded, len(p.gates) * hidden) for k, p in enumerate(cell.products)},
            "bias": (len(columns(cell)), padded), "zero": (padded,), "limit": (padded,),
            **{f"p.{name}": (padded,) for name in cell.peepholes},
        }  # fmt: skip
        self.fixed = {name: torch.zeros(shape, dtype=self.dtype) for name, shape in fixed.items()}
        self.fixed["limit"].fill_(math.inf)
        self.limit = math.inf
        self.index = {name: k for k, name in enumerate(entries(cell))}
        self.names = WEIGHTS if cell.peepholes else WEIGHTS[:-1]
        self._spaces: dict[tuple[int, int, frozenset[str] | None], _Space] = {}

    def forward(
        self, weights: Weights, inputs: Tensor, initial: Mapping[str, Tensor] | None = None,
        keep: frozenset[str] | None = None,
    ) -> CompiledTrace:  # fmt: skip
        """See `bptt.Layer`. Raises ValueError for inputs of another size or precision."""
        if inputs.dim() != 3 or inputs.shape[2] != self.I or inputs.dtype != self.dtype:
            got = f"{inputs.dtype} {tuple(inputs.shape)}".removeprefix("torch.")
            raise ValueError(f"inputs: got {got}; allowed: {self.precision} (T, B, {self.I}).")
        T, B, _ = inputs.shape
        trace = CompiledTrace(self, self._space(T, B, keep), inputs, initial)
        trace.space.give("weight_ih", weights)
        self.run_forward(trace.space.address)
        return trace

    def _space(self, T: int, B: int, keep: frozenset[str] | None) -> _Space:
        key = T, B, keep
        space = self._spaces.get(key)
        if space is None or space.in_use:
            space = _Space(self, T, B, keep)
            if key not in self._spaces and len(self._spaces) >= KEPT:
                del self._spaces[next(iter(self._spaces))]
            self._spaces[key] = space  # one of each is enough: passes come one after the other
        return space

    def cut_at(self, limit: float | None) -> None:
        """How large an element may be that the next backward pass hands from step to step."""
        limit = math.inf if limit is None else limit
        if limit != self.limit:
            self.fixed["limit"].fill_(limit)
            self.limit = limit


class _View(NamedTuple):
    """Where an array lies in a space's memory: `Tensor.as_strided`."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class _Views(Mapping[str, Tensor]):
    """Arrays by name, made when they are asked for: making all of them would take longer than computing."""

    def __init__(self, memory: Tensor, views: Mapping[str, _View]) -> None:
        self._memory, self._views = memory, views
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = self._memory.as_strided(*self._views[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


class CompiledTrace:
    """See `bptt.Trace`. Its arrays are views of a space, which is not used again while there are any."""

    def __init__(
        self, layer: CompiledLayer, space: _Space, inputs: Tensor, initial: Mapping[str, Tensor] | None
    ) -> None:
        self.layer, self.space, self.reverse = layer, space, layer.reverse
        self._memory = memory = torch.from_numpy(space.memory)
        self.values: Mapping[str, Tensor] = _Views(memory, space.values)
        self.initial: Mapping[str, Tensor] = _Views(memory, space.initial)
        self.total: Mapping[str, Tensor] = _Views(memory, space.total)
        self.grad_initial: Mapping[str, Tensor] = _Views(memory, space.grad_initial)
        # The backward pass goes through all rows as one matrix. (torch calls any batch of one contiguous.)
        in_rows = inputs.stride() == (space.B * layer.I, layer.I, 1)
        if not in_rows and (space.keep is None or inputs.stride(2) != 1):
            inputs = torch.empty_like(inputs, memory_format=torch.contiguous_format).copy_(inputs)
        self.inputs = inputs
        space.read(inputs)
        if initial is not None or not space.from_zero:
            for name in layer.cell.states:
                self.initial[name].copy_(initial[name]) if initial else self.initial[name].zero_()
            space.from_zero = initial is None and space.keep is None

    def backward(
        self, weights: Weights, grad: Weights, direct: Tensor | None = None,
        last: Mapping[str, Tensor] | None = None, span: tuple[int, int] | None = None,
        limit: float | None = None,
    ) -> None:  # fmt: skip
        space = self.space
        space.give("weight_ih", weights)
        space.give("grad_weight_ih", grad)
        space.cleared.fill(0.0)
        for name, term in (last or {}).items():
            self.grad_initial[name].copy_(term)
        space.direct(direct, span)
        self.layer.cut_at(limit)
        table = space.table if span is None else space.cut(*span)
        self.layer.run_backward(space.address if span is None else table.ctypes.data)

    def before(self, name: str) -> Tensor:
        (T, B, H), stride, offset = self.space.values[name]
        return self._memory.as_strided(
            (T, B, H), stride, offset + (stride[0] if self.reverse else -stride[0])
        )

    def grad_a(self, gate: str, recurrent: bool) -> Tensor:
        apart = not recurrent and gate in self.layer.cell.apart
        return self._memory.as_strided(*self.space.grad[f"grad_input.{gate}" if apart else f"grad.{gate}"])

    def grad_inputs(self, weights: Weights, span: tuple[int, int] | None = None) -> Tensor:
        layer, H = self.layer, self.layer.H
        T, B, _ = self.inputs.shape
        start, stop = _steps(span, T, self.reverse)
        result = None
        for run in input_runs(layer.cell):
            gates = layer.cell.gates[run.first : run.first + run.count]
            a = torch.cat([self.grad_a(gate, recurrent=False)[start:stop] for gate in gates], -1)
            rows = weights["weight_ih"][run.first * H : (run.first + run.count) * H]
            part = a.flatten(0, 1) @ rows
            result = part if result is None else result + part
        assert result is not None
        return result.view(stop - start, B, -1)

    def grad_norms(self, name: str) -> np.ndarray:
        space = self.space
        sums = np.empty(space.T)
        _, stride, offset = space.total[name]
        start = space.start + offset * space.memory.itemsize
        self.layer.norms(start, stride[0], stride[1], space.T, space.B, self.layer.H, sums.ctypes.data)
        return sums / space.B


def _steps(span: tuple[int, int] | None, T: int, reverse: bool) -> tuple[int, int]:
    """The steps of a span, which counts in the order of reading, in the order of the sequence."""
    start, stop = span or (0, T)
    return (T - stop, T - start) if reverse else (start, stop)


class _Space:
    """Buffers for sequences of one size, and the table that tells the compiled code where they are.

    What others may read lies in one piece of memory. torch holds on to it as long as there is any view of it,
    so that its count of references says whether it may be used again.
    """

    def __init__(self, layer: CompiledLayer, T: int, B: int, keep: frozenset[str] | None) -> None:
        self.T, self.B, self.keep, self.from_zero = T, B, keep, keep is None
        self._reverse, self._H, self._padded = layer.reverse, layer.H, layer.padded
        self._index, self._names, self._dtype = layer.index, layer.names, layer.dtype
        cell, fixed = layer.cell, layer.fixed
        self.table = np.zeros(len(layer.index), dtype=np.int64)
        self.table[: len(SIZES)] = T, B, layer.I, layer.H, layer.padded, -(-STRETCH // B)
        self.address: int = self.table.ctypes.data
        self._given: dict[str, tuple[Tensor, ...]] = {}
        self._own: list[Tensor] = []  # what nobody else reads
        self._direct: Tensor | None = None
        self._zero = fixed["zero"]
        shapes = self._shapes(cell)
        places, size = self._places(shapes)
        self._raw = np.zeros(size + LINE // fixed["zero"].element_size(), dtype=layer.precision)
        first = -(self._raw.ctypes.data // self._raw.itemsize) % (LINE // self._raw.itemsize)
        self.memory = self._raw[first : first + size]
        self.start: int = self.memory.ctypes.data
        self.values: dict[str, _View] = {}
        self.initial: dict[str, _View] = {}
        self.total: dict[str, _View] = {}
        self.grad_initial: dict[str, _View] = {}
        self.grad: dict[str, _View] = {}
        self._forward(cell, places)
        for name, tensor in fixed.items():
            self._enter(name, tensor.data_ptr(), row=tensor.stride(0) if tensor.dim() > 1 else 0)
        if keep is None:
            self._backward(cell, places)
        self._unread = sys.getrefcount(self.memory)

    @property
    def in_use(self) -> bool:
        """Whether anybody has a view of the memory."""
        return sys.getrefcount(self.memory) > self._unread

    def _shapes(self, cell: Cell) -> dict[str, tuple[int, int, int]]:
        """What others may read: (steps, sequences, numbers)."""
        T, B, padded = self.T, self.B, self._padded
        kept = {name: self.keep is None or name in self.keep for name in cell.values}
        shapes = {name: (T + 1 if kept[name] else 1, B, padded) for name in cell.states}
        shapes |= {name: (T if kept[name] else 1, B, padded) for name in cell.values if name not in shapes}
        if self.keep is None:
            shapes["grad"] = (T, B, len(cell.gates) * padded)
            shapes |= {f"grad_input.{gate}": (T, B, padded) for gate in cell.apart}
            shapes |= {f"total.{name}": (T, B, padded) for name in cell.states}
            # What later steps hand back, and the sums of peepholes: cleared at once.
            shapes["cleared"] = (len(cell.states) + len(cell.peepholes), B, padded)
        return shapes

    def _places(self, shapes: Mapping[str, tuple[int, int, int]]) -> tuple[dict[str, _View], int]:
        """Each array as a view, one after the other, and how many numbers they have together."""
        line = LINE // self._zero.element_size()
        places, offset = {}, 0
        for name, (steps, B, numbers) in shapes.items():
            places[name] = _View((steps, B, numbers), (B * numbers, numbers, 1), offset)
            offset += -(-steps * B * numbers // line) * line
        return places, offset

    def _forward(self, cell: Cell, places: Mapping[str, _View]) -> None:
        T, B, H, padded = self.T, self.B, self._H, self._padded
        for name in cell.values:
            (steps, _, _), stride, offset = places[name]
            if name not in cell.states:
                self.values[name] = _View((steps, B, H), stride, offset)
                self._enter_timed(f"now.{name}", places[name])
                continue
            # Of states there is one more, before the first step that is read.
            kept = steps > 1
            first, after, step = (T, T - 1, -1) if self._reverse else (0, 1, 1)
            if not kept:
                first = after = step = 0
            for when, slot in (("before", first), ("now", after)):
                self._enter(f"{when}.{name}", self._at(offset + slot * stride[0]), step * stride[0], padded)
            start = stride[0] if kept and not self._reverse else 0
            self.values[name] = _View((T if kept else 1, B, H), stride, offset + start)
            self.initial[name] = _View((B, H), stride[1:], offset + first * stride[0])
        a = self._private(B, len(columns(cell)) * padded)
        self._enter("a", a.data_ptr(), row=a.stride(0))

    def _backward(self, cell: Cell, places: Mapping[str, _View]) -> None:
        B, H, padded = self.B, self._H, self._padded
        size = (self.T, B, H)
        self._enter_timed("grad", places["grad"])
        for k, gate in enumerate(cell.gates):
            _, stride, offset = places["grad"]
            self.grad[f"grad.{gate}"] = _View(size, stride, offset + k * padded)
        for gate in cell.apart:
            name = f"grad_input.{gate}"
            self._enter_timed(name, places[name])
            self.grad[name] = _View(size, *places[name][1:])
        for name in cell.states:
            self._enter_timed(f"total.{name}", places[f"total.{name}"])
            self.total[name] = _View(size, *places[f"total.{name}"][1:])
        (count, _, _), stride, offset = places["cleared"]
        self.cleared = self.memory[offset : offset + count * B * padded]
        names = (*(f"carry.{s}" for s in cell.states), *(f"peephole.{name}" for name in cell.peepholes))
        for k, name in enumerate(names):
            self._enter(name, self._at(offset + k * stride[0]), row=padded)
        for k, name in enumerate(cell.states):
            self.grad_initial[name] = _View((B, H), stride[1:], offset + k * stride[0])
        own = {f"back.{k}": (B, padded) for k in range(1, len(cell.products))}
        own |= {f"G.{k}": (H, len(product.gates) * padded) for k, product in enumerate(cell.products)}
        own |= {
            f"G_input.{k}": (int(self.table[SIZES.index("I")]), run.count * padded)
            for k, run in enumerate(input_runs(cell))
        }
        for name, shape in own.items():
            tensor = self._private(*shape)
            self._enter(name, tensor.data_ptr(), row=tensor.stride(0))
        sums = {"G_bias": (len(cell.gates), padded), **{f"G_bias.{g}": (1, padded) for g in cell.apart}}
        for name, shape in sums.items():
            self._enter(name, self._private(*shape, dtype=torch.float64).data_ptr(), row=padded)

    def _private(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        self._own.append(torch.zeros(shape, dtype=dtype or self._dtype))
        return self._own[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers, the layer's own not among them."""
        own = sum(tensor.nbytes for tensor in self._own)
        return self.memory.nbytes + own + (0 if self._direct is None else self._direct.nbytes)

    def _at(self, offset: int) -> int:
        return self.start + offset * self.memory.itemsize

    def _enter(self, buffer: str, address: int, time: int = 0, row: int = 0) -> None:
        k = self._index[f"{buffer}.address"]  # time and row follow
        self.table[k : k + 3] = address, time, row

    def _enter_timed(self, buffer: str, view: _View) -> None:
        (steps, _, _), (time, row, _), offset = view
        time = time if steps > 1 else 0
        first = offset + (steps - 1) * time if self._reverse else offset
        self._enter(buffer, self._at(first), -time if self._reverse else time, row)

    def read(self, inputs: Tensor) -> None:
        """Take in what is read, (T, B, I)."""
        time, row, _ = inputs.stride()
        first = inputs.data_ptr() + (self.T - 1) * time * inputs.element_size() * self._reverse
        self._enter("x", first, -time if self._reverse else time, row)

    def direct(self, terms: Tensor | None, span: tuple[int, int] | None) -> None:
        """Take in the direct terms of the loss, (T, B, H) or those of a span alone."""
        if terms is None:
            self._enter("direct.h", self._zero.data_ptr())
            return
        if self._direct is None:
            self._direct = torch.zeros(self.T, self.B, self._padded, dtype=self._dtype)
        time, row, _ = self._direct.stride()
        first = self._direct.data_ptr() + (self.T - 1) * time * self.memory.itemsize * self._reverse
        self._enter("direct.h", first, -time if self._reverse else time, row)
        start, stop = _steps(span, self.T, self._reverse)
        self._direct[start:stop, :, : self._H] = terms

    def cut(self, start: int, stop: int) -> np.ndarray:
        """The table for some steps alone, in the order of reading: they are all that there is."""
        table = self.table.copy()
        table[SIZES.index("T")] = stop - start
        address = len(SIZES) + 2 * len(WEIGHTS)
        table[address::3] += start * table[address + 1 :: 3] * self.memory.itemsize
        return table

    def give(self, first: str, weights: Weights) -> None:
        """Where the weights lie, or their gradients; the entry of the first of them is named."""
        tensors = tuple(weights[name] for name in self._names)
        known = self._given.get(first)
        if known is not None and all(map(_same, tensors, known)):
            return
        for name, tensor in zip(self._names, tensors, strict=True):
            if not tensor.is_contiguous() or tensor.dtype != self._dtype:
                got = f"{tensor.dtype}{'' if tensor.is_contiguous() else ', not contiguous'}"
                raise ValueError(f"{name}: got {got}; allowed: {self._dtype}, contiguous.")
        k = self._index[first]
        self.table[k : k + len(tensors)] = [tensor.data_ptr() for tensor in tensors]
        self._given[first] = tensors


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other
