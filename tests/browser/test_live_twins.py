"""Twins, the further panes, downloads and films in the live component. No test waits for a time to pass."""

import base64
import itertools
import re
import struct
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from rnnviz.clipping import CLIPPINGS, SCOPES
from rnnviz.ui.live_text import live_text
from rnnviz.ui.standalone import THEMES, standalone_page
from rnnviz.ui.summary import clip_summary
from tests.browser.harness import Arrays, Feed, Server, sample, summary, synthetic
from tests.browser.test_live_component import HIGHEST, LOWEST, TWINS, Component, slots

ALL = ["loss", "norm", "heat", "accuracy", "groups", "spectrum", "update", "sample"]
SVG = "{http://www.w3.org/2000/svg}"

pytestmark = pytest.mark.browser


@pytest.fixture
def live(tab: Page, server: Server) -> Component:
    return Component(tab, server)


def twins(
    server: Server, live: Component, count: int = 2, shown: int = 200, settings: Any = None, **data: Any
) -> list[Feed]:
    """So many runs, followed by the component; settings(i) are those of run i."""
    feeds = []
    for i, name in enumerate("abcd"[:count]):
        feed = server.add(synthetic(name, seed=i, **(settings(i) if settings else {})))
        feed.publish(shown)
        feeds.append(feed)
    live.follow(*[feed.name for feed in feeds], **data)
    live.wait(steps=",".join([str(shown)] * count))
    return feeds


def saved(live: Component, pane: str, kind: str) -> bytes:
    """A pane's download."""
    live.page.locator(f".pane-{pane} .save").click()
    with live.page.expect_download() as found:
        live.page.locator(f".pane-{pane} .save-{kind}").click()
    assert found.value.suggested_filename == f"rnnviz-{pane}.{kind}"
    return Path(found.value.path()).read_bytes()


def drawing(live: Component, pane: str) -> ET.Element:
    return ET.fromstring(saved(live, pane, "svg"))


def words(svg: ET.Element) -> list[str]:
    return [node.text or "" for node in svg.iter(f"{SVG}text")]


# Twins


def test_twins_share_a_chart_and_differ_by_colour_and_letter(server: Server, live: Component) -> None:
    twins(server, live, 4, settings=lambda i: {"color": TWINS[i]})
    assert live.data("states") == ",".join(["running"] * 4)
    assert live.page.locator(".pane-loss .figure").count() == 1
    assert live.page.locator(".pane-heat .figure").count() == 4
    for color in TWINS:
        assert live.inked("loss", color) > 100
    assert live.page.locator(".head .run-title").all_inner_texts() == [f"forget bias {i}" for i in range(4)]
    assert live.page.locator(".head .chip").all_inner_texts() == list("ABCD")
    live.says(".pane-loss .caption", "Validation loss now: A\xa0")
    assert [words(drawing(live, "loss")).count(letter) for letter in "ABCD"] == [
        2
    ] * 4  # legend and line's end


def test_twins_come_over_one_connection_and_go_on_where_each_was(server: Server, live: Component) -> None:
    a, b = twins(server, live)
    b.publish(260)
    live.wait(steps="200,260")
    assert live.page.evaluate("sources.length") == 1
    a.drop()
    assert b.wait(lambda f: len(f.requests) == 2)
    assert (a.requests[1], b.requests[1]) == ((None, 200), (None, 260))
    a.publish(300)
    live.wait(steps="300,260", points="300,260")


def test_a_reset_of_one_twin_leaves_the_other(server: Server, live: Component) -> None:
    _, b = twins(server, live)
    b.rewind(80)
    live.wait(steps="200,80", points="200,80")


def test_a_twin_that_joins_leaves_the_first_as_it_is(server: Server, live: Component) -> None:
    (a,) = twins(server, live, 1)
    live.page.evaluate("globalThis.before = [...live.shadow.querySelectorAll('canvas')]")
    server.add(synthetic("b", seed=1)).publish(120)
    live.follow("a", "b")
    live.wait(steps="200,120")
    assert a.requests == [(None, None), (200, None)]
    assert live.page.evaluate("before.every(canvas => canvas.isConnected)")
    live.follow("b")
    live.wait(steps="120")
    assert live.page.locator(".pane-heat .figure").count() == 1


def test_twins_of_which_one_has_not_started(server: Server, live: Component) -> None:
    server.add(synthetic("a")).publish(100)
    both = [*slots("a", "b")]
    both[1]["id"] = None
    live.mount(stream="/live?run=a", slots=both)
    live.wait(steps="100,0", states="running,")
    assert live.page.locator(".head .run-title").all_inner_texts() == ["forget bias 0", "forget bias 1"]


def test_one_colour_means_the_same_in_every_heat_map(server: Server, live: Component) -> None:
    def level(value: float) -> Any:
        def change(arrays: Arrays) -> None:
            arrays["heat"][:] = value
            arrays["heat"][0, :, 0] = 1e-6

        return change

    twins(server, live, shown=400, settings=lambda i: {"change": level([1e-3, 1.0][i])})
    colors = live.page.evaluate("""[...live.shadow.querySelectorAll('.cells')].map(canvas => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
        copy.drawImage(canvas, 0, 0);
        return [...copy.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3)]; })""")
    assert colors[1] == [0xFD, 0xE7, 0x25]
    assert colors[0] != colors[1]
    live.says(".pane-heat .caption", "A\xa01.0, B\xa01.0")


def test_windows_of_twins_where_no_stream_works(server: Server, live: Component) -> None:
    feeds = [server.add(synthetic(name)) for name in "ab"]
    for feed, shown in zip(feeds, (100, 140), strict=True):
        feed.publish(shown)
    live.mount(
        slots=slots("a", "b"),
        runs=[feed.summary for feed in feeds],
        windows={feed.name: base64.b64encode(feed.window(140)).decode() for feed in feeds},
    )
    live.wait(steps="100,140", states="running,running")


