"""Words that a user reads pass through `_`, so that they can be translated; English stands in the source."""

from __future__ import annotations

import gettext
from pathlib import Path

_CATALOGUES = Path(__file__).parent / "locale"
_translation = gettext.translation("rnnviz", _CATALOGUES, fallback=True)


def _(message: str) -> str:
    """The message in the reader's language, or in English where there is no translation."""
    return _translation.gettext(message)
