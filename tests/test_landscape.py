"""`loss_surface`: heights against the network and the module themselves, and everything left as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from rnnviz import Experiment, Network, advance, begin, loss_surface
from rnnviz.analysis.heights import Heights
from rnnviz.analysis.planes import Plane, chosen_axis, random_axes
from rnnviz.landscape import foreign
from rnnviz.landscape.frame import offsets
from rnnviz.tasks import TASKS

SMALL = Experiment(task="adding", length=8, cell="lstm", hidden=5, batch=6, seed=3)
MSE = nn.functional.mse_loss
X, Y = (torch.rand(7, 4, k, generator=torch.Generator().manual_seed(k)) for k in (2, 1))


class Reader(nn.Module):
    """A recurrent layer and a readout of every step."""

    def __init__(self, kind: Any = nn.GRU, **options: Any) -> None:
        super().__init__()
        self.rnn, self.out = kind(2, 3, **options), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(self.rnn(x)[0])
        return y


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def of_xy(model: nn.Module) -> torch.Tensor:
    return MSE(model(X), Y)


def dense(*more: nn.Module) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(2, 6), *more, nn.Tanh(), nn.Linear(6, 1)))


def path_of(experiment: Experiment, points: int = 5, every: int = 4) -> list[torch.Tensor]:
    state = begin(experiment.changed(steps=1000))
    path = [state.network.flat.clone()]
    for _ in range(points - 1):
        advance(state, steps=every)
        path.append(state.network.flat.clone())
    return path


def nodes(count: int, n: int) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in np.random.default_rng(0).integers(n, size=(count, 2))]


# Our own networks


@pytest.mark.parametrize("over", ["step", "held_out"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_heights_are_those_of_the_network_and_of_torch_nn(cell, over):
    experiment = SMALL.changed(cell=cell)
    surface = loss_surface(experiment, points=9, step=4, over=over, gradient=True)
    heights = Heights(experiment, 4, over)
    batch = heights.read.batch
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN}[cell]
    rnn, out = kind(2, 5), nn.Linear(5, 1)
    x, y = torch.from_numpy(batch.inputs.astype("f4")), torch.from_numpy(batch.targets.astype("f4"))
    for i, j in nodes(10, 9):
        theta = surface.parameters(i, j)
        loss, accuracy, norm = heights.many([theta], gradient=True)[0]
        assert surface.loss[i, j] == loss
        assert surface.accuracy[i, j] == accuracy
        assert surface.gradient[i, j] == norm
        views = heights.network.layout.views(torch.from_numpy(theta.astype("f4")))
        for module, name in ((rnn, "rnn."), (out, "out.")):
            module.load_state_dict({n.removeprefix(name): v for n, v in views.items() if n.startswith(name)})
        value = MSE(out(rnn(x)[0][-1]), y)
        assert loss == pytest.approx(float(value.detach()), rel=2e-5)
        grads = torch.autograd.grad(value, [*rnn.parameters(), *out.parameters()])
        assert norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in grads)), rel=1e-4)


def test_the_grid_lies_where_it_says():
    surface = loss_surface(SMALL, points=7, window=(-0.5, 1.0, -2.0, 1.0), seed=4)
    i, j = surface.centre
    theta, axes = Network(SMALL).flat.double().numpy(), surface.plane.axes
    assert np.array_equal(axes, random_axes(theta, Network(SMALL).layout.shapes, 4))
    assert surface.x[j] == surface.y[i] == 0.0
    assert np.diff(surface.x) == pytest.approx(0.25)
    assert np.diff(surface.y) == pytest.approx(0.5)
    for row, column in nodes(5, 7):
        there = theta + surface.x[column] * axes[0] + surface.y[row] * axes[1]
        assert surface.parameters(row, column) == pytest.approx(there, rel=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads):
    one = loss_surface(SMALL, points=9, threads=1)
    surface = loss_surface(SMALL, points=9, threads=threads)
    assert np.array_equal(surface.loss, one.loss)
    many = f"{threads} cores" if threads > 1 else "1 core"
    assert surface.note in (f"Compiled kernels on {many}.", f"Operations of torch on {many}.")


def test_the_centre_is_the_loss_that_training_recorded():
    state = begin(SMALL.changed(steps=50))
    advance(state, steps=7)
    held = state.network.flat.clone()
    chunk = advance(state, steps=1)
    surface = loss_surface(SMALL, parameters=held, step=7, points=4, window=0.3)
    assert surface.loss[surface.centre] == chunk.loss[0]
    assert np.array_equal(surface.parameters(*surface.centre), held.double().numpy())


def test_weights_come_in_every_form():
    network = Network(SMALL)
    network.flat.mul_(1.5)
    flat = network.flat
    forms = [
        network, flat, flat.numpy(), list(flat.tolist()), dict(network.parameters),
        {n: v.numpy() for n, v in network.parameters.items()},
        save({n: v.contiguous().clone() for n, v in network.parameters.items()}),
    ]  # fmt: skip
    losses = {float(loss_surface(SMALL, parameters=form, points=3).loss[1, 1]) for form in forms}
    assert losses == {float(Heights(SMALL).many([flat.double().numpy()])[0, 0])}


def test_a_path_lies_in_its_own_plane_and_knows_how_far_off_it_is():
    path = path_of(SMALL)
    surface = loss_surface(SMALL, path=path, points=6)
    assert surface.kind == "path"
    assert surface.explained is not None
    assert surface.explained[0] > surface.explained[1] > 0
    assert surface.path == pytest.approx(surface.plane.place(np.stack(path))[0])
    assert surface.path[-1] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert surface.path_off[-1] == pytest.approx(0.0, abs=1e-9)
    assert surface.path_off.max() > 0
    heights = Heights(SMALL)
    assert surface.path_loss.tolist() == heights.many([p.double().numpy() for p in path])[:, 0].tolist()
    assert surface.loss[surface.centre] == surface.path_loss[-1]  # by default it is the last point
    for places, edges in zip(surface.path.T, (surface.x, surface.y), strict=True):
        assert edges[0] < places.min()
        assert places.max() < edges[-1]


def test_a_plane_may_be_used_again_at_other_weights():
    path = path_of(SMALL)
    first = loss_surface(SMALL, path=path, points=5)
    other = loss_surface(SMALL, plane=first.plane, parameters=path[1], points=5)
    assert other.cut.centre == pytest.approx(tuple(first.path[1]))
    assert other.cut.off == pytest.approx(first.path_off[1])
    i, j = other.centre
    assert (other.x[j], other.y[i]) == pytest.approx(other.cut.centre)
    assert other.loss[i, j] == first.path_loss[1]
    shown = loss_surface(SMALL, plane="random", path=path, points=5)  # the path on another plane
    assert shown.kind == "random"
    assert shown.path.shape == (5, 2)


def test_a_line_leads_to_the_other_weights():
    path = path_of(SMALL)
    surface = loss_surface(SMALL, parameters=path[0], end=path[-1], points=9)
    i, j = surface.centre
    assert (surface.x[0], surface.x[-1]) == pytest.approx((-0.5, 1.5))
    at_end = int(np.argmin(abs(surface.x - 1.0)))
    assert surface.x[at_end] == pytest.approx(1.0)
    assert surface.x[j] == 0.0
    start, end = Heights(SMALL).many([path[0].double().numpy(), path[-1].double().numpy()])[:, 0]
    assert surface.loss[i, j] == start
    assert surface.loss[i, at_end] == pytest.approx(end, rel=1e-5)


def test_directions_may_be_named_or_given():
    network = Network(SMALL)
    bias = {"out.bias": torch.ones(1)}
    surface = loss_surface(SMALL, directions=["scale:weight_hh", bias], points=5, window=1.0)
    theta, shapes = network.flat.double().numpy(), network.layout.shapes
    assert np.array_equal(surface.plane.axes[0], chosen_axis("scale:weight_hh", theta, shapes, ()))
    assert surface.plane.axes[1].sum() == 1.0
    assert surface.plane.axes[1][-1] == 1.0
    # x = -1 takes the recurrent weights away.
    network.parameters["rnn.weight_hh_l0"].zero_()
    wanted = Heights(SMALL).many([network.flat.double().numpy()])[0, 0]
    assert surface.loss[2, 0] == wanted


def test_curvature_is_a_plane_of_an_experiment():
    surface = loss_surface(SMALL, plane="curvature", points=5, step=2, window=0.1)
    heights = Heights(SMALL, 2)
    result = heights.network.loss_and_gradient(heights.read.batch).grad.double().numpy()
    assert surface.plane.axes[0] == pytest.approx(result / np.linalg.norm(result), rel=1e-4, abs=1e-7)
    assert surface.plane.axes @ surface.plane.axes.T == pytest.approx(np.eye(2), abs=1e-9)
    assert surface.loss[2, 0] < surface.loss[2, 2] < surface.loss[2, 4]


def test_accuracy_comes_where_the_task_has_one():
    experiment = Experiment(task="latch", length=6, hidden=4, batch=16, cell="gru")
    surface = loss_surface(experiment, points=5, biases=True)
    assert surface.accuracy is not None
    assert ((surface.accuracy >= 0) & (surface.accuracy <= 1)).all()
    there = Heights(experiment).many([surface.parameters(1, 3)])[0]
    assert (surface.loss[1, 3], surface.accuracy[1, 3]) == tuple(there[:2])
    assert TASKS["latch"].accuracy_label is not None


def test_what_is_not_finite_stays_so_and_is_counted():
    experiment = SMALL.changed(cell="linear", length=60)
    surface = loss_surface(experiment, points=5, window=60.0)
    assert 0 < surface.holes < 25
    assert surface.holes == int((~np.isfinite(surface.loss)).sum())
    assert surface.note.endswith(f" {surface.holes} of 25 points have no finite loss.")


def test_progress_is_told():
    told: list[float] = []
    loss_surface(SMALL, points=9, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == 1.0


def test_torch_has_one_thread_while_ours_have_several():
    """Sums in torch depend on how many threads share them."""
    before, seen = torch.get_num_threads(), set()
    torch.set_num_threads(2)
    try:
        loss_surface(SMALL, points=9, threads=2, progress=lambda share: seen.add(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


def test_an_error_in_progress_ends_it():
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        loss_surface(SMALL, points=9, progress=stop)
    assert torch.get_num_threads() == threads


# Any module


MODULES: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "LSTM": (lambda: seeded(lambda: Reader(nn.LSTM)), False),
    "GRU, two layers": (lambda: seeded(lambda: Reader(nn.GRU, num_layers=2)), False),
    "RNN, float64": (lambda: seeded(lambda: Reader(nn.RNN)).double(), False),
    "dense": (dense, True),
    "normalized over the batch": (lambda: dense(nn.Flatten(0, 1), nn.BatchNorm1d(6)), False),
    "the same in eval mode": (lambda: dense(nn.Flatten(0, 1), nn.BatchNorm1d(6)).eval(), True),
    "dropout": (lambda: dense(nn.Dropout(0.5)), True),
}


def loss_for(model: nn.Module) -> torch.Tensor:
    p = next(model.parameters())
    y = model(X.to(p.dtype))
    return MSE(y.reshape(Y.shape), Y.to(p.dtype))


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
@pytest.mark.parametrize("name", MODULES)
def test_a_modules_heights_are_its_own_losses(name, gradient):
    make, batches = MODULES[name]
    model = make()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    random, mode = torch.get_rng_state(), [m.training for m in model.modules()]
    surface = loss_surface(model, loss_for, points=9, seed=2, gradient=gradient, batched=False)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == mode
    assert all(p.grad is None for p in model.parameters())
    assert ("Dropout is on" in surface.note) == (name == "dropout")

    def direct(theta: np.ndarray) -> tuple[float, float]:
        twin = make()
        nn.utils.vector_to_parameters(torch.from_numpy(theta).to(next(twin.parameters())), twin.parameters())
        torch.set_rng_state(random)
        value = loss_for(twin)
        grads = torch.autograd.grad(value, list(twin.parameters()))
        return float(value.detach()), math.sqrt(sum(float(g.double().square().sum()) for g in grads))

    for i, j in [surface.centre, *nodes(5, 9)]:
        value, norm = direct(surface.parameters(i, j))
        assert surface.loss[i, j] == value
        if gradient:
            assert surface.gradient[i, j] == pytest.approx(norm, rel=1e-6)
    if batches:
        torch.set_rng_state(random)
        together = loss_surface(model, loss_for, points=9, seed=2, gradient=gradient, batched=True)
        assert together.note.startswith("Up to ")
        assert together.loss == pytest.approx(surface.loss, rel=1e-4, abs=1e-6)
        assert together.loss[together.centre] == surface.loss[surface.centre]
        assert together.plane.axes.tolist() == surface.plane.axes.tolist()
        if gradient:
            assert together.gradient == pytest.approx(surface.gradient, rel=1e-4, abs=1e-6)
        assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_fused_recurrent_modules_cannot_be_batched_and_the_note_says_so(kind):
    model = seeded(lambda: Reader(kind))
    surface = loss_surface(model, of_xy, points=3)
    assert surface.note.startswith("One point after the other: torch.func cannot batch this model (")
    with pytest.raises(ValueError, match=r"^batched: not possible: torch\.func cannot batch this model"):
        loss_surface(model, of_xy, points=3, batched=True)


def test_the_centre_is_exact_where_batches_round_differently(monkeypatch):
    together = foreign.Foreign.together
    monkeypatch.setattr(foreign.Foreign, "together", lambda *args: together(*args) * (1 + 1e-6))
    model = dense()
    surface = loss_surface(model, of_xy, points=5, batched=True)
    assert surface.loss[surface.centre] == float(of_xy(model).detach())
    assert surface.loss[0, 0] != loss_surface(model, of_xy, points=5, batched=False).loss[0, 0]


def test_a_loss_that_a_batch_gets_wrong_is_taken_one_by_one():
    """It keeps a number of its own, which a batch computes once."""
    model = dense()
    calls = []

    def counting(m: nn.Module) -> torch.Tensor:
        calls.append(1)
        return of_xy(m) + len(calls)

    assert "in a batch this model gives other numbers" in loss_surface(model, counting, points=3).note


def test_what_is_faster_is_taken(monkeypatch):
    ticks = iter(range(10_000))

    class Clock:
        slow = False

        def perf_counter(self) -> float:
            return float(next(ticks)) * (1.0 if self.slow else 0.0)

    clock = Clock()
    monkeypatch.setattr(foreign, "time", clock)
    clock.slow = True  # each measurement takes one tick: a batch as long as a point alone
    fast = loss_surface(dense(), of_xy, points=9)
    assert fast.note == "Up to 32 points at once, by torch.func."  # 4, 8, 16, 32, and the 21 that are left
    clock.slow = False  # nothing takes any time: no batch is faster
    assert loss_surface(dense(), of_xy, points=9).note == (
        "One point after the other, which was faster than many at once."
    )


def test_parameters_come_back_after_an_error():
    model = seeded(Reader)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    calls = []

    def failing(m: nn.Module) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("out of luck")
        return of_xy(m)

    with pytest.raises(RuntimeError, match="out of luck"):
        loss_surface(model, failing, points=5)
    assert len(calls) == 6
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_a_graph_of_the_user_stays_good():
    model = seeded(Reader)
    value = of_xy(model)
    wanted = [g.clone() for g in torch.autograd.grad(value, list(model.parameters()), retain_graph=True)]
    loss_surface(model, of_xy, points=3)
    found = torch.autograd.grad(value, list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_frozen_parameters_stay_unless_all_are():
    model = seeded(Reader)
    model.rnn.requires_grad_(False)
    surface = loss_surface(model, of_xy, points=3, path=[{"out.weight": torch.rand(1, 3), "out.bias": [k]}
                                                         for k in range(3)])  # fmt: skip
    assert len(surface.plane.origin) == 4
    model.requires_grad_(False)
    assert len(loss_surface(model, of_xy, points=3).plane.origin) == sum(
        p.numel() for p in model.parameters()
    )
    with pytest.raises(ValueError, match=r"^gradient: all parameters of the model are frozen"):
        loss_surface(model, of_xy, points=3, gradient=True)


def test_a_path_of_state_dicts_with_buffers_and_a_line_to_a_module():
    model = dense(nn.Flatten(0, 1), nn.BatchNorm1d(6)).eval()
    path = []
    for k in range(4):
        other = dense(nn.Flatten(0, 1), nn.BatchNorm1d(6)).eval()
        with torch.no_grad():
            for n, p in enumerate(other.parameters()):
                p.add_(torch.full_like(p, 0.1 * k + 0.05 * k * k * (n % 3)))
        path.append(other.state_dict())
    surface = loss_surface(model, loss_for, path=path, points=5)
    assert surface.path_loss[-1] == pytest.approx(float(loss_for(other).detach()), rel=1e-6)
    line = loss_surface(model, loss_for, end=other, points=5)
    assert line.loss[line.centre[0], 3] == pytest.approx(surface.path_loss[-1], rel=1e-5)


def test_a_loss_may_be_a_plain_number():
    model = dense()
    surface = loss_surface(model, lambda m: float(of_xy(m).detach()), points=3)
    assert surface.loss == pytest.approx(loss_surface(model, of_xy, points=3, batched=False).loss)
    assert surface.note.startswith("One point after the other")


def test_a_loss_that_is_nan_is_nan():
    model = seeded(Reader)
    surface = loss_surface(model, lambda m: of_xy(m).log().mul(0) / 0, points=3)
    assert np.isnan(surface.loss).all()
    assert surface.note.endswith("9 of 9 points have no finite loss.")
    assert "no finite loss" in repr(surface)


# What is refused, what is kept, what is drawn

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no model": (
        lambda: loss_surface("lstm"), "model: got a str; an Experiment or a torch.nn.Module is needed.",
    ),
    "a class": (lambda: loss_surface(Reader, of_xy), "model: got the class Reader; an Experiment or"),
    "no loss": (lambda: loss_surface(dense()), "loss: got none; a function that calls the model"),
    "a loss for an experiment": (lambda: loss_surface(SMALL, of_xy), "loss: an Experiment has its own;"),
    "several losses": (
        lambda: loss_surface(dense(), lambda m: m(X)),
        r"loss: got the shape \(7, 4, 1\); loss\(model\) has to return one number, such as a mean.",
    ),
    "no number": (lambda: loss_surface(dense(), lambda m: None), "loss: got a NoneType; loss"),
    "nothing to move": (
        lambda: loss_surface(nn.Tanh(), of_xy), "model: Tanh has no parameters that could be moved.",
    ),
    "no shape yet": (lambda: loss_surface(nn.LazyLinear(2), of_xy), "model: weight has no shape yet;"),
    "detached": (
        lambda: loss_surface(dense(), lambda m: of_xy(m).detach(), gradient=True),
        "loss: its gradient was asked for, but it does not depend on the parameters.",
    ),
    "a plane": (
        lambda: loss_surface(SMALL, plane="flat"),
        "plane: got 'flat'; allowed: random, path, line, chosen, curvature, or a Plane.",
    ),
    "another model's plane": (
        lambda: loss_surface(SMALL, plane=Plane(np.zeros(3), np.eye(2, 3))),
        r"plane: it has 3 parameters; the model has \d+.",
    ),
    "no path": (lambda: loss_surface(SMALL, plane="path"), "path: it is missing; plane='path' needs it."),
    "two planes": (
        lambda: loss_surface(SMALL, plane="random", end=Network(SMALL)),
        "end: it is for plane='line'; here the plane is 'random'.",
    ),
    "a short path": (
        lambda: loss_surface(SMALL, path=[Network(SMALL)] * 2),
        "path: got 2; three points or more are needed.",
    ),
    "a path that stands still": (
        lambda: loss_surface(SMALL, path=[Network(SMALL)] * 3),
        "plane: a path needs three different checkpoints to span a plane.",
    ),
    "a path that diverged": (
        lambda: loss_surface(SMALL, path=[Network(SMALL).flat * k for k in (1, 2, math.nan)]),
        r"path\[2\]: its weights are not finite.",
    ),
    "weights that are not finite": (
        lambda: loss_surface(SMALL, parameters=Network(SMALL).flat * math.nan),
        "plane: the model's weights are not finite.",
    ),
    "a strange name": (
        lambda: loss_surface(dense(), of_xy, directions=[{"0.weigth": X}, {}]),
        r"directions\[0\]: no parameter is called '0.weigth'; there are 0.weight, 0.bias, 2.weight, 2.bias.",
    ),
    "a missing name": (
        lambda: loss_surface(dense(), of_xy, parameters={"0.weight": torch.zeros(6, 2)}),
        "parameters: 0.bias is missing.",
    ),
    "a wrong shape": (
        lambda: loss_surface(dense(), of_xy, parameters={"0.weight": torch.zeros(2, 6)}),
        r"parameters: 0.weight: got the shape \(2, 6\); \(6, 2\) is needed.",
    ),
    "a wrong vector": (
        lambda: loss_surface(dense(), of_xy, parameters=[1.0, 2.0]),
        r"parameters: got the shape \(2,\); a vector of all parameters has \(25,\).",
    ),
    "no weights": (lambda: loss_surface(SMALL, end=object()), "end: got a object; numbers are needed,"),
    "three directions": (
        lambda: loss_surface(SMALL, directions=["bias:f"] * 3), "directions: two are needed.",
    ),
    "one direction twice": (
        lambda: loss_surface(SMALL, directions=["bias:f"] * 2), "plane: both directions are the same;",
    ),
    "no direction": (
        lambda: loss_surface(dense(), of_xy, directions=[{}, {"0.bias": torch.ones(6)}]),
        "plane: a direction moves nothing, as",
    ),
    "few points": (lambda: loss_surface(SMALL, points=2), "points: got 2; a whole number from 3 on"),
    "a window": (lambda: loss_surface(SMALL, window=-1.0), "window: got -1.0; a number above 0, or"),
    "a window elsewhere": (
        lambda: loss_surface(SMALL, window=(1, 2, -1, 1)), "window: x goes from 1 to 2; the model is at 0.",
    ),
    "a batch": (lambda: loss_surface(SMALL, over="all"), "over: got 'all'; allowed: step, held_out."),
    "a step": (lambda: loss_surface(SMALL, step=-1), "step: got -1; a whole number from 0 on"),
    "threads": (lambda: loss_surface(SMALL, threads=0), "threads: got 0; a whole number from 1 on"),
    "a step of a module": (lambda: loss_surface(dense(), of_xy, step=3), "step: this is for an Experiment;"),
    "curvature of a module": (
        lambda: loss_surface(dense(), of_xy, plane="curvature"), "plane: 'curvature' is for an Experiment.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_in_a_sentence(what):
    call, sentence = WRONG[what]
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        call()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("low", "high", "n"), [(-1.0, 1.0, 5), (-1.0, 1.0, 4), (-0.2, 3.0, 9), (0.0, 1.0, 3)]
)
def test_the_grid_covers_the_window_and_holds_the_centre(low, high, n):
    away, at = offsets(0.0, low, high, n)
    assert away[at] == 0.0
    step = (high - low) / (n - 1)
    assert np.diff(away) == pytest.approx(step)
    assert abs(away[0] - low) <= step / 2 + 1e-12


def test_a_surface_is_kept_in_a_file(tmp_path: Path):
    surface = loss_surface(SMALL, path=path_of(SMALL), points=5, gradient=True)
    surface.save(tmp_path / "surface.npz")
    with np.load(tmp_path / "surface.npz") as kept:  # without pickle
        assert {"x", "y", "loss", "gradient", "path", "path_off", "path_loss", "explained"} < set(kept)
        assert np.array_equal(kept["accuracy"], surface.accuracy)
        assert np.array_equal(kept["loss"], surface.loss)
        assert tuple(kept["centre"]) == surface.centre
        i, j = 1, 2
        away = kept["x"][j] - kept["x"][kept["centre"][1]], kept["y"][i] - kept["y"][kept["centre"][0]]
        theta = kept["origin"] + away[0] * kept["axes"][0] + away[1] * kept["axes"][1]
        assert Heights(SMALL).many([theta])[0, 0] == surface.loss[i, j]
        assert str(kept["note"]) == surface.note


def test_a_surface_says_what_it_is():
    surface = loss_surface(SMALL, points=5)
    low, high = (f"{v:.3g}" for v in (surface.loss.min(), surface.loss.max()))
    own = f"{surface.loss[2, 2]:.3g}"
    assert repr(surface) == f"LossSurface(5 x 5 points, loss {low} to {high}, {own} at the centre)"


def test_figures_draw_the_heights_and_the_path():
    surface = loss_surface(SMALL, path=path_of(SMALL), points=5, gradient=True)
    relief, level, norms = surface.figure(), surface.figure(flat=True), surface.figure("gradient", log=False)
    assert [relief.data[0].type, level.data[0].type, norms.data[0].type] == ["surface", "contour", "surface"]
    assert relief.data[0].z == pytest.approx(np.log10(surface.loss), rel=1e-5, abs=1e-6)
    assert norms.data[0].z == pytest.approx(surface.gradient, rel=1e-5)
    assert level.data[1].x == pytest.approx(surface.path[:, 0])
    first = surface.explained[0]
    assert level.layout.xaxis.title.text == f"first component ({first:.0%} of the variance)"
    assert surface.figure("accuracy").data[0].z == pytest.approx(surface.accuracy)
    with pytest.raises(ValueError, match=r"^height: got 'gradient'; this surface has loss\.$"):
        loss_surface(dense(), of_xy, points=3).figure("gradient")


def test_heights_below_zero_are_drawn_without_logarithms():
    surface = loss_surface(dense(), lambda m: -of_xy(m), points=5)
    assert surface.figure().data[0].z == pytest.approx(surface.loss, rel=1e-5)
