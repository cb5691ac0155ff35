"""The page on gradients: every number that it draws against autograd, its links, and what may go wrong."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from safetensors.numpy import load, save
from streamlit.testing.v1 import AppTest

from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.schema import CHECKPOINTS
from rnnviz.runs.store import Store, owner_hash
from rnnviz.runs.worker import advance_slice
from rnnviz.step import batch_of
from rnnviz.ui.gradient_controls import SECTIONS
from tests.figures import figures, trace

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "gradients.py")
SMALL = Experiment(
    task="adding", length=6, cell="tanh", hidden=4, batch=3, steps=8, precision="float64", clip="norm",
    clip_threshold=0.5,
)  # fmt: skip


def page(**query: str | list[str]) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def trained(store: Store, experiment: Experiment = SMALL, **values: Any) -> str:
    """A run that has ended."""
    run = store.create(experiment, **values)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    return run


def words(app: AppTest) -> str:
    return "\n".join(one.value for one in (*app.markdown, *app.caption, *app.warning, *app.info))


def link(app: AppTest) -> dict[str, list[str]]:
    return {k: [v] if isinstance(v, str) else list(v) for k, v in app.query_params.items()}


# Every number against autograd --------------------------------------------------------------------------


def perturb(store: Store, run: str, name: str, place: tuple[int, ...], by: float) -> dict[str, np.ndarray]:
    """Change one weight of a run's last checkpoint; returns its parameters."""
    step = store.checkpoint_steps(run)[-1]
    blob = store.checkpoint(run, step)
    assert blob is not None
    parameters = {key: value.copy() for key, value in load(blob).items()}
    parameters[name][place] += by
    with store.write() as connection:
        here = (CHECKPOINTS.c.run == run) & (CHECKPOINTS.c.step == step)
        connection.execute(sa.update(CHECKPOINTS).where(here).values(parameters=save(parameters)))
    return parameters


