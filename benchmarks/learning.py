"""How long until something is learned, from the command line as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from .machine import table

RUNS = {
    "GRU, handwritten digits pixel by pixel, all defaults": [],
    "GRU, handwritten digits row by row, all defaults": ["--task", "digits_rows"],
    "GRU, adding T = 50": ["--task", "adding", "--length", "50"],
    "LSTM, adding T = 50": ["--task", "adding", "--length", "50", "--cell", "lstm"],
}
SEEDS = (0, 1, 2)


def run() -> None:
    """Each run alone, with the time of the whole command."""
    rows = []
    for name, flags in RUNS.items():
        for seed in SEEDS:
            command = [
                sys.executable,
                "-m",
                "rnnviz",
                "train",
                *flags,
                "--seed",
                str(seed),
                "--json",
                "--quiet",
            ]
            started = time.perf_counter()
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds = time.perf_counter() - started
            result = json.loads(output.splitlines()[-1])
            solved = result["solved_at"]
            rows.append([
                name, seed, result["steps"], seconds,
                f"{result['validation_accuracy']:.1%} {result['accuracy_label']}",
                result["validation_loss"],
                "no" if solved is None else f"step {solved} of {result['steps']}",
            ])  # fmt: skip
    table(["run", "seed", "steps", "seconds in all", "validation", "validation loss", "solved"], rows)
