"""The engine as it is: real processes on a real store, and what happens when they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import sqlalchemy as sa
from distributed import KilledWorker

from rnnviz.experiment import Experiment
from rnnviz.recording import concatenate
from rnnviz.runs.chunk import decode
from rnnviz.runs.engine import (
    GONE,
    IDLE_SECONDS,
    POLL_SECONDS,
    STOP_PATIENCE,
    Scheduler,
    _loop,
    _reason,
    cores,
)  # fmt: skip
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.lock import EngineRunningError, engine_lock
from rnnviz.runs.schema import PROCESSES, RUNS, STATES
from rnnviz.runs.store import ChunkRow, FencedError, Run, Store, StoreFullError
from rnnviz.training import train
from tests.stores import new_store
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # each test takes seconds on a quiet machine

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds; all of this takes a few on a quiet machine

#: A step takes about half a millisecond: quick, and long enough to be caught in the middle.
TINY = Experiment(task="adding", length=2, cell="tanh", hidden=2, batch=2, steps=300, clip_threshold=0.5)
LONG = TINY.changed(steps=4000, cell="gru")
ENDLESS = TINY.changed(steps=1_000_000)


class EngineProcess:
    """`python -m rnnviz engine` on a store, with two workers."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'runs.db'}"
        self.store = Store(self.url)
        self.log = folder / "engine.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.family: list[psutil.Process] = []

    def start(self, *arguments: str) -> None:
        self.family = []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rnnviz", "engine", *arguments],
                cwd=ROOT, env=environment(RNNVIZ_STORE=self.url), stdout=log, stderr=log,
            )  # fmt: skip

    def workers(self) -> list[psutil.Process]:
        """Its worker processes; what Python keeps for bookkeeping is none."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.family = [*self.family, *(child for child in children if child not in self.family)]
        return [child for child in children if any("spawn_main" in part for part in cmdline(child))]

    def send(self, number: int) -> None:
        """A signal to the engine alone, after noting which processes it has."""
        self.workers()
        self.process.send_signal(number)

    def gone(self) -> bool:
        """whether no process of the engine is left"""
        return self.process.poll() is not None and not any(alive(child) for child in self.family)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


def environment(**values: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RNNVIZ_")}
    return {**kept, "RNNVIZ_WORKERS": "2", **values}


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    engine = EngineProcess(tmp_path_factory.mktemp("engine"))
    yield engine
    engine.end()
    engine.store.close()


@pytest.fixture
def engine(shared: EngineProcess) -> Iterator[EngineProcess]:
    """One engine for most tests, because a start takes seconds; each leaves no work behind."""
    if shared.process is None or shared.process.poll() is not None:
        shared.start()
    yield shared
    for run in shared.store.runs(("queued", "running", "paused")):
        shared.store.delete(run.id)


def row_of(store: Store, run: str) -> Run:
    found = store.run(run)
    assert found is not None
    return found


def reaches(store: Store, run: str, step: int) -> Run:
    """Wait until the run has come to this step."""

    def there() -> Run | None:
        """the run's step"""
        row = row_of(store, run)
        return row if row.step >= step else None

    row = wait_until(there, PATIENCE)
    assert not row.ended, "the run is too short for this test"
    return row


def ends(store: Store, run: str) -> Run:
    def ended() -> Run | None:
        """the run's end"""
        row = row_of(store, run)
        return row if row.ended else None

    return wait_until(ended, PATIENCE)


def losses(store: Store, run: str) -> bytes:
    return concatenate([decode(row.record) for row in store.chunks(run)]).loss.tobytes()


@lru_cache
def repeated(experiment: Experiment) -> bytes:
    """The losses of an uninterrupted run of this experiment, by the library alone."""
    return concatenate(list(train(experiment))).loss.tobytes()


def assert_repeatable(store: Store, run: str) -> None:
    row = row_of(store, run)
    assert (row.state, row.step, row.message) == ("finished", row.experiment.steps, None)
    assert losses(store, run) == repeated(Experiment.from_json(row.experiment.to_json()))


# Work


