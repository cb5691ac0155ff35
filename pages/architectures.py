"""Architectures: the forms in which a recurrent network is used, each drawn and each to be trained."""

import streamlit as st

from rnnviz.ui.architecture_sections import (
    SETTINGS,
    about_section,
    before_section,
    drawing_section,
    numbers_section,
    train_section,
)
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

problems = SETTINGS.begin()
st.title(_("Architectures"), anchor=False)
st.markdown(_("What is read when, and what is answered when?"))
problem_list(problems)
form = SETTINGS.switch("form", _("Architecture"), label_visibility="collapsed")
drawing_section(form)
train_section(form)
left, right = st.columns(2, gap="large")
with left:
    about_section(form)
with right:
    numbers_section(form)
before_section()
SETTINGS.finish()
