"""The section of the page on gradients that multiplies Jacobians: all pairs of time steps, and by "
"distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from ..analysis.dynamics import MOST_WORK, Dynamics, Place, dynamics
from ..analysis.lags import THOUSANDFOLD, bound_by_lag, by_lag, horizon
from ..experiment import CHANGEABLE, default_of
from ..numbers import of, of_decades
from ..plots import products as product_figures
from ..plots.theme import CONFIG
from ..runs.jobs import OPEN, Job, Jobs
from ..runs.maps import VERSION, SpectralMap, decode_map
from ..runs.store import Store
from . import asking
from .networks import Shown
from .settings import Settings
from .text import _, percent, words

KIND = "jacobian_map"
AT_ONCE = 1e9  # work of a map whose spectral norms are had at once, within a quarter of a second
NOTED = 4e9  # work that is felt: about a quarter of a second
SECONDS_PER_WORK = 4e-11  # for the guess of how long a job takes: 3.4 s at S = 128, T = 200


@dataclass(frozen=True)
class _Measured:
    """One network's norms in decades, 0 on the diagonal: spectral, or Frobenius over the root of S."""

    one: Shown
    d: Dynamics
    norms: np.ndarray
    spectral: SpectralMap | None


def products(store: Store, networks: Sequence[Shown], place: Place, settings: Settings) -> None:
    """The map of all pairs of time steps, and how much is left after so many steps."""
    st.markdown(
        _(
            "What becomes of a small change of the state at step k until step t is the product of the step "
            "Jacobians between them, **ds_t/ds_k = J_t J_t-1 ... J_k+1**. Its norm is how much of the change "
            "is left at most, and how much of a gradient at t comes back to k. (s is the state that is "
            "handed on: h, for an LSTM h and c together.)"
        )
    )
    studied = [(one, dynamics(one.moment, place)) for one in networks]
    if not all(d.fits for _one, d in studied):
        st.info(
            _("The step Jacobians of this network are too large to be kept; choose fewer units or steps.")
        )
        return
    answers = _spectral(store, studied, place)
    measured = [m for one, d in studied if (m := _measured(one, d, answers.get(one.letter)))]
    if not measured:
        st.info(_("All pairs of this network take more than a second: compute them with the button below."))
    else:
        _figures(measured, place)
        if any(m.spectral is None and m.d.work > NOTED for m in measured):
            st.caption(_("All pairs of so many units and steps take up to a second to follow a slider."))
    _ask(store, studied, place, settings)


def _measured(one: Shown, d: Dynamics, found: SpectralMap | None) -> _Measured | None:
    if found is None and d.work <= AT_ONCE:
        found = SpectralMap(*d.spectral, np.ones(d.T, dtype=bool), np.full(d.T, np.nan))
    if found is not None:
        return _Measured(one, d, found.middle(), found)
    if d.work > MOST_WORK:
        return None
    return _Measured(one, d, d.map.frobenius - 0.5 * math.log10(d.S), None)


def _figures(measured: Sequence[_Measured], place: Place) -> None:
    text = words(product_figures.TEXT)
    if place.direction:
        note = _("{label}, in the order of reading")
        text |= {name: note.format(label=text[name]) for name in ("from", "to")}
    spectral = all(m.spectral is not None for m in measured)
    label = _("norm of ds_t/ds_k") if spectral else _("norm of ds_t/ds_k, over √S")
    left, right = st.columns(2)
    with left:
        pairs = [product_figures.Pairs(m.one.letter, m.norms) for m in measured]
        figure = product_figures.all_pairs(pairs, label, text)
        st.plotly_chart(figure, key="pairs", config=CONFIG, alt=_("Norm of ds_t/ds_k for all pairs t, k"))
    with right:
        figure = product_figures.by_distance([_lags(m) for m in measured], label, text)
        st.plotly_chart(figure, key="lags", config=CONFIG, alt=_("The same norm against t minus k"))
    for m in measured:
        st.markdown(m.one.lead + _product_words(m))


def _lags(m: _Measured) -> product_figures.Lags:
    middle, low, high = by_lag(m.norms)
    slopes = bound = None
    if m.d.bounds is not None:
        bound = np.arange(len(middle)) * m.d.bounds.log_largest
        slopes = bound_by_lag(m.d.bounds.log_measured)
    return product_figures.Lags(m.one.name, m.one.color, middle, low, high, slopes, bound, horizon(m.norms))