def test_a_change_of_one_twin_is_told(server: Server, live: Component) -> None:
    _, b = twins(server, live)
    live.follow("a", "b", states={"a": "running", "b": "running"})
    b.tell(state="paused")
    live.wait(states="running,paused")
    assert live.triggers() == [["state", "paused"]]
    b.publish(400, state="finished")
    live.wait(states="running,finished")
    assert live.page.evaluate("sources[0].readyState") == 1  # the other one still runs


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_phone_has_no_horizontal_scroll(server: Server, live: Component, count: int) -> None:
    live.page.set_viewport_size({"width": 390, "height": 844})
    twins(server, live, count, panes=ALL, samples={name: sample() for name in "abcd"})
    assert live.page.evaluate("document.documentElement.scrollWidth") <= 390
    outside = live.page.evaluate("""[...live.shadow.querySelectorAll('.rnnviz-live *')].filter(node =>
        node.getBoundingClientRect().right > 391 && getComputedStyle(node).display !== 'none'
        && !node.closest('[popover]')).map(node => node.className)""")
    assert outside == []


@pytest.mark.parametrize("large", [False, True])
def test_the_colour_scale_finds_its_place_on_a_phone(server: Server, live: Component, large: bool) -> None:
    def deep(arrays: Arrays) -> None:
        arrays["heat"][:] = np.logspace(-14, -2, arrays["heat"].shape[-1])

    live.page.set_viewport_size({"width": 390, "height": 844})
    twins(server, live, panes=["heat"], large=large, settings=lambda i: {"change": deep})
    live.until("live.shadow.querySelectorAll('.bar-ticks span').length >= 4")
    boxes = live.page.evaluate("""() => [...live.shadow.querySelectorAll('.bar-ticks span')].map(node => {
        const { left, right, top, bottom } = node.getBoundingClientRect();
        return [left, right, top, bottom, parseFloat(getComputedStyle(node).lineHeight)]; })""")
    chart = live.page.evaluate("live.shadow.querySelector('.chart').getBoundingClientRect().top")
    for left, right, top, bottom, line in boxes:
        assert bottom - top < 1.5 * line  # on one line
        assert bottom <= chart
        assert left >= 0
        assert right <= 390
    assert all(a[1] < b[0] for a, b in itertools.pairwise(boxes))


# Twins that are measured differently


def test_twins_with_other_clipping_rules_share_no_name(server: Server, live: Component) -> None:
    a, b = twins(server, live, panes=["norm"])
    b.tell(
        clip={"mode": "value", "measure": "largest element", "largest": True, "scope": "all but the output"}
    )
    live.says(".pane-norm h3", "Size of the gradient")
    live.says(".pane-norm .axis-name", "what each clipping rule measures")
    live.says(".pane-norm .caption", "Gradient now: A")
    for node in (".caption", ".help-box"):
        live.says(f".pane-norm {node}", "Measured: A:\xa0norm; B:\xa0largest element.")
        live.says(f".pane-norm {node}", "Measured over: A:\xa0all parameters; B:\xa0all but the output.")
    # One line for both would say that they are cut at the same place.
    dashed = {
        node.get("stroke")
        for node in drawing(live, "norm").iter(f"{SVG}path")
        if node.get("stroke-dasharray")
    }
    assert set(TWINS[:2]) <= dashed
    a.tell(clip=b.summary["clip"])
    live.says(".pane-norm h3", "Largest gradient element")
    live.says(".pane-norm .caption", "Largest element now: A")


def test_twins_that_clip_other_parts_say_which(server: Server, live: Component) -> None:
    _, b = twins(server, live, panes=["norm"])
    b.tell(clip={"mode": "norm", "measure": "norm", "largest": False, "scope": "all but the output"})
    live.says(".pane-norm .caption", "Measured over: A:\xa0all parameters; B:\xa0all but the output.")
    live.says(".pane-norm h3", "Gradient norm")


def lines(svg: ET.Element, dash: str | None = None) -> list[ET.Element]:
    """The curves of a drawing whose strokes are broken in this way."""
    return [node for node in svg.iter(f"{SVG}path") if node.get("stroke-dasharray") == dash]


def cut_off(share: float, cosine: float) -> Any:
    """The whole gradient is so much longer than the one that was used, and the others point so."""

    def change(arrays: Arrays) -> None:
        used = np.sqrt(sum(arrays[f"grad_{part}"] ** 2 for part in ("recurrent", "input", "output")))
        arrays["full_norm"] = (used / share).astype("<f4")
        arrays["full_cosine"] = np.full(len(used), cosine, "<f4")

    return change


def test_a_gradient_that_is_cut_off_is_compared_with_the_whole_one(server: Server, live: Component) -> None:
    settings = {"change": cut_off(0.25, -0.5), "truncate": 10}
    twins(server, live, 1, panes=["norm"], settings=lambda i: settings)
    told = (
        "Cut off after at most 10 time steps, the gradient is 0.250 times as long as the whole one, and its "
        "direction agrees with that one's to"
    )
    live.says(".pane-norm .caption", f"{told} -0.500 (cosine; 1 is the same direction).")
    live.says(".pane-norm .legend", "not cut off")
    live.says(".pane-norm .help-box", "The dotted line is the length that the gradient would have")
    svg = drawing(live, "norm")
    assert "not cut off" in words(svg)
    assert len(lines(svg, "2 2.5")) == 2, "in the legend and in the chart"


def test_where_a_decoder_takes_over_is_said(server: Server, live: Component) -> None:
    twins(server, live, 2, panes=["heat"], settings=lambda i: {"decoder": 33} if i else {})
    live.says(
        ".pane-heat .caption", "The dashed line: at t = 33 the decoder goes on from where the encoder ended."
    )


@pytest.mark.parametrize("truncate", [0, 10])
def test_a_gradient_that_was_cut_off_is_not_said_to_be_too_small(
    server: Server, live: Component, truncate: int
) -> None:
    def cut(arrays: Arrays) -> None:
        arrays["heat"][:, :, :54] = 0.0

    (feed,) = twins(server, live, 1, panes=["heat"], settings=lambda i: {"change": cut, "truncate": truncate})
    if not truncate:
        live.says(".pane-heat .caption", "zero, or too small for float32 to hold")
        return
    live.says(".pane-heat .caption", "cut off after at most 10 time steps, so none arrives at t = 1.")
    server.add(synthetic("b")).publish(200)
    live.follow(feed.name, "b", panes=["heat"])
    live.says(".pane-heat .caption", "cut off after at most so many time steps: A\xa010.")


def test_twins_of_which_one_cuts_the_gradient_off(server: Server, live: Component) -> None:
    twins(server, live, panes=["norm"],
          settings=lambda i: {"change": cut_off(0.25, 0.5), "truncate": 10} if i else {})  # fmt: skip
    live.says(".pane-norm .caption", "them (1 is the same direction): B\xa00.250 (cosine 0.500).")
    live.says(".pane-norm .legend", "not cut off")
    assert [line.get("stroke") for line in lines(drawing(live, "norm"), "2 2.5")].count(TWINS[1]) == 1


