"""The whole network against an independently written torch module; its layout, first weights and seeds."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rnnviz.bptt import run_forward
from rnnviz.cells import CELLS
from rnnviz.clipping import SCOPES
from rnnviz.experiment import Experiment
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.network import Network
from rnnviz.tasks import TASKS

H, B = 5, 4
IN_TORCH = [cell.name for cell in CELLS.values() if cell.torch_module]
every_cell = pytest.mark.parametrize("cell", CELLS)


def small(**values) -> Experiment:
    """A little network in float64, on short sequences."""
    task = TASKS[values.get("task", "digits_rows")]
    length = task.fixed_length or max(task.min_length, 12)
    plain = {
        "task": task.name, "length": length, "cell": "gru", "hidden": H, "initialization": "pytorch",
        "batch": B, "seed": 0, "precision": "float64",
    }  # fmt: skip
    return Experiment(**{**plain, **values})


class Twin(nn.Module):
    """What a user of PyTorch would write: an nn.RNN, nn.LSTM or nn.GRU with an nn.Linear."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        task = TASKS[experiment.task]
        kind, options = CELLS[experiment.cell].torch_module
        self.every = experiment.task == "copying"
        self.rnn = getattr(nn, kind)(task.input_size, experiment.hidden, **options)
        self.out = nn.Linear(experiment.hidden, task.output_size)
        self.to(getattr(torch, experiment.precision))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, _ = self.rnn(inputs)
        return self.out(hidden if self.every else hidden[-1])


