"""What a diagnosis says, in words: the finding, the number behind it, and what to try."""

from __future__ import annotations

from ..analysis.diagnosis import STUCK, Finding
from ..cells import CELLS
from ..experiment import Experiment
from ..tasks import TASKS
from .text import _


def worded(finding: Finding, experiment: Experiment) -> dict[str, str]:
    """A finding for the live component: level, title, a sentence with numbers, advice ("" for none)."""
    title, text, advice = _WORDS[finding.kind](finding.numbers, experiment)
    return {"level": finding.level, "kind": finding.kind, "title": title, "text": text, "advice": advice}


def size(x: float) -> str:
    """Three significant digits, 1e-9 style for what is far from one."""
    if x == 0:
        return "0"
    if 1e-2 <= abs(x) < 1e4:
        return f"{x:.3g}"
    mantissa, exponent = f"{x:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _gated(experiment: Experiment) -> bool:
    return CELLS[experiment.cell].family != "plain"


def _too_early(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    if n["progress"] >= STUCK:
        told = _("After {steps:,.0f} steps {share:.0%} of the way from a guess to no loss at all.")
        return _("Just begun"), told.format(steps=n["steps"], share=n["progress"]), ""
    return (
        _("Nothing learned yet"),
        _("After {steps:,.0f} steps the loss is still that of a guess.").format(steps=n["steps"]),
        _("Wait: some tasks are learned in one go after a long plain."),
    )


def _diverged(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    text = _("The numbers left the range of {precision} at step {step:,.0f}").format(
        precision=e.precision, step=n["step"]
    )
    if "norm" in n:
        text += _("; the last gradient that could be measured had {norm}").format(norm=size(n["norm"]))
    return (
        _("Diverged"),
        text + ".",
        _("Clip the gradient by its norm, or lower the learning rate. “Watch it explode” shows the end."),
    )


def _rate_too_large(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Learning rate too large"),
        _("At step {step:,.0f} one update changed the weights by {update} times their size.").format(
            step=n["step"], update=size(n["update"])
        ),
        _("Try a learning rate of {rate}.").format(rate=size(n["rate"] / 10)),
    )


def _exploding(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    advice = (
        _("Clip the gradient by its norm: its direction stays, the jump shortens.")
        if e.clip == "none"
        else _("The clipping holds it. A smaller gain or the orthogonal initialization treats the cause.")
    )
    if "jump" in n:
        text = _("At step {step:,.0f} the gradient was {jump} times as long as its neighbours.").format(
            step=n["step"], jump=size(n["jump"])
        )
    else:
        text = _(
            "Over {steps:,.0f} time steps back the gradient grows {ratio} times: {factor} at each step."
        ).format(steps=n["steps"], ratio=size(n["ratio"]), factor=f"{n['factor']:.3g}")
    return _("Exploding gradient"), text, advice


def _dead(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Dead units"),
        _("{share:.0%} of the hidden units say the same at every time step of every sequence.").format(
            share=n["share"]
        ),
        _("Try a smaller learning rate, another initialization, or a cell without a flat half (tanh)."),
    )


def _saturated(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Saturated"),
        _(
            "{share:.0%} of the values stand at the flat ends of their curves, where little gradient passes."
        ).format(share=n["share"]),
        _("Try a smaller learning rate or a smaller gain."),
    )


def _vanishing(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    if n["ratio"] == 0:
        text = _(
            "The gradient of {steps:,.0f} time steps ago is too small for {precision}: it counts as 0."
        ).format(steps=n["steps"], precision=e.precision)
    else:
        bound = TASKS[e.task].readout == "every"  # known by its upper bound only
        shrinks = (
            _("the gradient shrinks to at most {ratio}") if bound else _("the gradient shrinks to {ratio}")
        )
        told = _("Over {steps:,.0f} time steps back ") + shrinks + _(": {factor} at each step.")
        text = told.format(steps=n["steps"], ratio=size(n["ratio"]), factor=f"{n['factor']:.3g}")
    if e.cell == "relu":
        advice = _("Try the identity initialization, or a gated cell (LSTM, GRU).")
    elif not _gated(e):
        advice = _("Try a gated cell (LSTM, GRU), the orthogonal initialization, or a shorter sequence.")
    elif CELLS[e.cell].forget_gate is not None:
        advice = _(
            "Try a larger forget bias (1 to 4), so that it keeps from the start, or a shorter sequence."
        )
    else:
        advice = _("Try a shorter sequence, or an LSTM with a forget bias of 4.")
    return _("Vanishing gradient"), text, advice


def _clipped_hard(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Clipped too hard"),
        _("{share:.0%} of the last steps were clipped, usually to 1/{factor} of their size.").format(
            share=n["share"], factor=size(n["factor"])
        ),
        _("Raise the threshold to about the usual norm: clipping is for the exceptions."),
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
    text = _("The task has been solved since step {step:,.0f}").format(step=n["step"])
    if "accuracy" in n:
        text += _(": {share:.1%} right on held-out sequences").format(share=n["accuracy"])
    return _("Learned"), text + ".", ""


def _healthy(n: dict[str, float], e: Experiment) -> tuple[str, str, str]:
    return (
        _("Healthy"),
        _("{share:.0%} of the way from a guess to no loss at all, and nothing stands in its way.").format(
            share=max(0.0, n["progress"])
        ),
        "",
    )


_WORDS = {
    "too_early": _too_early, "diverged": _diverged, "rate_too_large": _rate_too_large,
    "exploding": _exploding, "dead": _dead, "saturated": _saturated, "vanishing": _vanishing,
    "clipped_hard": _clipped_hard, "overfitting": _overfitting, "rate_too_small": _rate_too_small,
    "learned": _learned, "healthy": _healthy,
}  # fmt: skip
