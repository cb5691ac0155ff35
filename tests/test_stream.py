"""The stream of runs: overviews, then the news, to everyone who watches, until all have ended."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from safetensors.numpy import load
from starlette.applications import Starlette
from starlette.routing import Route

from rnnviz.cells import CELLS
from rnnviz.clipping import CLIPPINGS
from rnnviz.experiment import Experiment
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs.chunk import encode, overview, row_steps, screen
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import ChunkRow, Store
from rnnviz.tasks import TASKS
from rnnviz.training import train
from rnnviz.ui import overviews, stream
from rnnviz.ui.overviews import overview_of
from rnnviz.ui.stream import BACKLOG, Feeds, stream_endpoint, stream_path
from rnnviz.ui.summary import clip_summary, run_summary, summary_of
from tests.stores import new_store

PATIENCE = 60.0
EXPERIMENT = Experiment(task="adding", length=5, steps=100_000, clip_threshold=0.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path / "runs.db")
    yield store
    store.close()


def piece(first: int, n: int = 10, **values: Any) -> ChunkRow:
    """A recorded stretch of n steps, whose loss tells the step."""
    step = np.arange(first, first + n)
    fields: dict[str, Any] = {
        "step": step, "loss": step / 1000, "norm_before": np.ones(n), "norm_after": np.ones(n),
        "threshold": np.full(n, 0.5), "learning_rate": np.full(n, 0.01), "grad_norms": np.ones((n, 3)),
        "full_norm": np.full(n, np.nan), "full_cosine": np.full(n, np.nan), "omega": np.full(n, np.nan),
        "update_norm": np.ones(n), "weight_norm": np.ones(n),
        "grad_hidden": np.ones((n, 1, 1, 5), "f4"), "grad_cell_state": np.zeros((n, 1, 1, 0), "f4"),
        "validation_step": step[:0], "validation_loss": np.zeros(0), "validation_accuracy": np.zeros(0),
    } | values  # fmt: skip
    m = len(fields["validation_step"])
    fields = {
        "saturated": np.zeros(m), "dead": np.zeros(m), "spectrum": np.ones((m, 1, 1, 4, 2)),
        "prediction": np.zeros((m, 1)), **fields,
    }  # fmt: skip
    chunk = Chunk(**fields, next_step=first + n, clipped=0)
    return ChunkRow(first, first + n - 1, first + n, encode(chunk), screen(chunk))


def begun(store: Store, *rows: ChunkRow) -> str:
    """A run at work, with these chunks so far."""
    run = store.create(EXPERIMENT)
    store.claim(run)
    for row in rows:
        goes_on(store, run, row)
    return run


def goes_on(store: Store, run: str, row: ChunkRow, state: bytes | None = None) -> None:
    store.append(run, store.run(run).epoch, row, {"step": row.next_step}, {}, {}, state)


@dataclass
class Event:
    name: str
    position: tuple[int, ...]
    data: str

    @property
    def id(self) -> int | None:
        """The last step drawn, where a viewer watches one run."""
        return self.position[0] if self.position else None

    @property
    def run(self) -> str:
        """Whose event it is."""
        return self.summary["id"] if self.name == "run" else self.data.split(" ")[0]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.name == "run"
        return json.loads(self.data, parse_constant=pytest.fail)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        assert self.name == "chunk"
        return load(base64.b64decode(self.data.split(" ")[1], validate=True))

    @property
    def steps(self) -> list[int]:
        return self.arrays["step"].tolist()


def parsed(block: str) -> Event | None:
    """One event as the standard says; None for a comment."""
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    if not fields:
        return None
    assert set(fields) <= {"event", "id", "data"}
    position = tuple(map(int, fields["id"].split(","))) if "id" in fields else ()
    return Event(fields["event"], position, fields["data"])


class Viewer:
    """A browser at the other end of the route, without a network between."""

    def __init__(
        self, feeds: Feeds, run: str | Sequence[str], query: str = "", headers: dict[str, str] | None = None
    ) -> None:
        app = Starlette(routes=[Route(stream_path(""), stream_endpoint(feeds))])
        asked = [run] if isinstance(run, str) else run
        query = "&".join(filter(None, [*(f"run={name}" for name in asked), query]))
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": "GET", "scheme": "http", "path": "/live", "query_string": query.encode(),
            "root_path": "", "server": ("lab.example", 80), "client": ("someone", 1),
            "headers": [
                (name.encode(), value.encode())
                for name, value in {"host": "lab.example", **(headers or {})}.items()
            ],
        }  # fmt: skip
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = ""
        self.reading, self.left = asyncio.Event(), asyncio.Event()
        self.reading.set()
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"").decode()

    @property
    def events(self) -> list[Event]:
        blocks = self.body.split("\n\n")[:-1]
        return [event for block in blocks if (event := parsed(block)) is not None]

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.events]

    @property
    def steps(self) -> list[int]:
        """Every step that came, in the order of coming."""
        return [step for event in self.events if event.name == "chunk" for step in event.steps]

    def steps_of(self, run: str) -> list[int]:
        """Every step of one of the runs."""
        chunks = [event for event in self.events if event.name == "chunk" and event.run == run]
        return [step for event in chunks for step in event.steps]

    async def sees(self, condition: Callable[[Viewer], Any]) -> None:
        await until(lambda: self.task.done() or condition(self))
        assert condition(self), self.body[-500:]

    async def ends(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.task), PATIENCE)

    async def leaves(self) -> None:
        self.left.set()
        self.reading.set()
        await self.ends()


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(int(PATIENCE / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within the time")


def comes_to(step: int) -> Callable[[Viewer], bool]:
    return lambda viewer: viewer.steps[-1] == step


def watching(test: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    asyncio.run(test(*arguments))


def test_overview_first_then_news(store):
    run = begun(store, piece(0), piece(10))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.steps)
        assert viewer.status == 200
        assert viewer.headers["content-type"].startswith("text/event-stream")
        assert (viewer.headers["cache-control"], viewer.headers["x-accel-buffering"]) == ("no-store", "no")
        first, second = viewer.events[:2]
        assert first.summary["step"] == 20
        assert (second.id, second.steps) == (19, list(range(20)))
        goes_on(store, run, piece(20))
        goes_on(store, run, piece(30))
        await viewer.sees(lambda v: len(v.steps) >= 40)
        chunks = [e for e in viewer.events if e.name == "chunk"]
        assert [e.id for e in chunks] == [19, 29, 39]
        assert viewer.steps == list(range(40)), "nothing twice, nothing left out"
        await viewer.sees(lambda v: v.names[-1] == "run" and v.events[-1].summary["step"] == 40)
        await viewer.leaves()

    watching(scene)


@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [
        ("", {}, 0),
        ("after=-1", {}, 0),
        ("after=7", {}, 8),
        ("after=9", {}, 10),
        ("after=7", {"last-event-id": "14"}, 15),
        ("", {"last-event-id": "19"}, 20),
        ("after=2147483647", {}, None),
        ("after=", {}, 0),
    ],
)
def test_only_what_the_viewer_has_not_drawn(store, query, headers, first):
    run = begun(store, piece(0), piece(10), piece(20))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run, query, headers)
        if first is None:
            await viewer.sees(lambda v: v.names)
        else:
            await viewer.sees(lambda v: v.steps)
            assert viewer.steps == list(range(first, 30))
        await viewer.leaves()

    watching(scene)


def test_a_viewer_who_has_everything_gets_the_news_alone(store):
    run = begun(store, piece(0))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run, "after=9")
        await viewer.sees(lambda v: v.names)
        goes_on(store, run, piece(10))
        # Perhaps twice: as overview and as news.
        await viewer.sees(lambda v: set(v.steps) == set(range(10, 20)))
        await viewer.leaves()

    watching(scene)


def test_a_late_viewer_of_a_long_run_stays(store):
    """More chunks lie in the store than a viewer may fall behind: they come as one overview."""
    run = begun(store, *(piece(first) for first in range(0, 10 * (BACKLOG + 50), 10)))

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewer = Viewer(feeds, run)
        await viewer.sees(lambda v: "chunk" in v.names)
        end = 10 * (BACKLOG + 50)
        goes_on(store, run, piece(end))
        await viewer.sees(lambda v: v.steps[-1] == end + 9)
        chunks = [event for event in viewer.events if event.name == "chunk"]
        assert len(chunks) == 2, "the overview and what is new"
        assert chunks[1].steps == list(range(end, end + 10))
        assert feeds.viewers == 1
        await viewer.leaves()

    watching(scene)


# The end


def test_the_stream_ends_with_the_last_word(store):
    run = begun(store, piece(0))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.steps)
        last = piece(10)
        store.append(run, 1, last, {"step": 20}, {}, {}, b"s", "finished", "Done.")
        await viewer.ends()
        assert viewer.steps == list(range(20)), "the last chunk comes before the last word"
        assert viewer.names[-1] == "run"
        assert (viewer.events[-1].summary["state"], viewer.events[-1].summary["message"]) == (
            "finished",
            "Done.",
        )

    watching(scene)


@pytest.mark.parametrize("state", ["finished", "diverged", "stopped", "failed"])
def test_an_ended_run_is_shown_and_that_is_all(store, state):
    run = begun(store, piece(0))
    store.move(run, state, "So it went.")

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewer = Viewer(feeds, run)
        await viewer.ends()
        assert viewer.events[0].summary["state"] == state
        assert set(viewer.steps) == set(range(10))
        assert feeds.feeds == {}

    watching(scene)


def test_a_run_that_is_deleted_is_at_its_end(store):
    run = begun(store, piece(0))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.steps)
        store.delete(run)
        await viewer.ends()

    watching(scene)


def test_when_the_store_fails_viewers_are_sent_away_to_come_back(store, monkeypatch, caplog):
    run = begun(store, piece(0))

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewer = Viewer(feeds, run)
        await viewer.sees(lambda v: v.steps)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "run", broken)
            await viewer.ends()
        assert feeds.feeds == {}
        again = Viewer(feeds, run)
        await again.sees(lambda v: v.steps)
        await again.leaves()

    def broken(*_: Any) -> None:
        raise sa.exc.OperationalError("select", {}, Exception("locked"))

    watching(scene)
    assert "cannot be followed" in caplog.text


# Who may not


def refused(
    store: Store, run: str | Sequence[str], query: str = "", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run, query, headers)
        await viewer.ends()
        answers.append((viewer.status, json.loads(viewer.body)["error"]))

    answers: list[tuple[int, str]] = []
    watching(scene)
    return answers[0]


def test_there_is_no_such_run(store):
    assert refused(store, "nobody") == (404, "There is no such run.")


def test_a_run_of_another_version_is_as_if_it_were_not_there(store):
    run = begun(store)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(experiment='{"cell": "of tomorrow"}'))
    assert refused(store, run) == (404, "There is no such run.")


@pytest.mark.parametrize("after", ["x", "1.5", "1e3", str(10**30), str(-(10**30)), "2147483648", "9" * 5000])
def test_a_step_that_is_none(store, after):
    run = begun(store)
    sentence = f"after: got {after[:40]!r}; allowed: a whole number."
    assert refused(store, run, f"after={after}") == (400, sentence)
    assert refused(store, run, "after=3", {"last-event-id": after}) == (400, sentence)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "http://lab.example:8080"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://lab.example", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_sites(store, headers):
    assert refused(store, begun(store), "", headers) == (403, "This stream is for pages of the same site.")


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://lab.example"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
)
def test_pages_of_this_site(store, headers):
    run = begun(store)
    store.move(run, "stopped")

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run, "", headers)
        await viewer.ends()
        assert viewer.status == 200

    watching(scene)


def test_too_many_viewers(store, monkeypatch):
    run = begun(store, piece(0))
    monkeypatch.setattr(stream, "MAX_VIEWERS", 2)

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewers = [Viewer(feeds, run) for _ in range(2)]
        for viewer in viewers:
            await viewer.sees(lambda v: v.steps)
        third = Viewer(feeds, run)
        await third.ends()
        assert (third.status, json.loads(third.body)) == (503, {"error": "Too many viewers just now."})
        for viewer in viewers:
            await viewer.leaves()
        assert feeds.viewers == 0

    watching(scene)


def test_too_many_viewers_at_the_same_moment(store, monkeypatch):
    """All of them were let in before the first was counted."""
    run = begun(store, piece(0))
    monkeypatch.setattr(stream, "MAX_VIEWERS", 2)

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        row = store.run(run)
        viewers = [feeds.events([row], [-1]) for _ in range(4)]
        first = await asyncio.gather(*(anext(viewer, None) for viewer in viewers))
        assert [block is None for block in first] == [False, False, True, True]
        assert feeds.viewers == 2

    watching(scene)


def test_a_server_that_ends_sends_everyone_away(store):
    """It waits for its connections, and a stream has no end of its own."""
    run, another = begun(store, piece(0)), begun(store, piece(0))

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewers = [Viewer(feeds, run), Viewer(feeds, [run, another])]
        for viewer in viewers:
            await viewer.sees(lambda v: v.steps)
        feeds.close()
        for viewer in [*viewers, Viewer(feeds, run)]:  # the last was let in a moment too late
            await viewer.ends()
        assert feeds.viewers == 0

    watching(scene)


# Many, slow and late viewers


def test_all_viewers_of_a_run_share_one_reader(store, monkeypatch):
    run, other = begun(store, piece(0)), begun(store, piece(0))
    readers: list[str] = []
    real = stream.Feed._follow

    async def follow(feed: stream.Feed) -> bool:
        readers.append(feed.run)
        return await real(feed)

    monkeypatch.setattr(stream.Feed, "_follow", follow)

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewers = [Viewer(feeds, run) for _ in range(4)]
        lonely = Viewer(feeds, other)
        for viewer in (*viewers, lonely):
            await viewer.sees(lambda v: v.steps)
        assert sorted(readers) == sorted([run, other])
        assert feeds.viewers == 5
        goes_on(store, run, piece(10))
        for viewer in viewers:
            await viewer.sees(lambda v: v.steps == list(range(20)))
        assert lonely.steps == list(range(10))
        reader = feeds.feeds[run].task
        for viewer in viewers[:3]:
            await viewer.leaves()
        assert feeds.feeds[run].task is reader
        goes_on(store, run, piece(20))
        await viewers[3].sees(lambda v: v.steps == list(range(30)))
        await viewers[3].leaves()
        assert set(feeds.feeds) == {other}
        await until(reader.done)
        await lonely.leaves()
        assert feeds.feeds == {}

    watching(scene)


def test_a_slow_viewer_is_sent_away_and_holds_nobody_up(store):
    run = begun(store, piece(0))

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        slow, quick = Viewer(feeds, run), Viewer(feeds, run)
        for viewer in (slow, quick):
            await viewer.sees(lambda v: v.steps)
        slow.reading.clear()
        feed = feeds.feeds[run]
        queues = [viewer.queue for viewer in feed.viewers]
        end = 10
        while feeds.viewers == 2:
            assert end < 20 * BACKLOG, "it is never sent away"
            for _ in range(10):
                goes_on(store, run, piece(end))
                end += 10
            await quick.sees(comes_to(end - 1))
            assert all(queue.qsize() <= BACKLOG for queue in queues)
        assert end > 10 * BACKLOG
        assert max(queue.qsize() for queue in queues) <= 1, "what it missed is not kept"
        assert quick.steps == list(range(end))
        had = len(slow.steps)
        slow.reading.set()
        await slow.ends()
        assert len(slow.steps) <= had + 20
        # It comes back for what it missed.
        back = Viewer(feeds, run, f"after={slow.steps[-1]}")
        await back.sees(lambda v: v.steps)
        assert back.steps[0] == slow.steps[-1] + 1
        assert back.steps[-1] == end - 1
        for viewer in (quick, back):
            await viewer.leaves()

    watching(scene)


def test_a_viewer_who_comes_later_is_told_what_the_others_know(store):
    """The row that the route read may be older than the feed's last word, which is not said twice."""
    run = begun(store, piece(0))
    stale = store.run(run)

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        first = Viewer(feeds, run)
        await first.sees(lambda v: v.steps)
        store.command(run, "pause")
        store.settle()
        await first.sees(lambda v: v.events[-1].name == "run" and v.events[-1].summary["state"] == "paused")
        block = await anext(feeds.events([stale], [-1]))
        assert parsed(block.removesuffix("\n\n")).summary["state"] == "paused"
        await first.leaves()

    watching(scene)


