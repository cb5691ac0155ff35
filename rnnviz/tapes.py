"""What happens inside a PyTorch model's recurrent layers: every state, every gate, and the loss's gradients.

The modules of torch.nn are fused: the gradient of their output is the direct term of the loss at each step
alone, and what passes through the recurrence is not to be had. So while a model is recorded, its recurrent
modules are computed step by step from their own weights, and autograd gives the total derivatives.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .bptt import TorchOps, Weights
from .cells import CELLS, Cell
from .layout import suffix
from .stack import Tape

LAYERS = (nn.RNN, nn.LSTM, nn.GRU)
SINGLE = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
_PATCHING = threading.RLock()


@dataclass(frozen=True)
class Tapes(Mapping[str, Tape]):
    """Tapes by the path of the module in the model, such as "encoder.lstm"; "" is the model itself.

    A module that was called several times has the tapes of its calls in `calls`, and here one tape of them
    all, joined in time. Calls with batches of different sizes cannot be joined: then only `calls` has them,
    and tapes[path], get(path), items() and values() raise a ValueError that says so.
    """

    calls: Mapping[str, Sequence[Tape]]
    loss: float

    def __getitem__(self, path: str) -> Tape:
        if path not in self.calls:
            known = ", ".join(repr(name) for name in self.calls)
            raise KeyError(f"{path!r} was not called; recorded: {known}.")
        return _joined(path, self.calls[path])

    def __contains__(self, path: object) -> bool:
        return path in self.calls

    def __iter__(self) -> Iterator[str]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)


@dataclass
class Recorded:
    """One layer in one direction during one call, in the order of the sequence: (T, B, ...) each by name.

    Beyond the end of a sequence that is shorter than others stands 0, as in pad_packed_sequence.
    """

    values: dict[str, Tensor]
    total: dict[str, Tensor]

    def grad_norms(self, name: str) -> np.ndarray:
        """(T,): the Euclidean norm of dL/ds_t over the units, averaged over the whole batch, in float64.

        A sequence that has ended counts as 0 from there on.
        """
        norms: np.ndarray = self.total[name].double().norm(dim=-1).mean(-1).cpu().numpy()
        return norms


@dataclass
class _Call:
    """A call under way: for each layer and direction what autograd is to be asked about."""

    path: str
    cell: Cell
    parts: list[list[_Part]] = field(default_factory=list)


@dataclass
class _Part:
    """Steps in the order of the sequence; those of packed sequences have fewer rows."""

    cell: Cell
    steps: list[dict[str, Tensor]]
    order: Tensor | None  # of the batch, to the order of the caller


def record(model: nn.Module, *inputs: Any, loss: Callable[[Any], Tensor], **options: Any) -> Tapes:
    """Run `model(*inputs, **options)` and `loss` of its output, and record all recurrent modules on the way.

    Recorded are nn.RNN, nn.LSTM and nn.GRU (any number of layers, both directions, with or without bias,
    batch_first, proj_size, packed sequences) and nn.RNNCell, nn.LSTMCell and nn.GRUCell. The gradients are
    total derivatives of the loss as it is given: a mean over the batch gives each sequence its share.
    The model's weights, buffers and gradients and the random state are left as they were. What a model keeps
    in other attributes, such as a tensor of its own as self.h, is as any forward pass would leave it.

    Raises ValueError for a model without such modules, for a loss that is no single number or that does not
    depend on them, and what PyTorch raises for inputs and states that do not fit a module.
    """
    _check(model, loss)
    modules = {id(m): name for name, m in model.named_modules() if isinstance(m, LAYERS + SINGLE)}
    if not modules:
        kinds = ", ".join(f"nn.{kind.__name__}" for kind in LAYERS + SINGLE)
        raise ValueError(f"model: {type(model).__name__} has no recurrent module; recorded are {kinds}.")
    calls: list[_Call] = []
    with as_before(model), _step_by_step(modules, calls), torch.inference_mode(False), torch.enable_grad():
        value = loss(model(*inputs, **options))
        if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
            got = repr(value)[:60]
            if isinstance(value, Tensor):
                got = f"a complex {value.item()}" if value.numel() == 1 else f"the shape {tuple(value.shape)}"
            raise ValueError(f"loss: got {got}; a tensor of one number is needed, such as a mean.")
        states = [s for call in calls for parts in call.parts for part in parts for s in _states(part)]
        if not states:
            raise ValueError("model: none of its recurrent modules was called.")
        apart = "loss: it does not depend on the recurrent modules; was the output detached?"
        if not value.requires_grad:
            raise ValueError(apart)
        grads = torch.autograd.grad(value, states, allow_unused=True)
        if all(grad is None for grad in grads):
            raise ValueError(apart)
    found = iter(grads)
    tapes: dict[str, list[Tape]] = {}
    for call in calls:
        traces = [[_recorded(part, found) for part in parts] for parts in call.parts]
        tapes.setdefault(call.path, []).append(Tape(call.cell, traces))
    return Tapes(tapes, float(value.detach()))


def _check(model: Any, loss: Any) -> None:
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise ValueError(f"model: got {got}; a torch.nn.Module is needed.")
    if not callable(loss):
        raise ValueError(f"loss: got {loss!r}; a function of the model's output is needed.")


def _states(part: _Part) -> list[Tensor]:
    return [step[name] for step in part.steps for name in part.cell.states]


def _recorded(part: _Part, grads: Iterator[Tensor | None]) -> Recorded:
    """Take this part's gradients, in the order of `_states`, and stack everything."""
    total: list[dict[str, Tensor]] = []
    for step in part.steps:
        pairs = [(name, next(grads)) for name in part.cell.states]
        total.append({n: torch.zeros_like(step[n]) if g is None else g for n, g in pairs})
    names = [*part.cell.states, *(gate for gate in part.cell.gates if gate not in part.cell.states)]
    return Recorded(
        {name: _stacked([step[name] for step in part.steps], part.order) for name in names},
        {name: _stacked([step[name] for step in total], part.order) for name in part.cell.states},
    )


