"""The store: runs, what they recorded, what their owners want. SQLite by default, PostgreSQL by URL.

Everything on a screen is a query here. Workers append chunks under a fence: a run's epoch grows with every
slice that is handed out, and a slice that is not of the newest epoch may not write.

State of a run:

    queued -> running -> finished | diverged | failed
      ^ \\________ | \\____ stopped
      |            v        ^
      +-------- paused -----+
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from ..experiment import CHANGEABLE, Experiment, ExperimentError, Problem, complaint
from . import schema
from .schema import CHECKPOINTS, CHUNKS, CONTROLS, JOBS, PROCESSES, RUNS, STATES

TRANSITIONS: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "paused", "stopped", "failed"}),
    "running": frozenset({"queued", "paused", "finished", "stopped", "diverged", "failed"}),
    "paused": frozenset({"queued", "stopped"}),
    "finished": frozenset(),
    "stopped": frozenset(),
    "diverged": frozenset(),
    "failed": frozenset(),
}
ENDED = frozenset(state for state, following in TRANSITIONS.items() if not following)
ACTIVE = ("queued", "running")

DEFAULT_STORE = "rnnviz.db"
MAX_BYTES = 2_000_000_000
MAX_AGE = 30 * 24 * 3600.0
BUSY_MS = 10_000


class FencedError(RuntimeError):
    """A slice tried to write after a newer one had been handed out."""


class StoreFullError(RuntimeError):
    """The disk that holds the store is full."""


class IllegalTransitionError(ValueError):
    """A run cannot go from its state to that one."""


@dataclass(frozen=True)
class Run:
    """A row of the run table, see `schema.RUNS`."""

    id: str
    created: float
    updated: float
    owner: str | None
    experiment: Experiment
    kernel: str | None
    state: str
    message: str | None
    command: str
    epoch: int
    dispatched: float
    failures: int
    step: int
    steps: int
    clipped: int
    train_loss: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    solved_at: int | None
    rate: float | None
    bytes: int

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


@dataclass(frozen=True)
class ChunkRow:
    """A chunk as it is stored."""

    first_step: int
    last_step: int
    next_step: int
    record: bytes
    screen: bytes


@dataclass(frozen=True)
class Orders:
    """What the owner of a run wants, read by a slice every 50 ms."""

    command: str
    changes: tuple[tuple[int, str, Any], ...]  # (control id, field, value), oldest first


def store_url() -> str:
    """RNNVIZ_STORE, or a file beside the working directory."""
    return os.environ.get("RNNVIZ_STORE") or f"sqlite:///{Path(DEFAULT_STORE).absolute()}"


def owner_hash(token: str | None) -> str | None:
    """What is stored of an owner's token."""
    return hashlib.sha256(token.encode()).hexdigest() if token else None


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_urlsafe(16)


