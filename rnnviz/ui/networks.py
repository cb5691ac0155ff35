"""Which networks an analysis page shows: runs at a checkpoint, or fresh weights as the knobs say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from ..analysis.moment import Moment, moment
from ..experiment import Experiment
from ..runs.store import Run, Store
from ..twins import MOST
from . import link, own_weights, steering
from .knobs import fill, knobs
from .setting_kinds import Choice, Kind, Number
from .settings import Settings
from .slots import slots
from .summary import title
from .text import _
from .twin_parts import twin_strip

#: What every analysis page has in its address beside the runs and the knobs.
KINDS: dict[str, Kind] = {
    "network": Choice("runs", {"runs": "Runs", "fresh": "Fresh weights"}),
    "at": Number(-1, -1, 10**9, 1),  # the training step that is looked at; -1 is the newest checkpoint
}
_PICKED, _LEFT = "networks_picked", "networks_left"


@dataclass(frozen=True)
class Shown:
    """A network on show. `step`: the updates behind its weights; `run` is None for fresh weights."""

    letter: str
    title: str
    color: str
    experiment: Experiment
    step: int = 0
    run: Run | None = None
    parameters: bytes | None = None

    @property
    def moment(self) -> Moment:
        """The pass forward and backward at this step; kept, so that asking again is quick."""
        return moment(self.experiment, self.step, self.parameters, self.kernel)

    @property
    def kernel(self) -> str | None:
        """What computed the run."""
        return None if self.run is None else json.loads(self.run.kernel or "{}").get("kernel")

    @property
    def name(self) -> str:
        """For legends: "A · LSTM" among twins, nothing for one alone."""
        return f"{self.letter} · {self.title}" if self.letter else ""

    @property
    def lead(self) -> str:
        """What a sentence about it begins with."""
        return f"**{self.letter}:** " if self.letter else ""


def sources(store: Store, settings: Settings) -> str:
    """The sidebar: runs or fresh weights, which runs, or the knobs. Returns "runs" or "fresh"."""
    known = _known(store)
    kind = "fresh"
    if known:
        kind = settings.switch("network", _("Look at"))
    else:
        st.caption(
            _(
                "No run is on show, so this is a network before its first training step. "
                "Train one, and its checkpoints can be looked at here."
            )
        )
    if kind == "runs":
        _picker(known)
    else:
        if link.unfilled():
            fill(link.experiment())
        twin_strip()
        link.take(knobs(link.experiment()))
    return kind


def chosen_runs(store: Store) -> list[Run]:
    """The list of runs to choose from, for a page that shows no fresh weights; those that are on show."""
    known = _known(store)
    if known:
        _picker(known)
    return link.runs(store)


def forget_deleted(store: Store) -> bool:
    """Take runs that are no longer there off the page.

    Returns whether there were any, as long as the same runs are on show: a page that begins anew by itself
    says it again.
    """
    there = tuple(run.id for run in link.runs(store))
    if there != link.view().runs:
        link.change(runs=there)
        st.session_state[_LEFT] = there
    elif st.session_state.get(_LEFT) != there:
        st.session_state.pop(_LEFT, None)
    return _LEFT in st.session_state


def _known(store: Store) -> dict[str, Run]:
    """The runs that can be chosen: those on show, and this browser's own."""
    shown = link.runs(store)
    own = store.runs(owner=steering.owner(), limit=100) if steering.known() else []
    return {run.id: run for run in (*shown, *own)}


def _picker(known: dict[str, Run]) -> None:
    shown = [run for run in link.view().runs if run in known]
    if not shown:
        shown = [next(iter(known))]
        link.change(runs=tuple(shown))
    labels = _labels(known)
    key = f"{_PICKED}:{','.join(shown)}"
    picked = st.multiselect(
        _("Runs"), list(known), default=shown, key=key, max_selections=MOST,
        format_func=labels.__getitem__,
        help=_("Up to {n}, side by side on one scale.").format(n=MOST),
    )  # fmt: skip
    if not picked:
        st.caption(_("Choose at least one; those before stay on show until then."))
    for run in shown:
        if known[run].weights:
            st.caption(own_weights.remark(known[run]))
    if picked and picked != shown:
        link.change(runs=tuple(picked))
        st.rerun()


def _labels(known: Mapping[str, Run]) -> dict[str, str]:
    """A name for each run, which tells those apart that are called the same: the widget knows no other."""
    labels: dict[str, str] = {}
    for name, run in known.items():
        label, count = run.name or title(run.experiment), 1
        while (told := label if count == 1 else f"{label} ({count})") in labels.values():
            count += 1
        labels[name] = told
    return labels


def checkpoints(store: Store, runs: Sequence[Run]) -> list[int]:
    """The steps at which any of these runs kept its weights, ascending."""
    return sorted({step for run in runs for step in store.checkpoint_steps(run.id)})


def checkpoint(settings: Settings, steps: Sequence[int]) -> int:
    """The slider over checkpoints; says where it does not stand at the step that was asked for."""
    wanted = settings["at"]
    chosen = settings.among(
        "at", _("Training step"), steps, last=True,
        help=_("Weights are kept at the start and then four times in every doubling of the step."),
    )  # fmt: skip
    if settings["at"] == wanted >= 0 and chosen != wanted:
        st.caption(_("Of step {wanted:,} no weights were kept; these are the nearest.").format(wanted=wanted))
    return chosen


def fresh() -> list[Shown]:
    """The networks that Train would start, before their first step."""
    twins = link.twins()
    return [
        Shown(slot["letter"], slot["title"], slot["color"], twin)
        for slot, twin in zip(slots(twins, [None] * len(twins)), twins, strict=True)
    ]


def at_checkpoint(store: Store, runs: Sequence[Run], step: int | None) -> list[Shown]:
    """Runs with the weights of a step, or of their last checkpoint before it; those that have one."""
    if step is None:
        return []
    told = slots([run.experiment.changed(changes=()) for run in runs], [run.id for run in runs])
    found = []
    for slot, run in zip(told, runs, strict=True):
        kept = [one for one in store.checkpoint_steps(run.id) if one <= step]
        if not kept:
            continue
        blob = store.checkpoint(run.id, kept[-1])
        name = run.name if run.name and not slot["letter"] else slot["title"]
        found.append(Shown(slot["letter"], name, slot["color"], run.experiment, kept[-1], run, blob))
    return found
