"""The list of this browser's runs: small curves, words, search, names, delete with undo, side by side."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import streamlit as st
from safetensors.numpy import load

from ..cells import CELLS
from ..experiment import KNOBS, Experiment
from ..runs.store import MAX_AGE, NAME_LENGTH, UNDO_SECONDS, Run, Store, StoreFullError
from ..tasks import TASKS
from ..twins import MOST, said
from . import link, own_weights, steering
from .fragments import drawn_again
from .overviews import overview_of
from .sharing import FILE_NEWS, downloads, open_file, opened
from .summary import title
from .text import _, percent, plain

TRAIN = Path(__file__).parents[2] / "pages" / "train.py"
GRADIENTS = TRAIN.with_name("gradients.py")
AT_ONCE = 20  # runs drawn before somebody asks for more
REFRESH_SECONDS = 2.0  # while something is under way
#: Size of a small curve in CSS pixels, and the room that its line leaves at the edges.
WIDTH, HEIGHT, EDGE = 176, 48, 4
FLAT = 0.5  # decades of loss that a curve spans at least, so that noise on a flat one stays small

STATES = {
    "queued": "Waiting",
    "running": "Training, step {step:,} of {steps:,}",
    "paused": "Paused at step {step:,} of {steps:,}",
    "finished": "Finished after {step:,} steps",
    "stopped": "Stopped at step {step:,} of {steps:,}",
    "diverged": "Diverged at step {step:,}",
    "failed": "Failed at step {step:,}",
}
_PICK = "runs_pick_"
_SEARCH, _SHOWN, _GONE, _NOTE, _NAMING, _NAME = (
    "runs_search", "runs_shown", "runs_gone", "runs_note", "runs_naming", "runs_name",
)  # fmt: skip

#: Drawn as a picture, which does not know the page's theme: readable on light and dark.
_GREY = "#7b8794"
_STYLE = """<style>
[class*="st-key-runs_row_"] { border-top: 1px solid color-mix(in srgb, currentColor 14%, transparent);
  padding-top: 0.75rem; flex-wrap: nowrap; }
[class*="st-key-runs_row_"] [data-testid="stPageLink"] a { padding: 0; min-height: 0; }
[class*="st-key-runs_row_"] [data-testid="stPageLink"] p { font-weight: 600; white-space: normal;
  line-height: 1.4; }
[class*="st-key-runs_row_"] [data-testid="stPageLink"] a:hover p { text-decoration: underline; }
.rnnviz-run { line-height: 1.4; font-size: 0.9375rem; margin-top: 0.125rem; }
.rnnviz-run span { white-space: nowrap; }
.rnnviz-run small { display: block; margin-top: 0.125rem; font-size: 0.8125rem; opacity: 0.75;
  overflow-wrap: anywhere; }
:has(> .st-key-runs_bar) { position: sticky; top: 3.75rem; z-index: 10; background: BACKGROUND; }
.st-key-runs_bar { padding: 0.5rem 0; }
@media (max-width: 640px) {
  .st-key-runs_buttons { gap: 0.5rem; }
  .st-key-runs_bar button { padding: 0 0.5rem; }
  [class*="st-key-runs_row_"] { flex-wrap: wrap; gap: 0.75rem; }
  [class*="st-key-runs_row_"] > :has([data-testid="stPageLink"]) { flex: 1 1 14rem; }
  [class*="st-key-runs_row_"] > :has([class*="st-key-runs_curve_"]) { order: 1; margin-left: 1.75rem; }
}
</style>"""


@dataclass(frozen=True)
class Entry:
    """A line of the list: a run, and the runs that repeat it with other seeds."""

    run: Run
    repeats: tuple[Run, ...] = ()

    @property
    def under_way(self) -> bool:
        """Whether more is to come."""
        return any(not run.ended for run in (self.run, *self.repeats))


def run_list(store: Store) -> None:
    """Everything that this browser has trained; follows by itself while something is under way."""
    link.open_anew()
    light, dark = (st.get_option(f"theme.{theme}.backgroundColor") for theme in ("light", "dark"))
    st.html(_STYLE.replace("BACKGROUND", f"light-dark({light}, {dark})"))
    active = any(entry.under_way for entry in entries(store.runs(owner=steering.owner())))
    drawn_again(_list, store, active, every=REFRESH_SECONDS if active else None)


def entries(runs: Sequence[Run]) -> list[Entry]:
    """Runs as lines: repeats stand with the run that they repeat, or alone where that has no line."""
    there = {run.id for run in runs}
    first = {run.id for run in runs if run.repeats not in there}
    repeats: dict[str, list[Run]] = {}
    for run in runs:
        if run.repeats in first:
            repeats.setdefault(run.repeats, []).append(run)
    return [
        Entry(run, tuple(sorted(repeats.get(run.id, ()), key=lambda repeat: repeat.created)))
        for run in runs
        if run.repeats not in first
    ]


def matches(run: Run, words: str) -> bool:
    """Whether each of the words stands in what the list says of a run's name and settings."""
    told = " ".join([run.name or "", title(run.experiment), *_settings(run.experiment)]).casefold()
    return all(word in told for word in words.casefold().split())


