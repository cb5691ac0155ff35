"""Runs as one file that another rnnviz takes in.

A zip file: `manifest.json` with the format's name and version and what the run table says of each run, and
for each run its chunks, checkpoints and latest state as the safetensors blobs that the store keeps. Nothing
in it can run code. What comes in is taken for a stranger's: it is measured before it is unpacked, and every
number that can be derived from the record is compared with it.
"""

from __future__ import annotations

import io
import json
import math
import struct
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from safetensors import SafetensorError
from safetensors.numpy import load

from ..experiment import MOST_STEPS, Experiment, ExperimentError
from ..layout import layout_of
from ..optimizers import OPTIMIZERS
from ..recording import Chunk, Recorder
from ..tasks import TASKS
from . import chunk as chunks
from .origin import Origin
from .schema import CHECKPOINTS, CHUNKS, RUNS, STATES
from .store import ENDED, TRANSITIONS, ChunkRow, Run, Store, new_id, tidy

SUFFIX = ".rnnviz"
FORMAT, VERSION = "rnnviz runs", 1
MAX_BYTES = 64_000_000  # unpacked
MAX_FILES = 65_000
MAX_DIRECTORY = 200 * MAX_FILES  # bytes of the zip file's own list of what it holds
MAX_RUNS = 100
MANIFEST = "manifest.json"
MAX_MANIFEST = 2_000_000  # bytes of JSON; many more would fill the memory with small objects
MESSAGE_LENGTH = 300
#: The first field of `Chunk` that has a row for each look at the validation set, as all after it have;
#: those before it have one for each step.
FIRST_OF_LOOKS = "validation_step"

_DATE = (1980, 1, 1, 0, 0, 0)  # of every file inside, so that the same runs give the same bytes
_BROKEN = (
    SafetensorError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
    RecursionError, struct.error,
)  # fmt: skip

Checkpoints = Literal["all", "last", "none"]


class ArchiveError(ValueError):
    """A run file that cannot be taken in or made; the text is one sentence."""


@dataclass(frozen=True)
class _Content:
    """A run on its way into the store."""

    columns: Mapping[str, Any]
    chunks: Sequence[ChunkRow]
    checkpoints: Mapping[int, bytes]
    state: tuple[int, bytes] | None
    repeats: int | None


def to_archive(store: Store, runs: Sequence[str], checkpoints: Checkpoints = "all") -> bytes:
    """These runs as a file; `checkpoints` may be left out, or all but the last, to make it smaller.

    Raises ArchiveError when there is no such run or the file would be too large to be taken in again.
    """
    if len(runs) > MAX_RUNS:
        raise ArchiveError(
            f"These are {len(runs)} runs, and a run file holds at most {MAX_RUNS}: take fewer runs."
        )
    _check_room(*measured(store, runs, checkpoints))
    entries: list[dict[str, Any]] = []
    size = number = 0
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, content: bytes) -> None:
            nonlocal size, number
            size, number = size + len(content), number + 1
            _check_room(size, number)  # a run under way has grown since it was measured
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)

        for index, run in enumerate(runs):
            state, blobs = store.state(run), list(records(store, run))
            row = store.run(run)  # last: its experiment knows of every change that the chunks show
            if row is None:
                raise ArchiveError(f"run: got {run[:40]!r}; there is no such run.")
            try:
                columns = _derived(row.experiment, map(chunks.decode, blobs))
            except ValueError as error:  # recorded by an older version
                raise ArchiveError(str(error)) from None
            # Weights that no seed draws are all that there is of a run.
            kept = _checkpoints(store, run, columns["step"], "all" if row.weights else checkpoints)
            entries.append({
                "experiment": json.loads(row.experiment.to_json()),
                "columns": {
                    **columns, "state": row.state, "message": row.message, "kernel": row.kernel,
                    "name": row.name, "rate": row.rate, "created": row.created,
                },
                "repeats": _repeated(store, row, runs), "chunks": len(blobs), "checkpoints": list(kept),
                "has_state": state is not None,
                **({"weights": json.loads(row.weights)} if row.weights else {}),
            })  # fmt: skip
            for k, blob in enumerate(blobs):
                put(_chunk_name(index, k), blob)
            for step, parameters in kept.items():
                put(_checkpoint_name(index, step), parameters)
            if state is not None:
                put(_state_name(index), state)
        manifest = json.dumps({"format": FORMAT, "version": VERSION, "runs": entries}, indent=1).encode()
        if len(manifest) > MAX_MANIFEST:
            raise ArchiveError("These runs hold too many changes for one run file: take fewer runs.")
        put(MANIFEST, manifest)
    return file.getvalue()


