"""The store: what may happen to a run and what may not, fences, quotas, versions, a full disk."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from rnnviz.clipping import CLIPPINGS
from rnnviz.experiment import CHANGEABLE, Experiment
from rnnviz.runs import schema
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.schema import (
    CHECKPOINTS,
    CHUNKS,
    CONTROLS,
    JOBS,
    META,
    METADATA,
    PROCESSES,
    RUNS,
    STATES,
    NewerStoreError,
)  # fmt: skip
from rnnviz.runs.store import (
    ACTIVE,
    ENDED,
    LONGEST_REST,
    TRANSITIONS,
    UNDO_SECONDS,
    ChunkRow,
    FencedError,
    IllegalTransitionError,
    New,
    Run,
    Store,
    StoreFullError,
    owner_hash,
    store_url,
)  # fmt: skip
from tests.stores import new_store

ROOT = Path(__file__).parents[1]
EXPERIMENT = Experiment(task="adding", length=5, steps=100)
OF_A_RUN = (CHUNKS, STATES, CHECKPOINTS, CONTROLS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    store.close()


def row_of(store: Store, run: str) -> Run:
    found = store.run(run)
    assert found is not None
    return found


def chunk(first: int, last: int, following: int | None = None, size: int = 10) -> ChunkRow:
    return ChunkRow(first, last, last + 1 if following is None else following, b"r" * size, b"s" * size)


def nothing(step: int) -> ChunkRow:
    return ChunkRow(step, step, step, b"", b"")


def wrote(store: Store, run: str, epoch: int, first: int, last: int, **options: Any) -> None:
    """A slice's write, by default in the middle of the slice."""
    options = {"values": {"step": last + 1}, "applied": {}, "checkpoints": {}, **options}
    store.append(run, epoch, chunk(first, last), **options)


def in_state(store: Store, state: str) -> str:
    """A run that got to this state on legal ways."""
    run = store.create(EXPERIMENT)
    if state == "queued":
        return run
    if state != "running":
        epoch = store.claim(run)
        store.move(run, state, epoch=epoch)
    else:
        store.claim(run)
    assert row_of(store, run).state == state
    return run


def everything(store: Store) -> dict[str, list]:
    """Every row of every table."""
    with store.read() as connection:
        return {
            name: [tuple(row) for row in connection.execute(sa.select(table))]
            for name, table in METADATA.tables.items()
        }


def kept_bytes(store: Store, run: str) -> int:
    """The size of everything that is kept of a run, measured."""
    blobs = (CHUNKS.c.record, CHUNKS.c.screen, STATES.c.state, CHECKPOINTS.c.parameters)
    with store.read() as connection:
        return sum(
            len(blob)
            for column in blobs
            for blob in connection.execute(sa.select(column).where(column.table.c.run == run)).scalars()
        )


# Runs and their owners


def test_a_new_run_waits_with_all_that_was_asked(store):
    run = row_of(store, store.create(EXPERIMENT, owner_hash("token")))
    assert (run.state, run.command, run.epoch, run.step, run.steps) == ("queued", "go", 0, 0, 100)
    assert run.experiment == EXPERIMENT
    assert run.owner == hashlib.sha256(b"token").hexdigest()
    assert (run.clipped, run.failures, run.bytes, run.rate, run.message) == (0, 0, 0, None, None)
    assert not run.ended
    assert store.run("no such run") is None
    assert store.state(run.id) is None
    assert store.chunks(run.id) == store.screens(run.id) == []
    assert store.checkpoints(run.id) == {}
    assert store.newest(run.id) == -1


def test_ids_cannot_be_guessed_and_go_into_a_path(store):
    ids = {store.create(EXPERIMENT) for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"[\w-]{22}", run) for run in ids), "16 random bytes"


def test_the_token_of_an_owner_is_nowhere_in_the_files(store, tmp_path):
    token = "5f2b8c1d9e3a4f60718293a4b5c6d7e8"
    run = store.create(EXPERIMENT, owner_hash(token))
    store.adopt(owner_hash(token), owner_hash(token + "2"))
    store.command(run, "pause")
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in files
    assert hashlib.sha256(f"{token}2".encode()).hexdigest().encode() in files
    assert owner_hash(None) is owner_hash("") is None


def test_lists_show_the_newest_first_and_by_owner(store):
    ids = [store.create(EXPERIMENT, owner) for owner in ("a", "b", "a", None)]
    assert [run.id for run in store.runs()] == ids[::-1]
    assert [run.id for run in store.runs(owner="a")] == [ids[2], ids[0]]
    assert [run.id for run in store.runs(limit=2)] == [ids[3], ids[2]]
    store.claim(ids[0])
    assert [run.id for run in store.runs(("queued",))] == ids[1:]
    assert [run.id for run in store.runs(ACTIVE)] == [*ids[1:], ids[0]], "the longest waiting first"
    assert store.runs(("running",), owner="b") == []


def test_the_longest_waiting_is_served_first_and_knows_its_place(store):
    ids = [store.create(EXPERIMENT) for _ in range(4)]
    assert store.waiting() == ids
    for run in (ids[1], ids[0]):
        store.claim(run)
        store.lost(run, "")
    assert store.waiting() == [ids[2], ids[3], ids[1], ids[0]]
    assert [store.ahead(row_of(store, run)) for run in store.waiting()] == [0, 1, 2, 3]
    store.claim(ids[2])
    assert store.ahead(row_of(store, ids[3])) == 0, "a running one is not waited for"
    assert store.waiting()[-1] == ids[2], "but it goes on after the others"
    store.command(ids[3], "pause")
    assert ids[3] not in store.waiting()
    store.command(ids[3], "stop")
    assert ids[3] not in store.waiting()


def test_adopting_hands_over_the_runs_of_one_owner_only(store):
    ids = [store.create(EXPERIMENT, owner) for owner in ("session", "other", "session")]
    store.adopt("session", "browser")
    assert [row_of(store, run).owner for run in ids] == ["browser", "other", "browser"]


def test_a_run_that_this_version_cannot_read_hides_no_other(store):
    bad, good = store.create(EXPERIMENT), store.create(EXPERIMENT)
    with store.write() as connection:
        connection.execute(
            sa.update(RUNS).where(RUNS.c.id == bad).values(experiment='{"cell": "of tomorrow"}')
        )
    assert [run.id for run in store.runs()] == [run.id for run in store.runs(ACTIVE)] == [good]
    assert store.waiting() == [bad, good], "so that it is tried, and fails with a sentence"


# Transitions


@pytest.mark.parametrize("to", TRANSITIONS)
@pytest.mark.parametrize("state", TRANSITIONS)
def test_the_table_of_transitions_is_held(store, state, to):
    run = in_state(store, state)
    before = row_of(store, run)
    if to in TRANSITIONS[state]:
        store.move(run, to, "Why.")
        after = row_of(store, run)
        assert (after.state, after.message) == (to, "Why.")
    else:
        with pytest.raises(IllegalTransitionError) as caught:
            store.move(run, to, "Why.")
        ways = ", ".join(sorted(TRANSITIONS[state])) or "nothing else"
        assert str(caught.value) == f"state: got {to!r}; a run that is {state} can become {ways}."
        assert row_of(store, run) == before


def test_the_table_is_the_drawing():
    assert {state: set(following) for state, following in TRANSITIONS.items()} == {
        "queued": {"running", "paused", "stopped", "failed"},
        "running": {"queued", "paused", "finished", "stopped", "diverged", "failed"},
        "paused": {"queued", "stopped"},
        "finished": set(), "stopped": set(), "diverged": set(), "failed": set(),
    }  # fmt: skip
    assert set(ENDED) == {"finished", "stopped", "diverged", "failed"}


