"""The page on loss surfaces: its numbers against the store and the network itself, and what may go wrong."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import load, save
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.heights import Heights
from rnnviz.analysis.moment import flat_of
from rnnviz.analysis.planes import path_plane
from rnnviz.experiment import Experiment
from rnnviz.layout import layout_of
from rnnviz.numbers import of
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.schema import CHECKPOINTS, JOBS
from rnnviz.runs.store import Run, Store
from rnnviz.runs.surfaces import decode_tile, tiles
from rnnviz.runs.worker import advance_slice
from rnnviz.ui.surface_settings import PLANES
from tests.figures import figures, kept

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "surface.py")
SMALL = Experiment(
    task="adding", length=6, cell="tanh", hidden=4, batch=3, steps=8, precision="float64", clip="norm",
    clip_threshold=0.5, optimizer="sgd", learning_rate=0.05,
)  # fmt: skip
COARSE = {"detail": "17"}


def page(**query: str | list[str]) -> AppTest:
    """The page, opened by a link with these parameters, with few points unless the link says otherwise."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in {**COARSE, **query}.items():
        app.query_params[name] = value
    return again(app)


def again(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def trained(store: Store, experiment: Experiment = SMALL, **values: Any) -> str:
    """A run, as far as it goes."""
    run = store.create(experiment, **values)
    go_on(store, run)
    return run


def go_on(store: Store, run: str) -> None:
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)


def row_of(store: Store, run: str) -> Run:
    row = store.run(run)
    assert row is not None
    return row


def work(store: Store, most: int = 10_000) -> int:
    """Open jobs, worked off as the engine does it; returns how many slices that were."""
    jobs, slices = Jobs(store), 0
    while slices < most and (left := jobs.open()):
        epoch = jobs.claim(left[0])
        if epoch is not None:
            job_slice(store.url, left[0], epoch, 60.0)
            slices += 1
    return slices


def whole(store: Store, **query: str | list[str]) -> AppTest:
    """The page with its surface."""
    app = page(**query)
    assert "first coarse surface" in words(app)
    work(store)
    again(app)
    assert len(kept(app)) == 2
    assert not app.warning
    return app


def words(app: AppTest) -> str:
    return "\n".join(one.value for one in (*app.markdown, *app.caption, *app.warning, *app.info))


def link(app: AppTest) -> dict[str, list[str]]:
    return {k: [v] if isinstance(v, str) else list(v) for k, v in app.query_params.items() if k != "detail"}


def widget(app: AppTest, name: str) -> Any:
    """The widget of a setting."""
    every = (*app.selectbox, *app.select_slider, *app.number_input, *app.get("button_group"))
    (found,) = (one for one in every if str(one.key).startswith(f"surface:{name}:"))
    return found


def relief(app: AppTest) -> dict[str, Any]:
    """The surface itself, as the figure has it."""
    (found,) = (one for one in kept(app)[0]["data"] if one["type"] == "surface")
    return found


def lines(app: AppTest, figure: int = 1) -> list[dict[str, Any]]:
    """What is drawn over the surface (figure 0) or the map (1)."""
    return [one for one in kept(app)[figure]["data"] if one["type"].startswith("scatter")]


def routes(app: AppTest, figure: int = 1) -> list[dict[str, Any]]:
    """The paths of training."""
    return [one for one in lines(app, figure) if "own loss" in str(one.get("text", ""))]


def named(app: AppTest, name: str) -> list[dict[str, Any]]:
    return [one for one in lines(app) if str(one.get("name", "")).endswith(name)]