def test_a_whole_gradient_is_not_drawn_beside_what_is_measured_otherwise(
    server: Server, live: Component
) -> None:
    (feed,) = twins(
        server, live, 1, panes=["norm"], settings=lambda i: {"change": cut_off(0.25, 0.5), "truncate": 10}
    )
    for rule, scope in (("value", "all"), ("norm", "not_output")):
        feed.tell(clip=clip_summary(rule, scope))
        live.says(".pane-norm .help-box", f"Measured over: {SCOPES[scope]}.")
        live.says(".pane-norm .caption", "the gradient is 0.250 times as long as the whole one")
        live.until("!live.shadow.querySelector('.pane-norm .legend').innerText.includes('not cut off')")
        assert lines(drawing(live, "norm"), "2 2.5") == []


def test_a_run_that_cuts_nothing_off_has_no_word_of_it(server: Server, live: Component) -> None:
    twins(server, live, 1, panes=["norm"])
    live.says(".pane-norm .caption", "before clipping")
    assert "cut off" not in live.page.locator(".pane-norm").inner_text()
    assert "NaN" not in live.page.locator(".pane-norm").inner_text()


# Every clipping rule


@pytest.mark.parametrize("rule", CLIPPINGS)
def test_the_words_fit_every_clipping_rule(server: Server, live: Component, rule: str) -> None:
    """A limit is spoken of, and drawn, where the rule has one."""
    clip = clip_summary(rule, "all")

    def change(arrays: Arrays) -> None:
        steps = np.arange(len(arrays["step"]))
        limits = {
            "fixed": 1.0,
            "moving": np.where(steps < 25, np.nan, 1 + 0.3 * np.sin(steps / 20)),
            "none": np.nan,
        }
        arrays["threshold"][:] = limits[clip["limit"]]
        if rule == "none":
            arrays["norm_after"][:] = arrays["norm_before"]

    twins(server, live, 1, panes=["norm"], settings=lambda i: {"change": change, "rule": rule})
    caption = live.page.locator(".pane-norm .caption")
    now = {"fixed": "before clipping and", "moving": "; the limit was ", "none": "before clipping and"}[
        clip["limit"]
    ]
    live.says(".pane-norm .caption", "No clipping is set" if rule == "none" else now)
    assert ("No clipping is set" in caption.inner_text()) == (rule == "none")
    assert ("NaN" in caption.inner_text()) is False
    assert (clip["note"] != "") == (rule == "autoclip")
    assert clip["note"] in caption.inner_text()
    legend = live.page.locator(".pane-norm .pane-head .legend").inner_text()
    named = {"fixed": "threshold", "moving": "limit", "none": None}[clip["limit"]]
    assert [name for name in ("threshold", "limit") if name in legend] == ([named] if named else [])
    svg = drawing(live, "norm")
    assert len(lines(svg, "4 4")) == (clip["limit"] != "none")
    help_box = live.page.locator(".pane-norm .help-box").text_content() or ""
    if rule not in ("none", "norm", "value"):
        assert clip["summary"] in help_box
    assert ("dashed" in help_box) == (clip["limit"] != "none")


def test_before_a_rule_has_a_limit_there_is_none(server: Server, live: Component) -> None:
    def change(arrays: Arrays) -> None:
        arrays["threshold"][:] = np.nan
        arrays["norm_after"][:] = arrays["norm_before"]

    twins(server, live, 1, shown=20, panes=["norm"],
          settings=lambda i: {"change": change, "rule": "zclip"})  # fmt: skip
    live.says(".pane-norm .caption", "there was no limit yet.")


def test_twins_with_limits_of_their_own_share_no_line(server: Server, live: Component) -> None:
    """Even where two limits happen to meet at the last step."""

    def moving(arrays: Arrays) -> None:
        arrays["threshold"][:] = np.linspace(2, 1, len(arrays["step"]))

    rules = ["norm", "autoclip"]
    twins(server, live, shown=400, panes=["norm"], settings=lambda i: (
        {"rule": rules[i], **({"change": moving} if i else {})}))  # fmt: skip
    live.says(".pane-norm .legend", "threshold or limit")
    live.says(".pane-norm .help-box", "some rules have none for the whole gradient")
    assert {line.get("stroke") for line in lines(drawing(live, "norm"), "4 4")} == set(TWINS[:2])


def test_what_clipping_inside_the_backward_pass_left_is_compared(server: Server, live: Component) -> None:
    change = cut_off(0.25, 0.5)
    twins(server, live, 1, panes=["norm"],
          settings=lambda i: {"change": change, "rule": "agc"})  # fmt: skip
    live.says(
        ".pane-norm .caption", "of what clipping left agrees with that of the gradient without it to 0.500"
    )
    assert "cut off" not in live.page.locator(".pane-norm").inner_text()


