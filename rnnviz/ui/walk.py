"""The walk through a small network, drawn by the browser: all its stops are sent at once.

Every number comes from `rnnviz.analysis.by_hand`; here they become text, and the sentences are written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import streamlit as st

from ..analysis.by_hand import WEIGHTS, Worked
from ..analysis.latex import grad, short
from ..analysis.walk import Frame, chain, loss_of, walk
from .component import component, module_path
from .small_network import Reading
from .text import _

KEY = "walk"

_component = component("walk")


def show_walk(worked: Worked, reading: Reading, stop: int, stamp: int, heard: Callable[[int], None]) -> None:
    """Draw the walk.

    The browser stands at `stop`, counted from 1, whenever `stamp` is a new one; after that it goes its own
    way and tells `heard` where it came to rest.
    """

    def told() -> None:
        found = getattr(st.session_state.get(KEY), "stop", None)
        if isinstance(found, int | float):
            heard(int(found))

    data = {
        "module": module_path("walk.js"),
        "at": stop - 1,
        "stamp": stamp,
        "reading": asdict(reading),
        **walk_data(worked),
    }
    _component(key=KEY, data=data, on_stop_change=told)


def walk_data(worked: Worked) -> dict[str, Any]:
    """All that the browser draws of a small network."""
    net = worked.network
    frames = walk(worked)
    return {
        "text": _words(worked),
        "color": net.cell.color,
        "T": net.T,
        "H": net.H,
        "every": net.every,
        "reach": net.reach,
        "loss": loss_of(net),
        "counted": [t + 1 for t in net.counted],
        "reached": [net.reached(t) for t in range(net.T)],
        "frames": [
            {
                "name": frame.name,
                "phase": frame.phase,
                "step": frame.step,
                "title": _title(frame),
                "sentence": sentence(frame),
                "equations": [[equation.symbols, equation.numbers] for equation in frame.equations],
            }
            for frame in frames
        ],
        "nodes": {
            "X": [short(x) for x in net.inputs],
            "Y": [short(y) for y in net.targets],
            "initial": _texts(worked.before[0]),
            "S": [_texts(state) for state in worked.state],
            "O": _texts(worked.output),
            "L": [None if np.isnan(loss) else short(loss) for loss in worked.loss],
        },
        "grads": {
            "O": _texts(worked.grad_output),
            "direct": [_texts(values) for values in worked.direct],
            "carried": [_texts(values) for values in worked.carried],
            "cut": [_texts(values) for values in worked.cut],
            "S": [_texts(values) for values in worked.grad_state],
        },
        "rows": [row for name in reversed(list(WEIGHTS)) for row in _rows(worked, name)],
        "chain": _chain(worked),
    }


def _texts(values: np.ndarray) -> list[str]:
    return [short(float(value)) for value in values]


def _rows(w: Worked, name: str) -> list[dict[str, Any]]:
    """A row of the table of sums for each element of a weight."""
    net, cut = w.network, w.network.reach < w.network.T
    output = name in ("W_o", "b_2")
    counts = [t in net.counted if output else net.reached(t) for t in range(net.T)]
    stops = [f"dO{t + 1}" if output and counts[t] else _stop(w, t) for t in range(net.T)]
    rows = []
    for place in np.ndindex(w.gradient[name].shape):
        terms = w.terms[name][:, *place]
        left = w.left_out[name][:, *place]
        running = np.cumsum(terms[::-1])[::-1]
        whole = np.cumsum((terms + left)[::-1])[::-1]
        indices = _indices(name, place, net.H)
        label = f"{name[:-2]}_{{{name[-1]}{',' + ''.join(indices) if indices else ''}}}"
        rows.append(
            {
                "name": " ".join([name, *(str(i + 1) for i in place)]),
                "weight": name,
                "label": label,
                "title": name + (f"[{', '.join(indices)}]" if indices else ""),
                "stops": stops,
                "counts": counts,
                "terms": [_told(value) for value in terms],
                "left": [
                    _told(value) if cut and not output and (value or not net.reached(t)) else None
                    for t, value in enumerate(left)
                ],
                "running": [_told(value) for value in running],
                "whole": [_told(value) for value in whole],
                "autograd": short(float(w.autograd[name][place])),
            }
        )
    return rows


def _indices(name: str, place: tuple[int, ...], H: int) -> list[str]:
    """Which element of a weight it is, in words of the mathematics: none where there is only one."""
    if H == 1 or name == "b_2":
        return []
    kept = {"W_x": place[:1], "W_o": place[1:]}.get(name, place)
    return [str(i + 1) for i in kept]


def _stop(w: Worked, t: int) -> str:
    """The stop at which the terms of a step are known."""
    return f"dW{t + 1}" if w.network.reached(t) else f"dS{t + 1}"


def _told(value: float) -> dict[str, Any]:
    return {"value": float(value), "text": short(float(value))}


def _chain(w: Worked) -> dict[str, Any]:
    net = w.network
    L, T = f"L_{net.T}", net.T
    links = chain(w)
    between = rf"\prod_{{j=k+1}}^{{{T}}} {grad('S_j', 'S_{j-1}')}"
    columns = [
        "k", grad(L, f"O_{T}"), grad(f"O_{T}", f"S_{T}"), between, grad("S_k", "W_s"),
        r"\text{" + _("term") + "}",
    ]  # fmt: skip
    formula = rf"{grad(L, 'W_s')} = \sum_{{k=1}}^{{{T}}} {' '.join(columns[1:4])} {grad('S_k', 'W_s')}"
    rows = [
        {
            "cells": [str(one.step), one.output, one.read, one.between, one.weight, one.term],
            "reached": one.reached,
        }
        for one in links
    ]
    notes = [
        _("\u2202S_k/\u2202W_s is \u03c6\u2032(a_k) S_k\u22121: the state before it, which is held fixed "
          "here, times the slope of the activation there.")
    ]  # fmt: skip
    if net.H > 1:
        notes = [_("For \u2202S_k/\u2202W_s the two vectors that make it: \u03c6\u2032(a_k) and S_k\u22121.")]
    if net.every:
        notes.append(
            _("This is the loss of step {T} alone; those before it are made in the same way.").format(T=T)
        )
    if net.reach < T:
        notes.append(_("Lines through a row: the truncation leaves it out."))
    return {"formula": formula, "columns": columns, "rows": rows, "note": " ".join(notes)}


def _words(worked: Worked) -> dict[str, str]:
    net = worked.network
    return {
        "walk": _("Backpropagation step by step. The left and right arrow keys walk."),
        "first": _("First stop (Home)"),
        "back": _("One back (left arrow key)"),
        "forward": _("One on (right arrow key)"),
        "last": _("Last stop (End)"),
        "play": _("Play"),
        "pause": _("Pause"),
        "slider": _("Stop"),
        "place": _("{phase}, stop {stop} of {stops}"),
        "phase_forward": _("Forward"),
        "phase_backward": _("Backward"),
        "phase_sum": _("Sums"),
        "sum": _("sum so far"),
        "diagram": _("The network unrolled over {T} steps, with its numbers so far.").format(T=net.T),
        "terms": _("What each step adds to the gradient of each weight, and the sums"),
        "choose": _("Draw the sum of {weight}"),
        "building": _("How the sum for {weight} builds up, from the last step to the first"),
        "cut": _("cut here"),
        "chain": _("The same as a chain of products"),
        "broken": _("The walk could not be loaded. Reload the page."),
    }  # fmt: skip


def _title(frame: Frame) -> str:
    if frame.phase == "sum":
        return _("The gradient of {weight}.").format(weight=frame.values["weight"])
    if frame.phase == "forward":
        return _("Step {t}, forward.").format(t=frame.step)
    return _("Step {t}, backward.").format(t=frame.step)


def sentence(frame: Frame) -> str:
    """What happens at a stop, in a sentence or two."""
    sentences = {
        "state": _("The new state S_{t} is made from the input X_{t} and the state before it, S_{before}."),
        "output": _("The output O_{t} is read from the state."),
        "loss": _("The loss L_{t} compares the output with the target Y_{t}."),
        "grad_output": _(
            "How the loss changes with the output O_{t}: by the error itself. With it come this step's terms "
            "for W_o and b_2."
        ),
        "grad_state_last": _(
            "Through W_o to the last state: nothing comes back from later steps, for there are none."
        ),
        "grad_state": _(
            "The state S_{t} acts in two ways: on its own output, and on S_{after}. The gradient is the sum "
            "of both."
        ),
        "grad_state_partly": _(
            "Its own output, and what comes back through S_{after}, but without L_{cut}: the truncation ends "
            "that loss's way at step {after}."
        ),
        "grad_state_carried": _(
            "No loss looks at O_{t}: all that S_{t} gets comes back through S_{after}, times "
            "\u2202S_{after}/\u2202S_{t}."
        ),
        "cut": _(
            "The truncation stops the gradient after {reach} of the steps: what would come back to S_{t} is "
            "left out."
        ),
        "terms": _(
            "\u03b4_{t} is the gradient just inside the activation. Times what each weight was multiplied "
            "with, it gives this step's terms."
        ),
        "sum": _("The terms of all steps, added up. Autograd: {autograd}, difference {difference}."),
        "sum_cut": _(
            "The terms that the truncation kept, added up. Autograd, cut in the same places: {autograd}, "
            "difference {difference}. The whole gradient is {whole}."
        ),
    }
    kind = frame.kind if frame.kind in sentences else frame.kind.removesuffix("_partly")
    return sentences[kind].format(**frame.values)