def array(values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def of_store(store: Store) -> tuple[dict[str, Any], np.ndarray]:
    """The request of the one surface in the store, and its heights (n, n, 3)."""
    with store.read() as connection:
        rows = connection.execute(sa.select(JOBS.c.request, JOBS.c.result)).all()
    asked = [(json.loads(request), result) for request, result in rows]
    n, size = asked[0][0]["n"], asked[0][0]["per_tile"]
    cut, heights = tiles(n, size), np.full((n * n, 3), np.nan)
    assert len(asked) == len(cut)
    for request, result in asked:
        heights[cut[request["tile"]].numbers] = decode_tile(result)
    return asked[0][0], heights.reshape(n, n, 3)


def thetas(store: Store, run: str) -> dict[int, np.ndarray]:
    """A run's checkpoints."""
    e = row_of(store, run).experiment
    return {step: flat_of(e, blob).numpy() for step, blob in store.checkpoints(run).items()}


def start_of(name: str) -> int:
    """Where a parameter begins in the flat vector."""
    shapes = layout_of(SMALL).shapes
    return sum(math.prod(shapes[one]) for one in list(shapes)[: list(shapes).index(name)])


def losses(store: Store, run: str, step: int, over: str = "step") -> np.ndarray:
    """At each checkpoint of a run the loss over the batch of one step."""
    heights = Heights(row_of(store, run).experiment, step, over)
    return heights.many(thetas(store, run).values())[:, 0]


# Opening ------------------------------------------------------------------------------------------------


def test_it_opens_on_a_run_and_its_numbers_are_those_of_the_store(store: Store) -> None:
    run = trained(store)
    app = whole(store, run=run)
    request, heights = of_store(store)
    assert (request["run"], request["step"], request["n"]) == (run, 8, 17)
    surface = relief(app)
    np.testing.assert_array_equal(array(surface["z"]), np.log10(heights[..., 0]).astype(np.float32))
    np.testing.assert_array_equal(array(surface["customdata"]), heights[..., 0].astype(np.float32))
    contour = kept(app)[1]["data"][0]
    assert contour["type"] == "contour"
    np.testing.assert_array_equal(array(contour["z"]), array(surface["z"]))
    left, right, low, high = request["window"]
    for name, (a, b) in {"x": (left, right), "y": (low, high)}.items():
        assert abs(surface[name][0] - a) < (b - a) / 32 + 1e-6
        assert abs(surface[name][-1] - b) < (b - a) / 32 + 1e-6
    assert link(app) == {"run": [run]}
    assert not app.get("progress")
    assert work(store) == 0, "nothing more was asked for"


def test_what_is_said_of_a_surface_is_so(store: Store) -> None:
    run = trained(store)
    app = whole(store, run=run)
    _, heights = of_store(store)
    loss, text = heights[..., 0], words(app)
    here = losses(store, run, 8)[-1]
    assert f"training batch of step 8, 3 sequences, on a plane through the weights of step 8**, where it is {of(here)}." in text  # fmt: skip # noqa: E501
    assert f"from {of(loss.min())} to {of(loss.max())}." in text
    assert "Guessing costs 0.167." in text
    assert "Holes" not in text
    path = np.array(list(thetas(store, run).values()))
    plane = path_plane(path)
    assert plane.explained is not None
    shares = re.findall(r"Both axes hold (\S+)\s%", text)
    assert float(shares[0]) == pytest.approx(100 * sum(plane.explained), abs=0.6)
    off = plane.place(path)[1].max()
    length = np.linalg.norm(path - path[0], axis=1).max()
    assert f"Its 9 checkpoints lie up to {of(off)} away from the plane" in text
    assert f"away from the plane on show, up to {of(length)} from the start." in text
    axes = kept(app)[1]["layout"]["xaxis"]["title"]["text"], kept(app)[1]["layout"]["yaxis"]["title"]["text"]
    for k, (title, share) in enumerate(zip(axes, plane.explained, strict=True)):
        told = re.fullmatch(rf"principal component {k + 1} of the path \((\S+)\s%\)", title)
        assert told is not None
        assert float(told[1]) == pytest.approx(100 * share, abs=0.06)


def test_fresh_weights_have_a_surface_and_no_path(store: Store) -> None:
    app = page(task="adding", length="6", hidden="4", batch="3", cell="tanh")
    assert "before its first training step" in words(app)
    assert not app.select_slider
    options = widget(app, "plane").options
    assert len(options) == 3
    assert PLANES["path"] not in options
    work(store)
    again(app)
    request, heights = of_store(store)
    assert (request["run"], request["step"], request["plane"]["kind"]) == (None, 0, "random")
    np.testing.assert_array_equal(array(relief(app)["customdata"]), heights[..., 0].astype(np.float32))
    assert lines(app) == []
    for kind in ("curvature", "chosen"):
        whole(store, task="adding", length="6", hidden="4", batch="3", cell="tanh", plane=kind)


def test_a_run_without_a_step_is_waited_for(store: Store) -> None:
    app = page(run=store.create(SMALL))
    assert "Waiting for the first training step" in words(app)
    assert Jobs(store).open() == []


def test_a_run_with_one_checkpoint_has_a_surface(store: Store) -> None:
    run = trained(store)
    with store.write() as connection:
        connection.execute(sa.delete(CHECKPOINTS).where(CHECKPOINTS.c.step > 0))
    app = page(run=run)
    assert not app.select_slider
    assert PLANES["path"] not in widget(app, "plane").options
    work(store)
    again(app)
    assert of_store(store)[0]["step"] == 0
    (route,) = routes(app)
    assert len(route["x"]) == 1
    assert abs(route["x"][0]) < 1e-9


# Planes and heights -------------------------------------------------------------------------------------

OTHERS = {"line": {"end_at": "0"}, "chosen": {"x_axis": "bias:h", "y_axis": "weight"}}


@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_goes_through_the_checkpoint_and_holds_the_networks_own_losses(
    store: Store, plane: str
) -> None:
    run = trained(store)
    app = whole(store, run=run, at="4", plane=plane, **OTHERS.get(plane, {}))
    request, heights = of_store(store)
    assert request["plane"]["kind"] == plane
    surface, path = relief(app), thetas(store, run)
    (route,) = routes(app)
    place = route["x"][4], route["y"][4]  # of step 4
    column, row = (int(np.argmin(np.abs(array(surface[a]) - p))) for a, p in zip("xy", place, strict=True))
    assert array(surface["x"])[column] == pytest.approx(place[0], abs=1e-6)
    assert array(surface["y"])[row] == pytest.approx(place[1], abs=1e-6)
    assert heights[row, column, 0] == losses(store, run, 4)[4], "at a node, to the last bit"
    if plane == "line":
        along = path[0] - path[4]
        direct = Heights(SMALL, 4).many([path[4] + share * along for share in array(surface["x"])])
        np.testing.assert_allclose(array(figures(app)[0]["data"][0]["customdata"]), direct[:, 0], rtol=1e-6)
        assert "barrier" in words(app)
    if plane == "chosen":
        moved = path[4].copy()
        moved[start_of("rnn.weight_hh_l0") + 1] += float(surface["y"][0]) - place[1]  # W_hh[0, 1]
        low = Heights(SMALL, 4).many([moved])[0, 0]
        assert heights[0, column, 0] == pytest.approx(low, rel=1e-5)
    assert link(app)["at"] == ["4"]
    assert link(app).get("plane", ["path"]) == [plane]


def test_the_window_can_be_drawn_together_and_widened(store: Store) -> None:
    run = trained(store)
    spans = []
    for zoom in ("0.1", "1", "10"):
        surface = relief(whole(store, run=run, zoom=zoom))
        spans.append(surface["x"][-1] - surface["x"][0])
    assert spans[1] / spans[0] == pytest.approx(10, rel=1e-3)
    assert spans[2] / spans[1] == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize(("height", "column"), [("loss", 0), ("accuracy", 1), ("gradient", 2)])
def test_other_heights_than_the_loss(store: Store, height: str, column: int) -> None:
    run = trained(store)
    app = whole(store, run=run, height=height, at="4")
    request, heights = of_store(store)
    assert request["gradient"] == (height == "gradient")
    np.testing.assert_array_equal(array(relief(app)["customdata"]), heights[..., column].astype(np.float32))
    name = {"loss": "loss", "accuracy": "accuracy", "gradient": "gradient norm"}[height]
    title = kept(app)[0]["layout"]["scene"]["zaxis"]["title"]["text"]
    assert title == (name if height == "accuracy" else f"{name}, log")
    assert kept(app)[1]["data"][0]["colorbar"]["title"]["text"] == name
    centre = heights[..., column]
    here = Heights(SMALL, 4).many([thetas(store, run)[4]], gradient=True)[0, column]
    assert f"where it is {of(here)}" in words(app)
    assert f"from {of(centre.min())} to {of(centre.max())}" in words(app)
    assert ("Guessing" in words(app)) == (height == "loss")
    assert len(routes(app)) == 1
    assert len(routes(app, 0)) == (1 if height == "loss" else 0), "dots have no place over other heights"


def test_the_held_out_sequences_can_be_the_ground(store: Store) -> None:
    run = trained(store)
    app = whole(store, run=run, over="held_out")
    _, heights = of_store(store)
    (route,) = routes(app)
    own = losses(store, run, 8, "held_out")
    np.testing.assert_allclose(array(route["marker"]["color"]), np.log10(own), rtol=1e-12)
    assert "all held-out sequences" in words(app)
    assert own[-1] in heights[..., 0]
    assert row_of(store, run).validation_loss == own[-1]


def test_a_linear_scale_draws_the_numbers_themselves(store: Store) -> None:
    app = whole(store, run=trained(store), scale="linear")
    surface = relief(app)
    np.testing.assert_array_equal(array(surface["z"]), array(surface["customdata"]))
    assert kept(app)[0]["layout"]["scene"]["zaxis"]["title"]["text"] == "loss"


def test_where_numbers_end_are_holes_and_they_are_counted(store: Store) -> None:
    app = whole(
        store, task="adding", length="60", hidden="4", batch="2", cell="relu", plane="random", zoom="10",
        scale="log",
    )  # fmt: skip
    _, heights = of_store(store)
    bad = int(np.sum(~np.isfinite(heights[..., 0])))
    drawn = [z is None or not np.isfinite(z) for row in relief(app)["z"] for z in row]
    assert sum(drawn) == bad
    assert (f"**Holes:** at {bad} of 289 points" in words(app)) == (bad > 0)
    assert bad > 0


# The path and its steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", [0, 1])
def test_dots_have_their_own_loss_and_say_how_far_they_lie_from_the_plane(store: Store, figure: int) -> None:
    run = trained(store)
    app = whole(store, run=run, at="4")
    (route,) = routes(app, figure)
    own = losses(store, run, 4)
    np.testing.assert_allclose(array(route["marker"]["color"]), np.log10(own), rtol=1e-12)
    path = np.array(list(thetas(store, run).values()))
    plane = path_plane(path)
    places, off = plane.place(path)
    np.testing.assert_allclose(array(route["x"]), places[:, 0], atol=1e-9)
    np.testing.assert_allclose(array(route["y"]), places[:, 1], atol=1e-9)
    # The surface on show is the slice through step 4: how far the others lie from that.
    off = plane.through(path[4]).plane.place(path)[1]
    assert off[4] == 0.0
    for k, text in enumerate(route["text"]):
        assert text == f"step {k}<br>own loss {of(own[k])}<br>{of(off[k])} off the plane"
    marker = kept(app)[1]["data"][0]
    assert (route["marker"]["cmin"], route["marker"]["cmax"]) == (marker["zmin"], marker["zmax"])
    (here,) = named(app, "step on show")
    assert here["x"][0] == pytest.approx(places[4, 0], abs=1e-9)


def test_a_clipped_step_is_drawn_as_it_was_and_as_it_would_have_been(store: Store) -> None:
    run = trained(store)
    kept_updates = {step: load(blob) for step, blob in store.updates(run).items()}
    assert kept_updates
    app = whole(store, run=run)
    path = thetas(store, run)
    plane = path_plane(np.array(list(path.values())))
    taken, ghosts = named(app, "step taken, clipped"), named(app, "without clipping")
    assert len(taken) == len(ghosts) == len(kept_updates)
    factors = {}
    for (step, update), solid, dotted in zip(kept_updates.items(), taken, ghosts, strict=True):
        for drawn, end in ((solid, update["taken"]), (dotted, update["unclipped"])):
            places, _ = plane.place(np.stack([path[step], end]))
            np.testing.assert_allclose(np.array([drawn["x"], drawn["y"]]).T, places, atol=1e-9)
            assert f"step {step}" in drawn["text"][0]
        factors[step] = np.linalg.norm(update["unclipped"] - path[step]) / np.linalg.norm(
            update["taken"] - path[step]
        )
        assert (solid["line"]["dash"], dotted["line"]["dash"]) == ("solid", "dot")
    furthest = max(factors, key=lambda step: factors[step])
    assert f"at step {furthest} " in words(app)
    assert f"{of(factors[furthest])} times as far" in words(app)
    assert factors[furthest] > 1
    without = page(run=run, ghosts="no")
    assert named(without, "without clipping") == []
    assert "Dotted" not in words(without)
    assert link(without) == {"run": [run], "ghosts": ["no"]}


def test_a_run_that_clipped_nothing_has_no_other_steps(store: Store) -> None:
    app = whole(store, run=trained(store, SMALL.changed(clip="none")))
    assert named(app, "without clipping") == []
    assert "Dotted" not in words(app)


def test_a_step_that_would_have_left_the_numbers_does_no_harm(store: Store) -> None:
    run = trained(store)
    step, blob = next(iter(store.updates(run).items()))
    arrays = {name: array.copy() for name, array in load(blob).items()}
    arrays["unclipped"][:] = np.inf
    with store.write() as connection:
        here = (CHECKPOINTS.c.run == run) & (CHECKPOINTS.c.step == step)
        connection.execute(sa.update(CHECKPOINTS).where(here).values(update=save(arrays)))
    app = whole(store, run=run)
    assert "∞ times as far" in words(app)
    assert len(named(app, "without clipping")) == len(store.updates(run)) - 1
    assert len(named(app, "step taken, clipped")) == len(store.updates(run))


def test_a_run_under_way_shows_where_it_stands_now(store: Store) -> None:
    run = trained(store, SMALL.changed(steps=100), pause_at=9)
    assert store.checkpoint_steps(run)[-1] == 8
    app = whole(store, run=run)
    (now,) = named(app, "now")
    state = store.state(run)
    assert state is not None
    plane = path_plane(np.array(list(thetas(store, run).values())))
    (place,), _ = plane.place(load(state)["parameters"][None])
    assert (now["x"][0], now["y"][0]) == pytest.approx(tuple(place), abs=1e-9)
    store.step_on(run)
    store.settle()
    go_on(store, run)
    again(app)
    assert row_of(store, run).step == 10
    work(store)
    again(app)
    assert named(app, "now") == [], "where it stands is a checkpoint"
    assert len(routes(app)[0]["x"]) == 10
    store.step_on(run)
    store.settle()
    go_on(store, run)
    again(app)
    assert len(named(app, "now")) == 1


# Twins --------------------------------------------------------------------------------------------------


def test_twins_share_one_plane_and_one_with_another_cell_lies_apart(store: Store) -> None:
    runs = [
        trained(store), trained(store, SMALL.changed(clip="none")), trained(store, SMALL.changed(cell="gru")),
    ]  # fmt: skip
    app = whole(store, run=runs)
    request, heights = of_store(store)
    assert request["run"] == runs[0]
    assert sorted(request["plane"]["runs"]) == sorted([[runs[0], 8], [runs[1], 8]])
    assert request["plane"]["runs"][-1][0] == runs[0], "through the one whose surface it is"
    drawn = routes(app)
    assert [one["name"][0] for one in drawn] == ["A", "B"]
    path = np.concatenate([list(thetas(store, run).values()) for run in (runs[1], runs[0])])
    plane = path_plane(path)
    for one, run in zip(drawn, runs[:2], strict=True):
        np.testing.assert_allclose(
            array(one["x"]), plane.place(np.array(list(thetas(store, run).values())))[0][:, 0], atol=1e-9
        )
        own = Heights(SMALL, 8).many(thetas(store, run).values())[:, 0]
        np.testing.assert_allclose(array(one["marker"]["color"]), np.log10(own), rtol=1e-12)
        assert np.isfinite(heights).any()
    assert drawn[0]["line"]["color"] != drawn[1]["line"]["color"]
    assert re.search(r"C · .* is another network or another task: its weights do not lie in this", words(app))
    assert "**A:** " in words(app)
    assert "**B:** " in words(app)
    other = page(run=runs, of="C")
    work(store)
    again(other)
    assert [one["name"][0] for one in routes(other)] == ["C"]
    assert len(re.findall("is another network", words(other))) == 2
    assert link(other)["of"] == ["C"]


def test_a_line_leads_to_a_twin(store: Store) -> None:
    runs = [trained(store), trained(store, SMALL.changed(clip="none"))]
    app = whole(store, run=runs, plane="line", end="B", end_at="5")
    request, heights = of_store(store)
    assert (request["plane"]["run"], request["plane"]["step"]) == (runs[1], 5)
    surface = relief(app)
    a, b = thetas(store, runs[0])[8], thetas(store, runs[1])[5]
    row = int(np.argmin(np.abs(array(surface["y"]))))
    direct = Heights(SMALL, 8).many([a + x * (b - a) for x in array(surface["x"])])[:, 0]
    np.testing.assert_allclose(heights[row, :, 0], direct, rtol=1e-6)
    assert surface["x"][0] <= 0 < 1 <= surface["x"][-1]


# Links and what may go wrong ----------------------------------------------------------------------------


def test_wrong_values_in_a_link_are_named_and_the_rest_is_kept(store: Store) -> None:
    run = trained(store)
    wrong = {
        "plane": "globe", "height": "sea", "scale": "oak", "over": "night", "detail": "18", "zoom": "2",
        "of": "E", "plane_seed": "-1", "biases": "maybe", "end_at": "x", "x_axis": "bias", "ghosts": "three",
        "colour": "red",
    }  # fmt: skip
    for some in (dict(list(wrong.items())[start : start + 4]) for start in range(0, len(wrong), 4)):
        app = page(run=run, at="4", **some)
        assert_told(app, some)
        assert link(app) == {"run": [run], "at": ["4"]}


def assert_told(app: AppTest, wrong: dict[str, str]) -> None:
    """Each of these is named in a line of its own."""
    (warning,) = app.warning
    told = warning.value.replace("\\", "").replace("\u2060", "").splitlines()
    assert len(told) == len(wrong)
    for name, value in wrong.items():
        (line,) = (one for one in told if f" {name}: " in one)
        assert value in line
        assert line.endswith(".")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"plane": "line", "end_at": "-1"}, "Both ends of the line are the same."),
        ({"plane": "chosen", "x_axis": "bias:h", "y_axis": "bias:h"}, "Both axes are the same; choose"),
    ],
)
def test_a_plane_that_is_none_is_a_sentence(store: Store, query: dict[str, str], sentence: str) -> None:
    run = trained(store)
    app = page(run=run, **query)
    assert app.info[0].value.startswith(sentence)
    assert kept(app) == []
    assert Jobs(store).open() == []
    assert link(app) == {"run": [run], **{k: [v] for k, v in query.items()}}
    widget(app, "plane").set_value("random")
    again(app)
    assert not app.info
    assert work(store) > 0


