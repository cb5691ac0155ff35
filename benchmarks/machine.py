"""What a measurement was made on, and how tables are printed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path


def describe() -> str:
    """The machine and the versions, in a few lines; the load says how quiet it was."""
    import numpy
    import streamlit
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return (
        f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.2f} at the start\n"
        f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {numpy.__version__}, "
        f"Streamlit {streamlit.__version__}"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print(
            "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row) + " |"
        )
    print(flush=True)
