"""The app as a visitor has it: the server as the README starts it, and what tests do with its pages."""

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
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).resolve().parents[2]
# ms. Waiting ends as soon as what is waited for is there. Where other things run, the workers of the engine
# stand back, and may take a minute to start.
PATIENCE = 120_000

# The live component's root element, inside Streamlit's shadow root.
LIVE = "[data-updates]"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(
    folder: Path, *arguments: str, port: int | None = None
) -> Iterator[tuple[str, psutil.Process]]:  # fmt: skip
    """A server on a port and a store of its own, stopped by Ctrl-C's signal."""
    port = port or free_port()
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


def button(page: Page, name: str) -> Locator:
    """The button of that name in the page: Streamlit's header has a Stop of its own while a script runs."""
    named = page.get_by_role("button", name=name, exact=True)
    return named.and_(page.locator(":not([kind=header])"))


def press(page: Page, name: str) -> None:
    """Click the button of that name once the page is at rest: one that is drawn anew may miss a click."""
    expect(button(page, name)).to_be_enabled(timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    button(page, name).click()


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a select box in the sidebar."""
    page.get_by_role("combobox", name=label, exact=False).first.click()
    page.get_by_role("option", name=option, exact=True).click()
    page.wait_for_url("**cell=lstm**")


def live(page: Page, name: str) -> int:
    """A number that the live component says of itself: updates, step, heatColumns."""
    return int(page.locator(LIVE).first.evaluate(f"(e) => e.dataset.{name} || '0'"))


def steps(page: Page) -> list[int]:
    """The last step drawn of each twin."""
    told = str(page.locator(LIVE).first.evaluate("(e) => e.dataset.steps || ''"))
    return [int(step) for step in told.split(",") if step]


def reaches(page: Page, name: str, value: int) -> None:
    wait_in(page, f"Number(live.dataset.{name}) >= {value}")


def becomes(page: Page, *states: str) -> None:
    """Wait until the twins, or the one run, are in these states."""
    if len(states) > 1:
        wait_in(page, f"live.dataset.states === '{','.join(states)}'")
        return
    state = states[0]
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
