"""The Train page by Streamlit's own test driver: no browser, no engine; the real store, the real script."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.experiment import knob as knob_of
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import Store, owner_hash
from rnnviz.tasks import TASKS
from rnnviz.ui import steering
from rnnviz.ui.knobs import name_of
from rnnviz.ui.link import PARAMETERS, View, from_query, to_query
from tests.widgets import knob, knobs_of

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "train.py")


def page(**query: str | list[str]) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def link(app: AppTest) -> dict[str, str | list[str]]:
    """The address that the page has written; several values of one parameter as a list."""
    found: dict[str, str | list[str]] = {}
    for name, value in app.query_params.items():
        values = [value] if isinstance(value, str) else value
        found[name] = values[0] if len(values) == 1 else values
    return found


def view(app: AppTest) -> View:
    """What is on show."""
    shown: View = app.session_state["link_view"]
    return shown


def experiment(app: AppTest) -> Experiment:
    """What the knobs stand for."""
    return view(app).twins[0]


def test_the_page_opens_on_the_default_experiment_with_an_empty_link(store: Store) -> None:
    app = page()
    assert not app.exception
    assert not app.warning
    assert experiment(app) == Experiment()
    assert link(app) == {}
    assert not app.button(key="train").disabled
    assert "stop" not in [button.key for button in app.button], "one thing to do"


@pytest.mark.parametrize(
    ("task", "cell"), sorted({*((task, "gru") for task in TASKS), *(("adding", cell) for cell in CELLS)})
)
def test_every_task_and_cell_can_be_chosen(store: Store, task: str, cell: str) -> None:
    app = page(task=task, cell=cell)
    assert not app.exception
    assert not app.warning
    assert (experiment(app).task, experiment(app).cell) == (task, cell)
    drawn = dict(knobs_of(app))
    assert ("forget_bias" in drawn) == bool(CELLS[cell].forget_gate)
    assert ("length" in drawn) == (TASKS[task].fixed_length is None)
    assert ("architecture" in drawn) == TASKS[task].reads_first


def test_the_card_of_a_task_tells_its_form(store: Store) -> None:
    said = [text.value for text in page(task="spelling").markdown]
    assert "**Form:** one to many: one input, an answer at every step." in said


def test_what_the_knobs_say_stands_in_every_message_to_the_browser(store: Store) -> None:
    """What a run of the script tells is dropped when the next one follows before it was sent: the last has to
    say all of it, and not only what is new."""
    query = {
        "task": "adding", "length": "30", "cell": "lstm", "hidden": "17", "forget_bias": "2.5",
        "clip": "value", "learning_rate": "0.003", "direction": "both", "layers": "3", "batch": "9",
    }  # fmt: skip
    app = page(**query)
    for _again in range(2):
        for name, widget in knobs_of(app):
            told, value = widget.proto.default, getattr(experiment(app), name)
            if knob_of(name).options is not None:
                told = list(knob_of(name).options)[told]
            assert value is None or told == value, name
            assert not widget.proto.set_value
        app.run()


def test_a_round_of_filling_begins_with_new_widgets(store: Store) -> None:
    app = page(task="adding", seed="4")
    before = {widget.key for _name, widget in knobs_of(app)}
    app.button(key="train").click().run()
    assert {widget.key for _name, widget in knobs_of(app)} == before, "nothing else has set the knobs"
    app.button(key="new_seed").click().run()
    assert not before & {widget.key for _name, widget in knobs_of(app)}
    assert knob(app, "seed").value == 5


def test_turning_knobs_writes_the_link_and_the_link_sets_the_knobs(store: Store) -> None:
    app = page()
    knob(app, "cell").select("lstm").run()
    knob(app, "forget_bias").set_value(2.0).run()
    knob(app, "clip_threshold").set_value(0.25).run()
    assert link(app) == {"cell": "lstm", "forget_bias": "2", "clip_threshold": "0.25"}
    again = page(**link(app))
    assert experiment(again) == experiment(app)
    assert knob(again, "forget_bias").value == 2.0
    assert knob(again, "cell").value == "lstm"


def test_a_long_option_stands_in_a_row_of_its_own(store: Store) -> None:
    """Half of the sidebar would show "By share of" of "By share of the weights (AGC)"."""

    def beside(app: AppTest) -> set[str | None]:
        """The knobs that share their row with another one."""
        together = (w for column in app.columns for w in (*column.selectbox, *column.number_input))
        return {name_of(widget.key) for widget in together if widget.key}

    app = page(clip_threshold="0.25")
    assert {"clip", "clip_threshold"} <= beside(app)
    knob(app, "clip").select("agc").run()
    assert not {"clip", "clip_threshold"} & beside(app)
    assert {"optimizer", "learning_rate"} <= beside(app)
    assert knob(app, "clip_threshold").value == 0.25
    assert link(app) == {"clip": "agc", "clip_threshold": "0.25"}


def test_a_new_task_brings_its_length_and_a_new_cell_takes_the_forget_bias_away(store: Store) -> None:
    app = page(task="adding", length="30", cell="lstm", forget_bias="4")
    knob(app, "task").select("copying").run()
    assert experiment(app).length == TASKS["copying"].default_length
    knob(app, "cell").select("tanh").run()
    assert not app.exception
    assert not app.warning
    assert experiment(app).forget_bias is None


def test_wrong_values_in_the_link_are_named_and_the_rest_is_kept(store: Store) -> None:
    app = page(cell="ltsm", hidden="-3", learning_rate="0.02", colour="blue", run="nobody")
    assert not app.exception
    told = "\n".join(w.value for w in app.warning).replace("\\", "")
    assert "cell: got 'ltsm'; did you mean lstm?" in told
    assert "hidden: got '-3'; allowed: a whole number from 1 to 512." in told
    assert "colour: got 'blue'; this page has no such setting" in told
    assert "run: got 'nobody'; there is no run of that name" in told
    assert experiment(app) == Experiment(learning_rate=0.02)
    assert link(app) == {"learning_rate": "0.02"}


def test_markup_in_the_link_is_shown_as_text(store: Store) -> None:
    app = page(task="<b>**x**</b>")
    (warning,) = app.warning
    assert "\\<b\\>\\*\\*x" in warning.value


def test_a_length_out_of_range_is_named_and_the_last_good_one_stays(store: Store) -> None:
    app = page(task="temporal_order")
    knob(app, "length").set_value(3).run()
    assert not app.exception
    assert "temporal\\_order takes a whole number from 10" in app.warning[0].value
    assert experiment(app).length == TASKS["temporal_order"].default_length
    before = experiment(app).length
    knob(app, "length").set_value(before).run()
    assert not app.warning
    knob(app, "length").set_value(20).run()
    assert not app.warning
    assert experiment(app).length == 20


def test_an_address_that_was_replaced_undoes_nothing_when_it_comes_late(store: Store) -> None:
    app = page(cell="lstm")
    app.button(key="train").click().run()
    (run,) = store.runs()
    del app.query_params["run"]  # a message that the browser had sent before it heard of the new address
    app.run()
    assert link(app) == {"cell": "lstm", "run": run.id}


def test_train_queues_the_shown_experiment_and_the_link_holds_the_run(store: Store) -> None:
    app = page(cell="lstm", steps="7")
    app.button(key="train").click().run()
    (run,) = store.runs()
    assert run.experiment == Experiment(cell="lstm", steps=7)
    assert run.state == "queued"
    assert link(app) == {"cell": "lstm", "steps": "7", "run": run.id}
    assert not app.button(key="stop").disabled


def test_stop_orders_the_stop_of_ones_own_run(store: Store) -> None:
    app = page()
    app.button(key="train").click().run()
    app.button(key="stop").click().run()
    (run,) = store.runs()
    assert run.command == "stop"


def test_training_again_stops_the_run_before(store: Store) -> None:
    app = page()
    app.button(key="train").click().run()
    app.button(key="train").click().run()
    newer, older = store.runs()
    assert (newer.command, older.command) == ("go", "stop")
    assert link(app)["run"] == newer.id


def test_a_shared_link_shows_the_run_with_its_settings_but_does_not_steer_it(store: Store) -> None:
    run = store.create(Experiment(cell="relu", initialization="identity", seed=3), owner_hash("somebody"))
    app = page(run=run)
    assert not app.exception
    assert not app.warning
    assert experiment(app) == Experiment(cell="relu", initialization="identity", seed=3)
    assert app.button(key="stop").disabled
    assert any("watching" in c.value for c in app.caption)


def test_the_stop_callback_itself_refuses_a_stranger(store: Store) -> None:
    app = page()
    app.button(key="train").click().run()
    (run,) = store.runs()
    assert run.owner is not None
    store.adopt(run.owner, "somebody")  # the page still shows an enabled button, as a forged message would
    app.button(key="stop").click().run()
    (row,) = store.runs()
    assert row.command == "go"
    assert "Only the browser that started a run can steer it." in [w.value for w in app.warning]


def test_a_full_disk_is_one_sentence(store: Store) -> None:
    app = page()
    with store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    from sqlalchemy import event

    @event.listens_for(store.engine, "checkout")
    def _full(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    for _round in range(200):  # until the free room inside the last pages is used up
        app.button(key="train").click().run()
        if app.warning:
            break
    assert not app.exception
    assert "disk that holds the store is full" in app.warning[0].value


def test_the_interface_shows_the_page_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({PAGE!r}, default_timeout=60).run()\n"
        "assert not app.exception, app.exception\n"
        "import rnnviz.ui.server\n"
        "heavy = [m for m in ('torch', 'distributed', 'dask', 'sklearn', 'scipy') if m in sys.modules]\n"
        "from rnnviz.ui import services\n"
        "services.close()\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
        cwd=Path(PAGE).parents[1], env={**os.environ, "RNNVIZ_STORE": f"sqlite:///{tmp_path}/t.db"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_nothing_but_the_main_thread_is_left_behind(store: Store) -> None:
    page()
    assert not [t for t in threading.enumerate() if t.name == "rnnviz-supervisor"]


def test_a_click_that_was_interrupted_leaves_no_run_behind(store: Store) -> None:
    """Streamlit may stop a script between any two lines; here between queueing a run and showing it."""
    app = page()
    app.button(key="train").click().run()
    (first,) = store.runs()
    lost = store.create(Experiment(), first.owner)
    app.session_state["started"] = [first.id, lost]
    app.button(key="train").click().run()
    newest, *others = store.runs()
    assert {run.command for run in others} == {"stop"}
    assert newest.command == "go"
    assert link(app)["run"] == newest.id


def test_settings_that_are_not_those_of_the_run_are_pointed_out(store: Store) -> None:
    app = page()
    app.button(key="train").click().run()
    assert not any("no longer those of the runs" in c.value for c in app.caption)
    knob(app, "cell").select("tanh").run()
    assert any("no longer those of the runs" in c.value for c in app.caption)


# Twins


def test_a_twin_is_one_click_and_differs_in_one_thing(store: Store) -> None:
    app = page(task="adding", cell="lstm", forget_bias="0")
    app.button(key="add_twin").click().run()
    assert not app.exception
    assert [twin.forget_bias for twin in view(app).twins] == [0.0, 4.0]
    assert link(app)["twin"] == "forget_bias:4"
    app.number_input(key="twin_1_forget_bias").set_value(2.0).run()
    assert link(app)["twin"] == "forget_bias:2"
    app.selectbox(key="twin_1_field").select("cell").run()
    first, second = view(app).twins
    assert first.cell == "lstm" != second.cell
    app.button(key="remove_1").click().run()
    assert view(app).twins == (first,)
    assert "twin" not in link(app)


def test_four_twins_train_together_and_the_link_shows_them(store: Store) -> None:
    app = page(task="adding", cell="lstm", steps="7")
    for _round in range(3):
        app.button(key="add_twin").click().run()
    assert not [b for b in app.button if b.key == "add_twin"], "four are the most"
    twins = view(app).twins
    app.button(key="train").click().run()
    assert not app.exception
    runs = sorted(store.runs(), key=lambda run: view(app).runs.index(run.id))
    assert tuple(run.experiment for run in runs) == twins
    again = page(run=link(app)["run"])
    assert view(again).twins == twins
    assert view(again).runs == view(app).runs
    app.button(key="stop").click().run()
    assert {run.command for run in store.runs()} == {"stop"}


def test_a_setting_turned_at_the_side_is_that_of_all_twins(store: Store) -> None:
    app = page(task="adding", twin=["cell:tanh", "learning_rate:0.1"])
    assert not app.warning
    knob(app, "learning_rate").set_value(0.002).run()
    assert [twin.learning_rate for twin in view(app).twins] == [0.002, 0.002, 0.1]
    knob(app, "hidden").set_value(16).run()
    assert {twin.hidden for twin in view(app).twins} == {16}


def test_a_twin_that_does_not_fit_is_said_and_the_last_one_stays(store: Store) -> None:
    app = page(task="temporal_order", twin="length:30")
    app.number_input(key="twin_1_length").set_value(1500).run()
    assert not app.exception
    assert "B: length: got 1500" in app.warning[0].value.replace("\\", "")
    assert view(app).twins[1].length == 30
    assert app.number_input(key="twin_1_length").value == 30


# Steering


def started(**query: str | list[str]) -> AppTest:
    app = page(**query)
    return app.button(key="train").click().run()


def now(store: Store, run: str, state: str) -> None:
    """Put a run into a state, as the engine would."""
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == run).values(state=state))


def test_pause_step_play_and_rewind(store: Store) -> None:
    app = started(task="adding", twin="cell:tanh")
    a, b = view(app).runs
    app.button(key="pause").click().run()
    assert {run.command for run in store.runs()} == {"pause"}
    for run in (a, b):
        now(store, run, "paused")
    app.run()
    assert not [button for button in app.button if button.key == "pause"]
    app.button(key="step").click().run()
    assert [(store.run(run).command, store.run(run).pause_at) for run in (a, b)] == [("go", 1)] * 2
    for run in (a, b):
        store.command(run, "pause")
        now(store, run, "paused")
    app.run()
    app.button(key="play").click().run()
    assert [(store.run(run).command, store.run(run).pause_at) for run in (a, b)] == [("go", None)] * 2
    app.button(key="rewind").click().run()
    c, d = view(app).runs
    assert {c, d}.isdisjoint({a, b})
    assert [store.run(run).command for run in (a, b, c, d)] == ["stop", "stop", "pause", "pause"]
    assert [store.run(run).experiment for run in (c, d)] == [store.run(run).experiment for run in (a, b)]


def test_the_speed_is_that_of_what_runs_and_of_what_starts(store: Store) -> None:
    app = started(task="adding")
    app.selectbox(key="speed_0").select("2").run()
    (run,) = store.runs()
    assert run.pace == 2.0
    app.button(key="train").click().run()
    assert store.run(view(app).runs[0]).pace == 2.0
    app.selectbox(key="speed_0").select("full").run()
    assert store.run(view(app).runs[0]).pace is None


def test_a_new_seed_is_one_for_all_twins(store: Store) -> None:
    app = started(task="adding", seed="4", twin="cell:tanh")
    app.button(key="new_seed").click().run()
    assert not app.exception
    assert [twin.seed for twin in view(app).twins] == [5, 5]
    assert knob(app, "seed").value == 5
    assert {store.run(run).experiment.seed for run in view(app).runs} == {5}


def test_repeats_are_other_seeds_of_every_twin(store: Store) -> None:
    app = started(task="adding", seed="4", twin="cell:tanh")
    app.button(key="repeat").click().run()
    for run in view(app).runs:
        original = store.run(run).experiment
        assert [again.experiment for again in store.repeats_of(run)] == [
            original.changed(seed=seed) for seed in (5, 6, 7, 8)
        ]
    assert app.button(key="repeat").disabled, "once is enough"


def test_what_explodes_can_be_watched_doing_it(store: Store) -> None:
    app = started(task="adding", cell="relu", twin="cell:tanh")
    a, b = view(app).runs
    now(store, a, "diverged")
    with store.write() as connection:
        connection.execute(sa.update(RUNS).where(RUNS.c.id == a).values(step=53))
    app.run()
    app.button(key="explode").click().run()
    c, d = (store.run(run) for run in view(app).runs)
    assert (c.experiment, c.pause_at, c.pace) == (store.run(a).experiment, 43, None)
    assert (d.experiment, d.pause_at) == (store.run(b).experiment, None)
    assert app.selectbox(key="speed_1").value == "2"


def test_settings_change_while_it_trains(store: Store) -> None:
    app = started(task="adding", twin="cell:tanh")
    a, b = view(app).runs
    app.number_input(key=f"change_learning_rate_{a}").set_value(0.001).run()
    app.selectbox(key=f"change_clip_{a}").select("none").run()
    app.button(key="apply").click().run()
    assert not app.exception
    for run in (a, b):
        store.claim(run)
        assert [c[1:] for c in store.orders(run, 1).changes] == [("learning_rate", 0.001), ("clip", "none")]


def test_a_change_leaves_alone_what_nobody_turned(store: Store) -> None:
    """Twins differ in a setting: changing another one must not make them the same."""
    app = started(task="adding", learning_rate=0.001, twin="learning_rate:0.1")
    a, b = view(app).runs
    app.number_input(key=f"change_clip_threshold_{a}").set_value(0.5).run()
    app.button(key="apply").click().run()
    for run in (a, b):
        store.claim(run)
        assert [c[1:] for c in store.orders(run, 1).changes] == [("clip_threshold", 0.5)]


def test_repeats_and_play_keep_to_the_most_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "MAX_ACTIVE", 4)
    app = started(task="adding")
    app.button(key="repeat").click().run()
    assert len(store.runs()) == 1, "five in all are one too many"
    assert any("under way" in w.value for w in app.warning)
    monkeypatch.setattr(steering, "MAX_ACTIVE", 5)
    app.button(key="repeat").click().run()
    assert len(store.runs()) == 5
    (run,) = view(app).runs
    store.command(run, "pause")
    store.settle()
    app.run()
    monkeypatch.setattr(steering, "MAX_ACTIVE", 4)
    app.button(key="play").click().run()
    assert {store.run(r.id).command for r in store.runs()} == {"pause"}


def test_nobody_else_steers(store: Store) -> None:
    """The buttons of a page whose run changed hands, as a forged message would press them."""
    app = started(task="adding")
    (run,) = store.runs()
    app.number_input(key=f"change_learning_rate_{run.id}").set_value(0.001).run()
    store.adopt(run.owner, "somebody")
    for key in ("pause", "stop", "rewind", "repeat", "apply"):
        before = store.run(run.id)
        app.button(key=key).click().run()
        assert not app.exception
        assert "Only the browser that started a run can steer it." in [w.value for w in app.warning], key
        after = store.run(run.id)
        assert (after.command, after.pause_at, after.pace) == (before.command, before.pause_at, before.pace)
        assert len(store.runs()) == 1
        store.adopt("somebody", run.owner)
        app.run()
        store.adopt(run.owner, "somebody")


def test_a_browser_has_so_many_runs_under_way_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = started(task="adding")
    mine = store.runs()[0].owner
    monkeypatch.setattr(steering, "MAX_ACTIVE", 3)
    for _k in range(3):
        store.create(Experiment(), mine)
    app.button(key="train").click().run()
    assert any("You have 3 runs under way" in w.value for w in app.warning)


# How it is shown


def test_panes_come_and_go_and_the_link_knows(store: Store) -> None:
    app = started(panes="heat,spectrum")
    assert view(app).panes == ("heat", "spectrum")
    (picker,) = app.button_group
    picker.set_value(["heat", "spectrum", "sample"]).run()
    assert link(app)["panes"] == "heat,spectrum,sample"
    assert not app.exception


def test_a_link_without_controls_has_none_and_the_way_to_them(store: Store) -> None:
    app = page(controls="hidden", task="adding")
    assert [button.key for button in app.button] == ["show_controls"]
    assert not app.sidebar.children
    app.button(key="show_controls").click().run()
    assert app.button(key="train")
    assert experiment(app).task == "adding"
    assert knob(app, "task").value == "adding"


def test_a_link_for_watching_steers_nothing(store: Store) -> None:
    run = store.create(Experiment(task="adding"), owner_hash("somebody"))
    app = page(controls="none", type="large", run=run)
    assert not app.exception
    assert [button.key for button in app.button] == []
    assert view(app).large
    assert link(app) == {"controls": "none", "type": "large", "run": run, "task": "adding"} | (
        {"length": "50"} if Experiment(task="adding").length != 50 else {}
    )


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"controls": "some"}, "controls: got 'some'; allowed: shown, hidden, none."),
        ({"type": "huge"}, "type: got 'huge'; allowed: normal, large."),
        ({"panes": "loss,lost"}, "panes: got 'lost'; allowed: loss, norm, heat"),
        ({"lesson": "nothing"}, "lesson: got 'nothing'; allowed: "),
        ({"twin": "cel:tanh"}, "twin: got 'cel:tanh'; allowed: a setting and its value"),
        ({"twin": "forget_bias:3"}, "forget_bias: got 3.0; the cell gru has no forget gate"),
        ({"twin": ["seed:1", "seed:2", "seed:3", "seed:4"]}, "twin: got 4; allowed: 3 beside the first."),
        ({"run": ["a", "b", "c", "d", "e"]}, "run: got 5; allowed: at most 4 runs side by side."),
    ],
)
def test_what_a_page_cannot_show_is_said(store: Store, query: dict[str, str], sentence: str) -> None:
    app = page(**query)
    assert not app.exception
    told = "\n".join(w.value for w in app.warning).replace("\\", "").replace("\u2060", "")
    assert sentence in told


@given(
    st.dictionaries(
        st.sampled_from([*sorted(PARAMETERS), "Task", "", "x" * 50]),
        st.lists(
            st.one_of(
                st.text(max_size=30),
                st.sampled_from(
                    ["gru", "adding", "lstm", "nan", "inf", "-1", "1e400", "0", "True", "cell:tanh", "same"]
                ),
            ),
            min_size=1, max_size=6,
        ),
        max_size=8,
    )
)  # fmt: skip
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_link_gives_a_view_and_sentences(store: Store, query: dict[str, list[str]]) -> None:
    shown, problems = from_query(store, query)
    assert 1 <= len(shown.twins) <= 4
    assert shown.panes
    for problem in problems:
        assert "got " in str(problem)
    named = {name for name in query if name not in PARAMETERS}
    assert named <= {problem.field for problem in problems}
    again, left = from_query(store, to_query(shown))
    assert left == []
    assert again == shown


def test_a_run_of_another_version_is_a_sentence(store: Store) -> None:
    run = store.create(Experiment())
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(experiment='{"version": 2}'))
    app = page(run=run)
    assert not app.exception
    assert "another version of this program" in app.warning[0].value
