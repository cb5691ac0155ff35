"""Weights from elsewhere: what PyTorch saved is what runs here; all else is refused in a sentence."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError

from rnnviz.analysis.moment import Moment, moment
from rnnviz.analysis.weights_file import weights_file
from rnnviz.cells import CELLS
from rnnviz.experiment import Experiment
from rnnviz.network import Network
from rnnviz.runs import archive
from rnnviz.runs.archive import MANIFEST, ArchiveError, from_archive, to_archive
from rnnviz.runs.origin import Origin
from rnnviz.runs.schema import RUNS
from rnnviz.runs.store import Run, Store
from rnnviz.runs.weights import MOST_BYTES, fitting_outputs, fitting_tasks, parameters, plan, to_run
from rnnviz.runs.weights_file import (
    CONVERT,
    MAX_HEADER,
    Module,
    PickledError,
    WeightsError,
    WeightsFile,
    module_of,
    module_paths,
    read,
)
from rnnviz.tasks import TASKS

ROOT = Path(__file__).parents[1]
TENSORS = dict[str, torch.Tensor]


def made(kind: str, **options: Any) -> torch.nn.RNNBase:
    torch.manual_seed(3)
    module: torch.nn.RNNBase = getattr(torch.nn, kind)(**{"input_size": 2, "hidden_size": 5, **options})
    return module


def saved(tensors: TENSORS, prefix: str = "") -> bytes:
    return safetensors.torch.save({prefix + name: value.contiguous() for name, value in tensors.items()})


def of_lstm(**changed: torch.Tensor | None) -> TENSORS:
    """The parameters of an LSTM, some replaced or, with None, taken away."""
    tensors = {**made("LSTM").state_dict(), **changed}
    return {name: value for name, value in tensors.items() if value is not None}


def taken(
    store: Store, blob: bytes, cell: str, task: str = "adding", length: int | None = None,
    output: str | None = None, path: str | None = None, owner: str | None = None,
) -> Run:  # fmt: skip
    """A file as a run."""
    file = read(blob)
    planned = plan(
        file, module_of(file, module_paths(file)[0] if path is None else path), cell, task, length, output
    )
    run = store.run(to_run(store, planned, parameters(file, planned), owner, "mine"))
    assert run is not None
    return run


def seen(store: Store, run: Run) -> Moment:
    return moment(run.experiment, 0, store.checkpoint(run.id, 0))


def refused(blob: bytes) -> str:
    """The sentence that answers a file, whichever part of the way it comes."""
    with pytest.raises(WeightsError) as error:
        whole_way(blob)
    return str(error.value)


def whole_way(blob: bytes) -> dict[str, np.ndarray]:
    file = read(blob)
    module = module_of(file, module_paths(file)[0])
    task = fitting_tasks(module)[0]
    outputs = fitting_outputs(file, module, task)
    planned = plan(file, module, module.cells[0], task, None, outputs[0] if outputs else None)
    return parameters(file, planned)


# What PyTorch computes


@pytest.mark.parametrize(
    ("kind", "cell"), [("RNN", "tanh"), ("RNN", "relu"), ("LSTM", "lstm"), ("GRU", "gru")]
)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
def test_states_are_those_of_the_torch_module(
    store: Store, kind: str, cell: str, layers: int, both: bool
) -> None:
    more = {"nonlinearity": cell} if kind == "RNN" else {}
    for bias, prefix, real in (
        (True, "", torch.float32), (False, "encoder.rnn.", torch.float32), (True, "a.", torch.float64),
        (False, "", torch.float64),
    ):  # fmt: skip
        module = made(kind, num_layers=layers, bidirectional=both, bias=bias, **more).to(real)
        run = taken(store, saved(module.state_dict(), prefix), cell, length=9)
        found = seen(store, run)
        assert found.experiment.precision == str(real).removeprefix("torch.")
        inputs = torch.from_numpy(found.batch.inputs.astype(found.experiment.precision))
        assert inputs.shape[0] == 9
        expected, ends = module(inputs)
        states = found.true.passage.outputs()
        limit = 1e-6 if real == torch.float32 else 1e-12
        assert states.shape == expected.shape
        assert float((states - expected).detach().abs().max()) <= limit
        h = (ends[0] if kind == "LSTM" else ends)[-1 - both :]  # of the last layer, each direction's
        last = torch.cat(list(h), -1).detach()
        assert float((found.network.asked(found.true.passage) - last).abs().max()) <= limit


class Tagger(torch.nn.Module):
    """A model as people write it."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.rnn = made("GRU")
        self.head = torch.nn.Linear(5, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.rnn(x)[0][-1])
        return answer


