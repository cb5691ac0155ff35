"""A training step as `rnnviz.train` makes it, against PyTorch and JAX in the same run.

Ours has everything that a run has: data, clipping, optimizer, the record of dL/dh_t at every time step, and
validation at its regular steps. The peers make forward, backward, clipping and Adam on one fixed batch. One
thread, float32. JAX takes part where it is installed, as `make bench` does.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from rnnviz import Experiment, advance, begin
from rnnviz.training import validation_interval

from .machine import table

INPUTS, RUN = 2, 2000  # channels of the adding task; steps of the run that ours are taken from
ROUNDS, SECONDS = 7, 0.4  # rounds of all contestants in turn, and how long each runs in one
BASE = {"B": 32, "T": 100, "H": 64}
CELLS = {"RNN": "tanh", "LSTM": "lstm", "GRU": "gru"}
SWEEPS = {"H": (16, 32, 64, 128, 256), "T": (20, 50, 100, 300, 1000), "B": (1, 8, 32, 128)}

Steps = Callable[[int], None]  # makes that many steps


def run() -> None:
    """The main tables, then the sweeps."""
    torch.set_num_threads(1)
    for size in (BASE, {"B": 1, "T": 100, "H": 32}):
        print(
            f"B = {size['B']}, T = {size['T']}, H = {size['H']}; ms a step, and times as fast as the peer\n"
        )
        _compare(size)
    print("nn.RNN/LSTM/GRU against ours where one size differs from B = 32, T = 100, H = 64:\n")
    _sweeps()


def _compare(size: dict[str, int]) -> None:
    with_jax = find_spec("jax") is not None
    rows = []
    for name, cell in CELLS.items():
        contestants: dict[str, Steps] = {
            "ours": _ours(cell, **size),
            "module": _module(getattr(nn, name), **size),
            "loop": _loop(getattr(nn, f"{name}Cell"), **size),
        }
        if with_jax:
            contestants["jax"] = _jax(cell, **size)
        ms = _medians(contestants)
        rows.append([name, *ms.values(), *(ms[peer] / ms["ours"] for peer in ms if peer != "ours")])
    peers = ["torch module", "torch cell loop, retain_grad", *(["JAX lax.scan, jitted"] if with_jax else [])]
    table(["", "rnnviz", *peers, *(f"{peer} / rnnviz" for peer in peers)], rows)


def _sweeps() -> None:
    rows = []
    for name, cell in CELLS.items():
        for letter, values in SWEEPS.items():
            for value in values:
                size = {**BASE, letter: value}
                ms = _medians(
                    {"ours": _ours(cell, **size), "module": _module(getattr(nn, name), **size)}, rounds=3
                )
                rows.append(
                    [name, f"{letter} = {value}", ms["ours"], ms["module"], ms["module"] / ms["ours"]]
                )
    table(["", "size", "rnnviz (ms)", "torch module (ms)", "torch module / rnnviz"], rows)


def _medians(contestants: dict[str, Steps], rounds: int = ROUNDS) -> dict[str, float]:
    """ms a step; the contestants take turns, so that a noisy minute hits them all."""
    counts, times = {}, {name: [] for name in contestants}  # type: dict[str, int], dict[str, list[float]]
    for name, steps in contestants.items():
        steps(2)
        started = time.perf_counter()
        steps(2)
        counts[name] = max(2, round(SECONDS * 2 / (time.perf_counter() - started)))
    for _ in range(rounds):
        for name, steps in contestants.items():
            started = time.perf_counter()
            steps(counts[name])
            times[name].append((time.perf_counter() - started) / counts[name] * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def _ours(cell: str, B: int, T: int, H: int) -> Steps:
    """A run from its middle on; each call makes whole stretches between two validations, and those."""
    experiment = Experiment(task="adding", length=T, cell=cell, hidden=H, batch=B, steps=1_000_000)
    interval = validation_interval(RUN, B)
    state = begin(experiment)
    validate = begin(experiment.changed(steps=interval))
    owed = 0.0

    def steps(count: int) -> None:
        nonlocal owed
        advance(state, steps=count)
        owed += count / interval
        while owed >= 1.0:  # a state that has made no step is validated before its first
            validate.validated = -1
            validate.step = interval
            advance(validate, steps=1)
            owed -= 1.0

    return steps


def _train(parameters: Sequence[nn.Parameter], forward: Callable[[Tensor], Tensor], B: int, T: int) -> Steps:
    optimizer = torch.optim.Adam(parameters, lr=0.001)
    x, target = torch.rand(T, B, INPUTS), torch.rand(B, 1)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(forward(x), target))
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    return steps


def _module(kind: Callable[[int, int], nn.Module], B: int, T: int, H: int) -> Steps:
    rnn, out = kind(INPUTS, H), nn.Linear(H, 1)
    return _train([*rnn.parameters(), *out.parameters()], lambda x: out(rnn(x)[0][-1]), B, T)


def _loop(kind: Callable[[int, int], nn.Module], B: int, T: int, H: int) -> Steps:
    cell, out = kind(INPUTS, H), nn.Linear(H, 1)

    def forward(x: Tensor) -> Tensor:
        state = None
        for step in x:
            state = cell(step, state)
            h = state[0] if isinstance(state, tuple) else state
            h.retain_grad()
        read: Tensor = out(h)
        return read

    return _train([*cell.parameters(), *out.parameters()], forward, B, T)


def _jax(cell: str, B: int, T: int, H: int) -> Steps:
    """lax.scan over the step, jitted with its backward pass, clipping and Adam as one function."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import jax.numpy as jnp

    gates = {"tanh": 1, "lstm": 4, "gru": 3}[cell]
    keys = jax.random.split(jax.random.key(0), 6)
    shapes = ((gates * H, INPUTS), (gates * H, H), (gates * H,), (gates * H,), (1, H), (1,))
    bound = H**-0.5
    first = [jax.random.uniform(k, s, minval=-bound, maxval=bound) for k, s in zip(keys, shapes, strict=True)]
    x, target = jax.random.uniform(keys[0], (T, B, INPUTS)), jax.random.uniform(keys[1], (B, 1))

    def step(weights: Any, state: Any, a_x: Any) -> Any:
        _, W, _, b, _, _ = weights
        h = state[0]
        a_h = h @ W.T + b
        if cell == "tanh":
            h = jnp.tanh(a_x + a_h)
            return (h,), None
        if cell == "gru":
            (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(a_x, 3, -1), jnp.split(a_h, 3, -1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * h_n)
            return ((1 - z) * n + z * h,), None
        i, f, g, o = jnp.split(a_x + a_h, 4, -1)
        c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    def loss(weights: Any) -> Any:
        U, _, b, _, V, d = weights
        zero = jnp.zeros((B, H))
        start = (zero, zero) if cell == "lstm" else (zero,)
        last, _ = jax.lax.scan(lambda s, a: step(weights, s, a), start, x @ U.T + b)
        return jnp.mean((last[0] @ V.T + d - target) ** 2)

    def update(weights: Any, mean: Any, square: Any, t: Any) -> Any:
        grads = jax.grad(loss)(weights)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads))
        grads = [g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)) for g in grads]
        mean = [0.9 * m + 0.1 * g for m, g in zip(mean, grads, strict=True)]
        square = [0.999 * s + 0.001 * g * g for s, g in zip(square, grads, strict=True)]
        root = [jnp.sqrt(s / (1 - 0.999**t)) + 1e-8 for s in square]
        rate = 0.001 / (1 - 0.9**t)
        weights = [w - rate * m / r for w, m, r in zip(weights, mean, root, strict=True)]
        return weights, mean, square

    jitted: Any = jax.jit(update)
    held: dict[str, Any] = {"state": (first, [0 * w for w in first], [0 * w for w in first]), "t": 0}

    def steps(count: int) -> None:
        for _ in range(count):
            held["t"] += 1
            held["state"] = jitted(*held["state"], float(held["t"]))
        jax.block_until_ready(held["state"])

    return steps
