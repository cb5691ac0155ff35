"""The program of a cell: its step forward and backward, and the loop over time around each.

Both take one argument, the address of a table of whole numbers: the sizes, then for every buffer its address,
the numbers from one time step to the next and the numbers from one sequence to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

from llvmlite import ir

from ..cells import Cell
from .code import INDEX, Code, Value, Writer, copy, index, norms, outer, pack, product, row_sums
from .expression import Node, Pass, backward_passes, forward_passes

SIZES = ("T", "B", "I", "H", "padded", "stretch")
FIELDS = ("address", "time", "row")
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_peephole")


def columns(cell: Cell) -> tuple[str, ...]:
    """How the pre-activations of a step lie side by side, in blocks of H padded numbers: one for each gate,
    and at the end one for the input's share of each gate that sees it apart."""
    return (*(f"a.{gate}" for gate in cell.gates), *(f"input.{gate}" for gate in cell.apart))


@dataclass(frozen=True)
class Run:
    """Gates whose rows of weight_ih, next to each other, fill blocks next to each other."""

    first: int
    count: int
    block: int


def input_runs(cell: Cell) -> list[Run]:
    """The input's product, piece by piece."""
    runs = []
    for apart, gates in groupby(range(len(cell.gates)), lambda k: cell.gates[k] in cell.apart):
        here = list(gates)
        if apart:
            runs += [Run(k, 1, columns(cell).index(f"input.{cell.gates[k]}")) for k in here]
        else:
            runs.append(Run(here[0], len(here), here[0]))
    return runs


def buffers(cell: Cell) -> tuple[str, ...]:
    """The buffers of a cell's table, in order."""
    kinds = ("before", "now", "total", "carry")
    return (
        "x", "a", "grad", "bias", "direct.h",
        *(f"{kind}.{name}" for kind in kinds for name in cell.states),
        *(f"now.{name}" for name in cell.values if name not in cell.states),
        *(f"grad_input.{gate}" for gate in cell.apart),
        *(f"{kind}.{name}" for kind in ("p", "peephole") for name in cell.peepholes),
        *(f"back.{k}" for k in range(1, len(cell.products))),
        "zero", "limit", "G_bias", *(f"G_bias.{gate}" for gate in cell.apart),
        *(f"{kind}.{k}" for kind in ("W_input", "G_input") for k in range(len(input_runs(cell)))),
        *(f"{kind}.{k}" for kind in ("W", "W_back", "G") for k in range(len(cell.products))),
    )  # fmt: skip


def entries(cell: Cell) -> tuple[str, ...]:
    """The table's entries, in order."""
    given = (*WEIGHTS, *(f"grad_{name}" for name in WEIGHTS))
    return (*SIZES, *given, *(f"{buffer}.{field}" for buffer in buffers(cell) for field in FIELDS))


def write_program(code: Code, cell: Cell) -> None:
    """Add the functions `forward`, `backward` and `norms` to a module."""
    norms(code)
    parts = Parts(product(code), outer(code), row_sums(code), pack(code), copy(code))
    _Driver(code, cell, "forward", parts).forward()
    _Driver(code, cell, "backward", parts).backward()


@dataclass(frozen=True)
class Parts:
    """Functions that both programs call."""

    product: ir.Function
    outer: ir.Function
    row_sums: ir.Function
    pack: ir.Function
    copy: ir.Function


