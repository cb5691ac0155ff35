"""The time ledger: what each step contributes to the gradient of a weight, and how far losses reach.

A weight is used at every step, so its gradient is a sum over time (Werbos 1990; Pascanu, Mikolov & Bengio
2013, eq. 3 to 5): dL/dW = sum_t (dL/da_t)^T operand_t. The terms of that sum are the shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..bptt import Trace
from ..cells import Cell
from ..layout import suffix
from ..network import Network, Pass
from ..step import repeatable
from ..tasks import Batch
from .moment import Moment

#: What has a ledger, for each layer and direction, by PyTorch's names.
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_peephole")
#: And once, of the output layer.
OUTPUT = ("out.weight", "out.bias")
MOST_NUMBERS = 1 << 21  # numbers of shares that are held at once: 16 MB


@dataclass(frozen=True)
class Ledger:
    """Each time step's share of a weight's gradient, in the order of the sequence.

    norm: (T,) Euclidean norm of the share; cosine: (T,) of the angle between the share and the whole, NaN for
    a share of zero; whole: the gradient that the shares add up to; first: time steps before the first of
    these, those of the encoder for a decoder's weights.
    """

    norm: np.ndarray
    cosine: np.ndarray
    whole: Tensor
    first: int = 0


def ledger(network: Network, batch: Batch, weight: str = "rnn.weight_hh_l0") -> Ledger:
    """The ledger of one weight, by its name in `Network.parameters`, for the loss of a batch.

    With an encoder and a decoder over the steps that the weight's own part reads; of the output layer over
    all steps.

    Raises ValueError for a weight that the network does not have.
    """
    stack = network.chain.stacks[0]
    places = [(n, k, d) for n in range(len(network.parts)) for k in range(stack.L) for d in range(stack.D)]
    known = {
        f"{network.parts[n]}.{name}{suffix(k, d)}": (name, n, k, d)
        for n, k, d in places
        for name in network.weights(k, d, n)
    }
    if weight not in known and weight not in OUTPUT:
        raise ValueError(f"weight: got {weight!r}; allowed: {', '.join((*known, *OUTPUT))}.")
    made = network.loss_and_gradient(batch)
    if weight in OUTPUT:
        return of_output(network, made, batch, weight)
    name, n, k, d = known[weight]
    return of_trace(network.cell, made.passage.traces[n][k][d], name)


def ledgers(moment: Moment, layer: int = 0, direction: int = 0, part: int = 0) -> dict[str, Ledger]:
    """The ledgers of weight_hh and weight_ih of one layer and direction, and of out.weight, by these names.

    Of the true gradient. `part` is 1 for a decoder; those of its weights, and of an encoder's, are over the
    steps that it reads, that of out.weight over all.
    """
    trace, cell = moment.trace(layer, direction, part), moment.network.cell
    with repeatable():
        before = sum(len(traces[0][0].inputs) for traces in moment.true.passage.traces[:part])
        found = {
            name: replace(of_trace(cell, trace, name), first=before) for name in ("weight_hh", "weight_ih")
        }
        return {**found, "out.weight": of_output(moment.network, moment.true, moment.batch)}


def of_trace(cell: Cell, trace: Trace, weight: str) -> Ledger:
    """The ledger of one weight, from a trace that has run backward.

    The shares of `shares`, many steps at a time.
    """
    if weight not in WEIGHTS:
        raise ValueError(f"weight: got {weight!r}; allowed: {', '.join(WEIGHTS)}.")
    H, T = trace.values["h"].shape[-1], len(trace.inputs)
    numbers = len(cell.gates) * H * max(H, trace.inputs.shape[-1])
    stretch = max(1, MOST_NUMBERS // numbers)
    pieces = [slice(start, start + stretch) for start in range(0, T, stretch)]
    first = _of_steps(cell, trace, weight, pieces[0])
    whole = first.sum(0)
    for piece in pieces[1:]:
        whole += _of_steps(cell, trace, weight, piece).sum(0)
    measured = [_measured(first, whole)]
    measured += [_measured(_of_steps(cell, trace, weight, piece), whole) for piece in pieces[1:]]
    norms, along = (np.concatenate(each) for each in zip(*measured, strict=True))
    return Ledger(norms, _cosine(norms, along, whole), whole)


def _of_steps(cell: Cell, trace: Trace, weight: str, steps: slice) -> Tensor:
    """The shares of some steps, (n, ...) in float64, all at once."""
    recurrent = weight in ("weight_hh", "bias_hh")

    def grad_a(gates: Iterable[str]) -> Tensor:
        """(n, B, G*H)"""
        return torch.cat([trace.grad_a(gate, recurrent)[steps] for gate in gates], -1).double()

    if weight.startswith("bias"):
        return grad_a(cell.gates).sum(1)
    if weight == "weight_peephole":
        memory = {"before": trace.before("c"), "now": trace.values["c"]}
        rows = [grad_a([gate]) * memory[when][steps].double() for gate, when in cell.peepholes.items()]
        return torch.stack([row.sum(1) for row in rows], 1)
    if not recurrent:
        return grad_a(cell.gates).transpose(1, 2) @ trace.inputs[steps].double()
    operands = [trace.before("h") if p.operand == "h" else trace.values[p.operand] for p in cell.products]
    blocks = [
        grad_a(product.gates).transpose(1, 2) @ operand[steps].double()
        for product, operand in zip(cell.products, operands, strict=True)
    ]
    return torch.cat(blocks, 1) if len(blocks) > 1 else blocks[0]


def of_output(network: Network, made: Pass, batch: Batch, weight: str = "out.weight") -> Ledger:
    """The ledger of the output layer's weight or bias, from a pass over a batch, over all T steps.

    Only steps that have an answer have a share. Where the answer comes at the end, the output layer reads
    the state in which each direction ended: backward that is the one at t = 1, and the share of the half that
    multiplies it stands there; the bias has its share at the last step.
    """
    if weight not in OUTPUT:
        raise ValueError(f"weight: got {weight!r}; allowed: {', '.join(OUTPUT)}.")
    _, targets = network.tensors(batch)
    _, grad_y = network.loss(made.outputs, targets)
    h, T = network.asked(made.passage).double(), sum(len(t[0][0].inputs) for t in made.passage.traces)
    every, bias = network.readout == "every", weight == "out.bias"
    grad_y = (grad_y if every else grad_y[None]).double()  # (A, B, O)
    h = h if every else h[None]  # (A, B, D*H)
    each = grad_y.sum(1) if bias else grad_y.transpose(1, 2) @ h  # (A, O) or (A, O, D*H)
    steps = list(range(T - len(each), T))
    H = network.chain.stacks[0].H
    if not every and not bias and h.shape[-1] > H and T > 1:
        backward, forward = each.clone(), each.clone()
        backward[..., :H], forward[..., H:] = 0.0, 0.0
        each, steps = torch.cat([backward, forward]), [0, T - 1]
    whole = each.sum(0)
    norms, along = np.zeros(T), np.zeros(T)
    norms[steps], along[steps] = _measured(each, whole)
    return Ledger(norms, _cosine(norms, along, whole), whole)


def _measured(each: Tensor, whole: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of shares (n, ...) their norms, and their products with the whole: (n,) each."""
    flat = each.flatten(1)
    return flat.norm(dim=1).numpy(), (flat @ whole.flatten()).numpy()


