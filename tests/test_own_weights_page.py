"""Somebody's own weights on the pages: uploaded on Runs, looked at elsewhere, and never begun again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import sqlalchemy as sa
import torch
from streamlit.testing.v1 import AppTest

from rnnviz.experiment import Experiment
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import Store, StoreFullError, owner_hash
from rnnviz.runs.weights_file import CONVERT
from rnnviz.runs.worker import advance_slice
from rnnviz.ui import own_weights, sharing, steering
from rnnviz.ui.text import plain

PAGES = Path(__file__).resolve().parents[1] / "pages"
NAVIGATION = f"""
import streamlit as st
st.navigation([
    st.Page({str(PAGES / "runs.py")!r}, url_path="runs", default=True),
    *(st.Page({str(PAGES)!r} + f"/{{name}}.py", url_path=name) for name in {("train", *own_weights.LOOKS)!r}),
]).run()
"""
TOKEN = "0123456789abcdef" * 2
ME = owner_hash(TOKEN)
SMALL = Experiment(task="adding", length=6, cell="lstm", hidden=5, batch=8, steps=25)


def runs_page() -> AppTest:
    app = AppTest.from_string(NAVIGATION, default_timeout=60)
    app.session_state["owner"] = TOKEN
    return again(app)


def page(name: str, **query: str | list[str]) -> AppTest:
    """A page opened by a link, in the browser that uploaded."""
    app = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=60)
    app.session_state["owner"] = TOKEN
    for key, value in query.items():
        app.query_params[key] = value
    return again(app)


def again(one: Any) -> AppTest:
    """Run the page of a test, or of one of its widgets, once more."""
    app: AppTest = one.run()
    assert not app.exception
    return app


def tensors(kind: str = "LSTM", prefix: str = "rnn.", **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    module = getattr(torch.nn, kind)(**{"input_size": 2, "hidden_size": 5, **options})
    return {prefix + name: value for name, value in module.state_dict().items()}


def uploaded(app: AppTest, found: dict[str, torch.Tensor] | bytes, name: str = "best.safetensors") -> AppTest:
    blob = found if isinstance(found, bytes) else safetensors.torch.save(found)
    box = next(one for one in app.file_uploader if one.key.startswith("own_file"))
    box.set_value((name, blob, "application/octet-stream"))
    return again(app)


def own(store: Store, found: dict[str, torch.Tensor] | None = None) -> str:
    """A run of uploaded weights, made as a visitor makes it."""
    before = {run.id for run in store.runs()}
    app = uploaded(runs_page(), tensors() if found is None else found)
    again(app.button(key="own_make").click())
    (run,) = {run.id for run in store.runs()} - before
    return run


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    run = store.create(experiment, ME)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 30.0)
    return run


def select(app: AppTest, start: str) -> Any:
    """The widget for a choice, by the beginning of its key."""
    (found,) = [
        one for one in (*app.selectbox, *app.get("button_group")) if (one.key or "").startswith(start)
    ]
    return found


def words(app: AppTest) -> str:
    told = [*app.markdown, *app.caption, *app.warning, *app.info, *app.success, *app.get("html")]
    text = "\n".join(str(getattr(one, "value", None) or one.proto) for one in told)
    return text.replace("\\", "").replace("\u2060", "")


# From a file to a run


def test_a_file_becomes_a_run_with_links_to_the_pages_that_look_at_it(store: Store) -> None:
    app = uploaded(runs_page(), {**tensors(), "head.weight": torch.ones(1, 5), "head.bias": torch.ones(1)})
    (table,) = app.dataframe
    rows = table.value.to_dict("records")
    assert {"name": "rnn.weight_hh_l0", "shape": "(20, 5)", "becomes": "rnn.weight_hh_l0"} in rows
    assert {"name": "head.weight", "shape": "(1, 5)", "becomes": "out.weight"} in rows
    assert len(rows) == 6
    assert "nn.LSTM rnn" in words(app)
    assert store.runs() == []
    again(app.button(key="own_make").click())
    (run,) = store.runs()
    assert (run.owner, run.name, run.experiment.cell, run.experiment.task) == (ME, "best", "lstm", "adding")
    links = {(one.proto.page, one.proto.query_string) for one in app.get("page_link")}
    assert {(name, f"run={run.id}") for name in ("gradients", "gates", "surface")} == links
    assert "Own weights, from nn.LSTM rnn of a file; output layer: head.weight." in words(app)
    assert not app.dataframe, "the box is empty again"


def test_what_is_open_is_chosen(store: Store) -> None:
    found = {
        **tensors("RNN", "first."), **tensors("RNN", "second.", num_layers=2),
        "one.weight": torch.ones(1, 5), "two.weight": torch.full((1, 5), 2.0),
    }  # fmt: skip
    app = uploaded(runs_page(), found)
    again(select(app, "own_module").set_value(1))
    assert app.button(key="own_make").disabled
    assert "Choose the nonlinearity first." in words(app)
    again(select(app, "own_cell").set_value("relu"))
    assert app.button(key="own_make").disabled
    assert "Choose the output layer first." in words(app)
    again(select(app, "own_output").set_value(1))
    again(app.number_input[0].set_value(7))
    again(app.button(key="own_make").click())
    (run,) = store.runs()
    assert (run.experiment.cell, run.experiment.layers, run.experiment.length) == ("relu", 2, 7)
    assert run.origin.output == "two.weight"
    blob = store.checkpoint(run.id, 0)
    assert (safetensors.torch.load(blob)["out.weight"] == 2).all()


def test_the_task_says_which_tensors_can_be_the_output_layer(store: Store) -> None:
    app = uploaded(runs_page(), {**tensors("GRU"), "three.weight": torch.ones(3, 5)})
    assert not [one for one in app.selectbox if one.key.startswith("own_output")]
    assert "The output layer is drawn by the seed" in words(app)
    again(select(app, "own_task").set_value("echo"))
    assert select(app, "own_output").value == 0
    assert "The output layer is drawn by the seed" not in words(app)
    again(app.button(key="own_make").click())
    assert store.runs()[0].experiment.task == "echo"


def test_what_is_not_as_in_the_file_is_told(store: Store) -> None:
    found = {name: value.half() for name, value in tensors(bias=False, bidirectional=True).items()}
    found["rnn.weight_hh_l0"][0, 0] = torch.nan
    told = words(uploaded(runs_page(), found))
    for sentence in (
        "The module has no biases (bias=False): they are 0 here.", "Numbers of half precision are taken",
        "1 of the 371 weights are NaN or infinite; they stay what they are.",
        "The output layer is drawn by the seed and is not yours", "that is the state at t = 1",
    ):  # fmt: skip
        assert sentence in told


def test_a_pickle_is_refused_with_the_line_that_converts_it(store: Store) -> None:
    out = io.BytesIO()
    torch.save(tensors(), out)
    app = uploaded(runs_page(), out.getvalue(), "model.pt")
    assert "a pickle may run any code when it is opened" in words(app)
    assert any(CONVERT in code.value for code in app.code)
    assert not [button for button in app.button if button.key == "own_make"]


def test_what_a_stranger_wrote_is_no_markup(store: Store) -> None:
    odd = "![x](//x.org/y.png)."
    app = uploaded(
        runs_page(), {odd + "weight_hh_l0": torch.ones(10, 5), odd + "weight_ih_l0": torch.ones(5, 2)}
    )
    assert "2 rows for each hidden unit" in words(app)
    assert not any("![" in warning.value for warning in app.warning)
    uploaded(app, tensors(prefix=odd))
    assert not any("![" in text.value for text in app.markdown)
    again(app.button(key="own_make").click())
    assert not any("![" in one.proto.label for one in app.get("page_link"))
    assert own_weights.remark(store.runs()[0]).count("![") == 0
    assert plain(odd.removesuffix(".")) in own_weights.remark(store.runs()[0])


def test_a_full_disk_is_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: object) -> str:
        raise StoreFullError("The disk that holds the store is full.")

    monkeypatch.setattr(own_weights, "to_run", full)
    app = uploaded(runs_page(), tensors())
    again(app.button(key="own_make").click())
    assert "The disk that holds the store is full." in words(app)


# Looked at


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=["one", "many"])
def test_the_gradients_page_shows_it(store: Store, options: dict[str, Any]) -> None:
    run = own(store, tensors("GRU", **options))
    app = page("gradients", run=run)
    assert len(app.get("plotly_chart")) > 0
    assert "best: weights from nn.GRU rnn of a file." in words(app)
    assert "The output layer is drawn by the seed and is not yours" in words(app)
    for section in ("products", "spectra", "ledger", "clipping", "memory"):
        again_with = page("gradients", run=run, show=section)
        assert "Waiting for the first training step." not in words(again_with)


def test_the_gradients_page_shows_weights_that_are_not_finite(store: Store) -> None:
    found = tensors()
    found["rnn.weight_hh_l0"][0, 0] = torch.nan
    assert len(page("gradients", run=own(store, found)).get("plotly_chart")) > 0


def test_the_surface_page_shows_it(store: Store) -> None:
    run = own(store)
    link: dict[str, Any] = {"run": run, "detail": "17"}
    app = page("surface", **link)
    jobs = Jobs(store)
    assert jobs.open()
    for job in jobs.open():
        epoch = jobs.claim(job)
        assert epoch is not None
        job_slice(store.url, job, epoch, 60.0)
    again(app)
    assert "best: weights from nn.LSTM rnn of a file." in words(app)
    assert not app.warning


def test_runs_that_were_trained_are_not_spoken_of(store: Store) -> None:
    assert "of a file" not in words(page("gradients", run=trained(store)))
    assert own_weights.remark(store.run(trained(store))) == ""


# Never begun again


def test_train_says_what_it_is_and_begins_nothing_from_it(store: Store) -> None:
    run = own(store)
    app = page("train", run=run)
    assert "Weights from a file are only looked at." in words(app)
    for key in ("pause", "step", "stop", "rewind", "new_seed", "repeat"):
        assert app.button(key=key).disabled, key
    assert app.button(key="rewind").help == steering.NOT_DRAWN
    assert not [one for one in app.get("download_button") if "Python" in one.proto.label]
    again(app.button(key="train").click())
    (new,) = [one for one in store.runs() if one.id != run]
    assert (new.weights, new.experiment) == (None, store.run(run).experiment)


@pytest.mark.parametrize("button", ["rewind", "new_seed", "repeat", "explode"])
def test_the_callbacks_themselves_refuse(store: Store, button: str) -> None:
    """A page that was drawn before still shows the buttons, as a forged message would press them."""
    run = trained(store)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(state="diverged"))
    app = page("train", run=run)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(weights='{"module": "nn.LSTM", "output": null}'))
    again(app.button(key=button).click())
    assert len(store.runs()) == 1
    assert steering.NOT_DRAWN in words(app)


def test_the_list_leads_to_gradients_and_has_no_python_that_repeats_it(store: Store) -> None:
    run, other = own(store), trained(store)
    app = runs_page()
    links = {one.proto.query_string: one.proto.page for one in app.get("page_link")}
    assert links == {f"run={run}": "gradients", f"run={other}": "train"}
    again(app.checkbox(key=f"runs_pick_{run}").check())
    buttons = {one.proto.label: one.proto.disabled for one in app.get("download_button")}
    assert buttons == {
        "Every step as a table (CSV)": True, "The run as a file": False, "Replay in a browser (HTML)": True,
        "The experiment (JSON)": True,
    }  # fmt: skip
    assert steering.NOT_DRAWN in words(app)
    again(app.checkbox(key=f"runs_pick_{other}").check())
    buttons = {one.proto.label: one.proto.disabled for one in app.get("download_button")}
    assert not buttons["Every step as a table (CSV)"]


def test_it_is_named_deleted_and_brought_back_as_every_run(store: Store) -> None:
    run = own(store)
    app = runs_page()
    again(app.checkbox(key=f"runs_pick_{run}").check())
    again(app.button(key="runs_delete").click())
    assert store.run(run) is None
    again(app.button(key="runs_back").click())
    row = store.run(run)
    assert (row.name, row.state, row.origin.module) == ("best", "stopped", "nn.LSTM rnn")


def test_its_run_file_is_taken_in_with_the_mark(store: Store) -> None:
    run = own(store)
    app = runs_page()
    box = next(one for one in app.file_uploader if one.key.startswith("open_file"))
    box.set_value(("own.rnnviz", sharing.run_file(store, [run]), "application/octet-stream"))
    again(app)
    (copy,) = [one for one in store.runs() if one.id != run]
    assert copy.origin == store.run(run).origin
    assert words(app).count("Own weights, from nn.LSTM rnn of a file") == 2
