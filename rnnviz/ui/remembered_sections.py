"""Sections of the page on gates: what a state still knows, and what the network does without a unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ..analysis.dynamics import Place
from ..analysis.held import Hold, held_forward, without_each
from ..analysis.probe import Probe, correlations, probes
from ..analysis.readings import Reading, first_of, read
from ..cells import CELLS
from ..experiment import Experiment
from ..numbers import of
from ..plots import gates as figures
from ..plots.theme import CONFIG
from ..runs.store import Store
from ..tasks import TASKS
from .gates_settings import SETTINGS
from .gates_words import gates_of, told
from .networks import Shown
from .text import _, percent, words

UNITS_SHOWN = 12  # rows of the figure of correlations
EVENTS_SHOWN = 14
ABLATION_WORK = 4e9  # multiply-adds of all passes without a unit: about a second
MOST_WORK = 4e10  # about ten seconds
MOST_SEQUENCES = 32
MARK_COLORS = ("#c2569c", "#3d7bd9", "#2f9e6e", "#d08a1d")

# What is remembered -------------------------------------------------------------------------------------


def probe_section(store: Store, networks: Sequence[Shown], reads: Sequence[Reading], place: Place) -> None:
    """Linear probes over time, and which units follow what."""
    if any("c" in CELLS[one.experiment.cell].states for one in networks):
        SETTINGS.switch("state", _("Read it off"))
    st.markdown(
        _(
            "Can what was read be told from the state alone? A linear probe, one weighted sum of all units, "
            "is fitted on 512 fresh sequences and scored on 256 others. What it finds is there; "
            "whether the network makes use of it, it does not say."
        )
    )
    groups: dict[tuple[bool, bool], list[tuple[Shown, int, Probe]]] = {}
    for k, one in enumerate(networks):
        state = SETTINGS["state"] if SETTINGS["state"] in CELLS[one.experiment.cell].states else "h"
        with st.spinner(_("Fitting probes")):
            found = probes(one.moment, place, state)
        for probe in found:
            groups.setdefault((probe.target == "lag", probe.symbol), []).append((one, k, probe))
    for (lag, symbol), members in groups.items():
        known = [
            figures.Known(
                " · ".join(part for part in (one.letter, _target(probe, lag)) if part),
                probe.at, probe.score, probe.chance,
                one.color if lag else MARK_COLORS[_mark_number(probe)], probe.mark, k,
            )
            for one, k, probe in members
        ]  # fmt: skip
        figure = figures.probe_figure(known, lag, symbol, words(figures.TEXT))
        key = f"probe_{lag}_{symbol}"
        st.plotly_chart(figure, key=key, config=CONFIG, alt=_("What can be read off the state over time"))
        for one, _k, probe in members:
            st.markdown(one.lead + _probe_words(probe, lag, bool(place.direction)))
    st.markdown(_("**What units follow**: correlation with what happens, in held-out sequences"))
    for one in networks:
        _correlations(one, place)


def _mark_number(probe: Probe) -> int:
    return (int(probe.target.removeprefix("mark ")) - 1) % len(MARK_COLORS)


def _target(probe: Probe, lag: bool) -> str:
    if lag:
        return _("the input so many steps ago")
    return _("marked input {k}").format(k=probe.target.removeprefix("mark "))


def _probe_words(probe: Probe, lag: bool, backward: bool) -> str:
    finite = np.isfinite(probe.score)
    if not finite.any():
        return _("**{what}:** some states are no numbers, so nothing can be read off.").format(
            what=_target(probe, lag).capitalize()
        )
    if lag:
        bad = np.flatnonzero(~(probe.score > probe.chance + 0.5 * (1 - probe.chance)))
        reach = int(bad[0]) if len(bad) else len(probe.score)
        if not reach:
            return _("Not even the newest input is told more than halfway from chance to certainty.")
        told_ = _("More than halfway from chance to certainty: the newest {n} inputs.")
        return told_.format(n=reach)
    last, best = float(probe.score[0 if backward else -1]), int(np.nanargmax(probe.score))

    def score(v: float) -> str:
        return percent(v) if probe.symbol else f"R² = {of(v)}"

    told_ = _("**{what}:** best told at t = {t}, {best}; after all is read {last}{verdict}.")
    halfway = probe.chance + 0.5 * (1 - probe.chance)
    verdict = _(", still there") if last > halfway else _(", lost by then")
    if float(probe.score[best]) <= halfway:
        verdict = _(": it is hardly told at any step")
    return told_.format(
        what=_target(probe, lag).capitalize(), t=int(probe.at[best]), best=score(float(probe.score[best])),
        last=score(last), verdict=verdict,
    )  # fmt: skip


def _correlations(one: Shown, place: Place) -> None:
    """Which units follow what happens."""
    reading = read(one.moment, "held_out")
    state = SETTINGS["state"] if SETTINGS["state"] in CELLS[one.experiment.cell].states else "h"
    steps = reading.steps(place) - 1
    marks = reading.batch.marks - int(steps[0])
    found, events = correlations(
        reading.values(place, state), reading.batch.inputs[steps], np.where(marks < 0, len(steps), marks),
        bool(place.direction),
    )  # fmt: skip
    names = [_event(one, event) for event in events]
    strength = np.abs(np.nan_to_num(found))
    rows = np.argsort(-strength.max(1), kind="stable")[:UNITS_SHOWN]
    columns = np.sort(np.argsort(-strength[rows].max(0), kind="stable")[:EVENTS_SHOWN])
    figure = figures.correlation_figure(
        found[np.ix_(rows, columns)], [names[k] for k in columns], [int(r) + 1 for r in rows],
        words(figures.TEXT),
    )  # fmt: skip
    st.plotly_chart(
        figure, key=f"correlations_{one.letter}", config=CONFIG, alt=_("Correlation of units with events")
    )
    if not strength.any():
        st.markdown(one.lead + _("No unit varies with anything that happens."))
        return
    best = rows[0]
    event = int(strength[best].argmax())
    told_ = _(
        "{lead}Unit {unit} of {state} follows {event} most closely, with a correlation of {r}. Shown are the "
        "{n} units that follow anything most closely."
    )
    st.markdown(
        told_.format(
            lead=one.lead, unit=int(best) + 1, state=state, event=names[event],
            r=of(float(found[best, event])), n=len(rows),
        )
    )  # fmt: skip


def _event(one: Shown, event: str | int) -> str:
    if isinstance(event, int):
        return str(_(TASKS[one.experiment.task].channels()[event]))
    return {"marked": _("a marked step"), "since": _("a mark has been read"), "time": _("time t")}[event]


# Take something away ------------------------------------------------------------------------------------


def without_section(store: Store, networks: Sequence[Shown], reads: Sequence[Reading], place: Place) -> None:
    """The loss without each unit, and with a gate held open or shut."""
    one = networks[0]
    e, flat = one.experiment, one.moment.network.flat
    batch = first_of(read(one.moment, "held_out").batch, _sequences(one), e.task)
    B = batch.inputs.shape[1]
    free = held_forward(e, flat, batch)
    st.markdown(
        _(
            "What does the network need? First a gate is held, whatever it would do; then each unit is taken "
            "away in turn: its h is 0 at every step. The loss is over {B} held-out sequences; with nothing "
            "held it is {loss}."
        ).format(B=B, loss=of(free.loss))
    )
    _held_gate(one, batch, free.loss, place)
    if _work(e) > MOST_WORK:
        st.info(_("Taking away each unit of so large a network would take minutes, so it is left out."))
        return
    with st.spinner(_("Taking units away")):
        losses = one.moment.once(("without", place, B), lambda: without_each(e, flat, batch, *place[:3]))
    order = np.argsort(-np.nan_to_num(losses, nan=np.inf), kind="stable")
    figure = figures.without_figure(order + 1, losses[order], free.loss, one.color, words(figures.TEXT))
    st.plotly_chart(figure, key="without", config=CONFIG, alt=_("The loss without each unit"))
    if not np.isfinite(free.loss):
        st.markdown(_("The loss is no number already, so there is nothing to compare with."))
        return
    worst = int(order[0])
    more = losses > 1.1 * free.loss
    told_ = _(
        "Without unit {unit} the loss is {loss}, {factor} times as much; {n} of {H} units cost "
        "more than 10 % each."
    )
    factor = of(float(losses[worst] / free.loss)) if free.loss > 0 else "∞"
    st.markdown(
        told_.format(
            unit=worst + 1, loss=of(float(losses[worst])), factor=factor, n=int(more.sum()), H=e.hidden
        )
    )
    st.caption(
        _(
            "Units are bars, the one that is missed most first. One at a time: two that can replace each "
            "other are not missed."
        )
    )


def _work(e: Experiment) -> int:
    """Multiply-adds of a pass without each unit, over one sequence."""
    return e.hidden * e.steps_per_sequence() * e.layers * e.directions * 4 * e.hidden**2


def _sequences(one: Shown) -> int:
    """How many sequences the passes without a unit have time for."""
    return int(max(1, min(MOST_SEQUENCES, ABLATION_WORK // _work(one.experiment))))


def _held_gate(one: Shown, batch: object, base: float, place: Place) -> None:
    cell = CELLS[one.experiment.cell]
    gates = gates_of(cell.name)
    if not gates:
        st.caption(_("{cell} has no gates to hold.").format(cell=cell.label))
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        gate = SETTINGS.switch("gate", _("Gate"), gates)
        held = SETTINGS.switch("held", _("Hold it"))
        whose = SETTINGS.switch("whose", _("Of"))
        if whose == "one":
            with st.container(width=140):
                SETTINGS.number("unit", _("Unit"), most=one.experiment.hidden)
    unit = min(int(SETTINGS["unit"]), one.experiment.hidden) - 1 if whose == "one" else None
    value = {"shut": 0.0, "open": 1.0, "half": 0.5}[held]
    hold = Hold(gate, value, unit, place.layer, place.direction, place.part)
    found = held_forward(one.experiment, one.moment.network.flat, batch, [hold])  # type: ignore[arg-type]
    title, note = told(cell, gate)
    of_whom = _("of every unit") if unit is None else _("of unit {n}").format(n=unit + 1)
    sentence = _("**{title} {whose} held at {value:g}** ({note}): the loss goes from {base} to **{loss}**.")
    st.markdown(
        sentence.format(
            title=title, whose=of_whom, value=value, note=note, base=of(base), loss=of(found.loss)
        )
    )
