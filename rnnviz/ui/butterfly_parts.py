"""The sections of the page Butterfly that are small enough to check by hand: one unit, two, a sigmoid.

Each section draws its controls on one side and its answer on the other, ending in a caption with the numbers
of this setting: vanishing, exploding or healthy, and what to try.
"""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ..analysis.fixed_points import FixedPoint, fixed_points, folds, step
from ..analysis.lags import THOUSANDFOLD
from ..analysis.orbits import Line, Plane, line, matrix_of, plane, power
from ..cells import CELLS
from ..numbers import of as size
from ..plots.maps import TEXT as MAP_TEXT
from ..plots.maps import map_figure
from ..plots.orbits import TEXT as ORBIT_TEXT
from ..plots.orbits import Curve, decades_figure, orbit_figure
from ..plots.theme import CONFIG, INK
from .butterfly_settings import LIMIT, SETTINGS
from .eigenvalue_plane import Pair, eigenvalue_plane
from .text import _, words

REFERENCES = (1.01, 0.99)
MAP_POINTS = 201
IN_THE_PLANE = 40  # steps of an orbit that the plane shows at most,
WHEN_GROWING = 12  # or, where it grows, before the beginning shrinks to a point

LINEAR = CELLS["linear"].color
SIGMOID = CELLS["sigmoid"].color


def sides(explanation: str) -> tuple[DeltaGenerator, DeltaGenerator]:
    """The section's paragraph, and below it the places of the controls and of the answer."""
    st.markdown(explanation)
    controls, answer = st.columns([1, 2.4], gap="large")
    return controls, answer


def draw(figure: go.Figure, name: str, alt: str) -> None:
    """A figure with what it shows in words, for those who do not see it."""
    st.plotly_chart(figure, key=f"butterfly_{name}", config=CONFIG, alt=alt)


def verdict(decades: float) -> str:
    """Vanishing, exploding or healthy, from log10 of what becomes of a difference over all steps."""
    if math.isnan(decades):
        return _("**Out of range.**")
    if decades < -THOUSANDFOLD:
        return _("**Vanishing.**")
    return _("**Exploding.**") if decades > THOUSANDFOLD else _("**Healthy.**")


