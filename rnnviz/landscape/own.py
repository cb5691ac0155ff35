"""An experiment's network as ground: our kernels, on every core."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, final

import numpy as np
import torch

from ..analysis.heights import BATCHES, Heights
from ..analysis.moment import Moment
from ..analysis.planes import Plane
from ..analysis.scene import plane_of
from ..cells import CELLS
from ..experiment import Experiment
from ..layout import layout_of
from ..network import Network
from ..step import repeatable
from .ground import At, Ground, Progress

PIECES = 16  # of the points, for each thread: after each of them progress is told


def cores() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@final
class Own(Ground):
    """The network of an experiment over one batch.

    step: of the training batch, with its dropout; over: "step", or "held_out" for what is held out.
    threads: None for one on each core where there are compiled kernels, which let Python go on meanwhile.
    """

    def __init__(
        self, experiment: Experiment, step: int = 0, over: str = "step", threads: int | None = None
    ) -> None:
        if over not in BATCHES:
            raise ValueError(f"over: got {over!r}; allowed: {', '.join(BATCHES)}.")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise ValueError(f"step: got {step!r}; a whole number from 0 on is needed.")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads: got {threads!r}; a whole number from 1 on is needed.")
        self.shapes, self.gates = layout_of(experiment).shapes, CELLS[experiment.cell].gates
        self._args = experiment, step, over
        self._idle: SimpleQueue[Heights] = SimpleQueue()  # a network serves one thread at a time
        first = Heights(*self._args)
        self._idle.put(first)
        self._made = 1
        self.theta: np.ndarray = first.network.flat.double().numpy()
        self.kernel = first.network.kernel
        self.threads = threads or (cores() if self.kernel == "compiled" else 1)

    def one(self, theta: np.ndarray, gradient: bool) -> np.ndarray:
        """See `Ground`."""
        row: np.ndarray = self._several([theta], gradient)[0]
        return row

    def heights(
        self, at: At, count: int, gradient: bool, progress: Progress | None
    ) -> tuple[np.ndarray, str]:
        """See `Ground`."""
        threads = min(self.threads, count)
        while self._made < threads:
            self._idle.put(Heights(*self._args))
            self._made += 1
        rows, done = np.full((count, 3), np.nan), 0

        def work(piece: np.ndarray) -> int:
            rows[piece] = self._several((at(int(k)) for k in piece), gradient)
            return len(piece)

        pool = ThreadPoolExecutor(threads)
        try:
            with repeatable():  # around them all: what it sets is the process's
                pieces = np.array_split(np.arange(count), min(count, PIECES * threads))
                for future in [pool.submit(work, piece) for piece in pieces]:
                    done += future.result()
                    if progress is not None:
                        progress(done / count)
        finally:
            pool.shutdown(cancel_futures=True)
        kernels = "Compiled kernels" if self.kernel == "compiled" else "Operations of torch"
        return rows, f"{kernels} on {threads} {'core' if threads == 1 else 'cores'}."

    def curvature(self) -> Plane:
        """See `Ground`; on the training batch of the step."""
        experiment, step, _ = self._args
        flat = torch.from_numpy(self.theta.astype(experiment.precision))
        return plane_of(
            {"kind": "curvature"}, Moment(experiment, step, Network(experiment, flat, self.kernel))
        )

    def _several(self, thetas: Any, gradient: bool) -> np.ndarray:
        heights = self._idle.get()
        try:
            rows: np.ndarray = heights.many(thetas, gradient)
            return rows
        finally:
            self._idle.put(heights)
