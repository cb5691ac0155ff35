"""The page Architectures by Streamlit's own test driver, and the forms, presets and numbers that it shows."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.moment import moment
from rnnviz.analysis.parameter_gradients import gradient_norms
from rnnviz.experiment import Experiment, ExperimentError
from rnnviz.network import Network
from rnnviz.runs.store import Store
from rnnviz.tasks import TASKS
from rnnviz.training import advance, begin
from rnnviz.twins import differing
from rnnviz.ui import architecture_sections as sections
from rnnviz.ui import link
from rnnviz.ui.architectures import ARCHITECTURES, tasks_of, written
from rnnviz.ui.module_lines import reading_lines
from rnnviz.ui.svg_box import svg_box

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "architectures.py")


def page(**query: str) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def said(app: AppTest) -> str:
    return "\n".join(str(text.value) for text in (*app.markdown, *app.caption))


# The page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_its_drawing_words_and_numbers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def listening(svg: str, key: str, height: int) -> None:
        seen.append(svg)
        svg_box(svg, key, height)

    monkeypatch.setattr(sections, "svg_box", listening)
    one, app = ARCHITECTURES[name], page(form=name)
    text = said(app)
    assert one.what in text
    assert one.used in text
    assert all(note in text for note in one.notes)
    assert f"{layout_size(one.preset):,}" in text
    assert app.code[0].value == reading_lines(one.preset)
    (drawn,) = seen
    inputs, answers = written(one.drawn)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    for word in (*inputs, *answers):
        assert word in texts
    assert one.what in drawn  # for who does not see it
    assert next(button.label for button in app.button) == "Train it here"
    assert len(app.button) == (2 if one.twins else 1)
    assert not app.error
    assert not app.warning


def test_the_architecture_comes_from_the_address_and_goes_there() -> None:
    app = page(form="deep")
    (control,) = app.button_group
    assert control.value == "deep"
    control.set_value("bidirectional").run()
    assert "bidirectional" in app.query_params["form"]
    assert "stands at t = 1" in said(app)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"form": "one_to_none"}, "allowed: one_to_one, one_to_many"),
        ({"form": "Deep"}, "allowed: one_to_one, one_to_many"),
        ({"hidden": "3"}, "this page has no such setting"),
    ],
)
def test_a_wrong_address_is_named_and_the_page_stands(query: dict[str, str], sentence: str) -> None:
    app = page(**query)
    assert sentence in "\n".join(str(w.value).replace("\\", "") for w in (*app.warning, *app.error))
    assert app.button_group[0].value == "many_to_one"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_buttons_open_train_with_the_preset_and_its_twins(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(st, "switch_page", lambda where, query_params: opened.append((where, query_params)))
    one, app = ARCHITECTURES[name], page(form=name)
    for button in list(app.button):
        app.button(key=button.key).click().run()
    expected = [(one.preset,), one.twins] if one.twins else [(one.preset,)]
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    for (where, query), twins in zip(opened, expected, strict=True):
        assert where.name == "train.py"
        assert where.exists()
        view, problems = link.from_query(store, query)
        assert problems == []
        assert view.twins == twins


def test_without_the_other_there_is_no_second_button() -> None:
    assert [name for name, one in ARCHITECTURES.items() if one.twins] == [
        "encoder_decoder", "bidirectional", "deep", "deep_bidirectional",
    ]  # fmt: skip


def test_what_came_before_counts_right() -> None:
    text = said(page())
    assert f"{2**20:,} states" in text
    assert "1.1e+12 transitions" in text
    assert f"{35**5:,} rows" in text
    assert len(TASKS["text"].channels()) == 35
    assert "2,048 bits" in text
    assert "4,096 weights" in text


# Forms ---------------------------------------------------------------------------------------------------


def accepted(task: str, **values: Any) -> bool:
    try:
        Experiment(task=task, **values)
    except ExperimentError:
        return False
    return True


def names(form: str) -> set[str]:
    return {task.name for task in tasks_of(form)}


def test_every_task_is_in_the_form_that_it_says_and_in_no_other() -> None:
    begins = {
        "many_to_one": "many to one:", "read_first": "many to many: everything is read",
        "one_to_many": "one to many:", "in_step": "many to many, in step:",
    }  # fmt: skip
    for task in TASKS.values():
        forms = {form for form in begins if task.name in names(form)}
        assert forms == {form for form, words in begins.items() if task.form.startswith(words)}
        assert len(forms) == 1


def test_a_form_has_the_tasks_for_which_its_knobs_are_allowed() -> None:
    assert names("encoder_decoder") == {t for t in TASKS if accepted(t, architecture="encoder_decoder")}
    assert names("bidirectional") == {t for t in TASKS if accepted(t, direction="both")}
    assert names("deep_bidirectional") == {t for t in TASKS if accepted(t, direction="both", layers=2)}
    assert names("deep") == {t for t in TASKS if accepted(t, layers=2)} == set(TASKS)
    single = {name for name, task in TASKS.items() if any(task.steps(n) == 1 for n in lengths(name))}
    assert names("one_to_one") == single != set()


def lengths(task: str) -> range:
    return range(TASKS[task].min_length, TASKS[task].min_length + 3)


def test_no_task_in_step_needs_the_future() -> None:
    """As the page says: no answer at t changes with an input after t, in thousands of pairs of sequences."""
    for task in tasks_of("in_step"):
        if task.tells_answers:
            continue  # these refuse both directions
        length = task.min_length
        batch = task.validation_batch(length)
        known: dict[bytes, int] = {}
        for i in range(batch.inputs.shape[1]):
            for t in range(len(batch.inputs)):
                past = bytes([t]) + batch.inputs[: t + 1, i].astype(np.int8).tobytes()
                assert known.setdefault(past, int(batch.targets[t, i])) == batch.targets[t, i], task.name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_preset_has_its_form_and_begins_to_train(name: str) -> None:
    one = ARCHITECTURES[name]
    for e in (one.preset, one.drawn):
        assert one.has(TASKS[e.task])
        assert e.directions == (2 if "bidirectional" in name else 1)
        assert (e.layers > 1) == ("deep" in name)
        assert e.architecture == ("encoder_decoder" if name == "encoder_decoder" else "one")
    assert one.drawn.steps_per_sequence() <= 8
    assert one.preset.steps_per_sequence() > 1 or name == "one_to_one"
    if one.twins:
        assert one.twins[1] == one.preset
        assert set(differing(one.twins)) == set(one.without)
    for e in one.twins or (one.preset,):
        state = begin(e)
        chunk = advance(state, steps=30)
        assert state.step == 30
        assert state.diverged_at is None
        assert np.isfinite(chunk.loss).all()
        assert state.validation_loss is not None


def test_the_words_of_a_comparison_are_all_there() -> None:
    for one in ARCHITECTURES.values():
        assert bool(one.compared) == bool(one.twins)
        if one.twins:  # the numbers of parameters that are told
            told = {int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\d", one.compared)}
            assert {layout_size(twin) for twin in one.twins} <= told


# Numbers -------------------------------------------------------------------------------------------------


def layout_size(experiment: Experiment) -> int:
    """Parameters of a real network."""
    return int(Network(experiment).flat.numel())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_and_shapes_are_a_real_networks(name: str) -> None:
    e = ARCHITECTURES[name].preset
    network = Network(e)
    total, recurrent, reading, answering = (
        int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", sections.parameters_words(e))
    )
    own = {k: int(v.numel()) for k, v in network.parameters.items()}
    assert total == sum(own.values()) == recurrent + reading + answering
    assert recurrent == sum(n for k, n in own.items() if "weight_hh" in k)
    assert answering == sum(n for k, n in own.items() if k.startswith("out."))
    batch = TASKS[e.task].training_batch(0, 0, e.length, e.batch)
    inputs, _targets = network.tensors(batch)
    passage = network.forward(inputs)
    told = sections.shapes_words(e)
    assert f"= {tuple(inputs.shape)};" in told
    assert f"= {tuple(passage.outputs().shape)}." in told


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_lines_of_torch_give_what_the_network_gives(name: str) -> None:
    e = ARCHITECTURES[name].drawn.changed(batch=3)
    network = Network(e)
    inputs, _targets = network.tensors(TASKS[e.task].training_batch(0, 0, e.length, e.batch))
    lines = reading_lines(e).splitlines()
    where = next(k for k, line in enumerate(lines) if line.startswith("x = "))
    space: dict[str, Any] = {"torch": torch, "nn": torch.nn}
    exec("\n".join(lines[: where + 1]), space)
    assert space["x"].shape == inputs.shape
    space["x"] = inputs
    with torch.no_grad():
        for part in (*network.parts, "out"):
            for key, parameter in space[part].named_parameters():
                parameter.copy_(network.parameters[f"{part}.{key}"])
        exec("\n".join(lines[where + 1 :]), space)
    mine = network.read(network.asked(network.forward(inputs)))
    torch.testing.assert_close(space["y"], mine)


def test_with_one_step_the_recurrent_matrix_has_nothing_to_do() -> None:
    one = ARCHITECTURES["one_to_one"].preset
    for cell in ("tanh", "gru", "lstm"):
        e = one.changed(cell=cell)
        norms, network = gradient_norms(moment(e)), Network(e)
        assert norms["rnn.weight_hh_l0"] == 0
        assert all(norm > 0 for name, norm in norms.items() if "weight_hh" not in name)
        state = begin(e)
        advance(state, steps=20)
        trained, fresh = state.network.parameters, network.parameters
        assert torch.equal(trained["rnn.weight_hh_l0"], fresh["rnn.weight_hh_l0"])
        assert not torch.equal(trained["rnn.weight_ih_l0"], fresh["rnn.weight_ih_l0"])
    text = sections.nothing_to_do(one)
    assert "has the norm **0**" in text
    assert gradient_norms(moment(one.changed(length=2)))["rnn.weight_hh_l0"] > 0


def test_norms_of_gradients_are_autograds() -> None:
    e = ARCHITECTURES["one_to_many"].drawn.changed(precision="float64", hidden=4, batch=3)
    found, network = gradient_norms(moment(e)), Network(e)
    network.flat.requires_grad_()
    network._use(network.flat)
    batch = TASKS[e.task].training_batch(e.seed, 0, e.length, e.batch)
    inputs, targets = network.tensors(batch)
    rnn = torch.nn.GRU(inputs.shape[-1], 4).double()
    views = network.parameters
    own = {k.removeprefix("rnn."): v for k, v in views.items() if k.startswith("rnn.")}
    output, _h = torch.func.functional_call(rnn, own, (inputs,))
    y = output @ views["out.weight"].T + views["out.bias"]
    loss = torch.nn.functional.cross_entropy(y.flatten(0, 1), targets.flatten())
    grads = torch.autograd.grad(loss, list(views.values()))
    for (name, norm), grad in zip(found.items(), grads, strict=True):
        assert math.isclose(norm, float(grad.norm()), rel_tol=1e-9), name


# What stands in the nodes --------------------------------------------------------------------------------


def test_nodes_hold_the_numbers_of_the_batch() -> None:
    e = Experiment(task="adding", length=4)
    batch = TASKS["adding"].validation_batch(4)
    inputs, answers = written(e, 2)
    for t, text in enumerate(inputs):
        value, mark = text.split(", ")
        assert abs(float(value) - batch.inputs[t, 2, 0]) <= 0.005
        assert mark == str(int(batch.inputs[t, 2, 1]))
    assert abs(float(answers[0]) - float(batch.targets[2, 0])) <= 0.005


def test_symbols_pictures_and_nothing_are_written_as_such() -> None:
    batch = TASKS["reversal"].validation_batch(3)
    inputs, answers = written(Experiment(task="reversal", length=3), 1)
    symbols = "abcdefgh"
    assert inputs[:3] == [symbols[k] for k in batch.inputs[:3, 1].argmax(1)]
    assert inputs[3] == "write"
    assert answers == inputs[2::-1]
    word, letters = written(Experiment(task="spelling"))
    assert word == ["picture", *["nothing"] * 5]
    said = TASKS["spelling"].answer(TASKS["spelling"].validation_batch(6), 0)
    assert "".join(letter for letter in letters if letter != "end") == said
    rows, digit = written(Experiment(task="digits_rows"))
    assert rows == [f"row {t}" for t in range(1, 9)]
    assert digit == [TASKS["digits_rows"].answer(TASKS["digits_rows"].validation_batch(8), 0)]
    bits, parity = written(Experiment(task="parity_running", length=5), 3)
    ones = np.cumsum([int(bit) for bit in bits]) % 2
    assert parity == [str(one) for one in ones]
    text, following = written(Experiment(task="text", length=10))
    assert text[1:] == following[:-1]
    assert " " not in text
