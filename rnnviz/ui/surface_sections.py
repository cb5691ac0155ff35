"""The page on loss surfaces: the surface of a checkpoint over a plane, and the path of training on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ..analysis.planes import Plane, PlaneError, Slice
from ..analysis.scene import plane_of, theta_of
from ..numbers import of
from ..plots import surfaces as figures
from ..plots.theme import CONFIG
from ..runs.store import Run, Store
from ..runs.surfaces import Grid, nodes, request
from ..tasks import TASKS
from . import surface_jobs
from .kept_figures import kept_figures
from .networks import Shown
from .paths import Path, Update, latest, losses, path_of, same_surface, updates_of, window_of
from .settings import Settings
from .surface_settings import AXES, axis_controls, axis_name
from .text import _, percent, words

#: Half the window of each plane, in its own units.
HALF = {"random": 1.0, "line": 1.0}
AXIS_HALF = {"scale": 1.0, "bias": 3.0, "weight": 3.0}
CURVATURE_SHARE = 0.1  # of the weights' norm
_DRAWN = "surface_drawn"
GHOSTS = 12  # at most that are drawn: the newest

#: What the figures and their words are made from: the page's settings, or some of them as they were.
Chosen = Settings | Mapping[str, Any]


@dataclass(frozen=True)
class Drawn:
    """Both figures as they were drawn last."""

    figures: Sequence[go.Figure]
    runs: Sequence[str]
    filename: str


@dataclass(frozen=True)
class View:
    """What is looked at: a network, its plane, and what of training lies near it."""

    one: Shown
    plane: Plane
    cut: Slice
    window: tuple[float, float, float, float]
    paths: Mapping[str, Path]  # by letter, of the networks that share the surface
    shared: Sequence[Shown]
    apart: Sequence[Shown]
    request: dict[str, Any]
    axes: tuple[str, str]

    def off(self, thetas: np.ndarray) -> np.ndarray:
        """(K,): how far from the slice on show these parameters lie."""
        return self.cut.plane.place(thetas)[1]


def view(store: Store, networks: Sequence[Shown], settings: Settings) -> View:
    """What the settings say. Raises PlaneError, one sentence, where there is no such plane."""
    one = next((n for n in networks if n.letter == settings["of"]), networks[0])
    shared = [n for n in networks if same_surface(n.experiment, one.experiment)]
    apart = [n for n in networks if n not in shared]
    paths = {n.letter: path_of(store, n.run) for n in shared if n.run is not None}
    spec, axes, path, end = _plane(store, one, shared, paths, settings)
    seen = one.moment
    plane = plane_of(spec, seen, path, end)
    cut = plane.through(theta_of(seen))
    window = _zoomed(_window(spec, one, plane, list(paths.values())), cut.centre, float(settings["zoom"]))
    asked = request(
        one.experiment, None if one.run is None else one.run.id, one.step, one.kernel, spec, window,
        int(settings["detail"]), settings["over"], settings["height"] == "gradient",
    )  # fmt: skip
    return View(one, plane, cut, window, paths, shared, apart, asked, axes)


def _plane(
    store: Store, one: Shown, shared: Sequence[Shown], paths: Mapping[str, Path], settings: Settings
) -> tuple[dict[str, Any], tuple[str, str], np.ndarray | None, np.ndarray | None]:
    """The plane's spec, the titles of its axes, and what spans it."""
    kind = settings["plane"]
    if one.run is None and kind in ("path", "line"):
        kind = "random"
    if kind == "path":
        # In the order of the letters, the one on show last: the plane goes through its newest point.
        order = [n for n in shared if n is not one and n.run is not None] + [one]
        runs = [[n.run.id, max(paths[n.letter].steps)] for n in order if n.run is not None]
        path = np.concatenate([paths[n.letter].thetas for n in order])
        told = _("principal component {k} of the path")
        return {"kind": "path", "runs": runs}, (told.format(k=1), told.format(k=2)), path, None
    if kind == "line":
        other, step, theta = _end(shared, paths, settings)
        assert other.run is not None
        spec = {"kind": "line", "run": other.run.id, "step": step, "seed": int(settings["plane_seed"])}
        label = _("from here (0) to {name} (1)").format(name=f"{other.letter} {step:,}".strip())
        return spec, (label, _("a random direction across")), None, theta
    if kind == "curvature":
        return {"kind": kind}, (_("along the gradient"), _("along the top eigenvector")), None, None
    if kind == "chosen":
        names = [axis_name(settings, side, one.experiment) for side in ("x", "y")]
        return {"kind": kind, "axes": names}, (_axis_label(names[0]), _axis_label(names[1])), None, None
    spec = {"kind": "random", "seed": int(settings["plane_seed"]), "biases": settings["biases"] == "yes"}
    told = _("random direction {k}")
    return spec, (told.format(k=1), told.format(k=2)), None, None