class Store:
    """One database. Safe to share between threads; every process opens its own."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or store_url()
        self.engine = _connect(self.url)
        with self.write() as connection:
            schema.migrate(connection)

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; waits its turn."""
        try:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
                yield connection
        except OperationalError as error:
            if "disk is full" in str(error.orig) or "No space left" in str(error.orig):
                raise StoreFullError(
                    "The disk that holds the store is full: delete runs or free some space, then try again."
                ) from error
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent look."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    # Runs as their owners see them ------------------------------------------------------------------

    def create(
        self, experiment: Experiment, owner: str | None = None, run: str | None = None,
        replaces: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """Queue a run and return its id, which nobody can guess. `owner` is the token's hash.

        The runs of the same owner that it `replaces` are told to stop in the same transaction. A caller that
        may be interrupted at any moment makes the id itself, with `new_id`, and remembers it first.
        """
        now = time.time()
        run = run or new_id()
        with self.write() as connection:
            connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.id.in_(replaces), RUNS.c.owner == owner, RUNS.c.state.not_in(ENDED))
                .values(command="stop")
            )
            connection.execute(
                sa.insert(RUNS).values(
                    id=run, created=now, updated=now, owner=owner, experiment=experiment.to_json(),
                    state="queued", command="go", epoch=0, dispatched=0.0, failures=0, step=0,
                    steps=experiment.steps, clipped=0, bytes=0,
                )
            )  # fmt: skip
        return run

    def run(self, run: str) -> Run | None:
        """A run, or None when there is none of that id.

        Raises ExperimentError when this version of the program cannot read its experiment.
        """
        with self.read() as connection:
            row = connection.execute(sa.select(RUNS).where(RUNS.c.id == run)).mappings().first()
        return None if row is None else _run(row)

    def runs(
        self, states: Sequence[str] | None = None, owner: str | None = None, limit: int = 1000
    ) -> list[Run]:
        """Runs, the least recently served first when states are given, else the newest first.

        A run whose experiment this version cannot read is left out.
        """
        query = sa.select(RUNS).limit(limit)
        if owner is not None:
            query = query.where(RUNS.c.owner == owner)
        if states is None:
            query = query.order_by(RUNS.c.created.desc())
        else:
            query = query.where(RUNS.c.state.in_(states)).order_by(RUNS.c.dispatched, RUNS.c.created)
        with self.read() as connection:
            return [run for row in connection.execute(query).mappings() if (run := _readable(row))]

    def waiting(self) -> list[str]:
        """Ids of the runs that are to go on, the least recently served first."""
        query = sa.select(RUNS.c.id).where(RUNS.c.state.in_(ACTIVE), RUNS.c.command == "go")
        with self.read() as connection:
            return list(connection.execute(query.order_by(RUNS.c.dispatched, RUNS.c.created)).scalars())

    def command(self, run: str, command: str) -> bool:
        """Ask for go, pause or stop, which the engine carries out; False when the run has ended."""
        if command not in ("go", "pause", "stop"):
            raise ValueError(f"command: got {command!r}; allowed: go, pause, stop.")
        with self.write() as connection:
            done = connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run, RUNS.c.state.not_in(ENDED), RUNS.c.command != "stop")
                .values(command=command)
            )
        return done.rowcount == 1

    def change(self, run: str, field: str, value: Any) -> Problem | None:
        """Ask for another value of a changeable field in mid-run; a Problem when that is not possible."""
        if field not in CHANGEABLE:
            return Problem(field, value, f"only {', '.join(CHANGEABLE)} may change in mid-run.")
        wrong = complaint(field, value)
        if wrong:
            return Problem(field, value, wrong)
        with self.write() as connection:
            state = connection.execute(sa.select(RUNS.c.state).where(RUNS.c.id == run)).scalar()
            if state is None or state in ENDED:
                return Problem(field, value, "the run has ended.")
            connection.execute(
                sa.insert(CONTROLS).values(run=run, created=time.time(), field=field, value=json.dumps(value))
            )
        return None

    def delete(self, run: str) -> None:
        """Forget a run and everything it recorded."""
        with self.write() as connection:
            _delete(connection, [run])

    def adopt(self, before: str, owner: str) -> None:
        """Hand every run of one owner to another: a browser whose token came after its first run."""
        with self.write() as connection:
            connection.execute(sa.update(RUNS).where(RUNS.c.owner == before).values(owner=owner))

    def ahead(self, run: Run) -> int:
        """How many queued runs will be served before this one."""
        with self.read() as connection:
            return connection.execute(
                sa.select(sa.func.count())
                .select_from(RUNS)
                .where(
                    RUNS.c.state == "queued",
                    sa.tuple_(RUNS.c.dispatched, RUNS.c.created) < sa.tuple_(run.dispatched, run.created),
                )
            ).scalar_one()

    # What was recorded ------------------------------------------------------------------------------

    def chunks(self, run: str, after: int = -1) -> list[ChunkRow]:
        """Full chunks with a point later than step `after`, in order."""
        columns = [getattr(CHUNKS.c, f.name) for f in fields(ChunkRow)]
        query = sa.select(*columns).where(CHUNKS.c.run == run, CHUNKS.c.last_step > after)
        with self.read() as connection:
            return [ChunkRow(*row) for row in connection.execute(query.order_by(CHUNKS.c.first_step))]

    def screens(self, run: str, after: int = -1) -> list[tuple[int, bytes]]:
        """(last step, screen blob) of the chunks with a point later than step `after`, in order."""
        query = sa.select(CHUNKS.c.last_step, CHUNKS.c.screen)
        query = query.where(CHUNKS.c.run == run, CHUNKS.c.last_step > after).order_by(CHUNKS.c.first_step)
        with self.read() as connection:
            return [(last, blob) for last, blob in connection.execute(query)]

    def newest(self, run: str) -> int:
        """The last step recorded, -1 before the first."""
        query = sa.select(sa.func.max(CHUNKS.c.last_step)).where(CHUNKS.c.run == run)
        with self.read() as connection:
            last = connection.execute(query).scalar()
        return -1 if last is None else int(last)

    def state(self, run: str) -> bytes | None:
        """The latest full state of a run, or None before the first."""
        with self.read() as connection:
            return connection.execute(sa.select(STATES.c.state).where(STATES.c.run == run)).scalar()

    def checkpoints(self, run: str) -> dict[int, bytes]:
        """Parameters at the steps where they were kept."""
        query = sa.select(CHECKPOINTS.c.step, CHECKPOINTS.c.parameters).where(CHECKPOINTS.c.run == run)
        with self.read() as connection:
            return {step: blob for step, blob in connection.execute(query.order_by(CHECKPOINTS.c.step))}

    # The engine -------------------------------------------------------------------------------------

    def claim(self, run: str) -> int | None:
        """Hand out the next slice: the new epoch, or None when the run should not go on now."""
        with self.write() as connection:
            epoch = connection.execute(
                sa.select(RUNS.c.epoch).where(
                    RUNS.c.id == run, RUNS.c.state.in_(ACTIVE), RUNS.c.command == "go"
                )
            ).scalar()
            if epoch is None:
                return None
            now = time.time()
            connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run)
                .values(epoch=epoch + 1, state="running", dispatched=now, updated=now)
            )
        return int(epoch) + 1

    def move(self, run: str, to: str, message: str | None = None, epoch: int | None = None) -> None:
        """Take a run to another state; with `epoch` only when that slice is still the newest."""
        with self.write() as connection:
            _move(connection, run, to, message, epoch)

    def lost(self, run: str, reason: str, limit: int = 3) -> None:
        """A slice was lost: back to the queue behind a new fence, or failed after `limit` in a row."""
        with self.write() as connection:
            row = connection.execute(
                sa.select(RUNS.c.state, RUNS.c.failures, RUNS.c.epoch).where(RUNS.c.id == run)
            ).first()
            if row is None or row.state != "running":
                return
            values = {"epoch": row.epoch + 1, "failures": row.failures + 1}
            connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(**values))
            if row.failures + 1 >= limit:
                _move(connection, run, "failed", reason, None)
            else:
                _move(connection, run, "queued", None, None)

    def recover(self) -> int:
        """At the engine's start: runs that a dead engine left running go back to the queue."""
        with self.write() as connection:
            done = connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.state == "running")
                .values(state="queued", epoch=RUNS.c.epoch + 1, updated=time.time())
            )
        return done.rowcount

    def settle(self, busy: Collection[str] = ()) -> None:
        """Carry out commands for runs that no slice is working on; `busy` are those that one is."""
        wanted = sa.or_(
            sa.and_(RUNS.c.command == "stop", RUNS.c.state.in_(("queued", "paused", "running"))),
            sa.and_(RUNS.c.command == "pause", RUNS.c.state.in_(ACTIVE)),
            sa.and_(RUNS.c.command == "go", RUNS.c.state == "paused"),
        )
        query = sa.select(RUNS.c.id, RUNS.c.command).where(wanted)
        with self.read() as connection:  # nearly always empty: no lock is taken for nothing
            found = [row for row in connection.execute(query) if row.id not in busy]
        if found:
            with self.write() as connection:
                for row in connection.execute(query.where(RUNS.c.id.in_([row.id for row in found]))).all():
                    to = {"stop": "stopped", "pause": "paused", "go": "queued"}[row.command]
                    _move(connection, row.id, to, None, None)

    def prune(self, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE) -> list[str]:
        """Delete ended runs that are too old, then the oldest until the rest fits; returns their ids.

        Processes that were not heard for so long are forgotten as well.
        """
        gone = []
        with self.write() as connection:
            connection.execute(
                sa.delete(JOBS).where(
                    JOBS.c.state.not_in(("queued", "running")), JOBS.c.updated < time.time() - max_age
                )
            )
            # Runs under way do not count: no ended run should have to go for them.
            kept = connection.execute(
                sa.select(RUNS.c.id, RUNS.c.updated, RUNS.c.bytes)
                .where(RUNS.c.state.in_(ENDED))
                .order_by(RUNS.c.updated)
            ).all()
            total = sum(row.bytes for row in kept)
            for row in kept:
                if row.updated < time.time() - max_age or total > max_bytes:
                    gone.append(row.id)
                    total -= row.bytes
            _delete(connection, gone)
            connection.execute(sa.delete(PROCESSES).where(PROCESSES.c.heard < time.time() - max_age))
        return gone

    # A slice ----------------------------------------------------------------------------------------

    def orders(self, run: str, epoch: int) -> Orders:
        """What the owner wants now; raises FencedError when this slice is no longer the newest."""
        with self.read() as connection:
            row = connection.execute(
                sa.select(RUNS.c.command, RUNS.c.epoch, RUNS.c.state).where(RUNS.c.id == run)
            ).first()
            if row is None or row.epoch != epoch or row.state != "running":
                raise FencedError(f"Slice {epoch} of this run is no longer the newest.")
            pending = connection.execute(
                sa.select(CONTROLS.c.id, CONTROLS.c.field, CONTROLS.c.value)
                .where(CONTROLS.c.run == run, CONTROLS.c.applied_at.is_(None))
                .order_by(CONTROLS.c.id)
            ).all()
        return Orders(row.command, tuple((i, field, json.loads(value)) for i, field, value in pending))

    def resume(self, run: str, epoch: int, step: int) -> int:
        """Before a slice goes on from `step`: what was recorded beyond the state is made again.

        Returns the step up to which that is: what has been shown and ordered so far lies before it.
        """
        with self.write() as connection:
            _fence(connection, run, epoch)
            for table, beyond, blobs in (
                (CHUNKS, CHUNKS.c.first_step >= step, (CHUNKS.c.record, CHUNKS.c.screen)),
                (CHECKPOINTS, CHECKPOINTS.c.step > step, (CHECKPOINTS.c.parameters,)),
            ):
                size = sa.select(sa.func.coalesce(sa.func.sum(reduce(add, map(sa.func.length, blobs))), 0))
                gone = connection.execute(size.where(table.c.run == run, beyond)).scalar_one()
                connection.execute(sa.delete(table).where(table.c.run == run, beyond))
                connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(bytes=RUNS.c.bytes - gone))
            reached = connection.execute(sa.select(RUNS.c.step).where(RUNS.c.id == run)).scalar_one()
            applied = sa.select(sa.func.max(CONTROLS.c.applied_at)).where(CONTROLS.c.run == run)
            return max(int(reached), connection.execute(applied).scalar() or 0)

    def append(
        self, run: str, epoch: int, chunk: ChunkRow, values: Mapping[str, Any],
        applied: Mapping[int, int], checkpoints: Mapping[int, bytes],
        state: bytes | None = None, move_to: str | None = None, message: str | None = None,
    ) -> None:  # fmt: skip
        """One transaction: a chunk, the run's columns, the controls it applied (id to step), checkpoints,
        and at a slice's end the full state and perhaps a new state of the run."""
        with self.write() as connection:
            _fence(connection, run, epoch)
            if chunk.record:
                connection.execute(sa.insert(CHUNKS).values(run=run, **_fields(chunk)))
            for control, step in applied.items():
                connection.execute(
                    sa.update(CONTROLS).where(CONTROLS.c.id == control).values(applied_at=step)
                )
            size = len(chunk.record) + len(chunk.screen)
            there = sa.select(CHECKPOINTS.c.step).where(
                CHECKPOINTS.c.run == run, CHECKPOINTS.c.step.in_(checkpoints)
            )
            for step in checkpoints.keys() - connection.execute(there).scalars():
                parameters = checkpoints[step]  # one step has one: a diverged run ends where it stood
                connection.execute(sa.insert(CHECKPOINTS).values(run=run, step=step, parameters=parameters))
                size += len(parameters)
            if state is not None:
                before = sa.select(sa.func.length(STATES.c.state)).where(STATES.c.run == run)
                size += len(state) - (connection.execute(before).scalar() or 0)
                connection.execute(sa.delete(STATES).where(STATES.c.run == run))
                connection.execute(sa.insert(STATES).values(run=run, step=chunk.next_step, state=state))
                values = {**values, "failures": 0}  # only what need not be made again is progress
            connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run)
                .values(**values, updated=time.time(), bytes=RUNS.c.bytes + size)
            )
            if move_to is not None:
                _move(connection, run, move_to, message, None)

    # Processes --------------------------------------------------------------------------------------

    def hear(self, process: str, kind: str, note: str | None = None) -> None:
        """A heartbeat."""
        with self.write() as connection:
            connection.execute(sa.delete(PROCESSES).where(PROCESSES.c.id == process))
            connection.execute(
                sa.insert(PROCESSES).values(id=process, kind=kind, heard=time.time(), note=note)
            )

    def leave(self, process: str) -> None:
        """Take a process off the list."""
        with self.write() as connection:
            connection.execute(sa.delete(PROCESSES).where(PROCESSES.c.id == process))

    def heard(self, kind: str, within: float) -> list[str]:
        """Processes of a kind heard in the last `within` seconds, as their notes."""
        query = sa.select(PROCESSES.c.note).where(
            PROCESSES.c.kind == kind, PROCESSES.c.heard > time.time() - within
        )
        with self.read() as connection:
            return [note or "" for note in connection.execute(query).scalars()]


