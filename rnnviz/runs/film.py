"""An animation of a loss surface over training as a job: one frame for each checkpoint.

All frames show one window on slices parallel to one plane: each goes through the weights of its own step, so
that the dot of that step lies on its surface. First every height is computed, since the colours stand for the
same heights in all frames; then the frames are drawn, one after the other, into a GIF that grows. (An MP4
would be smaller, but what writes one, imageio-ffmpeg, brings a program of 30 MB; slides and chats play GIFs.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load, save

from ..experiment import Experiment
from .frames import CLOSED, Frame, Look, Trail, drawn, opened, span_of
from .surfaces import HEIGHTS, per_tile

if TYPE_CHECKING:
    from ..analysis.heights import Heights
    from ..analysis.planes import Slice

KIND = "surface_film"
VERSION = 1  # of how frames are computed and drawn: another one asks anew
LEAST_FRAMES, MOST_FRAMES = 2, 60
LEAST_SIDE, MOST_SIDE = 5, 33  # nodes a side
MOST_PATHS = 4  # as many as there are twins
BLOCK_SECONDS = 0.15  # of computing, between two looks at whether it is still wanted
TILE_SECONDS, DRAW_SECONDS = 0.3, 0.3  # of as many nodes as a tile has, and of a frame; measured on one core
FRAME_SECONDS, LAST_SECONDS = 0.33, 2.0  # each is on show so long
#: What the request of a film has beside that of a surface.
_OWN = ("steps", "height", "log", "paths", "words", "film")


class FilmError(ValueError):
    """There is no such animation; the text is one sentence."""


def frames_of(steps: Sequence[int], until: int, most: int = MOST_FRAMES) -> list[int]:
    """The checkpoints up to a step, or `most` of them, evenly chosen, the first and the last included."""
    kept = [step for step in sorted(steps) if step <= until]
    if len(kept) <= most:
        return kept
    return [kept[round(k)] for k in np.linspace(0, len(kept) - 1, most)]


def request(
    surface: Mapping[str, Any], steps: Sequence[int], height: str, log: bool,
    paths: Sequence[tuple[str, str, str]], words: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """What an animation depends on.

    surface: the request of the surface of the last step, see `surfaces.request`; it names plane and window.
    steps: of the frames, ascending. height: one of `surfaces.HEIGHTS`, on a log scale or not. paths: run,
    colour #rrggbb and name of each path that is drawn. words: see `frames.WORDS`.
    """
    return {
        **surface, "n": min(int(surface["n"]), MOST_SIDE), "gradient": height == "gradient",
        "steps": list(steps), "height": height, "log": log, "paths": [list(path) for path in paths],
        "words": dict(words), "film": VERSION,
    }  # fmt: skip


def surface_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The surface that names the plane of a film."""
    return {name: value for name, value in request.items() if name not in _OWN}


def check(request: Mapping[str, Any]) -> None:
    """Raise FilmError for a film that would be too long, too fine, or of nothing."""
    steps, n = list(request["steps"]), int(request["n"])
    if request["run"] is None:
        raise FilmError("run: without a run there are no checkpoints to go through.")
    if not LEAST_FRAMES <= len(steps) <= MOST_FRAMES:
        raise FilmError(f"steps: got {len(steps)} of them; allowed: {LEAST_FRAMES} to {MOST_FRAMES}.")
    if steps != sorted(set(steps)):
        raise FilmError("steps: each is to be later than the one before it.")
    if not LEAST_SIDE <= n <= MOST_SIDE:
        raise FilmError(f"n: got {n}; allowed: {LEAST_SIDE} to {MOST_SIDE}.")
    if request["height"] not in HEIGHTS:
        raise FilmError(f"height: got {request['height']!r}; allowed: {', '.join(HEIGHTS)}.")
    if not 1 <= len(request["paths"]) <= MOST_PATHS:
        raise FilmError(f"paths: got {len(request['paths'])} of them; allowed: 1 to {MOST_PATHS}.")
    if request["paths"][0][0] != request["run"]:
        raise FilmError("paths: the first is to be that of the run itself.")


def expected_seconds(request: Mapping[str, Any]) -> tuple[float, float]:
    """About how long it takes on one core: to compute the heights, and to draw the frames."""
    experiment = Experiment.from_json(request["experiment"])
    nodes, frames = int(request["n"]) ** 2, len(request["steps"])
    tiles = nodes / per_tile(experiment, request["over"], request["gradient"])
    return frames * tiles * TILE_SECONDS, frames * DRAW_SECONDS


@dataclass(frozen=True)
class Way:
    """A run's checkpoints, of all that are drawn: steps, ascending, and parameters (K, P)."""

    name: str
    color: str
    steps: Sequence[int]
    thetas: np.ndarray

    def until(self, step: int) -> int:
        """How many of them there are up to a step."""
        return sum(one <= step for one in self.steps)


@dataclass(frozen=True)
class Known:
    """How far a film is.

    numbers: one after the other, for each frame the own loss of every point of the paths so far, then the
    heights of all nodes. computed, drawn: whole frames. gif: the file as far as it is written.
    """

    numbers: np.ndarray
    computed: int = 0
    drawn: int = 0
    gif: bytes = b""


