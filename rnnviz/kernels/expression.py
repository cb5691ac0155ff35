"""A cell's step as expressions: what `Cell.forward` and `Cell.backward` do when they are given names.

The cell is run once on symbols instead of arrays; what it does with them is its step. The step falls into
passes: everything elementwise that comes before the first product, between two products, and after the last.
Within a pass each unit of each sequence is on its own, so one loop computes all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

from ..cells import Cell, StepGradient


def _unknown(self: Node, *others: Any) -> NoReturn:
    """What Python calls for an operator that is none of a cell's."""
    raise TypeError(
        "A cell's step is compiled from +, -, *, / and the functions of `ops`: write a * a for a ** 2, "
        "ops.relu or ops.where_positive for what depends on a sign."
    )


class Node:
    """A number for each sequence and unit: a buffer's element, a constant, or what is computed from others.

    Nodes are made by a `Graph` only, which makes equal ones the same object.
    """

    __slots__ = ("args", "graph", "name", "op", "value")

    def __init__(self, graph: Graph, op: str, args: tuple[Node, ...], name: str, value: float) -> None:
        self.graph, self.op, self.args, self.name, self.value = graph, op, args, name, value

    def __add__(self, other: Node | float) -> Node:
        return self.graph.make("add", self, other)

    def __radd__(self, other: Node | float) -> Node:
        return self.graph.make("add", other, self)

    def __sub__(self, other: Node | float) -> Node:
        return self.graph.make("sub", self, other)

    def __rsub__(self, other: Node | float) -> Node:
        return self.graph.make("sub", other, self)

    def __mul__(self, other: Node | float) -> Node:
        return self.graph.make("mul", self, other)

    def __truediv__(self, other: Node | float) -> Node:
        return self.graph.make("div", self, other)

    def __rtruediv__(self, other: Node | float) -> Node:
        return self.graph.make("div", other, self)

    def __rmul__(self, other: Node | float) -> Node:
        return self.graph.make("mul", other, self)

    def __neg__(self) -> Node:
        return self.graph.make("mul", -1.0, self)  # exact, and -0 is that of 0, as 0 - a is not

    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __mod__ = __floordiv__ = __abs__ = _unknown
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _unknown