def _stacked(rows: Sequence[Tensor], order: Tensor | None) -> Tensor:
    """T of (B_t, H), B_t falling, to (T, B, H) in the caller's order."""
    B = max(len(row) for row in rows)
    padded = [torch.cat([row, row.new_zeros(B - len(row), row.shape[1])]) for row in rows]
    stacked = torch.stack(padded).detach()
    return stacked if order is None else stacked[:, order]


def _joined(path: str, tapes: Sequence[Tape]) -> Tape:
    """Calls one after the other as one tape."""
    if len(tapes) == 1:
        return tapes[0]
    first = tapes[0].traces
    same = {(len(t.traces), len(t.traces[0]), t.traces[0][0].values["h"].shape[1:]) for t in tapes}
    if len(same) > 1:
        several = f"{path!r}: its {len(tapes)} calls had batches of different sizes"
        raise ValueError(f"{several}; tapes.calls[{path!r}] has each of them.")
    joined = [
        [_after_each_other([tape.traces[k][d] for tape in tapes]) for d in range(len(parts))]
        for k, parts in enumerate(first)
    ]
    return Tape(tapes[0].cell, joined)


def _after_each_other(parts: Sequence[Recorded]) -> Recorded:
    values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
    return Recorded(
        values, {name: torch.cat([part.total[name] for part in parts]) for name in parts[0].total}
    )


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Buffers, which may be written to or replaced, and random numbers, put back after a forward pass."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    named = [(m, dict(m._buffers), set(m._non_persistent_buffers_set)) for m in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(_devices(model)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, held, passing in named:
            module._buffers.clear()
            module._buffers.update(held)
            module._non_persistent_buffers_set.clear()
            module._non_persistent_buffers_set.update(passing)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _devices(model: nn.Module) -> list[int]:
    """GPUs, each of which has random numbers of its own."""
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})


