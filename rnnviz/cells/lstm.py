"""The LSTM family: an additive memory c_t behind gates.

In the backward pass grad.c is dL/dc_t as far as it comes from c_{t+1}; grad_c is the total derivative, which
adds the path through h_t. sigma' = s (1 - s), tanh' = 1 - g^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import ClassVar, Literal, final

from .cell import Array, Cell, Ops, Product, StepGradient


class _LSTM(Cell):
    family: ClassVar[Literal["plain", "lstm", "gru"]] = "lstm"
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    forget_gate: ClassVar[str | None] = "f"
    memory_gates: ClassVar[Mapping[str, int]] = MappingProxyType({"f": 1, "i": -1})
    saved: ClassVar[tuple[str, ...]] = ("tanh_c",)


@final
class LSTM(_LSTM):
    name = "lstm"
    label = "LSTM"
    summary = "Adds to a memory instead of overwriting it: forget gate 1 keeps, 0 erases."
    source = "Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000"
    gates = ("i", "f", "g", "o")
    activations = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    products = (Product("h", ("i", "f", "g", "o")),)
    equations = (
        r"i_t = \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi})",
        r"f_t = \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf})",
        r"g_t = \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})",
        r"o_t = \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho})",
        r"c_t = f_t \odot c_{t-1} + i_t \odot g_t",
        r"h_t = o_t \odot \tanh(c_t)",
    )
    torch_module = ("LSTM", {})
    color = "#2f6bd0"

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        a_i, a_f, a_g, a_o = ops.product(0, before.h)
        i, f, o = ops.sigmoid(a_i), ops.sigmoid(a_f), ops.sigmoid(a_o)
        g = ops.tanh(a_g)
        c = f * before.c + i * g
        tanh_c = ops.tanh(c)
        return {"h": o * tanh_c, "c": c, "i": i, "f": f, "g": g, "o": o, "tanh_c": tanh_c}

    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        i, f, g, o, tanh_c = now.i, now.f, now.g, now.o, now.tanh_c
        grad_c = grad.c + grad.h * o * (1.0 - tanh_c * tanh_c)
        grad_a_i = grad_c * g * i * (1.0 - i)
        grad_a_f = grad_c * before.c * f * (1.0 - f)
        grad_a_g = grad_c * i * (1.0 - g * g)
        grad_a_o = grad.h * tanh_c * o * (1.0 - o)
        return StepGradient(
            total={"h": grad.h, "c": grad_c},
            before={"h": ops.product_backward(0, (grad_a_i, grad_a_f, grad_a_g, grad_a_o)), "c": grad_c * f},
            a={"i": grad_a_i, "f": grad_a_f, "g": grad_a_g, "o": grad_a_o},
        )


@final
class LSTMPeephole(_LSTM):
    name = "lstm_peephole"
    label = "LSTM with peepholes"
    summary = "The gates also see the memory: input and forget gate the old c, the output gate the new one."
    source = "Gers & Schmidhuber, Recurrent nets that time and count, 2000"
    gates = ("i", "f", "g", "o")
    activations = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    products = (Product("h", ("i", "f", "g", "o")),)
    peepholes = MappingProxyType({"i": "before", "f": "before", "o": "now"})
    equations = (
        r"i_t = \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi} + p_i \odot c_{t-1})",
        r"f_t = \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf} + p_f \odot c_{t-1})",
        r"g_t = \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})",
        r"c_t = f_t \odot c_{t-1} + i_t \odot g_t",
        r"o_t = \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho} + p_o \odot c_t)",
        r"h_t = o_t \odot \tanh(c_t)",
    )
    color = "#648ade"

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        a_i, a_f, a_g, a_o = ops.product(0, before.h)
        i = ops.sigmoid(a_i + p.i * before.c)
        f = ops.sigmoid(a_f + p.f * before.c)
        g = ops.tanh(a_g)
        c = f * before.c + i * g
        o = ops.sigmoid(a_o + p.o * c)
        tanh_c = ops.tanh(c)
        return {"h": o * tanh_c, "c": c, "i": i, "f": f, "g": g, "o": o, "tanh_c": tanh_c}

    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        i, f, g, o, tanh_c = now.i, now.f, now.g, now.o, now.tanh_c
        grad_a_o = grad.h * tanh_c * o * (1.0 - o)
        grad_c = grad.c + grad.h * o * (1.0 - tanh_c * tanh_c) + grad_a_o * p.o
        grad_a_i = grad_c * g * i * (1.0 - i)
        grad_a_f = grad_c * before.c * f * (1.0 - f)
        grad_a_g = grad_c * i * (1.0 - g * g)
        grad_c_before = grad_c * f + grad_a_i * p.i + grad_a_f * p.f
        return StepGradient(
            total={"h": grad.h, "c": grad_c},
            before={
                "h": ops.product_backward(0, (grad_a_i, grad_a_f, grad_a_g, grad_a_o)),
                "c": grad_c_before,
            },
            a={"i": grad_a_i, "f": grad_a_f, "g": grad_a_g, "o": grad_a_o},
            peephole={"i": grad_a_i * before.c, "f": grad_a_f * before.c, "o": grad_a_o * now.c},
        )


@final
class LSTMCoupled(_LSTM):
    name = "lstm_coupled"
    label = "LSTM, coupled gates"
    summary = "Writes exactly as much as it forgets, i = 1 - f: a quarter fewer weights."
    source = "Greff et al., LSTM: A search space odyssey, 2017 (CIFG)"
    gates = ("f", "g", "o")
    activations = ("sigmoid", "tanh", "sigmoid")
    products = (Product("h", ("f", "g", "o")),)
    memory_gates = MappingProxyType({"f": 1})
    equations = (
        r"f_t = \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf})",
        r"g_t = \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})",
        r"o_t = \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho})",
        r"c_t = f_t \odot c_{t-1} + (1 - f_t) \odot g_t",
        r"h_t = o_t \odot \tanh(c_t)",
    )
    color = "#1f8fb5"

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        a_f, a_g, a_o = ops.product(0, before.h)
        f, o = ops.sigmoid(a_f), ops.sigmoid(a_o)
        g = ops.tanh(a_g)
        c = f * before.c + (1.0 - f) * g
        tanh_c = ops.tanh(c)
        return {"h": o * tanh_c, "c": c, "f": f, "g": g, "o": o, "tanh_c": tanh_c}

    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        f, g, o, tanh_c = now.f, now.g, now.o, now.tanh_c
        grad_c = grad.c + grad.h * o * (1.0 - tanh_c * tanh_c)
        grad_a_f = grad_c * (before.c - g) * f * (1.0 - f)
        grad_a_g = grad_c * (1.0 - f) * (1.0 - g * g)
        grad_a_o = grad.h * tanh_c * o * (1.0 - o)
        return StepGradient(
            total={"h": grad.h, "c": grad_c},
            before={"h": ops.product_backward(0, (grad_a_f, grad_a_g, grad_a_o)), "c": grad_c * f},
            a={"f": grad_a_f, "g": grad_a_g, "o": grad_a_o},
        )
