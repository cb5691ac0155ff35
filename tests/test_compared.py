"""What a clipped step would have done unclipped: beside the run, which it leaves alone, and in the store."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from safetensors.numpy import load

from rnnviz.clipping import CLIPPINGS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.optimizers import OPTIMIZERS
from rnnviz.recording import concatenate
from rnnviz.runs import worker
from rnnviz.runs.schema import CHECKPOINTS
from rnnviz.runs.state import from_bytes, parameters_to_bytes, to_bytes, update_to_bytes
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice, checkpoint_due
from rnnviz.training import Compared, State, advance, begin
from tests.stores import new_store

LONG = 1000.0
E = Experiment(
    task="adding", cell="lstm", length=6, hidden=4, batch=1, steps=40, clip="norm", clip_threshold=0.8,
    optimizer="momentum", learning_rate=0.02,
)  # fmt: skip

#: With some steps clipped and some not; None for rules that take no threshold.
THRESHOLDS = {
    "norm": 0.8,
    "value": 0.3,
    "agc": 1.0,
    "delta": 0.05,
    "none": None,
    "autoclip": None,
    "zclip": None,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    worker.open_store.cache_clear()
    store.close()


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


def compared(state: State) -> Compared | None:
    """What the last step was compared with."""
    return state.compared


def without_clipping(state: State) -> torch.Tensor:
    """The parameters after the next step of the same run that is not clipped from here on."""
    twin = from_bytes(to_bytes(state), state.experiment.changed(clip="none", changes=()))
    advance(twin, steps=1)
    return twin.network.flat


# Beside the run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", CLIPPINGS)
def test_both_ends_of_a_clipped_step(clip: str, optimizer: str, kernel: str) -> None:
    steps = 24
    given: dict[str, Any] = {} if THRESHOLDS[clip] is None else {"clip_threshold": THRESHOLDS[clip]}
    state = begin(E.changed(steps=steps, clip=clip, optimizer=optimizer, **given), kernel=kernel)
    if clip == "zclip":  # which only watches at first: as if it had, and gradients had been small
        state.clip_memory = array("d", (25.0, 0.3, 0.01))
    clipped = different = 0
    for step in range(steps):
        expected = without_clipping(state)
        before, state.compare_at, state.compared = state.clipped, step, None
        advance(state, steps=1)
        if state.clipped == before:
            assert compared(state) is None
            continue
        clipped += 1
        both = compared(state)
        assert both is not None
        assert both.step == step
        assert same(both.taken, state.network.flat)
        assert same(both.unclipped, expected)
        different += not same(both.unclipped, both.taken)
    assert (clipped > 0) == (clip != "none")
    assert different >= clipped - 1, "Adam's first step is as long whatever the gradient's length"
    assert clipped < steps


@pytest.mark.parametrize("scope", ["recurrent", "not_output"])
def test_what_lies_outside_of_the_clips_scope_is_the_same_at_both_ends(scope: str) -> None:
    state = begin(E.changed(clip_scope=scope, clip_threshold=1e-3, optimizer="sgd"))
    expected = without_clipping(state)
    state.compare_at = 0
    advance(state, steps=1)
    assert state.compared is not None
    assert same(state.compared.unclipped, expected)
    end = state.network.layout.scopes[scope]
    taken, unclipped = state.compared.taken, state.compared.unclipped
    assert same(taken[end:], unclipped[end:])
    assert not bool((taken[:end] == unclipped[:end]).all())


def test_truncation_and_penalties_belong_to_the_step_without_clipping() -> None:
    for more in ({"truncate": 3}, {"cell": "tanh", "omega": 2.0}):
        state = begin(E.changed(clip_threshold=0.01, **more))
        expected = without_clipping(state)
        state.compare_at = 0
        advance(state, steps=1)
        assert state.compared is not None
        assert same(state.compared.unclipped, expected), more


def test_no_other_step_than_the_one_asked_for_is_compared() -> None:
    state = begin(E.changed(clip_threshold=0.001))
    advance(state, steps=3)
    assert compared(state) is None
    state.compare_at = 5
    advance(state, steps=10)
    both = compared(state)
    assert both is not None
    assert both.step == 5


@pytest.mark.parametrize("clip", CLIPPINGS)
def test_watching_changes_nothing_of_the_run(clip: str) -> None:
    given: dict[str, Any] = {} if THRESHOLDS[clip] is None else {"clip_threshold": THRESHOLDS[clip]}
    e = E.changed(clip=clip, optimizer="adam", **given)
    watched, alone = begin(e), begin(e)
    chunks = []
    for step in range(e.steps):
        watched.compare_at = step
        chunks.append(advance(watched, steps=1))
    told = concatenate(chunks).arrays()
    whole = advance(alone).arrays()
    assert to_bytes(watched) == to_bytes(alone)
    assert {name: a.tobytes() for name, a in told.items()} == {n: a.tobytes() for n, a in whole.items()}


def test_a_step_that_ends_a_run_has_no_other_end() -> None:
    state = begin(E.changed(optimizer="sgd", clip_threshold=0.5))
    state.values["learning_rate"] = 1e39  # beyond float32
    state.compare_at = 0
    advance(state, steps=1)
    assert state.diverged_at == 0
    assert state.compared is None


def test_an_end_beyond_the_numbers_is_kept_as_it_is() -> None:
    state = begin(E.changed(optimizer="sgd"))
    state.values |= {"learning_rate": 3e38, "clip_threshold": 1e-37}  # the largest gradients are above 1
    state.compare_at = 0
    advance(state, steps=1)
    assert state.diverged_at is None
    assert state.compared is not None
    assert bool(torch.isfinite(state.compared.taken).all())
    assert not bool(torch.isfinite(state.compared.unclipped).all())


# In the store ------------------------------------------------------------------------------------------


def work(store: Store, run: str, seconds: float = LONG) -> str:
    epoch = store.claim(run)
    assert epoch is not None
    return advance_slice(store.url, run, epoch, seconds)


def expected_updates(e: Experiment) -> tuple[dict[int, bytes], list[bytes]]:
    """By hand, each step from the state before it; and the parameters after 0, 1, 2, ... steps."""
    state, found = begin(e), {}
    along = [parameters_to_bytes(state)]
    while not state.done:
        step, before = state.step, state.clipped
        state.compare_at = step
        advance(state, steps=1)
        along.append(parameters_to_bytes(state))
        if state.clipped > before and checkpoint_due(step):
            assert state.compared is not None
            found[step] = update_to_bytes(state.compared)
    return found, along


def in_order(blob: bytes) -> np.ndarray:
    """Parameters by name as one vector, in the order of the network's layout."""
    arrays = load(blob)
    return np.concatenate([arrays[name].ravel() for name in begin(E).network.layout.shapes])


