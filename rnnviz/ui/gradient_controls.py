"""The settings of the page on gradients, and the controls that say which part of a network is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ..analysis.dynamics import Place
from ..cells import CELLS
from ..experiment import Experiment
from ..runs.store import Run, Store
from . import networks
from .link import PARAMETERS
from .networks import KINDS
from .setting_kinds import Choice, Kind, Number
from .settings import Settings
from .text import _

SECTIONS = {
    "time": "Along time",
    "products": "Jacobians",
    "spectra": "Spectra",
    "ledger": "Ledger",
    "clipping": "Clipping",
    "memory": "Memory",
}
#: Sections in which a layer and a direction are looked at, and those that look at one sequence.
OF_A_LAYER = ("time", "products", "spectra", "ledger")
OF_A_PART = ("products", "spectra", "ledger")
OF_A_SEQUENCE = ("products", "spectra")

JOB_SECONDS, RUN_SECONDS = 0.7, 2.0
_BUSY = "gradients_busy"

_KINDS: dict[str, Kind] = {
    **KINDS,
    "show": Choice("time", SECTIONS),
    "state": Choice("h", {"h": "h", "c": "c, the memory"}),
    "of": Choice("step", {"step": "the step Jacobian", "weights": "the blocks of W_hh"}),
    "layer": Number(1, 1, 4, 1),
    "way": Choice("forward", {"forward": "forward", "backward": "backward"}),
    "part": Choice("encoder", {"encoder": "encoder", "decoder": "decoder"}),
    "sequence": Number(1, 1, 100_000, 1),
    "t": Number(-1, -1, 10_000, 1),
    "answer": Number(-1, -1, 10_000, 1),
    "threshold": Number(1.0, 1e-6, 1e6, 0.1),
}
SETTINGS = Settings("gradients", _KINDS, others=PARAMETERS)


def controls(
    store: Store, settings: Settings, section: str, runs: Sequence[Run], experiments: Sequence[Experiment]
) -> tuple[int | None, Place]:
    """One row: the training step of `runs`, and which part of the networks; asks where there is a choice.

    Returns the step, None where there is none, and layer, direction, part and sequence.
    """
    counts = {
        "layer": min(e.layers for e in experiments) if section in OF_A_LAYER else 1,
        "way": min(e.directions for e in experiments) if section in OF_A_LAYER else 1,
        "part": min(2 if e.architecture != "one" else 1 for e in experiments) if section in OF_A_PART else 1,
        "sequence": min(e.batch for e in experiments) if section in OF_A_SEQUENCE else 1,
        "state": max(len(CELLS[e.cell].states) for e in experiments) if section == "time" else 1,
    }
    labels = {
        "layer": _("Layer"), "way": _("Direction"), "part": _("Part"), "sequence": _("Sequence of the batch"),
        "state": _("Of which state"),
    }  # fmt: skip
    asked = [name for name, count in counts.items() if count > 1]
    widths = [2 if name == "layer" else 3 for name in asked]
    steps = networks.checkpoints(store, runs)
    columns = (
        iter(st.columns([*([4] if len(steps) > 1 else []), *widths], gap="medium"))
        if asked or steps[1:]
        else iter(())
    )
    step = steps[-1] if steps else None
    if len(steps) > 1:
        with next(columns):
            step = networks.checkpoint(settings, steps)
    chosen = dict.fromkeys(counts, 0)
    for name in asked:
        with next(columns):
            kind = settings.kinds[name]
            if isinstance(kind, Choice):
                chosen[name] = list(kind.options).index(settings.switch(name, labels[name]))
            else:
                chosen[name] = settings.among(name, labels[name], list(range(1, counts[name] + 1))) - 1
    return step, Place(chosen["layer"], chosen["way"], chosen["part"], chosen["sequence"])


def refresh(runs: Sequence[Run], settings: Settings) -> float | None:
    """How often the figures are drawn again, in seconds; None where nothing is under way."""
    if st.session_state.get(_BUSY):
        return JOB_SECONDS
    newest = settings["at"] < 0
    return RUN_SECONDS if newest and any(not run.ended for run in runs) else None


def busy(now: bool) -> None:
    """Say whether something is computed that the figures wait for."""
    st.session_state[_BUSY] = now
