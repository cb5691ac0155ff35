"""What the page The cliff says in sentences, with the numbers of this setting: lines, paths, the cut."""

from __future__ import annotations

import math

import numpy as np

from ..analysis.cliff import ACTIVATIONS as UNITS
from ..analysis.cliff import START, Surface, Unit, Window, at, cliff_line, folds, norm, steep_from
from ..analysis.cliff_descent import Descent
from ..numbers import of as size
from .text import _, percent


def place(w: float, b: float) -> str:
    """A place in the plane, in brackets."""
    return f"({_short(w)}, {_short(b)})"


def _short(x: float) -> str:
    return f"{x:.5g}" if 1e-3 <= abs(x) < 1e5 or x == 0 else size(x)


def ground_words(seen: Surface) -> str:
    """What the surface and the map show."""
    told = _(
        "The surface and the same from above, on logarithmic scales: at {n} by {n} places of this window E "
        "runs from {low} to {high}, and the gradient's norm, which is how steep the surface is, from {flat} "
        "to {steep}. A cliff may be thinner than the distance between them, and steeper."
    ).format(
        n=len(seen.w),
        low=size(_least(seen.error)), high=size(_most(seen.error)),
        flat=size(_least(seen.norm)), steep=size(_most(seen.norm)),
    )  # fmt: skip
    if seen.flat > 0:
        told += " " + _(
            "In {share} of the window the gradient is exactly 0, for the unit is dead ($x_T$ is below 0, "
            "where ReLU is flat); a logarithm has no place for 0, so the picture of the norm has holes there."
        ).format(share=percent(seen.flat, 1))
    if seen.lost > 0:
        told += " " + _(
            "In {share} of the window float64 has no number for E or its gradient, which grew beyond 1e308: "
            "these are holes, not zeros."
        ).format(share=percent(seen.lost, 1))
    return told