def _list(store: Store, followed: bool) -> None:
    everything = store.runs(owner=steering.owner())
    if not everything and not st.session_state.get(_GONE):
        _empty()
        with st.container(horizontal=True):
            open_file(store)
            own_weights.own_weights(store)
        _told(store)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        searched = st.text_input(
            _("Search"), key=_SEARCH, placeholder=_("Search: a name, a cell, a task …"), on_change=_act,
            label_visibility="collapsed", width=360,
        )  # fmt: skip
        open_file(store)
        own_weights.own_weights(store)
    words = str(searched).strip()
    found = [entry for entry in entries(everything) if matches(entry.run, words)]
    shown = found[: st.session_state.get(_SHOWN, AT_ONCE)]
    st.caption(
        _(
            "The curves are the loss on held-out sequences, log scale, over the steps; dashed, what a "
            "network that ignores its input would reach. Runs are kept for at most {days} days, and less "
            "when the store is full."
        ).format(days=round(MAX_AGE / 86_400))
    )
    with st.container(key="runs_bar"):  # stays in sight, and so does the way back after deleting
        _bar(store, [entry.run for entry in shown])
        _told(store)
    if words and not found:
        st.markdown(_("None of your runs has “{words}” in its name or settings.").format(words=plain(words)))
    for entry in shown:
        _row(store, entry)
    if len(found) > len(shown):
        st.button(
            _("Show {n} more").format(n=min(AT_ONCE, len(found) - len(shown))),
            key="runs_more",
            on_click=_more,
        )
    if followed and not any(entry.under_way for entry in entries(everything)):
        st.rerun()  # nothing is left to follow


def _empty() -> None:
    st.markdown(
        _(
            "Nothing yet. Every run that you start in this browser is listed here, with its curve and what "
            "came of it, to be opened again, compared, named or deleted."
        )
    )
    st.page_link(TRAIN, label=_("Train a first network"))


# Buttons ------------------------------------------------------------------------------------------------


def _bar(store: Store, runs: Sequence[Run]) -> None:
    """What can be done with the runs that are ticked."""
    picked = [run for run in runs if st.session_state.get(_PICK + run.id)]
    with st.container(key="runs_buttons", horizontal=True, vertical_alignment="center"):
        compare = st.button(
            _("Compare"), key="runs_compare", disabled=not 2 <= len(picked) <= MOST, type="primary",
            help=_("Puts two to four runs side by side on the page Train."),
        )  # fmt: skip
        ids = [run.id for run in picked]
        st.button(
            _("Rename"), key="runs_rename", on_click=_name, args=tuple(picked[:1]), disabled=len(picked) != 1
        )
        st.button(_("Delete"), key="runs_delete", on_click=_discard, args=(store, ids), disabled=not ids)
        downloads(store, picked)
        if len(picked) > MOST:
            st.caption(_("At most {n} runs fit side by side.").format(n=MOST))
        elif not picked:
            st.caption(_("Tick runs to compare, rename, delete or download them."))
    if compare:
        _act()
        st.switch_page(TRAIN, query_params={"run": ids})


def _told(store: Store) -> None:
    """What the last action did, and the way back, until the next one."""
    opened()
    own_weights.taken_in(store)
    note = st.session_state.get(_NOTE)
    if note:
        st.warning(plain(note))
    gone = st.session_state.get(_GONE)
    if gone:
        with st.container(key="runs_undo", horizontal=True, vertical_alignment="center"):
            what = _("Deleted “{name}”.").format(name=gone[0][1]) if len(gone) == 1 else None
            st.markdown(plain(what or _("Deleted {n} runs.").format(n=len(gone))), width="content")
            st.button(_("Undo"), key="runs_back", on_click=_restore, args=(store, [run for run, _n in gone]))


def _act() -> None:
    """Whatever is done next, what was said about the last action goes."""
    for name in (_NOTE, _GONE, _NAMING, *FILE_NEWS, *own_weights.NEWS):
        st.session_state.pop(name, None)