def test_cells_with_other_matrices_have_legends_of_their_own(server: Server, live: Component) -> None:
    def plain(arrays: Arrays) -> None:
        arrays["spectrum"] = arrays["spectrum"][:, :, [0, 4]]

    gates, few = summary()["spectrum"], ["W_hh", "step Jacobian"]
    twins(server, live, panes=["spectrum"],
          settings=lambda i: {"spectrum": gates} if i else {"spectrum": few, "change": plain})  # fmt: skip
    live.says(".pane-spectrum .chart-legend", "step Jacobian")
    named = live.page.evaluate("""[...live.shadow.querySelectorAll('.chart-legend')].map(
        legend => [...legend.children].map(node => node.innerText))""")
    assert named == [["Whh", "step Jacobian"], gates]
    tops = live.page.evaluate(
        "[...live.shadow.querySelectorAll('.figure')].map(node => node.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[1]
    said = words(drawing(live, "spectrum"))
    assert all(said.count(name) == 1 for name in ["W_hh", *gates[:-1]])
    assert said.count("step Jacobian") == 2


def test_cells_with_the_same_matrices_share_a_legend(server: Server, live: Component) -> None:
    twins(server, live, panes=["spectrum"])
    live.says(".pane-spectrum .pane-head .legend", "forget gate")
    assert not live.page.locator(".chart-legend").first.is_visible()


DIGITS = {
    "loss": {"label": "cross-entropy (nats)", "baseline": 2.3026, "baseline_label": "guessing: ln 10",
             "solved": None, "solved_label": None},
    "accuracy": {"label": "digits read correctly", "solved": 0.95},
}  # fmt: skip


def test_twins_with_other_tasks_share_no_unit(server: Server, live: Component) -> None:
    twins(server, live, panes=["loss", "accuracy"], settings=lambda i: DIGITS if i else {})
    live.says(
        ".pane-loss .axis-name", "loss, log scale (A:\xa0mean squared error; B:\xa0cross-entropy (nats))"
    )
    live.says(".pane-loss .caption", "These are different measures")
    live.says(".pane-accuracy .axis-name", "A:\xa0sums right to within 0.04; B:\xa0digits read correctly")
    live.says(".pane-accuracy .caption", "Right answers now: A")
    svg = drawing(live, "loss")
    assert {"A: always answering 1", "A: solved below 0.01", "B: guessing: ln 10"} <= set(words(svg))
    dashed = [node.get("stroke") for node in svg.iter(f"{SVG}path") if node.get("stroke-dasharray") == "5 4"]
    assert sorted(str(stroke) for stroke in dashed) == sorted([TWINS[0], TWINS[0], TWINS[1]])
    assert "B: solved from 95.0\xa0% on" in words(drawing(live, "accuracy"))


def test_twins_with_the_same_task_share_its_lines(server: Server, live: Component) -> None:
    twins(server, live)
    said = words(drawing(live, "loss"))
    assert (said.count("always answering 1"), said.count("solved below 0.01")) == (1, 1)


# Names of levels


@pytest.mark.parametrize("busy", ["left", "right"])
def test_the_name_of_a_level_stands_where_fewer_curves_come_near(
    server: Server, live: Component, busy: str
) -> None:
    def near(arrays: Arrays) -> None:
        half = len(arrays["update"]) // 2
        close = slice(None, half) if busy == "left" else slice(half, None)
        arrays["weight"][:] = 1
        arrays["update"][:] = 1e-4
        arrays["update"][close] = 1.2e-3

    twins(server, live, 1, shown=400, panes=["update"], settings=lambda i: {"change": near})
    svg = drawing(live, "update")
    (name,) = [node for node in svg.iter(f"{SVG}text") if node.text == "rule of thumb: 1e-3"]
    assert (float(name.get("x") or 0) > float(svg.get("width") or 0) / 2) == (busy == "left")
    # On top of the curves, in a halo as wide as the gaps between its letters.
    assert (name.get("stroke"), name.get("stroke-width"), name.get("paint-order")) == (
        "#ffffff",
        "7",
        "stroke",
    )
    order = list(svg.iter())
    curves = [node for node in svg.iter(f"{SVG}path") if node.get("stroke") == "#2f6fde"]
    assert order.index(name) > max(order.index(node) for node in curves)


# Panes


def test_panes_come_and_go_without_the_others_being_built_anew(server: Server, live: Component) -> None:
    twins(server, live, panes=["loss", "heat"])
    live.page.evaluate("globalThis.before = [...live.shadow.querySelectorAll('canvas')]")
    live.follow("a", "b", panes=["spectrum", "loss", "norm", "heat", "nonsense"])
    live.until("live.shadow.querySelectorAll('.pane').length === 4")
    assert live.page.evaluate("before.every(canvas => canvas.isConnected)")
    order = "[...live.shadow.querySelectorAll('.pane h3')].map(node => node.textContent)"
    titles = ["Stretch per time step", "Loss", "Gradient norm", "Gradient at each time step"]
    assert live.page.evaluate(order) == titles
    live.follow("a", "b", panes=["heat"])
    live.until("live.shadow.querySelectorAll('.pane').length === 1")


def test_every_pane_says_its_numbers(server: Server, live: Component) -> None:
    def settle(arrays: Arrays) -> None:
        arrays["grad_recurrent"][:] = 4.0
        arrays["grad_input"][:] = 2.0
        arrays["grad_output"][:] = 0.5
        arrays["update"][:] = 0.02
        arrays["weight"][:] = 10.0
        arrays["spectrum"][:, :, -1] = [1.1, 1.5]
        arrays["validation_accuracy"][:] = 0.25
        arrays["prediction"][:] = 1.25

    picture = sample()
    twins(
        server, live, 1, shown=400, panes=ALL, samples={"a": picture}, settings=lambda i: {"change": settle}
    )
    largest = "the gradient of the recurrent weights is the largest: 8.0 times that of the output layer."
    live.says(".pane-groups .caption", largest)
    live.says(".pane-update .caption", "2.00e-3 of the weights' length")
    live.says(".pane-update .caption", "Half of the updates shown were below 2.00e-3.")
    live.says(".pane-spectrum .caption", "spectral radius 1.10 and stretches at most 1.50-fold")
    live.says(".pane-accuracy .caption", "25.0\xa0%")
    live.says(".pane-sample .answers", "1.250")
    live.says(".pane-sample .caption", picture["answer"])


def test_arrays_that_a_run_does_not_have_are_no_obstacle(server: Server, live: Component) -> None:
    def old(arrays: Arrays) -> None:
        for name in ("grad_recurrent", "grad_input", "grad_output", "update", "weight", "saturated", "dead",
                     "spectrum", "prediction", "prediction_step"):  # fmt: skip
            del arrays[name]

    twins(server, live, 2, panes=ALL, settings=lambda i: {"change": old})
    for pane in ("groups", "update", "spectrum"):
        live.says(f".pane-{pane} .caption", "This was not recorded in this run.")
    live.says(".pane-sample .caption", "One sequence of the task appears here.")


def test_a_spectrum_that_was_too_large_to_measure_is_said(server: Server, live: Component) -> None:
    def none(arrays: Arrays) -> None:
        arrays["spectrum"][:] = np.nan

    twins(server, live, 1, panes=["spectrum"], settings=lambda i: {"change": none})
    live.says(".pane-spectrum .caption", "not measured for states of more than 256 numbers")


def test_a_task_without_accuracy_says_so(server: Server, live: Component) -> None:
    twins(server, live, 1, panes=["accuracy"], settings=lambda i: {"accuracy": None})
    live.says(".pane-accuracy .caption", "judged by its loss alone")


@pytest.mark.parametrize(
    ("kind", "outputs", "said"),
    [("symbols", 4, "A A"), ("digits", 10, "0"), ("copying", 64 * 9, "of 64 steps right")],
)
def test_a_sample_stands_beside_its_answer(
    server: Server, live: Component, kind: str, outputs: int, said: str
) -> None:
    given = sample(kind)
    twins(server, live, 2, shown=400, panes=["sample"], samples={"a": given, "b": given},
          settings=lambda i: {"outputs": outputs})  # fmt: skip
    assert live.page.locator(".pane-sample .figure").count() == 1  # the same sequence is drawn once
    live.says(".pane-sample .answers", said)
    assert live.page.locator(".answer .chip").all_inner_texts() == ["A", "B"]
    live.says(".pane-sample .caption", given["answer"])


def test_samples_that_differ_are_drawn_side_by_side(server: Server, live: Component) -> None:
    twins(server, live, 2, panes=["sample"], samples={"a": sample(), "b": sample("symbols")})
    assert live.page.locator(".pane-sample .figure").count() == 2


def test_the_floor_of_the_precision_is_stated(server: Server, live: Component) -> None:
    (feed,) = twins(server, live, 1)
    live.says(".pane-heat .help-box", "1.4e-45 is the smallest number there is")
    feed.tell(precision="float64", sequence_steps=65)
    live.says(".pane-heat .help-box", "4.9e-324 is the smallest number there is")


def test_the_width_of_a_column_is_told_as_it_is_drawn(server: Server, live: Component) -> None:
    def two(arrays: Arrays) -> None:
        arrays["heat_step"] = np.array([100, 200], "<i4")
        arrays["heat"] = np.repeat([[[1e-4]], [[1.0]]], arrays["heat"].shape[-1], axis=2)

    twins(server, live, 1, shown=400, panes=["heat"], settings=lambda i: {"change": two})
    assert live.cell(0.37, 0.5)[:3] == LOWEST  # half way between the two, of 400 steps
    assert live.cell(0.38, 0.5)[:3] == HIGHEST
    live.says(".pane-heat .help-box", "reaches half way to its neighbours")


def test_an_element_that_is_clipped_is_called_so(server: Server, live: Component) -> None:
    clip = {"mode": "value", "measure": "anything", "scope": "all parameters", "largest": True}
    (feed,) = twins(server, live, 1)
    feed.tell(clip=clip)
    live.says(".pane-norm h3", "Largest gradient element")


# Diagnosis, changes, repeats


def test_the_diagnosis_is_told_in_words_and_the_rest_behind_a_click(server: Server, live: Component) -> None:
    first, second = (
        {"level": level, "title": f"The {level} news.", "text": "In numbers: 3.1e-9.", "advice": "Try a GRU."}
        for level in ("bad", "warn")
    )
    twins(server, live, settings=lambda i: {"diagnosis": [first, second] if i == 0 else []})
    live.says(".finding-bad", "The bad news. In numbers: 3.1e-9. Try a GRU.")
    assert live.page.locator(".finding").count() == 1
    more = live.page.get_by_role("button", name="1 more")
    more.focus()
    live.page.keyboard.press("Enter")
    live.says(".finding-warn", "The warn news.")
    expect(live.page.get_by_role("button", name="Less")).to_be_focused()
    assert live.page.locator(".finding-sign").first.get_attribute("aria-label") == "Something is wrong"


def test_changes_in_mid_run_are_marked_on_every_pane(server: Server, live: Component) -> None:
    change = [{"step": 100, "label": "learning rate 0.001"}]
    twins(server, live, panes=ALL[:-1], settings=lambda i: {"changes": change if i == 0 else []})
    for pane in ALL[:-1]:
        said = words(drawing(live, pane))
        # A chart of all twins names the twin; one of its own need not.
        own = pane in ("heat", "groups", "spectrum")
        assert said.count("learning rate 0.001" if own else "A: learning rate 0.001") == 1, pane


def test_a_change_of_all_twins_is_marked_once(server: Server, live: Component) -> None:
    change = [{"step": 100, "label": "threshold 0.5"}]
    twins(server, live, settings=lambda i: {"changes": change})
    assert words(drawing(live, "loss")).count("threshold 0.5") == 1


def test_the_spread_over_seeds_is_drawn_and_told(server: Server, live: Component) -> None:
    spread = {"runs": 5, "ended": 3, "solved": 2, "step": [40, 80, 120], "low": [0.1, 0.09, 0.05],
              "middle": [0.16, 0.12, 0.1], "high": [0.3, None, 0.2]}  # fmt: skip
    twins(server, live, settings=lambda i: {"repeats": spread if i == 1 else None})
    live.says(".pane-loss .caption", "B over 5 seeds: 3 ended, 2 solved the task.")
    svg = drawing(live, "loss")
    bands = [node for node in svg.iter(f"{SVG}polygon") if node.get("fill") == TWINS[1]]
    assert len(bands) == 1
    assert len((bands[0].get("points") or "").split()) == 6


# Crosshair


def test_a_step_under_the_pointer_is_marked_everywhere(server: Server, live: Component) -> None:
    panes = ["loss", "norm", "heat", "groups"]
    twins(server, live, shown=400, panes=panes)
    live.page.locator(".pane-norm .over").hover()
    live.until("[...live.shadow.querySelectorAll('.hair-x')].every(hair => !hair.hidden)")
    shares = live.page.evaluate(
        """[...live.shadow.querySelectorAll('.over')].map(over => (over.querySelector('.hair-x')
          .getBoundingClientRect().left - over.getBoundingClientRect().left) / over.clientWidth)"""
    )
    assert len(shares) == 6
    assert shares == pytest.approx([0.5] * 6, abs=0.01)
    live.page.mouse.move(2, 2)
    live.until("[...live.shadow.querySelectorAll('.hair-x')].every(hair => hair.hidden)")


@pytest.mark.parametrize("free", ["Escape", "click"])
def test_a_click_holds_the_step_until_it_is_freed(server: Server, live: Component, free: str) -> None:
    twins(server, live, shown=400)
    over = live.page.locator(".pane-loss .over")
    over.click()
    live.until("live.shadow.querySelector('.rnnviz-live').dataset.pinned !== ''")
    pinned = int(live.data("pinned"))
    assert abs(pinned - 200) < 5
    live.page.mouse.move(2, 2)
    live.says(".pane-loss .at", f"step {pinned}")
    if free == "Escape":
        live.page.keyboard.press("Escape")
    else:
        over.click(position={"x": 20, "y": 20})
    live.until("live.shadow.querySelector('.rnnviz-live').dataset.pinned === ''")
    live.page.mouse.move(2, 2)
    live.says(".pane-loss .at", "step 400")


# Downloads


@pytest.mark.parametrize("pane", ALL)
def test_every_pane_can_be_kept_as_a_drawing(server: Server, live: Component, pane: str) -> None:
    twins(server, live, shown=400, panes=ALL, samples={name: sample() for name in "ab"})
    svg = drawing(live, pane)
    said = words(svg)
    assert live.page.locator(f".pane-{pane} h3").inner_text() in said
    assert {"A", "B"} <= set(said) or pane == "sample"
    assert "rgba" not in ET.tostring(svg, "unicode")  # a drawing program knows only plain colours
    assert len(list(svg.iter(f"{SVG}image"))) == (2 if pane == "heat" else 0)


def test_a_picture_is_twice_as_dense_as_the_drawing(server: Server, live: Component) -> None:
    twins(server, live, shown=400)
    svg, png = drawing(live, "heat"), saved(live, "heat", "png")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == tuple(round(2 * float(svg.get(side) or 0)) for side in ("width", "height"))


def test_names_in_a_drawing_are_never_markup(server: Server, live: Component) -> None:
    nasty = "<script>alert('1')</script>&\"\x07"
    twins(server, live, settings=lambda i: {"loss": summary()["loss"] | {"baseline_label": nasty}})
    svg = drawing(live, "loss")
    assert list(svg.iter(f"{SVG}script")) == []
    assert any("<script>" in said for said in words(svg))


# Large type


def test_a_projector_gets_larger_letters(server: Server, live: Component) -> None:
    twins(server, live)
    small = {node.get("font-size") for node in drawing(live, "loss").iter(f"{SVG}text")}
    live.follow("a", "b", large=True)
    live.until("live.shadow.querySelector('.rnnviz-live.large')")
    large = {node.get("font-size") for node in drawing(live, "loss").iter(f"{SVG}text")}
    assert min(float(size or 0) for size in large) > min(float(size or 0) for size in small) * 1.3


# Films


def ended(server: Server, *ends: int) -> list[Feed]:
    feeds = []
    for name, end in zip("abcd", ends, strict=False):
        feed = server.add(synthetic(name, changes=[{"step": 150, "label": "learning rate 0.001"}]))
        feed.publish(end, state="finished", solved_at=200, step=end)
        feeds.append(feed)
    return feeds


def test_an_ended_run_is_shown_as_a_film(server: Server, live: Component) -> None:
    ended(server, 400, 300)
    live.page.emulate_media(reduced_motion="no-preference")
    live.follow("a", "b", replay=True)
    live.wait(film="playing", states="replay,replay")
    live.page.get_by_role("button", name="Pause the recording").click()
    live.wait(film="paused")
    slider = live.page.get_by_role("slider", name="Training step of the recording")
    slider.fill("120")
    live.wait(steps="120,120", points="120,120")
    assert "learning rate 0.001" not in words(drawing(live, "loss"))
    slider.fill("350")
    live.wait(steps="350,300", states="replay,finished")
    assert "learning rate 0.001" in words(drawing(live, "loss"))
    slider.fill("60")  # and back
    live.wait(steps="60,60", heatColumns="15,15")
    live.page.get_by_role("button", name="Skip to the end").click()
    live.wait(steps="400,300", states="finished,finished", points="400,300")
    live.says(".head", "solved at step 200")


def test_a_film_ends_with_the_last_look(server: Server, live: Component) -> None:
    """A run of n steps counts them from 0 and is looked at once more after the last, at step n."""

    def last(arrays: Arrays) -> None:
        for clock in ("step", "heat_step"):
            arrays[clock] = arrays[clock] - 1
        arrays["validation_loss"][-1] = 0.00123
        arrays["validation_accuracy"][-1] = 0.875
        arrays["prediction"][-1] = 1.25

    for name, end in (("a", 400), ("b", 280)):
        feed = server.add(synthetic(name, steps=end, change=last))
        feed.publish(end, state="finished")
    live.page.emulate_media(reduced_motion="no-preference")
    panes = ["loss", "accuracy", "sample"]
    live.follow("a", "b", replay=True, panes=panes, samples={name: sample() for name in "ab"})
    live.wait(film="playing")
    live.page.get_by_role("slider", name="Training step of the recording").fill("300")
    live.says(".pane-loss .caption", "B\xa00.00123")  # this twin is at its end
    assert "A\xa00.00123" not in live.page.locator(".pane-loss .caption").inner_text()
    live.page.get_by_role("button", name="Skip to the end").click()
    live.says(".pane-loss .caption", "Validation loss now: A\xa00.00123, B\xa00.00123.")
    live.says(".pane-accuracy .caption", "A\xa087.5\xa0%, B\xa087.5\xa0%")
    live.says(".head", "87.5\xa0% right")
    live.says(".pane-sample .answers", "1.250")
    live.says(".film-step", "step 400 of 400")


def test_a_film_of_an_explosion_counts_the_updates_that_were_made(server: Server, live: Component) -> None:
    """The last recorded step of a run that diverged made none: of 400 steps from 0 on, 399 did."""

    def from_zero(arrays: Arrays) -> None:
        for clock in ("step", "heat_step"):
            arrays[clock] = arrays[clock] - 1

    feed = server.add(synthetic("a", steps=1000, change=from_zero))
    feed.publish(399, state="diverged", message="The loss became NaN.")
    live.page.emulate_media(reduced_motion="no-preference")
    live.follow("a", replay=True)
    live.wait(film="playing")
    slider = live.page.get_by_role("slider", name="Training step of the recording")
    slider.fill("119")
    live.says(".film-step", "step 120 of 399")
    live.says(".head", "step 120 of 1,000")
    slider.fill("398")  # all is well yet
    live.wait(states="replay", steps="398")
    live.says(".film-step", "step 399 of 399")
    slider.fill("399")
    live.wait(states="diverged", steps="399")
    live.says(".film-step", "step 399 of 399")
    live.says(".head", "step 399 of 1,000")


def test_a_film_of_ended_runs_does_not_miss_its_server(server: Server, tab_with_clock: Page) -> None:
    feeds = ended(server, 400, 300)
    tab_with_clock.clock.install()
    live = Component(tab_with_clock, server)
    live.follow("a", "b", replay=True)
    live.until("live.shadow.querySelector('.rnnviz-live')?.dataset.film === 'playing'")
    tab_with_clock.clock.run_for(100)
    assert live.data("states") == "replay,replay"
    for feed in feeds:
        feed.refused = True
    feeds[0].drop()
    live.until("sources[0].readyState === EventSource.CLOSED")
    tab_with_clock.clock.run_for(4_000)
    assert live.data("film") == "playing"
    assert live.page.locator(".notice").inner_text() == ""
    assert live.page.evaluate("sources.length") == 1


def test_whoever_wants_little_motion_sees_the_end_first(server: Server, live: Component) -> None:
    ended(server, 400)
    live.page.emulate_media(reduced_motion="reduce")
    live.follow("a", replay=True)
    live.wait(film="paused", steps="400", states="finished")


def test_a_film_plays_to_its_end(server: Server, tab_with_clock: Page) -> None:
    ended(server, 400)
    tab_with_clock.clock.install()
    live = Component(tab_with_clock, server)
    live.follow("a", replay=True)
    live.until("live.shadow.querySelector('.rnnviz-live')?.dataset.film === 'playing'")
    tab_with_clock.clock.run_for(13_000)
    live.wait(film="paused", steps="400", states="finished")


# The page of one file


def standing_alone(server: Server, tmp_path: Path, title: str = "Which of the two?") -> Path:
    feeds = ended(server, 400, 300)
    windows = {feed.name: base64.b64encode(feed.window(1000)).decode() for feed in feeds}
    page = standalone_page(
        title, slots("a", "b"), [feed.summary for feed in feeds], windows, {"a": sample(), "b": sample()},
        live_text(lambda sentence: sentence), ALL,
    )  # fmt: skip
    path = tmp_path / "replay.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_one_file_needs_no_server_and_no_network(
    server: Server, browser: Browser, tmp_path: Path, scheme: Any
) -> None:
    path = standing_alone(server, tmp_path)
    context = browser.new_context(offline=True, color_scheme=scheme, reduced_motion="no-preference")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.on(
        "request",
        lambda r: errors.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None,
    )
    page.goto(path.as_uri())
    expect(page.locator(".rnnviz-live[data-film=playing]")).to_be_visible()
    page.get_by_role("button", name="Skip to the end").click()
    expect(page.locator(".rnnviz-live[data-steps='400,300']")).to_be_visible()
    expect(page.locator(".pane")).to_have_count(len(ALL))
    expect(page.locator(".pane-loss .caption")).to_contain_text("Validation loss now: A")
    page.locator(".pane-heat .save").click()
    with page.expect_download() as found:
        page.locator(".pane-heat .save-png").click()
    assert Path(found.value.path()).stat().st_size > 5000
    context.close()
    assert errors == []


