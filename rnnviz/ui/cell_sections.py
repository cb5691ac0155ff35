"""The sections of the page Inside the cell: the drawing, the equations, the proof, the shares, the source."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import streamlit as st

from ..analysis.inside import Inside, plain_at, plain_twin
from ..analysis.inside_equations import substituted
from ..analysis.latex import short
from ..cells import Cell
from ..runs.store import Store
from . import link
from .cell_controls import Place, gates, network_place, seen, small_place
from .cell_diagram import spoken, svg
from .cell_layouts import layout_of
from .cell_settings import SETTINGS
from .cell_words import about, bars, verdict
from .component import component, module_path
from .text import _

KEY = "inside_cell"

_component = component("cell")


def answers(store: Store, kind: str | None) -> None:
    """All below the title. kind: "runs" or "fresh", None for one step of a small network."""
    try:
        place = small_place() if kind is None else network_place(store, kind)
    except ValueError as error:
        st.error(str(error))
        return
    if place is None:
        st.caption(_("Waiting for the first training step."))
        return
    cell = place.cell
    inside = gates(seen(place), place)
    drawing(inside, place)
    st.markdown(verdict(inside, place.unit))
    st.markdown(about(cell))
    caption(inside, place)
    left, right = st.columns([3, 2], gap="large")
    with left:
        equations(inside, place.unit)
    with right:
        if plain_at(cell):
            proof(inside, place.unit)
        source(cell)
    shares(inside, place.unit)
    link.write(SETTINGS)


def refresh(store: Store, kind: str | None) -> float | None:
    """How often the page looks for a newer checkpoint, in seconds; None where none is to come."""
    runs = link.runs(store) if kind == "runs" else []
    return 2.0 if SETTINGS["at"] < 0 and any(not run.ended for run in runs) else None


def drawing(inside: Inside, place: Place) -> None:
    """The drawing with its numbers, and the bars."""

    def moved() -> None:
        told: Any = getattr(st.session_state.get(KEY), "moved", None)
        try:
            t = int(told["t"])
        except (KeyError, TypeError, ValueError):
            return
        if 1 <= t <= place.steps:
            SETTINGS.set(t=t)

    _component(key=KEY, data=drawing_data(inside, place), on_moved_change=moved)


def caption(inside: Inside, place: Place) -> None:
    """How to read the drawing."""
    units = inside.units
    told = _("The numbers are those of unit {unit} of {units}.").format(unit=place.unit + 1, units=units)
    if place.steps:
        told = _("{title}, step {t} of {steps}. {told}").format(
            title=place.title, t=place.t, steps=place.steps, told=told
        )
    if inside.cell.family == "plain":
        told += " " + _("A dashed box multiplies all that comes in with its rows of W, for this unit.")
    else:
        told += " " + _(
            "The wire at the bottom carries the states of all units and the input; a dashed box multiplies "
            "what comes in with its rows of W and adds the biases: its result a is what a gate's \u03c3 or "
            "tanh is given. \u00d7 and + act on each unit by itself. An underlined number is held."
        )
    st.caption(told)


def drawing_data(inside: Inside, place: Place) -> dict[str, Any]:
    """All that the browser draws."""
    cell, carried = inside.cell, carried_on(inside, place.unit)
    rows, zero = bars(inside, place.unit)
    title = _("{cell}: one time step, with its numbers.").format(cell=cell.label)
    layout = layout_of(cell.name)
    drawn = svg(layout, title)
    numbers = {name: carried[name] for name, wire in layout.wires.items() if wire.place is not None}
    told = ", ".join(f"{spoken(layout.wires[name].symbol)} {text}" for name, text in numbers.items())
    return {
        "module": module_path("cell.js"),
        "color": cell.color,
        "svg": drawn.replace("<svg ", '<svg class="narrow" ', 1) if cell.family == "plain" else drawn,
        "told": f"{title} {told}",
        "numbers": numbers,
        "carried": carried,
        "held": [name for name, wire in layout.wires.items() if wire.value in inside.held],
        "bars": rows,
        "zero": zero,
        "t": place.t,
        "steps": place.steps,
        "text": {
            "scroll": _("The cell's drawing. The left and right arrow keys walk through the sequence."),
            "broken": _("The drawing could not be loaded. Reload the page."),
        },
    }


def carried_on(inside: Inside, unit: int) -> dict[str, str]:
    """What each wire of the drawing carries, as text, by its name."""
    values = inside.at(unit)
    told = {name: short(value) for name, value in values.items()} | {"x": input_text(inside.x)}
    told["bus"] = " ".join(map(short, (*inside.x.tolist(), *inside.values["h_before"].tolist())))
    return {name: told[wire.value] for name, wire in layout_of(inside.cell.name).wires.items()}


def input_text(x: np.ndarray) -> str:
    """An input in few characters: its one or two numbers, which one of many is 1, or how many there are."""
    if len(x) <= 2:
        return ", ".join(short(float(value)) for value in x)
    if np.count_nonzero(x) == 1 and x.max() == 1.0:
        return _("no. {k} of {n}").format(k=int(x.argmax()) + 1, n=len(x))
    return _("{n} numbers").format(n=len(x))


def equations(inside: Inside, unit: int) -> None:
    """The cell's equations, and below each the numbers of this step."""
    st.markdown(_("**The equations, and this step's numbers in them**"))
    for symbols, numbers in zip(inside.cell.equations, substituted(inside, unit), strict=True):
        left, right = symbols.split(" = ", 1)
        rest = numbers.split(" = ", 1)[1]
        st.latex(rf"\begin{{aligned}} {left} &= {right} \\ &= {rest} \end{{aligned}}")
    told = _("W x, W h and the biases b are shown as the numbers that they come to for this unit.")
    if inside.cell.family != "plain":
        told += " " + _("$\\odot$: each unit by itself.")
    st.caption(told)


