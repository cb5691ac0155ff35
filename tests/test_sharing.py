"""What leaves the page: links, QR codes, tables, Python lines, files; and runs that come from a file."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from rnnviz.experiment import Experiment
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs import archive
from rnnviz.runs.archive import MAX_BYTES, from_archive, to_archive
from rnnviz.runs.chunk import decode
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from rnnviz.ui import link, sharing
from rnnviz.ui.python_lines import python_lines

SMALL = Experiment(task="adding", length=6, cell="lstm", hidden=5, batch=8, steps=25)
PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "train.py")


def slice_of(store: Store, run: str) -> None:
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 30.0)


def recorded(store: Store, experiment: Experiment = SMALL, **values: Any) -> str:
    """A run that has ended."""
    run = store.create(experiment, **values)
    slice_of(store, run)
    return run


def record(store: Store, run: str) -> Chunk:
    return concatenate([decode(row.record) for row in store.chunks(run) if row.record])


# Python lines


def executed(lines: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(lines, "lines.py", "exec"), names)
    return names


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(task="digits_rows", steps=12),
        SMALL.changed(forget_bias=1.5, seed=3, precision="float64", clip="value", clip_threshold=0.05),
        Experiment(
            task="temporal_order", length=12, cell="relu", hidden=6, batch=4, steps=15, optimizer="sgd"
        ),
    ],
    ids=lambda e: e.task,
)
def test_the_lines_repeat_a_run_byte_for_byte(
    store: Store, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recorded(store, experiment)
    losses = executed(python_lines([store.run(run).experiment]))["losses"]
    assert np.array(losses).tobytes() == record(store, run).loss.tobytes()
    assert f"validation loss {store.run(run).validation_loss:.4g}" in capsys.readouterr().out


def test_the_lines_repeat_what_was_changed_in_mid_run(store: Store) -> None:
    run = store.create(SMALL, pause_at=10)
    slice_of(store, run)
    assert store.run(run).step == 10
    assert store.change(run, "learning_rate", 0.1) is None
    assert store.change(run, "clip", "value") is None
    store.command(run, "go")
    store.settle()
    slice_of(store, run)
    made = store.run(run).experiment
    assert len(made.changes) == 2
    losses = executed(python_lines([made]))["losses"]
    assert np.array(losses).tobytes() == record(store, run).loss.tobytes()
    assert losses != executed(python_lines([SMALL]))["losses"]


def test_the_lines_repeat_twins(store: Store) -> None:
    twins = [SMALL, SMALL.changed(forget_bias=4.0)]
    losses = executed(python_lines(twins))["losses"]
    assert list(losses) == ["A", "B"]
    for name, twin in zip("AB", twins, strict=True):
        assert np.array(losses[name]).tobytes() == record(store, recorded(store, twin)).loss.tobytes()


def test_the_lines_name_only_what_differs() -> None:
    arguments = re.findall(
        r"^    (\w+)=(.+),$", python_lines([Experiment(task="adding", seed=3)]), re.MULTILINE
    )
    assert arguments == [("task", '"adding"'), ("seed", "3")]


# Tables


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_holds_every_number_exactly(store: Store) -> None:
    run = recorded(store)
    found, whole = rows(sharing.table(store, [run])), record(store, run)
    steps = [row for row in found if row["loss"]]
    assert [int(row["step"]) for row in found] == [*range(25), 25]
    for name in sharing.STEP_COLUMNS:
        expected = (
            whole.grad_norms[:, sharing.PARTS.index(name)] if name in sharing.PARTS else getattr(whole, name)
        )
        np.testing.assert_array_equal([float(row[name]) for row in steps], expected.astype(float), name)
    seen = [row for row in found if row["validation_loss"]]
    assert [int(row["step"]) for row in seen] == whole.validation_step.tolist() == [0, 10, 20, 25]
    for name in sharing.VALIDATION_COLUMNS:
        np.testing.assert_array_equal([float(row[name]) for row in seen], getattr(whole, name), name)
    assert not found[-1]["loss"]  # after the last update there is a validation and no training step


def test_the_table_tells_twins_and_repeats_apart(store: Store) -> None:
    first = recorded(store)
    recorded(store, SMALL.changed(seed=7), repeats=first)
    second = recorded(store, SMALL.changed(forget_bias=4.0))
    found = rows(sharing.table(store, [first, second]))
    assert list(dict.fromkeys((row["run"], row["seed"]) for row in found)) == [
        ("A", "0"), ("A", "7"), ("B", "0"),
    ]  # fmt: skip


def test_nothing_is_left_out_of_a_long_choice_and_nothing_is_told_twice(store: Store) -> None:
    first = recorded(store)
    runs = [first, *(recorded(store, SMALL.changed(seed=k), repeats=first) for k in (1, 2, 3, 4))]
    found = rows(sharing.table(store, runs))
    assert list(dict.fromkeys(row["run"] for row in found)) == list("ABCDE")
    assert len(found) == 5 * 26
    assert list(executed(python_lines([store.run(run).experiment for run in runs]))["losses"]) == list(
        "ABCDE"
    )


def test_a_table_is_made_of_the_records_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look stands beside its step, also where the chunk before has recorded it."""
    run, whole = store.create(SMALL, pause_at=10), recorded(store)
    slice_of(store, run)
    store.command(run, "go")
    store.settle()
    slice_of(store, run)
    assert len(store.chunks(run)) > 1
    monkeypatch.setattr(store, "chunks", lambda *_: pytest.fail("screens are loaded"))
    assert sharing.table(store, [run]) == sharing.table(store, [whole])


