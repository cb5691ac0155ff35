"""Every initialization keeps the contract, and draws what its source says."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.initialization import INITIALIZATIONS, SHAPES, SMALL

ALL = pytest.mark.parametrize("name", INITIALIZATIONS)
IDENTITIES = ("identity", "scaled_identity")
KNOWN = ("pytorch", "glorot", "gaussian", "orthogonal", *IDENTITIES, "zero")
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


def draw(name: str, kind: str, gain: float = 1.0, seed: int = 0) -> np.ndarray:
    return INITIALIZATIONS[name].block(np.random.default_rng(seed), kind, shape_of(kind), H, gain)


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
        first, second = (INITIALIZATIONS[name].block(rng, kind, shape_of(kind), H) for _ in range(2))
        constant = name == "zero" or (kind == "recurrent" and name in IDENTITIES)
        assert np.array_equal(first, second) is constant
        assert np.array_equal(draw(name, kind, seed=1), draw(name, kind, seed=2)) is constant


@ALL
def test_gain_scales_the_recurrent_block_alone_and_only_where_it_says_so(name: str) -> None:
    for kind in SHAPES:
        once, twice = draw(name, kind, gain=1.0), draw(name, kind, gain=2.0)
        scaled = INITIALIZATIONS[name].uses_gain and kind == "recurrent"
        np.testing.assert_allclose(twice, once * (2 if scaled else 1), rtol=1e-12)


@pytest.mark.parametrize("name", KNOWN)
def test_which_use_the_gain(name: str) -> None:
    assert INITIALIZATIONS[name].uses_gain == (name in ("gaussian", "orthogonal", "scaled_identity"))


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
def test_orthogonal_keeps_lengths_up_to_the_gain(gain: float) -> None:
    block = draw("orthogonal", "recurrent", gain)
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


@pytest.mark.parametrize("kind", SHAPES)
def test_zero_is_zero(kind: str) -> None:
    assert not draw("zero", kind).any()


def test_importing_needs_no_torch() -> None:
    code = "import sys, rnnviz.initialization; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
