"""What `app.py` adds to Streamlit: our own routes, and the services' life around the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import streamlit as st
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from . import services
from .live import STATIC, static_path
from .stream import Feeds, stream_endpoint, stream_path

MAIN = Path(__file__).with_name("main.py")


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    """Open the store and keep an engine running while the server lives."""
    await anyio.to_thread.run_sync(services.store)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(services.close)


def routes() -> list[BaseRoute]:
    """Our routes, below the server's base path. A store that cannot be used ends the start in a sentence."""
    trouble = services.trouble()
    if trouble:
        raise SystemExit(trouble)
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return [
        Route(stream_path(base, "{run}"), stream_endpoint(Feeds(services.store))),
        # Where Streamlit itself serves the folder static/ beside a main script.
        Mount(static_path(base), _Revalidated(directory=STATIC)),
    ]


class _Revalidated(StaticFiles):
    """Files that a browser may keep but asks about each time, so that an update reaches everyone whole."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
