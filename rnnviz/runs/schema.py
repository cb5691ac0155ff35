"""The store's tables, their version and how an older store is brought up to it. Portable SQL only."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

META = Table(
    "meta", METADATA,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)  # fmt: skip

RUNS = Table(
    "runs", METADATA,
    Column("id", String(32), primary_key=True),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("owner", String(64)),  # SHA-256 of the owner's token, never the token
    Column("experiment", Text, nullable=False),  # JSON, the changes in mid-run included
    Column("kernel", Text),  # JSON: what computed it, written down at the start
    Column("state", String(16), nullable=False),
    Column("message", Text),
    Column("command", String(8), nullable=False),  # what the owner wants: go, pause, stop
    Column("epoch", Integer, nullable=False),  # fencing: only the newest slice may write
    Column("dispatched", Float, nullable=False),  # when the last slice was handed out
    Column("failures", Integer, nullable=False),  # slices lost in a row without progress
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("clipped", Integer, nullable=False),
    Column("train_loss", Float),
    Column("validation_loss", Float),
    Column("validation_accuracy", Float),
    Column("solved_at", Integer),
    Column("rate", Float),  # steps a second in the last slice
    Column("bytes", Integer, nullable=False),
    Column("name", Text),  # its owner's words for it
    Column("deleted", Float),  # when its owner discarded it; it can be restored for a while
    Column("pace", Float),  # steps a second, empty: as fast as it goes
    Column("due", Float, nullable=False, server_default=sa.text("0")),  # no slice is handed out before
    Column("pause_at", Integer),  # the step at which it pauses by itself
    Column("repeats", String(32)),  # the run that it repeats with another seed
    Column("weights", Text),  # JSON, see `Origin`: of first weights that its seed did not draw
    Index("runs_by_state", "state", "dispatched"),
    Index("runs_by_owner", "owner", "created"),
    Index("runs_by_repeated", "repeats"),
)  # fmt: skip

CHUNKS = Table(
    "chunks", METADATA,
    Column("run", String(32), primary_key=True),
    Column("first_step", Integer, primary_key=True),
    Column("last_step", Integer, nullable=False),  # of the points recorded
    Column("next_step", Integer, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("screen", LargeBinary, nullable=False),
    Index("chunks_by_end", "run", "last_step"),
)  # fmt: skip

STATES = Table(
    "states", METADATA,
    Column("run", String(32), primary_key=True),
    Column("step", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
)  # fmt: skip

CHECKPOINTS = Table(
    "checkpoints", METADATA,
    Column("run", String(32), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("parameters", LargeBinary, nullable=False),
    Column("update", LargeBinary),  # where the step after it led and would have led, if that was clipped
)  # fmt: skip

CONTROLS = Table(
    "controls", METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", String(32), nullable=False),
    Column("created", Float, nullable=False),
    Column("field", String(32), nullable=False),
    Column("value", Text, nullable=False),  # JSON
    Column("applied_at", Integer),  # the step at which it came into force
    Index("controls_by_run", "run", "applied_at"),
)  # fmt: skip

JOBS = Table(
    "jobs", METADATA,
    Column("id", String(32), primary_key=True),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("request", Text, nullable=False),  # JSON
    Column("input_hash", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),  # queued, running, finished, cancelled, failed
    Column("message", Text),
    Column("command", String(8), nullable=False),  # go, cancel
    Column("epoch", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("progress", Float, nullable=False),  # 0 to 1
    Column("partial", LargeBinary),  # what the next slice goes on from
    Column("result", LargeBinary),
    Column("priority", Integer, nullable=False, server_default=sa.text("0")),  # higher goes first
    Index("jobs_by_state", "state", "created"),
)  # fmt: skip

#: Processes with an interest in the store: web servers keep the engine alive, the engine reports itself.
PROCESSES = Table(
    "processes", METADATA,
    Column("id", String(32), primary_key=True),
    Column("kind", String(8), nullable=False),  # server, engine
    Column("heard", Float, nullable=False),
    Column("note", Text),
)  # fmt: skip


RECORDED_LESS = (
    "This run was recorded by an older version of the program, which kept less. Train brings it back: "
    "its settings are all here."
)


class NewerStoreError(RuntimeError):
    """The store was written by a newer version of this program."""


def _create(connection: Connection) -> None:
    METADATA.create_all(connection)


def _stepping_and_lists(connection: Connection) -> None:
    """Version 2: runs that are stepped, paced, named, discarded and repeated with other seeds."""
    for column in (
        "name TEXT", "deleted FLOAT", "pace FLOAT", "due FLOAT DEFAULT 0 NOT NULL", "pause_at INTEGER",
        "repeats VARCHAR(32)",
    ):  # fmt: skip
        connection.execute(sa.text(f"ALTER TABLE runs ADD COLUMN {column}"))
    connection.execute(sa.text("CREATE INDEX runs_by_repeated ON runs (repeats)"))
    # Version 1 recorded less of each step. Nothing of a run is lost that training it again would not bring
    # back to the last bit, so its settings stay and its recording goes.
    for table in (CHUNKS, STATES, CHECKPOINTS):
        connection.execute(sa.delete(table))
    connection.execute(
        sa.update(RUNS)
        .where(RUNS.c.step > 0)
        .values(state="stopped", command="stop", bytes=0, message=RECORDED_LESS)
    )


def _priorities_and_updates(connection: Connection) -> None:
    """Version 3: jobs that somebody waits for go before others; what clipping changed is kept."""
    connection.execute(sa.text("ALTER TABLE jobs ADD COLUMN priority INTEGER DEFAULT 0 NOT NULL"))
    blob = sa.types.LargeBinary().compile(dialect=connection.dialect)  # BLOB here, BYTEA there
    name = connection.dialect.identifier_preparer.quote("update")
    connection.execute(sa.text(f"ALTER TABLE checkpoints ADD COLUMN {name} {blob}"))


def _own_weights(connection: Connection) -> None:
    """Version 4: runs whose first weights came from a file."""
    connection.execute(sa.text("ALTER TABLE runs ADD COLUMN weights TEXT"))


#: MIGRATIONS[k] brings a store from version k to version k + 1. Version 0 is an empty database: the first
#: entry makes today's tables, so that a new store needs none of the others.
MIGRATIONS: list[Callable[[Connection], None]] = [
    _create, _stepping_and_lists, _priorities_and_updates, _own_weights,
]  # fmt: skip


def migrate(connection: Connection, migrations: list[Callable[[Connection], None]] | None = None) -> int:
    """Bring the store up to date in the caller's transaction; returns its version."""
    steps = MIGRATIONS if migrations is None else migrations
    present = sa.inspect(connection).has_table("meta")
    version = 0
    if present:
        found = connection.execute(sa.select(META.c.value).where(META.c.key == "schema_version")).scalar()
        version = int(found or 0)
    if version > len(steps):
        raise NewerStoreError(
            f"The store has version {version}; this program knows versions up to {len(steps)}. "
            "Update the program or choose another store."
        )
    for step in steps[version:] if version else steps[:1]:
        step(connection)
    if version < len(steps):
        connection.execute(sa.delete(META).where(META.c.key == "schema_version"))
        connection.execute(sa.insert(META).values(key="schema_version", value=str(len(steps))))
    return len(steps)
