"""The Train page as a visitor has it: the server as the README starts it, a real engine, real browsers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000  # ms; the machine may be slow, and waiting ends as soon as what is waited for is there

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

# The live component's root element, inside Streamlit's shadow root.
LIVE = "[data-updates]"


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """A server on a port and a store of its own, stopped by Ctrl-C's signal."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", *arguments, "--server.port", str(port)],
        cwd=ROOT,
        env={**os.environ, "RNNVIZ_STORE": f"sqlite:///{folder}/test.db"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _healthy(address))
        yield address, psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the tests that can share it."""
    with served(tmp_path_factory.mktemp("store"), "app.py") as (address, _):
        yield address


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[[], Page]]:
    """A maker of tabs, each in a profile of its own; fails on an uncaught exception in any of them."""
    contexts, errors = [], []

    def visit() -> Page:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []


def test_choose_train_watch_stop_and_find_the_same_run_elsewhere(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(f"{address}/train")
    choose(page, "Cell", "LSTM")
    button(page, "Train").click()
    reaches(page, "step", 5)
    reaches(page, "heatColumns", 3)
    before = live(page, "step")
    reaches(page, "step", before + 3)
    button(page, "Stop").click()
    becomes(page, "stopped")
    assert "cell=lstm" in page.url
    assert "run=" in page.url
    last = live(page, "step")

    other = visitor()
    other.goto(page.url)
    becomes(other, "stopped")
    reaches(other, "step", last)
    assert live(other, "step") == last
    assert live(other, "heatColumns") > 0
    expect(other.get_by_text("LSTM, 64 units", exact=False).first).to_be_visible()
    expect(button(other, "Stop")).to_be_disabled()

    page.reload()
    becomes(page, "stopped")
    reaches(page, "step", last)


def test_a_live_run_is_live_for_others_and_after_a_reload_and_only_its_owner_stops_it(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(f"{address}/train?task=adding&length=20&steps=100000&hidden=8")
    button(page, "Train").click()
    reaches(page, "step", 3)

    other = visitor()
    other.goto(page.url)
    reaches(other, "step", live(page, "step"))
    reaches(other, "step", live(other, "step") + 3)
    expect(button(other, "Stop")).to_be_disabled()
    expect(other.get_by_text("somebody else started", exact=False)).to_be_visible()

    page.reload()  # a new session: the token in the browser's local storage makes it the owner again
    reaches(page, "step", 3)
    expect(button(page, "Stop")).to_be_enabled()
    button(page, "Stop").click()
    becomes(page, "stopped")
    becomes(other, "stopped")


def test_wrong_values_in_the_link_are_named(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?cell=ltsm&steps=many&learning_rate=0.5")
    expect(page.get_by_text("cell: got 'ltsm'; did you mean lstm?", exact=False)).to_be_visible()
    expect(page.get_by_text("steps: got 'many'; allowed: a whole number", exact=False)).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Learning rate")).to_have_value("0.5")


def test_the_root_leads_to_the_page_and_keeps_the_settings(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/?cell=relu")
    page.wait_for_url("**/train?cell=relu")
    expect(button(page, "Train")).to_be_visible()


def test_the_page_follows_the_end_of_a_run_and_tests_it_on_fresh_sequences(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(f"{address}/train?task=adding&length=5&hidden=4&steps=400")
    button(page, "Train").click()
    becomes(page, "finished")
    expect(button(page, "Stop")).to_be_disabled()
    button(page, "Test on 10,000 fresh sequences").click()
    answer = page.get_by_text("On 10,000 fresh sequences the loss is", exact=False)
    expect(answer).to_be_visible(timeout=PATIENCE)


def test_a_run_that_explodes_ends_as_diverged_and_stays_drawn(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(
        f"{address}/train?task=adding&length=100&cell=relu&initialization=scaled_identity&gain=1.5"
        "&clip=none&optimizer=sgd&learning_rate=1&steps=500"
    )
    button(page, "Train").click()
    becomes(page, "diverged")
    expect(page.get_by_text("no longer finite at step", exact=False).first).to_be_visible()
    reaches(page, "heatColumns", 1)  # what was recorded may arrive a moment after the state
    expect(button(page, "Stop")).to_be_disabled()


def test_where_the_stream_is_out_of_reach_the_figures_follow_all_the_same(
    tmp_path: Path, visitor: Callable[[], Page]
) -> None:
    # The pages without app.py have no routes of ours, as behind a proxy that passes only Streamlit's own.
    with served(tmp_path, "rnnviz/ui/main.py", "--server.enableStaticServing", "true") as (address, process):
        page = visitor()
        page.goto(f"{address}/train?task=adding&length=20&steps=100000&hidden=8")
        button(page, "Train").click()
        reaches(page, "step", 3)
        reaches(page, "step", live(page, "step") + 3)
        reaches(page, "heatColumns", 2)
        button(page, "Stop").click()
        becomes(page, "stopped")
        started = process.children(recursive=True)
    psutil.wait_procs(started, 30)  # without our lifespan the engine ends by itself once the server is gone


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    with served(tmp_path, "app.py") as (_, process):

        def workers() -> list[psutil.Process]:
            return [p for p in process.children(recursive=True) if p.is_running()]

        wait_until(lambda: len(workers()) >= 3)  # the engine and its workers
        started = workers()
    _, alive = psutil.wait_procs(started, 15)
    assert alive == []


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a select box in the sidebar."""
    page.get_by_role("combobox", name=label, exact=False).first.click()
    page.get_by_role("option", name=option, exact=True).click()
    page.wait_for_url("**cell=lstm**")


def live(page: Page, name: str) -> int:
    """A number that the live component says of itself: updates, step, heatColumns."""
    return int(page.locator(LIVE).first.evaluate(f"(e) => e.dataset.{name} || '0'"))


def reaches(page: Page, name: str, value: int) -> None:
    wait_in(page, f"Number(live.dataset.{name}) >= {value}")


def becomes(page: Page, state: str) -> None:
    wait_in(page, f"live.dataset.state === '{state}'")


def wait_in(page: Page, condition: str) -> None:
    """Wait for a condition on the live component's root element, inside shadow roots too."""
    page.wait_for_function(
        f"""() => {{
            const deep = (root) => root.querySelector('{LIVE}') || [...root.querySelectorAll('*')]
                .filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot)).find(Boolean);
            const live = deep(document);
            return live && ({condition});
        }}""",
        timeout=PATIENCE,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        Event().wait(0.05)
    raise AssertionError("what was waited for did not come")


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
