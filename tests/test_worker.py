"""Slices of a run: whatever interrupts them, the record is that of the run's experiment, byte by byte."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load
from safetensors.torch import load as load_torch

from rnnviz.experiment import Experiment
from rnnviz.kernels import processor
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs import worker
from rnnviz.runs.chunk import decode, screen
from rnnviz.runs.schema import CONTROLS, METADATA, RUNS
from rnnviz.runs.state import from_bytes, parameters_to_bytes
from rnnviz.runs.store import FencedError, Run, Store
from rnnviz.runs.worker import _Slice, advance_slice, checkpoint_due, steps_to_checkpoint
from rnnviz.training import advance, begin, train
from tests.stores import new_store

LONG = 1000.0  # seconds that no slice here comes near

EXPERIMENT = Experiment(task="digits_rows", cell="lstm", hidden=4, batch=3, steps=24, clip_threshold=0.6)
DIVERGING = Experiment(  # soon after step 10, whatever the weights: nothing holds a linear cell
    task="digits", cell="linear", hidden=8, batch=3, steps=40, optimizer="sgd", learning_rate=1e-3,
    clip="none", changes=[{"step": 10, "field": "learning_rate", "value": 100.0}],
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    worker.open_store.cache_clear()
    store.close()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's wishes are read, and chunks written, after every single step: no test depends on time."""
    monkeypatch.setattr(worker, "ORDERS_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHUNK_SECONDS", 0.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice looks up only where it has to: no test depends on time."""
    monkeypatch.setattr(worker, "ORDERS_SECONDS", LONG)
    monkeypatch.setattr(worker, "CHUNK_SECONDS", LONG)


def row_of(store: Store, run: str) -> Run:
    found = store.run(run)
    assert found is not None
    return found


def work(store: Store, run: str, seconds: float = LONG) -> str:
    epoch = store.claim(run)
    assert epoch is not None
    return advance_slice(store.url, run, epoch, seconds)


def record_of(store: Store, run: str) -> Chunk:
    return concatenate([decode(row.record) for row in store.chunks(run)])


def arrays_of(chunk: Chunk) -> dict[str, Any]:
    arrays = {name: (a.tobytes(), a.dtype, a.shape) for name, a in chunk.arrays().items()}
    return {**arrays, "next_step": chunk.next_step, "clipped": chunk.clipped}


@lru_cache
def repeated(experiment: Experiment) -> Chunk:
    """The whole run, uninterrupted, by the library alone."""
    return concatenate(list(train(experiment)))


@lru_cache
def parameters_along(experiment: Experiment) -> list[bytes]:
    """After each step, from none to the last."""
    state = begin(experiment)
    along = [parameters_to_bytes(state)]
    while not state.done:
        advance(state, steps=1)
        along.append(parameters_to_bytes(state))
    return along


def assert_repeatable(store: Store, run: str) -> None:
    """What the store holds of an ended run is what its experiment gives, and it hangs together."""
    row, record = row_of(store, run), record_of(store, run)
    assert row.ended
    assert arrays_of(record) == arrays_of(repeated(row.experiment))
    steps = [(c.first_step, c.last_step, c.next_step) for c in store.chunks(run)]
    points = [(int(p.step[0]), int(p.step[-1]), p.next_step) for p in map(decode_row(store, run), steps)]
    assert steps == points
    for (_, shown), chunk in zip(store.screens(run), store.chunks(run), strict=True):
        assert parts_of(shown) == parts_of(screen(decode(chunk.record)))
    state = from_bytes(store.state(run), row.experiment)
    assert state.step == row.step
    assert parameters_to_bytes(state) == parameters_along(row.experiment)[row.step]
    for step, blob in store.checkpoints(run).items():
        assert blob == parameters_along(row.experiment)[step], step
    assert set(store.checkpoints(run)) == {*filter(checkpoint_due, range(row.step + 1)), row.step}


def parts_of(blob: bytes) -> tuple[Any, Any]:
    """Arrays and metadata of a blob, whose order in it is no matter."""
    (length,) = struct.unpack_from("<Q", blob)
    arrays = {name: (a.tobytes(), a.dtype, a.shape) for name, a in load(blob).items()}
    return arrays, json.loads(blob[8 : 8 + length])["__metadata__"]


def decode_row(store: Store, run: str) -> Callable[[tuple[int, int, int]], Chunk]:
    rows = {c.first_step: c for c in store.chunks(run)}
    return lambda steps: decode(rows[steps[0]].record)


def at_look(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Do something just before a slice looks for orders the `number`th time, counted from 0."""
    real, looks = Store.orders, [0]

    def orders(store: Store, run: str, epoch: int) -> Any:
        if looks[0] == number:
            act()
        looks[0] += 1
        return real(store, run, epoch)

    monkeypatch.setattr(Store, "orders", orders)


def dies_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process is gone when it wants to write for the `number`th time, counted from 0; once."""
    real, writes = Store.append, [0]

    def append(store: Store, *arguments: Any, **options: Any) -> None:
        writes[0] += 1
        if writes[0] == number + 1:
            raise MemoryError("killed")
        real(store, *arguments, **options)

    monkeypatch.setattr(Store, "append", append)


# To the end


def test_a_run_is_worked_on_to_its_end(store):
    run = store.create(EXPERIMENT)
    assert work(store, run) == "finished"
    row = row_of(store, run)
    assert (row.state, row.step, row.message) == ("finished", 24, None)
    assert_repeatable(store, run)
    state = begin(EXPERIMENT)
    advance(state)
    assert (row.train_loss, row.validation_loss, row.validation_accuracy, row.solved_at, row.clipped) == (
        state.train_loss, state.validation_loss, state.validation_accuracy, state.solved_at, state.clipped,
    )  # fmt: skip
    assert 0 < row.clipped < 24
    assert row.rate > 0
    assert row.experiment == EXPERIMENT


def test_what_computed_a_run_is_written_down(store):
    run = store.create(EXPERIMENT)
    assert row_of(store, run).kernel is None
    work(store, run)
    kernel = json.loads(row_of(store, run).kernel)
    assert kernel["torch"] == torch.__version__
    assert kernel["numpy"] == np.__version__
    assert (kernel["kernel"], kernel["threads"]) == ("compiled", 1)
    assert kernel["processor"] == processor("compiled")


@pytest.mark.usefixtures("eager")
def test_one_step_at_a_time_is_the_same_run(store):
    run = store.create(EXPERIMENT)
    ways = []
    while not row_of(store, run).ended:
        ways.append(work(store, run, seconds=0.0))
        row = row_of(store, run)
        assert row.step == len(ways)
        assert from_bytes(store.state(run), row.experiment).step == len(ways)
    assert ways == ["time"] * 23 + ["finished"]
    assert row_of(store, run).epoch == 24
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_within_a_slice_chunks_are_written_as_they_come(store, monkeypatch):
    run = store.create(EXPERIMENT)
    seen: list[tuple[int, int]] = []
    at_look(monkeypatch, 5, lambda: seen.append((row_of(store, run).step, len(store.chunks(run)))))
    work(store, run)
    assert seen == [(5, 5)]
    assert len(store.chunks(run)) == 24
    assert_repeatable(store, run)


def test_a_slice_without_time_makes_a_step_all_the_same(store):
    run = store.create(EXPERIMENT)
    assert work(store, run, seconds=-1.0) in ("time", "finished")
    assert row_of(store, run).step >= 1


def test_a_task_without_accuracy_or_memory(store):
    experiment = Experiment(task="copying", cell="tanh", length=3, hidden=3, batch=2, steps=3)
    run = store.create(experiment)
    assert work(store, run) == "finished"
    assert record_of(store, run).grad_cell_state.shape == (3, 1, 1, 0)
    assert_repeatable(store, run)


def test_what_is_not_there_is_gone(store):
    assert advance_slice(store.url, "no such run", 1) == "gone"


# Orders


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("look", [0, 1, 7, 23])
def test_a_stop_takes_effect_at_the_next_look(store, monkeypatch, look):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, look, lambda: store.command(run, "stop"))
    assert work(store, run) == "stop"
    row = row_of(store, run)
    assert (row.state, row.step) == ("stopped", look)
    assert from_bytes(store.state(run), row.experiment).step == look
    if look:
        record = record_of(store, run)
        whole = repeated(EXPERIMENT)
        assert record.next_step == len(record) == look
        assert record.loss.tobytes() == whole.loss[:look].tobytes()
        assert store.checkpoints(run)[max(filter(checkpoint_due, range(look + 1)))]
    else:
        assert store.chunks(run) == []


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("look", [0, 1, 7, 23])
def test_a_paused_run_goes_on_as_if_it_had_not_been(store, monkeypatch, look):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, look, lambda: store.command(run, "pause"))
    assert work(store, run) == "pause"
    assert (row_of(store, run).state, row_of(store, run).step) == ("paused", look)
    assert store.claim(run) is None
    store.command(run, "go")
    store.settle()
    assert work(store, run) == "finished"
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_a_go_that_comes_just_after_the_pause_was_seen_is_not_lost(store, monkeypatch):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 3, lambda: store.command(run, "pause"))
    real = Store.append

    def append(store: Store, *arguments: Any, **options: Any) -> None:
        if "paused" in arguments:
            store.command(run, "go")
        real(store, *arguments, **options)

    monkeypatch.setattr(Store, "append", append)
    assert work(store, run) == "pause"
    store.settle()
    assert row_of(store, run).state == "queued"


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("look", "field", "value"),
    [
        *((look, "learning_rate", 0.2) for look in (0, 7, 23)),
        *((look, "clip_threshold", 0.01) for look in (0, 7, 23)),
        (7, "learning_rate", 1), (7, "clip", "none"), (7, "clip_scope", "recurrent"),
    ],
)  # fmt: skip
def test_a_change_in_mid_run_is_recorded_and_repeated(store, monkeypatch, look, field, value):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, look, lambda: store.change(run, field, value))
    assert work(store, run) == "finished"
    experiment = row_of(store, run).experiment
    assert [(c.step, c.field, c.value) for c in experiment.changes] == [(look, field, value)]
    with store.read() as connection:
        assert connection.execute(sa.select(CONTROLS.c.applied_at)).scalars().all() == [look]
    assert_repeatable(store, run)
    record, plain = record_of(store, run), repeated(EXPERIMENT)
    assert record.loss[: look + 1].tobytes() == plain.loss[: look + 1].tobytes()
    if field == "clip_threshold":
        assert record.threshold.tolist() == [0.6] * look + [value] * (24 - look)
    elif look < 23:
        assert record.loss.tobytes() != plain.loss.tobytes()
    # Repeating the run from its JSON alone, as somebody else would.
    again = concatenate(list(train(Experiment.from_json(experiment.to_json()))))
    assert again.loss.tobytes() == record.loss.tobytes()


@pytest.mark.usefixtures("eager")
def test_changes_come_into_force_in_their_order_and_only_once(store, monkeypatch):
    run = store.create(EXPERIMENT)
    store.change(run, "learning_rate", 0.5)
    store.change(run, "learning_rate", 0.05)
    at_look(monkeypatch, 6, lambda: [store.change(run, "clip", "value"), store.command(run, "pause")])
    assert work(store, run) == "pause"
    store.change(run, "clip_threshold", 0.1)
    store.command(run, "go")
    store.settle()
    assert work(store, run) == "finished"
    changes = row_of(store, run).experiment.changes
    assert [(c.step, c.field, c.value) for c in changes] == [
        (0, "learning_rate", 0.5), (0, "learning_rate", 0.05), (6, "clip", "value"),
        (6, "clip_threshold", 0.1),
    ]  # fmt: skip
    assert set(record_of(store, run).learning_rate.tolist()) == {0.05}
    assert_repeatable(store, run)


def test_a_change_that_waits_while_the_run_is_queued_holds_from_the_first_step(store):
    run = store.create(EXPERIMENT)
    store.change(run, "clip", "none")
    work(store, run)
    assert np.isnan(record_of(store, run).threshold).all()
    assert_repeatable(store, run)


# Steps one by one


def step(store: Store, run: str, steps: int = 1) -> str:
    assert store.step_on(run, steps)
    store.settle()
    return work(store, run)


@pytest.mark.usefixtures("patient")
def test_a_run_pauses_exactly_where_it_is_to(store):
    """Not only where it looks up by itself, which here it would do after the end."""
    run = store.create(EXPERIMENT, pause_at=13)
    assert work(store, run) == "pause"
    row = row_of(store, run)
    assert (row.state, row.command, row.step, row.pause_at) == ("paused", "pause", 13, None)
    assert record_of(store, run).step.tolist() == list(range(13))
    store.command(run, "go")
    store.settle()
    assert work(store, run) == "finished"
    assert_repeatable(store, run)


@pytest.mark.parametrize("pause_at", [0, 24, 100])
def test_a_pause_at_the_start_and_at_the_end(store, pause_at):
    run = store.create(EXPERIMENT, pause_at=pause_at)
    assert work(store, run) == ("finished" if pause_at else "pause")
    if not pause_at:
        assert (row_of(store, run).state, store.newest(run)) == ("paused", -1)
        assert step(store, run, 30) == "finished"
    assert_repeatable(store, run)


def test_a_run_in_single_steps_is_the_same_run(store):
    """Each of them is a slice, a chunk and a rest."""
    run = store.create(EXPERIMENT, command="pause")
    store.settle()
    for made in range(1, 24):
        assert step(store, run) == "pause"
        assert (row_of(store, run).state, row_of(store, run).step) == ("paused", made)
        assert [c.first_step for c in store.chunks(run)] == list(range(made))
    assert step(store, run) == "finished"
    assert_repeatable(store, run)


def test_a_run_that_diverges_can_be_stepped_to_where_it_does(store):
    at = repeated(DIVERGING).next_step
    run = store.create(DIVERGING, pause_at=at - 1)
    assert work(store, run) == "pause"
    assert step(store, run) == "pause", "the last step with numbers"
    assert math.isfinite(record_of(store, run).loss[-1])
    assert step(store, run) == "diverged"
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("wish", ["go", "step", "stop"])
def test_wishes_that_come_while_a_run_pauses_by_itself(store, monkeypatch, wish):
    run = store.create(EXPERIMENT, pause_at=5)
    real = Store.append

    def append(store: Store, *arguments: Any, **options: Any) -> None:
        if "paused" in arguments:
            assert store.step_on(run, 3) if wish == "step" else store.command(run, wish)
        real(store, *arguments, **options)

    monkeypatch.setattr(Store, "append", append)
    assert work(store, run) == "pause"
    monkeypatch.undo()
    store.settle()
    row = row_of(store, run)
    assert (row.step, row.state) == (5, "stopped" if wish == "stop" else "queued")
    if wish == "stop":
        return
    assert work(store, run) == ("pause" if wish == "step" else "finished")
    assert row_of(store, run).step == (8 if wish == "step" else 24)


def test_what_was_changed_in_a_rest_holds_from_the_next_step_on(store):
    run = store.create(EXPERIMENT, pause_at=6)
    work(store, run)
    store.change(run, "learning_rate", 0.3)
    store.change(run, "clip_threshold", 0.2)
    assert row_of(store, run).experiment.changes == ()
    step(store, run)
    store.change(run, "learning_rate", 0.05)
    step(store, run, 100)
    changes = row_of(store, run).experiment.changes
    assert [(c.step, c.value) for c in changes] == [(6, 0.3), (6, 0.2), (7, 0.05)]
    assert record_of(store, run).learning_rate.tolist() == [0.01] * 6 + [0.3] + [0.05] * 17
    assert_repeatable(store, run)


def test_a_lost_slice_is_repeated_up_to_where_the_run_is_to_pause(store, monkeypatch):
    run = store.create(EXPERIMENT, pause_at=9)
    with monkeypatch.context() as patch:
        dies_at(patch, 0)
        with pytest.raises(MemoryError):
            work(store, run)
    store.lost(run, "killed")
    assert work(store, run) == "pause"
    assert row_of(store, run).step == 9
    step(store, run, 100)
    assert_repeatable(store, run)


# Pace


class Clock:
    """The time of day, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1e9
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("pace", "each"), [(0.1, 1), (1, 1), (10, 1), (11, 2), (30, 3), (1000, 100)])
def test_how_many_steps_are_made_at_once(pace, each):
    assert worker.steps_at_once(pace) == each
    assert pace / each <= 10, "slices a second"


