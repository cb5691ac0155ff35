"""The settings of the page on gates."""

from __future__ import annotations

from .link import PARAMETERS
from .networks import KINDS
from .setting_kinds import Choice, Kind, Number, Words
from .settings import Settings

SECTIONS = {
    "time": "Over time",
    "saturation": "Saturation",
    "memory": "Memory time",
    "probe": "What is remembered",
    "without": "Take something away",
    "text": "Text",
}
SOURCES = {"step": "The step's own batch", "held_out": "Held-out sequences", "typed": "Type one"}
ORDERS = {
    "index": "As they are",
    "similar": "Alike together",
    "saturated": "Most saturated first",
    "gradient": "Largest gradient first",
}
COLORS = {"surprise": "Surprise", "unit": "One unit (h)", "gate": "A gate of one unit"}

MOST_TYPED = 4000  # characters of a sequence, which stands in the address

_KINDS: dict[str, Kind] = {
    **KINDS,
    "show": Choice("time", SECTIONS),
    "of": Choice("A", {letter: letter for letter in "ABCD"}),
    "over": Choice("held_out", SOURCES),
    "typed": Words("", MOST_TYPED),
    "sequence": Number(1, 1, 100_000, 1),
    "mean": Choice("one", {"one": "One sequence", "mean": "Mean of all"}),
    "layer": Number(1, 1, 4, 1),
    "way": Choice("forward", {"forward": "forward", "backward": "backward"}),
    "part": Choice("encoder", {"encoder": "encoder", "decoder": "decoder"}),
    "order": Choice("index", ORDERS),
    "t": Number(1, 1, 10_000, 1),
    "unit": Number(1, 1, 1024, 1),
    "state": Choice("h", {"h": "h, what is shown", "c": "c, the memory"}),
    "gate": Choice("f", {name: name for name in ("i", "f", "g", "o", "r", "z", "n", "h")}),
    "held": Choice("shut", {"shut": "Shut: 0", "open": "Open: 1", "half": "Half: 0.5"}),
    "whose": Choice("all", {"all": "Every unit", "one": "One unit"}),
    "color": Choice("surprise", COLORS),
    "temperature": Number(0.8, 0.0, 3.0, 0.1),
    "count": Number(300, 10, 2000, 10),
    "draw": Number(0, 0, 10_000, 1),
}
SETTINGS = Settings("gates", _KINDS, others=PARAMETERS)