def test_a_quiet_stream_shows_that_it_lives(store, monkeypatch):
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.02)
    run = begun(store, piece(0))
    store.command(run, "pause")
    store.settle()

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.body.count(": still here\n\n") >= 2)
        assert viewer.events[0].summary["state"] == "paused"
        store.command(run, "go")
        store.settle()
        await viewer.sees(lambda v: v.events[-1].name == "run" and v.events[-1].summary["state"] == "queued")
        await viewer.leaves()

    watching(scene)


# Replays


def test_when_a_run_is_rewound_everyone_starts_anew(store):
    run = begun(store)
    goes_on(store, run, piece(0), state=b"state at 10")
    goes_on(store, run, piece(10))

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewer = Viewer(feeds, run)
        await viewer.sees(lambda v: v.steps == list(range(20)))
        store.lost(run, "killed")
        store.resume(run, store.claim(run), 10)
        await viewer.sees(lambda v: v.names.count("chunk") == 2)
        at = viewer.names.index("reset")
        assert [e.name for e in viewer.events[at : at + 2]] == ["reset", "chunk"]
        assert viewer.events[at].id == -1, "whoever reconnects now asks for everything"
        assert viewer.events[at + 1].steps == list(range(10))
        late = Viewer(feeds, run)
        await late.sees(lambda v: v.steps)
        goes_on(store, run, piece(10, 7))
        goes_on(store, run, piece(17))
        for each in (viewer, late):
            await each.sees(lambda v: v.steps[-1] == 26)
        after = [e for e in viewer.events[at:] if e.name == "chunk"]
        assert [step for e in after for step in e.steps] == late.steps == list(range(27))
        assert "reset" not in late.names
        for each in (viewer, late):
            await each.leaves()

    watching(scene)