def test_a_move_is_refused_to_an_old_slice_and_for_no_run(store):
    run = in_state(store, "running")
    store.claim(run)
    with pytest.raises(FencedError):
        store.move(run, "finished", epoch=1)
    with pytest.raises(FencedError):
        store.move("no such run", "stopped")
    assert row_of(store, run).state == "running"
    store.move(run, "finished", epoch=2)


# Slices


def test_a_claim_opens_a_new_epoch(store):
    run = store.create(EXPERIMENT)
    assert [store.claim(run) for _ in range(3)] == [1, 2, 3]
    row = row_of(store, run)
    assert (row.state, row.epoch) == ("running", 3)
    assert row.dispatched >= row.created


@pytest.mark.parametrize("state", [*sorted(ENDED), "paused"])
def test_what_does_not_go_on_is_not_claimed(store, state):
    run = in_state(store, state)
    before = row_of(store, run)
    assert store.claim(run) is None
    assert row_of(store, run) == before


@pytest.mark.parametrize("command", ["stop", "pause"])
@pytest.mark.parametrize("state", ACTIVE)
def test_what_shall_not_go_on_is_not_claimed(store, state, command):
    run = in_state(store, state)
    store.command(run, command)
    assert store.claim(run) is None
    assert store.claim("no such run") is None


def test_a_slice_writes_everything_at_once(store):
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    assert store.change(run, "learning_rate", 0.5) is None
    ((control, _, _),) = store.orders(run, epoch).changes
    values = {"step": 10, "clipped": 4, "train_loss": 0.25, "validation_loss": None, "rate": 99.5}
    store.append(run, epoch, chunk(0, 9), values, {control: 7}, {0: b"zero", 4: b"four"}, b"state")
    row = row_of(store, run)
    assert (row.step, row.clipped, row.train_loss, row.validation_loss, row.rate) == (10, 4, 0.25, None, 99.5)
    assert row.state == "running"
    assert store.chunks(run) == [chunk(0, 9)]
    assert store.screens(run) == [(9, b"s" * 10)]
    assert store.checkpoints(run) == {0: b"zero", 4: b"four"}
    assert store.state(run) == b"state"
    assert store.newest(run) == 9
    assert store.orders(run, epoch).changes == ()
    with store.read() as connection:
        assert connection.execute(sa.select(CONTROLS.c.applied_at)).scalar() == 7
        assert connection.execute(sa.select(STATES.c.step)).scalar() == 10
    store.append(run, epoch, nothing(10), {}, {}, {}, b"later", "finished", "Done.")
    row = row_of(store, run)
    assert (row.state, row.message) == ("finished", "Done.")
    assert store.chunks(run) == [chunk(0, 9)], "an empty chunk is none"
    assert store.state(run) == b"later"
    assert row.bytes == kept_bytes(store, run)


def test_chunks_after_a_step(store):
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    for first in (0, 10, 20):
        wrote(store, run, epoch, first, first + 9)
    assert [c.first_step for c in store.chunks(run)] == [0, 10, 20]
    assert [c.first_step for c in store.chunks(run, 8)] == [0, 10, 20]
    assert [c.first_step for c in store.chunks(run, 9)] == [10, 20]
    assert [last for last, _ in store.screens(run, 10)] == [19, 29]
    assert store.chunks(run, 29) == store.screens(run, 29) == []


def old_slice_attempts(store: Store, run: str) -> dict[str, Any]:
    return {
        "append": lambda: store.append(
            run, 1, chunk(10, 19), {"step": 20}, {1: 12}, {16: b"p"}, b"old", "finished", "Old."
        ),
        "resume": lambda: store.resume(run, 1, 0),
        "orders": lambda: store.orders(run, 1),
        "move": lambda: store.move(run, "finished", epoch=1),
    }


@pytest.mark.parametrize("attempt", ["append", "resume", "orders", "move"])
@pytest.mark.parametrize("event", ["claimed again", "lost", "recovered", "deleted"])
def test_an_old_slice_does_nothing_more(store, event, attempt):
    run = store.create(EXPERIMENT)
    store.claim(run)
    wrote(store, run, 1, 0, 9, checkpoints={0: b"p"}, state=b"good")
    store.change(run, "clip", "none")
    if event == "claimed again":
        store.claim(run)
    elif event == "lost":
        store.lost(run, "gone")
    elif event == "recovered":
        store.recover()
    else:
        store.delete(run)
    before = everything(store)
    with pytest.raises(FencedError):
        old_slice_attempts(store, run)[attempt]()
    assert everything(store) == before


@pytest.mark.parametrize("state", [*sorted(ENDED), "paused"])
@pytest.mark.parametrize("attempt", ["append", "resume", "orders"])
def test_a_slice_of_a_run_that_was_taken_out_of_work_does_nothing_more(store, state, attempt):
    """The engine settled it, or the owner did, while the slice was on its way."""
    run = in_state(store, state)
    assert row_of(store, run).epoch == 1
    before = everything(store)
    with pytest.raises(FencedError):
        old_slice_attempts(store, run)[attempt]()
    assert everything(store) == before


def test_a_transaction_that_fails_at_its_end_leaves_nothing(store):
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    store.change(run, "clip", "none")
    before = everything(store)
    with pytest.raises(IllegalTransitionError):
        store.append(
            run, epoch, chunk(0, 9), {"step": 10}, {1: 3}, {0: b"p"}, b"state", "running"
        )  # the last thing it does
    assert everything(store) == before


def test_going_on_removes_what_lies_beyond_the_state(store):
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    wrote(store, run, epoch, 0, 9, checkpoints={0: b"0", 8: b"8", 10: b"10"}, state=b"state at 10")
    wrote(store, run, epoch, 10, 15, checkpoints={12: b"12"})
    wrote(store, run, epoch, 16, 19, checkpoints={20: b"20"})
    other = store.create(EXPERIMENT)
    wrote(store, other, store.claim(other), 0, 29, checkpoints={24: b"24"})
    store.lost(run, "gone")
    epoch = store.claim(run)
    assert row_of(store, run).bytes > (before := 2 * 10 + 4 + len(b"state at 10"))
    shown = store.resume(run, epoch, 10)
    assert shown == 20, "up to here it has been shown"
    assert store.chunks(run) == [chunk(0, 9)]
    assert store.checkpoints(run) == {0: b"0", 8: b"8", 10: b"10"}
    assert store.state(run) == b"state at 10"
    assert row_of(store, run).bytes == before == kept_bytes(store, run)
    assert store.newest(run) == 9
    assert store.chunks(other) == [chunk(0, 29)]
    assert store.checkpoints(other) == {24: b"24"}
    # The same again, from the start: nothing is left.
    assert store.resume(run, epoch, 0) == 20
    assert store.chunks(run) == []
    assert store.checkpoints(run) == {0: b"0"}, "the parameters before the first step are those of step 0"


def test_a_diverged_run_keeps_the_point_at_which_it_ended(store):
    """Its last point lies at the step where the state stands."""
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    store.append(run, epoch, chunk(0, 5, following=5), {"step": 5}, {}, {5: b"p"}, b"s", "diverged")
    assert store.newest(run) == 5
    assert [c.last_step for c in store.chunks(run, 4)] == [5]


def test_bytes_are_right_through_replays_and_repeated_checkpoints(store):
    run = store.create(EXPERIMENT)
    for attempt in range(3):
        epoch = store.claim(run)
        store.resume(run, epoch, 10 if attempt else 0)
        if not attempt:
            wrote(store, run, epoch, 0, 9, checkpoints={0: b"0", 10: b"x" * 30}, state=b"s" * 50)
        wrote(store, run, epoch, 10, 14, checkpoints={12: b"y" * 7})
        wrote(store, run, epoch, 15, 19, checkpoints={10: b"x" * 30, 12: b"y" * 7, 16: b"z"})
        assert row_of(store, run).bytes == kept_bytes(store, run)
        store.lost(run, "gone") if attempt < 2 else None
    wrote(store, run, epoch, 20, 29, state=b"t" * 20, move_to="finished")
    assert row_of(store, run).bytes == kept_bytes(store, run) == 4 * 20 + 1 + 30 + 7 + 1 + 20


