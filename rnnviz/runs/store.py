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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from ..experiment import CHANGEABLE, MOST_CHANGES, Experiment, ExperimentError, Problem, complaint
from . import schema
from .origin import Origin
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

IN_ORDER = 1e-6  # seconds between runs that are queued together: they are handed out in that order
SLOWEST, FASTEST = 0.1, 1000.0  # steps a second that may be asked for
LONGEST_REST = 60.0  # seconds; who would have to wait longer for its next slice met a clock that was set back
NAME_LENGTH = 80
UNDO_SECONDS = 600.0  # how long a discarded run can be restored


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
    name: str | None = None
    deleted: float | None = None
    pace: float | None = None
    due: float = 0.0
    pause_at: int | None = None
    repeats: str | None = None
    weights: str | None = None

    @property
    def origin(self) -> Origin | None:
        """Where its first weights came from; None for weights that its seed has drawn."""
        return None if self.weights is None else Origin.from_json(self.weights)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


@dataclass(frozen=True)
class New:
    """A run to be queued."""

    experiment: Experiment
    id: str
    pause_at: int | None = None
    repeats: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Repeat:
    """As much of a run that repeats another one as its row tells at a glance."""

    id: str
    state: str
    bytes: int


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
    pause_at: int | None = None  # the step at which to pause
    pace: float | None = None  # steps a second, None: as fast as it goes
    due: float = 0.0  # when the next step of a paced run is due


def store_url() -> str:
    """RNNVIZ_STORE, or a file beside the working directory."""
    return os.environ.get("RNNVIZ_STORE") or f"sqlite:///{Path(DEFAULT_STORE).absolute()}"


def owner_hash(token: str | None) -> str | None:
    """What is stored of an owner's token."""
    return hashlib.sha256(token.encode()).hexdigest() if token else None


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_urlsafe(16)