@contextmanager
def _step_by_step(modules: Mapping[int, str], calls: list[_Call]) -> Iterator[None]:
    """Let these modules compute step by step; other modules of their kinds, in other threads, as ever."""

    thread = threading.get_ident()

    def patched(kind: Any, run: Callable[..., Any]) -> Callable[..., Any]:
        original = kind.forward

        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            path = modules.get(id(self))
            if path is None or threading.get_ident() != thread:
                return original(self, *args, **kwargs)
            _check_states(self, path, kwargs.get("hx", args[1] if len(args) > 1 else None))
            with torch.no_grad(), torch.random.fork_rng(_devices(self)):
                original(self, *args, **kwargs)  # refuses what PyTorch refuses, in its own words
            return run(self, path, calls, *args, **kwargs)

        return forward

    kinds: dict[Any, Callable[..., Any]] = {
        **dict.fromkeys(LAYERS, _run_layers),
        **dict.fromkeys(SINGLE, _run_single),
    }
    with _PATCHING:
        originals = {kind: kind.forward for kind in kinds}
        try:
            for kind, run in kinds.items():
                kind.forward = patched(kind, run)
            yield
        finally:
            for kind, original in originals.items():
                kind.forward = original


def _check_states(module: nn.Module, path: str, hx: Any) -> None:
    """Where PyTorch's own error is about an index or a missing attribute."""
    name = type(module).__name__ + (f" {path!r}" if path else "")
    if hx is None:
        return
    got = f"the shape {tuple(hx.shape)}" if isinstance(hx, Tensor) else f"a {type(hx).__name__}"
    if not isinstance(module, nn.LSTM | nn.LSTMCell):
        if not isinstance(hx, Tensor):
            raise ValueError(f"hx of {name}: got {got}; one tensor is needed, h_0.")
    elif not isinstance(hx, tuple | list):
        raise ValueError(f"hx of {name}: got {got}; a pair of tensors is needed, (h_0, c_0).")
    elif len(hx) != 2 or not all(isinstance(state, Tensor) for state in hx):
        kinds = ", ".join(type(state).__name__ for state in hx)
        raise ValueError(f"hx of {name}: got ({kinds}); a pair of tensors is needed, (h_0, c_0).")


def _cell_of(module: nn.Module) -> Cell:
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return CELLS["lstm"]
    if isinstance(module, nn.GRU | nn.GRUCell):
        return CELLS["gru"]
    return CELLS[str(module.nonlinearity)]


def _weights_of(module: nn.Module, end: str) -> dict[str, Tensor]:
    """The weights of a layer and direction; biases of zero where it has none."""
    weights = {name: getattr(module, f"weight_{name}{end}") for name in ("ih", "hh")}
    rows = len(weights["hh"])
    bias = bool(module.bias)
    result = {f"weight_{name}": weight for name, weight in weights.items()}
    for name in ("ih", "hh"):
        result[f"bias_{name}"] = (
            getattr(module, f"bias_{name}{end}") if bias else weights["hh"].new_zeros(rows)
        )
    if getattr(module, "proj_size", 0):
        result["weight_hr"] = getattr(module, f"weight_hr{end}")
    return result


