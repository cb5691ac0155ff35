"""Every cell against its own equations, autograd, torch.nn and finite differences; what it says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from rnnviz.bptt import Tape, backpropagate, unroll
from rnnviz.cells import CELLS

every_cell = pytest.mark.parametrize("name", list(CELLS))
sizes = st.fixed_dictionaries(
    {"T": st.integers(1, 7), "B": st.integers(1, 4), "H": st.integers(1, 5), "I": st.integers(1, 4)}
)
seeds = st.integers(0, 2**32 - 1)
SIZES = {"T": 6, "B": 3, "H": 4, "I": 2}


class Problem:
    """Random weights, inputs and initial states in float64, and a loss that is linear in the h_t it reads."""

    def __init__(self, name: str, seed: int, *, T: int, B: int, H: int, I: int, every: bool = True) -> None:  # noqa: E741
        self.cell = CELLS[name]
        self.T, self.B, self.H = T, B, H
        rng = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=rng)

        rows = len(self.cell.gates) * H
        self.weights = {
            "weight_ih": draw(rows, I),
            "weight_hh": draw(rows, H) * 1.2 / H**0.5,
            "bias_ih": draw(rows) * 0.5,
            "bias_hh": draw(rows) * 0.5,
        }
        if self.cell.peepholes:
            self.weights["weight_peephole"] = draw(len(self.cell.peepholes), H)
        self.inputs = draw(T, B, I)
        self.initial = [draw(B, H) * 0.7 for _ in self.cell.states]
        # What the loss multiplies h_t with, None where it does not read h_t.
        self.read = [draw(B, H) if every or t == T - 1 else None for t in range(T)]

    def loss(self, hidden) -> torch.Tensor:
        return sum((h * w).sum() for h, w in zip(hidden, self.read, strict=True) if w is not None)

    def tape(self) -> Tape:
        steps = unroll(self.cell, self.weights, self.inputs, self.initial)
        return backpropagate(self.cell, self.weights, self.inputs, steps, self.read)

    def value(self, weights, inputs) -> float:
        steps = unroll(self.cell, weights, inputs, self.initial)
        return float(self.loss([s.state[0] for s in steps]))


def assert_close(actual, expected, relative: float, what: str = "") -> None:
    """Largest difference against the largest expected number; exact where all expected numbers are 0."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    difference = np.abs(actual - expected).max(initial=0.0)
    assert difference <= relative * np.abs(expected).max(initial=0.0), f"{what}: off by {difference:.3g}"


# The equations that a reader sees


def translate(equation: str) -> tuple[str, str]:
    """A LaTeX equation as the name that it defines and a Python expression on (H, B) columns."""
    left, right = equation.split(" = ", 1)
    for pattern, replacement in (
        (r"\\max\(0,\\; ", "relu("),
        (r"\\(sigma|tanh)", r"\1"),
        (r"\\odot", "*"),
        (r"W_\{(\w+)\}", r"W['\1'] @"),
        (r"b_\{(\w+)\}", r"b['\1']"),
        (r"p_(\w)\b", r"p['\1']"),
        (r"_\{t-1\}", "_before"),
        (r"\b(\w)_t\b", r"\1"),
    ):
        right = re.sub(pattern, replacement, right)
    assert "\\" not in right, f"a symbol that this test cannot read: {right}"
    return left.removesuffix("_t"), right


def columns(matrix: torch.Tensor) -> np.ndarray:
    return matrix.numpy().T


@every_cell
@given(sizes, seeds)
@settings(max_examples=15)
def test_forward_is_what_the_equations_say(name, size, seed):
    problem = Problem(name, seed, **size)
    cell, weights, H = problem.cell, problem.weights, size["H"]
    W, b = {}, {}
    for k, gate in enumerate(cell.gates):
        rows = slice(k * H, (k + 1) * H)
        for side in "ih":
            W[side + gate] = weights[f"weight_{side}h"][rows].numpy()
            b[side + gate] = weights[f"bias_{side}h"][rows].numpy()[:, None]
    functions: dict[str, Any] = {
        "sigma": lambda a: 1 / (1 + np.exp(-a)),
        "tanh": np.tanh,
        "relu": lambda a: np.maximum(0, a),
    }
    p = {gate: weights["weight_peephole"][k].numpy()[:, None] for k, gate in enumerate(cell.peepholes)}
    state = {s: columns(value) for s, value in zip(cell.states, problem.initial, strict=True)}
    tape = problem.tape()
    for t in range(size["T"]):
        known = {**functions, "W": W, "b": b, "p": p, "x": columns(problem.inputs[t])}
        known |= {f"{s}_before": value for s, value in state.items()}
        for equation in cell.equations:
            defined, expression = translate(equation)
            known[defined] = eval(expression, {}, known)
        state = {s: known[s] for s in cell.states}
        for gate in cell.gates:
            assert_close(columns(tape.gates[gate][0, 0, t]), known[gate], 1e-12, f"{gate} at {t}")
        assert_close(columns(tape.hidden[0, 0, t]), known["h"], 1e-12, f"h at {t}")
        if "c" in cell.states:
            assert_close(columns(tape.cell_state[0, 0, t]), known["c"], 1e-12, f"c at {t}")


