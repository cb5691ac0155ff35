"""The controls of the page Inside the cell: which cell, which step of which network, what is held."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ..analysis.inside import Inside, Start, look, plain_at, small_start, start_of, steps_of
from ..cells import CELLS, Cell
from ..runs.store import Store
from . import link, networks
from .cell_layouts import WORDS
from .cell_settings import RANGES, SETTINGS, held_in, ordered
from .gradient_controls import controls
from .text import _

_NUMBER = "%.6g"
GATE_WIDTH = 165  # two beside each other on a phone


@dataclass(frozen=True)
class Place:
    """The step on show. t and steps are 0 where there is no sequence; title: of the network.

    begin: where the step begins, given the gates that were held in the steps before it.
    """

    cell: Cell
    begin: Callable[[Mapping[str, float]], Start]
    unit: int
    t: int = 0
    steps: int = 0
    title: str = ""


def cell_picker() -> None:
    """Which cell, and for gated ones which of its family's forms."""
    name = SETTINGS["show"]
    family = CELLS[name].family
    usual = {"plain": "", "lstm": "lstm", "gru": "gru"}
    among = [one for one, cell in CELLS.items() if cell.family == "plain"]
    among += [name if kind == family else usual[kind] for kind in ("lstm", "gru")]
    labels = {one: _labels(CELLS[one]) for one in among}

    def pick() -> None:
        if st.session_state[key]:
            SETTINGS.set(show=st.session_state[key])

    key = SETTINGS.key("show")
    st.selectbox(
        _("Cell"), among, index=among.index(name), key=key, format_func=labels.__getitem__, on_change=pick
    )
    if family == "lstm":
        _lstm_switches(name)
    elif family == "gru":
        _gru_switch(name)


def _labels(cell: Cell) -> str:
    return {"lstm": "LSTM", "gru": "GRU"}.get(cell.family, cell.label)


def _lstm_switches(name: str) -> None:
    key = SETTINGS.key("show")

    def pick(variant: str) -> None:
        SETTINGS.set(show=variant if st.session_state[f"{key}:{variant}"] else "lstm")

    alone = _("Peepholes together with coupled gates do not exist here: each is a cell of its own.")
    told = {
        "lstm_peephole": (
            _("Peepholes"),
            _("The gates also see the memory c, each through a weight of its own."),
        ),
        "lstm_coupled": (
            _("Coupled: i = 1 \u2212 f"),
            _("Writes exactly as much as it forgets; no input gate."),
        ),
    }
    for variant, (label, help_) in told.items():
        st.toggle(
            label, value=name == variant, key=f"{key}:{variant}", on_change=pick, args=(variant,),
            disabled=name not in ("lstm", variant), help=f"{help_} {alone}",
        )  # fmt: skip
    st.caption(alone)


def _gru_switch(name: str) -> None:
    key = f"{SETTINGS.key('show')}:form"
    forms = {"gru": "PyTorch", "gru_chung": "Chung"}

    def pick() -> None:
        if st.session_state[key]:
            SETTINGS.set(show=st.session_state[key])

    st.segmented_control(
        _("Form"), list(forms), default=name, key=key, format_func=forms.__getitem__, required=True,
        on_change=pick,
        help=_("Two definitions are in use. They differ in what z means, and in where the reset gate r acts: "
               "after the product with W (PyTorch) or before it (Chung et al. 2014)."),
    )  # fmt: skip
    st.caption(_("PyTorch: z = 1 keeps the old state. Chung: z = 1 writes the new value."))


def small_network() -> None:
    """The sidebar of one step: sizes, weights, and the numbers that go in."""
    left, right = st.columns(2)
    with left:
        SETTINGS.switch("units", _("Hidden units"))
    with right:
        SETTINGS.switch("inputs", _("Inputs"))
    units = int(SETTINGS["units"])
    SETTINGS.number("draw", _("Weights drawn by seed"))
    SETTINGS.among("unit", _("Unit on show"), list(range(1, units + 1)))
    inputs = int(SETTINGS["inputs"])
    labels = {k: "$x_t$" if inputs == 1 else f"$x_{{t,{k + 1}}}$" for k in range(inputs)}
    SETTINGS.numbers("x", labels, across=inputs, step=0.1, format=_NUMBER)
    states = CELLS[SETTINGS["show"]].states
    for state, column in zip(states, st.columns(len(states)), strict=True):
        with column:
            SETTINGS.number(state, f"${state}_{{t-1}}$", format=_NUMBER)
    if units > 1:
        st.caption(_("The states of the other units are drawn with the weights."))


