"""The settings of the page Shapes, and the module that they stand for."""

from __future__ import annotations

from ..analysis.shapes import PROJECTS, Form
from ..experiment import Problem
from .networks import KINDS
from .setting_kinds import Choice, Kind, Number
from .settings import Settings
from .text import _

MODULES = {"lstm": "nn.LSTM", "gru": "nn.GRU", "tanh": "nn.RNN, tanh", "relu": "nn.RNN, ReLU"}
SECTIONS = {
    "parameters": "Parameters",
    "outputs": "Input and output",
    "equal": "What equals what",
    "cost": "Cost",
    "file": "Weights of a run",
}
#: So that nothing here takes more than about a second or 100 MB: PyTorch itself has no such bounds.
MOST_WIDE, MOST_LAYERS, MOST_STEPS, MOST_BATCH = 256, 4, 32, 16
_USUAL = Form()

_KINDS: dict[str, Kind] = {
    "module": Choice(_USUAL.cell, MODULES),
    "I": Number(_USUAL.inputs, 1, MOST_WIDE, 1),
    "H": Number(_USUAL.hidden, 1, MOST_WIDE, 1),
    "L": Number(_USUAL.layers, 1, MOST_LAYERS, 1),
    "D": Choice("1", {"1": "forward", "2": "both ways"}),
    "P": Number(_USUAL.projected, 0, MOST_WIDE - 1, 1),
    "bias": Choice("yes", {"yes": "with", "no": "without"}),
    "first": Choice("time", {"time": "(T, B, …)", "batch": "(B, T, …)"}),
    "input": Choice("batch", {"batch": "a batch", "one": "one sequence"}),
    "T": Number(_USUAL.steps, 1, MOST_STEPS, 1),
    "B": Number(_USUAL.batch, 1, MOST_BATCH, 1),
    "draw": Number(_USUAL.seed, 0, 9999, 1),
    "show": Choice("parameters", SECTIONS),
    # Of the drawing
    "layer": Number(0, 0, MOST_LAYERS - 1, 1),
    "way": Choice("forward", {"forward": "forward", "backward": "backward"}),
    "unit": Number(0, 0, MOST_WIDE - 1, 1),
    # Of the run
    "at": KINDS["at"],
}
SETTINGS = Settings("shapes", _KINDS, others=frozenset({"run"}))


def projection_problems() -> list[Problem]:
    """What PyTorch would not take of the projection that is set."""
    P, H = SETTINGS["P"], SETTINGS["H"]
    if P and SETTINGS["module"] != PROJECTS:
        sentence = _("only nn.LSTM has a proj_size; without one here.")
        return [Problem("P", P, sentence)]
    if P >= H:
        sentence = _("proj_size has to be less than the hidden size, {H}; without one here.")
        return [Problem("P", P, sentence.format(H=H))]
    return []


def form() -> Form:
    """The module that is set, without a projection where PyTorch would not take it."""
    return Form(
        SETTINGS["module"], SETTINGS["I"], SETTINGS["H"], SETTINGS["L"], int(SETTINGS["D"]),
        SETTINGS["first"] == "batch", SETTINGS["bias"] == "yes",
        0 if projection_problems() else SETTINGS["P"], SETTINGS["T"], SETTINGS["B"],
        SETTINGS["input"] == "batch", SETTINGS["draw"],
    )  # fmt: skip
