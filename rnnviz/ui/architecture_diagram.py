"""A network unrolled over time as a drawing: what is read, every state, what hands on to what, the answers.

`graph` says which nodes and arrows an experiment's network has; `drawing` gives them places and makes an SVG.
A node lights up as soon as all that it reads is there, so the waves are the order of computation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise
from typing import Literal

from ..cells import CELLS
from ..experiment import Experiment
from ..layout import parts
from ..plots.theme import ACCENT, INK
from ..tasks import TASKS

Kind = Literal["input", "state", "concat", "answer", "loss"]
Way = Literal["read", "forward", "backward", "handed", "up", "asked"]

TEXT: Mapping[str, str] = {
    "inputs": "inputs",
    "layer": "layer {k}",
    "forward": "forward",
    "backward": "backward",
    "joined": "both, side by side",
    "answers": "right answers",
    "loss": "loss",
    "encoder": "encoder",
    "decoder": "decoder",
    "handed": "thick arrow: the state handed over, all that the decoder knows of what was read",
    "reads": "{arrow} {way}: reads {order}",
}
"""Default words of the drawing."""

FONT = 13  # pixels: the drawing is shown in its own size, and scrolls where that is too wide
LETTER = 0.62  # width of a letter, of the font's size: of the widest fonts that visitors have
LEFT, RIGHT = 112, 20  # room for the names of the rows
WIDE = {1: 84, 2: 112}  # a time step's column, by the number of directions
SHIFT = {1: 0, 2: 24}  # directions stand beside each other, so that arrows pass
BOX = {"input": (72, 26), "state": (44, 28), "concat": (64, 26), "answer": (64, 26), "loss": (64, 26)}
ROW = 54  # from row to row
BEAT, REST = 0.45, 4  # seconds of a wave, and waves of rest before it begins again


@dataclass(frozen=True, order=True)
class Node:
    """One place of computation. `t` counts from 0; layer, direction and part where it has one."""

    kind: Kind
    t: int
    layer: int = 0
    direction: int = 0
    part: int = 0


@dataclass(frozen=True)
class Arrow:
    """From what is read to what reads it."""

    tail: Node
    head: Node
    way: Way


@dataclass(frozen=True)
class Graph:
    """What a network computes over one sequence of T steps."""

    T: int
    layers: int
    directions: int
    reads: tuple[int, ...]  # steps of each recurrent part
    every: bool  # an answer at each of the last steps, or one after all
    arrows: tuple[Arrow, ...]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, in order: each is the end of an arrow."""
        return tuple(sorted({end for arrow in self.arrows for end in (arrow.tail, arrow.head)}))

    @cached_property
    def waves(self) -> dict[Node, int]:
        """When each node can be computed: one wave after the last of all that it reads.

        Inputs light up with their turn, one wave before who reads them first.
        """
        found: dict[Node, int] = {}

        def wave(node: Node) -> int:
            if node not in found:
                before = [wave(a.tail) for a in self.arrows if a.head == node and a.tail.kind != "input"]
                found[node] = 1 + max(before, default=0)
            return found[node]

        for node in self.nodes:
            if node.kind != "input":
                wave(node)
        for node in self.nodes:
            if node.kind == "input":
                found[node] = min(found[a.head] for a in self.arrows if a.tail == node) - 1
        return found


def graph(experiment: Experiment) -> Graph:
    """Nodes and arrows of an experiment's network over one sequence, as `Stack` and `Chain` compute them."""
    task, T = TASKS[experiment.task], experiment.steps_per_sequence()
    answered, every = task.answered(experiment.length), task.readout == "every"
    split = len(parts(experiment.architecture)) > 1
    reads = (T - answered, answered) if split else (T,)
    arrows: list[Arrow] = []
    begin = 0
    for part, steps in enumerate(reads):
        span = range(begin, begin + steps)
        for layer in range(experiment.layers):
            arrows += _below(span, layer, part, experiment.directions)
            for direction in range(experiment.directions):
                arrows += _recurrence(span, layer, direction, part)
                if part:  # each begins where the part before ended: the direction backward at its first step
                    end = 0 if direction else begin - 1
                    own = span[-1] if direction else span[0]
                    tail = Node("state", end, layer, direction, part - 1)
                    arrows.append(Arrow(tail, Node("state", own, layer, direction, part), "handed"))
        begin += steps
    arrows += _answers(range(T - answered, T), experiment, every, len(reads) - 1, T - reads[-1])
    return Graph(T, experiment.layers, experiment.directions, reads, every, tuple(arrows))


