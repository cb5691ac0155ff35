"""Waiting for something to happen, with a generous end: the machine may be busy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found], seconds: float = 60.0, every: float = 0.02) -> Found:
    """The first true value of `condition`; fails after `seconds`."""
    pause = threading.Event()
    for _ in range(max(1, round(seconds / every))):
        found = condition()
        if found:
            return found
        pause.wait(every)
    raise AssertionError(f"not within {seconds} s: {getattr(condition, '__doc__', None) or condition}")
