"""rnnviz: train recurrent networks and see how they learn, or fail to.

The names below are the whole public interface. They are loaded on first use, so that importing rnnviz is
quick and describing an experiment needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import CELLS
    from .experiment import Experiment, ExperimentError
    from .initialization import INITIALIZATIONS
    from .landscape.surface import loss_surface
    from .network import Network
    from .stack import Tape
    from .tapes import record
    from .tasks import TASKS
    from .training import advance, begin, train

__version__ = "0.1.0"

_HOME = {
    "Experiment": "experiment",
    "ExperimentError": "experiment",
    "train": "training",
    "begin": "training",
    "advance": "training",
    "Network": "network",
    "Tape": "stack",
    "record": "tapes",
    "loss_surface": "landscape.surface",
    "CELLS": "cells",
    "TASKS": "tasks",
    "INITIALIZATIONS": "initialization",
}

__all__ = [
    "CELLS",
    "INITIALIZATIONS",
    "TASKS",
    "Experiment",
    "ExperimentError",
    "Network",
    "Tape",
    "advance",
    "begin",
    "loss_surface",
    "record",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rnnviz' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
