"""A run's state as bytes: nothing is lost, and going on from it is as if nothing had happened."""

from __future__ import annotations

import json
import math
from array import array
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_torch
from torch import nn

from rnnviz.cells import CELLS
from rnnviz.experiment import PRECISIONS, Experiment
from rnnviz.network import Network
from rnnviz.optimizers import OPTIMIZERS
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs.state import from_bytes, parameters_to_bytes, to_bytes
from rnnviz.tasks import TASKS
from rnnviz.training import DivergedError, State, advance, begin


def small(**values: Any) -> Experiment:
    return Experiment(
        **{"task": "digits_rows", "cell": "gru", "hidden": 3, "batch": 3, "steps": 24, **values}
    )


def again(state: State) -> State:
    """The state after a trip through bytes; the experiment lies beside it, as JSON."""
    return from_bytes(to_bytes(state), Experiment.from_json(state.experiment.to_json()))


def arrays_of(chunk: Chunk) -> dict[str, Any]:
    arrays = {name: (a.tobytes(), a.dtype, a.shape) for name, a in chunk.arrays().items()}
    return {**arrays, "next_step": chunk.next_step, "clipped": chunk.clipped}


def everything_of(state: State) -> dict[str, Any]:
    """Every field, tensors as bytes with their types, NaN equal to NaN."""
    slots = {name: (slot.dtype, slot.numpy().tobytes()) for name, slot in state.slots.items()}
    plain = {
        name: repr(value)
        for name, value in vars(state).items()
        if name not in ("network", "slots", "experiment")
    }
    flat = (state.network.flat.dtype, state.network.flat.numpy().tobytes())
    return {"flat": flat, "slots": slots, "experiment": state.experiment, **plain}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("cell", "optimizer"),
    sorted({*((cell, "adam") for cell in CELLS), *(("gru", name) for name in OPTIMIZERS)}),
)
def test_nothing_is_lost_on_the_way(cell, optimizer, precision):
    state = begin(small(cell=cell, optimizer=optimizer, precision=precision, clip_threshold=0.5))
    assert everything_of(again(state)) == everything_of(state)
    advance(state, steps=13)
    twin = again(state)
    assert everything_of(twin) == everything_of(state)
    assert set(twin.slots) == set(OPTIMIZERS[optimizer].slots)
    # And it goes on on its own, with its own memory.
    assert arrays_of(advance(twin)) == arrays_of(advance(state))
    assert everything_of(twin) == everything_of(state)
    assert twin.done


RUNS = {
    "adam": small(cell="lstm"),
    "momentum": small(optimizer="momentum", clip_threshold=0.3, precision="float64"),
    "rmsprop": small(cell="lstm_peephole", optimizer="rmsprop", clip="value", clip_threshold=0.02),
    "sgd": small(task="adding", cell="tanh", length=8, optimizer="sgd"),
    "changes": small(
        changes=[
            {"step": 4, "field": "learning_rate", "value": 0.1},
            {"step": 9, "field": "clip", "value": "none"},
            {"step": 17, "field": "clip", "value": "value"},
        ]
    ),
    "agc": small(clip="agc", clip_threshold=0.01),
    "autoclip": small(clip="autoclip", optimizer="sgd", learning_rate=0.1),
    "zclip": small(cell="lstm", clip="zclip", optimizer="sgd", learning_rate=0.5, steps=60),
    "rules": small(
        clip="autoclip", steps=48,
        changes=[
            {"step": 5, "field": "clip_scope", "value": "recurrent"},
            {"step": 9, "field": "clip", "value": "zclip"},
            {"step": 40, "field": "clip", "value": "autoclip"},
        ],
    ),
    # Soon after step 10, whatever the weights: nothing holds a linear cell.
    "diverging": small(
        task="digits", cell="linear", optimizer="sgd", learning_rate=1e-3, clip="none",
        changes=[{"step": 10, "field": "learning_rate", "value": 100.0}],
    ),
}  # fmt: skip


@lru_cache
def unbroken(name: str) -> tuple[State, Chunk]:
    state = begin(RUNS[name])
    chunk = advance(state)
    return state, chunk


@pytest.mark.parametrize("name", RUNS)
@given(st.lists(st.integers(0, 16), max_size=4))
@settings(max_examples=4)
def test_an_interrupted_run_is_the_same_run(name, stops):
    state, chunks = begin(RUNS[name]), []
    for steps in stops:
        state = again(state)
        if not state.done:
            chunks.append(advance(state, steps=steps))
    state = again(state)
    if not state.done:
        chunks.append(advance(state))
    reference, chunk = unbroken(name)
    assert arrays_of(concatenate(chunks)) == arrays_of(chunk)
    assert everything_of(again(state)) == everything_of(reference)


def test_every_field_travels():
    """Numbers that no short run comes to, each its own."""
    state = begin(small())
    counters = {
        "step": 11, "clipped": 9, "validated": 10, "validation_loss": 0.1, "validation_accuracy": 0.2,
        "train_loss": 0.3, "solved_at": 7, "diverged_at": 8, "divergence": "The löss is no longer finite.",
    }  # fmt: skip
    watched = {"compare_at", "compared"}  # asked for anew at each checkpoint, and no part of the run
    elsewhere = {"experiment", "network", "slots", "values", "clip_memory", *watched}
    assert set(counters) == set(vars(state)) - elsewhere
    for name, value in counters.items():
        setattr(state, name, value)
    twin = again(state)
    assert {name: getattr(twin, name) for name in counters} == counters


