"""What runs inside a worker process: one slice of a run, or one slice of a job.

Importing this module is what a worker does before its first task (`dask_setup`), so that no slice waits for
torch, and what lowers its priority, so that the web server stays responsive.
"""

from __future__ import annotations

import json
import math
import os
import time
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..experiment import Experiment
from ..kernels import KERNELS, default_kernel, processor
from ..recording import Chunk, concatenate
from ..training import State, advance, begin
from . import chunk as chunks
from .state import from_bytes, parameters_to_bytes, to_bytes, update_to_bytes
from .store import LONGEST_REST, ChunkRow, FencedError, Orders, Run, Store, due_at

SLICE_SECONDS = 1.0
CHUNK_SECONDS = 0.075  # a chunk ends with a whole step, which makes about ten a second
ORDERS_SECONDS = 0.05  # how often the owner's wishes are read
PACED_SECONDS = 0.1  # a paced run makes its steps one by one, above ten a second a few at a time
LATEST = 1.0  # seconds that a paced run may be behind its time; what is more is not made up for
NICENESS = 10
MAX_RUN_BYTES = 1_000_000_000
OTHER_KERNEL = (
    "The run was stopped at step {step}: it was begun with {begun}, and {now} may give other numbers."
)
FULL = "The run has recorded a gigabyte, the most that one run keeps; it was stopped at step {step}."
CHECKPOINTS_PER_DOUBLING = 4


def dask_setup(worker: Any) -> None:
    """Called by Dask in each new worker process."""
    os.nice(NICENESS)
    torch.set_num_threads(1)
    # The first pass through torch's kernels is slow, and so is reading the digits; nobody should wait for it.
    state = begin(Experiment(task="digits_rows", hidden=2, batch=2, steps=2))
    advance(state)


@lru_cache(maxsize=4)
def open_store(url: str) -> Store:
    """This process's own connection to the store."""
    return Store(url)


def kernel(name: str) -> str:
    """What computes a run, one of `stack.KERNELS`, written down when the run starts."""
    return json.dumps(
        {
            "kernel": name, "processor": processor(name), "threads": 1, "rnnviz": __version__,
            "torch": torch.__version__, "numpy": np.__version__,
        }
    )  # fmt: skip


def other_kernel(begun: str | None, step: int) -> str | None:
    """Why a run that this kernel began cannot go on here to the same bytes, as a sentence; None if it can."""
    before = json.loads(begun or "{}")
    now = json.loads(kernel(before["kernel"] if before.get("kernel") in KERNELS else default_kernel()))
    for name, words in (("kernel", "the kernel {}"), ("torch", "torch {}"), ("processor", "a processor {}")):
        if before.get(name, now[name]) != now[name]:
            was, is_ = words.format(before[name]), words.format(now[name])
            return OTHER_KERNEL.format(begun=was, now=is_, step=step)
    return None


def steps_at_once(pace: float) -> int:
    """How many steps a run of this pace makes when it is its time: about ten slices a second at most."""
    return max(1, math.ceil(pace * PACED_SECONDS - 1e-9))


def checkpoint_due(step: int) -> bool:
    """Log-spaced steps: 0, 1, 2, 3, 4, then four in every doubling."""
    return step == 0 or step % _checkpoint_spacing(step) == 0


def steps_to_checkpoint(step: int) -> int:
    """Steps from `step` to the next checkpoint after it."""
    spacing = _checkpoint_spacing(step)
    return spacing - step % spacing


