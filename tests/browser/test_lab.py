"""Twins, steering, lessons, sharing and the list of runs, as a visitor has them."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.app import PATIENCE, becomes, button, live, press, reaches, steps, wait_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LONG = "task=adding&length=20&steps=100000&hidden=8"
BANG = (
    "task=adding&length=100&hidden=16&cell=relu&initialization=scaled_identity&gain=1.5"
    "&clip=none&optimizer=sgd&learning_rate=1&steps=500"
)


def test_twins_train_side_by_side_and_stop_together(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?{LONG}&cell=lstm&forget_bias=0")
    button(page, "Duplicate and change one thing").click()
    page.wait_for_url(re.compile("twin=forget_bias(:|%3A)4"))
    press(page, "Train")
    wait_in(page, "(live.dataset.steps || '').split(',').filter((s) => Number(s) >= 5).length === 2")
    expect(page.get_by_text("forget bias 4", exact=False).first).to_be_visible()
    assert page.url.count("run=") == 2
    other = visitor()
    other.goto(page.url)
    wait_in(other, "(live.dataset.steps || '').split(',').filter((s) => Number(s) >= 5).length === 2")
    press(page, "Stop")
    becomes(page, "stopped", "stopped")
    becomes(other, "stopped", "stopped")


def test_control_and_enter_start(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?task=adding&length=5&hidden=4&steps=20")
    wait_in(page, "true")
    page.keyboard.press("Control+Enter")
    becomes(page, "finished")


def test_pause_step_play_and_rewind(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?{LONG}&twin=cell:tanh")
    press(page, "Train")
    wait_in(page, "(live.dataset.steps || '').split(',').filter((s) => Number(s) >= 3).length === 2")
    press(page, "Pause")
    becomes(page, "paused", "paused")
    expect(button(page, "Step")).to_be_enabled()
    wait_in(page, "live.dataset.settled === 'yes'")
    before = steps(page)
    press(page, "Step")
    wait_in(page, f"live.dataset.steps === '{before[0] + 1},{before[1] + 1}'")
    becomes(page, "paused", "paused")
    expect(button(page, "Play")).to_be_visible()
    press(page, "Play")
    wait_in(page, f"Number(live.dataset.steps.split(',')[0]) >= {before[0] + 5}")
    press(page, "Rewind")
    becomes(page, "paused", "paused")
    assert steps(page) in ([], [0, 0])
    press(page, "Play")
    reaches(page, "step", 2)
    press(page, "Stop")
    becomes(page, "stopped", "stopped")


def test_nobody_else_steers_not_even_by_the_route(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?{LONG}")
    press(page, "Train")
    reaches(page, "step", 3)
    other = visitor()
    other.goto(page.url)
    reaches(other, "step", 3)
    for name in ("Pause", "Step", "Stop", "Rewind"):
        expect(button(other, name)).to_be_disabled()
    expect(button(other, "Change now")).to_have_count(0)
    run = page.url.split("run=")[1].split("&")[0]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in (f"/live?run={run}", f"/live/{run}", f"/live?run={run}&command=stop"):
            request = urllib.request.Request(f"{address}{path}", data=b"command=stop", method=method)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            assert refused.value.code in (403, 404, 405)
    reaches(page, "step", live(page, "step") + 3)
    press(page, "Stop")
    becomes(page, "stopped")


def test_a_change_in_mid_run_is_recorded(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?{LONG}")
    press(page, "Train")
    reaches(page, "step", 3)
    press(page, "Change now")
    field = page.locator("[class*=st-key-change_learning_rate] input")
    field.fill("0.003")
    field.press("Enter")
    press(page, "Apply from the next step on")
    wait_in(page, "live.dataset.changes === '1'")
    page.keyboard.press("Escape")
    press(page, "Stop")
    becomes(page, "stopped")


def test_an_explosion_can_be_watched_step_by_step(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?{BANG}")
    press(page, "Train")
    becomes(page, "diverged")
    end = live(page, "step")
    press(page, "More")
    press(page, "Watch it explode")
    becomes(page, "paused")
    begin = max(0, end - 10)
    for made in range(begin, end + 1):
        expect(button(page, "Step")).to_be_enabled()
        press(page, "Step")
        reaches(page, "points", made + 1)
    becomes(page, "diverged")
    assert live(page, "step") == end


def test_a_lesson_from_the_first_page_to_its_answer(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/lessons")
    button(page, "Try it").first.click()
    page.wait_for_url("**lesson=**")
    expect(button(page, "Train and see")).to_be_disabled()
    page.locator("[data-testid=stRadio] label").nth(1).click()
    expect(button(page, "Train and see")).to_be_enabled()
    button(page, "Play the recording").click()
    page.wait_for_url("**replay=yes**")
    button(page, "Show the answer").click()
    expect(page.get_by_text("You predicted", exact=False)).to_be_visible()
    expect(page.get_by_text("In these runs:", exact=False)).to_be_visible()


def test_what_a_link_can_hide(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/train?task=adding&controls=hidden&type=large")
    expect(button(page, "Show the controls")).to_be_visible()
    expect(button(page, "Train")).to_have_count(0)
    button(page, "Show the controls").click()
    expect(button(page, "Train")).to_be_visible()
    page.goto(f"{address}/train?task=adding&controls=none")
    expect(page.get_by_role("heading", name="Train")).to_be_visible()
    for name in ("Train", "Show the controls", "Stop"):
        expect(button(page, name)).to_have_count(0)


def test_downloads_and_what_becomes_of_them(
    address: str, visitor: Callable[[], Page], tmp_path: Path
) -> None:
    page = visitor()
    page.goto(f"{address}/train?task=adding&length=8&hidden=4&steps=40&twin=cell:tanh")
    press(page, "Train")
    becomes(page, "finished", "finished")
    button(page, "Download").click()
    names: dict[str, Path] = {}
    for key in ("csv", "file", "html", "json", "py"):
        with page.expect_download() as waiting:
            page.locator(f".st-key-download_{key} button").first.click()
        file = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(file)
        names[file.suffix[1:]] = file
    assert set(names) == {"csv", "json", "rnnviz", "html", "py"}
    rows = names["csv"].read_text().splitlines()
    assert len(rows) >= 1 + 2 * 40
    assert len(json.loads(names["json"].read_text())) == 2
    compile(names["py"].read_text(), "script", "exec")

    # The page without a server: no request leaves the file.
    offline = visitor()
    offline.context.set_offline(True)
    offline.goto(names["html"].as_uri())
    reaches(offline, "updates", 1)
    wait_in(offline, "live.dataset.states === 'finished,finished'")

    # The run in somebody else's list.
    other = visitor()
    other.goto(f"{address}/runs")
    button(other, "Open a run file").click()
    with other.expect_file_chooser() as chooser:
        other.get_by_role("button", name=re.compile("Upload|Browse")).first.click()
    chooser.value.set_files(names["rnnviz"])
    expect(other.get_by_text("The 2 runs of the file are here.")).to_be_visible(timeout=PATIENCE)


def test_ones_own_runs_are_listed_compared_and_deleted_with_a_way_back(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    for cell in ("gru", "tanh"):
        page.goto(f"{address}/train?task=adding&length=8&hidden=4&steps=30&cell={cell}")
        press(page, "Train")
        becomes(page, "finished")
    page.goto(f"{address}/runs")
    ticks = page.locator("[class*=st-key-runs_pick_]")
    expect(ticks).to_have_count(2)
    for k in range(2):
        ticks.nth(k).locator("label").click()
    button(page, "Compare").click()
    page.wait_for_url("**run=**run=**")
    becomes(page, "finished", "finished")
    page.goto(f"{address}/runs")
    expect(ticks).to_have_count(2)
    ticks.first.locator("label").click()
    button(page, "Delete").click()
    expect(ticks).to_have_count(1)
    button(page, "Undo").click()
    expect(ticks).to_have_count(2)
    stranger = visitor()
    stranger.goto(f"{address}/runs")
    expect(stranger.get_by_text("Nothing yet", exact=False)).to_be_visible()
