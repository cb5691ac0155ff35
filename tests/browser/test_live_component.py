"""The live component in a real browser, fed with synthetic runs. No test waits for a time to pass."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.browser.harness import STATIC, Arrays, Feed, Server, summary, synthetic

# Colours of the heat map in the light theme: the ends of viridis, and the codes that are no number.
LOWEST, HIGHEST = [0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]
ZERO, INF = [0xD3, 0xD5, 0xDB], [0xE5, 0x19, 0x4F]
NAN_DARK, NAN_LIGHT = [0x10, 0x12, 0x16], [0xF7, 0xF7, 0xF7]

TWINS = ("#2f6fde", "#d1622b", "#15803d", "#a8449c")

pytestmark = pytest.mark.browser

STATE = "() => live.shadow.querySelector('.rnnviz-live')?.dataset"

# Reads a canvas through a copy, because the browser warns when the original is read again and again:
# the pixel at a fraction of the width and of the height from the bottom, or all of them.
PIXELS = """(canvas, use, x, y) => {
    const copy = document.createElement('canvas');
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext('2d', { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const box = x === undefined ? [0, 0, copy.width, copy.height]
      : [Math.min(copy.width - 1, Math.floor(x * copy.width)),
        Math.min(copy.height - 1, Math.floor((1 - y) * copy.height)), 1, 1];
    return use(copy, context.getImageData(...box).data);
}"""


class Component:
    """The component as a test sees it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        page.goto(server.url)
        page.wait_for_function("globalThis.live")

    def mount(self, **data: Any) -> None:
        self.page.evaluate("data => live.mount(data)", data)

    def follow(self, *names: str, **data: Any) -> None:
        """Mounts the runs of these names as twins, or as one run."""
        self.mount(**{"stream": "/live?run=" + "&run=".join(names), "slots": slots(*names), **data})

    def wait(self, **attributes: object) -> None:
        """Waits until the root element carries these data attributes."""
        expected = {name: str(value) for name, value in attributes.items()}
        self.page.wait_for_function(
            "wanted => { const have = (" + STATE + ")(); return have && "
            "Object.entries(wanted).every(([name, value]) => have[name] === value); }",
            arg=expected,
        )

    def until(self, expression: str, arg: object = None) -> None:
        self.page.wait_for_function(expression, arg=arg)

    def data(self, name: str) -> str:
        return str(self.page.evaluate(f"({STATE})().{name}"))

    def says(self, selector: str, text: str) -> None:
        """Waits until an element's text contains this."""
        self.until(
            "([css, text]) => live.shadow.querySelector(css)?.textContent.includes(text)", [selector, text]
        )

    def cell(self, x: float, y: float) -> list[int]:
        """Red, green, blue, alpha of the heat map at a fraction of its width and of its height."""
        got = self.page.evaluate(
            """([pixels, x, y]) => eval(pixels)(
              live.shadow.querySelector('.cells'), (_, d) => [...d.slice(0, 4)], x, y)""",
            [PIXELS, x, y],
        )
        return [int(v) for v in got]

    def inked(self, pane: str, color: str) -> int:
        """Pixels of a line chart that are close to a colour."""
        return int(
            self.page.evaluate(
                """([pixels, pane, color]) => {
                const want = [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
                return eval(pixels)(live.shadow.querySelector(`.pane-${pane} .ink`), (_, d) => {
                  let n = 0;
                  for (let i = 0; i < d.length; i += 4)
                    if (d[i + 3] > 128 && want.every((v, k) => Math.abs(d[i + k] - v) < 40)) n += 1;
                  return n;
                });
                }""",
                [PIXELS, pane, color],
            )
        )

    def states(self, name: str) -> list[Any]:
        return [value for key, value in self.page.evaluate("live.states") if key == name]

    def triggers(self) -> list[Any]:
        return [list(t) for t in self.page.evaluate("live.triggers")]


def slots(*names: str) -> list[dict[str, Any]]:
    """What the page says of each twin; one alone has no letter."""
    if len(names) == 1:
        return [{"id": names[0], "letter": "", "title": "", "color": None}]
    return [
        {"id": name, "letter": letter, "title": f"forget bias {i}", "color": color}
        for i, (name, letter, color) in enumerate(zip(names, "ABCD", TWINS, strict=False))
    ]


@pytest.fixture
def live(tab: Page, server: Server) -> Component:
    return Component(tab, server)


def started(server: Server, live: Component, shown: int = 100, **settings: Any) -> Feed:
    feed = server.add(synthetic(**settings))
    feed.publish(shown)
    live.follow(feed.run.summary["id"])
    live.wait(step=shown)
    return feed


def test_points_and_columns_appear(server: Server, live: Component) -> None:
    feed = started(server, live, 100)
    live.wait(points=100, heatColumns=25, state="running")
    assert live.inked("loss", "#2f6fde") > 50
    assert live.inked("norm", "#2f6fde") > 50
    feed.publish(300)
    live.wait(step=300, points=300, heatColumns=75)
    assert int(live.data("updates")) >= 2


def test_cells_show_the_norms_with_time_running_upward(server: Server, live: Component) -> None:
    def ramp(arrays: Arrays) -> None:
        arrays["heat"][:] = np.logspace(-4, 0, arrays["heat"].shape[-1])

    started(server, live, 101, change=ramp)
    assert live.cell(0.3, 0.0)[:3] == LOWEST  # t = 1
    assert live.cell(0.3, 1.0)[:3] == HIGHEST  # t = T
    assert live.cell(0.99, 0.5)[3] == 0  # no step has come so far: nothing is painted
    live.says(".pane-heat .caption", "At step 101 the gradient at t = 1 is 1.0e-4 times that at t = 64.")


def test_rows_that_share_a_line_show_the_largest(server: Server, live: Component) -> None:
    def spike(arrays: Arrays) -> None:
        arrays["heat"][:] = 1e-4
        arrays["heat"][..., 100] = 1.0

    started(server, live, 400, length=256, change=spike)
    shades = [live.cell(0.5, y)[:3] for y in np.linspace(100 / 256, 101 / 256, 9)]
    assert HIGHEST in shades


def test_nan_inf_and_underflow_are_shown_as_such(server: Server, live: Component) -> None:
    def odd(arrays: Arrays) -> None:
        arrays["heat"][..., :16] = 0
        arrays["heat"][..., 16:32] = np.inf
        arrays["heat"][..., 32:48] = np.nan

    started(server, live, 400, change=odd)
    assert live.cell(0.5, 0.1)[:3] == ZERO
    assert live.cell(0.5, 0.4)[:3] == INF
    hatched = {tuple(live.cell(0.5 + dx, 0.6)[:3]) for dx in np.linspace(0, 0.02, 12)}
    assert hatched == {tuple(NAN_DARK), tuple(NAN_LIGHT)}
    for code in ("zero", "inf", "nan"):
        assert live.page.locator(f".code-{code}").is_visible()
    live.says(".pane-heat .caption", "at t = 1 is zero, or too small for float32 to hold")


def test_codes_that_do_not_occur_are_not_in_the_legend(server: Server, live: Component) -> None:
    started(server, live)
    assert not any(live.page.locator(f".code-{code}").is_visible() for code in ("zero", "inf", "nan"))


def test_a_loss_that_is_not_finite_is_named_and_marked(server: Server, live: Component) -> None:
    def burst(arrays: Arrays) -> None:
        arrays["loss"][299:349] = np.inf
        arrays["loss"][349:] = np.nan
        arrays["norm_before"][299:] = np.nan

    feed = started(server, live, 299, change=burst)
    before = live.inked("loss", "#e5194f")
    feed.publish(400, state="diverged", message="The loss became NaN.")
    live.wait(step=400, state="diverged")
    live.says(".pane-loss .caption", "The loss is not a number (NaN) from step 350 on.")
    live.says(".pane-loss .caption", "It was first not finite at step 300.")
    live.says(".pane-loss .legend", "NaN")
    live.says(".pane-norm .caption", "the gradient norm was NaN before clipping")
    live.says(".note", "The loss became NaN.")
    assert before == 0


def test_replayed_steps_are_not_drawn_twice(server: Server, live: Component) -> None:
    feed = started(server, live, 200)
    feed.repeat(100, 200)
    feed.repeat(120, 160)
    feed.publish(240)
    live.wait(step=240, points=240, heatColumns=60)


def test_a_reset_forgets_what_was_drawn(server: Server, live: Component) -> None:
    feed = started(server, live, 200)
    feed.rewind(80)
    live.wait(step=80, points=80, heatColumns=20)
    feed.publish(120)
    live.wait(step=120, points=120, heatColumns=30)


def test_a_dropped_connection_is_taken_up_from_the_last_step(server: Server, live: Component) -> None:
    feed = started(server, live, 100)
    feed.drop()
    assert feed.wait(lambda f: len(f.requests) == 2)
    assert feed.requests == [(None, None), (None, 100)]
    feed.publish(150)
    live.wait(step=150, points=150)


def test_a_server_that_comes_back_later_is_asked_again(server: Server, live: Component) -> None:
    feed = started(server, live, 100)
    feed.refused = True
    feed.drop()
    live.until("sources[0].readyState === EventSource.CLOSED")
    feed.refused = False
    assert feed.wait(lambda f: len(f.requests) == 2)
    assert feed.requests[1] == (100, None)
    feed.publish(150)
    live.wait(step=150, points=150)
    assert live.states("unreachable") == []


def window(feed: Feed, points: int) -> str:
    return base64.b64encode(feed.window(points)).decode()


def test_the_source_names_what_it_calls() -> None:
    source = (STATIC / "source.js").read_text()
    listed = source.split("* sink: ")[1].split("*/")[0]
    assert set(re.findall(r"(\w+)\(", listed)) == set(re.findall(r"this\.sink\.(\w+)\(", source))


def test_a_refused_stream_falls_back_to_windows(server: Server, live: Component) -> None:
    feed = server.add(synthetic())
    feed.refused = True
    live.follow("run")
    live.until("live.states.some(([name, value]) => name === 'unreachable' && value === true)")
    feed.publish(100)
    live.follow("run", runs=[feed.summary], windows={"run": window(feed, 100)})
    live.wait(step=100, points=100, state="running")
    live.says(".notice", "about once a second")
    feed.publish(180)
    live.mount(
        slots=slots("run"), runs=[feed.summary], windows={"run": window(feed, 120)}
    )  # overlaps, and the page has given up the stream
    live.wait(step=180, points=180)
    assert live.states("unreachable") == [True]
    feed.rewind(60)
    live.mount(slots=slots("run"), runs=[feed.summary], windows={"run": window(feed, 60)})
    live.wait(step=60, points=60)
    feed.publish(90, state="finished")
    live.mount(
        slots=slots("run"), runs=[feed.summary], windows={"run": window(feed, 60)}, states={"run": "finished"}
    )
    live.wait(step=90, points=90, state="finished")
    assert live.triggers() == [], "what the page itself says need not be told to it"


def test_a_stream_that_stays_silent_is_unreachable(server: Server, tab_with_clock: Page) -> None:
    feed = server.add(synthetic())
    feed.silent = True
    tab_with_clock.clock.install()
    live = Component(tab_with_clock, server)
    live.follow("run")
    assert feed.wait(lambda f: f.listening == 1)
    tab_with_clock.clock.fast_forward(20_000)
    assert live.states("unreachable") == [True]
    assert live.page.evaluate("sources.map(s => s.readyState)") == [2]


def test_memory_is_bounded_and_keeps_what_matters(server: Server, live: Component) -> None:
    def spikes(arrays: Arrays) -> None:
        arrays["loss"][7_000] = np.nan

    feed = started(server, live, 12_000, steps=20_000, every=10, check=200, change=spikes)
    for shown in range(13_000, 20_001, 1_000):
        feed.publish(shown)
        live.wait(step=shown)
    assert 1_000 < int(live.data("points")) <= 4_096
    assert 200 < int(live.data("heatColumns")) <= 600
    live.says(".pane-loss .caption", "It was first not finite at step 7,001.")


def test_series_thin_evenly_and_keep_extremes(live: Component) -> None:
    found = live.page.evaluate("""async () => {
        const { Series, Columns } = await import("/app/static/series.js");
        const series = new Series(["y"], 512);
        const heat = new Columns(100);
        let most = 0;
        for (let step = 1; step <= 100000; step += 1) {
          const odd = { 31: 99, 77777: NaN, 88888: Infinity };
          const y = step in odd ? odd[step] : (step * 7919) % 97 / 10;
          series.append([step], [[y]]);
          if (step % 10 === 0) heat.append([step], Int16Array.of(step % 100, -400), 2);
          most = Math.max(most, series.length);
        }
        const y = series.values.y;
        return { most, length: series.length, columns: heat.length, last: series.last, heatLast: heat.last,
          early: series.step.filter((s) => s <= 50000).length / series.length,
          earlyHeat: heat.step.filter((s) => s <= 50000).length / heat.length,
          spike: series.step[y.indexOf(99)], nan: series.step[y.findIndex(Number.isNaN)],
          inf: series.step[y.indexOf(Infinity)],
          sorted: series.step.every((s, i, a) => i === 0 || s > a[i - 1]) };
    }""")
    assert found["most"] <= 512 + 1
    assert found["columns"] <= 100
    assert (found["last"], found["heatLast"]) == (100_000, 100_000)
    assert 0.4 < found["early"] < 0.6
    assert 0.4 < found["earlyHeat"] < 0.6
    assert (found["spike"], found["nan"], found["inf"]) == (31, 77_777, 88_888)
    assert found["sorted"]


def test_each_change_of_state_is_told_once(server: Server, live: Component) -> None:
    feed = started(server, live, 100)
    live.follow("run", states={"run": "running"})
    assert live.triggers() == []
    feed.tell(state="paused")
    live.wait(state="paused")
    live.follow("run", runs=[feed.summary], states={"run": "paused"})
    feed.tell(state="running")
    live.wait(state="running")
    live.follow("run", states={"run": "running"})
    feed.publish(400, state="finished")
    live.wait(state="finished", step=400)
    assert live.triggers() == [["state", "paused"], ["state", "running"], ["state", "finished"]]
    live.until("sources.every(s => s.readyState === EventSource.CLOSED)")


def test_a_page_drawn_for_a_state_that_has_passed_is_told(server: Server, live: Component) -> None:
    """A single step begins and ends paused: the stream may never see it running, but the page may have."""
    feed = started(server, live, 100)
    feed.tell(state="paused")
    live.wait(state="paused")
    live.follow("run", states={"run": "running"})
    live.until("live.triggers.length > 0")
    assert live.triggers() == [["state", "paused"]]


def test_a_finished_run_opened_late_is_drawn_and_closed(server: Server, live: Component) -> None:
    feed = server.add(synthetic())
    feed.publish(400, state="finished", solved_at=300)
    live.follow("run")
    live.wait(step=400, points=400, state="finished")
    live.says(".head", "solved at step 300")
    live.until("sources.every(s => s.readyState === EventSource.CLOSED)")
    assert live.triggers() == []
    assert len(feed.requests) == 1


def test_a_connection_lost_before_the_last_chunk_is_taken_up(server: Server, live: Component) -> None:
    feed = started(server, live, 100)
    feed.tell(state="finished", step=400)
    live.wait(state="finished")
    feed.drop()
    assert feed.wait(lambda f: len(f.requests) == 2)
    feed.publish(400)
    live.wait(step=400, points=400)
    live.until("sources.every(s => s.readyState === EventSource.CLOSED)")


def test_a_run_that_is_continued_is_followed_again(server: Server, live: Component) -> None:
    feed = server.add(synthetic())
    feed.publish(100, state="stopped")
    live.follow("run")
    live.wait(step=100, state="stopped")
    live.until("sources[0].readyState === EventSource.CLOSED")
    feed.publish(150, state="running")
    live.follow("run", runs=[feed.summary])
    live.wait(step=150, points=150, state="running")
    assert feed.requests == [(None, None), (100, None)]


def test_the_owner_token_is_stable(server: Server, live: Component) -> None:
    live.mount()
    live.mount()
    live.page.evaluate("live.unmount()")
    live.mount()
    first, second = live.states("owner")
    assert first == second == live.page.evaluate("localStorage.getItem('rnnviz-owner')")
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    live.page.reload()
    live.page.wait_for_function("globalThis.live")
    live.mount()
    assert live.states("owner") == [first]


def test_without_storage_the_owner_token_lasts_as_long_as_the_page(server: Server, tab: Page) -> None:
    tab.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })"
    )
    live = Component(tab, server)
    live.mount()
    live.page.evaluate("live.unmount()")
    live.mount()
    first, second = live.states("owner")
    assert first == second
    assert len(first) == 32


