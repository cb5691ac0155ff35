"""What a network that names the next symbol thinks of a text, and what it writes itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..bptt import Values
from ..step import repeatable
from ..tasks import TASKS
from ..tasks.task import WRITING_STREAM
from .moment import Moment
from .readings import Reading

MOST_WRITTEN = 2000


@dataclass(frozen=True)
class Opinion:
    """Arrays over the T steps of one sequence.

    surprise: (T,) -ln p of the symbol that came next, in nats, NaN at the last step where none is known;
    top: (T, K) the K likeliest next symbols; p: (T, K) their probabilities.
    """

    surprise: np.ndarray
    top: np.ndarray
    p: np.ndarray


def opinion(reading: Reading, sequence: int = 0, most: int = 3) -> Opinion:
    """For a reading with an answer at every step, inputs and answers being the same symbols."""
    y = reading.outputs[:, sequence]  # (T, O)
    log_p = log_softmax(y)
    T = len(y)
    symbols = reading.batch.inputs[:, sequence].argmax(-1)
    following = np.append(symbols[1:], -1)
    if reading.known:
        following = reading.batch.targets[:, sequence].astype(int)
    surprise = np.full(T, np.nan)
    there = following >= 0
    surprise[there] = -log_p[there, following[there]]
    top = np.argsort(-log_p, 1, kind="stable")[:, :most]
    return Opinion(surprise, top, np.exp(np.take_along_axis(log_p, top, 1)))


def log_softmax(y: np.ndarray) -> np.ndarray:
    """Of the last axis; NaN stays NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        y = y - y.max(-1, keepdims=True)
        return np.asarray(y - np.log(np.exp(y).sum(-1, keepdims=True)))


def write(moment: Moment, beginning: np.ndarray, count: int, temperature: float, seed: int) -> np.ndarray:
    """(count,) symbols that the network writes after a beginning, (T,) symbols, at least one.

    Each is drawn from softmax(y / temperature) and read as the next input; at temperature 0 it is the
    likeliest. The same seed writes the same. Ends early where an output is not a number. Raises ValueError
    for a network that cannot: one that reads both ways, or whose answers are not its next inputs.
    """
    experiment = moment.experiment
    task = TASKS[experiment.task]
    if not task.tells_answers or experiment.directions > 1 or experiment.architecture != "one":
        raise ValueError("only a network that reads forward and names the next symbol can write.")
    if not 0 < count <= MOST_WRITTEN:
        raise ValueError(f"count: got {count}; allowed: 1 to {MOST_WRITTEN:,}.")
    rng = np.random.default_rng([experiment.seed, WRITING_STREAM, seed])
    states: list[Values | None] = [None] * experiment.layers
    written: list[int] = []
    with repeatable(), torch.no_grad():
        for symbol in beginning[:-1]:
            _output(moment, int(symbol), states)
        symbol = int(beginning[-1])
        for _k in range(count):
            y = _output(moment, symbol, states)
            if not np.isfinite(y).all():
                break
            if temperature > 0:
                p = np.exp(log_softmax(y / temperature))
                symbol = int(min(np.searchsorted(np.cumsum(p), rng.random() * p.sum(), "right"), len(p) - 1))
            else:
                symbol = int(y.argmax())
            written.append(symbol)
    return np.array(written, dtype=np.int64)


def _output(moment: Moment, symbol: int, states: list[Values | None]) -> np.ndarray:
    """One step of all layers, whose states are replaced; returns (O,)."""
    network = moment.network
    x = torch.zeros(1, 1, TASKS[moment.experiment.task].input_size, dtype=network.flat.dtype)
    x[..., symbol] = 1.0
    for k, (layer,) in enumerate(network.chain.stacks[0].layers):
        trace = layer.forward(network.weights(k), x, states[k])
        states[k] = {name: trace.values[name][-1] for name in network.cell.states}
        x = trace.values["h"]
    y: np.ndarray = network.read(x[-1])[0].double().numpy()
    return y
