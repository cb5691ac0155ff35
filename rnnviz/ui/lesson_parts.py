"""Lessons on the page: cards to choose from, the question with its prediction, the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from .. import lessons as shipped
from ..lessons import LESSONS, Lesson
from ..recording import Chunk, concatenate
from ..runs.archive import from_archive, records
from ..runs.chunk import decode
from ..runs.store import Run, Store, StoreFullError
from . import link, steering
from .text import _

CARDS_IN_A_ROW = 4
#: Owner of the recorded runs. Not the hash of any token, so that nobody steers them.
RECORDED = "lessons"
FOLDER = Path(shipped.__file__).parent
PAGES = Path(__file__).resolve().parents[2] / "pages"
_SHOWN, _NOTE, _GIVEN = "lesson_answer_shown", "lesson_note", "lesson_predictions"


def lesson_cards(names: Sequence[str] | None = None, to_train: bool = False) -> None:
    """A card for each lesson: picture, question, one button. `to_train` leads there from another page."""
    lessons = [LESSONS[name] for name in (LESSONS if names is None else names)]
    for start in range(0, len(lessons), CARDS_IN_A_ROW):
        columns = st.columns(CARDS_IN_A_ROW)
        for column, lesson in zip(columns, lessons[start : start + CARDS_IN_A_ROW], strict=False):
            with column.container(border=True, height="stretch"):
                st.image((FOLDER / "pictures" / f"{lesson.name}.svg").read_text(), width="stretch")
                st.markdown(f"**{_(lesson.title)}**  \n{_(lesson.question)}")
                opened = st.button(
                    _("Try it"), key=f"lesson_{lesson.name}", width="stretch",
                    on_click=None if to_train else open_lesson, args=None if to_train else (lesson.name,),
                )  # fmt: skip
                if opened and to_train:
                    st.switch_page(PAGES / "train.py", query_params={"lesson": lesson.name})


def lesson_invitation() -> None:
    """For who does not know where to begin: the first few cards, and the way to all of them."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"##### {_('Or start with a question')}", width="content")
        label = _("All {n} lessons").format(n=len(LESSONS))
        if st.button(label, key="all_lessons", type="tertiary"):
            st.switch_page(PAGES / "lessons.py")
    lesson_cards(list(LESSONS)[:CARDS_IN_A_ROW])


def open_lesson(name: str) -> None:
    """Put a lesson on show: its twins in the knobs, nothing trained yet."""
    lesson = LESSONS[name]
    link.change(
        lesson=name, twins=lesson.experiments, runs=(), panes=lesson.panes, replay=False,
    )  # fmt: skip
    link.complain([])
    link.forget_knobs()


def close_lesson() -> None:
    """Leave the lesson; its settings stay."""
    link.change(lesson=None)


def lesson_panel(store: Store, runs: Sequence[Run]) -> None:
    """The question, the prediction, the buttons that answer it, and the answer."""
    name = link.view().lesson
    if name is None:
        return
    lesson = LESSONS[name]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", key="lesson_head"):
            st.markdown(f"**{_('Lesson')} · {_(lesson.title)}**", width="stretch")
            st.button(
                "", key="close_lesson", icon=":material/close:", type="tertiary", on_click=close_lesson,
                help=_("Leave the lesson"),
            )  # fmt: skip
        choice = _predicted(lesson) if runs else _prediction(lesson)
        _buttons(store, lesson, choice)
        told = st.session_state.pop(_NOTE, None)
        if told:
            st.warning(told)
        if runs:
            st.caption(_(lesson.look))
        _answer(store, lesson, choice, runs)


def _prediction(lesson: Lesson) -> int | None:
    """Ask for it."""
    choice: int | None = st.radio(
        _(lesson.question), range(len(lesson.choices)), index=_predictions().get(lesson.name),
        key=f"prediction_{lesson.name}", horizontal=True, format_func=lambda k: _(lesson.choices[k]),
    )  # fmt: skip
    if choice is not None:
        _predictions()[lesson.name] = choice
    return choice


