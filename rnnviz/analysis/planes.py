"""Planes through the space of all parameters: where a loss surface is looked at, and what lies off it.

theta(x, y) = origin + x * axes[0] + y * axes[1]. A plane knows nothing of losses; vectors are flat, in the
order of `Layout`, and in float64. Names: P parameters, K points of a path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

EPSILON = 1e-10  # Li et al. (2018), their code: beside the norm of a random filter
SMALLEST = 1e-12  # an axis shorter than this share of the other is none

#: Scales of whole groups of weights that an axis can turn, by the names of PyTorch's parameters.
SCALES = ("weight_hh", "weight_ih", "weight_peephole", "out.weight")


class PlaneError(ValueError):
    """There is no such plane; the text is one sentence."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane, or a slice parallel to one.

    origin: (P,), where both coordinates are 0. axes: (2, P). explained: the shares of the path's variance
    along each axis, where the plane was made from one.
    """

    origin: np.ndarray
    axes: np.ndarray
    explained: tuple[float, float] | None = None

    def at(self, x: float, y: float) -> np.ndarray:
        """(P,): the parameters at a place."""
        theta: np.ndarray = self.origin + x * self.axes[0] + y * self.axes[1]
        return theta

    def place(self, thetas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of points (K, P): the places (K, 2) nearest to them in the plane, and the distances (K,) from it.

        Least squares, so that the axes need not be at right angles.
        """
        away = thetas - self.origin
        gram = self.axes @ self.axes.T
        places = np.linalg.solve(gram, self.axes @ away.T).T
        off: np.ndarray = np.linalg.norm(away - places @ self.axes, axis=1)
        return places, off

    def through(self, theta: np.ndarray) -> Slice:
        """The slice parallel to the plane that goes through a point."""
        (place,), (off,) = self.place(theta[None])
        return Slice(replace(self, origin=theta), (float(place[0]), float(place[1])), float(off))


@dataclass(frozen=True)
class Slice:
    """A plane moved so that it goes through a point. Its places are counted as on the plane.

    centre: the point's place; off: how far the plane was moved.
    """

    plane: Plane  # whose origin is the point itself
    centre: tuple[float, float]
    off: float

    def at(self, across: float, up: float) -> np.ndarray:
        """The parameters so far across and up from the centre; at (0, 0) the point, to the last bit."""
        return self.plane.at(across, up)


