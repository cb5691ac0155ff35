"""Every lesson on the page: predict, train or play the recording, and the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from rnnviz.lessons import LESSONS, Lesson
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import Store, owner_hash
from rnnviz.ui import lesson_parts
from tests.widgets import knob

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "train.py")

lessons = pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)


def opened(lesson: Lesson, choice: int | None = None) -> AppTest:
    """The page with a lesson, and perhaps an answer predicted."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    app.query_params["lesson"] = lesson.name
    app.run()
    if choice is not None:
        app.radio(key=f"prediction_{lesson.name}").set_value(choice).run()
    return app


def said(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.warning])


@lessons
def test_the_recording_answers_after_a_prediction(store: Store, lesson: Lesson) -> None:
    app = opened(lesson)
    assert not app.exception
    assert lesson.reveal not in said(app)
    assert app.button(key="lesson_replay").disabled
    assert app.button(key="lesson_train").disabled
    app.radio(key=f"prediction_{lesson.name}").set_value(lesson.answer).run()
    app.button(key="lesson_replay").click().run()
    assert not app.exception
    shown = app.session_state["link_view"]
    assert shown.replay
    assert [store.run(run).experiment for run in shown.runs] == list(lesson.experiments)
    assert lesson.reveal not in said(app), "the film comes first"
    app.button(key="answer").click().run()
    assert not app.exception
    text = said(app)
    assert "That is right" in text
    assert "In these runs: " in text
    assert "did not show" not in text
    assert lesson.reveal in text
    there = [button.key for button in app.button]
    assert not {"train", "pause", "stop", "rewind"}.intersection(there), "nobody steers what is recorded"


@lessons
def test_training_starts_the_lessons_own_experiments(store: Store, lesson: Lesson) -> None:
    wrong = (lesson.answer + 1) % len(lesson.choices)
    app = opened(lesson, wrong)
    knob(app, "hidden").set_value(7).run()  # whatever the knobs say
    app.button(key="lesson_train").click().run()
    assert not app.exception
    runs = [store.run(run) for run in app.session_state["link_view"].runs]
    assert [run.experiment for run in runs] == list(lesson.experiments)
    assert "answer" not in [button.key for button in app.button], "not before they have ended"


def ended(store: Store, app: AppTest, state: str) -> None:
    with store.write() as connection:
        connection.execute(
            sa.update(RUNS).where(RUNS.c.id.in_(app.session_state["link_view"].runs)).values(state=state)
        )
    app.run()


def test_a_wrong_prediction_is_told_the_answer_and_runs_cut_short_answer_nothing(store: Store) -> None:
    lesson = LESSONS["gates"]
    wrong = (lesson.answer + 1) % len(lesson.choices)
    app = opened(lesson, wrong)
    app.button(key="lesson_train").click().run()
    ended(store, app, "stopped")
    app.button(key="answer").click().run()
    text = said(app)
    assert f"The answer is **{lesson.choices[lesson.answer]}**" in text
    assert "stopped or changed on the way" in text
    assert "In these runs" not in text


def test_another_training_hides_the_answer_again(store: Store) -> None:
    app = opened(LESSONS["gates"], 0)
    app.button(key="lesson_train").click().run()
    ended(store, app, "stopped")
    app.button(key="answer").click().run()
    app.button(key="lesson_train").click().run()
    assert LESSONS["gates"].reveal not in said(app)


def test_recordings_are_taken_in_once_and_again_when_they_are_others(store: Store) -> None:
    lesson = LESSONS["sigmoid"]
    first = lesson_parts.recorded(store, lesson)
    assert lesson_parts.recorded(store, lesson) == first
    assert owner_hash("lessons") != lesson_parts.RECORDED, "nobody's token stands for it"
    with store.write() as connection:  # a store from before the lesson was changed
        other = lesson.experiments[0].changed(steps=7).to_json()
        connection.execute(sa.update(RUNS).where(RUNS.c.id == first[0]).values(experiment=other))
    again = lesson_parts.recorded(store, lesson)
    assert [store.run(run).experiment for run in again] == list(lesson.experiments)


def test_a_lesson_can_be_left(store: Store) -> None:
    app = opened(LESSONS["gates"], 0)
    app.button(key="close_lesson").click().run()
    assert not app.exception
    assert "lesson" not in app.query_params
    assert app.session_state["link_view"].twins == LESSONS["gates"].experiments
