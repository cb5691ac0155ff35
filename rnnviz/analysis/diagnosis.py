"""What is the matter with a run, told from its curves: findings with the numbers behind them.

Rules of thumb with thresholds that are stated and explained below. Each was set on small runs that are known
to have the fault or not; `tests/test_diagnosis.py` holds them to it. Needs NumPy only: it reads what a screen
shows, and the page must stay light.

Progress is measured against the task's baseline, the loss of the best answer that ignores the input: 0 is no
better than that, 1 is no loss at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..clipping import CLIPPINGS
from ..experiment import Experiment
from ..tasks import TASKS
from .heat import log10_of

MOST_FINDINGS = 3
EARLY_STEPS = 30  # Adam's averages span 10 to 1000 steps: before some of them have passed nothing is settled
RECENT = 0.2  # what counts as now: the last fifth of the run,
FEWEST_POINTS, FEWEST_COLUMNS = 10, 3  # but at least so many steps and columns of the heat map
STUCK = 0.1  # progress below this is noise about the baseline
GOING_WELL = 2 / 3  # with this progress a fault does no harm that a user would look for

#: What has lost four decades is far below the noise that the rest of a batch's gradient brings along. A GRU
#: that is about to learn begins with a loss of three at T = 40.
VANISHING_DECADES = 4.0
EXPLODING_DECADES = 2.0  # healthy runs stay within a factor of ten
#: The last fifth of the way is left out: from the readout into a gated cell's state the gradient falls at
#: once, by one or two decades, and that is no matter of time.
WAY = 0.8
LOWEST = -700.0  # decades; stands for an underflow, where sums need a number
LARGEST = 1e300  # stands for infinity in what is said
JUMP = 100.0  # a gradient so many times as long as those around it: healthy runs stay below 60
NEIGHBOURS = 10  # steps on either side
#: Saturated values let less than 36 % of the gradient pass; with six out of ten hardly a path stays open.
#: Runs that learn well stay below one half.
SATURATED = 0.6
DEAD = 0.25
MOSTLY_DEAD = 0.75
CLIPPED_SHARE = 0.9  # nearly every step clipped,
CLIPPED_FACTOR = 10.0  # to less than a tenth: threshold and norms are of different sizes
UNTOUCHED = 1e-3  # what is shortened by less than this share may be so by rounding alone
#: They divide the gradient by its usual size, so that cutting every one of them changes next to nothing.
INDIFFERENT = ("adam", "rmsprop")
#: An update half as large as the weights forgets what they were. The usual rule of thumb is 1e-3 (Karpathy,
#: CS231n notes); Adam begins with a tenth and learns well.
LARGE_UPDATE = 0.5
SMALL_UPDATE = 3e-4
OVERFITTED = 1.15  # validation loss above its best by this factor, more than the noise of learning,
LEARNED_BY_HEART = 0.5  # while the training loss is below this share of it

Level = Literal["bad", "warn", "note", "good"]
#: All kinds, in the order of importance among those of one level: causes before their consequences.
KINDS = (
    "too_early", "diverged", "rate_too_large", "exploding", "dead", "saturated", "vanishing", "clipped_hard",
    "overfitting", "rate_too_small", "learned", "healthy",
)  # fmt: skip
CAUSES = ("rate_too_large", "exploding")  # what may make a run diverge
LEVELS: tuple[Level, ...] = ("bad", "warn", "note", "good")


@dataclass(frozen=True)
class Finding:
    """Something worth saying of a run. All numbers are finite.

    kind and numbers:
    too_early: steps made, progress; nothing is wrong, and nothing is learned yet
    diverged: step at which it ended; loss and norm, the last finite ones of the batch and of its gradient
    rate_too_large: update, the largest change of the weights by one update in units of their size; its step;
        rate, the learning rate now
    exploding: ratio of dL/dh_1 to dL/dh_t, steps = t - 1 between them, factor for each of them; in a
        network that reads both ways this is the last layer, and backward is 1 where it is the direction that
        reads from the end and what is compared are the last steps; or jump, the longest gradient in units of
        those around it, and its step
    dead: share of the hidden units
    saturated: share of the gate values
    vanishing: ratio, steps and factor as above, 0 where the gradient underflows; for tasks with an answer
        at every step they are upper bounds, from the step Jacobians. In a network that reads both ways least
        arrives somewhere between the ends: ratio of dL/dh_t of whichever direction is larger there to that at
        `end`, where t and end are the time steps
    clipped_hard: share of the recent steps that were clipped; factor, by which the usual one was shortened
    overfitting: train and validation loss now; best validation loss and its step
    rate_too_small: update, its usual size in units of the weights; rate
    learned: step of the validation from which on all met the criterion; loss now, and accuracy where there
        is one
    healthy: progress and loss on held-out sequences, as long as there was no look at them those of training
    """

    kind: str
    level: Level
    numbers: dict[str, float] = field(default_factory=dict)


def diagnose(arrays: Mapping[str, np.ndarray], experiment: Experiment) -> tuple[Finding, ...]:
    """At most three findings, the most important first; `arrays` are those of an overview blob."""
    run = _Run(arrays, experiment)
    if run.steps < EARLY_STEPS and not run.diverged:
        now = Finding("too_early", "note", {"steps": float(run.steps), "progress": run.progress})
        # What passes back through time is a matter of the weights, and known from the first step on.
        if grows := _backwards(run):
            return (grows, now)
        fades = _vanishing(run)
        return (now, Finding(fades.kind, "warn", fades.numbers)) if fades else (now,)
    learned = _learned(run)
    rules = (_rate_too_large, _exploding, _dead, _saturated, _vanishing, _clipped_hard, _overfitting)
    found = [] if learned else [finding for rule in rules if (finding := rule(run))]
    kinds = {finding.kind for finding in found}
    if "exploding" in kinds:
        found = [finding for finding in found if finding.kind != "clipped_hard"]  # clipping holds it
    if "dead" in kinds and run.dead >= MOSTLY_DEAD:
        found = [finding for finding in found if finding.kind != "vanishing"]  # it is what dead units do
    if run.diverged:
        return (_diverged(run), *(f for f in _sorted(found) if f.kind in CAUSES))[:MOST_FINDINGS]
    if not any(finding.level == "bad" for finding in found) and (small := _rate_too_small(run)):
        found.append(small)
    if learned:
        return (learned,)
    if found:
        return tuple(_sorted(found)[:MOST_FINDINGS])
    if run.progress < STUCK:
        return (Finding("too_early", "note", {"steps": float(run.steps), "progress": run.progress}),)
    # What counts is what it does on sequences that it has not seen.
    loss = run.validation if math.isfinite(run.validation) else run.loss
    return (Finding("healthy", "good", {"progress": 1.0 - loss / run.baseline, "loss": loss}),)


@dataclass(frozen=True)
class _Run:
    """The curves, and what several rules ask of them."""

    arrays: Mapping[str, np.ndarray]
    experiment: Experiment

    @cached_property
    def steps(self) -> int:
        return int(self.arrays["step"][-1]) + 1 if len(self.arrays["step"]) else 0

    @cached_property
    def recent(self) -> slice:
        return slice(-max(FEWEST_POINTS, round(RECENT * len(self.arrays["step"]))), None)

    @cached_property
    def diverged(self) -> bool:
        """The last step led to no update."""
        return bool(self.steps) and bool(np.isnan(self.arrays["update"][-1]))

    @cached_property
    def loss(self) -> float:
        """Training loss now."""
        return _median(self.arrays["loss"][self.recent])

    @cached_property
    def validation(self) -> float:
        """The newest finite validation loss; NaN where there is none."""
        losses = self.arrays["validation_loss"]
        return float(losses[-1]) if len(losses) and np.isfinite(losses[-1]) else math.nan

    @cached_property
    def progress(self) -> float:
        """On the training or the validation set, whichever is further."""
        losses = [loss for loss in (self.loss, self.validation) if math.isfinite(loss)]
        return 1.0 - min(losses) / self.baseline if losses else 0.0

    @cached_property
    def baseline(self) -> float:
        """Loss of the best answer that ignores the input."""
        return TASKS[self.experiment.task].baseline(self.experiment.length)

    @cached_property
    def saturated(self) -> float:
        return _newest(self.arrays["saturated"])

    @cached_property
    def dead(self) -> float:
        return _newest(self.arrays["dead"])

    @cached_property
    def relative_update(self) -> np.ndarray:
        """Size of each update in units of the weights' size; NaN where all of them were 0."""
        weight = self.arrays["weight"]
        return _quotient(self.arrays["update"], np.where(weight > 0, weight, np.nan))

    @cached_property
    def usual_update(self) -> float:
        """The same, of the usual update now."""
        return _median(self.relative_update[self.recent])

    @cached_property
    def jump(self) -> np.ndarray:
        """Norm of each gradient in units of the median of those around it."""
        norm = self.arrays["norm_before"].astype(float)
        around = np.pad(np.where(np.isfinite(norm), norm, np.nan), NEIGHBOURS, constant_values=np.nan)
        return _quotient(norm, _medians(sliding_window_view(around, 2 * NEIGHBOURS + 1)))

    @cached_property
    def columns(self) -> np.ndarray:
        """Recent norms of dL/dh_t as decades, (n, P, R), for each part: layer by layer, forward first.

        Where all is read before the first answer, of the steps that read: those have no loss of their own,
        and a decoder that may follow has other weights.
        """
        heat, e = self.arrays["heat"], self.experiment
        task, T = TASKS[e.task], e.steps_per_sequence()
        rows = (T - task.answered(e.length)) // self.merged if task.reads_first else heat.shape[2]
        return log10_of(heat[-max(FEWEST_COLUMNS, round(RECENT * len(heat))) :, :, : max(1, rows)])

    @cached_property
    def merged(self) -> int:
        """Time steps in one row of the columns."""
        return math.ceil(self.experiment.steps_per_sequence() / int(self.arrays["heat"].shape[2]))

    @cached_property
    def cut_off(self) -> bool:
        """Whether the way back ends before it is through, so that nothing can be said of the whole way."""
        return 0 < self.experiment.truncate < self.experiment.steps_per_sequence()

    @cached_property
    def growth(self) -> tuple[float, int, bool]:
        """How many decades the gradient grows on its way, over so many steps, and whether it goes forward.

        Where a layer below reads both ways, the gradient comes in from both ends: only the last layer's has
        come the whole way.
        """
        if bounded(self.experiment) or self.cut_off:
            return 0.0, 0, False
        if self.experiment.directions == 1:
            return *self._follow(self.columns[:, 0]), False
        forward, backward = self._follow(self.columns[:, -2]), self._follow(self.columns[:, -1, ::-1])
        return (*forward, False) if forward >= backward else (*backward, True)

    @cached_property
    def loss_of_way(self) -> tuple[float, dict[str, float]]:
        """Decades that are lost on the way back through time, and the numbers that say so."""
        T = self.experiment.steps_per_sequence()
        if self.cut_off:
            return 0.0, {}
        if bounded(self.experiment):
            decades = self._bound(T)
            return decades, _way(decades, T - 1) if decades else {}
        if self.experiment.directions == 2:
            return self._middle()
        decades, steps = self._follow(self.columns[:, 0])
        return decades, _way(decades, steps) if steps else {}

    def _follow(self, columns: np.ndarray) -> tuple[float, int]:
        """How many decades (n, R) lie higher in row 0 than in the one 80 % of the way off, and time steps."""
        row = round(WAY * (columns.shape[1] - 1))
        if not len(columns) or row == 0:
            return 0.0, 0
        with np.errstate(invalid="ignore"):  # nothing anywhere: infinity minus infinity
            decades = columns[:, 0] - columns[:, row]
        known = decades[~np.isnan(decades)]
        middle = float(np.median(np.clip(known, LOWEST, -LOWEST))) if len(known) else 0.0
        return middle, row * self.merged

    def _middle(self) -> tuple[float, dict[str, float]]:
        """Where least arrives in the first layer of a network that reads both ways.

        A time step is heard through whichever direction brings more of it. Near the ends this is much; the
        outer tenths are left out, as with one direction the last fifth.
        """
        heard = self.columns[:, :2].max(1)  # (n, R)
        heard = heard[~np.isnan(heard).any(1)]
        R = heard.shape[1]
        edge = round((1 - WAY) / 2 * (R - 1))
        if not len(heard) or R - 2 * edge < 3:
            return 0.0, {}
        profile = np.median(np.clip(heard, LOWEST, -LOWEST), axis=0)
        least = edge + int(np.argmin(profile[edge : R - edge]))
        end = min(edge, R - 1 - edge, key=lambda row: profile[row])
        decades = float(profile[least] - profile[end])
        if decades == 0.0:
            return 0.0, {}
        if profile[least] <= LOWEST:
            decades = LOWEST
        numbers = _way(decades, abs(least - end) * self.merged)
        t, at_end = (float(row * self.merged + 1) for row in (least, end))
        return decades, {**numbers, "t": t, "end": at_end}

    def _bound(self, T: int) -> float:
        """Decades that are lost at least, in whichever part of the network loses least."""
        spectra = self.arrays["spectrum"]
        largest = float(spectra[-1, :, -1, 1].max()) if len(spectra) else math.nan
        if not largest < 1.0:
            return 0.0
        return max(LOWEST, (T - 1) * math.log10(largest)) if largest > 0 else LOWEST


