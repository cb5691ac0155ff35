"""Who may steer a run, and the buttons that do.

The browser that starts a run owns it: a random token in its local storage, handed over by the live component.
The store keeps only the token's hash, and every order is checked against it here, on the server.
"""

from __future__ import annotations

import secrets
from contextlib import suppress

import streamlit as st

from ..experiment import Experiment
from ..runs.store import ACTIVE, Run, Store, StoreFullError, new_id, owner_hash
from . import link
from .live import Heard
from .text import _

MAX_ACTIVE = 16  # runs that one browser may have under way
_OWNER, _FALLBACK, _NOTE, _STARTED = "owner", "fallback", "steering_note", "started"


def owner() -> str:
    """The hash of this browser's token; until the browser has told it, of one made up for the session."""
    if _OWNER not in st.session_state:
        st.session_state[_OWNER] = secrets.token_hex(16)
    return owner_hash(st.session_state[_OWNER]) or ""


def hear(store: Store, heard: Heard, drawn: Run | None, now: Run | None) -> None:
    """Take in what the browser told, the news of the run's state among it: the page follows.

    `drawn` is the run as the page shows it, `now` as it is. A run started before the token came is handed
    to the browser.
    """
    if heard.owner and heard.owner != st.session_state.get(_OWNER):
        before = owner() if _OWNER in st.session_state else None
        st.session_state[_OWNER] = heard.owner
        if before is not None:
            with suppress(StoreFullError):
                store.adopt(before, owner())
        st.rerun()
    if heard.unreachable is not None and heard.unreachable != fallback():
        st.session_state[_FALLBACK] = heard.unreachable
        st.rerun()
    if now is not None and drawn is not None and (now.id, now.state) != (drawn.id, drawn.state):
        st.rerun()  # buttons and verdict were drawn for another state


def fallback() -> bool:
    """Whether the stream cannot be reached from this browser."""
    return bool(st.session_state.get(_FALLBACK))


def owns(run: Run) -> bool:
    """Whether this browser steers the run."""
    return run.owner == owner()


def buttons(store: Store, experiment: Experiment, run: Run | None) -> None:
    """Train and Stop."""
    stoppable = run is not None and not run.ended and owns(run)
    st.button(_("Train"), type="primary", key="train", on_click=_train, args=(store, experiment))
    st.button(_("Stop"), key="stop", on_click=_stop, args=(store,), disabled=not stoppable)


def note(store: Store, experiment: Experiment, run: Run | None) -> None:
    """What there is to say about steering just now: one line or nothing."""
    told = st.session_state.pop(_NOTE, None)
    if told:
        st.warning(told)
    elif run is not None and not run.ended and not owns(run):
        st.caption(_("You are watching a run that somebody else started. Train starts your own."))
    elif run is not None and experiment.changed(changes=()) != run.experiment.changed(changes=()):
        st.caption(
            _("The settings at the side are no longer those of the run shown. Train starts a run with them.")
        )
    elif experiment.changes:
        listed = "; ".join(
            _("{field} {value} from step {step} on").format(field=c.field, value=c.value, step=c.step)
            for c in experiment.changes
        )
        st.caption(_("This link changes settings in mid-run: {listed}.").format(listed=listed))
    elif run is None and not store.heard("engine", 5.0):
        st.caption(_("The engine is starting; you can press Train already."))


def _train(store: Store, experiment: Experiment) -> None:
    """Start a run in place of those that this session started before.

    A further click may interrupt this anywhere between two lines, so the id stands in the session before the
    run stands in the store: whatever happens, the next click knows what to stop.
    """
    shown = link.run_id()
    before = [*st.session_state.get(_STARTED, ()), *([shown] if shown else [])]
    if len([run for run in store.runs(ACTIVE, owner=owner()) if run.id not in before]) >= MAX_ACTIVE:
        st.session_state[_NOTE] = _("You have {n} runs under way; wait for one to end or stop one.").format(
            n=MAX_ACTIVE
        )
        return
    run = new_id()
    st.session_state[_STARTED] = [*before, run]
    try:
        store.create(experiment, owner(), run, replaces=before)
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)
        return
    link.show(run)
    st.session_state[_STARTED] = [run]


def _stop(store: Store) -> None:
    run = link.run(store)
    if run is None or not owns(run):
        st.session_state[_NOTE] = _("Only the browser that started a run can stop it.")
        return
    try:
        store.command(run.id, "stop")
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)
