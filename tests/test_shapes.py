"""Shapes of torch.nn's modules, which rows are which gate's, what equals what, and what cells cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.flop_counter import FlopCounterMode

from rnnviz.analysis import costs as cost
from rnnviz.analysis.costs import costs, measure, multiplications, own_shapes, too_large
from rnnviz.analysis.equalities import TOLERANCE, Equality, equalities, lengths
from rnnviz.analysis.shapes import MODULES, Form, arrays, build, example, gate_rows, run, weights
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.layout import layout_of
from rnnviz.stack import Stack
from rnnviz.tasks import TASKS
from rnnviz.ui import shapes_settings
from rnnviz.ui.module_lines import call_lines
from rnnviz.ui.shapes_words import GATES, verdict


def forms() -> Iterator[Form]:
    """Every combination of options; all sizes differ, so that none can stand for another."""
    options = product(MODULES, (1, 3), (1, 2), (False, True), (False, True), (0, 2), (True, False))
    for cell, layers, directions, first, bias, projected, batched in options:
        if not projected or cell == "lstm":
            yield Form(cell, 4, 5, layers, directions, first, bias, projected, 7, 6, batched)


FORMS = list(forms())


def executed(lines: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(lines, "lines.py", "exec"), names)
    return names


# Shapes -------------------------------------------------------------------------------------------------


def test_the_grid_is_whole() -> None:
    assert MODULES == ("tanh", "relu", "lstm", "gru")
    assert set(shapes_settings.MODULES) == set(MODULES), "the page offers all of them"
    assert {gate for name in MODULES for gate in CELLS[name].gates} <= set(GATES), (
        "and calls their gates by name"
    )
    assert len(FORMS) == 5 * 2**5


def test_every_shape_is_that_of_pytorch() -> None:
    """The lines that the page shows are executed: their module and what it returns are the judge."""
    for form in FORMS:
        found = arrays(form)
        lines = call_lines(form, found)
        made = executed(lines)
        expected = {w.name: w.shape for w in weights(form)}
        assert expected == {name: tuple(p.shape) for name, p in made["rnn"].named_parameters()}, form
        assert [array.name for array in found] == ["input", "output", "h_n", *["c_n"] * (form.cell == "lstm")]
        for array in found:
            actual = made["x" if array.name == "input" else array.name]
            assert tuple(actual.shape) == array.shape, form
            letters = form.letters
            assert tuple(eval(name, {}, letters) for name in array.dimensions) == array.shape, form
            if array.name != "input":
                assert re.search(rf"# {array.name}: {re.escape(str(array.shape))} ", lines), lines


def test_the_lines_are_the_module_that_was_asked_for() -> None:
    for form in FORMS:
        module, own = executed(call_lines(form, arrays(form)))["rnn"], build(form)
        assert repr(module) == repr(own)
        assert module.bias == own.bias == form.bias


def test_layers_directions_and_projection_by_hand() -> None:
    found = {w.name: w for w in weights(Form("lstm", 3, 8, 2, 2, projected=5))}
    assert found["weight_ih_l0"].shape == (32, 3)
    assert found["weight_hh_l0_reverse"].shape == (32, 5)
    assert found["weight_ih_l1_reverse"].shape == (32, 10)
    assert found["weight_hr_l1"].shape == (5, 8)
    assert found["weight_hr_l1"].gates == ()
    one = found["weight_ih_l1_reverse"]
    assert (one.kind, one.layer, one.direction) == ("weight_ih", 1, 1)
    assert (found["bias_hh_l0"].kind, found["bias_hh_l0"].layer, found["bias_hh_l0"].direction) == (
        "bias_hh", 0, 0,
    )  # fmt: skip
    assert [tuple(rows) for rows in one.gates] == [("i", 0, 7), ("f", 8, 15), ("g", 16, 23), ("o", 24, 31)]
    assert [tuple(rows) for rows in gate_rows("gru", 4)] == [("r", 0, 3), ("z", 4, 7), ("n", 8, 11)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cell": "lstm_peephole"}, "cell: got 'lstm_peephole'; allowed: tanh, relu, lstm, gru."),
        ({"cell": "gru", "projected": 2}, "projected: got 2; only nn.LSTM has a proj_size."),
        ({"projected": 8}, "projected: got 8; it has to be less than the hidden size, 8."),
    ],
)
def test_what_pytorch_does_not_have_is_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Form(**values)


# Gates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", MODULES)
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_slice_of_a_module_moves_one_gate(cell: str, name: str) -> None:
    """Rows of a real module are moved: of rnnviz's cell with the same weights that one gate moves, and the
    module's output goes where the cell's goes."""
    form = Form(cell, 3, 4, steps=1)
    x, h = example(form), torch.full((1, 4, 4), 0.5)
    state = (h, h) if cell == "lstm" else h
    for rows in gate_rows(cell, 4):
        module = build(form)
        before = _gates(cell, module, x, h[0])
        with torch.no_grad():
            dict(module.named_parameters())[name][rows.first : rows.last + 1] += 0.3
            output, _ = module(x, state)
        after = _gates(cell, module, x, h[0])
        moved = {gate for gate in CELLS[cell].gates if not torch.equal(before[gate], after[gate])}
        # The GRU's candidate is made with the reset gate's value.
        assert moved == {rows.gate, *(["n"] if cell == "gru" and rows.gate == "r" else [])}
        assert not torch.allclose(before["h"], after["h"])
        np.testing.assert_allclose(output[0], after["h"], atol=1e-6)


def _gates(cell: str, module: nn.Module, x: Tensor, h: Tensor) -> dict[str, Tensor]:
    own = {name.removesuffix("_l0"): value for name, value in module.state_dict().items()}
    (values,) = unroll(CELLS[cell], own, x, dict.fromkeys(CELLS[cell].states, h))
    return {name: value.clone() for name, value in values.items()}


# What equals what ---------------------------------------------------------------------------------------


def by_name(form: Form) -> dict[str, Equality]:
    found = equalities(form)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_what_holds_and_what_does_not() -> None:
    """The claims' names with what is known of them, over every combination of options."""
    always = {
        "last", "forward_last", "backward_first", "order", "padded_zero", "padded_own", "padded_backward",
        "turned_output", "same_h_n", "same_c_n", "gates",
    }  # fmt: skip
    never = {"backward_last", "sequence_for_step", "other_order", "padded_last", "unpacked", "swapped"}
    met: dict[str, set[bool]] = {}
    for form in FORMS[::3]:  # an odd stride, so that every option is met in both its values
        found = by_name(form)
        for name, one in found.items():
            met.setdefault(name, set()).add(one.holds)
            assert one.zero is (name == "padded_zero") or form.cell == "relu"
            if name in always | never and not one.zero:
                assert one.holds is (name in always), (form, one)
        both, deep = form.directions == 2, form.layers > 1
        assert ("last" in found) is not both
        assert ({"forward_last", "backward_first", "backward_last", "padded_backward"} <= set(found)) is both
        assert ("sequence_for_step" in found) is (form.batch_first and form.batched)
        assert ("order" in found) is (both or deep)
        assert ("other_order" in found) is (both and deep)
        assert ("same_h_n" in found) is form.batched
        assert ("gates" in found) is not form.projected
        assert ("one_bias" in found) is form.bias
        if "one_bias" in found:
            assert found["one_bias"].holds is (form.cell != "gru")
        if "widths" in found:
            assert found["widths"].holds is not form.projected
            assert found["widths"].difference == (3 if form.projected else 0)
    assert always | never | {"widths", "one_bias"} == set(met)
    assert met["widths"] == met["one_bias"] == {True, False}


