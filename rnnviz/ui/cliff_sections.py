"""The parts of the page The cliff: its knobs, the surface with the paths, the steps one by one, the cut."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import streamlit as st

from ..analysis.cliff import Unit, Window, at, cliff_line, folds, norm, slice_through, surface
from ..analysis.cliff_descent import Descent, descend
from ..clipping import CLIPPINGS
from ..experiment import Problem
from ..plots import cliff as figures
from ..plots import cliff_curves as curves
from ..plots.cliff import TEXT, Border, Ground, Track
from ..plots.theme import CONFIG
from .cliff_settings import FAR, ON_THE_CLIFF, SETTINGS, USUAL
from .cliff_words import cut_words, ground_words, line_words, path_words, steps_words, verdict
from .kept_figures import kept_figures
from .text import _, words

LINE_POINTS = 401
CLOSE, LEAST = 3.0, 1e-5  # the close view reaches so many times as far as the move, and this at least

_surface = lru_cache(maxsize=32)(surface)  # a fifth of a second at the longest T
_descend = lru_cache(maxsize=64)(descend)


def decades(values: np.ndarray) -> np.ndarray:
    """log10, with -inf for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log10(values))


def window_problems() -> list[Problem]:
    """What is wrong with the window: its sides have to be in order."""
    window = SETTINGS["window"]
    sentence = _("{name} has to run from the smaller number to the larger.")
    return [
        Problem("window", f"{low:g},{high:g}", sentence.format(name=name))
        for name, low, high in (("w", *window[:2]), ("b", *window[2:]))
        if not low < high
    ]  # fmt: skip


def window() -> Window:
    """The window that is drawn: the one that is set, or the usual one where that has no sides."""
    found: Window = SETTINGS["window"]
    return found if not window_problems() else USUAL[SETTINGS["phi"]]["window"]


def unit() -> Unit:
    return Unit(SETTINGS["phi"], SETTINGS["T"])


def knobs() -> None:
    """All settings but those of the cut."""
    SETTINGS.switch(
        "phi", _("Activation φ"), on_change=_other_activation,
        help=_("Another one brings its own window and start, where its cliff is seen."),
    )  # fmt: skip
    SETTINGS.slider("T", _("Time steps T"))
    SETTINGS.switch("show", _("Height and colour"))
    with st.expander(_("Window")):
        SETTINGS.numbers(
            "window", {0: _("w from"), 1: _("w to"), 2: _("b from"), 3: _("b to")}, across=2, step=0.1
        )
    st.subheader(_("Descent"), anchor=False)
    SETTINGS.number("w", _("Start w"), format="%.6g")
    SETTINGS.number("b", _("Start b"), format="%.6g")
    st.button(
        _("On the cliff: (5, -2.6123)"), key="cliff_on_it", on_click=SETTINGS.set, kwargs=ON_THE_CLIFF,
        width="stretch",
    )  # fmt: skip
    rule = SETTINGS.select("rule", _("Clipping"))
    st.caption(_(CLIPPINGS[rule].summary))
    left, right = st.columns(2)
    with left:
        SETTINGS.number("threshold", _("Threshold"), format="%.6g", disabled=rule == "none")
    with right:
        SETTINGS.number("rate", _("Learning rate"), format="%.6g")
    SETTINGS.slider("steps", _("Steps"))


def _other_activation() -> None:
    phi = st.session_state[SETTINGS.key("phi")]
    SETTINGS.set(phi=phi, **USUAL[phi])


def _dropped(w: float, b: float) -> None:
    """A click into the map: the paths begin there."""
    SETTINGS.set(w=round(min(FAR, max(-FAR, w)), 4), b=round(min(FAR, max(-FAR, b)), 4))


def explanation() -> str:
    return _(
        "One unit without input takes the steps $x_t = w\\,\\varphi(x_{t-1}) + b$ from $x_0 = 0.5$ to $x_T$; "
        "$\\varphi$ is its **activation**. Its **error** $E = (\\varphi(x_T) - 0.7)^2$ is small when it "
        "ends where $\\varphi(x_T) = 0.7$. Only w and b are learnt, so the error is a surface over a plane, "
        "and all of it can be seen. The **gradient** points uphill, and its **norm** says how steep it is; "
        "**gradient descent** goes the other way, each time by the learning rate times the norm. "
        "**Clipping** shortens a gradient that is too long before the step is taken. "
        "The setting is that of Pascanu, Mikolov & Bengio (2013)."
    )


def paths() -> tuple[Descent, Descent | None]:
    """Gradient descent from the start without clipping and, if a rule is chosen, with it."""
    start, rule = (SETTINGS["w"], SETTINGS["b"]), SETTINGS["rule"]
    rate, steps, threshold = SETTINGS["rate"], SETTINGS["steps"], SETTINGS["threshold"]
    free = _descend(unit(), start, rate, steps)
    return free, None if rule == "none" else _descend(unit(), start, rate, steps, rule, threshold)


def rule_name() -> str:
    """The rule with its threshold, as the paths are called."""
    return _("{rule}, at {threshold:g}").format(
        rule=_(CLIPPINGS[SETTINGS["rule"]].label), threshold=SETTINGS["threshold"]
    )


