"""The section of the page on gradients that looks at spectra: eigenvalues, singular values, exponents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
from safetensors.numpy import load

from ..analysis.dynamics import Dynamics, Place, dynamics
from ..analysis.lags import THOUSANDFOLD
from ..numbers import of, of_decades
from ..plots import spectra as spectrum_figures
from ..plots.theme import CONFIG
from ..runs.store import Store
from .flow_words import BOUNDED
from .networks import Shown
from .overviews import overview_of
from .settings import Settings
from .text import _, words


def spectra(store: Store, networks: Sequence[Shown], settings: Settings, place: Place) -> None:
    """Eigenvalues on the unit circle, singular values over time and training, Lyapunov exponents."""
    st.markdown(
        _(
            "**Eigenvalues** say what a matrix does in the long run, **singular values** what it can do in "
            "one step. Where the same matrix is repeated, a direction inside the unit circle shrinks in the "
            "long run, one outside it grows. For a gated cell what decides is the step Jacobian, the "
            "derivative of one state with respect to the one before (here of one sequence), not W_hh alone."
        )
    )
    studied = [(one, dynamics(one.moment, place)) for one in networks]
    if not all(d.fits and d.quick for _one, d in studied):
        st.info(_("The spectra of this network take too long to be had here; choose fewer units or steps."))
        return
    text = words(spectrum_figures.TEXT)
    if place.direction:
        text["time"] = _("{label}, in the order of reading").format(label=text["time"])
    kind, slider = st.columns([2, 3], gap="medium")
    with kind:
        what = settings.switch("of", _("Eigenvalues of"))
    T, t = min(d.T for _one, d in studied), 0
    if what == "step" and T > 1:
        label = _("Time step, in the order of reading") if place.direction else _("Time step t")
        with slider:
            t = settings.among("t", label, list(range(1, T + 1)), last=True) - 1
    left, right = st.columns(2)
    with left:
        figure = spectrum_figures.on_the_circle(_clouds(studied, what, t), text)
        st.plotly_chart(figure, key="circle", config=CONFIG, alt=_("Eigenvalues and the unit circle"))
        st.caption(_("Dotted: the largest singular value, the most that one step can stretch anything by."))
    with right:
        lines = [(one.name, one.color, _spread(d)) for one, d in studied]
        figure = spectrum_figures.along_time(lines, t + 1 if what == "step" else None, text)
        told = _("Largest singular value of each step Jacobian")
        st.plotly_chart(figure, key="stretch", config=CONFIG, alt=told)
        fewest = min(len(d.times) for _one, d in studied)
        if fewest < T - 1:
            told += _(", taken at {n} of {T} steps").format(n=fewest, T=T)
        st.caption(f"{told}.")
    for one, d in studied:
        st.markdown(one.lead + _circle_words(d, what, t))
    left, right = st.columns(2) if any(one.run for one in networks) else (st.container(), st.container())
    with left:
        st.subheader(_("Lyapunov exponents"), anchor=False)
        st.caption(
            _("How fast neighbouring states part or meet, a step, along each direction in the long run.")
        )
        found = [spectrum_figures.Exponents(one.name, one.color, d.exponents) for one, d in studied]
        figure = spectrum_figures.exponents(found, text)
        st.plotly_chart(figure, key="lyapunov", config=CONFIG, alt=_("Lyapunov exponents"))
        for one, d in studied:
            st.markdown(one.lead + lyapunov_words(d))
    with right:
        _over_training(store, networks, place, text)


def _clouds(studied: Sequence[tuple[Shown, Dynamics]], what: str, t: int) -> list[spectrum_figures.Cloud]:
    clouds = []
    for one, d in studied:
        if what == "step":
            name = " · ".join(filter(None, (one.letter, _("step Jacobian"))))
            clouds.append(spectrum_figures.Cloud(name, one.color, d.eigenvalues(t), d.stretch(t)))
            continue
        for k, (gate, (values, largest)) in enumerate(d.blocks.items()):
            gate_name = _("gate {gate}").format(gate=gate) if len(d.blocks) > 1 else _("W_hh")
            name = " · ".join(filter(None, (one.letter, gate_name)))
            shape = spectrum_figures.SHAPES[k % len(spectrum_figures.SHAPES)]
            clouds.append(spectrum_figures.Cloud(name, one.color, values, largest, shape))
    return clouds


def _spread(d: Dynamics) -> np.ndarray:
    """(T,) with gaps where no singular values were taken, joined by the figure."""
    values: np.ndarray = np.interp(np.arange(d.T), d.times, d.singular[:, 0])
    values[: d.times[0]] = np.nan
    return values


def _circle_words(d: Dynamics, what: str, t: int) -> str:
    if what == "step":
        radius = float(np.max(np.abs(d.eigenvalues(t)), initial=0.0))
        return _(
            "The step Jacobian at t = {t} has the spectral radius {radius} (its largest eigenvalue, without "
            "its sign) and the largest singular value {largest}."
        ).format(t=t + 1, radius=of(radius), largest=of(d.stretch(t)))
    told = []
    for gate, (values, largest) in d.blocks.items():
        name = _("gate {gate}").format(gate=gate) if len(d.blocks) > 1 else _("W_hh")
        reach = of(float(np.max(np.abs(values), initial=0.0)))
        told.append(
            _("{name}: spectral radius {radius}, largest singular value {largest}").format(
                name=name, radius=reach, largest=of(largest)
            )
        )
    return "; ".join(told) + "."


def lyapunov_words(d: Dynamics) -> str:
    """What the largest exponent makes of a difference over the whole sequence."""
    largest, steps = float(d.exponents[0]), d.T - 1
    if math.isnan(largest):
        return _("**Not finite.** Some states are no numbers.")
    if math.isinf(largest):
        return _("**Vanishing.** Nothing at all passes a step.")
    decades = largest * steps / math.log(10)
    numbers = _(
        "The largest is {exponent}: {factor} times as much a step, and {left} times over {n} steps."
    ).format(exponent=of(largest), factor=of(math.exp(largest)), left=of_decades(decades), n=steps)
    if abs(decades) <= THOUSANDFOLD:
        return f"{_('**Healthy.**')} {numbers}"
    after = of(math.log(1000) / abs(largest))
    if decades < 0:
        told = _("After {n} steps a thousandth is left.").format(n=after)
        return f"{_('**Vanishing.**')} {numbers} {told}"
    told = _("It grows a thousandfold in {n} steps.").format(n=after)
    if all(activation in BOUNDED for activation in d.cell.activations):
        told += " " + _("Where the states are bounded, as here, that is chaos.")
    return f"{_('**Exploding.**')} {numbers} {told}"


def _over_training(store: Store, networks: Sequence[Shown], place: Place, text: Mapping[str, str]) -> None:
    """What was recorded at every look at the validation set: radius and largest singular value."""
    layer, direction, part, _sequence = place
    histories = []
    for one in networks:
        shown = None if one.run is None else overview_of(store, one.run.id)
        if shown is None or part:
            continue
        arrays = load(shown[1])
        row = layer * one.experiment.directions + direction
        measured = arrays["spectrum"][:, row, -1]  # (m, 2), of the step Jacobian
        histories.append(
            spectrum_figures.History(
                one.letter, one.color, arrays["validation_step"], measured[:, 0], measured[:, 1], one.step
            )
        )
    if not histories:
        return
    st.subheader(_("Over training"), anchor=False)
    figure = spectrum_figures.over_training(histories, text)
    st.plotly_chart(
        figure, key="history", config=CONFIG, alt=_("Spectrum of the step Jacobian over training")
    )
    st.caption(
        _("Of the step Jacobian, the geometric mean over some steps of one held-out sequence, as recorded.")
    )
