"""Twins: what sets them apart, in words and in links, and that nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnviz.cells import CELLS
from rnnviz.experiment import KNOBS, Experiment, ExperimentError, default_of, knob, without_say
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.tasks import TASKS
from rnnviz.training import train
from rnnviz.twins import (
    MOST,
    SAME,
    Twins,
    added,
    another,
    difference,
    differing,
    fitted,
    from_text,
    suggested,
    titles,
    to_text,
    with_all,
)

LSTM = Experiment(task="adding", length=30, cell="lstm", forget_bias=0.0)


@st.composite
def experiments(draw):
    """Any experiment of a few knobs that have much to do with each other."""
    task = draw(st.sampled_from(sorted(TASKS)))
    cell = draw(st.sampled_from(sorted(CELLS)))
    initialization = draw(st.sampled_from(sorted(INITIALIZATIONS)))
    values = {
        "task": task, "cell": cell, "initialization": initialization,
        "clip": draw(st.sampled_from(["none", "norm", "value"])),
        "learning_rate": draw(st.sampled_from([1e-3, 0.0123456789, 1.0])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }  # fmt: skip
    if CELLS[cell].forget_gate is not None:
        values["forget_bias"] = draw(st.sampled_from([None, 0.0, -3.5]))
    if INITIALIZATIONS[initialization].uses_gain:
        values["gain"] = draw(st.sampled_from([0.5, 1.0, 1.05]))
    return Experiment(**values)


@given(experiments(), experiments())
def test_a_link_gives_the_same_twin_back(first, twin):
    again, problems = from_text(to_text(twin, first), first)
    # What has no say beside what differs may come back as its default.
    assert problems == []
    silent = without_say(twin.model_dump())
    assert [k for k in differing((again, twin)) if k not in silent] == []


@given(experiments(), st.text(max_size=60))
def test_any_text_gives_a_twin_and_sentences(first, text):
    twin, problems = from_text(text, first)
    assert isinstance(twin, Experiment)
    if text != SAME and ":" not in text:
        assert twin == first
        assert problems
    assert all(str(problem) for problem in problems)


@given(experiments())
def test_there_is_always_one_more_and_it_differs_in_one_thing(first):
    twins: Twins = (first,)
    while len(twins) < MOST:
        twins = added(twins)
        own = difference(twins[-1], first)
        heard = [name for name in own if name not in without_say(twins[-1].model_dump())]
        assert len(heard) == 1, own
        assert len(set(twins)) == len(twins)
    assert len({tuple(difference(twin, first)) for twin in twins[1:]}) >= 1


@given(experiments(), st.sampled_from(KNOBS))
def test_another_value_fits(first, name):
    value = another(first, name)
    twin, problems = fitted(first, {name: value})
    if name not in without_say(first.model_dump()):
        assert problems == []
        assert twin != first


def test_one_more_varies_what_varies_already():
    twins = added(added((LSTM, LSTM.changed(forget_bias=4.0))))
    assert differing(twins) == ("forget_bias",)
    assert titles(twins) == ["forget bias 0", "forget bias 4", "forget bias 1", "forget bias 2"]


def test_titles_tell_what_differs_and_nothing_else():
    gru, tanh = Experiment(task="adding", cell="gru"), Experiment(task="adding", cell="tanh")
    assert titles((gru, tanh)) == [CELLS["gru"].label, CELLS["tanh"].label]
    assert titles((gru, gru)) == ["", ""]
    assert titles((gru, gru.changed(clip="none"))) == ["Clipping: By norm", "Clipping: Off"]
    assert titles((LSTM, fitted(LSTM, {"cell": "tanh"})[0])) == ["LSTM; forget bias 0", CELLS["tanh"].label]


@pytest.mark.parametrize(
    ("first", "values", "expected"),
    [
        ({}, {"layers": 2}, ["1 layer", "2 layers"]),
        ({"layers": 3}, {"direction": "both"}, ["forward", "both ways"]),
        ({}, {"layers": 2, "direction": "both"}, ["1 layer; forward", "2 layers; both ways"]),
        ({"hidden": 1}, {"hidden": 32}, ["1 hidden unit", "32 hidden units"]),
        ({}, {"train_size": 100}, ["all training sequences", "100 training sequences"]),
        ({}, {"truncate": 10}, ["not truncated", "truncated after 10 steps"]),
        ({"truncate": 10}, {"truncate_every": 5}, ["truncated every 10 steps", "truncated every 5 steps"]),
        ({"truncate": 10}, {"truncate_every": 1}, ["truncated every 10 steps", "truncated at every step"]),
        ({"layers": 2}, {"dropout": 0.2}, ["dropout 0", "dropout 0.2"]),
        ({}, {"batch": 32}, ["batch size 64", "batch size 32"]),
    ],
)
def test_titles_are_said_as_one_says_them(first, values, expected):
    one = Experiment(task="adding", **first)
    assert titles((one, one.changed(**values))) == expected


def test_a_setting_of_all_leaves_alone_what_sets_a_twin_apart():
    twins = (LSTM, LSTM.changed(forget_bias=4.0), LSTM.changed(learning_rate=0.1))
    changed, problems = with_all(twins, {"learning_rate": 0.02, "hidden": 8})
    assert problems == []
    assert [t.learning_rate for t in changed] == [0.02, 0.02, 0.1]
    assert [t.forget_bias for t in changed] == [0.0, 4.0, 0.0]
    assert {t.hidden for t in changed} == {8}


def test_what_no_longer_fits_is_given_up_and_said():
    changed, problems = with_all((LSTM, LSTM.changed(forget_bias=4.0)), {"cell": "gru", "forget_bias": None})
    assert changed[0] == changed[1]
    assert [p.field for p in problems] == ["B: forget_bias"]
    assert "no forget gate" in str(problems[0])


def test_another_task_brings_its_length_to_all():
    twins = (LSTM, LSTM.changed(length=60))
    changed, problems = with_all(twins, {"task": "copying", "length": TASKS["copying"].default_length})
    assert {t.length for t in changed} == {TASKS["copying"].default_length}
    assert problems == []


def test_the_first_must_fit():
    with pytest.raises(ExperimentError, match="hidden"):
        with_all((LSTM,), {"hidden": 0})


def test_a_knob_without_a_say_goes_back_to_its_default_without_a_word():
    twin, problems = fitted(LSTM, {"cell": "gru"})
    assert (twin.forget_bias, problems) == (None, [])
    scaled = Experiment(task="adding", initialization="scaled_identity", gain=1.05)
    twin, problems = fitted(scaled, {"initialization": "identity"})
    assert (twin.gain, problems) == (default_of("gain"), [])


def test_every_knob_can_be_said():
    twins = (LSTM, LSTM.changed(**{"seed": 3}))
    assert titles(twins) == ["seed 0", "seed 3"]
    for name in KNOBS:
        value = another(LSTM, name)
        assert value is not None or knob(name).options is None


def test_suggestions_are_worth_a_look():
    assert suggested(Experiment()) == {"cell": "tanh"}
    assert suggested(Experiment(cell="relu")) == {"cell": "gru"}
    assert suggested(LSTM) == {"forget_bias": 4.0}
    assert suggested(LSTM.changed(forget_bias=4.0)) == {"forget_bias": 0.0}


def test_twins_see_the_same_data_in_the_same_order():
    """Until the first update their losses on the same batch differ by the setting alone: here not at all."""
    small = Experiment(task="adding", length=10, hidden=8, steps=6, learning_rate=1e-9)
    first, second = ([c for c in train(e)] for e in (small, small.changed(clip="none")))
    np.testing.assert_array_equal(
        np.concatenate([c.loss for c in first]), np.concatenate([c.loss for c in second])
    )