def _axis_label(name: str) -> str:
    kind, _colon, what = name.partition(":")
    if kind == "weight":
        return _("{weight}, change").format(weight=what)
    label = _(AXES[name])
    told = _("{name}, share of change") if kind == "scale" else _("{name}, change")
    return told.format(name=label)


def _end(
    shared: Sequence[Shown], paths: Mapping[str, Path], settings: Settings
) -> tuple[Shown, int, np.ndarray]:
    """The other end of the line: a checkpoint of the same run or of a twin."""
    there = [n for n in shared if n.run is not None]
    other = next((n for n in there if n.letter == settings["end"]), there[0])
    path = paths[other.letter]
    wanted = settings["end_at"]
    step = path.steps[-1] if wanted < 0 else min(path.steps, key=lambda one: abs(one - wanted))
    return other, step, path.thetas[path.steps.index(step)]


def _window(
    spec: Mapping[str, Any], one: Shown, plane: Plane, paths: Sequence[Path]
) -> tuple[float, float, float, float]:
    kind = spec["kind"]
    if kind == "path":
        return window_of(plane, paths)
    if kind == "line":
        return -0.5, 1.5, -1.0, 1.0
    if kind == "chosen":
        x, y = (AXIS_HALF[name.partition(":")[0]] for name in spec["axes"])
        return -x, x, -y, y
    half = HALF.get(kind) or max(1e-6, CURVATURE_SHARE * float(np.linalg.norm(plane.origin)))
    return -half, half, -half, half


def _zoomed(
    window: tuple[float, float, float, float], centre: tuple[float, float], zoom: float
) -> tuple[float, float, float, float]:
    """The window drawn together around the centre, or wider; the centre stays within."""
    if zoom == 1.0:
        return window
    (x, y), (left, right, low, high) = centre, window
    return x + (left - x) * zoom, x + (right - x) * zoom, y + (low - y) * zoom, y + (high - y) * zoom


# The figures --------------------------------------------------------------------------------------------


def controls(store: Store, networks: Sequence[Shown], settings: Settings) -> None:
    """What belongs to the plane that is chosen."""
    one = next((n for n in networks if n.letter == settings["of"]), networks[0])
    kind = settings["plane"]
    if kind not in ("random", "line", "chosen"):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if kind in ("random", "line"):
            settings.number("plane_seed", _("Seed of the directions"), width=160)
        if kind == "random":
            settings.switch(
                "biases", _("Move the biases too"),
                help=_("Filter normalization leaves them alone: a forget bias does nothing then."),
            )  # fmt: skip
        if kind == "line":
            shared = [n for n in networks if n.run is not None and same_surface(n.experiment, one.experiment)]
            if len(shared) > 1:
                settings.switch("end", _("To the weights of"), among=[n.letter for n in shared])
            other = next((n for n in shared if n.letter == settings["end"]), shared[0])
            assert other.run is not None
            steps = store.checkpoint_steps(other.run.id)
            if len(steps) > 1:
                with st.container(width=320):
                    settings.among("end_at", _("at step"), steps, last=True)
        if kind == "chosen":
            for side in ("x", "y"):
                with st.container(width=340):
                    axis_controls(settings, side, one.experiment)


def sidebar(settings: Settings) -> None:
    """What is changed less often."""
    settings.select("over", _("Loss over"))
    settings.switch("scale", _("Scale of the height"))
    settings.select("detail", _("Points"), help=_("Coarse ones come first and are refined."))
    settings.select("zoom", _("Window"))
    settings.switch(
        "ghosts", _("Steps without clipping"),
        help=_("Where a clipped step would have led without clipping, dotted."),
    )  # fmt: skip


def draw(store: Store, shown: View, found: surface_jobs.Progress, settings: Settings) -> None:
    """Both figures, and in words what they show."""
    grid = found.grid
    ids = [n.run.id for n in (*shown.shared, *shown.apart) if n.run is not None]
    before: Drawn | None = st.session_state.get(_DRAWN)
    if grid is None:
        # The figures stay where they are, and with them the camera, until there is something new.
        if before is not None and before.runs == ids:
            _figures(before)
            st.caption(_("The first coarse surface is being computed; drawn is still the one before it."))
        else:
            st.caption(_("The first coarse surface is being computed."))
        return
    drawn = Drawn(figures_of(store, shown, grid, settings), ids, f"surface-step-{shown.one.step}")
    st.session_state[_DRAWN] = drawn
    _figures(drawn)
    for said in words_of(store, shown, grid, settings):
        st.markdown(said)
    for n in shown.apart:
        st.caption(
            _("{name} is another network or another task: its weights do not lie in this plane.").format(
                name=n.name
            )
        )
    if shown.request["plane"]["kind"] == "line":
        relief, text = _relief(shown, grid, settings), words(figures.TEXT)
        row = int(np.argmin(np.abs(relief.y)))
        ends = {0.0: _("here"), 1.0: _("there")}
        figure = figures.profile_figure(relief, row, ends, text)
        st.plotly_chart(figure, key="profile", config=CONFIG, alt=_("The height along the line"))
        st.caption(_("Along the line itself: is there a barrier between both weights, or a slope?"))


