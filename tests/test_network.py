"""The whole network against an independently written torch module; its layout, first weights and seeds."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rnnviz.cells import CELLS
from rnnviz.clipping import SCOPES
from rnnviz.experiment import Experiment, step_memory
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.tasks import TASKS

H, B = 5, 4
IN_TORCH = [cell.name for cell in CELLS.values() if cell.torch_module]
every_cell = pytest.mark.parametrize("cell", CELLS)
#: A task of each kind: a number at the end, a class at the end, a class at every step.
ANSWERS = ["adding", "digits_rows", "copying"]
assert {(TASKS[name].loss, TASKS[name].readout) for name in ANSWERS} == {
    (task.loss, task.readout) for task in TASKS.values()
}


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
        self.every, self.answered = task.readout == "every", task.answered(experiment.length)
        both = experiment.direction == "both"
        self.rnn = getattr(nn, kind)(
            task.input_size, experiment.hidden, experiment.layers, bidirectional=both, **options
        )
        self.out = nn.Linear((1 + both) * experiment.hidden, task.output_size)
        self.to(getattr(torch, experiment.precision))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden, last = self.rnn(inputs)
        last = last[0] if isinstance(last, tuple) else last  # (layers * directions, B, H)
        directions = self.rnn.bidirectional + 1
        return self.out(hidden[-self.answered :] if self.every else torch.cat(list(last[-directions:]), -1))


def twin_loss(task: str, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if TASKS[task].loss == "mse":
        return F.mse_loss(outputs, targets)
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


SHAPES = [(1, "forward"), (1, "both"), (2, "forward"), (4, "both")]


# What a task decides is its loss and where its answers stand: every shape of every cell with one of each
# kind, and every task with one shape.
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("task", "cell", "layers", "direction"),
    sorted(
        {(task, cell, *shape) for task in ANSWERS for cell in IN_TORCH for shape in SHAPES}
        | {(name, "gru", 2, "forward" if task.tells_answers else "both") for name, task in TASKS.items()}
    ),
)
def test_gradient_of_every_parameter_is_that_of_the_torch_twin(kernel, task, cell, layers, direction):
    experiment = small(task=task, cell=cell, seed=3, layers=layers, direction=direction)
    network, twin = Network(experiment, kernel=kernel), Twin(experiment)
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

    seen = network.evaluate(batch)
    assert seen.loss == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(seen.outputs, outputs.detach().numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("task", "cell"),
    sorted({(task, cell) for task in ANSWERS for cell in CELLS} | {(task, "gru") for task in TASKS}),
)
def test_gradient_of_the_whole_network_fits_finite_differences(task, cell):
    """Of every task and every cell, those that PyTorch lacks as well."""
    experiment = small(task=task, cell=cell, seed=4)
    network = Network(experiment)
    batch = TASKS[task].training_batch(4, 1, experiment.length, B)
    grad, start = network.loss_and_gradient(batch).grad, network.flat.clone()
    # One direction for each group of parameters, so that a small gradient does not hide behind a large one.
    for part in network.layout.groups.values():
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
    np.testing.assert_allclose(
        network.evaluate(batch).outputs, outputs.double(), rtol=tolerance, atol=tolerance
    )


@every_cell
def test_parameters_are_views_of_the_flat_vector(cell):
    network = Network(small(cell=cell))
    assert sum(p.numel() for p in network.parameters.values()) == network.flat.numel()
    joined = torch.cat([p.flatten() for p in network.parameters.values()])
    assert torch.equal(joined, network.flat)
    network.flat.fill_(7.0)
    assert all((p == 7.0).all() for p in network.parameters.values())
    assert set(network.weights()) == {
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
    groups = {name: set(range(plan.size)[part]) for name, part in plan.groups.items()}
    assert groups == {"recurrent": of_states, "input": everything - output - of_states, "output": output}


@pytest.mark.parametrize(
    "copied", [lambda n: pickle.loads(pickle.dumps(n)), copy.deepcopy], ids=["pickle", "copy"]
)
def test_a_copied_network_still_reads_its_flat_vector(copied):
    network = copied(Network(small()))
    network.flat.zero_()
    assert all((p == 0).all() for p in network.parameters.values())
    assert network.evaluate(TASKS["digits_rows"].validation_batch(8)).loss == pytest.approx(np.log(10))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("task", ["digits_rows", "copying"], ids=["answer at the end", "at every step"])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("traced", [0, 5])
def test_evaluating_a_part_of_the_batch_at_a_time_changes_nothing(kernel, task, at_once, traced, monkeypatch):
    experiment = small(task=task, cell="lstm", layers=2, direction="both")
    network, batch = (
        Network(experiment, kernel=kernel),
        TASKS[task].sample(np.random.default_rng(1), experiment.length, 20),
    )
    whole = network.evaluate(batch)
    monkeypatch.setattr("rnnviz.network.EVALUATE_ROWS", at_once)
    parts = network.evaluate(batch, traced)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-13)
    np.testing.assert_allclose(parts.outputs, whole.outputs, rtol=1e-13, atol=1e-15)
    assert [[len(directions) for directions in part] for part in parts.traces] == ([[2, 2]] if traced else [])
    for part in parts.traces:
        for trace in (trace for directions in part for trace in directions):
            assert trace.values["f"].shape == (len(batch.inputs), 5, H)


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


# What the first weights may depend on; everything else must leave them alone. (Under chrono the length counts
# as well: how long to remember is what that initialization sets.)
SHAPING = {
    "task",
    "cell",
    "hidden",
    "initialization",
    "gain",
    "forget_bias",
    "seed",
    "precision",
    "layers",
    "direction",
    "architecture",
}
ELSE = {
    "length": 8, "clip": "value", "clip_threshold": 0.1, "clip_scope": "recurrent", "optimizer": "sgd",
    "learning_rate": 0.5, "batch": 9, "steps": 77, "train_size": 30, "until": "solved",
    "layers": 2, "dropout": 0.5, "truncate": 5, "truncate_every": 2, "omega": 0.0,
    "changes": [{"step": 2, "field": "learning_rate", "value": 0.1}], "version": 1,
}  # fmt: skip


def test_twins_that_differ_in_training_alone_start_from_the_same_weights():
    assert SHAPING | set(ELSE) == set(Experiment.model_fields), (
        "say what a new field does to the first weights"
    )
    assert torch.equal(Network(small(layers=2)).flat, Network(small(**ELSE)).flat)


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


@every_cell
@pytest.mark.parametrize(("direction", "hidden"), [("forward", 64), ("both", 64), ("forward", 1)])
def test_the_memory_of_a_step_is_what_the_experiment_says(cell, direction, hidden):
    """What compiled code keeps grows with T as stated, but for what does not depend on T."""
    kept = {}
    for T in (50, 150):
        experiment = small(
            task="adding",
            length=T,
            cell=cell,
            hidden=hidden,
            layers=2,
            direction=direction,
            precision="float32",
        )
        network = Network(experiment, kernel="compiled")
        result = network.loss_and_gradient(TASKS["adding"].training_batch(0, 0, T, B))
        traces: list[Any] = [t for part in result.passage.traces for traces in part for t in traces]
        memory = sum(trace.space.nbytes for trace in traces)
        stated = step_memory(experiment) - T * B * 2 * 12  # the inputs are the task's
        kept[T] = memory, stated
    grown, expected = (later - sooner for sooner, later in zip(kept[50], kept[150], strict=True))
    # A direct term for each step is not kept for layers whose loss comes from their last state, and not every
    # processor computes with the largest vectors.
    assert (0.8 if hidden == 64 else 0.2) * expected <= grown <= expected


def test_what_a_pass_gives_is_not_written_over_by_the_next():
    """Each part of it alone, however the rest has gone: buffers are used again."""
    network = Network(small(task="copying", length=4, cell="lstm", layers=2), kernel="compiled")
    one, other = (TASKS["copying"].training_batch(seed, 0, 4, B) for seed in (0, 1))
    inputs, _ = network.tensors(one)

    def kept() -> list[torch.Tensor]:
        whole = network.loss_and_gradient(one)
        cut = network.loss_and_gradient(one, truncation=(3, 3)).tape
        passage = network.forward(inputs)
        final = passage.passages[0].final()
        traces = network.evaluate(one, 2).traces
        return [
            whole.tape.hidden, whole.grad, cut.hidden, cut.grad_hidden, cut.gates["f"], passage.outputs(),
            passage.last(), final[1][0]["c"], traces[0][0][0].values["h"],
        ]  # fmt: skip

    tensors = kept()
    copies = [tensor.clone() for tensor in tensors]
    for truncation in (None, (2, 2)):
        network.loss_and_gradient(other, truncation=truncation)
        network.evaluate(other, 2)
    for tensor, before in zip(tensors, copies, strict=True):
        assert torch.equal(tensor, before)
