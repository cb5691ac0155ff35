"""Orbits: where a state goes when the same step is taken again and again, and what becomes of a difference.

The small cases that can be checked by hand: one linear unit, whose difference after t steps is w^t, and two
linear units, where the largest eigenvalue decides in the long run and the largest singular value at first.
Everything is computed by the registered cells, run forward in float64; slopes come from their own backward
step (`spectrum.step_jacobians`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bptt import TorchLayer, Trace, Weights
from ..cells import CELLS
from .spectrum import step_jacobians

Floats = NDArray[np.float64]

PRECISION = "float64"
CIRCLE = 72  # points of the unit circle whose images are drawn: straight pieces of 5 degrees


def plain_weights(matrix: Floats, bias: float = 0.0) -> dict[str, Tensor]:
    """A plain cell's weights with this recurrent matrix, (H, H), and one input that nothing listens to."""
    W = torch.tensor(np.atleast_2d(matrix), dtype=torch.float64)
    zero = W.new_zeros(len(W))
    return {"weight_ih": W.new_zeros(len(W), 1), "weight_hh": W, "bias_ih": zero + bias, "bias_hh": zero}


def orbit(
    cell: str, weights: Weights, initial: Mapping[str, Tensor], T: int, inputs: Tensor | None = None
) -> Trace:
    """T steps of a registered cell from initial states (B, H) by name, without input or with (T, B, I)."""
    I, H = weights["weight_ih"].shape[1], weights["weight_hh"].shape[1]  # noqa: E741
    if inputs is None:
        inputs = torch.zeros(T, len(initial["h"]), I, dtype=torch.float64)
    return TorchLayer(CELLS[cell], I, H, PRECISION).forward(weights, inputs, initial)


def path(trace: Trace, states: Sequence[str] = ("h",)) -> Floats:
    """The states from t = 0, before the first step, to T: (T + 1, B, S), joined in this order."""
    joined = [torch.cat([trace.initial[name][None], trace.values[name]]) for name in states]
    return torch.cat(joined, -1).numpy()


@dataclass(frozen=True)
class Line:
    """One unit over time. state: (T + 1,) h_0 to h_T; slope: (T + 1,) dh_t/dh_0, a product of slopes."""

    state: Floats
    slope: Floats


def line(cell: str, w: float, T: int, start: float = 1.0, bias: float = 0.0) -> Line:
    """T steps of one unit with the recurrent weight w and no input. inf and 0 are answers: float64 ends."""
    weights = plain_weights(np.array([[w]]), bias)
    trace = orbit(cell, weights, {"h": torch.full((1, 1), start, dtype=torch.float64)}, T)
    each = step_jacobians(CELLS[cell], weights, trace, range(T))[:, 0, 0].numpy()
    with np.errstate(over="ignore", under="ignore"):
        product = np.concatenate([[1.0], np.cumprod(each)])
    return Line(path(trace)[:, 0, 0], product)


@lru_cache(maxsize=16)
def power(w: float, T: int) -> Line:
    """w^t of one linear unit that starts at 1."""
    return line("linear", w, T)


def matrix_of(eigenvalues: tuple[complex, complex], angle: float = 90.0) -> Floats:
    """A real 2 x 2 matrix with these eigenvalues, either both real or conjugates: (2, 2).

    angle: in degrees, between the directions of the eigenvectors (of a complex pair: between the real and the
    imaginary part of one). At 90 the matrix is normal, and its singular values are the eigenvalues' sizes;
    the smaller the angle, the more it shears.

    Raises ValueError for other eigenvalues and for an angle outside of 0 < angle <= 90.
    """
    a, b = eigenvalues
    if not 0.0 < angle <= 90.0:
        raise ValueError(f"angle: got {angle:g}; allowed: above 0 and up to 90 degrees.")
    if a.imag == 0 == b.imag:
        middle = np.diag([a.real, b.real])
    elif a == b.conjugate():
        middle = np.array([[a.real, -a.imag], [a.imag, a.real]])
    else:
        raise ValueError(
            f"eigenvalues: got {a} and {b}; allowed: two real ones, or a number and its conjugate."
        )
    turn = np.radians(angle)
    cosine = 0.0 if angle == 90.0 else np.cos(turn)
    V = np.array([[1.0, cosine], [0.0, np.sin(turn)]])
    made: Floats = V @ middle @ np.linalg.inv(V)
    return made


@dataclass(frozen=True)
class Plane:
    """Two linear units, h_t = W h_{t-1}, over T steps.

    matrix: (2, 2) W; eigenvalues: (2,) complex; radius: the larger of their sizes; singular: the larger
    singular value of W; orbit: (T + 1, 2) h_0 to h_T; circle: (T + 1, CIRCLE + 1, 2) the images of the unit
    circle, closed; powers: (T + 1, 2, 2) W^t, the image of each axis a column; norms: (T + 1,) how much W^t
    stretches at most, its largest singular value.
    """

    matrix: Floats
    eigenvalues: NDArray[np.complex128]
    radius: float
    singular: float
    orbit: Floats
    circle: Floats
    powers: Floats
    norms: Floats

    @property
    def peak(self) -> int:
        """The step at which W^t stretches most; T where it grows to the end."""
        return int(np.argmax(self.norms))


def plane(matrix: Floats, T: int, start: tuple[float, float] = (0.0, 1.0)) -> Plane:
    """Run two linear units from the start, from both axes and from the unit circle: one batch."""
    turns = np.linspace(0.0, 2.0 * np.pi, CIRCLE + 1)
    circle = np.stack([np.cos(turns), np.sin(turns)], -1)  # (CIRCLE + 1, 2)
    initial = torch.tensor(np.concatenate([[start], np.eye(2), circle]))  # (B, 2)
    states = path(orbit("linear", plain_weights(matrix), {"h": initial}, T))  # (T + 1, B, 2)
    powers = states[:, 1:3].transpose(0, 2, 1)  # an axis's image is a column
    eigenvalues = np.linalg.eigvals(matrix).astype(np.complex128)
    return Plane(
        matrix=matrix,
        eigenvalues=eigenvalues,
        radius=float(np.abs(eigenvalues).max()),
        singular=float(np.linalg.norm(matrix, 2)),
        orbit=states[:, 0],
        circle=states[:, 3:],
        powers=powers,
        norms=np.linalg.norm(powers, 2, axis=(1, 2)),
    )
