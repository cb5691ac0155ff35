"""Surfaces as jobs: grids, levels and tiles, and heights that are those that training had."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from rnnviz import training
from rnnviz.analysis import moment as moments
from rnnviz.analysis.heights import Heights
from rnnviz.analysis.moment import flat_of, moment
from rnnviz.analysis.planes import Slice
from rnnviz.analysis.scene import Scene, plane_of, theta_of
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs import job_kinds, worker
from rnnviz.runs.chunk import decode
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Job, Jobs
from rnnviz.runs.schema import CHECKPOINTS
from rnnviz.runs.store import Store
from rnnviz.runs.surfaces import (
    KIND,
    SIZES,
    Grid,
    decode_tile,
    encode_tile,
    gathered,
    level_sides,
    nodes,
    request,
    tile_requests,
    tiles,
)
from rnnviz.runs.worker import advance_slice
from tests.stores import new_store

LONG = 1000.0
WINDOW = (-1.0, 1.0, -1.0, 1.0)
RANDOM = {"kind": "random", "seed": 3, "biases": True}
SMALL = Experiment(
    task="adding", cell="gru", length=6, hidden=4, batch=4, steps=20, clip="norm", clip_threshold=0.5
)
WIDE = SMALL.changed(cell="lstm", length=100, hidden=64, batch=64)  # of which few nodes make a tile

Surface = dict[str, Any]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    store = new_store(tmp_path / "runs.db")
    yield Jobs(store)
    forget()
    worker.open_store.cache_clear()
    store.close()


def forget() -> None:
    """As a worker that has done nothing yet."""
    job_kinds._scenes.clear()
    moments._kept.clear()


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    run = store.create(experiment)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, LONG)
    return run


def kernel_of(store: Store, run: str) -> str:
    row = store.run(run)
    assert row is not None
    assert row.kernel is not None
    return str(json.loads(row.kernel)["kernel"])


def of_run(store: Store, run: str, step: int, plane: Mapping[str, Any] = RANDOM, **more: Any) -> Surface:
    row = store.run(run)
    assert row is not None
    window, n = more.pop("window", WINDOW), more.pop("n", 17)
    return request(row.experiment, run, step, kernel_of(store, run), plane, window, n, **more)


def computed(jobs: Jobs, surface: Surface, seconds: float = LONG) -> list[Job]:
    """Its tiles, worked off one after the other, as they end."""
    ids = jobs.ask_all(KIND, tile_requests(surface))
    found = []
    for job in ids:
        while (epoch := jobs.claim(job)) is not None:
            job_slice(jobs.store.url, job, epoch, seconds)
        ended = jobs.job(job)
        assert ended is not None
        found.append(ended)
    return found


def grid_of(jobs: Jobs, surface: Surface) -> Grid:
    ended = computed(jobs, surface)
    assert [job.message for job in ended if job.state != "finished"] == []
    grid = gathered(surface, [job.result for job in ended])
    assert grid is not None
    assert (grid.stride, grid.known) == (1, 1.0)
    return grid


def failure(jobs: Jobs, surface: Surface) -> str:
    """Why its first tile cannot be computed: one sentence."""
    job = jobs.ask(KIND, tile_requests(surface)[0])
    epoch = jobs.claim(job)
    assert epoch is not None
    assert job_slice(jobs.store.url, job, epoch, LONG) == "failed"
    found = jobs.job(job)
    assert found is not None
    assert (found.state, found.result) == ("failed", None)
    assert found.message is not None
    assert found.message.endswith(".")
    assert "\n" not in found.message
    return found.message


def recorded(store: Store, run: str) -> Chunk:
    return concatenate([decode(row.record) for row in store.chunks(run)])


# Grids -------------------------------------------------------------------------------------------------


@given(low=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3), share=st.floats(0, 1), n=st.sampled_from(SIZES))
def test_nodes_cover_the_window_and_one_is_the_centre(low: float, width: float, share: float, n: int) -> None:
    high = low + width
    centre = min(high, max(low, low + share * width))
    found = nodes(centre, low, high, n)
    half = 0.5000001 * (high - low) / (n - 1) + 1e-9
    assert len(found.values) == n
    assert found.values[found.centre] == centre
    assert found.offsets[found.centre] == 0.0
    assert abs(found.values[0] - low) <= half
    assert abs(found.values[-1] - high) <= half
    assert (np.diff(found.values) > 0).all()
    np.testing.assert_allclose(found.offsets, found.values - centre, atol=1e-9 * (abs(low) + width))


@given(n=st.sampled_from(SIZES), per_tile=st.integers(1, 1500))
def test_every_node_is_in_one_tile_and_levels_nest(n: int, per_tile: int) -> None:
    cut = tiles(n, per_tile)
    assert sorted(np.concatenate([tile.numbers for tile in cut])) == list(range(n * n))
    assert [tile.level for tile in cut] == sorted(tile.level for tile in cut), "coarse ones first"
    assert sum(tile.level == 0 for tile in cut) >= 2, "shared by two workers"
    for tile in cut:
        assert 1 <= len(tile.numbers) <= per_tile or tile.level == 0
        assert (np.diff(tile.numbers) > 0).all()
    for level, side in enumerate(level_sides(n)):
        known = np.zeros(n * n, dtype=bool)
        known[np.concatenate([tile.numbers for tile in cut if tile.level <= level])] = True
        stride = (n - 1) // (side - 1)
        expected = np.zeros((n, n), dtype=bool)
        expected[::stride, ::stride] = True
        assert (known.reshape(n, n) == expected).all()
        assert known.sum() == side * side


def test_few_nodes_of_a_large_network_make_a_tile_and_their_number_is_part_of_the_request() -> None:
    few, many = (request(e, None, 0, None, RANDOM, WINDOW, 33) for e in (WIDE, SMALL))
    assert len(tile_requests(few)) > len(tile_requests(many)) >= len(level_sides(33))
    sizes = {one["per_tile"] for one in tile_requests(few)}
    assert len(sizes) == 1
    assert [one["tile"] for one in tile_requests(few)] == list(range(len(tile_requests(few))))
    dearer = request(WIDE, None, 0, None, RANDOM, WINDOW, 33, gradient=True)
    assert len(tile_requests(dearer)) > len(tile_requests(few))


LARGE = request(WIDE, None, 0, None, RANDOM, WINDOW, 33)
CUT = tiles(33, tile_requests(LARGE)[0]["per_tile"])


def numbered(tile: int) -> bytes:
    """A tile whose heights are the numbers of its nodes."""
    k = CUT[tile].numbers.astype(np.float64)
    return encode_tile(np.stack([k, k + 0.25, -k], axis=1))


@given(missing=st.sets(st.integers(0, len(CUT) - 1), max_size=6))
def test_only_levels_that_are_whole_are_drawn(missing: set[int]) -> None:
    grid = gathered(LARGE, [None if k in missing else numbered(k) for k in range(len(CUT))])
    levels = min((CUT[k].level for k in missing), default=len(level_sides(33)))
    if levels == 0:
        assert grid is None
        return
    assert grid is not None
    stride = 32 // (level_sides(33)[levels - 1] - 1)
    whole = np.arange(33.0 * 33).reshape(33, 33)[::stride, ::stride]
    assert grid.stride == stride
    np.testing.assert_array_equal(grid.loss, whole)
    np.testing.assert_array_equal(grid.accuracy, whole + 0.25)
    np.testing.assert_array_equal(grid.gradient, -whole)
    there = sum(len(tile.numbers) for k, tile in enumerate(CUT) if k not in missing)
    assert grid.known == there / 33**2


def test_nothing_is_drawn_of_a_surface_of_which_nothing_is_known() -> None:
    assert gathered(LARGE, [None] * len(CUT)) is None
    with pytest.raises(ValueError, match=r"shorter|longer"):
        gathered(LARGE, [None] * (len(CUT) - 1))


def test_a_tile_comes_back_with_its_holes() -> None:
    heights = np.array([[np.nan, np.inf, -np.inf], [0.0, -0.0, 5e-324], [1 / 3, 1e308, 1.0]])
    assert decode_tile(encode_tile(heights)).tobytes() == heights.tobytes()
    assert decode_tile(encode_tile(np.empty((0, 3)))).shape == (0, 3)


def test_a_change_in_mid_run_asks_for_no_other_surface() -> None:
    changed = SMALL.with_change(5, "learning_rate", 0.5).with_change(7, "clip", "none")
    one = request(SMALL, "r", 3, "torch", RANDOM, WINDOW, 17)
    assert request(changed, "r", 3, "torch", RANDOM, WINDOW, 17) == one
    assert request(SMALL.changed(learning_rate=0.5), "r", 3, "torch", RANDOM, WINDOW, 17) == one
    others = [
        request(SMALL.changed(seed=1), "r", 3, "torch", RANDOM, WINDOW, 17),
        request(SMALL, "q", 3, "torch", RANDOM, WINDOW, 17),
        request(SMALL, "r", 4, "torch", RANDOM, WINDOW, 17),
        request(SMALL, "r", 3, "compiled", RANDOM, WINDOW, 17),
        request(SMALL, "r", 3, "torch", {**RANDOM, "seed": 4}, WINDOW, 17),
        request(SMALL, "r", 3, "torch", RANDOM, (-1.0, 1.0, -1.0, 2.0), 17),
        request(SMALL, "r", 3, "torch", RANDOM, WINDOW, 33),
        request(SMALL, "r", 3, "torch", RANDOM, WINDOW, 17, over="held_out"),
        request(SMALL, "r", 3, "torch", RANDOM, WINDOW, 17, gradient=True),
    ]  # fmt: skip
    texts = {json.dumps(each, sort_keys=True) for each in (one, *others)}
    assert len(texts) == 1 + len(others)


# Heights -----------------------------------------------------------------------------------------------


def plane_specs(run: str, other: str) -> dict[str, dict[str, Any]]:
    return {
        "random": RANDOM,
        "path": {"kind": "path", "runs": [[other, 12], [run, 20]]},
        "line": {"kind": "line", "run": other, "step": 4, "seed": 1},
        "curvature": {"kind": "curvature"},
        "chosen": {"kind": "chosen", "axes": ["bias:z", "weight:rnn.weight_hh_l0[1,2]"]},
    }


def cut_of(store: Store, run: str, other: str, step: int, kind: str) -> Slice:
    """The slice that a surface of `run` is taken on, from the store's own numbers."""

    def flat(name: str, at: int) -> np.ndarray:
        blob = store.checkpoint(name, at)
        assert blob is not None
        return flat_of(SMALL, blob).double().numpy()

    seen = moment(SMALL, step, store.checkpoint(run, step), kernel_of(store, run))
    path = np.array(
        [flat(name, at) for name, last in ((other, 12), (run, 20))
         for at in store.checkpoint_steps(name) if at <= last]
    )  # fmt: skip
    return plane_of(plane_specs(run, other)[kind], seen, path, flat(other, 4)).through(theta_of(seen))


