"""The kinds of job, and the slice of one that a worker does.

A kind is a generator function: from the store, the request and the partial result of earlier slices (None at
first) it yields `(progress, partial, result)`; the result is None until the last. Between two yields it
should compute for no more than a few tenths of a second.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ..analysis.bracket import largest_singular, with_frobenius
from ..analysis.heights import Heights
from ..analysis.jacobians import read_jacobians
from ..analysis.lags import MOST_JACOBIANS
from ..analysis.moment import Moment, flat_of, moment
from ..analysis.scene import Scene, plane_of, theta_of
from ..experiment import Experiment, ExperimentError
from ..kernels import KERNELS
from ..step import repeatable
from ..tasks import TASKS
from ..tasks.task import FRESH_STREAM, GeneratedTask
from . import film, surfaces
from .jobs import Jobs
from .maps import column_blocks, decode_map, empty_map, encode_map
from .sharpness import MOST_CHECKPOINTS, MOST_PARAMETERS, sharpness_of
from .state import from_bytes
from .store import Store
from .worker import SLICE_SECONDS, open_store

Progress = tuple[float, bytes | None, bytes | None]
Kind = Callable[[Store, Mapping[str, Any], bytes | None], Iterator[Progress]]

FRESH_BATCH = 250
SCENES = 3  # surfaces that a worker has at hand


class JobError(ValueError):
    """A request that cannot be answered; the text is one sentence."""


def evaluate(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Progress]:
    """Loss and accuracy of a run's latest parameters on sequences that nobody has seen.

    request: {"run", "step", "sequences"}; the step must be the run's latest. Tasks that draw their sequences
    are given fresh ones, data sets their whole held-out part. Result: JSON {"sequences", "loss", "accuracy"}.
    """
    row, blob = store.run(request["run"]), store.state(request["run"])
    if row is None or blob is None:
        raise JobError("run: there is no run of that name with a state to evaluate.")
    state = from_bytes(blob, row.experiment)
    if state.step != request["step"]:
        raise JobError(f"step: got {request['step']}; the run's latest state is of step {state.step}.")
    task, length = TASKS[row.experiment.task], row.experiment.length
    wanted = int(request["sequences"])
    done: dict[str, float] = json.loads(partial) if partial else {"sequences": 0, "loss": 0.0, "right": 0.0}
    while True:
        if isinstance(task, GeneratedTask):
            index = int(done["sequences"])
            rng = np.random.default_rng([0, FRESH_STREAM, index])
            batch = task.sample(rng, length, min(FRESH_BATCH, wanted - index))
        else:
            batch = task.validation_batch(length)
            wanted = batch.inputs.shape[1]
        size = batch.inputs.shape[1]
        with repeatable():
            seen = state.network.evaluate(batch)
        accuracy = task.accuracy(seen.outputs, batch)
        done["sequences"] += size
        done["loss"] += seen.loss * size
        done["right"] += float("nan") if accuracy is None else accuracy * size
        if not np.isfinite(done["loss"]):
            raise JobError("loss: it is no finite number on these sequences.")
        if done["sequences"] >= wanted:
            answer = {
                "sequences": wanted, "loss": done["loss"] / wanted,
                "accuracy": None if np.isnan(done["right"]) else done["right"] / wanted,
            }  # fmt: skip
            yield 1.0, None, json.dumps(answer).encode()
            return
        yield done["sequences"] / wanted, json.dumps(done).encode(), None


def jacobian_map(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Progress]:
    """Spectral norms of ds_t/ds_k for every pair of times of one sequence, in one layer and direction.

    request: {"experiment": its JSON, "run": id or None, "step", "kernel": name or None, "part", "layer",
    "direction", "sequence"}. Of a run the checkpoint of that step counts, without one the first weights, and
    the step says which batch is read. Partial and result: `maps.encode_map`.
    """
    seen = _moment_of(store, request)
    e = seen.experiment
    traced = _place_of(request, seen)
    cell, weights = (
        seen.network.cell,
        seen.network.weights(traced["layer"], traced["direction"], traced["part"]),
    )
    T, S = len(seen.trace(**traced).inputs), e.hidden * len(cell.states)
    if T * S * S > MOST_JACOBIANS:
        raise JobError(
            f"hidden: the map of {T} steps of {S} states does not fit; fewer units or shorter sequences do."
        )
    with repeatable():
        jacobians = read_jacobians(cell, weights, seen.trace(**traced), int(request["sequence"]))
        known = decode_map(partial) if partial else empty_map(largest_singular(jacobians))
    if not np.isfinite(known.stretch).any():
        raise JobError("states: none of them is finite at this step, so that there is no Jacobian.")
    for columns in column_blocks(T, S):
        if known.done[columns].all():
            continue
        with repeatable():
            planes = with_frobenius(jacobians, columns, largest=known.stretch)
        # As it comes back: what a later slice goes on from is what this one goes on from.
        blob = encode_map(known.filled(columns, planes))
        known = decode_map(blob)
        if known.done.all():
            yield 1.0, None, blob
            return
        yield float(np.mean(known.done)), blob, None


def sharpness(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Progress]:
    """Curvature of the loss at checkpoints of a run, the newest first and then ever closer together.

    request: {"experiment": its JSON, "run": id or None, "steps": a list of them, "kernel": name or None}; see
    `jacobian_map`. Partial and result: `sharpness.encode`.
    """
    steps = [int(step) for step in request["steps"]]
    if not 1 <= len(steps) <= MOST_CHECKPOINTS:
        raise JobError(f"steps: got {len(steps)} of them; allowed: 1 to {MOST_CHECKPOINTS}.")
    first = _moment_of(store, {**request, "step": steps[-1]})
    if first.network.layout.size > MOST_PARAMETERS:
        raise JobError(
            f"hidden: curvature is taken of at most {MOST_PARAMETERS:,} parameters, and this network has "
            f"{first.network.layout.size:,}."
        )
    try:
        yield from sharpness_of(lambda step: _moment_of(store, {**request, "step": step}), steps, partial)
    except ExperimentError as error:
        raise JobError(str(error).splitlines()[0]) from error


def _moment_of(store: Store, request: Mapping[str, Any]) -> Moment:
    """The moment that a request is about; a JobError where there is none."""
    run, step, kernel = request["run"], int(request["step"]), request["kernel"]
    parameters = None
    if kernel is not None and kernel not in KERNELS:
        raise JobError(f"kernel: got {kernel!r}; allowed: {', '.join(KERNELS)}.")
    if run is not None:
        if store.run(run) is None:
            raise JobError("run: there is no run of that name.")
        parameters = store.checkpoint(run, step)
        if parameters is None:
            kept = store.checkpoint_steps(run)
            known = f"those of the steps {', '.join(map(str, kept))} are" if kept else "none is yet"
            raise JobError(f"step: the parameters of step {step} were not kept; {known}.")
    try:
        return moment(Experiment.from_json(request["experiment"]), step, parameters, kernel)
    except ExperimentError as error:
        raise JobError(str(error).splitlines()[0]) from error
    except ValueError as error:
        raise JobError(str(error)) from error


def _place_of(request: Mapping[str, Any], seen: Moment) -> dict[str, int]:
    """Part, layer and direction of a request; a JobError for what the network does not have."""
    traces = seen.true.passage.traces
    sizes = {
        "part": len(traces), "layer": len(traces[0]), "direction": len(traces[0][0]),
        "sequence": seen.experiment.batch,
    }  # fmt: skip
    for name, size in sizes.items():
        if not 0 <= int(request[name]) < size:
            raise JobError(f"{name}: got {request[name]}; it is counted from 0 and there are {size}.")
    return {name: int(request[name]) for name in ("part", "layer", "direction")}


def surface_tile(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Progress]:
    """Heights at some nodes of a surface.

    request: one of `surfaces.tile_requests`. Partial and result: `surfaces.encode_tile`, of the first nodes.
    """
    scene = scene_of(store, {k: v for k, v in request.items() if k not in ("tile", "per_tile")})
    numbers = surfaces.tiles(request["n"], request["per_tile"])[request["tile"]].numbers
    known = np.empty((0, len(surfaces.HEIGHTS))) if partial is None else surfaces.decode_tile(partial)
    for block in scene.blocks(numbers[len(known) :], request["gradient"]):
        known = np.concatenate([known, block])
        blob, done = surfaces.encode_tile(known), len(known) == len(numbers)
        yield len(known) / len(numbers), None if done else blob, blob if done else None


def scene_of(store: Store, request: Mapping[str, Any]) -> Scene:
    """What a surface's request is about; kept, since every tile of a surface asks for the same."""
    key = store.url, json.dumps(request, sort_keys=True)
    if key in _scenes:
        _scenes.move_to_end(key)
        return _scenes[key]
    seen = _moment_of(store, request)
    spec, path, end = request["plane"], None, None
    try:
        if spec["kind"] == "path":
            path = np.concatenate([_path(store, seen.experiment, run, until) for run, until in spec["runs"]])
        if spec["kind"] == "line":
            end = _flat(seen.experiment, store.checkpoint(spec["run"], spec["step"]))
        cut = plane_of(spec, seen, path, end).through(theta_of(seen))
    except ValueError as error:
        raise JobError(str(error)) from error
    (x, y), (left, right, low, high) = cut.centre, request["window"]
    across, up = surfaces.nodes(x, left, right, request["n"]), surfaces.nodes(y, low, high, request["n"])
    heights = Heights(seen.experiment, seen.step, request["over"], seen.network.kernel)
    _scenes[key] = Scene(heights, cut, across.offsets, up.offsets)
    while len(_scenes) > SCENES:
        _scenes.popitem(last=False)
    return _scenes[key]


