"""The kinds of job, and the slice of one that a worker does.

A kind is a generator function: from the store, the request and the partial result of earlier slices (None at
first) it yields `(progress, partial, result)`; the result is None until the last. Between two yields it
should compute for no more than a few tenths of a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..tasks import TASKS
from ..tasks.task import FRESH_STREAM, GeneratedTask
from ..training import repeatable
from .jobs import Jobs
from .state import from_bytes
from .store import Store
from .worker import SLICE_SECONDS, open_store

Progress = tuple[float, bytes | None, bytes | None]
Kind = Callable[[Store, Mapping[str, Any], bytes | None], Iterator[Progress]]

FRESH_BATCH = 250


class JobError(ValueError):
    """A request that cannot be answered; the text is one sentence."""


def evaluate(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Progress]:
    """Loss and accuracy of a run's latest parameters on sequences that nobody has seen.

    request: {"run", "step", "sequences"}; the step must be the run's latest. Tasks that draw their sequences
    are given fresh ones, data sets their whole held-out part. Result: JSON {"sequences", "loss", "accuracy"}.
    """
    row, blob = store.run(request["run"]), store.state(request["run"])
    if row is None or blob is None:
        raise JobError("run: there is no run of that name with a state to evaluate.")
    state = from_bytes(blob, row.experiment)
    if state.step != request["step"]:
        raise JobError(f"step: got {request['step']}; the run's latest state is of step {state.step}.")
    task, length = TASKS[row.experiment.task], row.experiment.length
    wanted = int(request["sequences"])
    done: dict[str, float] = json.loads(partial) if partial else {"sequences": 0, "loss": 0.0, "right": 0.0}
    while True:
        if isinstance(task, GeneratedTask):
            index = int(done["sequences"])
            rng = np.random.default_rng([0, FRESH_STREAM, index])
            batch = task.sample(rng, length, min(FRESH_BATCH, wanted - index))
        else:
            batch = task.validation_batch(length)
            wanted = batch.inputs.shape[1]
        size = batch.inputs.shape[1]
        with repeatable():
            seen = state.network.evaluate(batch)
        accuracy = task.accuracy(seen.outputs, batch)
        done["sequences"] += size
        done["loss"] += seen.loss * size
        done["right"] += float("nan") if accuracy is None else accuracy * size
        if not np.isfinite(done["loss"]):
            raise JobError("loss: it is no finite number on these sequences.")
        if done["sequences"] >= wanted:
            answer = {
                "sequences": wanted, "loss": done["loss"] / wanted,
                "accuracy": None if np.isnan(done["right"]) else done["right"] / wanted,
            }  # fmt: skip
            yield 1.0, None, json.dumps(answer).encode()
            return
        yield done["sequences"] / wanted, json.dumps(done).encode(), None


KINDS: dict[str, Kind] = {"evaluate": evaluate}


def job_slice(url: str, job_id: str, epoch: int, seconds: float = SLICE_SECONDS) -> str:
    """Advance a job for about `seconds`; returns why it stopped."""
    jobs = Jobs(open_store(url))
    job = jobs.job(job_id)
    if job is None:
        return "gone"
    deadline = time.monotonic() + seconds
    try:
        for progress, partial, result in KINDS[job.kind](jobs.store, job.request, job.partial):
            if result is not None:
                jobs.report(job_id, epoch, 1.0, None, result)
                return "finished"
            over = time.monotonic() >= deadline
            jobs.report(job_id, epoch, progress, partial)
            if jobs.cancelled(job_id, epoch):
                return "cancelled"
            if over:
                return "time"
    except JobError as error:
        jobs.fail(job_id, epoch, str(error))
    return "failed"
