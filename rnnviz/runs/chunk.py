"""How a stretch of a run is stored and how it is sent to a screen.

Both are safetensors blobs: a little-endian length, a JSON header, raw arrays. The record is exact; the screen
form holds what a display can show. Numbers that are not finite travel in the arrays, never in JSON.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..analysis.heat import INFINITE, NAN, UNDERFLOW, codes
from ..recording import GROUPS, Chunk

FORMAT = "1"  # of both kinds of blob, in their metadata

MAX_HEADER = 65_536  # bytes of a blob's JSON; ours have under 2 kB, and a long one could fill the memory
MAX_ROWS = 256  # rows of a heat map; longer sequences merge neighbouring time steps

CHUNK_BUCKETS = 12  # a tenth of a second at most this many buckets of at most four points
OVERVIEW_BUCKETS = 500
OVERVIEW_COLUMNS = 400

_POINTS = (
    "step", "loss", "norm_before", "norm_after", "threshold", *(f"grad_{group}" for group in GROUPS),
    "update", "weight", "full_norm", "full_cosine", "omega",
)  # fmt: skip
#: Numbers that older recordings do not have: nothing was left out of a gradient then, and nothing added.
_LATER = ("full_norm", "full_cosine", "omega")
#: All that stands in a record, and in the form for screens.
_RECORD = (*(f.name for f in fields(Chunk) if f.name not in ("next_step", "clipped")), "counts")
_LOOKS = ("validation_step", "validation_loss", "validation_accuracy", "saturated", "dead", "spectrum")
_SCREEN = (*_POINTS, *_LOOKS, "prediction_step", "prediction", "heat_step", "heat")


def encode(chunk: Chunk) -> bytes:
    """The full record as a blob."""
    arrays = {name: np.ascontiguousarray(array) for name, array in chunk.arrays().items()}
    counts = np.array([chunk.next_step, chunk.clipped], dtype=np.int64)
    return _save({**arrays, "counts": counts}, {"format": FORMAT})


def decode(blob: bytes) -> Chunk:
    """The inverse of `encode`. Raises ValueError for a blob of another format, or one that lacks an array."""
    arrays = _load(blob)
    _check(arrays, _RECORD)
    for name, axes in (("grad_hidden", 4), ("grad_cell_state", 4), ("spectrum", 5)):
        if arrays[name].ndim == axes - 2:  # from when networks had one layer and one direction
            arrays[name] = arrays[name][:, None, None]
    _complete(arrays, np.float64)
    next_step, clipped = (int(n) for n in arrays.pop("counts"))
    return Chunk(**arrays, next_step=next_step, clipped=clipped)


def row_steps(T: int) -> int:
    """How many time steps share one row of the heat map."""
    return math.ceil(T / MAX_ROWS)


def heat_column(norms: np.ndarray) -> np.ndarray:
    """Norms (T,) of dL/dh_t as codes (R,) int16; a row of several time steps shows the largest of them."""
    merged = row_steps(len(norms))
    rows = math.ceil(len(norms) / merged)
    padded = np.full(rows * merged, -np.inf)
    padded[: len(norms)] = norms
    largest = padded.reshape(rows, merged).max(1)  # NaN wins over everything, infinity over numbers
    return codes(largest)


def screen(chunk: Chunk) -> bytes:
    """A chunk as a screen wants it: decimated points and, of its last step and look, what is drawn whole."""
    points = _points(chunk)
    keep = _telling(chunk.step, chunk.loss, chunk.norm_before, CHUNK_BUCKETS)
    # The newest column, and the very first: it shows what passes back before anything is learned.
    shown = [0, -1] if len(chunk) > 1 and chunk.step[0] == 0 else [-1][: len(chunk)]
    heat_step = chunk.step[shown]
    T = chunk.grad_hidden.shape[-1]
    parts = _joined(chunk.grad_hidden[shown])
    columns = [[heat_column(part) for part in column] for column in parts]
    rows = math.ceil(T / row_steps(T))
    return _screen_blob(
        {name: array[keep] for name, array in points.items()},
        {name: getattr(chunk, name) for name in _LOOKS} | {"spectrum": _joined(chunk.spectrum)},
        {"prediction_step": chunk.validation_step[-1:], "prediction": chunk.prediction[-1:]},
        heat_step,
        np.array(columns, dtype=np.int16).reshape(len(columns), parts.shape[1], rows),
    )


def _joined(array: np.ndarray) -> np.ndarray:
    """(m, L, D, ...) to (m, L*D, ...): layers and directions in one row."""
    return array.reshape(len(array), array.shape[1] * array.shape[2], *array.shape[3:])


def overview(blobs: Sequence[bytes], after: int = -1) -> bytes | None:
    """Many consecutive screen blobs as one of bounded size, without the points up to step `after`.

    Raises ValueError for a blob of another format, or one that lacks an array.
    """
    parts = [_load(blob) for blob in blobs]
    if not parts:
        return None
    for part in parts:  # some may have been stored by an older version
        _check(part, _SCREEN)
        _complete(part, np.float32)
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    for axis, names in (
        ("step", _POINTS), ("validation_step", _LOOKS), ("heat_step", ("heat_step", "heat")),
        ("prediction_step", ("prediction_step", "prediction")),
    ):  # fmt: skip
        # What a replay repeats has the same values: the first is enough.
        before = np.maximum.accumulate(np.concatenate([[after], joined[axis]]))
        new = joined[axis] > before[:-1]
        joined |= {name: joined[name][new] for name in names}
    keep = _telling(joined["step"], joined["loss"], joined["norm_before"], OVERVIEW_BUCKETS)
    columns = np.arange(len(joined["heat_step"]))
    if len(columns) > OVERVIEW_COLUMNS:
        columns = _buckets(joined["heat_step"], OVERVIEW_COLUMNS - 1)[1:] - 1
        # The first, and the newest of each bucket that has one, so the newest of all.
        columns = np.unique(np.maximum(np.append(columns, 0), 0))
    return _screen_blob(
        {name: joined[name][keep] for name in _POINTS},
        {name: joined[name] for name in _LOOKS},
        {name: joined[name][-1:] for name in ("prediction_step", "prediction")},
        joined["heat_step"][columns],
        joined["heat"][columns],
    )


def _check(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Raise ValueError unless the arrays are these, but for those that older recordings do not have."""
    missing = [name for name in names if name not in arrays and name not in _LATER]
    unknown = sorted(set(arrays).difference(names))
    if missing:
        raise ValueError(f"This recording lacks {', '.join(missing)}.")
    if unknown:
        raise ValueError(f"This recording holds {', '.join(unknown)}, which this program does not know.")