def test_a_run_that_is_rewound_to_its_start(store):
    run = begun(store, piece(0))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.steps)
        store.lost(run, "killed")
        store.resume(run, store.claim(run), 0)
        await viewer.sees(lambda v: "reset" in v.names)
        goes_on(store, run, piece(0, 5))
        await viewer.sees(lambda v: v.names.count("chunk") == 2)
        assert viewer.events[viewer.names.index("reset")].data == run
        assert viewer.steps[10:] == list(range(5))
        await viewer.leaves()

    watching(scene)


def test_a_viewer_who_comes_between_the_rewinding_and_the_replay_misses_nothing(store):
    """The row still tells the step that was reached before."""
    run = begun(store)
    goes_on(store, run, piece(0), state=b"state at 10")
    goes_on(store, run, piece(10))
    store.lost(run, "killed")
    store.resume(run, store.claim(run), 10)
    assert store.run(run).step == 20

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: "reset" in v.names)
        goes_on(store, run, piece(10, 5))
        await viewer.sees(lambda v: v.steps and v.steps[-1] == 14)
        shown = [e for e in viewer.events[viewer.names.index("reset") :] if e.name == "chunk"]
        assert [step for e in shown for step in e.steps] == list(range(15))
        await viewer.leaves()

    watching(scene)


