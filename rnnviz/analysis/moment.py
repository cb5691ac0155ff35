"""One moment of training: a network with the weights of one step, and the batch that this step was made of.

Everything that the analysis pages draw comes from here: a pass forward and backward over that batch, made as
training made it, so that what is drawn equals what was recorded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock, RLock
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load

from ..bptt import Trace
from ..experiment import Experiment, step_memory
from ..kernels import default_kernel
from ..layout import layout_of
from ..network import Network, Pass
from ..stack import Tape
from ..step import batch_of, dropout_masks, pass_of, repeatable
from ..tasks import Batch

MOST_KEPT = 12  # moments with their passes: a slider goes back and forth over a few,
MOST_ANSWERS = 24  # what was asked of one moment
MOST_MEMORY = 1 << 29  # but no more of them than this many bytes hold


@dataclass(frozen=True, eq=False)
class Moment:
    """A network at a training step, counted by the updates that were made before it."""

    experiment: Experiment
    step: int
    network: Network
    #: A network's buffers serve one pass at a time, and several visitors may look at one moment.
    _lock: AbstractContextManager[Any] = field(default_factory=RLock, repr=False)
    _made: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Any], instead_of: str = "") -> Any:
        """What `make` returns, made once for each key; the last MOST_ANSWERS of them are kept.

        instead_of: of the keys that begin with this word only the last one is kept.
        """
        with self._lock:
            for old in [k for k in self._made if instead_of and isinstance(k, tuple) and k[0] == instead_of]:
                if old != key:
                    del self._made[old]
            if key not in self._made:
                with repeatable():
                    self._made[key] = make()
                while len(self._made) > MOST_ANSWERS:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return self._made[key]

    @property
    def batch(self) -> Batch:
        """The batch of this step."""
        found: Batch = self.once("batch", lambda: batch_of(self.experiment, self.step))
        return found

    @property
    def used(self) -> Pass:
        """Forward and backward as training made it, truncation and clipping of deltas included."""
        values = self.experiment.at(self.step)
        found: Pass = self.once("used", lambda: pass_of(self.experiment, self.network, self.step, values))
        return found

    @property
    def true(self) -> Pass:
        """Forward and backward with the loss's own gradient through all of time."""
        found: Pass = self.once("true", self._true)
        return found

    def _true(self) -> Pass:
        if self.used.full is None and not self.experiment.omega:
            return self.used
        return self.network.loss_and_gradient(self.batch, dropout_masks(self.experiment, self.step))

    def of_answer(self, answer: int) -> Tape:
        """The true gradient of the loss at one answer alone, as it stands in the whole; 0 is the first."""
        found: Tape = self.once(("answer", answer), lambda: self._of_answer(answer))
        return found

    def _of_answer(self, answer: int) -> Tape:
        network = self.network
        inputs, targets = network.tensors(self.batch)
        passage = network.forward(inputs, dropout_masks(self.experiment, self.step))
        _, grad_y = network.loss(network.read(network.asked(passage)), targets)
        kept = torch.zeros_like(grad_y)
        kept[answer] = grad_y[answer]
        nobody = network.split(network.layout.views(torch.empty_like(network.flat)))
        return passage.backward(kept @ network.parameters["out.weight"], nobody)

    @property
    def tape(self) -> Tape:
        """Of the true gradient: states, gates, dL/dh_t. With a decoder its steps follow the encoder's."""
        return self.true.tape

    def trace(self, layer: int = 0, direction: int = 0, part: int = 0) -> Trace:
        """One layer in one direction, which has run backward with the true gradient."""
        return self.true.passage.traces[part][layer][direction]


def moment(
    experiment: Experiment, step: int = 0, parameters: bytes | None = None, kernel: str | None = None
) -> Moment:
    """The moment of a run's checkpoint, or with no parameters that before the first step.

    parameters: a safetensors file with every parameter by name. kernel: what computed the run, where this
    machine has it; by default what would compute it now. Moments are kept: asking again costs nothing.

    Raises ValueError, one sentence, when the parameters are not those of the experiment's network.
    """
    known = hashlib.sha256(parameters).hexdigest() if parameters is not None else ""
    key = (experiment.to_json(), step, known, kernel or "")
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
            return found
    made = moment_apart(experiment, step, parameters, kernel)
    with _lock:
        made = _kept.setdefault(key, made)  # somebody else may have asked the same meanwhile
        while len(_kept) > MOST_KEPT or (len(_kept) > 1 and _memory() > MOST_MEMORY):
            _kept.popitem(last=False)
    return made


_lock = Lock()
_kept: OrderedDict[tuple[str, int, str, str], Moment] = OrderedDict()


def _memory() -> int:
    return sum(step_memory(kept.experiment) for kept in _kept.values())


def moment_apart(
    experiment: Experiment, step: int = 0, parameters: bytes | None = None, kernel: str | None = None
) -> Moment:
    """As `moment`, but made anew and not kept: for who goes through many."""
    flat = None if parameters is None else flat_of(experiment, parameters)
    here = default_kernel()
    return Moment(
        experiment, step, Network(experiment, flat, here if kernel in (None, "compiled") else "torch")
    )


def flat_of(experiment: Experiment, parameters: bytes) -> torch.Tensor:
    """Parameters by name, a safetensors file, as the flat vector of the experiment's network."""
    arrays, layout = load(parameters), layout_of(experiment)
    for name, shape in layout.shapes.items():
        got = arrays[name].shape if name in arrays else None
        if got != shape:
            raise ValueError(f"{name}: got {'nothing' if got is None else got}; the network needs {shape}.")
    flat = np.concatenate([arrays[name].ravel() for name in layout.shapes])
    return torch.from_numpy(flat.astype(experiment.precision))
