"""What the machine code of a cell is made of: loops, products in tiles, elementwise functions on vectors.

Why not a compiler for Python: the loops are few and their shapes known, and what makes them fast (tiles of a
product held in registers, gates computed a whole vector at a time) is said here rather than hoped for.
Nothing assumes that numbers are finite. Sums run in a fixed order, so the same machine gives the same bytes.

A vector holds W numbers. Buffers hold whole vectors: rows of H numbers are padded, and what is computed in
the padding is never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

INDEX = ir.IntType(64)
POINTER = ir.PointerType()
Value = Any  # llvmlite.ir.Value

# Tiles of a product, (vectors, rows), the widest first: their sums stay in registers, with room for operands.
TILES = {32: ((2, 8), (1, 8)), 16: ((2, 4), (1, 8))}  # by the number of vector registers

# (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, lowest power first, interpolated at the Chebyshev nodes.
EXP = {
    "float32": (
        0.500000001353873, 0.16666666681704215, 0.04166646419740569, 0.008333310844647862,
        0.0013933730715792083, 0.00019891080463998843,
    ),
    "float64": (
        0.5000000000000001, 0.16666666666666669, 0.041666666666623824, 0.008333333333330039,
        0.0013888888917367081, 0.00019841269863171557, 2.4801521057868204e-05, 2.7557268276905696e-06,
        2.7620201591031547e-07, 2.5100472505694996e-08,
    ),
}  # fmt: skip
#: Terms of a product that are summed before their sum is added to the whole: sums of sums round less.
TERMS = 64
LOG2_E = 1.4426950408889634
#: ln 2 in two parts, the first with so few digits that its product with a whole number is exact.
LN2 = {
    "float32": (0.693359375, -2.1219444005469057e-4),
    "float64": (0.693145751953125, 1.4286068203094173e-06),
}
#: Added to a number, this rounds it to a whole one, which then stands in the lowest bits of the sum.
ROUND = {"float32": 1.5 * 2.0**23, "float64": 1.5 * 2.0**52}
MANTISSA = {"float32": 23, "float64": 52}
EXPONENT_OF_ONE = {"float32": 127, "float64": 1023}
#: Beyond these e^x or e^-x is no normal number.
_EXP_LIMIT = {"float32": 87.0, "float64": 708.0}
#: Beyond these tanh is 1 to the last digit.
_TANH_LIMIT = {"float32": 10.0, "float64": 20.0}


def index(number: int) -> Value:
    return ir.Constant(INDEX, number)


class Code:
    """A module of functions on numbers of one precision, for vectors of so many bytes."""

    def __init__(self, precision: str, vector_bytes: int, registers: int) -> None:
        self.precision = precision
        self.size = 4 if precision == "float32" else 8  # bytes of a number
        self.W = vector_bytes // self.size
        self.tiles = TILES[registers]
        self.real = ir.FloatType() if precision == "float32" else ir.DoubleType()
        self.vector = ir.VectorType(self.real, self.W)
        self.bits = ir.VectorType(ir.IntType(8 * self.size), self.W)
        self.module = ir.Module(name="rnnviz")

    def function(self, name: str, arguments: int, public: bool) -> tuple[ir.Function, Writer]:
        """A function of so many pointers or whole numbers, and a writer at its beginning."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [INDEX] * arguments), name)
        function.linkage = "external" if public else "internal"
        return function, Writer(self, ir.IRBuilder(function.append_basic_block()))


@dataclass
class Loop:
    """A round of a loop: its number, what the round before has handed over, what it hands to the next."""

    i: Value
    carried: list[Value]
    next: list[Value] = field(default_factory=list)


