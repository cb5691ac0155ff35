"""How soon a surface is there: from the wish to the first coarse one and to the whole, idle or not.

In the store, without a page, and in the page with everything that a visitor waits for. Then how soon the
workers are free again after a surface is cancelled.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright

from rnnviz.experiment import Experiment
from rnnviz.runs.jobs import OPEN, Jobs
from rnnviz.runs.store import Store
from rnnviz.runs.surfaces import COARSE, FINE, KIND, gathered, request, tile_requests, tiles

from .machine import table
from .page import engine_ready, nothing_runs, server, until

ROUNDS = 5
SHOWN = {
    "tanh": Experiment(task="adding", cell="tanh", length=100, hidden=32, batch=32, steps=50),
    "gru": Experiment(task="adding", cell="gru", length=100, hidden=32, batch=32, steps=50),
    "lstm": Experiment(task="adding", cell="lstm", length=100, hidden=32, batch=32, steps=50),
}
BUSY = Experiment(task="adding", length=100, steps=1_000_000)
_DRAWN = "(n) => Number(document.querySelector('.kept-figures')?.dataset.draws ?? 0) > n"


def run() -> None:
    """Medians of several rounds."""
    rows: list[list[object]] = []
    with sync_playwright() as playwright, server() as (address, store, _began):
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-background-networking"],
        )
        engine_ready(store)
        runs = {name: store.create(experiment) for name, experiment in SHOWN.items()}
        until(lambda: all((row := store.run(run)) is not None and row.ended for run in runs.values()))
        for busy in (False, True):
            if busy:
                trainers = [store.create(BUSY), store.create(BUSY)]
                until(lambda: all((row := store.run(r)) is not None and row.step for r in trainers))  # noqa: B023
            for name, experiment in SHOWN.items():
                seeds = range(100 * busy, 100 * busy + ROUNDS)
                found = [_in_store(store, _wish(experiment, runs[name], seed)) for seed in seeds]
                where = "two runs train" if busy else "idle"
                first, whole = (statistics.median(times) for times in zip(*found, strict=True))
                rows.append([name, where, first, whole, _in_page(browser, address, runs[name], 50 * busy)])
            free = statistics.median(
                _cancelled(store, _wish(SHOWN["lstm"], runs["lstm"], 1000 + 100 * busy + k))
                for k in range(ROUNDS)
            )
            rows.append(["lstm", f"cancelled, {where}: workers free after", free, "", ""])
        nothing_runs(store)
        browser.close()
    table(
        ["cell (T = 100, H = 32, B = 32)", "machine", "first, in the store (s)", "65 x 65, in the store (s)",
         "first, in the page (s)"],
        rows,
    )  # fmt: skip


def _wish(experiment: Experiment, run: str, seed: int) -> dict[str, Any]:
    plane = {"kind": "random", "seed": seed, "biases": False}
    return request(experiment, run, experiment.steps, None, plane, (-1.0, 1.0, -1.0, 1.0), 65)


def _ask(jobs: Jobs, wish: dict[str, Any]) -> list[str]:
    wanted = tile_requests(wish)
    first = sum(tile.level == 0 for tile in tiles(wish["n"], wanted[0]["per_tile"]))
    return jobs.ask_all(KIND, wanted[:first], COARSE) + jobs.ask_all(KIND, wanted[first:], FINE)


def _in_store(store: Store, wish: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first level, and to the last."""
    jobs, began = Jobs(store), time.perf_counter()
    _ask(jobs, wish)
    first = 0.0
    while True:
        found = jobs.find_all(KIND, tile_requests(wish))
        grid = gathered(wish, [job.result if job is not None else None for job in found])
        now = time.perf_counter() - began
        first = first or (now if grid is not None else 0.0)
        if grid is not None and grid.known == 1.0:
            return first, now
        time.sleep(0.01)


def _cancelled(store: Store, wish: dict[str, Any]) -> float:
    """Seconds from cancelling a surface in full work until none of its tiles is worked on."""
    jobs = Jobs(store)
    ids = _ask(jobs, wish)
    until(lambda: any((job := jobs.job(one)) is not None and job.state == "running" for one in ids))
    began = time.perf_counter()
    jobs.cancel(*ids)
    until(lambda: not any((job := jobs.job(one)) is not None and job.state in OPEN for one in ids))
    return time.perf_counter() - began


def _in_page(browser: Any, address: str, run: str, first_seed: int) -> float:
    """Seconds from another seed of the directions, typed, to its first surface on the screen."""
    page: Page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(
        f"{address.removesuffix('/train')}/surface?run={run}&plane=random&plane_seed={500 + first_seed}"
    )
    times = []
    for seed in range(ROUNDS):
        page.wait_for_function(_DRAWN, arg=0)
        page.get_by_text("Refining the surface").wait_for(state="detached")
        page.wait_for_timeout(1500)  # until the last drawing is done
        field = page.get_by_label("Seed of the directions")
        drawn = page.evaluate("Number(document.querySelector('.kept-figures').dataset.draws)")
        field.fill(str(600 + first_seed + seed))
        began = time.perf_counter()
        field.press("Enter")
        page.wait_for_function(_DRAWN, arg=drawn, polling=20)
        times.append(time.perf_counter() - began)
    page.close()
    return statistics.median(times)
