"""The settings of the page Inside the cell."""

from __future__ import annotations

from dataclasses import dataclass

from ..cells import CELLS, Cell
from ..twins import LETTERS
from . import networks
from .link import PARAMETERS
from .setting_kinds import Choice, Kind, Number, Numbers
from .settings import Settings
from .text import _

#: What the gates of any cell may be held at: a candidate is a tanh, all others are sigmoids.
RANGES: dict[str, tuple[float, float]] = {
    gate: (-1.0, 1.0) if phi == "tanh" else (0.0, 1.0)
    for cell in CELLS.values()
    if len(cell.gates) > 1
    for gate, phi in zip(cell.gates, cell.activations, strict=True)
}
Held = tuple[tuple[str, float], ...]  # gates by name, in the order of RANGES


@dataclass(frozen=True)
class Holds:
    """Gates that are held at a value, "f:0.8,o:1" in the address."""

    default: Held = ()

    def read(self, text: str) -> Held:
        held: dict[str, float] = {}
        for part in text.split(","):
            gate, _colon, value = part.partition(":")
            low, high = RANGES.get(gate, (0.0, 0.0))
            try:
                held[gate] = float(value)
            except ValueError:
                held[gate] = float("nan")
            if gate not in RANGES or not low <= held[gate] <= high:
                raise ValueError(
                    _("allowed: a gate ({gates}) with a value from 0 to 1, g and n from -1, like f:0.8,o:1.")
                    .format(gates=", ".join(RANGES))
                )  # fmt: skip
        return ordered(held)

    def write(self, value: Held) -> str:
        return ",".join(f"{gate}:{number:.6g}" for gate, number in value)


def ordered(held: dict[str, float]) -> Held:
    """Held gates as the setting has them."""
    return tuple((gate, held[gate]) for gate in RANGES if gate in held)


KINDS: dict[str, Kind] = {
    **networks.KINDS,
    "source": Choice("step", {"step": "One step", "network": "A network"}),
    "show": Choice("lstm", {name: cell.label for name, cell in CELLS.items()}),
    "units": Choice("2", {"2": "2", "3": "3"}),
    "inputs": Choice("1", {"1": "1", "2": "2"}),
    "draw": Number(1, 0, 10_000, 1),
    "x": Numbers((0.8, -0.4), -10.0, 10.0),
    "h": Number(0.3, -10.0, 10.0, 0.1),
    "c": Number(0.5, -10.0, 10.0, 0.1),
    "which": Choice(LETTERS[0], {letter: letter for letter in LETTERS}),
    "layer": Number(1, 1, 4, 1),
    "way": Choice("forward", {"forward": "forward", "backward": "backward"}),
    "part": Choice("encoder", {"encoder": "encoder", "decoder": "decoder"}),
    "sequence": Number(1, 1, 100_000, 1),
    "unit": Number(1, 1, 100_000, 1),
    "t": Number(1, 1, 100_000, 1),
    "hold": Holds(),
    "span": Choice("step", {"step": "in this step alone", "every": "in every step up to this one"}),
}
SETTINGS = Settings("cell", KINDS, others=PARAMETERS)


def held_in(cell: Cell) -> dict[str, float]:
    """What the gates of this cell are held at; what is held in others waits for them."""
    gates = cell.gates if len(cell.gates) > 1 else ()
    return {gate: value for gate, value in SETTINGS["hold"] if gate in gates}


__all__ = ["KINDS", "RANGES", "SETTINGS", "Holds", "held_in", "ordered"]
