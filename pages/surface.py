"""The loss surface of a run: what lies around the weights that training has found?"""

import streamlit as st

from rnnviz.ui import link, networks, owner_bridge, services
from rnnviz.ui.fragments import drawn_again
from rnnviz.ui.surface_page import answers, refresh
from rnnviz.ui.surface_sections import sidebar
from rnnviz.ui.surface_settings import SETTINGS
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

store = services.store()
link.read(store, SETTINGS)
gone = networks.forget_deleted(store)
with st.sidebar:
    kind = networks.sources(store, SETTINGS)
    if SETTINGS["show"] == "surface":
        sidebar(SETTINGS)

st.title(_("Loss surface"), anchor=False)
st.markdown(_("What does the loss look like around these weights, and which way did training take over it?"))
problem_list([*link.problems(), *SETTINGS.problems()])
if gone:
    st.warning(_("A run that was on show is no longer there; it may have been deleted."))
drawn_again(answers, store, kind, every=lambda: refresh(link.runs(store) if kind == "runs" else []))
owner_bridge.ask(store)