def test_changes_up_to_which_a_lost_slice_is_repeated(store):
    """A change that was applied beyond the last written step counts as shown as well."""
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    store.change(run, "clip", "none")
    store.append(run, epoch, chunk(0, 9), {"step": 10}, {1: 10}, {})
    store.lost(run, "gone")
    assert store.resume(run, store.claim(run), 0) == 10
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(step=4))  # a slice since then repeated the beginning
    assert store.resume(run, store.claim(run), 4) == 10


# Lost slices


def test_a_lost_slice_puts_the_run_back_behind_a_new_fence(store):
    run = in_state(store, "running")
    store.lost(run, "The worker died.")
    row = row_of(store, run)
    assert (row.state, row.epoch, row.failures, row.message) == ("queued", 2, 1, None)


def test_three_lost_slices_in_a_row_are_the_end(store):
    run = store.create(EXPERIMENT)
    for _ in range(3):
        assert store.claim(run) is not None
        store.lost(run, "The worker died.")
    row = row_of(store, run)
    assert (row.state, row.message, row.failures) == ("failed", "The worker died.", 3)
    assert store.claim(run) is None


def test_a_saved_state_forgives_earlier_losses(store):
    run = store.create(EXPERIMENT)
    for _ in range(2):
        store.claim(run)
        store.lost(run, "The worker died.")
    wrote(store, run, store.claim(run), 0, 9, state=b"state")
    assert row_of(store, run).failures == 0


def test_a_slice_that_dies_after_each_of_its_chunks_is_not_tried_forever(store):
    """Chunks beyond the state are made again: they are no progress."""
    run = store.create(EXPERIMENT)
    for _ in range(3):
        epoch = store.claim(run)
        store.resume(run, epoch, 0)
        wrote(store, run, epoch, 0, 9)
        store.lost(run, "The worker died.")
    assert row_of(store, run).state == "failed"


@pytest.mark.parametrize("state", [*sorted(ENDED), "queued", "paused"])
def test_only_a_running_run_can_lose_its_slice(store, state):
    run = in_state(store, state)
    before = row_of(store, run)
    store.lost(run, "late news")
    store.lost("no such run", "late news")
    assert row_of(store, run) == before


def test_recovering_queues_what_was_running_and_nothing_else(store):
    ids = {state: in_state(store, state) for state in TRANSITIONS}
    before = {state: row_of(store, run) for state, run in ids.items()}
    assert store.recover() == 1
    after = {state: row_of(store, run) for state, run in ids.items()}
    changed = after.pop("running")
    assert (changed.state, changed.epoch) == ("queued", before.pop("running").epoch + 1)
    assert after == before
    assert store.recover() == 0


# Commands


@pytest.mark.parametrize("command", ["go", "pause", "stop"])
@pytest.mark.parametrize("state", TRANSITIONS)
def test_commands_reach_what_has_not_ended(store, state, command):
    run = in_state(store, state)
    assert store.command(run, command) is (state not in ENDED)
    assert row_of(store, run).command == (command if state not in ENDED else "go")
    assert row_of(store, run).state == state, "the engine carries it out"


def test_a_stop_is_final_and_other_words_are_refused(store):
    run = in_state(store, "running")
    assert store.command(run, "stop")
    assert not store.command(run, "go")
    assert not store.command(run, "pause")
    assert row_of(store, run).command == "stop"
    assert not store.command("no such run", "stop")
    with pytest.raises(ValueError, match=r"^command: got 'halt'; allowed: go, pause, stop\.$"):
        store.command(run, "halt")


SETTLED = {
    ("queued", "go"): "queued", ("queued", "pause"): "paused", ("queued", "stop"): "stopped",
    # A run is "running" between its slices as well, when nobody is there to see the order.
    ("running", "go"): "running", ("running", "pause"): "paused", ("running", "stop"): "stopped",
    ("paused", "go"): "queued", ("paused", "pause"): "paused", ("paused", "stop"): "stopped",
}  # fmt: skip


@pytest.mark.parametrize(("state", "command"), SETTLED)
def test_settling_carries_out_what_no_slice_will(store, state, command):
    run, busy, other = (in_state(store, s) for s in (state, state, "running"))
    store.command(run, command)
    store.command(busy, command)
    store.settle({busy})
    assert row_of(store, run).state == SETTLED[state, command]
    assert row_of(store, busy).state == state, "a slice is working on it and will see to it"
    assert row_of(store, other).state == "running"
    left = store.settle([busy])
    assert row_of(store, run).state == SETTLED[state, command]
    assert left == ({busy} if command == "stop" else set()), "so that somebody may see whether it does"


@pytest.mark.parametrize("state", sorted(ENDED))
def test_settling_leaves_ended_runs_alone(store, state):
    run = in_state(store, state)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(command="stop"))
    before = row_of(store, run)
    store.settle()
    assert row_of(store, run) == before


def test_settling_takes_no_lock_when_there_is_nothing_to_do(store):
    in_state(store, "running")
    with store.write():
        store.settle()  # would wait for the other writer, which is this very test


def test_an_order_during_a_slice_is_seen_by_it(store):
    run = store.create(EXPERIMENT)
    epoch = store.claim(run)
    assert store.orders(run, epoch).command == "go"
    store.command(run, "pause")
    assert store.orders(run, epoch).command == "pause"


def test_a_slice_that_does_not_answer_is_overruled_and_may_write_no_more(store):
    run = in_state(store, "running")
    assert not store.overrule(run), "nobody told it to stop"
    store.command(run, "stop")
    assert store.overrule(run)
    row = row_of(store, run)
    assert (row.state, row.epoch) == ("stopped", 2)
    for attempt in old_slice_attempts(store, run).values():
        with pytest.raises(FencedError):
            attempt()
    assert row_of(store, run) == row
    assert not store.overrule(run)


# Steps one by one


def rests(store: Store, step: int = 10, **options: Any) -> str:
    """A run that was paused at this step."""
    run = store.create(EXPERIMENT, **options)
    epoch = store.claim(run)
    store.command(run, "pause")
    wrote(store, run, epoch, 0, step - 1, state=b"s", move_to="paused")
    return run


def under_orders(store: Store, state: str, command: str, pause_at: int | None) -> str:
    run = in_state(store, state)
    values = {"command": command, "pause_at": pause_at, "step": 10}
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(**values))
    return run


@pytest.mark.parametrize("pause_at", [None, 12])
@pytest.mark.parametrize("command", ["go", "pause", "stop"])
@pytest.mark.parametrize("state", TRANSITIONS)
def test_what_rests_can_be_stepped_and_what_steps_can_be_asked_for_more(store, state, command, pause_at):
    run = under_orders(store, state, command, pause_at)
    before = row_of(store, run)
    expected = None
    if command == "pause" and state in ("paused", "queued"):
        expected = 13
    elif command == "go" and state in ("paused", "queued", "running") and pause_at is not None:
        expected = 15
    assert store.step_on(run, 3) is (expected is not None)
    if expected is None:
        assert row_of(store, run) == before
    else:
        row = row_of(store, run)
        assert (row.command, row.pause_at, row.state) == ("go", expected, state)


def test_a_step_is_one_and_never_beyond_the_end(store):
    run = rests(store)
    assert store.step_on(run)
    assert row_of(store, run).pause_at == 11
    assert store.step_on(run, 10**9)
    assert row_of(store, run).pause_at == 100
    assert not store.step_on("no such run")
    with pytest.raises(ValueError, match=r"^steps: got 0; allowed: a whole number from 1\.$"):
        store.step_on(run, 0)