# Gradients


@every_cell
@pytest.mark.parametrize("every", [True, False], ids=["loss at every step", "loss at the last step"])
@given(sizes, seeds)
@example({"T": 1, "B": 1, "H": 1, "I": 1}, 0)
@example({"T": 9, "B": 1, "H": 5, "I": 1}, 1)
@settings(max_examples=25)
def test_gradients_are_those_of_autograd(name, every, size, seed):
    problem = Problem(name, seed, **size, every=every)
    tape = problem.tape()

    weights = {k: w.clone().requires_grad_() for k, w in problem.weights.items()}
    inputs = problem.inputs.clone().requires_grad_()
    steps = unroll(problem.cell, weights, inputs, problem.initial)
    # The tensors kept are the very ones that the loss and the next step read: their .grad is the total.
    for state in chain.from_iterable(s.state for s in steps):
        state.retain_grad()
    problem.loss([s.state[0] for s in steps]).backward()

    assert set(tape.grad_weights) == set(weights)
    for key, weight in weights.items():
        assert_close(tape.grad_weights[key], weight.grad, 1e-9, key)
    assert_close(tape.grad_inputs, inputs.grad, 1e-9, "dL/dx")
    for index, recorded in enumerate((tape.grad_hidden, tape.grad_cell_state)[: len(problem.cell.states)]):
        for t, step in enumerate(steps):
            assert_close(recorded[0, 0, t], step.state[index].grad, 1e-9, f"total dL/ds_{t}, state {index}")


def torch_twin(problem: Problem) -> nn.Module:
    """The same recurrent layer as a module of torch.nn."""
    kind, options = problem.cell.torch_module
    inputs = problem.inputs.shape[-1]
    module = getattr(nn, kind)(inputs, problem.H, dtype=torch.float64, **options)
    module.load_state_dict({f"{name}_l0": w.clone() for name, w in problem.weights.items()})
    return module


@pytest.mark.parametrize("name", [c.name for c in CELLS.values() if c.torch_module])
@given(sizes, seeds)
@settings(max_examples=25)
def test_forward_and_gradients_are_those_of_torch_nn(name, size, seed):
    problem = Problem(name, seed, **size)
    module, tape = torch_twin(problem), problem.tape()
    initial = [s[None] for s in problem.initial]
    inputs = problem.inputs.clone().requires_grad_()
    out, last = module(inputs, tuple(initial) if len(initial) > 1 else initial[0])
    problem.loss(out).backward()

    assert_close(tape.hidden[0, 0], out.detach(), 1e-12, "h")
    if "c" in problem.cell.states:
        assert_close(tape.cell_state[0, 0, -1], last[1][0].detach(), 1e-12, "c")
    assert_close(tape.grad_inputs, inputs.grad, 1e-12, "dL/dx")
    for key, gradient in tape.grad_weights.items():
        assert_close(gradient, getattr(module, f"{key}_l0").grad, 1e-12, key)


@pytest.mark.parametrize(("name", "module"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell)])
def test_state_gradients_are_those_of_torch_cells_run_step_by_step(name, module):
    """No forward pass of ours here: the totals through nn.LSTMCell and nn.GRUCell themselves."""
    problem = Problem(name, 5, **SIZES)
    twin = module(SIZES["I"], SIZES["H"], dtype=torch.float64)
    twin.load_state_dict(problem.weights)
    state, states = tuple(problem.initial), []
    for x in problem.inputs:
        after: tuple[torch.Tensor, ...] = twin(x, state) if name == "lstm" else (twin(x, *state),)
        for s in after:
            s.retain_grad()
        states.append(after)
        state = after
    problem.loss([s[0] for s in states]).backward()
    tape = problem.tape()
    assert_close(tape.grad_hidden[0, 0], torch.stack([s[0].grad for s in states]), 1e-12)
    if name == "lstm":
        assert_close(tape.grad_cell_state[0, 0], torch.stack([s[1].grad for s in states]), 1e-12)


