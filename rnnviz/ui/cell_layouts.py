"""Where the parts of each cell stand in its drawing: nodes, the wires between them, and their numbers.

Laid out by hand, once for each family; a variant takes away and adds, and all else stays where it is. A wire
runs along the axes, from its first node over its bends to its last one. What it carries is called as in
`rnnviz.analysis.traced`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..cells import CELLS, Cell

Point = tuple[float, float]
SIGMA = "\u03c3"
Kind = Literal["state", "phi", "weigh", "times", "plus", "minus", "joint"]
#: Half the width and height of each kind of node.
HALF: Mapping[Kind, Point] = {
    "state": (32, 16), "phi": (28, 18), "weigh": (22, 13), "times": (13, 13), "plus": (13, 13),
    "minus": (20, 13), "joint": (0, 0),
}  # fmt: skip
#: Half the width and height of a number with its symbol; an input has room for two numbers.
PLACE, WIDE = (36.0, 17.0), (59.0, 17.0)


@dataclass(frozen=True)
class Node:
    """A part of the drawing. Subscripts in a label are written as in LaTeX, h_{t-1}.

    word: what it is called, beside it, `beside` from its middle to the middle of the word.
    """

    name: str
    kind: Kind
    x: float
    y: float
    label: str = ""
    word: str = ""
    beside: Point = (-32, -26)


@dataclass(frozen=True)
class Wire:
    """A wire between two nodes. value: what it carries; order: when that is computed; place: its number's.

    A value "bus" is the input and the states of all units.
    """

    name: str
    start: str
    end: str
    order: int
    value: str
    symbol: str = ""
    place: Point | None = None
    bends: tuple[Point, ...] = ()
    main: bool = False  # the path on which what was remembered runs from step to step

    @property
    def half(self) -> Point:
        """Half the width and height of its number's place."""
        return WIDE if self.value == "x" else PLACE


@dataclass(frozen=True)
class Layout:
    """The drawing of a cell."""

    width: float
    height: float
    nodes: Mapping[str, Node]
    wires: Mapping[str, Wire]


def _layout(width: float, height: float, nodes: Iterable[Node], wires: Iterable[Wire]) -> Layout:
    return Layout(width, height, {node.name: node for node in nodes}, {wire.name: wire for wire in wires})


#: What each gate is called.
WORDS: Mapping[str, str] = {
    "i": "input", "f": "forget", "g": "candidate", "o": "output", "r": "reset", "z": "update",
    "n": "candidate",
}  # fmt: skip


def _gate(gate: str, phi: str, x: float, y: float) -> list[Node]:
    """A gate's box, with its weights below it."""
    box = Node(gate, "phi", x, y, phi, WORDS[gate])
    return [box, Node(f"W_{gate}", "weigh", x, y + 88, f"W_{gate}")]


def _pre(gate: str, x: float, y: float) -> Wire:
    """From its weights to a gate."""
    return Wire(f"a_{gate}", f"W_{gate}", gate, 2, f"a_{gate}", f"a_{gate}", (x + 42, y + 47))


def _tap(gate: str, x: float, bus: float) -> tuple[Node, Wire]:
    """Where the bus is tapped for a gate."""
    return Node(f"tap_{gate}", "joint", x, bus), Wire(f"tap_{gate}", f"tap_{gate}", f"W_{gate}", 1, "bus")


def _plain(cell: Cell) -> Layout:
    phi = {"sigmoid": SIGMA, "tanh": "tanh", "relu": "ReLU", "linear": "linear"}[cell.activations[0]]
    nodes = [
        Node("h_before", "state", 46, 80, "h_{t-1}"),
        Node("x", "state", 46, 230, "x_t"),
        Node("b", "state", 270, 155, "b"),
        Node("W_hh", "weigh", 220, 80, "W_{hh}"),
        Node("W_ih", "weigh", 220, 230, "W_{ih}"),
        Node("sum", "plus", 400, 155),
        Node("phi", "phi", 540, 155, phi),
        Node("h", "state", 704, 155, "h_t"),
    ]
    wires = [
        Wire("h_before", "h_before", "W_hh", 0, "h_before", "h_{t-1}", (138, 54), main=True),
        Wire("x", "x", "W_ih", 0, "x", "x_t", (138, 204)),
        Wire(
            "recurrent", "W_hh", "sum", 1, "recurrent_h", "W_{hh} h_{t-1}", (310, 54), ((400, 80),), main=True
        ),
        Wire("input", "W_ih", "sum", 1, "input_h", "W_{ih} x_t", (310, 204), ((400, 230),)),
        Wire("bias", "b", "sum", 1, "bias_h", "b_{ih} + b_{hh}", (344, 129)),
        Wire("a", "sum", "phi", 2, "a_h", "a_t", (470, 129), main=True),
        Wire("h", "phi", "h", 3, "h", "h_t", (618, 129), main=True),
    ]
    return _layout(750, 290, nodes, wires)


