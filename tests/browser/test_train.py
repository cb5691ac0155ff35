"""The Train page as a visitor has it: the server as the README starts it, a real engine, real browsers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.browser.app import (
    PATIENCE,
    becomes,
    button,
    choose,
    free_port,
    live,
    press,
    reaches,
    served,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_choose_train_watch_stop_and_find_the_same_run_elsewhere(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(f"{address}/train")
    choose(page, "Cell", "LSTM")
    press(page, "Train")
    reaches(page, "step", 5)
    reaches(page, "heatColumns", 3)
    before = live(page, "step")
    reaches(page, "step", before + 3)
    press(page, "Stop")
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
    press(page, "Train")
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
    press(page, "Stop")
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
    press(page, "Train")
    becomes(page, "finished")
    expect(button(page, "Stop")).to_be_disabled()
    press(page, "Test on 10,000 fresh sequences")
    answer = page.get_by_text("On 10,000 fresh sequences the loss is", exact=False)
    expect(answer).to_be_visible()


def test_a_run_that_explodes_ends_as_diverged_and_stays_drawn(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(
        f"{address}/train?task=adding&length=100&cell=relu&initialization=scaled_identity&gain=1.5"
        "&clip=none&optimizer=sgd&learning_rate=1&steps=500"
    )
    press(page, "Train")
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
        press(page, "Train")
        reaches(page, "step", 3)
        reaches(page, "step", live(page, "step") + 3)
        reaches(page, "heatColumns", 2)
        press(page, "Stop")
        becomes(page, "stopped")
        started = process.children(recursive=True)
    # Without our lifespan nobody tells the engine; that it ends by itself is for test_engine.py to see.
    for left in started:
        with suppress(psutil.NoSuchProcess):
            left.kill()
    _, alive = psutil.wait_procs(started, 30)
    assert alive == []


def test_ctrl_c_ends_all_at_once_and_an_open_page_works_again_with_the_next_server(
    tmp_path: Path, visitor: Callable[[], Page]
) -> None:
    """A stream has no end of its own, and a server that ends waits for its connections.

    The next server has no session of the page: the first click would be lost if it did not load itself anew.
    """
    port = free_port()
    with served(tmp_path, "app.py", port=port) as (address, process):
        page = visitor()
        page.goto(f"{address}/train?task=adding&length=100&hidden=32&steps=100000&cell=lstm")
        press(page, "Train")
        reaches(page, "step", 3)
        started = process.children(recursive=True)
        assert len(started) >= 3  # the engine and its workers
    # served() has waited for the server's end, with the run under way and its stream open.
    _, alive = psutil.wait_procs(started, 60)
    assert alive == []
    page.evaluate("globalThis.old = true")
    with served(tmp_path, "app.py", port=port):
        page.wait_for_function("!globalThis.old && document.readyState === 'complete'", timeout=PATIENCE)
        reaches(page, "step", 3)
        press(page, "Stop")
        becomes(page, "stopped")
