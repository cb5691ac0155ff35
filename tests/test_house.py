"""The house: pinned packages, one version everywhere, documents that name what is there, a readable theme."""

from __future__ import annotations

import importlib.metadata
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from streamlit.config import get_config_options

import rnnviz
from rnnviz.cells import CELLS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())


# Packages


def pinned(name: str) -> dict[str, Requirement]:
    """The packages of a list of requirements, by their canonical names."""
    lines = [line.split("  #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]
    assert len({canonicalize_name(r.name) for r in found}) == len(found), f"{name} names a package twice"
    return {canonicalize_name(r.name): r for r in found}


RUNTIME, DEVELOPMENT = pinned("requirements.txt"), pinned("requirements-dev.txt")


@pytest.mark.parametrize("requirement", [*RUNTIME.values(), *DEVELOPMENT.values()], ids=str)
def test_every_package_is_pinned(requirement: Requirement) -> None:
    assert re.fullmatch(r"==[0-9]+(\.[0-9]+)*(\.post[0-9]+)?", str(requirement.specifier))
    assert requirement.url is None


def test_the_development_list_contains_the_other() -> None:
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert not set(RUNTIME) & set(DEVELOPMENT)


@pytest.mark.parametrize("name", [*RUNTIME, *DEVELOPMENT])
def test_what_a_package_needs_is_pinned_too(name: str) -> None:
    """Otherwise two installations of the same list could differ."""
    known = {**RUNTIME, **DEVELOPMENT} if name in DEVELOPMENT else RUNTIME
    if not _applies(known[name]):
        pytest.skip("not for this Python or system")
    missing = [
        line
        for line in importlib.metadata.requires(name) or []
        if _applies(needed := Requirement(line))
        and canonicalize_name(needed.name) not in known
        # Torch's GPU builds name their libraries with exact versions themselves.
        and not (name == "torch" and "==" in str(needed.specifier))
    ]
    assert missing == []


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def test_the_project_and_the_list_name_the_same_direct_packages() -> None:
    direct = (ROOT / "requirements.txt").read_text().split("# Direct")[1].split("# Transitive")[0]
    listed = {canonicalize_name(line.split("==")[0]) for line in direct.splitlines() if "==" in line}
    project = PROJECT["project"]
    needed = [Requirement(r) for r in [*project["dependencies"], *project["optional-dependencies"]["app"]]]
    assert {canonicalize_name(r.name) for r in needed} == listed
    for requirement in needed:
        version = str(RUNTIME[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"


# Versions and documents


def test_there_is_one_version() -> None:
    version = PROJECT["project"]["version"]
    assert version == rnnviz.__version__
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", ["make app", "make test"])
def test_the_readme_says_how_to_start(command: str) -> None:
    assert command in (ROOT / "README.md").read_text()


def test_make_help_names_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    for target in set(phony.group(1).split()) - {"help", "browser", "FORCE"}:
        assert re.search(rf'^\t@echo "make {target}\b', makefile, re.MULTILINE), target


def test_contributing_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`((?:rnnviz|tests|pages|\.ci|\.streamlit)/[\w./]*)`", text))
    assert {"rnnviz/experiment.py", "rnnviz/cells/__init__.py"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_contributing_has_every_recipe() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for thing in ("task", "initialization", "clipping rule", "cell", "knob", "figure", "page"):
        assert re.search(rf"^### An? {thing}\b", text, re.MULTILINE), thing


def test_the_checks_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# Settings and theme


def test_streamlit_knows_every_setting() -> None:
    """A name that it does not know would only be a warning in a log."""

    def names(table: dict[str, object], prefix: str) -> list[str]:
        found = []
        for key, value in table.items():
            found += names(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
        return found

    assert set(names(CONFIG, "")) <= set(get_config_options())


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("browser", "gatherUsageStats", False),
        ("client", "showErrorDetails", "none"),
        ("client", "toolbarMode", "viewer"),
        ("server", "fileWatcherType", "none"),
        ("server", "headless", True),
    ],
)
def test_settings_that_privacy_and_speed_rest_on(section: str, option: str, value: object) -> None:
    assert CONFIG[section][option] == value


def test_the_theme_fetches_nothing() -> None:
    text = (ROOT / ".streamlit" / "config.toml").read_text()
    assert "http" not in text
    assert "url" not in text


def channels(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(color: list[float]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(color: str, background: str, opacity: float = 1.0) -> float:
    """WCAG 2.2 contrast ratio, from 1 to 21, of a colour laid over a background."""
    behind = channels(background)
    mixed = [opacity * c + (1 - opacity) * b for c, b in zip(channels(color), behind, strict=True)]
    bright, dark = sorted((luminance(mixed), luminance(behind)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def backgrounds(theme: str) -> set[str]:
    tables = (CONFIG["theme"][theme], CONFIG["theme"][theme]["sidebar"])
    return {table[key] for table in tables for key in ("backgroundColor", "secondaryBackgroundColor")}


THEMES = ("light", "dark")
CAPTION = 0.6  # the opacity that Streamlit gives to captions


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable(theme: str) -> None:
    table = CONFIG["theme"][theme]
    for background in backgrounds(theme):
        assert contrast(table["textColor"], background) >= 7, background
        assert contrast(table["textColor"], background, CAPTION) >= 4.5, f"captions on {background}"
        assert contrast(table["linkColor"], background) >= 4.5, background
    assert contrast(table["codeTextColor"], table["codeBackgroundColor"]) >= 7


@pytest.mark.parametrize("theme", THEMES)
def test_the_accent_is_seen_and_its_buttons_are_readable(theme: str) -> None:
    accent = CONFIG["theme"][theme]["primaryColor"]
    assert contrast("#ffffff", accent) >= 4.5  # Streamlit writes white on it
    for background in backgrounds(theme):
        assert contrast(accent, background) >= 3, background


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", CELLS)
def test_the_line_of_a_cell_is_seen(name: str, theme: str) -> None:
    table = CONFIG["theme"][theme]
    for background in (table["backgroundColor"], table["secondaryBackgroundColor"]):
        assert contrast(CELLS[name].color, background) >= 3, background


def test_the_theme_uses_the_colours_of_the_cells() -> None:
    assert set(CONFIG["theme"]["chartCategoricalColors"]) <= {cell.color for cell in CELLS.values()}


EXAMPLES = re.findall(
    r"```python\n(.*?)```\n\n```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)


def test_the_readme_has_its_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("code", "said"), EXAMPLES, ids=["train", "record", "loss_surface"])
def test_the_readmes_examples_print_what_they_say(
    code: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other machines round differently, and 300 steps make more of that: the digits need not be the same."""
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    output = capsys.readouterr().out
    number = r"\d+\.\d+(?:e-\d+)?"
    assert re.sub(number, "#", output).split() == re.sub(number, "#", said).split()
    printed, promised = (list(map(float, re.findall(number, t))) for t in (output, said))
    if "%" in said:
        assert printed.pop(0) == pytest.approx(promised.pop(0), abs=2.0)  # per cent
    assert printed == pytest.approx(promised, rel=0.9)