def _below(span: range, layer: int, part: int, D: int) -> list[Arrow]:
    """What a layer reads at each step: the input, or the states of the layer below."""
    found = []
    for t in span:
        heads = [Node("state", t, layer, d, part) for d in range(D)]
        if layer == 0:
            found += [Arrow(Node("input", t), head, "read") for head in heads]
        elif D == 1:
            found.append(Arrow(Node("state", t, layer - 1, 0, part), heads[0], "up"))
        else:
            both = Node("concat", t, layer - 1, 0, part)
            found += [Arrow(Node("state", t, layer - 1, d, part), both, "up") for d in range(D)]
            found += [Arrow(both, head, "up") for head in heads]
    return found


def _recurrence(span: range, layer: int, direction: int, part: int) -> list[Arrow]:
    """From each state to the next that is computed: backward goes from the right to the left."""
    order = span[::-1] if direction else span
    way: Way = "backward" if direction else "forward"
    return [
        Arrow(Node("state", s, layer, direction, part), Node("state", t, layer, direction, part), way)
        for s, t in pairwise(order)
    ]


def _answers(steps: range, e: Experiment, every: bool, part: int, first: int) -> list[Arrow]:
    """From the top layer to the answers, and from these to the loss."""
    found, top = [], e.layers - 1
    loss = Node("loss", steps[-1])
    for t in steps:
        answer = Node("answer", t)
        # After all was read, the direction backward has ended at the first step.
        ends = [t, t if every else first]
        states = [Node("state", ends[d], top, d, part) for d in range(e.directions)]
        if e.directions == 1:
            found.append(Arrow(states[0], answer, "up"))
        else:
            both = Node("concat", t, top, 0, part)
            found += [Arrow(state, both, "up") for state in states]
            found.append(Arrow(both, answer, "up"))
        found.append(Arrow(answer, loss, "asked"))
    return found


