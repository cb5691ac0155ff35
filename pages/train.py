"""Train: one network, live. Knobs at the side; loss, gradient norm and gradient through time beside them."""

import streamlit as st

from rnnviz.runs.store import Run
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
if run is None:
    st.caption(
        _(
            "Choose a task and a network at the side, press Train, and watch it learn: how wrong it is, "
            "how large its gradient is, and how far back in time that gradient reaches."
        )
    )
problem_list(link.problems())
with st.container(horizontal=True, vertical_alignment="center"):
    steering.buttons(store, experiment, run)
    task_card(experiment)
    steering.note(store, experiment, run)


def figures(drawn: Run | None) -> None:
    """The live figures; where the stream is out of reach, this fragment brings the data."""
    now = link.run(store)
    steering.hear(store, live(store, now, steering.fallback()), drawn, now)


following = steering.fallback() and run is not None and not run.ended
st.fragment(figures, run_every=0.6 if following else None)(run)
verdict(store, run)
