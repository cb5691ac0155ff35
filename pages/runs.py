"""Runs: what this browser has trained, to find again, compare, name, delete and open from a file."""

import streamlit as st

from rnnviz.ui import owner_bridge, services
from rnnviz.ui.run_list import run_list
from rnnviz.ui.text import _

store = services.store()

st.title(_("Runs"), anchor=False)
st.markdown(_("What have you trained, and what came of it?"))
if owner_bridge.known():
    run_list(store)
else:
    st.caption(_("Looking up the runs of this browser …"))
owner_bridge.ask(store)
