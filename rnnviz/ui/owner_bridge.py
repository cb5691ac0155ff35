"""Asks the browser for its owner's token on pages that do not draw the live component.

The same token that the live component hands over, from the same file: it lies in the browser's local storage
and travels to the server in the page's own connection, never in an address.
"""

from __future__ import annotations

import streamlit as st

from ..runs.store import Store
from . import steering
from .component import module_path
from .live import Heard

KEY = "owner_bridge"
_SILENT = "owner_silent"

# Not the stub of `component`: it draws nothing, and asks once.
_JS = """
let asked;
export default function ({ data, setStateValue }) {
  if (asked) return;
  asked = import(new URL(data.module, document.baseURI).href)
    .then((module) => setStateValue("owner", module.ownerToken()))
    .catch((error) => {
      asked = null;
      setStateValue("owner", "");
      console.error(error);
    });
  return () => { asked = null; };
}
"""

_component = st.components.v2.component("rnnviz_owner", js=_JS, isolate_styles=True)


def known() -> bool:
    """Whether it is known whose browser this is: by now, or from another page of the same visit."""
    return steering.known() or st.session_state.get(_SILENT, False)


def ask(store: Store) -> None:
    """Ask, at the end of a page. An answer that is news runs the page again."""
    # A box without height: the component shows nothing.
    with st.container(key=KEY, height=1, border=False):
        told = _component(
            key=f"{KEY}_token", data={"module": module_path("owner.js")}, on_owner_change=_nothing
        )
    token = getattr(told, "owner", None)
    if token is not None and not token and not known():
        st.session_state[_SILENT] = True  # what is owned then lasts as long as the visit
        st.rerun()
    steering.hear(store, Heard(token or None, None), (), ())


def _nothing() -> None:
    """Streamlit wants a callback for each value that a component may set."""
