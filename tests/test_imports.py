"""Who may import whom: the rules that keep the library, the store and the pages apart, held for every file.

Sources are parsed, never run, so that an import inside a function or under TYPE_CHECKING counts as well. A
new module falls under the rules by its place.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import rnnviz

ROOT = Path(__file__).parents[1]
PLACES = ("app.py", "pages", "rnnviz", "benchmarks", "tests")


@dataclass(frozen=True)
class Import:
    """A module that a file names. `from a import b` names a and a.b, because b may be a module."""

    module: str
    line: int
    early: bool  # runs when the file is loaded: outside functions and TYPE_CHECKING


def imports(source: str, path: str) -> list[Import]:
    """Every module that the source of the file at `path` names, relative ones resolved."""
    tree = ast.parse(source, path)
    package = list(Path(path).parent.parts)
    found: list[Import] = []
    bound: dict[str, str] = {}  # name in the file to the module or the part of one behind it

    def visit(node: ast.AST, early: bool) -> None:
        for module, name in named(node, package):
            found.append(Import(module, getattr(node, "lineno", 0), early))
            bound.setdefault(name, module)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for inner in node.body:
                visit(inner, False)
            for inner in node.orelse:
                visit(inner, early)
            return
        early = early and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, early)

    visit(tree, True)
    # An attribute of a module may be a module as well: `import numpy as np` and then np.random.
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            found.append(Import(f"{bound[node.value.id]}.{node.attr}", node.lineno, False))
    return found


def named(node: ast.AST, package: list[str]) -> Iterator[tuple[str, str]]:
    """Modules that one statement or call names, each with the name that it gets in the file ("" for none)."""
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                yield alias.name, alias.asname or ""
                if alias.asname is None:
                    yield alias.name.split(".")[0], alias.name.split(".")[0]
        case ast.ImportFrom(module=module, names=aliases, level=level):
            start = package[: len(package) - level + 1] if level else []
            origin = ".".join([*start, *([module] if module else [])])
            yield origin, ""
            for alias in aliases:
                yield f"{origin}.{alias.name}", alias.asname or alias.name
        case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
            if ast.unparse(function) in ("importlib.import_module", "import_module", "__import__"):
                level = len(module) - len(module.lstrip("."))
                start = package[: len(package) - level + 1] if level else []
                yield ".".join([*start, module.lstrip(".")]), ""


@dataclass(frozen=True)
class Rule:
    """Files that match `files` but not `but` never import the modules `never`, nor anything below them."""

    files: tuple[str, ...]
    never: tuple[str, ...]
    why: str
    but: tuple[str, ...] = ()
    early: bool = False  # an import inside a function is allowed

    def covers(self, path: str) -> bool:
        return matches(path, self.files) and not matches(path, self.but)

    def broken_by(self, item: Import) -> bool:
        module = home(item.module)
        inside = any(module == name or module.startswith(f"{name}.") for name in self.never)
        return inside and (item.early or not self.early)


RULES = (
    Rule(
        ("*",),
        never=("streamlit",),
        but=("app.py", "pages/*", "rnnviz/ui/*", "tests/*", "benchmarks/*"),
        why="the library works in a notebook and in workers, without Streamlit",
    ),
    Rule(
        ("rnnviz/plots/*",),
        never=("torch", "os", "io", "pathlib", "sqlite3", "socket", "urllib"),
        why="a figure is arrays in and Plotly out: no torch, no files, no network",
    ),
    Rule(
        (
            "rnnviz/__init__.py", "rnnviz/__main__.py", "rnnviz/cells/*", "rnnviz/tasks/*",
            "rnnviz/initialization.py", "rnnviz/clipping.py", "rnnviz/optimizers.py",
            "rnnviz/experiment.py", "rnnviz/recording.py", "rnnviz/analysis/__init__.py",
            "rnnviz/analysis/diagnosis.py", "rnnviz/analysis/heat.py", "rnnviz/analysis/lags.py",
            "rnnviz/analysis/cliff.py", "rnnviz/analysis/cliff_descent.py",
        ),
        never=("torch",),
        early=True,
        why="describing an experiment is quick and needs no torch",
    ),
    Rule(
        ("rnnviz/runs/*",),
        never=("torch", "dask", "distributed", "rnnviz.training", "rnnviz.network", "rnnviz.bptt"),
        but=tuple(f"rnnviz/runs/{name}.py" for name in ("engine", "worker", "state", "job_kinds")),
        why="the web process reads the store and must stay light; only the engine and its workers train",
    ),
    Rule(
        ("app.py", "pages/*", "rnnviz/ui/*"),
        never=("torch", "rnnviz.training", "rnnviz.network"),
        why="the interface never trains",
    ),
    Rule(
        ("pages/*",),
        never=("numpy.random",),
        why="a page reads like an outline: controls, query, analysis, figure",
    ),
    Rule(
        ("*",),
        never=("matplotlib", "mpl_toolkits"),
        but=("rnnviz/runs/frames.py", "tests/*"),
        why="figures are Plotly's; only the frames of an animation are drawn without a browser",
    ),
    Rule(
        ("rnnviz/*", "pages/*", "app.py"),
        never=("matplotlib", "mpl_toolkits", "PIL"),
        early=True,
        why="pages and workers start without it; it is loaded when a frame is drawn",
    ),
    Rule(
        ("*",),
        never=("pickle", "dill", "joblib"),
        but=("tests/*",),
        why="what is loaded must not be able to run code",
    ),
)  # fmt: skip

#: Other packages that the files may use, where that is a short list.
ONLY = {"rnnviz/plots/*": ("numpy", "plotly")}

#: What a part of rnnviz may import of the others. Parts that are not listed see all but the upper ones.
SEES: dict[str, tuple[str, ...]] = {
    "cells": (),
    "tasks": (),
    "initialization": (),
    "clipping": (),
    "optimizers": (),
    "losses": (),
    "plots": ("numbers",),
    "bptt": ("cells",),
    "experiment": ("cells", "clipping", "initialization", "optimizers", "tasks"),
}
UPPER = ("plots", "runs", "ui", "__main__")
NEVER_SEES: dict[str, tuple[str, ...]] = {
    "analysis": (*UPPER, "training"),
    "runs": ("plots", "ui", "__main__"),
    "landscape": ("runs", "ui", "__main__"),
    "ui": ("__main__",),
    "__main__": (),
    "__init__": UPPER,
}


def matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)  # "*" goes through folders


def part(path: str) -> str:
    """The part of rnnviz that a file belongs to: a module or a package right below it."""
    return Path(path).parts[1].removesuffix(".py")


def home(module: str) -> str:
    """rnnviz.train is defined in rnnviz.training: public names by the module that they come from."""
    first, *rest = module.split(".")
    if first == "rnnviz" and rest and rest[0] in rnnviz._HOME:
        return ".".join([first, rnnviz._HOME[rest[0]], *rest])
    return module


def seen(module: str, parts: Iterable[str]) -> str | None:
    """The part of rnnviz that a module's name leads to."""
    first, *rest = home(module).split(".")
    return rest[0] if first == "rnnviz" and rest and rest[0] in parts else None


