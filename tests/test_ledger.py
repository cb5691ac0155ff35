"""The time ledger: shares add up to the gradient, exactly, and losses reach where autograd says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.analysis import ledger as module
from rnnviz.analysis.ledger import (
    OUTPUT,
    WEIGHTS,
    Ledger,
    ledger,
    ledgers,
    of_output,
    of_trace,
    reach,
    shares,
    state_norms,
)
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.tasks import TASKS, Batch
from tests.unrolled import SHAPES, Twin, blob_of, changed, moments, small

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
    for wrong in ("rnn.weight_peephole_l0", "rnn.weight_hh_l2", "out.weights"):
        with pytest.raises(
            ValueError, match=rf"weight: got '{wrong}'; allowed: rnn.weight_ih_l0, rnn.weight_hh_l0,"
        ):
            ledger(network, batch, wrong)
    with pytest.raises(ValueError, match=r"weight: got 'out'; allowed: weight_ih,"):
        next(shares(network.cell, network.loss_and_gradient(batch).tape.traces[0][0], "out"))
    with pytest.raises(ValueError, match=r"weight: got 'weight_hh'; allowed: out.weight, out.bias\."):
        of_output(network, network.loss_and_gradient(batch), batch, "weight_hh")
    with pytest.raises(ValueError, match=r"weight: got 'out'; allowed: weight_ih,"):
        of_trace(network.cell, network.loss_and_gradient(batch).tape.traces[0][0], "out")
    for name in (f"rnn.{WEIGHTS[0]}_l1", *OUTPUT):
        assert isinstance(ledger(network, batch, name), Ledger)


@every_cell
@every_kernel
@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("stretch", [1, 3, 1000])
def test_many_steps_at_a_time_are_the_shares_one_by_one(cell, kernel, direction, stretch, monkeypatch):
    network, batch = made(kernel, cell=cell, direction=direction)
    numbers = len(network.cell.gates) * 5 * 5
    monkeypatch.setattr(module, "MOST_NUMBERS", stretch * numbers)
    for trace in network.loss_and_gradient(batch).tape.traces[0]:
        for weight in network.weights():
            one = of_trace(network.cell, trace, weight)
            each = [share.flatten().numpy() for share in shares(network.cell, trace, weight)]
            whole = np.sum(each, axis=0)
            np.testing.assert_allclose(one.whole.flatten(), whole, rtol=1e-11, atol=1e-17)
            np.testing.assert_allclose(one.norm, [np.linalg.norm(share) for share in each], rtol=1e-12)
            lengths = one.norm * np.linalg.norm(whole)
            np.testing.assert_allclose(
                one.cosine * lengths, np.where(lengths, each @ whole, np.nan), rtol=1e-9
            )


# The output layer, and all of a moment


def of_twin(twin: Twin, readout: str) -> dict[str, list[torch.Tensor]]:
    """Each step's share of the output layer's gradients: copies that are used at one step, by autograd.

    At the end the state of the direction backward is that of the first step.
    """
    T, A = len(twin.inputs), len(twin.read)
    D = len(twin.states[0][0])
    (grad_y,) = torch.autograd.grad(twin.loss, twin.outputs, retain_graph=True)
    found = {}
    for name in OUTPUT:
        whole = twin.parameters[name].detach()
        copies = [whole.clone().requires_grad_() for _ in range(T)]
        total = torch.zeros((), dtype=whole.dtype)
        for a, t in enumerate(range(T - A, T)):
            read = twin.read[a].detach()
            halves = read.chunk(2, -1) if readout == "last" and D == 2 else (read,)
            for d, half in enumerate(halves):
                copy = copies[0 if d else t]
                if name == "out.bias":
                    y = copies[t] if d == 0 else 0.0 * copies[t]
                else:
                    y = half @ copy[:, d * half.shape[1] : (d + 1) * half.shape[1]].T
                total = total + (y * grad_y[a]).sum()
        grads = torch.autograd.grad(total, copies, allow_unused=True)
        found[name] = [torch.zeros_like(whole) if g is None else g for g in grads]
    return found


def assert_is(one: Ledger, each: list[torch.Tensor], whole: torch.Tensor) -> None:
    torch.testing.assert_close(one.whole, whole, rtol=1e-10, atol=1e-15)
    norms = [float(share.norm()) for share in each]
    np.testing.assert_allclose(one.norm, norms, rtol=1e-9, atol=1e-17)
    for cosine, share in zip(one.cosine, each, strict=True):
        if float(share.norm()) and float(whole.norm()):
            expected = float((share * whole).sum() / share.norm() / whole.norm())
            assert cosine == pytest.approx(expected, abs=1e-9)
        else:
            assert np.isnan(cosine)


@every_cell
@every_kernel
@pytest.mark.parametrize("shape", SHAPES)
def test_the_output_layer_has_a_ledger_too(cell, kernel, shape):
    at, twin = moments(small(cell=cell, **SHAPES[shape]), kernel)
    expected = of_twin(twin, at.network.readout)
    for name in OUTPUT:
        one = of_output(at.network, at.true, at.batch, name)
        assert_is(one, expected[name], twin.gradients()[name])
        steps = set(np.flatnonzero(one.norm))
        T, A = len(twin.inputs), at.network.answered
        ends = {0, T - 1} if at.experiment.directions == 2 and name == "out.weight" else {T - 1}
        assert steps == (set(range(T - A, T)) if at.network.readout == "every" else ends) or cell == "relu"


@every_cell
@every_kernel
@pytest.mark.parametrize("shape", SHAPES)
def test_the_ledgers_of_a_moment_add_up_to_autograds_gradients(cell, kernel, shape):
    at, twin = moments(small(cell=cell, **SHAPES[shape]), kernel)
    grads, e = twin.gradients(), at.experiment
    for n, part in enumerate(at.network.parts):
        for k in range(e.layers):
            for d in range(e.directions):
                found = ledgers(at, k, d, n)
                assert list(found) == ["weight_hh", "weight_ih", "out.weight"]
                end = f"_l{k}{'_reverse' if d else ''}"
                for name in ("weight_hh", "weight_ih"):
                    one, whole = found[name], grads[f"{part}.{name}{end}"]
                    torch.testing.assert_close(one.whole, whole, rtol=1e-9, atol=1e-15)
                    assert len(one.norm) == len(twin.states[n][k][d])
                    along = float(np.nansum(one.norm * one.cosine))
                    assert along == pytest.approx(float(whole.norm()), rel=1e-9, abs=1e-15)
                assert_is(
                    found["out.weight"], of_twin(twin, at.network.readout)["out.weight"], grads["out.weight"]
                )


@every_kernel
@pytest.mark.parametrize("shape", SHAPES)
def test_norms_of_the_states(kernel, shape):
    at, twin = moments(small(cell="lstm", batch=4, **SHAPES[shape]), kernel)
    for layer in (-1, 0):
        columns = [twin.column("h", layer, d) for d in range(at.experiment.directions)]
        norms = np.array(
            [[np.linalg.norm(row) for row in torch.cat(hs, -1).detach()] for hs in zip(*columns, strict=True)]
        )
        got = state_norms(at, layer)
        np.testing.assert_allclose(got.mean, norms.mean(1), rtol=1e-12)
        np.testing.assert_allclose(got.largest, norms.max(1), rtol=1e-12)
    read = [float(row.norm()) for row in twin.read[-1].detach()]
    if at.experiment.directions == 1:
        assert state_norms(at).largest[-1] == pytest.approx(max(read), rel=1e-12)


@every_kernel
def test_one_number_of_the_parameters_changes_every_ledger(kernel):
    experiment = small(cell="gru")
    blob = blob_of(experiment)
    other = changed(blob, "rnn.bias_hh_l0", (10,), 0.6)
    (was, _), (now, twin) = moments(experiment, kernel, blob), moments(experiment, kernel, other)
    before, after = ledgers(was), ledgers(now)
    grads = twin.gradients()
    for name, one in after.items():
        differ = one.norm != before[name].norm
        assert differ[1 if name == "weight_hh" else 0 if name == "weight_ih" else -1 :].all()
        expected = grads["out.weight" if name == "out.weight" else f"rnn.{name}_l0"]
        torch.testing.assert_close(one.whole, expected, rtol=1e-9, atol=1e-15)
    assert_is(after["out.weight"], of_twin(twin, "last")["out.weight"], grads["out.weight"])
    assert (state_norms(was).mean != state_norms(now).mean).all()