def _figures(drawn: Drawn) -> None:
    alt = _("The loss surface from the side and from above, with the path of training")
    kept_figures(drawn.figures, key="surface", alt=alt, filename=drawn.filename)


def figures_of(store: Store, shown: View, grid: Grid, settings: Chosen) -> list[go.Figure]:
    """The surface from the side and from above, with the paths on it."""
    relief, text = _relief(shown, grid, settings), words(figures.TEXT)
    routes = [route(store, shown, n, settings["over"]) for n in shown.shared if n.run is not None]
    ghosts = _ghosts(store, shown) if settings["ghosts"] == "yes" else []
    return [
        figures.relief_figure(relief, routes, ghosts, text),
        figures.contour_figure(relief, routes, ghosts, text),
    ]


def words_of(store: Store, shown: View, grid: Grid, settings: Chosen) -> list[str]:
    """What both figures show, in paragraphs of Markdown."""
    found = [" ".join(t for t in (_where(shown, grid, settings), _holes(grid, settings)) if t)]
    if shown.plane.explained is not None:
        told = _(
            "Both axes hold {share} of the variance of all checkpoints on it; a long random walk would reach "
            "76 %, so that alone proves little."
        )
        found.append(told.format(share=percent(sum(shown.plane.explained))))
    found += [n.lead + _path_words(shown, n, settings["height"]) for n in shown.shared if n.run is not None]
    said = _ghost_words(store, shown) if settings["ghosts"] == "yes" else ""
    return [*found, said] if said else found


def _relief(shown: View, grid: Grid, settings: Chosen) -> figures.Relief:
    kind = settings["height"]
    n = shown.request["n"]
    left, right, low, high = shown.window
    x, y = (nodes(c, a, b, n).values[:: grid.stride] for c, a, b in zip(
        shown.cut.centre, (left, low), (right, high), strict=True
    ))  # fmt: skip
    log = settings["scale"] == "log" and kind != "accuracy"
    return figures.Relief(
        x, y, getattr(grid, kind), kind, log, titles_of(shown), short_titles(shown.request["plane"])
    )


def titles_of(shown: View) -> tuple[str, str]:
    """Titles of the axes, with the share of the path's variance where the plane comes from a path."""
    x, y = shown.axes
    if shown.plane.explained is None:
        return x, y
    a, b = (percent(share, 1) for share in shown.plane.explained)
    return f"{x} ({a})", f"{y} ({b})"


