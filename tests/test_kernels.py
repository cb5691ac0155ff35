"""Compiled code: how exact it is, that it holds on other processors, and what becomes of it on the disk."""

from __future__ import annotations

import builtins
import gc
import sys
import weakref
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch
from torch import nn

from rnnviz.cells import CELLS, Cell, Product, StepGradient
from rnnviz.kernels import KERNELS, default_kernel, flat, machine
from rnnviz.kernels.code import EXP
from rnnviz.kernels.expression import backward_passes, forward_passes
from rnnviz.kernels.layer import CompiledLayer
from rnnviz.stack import Stack, layer_of

every_cell = pytest.mark.parametrize("name", CELLS)
PRECISIONS = pytest.mark.parametrize("precision", machine.PRECISIONS)


def drawn(
    cell: Cell, inputs: int, hidden: int, precision: str = "float64", seed: int = 0
) -> dict[str, torch.Tensor]:
    """Weights as PyTorch draws them."""
    rng = torch.Generator().manual_seed(seed)
    rows, bound = len(cell.gates) * hidden, hidden**-0.5

    def draw(*shape: int) -> torch.Tensor:
        uniform = torch.rand(shape, dtype=torch.float64, generator=rng)
        return ((2 * uniform - 1) * bound).to(getattr(torch, precision))

    weights = {"weight_ih": draw(rows, inputs), "weight_hh": draw(rows, hidden), "bias_ih": draw(rows)}
    weights["bias_hh"] = draw(rows)
    if cell.peepholes:
        weights["weight_peephole"] = draw(len(cell.peepholes), hidden)
    return weights


# The functions


def through(name: str, x: np.ndarray, precision: str) -> np.ndarray:
    """The nonlinearity of a plain cell, computed by its compiled code."""
    layer = CompiledLayer(CELLS[name], 1, 1, precision)
    weights = {key: torch.zeros_like(w) for key, w in drawn(CELLS[name], 1, 1, precision).items()}
    weights["weight_ih"].fill_(1.0)
    inputs = torch.from_numpy(x.astype(precision))[None, :, None]
    return layer.forward(weights, inputs).values["h"][0, :, 0].numpy().copy()


@PRECISIONS
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_functions_are_true_to_the_last_digits(name, precision):
    kind = np.dtype(precision)
    grid = np.concatenate(
        [np.linspace(-30, 30, 20_000), np.geomspace(1e-30, 1, 2_000), -np.geomspace(1e-30, 1, 2_000)]
    )
    x = grid.astype(kind)
    exact = x.astype(np.longdouble)
    true = np.tanh(exact) if name == "tanh" else 1 / (1 + np.exp(-exact))
    got = through(name, x, precision)
    error = np.abs(got - true) / (np.abs(true) * np.finfo(kind).eps)
    assert float(error.max()) < 4.0


@PRECISIONS
def test_functions_of_what_lies_far_out_or_is_no_number(precision):
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0, 750.0, -750.0])
    with np.errstate(over="ignore"):
        sigmoid, tanh = through("sigmoid", x, precision), through("tanh", x, precision)
        relu = through("relu", x, precision)
    assert np.array_equal(sigmoid, [np.nan, 1, 0, 1, 0, 0.5, 0.5, 1, 0], equal_nan=True)
    assert np.array_equal(tanh, [np.nan, 1, -1, 1, -1, 0, 0, 1, -1], equal_nan=True)
    assert np.array_equal(
        relu, np.array([np.nan, np.inf, 0, 1e30, 0, 0, 0, 750, 0], precision), equal_nan=True
    )


@PRECISIONS
def test_the_series_of_the_exponential_is_as_exact_as_the_precision(precision):
    r = np.linspace(-0.5, 0.5, 4_001).astype(np.longdouble) * np.log(np.longdouble(2))
    series = sum(np.longdouble(c) * r**k for k, c in enumerate(EXP[precision]))
    assert np.abs(r + r * r * series - np.expm1(r)).max() < np.finfo(precision).eps / 8


# How exact


def losses_and_gradients(name: str, precision: str, kind: str) -> list[torch.Tensor]:
    """Hidden states and gradients of a long sequence; the numbers are the same in every precision."""
    return reference(name) if (precision, kind) == ("float64", "torch") else computed(name, precision, kind)


@cache
def reference(name: str) -> list[torch.Tensor]:
    """Of the cell's own code, step by step, which several tests compare with."""
    return computed(name, "float64", "torch")


