"""The settings of the page Butterfly: one switch for its sections, and the knobs of each."""

from __future__ import annotations

from ..cells import CELLS
from ..initialization import INITIALIZATIONS
from .setting_kinds import Choice, Kind, Number, Several
from .settings import Settings

SECTIONS = {
    "weight": "One weight",
    "units": "Two units",
    "trajectories": "Two trajectories",
    "random": "Random network",
    "sigmoid": "Sigmoid above 4",
    "initialization": "Initialization",
}
NEIGHBOURS = ("tanh", "relu", "sigmoid", "lstm", "gru")
PLAIN = ("tanh", "relu")
LIMIT = 1.3  # of both parts of an eigenvalue
SEED = Number(0, 0, 9999, 1)

KINDS: dict[str, Kind] = {
    "show": Choice("weight", SECTIONS),
    # One weight
    "w": Number(1.01, 0.5, 1.5, 0.001),
    "T": Number(1000, 1, 2000, 1),
    # Two units
    "pair": Choice("complex", {"complex": "Complex pair", "real": "Two real"}),
    "re": Number(0.95, -LIMIT, LIMIT, 0.01),
    "im": Number(0.25, 0.0, LIMIT, 0.01),
    "first": Number(0.95, -LIMIT, LIMIT, 0.01),
    "second": Number(0.8, -LIMIT, LIMIT, 0.01),
    "angle": Number(90, 3, 90, 1),
    "steps": Number(60, 1, 200, 1),
    # Two trajectories
    "cells": Several(("tanh", "lstm", "gru"), {name: CELLS[name].label for name in NEIGHBOURS}),
    "hidden": Number(48, 2, 64, 1),
    "gain": Number(2.0, 0.1, 4.0, 0.05),
    "apart": Number(-6, -12, -1, 1),
    "length": Number(200, 10, 400, 1),
    "input": Choice("none", {"none": "No input", "noise": "The same noise"}),
    # Random network
    "g": Number(1.5, 0.5, 2.0, 0.05),
    "N": Number(100, 20, 128, 1),
    "time": Number(200, 50, 400, 1),
    # Sigmoid above 4
    "weight": Number(5.0, 0.5, 10.0, 0.1),
    "bias": Number(-2.5, -6.0, 2.0, 0.01),
    "start": Number(0.45, 0.0, 1.0, 0.01),
    "reach": Number(40, 2, 200, 1),
    # Initialization
    "inits": Several(
        ("pytorch", "glorot", "orthogonal", "identity"),
        {name: scheme.label for name, scheme in INITIALIZATIONS.items()},
    ),
    "cell": Choice("tanh", {name: CELLS[name].label for name in PLAIN}),
    "units": Number(48, 4, 64, 1),
    "scale": Number(1.0, 0.1, 2.0, 0.05),
    "span": Number(100, 10, 200, 1),
    # Wherever numbers are drawn at random
    "seed": SEED,
}

SETTINGS = Settings("butterfly", KINDS)