_F, _I, _G, _O, _SHOW = 260, 410, 540, 720, 850  # columns of an LSTM: its gates, and where c_t is shown
_TOP, _GATES, _BUS = 70, 300, 430  # its rows


def _lstm_core(new: str, symbol: str) -> tuple[list[Node], list[Wire]]:
    """What all LSTMs have. new: what is written into the memory."""
    nodes = [
        Node("c_before", "state", 46, _TOP, "c_{t-1}"),
        Node("h_before", "state", 46, _BUS, "h_{t-1}"),
        Node("x", "state", 46, 490, "x_t"),
        Node("merge", "joint", 200, _BUS),
        *_gate("f", SIGMA, _F, _GATES),
        *_gate("g", "tanh", _G, _GATES),
        *_gate("o", SIGMA, _O, _GATES),
        Node("keep", "times", _F, _TOP),
        Node("write", "times", _G, 200),
        Node("sum", "plus", _G, _TOP),
        Node("seen", "joint", _SHOW, _TOP),
        Node("tanh", "phi", _SHOW, 135, "tanh"),
        Node("show", "times", _SHOW, 215),
        Node("c", "state", 984, _TOP, "c_t"),
        Node("h", "state", 984, 215, "h_t"),
    ]
    taps = [_tap("f", _F, _BUS), _tap("g", _G, _BUS)]
    wires = [
        Wire("c_before", "c_before", "keep", 0, "c_before", "c_{t-1}", (125, 44), main=True),
        Wire("h_before", "h_before", "merge", 0, "h_before", "h_{t-1}", (125, 404)),
        Wire("x", "x", "merge", 0, "x", "x_t", (140, 464), ((200, 490),)),
        Wire("bus", "merge", "W_o", 1, "bus", bends=((_O, _BUS),)),
        *(tap for _, tap in taps),
        *(_pre(gate, x, _GATES) for gate, x in (("f", _F), ("g", _G), ("o", _O))),
        Wire("f", "f", "keep", 3, "f", "f_t", (_F + 42, 250)),
        Wire("g", "g", "write", 3, "g", "g_t", (_G + 42, 250)),
        Wire("kept", "keep", "sum", 4, "f * c_before", "f_t · c_{t-1}", (400, 44), main=True),
        Wire("written", "write", "sum", 4, new, symbol, (_G + 42, 135)),
        Wire("c", "sum", "c", 5, "c", "c_t", (597, 44), main=True),
        Wire("seen", "seen", "tanh", 5, "c"),
        Wire("tanh_c", "tanh", "show", 6, "tanh_c", "tanh c_t", (_SHOW + 42, 184)),
        Wire("o", "o", "show", 6, "o", "o_t", (_O + 42, 250), ((_O, 215),)),
        Wire("h", "show", "h", 7, "h", "h_t", (908, 241)),
    ]
    return [*nodes, *(tap for tap, _ in taps)], wires


def _lstm(cell: Cell) -> Layout:
    coupled = "i" not in cell.gates
    nodes, wires = _lstm_core(*(("(1 - f) * g", "(1 - f_t) g_t") if coupled else ("i * g", "i_t · g_t")))
    if coupled:
        nodes += [Node("forks", "joint", _F, 200), Node("rest", "minus", 350, 200, "1 -")]
        wires += [
            Wire("forks", "forks", "rest", 3, "f"),
            Wire("rest", "rest", "write", 3, "1 - f", "1 - f_t", (450, 174)),
        ]
    else:
        tap, tapped = _tap("i", _I, _BUS)
        nodes += [*_gate("i", SIGMA, _I, _GATES), tap]
        wires += [
            tapped, _pre("i", _I, _GATES),
            Wire("i", "i", "write", 3, "i", "i_t", (_I + 42, 250), ((_I, 200),)),
        ]  # fmt: skip
    if cell.peepholes:
        nodes += [
            Node("peeps", "joint", 200, _TOP), Node("forks", "joint", 200, 150),
            Node("peeps_now", "joint", 650, _TOP),
        ]  # fmt: skip
        see = "p_{} * c_before"
        wires += [
            Wire("peeps", "peeps", "forks", 1, "c_before"),
            Wire("p_f", "forks", "f", 2, see.format("f"), "p_f · c_{t-1}", (158, 230), ((200, _GATES),)),
            Wire("p_i", "forks", "i", 2, see.format("i"), "p_i · c_{t-1}", (312, 198),
                 ((354, 150), (354, _GATES))),
            Wire("p_o", "peeps_now", "o", 5, "p_o * c", "p_o · c_t", (692, 120), ((650, _GATES),)),
        ]  # fmt: skip
    return _layout(1030, 520, nodes, wires)


_RAIL, _R, _N, _Z, _NEW = 215, 470, 600, 850, 960  # columns of a GRU
_ROW, _LOW, _LINE = 190, 320, 440  # its rows: the candidate, the gates, the bus


