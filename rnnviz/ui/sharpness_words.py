"""What is said of the curvature of a loss: at one checkpoint, and over training."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.curvature import Sharpness
from ..experiment import Experiment
from ..numbers import of
from .text import _, percent

AGREES = 1e-3  # of the largest eigenvalue: products that disagree by more have met a kink or a cliff
LEVEL = 0.01  # of the other end of the spectrum: an eigenvalue this small is taken for none
TWICE = 2.0  # a sharpness that changed by less, up or down, is about the same: batches differ as well


def verdict(experiment: Experiment, step: int, found: Sharpness) -> str:
    """Which way the loss bends; against the step that training makes; and how sure that is."""
    if not found.finite:
        return _("**Not finite.** The loss or its gradient is no number here, so it has no curvature.")
    top, second, least = found.eigenvalues[0], found.eigenvalues[1], found.least
    if not top and not least:
        return _("**Flat.** Along no direction does the loss bend at all.")
    if top <= LEVEL * abs(least):
        kind = _("**Bent downwards.** The most negative eigenvalue is {least}, and nothing bends up by much.")
    elif least < -LEVEL * top:
        kind = _(
            "**Like a saddle.** Along its sharpest direction the loss bends upwards with {top}, along "
            "another downwards with {least}, {share} of that."
        )
    else:
        kind = _("**Like a valley.** The loss bends upwards with {top} at most, and nowhere down by much.")
    told = [kind.format(top=of(top), least=of(least), share=percent(abs(least) / top) if top > 0 else "")]
    if second > 0:
        factor = _("The sharpest direction is {n} times as curved as the next.")
        told.append(factor.format(n=of(top / second)))
    limit = limit_of(experiment, step)
    if limit is not None and top > 0:
        told.append(_against(top, limit))
    if found.asymmetry > AGREES * max(abs(top), abs(least)):
        sure = _(
            "Take these numbers with care: the curvature seen from two sides differs by {off}, as it does "
            "at the kinks of a ReLU and next to a cliff."
        )
        told.append(sure.format(off=of(found.asymmetry)))
    return " ".join(told)


def limit_of(experiment: Experiment, step: int) -> float | None:
    """2 over the learning rate in force, for plain gradient descent."""
    if experiment.optimizer != "sgd":
        return None
    return 2.0 / float(experiment.at(step)["learning_rate"])


def _against(top: float, limit: float) -> str:
    numbers = {"top": of(top), "limit": of(limit), "share": percent(top / limit)}
    if top > limit:
        told = _(
            "That is above 2 / learning rate = {limit}: plain gradient descent overshoots along this "
            "direction further with every step, until it is somewhere flatter or clipping shortens it."
        )
    else:
        told = _(
            "That is {share} of 2 / learning rate = {limit}, above which a step overshoots ever further."
        )
    return told.format(**numbers)


def curve_words(experiment: Experiment, found: Sequence[Sharpness]) -> str:
    """From where to where the sharpness went, where it was largest, and where it has none.

    found: in the order of training, at least one
    """
    finite = [one for one in found if one.finite]
    if not finite:
        return _("**Not finite.** At none of these checkpoints is the loss's curvature a number.")
    first, last = finite[0], finite[-1]
    peak = max(finite, key=lambda one: one.eigenvalues[0])
    a, b, most = first.eigenvalues[0], last.eigenvalues[0], peak.eigenvalues[0]
    if a > 0 and b > TWICE * a:
        kind = _("**Sharper.**")
    elif a > 0 and b < a / TWICE:
        kind = _("**Flatter.**")
    else:
        kind = _("**About as sharp.**")
    told = _(
        "{kind} The largest eigenvalue went from {a} at step {first:,} to {b} at step {last:,}; it was "
        "largest, {most}, at step {peak:,}."
    ).format(kind=kind, a=of(a), b=of(b), first=first.step, last=last.step, most=of(most), peak=peak.step)
    limits = [(one, limit_of(experiment, one.step)) for one in finite]
    above = [one for one, limit in limits if limit is not None and one.eigenvalues[0] > limit]
    if any(limit is not None for _one, limit in limits):
        share = _("At {n} of {all} checkpoints it lies above 2 / learning rate.")
        told += " " + share.format(n=len(above), all=len(finite))
    if len(finite) < len(found):
        gone = _("Gaps, where the loss is no number: {n}.")
        told += " " + gone.format(n=len(found) - len(finite))
    return told