def test_a_run_pauses_at_its_step_and_rests_until_it_is_told_to_go_on(store):
    run = rests(store)
    store.step_on(run, 2)
    store.settle()
    epoch = store.claim(run)
    assert store.orders(run, epoch).pause_at == 12
    wrote(store, run, epoch, 10, 11, state=b"t", move_to="paused", paused_at=12)
    row = row_of(store, run)
    assert (row.state, row.command, row.pause_at) == ("paused", "pause", None)
    store.settle()
    assert row_of(store, run).state == "paused"
    store.command(run, "go")
    store.settle()
    assert row_of(store, run).state == "queued"


@pytest.mark.parametrize("wish", ["go", "step", "stop", "pause"])
def test_what_is_wished_while_a_slice_pauses_by_itself_is_not_lost(store, wish):
    run = rests(store)
    store.step_on(run, 2)
    store.settle()
    epoch = store.claim(run)
    assert store.orders(run, epoch).pause_at == 12
    store.step_on(run, 5) if wish == "step" else store.command(run, wish)
    wrote(store, run, epoch, 10, 11, state=b"t", move_to="paused", paused_at=12)
    store.settle()
    row = row_of(store, run)
    assert row.state == {"go": "queued", "step": "queued", "stop": "stopped", "pause": "paused"}[wish]
    assert row.pause_at == {"go": None, "step": 17, "stop": 12, "pause": 12}[wish]
    store.step_on(run)
    assert row_of(store, run).pause_at == {"go": None, "step": 18, "stop": 12, "pause": 13}[wish]


def test_an_old_slice_does_not_pause_what_goes_on(store):
    run = rests(store)
    store.step_on(run, 2)
    store.settle()
    old = store.claim(run)
    store.lost(run, "silent")
    store.claim(run)
    before = everything(store)
    with pytest.raises(FencedError):
        wrote(store, run, old, 10, 11, state=b"t", move_to="paused", paused_at=12, paced=(1.0, 5.0))
    assert everything(store) == before


def test_go_forgets_where_to_pause(store):
    run = store.create(EXPERIMENT, pause_at=5)
    assert row_of(store, run).pause_at == 5
    store.command(run, "pause")
    assert row_of(store, run).pause_at == 5
    store.command(run, "go")
    assert row_of(store, run).pause_at is None


def test_a_run_may_begin_with_a_rest(store):
    run = store.create(EXPERIMENT, command="pause")
    assert store.waiting() == []
    assert store.claim(run) is None
    assert store.step_on(run), "even before the engine has seen it"
    assert row_of(store, run).pause_at == 1
    store.command(run, "pause")
    store.settle()
    assert row_of(store, run).state == "paused"
    with pytest.raises(ValueError, match=r"^command: got 'stop'; allowed: go, pause\.$"):
        store.create(EXPERIMENT, command="stop")


# Pace


class Clock:
    """The time of day, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1e9
        monkeypatch.setattr("rnnviz.runs.store.time.time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_paced_run_is_not_handed_out_before_its_time(store, clock):
    free, run = store.create(EXPERIMENT), store.create(EXPERIMENT, pace=2.0)
    assert store.waiting() == [free, run], "both may begin at once"
    assert store.next_due() is None
    epoch = store.claim(run)
    wrote(store, run, epoch, 0, 0, state=b"s", paced=(2.0, clock.now + 0.5))
    assert store.waiting() == [free]
    assert store.claim(run) is None
    assert store.next_due() == clock.now + 0.5
    assert row_of(store, run).state == "running"
    clock.now += 0.4
    assert store.claim(run) is None
    clock.now += 0.1
    assert store.waiting() == [free, run]
    assert store.next_due() is None
    assert store.claim(run) == 2


def test_a_run_does_not_wait_for_a_clock_that_was_set_back(store, clock):
    run = store.create(EXPERIMENT, pace=2.0)
    wrote(store, run, store.claim(run), 0, 0, state=b"s", paced=(2.0, clock.now + 0.5))
    clock.now -= LONGEST_REST + 1
    assert store.next_due() is None
    assert store.waiting() == [run]


@pytest.mark.parametrize(
    ("before", "left", "after", "wait"),
    [
        (0.1, 9.0, 10.0, 0.09), (10.0, 0.05, 0.1, 5.0), (1.0, -3.0, 2.0, 0.0), (None, 0.0, 1.0, 1.0),
        (500.0, 0.1, 1.0, 1.0), (0.1, 9.0, None, -1e9),
    ],
)  # fmt: skip
def test_a_new_pace_shortens_or_stretches_the_wait(store, clock, before, left, after, wait):
    """What is left of the way to the next step is kept, so that 10 s at a slow pace hold nobody up."""
    run = store.create(EXPERIMENT, pace=before)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(due=clock.now + left))
    assert store.set_pace(run, after) is None
    row = row_of(store, run)
    assert row.pace == after
    assert row.due == pytest.approx(clock.now + wait, abs=1e-4)


def test_a_slice_does_not_overrule_a_new_pace(store, clock):
    run = store.create(EXPERIMENT, pace=0.1)
    epoch = store.claim(run)
    store.set_pace(run, 10.0)
    due = row_of(store, run).due
    wrote(store, run, epoch, 0, 0, state=b"s", paced=(0.1, clock.now + 10.0))
    assert row_of(store, run).due == due < clock.now + 0.2
    assert (store.orders(run, epoch).pace, store.orders(run, epoch).due) == (10.0, due)


def test_a_rest_ends_at_once_whatever_the_pace(store, clock):
    for wake in (lambda run: store.command(run, "go"), store.step_on):
        run = rests(store, pace=0.1)
        with store.write() as connection:
            connection.execute(sa.update(RUNS).values(due=clock.now + 9.0))
        wake(run)
        store.settle()
        assert run in store.waiting()


def test_going_on_is_no_way_to_hurry(store, clock):
    run = store.create(EXPERIMENT, pace=0.1)
    wrote(store, run, store.claim(run), 0, 0, state=b"s", paced=(0.1, clock.now + 10.0))
    store.command(run, "go")
    assert row_of(store, run).due == clock.now + 10.0


@pytest.mark.parametrize("pace", [0, 0.09, 1000.1, -1, float("nan"), float("inf"), True, "fast"])
def test_a_wrong_pace_is_refused_with_a_sentence(store, pace):
    run = store.create(EXPERIMENT)
    problem = store.set_pace(run, pace)
    assert str(problem).endswith(
        "; allowed: steps a second from 0.1 to 1000, or None for as fast as it goes."
    )
    with pytest.raises(ValueError, match=r"^pace: got "):
        store.create(EXPERIMENT, pace=pace)
    assert row_of(store, run).pace is None


@pytest.mark.parametrize("state", [*TRANSITIONS, "missing"])
def test_only_what_has_not_ended_has_a_pace(store, state):
    run = "no such run" if state == "missing" else in_state(store, state)
    problem = store.set_pace(run, 1)
    if state in ENDED or state == "missing":
        assert str(problem) == "pace: got 1; the run has ended."
    else:
        assert problem is None


# Names, lists, second thoughts


def test_names(store):
    run = store.create(EXPERIMENT, name="  two\n lines ")
    assert row_of(store, run).name == "two lines"
    assert store.rename(run, "x" * 79 + " yz")
    assert row_of(store, run).name == "x" * 79, "80 characters, and no space at the end"
    assert store.rename(run, " \t")
    assert row_of(store, run).name is None
    assert not store.rename("no such run", "name")
    assert row_of(store, store.create(EXPERIMENT, name=" ")).name is None


@pytest.mark.parametrize("state", TRANSITIONS)
def test_what_is_discarded_is_stopped_and_out_of_sight_until_it_is_restored(store, state):
    run, other = in_state(store, state), store.create(EXPERIMENT)
    before = row_of(store, run)
    assert store.discard(run)
    assert store.run(run) is None
    assert [r.id for r in store.runs()] == [other]
    assert run not in store.waiting()
    assert store.claim(run) is None
    assert not store.discard(run), "once"
    hidden = store.run(run, discarded=True)
    assert hidden.command == ("go" if state in ENDED else "stop")
    store.settle()
    assert store.restore(run)
    assert row_of(store, run).state == (before.state if state in ENDED else "stopped")
    assert {r.id for r in store.runs()} == {run, other}
    assert not store.restore(run)
    assert not store.restore("no such run")
    assert not store.discard("no such run")


def test_what_was_discarded_can_be_restored_for_some_minutes(store, clock):
    run, kept = filled(store), filled(store)
    store.discard(run)
    clock.now += UNDO_SECONDS - 1
    assert store.prune() == []
    assert store.run(run, discarded=True) is not None
    clock.now += 2
    assert store.prune() == [run]
    assert run not in str(everything(store))
    assert row_of(store, kept).deleted is None


# Repeats with other seeds


@pytest.fixture
def family(store: Store) -> tuple[str, list[str], str]:
    """A run, its repeats, and somebody else's."""
    run = store.create(EXPERIMENT, "me")
    repeats = [store.create(EXPERIMENT.changed(seed=s), "me", repeats=run) for s in (1, 2)]
    return run, repeats, store.create(EXPERIMENT, "me")