@pytest.mark.parametrize("bias", [True, False])
def test_the_output_layer_of_the_file_answers(store: Store, bias: bool) -> None:
    model = Tagger(bias)
    run = taken(store, saved(model.state_dict()), "gru", length=9, output="head.weight")
    found = seen(store, run)
    expected = model(torch.from_numpy(found.batch.inputs.astype(np.float32))).detach()
    assert float((found.true.outputs - expected).abs().max()) < 1e-6
    assert run.origin == Origin("nn.GRU rnn", "head.weight")


def test_without_an_output_layer_the_seed_draws_it(store: Store) -> None:
    run = taken(store, saved(of_lstm()), "lstm")
    network = Network(run.experiment)
    found = seen(store, run).network.parameters
    for name in ("out.weight", "out.bias"):
        assert torch.equal(found[name], network.parameters[name])
        assert found[name].abs().max() > 0
    assert run.origin == Origin("nn.LSTM", None)


def test_the_run_has_ended_and_belongs_to_whoever_brought_it(store: Store) -> None:
    run = taken(store, saved(of_lstm()), "lstm", owner="me")
    blob = store.checkpoint(run.id, 0)
    assert blob is not None
    assert (run.owner, run.ended, run.step, run.name, run.bytes) == ("me", True, 0, "mine", len(blob))
    assert store.checkpoint_steps(run.id) == [0]
    assert store.waiting() == []
    assert store.claim(run.id) is None
    assert not store.command(run.id, "go")
    assert not store.step_on(run.id)
    assert store.prune(max_bytes=len(blob)) == []
    assert store.prune(max_bytes=len(blob) - 1) == [run.id], "it counts like every other run"


# What is found


def test_of_several_modules_each_is_found_by_its_path() -> None:
    tensors = {f"encoder.{n}": v for n, v in of_lstm().items()} | {
        f"decoder.{n}": v for n, v in made("GRU", hidden_size=3, num_layers=2).state_dict().items()
    }
    file = read(saved(tensors))
    assert sorted(module_paths(file)) == ["decoder", "encoder"]
    found = module_of(file, "decoder")
    assert (found.kind, found.inputs, found.hidden, found.layers, found.directions, found.biases) == (
        "GRU", 2, 3, 2, 1, True,
    )  # fmt: skip
    assert found.tensors["bias_hh_l1"] == "decoder.bias_hh_l1"
    assert module_of(file, "encoder").name == "nn.LSTM encoder"


def test_only_tensors_of_the_right_shape_can_be_the_output_layer() -> None:
    """Among them is no recurrent matrix, be its shape as it may."""
    rnn = made("RNN", hidden_size=1, input_size=1)
    tensors = {**rnn.state_dict(), "one.weight": torch.ones(10, 1), "two": torch.ones(10, 1)}
    tensors |= {"three": torch.ones(10, 2), "four": torch.ones(10, 1, dtype=torch.int32)}
    file = read(saved(tensors))
    assert sorted(fitting_outputs(file, module_of(file, ""), "digits")) == ["one.weight", "two"]
    tensors = {**made("RNN", hidden_size=2).state_dict(), "z": torch.ones(2, 2)}
    file = read(saved(tensors))
    assert fitting_outputs(file, module_of(file, ""), "parity") == ["z"]