def test_a_run_finishes_and_is_the_librarys(engine):
    run = engine.store.create(TINY)
    row = ends(engine.store, run)
    assert row.rate > 0
    assert_repeatable(engine.store, run)
    assert engine.store.heard("engine", 10.0) == ["2 workers"]


def test_a_job_is_answered(engine):
    run = engine.store.create(TINY.changed(seed=1))
    ends(engine.store, run)
    jobs = Jobs(engine.store)
    request = {"run": run, "step": 300, "sequences": 1000}
    job = jobs.ask("evaluate", request)
    found = wait_until(
        lambda: j if (j := jobs.job(job)).state not in ("queued", "running") else None, PATIENCE
    )
    assert (found.state, found.progress) == ("finished", 1.0)
    bad = jobs.ask("evaluate", {**request, "run": "no such run"})
    odd = jobs.ask("no such kind", {})
    wait_until(lambda: not jobs.open(), PATIENCE)
    assert jobs.job(bad).message == "run: there is no run of that name with a state to evaluate."
    assert (jobs.job(odd).state, jobs.job(odd).message) == (
        "failed", "The run could not go on: KeyError: 'no such kind'"
    )  # fmt: skip


def test_ten_runs_at_once_all_advance_in_turn_and_stop_when_told(engine):
    store = engine.store
    ids = [store.create(ENDLESS.changed(seed=seed)) for seed in range(10)]

    def all_advance() -> list[Run]:
        """ten runs that all have made steps"""
        rows = store.runs(("queued", "running"))
        return rows if all(row.step > 0 for row in rows) else []

    rows = wait_until(all_advance, PATIENCE)
    assert {row.id for row in rows} == set(ids)
    turns = [row.epoch for row in rows]
    assert max(turns) - min(turns) <= 1, "whoever has waited longest is next"
    for run in ids:
        assert store.command(run, "stop")
    wait_until(lambda: all(row_of(store, run).state == "stopped" for run in ids), PATIENCE)
    assert all(0 < row_of(store, run).step < 1_000_000 for run in ids)
    steps = [row_of(store, run).step for run in ids]
    assert [store.newest(run) + 1 for run in ids] == steps, "what was recorded ends where the run stands"


def test_a_diverging_run_says_so_and_at_which_step(engine):
    """Its learning rate is raised to far too much at step 20."""
    experiment = Experiment(
        task="digits_rows", cell="linear", hidden=4, batch=2, steps=300, optimizer="sgd", clip="none", seed=3,
        changes=[{"step": 20, "field": "learning_rate", "value": 100.0}],
    )  # fmt: skip
    run = engine.store.create(experiment)
    row = ends(engine.store, run)
    assert row.state == "diverged"
    assert row.step >= 20
    assert row.message.endswith(f"no longer finite at step {row.step}.")
    assert losses(engine.store, run) == repeated(experiment)
    assert engine.store.newest(run) == row.step
    assert engine.store.state(run) is not None


def test_a_paused_run_rests_and_goes_on_to_the_same_bytes(engine):
    store = engine.store
    run = store.create(LONG.changed(steps=3000))
    reaches(store, run, 1)
    assert store.command(run, "pause")
    wait_until(lambda: row_of(store, run).state == "paused", PATIENCE)
    rest = row_of(store, run)
    assert 0 < rest.step < 3000
    store.change(run, "clip", "value")
    other = store.create(TINY.changed(seed=2))  # the engine is awake all the while
    ends(store, other)
    assert row_of(store, run) == rest
    assert store.command(run, "go")
    ends(store, run)
    assert_repeatable(store, run)
    assert [(c.step, c.value) for c in row_of(store, run).experiment.changes] == [(rest.step, "value")]


def test_a_run_in_single_steps_goes_on_to_the_same_bytes(engine):
    store = engine.store
    run = store.create(TINY.changed(steps=8), command="pause")
    for made in range(1, 8):
        assert store.step_on(run)

        def rests() -> Run | None:
            """a rest after the step"""
            row = row_of(store, run)
            return row if (row.state, row.command) == ("paused", "pause") else None

        assert wait_until(rests, PATIENCE).step == made
    store.step_on(run)
    ends(store, run)
    assert_repeatable(store, run)