def _predicted(lesson: Lesson) -> int | None:
    """Once there is something to see the figures need the room: the question, and what was answered."""
    choice = _predictions().get(lesson.name)
    if choice is None:  # from a link to runs: whoever opens it may still predict
        return _prediction(lesson)
    told = _("{question} You predicted **{choice}**.")
    st.markdown(told.format(question=_(lesson.question), choice=_(lesson.choices[choice])))
    return choice


def _predictions() -> dict[str, int]:
    """The answers given in this session, by lesson: a widget that is not drawn forgets its own."""
    given: dict[str, int] = st.session_state.setdefault(_GIVEN, {})
    return given


def _buttons(store: Store, lesson: Lesson, choice: int | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            _("Train and see"), key="lesson_train", type="primary", disabled=choice is None,
            on_click=_train, args=(store, lesson),
        )  # fmt: skip
        st.button(
            _("Play the recording"), key="lesson_replay", disabled=choice is None, on_click=_replay,
            args=(store, lesson), help=_("A recorded run of this lesson, at once and on any machine."),
        )  # fmt: skip
        if choice is None:
            st.caption(_("Predict first: choose one of the answers."))


def _train(store: Store, lesson: Lesson) -> None:
    st.session_state[_SHOWN] = None
    link.change(twins=lesson.experiments, replay=False)
    link.forget_knobs()
    try:
        steering.start(store, lesson.experiments)
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)


def _replay(store: Store, lesson: Lesson) -> None:
    st.session_state[_SHOWN] = None
    try:
        link.change(twins=lesson.experiments, runs=recorded(store, lesson), replay=True)
    except StoreFullError as error:
        st.session_state[_NOTE] = str(error)
    link.forget_knobs()


def recorded(store: Store, lesson: Lesson) -> tuple[str, ...]:
    """The runs that ship with a lesson, taken into the store the first time."""
    label = f"lesson {lesson.name}"
    there = {run.experiment: run.id for run in store.runs(owner=RECORDED) if run.name == label}
    if not all(experiment in there for experiment in lesson.experiments):
        ids = from_archive(store, (FOLDER / "recordings" / f"{lesson.name}.rnnviz").read_bytes(), RECORDED)
        for run in ids:
            store.rename(run, label)
        there = {run.experiment: run.id for run in map(store.run, ids) if run is not None}
    return tuple(there[experiment] for experiment in lesson.experiments)


def _answer(store: Store, lesson: Lesson, choice: int | None, runs: Sequence[Run]) -> None:
    """After the runs, or on request: what was predicted, what happened, and why."""
    own = [run.experiment.changed(changes=()) for run in runs] == list(lesson.experiments)
    over = own and all(run.ended for run in runs)
    asked = st.session_state.get(_SHOWN) == lesson.name
    if choice is None or not own or not (over or asked):
        return
    if not asked:
        # The film may still be running, so the answer waits for a click.
        st.button(_("Show the answer"), key="answer", on_click=_show_answer, args=(lesson.name,))
        return
    right = choice == lesson.answer
    verdict = _("That is right: **{answer}**.") if right else _("The answer is **{answer}**.")
    st.markdown(verdict.format(answer=_(lesson.choices[lesson.answer])))
    records = [_record(store, run.id) for run in runs]
    whole = [run.state in ("finished", "diverged") and not run.experiment.changes for run in runs]
    if not all(whole):
        st.caption(_("These runs were stopped or changed on the way, so they do not answer the question."))
    elif all(record is not None for record in records):
        seen: list[Chunk] = [record for record in records if record is not None]
        numbers = "; ".join(lesson.measure(seen))
        st.markdown(_("In these runs: {numbers}.").format(numbers=numbers))
        if not lesson.shows(seen):
            st.caption(_("This time the effect did not show: {effect}").format(effect=_(lesson.effect)))
    st.markdown(_(lesson.reveal))


def _show_answer(name: str) -> None:
    st.session_state[_SHOWN] = name


def _record(store: Store, run: str) -> Chunk | None:
    chunks = [decode(record) for record in records(store, run)]
    return concatenate(chunks) if chunks else None
