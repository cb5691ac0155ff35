"""The walk of the page of backpropagation by hand, in a browser: keys, buttons, clicks, the numbers drawn."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from rnnviz.analysis.by_hand import EXAMPLES, work_out
from rnnviz.analysis.latex import short
from rnnviz.analysis.walk import walk
from tests.browser.app import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LECTURE = work_out(EXAMPLES["lecture"])
STOPS = [frame.name for frame in walk(LECTURE)]


def opened(page: Page, address: str, query: str = "") -> Locator:
    """The walk, once it is drawn and the page is at rest."""
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/bptt{query}")
    walk = page.locator("[data-frame]")
    expect(walk).to_be_visible(timeout=PATIENCE)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    return walk


def stands(walk: Locator, name: str) -> None:
    expect(walk).to_have_attribute("data-frame", name)


def shown(walk: Locator) -> str:
    """The text of the card that is on show."""
    return str(walk.locator(".card .stop.on").inner_text())


def test_keys_walk_through_every_stop_and_back(address: str, tab: Page) -> None:
    walk = opened(tab, address)
    stands(walk, STOPS[0])  # nothing was clicked: the keys work wherever nothing else wants them
    for name in STOPS[1:]:
        tab.keyboard.press("ArrowRight")
        stands(walk, name)
    tab.keyboard.press("ArrowRight")
    stands(walk, STOPS[-1])
    for name in reversed(STOPS[:-1]):
        tab.keyboard.press("ArrowLeft")
        stands(walk, name)
    tab.keyboard.press("ArrowLeft")
    stands(walk, STOPS[0])
    tab.keyboard.press("End")
    stands(walk, STOPS[-1])
    tab.keyboard.press("Home")
    stands(walk, STOPS[0])


def test_a_key_in_a_field_or_on_a_slider_stays_there(address: str, tab: Page) -> None:
    walk = opened(tab, address, "?stop=4")
    stands(walk, STOPS[3])
    tab.get_by_role("spinbutton").first.click()
    for key in ("ArrowRight", "ArrowLeft", "Home", "End"):
        tab.keyboard.press(key)
    stands(walk, STOPS[3])
    tab.get_by_role("slider", name="Time steps").focus()
    tab.keyboard.press("ArrowRight")
    expect(walk.locator(".unrolled [data-node=S_4]")).to_be_visible()
    stands(walk, STOPS[3])


def test_the_sum_builds_up_until_it_is_autograds(address: str, tab: Page) -> None:
    walk = opened(tab, address)
    terms = LECTURE.terms["W_s"].ravel()
    cells = [walk.locator(f"[data-term='W_s 1 1 {t}']") for t in (1, 2, 3)]
    row = walk.locator("[data-row='W_s 1 1']")
    for cell in cells:
        expect(cell).to_have_text("")
    running = 0.0
    for t in (3, 2, 1):
        while walk.get_attribute("data-frame") != f"dW{t}":
            tab.keyboard.press("ArrowRight")
        running += terms[t - 1]
        expect(cells[t - 1]).to_have_text(short(terms[t - 1]))
        expect(row.locator(".so-far")).to_have_text(short(running))
        expect(walk.locator(".sum rect.kept")).to_have_count(4 - t)
    expect(row.locator(".judge")).to_have_text("")
    tab.keyboard.press("End")
    expect(row.locator(".judge")).to_have_text(short(LECTURE.autograd["W_s"].item()))
    assert short(LECTURE.autograd["W_s"].item()) == short(running)
    assert "Autograd: 2.17, difference 0." in shown(walk)


def test_every_card_is_typeset_whole(address: str, tab: Page) -> None:
    """No command of LaTeX is left over, in any activation, with one unit and with two."""
    for query in (
        "",
        "?activation=tanh&loss=every&through=1",
        "?activation=relu&H=2",
        "?activation=sigmoid&H=2&loss=every&through=2",
    ):
        walk = opened(tab, address, query)
        text = walk.locator(".card, .chain, .terms").all_text_contents()
        assert len(text) == 3
        for part in text:
            assert "\\" not in part
            assert "{" not in part
            assert "undefined" not in part


def test_buttons_slider_and_nodes_lead_to_their_stops(address: str, tab: Page) -> None:
    walk = opened(tab, address)
    walk.get_by_role("button", name="One on (right arrow key)").click()
    stands(walk, STOPS[1])
    walk.get_by_role("button", name="One back (left arrow key)").click()
    stands(walk, STOPS[0])
    walk.get_by_role("button", name="Last stop (End)").click()
    stands(walk, STOPS[-1])
    walk.get_by_role("button", name="First stop (Home)").click()
    stands(walk, STOPS[0])
    walk.locator("[data-node=S_2]").click()
    stands(walk, "S2")
    tab.keyboard.press("ArrowRight")
    stands(walk, "O2")
    walk.get_by_role("slider", name="Stop").fill("9")
    stands(walk, STOPS[8])
    tab.keyboard.press("ArrowRight")  # the slider has the focus, and one key is one stop
    stands(walk, STOPS[9])


def test_play_goes_on_by_itself_and_stops_at_a_key(address: str, tab: Page) -> None:
    walk = opened(tab, address, "?stop=17")
    walk.get_by_role("button", name="Play").click()
    stands(walk, STOPS[17])
    stands(walk, STOPS[18])
    expect(walk.get_by_role("button", name="Play")).to_be_visible()  # at the end it has stopped
    walk.get_by_role("button", name="Play").click()  # from the end it begins anew
    stands(walk, STOPS[1])
    tab.keyboard.press("ArrowRight")
    expect(walk.get_by_role("button", name="Play")).to_be_visible()


def test_the_address_says_where_the_reader_stands(address: str, tab: Page) -> None:
    walk = opened(tab, address)
    tab.keyboard.press("End")
    tab.wait_for_url(f"**/bptt?stop={len(STOPS)}")
    stands(walk, STOPS[-1])
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_url(f"**/bptt?stop={len(STOPS) - 1}")
    stands(walk, STOPS[-2])
    tab.reload()
    stands(tab.locator("[data-frame]"), STOPS[-2])


def test_an_edit_changes_the_numbers_where_the_reader_stands(address: str, tab: Page) -> None:
    walk = opened(tab, address, "?stop=19")
    value = walk.locator("[data-node=S_3] .value")
    expect(value).to_have_text("1.12")
    field = tab.get_by_role("spinbutton").nth(1)
    field.fill("0")
    field.press("Enter")
    expect(value).to_have_text("\u22120.4")  # 0.5 * -1 + 0 + 0.1
    stands(walk, "sum W_s")
    tab.wait_for_url(re.compile("W_s=0"))


def test_an_example_begins_at_the_first_stop(address: str, tab: Page) -> None:
    walk = opened(tab, address, "?stop=19")
    tab.get_by_role("combobox", name="Example").click()
    tab.get_by_role("option", name="Exploding", exact=False).click()
    expect(walk).to_have_attribute("data-stop", "1")
    expect(walk.locator(".reading")).to_contain_text("The gradient explodes.")


def test_on_a_phone_the_diagram_follows_the_walk_and_the_page_fits(
    address: str, visitor: Callable[[], Page]
) -> None:
    page = visitor()
    page.set_viewport_size({"width": 390, "height": 844})
    walk = opened(page, address, "?T=6")
    walk.get_by_role("button", name="Last stop (End)").click()
    scroll = walk.locator(".scroll")
    page.wait_for_function(
        """() => {
            const deep = (root) => root.querySelector('.scroll') || [...root.querySelectorAll('*')]
                .filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot)).find(Boolean);
            return deep(document).scrollLeft > 100;
        }""",
        timeout=PATIENCE,
    )
    assert scroll.evaluate("(e) => e.scrollWidth > e.clientWidth")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 1
