"""The page Butterfly by Streamlit's own test driver: every section opens, links hold, numbers are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.ui import butterfly_networks, butterfly_parts, eigenvalue_plane
from rnnviz.ui.butterfly_settings import KINDS, LIMIT, SECTIONS
from rnnviz.ui.setting_kinds import Choice, Number, Several

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "butterfly.py")
FIGURES = {"weight": 1, "units": 2, "trajectories": 1, "random": 2, "sigmoid": 2, "initialization": 3}


def page(**query: str) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def figures(app: AppTest) -> list[dict[str, Any]]:
    """The figures as they go to the browser."""
    return [json.loads(element.proto.spec) for element in app.get("plotly_chart")]


def numbers(values: Any) -> np.ndarray:
    """An array of a figure, which travels as a list or as base64."""
    if isinstance(values, dict):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).astype(float)
    return np.array([np.nan if value is None else value for value in values], float)


def curve(figure: dict[str, Any], name: str) -> np.ndarray:
    """A line's values, by its name in the legend."""
    (found,) = (trace for trace in figure["data"] if trace.get("name") == name)
    return numbers(found["y"])


def address(app: AppTest) -> dict[str, str]:
    """What the page has written."""
    found = dict(app.query_params.items())
    return {name: value if isinstance(value, str) else value[0] for name, value in found.items()}


def said(app: AppTest) -> str:
    return "\n".join(str(text.value) for text in app.markdown)


def widget(app: AppTest, name: str) -> Any:
    """The widget of a setting."""
    kinds = (app.slider, app.number_input, app.button_group)
    (found,) = (one for kind in kinds for one in kind if f":{name}:" in str(one.key))
    return found


@pytest.mark.parametrize("show", SECTIONS)
def test_every_section_opens_with_its_figures_and_says_how_it_stands(show: str) -> None:
    app = page(show=show)
    assert not app.exception
    assert not app.warning
    assert len(figures(app)) == FIGURES[show]
    assert any(word in said(app) for word in ("**Vanishing.**", "**Exploding.**", "**Healthy.**"))
    assert "Try" in said(app) or "Start just" in said(app)
    for element in app.get("plotly_chart"):
        assert json.loads(element.proto.spec)["layout"]["paper_bgcolor"] == "rgba(0, 0, 0, 0)"


def test_only_the_section_on_show_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object) -> None:
        raise AssertionError("computed, but not shown")

    for name in ("transition", "separation", "beginning"):
        monkeypatch.setattr(butterfly_networks, name, never)
    for name in ("plane", "fixed_points"):
        monkeypatch.setattr(butterfly_parts, name, never)
    assert not page(show="weight").exception


def test_a_thousand_steps_at_one_per_cent() -> None:
    app = page()
    assert address(app) == {}
    assert "1.01^1000 = 20,959" in said(app)
    (figure,) = figures(app)
    assert 10 ** curve(figure, "w = 1.01")[-1] == pytest.approx(20959.155637814)
    assert 10 ** curve(figure, "w = 0.99")[-1] == pytest.approx(4.3171247e-5)


def test_a_weight_that_is_moved_changes_the_number_by_autograds_derivative() -> None:
    T, w, by = 1000, 0.999, 1e-5

    def end(weight: float) -> float:
        (figure,) = figures(page(w=f"{weight:.6g}"))
        return float(10 ** curve(figure, f"w = {weight:g}")[-1])

    linear, own = CELLS["linear"], torch.tensor([[w]], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.float64)
    weights = {"weight_ih": zero[None], "weight_hh": own, "bias_ih": zero, "bias_hh": zero}
    start = {"h": torch.ones(1, 1, dtype=torch.float64)}
    *_, last = unroll(linear, weights, torch.zeros(T, 1, 1, dtype=torch.float64), start)
    last["h"].sum().backward()
    assert end(w) == pytest.approx(last["h"].item(), rel=1e-10)
    assert (end(w + by) - end(w - by)) / (2 * by) == pytest.approx(float(own.grad), rel=1e-4)


def test_a_slider_writes_the_link_and_the_link_sets_the_slider() -> None:
    app = page()
    widget(app, "w").set_value(0.995).run()
    assert address(app) == {"w": "0.995"}
    again = page(w="0.995")
    assert widget(again, "w").value == 0.995
    assert figures(again) == figures(app)
    assert "**Healthy.**" in said(page(w="0.995", T="100"))
    assert "**Vanishing.**" in said(page(w="0.97"))


def test_a_link_with_every_setting_reproduces_the_page() -> None:
    query = {
        "show": "trajectories", "cells": "relu,gru", "hidden": "12", "gain": "1.35", "apart": "-4",
        "length": "60", "input": "noise", "seed": "7",
    }  # fmt: skip
    app = page(**query)
    assert not app.warning
    assert address(app) == query
    assert figures(page(**query)) == figures(app)
    named = {trace["name"] for trace in figures(app)[0]["data"]}
    assert {CELLS["relu"].label, CELLS["gru"].label} <= named
    assert CELLS["tanh"].label not in named


