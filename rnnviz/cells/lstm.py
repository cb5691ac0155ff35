"""The LSTM family: an additive memory c_t behind gates.

In the backward pass grad = (dL/dh_t, dL/dc_t as far as it comes from c_{t+1}); grad_c is the total
derivative dL/dc_t, which adds the path through h_t. sigma' = s (1 - s), tanh' = 1 - g^2.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

from .cell import Arrays, OneProductCell, Step


class _LSTM(OneProductCell):
    family: ClassVar[Literal["plain", "lstm", "gru"]] = "lstm"
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    forget_gate: ClassVar[str | None] = "f"


@final
class LSTM(_LSTM):
    name = "lstm"
    label = "LSTM"
    summary = "Adds to a memory instead of overwriting it: forget gate 1 keeps, 0 erases."
    source = "Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000"
    gates = ("i", "f", "g", "o")
    activations = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    products = (("i", "f", "g", "o"),)
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

    def pointwise(
        self, ops: Any, a_x: Arrays, a_h: Arrays, before: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays]:
        _, c_before = before
        i = ops.sigmoid(a_x[0] + a_h[0])
        f = ops.sigmoid(a_x[1] + a_h[1])
        g = ops.tanh(a_x[2] + a_h[2])
        o = ops.sigmoid(a_x[3] + a_h[3])
        c = f * c_before + i * g
        tanh_c = ops.tanh(c)
        return (o * tanh_c, c), (i, f, g, o), (tanh_c,)

    def pointwise_backward(
        self, step: Step, grad: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, Arrays]:
        (i, f, g, o), (tanh_c,), (_, c_before) = step.gates, step.saved, step.before
        grad_h, grad_c = grad
        grad_c = grad_c + grad_h * o * (1.0 - tanh_c * tanh_c)
        grad_a = (
            grad_c * g * i * (1.0 - i),
            grad_c * c_before * f * (1.0 - f),
            grad_c * i * (1.0 - g * g),
            grad_h * tanh_c * o * (1.0 - o),
        )
        return grad_a, grad_a, (None, grad_c * f), (), (grad_h, grad_c)


@final
class LSTMPeephole(_LSTM):
    name = "lstm_peephole"
    label = "LSTM with peepholes"
    summary = "The gates also see the memory: input and forget gate the old c, the output gate the new one."
    source = "Gers & Schmidhuber, Recurrent nets that time and count, 2000"
    gates = ("i", "f", "g", "o")
    activations = ("sigmoid", "sigmoid", "tanh", "sigmoid")
    products = (("i", "f", "g", "o"),)
    peepholes = ("i", "f", "o")
    equations = (
        r"i_t = \sigma(W_{ii} x_t + b_{ii} + W_{hi} h_{t-1} + b_{hi} + p_i \odot c_{t-1})",
        r"f_t = \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf} + p_f \odot c_{t-1})",
        r"g_t = \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})",
        r"c_t = f_t \odot c_{t-1} + i_t \odot g_t",
        r"o_t = \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho} + p_o \odot c_t)",
        r"h_t = o_t \odot \tanh(c_t)",
    )
    color = "#648ade"

    def pointwise(
        self, ops: Any, a_x: Arrays, a_h: Arrays, before: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays]:
        _, c_before = before
        p_i, p_f, p_o = peephole
        i = ops.sigmoid(a_x[0] + a_h[0] + p_i * c_before)
        f = ops.sigmoid(a_x[1] + a_h[1] + p_f * c_before)
        g = ops.tanh(a_x[2] + a_h[2])
        c = f * c_before + i * g
        o = ops.sigmoid(a_x[3] + a_h[3] + p_o * c)
        tanh_c = ops.tanh(c)
        return (o * tanh_c, c), (i, f, g, o), (tanh_c,)

    def pointwise_backward(
        self, step: Step, grad: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, Arrays]:
        (i, f, g, o), (tanh_c,), (_, c_before), (_, c) = step.gates, step.saved, step.before, step.state
        p_i, p_f, p_o = peephole
        grad_h, grad_c = grad
        grad_a_o = grad_h * tanh_c * o * (1.0 - o)
        grad_c = grad_c + grad_h * o * (1.0 - tanh_c * tanh_c) + grad_a_o * p_o
        grad_a_i = grad_c * g * i * (1.0 - i)
        grad_a_f = grad_c * c_before * f * (1.0 - f)
        grad_a_g = grad_c * i * (1.0 - g * g)
        grad_a = (grad_a_i, grad_a_f, grad_a_g, grad_a_o)
        grad_c_before = grad_c * f + grad_a_i * p_i + grad_a_f * p_f
        grad_peephole = (grad_a_i * c_before, grad_a_f * c_before, grad_a_o * c)
        return grad_a, grad_a, (None, grad_c_before), grad_peephole, (grad_h, grad_c)


@final
class LSTMCoupled(_LSTM):
    name = "lstm_coupled"
    label = "LSTM, coupled gates"
    summary = "Writes exactly as much as it forgets, i = 1 - f: a quarter fewer weights."
    source = "Greff et al., LSTM: A search space odyssey, 2017 (CIFG)"
    gates = ("f", "g", "o")
    activations = ("sigmoid", "tanh", "sigmoid")
    products = (("f", "g", "o"),)
    equations = (
        r"f_t = \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1} + b_{hf})",
        r"g_t = \tanh(W_{ig} x_t + b_{ig} + W_{hg} h_{t-1} + b_{hg})",
        r"o_t = \sigma(W_{io} x_t + b_{io} + W_{ho} h_{t-1} + b_{ho})",
        r"c_t = f_t \odot c_{t-1} + (1 - f_t) \odot g_t",
        r"h_t = o_t \odot \tanh(c_t)",
    )
    color = "#1f8fb5"

    def pointwise(
        self, ops: Any, a_x: Arrays, a_h: Arrays, before: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays]:
        _, c_before = before
        f = ops.sigmoid(a_x[0] + a_h[0])
        g = ops.tanh(a_x[1] + a_h[1])
        o = ops.sigmoid(a_x[2] + a_h[2])
        c = f * c_before + (1.0 - f) * g
        tanh_c = ops.tanh(c)
        return (o * tanh_c, c), (f, g, o), (tanh_c,)

    def pointwise_backward(
        self, step: Step, grad: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, Arrays]:
        (f, g, o), (tanh_c,), (_, c_before) = step.gates, step.saved, step.before
        grad_h, grad_c = grad
        grad_c = grad_c + grad_h * o * (1.0 - tanh_c * tanh_c)
        grad_a = (
            grad_c * (c_before - g) * f * (1.0 - f),
            grad_c * (1.0 - f) * (1.0 - g * g),
            grad_h * tanh_c * o * (1.0 - o),
        )
        return grad_a, grad_a, (None, grad_c * f), (), (grad_h, grad_c)
