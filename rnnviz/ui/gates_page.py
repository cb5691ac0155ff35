"""What the page on gates does in each run of its script: which network, step and sequence; then a section."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from ..analysis import readings
from ..analysis.dynamics import Place
from ..analysis.readings import Reading
from ..runs.store import Run, Store
from ..tasks import TASKS
from . import link, networks
from .gates_sections import memory_section, saturation_section, time_section
from .gates_settings import MOST_TYPED, ORDERS, SECTIONS, SETTINGS, SOURCES
from .networks import Shown
from .remembered_sections import probe_section, without_section
from .text import _, plain
from .text_section import names_the_next, text_section

RUN_SECONDS, PLAY_SECONDS = 2.0, 0.4
_PLAYING = "gates_playing"

Section = Callable[[Store, Sequence[Shown], Sequence[Reading], Place], None]
DRAW: dict[str, Section] = {
    "time": time_section,
    "saturation": saturation_section,
    "memory": memory_section,
    "probe": probe_section,
    "without": without_section,
    "text": text_section,
}


def refresh(runs: Sequence[Run]) -> float | None:
    """How often the page looks for news, in seconds; None where nothing is under way."""
    if st.session_state.get(_PLAYING):
        return PLAY_SECONDS
    return RUN_SECONDS if SETTINGS["at"] < 0 and any(not run.ended for run in runs) else None


def answers(store: Store, kind: str) -> None:
    """The controls over the figures, and the section that is on show."""
    runs = link.runs(store) if kind == "runs" else []
    if kind == "runs" and len(runs) < len(link.view().runs):
        st.rerun()  # one was deleted meanwhile
    experiments = [run.experiment for run in runs] or link.twins()
    texts = any(map(names_the_next, experiments))
    SETTINGS.switch(
        "show", _("Question"), [name for name in SECTIONS if name != "text" or texts],
        label_visibility="collapsed",
    )  # fmt: skip
    steps = networks.checkpoints(store, runs)
    shown, place = _controls(store, runs, steps)
    if not shown:
        st.caption(_("Waiting for the first training step."))
        return
    reads = []
    for one in shown:
        found = _reading(one)
        if isinstance(found, str):
            st.warning(one.lead + plain(found))
            st.session_state[_PLAYING] = False
            link.write(SETTINGS)
            return
        reads.append(found)
    DRAW[SETTINGS["show"]](store, shown, reads, place)
    link.write(SETTINGS)
    _play(steps)


def _controls(store: Store, runs: Sequence[Run], steps: Sequence[int]) -> tuple[list[Shown], Place]:
    """Training step, network, layer, direction, part; and what is read."""
    section = SETTINGS["show"]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        step = steps[-1] if steps else None
        if len(steps) > 1:
            with st.container(width=320):
                step = networks.checkpoint(SETTINGS, steps)
            if section == "memory":
                st.session_state[_PLAYING] = False
            else:
                _play_button(steps)
        shown = networks.at_checkpoint(store, runs, step) if runs else networks.fresh()
        if not shown:
            return [], Place()
        if section == "text":
            shown = [one for one in shown if names_the_next(one.experiment)] or shown
        if section in ("time", "without", "text") and len(shown) > 1:
            letter = SETTINGS.switch("of", _("Network"), [one.letter for one in shown])
            shown = [one for one in shown if one.letter == letter]
        e = shown[0].experiment
        layers = min(one.experiment.layers for one in shown)
        layer = direction = part = 0
        if layers > 1:
            names = [str(k + 1) for k in range(layers)]
            with st.container(width=160):
                layer = SETTINGS.among("layer", _("Layer"), [int(name) for name in names]) - 1
        if all(one.experiment.directions > 1 for one in shown):
            direction = int(SETTINGS.switch("way", _("Direction")) == "backward")
        if e.architecture != "one" and all(one.experiment.architecture != "one" for one in shown):
            part = int(SETTINGS.switch("part", _("Part")) == "decoder")
    if section in ("time", "saturation", "text"):
        _source_controls(shown, section)
    return shown, Place(layer, direction, part)


def _source_controls(shown: Sequence[Shown], section: str) -> None:
    """Which sequences are read, and which of them is looked at."""
    tasks = {one.experiment.task for one in shown}
    may_type = section in ("time", "text") and len(tasks) == 1
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        over = SETTINGS.select(
            "over", _("Read"), [name for name in SOURCES if name != "typed" or may_type], width=210
        )
        if section not in ("time", "text"):
            return
        if over == "typed":
            with st.container(width="stretch"):
                SETTINGS.text("typed", _("Your sequence"), help=_typing_help(shown[0].experiment.task))
            if section == "time":
                SETTINGS.select("order", _("Units from top to bottom"), list(ORDERS), width=210)
            return
        B = min(_count(one, over) for one in shown)
        if section == "time" and B > 1:
            SETTINGS.switch("mean", _("Show"))
        if B > 1 and (section == "text" or SETTINGS["mean"] == "one"):
            with st.container(width=170):
                SETTINGS.among("sequence", _("Sequence"), list(range(1, B + 1)))
        if section == "time":
            SETTINGS.select("order", _("Units from top to bottom"), list(ORDERS), width=210)


def _count(one: Shown, over: str) -> int:
    return one.experiment.batch if over == "step" else readings.held_out_count(one.experiment)


def _typing_help(task: str) -> str:
    if readings.symbolic(task):
        names = TASKS[task].channels()
        told = _("Symbols of this task: {names}.").format(names=", ".join(names))
        return told if all(len(n) == 1 or n == "space" for n in names) else told + " " + _("Between spaces.")
    return _("Time steps between spaces, the {n} channels of each between commas: {names}.").format(
        n=len(TASKS[task].channels()), names=", ".join(TASKS[task].channels())
    )


def _reading(one: Shown) -> Reading | str:
    """What the network reads, or why it cannot."""
    moment, over = one.moment, SETTINGS["over"]
    if over != "typed" or SETTINGS["show"] not in ("time", "text"):
        return readings.read(moment, over if over in readings.OVER else "held_out")
    text = SETTINGS["typed"]
    task = one.experiment.task
    if not text:
        batch = readings.read(moment, "held_out").batch
        SETTINGS.set(typed=readings.as_text(task, batch.inputs[:, 0], MOST_TYPED))
        st.rerun()
    try:
        return readings.read_typed(moment, readings.typed(task, text))
    except ValueError as error:
        return str(error)


def _play_button(steps: Sequence[int]) -> None:
    playing = st.session_state.get(_PLAYING, False)
    st.button(
        _("Stop") if playing else _("Play"), key="gates_play", on_click=_toggle, args=(steps,),
        icon=":material/stop:" if playing else ":material/play_arrow:",
        help=_("From checkpoint to checkpoint, as training went on."),
    )  # fmt: skip


def _toggle(steps: Sequence[int]) -> None:
    playing = not st.session_state.get(_PLAYING, False)
    st.session_state[_PLAYING] = playing
    if playing and SETTINGS["at"] in (-1, steps[-1]):
        SETTINGS.set(at=steps[0])


def _play(steps: Sequence[int]) -> None:
    if not st.session_state.get(_PLAYING):
        return
    later = [step for step in steps if step > SETTINGS["at"]] if SETTINGS["at"] >= 0 else []
    if later:
        SETTINGS.set(at=later[0])
    if len(later) <= 1:
        st.session_state[_PLAYING] = False
