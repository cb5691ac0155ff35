"""The page as a visitor has it: start, first point, smoothness while two trainers keep two cores busy.

Headless Chromium draws without a GPU on the very cores that train, so its figures are a floor.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from rnnviz.experiment import Experiment
from rnnviz.runs.store import Store

from .machine import table

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
#: Four runs side by side on two cores; with the figures that are shown first, and with all of them.
TWINS = "task=digits&steps=100000&twin=cell:lstm&twin=cell:tanh&twin=cell:relu"
ALL_PANES = "panes=loss,norm,heat,accuracy,sample,groups,update,spectrum"
SECONDS = 10.0

# Everything inside shadow roots too, where Streamlit mounts components.
_DEEP = """
const deep = (root, css) => [...root.querySelectorAll(css)].concat(
  ...[...root.querySelectorAll('*')].filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot, css)));
const live = deep(document, '[data-updates]')[0];
"""
_START = f"""() => {{ {_DEEP}
  const canvases = deep(live.getRootNode(), 'canvas');
  window.bench = {{ times: [], canvases, updates: +live.dataset.updates }};
  (function frame(t) {{ window.bench.times.push(t); requestAnimationFrame(frame); }})(performance.now());
}}"""
_END = f"""() => {{ {_DEEP}
  const b = window.bench, gaps = b.times.slice(1).map((t, i) => t - b.times[i]);
  return {{
    frames: b.times.length, long: gaps.filter((g) => g > 100).length, worst: Math.max(...gaps),
    updates: +live.dataset.updates - b.updates,
    rebuilt: b.canvases.filter((c) => !c.isConnected).length,
  }};
}}"""
_DRAWN = f"() => {{ {_DEEP} return live !== undefined && +live.dataset.updates > 0; }}"
_READY = f"() => {{ {_DEEP} return live !== undefined; }}"


def run() -> None:
    """Medians of several rounds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
            args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-background-networking"],
        )
        starts, clicks = [], []
        rows: dict[str, list[dict[str, float]]] = {
            "one run and another": [],
            "four twins": [],
            "all panes": [],
        }
        for _ in range(ROUNDS):
            with server() as (address, store, began):
                page = _open(browser, address)
                starts.append(time.perf_counter() - began)
                engine_ready(store)
                clicks.append(_click_to_point(page))
                # The page's run is one trainer; a second one has the other core.
                store.create(Experiment(task="adding", length=100, steps=1_000_000))
                rows["one run and another"].append(_smoothness(page))
                page.close()
                ten = _ten_runs(store)
                for name, query in (("four twins", TWINS), ("all panes", f"{TWINS}&{ALL_PANES}")):
                    nothing_runs(store)
                    page = _open(browser, f"{address}?{query}")
                    _click_to_point(page)
                    rows[name].append(_smoothness(page))
                    page.close()
        table(
            ["from `streamlit run app.py` to a usable page (s)", "warm Train click to the first point (s)",
             "ten runs started at once: all advanced after (s)"],
            [[statistics.median(starts), statistics.median(clicks), ten]],
        )  # fmt: skip
        names = list(rows["four twins"][0])
        table(
            ["training on two cores", *names],
            [[kind, *(statistics.median(row[n] for row in found) for n in names)]
             for kind, found in rows.items()],
        )  # fmt: skip
        browser.close()


@contextmanager
def server() -> Iterator[tuple[str, Store, float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT, env={**os.environ, "RNNVIZ_STORE": url}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
            yield f"http://127.0.0.1:{port}/train", Store(url), began
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _open(browser: Browser, address: str) -> Page:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.get_by_role("button", name="Train", exact=True).wait_for()
    page.wait_for_function(_READY)
    return page


def engine_ready(store: Store) -> None:
    until(lambda: any("workers" in note for note in store.heard("engine", 5.0)))


def _click_to_point(page: Page) -> float:
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    started = time.perf_counter()
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function(_DRAWN, polling=20)
    return time.perf_counter() - started


def _smoothness(page: Page) -> dict[str, float]:
    received = {"bytes": 0}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")

    def count(event: dict[str, int]) -> None:
        received["bytes"] += event["dataLength"]

    page.wait_for_timeout(3000)
    session.on("Network.dataReceived", count)
    page.evaluate(_START)
    page.wait_for_timeout(SECONDS * 1000)
    seen = page.evaluate(_END)
    return {
        "frames a second": seen["frames"] / SECONDS,
        "frames over 100 ms": float(seen["long"]),
        "longest frame (ms)": float(seen["worst"]),
        "updates a second": seen["updates"] / SECONDS,
        "kB a second": received["bytes"] / SECONDS / 1000,
        "charts rebuilt": float(seen["rebuilt"]),
    }


def nothing_runs(store: Store) -> None:
    for run in store.runs(("queued", "running")):
        store.command(run.id, "stop")
    until(lambda: not store.runs(("queued", "running")))


def _ten_runs(store: Store) -> float:
    nothing_runs(store)
    started = time.perf_counter()
    ids = [store.create(Experiment(task="adding", length=50, steps=100_000, seed=seed)) for seed in range(10)]
    until(lambda: all((row := store.run(run)) is not None and row.step > 0 for run in ids))
    return time.perf_counter() - started


def until(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server, the engine or the page did not get ready in time")
        time.sleep(0.02)