@dataclass(frozen=True)
class Line:
    """A line of text: its middle, or its left end."""

    x: float
    y: float
    words: str
    size: int = FONT
    middle: bool = True

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom; at most as wide as this in any font."""
        wide = LETTER * self.size * len(self.words)
        left = self.x - wide / 2 if self.middle else self.x
        return left, self.y - 0.8 * self.size, left + wide, self.y + 0.25 * self.size


class Drawing:
    """The places of a graph's nodes, and its SVG."""

    def __init__(
        self, found: Graph, inputs: Sequence[str], answers: Sequence[str], color: str, alt: str,
        text: Mapping[str, str] = TEXT,
    ) -> None:  # fmt: skip
        """inputs: T texts; answers: one for each step that has one, the first first; color: the cell's."""
        self.graph, self.inputs, self.color, self.alt, self.text = found, inputs, color, alt, text
        asked = sorted(node.t for node in found.nodes if node.kind == "answer")
        if len(inputs) != found.T or len(answers) != len(asked):
            raise ValueError(
                f"{found.T} inputs and {len(asked)} answers are drawn; got {len(inputs)} and {len(answers)}"
            )
        self.answers = dict(zip(asked, answers, strict=True))
        self.rows = self._rows()
        self.width = LEFT + WIDE[found.directions] * found.T + RIGHT
        self.top = ROW * (len(self.rows) - 1) + 34
        self.height = self._below + 20 * len(self._notes()) - 10

    def _rows(self) -> list[tuple[Kind, int, int]]:
        """Kind, layer and direction of each row, the lowest first."""
        g = self.graph
        rows: list[tuple[Kind, int, int]] = [("input", 0, 0)]
        for layer in range(g.layers):
            rows += [("state", layer, d) for d in range(g.directions)]
            rows += [("concat", layer, 0)] if g.directions > 1 else []
        return [*rows, ("answer", 0, 0), ("loss", 0, 0)]

    def place(self, node: Node) -> tuple[float, float]:
        """The middle of a node."""
        D = self.graph.directions
        x = LEFT + WIDE[D] * (node.t + 0.5)
        if node.kind == "state":
            x += SHIFT[D] * (1 if node.direction else -1)
        return x, self.top - ROW * self.rows.index((node.kind, node.layer, node.direction))

    def path(self, arrow: Arrow) -> list[tuple[float, float]]:
        """The corners of an arrow, from the edge of one box to the edge of the other."""
        (x0, y0), (x1, y1) = self.place(arrow.tail), self.place(arrow.head)
        (w0, h0), (w1, h1) = BOX[arrow.tail.kind], BOX[arrow.head.kind]
        if y0 == y1:  # along time
            side = 1 if x1 > x0 else -1
            return [(x0 + side * w0 / 2, y0), (x1 - side * w1 / 2, y1)]
        if arrow.tail.t != arrow.head.t:  # up, and along to a later step: an end that is read after all
            return [(x0, y0 - h0 / 2), (x0, y1), (x1 + (w1 / 2 if x0 > x1 else -w1 / 2), y1)]
        # Straight up in the column of whichever stands aside.
        x = x1 if arrow.head.kind == "state" else x0
        return [(x, y0 - h0 / 2), (x, y1 + h1 / 2)]

    def words(self, node: Node) -> str:
        """What stands in a node."""
        match node.kind:
            case "input":
                return self.inputs[node.t]
            case "answer":
                return self.answers[node.t]
            case "loss":
                return self.text["loss"]
            case "concat":
                back = node.t if self.graph.every or node.layer < self.graph.layers - 1 else 0
                return f"→h{low(node.t + 1)} ←h{low(back + 1)}"
        way = "" if self.graph.directions == 1 else "←" if node.direction else "→"
        return f"{way}h{low(node.t + 1)}"

    def lines(self) -> list[Line]:
        """Every text of the drawing."""
        found = []
        for node in self.graph.nodes:
            x, y = self.place(node)
            found.append(Line(x, y + 0.35 * FONT, self.words(node)))
        for k, (kind, layer, direction) in enumerate(self.rows):
            y = self.top - ROW * k + 0.35 * FONT
            if kind != "loss":
                found += self._named(kind, layer, direction, y)
        for t in range(self.graph.T):
            found.append(Line(self.place(Node("input", t))[0], self.top + 34, f"t = {t + 1}", 12))
        found += [Line(x, self.top + 58, word) for x, word in self._parts()]
        for k, words in enumerate(self._notes()):
            found.append(Line(6, self._below + 20 * k, words, 12, middle=False))
        return found

    @property
    def _below(self) -> float:
        """Where the notes begin."""
        return self.top + (82 if len(self.graph.reads) > 1 else 60)

    def _notes(self) -> list[str]:
        """In which order each direction reads, and what is handed over."""
        found = [self._order(d) for d in range(self.graph.directions)]
        return found + ([self.text["handed"]] if len(self.graph.reads) > 1 else [])

    def _named(self, kind: Kind, layer: int, direction: int, y: float) -> list[Line]:
        """The name of a row, of one line or two."""
        if kind == "state":
            name = self.text["layer"].format(k=layer + 1)
            if self.graph.directions == 1:
                return [Line(6, y, name, 12, middle=False)]
            way = self.text["backward" if direction else "forward"]
            return [Line(6, y - 8, name, 12, middle=False), Line(6, y + 8, way, 12, middle=False)]
        word = {"input": "inputs", "concat": "joined", "answer": "answers"}[kind]
        both = self.text[word].split(", ")  # what is long stands in two lines
        return [
            Line(6, y + 16 * k - 8 * (len(both) - 1), one, 12, middle=False) for k, one in enumerate(both)
        ]

    def _order(self, direction: int) -> str:
        T = self.graph.T
        steps = range(T, 0, -1) if direction else range(1, T + 1)
        return self.text["reads"].format(
            arrow="←" if direction else "→",
            way=self.text["backward" if direction else "forward"],
            order=", ".join(f"x{low(t)}" for t in steps),
        )

    def _parts(self) -> list[tuple[float, str]]:
        """The middle of encoder and decoder, and their names."""
        column, reads = WIDE[self.graph.directions], self.graph.reads
        if len(reads) == 1:
            return []
        return [
            (LEFT + column * reads[0] / 2, self.text["encoder"]),
            (LEFT + column * (reads[0] + reads[1] / 2), self.text["decoder"]),
        ]

    def svg(self) -> str:
        """The drawing, with its style. Without motion, where that is wished, all is lit."""
        g = self.graph
        period = (max(g.waves.values()) + 1 + REST) * BEAT
        drawn = [self._arrow(arrow) for arrow in g.arrows]
        drawn += [self._box(node) for node in g.nodes]
        for line in self.lines():
            anchor = ' text-anchor="middle"' if line.middle else ""
            place = f'x="{line.x:g}" y="{line.y:g}" font-size="{line.size}"{anchor}'
            drawn.append(f"<text {place}>{escape(line.words)}</text>")
        return (
            '<div class="unrolled-box"><svg class="unrolled" role="img" '
            f'aria-label="{escape(self.alt, quote=True)}" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}</svg></div>'
            f"<style>{STYLE.replace('PERIOD', f'{period:g}s')}</style>"
        )

    def _color(self, node: Node) -> str:
        if node.kind == "state":
            return ACCENT if node.direction else self.color
        return INK

    def _box(self, node: Node) -> str:
        (x, y), (w, h) = self.place(node), BOX[node.kind]
        kind = f"box {node.kind}" + (" decoder" if node.part and node.kind == "state" else "")
        dash = ' stroke-dasharray="5 3"' if node.kind == "state" and node.direction else ""
        color = self._color(node)
        return (
            f'<rect class="{kind}" x="{x - w / 2:g}" y="{y - h / 2:g}" width="{w}" height="{h}" '
            f'rx="{13 if node.kind == "input" else 5}" fill="{color}" stroke="{color}"{dash} '
            f'style="animation-delay:{self.graph.waves[node] * BEAT:g}s"/>'
        )

    def _arrow(self, arrow: Arrow) -> str:
        corners = self.path(arrow)
        (x0, y0), (x1, y1) = corners[-2:]
        dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        head = [(x1, y1)] + [(x1 - 8 * dx + s * 4 * dy, y1 - 8 * dy + s * 4 * dx) for s in (1, -1)]
        backward = arrow.way == "backward"
        color = ACCENT if backward else self.color if arrow.way in ("forward", "handed") else INK
        dash = ' stroke-dasharray="5 3"' if backward else ""
        points = " ".join(f"{x:g},{y:g}" for x, y in corners)
        tip = " ".join(f"{x:g},{y:g}" for x, y in head)
        delay = (self.graph.waves[arrow.head] - 0.5) * BEAT
        return (
            f'<g class="arrow {arrow.way}" color="{color}" style="animation-delay:{delay:g}s">'
            f'<polyline points="{points}" fill="none" stroke="currentColor"{dash}/>'
            f'<polygon points="{tip}" fill="currentColor"/></g>'
        )


