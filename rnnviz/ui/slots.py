"""The places of the twins in the figures: letter, title and colour, the same on every page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..cells import CELLS
from ..experiment import Experiment
from ..twins import LETTERS, titles
from .summary import title
from .text import _

#: For twins whose cell's colour is taken: apart from it and from each other, also without red and green.
_EXTRA = {
    "plain": ("#b0468c", "#0f8a94", "#64748b"),
    "lstm": ("#c2569c", "#b5790f", "#64748b"),
    "gru": ("#c2569c", "#b5790f", "#5b7290"),
}


def colors(twins: Sequence[Experiment]) -> list[str]:
    """A colour for each: its cell's, or another where a twin before it has that one."""
    chosen: list[str] = []
    for twin in twins:
        cell = CELLS[twin.cell]
        free = (color for color in (cell.color, *_EXTRA[CELLS[twins[0].cell].family]) if color not in chosen)
        chosen.append(next(free))
    return chosen


def slots(twins: Sequence[Experiment], runs: Sequence[str | None]) -> list[dict[str, Any]]:
    """For the live component: one entry a twin, `runs` their ids, None where nothing runs yet."""
    alone = len(twins) == 1
    named = [title(twins[0])] if alone else [name or _("the same once more") for name in titles(twins)]
    return [
        {"id": run, "letter": "" if alone else LETTERS[k], "title": named[k], "color": color}
        for k, (run, color) in enumerate(zip(runs, colors(twins), strict=True))
    ]
