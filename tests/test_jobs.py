"""Jobs: asked once, answered from the store, in slices that add up, and with a sentence when it cannot be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from safetensors.numpy import load, save
from torch import nn
from torch.nn import functional as F

from rnnviz.analysis.jacobians import read_jacobians
from rnnviz.analysis.moment import moment
from rnnviz.experiment import Experiment
from rnnviz.runs import job_kinds, maps, worker
from rnnviz.runs import jobs as jobs_module
from rnnviz.runs.job_kinds import KINDS, job_slice
from rnnviz.runs.jobs import OPEN, Job, Jobs
from rnnviz.runs.state import from_bytes, to_bytes
from rnnviz.runs.store import FencedError, Store, StoreFullError
from rnnviz.runs.worker import advance_slice
from rnnviz.tasks import TASKS
from rnnviz.tasks.task import FRESH_STREAM, GeneratedTask
from tests.stores import new_store

LONG = 1000.0
ADDING = Experiment(task="adding", cell="gru", length=6, hidden=4, batch=4, steps=5)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    store = new_store(tmp_path / "runs.db")
    yield Jobs(store)
    worker.open_store.cache_clear()
    store.close()


def trained(store: Store, experiment: Experiment = ADDING) -> str:
    run = store.create(experiment)
    advance_slice(store.url, run, store.claim(run), LONG)
    assert store.run(run).state == "finished"
    return run


def job_of(jobs: Jobs, job: str) -> Job:
    found = jobs.job(job)
    assert found is not None
    return found


def work(jobs: Jobs, job: str, seconds: float = LONG) -> str:
    epoch = jobs.claim(job)
    assert epoch is not None
    return job_slice(jobs.store.url, job, epoch, seconds)


def answer(jobs: Jobs, job: str) -> dict[str, Any]:
    found = job_of(jobs, job)
    assert found.state == "finished"
    return json.loads(found.result)


def counting(calls: list[Mapping[str, Any]], steps: int = 3) -> Any:
    """A kind of job that adds 1, 2, 3 ... and tells how often it was started."""

    def kind(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Any]:
        calls.append(request)
        done, total = json.loads(partial) if partial else (0, 0)
        while done < steps:
            done += 1
            total += done
            state = json.dumps([done, total]).encode()
            yield done / steps, state, None
        yield 1.0, None, str(total).encode()

    return kind


# One request, one row


def test_a_job_waits_with_what_was_asked(jobs):
    job = job_of(jobs, jobs.ask("evaluate", {"run": "r", "step": 5}))
    assert (job.kind, job.request, job.state, job.command) == (
        "evaluate",
        {"run": "r", "step": 5},
        "queued",
        "go",
    )
    assert (job.progress, job.partial, job.result, job.message, job.epoch) == (0.0, None, None, None, 0)
    assert jobs.open() == [job.id]
    assert jobs.job("no such job") is None


def test_the_same_request_is_the_same_job(jobs):
    first = jobs.ask("evaluate", {"run": "r", "step": 5})
    assert jobs.ask("evaluate", {"step": 5, "run": "r"}) == first, "in whatever order"
    others = [
        jobs.ask("evaluate", {"run": "r", "step": 6}), jobs.ask("surface", {"run": "r", "step": 5}),
        jobs.ask("evaluate", {"run": "r", "step": "5"}),
    ]  # fmt: skip
    assert len({first, *others}) == 4
    assert jobs.open() == [first, *others], "the oldest first"


def test_a_request_is_answered_from_the_store_the_second_time(jobs, monkeypatch):
    calls: list[Mapping[str, Any]] = []
    monkeypatch.setitem(KINDS, "count", counting(calls))
    job = jobs.ask("count", {"n": 1})
    assert work(jobs, job) == "finished"
    before = job_of(jobs, job)
    assert (before.state, before.result, before.progress, before.partial) == ("finished", b"6", 1.0, None)
    assert jobs.ask("count", {"n": 1}) == job
    assert job_of(jobs, job) == before
    assert jobs.open() == []
    assert jobs.claim(job) is None
    assert calls == [{"n": 1}]


def test_the_least_recently_served_is_next(jobs):
    ids = [jobs.ask("count", {"n": n}) for n in range(3)]
    jobs.report(ids[0], jobs.claim(ids[0]), 0.5, b"half")
    assert jobs.open() == [ids[1], ids[2], ids[0]]


# Slices


def test_progress_and_parts_are_kept_between_slices(jobs, monkeypatch):
    calls: list[Mapping[str, Any]] = []
    monkeypatch.setitem(KINDS, "count", counting(calls))
    job = jobs.ask("count", {})
    seen = []
    for way in ("time", "time", "time", "finished"):
        assert work(jobs, job, seconds=-1.0) == way
        seen.append((job_of(jobs, job).state, job_of(jobs, job).progress, job_of(jobs, job).partial))
    assert seen == [
        ("running", 1 / 3, b"[1, 1]"), ("running", 2 / 3, b"[2, 3]"), ("running", 1.0, b"[3, 6]"),
        ("finished", 1.0, None),
    ]  # fmt: skip
    assert job_of(jobs, job).result == b"6"
    assert len(calls) == 4


@pytest.mark.parametrize("task", [t.name for t in TASKS.values()])
def test_slices_give_the_answer_of_one_slice(jobs, task):
    task = TASKS[task]
    length = task.fixed_length or task.min_length
    run = trained(jobs.store, Experiment(task=task.name, length=length, hidden=3, batch=2, steps=2))
    request = {"run": run, "step": 2, "sequences": 600}
    job = jobs.ask("evaluate", request)
    ways = [work(jobs, job, seconds=-1.0)]
    while ways[-1] != "finished":
        ways.append(work(jobs, job, seconds=-1.0))
    assert len(ways) == (3 if isinstance(task, GeneratedTask) else 1)
    parts = answer(jobs, job)
    jobs.store.delete(run)  # with its jobs
    assert jobs.job(job) is None
    run = trained(jobs.store, Experiment(task=task.name, length=length, hidden=3, batch=2, steps=2))
    job = jobs.ask("evaluate", {**request, "run": run})
    assert work(jobs, job) == "finished"
    assert answer(jobs, job) == parts


def test_a_lost_slice_goes_on_from_what_is_kept(jobs, monkeypatch):
    calls: list[Mapping[str, Any]] = []
    monkeypatch.setitem(KINDS, "count", counting(calls))
    job = jobs.ask("count", {})
    work(jobs, job, seconds=-1.0)
    jobs.claim(job)
    jobs.lost(job, "killed")
    found = job_of(jobs, job)
    assert (found.state, found.failures, found.partial) == ("queued", 1, b"[1, 1]")
    assert work(jobs, job) == "finished"
    assert job_of(jobs, job).result == b"6"


def test_three_lost_slices_in_a_row_are_the_end(jobs, monkeypatch):
    job = jobs.ask("count", {})
    for _ in range(3):
        assert jobs.claim(job) is not None
        jobs.lost(job, "The worker died.")
    assert (job_of(jobs, job).state, job_of(jobs, job).message) == ("failed", "The worker died.")
    assert jobs.open() == []
    jobs.lost(job, "late news")
    assert job_of(jobs, job).message == "The worker died."


def test_progress_forgives_earlier_losses(jobs, monkeypatch):
    monkeypatch.setitem(KINDS, "count", counting([]))
    job = jobs.ask("count", {})
    for _ in range(2):
        jobs.claim(job)
        jobs.lost(job, "killed")
    work(jobs, job, seconds=-1.0)
    assert job_of(jobs, job).failures == 0


@pytest.mark.parametrize("event", ["claimed again", "lost", "asked again"])
def test_an_old_slice_writes_nothing(jobs, event):
    job = jobs.ask("count", {})
    epoch = jobs.claim(job)
    if event == "claimed again":
        jobs.claim(job)
    elif event == "lost":
        jobs.lost(job, "silent")
    else:
        jobs.cancel(job)
        assert jobs.claim(job) is None
        jobs.ask("count", {})
        jobs.claim(job)
    before = job_of(jobs, job)
    for attempt in (
        lambda: jobs.report(job, epoch, 0.5, b"old", b"old"),
        lambda: jobs.fail(job, epoch, "Old."),
        lambda: jobs.cancelled(job, epoch),
    ):
        with pytest.raises(FencedError):
            attempt()
    assert job_of(jobs, job) == before


# Cancelling and asking again


def test_a_waiting_job_is_cancelled_at_once(jobs, monkeypatch):
    calls: list[Mapping[str, Any]] = []
    monkeypatch.setitem(KINDS, "count", counting(calls))
    job = jobs.ask("count", {})
    jobs.cancel(job)
    assert jobs.claim(job) is None
    assert job_of(jobs, job).state == "cancelled"
    assert jobs.open() == []
    assert calls == []
    jobs.cancel(job)
    jobs.cancel("no such job")


def test_a_job_under_way_is_cancelled_between_two_of_its_parts(jobs, monkeypatch):
    steps: list[int] = []

    def kind(*_: Any) -> Iterator[Any]:
        for i in range(10):
            if i == 2:
                jobs.cancel(job)
            steps.append(i)
            yield i / 10, b"%d" % i, None
        pytest.fail("nobody wants this any more")

    monkeypatch.setitem(KINDS, "slow", kind)
    job = jobs.ask("slow", {})
    assert work(jobs, job) == "cancelled"
    assert steps == [0, 1, 2]
    assert jobs.claim(job) is None
    assert (job_of(jobs, job).state, job_of(jobs, job).result) == ("cancelled", None)


def test_a_cancelled_job_can_be_asked_again(jobs, monkeypatch):
    monkeypatch.setitem(KINDS, "count", counting([]))
    job = jobs.ask("count", {})
    work(jobs, job, seconds=-1.0)
    jobs.cancel(job)
    jobs.claim(job)
    assert jobs.ask("count", {}) == job
    found = job_of(jobs, job)
    assert (found.state, found.command) == ("queued", "go")
    assert found.progress == pytest.approx(1 / 3)
    assert found.partial == b"[1, 1]", "what was done is sound"
    assert work(jobs, job) == "finished"


def test_a_job_that_is_asked_again_before_its_cancelling_was_seen_goes_on(jobs, monkeypatch):
    monkeypatch.setitem(KINDS, "count", counting([]))
    job = jobs.ask("count", {})
    work(jobs, job, seconds=-1.0)
    jobs.cancel(job)
    assert jobs.ask("count", {}) == job
    assert job_of(jobs, job).partial == b"[1, 1]"
    assert work(jobs, job) == "finished"
    assert job_of(jobs, job).result == b"6"


def test_a_finished_job_is_not_cancelled(jobs, monkeypatch):
    monkeypatch.setitem(KINDS, "count", counting([]))
    job = jobs.ask("count", {})
    work(jobs, job)
    jobs.cancel(job)
    assert jobs.claim(job) is None
    assert (job_of(jobs, job).state, job_of(jobs, job).result) == ("finished", b"6")
    assert jobs.ask("count", {}) == job
    assert job_of(jobs, job).state == "finished"


# Many at once, and which go first


def asked(n: int) -> dict[str, int]:
    return {"n": n}


def test_a_higher_priority_goes_first_and_then_who_has_waited_longest(jobs):
    low, high = jobs.ask("count", asked(1)), jobs.ask("count", asked(2), priority=2)
    middle, late = jobs.ask_all("count", [asked(3), asked(4)], priority=1)
    assert jobs.open() == [high, middle, late, low]
    jobs.report(middle, jobs.claim(middle), 0.5, b"half")
    assert jobs.open() == [high, late, middle, low], "of equals the least recently served"
    assert job_of(jobs, high).priority == 2


def test_asking_again_raises_a_priority_and_never_lowers_it(jobs):
    first, second = jobs.ask_all("count", [asked(1), asked(2)])
    assert jobs.ask("count", asked(2), priority=3) == second
    assert jobs.open() == [second, first]
    assert jobs.ask("count", asked(2), priority=1) == second
    assert job_of(jobs, second).priority == 3
    jobs.claim(second)
    jobs.ask("count", asked(2), priority=5)
    assert (job_of(jobs, second).priority, job_of(jobs, second).state) == (5, "running")
    jobs.cancel(first, second)
    assert jobs.claim(second) is None
    jobs.ask("count", asked(2))
    assert job_of(jobs, second).priority == 0, "what was over is asked anew"


def test_many_are_asked_at_once_and_come_back_in_order(jobs):
    requests = [asked(n) for n in (5, 3, 9, 1)]
    known = jobs.ask("count", asked(9))
    ids = jobs.ask_all("count", [*requests, asked(3)])
    assert [job_of(jobs, job).request["n"] for job in ids] == [5, 3, 9, 1, 3]
    assert ids[2] == known
    assert ids[4] == ids[1]
    assert len(jobs.open()) == 4
    assert jobs.ask_all("count", []) == []


@pytest.mark.parametrize("fails_at", [0, 2])
def test_of_many_all_are_asked_or_none(jobs, monkeypatch, fails_at):
    real, calls = jobs_module._asked, [0]

    def asked_until_full(*arguments: Any) -> str:
        calls[0] += 1
        if calls[0] == fails_at + 1:
            raise StoreFullError("The disk is full.")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(jobs_module, "_asked", asked_until_full)
        with pytest.raises(StoreFullError):
            jobs.ask_all("count", [asked(n) for n in range(4)])
    assert jobs.open() == []
    assert len(jobs.ask_all("count", [asked(n) for n in range(4)])) == 4


def test_two_who_ask_the_same_at_once_get_the_same_jobs(jobs):
    """As if somebody else's row came between the look and the insert: once, then all is found."""
    real, calls = jobs._ask, [0]

    def beaten(kind: str, requests: Any, priority: int) -> list[str]:
        calls[0] += 1
        if calls[0] == 1:
            real(kind, requests, priority)
            raise sa.exc.IntegrityError("insert", {}, Exception("UNIQUE constraint failed"))
        return real(kind, requests, priority)

    jobs._ask = beaten
    ids = jobs.ask_all("count", [asked(1), asked(2)], priority=1)
    assert calls[0] == 2
    assert jobs.open() == ids


