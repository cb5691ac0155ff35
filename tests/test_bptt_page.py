"""The page of backpropagation by hand, by Streamlit's own test driver: its numbers are autograd's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.by_hand import EXAMPLES, WEIGHTS, SmallNetwork, work_out
from rnnviz.analysis.latex import short
from rnnviz.analysis.walk import walk
from rnnviz.ui.small_network import KINDS, network_of, reading, values_of
from rnnviz.ui.walk import sentence, walk_data
from tests.independent import Independent

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "bptt.py")


def page(**query: str) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def drawn(app: AppTest) -> dict[str, Any]:
    """What the browser was given to draw."""
    (component,) = app.get("bidi_component")
    found: dict[str, Any] = json.loads(component.proto.json)
    return found


def example(app: AppTest) -> Any:
    return next(box for box in app.selectbox if box.label == "Example")


def field(app: AppTest, label: str) -> Any:
    """The field of one number."""
    return next(one for one in app.number_input if one.label == f"${label}$")


class OfThePage:
    """The numbers on the page in the order of a small network's."""

    def __init__(self, app: AppTest) -> None:
        self.data = drawn(app)
        self.rows = {row["name"]: row for row in self.data["rows"]}

    def terms(self, name: str) -> list[float]:
        return [term["value"] for term in self.rows[name]["terms"]]


def expected(net: SmallNetwork) -> dict[str, Any]:
    """The same by autograd alone."""
    judge = Independent(net, net.reach)
    return {
        "S": [[short(x) for x in state.tolist()] for state in judge.states[-1]],
        "O": [short(output.item()) for output in judge.outputs],
        "grad_S": [[short(x) for x in judge.grad_state(t).tolist()] for t in range(net.T)],
        "terms": {
            " ".join([name, *(str(i + 1) for i in place)]): [
                float(judge.term(name, t)[place]) for t in range(net.T)
            ]
            for name in WEIGHTS
            for place in np.ndindex(judge.gradient(name).shape)
        },
        "loss": judge.loss.item(),
    }


def assert_page_is(app: AppTest, net: SmallNetwork) -> dict[str, Any]:
    told, judge = OfThePage(app), expected(net)
    nodes, grads = told.data["nodes"], told.data["grads"]
    assert nodes["S"] == judge["S"]
    assert nodes["O"] == judge["O"]
    assert nodes["X"] == [short(x) for x in net.inputs]
    assert nodes["Y"] == [short(y) for y in net.targets]
    assert grads["S"] == judge["grad_S"]
    assert set(told.rows) == set(judge["terms"])
    for name, terms in judge["terms"].items():
        row = told.rows[name]
        assert told.terms(name) == pytest.approx(terms, rel=1e-10, abs=1e-13), name
        assert [one["text"] for one in row["terms"]] == [short(one["value"]) for one in row["terms"]]
        sums = np.cumsum(terms[::-1])[::-1]
        assert [one["value"] for one in row["running"]] == pytest.approx(sums, rel=1e-10, abs=1e-13), name
        assert row["autograd"] == short(float(sums[0])), name
    return judge