def _step(cell: Cell, weights: Weights, x: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One time step (B, ...) that autograd can follow, and can be asked about its states."""
    a_x = x @ weights["weight_ih"].T + weights["bias_ih"]
    if not a_x.requires_grad:  # the root of the states, or h would not hang on c where nothing else asks
        a_x = a_x.detach().requires_grad_()
    now = cell.forward(TorchOps(cell, weights, a_x), SimpleNamespace(**state), SimpleNamespace())
    if "weight_hr" in weights:
        now["h"] = now["h"] @ weights["weight_hr"].T
    for name in cell.states:
        if not now[name].requires_grad:  # within the model's own no_grad: nothing hangs on it
            now[name].requires_grad_()
    return now


def _run_single(
    module: Any, path: str, calls: list[_Call], input: Tensor, hx: Any = None
) -> Any:  # the arguments' names are PyTorch's
    """nn.RNNCell, nn.LSTMCell, nn.GRUCell."""
    cell, weights = _cell_of(module), _weights_of(module, "")
    batched = input.dim() == 2
    x = input if batched else input[None]
    given = None if hx is None else (hx,) if isinstance(hx, Tensor) else tuple(hx)
    zero = x.new_zeros(len(x), module.hidden_size)
    parts = [zero] * len(cell.states) if given is None else [h if batched else h[None] for h in given]
    now = _step(cell, weights, x, dict(zip(cell.states, parts, strict=True)))
    calls.append(_Call(path, cell, [[_Part(cell, [now], None)]]))
    # Copies: the model may write into what it gets.
    after = tuple((now[name] if batched else now[name][0]).clone() for name in cell.states)
    return after if len(after) > 1 else after[0]


def _run_layers(module: Any, path: str, calls: list[_Call], input: Any, hx: Any = None) -> Any:
    """nn.RNN, nn.LSTM, nn.GRU, as PyTorch documents them."""
    cell = _cell_of(module)
    packed = isinstance(input, PackedSequence)
    if packed:
        rows = list(input.data.split(input.batch_sizes.tolist()))
        order, inverse = input.sorted_indices, input.unsorted_indices
        batched = True
    else:
        batched = input.dim() == 3
        x = input if batched else input[:, None] if not module.batch_first else input[None]
        rows = list(x.transpose(0, 1) if module.batch_first else x)  # T of (B, I)
        order = inverse = None
    B, D = len(rows[0]), 2 if module.bidirectional else 1
    initial = _initial(module, cell, rows[0].new_zeros(0), hx, B, D, batched, order)
    call = _Call(path, cell)
    ends: dict[str, list[Tensor]] = {name: [] for name in cell.states}
    for layer in range(module.num_layers):
        parts = []
        for d in range(D):
            k = layer * D + d
            start = {name: values[k] for name, values in initial.items()}
            steps, last = _unroll(cell, _weights_of(module, suffix(layer, d)), rows, start, bool(d))
            parts.append(_Part(cell, steps, inverse))
            for name in cell.states:
                ends[name].append(last[name])
        call.parts.append(parts)
        rows = [torch.cat([p.steps[t]["h"] for p in parts], -1) for t in range(len(rows))]
        if module.dropout and module.training and layer < module.num_layers - 1:
            sizes = [len(row) for row in rows]
            dropped = nn.functional.dropout(torch.cat(rows), module.dropout)
            rows = list(torch.split(dropped, sizes))
    calls.append(call)
    final = tuple(torch.stack(ends[name]) for name in cell.states)  # (layers * D, B, H) each
    if inverse is not None:
        final = tuple(values[:, inverse] for values in final)
    final = final if batched else tuple(values[:, 0] for values in final)
    state = final if len(final) > 1 else final[0]
    if packed:
        return PackedSequence(torch.cat(rows), input.batch_sizes, order, inverse), state
    out = torch.stack(rows)
    if not batched:
        return out[:, 0], state
    return (out.transpose(0, 1) if module.batch_first else out), state


def _initial(
    module: Any, cell: Cell, like: Tensor, hx: Any, B: int, D: int, batched: bool, order: Tensor | None
) -> dict[str, Tensor]:  # fmt: skip
    """States before the first step, (layers * D, B, H) by name, in the order of a packed batch."""
    if hx is None:
        sizes = {"h": getattr(module, "proj_size", 0) or module.hidden_size, "c": module.hidden_size}
        return {name: like.new_zeros(module.num_layers * D, B, sizes[name]) for name in cell.states}
    given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    states = [h if batched else h[:, None] for h in given]
    states = states if order is None else [h[:, order] for h in states]
    return dict(zip(cell.states, states, strict=True))


def _unroll(
    cell: Cell, weights: Weights, rows: Sequence[Tensor], start: Mapping[str, Tensor], reverse: bool
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Steps in the order of the sequence, and the state of every sequence after its own last step.

    Packed sequences are sorted, the longest first: going forward some end early, going backward some begin
    late.
    """
    T, B = len(rows), len(start["h"])
    steps: list[dict[str, Tensor]] = [{}] * T
    state = dict(start)
    ended: list[dict[str, Tensor]] = []
    for t in range(T - 1, -1, -1) if reverse else range(T):
        count = len(rows[t])
        if reverse:  # who begins now begins from the states that were given
            had = len(state["h"]) if t < T - 1 else 0
            state = {n: torch.cat([state[n][:had], start[n][had:count]]) for n in cell.states}
        elif count < len(state["h"]):
            ended.append({n: state[n][count:] for n in cell.states})
            state = {n: state[n][:count] for n in cell.states}
        steps[t] = _step(cell, weights, rows[t], state)
        state = {n: steps[t][n] for n in cell.states}
    for part in reversed(ended):
        state = {n: torch.cat([state[n], part[n]]) for n in cell.states}
    assert len(state["h"]) == B
    return steps, state