def measured(store: Store, runs: Sequence[str], checkpoints: Checkpoints = "all") -> tuple[int, int]:
    """Bytes and number of the blobs that a file of these runs holds, without loading them."""
    length, count = sa.func.coalesce(sa.func.sum(sa.func.length(CHUNKS.c.record)), 0), sa.func.count()
    kept = sa.select(CHECKPOINTS.c.run, CHECKPOINTS.c.step, sa.func.length(CHECKPOINTS.c.parameters))
    with store.read() as connection:
        size, number = connection.execute(sa.select(length, count).where(CHUNKS.c.run.in_(runs))).one()
        lengths = sa.select(sa.func.length(STATES.c.state)).where(STATES.c.run.in_(runs))
        others = list(connection.execute(lengths).scalars())
        if checkpoints != "none":
            rows = connection.execute(kept.where(CHECKPOINTS.c.run.in_(runs)).order_by(CHECKPOINTS.c.step))
            # By run alone the last one stays.
            others += {run if checkpoints == "last" else (run, step): n for run, step, n in rows}.values()
    return int(size) + sum(others), int(number) + len(others)


def records(store: Store, run: str) -> Iterator[bytes]:
    """The recorded chunks of a run in order, few of them in memory at once."""
    query = sa.select(CHUNKS.c.record).where(CHUNKS.c.run == run).order_by(CHUNKS.c.first_step)
    with store.read() as connection:
        yield from connection.execute(query.execution_options(yield_per=32)).scalars()


def _checkpoints(store: Store, run: str, reached: int, which: Checkpoints) -> dict[int, bytes]:
    """The chosen checkpoints up to step `reached`, by step."""
    if which == "none":
        return {}
    query = sa.select(CHECKPOINTS.c.step, CHECKPOINTS.c.parameters)
    query = query.where(CHECKPOINTS.c.run == run, CHECKPOINTS.c.step <= reached)
    ordered = query.order_by(CHECKPOINTS.c.step.desc()).limit(1 if which == "last" else None)
    with store.read() as connection:
        return dict(sorted((step, blob) for step, blob in connection.execute(ordered)))


def _repeated(store: Store, row: Run, runs: Sequence[str]) -> int | None:
    """The place in the file of the run that this one repeats, unless that one is a repeat itself."""
    if row.repeats is None or row.repeats not in runs:
        return None
    above = store.run(row.repeats)
    return None if above is None or above.repeats in runs else runs.index(row.repeats)


def _check_room(size: int, number: int) -> None:
    if size > MAX_BYTES:
        raise ArchiveError(
            f"These runs fill {size / 1e6:.0f} MB, and a run file holds at most {MAX_BYTES / 1e6:.0f} MB: "
            "take fewer runs or leave out the checkpoints."
        )
    if number > MAX_FILES:
        raise ArchiveError(
            f"These runs were recorded in {number:,} pieces, and a run file holds at most {MAX_FILES:,}: "
            "take fewer runs or leave out the checkpoints."
        )