def test_four_paced_runs_share_two_workers_and_keep_their_time(engine):
    """Each keeps a worker only while it makes a step: neither the others nor a fifth run wait for them."""
    store, pace, steps = engine.store, 4.0, 6
    experiments = [TINY.changed(seed=seed, steps=steps) for seed in range(4)]
    ids = [store.create(experiment, pace=pace) for experiment in experiments]
    other = store.create(TINY.changed(seed=9))
    assert ends(store, other).state == "finished"
    rows = [ends(store, run) for run in ids]
    for row in rows:
        took = row.updated - row.created
        assert took >= (steps - 1) / pace - 0.01, "not faster than it should be"
        assert row.epoch > 1, "it gave its worker back in between"
        assert_repeatable(store, row.id)


def test_a_run_at_a_very_slow_pace_can_be_hurried(engine):
    store = engine.store
    run = store.create(TINY.changed(steps=12), pace=0.1)
    reaches(store, run, 1)
    assert row_of(store, run).due > time.time() + 5
    assert store.set_pace(run, None) is None
    ends(store, run)
    row = row_of(store, run)
    assert row.updated - row.created < 12 / 0.1
    assert_repeatable(store, run)


def test_runs_that_cannot_go_on_fail_with_a_sentence_and_block_nobody(engine):
    """One whose experiment no version knows, one whose state is broken, one that is deleted while it runs."""
    store = engine.store
    unreadable, broken, deleted = (store.create(ENDLESS) for _ in range(3))
    with store.write() as connection:
        bad = {"experiment": '{"task": "of tomorrow"}'}
        connection.execute(sa.update(RUNS).where(RUNS.c.id == unreadable).values(**bad))
        connection.execute(sa.delete(STATES).where(STATES.c.run == broken))
        connection.execute(sa.insert(STATES).values(run=broken, step=5, state=b"nonsense"))
    reaches(store, deleted, 1)
    store.delete(deleted)
    good = store.create(TINY.changed(seed=3))
    assert ends(store, good).state == "finished"
    assert ends(store, broken).state == "failed"
    assert row_of(store, broken).message.startswith("The run could not go on: ")
    state = sa.select(RUNS.c.state, RUNS.c.message).where(RUNS.c.id == unreadable)

    def failed() -> sa.Row:
        """the end of the run that cannot be read"""
        with store.read() as connection:
            row = connection.execute(state).one()
        return row if row.state == "failed" else None

    assert wait_until(failed, PATIENCE).message.startswith(
        "The run could not go on: ExperimentError: task: got"
    )
    assert engine.process.poll() is None
    with store.write() as connection:
        connection.execute(sa.delete(RUNS).where(RUNS.c.id == unreadable))


# Killed


def test_a_worker_that_sleeps_does_not_hold_up_a_stop(engine):
    """Suspended, as a laptop's lid or a debugger does it; when it wakes up it finds the door closed."""
    store = engine.store
    run = store.create(ENDLESS)
    reaches(store, run, 1)
    sleepers = engine.workers()
    assert len(sleepers) == 2
    try:
        for sleeper in sleepers:
            sleeper.suspend()
        assert store.command(run, "stop")
        told = time.monotonic()
        row = wait_until(lambda: r if (r := row_of(store, run)).ended else None, PATIENCE)
        assert time.monotonic() - told < 25, "a worker counts as dead after thirty seconds"
        assert row.state == "stopped"
        chunks = store.chunks(run)
    finally:
        for sleeper in sleepers:
            sleeper.resume()
    after = store.create(TINY.changed(seed=5))
    ends(store, after)
    assert_repeatable(store, after)
    assert (row_of(store, run), store.chunks(run)) == (row, chunks)


