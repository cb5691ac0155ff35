"""Surfaces as jobs: a grid that is refined level by level, cut into tiles, each a job of its own.

Tiles know nothing of each other, so that as many workers as there are share a surface; the coarse ones are
asked for first. What is computed is drawn as soon as its level is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from ..cells import CELLS
from ..experiment import CHANGEABLE, Experiment, default_of
from ..tasks import TASKS, VALIDATION_SIZE

KIND = "surface_tile"
VERSION = 1  # of how heights are computed: another one asks anew
SIZES = (9, 17, 33, 65, 129)  # nodes a side of a whole surface
TILE_OPERATIONS = 5e9  # multiply-adds of a tile, a few tenths of a second
OVERHEAD = 2e6  # of a pass, however small, in multiply-adds
HEIGHTS = ("loss", "accuracy", "gradient")
#: Of the jobs of a surface: what is waited for first.
COARSE, FINE, AHEAD = 2, 1, 0


@dataclass(frozen=True)
class Nodes:
    """The places of a grid along one axis: (n,), and which of them is the centre's."""

    values: np.ndarray
    centre: int

    @property
    def offsets(self) -> np.ndarray:
        """How far each lies from the centre; there it is exactly 0."""
        spacing = (self.values[-1] - self.values[0]) / (len(self.values) - 1)
        away: np.ndarray = (np.arange(len(self.values)) - self.centre) * spacing
        return away


def nodes(centre: float, low: float, high: float, n: int) -> Nodes:
    """n places that cover low to high, moved by less than a distance so that one of them is the centre.

    The centre lies between low and high.
    """
    spacing = (high - low) / (n - 1)
    at = min(n - 1, max(0, round((centre - low) / spacing)))
    return Nodes(centre + (np.arange(n) - at) * spacing, at)


@dataclass(frozen=True)
class Tile:
    """Some nodes of a level, by their flat numbers row * n + column, ascending."""

    level: int
    numbers: np.ndarray


def level_sides(n: int) -> list[int]:
    """Nodes a side of each level of a grid of n."""
    return [side for side in SIZES if side <= n]


def tiles(n: int, per_tile: int) -> list[Tile]:
    """Every node once: level by level those that are new in it, in stretches of about `per_tile`."""
    found, known = [], np.zeros((n, n), dtype=bool)
    for level, side in enumerate(level_sides(n)):
        stride = (n - 1) // (side - 1)
        fresh = np.zeros((n, n), dtype=bool)
        fresh[::stride, ::stride] = True
        numbers = np.flatnonzero(fresh & ~known)
        known |= fresh
        # The first level is waited for: shared by two workers, it is there in half the time.
        pieces = max(2 if level == 0 else 1, -(-len(numbers) // per_tile))
        found += [Tile(level, piece) for piece in np.array_split(numbers, min(pieces, len(numbers)))]
    return found


def per_tile(experiment: Experiment, over: str, gradient: bool) -> int:
    """How many nodes make a tile, from what a pass over the batch takes; the same on every machine."""
    e, task = experiment, TASKS[experiment.task]
    gates, width = len(CELLS[e.cell].gates), e.hidden * e.directions
    inputs = task.input_size + (e.layers - 1) * width
    step = e.directions * gates * e.hidden * (inputs + e.layers * (e.hidden + 8))
    batch = VALIDATION_SIZE if over == "held_out" else e.batch
    cost = OVERHEAD + step * e.steps_per_sequence() * batch * (3.0 if gradient else 1.0)
    return int(max(4, min(1000, TILE_OPERATIONS / cost)))


def request(
    experiment: Experiment, run: str | None, step: int, kernel: str | None, plane: Mapping[str, Any],
    window: tuple[float, float, float, float], n: int, over: str = "step", gradient: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What a surface depends on, and nothing else: a change in mid-run asks for no other surface.

    plane: as `job_kinds.plane_of` takes it. window: x from, to, y from, to, in the plane's coordinates.
    """
    usual = {name: default_of(name) for name in CHANGEABLE}
    return {
        "experiment": experiment.changed(changes=(), **usual).to_json(), "run": run, "step": step,
        "kernel": kernel, "plane": dict(plane), "window": [float(edge) for edge in window], "n": n,
        "over": over, "gradient": gradient, "version": VERSION,
    }  # fmt: skip


def tile_requests(surface: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The jobs of a surface, in the order in which they are wanted."""
    experiment = Experiment.from_json(surface["experiment"])
    size = per_tile(experiment, surface["over"], surface["gradient"])
    cut = tiles(surface["n"], size)
    return [{**surface, "tile": k, "per_tile": size} for k in range(len(cut))]


def encode_tile(heights: np.ndarray) -> bytes:
    """Heights (N, 3) as a safetensors blob."""
    return save({"heights": np.ascontiguousarray(heights, dtype=np.float64)})


def decode_tile(blob: bytes) -> np.ndarray:
    """The inverse; of a part of a tile its first nodes."""
    return load(blob)["heights"]


@dataclass(frozen=True)
class Grid:
    """A surface as far as it is known: the finest level that is whole.

    stride: distances between its nodes in those of the finest level. heights: (side, side) each, [y, x].
    known: share of all nodes that are computed.
    """

    stride: int
    loss: np.ndarray
    accuracy: np.ndarray
    gradient: np.ndarray
    known: float


def gathered(surface: Mapping[str, Any], blobs: Sequence[bytes | None]) -> Grid | None:
    """What the tiles of a surface make together; None before the first level is whole.

    blobs: the result of each tile in the order of `tile_requests`, None where there is none yet.
    """
    n = surface["n"]
    experiment = Experiment.from_json(surface["experiment"])
    cut = tiles(n, per_tile(experiment, surface["over"], surface["gradient"]))
    whole, done = np.full((n * n, len(HEIGHTS)), np.nan), 0
    missing = {tile.level for tile, blob in zip(cut, blobs, strict=True) if blob is None}
    for tile, blob in zip(cut, blobs, strict=True):
        if blob is not None:
            whole[tile.numbers] = decode_tile(blob)
            done += len(tile.numbers)
    levels = min(missing, default=len(level_sides(n)))
    if levels == 0:
        return None
    stride = (n - 1) // (level_sides(n)[levels - 1] - 1)
    planes = whole.reshape(n, n, -1)[::stride, ::stride]
    return Grid(stride, planes[..., 0], planes[..., 1], planes[..., 2], done / (n * n))
