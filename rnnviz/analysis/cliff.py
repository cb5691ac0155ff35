"""The cliff: one unit whose error has a wall in it, and what gradient descent does when it meets the wall.

Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks (2013, section 2.3 and
figure 6). One unit without input, two numbers to learn:

    x_t = w phi(x_{t-1}) + b,  x_0 = 0.5,  E = (phi(x_T) - 0.7)^2

phi is the sigmoid in the paper, with T = 50. The gradient by hand, forward with the states:

    dx_t/dw = phi(x_{t-1}) + w phi'(x_{t-1}) dx_{t-1}/dw
    dx_t/db = 1            + w phi'(x_{t-1}) dx_{t-1}/db
    dE/dw   = 2 (phi(x_T) - 0.7) phi'(x_T) dx_T/dw, and the same with b

Everything is float64. What float64 cannot hold comes out as infinity or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Both = Callable[[Any], tuple[Any, Any]]
Window = tuple[float, float, float, float]  # smallest w, largest w, smallest b, largest b

START = 0.5  # x_0
TARGET = 0.7  # of phi(x_T)


@dataclass(frozen=True)
class Activation:
    """phi. `both` gives phi(x) and phi'(x) of an array, `one` the same of a number, which is quicker for one.

    Slopes are computed from the exponential and not from phi, and so keep their digits where phi is flat.
    """

    name: str
    both: Both
    one: Both

    @property
    def slope(self) -> float:
        """phi'(x_0)."""
        return float(self.one(START)[1])


def _sigmoid_both(x: Any) -> tuple[Any, Any]:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e), e / (1.0 + e) ** 2


def _sigmoid_one(x: float) -> tuple[float, float]:
    e = math.exp(-abs(x))
    return (e if x < 0 else 1.0) / (1.0 + e), e / (1.0 + e) ** 2


def _tanh_both(x: Any) -> tuple[Any, Any]:
    e = np.exp(-2.0 * np.abs(x))
    return np.tanh(x), 4.0 * e / (1.0 + e) ** 2


def _tanh_one(x: float) -> tuple[float, float]:
    e = math.exp(-2.0 * abs(x))
    return math.tanh(x), 4.0 * e / (1.0 + e) ** 2


def _relu_both(x: Any) -> tuple[Any, Any]:
    return np.maximum(x, 0.0), np.where(x > 0, 1.0, 0.0)  # slope 0 at the kink, as PyTorch has it


def _relu_one(x: float) -> tuple[float, float]:
    return (0.0, 0.0) if x <= 0 else (x, 1.0 if x > 0 else 0.0)  # a NaN stays one


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("sigmoid", _sigmoid_both, _sigmoid_one),
        Activation("tanh", _tanh_both, _tanh_one),
        Activation("relu", _relu_both, _relu_one),
    )
}


@dataclass(frozen=True)
class Unit:
    """One unit: the name of its phi and how many steps it takes."""

    activation: str = "sigmoid"
    T: int = 50


class Values(NamedTuple):
    """x_T, E and its gradient: numbers, or arrays of one shape."""

    state: Any
    error: Any
    grad_w: Any
    grad_b: Any


def _values(both: Both, w: Any, b: Any, T: int) -> Values:
    x: Any = START
    dx_dw: Any = 0.0
    dx_db: Any = 0.0
    for _ in range(T):
        phi, slope = both(x)
        slope = w * slope
        dx_dw, dx_db = phi + slope * dx_dw, 1.0 + slope * dx_db
        x = w * phi + b
    phi, slope = both(x)
    away = phi - TARGET
    toward = 2.0 * away * slope
    return Values(x, away * away, toward * dx_dw, toward * dx_db)


def at(unit: Unit, w: float, b: float) -> Values:
    """E and its gradient at one place."""
    return _values(ACTIVATIONS[unit.activation].one, w, b, unit.T)


def over(unit: Unit, w: Floats, b: Floats) -> Values:
    """The same over arrays of one shape, or of shapes that broadcast."""
    w, b = np.broadcast_arrays(w, b)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return _values(ACTIVATIONS[unit.activation].both, w, b, unit.T)


def norm(grad_w: Any, grad_b: Any) -> Any:
    """The Euclidean norm of the gradient, without overflow on the way."""
    return np.hypot(grad_w, grad_b)


