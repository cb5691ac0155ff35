"""The widgets of the knobs, as Streamlit's test driver sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamlit.testing.v1 import AppTest

from rnnviz.experiment import KNOBS
from rnnviz.ui.knobs import name_of


def knobs_of(app: AppTest) -> Iterator[tuple[str, Any]]:
    """Name and widget of every knob that is drawn."""
    for widget in (*app.selectbox, *app.number_input):
        name = name_of(widget.key or "")
        if name in KNOBS:
            yield name, widget


def knob(app: AppTest, name: str) -> Any:
    """The widget of a knob."""
    (found,) = (widget for own, widget in knobs_of(app) if own == name)
    return found
