"""A run's weights as a file: the lines that load it give the network's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load, save

from rnnviz.analysis.weights_file import weights_file
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.layout import layout_of
from rnnviz.network import Network
from rnnviz.step import batch_of
from rnnviz.ui.module_lines import loading_lines

SMALL = Experiment(task="adding", length=6, cell="lstm", hidden=5, batch=3)


def checkpoint(experiment: Experiment) -> tuple[Network, bytes]:
    """A network, and its parameters as a run keeps them."""
    network = Network(experiment)
    return network, save({name: p.numpy().copy() for name, p in network.parameters.items()})


@pytest.mark.parametrize(
    "experiment",
    [
        SMALL,
        SMALL.changed(cell="tanh", layers=2, dropout=0.4, precision="float64"),
        SMALL.changed(cell="relu", direction="both"),
        SMALL.changed(cell="gru", layers=2, direction="both", forget_bias=None),
        Experiment(task="echo", cell="gru", hidden=4, batch=3),
        Experiment(task="copying", length=5, cell="lstm", hidden=4, batch=3, direction="both"),
        Experiment(task="reversal", length=4, cell="gru", hidden=4, batch=3),
        Experiment(task="reversal", length=4, cell="lstm", hidden=4, batch=3, architecture="encoder_decoder"),
        Experiment(
            task="repetition", length=4, cell="relu", hidden=4, layers=2, batch=3,
            architecture="encoder_decoder",
        ),
    ],
    ids=lambda e: f"{e.task}-{e.cell}-{e.layers}-{e.direction}-{e.architecture}",
)  # fmt: skip
def test_the_lines_load_the_network(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, blob = checkpoint(experiment)
    (tmp_path / "mine.safetensors").write_bytes(weights_file(experiment, 7, blob))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(loading_lines(experiment, "mine.safetensors"), "lines.py", "exec"), names)
    inputs, _ = network.tensors(batch_of(experiment, 0))
    own = network.read(network.asked(network.forward(inputs)))
    with torch.no_grad():
        answer = names["network"](inputs)
    assert answer.dtype == own.dtype
    np.testing.assert_allclose(answer, own, atol=1e-6)
    assert float(own.std()) > 1e-3, "the same answer to everything would prove little"


@pytest.mark.parametrize("cell", CELLS)
def test_the_file_holds_every_parameter_and_says_whose_rows_are_whose(cell: str, tmp_path: Path) -> None:
    experiment = SMALL.changed(cell=cell)
    network, blob = checkpoint(experiment)
    made = weights_file(experiment, 40, blob)
    arrays = load(made)
    assert set(arrays) == set(layout_of(experiment).shapes)
    for name, parameter in network.parameters.items():
        np.testing.assert_array_equal(arrays[name], parameter.numpy())
    path = tmp_path / "file.safetensors"
    path.write_bytes(made)
    with safe_open(path, "pt") as file:
        said = file.metadata()
    assert Experiment.from_json(said["experiment"]) == experiment
    assert (said["step"], said["gates"].split()) == ("40", list(CELLS[cell].gates))
    assert said.get("peepholes", "").split() == list(CELLS[cell].peepholes)


@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if cell.torch_module is None])
def test_a_cell_that_torch_does_not_have_has_no_lines(cell: str) -> None:
    with pytest.raises(ValueError, match=rf"^cell: torch\.nn has no module for {cell}\.$"):
        loading_lines(SMALL.changed(cell=cell), "x")


def test_parameters_of_another_network_are_a_sentence() -> None:
    _, blob = checkpoint(SMALL.changed(hidden=4))
    with pytest.raises(
        ValueError, match=r"^rnn\.weight_hh_l0: got \(16, 4\); the network needs \(20, 5\)\.$"
    ):
        weights_file(SMALL, 0, blob)
    with pytest.raises(ValueError, match=r"^rnn\.weight_hh_l0: got nothing; "):
        weights_file(SMALL, 0, save({"x": np.zeros(1)}))