def bounded(experiment: Experiment) -> bool:
    """Whether only an upper bound is known of what passes back through time.

    With a loss at every time step, dL/dh_t hides what comes back from the later ones.
    """
    task = TASKS[experiment.task]
    return task.readout == "every" and not task.reads_first


def _diverged(run: _Run) -> Finding:
    numbers = {"step": float(run.steps - 1)}
    for name, series in (("loss", "loss"), ("norm", "norm_before")):
        finite = run.arrays[series][np.isfinite(run.arrays[series])]
        if len(finite):
            numbers[name] = float(finite[-1])
    return Finding("diverged", "bad", numbers)


def _rate_too_large(run: _Run) -> Finding | None:
    """A step as large as the weights that no jump of the gradient accounts for."""
    large = np.flatnonzero(run.relative_update >= LARGE_UPDATE)
    if run.progress >= GOING_WELL or not len(large) or run.jump[large[0]] >= JUMP:
        return None
    most = int(large[np.argmax(run.relative_update[large])])
    rate = run.experiment.at(run.steps)["learning_rate"]
    size = min(float(run.relative_update[most]), LARGEST)
    numbers = {"update": size, "step": float(run.arrays["step"][most])}
    return Finding("rate_too_large", "bad", {**numbers, "rate": float(rate)})


