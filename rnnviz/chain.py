"""Stacks that read one sequence after the other: one alone, or an encoder and then a decoder.

Each begins with the states in which the one before ended, so that this is all that the decoder knows of what
the encoder read (Cho et al. 2014; Sutskever, Vinyals & Le 2014). Time counts on from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .bptt import Trace, Weights
from .stack import Passage, Stack, States, Tape

#: Of each stack, split by layer and direction.
ChainWeights = Sequence[Sequence[Sequence[Weights]]]


class Chain:
    """Stacks of one cell and one size."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = stacks

    def forward(
        self, weights: ChainWeights, inputs: Tensor, reads: Sequence[int], masks: Sequence[Tensor] = (),
        keep: frozenset[str] | None = None, keep_last: frozenset[str] | None = None,
    ) -> ChainPassage:  # fmt: skip
        """Run over inputs (T, B, I); each stack reads so many steps. See `Stack.forward` for the rest."""
        if len(self.stacks) == 1:
            only = self.stacks[0].forward(weights[0], inputs, masks, keep, keep_last)
            return ChainPassage([only])
        passages: list[Passage] = []
        initial: States | None = None
        start = 0
        for stack, own, piece in zip(self.stacks, weights, torch.split(inputs, list(reads)), strict=True):
            stop = start + len(piece)
            cut = [mask[start:stop] for mask in masks]
            # The states of a stack before the last are wanted for what follows, not for being read out.
            last = keep_last if stack is self.stacks[-1] else None
            passages.append(stack.forward(own, piece, cut, keep, last, initial))
            initial, start = passages[-1].final(), stop
        return ChainPassage(passages)


@dataclass
class ChainPassage:
    """What the stacks did with a batch, one after the other."""

    passages: Sequence[Passage]

    @property
    def traces(self) -> list[list[list[Trace]]]:
        """By stack, layer and direction."""
        return [passage.traces for passage in self.passages]

    def outputs(self) -> Tensor:
        """h_t of the last stack's last layer, at the steps that it read: (T, B, D*H)."""
        return self.passages[-1].outputs()

    def last(self) -> Tensor:
        """h of the last layer after all that was read: (B, D*H)."""
        return self.passages[-1].last()

    def backward(self, grad_outputs: Tensor, grad: ChainWeights, limit: float | None = None) -> Tape:
        """From the direct terms of the loss for `outputs` or `last`; see `Passage.backward`."""
        terms: Tensor | None = grad_outputs
        ends: States | None = None
        tapes = []
        for passage, own in zip(reversed(self.passages), reversed(grad), strict=True):
            tapes.append(passage.backward(terms, own, ends, limit))
            terms, ends = None, passage.grad_initial()
        return tapes[0] if len(tapes) == 1 else _joined(tapes[::-1])


def _joined(tapes: Sequence[Tape]) -> Tape:
    L, D = len(tapes[0].traces), len(tapes[0].traces[0])
    return Tape(
        tapes[0].cell, [[Joined([tape.traces[k][d] for tape in tapes]) for d in range(D)] for k in range(L)]
    )


class Joined:
    """Traces of one layer and direction, one after the other in time."""

    def __init__(self, parts: Sequence[Trace]) -> None:
        self.parts = parts

    @cached_property
    def values(self) -> Mapping[str, Tensor]:
        """See `bptt.Trace`."""
        return {name: torch.cat([p.values[name] for p in self.parts]) for name in self.parts[0].values}

    @cached_property
    def total(self) -> Mapping[str, Tensor]:
        """See `bptt.Trace`."""
        return {name: torch.cat([p.total[name] for p in self.parts]) for name in self.parts[0].total}

    def grad_norms(self, name: str) -> np.ndarray:
        """See `bptt.Trace`."""
        return np.concatenate([part.grad_norms(name) for part in self.parts])