def test_many_are_found_in_order_and_none_where_there_is_none(jobs):
    ids = jobs.ask_all("count", [asked(1), asked(2)])
    found = jobs.find_all("count", [asked(2), asked(7), asked(1), asked(2)])
    assert [job and job.id for job in found] == [ids[1], None, ids[0], ids[1]]
    assert jobs.find_all("other", [asked(1)]) == [None]
    assert jobs.find_all("count", []) == []
    assert jobs.find("count", asked(2)) == found[0]
    assert jobs.find("count", asked(8)) is None


def test_more_than_a_query_takes_are_asked_found_and_cancelled(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "AT_ONCE", 3)
    requests = [asked(n) for n in range(8)]
    ids = jobs.ask_all("count", requests)
    assert [job.id for job in jobs.find_all("count", requests)] == ids
    jobs.cancel(*ids[:7])
    assert jobs.open() == ids[7:]
    assert [job_of(jobs, job).state for job in ids[:7]] == ["cancelled"] * 7


def test_of_many_that_are_cancelled_what_waits_is_over_at_once(jobs, monkeypatch):
    monkeypatch.setitem(KINDS, "count", counting([]))
    waits, runs, done, other = jobs.ask_all("count", [asked(n) for n in range(4)])
    assert work(jobs, done) == "finished"
    epoch = jobs.claim(runs)
    jobs.cancel(waits, runs, done, "no such job")
    assert [job_of(jobs, job).state for job in (waits, runs, done, other)] == [
        "cancelled", "running", "finished", "queued",
    ]  # fmt: skip
    assert jobs.open() == [other, runs]
    assert jobs.cancelled(runs, epoch), "which it notices between two of its parts"
    assert jobs.claim(runs) is None
    jobs.cancel()
    assert jobs.open() == [other]
    assert jobs.ask("count", asked(0)) == waits
    assert (job_of(jobs, waits).state, job_of(jobs, waits).command) == ("queued", "go")