def _complete(arrays: dict[str, np.ndarray], dtype: type[np.floating]) -> None:
    for name in _LATER:
        arrays.setdefault(name, np.full(len(arrays["step"]), np.nan, dtype))


def _points(chunk: Chunk) -> dict[str, np.ndarray]:
    """What a screen draws of every step, (n,) each."""
    groups = {f"grad_{group}": chunk.grad_norms[:, k] for k, group in enumerate(GROUPS)}
    own = {name: getattr(chunk, name) for name in _POINTS if hasattr(chunk, name)}
    return {**own, **groups, "update": chunk.update_norm, "weight": chunk.weight_norm}


def _screen_blob(
    points: Mapping[str, np.ndarray], looks: Mapping[str, np.ndarray], prediction: Mapping[str, np.ndarray],
    heat_step: np.ndarray, heat: np.ndarray,
) -> bytes:  # fmt: skip
    arrays = {}
    with np.errstate(over="ignore"):
        for name, array in {**points, **looks, **prediction}.items():
            arrays[name] = np.ascontiguousarray(
                array, dtype=np.int32 if name.endswith("step") else np.float32
            )
    arrays["heat_step"] = np.ascontiguousarray(heat_step, dtype=np.int32)
    arrays["heat"] = np.ascontiguousarray(heat, dtype=np.int16)
    last = max([int(arrays[a][-1]) for a in ("step", "heat_step") if len(arrays[a])], default=-1)
    return _save(arrays, {"format": FORMAT, "last_step": str(last)})


def _save(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors blob whose bytes follow from its content.

    The package writes the metadata in an order that changes from call to call, so they are put in here.
    """
    blob = save(dict(arrays))
    (length,) = struct.unpack_from("<Q", blob)
    text = json.dumps({"__metadata__": dict(metadata), **header(blob)}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays start at a multiple of eight
    return struct.pack("<Q", len(text)) + text + blob[8 + length :]


def header(blob: bytes) -> Any:
    """The header of any safetensors blob. Raises ValueError when it is no JSON, too long or cut off."""
    if len(blob) < 8:
        raise ValueError("The blob has no header.")
    (length,) = struct.unpack_from("<Q", blob)
    if length > min(MAX_HEADER, len(blob) - 8):
        raise ValueError(f"The header has {length} bytes.")
    return json.loads(blob[8 : 8 + length])


def _load(blob: bytes) -> dict[str, np.ndarray]:
    """The arrays of a blob of this format."""
    try:
        found = header(blob).get("__metadata__", {}).get("format")
        arrays = load(blob) if found == FORMAT else {}
    except (ValueError, AttributeError, RecursionError, SafetensorError):
        raise ValueError("This is no recording of a run.") from None
    if found != FORMAT:
        kind = f"format {found}" if found else "an older format"
        raise ValueError(f"This recording has {kind}; this program reads format {FORMAT}.")
    return arrays


def _telling(step: np.ndarray, loss: np.ndarray, norm: np.ndarray, buckets: int) -> np.ndarray:
    """Indices of the points that a drawing of this width needs: in each bucket the extremes of both series.

    Nothing is averaged; every point that stays is a true one, and what is not finite always stays. Buckets
    are of equal width in steps, so that thinning what was thinned does not wear the beginning away.
    """
    n = len(loss)
    if n <= 4 * buckets:
        return np.arange(n)
    keep = {0, n - 1}
    keep.update(np.flatnonzero(~(np.isfinite(loss) & np.isfinite(norm))).tolist())
    for low, high in itertools.pairwise(_buckets(step, buckets)):
        for series in (loss, norm):
            finite = low + np.flatnonzero(np.isfinite(series[low:high]))
            if len(finite):
                keep.update((int(finite[series[finite].argmin()]), int(finite[series[finite].argmax()])))
    return np.array(sorted(keep))


def _buckets(step: np.ndarray, count: int) -> np.ndarray:
    """Ascending steps in `count` ranges of equal width: the index at which each begins, and the end."""
    return np.searchsorted(step, np.linspace(step[0], step[-1] + 1, count + 1))


__all__ = [
    "INFINITE", "NAN", "UNDERFLOW", "decode", "encode", "header", "heat_column", "overview", "row_steps",
    "screen",
]  # fmt: skip