@pytest.mark.parametrize("pace", [0.1, 0.7, 4.0, 10.0])
def test_at_a_slow_pace_each_step_is_a_slice_and_a_chunk(store, clock, pace):
    run = store.create(EXPERIMENT, pace=pace)
    began = clock.now
    for made in range(1, 24):
        assert work(store, run) == "pace"
        row = row_of(store, run)
        assert (row.state, row.step) == ("running", made)
        assert 0 < row.rate <= pace
        assert [c.first_step for c in store.chunks(run)] == list(range(made))
        assert row.due == pytest.approx(began + made / pace, abs=1e-4)
        assert store.claim(run) is None, "it is not handed out while it waits"
        clock.now = row.due
    assert work(store, run) == "finished"
    assert clock.now - began == pytest.approx(23 / pace, abs=1e-4)
    assert_repeatable(store, run)


@pytest.mark.usefixtures("patient")
def test_a_fast_pace_makes_several_steps_in_one_slice(store, clock):
    run = store.create(EXPERIMENT, pace=60.0)
    ways = [work(store, run)]
    while not row_of(store, run).ended:
        clock.now += 0.1
        ways.append(work(store, run))
    assert ways == ["pace"] * 3 + ["finished"]
    assert [c.first_step for c in store.chunks(run)] == [0, 6, 12, 18]
    assert_repeatable(store, run)


