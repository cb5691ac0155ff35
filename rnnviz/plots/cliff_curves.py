"""One unit's error and its gradient along the steps of descent, and along a cut across the cliff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .cliff import CLIFF, CLIPPED, TEXT, Floats, Track, numbers
from .theme import ACCENT, INK, drawn, log_axis, range_of, themed

MOST_DECADES = 9  # of the steps: an error that goes to 0 would press all the rest together


def descent_figure(
    tracks: Sequence[Track], text: Mapping[str, str] = TEXT, height: int = 380
) -> go.Figure:  # fmt: skip
    """E and the gradient's norm at each place of the paths, on logarithmic scales, with the threshold."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.14)
    limits = [float(np.log10(track.limit)) for track in tracks if track.limit is not None]
    for row, name in enumerate(("error", "norm"), start=1):
        for track in tracks:
            y = drawn(getattr(track, name))
            figure.add_trace(
                go.Scatter(
                    x=np.arange(len(y)), y=y, mode="lines", name=track.name, showlegend=row == 1,
                    legendgroup=track.name, line={"color": track.color, "width": 2.5, "dash": track.dash},
                    customdata=numbers(y), connectgaps=False,
                    hovertemplate=f"{track.name}<br>%{{x}}: {text[name]} %{{customdata:.3~g}}<extra></extra>",
                ),
                row=row, col=1,
            )  # fmt: skip
        low, high = range_of([getattr(track, name) for track in tracks])
        if row == 2:
            low, high = min([low, *limits]), max([high, *limits])
        low = max(low, high - MOST_DECADES)
        figure.update_yaxes(title_text=text[name], **log_axis(low, high), row=row, col=1)
    for limit in limits:
        figure.add_hline(
            y=limit, row=2, col=1, line={"color": INK, "width": 1, "dash": "dash"},
            annotation={"text": text["threshold"], "xanchor": "right", "yanchor": "bottom"},
        )  # fmt: skip
    figure.update_xaxes(title_text=text["step"], row=2, col=1)
    return themed(figure, height)


def slice_figure(
    x: Floats, error: Floats, decades: Floats, along: str, cliff: float | None,
    place: tuple[float, float, float], moved: tuple[float, float, float],
    text: Mapping[str, str] = TEXT, height: int = 420,
) -> go.Figure:  # fmt: skip
    """E, and below it the gradient's norm, along "w" or "b".

    x, error, decades: (n,) where, E and log10 of the norm; cliff: where the cliff's line is crossed; place,
    moved: where, E and log10 of the norm there, of the place that the slice goes through and of the same one
    a little further along.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    wide = np.isfinite(error).any() and np.nanmax(error[np.isfinite(error)]) > 10.0  # ReLU has no ceiling
    curves = [(_log(error) if wide else drawn(error), "error", INK), (drawn(decades), "norm", ACCENT)]
    for row, (y, name, color) in enumerate(curves, start=1):
        said = numbers(y) if row == 2 or wide else y
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines", name=text[name], showlegend=False, connectgaps=False,
                line={"color": color, "width": 2}, customdata=said,
                hovertemplate=f"{along} = %{{x:.8~g}}: {text[name]} %{{customdata:.4~g}}<extra></extra>",
            ),
            row=row, col=1,
        )  # fmt: skip
        axis = log_axis(*range_of([y])) if row == 2 or wide else {"rangemode": "tozero"}
        figure.update_yaxes(title_text=text[name], **axis, row=row, col=1)
        for (at, own_error, own_norm), word, symbol in (
            (place, "place", "diamond"), (moved, "moved", "circle-open"),
        ):  # fmt: skip
            value = own_norm if row == 2 else _log(np.array(own_error)) if wide else own_error
            figure.add_trace(
                go.Scatter(
                    x=[at], y=drawn(np.array([value])), mode="markers", name=text[word], showlegend=row == 1,
                    legendgroup=word, hoverinfo="skip",
                    marker={"symbol": symbol, "size": 11, "color": CLIPPED, "line": {"width": 2}},
                ),
                row=row, col=1,
            )  # fmt: skip
    if cliff is not None and x[0] <= cliff <= x[-1]:
        figure.add_vline(x=cliff, line={"color": CLIFF, "width": 1.5, "dash": "dash"})
        figure.add_annotation(x=cliff, y=1, yref="paper", text=text["cliff"], showarrow=False, xanchor="left",
                              yanchor="top", xshift=5, font={"color": CLIFF})  # fmt: skip
    figure.update_xaxes(title_text=text[along], row=2, col=1)
    return themed(figure, height)


def _log(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return drawn(np.log10(values))
