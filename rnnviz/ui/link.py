"""The link of a page: every knob that differs from its default, the twins, the runs, and how it is shown.

What is on show stands in the session's state; the link is read when the page opens or when somebody changed
the address, and written after every change. A link holds: the knobs of the first twin by their names;
`twin=forget_bias:4` for each further one; `run=` for each run on show; `panes=`, `lesson=`, `controls=`
(hidden, none), `type=large` and `replay=yes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from ..experiment import Experiment, ExperimentError, Problem
from ..lessons import LESSONS
from ..runs.store import Run, Store
from ..twins import LETTERS, MOST, Twins, added, fitted, from_text, to_text, with_all
from .panes import DEFAULT_PANES, PANES
from .settings import Settings, arrived
from .text import _

_KNOWN, _VIEW, _PROBLEMS, _TURNED = "link_known", "link_view", "link_problems", "link_turned"
CONTROLS = ("shown", "hidden", "none")
PAGE = ("twin", "run", "panes", "lesson", "controls", "type", "replay")
#: What says which networks a page shows; the rest is how Train shows them.
NETWORKS = frozenset({*Experiment.model_fields, "twin", "run"})
PARAMETERS = frozenset({*NETWORKS, *PAGE})
Query = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class View:
    """What a page shows."""

    twins: Twins  # what Train would start, one to four
    runs: tuple[str, ...] = ()  # ids of the runs on show
    panes: tuple[str, ...] = DEFAULT_PANES
    lesson: str | None = None
    controls: str = "shown"  # hidden: until asked for; none: this link is for watching
    large: bool = False  # type for a projector
    replay: bool = False  # ended runs are shown as a film


def read(store: Store, settings: Settings | None = None) -> bool:
    """Take the view from the link if this session has not seen it; returns whether it was new.

    A browser may send an address some time after this session has replaced it, so an address that was seen
    before never undoes anything. `settings` are those of a page other than Train, in the same link.
    """
    if arrived("train" if settings is None else settings.page):
        open_anew()
        if settings is not None:
            settings.begin(new=True)
    elif settings is not None:
        settings.begin(new=False)
    query = {name: st.query_params.get_all(name) for name in st.query_params}
    known: set[str] = st.session_state.setdefault(_KNOWN, set())
    if _key(query) in known:
        return False
    known.add(_key(query))
    # What nobody knows is named once: by the settings, where a page has some.
    mine = {
        name: values
        for name, values in query.items()
        if settings is None or (name in settings.others and name not in settings.kinds)
    }
    view, problems = from_query(store, mine)
    st.session_state[_VIEW] = view
    st.session_state[_PROBLEMS] = problems
    st.session_state[_TURNED] = None
    return True


def open_anew() -> None:
    """Called on another page: the next address is meant, also one that this session has seen before.

    Without any, the page shows what it showed last.
    """
    if _VIEW in st.session_state:
        st.session_state[_KNOWN] = {_key({})}
        forget_knobs()  # widgets that were away have lost their state


def from_query(store: Store, query: Query) -> tuple[View, list[Problem]]:
    """The view of a link. Wrong values are left out and named; the rest is kept."""
    last = {name: values[-1] for name, values in query.items() if values}
    knobs = {name: value for name, value in last.items() if name in Experiment.model_fields}
    first, problems = Experiment.from_query(knobs)
    runs, trouble = _runs(store, query.get("run", ()))
    problems += trouble
    lesson = last.get("lesson")
    if lesson is not None and lesson not in LESSONS:
        problems.append(Problem("lesson", lesson, _("allowed: {names}.").format(names=", ".join(LESSONS))))
        lesson = None
    others = query.get("twin", ())
    twins: list[Experiment] = [first]
    if knobs or others:
        if len(others) >= MOST:
            problems.append(
                Problem("twin", len(others), _("allowed: {n} beside the first.").format(n=MOST - 1))
            )
        for text in others[: MOST - 1]:
            twin, trouble = from_text(text, first)
            twins.append(twin)
            problems += trouble
    elif runs:
        twins = [run.experiment.changed(changes=()) for run in runs]
    elif lesson is not None:
        twins = list(LESSONS[lesson].experiments)
    panes, trouble = _panes(last.get("panes"), lesson)
    problems += trouble
    for name, allowed in (("controls", CONTROLS), ("type", ("normal", "large")), ("replay", ("no", "yes"))):
        if name in last and last[name] not in allowed:
            sentence = _("allowed: {names}.").format(names=", ".join(allowed))
            problems.append(Problem(name, last.pop(name), sentence))
    problems += [
        Problem(name, value, _("this page has no such setting; it was ignored."))
        for name, value in last.items()
        if name not in PARAMETERS
    ]
    view = View(
        tuple(twins), tuple(run.id for run in runs), panes, lesson,
        last.get("controls", "shown"), last.get("type") == "large", last.get("replay") == "yes",
    )  # fmt: skip
    return view, problems


def to_query(view: View) -> dict[str, list[str]]:
    """The inverse of `from_query`, without what is as usual."""
    query = {name: [value] for name, value in view.twins[0].to_query().items()}
    if len(view.twins) > 1:
        query["twin"] = [to_text(twin, view.twins[0]) for twin in view.twins[1:]]
    if view.runs:
        query["run"] = list(view.runs)
    if view.panes != _usual_panes(view.lesson):
        query["panes"] = [",".join(view.panes)]
    if view.lesson is not None:
        query["lesson"] = [view.lesson]
    if view.controls != "shown":
        query["controls"] = [view.controls]
    if view.large:
        query["type"] = ["large"]
    if view.replay:
        query["replay"] = ["yes"]
    return query


def _runs(store: Store, ids: Sequence[str]) -> tuple[list[Run], list[Problem]]:
    runs, problems = [], []
    ids = list(dict.fromkeys(ids))
    if len(ids) > MOST:
        problems.append(Problem("run", len(ids), _("allowed: at most {n} runs side by side.").format(n=MOST)))
    for name in ids[:MOST]:
        run = None
        try:
            run = store.run(name)
            trouble = _("there is no run of that name here; it may have been deleted.")
        except ExperimentError:
            trouble = _("that run was made by another version of this program, which cannot be read here.")
        if run is None:
            problems.append(Problem("run", name, trouble))
        else:
            runs.append(run)
    return runs, problems


def _panes(text: str | None, lesson: str | None) -> tuple[tuple[str, ...], list[Problem]]:
    if text is None:
        return _usual_panes(lesson), []
    asked = list(dict.fromkeys(filter(None, text.split(","))))
    known = tuple(name for name in asked if name in PANES)
    allowed = _("allowed: {names}.").format(names=", ".join(PANES))
    return known or _usual_panes(lesson), [
        Problem("panes", name, allowed) for name in asked if name not in PANES
    ]


def _usual_panes(lesson: str | None) -> tuple[str, ...]:
    return DEFAULT_PANES if lesson is None else LESSONS[lesson].panes


def view() -> View:
    """What is on show."""
    current: View = st.session_state[_VIEW]
    return current


def change(**values: Any) -> None:
    """Show something else."""
    st.session_state[_VIEW] = replace(view(), **values)


def twins() -> Twins:
    """What Train would start."""
    return view().twins


def experiment() -> Experiment:
    """The first twin: the one that the knobs at the side show."""
    return twins()[0]


def problems() -> list[Problem]:
    """What was wrong with the link or with the last change, to be shown until the next one."""
    found: list[Problem] = st.session_state[_PROBLEMS]
    return found


def complain(found: list[Problem]) -> None:
    """Say what was wrong with the last change."""
    st.session_state[_PROBLEMS] = found


def take(values: Mapping[str, Any]) -> None:
    """Make the knobs' values the first twin's; where they do not fit together, say why and keep the last."""
    before, st.session_state[_TURNED] = st.session_state[_TURNED], dict(values)
    if before is None or values == before:
        return  # nothing was turned since the link was read, so what is said about it stays
    try:
        changed, found = with_all(twins(), values)
    except ExperimentError as error:
        complain(error.problems)
        return
    change(twins=changed)
    complain(found)


def add_twin() -> None:
    """Duplicate the first and change one thing."""
    if len(twins()) < MOST:
        change(twins=added(twins()))


def remove_twin(index: int) -> None:
    """Take a twin away; the first cannot be."""
    change(twins=tuple(twin for k, twin in enumerate(twins()) if k != index or k == 0))


def set_twin(index: int, own: Mapping[str, Any]) -> None:
    """Say what sets a twin apart from the first; where that does not fit, say why and keep the last."""
    twin, found = fitted(twins()[0], own)
    if found:
        complain([Problem(f"{LETTERS[index]}: {p.field}", p.value, p.allowed) for p in found])
        return
    change(twins=tuple(twin if k == index else other for k, other in enumerate(twins())))
    complain([])


def forget_knobs() -> None:
    """After the twins were set by something else than the knobs: what these said last means nothing."""
    st.session_state[_TURNED] = None


def unfilled() -> bool:
    """Whether the knobs have to be set to the first twin: something else than they has set it."""
    return st.session_state[_TURNED] is None


def runs(store: Store) -> list[Run]:
    """The runs on show, as they are now; those that were deleted are left out."""
    found = [store.run(run) for run in view().runs]
    return [run for run in found if run is not None]


def write(settings: Settings | None = None) -> None:
    """Bring the address up to date: with the settings of a page other than Train, that has no panes.

    A page without the setting "network" shows runs and nothing that the knobs say.
    """
    query = to_query(view())
    if settings is not None:
        of_runs = "network" not in settings.kinds or (  # which say all that the knobs would
            bool(view().runs) and settings["network"] == "runs"
        )
        query = {name: query[name] for name in query if name in (("run",) if of_runs else NETWORKS)}
        if view().runs and not of_runs:  # beside a run, knobs that are all as usual have to be told apart
            query.setdefault("task", [view().twins[0].task])
        st.session_state[_KNOWN].add(_key({**query, **settings.to_query()}))
        settings.finish(query)
        return
    st.session_state[_KNOWN].add(_key(query))
    if {name: st.query_params.get_all(name) for name in st.query_params} != query:
        st.query_params.from_dict(query)


def _key(query: Query) -> str:
    return json.dumps({name: list(values) for name, values in query.items()}, sort_keys=True)
