"""Plain (Elman) recurrent networks: h_t = phi(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

Elman, "Finding structure in time" (1990); the two biases are PyTorch's. They differ in phi alone, whose
derivative is written in terms of its value h.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal, final

from .cell import Array, Arrays, OneProductCell, Step


class PlainCell(OneProductCell):
    """What the four share; each names its phi and the slope of phi."""

    family: ClassVar[Literal["plain", "lstm", "gru"]] = "plain"
    source: ClassVar[str] = "Elman, Finding structure in time, Cognitive Science 14, 1990"
    gates: ClassVar[tuple[str, ...]] = ("h",)
    products: ClassVar[tuple[tuple[str, ...], ...]] = (("h",),)

    @abstractmethod
    def phi(self, ops: Any, a: Array) -> Array:
        """The nonlinearity, elementwise."""

    @abstractmethod
    def slope(self, h: Array) -> Array:
        """phi'(a), written in terms of h = phi(a)."""

    def pointwise(
        self, ops: Any, a_x: Arrays, a_h: Arrays, before: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays]:
        h = self.phi(ops, a_x[0] + a_h[0])
        return (h,), (h,), ()

    def pointwise_backward(
        self, step: Step, grad: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, Arrays]:
        grad_a = (grad[0] * self.slope(step.state[0]),)
        return grad_a, grad_a, (None,), (), grad


@final
class Tanh(PlainCell):
    name = "tanh"
    label = "Plain RNN (tanh)"
    summary = "One weight matrix carries everything forward; tanh keeps the state between -1 and 1."
    activations = ("tanh",)
    equations = (r"h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})",)
    torch_module = ("RNN", {"nonlinearity": "tanh"})
    largest_slope = 1.0
    color = "#d1622b"

    def phi(self, ops: Any, a: Array) -> Array:
        return ops.tanh(a)

    def slope(self, h: Array) -> Array:
        return 1.0 - h * h


@final
class Relu(PlainCell):
    name = "relu"
    label = "Plain RNN (ReLU)"
    summary = "Slope 1 where a unit is active and 0 where not: nothing bounds the state, so it may explode."
    activations = ("relu",)
    equations = (r"h_t = \max(0,\; W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})",)
    torch_module = ("RNN", {"nonlinearity": "relu"})
    largest_slope = 1.0
    color = "#bc4a33"

    def phi(self, ops: Any, a: Array) -> Array:
        return ops.relu(a)

    def slope(self, h: Array) -> Array:
        return h > 0  # 0 at the kink, as PyTorch has it


@final
class Sigmoid(PlainCell):
    name = "sigmoid"
    label = "Plain RNN (sigmoid)"
    summary = "The sigmoid's slope is at most 1/4, so gradients shrink at least fourfold a step at |W| = 1."
    activations = ("sigmoid",)
    equations = (r"h_t = \sigma(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})",)
    largest_slope = 0.25
    color = "#b08118"

    def phi(self, ops: Any, a: Array) -> Array:
        return ops.sigmoid(a)

    def slope(self, h: Array) -> Array:
        return h * (1.0 - h)


@final
class Linear(PlainCell):
    name = "linear"
    label = "Linear RNN"
    summary = "No nonlinearity: the gradient through time is exactly a power of W_hh."
    activations = ("linear",)
    equations = (r"h_t = W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}",)
    largest_slope = 1.0
    color = "#a8746a"

    def phi(self, ops: Any, a: Array) -> Array:
        return a

    def slope(self, h: Array) -> Array:
        return 1.0