# What cannot be answered


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": "no such run"}, "run: there is no run of that name with a state to evaluate."),
        ({"step": 3}, "step: got 3; the run's latest state is of step 5."),
    ],
)
def test_a_request_that_cannot_be_answered_fails_with_a_sentence(jobs, change, sentence):
    request = {"run": trained(jobs.store), "step": 5, "sequences": 10, **change}
    job = jobs.ask("evaluate", request)
    assert work(jobs, job) == "failed"
    found = job_of(jobs, job)
    assert (found.state, found.message, found.result) == ("failed", sentence, None)
    assert found.state not in OPEN
    assert jobs.ask("evaluate", request) == job, "asking again is another try"
    found = job_of(jobs, job)
    assert (found.state, found.message, found.failures) == ("queued", None, 0)
    assert work(jobs, job) == "failed"


def test_a_run_that_has_not_begun_cannot_be_evaluated(jobs):
    job = jobs.ask("evaluate", {"run": jobs.store.create(ADDING), "step": 0, "sequences": 10})
    assert work(jobs, job) == "failed"
    assert job_of(jobs, job).message.startswith("run: there is no run of that name with a state")


def test_numbers_that_are_not_finite_never_stand_in_the_answer(jobs):
    run = trained(jobs.store)
    row = jobs.store.run(run)
    state = from_bytes(jobs.store.state(run), row.experiment)
    state.network.parameters["out.bias"].fill_(math.inf)
    with jobs.store.write() as connection:
        connection.exec_driver_sql("UPDATE states SET state = ?", (to_bytes(state),))
    job = jobs.ask("evaluate", {"run": run, "step": 5, "sequences": 600})
    assert work(jobs, job) == "failed"
    assert job_of(jobs, job).message == "loss: it is no finite number on these sequences."
    assert "Infinity" not in str(job_of(jobs, job))