def from_archive(store: Store, blob: bytes, owner: str | None) -> list[str]:
    """Take the runs of a file in, for the owner with this hash; returns their new ids in the file's order.

    What was under way when the file was made arrives as stopped. Raises ArchiveError, and then nothing has
    been taken in.
    """
    contents = _read(blob)
    ids = [new_id() for _ in contents]
    now = time.time()
    with store.write() as connection:
        for index, (run, content) in enumerate(zip(ids, contents, strict=True)):
            repeats = None if content.repeats is None else ids[content.repeats]
            connection.execute(
                sa.insert(RUNS).values(
                    **content.columns, id=run, owner=owner, command="go", epoch=0, dispatched=0.0, failures=0,
                    created=now + index * 1e-5, updated=now, repeats=repeats,
                )
            )  # fmt: skip
            if content.chunks:
                rows = [{"run": run, **vars(row)} for row in content.chunks]
                connection.execute(sa.insert(CHUNKS), rows)
            for step, parameters in content.checkpoints.items():
                connection.execute(sa.insert(CHECKPOINTS).values(run=run, step=step, parameters=parameters))
            if content.state is not None:
                step, state = content.state
                connection.execute(sa.insert(STATES).values(run=run, step=step, state=state))
    return ids


def _chunk_name(run: int, number: int) -> str:
    return f"runs/{run}/chunks/{number:06}.safetensors"


def _checkpoint_name(run: int, step: int) -> str:
    return f"runs/{run}/checkpoints/{step:07}.safetensors"


def _state_name(run: int) -> str:
    return f"runs/{run}/state.safetensors"


def _read(blob: bytes) -> list[_Content]:
    """Everything in a file, checked."""
    if len(blob) > MAX_BYTES + MAX_DIRECTORY:
        raise _too_large(len(blob))
    _check_directory(blob)
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            infos = archive.infolist()
            size = sum(info.file_size for info in infos)
            if size > MAX_BYTES:
                raise _too_large(size)
            if len({info.filename for info in infos}) < len(infos):
                raise _broken("a name stands in it twice")
            if MANIFEST not in archive.namelist():
                raise ArchiveError("This is no run file of rnnviz.")
            if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST:
                raise _broken(f"its manifest has to hold at most {MAX_MANIFEST / 1e6:.0f} MB")
            files = _Files(archive)
            entries = _manifest(files.read(MANIFEST))
            contents = []
            for index, entry in enumerate(entries):
                try:
                    contents.append(_content(index, entry, len(entries), files))
                except ArchiveError as error:
                    raise _broken(f"run {index + 1}: {error}") from None
                except ExperimentError as error:
                    raise _broken(f"run {index + 1}: {str(error).splitlines()[0].rstrip('.')}") from None
            _check_repeats(contents)
            return contents
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, struct.error) as error:
        if not zipfile.is_zipfile(io.BytesIO(blob)):
            raise ArchiveError("This is no run file of rnnviz.") from None
        raise _broken("it cannot be unpacked") from error


def _check_directory(blob: bytes) -> None:
    """The list of files at a zip file's end, measured before it is read: a long one would fill the memory."""
    at = blob.rfind(b"PK\x05\x06", -66_000)  # a comment of at most 64 KiB may follow
    if at < 0 or len(blob) < at + 22:
        raise ArchiveError("This is no run file of rnnviz.")
    (size,) = struct.unpack_from("<I", blob, at + 12)
    # More than that many bytes or entries, or the 64-bit form.
    entries = blob.count(b"PK\x01\x02", max(0, at - min(size, MAX_DIRECTORY)), at)
    wide = blob[max(0, at - 20) : at].startswith(b"PK\x06\x07")
    if size > MAX_DIRECTORY or entries > MAX_FILES or wide:
        raise _broken(f"it has to hold at most {MAX_FILES:,} files")