@given(st.lists(st.floats(allow_nan=True), max_size=9))
def test_what_a_clip_rule_remembers_travels_bit_by_bit(numbers):
    state = begin(small())
    state.clip_memory = array("d", numbers)
    twin = again(state)
    assert twin.clip_memory.typecode == "d"
    assert twin.clip_memory.tobytes() == state.clip_memory.tobytes()
    twin.clip_memory.append(1.0)  # it is its own
    assert len(state.clip_memory) == len(numbers)


def test_a_state_without_such_a_memory_is_written_as_it_always_was():
    """Blobs of runs from before there were such rules have no place for it."""
    state = begin(small())
    advance(state, steps=3)
    assert set(load_torch(to_bytes(state))) == {"parameters", "slot.mean", "slot.square"}
    assert again(state).clip_memory == array("d")
    state.clip_memory.append(0.5)
    assert "clip_memory" in load_torch(to_bytes(state))


@pytest.mark.parametrize("kernel", ["compiled", "torch"])
@pytest.mark.parametrize("name", ["agc", "autoclip", "zclip"])
def test_a_run_goes_on_with_its_kernel_and_its_clip_rule(name, kernel):
    whole, broken = (begin(RUNS[name], kernel=kernel) for _ in range(2))
    chunk = advance(whole)
    assert chunk.clipped > 0
    chunks = []
    while not broken.done:
        chunks.append(advance(broken, steps=7))
        broken = again(broken)
    assert arrays_of(concatenate(chunks)) == arrays_of(chunk)
    assert everything_of(broken) == everything_of(whole)


def test_a_change_made_in_mid_run_goes_with_it():
    state = begin(small(clip_threshold=0.2))
    advance(state, steps=5)
    state.change("learning_rate", 0.3)
    state.change("clip", "value")
    twin = again(state)
    assert (
        twin.values
        == state.values
        == {**small(clip_threshold=0.2).at(0), "learning_rate": 0.3, "clip": "value"}
    )
    assert arrays_of(advance(twin)) == arrays_of(advance(state))


def test_a_diverged_run_stays_diverged():
    state, _ = unbroken("diverging")
    assert 10 < state.diverged_at < 24
    twin = again(state)
    assert (twin.done, twin.diverged_at, twin.divergence) == (True, state.diverged_at, state.divergence)
    with pytest.raises(DivergedError):
        advance(twin)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1, 5e-324, -0.0, None])
def test_numbers_travel_exactly_and_the_header_is_strict_json(value):
    state = begin(small())
    state.train_loss = state.validation_loss = state.validation_accuracy = value
    blob = to_bytes(state)
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length], parse_constant=pytest.fail)
    json.loads(header["__metadata__"]["counters"], parse_constant=pytest.fail)
    twin = from_bytes(blob, state.experiment)
    assert (
        repr(twin.train_loss) == repr(twin.validation_loss) == repr(twin.validation_accuracy) == repr(value)
    )


def test_weights_that_are_no_numbers_travel_bit_by_bit():
    state = begin(small())
    state.network.flat[:4] = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    assert everything_of(again(state)) == everything_of(state)


def test_the_bytes_are_their_own():
    """What is computed after saving does not reach into what was saved."""
    state = begin(small())
    advance(state, steps=3)
    blob, before = to_bytes(state), everything_of(state)
    advance(state, steps=3)
    assert everything_of(from_bytes(blob, state.experiment)) == before
    assert everything_of(state) != before


# Parameters for PyTorch users


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_parameters_by_name(cell, precision):
    state = begin(small(cell=cell, precision=precision))
    advance(state, steps=2)
    loaded = load_torch(parameters_to_bytes(state))
    assert set(loaded) == set(state.network.parameters)
    for name, tensor in state.network.parameters.items():
        assert loaded[name].dtype == getattr(torch, precision)
        assert torch.equal(loaded[name], tensor)


MODULES = {"tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("cell", MODULES)
def test_the_parameters_load_into_torchs_own_modules(cell):
    experiment = small(cell=cell, precision="float64")
    state = begin(experiment)
    advance(state)
    task = TASKS[experiment.task]
    model = nn.ModuleDict(
        {
            "rnn": MODULES[cell](task.input_size, experiment.hidden, dtype=torch.float64),
            "out": nn.Linear(experiment.hidden, task.output_size, dtype=torch.float64),
        }
    )
    model.load_state_dict(load_torch(parameters_to_bytes(state)))  # strict: every name, every shape
    batch = task.validation_batch(experiment.length)
    with torch.no_grad():
        hidden, _ = model["rnn"](torch.tensor(batch.inputs))
        outputs = model["out"](hidden[-1])
    torch.testing.assert_close(outputs, torch.from_numpy(state.network.evaluate(batch).outputs))
    assert isinstance(state.network, Network)
