"""What every component of our own is made with: the stub that loads it, and where its files are found.

A component's JavaScript is a module below `static/` with `mount(component)`, called at every message, and
`unmount(parentElement)`, called when the element goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

STATIC = Path(__file__).parent / "static"

# Sent again with every message, so it only loads the real thing, which the browser keeps.
_STUB = """
let loaded; // one promise for all calls: what waits for the same promise goes on in the order of the calls
const load = (data) => (loaded ||= import(new URL(data.module, document.baseURI).href));
export default function (component) {
  const { data, parentElement } = component;
  load(data).then((module) => module.mount(component)).catch((error) => {
    parentElement.textContent = data.text.broken;
    console.error(error);
  });
  return () => loaded.then((module) => module.unmount(parentElement)).catch(() => {});
}
"""


def component(name: str, isolate_styles: bool = True) -> Any:
    """A component of Streamlit that draws what a module below `static/` draws.

    name: unique among ours, "rnnviz_" is put before it. isolate_styles: inside a shadow root, where the
    page's styles end. Each call's `data` has to hold "module", its address by `module_path`, and
    "text" with "broken", the sentence that stands in its place when it cannot be loaded.
    """
    # The name makes each stub another one, so that no two components share the promise of a module.
    stub = f"// {name}{_STUB}"
    return st.components.v2.component(f"rnnviz_{name}", js=stub, isolate_styles=isolate_styles)


def base_path() -> str:
    """The server's base path, without slashes around it: empty when the app is at the root."""
    return str(st.get_option("server.baseUrlPath") or "").strip("/")


def static_path(base: str) -> str:
    """Where the browser finds the components' files, below the server's base path."""
    return f"{'/' + base if base else ''}/app/static"


def module_path(file: str) -> str:
    """Where the browser finds one of them; `file` is its path below `static/`."""
    return f"{static_path(base_path())}/{file}"
