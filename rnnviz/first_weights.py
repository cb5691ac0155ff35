"""The weights before the first step: every parameter drawn as the experiment says, by its seed."""

from __future__ import annotations

import zlib

import numpy as np

from .cells import CELLS
from .experiment import Experiment
from .initialization import INITIALIZATIONS
from .layout import Layout

_STREAM = 0x1417  # keeps the weights' random numbers apart from those of the data


def first_weights(experiment: Experiment, layout: Layout) -> np.ndarray:
    """Every parameter drawn, flat and in float64. Matrix schemes act on each gate's block."""
    cell, hidden = CELLS[experiment.cell], experiment.hidden
    scheme = INITIALIZATIONS[experiment.initialization]
    kinds = {
        "weight_hh": ("recurrent", cell.gates), "weight_peephole": ("peephole", cell.peepholes),
        "weight_ih": ("input", cell.gates), "bias_ih": ("bias", cell.gates), "bias_hh": ("bias", cell.gates),
        "weight": ("output", ("",)), "bias": ("output_bias", ("",)),
    }  # fmt: skip
    drawn: dict[str, np.ndarray] = {}
    for name, shape in layout.shapes.items():
        kind, gates = kinds[name.partition(".")[2].partition("_l")[0]]
        block = (hidden,) if kind == "peephole" else (shape[0] // len(gates), *shape[1:])
        blocks = []
        for gate in gates:
            # A stream for each block, known by its name: networks that differ in one thing share every other
            # number, the forget gates of two kinds of LSTM among them.
            rng = np.random.default_rng([_STREAM, experiment.seed, zlib.crc32(f"{name}.{gate}".encode())])
            blocks.append(scheme.block(rng, kind, block, hidden, experiment.gain))
        drawn[name] = np.concatenate(blocks).reshape(shape)
    for name in drawn:
        kind = name.partition(".")[2].partition("_l")[0]
        if kind not in ("bias_ih", "bias_hh"):
            continue
        biases: dict[str, np.ndarray | float] = {}
        if scheme.memory_bias is not None:
            # One stream for all gates of a layer, so that those that keep and write fit together.
            rng = np.random.default_rng([_STREAM, experiment.seed, zlib.crc32(f"{name}.memory".encode())])
            b = scheme.memory_bias(rng, hidden, experiment.steps_per_sequence())
            biases |= {gate: sign * b for gate, sign in cell.memory_gates.items() if gate in cell.gates}
        if experiment.forget_bias is not None and cell.forget_gate is not None:
            biases[cell.forget_gate] = experiment.forget_bias
        for gate, bias in biases.items():  # PyTorch adds two biases: one of them carries the number
            start = cell.gates.index(gate) * hidden
            drawn[name][start : start + hidden] = bias if kind == "bias_ih" else 0.0
    return np.concatenate([drawn[name].ravel() for name in layout.shapes])
