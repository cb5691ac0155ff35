"""What every recurrent cell says of itself, and how one time step runs forward and backward.

Names: B batch, I input size, H hidden size, G gate blocks (candidates included).
A cell sees the input's share of its pre-activations, a_x = W_ih x_t + b_ih of shape (B, G*H), computed
for all time steps in one matrix product, and makes the recurrent product itself.

Nothing here imports torch: functions come in as `ops`, a namespace with `sigmoid`, `tanh`, `relu` and
`cat` (torch itself, for tensors), and everything else is arithmetic on what is passed in. So the web
process can describe cells without loading torch, and the pointwise step, written once, serves any
array library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

Array = Any  # a torch tensor of shape (B, H) unless said otherwise
Arrays = tuple[Array, ...]
Activation = Literal["sigmoid", "tanh", "relu", "linear"]


@dataclass(frozen=True)
class CellWeights:
    """The recurrent side of one layer and direction; the input side is already in a_x.

    weight_hh: (G*H, H), blocks in the order of `Cell.gates`; bias_hh: (G*H,);
    peephole: one (H,) vector for each name in `Cell.peepholes`.
    """

    weight_hh: Array
    bias_hh: Array
    peephole: Arrays = ()


class Step(NamedTuple):
    """One time step as the backward pass needs it."""

    before: Arrays  # the states s_{t-1}, in the order of Cell.states
    state: Arrays  # the states s_t
    gates: Arrays  # activated values, in the order of Cell.gates
    saved: Arrays  # what else the cell wants back in backward
    operands: Arrays  # what multiplied weight_hh, one for each product


class StepGradient(NamedTuple):
    """Gradients of the loss with respect to what one time step read."""

    before: Arrays  # dL/ds_{t-1} as far as it passes through this step
    a_x: Array  # (B, G*H)
    a_h: Array  # (B, G*H), of the recurrent pre-activations W_hh * operand + b_hh
    peephole: Arrays  # (B, H) each; summing over the batch gives the gradient of the vector


class Cell(ABC):
    """A recurrent cell. Subclasses are final, one object of each stands in `CELLS`."""

    name: ClassVar[str]
    label: ClassVar[str]
    family: ClassVar[Literal["plain", "lstm", "gru"]]
    summary: ClassVar[str]
    source: ClassVar[str]
    #: Blocks of rows in weight_ih and weight_hh, in PyTorch's order where PyTorch has the cell.
    gates: ClassVar[tuple[str, ...]]
    #: The nonlinearity behind each gate, in the order of `gates`.
    activations: ClassVar[tuple[Activation, ...]]
    states: ClassVar[tuple[str, ...]] = ("h",)
    peepholes: ClassVar[tuple[str, ...]] = ()
    #: The gate whose value 1 keeps the memory and whose bias `forget_bias` sets; None where there is none.
    forget_gate: ClassVar[str | None] = None
    #: How many products with weight_hh a step makes, and which gates come from each.
    products: ClassVar[tuple[tuple[str, ...], ...]]
    #: LaTeX, one line an equation, in the symbols of the code.
    equations: ClassVar[tuple[str, ...]]
    #: The equivalent module of torch.nn and its keyword arguments; None where PyTorch has no such cell.
    torch_module: ClassVar[tuple[str, dict[str, str]] | None] = None
    #: The nonlinearity's largest slope, for cells with a single one (Pascanu et al. 2013, section 2.1).
    largest_slope: ClassVar[float | None] = None
    #: The cell's colour in every figure.
    color: ClassVar[str]

    @abstractmethod
    def forward(self, ops: Any, weights: CellWeights, a_x: Array, before: Arrays) -> Step:
        """One time step: a_x (B, G*H) and the states (B, H) before it give the states after it."""

    @abstractmethod
    def backward(
        self, ops: Any, weights: CellWeights, step: Step, grad: Arrays
    ) -> tuple[StepGradient, Arrays]:
        """Backward through one step.

        `grad` holds dL/ds_t as far as it comes from the loss at t and from later steps, in the order of
        `states`. Returned beside the step's gradients are the total derivatives dL/ds_t: for a cell with
        a memory c_t they include the path from c_t through h_t of the same step.
        """


class OneProductCell(Cell):
    """A cell whose gates all come from one product with h_{t-1}: all but those that reset before it."""

    @abstractmethod
    def pointwise(
        self, ops: Any, a_x: Arrays, a_h: Arrays, before: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays]:
        """Elementwise part: blocks (B, H) of a_x and a_h to (states, gates, saved)."""

    @abstractmethod
    def pointwise_backward(
        self, step: Step, grad: Arrays, peephole: Arrays
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, Arrays]:
        """Its derivative: gradients of a_x and a_h blocks, states before, peepholes, and the total dL/ds_t.

        Where a gate depends on a_x + a_h only, both blocks are the same object.
        """

    def forward(self, ops: Any, weights: CellWeights, a_x: Array, before: Arrays) -> Step:
        h = before[0]
        a_h = h @ weights.weight_hh.T + weights.bias_hh  # (B, G*H)
        state, gates, saved = self.pointwise(
            ops, blocks(a_x, len(self.gates)), blocks(a_h, len(self.gates)), before, weights.peephole
        )
        return Step(before, state, gates, saved, (h,))

    def backward(
        self, ops: Any, weights: CellWeights, step: Step, grad: Arrays
    ) -> tuple[StepGradient, Arrays]:
        grad_a_x, grad_a_h, grad_before, grad_peephole, total = self.pointwise_backward(
            step, grad, weights.peephole
        )
        a_h = join(ops, grad_a_h)
        same = all(x is h for x, h in zip(grad_a_x, grad_a_h, strict=True))
        a_x = a_h if same else join(ops, grad_a_x)
        through_product = a_h @ weights.weight_hh  # (B, H)
        h = grad_before[0]
        h = through_product if h is None else through_product + h
        return StepGradient((h, *grad_before[1:]), a_x, a_h, grad_peephole), total


def blocks(a: Array, count: int) -> Arrays:
    """Split (B, count*H) into `count` views of (B, H)."""
    return (a,) if count == 1 else tuple(a.chunk(count, -1))


def join(ops: Any, parts: Sequence[Array]) -> Array:
    """The inverse of `blocks`: (B, H) parts side by side, (B, count*H)."""
    return parts[0] if len(parts) == 1 else ops.cat(parts, -1)
