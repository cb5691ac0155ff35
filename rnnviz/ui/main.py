"""Navigation: which pages there are and in which group."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # Streamlit puts this file's folder on the path, not the project's
    sys.path.insert(0, str(ROOT))

from rnnviz.ui.settings import visit  # noqa: E402
from rnnviz.ui.text import _  # noqa: E402

st.set_page_config(page_title="rnnviz", layout="wide", initial_sidebar_state=340)
st.html(
    """<style>
    /* Streamlit keeps six lines of space above a title; a lab wants its figures on the first screen. */
    .stMainBlockContainer { padding: 4.25rem 2.5rem 3rem; }
    @media (max-width: 640px) {
        .stMainBlockContainer { padding: 4rem 1rem 2rem; }
        .st-key-title_actions { gap: 0.5rem; }
        .st-key-title_actions button { padding: 0 0.5rem; }
        /* Room for thumbs: the icons say it, and the words stay for those who have them read out. */
        .st-key-controls { gap: 0.5rem; }
        .st-key-controls .stButton:has([data-testid="stIconMaterial"]) button { padding: 0 0.75rem; }
        .st-key-controls .stButton:has([data-testid="stIconMaterial"]) [data-testid="stMarkdownContainer"] {
            position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
        }
    }
    /* A table that is wider than the screen scrolls by itself; the page does not. */
    [data-testid="stMarkdownContainer"]:has(> table) { overflow-x: auto; }
    .st-key-title_actions { flex-wrap: nowrap; }
    .st-key-lesson_head { flex-wrap: nowrap; }
    @media (min-width: 900px) { .st-key-title { flex-wrap: nowrap; } }
    [data-testid="stApp"] { font-variant-numeric: tabular-nums; }
    /* The accent serves under white text; where it is the text itself, dark pages need a lighter one. */
    [data-testid="stSliderThumbValue"], [role="tab"][aria-selected="true"] p,
    [data-testid="stButtonGroup"] [data-selected] p { color: light-dark(#5b37b0, #b7a4f2); }
    </style>"""
)


def _page(name: str, title: str) -> StreamlitPage:
    return st.Page(ROOT / "pages" / f"{name}.py", title=title, url_path=name)


train = _page("train", _("Train"))
pages = {
    _("Lab"): [
        train,
        _page("gradients", _("Gradients through time")),
        _page("gates", _("Gates and memory")),
        _page("surface", _("Loss surface")),
    ],
    _("Explain"): [
        _page("bptt", _("Backpropagation by hand")),
        _page("butterfly", _("Butterfly")),
        _page("cliff", _("The cliff")),
        _page("cell", _("Inside the cell")),
        _page("shapes", _("Shapes")),
        _page("architectures", _("Architectures")),
    ],
    _("Runs"): [_page("lessons", _("Lessons")), _page("runs", _("Runs"))],
}


def _start() -> None:
    st.switch_page(train, query_params=st.query_params.to_dict())


start = st.Page(_start, title="rnnviz", url_path="start", default=True, visibility="hidden")

page = st.navigation({"": [start], **pages}, position="top")
visit(page.url_path)
page.run()