def test_a_plane_that_cannot_be_had_is_a_sentence_without_its_mark(store: Store) -> None:
    """Every weight of the output layer is 0: nothing is there to scale."""
    run = trained(store, SMALL.changed(initialization="identity"))
    blob = store.checkpoint(run, 8)
    assert blob is not None
    arrays = {name: array * 0 for name, array in load(blob).items()}
    with store.write() as connection:
        connection.execute(
            sa.update(CHECKPOINTS).where(CHECKPOINTS.c.step == 8).values(parameters=save(arrays))
        )
    app = page(run=run, plane="random")
    assert app.info[0].value == "All weights that this plane would move are 0."


def test_a_surface_can_be_cancelled_and_gone_on_with(store: Store) -> None:
    app = page(run=trained(store), detail="33")
    jobs = Jobs(store)
    assert app.get("progress")
    assert len(jobs.open()) >= 3
    work(store, most=2)
    again(app)
    assert relief(app)["x"].size == 9, "the first level is drawn"
    app.button(key="surface_cancel").click()
    again(app)
    assert jobs.open() == []
    again(app)
    assert jobs.open() == [], "and it is not asked for again by itself"
    assert not app.get("progress")
    assert relief(app)["x"].size == 9
    app.button(key="surface_resume").click()
    again(app)
    assert app.get("progress")
    work(store)
    again(app)
    assert relief(app)["x"].size == 33
    assert "surface_resume" not in [button.key for button in app.button]


