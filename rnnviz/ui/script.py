"""Whether a page's script came to its end the last time.

A click, or news from the browser, interrupts a run of the script, and what that run had to tell the browser's
widgets may be dropped: they then stand at their lowest values, and are taken at their word with the next
click. So after an interrupted run every widget whose value was set here is told it once more. Not after every
run: a value that the user has just moved on from would jump back.
"""

from __future__ import annotations

import streamlit as st

_ENDED, _AGAIN = "script_ended", "script_again"


def begin() -> None:
    """A run of the script begins to draw."""
    st.session_state[_AGAIN] = not st.session_state.get(_ENDED, False)
    st.session_state[_ENDED] = False


def end() -> None:
    """It has come to its end."""
    st.session_state[_ENDED] = True


def say(key: str) -> None:
    """Before a widget is drawn: tell the browser its value once more if that may have been lost."""
    if st.session_state.get(_AGAIN, True) and key in st.session_state:
        st.session_state[key] = st.session_state[key]
