"""Gradient clipping: what is done to a gradient between the backward pass and the update.

A rule sees the gradient of the parameters in the clip's scope. It measures it, changes it in place where it
is too large, and says what it measured and where the limit was. What it has to remember from step to step
stands in a `Memory` that the caller keeps and hands over again. Works on torch tensors without importing it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, final

#: What a rule remembers: numbers in float64, none before the first step. Each rule says what they are.
Memory: TypeAlias = "array[float]"

# PyTorch's, beside the norm: a threshold far below it shortens to less than itself.
NORM_EPSILON = 1e-6
# The smallest norm of weights that AGC reckons with, so that weights of 0 can move.
SMALLEST_WEIGHTS = 1e-3
AUTOCLIP_PERCENTILE = 10.0
ZCLIP_ALPHA = 0.97
ZCLIP_Z = 2.5
ZCLIP_WARM_UP = 25
ZCLIP_EPSILON = 1e-6

NO_LIMIT = math.nan


@dataclass(frozen=True)
class Scoped:
    """The gradient of the parameters in the clip's scope, at one step."""

    grad: Any  # (N,) all of it in one flat vector
    norm: float  # its Euclidean norm
    #: By name of each parameter its gradient, as a view of `grad`, and its weights. Made for those who ask.
    views: Callable[[], Mapping[str, tuple[Any, Any]]]
    #: The Euclidean norm of a vector like `grad`, summed in float64: a large but finite one is not infinite.
    measure: Callable[[Any], float] = lambda grad: float(grad.double().norm())
    #: For a rule `inside` the backward pass, which has been there already: the norm without it.
    unclipped: float = math.nan


class Outcome(NamedTuple):
    """What a rule did."""

    before: float  # what it measured
    after: float  # the same of what it left
    limit: float  # what `before` was compared with and cut to; NaN where there is no such number
    clipped: bool


class Clipping(ABC):
    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    #: Whether it measures the largest element, in place of the Euclidean norm.
    by_element: ClassVar[bool] = False
    uses_threshold: ClassVar[bool] = True
    uses_scope: ClassVar[bool] = True
    #: What its measure is compared with: the threshold, a limit that the rule sets anew at each step, or none
    #: where no single number is one.
    limit: ClassVar[Literal["fixed", "moving", "none"]]
    #: What its share of clipped steps means, a sentence, where that is not what a reader expects.
    note: ClassVar[str] = ""
    #: Whether it acts inside the backward pass, see `bptt.Trace.backward`, and not on what comes out of it.
    inside: ClassVar[bool] = False

    @property
    def measured(self) -> str:
        """What it measures, in plain words."""
        return "largest element" if self.by_element else "norm"

    @abstractmethod
    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """Clip `scoped.grad` in place. What the rule remembers is read from `memory` and written to it.

        A gradient whose measure is not finite ends a run: what is left of it does not matter.
        """


def _shorten(scoped: Scoped, limit: float, epsilon: float = 0.0) -> Outcome:
    """g * limit / (norm + epsilon) where the norm exceeds the limit."""
    if not scoped.norm > limit:
        return Outcome(scoped.norm, scoped.norm, limit, False)
    scoped.grad.mul_(limit / (scoped.norm + epsilon))
    return Outcome(scoped.norm, scoped.measure(scoped.grad), limit, True)


@final
class NoClipping(Clipping):
    name = "none"
    label = "Off"
    summary = "The gradient is used as it is."
    source = ""
    uses_threshold = False
    uses_scope = False
    limit = "none"

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        return Outcome(scoped.norm, scoped.norm, NO_LIMIT, False)


@final
class NormClipping(Clipping):
    name = "norm"
    label = "By norm"
    summary = "Shortens the whole gradient to the threshold when it is longer; its direction stays."
    source = "Pascanu, Mikolov & Bengio 2013, algorithm 1; torch.nn.utils.clip_grad_norm_"
    limit = "fixed"

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """g * min(1, threshold / (norm + 1e-6)), PyTorch's form."""
        return _shorten(scoped, threshold, NORM_EPSILON)


