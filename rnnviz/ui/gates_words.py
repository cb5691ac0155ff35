"""What gates, candidates and states are, in a line each."""

from __future__ import annotations

from ..cells import CELLS, Cell
from .text import _

_LSTM = {
    "i": ("Input gate i", "how much of the candidate is written; 1 writes"),
    "f": ("Forget gate f", "how much of the memory is kept; 1 keeps, 0 erases"),
    "g": ("Candidate g", "what would be written"),
    "o": ("Output gate o", "how much of the memory is shown as h; it leaves c alone"),
}
_GRU = {
    "r": ("Reset gate r", "how much of the past the candidate sees; 0 hides it"),
    "n": ("Candidate n", "what would be written"),
}
_STATES = {
    "c": ("Memory c", "what is carried on by adding, and shown only through o"),
    "h": ("Hidden state h", "what the next step and the output read"),
}


def told(cell: Cell, name: str) -> tuple[str, str]:
    """Title and explanation of a gate or state of this cell."""
    if name in _STATES:
        title, note = _STATES[name]
    elif name == "z":
        keeps = cell.memory_gates["z"] > 0
        title = "Update gate z"
        note = "1 keeps what was, 0 writes" if keeps else "1 writes, 0 keeps what was"
    elif name == "f" and "i" not in cell.gates:
        title, note = "Forget gate f", "1 keeps the memory, 0 writes instead: the input gate is 1 - f"
    else:
        title, note = (_LSTM if cell.family == "lstm" else _GRU)[name]
    return _(title), _(note)


def gates_of(cell: str) -> list[str]:
    """The sigmoid gates of a cell; a plain cell's state is no gate."""
    found = CELLS[cell]
    names = zip(found.gates, found.activations, strict=True)
    return [name for name, nonlinearity in names if nonlinearity == "sigmoid" and found.family != "plain"]
