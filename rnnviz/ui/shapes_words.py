"""What the page Shapes says: why a shape is what it is, what equals what, what a cell costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ..analysis.costs import Cost, Measured
from ..analysis.equalities import TOLERANCE, Equality, lengths
from ..analysis.shapes import Array, Form, Weight, gate_rows
from ..cells import CELLS
from ..numbers import of
from .text import _, percent

#: What a gate is called; r, z and n as the GRU has them.
GATES = {
    "i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o",
    "r": "reset gate r", "z": "update gate z", "n": "candidate n", "h": "new state h",
}  # fmt: skip
SLOWER = 1.05  # times as long: less is noise


def gate_names(cell: str) -> dict[str, str]:
    """The gates of a cell, and what each is called."""
    return {gate: _(GATES[gate]) for gate in CELLS[cell].gates}


def shape_words(shape: Sequence[int]) -> str:
    """(32, 3) as code."""
    return f"`{tuple(shape)}`"


# Parameters ---------------------------------------------------------------------------------------------


def answer(form: Form, unit: int) -> str:
    """Why weight_ih has that many rows."""
    gates, H = gate_rows(form.cell, form.hidden), form.hidden
    if len(gates) == 1:
        return _(
            "**weight_ih has {H} rows for {H} units: one each.** A plain unit computes one number at a step, "
            "its new state; row k belongs to unit k."
        ).format(H=H)
    rows = ", ".join(str(one.first + unit) for one in gates)
    return _(
        "**weight_ih has {rows} rows for {H} units: {G} gates x {H} units.** At every step each unit needs "
        "{G} numbers, one for each gate, and each is the product of the input with a row of its own. PyTorch "
        "stacks the gates, all units of one after all units of another: unit {unit} has the rows {own}."
    ).format(rows=len(gates) * H, H=H, G=len(gates), unit=unit, own=rows)


def why(form: Form, weight: Weight) -> str:
    """The reason for the shape of one parameter."""
    if weight.kind == "weight_hr":
        return _(
            "proj_size: {P} rows, one for each number of the projected h; {H} columns, one for each unit. "
            "h = W_hr (o ⊙ tanh(c))."
        ).format(P=form.projected, H=form.hidden)
    if weight.kind.startswith("bias"):
        other = _("W_ih x") if weight.kind == "bias_ih" else _("W_hh h")
        return _("one number for each of the {rows} rows, added to {other}").format(
            rows=weight.shape[0], other=other
        )
    return f"{_rows(form, weight)}; {_columns(form, weight)}"


def _rows(form: Form, weight: Weight) -> str:
    if weight.layer or weight.direction:
        first = f"`{weight.kind}_l0`"
        return _("rows as in {first}, with numbers of its own").format(first=first)
    listed = ", ".join(
        _("{first} to {last} {gate}").format(first=one.first, last=one.last, gate=_(GATES[one.gate]))
        for one in weight.gates
    )
    if len(weight.gates) == 1:
        return _("{H} units = {H} rows").format(H=form.hidden)
    return _("{G} gates x {H} units = {rows} rows: {listed}").format(
        G=len(weight.gates), H=form.hidden, rows=weight.shape[0], listed=listed
    )


def _columns(form: Form, weight: Weight) -> str:
    n = weight.shape[1]
    columns = _("1 column") if n == 1 else _("{n} columns").format(n=n)
    wide = "P" if form.projected else "H"
    if weight.kind == "weight_hh":
        of_what = (
            _("one for each number of the projected h at t - 1 (proj_size)")
            if form.projected
            else _("one for each unit's h at t - 1")
        )
    elif weight.layer == 0:
        of_what = _("one for each input")
    elif form.directions == 2:
        of_what = _("2 x {wide}, one for each output of layer {below}, forward and backward").format(
            wide=wide, below=weight.layer - 1
        )
    else:
        of_what = _("{wide}, one for each output of layer {below}").format(wide=wide, below=weight.layer - 1)
    return f"{columns}: {of_what}"


def bias_words(form: Form, one: Equality | None) -> str:
    """Why there are two biases, with what was measured of it."""
    if one is None:
        return _("bias=False leaves both biases out: {kept} alone remain.").format(
            kept=_("weight_ih and weight_hh") + (_(", and weight_hr") if form.projected else "")
        )
    said = _("**Two biases for each row**, b_ih and b_hh, for the sake of cuDNN, whose networks have two. ")
    moved = _(
        "Put into b_ih what stands in b_hh, and the output of this module changes by at most {by}: "
    ).format(by=of(one.difference))
    if one.holds:
        said += moved + _("only their sum counts.")
    else:
        said += moved + _(
            "both count, because the reset gate multiplies W_hn h + b_hn and not b_in. In r and z only the "
            "sum counts."
        )
    forget = CELLS[form.cell].forget_gate
    if forget is not None:
        (rows,) = (r for r in gate_rows(form.cell, form.hidden) if r.gate == forget)
        said += " " + _(
            "So a **forget bias of 1** is b_ih = 1 and b_hh = 0 in the rows {first} to {last}: 1 in both "
            "would be 2."
        ).format(first=rows.first, last=rows.last)
    return said


def total_words(form: Form, found: Sequence[Weight]) -> str:
    """How many numbers there are."""
    total = sum(weight.numbers for weight in found)
    return _("{n} parameters with {total:,} numbers in all, read from the module itself.").format(
        n=len(found), total=total
    )


# Input and output ---------------------------------------------------------------------------------------


def names_of(array: Array) -> str:
    return f"`({', '.join(array.dimensions)})`"


def holds_words(form: Form, array: Array) -> str:
    """What an array holds."""
    two = form.directions == 2
    if array.name == "input":
        return _("the sequence: {I} numbers at each of {T} steps").format(I=form.inputs, T=form.steps)
    if array.name == "output":
        said = _("h of the last layer at every step")
        return said + (_(", forward in the first half and backward in the second") if two else "")
    what = "h" if array.name == "h_n" else "c"
    said = _("{what} of every layer after all that it has read").format(what=what)
    if array.name == "c_n" and form.projected:
        said += _("; the memory is not projected, so it is H wide and not P")
    return said


def dimension_words(form: Form) -> str:
    """The letters with their numbers."""
    letters = {
        "T": _("time steps"), "B": _("sequences of the batch"), "I": _("inputs"), "H": _("hidden units"),
        "L": _("layers"), "P": _("proj_size"),
    }  # fmt: skip
    absent = {"P": not form.projected, "B": not form.batched}
    return ", ".join(
        f"{letter} = {form.letters[letter]} {word}"
        for letter, word in letters.items()
        if not absent.get(letter, False)
    )


def layout_words(form: Form) -> list[str]:
    """What to keep in mind about these shapes."""
    found = []
    if form.batched and form.batch_first:
        found.append(
            _(
                "**batch_first** turns input and output round, and nothing else: h_n and c_n stay (layers, "
                "B, …)."
            )
        )
    if not form.batched:
        found.append(_("**One sequence**: every array is without B. batch_first has no say."))
    if form.projected:
        found.append(
            _(
                "**proj_size = {P}**: h is projected from {H} to {P} numbers before it is handed on, so "
                "output, h_n and the columns of weight_hh are {P} wide; c keeps its {H}."
            ).format(P=form.projected, H=form.hidden)
        )
    found.append(
        _(
            "Without h_0 and c_0 the module begins at zero; those that are given have the shapes of h_n and "
            "c_n."
        )
        if "c" in CELLS[form.cell].states
        else _("Without an h_0 the module begins at zero; one that is given has the shape of h_n.")
    )
    return found


# What equals what ---------------------------------------------------------------------------------------

CLAIMS = {
    "last": "The output of the last step is h_n of the last layer.",
    "forward_last": "The forward half of the last step is the last layer's h_n forward.",
    "backward_first": "The backward half of the first step is the last layer's h_n backward: backward, t = 1 "
    "is read last.",
    "backward_last": "The backward half of the last step is h_n backward. (There it has read one step only, "
    "and for T = 1 that is all.)",
    "sequence_for_step": "output[-1] is the last step. (With batch_first it is the last sequence.)",
    "order": "h_n has layer after layer, and in each forward before backward: h_n[D * layer + direction], "
    "held against each layer and direction run alone.",
    "other_order": "h_n has first all layers forward, then all backward.",
    "widths": "h and c are equally wide.",
    "padded_zero": "In a packed batch, the output behind the end of a short sequence is zeros.",
    "padded_last": "In a packed batch, the last row of a short sequence's output is its h_n.",
    "padded_own": "In a packed batch, h_n is the output at the sequence's own last step.",
    "padded_backward": "In a packed batch, the backward half of the first step is h_n backward.",
    "unpacked": "Padded with zeros and not packed, a short sequence has the same h_n. (The module reads the "
    "padding as if it were input.)",
    "turned_output": "With batch_first turned round, the output is the same, transposed.",
    "same_h_n": "With batch_first turned round, h_n is the same, as it is.",
    "same_c_n": "With batch_first turned round, c_n is the same, as it is.",
    "one_bias": "Only the sum of the two biases counts.",
    "gates": "The rows belong to the gates in the order {order}: held against rnnviz's own cell with these "
    "weights.",
    "swapped": "They might as well be in the order {swapped}.",
}


def claim(form: Form, one: Equality) -> str:
    """What is claimed, in words."""
    gates = CELLS[form.cell].gates
    return _(CLAIMS[one.name]).format(order=", ".join(gates), swapped=", ".join([*gates[1::-1], *gates[2:]]))


def verdict(one: Equality) -> str:
    if not one.holds:
        return _("**does not hold**")
    return _("**holds**: both are 0") if one.zero else _("**holds**")


def difference_words(one: Equality) -> str:
    """How far apart the sides are."""
    if math.isnan(one.difference):
        return _("shapes {left} and {right}").format(left=one.shapes[0], right=one.shapes[1])
    return of(one.difference)


def checked_words(form: Form, found: Iterable[Equality]) -> str:
    """How it was checked."""
    found = list(found)
    said = _(
        "Each line is computed on a real module with random weights and a random input. Arrays "
        "count as equal where no two numbers differ by more than {tolerance}. **{holding} of {all} hold.**"
    ).format(tolerance=f"{TOLERANCE:g}", holding=sum(one.holds for one in found), all=len(found))
    batch = form.with_batch
    if form.steps == 1:
        return said + " " + _("With T = 1 nothing can be padded.")
    of_steps = ", ".join(map(str, lengths(batch)))
    said += " " + _("The packed batch has sequences of {lengths} steps").format(lengths=of_steps)
    return said + (
        _(", padded to {T}.").format(T=form.steps)
        if form.batched
        else _(", padded to {T}: a single one is packed as a batch of one.").format(T=form.steps)
    )


# Cost ---------------------------------------------------------------------------------------------------


def cell_name(cost: Cost) -> str:
    """The cell, and its projection."""
    name = _(CELLS[cost.cell].label)
    return name + (_(", projected to {P}").format(P=cost.projected) if cost.projected else "")


def cost_words(form: Form) -> str:
    """What is counted."""
    said = _(
        "A **multiply-add** is one product of a weight with a number, added to a sum: every entry of a "
        "weight matrix makes one at each step of each sequence. Products of gates, unit by unit, are beside "
        "them. The whole batch is {B} x {T} steps."
    ).format(B=form.with_batch.batch, T=form.steps)
    if not form.bias:
        said += " " + _("Cells that torch.nn does not have always have their biases here.")
    return said


def measured_words(measured: Measured) -> str:
    """How it was measured."""
    said = _(
        "Milliseconds for the whole batch on this machine, in single precision: the median of {n} rounds in "
        "which all take turns, on {threads} thread. Backward is from the sum of all outputs to every "
        "parameter."
    ).format(n=measured.rounds, threads=measured.threads)
    if measured.kernel != "compiled":
        return said + " " + _("This machine cannot compile rnnviz's cells, so they have no times.")
    return said + " " + _("rnnviz's code keeps dL/dh at every step as well, which the modules do not.")


def found_words(costs: Sequence[Cost], measured: Measured) -> list[str]:
    """Where fewer multiply-adds took longer, in torch.nn's modules and in rnnviz's code."""
    products = {cost.cell: cost.products for cost in costs if not cost.projected}
    modules = {t.cell: t.module.both for t in measured.timings if t.module is not None}
    own = {t.cell: t.own.both for t in measured.timings if t.own is not None}
    found = [_found(_("torch.nn"), modules, products)] if modules else []
    if measured.onednn and modules and _turned(modules, products)[2:] == ["lstm"]:
        found[0] += " " + _(
            "On this machine PyTorch hands an nn.LSTM to the library oneDNN as a whole; the others it "
            "computes step by step."
        )
    return found + ([_found(_("rnnviz"), own, products)] if own else [])


def _turned(times: Mapping[str, tuple[float, ...]], products: Mapping[str, int]) -> list[Any]:
    """The pair that turns the order round the most: how many times as long, few, many; nothing without one.

    It has to do so in every round: what differs in some of them only is noise.
    """
    pairs: list[list[Any]] = [
        [median(times[few]) / median(times[many]), few, many]
        for few in times
        for many in times
        if products[few] < products[many] and all(a > b for a, b in zip(times[few], times[many], strict=True))
    ]
    largest: list[Any] = max(pairs, default=[0.0])
    return largest if largest[0] >= SLOWER else []


def _found(name: str, times: Mapping[str, tuple[float, ...]], products: Mapping[str, int]) -> str:
    """Forward and backward."""
    turned = _turned(times, products)
    if not turned:
        return _(
            "**{name}:** here no cell that makes fewer multiply-adds than another took clearly longer, "
            "forward and backward."
        ).format(name=name)
    ratio, few, many = turned
    return _(
        "**{name}:** fewer gates is not always faster. {few} makes {less} fewer multiply-adds than {many}, "
        "and took {ratio} times as long, forward and backward ({a} ms against {b} ms), and longer in every "
        "round."
    ).format(
        name=name, few=_(CELLS[few].label), many=_(CELLS[many].label),
        less=percent(1 - products[few] / products[many]), ratio=of(ratio), a=of(median(times[few])),
        b=of(median(times[many])),
    )  # fmt: skip


def too_large_words(products: int, most: int) -> str:
    return _(
        "An LSTM of these sizes makes {n} million multiply-adds over the batch; at most {most} million are "
        "timed here. Take fewer units, layers, steps or sequences."
    ).format(n=f"{products / 1e6:,.0f}", most=f"{most / 1e6:,.0f}")
