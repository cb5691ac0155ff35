"""Encoder and decoder: forward and gradients against torch modules and autograd, by both kernels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from rnnviz.analysis.ledger import ledger, reach
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment, ExperimentError
from rnnviz.initialization import INITIALIZATIONS
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.runs.state import from_bytes, to_bytes
from rnnviz.tasks import TASKS, Batch
from rnnviz.training import advance, begin

T, B, H = 4, 3, 5
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_cell = pytest.mark.parametrize("cell", CELLS)


def seq2seq(**values) -> Experiment:
    plain = {
        "task": "reversal", "length": T, "hidden": H, "batch": B, "precision": "float64",
        "architecture": "encoder_decoder", "seed": 3,
    }  # fmt: skip
    return Experiment(**{**plain, **values})


def batch_of(experiment: Experiment) -> Batch:
    return TASKS[experiment.task].training_batch(3, 0, experiment.length, experiment.batch)


class Twin(nn.Module):
    """What a user of PyTorch would write."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        task = TASKS[experiment.task]
        kind, options = CELLS[experiment.cell].torch_module
        sizes = (task.input_size, experiment.hidden, experiment.layers)
        self.encoder, self.decoder = (getattr(nn, kind)(*sizes, **options) for _ in range(2))
        self.out = nn.Linear(experiment.hidden, task.output_size)
        self.double()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        _, states = self.encoder(inputs[:T])
        hidden, _ = self.decoder(inputs[T:], states)
        return self.out(hidden)


@every_kernel
@pytest.mark.parametrize("cell", [cell.name for cell in CELLS.values() if cell.torch_module])
@pytest.mark.parametrize("layers", [1, 2])
def test_gradient_of_every_parameter_is_that_of_the_torch_twin(kernel, cell, layers):
    experiment = seq2seq(cell=cell, layers=layers)
    network, twin, batch = Network(experiment, kernel=kernel), Twin(experiment), batch_of(experiment)
    twin.load_state_dict(network.parameters)
    inputs, targets = network.tensors(batch)
    outputs = twin(inputs)
    loss = nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
    loss.backward()
    result = network.loss_and_gradient(batch)
    assert result.loss == pytest.approx(loss.item(), rel=1e-12)
    assert result.outputs.shape == (T, B, 8)
    torch.testing.assert_close(result.outputs, outputs.detach(), rtol=1e-11, atol=1e-14)
    for name, view in network.layout.views(result.grad).items():
        expected = twin.get_parameter(name).grad
        torch.testing.assert_close(view, expected, rtol=1e-9, atol=1e-14, msg=name)
    np.testing.assert_allclose(network.evaluate(batch).outputs, outputs.detach().numpy(), rtol=1e-11)


