"""A safetensors file from elsewhere: its tensors, and the recurrent modules that their names and shapes tell.

What comes in is taken for a stranger's. The header is measured before it is read, every tensor has to lie
within the file, and nothing is copied before somebody asks for it. A pickle is never opened.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cells import CELLS
from ..experiment import allowed, complaint
from ..layout import suffix
from .archive import MAX_BYTES

MAX_HEADER = 1_000_000  # bytes of JSON; many more would fill the memory with small objects
MAX_NAME = 200  # characters
MAX_TYPE = 16  # characters of a type's name
MAX_AXES, MAX_AXIS = 8, 2**40
#: What turns a state_dict that was saved as a pickle into a file that is taken in here.
CONVERT = 'safetensors.torch.save_file(torch.load("model.pt", weights_only=True), "model.safetensors")'

#: Bytes of a number of each type of the format; a type that came later is passed over unless it is needed.
WIDTHS = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
REALS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
HALF = ("F16", "BF16")
#: How many rows of weight_hh there are for each hidden unit.
KINDS = {1: "RNN", 3: "GRU", 4: "LSTM"}
_KNOWN = "nn.RNN has 1, nn.GRU 3 and nn.LSTM 4"
#: A parameter of a recurrent module: the path with its dot, and what PyTorch calls it within.
PARAMETER = re.compile(
    r"(?P<path>(?:.+\.)?)(?P<role>(?:weight|bias)_(?:ih|hh)|weight_hr)_l(?P<layer>0|[1-9]\d?)"
    r"(?P<reverse>_reverse)?"
)
_OF_A_CELL = re.compile(r"(?:.+\.)?(?:weight|bias)_(?:ih|hh)")


class WeightsError(ValueError):
    """Weights that cannot be taken in; the text is one sentence."""


class PickledError(WeightsError):
    """A pickle, which is not opened; `CONVERT` makes a safetensors file of it."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file, and where its numbers lie among the bytes after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The tensors of a file by name, and the bytes behind them."""

    tensors: Mapping[str, Tensor]
    data: memoryview

    def array(self, name: str, precision: str) -> np.ndarray:
        """The numbers of a floating-point tensor in another precision, in a copy of their own."""
        tensor = self.tensors[name]
        raw = np.frombuffer(self.data[tensor.start : tensor.stop], dtype=REALS[tensor.dtype])
        if tensor.dtype == "BF16":  # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):
            return raw.astype(precision).reshape(tensor.shape)