def test_switching_streams_clears(server: Server, live: Component) -> None:
    started(server, live, 100)
    other = server.add(synthetic("other", title="GRU, 32 units", color="#2a9d5c"))
    other.publish(40)
    live.follow("other", runs=[other.summary])
    live.wait(step=40, points=40, heatColumns=10)
    live.says(".run-title", "GRU, 32 units")
    assert live.page.evaluate("sources.map(s => s.readyState)") == [2, 1]
    assert live.triggers() == []
    live.mount()
    live.wait(step=0, points=0, heatColumns=0, state="")
    live.says(".invitation", "Nothing is training here yet.")
    assert live.page.evaluate("sources.every(s => s.readyState === EventSource.CLOSED)")
    assert live.cell(0.2, 0.5)[3] == 0
    assert live.inked("loss", "#2a9d5c") == 0


def test_equal_data_changes_nothing(server: Server, live: Component) -> None:
    feed = server.add(synthetic())
    feed.publish(400, state="finished")
    live.follow("run")
    live.wait(step=400, state="finished")
    live.until("sources[0].readyState === EventSource.CLOSED")
    live.page.evaluate("""() => {
        globalThis.seen = [];
        new MutationObserver((records) => seen.push(...records)).observe(live.shadow,
          { subtree: true, childList: true, attributes: true, characterData: true });
    }""")
    frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    live.page.evaluate(f"async () => {{ await {frames}; seen.length = 0; }}")
    live.follow("run")
    live.follow("run")
    assert live.page.evaluate(f"async () => {{ await {frames}; return seen.length; }}") == 0
    assert len(feed.requests) == 1