# Overviews that are kept


def points_of(shown: tuple[int, bytes] | None) -> tuple[int, list[int], list[float], list[int]]:
    assert shown is not None
    arrays = load(shown[1])
    return shown[0], arrays["step"].tolist(), arrays["loss"].tolist(), arrays["heat_step"].tolist()


def test_an_overview_is_brought_up_to_date_and_not_made_anew(store, monkeypatch):
    run = store.create(EXPERIMENT)
    store.claim(run)
    assert overview_of(store, run) is None
    asked: list[int] = []
    real = Store.screens

    def screens(store: Store, run: str, after: int = -1) -> list[tuple[int, bytes]]:
        asked.append(after)
        return real(store, run, after)

    monkeypatch.setattr(Store, "screens", screens)
    for first in range(0, 50, 10):
        goes_on(store, run, piece(first))
        shown = overview_of(store, run)
        whole = overview([blob for _, blob in real(store, run)])
        assert points_of(shown) == points_of((first + 9, whole))
    assert asked == [-1, 9, 19, 29, 39], "only what is new is read"
    assert overview_of(store, run) == shown
    last, steps, _, columns = points_of(overview_of(store, run, 26))
    assert (last, steps, columns) == (49, list(range(27, 50)), [29, 39, 49])
    assert points_of(overview_of(store, run, 49)) == (49, [], [], [])
    assert points_of(overview_of(store, run)) == points_of(shown), "and that is still kept whole"