WRONG = {
    "show": "everything", "w": "7", "T": "1.5", "pair": "three", "re": "nan", "angle": "0",
    "cells": "tanh,none",
    "hidden": "1000", "apart": "1", "input": "loud", "g": "3", "N": "x", "weight": "-1", "bias": "9",
    "start": "2", "inits": "", "cell": "lstm", "seed": "-1", "nothing": "1",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_the_address_is_named(name: str) -> None:
    app = page(**{name: WRONG[name]})
    assert not app.exception
    (warning,) = app.warning
    assert name in warning.value
    assert "allowed" in warning.value or "no such setting" in warning.value


def test_every_setting_can_be_written_and_read() -> None:
    for kind in KINDS.values():
        values: list[Any] = [kind.default]
        if isinstance(kind, Choice):
            values += kind.options
        elif isinstance(kind, Number):
            values += [kind.low, kind.high]
        elif isinstance(kind, Several):
            values += [(name,) for name in kind.options]
        for value in values:
            assert kind.read(kind.write(value)) == value


def test_the_preset_shows_growth_with_eigenvalues_below_one() -> None:
    app = page(show="units")
    assert "Both are equal" in said(app)
    app.button(key="butterfly_transient").click().run()
    assert address(app) == {
        "show": "units", "pair": "real", "angle": "5",
    }  # fmt: skip
    assert "grows to 5.71 times its size at t = 8" in said(app)
    norms = curve(figures(app)[1], "Wᵗ itself")
    assert 10 ** norms.max() == pytest.approx(5.7064, abs=1e-4)
    assert norms[-1] < 0


@pytest.mark.parametrize(
    ("pair", "moved"), [("complex", (0.5 + 0.5j, 0.5 - 0.5j)), ("real", (-1.1 + 0j, 0.2 + 0j))]
)
def test_what_the_plane_reports_sets_the_fields(
    monkeypatch: pytest.MonkeyPatch, pair: str, moved: tuple[complex, complex]
) -> None:
    heard: list[Any] = []
    real = eigenvalue_plane.eigenvalue_plane

    def listening(values: Any, pair: bool, limit: float, tell: Any) -> None:
        heard.append(tell)
        real(values, pair, limit, tell)

    monkeypatch.setattr(butterfly_parts, "eigenvalue_plane", listening)
    app = page(show="units", pair=pair)
    before = widget(app, "angle").key
    fields = ("re", "im") if pair == "complex" else ("first", "second")
    monkeypatch.setattr(
        butterfly_parts, "eigenvalue_plane", lambda v, p, limit, tell: tell(moved) or real(v, p, limit, tell)
    )
    app.run()
    app.run()
    expected = (moved[0].real, moved[0].imag if pair == "complex" else moved[1].real)
    assert tuple(widget(app, name).value for name in fields) == pytest.approx(expected)
    assert widget(app, "angle").key == before, "widgets that were not set stay as they are"
    assert heard


@pytest.mark.parametrize(
    "told",
    [None, {}, {"n": 1}, {"values": [[0, 0]]}, {"values": [["x", 0], [0, 0]]}, {"values": [[9, 0], [0, 0]]},
     {"values": [[float("nan"), 0], [0, 0]]}, {"values": 3}],
)  # fmt: skip
def test_what_no_browser_of_ours_would_say_is_not_taken(monkeypatch: pytest.MonkeyPatch, told: Any) -> None:
    monkeypatch.setattr(eigenvalue_plane, "_told", lambda: told or {})
    assert eigenvalue_plane._reported(LIMIT) is None
    monkeypatch.setattr(eigenvalue_plane, "_told", lambda: {"n": 4, "values": [[0.5, 0.25], [0.5, -0.25]]})
    assert eigenvalue_plane._reported(LIMIT) == (0.5 + 0.25j, 0.5 - 0.25j)


def test_the_last_cell_stays() -> None:
    app = page(show="trajectories", cells="lstm")
    widget(app, "cells").set_value([]).run()
    assert not app.exception
    assert widget(app, "cells").value == ["lstm"]
    assert address(app)["cells"] == "lstm"


def test_the_sigmoid_says_where_its_folds_are() -> None:
    assert "Between b = -2.655610 and -2.344390 there are three fixed points, and here" in said(
        page(show="sigmoid")
    )
    assert "b = -3 lies outside" in said(page(show="sigmoid", bias="-3"))
    assert "no slope is above 0.75" in said(page(show="sigmoid", weight="3"))
    names = [trace.get("name") for trace in figures(page(show="sigmoid", weight="3", bias="-1.5"))[0]["data"]]
    assert "unstable" not in names


def test_the_gain_decides_between_silence_and_chaos() -> None:
    quiet, loud = page(show="random", g="0.7"), page(show="random", g="2")
    assert "**Vanishing.**" in said(quiet)
    assert "**Exploding.**" in said(loud)
    assert curve(figures(quiet)[0], "size of the state")[-1] < -20
    assert curve(figures(loud)[0], "distance of a neighbour")[-1] > -2


def test_orthogonal_fades_under_relu_and_identity_does_not() -> None:
    app = page(show="initialization", cell="relu", inits="orthogonal,identity")
    assert "Under ReLU an orthogonal matrix fades" in said(app)
    assert curve(figures(app)[0], "Identity (IRNN)")[-1] == pytest.approx(0.0, abs=1e-9)
    assert curve(figures(app)[0], "Orthogonal")[-1] < -5
