"""The page on gates: what it draws against the cell itself, its links, and what may go wrong."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import load, save
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.dynamics import Place
from rnnviz.analysis.held import Hold, held_forward, without_each
from rnnviz.analysis.moment import moment
from rnnviz.analysis.readings import first_of, read, read_typed, typed
from rnnviz.analysis.saturation import ends, memory_time
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.numbers import of
from rnnviz.runs.schema import CHECKPOINTS
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from rnnviz.ui.gates_settings import SECTIONS
from tests.figures import figures, traces

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "gates.py")
SMALL = Experiment(task="adding", length=6, cell="lstm", hidden=4, batch=3, steps=8, precision="float64")
TEXT = SMALL.changed(task="text", length=12)


def page(**query: str | list[str]) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def trained(store: Store, experiment: Experiment = SMALL, **values: Any) -> str:
    run = store.create(experiment, **values)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    return run


def words(app: AppTest) -> str:
    return "\n".join(one.value for one in (*app.markdown, *app.caption, *app.warning, *app.info))


def maps(app: AppTest) -> dict[str, Any]:
    """What the component is given, its arrays (T, rows) decoded by the name of each pane."""
    (found,) = (
        json.loads(one.proto.json)
        for one in app.get("bidi_component")
        if one.proto.component_name == "rnnviz_gates"
    )
    for pane in found["panes"]:
        values = np.frombuffer(base64.b64decode(pane["values"]), dtype="<f4")
        pane["values"] = values.reshape(-1, pane["rows"])
    return {**found, "by": {pane["name"]: pane for pane in found["panes"]}}


def shown(store: Store, run: str, step: int | None = None) -> Any:
    row = store.run(run)
    assert row is not None
    at = store.checkpoint_steps(run)[-1] if step is None else step
    return moment(row.experiment, at, store.checkpoint(run, at), json.loads(row.kernel or "{}").get("kernel"))


@pytest.mark.parametrize("cell", CELLS)
def test_maps_are_what_the_cell_computed(cell: str, store: Store) -> None:
    run = trained(store, SMALL.changed(cell=cell))
    told = maps(page(run=run, sequence="2", over="step"))
    reading = read(shown(store, run), "step")
    expected = {"x", *CELLS[cell].gates, *CELLS[cell].states, "|dL/dh|"}
    assert set(told["by"]) == expected
    for name in {*CELLS[cell].gates, *CELLS[cell].states}:
        values = reading.values(Place(), name)[:, 1].astype(np.float32)
        np.testing.assert_array_equal(told["by"][name]["values"], values)
    grad = reading.grad(Place())
    assert grad is not None
    np.testing.assert_allclose(told["by"]["|dL/dh|"]["values"], np.log10(np.abs(grad[:, 1])), rtol=1e-5)
    np.testing.assert_allclose(told["by"]["x"]["values"], reading.batch.inputs[:, 1], rtol=1e-6)
    assert told["marks"] == reading.batch.marks[1].tolist()
    assert (told["T"], told["first"], told["order"]) == (6, 1, [0, 1, 2, 3])


def test_another_weight_is_another_map(store: Store) -> None:
    run = trained(store)
    before = maps(page(run=run))["by"]["f"]["values"]
    step = store.checkpoint_steps(run)[-1]
    blob = store.checkpoint(run, step)
    assert blob is not None
    arrays = {name: value.copy() for name, value in load(blob).items()}
    arrays["rnn.weight_ih_l0"][4, 0] += 1.0  # the first row of the forget gate
    with store.engine.begin() as connection:
        connection.execute(
            sa.update(CHECKPOINTS).where(CHECKPOINTS.c.step == step).values(parameters=save(arrays))
        )
    after = maps(page(run=run))["by"]["f"]["values"]
    assert (before[:, 0] != after[:, 0]).any()
    np.testing.assert_array_equal(before[0, 1:], after[0, 1:])  # at t = 1 nobody has heard of it yet


def test_layers_directions_orders_and_the_mean(store: Store) -> None:
    run = trained(store, SMALL.changed(layers=2, direction="both", cell="gru"))
    told = maps(page(run=run, layer="2", way="backward", mean="mean", order="saturated"))
    reading = read(shown(store, run), "held_out")
    place = Place(1, 1)
    np.testing.assert_allclose(told["by"]["z"]["values"], reading.values(place, "z").mean(1), rtol=1e-5)
    z, r = ends(reading.values(place, "z")), ends(reading.values(place, "r"))
    share = z.shut + z.open + r.shut + r.open
    assert told["order"] == np.argsort(-share, kind="stable").tolist()
    grad = reading.grad(place)
    assert grad is not None
    by_gradient = maps(page(run=run, layer="2", way="backward", order="gradient", sequence="3"))["order"]
    assert by_gradient == np.argsort(-np.abs(grad[:, 2]).mean(0), kind="stable").tolist()


def test_an_answer_at_every_step_stands_beside_what_is_right(store: Store) -> None:
    run = trained(store, SMALL.changed(task="copying", length=3))
    told = maps(page(run=run))["by"]
    reading = read(shown(store, run), "held_out")
    A = len(reading.outputs)
    p = np.exp(reading.outputs[:, 0])
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(told["y"]["values"][-A:], p, rtol=1e-5)
    assert (told["target"]["values"][-A:].argmax(1) == reading.batch.targets[:, 0]).all()


def test_a_typed_sequence(store: Store) -> None:
    run = trained(store, TEXT)
    app = page(run=run, over="typed", typed="hello you")
    told = maps(app)
    reading = read_typed(shown(store, run), typed("text", "hello you"))
    np.testing.assert_allclose(told["by"]["c"]["values"], reading.values(Place(), "c")[:, 0], rtol=1e-5)
    assert "".join(told["symbols"]) == "hello␣you"
    assert "|dL/dh|" not in told["by"]
    assert "No right answer is known" in words(app)
    wrong = page(run=run, over="typed", typed="Ähem")
    assert "'ä' is no symbol of this task" in words(wrong)
    wrong.text_input[0].set_value("now it is right").run()
    assert not wrong.exception
    assert maps(wrong)["T"] == 15
    # Nothing typed yet: a held-out sequence to begin with.
    assert maps(page(run=run, over="typed"))["T"] == 12


def test_saturation_counts_each_units_time_at_either_end(store: Store) -> None:
    run = trained(store)
    app = page(run=run, show="saturation")
    reading = read(shown(store, run), "held_out")
    points = [one for one in traces(app, mode="markers") if len(one["x"]) == 4]
    for gate, one in zip(("i", "f", "o"), points, strict=True):
        found = ends(reading.values(Place(), gate))
        np.testing.assert_allclose(one["x"], found.shut)
        np.testing.assert_allclose(one["y"], found.open)
    assert "Over 64 sequences of 6 time steps" in words(app)
    assert "has no gates" in words(page(run=trained(store, SMALL.changed(cell="tanh")), show="saturation"))


def test_memory_time_over_training_and_the_bias(store: Store) -> None:
    run = trained(store, SMALL.changed(forget_bias=2.0))
    app = page(run=run, show="memory")
    steps = store.checkpoint_steps(run)
    kept, times = traces(app, mode="lines+markers")
    medians = [
        float(np.median(read(shown(store, run, step), "held_out").values(Place(), "f"))) for step in steps
    ]
    np.testing.assert_allclose(kept["y"], medians, rtol=1e-9)
    np.testing.assert_allclose(times["y"], memory_time(np.array(medians)), rtol=1e-9)
    assert list(kept["x"]) == steps
    (bias,) = (one for one in traces(app, mode="markers") if len(one["x"]) == 4)
    w = shown(store, run).network.weights()
    np.testing.assert_allclose(bias["x"], 2.0)
    np.testing.assert_allclose(bias["y"], (w["bias_ih"] + w["bias_hh"])[4:8].numpy())
    assert f"median {of(medians[-1])}" in words(app)
    assert "no gate that keeps" in words(page(run=trained(store, SMALL.changed(cell="relu")), show="memory"))


def test_what_is_taken_away_is_a_pass_without_it(store: Store) -> None:
    run = trained(store)
    app = page(run=run, show="without", gate="o", held="open", whose="one", unit="3")
    m = shown(store, run)
    batch = first_of(read(m, "held_out").batch, 32, "adding")
    losses = without_each(m.experiment, m.network.flat, batch)
    (bars,) = traces(app, type="bar")
    order = np.argsort(-losses, kind="stable")
    assert [str(x) for x in bars["x"]] == [str(k + 1) for k in order]
    np.testing.assert_allclose(bars["y"], losses[order])
    held = held_forward(m.experiment, m.network.flat, batch, [Hold("o", 1.0, 2)]).loss
    free = held_forward(m.experiment, m.network.flat, batch).loss
    told = "of unit 3 held at 1** (how much of the memory is shown as h; it leaves c alone): the loss goes "
    assert told + f"from {of(free)} to **{of(held)}**" in words(app)


def test_a_probe_over_time_and_what_units_follow(store: Store) -> None:
    run = trained(store)
    app = page(run=run, show="probe", state="c")
    assert {one["name"] for one in traces(app, mode="lines+markers")} == {"marked input 1", "marked input 2"}
    (heat,) = traces(app, type="heatmap")
    assert np.asarray(heat["z"]).shape == (4, 4)
    assert "of c follows" in words(app)


def test_text_is_coloured_and_written(store: Store) -> None:
    run = trained(store, TEXT)
    app = page(run=run, show="text", draw="3", temperature="0.5", count="40")
    assert len(app.code[0].value) == 40
    again = page(run=run, show="text", draw="3", temperature="0.5", count="40")
    assert again.code[0].value == app.code[0].value
    assert (
        page(run=run, show="text", draw="4", temperature="0.5", count="40").code[0].value != app.code[0].value
    )
    html = app.get("html")[-1].proto.body
    assert html.count("<span>") == 12
    unit = next(button for button in app.button if button.key.startswith("interesting_"))
    unit.click().run()
    assert not app.exception
    assert app.query_params["color"] in ("unit", ["unit"])


@pytest.mark.parametrize("task", ["repetition", "reversal", "reber", "text"])
def test_text_is_for_who_names_the_next_symbol_at_every_step(task: str, store: Store) -> None:
    run = trained(store, SMALL.changed(task=task, length=12))
    app = page(run=run, show="text")
    assert bool(app.code) == (task in ("reber", "text"))
    assert app.code or maps(app)  # the first section instead


def test_what_is_typed_is_not_markdown(store: Store) -> None:
    app = page(run=trained(store), over="typed", typed="![x](https://example.org/a.png)")
    (told,) = (one.value for one in app.warning if "sequence" in one.value)
    assert "![x](" not in told
    assert "time step 1 is" in told


def test_a_letter_goes_with_the_text_and_a_mean_is_no_text(store: Store) -> None:
    run = trained(store, SMALL.changed(task="parity", length=1, batch=2))
    for sequence in ("one", "mean"):
        told = maps(page(run=run, over="step", mean=sequence))
        assert (told["panes"][0]["kind"] == "symbols") == (told["symbols"] is not None)


def test_twins_are_told_apart(store: Store) -> None:
    runs = [trained(store), trained(store, SMALL.changed(cell="gru"))]
    for section in SECTIONS:
        if section != "text":
            app = page(run=runs, show=section, of="B")
            assert figures(app) or maps(app)
    gates = maps(page(run=runs, of="B"))["by"]
    assert "z" in gates
    assert "f" not in gates


def test_fresh_weights_and_a_run_that_has_not_begun(store: Store) -> None:
    app = page(task="adding", cell="gru_chung", hidden="5", length="7")
    assert maps(app)["T"] == 7
    assert "1 writes, 0 keeps" in maps(app)["by"]["z"]["note"]
    assert "z keeps" not in words(app)
    waiting = page(run=store.create(SMALL))
    assert "Waiting for the first training step." in words(waiting)


def test_weights_that_are_no_numbers_are_shown_as_such(store: Store) -> None:
    run = trained(store)
    step = store.checkpoint_steps(run)[-1]
    blob = store.checkpoint(run, step)
    assert blob is not None
    arrays = {name: np.full_like(value, np.nan) for name, value in load(blob).items()}
    with store.engine.begin() as connection:
        connection.execute(sa.update(CHECKPOINTS).values(parameters=save(arrays)))
    assert np.isnan(maps(page(run=run))["by"]["f"]["values"]).all()
    for section in SECTIONS:
        if section != "text":
            page(run=run, show=section, order="similar")
    assert "nothing to compare with" in words(page(run=run, show="without"))
    assert "No unit varies" in words(page(run=run, show="probe"))
    text = trained(store, TEXT)
    with store.engine.begin() as connection:
        blob = store.checkpoint(text, 0)
        assert blob is not None
        arrays = {name: np.full_like(value, np.nan) for name, value in load(blob).items()}
        connection.execute(
            sa.update(CHECKPOINTS).where(CHECKPOINTS.c.run == text).values(parameters=save(arrays))
        )
    assert "Its outputs are no numbers" in page(run=text, show="text").code[0].value


def test_wrong_values_in_the_link_are_named(store: Store) -> None:
    app = page(
        run=trained(store), order="upwards", sequence="0", unit="99999", layer="x", gate="q", extra="1"
    )
    told = "\n".join(one.value for one in app.warning)
    for name in ("order", "sequence", "unit", "layer", "gate", "extra"):
        assert re.search(rf"\b{name}\b", told), told
    assert maps(app)["T"] == 6
    # More than there are: the last one there is.
    assert "Sequence 64 of 64" in words(page(run=trained(store), sequence="5000"))


def test_play_goes_through_the_checkpoints(store: Store) -> None:
    run = trained(store)
    app = page(run=run)
    steps = store.checkpoint_steps(run)
    next(button for button in app.button if button.key == "gates_play").click().run()
    seen = [app.query_params["at"]]
    for _k in range(2 * len(steps)):
        app.run()
        seen.append(app.query_params.get("at", ["-1"]))
    assert not app.exception
    flat = [int(v[0] if isinstance(v, list) else v) for v in seen]
    assert flat[-1] == steps[-1]
    assert next(button for button in app.button if button.key == "gates_play").label == "Play"