def _gru(cell: Cell) -> Layout:
    nodes = [
        Node("h_before", "state", 46, _TOP, "h_{t-1}"),
        Node("x", "state", 46, _LINE, "x_t"),
        Node("down", "joint", _RAIL, _TOP),
        Node("row", "joint", _RAIL, _ROW),
        Node("merge", "joint", _RAIL, _LINE),
        Node("x_forks", "joint", 100, _LINE),
        *_gate("r", SIGMA, _R, _LOW),
        *_gate("z", SIGMA, _Z, _LOW),
        Node("reset", "times", _R, _ROW),
        Node("n", "phi", 730, _ROW, "tanh", WORDS["n"], (0, 32)),
        Node("z_forks", "joint", _Z, 265),
        Node("keep", "times", _Z, _TOP),
        Node("write", "times", _NEW, _ROW),
        Node("sum", "plus", _NEW, _TOP),
        Node("h", "state", 1082, _TOP, "h_t"),
    ]
    tap, tapped = _tap("r", _R, _LINE)
    wires = [
        Wire("h_before", "h_before", "keep", 0, "h_before", "h_{t-1}", (140, 44), main=True),
        Wire("x", "x", "merge", 0, "x", "x_t", (140, 414)),
        Wire("rail", "down", "merge", 0, "h_before"),
        Wire("bus", "merge", "W_z", 1, "bus", bends=((_Z, _LINE),)),
        tapped,
        _pre("r", _R, _LOW),
        _pre("z", _Z, _LOW),
        Wire("r", "r", "reset", 3, "r", "r_t", (_R + 42, 255)),
        Wire("n", "n", "write", 6, "n", "n_t", (804, 164)),
        Wire("h", "sum", "h", 8, "h", "h_t", (1010, 44), main=True),
    ]
    more_nodes, more_wires = _chung() if cell.products[-1].operand == "rh" else _pytorch()
    return _layout(1128, 530, [*nodes, tap, *more_nodes], [*wires, *more_wires])


def _pytorch() -> tuple[list[Node], list[Wire]]:
    nodes = [
        Node("W_hn", "weigh", 310, _ROW, "W_{hn}"), Node("W_in", "weigh", _N, _LOW, "W_{in}"),
        Node("plus_n", "plus", _N, _ROW), Node("rest", "minus", _NEW, 265, "1 -"),
    ]  # fmt: skip
    wires = [
        Wire("row", "row", "W_hn", 1, "h_before"),
        Wire("a_hn", "W_hn", "reset", 2, "a_hn", "a_{hn}", (394, 164)),
        Wire("past", "reset", "plus_n", 4, "r * a_hn", "r_t · a_{hn}", (536, 164)),
        Wire("x_n", "x_forks", "W_in", 1, "x", bends=((100, 500), (_N, 500))),
        Wire("a_xn", "W_in", "plus_n", 2, "a_xn", "a_{xn}", (_N + 44, 255)),
        Wire("a_n", "plus_n", "n", 5, "a_xn + r * a_hn", "a_n", (662, 164)),
        Wire("z", "z", "keep", 3, "z", "z_t", (_Z + 42, 228)),
        Wire("z_forks", "z_forks", "rest", 3, "z"),
        Wire("rest", "rest", "write", 4, "1 - z", "1 - z_t", (_NEW + 42, 228)),
        Wire("kept", "keep", "sum", 7, "z * h_before", "z_t · h_{t-1}", (905, 44), main=True),
        Wire("written", "write", "sum", 7, "(1 - z) * n", "(1 - z_t) n_t", (_NEW + 42, 130)),
    ]
    return nodes, wires


def _chung() -> tuple[list[Node], list[Wire]]:
    nodes = [Node("W_n", "weigh", _N, _ROW, "W_n"), Node("rest", "minus", _Z, 228, "1 -")]
    wires = [
        Wire("row", "row", "reset", 1, "h_before"),
        Wire("past", "reset", "W_n", 4, "rh", "r_t · h_{t-1}", (532, 164)),
        Wire("x_n", "x_forks", "W_n", 1, "x", bends=((100, 500), (_N, 500))),
        Wire("a_n", "W_n", "n", 5, "a_n", "a_n", (662, 164)),
        Wire("z", "z", "z_forks", 3, "z"),
        Wire("writes", "z_forks", "write", 3, "z", "z_t", (_NEW + 42, 228), ((_NEW, 265),)),
        Wire("z_forks", "z_forks", "rest", 3, "z"),
        Wire("rest", "rest", "keep", 4, "1 - z", "1 - z_t", (_Z + 42, 128)),
        Wire("kept", "keep", "sum", 7, "(1 - z) * h_before", "(1 - z_t) h_{t-1}", (905, 44), main=True),
        Wire("written", "write", "sum", 7, "z * n", "z_t · n_t", (_NEW + 42, 130)),
    ]
    return nodes, wires


_FAMILIES: Mapping[str, Callable[[Cell], Layout]] = {"plain": _plain, "lstm": _lstm, "gru": _gru}


def layout_of(name: str) -> Layout:
    """The drawing of a registered cell."""
    return _FAMILIES[CELLS[name].family](CELLS[name])


__all__ = ["HALF", "WORDS", "Layout", "Node", "Wire", "layout_of"]