def by_autograd(parameters: dict[str, np.ndarray], e: Experiment, step: int) -> SimpleNamespace:
    """A tanh network in plain torch, written out; nothing of ours but the batch."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    batch = batch_of(e, step)
    x = torch.tensor(np.asarray(batch.inputs, dtype=np.float64), requires_grad=True)
    W, U = p["rnn.weight_hh_l0"], p["rnn.weight_ih_l0"]
    b = p["rnn.bias_ih_l0"] + p["rnn.bias_hh_l0"]
    h = torch.zeros(x.shape[1], e.hidden, dtype=torch.float64)
    # A copy of each weight for each time step, so that autograd itself tells the shares apart.
    copies = [{"W": W.detach().clone().requires_grad_(), "U": U.detach().clone().requires_grad_()} for _ in x]
    states = []
    for t, own in enumerate(copies):
        h = torch.tanh(x[t] @ own["U"].T + h @ own["W"].T + b)
        h.retain_grad()
        states.append(h)
    y = h @ p["out.weight"].T + p["out.bias"]
    loss = ((y - torch.tensor(batch.targets)) ** 2).mean()
    loss.backward(retain_graph=True)
    flow = np.array([float(s.grad.norm(dim=-1).mean()) * len(y) for s in states])
    sensitivity = [torch.autograd.grad(y[n].sum(), x, retain_graph=True)[0][:, n] for n in range(len(y))]

    def map_of(n: int) -> np.ndarray:
        J = [torch.eye(e.hidden, dtype=torch.float64)] + [
            torch.diag(1 - states[t][n].detach() ** 2) @ W.detach() for t in range(1, len(states))
        ]
        norms = np.full((len(J), len(J)), np.nan)
        for k in range(len(J)):
            P = torch.eye(e.hidden, dtype=torch.float64)
            for t in range(k, len(J)):
                P = J[t] @ P if t > k else P
                norms[t, k] = float(torch.linalg.matrix_norm(P, 2))
        return norms

    last = torch.diag(1 - states[-1][0].detach() ** 2) @ W.detach()
    return SimpleNamespace(
        flow=flow,
        W=[float(own["W"].grad.norm()) for own in copies],
        U=[float(own["U"].grad.norm()) for own in copies],
        states=[float(s.detach().norm(dim=-1).mean()) for s in states],
        memory=torch.stack(sensitivity).norm(dim=-1).mean(0).numpy(),
        map=map_of(0),
        jacobian=torch.linalg.eigvals(last).numpy(),
        weights=torch.linalg.eigvals(W.detach()).numpy(),
        norm=float(
            torch.cat(
                [
                    torch.stack([own["W"].grad for own in copies]).sum(0).ravel(),
                    torch.stack([own["U"].grad for own in copies]).sum(0).ravel(),
                    p["rnn.bias_ih_l0"].grad, p["rnn.bias_hh_l0"].grad,
                    p["out.weight"].grad.ravel(), p["out.bias"].grad,
                ]
            ).norm()
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place", "by"),
    [("rnn.weight_hh_l0", (0, 1), 0.0), ("rnn.weight_hh_l0", (0, 1), 0.3), ("out.weight", (0, 2), -0.4)],
)
def test_every_number_drawn_is_autograds_and_follows_a_weight(
    store: Store, name: str, place: tuple[int, ...], by: float
) -> None:
    run = trained(store)
    twin = by_autograd(perturb(store, run, name, place, by), SMALL, SMALL.steps)

    mean = trace(page(run=run), name="mean")
    np.testing.assert_allclose(10 ** np.array(mean["y"]), twin.flow, rtol=1e-9)

    app = page(run=run, show="ledger")
    recurrent, inputs = (np.array(one["y"], dtype=float) for one in figures(app)[0]["data"])
    np.testing.assert_allclose(10 ** recurrent[1:], twin.W[1:], rtol=1e-9)
    assert np.isnan(recurrent[0]), "the first state multiplies nothing"
    np.testing.assert_allclose(10**inputs, twin.U, rtol=1e-9)
    assert "comes from the last step alone" in words(app)
    state = trace(app, name="norm of h_t")
    np.testing.assert_allclose(10 ** np.array(state["y"]), twin.states, rtol=1e-9)

    app = page(run=run, show="products")
    drawn = np.array(trace(app, type="heatmap")["z"], dtype=float)
    np.testing.assert_allclose(10**drawn, twin.map, rtol=0.06)  # bracketed within 5 %

    app = page(run=run, show="spectra")
    assert_same_points(trace(app, name="step Jacobian"), twin.jacobian)
    assert_same_points(trace(page(run=run, show="spectra", of="weights"), name="W_hh"), twin.weights)

    now = trace(page(run=run, show="memory"), name="norm of dy/dx_t")
    np.testing.assert_allclose(10 ** np.array(now["y"]), twin.memory, rtol=1e-9)

    table = page(run=run, show="clipping").dataframe[0].value
    assert float(table.iloc[0]["before"]) == pytest.approx(twin.norm, rel=5e-3)  # three digits are shown


def assert_same_points(trace: dict[str, Any], values: np.ndarray) -> None:
    drawn = np.sort_complex(np.array(trace["x"]) + 1j * np.array(trace["y"]))
    np.testing.assert_allclose(drawn, np.sort_complex(values), atol=1e-9)


# The page -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("show", SECTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_section_opens_for_every_cell_before_training(store: Store, show: str, cell: str) -> None:
    app = page(show=show, cell=cell, length="10", hidden="4", batch="4", task="adding")
    assert figures(app) or show == "clipping"
    assert len(app.dataframe) == (2 if show == "clipping" else 0)
    assert not app.warning


@pytest.mark.parametrize("show", SECTIONS)
def test_twins_of_all_shapes_stand_side_by_side(store: Store, show: str) -> None:
    common = {"length": 6, "hidden": 4, "batch": 3, "steps": 4}
    runs = [
        trained(store, Experiment(task="reversal", cell="gru", architecture="encoder_decoder", **common)),
        trained(store, Experiment(task="adding", cell="lstm", direction="both", layers=2, **common)),
        trained(store, Experiment(task="echo", cell="relu", **{**common, "length": 8})),
    ]
    for chosen in (runs, runs[:1], runs[1:2], runs[2:]):
        app = page(show=show, run=chosen, layer="2", way="backward", part="decoder", state="c")
        assert figures(app)
        for letter in "ABC"[: len(chosen)] if len(chosen) > 1 else "":
            assert f"**{letter}" in words(app) or show in ("time",)


def test_without_runs_it_shows_fresh_weights_and_says_so(store: Store) -> None:
    app = page()
    assert "before its first training step" in words(app)
    assert "Vanishing" in words(app) or "Healthy" in words(app)
    assert link(app) == {}


def test_a_link_opens_what_it_says(store: Store) -> None:
    run = trained(store)
    app = page(run=run, show="spectra", at="2", of="weights", sequence="2")
    assert link(app) == {"run": [run], "show": ["spectra"], "at": ["2"], "of": ["weights"], "sequence": ["2"]}
    (slider, sequence) = app.select_slider
    assert (slider.value, sequence.value) == (2, 2)
    slider.set_value(0).run()
    assert link(app)["at"] == ["0"]


def test_wrong_values_in_a_link_are_named_and_the_rest_is_kept(store: Store) -> None:
    app = page(show="nothing", at="x", layer="9", colour="red", cell="lstm", hidden="-3", run="nobody")
    (warning,) = app.warning
    for name in ("show", "at", "layer", "colour", "hidden", "run"):
        assert name in warning.value
    assert link(app) == {"cell": ["lstm"]}
    assert figures(app)


def test_the_newest_checkpoint_is_followed_until_another_is_chosen(store: Store) -> None:
    run = store.create(SMALL.changed(steps=40), pause_at=4)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    app = page(run=run)
    assert app.select_slider[0].value == store.checkpoint_steps(run)[-1] == 4
    store.command(run, "go")
    store.settle()  # as the engine does
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    app.run()
    assert app.select_slider[0].value == 40
    assert "at" not in link(app)


def test_a_run_without_a_step_is_waited_for(store: Store) -> None:
    app = page(run=store.create(SMALL))
    assert "Waiting for the first training step" in words(app)


def test_where_numbers_ended_is_said(store: Store) -> None:
    run = trained(
        store,
        Experiment(
            task="adding", length=100, hidden=16, cell="relu", initialization="scaled_identity", gain=1.5,
            clip="none", optimizer="sgd", learning_rate=1, steps=50,
        ),
    )  # fmt: skip
    found = store.run(run)
    assert found is not None
    assert found.state == "diverged"
    app = page(run=run, show="clipping")
    assert "began" in app.warning[0].value
    for show in SECTIONS:
        page(run=run, show=show)


def test_a_large_map_is_a_job_that_fills_in_and_is_answered_the_second_time(store: Store) -> None:
    e = SMALL.changed(length=80, hidden=64, cell="lstm", steps=1)
    run = trained(store, e)
    app = page(run=run, show="products")
    assert "Frobenius" in words(app)
    app.button(key="ask_map").click().run()
    jobs = Jobs(store)
    (job,) = jobs.open()
    assert app.get("progress")
    app.button(key="cancel_map").click().run()
    assert jobs.claim(job) is None
    app.run()
    app.button(key="ask_map").click().run()
    (again,) = jobs.open()
    assert again == job
    epoch = jobs.claim(job)
    assert epoch is not None
    job_slice(store.url, job, epoch, seconds=0.0)
    app.run()
    found = re.search(r"known within [\d.]+\s% so far, of (\d+) of 80 columns\.", words(app))
    assert found is not None, words(app)
    partly = jobs.job(job)
    assert partly is not None
    assert int(found[1]) == round(80 * partly.progress)
    assert 0 < partly.progress < 1
    assert app.get("progress")
    while (epoch := jobs.claim(job)) is not None:
        job_slice(store.url, job, epoch)
    app.run()
    assert re.search(r"spectral norms are known within [\d.]+\s%\.", words(app))
    assert not app.get("progress")
    other = page(run=run, show="products")
    assert "spectral norms are known within" in words(other), "from the store"
    assert "ask_map" not in [button.key for button in other.button]


def test_this_browsers_runs_can_be_chosen(store: Store) -> None:
    token = "a" * 32
    runs = [trained(store, owner=owner_hash(token)) for _ in range(2)]
    strangers = trained(store)
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.session_state["owner"] = token
    app.query_params["run"] = runs[0]
    app.run()
    (picker,) = app.multiselect
    assert len(picker.options) == 2
    assert strangers not in picker.options
    picker.set_value(picker.options).run()
    assert not app.exception
    assert sorted(link(app)["run"]) == sorted(runs)


def test_a_run_that_was_deleted_is_said_and_forgotten(store: Store) -> None:
    runs = [trained(store) for _ in range(2)]
    app = page(run=runs)
    store.discard(runs[1])
    app.run()
    assert "no longer there" in words(app)
    assert link(app)["run"] == runs[:1]
    store.discard(runs[0])
    app.run()
    assert "run" not in link(app)
    assert figures(app), "fresh weights"


def test_fresh_weights_beside_a_run_stay_in_the_link(store: Store) -> None:
    run = trained(store)
    app = page(run=run, network="fresh", task="digits")
    assert link(app) == {"run": [run], "network": ["fresh"], "task": ["digits"]}
    app = page(**{name: values[0] for name, values in link(app).items()})
    assert app.session_state["link_view"].twins[0] == Experiment()


def test_what_is_too_large_is_a_sentence(store: Store) -> None:
    app = page(show="spectra", cell="lstm", hidden="512", length="300", task="adding", batch="1")
    assert "too long" in words(app)
    assert not figures(app)
