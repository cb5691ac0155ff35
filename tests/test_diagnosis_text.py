"""What a diagnosis says: whole sentences, and no advice to do what is done already."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnviz.analysis.diagnosis import KINDS, Finding
from rnnviz.cells import CELLS
from rnnviz.clipping import CLIPPINGS, SCOPES
from rnnviz.experiment import Experiment
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.numbers import of as size
from rnnviz.twins import fitted
from rnnviz.ui.diagnosis_text import worded
from rnnviz.ui.text import percent

NUMBERS: dict[str, dict[str, float]] = {
    "too_early": {"steps": 20.0, "progress": 0.05},
    "diverged": {"step": 12.0, "loss": 3.0, "norm": 7.5e20},
    "rate_too_large": {"update": 12.0, "step": 3.0, "rate": 0.5},
    "exploding": {"ratio": 1e6, "steps": 40.0, "factor": 1.4},
    "dead": {"share": 0.5},
    "saturated": {"share": 0.7},
    "vanishing": {"ratio": 1e-9, "steps": 40.0, "factor": 0.6},
    "clipped_hard": {"share": 1.0, "factor": 40.0},
    "overfitting": {"train": 0.01, "validation": 0.3, "best": 0.1, "step": 200.0},
    "rate_too_small": {"update": 1e-6, "rate": 1e-5},
    "learned": {"step": 300.0, "loss": 0.01, "accuracy": 0.98},
    "healthy": {"progress": 0.6, "loss": 0.4},
}


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    values: dict[str, Any] = {
        "task": draw(st.sampled_from(["adding", "copying"])),
        "cell": draw(st.sampled_from(list(CELLS))),
        "initialization": draw(st.sampled_from(list(INITIALIZATIONS))),
        "clip": draw(st.sampled_from(list(CLIPPINGS))),
        "clip_scope": draw(st.sampled_from(list(SCOPES))),
        "forget_bias": draw(st.sampled_from([0.0, 1.0, 4.0, 6.0])),
    }
    return fitted(Experiment(), values)[0]


@pytest.mark.parametrize("kind", KINDS)
@given(experiment=experiments())
def test_every_finding_is_said_in_whole_sentences(kind: str, experiment: Experiment) -> None:
    told = worded(Finding(kind, "warn", NUMBERS[kind]), experiment)
    assert told["title"]
    for text in (told["text"], told["advice"]):
        assert "{" not in text
        assert text == "" or text.endswith(".")


@given(experiment=experiments())
def test_no_advice_to_do_what_is_done(experiment: Experiment) -> None:
    vanishing = worded(Finding("vanishing", "bad", NUMBERS["vanishing"]), experiment)["advice"]
    if experiment.initialization == "identity":
        assert "identity" not in vanishing
    if experiment.initialization == "orthogonal" or experiment.cell == "sigmoid":
        assert "orthogonal" not in vanishing  # a slope of 1/4 shrinks whatever the matrix keeps
    if (experiment.forget_bias or 0.0) >= 4:
        assert "forget bias" not in vanishing
    if CELLS[experiment.cell].family != "plain":
        assert "gated" not in vanishing
    diverged = worded(Finding("diverged", "bad", NUMBERS["diverged"]), experiment)["advice"]
    if experiment.clip == "norm" and experiment.clip_scope == "all":
        assert "Clip" not in diverged
    if experiment.clip == "none":
        assert "Clip the gradient" in diverged


def test_what_the_numbers_say() -> None:
    adding, copying = Experiment(task="adding"), Experiment(task="copying")
    finding = Finding("vanishing", "bad", NUMBERS["vanishing"])
    assert "shrinks to 1.00e-9: 0.6 at each step" in worded(finding, adding)["text"]
    assert "shrinks to about 1.00e-9" in worded(finding, copying)["text"], "known from its Jacobians only"
    nothing = Finding("vanishing", "bad", {"ratio": 0.0, "steps": 40.0, "factor": 0.0})
    assert "too small for float32: it counts as 0" in worded(nothing, adding)["text"]
    jump = Finding("exploding", "warn", {"jump": 400.0, "step": 7.0})
    assert "At step 7 the gradient was 400 times as long" in worded(jump, adding)["text"]
    begun = worded(Finding("too_early", "note", {"steps": 20.0, "progress": 0.4}), adding)
    assert (begun["title"], begun["level"]) == ("Just begun", "note")
    assert "40\u00a0% of the way" in begun["text"]
    assert [size(x) for x in (0.0, 0.5, 1234.0, 12345.0, 1e-9)] == [
        "0",
        "0.5",
        "1,234",
        "1.23e4",
        "1.00e-9",
    ]
    assert (percent(0.5), percent(0.9876, 1)) == ("50\u00a0%", "98.8\u00a0%")


def test_a_learning_rate_is_advised_that_fits_what_was_measured() -> None:
    plain = Experiment(task="adding", cell="tanh")

    def advice(update: float, rate: float = 0.3, **changed: Any) -> str:
        finding = Finding("rate_too_large", "bad", {"update": update, "step": 1.0, "rate": rate})
        return worded(finding, plain.changed(**changed))["advice"]

    assert advice(0.8) == "Try a learning rate of 0.01."
    assert advice(25.0) == "Try a learning rate of 0.001."
    assert advice(1e26, clip="none") == "Clip the gradient by its norm, and lower the learning rate."
    stretched = {"cell": "relu", "initialization": "scaled_identity", "gain": 1.5}
    assert advice(1e26, **stretched) == "Lower the learning rate and the gain."


WAY = {"ratio": 1e-9, "steps": 23.0, "factor": 0.4}
MIDDLE = {**WAY, "t": 30.0, "end": 7.0}


@pytest.mark.parametrize(
    ("task", "layers", "direction", "kind", "numbers", "beginning"),
    [
        ("adding", 1, "forward", "vanishing", WAY, "From t = 24 back to t = 1 the gradient shrinks to 1.0"),
        ("adding", 2, "forward", "vanishing", WAY, "First layer: From t = 24 back to t = 1 the gradient shr"),
        ("adding", 3, "forward", "exploding", WAY, "First layer: From t = 24 back to t = 1 the gradient gro"),
        ("adding", 1, "both", "vanishing", MIDDLE, "At t = 30, between the two ends, the gradient is 1.0"),
        ("adding", 2, "both", "vanishing", MIDDLE, "First layer: At t = 30, between the two ends, the grad"),
        ("adding", 2, "both", "vanishing", {**MIDDLE, "ratio": 0.0}, "First layer: At t = 30 the grad"),
        ("adding", 1, "both", "exploding", WAY, "Direction forward: From t = 24 back to t = 1 the gradient"),
        ("adding", 2, "both", "exploding", WAY, "Last layer, forward: From t = 24 back to t = 1 the grad"),
        ("adding", 2, "both", "exploding", {**WAY, "backward": 1.0},
         "Last layer, backward: From t = 37 on to t = 60 the gradient grows"),
        ("copying", 2, "forward", "vanishing", WAY,
         "In every layer: From t = 24 back to t = 1 the gradient shrinks to about 1.00e-9: 0.4"),
        ("copying", 2, "both", "vanishing", WAY,
         "In every layer and direction: From one end of the sequence to the other the gradient shrinks to "
         "about 1.00e-9: 0.4"),
    ],
)  # fmt: skip
def test_the_part_of_the_network_is_named(task, layers, direction, kind, numbers, beginning) -> None:
    experiment = Experiment(task=task, length=60, layers=layers, direction=direction)
    assert worded(Finding(kind, "warn", numbers), experiment)["text"].startswith(beginning)


@pytest.mark.parametrize("rule", CLIPPINGS)
def test_advice_about_clipping_fits_the_rule(rule: str) -> None:
    """A threshold is spoken of where the rule has one."""
    experiment = Experiment(task="adding", clip=rule, clip_threshold=1e-5)
    hard = worded(Finding("clipped_hard", "bad", NUMBERS["clipped_hard"]), experiment)["advice"]
    diverged = worded(Finding("diverged", "bad", NUMBERS["diverged"]), experiment)["advice"]
    uses = CLIPPINGS[rule].uses_threshold
    assert ("Raise the threshold" in hard) is uses
    assert ("ower the threshold" in diverged) is uses
    assert ("usual norm" in hard) is (rule == "norm"), "other rules compare something else with it"
    assert ("0.01 is usual" in hard) is (rule == "agc")
    assert ("0.01" in worded(Finding("clipped_hard", "bad", NUMBERS["clipped_hard"]),
                             experiment.changed(clip_threshold=0.1))["advice"]) is False  # fmt: skip
    # Who clips only some parameters is told so, unless the rule does not ask for that.
    part = worded(Finding("diverged", "bad", NUMBERS["diverged"]), experiment.changed(clip_scope="recurrent"))
    assert ("all parameters together" in part["advice"]) is CLIPPINGS[rule].uses_scope


def test_who_waits_for_a_truncated_run_is_told_what_cannot_come() -> None:
    finding = Finding("too_early", "note", {"steps": 50.0, "progress": 0.0})
    experiment = Experiment(task="adding", length=60, truncate=10)
    assert "more than 10 time steps back no gradient" in worded(finding, experiment)["advice"]
    for truncate in (0, 60):
        assert worded(finding, experiment.changed(truncate=truncate))["advice"].startswith("Wait: some tasks")


def test_what_is_solved_is_said_by_its_criterion() -> None:
    """Sums may be right to within 0.04 in a third of the cases only and the loss be as low as asked."""
    finding = Finding("learned", "good", {"step": 240.0, "loss": 0.0057, "accuracy": 0.357})
    told = worded(finding, Experiment(task="adding"))["text"]
    assert "since step 240" in told
    assert "5.70e-3" in told
    assert "below 0.01" in told
    assert "35.7" not in told
    assert "35.7\u00a0% are right now" in worded(finding, Experiment(task="temporal_order"))["text"]


def test_a_loss_that_is_worse_than_a_guess_is_not_called_one() -> None:
    finding = Finding("too_early", "note", {"steps": 1.0, "progress": -1e23})
    told = worded(finding, Experiment(task="adding"))
    assert told["title"] == "Worse than a guess"
    assert "At step 1 the loss is 1.00e23 times that of a guess." in told["text"]


def test_what_overflows_before_anything_is_learned_is_blamed_on_the_weights():
    """Neither clipping nor the learning rate has done anything yet."""
    experiment = Experiment(task="adding", cell="relu", initialization="orthogonal", gain=10.0, clip="none")
    said = worded(Finding("diverged", "bad", {"step": 0.0}), experiment)
    assert "very first pass" in said["text"]
    assert said["advice"] == "Try a smaller gain."
