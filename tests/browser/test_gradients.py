"""Gradients through time in a real browser: from a run to its analysis, the slider, a map as a job."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.app import PATIENCE, button, press, reaches, wait_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

RUN = "task=adding&length=20&hidden=8&steps=40&cell=lstm"
READY = "[data-testid='stApp'][data-test-script-state='notRunning']"


def settled(page: Page) -> None:
    page.locator(READY).wait_for(timeout=PATIENCE)


def test_from_a_step_that_is_held_to_its_gradients_and_back(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.goto(f"{address}/train?{RUN}")
    press(page, "Train")
    reaches(page, "step", 39)
    page.locator(".pane-loss .over").click()
    wait_in(page, "live.dataset.pinned !== ''")
    closer = page.get_by_role("button", name=re.compile("gradients through time at step"))
    closer.wait_for(timeout=PATIENCE)
    pinned = int(re.findall(r"step (\d+)", closer.inner_text())[0])
    closer.click()
    page.wait_for_url(re.compile("/gradients"), timeout=PATIENCE)
    expect(page.get_by_role("heading", name="Gradients through time")).to_be_visible(timeout=PATIENCE)
    page.wait_for_url(re.compile(rf"at={pinned}(&|$)"), timeout=PATIENCE)
    expect(page.get_by_text(re.compile("Healthy|Vanishing")).first).to_be_visible(timeout=PATIENCE)
    # With the keyboard to the first weights: figure, words and address follow.
    slider = page.get_by_role("slider", name="Training step")
    slider.focus()
    slider.press("Home")
    page.wait_for_url(re.compile(r"at=0(&|$)"), timeout=PATIENCE)
    for section in ("Jacobians", "Spectra", "Ledger", "Clipping", "Memory", "Along time"):
        page.get_by_test_id("stMain").get_by_test_id("stButtonGroup").first.get_by_text(section).click()
        settled(page)
        expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_test_id("stException")).to_have_count(0)
    page.get_by_text("Lab", exact=True).first.click()
    page.locator("a[href$='/train']").first.click()
    reaches(page, "step", 39)


def test_a_large_map_fills_in_can_be_cancelled_and_is_there_the_second_time(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    link = f"{address}/gradients?show=products&task=adding&cell=lstm&length=80&hidden=32&batch=2"
    page.goto(link)
    button(page, "Compute spectral norms").click(timeout=PATIENCE)
    known = page.get_by_text("spectral norms are known within")
    expect(known).to_be_visible(timeout=PATIENCE)
    other = visitor()
    other.goto(link)
    expect(other.get_by_text("spectral norms are known within")).to_be_visible(timeout=PATIENCE)
    expect(button(other, "Compute spectral norms")).to_have_count(0)