@final
class ValueClipping(Clipping):
    name = "value"
    label = "By value"
    summary = "Cuts every element to the threshold on its own; this bends the direction."
    source = "Mikolov 2012; torch.nn.utils.clip_grad_value_"
    by_element = True
    limit = "fixed"

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """Each element g_i becomes max(-threshold, min(threshold, g_i))."""
        largest = float(scoped.grad.abs().max())
        if not largest > threshold:
            return Outcome(largest, largest, threshold, False)
        scoped.grad.clamp_(-threshold, threshold)
        return Outcome(largest, float(scoped.grad.abs().max()), threshold, True)


@final
class AdaptiveClipping(Clipping):
    name = "agc"
    label = "By share of the weights (AGC)"
    summary = (
        "Compares the gradient of each unit's weights, row by row (a bias is one row, and so are a gate's "
        "peepholes), with these weights, and shortens it where its norm exceeds threshold times theirs; 0.01 "
        "is usual. This bends the direction as a whole."
    )
    source = "Brock, De, Smith & Simonyan 2021 (adaptive gradient clipping)"
    limit = "none"

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """For each row w of a matrix with the gradient g: limit = threshold * max(norm(w), 1e-3),
        g <- g * min(1, limit / norm(g)).

        A row of weight_ih or weight_hh is what one unit reads for one gate. A row of weight_peephole (n, H)
        is one gate's vector over all units: these go together. A bias is one row as a whole, as in the
        authors' code: its elements go together. (They treat a matrix with a single column so as well; here
        its rows are rows.) There is a limit for each row, so none is told; measured is the norm of all rows
        together.
        """
        before = scoped.norm
        if not math.isfinite(before):
            return Outcome(before, before, NO_LIMIT, False)
        clipped = False
        for grad, weight in scoped.views().values():
            norm = _row_norms(grad)
            limit = threshold * _row_norms(weight).clamp(min=SMALLEST_WEIGHTS)
            if bool((norm > limit).any()):
                clipped = True
                grad.mul_((limit / norm).clamp(max=1.0).to(grad.dtype))  # 1 where the norm is 0
        return Outcome(before, scoped.measure(scoped.grad) if clipped else before, NO_LIMIT, clipped)


def _row_norms(parameter: Any) -> Any:
    """In float64: (rows, 1) of a matrix, () of a vector."""
    exact = parameter.double()
    return exact.norm(dim=1, keepdim=True) if exact.dim() > 1 else exact.norm()


@final
class AutoClipping(Clipping):
    name = "autoclip"
    label = "By its own history (AutoClip)"
    summary = (
        "Shortens the gradient to the norm that 10 % of all gradients so far stayed below: most steps are "
        "clipped, and nobody has to choose a threshold."
    )
    source = "Seetharaman, Wichern, Pardo & Le Roux 2020 (AutoClip)"
    uses_threshold = False
    limit = "moving"
    note = "This rule is meant to clip about nine steps in ten."

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """limit = percentile 10 of all norms so far, this one included; g * min(1, limit / norm).

        Without the 1e-6 that PyTorch puts beside the norm: gradients that vanish would be cut far below a
        limit that is as small as they are. Memory: the norms as they came, before clipping, in ascending
        order.
        """
        if not math.isfinite(scoped.norm):
            return Outcome(scoped.norm, scoped.norm, NO_LIMIT, False)
        insort(memory, scoped.norm)
        return _shorten(scoped, _percentile(memory, AUTOCLIP_PERCENTILE))


def _percentile(ascending: Memory, p: float) -> float:
    """Between the two nearest ranks on a straight line, as numpy.percentile has it by default."""
    rank = p / 100 * (len(ascending) - 1)
    k = min(int(rank), len(ascending) - 2)
    if k < 0:
        return ascending[0]
    low, high = ascending[k], ascending[k + 1]
    return low + (rank - k) * (high - low)


