"""The few lines of Python that repeat an experiment without the browser."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from textwrap import dedent, indent

from ..experiment import Experiment
from .text import _

_WHERE = "Save this in the folder of rnnviz and run it there, or install rnnviz first."
_ONE = """
    losses = []
    for chunk in train(experiment):
        losses.extend(chunk.loss)
        if len(chunk.validation_step):
            seen, validation = chunk.validation_step[-1], chunk.validation_loss[-1]
    print(f"{len(losses)} steps, the last with training loss {losses[-1]:.4g}")
    print(f"validation loss {validation:.4g} at step {seen}")
"""
_SEVERAL = """
    losses = {}
    for name, experiment in experiments.items():
        losses[name] = []
        for chunk in train(experiment):
            losses[name].extend(chunk.loss)
            if len(chunk.validation_step):
                seen, validation = chunk.validation_step[-1], chunk.validation_loss[-1]
        print(f"{name}: {len(losses[name])} steps, validation loss {validation:.4g} at step {seen}")
"""


def python_lines(experiments: Sequence[Experiment]) -> str:
    """A script that trains these experiments again, the same numbers on the same machine.

    Each is written with what differs from the defaults, changes in mid-run included. After the script,
    `losses` holds the training loss of every step: a list for one experiment, for several a dict of lists by
    letter.
    """
    start = f"# {_(_WHERE)}\nfrom rnnviz import Experiment, train\n"
    if len(experiments) == 1:
        return f"{start}\nexperiment = {_call(experiments[0])}\n{dedent(_ONE)}"
    entries = "".join(
        indent(f'"{letter(k)}": {_call(experiment)},\n', "    ") for k, experiment in enumerate(experiments)
    )
    return f"{start}\nexperiments = {{\n{entries}}}\n{dedent(_SEVERAL)}"


def letter(index: int) -> str:
    """What the runs of a download are called: A to Z as the twins of a page, then A1, B1 and so on."""
    turn, place = divmod(index, len(ascii_uppercase))
    return f"{ascii_uppercase[place]}{turn or ''}"


def _call(experiment: Experiment) -> str:
    """The experiment as an expression, one argument a line."""
    usual = Experiment(task=experiment.task)  # its length is the task's own
    arguments = [f"task={experiment.task!r}"]
    for name in type(experiment).model_fields:
        value = getattr(experiment, name)
        if name == "changes" and value:
            rows = "".join(f"        {change.model_dump()!r},\n" for change in value)
            arguments.append(f"changes=(\n{rows}    )")
        elif name not in ("task", "changes") and value != getattr(usual, name):
            arguments.append(f"{name}={value!r}")
    listed = "".join(f"    {argument},\n" for argument in arguments)
    return f"Experiment(\n{listed})".replace("'", '"')
