"""Where a network's numbers end: the first NaN or infinity in a pass forward and backward."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

from .moment import Moment


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
