"""Curvature over training as a job: coarse first, in slices that add up, refused with a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from rnnviz.analysis import curvature
from rnnviz.analysis.curvature import Curvature, Sharpness, measuring
from rnnviz.analysis.moment import moment
from rnnviz.experiment import Experiment
from rnnviz.runs import job_kinds, worker
from rnnviz.runs import sharpness as stored
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Job, Jobs
from rnnviz.runs.sharpness import Known, coarse_first, decode, encode
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from tests.stores import new_store

SMALL = Experiment(task="adding", cell="gru", length=6, hidden=4, batch=4, steps=9, precision="float64")

#: Too much for a step in float64.
WIDE = SMALL.changed(length=2000, batch=160, hidden=100, precision="float32")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    store = new_store(tmp_path / "runs.db")
    yield Jobs(store)
    worker.open_store.cache_clear()
    store.close()


@pytest.fixture(autouse=True)
def _whole_checkpoints(monkeypatch):
    """However busy the machine is, a partial result comes after a checkpoint and not within it."""
    monkeypatch.setattr(stored, "EVERY", math.inf)


@pytest.fixture
def every_product(monkeypatch):
    """A partial result after each product."""
    monkeypatch.setattr(stored, "EVERY", 0.0)


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    run = store.create(experiment)
    advance_slice(store.url, run, store.claim(run), 60.0)
    return run


def request(
    run: str | None, steps: list[int], experiment: Experiment = SMALL, **values: Any
) -> dict[str, Any]:
    made = {
        "run": run,
        "steps": steps,
        "kernel": "compiled",
        "experiment": experiment.to_json(),
        "version": 1,
    }
    return {**made, **values}


def job_of(jobs: Jobs, job: str) -> Job:
    found = jobs.job(job)
    assert found is not None
    return found


def work(jobs: Jobs, job: str, seconds: float = 1000.0) -> str:
    epoch = jobs.claim(job)
    assert epoch is not None
    return job_slice(jobs.store.url, job, epoch, seconds)


def test_the_newest_is_first_and_then_what_lies_between() -> None:
    assert coarse_first([0, 1, 2, 3, 4, 5, 6, 8, 9]) == [9, 0, 4, 2, 6, 1, 3, 5, 8]
    assert coarse_first([7]) == [7]
    assert coarse_first([3, 1]) == [3, 1]
    for n in range(1, 90):
        assert sorted(coarse_first(range(n))) == list(range(n))


def test_every_checkpoint_is_measured_as_by_itself(jobs) -> None:
    run = trained(jobs.store)
    steps = jobs.store.checkpoint_steps(run)
    assert len(steps) > 5
    job = jobs.ask("sharpness", request(run, steps))
    assert work(jobs, job) == "finished"
    found = decode(job_of(jobs, job).result)
    assert [one.step for one in found.in_order()] == steps
    assert found.under_way is None
    for step, blob in jobs.store.checkpoints(run).items():
        assert found.found[step] == curvature.sharpness(moment(SMALL, step, blob, "compiled"))
    assert len({one.eigenvalues for one in found.in_order()}) == len(steps)


def test_slices_fill_the_curve_in_and_add_up_to_the_same_bytes(jobs, every_product) -> None:
    run = trained(jobs.store)
    steps = jobs.store.checkpoint_steps(run)
    job = jobs.ask("sharpness", request(run, steps))
    known: list[list[int]] = []
    progress: list[float] = []
    ways: list[str] = []
    while not ways or ways[-1] != "finished":
        ways.append(work(jobs, job, seconds=-1.0))
        assert len(ways) < 70 * len(steps), "every slice goes on from the one before"
        row = job_of(jobs, job)
        now = decode(row.result or row.partial)
        if not known or list(now.found) != known[-1]:
            known.append(list(now.found))
        progress.append(row.progress)
    assert progress == sorted(progress)
    assert 20 * len(steps) < len(ways), "a slice ends after every product"
    assert [set(one) for one in known if one] == [
        set(coarse_first(steps)[:n]) for n in range(1, len(steps) + 1)
    ]
    result = job_of(jobs, job).result
    with jobs.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    whole = jobs.ask("sharpness", request(run, steps))
    assert work(jobs, whole) == "finished"
    assert job_of(jobs, whole).result == result


def test_what_is_under_way_comes_back_to_the_bit() -> None:
    here = Curvature(moment(SMALL, 0, None, "compiled"))
    known = measuring(here)
    done: dict[int, Sharpness] = {}
    while not known.done:
        known = known.further(here)
        blob = encode(Known(done, 5, known))
        back = decode(blob)
        assert encode(back) == blob
        assert (
            back.measuring.further(here).space.following.tobytes()
            == known.further(here).space.following.tobytes()
        )
        known = back.measuring
    done[5] = known.result(5, here)
    assert decode(encode(Known(done))).found == done


def test_numbers_that_are_none_come_back_as_they_are() -> None:
    nan, inf = math.nan, math.inf
    odd = Sharpness(3, inf, nan, (nan,) * 5, (nan,) * 5, nan, nan, -inf, nan, nan, 1)
    (back,) = decode(encode(Known({3: odd}))).in_order()
    assert repr(back) == repr(odd)
    assert decode(encode(Known())).in_order() == []


def test_a_cancelled_job_keeps_what_it_has_and_goes_on_from_there(jobs) -> None:
    run = trained(jobs.store)
    steps = jobs.store.checkpoint_steps(run)
    job = jobs.ask("sharpness", request(run, steps))
    work(jobs, job, seconds=-1.0)
    jobs.cancel(job)
    assert jobs.claim(job) is None
    row = job_of(jobs, job)
    assert row.state == "cancelled"
    assert list(decode(row.partial).found) == [steps[-1]]
    assert jobs.ask("sharpness", request(run, steps)) == job
    assert job_of(jobs, job).partial == row.partial
    assert work(jobs, job) == "finished"


def test_a_network_that_went_wrong_is_a_gap_and_no_failure(jobs) -> None:
    run = trained(jobs.store)
    steps = jobs.store.checkpoint_steps(run)
    broken = {
        name: np.full_like(array, np.nan) for name, array in load(jobs.store.checkpoint(run, 4)).items()
    }
    with jobs.store.write() as connection:
        connection.exec_driver_sql("UPDATE checkpoints SET parameters = ? WHERE step = 4", (save(broken),))
    job = jobs.ask("sharpness", request(run, steps))
    assert work(jobs, job) == "finished"
    found = decode(job_of(jobs, job).result).found
    assert {step: one.finite for step, one in found.items()} == {step: step != 4 for step in steps}


def test_fresh_weights_have_curvature_too(jobs) -> None:
    job = jobs.ask("sharpness", request(None, [0], SMALL.changed(cell="lstm")))
    assert work(jobs, job) == "finished"
    (found,) = decode(job_of(jobs, job).result).in_order()
    assert found == curvature.sharpness(moment(SMALL.changed(cell="lstm"), 0, None, "compiled"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": "no such run"}, "run: there is no run of that name."),
        ({"steps": [0, 77]}, "step: the parameters of step 77 were not kept; those of the steps 0, "),
        ({"steps": []}, "steps: got 0 of them; allowed: 1 to 200."),
        ({"kernel": "abacus"}, "kernel: got 'abacus'; allowed: "),
        (
            {"run": None, "experiment": SMALL.changed(cell="lstm", hidden=256).to_json()},
            "hidden: curvature is taken of at most 100,000 parameters, and this network has 266,497.",
        ),
        (
            {
                "run": None,
                "experiment": WIDE.to_json(),
            },
            "length: got 2000; a training step would keep about",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_with_a_sentence(jobs, change, sentence) -> None:
    run = trained(jobs.store)
    job = jobs.ask("sharpness", {**request(run, [0]), **change})
    assert work(jobs, job) == "failed"
    message = job_of(jobs, job).message
    assert message.startswith(sentence)
    assert "\n" not in message
    assert job_of(jobs, job).result is None
    assert "sharpness" in job_kinds.KINDS