def test_a_job_that_is_not_there_is_gone(jobs):
    assert job_slice(jobs.store.url, "no such job", 1) == "gone"


# Evaluating


def test_evaluating_gives_the_numbers_of_an_independent_computation(jobs):
    """PyTorch's own GRU, sequences drawn here, all at once instead of in batches."""
    experiment = ADDING.changed(precision="float64", steps=60, hidden=8)
    run = trained(jobs.store, experiment)
    job = jobs.ask("evaluate", {"run": run, "step": 60, "sequences": 620})
    assert work(jobs, job) == "finished"
    got = answer(jobs, job)

    task = TASKS["adding"]
    batches = [
        task.sample(np.random.default_rng([0, FRESH_STREAM, first]), 6, size)
        for first, size in ((0, 250), (250, 250), (500, 120))
    ]
    inputs = torch.from_numpy(np.concatenate([b.inputs for b in batches], axis=1))
    targets = torch.from_numpy(np.concatenate([b.targets for b in batches]))
    assert len(np.unique(inputs[:, :, 0].numpy(), axis=1).T) == 620, "no sequence twice"
    parameters = from_bytes(jobs.store.state(run), experiment).network.parameters
    gru = nn.GRU(2, 8, dtype=torch.float64)
    gru.load_state_dict({n[4:]: p for n, p in parameters.items() if n.startswith("rnn.")})
    with torch.no_grad():
        hidden, _ = gru(inputs)
        outputs = hidden[-1] @ parameters["out.weight"].T + parameters["out.bias"]
    assert got["sequences"] == 620
    assert got["loss"] == pytest.approx(float(F.mse_loss(outputs, targets)), rel=1e-9)
    right = (outputs - targets).abs() < 0.04
    assert got["accuracy"] == pytest.approx(float(right.double().mean()), abs=1e-12)
    assert 0 < got["accuracy"] < 1


