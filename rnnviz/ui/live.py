"""The live component: figures that the browser keeps and that only what is new reaches.

It draws what the stream of a run sends (`stream.py`), without a script running for each update. Where the
stream is out of reach, it says so and is given windows of data once or twice a second instead.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..experiment import Experiment
from ..runs.store import Run, Store
from .component import base_path, component, module_path
from .live_text import live_text
from .overviews import overview_of
from .samples import sample_of
from .services import SERVER
from .slots import slots
from .stream import server_path, stream_path
from .summary import summary_of
from .text import _

KEY = "live"

_component = component("live")


@dataclass(frozen=True)
class Heard:
    """What the browser told: the owner's token, and whether the stream cannot be reached from there.

    pinned: the training step that was clicked in the figures, as long as it is held
    """

    owner: str | None
    unreachable: bool | None  # None as long as it has said nothing
    pinned: int | None = None


def live(
    store: Store, twins: Sequence[Experiment], runs: Sequence[Run], panes: Sequence[str], fallback: bool,
    large: bool = False, replay: bool = False, invitation: str | None = None,
) -> Heard:  # fmt: skip
    """Draw `runs`, or the invitation to train `twins`. With `fallback` the data comes through Streamlit."""
    text = {**live_text(_), "broken": _("The live figures could not be loaded. Reload the page.")}
    if invitation is not None:
        text["empty"] = invitation
    base = base_path()
    experiments = [run.experiment for run in runs] or list(twins)
    ids: list[str | None] = [run.id for run in runs] or [None] * len(twins)
    repeats = len(store.repeating([run.id for run in runs])) if runs else 0
    data: dict[str, Any] = {
        "module": module_path("live.js"),
        "text": text,
        "panes": list(panes),
        "slots": slots([e.changed(changes=()) for e in experiments], ids),
        "stream": stream_path(base, [run.id for run in runs], repeats) if runs else None,
        "states": {run.id: run.state for run in runs},  # for which the page has drawn its controls
        "server": {"id": SERVER, "path": server_path(base)},
        "runs": None,
        "windows": None,
        "samples": {run.id: sample_of(run.experiment) for run in runs} if "sample" in panes else {},
        "replay": replay,
        "large": large,
    }
    if runs and fallback:
        data["runs"] = [summary_of(store, run) for run in runs]
        # As text: Streamlit turns everything beside raw bytes into one string.
        shown = {run.id: overview_of(store, run.id) for run in runs}
        data["windows"] = {
            run: base64.b64encode(found[1]).decode() for run, found in shown.items() if found is not None
        }
    heard = _component(
        key=KEY, data=data, on_owner_change=_nothing, on_unreachable_change=_nothing,
        on_state_change=_nothing, on_pinned_change=_nothing,
    )  # fmt: skip
    pinned = getattr(heard, "pinned", None)
    return Heard(
        getattr(heard, "owner", None), getattr(heard, "unreachable", None),
        int(pinned) if isinstance(pinned, int | float) else None,
    )  # fmt: skip


def _nothing() -> None:
    """Streamlit wants a callback for each value that a component may set."""