def test_the_store_keeps_what_followed_each_checkpoint(store: Store) -> None:
    run = store.create(E)
    assert work(store, run) == "finished"
    kept = store.updates(run)
    expected, along = expected_updates(E)
    assert kept == expected
    assert list(kept) == sorted(kept)
    assert 0 < len(kept) < len(store.checkpoint_steps(run)) - 1, "some steps were clipped and some were not"
    for step, blob in kept.items():
        np.testing.assert_array_equal(load(blob)["taken"], in_order(along[step + 1]))
    after = list(kept)[1]
    assert list(store.updates(run, after=after)) == list(kept)[2:]
    assert store.updates("nobody") == {}


def test_a_run_that_clips_nothing_keeps_nothing(store: Store) -> None:
    run = store.create(E.changed(clip="none"))
    work(store, run)
    assert store.updates(run) == {}


@pytest.mark.parametrize("dies", range(5))
def test_a_slice_that_was_lost_leaves_the_same_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, dies: int
) -> None:
    """Killed at one of its writes, when some of its chunks are in the store and its state is not."""
    monkeypatch.setattr(worker, "ORDERS_SECONDS", 0.0)
    monkeypatch.setattr(worker, "CHUNK_SECONDS", 0.0)
    run = store.create(E.changed(clip_threshold=0.3))
    work(store, run, seconds=0.0)  # one step, then its state: the next slice begins at a checkpoint
    real, writes = Store.append, [0]

    def append(store: Store, *arguments: Any, **options: Any) -> None:
        writes[0] += 1
        if writes[0] == dies + 1:
            raise MemoryError("killed")
        real(store, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", append)
        with pytest.raises(MemoryError):
            work(store, run)
    store.lost(run, "killed")
    assert work(store, run) == "finished"
    assert store.updates(run) == expected_updates(E.changed(clip_threshold=0.3))[0]
    assert_counted(store, run)


def assert_counted(store: Store, run: str) -> None:
    """The run's row says how many bytes there are of it."""
    row, state = store.run(run), store.state(run)
    assert row is not None
    assert state is not None
    chunks = sum(len(chunk.record) + len(chunk.screen) for chunk in store.chunks(run))
    kept = sum(map(len, [*store.checkpoints(run).values(), *store.updates(run).values()]))
    assert row.bytes == chunks + kept + len(state)


def test_what_is_kept_is_counted(store: Store) -> None:
    run = store.create(E)
    work(store, run)
    assert store.updates(run)
    assert_counted(store, run)


@pytest.mark.parametrize(("before", "after"), [("none", "norm"), ("norm", "none"), ("norm", "delta")])
def test_a_change_at_a_checkpoint_counts_for_the_step_after_it(store: Store, before: str, after: str) -> None:
    e = E.changed(clip=before, clip_threshold=0.01)
    run = store.create(e, pause_at=8)
    assert work(store, run) == "pause"
    assert 8 not in store.updates(run), "that step was not made yet"
    assert store.change(run, "clip", after) is None
    store.command(run, "go")
    store.settle()
    assert work(store, run) == "finished"
    row = store.run(run)
    assert row is not None
    assert [(c.step, c.value) for c in row.experiment.changes] == [(8, after)]
    kept = store.updates(run)
    assert kept == expected_updates(row.experiment)[0]
    assert (7 in kept, 8 in kept) == (before != "none", after != "none")


def test_a_deleted_run_leaves_none_of_it(store: Store) -> None:
    gone, stays = store.create(E), store.create(E)
    for run in (gone, stays):
        work(store, run)
    kept = store.updates(stays)
    store.delete(gone)
    assert store.updates(gone) == {}
    assert store.updates(stays) == kept
    with store.read() as connection:
        owners = set(connection.execute(sa.select(CHECKPOINTS.c.run)).scalars())
    assert owners == {stays}
