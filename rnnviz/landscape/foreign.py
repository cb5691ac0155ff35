"""The loss of any PyTorch module as a function of its parameters: point by point, or many points at once.

Many at once is torch.func's `vmap` over stacked parameters. It is taken where it works, gives the same
numbers, and is faster; nn.LSTM, nn.GRU and nn.RNN have no form of it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ..tapes import as_before
from .ground import At, Ground, Progress

FIRST, MOST = 4, 256  # points at once: to begin with, and at most
MEMORY = 1 << 27  # bytes that their stacked parameters may take
ALONE = "One point after the other"
FASTER = 0.9  # a larger batch has to take less than this share of the time, a point, to be worth it

DROPPING = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RNNBase
)  # fmt: skip

Loss = Callable[[Any], Any]


@final
class Foreign(Ground):
    """A module with its loss; what it is asked leaves parameters, buffers, `.grad` and random numbers alone.

    model: in train or eval mode, as it is. loss: `loss(model)` calls the model and returns one number, a
    tensor for gradients. What moves are the floating-point parameters that are not frozen, or all of them
    where all are. Every point starts from the same random numbers, so that dropout drops the same everywhere.
    batched: many points at once; None for where that is faster.

    Raises ValueError, one sentence, for what has no parameters to move.
    """

    def __init__(self, model: nn.Module, loss: Loss, batched: bool | None = None) -> None:
        real = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
        moving = {name: p for name, p in real.items() if p.requires_grad} or real
        if not moving:
            raise ValueError(f"model: {type(model).__name__} has no parameters that could be moved.")
        for name, p in moving.items():
            if isinstance(p, nn.parameter.UninitializedParameter):
                raise ValueError(f"model: {name} has no shape yet; run the model once.")
        self.model, self.loss, self.batched, self._moving = model, loss, batched, moving
        self.shapes = {name: tuple(p.shape) for name, p in moving.items()}
        self._sizes = [p.numel() for p in moving.values()]
        self.besides = frozenset(model.state_dict())
        self.theta = torch.cat([p.detach().double().cpu().ravel() for p in moving.values()]).numpy()

    @property
    def dropout(self) -> bool:
        """Whether some of it is on."""
        return any(
            m.training and (m.dropout if isinstance(m, nn.RNNBase) else m.p) > 0
            for m in self.model.modules()
            if isinstance(m, DROPPING)
        )

    @contextmanager
    def visiting(self) -> Iterator[None]:
        """Around calls of `at`: the parameters come back, whatever happens."""
        kept = [p.detach().clone() for p in self._moving.values()]
        try:
            yield
        finally:
            for p, before in zip(self._moving.values(), kept, strict=True):
                p.data.copy_(before)  # not seen by autograd: a graph of the user's stays good

    def at(self, theta: np.ndarray, gradient: bool = False) -> tuple[float, float]:
        """Loss and, if wanted, gradient norm at parameters (P,); to be called within `visiting`."""
        pieces = torch.split(torch.from_numpy(theta), self._sizes)
        with as_before(self.model), torch.inference_mode(False), torch.set_grad_enabled(gradient):
            for p, piece in zip(self._moving.values(), pieces, strict=True):
                p.data.copy_(piece.view(p.shape))
            value = self.loss(self.model)
            number = _number(value)
            return number, self._norm(value) if gradient else math.nan

    def _norm(self, value: Any) -> float:
        parameters = [p for p in self._moving.values() if p.requires_grad]
        if not parameters:
            raise ValueError("gradient: all parameters of the model are frozen (requires_grad=False).")
        if not isinstance(value, Tensor) or not value.requires_grad:
            raise ValueError("loss: its gradient was asked for, but it does not depend on the parameters.")
        grads = torch.autograd.grad(value, parameters, allow_unused=True)
        return math.sqrt(sum(float(g.double().square().sum()) for g in grads if g is not None))

    def together(self, thetas: np.ndarray, gradient: bool = False) -> np.ndarray:
        """(N, 2): loss and gradient norm at N points at once; raises whatever torch.func does."""
        whole = _WithLoss(self.model, self.loss)
        stacked, start = {}, 0
        for (name, p), size in zip(self._moving.items(), self._sizes, strict=True):
            piece = torch.from_numpy(thetas[:, start : start + size])
            stacked[f"model.{name}"] = piece.to(p.device, p.dtype).view(len(thetas), *p.shape)
            start += size
        buffers = {f"model.{name}": b.detach().clone() for name, b in self.model.named_buffers()}

        def one(moved: dict[str, Tensor]) -> Tensor:
            value: Tensor = functional_call(whole, {**moved, **buffers}, ())
            return value.reshape(())

        norms = torch.full((len(thetas),), math.nan)
        with as_before(self.model), torch.inference_mode(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)  # it is measured
            if gradient:
                grads, values = vmap(grad_and_value(one), randomness="same")(stacked)
                norms = sum(g.double().flatten(1).square().sum(1) for g in grads.values()).sqrt()
            else:
                with torch.no_grad():
                    values = vmap(one, randomness="same")(stacked)
        found = torch.stack([values.detach().double().cpu(), norms.detach().double().cpu()], 1)
        return found.numpy()

    def one(self, theta: np.ndarray, gradient: bool) -> np.ndarray:
        """See `Ground`."""
        with self.visiting():
            value, norm = self.at(theta, gradient)
        return np.array([value, math.nan, norm])

    def heights(
        self, at: At, count: int, gradient: bool, progress: Progress | None
    ) -> tuple[np.ndarray, str]:
        """See `Ground`. Raises ValueError where batches were asked for and do not work."""
        rows, done, said = np.full((count, 3), math.nan), 0, f"{ALONE}, as was asked for."
        with self.visiting():
            if self.batched is not False:
                done, said = self._batches(at, rows, gradient, progress)
                if self.batched and done < count:
                    raise ValueError(said.replace(ALONE, "batched: not possible"))
            for k in range(done, count):
                rows[k, [0, 2]] = self.at(at(k), gradient)
                if progress is not None:
                    progress((k + 1) / count)
        return rows, said + (" Dropout is on; it drops the same at every point." if self.dropout else "")

    def _batches(
        self, at: At, rows: np.ndarray, gradient: bool, progress: Progress | None
    ) -> tuple[int, str]:
        """Fill in rows, in batches that grow while that pays; how many are done, and why no more."""
        size, best, done, alone, most = FIRST, math.inf, 0, 0.0, 0
        limit = max(1, min(MOST, MEMORY // (8 * max(1, sum(self._sizes)))))
        while done < len(rows):
            size = min(size, limit, len(rows) - done)
            thetas = np.stack([at(done + k) for k in range(size)])
            started = time.perf_counter()
            try:
                found = self.together(thetas, gradient)
            except Exception as error:  # whatever an operation says that has no batched form
                return 0, f"{ALONE}: torch.func cannot batch this model ({_first(error)})."
            took = (time.perf_counter() - started) / size
            if not done:
                started = time.perf_counter()
                alone_there = self.at(thetas[-1], gradient)
                alone = time.perf_counter() - started
                if not np.allclose(found[-1], alone_there, rtol=1e-3, atol=1e-6, equal_nan=True):
                    return 0, f"{ALONE}: in a batch this model gives other numbers."
            rows[done : done + size, 0], rows[done : done + size, 2] = found.T
            done, most = done + size, max(most, size)
            if progress is not None:
                progress(done / len(rows))
            if took < FASTER * best:
                best, size = took, size * 2
            elif best >= alone and not self.batched:  # twice: the first call may have been slow for once
                return done, f"{ALONE}, which was faster than many at once."
        return done, f"Up to {most} points at once, by torch.func."


class _WithLoss(nn.Module):
    """A model whose output is its loss, so that functional_call reaches what the loss calls."""

    def __init__(self, model: nn.Module, loss: Loss, batched: bool | None = None) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self) -> Any:
        """The loss, with whatever parameters the model has now."""
        return self.loss(self.model)


def _number(value: Any) -> float:
    """A loss as it came."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value.detach())
    if isinstance(value, float | int | np.floating):
        return float(value)
    got = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise ValueError(f"loss: got {got}; loss(model) has to return one number, such as a mean.")


def _first(error: Exception) -> str:
    """The first sentence of an error, or its kind."""
    text = " ".join(str(error).split())
    return (text.partition(". ")[0] or type(error).__name__).rstrip(".")[:160]