def test_a_run_survives_the_death_of_its_worker(engine):
    """SIGKILL at some moment after the threshold was changed in mid-run: the same bytes as without."""
    store, moments = engine.store, np.random.default_rng(1997)
    run = store.create(LONG)
    reaches(store, run, int(moments.integers(300, 900)))
    assert store.change(run, "clip_threshold", 0.05) is None
    row = wait_until(lambda: r if (r := row_of(store, run)).experiment.changes else None, PATIENCE)
    (change,) = row.experiment.changes
    assert (change.field, change.value) == ("clip_threshold", 0.05)
    reaches(store, run, change.step + int(moments.integers(100, 600)))
    victims = wait_until(engine.workers, PATIENCE)
    assert len(victims) == 2, "either may be the one at work: both die"
    for victim in victims:
        victim.kill()
    lost = wait_until(lambda: r if (r := row_of(store, run)).failures else None, PATIENCE)
    assert lost.state in ("queued", "running")
    ends(store, run)
    assert_repeatable(store, run)
    assert row_of(store, run).experiment.changes == (change,), "in force at the same step"
    assert engine.process.poll() is None
    assert not set(victims) & set(engine.workers())


def test_a_run_survives_the_death_of_the_engine(engine):
    """SIGKILL to the engine: its workers go too. A new one goes on, and ends when no server is left."""
    store, moments = engine.store, np.random.default_rng(1994)
    run, waiting = store.create(LONG.changed(seed=4)), store.create(TINY.changed(seed=4))
    reaches(store, run, int(moments.integers(300, 900)))
    store.change(run, "learning_rate", 0.003)
    wait_until(lambda: row_of(store, run).experiment.changes, PATIENCE)
    reaches(store, run, row_of(store, run).step + int(moments.integers(100, 600)))
    engine.send(signal.SIGKILL)
    wait_until(engine.gone, PATIENCE)
    assert len(engine.family) >= 2
    with store.write() as connection:
        connection.execute(sa.delete(PROCESSES))  # it could not take itself off the list
    before = row_of(store, run)
    assert (before.state, before.step < LONG.steps) == ("running", True)

    store.hear("web", "server")
    engine.start("--linger", "0.5")

    def done() -> bool:
        """the end of both runs, while a server is heard"""
        store.hear("web", "server")
        return row_of(store, run).ended and row_of(store, waiting).ended

    wait_until(done, PATIENCE)
    assert engine.process.poll() is None
    engine.workers()
    store.leave("web")
    wait_until(engine.gone, PATIENCE)
    assert engine.process.returncode == 0
    assert store.heard("engine", 60.0) == []

    assert_repeatable(store, run)
    assert_repeatable(store, waiting)
    assert row_of(store, run).epoch > before.epoch + 1, "what the dead engine left is fenced off"


# One engine for each store


