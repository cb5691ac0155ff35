"""Server-sent events of the runs on a page: what the live component draws.

One stream for each page, because a browser opens no more than six connections to a host. One poller for each
run that is being watched reads the store twenty times a second and hands the news to all its viewers, so a
viewer more costs next to nothing. A viewer first gets an overview of everything after the last step it has,
then the news; if it falls behind, it is disconnected and comes back for an overview.

Events: `run` is the run's summary as JSON; `chunk` is the run's id, a space and a screen blob in base64;
`reset` is the id of a run whose figures start anew. The id of an event lists the last step drawn of each
run, in the order of the address, so that a browser that reconnects says where every one of them stands.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

import anyio.to_thread
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..experiment import ExperimentError
from ..runs.store import Run, Store
from ..twins import MOST
from .overviews import overview_of
from .summary import at_rest, summary_of

POLL_SECONDS = 0.05
REST_SECONDS = 0.1  # between two looks at a run that waits or rests
SUMMARY_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
BACKLOG = 100  # events that a slow viewer may fall behind, for each run it watches
MAX_VIEWERS = 500
LARGEST = 2**31 - 1  # what a database takes for a step

log = logging.getLogger("rnnviz")


def stream_path(base: str, runs: Sequence[str] = (), repeats: int = 0) -> str:
    """The address of the stream of some runs, below the server's base path.

    repeats: how many runs repeat them. The server has no use for it, but a page that has heard everything of
    ended runs sees by another address that there is more to come.
    """
    asked = "&".join(f"run={quote(run, safe='')}" for run in runs)
    if repeats:
        asked += f"&repeats={repeats}"
    return f"{'/' + base if base else ''}/live{'?' + asked if asked else ''}"


def server_path(base: str) -> str:
    """The address that tells which start of the server answers."""
    return f"{'/' + base if base else ''}/live/server"


@dataclass(frozen=True)
class News:
    """Something that happened to a run. `end` closes the run's part of a stream, `lost` the whole stream."""

    run: str
    kind: Literal["run", "chunk", "reset", "end", "lost"]
    data: str = ""
    last: int | None = None  # the step up to which the run is drawn with this


class Viewer:
    """What waits to be sent to one page."""

    def __init__(self, runs: int) -> None:
        self.queue: asyncio.Queue[News] = asyncio.Queue(BACKLOG * runs)

    def tell(self, news: News) -> bool:
        """Put `news` in the queue; False when the viewer is too slow and is sent away."""
        try:
            self.queue.put_nowait(news)
        except asyncio.QueueFull:
            # It reconnects with the last steps it has and gets an overview.
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(News(news.run, "lost"))
            return False
        return True


class Feed:
    """The news of one run, read once and handed to everyone who watches it."""

    def __init__(self, store: Store, run: str, last: int) -> None:
        self.store, self.run = store, run
        self.viewers: set[Viewer] = set()
        self.last = last  # step up to which there is no news: the overview shows it
        self.summary = ""
        self.task: asyncio.Task[None] | None = None

    def join(self, viewer: Viewer) -> None:
        """Send `viewer` the news from now on."""
        self.viewers.add(viewer)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._poll())

    def leave(self, viewer: Viewer) -> None:
        """Stop reading once nobody watches."""
        self.viewers.discard(viewer)
        if not self.viewers and self.task is not None:
            self.task.cancel()
            self.task = None

    def lose(self) -> None:
        """Close the streams of all viewers, who come back if they can."""
        self._tell(News(self.run, "lost"))

    def _tell(self, news: News) -> None:
        self.viewers = {viewer for viewer in self.viewers if viewer.tell(news)}

    async def _poll(self) -> None:
        end: Literal["end", "lost"] = "lost"  # whoever still watches comes back
        try:
            if await self._follow():
                end = "end"
        except (sa.exc.SQLAlchemyError, ValueError) as error:
            log.error("the run cannot be followed: %s", error)
        finally:
            self._tell(News(self.run, end))

    async def _follow(self) -> bool:
        """Tell the news until there will be no more; False when the run is gone."""
        told, state = 0.0, ""
        clock = asyncio.get_running_loop().time
        while True:
            # The run is read before its chunks: when it has ended, none can be missing.
            row = await anyio.to_thread.run_sync(self.store.run, self.run)
            if row is None:
                return False
            over = row.ended and await anyio.to_thread.run_sync(at_rest, self.store, row)
            screens = await anyio.to_thread.run_sync(self.store.screens, self.run, self.last)
            for last, blob in screens:
                self.last = max(self.last, last)
                self._tell(_chunk(self.run, blob, last))
            if not screens and await anyio.to_thread.run_sync(self.store.newest, self.run) < self.last:
                await self._rewind()
            if row.state != state or clock() - told >= SUMMARY_SECONDS or over:
                summary = await anyio.to_thread.run_sync(_summary, self.store, row)
                told, state = clock(), row.state
                if summary != self.summary:
                    self.summary = summary
                    self._tell(News(self.run, "run", summary))
            if over:
                return True
            await asyncio.sleep(POLL_SECONDS if row.state == "running" else REST_SECONDS)

    async def _rewind(self) -> None:
        """A slice was lost and the run goes on from before it: everyone starts anew."""
        shown = await anyio.to_thread.run_sync(overview_of, self.store, self.run)
        self.last = -1 if shown is None else shown[0]
        # Who reconnects just now must not ask from where the lost slice had come to.
        self._tell(News(self.run, "reset", self.run, -1))
        if shown is not None:
            self._tell(_chunk(self.run, shown[1], shown[0]))


