"""The stub that every component of our own is made with, and the addresses of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from rnnviz.ui import component as module
from rnnviz.ui.component import STATIC, component, module_path

UI = Path(module.__file__).parent


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Streamlit is asked to register."""
    found: list[dict[str, Any]] = []

    def register(name: str, **given: Any) -> str:
        found.append({"name": name, **given})
        return name

    monkeypatch.setattr(st.components.v2, "component", register)
    return found


def test_two_components_never_share_a_stub(made: list[dict[str, Any]]) -> None:
    """A stub keeps the promise of its module: the other component would be given that one."""
    component("one")
    component("two", isolate_styles=False)
    assert [one["name"] for one in made] == ["rnnviz_one", "rnnviz_two"]
    assert [one["isolate_styles"] for one in made] == [True, False]
    assert made[0]["js"] != made[1]["js"]
    for one in made:
        assert "\n" in one["js"], "text of a single line is taken for the name of a file"


@pytest.mark.parametrize(
    ("base", "found"), [("", "/app/static/live.js"), ("/lab/", "/lab/app/static/live.js")]
)
def test_a_file_is_found_below_the_base_path(monkeypatch: pytest.MonkeyPatch, base: str, found: str) -> None:
    monkeypatch.setattr(st, "get_option", lambda name: base if name == "server.baseUrlPath" else None)
    assert module_path("live.js") == found


def test_every_module_that_is_named_is_there() -> None:
    named = [
        part.split('"')[0] for file in UI.glob("*.py") for part in file.read_text().split('module_path("')[1:]
    ]
    assert len(named) >= 4
    for file in named:
        assert (STATIC / file).is_file(), file
