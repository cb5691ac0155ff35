"""What a step did, in words and as bars: what was kept, erased, written and shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..analysis.inside import Inside
from ..analysis.latex import short
from ..cells import Cell
from .text import _, percent


def question() -> str:
    """What the page answers."""
    return _(
        "What does a gate keep, erase, write and show? A *gate* is a number between 0 and 1, made by the "
        "sigmoid \u03c3, that something is multiplied with."
    )


def about(cell: Cell) -> str:
    """What the words of a cell's family mean."""
    if cell.family == "plain":
        return _(
            "The *state* h is what a network hands on from one time step to the next. A plain cell makes it "
            "anew at each step, from the input and from all of the old state: it has no gate to choose with. "
            "The thick line is the old state's way: through the matrix $W_{hh}$ and the "
            "nonlinearity, every time."
        )
    if cell.family == "lstm":
        told = _(
            "Beside the *state* h, which others read, an LSTM hands on a *memory* c. The forget gate f is 1 "
            "to keep it and 0 to erase it; the input gate i lets the *candidate* g in, which is what could "
            "be written; the output gate o says how much is shown as h. The thick line is the additive path: "
            "$c_t$ is f times $c_{t-1}$ plus what is written, with no matrix, \u03c3 or tanh on the way."
        )
        if cell.peepholes:
            told += " " + _(
                "A *peephole* p lets a gate see the memory too: i and f the old one, o the new one."
            )
        if "i" not in cell.gates:
            told += " " + _("Coupled: there is no input gate, 1 \u2212 f stands in its place.")
        return told
    keeps = cell.memory_gates["z"] == 1
    told = _(
        "A GRU hands on its *state* h alone. The reset gate r says how much of it the *candidate* n sees, "
        "which is what could be written; the update gate z divides between old and new. On the thick line "
        "the old state goes on with no matrix, \u03c3 or tanh on the way."
    )
    if keeps:
        told += " " + _(
            "Here, as in PyTorch, **z = 1 keeps** the old state and z = 0 overwrites it; in the form of "
            "Chung et al. it is the other way round."
        )
    else:
        told += " " + _(
            "Here, as in Chung et al. (2014), **z = 1 writes** the new value and z = 0 keeps the old state; "
            "in PyTorch it is the other way round."
        )
    return told


def verdict(inside: Inside, unit: int) -> str:
    """What this step did with one unit, with its numbers."""
    v, cell = inside.at(unit), inside.cell
    told = {name: short(value) for name, value in v.items()}
    if cell.family == "plain":
        return _(
            "**Made anew:** {input} from the input, {recurrent} from the old state and {bias} from the "
            "biases make $a_t$ = {a}, and the nonlinearity makes $h_t$ = {h} of it."
        ).format(
            input=told["input_h"], recurrent=told["recurrent_h"], bias=told["bias_h"], a=told["a_h"],
            h=told["h"],
        )  # fmt: skip
    if cell.family == "lstm":
        let_in = v["i"] if "i" in v else v["1 - f"]
        return _(
            "**Kept {share} of {before}, erased {rest}, wrote {written}, shows {o_share} of it.** Of "
            "$c_{{t-1}}$ = {before} the forget gate leaves {kept}. {i} of the candidate {g} is written, so "
            "$c_t$ = {c}. The output gate shows {o} of tanh($c_t$) = {tanh}: $h_t$ = {h}. It acts on $h_t$ "
            "alone: whatever o is, $c_t$ = {c} goes on to the next step."
        ).format(
            share=percent(v["f"]), o_share=percent(v["o"]), before=told["c_before"],
            rest=short(v["c_before"] - v["f * c_before"]),
            written=short(_written(v)), o=told["o"], kept=told["f * c_before"], i=short(let_in), g=told["g"],
            c=told["c"], tanh=told["tanh_c"], h=told["h"],
        )  # fmt: skip
    part, kept, new = _gru(inside, v)
    return _(
        "**Kept {share} of {before}, erased {rest}, wrote {written}; all of it is shown.** z = {z}: {kept} "
        "of the old state $h_{{t-1}}$ = {before} stays, and {new} of the candidate {n} is written: "
        "$h_t$ = {h}. The reset gate let the candidate see {r} of the past. A GRU has no output gate: "
        "its state is its memory."
    ).format(
        share=percent(part), before=told["h_before"], rest=short(v["h_before"] - kept),
        written=short(_written(v)), z=told["z"], kept=short(kept), new=short(new),
        n=told["n"], h=told["h"], r=told["r"],
    )  # fmt: skip


def _written(v: Mapping[str, float]) -> float:
    """What a gated cell's step added."""
    return next(v[name] for name in ("i * g", "(1 - f) * g", "(1 - z) * n", "z * n") if name in v)


def _gru(inside: Inside, v: Mapping[str, float]) -> tuple[float, float, float]:
    """Of a GRU's step: the part of the old state that was kept, what that is, and the part of the new."""
    if inside.cell.memory_gates["z"] == 1:
        return v["z"], v["z * h_before"], v["1 - z"]
    return v["1 - z"], v["(1 - z) * h_before"], v["z"]


def bars(inside: Inside, unit: int) -> tuple[list[dict[str, Any]], float]:
    """A bar for each part of the step: where it begins and ends, 0 to 1 of a common axis; and where 0 is."""
    v = inside.at(unit)
    if inside.cell.family == "plain":
        past = v["input_h"] + v["recurrent_h"]
        rows = [
            (_("from the input"), 0.0, v["input_h"], v["input_h"], "new"),
            (_("from the old state"), v["input_h"], past, v["recurrent_h"], "old"),
            (_("from the biases"), past, v["a_h"], v["bias_h"], "new"),
            (_("their sum a"), 0.0, v["a_h"], v["a_h"], "old"),
            (_("shown as h"), 0.0, v["h"], v["h"], "old"),
        ]
    else:
        memory = "c" if "c" in v else "h"
        before, now = v[f"{memory}_before"], v[memory]
        kept = v["f * c_before"] if memory == "c" else _gru(inside, v)[1]
        rows = [
            (_("{memory} before").format(memory=memory), 0.0, before, before, "old"),
            (_("kept"), 0.0, kept, kept, "old"),
            (_("erased"), kept, before, before - kept, "gone"),
            (_("written"), kept, now, _written(v), "new"),
            (_("{memory} now").format(memory=memory), 0.0, now, now, "old"),
        ]
        if memory == "c":
            rows.append((_("shown as h"), 0.0, v["h"], v["h"], "old"))
    return _on_one_axis(rows)


def _on_one_axis(rows: Sequence[tuple[str, float, float, float, str]]) -> tuple[list[dict[str, Any]], float]:
    ends = [0.0, *(end for row in rows for end in row[1:3] if math.isfinite(end))]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0
    if not math.isfinite(span):
        span, low = 1.0, 0.0
        rows = [(name, math.nan, math.nan, value, kind) for name, _a, _b, value, kind in rows]

    def place(end: float) -> float:
        return (end - low) / span

    told = []
    for name, start, end, value, kind in rows:
        drawn = math.isfinite(start) and math.isfinite(end)
        told.append(
            {
                "name": name, "value": short(value), "kind": kind,
                "from": place(start) if drawn else None, "to": place(end) if drawn else None,
            }
        )  # fmt: skip
    return told, place(0.0)


__all__ = ["about", "bars", "question", "verdict"]
