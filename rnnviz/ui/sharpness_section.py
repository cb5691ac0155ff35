"""The section of the page on surfaces that says how curved the loss is, here and over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from ..analysis.curvature import Sharpness, expected_seconds, sharpness
from ..experiment import CHANGEABLE, default_of
from ..layout import layout_of
from ..numbers import of
from ..plots import sharpness as sharpness_figures
from ..plots.theme import CONFIG
from ..runs.jobs import OPEN, Job, Jobs
from ..runs.sharpness import MOST_PARAMETERS, VERSION, decode
from ..runs.store import Store
from . import asking
from .networks import Shown
from .settings import Settings
from .sharpness_words import curve_words, limit_of, verdict
from .text import _, words

KIND = "sharpness"
AT_ONCE = 0.6  # seconds, about, that all networks of a page may take while it is drawn
REMEMBERED = 24  # checkpoints, six doublings, that a run may be ahead of the curve that was asked for


@dataclass(frozen=True)
class _Curve:
    """What is known of one run over training: the newest job that was asked, and what it has found."""

    one: Shown
    steps: tuple[int, ...]  # all that could be asked for
    job: Job | None
    asked: tuple[int, ...]
    found: Mapping[int, Sharpness]

    def in_order(self) -> list[Sharpness]:
        """In the order of training."""
        return [self.found[step] for step in sorted(self.found)]

    @property
    def whole(self) -> bool:
        """Whether nothing is left to be asked for."""
        done = self.job is not None and self.job.state == "finished"
        return len(self.steps) < 2 or (done and self.asked == self.steps)


def sharpness_section(store: Store, networks: Sequence[Shown], settings: Settings) -> None:
    """How curved the loss is, in which directions, and how that went during training."""
    st.markdown(
        _(
            "Along a direction in which the loss is strongly curved it looks like the walls of a narrow "
            "valley: a step a little too long lands higher on the other side. The **eigenvalues of the "
            "Hessian**, the matrix of second derivatives of the loss, are the curvatures along directions "
            "that do not mix; the largest is called **sharpness**. A negative one bends downwards: the "
            "loss has a saddle or a ridge there. Their sum is the **trace**."
        )
    )
    small = [one for one in networks if layout_of(one.experiment).size <= MOST_PARAMETERS]
    for one in networks:
        if one not in small:
            told = _("Its curvature takes too long: {n:,} parameters, and at most {most:,} are looked at.")
            n = layout_of(one.experiment).size
            st.info(one.lead + told.format(n=n, most=MOST_PARAMETERS))
    if not small:
        return
    jobs = Jobs(store)
    curves = [_curve(store, jobs, one) for one in small if one.run is not None]
    here = _here(jobs, small, curves)
    if here:
        _numbers(small, here)
    _ask_here(jobs, [one for one in small if one.letter not in here], settings)
    if curves:
        st.subheader(_("Over training"), anchor=False)
        _over_training(curves)
        _ask_curves(jobs, curves)
    asking.say_trouble()


def sharpness_under_way(store: Store, networks: Sequence[Shown]) -> bool:
    """Whether curvature that is on show is being computed."""
    jobs = Jobs(store)
    found = [jobs.find(KIND, _request(one, [one.step])) for one in networks]
    found += [_curve(store, jobs, one).job for one in networks if one.run is not None]
    return any(job is not None and job.state in OPEN for job in found)


def _request(one: Shown, steps: Sequence[int]) -> dict[str, Any]:
    """What curvature depends on, and nothing else: a change in mid-run asks for no other one."""
    usual = {name: default_of(name) for name in CHANGEABLE}
    return {
        "run": None if one.run is None else one.run.id, "steps": list(steps), "kernel": one.kernel,
        "experiment": one.experiment.changed(changes=(), **usual).to_json(), "version": VERSION,
    }  # fmt: skip


def _curve(store: Store, jobs: Jobs, one: Shown) -> _Curve:
    """The newest curve that somebody asked for, be the run ahead of it or not."""
    assert one.run is not None
    steps = tuple(store.checkpoint_steps(one.run.id))
    for ahead in range(min(REMEMBERED, len(steps))):
        asked = steps[: len(steps) - ahead]
        job = jobs.find(KIND, _request(one, asked)) if len(asked) > 1 else None
        if job is not None:
            blob = job.result or job.partial
            return _Curve(one, steps, job, asked, decode(blob).found if blob else {})
    return _Curve(one, steps, None, (), {})


# At the checkpoint on show ------------------------------------------------------------------------------


def _here(jobs: Jobs, networks: Sequence[Shown], curves: Sequence[_Curve]) -> dict[str, Sharpness]:
    """Curvature at the checkpoints on show, by letter: from the store, or at once where that is quick."""
    known = {}
    for one in networks:
        for curve in curves:
            if curve.one is one and one.step in curve.found:
                known[one.letter] = curve.found[one.step]
        job = None if one.letter in known else jobs.find(KIND, _request(one, [one.step]))
        if job is not None and job.result:
            known[one.letter] = decode(job.result).found[one.step]
    missing = [one for one in networks if one.letter not in known]
    if sum(map(_seconds, missing)) <= AT_ONCE:
        known |= {one.letter: sharpness(one.moment) for one in missing}
    return known


def _seconds(one: Shown) -> float:
    return expected_seconds(one.experiment, one.moment.network.kernel)


def _numbers(networks: Sequence[Shown], here: Mapping[str, Sharpness]) -> None:
    shown = [one for one in networks if one.letter in here]
    rows = [
        {
            _("network"): one.name or one.title,
            **{
                _("eigenvalue {n}").format(n=n): of(value)
                for n, value in enumerate(here[one.letter].eigenvalues, 1)
            },
            _("most negative"): of(here[one.letter].least),
            _("trace"): f"{of(here[one.letter].trace)} ± {of(here[one.letter].trace_error)}",
            _("gradient norm"): of(here[one.letter].grad_norm),
        }
        for one in shown
    ]
    table = pd.DataFrame(rows).set_index(_("network"))
    st.dataframe(table, key="sharpness_table")
    for one in shown:
        st.markdown(one.lead + verdict(one.experiment, one.step, here[one.letter]))
    st.caption(
        _(
            "Of the loss of the training batch of this step. Eigenvalues are numbers of a method that "
            "closes in on them (Lanczos); the ± is the standard error of the trace."
        )
    )


# Over training ------------------------------------------------------------------------------------------


def _over_training(curves: Sequence[_Curve]) -> None:
    drawn = [curve for curve in curves if curve.found]
    if not drawn:
        return
    text = words(sharpness_figures.TEXT)
    figure = sharpness_figures.over_training([_history(curve) for curve in drawn], text)
    told = _("Largest eigenvalues of the Hessian and its trace over training")
    st.plotly_chart(figure, key="sharpness_curve", config=CONFIG, alt=told)
    for curve in drawn:
        st.markdown(curve.one.lead + curve_words(curve.one.experiment, curve.in_order()))
    st.caption(
        _(
            "Each checkpoint is looked at with the batch of its own step, so some of the ups and downs are "
            "those of the batches. Vertical: the checkpoint on show."
        )
    )
    if any(curve.one.experiment.optimizer == "sgd" for curve in drawn):
        st.caption(
            _(
                "2 / learning rate: above it gradient descent on a parabola diverges. On a whole data set "
                "the sharpness often rises until it hovers just there, at the edge of stability (Cohen et "
                "al. 2021); the sharpness of one batch may lie above without harm."
            )
        )


def _history(curve: _Curve) -> sharpness_figures.History:
    found = curve.in_order()
    limits = [limit_of(curve.one.experiment, one.step) for one in found]
    return sharpness_figures.History(
        curve.one.name,
        curve.one.color,
        np.array([one.step for one in found]),
        np.array([one.eigenvalues for one in found]),
        np.array([one.least for one in found]),
        np.array([one.trace for one in found]),
        np.array([one.trace_error for one in found]),
        None if None in limits else np.array(limits, dtype=np.float64),
        curve.one.step,
    )


# Jobs ---------------------------------------------------------------------------------------------------


def _ask_here(jobs: Jobs, missing: Sequence[Shown], settings: Settings) -> None:
    """The button for what takes too long to be had at once, or how far that is."""
    if not missing:
        return
    asked = [(one, jobs.find(KIND, _request(one, [one.step]))) for one in missing]
    if _progress(jobs, [job for _one, job in asked], "here", _("Curvature at this step")):
        return
    _failures(asked)
    label = _("Measure the curvature here")
    seconds = sum(_seconds(one) for one in missing)
    told = _("Eigenvalues and trace of the Hessian: about {s:.0f} s.").format(s=max(1.0, seconds))
    at = max(one.step for one in missing) if missing[0].run is not None else None
    requests = [_request(one, [one.step]) for one in missing]
    st.button(
        label, key="ask_sharpness_here", help=told, on_click=asking.ask,
        args=(jobs, KIND, requests, settings, at),
    )  # fmt: skip


def _ask_curves(jobs: Jobs, curves: Sequence[_Curve]) -> None:
    """The button that has checkpoints measured, or how far that is."""
    if _progress(jobs, [curve.job for curve in curves], "curve", _("Curvature over training")):
        return
    _failures([(curve.one, curve.job) for curve in curves])
    missing = [curve for curve in curves if not curve.whole]
    if not missing:
        if all(len(curve.steps) < 2 for curve in curves):
            st.caption(_("There is only one checkpoint yet."))
        return
    behind = any(curve.job is not None and curve.job.state == "finished" for curve in missing)
    label = _("Up to the newest step") if behind else _("Compute for all checkpoints")
    seconds = sum(_seconds(curve.one) * len(curve.steps) for curve in missing)
    told = _("Eigenvalues and trace at every checkpoint: about {s:.0f} s.").format(s=max(1.0, seconds))
    st.button(
        label, key="ask_sharpness_curve", help=told, on_click=asking.ask,
        args=(jobs, KIND, [_request(c.one, c.steps) for c in missing]),
    )  # fmt: skip


def _progress(jobs: Jobs, asked: Sequence[Job | None], name: str, label: str) -> bool:
    """How far jobs are, with a button that ends them; returns whether any is under way."""
    under_way = [job for job in asked if job is not None and job.state in OPEN]
    if under_way:
        bar, stop = st.columns([4, 1], vertical_alignment="center")
        bar.progress(min(1.0, sum(job.progress for job in under_way) / len(under_way)), label)
        stop.button(
            _("Cancel"), key=f"cancel_sharpness_{name}", on_click=asking.cancel,
            args=(jobs, [job.id for job in under_way]),
        )  # fmt: skip
    return bool(under_way)


def _failures(asked: Sequence[tuple[Shown, Job | None]]) -> None:
    for one, job in asked:
        if job is not None and job.state == "failed":
            st.warning(one.lead + (job.message or _("The curvature was not measured.")))
