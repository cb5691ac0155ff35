"""What a run records: plain arrays for a stretch of steps.

A chunk is exact: every step's metrics and the norm of dL/dh_t at every time step. How chunks are stored and
sent is no concern of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from .cells import CELLS
from .experiment import Experiment


@dataclass(frozen=True)
class Chunk:
    """The record of n consecutive steps and of the m validations among them.

    step: (n,) updates made before; loss: (n,) of the training batch; norm_before, norm_after: (n,) the clip
    rule's measure of the gradient in its scope; threshold: (n,) NaN without clipping; learning_rate: (n,);
    grad_hidden: (n, T) Euclidean norm of dL/dh_t of one sequence's loss, averaged over the batch;
    grad_cell_state: the same for c_t, (n, 0) for cells without a memory;
    validation_step, validation_loss, validation_accuracy: (m,), accuracy NaN where the task has none.
    """

    step: np.ndarray
    loss: np.ndarray
    norm_before: np.ndarray
    norm_after: np.ndarray
    threshold: np.ndarray
    learning_rate: np.ndarray
    grad_hidden: np.ndarray
    grad_cell_state: np.ndarray
    validation_step: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray
    next_step: int  # the run's step after this chunk
    clipped: int  # clipped steps of the run up to here

    def __len__(self) -> int:
        return len(self.step)

    def arrays(self) -> dict[str, np.ndarray]:
        """The array fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("next_step", "clipped")}


class Recorder:
    """Collects steps and validations into one chunk."""

    def __init__(self, experiment: Experiment) -> None:
        self._dtype = np.dtype(experiment.precision)  # gradients are kept in the precision they were made in
        self._T = experiment.steps_per_sequence()
        self._T_cell = self._T if "c" in CELLS[experiment.cell].states else 0
        self._steps: list[tuple[float, ...]] = []
        self._grad_hidden: list[np.ndarray] = []
        self._grad_cell: list[np.ndarray] = []
        self._validations: list[tuple[float, float, float]] = []

    def step(
        self, *, step: int, loss: float, norm_before: float, norm_after: float, threshold: float,
        learning_rate: float, grad_hidden: np.ndarray, grad_cell_state: np.ndarray | None,
    ) -> None:  # fmt: skip
        """Record one training step; grad_hidden and grad_cell_state are (T,)."""
        self._steps.append((step, loss, norm_before, norm_after, threshold, learning_rate))
        self._grad_hidden.append(grad_hidden)
        if grad_cell_state is not None:
            self._grad_cell.append(grad_cell_state)

    def validation(self, step: int, loss: float, accuracy: float | None) -> None:
        """Record one look at the validation set."""
        self._validations.append((step, loss, float("nan") if accuracy is None else accuracy))

    def chunk(self, next_step: int, clipped: int) -> Chunk:
        """Everything recorded, as arrays."""
        table = np.array(self._steps, dtype=np.float64).reshape(-1, 6).T
        seen = np.array(self._validations, dtype=np.float64).reshape(-1, 3).T
        step, loss, norm_before, norm_after, threshold, learning_rate = table
        n = len(self._steps)
        with np.errstate(over="ignore"):  # a norm past float32's range is recorded as infinite
            return Chunk(
                step=step.astype(np.int64), loss=loss, norm_before=norm_before, norm_after=norm_after,
                threshold=threshold, learning_rate=learning_rate,
                grad_hidden=_rows(self._grad_hidden, n, self._T, self._dtype),
                grad_cell_state=_rows(self._grad_cell, n, self._T_cell, self._dtype),
                validation_step=seen[0].astype(np.int64), validation_loss=seen[1],
                validation_accuracy=seen[2], next_step=next_step, clipped=clipped,
            )  # fmt: skip


def _rows(rows: list[np.ndarray], n: int, width: int, dtype: np.dtype) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(n, width).astype(dtype)


def concatenate(chunks: Sequence[Chunk]) -> Chunk:
    """Consecutive chunks as one."""
    if not chunks:
        raise ValueError("concatenate: got no chunks; at least one is needed.")
    names = chunks[0].arrays()
    joined = {name: np.concatenate([getattr(c, name) for c in chunks]) for name in names}
    return Chunk(**joined, next_step=chunks[-1].next_step, clipped=chunks[-1].clipped)