def test_the_table_keeps_what_is_not_a_number(store: Store) -> None:
    wild = SMALL.changed(cell="relu", clip="none", optimizer="sgd", learning_rate=100.0, steps=200)
    run = recorded(store, wild)
    assert store.run(run).state == "diverged"
    last = rows(sharing.table(store, [run]))[-1]
    assert not np.isfinite([float(last["loss"]), float(last["norm_before"])]).all()
    assert last["threshold"] == "nan"


def test_a_run_that_is_gone_is_a_sentence(store: Store) -> None:
    for download in (sharing.table, sharing.run_file):
        with pytest.raises(ValueError, match="no longer there"):
            download(store, ["nobody"])
    with pytest.raises(ValueError, match="no longer there"):
        sharing.replay(store, ["nobody"], ["loss"])


# Experiments


def test_one_experiment_is_what_the_command_line_takes() -> None:
    made = SMALL.with_change(5, "learning_rate", 0.1)
    assert Experiment.from_json(sharing.experiments_json([made])) == made


def test_several_experiments_are_a_list() -> None:
    twins = [SMALL, SMALL.changed(forget_bias=4.0)]
    values = json.loads(sharing.experiments_json(twins))
    assert [Experiment.from_json(json.dumps(value)) for value in values] == twins


def test_a_file_is_called_after_what_it_holds() -> None:
    assert sharing.file_name([SMALL, SMALL.changed(cell="gru")]) == "rnnviz-lstm-gru-adding"


# Runs as files


def test_a_run_comes_back_from_its_file_with_its_repeats(store: Store, tmp_path: Path) -> None:
    run = recorded(store, name="mine")
    recorded(store, SMALL.changed(seed=1), repeats=run)
    other = Store(f"sqlite:///{tmp_path}/other.db")
    from_archive(other, sharing.run_file(store, [run]), "somebody")
    (copy,) = [r for r in other.runs(owner="somebody") if r.repeats is None]
    (repeat,) = other.repeats_of(copy.id)
    assert (copy.name, copy.experiment, copy.state) == ("mine", SMALL, "finished")
    assert repeat.experiment.seed == 1
    assert sharing.table(other, [copy.id]) == sharing.table(store, [run])
    other.close()


def test_a_file_leaves_out_what_it_has_no_room_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """First checkpoints but the last, then the repeats, then the last checkpoint."""
    run = recorded(store)
    repeat = recorded(store, SMALL.changed(seed=1), repeats=run)
    other = Store(f"sqlite:///{tmp_path}/other.db")
    everyone = [run, repeat]
    found = []
    for runs, which in ((everyone, "all"), (everyone, "last"), ([run], "last"), ([run], "none")):
        with zipfile.ZipFile(io.BytesIO(to_archive(store, runs, which))) as file:
            room = sum(info.file_size for info in file.infolist())
        with monkeypatch.context() as context:
            context.setattr(archive, "MAX_BYTES", room)
            blob = sharing.run_file(store, [run])
        ids = from_archive(other, blob, None)
        found.append([len(other.checkpoints(one)) for one in ids])
    other.close()
    kept = len(store.checkpoints(run))
    assert found == [[kept, kept], [1, 1], [1], [0]]


