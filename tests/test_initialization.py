"""Every initialization keeps the contract, and draws what its source says."""

import math
import subprocess
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.initialization import INITIALIZATIONS, NONZEROS, SHAPES, SMALL, _with_radius
from rnnviz.network import Network

ALL = pytest.mark.parametrize("name", INITIALIZATIONS)
IDENTITIES = ("identity", "scaled_identity")
EIGENVALUES = ("spectral", "sparse")
KNOWN = (
    "pytorch", "glorot", "gaussian", "orthogonal", *IDENTITIES, "zero", *EIGENVALUES, "kaiming", "chrono",
)  # fmt: skip
H, I, O = 400, 60, 100  # noqa: E741 - the names of the dimensions everywhere in rnnviz


def shape_of(kind: str, hidden: int = H, inputs: int = I, outputs: int = O) -> tuple[int, ...]:
    return {
        "input": (hidden, inputs),
        "recurrent": (hidden, hidden),
        "bias": (hidden,),
        "peephole": (hidden,),
        "output": (outputs, hidden),
        "output_bias": (outputs,),
    }[kind]


@cache
def draw(name: str, kind: str, gain: float = 1.0, seed: int = 0, hidden: int = H) -> np.ndarray:
    rng = np.random.default_rng(seed)
    block = INITIALIZATIONS[name].block(rng, kind, shape_of(kind, hidden), hidden, gain)
    block.flags.writeable = False  # several tests look at it
    return block


def is_uniform(block: np.ndarray, bound: float) -> bool:
    """Mean, variance and extremes of U(-bound, bound), within four standard errors."""
    n = block.size
    tail = 20 / n  # the chance that no value comes this close to a bound is exp(-10)
    return bool(
        np.abs(block).max() <= bound
        and np.abs(block.max() - bound) < 2 * bound * tail
        and np.abs(block.min() + bound) < 2 * bound * tail
        and abs(block.mean()) < 4 * bound / math.sqrt(3 * n)
        and abs(block.var() - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / n)
    )


def is_normal(block: np.ndarray, std: float) -> bool:
    """Mean, variance and kurtosis of N(0, std^2), within four standard errors."""
    n = block.size
    return bool(
        abs(block.mean()) < 4 * std / math.sqrt(n)
        and abs(block.var() / std**2 - 1) < 4 * math.sqrt(2 / n)
        and abs((block**4).mean() / std**4 - 3) < 4 * math.sqrt(96 / n)
    )


# The contract, for every initialization


@ALL
def test_describes_itself(name: str) -> None:
    scheme = INITIALIZATIONS[name]
    assert scheme.name == name
    for words in (scheme.label, scheme.summary, scheme.source):
        assert words.strip() == words != ""
    assert scheme.summary.endswith(".")


@ALL
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(list(SHAPES)),
    hidden=st.integers(1, 20),
    inputs=st.integers(1, 12),
    outputs=st.integers(1, 12),
    gain=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**32),
)
def test_blocks_have_their_shape_and_depend_on_the_generator_alone(
    name: str, kind: str, hidden: int, inputs: int, outputs: int, gain: float, seed: int
) -> None:
    shape = shape_of(kind, hidden, inputs, outputs)
    one, two = (
        INITIALIZATIONS[name].block(np.random.default_rng(seed), kind, shape, hidden, gain) for _ in range(2)
    )
    assert one.shape == shape
    assert one.dtype == np.float64
    assert np.isfinite(one).all()
    assert one.tobytes() == two.tobytes()


@ALL
def test_gates_and_seeds_get_different_blocks(name: str) -> None:
    rng = np.random.default_rng(0)
    for kind in ("input", "recurrent", "output"):
        first, second = (INITIALIZATIONS[name].block(rng, kind, shape_of(kind, 40), 40) for _ in range(2))
        constant = name == "zero" or (kind == "recurrent" and name in IDENTITIES)
        assert np.array_equal(first, second) is constant
        assert (
            np.array_equal(draw(name, kind, seed=1, hidden=40), draw(name, kind, seed=2, hidden=40))
            is constant
        )


@ALL
def test_gain_scales_the_recurrent_block_alone_and_only_where_it_says_so(name: str) -> None:
    for kind in SHAPES:
        once, twice = (draw(name, kind, gain=gain, hidden=40) for gain in (1.0, 2.0))
        scaled = INITIALIZATIONS[name].uses_gain and kind == "recurrent"
        np.testing.assert_allclose(twice, once * (2 if scaled else 1), rtol=1e-12)