def test_zeros_on_both_sides_are_named() -> None:
    """Units of ReLU that are silent: the claim that is wrong elsewhere holds here, of nothing."""
    silent = Form("relu", 4, 5, batch_first=True, bias=False, steps=7, batch=6)
    found = by_name(silent)["padded_last"]
    assert (found.holds, found.zero, found.difference) == (True, True, 0.0)
    assert verdict(found) == "**holds**: both are 0"
    assert verdict(by_name(silent)["last"]) == "**holds**"
    assert verdict(by_name(Form())["unpacked"]) == "**does not hold**"


def test_with_one_step_both_ends_are_one() -> None:
    found = by_name(Form(directions=2, steps=1))
    assert found["backward_last"].holds
    assert not [name for name in found if name.startswith(("padded", "unpacked"))]


def test_with_as_many_steps_as_sequences_the_mistake_has_the_right_shape_and_wrong_numbers() -> None:
    found = by_name(Form(batch_first=True, steps=4, batch=4))["sequence_for_step"]
    assert found.shapes == ((4, 8), (4, 8))
    assert TOLERANCE < found.difference < 2


@pytest.mark.parametrize(
    "form",
    [
        Form("lstm", 3, 4, 2, 2),
        Form("gru", 3, 4, 2, 2, batch_first=True),
        Form("tanh", 3, 4, 2, 1, batched=False),
        Form("lstm", 3, 4, 1, 2, projected=2, bias=False),
        Form("relu", 3, 4, 1, 2, batch=1),
    ],
    ids=str,
)
def test_the_python_beside_a_claim_gives_its_numbers(form: Form) -> None:
    """Each side is evaluated in a script of its own."""
    names = script(form)
    for one in equalities(form):
        left, right = (torch.as_tensor(eval(text, names)) for text in (one.left, one.right))
        assert (tuple(left.shape), tuple(right.shape)) == one.shapes, one
        if left.shape == right.shape:
            assert float((left - right).abs().max()) == pytest.approx(one.difference, abs=1e-6), one
        else:
            assert one.difference != one.difference


