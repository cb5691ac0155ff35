"""The diagnosis: real small runs with known faults, their healthy neighbours, and curves of any shape."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from rnnviz.analysis import diagnosis
from rnnviz.analysis.diagnosis import EARLY_STEPS, KINDS, LEVELS, MOST_FINDINGS, Finding, diagnose
from rnnviz.clipping import CLIPPINGS
from rnnviz.experiment import Experiment
from rnnviz.runs.chunk import overview, screen
from rnnviz.training import advance, begin

ROWS: dict[str, Any] = {"task": "digits_rows", "hidden": 24, "steps": 150}
ADDING: dict[str, Any] = {"task": "adding", "length": 20, "hidden": 24, "batch": 32, "steps": 100}
EXPLODING: dict[str, Any] = {
    **ADDING, "length": 100, "cell": "relu", "initialization": "scaled_identity", "gain": 1.05,
    "optimizer": "sgd", "learning_rate": 0.01,
}  # fmt: skip
SATURATED: dict[str, Any] = {
    **ROWS, "cell": "tanh", "initialization": "orthogonal", "gain": 10.0, "learning_rate": 1e-3,
}  # fmt: skip

#: Real runs and the first finding of each.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "a GRU that learns": ("healthy", ROWS),
    "plain SGD that learns": ("healthy", {**ROWS, "optimizer": "sgd", "learning_rate": 1.0}),
    "a GRU that has learned": ("learned", {**ROWS, "steps": 300}),
    "seven steps": ("too_early", {**ROWS, "steps": 7}),
    "a plateau before learning": ("too_early", {**ADDING, "length": 40, "steps": 60}),
    "a forget gate that keeps": (
        "too_early",
        {**ADDING, "length": 60, "cell": "lstm", "forget_bias": 4.0, "learning_rate": 5e-3},
    ),
    "a forget gate that forgets": (
        "vanishing",
        {**ADDING, "length": 60, "cell": "lstm", "forget_bias": 0.0, "learning_rate": 5e-3},
    ),
    "sigmoid units": ("vanishing", {**ADDING, "cell": "sigmoid"}),
    "sigmoid units, an answer at every step": (
        "vanishing",
        {"task": "copying", "length": 5, "cell": "sigmoid", "hidden": 16, "batch": 16, "steps": 40},
    ),
    "an identity with gain, not clipped": ("exploding", {**EXPLODING, "clip": "none"}),
    "an identity with gain, held by clipping": ("dead", EXPLODING),
    "a large orthogonal matrix": ("exploding", SATURATED),
    "Adam with rate 1": ("rate_too_large", {**ROWS, "learning_rate": 1.0}),
    "Adam with rate 0.5": ("rate_too_large", {**ROWS, "learning_rate": 0.5}),
    "SGD with rate 30": ("rate_too_large", {**ROWS, "learning_rate": 30.0, "optimizer": "sgd"}),
    "ReLU with rate 0.3": ("rate_too_large", {**ROWS, "cell": "relu", "learning_rate": 0.3}),
    "Adam with rate 1e-5": ("rate_too_small", {**ROWS, "learning_rate": 1e-5}),
    "SGD with rate 1e-3": ("rate_too_small", {**ROWS, "learning_rate": 1e-3, "optimizer": "sgd"}),
    "clipped to nothing": (
        "clipped_hard",
        {**ROWS, "clip_threshold": 1e-3, "optimizer": "sgd", "learning_rate": 0.1},
    ),
    "clipped to nothing under Adam, which does not mind": ("healthy", {**ROWS, "clip_threshold": 1e-3}),
    "AGC with a share that is far too small": (
        "clipped_hard",
        {**ROWS, "clip": "agc", "clip_threshold": 1e-5, "optimizer": "sgd", "learning_rate": 0.1},
    ),
    "AGC as its authors have it": (
        "too_early",
        {**ROWS, "clip": "agc", "clip_threshold": 0.01, "optimizer": "sgd", "learning_rate": 0.1},
    ),
    "AutoClip, which clips most steps": (
        "too_early", {**ROWS, "clip": "autoclip", "optimizer": "sgd", "learning_rate": 0.1},
    ),
    "sigmoid units that read both ways": (
        "vanishing", {**ADDING, "cell": "sigmoid", "direction": "both", "length": 40},
    ),
    "two layers that read both ways": (
        "vanishing", {**ADDING, "cell": "sigmoid", "layers": 2, "direction": "both", "length": 60},
    ),
    "two layers that read both ways and keep": (
        "too_early",
        {**ADDING, "cell": "lstm", "layers": 2, "direction": "both", "length": 60, "forget_bias": 4.0,
         "learning_rate": 5e-3},
    ),
    "an encoder that forgets": (
        "vanishing",
        {"task": "repetition", "length": 20, "cell": "sigmoid", "hidden": 16, "batch": 16, "steps": 40,
         "architecture": "encoder_decoder"},
    ),
    "one network that forgets while it reads": (
        "vanishing",
        {"task": "repetition", "length": 20, "cell": "sigmoid", "hidden": 16, "batch": 16, "steps": 40},
    ),
    "two layers that read both ways, an answer at every step": (
        "vanishing",
        {"task": "copying", "length": 5, "cell": "sigmoid", "hidden": 16, "batch": 16, "steps": 40,
         "layers": 2, "direction": "both"},
    ),
    "two large matrices that read both ways": (
        "exploding", {**SATURATED, "layers": 2, "direction": "both"},
    ),
    "a gradient that is cut off": ("too_early", {**ADDING, "length": 60, "truncate": 20}),
    "fifty digits": ("overfitting", {**ROWS, "hidden": 32, "steps": 300, "train_size": 50}),
    "units that are off": (
        "dead",
        {**ROWS, "cell": "relu", "steps": 60, "learning_rate": 1e-4, "initialization": "identity"},
    ),
    "a linear network at a rate of 100": (
        "diverged",
        {"cell": "linear", "hidden": 8, "batch": 8, "steps": 40, "optimizer": "sgd", "clip": "none",
         "learning_rate": 1e-3, "changes": [{"step": 10, "field": "learning_rate", "value": 100.0}]},
    ),
    "a ReLU network at a rate of 1": (
        "diverged",
        {"cell": "relu", "hidden": 8, "batch": 3, "steps": 40, "initialization": "scaled_identity",
         "gain": 1.1, "optimizer": "sgd", "clip": "none", "learning_rate": 1e-3, "seed": 53,
         "changes": [{"step": 10, "field": "learning_rate", "value": 1.0}]},
    ),
}  # fmt: skip


@cache
def curves(name: str) -> tuple[dict[str, np.ndarray], Experiment]:
    """What a screen has of the run, sent in small pieces."""
    experiment = Experiment(**RUNS[name][1])
    state, blobs = begin(experiment), []
    if name == "units that are off":
        state.network.parameters["rnn.bias_ih_l0"][4:] = -50.0
    while not state.done:
        blobs.append(screen(advance(state, steps=5)))
    return load(overview(blobs)), experiment


def found(name: str) -> tuple[Finding, ...]:
    return diagnose(*curves(name))


@pytest.mark.parametrize("name", ["an encoder that forgets", "one network that forgets while it reads"])
def test_what_is_read_before_the_first_answer_is_followed_and_not_bounded(name):
    """By the gradients of the steps that read, 16 of 20; a decoder has other weights."""
    (vanishing,) = [finding for finding in found(name) if finding.kind == "vanishing"]
    arrays, experiment = curves(name)
    state = begin(experiment)
    norms = advance(state, steps=experiment.steps).grad_hidden[:, 0, 0]
    assert vanishing.numbers["steps"] == 15
    recent = norms[-len(arrays["heat"]) // 4 :]
    assert vanishing.numbers["ratio"] == pytest.approx(np.median(recent[:, 0] / recent[:, 15]), rel=0.5)


@pytest.mark.parametrize("name", RUNS)
def test_a_real_run_is_seen_for_what_it_is(name):
    findings = found(name)
    assert findings[0].kind == RUNS[name][0], findings
    check(findings)


def test_every_kind_is_seen_in_a_real_run():
    assert {finding.kind for name in RUNS for finding in found(name)} == set(KINDS)


def check(findings: tuple[Finding, ...]) -> None:
    """What holds of every diagnosis."""
    assert 1 <= len(findings) <= MOST_FINDINGS
    kinds = [finding.kind for finding in findings]
    assert set(kinds) <= set(KINDS)
    assert len(set(kinds)) == len(kinds)
    for finding in findings:
        assert finding.level in LEVELS
        assert all(type(number) is float and math.isfinite(number) for number in finding.numbers.values())
    if kinds[0] not in ("too_early", "diverged"):
        levels = [LEVELS.index(finding.level) for finding in findings]
        assert levels == sorted(levels)
    if {"learned", "healthy"} & set(kinds):
        assert len(kinds) == 1


# The numbers


def test_numbers_of_a_gradient_that_vanishes():
    """Sigmoid units pass at most a quarter of it on, so a step's factor is below that of its matrix."""
    (finding,) = found("sigmoid units")
    arrays, _ = curves("sigmoid units")
    assert finding.level == "bad"
    assert finding.numbers["steps"] == 15
    decades = arrays["heat"][-3:, 0, 0] / 100 - arrays["heat"][-3:, 0, 15] / 100
    assert decades.min() < math.log10(finding.numbers["ratio"]) < decades.max()
    assert finding.numbers["factor"] ** 15 == pytest.approx(finding.numbers["ratio"])
    assert finding.numbers["factor"] < 0.25 * arrays["spectrum"][-1, 0, 0, 1]


