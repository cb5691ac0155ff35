"""`loss_surface`: a grid of heights on a plane through all parameters of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ..analysis.planes import Plane, PlaneError, Slice
from ..experiment import Experiment
from .foreign import Foreign, Loss
from .frame import Window, edges_of, offsets, path_of, plane_of
from .ground import Ground, Progress
from .own import Own

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: What the axes of each kind of plane are.
AXES = {
    "random": ("first random direction", "second random direction"),
    "path": ("first component", "second component"),
    "line": ("from the model (0) to the other weights (1)", "across the line"),
    "chosen": ("first direction", "second direction"),
    "curvature": ("along the gradient", "along the top eigenvector"),
    "given": ("x", "y"),
}


@dataclass(frozen=True, eq=False, repr=False)
class LossSurface:
    """Heights over a grid on a plane through the space of all parameters.

    x, y: (n,), the grid's coordinates in the plane. loss, accuracy, gradient: (n, n), [y, x]; the last two
    are None where there is no accuracy, or the norm of the gradient was not asked for. NaN and infinity are
    kept.
    cut: the plane, moved so that it goes through the model; at the node `centre` (row, column) the height is
    the model's own, to the last bit. path: (K, 2), the places in the plane nearest to a path's points;
    path_off: (K,), how far the points lie from it; path_loss: (K,), their own losses, which are not the
    surface's where they lie off it. kind: of the plane. note: how all this was computed, and what is missing.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray | None
    gradient: np.ndarray | None
    centre: tuple[int, int]
    cut: Slice
    kind: str
    note: str
    path: np.ndarray | None = None
    path_off: np.ndarray | None = None
    path_loss: np.ndarray | None = None

    @property
    def plane(self) -> Plane:
        """The plane; its origin is the model's parameters, at the place `cut.centre`."""
        return self.cut.plane

    @property
    def explained(self) -> tuple[float, float] | None:
        """The shares of the path's variance along x and y, where the plane was made from one."""
        return self.cut.plane.explained

    @property
    def holes(self) -> int:
        """How many points have no finite loss."""
        return int((~np.isfinite(self.loss)).sum())

    def parameters(self, row: int, column: int) -> np.ndarray:
        """(P,): the parameters at a node."""
        i, j = self.centre
        if (row, column) == (i, j):
            return self.cut.at(0.0, 0.0)
        return self.cut.at(float(self.x[column] - self.x[j]), float(self.y[row] - self.y[i]))

    def save(self, path: str | Path) -> None:
        """Write all arrays, the plane's `origin` and `axes` and the note into one .npz for `numpy.load`."""
        arrays = {
            "x": self.x, "y": self.y, "loss": self.loss, "accuracy": self.accuracy, "gradient": self.gradient,
            "centre": np.array(self.centre), "origin": self.plane.origin, "axes": self.plane.axes,
            "explained": None if self.explained is None else np.array(self.explained),
            "path": self.path, "path_off": self.path_off, "path_loss": self.path_loss,
            "note": np.array(self.note),
        }  # fmt: skip
        there: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
        np.savez_compressed(path, **there)

    def figure(self, height: str = "loss", flat: bool = False, log: bool | None = None) -> go.Figure:
        """A relief that can be turned, or with `flat` a map with contours; a path lies at its own losses.

        height: "loss", "accuracy" or "gradient". log: by default where all heights are above 0, but not for
        accuracy. Raises ValueError for heights that this surface does not have.
        """
        from ..plots.surfaces import TEXT, Relief, Route, contour_figure, relief_figure
        from ..plots.theme import INK

        heights = {"loss": self.loss, "accuracy": self.accuracy, "gradient": self.gradient}
        known = [name for name, values in heights.items() if values is not None]
        values = heights.get(height)
        if values is None:
            raise ValueError(f"height: got {height!r}; this surface has {', '.join(known)}.")
        if log is None:
            log = height != "accuracy" and bool((values[np.isfinite(values)] > 0).all())
        axes = AXES[self.kind]
        if self.explained is not None:
            x, y = (f"{name} ({share:.0%} of the variance)"
                    for name, share in zip(axes, self.explained, strict=True))  # fmt: skip
            axes = x, y
        routes = []
        if self.path is not None and self.path_loss is not None and self.path_off is not None:
            steps = range(len(self.path))
            routes = [Route("", INK, steps, self.path, self.path_loss, self.path_off, shown=len(steps) - 1)]
        relief = Relief(self.x, self.y, values, height, log, axes)
        text = {**TEXT, "step": "point {step:,}", "here": "last point", "path": "path"}
        return (contour_figure if flat else relief_figure)(relief, routes, text=text)

    def __repr__(self) -> str:
        finite = self.loss[np.isfinite(self.loss)]
        spread = f"loss {finite.min():.3g} to {finite.max():.3g}" if finite.size else "no finite loss"
        size = f"{len(self.x)} x {len(self.y)} points"
        return f"LossSurface({size}, {spread}, {self.loss[self.centre]:.3g} at the centre)"


