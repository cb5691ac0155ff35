"""Where a surface is looked at: the plane that was asked for, the window on it, and the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..analysis.planes import Plane, PlaneError, chosen_axis, line_axes, path_plane, random_axes
from .ground import Ground

PLANES = ("random", "path", "line", "chosen", "curvature")
MARGIN = 0.2  # of what a path covers, around it
LINE = (-0.5, 1.5)  # Goodfellow, Vinyals & Saxe (2015): beyond both ends of the line
PARALLEL = 1e-9  # of the square of the sine between two directions
Window = float | tuple[float, float, float, float]


def path_of(ground: Ground, path: Sequence[Any]) -> np.ndarray:
    """(K, P)."""
    found = np.array([ground.vector(point, f"path[{k}]") for k, point in enumerate(path)])
    if len(found) < 3:
        raise ValueError(f"path: got {len(found)}; three points or more are needed.")
    for k, point in enumerate(found):
        if not np.isfinite(point).all():
            raise ValueError(f"path[{k}]: its weights are not finite.")
    return found


def plane_of(
    ground: Ground, plane: Any, path: np.ndarray | None, end: Any, directions: Sequence[Any] | None,
    seed: int, biases: bool,
) -> tuple[str, Plane]:  # fmt: skip
    """Which kind it is, and the plane."""
    wanted = {"path": path, "line": end, "chosen": directions}
    if isinstance(plane, Plane):
        if plane.axes.shape != (2, len(ground.theta)):
            got = plane.axes.shape[-1]
            raise PlaneError(f"plane: it has {got} parameters; the model has {len(ground.theta)}.")
        kind = "given"
    else:
        kind = plane or next((k for k in ("line", "chosen", "path") if wanted[k] is not None), "random")
        if kind not in PLANES:
            raise PlaneError(f"plane: got {kind!r}; allowed: {', '.join(PLANES)}, or a Plane.")
    for name, of, value in (("end", "line", end), ("directions", "chosen", directions)):
        if value is not None and kind != of:
            raise PlaneError(f"{name}: it is for plane={of!r}; here the plane is {kind!r}.")
    if kind in wanted and wanted[kind] is None:
        needs = {"path": "path", "line": "end", "chosen": "directions"}[kind]
        raise PlaneError(f"{needs}: it is missing; plane={kind!r} needs it.")
    if isinstance(plane, Plane):
        return kind, plane
    if kind == "path":
        assert path is not None
        return kind, path_plane(path)
    if kind == "curvature":
        return kind, ground.curvature()
    if kind == "random":
        axes = random_axes(ground.theta, ground.shapes, seed, biases)
    elif kind == "line":
        across = random_axes(ground.theta, ground.shapes, seed, biases=True, count=1)[0]
        axes = line_axes(ground.theta, ground.vector(end, "end"), across)
    else:
        axes = _chosen(ground, directions)
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise PlaneError("plane: a direction moves nothing, as where all weights of its matrices are 0.")
    unit = axes / lengths
    if abs(np.linalg.det(unit @ unit.T)) < PARALLEL:
        raise PlaneError("plane: both directions are the same; two different ones are needed.")
    return kind, Plane(ground.theta, axes)


def _chosen(ground: Ground, directions: Any) -> np.ndarray:
    if isinstance(directions, str) or len(directions) != 2:
        raise PlaneError("directions: two are needed.")
    return np.stack([
        chosen_axis(one, ground.theta, ground.shapes, ground.gates) if isinstance(one, str)
        else ground.vector(one, f"directions[{k}]", partial=True)
        for k, one in enumerate(directions)
    ])  # fmt: skip


def edges_of(
    kind: str, centre: tuple[float, float], window: Any, places: np.ndarray | None
) -> list[tuple[float, float]]:
    """From where to where each axis goes, with the centre in between."""
    if window is None and places is not None:
        held = np.vstack([places, centre])
        low, high = held.min(0), held.max(0)
        size = high - low
        size[size == 0.0] = size.max() or 1.0  # a path along one axis alone
        return [(float(a), float(b)) for a, b in zip(low - MARGIN * size, high + MARGIN * size, strict=True)]
    if window is None:
        return [
            LINE if kind == "line" else (centre[0] - 1.0, centre[0] + 1.0),
            (centre[1] - 1.0, centre[1] + 1.0),
        ]
    numbers = np.asarray(window, dtype=float)
    if numbers.shape == () and np.isfinite(numbers) and numbers > 0:
        return [(c - float(numbers), c + float(numbers)) for c in centre]
    if numbers.shape != (4,) or not np.isfinite(numbers).all():
        raise ValueError(f"window: got {window!r}; a number above 0, or x from, x to, y from and y to.")
    for name, c, low, high in zip("xy", centre, numbers[::2], numbers[1::2], strict=True):
        if not low < high or not low <= c <= high:
            raise ValueError(f"window: {name} goes from {low:g} to {high:g}; the model is at {c:.3g}.")
    return [(float(numbers[0]), float(numbers[1])), (float(numbers[2]), float(numbers[3]))]


def offsets(centre: float, low: float, high: float, n: int) -> tuple[np.ndarray, int]:
    """n equal steps that cover low to high, counted from the centre, and which of them is the centre's.

    They are moved by less than a step, so that the centre is one of them.
    """
    spacing = (high - low) / (n - 1)
    at = min(n - 1, max(0, round((centre - low) / spacing)))
    return (np.arange(n) - at) * spacing, at
