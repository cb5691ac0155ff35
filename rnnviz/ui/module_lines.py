"""Lines of Python for torch.nn: a module and its call, a network's, and one that loads a run's weights."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.shapes import Array, Form, Rows, gate_rows
from ..cells import CELLS
from ..experiment import Experiment
from ..layout import parts
from ..tasks import TASKS
from .text import _


def call_lines(form: Form, arrays: Sequence[Array]) -> str:
    """The module, an input, the call, and what comes back with its shapes as comments."""
    options = {
        "num_layers": (form.layers, 1), "bias": (form.bias, True), "batch_first": (form.batch_first, False),
        "bidirectional": (form.directions == 2, False), "proj_size": (form.projected, 0),
    }  # fmt: skip
    told: dict[str, object] = {name: value for name, (value, usual) in options.items() if value != usual}
    made = _module(form.cell, form.inputs, form.hidden, told)
    x, returned = arrays[0], arrays[1:]
    wide = max(len(f"{array.name}: {array.shape}") for array in returned)
    comments = []
    for array in returned:
        text = f"{array.name}: {array.shape}"
        comments.append(f"# {text:<{wide}}  {_dimensions(array)}")
    return "\n".join(
        [
            "import torch", "from torch import nn", "", f"rnn = {made}",
            f"x = torch.randn{x.shape}  # {_dimensions(x)}", f"{_returned(form.cell)} = rnn(x)", *comments,
        ]
    )  # fmt: skip


def _returned(cell: str) -> str:
    return "output, (h_n, c_n)" if "c" in CELLS[cell].states else "output, h_n"


def _dimensions(array: Array) -> str:
    """As a tuple of names."""
    return f"({', '.join(array.dimensions)})"


def _module(cell: str, inputs: int, hidden: int, told: dict[str, object]) -> str:
    """The expression that makes a module."""
    name, own = CELLS[cell].torch_module or ("", {})
    # nonlinearity="tanh" is what nn.RNN has anyway
    own = {key: value for key, value in own.items() if value != "tanh"}
    arguments = [f"input_size={inputs}", f"hidden_size={hidden}"]
    arguments += [f"{key}={value!r}".replace("'", '"') for key, value in {**told, **own}.items()]
    return f"nn.{name}({', '.join(arguments)})"


def row_words(cell: str, hidden: int) -> str:
    """Which rows are which gate's, in one clause: "rows 0 to 7 for i, 8 to 15 for f, …"."""
    one: list[Rows] = list(gate_rows(cell, hidden))
    return _("rows {rows}").format(
        rows=", ".join(_("{first} to {last} for {gate}").format(**each._asdict()) for each in one)
    )


def reading_lines(experiment: Experiment) -> str:
    """The recurrent modules of an experiment, how they are called and which part of it is read.

    For cells that torch.nn has, as `loading_lines`, without the class and without a file of weights.
    """
    e, task = experiment, TASKS[experiment.task]
    told = {name: value for name, value, usual in _told(e) if value != usual}
    made = _module(e.cell, task.input_size, e.hidden, told)
    T, every = e.steps_per_sequence(), task.readout == "every"
    return "\n".join(
        [
            *(f"{part} = {made}" for part in parts(e.architecture)),
            f"out = nn.Linear({e.directions * e.hidden}, {task.output_size})",
            f"x = torch.zeros({T}, {e.batch}, {task.input_size})  # (T, B, I)",
            *(
                line.strip().replace("self.", "").replace("return ", "y = ")
                for line in _forward(e, every, task.answered(e.length), task.output_size)
            ),
        ]
    )


def _told(e: Experiment) -> tuple[tuple[str, object, object], ...]:
    """The arguments of a module beside its sizes: name, value, PyTorch's default."""
    return (
        ("num_layers", e.layers, 1),
        ("bidirectional", e.directions == 2, False),
        ("dropout", e.dropout, 0.0),
    )


def loading_lines(experiment: Experiment, file: str) -> str:
    """The network of an experiment in plain torch, which loads the file of its weights.

    Its call takes (T, B, I) and returns what the network answers, (B, O), or (A, B, O) where A steps have an
    answer. For cells that torch.nn has; ValueError for others.
    """
    e, task = experiment, TASKS[experiment.task]
    if CELLS[e.cell].torch_module is None:
        raise ValueError(f"cell: torch.nn has no module for {e.cell}.")
    told = {name: value for name, value, usual in _told(e) if value != usual}
    rnn = _module(e.cell, task.input_size, e.hidden, told)
    every, answered = task.readout == "every", task.answered(e.length)
    modules = [f"        self.{part} = {rnn}" for part in parts(e.architecture)]
    lines = [
        "import torch", "from safetensors.torch import load_file", "from torch import nn", "", "",
        "class Network(nn.Module):", "    def __init__(self):", "        super().__init__()", *modules,
        f"        self.out = nn.Linear({e.directions * e.hidden}, {task.output_size})", "",
        f"    def forward(self, x):  # x: (T, B, {task.input_size})",
        *_forward(e, every, answered, task.output_size), "", "",
        f"network = Network(){'.double()' if e.precision == 'float64' else ''}",
        f'network.load_state_dict(load_file("{file}"))',
        "network.eval()" + ("  # no dropout" if e.dropout else ""),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _forward(e: Experiment, every: bool, answered: int, outputs: int) -> list[str]:
    """The lines of the network's call."""
    T = e.steps_per_sequence()
    if e.architecture == "encoder_decoder":
        lines = [
            f"        _, state = self.encoder(x[:-{answered}])  # all but the last {answered} of {T} steps",
            f"        output, state = self.decoder(x[-{answered}:], state)",
        ]
    else:
        lines = [f"        {_returned(e.cell)} = self.rnn(x)"]
    if every:
        some = "output" if answered == T or e.architecture == "encoder_decoder" else f"output[-{answered}:]"
        return [*lines, f"        return self.out({some})  # ({answered}, B, {outputs})"]
    if e.directions == 2:  # not output[-1]: the direction backward has read only one step there
        last = "torch.cat([h_n[-2], h_n[-1]], -1)"
        return [*lines, f"        return self.out({last})  # (B, {outputs})"]
    return [*lines, f"        return self.out(h_n[-1])  # (B, {outputs})"]
