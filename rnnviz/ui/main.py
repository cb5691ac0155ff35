"""Navigation: which pages there are and in which group."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # Streamlit puts this file's folder on the path, not the project's
    sys.path.insert(0, str(ROOT))

from rnnviz.ui.text import _  # noqa: E402

st.set_page_config(page_title="rnnviz", layout="wide", initial_sidebar_state=340)
st.html(
    """<style>
    /* Streamlit keeps six lines of space above a title; a lab wants its figures on the first screen. */
    .stMainBlockContainer { padding-top: 3.25rem; }
    [data-testid="stApp"] { font-variant-numeric: tabular-nums; }
    /* The accent serves under white text; where it is the text itself, dark pages need a lighter one. */
    [data-testid="stSliderThumbValue"], [role="tab"][aria-selected="true"] p,
    [data-testid="stButtonGroup"] [data-selected] p { color: light-dark(#5b37b0, #b7a4f2); }
    </style>"""
)

train = st.Page(ROOT / "pages" / "train.py", title=_("Train"), url_path="train")


def _start() -> None:
    st.switch_page(train, query_params=st.query_params.to_dict())


start = st.Page(_start, title="rnnviz", url_path="start", default=True, visibility="hidden")

st.navigation({"": [start], _("Lab"): [train]}, position="top").run()
