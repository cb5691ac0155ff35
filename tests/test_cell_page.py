"""The page Inside the cell by Streamlit's own test driver: its numbers, switches, holds, links and runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import streamlit as st
import torch
from safetensors.numpy import load, save
from streamlit.testing.v1 import AppTest

from rnnviz.analysis.inside import look, plain_at, small_start, start_of
from rnnviz.analysis.inside_equations import substituted
from rnnviz.analysis.latex import short
from rnnviz.analysis.moment import moment
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.runs.schema import CHECKPOINTS
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from rnnviz.ui import cell_sections
from rnnviz.ui.cell_sections import carried_on
from rnnviz.ui.cell_settings import KINDS, Holds
from rnnviz.ui.cell_words import bars
from rnnviz.ui.link import PARAMETERS

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "cell.py")
SMALL = Experiment(
    task="adding", length=6, cell="lstm", hidden=3, batch=2, steps=4, precision="float64",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _store(store: Store) -> None:
    """No test meets the store of this machine."""


def page(**query: str) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def drawn(app: AppTest) -> dict[str, Any]:
    """What the browser was given to draw."""
    assert not app.exception
    parts = [json.loads(one.proto.json) for one in app.get("bidi_component") if one.proto.json]
    (found,) = (part for part in parts if "svg" in part)
    return dict(found)


def said(app: AppTest) -> str:
    return "\n".join(str(text.value) for text in (*app.markdown, *app.caption))


def widget(app: AppTest, name: str, end: str = "") -> Any:
    kinds = (app.slider, app.number_input, app.button_group, app.selectbox, app.toggle, app.select_slider)
    pattern = rf"cell:{name}:\d+{end}$"
    (found,) = (one for kind in kinds for one in kind if re.match(pattern, str(one.key)))
    return found


def address(app: AppTest) -> dict[str, str]:
    found = dict(app.query_params.items())
    return {name: value if isinstance(value, str) else value[0] for name, value in found.items()}


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    """A run that has ended."""
    run = store.create(experiment)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    return run


def change(store: Store, run: str, value: float, name: str | None = None) -> dict[str, np.ndarray]:
    """Set every weight of a run's last checkpoint, or one row of one of them; returns all."""
    step = store.checkpoint_steps(run)[-1]
    blob = store.checkpoint(run, step)
    assert blob is not None
    parameters = {key: array.copy() for key, array in load(blob).items()}
    for key, array in parameters.items():
        if name is None:
            array[...] = value
        elif key == name:
            array[0] += value
    with store.write() as connection:
        here = (CHECKPOINTS.c.run == run) & (CHECKPOINTS.c.step == step)
        connection.execute(sa.update(CHECKPOINTS).where(here).values(parameters=save(parameters)))
    return parameters


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_shown_with_its_numbers(name: str) -> None:
    app = page(show=name, units="3", inputs="2", x="0.25,-1.5", h="-0.7", c="1.25", unit="2", draw="9")
    assert not app.warning
    begin = small_start(name, 3, 2, 9, (0.25, -1.5)).changed(
        1, **{state: {"h": -0.7, "c": 1.25}[state] for state in CELLS[name].states}
    )
    inside = look(begin)
    data = drawn(app)
    assert data["carried"] == carried_on(inside, 1)
    assert data["numbers"] == {key: data["carried"][key] for key in data["numbers"]}
    assert set(re.findall(r'data-number="(\w+)"', data["svg"])) == data["numbers"].keys()
    assert data["color"] == CELLS[name].color
    assert data["held"] == []
    latex = "\n".join(str(one.value) for one in app.latex)
    for line in substituted(inside, 1):
        assert line.split(" = ", 1)[1] in latex
    text = said(app)
    for gate in CELLS[name].gates:
        one = inside.shares[gate]
        row = [one.input[1], one.recurrent[1], *([one.peephole[1]] if CELLS[name].peepholes else [])]
        assert f"| ${gate}$ | " + " | ".join(short(float(value)) for value in row) in text
    assert "def forward(self, ops" in app.code[0].value
    assert ("plain tanh cell" in text) == (len(CELLS[name].gates) > 1)


def test_what_stays_with_the_words() -> None:
    text = said(page(hold="f:0.8,i:0.6,o:0.44,g:0.5"))
    assert "**Kept 80\u00a0% of 0.5, erased 0.1, wrote 0.3, shows 44\u00a0% of it.**" in text
    assert "$c_t$ = 0.7." in text
    assert "acts on $h_t$ alone" in text
    assert "The forget gate f is 1 to keep it and 0 to erase it" in text
    assert "**Kept 75\u00a0% of 0.3, erased 0.075, wrote 0.125; all of it is shown.**" in said(
        page(show="gru", hold="z:0.75,n:0.5")
    )
    assert "**z = 1 keeps**" in said(page(show="gru"))
    text = said(page(show="gru_chung", hold="z:0.75,n:0.5"))
    assert "**z = 1 writes**" in text
    assert "**Kept 25\u00a0% of 0.3, erased 0.225, wrote 0.375;" in text