@pytest.mark.parametrize(("late", "made"), [(0.0, 2), (0.3, 3), (0.9, 5), (1.1, 2), (100.0, 2)])
def test_a_little_delay_is_made_up_for_and_a_long_one_is_not(store, clock, late, made):
    run = store.create(EXPERIMENT, pace=4.0)
    work(store, run)
    clock.now = row_of(store, run).due + late
    work(store, run)
    assert row_of(store, run).step == made
    assert clock.now < row_of(store, run).due <= clock.now + 0.25


@pytest.mark.usefixtures("eager")
def test_a_pace_that_is_set_in_mid_slice_holds_at_the_next_look(store, clock, monkeypatch):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 4, lambda: store.set_pace(run, 2.0))
    assert work(store, run) == "pace"
    assert (row_of(store, run).step, row_of(store, run).due) == (4, clock.now + 0.5)
    clock.now += 0.5
    at_look(monkeypatch, 1, lambda: store.set_pace(run, 0.5))
    assert work(store, run) == "pace"
    row = row_of(store, run)
    assert (row.step, row.pace, row.due) == (5, 0.5, clock.now + 2.0)
    store.set_pace(run, None)
    assert work(store, run) == "finished"
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_a_pace_that_is_set_while_the_slice_writes_is_not_overruled(store, clock, monkeypatch):
    run = store.create(EXPERIMENT, pace=0.1)
    real = Store.append

    def append(store: Store, *arguments: Any, **options: Any) -> None:
        if options["paced"]:
            store.set_pace(run, 10.0)
        real(store, *arguments, **options)

    monkeypatch.setattr(Store, "append", append)
    assert work(store, run) == "pace"
    assert row_of(store, run).due <= clock.now + 0.2


