"""Ways to draw a network's first weights, block by block.

A cell's weights come in blocks, one set per gate: (H, I) input, (H, H) recurrent, biases (H,) and perhaps
peephole vectors (H,). The output layer is (O, H) with a bias (O,). Each scheme draws one block at a time.
A scheme may beside that set the biases of the gates that decide how long a cell remembers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = tuple[int, ...]
Draw = Callable[[Generator, str, Shape, int, float], Floats]
MemoryBias = Callable[[Generator, int, int], Floats]

# The kinds of blocks.
SHAPES: dict[str, str] = {
    "input": "(H, I)",
    "recurrent": "(H, H)",
    "bias": "(H,)",
    "peephole": "(H,)",
    "output": "(O, H)",
    "output_bias": "(O,)",
}
MATRICES = ("input", "recurrent", "output")

# The spread of the small weights beside the identity, as in ports of Le, Jaitly & Hinton (2015).
SMALL = 0.001

# Pascanu, Mikolov & Bengio (2013): the standard deviation of the weights around the sparse recurrent block,
# and the block's entries in each row that are not 0.
PASCANU_STD = 0.01
NONZEROS = 15

# The shortest sequence whose chrono biases are spread out: U[1, T - 1] needs T > 2.
SHORTEST_CHRONO = 3


@dataclass(frozen=True)
class Initialization:
    """One scheme, with the words that explain it."""

    name: str
    label: str
    summary: str
    source: str
    uses_gain: bool
    draw: Draw
    #: Draws b, (H,), from (rng, H, time steps of a sequence): the bias of a gate whose value 1 keeps the
    #: memory; that of one whose value 1 writes it is -b (`Cell.memory_gates`). One b for all gates of a layer
    #: in one direction. None: these biases are drawn like all others.
    memory_bias: MemoryBias | None = None

    def block(self, rng: Generator, kind: str, shape: Shape, hidden: int, gain: float = 1.0) -> Floats:
        """One block of first weights.

        kind: which block; shape: (H, I), (H, H) or (O, H) for a matrix, (H,) or (O,) for a vector; hidden: H;
        gain: scale of the recurrent block, ignored unless `uses_gain`.
        """
        if kind not in SHAPES:
            raise ValueError(f"a block is one of {', '.join(SHAPES)}; got {kind!r}")
        if len(shape) != (2 if kind in MATRICES else 1) or (kind == "recurrent" and shape[0] != shape[1]):
            raise ValueError(f"a block of kind {kind!r} has the shape {SHAPES[kind]}; got {shape}")
        return self.draw(rng, kind, shape, hidden, gain)


def _pytorch(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    bound = 1 / np.sqrt(hidden)
    return rng.uniform(-bound, bound, shape)


def _glorot(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    if kind not in MATRICES:
        return np.zeros(shape)
    bound = np.sqrt(6 / sum(shape))  # variance 2 / (fan-in + fan-out)
    return rng.uniform(-bound, bound, shape)


def _gaussian(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    if kind not in MATRICES:
        return np.zeros(shape)
    scale = gain if kind == "recurrent" else 1.0
    return rng.normal(0.0, scale / np.sqrt(shape[1]), shape)


def _orthogonal(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    if kind != "recurrent":
        return _glorot(rng, kind, shape, hidden, gain)
    q, r = np.linalg.qr(rng.standard_normal(shape))
    # QR alone prefers some rotations; fixing the signs makes all of them equally likely (Mezzadri 2007).
    return gain * q * np.sign(np.diag(r))


def _scaled_identity(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    if kind == "recurrent":
        return gain * np.eye(hidden)
    if kind in ("bias", "output_bias"):
        return np.zeros(shape)
    return rng.normal(0.0, SMALL, shape)


def _identity(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    return _scaled_identity(rng, kind, shape, hidden, 1.0)


def _with_radius(block: Floats, radius: float) -> Floats:
    """The block times a number that makes `radius` the size of its largest eigenvalue.

    A block that has no eigenvalue but 0 cannot be scaled to that, and stays as it is.
    """
    # Rounded: LAPACK's last digits depend on how many threads share the work, and first weights must not.
    own = float(f"{np.abs(np.linalg.eigvals(block)).max():.12g}")
    return block * (radius / own) if own > 0 else block


def _spectral(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    block = _gaussian(rng, kind, shape, hidden, 1.0)
    return _with_radius(block, gain) if kind == "recurrent" else block


def _sparse(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    if kind not in MATRICES:
        return np.zeros(shape)
    if kind != "recurrent":
        return rng.normal(0.0, PASCANU_STD, shape)
    block = np.zeros(shape)
    places = rng.random(shape).argsort(axis=1)[:, :NONZEROS]  # in each row some, all equally likely
    np.put_along_axis(block, places, rng.standard_normal(places.shape), axis=1)
    return _with_radius(block, gain)


def _kaiming(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    if kind not in MATRICES:
        return np.zeros(shape)
    bound = np.sqrt(6 / shape[1])  # gain sqrt(2): variance 2 / fan-in
    return rng.uniform(-bound, bound, shape)


def _chrono_bias(rng: Generator, hidden: int, steps: int) -> Floats:
    """b = log(u), u ~ U[1, T - 1].

    A gate that keeps sigmoid(b) = u / (1 + u) of its memory loses 1 / (1 + u) of it at each step, so it
    remembers for about 1 + u steps: from 2 to T.
    """
    T = max(steps, SHORTEST_CHRONO)
    return np.log(rng.uniform(1.0, T - 1.0, hidden))


def _zero(rng: Generator, kind: str, shape: Shape, hidden: int, gain: float) -> Floats:
    return np.zeros(shape)


PASCANU = "Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks"
IRNN = "Le, Jaitly & Hinton (2015), A Simple Way to Initialize Recurrent Networks of Rectified Linear Units"

INITIALIZATIONS: dict[str, Initialization] = {
    "pytorch": Initialization(
        name="pytorch",
        label="PyTorch default",
        summary="Every weight and bias is uniform between -1/sqrt(H) and 1/sqrt(H), for H units.",
        source="PyTorch documentation: nn.RNN, nn.LSTM, nn.GRU, nn.Linear",
        uses_gain=False,
        draw=_pytorch,
    ),
    "glorot": Initialization(
        name="glorot",
        label="Glorot uniform",
        summary=(
            "Uniform weights whose variance is 2 / (rows + columns) of each block: a compromise between "
            "keeping the size of the signals and that of the gradients through one layer. Biases are 0."
        ),
        source="Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward networks",
        uses_gain=False,
        draw=_glorot,
    ),
    "gaussian": Initialization(
        name="gaussian",
        label="Gaussian with a gain",
        summary=(
            "Normal weights; the recurrent ones have the standard deviation gain/sqrt(H), which puts the "
            "largest eigenvalue near the gain when H is large. Without input, a tanh network falls silent "
            "below a gain of 1 and turns chaotic above. Biases are 0."
        ),
        source="Sompolinsky, Crisanti & Sommers (1988), Chaos in random neural networks",
        uses_gain=True,
        draw=_gaussian,
    ),
    "orthogonal": Initialization(
        name="orthogonal",
        label="Orthogonal",
        summary=(
            "The recurrent weights turn or mirror the state and multiply its length by exactly the gain: at "
            "a gain of 1, nothing fades or grows before the activation function. The rest is Glorot uniform, "
            "biases are 0."
        ),
        source="Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of learning",
        uses_gain=True,
        draw=_orthogonal,
    ),
    "spectral": Initialization(
        name="spectral",
        label="Spectral radius",
        summary=(
            "Normal weights; the recurrent ones are scaled so that their largest eigenvalue (the spectral "
            "radius) is exactly the gain, also when H is small. Below 1 a linear network forgets in the end, "
            "above 1 it explodes; on the way it may still grow or shrink. Biases are 0."
        ),
        source="Jaeger (2001), The echo state approach to analysing and training recurrent neural networks",
        uses_gain=True,
        draw=_spectral,
    ),
    "sparse": Initialization(
        name="sparse",
        label="Sparse (Pascanu's smart tanh)",
        summary=(
            "Each unit listens to 15 units, with normal weights that are scaled so that the largest "
            "eigenvalue (the spectral radius) is exactly the gain; the paper takes 0.95. With 15 units or "
            "fewer, each listens to all. Input and output weights have a standard deviation of 0.01, biases "
            "are 0."
        ),
        source=f"{PASCANU}: smart tanh",
        uses_gain=True,
        draw=_sparse,
    ),
    "kaiming": Initialization(
        name="kaiming",
        label="Kaiming uniform (He)",
        summary=(
            "Uniform weights whose variance is 2 / columns of each block. Meant for ReLU, which silences "
            "half of the units: signals about keep their size. As recurrent weights they have a spectral "
            "radius of about 1.4: in a tanh network small states grow until tanh holds them, in a linear one "
            "without end. Biases are 0."
        ),
        source="He, Zhang, Ren & Sun (2015), Delving deep into rectifiers; torch.nn.init.kaiming_uniform_",
        uses_gain=False,
        draw=_kaiming,
    ),
    "chrono": Initialization(
        name="chrono",
        label="Chrono",
        summary=(
            "The gates start with memories of all lengths, from 2 steps to the whole sequence of T steps: "
            "the bias of a gate that keeps is the logarithm of a number between 1 and T - 1, the bias of one "
            "that writes is minus that. The weights are those of Orthogonal, so that a comparison with it "
            "shows what the biases do. In a cell without such gates it is the same as Orthogonal."
        ),
        source="Tallec & Ollivier (2018), Can recurrent neural networks warp time?",
        uses_gain=True,
        draw=_orthogonal,
        memory_bias=_chrono_bias,
    ),
    "identity": Initialization(
        name="identity",
        label="Identity (IRNN)",
        summary=(
            "The recurrent weights copy the state: each unit starts by remembering itself. Meant for ReLU "
            "units. All other weights have a standard deviation of 0.001, biases are 0."
        ),
        source=IRNN,
        uses_gain=False,
        draw=_identity,
    ),
    "scaled_identity": Initialization(
        name="scaled_identity",
        label="Scaled identity",
        summary=(
            "The identity times the gain: below 1 each unit forgets its past by that factor at every step, "
            "above 1 it amplifies it. All other weights have a standard deviation of 0.001, biases are 0."
        ),
        source=f"After {IRNN}",
        uses_gain=True,
        draw=_scaled_identity,
    ),
    "zero": Initialization(
        name="zero",
        label="All zero",
        summary=(
            "Every weight and bias is 0. All units compute the same and receive the same gradient: nothing "
            "breaks the symmetry between them. Where the state also stays 0, only the output bias can learn."
        ),
        source="The textbook example of what not to do",
        uses_gain=False,
        draw=_zero,
    ),
}
