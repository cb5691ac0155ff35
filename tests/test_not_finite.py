"""Where numbers end in a pass forward and backward, held to what autograd's tensors say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rnnviz.analysis.moment import moment
from rnnviz.analysis.not_finite import Where, first_not_finite
from rnnviz.cells import CELLS
from rnnviz.kernels import KERNELS
from tests.unrolled import blob_of, moments, small

every_cell = pytest.mark.parametrize("cell", CELLS)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


@every_kernel
@every_cell
def test_of_finite_numbers_none_is_named(kernel, cell):
    assert first_not_finite(moment(small(cell=cell, layers=2), 0, None, kernel)) is None


@every_kernel
def test_relu_states_that_overflow(kernel):
    experiment = small(cell="relu", length=12, precision="float32", layers=2, batch=2)
    blob = blob_of(
        experiment, rnn__weight_hh_l1=1e9 * np.eye(4), rnn__weight_ih_l1=np.eye(4), rnn__bias_ih_l0=1.0
    )
    at, twin = moments(experiment, kernel, blob)
    states = [s["h"].detach() for s in twin.states[0][1][0]]
    first = [bool(s.isfinite().all()) for s in states].index(False)
    assert 2 < first < 8
    sequence = [bool(row.isfinite().all()) for row in states[first]].index(False)
    expected = Where("state", "h", "Inf", layer=1, direction=0, t=first, sequence=sequence)
    assert first_not_finite(at) == expected


@every_kernel
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_gradients_that_overflow_on_their_way_back(kernel, direction):
    """All states are 0, so that nothing happens on the way forward."""
    experiment = small(cell="linear", length=30, precision="float32", direction=direction)
    zero = dict.fromkeys(("rnn__weight_ih_l0", "rnn__bias_ih_l0", "rnn__bias_hh_l0"), 0.0)
    reverse = "_reverse" if direction == "both" else ""
    if reverse:
        zero |= {f"{name}_reverse": 0.0 for name in list(zero)}
        zero["rnn__weight_hh_l0"] = 0.0
    blob = blob_of(experiment, **{**zero, f"rnn__weight_hh_l0{reverse}": 1e4 * np.eye(4)})
    at, twin = moments(experiment, kernel, blob)
    d = int(bool(reverse))
    grads = torch.autograd.grad(twin.loss, twin.column("h", 0, d))
    finite = [bool(g.isfinite().all()) for g in grads]
    t = finite.index(False) if d else len(finite) - 1 - finite[::-1].index(False)
    got = first_not_finite(at)
    assert got is not None
    assert (got.stage, got.name, got.what, got.layer, got.direction, got.t) == (
        "gradient",
        "h",
        "Inf",
        0,
        d,
        t,
    )
    assert 5 < t < 24


@every_kernel
@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({}, "rnn__weight_hh_l0", ("state", "h", 0, 0, 0)),
        ({"layers": 2}, "rnn__weight_hh_l1", ("state", "h", 1, 0, 0)),
        ({"cell": "lstm"}, "rnn__weight_ih_l0", ("state", "c", 0, 0, 0)),
        ({"direction": "both"}, "rnn__weight_hh_l0_reverse", ("state", "h", 0, 1, 5)),
        ({}, "out__weight", ("output", "y", None, None, 5)),
        ({"task": "copying", "length": 2}, "out__bias", ("output", "y", None, None, 0)),
        (
            {"task": "reversal", "length": 4, "architecture": "encoder_decoder"}, "decoder__weight_hh_l0",
            ("state", "h", 0, 0, 4),
        ),
    ],
)  # fmt: skip
def test_a_parameter_that_is_no_number_shows_where_it_is_used_first(kernel, values, name, expected):
    experiment = small(**{"cell": "tanh", **values})
    got = first_not_finite(moment(experiment, 0, blob_of(experiment, **{name: math.nan}), kernel))
    assert got is not None
    assert (got.stage, got.name, got.layer, got.direction, got.t) == expected
    assert (got.what, got.sequence) == ("NaN", 0)
    assert got.parameters == (name.replace("__", "."),)


@every_kernel
def test_a_loss_that_overflows(kernel):
    experiment = small(cell="linear", precision="float32")
    got = first_not_finite(moment(experiment, 0, blob_of(experiment, out__bias=1e25), kernel))
    assert got == Where("loss", "loss", "Inf")


@every_kernel
def test_a_weight_gradient_that_overflows_alone(kernel):
    """One unit is large, another one's gradient is: their product alone is too large."""
    experiment = small(cell="linear", task="temporal_order", length=10, precision="float32", batch=1)
    inputs, out = np.zeros((4, 6)), np.zeros((4, 4))
    inputs[0] = 1e25
    out[:, 1] = [0.0, 1e25, 2e25, 3e25]
    zero = dict.fromkeys(("rnn__bias_ih_l0", "rnn__bias_hh_l0"), 0.0)
    blob = blob_of(
        experiment, rnn__weight_ih_l0=inputs, rnn__weight_hh_l0=0.5 * np.eye(4), out__weight=out, **zero
    )
    got = first_not_finite(moment(experiment, 0, blob, kernel))
    assert got is not None
    assert (got.stage, got.name, got.what, got.t) == ("weight", "rnn.weight_hh_l0", "Inf", None)
