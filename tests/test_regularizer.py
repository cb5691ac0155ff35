"""Pascanu's Omega: its value and gradient against autograd on its definition, and what it does to a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment, ExperimentError
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.regularizer import omega
from rnnviz.tasks import TASKS
from rnnviz.training import advance, begin

PLAIN = [cell.name for cell in CELLS.values() if cell.family == "plain"]
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
plain_cells = pytest.mark.parametrize("cell", PLAIN)


def small(**values) -> Experiment:
    plain = {
        "task": "digits_rows", "cell": "tanh", "hidden": 4, "batch": 3, "precision": "float64",
        "initialization": "orthogonal", "gain": 0.8,
    }  # fmt: skip
    return Experiment(**{**plain, **values})


def by_definition(network: Network, batch) -> tuple[float, torch.Tensor]:
    """Omega with whole Jacobians from autograd, and its gradient with everything but W itself held fixed."""
    inputs, targets = network.tensors(batch)
    weights = network.weights()
    W = weights["weight_hh"].clone().requires_grad_()

    def shift(x: torch.Tensor) -> torch.Tensor:
        return x @ weights["weight_ih"].T + weights["bias_ih"] + weights["bias_hh"]

    # The pre-activations: what each step computes from the state before it.
    a, h = [], torch.zeros(inputs.shape[1], len(W), dtype=torch.float64)
    for x in inputs:
        own = (
            x @ weights["weight_ih"].T + weights["bias_ih"] + weights["bias_hh"] + h @ weights["weight_hh"].T
        )
        own.requires_grad_()
        a.append(own)
        h = phi(network.cell.name, own)
    # One graph through all of them, to ask for dL/da_k.
    linked = [a[0]]
    for k in range(1, len(a)):
        before = phi(network.cell.name, linked[-1])
        linked.append(shift(inputs[k]) + before @ weights["weight_hh"].T)
    y = network.read(phi(network.cell.name, linked[-1]))
    v = torch.autograd.grad(nn.functional.cross_entropy(y, targets), linked)
    total = torch.zeros((), dtype=torch.float64)
    for k in range(len(a) - 1):
        for b in range(inputs.shape[1]):
            fixed = a[k][b].detach()
            jacobian = W * torch.func.jacrev(lambda z: phi(network.cell.name, z))(fixed).diagonal()
            before, after = v[k + 1][b].norm(), (v[k + 1][b] @ jacobian).norm()
            if before > 0 and after > 0:
                total = total + (after / before - 1) ** 2 / inputs.shape[1]
    (grad,) = torch.autograd.grad(total, W)
    return total.item(), grad


def phi(name: str, a: torch.Tensor) -> torch.Tensor:
    return {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "linear": lambda z: z * 1.0}[
        name
    ](a)


@every_kernel
@plain_cells
def test_value_and_gradient_are_those_of_the_definition(kernel, cell):
    network = Network(small(cell=cell), kernel=kernel)
    batch = TASKS["digits_rows"].training_batch(0, 0, 8, 3)
    passage = network.loss_and_gradient(batch).passage
    value, grad = omega(network.cell, network.weights()["weight_hh"], passage.traces[0][0][0])
    expected = by_definition(network, batch)
    assert value == pytest.approx(expected[0], rel=1e-10)
    torch.testing.assert_close(grad, expected[1], rtol=1e-9, atol=1e-13)


@every_kernel
def test_a_network_that_keeps_lengths_has_none(kernel):
    network = Network(small(cell="linear", gain=1.0), kernel=kernel)
    batch = TASKS["digits_rows"].training_batch(0, 0, 8, 3)
    passage = network.loss_and_gradient(batch).passage
    value, grad = omega(network.cell, network.weights()["weight_hh"], passage.traces[0][0][0])
    assert value == pytest.approx(0.0, abs=1e-25)
    assert float(grad.abs().max()) < 1e-12


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_of_a_linear_network_it_is_known(gain):
    """An orthogonal matrix times g stretches every step back by g."""
    network = Network(small(cell="linear", gain=gain))
    batch = TASKS["digits_rows"].training_batch(0, 0, 8, 3)
    passage = network.loss_and_gradient(batch).passage
    value, _ = omega(network.cell, network.weights()["weight_hh"], passage.traces[0][0][0])
    assert value == pytest.approx(7 * (gain - 1) ** 2, rel=1e-10)


@every_kernel
@pytest.mark.parametrize("values", [{}, {"layers": 2, "direction": "both"}], ids=["one", "deep, both ways"])
def test_it_is_added_to_the_gradient_of_the_recurrent_weights_alone(kernel, values):
    experiment = small(**values)
    network = Network(experiment, kernel=kernel)
    batch = TASKS["digits_rows"].training_batch(0, 0, 8, 3)
    plain = network.loss_and_gradient(batch)
    grad = plain.grad.clone()
    pushed = network.loss_and_gradient(batch, omega=2.0)
    assert (pushed.loss, np.isnan(plain.omega)) == (plain.loss, True)
    terms = [
        omega(network.cell, network.weights(k, d)["weight_hh"], trace)
        for k, traces in enumerate(pushed.passage.traces[0])
        for d, trace in enumerate(traces)
    ]
    assert pushed.omega == pytest.approx(sum(value for value, _ in terms), rel=1e-12)
    difference = network.layout.views(pushed.grad - grad)
    for name, view in difference.items():
        if "weight_hh" in name:
            k, d = int(name[name.index("_l") + 2]), int(name.endswith("reverse"))
            torch.testing.assert_close(
                view, 2.0 * terms[k * experiment.directions + d][1], rtol=1e-8, atol=1e-14
            )
        else:
            assert not view.any()


def test_signals_that_underflow_do_not_count():
    """A sigmoid network with weights of 0 passes nothing back: there is no ratio, and nothing to push."""
    state = begin(
        small(cell="sigmoid", initialization="zero", gain=1.0, omega=1.0, steps=3, precision="float32")
    )
    chunk = advance(state, steps=3)
    assert np.isnan(chunk.omega[0])
    assert state.diverged_at is None
    assert np.isfinite(chunk.grad_norms).all()


def test_what_is_no_number_is_recorded_as_such():
    network = Network(small())
    network.parameters["rnn.weight_hh_l0"][0, 0] = torch.nan
    result = network.loss_and_gradient(TASKS["digits_rows"].training_batch(0, 0, 8, 3), omega=1.0)
    assert np.isnan(result.omega)


def test_a_run_records_it_and_it_keeps_the_gradient_from_vanishing():
    runs = {}
    for factor in (0.0, 2.0):
        experiment = Experiment(
            task="adding", length=40, cell="tanh", hidden=16, initialization="orthogonal", gain=0.7,
            omega=factor, steps=150, batch=16, learning_rate=0.003,
        )  # fmt: skip
        runs[factor] = advance(begin(experiment), steps=150)
    assert np.isnan(runs[0.0].omega).all()
    assert runs[2.0].omega[-1] < runs[2.0].omega[0] / 2
    ratio = {
        factor: run.grad_hidden[-1, 0, 0, 0] / run.grad_hidden[-1, 0, 0, -1] for factor, run in runs.items()
    }
    assert ratio[2.0] > 10 * ratio[0.0]


def test_what_it_needs_is_said():
    with pytest.raises(
        ExperimentError, match=r"omega: got 1.0; the penalty is defined for plain cells only \(tanh"
    ):
        small(cell="gru", omega=1.0)
    for other in ({"clip": "delta"}, {"truncate": 3}):
        with pytest.raises(ExperimentError, match=r"omega: got 1.0; the penalty needs the whole gradient"):
            small(omega=1.0, **other)
