"""What a loss surface stands on: a model that has a height at any parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from ..analysis.planes import Plane, PlaneError
from .weights import Shapes, vector_of

Progress = Callable[[float], None]
At = Callable[[int], np.ndarray]  # from a point's number to its parameters, (P,)


class Ground(ABC):
    """A model, its parameters by name and as one vector, and its heights.

    A height is a row (3,): loss, accuracy and the norm of the gradient; NaN stands for what was not asked for
    or does not exist.
    """

    shapes: Shapes  # of the parameters that move
    theta: np.ndarray  # (P,) in float64, where the model is
    gates: Sequence[str] = ()  # of its cell, where it has one
    besides: Collection[str] = ()  # other names that weights may hold

    @abstractmethod
    def one(self, theta: np.ndarray, gradient: bool) -> np.ndarray:
        """(3,): the height at a point, to the last bit what the model has there."""

    @abstractmethod
    def heights(
        self, at: At, count: int, gradient: bool, progress: Progress | None
    ) -> tuple[np.ndarray, str]:
        """(N, 3): heights at the points at(0), at(1), ..., and a sentence on how they were computed."""

    def vector(self, weights: Any, what: str, partial: bool = False) -> np.ndarray:
        """Weights of this model as one vector; see `vector_of`."""
        return vector_of(weights, self.shapes, what, self.besides, partial)

    def curvature(self) -> Plane:
        """Along the gradient and the top eigenvector of the Hessian, where these are known."""
        raise PlaneError("plane: 'curvature' is for an Experiment.")
