"""Curvature over a run's checkpoints as a job: in which order, and what is stored on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from safetensors.numpy import load, save

from ..analysis.curvature import Curvature, Measuring, Sharpness, measuring
from ..analysis.lanczos import Krylov
from ..analysis.moment import Moment

VERSION = 1  # of how curvature is measured: another one asks anew
#: The space of a checkpoint that is under way is stored between slices, 48 vectors of this length: 38 MB.
MOST_PARAMETERS = 100_000
MOST_CHECKPOINTS = 200  # of a run of a million steps there are 81
EVERY = 0.2  # seconds at least between two partial results
_NUMBERS = [one.name for one in fields(Sharpness) if one.name not in ("eigenvalues", "residuals")]


@dataclass(frozen=True)
class Known:
    """What is known: `found` by step; the checkpoint `under_way` and how far that one is."""

    found: Mapping[int, Sharpness] = field(default_factory=dict)
    under_way: int | None = None
    measuring: Measuring | None = None

    def in_order(self) -> list[Sharpness]:
        """In the order of training."""
        return [self.found[step] for step in sorted(self.found)]


def coarse_first(steps: Sequence[int]) -> list[int]:
    """The newest, the first, and then always what lies halfway between those that are there, in their order.

    Checkpoints are close together at the beginning of a run, so this is an order by number, not by step.
    """
    order = sorted(set(steps))
    found = order[-1:] + order[:1] if len(order) > 1 else order
    gaps = [(0, len(order) - 1)]
    while gaps:
        halves = [(a, (a + b) // 2, b) for a, b in gaps if b - a > 1]
        found += [order[middle] for _a, middle, _b in halves]
        gaps = [gap for a, middle, b in halves for gap in ((a, middle), (middle, b))]
    return found


def sharpness_of(
    moment_at: Callable[[int], Moment], steps: Sequence[int], partial: bytes | None
) -> Iterator[tuple[float, bytes | None, bytes | None]]:
    """Curvature at every step: what a kind of job yields. Partial and result: `encode`."""
    known = decode(partial) if partial else Known()
    told = time.monotonic()
    for step in coarse_first(steps):
        if step in known.found:
            continue
        curvature = Curvature(moment_at(step))
        here = known.measuring if known.under_way == step and known.measuring else measuring(curvature)
        while not here.done:
            here = here.further(curvature)
            if time.monotonic() - told >= EVERY and not here.done:
                share = (len(known.found) + here.share) / len(set(steps))
                yield share, encode(Known(known.found, step, here)), None
                told = time.monotonic()
        known = Known({**known.found, step: here.result(step, curvature)})
        if len(known.found) < len(set(steps)):
            yield len(known.found) / len(set(steps)), encode(known), None
            told = time.monotonic()
    yield 1.0, None, encode(known)


def encode(known: Known) -> bytes:
    """As a safetensors blob, in which numbers that are none stay so."""
    found = known.in_order()
    arrays = {
        "numbers": np.array([[getattr(one, name) for name in _NUMBERS] for one in found], dtype=np.float64),
        "eigenvalues": np.array([one.eigenvalues for one in found], dtype=np.float64),
        "residuals": np.array([one.residuals for one in found], dtype=np.float64),
    }
    if known.measuring is not None and known.under_way is not None:
        space = known.measuring.space
        arrays |= {
            "under_way": np.array([known.under_way, space.seed]),
            "samples": known.measuring.samples, "following": space.following, "basis": space.basis,
            "diagonal": space.diagonal, "beside": space.beside, "asymmetry": np.array([space.asymmetry]),
        }  # fmt: skip
    return save(arrays)


def decode(blob: bytes) -> Known:
    """The inverse, to the same numbers, for a partial result as for a whole one."""
    arrays = load(blob)
    found = {}
    for row, eigenvalues, residuals in zip(
        arrays["numbers"], arrays["eigenvalues"], arrays["residuals"], strict=True
    ):
        numbers = dict(zip(_NUMBERS, row.tolist(), strict=True))
        whole = {name: int(numbers.pop(name)) for name in ("step", "products")}
        one = Sharpness(
            eigenvalues=tuple(eigenvalues.tolist()), residuals=tuple(residuals.tolist()), **whole, **numbers
        )
        found[one.step] = one
    if "under_way" not in arrays:
        return Known(found)
    step, seed = arrays["under_way"].tolist()
    space = Krylov(
        arrays["following"], arrays["basis"], arrays["diagonal"], arrays["beside"],
        float(arrays["asymmetry"][0]), seed,
    )  # fmt: skip
    return Known(found, step, Measuring(space, arrays["samples"]))
