"""Butterfly in a real browser: the eigenvalue follows mouse and arrow keys, and the figures follow it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from rnnviz.ui.butterfly_settings import SECTIONS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CAPTION = re.compile(r"The largest eigenvalue has the size")


@pytest.fixture
def quiet(visitor: Callable[[], Page]) -> Callable[[str], Page]:
    """A maker of tabs that show an address; their console errors are collected in `page.told`."""

    def open_at(address: str) -> Page:
        page = visitor()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.told = errors  # type: ignore[attr-defined]
        page.goto(address)
        return page

    return open_at


def faults(page: Page) -> list[str]:
    """Console errors, but for Streamlit's own probing below a deep link."""
    return [text for text in page.told if "Failed to load resource" not in text]  # type: ignore[attr-defined]


def handle(page: Page, number: int) -> Locator:
    return page.get_by_role("slider", name=f"Eigenvalue {number}")


def drag(page: Page, dot: Locator, right: float, down: float) -> None:
    box = dot.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=8)
    page.mouse.up()


def test_an_eigenvalue_is_dragged_and_everything_follows(address: str, quiet: Callable[[str], Page]) -> None:
    page = quiet(f"{address}/butterfly?show=units")
    dot = handle(page, 1)
    expect(dot).to_have_attribute("aria-valuenow", "0.95")
    expect(page.get_by_text(CAPTION)).to_contain_text("0.982")
    drag(page, dot, -80, -40)
    said = str(dot.get_attribute("aria-valuetext"))
    found = re.fullmatch(r"([\d.]+) \+ ([\d.]+)i, size ([\d.]+)", said)
    assert found is not None, said
    real, imaginary, size = float(found[1]), float(found[2]), found[3]
    assert real < 0.9
    assert imaginary > 0.3
    assert size == f"{abs(complex(real, imaginary)):.3f}"
    # What was reported on the way is followed by where it was let go.
    page.wait_for_url(re.compile(rf"re={re.escape(found[1])}&im={re.escape(found[2])}(&|$)"))
    expect(dot).to_have_attribute("aria-valuetext", said)
    expect(handle(page, 2)).to_have_attribute("aria-valuenow", f"{real:g}")  # its conjugate
    expect(page.get_by_text(CAPTION)).to_contain_text(size)
    field = page.get_by_label("Real part")
    expect(field).to_have_count(1)  # the one before it may still be there while the page is drawn
    expect(field).to_have_value(f"{real:.3f}")
    # A link opens with the eigenvalue where it was left.
    again = quiet(page.url)
    expect(handle(again, 1)).to_have_attribute("aria-valuenow", f"{real:g}")
    assert faults(page) == faults(again) == []


def test_arrow_keys_move_it_and_the_fields_move_the_handle(
    address: str, quiet: Callable[[str], Page]
) -> None:
    page = quiet(f"{address}/butterfly?show=units&pair=real")
    dot = handle(page, 2)
    expect(dot).to_have_attribute("aria-valuenow", "0.8")
    dot.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_url(re.compile(r"second=0\.78(&|$)"))
    expect(dot).to_have_attribute("aria-valuenow", "0.78")
    expect(page.get_by_label("Second")).to_have_value("0.780")
    expect(handle(page, 1)).to_have_attribute("aria-valuenow", "0.95")
    page.get_by_label("First").fill("1.2")
    page.keyboard.press("Enter")
    expect(handle(page, 1)).to_have_attribute("aria-valuenow", "1.2")
    expect(page.get_by_text(CAPTION)).to_contain_text("1.200")
    # And back to the keys: what the browser reports goes on from where the page is.
    dot.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile(r"second=0\.77(&|$)"))
    assert "first=1.2" in page.url
    assert faults(page) == []


def test_the_preset_moves_both_handles(address: str, quiet: Callable[[str], Page]) -> None:
    page = quiet(f"{address}/butterfly?show=units")
    expect(handle(page, 1)).to_be_visible()
    page.get_by_role("button", name="Eigenvalues below 1, and it grows all the same").click()
    expect(page.get_by_text("grows to 5.71 times its size at t = 8")).to_be_visible()
    expect(handle(page, 1)).to_have_attribute("aria-valuetext", "0.95, size 0.950")
    expect(handle(page, 2)).to_have_attribute("aria-valuetext", "0.8, size 0.800")
    # There and back: the plane comes again with the state that the page has.
    page.get_by_role("radio", name="One weight").or_(
        page.get_by_role("button", name="One weight")
    ).first.click()
    expect(handle(page, 1)).to_have_count(0)
    page.get_by_role("radio", name="Two units").or_(
        page.get_by_role("button", name="Two units")
    ).first.click()
    expect(handle(page, 2)).to_have_attribute("aria-valuenow", "0.8")
    assert faults(page) == []


def test_every_section_fits_a_phone(address: str, visitor: Callable[[], Page]) -> None:
    page = visitor()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/butterfly?show=weight")
    for k, name in enumerate(SECTIONS):
        page.get_by_test_id("stButtonGroup").first.locator("button").nth(k).click()
        page.wait_for_url(f"**show={name}**" if k else "**/butterfly**")
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 1
        assert page.get_by_test_id("stException").count() == 0
