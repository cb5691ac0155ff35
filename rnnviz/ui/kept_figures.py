"""Figures that the browser keeps, a component of our own: what changes is drawn into them.

`st.plotly_chart` builds a chart anew whenever its data changes, and with it goes the camera of a surface that
somebody is just turning. Here the camera and the zoom stay where the user put them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from .component import component, module_path
from .text import _

PLOTLY = "plotly.min.js"  # below the path of our files; the server takes it from the plotly package

_component = component("figures", isolate_styles=False)


def kept_figures(
    figures: Sequence[go.Figure], key: str, alt: str, filename: str = "rnnviz",
    picked: Callable[[float, float], None] | None = None,
) -> None:  # fmt: skip
    """Draw figures side by side, below each other where there is no room.

    A place under the pointer in a surface is marked in a heat map or contour beside it, and the other way
    round. A click into a two-dimensional figure calls `picked` with its place. alt: what the figures show,
    for those who do not see them; filename: of downloaded pictures, without its end.
    """

    def hear() -> None:
        place = _place(getattr(st.session_state.get(key), "picked", None))
        if picked is not None and place is not None:
            picked(*place)

    told = getattr(st.session_state.get(key), "picked", None)
    data: dict[str, Any] = {
        "module": module_path("pages/figures.js"),
        "plotly": module_path(PLOTLY),
        "figures": [str(figure.to_json()) for figure in figures],
        "alt": alt,
        "filename": filename,
        "picking": picked is not None,
        "picked": int(told.get("n", 0)) if told else 0,
        "text": {
            "download": _("Save this figure as {format}"),
            "broken": _("The figures could not be loaded. Reload the page."),
        },
    }
    _component(key=key, data=data, on_picked_change=hear)


def _place(told: Any) -> tuple[float, float] | None:
    """What the browser said, if these are two numbers."""
    try:
        x, y = float(told["x"]), float(told["y"])
    except (KeyError, TypeError, ValueError):
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
