"""The supervisor: one engine while a server lives, none when the last is gone."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from rnnviz.experiment import Experiment
from rnnviz.runs import supervisor
from rnnviz.runs.schema import PROCESSES
from rnnviz.runs.store import Store
from rnnviz.runs.supervisor import Supervisor
from tests.stores import new_store
from tests.waiting import wait_until

PATIENCE = 120.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    store.close()


# Decisions, with a made-up engine


class Child:
    """What the supervisor sees of a process."""

    started: list[Child]

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options = command, options
        self.returncode: int | None = None
        self.ended_by: list[str] = []
        self.started.append(self)

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.ended_by.append("terminate")
        self.returncode = 0

    def kill(self) -> None:
        self.ended_by.append("kill")

    def wait(self, timeout: float | None = None) -> int | None:
        return self.returncode


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    Child.started = []
    monkeypatch.setattr(subprocess, "Popen", Child)
    return Child.started


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)
    return clock


def test_an_engine_is_started_when_none_is_heard_and_only_once(store, children, clock):
    mine = Supervisor(store)
    for _ in range(5):
        mine._ensure_engine()
        clock.now += 60
    assert len(children) == 1


def test_the_engine_is_told_its_store_where_nobody_can_read_it(store, children, clock, monkeypatch):
    """A URL may hold a password, and a process list shows arguments."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    Supervisor(store)._ensure_engine()
    (child,) = children
    assert child.command == [sys.executable, "-m", "rnnviz", "engine", "--linger", "3.0"]
    assert child.options["env"]["RNNVIZ_STORE"] == store.url
    assert child.options["env"]["PYTHONPATH"].split(os.pathsep)[1:] == ["/elsewhere"]
    assert child.options["env"]["PATH"] == os.environ["PATH"]
    assert child.options["start_new_session"], "Ctrl-C is for the server"


def test_an_engine_that_is_heard_is_enough(store, children, clock):
    store.hear("somebody else's", "engine")
    mine = Supervisor(store)
    mine._ensure_engine()
    assert children == []
    with store.write() as connection:
        connection.execute(
            sa.update(PROCESSES).values(heard=PROCESSES.c.heard - supervisor.ENGINE_SILENCE - 1)
        )
    mine._ensure_engine()
    assert len(children) == 1


@pytest.mark.parametrize("status", [-9, 1, 2])
def test_an_engine_that_died_is_replaced_though_its_last_words_are_fresh(store, children, clock, status):
    mine = Supervisor(store)
    mine._ensure_engine()
    store.hear("the one that dies", "engine")
    clock.now += 60
    children[0].returncode = status
    mine._ensure_engine()
    assert len(children) == 2


def test_an_engine_that_left_because_of_another_is_replaced_when_that_falls_silent(store, children, clock):
    mine = Supervisor(store)
    mine._ensure_engine()
    store.hear("the other", "engine")
    children[0].returncode = 0
    clock.now += 60
    mine._ensure_engine()
    assert len(children) == 1
    store.leave("the other")
    mine._ensure_engine()
    assert len(children) == 2


def test_an_engine_that_does_not_live_is_started_less_and_less_often(store, children, clock):
    """After a second first, in the end every ten; after a long life at once again."""
    mine = Supervisor(store)
    at: list[float] = []
    for _ in range(600):  # a minute
        if len(children) > len(at):
            at.append(clock.now - 1000.0)
            children[-1].returncode = 2
        mine._ensure_engine()
        clock.now += 0.1
    pauses = [round(after - before) for before, after in itertools.pairwise(at)]
    assert pauses[:6] == [1, 2, 4, 8, 10, 10]
    clock.now += 100
    children[-1].returncode = -9
    before = len(children)
    mine._ensure_engine()
    clock.now += 1.01
    children[-1].returncode = -9
    mine._ensure_engine()
    assert len(children) == before + 2


def test_the_last_server_takes_its_engine_along(store, children, clock):
    mine = Supervisor(store)
    store.hear(mine._me, "server")
    mine._ensure_engine()
    mine.stop()
    assert children[0].ended_by == ["terminate"]
    assert store.heard("server", 60.0) == []


