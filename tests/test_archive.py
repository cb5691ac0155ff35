"""Runs as a file: what goes out comes in again, and what is not that is refused in a sentence."""

from __future__ import annotations

import io
import json
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.layout import layout_of
from rnnviz.network import Network
from rnnviz.runs import archive, worker
from rnnviz.runs.archive import (
    FIRST_OF_LOOKS,
    MANIFEST,
    ArchiveError,
    expected_arrays,
    from_archive,
    measured,
    to_archive,
)  # fmt: skip
from rnnviz.runs.chunk import MAX_HEADER, decode
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.schema import CHUNKS, RUNS
from rnnviz.runs.store import ENDED, Run, Store
from rnnviz.runs.worker import advance_slice
from rnnviz.tasks import TASKS
from rnnviz.tasks.task import Solved
from rnnviz.training import advance, begin
from tests.stores import new_store

ROOT = Path(__file__).parents[1]
EXPERIMENT = Experiment(task="digits_rows", cell="lstm", hidden=3, batch=3, steps=24, clip_threshold=0.6)
DIVERGING = Experiment(
    task="digits", cell="linear", hidden=8, batch=3, steps=40, optimizer="sgd", learning_rate=1e-3,
    clip="none", changes=[{"step": 10, "field": "learning_rate", "value": 100.0}],
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    worker.open_store.cache_clear()
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """Another rnnviz."""
    store = new_store(tmp_path / "other.db")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk ends only where a run pauses, however slow the machine is."""
    monkeypatch.setattr(worker, "ORDERS_SECONDS", 1000.0)
    monkeypatch.setattr(worker, "CHUNK_SECONDS", 1000.0)


def row_of(store: Store, run: str) -> Run:
    found = store.run(run)
    assert found is not None
    return found


def trained(
    store: Store, experiment: Experiment = EXPERIMENT, steps: tuple[int, ...] = (3, 9), **options: Any
) -> str:
    """A run that was paused at these steps, so that it has a chunk before each and one after, and ended."""
    run = store.create(experiment, **options)
    for step in (*steps, None):
        with store.write() as connection:
            connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(pause_at=step, command="go"))
        store.settle()
        advance_slice(store.url, run, store.claim(run), 1000.0)
    assert row_of(store, run).ended
    return run


def content(store: Store, run: str) -> dict[str, Any]:
    """What a run is, without what is its place in a store."""
    row = row_of(store, run)
    own = {
        "id",
        "created",
        "updated",
        "owner",
        "command",
        "epoch",
        "dispatched",
        "repeats",
        "pause_at",
        "due",
    }
    screens = [
        (last, {name: a.tobytes() for name, a in load(blob).items()}) for last, blob in store.screens(run)
    ]
    columns = {name: value for name, value in vars(row).items() if name not in own}
    columns["bytes"] -= sum(map(len, store.updates(run).values()))  # left out
    return {
        "columns": columns,
        "chunks": [(c.first_step, c.last_step, c.next_step, c.record) for c in store.chunks(run)],
        "screens": screens, "state": store.state(run), "checkpoints": store.checkpoints(run),
    }  # fmt: skip


@lru_cache
def made() -> bytes:
    """The file of one finished run."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/runs.db")
        try:
            return to_archive(store, [trained(store, name="A run")])
        finally:
            worker.open_store.cache_clear()
            store.close()


