"""Jobs: questions about a run that take a while. One table, one mechanism.

A job is known by what it was asked: the same request finds the same row, so that it is answered from the
store the second time. It advances in slices like a run, keeping a partial result between them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .schema import JOBS
from .store import FencedError, Store

OPEN = ("queued", "running")
AT_ONCE = 500  # a query takes so many values at once


@dataclass(frozen=True)
class Job:
    """A row of the job table, see `schema.JOBS`."""

    id: str
    created: float
    updated: float
    kind: str
    request: dict[str, Any]
    input_hash: str
    state: str
    message: str | None
    command: str
    epoch: int
    failures: int
    progress: float
    partial: bytes | None
    result: bytes | None
    priority: int


class Jobs:
    """The jobs of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def ask(self, kind: str, request: Mapping[str, Any], priority: int = 0) -> str:
        """The id of the job that answers this request: a new one, or the one that did or does so already."""
        return self.ask_all(kind, [request], priority)[0]

    def ask_all(self, kind: str, requests: Sequence[Mapping[str, Any]], priority: int = 0) -> list[str]:
        """The ids of the jobs that answer these, all of them asked or none. Higher priorities go first."""
        try:
            return self._ask(kind, requests, priority)
        except sa.exc.IntegrityError:  # somebody else asked the same just now
            return self._ask(kind, requests, priority)

    def find(self, kind: str, request: Mapping[str, Any]) -> Job | None:
        """The job that was asked this, if there is one."""
        return self.find_all(kind, [request])[0]

    def find_all(self, kind: str, requests: Sequence[Mapping[str, Any]]) -> list[Job | None]:
        """The jobs that were asked these, None where there is none."""
        digests = [_digest(kind, request) for request in requests]
        found: dict[str, Job] = {}
        with self.store.read() as connection:
            for start in range(0, len(digests), AT_ONCE):
                query = sa.select(JOBS).where(JOBS.c.input_hash.in_(digests[start : start + AT_ONCE]))
                found |= {row["input_hash"]: _job(row) for row in connection.execute(query).mappings()}
        return [found.get(digest) for digest in digests]

    def _ask(self, kind: str, requests: Sequence[Mapping[str, Any]], priority: int) -> list[str]:
        with self.store.write() as connection:
            return [_asked(connection, kind, request, priority) for request in requests]

    def job(self, job: str) -> Job | None:
        """A job, or None."""
        with self.store.read() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).mappings().first()
        return None if row is None else _job(row)

    def open(self) -> list[str]:
        """Ids of the jobs with work left: those of higher priority, of these the least recently served."""
        query = sa.select(JOBS.c.id).where(JOBS.c.state.in_(OPEN))
        query = query.order_by(JOBS.c.priority.desc(), JOBS.c.updated, JOBS.c.created)
        with self.store.read() as connection:
            return list(connection.execute(query).scalars())

    def cancel(self, *jobs: str) -> None:
        """Ask for the end of jobs; slices under way notice within their own length, what waits is over."""
        with self.store.write() as connection:
            for start in range(0, len(jobs), AT_ONCE):
                some = sa.and_(JOBS.c.id.in_(jobs[start : start + AT_ONCE]), JOBS.c.state.in_(OPEN))
                connection.execute(sa.update(JOBS).where(some).values(command="cancel"))
                waiting = sa.and_(some, JOBS.c.state == "queued")
                over = {"state": "cancelled", "updated": time.time()}
                connection.execute(sa.update(JOBS).where(waiting).values(**over))

    def claim(self, job: str) -> int | None:
        """Hand out the next slice: its epoch, or None when the job is over or cancelled."""
        with self.store.write() as connection:
            row = connection.execute(
                sa.select(JOBS.c.epoch, JOBS.c.command).where(JOBS.c.id == job, JOBS.c.state.in_(OPEN))
            ).first()
            if row is None:
                return None
            if row.command == "cancel":
                over = {"state": "cancelled", "updated": time.time()}
                connection.execute(sa.update(JOBS).where(JOBS.c.id == job).values(**over))
                return None
            connection.execute(
                sa.update(JOBS)
                .where(JOBS.c.id == job)
                .values(epoch=row.epoch + 1, state="running", updated=time.time())
            )
        return int(row.epoch) + 1

    def cancelled(self, job: str, epoch: int) -> bool:
        """For a slice under way: whether to stop. Raises FencedError when a newer slice was handed out."""
        with self.store.read() as connection:
            row = connection.execute(sa.select(JOBS.c.command, JOBS.c.epoch).where(JOBS.c.id == job)).first()
        if row is None or row.epoch != epoch:
            raise FencedError(f"Slice {epoch} of this job is no longer the newest.")
        return bool(row.command == "cancel")

    def report(
        self, job: str, epoch: int, progress: float, partial: bytes | None, result: bytes | None = None
    ) -> None:
        """At a slice's end: how far it is, what to go on from, and the result when that is all."""
        self._update(
            job, epoch, progress=progress, partial=partial, result=result, failures=0,
            state="running" if result is None else "finished",
        )  # fmt: skip

    def fail(self, job: str, epoch: int, message: str) -> None:
        """The job cannot be done; `message` is one sentence."""
        self._update(job, epoch, state="failed", message=message)

    def lost(self, job: str, reason: str, limit: int = 3) -> None:
        """A slice was lost with its worker: try again, at most `limit` times in a row."""
        with self.store.write() as connection:
            row = connection.execute(
                sa.select(JOBS.c.failures, JOBS.c.epoch).where(JOBS.c.id == job, JOBS.c.state == "running")
            ).first()
            if row is not None:
                state = "failed" if row.failures + 1 >= limit else "queued"
                connection.execute(
                    sa.update(JOBS)
                    .where(JOBS.c.id == job)
                    .values(state=state, message=reason, failures=row.failures + 1, epoch=row.epoch + 1)
                )

    def _update(self, job: str, epoch: int, **values: Any) -> None:
        with self.store.write() as connection:
            done = connection.execute(
                sa.update(JOBS)
                .where(JOBS.c.id == job, JOBS.c.epoch == epoch)
                .values(**values, updated=time.time())
            )
            if done.rowcount != 1:
                raise FencedError(f"Slice {epoch} of this job is no longer the newest.")