class Graph:
    """Makes nodes, and is the `Ops` that a cell is traced with."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}
        self.products: list[tuple[int, tuple[Node, ...]]] = []  # number and what went in, in order of use

    def make(self, op: str, *args: Node | float) -> Node:
        return self._node(op, tuple(a if isinstance(a, Node) else self.constant(a) for a in args))

    def constant(self, value: float) -> Node:
        return self._node("constant", value=value)

    def load(self, buffer: str) -> Node:
        """An element of a buffer."""
        return self._node("load", name=buffer)

    def _node(self, op: str, args: tuple[Node, ...] = (), name: str = "", value: float = 0.0) -> Node:
        key = (op, tuple(map(id, args)), name, value)
        return self._nodes.setdefault(key, Node(self, op, args, name, value))

    # What a cell's step is written in.

    def sigmoid(self, a: Node) -> Node:
        return self.make("sigmoid", a)

    def tanh(self, a: Node) -> Node:
        return self.make("tanh", a)

    def sqrt(self, a: Node) -> Node:
        return self.make("sqrt", a)

    def relu(self, a: Node) -> Node:
        return self.make("relu", a)

    def where_positive(self, h: Node, a: Node) -> Node:
        return self.make("where_positive", h, a)

    def input(self, gate: str) -> Node:
        return self.load(f"input.{gate}")

    def product(self, number: int, operand: Node) -> tuple[Node, ...]:
        raise NotImplementedError

    def product_backward(self, number: int, grad: tuple[Node, ...]) -> Node:
        raise NotImplementedError


class _Forward(Graph):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self._cell = cell

    def product(self, number: int, operand: Node) -> tuple[Node, ...]:
        self.products.append((number, (operand,)))
        return tuple(self.load(f"a.{gate}") for gate in self._cell.products[number].gates)


class _Backward(Graph):
    def product_backward(self, number: int, grad: tuple[Node, ...]) -> Node:
        self.products.append((number, grad))
        return self.load(f"back.{number}")


@dataclass(frozen=True)
class Pass:
    """A product, if any, and then one loop over all sequences and units that computes and stores."""

    product: int | None
    stores: Mapping[str, Node]  # buffer to what it receives
    known: Mapping[Node, str]  # what earlier passes have stored, and where


def forward_passes(cell: Cell) -> list[Pass]:
    """The step forward. Buffers: before.*, p.*, a.* and input.* are read; now.* are written."""
    graph = _Forward(cell)
    before = {name: graph.load(f"before.{name}") for name in cell.states}
    peephole = {name: graph.load(f"p.{name}") for name in cell.peepholes}
    now = cell.forward(graph, SimpleNamespace(**before), SimpleNamespace(**peephole))
    if set(now) != set(cell.values):
        raise ValueError(f"{cell.name}: forward returns {sorted(now)}; {sorted(cell.values)} are declared.")
    operands = [{**now, "h": before["h"]}[product.operand] for product in cell.products]
    if [(number, (operand,)) for number, operand in enumerate(operands)] != graph.products:
        raise ValueError(f"{cell.name}: forward makes other products than those declared.")
    ready = {f"a.{g}": k + 1 for k, product in enumerate(cell.products) for g in product.gates}
    return _passes(
        {f"now.{name}": node for name, node in now.items()}, ready, list(range(len(cell.products)))
    )


def backward_passes(cell: Cell) -> list[Pass]:
    """The step backward.

    Buffers: now.*, before.*, p.*, direct.h, limit and carry.* (dL/ds_t from later steps) are read; total.*,
    grad.* (of the recurrent pre-activations), grad_input.* (of the input's share of gates that see it apart),
    peephole.* (sums over time) and carry.* are written.
    """
    graph = _Backward()
    now = {name: graph.load(f"now.{name}") for name in cell.values}
    before = {name: graph.load(f"before.{name}") for name in cell.states}
    peephole = {name: graph.load(f"p.{name}") for name in cell.peepholes}
    limit = graph.load("limit")
    grad = {name: graph.make("clamp", graph.load(f"carry.{name}"), limit) for name in cell.states}
    grad["h"] = grad["h"] + graph.load("direct.h")
    step = cell.backward(graph, *(SimpleNamespace(**names) for names in (now, before, grad, peephole)))
    _check_gradient(cell, step, graph)
    stores = {f"total.{name}": step.total[name] for name in cell.states}
    stores |= {f"grad.{gate}": step.apart.get(gate, step.a[gate]) for gate in cell.gates}
    stores |= {f"grad_input.{gate}": step.a[gate] for gate in cell.apart}
    for name in cell.peepholes:
        stores[f"peephole.{name}"] = graph.load(f"peephole.{name}") + step.peephole[name]
    stores |= {f"carry.{name}": step.before[name] for name in cell.states}
    order = [number for number, _ in graph.products]
    ready = {f"back.{number}": k + 1 for k, number in enumerate(order)}
    return _passes(stores, ready, order)


def _check_gradient(cell: Cell, step: StepGradient, graph: Graph) -> None:
    """What a backward step returns against what the cell declares."""
    for what, got, declared in (
        ("total", step.total, cell.states), ("before", step.before, cell.states), ("a", step.a, cell.gates),
        ("apart", step.apart, cell.apart), ("peephole", step.peephole, cell.peepholes),
    ):  # fmt: skip
        if set(got) != set(declared):
            raise ValueError(
                f"{cell.name}: backward gives {what} of {sorted(got)}; {sorted(declared)} are declared."
            )
    for number, grads in graph.products:
        gates = cell.products[number].gates
        if tuple(step.apart.get(gate, step.a[gate]) for gate in gates) != grads:
            raise ValueError(
                f"{cell.name}: product {number} runs backward on other gradients than are returned."
            )
    if sorted(number for number, _ in graph.products) != list(range(len(cell.products))):
        raise ValueError(f"{cell.name}: backward does not go through each product once.")


def _passes(stores: Mapping[str, Node], ready: Mapping[str, int], products: Sequence[int]) -> list[Pass]:
    """Each store in the pass in which all that it needs is there; what is handed on (carry) in the last."""
    when: dict[Node, int] = {}

    def pass_of(node: Node) -> int:
        if node not in when:
            first = ready.get(node.name, 0) if node.op == "load" else 0
            when[node] = max([first, *map(pass_of, node.args)])
        return when[node]

    last = len(products)
    passes: list[Pass] = []
    known: dict[Node, str] = {}
    for k in range(last + 1):
        here = {
            buffer: node
            for buffer, node in stores.items()
            if (last if buffer.startswith("carry.") else pass_of(node)) == k
        }
        passes.append(Pass(products[k - 1] if k else None, here, dict(known)))
        known |= {node: buffer for buffer, node in here.items()}
    return passes
