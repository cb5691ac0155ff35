"""One HTML file that replays runs: no server, no network, the live component and the numbers inside it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"

# The colours of .streamlit/config.toml, in the names that Streamlit hands to a component.
THEMES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "primary-color": "#6b46c1", "background-color": "#fcfcfd", "secondary-background-color": "#f1f4f7",
        "text-color": "#0f1722", "link-color": "#5b37b0", "border-color": "#cfd6de",
    },
    "dark": {
        "primary-color": "#7d62d2", "background-color": "#14181f", "secondary-background-color": "#1e242d",
        "text-color": "#e3e8ee", "link-color": "#b7a4f2", "border-color": "#39424e",
        "blue-background-color": "rgb(61 157 243 / 0.2)", "blue-text-color": "#7db9f7",
        "green-background-color": "rgb(61 213 109 / 0.18)", "green-text-color": "#5ce488",
        "orange-background-color": "rgb(255 189 69 / 0.18)", "orange-text-color": "#ffbd45",
        "red-background-color": "rgb(255 108 108 / 0.2)", "red-text-color": "#ff8c8c",
        "gray-background-color": "rgb(128 132 149 / 0.25)", "gray-text-color": "#b5bcc6",
    },
}  # fmt: skip
FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, Ubuntu, Cantarell, 'Noto Sans', 'Liberation Sans', Arial, "
    "sans-serif"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline' data:; img-src data: blob:">
<title>@title@</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --st-font: @font@; --st-base-radius: 6px; @light@ }
@media (prefers-color-scheme: dark) { :root { @dark@ } }
body { margin: 0; padding: 24px 16px 40px; color: var(--st-text-color); \
background: var(--st-background-color); font-family: var(--st-font); }
main { max-width: 1320px; margin: 0 auto; }
h1 { margin: 0 0 16px; font-size: 1.375rem; line-height: 1.3; font-weight: 600; overflow-wrap: anywhere; }
</style>
<script type="importmap">@modules@</script>
</head>
<body>
<main><h1>@title@</h1><div id="live"></div></main>
<script type="application/json" id="data">@data@</script>
<script type="module">
import { mount } from "rnnviz/live.js";
mount({
  data: JSON.parse(document.querySelector("#data").textContent),
  parentElement: document.querySelector("#live"),
});
</script>
</body>
</html>
"""


def standalone_page(
    title: str,
    slots: Sequence[Mapping[str, Any]],
    summaries: Sequence[Mapping[str, Any] | None],
    windows: Mapping[str, str],
    samples: Mapping[str, Mapping[str, Any]],
    text: Mapping[str, str],
    panes: Sequence[str],
) -> str:
    """The whole page as HTML.

    title: what stands above the figures and in the tab.
    slots: for each twin its id, letter, title and colour, as the live component takes them.
    summaries: for each slot the run's summary, or None where none was started.
    windows: by run, the overview of everything it has drawn: base64 of a safetensors blob.
    samples: by run, one sequence of the task.
    text: the component's words; panes: the names of the panes, in their order.
    """
    data = {
        "slots": list(slots), "runs": list(summaries), "windows": dict(windows), "samples": dict(samples),
        "text": dict(text), "panes": list(panes), "stream": None, "replay": True,
        "css": (STATIC / "live.css").read_text(encoding="utf-8"),
    }  # fmt: skip
    parts = {
        "title": html.escape(title),
        "font": FONT,
        "light": _properties("light"),
        "dark": _properties("dark"),
        "modules": _json({"imports": _modules()}),
        "data": _json(data),
    }
    # In one pass, so that nothing that was put in is searched again.
    return re.sub("@({})@".format("|".join(parts)), lambda found: parts[found[1]], _PAGE)


def _properties(theme: str) -> str:
    return " ".join(f"--st-{name}: {value};" for name, value in THEMES[theme].items())


def _json(value: object) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _modules() -> dict[str, str]:
    """Each module as a data: address; from there "./" leads nowhere, so they call each other by name."""
    modules = {}
    for path in sorted(STATIC.glob("*.js")):
        source = re.sub(r'from "\./([\w.]+)"', r'from "rnnviz/\1"', path.read_text(encoding="utf-8"))
        coded = base64.b64encode(source.encode()).decode()
        modules[f"rnnviz/{path.name}"] = f"data:text/javascript;charset=utf-8;base64,{coded}"
    return modules
