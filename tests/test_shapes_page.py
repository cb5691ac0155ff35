"""The page Shapes by Streamlit's own test driver: what it says, its knobs, its links, and a run's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from safetensors.numpy import load
from streamlit.testing.v1 import AppTest

from rnnviz.analysis import costs as costs_module
from rnnviz.analysis.costs import Cost, Measured, Times, Timing, costs
from rnnviz.analysis.equalities import equalities
from rnnviz.analysis.shapes import Form, weights
from rnnviz.experiment import Experiment
from rnnviz.runs.store import Store
from rnnviz.runs.worker import advance_slice
from rnnviz.ui.setting_kinds import Choice, Number
from rnnviz.ui.shapes_settings import SECTIONS, SETTINGS
from rnnviz.ui.shapes_words import CLAIMS, found_words
from tests.figures import figures

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "shapes.py")
SMALL = Experiment(task="adding", length=5, cell="lstm", hidden=4, batch=3, steps=6)

pytestmark = pytest.mark.usefixtures("store")


def page(**query: str | list[str]) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def address(app: AppTest) -> dict[str, str]:
    found = dict(app.query_params.items())
    return {name: value if isinstance(value, str) else value[0] for name, value in found.items()}


def said(app: AppTest) -> str:
    return "\n".join(str(text.value) for text in (*app.markdown, *app.caption, *app.info))


def rows(app: AppTest, which: int = 0) -> list[list[str]]:
    return [[str(value) for value in row] for row in app.table[which].value.to_numpy().tolist()]


def widget(app: AppTest, name: str) -> Any:
    """The widget of a setting."""
    kinds = (app.slider, app.number_input, app.button_group, app.selectbox, app.select_slider)
    (found,) = (one for kind in kinds for one in kind if str(one.key).startswith(f"shapes:{name}:"))
    return found


def trained(store: Store, experiment: Experiment = SMALL) -> str:
    """A run that has ended."""
    run = store.create(experiment)
    epoch = store.claim(run)
    assert epoch is not None
    advance_slice(store.url, run, epoch, 60.0)
    return run


def test_the_first_view_answers_the_question() -> None:
    app = page()
    assert address(app) == {}
    assert not app.warning
    assert "**weight_ih has 32 rows for 8 units: 4 gates x 8 units.**" in said(app)
    assert "unit 0 has the rows 0, 8, 16, 24" in said(app)
    found = {name: (shape, why) for name, shape, why in rows(app)}
    assert found["`weight_ih_l0`"] == (
        "`(32, 3)`",
        "4 gates x 8 units = 32 rows: 0 to 7 input gate i, 8 to 15 forget gate f, 16 to 23 candidate g, "
        "24 to 31 output gate o; 3 columns: one for each input",
    )
    assert found["`weight_hh_l0`"][1].endswith("8 columns: one for each unit's h at t - 1")
    assert "4 parameters with 416 numbers in all" in said(app)
    assert "changes by at most 0: only their sum counts" in said(app)
    assert "b_ih = 1 and b_hh = 0 in the rows 8 to 15" in said(app)
    assert len(figures(app)) == 1
    (lines,) = app.code
    assert "rnn = nn.LSTM(input_size=3, hidden_size=8)\nx = torch.randn(6, 4, 3)  # (T, B, I)" in lines.value
    assert "output, (h_n, c_n) = rnn(x)\n# output: (6, 4, 8)  (T, B, H)" in lines.value


def test_the_table_has_every_parameter_of_a_deep_module() -> None:
    app = page(L="2", D="2", P="3", unit="5", layer="1", way="backward")
    form = Form("lstm", 3, 8, 2, 2, projected=3)
    assert [row[:2] for row in rows(app)] == [[f"`{w.name}`", f"`{w.shape}`"] for w in weights(form)]
    found = {row[0]: row[2] for row in rows(app)}
    assert found["`weight_ih_l1`"] == (
        "rows as in `weight_ih_l0`, with numbers of its own; "
        "6 columns: 2 x P, one for each output of layer 0, forward and backward"
    )
    assert found["`weight_hh_l0_reverse`"].startswith("rows as in `weight_hh_l0`, ")
    assert "projected h" in found["`weight_hh_l0`"]
    assert found["`weight_hr_l0`"].startswith("proj_size: 3 rows")
    (figure,) = figures(app)
    names = [one["text"] for one in figure["layout"]["annotations"]]
    assert names[0] == "weight_ih_l1_reverse"
    assert {one.get("name") for one in figure["data"]} >= {"i", "f", "g", "o", "unit 5"}


def test_a_gru_and_a_plain_module_have_words_of_their_own() -> None:
    app = page(module="gru")
    assert "24 rows for 8 units: 3 gates x 8 units" in said(app)
    assert "both count, because the reset gate" in said(app)
    assert "forget bias" not in said(app)
    app = page(module="relu", bias="no")
    assert "**weight_ih has 8 rows for 8 units: one each.**" in said(app)
    assert "bias=False leaves both biases out" in said(app)
    assert 'nn.RNN(input_size=3, hidden_size=8, bias=False, nonlinearity="relu")' in app.code[0].value


def test_input_and_output_have_shapes_and_names() -> None:
    app = page(show="outputs", L="2", D="2", P="3", first="batch")
    assert [row[:3] for row in rows(app)] == [
        ["`input`", "`(4, 6, 3)`", "`(B, T, I)`"],
        ["`output`", "`(4, 6, 6)`", "`(B, T, 2*P)`"],
        ["`h_n`", "`(4, 4, 3)`", "`(2*L, B, P)`"],
        ["`c_n`", "`(4, 4, 8)`", "`(2*L, B, H)`"],
    ]
    assert rows(app, 1)[2] == ["`h_n[2]`", "1", "forward"]
    assert rows(app, 1)[3] == ["`h_n[3]`", "1", "backward"]
    assert "**batch_first** turns input and output round, and nothing else" in said(app)
    assert "c keeps its 8" in said(app)
    app = page(show="outputs", module="gru", input="one")
    assert [row[1] for row in rows(app)] == ["`(6, 3)`", "`(6, 8)`", "`(1, 8)`"]
    assert "every array is without B" in said(app)
    assert len(app.table) == 1


def test_what_holds_is_what_was_computed() -> None:
    app = page(show="equal", D="2", L="2", first="batch", draw="3")
    found = equalities(Form("lstm", 3, 8, 2, 2, batch_first=True, seed=3))
    table = rows(app)
    assert [row[3] for row in table] == [f"`{one.left} == {one.right}`" for one in found]
    assert [row[1] == "**does not hold**" for row in table] == [not one.holds for one in found]
    assert ["shapes (6, 8) and (4, 8)" in row[2] for row in table].count(True) == 1
    assert f"**{sum(one.holds for one in found)} of {len(found)} hold.**" in said(app)
    assert "sequences of 6, 5, 4, 3 steps, padded to 6." in said(app)
    app.button(key="shapes_draw").click().run()
    assert address(app)["draw"] == "4"
    assert [row[1] for row in rows(app)] == [row[1] for row in table]
    assert [row[2] for row in rows(app)] != [row[2] for row in table]
    assert {one.name for one in found} <= set(CLAIMS)
    assert "With T = 1 nothing can be padded." in said(page(show="equal", T="1"))


def test_costs_are_counted_and_on_request_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Form] = []

    def measured(form: Form) -> Measured:
        asked.append(form)
        timings = tuple(
            Timing(
                c.cell,
                Times((1.0, 1.0), (2.0, 2.0) if c.cell == "lstm" else (5.0, 5.0))
                if c.cell in ("lstm", "gru")
                else None,
                None,
            )
            for c in costs(form)
            if not c.projected
        )
        return Measured(timings, 7, 1, "torch", True)

    monkeypatch.setattr(costs_module, "measure", measured)
    app = page(show="cost", P="5")
    found = {row[0]: row[1:] for row in rows(app)}
    assert found["LSTM"] == ["416", "352", "24", f"{(352 + 24) * 24:,}"]
    assert found["LSTM, projected to 5"][1] == str(4 * 8 * 8 + 40)
    assert not asked
    app.button(key="shapes_measure").click().run()
    assert asked == [Form(projected=5)]
    found = {row[0]: row[1:] for row in rows(app)}
    assert found["GRU"][4:] == ["1", "5", "–", "–"]  # noqa: RUF001
    assert found["LSTM, projected to 5"][4:] == ["–"] * 4  # noqa: RUF001
    assert "GRU makes 25\u00a0% fewer multiply-adds than LSTM, and took 2.5 times as long" in said(app)
    assert "oneDNN" in said(app)
    assert "the median of 7 rounds in which all take turns, on 1 thread." in said(app)
    assert "cannot compile" in said(app)
    widget(app, "H").set_value(9).run()
    assert len(asked) == 1
    assert "The sizes have changed since the time was measured." in said(app)
    assert len(rows(app)[0]) == 5


def test_what_would_take_too_long_is_not_timed() -> None:
    app = page(show="cost", H="256", I="256", T="32", B="16")
    assert "makes 268 million multiply-adds over the batch; at most 100 million are timed" in said(app)
    assert not [one for one in app.button if one.key == "shapes_measure"]


def test_findings_follow_the_numbers() -> None:
    counted = [Cost("tanh", 0, 0, 100, 0), Cost("gru", 0, 0, 300, 0), Cost("lstm", 0, 0, 400, 0)]

    def told(**rounds: tuple[float, ...]) -> str:
        own = tuple(Timing(name, None, Times((1.0,) * 3, times)) for name, times in rounds.items())
        (found,) = found_words(counted, Measured(own, 3, 1, "compiled", True))
        return found

    faster = "**rnnviz:** here no cell that makes fewer multiply-adds than another took clearly longer"
    assert told(tanh=(1, 1, 1), gru=(3, 3, 3), lstm=(4, 4, 4)).startswith(faster)
    assert told(tanh=(1, 1, 1), gru=(4.1, 4.1, 4.1), lstm=(4, 4, 4)).startswith(faster), "too little"
    assert told(tanh=(1, 1, 1), gru=(9, 9, 3), lstm=(4, 4, 4)).startswith(faster), "not in every round"
    found = told(tanh=(9, 9, 50), gru=(3, 3, 30), lstm=(3.1, 3.1, 31))
    assert "Plain RNN (tanh) makes 67\u00a0% fewer multiply-adds than GRU, and took 3 times as long" in found
    assert "(9 ms against 3 ms)" in found
    assert "oneDNN" not in found


# Links --------------------------------------------------------------------------------------------------


def test_every_setting_comes_from_the_address_and_goes_there() -> None:
    given = {
        "module": "lstm", "I": "4", "H": "9", "L": "3", "D": "2", "P": "5", "bias": "no", "first": "batch",
        "input": "one", "T": "7", "B": "5", "draw": "2", "layer": "2", "way": "backward", "unit": "8",
    }  # fmt: skip
    expected = {name: value for name, value in given.items() if name != "module"}
    app = page(**given)
    assert not app.warning
    assert address(app) == expected
    lines = app.code[0].value
    assert (
        "nn.LSTM(input_size=4, hidden_size=9, num_layers=3, bias=False, batch_first=True, "
        "bidirectional=True, proj_size=5)" in lines
    )
    assert "torch.randn(7, 4)" in lines
    for section in SECTIONS:
        app = page(**given, show=section)
        assert address(app) == (expected if section == "parameters" else {**expected, "show": section})


@pytest.mark.parametrize("name", [name for name in SETTINGS.kinds if name != "at"])
def test_a_wrong_value_is_named_and_left_out(name: str) -> None:
    kind = SETTINGS.kinds[name]
    app = page(**{name: "wrong"})
    (warning,) = app.warning
    assert f"{name}\\: got 'wrong'; allowed\\: " in warning.value
    assert isinstance(kind, Choice | Number)
    last = f"from {kind.low:g} to {kind.high:g}" if isinstance(kind, Number) else ", ".join(kind.options)
    assert last in warning.value.replace("\\", "")
    assert address(app) == {}


@pytest.mark.parametrize("value", ["64", "wrong"])
def test_a_setting_that_the_page_does_not_have_is_named_once(value: str) -> None:
    (warning,) = page(hidden=value).warning
    assert (
        warning.value.count(f"hidden\\: got '{value}'; this page has no such setting; it was ignored.") == 1
    )
    assert warning.value.count("\n") == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"P": "8"}, "proj_size has to be less than the hidden size, 8; without one here."),
        ({"P": "3", "module": "gru"}, "only nn.LSTM has a proj_size; without one here."),
    ],
)
def test_a_projection_that_pytorch_would_refuse_is_a_sentence(given: dict[str, str], sentence: str) -> None:
    app = page(**given)
    (warning,) = app.warning
    assert sentence in warning.value.replace("\\", "").replace("\u2060", "")
    assert "proj_size" not in app.code[0].value
    widget(app, "H").set_value(20).run()
    widget(app, "module").set_value("lstm").run()
    assert not app.warning
    assert f"proj_size={given['P']}" in app.code[0].value


def test_the_knobs_come_back_as_they_were() -> None:
    app = page()
    widget(app, "H").set_value(5).run()
    widget(app, "show").set_value("file").run()
    assert not app.exception
    assert not app.number_input
    widget(app, "show").set_value("parameters").run()
    assert widget(app, "H").value == 5
    assert "20 rows for 5 units" in said(app)


# A run's weights ----------------------------------------------------------------------------------------


def test_without_a_run_the_page_says_so() -> None:
    assert "No run is on show." in said(page(show="file"))


def test_a_runs_weights_are_offered_at_a_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(store)
    offered: dict[str, Any] = {}

    def button(label: str, data: Any, file: str, *_: Any, **__: Any) -> None:
        offered[file] = data

    monkeypatch.setattr(st, "download_button", button)
    app = page(show="file", run=run)
    (file,) = offered
    assert file == "rnnviz-lstm-adding-6.safetensors"
    assert f'load_file("{file}")' in app.code[0].value
    assert "self.rnn = nn.LSTM(input_size=2, hidden_size=4)" in app.code[0].value
    assert "rows 0 to 3 for i, 4 to 7 for f, 8 to 11 for g, 12 to 15 for o" in said(app)
    assert address(app) == {"run": run, "show": "file"}
    kept = {step: load(store.checkpoint(run, step)) for step in (0, 6)}
    for step in (6, 0):
        if step == 0:
            offered.clear()
            page(show="file", run=run, at="0")
        ((file, data),) = offered.items()
        assert file.endswith(f"-{step}.safetensors")
        made = load(data())
        assert {name: array.tobytes() for name, array in made.items()} == {
            name: array.tobytes() for name, array in kept[step].items()
        }


def test_a_cell_without_a_module_has_a_file_and_a_sentence(store: Store) -> None:
    run = trained(store, SMALL.changed(cell="lstm_peephole"))
    app = page(show="file", run=run)
    assert "torch.nn has no module for this cell (LSTM with peepholes)" in said(app)
    assert "a row for each gate that sees the memory: 0 for i, 1 for f, 2 for o." in said(app)
    assert not app.code
    assert [one.label for one in app.download_button] == ["The weights (safetensors)"]


def test_twins_have_a_file_each_and_a_run_that_is_gone_is_named(store: Store) -> None:
    runs = [trained(store), trained(store, SMALL.changed(cell="gru"))]
    app = page(show="file", run=runs)
    assert len(app.download_button) == len(app.code) == 2
    assert "**A:**" in said(app)
    (warning,) = page(show="file", run="nobody").warning
    assert "there is no run of that name here" in warning.value
