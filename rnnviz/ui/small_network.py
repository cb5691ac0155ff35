"""The controls of a network small enough to read: its examples, sizes, weights, inputs and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ..analysis.by_hand import ACTIVATIONS, EXAMPLES, SmallNetwork, Worked
from ..analysis.latex import plain, short
from ..cells import CELLS
from .setting_kinds import Choice, Kind, Number, Numbers
from .settings import Settings
from .text import _

MOST_STEPS, MOST_UNITS = 6, 2
_LIMIT = 10.0  # of weights, inputs and targets
SMALL, LARGE = 0.1, 10.0  # a product of factors below one vanishes, above the other explodes: a factor of ten
_STEP, _FORMAT = 0.1, "%.6g"  # of their fields
_LOSSES = {"last": "Last step", "every": "Every step"}
_REACHES = {"all": "All", **{str(n): str(n) for n in range(1, MOST_STEPS)}}
_LABELS = {
    "lecture": "Lecture notes: three linear steps",
    "vanishing": "Vanishing: sigmoid",
    "exploding": "Exploding: linear, a weight of 1.8",
    "truncated": "Truncated after two steps",
    "two": "Two units, a loss at every step",
    "own": "Your own",
}


def values_of(network: SmallNetwork) -> dict[str, Any]:
    """A network as settings. Lists have room for the largest network: sizes may change and lose nothing."""

    def padded(values: tuple[float, ...], length: int) -> tuple[float, ...]:
        return (*values, *(0.0,) * (length - len(values)))

    rows = [padded(row, MOST_UNITS) for row in network.W_s]
    return {
        "activation": network.activation,
        "T": network.T,
        "H": str(network.H),
        "loss": "every" if network.every else "last",
        "through": "all" if network.through is None else str(network.through),
        "W_x": padded(network.W_x, MOST_UNITS),
        "W_s": padded(tuple(w for row in rows for w in row), MOST_UNITS**2),
        "b_1": padded(network.b_1, MOST_UNITS),
        "W_o": padded(network.W_o, MOST_UNITS),
        "b_2": network.b_2,
        "X": padded(network.inputs, MOST_STEPS),
        "Y": padded(network.targets, MOST_STEPS),
        "S_0": padded(network.initial, MOST_UNITS),
    }


_PRESETS = {name: values_of(network) for name, network in EXAMPLES.items()}
_FIRST = next(iter(_PRESETS.values()))

KINDS: Mapping[str, Kind] = {
    "activation": Choice(_FIRST["activation"], {name: CELLS[name].label for name in ACTIVATIONS}),
    "T": Number(_FIRST["T"], 1, MOST_STEPS, 1),
    "H": Choice(_FIRST["H"], {str(n): str(n) for n in range(1, MOST_UNITS + 1)}),
    "loss": Choice(_FIRST["loss"], _LOSSES),
    "through": Choice(_FIRST["through"], _REACHES),
    **{
        name: Numbers(_FIRST[name], -_LIMIT, _LIMIT) for name in ("W_x", "W_s", "b_1", "W_o", "X", "Y", "S_0")
    },
    "b_2": Number(_FIRST["b_2"], -_LIMIT, _LIMIT, 0.1),
    "stop": Number(1, 1, 2 * 3 * MOST_STEPS + 5, 1),
}


def controls(settings: Settings) -> SmallNetwork:
    """Draw the controls; returns the network that they stand for."""
    above = st.container()  # filled last: which example it is shows once every number is known
    settings.select("activation", _("Activation"))
    T = int(settings.slider("T", _("Time steps T")))
    H = int(settings.switch("H", _("Hidden units H")))
    settings.switch("loss", _("Loss at"))
    settings.switch(
        "through", _("The gradient goes back through"), ["all", *(str(n) for n in range(1, T))],
        help=_("Truncated backpropagation: how many steps each loss goes back through, its own included."),
    )  # fmt: skip
    st.markdown(_("**Weights**"))
    _weights(settings, H)
    st.markdown(_("**Inputs and targets**"))
    _sequence(settings, T)
    with above:
        _example_picker(settings)
    return network_of(settings)


def network_of(settings: Settings | Mapping[str, Any]) -> SmallNetwork:
    """The network that the settings stand for."""
    T, H = int(settings["T"]), int(settings["H"])
    through = settings["through"]
    return SmallNetwork(
        activation=settings["activation"],
        W_x=settings["W_x"][:H],
        W_s=tuple(settings["W_s"][MOST_UNITS * i : MOST_UNITS * i + H] for i in range(H)),
        b_1=settings["b_1"][:H],
        W_o=settings["W_o"][:H],
        b_2=float(settings["b_2"]),
        inputs=settings["X"][:T],
        targets=settings["Y"][:T],
        initial=settings["S_0"][:H],
        every=settings["loss"] == "every",
        through=None if through == "all" or int(through) >= T else int(through),
    )


def _example_picker(settings: Settings) -> None:
    """Fill in an example; what has been edited is called one's own."""
    chosen = next(
        (name for name, values in _PRESETS.items() if all(settings[k] == v for k, v in values.items())), "own"
    )
    names = [*_PRESETS, *(["own"] if chosen == "own" else [])]
    key = f"{settings.key('example')}:{chosen}"

    def fill() -> None:
        name = st.session_state[key]
        if name in _PRESETS:
            settings.set(**_PRESETS[name], stop=1)

    st.selectbox(
        _("Example"), names, index=names.index(chosen), format_func=lambda name: _(_LABELS[name]), key=key,
        on_change=fill,
    )  # fmt: skip


