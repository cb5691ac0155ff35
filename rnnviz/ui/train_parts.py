"""Parts of the Train page that stand still: the task, what was wrong with the link, the verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

# Not used here: Plotly looks for pandas among the loaded modules, and finds half of it while Streamlit loads
# it in another thread. Importing it waits until it is whole.
import pandas  # noqa: F401
import streamlit as st

from ..experiment import Experiment, Problem
from ..plots.sample import sample_figure
from ..runs.jobs import OPEN, Jobs
from ..runs.store import Run, Store, StoreFullError
from ..tasks import TASKS
from ..tasks.task import GeneratedTask
from .text import _

FRESH_SEQUENCES = 10_000
MOST_PROBLEMS = 10
_JOB = "verdict_job"


def task_card(experiment: Experiment) -> None:
    """On request: the task in words, and one of its sequences with the dependency marked."""
    task = TASKS[experiment.task]
    with st.popover(_("What is the task?")):
        st.markdown(_(task.explanation))
        st.markdown(
            _("**Baseline:** {baseline}, a loss of {loss:.4g}. **Solved:** {solved}").format(
                baseline=_(task.baseline_label),
                loss=task.baseline(experiment.length),
                solved=_(task.solved.sentence),
            )
        )
        batch = task.sample(np.random.default_rng(experiment.seed), experiment.length, 1)
        picture = task.picture(batch, 0)
        if picture is not None:
            st.image(
                np.kron(picture, np.ones((16, 16))),
                _("The digit, before it is cut into a sequence"),
                clamp=True,
            )
        inputs, marks = batch.inputs[:, 0], batch.marks[0].tolist()
        st.plotly_chart(
            sample_figure(inputs, task.channels(), marks, task.answer(batch, 0)),
            key="sample", config={"displayModeBar": False},
        )  # fmt: skip
        st.caption(_(task.source))


def problem_list(problems: Sequence[Problem]) -> None:
    """What could not be used, named one by one."""
    if problems:
        told = [f"- {_plain(str(problem))}" for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            told.append(_("- and {n} more").format(n=len(problems) - MOST_PROBLEMS))
        st.warning("\n".join(told))


def verdict(store: Store, run: Run | None) -> None:
    """After a run: how it does on sequences that nobody has seen."""
    if run is None or run.state not in ("finished", "stopped") or run.step == 0:
        return
    if not isinstance(TASKS[run.experiment.task], GeneratedTask):
        return  # all that is held out of a data set is the validation set, and that is shown already
    request = {"run": run.id, "step": run.step, "sequences": FRESH_SEQUENCES}
    jobs = Jobs(store)
    if st.button(_("Test on {n:,} fresh sequences").format(n=FRESH_SEQUENCES), key="fresh"):
        try:
            st.session_state[_JOB] = (run.id, jobs.ask("evaluate", request))
        except StoreFullError as error:
            st.warning(str(error))
    asked = st.session_state.get(_JOB)
    if asked is None or asked[0] != run.id:
        return
    job = jobs.job(asked[1])
    st.fragment(_answer, run_every=0.5 if job is not None and job.state in OPEN else None)(
        jobs, asked[1], run
    )


def _answer(jobs: Jobs, job_id: str, run: Run) -> None:
    job = jobs.job(job_id)
    if job is None:
        return
    if job.state in OPEN:
        st.progress(job.progress, _("Testing"))
    elif job.result is None:
        st.warning(job.message or _("The test was not made."))
    else:
        answer, task = json.loads(job.result), TASKS[run.experiment.task]
        text = _("On {n:,} fresh sequences the loss is {loss:.4g}").format(
            n=answer["sequences"], loss=answer["loss"]
        )
        if answer["accuracy"] is not None:
            text += _("; {label}: {share:.2%}").format(
                share=answer["accuracy"], label=_(task.accuracy_label or "")
            )
        st.markdown(text + ".")


def _plain(text: str) -> str:
    """What came from a link, shown as it is and never as markup."""
    line = " ".join(text.split())
    return "".join(
        "\\" + c if c in "\\`*_{}[]()#+-!|<>$:~" else f"{c}\u2060" if c in ".@" else c for c in line
    )