@final
class ZClipping(Clipping):
    name = "zclip"
    label = "By outliers (ZClip)"
    summary = (
        "Follows the mean and the spread of the norm, and shortens only a gradient that stands out by more "
        "than 2.5 standard deviations: the further out, the more. The first 25 steps are only watched."
    )
    source = "Kumar et al. 2025 (ZClip)"
    uses_threshold = False
    limit = "moving"

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """With the running mean mu and standard deviation sigma of the norm before this step:

        z = (norm - mu) / (sigma + 1e-6); where z > 2.5, limit = mu + 2.5 sigma / (z / 2.5) and
        g <- g * limit / norm.
        Then mu <- 0.97 mu + 0.03 n and sigma^2 <- 0.97 sigma^2 + 0.03 (n - mu)^2 with the new mu, where n is
        the limit if it was clipped, the norm if not. In the first 25 steps mu and sigma are those of the
        norms so far, and nothing is clipped. The authors' code puts a fixed limit beside this one; their
        paper's rule has none.

        The limit told where z <= 2.5 is the norm at which z would be 2.5. Memory: steps seen, mu, sigma^2.
        """
        norm = scoped.norm
        if not math.isfinite(norm):
            return Outcome(norm, norm, NO_LIMIT, False)
        seen, mu, variance = memory or (0.0, 0.0, 0.0)
        if seen < ZCLIP_WARM_UP:
            # Mean and variance of one number more (Welford 1962).
            seen, away = seen + 1, norm - mu
            mu += away / seen
            variance += (away * (norm - mu) - variance) / seen
            memory[:] = array("d", (seen, mu, variance))
            return Outcome(norm, norm, NO_LIMIT, False)
        sigma = math.sqrt(variance)
        limit = mu + ZCLIP_Z * (sigma + ZCLIP_EPSILON)
        if norm > limit:
            z = (norm - mu) / (sigma + ZCLIP_EPSILON)
            limit = mu + ZCLIP_Z * sigma / (z / ZCLIP_Z)
        outcome = _shorten(scoped, limit)
        n = limit if outcome.clipped else norm
        mu = ZCLIP_ALPHA * mu + (1 - ZCLIP_ALPHA) * n
        variance = ZCLIP_ALPHA * variance + (1 - ZCLIP_ALPHA) * ((n - mu) * (n - mu))
        memory[:] = array("d", (seen + 1, mu, variance))
        return outcome


@final
class DeltaClipping(Clipping):
    name = "delta"
    label = "On the way back (deltas)"
    summary = (
        "Cuts every element of what is handed back from one time step to the one before. The result is not "
        "the gradient of anything, and may point elsewhere: here to show why to clip afterwards instead."
    )
    source = "in the manner of Graves 2013, Generating Sequences With Recurrent Neural Networks"
    uses_scope = False
    limit = "none"
    inside = True

    def apply(self, scoped: Scoped, threshold: float, memory: Memory) -> Outcome:
        """Each element d_i of a delta dL/ds_t, as far as it comes from later steps, has become
        max(-threshold, min(threshold, d_i)). The limit holds for deltas, so there is none for the norm.
        """
        return Outcome(scoped.unclipped, scoped.norm, NO_LIMIT, scoped.norm != scoped.unclipped)


CLIPPINGS: dict[str, Clipping] = {
    rule.name: rule
    for rule in (
        NoClipping(),
        NormClipping(),
        ValueClipping(),
        AdaptiveClipping(),
        AutoClipping(),
        ZClipping(),
        DeltaClipping(),
    )
}

#: Which parameters a rule sees, in plain words.
SCOPES: dict[str, str] = {
    "all": "all parameters together",
    "recurrent": "only the weights that multiply a state (W_hh, peepholes)",
    "not_output": "all but the output layer",
}
