"""Every clipping rule: what it measures, what it changes, against torch.nn.utils."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnviz.cells import CELLS
from rnnviz.clipping import CLIPPINGS, SCOPES
from rnnviz.experiment import Experiment
from rnnviz.network import layout
from rnnviz.training import advance, begin

elements = st.floats(-1e15, 1e15, allow_subnormal=False)
vectors = st.lists(elements, min_size=1, max_size=20).map(lambda v: torch.tensor(v, dtype=torch.float64))
thresholds = st.floats(1e-6, 1e6)
clipping_rules = pytest.mark.parametrize("name", [r.name for r in CLIPPINGS.values() if r.uses_threshold])


def clip(name: str, grad: torch.Tensor, threshold: float) -> torch.Tensor:
    """A clipped copy."""
    clipped = grad.clone()
    CLIPPINGS[name].apply(clipped, threshold, CLIPPINGS[name].measure(clipped))
    return clipped


def torch_clip(name: str, grad: torch.Tensor, threshold: float) -> torch.Tensor:
    """The same by torch.nn.utils."""
    parameter = torch.zeros_like(grad).requires_grad_()
    parameter.grad = grad.clone()
    if name == "norm":
        torch.nn.utils.clip_grad_norm_([parameter], threshold)
    else:
        torch.nn.utils.clip_grad_value_([parameter], threshold)
    return parameter.grad


@clipping_rules
@given(vectors, thresholds)
def test_clipping_is_that_of_torch(name, grad, threshold):
    torch.testing.assert_close(
        clip(name, grad, threshold), torch_clip(name, grad, threshold), rtol=1e-13, atol=0.0
    )


@clipping_rules
@given(vectors, thresholds)
def test_the_threshold_holds(name, grad, threshold):
    rule = CLIPPINGS[name]
    measured, clipped = rule.measure(grad), clip(name, grad, threshold)
    after = rule.measure(clipped)
    assert after <= threshold * (1 + 1e-12)
    assert after <= measured
    if measured > threshold:  # and no shorter than asked for
        assert after == pytest.approx(threshold, rel=1e-6 / threshold + 1e-12)
    else:
        torch.testing.assert_close(clipped, grad, rtol=1e-6 / threshold + 1e-12, atol=0.0)


@given(vectors, thresholds)
def test_clipping_by_norm_keeps_the_direction(grad, threshold):
    clipped = clip("norm", grad, threshold)
    length = float(grad.norm())
    if length > 0:
        torch.testing.assert_close(clipped / clipped.norm(), grad / length, rtol=1e-9, atol=1e-12)


def test_clipping_by_value_bends_the_direction():
    grad = torch.tensor([3.0, -0.5, 4.0, -9.0])
    assert clip("value", grad, 1.0).tolist() == [1.0, -0.5, 1.0, -1.0]
    assert CLIPPINGS["value"].measure(grad) == 9.0


def test_no_clipping_measures_and_leaves_the_gradient():
    grad = torch.tensor([3.0, -4.0])
    assert CLIPPINGS["none"].measure(grad) == 5.0
    assert torch.equal(clip("none", grad, 1e-3), grad)


def test_clipping_by_norm_uses_pytorchs_constant():
    assert clip("norm", torch.tensor([2.0], dtype=torch.float64), 1.0).item() == 2.0 * (1.0 / (2.0 + 1e-6))


@pytest.mark.parametrize("size", [1e20, 1e30, 1e38])
def test_large_finite_gradients_in_single_precision_measure_finite_and_clip(size):
    """Squares of 1e20 leave float32's range: a sum of them in single precision would be infinite."""
    grad = torch.tensor([3.0, -4.0, 0.0]) * (size / 5)
    assert CLIPPINGS["norm"].measure(grad) == pytest.approx(size, rel=1e-6)
    torch.testing.assert_close(clip("norm", grad, 1.0), torch.tensor([0.6, -0.8, 0.0]), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(clip("value", grad, 1.0), torch.tensor([1.0, -1.0, 0.0]))


@pytest.mark.parametrize("size", [1e-25, 1e-40])
def test_small_gradients_in_single_precision_do_not_measure_as_zero(size):
    grad = torch.tensor([size, 0.0])
    assert CLIPPINGS["norm"].measure(grad) == pytest.approx(float(grad[0]), rel=1e-12)


@pytest.mark.parametrize("name", CLIPPINGS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_measured_as_such(name, bad):
    assert not math.isfinite(CLIPPINGS[name].measure(torch.tensor([1.0, bad, 2.0])))


@pytest.mark.parametrize("name", CLIPPINGS)
def test_a_rule_describes_itself(name):
    rule = CLIPPINGS[name]
    assert rule.name == name
    assert rule.label
    assert rule.summary.endswith(".")
    assert rule.measured == ("largest element" if name == "value" else "norm")
    assert rule.uses_threshold == (name != "none")
    assert bool(rule.source) == rule.uses_threshold


# Scopes


@pytest.mark.parametrize("name", CELLS)
def test_each_scope_is_a_prefix_of_the_parameters(name):
    cell = CELLS[name]
    plan = layout(cell, inputs=3, hidden=4, outputs=2)
    rows = 4 * len(cell.gates)
    recurrent = rows * 4 + 4 * len(cell.peepholes)
    assert set(plan.scopes) == set(SCOPES)
    assert plan.scopes["recurrent"] == recurrent
    assert plan.scopes["not_output"] == recurrent + rows * 3 + 2 * rows
    assert plan.scopes["all"] == plan.size == plan.scopes["not_output"] + 2 * 4 + 2


@clipping_rules
@pytest.mark.parametrize("scope", SCOPES)
def test_only_what_is_in_the_scope_is_clipped(name, scope):
    """One step of SGD shows what became of each element of the gradient."""
    base = {
        "task": "digits_rows", "cell": "lstm_peephole", "hidden": 3, "batch": 4, "optimizer": "sgd",
        "learning_rate": 1.0, "steps": 1, "precision": "float64",
    }  # fmt: skip
    update = {}
    for rule in ("none", name):
        state = begin(Experiment(**base, clip=rule, clip_scope=scope, clip_threshold=1e-3))
        before = state.network.flat.clone()
        advance(state)
        update[rule] = before - state.network.flat
    inside = state.network.layout.scopes[scope]
    free, clipped = update["none"], update[name]
    assert CLIPPINGS[name].measure(clipped[:inside]) == pytest.approx(1e-3, rel=2e-3)
    torch.testing.assert_close(clipped[:inside], clip(name, free[:inside], 1e-3), rtol=1e-9, atol=1e-12)
    assert torch.equal(clipped[inside:], free[inside:])
