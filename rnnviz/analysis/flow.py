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

    to_source, to_largest: log10 of the norm at `first` over that at `source`, and over the largest, which
    stands at `largest`; minus infinity where nothing arrives, NaN where there is nothing to compare with.
    factor: by which each step of the way changes the norm, the geometric mean; steps: how many there are.
    fed: new gradient comes in at every step, so that the curve is no measure of what vanishes: the task has a
    loss at every step, or another direction of a layer above brings it from the other end.

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
    largest: int
    steps: int
    to_source: float
    to_largest: float
    factor: float
    fed: bool


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
    largest = int(np.argmax(np.where(np.isnan(read), -1.0, read)))
    to_source, to_largest = (_decades(read[0], read[t]) for t in (source, largest))
    verdict: Verdict = "healthy"
    if decided == "not finite":
        verdict = "not finite"
    elif decades <= -VANISHING_DECADES:
        verdict = "vanishing"
    elif decades >= EXPLODING_DECADES:
        verdict = "exploding"
    places = [T - 1 - t if reverse else t for t in (0, source, largest)]
    with np.errstate(over="ignore"):
        factor = float(np.float64(10.0) ** (to_source / source)) if source else math.nan
    return Ratio(
        verdict, decided, decades, first=places[0], source=places[1], largest=places[2], steps=source,
        to_source=to_source, to_largest=to_largest, factor=factor, fed=bounded(e) or both,
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


@dataclass(frozen=True)
class Where:
    """Where numbers end in a pass forward and backward.

    stage: the first kind of thing that is not finite, in the order in which they are computed: a "state" on
    the way forward, an "output", the "loss", the "gradient" of a state on the way back, or that of a
    "weight".
    name: of the state ("h", "c"), or of the weight; "y" for outputs, "loss" for the loss.
    what: "Inf" where any number of it is infinite, since that comes before what is made of it, else "NaN".
    t: time step in the order of the sequence, counted from 0, a decoder's after the encoder's; sequence: the
    first of the batch with such a number there; layer, direction: None, as these are, where it has none.
    parameters: the names of weights that were not finite to begin with, usually none.
    """

    stage: Literal["state", "output", "loss", "gradient", "weight"]
    name: str
    what: Literal["Inf", "NaN"]
    layer: int | None = None
    direction: int | None = None
    t: int | None = None
    sequence: int | None = None
    parameters: tuple[str, ...] = ()


def first_not_finite(moment: Moment) -> Where | None:
    """Where NaN or infinity began: forward layer by layer, then the outputs and the loss, then the way back.

    Within a layer the step counts that is reached first, and of two directions that reach one at the same
    time the forward one. None where everything is finite.
    """
    found = _forward(moment) or _outputs(moment) or _backward(moment) or _weights(moment)
    if found is None:
        return None
    parameters = moment.network.parameters
    return replace(found, parameters=tuple(name for name, w in parameters.items() if not w.isfinite().all()))


def _forward(moment: Moment) -> Where | None:
    offset = 0
    for traces in moment.true.passage.traces:
        for layer, directions in enumerate(traces):
            # c is computed before h.
            values = [[(s, t.values[s]) for s in reversed(moment.network.cell.states)] for t in directions]
            if found := _earliest("state", layer, values, backward=(False, True), offset=offset):
                return found
        offset += len(traces[0][0].inputs)
    return None


def _backward(moment: Moment) -> Where | None:
    every = moment.true.passage.traces
    offset = sum(len(traces[0][0].inputs) for traces in every)
    for traces in reversed(every):
        offset -= len(traces[0][0].inputs)
        for layer, directions in reversed(list(enumerate(traces))):
            values = [[(s, t.total[s]) for s in moment.network.cell.states] for t in directions]
            if found := _earliest("gradient", layer, values, backward=(True, False), offset=offset):
                return found
    return None


def _earliest(
    stage: Literal["state", "gradient"], layer: int, values: list[list[tuple[str, torch.Tensor]]],
    backward: tuple[bool, bool], offset: int,
) -> Where | None:  # fmt: skip
    """The first step at which a layer's values (T, B, H), by direction, are not finite.

    backward: of each direction, whether its steps come from the end.
    """
    candidates = []
    for d, named in enumerate(values):
        for order, (name, value) in enumerate(named):
            bad = ~value.isfinite().flatten(1).all(1)  # (T,)
            if bool(bad.any()):
                steps = bad.nonzero()[:, 0]
                t = int(steps[-1] if backward[d] else steps[0])
                when = len(value) - 1 - t if backward[d] else t
                candidates.append((when, d, order, t, name, value[t]))
    if not candidates:
        return None
    _, d, _, t, name, row = min(candidates, key=lambda one: one[:3])
    sequence = int((~row.isfinite().all(-1)).nonzero()[0, 0])
    return Where(stage, name, _what(row), layer, d, offset + t, sequence)


def _outputs(moment: Moment) -> Where | None:
    y, loss = moment.true.outputs, moment.true.loss
    if not bool(y.isfinite().all()):
        T = moment.experiment.steps_per_sequence()
        if y.dim() == 2:
            y = y[None]
        bad = (~y.isfinite().all(-1)).nonzero()[0]  # the first answer, and its first sequence
        a, sequence = int(bad[0]), int(bad[1])
        return Where("output", "y", _what(y[a]), t=T - len(y) + a, sequence=sequence)
    if not math.isfinite(loss):
        return Where("loss", "loss", "NaN" if math.isnan(loss) else "Inf")
    return None


def _weights(moment: Moment) -> Where | None:
    """Of the true gradient, or else of what training made of it."""
    for grad in (moment.true.grad, moment.used.grad):
        if not bool(grad.isfinite().all()):
            for name, view in moment.network.layout.views(grad).items():
                if not bool(view.isfinite().all()):
                    return Where("weight", name, _what(view))
    return None


def _what(values: torch.Tensor) -> Literal["Inf", "NaN"]:
    return "Inf" if bool(values.isinf().any()) else "NaN"
