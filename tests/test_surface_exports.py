"""What is taken from the page on loss surfaces: numbers that can be computed again, a page, an animation."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.offline
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.heights import Heights
from rnnviz.experiment import Experiment
from rnnviz.runs import film, surfaces, worker
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from rnnviz.ui import film_section, networks, surface_jobs
from rnnviz.ui.surface_exports import figures_page, numbers_of, page_of
from rnnviz.ui.surface_sections import View, view

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "surface.py")
SMALL = Experiment(
    task="adding", length=6, cell="tanh", hidden=4, batch=3, steps=8, precision="float64", clip="norm",
    clip_threshold=0.1, learning_rate=0.05,
)  # fmt: skip
CHOSEN = {
    "plane": "path", "of": "A", "height": "loss", "scale": "log", "over": "step", "detail": "17",
    "zoom": "1", "plane_seed": 0, "biases": "no", "end": "A", "end_at": -1, "ghosts": "yes",
}  # fmt: skip


@pytest.fixture(autouse=True)
def forget():
    yield
    worker.open_store.cache_clear()
    surface_jobs._whole.clear()
    film_section._kept.clear()


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    run = store.create(experiment)
    advance_slice(store.url, run, store.claim(run), 60.0)
    return run


def work_all(store: Store) -> None:
    """Do every job that is open."""
    jobs = Jobs(store)
    while waiting := jobs.open():
        for job in waiting:
            epoch = jobs.claim(job)
            if epoch is not None:
                job_slice(store.url, job, epoch, 60.0)


def seen_of(store: Store, run: str, **chosen: Any) -> tuple[View, surfaces.Grid]:
    """A view of a run's last checkpoint and its surface, which is computed here."""
    row = store.run(run)
    shown = networks.at_checkpoint(store, [row], row.step)
    seen = view(store, shown, {**CHOSEN, **chosen})
    Jobs(store).ask_all(surfaces.KIND, surfaces.tile_requests(seen.request))
    work_all(store)
    return seen, surface_jobs.surface(store, seen.request).grid


# The numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", ["path", "random"])
@pytest.mark.parametrize("over", ["step", "held_out"])
def test_the_numbers_can_be_computed_again_from_the_file_alone(store: Store, plane: str, over: str) -> None:
    run = trained(store)
    seen, grid = seen_of(store, run, plane=plane, over=over, height="gradient")
    with np.load(io.BytesIO(numbers_of(store, seen, grid, over))) as file:
        f = {name: file[name] for name in file.files}
    asked = json.loads(str(f["request"]))
    heights = Heights(
        Experiment.from_json(asked["experiment"]), asked["step"], asked["over"], asked["kernel"]
    )
    assert f["loss"].shape == f["accuracy"].shape == f["gradient"].shape == (17, 17)
    places = np.random.default_rng(0).integers(0, 17, (10, 2))
    for row, column in places:
        theta = f["origin"] + f["across"][column] * f["axes"][0] + f["up"][row] * f["axes"][1]
        loss, accuracy, gradient = heights.many([theta], asked["gradient"])[0]
        assert f["loss"][row, column] == loss
        assert f["gradient"][row, column] == gradient
        np.testing.assert_equal(f["accuracy"][row, column], accuracy)
    assert f["x"] == pytest.approx(f["centre"][0] + f["across"])
    assert f["y"] == pytest.approx(f["centre"][1] + f["up"])
    assert sum(int(np.prod(shape)) for shape in asked["layout"].values()) == len(f["origin"])
    # The path: its places are where the checkpoints project to, its losses their own.
    assert f["path_steps"].tolist() == store.checkpoint_steps(run)
    assert f["path_losses"][-1] == heights.many([f["origin"]])[0, 0]
    assert f["path_places"][-1] == pytest.approx(f["centre"], abs=1e-12)
    assert f["path_off"].shape == (len(f["path_steps"]),)
    assert f["path_off"][-1] == pytest.approx(0, abs=1e-9)


def test_the_file_says_how_it_is_used_and_what_it_says_works(store: Store) -> None:
    seen, grid = seen_of(store, trained(store))
    data = numbers_of(store, seen, grid, "step")
    with np.load(io.BytesIO(data)) as file:
        readme, loss = str(file["readme"]), file["loss"]
        code = readme.split("To compute a height again:\n")[1]
        names = {"f": file, "np": np}
        lines = [line.strip() for line in code.strip().splitlines()]
        exec("\n".join(lines[:-1]), names)
        found = eval(lines[-1].split("  #")[0], names)
    assert found[0, 0] == loss[5, 3]


def test_a_coarse_surface_says_its_own_places(store: Store) -> None:
    run = trained(store)
    row = store.run(run)
    seen = view(store, networks.at_checkpoint(store, [row], row.step), CHOSEN)
    cut = surfaces.tile_requests(seen.request)
    coarse = Jobs(store).ask_all(surfaces.KIND, cut[:2])
    work_all(store)
    assert len(coarse) == 2
    grid = surface_jobs.surface(store, seen.request).grid
    assert grid.stride == 2
    with np.load(io.BytesIO(numbers_of(store, seen, grid, "step"))) as f:
        assert f["loss"].shape == (len(f["up"]), len(f["across"])) == (9, 9)
        theta = f["origin"] + f["across"][2] * f["axes"][0] + f["up"][7] * f["axes"][1]
        assert f["loss"][7, 2] == Heights(SMALL, 8, "step", seen.one.kernel).many([theta])[0, 0]


