"""The two losses, with their gradients by hand.

Outputs y are (..., O); the loss is the mean over all leading axes (batch, and time steps where the task has
a target at every one), so the gradient carries that mean's factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def mse(y: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """Squared error summed over the O outputs, L = mean (y - target)^2; target as y. Returns L and dL/dy."""
    count = math.prod(y.shape[:-1])
    with np.errstate(over="ignore", invalid="ignore"):  # a loss beyond all numbers says so itself
        difference = y.numpy() - target.numpy()  # NumPy is quicker on small arrays
        loss = float(np.square(difference).sum()) / count
        grad = difference * difference.dtype.type(2.0 / count)
    return loss, torch.from_numpy(grad)


def cross_entropy(y: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """L = mean -log softmax(y)[target] in nats; target (...,) of class numbers. Returns L and dL/dy."""
    log_p = torch.log_softmax(y, -1)
    index = target.unsqueeze(-1)
    count = target.numel()
    loss = -log_p.gather(-1, index).sum() / count
    grad = log_p.exp()
    grad.scatter_add_(-1, index, torch.full_like(index, -1, dtype=y.dtype))  # softmax - one-hot
    return float(loss), grad / count


LOSSES: dict[str, Callable[[Tensor, Tensor], tuple[float, Tensor]]] = {
    "mse": mse,
    "cross_entropy": cross_entropy,
}