def test_with_an_answer_at_every_step_the_step_jacobian_tells():
    (finding,) = found("sigmoid units, an answer at every step")
    arrays, _ = curves("sigmoid units, an answer at every step")
    assert finding.numbers["steps"] == 24
    assert finding.numbers["factor"] == pytest.approx(arrays["spectrum"][-1, 0, -1, 1])


def test_a_gradient_that_underflows_has_the_ratio_zero():
    arrays, experiment = curves("sigmoid units")
    gone = arrays["heat"].copy()
    gone[:, 0, :8] = -32768
    (finding,) = diagnose({**arrays, "heat": gone}, experiment)
    assert (finding.kind, finding.numbers["ratio"], finding.numbers["factor"]) == ("vanishing", 0.0, 0.0)


def test_numbers_of_gradients_that_explode():
    first = found("an identity with gain, not clipped")[0]
    arrays, _ = curves("an identity with gain, not clipped")
    at = arrays["norm_before"].argmax()
    assert first.numbers["step"] == arrays["step"][at]
    assert first.numbers["jump"] > 1000
    assert first.level == "bad"
    backwards = found("a large orthogonal matrix")[0]
    assert backwards.numbers["ratio"] > 100
    assert backwards.numbers["factor"] ** backwards.numbers["steps"] == pytest.approx(
        backwards.numbers["ratio"]
    )


