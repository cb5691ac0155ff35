"""What goes on inside while a network reads: to the trainer's bytes, and against torch written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnnviz import step, training
from rnnviz.analysis import readings
from rnnviz.analysis.dynamics import Place
from rnnviz.analysis.moment import moment
from rnnviz.analysis.readings import as_text, read, read_typed, symbolic, typed
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.kernels import KERNELS
from rnnviz.runs.state import parameters_to_bytes
from rnnviz.tasks import TASKS
from rnnviz.training import advance, begin
from tests.unrolled import SHAPES, small


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", CELLS)
def test_gates_are_the_trainers_own_to_the_bit(
    cell: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = Experiment(
        task="adding", length=9, cell=cell, hidden=5, batch=4, steps=20, layers=2, direction="both"
    )
    state = begin(e, kernel=kernel)
    advance(state, steps=3)
    blob, own, made = parameters_to_bytes(state), [], step.pass_of

    def watched(*given):
        found = made(*given)
        traces = (t for layers in found.passage.traces for directions in layers for t in directions)
        own.append([{name: value.clone() for name, value in t.values.items()} for t in traces])
        return found

    monkeypatch.setattr(training, "pass_of", watched)
    advance(state, steps=1)
    reading = read(moment(e, 3, blob, kernel), "step")
    places = [Place(layer, direction) for layer in range(2) for direction in range(2)]
    for place, values in zip(places, own[0], strict=True):
        assert set(values) == set(CELLS[cell].values)
        for name, value in values.items():
            assert reading.values(place, name).tobytes() == value.numpy().tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_held_out_sequences_with_the_gradient_of_their_own_loss(shape: str) -> None:
    e = small(cell="gru", **SHAPES[shape])
    m = moment(e)
    reading = read(m, "held_out")
    assert reading is read(m, "held_out")
    top = Place(e.layers - 1, e.directions - 1)
    np.testing.assert_array_equal(readings.held_out_values(m, top, "r"), reading.values(top, "r"))
    task = TASKS[e.task]
    whole = task.validation_batch(e.length)
    assert reading.B == readings.HELD_OUT
    np.testing.assert_array_equal(reading.batch.inputs, whole.inputs[:, : readings.HELD_OUT])
    one = readings.first_of(whole, 1, e.task)
    alone = m.network.loss_and_gradient(one)
    parts = 2 if e.architecture != "one" else 1
    for part in range(parts):
        for direction in range(e.directions):
            place = Place(e.layers - 1, direction, part)
            trace = alone.passage.traces[part][e.layers - 1][direction]
            grad = reading.grad(place)
            assert grad is not None
            np.testing.assert_allclose(grad[:, 0], trace.total["h"][:, 0].numpy(), rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(
                reading.values(place, "z")[:, 0], trace.values["z"][:, 0].numpy(), rtol=1e-12
            )
    T = task.steps(e.length)
    assert np.concatenate([reading.steps(Place(part=p)) for p in range(parts)]).tolist() == list(
        range(1, T + 1)
    )


def test_large_networks_read_fewer_sequences() -> None:
    counts = [
        readings.held_out_count(small(cell="gru", length=T, hidden=H))
        for T, H in ((6, 4), (500, 64), (500, 128), (2000, 128))
    ]
    assert counts == [64, 31, 15, 8]


def test_a_typed_sequence_is_read_whatever_its_length() -> None:
    e = small(cell="lstm", task="text", length=10)
    m = moment(e)
    inputs = typed("text", "the cat sat on the mat, and so on")
    reading = read_typed(m, inputs)
    assert reading.grad(Place()) is None
    assert np.isnan(reading.loss)
    x = torch.from_numpy(inputs)[:, None]
    steps = list(unroll(CELLS["lstm"], m.network.weights(), x))
    for name in ("i", "f", "g", "o", "c", "h"):
        np.testing.assert_allclose(
            reading.values(Place(), name), torch.stack([step[name] for step in steps]).numpy(), rtol=1e-10
        )
    assert reading.outputs.shape == (len(inputs), 1, 35)
    assert as_text("text", inputs) == "the cat sat on the mat, and so on"


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_reads_can_be_typed(name: str) -> None:
    task = TASKS[name]
    inputs = task.sample(np.random.default_rng(0), task.default_length, 2).inputs
    for b in range(2):
        text = as_text(name, inputs[:, b])
        np.testing.assert_allclose(typed(name, text), inputs[:, b], rtol=5e-3, atol=5e-4)
    assert symbolic(name) == readings.is_one_hot(inputs[:, 0])


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        (
            "text",
            "Über",
            "sequence: 'ü' is no symbol of this task; allowed: abcdefghijklmnopqrstuvwxyz .,;:'!?-",
        ),
        ("text", "", "sequence: got 0 time steps; allowed: 1 to 2,000."),
        ("copying", "1 2 9x", "sequence: '9x' is no symbol of this task; allowed: blank, 1, 2,"),
        (
            "adding",
            "0.5,0 0.2",
            "sequence: time step 2 is '0.2'; allowed: 2 finite number(s) between commas.",
        ),
        ("adding", "0.5,nan", "sequence: time step 1 is '0.5,nan'; allowed: 2 finite number(s)"),
        ("adding", "0,1 " * 2001, "sequence: got 2001 time steps; allowed: 1 to 2,000."),
    ],
)
def test_what_cannot_be_read_is_a_sentence(task: str, text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        typed(task, text)
    assert str(error.value).startswith(said)


def test_an_encoder_and_decoder_need_their_length() -> None:
    e = small(cell="tanh", task="reversal", length=4, architecture="encoder_decoder")
    with pytest.raises(ValueError, match=r"sequence: got 3 time steps; an encoder and a decoder need 8"):
        read_typed(moment(e), np.eye(TASKS["reversal"].input_size)[:3])
    with pytest.raises(ValueError, match="over: got 'all'; allowed: step, held_out"):
        read(moment(e), "all")


def test_of_typed_sequences_only_the_last_is_kept() -> None:
    m = moment(small(cell="tanh", task="text", length=10))
    first = read_typed(m, typed("text", "abc"))
    assert read_typed(m, typed("text", "abc")) is first
    read_typed(m, typed("text", "abd"))
    assert read_typed(m, typed("text", "abc")) is not first
