"""The command line: one sentence for each wrong value, one JSON object at the end, progress on stderr."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rnnviz import training
from rnnviz.__main__ import INTERRUPTED, main
from rnnviz.experiment import KNOBS, Experiment, default_of, knob
from rnnviz.runs.store import StoreFullError
from rnnviz.training import State, advance, begin

ROOT = Path(__file__).parents[1]
QUICK = ["train", "--task", "adding", "--length", "5", "--hidden", "3", "--batch", "2", "--steps", "12"]

DIVERGING = Experiment(  # soon after step 10, whatever the weights: nothing holds a linear cell
    task="digits", cell="linear", hidden=8, batch=3, steps=40, optimizer="sgd", learning_rate=1e-3,
    clip="none", changes=[{"step": 10, "field": "learning_rate", "value": 100.0}],
)  # fmt: skip


def no_constant(name: str) -> None:
    pytest.fail(f"{name} is no JSON")


def result_of(out: str) -> dict[str, Any]:
    """The last line of what was printed, as strict JSON."""
    return json.loads(out.splitlines()[-1], parse_constant=no_constant)


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own."""
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 100, "check": False, **options}
    return subprocess.run([sys.executable, "-m", "rnnviz", *arguments], **options)


def wrong(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a refused command says on stderr; it says nothing on stdout."""
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


# Training


def test_a_run_ends_with_one_json_object_and_shows_its_progress_on_stderr():
    done = command(*QUICK, "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    result = result_of(done.stdout)
    assert result.keys() >= {
        "steps", "seconds", "train_loss", "validation_loss", "validation_accuracy", "diverged", "experiment"
    }  # fmt: skip
    state = begin(Experiment(task="adding", length=5, hidden=3, batch=2, steps=12, seed=7))
    advance(state)
    assert (result["steps"], result["diverged"], result["diverged_at"]) == (12, False, None)
    assert result["seconds"] > 0
    assert (result["train_loss"], result["validation_loss"], result["validation_accuracy"]) == (
        state.train_loss, state.validation_loss, state.validation_accuracy
    )  # fmt: skip
    assert result["clipped_share"] == round(state.clipped / 12, 4)
    assert Experiment(**result["experiment"]) == state.experiment
    assert "12/12" in done.stderr
    assert "steps/s" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_json_the_result_is_a_few_words(capsys):
    assert main([*QUICK, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert re.fullmatch(r"12 steps in \d+\.\d s", lines[0])
    assert re.fullmatch(r"validation loss [\d.e-]+ \(baseline 0\.1667: .+\)", lines[1])
    assert re.fullmatch(r"[\d.]+% .+", lines[2])
    assert lines[3].startswith("not solved (")


@pytest.mark.parametrize("quiet", [True, False])
def test_json_stands_alone_on_stdout(capsys, quiet):
    main([*QUICK, "--json", *(["--quiet"] if quiet else [])])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert result_of(out)["steps"] == 12
    assert (err == "") == quiet
    assert ("12/12" in err) == (not quiet)


def flags(experiment: Experiment) -> list[str]:
    return [part for name, value in experiment.to_query().items() for part in (f"--{name}", value)]


def test_a_run_that_diverges_is_strict_json_too(capsys):
    state = begin(DIVERGING)
    advance(state)
    assert main(["train", *flags(DIVERGING), "--json", "--quiet"]) == 0
    result = result_of(capsys.readouterr().out)
    at = result["diverged_at"]
    assert (result["diverged"], result["steps"], 10 < at < 40) == (True, at, True)
    assert at == state.diverged_at
    assert not math.isfinite(state.train_loss)
    assert result["train_loss"] is None, "what is not finite has no place in JSON"
    assert isinstance(result["validation_loss"], float)
    assert main(["train", *flags(DIVERGING), "--quiet"]) == 0
    assert capsys.readouterr().out == f"Diverged. The loss is no longer finite at step {at}.\n"


def test_the_clipped_share_counts_the_step_that_went_wrong(capsys):
    always = DIVERGING.changed(clip="value", clip_threshold=1e-30, learning_rate=1e-3, changes=[], steps=3)
    main(["train", *flags(always), "--json", "--quiet"])
    assert result_of(capsys.readouterr().out)["clipped_share"] == 1.0
    # One step, whose gradient is clipped before the loss turns out to be no number.
    exploding = DIVERGING.changed(
        initialization="scaled_identity", gain=10.0, clip="value", clip_threshold=1e-30, changes=[]
    )
    main(["train", *flags(exploding), "--json", "--quiet"])
    result = result_of(capsys.readouterr().out)
    assert (result["diverged_at"], result["steps"]) == (0, 0)
    state = begin(exploding)
    advance(state)
    assert result["clipped_share"] == state.clipped
    assert 0.0 <= result["clipped_share"] <= 1.0


# Flags


def help_of(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", [*KNOBS, "changes"])
def test_every_field_is_a_flag_with_its_help(capsys, name):
    text = help_of("train", capsys=capsys)
    assert f"--{name} VALUE" in text
    assert f"--{name.replace('_', '-')} VALUE" in text
    description = Experiment.model_fields[name].description
    assert re.sub(r"\W", "", description) in re.sub(r"\W", "", text), "as it stands at the widget"
    if name in KNOBS and knob(name).options:
        for option in knob(name).options:
            assert option in text


def test_no_field_is_forgotten():
    assert {*KNOBS, "changes", "version"} == set(Experiment.model_fields)


OTHER = {
    "task": "digits_rows", "length": 8, "cell": "lstm", "hidden": 3, "initialization": "orthogonal",
    "gain": 1.5, "forget_bias": -1.0, "clip": "value", "clip_threshold": 0.25, "clip_scope": "recurrent",
    "optimizer": "momentum", "learning_rate": 0.003, "batch": 5, "steps": 3, "seed": 11,
    "precision": "float64", "train_size": 20, "until": "solved",
    "layers": 2, "direction": "forward", "dropout": 0.25, "truncate": 5, "truncate_every": 4,
    "architecture": "one", "omega": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("dash", ["_", "-"])
def test_every_flag_reaches_its_field(capsys, dash):
    assert set(OTHER) == set(KNOBS)
    # Truncation needs one network that reads forward, and no Omega; those flags have a test of their own.
    same = [name for name in KNOBS if OTHER[name] == default_of(name)]
    assert same == ["direction", "architecture", "omega"]
    arguments = [
        part for name, value in OTHER.items() for part in (f"--{name.replace('_', dash)}", str(value))
    ]
    arguments += ["--changes", "1:learning_rate:0.5,2:clip:none"]
    assert main(["train", *arguments, "--json", "--quiet"]) == 0
    got = Experiment(**result_of(capsys.readouterr().out)["experiment"])
    assert got == Experiment(
        **OTHER,
        changes=[
            {"step": 1, "field": "learning_rate", "value": 0.5},
            {"step": 2, "field": "clip", "value": "none"},
        ],
    )


@pytest.mark.parametrize(
    "values",
    [
        {"task": "adding", "length": 5, "direction": "both", "cell": "tanh", "omega": 0.5},
        {"task": "reversal", "length": 3, "architecture": "encoder_decoder"},
    ],
)
def test_flags_that_go_with_other_networks_reach_their_fields(capsys, values):
    arguments = [part for name, value in {**values, "steps": 2}.items() for part in (f"--{name}", str(value))]
    assert main(["train", *arguments, "--json", "--quiet"]) == 0
    got = Experiment(**result_of(capsys.readouterr().out)["experiment"])
    assert got == Experiment(**values, steps=2)


def test_help_needs_no_torch():
    """Describing a run is quick."""
    script = (
        "import sys; from rnnviz.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'sklearn', 'distributed', 'streamlit') if m in sys.modules])"
    )
    for arguments in (["--help"], ["train", "--help"], ["train", "--hidden", "x"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100,
            check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "[]"


# Wrong values


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["--hidden", "0"], ["hidden: got '0'; allowed: a whole number from 1 to 512."]),
        (["--hidden", "many"], ["hidden: got 'many'; allowed: a whole number from 1 to 512."]),
        (["--learning-rate", "nan"], ["learning_rate: got 'nan'; allowed: a number above 0 to 100."]),
        (["--cell", "grru"], ["cell: got 'grru'; did you mean gru? Allowed: "]),
        (["--changes", "soon"], ["changes: got 'soon'; changes are written step:field:value"]),
        (["--task", "digits", "--length", "5"], ["length: got '5'; the task digits always has 64."]),
        (
            ["--hidden", "0", "--steps", "-3", "--clip", "nrom"],
            ["hidden: got '0'; ", "steps: got '-3'; ", "clip: got 'nrom'; did you mean norm?"],
        ),
    ],
)
def test_wrong_values_are_named_one_by_one(capsys, arguments, sentences):
    lines = wrong(capsys, *arguments).splitlines()
    assert len(lines) == len(sentences)
    for sentence in sentences:
        assert any(line.startswith(sentence) for line in lines), lines


def test_wrong_values_end_the_process_with_status_2_and_no_traceback():
    done = command("train", "--hidden", "0", "--cell", "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["dance"], ["train", "--colour", "red"], ["train", "--hidden"]])
def test_what_is_no_command(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: rnnviz" in capsys.readouterr().err


# Experiments in files


def test_a_file_repeats_the_run_that_wrote_it(capsys, tmp_path):
    first = Experiment(
        task="digits_rows", hidden=3, batch=4, steps=8, learning_rate=0.1 + 0.2, seed=2**32 - 1,
        changes=[{"step": 3, "field": "clip_threshold", "value": 1 / 3}],
    )  # fmt: skip
    main(["train", *flags(first), "--json", "--quiet"])
    result = result_of(capsys.readouterr().out)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(result["experiment"]))
    main(["train", "--experiment", str(file), "--json", "--quiet"])
    again = result_of(capsys.readouterr().out)
    assert again.pop("seconds") >= 0
    assert again == {name: value for name, value in result.items() if name != "seconds"}
    assert Experiment(**again["experiment"]) == first


def test_flags_come_after_the_file(capsys, tmp_path):
    file = tmp_path / "run.json"
    file.write_text(Experiment(**OTHER).to_json())
    main(["train", "--experiment", str(file), "--steps", "2", "--clip", "none", "--json", "--quiet"])
    got = Experiment(**result_of(capsys.readouterr().out)["experiment"])
    assert got == Experiment(**{**OTHER, "steps": 2, "clip": "none"})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"hidden": 0}', "hidden: got 0; allowed: a whole number from 1 to 512."),
        (b'{"hiden": 3}', "hiden: got 3; there is no such field; did you mean hidden?"),
        (b"[1, 2]", "experiment: got '2 of them'; one experiment is needed; pick one object of the list."),
        (b"3", "experiment: got '3'; a JSON object of its fields is needed."),
        (b"", "experiment: got ''; a JSON object of its fields is needed."),
        (b"\xff\xfe\x00\x80", "experiment: got "),
    ],
)
def test_a_file_that_holds_no_experiment(capsys, tmp_path, content, sentence):
    file = tmp_path / "run.json"
    file.write_bytes(content)
    said = wrong(capsys, "--experiment", str(file))
    assert len(said.splitlines()) == 1
    assert said.replace("got b'", "got '").startswith(sentence)


def test_a_file_that_is_not_there(capsys, tmp_path):
    said = wrong(capsys, "--experiment", str(tmp_path / "nowhere.json"))
    assert said == f"[Errno 2] No such file or directory: '{tmp_path / 'nowhere.json'}'\n"


# Ctrl-C


def test_ctrl_c_ends_in_good_order_with_what_there_is():
    """A real signal to a real process, once its bar moves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnviz", *QUICK[:-1], "1000000", "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(100, process.kill)
    watchdog.start()
    try:
        seen = ""
        while "steps/s" not in seen:
            piece = process.stderr.read(1)
            assert piece, seen
            seen += piece
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    finally:
        watchdog.cancel()
        process.kill()
    assert process.returncode == 0, err
    assert "stopped" in err.splitlines()
    assert "Traceback" not in err
    result = result_of(out)
    assert 0 < result["steps"] < 1_000_000
    assert result["train_loss"] is not None
    assert not result["diverged"]


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_ctrl_c_before_the_first_step_is_over(monkeypatch, capsys, arguments):
    monkeypatch.setattr(training, "advance", interrupt)
    assert main([*QUICK, "--quiet", *arguments]) == 0
    out, err = capsys.readouterr()
    assert "stopped" in err
    if arguments:
        result = result_of(out)
        assert (result["steps"], result["train_loss"], result["clipped_share"]) == (0, None, 0.0)
    else:
        assert out.startswith("0 steps in 0.0 s\n")
        assert "validation loss" not in out


def test_ctrl_c_while_loading(monkeypatch, capsys):
    monkeypatch.setattr(training, "begin", interrupt)
    assert main([*QUICK, "--quiet"]) == INTERRUPTED == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", "\nstopped\n")


def test_ctrl_c_keeps_what_was_reached(monkeypatch, capsys):
    real, calls = training.advance, [0]

    def some(state: State, **_: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        real(state, steps=4)

    monkeypatch.setattr(training, "advance", some)
    assert main([*QUICK, "--quiet", "--json"]) == 0
    assert result_of(capsys.readouterr().out)["steps"] == 8


# The engine's words; its work is tested by itself


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "sqlite:////nowhere/runs.db",
            "The store cannot be opened: (sqlite3.OperationalError) unable to open",
        ),
        ("nonsense", "The store cannot be opened: Could not parse SQLAlchemy URL"),
        ("sqlite://", "RNNVIZ_STORE: got a store in memory; an engine needs one in a file."),
    ],
)
def test_an_engine_that_cannot_open_its_store_says_so(capsys, monkeypatch, url, sentence):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        main(["engine", "--store", url])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(sentence)
    assert len(err.strip().splitlines()) == 1


def test_an_engine_on_a_full_disk_says_so(capsys, monkeypatch):
    from rnnviz.runs import engine

    def full(*_: Any) -> None:
        raise StoreFullError("The disk is full.")

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(engine, "run_engine", full)
    with pytest.raises(SystemExit):
        main(["engine"])
    assert capsys.readouterr().err == "The disk is full.\n"


def test_the_command_is_installed_by_that_name():
    """Where the package is installed, `rnnviz` is `python -m rnnviz`."""
    assert 'rnnviz = "rnnviz.__main__:main"' in (ROOT / "pyproject.toml").read_text()
