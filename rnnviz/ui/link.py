"""The link of a page: every knob that differs from its default, and the run.

The experiment of a session stands in its state; the link is read when the page opens or when somebody changed
the address, and written after every change of a knob.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from ..experiment import Experiment, ExperimentError, Problem
from ..runs.store import Run, Store
from .text import _

_KNOWN, _EXPERIMENT, _PROBLEMS, _RUN = "link_known", "link_experiment", "link_problems", "link_run"
_TURNED = "link_turned"
PARAMETERS = frozenset({*Experiment.model_fields, "run"})


def read(store: Store) -> bool:
    """Take experiment and run from the link if this session has not seen it; returns whether it was new.

    A browser may send an address some time after this session has replaced it, so an address that was seen
    before never undoes anything.
    """
    query = {name: values[-1] for name in st.query_params if (values := st.query_params.get_all(name))}
    known: set[str] = st.session_state.setdefault(_KNOWN, set())
    if _key(query) in known:
        return False
    known.add(_key(query))
    knobs = {name: value for name, value in query.items() if name in Experiment.model_fields}
    experiment, problems = Experiment.from_query(knobs)
    run = None
    if "run" in query:
        try:
            run = store.run(query["run"])
            trouble = _("there is no run of that name here; it may have been deleted.")
        except ExperimentError:
            trouble = _("that run was made by another version of this program, which cannot be read here.")
        if run is None:
            problems.append(Problem("run", query["run"], trouble))
    if run is not None and not knobs:
        experiment = run.experiment
    problems += [
        Problem(name, value, _("this page has no such setting; it was ignored."))
        for name, value in query.items()
        if name not in PARAMETERS
    ]
    st.session_state[_EXPERIMENT] = experiment
    st.session_state[_PROBLEMS] = problems
    st.session_state[_RUN] = run.id if run is not None else None
    st.session_state[_TURNED] = None
    return True


def experiment() -> Experiment:
    """The experiment that the knobs show."""
    current: Experiment = st.session_state[_EXPERIMENT]
    return current


def problems() -> list[Problem]:
    """What was wrong with the link or with the last change, to be shown until the next one."""
    found: list[Problem] = st.session_state[_PROBLEMS]
    return found


def take(values: Mapping[str, Any]) -> None:
    """Make the knobs' values the experiment; where they do not fit together, say why and keep the last."""
    before, st.session_state[_TURNED] = st.session_state[_TURNED], dict(values)
    if before is None or values == before:
        return  # nothing was turned since the link was read, so what is said about it stays
    try:
        st.session_state[_EXPERIMENT] = experiment().changed(**values, changes=())
        st.session_state[_PROBLEMS] = []
    except ExperimentError as error:
        st.session_state[_PROBLEMS] = error.problems


def run_id() -> str | None:
    """The run on show."""
    run: str | None = st.session_state[_RUN]
    return run


def run(store: Store) -> Run | None:
    """The run on show, as it is now."""
    shown = run_id()
    return None if shown is None else store.run(shown)


def show(run: str | None) -> None:
    """Put another run on show, by its id."""
    st.session_state[_RUN] = run


def write() -> None:
    """Bring the address up to date."""
    query = experiment().to_query()
    if run_id() is not None:
        query["run"] = str(run_id())
    st.session_state[_KNOWN].add(_key(query))
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)


def _key(query: Mapping[str, str]) -> str:
    return json.dumps(query, sort_keys=True)
