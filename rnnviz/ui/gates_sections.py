"""Sections of the page on gates: maps over time, saturation, and how long a memory is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ..analysis.dynamics import Place
from ..analysis.moment import moment, moment_apart
from ..analysis.readings import Reading, held_out_values, is_one_hot
from ..analysis.saturation import (
    QUANTILES,
    bias_of,
    by_similarity,
    ends,
    keeping,
    keeping_gate,
    memory_time,
)
from ..analysis.written import log_softmax
from ..cells import CELLS
from ..numbers import of
from ..plots import gates as figures
from ..plots.theme import CONFIG
from ..runs.store import Store
from ..tasks import TASKS, Task
from .gates_settings import SETTINGS
from .gates_words import gates_of, told
from .networks import Shown
from .text import _, percent, words
from .time_maps import DECADES, Pane, gate_pane, gradient_pane, signed_pane, time_maps

MOST_CHECKPOINTS = 24  # of a run that are read for figures over training
MOST_LINES = 4
_LINES = "gates_lines_of"
MOST_LETTERS = 80  # symbols that are written out

# Over time ----------------------------------------------------------------------------------------------


def time_section(store: Store, networks: Sequence[Shown], reads: Sequence[Reading], place: Place) -> None:
    """Maps of every gate, candidate and state, aligned with what is read and answered."""
    one, reading = networks[0], reads[0]
    index = _index(reading)
    panes, order = panes_of(reading, place, index), order_of(reading, place, index)
    steps = reading.steps(place)
    first = int(steps[0])
    inputs = reading.batch.inputs[first - 1 : first - 1 + len(steps)]
    symbols = None
    if index is not None and is_one_hot(inputs[:, index]):
        names = [_(name) for name in TASKS[one.experiment.task].channels()]
        symbols = ["␣" if names[k] == "space" else names[k] for k in inputs[:, index].argmax(-1)]
    marks = [] if index is None else [int(t) - first + 1 for t in reading.batch.marks[index]]
    marks = [t for t in marks if 0 <= t < len(steps)]
    st.markdown(_answer_words(one, reading, index))
    at = min(int(SETTINGS["t"]), len(steps)) - 1, min(int(SETTINGS["unit"]), one.experiment.hidden) - 1
    time_maps(
        panes, order, first, marks, symbols, _("Gates and states over time"), at, SETTINGS.round(), _moved
    )
    st.caption(
        _(
            "Left to right: time; top to bottom: units. A unit that is marked is the same one in all maps. "
            "Arrow keys move the mark, the space bar lets time run, a click holds it. Pink is NaN."
        )
        + (" " + _("Dotted: the steps on which the answer depends.") if marks else "")
    )
    _lines(one, reading, place, index, first, marks)


def _moved(t: int, unit: int) -> None:
    SETTINGS.note("t", t + 1)
    SETTINGS.note("unit", unit + 1)


def _index(reading: Reading) -> int | None:
    """Which sequence is on show; None for the mean of all."""
    if not reading.known:
        return 0
    if SETTINGS["mean"] == "mean" and reading.B > 1:
        return None
    return min(int(SETTINGS["sequence"]), reading.B) - 1


def _of(values: np.ndarray, index: int | None) -> np.ndarray:
    """(T, B, H) to (T, H)."""
    return values.mean(1) if index is None else values[:, index]


def panes_of(reading: Reading, place: Place, index: int | None) -> list[Pane]:
    """Inputs, gates, candidate, states, answer and gradient; of one sequence, or the mean over all."""
    e = reading.moment.experiment
    cell, task = CELLS[e.cell], TASKS[e.task]
    first = int(reading.steps(place)[0]) - 1
    T = len(reading.steps(place))
    inputs = _of(reading.batch.inputs[first : first + T], index)
    panes = [_inputs(task, inputs, index is not None)]
    for gate, nonlinearity in zip(cell.gates, cell.activations, strict=True):
        if gate in cell.states:
            continue
        values = _of(reading.values(place, gate), index)
        make = gate_pane if nonlinearity == "sigmoid" else signed_pane
        panes.append(make(gate, *told(cell, gate), values))
    for state in reversed(cell.states):
        values = _of(reading.values(place, state), index)
        bounded = state == "h" and e.cell not in ("relu", "linear")
        panes.append(signed_pane(state, *told(cell, state), values, 1.0 if bounded else None))
    panes += _answer_panes(reading, place, index)
    grad = reading.grad(place)
    if grad is not None:
        absolute = np.abs(grad).mean(1) if index is None else grad[:, index]
        note = _("its own loss, through all that is read later; {n} decades, log scale").format(n=DECADES)
        panes.append(gradient_pane("|dL/dh|", _("Gradient |dL/dh|"), note, absolute))
    return panes


def _inputs(task: Task, inputs: np.ndarray, single: bool) -> Pane:
    """(T, I): as text where each step reads one short symbol and there is room for them, else as a map."""
    channels = [_(name) for name in task.channels()]
    short = max(map(len, channels)) <= 5
    if single and short and len(inputs) <= MOST_LETTERS and is_one_hot(inputs):
        return Pane("x", _("Input"), "", "symbols", inputs, 0.0, 1.0, units=False)
    note = ", ".join(channels[:6]) + (", …" if len(channels) > 6 else "")
    return _channels("x", _("Input"), note, inputs)


def _channels(name: str, title: str, note: str, values: np.ndarray, blank: float | None = None) -> Pane:
    finite = values[np.isfinite(values)]
    low = min(0.0, float(finite.min())) if len(finite) else 0.0
    high = max(1.0, float(finite.max())) if len(finite) else 1.0
    return Pane(name, title, note, "ink", values, low, high, units=False, blank=blank)


def _answer_panes(reading: Reading, place: Place, index: int | None) -> list[Pane]:
    """What is answered at each step, and what is right, where there is an answer at several steps."""
    e = reading.moment.experiment
    task = TASKS[e.task]
    if task.readout != "every":
        return []
    steps = reading.steps(place)
    outputs = reading.outputs  # (A, B, O)
    T, A, size = len(reading.batch.inputs), len(outputs), outputs.shape[-1]
    said = np.exp(log_softmax(outputs)) if task.loss == "cross_entropy" else outputs
    whole = np.full((T, size), -1.0)
    whole[T - A :] = _of(said, index)
    panes = [_channels("y", _("Answer"), _answer_note(task.loss), whole[steps - 1], blank=-1.0)]
    if reading.known and index is not None:
        right = np.full((T, size), -1.0)
        targets = reading.batch.targets[:, index]
        right[T - A :] = np.eye(size)[targets.astype(int)] if task.loss == "cross_entropy" else targets
        panes.append(_channels("target", _("Right answer"), "", right[steps - 1], blank=-1.0))
    return panes


def _answer_note(loss: str) -> str:
    return _("probability of each class") if loss == "cross_entropy" else _("the output")


def order_of(reading: Reading, place: Place, index: int | None) -> np.ndarray:
    """The units from top to bottom, as the settings say."""
    h = reading.values(place, "h")
    cell = CELLS[reading.moment.experiment.cell]
    wanted = SETTINGS["order"]
    if wanted == "similar":
        return by_similarity(np.concatenate(h.transpose(1, 0, 2)[:8]) if index is None else h[:, index])
    if wanted == "saturated":
        gates = gates_of(cell.name) or ["h"]
        shares = np.zeros(h.shape[-1])
        for gate in gates:
            values = reading.values(place, gate)
            if gate == "h":
                shares += (np.abs(values) > 0.9).mean((0, 1))
            else:
                found = ends(values)
                shares += found.shut + found.open
        return np.argsort(-np.nan_to_num(shares, nan=np.inf), kind="stable")
    if wanted == "gradient" and (grad := reading.grad(place)) is not None:
        size = np.abs(grad).mean((0, 1)) if index is None else np.abs(grad[:, index]).mean(0)
        return np.argsort(-np.nan_to_num(size, nan=np.inf), kind="stable")
    return np.arange(h.shape[-1])


def _answer_words(one: Shown, reading: Reading, index: int | None) -> str:
    """What was read and answered, in words."""
    task = TASKS[one.experiment.task]
    where = _("the batch of training step {step:,}").format(step=one.step)
    if SETTINGS["over"] == "held_out":
        where = _("held-out sequences, which training never saw")
        if one.run is not None and one.run.origin is not None:
            where = _("sequences of the validation set")
    if not reading.known:
        text = _("**Your sequence**, {T} time steps. No right answer is known, so there is no gradient.")
        text = text.format(T=len(reading.batch.inputs))
        if task.readout == "last":
            said = task.predicted(reading.outputs[0])
            text += " " + _("The network says: {said}.").format(said=said)
        return one.lead + text
    if index is None:
        told = _("**Mean over {B} sequences** of {where}; the gradient's is that of absolute values.")
        return one.lead + told.format(B=reading.B, where=where)
    if task.readout == "every":
        text = _("**Sequence {k} of {B}**, {where}.").format(k=index + 1, B=reading.B, where=where)
        return one.lead + text
    right, said = task.answer(reading.batch, index), task.predicted(reading.outputs[index])
    told = _("**Sequence {k} of {B}**, {where}. Right answer: {right}. The network says: {said}.")
    return one.lead + told.format(k=index + 1, B=reading.B, where=where, right=right, said=said)


def _lines(
    one: Shown, reading: Reading, place: Place, index: int | None, first: int, marks: Sequence[int]
) -> None:
    """Chosen units as lines."""
    cell, hidden = CELLS[one.experiment.cell], one.experiment.hidden
    with st.expander(_("Units as lines"), key="gates_lines"):
        marked = min(int(SETTINGS["unit"]), hidden)
        others = [unit for unit in st.session_state.get(_LINES, []) if unit <= hidden and unit != marked]
        chosen = st.multiselect(
            _("Units"), list(range(1, hidden + 1)), [marked, *others][:MOST_LINES],
            key=f"gates_units:{hidden}:{marked}", max_selections=MOST_LINES,
            help=_("A click into the maps chooses one; add others here."),
        )  # fmt: skip
        st.session_state[_LINES] = [unit for unit in chosen if unit != marked]
        names = [name for name in dict.fromkeys((*cell.gates, *cell.states))]
        lines = [
            figures.Line(name, unit, _of(reading.values(place, name), index)[:, unit - 1])
            for unit in chosen
            for name in names
        ]
        figure = figures.lines_figure(lines, first, marks, words(figures.TEXT))
        st.plotly_chart(figure, key="unit_lines", config=CONFIG, alt=_("Gates and states of chosen units"))


# Saturation ---------------------------------------------------------------------------------------------


def saturation_section(
    store: Store, networks: Sequence[Shown], reads: Sequence[Reading], place: Place
) -> None:
    """How often each gate of each unit is shut or open."""
    clouds, said = [], []
    for one, reading in zip(networks, reads, strict=True):
        gates = gates_of(one.experiment.cell)
        if not gates:
            cell = CELLS[one.experiment.cell]
            said.append(one.lead + _("{cell} has no gates.").format(cell=cell.label))
            continue
        parts = []
        for gate in gates:
            found = ends(reading.values(place, gate))
            clouds.append(figures.Cloud(gate, one.name, found.shut, found.open))
            told_ = _("{gate}: {shut} of the time shut, {open} open")
            title = told(CELLS[one.experiment.cell], gate)[0]
            parts.append(
                told_.format(
                    gate=title, shut=percent(float(found.shut.mean())), open=percent(float(found.open.mean()))
                )
            )
        said.append(f"{one.lead}{'; '.join(parts)}. {_over_words(reading)}")
    if clouds:
        st.markdown(
            _(
                "A gate below 0.1 is as good as shut, above 0.9 as good as open. There its sigmoid is flat, "
                "so hardly any gradient passes through the gate itself. Each point is a unit: right at the "
                "bottom, always shut; top left, always open; at the origin, never at either end."
            )
        )
        figure = figures.ends_figure(clouds, words(figures.TEXT))
        st.plotly_chart(figure, key="ends", config=CONFIG, alt=_("Shares of time shut and open, by unit"))
    for sentence in said:
        st.markdown(sentence)


def _over_words(reading: Reading) -> str:
    told_ = _("Over {B} sequences of {T} time steps: {what}.")
    what = _("the training step's own batch") if SETTINGS["over"] == "step" else _("held-out sequences")
    return told_.format(B=reading.B, T=len(reading.batch.inputs), what=what)


# Memory time --------------------------------------------------------------------------------------------


def memory_section(store: Store, networks: Sequence[Shown], reads: Sequence[Reading], place: Place) -> None:
    """What is kept each step, the memory time it implies, and the bias behind it."""
    curves, said = [], []
    for one in networks:
        cell = CELLS[one.experiment.cell]
        gate = keeping_gate(cell)
        if gate is None:
            told_ = _("{cell} has no gate that keeps: its state is made anew at every step.")
            said.append(one.lead + told_.format(cell=cell.label))
            continue
        steps, quantiles = _over_training(store, one, place, gate[0])
        curves.append(figures.Keeps(one.name, one.color, steps, quantiles, memory_time(quantiles)))
        now = keeping(cell, held_out_values(one.moment, place, gate[0]))
        what = "f" if gate[0] == "f" else ("z" if gate[1] > 0 else "1 - z")
        told_ = _(
            "Kept each step ({what}), median {median}: a memory time of {time} steps of {T}. "
            "The unit that keeps most on average has {longest} steps."
        )
        said.append(
            one.lead
            + told_.format(
                what=what, median=of(float(now.quantiles[2])), time=of(float(memory_time(now.quantiles)[2])),
                T=one.experiment.steps_per_sequence(), longest=of(float(np.max(memory_time(now.mean)))),
            )
        )  # fmt: skip
    if curves:
        st.markdown(
            _(
                "What is multiplied by a factor at each step falls to 1/e (37 %) after -1/ln of it steps: "
                "0.5 gives 1.4, 0.9 gives 9.5, 0.99 gives 100. For an LSTM the factor is the forget gate f, "
                "for a GRU z, or 1 - z in Chung's form: near 1 it is a long memory. Lines are medians; bands "
                "hold 50 % and 80 % of all values, over units, time steps and held-out sequences."
            )
        )
        lengths = sorted({one.experiment.steps_per_sequence() for one in networks})
        figure = figures.keeping_figure(curves, lengths, words(figures.TEXT))
        st.plotly_chart(figure, key="keeping", config=CONFIG, alt=_("What is kept each step over training"))
    for sentence in said:
        st.markdown(sentence)
    if curves:
        _biases(store, [one for one in networks if one.step], place)


def _over_training(store: Store, one: Shown, place: Place, gate: str) -> tuple[np.ndarray, np.ndarray]:
    """Checkpoints up to the one on show, and (K, 5) quantiles of what is kept at each."""
    run = one.run
    kept = [0] if run is None else [step for step in store.checkpoint_steps(run.id) if step <= one.step]
    every = -(-len(kept) // MOST_CHECKPOINTS)  # the same ones while more come in
    steps = sorted({*kept[::every], *kept[-1:]})
    cell = CELLS[one.experiment.cell]
    cache: dict[tuple[object, ...], np.ndarray] = st.session_state.setdefault("gates_kept", {})
    rows, there = [], []
    for step in steps:
        key = (run.id if run else one.experiment.to_json(), step, place)
        if key not in cache:
            if len(cache) > 2000:
                cache.clear()
            blob = one.parameters if run is None else store.checkpoint(run.id, step)
            if run is not None and blob is None:
                continue  # deleted meanwhile
            at = moment_apart(one.experiment, step, blob, one.kernel)
            cache[key] = keeping(cell, held_out_values(at, place, gate)).quantiles
        rows.append(cache[key])
        there.append(step)
    return np.array(there), np.array(rows).reshape(len(there), len(QUANTILES))


def _biases(store: Store, networks: Sequence[Shown], place: Place) -> None:
    """The keeping gate's bias at the start and now."""
    if not networks:
        return
    columns = st.columns(max(2, len(networks)))
    for column, one in zip(columns, networks, strict=False):
        gate = keeping_gate(CELLS[one.experiment.cell])
        if gate is None:
            continue
        found = []
        first = None if one.run is None else store.checkpoint(one.run.id, 0)
        for at in (moment(one.experiment, 0, first, one.kernel), one.moment):
            w = at.network.weights(*place[:3])
            pair = (w["bias_ih"].numpy(), w["bias_hh"].numpy())
            found.append(bias_of(one.experiment.cell, gate[0], *pair, one.experiment.hidden))
        with column:
            figure = figures.bias_figure(found[0], found[1], one.color, words(figures.TEXT))
            key = f"bias_{one.letter}"
            st.plotly_chart(figure, key=key, config=CONFIG, alt=_("The gate's bias, start against now"))
            moved = float(np.mean(np.abs(found[1] - found[0])))
            told_ = _("Bias of {gate}, both of PyTorch's added: {start} on average at the start, {now} now.")
            st.caption(
                one.lead
                + told_.format(gate=gate[0], start=of(float(found[0].mean())), now=of(float(found[1].mean())))
                + (" " + _("Training hardly moved it.") if moved < 0.05 else "")
            )