class _Files:
    """The files of an archive, each of at most the size that its directory says."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def read(self, name: str) -> bytes:
        """One file."""
        try:
            info = self.archive.getinfo(name)
        except KeyError:
            raise ArchiveError(f"{name} is missing") from None
        # Other methods of compression would unpack more than they are asked for.
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(name)
        with self.archive.open(info) as file:
            content = file.read(info.file_size)
            if len(content) != info.file_size or file.read(1):
                raise zipfile.BadZipFile(name)
        return content


def _manifest(blob: bytes) -> list[Any]:
    try:
        manifest = json.loads(blob)
    except (ValueError, RecursionError):
        raise _broken("its manifest is no JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArchiveError("This is no run file of rnnviz.")
    if manifest.get("version") != VERSION:
        version = str(manifest.get("version"))[:20]
        raise ArchiveError(f"This run file has version {version}; this program reads version {VERSION}.")
    runs = manifest.get("runs")
    if not isinstance(runs, list) or not 1 <= len(runs) <= MAX_RUNS:
        raise _broken(f"it has to hold 1 to {MAX_RUNS} runs")
    return runs


def _check_repeats(contents: Sequence[_Content]) -> None:
    """A repeat is of a run that repeats none: no screen shows a repeat of a repeat."""
    for index, content in enumerate(contents):
        if content.repeats is not None and contents[content.repeats].repeats is not None:
            raise _broken(f"run {index + 1}: it repeats a run that is a repeat itself")
        if content.repeats is not None and contents[content.repeats].columns["weights"] is not None:
            raise _broken(f"run {index + 1}: it repeats a run whose weights no seed has drawn")


def _content(index: int, entry: Any, runs: int, files: _Files) -> _Content:
    """One run of the manifest with what belongs to it. ArchiveErrors are the ends of sentences here."""
    if not isinstance(entry, dict) or not isinstance(entry.get("columns"), dict):
        raise ArchiveError("its entry in the manifest is not of the right kind")
    experiment = Experiment.from_json(json.dumps(entry.get("experiment")))
    told = entry["columns"]
    repeats = _optional(entry, "repeats", int, lambda n: 0 <= n < runs and n != index)
    state = _typed(told, "state", str)
    if state not in TRANSITIONS:
        raise ArchiveError("its state is none that a run can have")
    ended = state in ENDED
    state = state if ended else "stopped"

    count = _whole(entry, "chunks")
    rows, record = _chunks(experiment, (files.read(_chunk_name(index, k)) for k in range(count)))
    derived = _derived(experiment, record)
    for name, value in derived.items():
        if name not in told or type(told[name]) is not type(value) or told[name] != value:
            raise ArchiveError(f"{name} is not what was recorded")
    _check_end(experiment, state, record, derived)

    steps = entry.get("checkpoints")
    if not isinstance(steps, list) or not all(type(step) is int for step in steps):
        raise ArchiveError("its checkpoints are no list of steps")
    if steps != sorted(set(steps)) or any(not 0 <= step <= derived["step"] for step in steps):
        raise ArchiveError("its checkpoints are not of its steps")
    kept = {step: files.read(_checkpoint_name(index, step)) for step in steps}
    for parameters in kept.values():
        _check_arrays(parameters, layout_of(experiment).shapes, experiment.precision, "a checkpoint")
    has_state = _typed(entry, "has_state", bool)
    full = _state(experiment, files.read(_state_name(index)), derived["step"]) if has_state else None
    origin = _origin(entry)
    trained = state != "stopped" or rows or has_state or steps != [0] or repeats is not None
    if origin is not None and trained:
        raise ArchiveError("its weights came from a file, and what was recorded says otherwise")

    size = sum(len(row.record) + len(row.screen) for row in rows) + sum(map(len, kept.values()))
    columns = {
        **derived, "experiment": experiment.to_json(), "steps": experiment.steps, "state": state,
        "message": _message(told) if ended else None, "kernel": _kernel(told),
        "name": tidy(_optional(told, "name", str) or ""),
        "rate": _optional(told, "rate", float, lambda rate: 0 < rate < math.inf),
        "bytes": size + (len(full[1]) if full else 0),
        "weights": None if origin is None else origin.to_json(),
    }  # fmt: skip
    return _Content(columns, rows, kept, full, repeats)


def _chunks(experiment: Experiment, blobs: Iterator[bytes]) -> tuple[list[ChunkRow], list[Chunk]]:
    """Records as rows, the form for screens made anew; each must go on where the one before it ended.

    A run that was solved before its first step has one chunk, with a look and no step.
    """
    rows: list[ChunkRow] = []
    record: list[Chunk] = []
    kinds = expected_arrays(experiment)
    reached, clipped, seen = 0, 0, -1
    for blob in blobs:
        what = f"chunk {len(rows) + 1}"
        try:
            chunk = chunks.decode(blob)
            arrays = chunk.arrays()
            n, m = len(chunk.step), len(chunk.validation_step)
        except _BROKEN:
            raise ArchiveError(f"{what} is not a recording that this program can read") from None
        for name, array in arrays.items():
            of_look, dtype, shape = kinds[name]
            if array.dtype != dtype or array.shape != (m if of_look else n, *shape):
                raise ArchiveError(f"{what}: the numbers of {name} do not fit the experiment")
        last = reached + n - 1
        looks = chunk.validation_step
        unmoved = n == 0 and not rows and looks.tolist() == [0] and chunk.next_step == 0
        if not (n or unmoved) or (chunk.step != np.arange(reached, reached + n)).any():
            raise ArchiveError(f"{what}: the steps are out of order")
        if (np.diff(looks) < 1).any() or (m and not seen < looks[0] <= looks[-1] <= chunk.next_step):
            raise ArchiveError(f"{what}: the looks at the validation set are out of order")
        diverged = n > 0 and chunk.next_step == last  # its last point is of a step that was not made
        if not (diverged or chunk.next_step == last + 1) or chunk.next_step > experiment.steps:
            raise ArchiveError(f"{what}: the steps are out of order")
        if not clipped <= chunk.clipped <= clipped + n:
            raise ArchiveError(f"{what}: the number of clipped steps is not one")
        reached, clipped, seen = chunk.next_step, chunk.clipped, int(looks[-1]) if m else seen
        rows.append(ChunkRow(last - n + 1, max(0, last), chunk.next_step, blob, chunks.screen(chunk)))
        record.append(chunk)
        if diverged or unmoved:
            break
    if next(iter(blobs), None) is not None:
        raise ArchiveError(f"chunk {len(rows) + 1}: the steps are out of order")
    return rows, record


def expected_arrays(experiment: Experiment) -> dict[str, tuple[bool, np.dtype, tuple[int, ...]]]:
    """For each array of a chunk: whether its rows are looks (else steps), its type and a row's shape."""
    empty = Recorder(experiment).chunk(0, 0).arrays()
    names = list(empty)
    looks = names[names.index(FIRST_OF_LOOKS) :]
    return {name: (name in looks, array.dtype, array.shape[1:]) for name, array in empty.items()}