def decades(values: np.ndarray) -> np.ndarray:
    """log10, with -inf for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = np.log10(np.abs(values))
    return found


def weight_section() -> None:
    """w^t of one linear unit."""
    controls, answer = sides(
        _(
            "One unit whose next state is **w** times the one before, and nothing else: h(t) = w · h(t-1). "
            "A small difference at the start is multiplied by w at every step, so after t steps it is wᵗ "
            "times as large. The gradient goes back through the same steps and is multiplied by the same "
            "number."
        )
    )
    with controls:
        w = SETTINGS.slider("w", _("Weight w"), format="%.3f")
        T = SETTINGS.slider("T", _("Time steps T"))
    found = power(w, T)
    curves = [
        Curve(f"w = {value:g}", decades(power(value, T).state), INK, dash, width=1.5)
        for value, dash in zip(REFERENCES, ("dash", "dot"), strict=True)
        if value != w
    ]
    curves.append(Curve(f"w = {w:g}", decades(found.state), LINEAR, width=3.0))
    with answer:
        figure = decades_figure(curves, _("size of a difference of 1"), text=words(ORBIT_TEXT))
        caption = _weight_caption(w, T, found)
        draw(figure, "weight", caption)
        st.markdown(caption)


def _weight_caption(w: float, T: int, found: Line) -> str:
    end = float(found.state[-1])
    reached = f"{w:g}^{T} = {_exact(end)}"
    told = f"{verdict(float(decades(np.array(end))))} " + _(
        "{reached}: so much becomes of a difference of 1 after {T} steps, and the gradient of the last state "
        "with respect to the first is the same number."
    ).format(reached=reached, T=T)
    if end == 0 or math.isinf(end):
        gone = int(np.argmax((found.state == 0) | np.isinf(found.state)))
        told += " " + _("From t = {t} on, float64 has no number for it.").format(t=gone)
    if w == 1:
        return f"{told} " + _("Exactly 1 is the only weight that keeps it. Try 1.001.")
    half = abs(math.log(2) / math.log(w))
    change = _("doubles") if w > 1 else _("halves")
    told += " " + _("It {change} every {steps} steps.").format(change=change, steps=size(half))
    return f"{told} " + _("Try {other:g}, as far from 1 on the other side.").format(other=round(2 - w, 6))


def _exact(x: float) -> str:
    """Whole where a reader would check it by hand: 20,959; 4.32e-5 elsewhere."""
    return f"{x:,.0f}" if 1e3 <= abs(x) < 1e7 else size(x)


def units_section() -> None:
    """Two linear units with eigenvalues to drag."""
    controls, answer = sides(
        _(
            "Two units with a 2 by 2 matrix, h(t) = W h(t-1). An **eigenvalue** says by how much one "
            "direction is stretched at each step; two that form a complex pair turn the state as well. In "
            "the long run the larger size decides: inside the unit circle everything fades, outside it "
            "grows. But a matrix also has a largest **singular value**, the most that it stretches any "
            "direction in a single step, and where the eigenvectors are not at right angles that can be far "
            "more."
        )
    )
    with controls:
        st.button(
            _("Eigenvalues below 1, and it grows all the same"), key="butterfly_transient",
            on_click=SETTINGS.set,
            kwargs={"pair": "real", "first": 0.95, "second": 0.8, "angle": 5, "steps": 60},
        )  # fmt: skip
        pair = SETTINGS.switch("pair", _("Eigenvalues")) == "complex"
        drawn = st.container()
        left, right = st.columns(2)
        if pair:
            with left:
                re = SETTINGS.number("re", _("Real part"), format="%.3f")
            with right:
                im = SETTINGS.number("im", _("Imaginary part ±"), format="%.3f")
            values = (complex(re, im), complex(re, -im))
        else:
            with left:
                values = (complex(SETTINGS.number("first", _("First"), format="%.3f")), 0j)
            with right:
                values = (values[0], complex(SETTINGS.number("second", _("Second"), format="%.3f")))
        angle = SETTINGS.slider("angle", _("Angle between the eigenvectors (degrees)"), help=_(_ANGLE_HELP))
        T = SETTINGS.slider("steps", _("Time steps T"))
    found = plane(matrix_of(values, float(angle)), T)
    with answer:
        caption = _units_caption(found, T)
        st.markdown(caption)
        first, second = st.columns(2)
        with first:
            upto = _drawn(found, T)
            draw(
                orbit_figure(found.orbit, found.circle, upto, LINEAR, words(ORBIT_TEXT)), "orbit",
                _("The orbit of two units from (0, 1), and the images of the unit circle."),
            )  # fmt: skip
        with second:
            draw(_norms_figure(found, T), "norms", caption)
    with drawn:
        eigenvalue_plane(values, pair, LIMIT, _moved_pair if pair else _moved_real)


_ANGLE_HELP = (
    "At 90 degrees the matrix is normal: its singular values are the sizes of its eigenvalues. The smaller "
    "the angle, the more it shears. Of a complex pair it is the angle between the real and the imaginary "
    "part of the eigenvector."
)


def _moved_pair(values: Pair) -> None:
    SETTINGS.set(re=values[0].real, im=abs(values[0].imag))


def _moved_real(values: Pair) -> None:
    SETTINGS.set(first=values[0].real, second=values[1].real)


def _drawn(found: Plane, T: int) -> int:
    """The last step that the plane shows: that of the largest stretch, where it comes back from it."""
    if 0 < found.peak < T:
        return found.peak
    return min(T, IN_THE_PLANE if found.radius <= 1.0 else WHEN_GROWING)


def _norms_figure(found: Plane, T: int) -> go.Figure:
    t = np.arange(T + 1)
    curves = [
        Curve(
            _("largest singular value, to the power t"),
            t * decades(np.array(found.singular)),
            INK,
            "dot",
            width=1.5,
        ),
        Curve(
            _("largest eigenvalue, to the power t"),
            t * decades(np.array(found.radius)),
            INK,
            "dash",
            width=1.5,
        ),
        Curve(_("Wᵗ itself"), decades(found.norms), LINEAR, width=3.0),
    ]
    if found.singular > 1.0 > found.radius:  # it runs out of the picture, which is not about it
        top = float(np.nanmax(curves[2].y)) + 1.0
        curves[0] = Curve(
            curves[0].name, np.where(curves[0].y <= top, curves[0].y, np.nan), INK, "dot", width=1.5
        )
    mark = found.peak if 0 < found.peak < T else None
    label = _("largest stretch of a difference")
    return decades_figure(curves, label, mark, words(ORBIT_TEXT), 420)


def _units_caption(found: Plane, T: int) -> str:
    end, peak = float(found.norms[-1]), float(found.norms[found.peak])
    transient = found.radius < 1.0 and found.peak > 0 and peak > 1.0 + 1e-9
    fate = verdict(float(decades(np.array(end))))
    if transient and end < 1:
        fate = _("**Growing first, shrinking later.**")
    told = f"{fate} " + _(
        "The largest eigenvalue has the size {radius:.3f}, the largest singular value is "
        "{singular:.3f}. After {T} steps a difference is at most {end} times as large."
    ).format(radius=found.radius, singular=found.singular, T=T, end=size(end))
    if transient:
        return f"{told} " + _(
            "On the way it **grows to {peak} times its size at t = {t}**, though both eigenvalues are below "
            "1: directions that nearly coincide cancel at the start and no longer do when one of them has "
            "faded. The largest eigenvalue decides only in the long run. Try a larger angle."
        ).format(peak=size(peak), t=found.peak)
    if found.singular - found.radius < 1e-9 * found.singular:
        return f"{told} " + _(
            "Both are equal, as the eigenvectors are at right angles: the eigenvalue tells all of it. "
            "Try a smaller angle."
        )
    if found.radius >= 1.0:
        return f"{told} " + _(
            "With the largest eigenvalue at 1 or above it does not fade. Drag it inside the circle."
        )
    return f"{told} " + _("The angle costs nothing here: no step stretches. Try an eigenvalue nearer to 1.")


def sigmoid_section() -> None:
    """One sigmoid unit that listens to itself, below and above w = 4."""
    controls, answer = sides(
        _(
            "One sigmoid unit that listens to itself: h(t) = sigmoid(w · h(t-1) + b). A **fixed point** is a "
            "state that stays where it is, where the curve crosses the diagonal. The slope there multiplies "
            "a small difference at each step: below 1 the point is stable and the past is forgotten. The "
            "sigmoid's own slope is at most 1/4, so only a weight above 4 can make the curve steep enough "
            "to cross three times: two resting places with a ridge between them, one bit of memory."
        )
    )
    with controls:
        w = SETTINGS.slider("weight", _("Weight w"))
        b = SETTINGS.slider("bias", _("Bias b"))
        start = SETTINGS.slider("start", _("Start h(0)"))
        T = SETTINGS.slider("reach", _("Time steps T"))
    states = np.linspace(0.0, 1.0, MAP_POINTS)
    fixed = fixed_points(w, b)
    found = line("sigmoid", w, T, start, b)
    with answer:
        st.markdown(_sigmoid_caption(w, b, T, fixed, found))
        first, second = st.columns(2)
        with first:
            points = [(point.state, point.slope) for point in fixed]
            draw(
                map_figure(states, step(w, b, states), found.state, points, SIGMOID, words(MAP_TEXT)), "map",
                _("One step of the unit against the diagonal: {n} fixed points.").format(n=len(fixed)),
            )  # fmt: skip
        with second:
            curves = [
                Curve(_("dh(t)/dh(0)"), decades(found.slope), SIGMOID, width=3.0),
                Curve(
                    _("(w/4)ᵗ, the most possible"),
                    np.arange(T + 1) * np.log10(w / 4.0),
                    INK,
                    "dot",
                    width=1.5,
                ),
            ]
            top = float(np.nanmax(curves[0].y)) + 2.0
            curves[1] = Curve(
                curves[1].name, np.where(curves[1].y <= top, curves[1].y, np.nan), INK, "dot", width=1.5
            )
            label = _("what becomes of a difference of 1")
            draw(decades_figure(curves, label, None, words(ORBIT_TEXT), 420), "slopes", label)


def _sigmoid_caption(w: float, b: float, T: int, fixed: list[FixedPoint], found: Line) -> str:
    end, top = float(decades(found.slope)[-1]), int(np.argmax(np.abs(found.slope)))
    told = f"{verdict(end)} " + _(
        "From h(0) = {start:g} the unit comes to {last:.3f}; the product of the slopes after {T} steps is "
        "{end}."
    ).format(start=found.state[0], last=found.state[-1], T=T, end=size(float(found.slope[-1])))
    if top > 0 and found.slope[top] > 1.5:
        told += " " + _(
            "On the way it reached {top} at t = {t}: near the ridge differences explode before they vanish."
        ).format(top=size(float(found.slope[top])), t=top)
    span = folds(w)
    if span is None:
        return f"{told} " + _(
            "At w = {w:g} no slope is above {most:.3g}: one fixed point for every b, and every start ends "
            "there. Try w = 5 and b = -2.5."
        ).format(w=w, most=w / 4)
    between = _("Between b = {low:.6f} and {high:.6f} there are three fixed points").format(
        low=span[0], high=span[1]
    )
    if len(fixed) == 3:
        return f"{told} {between}" + _(
            ", and here they are: stable at {low:.3f} and {high:.3f}, with the ridge at {ridge:.3f} between "
            "them, whose slope is {slope:.2f}. Start just beside the ridge."
        ).format(low=fixed[0].state, high=fixed[2].state, ridge=fixed[1].state, slope=fixed[1].slope)
    return f"{told} {between}" + _(", but b = {b:g} lies outside: one is left. Move b in between.").format(
        b=b
    )
