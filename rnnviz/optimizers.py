"""First-order optimizers on one flat parameter vector, with PyTorch's formulas and constants.

Kept here rather than taken from torch.optim because a step of training must be resumable byte by byte from
plain arrays, and because one flat vector needs none of its per-parameter machinery. The tests hold each to
torch.optim. A rule updates `parameters` in place from `grad`; `slots` are its memory, vectors like the
parameters; `step` counts from 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final


class Optimizer(ABC):
    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    slots: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def update(
        self, parameters: Any, grad: Any, slots: dict[str, Any], learning_rate: float, step: int
    ) -> None:
        """Take one step in place."""


@final
class SGD(Optimizer):
    name = "sgd"
    label = "SGD"
    summary = "theta <- theta - lr g. The rule to see clipping with: the step is as long as the gradient."

    def update(
        self, parameters: Any, grad: Any, slots: dict[str, Any], learning_rate: float, step: int
    ) -> None:
        parameters.add_(grad, alpha=-learning_rate)


@final
class Momentum(Optimizer):
    name = "momentum"
    label = "SGD with momentum 0.9"
    summary = "v <- 0.9 v + g, theta <- theta - lr v."
    slots = ("velocity",)

    def update(
        self, parameters: Any, grad: Any, slots: dict[str, Any], learning_rate: float, step: int
    ) -> None:
        velocity = slots["velocity"].mul_(0.9).add_(grad)
        parameters.add_(velocity, alpha=-learning_rate)


@final
class RMSprop(Optimizer):
    name = "rmsprop"
    label = "RMSprop"
    summary = "Divides by a running root mean square of each element's gradient (decay 0.99)."
    slots = ("square",)

    def update(
        self, parameters: Any, grad: Any, slots: dict[str, Any], learning_rate: float, step: int
    ) -> None:
        square = slots["square"].mul_(0.99).addcmul_(grad, grad, value=0.01)
        parameters.addcdiv_(grad, square.sqrt().add_(1e-8), value=-learning_rate)


@final
class Adam(Optimizer):
    name = "adam"
    label = "Adam"
    summary = "Running mean over running root mean square (0.9, 0.999). Rescaling gradients mostly cancels."
    slots = ("mean", "square")

    def update(
        self, parameters: Any, grad: Any, slots: dict[str, Any], learning_rate: float, step: int
    ) -> None:
        mean = slots["mean"].lerp_(grad, 0.1)
        square = slots["square"].mul_(0.999).addcmul_(grad, grad, value=0.001)
        root = square.sqrt().div_((1.0 - 0.999**step) ** 0.5).add_(1e-8)
        parameters.addcdiv_(mean, root, value=-learning_rate / (1.0 - 0.9**step))


OPTIMIZERS: dict[str, Optimizer] = {rule.name: rule for rule in (Adam(), SGD(), Momentum(), RMSprop())}