def test_numbers_of_a_rate_that_is_too_large():
    first = found("Adam with rate 1")[0]
    arrays, _ = curves("Adam with rate 1")
    relative = arrays["update"] / arrays["weight"]
    assert first.numbers == {"update": pytest.approx(relative.max()), "step": relative.argmax(), "rate": 1.0}


def test_the_rate_is_the_one_in_force():
    arrays, experiment = curves("Adam with rate 1e-5")
    later = experiment.with_change(100, "learning_rate", 2e-5)
    assert diagnose(arrays, later)[0].numbers["rate"] == 2e-5


def test_numbers_of_clipping():
    first = found("clipped to nothing")[0]
    arrays, _ = curves("clipped to nothing")
    assert first.numbers["share"] == 1.0
    assert first.numbers["factor"] == pytest.approx(np.median(arrays["norm_before"][-30:]) / 1e-3, rel=1e-4)


def test_where_least_arrives_of_what_both_directions_bring():
    """Both ends of the first layer have much gradient, as the layer above reads both ways."""
    (finding,) = found("two layers that read both ways")
    arrays, experiment = curves("two layers that read both ways")
    n = finding.numbers
    assert 20 < n["t"] < 40
    assert {n["end"]} <= {7.0, 54.0}
    assert n["steps"] == abs(n["t"] - n["end"])
    heard = arrays["heat"][-1, :2].max(0) / 100
    decades = heard[int(n["t"]) - 1] - heard[int(n["end"]) - 1]
    assert math.log10(n["ratio"]) == pytest.approx(decades, abs=1)
    assert n["factor"] ** n["steps"] == pytest.approx(n["ratio"])
    # What one direction brings there is enough.
    heat = arrays["heat"].copy()
    heat[:, 1] = heat[:, 1].max()
    assert "vanishing" not in {f.kind for f in diagnose({**arrays, "heat": heat}, experiment)}
    # Where the lowest is an end, nothing is said of the way.
    slope = np.broadcast_to(np.linspace(0, -900, heat.shape[2]).astype("i2"), heat.shape)
    assert "vanishing" not in {f.kind for f in diagnose({**arrays, "heat": slope}, experiment)}
    gone = arrays["heat"].copy()
    gone[:, :2, 29:31] = -32768
    (finding,) = [f for f in diagnose({**arrays, "heat": gone}, experiment) if f.kind == "vanishing"]
    assert (finding.numbers["ratio"], finding.numbers["factor"], finding.numbers["t"]) == (0.0, 0.0, 30.0)


