"""Histograms of gradient norms, with the threshold that they were compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import ACCENT, log_axis, range_of, themed, with_panels

#: Words of the figure, to be translated.
TEXT: Mapping[str, str] = {
    "norm": "norm, logarithmic",
    "share": "share of the steps",
    "threshold": "threshold {threshold:g}",
}
BINS_PER_DECADE = 10
MOST_BINS = 120


@dataclass(frozen=True)
class Norms:
    """One network's norms, in decades, of every step that was recorded; threshold: NaN without one."""

    name: str
    color: str
    decades: np.ndarray
    threshold: float = np.nan


def histograms(panels: Mapping[str, Sequence[Norms]], text: Mapping[str, str] = TEXT) -> go.Figure:
    """One panel for each part of the parameters, all on one axis of norms."""
    titles = list(panels)
    every = [one.decades for networks in panels.values() for one in networks]
    limits = [
        np.log10([one.threshold for networks in panels.values() for one in networks if one.threshold > 0])
    ]
    low, high = range_of([*every, *limits])
    bins = int(min(MOST_BINS, max(10, BINS_PER_DECADE * (high - low))))
    size = max((high - low) / bins, 0.01)
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=titles
    )
    for row, title in enumerate(titles, start=1):
        for one in panels[title]:
            known = one.decades[np.isfinite(one.decades)]
            # What lies outside stands at the edge, so that nothing is left out.
            inside = np.clip(known, low, low + bins * size)
            counts, edges = np.histogram(inside, bins=bins, range=(low, low + bins * size))
            figure.add_trace(
                go.Bar(
                    x=(edges[:-1] + edges[1:]) / 2,
                    y=counts / max(1, len(one.decades)),
                    width=size,
                    marker={"color": one.color, "opacity": 0.55, "line_width": 0},
                    customdata=np.stack([10.0 ** edges[:-1], 10.0 ** edges[1:], counts], -1),
                    name=one.name,
                    legendgroup=one.name,
                    showlegend=row == 1 and bool(one.name),
                    hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{customdata[2]} "
                    "<extra>%{fullData.name}</extra>",
                ),
                row=row,
                col=1,
            )
            if one.threshold > 0:
                figure.add_vline(
                    float(np.log10(one.threshold)),
                    line={"color": ACCENT, "width": 2},
                    annotation_text=text["threshold"].format(threshold=one.threshold),
                    annotation_position="top right",
                    row=row,
                    col=1,
                )
    axis = log_axis(low, high)
    figure.update_xaxes(tickvals=axis["tickvals"], ticktext=axis["ticktext"], range=[low - size, high + size])
    figure.update_xaxes(title_text=text["norm"], row=len(titles), col=1)
    figure.update_yaxes(tickformat=".0%", nticks=4)
    figure.update_yaxes(title_text=text["share"], row=1, col=1)
    named = any(one.name for networks in panels.values() for one in networks)
    margin = {"t": 90 if named else 40, "r": 20, "b": 50, "l": 70}
    return with_panels(themed(figure, 200 + 120 * len(titles), barmode="overlay", margin=margin), named)