@every_cell
@given(sizes, seeds)
@settings(max_examples=25)
def test_gradients_fit_finite_differences(name, size, seed):
    """Central differences along a random direction of all weights and inputs: no backward pass involved."""
    problem = Problem(name, seed, **size)
    tape = problem.tape()
    rng = torch.Generator().manual_seed(seed + 1)
    gradient = {**tape.grad_weights, "inputs": tape.grad_inputs}
    direction = {k: torch.randn(g.shape, dtype=g.dtype, generator=rng) for k, g in gradient.items()}
    along = float(sum((gradient[k] * d).sum() for k, d in direction.items()))
    epsilon = 1e-6

    def moved(sign: int) -> float:
        point = {**problem.weights, "inputs": problem.inputs}
        point = {k: v + sign * epsilon * direction[k] for k, v in point.items()}
        return problem.value(point, point["inputs"])

    measured = (moved(1) - moved(-1)) / (2 * epsilon)
    scale = float(sum(g.square().sum() for g in gradient.values())) ** 0.5
    assert abs(measured - along) <= 1e-6 * scale


# Identities between cells


def with_rows(weights: dict, cell, gate: str, bias: float) -> dict:
    """The weights with one gate held open or shut by an enormous bias."""
    H = weights["weight_hh"].shape[1]
    k = cell.gates.index(gate)
    changed = {key: w.clone() for key, w in weights.items()}
    changed["bias_ih"][k * H : (k + 1) * H] = bias
    return changed


@pytest.mark.parametrize(("name", "z"), [("gru", -800.0), ("gru_chung", 800.0)])
def test_a_gru_with_gates_held_is_a_tanh_cell(name, z):
    """PyTorch's form at z = 0, r = 1; Chung's at z = 1, r = 1."""
    problem, H = Problem(name, 7, **SIZES), SIZES["H"]
    problem.weights = with_rows(problem.weights, problem.cell, "r", 800.0)
    problem.weights = with_rows(problem.weights, problem.cell, "z", z)
    plain = Problem("tanh", 7, **SIZES)
    plain.weights = {key: w[2 * H :] for key, w in problem.weights.items()}
    plain.inputs, plain.initial, plain.read = problem.inputs, problem.initial, problem.read
    ours, theirs = problem.tape(), plain.tape()
    assert_close(ours.hidden, theirs.hidden, 1e-14)
    assert_close(ours.grad_hidden, theirs.grad_hidden, 1e-14)
    assert_close(ours.grad_inputs, theirs.grad_inputs, 1e-14)
    for key, gradient in theirs.grad_weights.items():
        assert_close(ours.grad_weights[key][2 * H :], gradient, 1e-14, key)
        assert (ours.grad_weights[key][: 2 * H] == 0).all()


@pytest.mark.parametrize(("name", "z"), [("gru", 800.0), ("gru_chung", -800.0)])
def test_a_gru_that_only_keeps_repeats_its_state(name, z):
    problem = Problem(name, 8, **SIZES)
    problem.weights = with_rows(problem.weights, problem.cell, "z", z)
    tape = problem.tape()
    assert (tape.hidden == problem.initial[0]).all()
    assert_close(tape.grad_hidden[0, 0, 0], sum(problem.read), 1e-14)


def test_coupled_lstm_is_an_lstm_with_i_equal_to_one_minus_f():
    coupled, H = Problem("lstm_coupled", 9, **SIZES), SIZES["H"]
    full = Problem("lstm", 9, **SIZES)
    # sigmoid(-a) = 1 - sigmoid(a)
    full.weights = {key: torch.cat([-w[:H], w]) for key, w in coupled.weights.items()}
    full.inputs, full.initial, full.read = coupled.inputs, coupled.initial, coupled.read
    ours, theirs = coupled.tape(), full.tape()
    assert_close(ours.hidden, theirs.hidden, 1e-13)
    assert_close(ours.cell_state, theirs.cell_state, 1e-13)
    assert_close(ours.grad_hidden, theirs.grad_hidden, 1e-13)
    assert_close(ours.grad_cell_state, theirs.grad_cell_state, 1e-13)
    for key, gradient in theirs.grad_weights.items():
        folded = torch.cat([gradient[H : 2 * H] - gradient[:H], gradient[2 * H :]])
        assert_close(ours.grad_weights[key], folded, 1e-13, key)