def random_axes(
    theta: np.ndarray, shapes: Mapping[str, tuple[int, ...]], seed: int, biases: bool = False, count: int = 2
) -> np.ndarray:
    """Filter-normalized random directions (count, P) (Li et al. 2018, section 4).

    Each row of a matrix is Gaussian, scaled to the norm of that row of the weights:
    d <- d |w| / (|d| + 1e-10). Vectors, the biases, are left out, as there; with `biases` each of them counts
    as one row.
    """
    rng = np.random.default_rng([seed, 0x51F7])
    axes = np.zeros((count, len(theta)))
    for axis in axes:
        start = 0
        for shape in shapes.values():
            size = math.prod(shape)
            drawn = rng.standard_normal(size)  # in any case, so that the rest is the same without biases
            if len(shape) > 1 or biases:
                rows = (shape[0], size // shape[0]) if len(shape) > 1 else (1, size)
                w, d = theta[start : start + size].reshape(rows), drawn.reshape(rows)
                scale = np.linalg.norm(w, axis=1) / (np.linalg.norm(d, axis=1) + EPSILON)
                axis[start : start + size] = (d * scale[:, None]).ravel()
            start += size
    return axes


def path_plane(path: np.ndarray) -> Plane:
    """The plane through a path's last point along its two principal components (Li et al. 2018, section 7).

    path: (K, P), at least three different points. The axes have length 1; each points the way the path goes.
    """
    if not np.isfinite(path).all():
        raise PlaneError("plane: the path has weights that are not finite.")
    away = path - path[-1]
    centred = away - away.mean(0)
    # The components are the right singular vectors; K is small, so they come from the K x K products.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = np.maximum(values[::-1], 0.0)
    if len(path) < 3 or values[1] <= SMALLEST * values[0]:
        raise PlaneError("plane: a path needs three different checkpoints to span a plane.")
    axes = (vectors[:, ::-1][:, :2].T @ centred) / np.sqrt(values[:2, None])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    # An eigenvector has no sign of its own: the path ends above where it began.
    axes *= np.where(axes @ (path[-1] - path[0]) < 0, -1.0, 1.0)[:, None]
    shares = values / values.sum()
    return Plane(path[-1], axes, (float(shares[0]), float(shares[1])))


def line_axes(start: np.ndarray, end: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From `start`, at 0, to `end`, at 1 (Goodfellow, Vinyals & Saxe 2015), and across it.

    other: any direction; what it has across the line is scaled to the line's length.
    """
    along = end - start
    return np.stack([along, _across(along, other, float(np.linalg.norm(along)))])


def curvature_axes(gradient: np.ndarray, eigenvector: np.ndarray) -> np.ndarray:
    """The gradient's direction, and what the Hessian's top eigenvector has across it; both of length 1."""
    length = float(np.linalg.norm(gradient))
    if not length or not np.isfinite(length):
        raise PlaneError("plane: there is no gradient here that could be followed.")
    along = gradient / length
    return np.stack([along, _across(along, eigenvector, 1.0)])


def _across(along: np.ndarray, other: np.ndarray, length: float) -> np.ndarray:
    square = float(along @ along)
    if not square:
        raise PlaneError("plane: both ends of the line are the same.")
    rest = other - along * ((along @ other) / square)
    size = float(np.linalg.norm(rest))
    if not size > SMALLEST * float(np.linalg.norm(other)):
        raise PlaneError("plane: both directions are the same.")
    found: np.ndarray = rest * (length / size)
    return found


def chosen_axis(
    name: str, theta: np.ndarray, shapes: Mapping[str, tuple[int, ...]], gates: Sequence[str]
) -> np.ndarray:
    """One axis by name, (P,).

    "scale:weight_hh": 1 doubles these weights, -1 makes them 0 (of all layers; any of SCALES).
    "bias:f": 1 adds 1 to this gate's bias in every unit of every layer; "bias:out" is the output layer's.
    "weight:rnn.weight_hh_l0[3,5]": this weight alone, counted from 0.
    """
    kind, _, what = name.partition(":")
    axis = np.zeros_like(theta)
    start = 0
    for parameter, shape in shapes.items():
        piece = slice(start, start + math.prod(shape))
        start = piece.stop
        if kind == "scale" and _is_one_of(parameter, what):
            axis[piece] = theta[piece]
        elif kind == "bias" and what in gates and ".bias_ih" in parameter:
            rows = shape[0] // len(gates)
            first = piece.start + list(gates).index(what) * rows
            axis[first : first + rows] = 1.0
        elif kind == "bias" and what == "out" and parameter == "out.bias":
            axis[piece] = 1.0
        elif kind == "weight" and (index := _index(what, parameter, shape)) is not None:
            axis[piece.start + index] = 1.0
    if not axis.any():
        raise PlaneError(f"plane: {name} moves nothing in this network.")
    return axis


def _is_one_of(parameter: str, group: str) -> bool:
    layer = rf"[a-z]+\.{re.escape(group)}_l\d+(_reverse)?"
    return parameter == group or re.fullmatch(layer, parameter) is not None


def _index(what: str, parameter: str, shape: tuple[int, ...]) -> int | None:
    """Where "name[3,5]" lies in the parameter of that name; None in others and outside of it."""
    found = re.fullmatch(rf"{re.escape(parameter)}\[(\d+(?:,\d+)*)\]", what.replace(" ", ""))
    if found is None:
        return None
    index = tuple(int(part) for part in found[1].split(","))
    if len(index) != len(shape) or any(i >= n for i, n in zip(index, shape, strict=True)):
        return None
    return int(np.ravel_multi_index(index, shape))