def small_place() -> Place:
    """The step of the small network."""
    cell, units = CELLS[SETTINGS["show"]], int(SETTINGS["units"])
    unit = min(int(SETTINGS["unit"]), units) - 1
    start = small_start(cell.name, units, int(SETTINGS["inputs"]), int(SETTINGS["draw"]), SETTINGS["x"])
    start = start.changed(unit, **{state: float(SETTINGS[state]) for state in cell.states})
    return Place(cell, lambda _held: start, unit)


def network_place(store: Store, kind: str) -> Place | None:
    """The controls over a network, and the step that they mean; None while there is no checkpoint yet.

    Raises ValueError, one sentence, for weights that are not the network's.
    """
    runs = link.runs(store) if kind == "runs" else []
    if kind == "runs" and len(runs) < len(link.view().runs):
        st.rerun()  # one was deleted meanwhile
    fresh = networks.fresh() if not runs else []
    letters = list(SETTINGS.kinds["which"].options)[: max(len(runs), len(fresh))]  # type: ignore[attr-defined]
    k = letters.index(SETTINGS.switch("which", _("Network"), letters)) if len(letters) > 1 else 0
    run = runs[k : k + 1]
    step, where = controls(
        store, SETTINGS, "products", run, [one.experiment for one in run] or [fresh[k].experiment]
    )
    found = networks.at_checkpoint(store, run, step) if run else fresh[k : k + 1]
    if not found:
        return None
    moment, shown = found[0].moment, found[0]
    T = steps_of(moment, where.layer, where.direction, where.part)
    left, right = st.columns([3, 1], gap="medium")
    with left:
        t = SETTINGS.among("t", _("Time step t (arrow keys)"), list(range(1, T + 1))) if T > 1 else 1
    with right:
        H = shown.experiment.hidden
        unit = SETTINGS.among("unit", _("Unit"), list(range(1, H + 1))) - 1 if H > 1 else 0

    def begin(held: Mapping[str, float]) -> Start:
        return start_of(moment, t - 1, where.sequence, where.layer, where.direction, where.part, held)

    return Place(CELLS[shown.experiment.cell], begin, unit, t, T, shown.title)


def seen(place: Place) -> Inside:
    """The step with what is held now."""
    held = held_in(place.cell)
    return look(place.begin(held if SETTINGS["span"] == "every" else {}), held)


def gates(before: Inside, place: Place) -> Inside:
    """For each gate whether it is held, and at what; returns the step with that in force.

    before: the step with what was held until now, at which a gate begins when it is held.
    """
    cell, key, unit = place.cell, SETTINGS.key("hold"), place.unit
    if len(cell.gates) == 1:
        st.caption(
            _("A plain cell has no gate, so there is nothing to hold: everything old goes through $W_{hh}$.")
        )
        return before
    held = dict(SETTINGS["hold"])
    free: dict[str, DeltaGenerator] = {}
    row = st.container(horizontal=True)
    for gate in cell.gates:
        low, high = RANGES[gate]
        now = float(before.values[gate][unit])
        with row.container(width=GATE_WIDTH):
            on = st.toggle(
                _("Hold {gate}").format(gate=f"${gate}$"), value=gate in held, key=f"{key}:{gate}:on"
            )
            if on:
                first = round(now, 2) if low <= now <= high else 0.0
                held[gate] = st.slider(
                    _(WORDS[gate]), low, high, float(held.get(gate, first)), 0.01, key=f"{key}:{gate}:at",
                    label_visibility="collapsed",
                )  # fmt: skip
            else:
                held.pop(gate, None)
                free[gate] = st.container()
    SETTINGS.note("hold", ordered(held))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _presets(cell)
        if place.steps > 1:
            SETTINGS.switch("span", _("Gates are held"))
    inside = seen(place)
    for gate, container in free.items():
        low, high = RANGES[gate]
        value = float(inside.values[gate][unit])
        at = min(max(value, low), high) if math.isfinite(value) else low
        container.slider(
            _(WORDS[gate]), low, high, at, 0.01, key=f"{key}:{gate}:free:{at}", disabled=True,
            label_visibility="collapsed",
        )  # fmt: skip
    return inside


def _presets(cell: Cell) -> None:
    def hold(values: dict[str, float]) -> None:
        SETTINGS.set(hold=ordered(values))

    told = ", ".join(f"{gate} = {value:g}" for gate, value in plain_at(cell).items())
    st.button(
        _("Make it plain: {gates}").format(gates=told), on_click=hold, args=(plain_at(cell),),
        help=_("What is old is not kept, what is new is written and shown."),
    )  # fmt: skip
    if cell.family == "gru":
        st.button(
            _("Without its reset gate: r = 1"), on_click=hold, args=({"r": 1.0},),
            help=_("The candidate then sees all of the old state."),
        )  # fmt: skip
    st.button(_("Let all gates go"), on_click=hold, args=({},), disabled=not SETTINGS["hold"])


__all__ = ["Place", "cell_picker", "gates", "network_place", "seen", "small_network", "small_place"]