def loss_surface(
    model: Experiment | nn.Module, loss: Loss | None = None, *, plane: str | Plane | None = None,
    path: Sequence[Any] | None = None, end: Any = None, directions: Sequence[Any] | None = None,
    seed: int = 0, biases: bool = False, points: int = 33, window: Window | None = None,
    gradient: bool = False, parameters: Any = None, step: int | None = None, over: str | None = None,
    threads: int | None = None, batched: bool | None = None, progress: Progress | None = None,
) -> LossSurface:  # fmt: skip
    """The loss over a plane through all parameters of a model.

    model: an `Experiment`, whose network and task give the loss, or a `torch.nn.Module` with `loss`, a
    function that calls the model and returns one number: `loss_surface(net, lambda net: mse(net(x), y))`. The
    module is left as it was, and is used in the mode, train or eval, in which it is. What moves are all its
    parameters but frozen ones.

    plane: "random", two filter-normalized directions (Li et al. 2018) of `seed`, which leave out vectors
    such as biases unless `biases` says otherwise; "path", the principal components of `path`; "line", from
    the model, x = 0, to `end`, x = 1, and a random direction across it; "chosen", the two `directions`, as
    they are, or named as `rnnviz.analysis.planes.chosen_axis` does ("scale:weight_hh", "bias:f",
    "weight:rnn.weight_hh_l0[3,5]"); "curvature", of an experiment, the gradient on the training batch and the
    top eigenvector of the Hessian; or a `Plane`, such as that of another surface. By default it is the one
    that the other arguments are for.
    path: weights at three points of training or more; on any plane their places and losses are given.
    points: along each axis. window: w for -w to w around the model, or the edges (x from, x to, y from, y to)
    with the model in between. gradient: the norm of the loss's gradient too, which takes longer.

    parameters: the model's weights, instead of its own. Here, in `path` and as `end`, weights are arrays or
    tensors by name (a state_dict), a safetensors file's bytes, a module, a `Network`, or a flat vector.
    Without them an experiment is looked at at the last point of `path`, or at its first weights.
    step, over: for an experiment: the training batch that the loss is taken over, 0 by default, or
    over="held_out" for what is held out. threads: for an experiment, by default one for each core.
    batched: for a module, many points at once; by default where that is faster. progress: called with the
    share that is done.

    Raises ValueError, one sentence, for what does not fit.
    """
    ground = _ground(model, loss, step, over, threads, batched)
    if isinstance(points, bool) or not isinstance(points, int) or points < 3:
        raise ValueError(f"points: got {points!r}; a whole number from 3 on is needed.")
    passed = None if path is None else path_of(ground, path)
    if parameters is not None:
        ground.theta = ground.vector(parameters, "parameters")
    elif passed is not None and isinstance(model, Experiment):
        ground.theta = passed[-1]
    if not np.isfinite(ground.theta).all():
        raise PlaneError("plane: the model's weights are not finite.")
    kind, flat = plane_of(ground, plane, passed, end, directions, seed, biases)
    cut = flat.through(ground.theta)
    places, off = (None, None) if passed is None else flat.place(passed)
    edges = edges_of(kind, cut.centre, window, places)
    (across, column), (up, row) = (
        offsets(c, *edge, points) for c, edge in zip(cut.centre, edges, strict=True)
    )
    own = ground.one(ground.theta, gradient)  # before all others: what is wrong with a loss is said at once
    heights, note = ground.heights(
        lambda k: cut.at(float(across[k % points]), float(up[k // points])), points**2, gradient, progress
    )
    heights[row * points + column] = own
    grid = heights.reshape(points, points, 3)
    missing = int((~np.isfinite(grid[..., 0])).sum())
    if missing:
        note += f" {missing} of {points**2} points have no finite loss."
    return LossSurface(
        cut.centre[0] + across, cut.centre[1] + up, grid[..., 0],
        None if np.isnan(grid[..., 1]).all() else grid[..., 1], grid[..., 2] if gradient else None,
        (row, column), cut, kind, note,
        places, off, None if passed is None else np.array([ground.one(t, False)[0] for t in passed]),
    )  # fmt: skip


def _ground(
    model: Any, loss: Any, step: int | None, over: str | None, threads: int | None, batched: bool | None
) -> Ground:
    if isinstance(model, Experiment):
        for name, value in (("loss", loss), ("batched", batched)):
            if value is not None:
                raise ValueError(f"{name}: an Experiment has its own; this is for a torch.nn.Module.")
        return Own(model, 0 if step is None else step, "step" if over is None else over, threads)
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise ValueError(f"model: got {got}; an Experiment or a torch.nn.Module is needed.")
    for name, value in (("step", step), ("over", over), ("threads", threads)):
        if value is not None:
            raise ValueError(f"{name}: this is for an Experiment; with a module, its loss says everything.")
    if not callable(loss):
        got = "none" if loss is None else repr(loss)[:60]
        raise ValueError(
            f"loss: got {got}; a function that calls the model and returns one number is needed."
        )
    return Foreign(model, loss, batched)