def _connect(url: str) -> Engine:
    engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, record: Any) -> None:
            # We begin transactions ourselves, because a writer must take its lock at the start.
            connection.isolation_level = None
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")  # first: switching to WAL may have to wait
            deadline = time.monotonic() + BUSY_MS / 1000
            while True:
                try:
                    cursor.execute("PRAGMA journal_mode=WAL")
                    break
                except sqlite3.OperationalError:
                    # Two who switch a new database at once: SQLite refuses one of them without waiting.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _fence(connection: Connection, run: str, epoch: int) -> None:
    current = connection.execute(
        sa.select(RUNS.c.epoch).where(RUNS.c.id == run, RUNS.c.state == "running").with_for_update()
    ).scalar()
    if current != epoch:
        raise FencedError(f"Slice {epoch} of this run is no longer the newest.")


def _move(connection: Connection, run: str, to: str, message: str | None, epoch: int | None) -> None:
    row = connection.execute(
        sa.select(RUNS.c.state, RUNS.c.epoch).where(RUNS.c.id == run).with_for_update()
    ).first()
    if row is None or (epoch is not None and row.epoch != epoch):
        raise FencedError("This run has moved on.")
    if to not in TRANSITIONS[row.state]:
        raise IllegalTransitionError(
            f"state: got {to!r}; a run that is {row.state} can become "
            f"{', '.join(sorted(TRANSITIONS[row.state])) or 'nothing else'}."
        )
    connection.execute(
        sa.update(RUNS).where(RUNS.c.id == run).values(state=to, message=message, updated=time.time())
    )


def _delete(connection: Connection, runs: Sequence[str]) -> None:
    if runs:
        for table in (CHUNKS, STATES, CHECKPOINTS, CONTROLS):
            connection.execute(sa.delete(table).where(table.c.run.in_(runs)))
        connection.execute(sa.delete(RUNS).where(RUNS.c.id.in_(runs)))
        for run in runs:  # the questions asked about it, which name it
            connection.execute(sa.delete(JOBS).where(JOBS.c.request.contains(run, autoescape=True)))


def _run(row: Mapping[Any, Any]) -> Run:
    return Run(**{**row, "experiment": Experiment.from_json(row["experiment"])})


def _readable(row: Mapping[Any, Any]) -> Run | None:
    try:
        return _run(row)
    except ExperimentError:
        return None


def _fields(chunk: ChunkRow) -> dict[str, Any]:
    return {f.name: getattr(chunk, f.name) for f in fields(chunk)}