def test_repeats_know_what_they_repeat(store, family):
    run, repeats, other = family
    assert [r.id for r in store.repeats_of(run)] == repeats
    assert [r.repeats for r in store.repeats_of(run)] == [run, run]
    assert store.repeats_of(repeats[0]) == store.repeats_of(other) == []
    store.claim(repeats[0])
    glance = {repeat.id: repeat.state for repeat in store.repeating([run, other])}
    assert glance == {repeats[0]: "running", repeats[1]: "queued"}
    assert store.repeating([other]) == store.repeating([]) == []
    store.discard(repeats[0])
    assert [r.id for r in store.repeats_of(run)] == repeats[1:]
    assert [repeat.id for repeat in store.repeating([run])] == repeats[1:]


@pytest.mark.parametrize("command", ["pause", "stop", "go"])
def test_repeats_get_the_orders_of_what_they_repeat(store, family, command):
    run, repeats, other = family
    if command == "go":
        assert store.command(run, "pause")
    assert store.command(run, command)
    assert {row_of(store, r).command for r in (run, *repeats)} == {command}
    assert row_of(store, other).command == "go"


def test_repeats_change_with_what_they_repeat(store, family):
    """They differ from it by the seed alone, also after the settings were changed in mid-run."""
    run, repeats, other = family
    assert store.change(run, "learning_rate", 0.5) is None
    for one in (run, *repeats):
        assert [c[1:] for c in store.orders(one, store.claim(one)).changes] == [("learning_rate", 0.5)]
    assert store.orders(other, store.claim(other)).changes == ()
    store.move(run, "finished")
    assert store.change(run, "learning_rate", 0.25) is None, "its repeats are under way"
    for one in repeats:
        store.move(one, "finished")
    assert store.change(run, "learning_rate", 0.5) is not None


def test_a_run_changes_at_most_so_many_times(store, monkeypatch):
    monkeypatch.setattr("rnnviz.runs.store.MOST_CHANGES", 3)
    changes = [{"step": 1, "field": "clip", "value": "none"}]
    run = store.create(EXPERIMENT.changed(changes=changes))
    assert [store.change(run, "learning_rate", value) for value in (0.1, 0.2)] == [None, None]
    problem = store.change(run, "learning_rate", 0.3)
    assert "at most 3 times" in str(problem)


def test_a_change_that_does_not_go_with_the_run_is_refused_and_says_why(store):
    run = store.create(Experiment(task="adding", truncate=5))
    problem = store.change(run, "clip", "delta")
    assert str(problem) == (
        "clip: got 'delta'; that does not go with the other settings: this run has truncate = 5, "
        "and a gradient is either cut off or bent on its way (clip: not delta)."
    )
    assert store.orders(run, store.claim(run)).changes == ()


def test_several_runs_are_queued_together_or_not_at_all(store):
    before = store.create(EXPERIMENT, "me")
    taken = New(EXPERIMENT, before)
    with pytest.raises(sa.exc.IntegrityError):
        store.create_all([New(EXPERIMENT, "new"), taken], "me", [before])
    assert [run.id for run in store.runs()] == [before]
    assert row_of(store, before).command == "go", "what they were to replace goes on"
    store.create_all([New(EXPERIMENT, "a"), New(EXPERIMENT, "b")], "me", [before])
    assert store.waiting() == ["a", "b"]
    assert row_of(store, before).command == "stop"


def test_repeats_keep_the_pace_of_what_they_repeat(store, family):
    run, repeats, other = family
    assert store.set_pace(run, 5.0) is None
    assert {row_of(store, r).pace for r in (run, *repeats)} == {5.0}
    assert row_of(store, other).pace is None


def test_repeats_step_with_what_they_repeat(store, family):
    run, repeats, other = family
    assert not store.step_on(run)
    store.command(run, "pause")
    store.settle()
    assert store.step_on(run, 3)
    assert {row_of(store, r).pause_at for r in (run, *repeats)} == {3}
    assert row_of(store, other).pause_at is None


def test_repeats_can_be_stopped_when_the_original_is_over(store, family):
    run, repeats, _ = family
    store.claim(run)
    store.move(run, "finished")
    assert store.command(run, "stop")
    assert {row_of(store, r).command for r in repeats} == {"stop"}
    assert row_of(store, run).command == "go"
    store.settle()
    assert not store.command(run, "stop")


def test_a_repeat_has_a_life_of_its_own(store, family):
    run, (first, second), _ = family
    store.command(first, "stop")
    store.discard(first)
    assert (row_of(store, run).command, row_of(store, second).command) == ("go", "go")


def test_replacing_a_run_stops_its_repeats(store, family):
    run, repeats, other = family
    theirs = store.create(EXPERIMENT, "them", repeats=run)
    store.create(EXPERIMENT, "me", replaces=[run])
    assert {row_of(store, r).command for r in (run, *repeats)} == {"stop"}
    assert {row_of(store, r).command for r in (other, theirs)} == {"go"}


def test_repeats_go_and_come_back_with_the_original(store, family, clock):
    run, repeats, other = family
    store.discard(repeats[0])
    clock.now += 5
    assert store.discard(run)
    assert [r.id for r in store.runs()] == [other]
    assert store.restore(run)
    assert {r.id for r in store.runs()} == {run, repeats[1], other}, "not what was discarded before"
    clock.now += UNDO_SECONDS - 4
    assert store.prune() == [repeats[0]]


def test_deleting_a_run_deletes_its_repeats(store, family):
    run, repeats, other = family
    store.delete(run)
    assert [r.id for r in store.runs()] == [other]
    assert not any(r in str(everything(store)) for r in (run, *repeats))


def test_repeats_are_forgotten_with_the_original(store):
    old = filled(store, size=1000)
    repeat, young, busy = filled(store, size=1000), filled(store, size=1000), store.create(EXPERIMENT)
    each = row_of(store, old).bytes
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id.in_([repeat, busy])).values(repeats=old))
        connection.execute(sa.update(RUNS).where(RUNS.c.id == old).values(updated=time.time() - 50))
    assert set(store.prune(max_bytes=2 * each)) == {old, repeat}
    assert {r.id for r in store.runs()} == {young, busy}, "what is under way is not forgotten"


# Changes in mid-run


