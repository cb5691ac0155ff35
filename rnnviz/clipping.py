"""Gradient clipping: what is done to a gradient between the backward pass and the update.

A rule sees the gradient of the parameters in the clip's scope as one flat vector. It first measures it, then
changes it in place when the measure exceeds the threshold. Works on torch tensors without importing torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final


class Clipping(ABC):
    name: ClassVar[str]
    label: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    #: What the threshold is compared with, in plain words.
    measured: ClassVar[str] = "norm"
    uses_threshold: ClassVar[bool] = True

    def measure(self, grad: Any) -> float:
        """The number that the threshold is compared with: the Euclidean norm unless the rule says otherwise.

        Summed in float64, so that a large but finite float32 gradient does not measure as infinite.
        """
        return float(grad.double().norm())

    @abstractmethod
    def apply(self, grad: Any, threshold: float, measured: float) -> None:
        """Clip `grad` in place; `measured` is what `measure` returned."""


@final
class NoClipping(Clipping):
    name = "none"
    label = "Off"
    summary = "The gradient is used as it is."
    source = ""
    uses_threshold = False

    def apply(self, grad: Any, threshold: float, measured: float) -> None:
        pass


@final
class NormClipping(Clipping):
    name = "norm"
    label = "By norm"
    summary = "Shortens the whole gradient to the threshold when it is longer; its direction stays."
    source = "Pascanu, Mikolov & Bengio 2013, algorithm 1; torch.nn.utils.clip_grad_norm_"

    def apply(self, grad: Any, threshold: float, measured: float) -> None:
        """g * min(1, theta / (norm + 1e-6)), PyTorch's form."""
        coefficient = threshold / (measured + 1e-6)
        if coefficient < 1.0:
            grad.mul_(coefficient)


@final
class ValueClipping(Clipping):
    name = "value"
    label = "By value"
    summary = "Cuts every element to the threshold on its own; this bends the direction."
    source = "Mikolov 2012; torch.nn.utils.clip_grad_value_"
    measured = "largest element"

    def measure(self, grad: Any) -> float:
        return float(grad.abs().max())

    def apply(self, grad: Any, threshold: float, measured: float) -> None:
        if measured > threshold:
            grad.clamp_(-threshold, threshold)


CLIPPINGS: dict[str, Clipping] = {rule.name: rule for rule in (NoClipping(), NormClipping(), ValueClipping())}

#: Which parameters a rule sees, in plain words.
SCOPES: dict[str, str] = {
    "all": "all parameters together",
    "recurrent": "only the weights that multiply a state (W_hh, peepholes)",
    "not_output": "all but the output layer",
}
