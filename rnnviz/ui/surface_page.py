"""What the page on loss surfaces does in each run of its script: controls, query, figures."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..runs.store import Run, Store
from . import link, networks, surface_jobs
from .film_section import film_under_way
from .networks import Shown
from .sharpness_section import sharpness_section, sharpness_under_way
from .surface_exports import exports
from .surface_sections import PlaneError, controls, draw, view
from .surface_settings import ABOUT, SETTINGS, planes_for
from .text import _

BUSY_SECONDS, RUN_SECONDS, PLAY_SECONDS = 0.3, 1.0, 0.5
_BUSY, _PLAYING = "surface_busy", "surface_playing"


def refresh(runs: Sequence[Run]) -> float | None:
    """How often the page looks for news, in seconds; None where nothing is under way."""
    if st.session_state.get(_PLAYING) or (SETTINGS["show"] == "surface" and film_under_way()):
        return PLAY_SECONDS
    if st.session_state.get(_BUSY):
        return BUSY_SECONDS
    return RUN_SECONDS if SETTINGS["at"] < 0 and any(not run.ended for run in runs) else None


def answers(store: Store, kind: str) -> None:
    """The controls over the figures, and the figures."""
    runs = link.runs(store) if kind == "runs" else []
    if kind == "runs" and len(runs) < len(link.view().runs):
        st.rerun()  # one was deleted meanwhile
    steps = networks.checkpoints(store, runs)
    SETTINGS.switch("show", _("Question"), label_visibility="collapsed")
    shown = _controls(store, runs, steps)
    if not shown:
        st.caption(_("Waiting for the first training step."))
        _busy(False)
        return
    if SETTINGS["show"] == "sharpness":
        st.session_state[_PLAYING] = False
        sharpness_section(store, shown, SETTINGS)
        surface_jobs.leave(store)
        link.write(SETTINGS)
        _busy(sharpness_under_way(store, shown))
        return
    controls(store, shown, SETTINGS)
    try:
        seen = view(store, shown, SETTINGS)
    except PlaneError as error:
        st.info(str(error).removeprefix("plane: ").capitalize())
        surface_jobs.leave(store)
        _busy(False)
        link.write(SETTINGS)
        return
    st.caption(_(ABOUT[seen.request["plane"]["kind"]]))
    new = not surface_jobs.asked(seen.request)
    trouble = surface_jobs.ask(store, seen.request)
    found = surface_jobs.first(store, seen.request, new)
    if found.dropped and not (trouble or surface_jobs.halted(seen.request)):
        surface_jobs.resume()  # somebody else, who looked at the same surface, has gone on to another
        trouble = surface_jobs.ask(store, seen.request)
        found = surface_jobs.surface(store, seen.request)
    with st.container(height=1, border=False) if found.whole else st.container():
        _progress(store, seen.request, found)
    if trouble or found.trouble:
        st.warning(trouble or found.trouble)
    draw(store, seen, found, SETTINGS)
    exports(store, seen, found, SETTINGS)
    link.write(SETTINGS)
    _play(steps, found.grid is not None)
    _busy(found.open and not found.whole)


def _controls(store: Store, runs: Sequence[Run], steps: Sequence[int]) -> list[Shown]:
    """The first row: step, plane and height; returns the networks at that step."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        step = None
        if len(steps) > 1:
            with st.container(width=300):
                step = networks.checkpoint(SETTINGS, steps)
            if SETTINGS["show"] == "surface":
                _play_button(steps)
        elif steps:
            step = steps[0]
        shown = networks.at_checkpoint(store, runs, step) if runs else networks.fresh()
        if not shown:
            return []
        if SETTINGS["show"] == "sharpness":
            return shown
        if len(shown) > 1:
            SETTINGS.switch("of", _("Surface of"), among=[one.letter for one in shown])
        among = planes_for(shown, steps)
        SETTINGS.select("plane", _("Plane"), among=among, width=230)
        SETTINGS.switch("height", _("Height"))
    return shown


def _play_button(steps: Sequence[int]) -> None:
    playing = st.session_state.get(_PLAYING, False)
    st.button(
        _("Stop") if playing else _("Play"), key="surface_play", on_click=_toggle, args=(steps,),
        icon=":material/stop:" if playing else ":material/play_arrow:",
        help=_("From checkpoint to checkpoint: the surface and the path as training went on."),
    )  # fmt: skip


def _progress(store: Store, request: surface_jobs.Request, found: surface_jobs.Progress) -> None:
    """How far the surface is, and a way to stop it."""
    if found.whole:
        return
    if surface_jobs.halted(request):
        st.button(_("Compute the rest"), key="surface_resume", on_click=surface_jobs.resume)
        return
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(found.share, _("Refining the surface"))
    stop.button(_("Cancel"), key="surface_cancel", on_click=surface_jobs.halt, args=(store, request))


def _toggle(steps: Sequence[int]) -> None:
    playing = not st.session_state.get(_PLAYING, False)
    st.session_state[_PLAYING] = playing
    if playing and SETTINGS["at"] in (-1, steps[-1]):
        SETTINGS.set(at=steps[0])


def _play(steps: Sequence[int], ready: bool) -> None:
    """On to the next checkpoint, once this one's surface is there."""
    if not st.session_state.get(_PLAYING) or not ready:
        return
    later = [step for step in steps if step > SETTINGS["at"]] if SETTINGS["at"] >= 0 else []
    if later:
        SETTINGS.set(at=later[0])
    if len(later) <= 1:
        st.session_state[_PLAYING] = False


def _busy(now: bool) -> None:
    st.session_state[_BUSY] = now
