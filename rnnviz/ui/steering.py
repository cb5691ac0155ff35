"""Who may steer the runs on show, and the controls that do.

The browser that starts a run owns it: a random token in its local storage, handed over by the live component.
The store keeps only the token's hash, and every order is checked against it here, on the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import streamlit as st

from ..experiment import CHANGEABLE, Experiment, knob
from ..runs.store import ACTIVE, New, Run, Store, StoreFullError, new_id, owner_hash
from ..twins import LETTERS
from . import link
from .knobs import widget
from .live import Heard
from .text import _, plain

MAX_ACTIVE = 24  # runs that one browser may have under way: four twins with five seeds each, and a few
REPEATS = 4  # more seeds, so five in all
BEFORE_THE_END = 10  # steps before an explosion at which a run that shows it pauses
#: Steps a second with their labels; "full" is as fast as it goes.
SPEEDS = {
    "full": "full speed", "50": "50 steps/s", "20": "20 steps/s", "10": "10 steps/s", "5": "5 steps/s",
    "2": "2 steps/s", "1": "1 step/s",
}  # fmt: skip
SLOW = "2"
#: Why a run whose first weights came from a file is not begun again.
NOT_DRAWN = "These weights came from a file: no seed draws them again, so nothing can begin from them anew."
_OWNER, _FALLBACK, _NOTE, _STARTED = "owner", "fallback", "steering_note", "started"
_SPEED, _SPEED_ROUND = "speed", "speed_round"  # what its widget begins with, and how often that was said


def owner() -> str:
    """The hash of this browser's token; until the browser has told it, of one made up for the session."""
    if _OWNER not in st.session_state:
        st.session_state[_OWNER] = secrets.token_hex(16)
    return owner_hash(st.session_state[_OWNER]) or ""


def known() -> bool:
    """Whether this session has an owner already."""
    return _OWNER in st.session_state


def hear(store: Store, heard: Heard, drawn: Sequence[Run], now: Sequence[Run]) -> None:
    """Take in what the browser told, the news of the runs' states among it: the page follows.

    `drawn` are the runs as the page shows them, `now` as they are. Runs started before the token came are
    handed to the browser.
    """
    if heard.owner and heard.owner != st.session_state.get(_OWNER):
        before = owner() if known() else None
        st.session_state[_OWNER] = heard.owner
        if before is not None:
            with suppress(StoreFullError):
                store.adopt(before, owner())
        st.rerun()
    if heard.unreachable is not None and heard.unreachable != fallback():
        st.session_state[_FALLBACK] = heard.unreachable
        st.rerun()
    if _phases(drawn) != _phases(now):
        st.rerun()  # the controls were drawn for other states


