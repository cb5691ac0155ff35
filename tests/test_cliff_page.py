"""The page The cliff by Streamlit's own test driver: what it says, its knobs, links, what is no number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.cliff import Unit, at
from rnnviz.analysis.cliff_descent import descend
from rnnviz.ui import cliff_sections, kept_figures
from rnnviz.ui.cliff_settings import KINDS, USUAL
from rnnviz.ui.setting_kinds import Choice, Number, Numbers
from tests.figures import figures

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "cliff.py")


class Kept:
    """What the page gives to the component that keeps its figures."""

    figures: Sequence[go.Figure]
    alt: str
    click: tuple[float, float] | None = None  # into the map, at the next run of the page

    def trace(self, which: int, **values: Any) -> Any:
        (found,) = (one for one in self.figures[which].data if all(one[k] == v for k, v in values.items()))
        return found


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    seen, real = Kept(), kept_figures.kept_figures

    def listening(figures: Any, key: str, alt: str, filename: str, picked: Any) -> None:
        seen.figures, seen.alt = figures, alt
        if seen.click is not None:
            picked(*seen.click)
            seen.click = None
        real(figures, key, alt, filename, picked)

    monkeypatch.setattr(cliff_sections, "kept_figures", listening)
    return seen


def page(**query: str) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def address(app: AppTest) -> dict[str, str]:
    found = dict(app.query_params.items())
    return {name: value if isinstance(value, str) else value[0] for name, value in found.items()}


def said(app: AppTest) -> str:
    return "\n".join(str(text.value) for text in (*app.markdown, *app.caption))


def widget(app: AppTest, name: str) -> Any:
    """The widget of a setting."""
    kinds = (app.slider, app.number_input, app.button_group, app.selectbox)
    (found,) = (one for kind in kinds for one in kind if str(one.key).startswith(f"cliff:{name}:"))
    return found


def test_the_first_view_shows_the_throw(kept: Kept) -> None:
    app = page()
    assert not app.warning
    assert address(app) == {}
    assert "**Without clipping it is thrown away, with clipping it goes on.**" in said(app)
    free, clipped = (descend(Unit(), (5.5, -2.5), 0.05, 200, rule, 1.0) for rule in ("none", "norm"))
    assert f"the largest gradient that it met had the norm {free.norm.max():,.0f}" in said(app)
    assert f"It left the window at step {free.leaves((4, 7, -4.5, -2))}." in said(app)
    assert f"{clipped.clipped.sum()} of 200 steps were clipped." in said(app)
    for path, name in ((free, "Without clipping"), (clipped, "By norm, at 1")):
        for which in (0, 1):
            assert kept.trace(which, name=name)["x"][0] == 5.5
        np.testing.assert_allclose(kept.trace(1, name=name)["x"], path.w)
        np.testing.assert_allclose(kept.trace(1, name=name)["y"], path.b)
    assert kept.trace(0, type="surface")["z"].shape == kept.trace(1, type="contour")["z"].shape
    assert "thrown away" in kept.alt
    assert len(figures(app)) == 3
    assert "above 1 from w = 4.25525 on" in said(app)


def test_the_lines_carry_the_papers_numbers(kept: Kept) -> None:
    app = page(w="5", b="-2.6123")
    assert "b = 0.5 - 0.622459 w" in said(app)
    assert "at w = 5 for b = -2.655610 and b = -2.344390" in said(app)
    line = kept.trace(1, name="cliff")
    drawn = np.isfinite(line["y"])
    np.testing.assert_allclose(line["y"][drawn], 0.5 - 0.6224593 * line["x"][drawn], atol=1e-6)
    assert line["x"][drawn].min() == pytest.approx(4.255, abs=0.01)


def test_moving_w_by_a_thousandth() -> None:
    app = page(w="5", b="-2.6123", through="start")
    after = at(Unit(), 5.001, -2.6123)
    length = math.hypot(after.grad_w, after.grad_b)
    assert length < 10
    assert (
        "**w moved by 0.001**, from (5, -2.6123) to (5.001, -2.6123): the gradient's norm goes from 1,026"
        in (said(app))
    )
    assert f"a gradient {1026.277 / length:,.0f} times smaller" in said(app)
    widget(app, "by").set_value(-0.002).run()
    assert "from (5, -2.6123) to (4.998, -2.6123)" in said(app)
    widget(app, "along").set_value("b").run()
    assert "**b moved by -0.002**, from (5, -2.6123) to (5, -2.6143)" in said(app)
    assert address(app) == {"w": "5", "b": "-2.6123", "through": "start", "by": "-0.002", "along": "b"}
    widget(app, "by").set_value(0.0).run()
    assert not app.exception
    assert "times" not in next(line for line in said(app).splitlines() if "moved by 0**" in line)


def test_the_cut_shows_the_place_and_the_wall() -> None:
    wide, close = figures(page(w="5", b="-2.6123", through="start"))[1:]
    for figure in (wide, close):
        error, norms = (one for one in figure["data"] if one["mode"] == "lines")
        k = int(np.argmin(np.abs(np.array(error["x"]) - 5.0)))
        assert error["y"][k] == pytest.approx(0.008563, rel=1e-5)
        assert 10 ** norms["y"][k] == pytest.approx(1026.28, rel=1e-5)
    assert (wide["data"][0]["x"][0], wide["data"][0]["x"][-1]) == (4.0, 7.0)
    assert close["data"][0]["x"][0] == pytest.approx(4.997)


def test_a_click_sets_the_start(kept: Kept) -> None:
    app = page()
    kept.click = (6.25, -3.123456)
    app.run()
    app.run()
    assert (widget(app, "w").value, widget(app, "b").value) == (6.25, -3.1235)
    assert address(app) == {"w": "6.25", "b": "-3.1235"}
    assert kept.trace(1, name="start")["x"] == (6.25,)
    kept.click = (1e9, 0.0)
    app.run()
    app.run()
    assert widget(app, "w").value == 20.0


def test_the_preset_begins_on_the_cliff(kept: Kept) -> None:
    app = page(phi="tanh", T="20")
    app.button(key="cliff_on_it").click().run()
    assert address(app) == {"w": "5", "b": "-2.6123"}
    assert "norm 1,026, at (5, -2.6123) before step 1" in said(app)


KNOBS: dict[str, tuple[Any, str]] = {
    "phi": ("relu", "relu"), "T": (10, "10"), "show": ("gradient", "gradient"), "w": (6.0, "6"),
    "b": (-3.0, "-3"), "rule": ("value", "value"), "threshold": (0.1, "0.1"), "rate": (0.2, "0.2"),
    "steps": (50, "50"), "along": ("b", "b"), "through": ("start", "start"), "by": (0.01, "0.01"),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOBS)
def test_every_knob_changes_what_is_seen_and_the_link_brings_it_back(name: str, kept: Kept) -> None:
    app = page()

    def state() -> tuple[Any, ...]:
        return ([str(f.to_json()) for f in kept.figures], figures(app), said(app))

    value, text = KNOBS[name]
    before = repr(state())
    widget(app, name).set_value(value).run()
    assert not app.exception
    assert not app.warning
    now = repr(state())
    assert now != before
    found = address(app)
    assert found[name] == text
    app = page(**found)
    assert repr(state()) == now


def test_the_window_is_set_by_its_four_numbers(kept: Kept) -> None:
    app = page()
    field = next(one for one in app.number_input if one.label == "w from")
    field.set_value(4.5).run()
    assert address(app) == {"window": "4.5,7,-4.5,-2"}
    assert kept.trace(1, type="contour")["x"][0] == 4.5
    assert "This window does not hold any of it." in said(page(window="5,6,0,1"))


def test_another_activation_brings_its_own_cliff(kept: Kept) -> None:
    app = page()
    for name, words in (("tanh", "b = 0.5 - 0.462117 w"), ("relu", "no saddle-node bifurcation")):
        widget(app, "phi").set_value(name).run()
        assert words in said(app)
        assert "**Without clipping it is thrown away, with clipping it goes on.**" in said(app)
        window = USUAL[name]["window"]
        assert tuple(kept.figures[1].layout.xaxis.range) == window[:2]
        assert "does not hold any" not in said(app)
    assert any(one.name == "fold at the kink" for one in kept.figures[1].data)
    widget(app, "phi").set_value("sigmoid").run()
    assert address(app) == {}


def test_value_clipping_and_none() -> None:
    assert "**By value, at 1:**" in said(page(rule="value"))
    app = page(rule="none")
    assert "**It is thrown away.** Choose a rule" in said(app)
    assert "By norm" not in said(app)
    assert widget(app, "threshold").disabled
    assert "**No clipping is chosen**" in said(page(rule="none", w="6.9"))
    assert "**No step was clipped**" in said(page(w="6.9", steps="5"))
    assert "**Neither is thrown away.**" in said(page(threshold="0.01", steps="20"))
    assert "**Both are thrown away.**" in said(page(threshold="1000", rate="10"))


def test_what_float64_cannot_hold_is_a_hole_and_is_said(kept: Kept) -> None:
    app = page(phi="relu", T="200", window="6,7,-0.5,0.5", w="7", b="0.5")
    assert "In 100" in re.sub(r"\s", " ", said(app)) or "these are holes, not zeros" in said(app)
    assert "at the start, (7, 0.5), float64 has no number for E or its gradient" in said(app)
    assert not np.isfinite(kept.trace(0, type="surface")["z"][-1]).any()
    assert kept.trace(1, name="Without clipping")["x"].tolist() == [7.0]
    assert "beyond what float64 can hold" in said(app)


def test_relu_explodes_without_an_error(kept: Kept) -> None:
    app = page(phi="relu", w="7", b="-2", show="gradient")
    assert "the gradient is exactly 0, for the unit is dead" in said(app)
    z = kept.trace(1, type="contour")["z"]
    assert 0 < np.isnan(z).mean() < 1
    assert "With a gradient of 0 it will never come back." in said(app)
    for show in ("error", "gradient"):
        dead = page(phi="relu", window="1,2,-4,-3", w="1.5", b="-3.5", show=show)
        assert "Without clipping the gradient is nowhere a number above 0." in said(dead)


def test_a_start_outside_the_window_is_said() -> None:
    assert "It begins outside the window." in said(page(w="2", b="0"))


WRONG = {
    "phi": "cosine", "T": "0", "show": "both", "window": "4,7,-4.5", "w": "30", "b": "nan", "rule": "agc",
    "threshold": "0", "rate": "-1", "steps": "1.5", "along": "x", "through": "end", "by": "1", "nothing": "1",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_the_address_is_named(name: str) -> None:
    app = page(**{name: WRONG[name]})
    (warning,) = app.warning
    assert name in warning.value
    assert "allowed" in warning.value or "no such setting" in warning.value
    assert "thrown away" in said(app)


def test_a_window_without_sides_is_named_and_the_usual_one_is_drawn(kept: Kept) -> None:
    app = page(window="7,4,-2,-2")
    (warning,) = app.warning
    assert warning.value.count("has to run from the smaller number to the larger") == 2
    assert tuple(kept.figures[1].layout.xaxis.range) == (4.0, 7.0)


def test_every_setting_can_be_written_and_read() -> None:
    assert set(KINDS) == set(KNOBS) | {"window"}
    for kind in KINDS.values():
        values: list[Any] = [kind.default]
        if isinstance(kind, Choice):
            values += kind.options
        elif isinstance(kind, Number):
            values += [kind.low, kind.high]
        elif isinstance(kind, Numbers):
            values += [(-1.5, 0.25, 3.0, 4.0)]
        for value in values:
            assert kind.read(kind.write(value)) == value
