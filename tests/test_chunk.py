"""The wire and disk format: exact records, honest codes, decimation that invents nothing."""

from __future__ import annotations

import json
import math
import struct
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from rnnviz.experiment import Experiment
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs import chunk as chunks
from rnnviz.runs.chunk import (
    CHUNK_BUCKETS,
    INFINITE,
    MAX_ROWS,
    NAN,
    OVERVIEW_BUCKETS,
    OVERVIEW_COLUMNS,
    UNDERFLOW,
    decode,
    encode,
    heat_column,
    overview,
    row_steps,
    screen,
)  # fmt: skip
from rnnviz.training import train

POINTS = {
    "step": "<i4", "loss": "<f4", "norm_before": "<f4", "norm_after": "<f4", "threshold": "<f4",
    "grad_recurrent": "<f4", "grad_input": "<f4", "grad_output": "<f4", "update": "<f4", "weight": "<f4",
    "full_norm": "<f4", "full_cosine": "<f4", "omega": "<f4",
}  # fmt: skip
LOOKS = {
    "validation_step": "<i4", "validation_loss": "<f4", "validation_accuracy": "<f4", "saturated": "<f4",
    "dead": "<f4", "spectrum": "<f4",
}  # fmt: skip
PREDICTION = {"prediction_step": "<i4", "prediction": "<f4"}
HEAT = {"heat_step": "<i4", "heat": "<i2"}
PER_LOOK = {*LOOKS, "prediction"}  # fields of the record that have a row for each look
DTYPES = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "F32": "<f4", "F64": "<f8"}


