"""The cliff: one unit's whole error surface, and a step that is thrown off it."""

import streamlit as st

from rnnviz.ui.cliff_sections import (
    cut_section,
    explanation,
    knobs,
    landscape,
    steps_section,
    window_problems,
)
from rnnviz.ui.cliff_settings import SETTINGS
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

problems = SETTINGS.begin()
with st.sidebar:
    knobs()
st.title(_("The cliff"), anchor=False)
st.markdown(_("Why can one step of gradient descent throw a network away, and what does clipping change?"))
problem_list([*problems, *window_problems()])
st.markdown(explanation())
landscape()
steps_section()
cut_section()
SETTINGS.finish()
