"""A moment of training is made again to the same bytes; dynamics are those of a layer's own Jacobians."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from rnnviz.analysis import moment as moments
from rnnviz.analysis.dynamics import Dynamics, Place, dynamics, states_of
from rnnviz.analysis.lags import MOST_JACOBIANS
from rnnviz.analysis.moment import Moment, flat_of, moment
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS, default_kernel
from rnnviz.runs.state import parameters_to_bytes
from rnnviz.training import advance, begin

SMALL = Experiment(task="adding", length=8, cell="lstm", hidden=5, batch=4, steps=20)
RUNS = {
    "plain": SMALL,
    "float64": SMALL.changed(cell="gru", precision="float64"),
    "layers, both ways, dropout": SMALL.changed(layers=2, direction="both", dropout=0.3),
    "truncated": SMALL.changed(truncate=3, truncate_every=2),
    "deltas": SMALL.changed(clip="delta", clip_threshold=1e-4),
    "omega": SMALL.changed(cell="tanh", omega=0.1),
    "decoder": SMALL.changed(task="reversal", architecture="encoder_decoder"),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_gives_what_training_recorded_to_the_same_bytes(name: str, kernel: str) -> None:
    state = begin(RUNS[name], kernel=kernel)
    advance(state, steps=3)
    parameters = parameters_to_bytes(state)
    recorded = advance(state, steps=1)
    made = moment(RUNS[name], 3, parameters, kernel)
    assert made.used.loss == recorded.loss[0]
    norms = made.used.tape.grad_norms("h") * RUNS[name].batch
    np.testing.assert_array_equal(norms.astype(recorded.grad_hidden.dtype), recorded.grad_hidden[0])


@pytest.mark.parametrize("name", RUNS)
def test_the_true_gradient_is_without_what_training_did_to_it(name: str) -> None:
    e = RUNS[name]
    made = moment(e)
    bare = e.changed(clip="none", omega=0.0, truncate=0, truncate_every=0)
    assert torch.equal(made.true.grad, moment(bare).used.grad)
    changed = name in ("truncated", "deltas", "omega")
    assert torch.equal(made.true.grad, made.used.grad) != changed


def test_without_parameters_it_is_the_moment_before_the_first_step() -> None:
    assert torch.equal(moment(SMALL).network.flat, begin(SMALL).network.flat)
    assert moment(SMALL).step == 0


def test_changes_in_mid_run_are_in_force_at_their_step() -> None:
    e = SMALL.with_change(4, "clip", "delta").with_change(4, "clip_threshold", 1e-5)
    before, after = moment(e, 3), moment(e, 4)
    assert before.used.full is None
    assert after.used.full is not None


def test_asking_again_gives_the_same_moment_and_other_weights_another() -> None:
    parameters = parameters_to_bytes(begin(SMALL))
    assert moment(SMALL, 0, parameters) is moment(SMALL, 0, parameters)
    other = {name: value + 1 for name, value in load(parameters).items()}
    assert moment(SMALL, 0, save(other)) is not moment(SMALL, 0, parameters)
    assert moment(SMALL, 1) is not moment(SMALL, 0)


def test_no_more_is_kept_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(moments.MOST_KEPT + 5):
        moment(SMALL, step)
    assert len(moments._kept) == moments.MOST_KEPT
    monkeypatch.setattr(moments, "MOST_MEMORY", 1)
    last = moment(SMALL, 999)
    assert list(moments._kept.values()) == [last], "one is kept whatever its size"


def test_wrong_parameters_are_a_sentence() -> None:
    arrays = load(parameters_to_bytes(begin(SMALL)))
    with pytest.raises(ValueError, match=r"out.bias: got nothing; the network needs \(1,\)"):
        flat_of(SMALL, save({name: value for name, value in arrays.items() if name != "out.bias"}))
    with pytest.raises(ValueError, match=r"out.weight: got \(2, 5\); the network needs \(1, 5\)"):
        moment(SMALL, 0, save({**arrays, "out.weight": np.zeros((2, 5), "f4")}))


def test_a_kernel_that_is_not_here_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moment(SMALL, 7, kernel="torch").network.kernel == "torch"
    assert moment(SMALL, 7, kernel="compiled").network.kernel == default_kernel()
    monkeypatch.setattr(moments, "default_kernel", lambda: "torch")
    assert moment(SMALL, 8, kernel="compiled").network.kernel == "torch"


def test_several_visitors_may_look_at_one_moment() -> None:
    fresh = moment(SMALL.changed(length=60, seed=99))
    found: list[torch.Tensor] = []
    visitors = [threading.Thread(target=lambda: found.append(fresh.true.grad.clone())) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert all(torch.equal(one, found[0]) for one in found)
    assert len(found) == 8


@pytest.mark.parametrize("cell", CELLS)
def test_dynamics_are_those_of_the_layers_own_jacobians(cell: str) -> None:
    e = SMALL.changed(cell=cell, layers=2, direction="both", precision="float64")
    d = dynamics(moment(e), Place(layer=1, direction=1, sequence=2))
    S = states_of(e)
    assert (d.S, d.T) == (S, 8)
    assert d.jacobians.shape == (8, S, S)
    product = d.jacobians[5] @ d.jacobians[4]
    np.testing.assert_allclose(10 ** d.map.frobenius[5, 3], float(product.norm()), rtol=1e-9)
    lower, upper, _ = d.spectral
    spectral = float(torch.linalg.matrix_norm(product, 2))
    assert 10 ** lower[5, 3] <= spectral * (1 + 1e-9)
    assert 10 ** upper[5, 3] >= spectral * (1 - 1e-9)
    np.testing.assert_allclose(
        d.singular, torch.linalg.svdvals(d.jacobians[1:]).numpy(), rtol=1e-9, atol=1e-12
    )
    assert d.exponents.shape == (S,)
    assert set(d.blocks) == set(CELLS[cell].gates)
    W = d.weights["weight_hh"][-e.hidden :]
    values, largest = d.blocks[CELLS[cell].gates[-1]]
    np.testing.assert_allclose(
        np.sort(np.abs(values)), np.sort(torch.linalg.eigvals(W).abs().numpy()), rtol=1e-9, atol=1e-12
    )
    assert largest == pytest.approx(float(torch.linalg.matrix_norm(W, 2)))
    assert (d.bounds is not None) == (CELLS[cell].largest_slope is not None)


def test_jacobians_that_do_not_fit_are_known_before_they_are_made() -> None:
    made = moment(SMALL)
    assert dynamics(made).fits
    large = Dynamics(Large(made), Place())
    assert not large.fits
    assert states_of(SMALL.changed(hidden=300, length=2000)) ** 2 * 2000 > MOST_JACOBIANS


class Large:
    """A moment of a large network that is never made."""

    def __init__(self, made: Moment) -> None:
        self.experiment = made.experiment.changed(hidden=300, length=2000)
        self._made = replace(made)

    def trace(self, layer: int, direction: int, part: int) -> object:
        return type("Trace", (), {"inputs": range(2000)})()
