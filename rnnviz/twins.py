"""Twins: one to four experiments side by side that share everything but what is said to differ.

The same seed gives twins the same data in the same order and, wherever they have a parameter in common, the
same first number in it. So what differs between their runs comes from what differs between their settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cells import CELLS
from .experiment import (
    KNOBS,
    Experiment,
    ExperimentError,
    Problem,
    default_of,
    knob,
    value_from_text,
    value_to_text,
    without_say,
)
from .tasks import TASKS

LETTERS = "ABCD"
MOST = len(LETTERS)
SAME = "same"  # how a link writes a twin that does not differ (yet)

Twins = tuple[Experiment, ...]


def differing(twins: Sequence[Experiment]) -> tuple[str, ...]:
    """The knobs in which not all of them agree, in the order of declaration."""
    return tuple(name for name in KNOBS if len({getattr(twin, name) for twin in twins}) > 1)


def difference(twin: Experiment, first: Experiment) -> dict[str, Any]:
    """The knobs of `twin` that are not those of `first`."""
    return {name: getattr(twin, name) for name in differing((first, twin))}


#: How a number of something is said: 0, 1 and more of them.
_COUNTED: dict[str, tuple[str, str, str]] = {
    "layers": ("0 layers", "1 layer", "{} layers"),
    "hidden": ("0 hidden units", "1 hidden unit", "{} hidden units"),
    "train_size": ("all training sequences", "1 training sequence", "{} training sequences"),
    "truncate": ("not truncated", "truncated after 1 step", "truncated after {} steps"),
    "truncate_every": (
        "truncated every so many steps",
        "truncated at every step",
        "truncated every {} steps",
    ),
}


def said(experiment: Experiment, name: str) -> str:
    """A setting in words: "forget bias 4", "LSTM", "2 layers"."""
    if name == "truncate_every" and experiment.truncation:
        return said_of(
            name, experiment.truncation[0]
        )  # 0 stands for as many steps as one way back goes through
    return said_of(name, getattr(experiment, name))


def said_of(name: str, value: Any) -> str:
    """The same of a value."""
    shown = knob(name)
    if name in _COUNTED:
        none, one, many = _COUNTED[name]
        return {0: none, 1: one}.get(value, many.format(value))
    if shown.options is not None:
        option = shown.options[value]
        return f"{shown.label}: {option}" if name in ("clip", "clip_scope", "until") else option
    label = shown.label[0].lower() + shown.label[1:]
    return f"{label} {'default' if value is None else f'{value:.6g}'}"


def titles(twins: Sequence[Experiment]) -> list[str]:
    """What sets each of them apart, in a few words; empty where nothing does."""
    names = differing(twins)
    return [
        "; ".join(said(twin, name) for name in names if name not in without_say(twin.model_dump()))
        for twin in twins
    ]


def suggested(experiment: Experiment) -> dict[str, Any]:
    """A setting worth comparing with: what a second twin differs in until somebody says otherwise."""
    if experiment.forget_bias is not None:
        return {"forget_bias": 4.0 if experiment.forget_bias < 2 else 0.0}
    return {"cell": "tanh" if CELLS[experiment.cell].family != "plain" else "gru"}


def added(twins: Twins) -> Twins:
    """One more: like the first, with another value of what sets them apart or of something worth a look."""
    first, names = twins[0], differing(twins)
    name, tries = (names[0], _others(first, names[0])) if len(names) == 1 else ("", [])
    candidates = [*({name: value} for value in tries), suggested(first), *({"cell": c} for c in CELLS)]
    for values in candidates:
        twin, problems = fitted(first, values)
        if not problems and twin not in twins:
            return (*twins, twin)
    return (*twins, first.changed(changes=()))


def another(first: Experiment, name: str) -> Any:
    """Another value for a knob, to begin with."""
    for value in _others(first, name):
        twin, problems = fitted(first, {name: value})
        if not problems and twin != first:
            return value
    return getattr(first, name)


def _others(first: Experiment, name: str) -> list[Any]:
    """Values worth trying for a knob, the most telling first."""
    options, value = knob(name).options, getattr(first, name)
    if options is not None:
        return list(options)
    if name == "forget_bias":
        return [4.0, 0.0, 1.0, 2.0]
    if name == "train_size":
        return [100, 20, 500, 0]
    if name == "truncate":
        return [10, 5, 20, 0]
    if name == "truncate_every":
        return [max(1, first.truncate // 2), 1]
    if name == "seed":
        return [(value + k) % 2**32 for k in (1, 2, 3)]
    if isinstance(value, int):
        return [value * 2, value // 2, value * 4]
    return [value * 10, value / 10, value / 100] if knob(name).logarithmic else [value + 0.5, value - 0.5]


def with_all(twins: Twins, values: Mapping[str, Any]) -> tuple[Twins, list[Problem]]:
    """Other values for the first twin, and for the others wherever they agreed with it.

    Raises ExperimentError when the first cannot have them. Another twin that cannot gives up what sets it
    apart, which the problems say.
    """
    first = twins[0].changed(**values, changes=())
    changed, problems = [first], []
    for letter, twin in zip(LETTERS[1:], twins[1:], strict=False):
        own = difference(twin, twins[0])
        if "task" in values and values["task"] != twins[0].task:
            own.pop("length", None)  # lengths of another task mean nothing here
            if "train_size" in own:
                own["train_size"] = min(own["train_size"], TASKS[values["task"]].most_sequences)
        fitting, left_out = fitted(first, own)
        changed.append(fitting)
        problems += [Problem(f"{letter}: {p.field}", p.value, p.allowed) for p in left_out]
    return tuple(changed), problems


def fitted(first: Experiment, own: Mapping[str, Any]) -> tuple[Experiment, list[Problem]]:
    """`first` with as much of `own` as fits, and what did not.

    A knob of the first that has no say beside what differs, such as a forget bias with a cell that has no
    forget gate, goes back to its default without a word.
    """
    values: dict[str, Any] = dict(own)
    problems: list[Problem] = []
    while True:
        try:
            return first.changed(**values, changes=()), problems
        except ExperimentError as error:
            for problem in error.problems:
                if problem.field in values and problem.field in own:
                    problems.append(problem)
                    del values[problem.field]
                elif problem.field not in values:
                    usual = TASKS[values.get("task", first.task)].default_length
                    values[problem.field] = usual if problem.field == "length" else default_of(problem.field)


def to_text(twin: Experiment, first: Experiment) -> str:
    """How a link writes a twin: field:value, separated by commas."""
    own = difference(twin, first)
    return ",".join(f"{name}:{value_to_text(value)}" for name, value in own.items()) or SAME


def from_text(text: str, first: Experiment) -> tuple[Experiment, list[Problem]]:
    """The inverse of `to_text`. What cannot be used is left out and named."""
    own: dict[str, Any] = {}
    problems = []
    for part in text.split(",") if text != SAME else ():
        name, separator, value = part.partition(":")
        if not separator or name not in KNOBS:
            problems.append(Problem("twin", part, "allowed: a setting and its value, such as forget_bias:4."))
        else:
            own[name] = value_from_text(name, value)
    twin, left_out = fitted(first, own)
    return twin, problems + left_out
