"""Stores that an older version wrote: brought up to date with all that they hold."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from rnnviz.experiment import Experiment
from rnnviz.runs import schema
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.store import Run, Store

#: The tables as version 1 made them, word for word: no later change of the code may change this.
VERSION_1 = """
CREATE TABLE meta ("key" VARCHAR(64) NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE runs (id VARCHAR(32) NOT NULL, created FLOAT NOT NULL, updated FLOAT NOT NULL, owner
VARCHAR(64), experiment TEXT NOT NULL, kernel TEXT, state VARCHAR(16) NOT NULL, message TEXT, command
VARCHAR(8) NOT NULL, epoch INTEGER NOT NULL, dispatched FLOAT NOT NULL, failures INTEGER NOT NULL, step
INTEGER NOT NULL, steps INTEGER NOT NULL, clipped INTEGER NOT NULL, train_loss FLOAT, validation_loss FLOAT,
validation_accuracy FLOAT, solved_at INTEGER, rate FLOAT, bytes INTEGER NOT NULL, PRIMARY KEY (id));
CREATE INDEX runs_by_state ON runs (state, dispatched);
CREATE INDEX runs_by_owner ON runs (owner, created);
CREATE TABLE chunks (run VARCHAR(32) NOT NULL, first_step INTEGER NOT NULL, last_step INTEGER NOT NULL,
next_step INTEGER NOT NULL, record BLOB NOT NULL, screen BLOB NOT NULL, PRIMARY KEY (run, first_step));
CREATE INDEX chunks_by_end ON chunks (run, last_step);
CREATE TABLE states (run VARCHAR(32) NOT NULL, step INTEGER NOT NULL, state BLOB NOT NULL, PRIMARY KEY
(run));
CREATE TABLE checkpoints (run VARCHAR(32) NOT NULL, step INTEGER NOT NULL, parameters BLOB NOT NULL, PRIMARY
KEY (run, step));
CREATE TABLE controls (id INTEGER NOT NULL, run VARCHAR(32) NOT NULL, created FLOAT NOT NULL, field
VARCHAR(32) NOT NULL, value TEXT NOT NULL, applied_at INTEGER, PRIMARY KEY (id));
CREATE INDEX controls_by_run ON controls (run, applied_at);
CREATE TABLE jobs (id VARCHAR(32) NOT NULL, created FLOAT NOT NULL, updated FLOAT NOT NULL, kind VARCHAR(32)
NOT NULL, request TEXT NOT NULL, input_hash VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL, message TEXT,
command VARCHAR(8) NOT NULL, epoch INTEGER NOT NULL, failures INTEGER NOT NULL, progress FLOAT NOT NULL,
partial BLOB, result BLOB, PRIMARY KEY (id), UNIQUE (input_hash));
CREATE INDEX jobs_by_state ON jobs (state, created);
CREATE TABLE processes (id VARCHAR(32) NOT NULL, kind VARCHAR(8) NOT NULL, heard FLOAT NOT NULL, note TEXT,
PRIMARY KEY (id));
"""


def row(state: str, **values: Any) -> dict[str, Any]:
    return {
        "id": f"{state}-run", "created": 100.0, "updated": 200.0, "owner": "a" * 64,
        "experiment": Experiment(task="adding", length=5, steps=100).to_json(), "kernel": "{}",
        "state": state, "message": None, "command": "go", "epoch": 3, "dispatched": 150.0, "failures": 0,
        "step": 0 if state == "queued" else 10, "steps": 100, "clipped": 4, "train_loss": 0.25,
        "validation_loss": None,
        "validation_accuracy": None, "solved_at": None, "rate": 12.5, "bytes": 27, **values,
    }  # fmt: skip


STATES = ("queued", "running", "paused", "finished")


@pytest.fixture
def old(tmp_path: Path) -> str:
    """A file of version 1 with a run in each of four states; returns its URL."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as file:
        file.executescript(VERSION_1)
        file.execute("INSERT INTO meta VALUES ('schema_version', '1')")
        for state in STATES:
            values = row(state)
            marks = ", ".join("?" * len(values))
            file.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({marks})", list(values.values()))
            run = values["id"]
            file.execute("INSERT INTO chunks VALUES (?, 0, 9, 10, X'7272', X'7373')", [run])
            file.execute("INSERT INTO states VALUES (?, 10, X'01')", [run])
            file.execute("INSERT INTO checkpoints VALUES (?, 8, X'02')", [run])
            file.execute("INSERT INTO controls VALUES (NULL, ?, 1.0, 'clip', '\"none\"', NULL)", [run])
        job = ("j", 1.0, 2.0, "sweep", "{}", "hash", "finished", None, "go", 1, 0, 1.0, None, b"answer")
        file.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(job))})", job)
    file.close()
    return f"sqlite:///{path}"


