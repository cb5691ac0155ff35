"""Curvature of the loss around the weights of a moment: the ends of its Hessian's spectrum, and its trace.

The Hessian is never written down. Its product with a unit vector v is a central difference of the gradient,
which is exact, derived by hand and computed in float64 whatever the run's precision:

    H v = (g(theta + eps v) - g(theta - eps v)) / (2 eps).

Of smooth cells this is the Hessian to about nine digits. Two things are not smooth. A ReLU has kinks: where
one lies within eps, the difference holds the jump of the gradient over 2 eps, which no second derivative has.
That is curvature of the loss as a step of this length feels it, but it makes products disagree. And before a
cliff, where the gradient changes by orders of magnitude within eps, the result is that of the wall. How far
products disagree is measured: `Sharpness.asymmetry`.

What is looked at is the loss that a step was made of, over its batch and with its dropout: truncation, omega
and limits belong to how training takes the gradient, not to the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from ..experiment import Experiment
from ..layout import layout_of
from ..network import Network, Pass
from ..step import dropout_masks, repeatable
from ..tasks import Batch
from .lanczos import Krylov, krylov, lanczos, over, sample, trace_of
from .moment import Moment

#: Length of the step to either side. The difference is off by eps^2 / 6 times a third derivative, and by the
#: gradient's rounding, about 1e-15 of it, over eps. Measured on 100 steps of tanh, ReLU, GRU and LSTM both
#: are near 1e-10 of the product here; ten times more or less costs a digit or two.
EPS = 1e-5

TOP = 5  # eigenvalues: enough to see whether a few stand out
SAMPLES = 16  # for the trace: its error is known within a fifth
MOST = 48  # products for the eigenvalues; 15 to 35 are usual
TOLERANCE = 0.01  # of an eigenvalue: its residual; see `lanczos.over`
CLOSE = 1e-4  # the same for the eigenvector that a plane is drawn along
SEED = 0

#: Seconds of a gradient for each parameter, time step and sequence, about, on one core of 2020.
_SECONDS = {"compiled": 3.5e-10, "torch": 1.5e-9}


class Curvature:
    """The loss around the weights of a moment, over the batch of its step or over another one.

    Another batch is looked at without dropout. Raises ExperimentError where a step in float64 would not fit
    into memory. size: parameters; loss, grad: at the weights, (size,) float64; products: how many were made.
    """

    def __init__(self, seen: Moment, batch: Batch | None = None) -> None:
        wide = seen.experiment.changed(precision="float64", truncate=0, truncate_every=0)
        self._theta = seen.network.flat.detach().double().clone()
        self._network = Network(wide, self._theta.clone(), seen.network.kernel)
        self._masks = dropout_masks(wide, seen.step) if batch is None else []
        self._batch = seen.batch if batch is None else batch
        self.size, self.products = len(self._theta), 0
        with repeatable():
            here = self._pass()
        self.loss, self.grad = here.loss, here.grad.numpy()

    def product(self, v: np.ndarray) -> np.ndarray:
        """The Hessian times v, (size,); NaN where the gradient nearby is none, zeros for zeros."""
        length = math.sqrt(float(np.einsum("i,i", v, v)))
        if not length:
            return np.zeros_like(v)
        self.products += 1
        along = torch.from_numpy(v * (EPS / length))
        with repeatable():
            ahead, behind = (self._grad_at(self._theta + sign * along) for sign in (1, -1))
        with np.errstate(invalid="ignore"):
            found: np.ndarray = (ahead - behind) * (length / (2 * EPS))
        return found

    def _grad_at(self, theta: torch.Tensor) -> np.ndarray:
        self._network.flat.copy_(theta)
        grad: np.ndarray = self._pass().grad.numpy()
        return grad

    def _pass(self) -> Pass:
        return self._network.loss_and_gradient(self._batch, self._masks)


@dataclass(frozen=True)
class Sharpness:
    """The loss's curvature at a training step. Everything is NaN where the loss or its gradient is.

    eigenvalues: of the Hessian, the largest, descending, NaN where there are fewer parameters; residuals:
    |Hv - eigenvalue v| of each, so far away at most is a true one. least, least_residual: the same at the
    other end. trace: the sum of all eigenvalues, an estimate with its standard error. asymmetry: how far
    products of the same pair disagree, 0 without any error. products: how many were made.
    """

    step: int
    loss: float
    grad_norm: float
    eigenvalues: tuple[float, ...]
    residuals: tuple[float, ...]
    least: float
    least_residual: float
    trace: float
    trace_error: float
    asymmetry: float
    products: int

    @property
    def finite(self) -> bool:
        """Whether there is a curvature at all."""
        return math.isfinite(self.eigenvalues[0])


@dataclass(frozen=True, eq=False)
class Measuring:
    """How far a measurement is: first the Krylov space grows, then the rest of the trace is drawn by lot."""

    space: Krylov
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @cached_property
    def solved(self) -> bool:
        """Whether the eigenvalues are known."""
        return self.space.m >= MOST or over(self.space, TOP, TOLERANCE)

    @property
    def done(self) -> bool:
        finished = len(self.samples) >= SAMPLES or self.space.whole or not self.space.finite
        return self.solved and finished

    @property
    def share(self) -> float:
        """Of its products, about."""
        made = MOST if self.solved else self.space.m
        return 1.0 if self.done else min(1.0, (made + len(self.samples)) / (MOST + SAMPLES))

    def further(self, curvature: Curvature) -> Measuring:
        """With one product more."""
        if not self.solved:
            return Measuring(self.space.grown(curvature.product), self.samples)
        drawn = sample(curvature.product, curvature.size, len(self.samples), SEED, self.space)
        return Measuring(self.space, np.append(self.samples, drawn))

    def result(self, step: int, curvature: Curvature) -> Sharpness:
        """What has been found."""
        ritz = self.space.ritz(TOP)
        trace, error = trace_of(self.samples, self.space)
        if not self.space.finite:
            trace, error = math.nan, math.nan
        return Sharpness(
            step=step, loss=curvature.loss, grad_norm=_norm(curvature.grad),
            eigenvalues=tuple(map(float, ritz.values)), residuals=tuple(map(float, ritz.residuals)),
            least=ritz.least, least_residual=ritz.least_residual, trace=trace, trace_error=error,
            asymmetry=self.space.asymmetry if self.space.finite else math.nan,
            products=self.space.m + len(self.samples),
        )  # fmt: skip


def measuring(curvature: Curvature) -> Measuring:
    """The beginning of a measurement."""
    return Measuring(krylov(curvature.size, SEED))


def sharpness(seen: Moment) -> Sharpness:
    """Curvature of the loss at a moment, over the batch of its step. The same moment, the same bytes."""
    found: Sharpness = seen.once("sharpness", lambda: _sharpness(seen))
    return found


def _sharpness(seen: Moment) -> Sharpness:
    curvature = Curvature(seen)
    known = measuring(curvature)
    while not known.done:
        known = known.further(curvature)
    return known.result(seen.step, curvature)


def top_eigenvector(seen: Moment) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of the Hessian and its eigenvector: flat like the parameters, float64, a unit.

    Of the two it is the one that the gradient does not point against. All NaN where there is no curvature.
    """
    found: tuple[float, np.ndarray] = seen.once("top_eigenvector", lambda: _top_eigenvector(seen))
    return found


def _top_eigenvector(seen: Moment) -> tuple[float, np.ndarray]:
    curvature = Curvature(seen)
    space = lanczos(curvature.product, curvature.size, 1, SEED, MOST, CLOSE, least=False)
    vector = space.vectors(1)[0]
    if float(np.einsum("i,i", vector, curvature.grad)) < 0:
        vector = -vector
    return float(space.ritz(1).values[0]), vector


def gradient(seen: Moment) -> np.ndarray:
    """The loss's own gradient at a moment, through all of time: flat like the parameters, in float64."""
    found: np.ndarray = seen.once("gradient", lambda: Curvature(seen).grad)
    return found


def expected_seconds(experiment: Experiment, kernel: str = "compiled") -> float:
    """How long `sharpness` takes, about."""
    size = layout_of(experiment).size
    work = size * experiment.steps_per_sequence() * experiment.batch
    return 2.0 * (0.6 * MOST + SAMPLES) * _SECONDS[kernel] * work


def _norm(vector: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        return math.sqrt(float(np.einsum("i,i", vector, vector)))