def test_unmount_frees_everything(server: Server, live: Component) -> None:
    feed = started(server, live, 100)
    live.page.evaluate("live.unmount()")
    assert live.page.evaluate("live.shadow.childElementCount") == 0
    assert live.page.evaluate("sources.map(s => s.readyState)") == [2]
    live.follow("run")
    live.wait(step=100, points=100)
    assert live.page.locator(".rnnviz-live").count() == 1
    assert len(feed.requests) == 2


def test_the_crosshair_reads_the_same_step_everywhere(server: Server, live: Component) -> None:
    started(server, live, 400)
    box = live.page.locator(".pane-heat .over").bounding_box()
    assert box is not None
    live.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
    live.says(".pane-heat .at", "t = 1:")
    steps = live.page.evaluate(
        """['loss', 'norm', 'heat'].map(pane => {
          const at = live.shadow.querySelector(`.pane-${pane} .at`).textContent;
          return Number(/step ([0-9,]+)/.exec(at)[1]); })"""
    )
    assert steps[0] == steps[1]
    assert abs(steps[2] - steps[0]) <= 2
    live.page.mouse.move(2, 2)
    live.says(".pane-loss .at", "step 400")


def test_help_opens_and_closes_by_keyboard(server: Server, live: Component) -> None:
    started(server, live)
    for pane in ("loss", "norm", "heat"):
        button = live.page.locator(f".pane-{pane} .help")
        button.focus()
        live.page.keyboard.press("Enter")
        assert live.page.locator(f".pane-{pane} .help-box").is_visible()
        live.page.keyboard.press("Escape")
        assert not live.page.locator(f".pane-{pane} .help-box").is_visible()