def test_changes_are_handed_out_in_order_until_applied(store):
    run, other = store.create(EXPERIMENT), store.create(EXPERIMENT)
    values = [("learning_rate", 0.5), ("clip", "none"), ("learning_rate", 1), ("clip_threshold", 1e-3)]
    for field, value in values:
        assert store.change(run, field, value) is None
    store.change(other, "clip", "value")
    epoch = store.claim(run)
    changes = store.orders(run, epoch).changes
    assert [(field, value) for _, field, value in changes] == values
    wrote(store, run, epoch, 0, 9, applied={changes[0][0]: 0, changes[1][0]: 0})
    assert store.orders(run, epoch).changes == changes[2:]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("hidden", 8, f"hidden: got 8; only {', '.join(CHANGEABLE)} may change in mid-run."),
        ("sied", 8, f"sied: got 8; only {', '.join(CHANGEABLE)} may change in mid-run."),
        ("learning_rate", 0, "learning_rate: got 0; allowed: a number above 0 to 100."),
        ("learning_rate", 101.0, "learning_rate: got 101.0; allowed: a number above 0 to 100."),
        ("learning_rate", "fast", "learning_rate: got 'fast'; allowed: a number above 0 to 100."),
        ("learning_rate", None, "learning_rate: got None; allowed: a number above 0 to 100."),
        ("learning_rate", True, "learning_rate: got True; allowed: a number above 0 to 100."),
        ("learning_rate", float("nan"), "learning_rate: got nan; allowed: a number above 0 to 100."),
        ("clip_threshold", float("inf"), "clip_threshold: got inf; allowed: a number above 0 to 1,000,000."),
        ("clip", "nrom", f"clip: got 'nrom'; did you mean norm? Allowed: {', '.join(CLIPPINGS)}."),
        ("clip", 1, f"clip: got 1; allowed: {', '.join(CLIPPINGS)}."),
        ("clip_scope", "output", None),
    ],
)
def test_a_wrong_change_is_refused_with_a_sentence(store, field, value, sentence):
    run = in_state(store, "running")
    problem = store.change(run, field, value)
    assert problem is not None
    assert str(problem) == sentence or (sentence is None and str(problem).startswith(f"{field}: got"))
    assert everything(store)["controls"] == []


@pytest.mark.parametrize("state", [*TRANSITIONS, "missing"])
def test_only_what_has_not_ended_can_be_changed(store, state):
    run = "no such run" if state == "missing" else in_state(store, state)
    problem = store.change(run, "clip", "none")
    if state in ENDED or state == "missing":
        assert str(problem) == "clip: got 'none'; the run has ended."
        assert everything(store)["controls"] == []
    else:
        assert problem is None


def test_what_may_be_changed_can_be_recorded(store):
    """What the store lets through, the experiment takes."""
    run = in_state(store, "running")
    values = {"learning_rate": 100, "clip": "value", "clip_threshold": 1e-300, "clip_scope": "recurrent"}
    assert set(values) == set(CHANGEABLE)
    for field, value in values.items():
        assert store.change(run, field, value) is None
    experiment = EXPERIMENT
    for _, field, value in store.orders(run, 1).changes:
        experiment = experiment.with_change(3, field, value)
    assert experiment.at(3) == values


# Forgetting


def filled(store: Store, state: str = "finished", size: int = 10) -> str:
    """A run with rows in every table."""
    run = store.create(EXPERIMENT, "owner")
    epoch = store.claim(run)
    store.change(run, "clip", "none")
    store.append(run, epoch, chunk(0, 9, size=size), {"step": 10}, {}, {0: b"p"}, b"s")
    Jobs(store).ask("evaluate", {"run": run, "step": 10, "sequences": 5})
    if state == "queued":
        store.lost(run, "")
    elif state != "running":
        store.move(run, state)
    return run


@pytest.mark.parametrize("state", TRANSITIONS)
def test_deleting_leaves_nothing_in_any_table(store, state):
    keep, run = filled(store), filled(store, state)
    Jobs(store).ask("sweep", {"cell": "gru"})
    with store.read() as connection:
        for table in OF_A_RUN:
            count = sa.select(sa.func.count()).select_from(table).where(table.c.run == run)
            assert connection.execute(count).scalar(), f"{table.name} is filled by this test"
    store.delete(run)
    rows = everything(store)
    assert run not in str(rows)
    assert {len(rows[table.name]) for table in (RUNS, *OF_A_RUN)} == {1}
    assert keep in str(rows)
    assert len(rows["jobs"]) == 2
    store.delete(run)


def test_ended_runs_are_forgotten_when_they_are_old(store):
    ids = {state: filled(store, state) for state in TRANSITIONS}
    young = filled(store)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id != young).values(updated=1000.0))
    gone = store.prune(max_age=3600.0)
    assert set(gone) == {ids[state] for state in ENDED}
    assert {run.id for run in store.runs()} == {
        young,
        *(ids[state] for state in TRANSITIONS if state not in ENDED),
    }
    assert all(run not in str(everything(store)) for run in gone)
    assert store.prune(max_age=3600.0) == []


def test_the_oldest_ended_runs_make_room(store):
    """Least recently touched first, and no more of them than it takes."""
    ids = [
        filled(store, state, size=1000) for state in ("finished", "running", "stopped", "diverged", "failed")
    ]
    each = row_of(store, ids[0]).bytes
    assert each == kept_bytes(store, ids[0])
    with store.write() as connection:
        for run, updated in zip(ids, (50.0, 10.0, 20.0, 30.0, 40.0), strict=True):
            connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(updated=updated))
    limits = {"max_age": 1e12}
    assert store.prune(max_bytes=4 * each, **limits) == []
    assert store.prune(max_bytes=4 * each - 1, **limits) == [ids[2]]
    assert store.prune(max_bytes=each, **limits) == [ids[3], ids[4]]
    assert {run.id for run in store.runs()} == {ids[0], ids[1]}
    assert store.prune(max_bytes=0, **limits) == [ids[0]], "what is active stays, whatever its size"
    assert store.run(ids[1]) is not None


def test_who_keeps_most_makes_room_first(store):
    """However old the runs of the others are."""
    ids = [filled(store, size=1000) for _ in range(6)]
    owners = ("a", "b", "b", "b", None, None)
    each = row_of(store, ids[0]).bytes
    with store.write() as connection:
        for k, (run, owner) in enumerate(zip(ids, owners, strict=True)):
            connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(owner=owner, updated=10.0 + k))
    limits = {"max_age": 1e12}
    assert store.prune(max_bytes=6 * each, **limits) == []
    assert store.prune(max_bytes=5 * each, **limits) == [ids[1]]
    assert store.prune(max_bytes=2 * each, **limits) == [ids[2], ids[4], ids[0]]
    assert {run.id for run in store.runs()} == {ids[3], ids[5]}


def test_age_makes_room_before_size_is_looked_at(store):
    old, new = filled(store, size=1000), filled(store, size=1000)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == old).values(updated=1000.0))
    assert store.prune(max_bytes=row_of(store, new).bytes, max_age=3600.0) == [old]


def test_old_answers_are_forgotten_and_questions_are_not(store):
    jobs = Jobs(store)
    ids = {name: jobs.ask("sweep", {"name": name}) for name in ("young", "old", "waiting", "at work")}
    for name in ("young", "old"):
        jobs.report(ids[name], jobs.claim(ids[name]), 1.0, None, b"answer")
    jobs.claim(ids["at work"])
    with store.write() as connection:
        connection.execute(sa.update(JOBS).where(JOBS.c.id != ids["young"]).values(updated=1000.0))
    store.prune(max_age=3600.0)
    assert {name for name, job in ids.items() if jobs.job(job)} == {"young", "waiting", "at work"}


def test_processes_that_were_killed_are_forgotten_one_day(store):
    store.hear("dead", "engine")
    with store.write() as connection:
        connection.execute(sa.update(PROCESSES).values(heard=1000.0))
    store.hear("alive", "engine")
    store.prune(max_age=3600.0)
    assert [row[0] for row in everything(store)["processes"]] == ["alive"]


