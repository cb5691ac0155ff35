"""Server-sent events of a run: what the live component draws.

One poller for each run that is being watched reads the store twenty times a second and hands the news to
all its viewers, so a viewer more costs next to nothing. A viewer first gets an overview of everything after
the last step it has, then the news; if it falls behind, it is disconnected and comes back for an overview.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import anyio.to_thread
import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..experiment import ExperimentError
from ..runs.store import Run, Store
from .overviews import overview_of
from .summary import run_summary

POLL_SECONDS = 0.05
REST_SECONDS = 0.1  # between two looks at a run that waits or rests
SUMMARY_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
BACKLOG = 100  # events that a slow viewer may fall behind
MAX_VIEWERS = 500
LARGEST = 2**31 - 1  # what a database takes for a step

log = logging.getLogger("rnnviz")


def stream_path(base: str, run: str) -> str:
    """The path of a run's stream, below the server's base path."""
    return f"{'/' + base if base else ''}/live/{run}"


class Feed:
    """The news of one run, read once and handed to everyone who watches it."""

    def __init__(self, store: Store, run: str, last: int) -> None:
        self.store, self.run = store, run
        self.viewers: set[asyncio.Queue[str | None]] = set()
        self.last = last  # step up to which there is no news: the overview shows it
        self.summary = ""
        self.task: asyncio.Task[None] | None = None

    def join(self) -> asyncio.Queue[str | None]:
        """A queue of events; None means that there will be no more."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(BACKLOG)
        self.viewers.add(queue)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._poll())
        return queue

    def leave(self, queue: asyncio.Queue[str | None]) -> None:
        """Stop reading once nobody watches."""
        self.viewers.discard(queue)
        if not self.viewers and self.task is not None:
            self.task.cancel()
            self.task = None

    def _tell(self, text: str | None) -> None:
        for queue in list(self.viewers):
            try:
                queue.put_nowait(text)
            except asyncio.QueueFull:
                # Too slow: it reconnects with the last step it has and gets an overview.
                self.viewers.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    async def _poll(self) -> None:
        try:
            await self._follow()
        except (sa.exc.SQLAlchemyError, ValueError) as error:
            log.error("the run cannot be followed: %s", error)
        finally:
            self._tell(None)  # whoever still watches comes back

    async def _follow(self) -> None:
        told, state = 0.0, ""
        clock = asyncio.get_running_loop().time
        while True:
            # The run is read before its chunks: when it has ended, none can be missing.
            row = await anyio.to_thread.run_sync(self.store.run, self.run)
            if row is None:
                return
            screens = await anyio.to_thread.run_sync(self.store.screens, self.run, self.last)
            for last, blob in screens:
                self.last = max(self.last, last)
                self._tell(_chunk_event(blob, last))
            if not screens and await anyio.to_thread.run_sync(self.store.newest, self.run) < self.last:
                await self._rewind()
            if row.state != state or clock() - told >= SUMMARY_SECONDS or row.ended:
                summary = await anyio.to_thread.run_sync(_summary, self.store, row)
                told, state = clock(), row.state
                if summary != self.summary:
                    self.summary = summary
                    self._tell(_event("run", summary))
            if row.ended:
                return
            await asyncio.sleep(POLL_SECONDS if row.state == "running" else REST_SECONDS)

    async def _rewind(self) -> None:
        """A slice was lost and the run goes on from before it: everyone starts anew."""
        shown = await anyio.to_thread.run_sync(overview_of, self.store, self.run)
        self.last = -1 if shown is None else shown[0]
        # With an id of its own: who reconnects just now must not ask from where the lost slice had come to.
        self._tell(f"id: -1\n{_event('reset', '')}")
        if shown is not None:
            self._tell(_chunk_event(shown[1], shown[0]))


class Feeds:
    """The feeds of the runs that somebody watches."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self.store = store
        self.feeds: dict[str, Feed] = {}

    @property
    def viewers(self) -> int:
        """Everyone who watches."""
        return sum(len(feed.viewers) for feed in self.feeds.values())

    async def events(self, row: Run, after: int) -> AsyncIterator[str]:
        """The events of a run for one viewer who has drawn everything up to step `after`."""
        feed = self.feeds.setdefault(row.id, Feed(self.store(), row.id, row.step - 1))
        queue = feed.join()  # before the overview is made, so that nothing falls between the two
        try:
            if self.viewers > MAX_VIEWERS:  # many came at once
                return
            # The feed's own words where it has some: they may be newer than the row.
            yield _event("run", feed.summary or await anyio.to_thread.run_sync(_summary, feed.store, row))
            shown = await anyio.to_thread.run_sync(overview_of, feed.store, row.id, after)
            if shown is not None:
                yield _chunk_event(shown[1], shown[0])
            while True:
                try:
                    text = await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if text is None:
                    return
                yield text
        finally:
            feed.leave(queue)
            if not feed.viewers and self.feeds.get(row.id) is feed:
                del self.feeds[row.id]


def stream_endpoint(feeds: Feeds) -> Callable[[Request], object]:
    """The route's handler."""

    async def endpoint(request: Request) -> Response:
        if _cross_site(request):
            return JSONResponse({"error": "This stream is for pages of the same site."}, 403)
        if feeds.viewers >= MAX_VIEWERS:
            return JSONResponse({"error": "Too many viewers just now."}, 503)
        try:
            row = await anyio.to_thread.run_sync(feeds.store().run, request.path_params["run"])
        except ExperimentError:
            row = None
        if row is None:
            return JSONResponse({"error": "There is no such run."}, 404)
        after = request.headers.get("last-event-id") or request.query_params.get("after") or "-1"
        try:
            step = int(after)
            if not -LARGEST <= step <= LARGEST:
                raise ValueError(after)
        except ValueError:
            return JSONResponse({"error": f"after: got {after[:40]!r}; allowed: a whole number."}, 400)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(feeds.events(row, step), media_type="text/event-stream", headers=headers)

    return endpoint


def _cross_site(request: Request) -> bool:
    """Whether another site's page asks. Same-origin EventSource sends no Origin, or its own."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    return foreign or request.headers.get("sec-fetch-site") in ("cross-site",)


def _summary(store: Store, row: Run) -> str:
    position = store.ahead(row) + 1 if row.state == "queued" else None
    return json.dumps(run_summary(row, position))


def _chunk_event(blob: bytes, last: int) -> str:
    return f"id: {last}\n{_event('chunk', base64.b64encode(blob).decode())}"


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
