"""Fixtures of the browser tests: one Chromium for all of them, a server and a tab for each."""

import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.app import PATIENCE, served
from tests.browser.harness import Server

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
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A tab of its own profile that fails the test on an uncaught exception or a console error."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
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
    context.close()
    assert errors == []


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