@dataclass(frozen=True)
class Module:
    """A recurrent module of PyTorch as its parameters in a file tell.

    path: what their names begin with, without the last dot. tensors: name in the file by the name that
    PyTorch gives the parameter within the module, such as weight_ih_l0.
    """

    path: str
    kind: str  # one of KINDS
    inputs: int
    hidden: int
    layers: int
    directions: int
    biases: bool
    tensors: Mapping[str, str]

    @property
    def name(self) -> str:
        """What it is and where it stands: "nn.LSTM encoder.rnn"."""
        return f"nn.{self.kind} {self.path}".rstrip()

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells that it may be: of nn.RNN the weights do not tell the nonlinearity."""
        return tuple(c.name for c in CELLS.values() if c.torch_module and c.torch_module[0] == self.kind)


def read(blob: bytes) -> WeightsFile:
    """The tensors of a safetensors file. Raises WeightsError; numbers are not looked at yet."""
    if len(blob) > MAX_BYTES:
        raise WeightsError(
            f"This file is too large: it holds {len(blob) / 1e6:.0f} MB, "
            f"and at most {MAX_BYTES / 1e6:.0f} MB are taken in."
        )
    _refuse_others(blob)
    (length,) = struct.unpack_from("<Q", blob) if len(blob) >= 8 else (0,)
    if blob[8:9] != b"{":
        raise WeightsError("This is no safetensors file: it does not begin with a header.")
    if length > MAX_HEADER:
        raise WeightsError(f"The header of this file has {length:,} bytes; allowed: at most {MAX_HEADER:,}.")
    if length > len(blob) - 8:
        raise WeightsError(
            f"This file is cut off: its header has {length:,} bytes, and {len(blob) - 8:,} are there."
        )
    try:
        entries = json.loads(blob[8 : 8 + length].decode(), object_pairs_hook=_each_once)
    except WeightsError:
        raise
    except (ValueError, RecursionError):
        raise WeightsError("This is no safetensors file: its header is no JSON.") from None
    _refuse_own(entries.pop("__metadata__", None), entries)
    tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
    data = memoryview(blob)[8 + length :]
    _check_places(tensors, len(data))
    return WeightsFile(tensors, data)


def _refuse_others(blob: bytes) -> None:
    """Files of other kinds that are likely to be tried."""
    if blob.startswith(b"PK\x03\x04") and blob[30:].startswith((b"runs/", b"manifest.json")):
        raise WeightsError("This is a run file: it is opened by “Open a run file”.")
    # A header's length may begin with the same two bytes as a pickle, and then "{" stands in ninth place.
    pickled = blob[:1] == b"\x80" and blob[1:2] in (b"\2", b"\3", b"\4", b"\5") and blob[8:9] != b"{"
    if pickled or blob.startswith(b"PK\x03\x04"):
        raise PickledError(
            "This is a pickle, as torch.save writes it: a pickle may run any code when it is opened, so none "
            "is opened here. Where you trust it, a line of Python makes a safetensors file of it."
        )


def _refuse_own(metadata: Any, names: Mapping[str, Any]) -> None:
    """Weights that rnnviz itself has written of a cell that torch.nn does not have: they would be taken for
    another one's."""
    try:
        cell = CELLS.get(json.loads(metadata["experiment"])["cell"])
    except (TypeError, KeyError, ValueError, RecursionError):
        cell = None
    peephole = next((name for name in names if "weight_peephole" in name), None)
    if (cell is not None and cell.torch_module is None) or peephole is not None:
        what = f"of the cell {cell.label}" if cell is not None else "of an LSTM with peepholes"
        raise WeightsError(
            f"These are weights {what}, which torch.nn does not have; allowed: nn.RNN, nn.LSTM and nn.GRU. "
            "A run of that cell comes here by its run file."
        )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise WeightsError("This is no safetensors file: a name stands in its header twice.")
    return found


def _tensor(name: str, entry: Any) -> Tensor:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise WeightsError(
            f"A tensor of this file has no proper name; allowed: 1 to {MAX_NAME} printable characters."
        )
    said: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape: Any = said.get("shape")
    places: Any = said.get("data_offsets")
    dtype: Any = said.get("dtype")
    if not (
        isinstance(dtype, str) and dtype.isascii() and dtype.isprintable() and len(dtype) <= MAX_TYPE
        and _whole_numbers(shape) and len(shape) <= MAX_AXES
        and _whole_numbers(places) and len(places) == 2 and places[0] <= places[1]
    ):  # fmt: skip
        raise WeightsError(f"{name}: its entry in the header does not say type, shape and place.")
    width, found = WIDTHS.get(dtype), Tensor(name, dtype, tuple(shape), *places)
    if width is not None and math.prod(shape) * width != found.stop - found.start:
        raise WeightsError(
            f"{name}: got {found.stop - found.start:,} bytes; {dtype} numbers of shape {found.shape} have "
            f"{math.prod(shape) * width:,}."
        )
    return found


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n <= MAX_AXIS for n in values)


def _check_places(tensors: Mapping[str, Tensor], size: int) -> None:
    """Tensors lie one after the other, from the first byte to the last."""
    end = 0
    for tensor in sorted(tensors.values(), key=lambda one: (one.start, one.stop)):
        if tensor.start != end:
            raise WeightsError(f"{tensor.name}: its numbers begin at byte {tensor.start:,}, not at {end:,}.")
        end = tensor.stop
    if end > size:
        raise WeightsError(f"This file is cut off: its tensors have {end:,} bytes, and {size:,} are there.")
    if end < size:
        raise WeightsError(f"This file holds {size - end:,} bytes that belong to no tensor.")