def computed(name: str, precision: str, kind: str) -> list[torch.Tensor]:
    cell = CELLS[name]
    exact = drawn(cell, 3, 64, "float64", 1)
    weights = {key: w.float().to(getattr(torch, precision)) for key, w in exact.items()}
    rng = torch.Generator().manual_seed(2)
    inputs, read = (torch.randn(100, 32, n, generator=rng).to(weights["weight_ih"]) for n in (3, 64))
    if kind == "module":
        made, options = cell.torch_module
        module = getattr(nn, made)(3, 64, dtype=inputs.dtype, **options)
        module.load_state_dict({f"{key}_l0": w for key, w in weights.items()})
        hidden, _ = module(inputs)
        (hidden * read).sum().backward()
        return [hidden.detach(), *(getattr(module, f"{key}_l0").grad for key in weights)]
    trace = layer_of(kind)(cell, 3, 64, precision).forward(weights, inputs)
    grad = {key: torch.empty_like(w) for key, w in weights.items()}
    trace.backward(weights, grad, direct=read)
    return [trace.values["h"].clone(), *grad.values()]


@pytest.mark.parametrize("name", [cell.name for cell in CELLS.values() if cell.torch_module])
def test_single_precision_errs_at_most_twice_as_much_as_torch(name):
    true = losses_and_gradients(name, "float64", "module")
    theirs, ours = (losses_and_gradients(name, "float32", kind) for kind in ("module", "compiled"))
    for expected, one, other in zip(true, ours, theirs, strict=True):
        mine, torchs = (float((x.double() - expected).norm()) for x in (one, other))
        assert mine <= 2 * torchs


@every_cell
def test_double_precision_is_that_of_the_reference(name):
    ours, reference = (losses_and_gradients(name, "float64", kind) for kind in KERNELS)
    for one, other in zip(ours, reference, strict=True):
        assert float((one - other).abs().max()) <= 1e-10 * float(other.abs().max())


@every_cell
def test_the_same_numbers_give_the_same_bytes_whatever_lay_in_the_memory_before(name):
    cell, weights = CELLS[name], drawn(CELLS[name], 3, 20)
    layer, rng = CompiledLayer(cell, 3, 20, "float64"), torch.Generator().manual_seed(3)
    inputs, read = (
        torch.randn(9, 4, 3, dtype=torch.float64, generator=rng),
        torch.randn(9, 4, 20, dtype=torch.float64, generator=rng),
    )

    def run(x: torch.Tensor) -> bytes:
        trace = layer.forward(weights, x)
        grad = {key: torch.empty_like(w) for key, w in weights.items()}
        trace.backward(weights, grad, direct=read)
        return b"".join(g.numpy().tobytes() for g in (*grad.values(), trace.total["h"].contiguous()))

    first = run(inputs)
    run(inputs * torch.nan)
    assert run(inputs) == first


# Memory


@every_cell
def test_memory_grows_with_time_batch_and_units_and_no_faster(name):
    """States, gates, what is saved, the totals and the gradients of the pre-activations: once each."""
    cell = CELLS[name]
    kept = len(cell.values) + len(cell.states) + len(cell.gates) + len(cell.apart)
    for T, B, H in ((200, 8, 64), (2000, 8, 64), (200, 80, 64)):
        layer = CompiledLayer(cell, 2, H, "float32")
        trace = layer.forward(drawn(cell, 2, H, "float32"), torch.zeros(T, B, 2))
        assert trace.space.nbytes <= 4 * (kept * T * B * H + 20 * B * H + 12 * H * H)


def test_traces_that_live_share_no_memory_and_those_gone_leave_theirs():
    cell, weights = CELLS["gru"], drawn(CELLS["gru"], 2, 16)
    layer = CompiledLayer(cell, 2, 16, "float64")
    one, other = (layer.forward(weights, torch.full((5, 3, 2), x, dtype=torch.float64)) for x in (0.5, -1.0))
    assert not torch.equal(one.values["h"], other.values["h"])
    place = other.values["h"].data_ptr()
    del one, other
    assert layer.forward(weights, torch.zeros(5, 3, 2, dtype=torch.float64)).values["h"].data_ptr() == place


