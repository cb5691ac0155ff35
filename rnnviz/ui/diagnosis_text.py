"""What a diagnosis says, in words: the finding, the number behind it, and what to try."""

from __future__ import annotations

import math

from ..analysis.diagnosis import STUCK, Finding, bounded
from ..cells import CELLS
from ..clipping import CLIPPINGS
from ..experiment import Experiment
from ..initialization import INITIALIZATIONS
from ..numbers import of as size
from ..tasks import TASKS
from .text import _, percent

WORSE_THAN_A_GUESS = -1.0  # progress: twice the loss of a guess
HOPELESS = 1e3  # an update so many times the weights: no learning rate alone mends that
USUAL_SHARE = 0.01  # AGC's threshold, as its authors have it for most networks
KEEPING_BIAS = 4.0  # of a forget gate: sigmoid(4) keeps 98 % at each step


def worded(finding: Finding, experiment: Experiment) -> dict[str, str]:
    """A finding for the live component: level, title, a sentence with numbers, advice ("" for none).

    experiment: with the settings as they are now
    """
    title, text, advice = _WORDS[finding.kind](finding.numbers, experiment)
    return {"level": finding.level, "kind": finding.kind, "title": title, "text": text, "advice": advice}


def _gated(experiment: Experiment) -> bool:
    return CELLS[experiment.cell].family != "plain"


def _where(e: Experiment, n: dict[str, float]) -> str:
    """The part of the network whose gradient was followed through time; nothing where there is but one."""
    if e.layers == 1 and e.directions == 1:
        return ""
    if bounded(e):  # bounds hold of each part
        return _("In every layer: ") if e.directions == 1 else _("In every layer and direction: ")
    if e.directions == 1:
        return _("First layer: ")
    if "t" in n:
        return _("First layer: ") if e.layers > 1 else ""
    direction = _("backward") if n.get("backward") else _("forward")
    if e.layers == 1:
        return _("Direction {direction}: ").format(direction=direction)
    return _("Last layer, {direction}: ").format(direction=direction)


