"""The time ledger: what each step contributes to the gradient of a weight, and how far losses reach.

A weight is used at every step, so its gradient is a sum over time (Werbos 1990; Pascanu, Mikolov & Bengio
2013, eq. 3 to 5): dL/dW = sum_t (dL/da_t)^T operand_t. The terms of that sum are the shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bptt import Trace
from ..cells import Cell
from ..layout import suffix
from ..network import Network
from ..tasks import Batch

#: What has a ledger, for each layer and direction, by PyTorch's names.
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_peephole")


@dataclass(frozen=True)
class Ledger:
    """Each time step's share of a weight's gradient, in the order of the sequence.

    norm: (T,) Euclidean norm of the share; cosine: (T,) of the angle between the share and the whole, NaN for
    a share of zero; whole: the gradient that the shares add up to.
    """

    norm: np.ndarray
    cosine: np.ndarray
    whole: Tensor


def ledger(network: Network, batch: Batch, weight: str = "rnn.weight_hh_l0") -> Ledger:
    """The ledger of one weight, by its name in `Network.parameters`, for the loss of a batch.

    With an encoder and a decoder over the steps that the weight's own part reads.

    Raises ValueError for a weight that the network does not have.
    """
    stack = network.chain.stacks[0]
    places = [(n, k, d) for n in range(len(network.parts)) for k in range(stack.L) for d in range(stack.D)]
    known = {
        f"{network.parts[n]}.{name}{suffix(k, d)}": (name, n, k, d)
        for n, k, d in places
        for name in network.weights(k, d, n)
    }
    if weight not in known:
        raise ValueError(f"weight: got {weight!r}; allowed: {', '.join(known)}.")
    name, n, k, d = known[weight]
    passage = network.loss_and_gradient(batch).passage
    return of_trace(network.cell, passage.traces[n][k][d], name)


def of_trace(cell: Cell, trace: Trace, weight: str) -> Ledger:
    """The ledger of one weight, from a trace that has run backward."""
    whole: Tensor | None = None
    for share in shares(cell, trace, weight):
        whole = share.clone() if whole is None else whole.add_(share)
    assert whole is not None
    length = whole.norm()
    norm, along = [], []
    for share in shares(cell, trace, weight):
        norm.append(float(share.norm()))
        along.append(float((share * whole).sum()))
    norms = np.array(norm)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.array(along) / (norms * float(length))
    return Ledger(norms, cosine, whole)


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