@every_cell
def test_a_view_outlives_its_trace(name):
    """Nothing is written over while anybody reads it, whoever holds on to the trace."""
    cell = CELLS[name]
    layer, weights = CompiledLayer(cell, 2, 16, "float64"), drawn(cell, 2, 16, "float64")
    grad = {key: torch.empty_like(w) for key, w in weights.items()}

    def run(x: float) -> list[torch.Tensor]:
        trace = layer.forward(weights, torch.full((5, 3, 2), x, dtype=torch.float64))
        trace.backward(weights, grad, last={"h": torch.full((3, 16), x, dtype=torch.float64)})
        gates = [trace.grad_a(gate, recurrent) for gate in cell.gates for recurrent in (False, True)]
        named = (trace.values, trace.total, trace.initial, trace.grad_initial)
        return [*(tensor for views in named for tensor in views.values()), *gates, trace.before("h")]

    views = run(0.5)
    copies = [view.clone() for view in views]
    for x in (-1.0, 2.0):
        run(x)
    for view, copy in zip(views, copies, strict=True):
        assert torch.equal(view, copy)


def test_buffers_go_with_the_last_who_needs_them_and_wait_for_no_collector():
    cell = CELLS["lstm"]
    gc.disable()
    try:
        layer = CompiledLayer(cell, 2, 16, "float32")
        trace = layer.forward(drawn(cell, 2, 16, "float32"), torch.zeros(5, 3, 2))
        space, view = weakref.ref(trace.space), trace.values["h"]
        copy = view.clone()
        del layer, trace
        assert space() is None
        assert torch.equal(view, copy), "the memory lives as long as the view"
    finally:
        gc.enable()


# Inputs


