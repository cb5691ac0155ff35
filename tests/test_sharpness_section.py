"""The section on curvature: numbers at once or by a job, the curve as it fills in, and its words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.curvature import Sharpness, sharpness
from rnnviz.analysis.moment import moment
from rnnviz.experiment import Experiment
from rnnviz.numbers import of
from rnnviz.plots.sharpness import TEXT
from rnnviz.runs import sharpness as stored
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.sharpness import decode
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from rnnviz.ui import sharpness_section
from rnnviz.ui.sharpness_words import curve_words, limit_of, verdict
from tests.figures import figures, trace, traces

SGD = Experiment(
    task="adding", length=6, cell="tanh", hidden=4, batch=3, steps=6, precision="float64", optimizer="sgd",
    learning_rate=0.1, clip="none",
)  # fmt: skip


def script() -> None:
    """A page with nothing but the section."""
    import streamlit as st

    from rnnviz.ui import link, networks, services
    from rnnviz.ui.settings import Settings
    from rnnviz.ui.sharpness_section import sharpness_section, sharpness_under_way

    settings = Settings("surface", networks.KINDS, others=link.PARAMETERS)
    store = services.store()
    link.read(store, settings)
    runs = link.runs(store)
    steps = networks.checkpoints(store, runs)
    step = networks.checkpoint(settings, steps) if len(steps) > 1 else None
    shown = networks.at_checkpoint(store, runs, step) if runs else networks.fresh()
    sharpness_section(store, shown, settings)
    st.session_state["busy"] = sharpness_under_way(store, shown)
    link.write(settings)


def page(**query: str | list[str]) -> AppTest:
    app = AppTest.from_function(script, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def trained(store: Store, experiment: Experiment = SGD) -> str:
    run = store.create(experiment)
    advance_slice(store.url, run, store.claim(run), 60.0)
    return run


def words(app: AppTest) -> str:
    return "\n".join(one.value for one in (*app.markdown, *app.caption, *app.warning, *app.info))


def keys(app: AppTest) -> list[str]:
    return [button.key for button in app.button]


def work(store: Store, seconds: float = 1000.0) -> None:
    jobs = Jobs(store)
    for job in jobs.open():
        job_slice(store.url, job, jobs.claim(job), seconds)


@pytest.fixture(autouse=True)
def _whole_checkpoints(monkeypatch):
    """However busy the machine is, a partial result comes after a checkpoint and not within it."""
    monkeypatch.setattr(stored, "EVERY", math.inf)


@pytest.fixture
def slow(monkeypatch):
    """Nothing is quick enough to be had at once."""
    monkeypatch.setattr(sharpness_section, "AT_ONCE", -1.0)


def at(store: Store, run: str, step: int) -> Sharpness:
    return sharpness(moment(SGD, step, store.checkpoint(run, step), "compiled"))


def test_the_numbers_here_are_had_at_once_and_are_those_of_the_checkpoint(store) -> None:
    run = trained(store)
    for step in (6, 2):
        app = page(run=run, at=str(step))
        found = at(store, run, step)
        (row,) = app.dataframe[0].value.to_dict("records")
        assert [row[f"eigenvalue {n}"] for n in range(1, 6)] == [of(value) for value in found.eigenvalues]
        assert row["most negative"] == of(found.least)
        assert row["trace"] == f"{of(found.trace)} ± {of(found.trace_error)}"
        assert row["gradient norm"] == of(found.grad_norm)
        assert verdict(SGD, step, found) in words(app)
        assert "2 / learning rate = 20" in words(app)
    assert "ask_sharpness_here" not in keys(app)
    assert not figures(app)


def test_fresh_weights_have_numbers_and_no_curve(store) -> None:
    app = page(cell="lstm", hidden="4", length="6", batch="3", task="adding")
    assert len(app.dataframe[0].value) == 1
    assert "Over training" not in [one.value for one in app.subheader]
    assert not app.button


def test_the_curve_is_a_job_that_fills_in_is_cancelled_and_is_answered_the_second_time(store) -> None:
    run = trained(store)
    steps = store.checkpoint_steps(run)
    app = page(run=run, at="2")
    app.button(key="ask_sharpness_curve").click().run()
    (job,) = Jobs(store).open()
    assert Jobs(store).job(job).request["steps"] == steps
    assert app.get("progress")
    assert app.session_state["busy"]
    work(store, seconds=-1.0)
    app.run()
    partly = trace(app, name=TEXT["largest"])
    assert list(partly["x"]) == steps[-1:], "the newest first"
    app.button(key="cancel_sharpness_curve").click().run()
    assert Jobs(store).claim(job) is None
    app.run()
    assert list(trace(app, name=TEXT["largest"])["x"]) == steps[-1:], "what there was is kept"
    assert not app.session_state["busy"]
    app.button(key="ask_sharpness_curve").click().run()
    work(store)
    app.run()
    assert not app.get("progress")
    assert "ask_sharpness_curve" not in keys(app)
    found = decode(Jobs(store).job(job).result).in_order()
    for name, values in (
        (TEXT["largest"], [one.eigenvalues[0] for one in found]),
        (TEXT["least"], [one.least for one in found]),
        (TEXT["limit"], [20.0] * len(steps)),
        (TEXT["trace"], [one.trace for one in found]),
    ):
        drawn = trace(app, name=name)
        np.testing.assert_array_equal(drawn["x"], steps)
        assert drawn["customdata"][0].split(" ± ")[0] == of(values[0])
        assert drawn["customdata"][-1].split(" ± ")[0] == of(values[-1])
    assert len(traces(app, name=TEXT["others"].format(n=4))) == 4
    assert curve_words(SGD, found) in words(app)
    assert "edge of stability" in words(app)
    assert {shape["x0"] for shape in figures(app)[0]["layout"]["shapes"] if shape["x0"] == shape["x1"]} == {2}
    again = page(run=run, at="6")
    assert len(trace(again, name=TEXT["largest"])["x"]) == len(steps), (
        "at whatever checkpoint, from the store"
    )


def test_a_run_that_goes_on_keeps_its_curve_and_can_be_brought_up_to_date(store) -> None:
    run = store.create(SGD.changed(steps=40), pause_at=4)
    advance_slice(store.url, run, store.claim(run), 60.0)
    app = page(run=run)
    app.button(key="ask_sharpness_curve").click().run()
    work(store)
    store.command(run, "go")
    store.settle()
    advance_slice(store.url, run, store.claim(run), 60.0)
    app.run()
    assert list(trace(app, name=TEXT["largest"])["x"]) == [0, 1, 2, 3, 4]
    button = app.button(key="ask_sharpness_curve")
    assert button.label == "Up to the newest step"
    button.click().run()
    work(store)
    app.run()
    assert trace(app, name=TEXT["largest"])["x"][-1] == 40


def test_what_is_not_quick_is_asked_for_and_stays_at_its_step(store, slow) -> None:
    run = trained(store)
    app = page(run=run)
    assert not app.dataframe
    app.button(key="ask_sharpness_here").click().run()
    (job,) = Jobs(store).open()
    assert Jobs(store).job(job).request["steps"] == [6]
    assert app.query_params["at"] in ("6", ["6"])
    assert app.session_state["busy"]
    assert "cancel_sharpness_here" in keys(app)
    work(store)
    app.run()
    assert verdict(SGD, 6, at(store, run, 6)) in words(app)
    assert keys(app) == ["ask_sharpness_curve"]


def test_a_curve_knows_the_checkpoint_on_show(store, slow) -> None:
    run = trained(store)
    app = page(run=run, at="2")
    app.button(key="ask_sharpness_curve").click().run()
    work(store)
    app.run()
    assert verdict(SGD, 2, at(store, run, 2)) in words(app)
    assert keys(app) == []


def test_twins_share_one_figure_and_only_plain_descent_has_a_limit(store) -> None:
    runs = [trained(store), trained(store, SGD.changed(optimizer="adam", cell="gru"))]
    app = page(run=runs)
    assert len(app.dataframe[0].value) == 2
    app.button(key="ask_sharpness_curve").click().run()
    assert len(Jobs(store).open()) == 2
    work(store)
    app.run()
    assert len(figures(app)) == 1
    assert len(traces(app, name=TEXT["limit"])) == 1
    for letter in "AB":
        assert words(app).count(f"**{letter}:** ") == 2


def test_a_network_that_is_too_large_and_one_that_failed_are_sentences(store, monkeypatch, slow) -> None:
    run = trained(store)
    with monkeypatch.context() as here:
        here.setattr(sharpness_section, "MOST_PARAMETERS", 20)
        app = page(run=run)
    assert "37 parameters, and at most 20 are looked at" in words(app)
    assert not app.button
    app = page(run=run)
    app.button(key="ask_sharpness_here").click().run()
    jobs = Jobs(store)
    (job,) = jobs.open()
    jobs.fail(job, jobs.claim(job), "steps: made up.")
    app.run()
    assert "steps: made up." in words(app)
    assert "ask_sharpness_here" in keys(app)


# What is said -------------------------------------------------------------------------------------------


def found(top: float, least: float = 0.0, step: int = 0, **values: Any) -> Sharpness:
    plain = {
        "loss": 1.0, "grad_norm": 1.0, "eigenvalues": (top, top / 4, 0.0, 0.0, 0.0), "residuals": (0.0,) * 5,
        "least": least, "least_residual": 0.0, "trace": top, "trace_error": 0.1, "asymmetry": 0.0,
        "products": 9,
    }  # fmt: skip
    return Sharpness(step=step, **{**plain, **values})


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (found(8.0), "**Like a valley.** The loss bends upwards with 8 at most"),
        (found(8.0, -2.0), "**Like a saddle.** Along its sharpest direction the loss bends upwards with 8, "),
        (found(8.0, -0.01), "**Like a valley.**"),
        (found(-0.1, -2.0), "**Bent downwards.** The most negative eigenvalue is -2"),
        (found(0.0), "**Flat.**"),
        (found(math.nan, math.nan), "**Not finite.**"),
    ],
)
def test_the_verdict_follows_the_ends_of_the_spectrum(one: Sharpness, said: str) -> None:
    assert verdict(SGD, 0, one).startswith(said)


def test_the_verdict_says_what_is_known_of_the_step_and_of_its_own_error() -> None:
    assert "25\u00a0% of that" in verdict(SGD, 0, found(8.0, -2.0))
    assert "4 times as curved as the next" in verdict(SGD, 0, found(8.0))
    assert "That is 40\u00a0% of 2 / learning rate = 20" in verdict(SGD, 0, found(8.0))
    assert "above 2 / learning rate = 20: plain gradient descent overshoots" in verdict(SGD, 0, found(21.0))
    changed = SGD.with_change(5, "learning_rate", 0.5)
    assert (limit_of(changed, 4), limit_of(changed, 5)) == (20.0, 4.0)
    for optimizer in ("adam", "momentum", "rmsprop"):
        assert "learning rate" not in verdict(SGD.changed(optimizer=optimizer), 0, found(21.0))
    assert "with care" not in verdict(SGD, 0, found(8.0, asymmetry=1e-3))
    assert "with care" in verdict(SGD, 0, found(8.0, asymmetry=0.1))


def test_a_curve_is_said_from_end_to_end() -> None:
    curve = [found(2.0), found(30.0, step=4), found(math.nan, math.nan, 5), found(9.0, step=6)]
    told = curve_words(SGD, curve)
    assert told.startswith(
        "**Sharper.** The largest eigenvalue went from 2 at step 0 to 9 at step 6; it was "
    )
    assert "largest, 30, at step 4. At 1 of 3 checkpoints it lies above 2 / learning rate." in told
    assert told.endswith("Gaps, where the loss is no number: 1.")
    assert curve_words(SGD, [found(9.0), found(2.0)]).startswith("**Flatter.**")
    assert curve_words(SGD, [found(9.0), found(7.0)]).startswith("**About as sharp.**")
    assert curve_words(SGD, [found(math.nan, math.nan)]).startswith("**Not finite.**")
    assert "learning rate" not in curve_words(SGD.changed(optimizer="adam"), curve)
