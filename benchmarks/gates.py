"""How soon the maps of a long sequence are there, and how smoothly a mark moves over them."""

from __future__ import annotations

import os
import shutil
import statistics
from typing import Any

from playwright.sync_api import Page, sync_playwright

from rnnviz.experiment import Experiment

from .machine import table
from .page import engine_ready, nothing_runs, server, until

ROUNDS = 5
SHOWN = {
    cell: Experiment(task="adding", cell=cell, length=500, hidden=128, batch=8, steps=6)
    for cell in ("lstm", "gru")
}
HELPERS = """
    globalThis.maps = () => {
      const deep = (root) => root.querySelector(".time-maps") || [...root.querySelectorAll("*")]
        .filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot)).find(Boolean);
      return deep(document);
    };
"""
#: Moves the mark over all time steps as fast as frames come, as a hand on the slider does.
SCRUB = """async () => {
    const slider = maps().querySelector("input[type=range]");
    const began = performance.now();
    let frames = 0, worst = 0, last = began;
    for (let t = 1; t <= 500; t += 4) {
      slider.value = t;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      frames += 1;
      worst = Math.max(worst, now - last);
      last = now;
    }
    return [1000 * frames / (last - began), worst];
}"""


def run() -> None:
    """Medians of several rounds: another sequence until it is drawn, another checkpoint, and the mark."""
    rows: list[list[object]] = []
    with sync_playwright() as playwright, server() as (address, store, _began):
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--disable-background-networking"],
        )
        engine_ready(store)
        runs = {name: store.create(experiment) for name, experiment in SHOWN.items()}
        until(lambda: all((row := store.run(run)) is not None and row.ended for run in runs.values()))
        nothing_runs(store)
        for name, one in runs.items():
            page: Any = browser.new_page(viewport={"width": 1440, "height": 900})
            page.add_init_script(HELPERS)
            page.goto(f"{address.removesuffix('/train')}/gates?run={one}&at=5")
            _drawn(page, 0)
            sequences = [_until_drawn(page, "Sequence") for _ in range(ROUNDS)]
            steps = [_until_drawn(page, "Training step") for _ in range(ROUNDS)]
            frames, worst = zip(*(page.evaluate(SCRUB) for _ in range(ROUNDS)), strict=True)
            rows.append([name, *map(statistics.median, (sequences, steps, frames, worst))])
            page.close()
        browser.close()
    table(
        ["cell (T = 500, H = 128)", "another sequence (s)", "another checkpoint (s)", "marks a second",
         "longest (ms)"],
        rows,
    )  # fmt: skip


def _drawn(page: Page, more_than: int) -> None:
    page.wait_for_function(f"() => Number(maps()?.dataset.drawn ?? 0) > {more_than}", timeout=120_000)


def _until_drawn(page: Page, label: str) -> float:
    """From a key on a slider of the page to maps that are drawn anew, in seconds."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(600)
    before = int(page.evaluate("Number(maps().dataset.drawn)"))
    # The next one, and from the last one back: every other round goes the other way.
    slider = page.get_by_role("slider", name=label)
    key = "ArrowRight" if label == "Sequence" else "ArrowLeft"
    began = page.evaluate("performance.now()")
    slider.press(key)
    _drawn(page, before)
    return float(page.evaluate("performance.now()") - began) / 1000
