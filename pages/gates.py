"""Gates and memory: what goes on inside a network while it reads, unit by unit and step by step."""

import streamlit as st

from rnnviz.ui import link, networks, owner_bridge, services
from rnnviz.ui.fragments import drawn_again
from rnnviz.ui.gates_page import answers, refresh
from rnnviz.ui.gates_settings import SETTINGS
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

store = services.store()
link.read(store, SETTINGS)
gone = networks.forget_deleted(store)
with st.sidebar:
    kind = networks.sources(store, SETTINGS)

st.title(_("Gates and memory"), anchor=False)
st.markdown(_("What does each unit keep, write and show while the network reads?"))
problem_list([*link.problems(), *SETTINGS.problems()])
if gone:
    st.warning(_("A run that was on show is no longer there; it may have been deleted."))
drawn_again(answers, store, kind, every=lambda: refresh(link.runs(store) if kind == "runs" else []))
owner_bridge.ask(store)
