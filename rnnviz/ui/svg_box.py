"""A drawing made in Python, put on the page as it is: st.html would take every SVG out.

It stands in a shadow root, so that its style is its own, and inherits the page's font and colour. A run of
the page that brings the same drawing leaves it alone, so that what moves in it goes on.
"""

from __future__ import annotations

import streamlit as st

_JS = """
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector(".drawn")
    || parentElement.appendChild(Object.assign(document.createElement("div"), { className: "drawn" }));
  if (box.shown !== data.svg) box.innerHTML = box.shown = data.svg;
}
"""
_component = st.components.v2.component("rnnviz_svg_box", js=_JS, isolate_styles=True)


def svg_box(svg: str, key: str, height: int) -> None:
    """Show a drawing in a box of so many pixels.

    What comes from outside has to be escaped in it: nothing is taken out here.
    """
    _component(key=key, data={"svg": svg}, height=height)
