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

from rnnviz.bptt import Trace, unroll
from rnnviz.cells import CELLS
from rnnviz.kernels import KERNELS
from rnnviz.stack import layer_of

every_cell = pytest.mark.parametrize("name", list(CELLS))
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
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
        self.initial = {state: draw(B, H) * 0.7 for state in self.cell.states}
        # What the loss multiplies h_t with, None where it does not read h_t.
        self.read = [draw(B, H) if every or t == T - 1 else None for t in range(T)]

    def loss(self, hidden) -> torch.Tensor:
        return sum((h * w).sum() for h, w in zip(hidden, self.read, strict=True) if w is not None)

    def run(self, kernel: str = "torch", reverse: bool = False) -> Ran:
        precision = str(self.inputs.dtype).removeprefix("torch.")
        layer = layer_of(kernel)(self.cell, self.inputs.shape[-1], self.H, precision, reverse)
        trace = layer.forward(self.weights, self.inputs, self.initial)
        grad = {key: torch.full_like(w, torch.nan) for key, w in self.weights.items()}
        if all(w is None for w in self.read[:-1]) and not reverse:
            trace.backward(self.weights, grad, last={"h": self.read[-1]})
        else:
            direct = torch.stack([torch.zeros(self.B, self.H).to(w) if w is None else w for w in self.read])
            trace.backward(self.weights, grad, direct=direct)
        return Ran(trace, self.weights, grad)

    def value(self, weights, inputs) -> float:
        return float(self.loss([now["h"] for now in unroll(self.cell, weights, inputs, self.initial)]))


class Ran:
    """What a layer left behind, (T, B, H) each, and the gradients of its weights."""

    def __init__(self, trace: Trace, weights: dict, grad_weights: dict) -> None:
        self.trace, self.grad_weights = trace, grad_weights
        self.hidden, self.cell_state = trace.values["h"], trace.values.get("c")
        self.grad_hidden, self.grad_cell_state = trace.total["h"], trace.total.get("c")
        self.values = trace.values
        self.grad_inputs = trace.grad_inputs(weights)


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


@every_kernel
@every_cell
@given(sizes, seeds)
@settings(max_examples=15)
def test_forward_is_what_the_equations_say(kernel, name, size, seed):
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
    state = {s: columns(value) for s, value in problem.initial.items()}
    ran = problem.run(kernel)
    for t in range(size["T"]):
        known = {**functions, "W": W, "b": b, "p": p, "x": columns(problem.inputs[t])}
        known |= {f"{s}_before": value for s, value in state.items()}
        for equation in cell.equations:
            defined, expression = translate(equation)
            known[defined] = eval(expression, {}, known)
        state = {s: known[s] for s in cell.states}
        for gate in cell.gates:
            assert_close(columns(ran.values[gate][t]), known[gate], 1e-12, f"{gate} at {t}")
        assert_close(columns(ran.hidden[t]), known["h"], 1e-12, f"h at {t}")
        if "c" in cell.states:
            assert_close(columns(ran.cell_state[t]), known["c"], 1e-12, f"c at {t}")


# Gradients


@every_kernel
@every_cell
@pytest.mark.parametrize("every", [True, False], ids=["loss at every step", "loss at the last step"])
@given(sizes, seeds)
@example({"T": 1, "B": 1, "H": 1, "I": 1}, 0)
@example({"T": 9, "B": 1, "H": 5, "I": 1}, 1)
@settings(max_examples=12)
def test_gradients_are_those_of_autograd(kernel, name, every, size, seed):
    problem = Problem(name, seed, **size, every=every)
    ran = problem.run(kernel)

    weights = {k: w.clone().requires_grad_() for k, w in problem.weights.items()}
    inputs = problem.inputs.clone().requires_grad_()
    steps = list(unroll(problem.cell, weights, inputs, problem.initial))
    # The tensors kept are the very ones that the loss and the next step read: their .grad is the total.
    for now in steps:
        for name_of_state in problem.cell.states:
            now[name_of_state].retain_grad()
    problem.loss([now["h"] for now in steps]).backward()

    assert set(ran.grad_weights) == set(weights)
    for key, weight in weights.items():
        assert_close(ran.grad_weights[key], weight.grad, 1e-9, key)
    assert_close(ran.grad_inputs, inputs.grad, 1e-9, "dL/dx")
    for state, recorded in ran.trace.total.items():
        for t, now in enumerate(steps):
            assert_close(recorded[t], now[state].grad, 1e-9, f"total dL/d{state}_{t}")


