"""What every recurrent cell says of itself, and how one time step runs forward and backward.

Names: B batch, I input size, H hidden size, G gates (candidates included).

A cell writes its step once, in terms of `ops`: functions (`sigmoid`, `tanh`, `relu`, `where_positive`), the
product of a state with weight_hh (`product`), and its transpose (`product_backward`). Everything else is
arithmetic on what is passed in. So the same lines run on torch tensors (`bptt.TorchOps`), and are read once
by the compiler of `kernels`, which turns them into machine code; nothing here imports either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

Array = Any  # (B, H) unless said otherwise: a torch tensor, or a name in an expression
Arrays = tuple[Array, ...]
Activation = Literal["sigmoid", "tanh", "relu", "linear"]
Named = Mapping[str, Array]


class Product(NamedTuple):
    """One product with rows of weight_hh: what is multiplied, and the gates that come from it."""

    operand: str  # "h" for h_{t-1}, or the name of a saved value
    gates: tuple[str, ...]


class Ops(Protocol):
    """What a cell's step is written in."""

    def sigmoid(self, a: Array) -> Array: ...

    def tanh(self, a: Array) -> Array: ...

    def relu(self, a: Array) -> Array: ...

    def where_positive(self, h: Array, a: Array) -> Array:
        """a where h > 0, else 0."""

    def product(self, number: int, operand: Array) -> Arrays:
        """The pre-activations of the gates of `Cell.products[number]`: the input's share, the product of the
        operand with these gates' rows of weight_hh, and both biases. For a gate of `Cell.apart` without the
        input's share and its bias."""

    def input(self, gate: str) -> Array:
        """The input's share W_ih x_t + b_ih of a gate of `Cell.apart`."""

    def product_backward(self, number: int, grad: Arrays) -> Array:
        """The gradient of a product's operand from those of its gates' pre-activations."""


@dataclass(frozen=True)
class StepGradient:
    """Gradients of the loss with respect to what one time step computed and read, by name."""

    #: dL/ds_t in total: for a cell with a memory c_t with the path from c_t through h_t of the same step.
    total: Named
    #: dL/ds_{t-1} as far as it passes through this step.
    before: Named
    #: Of each gate's pre-activation; for a gate of `Cell.apart` of the input's share.
    a: Named
    #: For each gate of `Cell.apart` of the recurrent share.
    apart: Named = field(default_factory=dict)
    #: For each peephole (B, H); the sum over the batch is the gradient of the vector.
    peephole: Named = field(default_factory=dict)


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
    #: Gates that see the memory c, each through a vector p: c as it is "before" the step, or "now", after it.
    peepholes: ClassVar[Mapping[str, Literal["before", "now"]]] = MappingProxyType({})
    #: The gate whose value 1 keeps the memory and whose bias `forget_bias` sets; None where there is none.
    forget_gate: ClassVar[str | None] = None
    #: The gates that decide how long a unit remembers: +1 where the value 1 keeps what was, -1 where it
    #: writes what is new.
    memory_gates: ClassVar[Mapping[str, int]] = MappingProxyType({})
    #: The products with weight_hh that a step makes, in order; together they give all gates, in order.
    products: ClassVar[tuple[Product, ...]]
    #: Gates that see the two shares of their pre-activation apart, W_ih x + b_ih and W_hh h + b_hh.
    apart: ClassVar[tuple[str, ...]] = ()
    #: What else a step hands to its backward pass, beside its states and gates.
    saved: ClassVar[tuple[str, ...]] = ()
    #: LaTeX, one line an equation, in the symbols of the code.
    equations: ClassVar[tuple[str, ...]]
    #: The equivalent module of torch.nn and its keyword arguments; None where PyTorch has no such cell.
    torch_module: ClassVar[tuple[str, dict[str, str]] | None] = None
    #: The nonlinearity's largest slope, for cells with a single one (Pascanu et al. 2013, section 2.1).
    largest_slope: ClassVar[float | None] = None
    #: The cell's colour in every figure.
    color: ClassVar[str]

    @abstractmethod
    def forward(self, ops: Ops, before: SimpleNamespace, p: SimpleNamespace) -> dict[str, Array]:
        """One time step from the states before it, (B, H) each by name; p are the peepholes, (H,) each.

        Returns the new states, the activated gates and what is saved, by name.
        """

    @abstractmethod
    def backward(
        self,
        ops: Ops,
        now: SimpleNamespace,
        before: SimpleNamespace,
        grad: SimpleNamespace,
        p: SimpleNamespace,
    ) -> StepGradient:
        """Backward through one step: `now` is what `forward` returned, `before` what it was given.

        `grad` holds dL/ds_t as far as it comes from the loss at t and from later steps, by name.
        """

    @property
    def values(self) -> tuple[str, ...]:
        """The names of all that `forward` returns: states, gates and what is saved, each once."""
        return tuple(dict.fromkeys((*self.states, *self.gates, *self.saved)))
