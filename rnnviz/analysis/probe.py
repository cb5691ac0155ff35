"""What a state still knows of what was read: linear probes, and correlations with what happened when.

A probe is a ridge regression from the units of a state at time t to something that was read at another time,
fitted on some sequences and scored on others that it has not seen. It shows what can be read off linearly;
that the network makes use of it, it does not show (Alain & Bengio, Understanding intermediate layers using
linear classifier probes, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..network import EVALUATE_ROWS
from ..step import repeatable
from ..tasks import TASKS, Batch
from ..tasks.task import PROBE_STREAM
from .dynamics import Place
from .moment import Moment
from .readings import symbolic

FIT, SCORE = 512, 256  # sequences to fit a probe on, and to score it with
MOST_TIMES = 60  # time steps at which states are probed
MOST_MARKS = 4
MOST_LAG = 30
RIDGE = 1e-3  # times the mean variance of a unit


@dataclass(frozen=True)
class Probe:
    """How well something can be read off the state. Arrays are (N,), one number for each entry of `at`.

    target: what is looked for; at: time steps counted from 1, or how many steps ago.
    score: for a number R^2, the share of its variance that is predicted, below 0 where a constant is better;
    for a symbol the share that is named rightly. chance: the score of whoever always says the most frequent
    symbol, 0 for a number.
    """

    target: str
    at: np.ndarray
    score: np.ndarray
    chance: float
    symbol: bool
    mark: int | None = None  # the marked step, counted from 1, where it is the same in all sequences


def probes(moment: Moment, place: Place, state: str) -> list[Probe]:
    """Of each marked input over time; where a task marks none, of the input some steps ago. Kept."""
    found: list[Probe] = moment.once(("probes", place, state), lambda: _probes(moment, place, state))
    return found


def _probes(moment: Moment, place: Place, state: str) -> list[Probe]:
    experiment = moment.experiment
    task = TASKS[experiment.task]
    rng = np.random.default_rng([experiment.seed, PROBE_STREAM])
    batch = task.sample(rng, experiment.length, FIT + SCORE)
    T = moment.network.reads(len(batch.inputs))[place.part]
    offset = sum(moment.network.reads(len(batch.inputs))[: place.part])
    symbol = symbolic(experiment.task)
    if not batch.marks.shape[1]:
        lags = np.arange(min(T, MOST_LAG))
        (last,) = _states(moment, batch, place, state, [T - 1 if not place.direction else 0])
        now = offset + T - 1 if not place.direction else offset
        seen = [now - lag if not place.direction else now + lag for lag in lags]
        truth = [batch.inputs[t] for t in seen if 0 <= t < len(batch.inputs)]
        score = [_score(last, x, symbol) for x in truth]
        known = [_chance(x, symbol) for x, s in zip(truth, score, strict=True) if np.isfinite(s)]
        chance = float(np.mean(known)) if known else 0.0
        return [Probe("lag", lags[: len(score)], np.array(score), chance, symbol)]
    times = np.unique(np.linspace(0, T - 1, min(T, MOST_TIMES)).round().astype(int))
    states = _states(moment, batch, place, state, times)
    found = []
    for m in range(min(MOST_MARKS, batch.marks.shape[1])):
        at = batch.marks[:, m]
        truth_m = batch.inputs[at, np.arange(len(at))]  # (N, I)
        score = [_score(one, truth_m, symbol) for one in states]
        same = int(at[0]) + 1 if (at == at[0]).all() else None
        chance = _chance(truth_m, symbol)
        found.append(Probe(f"mark {m + 1}", times + offset + 1, np.array(score), chance, symbol, same))
    return found


def _states(
    moment: Moment, batch: Batch, place: Place, state: str, times: Sequence[int] | np.ndarray
) -> list[np.ndarray]:
    """(N, H) for each of the times, float64."""
    network, pieces = moment.network, []
    inputs, _targets = network.tensors(batch)
    keep = frozenset({state})
    with repeatable():
        for start in range(0, inputs.shape[1], EVALUATE_ROWS):
            passage = network.forward(inputs[:, start : start + EVALUATE_ROWS], keep=keep)
            values = passage.traces[place.part][place.layer][place.direction].values[state]
            pieces.append(values[np.asarray(times)].double().numpy())
    return list(np.concatenate(pieces, 1))


def _score(states: np.ndarray, truth: np.ndarray, symbol: bool) -> float:
    """states: (N, H); truth: (N, I), of which the channels that vary are looked for."""
    if not np.isfinite(states).all():
        return np.nan
    X, Y = states, truth if symbol else truth[:, truth.std(0) > 1e-9]
    if not Y.shape[1]:
        return np.nan
    mean_x, mean_y = X[:FIT].mean(0), Y[:FIT].mean(0)
    A, B = X[:FIT] - mean_x, Y[:FIT] - mean_y
    C = A.T @ A
    C[np.diag_indices_from(C)] += RIDGE * max(np.trace(C) / len(C), 1e-12)
    said = (X[FIT:] - mean_x) @ np.linalg.solve(C, A.T @ B) + mean_y
    held = Y[FIT:]
    if symbol:
        if (Y.max(0) == Y.min(0)).all():
            return np.nan  # always the same symbol: nothing is to be told
        return float((said.argmax(1) == held.argmax(1)).mean())
    # All channels that vary are the same thing for tasks with one: the value.
    return float(1.0 - ((said - held) ** 2).sum() / ((held - mean_y) ** 2).sum())


def _chance(truth: np.ndarray, symbol: bool) -> float:
    if not symbol:
        return 0.0
    most = truth[:FIT].sum(0).argmax()
    return float((truth[FIT:].argmax(1) == most).mean())


def correlations(
    values: np.ndarray, inputs: np.ndarray, marks: np.ndarray, backward: bool = False
) -> tuple[np.ndarray, list[str | int]]:
    """How closely each unit follows what happens, over all time steps of all sequences.

    values: (T, B, H); inputs: (T, B, I); marks: (B, M). Returns (H, E) correlations of Pearson, NaN where
    one of the two does not vary, and what the E events are: the number of an input channel, "marked" (1 at a
    marked step), "since" (1 from the first marked step that is read on), "time" (t itself). A channel that is
    1 at the marked steps alone is left out, as it is "marked". backward: the layer reads from the end.
    """
    T, B, _H = values.shape
    events: list[np.ndarray] = [inputs[..., k] for k in range(inputs.shape[-1])]
    names: list[str | int] = list(range(inputs.shape[-1]))
    if marks.shape[1]:
        marked = np.zeros((T, B))
        for m in range(marks.shape[1]):
            there = marks[:, m] < T
            marked[marks[there, m], np.flatnonzero(there)] = 1.0
        own = [k for k, event in enumerate(events) if np.array_equal(event, marked)]
        events = [event for k, event in enumerate(events) if k not in own]
        names = [name for name in names if name not in own]
        order = slice(None, None, -1 if backward else 1)
        events += [marked, (np.cumsum(marked[order], 0)[order] > 0).astype(float)]
        names += ["marked", "since"]
    events.append(np.broadcast_to(np.arange(T, dtype=float)[:, None], (T, B)))
    names.append("time")
    X = values.reshape(T * B, -1).astype(np.float64)
    E = np.stack([event.reshape(T * B) for event in events], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        X, E = X - X.mean(0), E - E.mean(0)
        found = (X.T @ E) / np.sqrt(np.outer((X**2).sum(0), (E**2).sum(0)))
    return np.where(np.isfinite(found), found, np.nan), names


__all__ = ["Probe", "correlations", "probes"]