def test_text_of_a_run_is_never_markup(server: Server, live: Component) -> None:
    nasty = "<img src=x onerror='live.broken = true'>"
    started(server, live, title=nasty, message=nasty, loss=summary()["loss"] | {"label": nasty})
    live.says(".run-title", nasty)
    live.says(".note", nasty)
    assert live.page.locator(".rnnviz-live img").count() == 0
    assert live.page.evaluate("live.broken") is None


def test_a_queued_run_says_where_it_stands(server: Server, live: Component) -> None:
    started(server, live, 0, state="queued", queue_position=3)
    live.says(".head", "number 3 in the queue")
    assert live.data("state") == "queued"


def test_the_dark_theme_is_read_again_on_mount(server: Server, live: Component) -> None:
    def none(arrays: Arrays) -> None:
        arrays["heat"][:] = 0

    started(server, live, 400, change=none)
    assert live.cell(0.5, 0.5)[:3] == ZERO
    live.page.evaluate("live.theme('dark')")
    live.follow("run")
    live.until("live.shadow.querySelector('.scale').style.getPropertyValue('--zero') === '#41454f'")
    live.until("new Promise(done => requestAnimationFrame(() => done(true)))")
    assert live.cell(0.5, 0.5)[:3] == [0x41, 0x45, 0x4F]