@pytest.mark.parametrize("inputs", sorted({task.input_size for task in TASKS.values()}))
def test_tasks_are_those_with_as_many_inputs(inputs: int) -> None:
    for both in (False, True):
        file = read(saved(made("GRU", input_size=inputs, bidirectional=both).state_dict()))
        module = module_of(file, "")
        allowed = [
            t.name for t in TASKS.values() if t.input_size == inputs and not (both and t.tells_answers)
        ]
        if allowed:
            assert fitting_tasks(module) == allowed
            for task in allowed:
                assert plan(file, module, "gru", task).experiment.task == task
        else:
            with pytest.raises(WeightsError, match="weight_ih_l0_reverse: it reads from the end"):
                fitting_tasks(module)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_over_exactly(half: torch.dtype) -> None:
    tensors = {name: value.to(half) for name, value in of_lstm().items()}
    file = read(saved(tensors))
    planned = plan(file, module_of(file, ""), "lstm", "adding")
    assert sorted(planned.half) == sorted(tensors)
    found = parameters(file, planned)
    for name, value in tensors.items():
        assert found[f"rnn.{name}"].dtype == np.float32
        assert np.array_equal(found[f"rnn.{name}"], value.float().numpy())


def test_nan_and_infinity_stay_what_they_are(store: Store) -> None:
    tensors = of_lstm()
    tensors["weight_hh_l0"][0, 0], tensors["bias_ih_l0"][3] = torch.nan, -torch.inf
    found = seen(store, taken(store, saved(tensors), "lstm", length=4)).network.parameters
    assert torch.isnan(found["rnn.weight_hh_l0"][0, 0])
    assert found["rnn.bias_ih_l0"][3] == -torch.inf


def test_missing_biases_are_zeros() -> None:
    file = read(saved(made("LSTM", bias=False).state_dict()))
    planned = plan(file, module_of(file, ""), "lstm", "adding")
    assert planned.zeros == ("rnn.bias_ih_l0", "rnn.bias_hh_l0")
    assert not parameters(file, planned)["rnn.bias_ih_l0"].any()


# What is refused