def test_a_data_set_is_evaluated_on_all_that_was_held_out(jobs):
    experiment = Experiment(task="digits_rows", hidden=4, batch=16, steps=30)
    run = trained(jobs.store, experiment)
    job = jobs.ask("evaluate", {"run": run, "step": 30, "sequences": 7})
    assert work(jobs, job) == "finished"
    row = jobs.store.run(run)
    assert answer(jobs, job) == {
        "sequences": 450, "loss": pytest.approx(row.validation_loss), "accuracy": row.validation_accuracy
    }  # fmt: skip


def test_evaluating_does_not_touch_the_run(jobs):
    run = trained(jobs.store)
    before = (jobs.store.run(run), jobs.store.state(run), jobs.store.chunks(run))
    work(jobs, jobs.ask("evaluate", {"run": run, "step": 5, "sequences": 300}))
    assert (jobs.store.run(run), jobs.store.state(run), jobs.store.chunks(run)) == before


# The map of Jacobians

MAP = {"run": None, "step": 0, "kernel": "torch", "part": 0, "layer": 0, "direction": 0, "sequence": 0}


@pytest.fixture
def blocks(monkeypatch):
    """Blocks of a few columns also for a small map."""
    monkeypatch.setattr(maps, "COSTLY", 4000.0)


def map_request(experiment: Experiment = ADDING, **values: Any) -> dict[str, Any]:
    return {**MAP, "experiment": experiment.to_json(), **values}