def test_bars_begin_and_end_where_the_numbers_say() -> None:
    data = drawn(page(hold="f:0.8,i:0.6,o:0.44,g:-1"))
    span = 0.5 + 0.2  # from c now = 0.4 - 0.6 to c before
    places = {bar["name"]: (bar["from"] * span - 0.2, bar["to"] * span - 0.2) for bar in data["bars"]}
    assert data["zero"] * span == pytest.approx(0.2)
    for name, (start, end) in {
        "c before": (0, 0.5), "kept": (0, 0.4), "erased": (0.4, 0.5), "written": (0.4, -0.2),
        "c now": (0, -0.2), "shown as h": (0, 0.44 * np.tanh(-0.2)),
    }.items():  # fmt: skip
        assert places[name] == pytest.approx((start, end)), name
    assert [bar["value"] for bar in data["bars"]][:5] == ["0.5", "0.4", "0.1", "\u22120.6", "\u22120.2"]


def test_the_switches_of_an_lstm() -> None:
    app = page()
    before = drawn(app)["carried"]
    app.toggle(key="cell:show:1:lstm_peephole").set_value(True).run()
    after = drawn(app)["carried"]
    assert address(app) == {"show": "lstm_peephole"}
    assert after.keys() - before.keys() == {"peeps", "p_i", "p_f", "p_o"}
    assert widget(app, "show", ":lstm_coupled").disabled
    assert "do not exist here" in said(app)
    widget(app, "show", ":lstm_peephole").set_value(False).run()
    assert drawn(app)["carried"] == before
    widget(app, "show", ":lstm_coupled").set_value(True).run()
    assert address(app) == {"show": "lstm_coupled"}
    assert before.keys() - drawn(app)["carried"].keys() == {"tap_i", "a_i", "i"}
    widget(app, "show").set_value("gru").run()
    assert address(app) == {"show": "gru"}
    widget(app, "show", ":form").set_value("gru_chung").run()
    assert address(app) == {"show": "gru_chung"}
    assert "r h" in said(app)


def test_gates_are_held_and_let_go() -> None:
    app = page(draw="5")
    free = drawn(app)["carried"]
    widget(app, "hold", ":o:on").set_value(True).run()
    at = widget(app, "hold", ":o:at")
    assert at.value == pytest.approx(float(free["o"]), abs=0.006)
    at.set_value(0.25).run()
    now = drawn(app)
    assert address(app) == {"draw": "5", "hold": "o:0.25"}
    assert now["held"] == ["o"]
    assert {name for name in free if free[name] != now["carried"][name]} == {"o", "h"}
    begin = small_start("lstm", 2, 1, 5, (0.8,)).changed(0, h=0.3, c=0.5)
    assert now["carried"] == carried_on(look(begin, {"o": 0.25}), 0)
    widget(app, "hold", ":o:on").set_value(False).run()
    assert drawn(app)["carried"] == free
    assert address(app) == {"draw": "5"}


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if len(cell.gates) > 1])
def test_it_can_be_made_plain(name: str) -> None:
    app = page(show=name)
    assert "Now the gates are not at these values" in said(app)
    next(one for one in app.button if one.label.startswith("Make it plain")).click().run()
    text, data = said(app), drawn(app)
    assert "Now they are" in text
    held = dict(Holds().read(address(app)["hold"]))
    assert held == plain_at(CELLS[name])
    if CELLS[name].family == "gru":
        assert re.search(r"They differ by (0|\d(\.\d+)?e\u22121[67]) at most", text)
        assert (
            f"$h_t$ here: {data['carried']['h']}. Of the plain tanh cell with the candidate's weights: "
            + (data["carried"]["h"])
            in (text)
        )
    else:
        assert re.search(r"it differs from \$h_t\$ by (0|\d(\.\d+)?e\u22121[67]) at most", text)
        assert "nearly, but not, a plain RNN" in text
    next(one for one in app.button if one.label == "Let all gates go").click().run()
    assert "hold" not in address(app)


def test_a_gru_without_its_reset_gate() -> None:
    app = page(show="gru")
    next(one for one in app.button if one.label == "Without its reset gate: r = 1").click().run()
    assert address(app) == {"show": "gru", "hold": "r:1"}
    carried = drawn(app)["carried"]
    assert carried["r"] == "1"
    assert carried["past"] == carried["a_hn"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("show", "transformer", "allowed: tanh, relu"),
        ("hold", "f:2", "allowed: a gate"),
        ("hold", "q:0.5", "allowed: a gate"),
        ("hold", "f", "allowed: a gate"),
        ("hold", "f:nan", "allowed: a gate"),
        ("units", "9", "allowed: 2, 3."),
        ("x", "1", "allowed: 2 numbers"),
        ("h", "nan", "allowed: a number from -10 to 10."),
        ("unit", "0", "allowed: a whole number from 1"),
        ("source", "moon", "allowed: step, network."),
        ("colour", "red", "no such setting"),
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, value: str, allowed: str) -> None:
    app = page(**{name: value})
    (warning,) = app.warning
    assert allowed in warning.value.replace("\u2060", "").replace("\\", "")
    assert warning.value.count("\n") == 0
    assert drawn(app)["carried"] == drawn(page())["carried"]