def torch_twin(problem: Problem) -> nn.Module:
    """The same recurrent layer as a module of torch.nn."""
    kind, options = problem.cell.torch_module
    inputs = problem.inputs.shape[-1]
    module = getattr(nn, kind)(inputs, problem.H, dtype=torch.float64, **options)
    module.load_state_dict({f"{name}_l0": w.clone() for name, w in problem.weights.items()})
    return module


@every_kernel
@pytest.mark.parametrize("name", [c.name for c in CELLS.values() if c.torch_module])
@given(sizes, seeds)
@settings(max_examples=12)
def test_forward_and_gradients_are_those_of_torch_nn(kernel, name, size, seed):
    problem = Problem(name, seed, **size)
    module, ran = torch_twin(problem), problem.run(kernel)
    initial = [s[None] for s in problem.initial.values()]
    inputs = problem.inputs.clone().requires_grad_()
    out, last = module(inputs, tuple(initial) if len(initial) > 1 else initial[0])
    problem.loss(out).backward()

    assert_close(ran.hidden, out.detach(), 1e-12, "h")
    if "c" in problem.cell.states:
        assert_close(ran.cell_state[-1], last[1][0].detach(), 1e-12, "c")
    assert_close(ran.grad_inputs, inputs.grad, 1e-12, "dL/dx")
    for key, gradient in ran.grad_weights.items():
        assert_close(gradient, getattr(module, f"{key}_l0").grad, 1e-12, key)


@every_kernel
@pytest.mark.parametrize(("name", "module"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell)])
def test_state_gradients_are_those_of_torch_cells_run_step_by_step(kernel, name, module):
    """No forward pass of ours here: the totals through nn.LSTMCell and nn.GRUCell themselves."""
    problem = Problem(name, 5, **SIZES)
    twin = module(SIZES["I"], SIZES["H"], dtype=torch.float64)
    twin.load_state_dict(problem.weights)
    state, states = tuple(problem.initial.values()), []
    for x in problem.inputs:
        after: tuple[torch.Tensor, ...] = twin(x, state) if name == "lstm" else (twin(x, *state),)
        for s in after:
            s.retain_grad()
        states.append(after)
        state = after
    problem.loss([s[0] for s in states]).backward()
    ran = problem.run(kernel)
    assert_close(ran.grad_hidden, torch.stack([s[0].grad for s in states]), 1e-12)
    if name == "lstm":
        assert_close(ran.grad_cell_state, torch.stack([s[1].grad for s in states]), 1e-12)


@every_kernel
@every_cell
@given(sizes, seeds)
@settings(max_examples=12)
def test_gradients_fit_finite_differences(kernel, name, size, seed):
    """Central differences along a random direction of all weights and inputs: no backward pass involved."""
    problem = Problem(name, seed, **size)
    ran = problem.run(kernel)
    rng = torch.Generator().manual_seed(seed + 1)
    gradient = {**ran.grad_weights, "inputs": ran.grad_inputs}
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


@every_kernel
@pytest.mark.parametrize(("name", "z"), [("gru", -800.0), ("gru_chung", 800.0)])
def test_a_gru_with_gates_held_is_a_tanh_cell(kernel, name, z):
    """PyTorch's form at z = 0, r = 1; Chung's at z = 1, r = 1."""
    problem, H = Problem(name, 7, **SIZES), SIZES["H"]
    problem.weights = with_rows(problem.weights, problem.cell, "r", 800.0)
    problem.weights = with_rows(problem.weights, problem.cell, "z", z)
    plain = Problem("tanh", 7, **SIZES)
    plain.weights = {key: w[2 * H :] for key, w in problem.weights.items()}
    plain.inputs, plain.initial, plain.read = problem.inputs, problem.initial, problem.read
    ours, theirs = problem.run(kernel), plain.run(kernel)
    assert_close(ours.hidden, theirs.hidden, 1e-14)
    assert_close(ours.grad_hidden, theirs.grad_hidden, 1e-14)
    assert_close(ours.grad_inputs, theirs.grad_inputs, 1e-14)
    for key, gradient in theirs.grad_weights.items():
        assert_close(ours.grad_weights[key][2 * H :], gradient, 1e-14, key)
        assert (ours.grad_weights[key][: 2 * H] == 0).all()


