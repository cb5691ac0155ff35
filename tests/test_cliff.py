"""The error of one unit against published numbers, autograd, differences and PyTorch's own descent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.analysis.cliff import (
    ACTIVATIONS,
    START,
    Unit,
    at,
    cliff_line,
    crossing,
    folds,
    norm,
    over,
    slice_through,
    steep_from,
    surface,
)
from rnnviz.analysis.cliff_descent import RULES, clip, descend
from rnnviz.clipping import CLIPPINGS, Scoped

PHI = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
WINDOW = (4.0, 7.0, -4.5, -2.0)
each = pytest.mark.parametrize("name", ACTIVATIONS)


def error_of(name: str, T: int, w: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x_T and E, in torch."""
    x = torch.tensor(0.5, dtype=torch.float64)
    for _ in range(T):
        x = w * PHI[name](x) + b
    return x, (PHI[name](x) - 0.7) ** 2


def weights(w: float, b: float) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (w, b)]


# Values and gradients


@pytest.mark.parametrize(
    ("w", "b", "state", "error", "length"),
    [
        (2.0, 0.0, 1.68789, 0.0207207, 0.0673553),
        (5.0, -2.5, 1.77603, 0.0240889, 0.132799),
        (5.0, -2.6123, 0.436662, 0.008563, 1026.28),
    ],
)
def test_the_numbers_of_the_papers_unit(
    w: float, b: float, state: float, error: float, length: float
) -> None:
    one, array = at(Unit(), w, b), over(Unit(), np.array([w]), np.array([b]))
    for found in (one, array):
        assert float(np.squeeze(found.state)) == pytest.approx(state, rel=4e-6)
        assert float(np.squeeze(found.error)) == pytest.approx(error, rel=5e-6)
        assert float(np.squeeze(norm(found.grad_w, found.grad_b))) == pytest.approx(length, rel=5e-6)


@each
@settings(max_examples=40, deadline=None)
@given(w=st.floats(-1.2, 3.0), b=st.floats(-2.0, 2.0), T=st.integers(1, 25))
def test_autograd_finds_the_same(name: str, w: float, b: float, T: int) -> None:
    own = weights(w, b)
    state, error = error_of(name, T, *own)
    grad_w, grad_b = (float(g) for g in torch.autograd.grad(error, own))
    places = np.array([w, w]), np.array([b, b])
    for found in (at(Unit(name, T), w, b), over(Unit(name, T), *places)):
        # Where phi is flat autograd works with 1 - phi, which has few digits left: hence what is taken as 0.
        told = [float(np.ravel(value)[-1]) for value in found]
        assert told[0] == pytest.approx(float(state.detach()), rel=1e-9, abs=1e-12)
        assert told[1] == pytest.approx(float(error.detach()), rel=1e-8, abs=1e-15)
        assert told[2:] == pytest.approx([grad_w, grad_b], rel=1e-7, abs=1e-12 * (1 + abs(grad_w)))


@each
@settings(max_examples=25, deadline=None)
@given(w=st.floats(0.2, 1.1), b=st.floats(0.05, 1.0), T=st.integers(1, 12))
def test_differences_find_the_same(name: str, w: float, b: float, T: int) -> None:
    """In plain numbers, by a formula that knows neither the code nor autograd."""
    phi = {
        "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)), "tanh": math.tanh, "relu": lambda x: max(x, 0.0),
    }[name]  # fmt: skip

    def error(w: float, b: float) -> float:
        x = 0.5
        for _ in range(T):
            x = w * phi(x) + b
        return (phi(x) - 0.7) ** 2

    h = 1e-5
    found = at(Unit(name, T), w, b)
    about = {"rel": 1e-5, "abs": 1e-8 * max(1.0, found.error)}
    assert found.grad_w == pytest.approx((error(w + h, b) - error(w - h, b)) / (2 * h), **about)
    assert found.grad_b == pytest.approx((error(w, b + h) - error(w, b - h)) / (2 * h), **about)


@each
def test_one_and_many_are_the_same_phi(name: str) -> None:
    x = np.array([-300.0, -3.0, -1e-9, 0.0, 1e-9, 0.5, 40.0, 300.0, np.inf, -np.inf, np.nan])
    many = ACTIVATIONS[name].both(x)
    one = np.array([ACTIVATIONS[name].one(float(value)) for value in x]).T
    np.testing.assert_allclose(many[0], one[0], rtol=1e-15)
    finite = ~np.isnan(x)
    np.testing.assert_allclose(np.asarray(many[1])[finite], one[1][finite], rtol=1e-15)
    assert ACTIVATIONS["sigmoid"].one(40.0)[1] == pytest.approx(math.exp(-40.0), rel=1e-12)
    assert ACTIVATIONS["tanh"].one(-30.0)[1] == pytest.approx(4 * math.exp(-60.0), rel=1e-12)