def test_inputs_that_do_not_fit_are_refused():
    cell = CELLS["gru"]
    layer, weights = CompiledLayer(cell, 2, 8, "float32"), drawn(cell, 2, 8, "float32")
    for wrong, got in (
        (torch.zeros(5, 3, 2, dtype=torch.float64), r"float64 \(5, 3, 2\)"),
        (torch.zeros(5, 3, 1), r"float32 \(5, 3, 1\)"), (torch.zeros(5, 2), r"float32 \(5, 2\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"inputs: got {got}; allowed: float32 \(T, B, 2\)"):
            layer.forward(weights, wrong)
    for wrong, got in ((weights["weight_hh"].double(), "float64"), (torch.zeros(8, 24).T, "not contiguous")):
        with pytest.raises(ValueError, match=rf"weight_hh: got .*{got}; allowed: torch.float32, contiguous"):
            layer.forward({**weights, "weight_hh": wrong}, torch.zeros(5, 3, 2))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("B", [1, 3])
def test_inputs_may_lie_in_memory_as_they_like(reverse, B):
    """Of a batch of one, torch calls the transpose contiguous though its rows are not."""
    cell = CELLS["gru"]
    weights = drawn(cell, 2, 8, "float64")
    base = torch.randn(B, 20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for inputs in (base[..., :2].transpose(0, 1), base[..., :2].transpose(0, 1).clone()):
        layer = CompiledLayer(cell, 2, 8, "float64", reverse)
        grad = {key: torch.empty_like(w) for key, w in weights.items()}
        trace = layer.forward(weights, inputs)
        trace.backward(weights, grad, last={"h": torch.ones(B, 8, dtype=torch.float64)})
        kept = layer.forward(weights, inputs, keep=frozenset({"h"}))
        results.append([trace.values["h"].clone(), kept.values["h"].clone(), *grad.values()])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


# Other processors


@pytest.fixture
def processor(monkeypatch, tmp_path) -> Iterator[Any]:
    """Compile as on a processor without the widest vectors; it is a part of the one at hand."""
    monkeypatch.setenv("RNNVIZ_CACHE", str(tmp_path))
    caches = (machine.host, machine._jit, machine._library)
    monkeypatch.setattr(flat, "_FUNCTIONS", {})

    def use(cpu: str, features: str) -> machine.Target:
        target = machine.Target(machine.host().triple, cpu, features)
        for kept in caches:
            kept.cache_clear()
        monkeypatch.setattr(machine, "host", lambda: target)
        return target

    real = machine.host
    yield use
    monkeypatch.undo()
    for kept in (real, *caches[1:]):
        kept.cache_clear()


@pytest.mark.parametrize(
    ("name", "cpu", "features", "width"),
    [
        *((name, "x86-64", "", 16) for name in CELLS),
        # The width is no matter of the cell: one of each family, and one with peepholes.
        *((name, "haswell", "+avx2,+fma", 32) for name in ("tanh", "lstm_peephole", "gru")),
    ],
)
def test_narrower_vectors_give_the_same_numbers(processor, name, cpu, features, width):
    has = llvm.get_host_cpu_features()
    if not llvm.get_process_triple().startswith("x86_64") or not all(
        has.get(f[1:]) for f in features.split(",") if f
    ):
        pytest.skip("for processors that can do this")
    reference = losses_and_gradients(name, "float64", "torch")
    target = processor(cpu, features)
    assert target.vector_bytes == width
    for one, other in zip(losses_and_gradients(name, "float64", "compiled"), reference, strict=True):
        assert float((one - other).abs().max()) <= 1e-10 * float(other.abs().max())


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin"])
def test_other_processors_have_as_many_registers_as_they_have(triple):
    assert machine.Target(triple, "generic", "+neon").registers == 32
    assert machine.Target(triple, "generic", "+neon").vector_bytes == 16


def test_code_stays_as_long_as_somebody_holds_it(processor):
    """A layer that was made before works on, whatever becomes of the compiler."""
    cell, weights = CELLS["tanh"], drawn(CELLS["tanh"], 2, 16)
    layer, x = CompiledLayer(cell, 2, 16, "float64"), torch.ones(3, 2, 2, dtype=torch.float64)
    before = layer.forward(weights, x).values["h"].clone()
    processor("x86-64", "")
    CompiledLayer(cell, 2, 16, "float64")
    gc.collect()
    assert torch.equal(layer.forward(weights, x).values["h"], before)


# What is kept


def test_what_was_compiled_is_read_from_the_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("RNNVIZ_CACHE", str(tmp_path / "new"))
    made = []
    real = machine.compile_

    def spy(text: str, target: machine.Target) -> bytes:
        made.append(text)
        return real(text, target)

    monkeypatch.setattr(machine, "compile_", spy)
    first = machine._object("tanh", "float32")
    assert machine._object("tanh", "float32") == first
    assert len(made) == 1
    path = machine.cached("tanh", "float32")
    path.write_bytes(path.read_bytes()[:-7])  # cut off, or damaged
    assert machine._object("tanh", "float32") == first
    assert len(made) == 2
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written_to_is_no_hindrance(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RNNVIZ_CACHE", str(tmp_path / "file" / "below"))
    assert machine._object("linear", "float32")


def test_everything_is_prepared_once(monkeypatch, tmp_path):
    monkeypatch.setenv("RNNVIZ_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "source", lambda name, precision, _: f"{name} {precision}")
    monkeypatch.setattr(machine, "compile_", lambda *_: b"code")
    assert machine.prepare() == 2 * (len(CELLS) + 1)
    assert machine.prepare() == 0


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/rnnviz"),
        ("linux", {}, "/somewhere/.cache/rnnviz"),
        ("darwin", {}, "/somewhere/Library/Caches/rnnviz"),
        ("linux", {"RNNVIZ_CACHE": "/y"}, "/y"),
    ],
)
def test_where_it_is_kept(monkeypatch, platform, variables, expected):
    for name in ("RNNVIZ_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/somewhere", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert str(machine.cache_folder()) == expected


def test_where_no_code_may_be_made_torch_computes(monkeypatch):
    def forbidden() -> None:
        raise OSError("memory that can be written cannot be run")

    default_kernel.cache_clear()
    monkeypatch.setattr(llvm, "check_jit_execution", forbidden)
    assert default_kernel() == "torch"
    default_kernel.cache_clear()
    monkeypatch.undo()
    assert default_kernel() == "compiled"


@pytest.mark.parametrize("error", [ImportError, ModuleNotFoundError, OSError])
def test_where_the_compiler_does_not_load_torch_computes(monkeypatch, error):
    """A package may be there whose library is for another system."""
    found = builtins.__import__

    def broken(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("llvmlite"):
            raise error("libllvmlite.so: cannot open shared object file")
        return found(name, *args, **kwargs)

    default_kernel.cache_clear()
    monkeypatch.setattr(builtins, "__import__", broken)
    assert default_kernel() == "torch"
    monkeypatch.undo()
    default_kernel.cache_clear()
    assert default_kernel() == "compiled"


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match=r"kernel: got 'cuda'; allowed: compiled, torch."):
        Stack(CELLS["gru"], 1, 1, kernel="cuda")


# What is compiled


@every_cell
def test_a_step_is_read_into_passes(name):
    cell = CELLS[name]
    forward, backward = forward_passes(cell), backward_passes(cell)
    assert [p.product for p in forward] == [None, *range(len(cell.products))]
    assert sorted(p.product for p in backward if p.product is not None) == list(range(len(cell.products)))
    assert {b for p in forward for b in p.stores} == {f"now.{value}" for value in cell.values}
    written = {b for p in backward for b in p.stores}
    assert {f"grad.{gate}" for gate in cell.gates} <= written
    assert {f"total.{state}" for state in cell.states} <= written


class Wrong(type(CELLS["tanh"]).__mro__[1]):  # type: ignore[misc]
    """A plain cell with something amiss."""

    name = "wrong"
    fault = ""

    def phi(self, ops, a):
        return ops.tanh(a)

    def through(self, ops, h, grad):
        return grad * (1.0 - h * h)

    def forward(self, ops, before, p):
        now = super().forward(ops, before, p)
        return {**now, "extra": now["h"]} if self.fault == "values" else now

    def backward(self, ops, now, before, grad, p):
        step = super().backward(ops, now, before, grad, p)
        if self.fault == "total":
            return StepGradient({}, step.before, step.a)
        if self.fault == "product":
            return StepGradient(step.total, step.before, {"h": grad.h})
        if self.fault == "twice":
            ops.product_backward(0, (step.a["h"],))
        return step


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("values", r"wrong: forward returns \['extra', 'h'\]; \['h'\] are declared."),
        ("total", r"wrong: backward gives total of \[\]; \['h'\] are declared."),
        ("product", "wrong: product 0 runs backward on other gradients than are returned."),
        ("twice", "wrong: backward does not go through each product once."),
    ],
)
def test_a_cell_that_does_not_do_what_it_declares_is_refused(fault, sentence):
    cell = Wrong()
    cell.fault = fault
    read = forward_passes if fault == "values" else backward_passes
    with pytest.raises(ValueError, match=sentence):
        read(cell)


class Arithmetic(type(CELLS["tanh"]).__mro__[1]):  # type: ignore[misc]
    """x / (1 + x^2), with every operator that a cell's step may have."""

    name = "arithmetic"

    def phi(self, ops, a):
        return -(1 / (1 + a * a)) * -a

    def through(self, ops, h, grad):
        return 2.0 - (grad - 1)


def test_every_operator_of_arithmetic_can_be_compiled(monkeypatch, tmp_path):
    """The same lines on tensors give the same numbers, with the sign of 0."""
    monkeypatch.setenv("RNNVIZ_CACHE", str(tmp_path))
    monkeypatch.setitem(CELLS, "arithmetic", Arithmetic())
    x = np.array([-2.0, -0.5, 0.0, 0.5, 3.0])
    expected = Arithmetic().phi(None, torch.from_numpy(x)).numpy()
    got = through("arithmetic", x, "float64")
    np.testing.assert_allclose(got, expected, rtol=4e-15)
    assert np.signbit(got).tolist() == np.signbit(expected).tolist()


@pytest.mark.parametrize(
    "written", [lambda a: a**2, lambda a: 2**a, abs, lambda a: a @ a, lambda a: a > 0, lambda a: a or 1.0]
)
def test_what_cannot_be_compiled_is_refused_in_a_sentence(written):
    class Odd(Wrong):
        def phi(self, ops, a):
            return written(a)

    with pytest.raises(TypeError, match=r"^A cell's step is compiled from \+, -, \*, / and the functions"):
        forward_passes(Odd())


def test_a_cell_that_makes_another_product_than_it_declares_is_refused():
    cell = Wrong()
    cell.products = (Product("h", ("h",)), Product("h", ("h",)))
    with pytest.raises(ValueError, match=r"wrong: forward makes other products than those declared."):
        forward_passes(cell)


def test_every_program_can_be_compiled_for_a_plain_processor():
    """The cells in one precision each; what differs in the other are functions, which tanh has too."""
    target = machine.Target(machine.host().triple, "", "")
    programs = {*zip(CELLS, cycle(machine.PRECISIONS), strict=False)}
    programs |= {(name, precision) for name in ("tanh", machine.FLAT) for precision in machine.PRECISIONS}
    for name, precision in sorted(programs):
        assert len(machine.compile_(machine.source(name, precision, target), target)) > 1000
