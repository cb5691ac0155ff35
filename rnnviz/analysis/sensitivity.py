"""What a network's answer hears of each input: how much its outputs change with what was read at each step.

The measure is the Frobenius norm of dy/dx_t, y being the outputs at one step that has an answer (for classes
the logits) and x_t the input of one step. It is exact, through all layers, directions and time steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..experiment import step_memory
from ..network import Network
from ..step import dropout_masks, repeatable
from .moment import Moment

SEQUENCES = 16  # over which the mean is taken, the first of the batch,
MOST_ROWS = 512  # but so many that with a copy for each output they are no more than this,
MOST_BYTES = 1 << 29  # nor take more bytes all together, which is a second or two;
PIECE_BYTES = 1 << 27  # of these so many at a time
FLOOR = 0.01  # of the largest sensitivity: what is below is hardly heard


@dataclass(frozen=True)
class Sensitivity:
    """How much the outputs at one step change with each input.

    norm: (T,) float64, the Frobenius norm of dy/dx_t, the mean over `sequences` sequences; share: (T,) the
    same as shares of their sum, NaN where that is 0 or not finite; step: that of the answer, counted from 0.
    With an encoder and a decoder the decoder's steps follow the encoder's.
    """

    norm: np.ndarray
    share: np.ndarray
    sequences: int
    step: int


@dataclass(frozen=True)
class Memory:
    """How far back an answer still hears.

    first: the earliest step, counted from 0, whose input has at least FLOOR of the largest sensitivity; None
    where there is no sensitivity at all, or none that is finite.
    early: the part of the sum that lies in the first half of the sequence, before step T // 2; NaN where
    there is none.
    """

    first: int | None
    early: float


def sensitivity(moment: Moment, answer: int = -1) -> Sensitivity:
    """The sensitivity of one of the A answers, counted like elements of a list, over the step's own batch.

    With the dropout of that step. Raises ValueError for an answer that there is not.
    """
    network, e = moment.network, moment.experiment
    A = network.answered
    if not -A <= answer < A:
        raise ValueError(f"answer: got {answer}; allowed: {-A} to {A - 1}.")
    outs, row = len(network.parameters["out.weight"]), step_memory(e) // e.batch  # bytes of a sequence, about
    N = min(SEQUENCES, e.batch, max(1, MOST_ROWS // outs), max(1, MOST_BYTES // (outs * row)))
    most = max(1, min(MOST_ROWS, PIECE_BYTES // row))
    pairs = [(n, o) for n in range(N) for o in range(outs)]
    squares: list[Tensor] = []  # (T, n) each, of a sequence and an output
    with repeatable():
        # A network of its own: others may ask this one too, and its buffers are for one at a time.
        own = Network(e, network.flat, network.kernel)
        masks = dropout_masks(e, moment.step)
        for start in range(0, len(pairs), most):
            sequences, outputs = (list(each) for each in zip(*pairs[start : start + most], strict=True))
            squares.append(_squares(moment, own, masks, answer, sequences, outputs))
    joined = torch.cat(squares, 1)  # (T, N*O)
    T = len(joined)
    norm = joined.reshape(T, N, outs).sum(-1).sqrt().mean(-1).numpy()  # (T,)
    total = float(norm.sum())
    share = norm / total if 0 < total < math.inf else np.full(T, np.nan)
    return Sensitivity(norm, share, N, T - A + answer % A)


def _squares(
    moment: Moment,
    own: Network,
    masks: Sequence[Tensor],
    answer: int,
    sequences: list[int],
    outputs: list[int],
) -> Tensor:
    """(T, n) squared norms of dy_o/dx_t, for n pairs of a sequence and an output, each a copy of its own."""
    inputs, _ = own.tensors(moment.batch)
    passage = own.forward(inputs[:, sequences], [mask[:, sequences] for mask in masks])
    direct = own.parameters["out.weight"][outputs]  # (n, D*H)
    if own.readout == "every":
        terms = direct.new_zeros(own.answered, *direct.shape)
        terms[answer] = direct
        direct = terms
    passage.backward(direct, own.split(own.layout.views(torch.empty_like(own.flat))))
    parts = []
    for part, traces in enumerate(passage.traces):
        of_directions = [trace.grad_inputs(own.weights(0, d, part)) for d, trace in enumerate(traces[0])]
        parts.append(torch.stack(of_directions).sum(0))  # (T, n, I)
    return torch.cat(parts).double().square().sum(-1)


def memory(one: Sensitivity, floor: float = FLOOR) -> Memory:
    """How far back an answer still hears, as numbers for a sentence."""
    largest = one.norm.max()
    if not 0 < largest < math.inf:  # NaN is no number either
        return Memory(None, math.nan)
    first = int(np.argmax(one.norm >= floor * largest))
    return Memory(first, float(one.share[: len(one.norm) // 2].sum()))