def test_the_surface_is_made_of_single_places() -> None:
    unit = Unit("tanh", 7)
    found = surface(unit, (0.5, 2.5, -1.0, 1.0), 5)
    assert found.error.shape == (5, 5)
    for i, b in enumerate(found.b):
        for j, w in enumerate(found.w):
            one = at(unit, float(w), float(b))
            assert found.error[i, j] == pytest.approx(one.error, rel=1e-12)
            assert found.norm[i, j] == pytest.approx(math.hypot(one.grad_w, one.grad_b), rel=1e-10)
    assert (found.w[0], found.w[-1], found.b[0], found.b[-1]) == (0.5, 2.5, -1.0, 1.0)
    assert found.lost == found.flat == 0.0


def test_what_float64_cannot_hold_is_no_number() -> None:
    gone = surface(Unit("relu", 200), (6.5, 7.0, -1.0, 2.0), 9)
    assert not np.isfinite(gone.norm[-1]).any()
    assert gone.lost == 1.0
    some = surface(Unit("relu", 50), (0.5, 7.0, -4.5, 2.0), 41)
    assert some.lost == 0.0
    assert some.error.max() > 1e80
    assert 0.1 < some.flat < 0.9
    assert (some.norm[some.b < -4.0] == 0.0).all(), "far below, the unit is dead"


# Lines


def test_the_cliff_of_the_paper() -> None:
    assert steep_from("sigmoid") == pytest.approx(4.25525, abs=5e-6)
    w = np.array([4.2, 4.25525, 4.2553, 5.0, 7.0])
    line = cliff_line("sigmoid", w)
    assert np.isnan(line[:2]).all()
    np.testing.assert_allclose(line[2:], 0.5 - 0.6224593 * w[2:], atol=1e-6)


@each
def test_on_the_cliff_the_start_is_an_unstable_fixed_point_and_the_error_jumps(name: str) -> None:
    w = np.array([1.02 * steep_from(name), 1.5 * steep_from(name)])
    line = cliff_line(name, w)
    assert np.isnan(cliff_line(name, np.array([0.98 * steep_from(name)]))).all()
    for own, b in zip(w, line, strict=True):
        assert at(Unit(name, 1), own, b).state == pytest.approx(START, abs=1e-14)
        x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(own * PHI[name](x), x)
        assert float(slope) == pytest.approx(own / steep_from(name), rel=1e-12)
        assert float(slope) > 1
    own, b = w[1], line[1]
    above, below = at(Unit(name), own, b + 1e-6), at(Unit(name), own, b - 1e-6)
    assert above.state > START + 0.3 > below.state + 0.5


def test_the_folds_of_the_paper() -> None:
    low, high = folds("sigmoid", np.array([3.9, 5.0]))
    assert math.isnan(low[0])
    assert math.isnan(high[0])
    assert (low[1], high[1]) == pytest.approx((-2.655610, -2.344390), abs=5e-7)


@pytest.mark.parametrize(("name", "w"), [("sigmoid", 4.5), ("sigmoid", 7.0), ("tanh", 1.2), ("tanh", 3.0)])
def test_between_the_folds_there_are_three_fixed_points(name: str, w: float) -> None:
    """Counted as changes of sign of w phi(x) + b - x."""
    (low,), (high,) = folds(name, np.array([w]))
    x = np.linspace(-20, 20, 400_001)

    def count(b: float) -> int:
        away = w * np.asarray(ACTIVATIONS[name].both(x)[0]) + b - x
        return int((np.diff(np.sign(away)) != 0).sum())

    gap = 1e-3
    assert [count(b) for b in (low - gap, low + gap, high - gap, high + gap)] == [1, 3, 3, 1]


def test_relu_folds_at_its_kink() -> None:
    low, high = folds("relu", np.array([0.9, 1.5]))
    assert math.isnan(low[0])
    assert low[1] == high[1] == 0.0
    w = 1.5
    for b, fixed in ((-0.1, 2), (0.1, 0)):
        x = np.linspace(-5, 5, 100_000)
        assert (np.diff(np.sign(w * np.maximum(x, 0) + b - x)) != 0).sum() == fixed


def test_tanh_has_no_folds_up_to_one_nor_below_zero() -> None:
    assert np.isnan(folds("tanh", np.array([-3.0, 0.0, 0.5, 0.999]))).all()
    assert np.isnan(folds("sigmoid", np.array([-5.0, 0.0]))).all()


# Clipping and descent