def test_what_enters_at_both_ends_is_no_explosion():
    """At t = 1 the first layer has the gradient of what the second hands back there, not what has grown."""
    arrays, experiment = curves("two layers that read both ways")
    decades = arrays["heat"][-1, 0, 0] / 100 - arrays["heat"][-1, 0, 47] / 100
    assert decades > diagnosis.EXPLODING_DECADES
    assert "exploding" not in {f.kind for f in diagnose(arrays, experiment)}
    # In the last layer there is but one way in, and each direction is followed from its own end.
    for part, backward in ((2, False), (3, True)):
        heat = np.zeros_like(arrays["heat"])
        heat[:, part] = np.linspace(400, 0, heat.shape[2])[:: -1 if backward else 1]
        first = diagnose({**arrays, "heat": heat}, experiment)[0]
        assert (first.kind, first.numbers["steps"]) == ("exploding", 47.0)  # 80 % of 59
        assert ("backward" in first.numbers) is backward


def test_every_part_counts_where_there_is_an_answer_at_every_step():
    arrays, experiment = curves("two layers that read both ways, an answer at every step")
    (finding,) = diagnose(arrays, experiment)
    largest = arrays["spectrum"][-1, :, -1, 1]
    assert finding.numbers["factor"] == pytest.approx(largest.max())
    for part in range(4):
        keeps = arrays["spectrum"].copy()
        keeps[-1, part, -1, 1] = 1.0
        assert "vanishing" not in {f.kind for f in diagnose({**arrays, "spectrum": keeps}, experiment)}


def test_what_was_cut_off_has_not_vanished():
    arrays, experiment = curves("a gradient that is cut off")
    whole = experiment.changed(truncate=0)
    assert (arrays["heat"][-1, 0, :40] == -32768).all()
    assert "vanishing" in {f.kind for f in diagnose(arrays, whole)}
    assert "vanishing" not in {f.kind for f in diagnose(arrays, experiment)}
    # A cut behind the beginning of the sequence leaves nothing out.
    assert "vanishing" in {f.kind for f in diagnose(arrays, experiment.changed(truncate=61))}


def test_numbers_of_overfitting():
    (finding,) = found("fifty digits")
    arrays, _ = curves("fifty digits")
    best = arrays["validation_loss"].argmin()
    assert finding.numbers["best"] == arrays["validation_loss"][best]
    assert finding.numbers["step"] == arrays["validation_step"][best]
    assert finding.numbers["validation"] == arrays["validation_loss"][-1]
    assert finding.numbers["train"] < 0.1


@pytest.mark.parametrize(
    ("name", "kind", "series"),
    [("units that are off", "dead", "dead"), ("a large orthogonal matrix", "saturated", "saturated")],
)
def test_shares_are_the_newest(name, kind, series):
    (finding,) = [finding for finding in found(name) if finding.kind == kind]
    assert finding.numbers == {"share": curves(name)[0][series][-1]}


def test_numbers_of_what_is_learned():
    (finding,) = found("a GRU that has learned")
    arrays, _ = curves("a GRU that has learned")
    missed = np.flatnonzero(arrays["validation_accuracy"] < 0.95)[-1]  # also after it had been met once
    assert finding.numbers == {
        "step": arrays["validation_step"][missed + 1], "loss": arrays["validation_loss"][-1],
        "accuracy": arrays["validation_accuracy"][-1],
    }  # fmt: skip


