"""An experiment: every knob of a training run, declared once.

From each field come its widget, its parameter in the link, its flag on the command line, its key in JSON and
the sentence that answers a wrong value. Equal experiments give equal bytes on the same machine.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUndefined

from .cells import CELLS
from .clipping import CLIPPINGS, SCOPES
from .initialization import INITIALIZATIONS
from .optimizers import OPTIMIZERS
from .tasks import LARGEST_POOL, TASKS

PRECISIONS = {"float32": "float32", "float64": "float64"}
ARCHITECTURES = {"one": "one network", "encoder_decoder": "encoder and decoder"}
DIRECTIONS = {"forward": "forward", "both": "both ways"}
UNTIL = {"steps": "all steps are made", "solved": "the task is solved"}
#: The version of a link that names none, now and for ever: later versions write theirs.
FIRST_VERSION = 1
#: The fields that may change while a run is under way.
CHANGEABLE = ("learning_rate", "clip", "clip_threshold", "clip_scope")


@dataclass(frozen=True)
class Problem:
    """One wrong value: which field, what came, what is allowed."""

    field: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        return f"{self.field[:60]}: got {_short(self.value)}; {self.allowed}"


class ExperimentError(ValueError):
    """Raised for values that no experiment can have; its text is one sentence for each problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[ExperimentError], tuple[list[Problem]]]:
        return type(self), (self.problems,)  # exceptions are pickled by their text otherwise


@dataclass(frozen=True)
class Knob:
    """How a field shows itself: label and group of its widget, and the named options if it has some."""

    label: str
    group: str
    options: Mapping[str, str] | None = None  # value to label
    logarithmic: bool = False


def _knob(
    label: str, group: str, help_text: str, default: Any, options: Mapping[str, str] | None = None,
    logarithmic: bool = False, **constraints: Any,
) -> Any:  # fmt: skip
    knob = Knob(label, group, options, logarithmic)
    extra: Any = {"knob": knob}
    return Field(default, description=help_text, json_schema_extra=extra, **constraints)


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # Python takes True for 1
        raise ValueError("a truth value is neither a number nor a name.")
    return value


MOST_STEPS = 1_000_000
LARGEST_VECTOR = 64  # bytes that a processor computes with at once
MOST_MEMORY = 2 * 2**30  # bytes of a training step: several runs share a machine
MOST_CHANGES = 200  # of one run


