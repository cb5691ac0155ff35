"""The engine: one process for each store that hands out slices of runs and jobs to Dask workers.

It keeps nothing that matters: what there is to do stands in the store, what was done is written there by the
workers, and killing the engine at any moment costs at most a slice. `RNNVIZ_SCHEDULER` names a Dask scheduler
to use instead of local workers.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dask
import psutil
import sqlalchemy as sa
from distributed import Client, Future, LocalCluster

from ..kernels import prepare
from .job_kinds import job_slice
from .jobs import Jobs
from .lock import EngineRunningError, engine_lock
from .store import FencedError, IllegalTransitionError, Store
from .worker import advance_slice

POLL_SECONDS = 0.03  # while there is something to do
STOP_PATIENCE = 3.0  # seconds for a slice to obey a stop; a worker that was suspended never will
IDLE_SECONDS = 0.1
HEARTBEAT_SECONDS = 1.0
SERVER_SILENCE = 6.0  # a server not heard for this long is gone
PRUNE_SECONDS = 300.0
MEMORY_SHARE = 0.7  # of the machine's memory, divided among the workers

GONE = "The worker did not find the run in the store: the database may have been moved or deleted."

log = logging.getLogger("rnnviz.engine")
logging.getLogger("distributed").setLevel(logging.ERROR)


class RemoteNeedsDatabaseError(ValueError):
    """A remote scheduler with a store that its workers cannot reach."""


def cores() -> int:
    """Cores that this process may use; RNNVIZ_WORKERS overrides."""
    given = os.environ.get("RNNVIZ_WORKERS", "")
    if given:
        if not given.isdigit() or int(given) < 1:
            raise ValueError(f"RNNVIZ_WORKERS: got {given!r}; allowed: a whole number from 1.")
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(url: str) -> Iterator[Client]:
    """A client of the workers: a local process a core, or the scheduler named in RNNVIZ_SCHEDULER."""
    address = os.environ.get("RNNVIZ_SCHEDULER")
    if address:
        if url.startswith("sqlite"):
            raise RemoteNeedsDatabaseError(
                "RNNVIZ_SCHEDULER names a remote scheduler, whose workers cannot reach a SQLite file: "
                "set RNNVIZ_STORE to a PostgreSQL URL."
            )
        with Client(address) as client:
            yield client
        return
    count = cores()
    limit = int(psutil.virtual_memory().total * MEMORY_SHARE / count)
    settings = {
        "distributed.worker.preload": ["rnnviz.runs.worker"],  # torch is there before the first slice
        "distributed.worker.profile.enabled": False,
        "distributed.scheduler.allowed-failures": 0,  # lost slices go on from the store, not by retry
        "distributed.scheduler.worker-ttl": "30s",
        "distributed.admin.tick.limit": "30s",
    }
    with dask.config.set(settings), LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, memory_limit=limit, dashboard_address=None,
        host="127.0.0.1", silence_logs=logging.ERROR, scheduler_kwargs={"dashboard": False},
    ) as cluster, Client(cluster) as client:  # fmt: skip
        yield client


class Scheduler:
    """Hands out slices: one at a time for each run, one run for each worker, the longest waiting first."""

    def __init__(self, store: Store, client: Client) -> None:
        self.store, self.client, self.jobs = store, client, Jobs(store)
        self.in_flight: dict[str, Future[str]] = {}
        self.wake = threading.Event()
        self.told: dict[str, float] = {}  # runs whose slice has been told to stop, and since when

    def turn(self) -> None:
        """Collect what came back, carry out commands, hand out what is due."""
        self.collect()
        busy = {key.removeprefix("run:") for key in self.in_flight if key.startswith("run:")}
        now = time.monotonic()
        self.told = {run: self.told.get(run, now) for run in self.store.settle(busy)}
        for run in [run for run, since in self.told.items() if now - since > STOP_PATIENCE]:
            if self.store.overrule(run):
                log.warning("the slice of %s does not answer; the run was stopped without it", run)
        free = self.slots() - len(busy)
        for run in self.store.waiting() if free > 0 else ():
            key = f"run:{run}"
            if free <= 0:
                break
            if key in self.in_flight:
                continue
            epoch = self.store.claim(run)
            if epoch is not None:
                self.submit(key, advance_slice, run, epoch, priority=0)
                free -= 1
        # Jobs go first, at most one for each worker, so that many of them do not starve the runs.
        free = self.slots() - sum(key.startswith("job:") for key in self.in_flight)
        for job in self.jobs.open():
            key = f"job:{job}"
            if key in self.in_flight or free <= 0:
                continue
            epoch = self.jobs.claim(job)
            if epoch is not None:
                self.submit(key, job_slice, job, epoch, priority=10)
                free -= 1

    def rest(self) -> float:
        """Seconds until there may be something to do, if nobody wakes the loop before."""
        if self.in_flight:
            return POLL_SECONDS
        due = self.store.next_due()
        return IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(0.0, due - time.time()))

    def slots(self) -> int:
        """Slices that can be worked on at once."""
        return max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))

    def submit(self, key: str, function: Any, target: str, epoch: int, priority: int) -> None:
        """Send a slice; the loop is woken when it is back."""
        future = self.client.submit(
            function, self.store.url, target, epoch, priority=priority, retries=0, pure=False,
            key=f"{key}:{epoch}:{secrets.token_hex(4)}",
        )  # fmt: skip
        future.add_done_callback(lambda _: self.wake.set())
        self.in_flight[key] = future

    def collect(self) -> None:
        """Take back finished slices; a lost one makes its run or job wait for another."""
        for key, future in [(k, f) for k, f in self.in_flight.items() if f.done()]:
            del self.in_flight[key]
            if future.status == "finished" and future.result() != "gone":
                continue
            error = future.exception() if future.status == "error" else None
            if isinstance(error, FencedError):
                continue  # the run was deleted or moved on; whoever did that has seen to it
            kind, target = key.split(":", 1)
            log.warning("slice of %s lost: %r", target, error)
            reason = GONE if future.status == "finished" else _reason(error)
            (self.store if kind == "run" else self.jobs).lost(target, reason)


def _reason(error: BaseException | None) -> str:
    """Why slices were lost, as a sentence for the run's page."""
    name = type(error).__name__ if error is not None else "lost"
    if name in ("KilledWorker", "lost", "CancelledError", "FutureCancelledError"):
        return (
            "The worker process was killed three times in a row; perhaps the network does not fit in memory."
        )
    if name == "StoreFullError":
        return str(error)
    return (
        f"The run could not go on: {name}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
    )


