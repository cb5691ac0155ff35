"""What all tests share: one thread for torch, the same examples at every run, the browser last."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Playwright leaves an event loop in the main thread, in which nobody else could start one."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