def shape(store: Store) -> dict[str, Any]:
    """Tables, columns and indexes, without their order."""
    inspector = sa.inspect(store.engine)
    return {
        name: (
            {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(name)},
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in inspector.get_indexes(name)),
        )
        for name in inspector.get_table_names()
    }


def test_a_store_that_was_brought_up_has_the_tables_of_a_new_one(old, tmp_path):
    migrated, new = Store(old), Store(f"sqlite:///{tmp_path / 'new.db'}")
    assert shape(migrated) == shape(new)
    migrated.close()
    new.close()


def test_a_store_that_was_brought_up_holds_what_it_held(old):
    store = Store(old)
    for state in STATES:
        run = store.run(f"{state}-run")
        values = row(state)
        if values["step"]:  # version 1 recorded less, which nothing reads any more
            values |= {"state": "stopped", "command": "stop", "bytes": 0, "message": schema.RECORDED_LESS}
        expected = Run(**{**values, "experiment": Experiment.from_json(values["experiment"])})
        assert run == expected
        assert (run.name, run.deleted, run.pace, run.due, run.pause_at, run.repeats) == (
            None, None, None, 0.0, None, None,
        )  # fmt: skip
        assert store.chunks(run.id) == []
        assert (store.state(run.id), store.checkpoints(run.id)) == (None, {})
    assert Jobs(store).job("j").result == b"answer"
    store.close()
    again = Store(old)
    assert len(again.runs()) == len(STATES), "a second opening changes nothing"
    again.close()


def test_what_was_recorded_by_an_older_store_is_said_to_be_gone(old):
    store = Store(old)
    assert store.recover() == 0
    assert store.settle() == set()
    for state in ("running", "paused", "finished"):
        run = store.run(f"{state}-run")
        assert (run.state, run.step) == ("stopped", 10)
        assert "Train brings it back" in run.message
    store.close()


def test_the_runs_of_an_older_store_that_had_not_begun_go_on(old):
    store = Store(old)
    assert store.waiting() == ["queued-run"]
    epoch = store.claim("queued-run")
    orders = store.orders("queued-run", epoch)
    assert [(field, value) for _, field, value in orders.changes] == [("clip", "none")]
    assert (orders.pause_at, orders.pace, orders.due) == (None, None, 0.0)
    assert store.set_pace("queued-run", 1.0) is None
    assert store.discard("finished-run")
    store.close()


def test_an_older_store_may_be_opened_by_many_at_once(old):
    together = threading.Barrier(6)

    def open_it(_: int) -> int:
        together.wait()
        store = Store(old)
        found = len(store.runs())
        store.close()
        return found

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(open_it, range(6))) == [len(STATES)] * 6


def test_the_statements_are_also_those_of_postgresql():
    """Compiled for the other database; the types that are written out are ones that it knows."""
    seen: list[str] = []

    class Connection:
        def execute(self, statement: sa.ClauseElement) -> None:
            seen.append(str(statement.compile(dialect=postgresql.dialect())))

    for migration in schema.MIGRATIONS[1:]:
        migration(Connection())
    assert len(seen) == 11
    known = ("TEXT", "FLOAT", "FLOAT DEFAULT 0 NOT NULL", "INTEGER", "VARCHAR(32)")
    for text in seen:
        if text.startswith("ALTER"):
            assert text.split(maxsplit=6)[:5] == ["ALTER", "TABLE", "runs", "ADD", "COLUMN"]
            assert text.split(maxsplit=6)[6] in known
        else:
            assert text.startswith(("CREATE INDEX ", "DELETE FROM ", "UPDATE runs "))
