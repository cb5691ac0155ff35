"""Make the pictures of the documents from a real run: `python docs/pictures.py`.

Starts the server as the README does, on a store of its own, trains the default experiment, and photographs
the page in both themes.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
AT_STEP = 1200  # far enough for the curves to tell their story

_STEP = """() => {
  const deep = (root) => root.querySelector('[data-updates]') || [...root.querySelectorAll('*')]
    .filter((e) => e.shadowRoot).map((e) => deep(e.shadowRoot)).find(Boolean);
  const live = deep(document);
  return live !== undefined && Number(live.dataset.step) >= %d;
}"""


def main() -> None:
    """Write docs/train-light.png and docs/train-dark.png."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        environment = {**os.environ, "RNNVIZ_STORE": f"sqlite:///{folder}/pictures.db"}
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                time.sleep(0.1)
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-background-networking"],
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
            page.goto(f"http://127.0.0.1:{port}/train")
            page.get_by_role("button", name="Train", exact=True).click()
            page.wait_for_function(_STEP % AT_STEP, timeout=180_000)
            page.mouse.move(5, 5)
            page.screenshot(path=ROOT / "docs" / "train-light.png")
            dark = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="dark")
            dark.goto(page.url)
            dark.wait_for_function(_STEP % AT_STEP, timeout=180_000)
            dark.wait_for_timeout(1000)
            dark.screenshot(path=ROOT / "docs" / "train-dark.png")
            browser.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


if __name__ == "__main__":
    main()