def test_numbers_of_a_run_that_diverged():
    first = found("a linear network at a rate of 100")[0]
    arrays, _ = curves("a linear network at a rate of 100")
    assert first.numbers["step"] == arrays["step"][-1]
    others = {
        f.kind
        for name in ("a linear network at a rate of 100", "a ReLU network at a rate of 1")
        for f in found(name)[1:]
    }
    assert others == {"rate_too_large"}, "its cause, and nothing else"
    finite = arrays["loss"][np.isfinite(arrays["loss"])]
    assert first.numbers["loss"] == finite[-1]


# As a run goes on


def early(arrays: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """What a viewer had seen by then."""
    axes = {"heat": "heat_step", "prediction": "prediction_step", "heat_step": "heat_step"}
    looks = ("validation_step", "validation_loss", "validation_accuracy", "saturated", "dead", "spectrum")
    axes |= {name: "validation_step" for name in looks} | {"prediction_step": "prediction_step"}
    return {name: a[arrays[axes.get(name, "step")] <= step] for name, a in arrays.items()}


@pytest.mark.parametrize("name", RUNS)
def test_at_every_moment_there_is_something_to_say(name):
    arrays, experiment = curves(name)
    for step in (-1, 0, 4, 9, EARLY_STEPS - 1, EARLY_STEPS, 59, 100):
        seen = early(arrays, step)
        findings = diagnose(seen, experiment)
        check(findings)
        if not len(seen["step"]) or not np.isnan(seen["update"][-1]):
            kinds = {finding.kind for finding in findings}
            assert ("too_early" in kinds) >= (step < EARLY_STEPS - 1)


def test_what_passes_back_through_time_is_known_from_the_first_step():
    arrays, experiment = curves("sigmoid units")
    first, second = diagnose(early(arrays, 4), experiment)
    assert (first.kind, first.numbers["steps"]) == ("too_early", 5.0)
    assert (second.kind, second.level) == ("vanishing", "warn")


def test_what_has_been_learned_again_and_lost_is_not_learned():
    arrays, experiment = curves("a GRU that has learned")
    lost = arrays["validation_accuracy"].copy()
    lost[-1] = 0.5
    assert diagnose({**arrays, "validation_accuracy": lost}, experiment)[0].kind == "healthy"


# Thresholds, on curves that lie just on either side


def test_a_fault_counts_from_its_threshold_on():
    arrays, experiment = curves("a plateau before learning")
    experiment = experiment.changed(optimizer="sgd")
    m, n = len(arrays["dead"]), len(arrays["step"])
    small = 0.9 * diagnosis.SMALL_UPDATE * arrays["weight"]

    def kinds(**changed: np.ndarray) -> set[str]:
        return {finding.kind for finding in diagnose({**arrays, **changed}, experiment)}

    assert "dead" not in kinds(dead=np.full(m, np.float32(diagnosis.DEAD - 0.01)))
    assert "dead" in kinds(dead=np.full(m, np.float32(diagnosis.DEAD)))
    assert "saturated" not in kinds(saturated=np.full(m, 0.59))
    assert "saturated" in kinds(saturated=np.full(m, 0.61))
    for share in (0.85, 0.95):
        norm = np.where(np.arange(n) % 20 < 20 * share, 10.1, 0.5)
        found = kinds(norm_before=norm, norm_after=np.minimum(norm, 1.0), update=small)
        assert ("clipped_hard" in found) is (share > 0.9)
    one = np.ones(n)
    assert "clipped_hard" not in kinds(norm_before=np.full(n, 9.9), norm_after=one, update=small)
    norm = np.full(n, 1e9)
    assert "clipped_hard" not in kinds(norm_before=norm, norm_after=norm, update=small)
    # The updates are large enough, or would be too small without clipping as well: not the threshold's fault.
    norm = np.full(n, 20.0)
    assert "clipped_hard" in kinds(norm_before=norm, norm_after=one, update=small)
    assert "clipped_hard" not in kinds(norm_before=norm, norm_after=one, update=2 * small)
    assert "clipped_hard" not in kinds(norm_before=norm, norm_after=one, update=small / 20)
    adam = experiment.changed(optimizer="adam")
    findings = diagnose({**arrays, "norm_before": norm, "norm_after": one, "update": small}, adam)
    assert "clipped_hard" not in {finding.kind for finding in findings}
    for decades, kind in ((-4.1, "vanishing"), (2.1, "exploding")):
        for factor, there in ((1.0, True), (0.9, False)):
            heat = np.zeros_like(arrays["heat"])
            heat[:, 0, 0] = round(100 * decades * factor)
            assert (kind in kinds(heat=heat)) is there
    assert "rate_too_small" in kinds(update=np.full(n, 2.9e-4), weight=np.ones(n))
    assert "rate_too_small" not in kinds(update=np.full(n, 3.1e-4), weight=np.ones(n))


@pytest.mark.parametrize("rule", CLIPPINGS)
def test_only_a_threshold_can_be_too_low(rule):
    """A rule that has none follows the gradients, and may clip nearly all of them because it is meant to."""
    arrays, experiment = curves("a plateau before learning")
    n = len(arrays["step"])
    small = 0.9 * diagnosis.SMALL_UPDATE * arrays["weight"]
    hard = {**arrays, "norm_before": np.full(n, 20.0), "norm_after": np.ones(n), "update": small}
    hard["threshold"] = np.full(n, np.nan)
    sgd = experiment.changed(optimizer="sgd", clip=rule)
    kinds = {finding.kind for finding in diagnose(hard, sgd)}
    assert ("clipped_hard" in kinds) is CLIPPINGS[rule].uses_threshold
    # What another rule did before this one was chosen says nothing of this one's threshold.
    begun = sgd.changed(clip="autoclip").with_change(n - 5, "clip", rule)
    mild = {**hard, "norm_after": np.where(np.arange(n) < n - 5, 1.0, 20.0)}
    assert "clipped_hard" not in {finding.kind for finding in diagnose(mild, begun)}
    # A change that is still to come is none yet.
    later = sgd.with_change(n + 5, "clip", "none")
    assert ("clipped_hard" in {finding.kind for finding in diagnose(hard, later)}) is CLIPPINGS[
        rule
    ].uses_threshold


def test_the_cause_comes_before_the_consequence():
    """A jump of the gradient that is no jump of the rate, and the other way round."""
    exploded = [finding.kind for finding in found("an identity with gain, not clipped")]
    assert "rate_too_large" not in exploded
    too_fast = [finding.kind for finding in found("ReLU with rate 0.3")]
    assert "exploding" not in too_fast


# Curves of any shape


numbers = st.floats(0, 2.0**126, width=32) | st.sampled_from([math.nan, math.inf, 0.0, 1.0])


@given(
    st.sampled_from(["digits_rows", "copying", "adding"]), st.integers(0, 40), st.integers(0, 4), st.data()
)
@settings(max_examples=100, deadline=None)
def test_no_curves_are_too_odd(task, n, m, data):
    layers, direction = data.draw(st.sampled_from([(1, "forward"), (3, "forward"), (1, "both"), (2, "both")]))
    clip = data.draw(st.sampled_from(list(CLIPPINGS)))
    experiment = Experiment(
        task=task, cell="gru", steps=1000, layers=layers, direction=direction, clip=clip, optimizer="sgd"
    )
    parts = layers * experiment.directions
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pool = np.array(data.draw(st.lists(numbers, min_size=1, max_size=4)), "f4")
    rows = 70 if task == "copying" else experiment.steps_per_sequence()

    def series(*shape: int) -> np.ndarray:
        return rng.choice(pool, shape)

    arrays = {
        name: series(n)
        for name in ("loss", "norm_before", "norm_after", "threshold", "update", "weight")
    }  # fmt: skip
    arrays |= {"step": np.arange(n, dtype="i4") * 3, "validation_step": np.arange(m, dtype="i4")}
    arrays["validation_loss"] = series(m)
    shares = np.array([0.0, 0.3, 0.8, 1.0, math.nan], "f4")
    arrays |= {name: rng.choice(shares, m) for name in ("validation_accuracy", "saturated", "dead")}
    codes = np.array([-32768, -4000, 0, 700, 32766, 32767], "i2")
    arrays |= {"spectrum": series(m, parts, 4, 2), "heat": rng.choice(codes, (min(n, 3), parts, rows))}
    arrays["heat_step"] = arrays["step"][-len(arrays["heat"]) :]
    findings = diagnose(arrays, experiment)
    check(findings)


def test_the_words_list_every_kind():
    for kind in KINDS:
        assert f"    {kind}:" in Finding.__doc__
