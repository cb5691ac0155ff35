"""The settings of the page The cliff, and where the effect is seen with each activation."""

from __future__ import annotations

from typing import Any

from ..analysis.cliff_descent import RULES
from ..clipping import CLIPPINGS
from .setting_kinds import Choice, Kind, Number, Numbers
from .settings import Settings

ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU"}
FAR = 20.0  # of w and b, in either direction

#: For each activation a window with its cliff, and a descent that meets it.
USUAL: dict[str, dict[str, Any]] = {
    "sigmoid": {"window": (4.0, 7.0, -4.5, -2.0), "w": 5.5, "b": -2.5, "rate": 0.05},
    "tanh": {"window": (1.0, 3.0, -1.5, 0.5), "w": 2.1, "b": -0.2, "rate": 0.05},
    "relu": {"window": (0.8, 1.4, -0.6, 0.4), "w": 1.1, "b": -0.03, "rate": 0.001},
}
#: A place on the cliff of the paper's unit, to four digits.
ON_THE_CLIFF = {**USUAL["sigmoid"], "phi": "sigmoid", "T": 50, "w": 5.0, "b": -2.6123}

KINDS: dict[str, Kind] = {
    "phi": Choice("sigmoid", ACTIVATIONS),
    "T": Number(50, 1, 200, 1),
    "show": Choice("error", {"error": "Error E", "gradient": "Gradient norm"}),
    "window": Numbers(USUAL["sigmoid"]["window"], -FAR, FAR),
    # Descent
    "w": Number(USUAL["sigmoid"]["w"], -FAR, FAR, 0.01),
    "b": Number(USUAL["sigmoid"]["b"], -FAR, FAR, 0.01),
    "rule": Choice("norm", {name: CLIPPINGS[name].label for name in RULES}),
    "threshold": Number(1.0, 0.001, 1000.0, 0.1),
    "rate": Number(USUAL["sigmoid"]["rate"], 0.0001, 10.0, 0.01),
    "steps": Number(200, 1, 500, 1),
    # The cut
    "along": Choice("w", {"w": "Along w", "b": "Along b"}),
    "through": Choice("steepest", {"steepest": "The steepest place that was met", "start": "The start"}),
    "by": Number(0.001, -0.05, 0.05, 0.0005),
}

SETTINGS = Settings("cliff", KINDS)
