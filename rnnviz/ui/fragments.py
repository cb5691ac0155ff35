"""Parts of a page that are drawn again by themselves, without the rest of it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Literal

import streamlit as st

_within: ContextVar[bool] = ContextVar("_within", default=False)


def drawn_again(
    draw: Callable[..., None],
    *given: Any,
    every: float | Callable[[], float | None] | None = None,
    width: int | Literal["stretch", "content"] = "stretch",
) -> None:
    """Draw a part of the page here, and again every so many seconds; None: only with the page.

    every: a function is asked after each drawing too, and where it says something else than it did for the
    page, the whole page is drawn anew, since nothing less makes a part faster, slower or still.

    Streamlit counts a page's elements by their place in a box. When a part begins anew, what it has drawn but
    not yet sent is taken back, and nothing else. What stands after it, or within it as a part of its own,
    would then come to a place that the browser has not heard of, and the page would end with "Bad delta path
    index". So a part gets a box that is not its own, and there is none within another: RuntimeError.
    """
    if _within.get():
        raise RuntimeError("a part that is drawn again cannot stand within another")

    seconds = every() if callable(every) else every

    @wraps(draw)  # Streamlit tells the parts of one place apart by their names
    def draw_it() -> None:
        before = _within.set(True)
        try:
            draw(*given)
        finally:
            _within.reset(before)
        if callable(every) and every() != seconds:
            st.rerun()

    with st.container(width=width):
        st.fragment(draw_it, run_every=seconds)()