class _Driver:
    """One of the two functions: what the table holds, and where each buffer lies at a time step."""

    def __init__(self, code: Code, cell: Cell, name: str, parts: Parts) -> None:
        self.code, self.cell, self.parts = code, cell, parts
        function, self.write = code.function(name, 1, public=True)
        self.entry = {e: self.write.load_argument(function.args[0], k) for k, e in enumerate(entries(cell))}

    def forward(self) -> None:
        write, cell, entry = self.write, self.cell, self.entry
        apart = [cell.gates.index(gate) for gate in cell.apart]
        self._pack_forward()
        with write.loop(index(0), entry["T"], 1) as step:
            t = step.i
            for k, run in enumerate(input_runs(cell)):
                blocks = slice(run.block, run.block + run.count)
                self._multiply("x", t, index(1), entry["I"], f"W_input.{k}", "a", blocks, "bias")
            for block in apart:  # begins with its bias alone: a product of no terms
                self._multiply("x", t, index(0), index(0), "W_input.0", "a", slice(block, block + 1), "bias")
            for p in forward_passes(cell):
                if p.product is not None:
                    operand = cell.products[p.product].operand
                    read = "before.h" if operand == "h" else f"now.{operand}"
                    gates = cell.products[p.product].gates
                    first = cell.gates.index(gates[0])
                    blocks = slice(first, first + len(gates))
                    self._multiply(read, t, index(1), entry["H"], f"W.{p.product}", "a", blocks)
                self._elementwise(p, t)
        write.at.ret_void()

    def backward(self) -> None:
        write, cell, entry = self.write, self.cell, self.entry
        passes = backward_passes(cell)
        if passes[-1].product != 0:
            raise ValueError(f"{cell.name}: the product with h is the last one to run backward.")
        self._pack_backward()
        with write.loop(index(0), entry["T"], 1) as step:
            t = write.at.sub(write.at.sub(entry["T"], index(1)), step.i)
            for p in passes:
                if p.product is not None:
                    gates = cell.products[p.product].gates
                    first = cell.gates.index(gates[0])
                    into = self._buffer(f"back.{p.product}")[0]
                    self._multiply(
                        "grad", t, index(len(gates)), entry["H"], f"W_back.{p.product}", into, slice(0, 1),
                        "zero", first,
                    )  # fmt: skip
                self._elementwise(p, t)
            due = write.at.icmp_unsigned("==", write.at.srem(t, entry["stretch"]), index(0))
            with write.at.if_then(due):
                self._weights(t)
        self._unpack()
        write.at.ret_void()

    def _given(self, name: str, first_row: int, row: Value) -> Value:
        """Where a gate's rows, of that many numbers each, begin in a weight or in its gradient."""
        at = self.write.at
        return self.write.address(self.entry[name], at.mul(at.mul(self.entry["H"], index(first_row)), row))

    def _pack_forward(self) -> None:
        """The weights as the forward pass reads them."""
        at, cell, entry = self.write.at, self.cell, self.entry
        H, padded, I, one = entry["H"], entry["padded"], entry["I"], index(1)  # noqa: E741
        for k, run in enumerate(input_runs(cell)):
            source, into = self._given("weight_ih", run.first, I), entry[f"W_input.{k}.address"]
            at.call(self.parts.pack, [source, I, one, index(run.count), H, padded, I, into])
        for k, own in enumerate(cell.products):
            first, count = cell.gates.index(own.gates[0]), len(own.gates)
            source, into = self._given("weight_hh", first, H), entry[f"W.{k}.address"]
            at.call(self.parts.pack, [source, H, one, index(count), H, padded, H, into])
        for k, name in enumerate(cell.peepholes):
            source = self._given("weight_peephole", k, one)
            at.call(self.parts.copy, [source, H, one, entry[f"p.{name}.address"], padded, one, one, H])
        for k, gate in enumerate(cell.gates):
            b_ih, b_hh = (self._given(name, k, one) for name in ("bias_ih", "bias_hh"))
            bias = self.write.address(entry["bias.address"], at.mul(padded, index(k)))
            if gate in cell.apart:
                block = columns(cell).index(f"input.{gate}")
                own = self.write.address(entry["bias.address"], at.mul(padded, index(block)))
                at.call(self.parts.copy, [b_hh, H, one, bias, padded, one, one, H])
                at.call(self.parts.copy, [b_ih, H, one, own, padded, one, one, H])
                continue
            with self.write.loop(index(0), H, 1) as u:
                both = [self.write.load(self.write.address(b, u.i), self.code.real) for b in (b_ih, b_hh)]
                self.write.store(at.fadd(*both), self.write.address(bias, u.i))

    def _pack_backward(self) -> None:
        """The recurrent weights as the backward pass reads them."""
        at, cell, entry = self.write.at, self.cell, self.entry
        H, padded, one = entry["H"], entry["padded"], index(1)
        for k, own in enumerate(cell.products):
            source = self._given("weight_hh", cell.gates.index(own.gates[0]), H)
            K = at.mul(H, index(len(own.gates)))
            at.call(self.parts.pack, [source, one, H, one, H, padded, K, entry[f"W_back.{k}.address"]])

    def _unpack(self) -> None:
        """The gradients of the weights, in the weights' own order."""
        at, cell, entry = self.write.at, self.cell, self.entry
        H, padded, one = entry["H"], entry["padded"], index(1)

        def gates(sums: Value, M: Value, count: int, name: str, first: int) -> None:
            """(M, count * padded) into the rows of so many gates, M numbers each."""
            for k in range(count):
                source = self.write.address(sums, at.mul(padded, index(k)))
                row = at.mul(padded, index(count))
                at.call(
                    self.parts.copy,
                    [source, one, row, self._given(f"grad_{name}", first + k, M), M, one, H, M],
                )

        for k, own in enumerate(cell.products):
            first, count = cell.gates.index(own.gates[0]), len(own.gates)
            gates(entry[f"G.{k}.address"], H, count, "weight_hh", first)
        for k, run in enumerate(input_runs(cell)):
            gates(entry[f"G_input.{k}.address"], entry["I"], run.count, "weight_ih", run.first)
        for k, gate in enumerate(cell.gates):
            sums = at.add(entry["G_bias.address"], at.mul(padded, index(8 * k)))
            self._bias(sums, "grad_bias_hh", k)
            self._bias(entry[f"G_bias.{gate}.address"] if gate in cell.apart else sums, "grad_bias_ih", k)
        for k, name in enumerate(cell.peepholes):
            row, into = entry[f"peephole.{name}.row"], self._given("grad_weight_peephole", k, one)
            with self.write.loop(index(0), H, 1) as u:
                start = self.write.address(entry[f"peephole.{name}.address"], u.i)
                nothing = ir.Constant(self.code.real, 0.0)
                with self.write.loop(index(0), entry["B"], 1, [nothing]) as b:
                    share = self.write.load(self.write.address(start, at.mul(b.i, row)), self.code.real)
                    b.next.append(at.fadd(b.carried[0], share))
                self.write.store(b.carried[0], self.write.address(into, u.i))

    def _bias(self, sums: Value, name: str, gate: int) -> None:
        """Sums in float64 into the rows of a gate."""
        write, at = self.write, self.write.at
        into = self._given(name, gate, index(1))
        with write.loop(index(0), self.entry["H"], 1) as u:
            value = write.load(at.add(sums, at.mul(u.i, index(8))), ir.DoubleType())
            value = value if self.code.size == 8 else at.fptrunc(value, self.code.real)
            write.store(value, write.address(into, u.i))

    def _weights(self, t: Value) -> None:
        """What the steps of a stretch, which begins at t, add to the gradients of the weights.

        While these steps are still in the fast part of the memory. Their rows lie next to each other, the
        other way round for a sequence that is read backward.
        """
        at, cell, entry = self.write.at, self.cell, self.entry
        after = at.add(t, entry["stretch"])
        last_one = at.icmp_signed(">=", after, entry["T"])
        after = at.select(last_one, entry["T"], after)
        R = at.mul(at.sub(after, t), entry["B"])
        fresh = at.zext(last_one, INDEX)
        last = at.sub(after, index(1))
        padded = entry["padded"]

        def start(buffer: str) -> Value:
            here, there = self._at(buffer, t), self._at(buffer, last)
            return at.select(at.icmp_unsigned("<", here, there), here, there)

        def add(operand: str, M: Value, grad: str, first: int, count: int, into: str) -> None:
            A, row_A = start(operand), entry[f"{operand}.row"]
            P = self.write.address(start(grad), at.mul(padded, index(first)))
            N = at.mul(padded, index(count))
            C = entry[f"{into}.address"]
            at.call(self.parts.outer, [A, row_A, M, P, entry[f"{grad}.row"], N, C, R, fresh])

        for k, own in enumerate(cell.products):
            operand = "before.h" if own.operand == "h" else f"now.{own.operand}"
            first = cell.gates.index(own.gates[0])
            add(operand, entry["H"], "grad", first, len(own.gates), f"G.{k}")
        for k, run in enumerate(input_runs(cell)):
            gate = cell.gates[run.first]
            grad, first = (f"grad_input.{gate}", 0) if gate in cell.apart else ("grad", run.first)
            add("x", entry["I"], grad, first, run.count, f"G_input.{k}")
        for grad, into in (("grad", "G_bias"), *((f"grad_input.{g}", f"G_bias.{g}") for g in cell.apart)):
            count = at.mul(padded, index(len(cell.gates) if grad == "grad" else 1))
            row = entry[f"{grad}.row"]
            at.call(self.parts.row_sums, [start(grad), row, count, entry[f"{into}.address"], R, fresh])

    def _multiply(
        self, read: str, t: Value, segments: Value, K: Value, weights: str, into: str, blocks: slice,
        bias: str | None = None, first: int = 0,
    ) -> None:  # fmt: skip
        """Blocks of `into`, from what they hold or from the bias, plus a product; `first` block of `read`."""
        write, at, entry = self.write, self.write.at, self.entry
        padded = entry["padded"]
        start = at.mul(padded, index(blocks.start))
        A = write.address(self._at(read, t), at.mul(padded, index(first)))
        C = write.address(self._at(into, t), start)
        N = at.mul(padded, index(blocks.stop - blocks.start))
        begin = index(0) if bias is None else write.address(entry[f"{bias}.address"], start)
        rows = (entry[f"{read}.row"], entry[f"{into}.row"])
        P = entry[f"{weights}.address"]
        at.call(self.parts.product, [A, rows[0], segments, padded, K, P, C, rows[1], N, entry["B"], begin])

    def _elementwise(self, p: Pass, t: Value) -> None:
        """One pass over all sequences and units."""
        stores = {b: n for b, n in p.stores.items() if not self._in_place(b, n)}
        if not stores:
            return
        write, at = self.write, self.write.at
        bases: dict[str, Value] = {}

        def base(buffer: str) -> tuple[Value, Value]:
            name, block = self._buffer(buffer)
            if buffer not in bases:
                bases[buffer] = write.address(self._at(name, t), at.mul(self.entry["padded"], index(block)))
            return bases[buffer], self.entry[f"{name}.row"]

        for buffer in self._touched(p, stores):
            base(buffer)
        with write.loop(index(0), self.entry["B"], 1) as row:
            rows = {b: write.address(address, at.mul(row.i, base(b)[1])) for b, address in bases.items()}
            with write.loop(index(0), self.entry["padded"], self.code.W) as unit:
                vectors: dict[Node, Value] = {}
                values = {b: self._value(n, p, unit.i, rows, vectors) for b, n in stores.items()}
                for buffer, value in values.items():
                    write.store(value, write.address(rows[buffer], unit.i))

    def _touched(self, p: Pass, stores: Mapping[str, Node]) -> list[str]:
        """Buffers that a pass reads or writes."""
        found: dict[str, None] = dict.fromkeys(stores)

        def visit(node: Node) -> None:
            if node in p.known:
                found[p.known[node]] = None
            elif node.op == "load":
                found[node.name] = None
            for argument in () if node in p.known else node.args:
                visit(argument)

        for node in stores.values():
            visit(node)
        return list(found)

    def _value(
        self, node: Node, p: Pass, j: Value, rows: Mapping[str, Value], vectors: dict[Node, Value]
    ) -> Value:  # fmt: skip
        """A vector of what a node stands for, each node computed once."""
        if node in vectors:
            return vectors[node]
        write = self.write
        if node in p.known or node.op == "load":
            value = write.load(write.address(rows[p.known.get(node, node.name)], j))
        elif node.op == "constant":
            value = write.constant(node.value)
        else:
            arguments = [self._value(argument, p, j, rows, vectors) for argument in node.args]
            value = OPERATIONS[node.op](write, *arguments)
        vectors[node] = value
        return value

    def _buffer(self, buffer: str) -> tuple[str, int]:
        """Where the table holds a buffer of an expression: entry and block."""
        kind, _, name = buffer.partition(".")
        if kind in ("a", "input"):
            return "a", columns(self.cell).index(buffer)
        if kind == "grad":
            return "grad", self.cell.gates.index(name)
        return ("carry.h" if buffer == "back.0" else buffer), 0  # the last product gives what is handed on

    def _in_place(self, buffer: str, node: Node) -> bool:
        return node.op == "load" and self._buffer(node.name) == self._buffer(buffer)

    def _at(self, entry: str, t: Value) -> Value:
        """The address of an entry of the table at a time step."""
        at = self.write.at
        return self.write.address(self.entry[f"{entry}.address"], at.mul(t, self.entry[f"{entry}.time"]))


OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": lambda write, a, b: write.at.fadd(a, b),
    "sub": lambda write, a, b: write.at.fsub(a, b),
    "mul": lambda write, a, b: write.at.fmul(a, b),
    "div": lambda write, a, b: write.at.fdiv(a, b),
    "sqrt": Writer.sqrt,
    "sigmoid": Writer.sigmoid,
    "tanh": Writer.tanh,
    "relu": Writer.relu,
    "where_positive": Writer.where_positive,
    "clamp": Writer.clamp,
}