def _more() -> None:
    st.session_state[_SHOWN] = st.session_state.get(_SHOWN, AT_ONCE) + AT_ONCE


def _name(run: Run) -> None:
    _act()
    st.session_state[_NAMING], st.session_state[_NAME] = run.id, run.name or ""


def _rename(store: Store, run: str) -> None:
    name = str(st.session_state.get(_NAME, ""))
    _act()
    if _mine(store, run) is None:
        st.session_state[_NOTE] = _("Only the browser that started a run can rename it.")
        return
    try:
        store.rename(run, name)
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)


def _discard(store: Store, runs: Sequence[str]) -> None:
    _act()
    gone = []
    try:
        for run in runs:
            row = _mine(store, run)
            if row is not None:
                store.discard(run)
                gone.append((run, row.name or title(row.experiment)))
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)
    for run, _title in gone:
        st.session_state[_PICK + run] = False
    if gone:
        st.session_state[_GONE] = gone
    elif not st.session_state.get(_NOTE):
        st.session_state[_NOTE] = _("Only the browser that started a run can delete it.")


def _restore(store: Store, runs: Sequence[str]) -> None:
    _act()
    try:
        back = [store.restore(run) for run in runs if _mine(store, run, discarded=True)]
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)
        return
    if len(back) < len(runs):
        st.session_state[_NOTE] = _(
            "Not everything could be brought back: what was deleted is gone for good after {n} minutes."
        ).format(n=round(UNDO_SECONDS / 60))


def _mine(store: Store, run: str, discarded: bool = False) -> Run | None:
    """The run, if this browser has started it."""
    row = store.run(run, discarded=discarded)
    return row if row is not None and row.owner == steering.owner() else None


# Lines --------------------------------------------------------------------------------------------------


def _row(store: Store, entry: Entry) -> None:
    run = entry.run
    heading = run.name or title(run.experiment)
    with st.container(key=f"runs_row_{run.id}", horizontal=True, gap="medium"):
        label = _("Choose “{name}”").format(name=plain(heading))
        st.checkbox(label, key=_PICK + run.id, label_visibility="collapsed", width="content")
        with st.container(key=f"runs_curve_{run.id}", width=WIDTH):
            st.html(small_curve(store, entry))
        with st.container(gap=None):
            if st.session_state.get(_NAMING) == run.id:
                _naming(store, run)
            else:
                # Train has nothing to show of weights that came from a file.
                page = GRADIENTS if run.weights else TRAIN
                st.page_link(page, label=plain(heading), query_params={"run": run.id})
            st.html(f'<div class="rnnviz-run">{escape(in_words(run))}<small>{_facts(entry)}</small></div>')


def _naming(store: Store, run: Run) -> None:
    with st.form(f"runs_naming_{run.id}", border=False), st.container(horizontal=True):
        st.text_input(
            _("Name"), key=_NAME, max_chars=NAME_LENGTH, placeholder=title(run.experiment),
            label_visibility="collapsed",
        )  # fmt: skip
        st.form_submit_button(_("Save"), key="runs_save", on_click=_rename, args=(store, run.id))
        st.form_submit_button(_("Cancel"), key="runs_cancel", on_click=_act)


def in_words(run: Run) -> str:
    """State, and how well it does: "Finished after 300 steps; solved at step 90. Validation loss 0.012"."""
    if run.weights:
        return own_weights.in_words(run)
    told = _(STATES[run.state]).format(step=run.step, steps=run.steps)
    if run.solved_at is not None:
        told += "; " + _("solved at step {step:,}").format(step=run.solved_at)
    if run.validation_loss is not None:
        told += ". " + _("Validation loss {loss:.3g}").format(loss=run.validation_loss)
        label = TASKS[run.experiment.task].accuracy_label
        if run.validation_accuracy is not None and label is not None:
            told += f", {_(label)}: {percent(run.validation_accuracy, 1)}"
    return told + "."


def _facts(entry: Entry) -> str:
    """What was trained and when, as HTML."""
    run = entry.run
    told = [title(run.experiment)] if run.name else []
    told += _settings(run.experiment)
    if run.experiment.changes:
        told.append(_("{n} changes in mid-run").format(n=len(run.experiment.changes)))
    if entry.repeats:
        losses = [repeat.validation_loss for repeat in entry.repeats if repeat.validation_loss is not None]
        told.append(_("repeated with {n} other seeds").format(n=len(entry.repeats)))
        if losses:
            told[-1] += _(": validation loss {low:.3g} to {high:.3g}").format(
                low=min(losses), high=max(losses)
            )
    return " · ".join([*map(escape, told), f"<span>{_moment(run.created)}</span>"])


