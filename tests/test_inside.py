"""Inside a cell: every number against the registered cell's own forward, evaluated directly in float64."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnviz.analysis.held import Hold, held_forward
from rnnviz.analysis.inside import (
    Inside,
    Start,
    candidate,
    look,
    plain_at,
    plain_twin,
    small_start,
    start_of,
    steps_of,
)
from rnnviz.analysis.inside_equations import substituted
from rnnviz.analysis.moment import moment
from rnnviz.bptt import TorchOps, peepholes
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment

GATED = [name for name, cell in CELLS.items() if len(cell.gates) > 1]
GRUS = [name for name, cell in CELLS.items() if cell.family == "gru"]
LSTMS = [name for name, cell in CELLS.items() if cell.family == "lstm"]
PHI = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "linear": lambda a: a}


def start(name: str, seed: int = 3) -> Start:
    return small_start(name, 3, 2, seed, (0.8, -0.4))


def directly(begin: Start) -> dict[str, np.ndarray]:
    """What `Cell.forward` itself returns, on plain tensors."""
    w = begin.weights
    ops = TorchOps(begin.cell, w, (begin.x @ w["weight_ih"].T + w["bias_ih"])[None])
    before = SimpleNamespace(**{name: value[None] for name, value in begin.before.items()})
    found = begin.cell.forward(ops, before, peepholes(begin.cell, w))
    return {name: value[0].numpy() for name, value in found.items()}


def pre_activation(begin: Start, gate: str, operand: torch.Tensor) -> np.ndarray:
    """W x + b + W h + b of a gate, row by row."""
    w, k = begin.weights, begin.cell.gates.index(gate)
    H, inputs = len(operand), len(begin.x)
    terms = [
        sum(w["weight_ih"][row, j] * begin.x[j] for j in range(inputs))
        + w["bias_ih"][row]
        + sum(w["weight_hh"][row, j] * operand[j] for j in range(H))
        + w["bias_hh"][row]
        for row in range(k * H, k * H + H)
    ]
    return np.array([float(term) for term in terms])


def check(inside: Inside) -> None:
    """All values of a step against the cell, against plain sums, and against what they are called."""
    begin, values = inside.start, inside.values
    for name, value in directly(begin).items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    for name, state in begin.before.items():
        np.testing.assert_array_equal(values[f"{name}_before"], state.numpy())
    names = {name: value for name, value in values.items() if re.fullmatch(r"\w+", name)}
    for name in values.keys() - names.keys():
        np.testing.assert_allclose(values[name], eval(name, {}, dict(names)), rtol=1e-15, err_msg=name)
    for gate, phi in zip(begin.cell.gates, begin.cell.activations, strict=True):
        rh = torch.from_numpy(values["rh"]) if "rh" in values and gate == "n" else begin.before["h"]
        a = pre_activation(begin, gate, rh)
        if gate in begin.cell.apart:
            np.testing.assert_allclose(values[f"a_x{gate}"] + values[f"a_h{gate}"], a, rtol=1e-12, atol=1e-14)
        else:
            np.testing.assert_allclose(values[f"a_{gate}"], a, rtol=1e-12, atol=1e-14)
        activated = PHI[phi](torch.from_numpy(inside.before_gate(gate))).numpy()
        np.testing.assert_allclose(values[gate], activated, rtol=1e-15)
        one = inside.shares[gate]
        if gate in begin.cell.apart:
            total = one.input + one.bias_ih + values["r"] * (one.recurrent + one.bias_hh)
        else:
            total = one.input + one.recurrent + one.bias_ih + one.bias_hh + one.peephole
        np.testing.assert_allclose(total, inside.before_gate(gate), rtol=1e-12, atol=1e-14)


def pinned(begin: Start, held: dict[str, float]) -> np.ndarray:
    """h_t of one step, written out, with every value held where it is made."""
    states = {name: value.numpy() for name, value in begin.before.items()}
    h, w = states["h"], {name: value.numpy() for name, value in begin.weights.items()}
    rows = {gate: slice(3 * k, 3 * k + 3) for k, gate in enumerate(begin.cell.gates)}
    p = dict(zip(begin.cell.peepholes, w.get("weight_peephole", ()), strict=True))
    ax = {g: w["weight_ih"][r] @ begin.x.numpy() + w["bias_ih"][r] for g, r in rows.items()}
    ah = {g: w["weight_hh"][r] @ h + w["bias_hh"][r] for g, r in rows.items()}

    def gate(which: str, a: np.ndarray) -> np.ndarray:
        value = np.tanh(a) if which in "gn" else 1 / (1 + np.exp(-a))
        return np.full(3, held[which]) if which in held else value

    if begin.cell.family == "lstm":
        c = states["c"]
        f, g = gate("f", ax["f"] + ah["f"] + p.get("f", 0) * c), gate("g", ax["g"] + ah["g"])
        i = gate("i", ax["i"] + ah["i"] + p.get("i", 0) * c) if "i" in rows else 1 - f
        c = f * c + i * g
        found: np.ndarray = gate("o", ax["o"] + ah["o"] + p.get("o", 0) * c) * np.tanh(c)
        return found
    r, z = gate("r", ax["r"] + ah["r"]), gate("z", ax["z"] + ah["z"])
    if begin.cell.name == "gru":
        n = gate("n", ax["n"] + r * ah["n"])
        return (1 - z) * n + z * h
    n = gate("n", ax["n"] + w["weight_hh"][rows["n"]] @ (r * h) + w["bias_hh"][rows["n"]])
    return (1 - z) * h + z * n


@pytest.mark.parametrize("name", CELLS)
def test_every_number_is_the_cells_own(name: str) -> None:
    check(look(start(name)))


@pytest.mark.parametrize("name", CELLS)
def test_every_weight_is_followed(name: str) -> None:
    begin = start(name)
    usual = look(begin).values
    for which, values in begin.weights.items():
        for place in np.ndindex(*values.shape):
            changed = values.clone()
            changed[place] += 0.1
            other = look(replace(begin, weights={**begin.weights, which: changed}))
            assert any(not np.array_equal(other.values[key], usual[key]) for key in usual), (which, place)
            if place[-1] == 0:
                check(other)


@pytest.mark.parametrize("name", CELLS)
def test_the_equations_hold_with_their_numbers(name: str) -> None:
    inside = look(start(name))
    names = {"sig": lambda a: 1 / (1 + np.exp(-a)), "tanh": np.tanh, "relu": lambda a: max(0.0, a)}
    for unit in range(inside.units):
        lines = substituted(inside, unit, repr)
        assert len(lines) == len(inside.cell.equations)
        for line, equation in zip(lines, inside.cell.equations, strict=True):
            left, numbers, result = line.split(" = ")
            assert left == equation.split(" = ")[0]
            code = numbers.replace(r"\sigma", "sig").replace(r"\tanh", "tanh").replace(r"\cdot", "*")
            code = code.replace(r"\max(0,\; ", "relu(")
            assert not re.search(r"[\\{}_]|\b[a-z]\b", code), code
            value = inside.values[left.removesuffix("_t")][unit]
            assert float(result) == value
            assert eval(code, {}, names) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", GATED)
def test_a_hold_is_a_forward_pass_with_that_value_pinned(name: str) -> None:
    begin = start(name)
    cell = begin.cell
    everything = {
        gate: 0.3 if phi == "sigmoid" else -0.7
        for gate, phi in zip(cell.gates, cell.activations, strict=True)
    }
    for held in [{gate: value} for gate, value in everything.items()] + [everything]:
        inside = look(begin, held)
        np.testing.assert_allclose(inside.values["h"], pinned(begin, held), rtol=1e-12, atol=1e-15)
        assert all((inside.values[gate] == value).all() for gate, value in held.items())
        assert abs(inside.values["h"] - look(begin).values["h"]).max() > 1e-4
        for line in substituted(inside, 0):
            assert line.endswith(r"\text{(held)}") == (line[0] in held and line[1] == "_")


@pytest.mark.parametrize("name", LSTMS)
def test_the_output_gate_acts_on_h_alone(name: str) -> None:
    shut, open_ = look(start(name), {"o": 0.0}).values, look(start(name), {"o": 1.0}).values
    np.testing.assert_array_equal(shut["c"], open_["c"])
    np.testing.assert_array_equal(shut["h"], 0.0)
    np.testing.assert_allclose(open_["h"], np.tanh(open_["c"]), rtol=1e-14)


@pytest.mark.parametrize("name", GRUS)
def test_a_gru_with_its_gates_so_is_the_plain_tanh_cell(name: str) -> None:
    expected = {"gru": {"r": 1.0, "z": 0.0}, "gru_chung": {"r": 1.0, "z": 1.0}}[name]
    for seed in range(5):
        begin = start(name, seed)
        assert plain_at(begin.cell) == expected
        rows = slice(6, 9)  # of the candidate, by hand
        w = {key: value[rows] for key, value in begin.weights.items()}
        ops = TorchOps(CELLS["tanh"], w, (begin.x @ w["weight_ih"].T + w["bias_ih"])[None])
        before = SimpleNamespace(h=begin.before["h"][None])
        twin = CELLS["tanh"].forward(ops, before, SimpleNamespace())["h"][0].numpy()
        np.testing.assert_array_equal(plain_twin(begin), twin)
        np.testing.assert_allclose(look(begin, expected).values["h"], twin, rtol=1e-14)
        other = {**expected, "z": 1.0 - expected["z"]}
        np.testing.assert_allclose(look(begin, other).values["h"], begin.before["h"].numpy(), rtol=1e-14)
        assert abs(look(begin).values["h"] - twin).max() > 1e-3


@pytest.mark.parametrize("name", LSTMS)
def test_an_lstm_with_its_gates_so_is_nearly_one(name: str) -> None:
    begin = start(name)
    h, twin = look(begin, plain_at(begin.cell)).values["h"], plain_twin(begin)
    np.testing.assert_allclose(h, np.tanh(twin), rtol=1e-14)
    assert abs(h - twin).max() > 1e-2
    expected = {"i": 1.0, "f": 0.0, "o": 1.0}
    assert plain_at(begin.cell) == {gate: expected[gate] for gate in begin.cell.gates if gate in expected}
    assert candidate(begin.cell) == "g"


def test_what_cells_have_in_common_is_the_same() -> None:
    lstm, peephole, coupled = (look(start(name)).values for name in ("lstm", "lstm_peephole", "lstm_coupled"))
    for name in ("f", "g", "o", "f * c_before"):
        np.testing.assert_array_equal(lstm[name], coupled[name])
    for name in ("a_i", "a_f", "a_o", "g", "c_before"):
        np.testing.assert_array_equal(lstm[name], peephole[name])
    gru, chung = (look(start(name)).values for name in GRUS)
    np.testing.assert_array_equal(gru["z"], chung["z"])
    assert not np.array_equal(look(start("lstm", 4)).values["a_i"], lstm["a_i"])


@pytest.mark.parametrize(
    ("cell", "more"),
    [
        ("gru", {}),
        ("lstm_peephole", {"layers": 2, "direction": "both"}),
        ("gru_chung", {"precision": "float32"}),
        ("tanh", {"task": "spelling"}),
    ],
)
def test_a_step_of_a_network_is_the_one_it_made(cell: str, more: dict[str, object]) -> None:
    values = {"task": "adding", "length": 7, "hidden": 4, "batch": 3, "precision": "float64", **more}
    if values["task"] == "spelling":
        del values["length"]
    one = moment(Experiment(cell=cell, **values))
    stack = one.network.chain.stacks[0]
    tolerance = 1e-12 if values["precision"] == "float64" else 2e-6
    for part in range(len(one.network.chain.stacks)):
        for layer, direction in np.ndindex(stack.L, stack.D):
            trace = one.trace(layer, direction, part)
            T = steps_of(one, layer, direction, part)
            for t in (0, T // 2, T - 1):
                inside = look(start_of(one, t, 2, layer, direction, part))
                check(inside)
                for name in CELLS[cell].values:
                    np.testing.assert_allclose(
                        inside.values[name], trace.values[name][t, 2].numpy(), rtol=tolerance, atol=tolerance
                    )


def test_gates_held_in_every_step_before() -> None:
    experiment = Experiment(task="adding", length=7, cell="lstm", hidden=4, batch=3, precision="float64")
    one = moment(experiment)
    held = {"f": 1.0, "i": 0.25}
    holds = [Hold(gate, value) for gate, value in held.items()]
    passage = held_forward(experiment, one.network.flat, one.batch, holds).passage
    for t in (0, 3, 6):
        inside = look(start_of(one, t, 1, held=held), held)
        np.testing.assert_allclose(inside.values["h"], passage.outputs()[t, 1].numpy(), rtol=1e-12)
    alone = look(start_of(one, 6, 1), held)
    assert abs(alone.values["h"] - passage.outputs()[6, 1].numpy()).max() > 1e-6


@pytest.mark.parametrize(("name", "gate"), [("tanh", "h"), ("gru", "f")])
def test_a_gate_that_is_not_there_is_a_sentence(name: str, gate: str) -> None:
    with pytest.raises(ValueError, match=f"^held: '{gate}' is not a gate of "):
        look(start(name), {gate: 1.0})
