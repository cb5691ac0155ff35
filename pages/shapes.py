"""Shapes: what are the shapes in PyTorch's API, and why?"""

import streamlit as st

from rnnviz.ui import link, networks, owner_bridge, services
from rnnviz.ui.shapes_sections import (
    cost_section,
    equal_section,
    knobs,
    lines,
    outputs_section,
    parameters_section,
)
from rnnviz.ui.shapes_settings import SETTINGS, projection_problems
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list
from rnnviz.ui.weights_section import weights_section

DRAW = {
    "parameters": parameters_section,
    "outputs": outputs_section,
    "equal": equal_section,
    "cost": cost_section,
}

store = services.store()
link.read(store, SETTINGS)
gone = networks.forget_deleted(store)
with st.sidebar:
    knobs()

st.title(_("Shapes"), anchor=False)
st.markdown(_("What are the shapes in PyTorch's recurrent modules, and why?"))
problem_list([*link.problems(), *SETTINGS.problems(), *projection_problems()])
if gone:
    st.warning(_("A run that was on show is no longer there; it may have been deleted."))
section = SETTINGS.switch("show", _("Question"), label_visibility="collapsed")
if section == "file":
    weights_section(store, SETTINGS)
else:
    lines()
    DRAW[section]()
link.write(SETTINGS)
owner_bridge.ask(store)