def _exploding(run: _Run) -> Finding | None:
    return _backwards(run) or _jumps(run)


def _backwards(run: _Run) -> Finding | None:
    """The gradient grows on its way back through time."""
    decades, steps, backward = run.growth
    if decades < EXPLODING_DECADES or run.progress >= GOING_WELL:
        return None
    return Finding("exploding", "bad", {**_way(decades, steps), **({"backward": 1.0} if backward else {})})


def _jumps(run: _Run) -> Finding | None:
    """Single gradients that are far longer than those around them."""
    finite = np.flatnonzero(np.isfinite(run.jump))
    if run.progress >= GOING_WELL or not len(finite) or _rate_too_large(run):
        return None
    most = int(finite[np.argmax(run.jump[finite])])
    if run.jump[most] < JUMP:
        return None
    harmless = run.relative_update[most] < LARGE_UPDATE
    numbers = {"jump": float(run.jump[most]), "step": float(run.arrays["step"][most])}
    return Finding("exploding", "warn" if harmless else "bad", numbers)


def _dead(run: _Run) -> Finding | None:
    if not run.dead >= DEAD or run.progress >= GOING_WELL:
        return None
    bad = run.dead >= MOSTLY_DEAD and run.progress < STUCK
    return Finding("dead", "bad" if bad else "warn", {"share": run.dead})


