"""What the live component needs to know of a run besides its curves, as JSON."""

from __future__ import annotations

import math
from typing import Any

from ..cells import CELLS
from ..clipping import CLIPPINGS, SCOPES
from ..experiment import Experiment
from ..runs.chunk import row_steps
from ..runs.store import Run
from ..tasks import TASKS
from .text import _

LOSS_LABELS = {"mse": "mean squared error", "cross_entropy": "cross-entropy (nats)"}


def title(experiment: Experiment) -> str:
    """A run in a few words."""
    cell, task = CELLS[experiment.cell], TASKS[experiment.task]
    return _("{cell}, {hidden} units · {task}, T = {T}").format(
        cell=cell.label, hidden=experiment.hidden, task=task.label, T=experiment.steps_per_sequence()
    )


def run_summary(run: Run, queue_position: int | None) -> dict[str, Any]:
    """The run event of the stream. Numbers that are not finite never stand here; they travel in chunks."""
    experiment = run.experiment
    task, T = TASKS[experiment.task], experiment.steps_per_sequence()
    now = experiment.at(run.step)
    on_loss = task.solved.metric == "loss"
    made = run.step + (run.state == "diverged")  # the step that went wrong is recorded as well
    return {
        "id": run.id,
        "state": run.state,
        "message": run.message,
        "step": run.step,
        "steps": run.steps,
        "title": title(experiment),
        "color": CELLS[experiment.cell].color,
        "sequence_steps": T,
        "row_steps": row_steps(T),
        "precision": experiment.precision,
        "loss": {
            "label": _(LOSS_LABELS[task.loss]),
            "baseline": task.baseline(experiment.length),
            "baseline_label": _(task.baseline_label),
            "solved": task.solved.threshold if on_loss else None,
            "solved_label": _(task.solved.sentence) if on_loss else None,
        },
        "accuracy": None
        if task.accuracy_label is None
        else {
            "label": _(task.accuracy_label),
            "solved": None if on_loss else task.solved.threshold,
            "value": run.validation_accuracy,
        },
        "solved_at": run.solved_at,
        "solved_sentence": _(task.solved.sentence),
        "clip": {
            "mode": now["clip"],
            "measure": CLIPPINGS[now["clip"]].measured,
            "scope": _(SCOPES[now["clip_scope"]]),
        },
        "made_steps": made,
        "clipped_steps": run.clipped,
        "clipped_share": run.clipped / made if made else 0.0,
        "steps_per_second": None if run.rate is None or not math.isfinite(run.rate) else round(run.rate, 1),
        "queue_position": queue_position,
    }
