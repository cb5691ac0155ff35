"""The twins beside the first: what sets each of them apart, one click to add one."""

from __future__ import annotations

import streamlit as st

from ..experiment import KNOBS, Experiment, knob, without_say
from ..twins import LETTERS, MOST, another, difference, titles
from . import link
from .knobs import widget
from .text import _


def twin_strip() -> None:
    """A row for each further twin, and the button that duplicates the first."""
    twins = link.twins()
    named = titles(twins)
    if len(twins) > 1:
        with st.container(border=True, gap="xsmall", key="twins"):
            st.markdown(_("**A** {title}").format(title=f":gray[{named[0]}]" if named[0] else ""))
            for index in range(1, len(twins)):
                _row(index, twins[0], twins[index], named[index])
    if len(twins) < MOST:
        told = _("A twin trains beside this network with the same seed and data; one setting differs.")
        st.button(
            _("Duplicate and change one thing"), key="add_twin", icon=":material/add:", help=told,
            on_click=link.add_twin, width="stretch",
        )  # fmt: skip


def _row(index: int, first: Experiment, twin: Experiment, title: str) -> None:
    own = difference(twin, first)
    shown = [name for name in own if name not in without_say(twin.model_dump())]
    letter, what, away = st.columns([1, 8, 2], vertical_alignment="center", gap="small")
    letter.markdown(f"**{LETTERS[index]}**")
    away.button(
        "", key=f"remove_{index}", icon=":material/close:", on_click=link.remove_twin, args=(index,),
        help=_("Take this twin away"), type="tertiary",
    )  # fmt: skip
    if len(shown) > 1:  # from a link or from runs that differ in several things
        what.caption(title)
        return
    name = shown[0] if shown else "seed"
    field_key = f"twin_{index}_field"
    st.session_state[field_key] = name
    what.selectbox(
        _("What differs"), _choices(first, name), key=field_key, format_func=lambda n: _(knob(n).label),
        label_visibility="collapsed", on_change=_field_chosen, args=(index,),
    )  # fmt: skip
    value_key = f"twin_{index}_{name}"
    st.session_state[value_key] = getattr(twin, name)
    with what:
        widget(name, getattr(twin, name), value_key, _value_set, (index, name), plain=True, told=True)


def _choices(first: Experiment, name: str) -> list[str]:
    """Knobs in which a twin may differ from the first: those that have a say, `name` in any case."""
    silent = without_say(first.model_dump())
    return [knob_name for knob_name in KNOBS if knob_name not in silent or knob_name == name]


def _field_chosen(index: int) -> None:
    name = st.session_state[f"twin_{index}_field"]
    link.set_twin(index, {name: another(link.experiment(), name)})


def _value_set(index: int, name: str) -> None:
    link.set_twin(index, {name: st.session_state[f"twin_{index}_{name}"]})
