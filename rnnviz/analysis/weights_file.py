"""A network's parameters as a file for other programs: a state_dict as safetensors, with torch.nn's names."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load, save

from ..cells import CELLS
from ..experiment import Experiment
from ..layout import layout_of


def weights_file(experiment: Experiment, step: int, parameters: bytes) -> bytes:
    """A safetensors file of a checkpoint, in the order of the layout.

    parameters: the checkpoint, a safetensors file. The new file's metadata have the experiment as JSON, the
    training step, and the gates in the order of their rows ("gates", and "peepholes" where there are any).

    Raises ValueError, one sentence, when the parameters are not those of the experiment's network.
    """
    arrays, cell = load(parameters), CELLS[experiment.cell]
    made: dict[str, np.ndarray] = {}
    for name, shape in layout_of(experiment).shapes.items():
        got = arrays[name].shape if name in arrays else None
        if got != shape:
            raise ValueError(f"{name}: got {'nothing' if got is None else got}; the network needs {shape}.")
        made[name] = np.ascontiguousarray(arrays[name].astype(experiment.precision))
    metadata = {
        "format": "pt", "experiment": experiment.to_json(), "step": str(step), "gates": " ".join(cell.gates),
    }  # fmt: skip
    if cell.peepholes:
        metadata["peepholes"] = " ".join(cell.peepholes)
    return save(made, metadata)