@every_kernel
@every_cell
def test_states_and_their_gradients_run_on_from_the_encoder_to_the_decoder(kernel, cell):
    """Every state of all 2 T steps, of the cells that PyTorch lacks as well."""
    experiment = seq2seq(cell=cell)
    network, batch = Network(experiment, kernel=kernel), batch_of(experiment)
    inputs, targets = network.tensors(batch)
    steps: list[dict[str, torch.Tensor]] = []
    for part, piece in enumerate((inputs[:T], inputs[T:])):
        weights = {name: w.clone().requires_grad_() for name, w in network.weights(part=part).items()}
        last = {name: steps[-1][name] for name in CELLS[cell].states} if part else None
        steps += unroll(network.cell, weights, piece, last)
    outputs = network.read(torch.stack([now["h"] for now in steps[T:]]))
    loss = nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())
    tape = network.loss_and_gradient(batch).tape
    for state, values, gradients in (
        ("h", tape.hidden, tape.grad_hidden), ("c", tape.cell_state, tape.grad_cell_state),
    ):  # fmt: skip
        if state not in CELLS[cell].states:
            assert values is gradients is None
            continue
        every = [now[state] for now in steps]
        expected = torch.stack(torch.autograd.grad(loss, every, retain_graph=True))
        assert values.shape == gradients.shape == (1, 1, 2 * T, B, H)
        torch.testing.assert_close(values[0, 0], torch.stack(every).detach(), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(gradients[0, 0], expected, rtol=1e-10, atol=1e-16)
        norms = expected.norm(dim=-1).mean(-1).numpy()
        np.testing.assert_allclose(tape.grad_norms(state)[0, 0], norms, rtol=1e-10)


@every_cell
def test_the_gradient_fits_finite_differences(cell):
    network = Network(seq2seq(cell=cell, layers=2))
    batch = batch_of(seq2seq())
    grad, start = network.loss_and_gradient(batch).grad, network.flat.clone()
    for name, view in network.layout.views(torch.arange(len(start))).items():
        direction = torch.zeros_like(start)
        rng = torch.Generator().manual_seed(5)
        direction[view.flatten()] = torch.randn(view.numel(), dtype=torch.float64, generator=rng)
        losses = []
        for sign in (1, -1):
            network.flat.copy_(start + sign * 1e-6 * direction)
            losses.append(network.loss_and_gradient(batch).loss)
        slope = (losses[0] - losses[1]) / 2e-6
        assert slope == pytest.approx(float(grad @ direction), rel=1e-5, abs=1e-8), name


@every_cell
def test_both_parts_are_drawn_alike_and_apart(cell):
    parameters = Network(seq2seq(cell=cell)).parameters
    one = Network(seq2seq(cell=cell, architecture="one")).parameters
    assert torch.equal(parameters["out.weight"], one["out.weight"])
    for name, weight in parameters.items():
        if name.startswith("encoder."):
            other = parameters[name.replace("encoder", "decoder")]
            assert weight.shape == other.shape == one[name.replace("encoder", "rnn")].shape
            assert not torch.equal(weight, other), name


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_a_bias_that_decides_about_memory_is_set_in_both_parts(initialization):
    parameters = Network(seq2seq(cell="lstm", initialization=initialization, forget_bias=2.5)).parameters
    for part in ("encoder", "decoder"):
        for bias, value in (("bias_ih", 2.5), ("bias_hh", 0.0)):
            assert (parameters[f"{part}.{bias}_l0"][H : 2 * H] == value).all()


def test_each_scope_is_a_prefix_with_both_parts_in_it():
    network = Network(seq2seq(cell="lstm_peephole"))
    names = list(network.layout.shapes)
    of_states = ["weight_hh_l0", "weight_peephole_l0"]
    assert names[:4] == [f"{part}.{name}" for part in ("encoder", "decoder") for name in of_states]
    assert names[-2:] == ["out.weight", "out.bias"]
    counts = [view.numel() for view in network.parameters.values()]
    assert network.layout.scopes["recurrent"] == sum(counts[:4])
    assert network.layout.scopes["not_output"] == sum(counts[:-2])


def test_traces_are_those_of_both_parts_and_a_part_of_the_batch_changes_nothing(monkeypatch):
    network, batch = Network(seq2seq(cell="lstm", layers=2)), batch_of(seq2seq(batch=7))
    whole = network.evaluate(batch)
    monkeypatch.setattr("rnnviz.network.EVALUATE_ROWS", 2)
    seen = network.evaluate(batch, 3)
    np.testing.assert_allclose(seen.outputs, whole.outputs, rtol=1e-13)
    assert [[len(directions) for directions in part] for part in seen.traces] == [[1, 1], [1, 1]]
    for part in seen.traces:
        for ((trace,),) in zip(part, strict=True):
            assert trace.values["f"].shape == (T, 3, H)


@every_kernel
@pytest.mark.parametrize("task", ["reversal", "repetition"])
@pytest.mark.parametrize("architecture", ["one", "encoder_decoder"])
def test_shares_of_a_part_add_up_over_the_steps_that_it_reads(kernel, task, architecture):
    experiment = seq2seq(task=task, architecture=architecture)
    network, batch = Network(experiment, kernel=kernel), batch_of(experiment)
    gradient = network.layout.views(network.loss_and_gradient(batch).grad)
    for name in network.parameters:
        if not name.startswith("out"):
            one = ledger(network, batch, name)
            assert len(one.norm) == (T if architecture == "encoder_decoder" else 2 * T)
            scale = float(gradient[name].abs().max())
            assert float((one.whole - gradient[name]).abs().max()) <= 1e-14 * scale
    reached = reach(network, batch)
    assert reached.shape == (1, 1, 2 * T, 2 * T)
    assert (reached[0, 0, :T] == 0).all(), "nothing is asked while it reads"
    assert (reached[0, 0, T:, 0] > 0).all(), "every answer reaches the first symbol"
    assert (np.triu(reached[0, 0], 1) == 0).all(), "and none reaches what comes after it"


def test_a_run_stops_and_goes_on_to_the_same_bytes():
    experiment = seq2seq(layers=2, dropout=0.3, steps=20, precision="float32", cell="gru")
    whole = begin(experiment)
    first = advance(whole, steps=20)
    halves = begin(experiment)
    one = advance(halves, steps=9)
    again = from_bytes(to_bytes(halves), experiment)
    two = advance(again, steps=11)
    assert again.network.flat.numpy().tobytes() == whole.network.flat.numpy().tobytes()
    joined = np.concatenate([one.grad_hidden, two.grad_hidden])
    assert joined.tobytes() == first.grad_hidden.tobytes()
    assert first.grad_hidden.shape == (20, 2, 1, 2 * T)
    copied = pickle.loads(pickle.dumps(whole.network))
    assert copied.loss_and_gradient(batch_of(experiment)).loss == pytest.approx(
        whole.network.loss_and_gradient(batch_of(experiment)).loss
    )


def test_it_learns_what_it_has_to_remember():
    """From its end: with the reading reversed the first answer is the nearest."""
    state = begin(seq2seq(length=4, hidden=32, batch=32, steps=400, precision="float32"))
    advance(state, steps=400)
    assert state.validation_accuracy > 0.9


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"task": "adding"},
            "architecture: got 'encoder_decoder'; the task adding does not read first and write afterwards "
            "(these do: repetition, reversal).",
        ),
        (
            {"direction": "both"},
            "direction: got 'both'; "
            "in the task reversal the inputs hold the answers of the steps before them.",
        ),
        ({"truncate": 3}, "truncate: got 3; a gradient can be cut off only in one network (architecture)."),
    ],
)
def test_what_does_not_fit_is_said(values, sentence):
    with pytest.raises(ExperimentError) as caught:
        seq2seq(**values)
    assert str(caught.value) == sentence