class Change(BaseModel):
    """A field that takes a new value in mid-run, in force from the update after `step` updates."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int = Field(ge=0, le=MOST_STEPS)
    field: Literal["learning_rate", "clip", "clip_threshold", "clip_scope"]
    value: float | str

    _no_truth_values = field_validator("*", mode="before")(_no_truth_value)

    @model_validator(mode="after")
    def _value_fits_field(self) -> Change:
        allowed = complaint(self.field, self.value)
        if allowed:
            raise ValueError(f"{self.field} at step {self.step}: got {_short(self.value)}; {allowed}")
        return self


class Experiment(BaseModel):
    """Everything that decides how a run goes.

    >>> Experiment(task="adding", cell="lstm", length=50).clip_threshold
    1.0

    A value outside what is allowed raises ExperimentError with one sentence: the field, what came, what is
    allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: str = _knob(
        "Task", "Task", "What the network has to learn.", "digits",
        {t.name: t.label for t in TASKS.values()},
    )  # fmt: skip
    length: int = _knob(
        "Length T", "Task", "How far apart cause and effect can be: the T of the task's definition.", 0,
        ge=1, le=2000,
    )  # fmt: skip
    train_size: int = _knob(
        "Training sequences", "Task",
        "How many sequences there are to learn from, gone through again and again in a new order. "
        "Few of them are learned by heart. 0 means as many as there are.",
        0, ge=0, le=LARGEST_POOL,
    )  # fmt: skip
    cell: str = _knob(
        "Cell", "Network", "How the network carries its memory from one time step to the next.", "gru",
        {c.name: c.label for c in CELLS.values()},
    )  # fmt: skip
    hidden: int = _knob(
        "Hidden units",
        "Network",
        "How many numbers the network carries from one time step to the next: the size of its state h.",
        64,
        ge=1,
        le=512,
    )
    layers: int = _knob(
        "Layers", "Network",
        "How many recurrent layers lie on top of each other; each reads the states of the one below.",
        1, ge=1, le=4,
    )  # fmt: skip
    direction: str = _knob(
        "Direction", "Network",
        "In which order a layer reads. Both ways (bidirectional): two sets of units, one of which reads "
        "the sequence from its end.",
        "forward", DIRECTIONS,
    )  # fmt: skip
    architecture: str = _knob(
        "Architecture", "Network",
        "One network that reads and answers, or two: an encoder reads, and a decoder with weights of its own "
        "goes on from its last state and writes. For tasks in which all reading comes before the answers.",
        "one", ARCHITECTURES,
    )  # fmt: skip
    dropout: float = _knob(
        "Dropout", "Network",
        "Share of the numbers that pass from one layer to the next that is set to 0 in training, at random.",
        0.0, ge=0.0, le=0.9,
    )  # fmt: skip
    initialization: str = _knob(
        "Initialization", "Network", "How the weights are drawn before the first step.", "pytorch",
        {i.name: i.label for i in INITIALIZATIONS.values()},
    )  # fmt: skip
    gain: float = _knob(
        "Gain", "Network", "Scale of the recurrent matrix: 1 keeps lengths, more explodes, less vanishes.",
        1.0, ge=0.0, le=10.0,
    )  # fmt: skip
    forget_bias: float | None = _knob(
        "Forget bias", "Network",
        "Where the forget gate starts: 0 forgets half at each step, 1 a quarter, 4 about 2 %. "
        "Empty leaves it to the initialization.",
        None, ge=-20.0, le=20.0,
    )  # fmt: skip
    clip: str = _knob(
        "Clipping", "Training", "What happens to a gradient that is too large.", "norm",
        {c.name: c.label for c in CLIPPINGS.values()},
    )  # fmt: skip
    clip_threshold: float = _knob(
        "Threshold", "Training",
        "The norm (or element) above which the gradient is clipped. For AGC as a share of the norm of the "
        "weights: 0.01 is usual. For deltas the largest element that is handed from step to step.",
        1.0,
        logarithmic=True, gt=0.0, le=1e6,
    )  # fmt: skip
    clip_scope: str = _knob(
        "Clip scope", "Training", "Which parameters are measured and clipped.", "all", SCOPES
    )
    truncate: int = _knob(
        "Truncate after", "Training",
        "Truncated backpropagation: the gradient goes back through at most so many steps. 0: through all.",
        0, ge=0, le=2000,
    )  # fmt: skip
    truncate_every: int = _knob(
        "Truncate every", "Training",
        "How many steps are read between two ways back; at most as many as one goes through. "
        "0: as many as that.",
        0, ge=0, le=2000,
    )  # fmt: skip
    omega: float = _knob(
        "Omega", "Training",
        "Weight of a penalty on gradients that change their length from one time step to the one before "
        "(Pascanu et al. 2013); it keeps them from vanishing, and wants clipping beside it. 0 is off.",
        0.0, ge=0.0, le=100.0,
    )  # fmt: skip
    optimizer: str = _knob(
        "Optimizer", "Training", "How a gradient becomes an update.", "adam",
        {o.name: o.label for o in OPTIMIZERS.values()},
    )  # fmt: skip
    learning_rate: float = _knob(
        "Learning rate",
        "Training",
        "How far an update moves the weights: too much and training jumps, too little and it crawls.",
        0.01,
        logarithmic=True,
        gt=0.0,
        le=100.0,
    )
    batch: int = _knob("Batch size", "Training", "Sequences averaged in one update.", 64, ge=1, le=1024)
    steps: int = _knob("Steps", "Training", "Updates until the run ends.", 2000, ge=1, le=MOST_STEPS)
    until: str = _knob(
        "Stop when", "Training", "When the run is over. A run that diverges is over in any case.", "steps",
        UNTIL,
    )  # fmt: skip
    seed: int = _knob(
        "Seed", "Training", "Decides the first weights and the order of the data. Same seed, same run.", 0,
        ge=0, le=2**32 - 1,
    )  # fmt: skip
    precision: str = _knob(
        "Precision", "Training", "float64 shows gradients down to 1e-308 and takes about twice as long.",
        "float32", PRECISIONS,
    )  # fmt: skip
    changes: tuple[Change, ...] = Field(
        (), max_length=MOST_CHANGES, description="What changed in mid-run: (step, field, value)."
    )
    version: Literal[1] = Field(1, description="Version of this list of fields and of their defaults.")

    def __init__(self, /, **values: Any) -> None:  # "/": a link or a file may name a field "self"
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ExperimentError(_problems(error, values)) from None

    @model_validator(mode="before")
    @classmethod
    def _fill_length(cls, values: Any) -> Any:
        name = values.get("task", "digits") if isinstance(values, dict) else None
        task = TASKS.get(name) if isinstance(name, str) else None
        if task is not None and values.get("length") is None:
            values = {**values, "length": task.default_length}
        return values

    _no_truth_values = field_validator("*", mode="before")(_no_truth_value)

    @field_validator("changes")
    @classmethod
    def _in_order_of_steps(cls, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        # The later step wins, whatever the order of listing; of two changes at one step the later listed one.
        return tuple(sorted(changes, key=lambda change: change.step))

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Experiment:
        problems = _cross_field_problems(self)
        if problems:
            raise ExperimentError(problems)
        return self

    @property
    def truncation(self) -> tuple[int, int] | None:
        """(k1, k2) of truncated backpropagation: after every k1 steps back through at most k2, or None."""
        return (self.truncate_every or self.truncate, self.truncate) if self.truncate else None

    @property
    def directions(self) -> int:
        """D: 1, or 2 for networks that read both ways."""
        return 2 if self.direction == "both" else 1

    def steps_per_sequence(self) -> int:
        """Time steps of one input sequence."""
        return TASKS[self.task].steps(self.length)

    def rules(self) -> set[str]:
        """Every clipping rule that is in force at some step."""
        return {self.clip, *(str(change.value) for change in self.changes if change.field == "clip")}

    def at(self, step: int) -> dict[str, Any]:
        """The changeable fields in force at `step`."""
        values = {name: getattr(self, name) for name in CHANGEABLE}
        for change in self.changes:
            if change.step <= step:
                values[change.field] = change.value
        return values

    def changed(self, **values: Any) -> Experiment:
        """A copy with other values, checked."""
        return Experiment(**{**self.model_dump(), **values})

    def with_change(self, step: int, field: str, value: float | str) -> Experiment:
        """A copy that records one more change in mid-run."""
        return self.changed(changes=(*self.changes, {"step": step, "field": field, "value": value}))

    def to_json(self) -> str:
        """Every field, in the order of declaration."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Experiment:
        """The inverse of to_json; raises ExperimentError."""
        try:
            values = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            values = None
        if isinstance(values, list):
            sentence = "one experiment is needed; pick one object of the list."
            raise ExperimentError([Problem("experiment", f"{len(values)} of them", sentence)])
        if not isinstance(values, dict):
            shown = text.decode(errors="replace") if isinstance(text, bytes) else text
            raise ExperimentError([Problem("experiment", shown, "a JSON object of its fields is needed.")])
        return cls(**values)

    def to_query(self) -> dict[str, str]:
        """The fields that differ from their defaults, as parameters of a link."""
        default = Experiment(task=self.task)
        query = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            usual = (
                FIRST_VERSION
                if name == "version"
                else getattr(Experiment() if name == "task" else default, name)
            )
            if value != usual:
                query[name] = _changes_to_text(value) if name == "changes" else value_to_text(value)
        return query

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> tuple[Experiment, list[Problem]]:
        """The experiment of a link. Wrong values are left out and named; the rest is kept.

        Parameters that are not fields are not ours to judge and are passed over.
        """
        values: dict[str, Any] = {"version": FIRST_VERSION}
        for name in cls.model_fields:
            if name in query:
                values[name] = value_from_text(name, query[name])
        problems: list[Problem] = []
        while True:
            try:
                return cls(**values), problems
            except ExperimentError as error:
                # Each round leaves out at least one field, so this ends.
                for problem in error.problems:
                    if problem.field in values:
                        problems.append(Problem(problem.field, query[problem.field], problem.allowed))
                        del values[problem.field]
                if not any(p.field in query for p in error.problems):  # pragma: no cover - a safeguard
                    raise


def knob(name: str) -> Knob:
    """The knob of a field."""
    extra = Experiment.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return extra["knob"]  # type: ignore[return-value]


#: Fields with a knob, in the order of declaration.
KNOBS: tuple[str, ...] = tuple(
    name for name, field in Experiment.model_fields.items() if field.json_schema_extra is not None
)


def bounds(name: str) -> tuple[float | None, float | None]:
    """Smallest and largest value of a number, as (bound, bound); the lower one may be `exclusive`."""
    low = high = None
    for constraint in Experiment.model_fields[name].metadata:
        low = getattr(constraint, "ge", getattr(constraint, "gt", low))
        high = getattr(constraint, "le", getattr(constraint, "lt", high))
    return low, high


def exclusive(name: str) -> bool:
    """Whether a number has to be above its lower bound, and not only as large."""
    return any(hasattr(constraint, "gt") for constraint in Experiment.model_fields[name].metadata)


def allowed(name: str) -> str:
    """What a field may hold, as the end of a sentence."""
    field = Experiment.model_fields[name]
    if name == "changes":
        return (
            "changes are written step:field:value, separated by commas, such as 200:clip_threshold:0.5; "
            f"at most {MOST_CHANGES} of them, at steps up to {MOST_STEPS:,}."
        )
    if name == "version":
        return "this program knows version 1."
    options = knob(name).options
    if options is not None:
        return f"allowed: {', '.join(options)}."
    low, high = bounds(name)
    kind = "a whole number" if field.annotation is int else "a number"
    lower = f"above {low:g}" if exclusive(name) else f"from {low:g}"
    assert low is not None
    assert high is not None
    upper = f"{high:,.0f}" if high > 9999 else f"{high:g}"
    return f"allowed: {kind} {lower} to {upper}."


def complaint(name: str, value: Any) -> str | None:
    """What is wrong with `value` for the field `name` alone, or None."""
    options = knob(name).options
    if options is not None:
        if value in options:
            return None
        near = difflib.get_close_matches(str(value), list(options), 1)
        return f"did you mean {near[0]}? {allowed(name).capitalize()}" if near else allowed(name)
    low, high = bounds(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return allowed(name)
    assert low is not None
    assert high is not None
    return None if (low < value if exclusive(name) else low <= value) and value <= high else allowed(name)


def without_say(values: Mapping[str, Any]) -> frozenset[str]:
    """The knobs that change nothing, or fit nothing, beside these values of all."""
    silent = set()
    if TASKS[values["task"]].fixed_length is not None:
        silent.add("length")
    if not INITIALIZATIONS[values["initialization"]].uses_gain:
        silent.add("gain")
    if CELLS[values["cell"]].forget_gate is None:
        silent.add("forget_bias")
    rule = CLIPPINGS[values["clip"]]
    if not rule.uses_threshold:
        silent.add("clip_threshold")
    if not rule.uses_scope:
        silent.add("clip_scope")
    if values["layers"] == 1:
        silent.add("dropout")
    if not TASKS[values["task"]].reads_first:
        silent.add("architecture")
    if TASKS[values["task"]].tells_answers:
        silent.add("direction")
    if values["direction"] == "both" or values["architecture"] != "one" or rule.inside:
        silent.add("truncate")
    truncated = values["truncate"] != 0 and "truncate" not in silent
    if not truncated:
        silent.add("truncate_every")
    if CELLS[values["cell"]].family != "plain" or truncated or rule.inside:
        silent.add("omega")
    return frozenset(silent)


def step_memory(e: Experiment) -> int:
    """Bytes that a training step keeps, about: linear in T * B * H, and that for every layer and direction.

    For each number of a state, c numbers: all that the cell's step computes, the gradients of its states and
    of its pre-activations, and one direct term of the loss; c is 4 for a plain cell and 14 for an LSTM. With
    dropout there is a mask, with truncation the sums of the gradients of the states. H counts in whole
    vectors of the processor, of at most 16 numbers of float32. The inputs come to that, twice: as they are
    drawn, in float64, and in the precision of the run.
    """
    cell, real = CELLS[e.cell], 4 if e.precision == "float32" else 8
    c = len(cell.values) + len(cell.states) + len(cell.gates) + len(cell.apart) + 1
    c += bool(e.dropout) + (len(cell.states) + 1 if e.truncate else 0)
    T, vector = e.steps_per_sequence(), LARGEST_VECTOR // real
    H = -(-e.hidden // vector) * vector
    states = c * T * e.batch * H * e.layers * e.directions * real
    return states + T * e.batch * TASKS[e.task].input_size * (8 + real)


def _cross_field_problems(e: Experiment) -> list[Problem]:
    """What is wrong with values that each are allowed alone: a sentence for each."""
    unknown = [
        Problem(name, getattr(e, name), wrong)
        for name in KNOBS
        if knob(name).options is not None and (wrong := complaint(name, getattr(e, name)))
    ]
    if unknown:
        return unknown
    parts = (_about_the_task(e), _about_the_network(e), _about_the_gradient(e), _about_memory(e))
    return [Problem(name, getattr(e, name), sentence) for part in parts for name, sentence in part]


def _about_the_task(e: Experiment) -> Iterator[tuple[str, str]]:
    task = TASKS[e.task]
    if task.fixed_length is not None and e.length != task.fixed_length:
        yield "length", f"the task {e.task} always has {task.fixed_length}."
    elif not task.min_length <= e.length <= task.max_length:
        span = f"from {task.min_length} to {task.max_length}"
        yield "length", f"the task {e.task} takes a whole number {span}."
    if e.train_size > task.most_sequences:
        most = f"{task.most_sequences:,} training sequences"
        yield "train_size", f"the task {e.task} has {most}; 0 takes all of them."
    if e.direction == "both" and task.tells_answers:
        yield (
            "direction",
            f"in the task {e.task} the inputs hold the answers of the steps before them.",
        )
    if e.architecture == "encoder_decoder" and not task.reads_first:
        having = ", ".join(t.name for t in TASKS.values() if t.reads_first)
        does_not = f"the task {e.task} does not read first and write afterwards"
        yield "architecture", f"{does_not} (these do: {having})."


def _about_the_network(e: Experiment) -> Iterator[tuple[str, str]]:
    cell = CELLS[e.cell]
    if e.dropout and e.layers == 1:
        yield "dropout", "dropout acts between layers, and there is only 1 (layers)."
    if e.forget_bias is not None and cell.forget_gate is None:
        having = ", ".join(c.name for c in CELLS.values() if c.forget_gate)
        yield "forget_bias", f"the cell {e.cell} has no forget gate (these have: {having})."
    if e.gain != 1.0 and not INITIALIZATIONS[e.initialization].uses_gain:
        having = ", ".join(i.name for i in INITIALIZATIONS.values() if i.uses_gain)
        yield "gain", f"the initialization {e.initialization} has no gain (these have: {having})."


def _about_the_gradient(e: Experiment) -> Iterator[tuple[str, str]]:
    bent = any(CLIPPINGS[rule].inside for rule in e.rules())
    if e.truncate and e.direction == "both":
        yield "truncate", "a gradient can be cut off only where the network reads forward (direction)."
    if e.truncate and e.architecture == "encoder_decoder":
        yield "truncate", "a gradient can be cut off only in one network (architecture)."
    if e.truncate and bent:
        yield "truncate", "a gradient is either cut off or bent on its way (clip: not delta)."
    if e.truncate_every > e.truncate:
        most = f"at most as many steps as the gradient goes back through (truncate: {e.truncate})."
        yield "truncate_every", most
    if e.omega and CELLS[e.cell].family != "plain":
        having = ", ".join(c.name for c in CELLS.values() if c.family == "plain")
        yield "omega", f"the penalty is defined for plain cells only ({having})."
    elif e.omega and (e.truncate or bent):
        yield "omega", "the penalty needs the whole gradient (truncate: 0, clip: not delta)."


def _about_memory(e: Experiment) -> Iterator[tuple[str, str]]:
    memory = step_memory(e)
    if memory <= MOST_MEMORY:
        return
    # The one that is furthest from what is usual: a link that loses it may become possible.
    usual = {"batch": 64, "length": TASKS[e.task].default_length, "hidden": 64, "layers": 1}
    yield (
        max(usual, key=lambda name: getattr(e, name) / usual[name]),
        f"a training step would keep about {memory / 2**30:.1f} GiB, and at most "
        f"{MOST_MEMORY / 2**30:g} GiB are allowed; batch, length, hidden and layers multiply.",
    )


def _problems(error: ValidationError, values: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ExperimentError):
            problems += cause.problems
            continue
        name = str(item["loc"][0]) if item["loc"] else "experiment"
        if name not in Experiment.model_fields:
            near = difflib.get_close_matches(name, list(Experiment.model_fields), 1)
            hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(Experiment.model_fields)}."
            problems.append(Problem(name, values.get(name), f"there is no such field; {hint}"))
        elif len(item["loc"]) > 1 and cause is not None:  # what one change says of itself
            problems.append(Problem(name, values.get(name), str(cause)))
        elif not any(p.field == name for p in problems):
            problems.append(Problem(name, values.get(name), allowed(name)))
    return problems + _unknown_options(values, {p.field for p in problems})


def _unknown_options(values: Mapping[str, Any], named: Set[str]) -> list[Problem]:
    """Wrong names of options, which are looked at last, among values that have other faults as well."""
    problems = []
    for name in KNOBS:
        value = values.get(name)
        if knob(name).options is not None and isinstance(value, str) and name not in named:
            wrong = complaint(name, value)
            if wrong:
                problems.append(Problem(name, value, wrong))
    return problems


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def value_to_text(value: Any) -> str:
    """A value as a link writes it; nothing at all for None."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _changes_to_text(changes: tuple[Change, ...]) -> str:
    return ",".join(f"{c.step}:{c.field}:{value_to_text(c.value)}" for c in changes)


def value_from_text(name: str, text: str) -> Any:
    """A query value as the field wants it; what cannot be read is passed on for validation to name."""
    if name == "changes":
        rows = []
        for row in filter(None, text.split(",")):
            parts = row.split(":")
            if len(parts) != 3:
                return text
            rows.append({"step": parts[0], "field": parts[1], "value": _number(parts[2])})
        return rows
    annotation = Experiment.model_fields[name].annotation
    if annotation is int or name == "version":
        try:
            return int(text)
        except ValueError:
            return text
    if annotation is float or float in get_args(annotation):
        if not text and type(None) in get_args(annotation):
            return None
        return _number(text)
    return text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def default_of(name: str) -> Any:
    """A field's default; for `length` the default task's."""
    default = Experiment.model_fields[name].default
    assert default is not PydanticUndefined
    return TASKS["digits"].default_length if name == "length" else default
