"""Inside the cell: what each gate keeps, erases, writes and shows, with one step's numbers on its wires."""

import streamlit as st

from rnnviz.ui import link, networks, owner_bridge, services
from rnnviz.ui.cell_controls import cell_picker, small_network
from rnnviz.ui.cell_sections import answers, refresh
from rnnviz.ui.cell_settings import SETTINGS
from rnnviz.ui.cell_words import question
from rnnviz.ui.fragments import drawn_again
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

store = services.store()
link.read(store, SETTINGS)
gone = networks.forget_deleted(store)
with st.sidebar:
    kind = None
    if SETTINGS.switch("source", _("Show")) == "network":
        kind = networks.sources(store, SETTINGS)
    else:
        cell_picker()
        small_network()

st.title(_("Inside the cell"), anchor=False)
st.markdown(question())
problem_list([*link.problems(), *SETTINGS.problems()])
if gone:
    st.warning(_("A run that was on show is no longer there; it may have been deleted."))

drawn_again(answers, store, kind, every=lambda: refresh(store, kind))
owner_bridge.ask(store)
