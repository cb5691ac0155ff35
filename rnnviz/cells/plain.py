from __future__ import annotations

from abc import abstractmethod
from types import SimpleNamespace
from typing import ClassVar, Literal, final

from .cell import Array, Cell, Ops, Product, StepGradient


class PlainCell(Cell):
    """What the four share; each names its phi and how a gradient passes through it."""

    family: ClassVar[Literal["plain", "lstm", "gru"]] = "plain"
    source: ClassVar[str] = "Elman, Finding structure in time, Cognitive Science 14, 1990"
    gates: ClassVar[tuple[str, ...]] = ("h",)
    products: ClassVar[tuple[Product, ...]] = (Product("h", ("h",)),)

    @abstractmethod
    def phi(self, ops: Ops, a: Array) -> Array:
        """The nonlinearity, elementwise."""

    @abstractmethod
    def through(self, ops: Ops, h: Array, grad: Array) -> Array:
        """phi'(a) * grad, written in terms of h = phi(a)."""

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        (a,) = ops.product(0, before.h)
        return {"h": self.phi(ops, a)}

    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        grad_a = self.through(ops, now.h, grad.h)
        return StepGradient({"h": grad.h}, {"h": ops.product_backward(0, (grad_a,))}, {"h": grad_a})


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

    def phi(self, ops: Ops, a: Array) -> Array:
        return ops.tanh(a)

    def through(self, ops: Ops, h: Array, grad: Array) -> Array:
        return grad * (1.0 - h * h)


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

    def phi(self, ops: Ops, a: Array) -> Array:
        return ops.relu(a)

    def through(self, ops: Ops, h: Array, grad: Array) -> Array:
        return ops.where_positive(h, grad)  # slope 0 at the kink, as PyTorch has it


@final
class Sigmoid(PlainCell):
    name = "sigmoid"
    label = "Plain RNN (sigmoid)"
    summary = "The sigmoid's slope is at most 1/4, so gradients shrink at least fourfold a step at |W| = 1."
    activations = ("sigmoid",)
    equations = (r"h_t = \sigma(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})",)
    largest_slope = 0.25
    color = "#b08118"

    def phi(self, ops: Ops, a: Array) -> Array:
        return ops.sigmoid(a)

    def through(self, ops: Ops, h: Array, grad: Array) -> Array:
        return grad * (h * (1.0 - h))


@final
class Linear(PlainCell):
    name = "linear"
    label = "Linear RNN"
    summary = "No nonlinearity: the gradient through time is exactly a power of W_hh."
    activations = ("linear",)
    equations = (r"h_t = W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}",)
    largest_slope = 1.0
    color = "#a8746a"

    def phi(self, ops: Ops, a: Array) -> Array:
        return a

    def through(self, ops: Ops, h: Array, grad: Array) -> Array:
        return grad
