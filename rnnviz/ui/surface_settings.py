"""The settings of the page on loss surfaces, and the controls over its figures."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..cells import CELLS
from ..experiment import Experiment
from .link import PARAMETERS
from .networks import KINDS, Shown
from .setting_kinds import Choice, Kind, Number
from .settings import Settings
from .text import _

PLANES = {
    "path": "Path of training",
    "random": "Two random directions",
    "curvature": "Gradient and curvature",
    "line": "Line to other weights",
    "chosen": "Two chosen weights or scales",
}
#: What each plane is, for whoever sees it for the first time.
ABOUT = {
    "path": (
        "A network has thousands of weights, a figure two axes: only a plane through the space of all "
        "weights can be drawn. This one lies along the path of training, in the two directions in which its "
        "checkpoints differ most (principal components)."
    ),
    "random": (
        "Two random directions, each filter scaled to the size of the weights it moves (filter "
        "normalization, Li et al. 2018), so that 1 is a change as large as the weights themselves. Most of "
        "what training does lies off such a plane."
    ),
    "curvature": (
        "Across: the way gradient descent would go, downhill to the left. Up: the direction in which the "
        "loss bends most, the top eigenvector of its second derivatives (the Hessian). Units are distances "
        "in the space of all weights."
    ),
    "line": (
        "Across: the straight line from these weights, 0, to others, 1, and beyond both. Is there a barrier "
        "between two solutions (Goodfellow et al. 2015)? Up: a random direction."
    ),
    "chosen": (
        "Two weights, biases or scales of your choice. A scale of 1 doubles all these weights, -1 makes them "
        "0; a bias is moved by as much in every unit."
    ),
}
ZOOMS = {"0.1": "a tenth", "0.3": "a third", "1": "usual", "3": "3 x wider", "10": "10 x wider"}
SIZES = {"17": "17 x 17", "33": "33 x 33", "65": "65 x 65", "129": "129 x 129"}
AXES = {
    "scale:weight_hh": "scale of W_hh",
    "scale:weight_ih": "scale of W_ih",
    "scale:weight_peephole": "scale of the peepholes",
    "scale:out.weight": "scale of the output weights",
    "bias:out": "output bias",
    "bias:h": "bias",
    "bias:i": "input gate's bias",
    "bias:f": "forget gate's bias",
    "bias:g": "candidate's bias (g)",
    "bias:o": "output gate's bias",
    "bias:r": "reset gate's bias",
    "bias:z": "update gate's bias",
    "bias:n": "candidate's bias (n)",
    "weight": "one weight",
}

_KINDS: dict[str, Kind] = {
    **KINDS,
    "show": Choice("surface", {"surface": "Surface", "sharpness": "Sharpness"}),
    "plane": Choice("path", PLANES),
    "of": Choice("A", {letter: letter for letter in "ABCD"}),
    "height": Choice("loss", {"loss": "Loss", "gradient": "Gradient norm", "accuracy": "Accuracy"}),
    "scale": Choice("log", {"log": "log", "linear": "linear"}),
    "over": Choice("step", {"step": "Training batch of the step", "held_out": "All held-out sequences"}),
    "detail": Choice("65", SIZES),
    "zoom": Choice("1", ZOOMS),
    "plane_seed": Number(0, 0, 10_000, 1),
    "biases": Choice("no", {"no": "no", "yes": "yes"}),
    "end": Choice("A", {letter: letter for letter in "ABCD"}),
    "end_at": Number(0, -1, 10**9, 1),  # the first weights, unless another step is chosen
    "x_axis": Choice("scale:weight_hh", AXES),
    "y_axis": Choice("scale:out.weight", AXES),
    "x_row": Number(0, 0, 1_000_000, 1),
    "x_column": Number(0, 0, 1_000_000, 1),
    "y_row": Number(0, 0, 1_000_000, 1),
    "y_column": Number(1, 0, 1_000_000, 1),
    "ghosts": Choice("yes", {"yes": "yes", "no": "no"}),
}
SETTINGS = Settings("surface", _KINDS, others=PARAMETERS)


def planes_for(networks: Sequence[Shown], steps: Sequence[int]) -> list[str]:
    """The planes that there are: without runs there is no path and nothing to draw a line to."""
    if not any(one.run for one in networks):
        return ["random", "curvature", "chosen"]
    enough = len(steps) > 2
    return [name for name in PLANES if enough or name != "path"]


def axes_for(experiment: Experiment) -> list[str]:
    """The scales and biases that this network has."""
    cell = CELLS[experiment.cell]
    kept = [f"bias:{gate}" for gate in cell.gates] + ["bias:out", "weight"]
    scales = ["scale:weight_hh", "scale:weight_ih", "scale:out.weight"]
    scales += ["scale:weight_peephole"] if cell.peepholes else []
    return [name for name in AXES if name in (*scales, *kept)]


def axis_controls(settings: Settings, side: str, experiment: Experiment) -> None:
    """The selector of one axis, in the place where it is called."""
    label = _("Across") if side == "x" else _("Up")
    if settings.select(f"{side}_axis", label, axes_for(experiment)) == "weight":
        with st.container(horizontal=True):
            settings.number(f"{side}_row", _("Row of W_hh"), help=_("From 0; gate below gate."))
            settings.number(f"{side}_column", _("Column"))


def axis_name(settings: Settings, side: str, experiment: Experiment) -> str:
    """What the settings choose for one axis, as `planes.chosen_axis` names it."""
    name = str(settings[f"{side}_axis"])
    if name != "weight":
        return name
    rows, columns = len(CELLS[experiment.cell].gates) * experiment.hidden, experiment.hidden
    part = "rnn" if experiment.architecture == "one" else "encoder"
    row, column = min(settings[f"{side}_row"], rows - 1), min(settings[f"{side}_column"], columns - 1)
    return f"weight:{part}.weight_hh_l0[{row},{column}]"