# The page that stands by itself -------------------------------------------------------------------------


def test_the_page_loads_nothing_and_has_the_numbers(store: Store) -> None:
    seen, grid = seen_of(store, trained(store))
    page = page_of(store, seen, grid, CHOSEN)
    script = plotly.offline.get_plotlyjs()
    assert page.count(script) == 1, "plotly.js is inside, once"
    rest = page.replace(script, "")
    assert not re.search(r"https?:|//cdn|\bsrc=|@import|url\(", rest)
    assert "default-src 'none'" in rest
    assert rest.count('class="plotly-graph-div"') == 2
    assert not re.search("@[a-z]+@", rest)
    # Relief and map, as plotly writes arrays down.
    drawn = re.findall(r'"z":\{"dtype":"f4","bdata":"([^"]+)"', rest)
    heights = np.log10(grid.loss).astype("f4").tobytes()
    assert [base64.b64decode(json.loads(f'"{text}"')) == heights for text in drawn[:2]] == [True, True]
    assert "<strong>The loss over the training batch of step 8" in rest
    assert "(prefers-color-scheme: dark)" in rest


def test_words_from_outside_are_no_markup_on_the_page() -> None:
    page = figures_page("<script>@words@", [go.Figure()], ["**a** <img src=x> & b"])
    rest = page.replace(plotly.offline.get_plotlyjs(), "")
    assert "<h1>&lt;script&gt;@words@</h1>" in rest
    assert "<p><strong>a</strong> &lt;img src=x&gt; &amp; b</p>" in rest


# In the page --------------------------------------------------------------------------------------------


def page(**query: str | list[str]) -> AppTest:
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def keys(app: AppTest) -> set[str]:
    return {one.key for one in (*app.button, *app.download_button)}


def captions(app: AppTest) -> str:
    return "\n".join(one.value for one in (*app.caption, *app.warning))


def test_from_the_button_to_the_animation(store: Store) -> None:
    run = trained(store)
    app = page(run=run, detail="17")
    assert not keys(app) & {"surface_html", "surface_npz", "film_make"}, "there is no surface yet"
    work_all(store)
    app.run()
    assert {"surface_html", "surface_npz", "film_make"} <= keys(app)
    assert "9 frames, about" in captions(app)
    app.button(key="film_make").click().run()
    assert "film_cancel" in keys(app)
    assert "film_make" not in keys(app)
    (job,) = [job for job in map(Jobs(store).job, Jobs(store).open()) if job.kind == film.KIND]
    assert job.request["steps"] == store.checkpoint_steps(run)
    assert job.request["n"] == 17
    app.button(key="film_cancel").click().run()
    assert Jobs(store).job(job.id).state == "cancelled"
    assert "film_make" in keys(app)
    app.button(key="film_make").click().run()
    work_all(store)
    app.run()
    assert "film_download" in keys(app)
    assert not keys(app) & {"film_make", "film_cancel"}
    gif: Any = Image.open(io.BytesIO(Jobs(store).job(job.id).result))
    assert gif.n_frames == 9
    # Another browser that looks at the same is answered from the store.
    film_section._kept.clear()
    assert "film_download" in keys(page(run=run, detail="17"))


def test_the_film_that_was_asked_for_stays_while_the_page_moves_on(store: Store) -> None:
    run = trained(store)
    app = page(run=run, detail="17")
    work_all(store)
    app.run()
    app.button(key="film_make").click().run()
    Jobs(store).cancel(*[job for job in Jobs(store).open() if Jobs(store).job(job).kind != film.KIND])
    app.query_params["at"] = "4"
    app.run()
    work_all(store)
    app.run()
    app.run()
    assert {"film_make", "film_download"} <= keys(app), "of step 4 there is none yet; that of step 8 stays"


def test_why_there_is_no_animation_is_said(store: Store) -> None:
    run = trained(store)
    app = page(run=run, detail="17", at="0")
    work_all(store)
    app.run()
    assert "surface_npz" in keys(app)
    assert "film_make" not in keys(app)
    assert "An animation needs a run and a later step" in captions(app)


def test_an_animation_that_fails_says_why_and_may_be_tried_again(store: Store) -> None:
    run = trained(store)
    app = page(run=run, detail="17")
    work_all(store)
    app.run()
    app.button(key="film_make").click().run()
    (job,) = Jobs(store).open()
    Jobs(store).fail(job, Jobs(store).claim(job), "height: a sentence.")
    app.run()
    assert "height: a sentence." in captions(app)
    app.button(key="film_make").click().run()
    assert Jobs(store).job(job).state == "queued"