def _phases(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What the controls depend on: a run that waits for its turn has those of one that moves."""
    return [(run.id, "running" if run.state in ACTIVE else run.state) for run in runs]


def fallback() -> bool:
    """Whether the stream cannot be reached from this browser."""
    return bool(st.session_state.get(_FALLBACK))


def owns(run: Run) -> bool:
    """Whether this browser steers the run."""
    return run.owner == owner()


def controls(store: Store, runs: Sequence[Run]) -> None:
    """Train, pause, single step, stop, rewind, speed, and what is behind "More"."""
    mine = [run for run in runs if owns(run)]
    moving = [run for run in mine if run.state in ACTIVE]
    paused = [run for run in mine if run.state == "paused"]
    # A lesson has a button of its own for what is to be done next.
    look = "primary" if link.view().lesson is None else "secondary"
    _button(_("Train"), "train", None, _train, store, type=look)
    if not runs:
        return  # a first page with one thing to do
    if paused and not moving:
        _button(_("Play"), "play", _("Go on from here."), _play, store, icon=":material/play_arrow:")
    else:
        still = _("Hold still; nothing is lost.")
        _button(
            _("Pause"), "pause", still, _order, store, "pause", icon=":material/pause:", disabled=not moving
        )
    once = _("Make a single update, then pause again.")
    idle = not paused or bool(moving)
    _button(_("Step"), "step", once, _step, store, icon=":material/skip_next:", disabled=idle)
    end, ended = _("End here and keep what was recorded."), not (moving or paused)
    _button(_("Stop"), "stop", end, _order, store, "stop", icon=":material/stop:", disabled=ended)
    back = _("Back to the same first weights and the same data, paused before the first step.")
    foreign = any(run.weights for run in mine)
    _button(
        _("Rewind"), "rewind", _(NOT_DRAWN) if foreign else back, _rewind, store, icon=":material/replay:",
        disabled=not mine or foreign,
    )  # fmt: skip
    st.selectbox(
        _("Speed"), list(SPEEDS), list(SPEEDS).index(_speed()), key=_speed_key(),
        format_func=lambda speed: _(SPEEDS[speed]), width=150, label_visibility="collapsed",
        on_change=_guarded, args=(_set_speed, store), help=_("Slower shows every single step."),
    )  # fmt: skip
    _more(store, runs, mine)
    _mid_run(store, [*moving, *paused])


def _button(
    label: str, key: str, help_text: str | None, act: Callable[..., None], store: Store, *args: Any,
    **look: Any,
) -> None:  # fmt: skip
    st.button(label, key=key, help=help_text, on_click=_guarded, args=(act, store, *args), **look)


def _more(store: Store, runs: Sequence[Run], mine: Sequence[Run]) -> None:
    with st.popover(_("More")):
        foreign = any(run.weights for run in runs)
        other = _("Train again with other first weights and another order of the data.")
        _button(
            _("New seed"), "new_seed", _(NOT_DRAWN) if foreign else other, _new_seed, store, disabled=foreign,
            width="stretch",
        )  # fmt: skip
        label = _("Repeat with {n} more seeds").format(n=REPEATS)
        why = _("One lucky seed is not evidence: the spread over all seeds is drawn as a band.")
        done = not mine or any(run.repeats for run in mine) or bool(store.repeating([run.id for run in mine]))
        _button(
            label, "repeat", _(NOT_DRAWN) if foreign else why, _repeat, store, disabled=done or foreign,
            width="stretch",
        )  # fmt: skip
        if any(run.state == "diverged" for run in runs):
            how = _("Train again up to {n} steps before the end, pause there, and go on step by step.")
            how = how.format(n=BEFORE_THE_END)
            _button(
                _("Watch it explode"), "explode", _(NOT_DRAWN) if foreign else how, _explode, store,
                disabled=foreign, width="stretch",
            )  # fmt: skip


def _mid_run(store: Store, runs: Sequence[Run]) -> None:
    """What may change while it trains: the fields that a run records its changes of."""
    if not runs:
        return
    with st.popover(_("Change now"), help=_("Settings that may change while it trains.")):
        chosen = [run.id for run in runs]
        if len(runs) > 1:
            shown = link.view().runs
            letters = {run.id: LETTERS[shown.index(run.id)] for run in runs if run.id in shown}
            chosen = (
                st.pills(
                    _("Of"), list(letters), selection_mode="multi", default=list(letters), key="change_of",
                    format_func=lambda run: letters[run],
                )
                or []
            )  # fmt: skip
        now = {name: runs[0].experiment.at(runs[0].step)[name] for name in CHANGEABLE}
        for name in CHANGEABLE:
            widget(name, now[name], _change_key(runs[0].id, name))
        told = _("Every change is marked in the figures and recorded with the run.")
        label = _("Apply from the next step on")
        _button(
            label, "apply", None, _apply, store, tuple(chosen), runs[0].id, now, disabled=not chosen,
            width="stretch",
        )  # fmt: skip
        st.caption(told)


def note(store: Store, runs: Sequence[Run]) -> None:
    """What there is to say about steering just now: one line or nothing."""
    told = st.session_state.pop(_NOTE, None)
    strangers = [run for run in runs if not run.ended and not owns(run)]
    first = link.experiment()
    if told:
        st.warning(told)
    elif any(run.weights for run in runs):
        st.caption(
            _(
                "Weights from a file are only looked at. Train starts a new run with these settings, whose "
                "first weights its seed draws."
            )
        )
    elif strangers:
        st.caption(_("You are watching a run that somebody else started. Train starts your own."))
    elif runs and all(run.state == "paused" and owns(run) for run in runs):
        st.caption(_("Paused: Step makes one update, Play goes on."))
    elif runs and not _same(link.twins(), [run.experiment for run in runs]):
        st.caption(_("The settings are no longer those of the runs shown. Train starts runs with them."))
    elif first.changes:
        listed = "; ".join(
            _("{field} {value} from step {step} on").format(
                field=_(knob(c.field).label).lower(), value=c.value, step=c.step
            )
            for c in first.changes
        )
        st.caption(_("This link changes settings in mid-run: {listed}.").format(listed=listed))
    elif not runs and not store.heard("engine", 5.0):
        st.caption(_("The engine is starting; you can press Train already."))


def _same(one: Sequence[Experiment], other: Sequence[Experiment]) -> bool:
    bare = [[e.changed(changes=()) for e in experiments] for experiments in (one, other)]
    return bare[0] == bare[1]


# What the controls do ---------------------------------------------------------------------------------


def _guarded(act: Callable[..., None], store: Store, *args: Any) -> None:
    """Carry out an order; a full disk is told in a sentence."""
    try:
        act(store, *args)
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)


def _train(store: Store) -> None:
    start(store, link.twins())


def start(
    store: Store, experiments: Sequence[Experiment], command: str = "go", pause_at: Sequence[int | None] = (),
    pace: float | Literal["chosen"] | None = "chosen",
) -> None:  # fmt: skip
    """Start runs in place of those that this session started before.

    A further click may interrupt this anywhere between two lines, so the ids are on show before the runs are
    in the store, which takes all of them or none: whatever happens, the next click knows what to stop.
    """
    before = [*st.session_state.get(_STARTED, ()), *link.view().runs]
    if not _room(store, len(experiments), before):
        return
    ids = tuple(new_id() for _experiment in experiments)
    st.session_state[_STARTED] = [*before, *ids]
    speed = _pace() if pace == "chosen" else pace
    stops = pause_at or [None] * len(ids)
    new = [New(e, run, stop) for e, run, stop in zip(experiments, ids, stops, strict=True)]
    shown = link.view().runs
    link.change(runs=ids)
    try:
        store.create_all(new, owner(), before, command=command, pace=speed)
    except StoreFullError:
        link.change(runs=shown)
        raise
    st.session_state[_STARTED] = list(ids)


def _room(store: Store, more: int, replaced: Sequence[str] = ()) -> bool:
    """Whether this browser may have so many more runs under way; says so when it may not.

    Paused runs do not count. Those that are `replaced` do not either, nor do their repeats.
    """
    active = store.runs(ACTIVE, owner=owner())
    busy = sum(run.id not in replaced and run.repeats not in replaced for run in active)
    if busy + more > MAX_ACTIVE:
        told = _("You have {n} runs under way, and {most} are the most; wait for one to end or stop one.")
        st.session_state[_NOTE] = told.format(n=busy, most=MAX_ACTIVE)
        return False
    return True


def _speed_key() -> str:
    """Of the widget for the speed: another one each time that something else than it sets the speed."""
    return f"speed_{st.session_state.get(_SPEED_ROUND, 0)}"


def _speed() -> str:
    chosen: str = st.session_state.get(_speed_key(), st.session_state.get(_SPEED, "full"))
    return chosen


def _pace() -> float | None:
    """The chosen speed in steps a second."""
    chosen = _speed()
    return None if chosen == "full" else float(chosen)


def _order(store: Store, command: str) -> None:
    for run in _mine(store):
        store.command(run.id, command)


def _play(store: Store) -> None:
    paused = [run for run in _mine(store) if run.state == "paused"]
    if not _room(store, len(paused) + len(store.repeating([run.id for run in paused]))):
        return
    for run in paused:
        store.set_pace(run.id, _pace())
        store.command(run.id, "go")


def _step(store: Store) -> None:
    for run in _mine(store):
        store.step_on(run.id)


def _set_speed(store: Store) -> None:
    for run in link.runs(store):
        if owns(run) and not run.ended:
            store.set_pace(run.id, _pace())


def _rewind(store: Store) -> None:
    mine = _mine(store)
    if mine and _drawn(mine):
        start(store, [run.experiment.changed(changes=()) for run in mine], command="pause")


def _new_seed(store: Store) -> None:
    if not _drawn(link.runs(store)):
        return
    twins = tuple(twin.changed(seed=(twin.seed + 1) % 2**32) for twin in link.twins())
    link.change(twins=twins)
    link.forget_knobs()
    start(store, twins)


def _repeat(store: Store) -> None:
    alone = [run for run in _mine(store) if run.repeats is None and not store.repeating([run.id])]
    if not _drawn(alone) or not _room(store, len(alone) * REPEATS):
        return
    new = [
        New(run.experiment.changed(seed=(run.experiment.seed + k) % 2**32), new_id(), repeats=run.id)
        for run in alone
        for k in range(1, REPEATS + 1)
    ]
    store.create_all(new, owner())


def _explode(store: Store) -> None:
    """The same runs again, deterministic as they are; those that exploded pause shortly before."""
    runs = link.runs(store)
    if not _drawn(runs):
        return
    stops = [max(0, run.step - BEFORE_THE_END) if run.state == "diverged" else None for run in runs]
    # For Play; up to the pause it goes as fast as it can.
    st.session_state[_SPEED] = SLOW
    st.session_state[_SPEED_ROUND] = st.session_state.get(_SPEED_ROUND, 0) + 1
    start(store, [run.experiment for run in runs], pause_at=stops, pace=None)


def _drawn(runs: Sequence[Run]) -> bool:
    """Whether the seeds of all these runs draw their first weights; a word when that is not so."""
    if any(run.weights for run in runs):
        st.session_state[_NOTE] = _(NOT_DRAWN)
        return False
    return True


def _change_key(run: str, name: str) -> str:
    """Of the widget that changes a setting of this run and its twins: no other runs are meant by it."""
    return f"change_{name}_{run}"


def _apply(store: Store, chosen: Sequence[str], first: str, began: Mapping[str, Any]) -> None:
    """`began`: what the widgets said before anybody turned them. What was left alone stays as it is, in each
    of the twins, which may differ in it."""
    turned = {name: st.session_state.get(_change_key(first, name), value) for name, value in began.items()}
    for run in _mine(store):
        if run.id not in chosen:
            continue
        now = run.experiment.at(run.step)
        for name, value in turned.items():
            if value != began[name] and value != now[name]:
                problem = store.change(run.id, name, value)
                if problem is not None:
                    st.session_state[_NOTE] = plain(str(problem))


def _mine(store: Store) -> list[Run]:
    """The runs on show that this browser steers; a word when there are none."""
    mine = [run for run in link.runs(store) if owns(run)]
    if not mine:
        st.session_state[_NOTE] = _("Only the browser that started a run can steer it.")
    return mine
