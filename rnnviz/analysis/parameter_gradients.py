"""How large the gradient of the loss is for each parameter of a network."""

from __future__ import annotations

from .moment import Moment


def gradient_norms(moment: Moment) -> dict[str, float]:
    """Norm of the gradient of the loss of the moment's batch, by the parameter's name; not clipped.

    The norm is taken in float64, of the gradient as the run computes it. A parameter that has nothing to do
    has exactly 0.
    """
    views = moment.network.layout.views(moment.true.grad)
    return {name: float(view.double().norm()) for name, view in views.items()}