def script(form: Form) -> dict[str, Any]:
    """What the claims' Python refers to, made by hand."""
    module, x = build(form), example(form)
    names: dict[str, Any] = {"torch": torch, **run(module, x)}
    if form.batched:
        other = build(replace(form, batch_first=not form.batch_first))
        made = run(other, x.transpose(0, 1))
        names |= {f"other_{name}": value for name, value in made.items()}
    first = form.batch_first and form.batched
    batch = x if form.batched else x[:, None]
    of = lengths(form.with_batch)
    packed = pack_padded_sequence(batch, of, batch_first=first, enforce_sorted=False)
    with torch.no_grad():
        output, state = module(packed)
        names["padded"], _ = pad_packed_sequence(output, batch_first=first, total_length=form.steps)
        names["packed_h_n"] = state[0] if isinstance(state, tuple) else state
        mask = (torch.arange(form.steps)[:, None] < torch.tensor(of)[None])[..., None]
        zeroed = batch * (mask.transpose(0, 1) if first else mask)
        names["unpacked_h_n"] = run(module, zeroed)["h_n"]
        if form.bias:
            one = build(form)
            for name, value in one.named_parameters():
                if "bias_ih" in name:
                    value.add_(getattr(one, name.replace("_ih_", "_hh_")))
                    getattr(one, name.replace("_ih_", "_hh_")).zero_()
            names["output_with_one_bias"] = run(one, x)["output"]
    if form.projected:
        doubled = build(replace(form, directions=1))  # each direction of one layer as a module of its own
        states = []
        for end, read in (("", x), ("_reverse", x.flip(0))):
            for name, value in doubled.named_parameters():
                value.data.copy_(getattr(module, name + end))
            states.append(run(doubled, read)["h_n"][0])
        return {**names, "alone": torch.stack(states)}
    stack = Stack(CELLS[form.cell], form.inputs, form.hidden, form.layers, form.directions)
    parameters = dict(module.state_dict())
    passage = stack.forward(stack.split(parameters), batch.transpose(0, 1) if first else batch)
    alone = torch.stack([state["h"] for row in passage.final() for state in row])
    names["alone"] = alone if form.batched else alone[:, 0]
    names["own_output"] = shaped(passage.outputs(), form)
    gates = [rows.first for rows in gate_rows(form.cell, form.hidden)]
    if len(gates) > 1:
        order = torch.arange(len(gates) * form.hidden).view(len(gates), -1)
        order = torch.cat([order[1], order[0], *order[2:]])
        swapped = stack.split({name: value[order] for name, value in parameters.items()})
        outputs = stack.forward(swapped, batch.transpose(0, 1) if first else batch).outputs()
        names["own_output_swapped"] = shaped(outputs, form)
    return names


def shaped(output: Tensor, form: Form) -> Tensor:
    """(T, B, D*H) as this form has it."""
    if not form.batched:
        return output[:, 0]
    return output.transpose(0, 1) if form.batch_first else output


def test_other_weights_give_other_numbers_and_the_same_answers() -> None:
    one, other = by_name(Form(directions=2)), by_name(Form(directions=2, seed=1))
    assert one["backward_last"].difference != other["backward_last"].difference
    assert {name: e.holds for name, e in one.items()} == {name: e.holds for name, e in other.items()}


# Cost ---------------------------------------------------------------------------------------------------


