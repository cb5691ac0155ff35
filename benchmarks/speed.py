"""A training step as `rnnviz.train` makes it, against PyTorch's modules in the same run.

Ours includes data, clipping, optimizer, the record of dL/dh_t at every time step, and validation as a run
has it; the peers only forward, backward, clipping and Adam. One thread, float32, B = 32, T = 100, H = 64.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnviz import Experiment, advance, begin

from .machine import table

B, T, H, INPUTS = 32, 100, 64, 2
STEPS, ROUNDS = 20, 5


def run() -> None:
    """Interleave the contestants, so that a noisy minute hits them all."""
    torch.set_num_threads(1)
    contestants: dict[str, dict[str, Callable[[], None]]] = {
        "RNN": {"ours": _ours("tanh"), "module": _module(nn.RNN), "loop": _loop(nn.RNNCell)},
        "LSTM": {"ours": _ours("lstm"), "module": _module(nn.LSTM), "loop": _loop(nn.LSTMCell)},
        "GRU": {"ours": _ours("gru"), "module": _module(nn.GRU), "loop": _loop(nn.GRUCell)},
    }
    rows = []
    for name, steps in contestants.items():
        times: dict[str, list[float]] = {kind: [] for kind in steps}
        for step in steps.values():
            step()
        for _ in range(ROUNDS):
            for kind, step in steps.items():
                started = time.perf_counter()
                step()
                times[kind].append((time.perf_counter() - started) / STEPS * 1000)
        ms = {kind: statistics.median(values) for kind, values in times.items()}
        rows.append(
            [name, ms["ours"], ms["module"], ms["loop"], ms["module"] / ms["ours"], ms["loop"] / ms["ours"]]
        )
    header = [
        "",
        "rnnviz (ms)",
        "torch module",
        "torch cell loop, retain_grad",
        "module / ours",
        "loop / ours",
    ]
    table(header, rows)
    print("The module records no dL/dh_t; the loop and rnnviz do.")


def _ours(cell: str) -> Callable[[], None]:
    state = begin(Experiment(task="adding", length=T, cell=cell, hidden=H, batch=B, steps=1_000_000))

    def steps() -> None:
        advance(state, steps=STEPS)

    return steps


def _train(parameters: list[nn.Parameter], forward: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.Adam(parameters, lr=0.001)
    x, target = torch.rand(T, B, INPUTS), torch.rand(B, 1)

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(forward(x), target))
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    return steps


def _module(kind: Callable[[int, int], nn.Module]) -> Callable[[], None]:
    rnn, out = kind(INPUTS, H), nn.Linear(H, 1)
    return _train([*rnn.parameters(), *out.parameters()], lambda x: out(rnn(x)[0][-1]))


def _loop(kind: Callable[[int, int], nn.Module]) -> Callable[[], None]:
    cell, out = kind(INPUTS, H), nn.Linear(H, 1)

    def forward(x: Tensor) -> Tensor:
        state = None
        for t in range(T):
            state = cell(x[t], state)
            h = state[0] if isinstance(state, tuple) else state
            h.retain_grad()
        read: Tensor = out(h)
        return read

    return _train([*cell.parameters(), *out.parameters()], forward)