class Feeds:
    """The feeds of the runs that somebody watches."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self.store = store
        self.feeds: dict[str, Feed] = {}
        self.closed = False

    @property
    def viewers(self) -> int:
        """Everyone who watches."""
        return len(set().union(*(feed.viewers for feed in self.feeds.values())))

    def close(self) -> None:
        """Send everyone away, and whoever comes now: the server ends."""
        self.closed = True
        for feed in self.feeds.values():
            feed.lose()

    async def events(self, rows: Sequence[Run], after: Sequence[int]) -> AsyncIterator[str]:
        """The events of some runs for one viewer who has drawn each of them up to the step in `after`."""
        drawn = {row.id: step for row, step in zip(rows, after, strict=True)}
        viewer, feeds = Viewer(len(rows)), {}
        for row in rows:
            feeds[row.id] = self.feeds.setdefault(row.id, Feed(self.store(), row.id, row.step - 1))
            feeds[row.id].join(viewer)  # before the overviews are made, so that nothing falls in between
        try:
            if self.closed or self.viewers > MAX_VIEWERS:  # many came at once
                return
            for row in rows:
                # The feed's own words where it has some: they may be newer than the row.
                summary = feeds[row.id].summary or await anyio.to_thread.run_sync(_summary, self.store(), row)
                yield _event(News(row.id, "run", summary), drawn)
                shown = await anyio.to_thread.run_sync(overview_of, self.store(), row.id, drawn[row.id])
                if shown is not None:
                    yield _event(_chunk(row.id, shown[1], shown[0]), drawn)
            going_on = set(drawn)
            while going_on:
                try:
                    news = await asyncio.wait_for(viewer.queue.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if news.kind == "lost":
                    return
                if news.kind == "end":
                    going_on.discard(news.run)
                else:
                    yield _event(news, drawn)
        finally:
            for run, feed in feeds.items():
                feed.leave(viewer)
                if not feed.viewers and self.feeds.get(run) is feed:
                    del self.feeds[run]


def stream_endpoint(feeds: Feeds) -> Callable[[Request], object]:
    """The route's handler."""

    async def endpoint(request: Request) -> Response:
        if _cross_site(request):
            return JSONResponse({"error": "This stream is for pages of the same site."}, 403)
        if feeds.viewers >= MAX_VIEWERS:
            return JSONResponse({"error": "Too many viewers just now."}, 503)
        asked = list(dict.fromkeys(request.query_params.getlist("run")))
        if not 1 <= len(asked) <= MOST:
            return JSONResponse({"error": f"run: got {len(asked)}; allowed: 1 to {MOST} runs."}, 400)
        rows = []
        for run in asked:
            try:
                row = await anyio.to_thread.run_sync(feeds.store().run, run)
            except ExperimentError:
                row = None
            if row is None:
                return JSONResponse({"error": "There is no such run."}, 404)
            rows.append(row)
        text = request.headers.get("last-event-id") or request.query_params.get("after") or ""
        after = _steps(text, len(rows))
        if after is None:
            allowed = f"{len(rows)} whole numbers, separated by commas" if len(rows) > 1 else "a whole number"
            return JSONResponse({"error": f"after: got {text[:40]!r}; allowed: {allowed}."}, 400)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(feeds.events(rows, after), media_type="text/event-stream", headers=headers)

    return endpoint


def _steps(text: str, count: int) -> list[int] | None:
    """One step for each run, or None when the text holds something else."""
    try:
        steps = [int(part) for part in text.split(",")] if text else [-1] * count
    except ValueError:
        return None
    return steps if len(steps) == count and all(-LARGEST <= step <= LARGEST for step in steps) else None


def _cross_site(request: Request) -> bool:
    """Whether another site's page asks. Same-origin EventSource sends no Origin, or its own."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    return foreign or request.headers.get("sec-fetch-site") in ("cross-site",)


def _summary(store: Store, row: Run) -> str:
    return json.dumps(summary_of(store, row))


def _chunk(run: str, blob: bytes, last: int) -> News:
    return News(run, "chunk", f"{run} {base64.b64encode(blob).decode()}", last)


def _event(news: News, drawn: dict[str, int]) -> str:
    """The text of an event; `drawn` learns how far the run is drawn with it."""
    position = ""
    if news.last is not None:
        drawn[news.run] = news.last
        position = f"id: {','.join(map(str, drawn.values()))}\n"
    return f"{position}event: {news.kind}\ndata: {news.data}\n\n"