def test_a_paced_run_pauses_and_is_stepped_without_waiting(store, clock):
    run = store.create(EXPERIMENT, pace=0.1, pause_at=2)
    assert work(store, run) == "pace"
    clock.now += 10
    assert work(store, run) == "pause"
    assert step(store, run) == "pause"
    assert step(store, run, 2) == "pace"
    assert row_of(store, run).step == 4
    clock.now += 10
    assert work(store, run) == "pause"
    assert row_of(store, run).step == 5


def test_a_slice_of_a_time_that_was_set_back_goes_on(store, clock):
    run = store.create(EXPERIMENT, pace=1.0)
    work(store, run)
    clock.now -= 3600
    assert work(store, run) == "pace"
    assert row_of(store, run).step == 2
    assert row_of(store, run).due == clock.now + 1


@pytest.mark.usefixtures("eager")
def test_what_was_shown_already_is_repeated_at_full_speed(store, clock, monkeypatch):
    run = store.create(EXPERIMENT)
    with monkeypatch.context() as patch:
        dies_at(patch, 12)
        with pytest.raises(MemoryError):
            work(store, run)
    store.lost(run, "killed")
    store.set_pace(run, 1.0)
    clock.now += 1
    assert work(store, run) == "pace"
    assert row_of(store, run).step == 13, "the twelve from before, and then one that is due"
    store.set_pace(run, None)
    work(store, run)
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
@given(data=st.data())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_that_is_stepped_paced_and_killed_is_the_same_run(store, data):
    run = store.create(EXPERIMENT, command="pause")
    acts = ["step", "step", "pace", "free", "pause", "go", "die"]
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        for act in data.draw(st.lists(st.sampled_from(acts), max_size=12)):
            if act == "step":
                store.step_on(run, data.draw(st.integers(1, 4)))
            elif act in ("pace", "free"):
                store.set_pace(run, data.draw(st.sampled_from([0.5, 5.0, 50.0])) if act == "pace" else None)
            elif act in ("pause", "go"):
                store.command(run, act)
            store.settle()
            clock.now += 1.0
            epoch = store.claim(run)
            if epoch is None:
                continue
            with pytest.MonkeyPatch.context() as deadly:
                if act == "die":
                    dies_at(deadly, data.draw(st.integers(0, 3)))
                try:
                    advance_slice(store.url, run, epoch, LONG)
                except MemoryError:
                    store.lost(run, "killed")
        store.set_pace(run, None)
        store.command(run, "go")
        store.settle()
        while not row_of(store, run).ended:
            work(store, run)
    row = row_of(store, run)
    assert row.state == "finished" or row.failures == 3
    if row.state == "finished":
        assert_repeatable(store, run)
    store.delete(run)


