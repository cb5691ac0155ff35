"""What a surface shows: which plane, through which point, over which window, and the heights there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cells import CELLS
from ..experiment import ExperimentError
from .heights import Heights
from .moment import Moment
from .planes import (
    Plane,
    PlaneError,
    Slice,
    chosen_axis,
    curvature_axes,
    line_axes,
    path_plane,
    random_axes,
)

PLANES = ("path", "random", "line", "curvature", "chosen")
BLOCK_SECONDS = 0.1  # of computing, between two looks at whether it is still wanted


def theta_of(seen: Moment) -> np.ndarray:
    """A moment's parameters, (P,) in float64."""
    theta: np.ndarray = seen.network.flat.double().numpy()
    return theta


def plane_of(
    spec: Mapping[str, Any], seen: Moment, path: np.ndarray | None = None, end: np.ndarray | None = None
) -> Plane:
    """The plane that a request names, for the network of a moment.

    spec: "kind" is one of PLANES, and with it
    random: "seed" and "biases"; filter-normalized around the moment's weights.
    path: the principal components of `path`, (K, P); through its last point.
    line: from the moment's weights to `end`, and "seed" of a random direction across it.
    curvature: the gradient, and the top eigenvector of the Hessian across it.
    chosen: "axes", two names as `chosen_axis` takes them.

    Raises PlaneError, one sentence.
    """
    theta, shapes = theta_of(seen), seen.network.layout.shapes
    kind = spec["kind"]
    if not np.isfinite(theta).all():
        raise PlaneError("plane: the weights of this step are not finite.")
    if kind == "path":
        if path is None:
            raise PlaneError("plane: without a run there is no path of training.")
        return path_plane(path)
    if kind == "random":
        axes = random_axes(theta, shapes, int(spec["seed"]), bool(spec["biases"]))
    elif kind == "line":
        if end is None:
            raise PlaneError("plane: the line has no other end.")
        across = random_axes(theta, shapes, int(spec["seed"]), biases=True, count=1)[0]
        axes = line_axes(theta, end, across)
    elif kind == "curvature":
        axes = seen.once("curvature axes", lambda: _curvature(seen))
    elif kind == "chosen":
        gates = CELLS[seen.experiment.cell].gates
        axes = np.stack([chosen_axis(name, theta, shapes, gates) for name in spec["axes"]])
        if abs(np.linalg.det(_unit(axes) @ _unit(axes).T)) < 1e-9:
            raise PlaneError("plane: both axes are the same; choose two different ones.")
    else:
        raise PlaneError(f"plane: got {kind!r}; allowed: {', '.join(PLANES)}.")
    if not all(axis.any() for axis in axes):
        raise PlaneError("plane: all weights that this plane would move are 0.")
    return Plane(theta, axes)


def _unit(axes: np.ndarray) -> np.ndarray:
    unit: np.ndarray = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    return unit


def _curvature(seen: Moment) -> np.ndarray:
    from .curvature import top_eigenvector  # which is heavy, and no other plane needs it

    try:
        eigenvector = top_eigenvector(seen)[1]
    except ExperimentError as error:
        raise PlaneError(f"plane: curvature is computed in float64; {error.problems[0]}") from error
    return curvature_axes(seen.true.grad.double().numpy(), eigenvector)


@dataclass(frozen=True)
class Scene:
    """A slice with a grid on it: offsets from the centre along both axes."""

    heights: Heights
    cut: Slice
    across: np.ndarray  # (n,), x
    up: np.ndarray  # (n,), y

    def blocks(
        self, numbers: Sequence[int], gradient: bool, seconds: float = BLOCK_SECONDS
    ) -> Iterator[np.ndarray]:
        """Heights (N, 3) at nodes by their flat numbers row * n + column, about so many seconds at once."""
        start = 0
        while start < len(numbers):
            rows: list[np.ndarray] = []
            deadline = time.monotonic() + seconds
            while start + len(rows) < len(numbers):
                row, column = divmod(int(numbers[start + len(rows)]), len(self.across))
                theta = self.cut.at(float(self.across[column]), float(self.up[row]))
                rows.append(self.heights.many([theta], gradient)[0])
                if time.monotonic() >= deadline:
                    break
            start += len(rows)
            yield np.array(rows)
