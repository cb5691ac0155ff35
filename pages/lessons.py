"""Lessons: which question to begin with? A card for each, with a picture from a recorded run."""

import streamlit as st

from rnnviz.ui.lesson_parts import lesson_cards
from rnnviz.ui.text import _

st.title(_("Lessons"), anchor=False)
st.markdown(
    _("Pick a question, predict the answer, then watch two networks that differ in one setting give it.")
)
lesson_cards(to_train=True)