def by_torch(
    unit: Unit, start: tuple[float, float], rate: float, steps: int, rule: str, threshold: float
) -> np.ndarray:
    """The places of PyTorch's SGD with PyTorch's clipping, (steps + 1, 2)."""
    own = weights(*start)
    optimizer = torch.optim.SGD(own, lr=rate)
    places = [start]
    for _ in range(steps):
        optimizer.zero_grad()
        error_of(unit.activation, unit.T, *own)[1].backward()
        if rule == "norm":
            torch.nn.utils.clip_grad_norm_(own, threshold)
        elif rule == "value":
            torch.nn.utils.clip_grad_value_(own, threshold)
        optimizer.step()
        places.append((own[0].item(), own[1].item()))
    return np.array(places)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("unit", "start", "rate", "steps", "threshold"),
    [
        (Unit(), (5.0, -2.6123), 0.05, 1, 1.0),
        (Unit(), (5.5, -2.5), 0.05, 60, 0.05),
        (Unit("tanh", 20), (2.0, -0.3), 0.05, 30, 0.02),
        (Unit("relu", 20), (1.05, -0.02), 0.001, 12, 0.5),
    ],
)
def test_descent_is_that_of_pytorch(
    unit: Unit, start: tuple[float, float], rate: float, steps: int, threshold: float, rule: str
) -> None:
    found = descend(unit, start, rate, steps, rule, threshold)
    expected = by_torch(unit, start, rate, steps, rule, threshold)
    # PyTorch shortens by 1e-6 more where the norm lies between the threshold and 1e-6 below it.
    np.testing.assert_allclose(np.stack([found.w, found.b], axis=1), expected, rtol=1e-7, atol=1e-9)
    assert found.steps == len(found.clipped) == steps
    assert found.clipped.any() == (rule != "none"), "the rules have something to do here"
    for k in (0, steps):
        own = at(unit, float(found.w[k]), float(found.b[k]))
        assert found.error[k] == own.error
        assert found.norm[k] == math.hypot(own.grad_w, own.grad_b), "the norm before clipping"


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(RULES), threshold=st.floats(1e-3, 10), grad=st.tuples(*[st.floats(-1e3, 1e3)] * 2)
)
def test_the_rules_are_those_of_the_project(rule: str, threshold: float, grad: tuple[float, float]) -> None:
    tensor = torch.tensor(grad, dtype=torch.float64)
    outcome = CLIPPINGS[rule].apply(Scoped(tensor, math.hypot(*grad), dict), threshold, [])
    *clipped, told = clip(rule, threshold, *grad)
    assert clipped == pytest.approx(tensor.tolist(), rel=1e-14, abs=0)
    assert told == outcome.clipped


def test_a_rule_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="got 'agc'; allowed: norm, value, none"):
        descend(Unit(), (5.0, -2.5), 0.1, 1, "agc")


def test_the_cliff_throws_one_path_away_and_not_the_other() -> None:
    free, clipped = (descend(Unit(), (5.5, -2.5), 0.05, 200, rule, 1.0) for rule in ("none", "norm"))
    assert free.norm[free.steepest] == pytest.approx(21604, rel=0.01)
    assert free.longest[0] == free.steepest
    assert free.longest[1] == pytest.approx(0.05 * free.norm[free.steepest])
    assert free.leaves(WINDOW) == free.steepest + 1
    assert clipped.leaves(WINDOW) is None
    assert clipped.longest[1] <= 0.05
    assert clipped.error[-1] < 0.02 < free.error[-1]
    np.testing.assert_array_equal(free.w[: free.steepest + 1], clipped.w[: free.steepest + 1])


def test_a_path_ends_where_there_is_no_number() -> None:
    at_once = descend(Unit("relu", 200), (7.0, 0.5), 0.1, 5)
    assert at_once.broken
    assert at_once.steps == 0
    assert (at_once.w.tolist(), at_once.b.tolist()) == ([7.0], [0.5])
    assert not math.isfinite(at_once.norm[0])
    assert at_once.longest == (0, 0.0)
    later = descend(Unit("relu", 200), (5.5, 0.5), 1.0, 5)
    assert np.isfinite(later.norm[0]), "the gradient is a number, 1e290 or so"
    assert later.leaves(WINDOW) == 0
    assert not descend(Unit(), (5.0, -2.5), 0.1, 3).broken


# Slices


def test_a_slice_holds_the_place_and_the_top_of_the_wall() -> None:
    place = (5.0, -2.6123)
    for along, reach in (("w", (4.0, 7.0)), ("b", (-4.5, -2.0))):
        cut = slice_through(Unit(), place, along, reach)
        own = place[0] if along == "w" else place[1]
        k = int(np.searchsorted(cut.at, own))
        assert cut.at[k] == own
        assert cut.error[k] == pytest.approx(0.008563, rel=5e-6)
        assert cut.norm[k] == pytest.approx(1026.28, rel=5e-6)
        assert (cut.at[0], cut.at[-1]) == reach
        even = np.linspace(*reach, 601)
        coarse = over(Unit(), even, np.array(place[1])) if along == "w" else over(Unit(), np.array(5.0), even)
        assert cut.norm.max() > 3 * norm(coarse.grad_w, coarse.grad_b).max(), "even points miss the top"
        assert cut.cliff is not None
        assert abs(cut.at[int(np.argmax(cut.norm))] - cut.cliff) < 1e-2


def test_where_a_slice_crosses_the_cliff() -> None:
    assert crossing("sigmoid", "b", 5.0) == pytest.approx(-2.6122967, abs=1e-6)
    assert crossing("sigmoid", "w", -2.6122967) == pytest.approx(5.0, abs=1e-6)
    assert crossing("sigmoid", "b", 4.0) is None
    assert crossing("sigmoid", "w", 0.0) is None
