"""Two of the three GRUs in use; mind which z is meant.

| | reset acts | new state | plain tanh RNN at |
|---|---|---|---|
| `gru` (PyTorch) | after the recurrent product | (1 - z) n + z h: z keeps | z = 0, r = 1 |
| `gru_chung` (Chung et al. 2014) | before it | (1 - z) h + z n: z writes | z = 1, r = 1 |
"""

from __future__ import annotations

from typing import Any, final

from .cell import Array, Arrays, Cell, CellWeights, OneProductCell, Step, StepGradient, blocks, join


@final
class GRU(OneProductCell):
    name = "gru"
    label = "GRU"
    family = "gru"
    summary = "One gate keeps or overwrites (z = 1 keeps), one sets how much of the past the new value sees."
    source = "Cho et al. 2014, in PyTorch's form: the reset gate acts after the recurrent product"
    gates = ("r", "z", "n")
    activations = ("sigmoid", "sigmoid", "tanh")
    products = (("r", "z", "n"),)
    equations = (
        r"r_t = \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr})",
        r"z_t = \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz})",
        r"n_t = \tanh(W_{in} x_t + b_{in} + r_t \odot (W_{hn} h_{t-1} + b_{hn}))",
        r"h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}",
    )
    torch_module = ("GRU", {})
    color = "#15803d"

    def pointwise(
        self, ops: Any, a_x: Arrays, a_h: Arrays, before: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays]:
        (h_before,) = before
        r = ops.sigmoid(a_x[0] + a_h[0])
        z = ops.sigmoid(a_x[1] + a_h[1])
        a_hn = a_h[2]
        n = ops.tanh(a_x[2] + r * a_hn)
        return ((1.0 - z) * n + z * h_before,), (r, z, n), (a_hn,)

    def pointwise_backward(
        self, step: Step, grad: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, Arrays]:
        (r, z, n), (a_hn,), (h_before,) = step.gates, step.saved, step.before
        (grad_h,) = grad
        grad_a_n = grad_h * (1.0 - z) * (1.0 - n * n)
        grad_a_r = grad_a_n * a_hn * r * (1.0 - r)
        grad_a_z = grad_h * (h_before - n) * z * (1.0 - z)
        grad_a_x = (grad_a_r, grad_a_z, grad_a_n)
        grad_a_h = (grad_a_r, grad_a_z, grad_a_n * r)
        return grad_a_x, grad_a_h, (grad_h * z,), (), grad


@final
class GRUChung(Cell):
    name = "gru_chung"
    label = "GRU (Chung)"
    family = "gru"
    summary = "The GRU of the lecture notes: reset before the product, and z = 1 writes (PyTorch's z keeps)."
    source = "Chung et al., Empirical evaluation of gated recurrent neural networks, 2014"
    gates = ("r", "z", "n")
    activations = ("sigmoid", "sigmoid", "tanh")
    products = (("r", "z"), ("n",))
    equations = (
        r"r_t = \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr})",
        r"z_t = \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz})",
        r"n_t = \tanh(W_{in} x_t + b_{in} + W_{hn} (r_t \odot h_{t-1}) + b_{hn})",
        r"h_t = (1 - z_t) \odot h_{t-1} + z_t \odot n_t",
    )
    color = "#4d9e2f"

    # Elementwise, before and after the second product.
    def reset(self, ops: Any, a_r: Array, a_z: Array, h_before: Array) -> tuple[Array, Array, Array]:
        r = ops.sigmoid(a_r)
        return r, ops.sigmoid(a_z), r * h_before

    def write(self, ops: Any, a_n: Array, z: Array, h_before: Array) -> tuple[Array, Array]:
        n = ops.tanh(a_n)
        return n, (1.0 - z) * h_before + z * n

    def write_backward(
        self, grad_h: Array, z: Array, n: Array, h_before: Array
    ) -> tuple[Array, Array, Array]:
        """Gradients of a_n, a_z and, through the kept part, h_{t-1}."""
        return grad_h * z * (1.0 - n * n), grad_h * (n - h_before) * z * (1.0 - z), grad_h * (1.0 - z)

    def reset_backward(self, grad_rh: Array, r: Array, h_before: Array) -> tuple[Array, Array]:
        """Gradients of a_r and, through r * h, of h_{t-1}."""
        return grad_rh * h_before * r * (1.0 - r), grad_rh * r

    def forward(self, ops: Any, weights: CellWeights, a_x: Array, before: Arrays) -> Step:
        (h,) = before
        hidden = h.shape[-1]
        a_xr, a_xz, a_xn = blocks(a_x, 3)
        W, b = weights.weight_hh, weights.bias_hh
        a_hr, a_hz = blocks(h @ W[: 2 * hidden].T + b[: 2 * hidden], 2)
        r, z, rh = self.reset(ops, a_xr + a_hr, a_xz + a_hz, h)
        a_hn = rh @ W[2 * hidden :].T + b[2 * hidden :]  # (B, H)
        n, h_after = self.write(ops, a_xn + a_hn, z, h)
        return Step(before, (h_after,), (r, z, n), (), (h, rh))

    def backward(
        self, ops: Any, weights: CellWeights, step: Step, grad: Arrays
    ) -> tuple[StepGradient, Arrays]:
        (r, z, n), (h,) = step.gates, step.before
        hidden = h.shape[-1]
        W = weights.weight_hh
        grad_a_n, grad_a_z, kept = self.write_backward(grad[0], z, n, h)
        grad_a_r, through_rh = self.reset_backward(grad_a_n @ W[2 * hidden :], r, h)
        grad_a = join(ops, (grad_a_r, grad_a_z, grad_a_n))
        grad_h = kept + through_rh + grad_a[:, : 2 * hidden] @ W[: 2 * hidden]
        return StepGradient((grad_h,), grad_a, grad_a, ()), grad
