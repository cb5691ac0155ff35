"""Run the benchmarks named on the command line, or all of them, and print their tables."""

from __future__ import annotations

import sys
from collections.abc import Callable

from . import arrival, gates, jacobians, learning, lessons, page, speed, surface
from .machine import describe

BENCHMARKS: dict[str, Callable[[], None]] = {
    "speed": speed.run,
    "learning": learning.run,
    "page": page.run,
    "lessons": lessons.run,
    "jacobians": jacobians.run,
    "surface": surface.run,
    "arrival": arrival.run,
    "gates": gates.run,
}


def main(names: list[str]) -> int:
    """Measure; returns the exit status."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"benchmark: got {unknown[0]!r}; allowed: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    print(describe())
    for name in names or BENCHMARKS:
        print(f"\n## {name}\n", flush=True)
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
