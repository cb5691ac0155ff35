"""The section of the page on gradients that sees clipping whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import streamlit as st

from ..analysis.clipped import Clipped, compare, per_tensor
from ..analysis.not_finite import Where, first_not_finite
from ..clipping import CLIPPINGS
from ..numbers import of
from ..plots import norms as norm_figures
from ..plots.theme import CONFIG
from ..recording import GROUPS
from ..runs.chunk import decode
from ..runs.store import Run, Store
from .flow_sections import decades
from .networks import Shown
from .settings import Settings
from .text import _, percent, words

_NONE = "\u2013"
RECORD_BYTES = 60_000_000  # of a recording that are read for the histograms

#: Shorter than `clipping.SCOPES`, for the columns of a table.
_SEES = {"all": "all", "recurrent": "W_hh, peepholes", "not_output": "all but the output layer"}
_GROUPS = {
    "recurrent": "W_hh and peepholes",
    "input": "W_ih and biases",
    "output": "output layer",
}


@dataclass(frozen=True)
class _Recorded:
    """Norms of the steps that were read: the clip rule's measure, its limit, and each group's norm."""

    before: np.ndarray
    limit: np.ndarray
    groups: np.ndarray  # (n, 3)
    all: bool


def clipping(store: Store, networks: Sequence[Shown], settings: Settings) -> None:
    """Histograms of the norms with the threshold, what each rule does to one gradient, where NaN began."""
    for one in networks:
        _not_finite(one)
    runs = [one for one in networks if one.run is not None]
    if runs:
        _histograms(store, runs)
    st.subheader(_("What each rule makes of this gradient"), anchor=False)
    st.markdown(
        _(
            "The gradient of this very step, clipped in every way. Clipping by norm shortens it and keeps "
            "its direction: the angle is 0°. Clipping by value bends it. A rule that sees only a part of the "
            "parameters bends the whole as well, and cutting inside the backward pass gives something that "
            "is the gradient of nothing. The angle is that to the true gradient, over all parameters."
        )
    )
    threshold = settings.number(
        "threshold",
        _("Threshold"),
        format="%g",
        help=_("For this table alone; a usual choice by norm is half to ten times the average norm."),
    )
    for one in networks:
        _table(one, threshold)


def _not_finite(one: Shown) -> None:
    where: Where | None = one.moment.once("not finite", partial(first_not_finite, one.moment))
    diverged = one.run is not None and one.run.state == "diverged" and one.step == one.run.step
    if where is not None:
        st.warning(one.lead + _where_words(where), icon=":material/error:")
    elif diverged:
        st.warning(
            one.lead
            + _(
                "The run ended here, and yet this step's gradient is finite: what left the numbers was the "
                "weights, in the update."
            ),
            icon=":material/error:",
        )


def _where_words(where: Where) -> str:
    """Where NaN began."""
    if where.parameters:
        return _("**{what} began** in the weights themselves: {names}.").format(
            what=where.what, names=", ".join(where.parameters)
        )
    place = ""
    if where.layer is not None:
        place = _(" in layer {layer}").format(layer=where.layer + 1)
    t = "" if where.t is None else _(" at time step t = {t}").format(t=where.t + 1)
    kinds = {
        "state": _("on the way forward: the state {name}_t"),
        "output": _("in the outputs"),
        "loss": _("in the loss; the outputs are still finite"),
        "gradient": _("on the way back, after a finite loss: dL/d{name}_t"),
        "weight": _("when the terms over time were added up: the gradient of {name}"),
    }
    told = kinds[where.stage].format(name=where.name)
    return _("**{what} began** {told}{place}{t}.").format(what=where.what, told=told, place=place, t=t)


def _histograms(store: Store, runs: Sequence[Shown]) -> None:
    recorded = [(one, found) for one in runs if one.run and (found := _recorded(store, one.run))]
    if not recorded:
        st.caption(_("Nothing is recorded of training."))
        return
    panels: dict[str, list[norm_figures.Norms]] = {_("what the rule measures"): []}
    panels |= {_(_GROUPS[group]): [] for group in GROUPS}
    for one, found in recorded:
        fixed = found.limit[np.isfinite(found.limit)]
        threshold = float(fixed[-1]) if len(fixed) and fixed.min() == fixed.max() else math.nan
        norms = norm_figures.Norms(one.name, one.color, decades(found.before), threshold)
        panels[_("what the rule measures")].append(norms)
        for k, group in enumerate(GROUPS):
            norms = norm_figures.Norms(one.name, one.color, decades(found.groups[:, k]))
            panels[_(_GROUPS[group])].append(norms)
    st.subheader(_("Gradient norms of all steps"), anchor=False)
    figure = norm_figures.histograms(panels, words(norm_figures.TEXT))
    st.plotly_chart(figure, key="histogram", config=CONFIG, alt=_("Histograms of gradient norms"))
    for one, found in recorded:
        st.markdown(one.lead + _histogram_words(one, found))


def _recorded(store: Store, run: Run) -> _Recorded | None:
    return _read(store, run.id, run.step) if run.step or run.ended else None


@lru_cache(maxsize=16)
def _read(store: Store, run: str, step: int) -> _Recorded | None:
    blobs, everything = store.records(run, RECORD_BYTES)
    chunks = [decode(blob) for blob in blobs]
    if not chunks:
        return None
    joined = [np.concatenate([getattr(c, name) for c in chunks]) for name in ("norm_before", "threshold")]
    groups = np.concatenate([c.grad_norms for c in chunks])
    return _Recorded(joined[0], joined[1], groups, everything)


def _histogram_words(one: Shown, found: _Recorded) -> str:
    assert one.run is not None
    values = one.experiment.at(one.run.step)
    rule = CLIPPINGS[values["clip"]]
    known = found.before[np.isfinite(found.before)]
    if not len(known):
        return _("No norm was finite.")
    told = _("Over {n:,} steps the {measure} was {median} in the middle and {largest} at most.").format(
        n=len(found.before),
        measure=_(rule.measured),
        median=of(float(np.median(known))),
        largest=of(float(known.max())),
    )
    lost = len(found.before) - len(known)
    if lost:
        told += " " + _("{n} were not finite.").format(n=lost)
    made = one.run.step + (one.run.state == "diverged")
    if rule.name == "none" and not one.run.clipped:
        told += " " + _("Nothing was clipped; half to ten times the middle is where one begins.")
    elif made:
        told += " " + _("{share} of the steps were clipped.").format(share=percent(one.run.clipped / made, 1))
    if not found.all:
        told += " " + _("The recording is long: these are evenly chosen stretches of it.")
    return told


def _table(one: Shown, threshold: float) -> None:
    compared: list[Clipped] = one.moment.once(("clipped", threshold), partial(compare, one.moment, threshold))
    rows = [
        {
            _("rule"): _(CLIPPINGS[c.rule].label),
            _("sees"): _(_SEES[c.scope]) if CLIPPINGS[c.rule].uses_scope else _NONE,
            _("angle"): _angle(c),
            _("measures"): _(CLIPPINGS[c.rule].measured),
            _("before"): of(c.before),
            _("after"): of(c.after),
            _("elements changed"): _share(c.elements),
        }
        for c in compared
    ]
    if one.letter:
        st.markdown(f"**{one.letter}** {one.title}")
    st.dataframe(pd.DataFrame(rows), hide_index=True, key=f"clipped_{one.letter}", height="content")
    st.markdown(_table_words(compared))
    with st.expander(_("Each parameter on its own")):
        sizes = per_tensor(one.moment)
        frame = pd.DataFrame(
            {
                _("parameter"): list(sizes),
                _("norm of the gradient"): [of(s.grad) for s in sizes.values()],
                _("largest element"): [of(s.largest) for s in sizes.values()],
                _("norm of the weights"): [of(s.weights) for s in sizes.values()],
            }
        )
        st.dataframe(frame, hide_index=True, key=f"tensors_{one.letter}")


def _angle(c: Clipped) -> str:
    return _NONE if math.isnan(c.angle) else f"{c.angle:.3g}°"


def _share(share: float) -> str:
    """In percent; a few of many are not none."""
    if math.isnan(share):
        return _NONE
    return _("under {share}").format(share=percent(0.001, 1)) if 0 < share < 5e-4 else percent(share, 1)


def _table_words(compared: Sequence[Clipped]) -> str:
    """What each rule that did anything made of the gradient, over all parameters."""
    told = []
    for c in compared:
        if c.scope != "all" or c.rule == "none" or not c.clipped:
            continue
        if c.rule == "norm":
            told.append(
                _("by norm it goes from {before} to {after} and keeps its direction").format(
                    before=of(c.before), after=of(c.after)
                )
            )
        else:
            name = _(CLIPPINGS[c.rule].label)
            told.append(_("“{rule}” turns it by {angle}").format(rule=name, angle=_angle(c)))
    if not told:
        return _("At this threshold no rule clips anything.")
    return _("At this threshold, over all parameters: {list}.").format(list="; ".join(told))