def _cosine(norms: np.ndarray, along: np.ndarray, whole: Tensor) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(along / (norms * float(whole.norm())))


def shares(cell: Cell, trace: Trace, weight: str) -> Iterator[Tensor]:
    """Each step's share in float64, shaped like the weight, in the order of the sequence."""
    if weight not in WEIGHTS:
        raise ValueError(f"weight: got {weight!r}; allowed: {', '.join(WEIGHTS)}.")
    recurrent = weight in ("weight_hh", "bias_hh")
    grad_a = {gate: trace.grad_a(gate, recurrent) for gate in cell.gates}  # (T, B, H) each
    operands = {
        gate: trace.before("h") if product.operand == "h" else trace.values[product.operand]
        for product in cell.products
        for gate in product.gates
    }
    memory = {
        gate: (trace.before("c") if when == "before" else trace.values["c"]).double()
        for gate, when in cell.peepholes.items()
    }
    for t in range(len(trace.inputs)):
        rows = []
        for gate in cell.peepholes if weight == "weight_peephole" else cell.gates:
            a = grad_a[gate][t].double()  # (B, H)
            if weight.startswith("bias"):
                rows.append(a.sum(0))
            elif weight == "weight_peephole":
                rows.append((a * memory[gate][t]).sum(0)[None])
            else:
                operand = operands[gate][t] if recurrent else trace.inputs[t]
                rows.append(a.T @ operand.double())
        yield torch.cat(rows)


@dataclass(frozen=True)
class StateNorms:
    """Norms of h_t over the batch, (T,) float64 each, in the order of the sequence: the mean, the largest."""

    mean: np.ndarray
    largest: np.ndarray


def state_norms(moment: Moment, layer: int = -1) -> StateNorms:
    """How long the states of a layer are, both directions side by side: by default of the last layer, which
    the output layer reads.

    Nothing bounds those of ReLU and linear units. A decoder's steps follow the encoder's.
    """
    each = []
    for traces in moment.true.passage.traces:
        h = torch.cat([trace.values["h"] for trace in traces[layer]], -1)  # (T, B, D*H)
        each.append(h.double().norm(dim=-1))
    norms = torch.cat(each).numpy()  # (T, B)
    return StateNorms(norms.mean(1), norms.max(1))


def reach(network: Network, batch: Batch, sequence: int = 0) -> np.ndarray:
    """How far the loss at each step reaches back: (L, D, T, T), [.., t, k] the norm of dL_t/dh_k.

    L_t is the loss of one sequence at step t alone, as it stands in the mean over steps; where the task has a
    loss at the last step only, the other rows are 0.
    """
    inputs, targets = network.tensors(batch)
    T = len(inputs)
    every, A = network.readout == "every", network.answered
    # One copy of the sequence for each loss: a single backward pass then serves all of them.
    copies = inputs[:, sequence : sequence + 1].expand(T, T, -1).contiguous()
    own = targets[:, sequence : sequence + 1] if every else targets[sequence : sequence + 1]
    passage = network.forward(copies)
    h = network.asked(passage)  # (A, T, D*H) or (T, D*H)
    _, grad_y = network.loss(network.read(h[:, :1] if every else h[:1]), own)
    direct = grad_y @ network.parameters["out.weight"]  # (A, 1, D*H), or (1, D*H)
    terms = torch.zeros_like(h)
    if every:
        terms[range(A), range(T - A, T)] = direct[:, 0]
    else:
        terms[-1] = direct[0]
    tape = passage.backward(terms, network.split(network.layout.views(torch.empty_like(network.flat))))
    norms: np.ndarray = tape.grad_hidden.double().norm(dim=-1).transpose(2, 3).numpy()
    return norms