def tracks(free: Descent, clipped: Descent | None) -> list[Track]:
    """The paths as they are drawn."""
    made = [_track(_("Without clipping"), free, figures.UNCLIPPED, "solid")]
    if clipped is not None:
        made.append(_track(rule_name(), clipped, figures.CLIPPED, "solid", SETTINGS["threshold"]))
    return made


def _track(name: str, path: Descent, color: str, dash: str, limit: float | None = None) -> Track:
    norms = decades(path.norm)
    return Track(name, path.w, path.b, decades(path.error), norms, color, dash, limit)


def landscape() -> None:
    """The surface and the map with the lines and both paths, and what became of them."""
    sides, text = window(), words(TEXT)
    seen = _surface(unit(), sides)
    free, clipped = paths()
    gradient = SETTINGS["show"] == "gradient"
    ground = Ground(seen.w, seen.b, decades(seen.norm if gradient else seen.error), gradient)
    lines, drawn = _borders(unit(), sides), tracks(free, clipped)
    told = verdict(free, clipped, sides)
    st.markdown(told)
    kept_figures(
        [
            figures.surface_figure(ground, lines, drawn, text),
            figures.map_figure(ground, lines, drawn, (SETTINGS["w"], SETTINGS["b"]), text),
        ],
        "cliff_ground",
        _("The error of one unit over its weight and bias, as a surface and as a map. ")
        + told.replace("**", ""),
        "cliff",
        _dropped,
    )
    st.caption(
        _("The diamond is the start: click into the map to begin elsewhere. Drag the surface to turn it.")
    )
    for name, path in ((_("Without clipping"), free), (rule_name(), clipped)):
        if path is not None:
            st.markdown(path_words(name, path, sides, SETTINGS["rate"]))
    st.markdown(ground_words(seen))
    st.markdown(line_words(unit(), sides, SETTINGS["w"]))


def _borders(one: Unit, sides: Window) -> list[Border]:
    w = np.linspace(sides[0], sides[1], LINE_POINTS)
    low, high = folds(one.activation, w)
    text = words(TEXT)
    fold = text["kink" if one.activation == "relu" else "fold"]
    gap = np.array([np.nan])
    return [
        Border(text["cliff"], w, cliff_line(one.activation, w), figures.CLIFF, "dash"),
        Border(fold, np.concatenate([w, gap, w]), np.concatenate([low, gap, high]), figures.FOLD, "dot"),
    ]


def steps_section() -> None:
    """E and the gradient's norm at each step of both paths."""
    st.subheader(_("Step by step"), anchor=False)
    free, clipped = paths()
    told = steps_words(free)
    st.markdown(told)
    st.plotly_chart(
        curves.descent_figure(tracks(free, clipped), words(TEXT)), key="cliff_steps", config=CONFIG, alt=told
    )


def cut_section() -> None:
    """A cut across the cliff, and what a little move does."""
    st.subheader(_("Cut across the cliff"), anchor=False)
    free, _clipped = paths()
    left, middle, right = st.columns([1, 1.6, 1.4])
    with left:
        along = SETTINGS.switch("along", _("Cut"))
    with middle:
        through = SETTINGS.select("through", _("Through"))
    with right:
        by = SETTINGS.slider("by", _("Moved by"), format="%.4f")
    w, b = (
        (free.w[free.steepest], free.b[free.steepest])
        if through == "steepest"
        else (SETTINGS["w"], SETTINGS["b"])
    )
    _draw_cut(float(w), float(b), along, by)


def _draw_cut(w: float, b: float, along: str, by: float) -> None:
    """The cut over the whole window, and beside it from close by."""
    told = cut_words(unit(), w, b, along, by)
    st.markdown(told)
    places = ((w, b), (w + by, b) if along == "w" else (w, b + by))
    marks = []
    for at_w, at_b in places:
        values = at(unit(), at_w, at_b)
        slope = float(decades(np.array(norm(values.grad_w, values.grad_b))))
        marks.append((at_w if along == "w" else at_b, float(values.error), slope))
    sides = window()[:2] if along == "w" else window()[2:]
    own, near = marks[0][0], CLOSE * max(abs(by), LEAST)
    reaches = {
        "wide": (min(sides[0], own, own + by), max(sides[1], own, own + by)),
        "close": (own - near, own + near),
    }
    for column, (name, reach) in zip(st.columns(2), reaches.items(), strict=True):
        cut = slice_through(unit(), (w, b), along, reach)
        figure = curves.slice_figure(
            cut.at, cut.error, decades(cut.norm), along, cut.cliff, marks[0], marks[1], words(TEXT)
        )
        with column:
            st.plotly_chart(figure, key=f"cliff_cut_{name}", config=CONFIG, alt=told.replace("**", ""))
    held = f"b = {b:.6g}" if along == "w" else f"w = {w:.6g}"
    said = _(
        "E above and the gradient's norm below, with {held} held: first over the window, then {near:g} to "
        "either side of the place."
    ).format(held=held, near=near)
    if cut.cliff is None:
        said += " " + _("This cut does not cross the cliff.")
    else:
        said += " " + _("It crosses the cliff at {name} = {cliff:.6f}.").format(name=along, cliff=cut.cliff)
    st.caption(said)
