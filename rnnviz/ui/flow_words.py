"""What the sections on the gradient's flow say in words: by which number, and what to try."""

from __future__ import annotations

import math

import numpy as np

from ..analysis.diagnosis import EXPLODING_DECADES, VANISHING_DECADES
from ..analysis.flow import Flow, Ratio
from ..analysis.ledger import Ledger, StateNorms
from ..analysis.sensitivity import Sensitivity, memory
from ..cells import CELLS
from ..experiment import Experiment
from ..numbers import of, of_decades
from .text import _, percent

BOUNDED = ("sigmoid", "tanh")  # nonlinearities whose values are


def flow_words(e: Experiment, f: Flow, r: Ratio, norms: np.ndarray) -> str:
    """What becomes of the gradient on its way back; `norms` are those that `r` is about."""
    if r.verdict == "not finite":
        return _("**Not finite.** Somewhere on the way a number overflowed; *Clipping* says where.")
    if r.decided == "nothing":
        return _("**Nothing.** The gradient is exactly 0 everywhere: no loss reaches this layer.")
    names = {"vanishing": _("**Vanishing.**"), "exploding": _("**Exploding.**"), "healthy": _("**Healthy.**")}
    told = [names[r.verdict]]
    if r.decided == "middle":
        told.append(
            _("Between the two ends the gradient falls to {left} of its size.").format(
                left=of_decades(r.decades)
            )
        )
    else:
        if r.decided == "alone":
            told.append(
                _("There is a loss at every step; the thin line is what comes back of the farthest alone.")
            )
        told.append(_way(r, norms))
        told.append(_limits(r))
    if f.used is not None and e.truncate:
        told.append(_("Training cuts it off after {k} steps (dashed).").format(k=e.truncate))
    return " ".join(filter(None, (*told, _try(e, r.verdict))))


def _way(r: Ratio, norms: np.ndarray) -> str:
    if r.steps < 1:
        return _("There is one step only, and no way back.")
    first, source = r.first + 1, r.source + 1
    there, here = float(norms[r.source]), float(norms[r.first])
    if here == 0:
        return _("From t = {source} back to t = {first} it is lost altogether: exactly 0 arrives.").format(
            source=source, first=first
        )
    return _(
        "From t = {source} back to t = {first} the gradient goes from {there} to {here}, {factor} times as "
        "much with each of {steps} steps."
    ).format(source=source, first=first, there=of(there), here=of(here), factor=of(r.factor), steps=r.steps)


def _limits(r: Ratio) -> str:
    if not math.isfinite(r.decades) or r.decades == 0:
        return ""
    return _(
        "Without the last fifth of the way, where the readout comes in, that is a factor of {left}; less "
        "than {least} vanishes, more than {most} explodes."
    ).format(
        left=of_decades(r.decades), least=of_decades(-VANISHING_DECADES), most=of_decades(EXPLODING_DECADES)
    )


def _try(e: Experiment, verdict: str) -> str:
    """Advice."""
    cell = CELLS[e.cell]
    if verdict == "exploding":
        return _("Clip by norm, start with a smaller gain, or use a gated cell.")
    if verdict == "healthy":
        return ""
    if cell.family == "plain":
        return _("Try an LSTM or GRU, an orthogonal or identity start, or a shorter sequence.")
    if cell.forget_gate is not None:
        return _(
            "Try a higher forget bias, or chrono initialization: a gate at 0.5 halves the memory each step."
        )
    return _("Try chrono initialization, so that the update gate keeps more, or a shorter sequence.")


def ledger_words(book: Ledger) -> str:
    """How many of the time steps most of the gradient of W_hh comes from."""
    norm = book.norm
    total = float(norm.sum())
    if not math.isfinite(total):
        return _("Not every share is a finite number; *Clipping* says where that began.")
    if total == 0:
        return _("The gradient of W_hh is exactly 0.")
    order = np.argsort(norm)[::-1]
    needed = int(np.searchsorted(np.cumsum(norm[order]), 0.9 * total * (1 - 1e-12))) + 1
    first, last = (book.first + 1 + int(edge(order[:needed])) for edge in (np.min, np.max))
    largest = book.first + 1 + int(order[0])
    return _(
        "90 % of the gradient of W_hh (by the norms of its terms) comes from {n} of {T} steps, between t = "
        "{first} and t = {last}; the largest term is that of t = {largest}."
    ).format(n=needed, T=len(norm), first=first, last=last, largest=largest)


def output_words(e: Experiment, norms: StateNorms) -> str:
    """Whether the output layer should be clipped: are the states that it reads bounded?"""
    cell, largest = CELLS[e.cell], float(norms.largest.max()) if len(norms.largest) else 0.0
    told = _("The largest state that the output layer reads in this batch has the norm {norm}.")
    if all(activation in BOUNDED for activation in cell.activations):
        why = _(
            "Its units stay within -1 and 1, so the output layer's gradient cannot explode through time: "
            "leaving it out of the clipping is defensible, and the common norm is then that of the rest."
        )
    else:
        why = _(
            "Nothing bounds the states of this cell, so the output layer's gradient, which is the error "
            "times the state, grows with them although it has no product of Jacobians: clip it as well."
        )
    return f"{told.format(norm=of(largest))} {why}"


def memory_words(now: Sensitivity, before: Sensitivity | None) -> str:
    """How far back the prediction still sees."""
    seen = memory(now)
    if seen.first is None:
        return _("The prediction does not depend on any input, or not by a finite number.")
    told = _(
        "It still sees the whole sequence: no input moves the prediction by less than 1 % of the most "
        "telling."
    )
    if seen.first > 0:
        told = _(
            "It still sees back to t = {t}: what came earlier moves the prediction by less than 1 % of what "
            "the most telling input does."
        ).format(t=seen.first + 1)
    told += " " + _("{share} of its sensitivity lies in the first half.").format(share=percent(seen.early, 1))
    if before is not None and (start := memory(before).first) is not None:
        told += " " + _("Before training it saw back to t = {t}, by the same measure.").format(t=start + 1)
    return told