# Processes


def test_heartbeats(store):
    assert store.heard("server", 60) == []
    store.hear("a", "server")
    store.hear("b", "engine", "2 workers")
    store.hear("b", "engine", "3 workers")
    assert store.heard("server", 60) == [""]
    assert store.heard("engine", 60) == ["3 workers"]
    with store.write() as connection:
        connection.execute(sa.update(PROCESSES).values(heard=PROCESSES.c.heard - 100))
    assert store.heard("engine", 60) == []
    assert store.heard("engine", 200) == ["3 workers"]
    store.leave("b")
    store.leave("nobody")
    assert store.heard("engine", 200) == []


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.setenv("RNNVIZ_STORE", "postgresql://elsewhere/runs")
    assert store_url() == "postgresql://elsewhere/runs"
    monkeypatch.setenv("RNNVIZ_STORE", "")
    monkeypatch.chdir(tmp_path)
    assert store_url() == f"sqlite:///{tmp_path}/rnnviz.db"
    Store().close()
    assert (tmp_path / "rnnviz.db").exists()


# Versions


def version_of(store: Store) -> str:
    with store.read() as connection:
        return connection.execute(sa.select(META.c.value).where(META.c.key == "schema_version")).scalar()


def test_a_new_store_has_todays_version(store):
    assert version_of(store) == str(len(schema.MIGRATIONS))
    assert set(everything(store)) == {
        "meta", "runs", "chunks", "states", "checkpoints", "controls", "jobs", "processes"
    }  # fmt: skip
    again = Store(store.url)
    assert everything(again)["meta"] == [("schema_version", str(len(schema.MIGRATIONS)))]
    again.close()


def test_an_older_store_is_brought_up_and_keeps_its_runs(store, monkeypatch):
    """A made-up tomorrow with two changes to the tables."""
    run = filled(store)
    called = []

    def second(connection: sa.Connection) -> None:
        called.append(2)
        connection.execute(sa.text("ALTER TABLE runs ADD COLUMN mood VARCHAR(8)"))

    def third(connection: sa.Connection) -> None:
        called.append(3)
        connection.execute(sa.text("UPDATE runs SET mood = 'calm'"))

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, second, third])
    tomorrow = Store(store.url)
    assert called == [2, 3]
    assert version_of(tomorrow) == str(len(schema.MIGRATIONS))
    with tomorrow.read() as connection:
        assert connection.execute(sa.text("SELECT id, mood FROM runs")).all() == [(run, "calm")]
        assert connection.execute(sa.select(sa.func.count()).select_from(CHUNKS)).scalar() == 1
    Store(store.url).close()
    assert called == [2, 3], "once is enough"
    tomorrow.close()


def test_a_new_store_needs_no_migration(tmp_path, monkeypatch):
    """Its tables are today's: a column that was added later would be there already."""
    monkeypatch.setattr(
        schema, "MIGRATIONS", [*schema.MIGRATIONS, lambda _: pytest.fail("not for a new one")]
    )
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    assert version_of(store) == str(len(schema.MIGRATIONS))
    store.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(store, monkeypatch):
    def breaks(connection: sa.Connection) -> None:
        connection.execute(sa.text("ALTER TABLE runs ADD COLUMN mood VARCHAR(8)"))
        raise RuntimeError("power cut")

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, breaks])
    with pytest.raises(RuntimeError, match="power cut"):
        Store(store.url)
    assert version_of(store) == str(len(schema.MIGRATIONS) - 1)
    with store.read() as connection:
        assert "mood" not in {column["name"] for column in sa.inspect(connection).get_columns("runs")}


def test_a_newer_store_is_refused_with_a_sentence(store):
    with store.write() as connection:
        connection.execute(sa.update(META).values(value="7"))
    before = everything(store)
    with pytest.raises(NewerStoreError) as caught:
        Store(store.url)
    assert str(caught.value) == (
        f"The store has version 7; this program knows versions up to {len(schema.MIGRATIONS)}. "
        "Update the program or choose another store."
    )
    assert everything(store) == before


# SQLite


def test_readers_and_writers_do_not_wait_for_each_other(store, tmp_path):
    with sqlite3.connect(tmp_path / "runs.db") as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    for opening in (store.read, store.write):
        with opening() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1, "NORMAL"
    run = store.create(EXPERIMENT)
    with store.write() as writing:
        writing.execute(sa.update(RUNS).values(step=5))
        with store.read() as reading:  # sees what was there before, at once
            assert reading.execute(sa.select(RUNS.c.step)).scalar() == 0
    assert row_of(store, run).step == 5


def test_a_look_is_consistent(store):
    run = store.create(EXPERIMENT)
    with store.read() as connection:
        connection.execute(sa.select(RUNS)).all()
        store.claim(run)
        assert connection.execute(sa.select(RUNS.c.state)).scalar() == "queued"


def test_a_full_disk_is_a_sentence_and_loses_nothing(store):
    run = filled(store, "running")
    with store.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
    before = everything(store)
    big = ChunkRow(10, 19, 20, b"r" * 500_000, b"s")
    with pytest.raises(StoreFullError) as caught:
        store.append(run, 1, big, {"step": 20}, {}, {}, b"state")
    assert str(caught.value) == (
        "The disk that holds the store is full: delete runs or free some space, then try again."
    )
    assert everything(store) == before
    store.append(run, 1, chunk(10, 19, size=1), {"step": 20}, {}, {})
    assert row_of(store, run).step == 20
    with store.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    store.append(run, 1, ChunkRow(20, 29, 30, b"r" * 500_000, b"s"), {"step": 30}, {}, {})


def test_other_errors_of_the_database_stay_themselves(store):
    with pytest.raises(sa.exc.OperationalError, match="no such table"), store.write() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))


