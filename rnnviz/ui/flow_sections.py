"""Sections of the page on gradients: along time, the ledger, and what the network remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import streamlit as st
from safetensors.numpy import load

from ..analysis.diagnosis import bounded
from ..analysis.dynamics import Place
from ..analysis.flow import alone, flow, ratio
from ..analysis.heat import log10_of
from ..analysis.ledger import Ledger, StateNorms, ledgers, state_norms
from ..analysis.sensitivity import Sensitivity, sensitivity
from ..cells import CELLS
from ..plots import flow as flow_figures
from ..plots import shares as share_figures
from ..plots.theme import CONFIG
from ..runs.chunk import decode, row_steps
from ..runs.store import Store
from ..tasks import TASKS
from .flow_words import flow_words, ledger_words, memory_words, output_words
from .networks import Shown
from .overviews import overview_of
from .settings import Settings
from .text import _, words

RECORD_BYTES = 20_000_000  # of a recording that are read for one figure


def decades(values: np.ndarray) -> np.ndarray:
    """log10, minus infinity for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log10(np.asarray(values, dtype=np.float64)))


# Along time ---------------------------------------------------------------------------------------------


def along(store: Store, networks: Sequence[Shown], settings: Settings, where: Place) -> None:
    """dL/dh_t and dL/dc_t at each time step, now and over training."""
    memory_there = any("c" in CELLS[one.experiment.cell].states for one in networks)
    state = settings["state"] if memory_there else "h"
    st.markdown(
        _(
            "dL/d{s}_t says how much the loss would change with the state {s} at time step t, through "
            "everything that comes after it. It is carried back step by step, and each step multiplies it by "
            "one Jacobian, the matrix of all derivatives of one state with respect to the one before."
        ).format(s=state)
    )
    have = [one for one in networks if state in CELLS[one.experiment.cell].states]
    layer, direction = where.layer, where.direction
    place = (state, layer, direction)
    flows = [flow(one.moment, *place) for one in have]
    single = [alone(one.moment, *place) if bounded(one.experiment) else None for one in have]
    label = _("norm of dL/d{s}_t").format(s=state)
    curves = [
        flow_figures.Curve(
            one.name,
            one.color,
            decades(f.mean),
            decades(f.median),
            decades(f.low),
            decades(f.high),
            None if f.used is None else decades(f.used.mean),
            None if a is None else decades(a),
        )
        for one, f, a in zip(have, flows, single, strict=True)
    ]
    left, right = st.columns([1, 1]) if any(one.run for one in have) else (st.container(), None)
    with left:
        figure = flow_figures.along_time(curves, label, decoder_of(have), words(flow_figures.TEXT))
        st.plotly_chart(figure, key="along", config=CONFIG, alt=_("Norm of the gradient against time step"))
        if len(have) > 1:
            st.caption(_("Line: mean over the batch; dots: median; band: 10 to 90 % of the sequences."))
        if len(have) < len(networks):
            st.caption(_("Networks without a memory c are left out."))
    if right is not None:
        with right:
            _over_training(store, have, state, layer, direction, label)
    for one, f, a in zip(have, flows, single, strict=True):
        told = flow_words(one.experiment, f, ratio(one.moment, *place), f.mean if a is None else a)
        st.markdown(one.lead + told)


def decoder_of(networks: Sequence[Shown]) -> int | None:
    """The time step, counted from 1, at which a decoder takes over."""
    for one in networks:
        e = one.experiment
        if e.architecture != "one":
            return e.steps_per_sequence() - TASKS[e.task].answered(e.length) + 1
    return None


def _over_training(
    store: Store, networks: Sequence[Shown], state: str, layer: int, direction: int, label: str
) -> None:
    heats = [heat for one in networks if one.run and (heat := _heat(store, one, state, layer, direction))]
    if not heats:
        st.caption(_("Nothing is recorded of training."))
        return
    figure = flow_figures.over_training(heats, label, words(flow_figures.TEXT))
    st.plotly_chart(figure, key="heat", config=CONFIG, alt=_("The same norm over training, as a heat map"))
    st.caption(
        _(
            "As recorded in training: every column is one training step, the line marks the chosen one. Dark "
            "at the bottom means that the beginning of the sequence hears nothing."
        )
    )


def _heat(store: Store, one: Shown, state: str, layer: int, direction: int) -> flow_figures.Heat | None:
    """What was recorded of a run: of h what the screens have, of c out of the full record."""
    assert one.run is not None
    e = one.experiment
    if state == "h":
        shown = overview_of(store, one.run.id)
        if shown is None:
            return None
        arrays = load(shown[1])
        values = log10_of(arrays["heat"][:, layer * e.directions + direction])
        return flow_figures.Heat(
            one.letter, arrays["heat_step"], values, row_steps(e.steps_per_sequence()), one.step
        )
    found = _memory_rows(store, one.run.id, one.run.step, layer, direction)
    return None if found is None else flow_figures.Heat(one.letter, found[0], decades(found[1]), 1, one.step)


