"""What a page sends must still be a page when a part that draws itself again takes its elements back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.testing.v1 import AppTest

from rnnviz.experiment import Experiment
from rnnviz.runs.job_kinds import job_slice
from rnnviz.runs.jobs import Jobs
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.stem for path in (ROOT / "pages").glob("*.py"))
SMALL = Experiment(task="adding", length=6, cell="tanh", hidden=4, batch=3, steps=8)


@pytest.fixture
def sent() -> Iterator[list[ForwardMsg]]:
    """Every message on its way to the browser, copied, since later ones are put into earlier ones."""
    found: list[ForwardMsg] = []

    def keep(message: ForwardMsg) -> None:
        found.append(ForwardMsg())
        found[-1].CopyFrom(message)

    ForwardMsgQueue.on_before_enqueue_msg(keep)
    yield found
    ForwardMsgQueue.on_before_enqueue_msg(None)


def without_place(messages: list[ForwardMsg]) -> list[tuple[int, ...]]:
    """The elements that a browser has no place for: it takes the next free one of a box that is there."""
    count: dict[tuple[int, ...], int] = {(): 3}  # main, sidebar, event
    wrong = []
    for message in messages:
        *box, place = message.metadata.delta_path
        if (tuple(box) not in count and len(box) > 1) or place > count.setdefault(tuple(box), 0):
            wrong.append((*box, place))
            continue
        count[tuple(box)] = max(count[tuple(box)], place + 1)
        count.setdefault((*box, place), 0)
    return wrong


@pytest.mark.parametrize("name", PAGES)
def test_a_page_whose_fragments_are_still_on_their_way(
    name: str, store: Store, sent: list[ForwardMsg]
) -> None:
    run = store.create(SMALL)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    app.query_params["run"] = run
    if name == "surface":
        app.query_params["detail"] = "17"
    for _time in range(2):  # without what the engine makes, and with it
        sent.clear()
        app.run()
        assert not app.exception
        told = [message for message in sent if message.HasField("delta")]
        assert without_place(told) == []
        fragments = {message.delta.fragment_id for message in told} - {""}
        for one in fragments:
            assert without_place([message for message in told if message.delta.fragment_id != one]) == []
        assert fragments or name not in ("gradients", "surface", "train")
        work(store)


def work(store: Store) -> None:
    """Open jobs, worked off as the engine does it."""
    jobs = Jobs(store)
    while left := jobs.open():
        epoch = jobs.claim(left[0])
        assert epoch is not None
        job_slice(store.url, left[0], epoch, 60.0)


def test_an_element_after_a_bare_fragment_has_no_place(sent: list[ForwardMsg]) -> None:
    """What the test above looks for is there to be found."""

    def script(boxed: bool) -> None:
        import streamlit as st

        from rnnviz.ui.fragments import drawn_again

        def part() -> None:
            st.text("one")
            st.text("two")

        if boxed:
            drawn_again(part)
        else:
            st.fragment(part)()
        st.text("after it")

    def left(boxed: bool) -> list[tuple[int, ...]]:
        sent.clear()
        AppTest.from_function(script, args=(boxed,)).run()
        told = [message for message in sent if message.HasField("delta")]
        return without_place([message for message in told if not message.delta.fragment_id])

    assert left(boxed=False) == [(0, 1)]
    assert left(boxed=True) == []


def test_a_part_that_is_to_be_faster_has_the_whole_page_drawn_anew(sent: list[ForwardMsg]) -> None:
    """Only a page can say how often a part of it is drawn again."""

    def script() -> None:
        import streamlit as st

        from rnnviz.ui.fragments import drawn_again

        def part() -> None:
            st.session_state["busy"] = True  # found out while it is drawn

        drawn_again(part, every=lambda: 0.5 if st.session_state.get("busy") else None)

    assert not AppTest.from_function(script).run().exception
    told = [message.auto_rerun.interval for message in sent if message.HasField("auto_rerun")]
    assert told == [0.5]


def test_there_is_no_part_within_another(caplog: pytest.LogCaptureFixture) -> None:
    def script() -> None:
        from rnnviz.ui.fragments import drawn_again

        drawn_again(lambda: drawn_again(print))

    assert AppTest.from_function(script).run().exception
    assert "a part that is drawn again cannot stand within another" in caplog.text


def test_fragments_are_begun_in_one_place() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("rnnviz", "pages")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bst\.fragment\b", path.read_text())
    ]
    assert found == ["rnnviz/ui/fragments.py"]