def _too_early(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    if n["progress"] >= STUCK:
        told = _("At step {steps:,.0f}: {share} of the way from a guess to no loss at all.")
        return _("Just begun"), told.format(steps=n["steps"], share=percent(n["progress"])), ""
    if n["progress"] < WORSE_THAN_A_GUESS:
        told = _("At step {steps:,.0f} the loss is {times} times that of a guess.")
        told = told.format(steps=n["steps"], times=size(1 - n["progress"]))
        return _("Worse than a guess"), told, ""
    wait = _("Wait: some tasks stay there for a long time and are then learned in one go.")
    if 0 < e.truncate < e.steps_per_sequence():
        wait = _("Wait, or truncate later: from more than {k:,} time steps back no gradient arrives.")
    return (
        _("Nothing learned yet"),
        _("At step {steps:,.0f} the loss is still that of a guess.").format(steps=n["steps"]),
        wait.format(k=e.truncate),
    )


def _diverged(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    if "loss" not in n:  # nothing was learned yet that clipping or the learning rate could have spoilt
        first = _("The very first pass through the sequences left the range of {precision}.")
        try_other = _("Try {what}.").format(what=_tamer(e))
        return _("Diverged"), first.format(precision=e.precision), try_other
    text = _("The numbers left the range of {precision} at step {step:,.0f}").format(
        precision=e.precision, step=n["step"]
    )
    if "norm" in n:
        last = _("; the last gradient that could be measured had the norm {norm}")
        text += last.format(norm=size(n["norm"]))
    watch = _("“Watch it explode” shows the end.")
    return _("Diverged"), text + ".", f"{_clipping_advice(e)} {watch}"


def _has_gain(e: Experiment) -> bool:
    return INITIALIZATIONS[e.initialization].uses_gain


def _tamer(e: Experiment) -> str:
    """Weights that stretch less."""
    if _has_gain(e):
        return _("a smaller gain")
    if e.initialization == "orthogonal":
        return _("another initialization")
    return _("the orthogonal initialization")


def _clipping_advice(e: Experiment) -> str:
    """Against updates that are too long."""
    if e.clip == "none":
        return _("Clip the gradient by its norm, or lower the learning rate.")
    rule = CLIPPINGS[e.clip]
    if e.clip_scope != "all" and rule.uses_scope:
        return _("Clip all parameters together, or lower the learning rate.")
    if not rule.uses_threshold:
        return _("Clip by norm with a threshold of your own, or lower the learning rate.")
    if e.clip != "norm":
        return _("Clip by norm, lower the threshold, or lower the learning rate.")
    return _("Lower the threshold or the learning rate.")


def _rate_too_large(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Learning rate too large"),
        _("At step {step:,.0f} one update changed the weights by {update} times their size.").format(
            step=n["step"], update=size(n["update"])
        ),
        _rate_advice(n, e),
    )


def _rate_advice(n: dict[str, float], e: Experiment) -> str:
    """A power of ten with which the same gradient would have moved the weights by a tenth of their size."""
    if n["update"] > HOPELESS:
        ways = [_("the learning rate"), *([_("the gain")] if _has_gain(e) and e.gain > 1 else [])]
        clip = (
            _("Clip the gradient by its norm, and lower {what}.") if e.clip == "none" else _("Lower {what}.")
        )
        return clip.format(what=_(" and ").join(ways))
    rate = 10.0 ** math.floor(math.log10(n["rate"] * 0.1 / n["update"]))
    return _("Try a learning rate of {rate}.").format(rate=f"{rate:g}")


def _exploding(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    advice = (
        _("Clip the gradient by its norm: its direction stays, the jump shortens.")
        if e.clip == "none"
        else _("Clipping shortens such steps; {cause} treats the cause.").format(cause=_tamer(e))
    )
    if "jump" in n:
        text = _("At step {step:,.0f} the gradient was {jump} times as long as its neighbours.").format(
            step=n["step"], jump=size(n["jump"])
        )
    else:
        T = e.steps_per_sequence()
        told = _("From t = {t:,.0f} back to t = 1 the gradient grows {ratio} times: {factor} at each step.")
        if n.get("backward"):
            told = _(
                "From t = {t:,.0f} on to t = {T:,} the gradient grows {ratio} times: {factor} at each step."
            )
        t = T - n["steps"] if n.get("backward") else n["steps"] + 1
        text = _where(e, n) + told.format(t=t, T=T, ratio=size(n["ratio"]), factor=f"{n['factor']:.3g}")
    return _("Exploding gradient"), text, advice


def _dead(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Dead units"),
        _("{share} of the hidden units say the same at every time step of every sequence.").format(
            share=percent(n["share"])
        ),
        _("Try a smaller learning rate, another initialization, or a cell without a flat half (tanh)."),
    )


def _saturated(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Saturated"),
        _(
            "{share} of the values stand at the flat ends of their curves, where little gradient passes."
        ).format(share=percent(n["share"])),
        _("Try a smaller learning rate or {cause}.").format(cause=_tamer(e)),
    )


def _vanishing(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    if "t" in n:
        told = (
            _("At t = {t:,.0f} the gradient of both directions is too small for {precision}: it counts as 0.")
            if n["ratio"] == 0
            else _(
                "At t = {t:,.0f}, between the two ends, the gradient is {ratio} times that at "
                "t = {end:,.0f}: {factor} at each step."
            )
        )
    elif n["ratio"] == 0:
        told = _("The gradient of {steps:,.0f} time steps ago is too small for {precision}: it counts as 0.")
    else:
        bound = bounded(e)
        shrinks = (
            _("the gradient shrinks to about {ratio}") if bound else _("the gradient shrinks to {ratio}")
        )
        way = _("From t = {back:,.0f} back to t = 1 ")
        if bound and e.directions > 1:
            way = _("From one end of the sequence to the other ")
        told = way + shrinks + _(": {factor} at each step.")
    text = _where(e, n) + told.format(
        **{**n, "ratio": size(n["ratio"]), "factor": f"{n['factor']:.3g}"},
        back=n["steps"] + 1, precision=e.precision,
    )  # fmt: skip
    return _("Vanishing gradient"), text, _("Try {ways}.").format(ways=_(" or ").join(_against_vanishing(e)))


def _against_vanishing(e: Experiment) -> list[str]:
    """What is worth trying and not set already, at most two."""
    slope = CELLS[e.cell].largest_slope
    ways = []
    if CELLS[e.cell].forget_gate is not None and (e.forget_bias or 0.0) < KEEPING_BIAS:
        ways.append(_("a forget bias of {bias:g} (it then keeps from the start)").format(bias=KEEPING_BIAS))
    elif _gated(e) and CELLS[e.cell].forget_gate is None:
        ways.append(_("an LSTM with a forget bias of {bias:g}").format(bias=KEEPING_BIAS))
    if e.cell == "relu" and e.initialization != "identity":
        ways.append(_("the identity initialization"))
    if not _gated(e):
        ways.append(_("a gated cell (LSTM, GRU)"))
        if e.cell != "relu" and slope is not None and slope >= 1 and e.initialization != "orthogonal":
            ways.append(_("the orthogonal initialization"))
    return [*ways, _("a shorter sequence")][:2]


def _clipped_hard(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    rule = CLIPPINGS[e.clip]  # by now it may be another than the one that clipped
    if not rule.uses_threshold:
        advice = ""
    elif rule.limit == "fixed":
        advice = _(
            "Raise the threshold to about the usual {measure}: clipping is for the exceptions."
        ).format(measure=_(rule.measured))
    elif e.clip == "agc":
        advice = _("Raise the threshold: it is a share of the norm of each unit's weights.")
        if e.clip_threshold < USUAL_SHARE:
            advice = _(
                "Raise the threshold: it is a share of the norm of each unit's weights, and 0.01 is usual."
            )
    else:
        advice = _("Raise the threshold: clipping is for the exceptions.")
    return (
        _("Clipped too hard"),
        _("{share} of the last steps were clipped, usually to 1/{factor} of their size.").format(
            share=percent(n["share"]), factor=size(n["factor"])
        ),
        advice,
    )


def _overfitting(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Overfitting"),
        _("The loss is {train} on the training sequences and {validation} on others, up from {best}.").format(
            train=size(n["train"]), validation=size(n["validation"]), best=size(n["best"])
        ),
        _("Try more training sequences, fewer units, or stop at step {step:,.0f}.").format(step=n["step"]),
    )


def _rate_too_small(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Learning rate too small"),
        _("An update changes the weights by {update} of their size.").format(update=size(n["update"])),
        _("Try a learning rate of {rate}.").format(rate=size(min(100.0, n["rate"] * 10))),
    )


def _learned(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    solved = TASKS[e.task].solved
    text = _("Solved, and steadily so since step {step:,.0f}.").format(step=n["step"])
    if solved.metric == "accuracy":
        now = _("On held-out sequences {share} are right now.").format(share=percent(n["accuracy"], 1))
    else:
        now = _("On held-out sequences the loss is {loss} now; solved is what stays below {limit:g}.")
        now = now.format(loss=size(n["loss"]), limit=solved.threshold)
    return _("Learned"), f"{text} {now}", ""


def _healthy(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Healthy"),
        _("{share} of the way from a guess to no loss at all, on held-out sequences.").format(
            share=percent(max(0.0, n["progress"]))
        ),
        "",
    )


_WORDS = {
    "too_early": _too_early, "diverged": _diverged, "rate_too_large": _rate_too_large,
    "exploding": _exploding, "dead": _dead, "saturated": _saturated, "vanishing": _vanishing,
    "clipped_hard": _clipped_hard, "overfitting": _overfitting, "rate_too_small": _rate_too_small,
    "learned": _learned, "healthy": _healthy,
}  # fmt: skip