def test_a_title_cannot_break_out_of_the_page(server: Server, browser: Browser, tmp_path: Path) -> None:
    nasty = "</title></script><script>document.title = 'broken'</script>@data@"
    path = standing_alone(server, tmp_path, nasty)
    page = browser.new_page()
    page.goto(path.as_uri())
    expect(page.locator("h1")).to_have_text(nasty)
    expect(page).to_have_title(re.compile("@data@"))
    page.close()


def test_the_page_of_one_file_has_the_colours_of_the_app() -> None:
    config = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())["theme"]
    for theme, colors in THEMES.items():
        for name, key in {
            "primary-color": "primaryColor", "background-color": "backgroundColor", "text-color": "textColor",
            "secondary-background-color": "secondaryBackgroundColor", "link-color": "linkColor",
            "border-color": "borderColor",
        }.items():  # fmt: skip
            assert colors[name] == config[theme][key]


# Layers and directions


def parts_shown(live: Component) -> list[str]:
    """What the controls of the panes say, from top to bottom; none where there is none to be seen."""
    return [str(node.evaluate("s => s.selectedOptions[0].label")) for node in live.page.locator(
        "select.part:visible").all()]  # fmt: skip


def tell_apart(arrays: Arrays) -> None:
    """Norms by which each part can be known: of part p, 10^-p at the step read last, ever less before it."""
    _, count, rows = arrays["heat"].shape
    fades = np.logspace(-3, 0, rows)
    for part in range(count):
        arrays["heat"][:, part] = 10.0**-part * (fades if part % 2 == 0 else fades[::-1])
        arrays["spectrum"][:, part, -1] = [1.0 + part, 2.0 + part]


