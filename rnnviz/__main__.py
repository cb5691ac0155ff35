"""The command line: `python -m rnnviz train ...`, `... engine` and `... prepare`."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .experiment import KNOBS, Experiment, ExperimentError, default_of, knob

BAR_WIDTH = 30
INTERRUPTED = 130  # what shells report for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Wrong values end with one sentence each and status 2."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:  # before there was anything to show for it
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnviz", description="Train recurrent networks and watch them learn."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    training = commands.add_parser("train", help="train one experiment here and now")
    training.add_argument("--experiment", metavar="FILE", help="start from an experiment saved as JSON")
    for name in (*KNOBS, "changes"):
        field = Experiment.model_fields[name]
        shown = "none" if default_of(name) is None else default_of(name)
        options = knob(name).options if name in KNOBS else None
        given = f" One of: {', '.join(options)}." if options else ""
        default = "" if name == "changes" else f" Default: {shown}."
        if name == "length":
            default = " Default: the task's own."
        training.add_argument(
            *dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")), dest=name, metavar="VALUE",
            help=f"{field.description}{given}{default}".replace("%", "%%"),
        )  # fmt: skip
    training.add_argument(
        "--json", action="store_true", help="end with the result as one JSON object on stdout"
    )
    training.add_argument("--quiet", action="store_true", help="no progress bar")
    training.set_defaults(run=_train)

    engine = commands.add_parser("engine", help="work on the runs of a store")
    engine.add_argument("--store", metavar="URL", help="database; default: RNNVIZ_STORE or rnnviz.db here")
    engine.add_argument(
        "--linger", type=float, metavar="SECONDS",
        help="end when no web server was heard for this long; default: work until stopped",
    )  # fmt: skip
    engine.set_defaults(run=_engine)

    prepare = commands.add_parser("prepare", help="compile the cells for this machine, so that nobody waits")
    prepare.set_defaults(run=_prepare)
    return parser


def _train(options: argparse.Namespace) -> int:
    try:
        experiment = _experiment(options)
    except (ExperimentError, OSError) as error:
        _fail(str(error))
    if not options.quiet:
        print(f"{_title(experiment)}: loading", file=sys.stderr, flush=True)
    from .tasks import TASKS
    from .training import advance, begin

    state = begin(experiment)
    started = time.monotonic()
    try:
        while not state.done:
            advance(state, seconds=0.2)
            if not options.quiet:
                print(
                    f"\r\x1b[K{_bar(state, time.monotonic() - started)}", end="", file=sys.stderr, flush=True
                )
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    if not options.quiet:
        print(file=sys.stderr)
    task = TASKS[experiment.task]
    made = state.step + (state.diverged_at is not None)  # the step that went wrong is recorded as well
    result: dict[str, Any] = {
        "steps": state.step,
        "seconds": round(time.monotonic() - started, 3),
        "train_loss": state.train_loss,
        "validation_loss": state.validation_loss,
        "validation_accuracy": state.validation_accuracy,
        "accuracy_label": task.accuracy_label,
        "baseline": task.baseline(experiment.length),
        "solved_at": state.solved_at,
        "diverged": state.diverged_at is not None,
        "diverged_at": state.diverged_at,
        "clipped_share": round(state.clipped / made, 4) if made else 0.0,
        "experiment": json.loads(state.experiment.to_json()),
    }
    if options.json:
        print(json.dumps(_finite(result)))
    else:
        print(_summary(result, state.divergence, task))
    return 0


def _experiment(options: argparse.Namespace) -> Experiment:
    query: dict[str, str] = {}
    if options.experiment:
        query = Experiment.from_json(Path(options.experiment).read_bytes()).to_query()
    query |= {
        name: getattr(options, name) for name in (*KNOBS, "changes") if getattr(options, name) is not None
    }
    experiment, problems = Experiment.from_query(query)
    if problems:
        raise ExperimentError(problems)
    return experiment


def _finite(result: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what is not finite becomes null, and `diverged` says why."""
    return {
        name: None if isinstance(value, float) and not abs(value) < float("inf") else value
        for name, value in result.items()
    }


def _title(experiment: Experiment) -> str:
    return f"{experiment.cell}, {experiment.hidden} units, on {experiment.task}"


def _bar(state: Any, seconds: float) -> str:
    done = state.step / state.experiment.steps
    filled = "#" * round(done * BAR_WIDTH)
    rate = state.step / seconds if seconds > 0 else 0.0
    loss = "" if state.train_loss is None else f"  loss {state.train_loss:.4g}"
    seen = "" if state.validation_accuracy is None else f"  validation {state.validation_accuracy:.1%}"
    return f"[{filled:<{BAR_WIDTH}}] {state.step}/{state.experiment.steps}  {rate:.0f} steps/s{loss}{seen}"


def _summary(result: Mapping[str, Any], divergence: str | None, task: Any) -> str:
    if result["diverged"]:
        return f"Diverged. {divergence}"
    lines = [f"{result['steps']} steps in {result['seconds']:.1f} s"]
    if result["validation_loss"] is not None:
        baseline = f"baseline {result['baseline']:.4g}: {task.baseline_label}"
        lines.append(f"validation loss {result['validation_loss']:.4g} ({baseline})")
    if result["validation_accuracy"] is not None:
        lines.append(f"{result['validation_accuracy']:.1%} {task.accuracy_label}")
    solved = f"solved at step {result['solved_at']}" if result["solved_at"] is not None else "not solved"
    lines.append(f"{solved} ({task.solved.sentence})")
    return "\n".join(lines)


def _engine(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    from sqlalchemy.exc import SQLAlchemyError

    from .runs.engine import EngineRunningError, RemoteNeedsDatabaseError, run_engine
    from .runs.schema import NewerStoreError
    from .runs.store import StoreFullError

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run_engine(options.store, options.linger, stop)
    except EngineRunningError:
        return 0  # somebody else does the work
    except (RemoteNeedsDatabaseError, NewerStoreError, StoreFullError, ValueError) as error:
        _fail(str(error))
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        _fail(f"The store cannot be opened: {str(error).splitlines()[0]}")
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from .kernels import default_kernel, prepare

    if default_kernel() == "torch":
        print("No code can be compiled on this machine: torch computes.", file=sys.stderr)
        return 0
    prepare()
    return 0


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    sys.exit(main())
