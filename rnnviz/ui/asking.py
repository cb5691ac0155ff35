"""Jobs that a button asks for, and what is said when they cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from ..runs.jobs import Jobs
from ..runs.store import StoreFullError
from .settings import Settings

_TROUBLE = "asking_trouble"


def ask(
    jobs: Jobs, kind: str, requests: Sequence[Mapping[str, Any]], settings: Settings | None = None,
    at: int | None = None,
) -> None:  # fmt: skip
    """For a button: ask. With settings and a step the page stays there, while a run goes on."""
    if settings is not None and at is not None:
        settings.set(at=at)
    try:
        for request in requests:
            jobs.ask(kind, request)
    except StoreFullError as error:
        st.session_state[_TROUBLE] = str(error)


def cancel(jobs: Jobs, asked: Sequence[str]) -> None:
    """For a button."""
    jobs.cancel(*asked)


def say_trouble() -> None:
    """Why the last thing that was asked for cannot be had, once."""
    if trouble := st.session_state.pop(_TROUBLE, None):
        st.warning(trouble)