def unzipped(blob: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(blob)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, blob in files.items():
            file.writestr(name, blob)
    return out.getvalue()


def told(change: Callable[[Any], object], blob: bytes | None = None) -> bytes:
    """A file with a changed manifest."""
    files = unzipped(blob or made())
    manifest = json.loads(files[MANIFEST])
    change(manifest)
    return zipped({**files, MANIFEST: json.dumps(manifest).encode()})


def rebuilt(name: str, change: Callable[[dict[str, np.ndarray]], object], metadata: Any = None) -> bytes:
    """A file in which the arrays of one blob are changed."""
    files = unzipped(made())
    blob = files[name]
    (length,) = struct.unpack_from("<Q", blob)
    before = json.loads(blob[8 : 8 + length]).get("__metadata__")
    arrays = {key: array.copy() for key, array in load(blob).items()}
    change(arrays)
    return zipped({**files, name: save(arrays, metadata or before)})


def refused(store: Store, blob: bytes) -> str:
    """The sentence with which a file is refused; nothing of it is in the store."""
    with pytest.raises(ArchiveError) as caught:
        from_archive(store, blob, "owner")
    assert store.runs() == []
    text = str(caught.value)
    assert re.fullmatch(r"This (is no run file of rnnviz|run file .+)\.", text), text
    assert "\n" not in text
    return text


# Out and in again


def test_a_run_comes_in_as_it_went_out(store, other):
    run = trained(store, owner="me", name="Ünïcode")
    (new,) = from_archive(other, to_archive(store, [run]), "them")
    assert new != run
    assert content(other, new) == content(store, run)
    row = row_of(other, new)
    assert (row.owner, row.name, row.state, row.step) == ("them", "Ünïcode", "finished", 24)
    assert [c.first_step for c in other.chunks(new)] == [0, 3, 9]
    assert other.prune() == [], "what has just arrived is not old, whenever it was recorded"
    assert other.claim(new) is None


def test_a_run_with_changes_and_a_diverged_one(store, other):
    run = store.create(EXPERIMENT, pause_at=5)
    advance_slice(store.url, run, store.claim(run), 1000.0)
    store.change(run, "learning_rate", 0.5)
    store.command(run, "go")
    store.settle()
    advance_slice(store.url, run, store.claim(run), 1000.0)
    diverged = trained(store, DIVERGING, (5,))
    ids = from_archive(other, to_archive(store, [run, diverged]), None)
    assert [content(other, new) for new in ids] == [content(store, old) for old in (run, diverged)]
    assert [c.step for c in row_of(other, ids[0]).experiment.changes] == [5]
    row = row_of(other, ids[1])
    assert row.state == "diverged"
    assert "no longer finite" in row.message


@pytest.mark.parametrize(
    ("task", "cell"), sorted({*((task, "gru") for task in TASKS), *(("digits_rows", cell) for cell in CELLS)})
)
def test_every_task_and_cell_can_be_sent(store, other, task, cell):
    length = max(TASKS[task].min_length, 5) if TASKS[task].fixed_length is None else 0
    knobs: dict[str, Any] = {"length": length} if length else {}
    precision = "float64" if cell == "gru" else "float32"
    optimizer = {"tanh": "sgd", "relu": "momentum", "sigmoid": "rmsprop"}.get(cell, "adam")
    experiment = Experiment(
        task=task, cell=cell, hidden=2, batch=2, steps=3, precision=precision, optimizer=optimizer, **knobs
    )
    run = trained(store, experiment, (2,))
    (new,) = from_archive(other, to_archive(store, [run]), None)
    assert content(other, new) == content(store, run)


@pytest.mark.parametrize("cell", CELLS)
def test_shapes_are_those_of_the_network(cell):
    for task in TASKS:
        experiment = Experiment(task=task, cell=cell, hidden=3)
        assert layout_of(experiment).shapes == {
            k: tuple(v.shape) for k, v in Network(experiment).parameters.items()
        }


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_expected_of_a_chunk_is_what_is_recorded(cell):
    """Fields from FIRST_OF_LOOKS on have a row a look, those before it a row a step."""
    experiment = Experiment(task="digits_rows", cell=cell, hidden=2, batch=2, steps=40)
    chunk = advance(begin(experiment), steps=7)
    assert (len(chunk.step), len(getattr(chunk, FIRST_OF_LOOKS))) == (7, 1)
    found = {name: (array.dtype, array.shape) for name, array in chunk.arrays().items()}
    assert found == {
        name: (dtype, (1 if of_look else 7, *shape))
        for name, (of_look, dtype, shape) in expected_arrays(experiment).items()
    }


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_what_was_under_way_arrives_as_stopped(store, other, state):
    run = store.create(EXPERIMENT, pause_at=6, pace=2.0)
    advance_slice(store.url, run, store.claim(run), 1000.0)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(state=state, pause_at=8, message="Hm."))
    (new,) = from_archive(other, to_archive(store, [run]), None)
    row = row_of(other, new)
    assert (row.state, row.message) == ("stopped", None)
    assert (row.pace, row.pause_at, row.due, row.epoch, row.failures) == (None, None, 0.0, 0, 0)
    assert row.step == row_of(store, run).step > 0


