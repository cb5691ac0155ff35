"""What all tests share: one thread for torch, the same examples at every run, the browser last."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from streamlit.components.v2 import manifest_scanner

from rnnviz.runs.store import Store
from rnnviz.ui import services, surface_jobs
from tests.stores import new_store

torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# Streamlit's test driver looks through every installed package for each page that it opens, which takes
# longer than the page.
manifest_scanner.scan_component_manifests = lru_cache(manifest_scanner.scan_component_manifests)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Playwright leaves an event loop in the main thread, in which nobody else could start one."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own for each test, which the pages have too, and no engine."""
    store = new_store(tmp_path / "test.db")
    monkeypatch.setattr(services, "_store", store)
    monkeypatch.setattr(surface_jobs, "MOMENT", 0.0)  # nothing comes in a moment
    yield store
    store.close()
