"""Norms of ds_t/ds_k for every pair of times: against autograd in the same process, and the spectral map.

One sequence, one thread. Autograd takes for each t the Jacobian of s_t with respect to every s_k before it,
row by row from one graph, as whoever looks for these numbers in PyTorch would write it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from rnnviz import Experiment
from rnnviz.analysis.bracket import largest_singular, with_frobenius
from rnnviz.analysis.jacobians import frobenius_map, read_jacobians
from rnnviz.analysis.moment import Moment, moment
from rnnviz.bptt import unroll
from rnnviz.runs.maps import column_blocks

from .machine import table

ROUNDS = 5
CELLS = ("tanh", "gru", "lstm")


def run() -> None:
    """The Frobenius map against autograd, then the spectral map by itself."""
    torch.set_num_threads(1)
    rows = []
    for name in CELLS:
        seen = _moment(name, 50, 32)
        weights, trace = seen.network.weights(), seen.trace()
        frobenius_map(seen.network.cell, weights, trace)
        ours, theirs = [], []
        for _ in range(ROUNDS):  # in turn, so that a noisy minute hits both
            ours += [
                _seconds(lambda: frobenius_map(seen.network.cell, weights, trace))  # noqa: B023
                for _ in range(3)
            ]
            theirs.append(_seconds(lambda: by_autograd(seen)))  # noqa: B023
        mine, other = statistics.median(ours), statistics.median(theirs)
        rows.append([name, mine * 1000, other, other / mine])
    print("Frobenius norms of every pair, T = 50, H = 32\n")
    table(["", "rnnviz (ms)", "autograd (s)", "autograd / rnnviz"], rows)
    print("Spectral norms of every pair, each within 5 %, T = 200, H = 64\n")
    table(["", "seconds", "blocks", "seconds to the first"], [_spectral(name) for name in CELLS])


def by_autograd(seen: Moment) -> None:
    """Every row of every ds_t/ds_k for k up to t; what would be made of them is left out."""
    cell, weights, inputs = seen.network.cell, seen.network.weights(), seen.trace().inputs[:, :1]
    joined: list[torch.Tensor] = []
    state = None
    for x in inputs:
        now = next(unroll(cell, weights, x[None], state))
        joined.append(torch.cat([now[name] for name in cell.states], -1).requires_grad_())
        parts = joined[-1].chunk(len(cell.states), -1)
        state = dict(zip(cell.states, parts, strict=True))
    for t, s in enumerate(joined):
        for i in range(s.shape[1]):
            torch.autograd.grad(s[0, i], joined[: t + 1], retain_graph=True)


def _spectral(name: str) -> list[object]:
    seen = _moment(name, 200, 64)
    weights, trace = seen.network.weights(), seen.trace()
    totals, firsts, blocks = [], [], column_blocks(200, 64 * len(seen.network.cell.states))
    for _ in range(3):
        started = time.perf_counter()
        jacobians = read_jacobians(seen.network.cell, weights, trace)
        largest = largest_singular(jacobians)
        for i, columns in enumerate(blocks):
            with_frobenius(jacobians, columns, largest=largest)
            if i == 0:
                firsts.append(time.perf_counter() - started)
        totals.append(time.perf_counter() - started)
    return [name, statistics.median(totals), len(blocks), statistics.median(firsts)]


def _moment(cell: str, length: int, hidden: int) -> Moment:
    return moment(Experiment(task="adding", cell=cell, length=length, hidden=hidden, batch=2))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