def test_a_run_that_never_began(store, other):
    (new,) = from_archive(other, to_archive(store, [store.create(EXPERIMENT)]), None)
    row = row_of(other, new)
    assert (row.state, row.step, row.bytes, other.state(new)) == ("stopped", 0, 0, None)


@pytest.mark.parametrize("state", sorted(ENDED - {"diverged", "finished"}))
def test_other_ends_are_kept_with_what_was_said(store, other, state):
    run = store.create(EXPERIMENT, pause_at=6)
    advance_slice(store.url, run, store.claim(run), 1000.0)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(state=state, message="Why it ended."))
    (new,) = from_archive(other, to_archive(store, [run]), None)
    assert content(other, new) == content(store, run)


@pytest.mark.parametrize(("which", "kept"), [("all", [0, 1, 2, 24]), ("last", [24]), ("none", [])])
def test_checkpoints_can_be_left_out(store, other, which, kept):
    run = trained(store)
    blob = to_archive(store, [run], which)
    (new,) = from_archive(other, blob, None)
    steps = list(other.checkpoints(new))
    assert steps == kept if which != "all" else set(kept) <= set(steps)
    before = content(store, run)
    wanted = {step: blob for step, blob in before["checkpoints"].items() if step in steps}
    columns = {**before["columns"], "bytes": row_of(other, new).bytes}
    assert content(other, new) == {**before, "columns": columns, "checkpoints": wanted}
    assert len(blob) <= len(to_archive(store, [run]))


def test_bytes_are_measured(store, other):
    (new,) = from_archive(other, to_archive(store, [trained(store)]), None)
    row = row_of(other, new)
    kept = [len(c.record) + len(c.screen) for c in other.chunks(new)]
    assert row.bytes == sum(kept) + sum(map(len, other.checkpoints(new).values())) + len(other.state(new))


def test_relations_between_the_runs_of_a_file_are_kept(store, other):
    run = trained(store)
    again = [trained(store, EXPERIMENT.changed(seed=s), repeats=run) for s in (1, 2)]
    ids = from_archive(other, to_archive(store, [again[0], run, again[1]]), None)
    assert [row_of(other, new).repeats for new in ids] == [ids[1], None, ids[1]]
    assert [r.id for r in other.repeats_of(ids[1])] == [ids[0], ids[2]]
    (alone,) = from_archive(other, to_archive(store, [again[0]]), None)
    assert row_of(other, alone).repeats is None, "what it repeats is not in the file"


def test_a_repeat_of_a_repeat_stands_for_itself_in_a_file(store, other):
    run = trained(store)
    again = trained(store, EXPERIMENT.changed(seed=1), repeats=run)
    third = trained(store, EXPERIMENT.changed(seed=2), repeats=again)
    ids = from_archive(other, to_archive(store, [run, again, third]), None)
    assert [row_of(other, new).repeats for new in ids] == [None, ids[0], None]


def test_a_run_that_is_solved_before_its_first_step(store, other, monkeypatch):
    """Its one chunk has a look and no step."""
    monkeypatch.setattr(TASKS["digits_rows"], "solved", Solved("loss", 1e9, ""))
    run = trained(store, EXPERIMENT.changed(until="solved"), ())
    assert [len(decode(c.record)) for c in store.chunks(run)] == [0]
    blob = to_archive(store, [run])
    (new,) = from_archive(other, blob, None)
    assert content(other, new) == content(store, run)
    row = row_of(other, new)
    assert (row.state, row.step, row.solved_at, row.train_loss) == ("finished", 0, 0, None)
    other.delete(new)
    files = unzipped(blob)
    manifest = json.loads(files[MANIFEST])
    manifest["runs"][0]["chunks"] = 2
    again = {CHUNK(1): files[CHUNK(0)], MANIFEST: json.dumps(manifest).encode()}
    said = refused(other, zipped({**files, **again}))
    assert said == "This run file is broken: run 1: chunk 2: the steps are out of order."


def test_a_run_that_was_to_end_when_solved_and_was_not_is_not_finished(store, other):
    run = trained(store, EXPERIMENT.changed(until="solved", steps=24))
    assert row_of(store, run).solved_at is None
    more = first(lambda r: r["experiment"].update(steps=100))
    said = refused(other, told(more, to_archive(store, [run])))
    assert said == "This run file is broken: run 1: it is said to be finished, and steps are missing."


