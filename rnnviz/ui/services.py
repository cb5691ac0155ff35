"""What one server process has once: the store, and the supervisor that keeps an engine running."""

from __future__ import annotations

import threading

from ..runs.store import Store
from ..runs.supervisor import Supervisor

_lock = threading.Lock()
_store: Store | None = None
_supervisor: Supervisor | None = None


def store() -> Store:
    """The store, opened on first use; an engine is kept running from then on."""
    global _store, _supervisor
    with _lock:
        if _store is None:
            _store = Store()
            _supervisor = Supervisor(_store)
            _supervisor.start()
        return _store


def close() -> None:
    """At the server's end: the engine goes too, unless another server needs it."""
    global _store, _supervisor
    with _lock:
        if _supervisor is not None:
            _supervisor.stop()
        if _store is not None:
            _store.close()
        _store = _supervisor = None