def may_see(part: str, other: str) -> bool:
    if part == other:
        return True
    return other in SEES[part] if part in SEES else other not in NEVER_SEES.get(part, UPPER)


def complaints(source: str, path: str, parts: Iterable[str]) -> list[str]:
    """Every rule that a file breaks, as sentences."""
    found = []
    for item in imports(source, path):
        where = f"{path}:{item.line} imports {item.module}"
        found += [f"{where}: {rule.why}" for rule in RULES if rule.covers(path) and rule.broken_by(item)]
        top = item.module.partition(".")[0]
        for pattern, allowed in ONLY.items():
            other = top not in sys.stdlib_module_names and top not in ("rnnviz", *allowed)
            if fnmatchcase(path, pattern) and other:
                found.append(f"{where}: only {', '.join(allowed)} are used here")
        other_part = seen(item.module, parts)
        if path.startswith("rnnviz/") and other_part and not may_see(part(path), other_part):
            found.append(f"{where}: {part(path)} must not know {other_part}")
    return list(dict.fromkeys(found))


def sources() -> list[str]:
    """Every Python file of the repository, by its path from there."""
    files = [path for place in PLACES for path in (ROOT / place, *(ROOT / place).rglob("*.py"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in files if path.is_file())


PARTS = frozenset(part(path) for path in sources() if path.startswith("rnnviz/"))


@pytest.mark.parametrize("path", sources())
def test_imports_follow_the_rules(path: str) -> None:
    assert complaints((ROOT / path).read_text(), path, PARTS) == []


def test_the_walk_reaches_every_layer() -> None:
    assert {"cells", "tasks", "experiment", "bptt", "training", "plots", "runs", "ui"} <= PARTS


MADE_UP = {
    "streamlit in the library": ("rnnviz/training.py", "import streamlit as st"),
    "streamlit in a new module": ("rnnviz/sweep.py", "def f():\n    from streamlit import write"),
    "a figure with torch": ("rnnviz/plots/loss.py", "from torch import Tensor"),
    "a figure with torch for types only": (
        "rnnviz/plots/loss.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch.nn",
    ),
    "a figure that reads files": ("rnnviz/plots/loss.py", "from pathlib import Path"),
    "a figure with another library": ("rnnviz/plots/loss.py", "import pandas as pd"),
    "a figure that knows training": ("rnnviz/plots/loss.py", "from ..training import train"),
    "a cell that knows tasks": ("rnnviz/cells/lstm.py", "from ..tasks import TASKS"),
    "a task that knows cells": ("rnnviz/tasks/new.py", "from rnnviz.cells.lstm import LSTM"),
    "a task that knows the experiment": ("rnnviz/tasks/new.py", "from .. import experiment"),
    "a task that knows the experiment by its public name": (
        "rnnviz/tasks/new.py",
        "from rnnviz import Experiment",
    ),
    "clipping that knows optimizers": ("rnnviz/clipping.py", "import rnnviz.optimizers"),
    "bptt that knows tasks": ("rnnviz/bptt.py", "from .tasks import Batch"),
    "training that knows runs": ("rnnviz/training.py", "from .runs.store import Store"),
    "training that knows runs by a call": (
        "rnnviz/training.py",
        "import importlib\nimportlib.import_module('rnnviz.runs')",
    ),
    "training that knows runs by a relative call": (
        "rnnviz/training.py",
        "from importlib import import_module\nimport_module('.runs.store', __package__)",
    ),
    "a new module that knows runs": ("rnnviz/analysis/flow.py", "def f():\n    from ..runs import store"),
    "runs that know the interface": ("rnnviz/runs/engine.py", "from rnnviz import ui"),
    "a store with torch": ("rnnviz/runs/store.py", "def f():\n    import torch"),
    "a chunk with training": ("rnnviz/runs/chunk.py", "from ..training import State"),
    "a task that loads torch": ("rnnviz/tasks/adding.py", "import torch"),
    "a cell that loads torch in its class": ("rnnviz/cells/gru.py", "class GRU:\n    from torch import tanh"),
    "an experiment that loads torch if it is there": (
        "rnnviz/experiment.py",
        "try:\n    import torch\nexcept ImportError:\n    pass",
    ),
    "a page with torch": ("pages/gates.py", "def f():\n    import torch"),
    "a page that trains": ("pages/gates.py", "from rnnviz import train"),
    "a page that trains through the package": ("pages/gates.py", "import rnnviz as rv\nrv.train(1)"),
    "a page that draws random numbers": ("pages/gates.py", "import numpy as np\nnp.random.default_rng(0)"),
    "a page that imports random numbers": ("pages/gates.py", "from numpy import random"),
    "a page that imports one random function": ("pages/gates.py", "from numpy.random import default_rng"),
    "a new module of runs with torch": ("rnnviz/runs/export.py", "import torch"),
    "pickle": ("rnnviz/runs/state.py", "import pickle"),
    "an analysis that trains": ("rnnviz/analysis/flow.py", "from ..training import advance"),
    "a page with matplotlib": ("pages/gates.py", "def f():\n    import matplotlib.pyplot as plt"),
    "a figure with matplotlib": ("rnnviz/plots/loss.py", "def f():\n    from matplotlib import colormaps"),
    "frames that load matplotlib at once": ("rnnviz/runs/frames.py", "from matplotlib.figure import Figure"),
    "a film that loads Pillow at once": ("rnnviz/runs/film.py", "from PIL import Image"),
    "a film with torch": ("rnnviz/runs/film.py", "def f():\n    import torch"),
    "a diagnosis with torch": ("rnnviz/analysis/diagnosis.py", "import torch"),
}


@pytest.mark.parametrize(("path", "source"), MADE_UP.values(), ids=MADE_UP)
def test_a_broken_rule_is_found(path: str, source: str) -> None:
    assert complaints(source, path, {*PARTS, "runs", "ui"})


ALLOWED = {
    "streamlit in a page": ("pages/gates.py", "import streamlit as st"),
    "streamlit in the interface": ("rnnviz/ui/main.py", "import streamlit as st\nst.write(1)"),
    "a figure": (
        "rnnviz/plots/loss.py",
        "import numpy as np\nimport plotly.graph_objects as go\nfrom . import theme",
    ),
    "a cell and its base": ("rnnviz/cells/new.py", "from .cell import Cell\nimport math"),
    "torch where it is needed": ("rnnviz/tasks/adding.py", "def f():\n    import torch"),
    "torch for types": (
        "rnnviz/experiment.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    torch = None",
    ),
    "frames with matplotlib where they are drawn": (
        "rnnviz/runs/frames.py",
        "def f():\n    from matplotlib.figure import Figure\n    from PIL import Image",
    ),
    "the version": ("rnnviz/runs/worker.py", "from .. import __version__"),
    "runs that train": ("rnnviz/runs/worker.py", "from ..training import advance\nfrom .store import Store"),
    "numbers in a page": ("pages/gates.py", "import numpy as np\nnp.log10(1)"),
    "an object's attribute named like a module": (
        "pages/gates.py",
        "import streamlit as st\nst.session_state.random",
    ),
}


@pytest.mark.parametrize(("path", "source"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert complaints(source, path, PARTS) == []


LIGHT = (
    "rnnviz", "rnnviz.experiment", "rnnviz.cells", "rnnviz.tasks", "rnnviz.initialization", "rnnviz.clipping",
    "rnnviz.recording", "rnnviz.analysis.diagnosis", "rnnviz.plots.sample", "rnnviz.runs.store",
    "rnnviz.runs.chunk", "rnnviz.runs.jobs", "rnnviz.runs.maps", "rnnviz.runs.film", "rnnviz.runs.archive",
    "rnnviz.runs.weights",
    "rnnviz.runs.supervisor", "rnnviz.analysis.lags", "rnnviz.analysis.cliff_descent", "rnnviz.__main__",
)  # fmt: skip


def test_the_light_modules_load_nothing_heavy() -> None:
    """The rules above see one file at a time; this sees what comes with it."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    known = {'torch', 'sklearn', 'scipy', 'streamlit', 'distributed', 'matplotlib'}\n"
        "    heavy = known & set(sys.modules)\n"
        "    assert not heavy, f'{name} loads {sorted(heavy)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *LIGHT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_resolves() -> None:
    for name in rnnviz.__all__:
        assert getattr(rnnviz, name) is not None
    assert set(rnnviz._HOME) == set(rnnviz.__all__)


TEXTS = {".py", ".toml", ".txt", ".md", ".yml", ".yaml", ".js", ".css", ".html", ".json", ".cfg", ".po", ""}
NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}
# Places on the machine of whoever wrote a file; a path in a file is relative or comes from the user.
DEVELOPERS = re.compile(r"(?<![\w.*~])/(?:work|root|home/\w+|Users/\w+|tmp/[a-z])/")


def files() -> list[Path]:
    """Every text file of the repository that people write."""
    found: list[Path] = []
    for path in sorted(ROOT.iterdir()):
        hidden = path.name.startswith(".") and path.name not in (".ci", ".streamlit", ".github", ".gitignore")
        if hidden or path.name in NOT_OURS or (path / "pyvenv.cfg").exists():
            continue
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return [p for p in found if p.suffix in TEXTS and not NOT_OURS & set(p.parts)]


def test_no_file_knows_a_developers_machine() -> None:
    named = {
        path.relative_to(ROOT).as_posix(): match.group()
        for path in files()
        if (match := DEVELOPERS.search(path.read_text(errors="replace")))
    }
    assert named == {}


@pytest.mark.parametrize(
    ("folder", "found"), [("work", True), ("root", True), ("home/me", True), ("app/static", False)]
)
def test_a_developers_path_is_found(folder: str, found: bool) -> None:
    assert bool(DEVELOPERS.search(f'open("/{folder}/data")')) is found


def sleeps(source: str) -> list[int]:
    """Lines that wait for time to pass rather than for something to happen."""
    if not re.search(r"\b(sleep|wait_for_timeout)\b", source):
        return []
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    imported = any(item.module == "time.sleep" for item in imports(source, "tests/x.py"))
    lines = []
    for node in nodes:
        name = ast.unparse(node.func)
        if name == "time.sleep" or name.endswith(".wait_for_timeout") or (name == "sleep" and imported):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", [path for path in sources() if path.startswith("tests/")])
def test_no_test_sleeps(path: str) -> None:
    assert sleeps((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("from time import sleep\n\nsleep(1)", [3]),
        ("def f(page):\n    page.wait_for_timeout(5)", [2]),
        ("import threading\nthreading.Event().wait(1)\n'time.sleep(1)'", []),
    ],
)
def test_a_sleep_is_found(source: str, lines: list[int]) -> None:
    assert sleeps(source) == lines
