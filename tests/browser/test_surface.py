"""The loss surface in a real browser: it is turned while it is refined, and leaves nothing behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from rnnviz.experiment import Experiment
from rnnviz.runs.worker import advance_slice, open_store
from tests.browser.app import PATIENCE, served
from tests.stores import new_store

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CLIPPED = Experiment(
    task="adding", length=10, hidden=8, cell="lstm", steps=24, clip="norm", clip_threshold=0.05,
    optimizer="sgd", learning_rate=0.1,
)  # fmt: skip

#: Every drawing context that WebGL has given out, and the two figures.
HELPERS = """
    globalThis.contexts = new Set();
    const real = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
      const found = real.call(this, kind, ...more);
      if (found && kind.includes("webgl")) contexts.add(this);
      return found;
    };
    globalThis.plots = () => [...document.querySelectorAll(".kept-figures .js-plotly-plot")];
    globalThis.solid = () => plots().find((plot) => plot._fullLayout?.scene?._scene);
    globalThis.flat = () => plots().find((plot) => plot._fullData?.some((one) => one.type === "contour"));
    globalThis.side = () => solid()?._fullData?.[0]?.z?.length || 0;
    // Where the camera is, and what is up on the screen.
    globalThis.eye = () => {
      const { eye, center, up } = solid()._fullLayout.scene._scene.getCamera();
      const xyz = (v) => [v.x, v.y, v.z];
      const unit = (v) => v.map((one) => one / Math.hypot(...v));
      const look = unit(xyz(eye).map((one, k) => one - xyz(center)[k]));
      const along = xyz(up).reduce((sum, one, k) => sum + one * look[k], 0);
      return [...xyz(eye), ...unit(xyz(up).map((one, k) => one - along * look[k]))];
    };
"""


@pytest.fixture
def run_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server's address and a run in its store whose steps were clipped."""
    folder = tmp_path_factory.mktemp("store")
    store = new_store(folder / "test.db")
    run = store.create(CLIPPED)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    assert len(store.updates(run)) > 3
    open_store.cache_clear()
    store.close()
    with served(folder, "app.py") as (address, _):
        yield address, run


def wait(page: Page, condition: str, patience: float = PATIENCE) -> None:
    page.wait_for_function(f"() => {condition}", timeout=patience)


def eye(page: Page) -> list[float]:
    """The camera's place and what is up for it."""
    wait(page, "Boolean(solid())")  # which has no scene while it is laid out anew
    return list(page.evaluate("eye()"))


def centre(page: Page) -> tuple[float, float]:
    box = page.evaluate(
        "(({ left, top, width, height }) => [left + width / 2, top + height / 2])"
        "(solid().querySelector('.gl-container').getBoundingClientRect())"
    )
    return float(box[0]), float(box[1])


def near(one: list[float], other: list[float]) -> bool:
    return bool(max(abs(a - b) for a, b in zip(one, other, strict=True)) < 1e-3)


def test_it_is_turned_while_it_is_refined(run_at: tuple[str, str], visitor: Callable[[], Page]) -> None:
    address, run = run_at
    page: Any = visitor()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    page.add_init_script(HELPERS)
    page.goto(f"{address}/surface?run={run}&over=held_out&detail=17")
    wait(page, "side() === 17", 3 * PATIENCE)  # the engine starts meanwhile

    # A place under the pointer in the map is marked on the surface.
    page.locator(".kept-figures .nsewdrag").scroll_into_view_if_needed()
    page.locator(".kept-figures .nsewdrag").hover(position={"x": 120, "y": 150})
    wait(page, "Number.isFinite(solid().data.at(-1).z?.[0])")
    marked = page.evaluate("[solid().data.at(-1).x[0], solid().data.at(-1).y[0]]")
    shown = page.evaluate("document.querySelector('.kept-figures').dataset.marked.split(',').map(Number)")
    assert marked == shown
    # Steps without clipping are in both figures.
    assert page.evaluate("flat().data.some((one) => one.name === 'without clipping')")
    assert page.evaluate("solid().data.some((one) => one.type === 'scatter3d' && one.line?.dash === 'dot')")

    # The finer surface comes into the same figure, and the camera is that of the hand that turns it.
    page.get_by_role("combobox", name="Points").click()
    page.get_by_role("option", name="65 x 65").click()
    wait(page, "side() === 9 || side() === 33")
    x, y = centre(page)
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(1, 7):
        page.mouse.move(x + 12 * k, y + 4 * k)
    seen, held = page.evaluate("side()"), eye(page)
    assert seen < 65, "it is still being refined"
    assert not near(held[:3], [1.35, -1.65, 1.0])
    wait(page, f"side() > {seen}")
    assert near(eye(page), held), "drawn anew under a hand that holds it"
    for k in range(7, 12):
        page.mouse.move(x + 12 * k, y - 6 * k)
    page.mouse.up()
    put = eye(page)
    assert not near(put, held)
    wait(page, "side() === 65")
    assert page.evaluate("solid()._fullData[0].z[0].length") == 65
    expect(page.get_by_text("Refining the surface")).to_have_count(0, timeout=PATIENCE)
    assert near(eye(page), put)
    # Turned once more, it does not move when a place is marked, or the window changes.
    page.mouse.move(*centre(page))
    page.mouse.down()
    page.mouse.move(x, y + 60, steps=5)
    page.mouse.up()
    assert not near(eye(page), put)
    put = eye(page)
    page.evaluate("document.querySelector('.kept-figures').dataset.marked = ''")
    page.locator(".kept-figures .nsewdrag").hover(position={"x": 150, "y": 120})
    wait(page, "document.querySelector('.kept-figures').dataset.marked !== ''")
    assert near(eye(page), put)
    width = page.evaluate("solid()._fullLayout.width")
    page.set_viewport_size({"width": 1300, "height": 900})
    wait(page, f"solid()._fullLayout.width !== {width}")
    assert near(eye(page), put)
    assert page.evaluate("contexts.size") == 1, "the same figure all the time"

    # Leaving takes every canvas away.
    page.get_by_text("Lab", exact=True).first.click()
    page.locator("a[href$='/gradients']").first.click()
    page.wait_for_url(re.compile("/gradients"), timeout=PATIENCE)
    expect(page.get_by_role("heading", name="Gradients through time")).to_be_visible(timeout=PATIENCE)
    wait(page, "plots().length === 0 && [...contexts].every((canvas) => !canvas.isConnected)")
    assert page.evaluate("contexts.size") <= 3
    assert [text for text in told if "Failed to load resource" not in text] == []
