"""Heights: what training recorded at a step, from the step's batch and weights alone, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from rnnviz.analysis.heights import Height, Heights
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS, default_kernel
from rnnviz.network import Network
from rnnviz.step import batch_of
from rnnviz.tasks import TASKS
from rnnviz.training import advance, begin
from tests.unrolled import SHAPES, blob_of, small, twin

every_kernel = pytest.mark.parametrize("kernel", KERNELS)
EXPERIMENTS = {
    **SHAPES,
    "a class for a sequence": {"task": "latch", "length": 6},
    "GRU, float32": {"task": "adding", "length": 9, "cell": "gru", "precision": "float32"},
    "LSTM with dropout": {"task": "adding", "length": 6, "cell": "lstm", "layers": 2, "dropout": 0.5},
    "clipped inside": {"task": "adding", "length": 6, "clip": "delta", "clip_threshold": 1e-3},
}


@pytest.fixture(autouse=True)
def _other_threads() -> Iterator[None]:
    """Whatever torch's threads are set to, heights come out the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def trained(experiment: Experiment, steps: int) -> tuple[list[np.ndarray], list[float], list[float]]:
    """Before each step the weights, and at it the loss and the gradient norm that were recorded."""
    state = begin(experiment)
    thetas, losses, norms = [], [], []
    for _ in range(steps):
        thetas.append(state.network.flat.double().numpy().copy())
        chunk = advance(state, steps=1)
        losses += chunk.loss.tolist()
        norms += chunk.norm_before.tolist()
    return thetas, losses, norms


@pytest.mark.parametrize("shape", EXPERIMENTS)
def test_a_height_is_the_loss_that_training_recorded(shape):
    experiment = small(steps=6, **EXPERIMENTS[shape])
    thetas, losses, _ = trained(experiment, 4)
    for step in (0, 3):
        heights = Heights(experiment, step)
        assert heights.many([thetas[step]])[0, 0] == losses[step]
        # With the gradient it is computed by another call, which makes no difference.
        assert heights.many([thetas[step]], gradient=True)[0, 0] == losses[step]


@every_kernel
@pytest.mark.parametrize("shape", SHAPES)
def test_a_height_is_that_of_autograds_twin(shape, kernel):
    experiment = small(cell="gru", **SHAPES[shape])
    network = Network(experiment, kernel="torch")
    heights = Heights(experiment, 2, kernel=kernel)
    assert heights.network.kernel == kernel
    loss, accuracy, norm = heights.many([network.flat.double().numpy()], gradient=True)[0]
    graph = twin(experiment, blob_of(experiment), 2)
    assert loss == pytest.approx(float(graph.loss.detach()), rel=1e-12)
    by_name = graph.gradients()
    grads = [by_name[name] for name in network.layout.shapes]
    assert norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in grads)), rel=1e-10)
    assert math.isnan(accuracy) == (TASKS[experiment.task].accuracy_label is None)


def test_the_gradient_norm_is_recorded_too():
    experiment = small(cell="lstm", steps=3)
    thetas, _, norms = trained(experiment, 3)
    found = Heights(experiment, 2).many([thetas[2]], gradient=True)
    assert found[0, 2] == pytest.approx(norms[2], rel=1e-12)


@pytest.mark.parametrize("over", ["step", "held_out"])
def test_accuracy_is_what_the_task_says_it_is(over):
    experiment = small(task="latch", length=6, batch=32, cell="tanh")
    heights = Heights(experiment, 1, over)
    theta = heights.network.flat.double().numpy().copy()
    theta += np.random.default_rng(0).normal(size=len(theta))  # not all alike, as at the beginning
    height = heights.many([theta])[0]
    batch = batch_of(experiment, 1) if over == "step" else TASKS["latch"].validation_batch(6)
    rnn, out = nn.RNN(1, 4, dtype=torch.float64), nn.Linear(4, 2, dtype=torch.float64)
    views = heights.network.layout.views(torch.from_numpy(theta))
    rnn.load_state_dict({n.removeprefix("rnn."): v for n, v in views.items() if n.startswith("rnn.")})
    out.load_state_dict({n.removeprefix("out."): v for n, v in views.items() if n.startswith("out.")})
    y = out(rnn(torch.from_numpy(batch.inputs.astype(np.float64)))[0][-1])
    targets = torch.from_numpy(batch.targets.astype(np.int64))
    assert 0.2 < height[1] < 1.0
    assert height[1] == pytest.approx(float((y.argmax(-1) == targets).double().mean()), abs=1e-12)
    assert height[0] == pytest.approx(float(nn.functional.cross_entropy(y, targets).detach()), rel=1e-10)


def test_held_out_sequences_are_those_of_validation_and_know_no_dropout():
    experiment = small(cell="gru", layers=2, dropout=0.5, steps=2)
    state = begin(experiment)
    first = state.network.flat.double().numpy().copy()
    chunk = advance(state, steps=1)
    height = Heights(experiment, 0, "held_out").many([first], gradient=True)[0]
    assert height[0] == chunk.validation_loss[0]
    assert math.isfinite(height[2])
    assert height[2] > 0


def test_a_reading_is_that_of_its_step():
    experiment = small(cell="gru", layers=2, dropout=0.5)
    theta = Network(experiment).flat.double().numpy()
    at = {step: Heights(experiment, step).many([theta])[0, 0] for step in (0, 1)}
    without = Heights(experiment.changed(dropout=0.0), 0).many([theta])[0, 0]
    assert len({*at.values(), without}) == 3


@every_kernel
@pytest.mark.parametrize("over", ["step", "held_out"])
@pytest.mark.parametrize("task", ["adding", "latch", "copying"])
def test_weights_that_are_not_numbers_give_heights_that_are_not(task, over, kernel):
    experiment = small(task=task, length=2 if task == "copying" else 6, cell="lstm", precision="float32")
    heights = Heights(experiment, 0, over, kernel)
    theta = heights.network.flat.double().numpy().copy()
    good = heights.many([theta], gradient=True)
    for name, value in (("rnn.weight_hh_l0", math.nan), ("out.weight", math.nan), ("out.bias", math.inf)):
        bad = theta.copy()
        views = heights.network.layout.views(torch.from_numpy(bad))
        views[name].view(-1)[0] = value
        found = heights.many([bad], gradient=True)[0]
        assert not math.isfinite(found[0])
        assert not math.isfinite(found[2])
        assert math.isnan(found[1])  # no share of nothing
    assert np.array_equal(heights.many([theta], gradient=True), good, equal_nan=True)


def test_what_is_too_large_for_the_precision_is_not_finite():
    heights = Heights(small(precision="float32"))
    theta = np.full(len(heights.network.flat), 1e300)
    assert not math.isfinite(heights.many([theta])[0, 0])


def test_no_points_have_no_heights():
    heights = Heights(small())
    assert heights.many([]).shape == (0, len(Height._fields))


def test_the_kernel_is_the_runs_where_this_machine_has_it():
    experiment = small()
    assert Heights(experiment, kernel="torch").network.kernel == "torch"
    assert Heights(experiment, kernel="compiled").network.kernel == default_kernel()
    assert Heights(experiment).network.kernel == default_kernel()
