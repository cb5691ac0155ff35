"""The parts of the page Shapes: its knobs, and the answers, of which one is on show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import median

import pandas as pd
import streamlit as st

from ..analysis import costs as cost
from ..analysis import equalities as equal
from ..analysis import shapes
from ..analysis.costs import Measured
from ..analysis.shapes import PROJECTS, Form
from ..numbers import of
from ..plots.shapes import TEXT, Block, blocks_figure
from ..plots.theme import CONFIG
from . import shapes_words as say
from .module_lines import call_lines
from .shapes_settings import SETTINGS, form
from .text import _, words

_MEASURED = "shapes_measured"  # what was timed last, and of which module
_NONE = "–"  # noqa: RUF001

_equalities = lru_cache(maxsize=64)(equal.equalities)
_arrays = lru_cache(maxsize=64)(shapes.arrays)


def knobs() -> None:
    """The module, and what it is given."""
    module = SETTINGS.select("module", _("Module"))
    left, right = st.columns(2)
    with left:
        SETTINGS.number("I", _("Inputs I"), help=_("input_size, 1 to 256 here."))
    with right:
        SETTINGS.number("H", _("Units H"), help=_("hidden_size, 1 to 256 here."))
    SETTINGS.slider("L", _("Layers L"))
    SETTINGS.switch("D", _("Directions"), help=_("Both ways is bidirectional=True: D = 2."))
    SETTINGS.number(
        "P", _("Projection P"), disabled=module != PROJECTS,
        help=_("proj_size of nn.LSTM, less than H: how wide h is handed on. 0: no projection."),
    )  # fmt: skip
    SETTINGS.switch("bias", _("Biases"))
    st.subheader(_("Input"), anchor=False)
    kind = SETTINGS.switch("input", _("What is read"))
    SETTINGS.switch(
        "first", _("Order of dimensions"), disabled=kind == "one",
        help=_("(B, T, …) is batch_first=True."),
    )  # fmt: skip
    SETTINGS.slider("T", _("Time steps T"))
    SETTINGS.slider("B", _("Batch B"), disabled=kind == "one")


def lines() -> None:
    """The module and its call, to be copied."""
    st.code(call_lines(form(), _arrays(form())), language="python")


def table(rows: Sequence[Mapping[str, object]]) -> None:
    """A table of Markdown, which scrolls by itself where it is wider than the page."""
    st.table(pd.DataFrame([{key: str(value) for key, value in row.items()} for row in rows]), hide_index=True)


def parameters_section() -> None:
    """Every parameter with the reason for its shape, and a drawing of the rows."""
    one = form()
    found = shapes.weights(one)
    layer, direction, unit = _place(one)
    st.markdown(say.answer(one, unit))
    own = [w for w in found if (w.layer, w.direction) == (layer, direction) and w.gates]
    blocks = [Block(w.name, w.shape[0], w.shape[1] if len(w.shape) > 1 else 1) for w in own]
    alt = say.answer(one, unit).replace("**", "")
    st.plotly_chart(
        blocks_figure(blocks, say.gate_names(one.cell), one.hidden, unit, words(TEXT)), key="shapes_blocks",
        config=CONFIG, alt=alt,
    )  # fmt: skip
    st.caption(
        _(
            "Rows are counted from 0, from the top. Each band is a gate; the rows of unit {unit} are marked. "
            "Under each parameter stands its number of columns."
        ).format(unit=unit)
    )
    table(
        [
            {
                _("Parameter"): f"`{weight.name}`",
                _("Shape"): say.shape_words(weight.shape),
                _("Why"): say.why(one, weight),
            }
            for weight in found
        ]
    )
    st.caption(say.total_words(one, found))
    biased = next((e for e in _equalities(one) if e.name == "one_bias"), None)
    st.markdown(say.bias_words(one, biased))
    lines()


def _place(one: Form) -> tuple[int, int, int]:
    """Which layer, direction and unit are drawn."""
    asked = [
        name for name, n in (("layer", one.layers), ("way", one.directions), ("unit", one.hidden)) if n > 1
    ]
    chosen = {"layer": 0, "way": 0, "unit": 0}
    for name, column in zip(asked, st.columns(len(asked)) if asked else [], strict=True):
        with column:
            if name == "way":
                chosen[name] = int(SETTINGS.switch("way", _("Direction")) == "backward")
            elif name == "layer":
                chosen[name] = SETTINGS.among("layer", _("Layer, from 0"), list(range(one.layers)))
            else:
                chosen[name] = SETTINGS.among("unit", _("Unit, from 0"), list(range(one.hidden)))
    return chosen["layer"], chosen["way"], chosen["unit"]


def outputs_section() -> None:
    """The shapes of what goes in and comes out, with the names of their dimensions."""
    one = form()
    lines()
    st.markdown(_("What the call takes and returns, and what each dimension counts:"))
    table(
        [
            {
                _("Array"): f"`{array.name}`",
                _("Shape"): say.shape_words(array.shape),
                _("Dimensions"): say.names_of(array),
                _("Holds"): say.holds_words(one, array),
            }
            for array in _arrays(one)
        ]
    )
    st.caption(say.dimension_words(one))
    for told in say.layout_words(one):
        st.markdown(told)
    if one.layers * one.directions > 1:
        st.markdown(
            _("**h_n has one entry for each layer and direction**, at the index {rule}:").format(
                rule="`2 * layer + direction`" if one.directions == 2 else "`layer`"
            )
        )
        ways = [_("forward"), _("backward")]
        table(
            [
                {_("Entry"): f"`h_n[{one.directions * k + d}]`", _("Layer"): k, _("Direction"): ways[d]}
                for k in range(one.layers)
                for d in range(one.directions)
            ]
        )


def equal_section() -> None:
    """What equals what, computed now."""
    one = form()
    found = _equalities(one)
    st.markdown(say.checked_words(one, found))
    st.button(_("Draw other weights"), key="shapes_draw", on_click=_draw, icon=":material/casino:")
    table(
        [
            {
                _("Claim"): say.claim(one, each),
                _("Here it"): say.verdict(each),
                _("Largest difference"): say.difference_words(each),
                _("In Python"): f"`{each.left} == {each.right}`",
            }
            for each in found
        ]
    )
    st.caption(
        _(
            "other_ is the module with batch_first turned round, packed_ and padded come from "
            "pack_padded_sequence and pad_packed_sequence, alone are modules of one layer and direction, "
            "own_ is rnnviz's cell."
        )
    )


def _draw() -> None:
    SETTINGS.set(draw=(SETTINGS["draw"] + 1) % 10_000)


def cost_section() -> None:
    """What each cell costs at these sizes, counted, and on request timed."""
    one = form()
    st.markdown(say.cost_words(one))
    large = cost.too_large(one)
    if large is not None:
        st.info(say.too_large_words(large, cost.MOST_PRODUCTS))
    elif st.button(_("Measure the time here"), key="shapes_measure", icon=":material/timer:"):
        with st.spinner(_("Measuring")):
            st.session_state[_MEASURED] = (one, cost.measure(one))
    of_what, measured = st.session_state.get(_MEASURED, (None, None))
    if of_what != one:
        if measured is not None and large is None:
            st.caption(_("The sizes have changed since the time was measured."))
        measured = None
    found = cost.costs(one)
    table([_cost_row(one, each, measured) for each in found])
    if measured is not None:
        for told in say.found_words(found, measured):
            st.markdown(told)
        st.caption(say.measured_words(measured))


def _cost_row(one: Form, each: cost.Cost, measured: Measured | None) -> dict[str, object]:
    step = each.products
    whole = (each.products + each.pointwise) * one.steps * one.with_batch.batch
    row: dict[str, object] = {
        _("Cell"): say.cell_name(each),
        _("Parameters"): f"{each.parameters:,}",
        _("Multiply-adds a step"): f"{step:,}",
        _("Unit by unit"): f"{each.pointwise:,}",
        _("Both, whole batch"): f"{whole:,}",
    }
    if measured is None:
        return row
    (timing,) = (t for t in measured.timings if t.cell == each.cell)
    for who, pair in ((_("torch.nn"), timing.module), (_("rnnviz"), timing.own)):
        known = pair is not None and not each.projected
        row[_("{who} forward").format(who=who)] = (
            of(median(pair.forward)) if pair is not None and known else _NONE
        )
        row[_("{who} and backward").format(who=who)] = (
            of(median(pair.both)) if pair is not None and known else _NONE
        )
    return row