def test_the_same_file_twice_is_two_runs(other):
    ids = from_archive(other, made(), None) + from_archive(other, made(), None)
    assert len(set(ids)) == 2
    assert content(other, ids[0]) == content(other, ids[1])


def test_the_same_runs_give_the_same_bytes(store):
    run = trained(store)
    assert to_archive(store, [run]) == to_archive(store, [run])


def test_a_file_names_neither_owner_nor_run(store):
    run = trained(store, owner="0123456789abcdef")
    blob = to_archive(store, [run])
    inside = b"".join(unzipped(blob).values()) + blob
    assert run.encode() not in inside
    assert b"0123456789abcdef" not in inside


def test_a_run_that_came_in_can_be_asked_about(store, other):
    (new,) = from_archive(other, made(), None)
    jobs = Jobs(other)
    job = jobs.ask("evaluate", {"run": new, "step": 24, "sequences": 10})
    assert job_slice(other.url, job, jobs.claim(job)) == "finished"


def test_what_a_lost_slice_left_behind_goes_out_and_in(store, other):
    """Chunks beyond the state, and a step in the run table that no chunk bears out."""
    run = store.create(EXPERIMENT, pause_at=6)
    advance_slice(store.url, run, store.claim(run), 1000.0)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(step=20, state="stopped"))
    (new,) = from_archive(other, to_archive(store, [run]), None)
    assert row_of(other, new).step == 6


def test_what_cannot_go_out(store, monkeypatch):
    with pytest.raises(ArchiveError, match=r"^run: got 'nobody'; there is no such run\.$"):
        to_archive(store, ["nobody"])
    run = trained(store)
    monkeypatch.setattr(archive, "MAX_BYTES", 10_000)
    with pytest.raises(
        ArchiveError, match=r"^These runs fill \d+ MB, and a run file holds at most \d+ MB: take"
    ):
        to_archive(store, [run])
    with store.write() as connection:
        connection.execute(sa.update(CHUNKS).values(record=save({"step": np.zeros(3)})))
    with pytest.raises(ArchiveError, match=r"^[A-Z].+\.$"):
        to_archive(store, [run])


@pytest.mark.parametrize("which", ["all", "last", "none"])
def test_a_file_is_measured_before_it_is_made(store, which):
    runs = [trained(store), trained(store, EXPERIMENT.changed(cell="gru")), store.create(EXPERIMENT)]
    files = unzipped(to_archive(store, runs, which))
    files.pop(MANIFEST)
    assert measured(store, runs, which) == (sum(map(len, files.values())), len(files))
    assert measured(store, [], which) == (0, 0)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("MAX_BYTES", r"These runs fill \d+ MB, and a run file holds at most \d+ MB: take .+\."),
        ("MAX_FILES", r"These runs were recorded in \d+ pieces, and a run file holds at most 10: .+\."),
        ("MAX_RUNS", r"These are 11 runs, and a run file holds at most 10: take fewer runs\."),
    ],
)  # fmt: skip
def test_what_is_too_much_for_a_file_is_not_loaded(store, monkeypatch, limit, why):
    runs = [trained(store), *(store.create(EXPERIMENT) for _ in range(10))]
    monkeypatch.setattr(archive, limit, 10)
    for name in ("state", "chunks", "checkpoints"):
        monkeypatch.setattr(store, name, lambda *_: pytest.fail("it is loaded"))
    monkeypatch.setattr(archive, "records", lambda *_: pytest.fail("it is loaded"))
    with pytest.raises(ArchiveError) as caught:
        to_archive(store, runs)
    assert re.fullmatch(why, str(caught.value))


def test_a_run_that_grows_while_its_file_is_made(store, monkeypatch):
    run = trained(store)
    monkeypatch.setattr(archive, "MAX_BYTES", 10_000)
    monkeypatch.setattr(archive, "measured", lambda *_: (0, 0))
    with pytest.raises(ArchiveError, match=r"^These runs fill"):
        to_archive(store, [run])


