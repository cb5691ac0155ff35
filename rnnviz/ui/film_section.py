"""The animation of a surface over training, in the page: asked for, waited for, cancelled, taken along."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

import streamlit as st

from ..plots import surfaces as figures
from ..runs import film, frames
from ..runs.jobs import OPEN, Job, Jobs
from ..runs.store import Store, StoreFullError
from ..runs.surfaces import AHEAD
from .settings import Settings
from .surface_sections import View, short_titles, titles_of
from .text import _, words

KEPT = 3  # films that are kept by this process: one is read from the store once
_ASKED, _TROUBLE, _WAITED = "film_asked", "film_trouble", "film_waited"

_lock = Lock()
_kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()


def film_section(store: Store, seen: View, settings: Settings) -> None:
    """The animation up to the step on show: a button, its progress, or the picture itself."""
    run = seen.one.run
    steps = [] if run is None else film.frames_of(seen.paths[seen.one.letter].steps, seen.one.step)
    if run is None or len(steps) < film.LEAST_FRAMES:
        st.caption(_("An animation needs a run and a later step: it goes through the checkpoints so far."))
        return
    request = _request(seen, steps, settings)
    _film(store, request)


def film_under_way() -> bool:
    """Whether the page waits for an animation."""
    return bool(st.session_state.get(_WAITED))


def _request(seen: View, steps: list[int], settings: Settings) -> dict[str, Any]:
    kind = settings["height"]
    log = settings["scale"] == "log" and kind != "accuracy"
    # The network whose surface it is comes first.
    order = [seen.one, *(n for n in seen.shared if n is not seen.one)]
    paths = [(n.run.id, n.color, n.name) for n in order if n.run is not None][: film.MOST_PATHS]
    (x, y), (short_x, short_y) = titles_of(seen), short_titles(seen.request["plane"])
    told = words(frames.WORDS) | {"x": x, "y": y, "short_x": short_x, "short_y": short_y}
    told["height"] = words(figures.TEXT)[kind]
    return film.request(seen.request, steps, kind, log, paths, told)


def _film(store: Store, request: Mapping[str, Any]) -> None:
    asked = st.session_state.get(_ASKED)
    job, gif = _find(store, request)
    if gif is None and asked is not None and asked != request and (job is None or job.state not in OPEN):
        # The page has moved on meanwhile, with a slider or because the run goes on.
        before, found = _find(store, asked)
        if found is not None or (before is not None and before.state in OPEN):
            _offer(store, request)
            request, job, gif = asked, before, found
    is_open = gif is None and job is not None and job.state in OPEN
    if trouble := st.session_state.get(_TROUBLE):
        st.warning(trouble)
    if gif is not None:
        _picture(request, gif)
    elif is_open and job is not None:
        _progress(store, request, job)
    else:
        if job is not None and job.state == "failed":
            st.warning(job.message or _("The animation was not made."))
        _offer(store, request)
    if is_open != bool(st.session_state.get(_WAITED)):
        st.session_state[_WAITED] = is_open
        st.rerun()  # the whole page, so that it looks for news from now on, or no longer


def _find(store: Store, request: Mapping[str, Any]) -> tuple[Job | None, bytes | None]:
    """The job that was asked this, and the film where it is finished."""
    key = store.url, json.dumps(request, sort_keys=True)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return None, _kept[key]
    job = Jobs(store).find(film.KIND, request)
    if job is None or job.state != "finished" or job.result is None:
        return job, None
    with _lock:
        _kept[key] = job.result
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return job, job.result


def _offer(store: Store, request: Mapping[str, Any]) -> None:
    """The button, and how long it would take."""
    count, seconds = len(request["steps"]), math.ceil(sum(film.expected_seconds(request)))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            _("Make an animation (GIF)"), key="film_make", on_click=_ask, args=(store, request),
            help=_("The surface at every checkpoint up to this step, all on one scale of colours."),
        )  # fmt: skip
        told = _("{count} frames, about {seconds} seconds of computing.")
        st.caption(told.format(count=count, seconds=f"{seconds:,}"))


def _ask(store: Store, request: Mapping[str, Any]) -> None:
    st.session_state.pop(_TROUBLE, None)
    try:
        Jobs(store).ask(film.KIND, request, AHEAD)
    except StoreFullError as error:
        st.session_state[_TROUBLE] = str(error)
        return
    st.session_state[_ASKED] = dict(request)


def _progress(store: Store, request: Mapping[str, Any], job: Job) -> None:
    known, count = film.decode(job.partial) if job.partial else None, len(request["steps"])
    if known is None:
        told = _("Waiting for a worker")
    elif known.computed < count:
        told = _("Computing surfaces: {done} of {count}").format(done=known.computed, count=count)
    else:
        told = _("Drawing frames: {done} of {count}").format(done=known.drawn, count=count)
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, job.progress), told)
    stop.button(_("Cancel"), key="film_cancel", on_click=_cancel, args=(store, job.id))


def _cancel(store: Store, job: str) -> None:
    Jobs(store).cancel(job)
    st.session_state.pop(_ASKED, None)


def _picture(request: Mapping[str, Any], gif: bytes) -> None:
    last = request["steps"][-1]
    told = _("The loss surface from step {first:,} to step {last:,}, {count} frames").format(
        first=request["steps"][0], last=last, count=len(request["steps"])
    )
    st.image(gif, alt=told, caption=told)
    st.download_button(
        _("The animation (GIF), {size:.1f} MB").format(size=len(gif) / 1e6), gif,
        f"surface-to-step-{last}.gif", "image/gif", key="film_download", on_click="ignore",
    )  # fmt: skip