def _product_words(m: _Measured) -> str:
    """Vanishing, exploding or healthy over the sequence, and what theory says."""
    far, steps = float(by_lag(m.norms)[0][-1]), m.d.T - 1
    if steps < 1:
        return _("There is one step only, and nothing between two of them.")
    if math.isnan(far):
        return _(
            "**Not finite.** Some states are no numbers, so there is no Jacobian; *Clipping* says where."
        )
    # The root of S, the number of states, is the Frobenius norm of what changes nothing.
    kind = _("spectral norm") if m.spectral else _("Frobenius norm over √{S}").format(S=m.d.S)
    numbers = _("Over {n} steps the {kind} goes from 1 to {left}, {factor} times as much a step.").format(
        n=steps, kind=kind, left=of_decades(far), factor=of_decades(far / max(1, steps))
    )
    reach = horizon(m.norms)
    if math.isfinite(reach):
        told = _("After {n} steps a thousandth is left: the horizon beyond which it can hardly learn.")
        told = f"{_('**Vanishing.**')} {numbers} {told.format(n=of(reach))}"
    elif far > THOUSANDFOLD:
        told = f"{_('**Exploding.**')} {numbers} {_('A small change grows more than a thousandfold.')}"
    else:
        told = f"{_('**Healthy.**')} {numbers} {_('It stays within a thousandfold, down and up.')}"
    if m.d.bounds is not None:
        step = m.d.bounds.log_largest
        theory = _("Theory: at most {step} a step, not below 1, so it may vanish or explode.")
        if step < 0:
            theory = _("Theory: at most {step} a step, below 1, so vanishing is certain.")
        told += " " + theory.format(step=of_decades(step))
    if m.spectral is not None:
        share = percent(m.spectral.width - 1, 1)
        told += " " + _("The spectral norms are known within {share}").format(share=share)
        done, columns = int(m.spectral.done.sum()), len(m.spectral.done)
        told += _(" so far, of {n} of {all} columns.").format(n=done, all=columns) if done < columns else "."
    return told


def _request(one: Shown, place: Place) -> dict[str, Any]:
    """What a map depends on, and nothing else: a change in mid-run asks for no other map."""
    usual = {name: default_of(name) for name in CHANGEABLE}
    return {
        "run": None if one.run is None else one.run.id, "step": one.step, "kernel": one.kernel,
        "experiment": one.experiment.changed(changes=(), **usual).to_json(), "version": VERSION,
        "layer": place.layer, "direction": place.direction, "part": place.part, "sequence": place.sequence,
    }  # fmt: skip


def _spectral(
    store: Store, studied: Sequence[tuple[Shown, Dynamics]], place: Place
) -> Mapping[str, SpectralMap]:
    """Spectral norms by the networks' letters, as far as they were asked for."""
    jobs, found = Jobs(store), {}
    for one, _d in studied:
        job = jobs.find(KIND, _request(one, place))
        blob = None if job is None else job.result or job.partial
        if blob:
            found[one.letter] = decode_map(blob)
    return found


def _ask(store: Store, studied: Sequence[tuple[Shown, Dynamics]], place: Place, settings: Settings) -> None:
    """The button that has spectral norms computed, or how far that is."""
    jobs = Jobs(store)
    studied = [(one, d) for one, d in studied if d.work > AT_ONCE]
    asked = [(one, jobs.find(KIND, _request(one, place))) for one, _d in studied]
    if all(job is not None and job.state == "finished" for _one, job in asked):
        return
    under_way = [job for _one, job in asked if job is not None and job.state in OPEN]
    if under_way:
        bar, stop = st.columns([4, 1], vertical_alignment="center")
        bar.progress(
            min(1.0, sum(job.progress for job in under_way) / len(under_way)),
            _("Spectral norms of all pairs"),
        )
        stop.button(
            _("Cancel"), key="cancel_map", on_click=asking.cancel, args=(jobs, [j.id for j in under_way])
        )
        return
    for one, found in asked:
        if found is not None and found.state == "failed":
            st.warning(one.lead + (found.message or _("The map was not made.")))
    seconds = max(1.0, sum(d.work for _one, d in studied) * SECONDS_PER_WORK)
    requests = [_request(one, place) for one, _d in studied]
    at = max(request["step"] for request in requests) if requests[0]["run"] is not None else None
    told = _("The largest singular value of every product, bracketed from both sides: about {s:.0f} s.")
    st.button(
        _("Compute spectral norms"), key="ask_map", help=told.format(s=seconds),
        on_click=asking.ask, args=(jobs, KIND, requests, settings, at),
    )  # fmt: skip
    asking.say_trouble()


def map_under_way(store: Store, networks: Sequence[Shown], place: Place) -> bool:
    """Whether a map that is on show is being computed."""
    jobs = Jobs(store)
    found: list[Job | None] = [jobs.find(KIND, _request(one, place)) for one in networks]
    return any(job is not None and job.state in OPEN for job in found)