# Another kernel


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "torch",
            "1.0",
            f"it was begun with torch 1.0, and torch {torch.__version__} may ",
        ),
        (
            "kernel",
            "numba",
            "it was begun with the kernel numba, and the kernel compiled may ",
        ),
        ("processor", "vax", "it was begun with a processor vax, and a processor "),
        ("rnnviz", "0.0.1", None),
    ],
)
def test_a_run_does_not_go_on_where_its_numbers_may_differ(store, name, value, sentence):
    run = store.create(EXPERIMENT, pause_at=7)
    work(store, run)
    kernel = json.dumps({**json.loads(row_of(store, run).kernel), name: value})
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(kernel=kernel))
    before = store.chunks(run), store.state(run)
    if sentence is None:
        assert step(store, run) == "pause"
        return
    assert step(store, run) == "kernel"
    row = row_of(store, run)
    assert row.state == "stopped"
    assert row.message.startswith(f"The run was stopped at step 7: {sentence}")
    assert row.message.endswith(" may give other numbers.")
    assert (store.chunks(run), store.state(run)) == before


def test_a_run_of_the_plain_kernel_goes_on_with_it(store, monkeypatch):
    run = store.create(EXPERIMENT, pause_at=7)
    with monkeypatch.context() as patched:
        patched.setattr("rnnviz.training.default_kernel", lambda: "torch")
        work(store, run)
    assert json.loads(row_of(store, run).kernel)["kernel"] == "torch"
    assert step(store, run, 100) == "finished"
    assert json.loads(row_of(store, run).kernel)["kernel"] == "torch"
    whole = advance(begin(EXPERIMENT, kernel="torch"))
    assert record_of(store, run).loss.tobytes() == whole.loss.tobytes()


