"""An experiment: its three round trips, what it refuses and in which words."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rnnviz.cells import CELLS
from rnnviz.clipping import CLIPPINGS, SCOPES
from rnnviz.experiment import (
    ARCHITECTURES,
    CHANGEABLE,
    DIRECTIONS,
    KNOBS,
    MOST_CHANGES,
    MOST_MEMORY,
    PRECISIONS,
    UNTIL,
    Change,
    Experiment,
    ExperimentError,
    Problem,
    allowed,
    bounds,
    complaint,
    default_of,
    knob,
    step_memory,
)
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.optimizers import OPTIMIZERS
from rnnviz.tasks import TASKS

FIELDS = Experiment.model_fields
OPTIONS = [name for name in KNOBS if knob(name).options is not None]
WITH_FORGET_GATE = [cell.name for cell in CELLS.values() if cell.forget_gate]
WITH_GAIN = [scheme.name for scheme in INITIALIZATIONS.values() if scheme.uses_gain]
NUMBERS = [name for name in KNOBS if knob(name).options is None]


def is_whole(name: str) -> bool:
    return FIELDS[name].annotation is int


def is_exclusive(name: str) -> bool:
    return any(hasattr(c, "gt") for c in FIELDS[name].metadata)


def values_of(name: str) -> st.SearchStrategy:
    """Any value that the field may hold, taken from the field itself: a new field is covered at once."""
    if name == "changes":
        return st.lists(CHANGES, max_size=4).map(tuple)
    if name == "version":
        return st.sampled_from(get_args(FIELDS[name].annotation))
    options = knob(name).options
    if options is not None:
        return st.sampled_from(list(options))
    low, high = bounds(name)
    if is_whole(name):
        return st.integers(low, high)
    numbers = st.floats(low, high, exclude_min=is_exclusive(name))
    return st.none() | numbers if type(None) in get_args(FIELDS[name].annotation) else numbers


CHANGES = st.sampled_from(CHANGEABLE).flatmap(
    lambda name: st.fixed_dictionaries(
        {"step": st.integers(0, 10**6), "field": st.just(name), "value": values_of(name)}
    )
)


@st.composite
def experiments(draw) -> Experiment:
    """Any valid experiment: every field by itself, then the rules that tie fields together."""
    values = {name: draw(values_of(name)) for name in FIELDS}
    task = TASKS[values["task"]]
    lengths = st.none() | st.integers(task.min_length, task.max_length)
    values["length"] = draw(lengths)
    values["train_size"] = min(values["train_size"], task.most_sequences)
    if values["layers"] == 1:
        values["dropout"] = 0.0
    if not task.reads_first:
        values["architecture"] = "one"
    if task.tells_answers:
        values["direction"] = "forward"
    bent = "delta" in (values["clip"], *(change["value"] for change in values["changes"]))
    if values["direction"] == "both" or values["architecture"] == "encoder_decoder" or bent:
        values["truncate"] = 0
    if CELLS[values["cell"]].family != "plain" or bent or values["truncate"]:
        values["omega"] = 0.0
    values["truncate_every"] = min(values["truncate_every"], values["truncate"])
    if CELLS[values["cell"]].forget_gate is None:
        values["forget_bias"] = None
    if not INITIALIZATIONS[values["initialization"]].uses_gain:
        values["gain"] = 1.0
    T = task.steps(values["length"] or task.default_length)
    # Far from the limit of memory, which has tests of its own.
    if values["layers"] * T * max(values["batch"], 64) * max(values["hidden"], 64) > 2**23:
        values |= {"layers": 1, "dropout": 0.0, "batch": 1, "hidden": values["hidden"] % 32 + 1}
    return Experiment(**values)


def problems_of(**values) -> list[Problem]:
    with pytest.raises(ExperimentError) as caught:
        Experiment(**values)
    assert str(caught.value) == "\n".join(str(p) for p in caught.value.problems)
    return caught.value.problems


# Round trips


@given(experiments())
@settings(max_examples=60)
def test_round_trip_through_a_link(experiment):
    again, problems = Experiment.from_query(experiment.to_query())
    assert again == experiment
    assert problems == []


@given(experiments())
def test_round_trip_through_json(experiment):
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert Experiment.from_json(experiment.to_json().encode()) == experiment
    assert list(json.loads(experiment.to_json())) == list(FIELDS)


@given(experiments())
def test_round_trip_through_python(experiment):
    assert Experiment(**experiment.model_dump()) == experiment
    assert Experiment(**dict(experiment)) == experiment
    assert experiment.changed() == experiment
    assert pickle.loads(pickle.dumps(experiment)) == experiment
    assert copy.deepcopy(experiment) == experiment


@given(experiments())
def test_equal_experiments_are_one_key(experiment):
    twin = Experiment.from_json(experiment.to_json())
    assert hash(twin) == hash(experiment)
    assert len({experiment, twin}) == 1


@given(experiments())
def test_a_link_holds_what_differs_and_only_text(experiment):
    query = experiment.to_query()
    plain = Experiment(task=experiment.task)
    differing = {n for n in FIELDS if n != "task" and getattr(experiment, n) != getattr(plain, n)}
    assert set(query) - {"task"} == differing
    assert ("task" in query) == (experiment.task != Experiment().task)
    assert all(isinstance(text, str) for text in query.values())


def test_a_link_is_short():
    assert Experiment().to_query() == {}
    experiment = Experiment(task="adding", cell="lstm", forget_bias=1.0, learning_rate=0.0003, seed=7)
    assert experiment.to_query() == {
        "task": "adding", "cell": "lstm", "forget_bias": "1", "learning_rate": "0.0003", "seed": "7",
    }  # fmt: skip
    changes = [
        {"step": 200, "field": "clip_threshold", "value": 0.5},
        {"step": 300, "field": "clip", "value": "none"},
    ]
    assert Experiment(changes=changes).to_query() == {"changes": "200:clip_threshold:0.5,300:clip:none"}


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-5, 1 / 3, 5e-324, 99.99999999999999])
def test_numbers_in_a_link_lose_no_digit(number):
    again, _ = Experiment.from_query(Experiment(learning_rate=number).to_query())
    assert again.learning_rate == number


# Every field by itself


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in OPTIONS for option in knob(name).options]
)
def test_every_option_constructs(name, option):
    others = {"task": "reversal"} if name == "architecture" else {}
    experiment = Experiment(**{**others, name: option})
    assert getattr(experiment, name) == option
    assert complaint(name, option) is None
    assert Experiment.from_query({**others, name: option}) == (experiment, [])


def test_options_are_those_of_the_library():
    sources: dict[str, dict[str, Any]] = {
        "task": TASKS, "cell": CELLS, "initialization": INITIALIZATIONS, "clip": CLIPPINGS,
        "clip_scope": SCOPES, "optimizer": OPTIMIZERS, "precision": PRECISIONS, "until": UNTIL,
        "direction": DIRECTIONS, "architecture": ARCHITECTURES,
    }  # fmt: skip
    assert set(sources) == set(OPTIONS)
    for name, source in sources.items():
        assert list(knob(name).options) == list(source), name
        for option, label in knob(name).options.items():
            assert label == getattr(source[option], "label", source[option])


@pytest.mark.parametrize("name", NUMBERS)
def test_bounds_are_allowed_and_what_lies_beyond_is_not(name):
    low, high = bounds(name)
    step = 1 if is_whole(name) else 1e-9
    # Alone: complaint() looks at the field only; the whole experiment may have further rules.
    inside = [high, high - step, low + step] + ([] if is_exclusive(name) else [low])
    outside = [high + step * max(1, abs(high)), low - step * max(1, abs(low))]
    outside += [low] if is_exclusive(name) else []
    wrong: list[Any] = [*outside, math.nan, math.inf, -math.inf, "x", True, [1]]
    for value in inside:
        assert complaint(name, value) is None, value
    for value in [*wrong, None]:
        assert complaint(name, value) == allowed(name), value
    others: dict[str, Any] = {"task": "adding", "cell": "lstm", "initialization": "orthogonal"}
    wants: dict[str, dict[str, Any]] = {
        "dropout": {"layers": 2}, "truncate_every": {"truncate": 2000}, "omega": {"cell": "tanh"},
    }  # fmt: skip
    others |= wants.get(name, {})
    for value in inside:
        if name != "length":
            assert getattr(Experiment(**{**others, name: value}), name) == value
    for value in [*wrong, {}]:
        (problem,) = problems_of(**{**others, name: value})
        assert problem.field == name
        assert problem.allowed == allowed(name)
        assert str(problem).startswith(f"{name}: got ")


@pytest.mark.parametrize("name", KNOBS)
def test_every_knob_has_its_words(name):
    field, k = FIELDS[name], knob(name)
    assert field.description.endswith(".")
    assert k.label
    assert k.group in ("Task", "Network", "Training")
    assert (k.options is not None) == (field.annotation is str)
    assert allowed(name).startswith("allowed: ")
    assert allowed(name).endswith(".")
    default = default_of(name)
    assert default == getattr(Experiment(), name)
    assert default is None or complaint(name, default) is None


def test_knobs_are_all_fields_but_the_bookkeeping():
    assert [*KNOBS, "changes", "version"] == list(FIELDS)
    assert all(field.description for field in FIELDS.values())
    assert set(CHANGEABLE) == set(get_args(Change.model_fields["field"].annotation)) <= set(KNOBS)
    assert {name for name in KNOBS if knob(name).logarithmic} == {"clip_threshold", "learning_rate"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hidden", "allowed: a whole number from 1 to 512."),
        ("length", "allowed: a whole number from 1 to 2000."),
        ("batch", "allowed: a whole number from 1 to 1024."),
        ("steps", "allowed: a whole number from 1 to 1,000,000."),
        ("learning_rate", "allowed: a number above 0 to 100."),
        ("clip_threshold", "allowed: a number above 0 to 1,000,000."),
        ("forget_bias", "allowed: a number from -20 to 20."),
        ("gain", "allowed: a number from 0 to 10."),
        ("train_size", "allowed: a whole number from 0 to 2000."),
        ("seed", "allowed: a whole number from 0 to 4,294,967,295."),
        ("optimizer", f"allowed: {', '.join(OPTIMIZERS)}."),
        ("version", "this program knows version 1."),
    ],
)
def test_what_is_allowed_in_words(name, sentence):
    assert allowed(name) == sentence


def test_defaults_belong_to_the_version():
    """A link leaves them out, so another default is another run behind an old link: a new version."""
    assert {name: default_of(name) for name in FIELDS} == {
        "task": "digits", "length": 64, "cell": "gru", "hidden": 64, "initialization": "pytorch", "gain": 1.0,
        "forget_bias": None, "clip": "norm", "clip_threshold": 1.0, "clip_scope": "all", "optimizer": "adam",
        "learning_rate": 0.01, "batch": 64, "steps": 2000, "seed": 0, "precision": "float32", "changes": (),
        "version": 1, "train_size": 0, "until": "steps", "layers": 1, "direction": "forward", "dropout": 0.0,
        "truncate": 0, "truncate_every": 0, "architecture": "one", "omega": 0.0,
    }  # fmt: skip


def test_an_experiment_does_not_change():
    experiment = Experiment()
    with pytest.raises(ValidationError, match="frozen"):
        experiment.hidden = 3
    assert experiment.changed(hidden=3).hidden == 3
    assert experiment.hidden == default_of("hidden")


def test_length_follows_the_task():
    for task in TASKS.values():
        assert Experiment(task=task.name).length == task.default_length
        assert Experiment(task=task.name, length=None).length == task.default_length
        assert Experiment(task=task.name).steps_per_sequence() == task.steps(task.default_length)
    assert Experiment(task="copying", length=30).steps_per_sequence() == 50
    assert default_of("length") == TASKS["digits"].default_length


# What it refuses


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hidden": 0}, "hidden: got 0; allowed: a whole number from 1 to 512."),
        ({"hidden": 2.5}, "hidden: got 2.5; allowed: a whole number from 1 to 512."),
        ({"hidden": "many"}, "hidden: got 'many'; allowed: a whole number from 1 to 512."),
        ({"learning_rate": math.nan}, "learning_rate: got nan; allowed: a number above 0 to 100."),
        ({"learning_rate": math.inf}, "learning_rate: got inf; allowed: a number above 0 to 100."),
        ({"clip": 3}, f"clip: got 3; allowed: {', '.join(CLIPPINGS)}."),
        ({"clip": "off"}, f"clip: got 'off'; allowed: {', '.join(CLIPPINGS)}."),
        ({"clip": "nrm"}, f"clip: got 'nrm'; did you mean norm? Allowed: {', '.join(CLIPPINGS)}."),
        ({"precision": "float"}, "precision: got 'float'; did you mean float64? Allowed: float32, float64."),
        ({"version": 2}, "version: got 2; this program knows version 1."),
        ({"hiden": 3}, "hiden: got 3; there is no such field; did you mean hidden?"),
        (
            {"task": "adding", "length": 1},
            "length: got 1; the task adding takes a whole number from 2 to 2000.",
        ),
        (
            {"task": "temporal_order", "length": 501},
            "length: got 501; the task temporal_order takes a whole number from 10 to 500.",
        ),
        (
            {"task": "digits_rows", "train_size": 1348},
            "train_size: got 1348; the task digits_rows has 1,347 training sequences; 0 takes all of them.",
        ),
        ({"task": "digits", "length": 63}, "length: got 63; the task digits always has 64."),
        ({"task": "digits_rows", "length": 64}, "length: got 64; the task digits_rows always has 8."),
        (
            {"cell": "gru", "forget_bias": 1.0},
            "forget_bias: got 1.0; the cell gru has no forget gate "
            f"(these have: {', '.join(WITH_FORGET_GATE)}).",
        ),
        (
            {"cell": "gru", "forget_bias": 0.0},
            "forget_bias: got 0.0; the cell gru has no forget gate "
            f"(these have: {', '.join(WITH_FORGET_GATE)}).",
        ),
        (
            {"initialization": "pytorch", "gain": 1.1},
            "gain: got 1.1; the initialization pytorch has no gain "
            f"(these have: {', '.join(WITH_GAIN)}).",
        ),
        (
            {"changes": "later"},
            "changes: got 'later'; changes are written step:field:value, separated by commas, "
            "such as 200:clip_threshold:0.5; at most 200 of them, at steps up to 1,000,000.",
        ),
        ({"task": ["adding"]}, f"task: got ['adding']; allowed: {', '.join(TASKS)}."),
    ],
)  # fmt: skip
def test_one_sentence_says_field_value_and_what_is_allowed(values, sentence):
    with pytest.raises(ExperimentError) as caught:
        Experiment(**values)
    assert str(caught.value) == sentence
    (problem,) = caught.value.problems
    value = values[problem.field]
    assert problem.value is value


def test_a_field_unlike_any_other_gets_the_list():
    (problem,) = problems_of(colour="red")
    assert problem.allowed == f"there is no such field; fields: {', '.join(FIELDS)}."
    (problem,) = problems_of(self=1)
    assert problem.field == "self"


def test_all_problems_are_named_at_once():
    found = problems_of(task="ading", hidden=0, learning_rate=-1.0, optimizer="asgd", gane=2)
    assert {p.field for p in found} == {"task", "hidden", "learning_rate", "optimizer", "gane"}
    assert len(found) == 5
    found = problems_of(
        task="digits", length=3, cell="gru", forget_bias=1.0, initialization="pytorch", gain=2.0
    )
    assert [p.field for p in found] == ["length", "forget_bias", "gain"]


def test_long_values_are_cut_in_the_sentence():
    (problem,) = problems_of(cell="x" * 500)
    assert problem.value == "x" * 500
    assert f"got 'x{'x' * 55}...;" in str(problem)
    (problem,) = problems_of(cell="x" * 58)
    assert f"got '{'x' * 58}';" in str(problem)


def test_errors_travel_between_processes():
    with pytest.raises(ExperimentError) as caught:
        Experiment(hidden=0, batch=0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ExperimentError
    assert str(again) == str(caught.value)
    assert again.problems == caught.value.problems


def test_json_of_several_experiments_is_said_to_be_that():
    """The page writes a list of twins."""
    for twins in ([], [{}, {"hidden": 3}]):
        with pytest.raises(ExperimentError) as caught:
            Experiment.from_json(json.dumps(twins))
        assert str(caught.value) == (
            f"experiment: got '{len(twins)} of them'; one experiment is needed; pick one object of the list."
        )


@pytest.mark.parametrize("text", ["", "3", "{", "null", b"\xff", '"adding"'])
def test_json_that_is_no_object_is_refused(text):
    with pytest.raises(
        ExperimentError, match=r"^experiment: got .*; a JSON object of its fields is needed\.$"
    ):
        Experiment.from_json(text)


def test_json_numbers_outside_are_refused_too():
    with pytest.raises(ExperimentError, match=r"learning_rate: got inf; allowed"):
        Experiment.from_json('{"learning_rate": 1e999}')
    with pytest.raises(ExperimentError, match=r"gain: got nan; allowed"):
        Experiment.from_json('{"gain": NaN}')
    with pytest.raises(ExperimentError, match=r"hidden: got True; allowed: a whole number"):
        Experiment.from_json('{"hidden": true}')


# Links with wrong values

WORDS = st.sampled_from(
    [*(option for name in OPTIONS for option in knob(name).options), "", "0", "-1", "1", "8", "50", "1e3",
     "nan", "inf", "-inf", "1e999", "None", "true", "adng", "\ud800", "200:clip:norm", "5:clip:x,", "1:2:3",
     "::", ",,", "x" * 99, "9" * 5000, "1_0", " 7 ", "0x10", "7.0", "٣", "\x00"]
)  # fmt: skip
QUERIES = st.dictionaries(st.sampled_from([*FIELDS, "self", "page", "hiden"]), WORDS | st.text(max_size=12))


@given(QUERIES)
@settings(max_examples=150)
def test_any_link_gives_an_experiment_and_a_sentence_for_each_value_left_out(query):
    experiment, problems = Experiment.from_query(query)
    named = [p.field for p in problems]
    assert len(set(named)) == len(named)
    for problem in problems:
        assert problem.value == query[problem.field]
        assert str(problem).startswith(f"{problem.field}: got ")
        assert "\n" not in str(problem)
        assert re.search(r"\w[.?]$", str(problem)) or str(problem).endswith(").")
    # What is not named was taken as it stands, or says what is in force anyway.
    for name, text in query.items():
        if name in FIELDS and name not in named and name in OPTIONS:
            assert getattr(experiment, name) == text
    untouched = set(FIELDS) - set(query) - {"length"}
    assert all(getattr(experiment, n) == FIELDS[n].default for n in untouched)
    assert Experiment.from_query(experiment.to_query()) == (experiment, [])


@given(experiments(), st.sampled_from([n for n in KNOBS if n != "task"]))
@settings(max_examples=60)
def test_a_wrong_value_costs_only_itself(experiment, name):
    query = {**{n: str(getattr(experiment, n)) for n in ("cell", "initialization")}, **experiment.to_query()}
    others = {n: t for n, t in query.items() if n != name}
    # Without a value of its own, the default decides what fits.
    leans = {
        "cell": ("forget_bias", "omega"),
        "initialization": ("gain",),
        "layers": ("dropout",),
        "truncate": ("truncate_every",),
    }
    for other in leans.get(name, ()):
        others.pop(other, None)
    got, problems = Experiment.from_query({**others, name: "no such thing"})
    assert [p.field for p in problems] == [name]
    assert got == Experiment.from_query(others)[0]


def test_a_training_step_keeps_so_much_memory():
    """By hand: of a plain cell h and dL/dh, dL/da and the direct term; an LSTM has fourteen such numbers."""
    plain = Experiment(task="adding", length=100, cell="tanh", hidden=64, batch=32)
    assert step_memory(plain) == 4 * (100 * 32 * 64) * 4 + 100 * 32 * 2 * (8 + 4)
    lstm = plain.changed(cell="lstm", layers=2, direction="both", precision="float64")
    assert step_memory(lstm) == 14 * (100 * 32 * 64) * 2 * 2 * 8 + 100 * 32 * 2 * (8 + 8)


def test_memory_counts_whole_vectors_masks_and_sums():
    """A single unit takes the room of 16, with float64 of 8."""
    one = Experiment(task="adding", length=100, cell="lstm", hidden=1, batch=32)
    assert step_memory(one) == step_memory(one.changed(hidden=16)) < step_memory(one.changed(hidden=17))
    exact = one.changed(precision="float64")
    assert step_memory(exact) == step_memory(exact.changed(hidden=8)) < step_memory(exact.changed(hidden=9))
    two, units = one.changed(layers=2, hidden=16), 100 * 32 * 16 * 2 * 4
    assert step_memory(two.changed(dropout=0.5)) - step_memory(two) == units
    assert step_memory(two.changed(truncate=10)) - step_memory(two) == 3 * units
    (problem,) = problems_of(
        task="adding", length=2000, cell="lstm", hidden=1, batch=1024, layers=4, direction="both"
    )
    assert problem.allowed.startswith("a training step would keep about 13.7 GiB, and at most 2 GiB")


def test_an_experiment_too_large_for_the_memory_is_refused_and_its_link_loses_the_worst():
    large = {"task": "adding", "length": 500, "cell": "lstm", "hidden": 256, "batch": 1024, "layers": 2}
    (problem,) = problems_of(**large)
    assert str(problem) == (
        "batch: got 1024; a training step would keep about 13.7 GiB, and at most 2 GiB are allowed; "
        "batch, length, hidden and layers multiply."
    )
    experiment, problems = Experiment.from_query({name: str(value) for name, value in large.items()})
    assert [p.field for p in problems] == ["batch"]
    assert step_memory(experiment) <= MOST_MEMORY
    assert experiment == Experiment(**{**large, "batch": 64})
    # Everything as large as it can be, and each by itself.
    most = {
        "task": "permutation",
        "length": "1000",
        "cell": "lstm",
        "hidden": "512",
        "batch": "1024",
        "layers": "4",
    }
    experiment, problems = Experiment.from_query({**most, "direction": "both", "precision": "float64"})
    assert step_memory(experiment) <= MOST_MEMORY
    assert {p.field for p in problems} < {"length", "hidden", "batch", "layers"}


def test_a_link_may_carry_parameters_that_are_not_ours():
    assert Experiment.from_query({"utm_source": "mail", "self": "1"}) == (Experiment(), [])


def test_a_link_with_values_that_do_not_fit_together_keeps_the_rest():
    good = {"task": "digits", "cell": "gru", "initialization": "pytorch", "hidden": "9"}
    query = {**good, "forget_bias": "1", "gain": "2", "length": "7", "clip": "nrm"}
    experiment, problems = Experiment.from_query(query)
    assert experiment == Experiment(**good)
    assert {p.field: p.value for p in problems} == {
        "clip": "nrm",
        "forget_bias": "1",
        "gain": "2",
        "length": "7",
    }


def test_empty_means_none_where_none_is_allowed():
    experiment, problems = Experiment.from_query({"cell": "lstm", "forget_bias": ""})
    assert experiment.forget_bias is None
    assert problems == []
    _, problems = Experiment.from_query({"learning_rate": ""})
    assert [p.field for p in problems] == ["learning_rate"]


# Changes in mid-run


def test_changes_take_effect_from_their_step():
    experiment = Experiment(
        learning_rate=0.1,
        clip="norm",
        changes=[
            {"step": 5, "field": "learning_rate", "value": 0.2},
            {"step": 9, "field": "clip", "value": "value"},
            {"step": 9, "field": "clip_scope", "value": "recurrent"},
            {"step": 12, "field": "learning_rate", "value": 0.3},
        ],
    )
    assert [experiment.at(s)["learning_rate"] for s in (0, 4, 5, 11, 12, 10**9)] == [
        0.1,
        0.1,
        0.2,
        0.2,
        0.3,
        0.3,
    ]
    assert [experiment.at(s)["clip"] for s in (8, 9)] == ["norm", "value"]
    assert experiment.at(9)["clip_scope"] == "recurrent"
    assert set(experiment.at(0)) == set(CHANGEABLE)


def test_changes_are_kept_in_the_order_of_their_steps():
    """The later step wins, whatever the order of listing; at one step the one listed last."""
    experiment, problems = Experiment.from_query(
        {"changes": "200:learning_rate:0.2,100:learning_rate:0.1,200:learning_rate:0.3"}
    )
    assert problems == []
    assert [(c.step, c.value) for c in experiment.changes] == [(100, 0.1), (200, 0.2), (200, 0.3)]
    assert experiment.at(250)["learning_rate"] == 0.3
    assert experiment.with_change(150, "clip", "none").at(250) == {**experiment.at(250), "clip": "none"}
    assert experiment.with_change(200, "learning_rate", 0.4).at(200)["learning_rate"] == 0.4
    assert experiment.with_change(200, "learning_rate", 0.4).to_query() == {
        "changes": "100:learning_rate:0.1,200:learning_rate:0.2,200:learning_rate:0.3,200:learning_rate:0.4"
    }


@given(experiments(), CHANGES)
def test_one_more_change_is_recorded_and_the_rest_stays(experiment, change):
    assume(change["value"] != "delta" or not (experiment.truncate or experiment.omega))
    more = experiment.with_change(**change)
    assert len(more.changes) == len(experiment.changes) + 1
    assert more.changed(changes=experiment.changes) == experiment
    assert more.at(change["step"])[change["field"]] == change["value"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("200:clip_threshold", "changes are written step:field:value"),
        ("200", "changes are written step:field:value"),
        ("1:2:3:4", "changes are written step:field:value"),
        ("x:clip:norm", "changes are written step:field:value"),
        ("-1:clip:norm", "changes are written step:field:value"),
        ("5:hidden:3", "changes are written step:field:value"),
        ("5:clip:nrm", "clip at step 5: got 'nrm'; did you mean norm? Allowed: none, norm"),
        ("5:clip:3", "clip at step 5: got 3.0; allowed: none, norm"),
        ("5:clip_scope:norm", "clip_scope at step 5: got 'norm'; allowed: all, recurrent"),
        ("5:learning_rate:fast", "learning_rate at step 5: got 'fast'; allowed: a number above 0 to 100."),
        ("5:learning_rate:0", "learning_rate at step 5: got 0.0; allowed: a number above 0 to 100."),
        ("5:learning_rate:nan", "learning_rate at step 5: got nan; allowed"),
        ("5:clip_threshold:inf", "clip_threshold at step 5: got inf; allowed"),
    ],
)
def test_a_wrong_change_is_named(text, words):
    experiment, problems = Experiment.from_query({"changes": text, "hidden": "9"})
    assert experiment == Experiment(hidden=9)
    (problem,) = problems
    assert (problem.field, problem.value) == ("changes", text)
    assert problem.allowed.startswith(words)


def test_every_wrong_change_is_named():
    wrong = [{"step": 1, "field": "clip", "value": "x"}, {"step": 2, "field": "learning_rate", "value": -1}]
    found = problems_of(changes=wrong)
    assert [p.allowed.split(":")[0] for p in found] == ["clip at step 1", "learning_rate at step 2"]
    assert all(p.value is wrong for p in found)


@pytest.mark.parametrize("value", [True, None, [1], {}])
def test_a_change_is_to_a_number_or_a_name(value):
    (problem,) = problems_of(changes=[{"step": 1, "field": "learning_rate", "value": value}])
    assert problem.field == "changes"


def test_a_change_has_no_other_parts():
    (problem,) = problems_of(changes=[{"step": 1, "field": "clip", "value": "norm", "by": "hand"}])
    assert problem.allowed == allowed("changes")


def test_changes_are_not_without_number():
    """Everybody who looks at a run pays for each of them."""
    changes = [{"step": k, "field": "clip", "value": "none"} for k in range(MOST_CHANGES + 1)]
    assert len(Experiment(changes=changes[:-1]).changes) == MOST_CHANGES
    with pytest.raises(ExperimentError, match="changes"):
        Experiment(changes=changes)
    with pytest.raises(ExperimentError, match="changes"):
        Experiment(changes=[{"step": 10**7, "field": "clip", "value": "none"}])