def test_what_is_no_longer_looked_at_is_no_longer_computed(store: Store) -> None:
    app = page(run=trained(store))
    before = set(Jobs(store).open())
    widget(app, "plane").set_value("random")
    again(app)
    after = set(Jobs(store).open())
    assert after
    assert not before & after


def test_a_surface_that_another_visitor_has_left_goes_on(store: Store) -> None:
    run = trained(store)
    stays, goes = page(run=run), page(run=run)
    widget(goes, "plane").set_value("random")
    again(goes)
    work(store)
    again(stays)
    assert work(store) > 0, "asked for again"
    again(stays)
    assert relief(stays)["x"].size == 17
    assert not stays.get("progress")


def test_a_surface_that_was_computed_once_is_there_at_once(store: Store) -> None:
    run = trained(store)
    first = whole(store, run=run)
    other = page(run=run)
    assert relief(other)["z"].tolist() == relief(first)["z"].tolist()
    assert work(store) == 0


def test_a_surface_that_cannot_be_computed_says_why(store: Store) -> None:
    app = page(run=trained(store))
    jobs = Jobs(store)
    for job in jobs.open():
        epoch = jobs.claim(job)
        assert epoch is not None
        jobs.fail(job, epoch, "The worker ran out of memory.")
    again(app)
    assert "The worker ran out of memory." in app.warning[0].value
    again(app)
    assert jobs.open() == [], "asking again by itself would fail again"


