"""New stores, without making their tables one by one for each test."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from rnnviz.runs.store import Store


@cache
def _empty() -> bytes:
    """The file of a store that was made once, in which nothing was put."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        Store(f"sqlite:///{path}").close()
        return path.read_bytes()


def new_store(path: Path) -> Store:
    """A store of its own at `path`."""
    path.write_bytes(_empty())
    return Store(f"sqlite:///{path}")
