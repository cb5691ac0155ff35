"""One engine for each store: a lock that dies with the process that holds it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from .store import Store

_ADVISORY_KEY = 0x726E6E76  # "rnnv"


class EngineRunningError(RuntimeError):
    """Another engine works on this store."""


@contextmanager
def engine_lock(store: Store) -> Iterator[None]:
    """Hold the store's engine lock, or raise EngineRunningError at once.

    For SQLite a lock on a file beside the database, for PostgreSQL an advisory lock; the operating system or
    the server lets go of either when the process ends, however it ends.
    """
    path = store.engine.url.database
    if store.engine.dialect.name == "sqlite":
        if not path or path == ":memory:":
            raise ValueError("RNNVIZ_STORE: got a store in memory; an engine needs one in a file.")
        with open(f"{path}.engine-lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise EngineRunningError("Another engine works on this store.") from None
            yield
        return
    with store.engine.connect() as connection:
        taken = connection.execute(sa.select(sa.func.pg_try_advisory_lock(_ADVISORY_KEY))).scalar()
        connection.commit()
        if not taken:
            raise EngineRunningError("Another engine works on this store.")
        yield