def test_what_is_made_again_from_the_start_may_be_made_by_any_kernel(store, monkeypatch):
    run = store.create(EXPERIMENT)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(kernel='{"torch": "1.0"}'))
    assert work(store, run) == "finished"
    assert json.loads(row_of(store, run).kernel)["torch"] == torch.__version__


@pytest.mark.usefixtures("eager")
def test_a_slice_of_a_run_that_is_discarded_ends_in_good_order(store, monkeypatch):
    run, late = store.create(EXPERIMENT), store.create(EXPERIMENT)
    at_look(monkeypatch, 4, lambda: store.discard(run))
    assert work(store, run) == "stop"
    epoch = store.claim(late)
    store.discard(late)  # between the claim and the slice's first look
    assert advance_slice(store.url, late, epoch) == "stop"
    assert [store.run(r, discarded=True).state for r in (run, late)] == ["stopped", "stopped"]
    store.restore(run)
    assert_repeatable_so_far(store, run, 4)


def assert_repeatable_so_far(store: Store, run: str, steps: int) -> None:
    assert record_of(store, run).loss.tobytes() == repeated(EXPERIMENT).loss[:steps].tobytes()


# Divergence and other ends


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seconds", [0.0, LONG])
def test_a_run_that_fills_the_store_is_stopped_with_a_sentence(store, monkeypatch, seconds):
    run = store.create(EXPERIMENT)
    monkeypatch.setattr(worker, "MAX_RUN_BYTES", 50_000)
    ways = []
    while not row_of(store, run).ended:
        ways.append(work(store, run, seconds))
    assert ways == ["time"] * (len(ways) - 1) + ["full"]
    row = row_of(store, run)
    assert 3 < row.step < 24
    assert (row.state, row.message) == ("stopped", worker.FULL.format(step=row.step))
    assert row.bytes > 50_000
    assert from_bytes(store.state(run), row.experiment).step == row.step
    record = record_of(store, run)
    assert record.loss.tobytes() == repeated(EXPERIMENT).loss[: row.step].tobytes()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seconds", [0.0, LONG])
