"""The drawing of each cell: what its wires carry, where they end, what a variant changes, its room."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from rnnviz.analysis.inside import look, small_start
from rnnviz.analysis.latex import short
from rnnviz.cells import CELLS
from rnnviz.ui.cell_diagram import boxes, path_of, spoken, svg
from rnnviz.ui.cell_layouts import HALF, PLACE, Layout, layout_of
from rnnviz.ui.cell_sections import carried_on, input_text

Box = tuple[float, float, float, float]
SVG = "{http://www.w3.org/2000/svg}"


def node_boxes(layout: Layout) -> dict[str, Box]:
    """Left, top, right and bottom of each node that takes room, and of the words beside them."""
    found = {}
    for name, node in layout.nodes.items():
        (a, b) = HALF[node.kind]
        if node.kind != "joint":
            found[name] = (node.x - a, node.y - b, node.x + a, node.y + b)
        if node.word:
            x, y, half = node.x + node.beside[0], node.y + node.beside[1], 2.9 * len(node.word)
            found[f"{name}'s word"] = (x - half, y - 6, x + half, y + 6)
    return found


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def changed(one: str, other: str) -> tuple[set[str], set[str], set[str]]:
    """Wires that go, that come, and that carry something else when the first cell becomes the other."""
    a, b = layout_of(one).wires, layout_of(other).wires
    return (
        a.keys() - b.keys(),
        b.keys() - a.keys(),
        {name for name in a.keys() & b.keys() if a[name] != b[name]},
    )


@pytest.mark.parametrize("name", CELLS)
def test_every_wire_ends_at_what_is_drawn(name: str) -> None:
    layout = layout_of(name)
    drawn = node_boxes(layout)
    on_a_wire = [(wire, pair) for wire in layout.wires.values() for pair in pairwise(path_of(layout, wire))]
    for wire in layout.wires.values():
        assert {wire.start, wire.end} <= layout.nodes.keys()
        points = path_of(layout, wire)
        assert all((a[0] == b[0]) != (a[1] == b[1]) for a, b in pairwise(points)), f"{wire.name} is slanted"
        for end, (x, y) in ((wire.start, points[0]), (wire.end, points[-1])):
            if layout.nodes[end].kind == "joint":
                assert (x, y) == (layout.nodes[end].x, layout.nodes[end].y)
            else:
                left, top, right, bottom = drawn[end]
                assert (x in (left, right)) != (y in (top, bottom))
                assert left <= x <= right
                assert top <= y <= bottom
    ends = [end for wire in layout.wires.values() for end in (wire.start, wire.end)]
    for node in layout.nodes.values():
        assert node.name in ends, f"{node.name} hangs in the air"
        if node.kind == "joint":  # what is tapped, and what is led away
            through = {
                wire.name
                for wire, ((x0, y0), (x1, y1)) in on_a_wire
                if min(x0, x1) <= node.x <= max(x0, x1) and min(y0, y1) <= node.y <= max(y0, y1)
            }
            assert len(through) >= 2, node.name
    for state in CELLS[name].states:
        assert ends.count(state) == 1
        assert f"{state}_before" in ends


@pytest.mark.parametrize("name", CELLS)
def test_nothing_lies_on_anything_else(name: str) -> None:
    layout = layout_of(name)
    taken = {**{f"number of {key}": box for key, box in boxes(layout).items()}, **node_boxes(layout)}
    for (a, one), (b, other) in combinations(taken.items(), 2):
        assert not overlap(one, other), f"{a} and {b}"
    for a, (left, top, right, bottom) in taken.items():
        assert left >= 0 <= top, a
        assert right <= layout.width, a
        assert bottom <= layout.height, a
        for wire in layout.wires.values():
            if a in (wire.start, wire.end):
                continue
            for (x0, y0), (x1, y1) in pairwise(path_of(layout, wire)):
                line = (min(x0, x1) - 0.1, min(y0, y1) - 0.1, max(x0, x1) + 0.1, max(y0, y1) + 0.1)
                assert not overlap((left, top, right, bottom), line), f"{a} and the wire {wire.name}"


@pytest.mark.parametrize("name", CELLS)
def test_there_is_room_for_what_is_written(name: str) -> None:
    """At 15 px a digit is 9.6 px wide where the font is wide, at 12 px a letter about 7."""
    for number in (-1.23e-5, -0.00123, 0.999, -123.0, float("nan"), -1.23e10):
        assert 8.1 * len(short(number)) <= 2 * PLACE[0] + 2
    for wire in layout_of(name).wires.values():
        if wire.place is not None:
            subscripts = sum(len(low) for low in re.findall(r"_\{([^}]*)\}|_\w", wire.symbol))
            letters = len(re.sub(r"[_{}]", "", wire.symbol)) - subscripts
            assert 7 * letters + 5 * subscripts <= 2 * wire.half[0] + 14, wire.symbol


@pytest.mark.parametrize("name", CELLS)
def test_every_number_that_the_cell_makes_is_drawn(name: str) -> None:
    inside = look(small_start(name, 2, 1, 0, (0.5,)))
    layout = layout_of(name)
    for unit in range(2):
        values, carried = inside.at(unit), carried_on(inside, unit)
        assert carried.keys() == layout.wires.keys()
        for wire in layout.wires.values():
            if wire.value not in ("x", "bus"):
                assert carried[wire.name] == short(values[wire.value])
        assert carried["x"] == "0.5"
    drawn = {wire.value for wire in layout.wires.values() if wire.place is not None}
    hidden = {value for value in inside.values if re.match(r"p_\w$|a_\w \+ p_", value)}
    assert set(inside.values) - hidden == drawn - {"x", "input_h", "recurrent_h", "bias_h"}


def test_a_wire_comes_after_what_it_is_made_of() -> None:
    for name in CELLS:
        layout = layout_of(name)
        for wire in layout.wires.values():
            for into in layout.wires.values():
                if into.end == wire.start:
                    assert into.order <= wire.order, (name, into.name, wire.name)


def test_a_switch_changes_the_wires_that_differ() -> None:
    assert changed("lstm", "lstm_peephole") == (set(), {"peeps", "p_f", "p_i", "p_o"}, set())
    gone, come, other = changed("lstm", "lstm_coupled")
    assert gone == {"tap_i", "a_i", "i"}
    assert come == {"forks", "rest"}
    assert other == {"written"}  # (1 - f) g in the place of i g
    a, b = layout_of("lstm").wires["written"], layout_of("lstm_coupled").wires["written"]
    assert (a.start, a.end, a.bends, a.place) == (b.start, b.end, b.bends, b.place)
    gone, come, other = changed("gru", "gru_chung")
    assert gone == {"a_hn", "a_xn"}
    assert come == {"writes"}
    assert other == {"row", "past", "x_n", "a_n", "z", "rest", "kept", "written"}
    for one, two in (("lstm", "lstm_peephole"), ("lstm", "lstm_coupled"), ("gru", "gru_chung")):
        a_nodes, b_nodes = layout_of(one).nodes, layout_of(two).nodes
        moved = {name for name in a_nodes.keys() & b_nodes.keys() if a_nodes[name] != b_nodes[name]}
        assert moved == ({"rest"} if one == "gru" else set())
    for name in ("relu", "sigmoid", "linear"):
        assert changed("tanh", name) == (set(), set(), set())


def test_the_output_gate_meets_h_alone() -> None:
    for name in ("lstm", "lstm_peephole", "lstm_coupled"):
        wires = layout_of(name).wires
        reached, more = {"o"}, True
        while more:
            found = {wire.end for wire in wires.values() if wire.start in reached} | reached
            more, reached = found != reached, found
        assert reached == {"o", "show", "h"}
        assert [wire.name for wire in wires.values() if wire.main] == ["c_before", "kept", "c"]


@pytest.mark.parametrize("name", CELLS)
def test_the_svg_can_be_read_and_read_out(name: str) -> None:
    layout = layout_of(name)
    numbers = {wire: f"{k}.5" for k, wire in enumerate(layout.wires)}
    root = ElementTree.fromstring(svg(layout, "A <cell> & more", numbers))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == root.findtext(f"{SVG}title") == "A <cell> & more"
    texts = {text.get("data-number"): text.text for text in root.iter(f"{SVG}text")}
    placed = {wire.name for wire in layout.wires.values() if wire.place is not None}
    assert {key: value for key, value in texts.items() if key} == {key: numbers[key] for key in placed}
    assert {group.get("data-wire") for group in root.iter(f"{SVG}g")} - {None} == layout.wires.keys()
    assert "_" not in "".join(root.itertext())
    joints = sum(node.kind == "joint" for node in layout.nodes.values())
    assert sum(circle.get("class") == "joint" for circle in root.iter(f"{SVG}circle")) == joints
    empty = ElementTree.fromstring(svg(layout, ""))
    assert all(not text.text for text in empty.iter(f"{SVG}text") if text.get("data-number"))
    assert spoken("f_t · c_{t-1}") == "f t · c t\u22121"


def test_an_input_in_few_characters() -> None:
    def text(*x: float) -> str:
        return input_text(look(small_start("tanh", 1, len(x), 0, x)).start.x.numpy())

    assert text(0.8) == "0.8"
    assert text(0.8, -0.4) == "0.8, \u22120.4"
    assert text(0, 0, 1, 0) == "no. 3 of 4"
    assert text(0, 0.5, 0) == text(0, 1, 1) == "3 numbers"
