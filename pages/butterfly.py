"""Butterfly: why a tiny difference vanishes or explodes. Only the section that is on show is computed."""

import streamlit as st

from rnnviz.ui.butterfly_networks import initialization_section, random_section, trajectories_section
from rnnviz.ui.butterfly_parts import sigmoid_section, units_section, weight_section
from rnnviz.ui.butterfly_settings import SETTINGS
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

DRAW = {
    "weight": weight_section,
    "units": units_section,
    "trajectories": trajectories_section,
    "random": random_section,
    "sigmoid": sigmoid_section,
    "initialization": initialization_section,
}

problems = SETTINGS.begin()
st.title(_("Butterfly"), anchor=False)
st.markdown(_("Why does a tiny difference vanish or explode after many steps?"))
problem_list(problems)
DRAW[SETTINGS.switch("show", _("Section"), label_visibility="collapsed")]()
SETTINGS.finish()
