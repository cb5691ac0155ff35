"""Parts of the Train page that stand still: the task, what was wrong with the link, the verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

# Not used here: Plotly looks for pandas among the loaded modules, and finds half of it while Streamlit loads
# it in another thread. Importing it waits until it is whole.
import pandas  # noqa: F401
import plotly.graph_objects as go
import streamlit as st

from ..experiment import Experiment, Problem
from ..plots.sample import sample_figure
from ..runs.jobs import OPEN, Jobs
from ..runs.store import Run, Store, StoreFullError
from ..tasks import TASKS
from ..tasks.task import GeneratedTask
from ..twins import LETTERS
from . import link
from .fragments import drawn_again
from .panes import PANES
from .text import _, percent, plain

GRADIENTS = Path(__file__).parents[2] / "pages" / "gradients.py"
FRESH_SEQUENCES = 10_000
MOST_PROBLEMS = 10
_JOB, _PICKED = "verdict_jobs", "panes"


def task_card(experiment: Experiment) -> None:
    """On request: the task in words, and one of its sequences with the dependency marked."""
    task = TASKS[experiment.task]
    with st.popover(_("What is the task?")):
        st.markdown(_(task.explanation))
        st.markdown(_("**Form:** {form}.").format(form=_(task.form)))
        st.markdown(
            _("**Baseline:** {baseline}, a loss of {loss:.4g}. **Solved:** {solved}").format(
                baseline=_(task.baseline_label),
                loss=task.baseline(experiment.length),
                solved=_(task.solved.sentence),
            )
        )
        picture, figure = _sample(experiment.task, experiment.length, experiment.seed)
        if picture is not None:
            st.image(picture, _("The digit, before it is cut into a sequence"), clamp=True)
        st.plotly_chart(figure, key="sample", config={"displayModeBar": False})
        st.caption(_(task.source))


@lru_cache(maxsize=64)  # it takes as long as everything else on the page
def _sample(name: str, length: int, seed: int) -> tuple[np.ndarray | None, go.Figure]:
    """One sequence of a task: its picture before it is cut into one, if it has one, and the sequence."""
    task = TASKS[name]
    batch = task.sample(np.random.default_rng(seed), length, 1)
    picture = task.picture(batch, 0)
    figure = sample_figure(
        batch.inputs[:, 0], task.channels(), batch.marks[0].tolist(), task.answer(batch, 0)
    )
    return None if picture is None else np.kron(picture, np.ones((16, 16))), figure


def problem_list(problems: Sequence[Problem]) -> None:
    """What could not be used, named one by one."""
    if problems:
        told = [f"- {plain(str(problem))}" for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            told.append(_("- and {n} more").format(n=len(problems) - MOST_PROBLEMS))
        st.warning("\n".join(told))


def pane_picker(view: link.View) -> None:
    """Which figures are shown; a few at first, the rest one click away."""
    st.session_state[_PICKED] = list(view.panes)
    st.pills(
        _("Figures"), list(PANES), selection_mode="multi", key=_PICKED, label_visibility="collapsed",
        format_func=lambda name: _(PANES[name]), on_change=_pick,
    )  # fmt: skip


def _pick() -> None:
    picked = st.session_state[_PICKED]
    shown = [name for name in link.view().panes if name in picked]  # what was there stays where it was
    link.change(
        panes=(*shown, *(name for name in PANES if name in picked and name not in shown)) or link.view().panes
    )


def show_controls(view: link.View) -> None:
    """In a link without controls: the way to them, unless the link is for watching alone."""
    if view.controls == "hidden":
        st.button(_("Show the controls"), key="show_controls", on_click=_show_controls, type="tertiary")


def _show_controls() -> None:
    link.change(controls="shown")
    link.forget_knobs()


def closer_look(runs: Sequence[Run], pinned: int | None) -> None:
    """The way to the analysis of these runs, at the step that is held in the figures."""
    label = (
        _("Look at their gradients through time")
        if len(runs) > 1
        else _("Look at its gradients through time")
    )
    if pinned is not None:
        label = _("Look at the gradients through time at step {step:,}").format(step=pinned)
    if st.button(label, key="closer", icon=":material/query_stats:", type="tertiary"):
        query: dict[str, Any] = {"run": [run.id for run in runs]}
        st.switch_page(GRADIENTS, query_params=query if pinned is None else {**query, "at": str(pinned)})


def without_sidebar() -> None:
    """Take the empty sidebar and its button off the page."""
    st.html(
        "<style>[data-testid='stSidebar'], [data-testid='stExpandSidebarButton'] { display: none; }</style>"
    )


def projector() -> None:
    """Type that the last row can read."""
    st.html(
        "<style>html { font-size: 20px; } .stMainBlockContainer { max-width: none; } "
        "[data-testid='stSidebar'] [data-testid='stColumn']:not(.st-key-twins *) { min-width: 100%; }</style>"
    )


def verdict(store: Store, runs: Sequence[Run]) -> None:
    """After the runs: how they do on sequences that nobody has seen."""
    fit = [run for run in runs if run.state in ("finished", "stopped") and run.step > 0]
    # All that is held out of a data set is the validation set, and that is shown already.
    fit = [run for run in fit if isinstance(TASKS[run.experiment.task], GeneratedTask)]
    if not fit or len(fit) < len(runs):
        return
    jobs = Jobs(store)
    ids = tuple(run.id for run in fit)
    if st.button(_("Test on {n:,} fresh sequences").format(n=FRESH_SEQUENCES), key="fresh"):
        try:
            asked = [
                jobs.ask("evaluate", {"run": run.id, "step": run.step, "sequences": FRESH_SEQUENCES})
                for run in fit
            ]
            st.session_state[_JOB] = (ids, asked)
        except StoreFullError as error:
            st.warning(str(error))
    remembered = st.session_state.get(_JOB)
    if remembered is None or remembered[0] != ids:
        return
    found = [jobs.job(job) for job in remembered[1]]
    open_ones = any(job is not None and job.state in OPEN for job in found)
    drawn_again(_answers, jobs, remembered[1], fit, every=0.5 if open_ones else None)


def _answers(jobs: Jobs, asked: Sequence[str], runs: Sequence[Run]) -> None:
    for letter, job_id, run in zip(LETTERS, asked, runs, strict=False):
        _answer(jobs, job_id, run, f"**{letter}** " if len(runs) > 1 else "")


def _answer(jobs: Jobs, job_id: str, run: Run, name: str) -> None:
    job = jobs.job(job_id)
    if job is None:
        return
    if job.state in OPEN:
        st.progress(job.progress, f"{name}{_('Testing')}")
    elif job.result is None:
        st.warning(name + (job.message or _("The test was not made.")))
    else:
        answer, task = json.loads(job.result), TASKS[run.experiment.task]
        text = _("On {n:,} fresh sequences the loss is {loss:.4g}").format(
            n=answer["sequences"], loss=answer["loss"]
        )
        if answer["accuracy"] is not None:
            text += _("; {label}: {share}").format(
                share=percent(answer["accuracy"], 2), label=_(task.accuracy_label or "")
            )
        st.markdown(f"{name}{text}.")