def test_what_goes_out_has_a_manifest_that_can_come_in(store, monkeypatch):
    run = trained(store)
    monkeypatch.setattr(archive, "MAX_MANIFEST", 100)
    with pytest.raises(ArchiveError, match=r"^These runs hold too many changes .+\.$"):
        to_archive(store, [run])


def test_the_form_for_screens_stays_where_it_is(store, monkeypatch):
    """A file is made from the records alone."""
    run = trained(store)
    monkeypatch.setattr(store, "chunks", lambda *_: pytest.fail("screens are loaded"))
    assert to_archive(store, [run])


def test_the_web_server_can_use_it():
    code = "import sys, rnnviz.runs.archive; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# Refused


@pytest.mark.parametrize(
    "blob",
    [
        b"", b"nonsense", b"PK\x05\x06" + bytes(10), b"PK\x05\x06" + bytes(18), zipped({}),
        zipped({"a": b"b"}), zipped({MANIFEST: b'{"format": "another", "version": 1}'}),
        zipped({MANIFEST: b"[]"}),
    ],
)  # fmt: skip
def test_what_is_no_run_file(other, blob):
    assert refused(other, blob) == "This is no run file of rnnviz."


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5, [1] * 100])
def test_another_version(other, version):
    said = refused(other, told(lambda m: m.update(version=version)))
    assert said == f"This run file has version {str(version)[:20]}; this program reads version 1."


def test_a_file_that_is_too_large_is_not_unpacked(other, monkeypatch):
    """64 MB of zeros are 60 kB in the file."""
    blob = zipped({**unzipped(made()), "zeros": bytes(archive.MAX_BYTES)})
    assert len(blob) < 1_000_000
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("nothing is read"))
    assert refused(other, blob) == (
        "This run file is too large: it holds 64 MB, and at most 64 MB are taken in."
    )
    assert refused(other, bytes(archive.MAX_BYTES + archive.MAX_DIRECTORY + 1)).startswith(
        "This run file is too large"
    )


def test_a_file_that_lies_about_its_sizes(other):
    """Both directories say 10 bytes, and there are many more."""
    blob = bytearray(zipped({MANIFEST: bytes(1_000_000)}))
    sizes = struct.pack("<I", 1_000_000)
    for _ in range(2):
        at = blob.find(sizes)
        assert at > 0
        blob[at : at + 4] = struct.pack("<I", 10)
    assert refused(other, bytes(blob)) == "This run file is broken: it cannot be unpacked."


def test_a_long_list_of_files_is_not_read(other, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DIRECTORY", 10)
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *_: pytest.fail("nothing is read"))
    assert refused(other, made()) == "This run file is broken: it has to hold at most 65,000 files."


def test_many_files_with_short_names_are_not_listed(other, monkeypatch):
    """A list of the allowed length has room for more entries than there may be."""
    monkeypatch.setattr(archive, "MAX_FILES", 1000)
    blob = zipped({MANIFEST: b"{}", **{f"{k:x}": b"" for k in range(1000)}})
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *_: pytest.fail("nothing is read"))
    assert refused(other, blob) == "This run file is broken: it has to hold at most 1,000 files."


