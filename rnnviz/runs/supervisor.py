"""Keeps an engine running for as long as a web server lives. Knows neither torch nor Dask."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from .store import Store

BEAT_SECONDS = 1.0
ENGINE_SILENCE = 6.0  # another server's engine that was not heard for this long is dead
LINGER_SECONDS = 3.0  # how long an engine outlives its last server
STOP_SECONDS = 8.0
LONGEST_PAUSE = 10.0  # between two starts of an engine that does not live, for a wrong setting say

_HOME = str(Path(__file__).parents[2])  # where this package is found, wherever the server was started

log = logging.getLogger("rnnviz")


class Supervisor:
    """A thread that reports this server to the store and starts an engine when there is none."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._me = secrets.token_hex(8)
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._started, self._pause = -math.inf, BEAT_SECONDS
        self._thread = threading.Thread(target=self._run, name="rnnviz-supervisor", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Report that the server is gone, and end the engine if this server started it and is the last."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        alone = True  # as long as the store does not say otherwise: another server would start its own engine
        with contextlib.suppress(sa.exc.SQLAlchemyError, RuntimeError):
            self.store.leave(self._me)
            alone = not self.store.heard("server", ENGINE_SILENCE)
        if self._child is not None and alone:
            self._child.terminate()
            try:
                self._child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def _run(self) -> None:
        while True:
            try:
                self.store.hear(self._me, "server")
                self._ensure_engine()
            except (sa.exc.SQLAlchemyError, RuntimeError, OSError) as error:
                log.error("the store cannot be used now: %s", error)
            if self._stop.wait(BEAT_SECONDS):
                return

    def _ensure_engine(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        if self._child is None and self.store.heard("engine", ENGINE_SILENCE):
            return  # another server's engine, or one started by hand
        if (
            self._child is not None
            and self._child.returncode == 0
            and self.store.heard("engine", ENGINE_SILENCE)
        ):
            return  # ours found another at work and left
        since = time.monotonic() - self._started
        if since < self._pause:
            return
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if since < 2 * LONGEST_PAUSE else BEAT_SECONDS
        self._started = time.monotonic()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "rnnviz", "engine", "--linger", str(LINGER_SECONDS)],
            env={
                **os.environ,
                "RNNVIZ_STORE": self.store.url,  # not an argument: it may hold a password
                "PYTHONPATH": os.pathsep.join(filter(None, (_HOME, os.environ.get("PYTHONPATH")))),
            },
            stdin=subprocess.DEVNULL,
            # A process group of its own: Ctrl-C goes to the server, which then ends the engine in good order.
            start_new_session=True,
        )  # fmt: skip