def _asked(connection: sa.Connection, kind: str, request: Mapping[str, Any], priority: int) -> str:
    digest, now = _digest(kind, request), time.time()
    fresh = {
        "state": "queued", "message": None, "command": "go", "failures": 0, "progress": 0.0,
        "partial": None, "result": None, "updated": now, "priority": priority,
    }  # fmt: skip
    row = connection.execute(
        sa.select(JOBS.c.id, JOBS.c.state, JOBS.c.command, JOBS.c.priority).where(JOBS.c.input_hash == digest)
    ).first()
    if row is None:
        job, text = secrets.token_urlsafe(16), json.dumps(request, sort_keys=True)
        connection.execute(
            sa.insert(JOBS).values(
                id=job, created=now, kind=kind, request=text, input_hash=digest, epoch=0, **fresh
            )
        )
        return job
    if row.state in ("cancelled", "failed"):  # asking again is another try
        if row.state == "cancelled":  # what was done by then is sound
            fresh = {k: v for k, v in fresh.items() if k not in ("progress", "partial")}
        connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(**fresh))
    elif row.state in OPEN:
        # Asked for again: a cancelling that was not carried out yet is no longer wanted, and who asks with
        # the higher priority counts.
        values = {"command": "go", "priority": max(priority, row.priority)}
        connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(**values))
    return str(row.id)


def _job(row: Mapping[Any, Any]) -> Job:
    return Job(**{**row, "request": json.loads(row["request"])})


def _digest(kind: str, request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True)
    return hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()