def test_an_overview_forgets_what_is_made_again(store):
    run = begun(store)
    goes_on(store, run, piece(0), state=b"state at 10")
    goes_on(store, run, piece(10))
    assert points_of(overview_of(store, run))[0] == 19
    store.lost(run, "killed")
    store.resume(run, store.claim(run), 10)
    assert points_of(overview_of(store, run))[:2] == (9, list(range(10)))
    goes_on(store, run, piece(10, 5, loss=np.full(5, 7.0)))
    last, steps, losses, _ = points_of(overview_of(store, run))
    assert (last, steps, losses[10:]) == (14, list(range(15)), [7.0] * 5)
    store.delete(run)
    assert overview_of(store, run) is None


def test_overviews_of_so_many_runs_are_kept_and_no_more(store, monkeypatch):
    monkeypatch.setattr(overviews, "MOST", 3)
    monkeypatch.setattr(overviews, "_kept", OrderedDict())
    runs = [begun(store, piece(0, i + 1)) for i in range(5)]
    for run in (*runs, runs[2]):
        overview_of(store, run)
    assert [run for _, run in overviews._kept] == [runs[3], runs[4], runs[2]], "the last asked for"
    assert points_of(overview_of(store, runs[0]))[0] == 0


# What is told of a run

KEYS = {
    "id", "state", "message", "step", "steps", "title", "color", "sequence_steps", "row_steps", "precision",
    "loss", "accuracy", "solved_at", "solved_sentence", "clip", "made_steps", "clipped_steps",
    "clipped_share",
    "steps_per_second", "queue_position", "seed", "changes", "groups", "spectrum", "pace",
    "parts", "truncate", "decoder",
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "clip"), sorted({*((task, "norm") for task in TASKS), *(("adding", clip) for clip in CLIPPINGS)})
)
def test_a_summary_has_all_that_the_component_reads_as_strict_json(store, task, clip):
    task = TASKS[task]
    experiment = Experiment(task=task.name, clip=clip)
    row = store.run(store.create(experiment))
    summary = json.loads(json.dumps(run_summary(row, 1), allow_nan=False))
    assert set(summary) == KEYS
    assert set(summary["loss"]) == {"label", "baseline", "baseline_label", "solved", "solved_label"}
    assert set(summary["clip"]) == {
        "mode", "measure", "scope", "largest", "limit", "whole", "summary", "note",
    }  # fmt: skip
    assert summary["clip"]["mode"] == clip
    assert summary["clip"]["measure"] == ("largest element" if clip == "value" else "norm")
    T = experiment.steps_per_sequence()
    assert (summary["sequence_steps"], summary["row_steps"]) == (T, row_steps(T))
    assert summary["color"] == CELLS[experiment.cell].color
    assert str(T) in summary["title"]
    criteria = [summary["loss"]["solved"], summary["accuracy"] and summary["accuracy"]["solved"]]
    assert [c for c in criteria if c is not None] == [task.solved.threshold], "one criterion, at its place"
    assert (summary["loss"]["solved_label"] is None) == (summary["loss"]["solved"] is None)
    assert (summary["accuracy"] is None) == (task.accuracy_label is None)