def test_a_map_fills_in_coarse_first_and_goes_on_from_what_is_kept(jobs, blocks):
    experiment = ADDING.changed(length=20, cell="lstm")
    job = jobs.ask("jacobian_map", map_request(experiment))
    seen: list[list[int]] = []
    ways: list[str] = []
    while not ways or ways[-1] != "finished":
        ways.append(work(jobs, job, seconds=-1.0))
        found = job_of(jobs, job)
        known = maps.decode_map(found.result or found.partial)
        assert found.progress == pytest.approx(known.done.mean())
        assert np.isnan(known.lower[:, ~known.done]).all()
        inside = np.tri(20, dtype=bool) & known.done
        assert (known.lower[inside] <= known.upper[inside]).all()
        seen.append(np.flatnonzero(known.done).tolist())
    assert len(ways) >= 8
    assert ways[:-1] == ["time"] * (len(ways) - 1)
    assert [len(columns) for columns in seen] == sorted({len(columns) for columns in seen})
    first, second = seen[0], sorted({*seen[1]} - {*seen[0]})
    assert 0 in first
    assert len({*np.diff(first)}) == 1
    assert second[0] == first[1] // 2, "halfway between"
    parts = job_of(jobs, job).result
    assert seen[-1] == list(range(20))
    assert jobs.ask("jacobian_map", map_request(experiment)) == job
    assert job_of(jobs, job).result == parts, "the second time from the store"
    assert jobs.open() == []
    with jobs.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    whole = jobs.ask("jacobian_map", map_request(experiment))
    assert work(jobs, whole) == "finished"
    assert job_of(jobs, whole).result == parts, "in one slice the same bytes"


def test_a_map_goes_on_after_a_lost_slice_and_ends_when_it_is_cancelled(jobs, blocks):
    job = jobs.ask("jacobian_map", map_request(ADDING.changed(length=20, cell="lstm")))
    work(jobs, job, seconds=-1.0)
    before = maps.decode_map(job_of(jobs, job).partial)
    jobs.claim(job)
    jobs.lost(job, "killed")
    assert work(jobs, job, seconds=-1.0) == "time"
    after = maps.decode_map(job_of(jobs, job).partial)
    assert after.done.sum() > before.done.sum()
    np.testing.assert_array_equal(after.lower[:, before.done], before.lower[:, before.done])
    jobs.cancel(job)
    assert jobs.claim(job) is None
    assert job_of(jobs, job).state == "cancelled"