@pytest.mark.parametrize("kind", ["random", "path", "line", "curvature", "chosen"])
def test_a_surface_through_jobs_is_what_one_evaluates_directly(jobs: Jobs, kind: str) -> None:
    run, other = trained(jobs.store), trained(jobs.store, SMALL.changed(seed=1))
    cut = cut_of(jobs.store, run, other, 10, kind)
    (x, y), window = cut.centre, (cut.centre[0] - 0.3, cut.centre[0] + 0.5, cut.centre[1] - 1, cut.centre[1])
    surface = of_run(
        jobs.store, run, 10, plane_specs(run, other)[kind], window=window, gradient=kind == "path"
    )
    grid = grid_of(jobs, surface)
    across, up = (nodes(c, a, b, 17).values for c, (a, b) in ((x, window[:2]), (y, window[2:])))
    direct = Heights(SMALL, 10, "step", kernel_of(jobs.store, run))
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, 17, (10, 2)):
        theta = cut.plane.origin + (across[column] - x) * cut.plane.axes[0]
        theta = theta + (up[row] - y) * cut.plane.axes[1]
        expected = direct.many([theta], gradient=kind == "path")[0]
        drawn = [plane[row, column] for plane in (grid.loss, grid.accuracy, grid.gradient)]
        np.testing.assert_allclose(drawn, expected, rtol=2e-6)
    assert len(np.unique(grid.loss)) > 100


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_at_the_centre_is_the_loss_that_training_recorded(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, kernel: str, precision: str
) -> None:
    monkeypatch.setattr(training, "default_kernel", lambda: kernel)
    e = SMALL.changed(precision=precision, layers=2, dropout=0.3)
    run = trained(jobs.store, e)
    assert kernel_of(jobs.store, run) == kernel
    record = recorded(jobs.store, run)
    for step in (0, 3, 10):
        surface = of_run(jobs.store, run, step, n=9)
        grid = grid_of(jobs, surface)
        assert grid.loss[4, 4] == record.loss[list(record.step).index(step)], "to the last bit"
        held_out = grid_of(jobs, {**surface, "over": "held_out"})
        if step in record.validation_step:
            at = list(record.validation_step).index(step)
            assert held_out.loss[4, 4] == record.validation_loss[at]
            assert held_out.accuracy[4, 4] == record.validation_accuracy[at]
        assert held_out.loss[4, 4] != grid.loss[4, 4]
    assert {0, 10} <= set(record.validation_step)