def twin_loss(task: str, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if task == "adding":
        return F.mse_loss(outputs, targets)
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", IN_TORCH)
def test_gradient_of_every_parameter_is_that_of_the_torch_twin(task, cell):
    experiment = small(task=task, cell=cell, seed=3)
    network, twin = Network(experiment), Twin(experiment)
    twin.load_state_dict(network.parameters)
    batch = TASKS[task].training_batch(3, 0, experiment.length, B)
    inputs, targets = torch.from_numpy(batch.inputs.copy()), torch.from_numpy(batch.targets.copy())
    outputs = twin(inputs)
    loss = twin_loss(task, outputs, targets)
    loss.backward()

    result = network.loss_and_gradient(batch)
    assert result.loss == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(result.outputs, outputs.detach(), rtol=1e-11, atol=1e-14)
    gradient = network.layout.views(result.grad)
    assert set(gradient) == set(dict(twin.named_parameters()))
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-9, atol=1e-14, msg=name)

    seen, answers = network.evaluate(batch)
    assert seen == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(answers, outputs.detach().numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("task", TASKS)
@every_cell
def test_gradient_of_the_whole_network_fits_finite_differences(task, cell):
    """Of every task and every cell, those that PyTorch lacks as well."""
    experiment = small(task=task, cell=cell, seed=4)
    network = Network(experiment)
    batch = TASKS[task].training_batch(4, 1, experiment.length, B)
    grad, start = network.loss_and_gradient(batch).grad, network.flat.clone()
    # One direction for each group of parameters, so that a small gradient does not hide behind a large one.
    for part in network.layout.groups().values():
        direction = torch.zeros_like(start)
        rng = torch.Generator().manual_seed(5)
        direction[part] = torch.randn(start[part].shape, dtype=torch.float64, generator=rng)
        epsilon, measured = 1e-6, []
        for sign in (1, -1):
            network.flat.copy_(start + sign * epsilon * direction)
            measured.append(network.loss_and_gradient(batch).loss)
        slope = (measured[0] - measured[1]) / (2 * epsilon)
        assert slope == pytest.approx(float(grad @ direction), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("cell", IN_TORCH)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_parameters_load_into_torch_and_answer_the_same(cell, precision):
    experiment = small(cell=cell, precision=precision)
    network, twin = Network(experiment), Twin(experiment)
    twin.load_state_dict(network.parameters, strict=True)
    batch = TASKS["digits_rows"].validation_batch(8)
    outputs = twin(torch.from_numpy(batch.inputs.astype(precision))).detach()
    tolerance = 1e-12 if precision == "float64" else 1e-5
    np.testing.assert_allclose(network.evaluate(batch)[1], outputs.double(), rtol=tolerance, atol=tolerance)


@every_cell
def test_parameters_are_views_of_the_flat_vector(cell):
    network = Network(small(cell=cell))
    assert sum(p.numel() for p in network.parameters.values()) == network.flat.numel()
    joined = torch.cat([p.flatten() for p in network.parameters.values()])
    assert torch.equal(joined, network.flat)
    network.flat.fill_(7.0)
    assert all((p == 7.0).all() for p in network.parameters.values())
    assert set(network.weights) == {
        name.removeprefix("rnn.").removesuffix("_l0") for name in network.parameters if "rnn" in name
    }


@every_cell
def test_scopes_and_groups_hold_the_parameters_that_they_name(cell):
    plan = Network(small(cell=cell)).layout
    where, start = {}, 0
    for name, view in plan.views(torch.arange(plan.size)).items():
        where[name] = set(view.flatten().tolist())
        start += view.numel()
    of_states = where["rnn.weight_hh_l0"] | where.get("rnn.weight_peephole_l0", set())
    output = where["out.weight"] | where["out.bias"]
    everything = set(range(plan.size))
    inside = {scope: set(range(plan.scopes[scope])) for scope in SCOPES}
    assert inside == {"all": everything, "recurrent": of_states, "not_output": everything - output}
    groups = {name: set(range(plan.size)[part]) for name, part in plan.groups().items()}
    assert groups == {"recurrent": of_states, "input": everything - output - of_states, "output": output}


@pytest.mark.parametrize(
    "copied", [lambda n: pickle.loads(pickle.dumps(n)), copy.deepcopy], ids=["pickle", "copy"]
)
def test_a_copied_network_still_reads_its_flat_vector(copied):
    network = copied(Network(small()))
    network.flat.zero_()
    assert all((p == 0).all() for p in network.parameters.values())
    assert network.evaluate(TASKS["digits_rows"].validation_batch(8))[0] == pytest.approx(np.log(10))


@pytest.mark.parametrize("task", ["digits_rows", "copying"], ids=["answer at the end", "at every step"])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_evaluating_a_part_of_the_batch_at_a_time_changes_nothing(task, at_once, monkeypatch):
    experiment = small(task=task, cell="lstm")
    network, batch = Network(experiment), TASKS[task].validation_batch(experiment.length)
    loss, outputs = network.evaluate(batch)
    seen = []

    def spy(cell, weights, inputs):
        seen.append(inputs.shape[1])
        return run_forward(cell, weights, inputs)

    monkeypatch.setattr("rnnviz.network.run_forward", spy)
    monkeypatch.setattr("rnnviz.network.EVALUATE_NUMBERS", at_once * len(batch.inputs) * 4 * H)
    again, parts = network.evaluate(batch)
    count = batch.inputs.shape[1]
    assert seen == [min(at_once, count - start) for start in range(0, count, at_once)]
    assert again == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(parts, outputs, rtol=1e-13, atol=1e-15)


# First weights


@pytest.mark.parametrize("cell", [c.name for c in CELLS.values() if c.forget_gate])
@pytest.mark.parametrize("value", [1.0, -2.5, 0.0])
def test_forget_bias_sets_exactly_the_forget_rows(cell, value):
    plain, biased = Network(small(cell=cell)), Network(small(cell=cell, forget_bias=value))
    gates = CELLS[cell].gates
    for name, before in plain.parameters.items():
        after = biased.parameters[name]
        if not name.startswith("rnn.bias"):
            assert torch.equal(after, before)
            continue
        for gate, old, new in zip(gates, before.split(H), after.split(H), strict=True):
            if gate == "f":
                assert (new == (value if name == "rnn.bias_ih_l0" else 0.0)).all()
                assert (old != 0).all()
            else:
                assert torch.equal(new, old)


def test_forget_bias_counts_under_every_initialization():
    for scheme in INITIALIZATIONS:
        parameters = Network(small(cell="lstm", initialization=scheme, forget_bias=2.0)).parameters
        total = parameters["rnn.bias_ih_l0"] + parameters["rnn.bias_hh_l0"]
        assert (total[H : 2 * H] == 2.0).all()


@every_cell
@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(cell, initialization):
    one, same, other = (
        Network(small(cell=cell, initialization=initialization, seed=s)).flat for s in (6, 6, 7)
    )
    assert one.numpy().tobytes() == same.numpy().tobytes()
    assert torch.equal(one, other) == (initialization == "zero")
    assert torch.isfinite(one).all()


# What the first weights may depend on; everything else must leave them alone.
SHAPING = {"task", "cell", "hidden", "initialization", "gain", "forget_bias", "seed", "precision"}
ELSE = {
    "length": 8, "clip": "value", "clip_threshold": 0.1, "clip_scope": "recurrent", "optimizer": "sgd",
    "learning_rate": 0.5, "batch": 9, "steps": 77, "train_size": 30, "until": "solved",
    "changes": [{"step": 2, "field": "learning_rate", "value": 0.1}], "version": 1,
}  # fmt: skip


def test_twins_that_differ_in_training_alone_start_from_the_same_weights():
    assert SHAPING | set(ELSE) == set(Experiment.model_fields), (
        "say what a new field does to the first weights"
    )
    assert torch.equal(Network(small()).flat, Network(small(**ELSE)).flat)


def test_twins_that_differ_in_one_thing_share_every_other_number():
    plain = Network(small(cell="lstm", initialization="orthogonal")).parameters
    louder = Network(small(cell="lstm", initialization="orthogonal", gain=1.5)).parameters
    for name, weight in plain.items():
        if name == "rnn.weight_hh_l0":
            torch.testing.assert_close(louder[name], 1.5 * weight)
        else:
            assert torch.equal(louder[name], weight)
    # Cells of one shape share all, a cell with peepholes all but those; the output layer is the same for all.
    peephole = Network(small(cell="lstm_peephole", initialization="orthogonal")).parameters
    assert all(torch.equal(peephole[name], weight) for name, weight in plain.items())
    assert torch.equal(Network(small(cell="tanh")).flat, Network(small(cell="relu")).flat)
    coupled = Network(small(cell="lstm_coupled", initialization="orthogonal")).parameters
    for name, weight in coupled.items():  # f, g and o of two LSTMs
        assert torch.equal(plain[name][H:] if name.startswith("rnn") else plain[name], weight)
    for cell in CELLS:
        assert torch.equal(
            Network(small(cell=cell)).parameters["out.weight"], Network(small()).parameters["out.weight"]
        )


def test_single_precision_is_the_rounded_double():
    single, double = (Network(small(precision=p)).flat for p in ("float32", "float64"))
    assert single.dtype == torch.float32
    assert torch.equal(single, double.float())


def test_no_two_parameters_share_their_random_numbers():
    for cell in CELLS:
        flat = Network(small(cell=cell)).flat
        assert len(flat.unique()) == flat.numel()


@every_cell
def test_matrix_initializations_act_on_each_gates_block(cell):
    network = Network(small(cell=cell, initialization="orthogonal", gain=2.0))
    for block in network.parameters["rnn.weight_hh_l0"].split(H):
        torch.testing.assert_close(block @ block.T, 4 * torch.eye(H, dtype=torch.float64))
    inputs = TASKS["digits_rows"].input_size
    for block in network.parameters["rnn.weight_ih_l0"].split(H):  # Glorot of one block, not of all together
        assert block.abs().max() <= (6 / (H + inputs)) ** 0.5
    assert network.parameters["rnn.weight_ih_l0"].abs().max() > 0.7 * (6 / (H + inputs)) ** 0.5


def test_peepholes_follow_the_initialization():
    drawn = Network(small(cell="lstm_peephole")).parameters["rnn.weight_peephole_l0"]
    assert drawn.shape == (3, H)
    assert 0 < drawn.abs().max() <= H**-0.5
    assert (
        Network(small(cell="lstm_peephole", initialization="glorot")).parameters["rnn.weight_peephole_l0"]
        == 0
    ).all()


# Batches


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=10)
def test_gradient_of_a_batch_is_the_mean_over_its_sequences(size, step):
    experiment = small(cell="gru", batch=size)
    network, task = Network(experiment), TASKS["digits_rows"]
    batch = task.training_batch(0, step, 8, size)
    whole = network.loss_and_gradient(batch)
    alone = []
    for i in range(size):
        one = type(batch)(batch.inputs[:, i : i + 1], batch.targets[i : i + 1], batch.marks[i : i + 1])
        alone.append(network.loss_and_gradient(one))
    assert whole.loss == pytest.approx(np.mean([r.loss for r in alone]), rel=1e-12)
    mean = torch.stack([r.grad for r in alone]).mean(0)
    torch.testing.assert_close(whole.grad, mean, rtol=1e-9, atol=1e-14)


def test_batches_are_copied():
    network, batch = Network(small()), TASKS["digits_rows"].validation_batch(8)
    inputs, targets = network.tensors(batch)
    kept = batch.inputs.copy(), batch.targets.copy()
    inputs.zero_()
    targets.zero_()
    assert np.array_equal(batch.inputs, kept[0])
    assert np.array_equal(batch.targets, kept[1])
