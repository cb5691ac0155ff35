"""A cell's drawing as SVG: where the wires run, and what is written beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from .cell_layouts import HALF, Layout, Node, Point, Wire
from .text import _

MINUS = "\u2212"
_ARROW, _WIDTH = 8, 4.5  # length and half the width of an arrowhead
_SUBSCRIPT = re.compile(r"_(?:\{([^}]*)\}|(\w))")


def path_of(layout: Layout, wire: Wire) -> list[Point]:
    """The corners of a wire, from the border of its first node to that of its last one."""
    start, end = layout.nodes[wire.start], layout.nodes[wire.end]
    points = [(start.x, start.y), *wire.bends, (end.x, end.y)]
    return [_border(start, points[1]), *wire.bends, _border(end, points[-2])]


def _border(node: Node, towards: Point) -> Point:
    """Where a wire leaves a node for a point straight above, below or beside it."""
    half_x, half_y = HALF[node.kind]
    return node.x + half_x * _sign(towards[0] - node.x), node.y + half_y * _sign(towards[1] - node.y)


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def boxes(layout: Layout) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each number's place, by the name of its wire."""
    return {
        wire.name: (
            wire.place[0] - wire.half[0], wire.place[1] - wire.half[1],
            wire.place[0] + wire.half[0], wire.place[1] + wire.half[1],
        )
        for wire in layout.wires.values()
        if wire.place is not None
    }  # fmt: skip


def svg(layout: Layout, title: str, numbers: Mapping[str, str] | None = None) -> str:
    """The drawing, with the number of each wire by its name; without them the places stay empty."""
    numbers = numbers or {}
    wires = sorted(layout.wires.values(), key=lambda wire: wire.main)  # the main path lies above the others
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width:g} {layout.height:g}" '
        f'role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>',
        *(_wire(layout, wire) for wire in wires),
        *(_node(node) for node in layout.nodes.values()),
        *(_place(wire, numbers.get(wire.name, "")) for wire in wires if wire.place is not None),
        "</svg>",
    ]
    return "".join(parts)


def _wire(layout: Layout, wire: Wire) -> str:
    points = path_of(layout, wire)
    d = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    kind = f"wire {'main' if wire.main else ''}".strip()
    halo = f'<path class="halo" d="{d}"/>'  # so that one that crosses another passes over it
    return (
        f'<g class="{kind}" data-wire="{wire.name}" data-order="{wire.order}">{halo}'
        f'<path class="line" d="{d}"/><path class="pulse" pathLength="100" d="{d}"/>'
        + ("" if layout.nodes[wire.end].kind == "joint" else _arrow(points))
        + "</g>"
    )


def _arrow(points: list[Point]) -> str:
    (x0, y0), (x, y) = points[-2:]
    dx, dy = _sign(x - x0), _sign(y - y0)
    left = (x - _ARROW * dx - _WIDTH * dy, y - _ARROW * dy + _WIDTH * dx)
    right = (x - _ARROW * dx + _WIDTH * dy, y - _ARROW * dy - _WIDTH * dx)
    corners = " ".join(f"{a:g},{b:g}" for a, b in ((x, y), left, right))
    return f'<polygon class="arrow" points="{corners}"/>'


def _node(node: Node) -> str:
    x, y, (a, b) = node.x, node.y, HALF[node.kind]
    if node.kind == "joint":
        return f'<circle class="joint" cx="{x:g}" cy="{y:g}" r="3.5"/>'
    if node.kind in ("times", "plus"):
        cross = f"M{x - 5:g} {y - 5:g}l10 10M{x - 5:g} {y + 5:g}l10 -10"
        upright = f"M{x - 7:g} {y:g}H{x + 7:g}M{x:g} {y - 7:g}V{y + 7:g}"
        shape = f'<circle cx="{x:g}" cy="{y:g}" r="{a}"/>'
        return (
            f'<g class="node {node.kind}">{shape}<path d="{cross if node.kind == "times" else upright}"/></g>'
        )
    corner = {"state": b, "phi": 6}.get(node.kind, 4)
    word = ""
    if node.word:
        at = f'x="{x + node.beside[0]:g}" y="{y + node.beside[1] + 4:g}"'
        word = f'<text class="word" {at}>{escape(_(node.word))}</text>'
    box = f'<rect x="{x - a:g}" y="{y - b:g}" width="{2 * a:g}" height="{2 * b:g}" rx="{corner:g}"/>'
    return (
        f'<g class="node {node.kind}" data-node="{node.name}">{box}'
        f'<text x="{x:g}" y="{y + 5:g}">{scripted(node.label)}</text>{word}</g>'
    )


def _place(wire: Wire, number: str) -> str:
    assert wire.place is not None
    x, y = wire.place
    return (
        f'<g class="place {"main" if wire.main else ""}"><text class="symbol" x="{x:g}" y="{y - 7:g}">'
        f'{scripted(wire.symbol)}</text><text class="number" data-number="{wire.name}" '
        f'x="{x:g}" y="{y + 12:g}">{escape(number)}</text></g>'
    )


def scripted(label: str) -> str:
    """A label with its subscripts, "h_{t-1}", as SVG text."""
    parts, at = [], 0
    for found in _SUBSCRIPT.finditer(label):
        parts.append(_upright(label[at : found.start()]))
        low = escape((found.group(1) or found.group(2)).replace("-", MINUS))
        parts.append(f'<tspan class="sub" dy="4">{low}</tspan><tspan dy="-4">\u200b</tspan>')
        at = found.end()
    return "".join([*parts, _upright(label[at:])])


def _upright(text: str) -> str:
    return f"<tspan>{escape(text.replace('-', MINUS))}</tspan>" if text else ""


def spoken(label: str) -> str:
    """A label for those who have it read out."""
    return _SUBSCRIPT.sub(lambda found: f" {found.group(1) or found.group(2)}", label).replace("-", MINUS)


__all__ = ["boxes", "path_of", "scripted", "spoken", "svg"]
