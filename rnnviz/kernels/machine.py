"""Compiling for the processor at hand, once: what was compiled is kept in a folder and read from there.

The folder is RNNVIZ_CACHE, or rnnviz below the user's folder for caches.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from ..cells import CELLS
from .code import Code
from .program import write_program
from .updates import write_flat

PRECISIONS = ("float32", "float64")
FLAT = "flat"  # the program of `updates`
DIGEST = 32  # bytes before the code in a file of the cache
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Target:
    """A processor, as far as its machine code depends on it."""

    triple: str
    cpu: str
    features: str

    @property
    def vector_bytes(self) -> int:
        """Of the widest vectors that it computes with."""
        has = set(self.features.split(","))
        return 64 if "+avx512f" in has else 32 if "+avx2" in has else 16

    @property
    def registers(self) -> int:
        """How many vector registers it has."""
        has = set(self.features.split(","))
        return 32 if "+avx512f" in has or self.triple.startswith(("aarch64", "arm64")) else 16

    @property
    def name(self) -> str:
        return f"{self.cpu} {8 * self.vector_bytes} bit, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"


@lru_cache(maxsize=1)
def host() -> Target:
    """The processor of this machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    return Target(llvm.get_process_triple(), llvm.get_host_cpu_name(), features)


def works() -> bool:
    """Whether code can be compiled and run here; some systems forbid memory that can be written and run."""
    try:
        llvm.check_jit_execution()
        return bool(host().features)
    except (OSError, RuntimeError):
        return False


def cache_folder() -> Path:
    """Where compiled cells are kept."""
    named = os.environ.get("RNNVIZ_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rnnviz"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "rnnviz" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnviz"


def blank(precision: str, target: Target | None = None) -> Code:
    """A module without a program yet; it knows the shapes of vectors and tiles."""
    target = target or host()
    return Code(precision, target.vector_bytes, target.registers)


def source(name: str, precision: str, target: Target) -> str:
    """A program in LLVM's language: that of a cell, or "flat"."""
    code = blank(precision, target)
    if name == FLAT:
        write_flat(code)
    else:
        write_program(code, CELLS[name])
    return str(code.module)


def compile_(text: str, target: Target) -> bytes:
    """Machine code, as an object file."""
    machine = _machine(target)
    module = llvm.parse_assembly(text)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


def _machine(target: Target) -> Any:
    found = llvm.Target.from_triple(target.triple)
    return found.create_target_machine(cpu=target.cpu, features=target.features, opt=3, reloc="pic")


@lru_cache(maxsize=1)
def _jit() -> Any:
    return llvm.create_lljit_compiler(_machine(host()))


@lru_cache(maxsize=1)
def _version() -> str:
    """What machine code follows from, beside the cell, the precision and the processor."""
    package = Path(__file__).resolve().parents[1]
    files = [
        *sorted(package.glob("cells/*.py")),
        *sorted(package.glob("kernels/*.py")),
        package / "optimizers.py",
    ]
    texts = [path.read_bytes() for path in files]
    return hashlib.sha256(b"\0".join([llvmlite.__version__.encode(), *texts])).hexdigest()


def cached(name: str, precision: str) -> Path:
    """The file that holds, or is to hold, the machine code of a program."""
    target = host()
    key = "\0".join([name, precision, target.triple, target.cpu, target.features, _version()])
    return cache_folder() / f"{name}-{precision}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.o"


def _object(name: str, precision: str, quiet: bool = False) -> bytes:
    path = cached(name, precision)
    with suppress(OSError):
        content = path.read_bytes()
        if _digest(content[DIGEST:]) == content[:DIGEST]:  # a file that was cut off is no code
            return content[DIGEST:]
    if not quiet:
        print(f"rnnviz: compiling {name} for this machine, once", file=sys.stderr, flush=True)
    code = compile_(source(name, precision, host()), host())
    with suppress(OSError):  # a folder that cannot be written to costs the next process a second
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(_digest(code) + code)
        os.replace(file.name, path)  # whole or not at all, whoever else writes it
    return code


def _digest(code: bytes) -> bytes:
    return hashlib.sha256(code).digest()


def prepare() -> int:
    """Compile whatever was not compiled yet on this machine, so that nobody waits later; returns how much."""
    programs = [(name, precision) for name in (*CELLS, FLAT) for precision in PRECISIONS]
    new = [program for program in programs if not cached(*program).exists()]
    if new:
        print("rnnviz: compiling the cells for this machine, once", file=sys.stderr, flush=True)
    for name, precision in new:
        _object(name, precision, quiet=True)
    return len(new)


def load(name: str, precision: str, functions: Mapping[str, int]) -> dict[str, Callable[..., None]]:
    """Functions of a program, with how many whole numbers each takes; compiled now if that never was done."""
    with _LOCK:
        library = _library(name, precision, tuple(functions))
        compiler = _jit()
    loaded: dict[str, Callable[..., None]] = {}
    for function, arguments in functions.items():
        made = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(library[function])
        made.code = library, compiler  # type: ignore[attr-defined]  # which go with the last who holds them
        loaded[function] = made
    return loaded


@cache
def _library(name: str, precision: str, functions: tuple[str, ...]) -> Any:
    builder = llvm.JITLibraryBuilder().add_object_img(_object(name, precision)).add_current_process()
    for function in functions:
        builder.export_symbol(function)
    return builder.link(_jit(), f"{name}-{precision}")
