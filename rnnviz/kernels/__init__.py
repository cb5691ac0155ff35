"""Machine code for cells and optimizers, compiled on the user's machine from the cells' own Python lines.

`expression` reads a cell's step, `program` and `updates` put the loops around it, `code` writes the
instructions, `machine` compiles and keeps them, `layer` and `flat` run them. Nothing of that is imported
before it is needed.
"""

from __future__ import annotations

import platform
from functools import lru_cache

#: How a network is computed: by the machine code of this package, or by torch, one operation after the other.
KERNELS = ("compiled", "torch")


@lru_cache(maxsize=1)
def default_kernel() -> str:
    """Compiled code where this machine can have it, otherwise torch."""
    try:
        import llvmlite.binding  # noqa: F401
    except (ImportError, OSError):  # there is none, or one whose library does not load here
        return "torch"
    from . import machine

    return "compiled" if machine.works() else "torch"


def processor(kernel: str) -> str:
    """What a kernel's last digits depend on beside its own version: the processor, as far as code differs."""
    if kernel == "torch":
        return platform.machine()
    from . import machine

    return machine.host().name


def prepare() -> int:
    """Compile what never was on this machine, so that nobody waits later; returns how much it was."""
    if default_kernel() == "torch":
        return 0
    from . import machine

    return machine.prepare()