def test_an_engine_that_another_server_needs_is_left_alone(store, children, clock):
    mine = Supervisor(store)
    mine._ensure_engine()
    store.hear("other", "server")
    mine.stop()
    assert children[0].ended_by == []
    assert store.heard("server", 60.0) == [""]


def test_an_engine_that_does_not_listen_is_killed(store, children, clock, monkeypatch):
    mine = Supervisor(store)
    mine._ensure_engine()
    waits: list[float | None] = []

    def wait(timeout: float | None = None) -> int:
        waits.append(timeout)
        if timeout is not None:
            raise subprocess.TimeoutExpired("engine", timeout)
        return -9

    monkeypatch.setattr(children[0], "wait", wait)
    mine.stop()
    assert children[0].ended_by == ["terminate", "kill"]
    assert waits == [supervisor.STOP_SECONDS, None], "no zombie stays behind"


def test_stopping_what_never_began(store):
    Supervisor(store).stop()


def test_a_store_that_cannot_be_used_for_a_while_does_not_end_it(store, children, monkeypatch, caplog):
    monkeypatch.setattr(supervisor, "BEAT_SECONDS", 0.01)
    failures = iter(
        [sa.exc.OperationalError("x", {}, Exception("locked")), RuntimeError("full"), OSError("no")]
    )
    real = Store.hear

    def hear(store: Store, *arguments: Any) -> None:
        for failure in failures:
            raise failure
        real(store, *arguments)

    monkeypatch.setattr(Store, "hear", hear)
    mine = Supervisor(store)
    mine.start()
    try:
        wait_until(lambda: store.heard("server", 60.0) and children, PATIENCE)
    finally:
        mine.stop()
    assert [r.getMessage() for r in caplog.records if "cannot be used" in r.getMessage()][1:] == [
        "the store cannot be used now: full", "the store cannot be used now: no"
    ]  # fmt: skip
    assert len(children) == 1


# For real


def engines() -> list[psutil.Process]:
    """Engines that this process started."""
    found = []
    for child in psutil.Process().children():
        try:
            if "engine" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(300)
def test_an_engine_runs_while_the_server_does(store, tmp_path, monkeypatch, capfd):
    """Started from another folder, killed, started again, and gone with the server.

    That end is orderly, though it comes in the middle of work: status 0, no process left, nothing said, and
    the run can go on.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNNVIZ_WORKERS", "1")
    monkeypatch.delenv("RNNVIZ_SCHEDULER", raising=False)
    monkeypatch.setattr(supervisor, "STOP_SECONDS", PATIENCE)
    before = engines()
    first, second = Supervisor(store), Supervisor(Store(store.url))
    short = Experiment(task="adding", length=2, hidden=2, batch=2, steps=20)
    run = store.create(short)
    try:
        first.start()
        wait_until(lambda: store.heard("engine", 60.0) == ["1 workers"], PATIENCE)
        second.start()
        wait_until(lambda: len(store.heard("server", 60.0)) == 2, PATIENCE)
        wait_until(lambda: store.run(run).state == "finished", PATIENCE)
        (engine,) = (e for e in engines() if e not in before)
        family = [engine, *engine.children(recursive=True)]
        second.stop()
        assert engine.is_running()

        engine.kill()
        again = store.create(short.changed(steps=1_000_000))
        wait_until(lambda: store.run(again).step > 0, PATIENCE)
        (other,) = (e for e in engines() if e not in before)
        assert other != engine
        wait_until(lambda: not any(map(alive, family)), PATIENCE)
        family = [other, *other.children(recursive=True)]
        assert len(family) >= 2
        capfd.readouterr()
    finally:
        first.stop()
        second.stop()
        second.store.close()
    assert first._child.returncode == 0
    assert [e for e in engines() if e not in before] == []
    wait_until(lambda: not any(map(alive, family)), PATIENCE)
    assert capfd.readouterr() == ("", "")
    assert store.heard("server", 60.0) == []
    assert len(store.heard("engine", 3600.0)) == 1, "only what was killed could not take itself off the list"
    assert store.run(again).state == "running"
    assert store.recover() == 1
