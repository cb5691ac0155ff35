"""Section of the page on gates for text: characters coloured by what happens inside, and text it writes."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from ..analysis.dynamics import Place
from ..analysis.probe import correlations
from ..analysis.readings import Reading, read, symbolic
from ..analysis.written import opinion, write
from ..experiment import Experiment
from ..numbers import of
from ..runs.store import Store
from ..tasks import TASKS
from .gates_settings import SETTINGS
from .gates_words import gates_of
from .networks import Shown
from .text import _

INTERESTING = 6  # units that are named
TOP = 3
MOST_SHOWN = 400  # characters with predictions under them
_POSITIVE, _NEGATIVE, _SURPRISE = "223, 152, 98", "91, 141, 222", "194, 86, 156"

_STYLE = """<style>
.rnnviz-text { display: flex; flex-wrap: wrap; row-gap: 6px; font-family: var(--st-code-font, monospace); }
.rnnviz-text span { display: inline-flex; flex-direction: column; align-items: center; min-width: 1.35em;
  line-height: 1.25; font-size: 0.95rem; }
.rnnviz-text b { font-weight: 600; width: 100%; text-align: center; border-radius: 2px; padding: 2px 0; }
.rnnviz-text i { font-style: normal; font-size: 0.72rem; width: 100%; text-align: center; }
</style>"""


def text_section(store: Store, networks: Sequence[Shown], reads: Sequence[Reading], place: Place) -> None:
    """What is read, coloured; what is expected next; and what the network writes itself."""
    one, reading = networks[0], reads[0]
    if not names_the_next(one.experiment):
        st.info(_("This network does not name the next symbol of what it reads. Train one on text."))
        return
    index = min(int(SETTINGS["sequence"]), reading.B) - 1 if reading.known else 0
    _interesting(one, place)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        color = SETTINGS.switch("color", _("Colour by"))
        if color != "surprise":
            with st.container(width=140):
                SETTINGS.number("unit", _("Unit"), most=one.experiment.hidden)
        if color == "gate":
            gates = gates_of(one.experiment.cell)
            if gates:
                SETTINGS.switch("gate", _("Gate"), gates)
    st.html(_STYLE + _characters(one, reading, index, place, color))
    if len(reading.batch.inputs) > MOST_SHOWN:
        st.caption(_("Drawn are the first {n} characters.").format(n=MOST_SHOWN))
    found = opinion(reading, index, TOP)
    said = _("Under each character the likeliest next ones, the likeliest first; darker is likelier.")
    if np.isfinite(found.surprise).any():
        mean = float(np.nanmean(found.surprise))
        told_ = _("Surprise, -ln of a character's probability, is {nats} on average ({bits} bits).")
        said += " " + told_.format(nats=of(mean), bits=of(mean / float(np.log(2))))
    st.caption(f"{said} {_color_words(color, one)}")
    _writing(one, reading, index)


def names_the_next(e: Experiment) -> bool:
    """Whether a network is trained to name the next symbol of what it reads, at every step."""
    task = TASKS[e.task]
    in_step = task.readout == "every" and task.answered(e.length) == task.steps(e.length)
    same = task.tells_answers and task.input_size == task.output_size and symbolic(e.task)
    return in_step and same and e.architecture == "one"


def _color_words(color: str, one: Shown) -> str:
    if color == "surprise":
        return _("The pinker a character, the less it was expected.")
    if color == "unit" or not gates_of(one.experiment.cell):
        return _("Orange: the unit's h is positive after this character; blue: negative.")
    return _("Orange: the gate is open at this character.")


def _characters(one: Shown, reading: Reading, index: int, place: Place, color: str) -> str:
    """Each character with its colour, and what was expected to follow it."""
    classes = TASKS[one.experiment.task].classes() or ()
    symbols = reading.batch.inputs[:, index].argmax(-1)[:MOST_SHOWN]
    found = opinion(reading, index, TOP)
    shades = _shades(one, reading, index, place, color, found.surprise)
    parts = []
    for t, symbol in enumerate(symbols):
        under = "".join(
            f'<i style="opacity:{0.25 + 0.75 * p:.2f}">{html.escape(classes[k])}</i>'
            for k, p in zip(found.top[t], found.p[t], strict=True)
            if np.isfinite(p)
        )
        parts.append(
            f'<span><b style="background:{shades[t]}">{html.escape(classes[symbol])}</b>{under}</span>'
        )
    return f'<div class="rnnviz-text">{"".join(parts)}</div>'


def _shades(
    one: Shown, reading: Reading, index: int, place: Place, color: str, surprise: np.ndarray
) -> list[str]:
    if color == "surprise":
        # What stands at t was expected, or not, at the step before.
        before = np.append(np.nan, surprise[:-1])
        return [_shade(_SURPRISE, v / 5.0) for v in before]
    unit = min(int(SETTINGS["unit"]), one.experiment.hidden) - 1
    gates = gates_of(one.experiment.cell)
    if color == "gate" and gates:
        gate = SETTINGS["gate"] if SETTINGS["gate"] in gates else gates[0]
        return [_shade(_POSITIVE, v) for v in reading.values(place, gate)[:, index, unit]]
    values = reading.values(place, "h")[:, index, unit]
    return [_shade(_POSITIVE if v > 0 else _NEGATIVE, abs(v)) for v in values]


def _shade(rgb: str, strength: float) -> str:
    return f"rgba({rgb}, {min(1.0, max(0.0, strength)):.2f})" if np.isfinite(strength) else "transparent"


def _interesting(one: Shown, place: Place) -> None:
    """The units that follow a character or the place in the text most closely, as buttons."""
    reading = read(one.moment, "held_out")
    found, events = correlations(
        reading.values(place, "h"), reading.batch.inputs, np.empty((reading.B, 0), dtype=int)
    )
    strength = np.abs(np.nan_to_num(found))
    units = [u for u in np.argsort(-strength.max(1), kind="stable")[:INTERESTING] if strength[u].any()]
    if not units:
        return
    names = TASKS[one.experiment.task].channels()
    st.markdown(
        _(
            "**Units that follow something**, the closest first, with the correlation of h with it; a click "
            "colours the text by one:"
        )
    )
    with st.container(horizontal=True, gap="small"):
        for unit in units:
            event = events[int(strength[unit].argmax())]
            what = _("the place in the text") if event == "time" else f"“{names[int(event)]}”"
            told_ = _("{unit}: {what} ({r})").format(
                unit=int(unit) + 1, what=what, r=f"{found[unit, int(strength[unit].argmax())]:.2f}"
            )
            st.button(told_, key=f"interesting_{unit}", on_click=_choose, args=(int(unit) + 1,))


def _choose(unit: int) -> None:
    SETTINGS.set(unit=unit, color="unit")


def _writing(one: Shown, reading: Reading, index: int) -> None:
    """Text that the network writes from here on."""
    e = one.experiment
    st.markdown(_("**What it writes itself**, after the text above"))
    if e.directions > 1 or e.architecture != "one":
        st.caption(
            _("A network that reads both ways has to know the end before it begins, so it cannot write.")
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        with st.container(width=280):
            SETTINGS.slider(
                "temperature", _("Temperature"),
                help=_("0 always takes the likeliest; 1 draws as the network says; above, more boldly."),
            )  # fmt: skip
        with st.container(width=200):
            SETTINGS.number("count", _("Characters"))
        with st.container(width=160):
            SETTINGS.number("draw", _("Draw"), help=_("Another number, another text; the same, the same."))
    beginning = reading.batch.inputs[:, index].argmax(-1)
    count, temperature, draw = int(SETTINGS["count"]), float(SETTINGS["temperature"]), int(SETTINGS["draw"])
    key = ("written", beginning.tobytes(), count, temperature, draw)
    written = one.moment.once(key, lambda: write(one.moment, beginning, count, temperature, draw), "written")
    classes = TASKS[e.task].classes() or ()
    text = "".join(" " if classes[k] == "␣" else classes[k] for k in written)
    st.code(text or _("Its outputs are no numbers, so it writes nothing."), language=None, wrap_lines=True)
    if len(written) < count:
        st.caption(
            _("It ended after {n} characters: its outputs are no numbers any more.").format(n=len(written))
        )
