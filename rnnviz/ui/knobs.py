"""Widgets made from the experiment's fields: label, help, range and options come from the one declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from ..cells import CELLS
from ..clipping import CLIPPINGS
from ..experiment import Experiment, bounds, default_of, exclusive, knob, without_say
from ..initialization import INITIALIZATIONS
from ..optimizers import OPTIMIZERS
from ..tasks import TASKS
from .text import _

_PREFIX, _ROUND = "knob", "knobs_round"
OF_THE_TASK = ("length", "train_size")
#: Rows of the sidebar; a row of two stands side by side.
ROWS: tuple[tuple[str, ...], ...] = (
    ("task",), ("architecture",), ("cell",), ("hidden", "length"), ("layers", "direction"),
    ("initialization",), ("gain", "forget_bias"),
    ("clip", "clip_threshold"), ("optimizer", "learning_rate"), ("steps", "batch"),
)  # fmt: skip
MORE: tuple[tuple[str, ...], ...] = (
    ("dropout",), ("truncate", "truncate_every"), ("omega",),
    ("train_size",), ("until",), ("clip_scope",), ("seed", "precision"),
)  # fmt: skip
FITTING = 14  # letters of an option that half of the sidebar shows
ALL = tuple(name for row in ROWS + MORE for name in row)


def fill(experiment: Experiment) -> None:
    """Set the widgets to an experiment, before they are drawn.

    Each round of filling has widgets of its own, which begin with the value that they are given. Setting the
    state of those that are there is not safe: what one run of the script tells them is dropped when the next
    run follows before it was sent, and they then stand at their lowest values.
    """
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1


def key_of(name: str, task: str) -> str:
    """The key of a knob's widget; those whose value comes with a task have one for each."""
    turn = str(st.session_state.get(_ROUND, 0))
    return ":".join([_PREFIX, name, turn, *([task] if name in OF_THE_TASK else [])])


def name_of(key: str) -> str | None:
    """The knob that a widget's key belongs to, if it is one's."""
    prefix, *rest = key.split(":")
    return rest[0] if prefix == _PREFIX else None


def knobs(experiment: Experiment) -> dict[str, Any]:
    """Draw the knobs that have a say; returns the value of every one, drawn or not.

    `experiment` is that of the last time; what was turned since stands in the widgets' state.
    """
    state = st.session_state
    task = TASKS[state.get(key_of("task", experiment.task), experiment.task)]
    current = {name: state.get(key_of(name, task.name), getattr(experiment, name)) for name in ALL}
    if task.name != experiment.task and key_of("length", task.name) not in state:
        current["length"] = task.default_length  # a new task brings its own
        current["train_size"] = min(experiment.train_size, task.most_sequences)
    # What has no say is not drawn, and goes back to what it is when nobody sets it.
    silent: dict[str, Any] = {}
    for name in without_say(current):
        if name == "length":
            silent[name] = task.fixed_length
        elif name in ("clip_threshold", "clip_scope"):
            silent[name] = getattr(experiment, name)
        else:
            silent[name] = default_of(name)
    values = dict(silent)
    for row in ROWS:
        values |= _row([name for name in row if name not in silent], current)
    with st.expander(_("More")):
        for row in MORE:
            values |= _row([name for name in row if name not in silent], current)
    return values


def _row(names: list[str], current: dict[str, Any]) -> dict[str, Any]:
    """Side by side, or one below the other where an option that is chosen would be cut short."""
    labels = [str((knob(name).options or {}).get(current[name], "")) for name in names]
    narrow = len(names) > 1 and all(len(_(label)) <= FITTING for label in labels)
    columns = st.columns(len(names)) if narrow else [st.container() for _name in names]
    values = {}
    for name, column in zip(names, columns, strict=True):
        with column:
            values[name] = widget(name, current[name], key_of(name, current["task"]))
    return values


def widget(
    name: str, value: Any, key: str, on_change: Callable[..., None] | None = None, args: tuple[Any, ...] = (),
    plain: bool = False, told: bool = False,
) -> Any:  # fmt: skip
    """One knob, which begins with `value` and then stays as the user left it.

    plain: without its label; told: the caller sets its state before every time that it is drawn, to `value`.
    """
    field, shown = Experiment.model_fields[name], knob(name)
    more: dict[str, Any] = {"key": key, "on_change": on_change, "args": args}
    if not told:
        names = list(shown.options or ())
        more |= {"index": names.index(value)} if names else {"value": value}
    if plain:
        more["label_visibility"] = "collapsed"
    label, text = _(shown.label), "\n\n".join([_(field.description or ""), *_explained(name)])
    if shown.options is not None:
        options = shown.options
        return st.selectbox(label, list(options), help=text, format_func=lambda o: _(options[o]), **more)
    low, high = bounds(name)
    if field.annotation is int:
        return st.number_input(label, int(low or 0), int(high or 0), help=text, step=_step(name), **more)
    # An exclusive bound is 0; a smaller number than usual may still come from a link.
    smallest = min(1e-9, value) if exclusive(name) else float(low or 0)
    return st.number_input(
        label, smallest, float(high or 0), help=text, format="%.4g",
        step=_logarithmic_step(value) if shown.logarithmic else 0.1 if name == "gain" else 1.0,
        placeholder=_("default"), **more,
    )  # fmt: skip


def _explained(name: str) -> list[str]:
    """A line for each option of a knob whose options explain themselves."""
    registries: dict[str, Mapping[str, Any]] = {
        "cell": CELLS, "initialization": INITIALIZATIONS, "clip": CLIPPINGS, "optimizer": OPTIMIZERS,
    }  # fmt: skip
    described = registries.get(name, {})
    return [f"**{_(entry.label)}:** {_(entry.summary)}" for entry in described.values()]


def _step(name: str) -> int:
    return {"hidden": 8, "length": 5, "steps": 100, "batch": 8, "train_size": 50}.get(name, 1)


def _logarithmic_step(value: float) -> float:
    """A tenth of the number or less, rounded to a power of ten: the buttons make sense at any size."""
    return float(f"1e{int(f'{value:e}'.split('e')[1]) - 1}")
