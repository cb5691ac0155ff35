"""Products of step Jacobians, P_{t,k} = J_t J_{t-1} ... J_{k+1} = ds_t/ds_k, and how much they stretch.

Such products leave the range of float64 within some hundred steps, so each is kept as a matrix of moderate
size and a power of two apart; whole powers of two change no digit. All columns k go on together: one product
of matrices a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 1e60  # norms are kept between this and its inverse: far from where squares leave float64
LARGEST_STEP = 1e30  # and what one step does to them below this


class Products(NamedTuple):
    """ds_t/ds_k at one time t, for the columns k up to t: 2^exponent times a matrix."""

    t: int
    matrices: Tensor  # (S, n, S) float64: [:, i] is that of the i-th column, rows are s_t
    norm: Tensor  # (n,) Frobenius norms of these matrices
    squares: Tensor  # (parts, parts, n) sums of squares of their blocks, rows by s_t, columns by s_k
    exponent: Tensor  # (n,) float64, whole numbers


@torch.no_grad()
def products(jacobians: Tensor, columns: Sequence[int], parts: int = 1) -> Iterator[Products]:
    """P_{t,k} for k in `columns`, ascending, at each t from the first column on.

    jacobians: (T, S, S) float64, J_t = ds_t/ds_{t-1}; J_0 is not used. A Jacobian that is not finite makes
    all products with it NaN. parts: how many states are joined. What is yielded is good until the next is
    asked for.
    """
    T, S, _ = jacobians.shape
    scaled, powers = _scaled(jacobians)
    H = _elementwise(jacobians[columns[0] + 1 :])
    memory = scaled.reshape(T, 2, -1, S)[..., S - H :].diagonal(dim1=2, dim2=3) if H else None  # (T, 2, H)
    # One long row for each state: what one product of matrices gives is what the next one takes.
    kept = torch.empty(3, S, len(columns) * S, dtype=torch.float64)
    exponent = torch.zeros(len(columns), dtype=torch.float64)
    unit = torch.eye(S, dtype=torch.float64)
    n = 0
    for t in range(columns[0], T):
        old, new = kept[t % 2, :, : n * S], kept[1 - t % 2, :, : n * S]
        if n:
            if memory is None:
                torch.mm(scaled[t], old, out=new)
            else:
                torch.mul(old[H:], memory[t][:, :, None], out=new.view(2, H, -1))
                new.addmm_(scaled[t, :, :H], old[:H])
            exponent[:n] += powers[t]
        if n < len(columns) and columns[n] == t:
            n += 1
            new = kept[1 - t % 2, :, : n * S]
            new[:, -S:] = unit
        matrices = new.view(S, n, S)
        squares = _squares(torch.mul(new, new, out=kept[2, :, : n * S]), parts)
        norm = squares.sum((0, 1)).sqrt()
        if not (float(norm.min()) > 1 / LARGEST and float(norm.max()) < LARGEST):  # true where one is NaN
            _make_moderate(matrices, norm, squares, exponent)
        yield Products(t, matrices, norm, squares, exponent[:n].clone())


def _squares(elements: Tensor, parts: int) -> Tensor:
    """Squares of all elements, (S, n * S), to sums over each block, (parts, parts, n)."""
    S = len(elements)
    rows = elements.view(S, -1, S // parts).sum(-1)  # (S, n * parts)
    sums: Tensor = rows.view(parts, S // parts, -1, parts).sum(1).transpose(1, 2)
    return sums


def _scaled(jacobians: Tensor) -> tuple[Tensor, list[int]]:
    """The Jacobians with elements of moderate size, and the powers of two that are missing."""
    largest = jacobians.abs().amax((1, 2))  # (T,)
    moderate = (largest == 0) | ((largest > 1 / LARGEST_STEP) & (largest < LARGEST_STEP))
    if bool(moderate.all()):
        return jacobians, [0] * len(jacobians)
    scaled, powers = jacobians.clone(), [0] * len(jacobians)
    for t in torch.nonzero(~moderate).flatten().tolist():
        if math.isfinite(float(largest[t])):
            powers[t] = math.frexp(float(largest[t]))[1]
            _shift(scaled[t], -powers[t])
        else:
            scaled[t] = torch.nan
    return scaled, powers


def _shift(values: Tensor, power: int) -> None:
    """Times 2^power, in two halves: the inverse of the smallest number is no number any more."""
    half = power // 2
    values.mul_(2.0**half).mul_(2.0 ** (power - half))


def _elementwise(jacobians: Tensor) -> int:
    """H if the second half of the states, of which there are 2 H, passes on unit by unit, as a memory does.

    Otherwise 0. It saves half the work: ds_t/dc_{t-1} is two diagonals then.
    """
    S = jacobians.shape[-1]
    if S % 2:
        return 0
    blocks = jacobians[:, :, S // 2 :].nan_to_num(nan=0.0).reshape(-1, 2, S // 2, S // 2)  # (N, 2, H, H)
    diagonals = blocks.diagonal(dim1=2, dim2=3)
    return S // 2 if int(blocks.count_nonzero()) == int(diagonals.count_nonzero()) else 0


def _make_moderate(matrices: Tensor, norm: Tensor, squares: Tensor, exponent: Tensor) -> None:
    """Shift powers of two between the products and their exponents where they left the range."""
    for i in torch.nonzero((norm <= 1 / LARGEST) | (norm >= LARGEST)).flatten().tolist():
        block = matrices[:, i]
        largest = float(block.abs().max())  # the norm itself may have lost its digits
        if largest > 0:
            power = math.frexp(largest)[1]
            _shift(block, -power)
            exponent[i] += power
            squares[:, :, i] = _squares(block.square(), len(squares))[:, :, 0]
            norm[i] = squares[:, :, i].sum().sqrt()
