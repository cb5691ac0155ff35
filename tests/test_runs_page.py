"""The Runs page by Streamlit's own test driver: what is listed, whose it is, and what can be done with it."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from rnnviz.experiment import Experiment
from rnnviz.runs.schema import CHUNKS, RUNS
from rnnviz.runs.store import UNDO_SECONDS, Store, owner_hash
from rnnviz.runs.worker import advance_slice
from rnnviz.ui import run_list, sharing
from rnnviz.ui.run_list import AT_ONCE, FLAT, HEIGHT, WIDTH, curve_svg, in_words
from rnnviz.ui.text import plain

PAGES = Path(__file__).resolve().parents[1] / "pages"
NAVIGATION = f"""
import streamlit as st
st.navigation([
    st.Page({str(PAGES / "runs.py")!r}, url_path="runs", default=True),
    st.Page({str(PAGES / "train.py")!r}, url_path="train"),
]).run()
"""
TOKEN = "0123456789abcdef" * 2
ME = owner_hash(TOKEN)
SMALL = Experiment(task="adding", length=6, cell="lstm", hidden=5, batch=8, steps=25)


def page(token: str | None = TOKEN) -> AppTest:
    """The page in the browser with this token; None: one that has not been asked yet."""
    app = AppTest.from_string(NAVIGATION, default_timeout=60)
    if token is not None:
        app.session_state["owner"] = token
    app.run()
    assert not app.exception
    return app


def ended(store: Store, experiment: Experiment = SMALL, owner: str | None = ME, **values: Any) -> str:
    run = store.create(experiment, owner, **values)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 30.0)
    return run


def listed(app: AppTest) -> list[str]:
    """The ids of the runs on the list, from the top."""
    return [box.key.removeprefix("runs_pick_") for box in app.checkbox]


def tick(app: AppTest, *runs: str) -> AppTest:
    for run in runs:
        app.checkbox(key=f"runs_pick_{run}").check().run()
    return app


def texts(app: AppTest) -> str:
    told = [*app.markdown, *app.caption, *app.get("html"), *app.get("page_link"), *app.warning, *app.success]
    return "\n".join(str(element.proto) for element in told)


def address(app: AppTest) -> dict[str, list[str]]:
    return {name: list(values) for name, values in app.query_params.items()}


# What is listed


def test_nothing_is_listed_before_it_is_known_whose_browser_it_is(store: Store) -> None:
    ended(store)
    app = page(token=None)
    assert listed(app) == []
    assert "Looking up" in app.caption[0].value
    assert "nothing yet" not in texts(app).lower()


def test_an_empty_list_says_what_it_is_for_and_leads_to_train(store: Store) -> None:
    ended(store, owner=owner_hash("somebody"))
    app = page()
    assert listed(app) == []
    assert any(m.value.startswith("Nothing yet.") for m in app.markdown)
    assert [element.proto.page for element in app.get("page_link")] == ["train"]


def test_the_list_is_of_this_browsers_runs_the_newest_first(store: Store) -> None:
    first, second = ended(store), store.create(SMALL, ME)
    ended(store, owner=owner_hash("somebody"))
    assert listed(page()) == [second, first]


def test_a_line_has_a_curve_the_state_in_words_and_what_was_set(store: Store) -> None:
    ended(store, SMALL.changed(forget_bias=4.0, seed=2), name="good one")
    app = page()
    curve, words = (element.proto.body for element in app.get("html") if "<style>" not in element.proto.body)
    assert "data:image/svg+xml;base64," in curve
    assert re.search(r'alt="Validation loss, log scale: from \S+ to \S+ at step 25"', curve)
    assert "Finished after 25 steps. Validation loss" in words
    assert "LSTM, 5 units" in words
    assert "forget bias 4 · steps 25 · seed 2" in words.replace("batch size 8 · ", "")
    (heading,) = app.get("page_link")
    assert heading.proto.label == "good one"


def test_names_are_shown_as_they_are_and_never_as_markup(store: Store) -> None:
    name = "**x** <b>y</b> :red[z]"
    run = ended(store, name=name)
    app = page()
    label = app.get("page_link")[0].proto.label
    assert label == plain(name)
    assert not re.search(r"(?<!\\)[*\[<:]", label)
    tick(app, run).button(key="runs_delete").click().run()
    assert not any("**x**" in m.value for m in app.markdown)


def test_repeats_stand_with_the_run_that_they_repeat(store: Store) -> None:
    run = ended(store)
    for seed in (1, 2):
        ended(store, SMALL.changed(seed=seed), repeats=run)
    app = page()
    assert listed(app) == [run]
    assert "repeated with 2 other seeds: validation loss" in texts(app)


def test_a_repeat_whose_run_is_not_there_stands_for_itself(store: Store) -> None:
    run = ended(store, SMALL.changed(seed=1), repeats="gone")
    assert listed(page()) == [run]


def test_a_run_recorded_by_another_version_is_listed_without_a_curve(store: Store) -> None:
    run = ended(store)
    with store.write() as connection:
        connection.execute(sa.update(CHUNKS).values(screen=b"\x02\0\0\0\0\0\0\0{}"))
    app = page()
    assert listed(app) == [run]
    assert "No validation loss yet" in texts(app)


def test_a_long_list_is_drawn_in_parts(store: Store) -> None:
    for _number in range(AT_ONCE + 2):
        store.create(SMALL, ME)
    app = page()
    assert len(listed(app)) == AT_ONCE
    assert app.button(key="runs_more").label == "Show 2 more"
    app.button(key="runs_more").click().run()
    assert len(listed(app)) == AT_ONCE + 2
    assert not [b for b in app.button if b.key == "runs_more"]


def test_search_looks_in_names_and_settings(store: Store) -> None:
    named, other = ended(store, name="Monday"), ended(store, SMALL.changed(cell="gru"))
    app = page()
    app.text_input(key="runs_search").set_value("mon").run()
    assert listed(app) == [named]
    app.text_input(key="runs_search").set_value(" gru ").run()
    assert listed(app) == [other]
    app.text_input(key="runs_search").set_value("<b>").run()
    assert listed(app) == []
    assert any("None of your runs" in m.value for m in app.markdown)
    app.text_input(key="runs_search").set_value("").run()
    assert len(listed(app)) == 2


def test_search_looks_in_what_the_list_shows_and_in_nothing_else(store: Store) -> None:
    digits = Experiment(task="digits_rows", cell="gru", hidden=64, learning_rate=0.02)
    run = store.run(store.create(digits, name="Übung 1: 100% of it"))
    found = ("", "  ", "handwritten", "ROW by row", "64 units", "gru", "übung", "ÜBUNG", "0%", "units 64 gru")
    assert [words for words in found if not run_list.matches(run, words)] == []
    assert run_list.matches(run, "learning rate 0.02")
    other = ("cell", "task", "digits_rows", "gru übung lstm", "1_1", "g%u", "null", '"', "seed")
    assert [words for words in other if run_list.matches(run, words)] == []


def test_a_repeat_of_a_repeat_has_a_line(store: Store) -> None:
    """So has every run of a circle: nothing that is kept is out of reach."""
    first = store.create(SMALL, ME)
    second = store.create(SMALL, ME, repeats=first)
    third = store.create(SMALL, ME, repeats=second)
    circle = store.create(SMALL, ME, run="circle", repeats="circle")
    found = {entry.run.id: [r.id for r in entry.repeats] for entry in run_list.entries(store.runs(owner=ME))}
    assert found == {circle: [], third: [], first: [second]}


def test_the_list_says_how_long_runs_are_kept(store: Store) -> None:
    ended(store)
    (told,) = [c.value for c in page().caption if "kept for" in c.value]
    assert "Runs are kept for at most 30 days, and less when the store is full." in told


# What can be done


def test_what_cannot_be_done_is_disabled(store: Store) -> None:
    runs = [ended(store) for _number in range(5)]
    app = page()

    def possible() -> list[str]:
        names = ("compare", "rename", "delete")
        return [name for name in names if not app.button(key=f"runs_{name}").disabled]

    assert possible() == []
    tick(app, runs[0])
    assert possible() == ["rename", "delete"]
    tick(app, *runs[1:4])
    assert possible() == ["compare", "delete"]
    tick(app, runs[4])
    assert possible() == ["delete"]
    assert any("At most 4" in c.value for c in app.caption)


def test_a_run_gets_a_name(store: Store) -> None:
    run, other = ended(store), ended(store)
    app = tick(page(), run)
    app.button(key="runs_rename").click().run()
    app.text_input(key="runs_name").set_value("  the good one ")
    app.button(key="runs_save").click().run()
    assert (store.run(run).name, store.run(other).name) == ("the good one", None)
    assert not [field for field in app.text_input if field.key == "runs_name"]
    app.button(key="runs_rename").click().run()
    assert app.text_input(key="runs_name").value == "the good one"
    app.button(key="runs_cancel").click().run()
    assert store.run(run).name == "the good one"


def test_naming_goes_from_one_run_to_the_next(store: Store) -> None:
    first, second = ended(store, name="one"), ended(store, name="two")
    app = tick(page(), first)
    app.button(key="runs_rename").click().run()
    app.checkbox(key=f"runs_pick_{first}").uncheck().run()
    tick(app, second).button(key="runs_rename").click().run()
    assert app.text_input(key="runs_name").value == "two"


def test_deleting_can_be_undone(store: Store) -> None:
    runs = [ended(store), ended(store)]
    app = tick(page(), *runs)
    app.button(key="runs_delete").click().run()
    assert listed(app) == []
    assert any(m.value.startswith("Deleted 2 runs") for m in app.markdown)
    app.button(key="runs_back").click().run()
    assert sorted(listed(app)) == sorted(runs)
    assert not [b for b in app.button if b.key == "runs_back"]


def test_the_way_back_stays_until_the_next_action(store: Store) -> None:
    gone, kept = ended(store), ended(store)
    app = tick(page(), gone)
    app.button(key="runs_delete").click().run()
    tick(app, kept)  # looking around is no action
    assert app.button(key="runs_back").label == "Undo"
    app.button(key="runs_rename").click().run()
    assert not [b for b in app.button if b.key == "runs_back"]
    assert store.run(gone) is None


def test_undo_after_too_long_is_a_sentence(store: Store) -> None:
    run = ended(store)
    app = tick(page(), run)
    app.button(key="runs_delete").click().run()
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(deleted=RUNS.c.deleted - UNDO_SECONDS - 1))
    store.prune()
    app.button(key="runs_back").click().run()
    assert not app.exception
    assert "gone for good after 10 minutes" in app.warning[0].value.replace("\\", "")


def test_a_run_under_way_is_stopped_when_it_is_deleted(store: Store) -> None:
    run = store.create(SMALL, ME)
    tick(page(), run).button(key="runs_delete").click().run()
    assert store.run(run, discarded=True).command == "stop"


@pytest.mark.parametrize("button", ["runs_delete", "runs_save", "runs_back"])
def test_the_callbacks_themselves_refuse_a_stranger(store: Store, button: str) -> None:
    run = ended(store, name="mine")
    app = tick(page(), run)
    if button == "runs_save":
        app.button(key="runs_rename").click().run()
        app.text_input(key="runs_name").set_value("theirs")
    if button == "runs_back":
        app.button(key="runs_delete").click().run()
    store.adopt(ME, "somebody")  # the page still shows the button, as a forged message would press it
    app.button(key=button).click().run()
    assert not app.exception
    row = store.run(run, discarded=True)
    assert (row.name, row.deleted is None) == ("mine", button != "runs_back")
    assert app.warning


def test_two_runs_are_compared_on_the_page_train(store: Store) -> None:
    first = ended(store)
    second = ended(store, SMALL.changed(forget_bias=4.0))
    app = tick(page(), first, second)
    app.button(key="runs_compare").click().run()
    assert not app.exception
    assert app.title[0].value == "Train"
    assert address(app)["run"] == [second, first]


def test_runs_can_be_opened_again_and_train_remembers_what_it_showed(store: Store) -> None:
    first, second, third = (ended(store, SMALL.changed(seed=seed)) for seed in range(3))
    app, others = page(), str(PAGES / "runs.py")
    for pair in ((first, second), (second, third), (first, second)):
        tick(app, *pair).button(key="runs_compare").click().run()
        assert sorted(address(app)["run"]) == sorted(pair)
        app.switch_page(others).run()
        for run in pair:
            app.checkbox(key=f"runs_pick_{run}").uncheck().run()
    app.switch_page(str(PAGES / "train.py")).run()
    assert not app.exception
    assert sorted(address(app)["run"]) == sorted((first, second))


def test_a_line_leads_to_the_run(store: Store) -> None:
    run = ended(store)
    (heading,) = page().get("page_link")
    assert (heading.proto.page, heading.proto.query_string) == ("train", f"run={run}")


def test_a_full_disk_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnviz.runs.store import StoreFullError

    def full(*_given: object) -> None:
        raise StoreFullError("The disk that holds the store is full.")

    run = ended(store)
    app = tick(page(), run)
    monkeypatch.setattr(store, "discard", full)
    app.button(key="runs_delete").click().run()
    assert not app.exception
    assert "disk that holds the store is full" in app.warning[0].value
    assert not [b for b in app.button if b.key == "runs_back"]


# Files


def uploaded(app: AppTest, blob: bytes) -> AppTest:
    app.file_uploader[0].set_value(("some.rnnviz", blob, "application/octet-stream")).run()
    assert not app.exception
    return app


def test_a_file_is_opened_as_ones_own_runs(store: Store) -> None:
    run = ended(store, owner=owner_hash("somebody"))
    app = uploaded(page(), sharing.run_file(store, [run]))
    (copy,) = listed(app)
    assert copy != run
    assert store.run(copy).owner == ME
    assert "The run of the file is here" in app.success[0].value


def test_a_file_of_something_else_is_refused_in_a_sentence(store: Store) -> None:
    ended(store)
    app = uploaded(page(), b"nonsense")
    assert app.warning[0].value.endswith(".\u2060")
    assert len(store.runs()) == 1


def test_words_of_a_strangers_file_are_no_markup(store: Store) -> None:
    run = ended(store)
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(sharing.run_file(store, [run]))) as file,
        zipfile.ZipFile(out, "w") as other,
    ):
        for name in file.namelist():
            blob = file.read(name)
            if name == "manifest.json":
                blob = blob.replace(b'"cell": "lstm"', b'"cell": "![x](//x.org/y.png)"')
            other.writestr(name, blob)
    told = uploaded(page(), out.getvalue()).warning[0].value
    assert "x" in told
    assert not re.search(r"(?<!\\)[\[\]()!]", told), told


# Words and curves


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": "queued"}, "Waiting."),
        ({"state": "running", "step": 1200, "steps": 5000}, "Training, step 1,200 of 5,000."),
        ({"state": "paused", "step": 3}, "Paused at step 3 of 25."),
        ({"state": "stopped", "step": 3}, "Stopped at step 3 of 25."),
        ({"state": "diverged", "step": 7}, "Diverged at step 7."),
        ({"state": "failed", "step": 7}, "Failed at step 7."),
        (
            {"state": "finished", "step": 25, "solved_at": 20, "validation_loss": 0.00123456},
            "Finished after 25 steps; solved at step 20. Validation loss 0.00123.",
        ),
        (
            {"state": "finished", "step": 25, "validation_loss": 0.1, "validation_accuracy": 0.5},
            "Finished after 25 steps. Validation loss 0.1, sums right to within 0.04: 50.0\u00a0%.",
        ),
    ],
)
def test_states_in_words(store: Store, values: dict[str, Any], words: str) -> None:
    run = store.create(SMALL)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(**values))
    assert in_words(store.run(run)) == words


def drawn(losses: list[float], steps: int = 10, baseline: float = 1.0) -> ET.Element:
    step = np.arange(len(losses))
    return ET.fromstring(curve_svg([(step, np.array(losses, dtype=np.float32))], steps, baseline, "#123456"))


def lines(svg: ET.Element) -> list[list[tuple[float, float]]]:
    found = svg.findall("{*}polyline")
    return [[(float(x), float(y)) for x, y in _pairs(line.get("points"))] for line in found]


def _pairs(points: str) -> Iterator[list[str]]:
    return (point.split(",") for point in points.split())


def test_a_curve_is_on_a_log_scale_with_the_steps_of_the_whole_run() -> None:
    (curve,) = lines(drawn([1.0, 0.1, 0.01], steps=4))
    (x0, y0), (x1, y1), (x2, y2) = curve
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.11)
    assert y2 - y1 == pytest.approx(y1 - y0, abs=0.11)
    assert x2 == pytest.approx(WIDTH / 2, abs=0.11)  # half of the steps are made


def test_noise_on_a_flat_curve_stays_small() -> None:
    (curve,) = lines(drawn([1.0, 1.05, 0.97, 1.02]))
    heights = [y for _x, y in curve]
    assert max(heights) - min(heights) < HEIGHT * 0.05 / FLAT


def test_what_is_not_finite_is_a_gap_and_a_cross() -> None:
    svg = drawn([1.0, 0.5, float("nan"), 0.4, 0.3, float("inf"), 0.0])
    assert [len(line) for line in lines(svg)] == [2, 2]
    assert svg.find("{*}path") is not None
    assert drawn([1.0, 0.5]).find("{*}path") is None


@pytest.mark.parametrize("losses", [[], [float("nan")], [0.5], [1e-30, 1e30]])
def test_every_curve_stays_in_its_box(losses: list[float]) -> None:
    for line in lines(drawn(losses)):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
