"""Train: one network, live. Knobs at the side; loss, gradient norm and gradient through time beside them."""

import streamlit as st

from rnnviz.tasks import TASKS
from rnnviz.ui import link, services, steering
from rnnviz.ui.knobs import fill, knobs
from rnnviz.ui.live import live
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list, task_card, verdict

store = services.store()
if link.read(store):
    fill(link.experiment())
with st.sidebar:
    link.take(knobs(link.experiment()))
link.write()

experiment, run = link.experiment(), link.run(store)

st.title(_("Train"), anchor=False)
st.markdown(_(TASKS[experiment.task].question))
problem_list(link.problems())
with st.container(horizontal=True, vertical_alignment="center"):
    steering.buttons(store, experiment, run)
    task_card(experiment)
    steering.note(store, experiment, run)


def figures() -> None:
    """The live figures; where the stream is out of reach, this fragment brings the data."""
    steering.hear(store, live(store, link.run(store), steering.fallback()))


st.fragment(figures, run_every=0.6 if steering.fallback() and run is not None and not run.ended else None)()
verdict(store, run)
