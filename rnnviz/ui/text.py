"""Words that a user reads pass through `_`, so that they can be translated; English stands in the source."""

from __future__ import annotations

import gettext
from collections.abc import Mapping
from pathlib import Path

_CATALOGUES = Path(__file__).parent / "locale"
_translation = gettext.translation("rnnviz", _CATALOGUES, fallback=True)


def _(message: str) -> str:
    """The message in the reader's language, or in English where there is no translation."""
    return _translation.gettext(message)


def words(defaults: Mapping[str, str]) -> dict[str, str]:
    """The words of a figure, see its `TEXT`, in the reader's language."""
    return {name: _(text) for name, text in defaults.items()}


def plain(text: str) -> str:
    """What came from outside, a visitor's words, a link or a file, shown as it is and never as markup."""
    line = " ".join(text.split())
    return "".join(
        "\\" + c if c in "\\`*_{}[]()#+-!|<>$:~" else f"{c}\u2060" if c in ".@" else c for c in line
    )


def percent(share: float, digits: int = 0) -> str:
    """A share as the figures write it, with a space that does not break."""
    return f"{100 * share:.{digits}f}\u00a0%"