@pytest.mark.parametrize(("architecture", "decoder"), [("one", None), ("encoder_decoder", 6)])
def test_a_summary_names_the_decoder_and_where_it_begins(store, architecture, decoder):
    experiment = Experiment(task="reversal", length=5, architecture=architecture)
    summary = run_summary(store.run(store.create(experiment)), None)
    assert summary["decoder"] == decoder
    assert ("encoder and decoder" in summary["title"]) == (decoder is not None)


@pytest.mark.parametrize(
    ("layers", "direction", "network", "labels"),
    [
        (1, "forward", "GRU, 64 units", ["layer 1"]),
        (3, "forward", "GRU, 64 units, 3 layers", ["layer 1", "layer 2", "layer 3"]),
        (1, "both", "GRU, 64 units, both ways", ["layer 1, forward", "layer 1, backward"]),
        (2, "both", "GRU, 64 units, 2 layers, both ways",
         ["layer 1, forward", "layer 1, backward", "layer 2, forward", "layer 2, backward"]),
    ],
)  # fmt: skip
def test_a_summary_names_layers_and_directions(store, layers, direction, network, labels):
    experiment = Experiment(task="adding", length=30, layers=layers, direction=direction)
    summary = run_summary(store.run(store.create(experiment)), None)
    assert summary["title"] == f"{network} · Adding two numbers, T = 30"
    assert [part["label"] for part in summary["parts"]] == labels
    # In the order of the arrays that the component draws: layer by layer, forward before backward.
    assert [(part["layer"], part["backward"]) for part in summary["parts"]] == [
        (layer, bool(d)) for layer in range(1, layers + 1) for d in range(experiment.directions)
    ]


def test_a_summary_tells_the_rule_that_is_in_force_now(store):
    run = begun(store, piece(0))
    row = store.run(run)
    changes = [{"step": 5, "field": "clip", "value": "value"}, {"step": 15, "field": "clip", "value": "none"}]
    experiment = EXPERIMENT.changed(changes=changes)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(experiment=experiment.to_json()))
    assert run_summary(row, None)["clip"]["mode"] == "norm"
    assert run_summary(store.run(run), None)["clip"]["mode"] == "value"


