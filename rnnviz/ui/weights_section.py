"""The weights of a run as a file for other programs, with the lines that load it."""

from __future__ import annotations

import streamlit as st

from ..analysis.shapes import gate_rows
from ..analysis.weights_file import weights_file
from ..cells import CELLS
from ..runs.store import Store
from . import networks
from .module_lines import loading_lines, row_words
from .networks import Shown
from .settings import Settings
from .sharing import file_name
from .text import _, plain


def weights_section(store: Store, settings: Settings) -> None:
    """The runs on show at a checkpoint, each with its file."""
    st.markdown(
        _(
            "A run's parameters as a state_dict, in a .safetensors file whose names are those of torch.nn: "
            "the weights of any checkpoint, for your own script."
        )
    )
    runs = networks.chosen_runs(store)
    if not runs:
        st.caption(_("No run is on show. Train one, and its weights can be taken from here."))
        return
    steps = networks.checkpoints(store, runs)
    if not steps:
        st.caption(_("Waiting for the first training step."))
        return
    step = networks.checkpoint(settings, steps) if len(steps) > 1 else steps[0]
    for one in networks.at_checkpoint(store, runs, step):
        if one.parameters is not None:
            _of_run(one, one.parameters)


def _of_run(one: Shown, parameters: bytes) -> None:
    """One file, and how it is read."""
    e, cell = one.experiment, CELLS[one.experiment.cell]
    file = f"{file_name([e])}-{one.step}.safetensors"
    st.markdown(one.lead + plain(one.title) + _(", step {step:,}").format(step=one.step))
    st.download_button(
        _("The weights (safetensors)"), lambda: weights_file(e, one.step, parameters), file,
        "application/octet-stream", key=f"weights_{one.letter}", on_click="ignore",
        icon=":material/download:",
    )  # fmt: skip
    if cell.torch_module is None:
        st.markdown(
            _(
                "torch.nn has no module for this cell ({cell}), so no lines load it there; the names and the "
                "two biases are as torch.nn would have them. weight_ih, weight_hh and the biases have the "
                "{rows}."
            ).format(cell=_(cell.label), rows=row_words(e.cell, e.hidden))
        )
        if cell.peepholes:
            seen = ", ".join(
                _("{k} for {gate}").format(k=k, gate=gate) for k, gate in enumerate(cell.peepholes)
            )
            st.markdown(
                _("weight_peephole has a row for each gate that sees the memory: {rows}.").format(rows=seen)
            )
        return
    st.code(loading_lines(e, file), language="python")
    if len(gate_rows(e.cell, e.hidden)) > 1:
        st.caption(
            _("Each weight and bias has the {rows}. The file says so as well, in its metadata.").format(
                rows=row_words(e.cell, e.hidden)
            )
        )