_scenes: OrderedDict[tuple[str, str], Scene] = OrderedDict()


def surface_film(store: Store, request: Mapping[str, Any], partial: bytes | None) -> Iterator[Progress]:
    """An animation of a surface over training.

    request: `film.request`. Partial: `film.encode`; result: the bytes of a GIF.
    """
    try:
        film.check(request)
        scene = scene_of(store, film.surface_of(request))
        e, kernel, over = scene.heights.experiment, scene.heights.network.kernel, request["over"]
        until = request["steps"][-1]
        ways = [
            film.Way(name, color, *_checkpoints(store, e, run, until))
            for run, color, name in request["paths"]
        ]
        # Held-out sequences are the same at every step.
        heights_at = lru_cache(1)(lambda step: Heights(e, step, over, kernel))
        held = over == "held_out"
        made = film.Film(scene.cut, ways, lambda step: heights_at(0 if held else step), request)
        yield from film.film_of(made, partial)
    except ValueError as error:
        raise JobError(str(error)) from error


def _checkpoints(store: Store, experiment: Experiment, run: str, until: int) -> tuple[list[int], np.ndarray]:
    """A run's checkpoints up to a step, ascending: their steps, and parameters (K, P)."""
    kept = sorted((step, blob) for step, blob in store.checkpoints(run).items() if step <= until)
    if not kept:
        raise JobError("plane: the run that spans it has no checkpoints.")
    return [step for step, _blob in kept], np.stack([_flat(experiment, blob) for _step, blob in kept])