def test_peepholes_of_zero_make_an_ordinary_lstm():
    peephole = Problem("lstm_peephole", 10, **SIZES)
    peephole.weights["weight_peephole"].zero_()
    plain = Problem("lstm", 10, **SIZES)
    plain.weights = {k: w for k, w in peephole.weights.items() if k != "weight_peephole"}
    plain.inputs, plain.initial, plain.read = peephole.inputs, peephole.initial, peephole.read
    ours, theirs = peephole.tape(), plain.tape()
    assert torch.equal(ours.hidden, theirs.hidden)
    assert_close(ours.grad_cell_state, theirs.grad_cell_state, 1e-14)
    for key, gradient in theirs.grad_weights.items():
        assert_close(ours.grad_weights[key], gradient, 1e-14, key)


def test_gradient_of_a_linear_cell_is_a_power_of_its_matrix():
    problem = Problem("linear", 11, **SIZES, every=False)
    tape, T = problem.tape(), SIZES["T"]
    for t in range(T):
        power = torch.linalg.matrix_power(problem.weights["weight_hh"], T - 1 - t)
        assert_close(tape.grad_hidden[0, 0, t], problem.read[-1] @ power, 1e-13, f"t = {t}")


def test_relu_has_slope_0_at_the_kink():
    weights = {"weight_ih": torch.ones(1, 1), "weight_hh": torch.ones(1, 1)}
    weights |= {"bias_ih": torch.zeros(1), "bias_hh": torch.zeros(1)}
    inputs = torch.zeros(1, 1, 1)
    steps = unroll(CELLS["relu"], weights, inputs)
    tape = backpropagate(CELLS["relu"], weights, inputs, steps, [torch.ones(1, 1)])
    assert tape.grad_weights["bias_ih"].item() == 0.0


@pytest.mark.parametrize("name", [c.name for c in CELLS.values() if c.largest_slope is not None])
def test_largest_slope_is_the_largest_measured(name):
    weights = {"weight_ih": torch.ones(1, 1), "weight_hh": torch.zeros(1, 1)}
    weights |= {"bias_ih": torch.zeros(1), "bias_hh": torch.zeros(1)}
    a = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    h = unroll(CELLS[name], {k: w.double() for k, w in weights.items()}, a[None, :, None])[0].state[0][:, 0]
    assert float((h.diff() / a.diff()).max()) == pytest.approx(CELLS[name].largest_slope, rel=1e-6)


# Unrolling and the tape


@every_cell
def test_the_tape_has_layers_and_directions_in_front(name):
    problem = Problem(name, 12, **SIZES)
    tape, shape = problem.tape(), (1, 1, SIZES["T"], SIZES["B"], SIZES["H"])
    assert tape.hidden.shape == tape.grad_hidden.shape == shape
    assert list(tape.gates) == list(problem.cell.gates)
    assert all(g.shape == shape for g in tape.gates.values())
    if "c" in problem.cell.states:
        assert tape.cell_state.shape == tape.grad_cell_state.shape == shape
    else:
        assert tape.cell_state is None
        assert tape.grad_cell_state is None


@every_cell
def test_states_start_at_zero_unless_given(name):
    problem = Problem(name, 13, **SIZES)
    zeros = [torch.zeros_like(s) for s in problem.initial]
    default = unroll(problem.cell, problem.weights, problem.inputs)
    given_zeros = unroll(problem.cell, problem.weights, problem.inputs, zeros)
    assert torch.equal(default[-1].state[0], given_zeros[-1].state[0])
    assert default[0].before[0].dtype == torch.float64