@every_kernel
@pytest.mark.parametrize(("name", "z"), [("gru", 800.0), ("gru_chung", -800.0)])
def test_a_gru_that_only_keeps_repeats_its_state(kernel, name, z):
    problem = Problem(name, 8, **SIZES)
    problem.weights = with_rows(problem.weights, problem.cell, "z", z)
    ran = problem.run(kernel)
    assert (ran.hidden == problem.initial["h"]).all()
    assert_close(ran.grad_hidden[0], sum(problem.read), 1e-14)


@every_kernel
def test_coupled_lstm_is_an_lstm_with_i_equal_to_one_minus_f(kernel):
    coupled, H = Problem("lstm_coupled", 9, **SIZES), SIZES["H"]
    full = Problem("lstm", 9, **SIZES)
    # sigmoid(-a) = 1 - sigmoid(a)
    full.weights = {key: torch.cat([-w[:H], w]) for key, w in coupled.weights.items()}
    full.inputs, full.initial, full.read = coupled.inputs, coupled.initial, coupled.read
    ours, theirs = coupled.run(kernel), full.run(kernel)
    assert_close(ours.hidden, theirs.hidden, 1e-13)
    assert_close(ours.cell_state, theirs.cell_state, 1e-13)
    assert_close(ours.grad_hidden, theirs.grad_hidden, 1e-13)
    assert_close(ours.grad_cell_state, theirs.grad_cell_state, 1e-13)
    for key, gradient in theirs.grad_weights.items():
        folded = torch.cat([gradient[H : 2 * H] - gradient[:H], gradient[2 * H :]])
        assert_close(ours.grad_weights[key], folded, 1e-13, key)


@every_kernel
def test_peepholes_of_zero_make_an_ordinary_lstm(kernel):
    peephole = Problem("lstm_peephole", 10, **SIZES)
    peephole.weights["weight_peephole"].zero_()
    plain = Problem("lstm", 10, **SIZES)
    plain.weights = {k: w for k, w in peephole.weights.items() if k != "weight_peephole"}
    plain.inputs, plain.initial, plain.read = peephole.inputs, peephole.initial, peephole.read
    ours, theirs = peephole.run(kernel), plain.run(kernel)
    assert torch.equal(ours.hidden, theirs.hidden)
    assert_close(ours.grad_cell_state, theirs.grad_cell_state, 1e-14)
    for key, gradient in theirs.grad_weights.items():
        assert_close(ours.grad_weights[key], gradient, 1e-14, key)


@every_kernel
def test_gradient_of_a_linear_cell_is_a_power_of_its_matrix(kernel):
    problem = Problem("linear", 11, **SIZES, every=False)
    ran, T = problem.run(kernel), SIZES["T"]
    for t in range(T):
        power = torch.linalg.matrix_power(problem.weights["weight_hh"], T - 1 - t)
        assert_close(ran.grad_hidden[t], problem.read[-1] @ power, 1e-13, f"t = {t}")


@every_kernel
def test_relu_has_slope_0_at_the_kink(kernel):
    weights = {"weight_ih": torch.ones(1, 1), "weight_hh": torch.ones(1, 1)}
    weights |= {"bias_ih": torch.zeros(1), "bias_hh": torch.zeros(1)}
    layer = layer_of(kernel)(CELLS["relu"], 1, 1, "float32")
    trace = layer.forward(weights, torch.zeros(1, 1, 1))
    grad = {key: torch.full_like(w, torch.nan) for key, w in weights.items()}
    trace.backward(weights, grad, last={"h": torch.ones(1, 1)})
    assert grad["bias_ih"].item() == 0.0


@every_kernel
@pytest.mark.parametrize("name", [c.name for c in CELLS.values() if c.largest_slope is not None])
def test_largest_slope_is_the_largest_measured(kernel, name):
    weights = {"weight_ih": torch.ones(1, 1), "weight_hh": torch.zeros(1, 1)}
    weights |= {"bias_ih": torch.zeros(1), "bias_hh": torch.zeros(1)}
    a = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    layer = layer_of(kernel)(CELLS[name], 1, 1, "float64")
    h = layer.forward({k: w.double() for k, w in weights.items()}, a[None, :, None]).values["h"][0, :, 0]
    assert float((h.diff() / a.diff()).max()) == pytest.approx(CELLS[name].largest_slope, rel=1e-6)


