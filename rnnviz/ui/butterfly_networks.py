"""The sections of Butterfly that run whole networks: two neighbours, the gain, the initialization."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import streamlit as st

from ..analysis.beginnings import Beginning, beginning
from ..analysis.lags import THOUSANDFOLD
from ..analysis.separation import Separation, largest_exponent, recurrent, separation, transition
from ..cells import CELLS
from ..initialization import INITIALIZATIONS
from ..numbers import of as size
from ..plots.maps import TEXT as MAP_TEXT
from ..plots.maps import Matrix, singular_figure
from ..plots.orbits import TEXT as ORBIT_TEXT
from ..plots.orbits import Curve, decades_figure, transition_figure
from ..plots.spectra import TEXT as SPECTRA_TEXT
from ..plots.spectra import Cloud, on_the_circle
from ..plots.theme import ACCENT
from .butterfly_parts import decades, draw, sides, verdict
from .butterfly_settings import SETTINGS
from .text import _, words

TANH = CELLS["tanh"].color
SWEEP = tuple(np.round(np.linspace(0.5, 2.0, 16), 6).tolist())
SWEEP_STEPS = 200
NEIGHBOUR = 1e-6
#: For each initialization its colour, sign and dash, none of them a cell's.
STYLES = dict(
    zip(
        INITIALIZATIONS,
        [
            ("#7f7f7f", "circle", "solid"), ("#8f63b8", "square", "dash"), ("#c2569c", "diamond", "dot"),
            ("#1a8f86", "cross", "solid"), ("#a0762a", "x", "dash"), ("#5b7fb5", "triangle-up", "dot"),
            ("#b85c5c", "triangle-down", "dashdot"), ("#6a8f2d", "pentagon", "dashdot"),
            ("#d0505f", "star", "longdash"), ("#937860", "hexagon", "longdashdot"),
            ("#4f8fc0", "circle-open", "longdash"),
        ],
        strict=True,
    )
)  # fmt: skip


@lru_cache(maxsize=64)
def _separation(
    cell: str, hidden: int, gain: float, seed: int, epsilon: float, T: int, noisy: bool
) -> Separation:
    return separation(cell, recurrent(cell, hidden, "gaussian", gain, seed), epsilon, T, seed, noisy)


def trajectories_section() -> None:
    """Two neighbours under several cells."""
    controls, answer = sides(
        _(
            "The butterfly itself: one network, run twice from starts that hardly differ. The "
            "weights are random, those of the plain cells the very same. How far apart are the two after t "
            "steps? Where the distance shrinks, the network forgets its past, and gradients vanish with it; "
            "where it grows until it is as large as the states themselves, no gradient foretells anything. "
            "Thin dotted lines are what the product of the **step Jacobians** says (the matrices of slopes "
            "of one step, which the gradient goes back through): it is right as long as the distance is "
            "small."
        )
    )
    with controls:
        cells = SETTINGS.pills("cells", _("Cells"))
        hidden = SETTINGS.slider("hidden", _("Hidden units"))
        gain = SETTINGS.slider("gain", _("Gain of the recurrent weights"))
        apart = SETTINGS.slider("apart", _("First distance: a power of 10"))
        T = SETTINGS.slider("length", _("Time steps T"))
        noisy = SETTINGS.switch("input", _("Input")) == "noise"
        seed = SETTINGS.number("seed", _("Seed"))
    found = {
        cell: _separation(cell, hidden, gain, seed, 10.0**apart, T, noisy)
        for cell in cells
    }  # fmt: skip
    curves = []
    for cell, pair in found.items():
        kind = CELLS[cell]
        curves.append(Curve(kind.label, decades(pair.distance), kind.color, width=2.5))
    for cell, pair in found.items():
        kind = CELLS[cell]
        low = float(np.nanmin(decades(np.maximum(pair.distance, 1e-30))))
        top = float(np.nanmax(decades(pair.distance))) + 1.0
        inside = (pair.predicted >= low - 1.0) & (pair.predicted <= top)
        curves.append(
            Curve(
                _("{cell}, Jacobians").format(cell=kind.label),
                np.where(inside, pair.predicted, np.nan), kind.color, "dot", width=1.0,
            )
        )  # fmt: skip
    with answer:
        figure = decades_figure(curves, _("distance of the two (Euclidean)"), None, words(ORBIT_TEXT), 420)
        for trace in figure.data[len(found) :]:
            trace.showlegend = False
        said = [_trajectories_sentence(cell, pair, apart, T) for cell, pair in found.items()]
        draw(figure, "trajectories", " ".join(said))
        st.markdown("\n".join(f"- {sentence}" for sentence in said))
        st.markdown(_trajectories_advice(found, gain))


def _trajectories_sentence(cell: str, pair: Separation, apart: int, T: int) -> str:
    end = float(pair.distance[-1])
    told = _(
        "{verdict} {cell}: a difference of 1e{apart} is {end} after {T} steps; a small one is multiplied by "
        "{growth:.3f} a step."
    ).format(
        verdict=verdict(float(pair.predicted[-1]) - apart), cell=CELLS[cell].label, apart=apart,
        end=size(end), T=T, growth=pair.growth,
    )  # fmt: skip
    if end == 0:
        return f"{told} " + _("The two have become the same to the last digit of float64.")
    if end < 10.0 ** (float(pair.predicted[-1]) - 0.5) and pair.growth > 1:
        return f"{told} " + _("It cannot grow any more: it is as large as the states.")
    return told


def _trajectories_advice(found: dict[str, Separation], gain: float) -> str:
    if any(pair.growth > 1 for pair in found.values()):
        return _("Try a gain of 1, or the same noise for both: input that drives the units calms them.")
    return _("Try a gain above {gain:g}, until a cell's neighbours part.").format(gain=gain)


def random_section() -> None:
    """The transition of a random tanh network."""
    controls, answer = sides(
        _(
            "N tanh units with random weights of variance g²/N and no input. The **gain** g decides: in an "
            "endless network everything dies away below g = 1, and above it the network never rests and "
            "never repeats itself (chaos; Sompolinsky, Crisanti & Sommers 1988). The **largest Lyapunov "
            "exponent** is the average logarithm by which a small difference grows at each step: below 0 "
            "differences vanish, above 0 neighbours part."
        )
    )
    with controls:
        g = SETTINGS.slider("g", _("Gain g"))
        N = SETTINGS.slider("N", _("Units N"), help=_("A new N or seed takes about a second: a whole sweep."))
        T = SETTINGS.slider("time", _("Time steps T"))
        seed = SETTINGS.number("seed", _("Seed"))
    pair = _separation("tanh", N, g, seed, NEIGHBOUR, T, False)
    swept = transition(N, SWEEP, SWEEP_STEPS, seed)
    here = _exponent(N, g, seed)
    with answer:
        st.markdown(_random_caption(g, N, T, pair, here, swept.radius))
        first, second = st.columns(2)
        with first:
            curves = [
                Curve(_("size of the state"), decades(pair.size), TANH, width=2.5),
                Curve(_("distance of a neighbour"), decades(pair.distance), ACCENT, "dash"),
            ]
            label = _("root mean square, and distance")
            draw(decades_figure(curves, label, None, words(ORBIT_TEXT)), "activity", label)
        with second:
            figure = transition_figure(
                swept.gains, swept.exponents, swept.radius, (g, here), TANH, words(ORBIT_TEXT)
            )
            draw(figure, "transition", _("Largest Lyapunov exponent against the gain."))


@lru_cache(maxsize=64)
def _exponent(hidden: int, gain: float, seed: int) -> float:
    return largest_exponent(recurrent("tanh", hidden, "gaussian", gain, seed), SWEEP_STEPS, seed)


def _random_caption(g: float, N: int, T: int, pair: Separation, here: float, radius: float) -> str:
    last = float(pair.size[-1])
    told = f"{verdict(here / np.log(10.0) * T)} " + _(
        "At g = {g:g} the exponent is {here:+.3f}: a small difference is multiplied by {factor:.3f} a step. "
        "The state's size goes from {first:.2f} to {last} in {T} steps, a neighbour's distance from 1e-6 to "
        "{apart}."
    ).format(
        g=g, here=here, factor=np.exp(here), first=pair.size[0], last=size(last), T=T,
        apart=size(float(pair.distance[-1])),
    )  # fmt: skip
    finite = _(
        "With {N} units the turn is rounded: the largest eigenvalue is {radius:.3f} g, not g, and just "
        "above 1 the network may settle on a point or a cycle."
    ).format(N=N, radius=radius)
    advice = _("Try g = 1.5.") if g < 1 else _("Try g = 0.9.")
    return f"{told} {finite} {advice}"


def initialization_section() -> None:
    """What orthogonal and identity change."""
    controls, answer = sides(
        _(
            "The same plain network under several first weights, before any training, on sequences of the "
            "adding task. Its **eigenvalues** say what repeated steps do in the long run, its **singular "
            "values** by how much one step stretches each direction. An orthogonal matrix has all of them "
            "on the circle of size 1: it only turns. The identity does not even turn. What the activation "
            "function adds is seen in the first figure: the largest stretch of a difference from the start "
            "to step t."
        )
    )
    with controls:
        names = SETTINGS.pills("inits", _("Initializations"))
        cell = SETTINGS.switch("cell", _("Cell"))
        hidden = SETTINGS.slider("units", _("Hidden units"))
        gain = SETTINGS.slider("scale", _("Gain, where there is one"))
        T = SETTINGS.slider("span", _("Time steps T"), help=_("Many steps and units take up to a second."))
        seed = SETTINGS.number("seed", _("Seed"))
    found = {
        name: beginning(name, cell, hidden, T, gain if INITIALIZATIONS[name].uses_gain else 1.0, seed)
        for name in names
    }
    clouds, matrices, curves = [], [], []
    for name, one in found.items():
        label, (color, shape, dash) = _(INITIALIZATIONS[name].label), STYLES[name]
        clouds.append(Cloud(label, color, one.eigenvalues, shape=shape))
        matrices.append(Matrix(label, one.singular, color, dash))
        curves.append(Curve(label, one.norms, color, dash, one.times))
    with answer:
        label = _("largest singular value of ds(t)/ds(0)")
        said = [_initialization_sentence(name, one, T) for name, one in found.items()]
        draw(decades_figure(curves, label, None, words(ORBIT_TEXT)), "beginnings", " ".join(said))
        st.markdown("\n".join(f"- {sentence}" for sentence in said))
        st.markdown(_initialization_advice(cell, found))
        first, second = st.columns(2)
        with first:
            draw(on_the_circle(clouds, words(SPECTRA_TEXT)), "eigenvalues", _("Eigenvalues of W_hh."))
        with second:
            draw(singular_figure(matrices, words(MAP_TEXT)), "singular", _("Singular values of W_hh."))


def _initialization_sentence(name: str, one: Beginning, T: int) -> str:
    end = float(one.norms[-1])
    return _(
        "{verdict} {name}: largest eigenvalue {radius:.3f}, largest singular value {singular:.3f}; after "
        "{T} steps a difference is at most {end} times as large."
    ).format(
        verdict=verdict(end), name=_(INITIALIZATIONS[name].label), radius=float(np.abs(one.eigenvalues[0])),
        singular=float(one.singular[0]), T=T,
        end="0" if end == -np.inf else size(10.0**end) if abs(end) < 300 else f"1e{end:.0f}",
    )  # fmt: skip


def _initialization_advice(cell: str, found: dict[str, Beginning]) -> str:
    fading = [name for name, one in found.items() if one.norms[-1] < -THOUSANDFOLD]
    if cell == "relu" and "orthogonal" in fading:
        return _(
            "Under ReLU an orthogonal matrix fades: it mixes the units, and at each step about half of them "
            "are silent with slope 0. The identity mixes nothing, so a unit that is active stays active "
            "with slope 1: that is why IRNNs pair it with ReLU. Try tanh."
        )
    if cell == "tanh" and "orthogonal" in found:
        return _(
            "Under tanh an orthogonal matrix loses only what tanh takes, whose slope is below 1 wherever a "
            "unit is not at 0; the identity has small input weights and hardly leaves 0. Try ReLU."
        )
    return _("Try Orthogonal and Identity beside the others, under tanh and under ReLU.")
