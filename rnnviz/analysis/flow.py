"""How the gradient flows back through time: its size at every step, and whether it vanishes or explodes.

The gradient is dL/ds_t of one sequence's loss, the total derivative through everything that comes later. Its
size is the Euclidean norm over the units, as it is recorded in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from ..step import repeatable
from ..tasks import TASKS
from .diagnosis import EXPLODING_DECADES, VANISHING_DECADES, WAY, bounded
from .moment import Moment

LOW, HIGH = 0.1, 0.9  # quantiles over the batch: four sequences in five lie between them

Verdict = Literal["vanishing", "exploding", "healthy", "not finite"]
Decided = Literal["way", "middle", "alone", "nothing", "not finite"]


@dataclass(frozen=True)
class Flow:
    """Norms of dL/ds_t over the batch, (T,) float64 each, in the order of the sequence.

    mean: as it is recorded, see `recording.Chunk`; median; low and high: the quantiles LOW and HIGH. What is
    not finite stays what it is: NaN where any sequence's norm is NaN. With an encoder and a decoder the
    decoder's steps follow the encoder's.

    used: the same of what training had in its place, with truncated backpropagation or with deltas clipped on
    the way back; None where it used this gradient.
    """

    mean: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    used: Flow | None = None


def flow(moment: Moment, state: str = "h", layer: int = 0, direction: int = 0) -> Flow:
    """The flow of the true gradient through a state, "h" or "c", of one layer in one direction.

    Raises ValueError for a state, layer or direction that the network does not have.
    """
    check(moment, state, layer, direction)
    with repeatable():
        true = _of_trace(moment.true.tape.traces[layer][direction], state)
        if moment.used.full is None:
            return true
        return replace(true, used=_of_trace(moment.used.tape.traces[layer][direction], state))


def alone(moment: Moment, state: str = "h", layer: int = 0, direction: int = 0) -> np.ndarray:
    """(T,) norms of dL/ds_t of the loss alone that is read last, the mean over the batch as in `Flow`.

    For tasks with a loss at every step: that of the last step, or of the first for a layer that reads
    backward. It is the term of the whole gradient that had the longest way.
    """
    check(moment, state, layer, direction)
    last = 0 if direction else moment.network.answered - 1
    norms: np.ndarray = moment.of_answer(last).traces[layer][direction].grad_norms(state)
    return norms * moment.experiment.batch


def check(moment: Moment, state: str, layer: int, direction: int) -> None:
    """Raise ValueError unless the network has such a state."""
    e, cell = moment.experiment, moment.network.cell
    if state not in cell.states:
        raise ValueError(f"state: got {state!r}; allowed for {cell.name}: {', '.join(cell.states)}.")
    for name, value, count in (("layer", layer, e.layers), ("direction", direction, e.directions)):
        if not 0 <= value < count:
            raise ValueError(f"{name}: got {value}; allowed: 0 to {count - 1}.")


def _of_trace(trace: object, state: str) -> Flow:
    """Of a trace, of several joined in time, or of sums over several ways back."""
    total: torch.Tensor = trace.total[state]  # type: ignore[attr-defined]
    B = total.shape[1]
    # The task's loss is a batch mean; one sequence's gradient is B times its share.
    mean = trace.grad_norms(state) * B  # type: ignore[attr-defined]
    each = total.double().norm(dim=-1).numpy() * B  # (T, B)
    each.sort(axis=1)  # NaN last
    low, median, high = (_quantile(each, q) for q in (LOW, 0.5, HIGH))
    return Flow(mean, median, low, high)


def _quantile(ascending: np.ndarray, q: float) -> np.ndarray:
    """Of each row (n, B) between the two nearest ranks on a straight line; NaN where any element is."""
    rank = q * (ascending.shape[1] - 1)
    k = int(rank)
    low, high = ascending[:, k], ascending[:, min(k + 1, ascending.shape[1] - 1)]
    share = rank - k
    with np.errstate(invalid="ignore"):  # between infinity and itself there is no line
        between = low + (high - low) * share if share else low
    quantile = np.where(low == high, low, between)
    return np.where(np.isnan(ascending[:, -1]), np.nan, quantile)


@dataclass(frozen=True)
class Ratio:
    """What becomes of a gradient on its way back, as numbers for a sentence. Time steps count from 0.

    The way begins at `source`, the last step that is read with a loss of its own (where all is read before
    the first answer: the first of them, which everything passes), and ends at `first`, which is read first.

    to_source: log10 of the norm at `first` over that at `source`; minus infinity where nothing arrives, NaN
    where there is nothing to compare with.
    factor: by which each step of the way changes the norm, the geometric mean; steps: how many there are.

    verdict, by `decades` and the limits of `diagnosis`: vanishing at -VANISHING_DECADES or below, exploding
    at EXPLODING_DECADES or above. Which number that is, `decided` says:
    way: log10 of the norm at `first` over that at a share WAY of the way, as the diagnosis measures;
    middle: in a layer below the last that reads both ways, of the least norm between the ends, in whichever
    direction brings more of it, over that at the end which it is nearer to;
    alone: with a loss at every step the same as `way`, of the gradient of the loss alone that is read last
    (see `alone`), since that of all of them hides what comes back from the later ones;
    nothing: there is no gradient at any step; not finite: some norm is not, and the rest means little.
    """

    verdict: Verdict
    decided: Decided
    decades: float
    first: int
    source: int
    steps: int
    to_source: float
    factor: float


def ratio(moment: Moment, state: str = "h", layer: int = 0, direction: int = 0) -> Ratio:
    """What the way back through time does to the true gradient of one layer in one direction.

    Raises ValueError as `flow` does.
    """
    e, reverse = moment.experiment, direction == 1
    single = bounded(e)
    norms = alone(moment, state, layer, direction) if single else flow(moment, state, layer, direction).mean
    read = norms[::-1] if reverse else norms  # in the order of reading
    T = len(norms)
    task = TASKS[e.task]
    rows = T - task.answered(e.length) if task.reads_first else T  # tasks that read first are read forward
    source = rows if task.reads_first else T - 1
    if single and reverse:  # the first answer is read last, after all that follows it
        source = task.answered(e.length) - 1
        rows = source + 1
    both = e.directions == 2 and layer < e.layers - 1
    decided, decades = _decision(moment, state, layer, read[:rows], both)
    to_source = _decades(read[0], read[source])
    verdict: Verdict = "healthy"
    if decided == "not finite":
        verdict = "not finite"
    elif decades <= -VANISHING_DECADES:
        verdict = "vanishing"
    elif decades >= EXPLODING_DECADES:
        verdict = "exploding"
    places = [T - 1 - t if reverse else t for t in (0, source)]
    with np.errstate(over="ignore"):
        factor = float(np.float64(10.0) ** (to_source / source)) if source else math.nan
    return Ratio(
        verdict, decided, decades, first=places[0], source=places[1], steps=source, to_source=to_source,
        factor=factor,
    )  # fmt: skip


def _decision(moment: Moment, state: str, layer: int, read: np.ndarray, both: bool) -> tuple[Decided, float]:
    """Which number the verdict rests on; see `Ratio`. `read` are the norms in the order of reading."""
    others = flow(moment, state, layer, 1).mean if both else read
    if not (np.isfinite(read).all() and np.isfinite(others).all()):
        return "not finite", math.nan
    if not read.any():
        return "nothing", -math.inf
    single = bounded(moment.experiment)
    if both and not single:
        return "middle", _middle(np.maximum(flow(moment, state, layer, 0).mean, others))
    decided: Decided = "alone" if single else "way"
    row = round(WAY * (len(read) - 1))
    if row == 0:
        return decided, 0.0  # no way to speak of
    decades = _decades(read[0], read[row])
    return decided, -math.inf if math.isnan(decades) else decades  # it is lost before: 0 here and there


def _middle(heard: np.ndarray) -> float:
    """See `diagnosis`: the outer tenths are left out, as with one direction the last fifth."""
    edge = round((1 - WAY) / 2 * (len(heard) - 1))
    if len(heard) - 2 * edge < 3:
        return 0.0
    least = edge + int(np.argmin(heard[edge : len(heard) - edge]))
    end = min(edge, len(heard) - 1 - edge, key=lambda t: heard[t])
    return -math.inf if heard[least] == 0.0 else _decades(heard[least], heard[end])


def _decades(above: float, below: float) -> float:
    """log10 of a quotient: minus infinity for 0 over something, NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log10(above) - np.log10(below))