@pytest.mark.parametrize("rule", CLIPPINGS)
def test_a_summary_tells_whether_a_rule_has_a_limit(rule):
    """As its runs have one: what is drawn and what is said of it follow from that."""
    told = clip_summary(rule, "all")
    e = Experiment(task="adding", length=5, hidden=4, batch=4, steps=40, clip=rule, clip_threshold=0.1)
    limits = concatenate([*train(e)]).threshold[-10:]
    kind = "none" if np.isnan(limits).all() else "fixed" if (limits == 0.1).all() else "moving"
    assert told["limit"] == kind
    assert told["summary"].endswith(".")
    assert told["whole"] is (told["measure"] == "norm")
    assert not clip_summary(rule, "recurrent")["whole"], "the whole gradient is that of all parameters"


@pytest.mark.parametrize(
    ("state", "step", "clipped", "share"),
    [("running", 0, 0, 0.0), ("running", 8, 2, 0.25), ("diverged", 3, 4, 1.0), ("diverged", 0, 1, 1.0),
     ("diverged", 3, 2, 0.5), ("finished", 10, 10, 1.0)],
)  # fmt: skip
def test_the_clipped_share_is_one_of_the_steps_made(store, state, step, clipped, share):
    """The step at which a run diverges is made and recorded as well."""
    run = begun(store)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(state=state, step=step, clipped=clipped))
    summary = run_summary(store.run(run), None)
    assert (summary["clipped_steps"], summary["clipped_share"]) == (clipped, share)


@pytest.mark.parametrize(("rate", "told"), [(None, None), (math.inf, None), (123.456, 123.5)])
def test_a_speed_that_is_no_number_is_not_told(store, rate, told):
    run = begun(store)
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(rate=rate))
    assert run_summary(store.run(run), None)["steps_per_second"] == told


def test_a_waiting_run_knows_its_place(store):
    ids = [store.create(EXPERIMENT) for _ in range(3)]

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), ids[2])
        await viewer.sees(lambda v: v.names)
        assert viewer.events[0].summary["queue_position"] == 3
        store.claim(ids[0])
        await viewer.sees(lambda v: v.events[-1].summary["queue_position"] == 2)
        store.claim(ids[2])
        await viewer.sees(lambda v: v.events[-1].summary["queue_position"] is None)
        assert viewer.events[-1].summary["state"] == "running"
        await viewer.leaves()

    watching(scene)


def test_a_summary_comes_at_once_with_a_new_state_and_else_twice_a_second(store, monkeypatch):
    monkeypatch.setattr(stream, "SUMMARY_SECONDS", 1e6)
    run = begun(store, piece(0))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.steps)
        told = viewer.names.count("run")
        for first in (10, 20, 30):
            goes_on(store, run, piece(first))
            await viewer.sees(comes_to(first + 9))
        assert viewer.names.count("run") <= told + 1, "the feed's own first one may come after the viewer's"
        store.command(run, "pause")
        store.settle()
        await viewer.sees(lambda v: v.events[-1].name == "run" and v.events[-1].summary["state"] == "paused")
        await viewer.leaves()

    watching(scene)
    assert stream.POLL_SECONDS < 0.5


def test_numbers_that_are_not_finite_travel_in_the_arrays(store):
    odd = np.array([1.0, np.nan, np.inf, -np.inf, 2.0])
    run = begun(store, piece(0, 5, loss=odd, norm_before=odd[::-1], threshold=np.full(5, np.nan)))
    with store.write() as connection:
        connection.execute(
            sa.update(RUNS).values(state="diverged", message="The loss is no longer finite.", train_loss=None)
        )

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.ends()
        arrays = next(event for event in viewer.events if event.name == "chunk").arrays
        assert np.array_equal(arrays["loss"], odd.astype("f4"), equal_nan=True)
        assert np.array_equal(arrays["norm_before"], odd[::-1].astype("f4"), equal_nan=True)
        assert np.isnan(arrays["threshold"]).all()
        for event in viewer.events:
            if event.name == "run":
                assert event.summary["message"] == "The loss is no longer finite."

    watching(scene)


def test_the_path_lies_below_the_servers():
    assert stream_path("") == "/live"
    assert stream_path("lab", ["abc"]) == "/lab/live?run=abc"
    assert stream_path("", ["a", "b&c"]) == "/live?run=a&run=b%26c"


# Twins