def test_a_diverging_run_ends_with_everything_up_to_there(store, seconds):
    run = store.create(DIVERGING)
    ways = [work(store, run, seconds)]
    while not row_of(store, run).ended:
        ways.append(work(store, run, seconds))
    row = row_of(store, run)
    assert ways[-1] == row.state == "diverged"
    at = repeated(DIVERGING).next_step
    assert 10 < at < 40
    assert re.fullmatch(rf"The (loss|gradient) is no longer finite at step {at}\.", row.message)
    assert (row.step, row.steps) == (at, 40)
    assert math.isfinite(row.validation_loss)
    record = record_of(store, run)
    assert record.step.tolist() == list(range(at + 1)), "the step that went wrong is the last point"
    assert not (np.isfinite(record.loss[-1]) and np.isfinite(record.norm_before[-1]))
    assert np.isfinite(record.loss[:-1]).all()
    assert record.validation_step.tolist() == [0, 10]
    assert_repeatable(store, run)
    state = from_bytes(store.state(run), row.experiment)
    assert (state.diverged_at, state.done) == (at, True)
    assert torch.isfinite(state.network.flat).all()
    assert store.claim(run) is None


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan, 1.5, None])
def test_columns_hold_only_numbers_that_can_be_compared(store, loss):
    """What is not finite stands in the chunks."""
    run = store.create(EXPERIMENT)
    state = begin(EXPERIMENT)
    state.train_loss = state.validation_loss = state.validation_accuracy = loss
    _Slice(store, row_of(store, run), store.claim(run), state, 0).write(end=True)
    with store.read() as connection:
        columns = sa.select(RUNS.c.train_loss, RUNS.c.validation_loss, RUNS.c.validation_accuracy)
        found = set(connection.execute(columns).one())
    assert found == {loss if loss == 1.5 else None}


# Checkpoints


def test_checkpoints_lie_four_to_a_doubling():
    due = [step for step in range(200) if checkpoint_due(step)]
    assert due == [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192
    ]  # fmt: skip
    for step in range(200):
        following = step + steps_to_checkpoint(step)
        assert checkpoint_due(following)
        assert not any(map(checkpoint_due, range(step + 1, following)))


@pytest.mark.parametrize("interval", [0.0, 0.002, LONG])
def test_checkpoints_are_the_parameters_of_an_independent_run(store, monkeypatch, interval):
    """However often the slice looks up from its work."""
    monkeypatch.setattr(worker, "ORDERS_SECONDS", interval)
    run = store.create(EXPERIMENT.changed(steps=21))
    work(store, run)
    kept = store.checkpoints(run)
    assert list(kept) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 21], "and the end"
    state = begin(row_of(store, run).experiment)
    for step, blob in kept.items():
        while state.step < step:
            advance(state, steps=1)
        tensors = load_torch(blob)
        assert set(tensors) == set(state.network.parameters)
        for name, tensor in tensors.items():
            assert torch.equal(tensor, state.network.parameters[name]), (step, name)


# Slices that do not come to their end


@pytest.mark.usefixtures("eager")
@given(data=st.data())
@settings(max_examples=7, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_whose_worker_dies_anywhere_is_the_same_run(store, data):
    """Orders before, between and after; deaths at any write, some of them in the replay of what was lost."""
    run = store.create(EXPERIMENT)
    threshold = data.draw(st.floats(0.01, 2.0))
    look = data.draw(st.integers(0, 23))
    with pytest.MonkeyPatch.context() as patch:
        at_look(patch, look, lambda: store.change(run, "clip_threshold", threshold))
        for seconds, death in [
            (0.0, None), (LONG, data.draw(st.integers(0, 22))), (LONG, data.draw(st.integers(0, 22))),
        ]:  # fmt: skip
            with pytest.MonkeyPatch.context() as deadly:
                if death is not None:
                    dies_at(deadly, death)
                try:
                    work(store, run, seconds)
                except MemoryError:
                    store.lost(run, "killed")
            if row_of(store, run).ended:
                break
        while not row_of(store, run).ended:
            work(store, run)
    row = row_of(store, run)
    assert row.state == "finished"
    assert [c.value for c in row.experiment.changes] == [threshold]
    assert_repeatable(store, run)
    store.delete(run)


@pytest.mark.usefixtures("eager")
def test_what_was_written_before_the_death_is_made_again_with_the_same_bytes(store, monkeypatch):
    """A change that was in force before the worker died is so at the same step in the replay."""
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 7, lambda: store.change(run, "clip_threshold", 0.05))
    dies_at(monkeypatch, 12)
    with pytest.raises(MemoryError):
        work(store, run)
    before = {c.first_step: c for c in store.chunks(run)}
    assert list(before) == list(range(12))
    assert store.state(run) is None, "no state was saved: all of it is made again"
    assert [c.step for c in row_of(store, run).experiment.changes] == [7]
    store.lost(run, "killed")
    work(store, run)
    after = {c.first_step: c for c in store.chunks(run)}
    for step, shown in before.items():
        assert after[step].record == shown.record
        assert parts_of(after[step].screen) == parts_of(shown.screen)
    assert len(after) == 24
    assert [c.step for c in row_of(store, run).experiment.changes] == [7]
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_an_order_in_the_replay_waits_until_that_is_over(store, monkeypatch):
    """Or the replay would differ from what was shown."""
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 9, lambda: store.change(run, "learning_rate", 0.3))
    dies_at(monkeypatch, 12)
    with pytest.raises(MemoryError):
        work(store, run)
    shown = record_of(store, run)
    store.lost(run, "killed")
    store.change(run, "learning_rate", 0.002)
    work(store, run)
    changes = row_of(store, run).experiment.changes
    assert [(c.step, c.value) for c in changes] == [(9, 0.3), (12, 0.002)]
    record = record_of(store, run)
    assert record.loss[:12].tobytes() == shown.loss.tobytes()
    assert record.learning_rate.tolist() == [0.01] * 9 + [0.3] * 3 + [0.002] * 12
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_of_two_wishes_the_older_one_never_comes_last(store, monkeypatch):
    """Not even when the replay that repeats it takes several slices."""
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 9, lambda: store.change(run, "learning_rate", 0.3))
    dies_at(monkeypatch, 12)
    with pytest.raises(MemoryError):
        work(store, run)
    store.lost(run, "killed")
    store.change(run, "learning_rate", 0.002)
    for _ in range(4):
        work(store, run, seconds=0.0)
    work(store, run)
    changes = row_of(store, run).experiment.changes
    assert [c.value for c in changes] == [0.3, 0.002]
    assert changes[0].step == 9 <= changes[1].step
    assert set(record_of(store, run).learning_rate[changes[1].step :].tolist()) == {0.002}
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_a_change_that_was_not_written_yet_is_applied_by_the_next_slice(store, monkeypatch):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 5, lambda: store.change(run, "clip", "none"))
    dies_at(monkeypatch, 5)  # with the change taken in and nothing of it written
    with pytest.raises(MemoryError):
        work(store, run)
    assert row_of(store, run).experiment == EXPERIMENT
    store.lost(run, "killed")
    work(store, run)
    assert [c.step for c in row_of(store, run).experiment.changes] == [5]
    assert_repeatable(store, run)