# Traces


@every_kernel
@every_cell
def test_a_trace_holds_every_value_at_every_step(kernel, name):
    problem = Problem(name, 12, **SIZES)
    ran, shape = problem.run(kernel), (SIZES["T"], SIZES["B"], SIZES["H"])
    assert set(ran.values) == set(problem.cell.values)
    assert set(ran.trace.total) == set(problem.cell.states)
    assert all(v.shape == shape for v in (*ran.values.values(), *ran.trace.total.values()))
    for state, first in problem.initial.items():
        assert torch.equal(ran.trace.initial[state], first)
        assert torch.equal(ran.trace.before(state), torch.cat([first[None], ran.values[state][:-1]]))


@every_kernel
@every_cell
def test_states_start_at_zero_unless_given(kernel, name):
    problem = Problem(name, 13, **SIZES)
    layer = layer_of(kernel)(problem.cell, SIZES["I"], SIZES["H"], "float64")
    zeros = {state: torch.zeros_like(first) for state, first in problem.initial.items()}
    other = layer.forward(problem.weights, problem.inputs, problem.initial).values["h"].clone()
    default = layer.forward(problem.weights, problem.inputs).values["h"].clone()
    given_zeros = layer.forward(problem.weights, problem.inputs, zeros).values["h"].clone()
    assert torch.equal(default, given_zeros)
    assert not torch.equal(default, other)


@every_kernel
@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_without_a_way_back_only_what_is_wanted_is_kept(kernel, name, reverse):
    problem = Problem(name, 18, **SIZES)
    layer = layer_of(kernel)(problem.cell, SIZES["I"], SIZES["H"], "float64", reverse)
    whole = layer.forward(problem.weights, problem.inputs).values["h"].clone()
    kept = layer.forward(problem.weights, problem.inputs, keep=frozenset({"h"}))
    assert torch.equal(kept.values["h"], whole)
    nothing = layer.forward(problem.weights, problem.inputs, keep=frozenset())
    assert torch.equal(nothing.values["h"][0], whole[0 if reverse else -1])


@every_kernel
@every_cell
def test_reading_backward_is_reading_the_sequence_turned_round(kernel, name):
    problem = Problem(name, 19, **SIZES)
    turned = Problem(name, 19, **SIZES)
    turned.inputs, turned.read = problem.inputs.flip(0), problem.read[::-1]
    backward, forward = problem.run(kernel, reverse=True), turned.run(kernel)
    assert_close(backward.hidden, forward.hidden.flip(0), 1e-15)
    for state, total in backward.trace.total.items():
        assert_close(total, forward.trace.total[state].flip(0), 1e-14)
        assert_close(backward.trace.before(state), forward.trace.before(state).flip(0), 1e-15)
    assert_close(backward.grad_inputs, forward.grad_inputs.flip(0), 1e-14)
    for key, gradient in forward.grad_weights.items():
        assert_close(backward.grad_weights[key], gradient, 1e-13, key)


@every_kernel
@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_the_ends(kernel, name, reverse):
    """The loss reads every state after the last step; its gradient arrives at the states before the first."""
    problem = Problem(name, 20, **SIZES)
    order = problem.inputs.flip(0) if reverse else problem.inputs
    initial = {state: first.clone().requires_grad_() for state, first in problem.initial.items()}
    *_, end = unroll(problem.cell, problem.weights, order, initial)
    torch.stack([(end[state] * (k + 1.5)).sum() for k, state in enumerate(initial)]).sum().backward()
    layer = layer_of(kernel)(problem.cell, SIZES["I"], SIZES["H"], "float64", reverse)
    trace = layer.forward(problem.weights, problem.inputs, problem.initial)
    grad = {key: torch.empty_like(w) for key, w in problem.weights.items()}
    last = {
        state: torch.full_like(first, k + 1.5) for k, (state, first) in enumerate(problem.initial.items())
    }
    trace.backward(problem.weights, grad, last=last)
    for state, first in initial.items():
        assert_close(trace.grad_initial[state], first.grad, 1e-12, state)


