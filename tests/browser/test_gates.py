"""Gates in a real browser: marks in every map, weights of one's own, and a gate that is held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save_file

from tests.browser.app import PATIENCE, button, press

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

#: The maps' root, inside Streamlit's shadow root, and where their marks stand.
HELPERS = """
    globalThis.maps = () => {
      const deep = (root) => root.querySelector(".time-maps") || [...root.querySelectorAll("*")]
        .filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot)).find(Boolean);
      return deep(document);
    };
    globalThis.marks = (name, side) => [...maps().querySelectorAll(name)].filter((e) => !e.hidden)
      .map((e) => Math.round(1000 * parseFloat(e.style[side])) / 1000);
"""


def test_a_mark_is_in_every_map(address: str, visitor: Callable[[], Page]) -> None:
    page: Any = visitor()
    page.add_init_script(HELPERS)
    page.goto(f"{address}/gates?task=adding&length=20&hidden=8&cell=lstm&t=3&unit=2")
    page.wait_for_function("() => maps()?.dataset.drawn >= 1", timeout=PATIENCE)
    at = "() => [Number(maps().dataset.t), Number(maps().dataset.unit)]"
    assert page.evaluate(at) == [3, 2]
    panes = page.locator(".time-maps .map")
    expect(panes).to_have_count(8)  # input, i, f, g, o, c, h, gradient

    # The mouse, over the gradient: t = 11, unit 6 in all maps, and the numbers are those of that place.
    panes.nth(7).scroll_into_view_if_needed()
    box = panes.nth(7).bounding_box()
    page.mouse.move(box["x"] + box["width"] * 10.5 / 20, box["y"] + box["height"] * 5.5 / 8)
    page.wait_for_function("() => maps().dataset.t === '11' && maps().dataset.unit === '6'", timeout=PATIENCE)
    assert page.evaluate("marks('.cross', 'left')") == [50.0] * 8
    assert page.evaluate("marks('.line', 'top')") == [62.5] * 7
    reading = page.evaluate("maps().querySelector('.reading').textContent")
    assert reading.startswith("t = 11, unit 6: i")
    assert "|dL/dh|" in reading

    # Keys; once the hand rests, the link says where.
    page.evaluate("maps().focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_function("() => maps().dataset.t === '13' && maps().dataset.unit === '7'", timeout=PATIENCE)
    page.wait_for_url("**t=13**", timeout=PATIENCE)
    assert "unit=7" in page.url
    # Time runs and is stopped; then the slider.
    page.keyboard.press(" ")
    page.wait_for_function("() => Number(maps().dataset.t) > 15", timeout=PATIENCE)
    page.evaluate("maps().focus()")
    page.keyboard.press("Home")
    page.locator(".time-maps input[type=range]").press("End")
    page.wait_for_function("() => maps().dataset.t === '20'", timeout=PATIENCE)
    assert page.evaluate("marks('.cross', 'left')") == [95.0] * 8

    # A phone has no need to scroll sideways.
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("() => maps().getBoundingClientRect().width < 380", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_weights_of_ones_own_are_looked_at_and_a_pickle_is_not(
    address: str, visitor: Callable[[], Page], tmp_path: Path
) -> None:
    model = torch.nn.LSTM(2, 6)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    page: Any = visitor()
    page.add_init_script(HELPERS)
    page.goto(f"{address}/runs")
    button(page, "Your own weights").click()
    for name, said in (("model.pt", "may run any code"), ("model.safetensors", "6 hidden units")):
        box = page.locator("input[type=file]").last
        box.set_input_files(tmp_path / name)
        expect(page.get_by_text(said).first).to_be_visible(timeout=PATIENCE)
    button(page, "Make it a run").click()
    page.get_by_role("link", name="Gates", exact=True).click()
    page.wait_for_function("() => maps()?.dataset.drawn >= 1", timeout=PATIENCE)
    expect(page.get_by_text("Gates and memory").first).to_be_visible()
    assert page.evaluate("maps().querySelectorAll('.map').length") == 8


def test_a_gate_that_is_held_changes_the_numbers_on_the_wires(
    address: str, visitor: Callable[[], Page]
) -> None:
    page: Any = visitor()
    page.goto(f"{address}/cell?cell=lstm")
    expect(page.get_by_role("heading", name="Inside the cell")).to_be_visible(timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    expect(page.get_by_text("Kept 52\u00a0% of 0.5").first).to_be_visible(timeout=PATIENCE)
    press(page, "Make it plain: i = 1, f = 0, o = 1")
    expect(page.get_by_text("Kept 0\u00a0% of 0.5").first).to_be_visible(timeout=PATIENCE)
