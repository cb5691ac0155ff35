"""Make pictures of the app from real runs: `python docs/pictures.py` for those of the documents.

`python docs/pictures.py states FOLDER` photographs every state that a page can be in, to be looked at. Both
start the server as the README does, on a store of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rnnviz.experiment import Experiment
from rnnviz.lessons import LESSONS
from rnnviz.runs.store import Store
from rnnviz.twins import to_text

ROOT = Path(__file__).resolve().parents[1]
AT_STEP = 1200  # far enough for the curves to tell their story
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE = 180_000

_FIRST, _SECOND = LESSONS["forget-bias"].experiments
TWINS = f"{urlencode(_FIRST.to_query())}&twin={to_text(_SECOND, _FIRST)}"
FOUR = "task=temporal_order&length=30&cell=gru&steps=400&twin=cell:lstm&twin=cell:tanh&twin=cell:relu"
BANG = (
    "task=adding&length=100&cell=relu&initialization=scaled_identity&gain=1.5&clip=none&optimizer=sgd"
    "&learning_rate=1&steps=500&twin=clip:norm"
)
PAIR = (
    "task=adding&length=50&hidden=32&steps=600&cell=tanh&initialization=orthogonal"
    "&twin=cell:lstm,initialization:pytorch,forget_bias:1"
)
WALL = "task=adding&length=20&cell=tanh&hidden=32&optimizer=sgd&learning_rate=0.05&clip_threshold=1&steps=800"
ADDER = "task=adding&length=30&cell=lstm&hidden=24&forget_bias=1&learning_rate=0.01&steps=1000"
ALL = "panes=loss,norm,heat,accuracy,sample,groups,update,spectrum"

_LIVE = """() => {
  const deep = (root) => root.querySelector('[data-updates]') || [...root.querySelectorAll('*')]
    .filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot)).find(Boolean);
  const live = deep(document);
  return live !== undefined && (%s);
}"""


def main() -> None:
    """Pictures of the documents, or of every state."""
    states = sys.argv[1:2] == ["states"]
    folder = Path(sys.argv[2]) if states else ROOT / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-background-networking"],
        )
        with _server() as (address, store):
            if states:
                _states(browser, address, store, folder)
            else:
                _documents(browser, address, folder)
        browser.close()


def _documents(browser: Browser, address: str, folder: Path) -> None:
    """docs/train-light.png and docs/train-dark.png: the default experiment; docs/twins.png: two beside it;
    docs/gradients.png: where the gradients of two went; docs/surface.png: a path over its loss surface;
    docs/gates.png: the gates of one that has learned to add."""
    page = _open(browser, f"{address}/train")
    _press(page, "Train")
    _until(page, f"Number(live.dataset.step) >= {AT_STEP}")
    _shoot(page, folder / "train-light.png")
    dark = _open(browser, page.url, dark=True)
    _until(dark, f"Number(live.dataset.step) >= {AT_STEP}")
    _shoot(dark, folder / "train-dark.png")
    twins = _open(browser, f"{address}/train?{TWINS}")
    _press(twins, "Train")
    _ended(twins)
    _shoot(twins, folder / "twins.png")
    pair = _open(browser, f"{address}/train?{PAIR}")
    _press(pair, "Train")
    _ended(pair)
    flow = _open(browser, f"{address}/gradients?{urlsplit(pair.url).query}")
    flow.get_by_text("time step t").first.wait_for(timeout=PATIENCE)
    flow.wait_for_timeout(3000)
    _shoot(flow, folder / "gradients.png")
    wall = _open(browser, f"{address}/train?{WALL}")
    _press(wall, "Train")
    _ended(wall)
    over = _open(browser, f"{address}/surface?{urlsplit(wall.url).query}")
    over.locator(".js-plotly-plot").first.wait_for(timeout=PATIENCE)
    over.get_by_text("Refining the surface").wait_for(state="detached", timeout=PATIENCE)
    over.wait_for_timeout(3000)
    _shoot(over, folder / "surface.png")
    adder = _open(browser, f"{address}/train?{ADDER}")
    _press(adder, "Train")
    _ended(adder)
    run = urlsplit(adder.url).query
    inside = _open(browser, f"{address}/gates?{run}&order=similar&t=14&unit=10")
    inside.locator(".time-maps .pane").first.wait_for(timeout=PATIENCE)
    inside.wait_for_timeout(3000)
    _shoot(inside, folder / "gates.png", True)


def _states(browser: Browser, address: str, store: Store, folder: Path) -> None:
    """Every state of the pages, at the sizes and in the themes that matter."""

    def shoot(name: str, page: Page, full: bool = False) -> None:
        _shoot(page, folder / f"{name}.png", full)
        print(name, flush=True)

    crowd = [store.create(Experiment(task="adding", length=100, seed=seed)) for seed in range(24)]
    late = _open(browser, f"{address}/train")
    _press(late, "Train")
    _until(late, "live.dataset.state === 'queued'")
    shoot("queued", late)
    for run in crowd:
        store.command(run, "stop")
    _press(late, "Stop")

    page = _open(browser, f"{address}/train")
    shoot("empty", page, True)
    shoot("empty-phone", _open(browser, f"{address}/train", phone=True), True)
    shoot("empty-dark", _open(browser, f"{address}/train", dark=True), True)
    _press(page, "Train")
    _until(page, "Number(live.dataset.step) >= 100")
    shoot("running", page)
    watcher = _open(browser, page.url)
    _until(watcher, "Number(live.dataset.step) >= 100")
    shoot("watcher", watcher)
    _press(page, "Pause")
    _until(page, "live.dataset.state === 'paused'")
    shoot("paused", page)
    _press(page, "Stop")

    twins = _open(browser, f"{address}/train?{TWINS}&{ALL}")
    _press(twins, "Train")
    _until(twins, "Number(live.dataset.step) >= 150")
    shoot("twins-running", twins, True)
    _ended(twins)
    shoot("twins", twins, True)
    for name, how in (("dark", {"dark": True}), ("phone", {"phone": True})):
        other = _open(browser, twins.url, **how)
        _until(other, "Number(live.dataset.step) > 100")
        shoot(f"twins-{name}", other, True)
    for name, more in (
        ("projector", "type=large"),
        ("hidden", "controls=hidden"),
        ("watch", "controls=none"),
    ):
        other = _open(browser, f"{twins.url}&{more}")
        _until(other, "Number(live.dataset.step) > 100")
        shoot(name, other)
    replay = _open(browser, f"{twins.url}&replay=yes")
    replay.wait_for_timeout(4000)
    shoot("replay", replay)

    four = _open(browser, f"{address}/train?{FOUR}&{ALL}")
    _press(four, "Train")
    _until(four, "Number(live.dataset.step) >= 60")
    waiting = _open(browser, f"{address}/train?task=adding")
    _press(waiting, "Train")
    shoot("beside-four", waiting)
    _ended(four)
    shoot("four", four, True)
    shoot("four-dark", _still(_open(browser, four.url, dark=True)), True)
    shoot("four-phone", _still(_open(browser, four.url, phone=True)), True)

    bang = _open(browser, f"{address}/train?{BANG}")
    _press(bang, "Train")
    _ended(bang)
    shoot("diverged", bang)
    _press(bang, "More")
    shoot("more", bang)
    _press(bang, "Watch it explode")
    _until(bang, "live.dataset.state === 'paused'")
    _press(bang, "Step")
    _until(bang, "live.dataset.state === 'paused'")
    shoot("before-the-explosion", bang)

    for name in ("Share", "Download", "What is the task?"):
        page.keyboard.press("Escape")
        _press(page, name)
        shoot(name.split()[0].lower().replace("what", "task"), page)
    lesson = _open(browser, f"{address}/lessons")
    shoot("lessons", lesson, True)
    shoot("lessons-dark", _open(browser, f"{address}/lessons", dark=True), True)
    shoot("lessons-phone", _open(browser, f"{address}/lessons", phone=True), True)
    lesson.get_by_role("button", name="Try it").first.click()
    lesson.wait_for_url("**lesson=**")
    lesson.wait_for_timeout(1500)
    shoot("lesson", lesson)
    lesson.locator("[data-testid=stRadio] label").nth(1).click()
    _press(lesson, "Train and see")
    _ended(lesson)
    _press(lesson, "Show the answer")
    lesson.wait_for_timeout(1000)
    shoot("lesson-answer", lesson, True)
    runs = _open(browser, f"{address}/runs")
    shoot("runs-nobody", runs)
    page.goto(f"{address}/runs")
    page.wait_for_timeout(3000)
    shoot("runs", page, True)


def _press(page: Page, name: str) -> None:
    named = page.get_by_role("button", name=name, exact=True)
    named.and_(page.locator(":not([kind=header])")).first.click()  # Streamlit has a Stop of its own


def _until(page: Page, condition: str) -> None:
    page.wait_for_function(_LIVE % condition, timeout=PATIENCE)


def _ended(page: Page) -> None:
    over = "['finished', 'stopped', 'diverged', 'failed']"
    _until(page, f"(live.dataset.states || '').split(',').every((s) => {over}.includes(s))")
    _still(page)


def _still(page: Page) -> Page:
    page.wait_for_timeout(1500)
    return page


def _open(browser: Browser, address: str, dark: bool = False, phone: bool = False) -> Page:
    how: dict[str, Any] = {
        "viewport": PHONE if phone else DESKTOP,
        "color_scheme": "dark" if dark else "light",
    }
    if phone:
        how |= {"is_mobile": True, "has_touch": True}
    page = browser.new_context(**how).new_page()
    page.goto(address)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=PATIENCE)
    page.wait_for_timeout(1500)
    return page


def _shoot(page: Page, path: Path, full: bool = False) -> None:
    page.mouse.move(5, 5)
    page.wait_for_timeout(700)
    if full:  # the page scrolls inside an element, so the window has to become as tall as it
        size = page.viewport_size
        assert size is not None
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": min(6000, max(size["height"], height))})
        page.wait_for_timeout(700)
        page.screenshot(path=path)
        page.set_viewport_size(size)
    else:
        page.screenshot(path=path)


@contextmanager
def _server() -> Iterator[tuple[str, Store]]:
    """The app on a store of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/pictures.db"
        environment = {**os.environ, "RNNVIZ_STORE": url}
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", Store(url)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


if __name__ == "__main__":
    main()