def test_a_deleted_run_is_said_and_forgotten(store: Store) -> None:
    runs = [trained(store), trained(store, SMALL.changed(clip="none"))]
    app = whole(store, run=runs)
    store.discard(runs[1])
    again(app)
    assert "no longer there" in words(app)
    assert link(app)["run"] == runs[:1]
    work(store)
    again(app)
    assert len(routes(app)) == 1
    store.discard(runs[0])
    again(app)
    assert "run" not in link(app)
    work(store)
    again(app)
    assert routes(app) == []
    assert len(kept(app)) == 2, "fresh weights"


def test_playing_goes_from_checkpoint_to_checkpoint_and_ends(store: Store) -> None:
    run = trained(store)
    app = whole(store, run=run, plane="random")
    app.button(key="surface_play").click()
    shown: list[int] = []
    again(app)
    for _ in range(40):
        step = widget(app, "at").value
        if not shown or shown[-1] != step:
            shown.append(step)
        if app.button(key="surface_play").label == "Play":
            break
        work(store)
        again(app)
    assert shown == list(range(9))
    assert app.button(key="surface_play").label == "Play"
    again(app)
    assert widget(app, "at").value == 8
    app.button(key="surface_play").click()
    again(app)
    assert widget(app, "at").value in (0, 1), "from the start again"
    app.button(key="surface_play").click()
    again(app)
    stopped = widget(app, "at").value
    again(app)
    assert widget(app, "at").value == stopped