@pytest.mark.parametrize("name", KNOWN)
def test_which_use_the_gain(name: str) -> None:
    using = ("gaussian", "orthogonal", "scaled_identity", *EIGENVALUES, "chrono")
    assert INITIALIZATIONS[name].uses_gain == (name in using)


def test_every_initialization_is_known_here():
    assert set(KNOWN) == set(INITIALIZATIONS)


@ALL
def test_refuses_unknown_kinds_and_wrong_shapes(name: str) -> None:
    scheme, rng = INITIALIZATIONS[name], np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"one of input, recurrent.*got 'recurent'"):
        scheme.block(rng, "recurent", (3, 3), 3)
    with pytest.raises(ValueError, match=r"\(H, H\); got \(3, 4\)"):
        scheme.block(rng, "recurrent", (3, 4), 3)
    with pytest.raises(ValueError, match=r"'bias' has the shape \(H,\); got \(3, 1\)"):
        scheme.block(rng, "bias", (3, 1), 3)
    with pytest.raises(ValueError, match=r"\(O, H\); got \(3,\)"):
        scheme.block(rng, "output", (3,), 3)


# What each of them draws


@pytest.mark.parametrize("kind", SHAPES)
def test_pytorch_is_uniform_everywhere(kind: str) -> None:
    assert is_uniform(draw("pytorch", kind), 1 / math.sqrt(H))


@pytest.mark.parametrize("module", ["RNN", "LSTM", "GRU"])
def test_pytorch_has_the_bounds_of_torch(module: str) -> None:
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = getattr(torch.nn, module)(I, H), torch.nn.Linear(H, O)
    for layer in layers:
        for parameter in layer.parameters():
            assert is_uniform(parameter.detach().double().numpy(), 1 / math.sqrt(H))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("glorot", "input"),
        ("glorot", "recurrent"),
        ("glorot", "output"),
        ("orthogonal", "input"),
        ("orthogonal", "output"),
        ("chrono", "input"),
        ("chrono", "output"),
    ],
)
def test_glorot_variance(name: str, kind: str) -> None:
    assert is_uniform(draw(name, kind), math.sqrt(6 / sum(shape_of(kind))))


def test_gaussian_standard_deviations() -> None:
    assert is_normal(draw("gaussian", "recurrent", gain=1.5), 1.5 / math.sqrt(H))
    assert is_normal(draw("gaussian", "input", gain=1.5), 1 / math.sqrt(I))
    assert is_normal(draw("gaussian", "output", gain=1.5), 1 / math.sqrt(H))


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_gaussian_gain_is_about_the_spectral_radius(gain: float) -> None:
    radius = np.abs(np.linalg.eigvals(draw("gaussian", "recurrent", gain))).max()
    assert radius == pytest.approx(gain, rel=0.08)


@pytest.mark.parametrize("gain", [0.9, 1.0, 1.3])
@pytest.mark.parametrize("name", ["orthogonal", "chrono"])
def test_orthogonal_keeps_lengths_up_to_the_gain(name: str, gain: float) -> None:
    block = draw(name, "recurrent", gain)
    np.testing.assert_allclose(block.T @ block, gain**2 * np.eye(H), atol=1e-12)
    np.testing.assert_allclose(np.linalg.svd(block, compute_uv=False), gain, rtol=1e-12)


def test_orthogonal_blocks_are_equally_likely() -> None:
    """Haar: entries have mean 0 and E[trace(Q)^2] = 1; QR without the sign fix gives traces below 0."""
    rng = np.random.default_rng(0)
    blocks = [INITIALIZATIONS["orthogonal"].block(rng, "recurrent", (4, 4), 4) for _ in range(4000)]
    traces = np.array([np.trace(block) for block in blocks])
    assert abs(traces.mean()) < 4 / math.sqrt(4000)
    assert abs((traces**2).mean() - 1) < 4 * (traces**2).std() / math.sqrt(4000)
    assert np.abs(np.mean(blocks, axis=0)).max() < 5 * math.sqrt(1 / 4 / 4000)


def test_identities() -> None:
    np.testing.assert_array_equal(draw("identity", "recurrent", gain=7.0), np.eye(H))
    np.testing.assert_array_equal(draw("scaled_identity", "recurrent", gain=0.5), 0.5 * np.eye(H))


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("kind", ["input", "output", "peephole"])
def test_everything_beside_an_identity_is_small(name: str, kind: str) -> None:
    assert SMALL == 0.001
    assert is_normal(draw(name, kind), 0.001)


@pytest.mark.parametrize("name", KNOWN)
def test_biases_are_zero_but_for_pytorch(name: str) -> None:
    for kind in ("bias", "output_bias"):
        assert draw(name, kind).any() == (name == "pytorch")


