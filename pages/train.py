"""Train: up to four networks, live. Knobs at the side, loss, gradient norm and dL/dh_t beside them."""

from collections.abc import Sequence

import streamlit as st

from rnnviz.runs.store import Run
from rnnviz.tasks import TASKS
from rnnviz.ui import link, services, steering
from rnnviz.ui.fragments import drawn_again
from rnnviz.ui.knobs import fill, knobs
from rnnviz.ui.lesson_parts import lesson_invitation, lesson_panel
from rnnviz.ui.live import live
from rnnviz.ui.sharing import share
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import (
    closer_look,
    pane_picker,
    problem_list,
    projector,
    show_controls,
    task_card,
    verdict,
    without_sidebar,
)
from rnnviz.ui.twin_parts import twin_strip

store = services.store()
if link.read(store) or link.unfilled():
    fill(link.experiment())
steered = link.view().controls == "shown"
if steered:
    with st.sidebar:
        twin_strip()
        link.take(knobs(link.experiment()))
else:
    without_sidebar()
link.write()

view, runs = link.view(), link.runs(store)
if view.large:
    projector()

# What the browser hears first it does first: the figures open their stream while the rest is drawn.
above, below = st.container(), st.container()


def figures(drawn: Sequence[Run]) -> None:
    """The live figures; where the stream is out of reach, this fragment brings the data."""
    now = link.runs(store)
    panes = view.panes if now else ()
    invitation = None if view.lesson is None else _("Predict first, then train, or play the recording.")
    heard = live(store, view.twins, now, panes, steering.fallback(), view.large, view.replay, invitation)
    steering.hear(store, heard, drawn, now)
    if steered and any(run.step or run.weights for run in now):
        closer_look(now, heard.pinned)


following = steering.fallback() and any(not run.ended for run in runs)
with below:
    drawn_again(figures, runs, every=0.6 if following else None)

with above:
    with st.container(horizontal=True, vertical_alignment="center", key="title"):
        st.title(_("Train"), anchor=False, width="content")
        if view.lesson is None:
            st.markdown(_(TASKS[view.twins[0].task].question), width="stretch")
        else:
            st.space("stretch")
        with st.container(horizontal=True, width="content", gap="small", key="title_actions"):
            task_card(view.twins[0])
            show_controls(view)
            share(store, view, runs)
    lesson_panel(store, runs)
    problem_list(link.problems())
    # A lesson's recording has a bar of its own, and nobody steers it.
    recording = view.lesson is not None and view.replay and not any(map(steering.owns, runs))
    if steered and not recording:
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="controls"):
            steering.controls(store, runs)
            steering.note(store, runs)
    if steered and runs:
        pane_picker(view)

if steered:
    verdict(store, runs)
    if not runs and view.lesson is None:
        lesson_invitation()