#: Boxes are always readable; a wave fills them. PERIOD is the time from one beginning to the next.
STYLE = """
.unrolled-box { overflow-x: auto; overscroll-behavior-x: contain; }
.unrolled { display: block; }
.unrolled text { fill: currentColor; font-family: inherit; }
.unrolled .box { --rest: 0.07; fill-opacity: var(--rest); stroke-width: 1.5;
  animation: unrolled-box PERIOD linear infinite; }
.unrolled .decoder { --rest: 0.28; stroke-width: 3; }
.unrolled .arrow { opacity: 0.5; stroke-width: 2; animation: unrolled-arrow PERIOD linear infinite; }
.unrolled .handed { stroke-width: 5; }
@keyframes unrolled-box {
  0% { fill-opacity: var(--rest); } 2% { fill-opacity: 0.6; } 14% { fill-opacity: 0.34; }
}
@keyframes unrolled-arrow { 0% { opacity: 0.5; } 2% { opacity: 1; } 14% { opacity: 0.75; } }
@media (prefers-reduced-motion: reduce) {
  .unrolled .box, .unrolled .arrow { animation: none; opacity: 1; }
  .unrolled .box { fill-opacity: calc(0.2 + var(--rest)); }
}
"""


def low(number: int) -> str:
    """A number as a subscript."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def drawing(
    experiment: Experiment, inputs: Sequence[str], answers: Sequence[str], alt: str,
    text: Mapping[str, str] = TEXT,
) -> Drawing:  # fmt: skip
    """The drawing of an experiment's network with these inputs and right answers in its nodes."""
    return Drawing(graph(experiment), inputs, answers, CELLS[experiment.cell].color, alt, text)
