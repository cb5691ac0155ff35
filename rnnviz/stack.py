"""A stack of recurrent layers, each in one direction or in both, and the tape that records what it did.

Shapes: L layers, D directions, T time, B batch, I input, H hidden. As in PyTorch, a layer of two directions
hands the next one both states side by side, (T, B, 2H), forward first; dropout acts between layers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bptt import Layer, TorchLayer, Trace, Weights
from .cells import Cell
from .kernels import KERNELS
from .layout import suffix

#: States (B, H) by name, for each layer and direction.
States = Sequence[Sequence[Mapping[str, Tensor]]]


class Stack:
    """L layers of D directions of a cell, with H units each."""

    def __init__(
        self, cell: Cell, inputs: int, hidden: int, layers: int = 1, directions: int = 1,
        precision: str = "float32", kernel: str = "torch",
    ) -> None:  # fmt: skip
        self.cell, self.H, self.L, self.D = cell, hidden, layers, directions
        make = layer_of(kernel)
        self.layers: list[list[Layer]] = [
            [
                make(cell, inputs if k == 0 else directions * hidden, hidden, precision, bool(d))
                for d in range(directions)
            ]
            for k in range(layers)
        ]

    def split(self, parameters: Mapping[str, Tensor]) -> list[list[Weights]]:
        """Parameters by PyTorch's names as weights by layer and direction, without the ends of the names."""
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        names += ["weight_peephole"] if self.cell.peepholes else []
        return [
            [{name: parameters[name + suffix(k, d)] for name in names} for d in range(self.D)]
            for k in range(self.L)
        ]

    def forward(
        self, weights: Sequence[Sequence[Weights]], inputs: Tensor, masks: Sequence[Tensor] = (),
        keep: frozenset[str] | None = None, keep_last: frozenset[str] | None = None,
        initial: States | None = None,
    ) -> Passage:  # fmt: skip
        """Run over inputs (T, B, I) from states of zero, or from `initial`, by layer and direction.

        weights: as `split` gives them; masks: what the outputs of each layer but the last are multiplied
        with, (T, B, D*H) each, for dropout; keep: see `bptt.Layer.forward`, for all layers; the last layer
        keeps `keep_last` where that is given.
        """
        traces: list[list[Trace]] = []
        for k, directions in enumerate(self.layers):
            last = k == self.L - 1
            names = keep if keep is None or not last or keep_last is None else keep_last
            if not last and names is not None:
                names |= {"h"}
            first = [None] * len(directions) if initial is None else initial[k]
            own = zip(directions, weights[k], first, strict=True)
            traces.append([layer.forward(w, inputs, begin, keep=names) for layer, w, begin in own])
            if not last:
                inputs = _side_by_side([trace.values["h"] for trace in traces[-1]])
                if masks:
                    inputs = inputs * masks[k]
        return Passage(self, weights, traces, masks)