@every_cell
def test_backward_leaves_what_it_was_given_as_it_was(name):
    problem = Problem(name, 14, **SIZES)
    before = [w.clone() for w in (*problem.weights.values(), problem.inputs, *problem.read)]
    problem.tape()
    after = (*problem.weights.values(), problem.inputs, *problem.read)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_a_gradient_is_wanted_for_each_time_step(count):
    problem = Problem("tanh", 15, **SIZES)
    problem.read = [None] * count
    with pytest.raises(ValueError, match=rf"got {count} entries for 6 time steps"):
        problem.tape()


@every_cell
def test_float32_stays_float32(name):
    problem = Problem(name, 16, **SIZES)
    exact = problem.tape()
    problem.weights = {k: w.float() for k, w in problem.weights.items()}
    problem.inputs = problem.inputs.float()
    problem.initial = [s.float() for s in problem.initial]
    problem.read = [w.float() for w in problem.read]
    tape = problem.tape()
    assert tape.grad_hidden.dtype == tape.grad_inputs.dtype == torch.float32
    for key, gradient in tape.grad_weights.items():
        assert gradient.dtype == torch.float32
        assert_close(gradient, exact.grad_weights[key], 1e-5, key)


# What a cell says of itself


@every_cell
def test_a_cell_describes_itself(name):
    cell = CELLS[name]
    assert cell.name == name
    assert cell.family in ("plain", "lstm", "gru")
    assert cell.label
    assert cell.summary.endswith(".")
    assert cell.source
    assert cell.gates
    assert len(set(cell.gates)) == len(cell.gates)
    assert len(cell.activations) == len(cell.gates)
    assert tuple(chain.from_iterable(cell.products)) == cell.gates
    assert cell.states[0] == "h"
    assert set(cell.peepholes) <= set(cell.gates)
    assert cell.forget_gate is None or cell.forget_gate in cell.gates
    assert re.fullmatch(r"#[0-9a-f]{6}", cell.color)
    if cell.torch_module:
        assert hasattr(nn, cell.torch_module[0])


@every_cell
def test_equations_define_every_gate_and_state(name):
    cell = CELLS[name]
    defined = [translate(equation)[0] for equation in cell.equations]
    assert len(set(defined)) == len(defined)
    assert set(defined) == {*cell.gates, *cell.states}
    assert defined[-1] == "h"


@every_cell
def test_every_gate_has_the_nonlinearity_of_its_equation(name):
    cell = CELLS[name]
    signs = {r"\sigma(": "sigmoid", r"\tanh(": "tanh", r"\max(0": "relu"}
    for gate, activation in zip(cell.gates, cell.activations, strict=True):
        (right,) = [e.partition("=")[2].strip() for e in cell.equations if translate(e)[0] == gate]
        assert activation == next((v for k, v in signs.items() if right.startswith(k)), "linear")


def test_cells_are_told_apart():
    for attribute in ("label", "summary", "color", "equations"):
        values = [getattr(cell, attribute) for cell in CELLS.values()]
        assert len(set(values)) == len(values), attribute


def test_forget_gates_belong_to_cells_with_a_memory():
    assert all((cell.forget_gate is None) == ("c" not in cell.states) for cell in CELLS.values())


@every_cell
def test_each_product_keeps_its_operand(name):
    problem = Problem(name, 17, **SIZES)
    for step in problem.tape().steps:
        assert len(step.operands) == len(problem.cell.products)
        assert step.operands[0] is step.before[0]


@pytest.mark.parametrize(
    "module", ["cells", "tasks", "initialization", "clipping", "optimizers", "experiment"]
)
def test_descriptions_load_no_heavy_library(module):
    heavy = ("torch", "streamlit", "sklearn", "plotly", "pandas", "scipy")
    code = f"import sys, rnnviz.{module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_nothing_and_offers_its_names():
    code = (
        "import sys, rnnviz; before = 'torch' in sys.modules;"
        "found = [getattr(rnnviz, name).__module__ for name in ('train', 'Network', 'Tape', 'Experiment')];"
        "listed = dir(rnnviz); there = all(hasattr(rnnviz, name) for name in listed);"
        "print(before, found, sorted(rnnviz.__all__) == listed, there)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    homes = ["rnnviz.training", "rnnviz.network", "rnnviz.bptt", "rnnviz.experiment"]
    assert done.stdout.strip() == f"False {homes} True True"


def test_a_name_that_the_package_lacks_is_an_attribute_error():
    import rnnviz

    with pytest.raises(AttributeError, match="'rnnviz' has no attribute 'trane'"):
        _ = rnnviz.trane