Z = torch.zeros
RESHAPED: dict[str, tuple[Callable[[], TENSORS], str]] = {
    "no recurrent module": (
        lambda: {"fc.weight": Z(3, 4)},
        "No recurrent module is among the 1 tensors of this file: an nn.RNN, nn.LSTM or nn.GRU has a "
        "weight_ih_l0 and a weight_hh_l0.",
    ),
    "a cell": (
        lambda: {f"c.{n}": v for n, v in torch.nn.LSTMCell(2, 3).state_dict().items()},
        "c.bias_hh: this is a parameter of nn.RNNCell, nn.LSTMCell or nn.GRUCell; allowed: nn.RNN, nn.LSTM "
        "and nn.GRU, whose names end in _l0.",
    ),
    "projections": (
        lambda: made("LSTM", proj_size=3).state_dict(),
        "weight_hr_l0: an LSTM with proj_size has one more matrix on its way out; allowed: proj_size=0.",
    ),
    "no recurrent matrix": (
        lambda: of_lstm(weight_hh_l0=None),
        "weight_hh_l0: it is missing; every nn.RNN, nn.LSTM and nn.GRU has it.",
    ),
    "a recurrent vector": (
        lambda: of_lstm(weight_hh_l0=Z(20)),
        "weight_hh_l0: got shape (20,); a matrix is needed.",
    ),
    "two gates": (
        lambda: of_lstm(weight_hh_l0=Z(10, 5)),
        "weight_hh_l0: got shape (10, 5), 2 rows for each hidden unit; nn.RNN has 1, nn.GRU 3 and nn.LSTM 4.",
    ),
    "too many units": (
        lambda: {"weight_hh_l0": Z(513, 513), "weight_ih_l0": Z(513, 2)},
        "weight_hh_l0: got 513 hidden units; allowed: a whole number from 1 to 512.",
    ),
    "no units": (
        lambda: {"weight_hh_l0": Z(0, 0), "weight_ih_l0": Z(0, 2)},
        "weight_hh_l0: got 0 hidden units; allowed: a whole number from 1 to 512.",
    ),
    "too many layers": (
        lambda: made("LSTM", num_layers=5).state_dict(),
        "weight_hh_l4: got 5 layers; allowed: a whole number from 1 to 4.",
    ),
    "a missing bias": (
        lambda: of_lstm(bias_hh_l0=None),
        "bias_hh_l0: it is missing; an nn.LSTM (5 hidden units, 1 layers, one way) has it.",
    ),
    "a missing layer": (
        lambda: {n: v for n, v in made("LSTM", num_layers=3).state_dict().items() if "_l1" not in n},
        "weight_ih_l1: it is missing; an nn.LSTM (5 hidden units, 3 layers, one way) has it.",
    ),
    "one direction of a layer": (
        lambda: of_lstm(weight_hh_l0_reverse=Z(20, 5)),
        "weight_ih_l0_reverse: it is missing; an nn.LSTM (5 hidden units, 1 layers, both ways) has it.",
    ),
    "another shape": (
        lambda: of_lstm(bias_ih_l0=Z(15)),
        "bias_ih_l0: got shape (15,); an nn.LSTM (5 hidden units, 1 layers, one way) has (20,).",
    ),
    "whole numbers": (
        lambda: of_lstm(weight_ih_l0=Z(20, 2, dtype=torch.int64)),
        "weight_ih_l0: got I64 numbers; allowed: F64, F32, F16, BF16.",
    ),
    "inputs of no task": (
        lambda: made("GRU", input_size=7).state_dict(),
        "weight_ih_l0: got 7 inputs at each time step; the tasks have 1 (digits, latch, digits_permuted, "
        "digits_shuffled); 2 (adding, ",
    ),
    "a bias that does not fit its layer": (
        lambda: of_lstm(**{"head.weight": Z(1, 5), "head.bias": Z(2)}),
        "head.bias: got shape (2,); beside head.weight it has (1,).",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "sentence"), RESHAPED.values(), ids=RESHAPED)
def test_what_does_not_fit_is_named(tensors: Callable[[], TENSORS], sentence: str) -> None:
    told = refused(saved(tensors()))
    assert told.startswith(sentence)
    assert told.endswith(".")


def test_wrong_choices_are_named() -> None:
    file = read(saved({**of_lstm(), "head.weight": Z(1, 5)}))
    module = module_of(file, "")
    for options, sentence in (
        ({"cell": "gru"}, "cell: got 'gru'; an nn.LSTM is lstm."),
        ({"output": "bias_ih_l0"}, "output: got 'bias_ih_l0'; allowed: head.weight."),
        ({"length": 1}, "length: got 1; the task adding takes a whole number from 2 to 2000."),
    ):
        with pytest.raises(WeightsError) as error:
            plan(file, module, **{"cell": "lstm", "task": "adding", **options})
        assert str(error.value) == sentence


def test_more_weights_than_a_run_file_holds_are_refused() -> None:
    """Half precision doubles on its way in."""
    module = Module("", "LSTM", 64, 512, 4, 2, False, {})
    many = {"rnn": made("LSTM", input_size=8, hidden_size=512, num_layers=4, bidirectional=True, bias=False)}
    tensors = {n: v.half() for n, v in many["rnn"].state_dict().items()}
    blob = saved(tensors)
    assert module.layers == 4
    assert len(blob) < MOST_BYTES < archive.MAX_BYTES
    assert re.fullmatch(
        r"nn\.LSTM: got \d+ MB of weights in float32; allowed: at most 60 MB\.", refused(blob)
    )


