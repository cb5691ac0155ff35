"""Pascanu, Mikolov & Bengio's regulariser Omega, which keeps gradients from vanishing on their way back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .bptt import TorchOps, Trace
from .cells import Cell
from .cells.plain import PlainCell


def omega(cell: Cell, weight_hh: Tensor, trace: Trace) -> tuple[float, Tensor]:
    """The regulariser of one layer in one direction, and its gradient (H, H), both in float64.

    Pascanu, Mikolov & Bengio 2013, eq. 9 and 10, with x_k their name for our pre-activation a_k, and the mean
    over the batch:

        Omega = sum_k ( |v W phi'(a_k)| / |v| - 1 )^2,  v = dL/da_{k+1},

    0 where each step back keeps the gradient's length. As in their paper v and a_k are taken as given, so
    that the gradient is the direct one through W alone. (Their code squares the norms; the paper does not.)
    Steps where v or the product is 0 have no ratio, and do not count; NaN where none does. For plain cells,
    which have one slope; the trace has run backward.
    """
    assert isinstance(cell, PlainCell)
    W = weight_hh.double()
    v = trace.grad_a(cell.gates[0], recurrent=True).double()  # (T, B, H)
    h = trace.values["h"]
    slope = cell.through(TorchOps(cell, {"weight_hh": weight_hh}), h, torch.ones_like(h)).double()
    later, earlier = (slice(0, -1), slice(1, None)) if trace.reverse else (slice(1, None), slice(0, -1))
    v, slope = v[later], slope[earlier]
    back = (v @ W) * slope
    before, after = v.norm(dim=-1, keepdim=True), back.norm(dim=-1, keepdim=True)
    counts = ~((before == 0) | (after == 0))  # what is no number counts, and shows
    away = torch.where(counts, after / before - 1, 0.0)
    B = v.shape[1]
    # d away^2 / dW = 2 away / |v| * (back / |back|) d back / dW, and back_j = sum_i v_i W_ij slope_j.
    to, fro = torch.where(counts, v / before, 0.0), torch.where(counts, back / after, 0.0)
    grad = (2 * away * to).flatten(0, 1).T @ (fro * slope).flatten(0, 1) / B
    return float(away.square().sum()) / B if bool(counts.any()) else math.nan, grad