def test_a_long_choice_with_repeats_fits_without_them(store: Store) -> None:
    runs = [store.create(SMALL) for _ in range(archive.MAX_RUNS)]
    store.create(SMALL.changed(seed=1), repeats=runs[0])
    assert len(from_archive(store, sharing.run_file(store, runs), None)) == archive.MAX_RUNS


# Replays


def test_the_replay_holds_the_runs_and_asks_nobody(store: Store) -> None:
    run = recorded(store, name="</script><b>mine")
    page = sharing.replay(store, [run], ["loss", "heat", "sample"])
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert run in page
    assert "</script><b>mine" not in page
    assert not re.search(r"""(?:src|href)=(?!["']?(?:data:|#))""", page)


# Links


def test_a_qr_code_is_black_on_white_with_its_quiet_zone() -> None:
    picture = sharing.qr_code("https://example.org/train?cell=lstm")
    assert picture is not None
    assert re.match(r'<svg [^>]*viewBox="0 0 (\d+) \1"', picture)
    assert "#fff" in picture
    assert "currentColor" not in picture
    assert sharing.qr_code("x" * 3000) is None


def view(runs: Sequence[str] = ()) -> link.View:
    return link.View((SMALL, SMALL.changed(forget_bias=4.0)), tuple(runs), ("loss",))


def test_a_link_for_watching_names_the_runs_and_how_they_are_shown() -> None:
    assert sharing.variant(view(["a", "b"]), "none", True) == {
        "run": ["a", "b"], "panes": ["loss"], "controls": ["none"], "type": ["large"],
    }  # fmt: skip
    assert sharing.variant(view(), "none", False)["twin"] == ["forget_bias:4"]


def test_every_variant_opens_what_it_says(store: Store) -> None:
    runs = [recorded(store, twin) for twin in view().twins]
    for controls in link.CONTROLS:
        found, problems = link.from_query(store, sharing.variant(view(runs), controls, False))
        assert problems == []
        assert (found.twins, found.runs, found.controls) == (view().twins, tuple(runs), controls)


def test_the_page_shares_its_link(store: Store) -> None:
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.query_params["cell"] = "lstm"
    app.run()
    assert not app.exception
    assert app.code[0].value == "?cell=lstm"
    app.radio(key="share_controls").set_value("hidden").run()
    app.toggle(key="share_large").set_value(True).run()
    assert app.code[0].value == "?cell=lstm&controls=hidden&type=large"
    assert 'task="digits"' in app.code[1].value


def test_a_page_with_runs_offers_them_for_download(store: Store) -> None:
    run = recorded(store)
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.query_params["run"] = run
    app.run()
    assert not app.exception
    keys = {button.key for button in app.download_button}
    assert {f"download_{name}" for name in ("csv", "file", "html", "json", "py")} <= keys


def test_what_is_too_large_for_a_table_is_not_offered_as_one(store: Store) -> None:
    """The repeats count: they are written as well."""
    run = recorded(store)
    repeat = recorded(store, SMALL.changed(seed=1), repeats=run)
    half = sharing.LARGEST_TABLE // 2
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(bytes=half))
    assert sharing.table(store, [run, repeat]).count("\n") == 1 + 2 * 26, "each counts once"
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(bytes=half + 1))
    with pytest.raises(ValueError, match=r"^These runs recorded 300 MB, .+\.$"):
        sharing.table(store, [run])
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.query_params["run"] = run
    app.run()
    assert app.download_button(key="download_csv").disabled


def test_the_server_takes_what_the_page_offers_to_take():
    """The page's own limit does not raise that of the server, which answers with a number."""
    config = tomllib.loads((Path(__file__).resolve().parents[1] / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] == sharing.UPLOAD_MB == MAX_BYTES // 1_000_000