def encode(known: Known) -> bytes:
    """As a safetensors blob."""
    return save(
        {
            "numbers": np.ascontiguousarray(known.numbers, dtype=np.float64),
            "frames": np.array([known.computed, known.drawn]),
            "gif": np.frombuffer(known.gif, dtype=np.uint8),
        }
    )


def decode(blob: bytes) -> Known:
    """The inverse, to the same bytes."""
    arrays = load(blob)
    computed, done = arrays["frames"].tolist()
    return Known(arrays["numbers"], computed, done, arrays["gif"].tobytes())


class Film:
    """What the frames of a request show.

    cut: the slice of the last step. ways: the first is that of the run whose surfaces these are.
    heights_at: the heights over the batch of a step.
    """

    def __init__(
        self, cut: Slice, ways: Sequence[Way], heights_at: Callable[[int], Heights],
        request: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.ways, self.heights_at, self.request = ways, heights_at, request
        self.axes, self.steps = cut.plane.axes, [int(step) for step in request["steps"]]
        left, right, low, high = request["window"]
        n = int(request["n"])
        self.x, self.y = np.linspace(left, right, n), np.linspace(low, high, n)
        self.places = [cut.plane.place(way.thetas)[0] + np.array(cut.centre) for way in ways]
        self.points = [[way.until(step) for way in ways] for step in self.steps]
        sizes = [sum(points) + n * n for points in self.points]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        missing = [step for step in self.steps if step not in ways[0].steps]
        if missing:
            raise FilmError(f"steps: the parameters of step {missing[0]} were not kept.")

    def numbers(self, k: int, first: int) -> Iterator[np.ndarray]:
        """The numbers of a frame from the `first` on, in pieces of about BLOCK_SECONDS."""
        heights, at = self.heights_at(self.steps[k]), self.ways[0].steps.index(self.steps[k])
        theta, (x, y) = self.ways[0].thetas[at], self.places[0][at]
        trails = [way.thetas[:count] for way, count in zip(self.ways, self.points[k], strict=True)]
        points = np.concatenate(trails)
        column, gradient = HEIGHTS.index(self.request["height"]), bool(self.request["gradient"])
        size = int(self.starts[k + 1] - self.starts[k])
        while first < size:
            found: list[float] = []
            deadline = time.monotonic() + BLOCK_SECONDS
            while first + len(found) < size and (not found or time.monotonic() < deadline):
                node = first + len(found) - len(points)
                if node < 0:
                    found.append(float(heights.many([points[node]])[0, 0]))
                    continue
                row, col = divmod(node, len(self.x))
                there = theta + (self.x[col] - x) * self.axes[0] + (self.y[row] - y) * self.axes[1]
                found.append(float(heights.many([there], gradient)[0, column]))
            first += len(found)
            yield np.array(found)

    def look(self, numbers: np.ndarray) -> Look:
        """What all frames share; raises FilmError when there is nothing to draw in any of them."""
        log = bool(self.request["log"]) and self.request["height"] != "accuracy"
        span = span_of(np.concatenate([self._grid(numbers, k).ravel() for k in range(len(self.steps))]), log)
        if span is None:
            raise FilmError("height: it is no finite number anywhere in this window.")
        return Look(self.x, self.y, self.request["height"], log, span, self.request["words"])

    def frame(self, numbers: np.ndarray, k: int) -> Frame:
        """One frame, whose numbers are all there."""
        losses, trails = numbers[self.starts[k] : self.starts[k + 1]], []
        for way, places, count in zip(self.ways, self.places, self.points[k], strict=True):
            trails.append(Trail(way.name, way.color, places[:count], losses[:count]))
            losses = losses[count:]
        shown = self.ways[0].steps.index(self.steps[k])
        return Frame(self.steps[k], self._grid(numbers, k), trails, shown)

    def _grid(self, numbers: np.ndarray, k: int) -> np.ndarray:
        n = len(self.x)
        return numbers[self.starts[k + 1] - n * n : self.starts[k + 1]].reshape(n, n)


def film_of(film: Film, partial: bytes | None) -> Iterator[tuple[float, bytes | None, bytes | None]]:
    """What a kind of job yields. Partial: `encode`; result: the bytes of a GIF."""
    known = decode(partial) if partial else Known(np.zeros(0))
    computing, drawing = expected_seconds(film.request)
    share, frames = computing / (computing + drawing), len(film.steps)
    for k in range(known.computed, frames):
        for block in film.numbers(k, len(known.numbers) - int(film.starts[k])):
            numbers = np.concatenate([known.numbers, block])
            known = Known(numbers, k + (len(numbers) == film.starts[k + 1]))
            yield share * len(numbers) / int(film.starts[-1]), encode(known), None
    look = film.look(known.numbers)
    gif = known.gif or opened(look, [way.color for way in film.ways])
    for k in range(known.drawn, frames):
        seconds = FRAME_SECONDS if k < frames - 1 else LAST_SECONDS
        gif += drawn(look, film.frame(known.numbers, k), [way.color for way in film.ways], seconds)
        known = Known(known.numbers, frames, k + 1, gif)
        if k < frames - 1:
            yield share + (1 - share) * (k + 1) / frames, encode(known), None
    yield 1.0, None, gif + CLOSED
