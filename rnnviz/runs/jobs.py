"""Jobs: questions about a run that take a while. One table, one mechanism.

A job is known by what it was asked: the same request finds the same row, so that it is answered from the
store the second time. It advances in slices like a run, keeping a partial result between them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .schema import JOBS
from .store import FencedError, Store

OPEN = ("queued", "running")


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


class Jobs:
    """The jobs of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def ask(self, kind: str, request: Mapping[str, Any]) -> str:
        """The id of the job that answers this request: a new one, or the one that did or does so already."""
        try:
            return self._ask(kind, request)
        except sa.exc.IntegrityError:  # somebody else asked the same just now
            return self._ask(kind, request)

    def find(self, kind: str, request: Mapping[str, Any]) -> Job | None:
        """The job that was asked this, if there is one."""
        with self.store.read() as connection:
            query = sa.select(JOBS.c.id).where(JOBS.c.input_hash == _digest(kind, request))
            found = connection.execute(query).scalar()
        return None if found is None else self.job(str(found))

    def _ask(self, kind: str, request: Mapping[str, Any]) -> str:
        text, digest = json.dumps(request, sort_keys=True), _digest(kind, request)
        now = time.time()
        fresh = {
            "state": "queued", "message": None, "command": "go", "failures": 0, "progress": 0.0,
            "partial": None, "result": None, "updated": now,
        }  # fmt: skip
        with self.store.write() as connection:
            row = connection.execute(
                sa.select(JOBS.c.id, JOBS.c.state, JOBS.c.command).where(JOBS.c.input_hash == digest)
            ).first()
            if row is None:
                job = secrets.token_urlsafe(16)
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
            elif row.command == "cancel":  # not carried out yet, and no longer wanted
                connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(command="go"))
            return str(row.id)

    def job(self, job: str) -> Job | None:
        """A job, or None."""
        with self.store.read() as connection:
            row = connection.execute(sa.select(JOBS).where(JOBS.c.id == job)).mappings().first()
        return None if row is None else Job(**{**row, "request": json.loads(row["request"])})

    def open(self) -> list[str]:
        """Ids of the jobs with work left, the least recently served first."""
        query = sa.select(JOBS.c.id).where(JOBS.c.state.in_(OPEN)).order_by(JOBS.c.updated, JOBS.c.created)
        with self.store.read() as connection:
            return list(connection.execute(query).scalars())

    def cancel(self, job: str) -> None:
        """Ask for the end of a job; a slice under way notices within its own length."""
        with self.store.write() as connection:
            connection.execute(
                sa.update(JOBS).where(JOBS.c.id == job, JOBS.c.state.in_(OPEN)).values(command="cancel")
            )

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


def _digest(kind: str, request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True)
    return hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()