def changed(net: SmallNetwork, name: str, place: int, value: float) -> SmallNetwork:
    """The network with one number replaced."""
    if name == "b_2":
        return replace(net, b_2=value)
    if name == "W_s":
        rows = [list(row) for row in net.W_s]
        rows[place // net.H][place % net.H] = value
        return replace(net, W_s=tuple(map(tuple, rows)))
    own = {"X": "inputs", "Y": "targets", "S_0": "initial"}.get(name, name)
    values = list(getattr(net, own) or (0.0,) * net.H)
    values[place] = value
    return replace(net, **{own: tuple(values)})


def choose(app: AppTest, name: str) -> AppTest:
    example(app).select(name).run()
    assert not app.exception
    return app


def test_the_page_opens_with_the_lecture_notes_and_an_empty_link():
    app = page()
    assert not app.warning
    assert not app.query_params
    assert example(app).value == "lecture"
    assert_page_is(app, EXAMPLES["lecture"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_what_autograd_makes_of_it(name):
    app = choose(page(), name)
    assert example(app).value == name
    assert_page_is(app, EXAMPLES[name])
    # The link alone gives the same page.
    link = {key: value if isinstance(value, str) else value[0] for key, value in app.query_params.items()}
    again = page(**link)
    assert not again.warning
    assert drawn(again)["rows"] == drawn(app)["rows"]
    assert example(again).value == name


@pytest.mark.parametrize(
    ("label", "name", "place"),
    [
        ("W_x", "W_x", 0), ("W_s", "W_s", 0), ("b_1", "b_1", 0), ("W_o", "W_o", 0), ("b_2", "b_2", 0),
        ("S_0", "S_0", 0), ("X_1", "X", 0), ("Y_3", "Y", 2),
    ],
)  # fmt: skip
def test_a_number_that_moves_moves_every_number_that_depends_on_it(label, name, place):
    app = page()
    before = assert_page_is(app, EXAMPLES["lecture"])
    value = round(field(app, label).value + 0.3, 6)
    field(app, label).set_value(value).run()
    assert not app.exception
    after = assert_page_is(app, changed(EXAMPLES["lecture"], name, place, value))
    assert after != before
    assert example(app).value == "own"


@pytest.mark.parametrize("place", range(4))
def test_each_recurrent_weight_of_two_units(place):
    app = choose(page(), "two")
    label = f"W_{{s,{place // 2 + 1},{place % 2 + 1}}}"
    before = assert_page_is(app, EXAMPLES["two"])
    field(app, label).set_value(-0.7).run()
    after = assert_page_is(app, changed(EXAMPLES["two"], "W_s", place, -0.7))
    for name in after["terms"]:  # all of them depend on it, from the second step on
        assert after["terms"][name] != before["terms"][name], name


@pytest.mark.parametrize("loss", ["last", "every"])
@pytest.mark.parametrize("through", ["all", "1", "3"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "linear"])
def test_activation_loss_and_truncation(activation, loss, through):
    app = page(activation=activation, loss=loss, through=through, T="5", X="1,2,-1,0.5,-0.5,0")
    net = replace(
        EXAMPLES["lecture"], activation=activation, every=loss == "every",
        through=None if through == "all" else int(through), inputs=(1.0, 2.0, -1.0, 0.5, -0.5),
        targets=(0.0, 0.0, 1.0, 0.0, 0.0),
    )  # fmt: skip
    assert_page_is(app, net)


def test_wrong_values_in_the_address_are_named():
    app = page(activation="lstm", T="9", W_s="1,2", stop="0", colour="red")
    (warning,) = app.warning
    assert "activation" in warning.value
    assert "tanh, relu, sigmoid, linear" in warning.value
    assert "a whole number from 1 to 6" in warning.value
    assert "4 numbers from" in warning.value
    assert "no such setting" in warning.value
    assert_page_is(app, EXAMPLES["lecture"])


def test_a_link_says_where_to_stand():
    assert drawn(page(stop="7"))["at"] == 6
    assert drawn(page())["at"] == 0


def test_a_smaller_network_keeps_the_numbers_of_the_larger():
    app = choose(page(), "two")
    app.slider[0].set_value(3).run()
    app.slider[0].set_value(4).run()
    assert example(app).value == "two"
    assert_page_is(app, EXAMPLES["two"])


def test_a_truncation_that_reaches_everything_is_none():
    app = page(T="3", through="2")
    app.slider[0].set_value(2).run()
    assert not app.exception
    assert drawn(app)["reach"] == 2
    assert all(left is None for row in drawn(app)["rows"] for left in row["left"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_settings_and_network_say_the_same(name):
    values = values_of(EXAMPLES[name])
    assert set(values) == set(KINDS) - {"stop"}

    rebuilt = network_of(values)
    assert expected(rebuilt) == expected(EXAMPLES[name])
    for key, kind in KINDS.items():
        if key in values:
            assert kind.read(kind.write(values[key])) == values[key], key


def test_the_reading_names_what_happens():
    verdicts = {name: reading(work_out(net)) for name, net in EXAMPLES.items()}
    assert "vanishes" in verdicts["vanishing"].verdict
    assert "explodes" in verdicts["exploding"].verdict
    assert "1.8" in verdicts["exploding"].numbers
    assert "18.9" in verdicts["exploding"].numbers  # 1.8 ** 5
    assert "comes through" in verdicts["lecture"].verdict
    assert "Cut after 2 of the steps, the gradient of W_s is 0.532; the whole one is 1.23." in (
        verdicts["truncated"].numbers
    )


@pytest.mark.parametrize("through", [None, 1, 2])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_stop_has_its_sentence_and_every_term_its_stop(name, through):
    worked = work_out(replace(EXAMPLES[name], through=through))
    frames = walk(worked)
    for frame in frames:
        assert sentence(frame).endswith(".")
        assert "{" not in sentence(frame)
    names = {frame.name for frame in frames}
    for row in walk_data(worked)["rows"]:
        assert set(row["stops"]) <= names
