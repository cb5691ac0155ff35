"""Fixtures of the browser tests: one Chromium for all of them, servers, tabs and profiles."""

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from tests.browser.app import PATIENCE, served
from tests.browser.harness import Server

VIEWPORT: ViewportSize = {"width": 1440, "height": 900}
ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-background-networking"]


@pytest.fixture(scope="session")
def chromium() -> pathlib.Path:
    """The browser to test with. Without one these tests fail: skipping would hide that nothing was tested."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not found or not pathlib.Path(found).exists():
        pytest.fail("The browser tests need Chromium: install it, or set CHROMIUM to its executable.")
    return pathlib.Path(found)


@pytest.fixture(scope="session")
def browser(chromium: pathlib.Path) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One profile for all tabs that need none of their own: a new one opens a window, which costs time."""
    context = browser.new_context(viewport=VIEWPORT)
    yield context
    context.close()


@contextmanager
def watched(page: Page) -> Iterator[Page]:
    """A tab that fails the test on an uncaught exception or a console error."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    # A refused stream is reported by the browser itself, whatever the page does about it.
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text
            else None
        ),
    )
    # So that a test can see whether a connection is closed.
    page.add_init_script("""
        globalThis.sources = [];
        globalThis.EventSource = class extends EventSource {
          constructor(...given) { super(...given); sources.push(this); }
        };
    """)
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def tab(profile: BrowserContext) -> Iterator[Page]:
    """A tab of the common profile; what is stored there belongs to a server, so to a port."""
    with watched(profile.new_page()) as page:
        yield page


@pytest.fixture
def tab_with_clock(browser: Browser) -> Iterator[Page]:
    """A tab of a profile of its own: a clock that a test has installed runs for a whole profile."""
    context = browser.new_context(viewport=VIEWPORT)
    with watched(context.new_page()) as page:
        yield page
    context.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all tests that can share it: each visitor has a profile and so runs of its own."""
    with served(tmp_path_factory.mktemp("store"), "app.py") as (address, _):
        yield address


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[[], Page]]:
    """A maker of tabs, each in a profile of its own; fails on an uncaught exception in any of them."""
    contexts, errors = [], []

    def visit() -> Page:
        context = browser.new_context(viewport=VIEWPORT)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []
