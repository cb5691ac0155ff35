"""Backpropagation by hand: a network small enough to read, forward and back, with every number."""

import streamlit as st

from rnnviz.analysis.by_hand import work_out
from rnnviz.ui.settings import Settings
from rnnviz.ui.small_network import KINDS, controls, reading
from rnnviz.ui.text import _
from rnnviz.ui.train_parts import problem_list
from rnnviz.ui.walk import show_walk

settings = Settings("bptt", KINDS)
problems = settings.begin()
with st.sidebar:
    network = controls(settings)
settings.finish()

st.title(_("Backpropagation by hand"), anchor=False)
st.markdown(
    _(
        "Where does each number of a gradient through time come from? Walk with the left and right keys, or "
        "click a node."
    )
)
problem_list(problems)
worked = work_out(network)
show_walk(
    worked, reading(worked), int(settings["stop"]), settings.round(), lambda stop: settings.note("stop", stop)
)
st.caption(
    _(
        "The symbols are those of lecture notes. In PyTorch $W_x$ is `weight_ih`, $W_s$ `weight_hh`, $b_1$ "
        "the sum of `bias_ih` and `bias_hh`; $W_o$ is `out.weight` and $b_2$ `out.bias` of the linear layer "
        "behind them. $S_t$ is the hidden state $h_t$, $X_t$ the input, $O_t$ the output, $Y_t$ the target."
    )
)
