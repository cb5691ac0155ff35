"""The figures of a page, as Streamlit's test driver has them."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest


def figures(app: AppTest) -> list[dict[str, Any]]:
    """Every Plotly figure that is drawn, its arrays decoded."""
    return [_decoded(json.loads(chart.proto.spec)) for chart in app.get("plotly_chart")]


def kept(app: AppTest) -> list[dict[str, Any]]:
    """Every figure that the browser keeps (`kept_figures`), its arrays decoded."""
    found = []
    for component in app.get("bidi_component"):
        if component.proto.component_name == "rnnviz_figures":
            found += [_decoded(json.loads(text)) for text in json.loads(component.proto.json)["figures"]]
    return found


def traces(app: AppTest, **values: Any) -> list[dict[str, Any]]:
    """Every trace of a figure that has these properties."""
    every = [one for figure in figures(app) for one in figure["data"]]
    return [one for one in every if all(one.get(name) == value for name, value in values.items())]


def trace(app: AppTest, **values: Any) -> dict[str, Any]:
    """The one trace with these properties."""
    found = traces(app, **values)
    names = [(one["type"], one.get("name")) for one in traces(app)]
    assert len(found) == 1, f"{len(found)} traces with {values} among {names}"
    return found[0]


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        if "bdata" in value:
            array = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"])
            return array.reshape([int(n) for n in str(value.get("shape", array.size)).split(",")])
        return {name: _decoded(one) for name, one in value.items()}
    return [_decoded(one) for one in value] if isinstance(value, list) else value
