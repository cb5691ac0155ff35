"""The panes of the live figures: their names in links and in the interface."""

from __future__ import annotations

#: Name in a link to label, in the order in which they are offered.
PANES: dict[str, str] = {
    "loss": "Loss",
    "norm": "Gradient norm",
    "heat": "Gradient over time",
    "accuracy": "Accuracy",
    "sample": "Sequence",
    "groups": "Gradient by part",
    "update": "Update size",
    "spectrum": "Spectrum",
}
DEFAULT_PANES: tuple[str, ...] = ("loss", "norm", "heat")
