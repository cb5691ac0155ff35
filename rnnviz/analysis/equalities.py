"""What equals what in a module's outputs, and what only seems to: computed on a real one, never looked up.

Each comparison has both sides as Python, in the names of a usual script, beside the numbers that they gave.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..cells import CELLS
from ..layout import suffix
from ..stack import Stack
from .shapes import Form, Named, build, example, new_module, run

#: Below this two arrays are the same: single precision, and sums in another order.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Equality:
    """One comparison: `name` of what is claimed, both sides as Python, their shapes and their difference.

    difference: the largest absolute one, NaN where the shapes differ. zero: both sides are nothing but zeros,
    as those of ReLU units may be, and then it proves little that they are equal.
    """

    name: str
    left: str
    right: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    difference: float
    zero: bool

    @property
    def holds(self) -> bool:
        return self.difference <= TOLERANCE


@dataclass(frozen=True)
class Called:
    """A module, its input and what it returned."""

    form: Form
    module: nn.RNNBase
    x: Tensor
    made: Named


def equalities(form: Form) -> list[Equality]:
    """Every comparison that this form has, made now."""
    module, x = build(form), example(form)
    called = Called(form, module, x, run(module, x))
    return [*_ends(called), *_order(called), *_widths(called), *_padded(called), *_batch_first(called),
            *_biases(called), *_gates(called)]  # fmt: skip


def _compared(name: str, left: tuple[str, Tensor], right: tuple[str, Tensor]) -> Equality:
    a, b = left[1], right[1]
    same = a.shape == b.shape
    difference = float((a - b).abs().max()) if same else math.nan
    zero = not a.any() and not b.any()
    return Equality(name, left[0], right[0], (tuple(a.shape), tuple(b.shape)), difference, zero)


def _step(form: Form, output: Tensor, t: int, direction: int | None = None) -> tuple[str, Tensor]:
    """Time step t of the output, whole or of one direction, in the order of this form's dimensions."""
    columns = {None: "", 0: f":{form.R}", 1: f"{form.R}:"}[direction]
    part = {None: slice(None), 0: slice(form.R), 1: slice(form.R, None)}[direction]
    if form.batched and form.batch_first:
        return f"output[:, {t}, {columns}]" if columns else f"output[:, {t}]", output[:, t, ..., part]
    between = ":, " if form.batched else ""
    return f"output[{t}, {between}{columns}]" if columns else f"output[{t}]", output[t, ..., part]


def _state(h_n: Tensor, k: int) -> tuple[str, Tensor]:
    return f"h_n[{k}]", h_n[k]


def _ends(called: Called) -> Iterator[Equality]:
    """Where in the output the last states stand."""
    form, output, h_n = called.form, called.made["output"], called.made["h_n"]
    if form.directions == 1:
        yield _compared("last", _step(form, output, -1), _state(h_n, -1))
    else:
        yield _compared("forward_last", _step(form, output, -1, 0), _state(h_n, -2))
        yield _compared("backward_first", _step(form, output, 0, 1), _state(h_n, -1))
        yield _compared("backward_last", _step(form, output, -1, 1), _state(h_n, -1))
    if form.batched and form.batch_first:
        columns = f"output[-1, :, :{form.R}]" if form.directions == 2 else "output[-1]"
        yield _compared(
            "sequence_for_step", (columns, output[-1, :, : form.R]), _state(h_n, -form.directions)
        )


def _order(called: Called) -> Iterator[Equality]:
    """In which order h_n has layers and directions: against every layer and direction run alone."""
    form, h_n = called.form, called.made["h_n"]
    L, D = form.layers, form.directions
    if L * D == 1:
        return
    alone = one_by_one(called)
    yield _compared("order", ("h_n", h_n), ("alone", torch.stack([h for row in alone for h in row])))
    if L > 1 and D > 1:
        turned = torch.stack([row[d] for d in range(D) for row in alone])
        text = f"alone.unflatten(0, ({L}, {D})).transpose(0, 1).flatten(0, 1)"
        yield _compared("other_order", ("h_n", h_n), (text, turned))


def one_by_one(called: Called) -> list[list[Tensor]]:
    """The last h of each layer and direction, each a module of its own with these weights.

    The backward direction is one that reads forward and is given the sequence from its end.
    Returns them as [layer][direction].
    """
    form = called.form
    time = 1 if form.batched and form.batch_first else 0
    own, x, found = dict(called.module.named_parameters()), called.x, []
    for k in range(form.layers):
        outputs, states = [], []
        for d in range(form.directions):
            inputs = form.inputs if k == 0 else form.directions * form.R
            module = new_module(replace(form, inputs=inputs, layers=1, directions=1))
            with torch.no_grad():
                for name, parameter in module.named_parameters():
                    parameter.copy_(own[name.removesuffix("_l0") + suffix(k, d)])
            made = run(module, x.flip(time) if d else x)
            outputs.append(made["output"].flip(time) if d else made["output"])
            states.append(made["h_n"][0])
        x = torch.cat(outputs, -1)
        found.append(states)
    return found


def _widths(called: Called) -> Iterator[Equality]:
    """Whether h and c are equally wide."""
    if "c_n" in called.made:
        left, right = (torch.tensor(called.made[name].shape[-1]) for name in ("h_n", "c_n"))
        yield _compared("widths", ("h_n.shape[-1]", left), ("c_n.shape[-1]", right))