def _checkpoint_spacing(step: int) -> int:
    """Steps between checkpoints in the doubling that `step` lies in."""
    return max(1, (1 << max(0, step.bit_length() - 1)) // CHECKPOINTS_PER_DOUBLING)


def advance_slice(url: str, run: str, epoch: int, seconds: float = SLICE_SECONDS) -> str:
    """Advance a run for about `seconds` or to an order of its owner; returns why it stopped.

    Raises FencedError, having written nothing more, when a newer slice was handed out meanwhile.
    """
    store = open_store(url)
    row = store.run(run, discarded=True)  # which has been told to stop and is to do so in good order
    if row is None:
        return "gone"
    blob = store.state(run)
    differs = None if blob is None else other_kernel(row.kernel, row.step)
    if differs is not None:
        store.move(run, "stopped", differs, epoch)
        return "kernel"
    state = begin(row.experiment) if blob is None else from_bytes(blob, row.experiment)
    shown = store.resume(run, epoch, state.step)
    return _Slice(store, row, epoch, state, shown).work(time.monotonic() + seconds)


class _Slice:
    """One slice at work: what it has computed and not yet written."""

    def __init__(self, store: Store, row: Run, epoch: int, state: State, shown: int) -> None:
        self.store, self.run, self.epoch, self.state = store, row.id, epoch, state
        self.shown = shown  # up to this step a lost slice is repeated, exactly as it was
        self.began, self.began_at = time.monotonic(), state.step
        self.bytes = row.bytes  # recorded so far, a little more after a replay
        self.pending: list[Chunk] = []
        self.applied: dict[int, int] = {}
        self.checkpoints: dict[int, bytes] = {}
        self.updates: dict[int, bytes] = {}
        self.pace, self.due = row.pace, row.due

    def work(self, deadline: float) -> str:
        written = time.monotonic()
        while True:
            orders = self.store.orders(self.run, self.epoch)
            for control, field, value in orders.changes:
                if control not in self.applied and self.state.step >= self.shown:
                    self.state.change(field, value)
                    self.applied[control] = self.state.step
            if orders.command != "go":
                self.write(end=True, move_to={"stop": "stopped", "pause": "paused"}[orders.command])
                return orders.command
            if orders.pause_at is not None and self.state.step >= orders.pause_at:
                self.write(end=True, move_to="paused", paused_at=orders.pause_at)
                return "pause"
            allowed = self.allowed(orders)
            if allowed == 0:
                self.write(end=True)
                return "pace"
            self.compute(min(time.monotonic() + ORDERS_SECONDS, written + CHUNK_SECONDS), allowed)
            now = time.monotonic()
            if self.state.diverged_at is not None:
                self.write(end=True, move_to="diverged", message=self.state.divergence)
                return "diverged"
            if self.state.done:
                self.write(end=True, move_to="finished")
                return "finished"
            if self.bytes > MAX_RUN_BYTES:
                self.write(end=True, move_to="stopped", message=FULL.format(step=self.state.step))
                return "full"
            if now >= deadline:
                self.write(end=True)
                return "time"
            if now - written >= CHUNK_SECONDS:
                self.write()
                written = now

    def allowed(self, orders: Orders) -> float:
        """How many steps may be made before the next look: infinite, up to a pause, or those that are due.

        What a lost slice had shown already is repeated at full speed, and the pace holds after it.
        """
        if orders.pace != self.pace:
            # This slice knows better than the store when the next step was due, if it kept a pace so far.
            known = self.pace is not None
            self.due = due_at(orders.pace, self.pace, self.due, time.time()) if known else orders.due
            self.pace = orders.pace
        step, steps = self.state.step, math.inf
        if orders.pause_at is not None:
            steps = orders.pause_at - step
        if step < self.shown:
            return min(steps, self.shown - step)
        if self.pace is None:
            return steps
        too_early = 0 < self.due - time.time() <= LONGEST_REST
        return 0 if too_early else min(steps, steps_at_once(self.pace))

    def compute(self, until: float, allowed: float = math.inf) -> None:
        """Advance to the next look at the owner's orders, at least a step, keeping checkpoints on the way."""
        state, begin, began = self.state, self.state.step, time.time()
        if state.validated < 0:
            self.checkpoints[0] = parameters_to_bytes(state)
        while not state.done:
            left = max(0.0, until - time.monotonic())
            steps = min(steps_to_checkpoint(state.step), begin + allowed - state.step)
            state.compare_at = state.step if checkpoint_due(state.step) else -1
            self.pending.append(advance(state, left, int(steps)))
            if state.compared is not None:
                self.updates[state.compared.step] = update_to_bytes(state.compared)
                state.compared = None
            if checkpoint_due(state.step) or state.done:
                self.checkpoints[state.step] = parameters_to_bytes(state)
            if time.monotonic() >= until or state.step >= begin + allowed:
                break
        if self.pace is not None and begin >= self.shown:
            since = self.due if abs(began - self.due) <= LATEST else began
            self.due = since + (state.step - begin) / self.pace

    def write(
        self, end: bool = False, move_to: str | None = None, message: str | None = None,
        paused_at: int | None = None,
    ) -> None:  # fmt: skip
        """Everything pending in one transaction; at the end with the state to go on from."""
        state = self.state
        elapsed = time.monotonic() - self.began
        values: dict[str, Any] = {
            "experiment": state.experiment.to_json(), "step": state.step, "clipped": state.clipped,
            "train_loss": _finite(state.train_loss), "validation_loss": _finite(state.validation_loss),
            "validation_accuracy": _finite(state.validation_accuracy), "solved_at": state.solved_at,
        }  # fmt: skip
        if state.step > self.began_at and elapsed > 0:
            rate = (state.step - self.began_at) / elapsed
            values["rate"] = rate if self.pace is None else min(rate, self.pace)
        if self.began_at == 0:
            values["kernel"] = kernel(state.network.kernel)
        row = self.row()
        self.store.append(
            self.run, self.epoch, row, values, self.applied, self.checkpoints,
            to_bytes(state) if end else None, move_to, message, paused_at=paused_at,
            paced=None if self.pace is None or not end else (self.pace, self.due), updates=self.updates,
        )  # fmt: skip
        self.bytes += len(row.record) + len(row.screen)
        self.pending, self.checkpoints, self.updates, self.applied = [], {}, {}, {}

    def row(self) -> ChunkRow:
        recorded = [c for c in self.pending if len(c) or len(c.validation_step)]
        if not recorded:
            return ChunkRow(self.state.step, self.state.step, self.state.step, b"", b"")
        chunk = concatenate(recorded)
        seen = chunk.step if len(chunk) else chunk.validation_step  # solved before the first step
        return ChunkRow(
            int(seen[0]),
            int(seen[-1]),
            chunk.next_step,
            chunks.encode(chunk),
            chunks.screen(chunk),
        )


def _finite(value: float | None) -> float | None:
    """Columns hold numbers for lists and sorting; what is not finite stands in the chunks."""
    return value if value is not None and np.isfinite(value) else None


__all__ = ["FencedError", "advance_slice", "dask_setup"]
