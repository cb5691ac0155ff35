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
from .tasks import TASKS

#: Parts of the parameters whose gradients are measured apart, in the order of the columns.
GROUPS = ("recurrent", "input", "output")


@dataclass(frozen=True)
class Chunk:
    """The record of n consecutive steps and of the m looks at the validation set among them.

    Of each step:
    step: (n,) updates made before; loss: (n,) of the training batch; norm_before, norm_after: (n,) the clip
    rule's measure of the gradient in its scope; threshold: (n,) the limit in force, NaN without one;
    learning_rate: (n,);
    grad_norms: (n, 3) Euclidean norm of the gradient of each of GROUPS before clipping, but for a rule that
    acts inside the backward pass, whose work is done by then;
    full_norm, full_cosine: (n,) with truncated backpropagation, or a clip rule inside the backward pass, the
    norm of the gradient without that, and its cosine with the gradient that was used, before any other
    clipping; otherwise NaN;
    omega: (n,) with Pascanu's regulariser its value without its weight, see `regularizer.omega`; otherwise
    NaN;
    update_norm: (n,) of the change of all parameters by the step's update, NaN where none was made;
    weight_norm: (n,) of all parameters before it;
    grad_hidden: (n, L, D, T) Euclidean norm of dL/dh_t of one sequence's loss, averaged over the batch, for
    each layer and direction; grad_cell_state: the same for c_t, (n, L, D, 0) for cells without a memory; with
    an encoder and a decoder the decoder's steps follow the encoder's.

    Of each look:
    validation_step, validation_loss, validation_accuracy: (m,), accuracy NaN where the task has none;
    saturated, dead: (m,) shares of gate values and of units, see `analysis.activity`;
    spectrum: (m, L, D, K, 2) spectral radius and largest singular value of each gate's block of weight_hh
    and, last, of the step Jacobian, see `analysis.spectrum`; with a decoder, those of the encoder;
    prediction: (m, P) outputs for the first validation sequence, (O,) or (A, O) in one row.
    """

    step: np.ndarray
    loss: np.ndarray
    norm_before: np.ndarray
    norm_after: np.ndarray
    threshold: np.ndarray
    learning_rate: np.ndarray
    grad_norms: np.ndarray
    full_norm: np.ndarray
    full_cosine: np.ndarray
    omega: np.ndarray
    update_norm: np.ndarray
    weight_norm: np.ndarray
    grad_hidden: np.ndarray
    grad_cell_state: np.ndarray
    validation_step: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray
    saturated: np.ndarray
    dead: np.ndarray
    spectrum: np.ndarray
    prediction: np.ndarray
    next_step: int  # the run's step after this chunk
    clipped: int  # clipped steps of the run up to here

    def __len__(self) -> int:
        return len(self.step)

    def arrays(self) -> dict[str, np.ndarray]:
        """The array fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("next_step", "clipped")}


class Recorder:
    """Collects steps and looks at the validation set into one chunk."""

    def __init__(self, experiment: Experiment) -> None:
        cell, task = CELLS[experiment.cell], TASKS[experiment.task]
        self._dtype = np.dtype(experiment.precision)  # gradients are kept in the precision they were made in
        T, layers = experiment.steps_per_sequence(), (experiment.layers, experiment.directions)
        self._hidden = (*layers, T)
        self._cell = (*layers, T if "c" in cell.states else 0)
        self._spectrum = (*layers, len(cell.gates) + 1, 2)
        self._outputs = task.output_size * task.answered(experiment.length)
        self._steps: list[tuple[float, ...]] = []
        self._updates: dict[int, float] = {}  # by the row of the step
        self._grad_norms: list[Sequence[float]] = []
        self._grad_hidden: list[np.ndarray] = []
        self._grad_cell: list[np.ndarray] = []
        self._looks: list[tuple[float, ...]] = []
        self._spectra: list[np.ndarray] = []
        self._predictions: list[np.ndarray] = []

    def step(
        self, *, step: int, loss: float, norm_before: float, norm_after: float, threshold: float,
        learning_rate: float, weight_norm: float, grad_norms: Sequence[float], full_norm: float,
        full_cosine: float, omega: float, grad_hidden: np.ndarray, grad_cell_state: np.ndarray | None,
    ) -> None:  # fmt: skip
        """Record one training step; grad_norms is (3,), grad_hidden and grad_cell_state are (L, D, T)."""
        self._steps.append(
            (
                step,
                loss,
                norm_before,
                norm_after,
                threshold,
                learning_rate,
                weight_norm,
                full_norm,
                full_cosine,
                omega,
            )
        )
        self._grad_norms.append(grad_norms)
        self._grad_hidden.append(grad_hidden)
        if grad_cell_state is not None:
            self._grad_cell.append(grad_cell_state)

    def update(self, norm: float) -> None:
        """Record the size of the update that the last recorded step led to."""
        self._updates[len(self._steps) - 1] = norm

    def look(
        self, *, step: int, loss: float, accuracy: float | None, saturated: float, dead: float,
        spectrum: np.ndarray, prediction: np.ndarray,
    ) -> None:  # fmt: skip
        """Record one look at the validation set; spectrum is (L, D, K, 2), prediction (P,)."""
        self._looks.append((step, loss, float("nan") if accuracy is None else accuracy, saturated, dead))
        self._spectra.append(spectrum)
        self._predictions.append(prediction)

    def chunk(self, next_step: int, clipped: int) -> Chunk:
        """Everything recorded, as arrays."""
        steps = np.array(self._steps, dtype=np.float64).reshape(-1, 10).T
        step, loss, norm_before, norm_after, threshold, learning_rate, weight_norm, *rest = steps
        looks = np.array(self._looks, dtype=np.float64).reshape(-1, 5).T
        seen, validation_loss, validation_accuracy, saturated, dead = looks
        n, m = len(self._steps), len(self._looks)
        with np.errstate(over="ignore"):  # a norm past float32's range is recorded as infinite
            return Chunk(
                step=step.astype(np.int64), loss=loss, norm_before=norm_before, norm_after=norm_after,
                threshold=threshold, learning_rate=learning_rate,
                grad_norms=np.array(self._grad_norms, dtype=np.float64).reshape(n, len(GROUPS)),
                full_norm=rest[0], full_cosine=rest[1], omega=rest[2],
                update_norm=np.array([self._updates.get(row, np.nan) for row in range(n)]),
                weight_norm=weight_norm,
                grad_hidden=_rows(self._grad_hidden, n, self._hidden, self._dtype),
                grad_cell_state=_rows(self._grad_cell, n, self._cell, self._dtype),
                validation_step=seen.astype(np.int64), validation_loss=validation_loss,
                validation_accuracy=validation_accuracy, saturated=saturated, dead=dead,
                spectrum=np.array(self._spectra, dtype=np.float64).reshape(m, *self._spectrum),
                prediction=_rows(self._predictions, m, (self._outputs,), self._dtype),
                next_step=next_step, clipped=clipped,
            )  # fmt: skip


def _rows(rows: list[np.ndarray], n: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(n, *shape).astype(dtype)


def concatenate(chunks: Sequence[Chunk]) -> Chunk:
    """Consecutive chunks as one."""
    if not chunks:
        raise ValueError("concatenate: got no chunks; at least one is needed.")
    names = chunks[0].arrays()
    joined = {name: np.concatenate([getattr(c, name) for c in chunks]) for name in names}
    return Chunk(**joined, next_step=chunks[-1].next_step, clipped=chunks[-1].clipped)