def _least(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else math.nan


def _most(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else math.nan


def line_words(unit: Unit, window: Window, w: float) -> str:
    """What the lines are, with their numbers at the w nearest to `w` where there are any."""
    phi, activation = UNITS[unit.activation].one(START)[0], unit.activation
    steep = steep_from(activation)
    own = w if w > steep else max(window[1], steep + 1.0)
    told = _(
        "**The cliff** (dashed) is where the start $x_0 = 0.5$ is a **fixed point**, a state that stays "
        "where it is: b = 0.5 - {phi:.6g} w. It is an unstable one: each step multiplies a small difference "
        "from it by $w\\,\\varphi'(0.5)$, which is {slope:.3f} at w = {w:.4g} and above 1 from "
        "w = {steep:.6g} on. A hair above the line the states run up, a hair below they run down, so the "
        "error jumps."
    ).format(phi=phi, slope=own / steep, w=own, steep=steep)
    line = cliff_line(activation, np.linspace(window[0], window[1], 201))
    if not ((line >= window[2]) & (line <= window[3])).any():
        told += " " + _("This window does not hold any of it.")
    lows, highs = folds(activation, np.array([own]))
    if activation == "relu":
        return f"{told} " + _(
            "ReLU has no saddle-node bifurcation, since no slope passes through 1: where w is above 1, its "
            "two fixed points meet at the kink instead, at b = 0 (dotted). Below that line the unit can "
            "come to rest, above it every state grows without end."
        )
    return f"{told} " + _(
        "**Saddle-node bifurcations** (dotted) are where a stable and an unstable fixed point meet and "
        "vanish: at w = {w:.4g} for b = {low:.6f} and b = {high:.6f}. Between the two lines the unit has two "
        "places to come to rest, outside only one, and the cliff runs between them."
    ).format(w=own, low=float(lows[0]), high=float(highs[0]))


def verdict(free: Descent, clipped: Descent | None, window: Window) -> str:
    """What the two paths say about clipping."""
    thrown = _thrown(free, window)
    if clipped is None:
        return (
            _("**It is thrown away.** Choose a rule of clipping to see the other path.")
            if thrown
            else _("**No clipping is chosen**, so there is one path.")
        )
    if thrown and not _thrown(clipped, window):
        return _("**Without clipping it is thrown away, with clipping it goes on.**")
    if thrown:
        return _("**Both are thrown away.** Try a lower threshold or a smaller learning rate.")
    if not clipped.clipped.any():
        return _(
            "**No step was clipped**: both are the same path. Start nearer to the cliff, or take more steps."
        )
    return _(
        "**Neither is thrown away.** Start nearer to the cliff, or try more steps or a larger learning rate."
    )


def _thrown(path: Descent, window: Window) -> bool:
    """Whether one step alone was longer than the window is wide, or led to where there is no number."""
    return path.broken or path.longest[1] > min(window[1] - window[0], window[3] - window[2])


def path_words(name: str, path: Descent, window: Window, rate: float) -> str:
    """Where one path went."""
    if path.broken and path.steps == 0:
        return _(
            "**{name}:** there is nothing to go on from: at the start, {place}, float64 has no number for E "
            "or its gradient."
        ).format(name=name, place=place(path.w[0], path.b[0]))
    k = path.steepest
    told = _(
        "**{name}:** the largest gradient that it met had the norm {norm}, at {place} before step {k}"
    ).format(name=name, norm=_whole(path.norm[k]), place=place(path.w[k], path.b[k]), k=k + 1)
    step, far = path.longest
    if k < path.steps and path.clipped[k]:
        told += _("; clipping made a step of {far} of it.").format(
            far=size(math.hypot(path.w[k + 1] - path.w[k], path.b[k + 1] - path.b[k]))
        )
    elif step == k:
        told += _("; times the learning rate {rate:g} that is a step of {far}.").format(
            rate=rate, far=_whole(far)
        )
    else:
        told += "."
    if path.clipped.any():
        told += " " + _("{n} of {steps} steps were clipped.").format(
            n=int(path.clipped.sum()), steps=path.steps
        )
    left = path.leaves(window)
    if left == 0:
        told += " " + _("It begins outside the window.")
    elif left is not None:
        told += " " + _("It left the window at step {k}.").format(k=left)
    end = place(path.w[-1], path.b[-1])
    if path.broken:
        return f"{told} " + _(
            "After step {n} of {asked}, at {end}, float64 had no number for E, its gradient or the next "
            "place: nothing is drawn from there on."
        ).format(n=path.steps, asked=path.asked, end=end)
    told += " " + _("After {n} steps it is at {end}, where E = {error} and the norm is {norm}.").format(
        n=path.steps, end=end, error=size(float(path.error[-1])), norm=size(float(path.norm[-1]))
    )
    if path.norm[-1] == 0.0 and path.error[-1] > 1e-12:
        told += " " + _("With a gradient of 0 it will never come back.")
    return told


def steps_words(free: Descent) -> str:
    """What the figure of the steps shows."""
    told = _("E and the gradient's norm at each place of the paths, both on logarithmic scales.")
    k = free.steepest
    if not (math.isfinite(free.norm[k]) and free.norm[k] > 0):
        return f"{told} " + _("Without clipping the gradient is nowhere a number above 0.")
    if k == 0:
        return f"{told} " + _("Without clipping the first gradient, {top}, is the largest.").format(
            top=_whole(free.norm[0])
        )
    return f"{told} " + _(
        "Without clipping the norm comes to {top} before step {k}; half of the steps until then had one "
        "below {middle}."
    ).format(top=_whole(free.norm[k]), k=k + 1, middle=size(float(np.median(free.norm[:k]))))


def _whole(x: float) -> str:
    """Whole where a reader would compare it: 21,604; 4.32e-5 elsewhere."""
    return f"{x:,.0f}" if 100 <= abs(x) < 1e7 else size(x)


def cut_words(unit: Unit, w: float, b: float, along: str, by: float) -> str:
    """What moving one of the two by a little does to the gradient."""
    before, after = at(unit, w, b), at(unit, w + by, b) if along == "w" else at(unit, w, b + by)
    was, now = float(norm(before.grad_w, before.grad_b)), float(norm(after.grad_w, after.grad_b))
    own = w if along == "w" else b
    told = _(
        "**{name} moved by {by:g}**, from {place} to {moved}: the gradient's norm goes from {was} to {now}, "
        "and E from {error} to {later}."
    ).format(
        name=along, by=by, place=place(w, b), was=_whole(was), now=_whole(now),
        moved=place(w + by, b) if along == "w" else place(w, b + by),
        error=size(before.error), later=size(after.error),
    )  # fmt: skip
    if not (math.isfinite(was) and math.isfinite(now)):
        return f"{told} " + _("One of them is beyond what float64 can hold.")
    if was and now and own and by != 0:
        times = max(was / now, now / was)
        which = _("smaller") if now < was else _("larger")
        told += " " + _("That is {share} of {name}, and a gradient {times} times {which}.").format(
            share=_share(abs(by / own)), name=along, times=_whole(times), which=which
        )
    return told


def _share(share: float) -> str:
    return percent(share, 0 if share >= 0.1 else 2 if share >= 0.001 else 3)
