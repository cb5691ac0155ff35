"""The time ledger: shares add up to the gradient, exactly, and losses reach where autograd says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.analysis.ledger import WEIGHTS, Ledger, ledger, of_trace, reach, shares
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.tasks import TASKS, Batch

every_cell = pytest.mark.parametrize("cell", CELLS)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def made(kernel: str = "torch", **values) -> tuple[Network, Batch]:
    plain = {"task": "adding", "length": 7, "hidden": 5, "precision": "float64", "batch": 3}
    experiment = Experiment(**{**plain, **values})
    task = TASKS[experiment.task]
    return Network(experiment, kernel=kernel), task.sample(np.random.default_rng(0), experiment.length, 3)


@every_cell
@every_kernel
@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("task", ["adding", "copying"], ids=["loss at the end", "loss at every step"])
def test_shares_add_up_to_the_gradient(cell, kernel, direction, task):
    network, batch = made(kernel, cell=cell, layers=2, direction=direction, task=task, length=3)
    result = network.loss_and_gradient(batch)
    gradient = network.layout.views(result.grad)
    for layer, traces in enumerate(result.tape.traces):
        for d, trace in enumerate(traces):
            for weight in network.weights(layer, d):
                whole = gradient[f"rnn.{weight}_l{layer}{'_reverse' if d else ''}"]
                one = of_trace(network.cell, trace, weight)
                scale = float(whole.abs().max())
                assert float((one.whole - whole).abs().max()) <= 1e-14 * scale
                # Each share's length along the whole: these parts add up to the whole's own length.
                along = np.nansum(one.norm * one.cosine)
                assert along == pytest.approx(float(whole.norm()), rel=1e-12, abs=1e-300)
                assert np.nanmax(np.abs(one.cosine), initial=0.0) <= 1 + 1e-12
                assert one.norm.shape == one.cosine.shape == (trace.inputs.shape[0],)


def by_autograd(network: Network, batch: Batch, weight: str, t: int) -> torch.Tensor:
    """The share of step t: the gradient of a copy of the weight that is used at this step alone."""
    inputs, targets = network.tensors(batch)
    weights = {name: w.clone() for name, w in network.weights().items()}
    own = weights[weight].clone().requires_grad_()
    state, cell = None, network.cell
    for step, x in enumerate(inputs):
        used = {**weights, weight: own} if step == t else weights
        (now,) = unroll(cell, used, x[None], state)
        state = {name: now[name] for name in cell.states}
    y = network.read(state["h"])
    ((y - targets) ** 2).sum(-1).mean().backward()
    return own.grad


@every_cell
@every_kernel
def test_a_share_is_the_gradient_of_the_weight_at_that_step_alone(cell, kernel):
    network, batch = made(kernel, cell=cell)
    trace = network.loss_and_gradient(batch).tape.traces[0][0]
    for weight in network.weights():
        for t, share in enumerate(shares(network.cell, trace, weight)):
            expected = by_autograd(network, batch, weight, t)
            assert share.shape == expected.shape
            torch.testing.assert_close(share, expected, rtol=1e-11, atol=1e-15)


@given(st.integers(0, 2**16), st.sampled_from(["tanh", "lstm", "gru"]))
@settings(max_examples=20)
def test_norms_and_cosines_are_those_of_the_shares(seed, cell):
    network, batch = made(cell=cell, seed=seed)
    one = ledger(network, batch)
    trace = network.loss_and_gradient(batch).tape.traces[0][0]
    each = [share.flatten().numpy() for share in shares(network.cell, trace, "weight_hh")]
    whole = one.whole.flatten().numpy()
    np.testing.assert_allclose(one.norm, [np.linalg.norm(share) for share in each], rtol=1e-12)
    assert one.norm[0] == 0, "the first state is 0, and so is what multiplies W_hh"
    assert np.isnan(one.cosine[0])
    expected = [share @ whole / np.linalg.norm(share) / np.linalg.norm(whole) for share in each[1:]]
    np.testing.assert_allclose(one.cosine[1:], expected, rtol=1e-10)


@every_kernel
@pytest.mark.parametrize(
    ("cell", "layers", "direction"),
    [
        ("tanh", 1, "forward"), ("tanh", 1, "both"), ("tanh", 2, "forward"), ("tanh", 2, "both"),
        ("lstm", 2, "both"), ("gru_chung", 2, "both"),
    ],
)  # fmt: skip
def test_losses_reach_as_far_as_autograd_says(kernel, direction, cell, layers):
    """A plain unrolled graph: the loss of each step alone, asked for every state of every layer."""
    network, batch = made(kernel, cell=cell, task="copying", length=1, layers=layers, direction=direction)
    inputs, targets = network.tensors(batch)
    T, x = len(inputs), inputs[:, 1:2].clone().requires_grad_()
    hidden: list[list[list[torch.Tensor]]] = []
    for layer in range(layers):
        columns = []
        for d in range(network.chain.stacks[0].D):
            column = [
                now["h"] for now in unroll(network.cell, network.weights(layer, d), x.flip(0) if d else x)
            ]
            columns.append(column[::-1] if d else column)
        hidden.append(columns)
        x = torch.cat([torch.stack(column) for column in columns], -1)
    outputs, got = network.read(x), reach(network, batch, 1)  # (T, 1, O)
    assert got.shape == (layers, network.chain.stacks[0].D, T, T)
    for t in range(T):
        loss = torch.nn.functional.cross_entropy(outputs[t], targets[t, 1:2]) / T
        for layer, columns in enumerate(hidden):
            for d, column in enumerate(columns):
                grads = torch.autograd.grad(loss, column, retain_graph=True, allow_unused=True)
                expected = [0.0 if g is None else float(g.norm()) for g in grads]
                np.testing.assert_allclose(got[layer, d, t], expected, rtol=1e-10, atol=1e-18)


def test_where_only_the_last_step_has_a_loss_the_others_reach_nothing():
    network, batch = made(cell="gru")
    got = reach(network, batch)
    assert (got[0, 0, :-1] == 0).all()
    tape = network.loss_and_gradient(Batch(batch.inputs[:, :1], batch.targets[:1], batch.marks[:1])).tape
    np.testing.assert_allclose(got[0, 0, -1], tape.grad_norms("h")[0, 0], rtol=1e-12)


def test_a_weight_that_is_not_there_is_named():
    network, batch = made(cell="gru", layers=2)
    for wrong in ("rnn.weight_peephole_l0", "rnn.weight_hh_l2", "out.weight"):
        with pytest.raises(
            ValueError, match=rf"weight: got '{wrong}'; allowed: rnn.weight_ih_l0, rnn.weight_hh_l0,"
        ):
            ledger(network, batch, wrong)
    with pytest.raises(ValueError, match=r"weight: got 'out'; allowed: weight_ih,"):
        next(shares(network.cell, network.loss_and_gradient(batch).tape.traces[0][0], "out"))
    assert isinstance(ledger(network, batch, f"rnn.{WEIGHTS[0]}_l1"), Ledger)
