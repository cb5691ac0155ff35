"""One held-out sequence of a task for the live component: what goes in, what matters, what is right."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import numpy as np

from ..experiment import Experiment
from ..tasks import TASKS
from .text import _


def sample_of(experiment: Experiment) -> dict[str, Any]:
    """The first validation sequence: the one whose outputs a run records."""
    return _sample(experiment.task, experiment.length)


@lru_cache(maxsize=32)
def _sample(name: str, length: int) -> dict[str, Any]:
    task = TASKS[name]
    batch = task.validation_batch(length)
    inputs = batch.inputs[:, 0]  # (T, I)
    one_hot = inputs.shape[1] > 1 and bool(
        np.isin(inputs, (0.0, 1.0)).all() and (inputs.sum(axis=1) == 1.0).all()
    )
    picture, classes = task.picture(batch, 0), task.classes()
    if classes is not None:
        found = batch.targets[0] if task.readout == "last" else batch.targets[:, 0]
        target: Any = found.tolist()
    else:
        target = float(batch.targets[0, 0])
    return {
        "T": inputs.shape[0],
        "I": inputs.shape[1],
        "channels": [_(channel) for channel in task.channels()],
        "symbols": inputs.argmax(axis=1).tolist() if one_hot else None,
        "inputs": None if one_hot else _float32(inputs),
        "marks": batch.marks[0].tolist(),
        "answer": task.answer(batch, 0),
        "readout": task.readout,
        "classes": None if classes is None else [_(word) for word in classes],
        "silent": task.silent,
        "target": target,
        "picture": None if picture is None else _float32(picture),
        "size": 0 if picture is None else picture.shape[0],
    }


def _float32(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode()
