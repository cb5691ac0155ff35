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
from rnnviz.runs import schema, worker
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.store import Run, Store
from rnnviz.runs.worker import advance_slice
from tests.stores import new_store

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
        assert (run.name, run.deleted, run.pace, run.due, run.pause_at, run.repeats, run.weights) == (
            None, None, None, 0.0, None, None, None,
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


#: What version 2 added, word for word.
VERSION_2 = """
ALTER TABLE runs ADD COLUMN name TEXT;
ALTER TABLE runs ADD COLUMN deleted FLOAT;
ALTER TABLE runs ADD COLUMN pace FLOAT;
ALTER TABLE runs ADD COLUMN due FLOAT DEFAULT 0 NOT NULL;
ALTER TABLE runs ADD COLUMN pause_at INTEGER;
ALTER TABLE runs ADD COLUMN repeats VARCHAR(32);
CREATE INDEX runs_by_repeated ON runs (repeats);
"""
TRAINED = Experiment(task="adding", length=5, hidden=4, batch=3, steps=12, clip="norm", clip_threshold=0.1)


def advanced(store: Store, run: str) -> None:
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 1000.0)


def copied(store: Store, path: Path) -> str:
    """The runs and jobs of a store in a file of version 2, which lacks what came later; returns its URL."""
    later = {"checkpoints": {"update"}, "jobs": {"priority"}, "runs": {"weights"}}
    with sqlite3.connect(path) as file, store.read() as connection:
        file.executescript(VERSION_1 + VERSION_2)
        file.execute("INSERT INTO meta VALUES ('schema_version', '2')")
        for table in schema.METADATA.sorted_tables:
            if table.name == "meta":
                continue
            names = [c.name for c in table.columns if c.name not in later.get(table.name, ())]
            into = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            rows = connection.execute(sa.select(*(table.c[name] for name in names)))
            file.executemany(into, [tuple(one) for one in rows])
    file.close()
    return f"sqlite:///{path}"


def test_a_store_of_version_2_keeps_its_runs_and_they_go_on(tmp_path):
    before, whole = (new_store(tmp_path / f"{name}.db") for name in ("before", "whole"))
    run = before.create(TRAINED, pause_at=6, name="mine")
    advanced(before, run)
    job = Jobs(before).ask("evaluate", {"run": run, "step": 6, "sequences": 10})
    store = Store(copied(before, tmp_path / "old.db"))
    assert shape(store) == shape(whole)
    assert store.run(run) == before.run(run)
    assert store.state(run) == before.state(run)
    assert store.chunks(run) == before.chunks(run)
    assert store.checkpoints(run) == before.checkpoints(run)
    assert store.updates(run) == {}, "which was not kept then"
    found = Jobs(store).job(job)
    assert found == Jobs(before).job(job)
    assert found.priority == 0
    store.command(run, "go")
    store.settle()
    advanced(store, run)
    again = whole.create(TRAINED)
    advanced(whole, again)
    assert store.run(run).state == "finished"
    assert store.checkpoints(run) == whole.checkpoints(again), "the same run"
    later = {step: blob for step, blob in whole.updates(again).items() if step >= 6}
    assert store.updates(run) == later != {}
    worker.open_store.cache_clear()
    for one in (before, whole, store):
        one.close()


def test_the_statements_are_also_those_of_postgresql():
    """Compiled for the other database; the types that are written out are ones that it knows."""
    seen: list[str] = []

    class Connection:
        dialect = postgresql.dialect()

        def execute(self, statement: sa.ClauseElement) -> None:
            seen.append(str(statement.compile(dialect=postgresql.dialect())))

    for migration in schema.MIGRATIONS[1:]:
        migration(Connection())
    assert len(seen) == 14
    integer = "INTEGER DEFAULT 0 NOT NULL"
    known = ("BYTEA", "TEXT", "FLOAT", "FLOAT DEFAULT 0 NOT NULL", "INTEGER", integer, "VARCHAR(32)")
    for text in seen:
        if text.startswith("ALTER"):
            words = text.split(maxsplit=6)
            assert [*words[:2], *words[3:5]] == ["ALTER", "TABLE", "ADD", "COLUMN"]
            assert words[2] in ("runs", "jobs", "checkpoints")
            assert words[6] in known
        else:
            assert text.startswith(("CREATE INDEX ", "DELETE FROM ", "UPDATE runs "))