def test_a_manifest_of_many_small_things_is_not_read(other, monkeypatch):
    """2 MB of empty lists are 4 kB in the file, and many times that in memory."""
    blob = zipped({MANIFEST: b"[" + b"[]," * (archive.MAX_MANIFEST // 3) + b"[]]"})
    assert len(blob) < 10_000
    monkeypatch.setattr(json, "loads", lambda *_: pytest.fail("nothing is read"))
    assert refused(other, blob) == "This run file is broken: its manifest has to hold at most 2 MB."


def padded(blob: bytes, size: int) -> bytes:
    """The same blob with spaces behind its header."""
    (length,) = struct.unpack_from("<Q", blob)
    return struct.pack("<Q", size) + blob[8 : 8 + length].ljust(size) + blob[8 + length :]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("chunks/000000", "chunk 1 is not a recording that this program can read"),
        ("state", "its state cannot be read"),
        ("checkpoints/0000000", "a checkpoint cannot be read"),
    ],
)
def test_a_long_header_is_not_read(other, name, why):
    files, name = unzipped(made()), f"runs/0/{name}.safetensors"
    said = refused(other, zipped({**files, name: padded(files[name], MAX_HEADER + 8)}))
    assert said == f"This run file is broken: run 1: {why}."
    assert from_archive(other, zipped({**files, name: padded(files[name], MAX_HEADER)}), None)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_compression(other, method):
    said = refused(other, zipped(unzipped(made()), method))
    assert said == "This run file is broken: it cannot be unpacked."
    assert from_archive(other, zipped(unzipped(made()), zipfile.ZIP_STORED), None)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_in_it_twice(other):
    out = io.BytesIO(made())
    with zipfile.ZipFile(out, "a") as file:
        file.writestr(MANIFEST, b"{}")
    assert refused(other, out.getvalue()) == "This run file is broken: a name stands in it twice."


def first(change: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda manifest: change(manifest["runs"][0])


def columns(**values: Any) -> Callable[[Any], object]:
    return first(lambda run: run["columns"].update(values))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.update(runs=[]), "it has to hold 1 to 100 runs"),
        (lambda m: m.update(runs=m["runs"] * 101), "it has to hold 1 to 100 runs"),
        (lambda m: m.update(runs={}), "it has to hold 1 to 100 runs"),
        (lambda m: m.update(runs=[3]), "run 1: its entry in the manifest is not of the right kind"),
        (lambda m: m.update(runs=m["runs"] * 2), "run 2: runs/1/chunks/000000.safetensors is missing"),
        (first(lambda r: r.pop("columns")), "run 1: its entry in the manifest is not of the right kind"),
        (first(lambda r: r.pop("experiment")), "run 1: experiment: got 'null'; a JSON"),
        (first(lambda r: r["experiment"].update(cell="gur")), "run 1: cell: got 'gur'; did you mean gru?"),
        (first(lambda r: r["experiment"].update(hidden=4)), "run 1: a checkpoint does not fit the"),
        (first(lambda r: r["experiment"].update(optimizer="sgd")), "run 1: its state does not fit the"),
        (first(lambda r: r["experiment"].update(task="digits", length=64)), "run 1: chunk 1: the numbers"),
        (first(lambda r: r["experiment"].update(precision="float64")), "run 1: chunk 1: the numbers"),
        (first(lambda r: r["experiment"].update(cell="gru")), "run 1: chunk 1: the numbers of grad_cell"),
        (first(lambda r: r["experiment"].update(steps=20)), "run 1: chunk 3: the steps are out of order"),
        (first(lambda r: r["experiment"].update(steps=25)), "run 1: it is said to be finished"),
        (first(lambda r: r.update(chunks=2)), "run 1: step is not what was recorded"),
        (first(lambda r: r.update(chunks=4)), "run 1: runs/0/chunks/000003.safetensors is missing"),
        (first(lambda r: r.update(chunks=-1)), "run 1: its chunks is not of the right kind"),
        (first(lambda r: r.update(chunks=True)), "run 1: its chunks is not of the right kind"),
        (first(lambda r: r.update(checkpoints=None)), "run 1: its checkpoints are no list of steps"),
        (first(lambda r: r.update(checkpoints=[2, 1])), "run 1: its checkpoints are not of its steps"),
        (first(lambda r: r.update(checkpoints=[25])), "run 1: its checkpoints are not of its steps"),
        (first(lambda r: r.update(checkpoints=[-1])), "run 1: its checkpoints are not of its steps"),
        (first(lambda r: r.update(checkpoints=[9])), "run 1: runs/0/checkpoints/0000009.safetensors"),
        (first(lambda r: r.update(has_state=1)), "run 1: its has_state is not of the right kind"),
        (first(lambda r: r.update(repeats=0)), "run 1: its repeats is not of the right kind"),
        (first(lambda r: r.update(repeats=1)), "run 1: its repeats is not of the right kind"),
        (first(lambda r: r.update(repeats="a")), "run 1: its repeats is not of the right kind"),
        (columns(state="of mind"), "run 1: its state is none that a run can have"),
        (columns(state=["x"]), "run 1: its state is not of the right kind"),
        (columns(state="diverged"), "run 1: it is said to be diverged, and its steps say otherwise"),
        (columns(step=23), "run 1: step is not what was recorded"),
        (columns(step=24.0), "run 1: step is not what was recorded"),
        (columns(train_loss=0.0), "run 1: train_loss is not what was recorded"),
        (columns(validation_accuracy=1.0), "run 1: validation_accuracy is not what was recorded"),
        (columns(solved_at=3), "run 1: solved_at is not what was recorded"),
        (columns(clipped=-1), "run 1: clipped is not what was recorded"),
        (columns(name=["x"]), "run 1: its name is not of the right kind"),
        (columns(name="\ud800bad"), "run 1: its name is not of the right kind"),
        (columns(message="half \udfff"), "run 1: its message is not of the right kind"),
        (columns(message="a zero \0"), "run 1: its message is not of the right kind"),
        (columns(kernel='{"torch": "\ud800"}'), "run 1: its kernel is not of the right kind"),
        (columns(message=3), "run 1: its message is not of the right kind"),
        (columns(rate=-1.0), "run 1: its rate is not of the right kind"),
        (columns(rate=float("nan")), "run 1: its rate is not of the right kind"),
        (columns(kernel="[1]"), "run 1: its kernel is not of the right kind"),
        (columns(kernel="{" * 900), "run 1: its kernel is not of the right kind"),
        (columns(kernel='{"torch": {}}'), "run 1: its kernel is not of the right kind"),
    ],
)  # fmt: skip
def test_a_manifest_that_lies(other, change, why):
    assert refused(other, told(change)).startswith(f"This run file is broken: {why}")


