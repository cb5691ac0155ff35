"""The complex plane with two eigenvalues that can be dragged, a component of our own.

The browser draws it (`static/pages/eigenvalues.js`) and reports where they are while they are dragged and at
the end, one report at a time; the page answers with the number of the report that it has drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import streamlit as st

from .component import component, module_path
from .text import _

KEY = "eigenvalue_plane"

_component = component("eigenvalues")

Pair = tuple[complex, complex]


def eigenvalue_plane(values: Pair, pair: bool, limit: float, moved: Callable[[Pair], None]) -> None:
    """Draw two eigenvalues; `pair`: conjugates, else both real. What the browser reports goes to `moved`.

    limit: the largest size of either part. Drawn last on the page, so that its answer to the browser comes
    after everything else has been drawn.
    """

    def hear() -> None:
        found = _reported(limit)
        if found is not None:
            moved(found)

    data: dict[str, Any] = {
        "module": module_path("pages/eigenvalues.js"),
        "values": [[value.real, value.imag] for value in values],
        "pair": pair,
        "limit": limit,
        "echo": _number(),
        "text": {
            "handle": _("Eigenvalue {n}"),
            "size": _("size"),
            "broken": _("The plane could not be loaded. Use the fields below it."),
        },
    }
    _component(key=KEY, data=data, on_eigenvalues_change=hear)


def _told() -> dict[str, Any]:
    state = st.session_state.get(KEY)
    told = getattr(state, "eigenvalues", None)
    return dict(told) if told else {}


def _number() -> int:
    """Of the last report that has been heard."""
    return int(_told().get("n", 0))


def _reported(limit: float) -> Pair | None:
    """What the browser said, if these are two numbers within the limit."""
    try:
        (a, b), (c, d) = _told()["values"]
        parts = [float(part) for part in (a, b, c, d)]
    except (KeyError, TypeError, ValueError):
        return None
    if not all(math.isfinite(part) and abs(part) <= limit for part in parts):
        return None
    return complex(parts[0], parts[1]), complex(parts[2], parts[3])
