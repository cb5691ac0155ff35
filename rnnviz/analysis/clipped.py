"""What each clipping rule makes of one gradient: how much shorter, which elements, and how far it is bent."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..clipping import CLIPPINGS, SCOPES, Clipping, Outcome
from ..network import Network, Pass
from ..step import dropout_masks, repeatable, scoped
from .moment import Moment

#: Rules that can be tried on a single gradient: the others look back at earlier ones.
RULES = tuple(name for name, rule in CLIPPINGS.items() if rule.limit != "moving")


@dataclass(frozen=True)
class Clipped:
    """What one rule in one scope makes of a gradient.

    rule, scope: their names; a rule that knows no scopes has "all".
    before, after: what the rule measures (the norm over the scope, or the largest element) of the gradient
    and of what it left; limit: what that was compared with, NaN where there is no such number; clipped:
    whether it did anything.
    elements, rows: shares of the elements, and of the rows (a bias is one row), in the scope that changed,
    among those that were not 0; NaN where all were.
    norm: the Euclidean norm over all parameters of what is left.
    cosine, angle (in degrees): between that and the true gradient, over all parameters: where a rule shortens
    only a part, the whole is bent. An angle as small as rounding makes it is 0; NaN where either vector is 0
    or not finite.
    """

    rule: str
    scope: str
    before: float
    after: float
    limit: float
    clipped: bool
    elements: float
    rows: float
    norm: float
    cosine: float
    angle: float


class Sizes(NamedTuple):
    """Of one parameter: the norm and the largest element, without its sign, of its gradient; the norm of its
    weights."""

    grad: float
    largest: float
    weights: float


def compare(moment: Moment, threshold: float, scopes: Iterable[str] = SCOPES) -> list[Clipped]:
    """Every rule of RULES in every scope, with the same threshold, on the true gradient of a moment.

    Rules that know no scopes come once. Among them is the one that acts inside the backward pass, which is
    run again for it.

    Raises ValueError for a scope that there is not, or a threshold that is not above 0.
    """
    if not threshold > 0:
        raise ValueError(f"threshold: got {threshold!r}; allowed: a number above 0.")
    chosen = tuple(scopes)
    if wrong := [scope for scope in chosen if scope not in SCOPES]:
        raise ValueError(f"scopes: got {wrong[0]!r}; allowed: {', '.join(SCOPES)}.")
    with repeatable():
        found = []
        for name in RULES:
            rule = CLIPPINGS[name]
            made = _inside(moment, threshold) if rule.inside else moment.true
            for scope in chosen if rule.uses_scope else ("all",):
                result = replace(made, grad=made.grad.clone())  # rules clip in place
                done = rule.apply(scoped(moment.network, result, scope), threshold, array("d"))
                found.append(_compared(moment, rule, scope, result.grad, done))
        return found


def _inside(moment: Moment, threshold: float) -> Pass:
    """The pass with a limit on the way back."""
    # A network of its own: others may ask this one at the same time, and its buffers are for one at a time.
    own = Network(moment.experiment, moment.network.flat, moment.network.kernel)
    return own.loss_and_gradient(moment.batch, dropout_masks(moment.experiment, moment.step), limit=threshold)


def _compared(moment: Moment, rule: Clipping, scope: str, grad: Tensor, done: Outcome) -> Clipped:
    layout, true = moment.network.layout, moment.true.grad
    views, elements, rows, start = layout.views(grad), [], [], 0
    for name, was in layout.views(true).items():
        if start < layout.scopes[scope]:
            changed, counts = (views[name] != was) & (was != 0), was != 0
            elements.append((int(changed.sum()), int(counts.sum())))
            rows.append((int(changed.any(-1).sum()), int(counts.any(-1).sum())))
        start += was.numel()
    norm = float(grad.double().norm())
    return Clipped(rule.name, scope, *done, _share(elements), _share(rows), norm, *between(grad, true))


def _share(counts: Iterable[tuple[int, int]]) -> float:
    some, every = (sum(each) for each in zip(*counts, strict=True))
    return some / every if every else math.nan


def between(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Cosine of the angle between two vectors, and the angle in degrees; both in float64.

    The angle is Kahan's, 2 atan2(|u - v|, |u + v|) of the unit vectors, which is exact for small ones as
    well; what rounding to the vectors' precision may have made is 0.
    """
    u, v = one.double(), other.double()
    long, wide = float(u.norm()), float(v.norm())
    if not (0 < long < math.inf and 0 < wide < math.inf):
        return math.nan, math.nan
    u, v = u / long, v / wide
    angle = 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))
    cosine = min(1.0, max(-1.0, float(u @ v)))
    return cosine, 0.0 if angle < 2 * torch.finfo(one.dtype).eps else math.degrees(angle)


def per_tensor(moment: Moment) -> dict[str, Sizes]:
    """The sizes of the true gradient of each parameter, by name in the order of the layout."""
    weights = moment.network.parameters
    return {
        name: Sizes(
            float(grad.double().norm()), float(grad.abs().max()), float(weights[name].double().norm())
        )
        for name, grad in moment.network.layout.views(moment.true.grad).items()
    }