def _derived(experiment: Experiment, record: Iterable[Chunk]) -> dict[str, Any]:
    """The columns of a run that follow from its record."""
    columns: dict[str, Any] = {
        "step": 0, "clipped": 0, "train_loss": None, "validation_loss": None, "validation_accuracy": None,
        "solved_at": None,
    }  # fmt: skip
    solved = TASKS[experiment.task].solved
    for chunk in record:
        columns |= {"step": chunk.next_step, "clipped": chunk.clipped}
        if len(chunk):
            columns["train_loss"] = _finite(chunk.loss[-1])
        for step, loss, accuracy in zip(
            chunk.validation_step, chunk.validation_loss, chunk.validation_accuracy, strict=True
        ):
            share = None if np.isnan(accuracy) else float(accuracy)
            columns |= {"validation_loss": _finite(loss), "validation_accuracy": share}
            if columns["solved_at"] is None and solved.met(float(loss), share):
                columns["solved_at"] = int(step)
    return columns


def _check_end(
    experiment: Experiment, state: str, record: Sequence[Chunk], derived: Mapping[str, Any]
) -> None:  # fmt: skip
    """A state that the record does not bear out."""
    diverged = bool(record) and len(record[-1]) > 0 and record[-1].next_step == record[-1].step[-1]
    if (state == "diverged") != diverged:
        raise ArchiveError(f"it is said to be {state}, and its steps say otherwise")
    solved = experiment.until == "solved" and derived["solved_at"] is not None
    if state == "finished" and derived["step"] < experiment.steps and not solved:
        raise ArchiveError("it is said to be finished, and steps are missing")


