"""The parts of the page Architectures: the drawing, what a form is and has, training it, what came before."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import streamlit as st

from ..analysis.moment import moment
from ..analysis.parameter_gradients import gradient_norms
from ..experiment import Experiment, knob
from ..layout import layout_of
from ..numbers import of
from ..tasks import TASKS
from ..twins import Twins, said, titles
from . import link
from .architecture_diagram import TEXT, drawing
from .architectures import ARCHITECTURES, tasks_of, written
from .module_lines import reading_lines
from .setting_kinds import Choice, Kind
from .settings import Settings
from .svg_box import svg_box
from .text import _, words

PAGES = Path(__file__).resolve().parents[2] / "pages"
KINDS: dict[str, Kind] = {
    "form": Choice("many_to_one", {name: one.label for name, one in ARCHITECTURES.items()})
}
SETTINGS = Settings("architectures", KINDS)
BITS = 32  # of a number in single precision
DELAY = 20  # steps, of the echo that says how many states a Markov model needs
SCROLL = 18  # pixels: room for the bar of a drawing that is too wide
WINDOW = 5  # characters of an autoregressive table


def drawing_section(name: str) -> None:
    """The network unrolled over a sequence of its task."""
    drawn = ARCHITECTURES[name].drawn
    inputs, answers = written(drawn)
    made = drawing(drawn, inputs, answers, alt(name), words(TEXT))
    svg_box(made.svg(), key="architecture", height=math.ceil(made.height) + SCROLL)
    st.caption(caption(name))


def alt(name: str) -> str:
    """What the drawing shows, for who does not see it."""
    one = ARCHITECTURES[name]
    inputs, answers = written(one.drawn)
    told = _("{label}, unrolled, T = {T}. {what} It reads: {inputs}. The right answer: {answers}.")
    return told.format(
        label=_(one.label), T=len(inputs), what=_(one.what), inputs="; ".join(inputs),
        answers="; ".join(answers),
    )  # fmt: skip


def caption(name: str) -> str:
    """What is drawn, and how to read it."""
    one = ARCHITECTURES[name]
    e, task = one.drawn, TASKS[one.drawn.task]
    told = [
        _("A validation sequence of the task {task}, T = {T}.").format(
            task=_(task.label), T=e.steps_per_sequence()
        ),
        _("A box lights up as soon as all that it reads is there; the top line is the loss."),
    ]
    if e.task != one.preset.task:
        steps = one.preset.steps_per_sequence()
        told.insert(
            1,
            _("(What is trained below is {task}, whose {steps} steps would not fit.)").format(
                task=_(TASKS[one.preset.task].label), steps=steps
            ),
        )
    if e.directions == 2:
        told.append(_("Dashed arrows run from the right to the left: the reversed input."))
    return " ".join(told)


def about_section(name: str) -> None:
    """What it is, what it is for, and which tasks have it."""
    one = ARCHITECTURES[name]
    st.markdown(f"**{_(one.what)}**")
    st.markdown(_("**Used for:** {used}").format(used=_(one.used)))
    for note in one.notes:
        st.markdown(_(note))
    if name == "one_to_one":
        st.markdown(nothing_to_do(one.preset))
    st.markdown(tasks_words(name))


def tasks_words(name: str) -> str:
    """Which tasks can be trained in this form."""
    having = tasks_of(name)
    names = ", ".join(_(task.label) for task in having)
    return _("**{n} of the {all} tasks here can be trained so:** {names}.").format(
        n=len(having), all=len(TASKS), names=names
    )


@lru_cache(maxsize=4)
def nothing_to_do(experiment: Experiment) -> str:
    """The norms of a real gradient with a single time step: that of weight_hh is zero."""
    norms = gradient_norms(moment(experiment))
    recurrent, reading = norms["rnn.weight_hh_l0"], norms["rnn.weight_ih_l0"]
    return _(
        "Measured in a pass over a batch of {B} with fresh weights: the gradient of `weight_hh_l0` has the "
        "norm **{hh}**, that of `weight_ih_l0` {ih}. Training leaves W_hh as it was drawn."
    ).format(B=experiment.batch, hh=of(recurrent), ih=of(reading))


def numbers_section(name: str) -> None:
    """The knobs, the shapes, the parameters and the lines of PyTorch of what is trained."""
    one = ARCHITECTURES[name]
    e = one.preset
    st.markdown(knobs_words(name))
    st.markdown(shapes_words(e))
    st.markdown(parameters_words(e))
    st.code(reading_lines(e), language="python")


def knobs_words(name: str) -> str:
    """The settings that make the form."""
    one = ARCHITECTURES[name]
    made = [f"{_('Task')} *{_(TASKS[one.preset.task].label)}*"]
    made += [f"{_(knob(field).label)} *{_value(one.preset, field)}*" for field in one.knobs]
    return _("**Knobs that make it:** {knobs}.").format(knobs=", ".join(made))


def _value(experiment: Experiment, name: str) -> str:
    options, value = knob(name).options, getattr(experiment, name)
    return _(options[value]) if options else str(value)


def shapes_words(e: Experiment) -> str:
    """What goes in, what comes out, and which part of that is read."""
    task, T = TASKS[e.task], e.steps_per_sequence()
    wide = e.directions * e.hidden
    told = _("**Shapes:** input (T, B, I) = ({T}, {B}, {I}); output (T, B, D·H) = ({out}, {B}, {wide}).")
    answered = task.answered(e.length)
    out = answered if e.architecture == "encoder_decoder" else T
    found = told.format(T=T, B=e.batch, I=task.input_size, out=out, wide=wide)
    if e.architecture == "encoder_decoder":
        found += " " + _("That is the decoder's; the encoder reads ({n}, {B}, {I}).").format(
            n=T - answered, B=e.batch, I=task.input_size
        )
    return f"{found} {read_words(e)}"


def read_words(e: Experiment) -> str:
    """Which part of the output the answer reads."""
    task, T = TASKS[e.task], e.steps_per_sequence()
    if task.readout == "last" and e.directions == 2:
        return _("Read is h_n of both directions of the last layer: h at t = {T} and at t = 1.").format(T=T)
    if task.readout == "last":
        return _("Read is the last step, which is h_n of the last layer.")
    answered = task.answered(e.length)
    if answered == T or e.architecture == "encoder_decoder":
        return _("Read is every step of it.")
    return _("Read are the last {n} of its {T} steps.").format(n=answered, T=T)


def parameters_words(e: Experiment) -> str:
    """How many numbers are learned, and where."""
    layout = layout_of(e)
    counts = {name: part.stop - part.start for name, part in layout.groups.items()}
    return _(
        "**Parameters:** {all:,}, of which {recurrent:,} multiply a state, {input:,} belong to the inputs "
        "and biases, {output:,} make the answer."
    ).format(all=layout.size, **counts)


def train_section(name: str) -> None:
    """Buttons that open Train with what is shown here."""
    one = ARCHITECTURES[name]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(_("Train it here"), type="primary", key=f"train_{name}"):
            _open((one.preset,))
        if one.twins and st.button(_("Train it beside the other"), key=f"twins_{name}"):
            _open(one.twins)
        st.caption(preset_words(one.preset))
    if one.twins:
        first, second = titles(one.twins)
        st.markdown(f"**A** {first} · **B** {second}. {_(one.compared)}")


def preset_words(e: Experiment) -> str:
    """What the button trains."""
    told = [said(e, "cell"), said(e, "hidden"), _("{n:,} steps").format(n=e.steps)]
    return _("{task}, length {length}: {settings}. Guessing has a loss of {loss:.3g}.").format(
        task=_(TASKS[e.task].label), length=e.length, settings=", ".join(told),
        loss=TASKS[e.task].baseline(e.length),
    )  # fmt: skip


def query(twins: Twins) -> dict[str, list[str]]:
    """The address of Train that starts with these."""
    return link.to_query(link.View(twins))


def _open(twins: Twins) -> None:
    st.switch_page(PAGES / "train.py", query_params=query(twins))


def before_section() -> None:
    """Hidden Markov models and autoregressive models, and the numbers that say why a state has more."""
    st.subheader(_("What came before"), anchor=False)
    st.markdown(before_words())


def before_words() -> str:
    """The same, with its numbers."""
    H, characters = Experiment().hidden, TASKS["text"].input_size
    states = 2**DELAY
    return _(
        "A **hidden Markov model** is in one of N states, so that it carries log2 N bits from step to step "
        "and needs N² transitions. To repeat bits {delay} steps later it has to hold {delay} bits: "
        "{states:,} states, {transitions:.1e} transitions. A recurrent network holds H real numbers "
        "instead: H = {H} in single precision are {bits:,} bits, an upper limit of which training uses a "
        "part, moved on by {weights:,} weights in W_hh. Units share the work, so that n of them that are on "
        "or off make 2ⁿ states: the {delay} bits fit into {delay} units.\n\nAn **autoregressive model** "
        "predicts from a window of the last k inputs. It has no state, so it is fast and easily trained, "
        "but what is k + 1 steps back does not exist for it. A table over {characters} characters and k = "
        "{window} has {rows:,} rows; a linear one has k·I weights for each answer, and grows with the "
        "window. A recurrent network has the same weights for a window of any length; whether it learns to "
        "use it is the subject of the other pages."
    ).format(
        delay=DELAY, states=states, transitions=float(states) ** 2, H=H, bits=H * BITS, weights=H * H,
        characters=characters, window=WINDOW, rows=math.prod([characters] * WINDOW),
    )  # fmt: skip