@pytest.mark.parametrize("name", KNOWN)
def test_peepholes(name: str) -> None:
    assert draw(name, "peephole").any() == (name in ("pytorch", *IDENTITIES))


def radius_of(block: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(block)).max())


@pytest.mark.parametrize("name", EIGENVALUES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(hidden=st.integers(1, 40), gain=st.floats(0.01, 10.0), seed=st.integers(0, 2**32))
def test_the_spectral_radius_is_the_gain(name: str, hidden: int, gain: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    block = INITIALIZATIONS[name].block(rng, "recurrent", (hidden, hidden), hidden, gain)
    assert radius_of(block) == pytest.approx(gain, rel=1e-9)


@pytest.mark.parametrize("gain", [0.95, 1.0, 1.3])
@pytest.mark.parametrize("name", EIGENVALUES)
def test_the_spectral_radius_of_a_large_block_is_the_gain(name: str, gain: float) -> None:
    assert radius_of(draw(name, "recurrent", gain)) == pytest.approx(gain, rel=1e-9)


def test_spectral_is_gaussian_but_for_the_scale() -> None:
    block, gaussian = draw("spectral", "recurrent"), draw("gaussian", "recurrent")
    np.testing.assert_allclose(block, gaussian / radius_of(gaussian), rtol=1e-9)
    for kind in SHAPES:
        if kind != "recurrent":
            assert np.array_equal(draw("spectral", kind), draw("gaussian", kind))


def test_sparse_has_fifteen_entries_in_each_row() -> None:
    block = draw("sparse", "recurrent")
    assert NONZEROS == 15
    assert ((block != 0).sum(axis=1) == 15).all()
    # Anywhere: each column gets 15 on average, with the variance of so many draws of a chance of 15/H.
    counts = (block != 0).sum(axis=0)
    assert counts.var() == pytest.approx(15 * (1 - 15 / H), rel=4 * math.sqrt(2 / H))
    values = block[block != 0]
    assert is_normal(values, math.sqrt((values**2).mean()))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(hidden=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_sparse_rows_of_a_small_network_are_full(hidden: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    block = INITIALIZATIONS["sparse"].block(rng, "recurrent", (hidden, hidden), hidden)
    assert ((block != 0).sum(axis=1) == min(hidden, 15)).all()


@pytest.mark.parametrize("kind", ["input", "output"])
def test_everything_beside_the_sparse_block_is_small(kind: str) -> None:
    assert is_normal(draw("sparse", kind, gain=3.0), 0.01)


def test_a_block_without_eigenvalues_but_zero_stays_as_it_is() -> None:
    for block in (np.eye(4, k=1), np.zeros((3, 3)), np.zeros((1, 1))):
        assert np.array_equal(_with_radius(block, 0.95), block)


@pytest.mark.parametrize("kind", ["input", "recurrent", "output"])
def test_kaiming_is_that_of_torch(kind: str) -> None:
    shape = shape_of(kind)
    assert is_uniform(draw("kaiming", kind), math.sqrt(6 / shape[1]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.nn.init.kaiming_uniform_(torch.empty(shape, dtype=torch.float64), nonlinearity="relu")
    assert is_uniform(theirs.numpy(), math.sqrt(6 / shape[1]))


def test_kaiming_does_to_a_state_what_its_summary_says() -> None:
    block = draw("kaiming", "recurrent")
    assert radius_of(block) == pytest.approx(1.4, abs=0.1)
    rng = np.random.default_rng(1)
    states = rng.standard_normal((H, 200))
    kept = np.maximum(block @ states, 0)
    assert (kept**2).sum() / (states**2).sum() == pytest.approx(1.0, rel=0.05)
    small = states * 1e-4
    for _ in range(40):
        small = np.tanh(block @ small)
    assert 0.1 < np.sqrt((small**2).mean()) < 1.0


# Chrono: the biases of the gates that decide about the memory

GATED = [cell.name for cell in CELLS.values() if cell.family != "plain"]
LENGTH = 50  # of the adding task, whose sequences have as many steps


def chrono(cell: str, **values: object) -> Network:
    fields = {
        "task": "adding", "length": LENGTH, "hidden": H, "initialization": "chrono", "precision": "float64",
        **values,
    }  # fmt: skip
    return Network(Experiment(cell=cell, **fields))


def gate_biases(network: Network, end: str = "_l0") -> dict[str, np.ndarray]:
    """By gate, b_ih; b_hh is 0."""
    assert not network.parameters[f"rnn.bias_hh{end}"].any()
    rows = network.parameters[f"rnn.bias_ih{end}"].numpy().reshape(len(network.cell.gates), -1)
    return dict(zip(network.cell.gates, rows, strict=True))


SIGNS = {
    "lstm": {"f": 1, "i": -1}, "lstm_peephole": {"f": 1, "i": -1}, "lstm_coupled": {"f": 1},
    "gru": {"z": 1}, "gru_chung": {"z": -1},
}  # fmt: skip


@pytest.mark.parametrize("cell", GATED)
def test_chrono_biases_are_logarithms_of_uniform_times(cell: str) -> None:
    biases = gate_biases(chrono(cell))
    drawn = []
    for gate, bias in biases.items():
        sign = SIGNS[cell].get(gate, 0)
        if not sign:
            assert not bias.any()
            continue
        drawn.append(sign * bias)
        assert is_uniform(np.exp(sign * bias) - LENGTH / 2, (LENGTH - 2) / 2)  # u from 1 to T - 1
    assert all(np.array_equal(b, drawn[0]) for b in drawn), "b_i = -b_f, unit by unit"


class BiasesAlone:
    """A step of a network whose weights are all 0: every pre-activation is the gate's bias."""

    sigmoid, tanh = staticmethod(torch.sigmoid), staticmethod(torch.tanh)

    def __init__(self, network: Network) -> None:
        self.cell = network.cell
        self.biases = {gate: torch.from_numpy(b.copy()) for gate, b in gate_biases(network).items()}

    def product(self, number: int, operand: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gates = self.cell.products[number].gates
        return tuple(self.biases[g] * (g not in self.cell.apart) for g in gates)

    def input(self, gate: str) -> torch.Tensor:
        return self.biases[gate]


@pytest.mark.parametrize("cell", GATED)
def test_chrono_units_remember_for_2_to_T_steps(cell: str) -> None:
    """Without anything to write, a step leaves u / (1 + u) of the memory, whatever the gates are called."""
    network = chrono(cell)
    memory = torch.ones(H, dtype=torch.float64)
    before = SimpleNamespace(h=memory, c=memory)
    peepholes = SimpleNamespace(**{name: torch.zeros(()) for name in network.cell.peepholes})
    now = network.cell.forward(BiasesAlone(network), before, peepholes)
    kept = now["c" if "c" in network.cell.states else "h"].numpy()
    lasts = 1 / (1 - kept)
    assert is_uniform(lasts - (LENGTH + 2) / 2, (LENGTH - 2) / 2)


@pytest.mark.parametrize("cell", CELLS)
def test_chrono_is_orthogonal_but_for_these_biases(cell: str) -> None:
    own = chrono(cell, hidden=8, gain=1.5).parameters
    other = chrono(cell, hidden=8, gain=1.5, initialization="orthogonal").parameters
    for name, weight in own.items():
        assert torch.equal(weight, other[name]) == (cell not in GATED or name != "rnn.bias_ih_l0")


@pytest.mark.parametrize(("task", "length", "steps"), [("adding", 20, 20), ("copying", 5, 25)])
def test_chrono_looks_at_the_steps_of_a_sequence(task: str, length: int, steps: int) -> None:
    longest = max(np.exp(gate_biases(chrono("gru", task=task, length=length))["z"]))
    assert steps - 2 < longest <= steps - 1


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_chrono_of_a_short_sequence_is_that_of_three_steps(steps: int) -> None:
    b = INITIALIZATIONS["chrono"].memory_bias(np.random.default_rng(0), 4000, steps)
    assert is_uniform(np.exp(b) - 1.5, 0.5)


def test_chrono_is_drawn_anew_for_each_layer_and_direction_and_seed() -> None:
    one, other = (chrono("lstm", hidden=4, layers=2, direction="both", seed=s) for s in (0, 1))
    ends = [f"_l{k}{way}" for k in (0, 1) for way in ("", "_reverse")]
    drawn = [gate_biases(network, end)["f"].tobytes() for network in (one, other) for end in ends]
    assert len(set(drawn)) == 8
    again = chrono("lstm", hidden=4, layers=2, direction="both")
    assert torch.equal(again.flat, one.flat)


def test_a_forget_bias_wins_over_chrono() -> None:
    plain, set_to = gate_biases(chrono("lstm")), gate_biases(chrono("lstm", forget_bias=2.5))
    assert (set_to["f"] == 2.5).all()
    assert np.array_equal(set_to["i"], plain["i"])


@pytest.mark.parametrize("kind", SHAPES)
def test_zero_is_zero(kind: str) -> None:
    assert not draw("zero", kind).any()


def test_importing_needs_no_torch() -> None:
    code = "import sys, rnnviz.initialization; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
