"""Settings of a page: the address, the session and the widgets say the same, and wrong values are named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from rnnviz.ui.setting_kinds import Choice, Kind, Number, Numbers, Several
from rnnviz.ui.settings import Settings

KINDS: dict[str, Kind] = {
    "show": Choice("one", {"one": "One", "two": "Two"}),
    "w": Number(1.01, 0.5, 1.5, 0.001),
    "T": Number(100, 1, 2000, 1),
    "at": Number(-1, -1, 1000, 1),
    "W": Numbers((0.5, 0.25), -2, 2),
    "cells": Several(("a",), {"a": "A", "b": "B"}),
}


def script() -> None:
    import streamlit as st

    from rnnviz.ui.settings import Settings
    from tests.test_settings import KINDS

    settings = Settings("test", KINDS, others=frozenset({"run"}))
    problems = settings.begin()
    settings.switch("show", "Show")
    settings.slider("w", "w")
    settings.number("T", "T")
    settings.among("at", "At", [1, 2, 4, 8], last=True)
    settings.numbers("W", {0: "first", 1: "second"})
    settings.pills("cells", "Cells")
    st.button("Set", on_click=lambda: settings.set(w=0.75, show="two"))
    st.write("; ".join(map(str, problems)))
    settings.finish({"run": ["abc"]} if "run" in st.query_params else None)


def page(**query: str) -> AppTest:
    app = AppTest.from_function(script)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def link(app: AppTest) -> dict[str, str]:
    return {k: v if isinstance(v, str) else v[-1] for k, v in app.query_params.items()}


def test_the_usual_leaves_the_address_empty() -> None:
    app = page()
    assert not app.exception
    assert link(app) == {}
    assert app.slider[0].value == 1.01
    assert app.select_slider[0].value == 8


def test_a_link_fills_the_widgets_and_stays() -> None:
    query = {"show": "two", "w": "0.9", "T": "7", "at": "2", "W": "1,-0.5", "cells": "b,a", "run": "abc"}
    app = page(**query)
    assert app.slider[0].value == 0.9
    assert app.number_input[0].value == 7
    assert [one.value for one in app.number_input[1:]] == [1.0, -0.5]
    assert app.select_slider[0].value == 2
    assert link(app) == {**query, "cells": "a,b"}, "in the order of the options"
    assert link(app.run()) == link(app)


def test_a_widget_changes_the_address_and_back() -> None:
    app = page()
    app.slider[0].set_value(1.2).run()
    app.select_slider[0].set_value(4).run()
    assert link(app) == {"w": "1.2", "at": "4"}
    app.slider[0].set_value(1.01).run()
    app.select_slider[0].set_value(8).run()
    assert link(app) == {}, "the last of them is followed again"


def test_what_a_button_sets_reaches_its_widgets_and_leaves_the_others() -> None:
    app = page(T="9")
    app.button[0].click().run()
    assert (app.slider[0].value, app.number_input[0].value) == (0.75, 9)
    assert link(app) == {"T": "9", "w": "0.75", "show": "two"}


WRONG = {
    "show": ("three", "allowed: one, two"),
    "w": ("2", "allowed: a number from 0.5 to 1.5"),
    "T": ("3.5", "allowed: a whole number from 1 to 2000"),
    "at": ("nan", "allowed: a whole number from -1 to 1000"),
    "W": ("1,2,3", "allowed: 2 numbers from -2 to 2, between commas"),
    "cells": ("a,z", "allowed: a, b, between commas"),
    "colour": ("red", "this page has no such setting"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_named_and_the_rest_is_kept(name: str) -> None:
    value, sentence = WRONG[name]
    rest = {"T": "12"} if name != "T" else {"w": "0.9"}
    app = page(**{name: value, **rest})
    told = app.markdown[-1].value
    assert name in told
    assert value in told
    assert sentence in told
    assert link(app) == rest


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "", "1e999", "0x10", " "])
def test_what_is_no_number_is_none(text: str) -> None:
    for kind in (KINDS["w"], KINDS["T"], KINDS["W"]):
        with pytest.raises(ValueError, match="allowed"):
            kind.read(text)


@given(st.floats(0.5, 1.5), st.integers(1, 2000), st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
def test_what_is_written_is_read_again(w: float, T: int, W: tuple[float, float]) -> None:
    values: Mapping[str, object] = {"w": w, "T": T, "W": W}
    for name, value in values.items():
        text = KINDS[name].write(value)
        again = KINDS[name].read(text)
        assert KINDS[name].write(again) == text
        assert again == pytest.approx(value, rel=1e-5, abs=1e-5)


def test_an_unknown_page_has_no_settings_of_another() -> None:
    values, problems = Settings("other", {"w": KINDS["w"]}).from_query({"w": ["0.7"], "T": ["3"]})
    assert values == {"w": 0.7}
    assert [problem.field for problem in problems] == ["T"]


def two_pages() -> None:
    """A page with settings and one without, as the navigation shows them."""
    import streamlit as st

    from rnnviz.ui.settings import Settings, visit
    from tests.test_settings import KINDS

    page = st.sidebar.radio("Page", ["first", "other"])
    visit(page)
    if page == "other":
        st.query_params.clear()
        return
    settings = Settings("first", KINDS)
    settings.begin()
    settings.slider("w", "w")
    settings.finish()


def test_settings_are_kept_while_another_page_is_on_show() -> None:
    app = AppTest.from_function(two_pages).run()
    app.slider[0].set_value(0.8).run()
    assert link(app) == {"w": "0.8"}
    app.radio[0].set_value("other").run()
    assert link(app) == {}
    app.radio[0].set_value("first").run()
    assert app.slider[0].value == 0.8
    assert link(app) == {"w": "0.8"}
