"""Lessons: words, twins that differ in one setting, criteria that can fail, recordings that are today's."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.lessons import DOCUMENT, ENOUGH, MOST_SECONDS, SEEDS, picture, side_by_side
from rnnviz import advance, begin, train
from rnnviz import lessons as shipped
from rnnviz.lessons import LESSONS, Lesson
from rnnviz.lessons.lesson import accuracy, clipped, differ, diverged, loss, percent, power, reach
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs.archive import from_archive
from rnnviz.runs.chunk import decode
from rnnviz.runs.store import Store
from rnnviz.twins import differing
from rnnviz.ui.panes import PANES

FOLDER = Path(shipped.__file__).parent
MOST_BYTES = 8_000_000  # all recordings together
OWNER = "a" * 64

lessons = pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)


@cache
def _store(folder: str) -> Store:
    return Store(f"sqlite:///{folder}/lessons.db")


@cache
def _recorded(name: str, folder: str) -> tuple[tuple, tuple[Chunk, ...]]:
    """The runs of a recording and what each has recorded."""
    store = _store(folder)
    ids = from_archive(store, (FOLDER / "recordings" / f"{name}.rnnviz").read_bytes(), OWNER)
    records = tuple(concatenate([decode(row.record) for row in store.chunks(run)]) for run in ids)
    return tuple(store.run(run) for run in ids), records


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lessons"))
    yield lambda lesson: _recorded(lesson.name, folder)
    _store(folder).close()


def ran(experiment):
    return concatenate(list(train(experiment)))


# Words


def test_there_are_ten_at_least():
    assert len(LESSONS) >= 10
    assert all(name == lesson.name for name, lesson in LESSONS.items())
    everything = [*shipped.memory.LESSONS, *shipped.gradients.LESSONS, *shipped.clipping.LESSONS]
    assert len(LESSONS) == len({*everything, *shipped.learning.LESSONS}), "two lessons share a name"


@lessons
def test_its_words(lesson: Lesson):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", lesson.name)
    assert 0 < len(lesson.title) <= 32
    assert lesson.question.endswith("?")
    assert 2 <= len(lesson.choices) <= 4
    assert len(set(lesson.choices)) == len(lesson.choices)
    assert 0 <= lesson.answer < len(lesson.choices)
    assert lesson.look.endswith((".", "?"))
    assert lesson.reveal.endswith(".")
    assert re.search(r"\((19|20)\d\d\)", lesson.reveal), "the answer names its source"
    assert re.search(r"[.)]$", lesson.effect)
    for text in (lesson.question, lesson.look, lesson.reveal, lesson.effect):
        assert "  " not in text
        assert not re.search(r"[a-z][.?][A-Z]", text), "a space is missing between two sentences"


def test_right_answers_stand_in_different_places():
    assert len({lesson.answer for lesson in LESSONS.values()}) >= 3


@lessons
def test_its_panes(lesson: Lesson):
    assert set(lesson.panes) <= set(PANES)
    assert len(set(lesson.panes)) == len(lesson.panes)


# Twins


@lessons
def test_its_twins_differ_in_one_setting(lesson: Lesson):
    assert 1 <= len(lesson.experiments) <= 4
    # The task brings its own length where it is fixed.
    assert len(set(differing(lesson.experiments)) - {"length"} or {"length"}) == 1
    assert len(set(lesson.experiments)) == len(lesson.experiments)
    assert len(set(lesson.twins)) == len(lesson.twins) == len(lesson.experiments)
    for experiment in lesson.experiments:
        assert experiment.seed == 0
        assert experiment.until == "steps"
        assert experiment.changes == ()


@lessons
def test_another_seed_changes_nothing_else(lesson: Lesson):
    for first, other in zip(lesson.experiments, lesson.seeded(3), strict=True):
        assert differing((first, other)) == ("seed",)
        assert other.seed == 3


def test_differ_takes_one_field():
    small, large = differ({"task": "adding", "length": 20}, "hidden", 2, 4)
    assert (small.hidden, large.hidden) == (2, 4)
    assert differing((small, large)) == ("hidden",)


def test_lessons_need_neither_torch_nor_streamlit():
    code = (
        "import sys, rnnviz.lessons; print([m for m in ('torch', 'streamlit', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Numbers


def test_numbers_of_a_run(recorded):
    _, (off, on) = recorded(LESSONS["clip"])
    assert accuracy(on) == pytest.approx(np.mean(on.validation_accuracy[-3:]))
    assert loss(on) == pytest.approx(np.mean(on.validation_loss[-3:]))
    assert clipped(on) == np.mean(on.norm_before > on.threshold)
    assert clipped(off) == 0
    assert reach(on) == pytest.approx(float(on.grad_hidden[0, 0, 0, 0]) / float(on.grad_hidden[0, 0, 0, -1]))
    assert reach(on, 5) == pytest.approx(
        float(on.grad_hidden[5, 0, 0, 0]) / float(on.grad_hidden[5, 0, 0, -1])
    )


def test_no_gradient_at_all_has_no_reach(recorded):
    _, (_, zero) = recorded(LESSONS["zero"])
    assert np.isnan(reach(zero))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"), (0.001, "0.1 %"), (0.25, "25 %"), (0.996, "99.6 %"), (0.9996, "99.9 %"), (1.0, "100 %"),
        (0.0001, "0.1 %"),
    ],
)  # fmt: skip
def test_per_cent_say_all_or_nothing_only_where_it_is_so(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.125, "0.125"),
        (3.64e-12, "3.6e-12"),
        (12527.0, "12,500"),
        (4.1e6, "4.1e6"),
        (1.73e3, "1,730"),
    ],
)
def test_powers_of_ten(value, text):
    assert power(value) == text


# Criteria


@pytest.mark.parametrize("name", ["explode", "ten-percent", "sigmoid"])
def test_quick_ones_show_what_they_say_with_a_seed_that_was_not_measured(name):
    lesson = LESSONS[name]
    records = [ran(experiment) for experiment in lesson.seeded(len(SEEDS) + 2)]
    assert lesson.shows(records), lesson.measure(records)


def test_a_run_that_leaves_the_finite_numbers_is_seen():
    off, on = (ran(experiment) for experiment in LESSONS["explode"].experiments)
    assert diverged(off)
    assert off.next_step < 5
    assert not diverged(on)


@lessons
def test_the_recording_shows_it_and_the_criterion_can_fail(recorded, lesson: Lesson):
    _, records = recorded(lesson)
    assert lesson.shows(records)
    assert not lesson.shows(records[::-1])
    assert not lesson.shows([records[0]] * len(records))
    assert not lesson.shows([records[-1]] * len(records))


@lessons
def test_its_numbers_are_said_for_each_twin(recorded, lesson: Lesson):
    _, records = recorded(lesson)
    parts = lesson.measure(records)
    assert [part.split(": ")[0] for part in parts] == list(lesson.twins)
    assert all(re.search(r"\d", part.split(": ", 1)[1]) for part in parts)
    assert not any(re.search(r"\bnan\b|\binf\b", part) for part in parts)


# What ships with them


@lessons
def test_the_recording_is_of_these_experiments(recorded, lesson: Lesson):
    runs, records = recorded(lesson)
    assert tuple(run.experiment for run in runs) == lesson.experiments
    assert all(run.owner == OWNER for run in runs)
    for run, record in zip(runs, records, strict=True):
        assert run.state == ("diverged" if diverged(record) else "finished")
        assert record.next_step == run.step


@lessons
def test_the_recording_begins_as_a_run_of_today_does(recorded, lesson: Lesson):
    """A change of a task, an initialization or a cell must be followed by new recordings."""
    for experiment, record in zip(lesson.experiments, recorded(lesson)[1], strict=True):
        first = advance(begin(experiment), steps=1)
        assert first.loss[0] == pytest.approx(record.loss[0], rel=1e-4)
        assert first.norm_before[0] == pytest.approx(record.norm_before[0], rel=1e-3)
        assert first.validation_loss[0] == pytest.approx(record.validation_loss[0], rel=1e-4)


def test_the_recordings_are_small():
    files = sorted((FOLDER / "recordings").iterdir())
    assert [file.name for file in files] == sorted(f"{name}.rnnviz" for name in LESSONS)
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


@lessons
def test_the_picture_is_that_of_the_recording(recorded, lesson: Lesson):
    text = (FOLDER / "pictures" / f"{lesson.name}.svg").read_text()
    assert text == picture(lesson, recorded(lesson)[1])
    assert len(text) < 8_000
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    assert root.get("viewBox") == "0 0 240 120"
    lines = root.findall(f"{name}polyline")
    assert len(lines) == len(lesson.experiments)
    assert len({line.get("stroke") for line in lines}) == len(lines)
    points = [float(number) for line in lines for number in re.findall(r"[-\w.]+", line.get("points"))]
    assert all(0 <= number <= 240 for number in points)
    for twin in lesson.twins:  # which is which is what the lesson asks
        assert f">{twin}<" not in text


def test_there_are_no_other_pictures():
    assert {file.stem for file in (FOLDER / "pictures").iterdir()} == set(LESSONS)


# What was measured


@lessons
def test_it_was_measured_and_is_good_enough(lesson: Lesson):
    """`python -m benchmarks lessons` writes the document; a lesson that was changed is to be measured."""
    row = next(
        (line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{lesson.name}` |")), None
    )
    assert row is not None
    _, question, effect, seeds, seconds = (cell.strip() for cell in row.strip("|").split(" | "))
    assert (question, effect) == (lesson.question, lesson.effect)
    shown, of = (int(n) for n in seeds.split(" of "))
    assert of == len(SEEDS)
    assert shown >= ENOUGH
    assert float(seconds) <= MOST_SECONDS


def test_the_document_has_no_other_lessons():
    rows = re.findall(r"^\| `([\w-]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert rows == list(LESSONS)


@pytest.mark.parametrize(
    ("seconds", "together"), [((10.0, 10.0), 10.0), ((2.0, 9.0), 9.0), ((4.0, 4.0, 4.0), 6.0), ((7.0,), 7.0)]
)
def test_runs_side_by_side_on_two_cores(seconds, together):
    assert side_by_side(seconds) == together
