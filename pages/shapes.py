"""Shapes: what are the shapes in PyTorch's API, and why?"""

import streamlit as st

from rnnviz.ui import link, networks, owner_bridge, services
from rnnviz.ui.shapes_sections import (
    cost_section,
    equal_section,
    knobs,
    outputs_section,
    parameters_section,
)
from rnnviz.ui.shapes_settings import SETTINGS, projection_problems
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list, without_sidebar
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

st.title(_("Shapes"), anchor=False)
st.markdown(_("What are the shapes in PyTorch's recurrent modules, and why?"))
complaints = st.container()
section = SETTINGS.switch("show", _("Question"), label_visibility="collapsed")
if section == "file":
    without_sidebar()
else:
    with st.sidebar:
        knobs()
with complaints:
    problem_list([*link.problems(), *SETTINGS.problems(), *projection_problems()])
    if gone:
        st.warning(_("A run that was on show is no longer there; it may have been deleted."))

if section == "file":
    weights_section(store, SETTINGS)
else:
    DRAW[section]()
link.write(SETTINGS)
owner_bridge.ask(store)
