"""What can be taken from the page on loss surfaces: a page that needs no server, the numbers, an animation.

Nothing is made before somebody asks for it.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ..experiment import Experiment
from ..layout import layout_of
from ..plots.theme import CONFIG
from ..runs.store import Store
from ..runs.surfaces import Grid, nodes
from .film_section import film_section
from .settings import Settings
from .standalone import FONT, THEMES
from .surface_jobs import Progress
from .surface_sections import View, figures_of, route, words_of
from .text import _

#: How the numbers of the file are used; stands in the file itself.
README = """\
A loss surface. Heights are loss, accuracy and gradient[row, column] (NaN: not computed), over
  theta = origin + across[column] * axes[0] + up[row] * axes[1],
all parameters as one vector, in the order of "layout" in "request". Places in the plane are
x = centre[0] + across and y = centre[1] + up. Names that begin with "path" belong to the checkpoints of
a run: their steps, places in the plane, own losses over the same batch, and distances from the plane.

To draw it:
  import numpy as np, plotly.graph_objects as go
  f = np.load("surface.npz")
  go.Figure(go.Surface(x=f["x"], y=f["y"], z=np.log10(f["loss"]))).show()

To compute a height again:
  import json
  from rnnviz.analysis.heights import Heights
  from rnnviz.experiment import Experiment
  asked = json.loads(str(f["request"]))
  heights = Heights(Experiment.from_json(asked["experiment"]), asked["step"], asked["over"], asked["kernel"])
  theta = f["origin"] + f["across"][3] * f["axes"][0] + f["up"][5] * f["axes"][1]
  heights.many([theta], asked["gradient"])  # equals loss[5, 3], accuracy[5, 3], gradient[5, 3]
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data: blob:">
<title>@title@</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --st-font: @font@; @light@ }
@media (prefers-color-scheme: dark) { :root { @dark@ } }
body { margin: 0; padding: 24px 16px 40px; color: var(--st-text-color); \
background: var(--st-background-color); font-family: var(--st-font); line-height: 1.5; }
main { max-width: 1320px; margin: 0 auto; }
h1 { margin: 0 0 16px; font-size: 1.375rem; line-height: 1.3; font-weight: 600; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: 8px; }
.figures > div { flex: 1 1 440px; min-width: 0; max-width: 100%; }
p { max-width: 72ch; }
</style>
</head>
<body>
<main>
<h1>@title@</h1>
<div class="figures" role="img" aria-label="@alt@">@figures@</div>
@words@
</main>
<script>
const scheme = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const style = getComputedStyle(document.body);
  const font = { "font.color": style.color, "font.family": style.fontFamily };
  for (const plot of document.querySelectorAll(".plotly-graph-div")) Plotly.relayout(plot, font);
}
scheme.addEventListener("change", paint);
paint();
for (const plot of document.querySelectorAll(".plotly-graph-div")) {
  const eye = plot.layout.scene?.camera?.eye;
  const away = 440 / plot.clientWidth;  // where there is little room, from further away
  if (!eye || away <= 1) continue;
  const far = { x: eye.x * away, y: eye.y * away, z: eye.z * away };
  Plotly.relayout(plot, { "scene.camera.eye": far });
}
</script>
</body>
</html>
"""


def exports(store: Store, seen: View, found: Progress, settings: Settings) -> None:
    """What can be taken along of the surface that is on show."""
    grid = found.grid
    if grid is None:
        return
    # As they are now: what is made when a button is clicked sees no widgets.
    kept = {name: settings[name] for name in ("height", "scale", "over", "ghosts")}
    name = f"surface-step-{seen.one.step}"
    with st.expander(_("Take it with you"), key="surface_exports"):
        with st.container(horizontal=True, gap="small"):
            _button(
                _("Both figures as a page (HTML)"), lambda: page_of(store, seen, grid, kept), f"{name}.html",
                "text/html", "surface_html",
                help=_("One file that needs no network: turn and zoom as here. About 5 MB."),
            )  # fmt: skip
            _button(
                _("The numbers (NumPy)"), lambda: numbers_of(store, seen, grid, kept["over"]), f"{name}.npz",
                "application/octet-stream", "surface_npz",
                help=_("Heights, plane and path, and how to compute them again; np.load opens it."),
            )  # fmt: skip
        if not found.whole:
            st.caption(_("The surface is still being refined; now you would take what there is of it."))
        film_section(store, seen, settings)


def _button(label: str, data: Callable[[], str | bytes], name: str, mime: str, key: str, help: str) -> None:
    st.download_button(label, data, name, mime, key=key, help=help, on_click="ignore")


# The page that stands by itself -------------------------------------------------------------------------


def page_of(store: Store, seen: View, grid: Grid, settings: Mapping[str, Any]) -> str:
    """Both figures and their words as one HTML file; plotly.js, from its package, is inside."""
    one = seen.one
    title = _("Loss surface of {name}, step {step:,}").format(name=one.name or one.title, step=one.step)
    return figures_page(title, figures_of(store, seen, grid, settings), words_of(store, seen, grid, settings))


def figures_page(title: str, figures: Sequence[go.Figure], paragraphs: Sequence[str]) -> str:
    """Figures side by side on a page that loads nothing; paragraphs: plain text with **bold** in it."""
    parts = {
        "title": html.escape(title),
        "alt": html.escape(_("The loss surface from the side and from above, with the path of training")),
        "font": FONT,
        "light": _colors("light"),
        "dark": _colors("dark"),
        "figures": "\n".join(_figure(figure, k) for k, figure in enumerate(figures)),
        "words": "\n".join(f"<p>{_bold(paragraph)}</p>" for paragraph in paragraphs),
    }
    # In one pass, so that nothing that was put in is searched again.
    return re.sub("@({})@".format("|".join(parts)), lambda found: parts[found[1]], _PAGE)


def _figure(figure: go.Figure, k: int) -> str:
    """A figure's element; the first brings plotly.js. There is no server of plotly's to send it to."""
    figure = go.Figure(figure).update_layout(template="none", paper_bgcolor="rgba(0, 0, 0, 0)")
    config = {**CONFIG, "responsive": True, "plotlyServerURL": "", "displayModeBar": "hover"}
    return str(
        figure.to_html(
            config, full_html=False, include_plotlyjs=k == 0, include_mathjax=False, div_id=f"figure-{k}",
            default_width="100%",
        )
    )  # fmt: skip


def _colors(theme: str) -> str:
    names = ("text-color", "background-color")
    return " ".join(f"--st-{name}: {THEMES[theme][name]};" for name in names)


def _bold(paragraph: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(paragraph))


# The numbers --------------------------------------------------------------------------------------------


def numbers_of(store: Store, seen: View, grid: Grid, over: str) -> bytes:
    """A surface as an .npz file: enough to draw it again, and to compute it again, see README."""
    request = dict(seen.request)
    layout = layout_of(Experiment.from_json(request["experiment"]))
    request["layout"] = {name: list(shape) for name, shape in layout.shapes.items()}
    left, right, low, high = request["window"]
    x, y = (
        nodes(centre, first, last, request["n"])
        for centre, first, last in zip(seen.cut.centre, (left, low), (right, high), strict=True)
    )
    arrays: dict[str, Any] = {
        "x": x.values[:: grid.stride], "y": y.values[:: grid.stride],
        "across": x.offsets[:: grid.stride], "up": y.offsets[:: grid.stride],
        "loss": grid.loss, "accuracy": grid.accuracy, "gradient": grid.gradient,
        "centre": np.array(seen.cut.centre), "origin": seen.cut.plane.origin, "axes": seen.cut.plane.axes,
        "request": np.array(json.dumps(request)), "readme": np.array(README),
    }  # fmt: skip
    for one in seen.shared:
        if one.run is None:
            continue
        path, lead = route(store, seen, one, over), f"path_{one.letter}_" if one.letter else "path_"
        arrays[f"{lead}steps"] = np.array(path.steps)
        arrays[f"{lead}places"], arrays[f"{lead}losses"] = path.places, path.losses
        arrays[f"{lead}off"] = path.off
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()
