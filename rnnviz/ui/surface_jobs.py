"""Surfaces from the store: asked for as tiles, drawn as far as they are, cancelled when nobody waits."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import streamlit as st

from ..runs.jobs import OPEN, Jobs
from ..runs.store import Store, StoreFullError
from ..runs.surfaces import COARSE, FINE, KIND, Grid, gathered, tile_requests
from ..runs.surfaces import tiles as cut
from .text import _

_ASKED, _HALTED = "surface_asked", "surface_halted"
KEPT = 64
MOMENT = 0.4  # seconds in which the first level of most surfaces is there

Request = Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """A surface as far as it is: what can be drawn, and what is still to come."""

    grid: Grid | None
    share: float  # of its tiles
    open: bool
    trouble: str | None = None
    dropped: bool = False  # some of its tiles were cancelled, and nobody works on the others

    @property
    def whole(self) -> bool:
        return self.share >= 1.0


_lock = Lock()
_whole: OrderedDict[tuple[str, str], Progress] = OrderedDict()


def surface(store: Store, request: Request) -> Progress:
    """What there is of a surface; whole ones are kept by this process."""
    key = store.url, json.dumps(request, sort_keys=True)
    with _lock:
        if key in _whole:
            _whole.move_to_end(key)
            return _whole[key]
    jobs = Jobs(store).find_all(KIND, tile_requests(request))
    done = [job is not None and job.state == "finished" for job in jobs]
    blobs = [job.result if job is not None and there else None for job, there in zip(jobs, done, strict=True)]
    failed = next((job for job in jobs if job is not None and job.state == "failed"), None)
    under_way = any(job is not None and job.state in OPEN for job in jobs)
    found = Progress(
        gathered(request, blobs), sum(done) / len(done), under_way,
        None if failed is None else failed.message or _("The surface was not computed."),
        not under_way and any(job is not None and job.state == "cancelled" for job in jobs),
    )  # fmt: skip
    if found.whole:
        with _lock:
            _whole[key] = found
            while len(_whole) > KEPT:
                _whole.popitem(last=False)
    return found


def ask(store: Store, request: Request) -> str | None:
    """Have a surface computed, the coarse tiles first; what this page asked for before is no longer wanted.

    Returns why it cannot be, as a sentence.
    """
    jobs, key = Jobs(store), json.dumps(request, sort_keys=True)
    if halted(request) or asked(request):
        return None
    before: tuple[str, list[str]] = st.session_state.get(_ASKED, ("", []))
    tiles = tile_requests(request)
    coarse = _coarse(request, tiles)
    try:
        ids = jobs.ask_all(KIND, tiles[:coarse], COARSE) + jobs.ask_all(KIND, tiles[coarse:], FINE)
    except StoreFullError as error:
        return str(error)
    jobs.cancel(*set(before[1]) - set(ids))
    st.session_state[_ASKED] = key, ids
    return None


def first(store: Store, request: Request, just_asked: bool) -> Progress:
    """What there is of a surface. Of one just asked for the first level is there in a moment, and waiting for
    it is quicker than looking again."""
    until = time.monotonic() + (MOMENT if just_asked else 0.0)
    while True:
        found = surface(store, request)
        if found.grid is not None or not found.open or time.monotonic() >= until:
            return found
        time.sleep(0.02)


def asked(request: Request) -> bool:
    """Whether this page has asked for this surface, and for none since."""
    before: tuple[str, list[str]] = st.session_state.get(_ASKED, ("", []))
    return before[0] == json.dumps(request, sort_keys=True)


def halt(store: Store, request: Request) -> None:
    """Cancel what is open of a surface, and do not ask for it again by itself."""
    found = Jobs(store).find_all(KIND, tile_requests(request))
    Jobs(store).cancel(*[job.id for job in found if job is not None and job.state in OPEN])
    st.session_state[_HALTED] = json.dumps(request, sort_keys=True)
    st.session_state.pop(_ASKED, None)


def resume() -> None:
    """What was cancelled is wanted after all."""
    st.session_state.pop(_HALTED, None)
    st.session_state.pop(_ASKED, None)


def halted(request: Request) -> bool:
    """Whether the user has cancelled this surface."""
    return bool(st.session_state.get(_HALTED) == json.dumps(request, sort_keys=True))


def leave(store: Store) -> None:
    """The page shows no surface any more: what it asked for is not waited for."""
    before: tuple[str, list[str]] = st.session_state.pop(_ASKED, ("", []))
    if before[1]:
        Jobs(store).cancel(*before[1])


def _coarse(request: Request, tiles: Sequence[Request]) -> int:
    """How many tiles, the first ones, make the first level."""
    return sum(tile.level == 0 for tile in cut(request["n"], tiles[0]["per_tile"]))


__all__ = ["Progress", "ask", "asked", "first", "halt", "halted", "leave", "resume", "surface"]