class Writer:
    """Writes instructions one after the other. Addresses are whole numbers, counted in bytes."""

    def __init__(self, code: Code, builder: ir.IRBuilder) -> None:
        self.code, self.at = code, builder

    # Whole numbers, addresses and loops.

    def address(self, base: Value, *offsets: Value) -> Value:
        """Where a number lies that is this many numbers after `base`."""
        total = offsets[0]
        for offset in offsets[1:]:
            total = self.at.add(total, offset)
        return self.at.add(base, self.at.mul(total, index(self.code.size)))

    def load(self, address: Value, kind: Value | None = None) -> Value:
        pointer = self.at.inttoptr(address, POINTER)
        kind = kind or self.code.vector
        return self.at.load(pointer, align=min(8, self.code.size) if kind is not INDEX else 8, typ=kind)

    def load_some(self, address: Value, inside: Value) -> Value:
        """A vector of which only the numbers `inside` may be read; 0 in the other places."""
        kind = self.code.vector
        name = f"llvm.masked.load.v{self.code.W}f{8 * self.code.size}.p0"
        if name not in self.code.module.globals:
            signature = ir.FunctionType(kind, [POINTER, ir.IntType(32), inside.type, kind])
            ir.Function(self.code.module, signature, name)
        align = ir.Constant(ir.IntType(32), self.code.size)
        pointer = self.at.inttoptr(address, POINTER)
        return self.at.call(self.code.module.globals[name], [pointer, align, inside, self.constant(0.0)])

    def store_some(self, value: Value, address: Value, inside: Value) -> None:
        """Write the numbers of a vector that are `inside`."""
        name = f"llvm.masked.store.v{self.code.W}f{8 * self.code.size}.p0"
        if name not in self.code.module.globals:
            signature = ir.FunctionType(ir.VoidType(), [value.type, POINTER, ir.IntType(32), inside.type])
            ir.Function(self.code.module, signature, name)
        align = ir.Constant(ir.IntType(32), self.code.size)
        pointer = self.at.inttoptr(address, POINTER)
        self.at.call(self.code.module.globals[name], [value, pointer, align, inside])

    def coefficient(self, table: Value, number: int) -> Value:
        """A number of a table of float64, in the module's precision."""
        double = self.load(self.at.add(table, index(8 * number)), ir.DoubleType())
        return double if self.code.size == 8 else self.at.fptrunc(double, self.code.real)

    def store(self, value: Value, address: Value) -> None:
        self.at.store(value, self.at.inttoptr(address, POINTER), align=self.code.size)

    def load_argument(self, arguments: Value, number: int) -> Value:
        return self.load(self.at.add(arguments, index(8 * number)), INDEX)

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int, carried: Sequence[Value] = ()) -> Iterator[Loop]:
        """for i in range(start, stop, step); `carried` are values that each round hands to the next."""
        at = self.at
        head, body, after = (at.function.append_basic_block() for _ in range(3))
        before = at.block
        at.branch(head)
        at.position_at_end(head)
        i = at.phi(INDEX)
        i.add_incoming(start, before)
        phis = []
        for value in carried:
            phis.append(at.phi(value.type))
            phis[-1].add_incoming(value, before)
        at.cbranch(at.icmp_signed("<", i, stop), body, after)
        at.position_at_end(body)
        loop = Loop(i, phis)
        yield loop
        i.add_incoming(at.add(i, index(step)), at.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, at.block)
        at.branch(head)
        at.position_at_end(after)

    # Vectors.

    def constant(self, value: float) -> Value:
        return ir.Constant(self.code.vector, [value] * self.code.W)

    def whole(self, value: int) -> Value:
        return ir.Constant(self.code.bits, [value] * self.code.W)

    def splat(self, number: Value) -> Value:
        """A vector of equal numbers."""
        W = self.code.W
        lane = ir.IntType(32)
        nothing = ir.Constant(self.code.vector, ir.Undefined)
        first = self.at.insert_element(nothing, number, ir.Constant(lane, 0))
        return self.at.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(lane, W), [0] * W))

    def below(self, count: Value) -> Value:
        """Which places of a vector, from 0, are below a whole number."""
        W, lane = self.code.W, ir.IntType(32)
        kind = ir.VectorType(INDEX, W)
        first = self.at.insert_element(ir.Constant(kind, ir.Undefined), count, ir.Constant(lane, 0))
        limit = self.at.shuffle_vector(first, first, ir.Constant(ir.VectorType(lane, W), [0] * W))
        return self.at.icmp_signed("<", ir.Constant(kind, list(range(W))), limit)

    def call(self, name: str, *arguments: Value) -> Value:
        """A function that LLVM has for every kind of vector."""
        kind = arguments[0].type
        suffix = f"v{kind.count}{'f64' if kind.element == ir.DoubleType() else 'f32'}"
        full, module = f"{name}.{suffix}", self.code.module
        if full not in module.globals:
            ir.Function(module, ir.FunctionType(kind, [kind] * len(arguments)), full)
        return self.at.call(module.globals[full], arguments)

    def doubles(self, vector: Value) -> Value:
        """The same numbers in float64."""
        kind = ir.VectorType(ir.DoubleType(), self.code.W)
        return vector if vector.type == kind else self.at.fpext(vector, kind)

    def total(self, doubles: Value) -> Value:
        """The sum of a vector of float64, from its first number to its last."""
        double, module = ir.DoubleType(), self.code.module
        name = f"llvm.vector.reduce.fadd.v{self.code.W}f64"
        if name not in module.globals:
            ir.Function(module, ir.FunctionType(double, [double, doubles.type]), name)
        return self.at.call(module.globals[name], [ir.Constant(double, 0.0), doubles])

    def root(self, double: Value) -> Value:
        """The square root of one float64."""
        module = self.code.module
        if "llvm.sqrt.f64" not in module.globals:
            ir.Function(module, ir.FunctionType(ir.DoubleType(), [ir.DoubleType()]), "llvm.sqrt.f64")
        return self.at.call(module.globals["llvm.sqrt.f64"], [double])

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once where the processor can."""
        return self.call("llvm.fmuladd", a, b, c)

    # The functions of cells. Comparisons are false for NaN, so that each lets it through.

    def exp_parts(self, x: Value) -> tuple[Value, Value]:
        """e^x = scale + scale * p, |x| < 87 or 708: a power of two, and p = e^r - 1, |r| <= ln 2 / 2."""
        at, precision = self.at, self.code.precision
        high, low = LN2[precision]
        rounding = self.constant(ROUND[precision])
        n = self.multiply_add(x, self.constant(LOG2_E), rounding)
        whole = at.fsub(n, rounding)
        r = self.multiply_add(whole, self.constant(-low), self.multiply_add(whole, self.constant(-high), x))
        coefficients = EXP[precision]
        p = self.constant(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            p = self.multiply_add(p, r, self.constant(coefficient))
        p = self.multiply_add(at.fmul(r, r), p, r)
        exponent = at.add(at.bitcast(n, self.code.bits), self.whole(EXPONENT_OF_ONE[precision]))
        scale = at.bitcast(at.shl(exponent, self.whole(MANTISSA[precision])), self.code.vector)
        return scale, p

    def at_most(self, x: Value, limit: float) -> Value:
        return self.at.select(self.at.fcmp_ordered(">", x, self.constant(limit)), self.constant(limit), x)

    def at_least(self, x: Value, limit: float) -> Value:
        return self.at.select(self.at.fcmp_ordered("<", x, self.constant(limit)), self.constant(limit), x)

    def sigmoid(self, a: Value) -> Value:
        """1 / (1 + e^-a), and 0 where that is no normal number any more."""
        at, one, limit = self.at, self.constant(1.0), _EXP_LIMIT[self.code.precision]
        x = at.fneg(a)
        scale, p = self.exp_parts(self.at_least(self.at_most(x, limit), -limit))
        value = at.fdiv(one, at.fadd(one, self.multiply_add(scale, p, scale)))
        return at.select(at.fcmp_ordered(">", x, self.constant(limit)), self.constant(0.0), value)

    def tanh(self, a: Value) -> Value:
        """-m / (2 + m) with m = e^(-2|a|) - 1, and the sign of a: true to the last digits near 0 as well."""
        at = self.at
        x = at.fmul(self.call("llvm.fabs", a), self.constant(-2.0))
        scale, p = self.exp_parts(self.at_least(x, -2.0 * _TANH_LIMIT[self.code.precision]))
        m = self.multiply_add(scale, p, at.fsub(scale, self.constant(1.0)))
        return self.call("llvm.copysign", at.fdiv(m, at.fadd(self.constant(2.0), m)), a)

    def sqrt(self, a: Value) -> Value:
        return self.call("llvm.sqrt", a)

    def relu(self, a: Value) -> Value:
        return self.at.select(self.at.fcmp_ordered("<", a, self.constant(0.0)), self.constant(0.0), a)

    def where_positive(self, h: Value, a: Value) -> Value:
        return self.at.select(self.at.fcmp_ordered(">", h, self.constant(0.0)), a, self.constant(0.0))

    def clamp(self, a: Value, limit: Value) -> Value:
        """Between -limit and limit; NaN stays NaN."""
        below = self.at.select(self.at.fcmp_ordered(">", a, limit), limit, a)
        least = self.at.fneg(limit)
        return self.at.select(self.at.fcmp_ordered("<", below, least), least, below)


def product(code: Code) -> ir.Function:
    """product(A, row of A, segments, segment of A, K, P, C, row of C, N, B, bias)

    C[b, :N] = (bias, or C[b, :N] if that is 0) + A[b, :] P for B rows. A row of A consists of so many
    segments of K numbers each, which lie "segment of A" apart. P is packed by `pack`; N is a multiple of W.
    """
    function, write = code.function("product", 11, public=False)
    A, row_A, segments, segment_A, K, P, C, row_C, N, B, bias = function.args
    at = write.at
    fresh = at.icmp_unsigned("!=", bias, index(0))
    depth = at.mul(segments, K)  # of P
    column: Value = index(0)

    def tile(j: Value, vectors: int, first: Value, last: Value, rows: int) -> None:
        panel = write.address(P, at.mul(j, depth))
        with write.loop(first, last, rows) as row:
            number = [at.add(row.i, index(k)) for k in range(rows)]
            a_rows = [write.address(A, at.mul(k, row_A)) for k in number]
            c_rows = [write.address(C, at.mul(k, row_C), j) for k in number]
            lanes = [index(v * code.W) for v in range(vectors)]
            places = [write.address(c, lane) for c in c_rows for lane in lanes]
            with at.if_then(fresh):
                for lane in lanes:
                    value = write.load(write.address(bias, j, lane))
                    for c in c_rows:
                        write.store(value, write.address(c, lane))
            nothing = [write.constant(0.0)] * len(places)
            with write.loop(index(0), segments, 1) as segment:
                offset, skipped = at.mul(segment.i, segment_A), at.mul(segment.i, K)
                with write.loop(index(0), K, TERMS) as block:
                    end = at.add(block.i, index(TERMS))
                    end = at.select(at.icmp_signed("<", end, K), end, K)
                    with write.loop(block.i, end, 1, nothing) as k:
                        at_k = write.address(panel, at.mul(at.add(skipped, k.i), index(vectors * code.W)))
                        weights = [write.load(write.address(at_k, lane)) for lane in lanes]
                        for r, a_row in enumerate(a_rows):
                            a = write.splat(write.load(write.address(a_row, offset, k.i), code.real))
                            for v, weight in enumerate(weights):
                                k.next.append(write.multiply_add(a, weight, k.carried[r * vectors + v]))
                    for place, sum_ in zip(places, k.carried, strict=True):
                        write.store(at.fadd(write.load(place), sum_), place)

    for vectors, rows in code.tiles:
        width = vectors * code.W
        whole = at.sub(B, at.srem(B, index(rows)))
        with write.loop(column, at.sub(N, index(width - 1)), width) as columns:
            tile(columns.i, vectors, index(0), whole, rows)
            tile(columns.i, vectors, whole, B, 1)
        column = columns.i
    at.ret_void()
    return function


def outer(code: Code) -> ir.Function:
    """outer(A, row of A, M, P, row of P, N, C, R, fresh): C[:M, :N] (+)= sum of A[r, :M]^T P[r, :N], r < R.

    N is a multiple of W and the length of C's rows. If `fresh` is not 0, C begins at 0.
    """
    function, write = code.function("outer", 9, public=False)
    A, row_A, M, P, row_P, N, C, R, fresh = function.args
    at = write.at
    anew = at.icmp_unsigned("!=", fresh, index(0))

    def tile(m: Value, rows: int, j: Value, vectors: int) -> None:
        lanes = [index(v * code.W) for v in range(vectors)]
        nothing = write.constant(0.0)
        places = [
            write.address(C, at.mul(at.add(m, index(k)), N), j, lane) for k in range(rows) for lane in lanes
        ]
        with at.if_then(anew):
            for place in places:
                write.store(nothing, place)
        with write.loop(index(0), R, TERMS) as block:
            end = at.add(block.i, index(TERMS))
            end = at.select(at.icmp_signed("<", end, R), end, R)
            with write.loop(block.i, end, 1, [nothing] * len(places)) as r:
                a_row, p_row = (
                    write.address(A, at.mul(r.i, row_A), m),
                    write.address(P, at.mul(r.i, row_P), j),
                )
                p = [write.load(write.address(p_row, lane)) for lane in lanes]
                for k in range(rows):
                    a = write.splat(write.load(write.address(a_row, index(k)), code.real))
                    for v in range(vectors):
                        r.next.append(write.multiply_add(a, p[v], r.carried[k * vectors + v]))
            for place, sum_ in zip(places, r.carried, strict=True):
                write.store(at.fadd(write.load(place), sum_), place)

    column: Value = index(0)
    for vectors, rows in code.tiles:
        width = vectors * code.W
        whole = at.sub(M, at.srem(M, index(rows)))
        with write.loop(column, at.sub(N, index(width - 1)), width) as j:
            with write.loop(index(0), whole, rows) as m:
                tile(m.i, rows, j.i, vectors)
            with write.loop(whole, M, 1) as m:
                tile(m.i, 1, j.i, vectors)
        column = j.i
    at.ret_void()
    return function


def row_sums(code: Code) -> ir.Function:
    """row_sums(P, row of P, N, C, R, fresh): C[:N] (+)= sum over R rows of P[r, :N]; C is of float64.

    N is a multiple of W. A bias collects as many terms as there are sequences and time steps.
    """
    function, write = code.function("row_sums", 6, public=False)
    P, row_P, N, C, R, fresh = function.args
    at = write.at
    kind = ir.VectorType(ir.DoubleType(), code.W)
    anew = at.icmp_unsigned("!=", fresh, index(0))
    with write.loop(index(0), N, code.W) as j:
        place = at.add(C, at.mul(j.i, index(8)))
        before = at.select(anew, ir.Constant(kind, [0.0] * code.W), write.load(place, kind))
        with write.loop(index(0), R, 1, [before]) as r:
            row = write.doubles(write.load(write.address(P, at.mul(r.i, row_P), j.i)))
            r.next.append(at.fadd(r.carried[0], row))
        at.store(r.carried[0], at.inttoptr(place, POINTER), align=8)
    at.ret_void()
    return function


def squares_of(write: Writer, vector: Value, inside: Value, sums: Value) -> Value:
    """`sums`, in float64, plus the square of each number of a vector that is `inside` (a vector of bits)."""
    vector = write.doubles(vector)
    vector = write.at.select(inside, vector, ir.Constant(vector.type, [0.0] * write.code.W))
    return write.call("llvm.fmuladd", vector, vector, sums)


def norms(code: Code) -> ir.Function:
    """norms(G, time, row, T, B, H, out): out[t] = sum over the batch of the Euclidean norm of G[t, b, :H].

    In float64, because squares of small float32 numbers are zero long before the numbers are.
    """
    function, write = code.function("norms", 7, public=True)
    G, time, row, T, B, H, out = function.args
    at = write.at
    double = ir.DoubleType()
    none = ir.Constant(ir.VectorType(double, code.W), [0.0] * code.W)
    with write.loop(index(0), T, 1) as t:
        with write.loop(index(0), B, 1, [ir.Constant(double, 0.0)]) as b:
            start = write.address(G, at.mul(t.i, time), at.mul(b.i, row))
            with write.loop(index(0), H, code.W, [none]) as j:
                inside = write.below(at.sub(H, j.i))
                j.next.append(squares_of(write, write.load(write.address(start, j.i)), inside, j.carried[0]))
            b.next.append(at.fadd(b.carried[0], write.root(write.total(j.carried[0]))))
        at.store(b.carried[0], at.inttoptr(at.add(out, at.mul(t.i, index(8))), POINTER), align=8)
    at.ret_void()
    return function


def pack(code: Code) -> ir.Function:
    """pack(S, row, column, blocks, H, padded, K, P): fill P, as `product` reads it, with a matrix of K rows.

    Its column for unit u of a block is S[(block * H + u) * row + k * column] for k < K. The columns of the
    padding stay as they are. A panel of P holds its columns row by row; the widest panels come first.
    """
    function, write = code.function("pack", 8, public=False)
    S, row, column, blocks, H, padded, K, P = function.args
    at, W = write.at, code.W
    (wide, _), (narrow, _) = code.tiles
    assert (wide, narrow) == (2, 1)
    vectors = at.udiv(at.mul(blocks, padded), index(W))
    in_pairs = at.and_(vectors, index(-2))
    with write.loop(index(0), vectors, 1) as v:
        first = at.mul(v.i, index(W))
        block, unit = at.udiv(first, padded), at.urem(first, padded)
        paired = at.icmp_signed("<", v.i, in_pairs)
        start = at.mul(first, K)
        half = at.mul(at.and_(v.i, index(1)), index(W))
        pair = at.add(at.mul(at.mul(at.and_(v.i, index(-2)), index(W)), K), half)
        start = at.select(paired, pair, start)
        step = at.select(paired, index(2 * W), index(W))
        left = at.sub(H, unit)
        lanes = at.select(at.icmp_signed("<", left, index(W)), left, index(W))
        with write.loop(index(0), lanes, 1) as lane:
            source = at.mul(at.add(at.add(at.mul(block, H), unit), lane.i), row)
            with write.loop(index(0), K, 1) as k:
                value = write.load(write.address(S, source, at.mul(k.i, column)), code.real)
                write.store(value, write.address(P, start, at.mul(k.i, step), lane.i))
    at.ret_void()
    return function


def copy(code: Code) -> ir.Function:
    """copy(S, steps of S, T, steps of T, sizes), two of each: T[i, j] = S[i, j]."""
    function, write = code.function("copy", 8, public=False)
    S, S_i, S_j, T, T_i, T_j, count_i, count_j = function.args
    at = write.at
    with write.loop(index(0), count_i, 1) as i:
        source, target = write.address(S, at.mul(i.i, S_i)), write.address(T, at.mul(i.i, T_i))
        with write.loop(index(0), count_j, 1) as j:
            value = write.load(write.address(source, at.mul(j.i, S_j)), code.real)
            write.store(value, write.address(target, at.mul(j.i, T_j)))
    at.ret_void()
    return function
