"""Backpropagation through time of a network small enough to read: every number of it, one by one.

The network is that of lecture notes, with their symbols:

    S_t = phi(W_x X_t + W_s S_{t-1} + b_1),   O_t = W_o S_t + b_2,   L_t = (Y_t - O_t)^2 / 2,

with one input and one output a step. phi is one of the plain cells. In PyTorch's names W_x is weight_ih, W_s
weight_hh, b_1 the sum of bias_ih and bias_hh, W_o the weight and b_2 the bias of a linear layer.

States and gradients come from the cell's own trace, the shares of the weights from the ledger; autograd
stands beside them as the judge. Losses at several steps go back one by one, so that a truncation can end each
of them after as many steps. Names: T time, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..bptt import TorchOps, Trace, Weights, unroll
from ..cells import CELLS
from ..cells.plain import PlainCell
from ..stack import Stack
from .ledger import shares

Numbers = tuple[float, ...]

#: The activations to choose from: cells with one nonlinearity and nothing else.
ACTIVATIONS = tuple(name for name, cell in CELLS.items() if cell.family == "plain")
#: The symbols of the lecture notes to PyTorch's names, in the order in which the way back meets them.
WEIGHTS: Mapping[str, str] = {
    "W_o": "out.weight", "b_2": "out.bias", "W_x": "weight_ih", "b_1": "bias_ih", "W_s": "weight_hh",
}  # fmt: skip
_OF_THE_CELL = ("W_x", "b_1", "W_s")


@dataclass(frozen=True)
class SmallNetwork:
    """A plain network with one input and one output a step, and the sequence that it is shown.

    W_x (H,), W_s (H, H) as rows, b_1 (H,), W_o (H,), b_2: the weights. inputs, targets: X_t and Y_t, (T,).
    initial: S_0, (H,), by default 0. every: a loss at every step, L their sum, instead of at the last one
    alone. through: how many steps each loss goes back through, its own included; None for all.

    Raises ValueError, one sentence, for an activation that is not one of `ACTIVATIONS`, for lists whose
    lengths do not fit together, and for a truncation to less than one step.
    """

    activation: str
    W_x: Numbers
    W_s: tuple[Numbers, ...]
    b_1: Numbers
    W_o: Numbers
    b_2: float
    inputs: Numbers
    targets: Numbers
    initial: Numbers = ()
    every: bool = False
    through: int | None = None

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: got {self.activation!r}; allowed: {', '.join(ACTIVATIONS)}.")
        if not self.inputs:
            raise ValueError("inputs: got none; at least one step is needed.")
        lengths = {"W_s": (self.W_s, self.H), "b_1": (self.b_1, self.H), "W_o": (self.W_o, self.H)}
        lengths |= {f"W_s row {i + 1}": (row, self.H) for i, row in enumerate(self.W_s)}
        lengths |= {"targets": (self.targets, self.T)}
        lengths |= {"initial": (self.initial, self.H)} if self.initial else {}
        for name, (values, length) in lengths.items():
            if len(values) != length:
                raise ValueError(f"{name}: got {len(values)} numbers; the network needs {length}.")
        if self.through is not None and self.through < 1:
            raise ValueError(f"through: got {self.through}; a loss goes back through one step at least.")

    @property
    def T(self) -> int:
        """Steps of the sequence."""
        return len(self.inputs)

    @property
    def H(self) -> int:
        """Hidden units."""
        return len(self.W_x)

    @property
    def cell(self) -> PlainCell:
        """The registered cell that runs it."""
        return cast(PlainCell, CELLS[self.activation])

    @property
    def reach(self) -> int:
        """Through how many steps a loss goes back."""
        return self.T if self.through is None else min(self.through, self.T)

    @property
    def counted(self) -> tuple[int, ...]:
        """The steps that have a loss, counted from 0."""
        return tuple(range(self.T)) if self.every else (self.T - 1,)

    def reached(self, step: int) -> bool:
        """Whether any loss goes back as far as this step, counted from 0."""
        return any(step <= t < step + self.reach for t in self.counted)

    def tensors(self) -> dict[str, Tensor]:
        """The weights in float64 by the symbols of the lecture notes, in PyTorch's shapes."""
        wide = torch.float64
        return {
            "W_o": torch.tensor([self.W_o], dtype=wide),  # (1, H)
            "b_2": torch.tensor([self.b_2], dtype=wide),  # (1,)
            "W_x": torch.tensor([self.W_x], dtype=wide).T.contiguous(),  # (H, 1)
            "b_1": torch.tensor(self.b_1, dtype=wide),  # (H,)
            "W_s": torch.tensor(self.W_s, dtype=wide),  # (H, H)
        }