def with_header(entries: Any, data: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape: list[Any], start: int, stop: int, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "This is no safetensors file: it does not begin with a header."),
    "words": (b"Once upon a time", "This is no safetensors file: it does not begin with a header."),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(50), "This is no safetensors file"),
    "no JSON": (with_header(b"{nonsense"), "This is no safetensors file: its header is no JSON."),
    "no UTF-8": (with_header(b'{"\xff": 1}'), "This is no safetensors file: its header is no JSON."),
    "a deep header": (with_header(b'{"a":' + b"[" * 100_000), "This is no safetensors file: its header is"),
    "a long number": (with_header(b'{"a":' + b"9" * 10_000 + b"}"), "This is no safetensors file: its heade"),
    "a header that never ends": (struct.pack("<Q", 2**63) + b"{" * 9, "The header of this file has 9,223,"),
    "a long header": (with_header({"a": "x" * MAX_HEADER}), "The header of this file has 1,000,0"),
    "a header cut off": (with_header({"a": entry([1], 0, 4)})[:-5], "This file is cut off: its header has "),
    "numbers cut off": (
        with_header({"a": entry([2], 0, 8)}, bytes(7)),
        "This file is cut off: its tensors have 8 bytes, and 7 are there.",
    ),
    "bytes of nobody": (
        with_header({"a": entry([1], 0, 4)}, bytes(5)),
        "This file holds 1 bytes that belong to no tensor.",
    ),
    "one over the other": (
        with_header({"a": entry([2], 0, 8), "b": entry([1], 4, 8)}, bytes(8)),
        "b: its numbers begin at byte 4, not at 8.",
    ),
    "a hole": (
        with_header({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
        "b: its numbers begin at byte 8, not at 4.",
    ),
    "a shape of another size": (
        with_header({"a": entry([3], 0, 8)}, bytes(8)),
        "a: got 8 bytes; F32 numbers of shape (3,) have 12.",
    ),
    "the same name twice": (
        with_header(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'),
        "This is no safetensors file: a name stands in its header twice.",
    ),
    "a name that is none": (with_header({"\ud800": entry([0], 0, 0)}), "A tensor of this file has no proper"),
    "no name": (with_header({"": entry([0], 0, 0)}), "A tensor of this file has no proper name"),
    "a run file": (b"PK\x03\x04" + bytes(26) + b"runs/0/chunks", "This is a run file: it is opened by"),
}  # fmt: skip
ENTRIES: list[Any] = [
    None, [], {}, 1, "F32", entry([-1], 0, 4), entry([True], 0, 4), entry([1.0], 0, 4), entry([2**41], 0, 4),
    entry([1] * 9, 0, 4), entry([1], 4, 0), entry([1], 0, 4, 32),
]  # fmt: skip
BROKEN |= {
    f"an entry like {value}": (
        with_header({"a": value}), "a: its entry in the header does not say type, shape and place.",
    )
    for value in ENTRIES
}  # fmt: skip


@pytest.mark.parametrize(("blob", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_in_a_sentence(blob: bytes, sentence: str) -> None:
    with pytest.raises(WeightsError) as error:
        read(blob)
    assert not isinstance(error.value, PickledError)
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(".")


def test_a_file_that_is_too_large_is_not_looked_at() -> None:
    assert refused(bytes(archive.MAX_BYTES + 1)).startswith("This file is too large: it holds 64 MB")


def test_types_that_nobody_needs_are_passed_over() -> None:
    blob = with_header(
        {
            "x": entry([3], 0, 5, "F8_NEW"),
            "steps": entry([1], 5, 13, "I64"),
            "__metadata__": {"format": "pt"},
        },
        bytes(13),
    )
    assert list(read(blob).tensors) == ["x", "steps"]


def test_every_truncated_or_corrupted_file_is_a_sentence_or_read_as_the_package_reads_it() -> None:
    whole = saved({**made("GRU", hidden_size=2).state_dict(), "head.weight": Z(1, 2)})
    assert whole_way(whole)
    (length,) = struct.unpack_from("<Q", whole)
    rng = np.random.default_rng(0)
    tried = [whole[:n] for n in range(len(whole))]
    for _number in range(3000):
        blob = bytearray(whole)
        for _times in range(rng.integers(1, 4)):
            blob[rng.integers(0, 8 + length + 8)] = rng.integers(0, 256)
        tried.append(bytes(blob))
    tracemalloc.start()
    understood = sum(_answered(blob) for blob in tried)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < understood < len(tried) / 2
    assert peak < 2_000_000


def _answered(blob: bytes) -> bool:
    """Whether `read` understands a file; all else than a sentence passes through."""
    try:
        file = read(blob)
    except WeightsError:
        return False
    try:
        expected = {name: tuple(tensor.shape) for name, tensor in safetensors.torch.load(blob).items()}
    except SafetensorError as refusal:  # a type that it does not know: nor do we, and pass it over
        if "unknown variant" not in str(refusal):
            raise
    else:
        assert {name: tensor.shape for name, tensor in file.tensors.items()} == expected
    with suppress(WeightsError):
        whole_way(blob)
    return True


# Pickles


def pickled(**options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(made("LSTM").state_dict(), out, **options)
    return out.getvalue()


class Trap:
    """What it does when it is opened is seen."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, ("raise SystemExit('opened')",)


@pytest.mark.parametrize(
    "blob",
    [
        pickled(), pickled(_use_new_zipfile_serialization=False),
        *(pickle.dumps(Trap(), protocol) for protocol in (2, 3, 4, 5)),
    ],
)  # fmt: skip
def test_a_pickle_is_not_opened_and_the_reason_is_told(blob: bytes) -> None:
    with pytest.raises(PickledError, match="a pickle may run any code when it is opened"):
        read(blob)


def test_old_pickles_are_no_safetensors_files_either() -> None:
    for protocol in (0, 1):
        assert refused(pickle.dumps(Trap(), protocol)).startswith("This is no safetensors file")


def test_a_header_as_long_as_a_pickle_begins_is_no_pickle() -> None:
    """640 bytes: the file begins with 0x80 and 0x02."""
    text = json.dumps({"x": entry([1], 0, 4)}).encode()
    blob = with_header(text + b" " * (640 - len(text)), bytes(4))
    assert blob[:2] == b"\x80\x02"
    assert list(read(blob).tensors) == ["x"]


def test_the_line_that_converts_a_pickle_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = made("LSTM")
    torch.save(module.state_dict(), "model.pt")
    exec(f"import safetensors.torch, torch\n{CONVERT}", {})
    file = read(Path("model.safetensors").read_bytes())
    assert np.array_equal(file.array("weight_hh_l0", "float32"), module.state_dict()["weight_hh_l0"].numpy())


def test_nothing_here_opens_pickles() -> None:
    opens = re.compile(
        r"\btorch\.load\(|\b(import|from) (pickle|dill|cloudpickle|joblib|shelve|marshal)\b|allow_pickle"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("rnnviz", "pages")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if opens.search(line)
    ]
    assert [line for line in found if "CONVERT = " not in line] == []
    assert len(found) == 1, "the pattern finds the line that is shown to users"


# Run files


def test_a_run_file_carries_the_weights_and_where_they_came_from(store: Store) -> None:
    run = taken(store, saved(of_lstm()), "lstm")
    for checkpoints in ("all", "last", "none"):
        (copy,) = from_archive(store, to_archive(store, [run.id], checkpoints), "other")
        row = store.run(copy)
        assert row is not None
        assert (row.origin, row.state, row.owner, row.bytes) == (run.origin, "stopped", "other", run.bytes)
        assert store.checkpoint(copy, 0) == store.checkpoint(run.id, 0)


def test_a_run_file_of_other_runs_is_as_it_was(store: Store) -> None:
    run = store.create(plan_of(saved(of_lstm())))
    assert b'"weights"' not in manifest(to_archive(store, [run]))


def plan_of(blob: bytes) -> Any:
    file = read(blob)
    return plan(file, module_of(file, ""), "lstm", "adding").experiment


def manifest(blob: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(blob)) as file:
        return file.read(MANIFEST)


def forged(blob: bytes, change: Callable[[list[dict[str, Any]]], None]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(blob)) as file, zipfile.ZipFile(out, "w") as other:
        for name in file.namelist():
            content = file.read(name)
            if name == MANIFEST:
                told = json.loads(content)
                change(told["runs"])
                content = json.dumps(told).encode()
            other.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda runs: runs[0].update(weights=3), "its weights are not of the right kind"),
        (lambda runs: runs[0].update(weights=None), "its weights are not of the right kind"),
        (lambda runs: runs[0]["weights"].update(module="x" * 201), "its weights are not of the right kind"),
        (lambda runs: runs[0]["weights"].update(output="\ud800"), "its weights are not of the right kind"),
        (lambda runs: runs[0]["weights"].update(more=1), "its weights are not of the right kind"),
        (lambda runs: runs[0].update(checkpoints=[]), "what was recorded says otherwise"),
        (lambda runs: runs[0]["columns"].update(state="failed"), "what was recorded says otherwise"),
        (lambda runs: runs[0].update(repeats=1), "what was recorded says otherwise"),
        (lambda runs: runs[1].update(repeats=0), "run 2: it repeats a run whose weights no seed has drawn"),
    ],
)
def test_a_forged_run_file_is_refused(
    store: Store, change: Callable[[list[dict[str, Any]]], None], sentence: str
) -> None:
    run = taken(store, saved(of_lstm()), "lstm")
    trained = store.create(run.experiment)
    blob = to_archive(store, [run.id, trained])
    from_archive(store, blob, None)
    before = len(store.runs())
    with pytest.raises(ArchiveError, match=re.escape(sentence)):
        from_archive(store, forged(blob, change), None)
    assert len(store.runs()) == before


def test_the_row_keeps_no_more_than_the_origin_says(store: Store) -> None:
    run = taken(store, saved(of_lstm()), "lstm")
    with store.read() as connection:
        kept = connection.execute(RUNS.select().where(RUNS.c.id == run.id)).mappings().one()["weights"]
    assert json.loads(kept) == {"module": "nn.LSTM", "output": None}
    assert Origin.from_json(kept) == run.origin


def test_files_know_nothing_of_each_other() -> None:
    """Two files of one session: no array of the first is one of the second, nor may it be written to."""
    file: WeightsFile = read(saved(of_lstm()))
    one, other = file.array("weight_hh_l0", "float32"), file.array("weight_hh_l0", "float32")
    one[:] = 0.0
    assert other.any()


@pytest.mark.parametrize("cell", CELLS)
def test_weights_of_a_cell_that_torch_does_not_have_are_not_taken_for_another(cell: str) -> None:
    e = Experiment(task="adding", cell=cell, hidden=4)
    values = {name: view.numpy() for name, view in Network(e).parameters.items()}
    blob = weights_file(e, 0, safetensors.numpy.save(values))
    if CELLS[cell].torch_module is None:
        with pytest.raises(WeightsError, match=r"which torch\.nn does not have"):
            read(blob)
        if CELLS[cell].peepholes:  # and without its metadata
            with pytest.raises(WeightsError, match=r"an LSTM with peepholes, which torch\.nn"):
                read(safetensors.numpy.save(values))
    else:
        assert cell in module_of(read(blob), "rnn").cells


def test_a_type_without_a_proper_name_is_refused() -> None:
    for name in ("\ud800", "F" * 100, "F\n32"):
        header = json.dumps({"w": {"dtype": name, "shape": [1], "data_offsets": [0, 4]}}).encode()
        with pytest.raises(WeightsError, match="its entry in the header"):
            read(struct.pack("<Q", len(header)) + header + bytes(4))