@dataclass
class Passage:
    """What a stack did with a batch: a trace for each layer and direction."""

    stack: Stack
    weights: Sequence[Sequence[Weights]]
    traces: list[list[Trace]]
    masks: Sequence[Tensor] = ()

    def outputs(self) -> Tensor:
        """h_t of the last layer: (T, B, D*H)."""
        return _side_by_side([trace.values["h"] for trace in self.traces[-1]])

    def last(self) -> Tensor:
        """h of the last layer after all that was read, (B, D*H): for the direction backward that is t = 1."""
        return _side_by_side([trace.values["h"][0 if d else -1] for d, trace in enumerate(self.traces[-1])])

    def final(self) -> States:
        """The states after the last step that was read, by layer and direction."""
        states = self.stack.cell.states
        return [
            [{name: trace.values[name][0 if d else -1] for name in states} for d, trace in enumerate(traces)]
            for traces in self.traces
        ]

    def backward(
        self, grad_outputs: Tensor | None, grad: Sequence[Sequence[Weights]], last: States | None = None,
        limit: float | None = None,
    ) -> Tape:  # fmt: skip
        """From the direct terms of the loss, (T, B, D*H) or for the last states alone (B, D*H); None is 0.

        Where there are fewer than T time steps, they are the last ones, and the others have none.

        The gradients of the weights are written into `grad`, which is split like the weights. last: what the
        loss makes of the states in which each layer ended, where others have gone on from them. limit: see
        `bptt.Trace.backward`.
        """
        H = self.stack.H
        terms = grad_outputs
        if terms is not None and terms.dim() == 3:
            terms = self._whole(terms)
        elif terms is not None and limit is not None:
            terms = self._at_last_step(terms)  # the loss's own term is not handed back in time, so not cut
        for k in range(self.stack.L - 1, -1, -1):
            below = None
            for d, trace in enumerate(self.traces[k]):
                own = terms[..., d * H : (d + 1) * H] if terms is not None and self.stack.D > 1 else terms
                weights = self.weights[k][d]
                ends = dict(last[k][d]) if last is not None else {}
                if own is not None and own.dim() == 2:
                    ends["h"] = ends["h"] + own if "h" in ends else own
                    own = None
                trace.backward(weights, grad[k][d], direct=own, last=ends, limit=limit)
                if k:
                    share = trace.grad_inputs(weights)
                    below = share if below is None else below + share
            if below is not None:
                terms = below * self.masks[k - 1] if self.masks else below
        return Tape(self.stack.cell, self.traces)

    def grad_initial(self) -> States:
        """After `backward`: the gradients of the states before the first step, by layer and direction."""
        return [[trace.grad_initial for trace in traces] for traces in self.traces]

    def _whole(self, terms: Tensor) -> Tensor:
        """Terms of the last steps as those of all."""
        missing = len(self.traces[0][0].inputs) - len(terms)
        return torch.cat([terms.new_zeros(missing, *terms.shape[1:]), terms]) if missing else terms

    def _at_last_step(self, terms: Tensor) -> Tensor:
        """Terms of the last states (B, D*H) among those of all time steps, (T, B, D*H)."""
        H, inputs = self.stack.H, self.traces[0][0].inputs
        whole = terms.new_zeros(*inputs.shape[:2], terms.shape[-1])
        whole[-1, :, :H] = terms[:, :H]
        whole[0, :, H:] += terms[:, H:]
        return whole

    def backward_truncated(
        self, grad_outputs: Tensor, grad: Sequence[Sequence[Weights]], every: int, through: int
    ) -> Tape:
        """Truncated backpropagation through time: after each `every` steps, back through at most `through`.

        Each stretch of `every` steps has the loss terms that arose in it, and its way back ends `through`
        steps before the stretch's end, or at the beginning (Williams & Peng 1990, their BPTT(h; h')). What
        the ways back give is added up, in `grad` and in the tape's totals. For layers that read forward.
        """
        T = len(self.traces[0][0].inputs)
        at_end = grad_outputs.dim() == 2
        grad_outputs = self._at_last_step(grad_outputs) if at_end else self._whole(grad_outputs)
        states = self.stack.cell.states
        totals = [
            {name: torch.zeros_like(traces[0].values["h"]) for name in states} for traces in self.traces
        ]
        for tensors in grad:
            for tensor in tensors[0].values():
                tensor.zero_()
        scratch = [{name: torch.empty_like(w) for name, w in tensors[0].items()} for tensors in grad]
        for start in range(0, T, every):
            end = min(start + every, T)
            span = first, _ = max(0, end - through), end
            if not grad_outputs[start:end].any():
                continue
            terms = grad_outputs.new_zeros(end - first, *grad_outputs.shape[1:])
            terms[start - first :] = grad_outputs[start:end]
            for k in range(self.stack.L - 1, -1, -1):
                trace, weights = self.traces[k][0], self.weights[k][0]
                trace.backward(weights, scratch[k], direct=terms, span=span)
                for name, tensor in grad[k][0].items():
                    tensor.add_(scratch[k][name])
                for name in states:
                    totals[k][name][first:end] += trace.total[name][first:end]
                if k:
                    terms = trace.grad_inputs(weights, span)
                    terms = terms * self.masks[k - 1][first:end] if self.masks else terms
        return Tape(
            self.stack.cell,
            [[Summed(t[0].values, total)] for t, total in zip(self.traces, totals, strict=True)],
        )


@dataclass(frozen=True)
class Summed:
    """Values of a trace, and totals that were added up from several ways back."""

    values: Mapping[str, Tensor]
    total: Mapping[str, Tensor]

    def grad_norms(self, name: str) -> np.ndarray:
        """See `bptt.Trace`."""
        norms: np.ndarray = self.total[name].double().norm(dim=-1).mean(-1).numpy()
        return norms


@dataclass(frozen=True)
class Tape:
    """One pass forward and backward through time: every state, every gate, and what the loss makes of them.

    The gradients are total derivatives through the recurrence, and through the layers above. Arrays are
    (L, D, T, B, H): layers, directions, time in the order of the sequence, batch, units.
    """

    cell: Cell
    traces: Sequence[Sequence[Any]]  # by layer and direction; each has `values` and `total`

    @cached_property
    def hidden(self) -> Tensor:
        """h_t: (L, D, T, B, H)."""
        return self._values("h")

    @cached_property
    def grad_hidden(self) -> Tensor:
        """dL/dh_t: (L, D, T, B, H)."""
        return self._totals("h")

    @cached_property
    def cell_state(self) -> Tensor | None:
        """c_t: (L, D, T, B, H), or None for a cell without a memory."""
        return self._values("c") if "c" in self.cell.states else None

    @cached_property
    def grad_cell_state(self) -> Tensor | None:
        """dL/dc_t, the path through h_t included: (L, D, T, B, H), or None."""
        return self._totals("c") if "c" in self.cell.states else None

    @cached_property
    def gates(self) -> dict[str, Tensor]:
        """Activated values of each gate, candidates included: name to (L, D, T, B, H)."""
        return {gate: self._values(gate) for gate in self.cell.gates}

    def grad_norms(self, state: str) -> np.ndarray:
        """(L, D, T): the Euclidean norm of dL/ds_t over the units, averaged over the batch, in float64."""
        return np.array([[trace.grad_norms(state) for trace in traces] for traces in self.traces])

    def _values(self, name: str) -> Tensor:
        return torch.stack([torch.stack([trace.values[name] for trace in traces]) for traces in self.traces])

    def _totals(self, name: str) -> Tensor:
        return torch.stack([torch.stack([trace.total[name] for trace in traces]) for traces in self.traces])


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)


def layer_of(kernel: str) -> Callable[..., Layer]:
    """What makes a layer of this kernel."""
    if kernel == "torch":
        return TorchLayer
    if kernel == "compiled":
        from .kernels.layer import CompiledLayer

        return CompiledLayer
    raise ValueError(f"kernel: got {kernel!r}; allowed: {', '.join(KERNELS)}.")
