"""Animations of surfaces as a job: every height against the network itself, in slices, a GIF at the end."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save

from rnnviz.analysis.heights import Heights
from rnnviz.analysis.moment import flat_of
from rnnviz.experiment import Experiment
from rnnviz.runs import film, frames, job_kinds, surfaces, worker
from rnnviz.runs.frames import LEVELS, WORDS, Frame, Look, Trail, palette_of, picture, span_of, ticks_of
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Job, Jobs
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from tests.stores import new_store

SMALL = Experiment(
    task="adding", cell="gru", length=6, hidden=4, batch=4, steps=9, precision="float64", learning_rate=0.1
)
COLOR = "#2a6fdb"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    store = new_store(tmp_path / "runs.db")
    yield Jobs(store)
    worker.open_store.cache_clear()
    job_kinds._scenes.clear()
    store.close()


@pytest.fixture
def quick(monkeypatch):
    """Frames that are drawn at once: grey by their step, in the palette of all."""

    def plain(look: Look, frame: Frame, colors: list[str]) -> Image.Image:
        image = Image.new("P", (frames.WIDTH, frames.HEIGHT), 10 + frame.step)
        image.putpalette(palette_of(look, colors).tobytes())
        return image

    monkeypatch.setattr(frames, "picture", plain)
    monkeypatch.setattr(film, "BLOCK_SECONDS", 0.0)  # a piece for each number


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    run = store.create(experiment)
    advance_slice(store.url, run, store.claim(run), 60.0)
    return run


def asked(store: Store, run: str, steps: list[int] | None = None, **values: Any) -> dict[str, Any]:
    kept = store.checkpoint_steps(run)
    plane = {"kind": "path", "runs": [[run, kept[-1]]]}
    steps = kept if steps is None else steps
    surface = surfaces.request(SMALL, run, kept[-1], "compiled", plane, (-1.0, 0.6, -0.4, 0.8), 65)
    made = film.request(surface, steps, "loss", True, [(run, COLOR, "A · GRU")], WORDS)
    return {**made, "n": 5, **values}


def job_of(jobs: Jobs, job: str) -> Job:
    found = jobs.job(job)
    assert found is not None
    return found


def work(jobs: Jobs, job: str, seconds: float = 1000.0) -> str:
    epoch = jobs.claim(job)
    assert epoch is not None
    return job_slice(jobs.store.url, job, epoch, seconds)


def test_frames_are_chosen_evenly_with_both_ends() -> None:
    assert film.frames_of([4, 0, 2, 9], 4) == [0, 2, 4]
    assert film.frames_of([], 4) == []
    chosen = film.frames_of(range(200), 180)
    assert len(chosen) == film.MOST_FRAMES
    assert chosen[0] == 0
    assert chosen[-1] == 180
    assert set(np.diff(chosen)) == {3, 4}


def test_a_request_is_bounded_and_names_its_surface() -> None:
    surface = surfaces.request(SMALL, "r", 4, None, {"kind": "random"}, (0.0, 1.0, 0.0, 1.0), 129)
    made = film.request(surface, [0, 4], "gradient", True, [("r", COLOR, "")], WORDS)
    assert made["n"] == 33
    assert film.surface_of(made) == {**surface, "n": 33, "gradient": True}
    computing, drawing = film.expected_seconds(made)
    longer = film.expected_seconds({**made, "steps": [0, 1, 2, 4]})
    assert longer == pytest.approx((2 * computing, 2 * drawing))


def test_every_number_is_the_networks_own(jobs, quick) -> None:
    """Each frame over the batch of its step, on a slice through its own weights; both by hand here."""
    store = jobs.store
    run = trained(store)
    steps = store.checkpoint_steps(run)
    request = asked(store, run, steps[-3:])
    *_parts, last = list(job_kinds.surface_film(store, request, None))
    partials = [partial for _share, partial, _result in _parts]
    known = film.decode(partials[-1])
    assert last[2] is not None
    thetas = {step: flat_of(SMALL, blob).double().numpy() for step, blob in store.checkpoints(run).items()}
    path = np.stack([thetas[step] for step in steps])
    away = path - path[-1]
    _u, _s, components = np.linalg.svd(away - away.mean(0), full_matrices=False)
    axes = np.stack([c * math.copysign(1, c @ (path[-1] - path[0])) for c in components[:2]])
    numbers = known.numbers
    for step in steps[-3:]:
        heights = Heights(SMALL, step, "step", "compiled")
        before = [one for one in steps if one <= step]
        own, numbers = numbers[: len(before)], numbers[len(before) :]
        assert own == pytest.approx([heights.at(thetas[one]).loss for one in before], rel=1e-12)
        grid, numbers = numbers[:25].reshape(5, 5), numbers[25:]
        x, y = axes @ (thetas[step] - path[-1])
        for row, column in [(0, 0), (1, 3), (4, 2)]:
            there = thetas[step] + (-1.0 + 0.4 * column - x) * axes[0] + (-0.4 + 0.3 * row - y) * axes[1]
            assert grid[row, column] == pytest.approx(heights.at(there).loss, rel=1e-6)
    assert len(numbers) == 0


def test_slices_add_up_to_the_same_film(jobs, quick) -> None:
    run = trained(jobs.store)
    request = asked(jobs.store, run)
    job = jobs.ask(film.KIND, request)
    progress: list[float] = []
    seen: list[tuple[int, int]] = []
    ways: list[str] = []
    while not ways or ways[-1] != "finished":
        ways.append(work(jobs, job, seconds=-1.0))
        row = job_of(jobs, job)
        progress.append(row.progress)
        if row.partial:
            known = film.decode(row.partial)
            seen.append((known.computed, known.drawn))
    assert progress == sorted(progress)
    assert len(ways) > 25 * len(request["steps"]), "a slice ends after every number"
    count = len(request["steps"])
    assert list(dict.fromkeys(seen)) == [(k, 0) for k in range(count + 1)] + [
        (count, k) for k in range(1, count)
    ]
    result = job_of(jobs, job).result
    with jobs.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
    whole = jobs.ask(film.KIND, request)
    assert work(jobs, whole) == "finished"
    assert job_of(jobs, whole).result == result
    assert jobs.ask(film.KIND, request) == whole, "the second time it is answered from the store"
    assert job_of(jobs, whole).state == "finished"


def test_a_cancelled_film_keeps_what_it_has_and_goes_on_from_there(jobs, quick) -> None:
    run = trained(jobs.store)
    job = jobs.ask(film.KIND, asked(jobs.store, run))
    work(jobs, job, seconds=-1.0)
    jobs.cancel(job)
    assert jobs.claim(job) is None
    row = job_of(jobs, job)
    assert row.state == "cancelled"
    assert len(film.decode(row.partial).numbers) == 1
    assert jobs.ask(film.KIND, asked(jobs.store, run)) == job
    assert job_of(jobs, job).partial == row.partial
    assert work(jobs, job) == "finished"


def test_a_film_is_a_gif_in_which_something_happens(jobs) -> None:
    run = trained(jobs.store)
    steps = jobs.store.checkpoint_steps(run)
    request = asked(jobs.store, run, [steps[0], steps[3], steps[-1]])
    job = jobs.ask(film.KIND, request)
    assert work(jobs, job) == "finished"
    gif: Any = Image.open(io.BytesIO(job_of(jobs, job).result))
    assert gif.format == "GIF"
    assert gif.n_frames == 3
    assert gif.size == (1000, 480)
    assert gif.info["loop"] == 0
    seen, durations = [], []
    for k in range(3):
        gif.seek(k)
        durations.append(gif.info["duration"])
        seen.append(np.asarray(gif.convert("RGB")).astype(int))
    assert durations == [330, 330, 2000]
    halves = (slice(0, 480), slice(575, 895))  # relief and map
    for one, other in pairwise(seen):
        for half in halves:
            changed = np.abs(one[40:, half] - other[40:, half]).max(-1) > 20
            assert changed.mean() > 0.01
    # The scale of colours is the same in all of them.
    bars = [one[60:420, 907:917] for one in seen]
    assert all((bar == bars[0]).all() for bar in bars)
    assert len(np.unique(bars[0].reshape(-1, 3), axis=0)) >= LEVELS


@pytest.mark.parametrize("over", ["step", "held_out"])
def test_gradient_and_accuracy_can_be_filmed_too(jobs, quick, over) -> None:
    run = trained(jobs.store)
    steps = jobs.store.checkpoint_steps(run)[-2:]
    for height, gradient in (("gradient", True), ("accuracy", False)):
        request = asked(jobs.store, run, steps, height=height, gradient=gradient, over=over)
        *parts, _last = list(job_kinds.surface_film(jobs.store, request, None))
        grid = film.decode(parts[-1][1]).numbers[-25:].reshape(5, 5)
        here = job_kinds.scene_of(jobs.store, film.surface_of(request))
        x, y = np.array([-0.2, 0.2]) - here.cut.centre  # the middle of the window
        direct = getattr(here.heights.at(here.cut.at(x, y), gradient), height)
        assert grid[2, 2] == pytest.approx(direct, rel=1e-9)


def test_weights_that_are_no_numbers_make_an_empty_frame(jobs, quick) -> None:
    store = jobs.store
    run = trained(store)
    steps = store.checkpoint_steps(run)
    request = asked(store, run, steps[1:], plane={"kind": "random", "seed": 0, "biases": False})
    broken = {name: np.full_like(array, np.nan) for name, array in load(store.checkpoint(run, 4)).items()}
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE checkpoints SET parameters = ? WHERE step = 4", (save(broken),))
    job = jobs.ask(film.KIND, request)
    assert work(jobs, job) == "finished"


NOTHING = "height: it is no finite number anywhere in this window."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": None}, "run: without a run there are no checkpoints to go through."),
        ({"run": "nobody", "paths": [["nobody", COLOR, ""]]}, "run: there is no run of that name."),
        ({"steps": [0]}, "steps: got 1 of them; allowed: 2 to 60."),
        ({"steps": list(range(61))}, "steps: got 61 of them; allowed: 2 to 60."),
        ({"steps": [2, 0]}, "steps: each is to be later than the one before it."),
        ({"steps": [0, 3, 12]}, "steps: the parameters of step 12 were not kept."),
        ({"n": 65}, "n: got 65; allowed: 5 to 33."),
        ({"height": "depth"}, "height: got 'depth'; allowed: loss, accuracy, gradient."),
        ({"paths": []}, "paths: got 0 of them; allowed: 1 to 4."),
        ({"paths": [["other", COLOR, ""]]}, "paths: the first is to be that of the run itself."),
        ({"plane": {"kind": "line", "run": "nobody", "step": 3, "seed": 0}}, "plane: the checkpoint that"),
        ({"window": [1e200, 2e200, 1e200, 2e200]}, NOTHING),
    ],
)
def test_what_cannot_be_filmed_is_refused_with_a_sentence(jobs, quick, change, sentence) -> None:
    run = trained(jobs.store)
    job = jobs.ask(film.KIND, {**asked(jobs.store, run), **change})
    assert work(jobs, job) == "failed"
    message = job_of(jobs, job).message
    assert message.startswith(sentence)
    assert "\n" not in message
    assert job_of(jobs, job).result is None


# A frame ------------------------------------------------------------------------------------------------


def a_look(**values: Any) -> Look:
    made = {
        "x": np.linspace(-1, 1, 9), "y": np.linspace(0, 1, 9), "kind": "loss", "log": True, "words": WORDS,
        "span": (-2.0, 1.0),
    }  # fmt: skip
    return Look(**{**made, **values})


def a_frame(heights: np.ndarray, losses: np.ndarray | None = None, **values: Any) -> Frame:
    places = np.array([[-0.5, 0.2], [0.0, 0.5], [0.4, 0.7]])
    trail = Trail("A · GRU $x_1$", COLOR, places, np.array([1.0, 0.3, 0.1]) if losses is None else losses)
    return Frame(**{"step": 1234, "heights": heights, "trails": [trail], "shown": 2, **values})


def test_the_span_is_of_all_that_is_finite_and_at_most_24_decades() -> None:
    assert span_of(np.array([np.nan, 10.0, 0.01, np.inf, 0.0]), True) == pytest.approx((-2, 1))
    assert span_of(np.array([1e-200, 1.0]), True) == pytest.approx((-24, 0))
    assert span_of(np.array([-np.inf, 0.25, 0.5]), False) == (0.25, 0.5)
    assert span_of(np.array([2.0, 2.0]), False) == (1.5, 2.5)
    assert span_of(np.array([np.nan]), False) is None


def test_heights_have_round_labels() -> None:
    assert list(ticks_of(a_look(span=(-2.2, 1.3))).values()) == ["0.01", "0.1", "1", "10"]
    assert list(ticks_of(a_look(span=(-1.1, 0.2))).values()) == ["0.1", "0.2", "0.5", "1"]
    ticks = ticks_of(a_look(span=(0.0, 1.0), log=False))
    assert list(ticks.values()) == ["0", "0.25", "0.5", "0.75", "1"]
    assert len(ticks_of(a_look(span=(-24.0, 0.0)))) <= 8
    for span in ((-24.0, 0.0), (-2.0, 0.9), (-1.0, 0.0), (-0.02, 0.01)):
        assert all(span[0] <= place <= span[1] for place in ticks_of(a_look(span=span)))


def test_the_palette_holds_the_colours_of_heights_and_paths() -> None:
    from matplotlib import colormaps

    palette = {tuple(color) for color in palette_of(a_look(), [COLOR, "#c0392b"]).tolist()}
    assert {(0x2A, 0x6F, 0xDB), (0xC0, 0x39, 0x2B), (255, 255, 255), (0, 0, 0)} <= palette
    expected = np.rint(255 * colormaps["viridis"](np.linspace(0, 1, LEVELS))[:, :3]).astype(int)
    assert {tuple(color) for color in expected.tolist()} <= palette


def test_a_map_has_the_colour_of_its_heights_and_holes_have_none() -> None:
    look = a_look()
    heights = np.full((9, 9), 10.0**0.95)  # the topmost colour
    heights[:, :4] = np.nan
    image = np.asarray(picture(look, a_frame(heights), [COLOR]).convert("RGB")).astype(int)
    top = palette_of(look, [COLOR]).reshape(-1, 3)[7 * LEVELS - 1].astype(int)
    assert np.abs(image[400, 880] - top).max() <= 1
    assert (image[400, 590] == 255).all()


def test_the_path_is_drawn_on_both_and_its_end_is_marked() -> None:
    own = (0x2A, 0x6F, 0xDB)
    with_path, without = (
        (np.asarray(picture(a_look(), frame, [COLOR]).convert("RGB")) == own).all(-1)
        for frame in (
            a_frame(np.ones((9, 9))),
            a_frame(np.ones((9, 9)), trails=[Trail("", "#ffffff", np.zeros((3, 2)), np.ones(3))]),
        )
    )
    assert not without.any()
    relief, map_ = with_path[60:, :480], with_path[60:, 575:895]
    assert relief.sum() > 150
    assert map_.sum() > 250
    # (0.4, 0.7) on a map from -1 to 1 and from 0 to 1.
    x, y = 575 + 320 * 0.7, 480 * (1 - 0.13 - 0.75 * 0.7)
    assert with_path[round(y) - 5 : round(y) + 6, round(x) - 2 : round(x) + 3].all(), "the middle of a mark"


@pytest.mark.parametrize("heights", [np.full((9, 9), np.nan), np.full((9, 9), np.inf)])
def test_a_frame_of_holes_and_a_path_without_numbers_are_drawn(heights: np.ndarray) -> None:
    image = picture(a_look(), a_frame(heights, np.array([np.nan, np.inf, 0.0])), [COLOR])
    assert image.size == (1000, 480)


def test_several_paths_are_named(jobs) -> None:
    one = a_frame(np.ones((9, 9)))
    other = Trail("B · LSTM", "#c0392b", np.zeros((0, 2)), np.zeros(0))
    images = [
        np.asarray(picture(a_look(), Frame(9, one.heights, trails, 2), [COLOR, "#c0392b"]).convert("RGB"))
        for trails in (one.trails, [*one.trails, other])
    ]
    left = [(image[:60, :200] == (0x2A, 0x6F, 0xDB)).all(-1).any() for image in images]
    assert left == [False, True]
