"""The drawing of an unrolled network: its nodes and arrows are the network's, and its texts can be read."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from rnnviz.experiment import Experiment
from rnnviz.network import Network
from rnnviz.tasks import TASKS
from rnnviz.ui.architecture_diagram import BOX, Drawing, Graph, Node, drawing, graph
from rnnviz.ui.architectures import ARCHITECTURES, Architecture, written

EVERY = [pytest.param(one, id=name) for name, one in ARCHITECTURES.items()]

# Beside those of the page, networks that put the rules together in other ways.
OTHERS = [
    Experiment(task="reversal", length=2, hidden=3, layers=3, architecture="encoder_decoder"),
    Experiment(task="parity_running", length=4, hidden=3, layers=2, direction="both"),
    Experiment(task="parity", length=3, hidden=3, layers=3, direction="both"),
    Experiment(task="repetition", length=2, hidden=3, layers=2),
    Experiment(task="parity", length=1, hidden=3, direction="both"),
]
NETWORKS = [one.drawn.changed(hidden=3, precision="float64") for one in ARCHITECTURES.values()] + [
    other.changed(precision="float64") for other in OTHERS
]


def shown(one: Architecture) -> Drawing:
    inputs, answers = written(one.drawn)
    return drawing(one.drawn, inputs, answers, "alt")


def reached(found: Graph, start: Node) -> set[Node]:
    """Every node to which the arrows lead from one."""
    seen, open_nodes = set(), [start]
    while open_nodes:
        node = open_nodes.pop()
        heads = [arrow.head for arrow in found.arrows if arrow.tail == node]
        open_nodes += [head for head in heads if head not in seen]
        seen |= set(heads)
    return seen


@pytest.mark.parametrize("experiment", NETWORKS, ids=lambda e: f"{e.task}-{e.layers}-{e.direction}")
def test_arrows_lead_where_a_change_of_an_input_arrives_in_a_real_network(experiment: Experiment) -> None:
    found, network = graph(experiment), Network(experiment)
    T, answered = found.T, network.answered
    inputs = torch.linspace(-1, 1, T * TASKS[experiment.task].input_size, dtype=torch.float64)
    inputs = inputs.reshape(T, 1, -1)
    before, first = state_and_answers(network, inputs)
    assert set(before) == {node for node in found.nodes if node.kind == "state"}
    assert {n.t for n in found.nodes if n.kind == "answer"} == set(range(T - answered, T))
    for t in range(T):
        moved = inputs.clone()
        moved[t] += 0.5
        after, last = state_and_answers(network, moved)
        changed = {node for node in before if not torch.equal(before[node], after[node])}
        changed |= {node for node in first if not torch.equal(first[node], last[node])}
        there = {n for n in reached(found, Node("input", t)) if n.kind in ("state", "answer")}
        assert changed == there, f"x_{t + 1}"


BOTH = [experiment for experiment in NETWORKS if experiment.directions == 2]


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("experiment", BOTH, ids=lambda e: f"{e.task}-{e.layers}-{e.length}")
def test_answers_read_each_direction_where_a_real_network_does(
    experiment: Experiment, direction: int
) -> None:
    """With the weights of the other direction at zero, an answer knows what this one has read by then."""
    found, network = graph(experiment), Network(experiment)
    top, H = experiment.layers - 1, experiment.hidden
    network.parameters["out.weight"][:, (1 - direction) * H : (2 - direction) * H] = 0
    kept = tuple(
        a for a in found.arrows
        if not (a.head.kind == "concat" and a.head.layer == top and a.tail.direction != direction)
    )  # fmt: skip
    one_way = replace(found, arrows=kept)
    inputs = torch.linspace(-1, 1, found.T * TASKS[experiment.task].input_size, dtype=torch.float64)
    inputs = inputs.reshape(found.T, 1, -1)
    first = state_and_answers(network, inputs)[1]
    for t in range(found.T):
        moved = inputs.clone()
        moved[t] += 0.5
        last = state_and_answers(network, moved)[1]
        changed = {node for node in first if not torch.equal(first[node], last[node])}
        assert changed == {n for n in reached(one_way, Node("input", t)) if n.kind == "answer"}


def state_and_answers(network: Network, inputs: torch.Tensor) -> tuple[dict, dict]:
    """Every state by its node, and every output by the node of its answer."""
    passage = network.forward(inputs)
    states, begin = {}, 0
    for part, (layers, steps) in enumerate(zip(passage.traces, network.reads(len(inputs)), strict=True)):
        for layer, traces in enumerate(layers):
            for direction, trace in enumerate(traces):
                for t in range(steps):
                    node = Node("state", begin + t, layer, direction, part)
                    states[node] = trace.values["h"][t].clone()
        begin += steps
    outputs = network.read(network.asked(passage))
    if outputs.dim() == 2:
        outputs = outputs[None]
    T = len(inputs)
    return states, {Node("answer", T - len(outputs) + k): y.clone() for k, y in enumerate(outputs)}


@pytest.mark.parametrize("experiment", NETWORKS, ids=lambda e: f"{e.task}-{e.layers}-{e.direction}")
def test_each_state_has_one_arrow_from_the_step_that_it_reads_before(experiment: Experiment) -> None:
    """For the direction backward that is the next one; the first of all begins with zero."""
    found = graph(experiment)
    states = [node for node in found.nodes if node.kind == "state"]
    first = 0
    for node in states:
        before = [a for a in found.arrows if a.head == node and a.tail.kind == "state" and a.way != "up"]
        beginning = node.t == (found.T - 1 if node.direction else 0)
        first += beginning
        assert len(before) == (0 if beginning else 1)
        for arrow in before:
            assert arrow.tail.t == node.t + (1 if node.direction else -1)
            assert (arrow.tail.layer, arrow.tail.direction) == (node.layer, node.direction)
            assert (arrow.way == "handed") == (arrow.tail.part != node.part)
    assert first == experiment.layers * experiment.directions
    assert len(states) == found.T * experiment.layers * experiment.directions


@pytest.mark.parametrize("experiment", NETWORKS, ids=lambda e: f"{e.task}-{e.layers}-{e.direction}")
def test_waves_are_an_order_of_computation(experiment: Experiment) -> None:
    found = graph(experiment)
    assert all(found.waves[a.tail] < found.waves[a.head] for a in found.arrows)
    assert min(found.waves.values()) == 0
    (loss,) = (node for node in found.nodes if node.kind == "loss")
    assert found.waves[loss] == max(found.waves.values())
    if experiment.directions == 1:  # one wave for each time step
        bottom = [found.waves[n] for n in found.nodes if n.kind == "state" and n.layer == 0]
        assert bottom == list(range(1, found.T + 1))


def test_directions_compute_towards_each_other_and_layers_wait_for_both() -> None:
    found = graph(ARCHITECTURES["deep_bidirectional"].drawn)
    T = found.T
    wave = {(n.layer, n.direction, n.t): found.waves[n] for n in found.nodes if n.kind == "state"}
    assert [wave[0, 0, t] for t in range(T)] == [wave[0, 1, T - 1 - t] for t in range(T)]
    # The second layer's first step reads the state backward at t = 1, which is the first layer's last.
    assert wave[1, 0, 0] > max(wave[0, d, t] for d in range(2) for t in range(T) if (d, t) != (0, T - 1))


@pytest.mark.parametrize("one", EVERY)
def test_arrows_end_at_the_edges_of_boxes_that_are_drawn(one: Architecture) -> None:
    drawn = shown(one)
    root = svg(drawn)
    rects = [tuple(float(r.get(k) or 0) for k in ("x", "y", "width", "height")) for r in root.iter(RECT)]
    assert len(rects) == len(drawn.graph.nodes)
    lines = [
        [tuple(float(n) for n in corner.split(",")) for corner in (p.get("points") or "").split()]
        for p in root.iter(POLYLINE)
    ]
    assert len(lines) == len(drawn.graph.arrows)
    for arrow, corners in zip(drawn.graph.arrows, lines, strict=True):
        for node, (x, y) in ((arrow.tail, corners[0]), (arrow.head, corners[-1])):
            cx, cy = drawn.place(node)
            w, h = BOX[node.kind]
            across, along = abs(x - cx) * 2 / w, abs(y - cy) * 2 / h
            assert max(across, along) == pytest.approx(1)
            assert min(across, along) < 0.9


@pytest.mark.parametrize("one", EVERY)
def test_arrows_pass_no_box_and_no_text(one: Architecture) -> None:
    drawn = shown(one)
    boxes = [(*drawn.place(node), *BOX[node.kind]) for node in drawn.graph.nodes]
    areas = [(x - w / 2 + 1, y - h / 2 + 1, x + w / 2 - 1, y + h / 2 - 1) for x, y, w, h in boxes]
    areas += [line.box for line in drawn.lines()]
    for arrow in drawn.graph.arrows:
        for (x0, y0), (x1, y1) in itertools.pairwise(drawn.path(arrow)):
            for left, top, right, bottom in areas:
                clear = max(x0, x1) <= left or min(x0, x1) >= right
                assert clear or max(y0, y1) <= top or min(y0, y1) >= bottom, arrow


@pytest.mark.parametrize("one", EVERY)
def test_texts_lie_apart_and_inside_the_drawing_and_those_of_nodes_in_their_boxes(one: Architecture) -> None:
    drawn = shown(one)
    lines = drawn.lines()
    for line in lines:
        left, top, right, bottom = line.box
        assert 0 <= left < right <= drawn.width, line.words
        assert 0 <= top < bottom <= drawn.height, line.words
        assert line.size >= 12
    for a, b in itertools.combinations(lines, 2):
        apart = a.box[2] <= b.box[0] or b.box[2] <= a.box[0] or a.box[3] <= b.box[1] or b.box[3] <= a.box[1]
        assert apart, (a.words, b.words)
    for node in drawn.graph.nodes:
        x, y = drawn.place(node)
        (line,) = (one for one in lines if one.x == x and abs(one.y - y) < 8)
        assert line.words == drawn.words(node)
        assert line.box[2] - line.box[0] <= BOX[node.kind][0]


def test_the_backward_direction_says_in_which_order_it_reads() -> None:
    words = [line.words for line in shown(ARCHITECTURES["bidirectional"]).lines()]
    assert "← backward: reads x₅, x₄, x₃, x₂, x₁" in words
    assert "→ forward: reads x₁, x₂, x₃, x₄, x₅" in words
    assert "→h₅ ←h₁" in words  # its final state stands at t = 1


@pytest.mark.parametrize("one", EVERY)
def test_the_drawing_is_readable_without_motion_and_in_any_theme(one: Architecture) -> None:
    drawn = shown(one)
    text, root = drawn.svg(), svg(drawn)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "alt"
    assert root.get("viewBox") == f"0 0 {drawn.width:g} {drawn.height:g}"
    assert root.get("width") == f"{drawn.width:g}"  # letters do not shrink
    assert root.get("height") == f"{drawn.height:g}"  # nothing moves while it loads
    still = text[text.index("prefers-reduced-motion") :]
    assert "animation: none" in still
    assert "opacity: 1" in still
    assert "PERIOD" not in text
    assert all(element.get("fill") is None for element in root.iter(TEXT))  # the page's own colour
    delays = [float(d) for d in re.findall(r"animation-delay:([\d.]+)s", text)]
    period = re.search(r"unrolled-box ([\d.]+)s", text)
    assert period
    assert max(delays) < float(period[1])
    if drawn.graph.directions == 2:
        backward = [g for g in root.iter(GROUP) if g.get("class") == "arrow backward"]
        forward = [g for g in root.iter(GROUP) if g.get("class") == "arrow forward"]
        assert {g.get("color") for g in backward}.isdisjoint({g.get("color") for g in forward})
        assert all(g[0].get("stroke-dasharray") for g in backward)
        assert not any(g[0].get("stroke-dasharray") for g in forward)


def test_what_does_not_fit_the_network_is_refused() -> None:
    one = ARCHITECTURES["many_to_one"].drawn
    with pytest.raises(ValueError, match="5 inputs and 1 answers are drawn; got 4 and 1"):
        drawing(one, ["1"] * 4, ["1"], "alt")


def test_words_are_escaped() -> None:
    one = ARCHITECTURES["one_to_one"].drawn
    drawn = drawing(one, ["<b>"], ['"&'], 'a "b" <c>')
    assert "&lt;b&gt;" in drawn.svg()
    assert svg(drawn).get("aria-label") == 'a "b" <c>'


SPACE = "{http://www.w3.org/2000/svg}"
RECT, POLYLINE, TEXT, GROUP = (f"{SPACE}{name}" for name in ("rect", "polyline", "text", "g"))


def svg(drawn: Drawing) -> ElementTree.Element:
    """The drawing as a tree."""
    found = re.search(r"<svg.*</svg>", drawn.svg())
    assert found
    return ElementTree.fromstring(found[0])