@pytest.mark.parametrize("seconds", [-1.0, LONG])
def test_slices_of_any_length_give_the_same_bytes(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    run = trained(jobs.store)
    surface = of_run(jobs.store, run, 5, n=9)
    whole = [job.result for job in computed(jobs, surface)]
    with jobs.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    # A partial result after each node, and a slice that ends there or goes on.
    monkeypatch.setattr(Scene, "blocks", partialmethod(Scene.blocks, seconds=-1.0))
    ids = jobs.ask_all(KIND, tile_requests(surface))
    shares = []
    for job in ids:
        while (epoch := jobs.claim(job)) is not None:
            job_slice(jobs.store.url, job, epoch, seconds)
            found = jobs.job(job)
            assert found is not None
            shares.append(found.progress)
            forget()
    assert len(shares) == (81 if seconds < 0 else 2)
    assert shares[0] == pytest.approx(1 / 41 if seconds < 0 else 1)
    assert [jobs.job(job).result for job in ids] == whole


@pytest.mark.parametrize("kind", ["path", "curvature"])
def test_tiles_of_two_workers_make_one_surface(jobs: Jobs, kind: str) -> None:
    run, other = trained(jobs.store), trained(jobs.store, SMALL.changed(seed=1))
    surface = of_run(jobs.store, run, 20, plane_specs(run, other)[kind], window=(-0.1, 0.1, -0.1, 0.1))
    alone = grid_of(jobs, surface)
    with jobs.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    forget()
    ids = jobs.ask_all(KIND, tile_requests(surface))
    for some in (ids[::2], ids[1::2]):
        for job in some:
            epoch = jobs.claim(job)
            assert epoch is not None
            job_slice(jobs.store.url, job, epoch, LONG)
        forget()  # what the first worker made of the plane, the second makes again
    together = gathered(
        surface, [job.result for job in jobs.find_all(KIND, tile_requests(surface)) if job is not None]
    )
    assert together is not None
    for name in ("loss", "accuracy", "gradient"):
        assert getattr(together, name).tobytes() == getattr(alone, name).tobytes()


def test_the_gradients_norm_is_computed_only_where_it_is_asked_for(jobs: Jobs) -> None:
    run = trained(jobs.store)
    plain = grid_of(jobs, of_run(jobs.store, run, 5, n=9))
    assert np.isnan(plain.gradient).all()
    norms = grid_of(jobs, of_run(jobs.store, run, 5, n=9, gradient=True))
    assert (norms.gradient > 0).all()
    assert norms.loss.tobytes() == plain.loss.tobytes()
    record = recorded(jobs.store, run)
    before = record.norm_before[list(record.step).index(5)]
    assert norms.gradient[4, 4] == pytest.approx(before, rel=1e-6), "as training measured it"


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("reach", [1e12, 1e39])
def test_where_numbers_end_are_holes_and_no_zeros(jobs: Jobs, kernel: str, reach: float) -> None:
    e = SMALL.changed(cell="relu", length=40)
    plane = {"kind": "chosen", "axes": ["scale:weight_hh", "scale:weight_ih"]}
    window = (-reach, reach, -reach, reach)
    surface = request(e, None, 0, kernel, plane, window, 9, gradient=True)
    grid = grid_of(jobs, surface)
    assert np.isfinite(grid.loss[4, 4])
    bad = ~np.isfinite(grid.loss)
    assert bad[:, 8].any()
    assert np.isnan(grid.accuracy[bad]).all()
    assert (grid.loss[~bad] > 0).all()
    assert not (grid.gradient[bad] == 0).any()


# What cannot be computed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": "nobody"}, "run: there is no run of that name."),
        ({"step": 9}, "step: the parameters of step 9 were not kept; those of the steps 0, "),
        ({"kernel": "abacus"}, "kernel: got 'abacus'; allowed: "),
        ({"experiment": SMALL.changed(hidden=5).to_json()}, "rnn.weight_hh_l0: got (12, 4); the network"),
        ({"plane": {"kind": "globe"}}, "plane: got 'globe'; allowed: path, "),
        ({"plane": {"kind": "path", "runs": [["nobody", 9]]}}, "plane: the run that spans it has no "),
        ({"plane": {"kind": "line", "run": "nobody", "step": 0, "seed": 0}}, "plane: the checkpoint that "),
        ({"plane": {"kind": "chosen", "axes": ["bias:z", "bias:z"]}}, "plane: both axes are the same; "),
        ({"plane": {"kind": "chosen", "axes": ["bias:f", "bias:z"]}}, "plane: bias:f moves nothing in "),
        (
            {"plane": {"kind": "chosen", "axes": ["weight:rnn.weight_hh_l0[99,0]", "bias:z"]}},
            "plane: weight:rnn.weight_hh_l0[99,0] moves nothing",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_with_a_sentence(
    jobs: Jobs, change: dict[str, Any], sentence: str
) -> None:
    run = trained(jobs.store)
    assert failure(jobs, {**of_run(jobs.store, run, 5), **change}).startswith(sentence)


def test_planes_that_a_runs_own_checkpoints_do_not_span_are_refused(jobs: Jobs) -> None:
    run = trained(jobs.store)
    other = trained(jobs.store, SMALL.changed(cell="tanh"))
    for plane, sentence in (
        ({"kind": "path", "runs": [[run, 1]]}, "plane: a path needs three different checkpoints"),
        ({"kind": "path", "runs": [[other, 9]]}, "rnn.weight_hh_l0: got (4, 4); the network needs"),
        ({"kind": "line", "run": run, "step": 5, "seed": 0}, "plane: both ends of the line are the same."),
    ):
        assert failure(jobs, of_run(jobs.store, run, 5, plane)).startswith(sentence)


def test_weights_that_are_not_finite_have_no_surface(jobs: Jobs) -> None:
    run = trained(jobs.store)
    blob = jobs.store.checkpoint(run, 5)
    assert blob is not None
    arrays = {name: np.full_like(array, np.nan) for name, array in load(blob).items()}
    with jobs.store.write() as connection:
        connection.execute(
            sa.update(CHECKPOINTS).where(CHECKPOINTS.c.step == 5).values(parameters=save(arrays))
        )
    assert failure(jobs, of_run(jobs.store, run, 5)) == "plane: the weights of this step are not finite."