def test_a_phone_has_no_horizontal_scroll(server: Server, live: Component) -> None:
    live.page.set_viewport_size({"width": 390, "height": 844})
    started(server, live, 400)
    live.until("live.shadow.querySelector('.pane-loss .figure').clientWidth <= 358")
    assert live.page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = live.page.evaluate(
        "[...live.shadow.querySelectorAll('.pane')].map(pane => pane.getBoundingClientRect().left)"
    )
    assert len(set(boxes)) == 1


def test_numbers_have_three_significant_digits(live: Component) -> None:
    text = {"nan": "NaN", "inf": "Inf"}
    found = live.page.evaluate(
        """async (text) => { const f = await import("/app/static/format.js");
        return [[0.13245, 0.999999, 12.3456, 1234.5, 4.4e-5, 0].map(x => f.loss(x, text)),
          [3.14159e-9, 0.5, 1, 65504, Infinity, NaN].map(x => f.gradient(x, text)),
          [3.14e-5, 0.314].map(x => f.coarse(x, text)), [0, 0.0004, 0.931, 0.9999, 1].map(f.percent),
          f.integer(1234567)]; }""",
        text,
    )
    assert json.loads(json.dumps(found)) == [
        ["0.132", "1.00", "12.3", "1.23e3", "4.40e-5", "0"],
        ["3.14e-9", "0.500", "1.00", "6.55e4", "Inf", "NaN"],
        ["3.1e-5", "0.31"],
        ["0\xa0%", "<0.1\xa0%", "93.1\xa0%", ">99.9\xa0%", "100\xa0%"],
        "1,234,567",
    ]
