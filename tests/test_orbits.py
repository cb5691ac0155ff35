"""Orbits against what can be worked out by hand, and against autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rnnviz.analysis import separation as separation_module
from rnnviz.analysis.beginnings import SEQUENCES, beginning
from rnnviz.analysis.fixed_points import fixed_points, folds, slope, step
from rnnviz.analysis.orbits import line, matrix_of, orbit, plain_weights, plane, power
from rnnviz.analysis.separation import (
    exponent,
    largest_exponent,
    noise,
    recurrent,
    separation,
    somewhere,
    stretched,
    transition,
)
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.tasks import TASKS

NEIGHBOURS = ("tanh", "relu", "sigmoid", "lstm", "gru")


def by_autograd(cell: str, weights, state: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """ds_T/ds_0 of one sequence, (S, S), all states joined."""
    kind = CELLS[cell]

    def last(joined: torch.Tensor) -> torch.Tensor:
        parts = joined[None].chunk(len(kind.states), -1)
        *_, now = unroll(kind, weights, inputs, dict(zip(kind.states, parts, strict=True)))
        return torch.cat([now[name] for name in kind.states], -1)[0]

    return torch.autograd.functional.jacobian(last, state)


# One unit


@pytest.mark.parametrize(("w", "end"), [(1.01, 20959.155637813), (0.99, 4.317124741065786e-5)])
def test_a_difference_of_one_after_a_thousand_steps(w: float, end: float) -> None:
    found = power(w, 1000)
    assert found.state[0] == found.slope[0] == 1.0
    assert found.state[-1] == pytest.approx(end, rel=1e-9)
    assert found.slope[-1] == pytest.approx(end, rel=1e-9)
    np.testing.assert_allclose(found.state, w ** np.arange(1001), rtol=1e-11)


def test_where_float64_ends_the_state_says_so() -> None:
    up, down = power(1.5, 2000), power(0.5, 2000)
    assert np.isinf(up.state[-1])
    assert np.isfinite(up.state[1750])
    assert down.state[-1] == 0.0


@pytest.mark.parametrize("cell", ["linear", "tanh", "sigmoid", "relu"])
def test_the_product_of_slopes_is_the_gradient(cell: str) -> None:
    found = line(cell, 1.3, 12, start=0.7, bias=0.1)
    weights = plain_weights(np.array([[1.3]]), 0.1)
    zero = torch.zeros(12, 1, 1, dtype=torch.float64)
    expected = by_autograd(cell, weights, torch.tensor([0.7], dtype=torch.float64), zero)
    assert found.slope[-1] == pytest.approx(float(expected), rel=1e-12)


# Two units


@pytest.mark.parametrize("angle", [90.0, 40.0, 5.0])
@pytest.mark.parametrize("values", [(0.95 + 0j, 0.8 + 0j), (-0.5 + 0j, 1.2 + 0j), (0.9 + 0.3j, 0.9 - 0.3j)])
def test_a_matrix_has_the_eigenvalues_that_it_was_given(values, angle: float) -> None:
    found = np.linalg.eigvals(matrix_of(values, angle))
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(np.array(values)), atol=1e-12)


def test_eigenvectors_stand_at_the_angle_and_a_right_one_makes_the_matrix_normal() -> None:
    _, vectors = np.linalg.eig(matrix_of((0.95 + 0j, 0.8 + 0j), 25.0))
    assert abs(vectors[:, 0] @ vectors[:, 1]) == pytest.approx(math.cos(math.radians(25.0)))
    for values in ((0.95 + 0j, 0.8 + 0j), (0.9 + 0.3j, 0.9 - 0.3j)):
        right = plane(matrix_of(values), 5)
        assert right.singular == pytest.approx(right.radius, rel=1e-14)
        np.testing.assert_allclose(right.norms, right.radius ** np.arange(6), rtol=1e-13)


@pytest.mark.parametrize(
    ("values", "angle", "said"),
    [
        ((0.5 + 0.1j, 0.5 + 0.1j), 90.0, "conjugate"),
        ((0.5 + 0j, 0.4 + 0j), 0.0, "above 0"),
        ((0.5 + 0j, 0.4 + 0j), 91.0, "90"),
    ],
)
def test_what_is_no_real_matrix_is_refused(values, angle: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        matrix_of(values, angle)


def test_the_plane_holds_the_powers_of_the_matrix() -> None:
    W = matrix_of((0.95 + 0j, 0.8 + 0j), 5.0)
    found = plane(W, 60)
    for t in (0, 1, 2, 17, 60):
        expected = np.linalg.matrix_power(W, t)
        np.testing.assert_allclose(found.powers[t], expected, atol=1e-12)
        np.testing.assert_allclose(found.circle[t], found.circle[0] @ expected.T, atol=1e-12)
        np.testing.assert_allclose(found.orbit[t], expected @ [0.0, 1.0], atol=1e-12)
        assert found.norms[t] == pytest.approx(np.linalg.norm(expected, 2), rel=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found.circle[0], axis=1), 1.0, rtol=1e-14)


def test_eigenvalues_below_one_and_it_grows_all_the_same() -> None:
    """V diag V^-1 at 5 degrees: W^t has 0.95^t and 0.8^t on its diagonal and between them their difference
    times the cotangent of the angle."""
    found = plane(matrix_of((0.95 + 0j, 0.8 + 0j), 5.0), 400)
    assert found.radius == pytest.approx(0.95)
    assert found.singular == pytest.approx(2.0855, abs=1e-4)
    one, two = 0.95 ** np.arange(401), 0.8 ** np.arange(401)
    corner = (two - one) / math.tan(math.radians(5.0))
    np.testing.assert_allclose(found.powers[:, 0, 1], corner, atol=1e-12)
    whole = one**2 + two**2 + corner**2  # the squares of both singular values, whose product is one * two
    largest = np.sqrt((whole + np.sqrt(whole**2 - 4 * (one * two) ** 2)) / 2)
    np.testing.assert_allclose(found.norms, largest, rtol=1e-9)
    assert found.peak == int(np.argmax(largest)) == 8
    assert found.norms[8] == pytest.approx(5.7064, abs=1e-4)
    # In the long run the eigenvalue decides.
    assert found.norms[400] / found.norms[399] == pytest.approx(0.95, rel=1e-9)


# A sigmoid unit


def test_the_folds_are_those_of_the_saddle_nodes() -> None:
    assert folds(5.0) == pytest.approx((-2.655610, -2.344390), abs=5e-7)
    assert folds(4.0) is None
    assert folds(3.0) is None


@pytest.mark.parametrize(
    ("w", "b", "count"),
    [
        (5.0, -2.5, 3), (5.0, -2.65, 3), (5.0, -2.66, 1), (5.0, -2.34, 1), (5.0, -2.35, 3), (3.0, -1.5, 1),
        (9.5, -4.0, 3), (4.0, -2.0, 1), (0.5, 2.0, 1),
    ],
)  # fmt: skip
def test_fixed_points_stay_and_are_as_many_as_the_folds_say(w: float, b: float, count: int) -> None:
    found = fixed_points(w, b)
    assert len(found) == count
    states = np.array([point.state for point in found])
    np.testing.assert_allclose(step(w, b, states), states, atol=1e-14)
    for point in found:
        assert point.slope == pytest.approx(w * point.state * (1 - point.state), rel=1e-12)
    if count == 3:
        assert [point.stable for point in found] == [True, False, True]


def test_the_exponent_at_a_fixed_point_is_the_logarithm_of_its_slope() -> None:
    for point in fixed_points(5.0, -2.5):
        weights = plain_weights(np.array([[5.0]]), -2.5)
        # One step at a time from the point itself: the middle one would not be held by 50 steps.
        trace = orbit("sigmoid", weights, {"h": torch.tensor([[point.state]], dtype=torch.float64)}, 5)
        logs = stretched(CELLS["sigmoid"], weights, trace, np.array([1.0]))
        assert exponent(logs) == pytest.approx(math.log(abs(slope(5.0, -2.5, point.state))), rel=1e-9)
        assert exponent(logs) == pytest.approx(math.log(5.0 * point.state * (1.0 - point.state)), rel=1e-9)


# Networks


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.4])
def test_every_direction_of_a_scaled_rotation_grows_by_the_gain(gain: float) -> None:
    weights = recurrent("linear", 7, "orthogonal", gain)
    for seed in range(3):
        state, direction = somewhere(CELLS["linear"], 7, seed)
        trace = orbit("linear", weights, {"h": torch.from_numpy(state)[None]}, 40)
        logs = stretched(CELLS["linear"], weights, trace, direction)
        np.testing.assert_allclose(logs, math.log(gain) * np.arange(41), atol=1e-12)


@pytest.mark.parametrize("noisy", [False, True], ids=["no input", "noise"])
@pytest.mark.parametrize("cell", NEIGHBOURS)
def test_neighbours_part_as_the_gradient_of_autograd_says(cell: str, noisy: bool) -> None:
    H, T = 6, 9
    weights = recurrent(cell, H, "gaussian", 1.5, seed=3)
    found = separation(cell, weights, 1e-7, T, seed=3, noisy=noisy)
    state, direction = somewhere(CELLS[cell], H, 3)
    inputs = noise(T, 2, 3) if noisy else torch.zeros(T, 1, 2, dtype=torch.float64)
    J = by_autograd(cell, weights, torch.from_numpy(state), inputs)
    expected = 1e-7 * float((J @ torch.from_numpy(direction)).norm())
    assert 10.0 ** found.predicted[-1] == pytest.approx(expected, rel=1e-9)
    assert found.distance[0] == pytest.approx(1e-7, rel=1e-7)
    assert found.distance[-1] == pytest.approx(expected, rel=1e-4)
    assert found.growth == pytest.approx((expected / 1e-7) ** (1 / T), rel=1e-9)


def test_the_same_noise_is_heard_by_both_and_changes_what_is_seen() -> None:
    weights = recurrent("tanh", 16, "gaussian", 1.0)
    quiet, loud = (separation("tanh", weights, 1e-6, 60, noisy=noisy) for noisy in (False, True))
    assert quiet.size[-1] < 0.5 * loud.size[-1]
    assert loud.distance[-1] < 1e-6, "input that both share does not part them"


def test_plain_cells_share_their_weights() -> None:
    for cell in ("relu", "sigmoid"):
        assert torch.equal(
            recurrent(cell, 8, "gaussian", 1.5)["weight_hh"],
            recurrent("tanh", 8, "gaussian", 1.5)["weight_hh"],
        )


def test_many_jacobians_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = recurrent("lstm", 5, "gaussian", 1.5)
    whole = separation("lstm", weights, 1e-6, 23)
    monkeypatch.setattr(separation_module, "JACOBIAN_ROWS", 30)  # three steps at a time
    np.testing.assert_allclose(separation("lstm", weights, 1e-6, 23).predicted, whole.predicted, rtol=1e-12)


def test_a_random_network_falls_silent_below_a_gain_of_one_and_is_chaotic_above() -> None:
    swept = transition(100, (0.5, 0.8, 1.6, 2.0))
    # Where the state is 0, the linear network rules: its largest eigenvalue, with 100 units near the gain.
    assert swept.radius == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(swept.exponents[:2], np.log(swept.gains[:2] * swept.radius), atol=0.02)
    assert (swept.exponents[2:] > 0.03).all()
    for gain in (0.5, 2.0):
        pair = separation("tanh", recurrent("tanh", 100, "gaussian", gain), 1e-6, 200)
        if gain < 1:
            assert pair.size[-1] < 1e-40
            assert pair.distance[-1] < 1e-40
        else:
            assert pair.size[-1] > 0.3
            assert pair.distance[-1] > 1e-2, "a millionth at the start"
    assert largest_exponent(recurrent("tanh", 100, "gaussian", 2.0), 200) == swept.exponents[3]


# First weights


@pytest.mark.parametrize("cell", ["tanh", "relu"])
@pytest.mark.parametrize("name", ["orthogonal", "glorot", "identity"])
def test_growth_of_a_beginning_is_autograds(name: str, cell: str) -> None:
    H, T = 5, 11
    found = beginning(name, cell, H, T, seed=2)
    weights = recurrent(cell, H, name, seed=2)
    batch = TASKS["adding"].sample(np.random.default_rng([0x0B18, 2]), T, SEQUENCES)
    inputs = torch.from_numpy(batch.inputs.astype(np.float64))
    for at, t in enumerate(found.times):
        if t == 0:
            assert found.norms[at] == pytest.approx(0.0, abs=1e-12)
            continue
        zero = torch.zeros(H, dtype=torch.float64)
        stretch = [
            float(torch.linalg.matrix_norm(by_autograd(cell, weights, zero, inputs[:t, b : b + 1]), 2))
            for b in range(SEQUENCES)
        ]
        assert 10.0 ** found.norms[at] == pytest.approx(np.mean(stretch), rel=1e-9)


def test_what_orthogonal_and_identity_change() -> None:
    by_name = {
        (name, cell): beginning(name, cell, 32, 100)
        for name in ("orthogonal", "identity", "pytorch")
        for cell in ("tanh", "relu")
    }
    for name in ("orthogonal", "identity"):
        one = by_name[name, "tanh"]
        np.testing.assert_allclose(np.abs(one.eigenvalues), 1.0, rtol=1e-12)
        np.testing.assert_allclose(one.singular, 1.0, rtol=1e-12)
    assert by_name["identity", "relu"].norms[-1] == pytest.approx(0.0, abs=1e-9), "a unit that is on stays on"
    assert by_name["orthogonal", "relu"].norms[-1] < -5, "half of the units are silent at each step"
    assert by_name["orthogonal", "tanh"].norms[-1] > -4
    assert by_name["pytorch", "tanh"].norms[-1] < -15


@pytest.mark.parametrize("name", INITIALIZATIONS)
@pytest.mark.parametrize("cell", ["tanh", "relu"])
def test_every_initialization_has_a_beginning(name: str, cell: str) -> None:
    found = beginning(name, cell, 6, 12, gain=1.2 if INITIALIZATIONS[name].uses_gain else 1.0)
    assert found.eigenvalues.shape == found.singular.shape == (6,)
    assert found.times[0] == 0
    assert found.times[-1] == 12
    assert not np.isnan(found.norms).any()