def test_names_in_the_address_do_not_meet() -> None:
    assert set(KINDS) & PARAMETERS == set()
    for text in ("f:0.8,o:1", "i:0.5,g:-1,n:0.25"):
        assert Holds().write(Holds().read(text)) == text
    assert Holds().read("o:1,f:0.5") == (("f", 0.5), ("o", 1.0))


def test_fresh_weights_walk_through_a_sequence() -> None:
    query = {"source": "network", "cell": "gru", "task": "adding", "length": "6", "hidden": "4", "batch": "3"}
    app = page(**query, t="4", unit="3", sequence="2")
    one = moment(Experiment(task="adding", length=6, cell="gru", hidden=4, batch=3))
    assert drawn(app)["carried"] == carried_on(look(start_of(one, 3, 1)), 2)
    assert (drawn(app)["t"], drawn(app)["steps"]) == (4, 6)
    widget(app, "t", ":1:6").set_value(5).run()
    assert drawn(app)["carried"] == carried_on(look(start_of(one, 4, 1)), 2)
    assert address(app)["t"] == "5"
    widget(app, "hold", ":z:on").set_value(True).run()
    widget(app, "hold", ":z:at").set_value(0.9).run()
    held = {"z": 0.9}
    assert drawn(app)["carried"] == carried_on(look(start_of(one, 4, 1), held), 2)
    widget(app, "span").set_value("every").run()
    assert drawn(app)["carried"] == carried_on(look(start_of(one, 4, 1, held=held), held), 2)
    assert address(app)["span"] == "every"


@pytest.mark.parametrize(
    "query",
    [
        {"cell": "lstm", "layers": "2", "direction": "both", "layer": "2", "way": "backward", "t": "1"},
        {"cell": "tanh", "task": "spelling", "part": "decoder"},
        {"cell": "lstm_coupled", "t": "99", "unit": "99", "span": "every", "hold": "f:0.5"},
    ],
)
def test_other_networks(query: dict[str, str]) -> None:
    app = page(source="network", hidden="4", batch="2", **{"task": "adding", **query})
    assert not app.warning
    assert drawn(app)["steps"] > 1


def test_a_run_is_followed(store: Store) -> None:
    run = trained(store)
    app = page(source="network", run=run, t="3", unit="2")
    step = store.checkpoint_steps(run)[-1]

    def expected(parameters: bytes | None) -> dict[str, str]:
        return carried_on(look(start_of(moment(SMALL, step, parameters), 2)), 1)

    blob = store.checkpoint(run, step)
    assert drawn(app)["carried"] == expected(blob)
    assert "step 3 of 6" in said(app)
    before = drawn(app)["carried"]
    for name, values in load(blob or b"").items():
        if name.startswith("rnn"):
            saved = change(store, run, 0.5, name)
            now = drawn(app.run())["carried"]
            assert now == expected(save(saved))
            assert now != before, name
            change(store, run, -0.5, name)
        assert torch.from_numpy(values).isfinite().all()


@pytest.mark.parametrize("cell", ["lstm_peephole", "gru", "tanh"])
def test_weights_that_are_no_numbers(store: Store, cell: str) -> None:
    run = trained(store, SMALL.model_copy(update={"cell": cell}))
    change(store, run, float("nan"))
    app = page(source="network", run=run, t="3", hold="z:0.5")
    data = drawn(app)
    assert data["numbers"]["h"] == "NaN"
    assert "NaN" in said(app)
    assert all(np.isfinite(one.value) for one in app.slider)  # a slider knows no NaN
    assert all(bar["from"] is None for bar in data["bars"] if bar["value"] == "NaN")


def test_bars_of_what_is_too_large() -> None:
    inside = look(small_start("tanh", 1, 1, 0, (1.0,)))
    huge = {**inside.shares, "h": replace(inside.shares["h"], input=np.array([-1.7e308]))}
    for a in (1.7e308, np.inf, -np.inf, np.nan):
        rows, zero = bars(replace(inside, shares=huge, values={**inside.values, "a_h": np.array([a])}), 0)
        places = [place for row in rows for place in (row["from"], row["to"]) if place is not None]
        assert all(0 <= place <= 1 for place in (*places, zero))
        assert rows[3]["value"] == short(a)
        assert json.dumps(rows, allow_nan=False)


def test_a_key_moves_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    seen: list[dict[str, Any]] = []

    def browser(key: str, data: dict[str, Any], on_moved_change: Any) -> None:
        seen.append(data)
        if told:
            st.session_state[key] = SimpleNamespace(moved=told.pop())
            on_moved_change()

    monkeypatch.setattr(cell_sections, "_component", browser)
    app = page(source="network", cell="gru", task="adding", length="6", hidden="4", batch="2", t="2")
    for moved, t in (({"t": 3, "n": 1}, 3), ({"t": 99}, 3), ({"t": "no"}, 3), (None, 3), ({"t": 1}, 1)):
        told.append(moved)
        app.run()
        app.run()
        assert not app.exception
        assert seen[-1]["t"] == t
        assert widget(app, "t", ":1:6").value == t