@lru_cache(maxsize=8)
def _memory_rows(
    store: Store, run: str, step: int, layer: int, direction: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps (n,) and recorded norms of dL/dc_t (n, T), the first of each stretch that is read."""
    blobs, _all = store.records(run, RECORD_BYTES)
    chunks = [decode(blob) for blob in blobs]
    rows = [(int(c.step[0]), c.grad_cell_state[0, layer, direction]) for c in chunks if len(c)]
    if not rows:
        return None
    steps, norms = zip(*rows, strict=True)
    return np.array(steps), np.array(norms)


# The ledger ---------------------------------------------------------------------------------------------

_WEIGHTS = {
    "weight_hh": "W_hh, from state to state",
    "weight_ih": "W_ih, from the input",
    "out.weight": "output layer",
}


def ledger(networks: Sequence[Shown], where: Place) -> None:
    """Which time steps the gradients of the weights came from."""
    st.markdown(
        _(
            "A weight is used at every time step, so its gradient is a **sum over time**. Each point is one "
            "term of that sum, the dotted level the whole. The terms of W_hh and W_ih hold the products of "
            "Jacobians that vanish or explode; those of the output layer hold none."
        )
    )
    place = (where.layer, where.direction, where.part)
    books = [_ledgers(one, place) for one in networks]
    pairs = list(zip(networks, books, strict=True))
    panels = {_(label): [_shares(one, book[name]) for one, book in pairs] for name, label in _WEIGHTS.items()}
    single = all(np.count_nonzero(book["out.weight"].norm) <= 2 for book in books)
    if single:
        del panels[_(_WEIGHTS["out.weight"])]
    figure = share_figures.ledgers(panels, words(share_figures.TEXT))
    st.plotly_chart(figure, key="ledger", config=CONFIG, alt=_("Each time step's share of three gradients"))
    for one, book in zip(networks, books, strict=True):
        st.markdown(one.lead + ledger_words(book["weight_hh"]))
    if single:
        st.markdown(
            _(
                "The gradient of the output layer comes from the last step alone, the only one with an "
                "answer: its one term is not drawn."
            )
        )
    st.subheader(_("Should the output layer be clipped?"), anchor=False)
    norms: list[StateNorms] = [
        one.moment.once("states", partial(state_norms, one.moment)) for one in networks
    ]
    lines = [(one.name, one.color, decades(found.mean)) for one, found in zip(networks, norms, strict=True)]
    figure = share_figures.states(lines, words(share_figures.TEXT))
    st.plotly_chart(figure, key="states", config=CONFIG, alt=_("Norm of the state at each time step"))
    for one, found in zip(networks, norms, strict=True):
        st.markdown(one.lead + output_words(one.experiment, found))


def _ledgers(one: Shown, place: tuple[int, int, int]) -> dict[str, Ledger]:
    made: dict[str, Ledger] = one.moment.once(("ledgers", place), partial(ledgers, one.moment, *place))
    return made


def _shares(one: Shown, book: Ledger) -> share_figures.Shares:
    whole = float(decades(np.array(float(book.whole.double().norm()))))
    return share_figures.Shares(one.name, one.color, decades(book.norm), book.cosine, whole, book.first)


# What it remembers --------------------------------------------------------------------------------------


def remembered(networks: Sequence[Shown], settings: Settings) -> None:
    """How much the prediction changes with each input, now and before training."""
    answers = min(TASKS[one.experiment.task].answered(one.experiment.length) for one in networks)
    answer = answers - 1
    if answers > 1:
        answer = settings.among("answer", _("Which answer"), list(range(1, answers + 1)), last=True) - 1
    st.markdown(
        _(
            "How much would the prediction change if the input at time step t changed a little? What lies "
            "far below the largest value has been forgotten."
        )
    )
    back = answer - answers  # counted from the end, which is the same in sequences of all lengths
    now = [_sensitivity(one, back) for one in networks]
    before = [_sensitivity(replace(one, parameters=None), back) if one.step else None for one in networks]
    figure = share_figures.memory(
        [
            share_figures.Memory(one.name, one.color, decades(s.norm), None if b is None else decades(b.norm))
            for one, s, b in zip(networks, now, before, strict=True)
        ],
        _("norm of dy/dx_t"),
        _marks(networks),
        words(share_figures.TEXT),
    )
    st.plotly_chart(figure, key="memory", config=CONFIG, alt=_("Change of the prediction with each input"))
    for one, s, b in zip(networks, now, before, strict=True):
        st.markdown(one.lead + memory_words(s, b))


def _sensitivity(one: Shown, answer: int) -> Sensitivity:
    """Of fresh weights as well over the batch of the step that is looked at."""
    key = ("sensitivity", answer)
    made: Sensitivity = one.moment.once(key, partial(sensitivity, one.moment, answer))
    return made


def _marks(networks: Sequence[Shown]) -> list[int]:
    """Time steps, from 1, on which the answer depends, where they are the same in every sequence."""
    marks = networks[0].moment.batch.marks
    same = marks.shape[1] <= 3 and bool((marks == marks[:1]).all())
    return [int(mark) + 1 for mark in marks[0]] if same else []
