"""What one server process has once: the store, and the supervisor that keeps an engine running."""

from __future__ import annotations

import secrets
import threading

import sqlalchemy as sa

from ..runs.schema import NewerStoreError
from ..runs.store import Store, store_url
from ..runs.supervisor import Supervisor

#: Another one after every start, so that a page can see that its session is gone.
SERVER = secrets.token_hex(8)

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


def trouble() -> str | None:
    """Why the store cannot be used, in one sentence, or None."""
    url = store_url()
    if url in ("sqlite://", "sqlite:///:memory:"):
        return "RNNVIZ_STORE: a store in memory cannot be shared with the engine; name a file or a database."
    try:
        Store(url).close()
    except NewerStoreError as error:
        return str(error)
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        first = str(error).splitlines()[0]
        return f"The store cannot be opened: {first} (RNNVIZ_STORE names it, or rnnviz.db in this folder)."
    return None


def close() -> None:
    """At the server's end: the engine goes too, unless another server needs it."""
    global _store, _supervisor
    with _lock:
        if _supervisor is not None:
            _supervisor.stop()
        if _store is not None:
            _store.close()
        _store = _supervisor = None
