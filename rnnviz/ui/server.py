"""What `app.py` adds to Streamlit: our own routes, and the services' life around the server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from . import services
from .component import STATIC, base_path, static_path
from .kept_figures import PLOTLY
from .stream import Feeds, server_path, stream_endpoint, stream_path

MAIN = Path(__file__).with_name("main.py")
FEEDS = Feeds(services.store)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    """Open the store and keep an engine running while the server lives."""
    await anyio.to_thread.run_sync(services.store)
    _streams_end_first()
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(services.close)


def _streams_end_first() -> None:
    """A server that is told to end waits for its open connections, and a stream has no end of its own."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        if not callable(before):
            continue

        def end(number: int, frame: Any, before: Any = before) -> None:
            loop.call_soon_threadsafe(FEEDS.close)
            before(number, frame)

        try:
            signal.signal(number, end)
        except ValueError:  # a server in a thread of another program, which ends it in its own way
            return


def routes() -> list[BaseRoute]:
    """Our routes, below the server's base path. A store that cannot be used ends the start in a sentence."""
    trouble = services.trouble()
    if trouble:
        raise SystemExit(trouble)
    base = base_path()
    return [
        Route(stream_path(base), stream_endpoint(FEEDS)),
        Route(server_path(base), _server),
        # plotly.js as the plotly package brings it, so that nothing is loaded from elsewhere.
        Route(f"{static_path(base)}/{PLOTLY}", _plotly),
        # Where Streamlit itself serves the folder static/ beside a main script.
        Mount(static_path(base), _Revalidated(directory=STATIC)),
    ]


def _server(request: Request) -> Response:
    """Which start of the server this is."""
    return Response(services.SERVER, media_type="text/plain", headers={"Cache-Control": "no-store"})


class _Revalidated(StaticFiles):
    """Files that a browser may keep but asks about each time, so that an update reaches everyone whole."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _plotly(request: Request) -> Response:
    files = _Revalidated(directory=str(resources.files("plotly") / "package_data"))
    return await files.get_response(PLOTLY, request.scope)