def _settings(experiment: Experiment) -> list[str]:
    return [said(experiment, name) for name in telling(experiment)]


def telling(experiment: Experiment) -> list[str]:
    """The settings that differ from the defaults and are not in the title."""
    usual = Experiment(task=experiment.task)
    titled = ("task", "cell", "hidden", "length")
    return [k for k in KNOBS if k not in titled and getattr(experiment, k) != getattr(usual, k)]


def _moment(seconds: float) -> str:
    """A time as the clock of whoever looks shows it."""
    try:
        zone = ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Y-%m-%d %H:%M}"


# Curves -------------------------------------------------------------------------------------------------


def small_curve(store: Store, entry: Entry) -> str:
    """The validation loss over the steps on a log scale, as a picture: the run thick, its repeats thin."""
    run = entry.run
    curves = [_losses(store, r.id, r.updated) for r in (*entry.repeats, run)]
    baseline = TASKS[run.experiment.task].baseline(run.experiment.length)
    picture = curve_svg(curves, run.steps, baseline, CELLS[run.experiment.cell].color)
    data = base64.b64encode(picture.encode()).decode()
    spoken = _("Nothing was trained") if run.weights else _spoken(curves[-1])
    return (
        f'<img width="{WIDTH}" height="{HEIGHT}" alt="{escape(spoken)}" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


@st.cache_data(max_entries=2000, show_spinner=False)
def _losses(_store: Store, run: str, updated: float) -> tuple[np.ndarray, np.ndarray]:
    """(steps, validation losses) of a run as it was at that time."""
    none = np.zeros(0, dtype=np.float32)
    try:
        shown = overview_of(_store, run)
    except ValueError:  # recorded by another version of this program
        return none, none
    arrays = {} if shown is None else load(shown[1])
    return arrays.get("validation_step", none), arrays.get("validation_loss", none)


def curve_svg(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], steps: int, baseline: float, color: str
) -> str:
    """Curves of (steps (m,), losses (m,)) as SVG, the last one thick, and the baseline dashed.

    What is not a positive finite number is a gap; where it begins stands a cross at the upper edge.
    """
    logs = [np.log10(loss, where=loss > 0, out=np.full(len(loss), np.nan)) for _step, loss in curves]
    finite = np.concatenate([*(log[np.isfinite(log)] for log in logs), [math.log10(baseline)]])
    low, high = float(finite.min()), float(finite.max())
    if high - low < FLAT:
        low, high = (low + high - FLAT) / 2, (low + high + FLAT) / 2

    def at(step: float, log: float) -> tuple[float, float]:
        x = EDGE + (WIDTH - 2 * EDGE) * step / max(1, steps)
        return x, EDGE + (HEIGHT - 2 * EDGE) * (high - log) / (high - low)

    _x, y = at(0, math.log10(baseline))
    drawn = [f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GREY}" stroke-dasharray="2 3"/>']
    for number, ((step, loss), log) in enumerate(zip(curves, logs, strict=True)):
        main = number == len(curves) - 1
        look = f'fill="none" stroke="{color}" stroke-width="{2 if main else 1}" stroke-linejoin="round"'
        fading = "" if main else ' opacity="0.45"'
        for piece in _pieces(log):
            points = " ".join("{:.1f},{:.1f}".format(*at(step[k], log[k])) for k in piece)
            drawn.append(f'<polyline points="{points}" {look}{fading}/>')
            if main:
                x, y = at(step[piece[-1]], log[piece[-1]])
                drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>')
        lost = np.flatnonzero(~np.isfinite(loss))
        if main and len(lost):
            x, _y = at(step[lost[0]], high)
            drawn.append(f'<path d="M{x - 3:.1f} 1l6 6m0-6l-6 6" {look}/>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(drawn)}</svg>'


def _pieces(log: np.ndarray) -> list[np.ndarray]:
    """The stretches of finite numbers, as indices."""
    good = np.flatnonzero(np.isfinite(log))
    return [p for p in np.split(good, np.flatnonzero(np.diff(good) > 1) + 1) if len(p)]


def _spoken(curve: tuple[np.ndarray, np.ndarray]) -> str:
    if not len(curve[0]):
        return _("No validation loss yet")
    return _("Validation loss, log scale: from {first:.3g} to {last:.3g} at step {step:,}").format(
        first=curve[1][0], last=curve[1][-1], step=int(curve[0][-1])
    )
