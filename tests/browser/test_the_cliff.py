"""The cliff in a real browser: a click into the map drops the start there, and the camera stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.app import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CHART = ".kept-figures .js-plotly-plot"


def of_chart(page: Page, which: int, expression: str) -> Any:
    """A value of the chart `c`, the surface (0) or the map (1)."""
    script = f"([at, which]) => {{ const c = document.querySelectorAll(at)[which]; return {expression}; }}"
    return page.evaluate(script, [CHART, which])


def at_rest(page: Page) -> dict[str, float]:
    """Where the surface is seen from, once that stays the same for 20 frames: it turns on for a while."""
    eye: dict[str, float] = page.evaluate(
        """(at) => new Promise((found) => {
          let last = "", same = 0;
          const look = () => {
            const eye = document.querySelector(at)._fullLayout.scene._scene.getCamera().eye;
            const now = JSON.stringify(eye);
            same = now === last ? same + 1 : 0;
            last = now;
            if (same < 20) requestAnimationFrame(look);
            else found(eye);
          };
          look();
        })""",
        CHART,
    )
    return eye


def test_a_click_drops_the_start_and_the_camera_stays(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.goto(f"{address}/cliff?steps=20")
    expect(page.locator(CHART)).to_have_count(2, timeout=PATIENCE)
    expect(page.locator(f"{CHART} .main-svg").last).to_be_attached(timeout=PATIENCE)
    # Turn the surface as a user does.
    before = of_chart(page, 0, "c._fullLayout.scene._scene.getCamera().eye")
    box = page.locator(CHART).first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 90, box["y"] + box["height"] / 2 - 30, steps=3)
    page.mouse.up()
    turned = at_rest(page)
    assert abs(turned["x"] - before["x"]) > 0.1
    # A click into the map: the start comes there, and with it both paths.
    plot = page.locator(CHART).nth(1).locator(".nsewdrag").first
    size = plot.bounding_box()
    assert size is not None
    x, y = size["width"] * 0.75, size["height"] * 0.4
    plot.hover(position={"x": x, "y": y})
    plot.click(position={"x": x, "y": y})
    page.wait_for_url(re.compile(r"[?&]w=6\.\d+"), timeout=PATIENCE)
    w = float(re.findall(r"[?&]w=([\d.]+)", page.url)[0])
    b = float(re.findall(r"[?&]b=(-[\d.]+)", page.url)[0])
    assert (w, b) == pytest.approx((6.25, -3.0), abs=0.03)
    page.wait_for_function(
        """([at, w, b]) => { const c = document.querySelectorAll(at)[1];
          return c._fullData.filter((t) => ['start', 'Without clipping', 'By norm, at 1'].includes(t.name)
            && Math.abs(t.x[0] - w) < 1e-9 && Math.abs(t.y[0] - b) < 1e-9).length === 3; }""",
        arg=[CHART, w, b], timeout=PATIENCE,
    )  # fmt: skip
    expect(page.get_by_label("Start w")).to_have_value(f"{w:g}")
    # Another knob draws into the same chart, seen from where the user has turned it.
    page.get_by_text("Gradient norm", exact=True).first.click()
    page.wait_for_function(
        "(at) => document.querySelector(at).layout.scene.zaxis.title.text === 'gradient norm'", arg=CHART
    )
    assert at_rest(page) == pytest.approx(turned, rel=1e-6)
