"""The Train page by Streamlit's own test driver: no browser, no engine; the real store, the real script."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import Store, owner_hash
from rnnviz.tasks import TASKS
from rnnviz.ui import services

PAGE = str(Path(__file__).resolve().parents[1] / "pages" / "train.py")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own for each test, and no engine."""
    store = Store(f"sqlite:///{tmp_path}/test.db")
    monkeypatch.setattr(services, "_store", store)
    yield store
    store.close()


def page(**query: str) -> AppTest:
    """The page, opened by a link with these parameters."""
    app = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def link(app: AppTest) -> dict[str, str]:
    """The address that the page has written."""
    values = {name: value for name, value in app.query_params.items()}
    return {name: value if isinstance(value, str) else value[-1] for name, value in values.items()}


def experiment(app: AppTest) -> Experiment:
    """What the knobs stand for."""
    shown: Experiment = app.session_state["link_experiment"]
    return shown


def test_the_page_opens_on_the_default_experiment_with_an_empty_link(store: Store) -> None:
    app = page()
    assert not app.exception
    assert not app.warning
    assert experiment(app) == Experiment()
    assert link(app) == {}
    assert not app.button(key="train").disabled
    assert app.button(key="stop").disabled


@pytest.mark.parametrize(
    ("task", "cell"), [*((task, "gru") for task in TASKS), *(("adding", cell) for cell in CELLS)]
)
def test_every_task_and_cell_can_be_chosen(store: Store, task: str, cell: str) -> None:
    app = page(task=task, cell=cell)
    assert not app.exception
    assert not app.warning
    assert (experiment(app).task, experiment(app).cell) == (task, cell)
    assert bool([w for w in app.number_input if w.key == "knob_forget_bias"]) == bool(CELLS[cell].forget_gate)
    fixed = TASKS[task].fixed_length is not None
    assert bool([w for w in app.number_input if w.key == "knob_length"]) != fixed


def test_turning_knobs_writes_the_link_and_the_link_sets_the_knobs(store: Store) -> None:
    app = page()
    app.selectbox(key="knob_cell").select("lstm").run()
    app.number_input(key="knob_forget_bias").set_value(2.0).run()
    app.number_input(key="knob_clip_threshold").set_value(0.25).run()
    assert link(app) == {"cell": "lstm", "forget_bias": "2", "clip_threshold": "0.25"}
    again = page(**link(app))
    assert experiment(again) == experiment(app)
    assert again.number_input(key="knob_forget_bias").value == 2.0
    assert again.selectbox(key="knob_cell").value == "lstm"


def test_a_new_task_brings_its_length_and_a_new_cell_takes_the_forget_bias_away(store: Store) -> None:
    app = page(task="adding", length="30", cell="lstm", forget_bias="4")
    app.selectbox(key="knob_task").select("copying").run()
    assert experiment(app).length == TASKS["copying"].default_length
    app.selectbox(key="knob_cell").select("tanh").run()
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
    app.number_input(key="knob_length").set_value(3).run()
    assert not app.exception
    assert "temporal\\_order takes a whole number from 10" in app.warning[0].value
    assert experiment(app).length == TASKS["temporal_order"].default_length
    before = experiment(app).length
    app.number_input(key="knob_length").set_value(before).run()
    assert not app.warning
    app.number_input(key="knob_length").set_value(20).run()
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
    assert "Only the browser that started a run can stop it." in [w.value for w in app.warning]


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
    assert not any("no longer those of the run" in c.value for c in app.caption)
    app.selectbox(key="knob_cell").select("tanh").run()
    assert any("no longer those of the run" in c.value for c in app.caption)


def test_a_run_of_another_version_is_a_sentence(store: Store) -> None:
    run = store.create(Experiment())
    with store.write() as connection:
        connection.execute(sa.update(RUNS).values(experiment='{"version": 2}'))
    app = page(run=run)
    assert not app.exception
    assert "another version of this program" in app.warning[0].value
