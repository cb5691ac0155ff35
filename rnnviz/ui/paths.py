"""The way of a run through the space of its parameters, as its checkpoints keep it.

What was read and computed is kept by this process: a slider over training asks for it again and again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

import numpy as np
from safetensors.numpy import load

from ..analysis.heights import Heights
from ..analysis.moment import flat_of
from ..analysis.planes import Plane
from ..experiment import Experiment
from ..runs.store import Run, Store
from .networks import Shown

MOST_PATHS, MOST_HEIGHTS = 8, 4
#: What two runs must have in common for one surface to be that of both.
SAME = ("task", "length", "cell", "hidden", "layers", "direction", "architecture")


@dataclass(frozen=True)
class Path:
    """Checkpoints of a run: steps, and parameters (K, P) in float64."""

    steps: tuple[int, ...]
    thetas: np.ndarray

    def until(self, step: int) -> Path:
        """Those up to a step."""
        count = sum(one <= step for one in self.steps)
        return Path(self.steps[:count], self.thetas[:count])


@dataclass(frozen=True)
class Update:
    """A clipped step: at which checkpoint, where it led and where it would have led; (P,) each."""

    step: int
    taken: np.ndarray
    unclipped: np.ndarray


_lock = Lock()
_paths: OrderedDict[tuple[str, str], dict[int, np.ndarray]] = OrderedDict()
_updates: OrderedDict[tuple[str, str], dict[int, Update]] = OrderedDict()
_heights: OrderedDict[str, tuple[Heights, Lock, dict[bytes, float]]] = OrderedDict()


def same_surface(one: Experiment, other: Experiment) -> bool:
    """Whether the weights of one are weights of the other's network as well."""
    return all(getattr(one, name) == getattr(other, name) for name in SAME)


def path_of(store: Store, run: Run) -> Path:
    """The path of a run as far as it is recorded."""
    key = store.url, run.id
    steps = store.checkpoint_steps(run.id)
    with _lock:
        known = _paths.setdefault(key, {})
        _paths.move_to_end(key)
        while len(_paths) > MOST_PATHS:
            _paths.popitem(last=False)
    new = [step for step in steps if step not in known]
    if len(new) > 3:
        blobs = store.checkpoints(run.id)
        found = {step: blobs[step] for step in new if step in blobs}
    else:
        found = {step: blob for step in new if (blob := store.checkpoint(run.id, step)) is not None}
    for step, blob in found.items():
        known[step] = flat_of(run.experiment, blob).double().numpy()
    kept = tuple(step for step in steps if step in known)
    size = len(next(iter(known.values()))) if known else 0
    return Path(kept, np.array([known[step] for step in kept]).reshape(-1, size))


def updates_of(store: Store, run: Run) -> dict[int, Update]:
    """The clipped steps right after checkpoints, by step."""
    key = store.url, run.id
    with _lock:
        known = _updates.setdefault(key, {})
        _updates.move_to_end(key)
        while len(_updates) > MOST_PATHS:
            _updates.popitem(last=False)
    for step, blob in store.updates(run.id, after=max(known, default=-1)).items():
        arrays = load(blob)
        taken, unclipped = (arrays[name].astype(np.float64) for name in ("taken", "unclipped"))
        known[step] = Update(step, taken, unclipped)
    return dict(known)  # while somebody else may add to it


def latest(store: Store, run: Run) -> np.ndarray | None:
    """The parameters in which a run stands now, (P,); a running one writes them about once a second."""
    blob = store.state(run.id)
    return None if blob is None else load(blob)["parameters"].astype(np.float64)


def losses(one: Shown, over: str, thetas: np.ndarray) -> np.ndarray:
    """(K,): the loss at each of these parameters, on the batch that one network's surface is taken over."""
    heights, lock, known = _heights_of(one, over)
    found = np.empty(len(thetas))
    for k, theta in enumerate(thetas):
        name = sha256(theta.tobytes()).digest()  # a run under way asks for other weights all the time
        if name not in known:
            with lock:
                known[name] = float(heights.many([theta])[0, 0])
        found[k] = known[name]
    return found


def _heights_of(one: Shown, over: str) -> tuple[Heights, Lock, dict[bytes, float]]:
    of = one.experiment.changed(changes=())
    # The held-out sequences are the same at every step.
    step = one.step if over == "step" else 0
    key = json.dumps([of.to_json(), step, over, one.kernel])
    with _lock:
        if key not in _heights:
            _heights[key] = Heights(one.experiment, step, over, one.kernel), Lock(), {}
        _heights.move_to_end(key)
        while len(_heights) > MOST_HEIGHTS:
            _heights.popitem(last=False)
        return _heights[key]


def window_of(plane: Plane, paths: Sequence[Path], margin: float = 0.18) -> tuple[float, float, float, float]:
    """x from, to, y from, to: around all points of the paths, neither side much shorter than the other."""
    places = np.concatenate([plane.place(path.thetas)[0] for path in paths])
    low, high = places.min(0), places.max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    half = np.maximum(half, half.max() / 4) * (1 + 2 * margin)
    (left, bottom), (right, top) = middle - half, middle + half
    return float(left), float(right), float(bottom), float(top)