BOTH = {"layers": 2, "directions": 2, "change": tell_apart}
LAYERS = ["layer 1, forward", "layer 1, backward", "layer 2, forward", "layer 2, backward"]


def test_a_layer_is_chosen_for_all_panes(server: Server, live: Component) -> None:
    panes = ["heat", "spectrum", "loss"]
    (feed,) = twins(server, live, 1, shown=200, panes=panes, settings=lambda i: BOTH)
    assert live.page.locator("select.part:visible").count() == 2
    choice = live.page.get_by_label("Layer that is shown: Gradient at each time step")
    assert choice.locator("option").all_inner_texts() == LAYERS
    assert parts_shown(live) == [LAYERS[0]] * 2
    live.says(".pane-heat .caption", "the gradient at t = 1 is 1.0e-3 times that at t = 64.")
    live.says(".pane-heat .caption", "Shown: layer 1, forward.")
    assert live.cell(0.25, 0.999)[:3] == HIGHEST
    before = live.cell(0.25, 0.001)
    # Time keeps its order; the gradient of a direction backward goes from t = 1 to the end.
    choice.select_option("layer 1, backward")
    live.wait(parts="1", settled="yes")
    live.says(".pane-heat .caption", "the gradient at t = 64 is 1.0e-3 times that at t = 1.")
    live.says(".pane-heat .help-box", "where the upper rows are darker than the lower ones")
    assert parts_shown(live) == [LAYERS[1]] * 2
    live.says(".pane-spectrum .caption", "spectral radius 2.00 and stretches at most 3.00-fold")
    assert live.cell(0.25, 0.001) != before
    assert live.cell(0.25, 0.999) != live.cell(0.25, 0.001)
    # What comes later is drawn for the part that is shown, and the others are kept.
    feed.publish(400)
    live.wait(steps="400")
    live.says(".pane-heat .caption", "At step 397 the gradient at t = 64 is 1.0e-3 times that at t = 1.")
    live.page.get_by_label("Layer that is shown: Stretch per time step").select_option(LAYERS[3])
    live.wait(parts="3", settled="yes")
    assert parts_shown(live) == [LAYERS[3]] * 2
    live.says(".pane-spectrum .caption", "spectral radius 4.00 and stretches at most 5.00-fold")
    assert live.cell(0.25, 0.999)[:3] == live.cell(0.75, 0.999)[:3] == LOWEST
    live.says(".pane-spectrum .legend", "4.00")
    said = words(drawing(live, "heat"))
    assert any("layer 2, backward" in line for line in said)  # the control is not in the drawing