@pytest.mark.parametrize("trained_first", [False, True])
def test_a_map_is_that_of_the_weights_and_the_sequence_that_were_asked_for(jobs, trained_first):
    """Every product by itself, its singular values exactly."""
    experiment = ADDING.changed(precision="float64", layers=2, direction="both", cell="lstm")
    run = trained(jobs.store, experiment) if trained_first else None
    step = 5 if trained_first else 0
    place = {"layer": 1, "direction": 1, "sequence": 2}
    job = jobs.ask("jacobian_map", map_request(experiment, run=run, step=step, **place))
    assert work(jobs, job) == "finished"
    got = maps.decode_map(job_of(jobs, job).result)
    parameters = jobs.store.checkpoints(run)[5] if run else None
    seen = moment(experiment, step, parameters, "torch")
    J = read_jacobians(seen.network.cell, seen.network.weights(1, 1), seen.trace(1, 1), 2).numpy()
    for k in range(6):
        P = np.eye(8)
        for t in range(k, 6):
            P = P if t == k else J[t] @ P
            exact = math.log10(np.linalg.norm(P, 2))
            assert got.lower[t, k] <= exact + 1e-6
            assert got.upper[t, k] >= exact - 1e-6
            assert got.frobenius[t, k] == pytest.approx(math.log10(np.linalg.norm(P)), abs=1e-5)
        assert np.isnan(got.lower[:k, k]).all()
    assert got.width <= 1.0501
    assert ((got.middle() >= got.lower) == np.tri(6, dtype=bool)).all()
    np.testing.assert_allclose(got.stretch, np.linalg.norm(J, 2, axis=(1, 2)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": "no such run"}, "run: there is no run of that name."),
        ({"step": 99}, "step: the parameters of step 99 were not kept; those of the steps 0, "),
        ({"layer": 1}, "layer: got 1; it is counted from 0 and there are 1."),
        ({"sequence": 4}, "sequence: got 4; it is counted from 0 and there are 4."),
        ({"kernel": "abacus"}, "kernel: got 'abacus'; allowed: "),
        ({"experiment": "[]"}, "experiment: "),
        ({"experiment": ADDING.changed(hidden=5).to_json()}, "rnn.weight_hh_l0: got (12, 4); the network"),
    ],
)
def test_a_map_that_cannot_be_made_is_refused_with_a_sentence(jobs, change, sentence):
    run = trained(jobs.store)
    job = jobs.ask("jacobian_map", {**map_request(run=run, step=5), **change})
    assert work(jobs, job) == "failed"
    found = job_of(jobs, job)
    assert found.message.startswith(sentence)
    assert "\n" not in found.message
    assert found.result is None


def test_a_map_of_states_that_are_not_finite_or_too_many_is_refused(jobs, monkeypatch):
    run = trained(jobs.store)
    arrays = {
        name: np.full_like(array, np.nan) for name, array in load(jobs.store.checkpoints(run)[5]).items()
    }
    with jobs.store.write() as connection:
        connection.exec_driver_sql("UPDATE checkpoints SET parameters = ?", (save(arrays),))
    job = jobs.ask("jacobian_map", map_request(run=run, step=5))
    assert work(jobs, job) == "failed"
    assert job_of(jobs, job).message.startswith("states: none of them is finite at this step")
    monkeypatch.setattr(job_kinds, "MOST_JACOBIANS", 95)  # 6 steps of 4 states have 96
    job = jobs.ask("jacobian_map", map_request())
    assert work(jobs, job) == "failed"
    assert job_of(jobs, job).message.startswith("hidden: the map of 6 steps of 4 states does not fit")


@pytest.mark.parametrize("T", [1, 2, 50, 200])
@pytest.mark.parametrize("S", [1, 64, 128, 512])
def test_blocks_hold_every_column_once(T, S):
    blocks = maps.column_blocks(T, S)
    assert sorted(k for block in blocks for k in block) == list(range(T))
    assert all(block == sorted(block) for block in blocks)


def test_rounding_to_float32_goes_outward():
    rng = np.random.default_rng(0)
    empty = maps.empty_map(rng.random(30))
    lower = rng.normal(size=(30, 30)) * 50
    lower[3, 4] = -np.inf
    lower[2, 7] = np.nan
    upper = lower + rng.random((30, 30)) * 1e-7
    back = maps.decode_map(maps.encode_map(empty.filled(list(range(30)), (lower, upper, upper))))
    known = ~np.isnan(lower)
    assert (back.lower[known] <= lower[known]).all()
    assert (back.upper[known] >= upper[known]).all()
    np.testing.assert_allclose(back.upper, upper, rtol=2e-7)
    assert math.isnan(empty.width)
