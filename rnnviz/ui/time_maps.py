"""Maps of time and unit, one below the other, a component of our own (`static/pages/gates.js`).

A time step or a unit under the pointer is marked in all of them at once: the browser has every number.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import streamlit as st

from ..numbers import of
from ..plots.theme import power
from .component import component, module_path
from .text import _

KEY = "time_maps"
DECADES = 8  # that a map of gradients shows, from its largest value down

_component = component("gates")

Kind = Literal["gate", "signed", "decades", "ink", "symbols"]


@dataclass(frozen=True)
class Pane:
    """One map. values: (T, rows), of units where `units`, else of channels; decades are log10.

    name: the symbol in the line of numbers; blank: a value that stands for nothing at all.
    """

    name: str
    title: str
    note: str
    kind: Kind
    values: np.ndarray
    low: float
    high: float
    units: bool = True
    blank: float | None = None


def gate_pane(name: str, title: str, note: str, values: np.ndarray) -> Pane:
    """A sigmoid's values, 0 to 1."""
    return Pane(name, title, note, "gate", values, 0.0, 1.0)


def signed_pane(name: str, title: str, note: str, values: np.ndarray, limit: float | None = None) -> Pane:
    """Values on either side of 0; without a limit the scale goes to the next 1, 2 or 5 of a decade."""
    top = _round_up(values) if limit is None else limit
    return Pane(name, title, note, "signed", values, -top, top)


def gradient_pane(name: str, title: str, note: str, values: np.ndarray) -> Pane:
    """Absolute values on a logarithmic scale, DECADES of them."""
    with np.errstate(divide="ignore"):
        logs = np.log10(np.abs(values).astype(np.float64))
    finite = logs[np.isfinite(logs)]
    high = float(np.ceil(finite.max())) if len(finite) else 0.0
    return Pane(name, title, note, "decades", logs, high - DECADES, high)


def _round_up(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    top = float(finite.max()) if len(finite) else 1.0
    if top == 0:
        return 1.0
    decade = 10.0 ** np.floor(np.log10(top))
    return float(next(m * decade for m in (1, 2, 5, 10, 20) if m * decade >= top))


def time_maps(
    panes: Sequence[Pane], order: np.ndarray, first: int, marks: Sequence[int], symbols: Sequence[str] | None,
    label: str, at: tuple[int, int], stamp: int, moved: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Draw the panes.

    order: the units from top to bottom; first: the first time step, marks: those that matter, counted from
    it; symbols: what is read at each step. at: time step and unit where the mark stands whenever `stamp` is
    a new one; after that it goes where the hand puts it, and `moved` hears where it came to rest.
    """

    def hear() -> None:
        found: Any = getattr(st.session_state.get(KEY), "place", None)
        try:
            t, unit = int(found["t"]), int(found["unit"])
        except (KeyError, TypeError, ValueError):
            return
        moved(t, unit)

    data: dict[str, Any] = {
        "module": module_path("pages/gates.js"),
        "T": len(panes[0].values),
        "first": first,
        "order": [int(unit) for unit in order],
        "marks": [int(t) for t in marks],
        "symbols": list(symbols) if symbols is not None else None,
        "at": at[0],
        "unit": at[1],
        "stamp": stamp,
        "panes": [_told(pane) for pane in panes],
        "text": {
            "label": label,
            "time": _("Time step"),
            "time_at": _("t = {t}"),
            "axis": _("t = {t}"),
            "place": _("t = {t}, unit {unit}"),
            "read": _("reads {symbol}"),
            "play": _("Let time run"),
            "pause": _("Stop the time"),
            "nan": _("NaN"),
            "inf": _("Inf"),
            "broken": _("The maps could not be loaded. Reload the page."),
        },
    }
    _component(key=KEY, data=data, on_place_change=hear)


def _told(pane: Pane) -> dict[str, Any]:
    rows = pane.values.shape[1]
    labels = [of(pane.low), of(pane.high)]
    if pane.kind == "decades":
        labels = [power(pane.low), power(pane.high)]
    values = np.ascontiguousarray(pane.values, dtype="<f4")
    return {
        "name": pane.name,
        "title": pane.title,
        "note": pane.note,
        "kind": pane.kind,
        "rows": rows,
        "low": pane.low,
        "high": pane.high,
        "labels": labels,
        "units": pane.units,
        "blank": pane.blank,
        "height": _height(pane.kind, pane.units, rows),
        "values": base64.b64encode(values.tobytes()).decode(),
    }


def _height(kind: Kind, units: bool, rows: int) -> int:
    """Of a map, in pixels."""
    if kind == "symbols":
        return 22
    return min(160, max(64, 4 * rows) if units else max(14, 9 * rows))