def parse(blob: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All that a browser knows of the format: a length, a JSON header, arrays at their offsets."""
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, item in header.items():
        start, end = (8 + length + offset for offset in item["data_offsets"])
        dtype = np.dtype(DTYPES[item["dtype"]])
        assert start % dtype.itemsize == 0, f"{name}: typed arrays must be aligned"
        arrays[name] = np.frombuffer(blob[start:end], dtype).reshape(item["shape"])
    return arrays, metadata


def of_record(chunk: Chunk, name: str) -> np.ndarray:
    """The series of the record that stands on the screen under this name."""
    groups = {"grad_recurrent": 0, "grad_input": 1, "grad_output": 2}
    if name in groups:
        return chunk.grad_norms[:, groups[name]]
    return getattr(chunk, {"update": "update_norm", "weight": "weight_norm"}.get(name, name))


def bytes_of(chunk: Chunk) -> dict[str, Any]:
    arrays = {name: (a.tobytes(), a.dtype, a.shape) for name, a in chunk.arrays().items()}
    return {**arrays, "next_step": chunk.next_step, "clipped": chunk.clipped}


def made(n: int = 10, T: int = 4, first: int = 0, every: int = 0, dtype: str = "f4", **values: Any) -> Chunk:
    """A chunk of n steps with plausible numbers that depend on the step alone; `every` steps a validation."""
    step = np.arange(first, first + n)
    seen = step[step % every == 0] if every else step[:0]
    fields: dict[str, Any] = {
        "step": step,
        "loss": 2.0 + np.sin(step * 1.7),
        "norm_before": 3.0 + np.cos(step * 2.3),
        "norm_after": np.minimum(3.0 + np.cos(step * 2.3), 3.0),
        "threshold": np.full(n, 3.0),
        "learning_rate": np.full(n, 0.01),
        "grad_norms": np.sin(step[:, None] + np.arange(3)) + 1.5,
        "full_norm": np.sin(step * 0.8) + 1.6,
        "full_cosine": np.sin(step),
        "omega": np.cos(step) + 1,
        "update_norm": np.cos(step * 0.9) + 1.1,
        "weight_norm": 5.0 + step / 7,
        "grad_hidden": decaying(step, T).astype(dtype),
        "grad_cell_state": np.zeros((n, 2, 1, 0), dtype),
        "validation_step": seen,
        "validation_loss": 1.0 + seen / 100,
        "validation_accuracy": np.full(len(seen), np.nan),
        "saturated": np.cos(seen) ** 2,
        "dead": np.sin(seen) ** 2,
        "spectrum": 1.0 + seen[:, None, None, None, None] * np.arange(12).reshape(2, 1, 3, 2) / 100,
        "prediction": (seen[:, None] + np.arange(4) / 10).astype(dtype),
    }
    return Chunk(**{**fields, **values}, next_step=first + n, clipped=n)


def decaying(step: np.ndarray, T: int) -> np.ndarray:
    """(n, 2, 1, T): two layers, one direction."""
    layer = np.array([0.0, 1.5])[:, None, None]
    return np.exp(-np.arange(T) - layer - step[:, None, None, None] % 7)


def heat_columns(norms: np.ndarray) -> list[list[int]]:
    """(L, D, T) as the codes of each layer and direction."""
    return [heat_column(part).tolist() for layer in norms for part in layer]


# The record

floats = hnp.from_dtype(np.dtype("f8"))
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.8e308, 1e-45]


@st.composite
def any_chunk(draw: st.DrawFn) -> Chunk:
    """Any bits in any field, the payloads of NaN included."""
    n, m, T = draw(st.integers(0, 6)), draw(st.integers(0, 3)), draw(st.integers(1, 5))
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8"])))
    cell = draw(st.sampled_from([0, T]))

    def series(count: int) -> np.ndarray:
        return draw(hnp.arrays("f8", count, elements=st.one_of(floats, st.sampled_from(SPECIAL))))

    def ints(count: int) -> np.ndarray:
        return draw(hnp.arrays("i8", count))

    def rows(width: int, count: int = n) -> np.ndarray:
        bits = draw(hnp.arrays(f"u{dtype.itemsize}", (count, width)))
        return bits.view(dtype)

    K, P = draw(st.integers(2, 4)), draw(st.integers(1, 5))
    L, D = draw(st.integers(1, 3)), draw(st.integers(1, 2))

    return Chunk(
        step=ints(n), loss=series(n), norm_before=series(n), norm_after=series(n), threshold=series(n),
        learning_rate=series(n), grad_norms=series(3 * n).reshape(n, 3), update_norm=series(n),
        full_norm=series(n), full_cosine=series(n), omega=series(n),
        weight_norm=series(n), grad_hidden=rows(L * D * T).reshape(n, L, D, T),
        grad_cell_state=rows(L * D * cell).reshape(n, L, D, cell), validation_step=ints(m),
        validation_loss=series(m), validation_accuracy=series(m), saturated=series(m), dead=series(m),
        spectrum=series(2 * m * L * D * K).reshape(m, L, D, K, 2), prediction=rows(P, m),
        next_step=draw(st.integers(0, 2**40)), clipped=draw(st.integers(0, 2**40)),
    )  # fmt: skip


@given(any_chunk())
@settings(max_examples=30)
def test_a_record_comes_back_bit_by_bit(chunk):
    assert bytes_of(decode(encode(chunk))) == bytes_of(chunk)


def test_a_part_of_an_array_is_encoded_as_what_it_shows():
    """Views with strides, as they come from slicing."""
    whole = made(20)
    part = Chunk(**{name: array[::2] for name, array in whole.arrays().items()}, next_step=20, clipped=3)
    assert not part.grad_hidden.flags.c_contiguous
    assert bytes_of(decode(encode(part))) == bytes_of(part)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_what_training_records_comes_back(precision, cell):
    experiment = Experiment(task="digits_rows", cell=cell, hidden=4, steps=12, precision=precision)
    for chunk in train(experiment, chunk_seconds=0.0):
        assert bytes_of(decode(encode(chunk))) == bytes_of(chunk)


@given(any_chunk())
@settings(max_examples=20)
def test_a_record_needs_nothing_but_the_format(chunk):
    arrays, metadata = parse(encode(chunk))
    assert metadata == {"format": "1"}
    counts = arrays.pop("counts")
    assert counts.tolist() == [chunk.next_step, chunk.clipped]
    assert {n: a.tobytes() for n, a in arrays.items()} == {n: a.tobytes() for n, a in chunk.arrays().items()}


# The heat map


@given(
    hnp.arrays(
        "f8", st.integers(1, 40),
        elements=st.one_of(st.floats(min_value=0.0), st.sampled_from([0.0, np.inf, np.nan, 5e-324, 1.7e308])),
    )
)  # fmt: skip
@example(np.array([1e-308, 1.0, 1e308, 0.999999, 1e-45]))
def test_every_code_gives_back_the_norm_to_half_a_hundredth_of_a_decade(norms):
    codes = heat_column(norms)
    assert codes.dtype == np.int16
    for norm, code in zip(norms.tolist(), codes.tolist(), strict=True):
        if norm == 0:
            assert code == UNDERFLOW
        elif math.isnan(norm):
            assert code == NAN
        elif math.isinf(norm):
            assert code == INFINITE
        else:
            assert UNDERFLOW < code < NAN
            assert abs(code / 100 - math.log10(norm)) <= 0.005 + 1e-9


def test_the_codes_are_those_of_the_wire():
    column = heat_column(np.array([1.0, 10.0, 1e-9, 0.0, np.nan, np.inf, 2.0], "f4"))
    assert column.tolist() == [0, 100, -900, -32768, 32766, 32767, 30]


def test_norms_of_single_precision_reach_down_to_its_smallest_number():
    assert heat_column(np.array([1e-45], "f4")).tolist() == [round(100 * math.log10(2**-149))]


@pytest.mark.parametrize(
    ("T", "merged", "rows"),
    [(1, 1, 1), (8, 1, 8), (255, 1, 255), (256, 1, 256), (257, 2, 129), (512, 2, 256), (513, 3, 171),
     (2000, 8, 250), (2020, 8, 253)],
)  # fmt: skip
def test_long_sequences_merge_neighbouring_steps_and_show_the_largest(T, merged, rows):
    norms = np.random.default_rng(T).random(T) + 1e-3
    column = heat_column(norms)
    assert row_steps(T) == merged
    assert len(column) == rows <= MAX_ROWS
    expected = [max(norms[start : start + merged]) for start in range(0, T, merged)]
    assert column.tolist() == [round(100 * math.log10(largest)) for largest in expected]


@given(st.integers(257, 1200), st.data())
@settings(max_examples=25)
def test_in_a_merged_row_nothing_is_hidden(T, data):
    norms = np.full(T, 0.5)
    special = data.draw(st.sampled_from([np.nan, np.inf, 7.0, 0.0]))
    at = data.draw(st.integers(0, T - 1))
    norms[at] = special
    code = heat_column(norms)[at // row_steps(T)]
    alone = len(norms[at // row_steps(T) * row_steps(T) :][: row_steps(T)]) == 1
    assert code == {"nan": NAN, "inf": INFINITE, "7.0": 85, "0.0": UNDERFLOW if alone else -30}[str(special)]


def test_a_merged_row_of_zeros_is_zero_and_nan_is_told_before_infinity():
    norms = np.zeros(512)
    norms[2:4] = np.inf, np.nan
    assert heat_column(norms)[:3].tolist() == [UNDERFLOW, NAN, UNDERFLOW]


# What a screen gets


@st.composite
def screens(draw: st.DrawFn, most: int = 400) -> Chunk:
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.sampled_from([0, 0, 5, 30, 300]))
    loss, norm = rng.lognormal(0, 2, n) * scale, rng.lognormal(0, 2, n) * scale
    for series in (loss, norm):
        for at in draw(st.lists(st.integers(0, n - 1), max_size=3)):
            series[at] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1.7e308]))
    return made(n, loss=loss, norm_before=norm, norm_after=norm / 2)


def as_shown(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype("f4")


def assert_true_and_telling(arrays: dict[str, np.ndarray], chunk: Chunk, buckets: int) -> None:
    """Points that stayed are true ones, in order; the extremes and what is not finite are among them."""
    kept = arrays["step"] - chunk.step[0]
    assert (np.diff(kept) > 0).all()
    for name in POINTS.keys() - {"step"}:
        assert arrays[name].tobytes() == as_shown(of_record(chunk, name))[kept].tobytes(), name
    n = len(chunk)
    odd = {i for i in range(n) if not (math.isfinite(chunk.loss[i]) and math.isfinite(chunk.norm_before[i]))}
    assert odd <= set(kept.tolist())
    assert {0, n - 1} <= set(kept.tolist())
    assert len(kept) <= 4 * buckets + 2 + len(odd)
    for series in (chunk.loss, chunk.norm_before):
        finite = series[np.isfinite(series)]
        if len(finite):
            assert {finite.min(), finite.max()} <= set(series[kept].tolist())


@given(screens())
@settings(max_examples=80)
def test_what_is_sent_of_a_chunk_is_true_telling_and_bounded(chunk):
    arrays, metadata = parse(screen(chunk))
    assert_true_and_telling(arrays, chunk, CHUNK_BUCKETS)
    assert metadata == {"format": "1", "last_step": str(chunk.step[-1])}
    if len(chunk) <= 4 * CHUNK_BUCKETS:
        assert len(arrays["step"]) == len(chunk)


def test_extremes_of_every_stretch_are_kept():
    """One spike up in the loss and one down in the norm in each stretch: all stay."""
    n, spikes = 1200, np.arange(50, 1200, 100)
    loss, norm = np.ones(n), np.ones(n)
    loss[spikes], norm[spikes + 3] = 9.0, 0.1
    arrays, _ = parse(screen(made(n, loss=loss, norm_before=norm)))
    assert arrays["step"][arrays["loss"] == 9.0].tolist() == spikes.tolist()
    assert arrays["step"][arrays["norm_before"] == np.float32(0.1)].tolist() == (spikes + 3).tolist()


def test_the_extreme_beside_an_infinity_is_kept():
    """Even where the other numbers are so large that their sum overflows."""
    norm = np.full(400, 1.6e308)
    norm[[8, 9]] = np.inf, 1.7e308
    arrays, _ = parse(screen(made(400, loss=np.zeros(400), norm_before=norm)))
    assert {8, 9} <= set(arrays["step"].tolist())


@pytest.mark.parametrize("T", [3, 300])
@pytest.mark.parametrize("n", [0, 1, 5, 500])
def test_the_layout_is_the_one_that_the_browser_reads(T, n):
    chunk = made(n, T, first=30, every=10)
    arrays, metadata = parse(screen(chunk))
    assert {name: array.dtype for name, array in arrays.items()} == {
        **POINTS, **LOOKS, **PREDICTION, **HEAT,
    }  # fmt: skip
    assert arrays["heat"].shape == (min(n, 1), 2, len(heat_column(np.ones(T))))
    assert arrays["heat_step"].tolist() == ([29 + n] if n else [])
    assert len({len(arrays[name]) for name in POINTS}) == 1
    m = len(chunk.validation_step)
    assert [len(arrays[name]) for name in LOOKS] == [m] * len(LOOKS)
    assert arrays["spectrum"].shape == (m, 2, 3, 2), "layers and directions in one row"
    for name in LOOKS.keys() - {"validation_step"}:
        assert arrays[name].tobytes() == as_shown(getattr(chunk, name)).tobytes(), name
    assert arrays["prediction"].shape == (min(m, 1), 4), "only the newest"
    assert arrays["prediction_step"].tolist() == chunk.validation_step[-1:].tolist()
    assert arrays["prediction"].tobytes() == as_shown(chunk.prediction[-1:]).tobytes()
    assert metadata["last_step"] == str(29 + n if n else -1)
    if n:
        assert arrays["heat"].tolist() == [heat_columns(chunk.grad_hidden[-1])]
    assert np.isnan(arrays["validation_accuracy"]).all()


def test_blobs_are_little_endian_and_start_their_arrays_at_a_multiple_of_eight():
    blob = screen(made(3, loss=np.array([1.0, -2.0, np.inf])))
    length = int.from_bytes(blob[:8], "little")
    assert (8 + length) % 8 == 0
    header = json.loads(blob[8 : 8 + length])
    start = 8 + length + header["loss"]["data_offsets"][0]
    assert blob[start : start + 12] == bytes.fromhex("0000803f 000000c0 0000807f")


def test_the_same_content_is_the_same_bytes():
    """The order of the metadata included, which a hash would shuffle."""
    assert len({screen(made(3)) for _ in range(20)}) == len({encode(made(3)) for _ in range(20)}) == 1


def test_no_number_that_is_not_finite_stands_in_the_json():
    worst = made(5, loss=np.full(5, np.nan), norm_before=np.full(5, np.inf), threshold=np.full(5, np.nan))
    for blob in (encode(worst), screen(worst), overview([screen(worst)])):
        length = int.from_bytes(blob[:8], "little")
        header = blob[8 : 8 + length].decode()
        assert not any(word in header for word in ("NaN", "Infinity", "inf"))


# The overview


def cut(chunk: Chunk, edges: list[int]) -> list[Chunk]:
    """A chunk in pieces, as if it had been recorded that way."""
    pieces = []
    for low, high in zip([0, *edges], [*edges, len(chunk)], strict=True):
        seen = (chunk.validation_step >= chunk.step[0] + low) & (chunk.validation_step < chunk.step[0] + high)
        arrays = {
            name: array[seen] if name in PER_LOOK else array[low:high]
            for name, array in chunk.arrays().items()
        }
        pieces.append(Chunk(**arrays, next_step=int(chunk.step[0]) + high, clipped=0))
    assert bytes_of(concatenate(pieces))["step"] == bytes_of(chunk)["step"]
    return pieces


@given(st.integers(2, 90), st.data())
@settings(max_examples=40)
def test_an_overview_of_pieces_is_that_of_the_whole(n, data):
    """While nothing has to be left out: the same points whatever the cuts, and a column for each piece."""
    edges = sorted(data.draw(st.sets(st.integers(1, n - 1), max_size=8)))
    whole = made(n, every=7)
    pieces = cut(whole, edges)
    assume(all(len(piece) <= 4 * CHUNK_BUCKETS for piece in pieces))
    arrays, metadata = parse(overview([screen(piece) for piece in pieces]))
    for name in POINTS | LOOKS:
        wanted = of_record(whole, name)
        wanted = wanted.astype("i4") if name.endswith("step") else as_shown(wanted)
        assert arrays[name].tobytes() == wanted.tobytes(), name
    ends = [piece.next_step - 1 for piece in pieces]
    shown = ends if ends[0] == 0 else [0, *ends]  # the first column of all is always there
    assert arrays["heat_step"].tolist() == shown
    assert arrays["heat"].tolist() == [heat_columns(whole.grad_hidden[step]) for step in shown]
    assert metadata["last_step"] == str(n - 1)
    newest = whole.validation_step[-1:]
    assert arrays["prediction_step"].tolist() == newest.tolist()
    assert arrays["prediction"].tobytes() == as_shown(whole.prediction[-1:]).tobytes()


def test_an_overview_of_overviews_is_that_of_everything():
    blobs = [screen(made(20, first=first, every=7)) for first in range(0, 400, 20)]
    assert overview([overview(blobs[:7]), overview(blobs[7:])]) == overview(blobs)


@given(st.integers(-1, 130), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_only_what_is_new_is_in_it(after, lengths):
    pieces, first = [], 0
    for length in lengths:
        pieces.append(made(length, first=first, every=5))
        first += length
    arrays, metadata = parse(overview([screen(piece) for piece in pieces], after))
    steps = np.arange(after + 1, first)
    assert arrays["step"].tolist() == steps.tolist()
    assert arrays["validation_step"].tolist() == steps[steps % 5 == 0].tolist()
    assert arrays["prediction_step"].tolist() == steps[steps % 5 == 0][-1:].tolist()
    ends = np.cumsum(lengths) - 1
    assert arrays["heat_step"].tolist() == ends[ends > after].tolist()
    assert len(arrays["heat"]) == len(arrays["heat_step"])
    assert metadata["last_step"] == str(first - 1 if first - 1 > after else -1)


def test_screens_of_before_there_was_truncation_go_on_with_those_of_today():
    """A run that was begun by an older version and goes on with this one has screens of both kinds."""

    def older(blob: bytes) -> bytes:
        arrays = {k: v for k, v in parse(blob)[0].items() if not k.startswith("full_")}
        return save(arrays, {"format": "1"})

    blobs = [screen(made(5, first=first)) for first in (0, 5, 10)]
    for old, known in (([0], range(5, 15)), ([1, 2], range(5)), ([0, 1, 2], ())):
        arrays, _ = parse(overview([older(b) if i in old else b for i, b in enumerate(blobs)]))
        assert np.flatnonzero(~np.isnan(arrays["full_norm"])).tolist() == list(known)
        assert arrays["full_cosine"].dtype == np.float32
        assert arrays["loss"].tobytes() == parse(overview(blobs))[0]["loss"].tobytes()


def test_nothing_gives_no_overview():
    assert overview([]) is None


# Another format


def with_format(blob: bytes, number: str | None) -> bytes:
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    if number is None:
        header.pop("__metadata__")
    else:
        header["__metadata__"]["format"] = number
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + blob[8 + length :]


READERS = {"record": (encode, decode), "screen": (screen, lambda blob: overview([screen(made(3)), blob]))}


@pytest.mark.parametrize(("write", "read"), READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        ("2", "This recording has format 2; this program reads format 1."),
        (None, "This recording has an older format; this program reads format 1."),
    ],
)
def test_a_blob_of_another_format_is_refused_in_a_sentence(write, read, number, sentence):
    blob = write(made(3))
    assert read(with_format(blob, "1")) is not None
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        read(with_format(blob, number))


@pytest.mark.parametrize(("write", "read"), READERS.values(), ids=READERS)
def test_a_long_header_is_refused_before_it_is_read(write, read, monkeypatch):
    """Short texts of JSON can fill the memory."""
    blob = write(made(3))
    (length,) = struct.unpack_from("<Q", blob)

    def padded(size: int) -> bytes:
        return struct.pack("<Q", size) + blob[8 : 8 + length].ljust(size) + blob[8 + length :]

    assert read(padded(chunks.MAX_HEADER)) is not None
    too_long, beyond = padded(chunks.MAX_HEADER + 8), struct.pack("<Q", len(blob) - 7) + blob[8:]
    for broken in (too_long, beyond):
        monkeypatch.setattr(json, "loads", lambda *_: pytest.fail("it is read"))
        with pytest.raises(ValueError, match=r"^The header has \d+ bytes\.$"):
            chunks.header(broken)
        monkeypatch.undo()
        with pytest.raises(ValueError, match=r"^This is no recording of a run\.$"):
            read(broken)


@pytest.mark.parametrize(("write", "read"), READERS.values(), ids=READERS)
@pytest.mark.parametrize("broken", [b"", b"short", b"\xff" * 40, b"\x02" + bytes(7) + b"[]", "cut", "list"])
def test_what_is_no_blob_is_refused_in_a_sentence(write, read, broken):
    if broken == "cut":
        broken = write(made(3))[:-5]
    elif broken == "list":
        broken = (2).to_bytes(8, "little") + b"[]"
    with pytest.raises(ValueError, match=r"^This is no recording of a run\.$"):
        read(broken)


@pytest.mark.parametrize(("write", "read"), READERS.values(), ids=READERS)
def test_a_blob_that_lacks_an_array_or_has_one_too_many_is_refused_in_a_sentence(write, read):
    arrays, metadata = parse(write(made(3)))
    for name in set(arrays) - set(chunks._LATER):
        rest = {key: array for key, array in arrays.items() if key != name}
        with pytest.raises(ValueError, match=f"^This recording lacks {name}.$"):
            read(save(rest, metadata))
    with pytest.raises(ValueError, match=r"^This recording holds more, which this program does not know.$"):
        read(save({**arrays, "more": arrays["step"]}, metadata))


@cache
def short_screens() -> list[bytes]:
    return [screen(made(10, first=10 * i, T=2)) for i in range(1203)]


@pytest.mark.parametrize("count", [1, 399, 400, 401, 799, 800, 801, 1203])
def test_an_overview_is_bounded_and_always_has_the_newest_column(count):
    blobs = short_screens()[:count]
    arrays, metadata = parse(overview(blobs))
    assert len(arrays["step"]) <= 4 * OVERVIEW_BUCKETS + 2
    assert min(count, OVERVIEW_COLUMNS / 2) <= len(arrays["heat_step"]) <= OVERVIEW_COLUMNS
    assert arrays["heat_step"][-1] == arrays["step"][-1] == 10 * count - 1 == int(metadata["last_step"])
    assert arrays["heat_step"][0] == 0, "what passes back before anything is learned"
    gaps = np.diff(arrays["heat_step"])[1:]
    assert not len(gaps) or gaps.max() - gaps.min() <= 10, "the columns left are evenly apart, to a chunk"
    for step, column in zip(arrays["heat_step"].tolist(), arrays["heat"], strict=True):
        assert column.tolist() == heat_columns(made(1, first=step, T=2).grad_hidden[0])


@given(screens(most=6000))
@settings(max_examples=15)
def test_a_long_overview_is_true_and_telling(chunk):
    blobs = [screen(piece) for piece in cut(chunk, list(range(40, len(chunk), 40)))]
    arrays, _ = parse(overview(blobs))
    shown = Chunk(
        **{n: as_shown(a) if a.dtype.kind == "f" else a for n, a in chunk.arrays().items()},
        next_step=chunk.next_step, clipped=0,
    )  # fmt: skip
    assert_true_and_telling(arrays, shown, OVERVIEW_BUCKETS)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20)), min_size=1, max_size=6))
def test_what_a_replay_repeats_is_there_once(stretches):
    """Pieces that overlap, as after a lost slice: each series goes on growing and has no step twice."""
    blobs = [screen(made(length, first=first, every=3)) for first, length in stretches]
    arrays, _ = parse(overview(blobs))
    for name in ("step", "validation_step", "heat_step"):
        assert (np.diff(arrays[name]) > 0).all(), name
    first_time = [
        s for i, s in enumerate(stretches) if sum(s) > max([sum(x) for x in stretches[:i]], default=0)
    ]
    assert arrays["step"][-1] == max(sum(stretch) for stretch in stretches) - 1
    ends = [sum(stretch) - 1 for stretch in first_time]
    assert arrays["heat_step"].tolist() == sorted({*ends, *({0} if stretches[0][0] == 0 else ())})
    full = made(60, every=3)
    assert arrays["loss"].tobytes() == as_shown(full.loss)[arrays["step"]].tobytes()


def test_the_constants_fit_together():
    assert UNDERFLOW < -32500 < 30900 < NAN < INFINITE, "decades of float64, in hundredths, lie between"
    assert {np.int16(code) for code in (UNDERFLOW, NAN, INFINITE)} == {UNDERFLOW, NAN, INFINITE}
    assert chunks.MAX_ROWS == 256