def lengths(form: Form) -> list[int]:
    """Of a batch in which every sequence is a step shorter than the one before, the last the shortest."""
    if form.batch == 1:
        return [max(1, form.steps - 1)]
    return [max(1, form.steps - b) for b in range(form.batch)]


def _padded(called: Called) -> Iterator[Equality]:
    """Sequences of unequal lengths in one batch, the last of them the shortest; a single one as a batch."""
    form = called.form.with_batch
    if form.steps == 1:
        return
    x = called.x if called.form.batched else called.x[:, None]
    first, of, module = form.batch_first, lengths(form), _like(called, form)
    b, length = form.batch - 1, of[-1]
    x = x.clone()
    for k, steps in enumerate(of):  # what is behind the end is padding
        (x[k, steps:] if first else x[steps:, k]).zero_()
    with torch.no_grad():
        packed, states = module(pack_padded_sequence(x, of, batch_first=first, enforce_sorted=False))
        padded, _ = pad_packed_sequence(packed, batch_first=first, total_length=form.steps)
    h_n = states[0] if isinstance(states, tuple) else states
    R, D = form.R, form.directions

    def at(t: int, columns: str, part: slice) -> tuple[str, Tensor]:
        index = f"{b}, {t}" if first else f"{t}, {b}"
        return f"padded[{index}{columns}]", (padded[b, t] if first else padded[t, b])[part]

    forward, half = h_n[-D, b], f", :{R}" if D == 2 else ""
    of_h = f"packed_h_n[{-D}, {b}]", forward
    zeros = f"torch.zeros({D * R})", torch.zeros(D * R)
    yield _compared("padded_zero", at(form.steps - 1, "", slice(None)), zeros)
    yield _compared("padded_last", at(form.steps - 1, half, slice(R)), of_h)
    yield _compared("padded_own", at(length - 1, half, slice(R)), of_h)
    if D == 2:
        backward = f"packed_h_n[-1, {b}]", h_n[-1, b]
        yield _compared("padded_backward", at(0, f", {R}:", slice(R, None)), backward)
    plain = run(module, x)["h_n"]
    yield _compared("unpacked", (f"unpacked_h_n[{-D}, {b}]", plain[-D, b]), of_h)


def _like(called: Called, form: Form) -> nn.RNNBase:
    """The same weights in a module of another form with the same parameters."""
    if form == called.form:
        return called.module
    module = new_module(form)
    module.load_state_dict(called.module.state_dict())
    return module


def _batch_first(called: Called) -> Iterator[Equality]:
    """What batch_first turns round, and what it leaves as it is."""
    form = called.form
    if not form.batched:
        return
    other = _like(called, replace(form, batch_first=not form.batch_first))
    made = run(other, called.x.transpose(0, 1).contiguous())
    turned = "other_output.transpose(0, 1)", made["output"].transpose(0, 1)
    yield _compared("turned_output", ("output", called.made["output"]), turned)
    for name in ("h_n", "c_n"):
        if name in made:
            yield _compared(f"same_{name}", (name, called.made[name]), (f"other_{name}", made[name]))


@torch.no_grad()
def _biases(called: Called) -> Iterator[Equality]:
    """Whether only the sum of the two biases counts."""
    if not called.form.bias:
        return
    module = copy.deepcopy(called.module)
    own = dict(module.named_parameters())
    for name, bias in own.items():
        if name.startswith("bias_ih"):
            other = own[name.replace("bias_ih", "bias_hh")]
            bias.add_(other)
            other.zero_()
    moved = run(module, called.x)["output"]
    yield _compared("one_bias", ("output", called.made["output"]), ("output_with_one_bias", moved))


def _gates(called: Called) -> Iterator[Equality]:
    """Whether the rows are those of the gates as they are told: against this program's own cell."""
    form = called.form
    if form.projected:
        return  # its own cells project nothing
    gates = len(CELLS[form.cell].gates)
    output = "output", called.made["output"]
    yield _compared("gates", output, ("own_output", own_output(called, range(gates))))
    if gates > 1:
        order = [1, 0, *range(2, gates)]
        yield _compared("swapped", output, ("own_output_swapped", own_output(called, order)))


def own_output(called: Called, order: Sequence[int]) -> Tensor:
    """The output of this program's own cell with the module's blocks of rows, taken in this order."""
    form, parameters = called.form, {}
    for name, parameter in called.module.state_dict().items():
        blocks = parameter.chunk(len(CELLS[form.cell].gates))
        parameters[name] = torch.cat([blocks[k] for k in order])
        if not form.bias:
            for bias in ("bias_ih", "bias_hh"):
                end = name.partition("_l")[2]
                parameters[f"{bias}_l{end}"] = torch.zeros(len(parameter))
    x = called.x if form.batched else called.x[:, None]
    turned = form.batched and form.batch_first
    stack = Stack(CELLS[form.cell], form.inputs, form.hidden, form.layers, form.directions)
    output = stack.forward(stack.split(parameters), x.transpose(0, 1) if turned else x).outputs()
    if not form.batched:
        return output[:, 0]
    return output.transpose(0, 1) if turned else output