def rows_of(store: Store, run: str) -> list[Any]:
    with store.read() as connection:
        return [
            [tuple(row) for row in connection.execute(sa.select(table))] for table in METADATA.tables.values()
        ]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("number", [0, 4, 23])
def test_a_slice_that_was_overtaken_writes_nothing_more(store, monkeypatch, number):
    """It was thought dead, and comes back between two of its writes."""
    run = store.create(EXPERIMENT)
    real, writes, there = Store.append, [0], []

    def append(store: Store, *arguments: Any, **options: Any) -> None:
        if writes[0] == number:
            store.lost(run, "silent")
            store.claim(run)
            there.append(rows_of(store, run))
        writes[0] += 1
        real(store, *arguments, **options)

    monkeypatch.setattr(Store, "append", append)
    with pytest.raises(FencedError):
        work(store, run)
    assert writes == [number + 1]
    assert rows_of(store, run) == there[0]
    monkeypatch.undo()
    assert work(store, run) == "finished"
    assert_repeatable(store, run)


@pytest.mark.usefixtures("eager")
def test_a_slice_that_was_overtaken_while_it_computed_stops_at_its_next_look(store, monkeypatch):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 4, lambda: store.claim(run))
    with pytest.raises(FencedError):
        work(store, run)
    assert len(store.chunks(run)) == 4


@pytest.mark.usefixtures("eager")
def test_a_slice_that_is_overtaken_before_it_begins_touches_nothing(store):
    run = store.create(EXPERIMENT)
    work(store, run, seconds=0.0)
    old = row_of(store, run).epoch
    store.claim(run)
    before = rows_of(store, run)
    with pytest.raises(FencedError):
        advance_slice(store.url, run, old)
    assert rows_of(store, run) == before


@pytest.mark.usefixtures("eager")
def test_deleting_a_run_ends_its_slice_and_leaves_nothing(store, monkeypatch):
    run = store.create(EXPERIMENT)
    at_look(monkeypatch, 4, lambda: store.delete(run))
    with pytest.raises(FencedError):
        work(store, run)
    assert run not in str(rows_of(store, run))


# The worker process


def test_a_worker_process_is_kind_to_the_others_and_warm(monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        worker.dask_setup(None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert asked == [worker.NICENESS]
    assert worker.NICENESS > 0


def test_a_process_opens_a_store_once(store):
    assert worker.open_store(store.url) is worker.open_store(store.url)