def run_engine(
    url: str | None = None, linger: float | None = None, stop: threading.Event | None = None
) -> None:
    """Work until `stop` is set or, with `linger`, until no web server was heard for that many seconds.

    Raises EngineRunningError when another engine holds this store.
    """
    store = Store(url)
    stop = stop or threading.Event()
    me = secrets.token_hex(8)
    with engine_lock(store):
        store.recover()
        store.hear(me, "engine", "starting")
        try:
            # No run should wait for a compiler: what is missing is made while the workers start.
            threading.Thread(target=prepare, name="prepare", daemon=True).start()
            with workers(store.url) as client:
                _loop(store, Scheduler(store, client), me, linger, stop)
        finally:
            with suppress(sa.exc.SQLAlchemyError):
                store.leave(me)
            store.close()


def _loop(store: Store, scheduler: Scheduler, me: str, linger: float | None, stop: threading.Event) -> None:
    beat = pruned = alone_since = None
    while not stop.is_set():
        now = time.monotonic()
        try:
            if beat is None or now - beat > HEARTBEAT_SECONDS:
                beat = now
                # Read before written, so that a full disk does not keep an engine alive for nobody.
                alone = linger is not None and not store.heard("server", SERVER_SILENCE)
                alone_since = (alone_since or now) if alone else None
                if alone_since is not None and linger is not None and now - alone_since >= linger:
                    log.info("no server left; the engine ends")
                    return
                store.hear(me, "engine", f"{scheduler.slots()} workers")
            if pruned is None or now - pruned > PRUNE_SECONDS:
                pruned = now
                store.prune()
            if scheduler.client.status not in ("running", "connecting"):
                log.error("the workers' scheduler is gone; the engine ends")
                return
            scheduler.turn()
            rest = scheduler.rest()
        except (sa.exc.OperationalError, RuntimeError, IllegalTransitionError) as error:
            # A full disk or a busy database passes; the runs wait where they are.
            log.error("the store cannot be used now: %s", error)
            stop.wait(1.0)
            rest = IDLE_SECONDS
        scheduler.wake.wait(rest)
        scheduler.wake.clear()


__all__ = ["EngineRunningError", "run_engine"]