def run_engine(**values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rnnviz", "engine"], cwd=ROOT, env=environment(**values), timeout=PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_second_engine_leaves_at_once(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    run = store.create(TINY)
    store.claim(run)
    with engine_lock(store):
        second = run_engine(RNNVIZ_STORE=store.url)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert row_of(store, run).state == "running", "and touches nothing"
    assert store.heard("engine", 60.0) == []
    store.close()


def test_the_lock_is_for_one_store_and_is_given_back(tmp_path):
    one, same, other = (Store(f"sqlite:///{tmp_path / name}") for name in ("a.db", "a.db", "b.db"))
    with engine_lock(one), engine_lock(other), pytest.raises(EngineRunningError), engine_lock(same):
        pass
    with engine_lock(same):
        pass
    for store in (one, same, other):
        store.close()


def test_remote_workers_need_a_database_that_they_can_reach(tmp_path):
    refused = run_engine(
        RNNVIZ_STORE=f"sqlite:///{tmp_path / 'runs.db'}", RNNVIZ_SCHEDULER="tcp://127.0.0.1:9"
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "RNNVIZ_SCHEDULER names a remote scheduler, whose workers cannot reach a SQLite file: "
        "set RNNVIZ_STORE to a PostgreSQL URL.\n"
    )


# Who is next, with made-up workers


class Slice:
    """A future that is done when the test says so."""

    status = "finished"

    def __init__(self, target: str) -> None:
        self.target, self.over, self.outcome = target, False, "time"
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.over

    def result(self) -> str:
        return self.outcome

    def exception(self) -> BaseException | None:
        return self.error

    def add_done_callback(self, _: Any) -> None:
        pass


class Workers:
    """As many as the test says, and they do nothing."""

    status = "running"

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent: list[Slice] = []
        self.priorities: dict[str, int] = {}

    def scheduler_info(self, **_: Any) -> dict[str, Any]:
        return {"workers": dict.fromkeys(range(self.count))}

    def submit(self, _function: Any, _url: str, target: str, _epoch: int, **options: Any) -> Slice:
        self.priorities[target] = options["priority"]
        self.sent.append(Slice(target))
        return self.sent[-1]

    def come_back(self, error: BaseException | None = None, outcome: str = "time") -> list[str]:
        """Every slice under way ends; their targets in the order of sending."""
        ended, self.sent = self.sent, []
        for slice_ in ended:
            slice_.over, slice_.error, slice_.outcome = True, error, outcome
            slice_.status = "error" if error is not None else "finished"
        return [slice_.target for slice_ in ended]


@pytest.fixture
def quiet_store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    store.close()


def test_runs_take_turns_one_for_each_worker(quiet_store):
    workers = Workers(2)
    scheduler = Scheduler(quiet_store, workers)
    ids = [quiet_store.create(TINY) for _ in range(5)]
    turns = []
    for _ in range(5):
        scheduler.turn()
        scheduler.turn()  # nothing came back, so nothing new
        turns += workers.come_back()
    assert turns == ids * 2


def test_jobs_go_first_and_leave_room_for_runs(quiet_store):
    workers = Workers(2)
    scheduler = Scheduler(quiet_store, workers)
    runs = [quiet_store.create(TINY) for _ in range(3)]
    jobs = [scheduler.jobs.ask("evaluate", {"n": n}) for n in range(5)]
    asked = []
    for _ in range(3):
        scheduler.turn()
        sent = workers.come_back()
        assert len([target for target in sent if target in runs]) == 2
        asked += [target for target in sent if target in jobs]
    assert asked == [*jobs, jobs[0]]
    assert all(workers.priorities[job] > workers.priorities[run] for job in jobs for run in runs)


def test_a_slice_that_was_fenced_off_is_no_failure_and_a_lost_one_is(quiet_store):
    workers = Workers(1)
    scheduler = Scheduler(quiet_store, workers)
    run = quiet_store.create(TINY)
    scheduler.turn()
    workers.come_back(FencedError("Slice 1 of this run is no longer the newest."))
    scheduler.turn()
    assert (row_of(quiet_store, run).failures, row_of(quiet_store, run).epoch) == (0, 2)
    workers.come_back(KilledWorker("task", None, 1))
    scheduler.turn()
    row = row_of(quiet_store, run)
    assert (row.failures, row.epoch, row.state) == (1, 4, "running"), "behind a new fence, and sent again"


def test_workers_that_do_not_find_a_run_have_lost_it(quiet_store):
    """As when they open another store: the run would be handed out for ever."""
    workers = Workers(1)
    scheduler = Scheduler(quiet_store, workers)
    run = quiet_store.create(TINY)
    for _ in range(3):
        scheduler.turn()
        assert workers.come_back(outcome="gone") == [run]
    scheduler.turn()
    assert (row_of(quiet_store, run).state, row_of(quiet_store, run).message) == ("failed", GONE)
    assert workers.sent == []


def test_a_stop_for_a_run_whose_slice_is_under_way_is_left_to_the_slice(quiet_store):
    workers = Workers(1)
    scheduler = Scheduler(quiet_store, workers)
    first, second = quiet_store.create(TINY), quiet_store.create(TINY)
    scheduler.turn()
    for run in (first, second):
        quiet_store.command(run, "stop")
    scheduler.turn()
    assert (row_of(quiet_store, first).state, row_of(quiet_store, second).state) == ("running", "stopped")
    workers.come_back()  # as after its time, having missed the order
    scheduler.turn()
    assert row_of(quiet_store, first).state == "stopped"


def test_a_slice_that_does_not_stop_in_time_is_overruled(quiet_store, monkeypatch):
    workers = Workers(1)
    scheduler = Scheduler(quiet_store, workers)
    now = [100.0]
    monkeypatch.setattr("rnnviz.runs.engine.time.monotonic", lambda: now[0])
    run = quiet_store.create(TINY)
    scheduler.turn()
    for command, later in (("pause", 50.0), ("stop", STOP_PATIENCE), ("stop", STOP_PATIENCE - 0.1)):
        quiet_store.command(run, command)
        scheduler.turn()
        now[0] += later if command == "pause" else 0
        scheduler.turn()
        assert row_of(quiet_store, run).state == "running"
    now[0] += STOP_PATIENCE + 0.1
    scheduler.turn()
    row = row_of(quiet_store, run)
    assert (row.state, row.epoch) == ("stopped", 2)
    assert scheduler.in_flight, "its worker is still taken"
    scheduler.turn()
    workers.come_back(FencedError("Slice 1 of this run is no longer the newest."))
    scheduler.turn()
    assert row_of(quiet_store, run) == row
    assert not scheduler.in_flight


def test_paced_runs_take_a_worker_only_when_their_time_has_come(quiet_store, monkeypatch):
    workers = Workers(2)
    scheduler = Scheduler(quiet_store, workers)
    now = [1e9]
    monkeypatch.setattr("rnnviz.runs.engine.time.time", lambda: now[0])
    ids = [quiet_store.create(TINY, pace=1.0) for _ in range(4)]

    def step_on() -> list[str]:
        """What comes back has made a step; its next is due a second after the last."""
        done = workers.come_back()
        for run in done:
            row = row_of(quiet_store, run)
            due = now[0] + 1.0
            quiet_store.append(
                run, row.epoch, ChunkRow(row.step, row.step, row.step + 1, b"r", b"s"),
                {"step": row.step + 1}, {}, {}, b"state", paced=(1.0, due),
            )  # fmt: skip
        return done

    for second in range(3):
        scheduler.turn()
        assert scheduler.rest() == POLL_SECONDS
        done = step_on()
        scheduler.turn()
        done += step_on()
        assert sorted(done) == sorted(ids), "two and two"
        scheduler.turn()
        assert workers.sent == [], "nobody's time has come"
        assert scheduler.rest() == IDLE_SECONDS
        now[0] += 0.96
        scheduler.turn()
        assert workers.sent == []
        assert scheduler.rest() == pytest.approx(0.04, abs=1e-3), "the loop wakes up in time"
        now[0] += 0.04
        assert {row_of(quiet_store, run).step for run in ids} == {second + 1}


def test_a_store_that_cannot_be_used_for_a_while_does_not_end_the_engine(quiet_store):
    """The runs wait where they are."""
    workers, stop = Workers(1), threading.Event()
    scheduler = Scheduler(quiet_store, workers)
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise StoreFullError("The disk is full.")
        stop.set()

    scheduler.turn = turn  # type: ignore[method-assign]
    _loop(quiet_store, scheduler, "me", None, stop)
    assert turns == [0, 1]
    assert quiet_store.heard("engine", 60.0) == ["1 workers"]


def test_without_its_workers_scheduler_an_engine_ends(quiet_store):
    """And is started again by whoever needs it."""
    workers = Workers(1)
    workers.status = "closed"
    _loop(quiet_store, Scheduler(quiet_store, workers), "me", None, threading.Event())
    assert workers.sent == []


# Words and numbers


def test_the_number_of_workers(monkeypatch):
    monkeypatch.setenv("RNNVIZ_WORKERS", "3")
    assert cores() == 3
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("RNNVIZ_WORKERS", wrong)
        with pytest.raises(
            ValueError, match=f"^RNNVIZ_WORKERS: got '{wrong}'; allowed: a whole number from 1"
        ):
            cores()
    monkeypatch.setenv("RNNVIZ_WORKERS", "")
    assert cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (None, "The worker process was killed three times in a row; perhaps"),
        (KilledWorker("task", None, 1), "The worker process was killed three times in a row; perhaps"),
        (StoreFullError("The disk is full."), "The disk is full."),
        (ValueError("no\nsuch thing"), "The run could not go on: ValueError: no"),
        (MemoryError(), "The run could not go on: MemoryError: no reason given"),
    ],
)
def test_why_a_slice_was_lost(error, sentence):
    assert _reason(error).startswith(sentence)
    assert "\n" not in _reason(error)
