"""Planes through the space of parameters, each held to its definition written out again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from rnnviz.analysis.planes import (
    SCALES,
    Plane,
    PlaneError,
    chosen_axis,
    curvature_axes,
    line_axes,
    path_plane,
    random_axes,
)
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.layout import layout_of

SHAPE = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
SHAPES = st.lists(SHAPE, min_size=1, max_size=4).map(lambda s: {f"p{k}": shape for k, shape in enumerate(s)})
DEEP = Experiment(task="echo", cell="lstm", hidden=3, layers=2, direction="forward", length=5)


def pieces(vector: np.ndarray, shapes: dict) -> dict[str, np.ndarray]:
    found, start = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        found[name] = vector[start : start + size].reshape(shape)
        start += size
    assert start == len(vector)
    return found


def vector(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


@given(SHAPES, st.integers(0, 99), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_row_of_a_random_direction_has_the_length_of_that_row_of_the_weights(shapes, seed, biases):
    theta = vector(seed, sum(map(math.prod, shapes.values())))
    axes = random_axes(theta, shapes, seed, biases)
    assert axes.shape == (2, len(theta))
    for axis in axes:
        for name, d in pieces(axis, shapes).items():
            w = pieces(theta, shapes)[name]
            if w.ndim == 1 and not biases:
                assert not d.any()
                continue
            rows = zip(w, d, strict=True) if w.ndim > 1 else [(w, d)]
            for own, drawn in rows:
                length = math.sqrt(float((own**2).sum()))
                assert math.sqrt(float((drawn**2).sum())) == pytest.approx(length, rel=1e-6)


def test_random_directions_are_gaussian_and_two_of_a_kind():
    """Within a row, which is scaled as a whole, the numbers have a Gaussian's mean and kurtosis."""
    theta, shapes = vector(1, 80_000), {"w": (2, 40_000)}
    one, other = random_axes(theta, shapes, 3)
    for row in (*one.reshape(2, -1), *other.reshape(2, -1)):
        scaled = row / row.std()
        assert abs(scaled.mean()) < 0.02
        assert np.mean(scaled**4) == pytest.approx(3.0, abs=0.1)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert abs(cosine) < 0.02
    assert np.array_equal(random_axes(theta, shapes, 3), [one, other])
    assert not np.allclose(random_axes(theta, shapes, 4)[0], one)


def test_biases_change_nothing_else():
    shapes = {"w": (3, 4), "b": (3,), "v": (2, 3)}
    theta = vector(0, 21)
    without, with_them = random_axes(theta, shapes, 5), random_axes(theta, shapes, 5, biases=True)
    matrices = np.r_[0:12, 15:21]
    assert np.array_equal(without[:, matrices], with_them[:, matrices])
    assert (without[:, 12:15] == 0).all()
    assert (with_them[:, 12:15] != 0).all()


def test_rows_that_are_zero_stay():
    theta = np.concatenate([np.zeros(4), np.ones(4)])
    axis = random_axes(theta, {"w": (2, 4)}, 0)[0]
    assert not axis[:4].any()
    assert axis[4:].all()


@given(st.integers(0, 10_000), st.integers(4, 9), st.integers(4, 40))
@settings(max_examples=40, deadline=None)
def test_a_paths_plane_is_that_of_its_principal_components(seed, points, size):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(size, 3)))[0].T
    turns = np.linalg.qr(np.c_[np.ones(points), rng.normal(size=(points, 3))])[0][:, 1:]  # of mean 0
    path = rng.normal(size=size) + turns @ np.diag([4.0, 2.0, 1.0]) @ basis
    plane = path_plane(path)
    pca = PCA(2, svd_solver="full").fit(path)
    assert np.array_equal(plane.origin, path[-1])
    assert plane.explained == pytest.approx(tuple(pca.explained_variance_ratio_), rel=1e-9)
    assert plane.explained == pytest.approx((16 / 21, 4 / 21), rel=1e-9)
    for axis, component in zip(plane.axes, pca.components_, strict=True):
        assert abs(axis @ component) == pytest.approx(1.0, abs=1e-9)
        assert np.linalg.norm(axis) == pytest.approx(1.0)
    assert (plane.axes @ (path[-1] - path[0]) >= 0).all()