def test_twins_share_one_stream(store):
    a, b = begun(store, piece(0), piece(10)), begun(store, piece(0))

    async def scene() -> None:
        feeds = Feeds(lambda: store)
        viewer = Viewer(feeds, [b, a])
        await viewer.sees(lambda v: v.steps_of(a) and v.steps_of(b))
        assert [(e.name, e.run) for e in viewer.events[:4]] == [
            ("run", b),
            ("chunk", b),
            ("run", a),
            ("chunk", a),
        ]
        assert [e.position for e in viewer.events if e.name == "chunk"] == [(9, -1), (9, 19)]
        assert feeds.viewers == 1, "one viewer, however many runs"
        goes_on(store, a, piece(20))
        goes_on(store, b, piece(10))
        await viewer.sees(lambda v: v.steps_of(a) == list(range(30)) and v.steps_of(b) == list(range(20)))
        assert viewer.events[-1].position in ((), (19, 29))
        await viewer.leaves()
        assert feeds.feeds == {}

    watching(scene)


def test_a_stream_of_twins_ends_with_the_last_of_them(store):
    a, b = begun(store, piece(0)), begun(store, piece(0))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), [a, b])
        await viewer.sees(lambda v: v.steps_of(a) and v.steps_of(b))
        store.move(a, "finished")
        await viewer.sees(
            lambda v: any(e.name == "run" and e.summary["state"] == "finished" for e in v.events)
        )
        goes_on(store, b, piece(10))
        await viewer.sees(lambda v: v.steps_of(b)[-1] == 19)
        store.move(b, "stopped")
        await viewer.ends()
        assert viewer.events[-1].summary["state"] == "stopped"

    watching(scene)


def test_twins_go_on_where_each_of_them_was_drawn_to(store):
    a, b = begun(store, piece(0), piece(10)), begun(store, piece(0), piece(10))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), [a, b], "after=4,17")
        await viewer.sees(lambda v: v.steps_of(a) and v.steps_of(b))
        assert viewer.steps_of(a) == list(range(5, 20))
        assert viewer.steps_of(b) == [18, 19]
        await viewer.leaves()

    watching(scene)


@pytest.mark.parametrize(("count", "status"), [(0, 400), (4, 200), (5, 400)])
def test_as_many_runs_as_there_are_places(store, count, status):
    runs = [begun(store, piece(0)) for _ in range(count)]
    for run in runs:
        store.move(run, "stopped")

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), runs)
        await viewer.ends()
        assert viewer.status == status
        if status != 200:
            assert json.loads(viewer.body) == {"error": f"run: got {count}; allowed: 1 to 4 runs."}

    watching(scene)


def test_steps_for_another_number_of_runs_are_refused(store):
    runs = [begun(store), begun(store)]
    sentence = "after: got '3'; allowed: 2 whole numbers, separated by commas."
    assert refused(store, runs, "after=3") == (400, sentence)


def test_one_twin_that_is_not_there(store):
    assert refused(store, [begun(store), "nobody"]) == (404, "There is no such run.")


# Repeats with other seeds


def test_a_run_with_repeats_is_followed_until_they_have_ended_too(store):
    looks = {"validation_step": np.array([0, 5]), "validation_accuracy": np.full(2, np.nan)}
    run = begun(store, piece(0, validation_loss=np.array([4.0, 2.0]), **looks))
    again = store.create(EXPERIMENT.changed(seed=1), repeats=run)
    store.claim(again)
    goes_on(store, again, piece(0, validation_loss=np.array([6.0, np.nan]), **looks))

    async def scene() -> None:
        viewer = Viewer(Feeds(lambda: store), run)
        await viewer.sees(lambda v: v.steps)
        store.move(run, "finished")
        await viewer.sees(
            lambda v: v.events[-1].name == "run" and v.events[-1].summary["state"] == "finished"
        )
        spread = viewer.events[-1].summary["repeats"]
        assert (spread["runs"], spread["ended"], spread["solved"]) == (2, 1, 0)
        assert (spread["step"], spread["count"]) == ([0, 5], [2, 2])
        assert (spread["low"], spread["middle"], spread["high"]) == ([4.0, 2.0], [5.0, None], [6.0, None])
        assert not viewer.task.done()
        store.move(again, "stopped")
        await viewer.ends()
        assert viewer.events[-1].summary["repeats"]["ended"] == 2

    watching(scene)


def test_a_run_without_repeats_says_so(store):
    assert summary_of(store, store.run(begun(store, piece(0))))["repeats"] is None
