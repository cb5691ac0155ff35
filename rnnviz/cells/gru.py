"""Two of the three GRUs in use; mind which z is meant.

| | reset acts | new state | plain tanh RNN at |
|---|---|---|---|
| `gru` (PyTorch) | after the recurrent product | (1 - z) n + z h: z keeps | z = 0, r = 1 |
| `gru_chung` (Chung et al. 2014) | before it | (1 - z) h + z n: z writes | z = 1, r = 1 |
"""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import final

from .cell import Array, Cell, Ops, Product, StepGradient


@final
class GRU(Cell):
    name = "gru"
    label = "GRU"
    family = "gru"
    summary = "One gate keeps or overwrites (z = 1 keeps), one sets how much of the past the new value sees."
    source = "Cho et al. 2014, in PyTorch's form: the reset gate acts after the recurrent product"
    gates = ("r", "z", "n")
    activations = ("sigmoid", "sigmoid", "tanh")
    products = (Product("h", ("r", "z", "n")),)
    memory_gates = MappingProxyType({"z": 1})
    apart = ("n",)
    saved = ("a_hn",)
    equations = (
        r"r_t = \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr})",
        r"z_t = \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz})",
        r"n_t = \tanh(W_{in} x_t + b_{in} + r_t \odot (W_{hn} h_{t-1} + b_{hn}))",
        r"h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}",
    )
    torch_module = ("GRU", {})
    color = "#15803d"

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        a_r, a_z, a_hn = ops.product(0, before.h)
        r, z = ops.sigmoid(a_r), ops.sigmoid(a_z)
        n = ops.tanh(ops.input("n") + r * a_hn)
        return {"h": (1.0 - z) * n + z * before.h, "r": r, "z": z, "n": n, "a_hn": a_hn}

    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        r, z, n = now.r, now.z, now.n
        grad_a_n = grad.h * (1.0 - z) * (1.0 - n * n)
        grad_a_r = grad_a_n * now.a_hn * r * (1.0 - r)
        grad_a_z = grad.h * (before.h - n) * z * (1.0 - z)
        grad_a_hn = grad_a_n * r
        return StepGradient(
            total={"h": grad.h},
            before={"h": ops.product_backward(0, (grad_a_r, grad_a_z, grad_a_hn)) + grad.h * z},
            a={"r": grad_a_r, "z": grad_a_z, "n": grad_a_n},
            apart={"n": grad_a_hn},
        )


@final
class GRUChung(Cell):
    name = "gru_chung"
    label = "GRU (Chung)"
    family = "gru"
    summary = "The GRU of the lecture notes: reset before the product, and z = 1 writes (PyTorch's z keeps)."
    source = "Chung et al., Empirical evaluation of gated recurrent neural networks, 2014"
    gates = ("r", "z", "n")
    activations = ("sigmoid", "sigmoid", "tanh")
    products = (Product("h", ("r", "z")), Product("rh", ("n",)))
    memory_gates = MappingProxyType({"z": -1})
    saved = ("rh",)
    equations = (
        r"r_t = \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr})",
        r"z_t = \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz})",
        r"n_t = \tanh(W_{in} x_t + b_{in} + W_{hn} (r_t \odot h_{t-1}) + b_{hn})",
        r"h_t = (1 - z_t) \odot h_{t-1} + z_t \odot n_t",
    )
    color = "#4d9e2f"

    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        a_r, a_z = ops.product(0, before.h)
        r, z = ops.sigmoid(a_r), ops.sigmoid(a_z)
        rh = r * before.h
        (a_n,) = ops.product(1, rh)
        n = ops.tanh(a_n)
        return {"h": (1.0 - z) * before.h + z * n, "r": r, "z": z, "n": n, "rh": rh}

    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        r, z, n = now.r, now.z, now.n
        grad_a_n = grad.h * z * (1.0 - n * n)
        grad_a_z = grad.h * (n - before.h) * z * (1.0 - z)
        grad_rh = ops.product_backward(1, (grad_a_n,))
        grad_a_r = grad_rh * before.h * r * (1.0 - r)
        kept = grad.h * (1.0 - z) + grad_rh * r
        return StepGradient(
            total={"h": grad.h},
            before={"h": ops.product_backward(0, (grad_a_r, grad_a_z)) + kept},
            a={"r": grad_a_r, "z": grad_a_z, "n": grad_a_n},
        )