@pytest.mark.parametrize(
    "path",
    [
        np.zeros((5, 3)),
        np.outer(np.arange(5.0), [1.0, 2.0, 3.0]),
        np.array([[0.0, 0.0], [1.0, 2.0]]),
    ],
    ids=["one point", "a straight line", "two points"],
)
def test_a_path_without_a_plane_is_refused(path):
    with pytest.raises(
        PlaneError, match=r"^plane: a path needs three different checkpoints to span a plane\.$"
    ):
        path_plane(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_path_that_is_not_finite_is_refused(value):
    path = np.array([[0.0, 0.0], [value, 2.0], [3.0, 1.0]])
    with pytest.raises(PlaneError, match=r"^plane: the path has weights that are not finite\.$"):
        path_plane(path)


@given(st.integers(0, 10_000), st.integers(2, 30))
@settings(max_examples=40, deadline=None)
def test_places_are_least_squares_and_what_is_left_is_the_distance(seed, size):
    rng = np.random.default_rng(seed)
    plane = Plane(rng.normal(size=size), rng.normal(size=(2, size)))
    points = rng.normal(size=(4, size))
    places, off = plane.place(points)
    for point, place, distance in zip(points, places, off, strict=True):
        wanted = np.linalg.lstsq(plane.axes.T, point - plane.origin, rcond=None)[0]
        if np.linalg.cond(plane.axes) < 1e3:
            assert place == pytest.approx(wanted, rel=1e-6, abs=1e-8)
        nearest = plane.origin + place[0] * plane.axes[0] + place[1] * plane.axes[1]
        assert distance == pytest.approx(np.linalg.norm(point - nearest), rel=1e-9, abs=1e-9)
        assert np.array_equal(nearest, plane.at(*place))


def test_a_slice_goes_through_the_point_and_keeps_its_place():
    rng = np.random.default_rng(0)
    plane = Plane(rng.normal(size=9), rng.normal(size=(2, 9)), (0.5, 0.25))
    point = rng.normal(size=9)
    cut = plane.through(point)
    assert np.array_equal(cut.at(0.0, 0.0), point)
    (place,), (off,) = plane.place(point[None])
    assert cut.centre == pytest.approx(tuple(place))
    assert cut.off == pytest.approx(off)
    assert cut.plane.explained == (0.5, 0.25)
    moved = cut.at(0.3, -2.0)
    assert moved == pytest.approx(point + 0.3 * plane.axes[0] - 2.0 * plane.axes[1])
    assert plane.place(moved[None])[1][0] == pytest.approx(off)


def test_a_line_leads_from_start_to_end_and_across_it():
    rng = np.random.default_rng(2)
    start, end, other = rng.normal(size=(3, 12))
    along, across = line_axes(start, end, other)
    assert start + along == pytest.approx(end)
    assert along @ across == pytest.approx(0.0, abs=1e-12)
    assert np.linalg.norm(across) == pytest.approx(np.linalg.norm(along))
    assert across @ other > 0
    with pytest.raises(PlaneError, match=r"^plane: both ends of the line are the same\.$"):
        line_axes(start, start, other)
    with pytest.raises(PlaneError, match=r"^plane: both directions are the same\.$"):
        line_axes(start, end, 3 * (end - start))


def test_curvature_axes_are_at_right_angles():
    rng = np.random.default_rng(3)
    gradient, eigenvector = rng.normal(size=(2, 12))
    along, across = curvature_axes(gradient, eigenvector)
    assert along == pytest.approx(gradient / np.linalg.norm(gradient))
    assert np.linalg.norm(across) == pytest.approx(1.0)
    assert along @ across == pytest.approx(0.0, abs=1e-12)
    assert np.linalg.matrix_rank(np.stack([along, across, eigenvector]), tol=1e-9) == 2
    for nothing in (np.zeros(12), np.full(12, np.nan), np.full(12, np.inf)):
        with pytest.raises(PlaneError, match=r"^plane: there is no gradient here that could be followed\.$"):
            curvature_axes(nothing, eigenvector)


# Axes by name


def axis_of(experiment: Experiment, name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The axis and the weights, by parameter."""
    shapes = layout_of(experiment).shapes
    theta = vector(7, sum(map(math.prod, shapes.values())))
    axis = chosen_axis(name, theta, shapes, CELLS[experiment.cell].gates)
    return pieces(axis, shapes), pieces(theta, shapes)


@pytest.mark.parametrize("group", SCALES)
def test_a_scale_doubles_a_group_in_every_layer(group):
    experiment = DEEP.changed(cell="lstm_peephole", direction="both")
    axis, theta = axis_of(experiment, f"scale:{group}")
    moved = {name for name in axis if axis[name].any()}
    assert moved == {name for name in theta if group in name}
    assert len(moved) == (1 if group == "out.weight" else 4)
    for name in moved:
        assert np.array_equal(axis[name], theta[name])


def test_scales_reach_the_encoder_and_the_decoder():
    experiment = Experiment(task="repetition", cell="gru", hidden=3, length=3, architecture="encoder_decoder")
    axis, _ = axis_of(experiment, "scale:weight_hh")
    assert {name for name in axis if axis[name].any()} == {"encoder.weight_hh_l0", "decoder.weight_hh_l0"}


@pytest.mark.parametrize("cell", CELLS)
def test_a_bias_moves_one_gate_of_every_layer_once(cell):
    gates = CELLS[cell].gates
    for k, gate in enumerate(gates):
        axis, _ = axis_of(DEEP.changed(cell=cell, forget_bias=None), f"bias:{gate}")
        for name, piece in axis.items():
            wanted = np.zeros_like(piece)
            if ".bias_ih" in name:
                wanted[3 * k : 3 * k + 3] = 1.0
            assert np.array_equal(piece, wanted), (gate, name)


def test_the_bias_of_the_output_layer():
    axis, _ = axis_of(DEEP, "bias:out")
    assert {name for name in axis if axis[name].any()} == {"out.bias"}
    assert (axis["out.bias"] == 1.0).all()


@pytest.mark.parametrize("name", ["rnn.weight_hh_l1[11,2]", "rnn.bias_ih_l0[4]", "rnn.weight_hh_l1[11, 2]"])
def test_a_weight_alone(name):
    axis, _ = axis_of(DEEP, f"weight:{name}")
    parameter, _, index = name.partition("[")
    for key, piece in axis.items():
        wanted = np.zeros_like(piece)
        if key == parameter:
            wanted[tuple(int(i) for i in index.rstrip("]").split(","))] = 1.0
        assert np.array_equal(piece, wanted)


@pytest.mark.parametrize(
    "name",
    [
        "scale:weight_peephole",  # this LSTM has none
        "scale:weight",
        "bias:z",
        "bias:",
        "weight:rnn.weight_hh_l0[12,0]",
        "weight:rnn.weight_hh_l0[3]",
        "weight:rnn.weight_hh_l0",
        "weight:rnn.weight_hh_l2[0,0]",
        "weight:rnn.weight_hh_l0[-1,0]",
        "rnn.weight_hh_l0[0,0]",
        "",
    ],
)
def test_an_axis_that_moves_nothing_is_refused(name):
    with pytest.raises(PlaneError) as caught:
        axis_of(DEEP, name)
    assert str(caught.value) == f"plane: {name} moves nothing in this network."
