"""Holding gates and units, against a loop in plain torch that knows none of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from rnnviz.analysis.held import Hold, held_forward
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.network import Network
from rnnviz.step import batch_of

H = 4
HOLDS = {
    "a gate shut in one unit": lambda cell: [Hold(cell.gates[0], 0.0, 2)],
    "a gate open in all": lambda cell: [Hold(cell.gates[-1], 1.0)],
    "a unit away": lambda cell: [Hold("h", 0.0, 1)],
    "several": lambda cell: [Hold(cell.gates[0], 0.25), Hold("h", 0.5, 3), Hold(cell.gates[-1], -0.5, 0)],
}


def experiment_of(cell: str, **more: object) -> Experiment:
    values: dict[str, object] = {
        "task": "adding", "length": 7, "cell": cell, "hidden": H, "batch": 3, "precision": "float64",
    }  # fmt: skip
    return Experiment(**{**values, **more})


def by_hand(name: str, w: dict[str, torch.Tensor], x: torch.Tensor, holds: list[Hold]) -> torch.Tensor:
    """h_t of one layer, (T, B, H), written out for each cell with every value held where it is made."""

    def held(which: str, value: torch.Tensor) -> torch.Tensor:
        for hold in holds:
            if hold.name == which:
                value = value.clone()
                value[:, slice(None) if hold.unit is None else hold.unit] = hold.value
        return value

    cell, s, tanh = CELLS[name], torch.sigmoid, torch.tanh
    rows = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate(cell.gates)}
    p = dict(zip(cell.peepholes, w.get("weight_peephole", ()), strict=True))
    h = c = torch.zeros(x.shape[1], H, dtype=x.dtype)
    found = []
    for x_t in x:
        ax = {g: x_t @ w["weight_ih"][r].T + w["bias_ih"][r] for g, r in rows.items()}
        ah = {g: h @ w["weight_hh"][r].T + w["bias_hh"][r] for g, r in rows.items()}
        a = {g: ax[g] + ah[g] for g in rows}
        if cell.family == "plain":
            phi = {"tanh": tanh, "relu": torch.relu, "sigmoid": s, "linear": lambda v: v}[name]
            h = held("h", phi(a["h"]))
        elif cell.family == "lstm":
            see = lambda gate, memory: p[gate] * memory if gate in p else 0.0  # noqa: E731
            f, g = held("f", s(a["f"] + see("f", c))), held("g", tanh(a["g"]))
            i = held("i", s(a["i"] + see("i", c))) if "i" in rows else 1.0 - f
            c = f * c + i * g
            o = held("o", s(a["o"] + see("o", c)))
            h = held("h", o * tanh(c))
        else:
            r, z = held("r", s(a["r"])), held("z", s(a["z"]))
            if name == "gru":
                n = held("n", tanh(ax["n"] + r * ah["n"]))
                h = held("h", (1 - z) * n + z * h)
            else:
                own = rows["n"]
                n = held("n", tanh(ax["n"] + (r * h) @ w["weight_hh"][own].T + w["bias_hh"][own]))
                h = held("h", (1 - z) * h + z * n)
        found.append(h)
    return torch.stack(found)


@pytest.mark.parametrize("what", HOLDS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_held_pass_is_a_forward_pass_with_that_value_pinned(cell: str, what: str) -> None:
    experiment = experiment_of(cell)
    network, batch, holds = Network(experiment), batch_of(experiment, 5), HOLDS[what](CELLS[cell])
    found = held_forward(experiment, network.flat, batch, holds)
    inputs, targets = network.tensors(batch)
    h = by_hand(cell, dict(network.weights()), inputs, holds)
    assert torch.allclose(found.passage.outputs(), h, rtol=1e-12, atol=1e-13)
    y = h[-1] @ network.parameters["out.weight"].T + network.parameters["out.bias"]
    np.testing.assert_allclose(found.outputs, y.numpy(), rtol=1e-12)
    assert found.loss == pytest.approx(float(((y - targets) ** 2).mean()), rel=1e-12)
    free = held_forward(experiment, network.flat, batch)
    assert free.loss != found.loss
    assert free.loss == pytest.approx(network.loss_and_gradient(batch).loss, rel=1e-13)


def test_only_the_layer_and_direction_that_is_meant() -> None:
    experiment = experiment_of("lstm", layers=2, direction="both")
    network, batch = Network(experiment), batch_of(experiment, 0)
    free = held_forward(experiment, network.flat, batch).passage.traces[0]
    held = held_forward(experiment, network.flat, batch, [Hold("o", 0.0, 2, layer=1, direction=1)])
    for k in range(2):
        for d in range(2):
            same = torch.equal(free[k][d].values["h"], held.passage.traces[0][k][d].values["h"])
            assert same == ((k, d) != (1, 1))
    assert (held.passage.traces[0][1][1].values["h"][..., 2] == 0.0).all()


@pytest.mark.parametrize(
    ("hold", "said"),
    [
        (Hold("q", 1.0), "hold: 'q' is not a gate of LSTM; it has i, f, g, o, h."),
        (Hold("f", 1.0, 4), "hold: unit 4 is not there; the network has 0 to 3."),
        (Hold("f", 1.0, layer=1), "hold: layer 1 is not there; the network has 0 to 0."),
    ],
)
def test_what_is_not_there_is_a_sentence(hold: Hold, said: str) -> None:
    experiment = experiment_of("lstm")
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        held_forward(experiment, Network(experiment).flat, batch_of(experiment, 0), [hold])