def _saturated(run: _Run) -> Finding | None:
    if not run.saturated >= SATURATED or run.progress >= GOING_WELL:
        return None
    return Finding("saturated", "bad" if run.progress < STUCK else "warn", {"share": run.saturated})


def _vanishing(run: _Run) -> Finding | None:
    decades, numbers = run.loss_of_way
    if decades > -VANISHING_DECADES or run.progress >= GOING_WELL:
        return None
    return Finding("vanishing", "bad" if run.progress < STUCK else "warn", numbers)


def _way(decades: float, steps: int) -> dict[str, float]:
    """Ratio of the gradients at both ends of the way, and the factor for each step of it."""
    if decades == LOWEST:
        return {"ratio": 0.0, "steps": float(steps), "factor": 0.0}
    decades = min(decades, math.log10(LARGEST))
    return {"ratio": 10.0**decades, "steps": float(steps), "factor": 10.0 ** (decades / steps)}


def _clipped_hard(run: _Run) -> Finding | None:
    """The threshold alone keeps the updates too small: it is not what holds an explosion.

    A rule that has none follows the gradients themselves, so nobody has set anything wrong; AutoClip clips
    nine steps in ten because it is meant to.
    """
    rule = CLIPPINGS[run.experiment.at(run.steps)["clip"]]
    if not rule.uses_threshold or run.progress >= GOING_WELL or run.experiment.optimizer in INDIFFERENT:
        return None
    before, after = (run.arrays[name][run.recent].astype(float) for name in ("norm_before", "norm_after"))
    # Steps of this rule and this measure alone: others may have been clipped by design.
    changes = [c for c in run.experiment.changes if c.field in ("clip", "clip_scope") and c.step <= run.steps]
    since = max((change.step for change in changes), default=0)
    mine = (run.arrays["step"][run.recent] >= since) & np.isfinite(before) & np.isfinite(after)
    if not mine.any():
        return None
    # Not every rule has a limit to compare with, and what is left says the same of those that have.
    shortened = _quotient(before, after)[mine]
    share = float((shortened > 1 + UNTOUCHED).mean())
    factor = _median(shortened)
    if share < CLIPPED_SHARE or not factor >= CLIPPED_FACTOR:
        return None
    if not run.usual_update < SMALL_UPDATE <= run.usual_update * factor:
        return None
    level: Level = "bad" if run.progress < STUCK else "warn"
    return Finding("clipped_hard", level, {"share": share, "factor": factor})