@every_kernel
@every_cell
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("span", [(0, 6), (2, 5), (0, 1), (5, 6)])
def test_a_span_is_a_sequence_of_its_own(kernel, name, reverse, span):
    """As if the steps outside of it were not there: the states at its beginning are given numbers."""
    problem, (start, stop) = Problem(name, 23, **SIZES), span
    precision, sizes = "float64", (SIZES["I"], SIZES["H"])
    trace = layer_of(kernel)(problem.cell, *sizes, precision, reverse).forward(
        problem.weights, problem.inputs, problem.initial
    )
    T = SIZES["T"]
    part = slice(T - stop, T - start) if reverse else slice(start, stop)  # in the order of the sequence
    grad = {key: torch.full_like(w, torch.nan) for key, w in problem.weights.items()}
    direct = torch.stack(problem.read)
    trace.backward(problem.weights, grad, direct=direct[part], span=span)
    at = part.stop - 1 if reverse else part.start
    begin = {state: trace.before(state)[at].clone() for state in problem.cell.states}
    alone = layer_of("torch")(problem.cell, *sizes, precision, reverse).forward(
        problem.weights, problem.inputs[part], begin
    )
    expected = {key: torch.full_like(w, torch.nan) for key, w in problem.weights.items()}
    alone.backward(problem.weights, expected, direct=direct[part])
    for key, gradient in expected.items():
        assert_close(grad[key], gradient, 1e-13, key)
    for state, total in alone.total.items():
        assert_close(trace.total[state][part], total, 1e-13, state)


@every_kernel
@every_cell
def test_each_steps_share_adds_up_to_the_gradient(kernel, name):
    problem = Problem(name, 21, **SIZES)
    ran, cell = problem.run(kernel), problem.cell
    H = SIZES["H"]
    for k, gate in enumerate(cell.gates):
        (product,) = (p for p in cell.products if gate in p.gates)
        operand = ran.trace.before("h") if product.operand == "h" else ran.values[product.operand]
        for weight, recurrent, read in (("hh", True, operand), ("ih", False, problem.inputs)):
            shares = ran.trace.grad_a(gate, recurrent).transpose(1, 2) @ read  # (T, H, N)
            rows = slice(k * H, (k + 1) * H)
            assert_close(shares.sum(0), ran.grad_weights[f"weight_{weight}"][rows], 1e-13, gate)
            assert_close(
                ran.trace.grad_a(gate, recurrent).sum((0, 1)), ran.grad_weights[f"bias_{weight}"][rows], 1e-13
            )


@every_kernel
@every_cell
def test_norms_are_those_of_the_totals(kernel, name):
    problem = Problem(name, 22, **SIZES)
    ran = problem.run(kernel)
    for state, total in ran.trace.total.items():
        norms = np.linalg.norm(total.numpy(), axis=-1).mean(-1)
        np.testing.assert_allclose(ran.trace.grad_norms(state), norms, rtol=1e-14)


@every_kernel
@every_cell
def test_backward_leaves_what_it_was_given_as_it_was(kernel, name):
    problem = Problem(name, 14, **SIZES)
    before = [w.clone() for w in (*problem.weights.values(), problem.inputs, *problem.read)]
    problem.run(kernel)
    after = (*problem.weights.values(), problem.inputs, *problem.read)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@every_kernel
@every_cell
def test_float32_stays_float32(kernel, name):
    problem = Problem(name, 16, **SIZES)
    exact = problem.run(kernel)
    problem.weights = {k: w.float() for k, w in problem.weights.items()}
    problem.inputs = problem.inputs.float()
    problem.initial = {state: first.float() for state, first in problem.initial.items()}
    problem.read = [w.float() for w in problem.read]
    ran = problem.run(kernel)
    assert ran.grad_hidden.dtype == ran.grad_inputs.dtype == torch.float32
    for key, gradient in ran.grad_weights.items():
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
    assert tuple(chain.from_iterable(product.gates for product in cell.products)) == cell.gates
    assert set(cell.apart) <= set(cell.gates)
    assert cell.states[0] == "h"
    assert set(cell.peepholes) <= set(cell.gates)
    assert set(cell.peepholes.values()) <= {"before", "now"}
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
    homes = ["rnnviz.training", "rnnviz.network", "rnnviz.stack", "rnnviz.experiment"]
    assert done.stdout.strip() == f"False {homes} True True"


def test_a_name_that_the_package_lacks_is_an_attribute_error():
    import rnnviz

    with pytest.raises(AttributeError, match="'rnnviz' has no attribute 'trane'"):
        _ = rnnviz.trane
