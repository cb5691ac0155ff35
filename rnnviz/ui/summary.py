"""What the live component needs to know of a run besides its curves, as JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from safetensors.numpy import load

from ..analysis.diagnosis import diagnose
from ..cells import CELLS
from ..clipping import CLIPPINGS, SCOPES
from ..experiment import ARCHITECTURES, DIRECTIONS, Experiment
from ..runs.chunk import row_steps
from ..runs.store import ENDED, Run, Store
from ..tasks import TASKS
from ..twins import said_of
from .diagnosis_text import worded
from .overviews import overview_of
from .text import _

LOSS_LABELS = {"mse": "mean squared error", "cross_entropy": "cross-entropy (nats)"}


def title(experiment: Experiment) -> str:
    """A run in a few words."""
    cell, task = CELLS[experiment.cell], TASKS[experiment.task]
    network = [_("{cell}, {hidden} units").format(cell=_(cell.label), hidden=experiment.hidden)]
    if experiment.layers > 1:
        network.append(_("{layers} layers").format(layers=experiment.layers))
    if experiment.directions > 1:
        network.append(_(DIRECTIONS[experiment.direction]))
    if experiment.architecture != "one":
        network.append(_(ARCHITECTURES[experiment.architecture]))
    return _("{network} · {task}, T = {T}").format(
        network=", ".join(network), task=_(task.label), T=experiment.steps_per_sequence()
    )


def parts(layers: int, directions: int) -> list[dict[str, Any]]:
    """What the heat map and the spectrum have one picture of each, in the order of their arrays."""
    names = {False: _("layer {layer}, forward"), True: _("layer {layer}, backward")}
    if directions == 1:
        names = {False: _("layer {layer}")}
    return [
        {"layer": layer, "backward": backward, "label": name.format(layer=layer)}
        for layer in range(1, layers + 1)
        for backward, name in names.items()
    ]


def summary_of(store: Store, run: Run) -> dict[str, Any]:
    """The summary of a run with everything that the store knows of it."""
    shown = overview_of(store, run.id)
    return {
        **run_summary(run, store.ahead(run) + 1 if run.state == "queued" else None),
        "diagnosis": [] if shown is None else diagnosis(run, load(shown[1])),
        "repeats": repeats(store, run),
    }


def run_summary(run: Run, queue_position: int | None) -> dict[str, Any]:
    """The part that stands in the run's own row. Numbers that are not finite never stand here."""
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
        "title": run.name or title(experiment),
        "seed": experiment.seed,
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
        "clip": clip_summary(now["clip"], now["clip_scope"]),
        "truncate": experiment.truncate,
        # The time step, counted from 1, at which a decoder takes over.
        "decoder": T - task.answered(experiment.length) + 1 if experiment.architecture != "one" else None,
        "changes": [
            {"step": change.step, "label": said_of(change.field, change.value)}
            for change in experiment.changes
        ],
        "parts": parts(experiment.layers, experiment.directions),
        "groups": [_("recurrent weights"), _("input weights and biases"), _("output layer")],
        "spectrum": [
            *(_("gate {gate}").format(gate=gate) for gate in CELLS[experiment.cell].gates),
            _("step Jacobian"),
        ]
        if len(CELLS[experiment.cell].gates) > 1
        else [_("W_hh"), _("step Jacobian")],
        "made_steps": made,
        "clipped_steps": run.clipped,
        "clipped_share": run.clipped / made if made else 0.0,
        "steps_per_second": None if run.rate is None or not math.isfinite(run.rate) else round(run.rate, 1),
        "pace": run.pace,
        "queue_position": queue_position,
    }


def clip_summary(name: str, scope: str) -> dict[str, Any]:
    """What the figure of the gradient's norm has to know of the clipping rule that is in force.

    limit: see `Clipping.limit`; whole: whether the norm that is drawn is that of all parameters
    """
    rule = CLIPPINGS[name]
    return {
        "mode": name,
        "measure": _(rule.measured),
        "largest": rule.by_element,
        "scope": _(SCOPES[scope]),
        "limit": rule.limit,
        "whole": scope == "all" and not rule.by_element,
        "summary": _(rule.summary),
        "note": _(rule.note) if rule.note else "",
    }


def diagnosis(run: Run, arrays: dict[str, np.ndarray]) -> list[dict[str, str]]:
    """What the curves say, in words, the most important first."""
    now = run.experiment.changed(**run.experiment.at(run.step), changes=())  # advice is for what is set now
    return [worded(finding, now) for finding in diagnose(arrays, run.experiment)]


def repeats(store: Store, run: Run) -> dict[str, Any] | None:
    """The run together with its repeats with other seeds: how far their validation losses spread."""
    others = store.repeats_of(run.id)
    if not others:
        return None
    everyone = [run, *others]
    curves = [_validation_curve(store, one.id) for one in everyone]
    steps = sorted({step for curve in curves for step in curve})
    # Where a run has not come to, the spread is that of the others; a step that only some have seen says so
    # by its count.
    columns = [[curve[step] for curve in curves if step in curve] for step in steps]
    return {
        "runs": len(everyone),
        "ended": sum(one.ended for one in everyone),
        "solved": sum(one.solved_at is not None for one in everyone),
        "step": steps,
        "count": [len(column) for column in columns],
        "low": [_finite(min(column)) for column in columns],
        "middle": [_finite(float(np.median(column))) for column in columns],
        "high": [_finite(max(column)) for column in columns],
    }


def at_rest(store: Store, run: Run) -> bool:
    """Whether nothing more will happen to the repeats of an ended run."""
    return all(repeat.state in ENDED for repeat in store.repeating([run.id]))


def _validation_curve(store: Store, run: str) -> dict[int, float]:
    """Validation loss by step; what is not finite counts as infinite, so that it stands at the upper edge."""
    shown = overview_of(store, run)
    if shown is None:
        return {}
    arrays = load(shown[1])
    losses = np.nan_to_num(arrays["validation_loss"].astype(float), nan=math.inf)
    return dict(zip(arrays["validation_step"].tolist(), losses.tolist(), strict=True))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