def module_paths(file: WeightsFile) -> list[str]:
    """Where recurrent modules stand in a file, in its order. Raises WeightsError when there is none."""
    parts = (match for name in file.tensors if (match := PARAMETER.fullmatch(name)))
    found = list(dict.fromkeys(part["path"].removesuffix(".") for part in parts))
    if found:
        return found
    cell = next((name for name in file.tensors if _OF_A_CELL.fullmatch(name)), None)
    if cell is not None:
        raise WeightsError(
            f"{cell}: this is a parameter of nn.RNNCell, nn.LSTMCell or nn.GRUCell; allowed: nn.RNN, nn.LSTM "
            "and nn.GRU, whose names end in _l0."
        )
    raise WeightsError(
        f"No recurrent module is among the {len(file.tensors)} tensors of this file: an nn.RNN, nn.LSTM or "
        "nn.GRU has a weight_ih_l0 and a weight_hh_l0."
    )


def module_of(file: WeightsFile, path: str) -> Module:
    """The recurrent module at a path. Raises WeightsError: which tensor, what came, what is allowed."""
    start = f"{path}." if path else ""
    own = {
        name.removeprefix(start): tensor
        for name, tensor in file.tensors.items()
        if (match := PARAMETER.fullmatch(name)) and match["path"] == start
    }
    projected = next((tensor for name, tensor in own.items() if name.startswith("weight_hr")), None)
    if projected is not None:
        raise WeightsError(
            f"{projected.name}: an LSTM with proj_size has one more matrix on its way out; allowed: "
            "proj_size=0."
        )
    for name in ("weight_hh_l0", "weight_ih_l0"):
        if name not in own:
            raise WeightsError(f"{start}{name}: it is missing; every nn.RNN, nn.LSTM and nn.GRU has it.")
        if len(own[name].shape) != 2:
            raise WeightsError(f"{start}{name}: got shape {own[name].shape}; a matrix is needed.")
    rows, hidden = own["weight_hh_l0"].shape
    wrong = complaint("hidden", hidden)
    if wrong:
        raise WeightsError(f"{start}weight_hh_l0: got {hidden:,} hidden units; {allowed('hidden')}")
    if rows % hidden or rows // hidden not in KINDS:
        raise WeightsError(
            f"{start}weight_hh_l0: got shape {(rows, hidden)}, {rows / hidden:g} rows for each hidden unit; "
            f"{_KNOWN}."
        )
    numbers = [int(match["layer"]) for name in own if (match := PARAMETER.fullmatch(name))]
    layers, kind = max(numbers) + 1, KINDS[rows // hidden]
    if complaint("layers", layers):
        raise WeightsError(f"{start}weight_hh_l{layers - 1}: got {layers} layers; {allowed('layers')}")
    directions = 2 if any(name.endswith("_reverse") for name in own) else 1
    biases = any(name.startswith("bias") for name in own)
    inputs = own["weight_ih_l0"].shape[1]
    made = Module(
        path, kind, inputs, hidden, layers, directions, biases, {name: t.name for name, t in own.items()}
    )
    for name, shape in _shapes(made, rows):
        _check(f"{start}{name}", own.get(name), shape, made)
    return made


def _shapes(module: Module, rows: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every parameter that such a module has, in PyTorch's order, with its shape."""
    for layer, direction in itertools.product(range(module.layers), range(module.directions)):
        end = suffix(layer, direction)
        below = module.directions * module.hidden if layer else module.inputs
        yield f"weight_ih{end}", (rows, below)
        yield f"weight_hh{end}", (rows, module.hidden)
        if module.biases:
            yield f"bias_ih{end}", (rows,)
            yield f"bias_hh{end}", (rows,)


def _check(name: str, tensor: Tensor | None, shape: tuple[int, ...], module: Module) -> None:
    ways = "both ways" if module.directions > 1 else "one way"
    size = f"{module.hidden} hidden units, {module.layers} layers, {ways}"
    if tensor is None:
        raise WeightsError(f"{name}: it is missing; an nn.{module.kind} ({size}) has it.")
    if tensor.shape != shape:
        raise WeightsError(f"{name}: got shape {tensor.shape}; an nn.{module.kind} ({size}) has {shape}.")
    check_type(tensor)


def check_type(tensor: Tensor) -> None:
    """Raise WeightsError unless its numbers are floating-point ones."""
    if tensor.dtype not in REALS:
        raise WeightsError(f"{tensor.name}: got {tensor.dtype} numbers; allowed: {', '.join(REALS)}.")