@dataclass(frozen=True)
class Surface:
    """E and the norm of its gradient over a window. w: (W,), b: (B,), error and norm: (B, W)."""

    w: Floats
    b: Floats
    error: Floats
    norm: Floats

    @property
    def lost(self) -> float:
        """The share of the window where float64 has no number for E or its gradient."""
        return float(1.0 - (np.isfinite(self.error) & np.isfinite(self.norm)).mean())

    @property
    def flat(self) -> float:
        """The share where the gradient is exactly 0."""
        return float((self.norm == 0.0).mean())


def surface(unit: Unit, window: Window, points: int = 121) -> Surface:
    """E over a window, with so many points a side."""
    w, b = np.linspace(window[0], window[1], points), np.linspace(window[2], window[3], points)
    found = over(unit, w[None, :], b[:, None])  # (B, W)
    return Surface(w, b, found.error, norm(found.grad_w, found.grad_b))


# Lines that can be worked out


def steep_from(activation: str) -> float:
    """The w above which x_0, where it is a fixed point, pushes its neighbours away: w phi'(x_0) > 1."""
    return 1.0 / ACTIVATIONS[activation].slope


def cliff_line(activation: str, w: Floats) -> Floats:
    """b at which x_0 is an unstable fixed point, b = x_0 - w phi(x_0); NaN where w phi'(x_0) <= 1.

    On one side of it the states run up from x_0, on the other side down.
    """
    phi = float(ACTIVATIONS[activation].one(START)[0])
    return np.where(w > steep_from(activation), START - w * phi, np.nan)


def folds(activation: str, w: Floats) -> tuple[Floats, Floats]:
    """The two b, the smaller first, at which a stable and an unstable fixed point meet and vanish; NaN where
    there are none.

    Where the line w phi(x) + b touches the diagonal, w phi'(x) = 1 (a saddle-node bifurcation):
    sigmoid: s = (1 ± sqrt(1 - 4/w))/2, b = ln(s/(1-s)) - w s, for w > 4;
    tanh: s = ±sqrt(1 - 1/w), b = artanh(s) - w s, for w > 1.
    ReLU has no place where its slope passes through 1. For w > 1 its two fixed points, b and b/(1-w), meet at
    the kink, where b = 0 (a fold that is not smooth): both are that line.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if activation == "relu":
            line = np.where(w > 1.0, 0.0, np.nan)
            return line, line
        root = np.sqrt(1.0 - (4.0 if activation == "sigmoid" else 1.0) / w)
        root = np.where(w > 0, root, np.nan)
        if activation == "sigmoid":
            s = np.stack([(1.0 - root) / 2.0, (1.0 + root) / 2.0])
            b = np.log(s / (1.0 - s)) - w * s
        else:
            s = np.stack([-root, root])
            b = np.arctanh(s) - w * s
    return b.min(axis=0), b.max(axis=0)


# A slice


@dataclass(frozen=True)
class Slice:
    """E and its gradient's norm along w or along b, the other held. at, error, norm: (n,).

    cliff: where the slice crosses the cliff's line, None where it does not.
    """

    at: Floats
    error: Floats
    norm: Floats
    cliff: float | None


def crossing(activation: str, along: str, held: float) -> float | None:
    """Where a line along w or b, the other held at a number, crosses the cliff's line."""
    phi = float(ACTIVATIONS[activation].one(START)[0])
    w = held if along == "b" else (START - held) / phi
    if not w > steep_from(activation):
        return None
    return START - w * phi if along == "b" else w


def slice_through(
    unit: Unit, place: tuple[float, float], along: str, reach: tuple[float, float], points: int = 601
) -> Slice:
    """Along "w" or "b" through a place (w, b), from reach[0] to reach[1].

    Points lie evenly, and ever closer together toward the cliff and toward the place: the wall is so thin
    that even ones would miss its top.
    """
    held = place[1] if along == "w" else place[0]
    cliff = crossing(unit.activation, along, held)
    own = place[0] if along == "w" else place[1]
    near = np.logspace(-12, 0, 145) * (reach[1] - reach[0])
    closer = [centre + sign * near for centre in (cliff, own) if centre is not None for sign in (-1, 1)]
    every = np.unique(np.concatenate([np.linspace(*reach, points), [own], *closer]))
    x = every[(every >= reach[0]) & (every <= reach[1])]
    found = over(unit, x, np.array(held)) if along == "w" else over(unit, np.array(held), x)
    return Slice(x, found.error, norm(found.grad_w, found.grad_b), cliff)
