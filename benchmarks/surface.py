"""A loss surface, time per point: ours, the loss-landscapes package, and torch's module alone.

The same experiment, weights and batch for all: the adding task with B = 128, T = 100, H = 32 in float32. The
peers use as many torch threads as there are cores, which is their way to share the work; ours gives each core
points of its own. "Module alone" is the fused forward pass and the loss on one set of weights, without any
surface: what every loop over torch.nn takes at least.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import nn

from rnnviz import Experiment, Network, loss_surface
from rnnviz.landscape.own import cores
from rnnviz.step import batch_of

from .machine import table

CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "tanh"}
ROUNDS = 7  # of all contestants in turn, so that a noisy minute hits them all
HIDDEN = 32
SIDE = 12  # points along each axis

PACKAGE = "loss-landscapes"
PEERS = (PACKAGE, "module alone")

Points = Callable[[], int]  # computes a surface; returns how many points it had


class Reader(nn.Module):
    """A recurrent module with a readout of the last step."""

    def __init__(self, kind: Callable[[int, int], nn.Module], network: Network) -> None:
        super().__init__()
        self.rnn, self.out = kind(2, HIDDEN), nn.Linear(HIDDEN, 1)
        self.load_state_dict({name: view.clone() for name, view in network.parameters.items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, B, 2) to (B, 1)."""
        y: torch.Tensor = self.out(self.rnn(x)[0][-1])
        return y


def run() -> None:
    """The table."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores())
    with_package = find_spec("loss_landscapes") is not None
    print(f"B = 128, T = 100, H = 32, {SIDE} x {SIDE} points; ms a point, medians of {ROUNDS}\n")
    rows = []
    for name, cell in CELLS.items():
        contestants = _contestants(getattr(nn, name), cell, with_package)
        ms = _medians(contestants)
        ours = next(iter(ms.values()))
        rows.append([name, *ms.values(), *(value / ours for key, value in ms.items() if key in PEERS)])
    peers = [peer for peer in PEERS if with_package or peer != PACKAGE]
    header = ["", *contestants, *(f"{peer} / rnnviz" for peer in peers)]
    table(header, rows)
    torch.set_num_threads(before)


def _contestants(kind: Callable[[int, int], nn.Module], cell: str, with_package: bool) -> dict[str, Points]:
    experiment = Experiment(task="adding", length=100, cell=cell, hidden=HIDDEN, batch=128)
    network = Network(experiment)
    x, y = network.tensors(batch_of(experiment, 0))
    model, mse = Reader(kind, network), nn.MSELoss()

    def ours(threads: int | None) -> int:
        return loss_surface(experiment, points=SIDE, threads=threads).loss.size

    def module() -> int:
        return loss_surface(model, lambda m: mse(m(x), y), points=SIDE, batched=False).loss.size

    def alone() -> int:
        with torch.no_grad():
            for _ in range(SIDE * SIDE):
                float(mse(model(x), y))
        return SIDE * SIDE

    def package() -> int:
        import loss_landscapes
        from loss_landscapes.metrics import Loss

        found = loss_landscapes.random_plane(model, Loss(mse, x, y), 10, SIDE, "filter", deepcopy_model=True)
        return int(found.size)

    contestants: dict[str, Points] = {"rnnviz": lambda: ours(None), "rnnviz, one core": lambda: ours(1)}
    if with_package:
        contestants[PACKAGE] = package
    return contestants | {"module alone": alone, "rnnviz on the torch.nn module": module}


def _medians(contestants: dict[str, Points]) -> dict[str, float]:
    """ms a point."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for points in contestants.values():
        points()
    for _ in range(ROUNDS):
        for name, points in contestants.items():
            started = time.perf_counter()
            count = points()
            times[name].append((time.perf_counter() - started) / count * 1000)
    return {name: statistics.median(values) for name, values in times.items()}
