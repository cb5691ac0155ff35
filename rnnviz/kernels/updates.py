"""The program for flat vectors: sums of squares, and the update of each optimizer in one go.

The last numbers of a vector, which fill no whole one of the processor's, are read and written apart.
"""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from ..optimizers import OPTIMIZERS, Optimizer
from .code import POINTER, Code, Value, Writer, index, squares_of
from .expression import Graph, Node
from .program import OPERATIONS


def write_flat(code: Code) -> None:
    """Add the functions `squares` and, for each optimizer, `update_<name>` to a module."""
    _squares(code)
    for rule in OPTIMIZERS.values():
        _update(code, rule)


def _squares(code: Code) -> None:
    """squares(P, n, out): out[0] = sum of the squares of n numbers, in float64."""
    function, write = code.function("squares", 3, public=True)
    P, n, out = function.args
    none = ir.Constant(ir.VectorType(ir.DoubleType(), code.W), [0.0] * code.W)
    with write.loop(index(0), n, code.W, [none]) as k:
        inside = write.below(write.at.sub(n, k.i))
        k.next.append(squares_of(write, write.load_some(write.address(P, k.i), inside), inside, k.carried[0]))
    write.at.store(write.total(k.carried[0]), write.at.inttoptr(out, POINTER), align=8)
    write.at.ret_void()


def _update(code: Code, rule: Optimizer) -> None:
    """update(P, G, slots ..., n, C, out): P += update; out[0] = sum of the squares of what was added to P.

    C are the coefficients, in float64.
    """
    function, write = code.function(f"update_{rule.name}", 5 + len(rule.slots), public=True)
    P, G, *slots, n, C, out = function.args
    graph, at = Graph(), write.at
    count = len(rule.coefficients(0.1, 1))
    delta, memory = rule.update(
        graph, graph.load("grad"), SimpleNamespace(**{s: graph.load(s) for s in rule.slots}),
        tuple(graph.load(f"c.{k}") for k in range(count)),
    )  # fmt: skip
    fixed = {f"c.{k}": write.splat(write.coefficient(C, k)) for k in range(count)}
    none = ir.Constant(ir.VectorType(ir.DoubleType(), code.W), [0.0] * code.W)
    with write.loop(index(0), n, code.W, [none]) as k:
        inside = write.below(at.sub(n, k.i))
        places = dict(zip(("grad", *rule.slots), (write.address(b, k.i) for b in (G, *slots)), strict=True))
        known = {name: write.load_some(place, inside) for name, place in places.items()} | fixed
        values: dict[Node, Value] = {}
        place = write.address(P, k.i)
        before = write.load_some(place, inside)
        after = at.fadd(before, _value(write, delta, known, values))
        new = {name: _value(write, node, known, values) for name, node in memory.items()}
        write.store_some(after, place, inside)
        for name, value in new.items():
            write.store_some(value, places[name], inside)
        moved = at.fsub(write.doubles(after), write.doubles(before))
        k.next.append(squares_of(write, moved, inside, k.carried[0]))
    at.store(write.total(k.carried[0]), at.inttoptr(out, POINTER), align=8)
    at.ret_void()


def _value(write: Writer, node: Node, known: dict[str, Value], values: dict[Node, Value]) -> Value:
    if node.op == "load":
        return known[node.name]
    if node.op == "constant":
        return write.constant(node.value)
    if node not in values:
        values[node] = OPERATIONS[node.op](write, *(_value(write, a, known, values) for a in node.args))
    return values[node]
