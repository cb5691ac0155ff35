"""A run's full state as a blob: parameters, optimizer, step and counters; the experiment lies beside it."""

from __future__ import annotations

import json
import struct
from array import array

import numpy as np
import torch
from safetensors.numpy import load, save

from ..experiment import Experiment
from ..training import Compared, State, begin

#: Columns of State that are plain numbers or text.
_COUNTERS = (
    "step", "clipped", "validated", "validation_loss", "validation_accuracy", "train_loss", "solved_at",
    "diverged_at", "divergence",
)  # fmt: skip


def to_bytes(state: State) -> bytes:
    """Everything but the experiment. Numbers travel exactly: floats as their hexadecimal text."""
    counters = {name: _plain(getattr(state, name)) for name in _COUNTERS} | {"kernel": state.network.kernel}
    arrays = {f"slot.{name}": slot.numpy() for name, slot in state.slots.items()}
    if state.clip_memory:
        arrays["clip_memory"] = np.array(state.clip_memory)
    return save({"parameters": state.network.flat.numpy(), **arrays}, {"counters": json.dumps(counters)})


def from_bytes(blob: bytes, experiment: Experiment) -> State:
    """The state that `to_bytes` wrote, of a run whose experiment (with all its changes) this is."""
    (header,) = struct.unpack("<Q", blob[:8])
    counters = json.loads(json.loads(blob[8 : 8 + header])["__metadata__"]["counters"])
    arrays = load(blob)
    state = begin(experiment, torch.from_numpy(arrays["parameters"]), counters.get("kernel", "torch"))
    for name, slot in state.slots.items():
        slot.copy_(torch.from_numpy(arrays[f"slot.{name}"]))
    if "clip_memory" in arrays:
        state.clip_memory = array("d", arrays["clip_memory"].tobytes())
    for name in _COUNTERS:
        setattr(state, name, _value(counters[name]))
    state.values = experiment.at(state.step)
    return state


def parameters_to_bytes(state: State) -> bytes:
    """The parameters alone, by name, as a safetensors file that PyTorch users can load."""
    return save({name: tensor.numpy() for name, tensor in state.network.parameters.items()})


def update_to_bytes(compared: Compared) -> bytes:
    """A clipped update, and where it would have led without clipping, both flat."""
    return save({"taken": compared.taken.numpy(), "unclipped": compared.unclipped.numpy()})


def _plain(value: object) -> object:
    return {"float": value.hex()} if isinstance(value, float) else value


def _value(value: object) -> object:
    return float.fromhex(value["float"]) if isinstance(value, dict) else value