def shares(inside: Inside, unit: int) -> None:
    """What each gate's pre-activation is the sum of."""
    plain = inside.cell.family == "plain"
    st.markdown(_("**What goes into the nonlinearity**") if plain else _("**What goes into each gate**"))
    peepholes = bool(inside.cell.peepholes)
    head = ["", "W x", "W h", *(["p c"] if peepholes else []), "b", "a", _("gives")]
    rows = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for gate in inside.cell.gates:
        one = inside.shares[gate]
        numbers = [
            one.input[unit], one.recurrent[unit], *([one.peephole[unit]] if peepholes else []),
            one.bias_ih[unit] + one.bias_hh[unit], inside.before_gate(gate)[unit], inside.values[gate][unit],
        ]  # fmt: skip
        held = " " + _("(held)") if gate in inside.held else ""
        rows.append("| " + " | ".join([f"${gate}$", *(short(float(n)) for n in numbers)]) + f"{held} |")
    st.markdown("\n".join(rows))
    told = _("a is the *pre-activation*: the sum that the nonlinearity is given.")
    if inside.cell.apart:
        told += " " + _("In that of n, r stands before W h and its bias.")
    elif "rh" in inside.values:
        told += " " + _("For n, W h is W times r h.")
    st.caption(told)


def proof(inside: Inside, unit: int) -> None:
    """The gated cell beside the plain tanh cell that has its candidate's weights."""
    cell, twin, h = inside.cell, plain_twin(inside.start), inside.values["h"]
    at = ", ".join(f"{gate} = {value:g}" for gate, value in plain_at(cell).items())
    there = all(inside.held.get(gate) == value for gate, value in plain_at(cell).items())
    st.markdown(_("**Beside a plain RNN**"))
    numbers = _("$h_t$ here: {h}. Of the plain tanh cell with the candidate's weights: {twin}. ").format(
        h=short(float(h[unit])), twin=short(float(twin[unit]))
    )
    if cell.family == "lstm":
        squashed = np.tanh(twin)
        numbers += _(
            "tanh of that: {squashed}; it differs from $h_t$ by {difference} at most in any unit."
        ).format(squashed=short(float(squashed[unit])), difference=short(_most(h - squashed)))
        claim = _(
            "With {at} what is left of an LSTM is $h_t = \\tanh(\\tanh(\\ldots))$: nearly, but not, a plain "
            "RNN, for the memory is squashed once more before it is shown."
        )
    else:
        numbers += _("They differ by {difference} at most in any unit.").format(
            difference=short(_most(h - twin))
        )
        claim = _(
            "With {at} the equations of this GRU become $h_t = \\tanh(W_{{in}} x_t + b_{{in}} + W_{{hn}} "
            "h_{{t-1}} + b_{{hn}})$: a plain tanh RNN, exactly; in floating point equal up to rounding."
        )
    state = _("Now they are.") if there else _("Now the gates are not at these values.")
    st.markdown(f"{numbers}\n\n{claim.format(at=at)} {state}")


def _most(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())


def source(cell: Cell) -> None:
    """The lines that computed these numbers."""
    module = type(cell).__module__
    with st.expander(_("The lines that computed these numbers")):
        code = inspect.getsource(type(cell).forward)
        if cell.family == "plain":
            code += "\n" + inspect.getsource(type(cell).phi)  # type: ignore[attr-defined]
        st.code(inspect.cleandoc(code), language="python")
        st.caption(
            _(
                "From {file}. ops.product gives the pre-activations: $W_{{ih}} x_t + b_{{ih}}$ and "
                "$W_{{hh}}$ times its operand plus $b_{{hh}}$."
            ).format(file=f"`{module.replace('.', '/')}.py`")
        )


__all__ = ["KEY", "answers", "carried_on", "drawing_data", "refresh"]