def _weights(settings: Settings, H: int) -> None:
    if H == 1:
        for names in (("W_x", "W_s", "b_1"), ("W_o", "b_2", "S_0")):
            for name, column in zip(names, st.columns(3), strict=True):
                with column:
                    if name == "b_2":
                        settings.number(name, f"${name}$", format=_FORMAT)
                    else:
                        settings.numbers(name, {0: f"${name}$"}, step=_STEP, format=_FORMAT)
        return
    for name in ("W_x", "W_s", "b_1", "W_o", "S_0"):
        indices = ("1,1", "1,2", "2,1", "2,2") if name == "W_s" else ("1", "2")
        letter, mark = name.split("_")
        labels = {i: f"${letter}_{{{mark},{index}}}$" for i, index in enumerate(indices)}
        settings.numbers(name, labels, across=2, step=_STEP, format=_FORMAT)
    settings.number("b_2", "$b_2$", format=_FORMAT)


def _sequence(settings: Settings, T: int) -> None:
    left, right = st.columns(2)
    with left:
        settings.numbers("X", {t: f"$X_{t + 1}$" for t in range(T)}, step=_STEP, format=_FORMAT)
    with right:
        settings.numbers("Y", {t: f"$Y_{t + 1}$" for t in range(T)}, step=_STEP, format=_FORMAT)


@dataclass(frozen=True)
class Reading:
    """What becomes of the gradient on its way back: in a word, with its numbers, and what to try."""

    verdict: str
    numbers: str
    advice: str


def reading(worked: Worked) -> Reading:
    """What becomes of this network's gradient on its way back through time."""
    net, passage = worked.network, worked.passage
    if net.T == 1:
        advice = _("Add steps to see the product of the factors build up.")
        return Reading(_("One step has no way back through time."), "", advice)
    low, high = short(min(worked.sizes)), short(max(worked.sizes))
    size = low if low == high else _("{low} to {high}").format(low=low, high=high)
    numbers = (
        _("From S_2 back to S_1 it passes one factor \u2202S_2/\u2202S_1, of size {size}.")
        if net.T == 2
        else _(
            "From S_{T} back to S_1 it passes {n} factors \u2202S_t/\u2202S_t\u22121, each of size {size}; "
            "their product has size {product}."
        )
    ).format(T=net.T, n=net.T - 1, size=size, product=short(passage))
    if net.reach < net.T:
        kept, whole = plain(worked.gradient["W_s"]), plain(worked.autograd_whole["W_s"])
        numbers += " " + _(
            "Cut after {reach} of the steps, the gradient of W_s is {kept}; the whole one is {whole}."
        ).format(reach=net.reach, kept=kept, whole=whole)
    return Reading(*_verdict(passage, net.activation, numbers))


def _verdict(passage: float, activation: str, numbers: str) -> tuple[str, str, str]:
    if passage == 0:
        return (
            _("No gradient comes through."),
            numbers,
            _("What happened at the first step cannot be learned. Try other signs, or tanh."),
        )
    if passage < SMALL:
        other = {
            "sigmoid": _("Try a larger W_s, or tanh: the sigmoid's slope is at most 1/4."),
            "tanh": _("Try a W_s nearer to 1, or smaller inputs: tanh is flat where its state is near 1."),
        }.get(activation, _("Try a W_s nearer to 1."))
        return _("The gradient vanishes."), numbers, other
    if passage > LARGE:
        return (
            _("The gradient explodes."),
            numbers,
            _("Try a W_s nearer to 1, or tanh, whose slope shrinks where the state is large."),
        )
    return (
        _("The gradient comes through."),
        numbers,
        _("Try a larger or a smaller W_s, or more steps, and watch this product."),
    )