def test_a_layer_is_chosen_by_keyboard(server: Server, live: Component) -> None:
    twins(server, live, 1, panes=["heat", "spectrum"], settings=lambda i: BOTH)
    live.page.locator(".pane-heat .save").focus()
    live.page.keyboard.press("Tab")
    choice = live.page.get_by_label("Layer that is shown: Gradient at each time step")
    expect(choice).to_be_focused()
    for part in ("1", "2"):
        live.page.keyboard.press("ArrowDown")
        live.wait(parts=part)
    assert parts_shown(live) == [LAYERS[2]] * 2
    expect(choice).to_be_focused()
    live.page.keyboard.press("Home")
    live.wait(parts="0")


def test_one_layer_leaves_nothing_to_choose(server: Server, live: Component) -> None:
    twins(server, live, panes=["heat", "spectrum"])
    live.says(".pane-heat .caption", "Gradient at t = 1, as a multiple of that at the last step: A")
    assert live.page.locator("select.part").count() == 2
    assert not live.page.locator("select.part:visible").count()
    for pane in ("heat", "spectrum"):
        assert "Shown" not in live.page.locator(f".pane-{pane} .caption").inner_text()
    live.says(".pane-heat .help-box", "the network cannot learn from what came early")


def test_layers_of_one_direction_have_short_names(server: Server, live: Component) -> None:
    twins(server, live, panes=["heat"], settings=lambda i: {"layers": 3})
    assert live.page.locator("select.part option").all_inner_texts() == ["layer 1", "layer 2", "layer 3"]
    live.page.locator("select.part").select_option("layer 3")
    live.wait(parts="2,2")
    live.says(".pane-heat .caption", "Shown: layer 3.")