def _state(experiment: Experiment, blob: bytes, reached: int) -> tuple[int, bytes]:
    """A full state and its step."""
    size = layout_of(experiment).size
    names = ["parameters", *(f"slot.{name}" for name in OPTIMIZERS[experiment.optimizer].slots)]
    _check_arrays(blob, dict.fromkeys(names, (size,)), experiment.precision, "its state")
    try:
        counters = json.loads(chunks.header(blob)["__metadata__"]["counters"])
        step = counters["step"]
    except _BROKEN:
        raise ArchiveError("its state has no counters") from None
    if type(step) is not int or not 0 <= step <= reached:
        raise ArchiveError("its state is of a step that was not recorded")
    return step, blob


def _check_arrays(blob: bytes, shapes: Mapping[str, tuple[int, ...]], precision: str, what: str) -> None:
    try:
        chunks.header(blob)  # measured before the package reads it
        arrays = load(blob)
    except _BROKEN:
        raise ArchiveError(f"{what} cannot be read") from None
    found = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    if found != {name: (shape, precision) for name, shape in shapes.items()}:
        raise ArchiveError(f"{what} does not fit the experiment")


def _origin(entry: Mapping[str, Any]) -> Origin | None:
    """Where its first weights came from, if that was a file."""
    if "weights" not in entry:
        return None
    try:
        return Origin.from_json(json.dumps(entry["weights"]))
    except ValueError:
        raise ArchiveError("its weights are not of the right kind") from None


def _message(told: Mapping[str, Any]) -> str | None:
    message = _optional(told, "message", str)
    return None if message is None else " ".join(message.split())[:MESSAGE_LENGTH]


def _kernel(told: Mapping[str, Any]) -> str | None:
    """What computed the run: JSON with a few words."""
    kernel: str | None = _optional(told, "kernel", str, lambda text: len(text) < 1000)
    try:
        words = {} if kernel is None else json.loads(kernel)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict) or not all(isinstance(word, str | int) for word in words.values()):
        raise ArchiveError("its kernel is not of the right kind")
    return kernel


def _typed(entry: Mapping[str, Any], name: str, kind: type) -> Any:
    if type(entry.get(name)) is not kind or not _can_be_kept(entry[name]):
        raise ArchiveError(f"its {name} is not of the right kind")
    return entry[name]


def _can_be_kept(value: Any) -> bool:
    """JSON can hold half of a character, and a zero, which a database cannot."""
    return not isinstance(value, str) or not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


def _whole(entry: Mapping[str, Any], name: str) -> int:
    number: int = _typed(entry, name, int)
    if not 0 <= number <= MOST_STEPS:
        raise ArchiveError(f"its {name} is not of the right kind")
    return number


def _optional(entry: Mapping[str, Any], name: str, kind: type, fits: Any = lambda value: True) -> Any:
    value = entry.get(name)
    if value is not None and (type(value) is not kind or not _can_be_kept(value) or not fits(value)):
        raise ArchiveError(f"its {name} is not of the right kind")
    return value


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _too_large(size: int) -> ArchiveError:
    return ArchiveError(
        f"This run file is too large: it holds {size / 1e6:.0f} MB, "
        f"and at most {MAX_BYTES / 1e6:.0f} MB are taken in."
    )


def _broken(why: str) -> ArchiveError:
    return ArchiveError(f"This run file is broken: {why}.")


__all__ = ["SUFFIX", "ArchiveError", "from_archive", "to_archive"]