def _path(store: Store, experiment: Experiment, run: str, until: int) -> np.ndarray:
    """A run's checkpoints up to a step, (K, P)."""
    return _checkpoints(store, experiment, run, until)[1]


def _flat(experiment: Experiment, blob: bytes | None) -> np.ndarray:
    if blob is None:
        raise JobError("plane: the checkpoint that spans it is not there.")
    flat: np.ndarray = flat_of(experiment, blob).double().numpy()
    return flat


KINDS: dict[str, Kind] = {
    "evaluate": evaluate,
    "jacobian_map": jacobian_map,
    "sharpness": sharpness,
    surfaces.KIND: surface_tile,
    film.KIND: surface_film,
}


def job_slice(url: str, job_id: str, epoch: int, seconds: float = SLICE_SECONDS) -> str:
    """Advance a job for about `seconds`; returns why it stopped."""
    jobs = Jobs(open_store(url))
    job = jobs.job(job_id)
    if job is None:
        return "gone"
    deadline = time.monotonic() + seconds
    try:
        for progress, partial, result in KINDS[job.kind](jobs.store, job.request, job.partial):
            if result is not None:
                jobs.report(job_id, epoch, 1.0, None, result)
                return "finished"
            over = time.monotonic() >= deadline
            jobs.report(job_id, epoch, progress, partial)
            if jobs.cancelled(job_id, epoch):
                return "cancelled"
            if over:
                return "time"
    except JobError as error:
        jobs.fail(job_id, epoch, str(error))
    return "failed"
