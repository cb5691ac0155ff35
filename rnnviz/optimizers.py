"""First-order optimizers on one flat parameter vector, with PyTorch's formulas and constants.

Kept here rather than taken from torch.optim because a step of training must be resumable byte by byte from
plain arrays, and because one flat vector needs none of its per-parameter machinery. The tests hold each to
torch.optim. A rule is written once, elementwise, in arithmetic and `ops.sqrt`: it runs on torch tensors, and
`kernels` compiles it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol, final


class Ops(Protocol):
    """What a rule is written in, beside arithmetic."""

    def sqrt(self, a: Any, /) -> Any: ...


class Optimizer(ABC):
    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    #: Its memory: vectors like the parameters, 0 at first.
    slots: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def coefficients(self, learning_rate: float, step: int) -> tuple[float, ...]:
        """The numbers that change from step to step; `step` counts from 1."""

    @abstractmethod
    def update(
        self, ops: Ops, grad: Any, slots: SimpleNamespace, c: tuple[Any, ...]
    ) -> tuple[Any, dict[str, Any]]:
        """What is added to the parameters, and the new memory by name, from the gradient and the old memory;
        `c` are the coefficients."""


@final
class SGD(Optimizer):
    name = "sgd"
    label = "SGD"
    summary = "theta <- theta - lr g. The rule to see clipping with: the step is as long as the gradient."

    def coefficients(self, learning_rate: float, step: int) -> tuple[float, ...]:
        return (-learning_rate,)

    def update(
        self, ops: Ops, grad: Any, slots: SimpleNamespace, c: tuple[Any, ...]
    ) -> tuple[Any, dict[str, Any]]:
        return grad * c[0], {}


@final
class Momentum(Optimizer):
    name = "momentum"
    label = "SGD with momentum 0.9"
    summary = "v <- 0.9 v + g, theta <- theta - lr v."
    slots = ("velocity",)

    def coefficients(self, learning_rate: float, step: int) -> tuple[float, ...]:
        return (-learning_rate,)

    def update(
        self, ops: Ops, grad: Any, slots: SimpleNamespace, c: tuple[Any, ...]
    ) -> tuple[Any, dict[str, Any]]:
        velocity = 0.9 * slots.velocity + grad
        return velocity * c[0], {"velocity": velocity}


@final
class RMSprop(Optimizer):
    name = "rmsprop"
    label = "RMSprop"
    summary = "Divides by a running root mean square of each element's gradient (decay 0.99)."
    slots = ("square",)

    def coefficients(self, learning_rate: float, step: int) -> tuple[float, ...]:
        return (-learning_rate,)

    def update(
        self, ops: Ops, grad: Any, slots: SimpleNamespace, c: tuple[Any, ...]
    ) -> tuple[Any, dict[str, Any]]:
        square = 0.99 * slots.square + 0.01 * (grad * grad)
        return grad * c[0] / (ops.sqrt(square) + 1e-8), {"square": square}


@final
class Adam(Optimizer):
    name = "adam"
    label = "Adam"
    summary = "Running mean over running root mean square (0.9, 0.999). Rescaling gradients mostly cancels."
    slots = ("mean", "square")

    def coefficients(self, learning_rate: float, step: int) -> tuple[float, ...]:
        return -learning_rate / (1.0 - 0.9**step), 1.0 / (1.0 - 0.999**step) ** 0.5

    def update(
        self, ops: Ops, grad: Any, slots: SimpleNamespace, c: tuple[Any, ...]
    ) -> tuple[Any, dict[str, Any]]:
        mean = slots.mean + 0.1 * (grad - slots.mean)
        square = 0.999 * slots.square + 0.001 * (grad * grad)
        return mean * c[0] / (ops.sqrt(square) * c[1] + 1e-8), {"mean": mean, "square": square}


OPTIMIZERS: dict[str, Optimizer] = {rule.name: rule for rule in (Adam(), SGD(), Momentum(), RMSprop())}