def test_multiply_adds_by_hand() -> None:
    found = {(c.cell, c.projected): c for c in costs(Form("lstm", 3, 8, projected=5))}
    assert len(found) == len(CELLS) + 1
    assert found["lstm", 0].products == 4 * 8 * (3 + 8) == 352
    assert found["lstm", 0].parameters == 352 + 2 * 32
    # f * c, i * g, o * tanh(c)
    assert found["lstm", 0].pointwise == 3 * 8
    assert found["lstm", 5].products == 4 * 8 * (3 + 5) + 5 * 8
    assert found["lstm_coupled", 0].products == 3 * 8 * (3 + 8)
    assert found["lstm_peephole", 0].parameters == found["lstm", 0].parameters + 3 * 8
    assert found["lstm_peephole", 0].products == 352
    assert found["gru", 0].products == found["gru_chung", 0].products == 264
    assert found["tanh", 0].products == found["linear", 0].products == 88
    (deep,) = (c for c in costs(Form("gru", 3, 8, 2, 2)) if c.cell == "gru")
    assert deep.products == 2 * 3 * 8 * (3 + 8) + 2 * 3 * 8 * (16 + 8)
    assert deep.pointwise == 2 * 2 * 3 * 8
    assert [multiplications(cell) for cell in CELLS.values()] == [0, 0, 0, 0, 3, 6, 3, 3, 3]


@pytest.mark.parametrize("cell", CELLS)
def test_multiply_adds_are_those_that_torch_counts(cell: str) -> None:
    """torch's own counter over the plain form of each cell; it counts two operations for a multiply-add."""
    form = Form("lstm", 3, 8, 2, 2, steps=5, batch=4)
    stack = Stack(CELLS[cell], 3, 8, 2, 2)
    drawn = stack.split({name: torch.ones(shape) for name, shape in own_shapes(form, cell).items()})
    with FlopCounterMode(display=False) as counter:
        stack.forward(drawn, example(form))
    (found,) = (c for c in costs(form) if c.cell == cell)
    assert counter.get_total_flops() == 2 * found.products * 5 * 4


@pytest.mark.parametrize("cell", CELLS)
def test_own_shapes_are_those_of_a_network(cell: str) -> None:
    e = Experiment(task="adding", cell=cell, hidden=5, layers=2, direction="both")
    form = Form("lstm", TASKS["adding"].input_size, 5, 2, 2)
    expected = {f"rnn.{name}": shape for name, shape in own_shapes(form, cell).items()}
    assert expected == {name: s for name, s in layout_of(e).shapes.items() if name.startswith("rnn.")}
    (found,) = (c for c in costs(form) if c.cell == cell)
    assert found.parameters == layout_of(e).scopes["not_output"]


def test_time_is_measured_of_each_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ROUNDS", 1)
    monkeypatch.setattr(cost, "LEAST", 0.0)
    threads = torch.get_num_threads()
    found = measure(Form(projected=3, batched=False, batch_first=True))
    assert (found.threads, found.rounds) == (1, 1)
    assert torch.get_num_threads() == threads
    assert [t.cell for t in found.timings] == list(CELLS)
    for timing in found.timings:
        assert (timing.module is not None) is (timing.cell in MODULES)
        assert (timing.own is not None) is (found.kernel == "compiled")
        for times in filter(None, (timing.module, timing.own)):
            assert (len(times.forward), len(times.both)) == (1, 1)
            assert min(times.forward + times.both) > 0
    monkeypatch.setattr(cost, "default_kernel", lambda: "torch")
    assert [t.own for t in measure(Form()).timings] == [None] * len(CELLS)


def test_the_contestants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the tasks move."""
    now, seen = [0.0], []
    takes = {"fast": iter([1, 1, 1, 9, 1, 1, 1, 1, 1]), "slow": iter([5, 5, 5, 5, 5, 5, 70, 5, 5])}

    def task(name: str) -> Any:
        def run() -> None:
            seen.append(name)
            now[0] += next(takes[name])

        return run

    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    found = cost._rounds({(name, "module", 0): task(name) for name in takes})
    assert [[ms / 1000 for ms in times] for times in found.values()] == [
        [1, 9, 1, 1, 1, 1, 1], [5, 5, 5, 5, 70, 5, 5],
    ]  # fmt: skip
    assert seen[4:] == ["fast", "slow"] * cost.ROUNDS


def test_what_is_too_large_to_be_timed() -> None:
    assert too_large(Form()) is None
    large = Form("tanh", 256, 256, steps=32, batch=16)
    assert too_large(large) == 4 * 256 * 512 * 32 * 16
    assert too_large(replace(large, batched=False)) is None