CHUNK = "runs/0/chunks/{:06}.safetensors".format


def set_to(name: str, value: Any) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.__setitem__(name, value(arrays[name]) if callable(value) else value)


@pytest.mark.parametrize(
    ("number", "change", "why"),
    [
        (1, set_to("step", lambda a: a[::-1].copy()), "the steps are out of order"),
        (1, set_to("step", lambda a: a + 1), "the steps are out of order"),
        (1, set_to("step", lambda a: a - 3), "the steps are out of order"),
        (1, set_to("step", lambda a: a.astype(np.float64)), "the numbers of step do not fit the experiment"),
        (1, set_to("loss", lambda a: a.astype(np.float32)), "the numbers of loss do not fit"),
        (1, set_to("loss", lambda a: a[1:]), "the numbers of loss do not fit"),
        (1, set_to("loss", lambda a: a[:, None]), "the numbers of loss do not fit"),
        (1, set_to("grad_hidden", lambda a: a[:, 1:].copy()), "the numbers of grad_hidden do not fit"),
        (0, set_to("validation_loss", lambda a: np.append(a, a)), "the numbers of validation_loss"),
        (2, set_to("validation_step", lambda a: a[::-1].copy()), "the looks at the validation set are"),
        (2, set_to("validation_step", lambda a: a + 1), "the looks at the validation set are"),
        (2, set_to("validation_step", lambda a: a * 0), "the looks at the validation set are"),
        (1, set_to("counts", np.array([8, 3])), "the steps are out of order"),
        (1, set_to("counts", np.array([10, 3])), "the steps are out of order"),
        (1, set_to("counts", np.array([9, 200])), "the number of clipped steps is not one"),
        (2, set_to("counts", np.array([24, -1])), "the number of clipped steps is not one"),
        (1, set_to("counts", np.array([9])), "is not a recording"),
        (1, set_to("counts", np.array([9, np.nan])), "is not a recording"),
        (1, lambda arrays: arrays.pop("counts"), "is not a recording"),
        (1, lambda arrays: arrays.pop("loss"), "is not a recording"),
        (1, set_to("extra", np.zeros(3)), "is not a recording"),
        (1, set_to("step", np.array(3)), "is not a recording"),
    ],
)  # fmt: skip
def test_chunks_that_lie(other, number, change, why):
    said = refused(other, rebuilt(CHUNK(number), change))
    assert re.match(rf"This run file is broken: run 1: chunk [123]:? {re.escape(why)}", said), said


@pytest.mark.parametrize("blob", [b"", b"nonsense", bytes(100), struct.pack("<Q", 2**60) + b"{}"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        (CHUNK(0), "chunk 1 is not a recording that this program can read"),
        ("runs/0/state.safetensors", "its state cannot be read"),
        ("runs/0/checkpoints/0000000.safetensors", "a checkpoint cannot be read"),
        (MANIFEST, None),
    ],
)
def test_blobs_that_are_none(other, name, why, blob):
    said = refused(other, zipped({**unzipped(made()), name: blob}))
    expected = "its manifest is no JSON" if why is None else f"run 1: {why}"
    assert said == f"This run file is broken: {expected}."