def due_at(pace: float | None, before: float | None, due: float, now: float) -> float:
    """When the next step is due at a new pace: what was left of the way to it is kept."""
    if pace is None:
        return 0.0
    left = 1.0 if before is None else min(1.0, max(0.0, due - now) * before)
    return now + left / pace


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
        replaces: Sequence[str] = (), *, command: str = "go", pause_at: int | None = None,
        pace: float | None = None, repeats: str | None = None, name: str | None = None,
    ) -> str:  # fmt: skip
        """Queue a run and return its id, which nobody can guess. `owner` is the token's hash.

        The runs of the same owner that it `replaces` are told to stop in the same transaction, and so are
        their repeats. A caller that may be interrupted at any moment makes the id itself, with `new_id`, and
        remembers it first. With the command "pause" the run waits at its start; `repeats` is the run that it
        repeats with another seed.
        """
        run = run or new_id()
        new = New(experiment, run, pause_at, repeats, name)
        self.create_all([new], owner, replaces, command=command, pace=pace)
        return run

    def create_all(
        self, new: Sequence[New], owner: str | None = None, replaces: Sequence[str] = (), *,
        command: str = "go", pace: float | None = None,
    ) -> None:  # fmt: skip
        """Queue several runs, all of them or, should it fail, none."""
        if command not in ("go", "pause"):
            raise ValueError(f"command: got {command!r}; allowed: go, pause.")
        if problem := _pace_problem(pace):
            raise ValueError(str(problem))
        now = time.time()
        with self.write() as connection:
            connection.execute(
                sa.update(RUNS)
                .where(_with_repeats(replaces), RUNS.c.owner == owner, RUNS.c.state.not_in(ENDED))
                .values(command="stop")
            )
            for k, run in enumerate(new):
                connection.execute(
                    sa.insert(RUNS).values(
                        id=run.id, created=now + k * IN_ORDER, updated=now, owner=owner,
                        experiment=run.experiment.to_json(), state="queued", command=command, epoch=0,
                        dispatched=0.0, failures=0, step=0, steps=run.experiment.steps, clipped=0, bytes=0,
                        name=tidy(run.name or ""), pace=pace, due=0.0, pause_at=run.pause_at,
                        repeats=run.repeats,
                    )
                )  # fmt: skip

    def run(self, run: str, discarded: bool = False) -> Run | None:
        """A run, or None when there is none of that id; one that was discarded only if that is asked for.

        Raises ExperimentError when this version of the program cannot read its experiment.
        """
        query = sa.select(RUNS).where(RUNS.c.id == run)
        with self.read() as connection:
            row = connection.execute(
                query if discarded else query.where(RUNS.c.deleted.is_(None))
            ).mappings().first()  # fmt: skip
        return None if row is None else _run(row)

    def runs(
        self, states: Sequence[str] | None = None, owner: str | None = None, limit: int = 1000
    ) -> list[Run]:
        """Runs, the least recently served first when states are given, else the newest first.

        Discarded runs are left out, and those whose experiment this version cannot read.
        """
        query = sa.select(RUNS).where(RUNS.c.deleted.is_(None)).limit(limit)
        if owner is not None:
            query = query.where(RUNS.c.owner == owner)
        if states is None:
            query = query.order_by(RUNS.c.created.desc())
        else:
            query = query.where(RUNS.c.state.in_(states)).order_by(RUNS.c.dispatched, RUNS.c.created)
        with self.read() as connection:
            return [run for row in connection.execute(query).mappings() if (run := _readable(row))]

    def repeating(self, runs: Sequence[str]) -> list[Repeat]:
        """What repeats any of these runs, without those discarded.

        It reads no experiments: a page asks with every drawing.
        """
        columns = [RUNS.c[f.name] for f in fields(Repeat)]
        query = sa.select(*columns).where(RUNS.c.repeats.in_(runs), RUNS.c.deleted.is_(None))
        with self.read() as connection:
            return [Repeat(*row) for row in connection.execute(query)]

    def repeats_of(self, run: str) -> list[Run]:
        """The runs that repeat this one with other seeds, the oldest first, without those discarded."""
        query = sa.select(RUNS).where(RUNS.c.repeats == run, RUNS.c.deleted.is_(None))
        with self.read() as connection:
            rows = connection.execute(query.order_by(RUNS.c.created)).mappings()
            return [found for row in rows if (found := _readable(row))]

    def waiting(self) -> list[str]:
        """Ids of the runs that are to go on now, the least recently served first."""
        query = sa.select(RUNS.c.id).where(_to_go_on(), _is_due(time.time()))
        with self.read() as connection:
            return list(connection.execute(query.order_by(RUNS.c.dispatched, RUNS.c.created)).scalars())

    def next_due(self) -> float | None:
        """When the next of the paced runs that wait for their time may go on; None when none waits."""
        query = sa.select(sa.func.min(RUNS.c.due)).where(_to_go_on(), sa.not_(_is_due(time.time())))
        with self.read() as connection:
            return connection.execute(query).scalar()

    def command(self, run: str, command: str) -> bool:
        """Ask for go, pause or stop of a run and its repeats, which the engine carries out.

        False when none of them is under way. "go" forgets a step at which the run was to pause.
        """
        if command not in ("go", "pause", "stop"):
            raise ValueError(f"command: got {command!r}; allowed: go, pause, stop.")
        values: dict[str, Any] = {"command": command}
        if command == "go":  # a run that rests begins at once, whatever its pace
            at_once = sa.case((RUNS.c.state == "paused", sa.literal(0.0, sa.Float)), else_=RUNS.c.due)
            values |= {"pause_at": None, "due": at_once}
        with self.write() as connection:
            done = connection.execute(
                sa.update(RUNS)
                .where(_with_repeats([run]), RUNS.c.state.not_in(ENDED), RUNS.c.command != "stop")
                .values(values)
            )
        return done.rowcount > 0

    def step_on(self, run: str, steps: int = 1) -> bool:
        """Let a run that rests, and its repeats, make so many steps and rest again; False when none rests.

        Asking again while it makes the steps adds to them, so that no click is lost.
        """
        if steps < 1:
            raise ValueError(f"steps: got {steps!r}; allowed: a whole number from 1.")
        done = False
        with self.write() as connection:
            mine = sa.select(RUNS).where(_with_repeats([run]), RUNS.c.state.not_in(ENDED))
            for row in connection.execute(mine.with_for_update()).all():
                if row.command == "pause" and row.state in ("paused", "queued"):  # no slice is at work
                    begin = row.step
                elif row.command == "go" and row.pause_at is not None:
                    begin = max(row.step, row.pause_at)
                else:
                    continue
                done = True
                connection.execute(
                    sa.update(RUNS)
                    .where(RUNS.c.id == row.id)
                    .values(command="go", pause_at=min(begin + steps, row.steps), due=0.0)
                )
        return done

    def set_pace(self, run: str, pace: float | None) -> Problem | None:
        """Ask for so many steps a second, None for as fast as it goes; a Problem when that is not possible.

        Its repeats keep the same pace. What is left of the wait for the next step is stretched or shortened,
        so that it is felt at once.
        """
        if problem := _pace_problem(pace):
            return problem
        now = time.time()
        with self.write() as connection:
            mine = sa.select(RUNS.c.id, RUNS.c.pace, RUNS.c.due).where(
                _with_repeats([run]), RUNS.c.state.not_in(ENDED)
            )
            rows = connection.execute(mine.with_for_update()).all()
            for row in rows:
                due = due_at(pace, row.pace, row.due, now)
                connection.execute(sa.update(RUNS).where(RUNS.c.id == row.id).values(pace=pace, due=due))
        return None if rows else Problem("pace", pace, "the run has ended.")

    def change(self, run: str, field: str, value: Any) -> Problem | None:
        """Ask for another value of a changeable field in mid-run; a Problem when that is not possible.

        Its repeats change as well, each at the step where it is, so that they still differ by the seed alone.
        """
        if field not in CHANGEABLE:
            return Problem(field, value, f"only {', '.join(CHANGEABLE)} may change in mid-run.")
        wrong = complaint(field, value)
        if wrong:
            return Problem(field, value, wrong)
        with self.write() as connection:
            mine = sa.select(RUNS).where(_with_repeats([run]), RUNS.c.state.not_in(ENDED))
            runs = {
                row["id"]: found for row in connection.execute(mine).mappings() if (found := _readable(row))
            }
            pending = sa.select(sa.func.count()).where(CONTROLS.c.applied_at.is_(None))
            for one, found in runs.items():
                waiting = connection.execute(pending.where(CONTROLS.c.run == one)).scalar_one()
                if len(found.experiment.changes) + waiting >= MOST_CHANGES:
                    return Problem(field, value, f"a run may change at most {MOST_CHANGES} times.")
                try:
                    found.experiment.with_change(found.step, field, value)
                except ExperimentError as error:
                    other = error.problems[0]
                    has = f"this run has {other.field} = {other.value}, and {other.allowed}"
                    return Problem(field, value, f"that does not go with the other settings: {has}")
            for one in runs:
                connection.execute(
                    sa.insert(CONTROLS).values(
                        run=one, created=time.time(), field=field, value=json.dumps(value)
                    )
                )
        return None if runs else Problem(field, value, "the run has ended.")

    def rename(self, run: str, name: str) -> bool:
        """Give a run a name, the empty one to take it away; False when there is no such run."""
        with self.write() as connection:
            done = connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(name=tidy(name)))
        return done.rowcount == 1

    def discard(self, run: str) -> bool:
        """Stop a run and its repeats and put them aside: until they are restored or, minutes later, gone."""
        mine = _with_repeats([run])
        with self.write() as connection:
            connection.execute(sa.update(RUNS).where(mine, RUNS.c.state.not_in(ENDED)).values(command="stop"))
            done = connection.execute(
                sa.update(RUNS).where(mine, RUNS.c.deleted.is_(None)).values(deleted=time.time())
            )
        return done.rowcount > 0

    def restore(self, run: str) -> bool:
        """Take back the discarding of a run, and of the repeats that went with it; False when it is too late.

        One that was under way has been stopped by it.
        """
        with self.write() as connection:
            deleted = connection.execute(sa.select(RUNS.c.deleted).where(RUNS.c.id == run)).scalar()
            if deleted is None:
                return False
            connection.execute(
                sa.update(RUNS).where(_with_repeats([run]), RUNS.c.deleted == deleted).values(deleted=None)
            )
        return True

    def delete(self, run: str) -> None:
        """Forget a run, its repeats and everything they recorded."""
        with self.write() as connection:
            _delete(
                connection, connection.execute(sa.select(RUNS.c.id).where(_with_repeats([run]))).scalars()
            )

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

    def records(self, run: str, most: int) -> tuple[list[bytes], bool]:
        """Full records of a run, about `most` bytes of them, evenly chosen; and whether these are all."""
        of_run = sa.and_(CHUNKS.c.run == run, sa.func.length(CHUNKS.c.record) > 0)
        sizes = sa.select(CHUNKS.c.first_step, sa.func.length(CHUNKS.c.record)).where(of_run)
        found: list[bytes] = []
        with self.read() as connection:
            rows = connection.execute(sizes.order_by(CHUNKS.c.first_step)).all()
            every = max(1, -(-sum(row[1] for row in rows) // most))
            chosen = [row[0] for row in rows[::every]]
            for start in range(0, len(chosen), 500):  # a query takes so many values at once
                some = CHUNKS.c.first_step.in_(chosen[start : start + 500])
                query = sa.select(CHUNKS.c.record).where(of_run, some).order_by(CHUNKS.c.first_step)
                found += connection.execute(query).scalars()
        return found, every == 1

    def updates(self, run: str, after: int = -1) -> dict[int, bytes]:
        """Of checkpoints after a step: where the step that followed led, if it was clipped."""
        query = sa.select(CHECKPOINTS.c.step, CHECKPOINTS.c.update)
        query = query.where(
            CHECKPOINTS.c.run == run, CHECKPOINTS.c.step > after, CHECKPOINTS.c.update.is_not(None)
        )
        with self.read() as connection:
            return {step: blob for step, blob in connection.execute(query.order_by(CHECKPOINTS.c.step))}

    def checkpoint_steps(self, run: str) -> list[int]:
        """The steps at which parameters were kept, ascending."""
        query = sa.select(CHECKPOINTS.c.step).where(CHECKPOINTS.c.run == run).order_by(CHECKPOINTS.c.step)
        with self.read() as connection:
            return list(connection.execute(query).scalars())

    def checkpoint(self, run: str, step: int) -> bytes | None:
        """The parameters that were kept at a step, or None."""
        query = sa.select(CHECKPOINTS.c.parameters)
        with self.read() as connection:
            return connection.execute(
                query.where(CHECKPOINTS.c.run == run, CHECKPOINTS.c.step == step)
            ).scalar()

    # The engine -------------------------------------------------------------------------------------

    def claim(self, run: str) -> int | None:
        """Hand out the next slice: the new epoch, or None when the run should not go on now."""
        now = time.time()
        with self.write() as connection:
            epoch = connection.execute(
                sa.select(RUNS.c.epoch).where(RUNS.c.id == run, _to_go_on(), _is_due(now))
            ).scalar()
            if epoch is None:
                return None
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

    def settle(self, busy: Collection[str] = ()) -> set[str]:
        """Carry out commands for runs that no slice is working on; `busy` are those that one is.

        Returns those of the busy ones whose slice has been told to stop and has not done so yet.
        """
        wanted = sa.or_(
            sa.and_(RUNS.c.command == "stop", RUNS.c.state.in_(("queued", "paused", "running"))),
            sa.and_(RUNS.c.command == "pause", RUNS.c.state.in_(ACTIVE)),
            sa.and_(RUNS.c.command == "go", RUNS.c.state == "paused"),
        )
        query = sa.select(RUNS.c.id, RUNS.c.command).where(wanted)
        with self.read() as connection:  # nearly always empty: no lock is taken for nothing
            rows = connection.execute(query).all()
        found = [row for row in rows if row.id not in busy]
        if found:
            with self.write() as connection:
                for row in connection.execute(query.where(RUNS.c.id.in_([row.id for row in found]))).all():
                    to = {"stop": "stopped", "pause": "paused", "go": "queued"}[row.command]
                    _move(connection, row.id, to, None, None)
        return {row.id for row in rows if row.id in busy and row.command == "stop"}

    def overrule(self, run: str) -> bool:
        """Stop a run whose slice does not answer, behind a new fence: should it wake up, it is refused."""
        with self.write() as connection:
            done = connection.execute(
                sa.update(RUNS)
                .where(RUNS.c.id == run, RUNS.c.state == "running", RUNS.c.command == "stop")
                .values(state="stopped", epoch=RUNS.c.epoch + 1, updated=time.time())
            )
        return done.rowcount == 1

    def prune(self, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE) -> list[str]:
        """Delete ended runs that are too old, then others until the rest fits; returns their ids.

        The others are the oldest of whoever keeps most, so that nobody can push out what others keep. Ended
        repeats go with what they repeat. So does what was discarded and can no longer be restored, and
        processes that were not heard for so long are forgotten.
        """
        with self.write() as connection:
            over = RUNS.c.deleted < time.time() - UNDO_SECONDS
            gone = list(connection.execute(sa.select(RUNS.c.id).where(over)).scalars())
            connection.execute(
                sa.delete(JOBS).where(
                    JOBS.c.state.not_in(("queued", "running")), JOBS.c.updated < time.time() - max_age
                )
            )
            # Runs under way do not count: no ended run should have to go for them.
            kept = connection.execute(
                sa.select(RUNS.c.id, RUNS.c.owner, RUNS.c.updated, RUNS.c.bytes, RUNS.c.repeats)
                .where(RUNS.c.state.in_(ENDED), RUNS.c.id.not_in(gone))
                .order_by(RUNS.c.updated)
            ).all()
            left = {row.id: row for row in kept}
            held: dict[str | None, int] = {}
            for row in kept:
                held[row.owner] = held.get(row.owner, 0) + row.bytes

            def drop(run: str) -> None:
                for one in [row for row in left.values() if run in (row.id, row.repeats)]:
                    gone.append(one.id)
                    held[one.owner] -= one.bytes
                    del left[one.id]

            for row in kept:
                if row.id in left and row.updated < time.time() - max_age:
                    drop(row.id)
            while left and sum(held.values()) > max_bytes:
                most = max(held.values())  # of several who keep as much, the oldest run goes
                drop(next(row.id for row in left.values() if held[row.owner] == most))
            _delete(connection, gone)
            connection.execute(sa.delete(PROCESSES).where(PROCESSES.c.heard < time.time() - max_age))
        return gone

    # A slice ----------------------------------------------------------------------------------------

    def orders(self, run: str, epoch: int) -> Orders:
        """What the owner wants now; raises FencedError when this slice is no longer the newest."""
        with self.read() as connection:
            row = connection.execute(
                sa.select(
                    RUNS.c.command, RUNS.c.epoch, RUNS.c.state, RUNS.c.pause_at, RUNS.c.pace, RUNS.c.due
                ).where(RUNS.c.id == run)
            ).first()
            if row is None or row.epoch != epoch or row.state != "running":
                raise FencedError(f"Slice {epoch} of this run is no longer the newest.")
            pending = connection.execute(
                sa.select(CONTROLS.c.id, CONTROLS.c.field, CONTROLS.c.value)
                .where(CONTROLS.c.run == run, CONTROLS.c.applied_at.is_(None))
                .order_by(CONTROLS.c.id)
            ).all()
        changes = tuple((i, field, json.loads(value)) for i, field, value in pending)
        return Orders(row.command, changes, row.pause_at, row.pace, row.due)

    def resume(self, run: str, epoch: int, step: int) -> int:
        """Before a slice goes on from `step`: what was recorded beyond the state is made again.

        Returns the step up to which that is: what has been shown and ordered so far lies before it.
        """
        with self.write() as connection:
            _fence(connection, run, epoch)
            for table, beyond, blobs in (
                (CHUNKS, CHUNKS.c.first_step >= step, (CHUNKS.c.record, CHUNKS.c.screen)),
                (CHECKPOINTS, CHECKPOINTS.c.step > step, (CHECKPOINTS.c.parameters, CHECKPOINTS.c.update)),
            ):
                lengths = [sa.func.coalesce(sa.func.length(blob), 0) for blob in blobs]
                size = sa.select(sa.func.coalesce(sa.func.sum(reduce(add, lengths)), 0))
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
        *, paced: tuple[float, float] | None = None, paused_at: int | None = None,
        updates: Mapping[int, bytes] | None = None,
    ) -> None:  # fmt: skip
        """One transaction: a chunk, the run's columns, the controls it applied (id to step), checkpoints,
        what was clipped right after them, and at a slice's end the full state and perhaps a new state of
        the run.

        `paced` is the pace that the slice kept and when the next step is due by it; `paused_at` the step at
        which it pauses because it was to. Neither overrules what the owner has asked for since.
        """
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
            for step, update in (updates or {}).items():
                one = sa.and_(CHECKPOINTS.c.run == run, CHECKPOINTS.c.step == step)
                first = sa.and_(one, CHECKPOINTS.c.update.is_(None))  # what is repeated is the same again
                added = connection.execute(sa.update(CHECKPOINTS).where(first).values(update=update))
                size += len(update) * added.rowcount
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
            if paced is not None:
                pace, due = paced
                connection.execute(
                    sa.update(RUNS).where(RUNS.c.id == run, RUNS.c.pace == pace).values(due=due)
                )
            if paused_at is not None:
                connection.execute(
                    sa.update(RUNS)
                    .where(RUNS.c.id == run, RUNS.c.command == "go", RUNS.c.pause_at == paused_at)
                    .values(command="pause", pause_at=None)
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


def tidy(name: str) -> str | None:
    """A name as it is kept: on one line, not too long, without what no text holds; None for no name."""
    return (
        " ".join("".join(c for c in name if c.isprintable() or c.isspace()).split())[:NAME_LENGTH].rstrip()
        or None
    )


def _pace_problem(pace: Any) -> Problem | None:
    number = isinstance(pace, int | float) and not isinstance(pace, bool)
    if pace is None or (number and SLOWEST <= pace <= FASTEST):
        return None
    span = f"allowed: steps a second from {SLOWEST:g} to {FASTEST:g}, or None for as fast as it goes."
    return Problem("pace", pace, span)


def _with_repeats(runs: Sequence[str]) -> sa.ColumnElement[bool]:
    """These runs and those that repeat them."""
    return RUNS.c.id.in_(runs) | RUNS.c.repeats.in_(runs)


def _to_go_on() -> sa.ColumnElement[bool]:
    return sa.and_(RUNS.c.state.in_(ACTIVE), RUNS.c.command == "go")


def _is_due(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(RUNS.c.due <= now, RUNS.c.due > now + LONGEST_REST)


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


def _delete(connection: Connection, runs: Iterable[str]) -> None:
    if runs := list(runs):
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