def short_titles(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Titles of the axes of the figure that can be turned, in which long ones are cut off."""
    kinds = {
        "path": (_("PC 1"), _("PC 2")), "line": (_("line"), _("across")),
        "curvature": (_("gradient"), _("eigenvector")), "random": (_("random 1"), _("random 2")),
    }  # fmt: skip
    if spec["kind"] in kinds:
        return kinds[spec["kind"]]
    x, y = (_(AXES.get(name, "weight")) for name in spec["axes"])
    return x, y


def route(store: Store, shown: View, n: Shown, over: str) -> figures.Route:
    """A network's path in the plane, each point with its own loss and its distance."""
    assert n.run is not None
    path = shown.paths[n.letter]
    places, off = shown.plane.place(path.thetas)[0], shown.off(path.thetas)
    now = None
    if not n.run.ended and n.run.step > path.steps[-1]:
        now = _now(store, shown, n.run, over)
    index = path.steps.index(n.step) if n.step in path.steps else None
    return figures.Route(
        n.name, n.color, path.steps, places, losses(shown.one, over, path.thetas), off, index, now
    )


def _now(store: Store, shown: View, run: Run, over: str) -> tuple[float, float, float] | None:
    theta = latest(store, run)
    if theta is None or not np.isfinite(theta).all():
        return None
    (place,), _off = shown.plane.place(theta[None])
    return float(place[0]), float(place[1]), float(losses(shown.one, over, theta[None])[0])


def _clipped(store: Store, shown: View, n: Shown) -> list[tuple[np.ndarray, Update]]:
    """The newest clipped steps of a run with the checkpoints that they began at."""
    if n.run is None:
        return []
    path = shown.paths[n.letter]
    at = {step: theta for step, theta in zip(path.steps, path.thetas, strict=True)}
    known = [(at[step], update) for step, update in updates_of(store, n.run).items() if step in at]
    return known[-GHOSTS:]


def _ghosts(store: Store, shown: View) -> list[figures.Ghost]:
    found = []
    for n in shown.shared:
        for start, update in _clipped(store, shown, n):
            # Without clipping a step may have left the numbers.
            with np.errstate(invalid="ignore", over="ignore"):
                places, _off = shown.plane.place(np.stack([start, update.taken, update.unclipped]))
            points = [(float(x), float(y)) for x, y in places]
            found.append(figures.Ghost(n.name, n.color, update.step, *points))
    return found


# In words -----------------------------------------------------------------------------------------------


def _where(shown: View, grid: Grid, settings: Chosen) -> str:
    one = shown.one
    task = TASKS[one.experiment.task]
    kind = settings["height"]
    centre = _centre(shown, grid, kind)
    name = {"loss": _("The loss"), "gradient": _("The gradient's norm"), "accuracy": _("The accuracy")}[kind]
    batch = (
        _("the training batch of step {step:,}, {B} sequences").format(step=one.step, B=one.experiment.batch)
        if settings["over"] == "step"
        else _("all held-out sequences")
    )
    told = _("**{name} over {batch}, on a plane through the weights of step {step:,}**")
    told = told.format(name=name, batch=batch, step=one.step)
    told += "." if centre is None else _(", where it is {value}.").format(value=of(centre))
    finite = getattr(grid, kind)[np.isfinite(getattr(grid, kind))]
    if len(finite):
        told += " " + _("In this window it goes from {low} to {high}.").format(
            low=of(float(finite.min())), high=of(float(finite.max()))
        )
    baseline = task.baseline(one.experiment.length) if kind == "loss" else None
    if baseline is not None:
        told += " " + _("Guessing costs {baseline}.").format(baseline=of(float(baseline)))
    return told


def _centre(shown: View, grid: Grid, kind: str) -> float | None:
    """The height at the checkpoint itself; None where its node is yet to be computed."""
    left, right, low, high = shown.window
    n = shown.request["n"]
    x, y = shown.cut.centre
    column, row = nodes(x, left, right, n).centre, nodes(y, low, high, n).centre
    if row % grid.stride or column % grid.stride:
        if kind != "loss":
            return None
        return float(losses(shown.one, shown.request["over"], shown.cut.plane.origin[None])[0])
    return float(getattr(grid, kind)[row // grid.stride, column // grid.stride])


def _holes(grid: Grid, settings: Chosen) -> str:
    heights = getattr(grid, settings["height"])
    bad = int(np.sum(~np.isfinite(heights)))
    if not bad:
        return ""
    told = _("**Holes:** at {bad} of {all} points it is no finite number (overflow or NaN).")
    return told.format(bad=bad, all=heights.size)


def _path_words(shown: View, n: Shown, height: str) -> str:
    path = shown.paths[n.letter]
    off = shown.off(path.thetas)
    length = float(np.linalg.norm(path.thetas - path.thetas[0], axis=1).max())
    told = _(
        "Its {K} checkpoints lie up to {off} away from the plane on show, up to {length} from the start."
    )
    told = told.format(K=len(path.steps), off=of(float(off.max())), length=of(length))
    if height == "loss":
        told += " " + _(
            "So a dot has the colour and height of **its own** loss, not of the surface under it."
        )
    return told


def _ghost_words(store: Store, shown: View) -> str:
    """How much farther the clipped steps that are drawn would have gone."""
    farthest, at, count = 0.0, 0, 0
    for n in shown.shared:
        for start, update in _clipped(store, shown, n):
            count += 1
            taken = float(np.linalg.norm(update.taken - start))
            factor = float(np.linalg.norm(update.unclipped - start)) / taken if taken else 0.0
            farthest, at = max((farthest, at), (factor, update.step))
    if not count:
        return ""
    told = _(
        "**Dotted: where clipped steps would have led without clipping**, for the last {n} checkpoints "
        "whose next step was clipped. The one at step {step:,} would have gone {factor} times as far."
    )
    return told.format(n=count, step=at, factor=of(farthest))


__all__ = [
    "PlaneError", "View", "controls", "draw", "figures_of", "route", "short_titles", "titles_of", "view",
    "words_of",
]  # fmt: skip