def test_a_manifest_without_a_floor(other):
    for blob in (b"[" * 100_000, b'{"a":' * 100_000):
        said = refused(other, zipped({**unzipped(made()), MANIFEST: blob}))
        assert said == "This run file is broken: its manifest is no JSON."


@pytest.mark.parametrize(
    ("counters", "why"),
    [
        (None, "its state has no counters"),
        ("{}", "its state has no counters"),
        ("[]", "its state has no counters"),
        ('{"step": 25}', "its state is of a step that was not recorded"),
        ('{"step": true}', "its state is of a step that was not recorded"),
        ('{"step": -1}', "its state is of a step that was not recorded"),
    ],
)
def test_states_that_lie(other, counters, why):
    metadata = {"counters": counters} if counters else {"other": "x"}
    blob = rebuilt("runs/0/state.safetensors", lambda arrays: None, metadata)
    assert refused(other, blob) == f"This run file is broken: run 1: {why}."


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state", set_to("parameters", lambda a: a[1:])),
        ("state", set_to("parameters", lambda a: a.astype(np.float64))),
        ("state", lambda arrays: arrays.pop("slot.mean")),
        ("state", set_to("extra", np.zeros(2))),
        ("checkpoints/0000000", set_to("out.bias", np.zeros(2, np.float32))),
        ("checkpoints/0000000", set_to("out.bias", lambda a: a.astype(np.float16))),
        ("checkpoints/0000000", lambda arrays: arrays.pop("out.bias")),
    ],
)
def test_parameters_that_do_not_fit(other, name, change):
    what = "its state" if name == "state" else "a checkpoint"
    said = refused(other, rebuilt(f"runs/0/{name}.safetensors", change))
    assert said == f"This run file is broken: run 1: {what} does not fit the experiment."


def test_a_second_run_that_is_broken_leaves_nothing_of_the_first(store, other):
    blob = to_archive(store, [trained(store), trained(store)])
    broken = told(lambda m: m["runs"][1]["columns"].update(step=3), blob)
    assert refused(other, broken) == "This run file is broken: run 2: step is not what was recorded."
    with other.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(CHUNKS)).scalar() == 0


@pytest.mark.parametrize(
    ("repeats", "number"), [([None, 0, 1], 3), ([1, 0, None], 1), ([2, 0, 1], 1), ([1, 2, None], 1)]
)
def test_repeats_of_repeats_are_refused(store, other, repeats, number):
    blob = to_archive(store, [store.create(EXPERIMENT) for _ in repeats])

    def change(manifest: Any) -> None:
        for entry, place in zip(manifest["runs"], repeats, strict=True):
            entry["repeats"] = place

    said = refused(other, told(change, blob))
    assert said == f"This run file is broken: run {number}: it repeats a run that is a repeat itself."


def test_words_from_outside_are_cut_and_put_on_one_line(other):
    words = "a\n" * 500
    (new,) = from_archive(other, told(columns(name=words, message=words)), None)
    row = row_of(other, new)
    assert len(row.name) <= 80
    assert len(row.message) <= archive.MESSAGE_LENGTH
    assert "\n" not in row.name + row.message


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_in_a_sentence(other, data):
    """Cut off, or with some bytes changed, anywhere."""
    blob = bytearray(made())
    if data.draw(st.booleans()):
        del blob[data.draw(st.integers(0, len(blob) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            # Half of the changes near the end, where the directory is.
            low = data.draw(st.sampled_from([0, len(blob) - 1500]))
            blob[data.draw(st.integers(low, len(blob) - 1))] = data.draw(st.integers(0, 255))
    ids, said = [], "This is fine."
    try:
        ids = from_archive(other, bytes(blob), None)  # a date or another word that nobody reads may be hit
    except ArchiveError as error:
        said = str(error)
    assert re.fullmatch(r"This .+\.", said)
    for run in ids:
        assert [decode(c.record).next_step for c in other.chunks(run)] == [3, 9, 24]
        other.delete(run)