#: Networks to begin with, by the name that a link has for them.
EXAMPLES: Mapping[str, SmallNetwork] = {
    "lecture": SmallNetwork(
        "linear", (0.5,), ((0.8,),), (0.1,), (1.5,), -0.2, (1.0, 2.0, -1.0), (0.0, 0.0, 1.0), (0.5,)
    ),
    "vanishing": SmallNetwork(
        "sigmoid", (1.0,), ((1.0,),), (0.0,), (1.0,), 0.0,
        (1.0, -0.5, 0.5, 0.0, -1.0, 0.5), (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    ),
    "exploding": SmallNetwork(
        "linear", (1.0,), ((1.8,),), (0.0,), (0.5,), 0.0,
        (1.0, -0.5, 0.5, 0.0, -1.0, 0.5), (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    ),
    "truncated": SmallNetwork(
        "tanh", (0.8,), ((1.1,),), (0.0,), (1.0,), 0.0,
        (0.5, 0.0, -0.2, 0.1, 0.0, 0.2), (0.0, 0.0, 0.0, 0.0, 0.0, -0.5), through=2,
    ),
    "two": SmallNetwork(
        "tanh", (0.6, -0.4), ((0.8, -0.5), (0.5, 0.8)), (0.0, 0.1), (1.0, -0.5), 0.0,
        (1.0, 0.0, 0.5, -1.0), (0.5, 0.0, -0.5, 0.5), every=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class WayBack:
    """What the losses make of states and weights, each loss by itself: (T, T, ...), by loss and by step.

    grad_state: dL_t/dS_k, (T, T, H). delta: dL_t/da_k, a_k what stands inside phi, (T, T, H). terms: each
    step's term of dL_t/dW by the weight's symbol, (T, T) and PyTorch's shape.
    """

    grad_state: np.ndarray
    delta: np.ndarray
    terms: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Worked:
    """A small network run forward and backward: every number in float64.

    inner: a_t, what stands inside phi; state: S_t; before: S_{t-1}; slope: phi'(a_t), (T, H) each. output:
    O_t, loss: L_t or NaN where there is none, grad_output: dL/dO_t, (T,) each. jacobian: dS_t/dS_{t-1},
    (T, H, H). kept: the way back as far as the truncation lets it go; whole: all of it. autograd: dL/dW as
    autograd has it, truncated in the same places, by the weight's symbol in PyTorch's shape; autograd_whole:
    not truncated.
    """

    network: SmallNetwork
    inner: np.ndarray
    state: np.ndarray
    before: np.ndarray
    slope: np.ndarray
    output: np.ndarray
    loss: np.ndarray
    grad_output: np.ndarray
    jacobian: np.ndarray
    kept: WayBack
    whole: WayBack
    autograd: Mapping[str, np.ndarray]
    autograd_whole: Mapping[str, np.ndarray]

    @property
    def total_loss(self) -> float:
        """L: the sum of the losses."""
        return float(np.nansum(self.loss))

    @cached_property
    def direct(self) -> np.ndarray:
        """The part of dL/dS_t that comes from this step's own loss, (T, H)."""
        direct: np.ndarray = np.einsum("ttj->tj", self.kept.grad_state)
        return direct

    @cached_property
    def carried(self) -> np.ndarray:
        """The part of dL/dS_t that later losses send back through S_{t+1}, (T, H)."""
        return self._later(self.kept.grad_state)

    @cached_property
    def cut(self) -> np.ndarray:
        """What the truncation keeps from S_t, (T, H)."""
        return self._later(self.whole.grad_state - self.kept.grad_state)

    @cached_property
    def onward(self) -> np.ndarray:
        """The part of dL/dS_t that goes on to S_{t-1}, (T, H): of all losses that reach so far back."""
        loss, step = np.indices((self.network.T, self.network.T))
        goes_on = (loss - step + 1 < self.network.reach) & (step > 0)
        summed: np.ndarray = np.einsum("tkj,tk->kj", self.kept.grad_state, goes_on.astype(float))
        return summed

    @property
    def grad_state(self) -> np.ndarray:
        """dL/dS_t, (T, H)."""
        whole: np.ndarray = self.direct + self.carried
        return whole

    @cached_property
    def delta(self) -> np.ndarray:
        """dL/da_t, (T, H)."""
        delta: np.ndarray = self.kept.delta.sum(0)
        return delta

    @cached_property
    def terms(self) -> dict[str, np.ndarray]:
        """Each step's term of dL/dW, (T,) and PyTorch's shape, by the weight's symbol."""
        return {name: terms.sum(0) for name, terms in self.kept.terms.items()}

    @cached_property
    def left_out(self) -> dict[str, np.ndarray]:
        """What the truncation takes from each step's term."""
        return {name: (self.whole.terms[name] - kept).sum(0) for name, kept in self.kept.terms.items()}

    @cached_property
    def gradient(self) -> dict[str, np.ndarray]:
        """dL/dW by the weight's symbol: the sum of the terms."""
        return {name: terms.sum(0) for name, terms in self.terms.items()}

    def product(self, late: int, early: int) -> np.ndarray:
        """dS_late/dS_early: the product of the Jacobians between, (H, H). Steps are counted from 0."""
        product: np.ndarray = np.eye(self.network.H)
        for t in range(late, early, -1):
            product = product @ self.jacobian[t]
        return product

    @cached_property
    def sizes(self) -> list[float]:
        """The largest singular value of each dS_t/dS_{t-1} from t = 2 on: the most that a gradient grows."""
        return [float(np.linalg.norm(jacobian, 2)) for jacobian in self.jacobian[1:]]

    @property
    def passage(self) -> float:
        """The largest singular value of dS_T/dS_1, the product of all of them."""
        return float(np.linalg.norm(self.product(self.network.T - 1, 0), 2))

    def _later(self, by_loss: np.ndarray) -> np.ndarray:
        """At each step the sum over the losses after it: (T, T, H) to (T, H)."""
        summed: np.ndarray = np.einsum("tkj,tk->kj", by_loss, np.tri(len(by_loss), k=-1))
        return summed


@lru_cache(maxsize=256)
def work_out(network: SmallNetwork) -> Worked:
    """Run a small network forward and backward."""
    w = network.tensors()
    weights = _cells_own(w)
    inputs = torch.tensor(network.inputs, dtype=torch.float64)[:, None, None]  # (T, 1, 1)
    targets = torch.tensor(network.targets, dtype=torch.float64)
    initial = torch.tensor([network.initial or (0.0,) * network.H], dtype=torch.float64)  # (1, H)
    stack = Stack(network.cell, 1, network.H, precision="float64")
    trace = stack.forward([[weights]], inputs, initial=[[{"h": initial}]]).traces[0][0]
    state, before = trace.values["h"][:, 0], trace.before("h")[:, 0]  # (T, H)
    output = state @ w["W_o"][0] + w["b_2"]  # (T,)
    counts = torch.zeros(network.T, dtype=torch.float64)
    counts[list(network.counted)] = 1.0
    grad_output = (output - targets) * counts
    direct = grad_output[:, None] * w["W_o"]  # (T, H)
    slope = network.cell.through(TorchOps(network.cell, weights), state, torch.ones_like(state))
    whole = _way_back(network, weights, trace, direct, grad_output, network.T)
    cut = network.reach < network.T
    return Worked(
        network=network,
        inner=(inputs[:, 0] @ w["W_x"].T + before @ w["W_s"].T + w["b_1"]).numpy(),
        state=state.numpy(),
        before=before.numpy(),
        slope=slope.numpy(),
        output=output.numpy(),
        loss=torch.where(counts > 0, (targets - output) ** 2 / 2, torch.nan).numpy(),
        grad_output=grad_output.numpy(),
        jacobian=(slope[:, :, None] * w["W_s"]).numpy(),
        kept=_way_back(network, weights, trace, direct, grad_output, network.reach) if cut else whole,
        whole=whole,
        autograd=_autograd(network, inputs, targets, initial, network.reach),
        autograd_whole=_autograd(network, inputs, targets, initial, network.T),
    )


def _cells_own(w: Mapping[str, Tensor]) -> Weights:
    return {
        "weight_ih": w["W_x"],
        "weight_hh": w["W_s"],
        "bias_ih": w["b_1"],
        "bias_hh": torch.zeros_like(w["b_1"]),
    }


def _way_back(
    network: SmallNetwork, weights: Weights, trace: Trace, direct: Tensor, grad_output: Tensor, reach: int
) -> WayBack:
    """Each loss back through at most `reach` steps, its own first."""
    T, H, cell = network.T, network.H, network.cell
    grad_state, delta = np.zeros((T, T, H)), np.zeros((T, T, H))
    terms = {name: np.zeros((T, T, *w.shape)) for name, w in network.tensors().items()}
    scratch = {name: torch.empty_like(w) for name, w in weights.items()}
    state = trace.values["h"][:, 0]
    for t in network.counted:
        span = max(0, t + 1 - reach), t + 1
        own = torch.zeros(span[1] - span[0], 1, H, dtype=torch.float64)
        own[-1, 0] = direct[t]
        trace.backward(weights, scratch, direct=own, span=span)
        grad_state[t] = trace.total["h"][:, 0].numpy()
        delta[t] = trace.grad_a("h", True)[:, 0].numpy()
        for name in _OF_THE_CELL:
            terms[name][t] = torch.stack(list(shares(cell, trace, WEIGHTS[name]))).numpy()
        terms["W_o"][t, t] = (grad_output[t] * state[t])[None].numpy()
        terms["b_2"][t, t] = grad_output[t][None].numpy()
    return WayBack(grad_state, delta, terms)


def _autograd(
    network: SmallNetwork, inputs: Tensor, targets: Tensor, initial: Tensor, reach: int
) -> dict[str, np.ndarray]:
    """dL/dW without any of our way back: the state before the last `reach` steps of a loss is held fixed."""
    with torch.enable_grad():
        leaves = {name: w.requires_grad_() for name, w in network.tensors().items()}
        weights = _cells_own(leaves)
        states = [initial, *(now["h"] for now in unroll(network.cell, weights, inputs, {"h": initial}))]
        loss = torch.zeros((), dtype=torch.float64)
        for t in network.counted:
            first = max(0, t + 1 - reach)
            begin = {"h": states[first].detach()}
            *_, now = unroll(network.cell, weights, inputs[first : t + 1], begin)
            output = now["h"] @ leaves["W_o"].T + leaves["b_2"]
            loss = loss + ((targets[t] - output) ** 2).sum() / 2
        found = torch.autograd.grad(loss, list(leaves.values()))
    return {name: grad.numpy() for name, grad in zip(leaves, found, strict=True)}