WRITER = """
import sys
from rnnviz.experiment import Experiment
from rnnviz.runs.store import ChunkRow, Store
store = Store(sys.argv[1])
run = store.create(Experiment(task="adding", length=5))
shared, epoch = sys.argv[2], store.claim(run)
for i in range(60):
    store.append(run, epoch, ChunkRow(i, i, i + 1, b"r" * 2000, b"s"), {"step": i + 1}, {}, {})
    store.change(shared, "learning_rate", 0.01 + i)
print(run)
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    store = Store(url)
    shared = store.create(EXPERIMENT)
    command = [sys.executable, "-c", WRITER, url, shared]
    writers = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for writer in writers:
        out, errors = writer.communicate(timeout=100)
        assert writer.returncode == 0, errors
        run = row_of(store, out.strip())
        assert (run.step, run.bytes) == (60, 60 * 2001)
        assert [c.first_step for c in store.chunks(run.id)] == list(range(60))
    values = [row[4] for row in everything(store)["controls"]]
    assert len(values) == 2 * 60
    assert len(set(values)) == 60
    store.close()


def test_a_new_store_may_be_opened_by_many_at_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    together = threading.Barrier(8)

    def open_it(_: int) -> dict[str, list]:
        together.wait()
        store = Store(url)
        found = everything(store)
        store.close()
        return found

    with ThreadPoolExecutor(8) as threads:
        versions = [found["meta"] for found in threads.map(open_it, range(8))]
    assert versions == [[("schema_version", str(len(schema.MIGRATIONS)))]] * 8


# PostgreSQL


def test_every_statement_is_also_that_of_postgresql(store):
    """What the store executes in a life with everything, compiled for the other database."""
    seen = []
    sa.event.listen(store.engine, "before_execute", lambda _c, statement, *_: seen.append(statement))
    run = store.create(EXPERIMENT, "owner")
    store.runs(ACTIVE, owner="owner", limit=5)
    store.runs()
    store.waiting()
    store.adopt("owner", "other")
    store.change(run, "clip", "none")
    store.ahead(row_of(store, run))
    store.command(run, "pause")
    store.settle()
    store.command(run, "go")
    store.settle()
    epoch = store.claim(run)
    store.resume(run, epoch, 0)
    store.orders(run, epoch)
    store.append(
        run, epoch, chunk(0, 9), {"step": 10}, {1: 5}, {0: b"p"}, b"s", paced=(1.0, 2.0), paused_at=5
    )
    store.set_pace(run, 2.0)
    store.next_due()
    store.rename(run, "name")
    store.repeats_of(run)
    store.overrule(run)
    store.command(run, "pause")
    store.lost(run, "gone")
    store.step_on(run)
    store.chunks(run, 3)
    store.screens(run)
    store.newest(run)
    store.checkpoints(run)
    store.state(run)
    store.claim(run)
    store.recover()
    store.move(run, "stopped")
    store.discard(run)
    store.restore(run)
    store.hear("me", "server")
    store.heard("server", 5.0)
    store.leave("me")
    jobs = Jobs(store)
    job = jobs.ask("evaluate", {"run": run})
    jobs.ask("evaluate", {"run": run})
    jobs.job(job)
    jobs.open()
    epoch = jobs.claim(job)
    jobs.cancelled(job, epoch)
    jobs.report(job, epoch, 0.5, b"half")
    jobs.lost(job, "gone")
    jobs.claim(job)
    jobs.cancel(job)
    jobs.claim(job)
    jobs.ask("evaluate", {"run": run})
    jobs.fail(job, jobs.claim(job), "No.")
    store.prune(max_bytes=0)
    with store.write() as connection:
        schema.migrate(connection)
    statements = [s for s in seen if isinstance(s, sa.ClauseElement)]
    assert len(statements) > 60
    dialect = postgresql.dialect()
    texts = {str(statement.compile(dialect=dialect)) for statement in statements}
    written = {text.split()[i] for text in texts for i in (2,) if text.startswith(("INSERT", "DELETE"))}
    assert written >= {table.name for table in (RUNS, JOBS, PROCESSES, *OF_A_RUN)}
    assert any("FOR UPDATE" in text for text in texts), "the fence holds its row there"
    for table in METADATA.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


# Any order of events


class Life(RuleBasedStateMachine):
    """One run, its owner, an engine and slices that may come back late, against a simple model of them."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store("sqlite://")  # in memory: one connection, one thread
        self.run = self.store.create(EXPERIMENT)
        self.epochs: list[int] = []
        self.command = "go"
        self.recorded = self.saved = 0  # steps, and those that a state covers
        self.resumed: set[int] = set()

    @property
    def row(self) -> Run:
        return row_of(self.store, self.run)

    @rule(steps=st.integers(1, 20))
    def step(self, steps: int) -> None:
        before = self.row
        rests = before.command == "pause" and before.state in ("paused", "queued")
        more = before.command == "go" and before.pause_at is not None
        asked = not before.ended and (rests or more)
        assert self.store.step_on(self.run, steps) == asked
        if asked:
            self.command = "go"
            begin = before.step if rests else max(before.step, before.pause_at)
            assert self.row.pause_at == min(100, begin + steps)

    @rule(pace=st.sampled_from([None, 0.1, 1000.0]))
    def set_pace(self, pace: float | None) -> None:
        before = self.row
        assert (self.store.set_pace(self.run, pace) is None) == (not before.ended)
        if not before.ended:
            assert self.row.pace == pace

    def newest(self, epoch: int) -> bool:
        return epoch == self.row.epoch and self.row.state == "running"

    @rule()
    def claim(self) -> None:
        allowed = self.row.state in ACTIVE and self.row.command == "go"
        self.store.set_pace(self.run, None)  # or it might be too early
        before = self.row.epoch
        epoch = self.store.claim(self.run)
        assert (epoch is not None) == allowed
        if epoch is not None:
            assert epoch == before + 1 > max(self.epochs, default=0)
            self.epochs.append(epoch)

    @rule(command=st.sampled_from(["go", "pause", "stop"]))
    def order(self, command: str) -> None:
        reached = not self.row.ended and self.row.command != "stop"
        assert self.store.command(self.run, command) == reached
        if reached:
            self.command = command

    @rule()
    def settle(self) -> None:
        before = self.row
        self.store.settle()
        expected = before.state if before.ended else SETTLED[before.state, before.command]
        assert self.row.state == expected

    @rule()
    def lose(self) -> None:
        before = self.row
        self.store.lost(self.run, "Lost.")
        if before.state == "running":
            assert self.row.epoch > before.epoch
            assert self.row.state == ("failed" if before.failures == 2 else "queued")
        else:
            assert self.row == before

    @rule()
    def restart_engine(self) -> None:
        before = self.row
        assert self.store.recover() == (before.state == "running")
        assert (self.row.epoch > before.epoch) == (before.state == "running")

    @precondition(lambda self: self.epochs)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        epoch = data.draw(st.sampled_from(self.epochs))
        if not self.newest(epoch):
            with pytest.raises(FencedError):
                self.store.resume(self.run, epoch, self.saved)
            return
        assert self.store.resume(self.run, epoch, self.saved) >= self.saved
        self.recorded = self.saved
        self.resumed.add(epoch)

    @precondition(lambda self: self.resumed)
    @rule(data=st.data(), save=st.booleans(), end=st.sampled_from([None, "finished", "diverged", "paused"]))
    def write(self, data: st.DataObject, save: bool, end: str | None) -> None:
        epoch = data.draw(st.sampled_from(sorted(self.resumed)))
        first = self.recorded
        values = {"step": first + 5}
        state = b"s" * (first + 5) if save or end else None
        checkpoints = {first + 5: b"p"}
        arguments: tuple[Any, ...] = (
            self.run,
            epoch,
            chunk(first, first + 4),
            values,
            {},
            checkpoints,
            state,
            end,
        )
        if not self.newest(epoch):
            with pytest.raises(FencedError):
                self.store.append(*arguments, paced=(1000.0, 5.0), paused_at=self.row.pause_at)
            return
        before = self.row
        at = before.pause_at if end == "paused" else None
        self.store.append(*arguments, paced=(1000.0, 5.0), paused_at=at)
        if at is not None and before.command == "go":
            self.command = "pause"
        self.recorded += 5
        if state:
            self.saved = self.recorded

    @invariant()
    def the_record_has_no_gap_and_covers_the_state(self) -> None:
        steps = [step for c in self.store.chunks(self.run) for step in range(c.first_step, c.last_step + 1)]
        assert steps == list(range(self.recorded))
        assert self.recorded >= self.saved
        assert len(self.store.state(self.run) or b"") == self.saved
        assert max(self.store.checkpoints(self.run), default=0) == self.recorded

    @invariant()
    def the_run_adds_up(self) -> None:
        row = self.row
        assert row.bytes == kept_bytes(self.store, self.run)
        assert row.command == self.command
        assert row.failures <= 3
        assert (row.state == "failed") == (row.failures == 3)
        assert row.epoch >= max(self.epochs, default=0)

    def teardown(self) -> None:
        self.store.close()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=25, stateful_step_count=25)


def test_a_run_may_replace_those_of_its_owner_and_no_others(store):
    mine, others = store.create(Experiment(), "me"), store.create(Experiment(), "them")
    new = store.create(Experiment(), "me", replaces=[mine, others, "nobody"])
    assert [store.run(run).command for run in (mine, others, new)] == ["stop", "go", "go"]


def test_a_large_run_under_way_costs_no_ended_run_its_place(store):
    ended = store.create(Experiment())
    store.move(ended, "stopped")
    active = store.create(Experiment())
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == active).values(bytes=10**12))
    assert store.prune() == []
    assert store.run(ended) is not None
