"""Gradients through time: where does the gradient vanish or explode, in which network, and why?"""

import streamlit as st

from rnnviz.ui import link, networks, owner_bridge, services
from rnnviz.ui.clipping_section import clipping
from rnnviz.ui.flow_sections import along, ledger, remembered
from rnnviz.ui.fragments import drawn_again
from rnnviz.ui.gradient_controls import SETTINGS, busy, controls, refresh
from rnnviz.ui.product_sections import map_under_way, products
from rnnviz.ui.spectrum_sections import spectra
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list

store = services.store()
link.read(store, SETTINGS)
gone = networks.forget_deleted(store)
with st.sidebar:
    kind = networks.sources(store, SETTINGS)

st.title(_("Gradients through time"), anchor=False)
st.markdown(_("Where does the gradient vanish or explode on its way back, and by which number?"))
problem_list([*link.problems(), *SETTINGS.problems()])
if gone:
    st.warning(_("A run that was on show is no longer there; it may have been deleted."))


def answers() -> None:
    """The controls over the figures, and the section that is on show."""
    runs = link.runs(store) if kind == "runs" else []
    if kind == "runs" and len(runs) < len(link.view().runs):
        st.rerun()  # one was deleted meanwhile
    section = SETTINGS.switch("show", _("Question"), label_visibility="collapsed")
    experiments = [run.experiment for run in runs] or link.twins()
    step, where = controls(store, SETTINGS, section, runs, experiments)
    shown = networks.at_checkpoint(store, runs, step) if runs else networks.fresh()
    if not shown:
        st.caption(_("Waiting for the first training step."))
        busy(False)
        return
    if section == "time":
        along(store, shown, SETTINGS, where)
    elif section == "products":
        products(store, shown, where, SETTINGS)
    elif section == "spectra":
        spectra(store, shown, SETTINGS, where)
    elif section == "ledger":
        ledger(shown, where)
    elif section == "clipping":
        clipping(store, shown, SETTINGS)
    else:
        remembered(shown, SETTINGS)
    link.write(SETTINGS)
    busy(section == "products" and map_under_way(store, shown, where))


drawn_again(answers, every=lambda: refresh(link.runs(store) if kind == "runs" else [], SETTINGS))
owner_bridge.ask(store)