def test_a_twin_with_fewer_layers_shows_the_nearest(server: Server, live: Component) -> None:
    sizes = [{"layers": 2, "directions": 2}, {"layers": 3}, {"directions": 2}, {}]
    twins(server, live, 4, panes=["heat", "spectrum"],
          settings=lambda i: {**sizes[i], "change": tell_apart})  # fmt: skip
    options = live.page.locator(".pane-heat select.part option").all_inner_texts()
    assert options == [*LAYERS, "layer 3"]
    live.says(".pane-heat .caption", "Gradient at t = 1, as a multiple of that at the last step: A\xa01.0e-3")
    choice = live.page.locator(".pane-heat select.part")
    choice.select_option("layer 2, backward")
    live.wait(parts="3,1,1,0", settled="yes")
    shown = "Shown: A:\xa0layer 2, backward; B:\xa0layer 2; C:\xa0layer 1, backward; D:\xa0layer 1."
    for pane in ("heat", "spectrum"):
        live.says(f".pane-{pane} .caption", shown)
    live.says(".pane-heat .caption", "Gradient at the step that is read first, as a multiple of")
    live.says(".pane-heat .caption", "A\xa01.0e-3")
    live.says(".pane-heat .caption", "C\xa01.0e-3, D\xa01.0e-3.")
    live.says(".pane-spectrum .caption", "A\xa04.00, B\xa02.00, C\xa02.00, D\xa01.00.")
    live.follow("b", "d", panes=["heat", "spectrum"])  # of what is left, the nearest again
    live.wait(parts="1,0")
    assert parts_shown(live) == ["layer 2"] * 2
    live.follow("d", panes=["heat", "spectrum"])
    live.until("[...live.shadow.querySelectorAll('select.part')].every(node => node.hidden)")
    live.follow("a", "d", panes=["heat", "spectrum"])
    live.wait(parts="3,0")


def test_two_backward_directions_compare_the_other_way_round(server: Server, live: Component) -> None:
    twins(server, live, panes=["heat"], settings=lambda i: BOTH)
    live.page.locator("select.part").select_option("layer 2, backward")
    live.says(".pane-heat .caption", "Gradient at the last step, as a multiple of that at t = 1: A\xa01.0e-3")


def test_a_film_keeps_all_layers(server: Server, live: Component) -> None:
    server.add(synthetic("a", **BOTH)).publish(400, state="finished", step=400)
    live.page.emulate_media(reduced_motion="reduce")
    live.follow("a", replay=True, panes=["heat", "spectrum"])
    live.wait(film="paused", steps="400")
    live.page.locator(".pane-heat select.part").select_option("layer 1, backward")
    live.page.get_by_role("slider", name="Training step of the recording").fill("120")
    live.wait(steps="120", parts="1", heatColumns="30")
    live.says(".pane-heat .caption", "At step 117 the gradient at t = 64 is 1.0e-3 times that at t = 1.")
    live.says(".pane-spectrum .caption", "spectral radius 2.00")
    live.page.locator(".pane-spectrum select.part").select_option("layer 2, forward")
    live.says(".pane-spectrum .caption", "spectral radius 3.00")


@pytest.mark.parametrize("width", [390, 760, 1440])
@pytest.mark.parametrize("large", [False, True])
def test_the_choice_of_a_layer_fits_into_the_head(
    server: Server, live: Component, width: int, large: bool
) -> None:
    live.page.set_viewport_size({"width": width, "height": 844})
    # With the loss the spectrum stands in half of the width.
    twins(server, live, 1, panes=["loss", "spectrum", "heat"], large=large, settings=lambda i: BOTH)
    for pane in ("heat", "spectrum"):
        boxes = live.page.evaluate(
            """pane => ['.pane-title', 'select.part', '.legend'].map(name => {
            const node = live.shadow.querySelector(`.pane-${pane} .pane-head ${name}`);
            const { left, right, top, bottom } = node.getBoundingClientRect();
            return [left, right, top, bottom]; })""",
            pane,
        )
        assert all(left >= 0 and right <= width for left, right, _, _ in boxes)
        for a, b in itertools.combinations(boxes, 2):
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]  # none over another