def _overfitting(run: _Run) -> Finding | None:
    losses = run.arrays["validation_loss"]
    finite = np.flatnonzero(np.isfinite(losses))
    if not len(finite) or not math.isfinite(run.validation):
        return None
    best = int(finite[np.argmin(losses[finite])])
    worse = run.validation > OVERFITTED * losses[best]
    if not worse or run.loss > LEARNED_BY_HEART * run.validation or run.progress < STUCK:
        return None
    numbers = {
        "train": run.loss, "validation": run.validation, "best": float(losses[best]),
        "step": float(run.arrays["validation_step"][best]),
    }  # fmt: skip
    return Finding("overfitting", "warn", numbers)


def _rate_too_small(run: _Run) -> Finding | None:
    usual = run.usual_update
    if run.progress >= STUCK or not usual < SMALL_UPDATE:
        return None
    rate = float(run.experiment.at(run.steps)["learning_rate"])
    return Finding("rate_too_small", "warn", {"update": usual, "rate": rate})


def _learned(run: _Run) -> Finding | None:
    """The task's criterion is met, and has been since a step."""
    solved, looks = TASKS[run.experiment.task].solved, run.arrays
    met = [
        solved.met(float(loss), None if np.isnan(accuracy) else float(accuracy))
        for loss, accuracy in zip(looks["validation_loss"], looks["validation_accuracy"], strict=True)
    ]
    if not met or not met[-1] or not math.isfinite(run.validation) or run.diverged:
        return None
    since = len(met) - met[::-1].index(False) if False in met else 0
    numbers = {"step": float(looks["validation_step"][since]), "loss": run.validation}
    accuracy = float(looks["validation_accuracy"][-1])
    return Finding("learned", "good", numbers if math.isnan(accuracy) else {**numbers, "accuracy": accuracy})


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (LEVELS.index(f.level), KINDS.index(f.kind)))


def _median(values: np.ndarray) -> float:
    """Of the finite ones; NaN where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else math.nan


def _medians(rows: np.ndarray) -> np.ndarray:
    """Of the numbers in each row, leaving NaN out; NaN where there are none."""
    ascending = np.sort(rows, axis=1)  # NaN last
    known = np.count_nonzero(~np.isnan(rows), axis=1)
    index = np.arange(len(rows))
    low, high = ascending[index, np.maximum(known - 1, 0) // 2], ascending[index, known // 2]
    return np.asarray(np.where(known > 0, (low + high) / 2, np.nan))


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(above.astype(float) / below)


def _newest(looks: np.ndarray) -> float:
    return float(looks[-1]) if len(looks) else math.nan
