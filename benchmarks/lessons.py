"""Does every lesson show what it says? Trains each over five seeds and writes docs/lessons.md.

`python -m benchmarks.lessons --record` makes the recordings and pictures that ship with the lessons instead;
names after it limit that to some of them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from rnnviz import Experiment, train
from rnnviz import lessons as shipped
from rnnviz.lessons import LESSONS, Lesson
from rnnviz.recording import Chunk, concatenate
from rnnviz.runs import worker
from rnnviz.runs.archive import SUFFIX, to_archive
from rnnviz.runs.chunk import decode
from rnnviz.runs.store import Store
from rnnviz.ui.slots import colors

from .machine import describe, table

SEEDS = range(5)
ENOUGH = 4  # of these seeds
MOST_SECONDS = 30.0
CORES = 2
DOCUMENT = Path(__file__).parents[1] / "docs" / "lessons.md"
FOLDER = Path(shipped.__file__).parent
LONG = 3600.0  # seconds
FIRST = 8  # steps of a recorded run that are a column of its heat map each, for those that end early
CHUNKS = 40  # that the others are divided into


def run() -> None:
    """Measure every lesson, print the table and write it down."""
    header = ["lesson", "question", "what has to show", "seeds", "seconds"]
    rows, numbers = [], []
    for lesson in LESSONS.values():
        shown, seconds, parts = measure(lesson)
        rows.append([
            f"`{lesson.name}`", lesson.question, lesson.effect, f"{sum(shown)} of {len(shown)}",
            f"{statistics.median(seconds):.1f}",
        ])  # fmt: skip
        numbers += [f"- `{lesson.name}`: {'; '.join(parts)}."]
        print(f"{lesson.name}: {sum(shown)} of {len(shown)} seeds, {rows[-1][-1]} s", flush=True)
        if sum(shown) < ENOUGH or max(seconds) > MOST_SECONDS:
            print(f"  is not good enough: {shown}, {seconds}", flush=True)
    table(header, rows)
    DOCUMENT.write_text(document(header, rows, numbers))


def measure(lesson: Lesson) -> tuple[list[bool], list[float], tuple[str, ...]]:
    """For each seed whether the effect shows and the seconds on two cores; the numbers of the first seed."""
    shown, seconds = [], []
    parts: tuple[str, ...] = ()
    for seed in SEEDS:
        runs = [timed(experiment) for experiment in lesson.seeded(seed)]
        records = [record for record, _ in runs]
        shown.append(lesson.shows(records))
        seconds.append(side_by_side([taken for _, taken in runs]))
        parts = parts or lesson.measure(records)
    return shown, seconds, parts


def timed(experiment: Experiment) -> tuple[Chunk, float]:
    """A whole run and its seconds of processor time, what it takes on a core that does nothing else."""
    began = time.process_time()
    chunks = list(train(experiment))
    return concatenate(chunks), time.process_time() - began


def side_by_side(seconds: Sequence[float]) -> float:
    """Seconds until all runs are done when as many as there are cores advance at a time, in fair slices."""
    return max(max(seconds), sum(seconds) / CORES)


def document(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> str:
    """docs/lessons.md."""
    lines = [
        "# The lessons, measured", "",
        "Written by `python -m benchmarks lessons`. Each lesson asks a question that two to four experiments",
        "answer, which differ in one setting. All were trained with the seeds "
        f"{SEEDS[0]} to {SEEDS[-1]}; the",
        "fourth column says with how many of them the third was true. The seconds are the median over the",
        f"seeds, for all runs of the lesson together on {CORES} cores that do nothing else, computed from",
        "processor time. The recording that ships with a lesson is that of seed 0.", "",
        *describe().splitlines()[1:], "",  # the load says nothing about processor time
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "", "## The numbers of seed 0", "",
        *numbers,
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def record(lesson: Lesson) -> None:
    """Make the recording and the picture of a lesson."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/lessons.db"
        store = Store(url)
        ids = [recorded(store, url, experiment) for experiment in lesson.experiments]
        archive = to_archive(store, ids, checkpoints="last")
        records = [concatenate([decode(row.record) for row in store.chunks(run)]) for run in ids]
        store.close()
    if not lesson.shows(records):
        raise SystemExit(f"{lesson.name}: the recorded runs do not show it: {lesson.measure(records)}")
    for kind in ("recordings", "pictures"):
        (FOLDER / kind).mkdir(exist_ok=True)
    (FOLDER / "recordings" / f"{lesson.name}{SUFFIX}").write_bytes(archive)
    (FOLDER / "pictures" / f"{lesson.name}.svg").write_text(picture(lesson, records))
    print(f"{lesson.name}: {len(archive) / 1000:.0f} kB", flush=True)


def recorded(store: Store, url: str, experiment: Experiment) -> str:
    """A run in the store, from its first step to its end, in about as many chunks as a film needs."""
    # One chunk a slice, however slow this machine is just now.
    worker.CHUNK_SECONDS = worker.ORDERS_SECONDS = LONG
    at_once = max(1, (experiment.steps - FIRST) // CHUNKS)
    run = store.create(experiment, pause_at=1)
    made = 1
    while True:
        store.settle()  # what an engine does: a run that rests and may go on is put into the queue
        epoch = store.claim(run)
        assert epoch is not None
        if worker.advance_slice(url, run, epoch, LONG) != "pause":
            return run
        store.step_on(run, 1 if made < FIRST else at_once)
        made += 1


# Pictures. Drawn by hand because they are 2 kB that way and need nothing to be looked at. The curves bear no
# names: which of them is which is what the lesson asks.

WIDTH, HEIGHT = 240, 120
LEFT, RIGHT, TOP, BOTTOM = 6.0, 234.0, 8.0, 103.0  # of the curves
POINTS = 100
GREY = "#808080"  # 4 : 1 on white, 5 : 1 on black

Curve = tuple[np.ndarray, np.ndarray]


def picture(lesson: Lesson, records: Sequence[Chunk]) -> str:
    """An SVG of 240 x 120: of each twin the curve that the lesson's first pane is about."""
    label, curves = _curves(lesson.panes[0], records)
    low = min(float(y.min()) for _, y in curves)
    high = max(float(y.max()) for _, y in curves)
    wide = max(float(x.max()) for x, _ in curves) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif">',
        f"<title>{escape(lesson.title)}</title>",
        f'<path d="M{LEFT} {BOTTOM + 2}H{RIGHT}" stroke="{GREY}" stroke-width="1"/>',
        f'<text x="{LEFT}" y="{HEIGHT - 4}" font-size="9" fill="{GREY}">{escape(label)}</text>',
    ]
    for (x, y), color in zip(curves, colors(lesson.experiments), strict=True):
        across = LEFT + (RIGHT - LEFT) * x / wide
        up = BOTTOM - (BOTTOM - TOP) * (y - low) / ((high - low) or 1.0)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2" '
            'stroke-linejoin="round" stroke-linecap="round"/>',
            f'<circle cx="{across[-1]:.1f}" cy="{up[-1]:.1f}" r="2.5" fill="{color}"/>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curves(pane: str, records: Sequence[Chunk]) -> tuple[str, list[Curve]]:
    """What the axes mean, and of each record the points."""
    if pane == "accuracy":
        return "share right, over the updates", [(r.validation_step, r.validation_accuracy) for r in records]
    if pane == "heat":
        return "gradient (log) before training, t = 1 to T", [_profile(r) for r in records]
    if pane == "norm":
        return "gradient norm (log), over the updates", [_thinned(r.step, r.norm_before) for r in records]
    assert pane == "loss", pane
    return "held-out loss (log), over the updates", [
        _thinned(r.validation_step, r.validation_loss) for r in records
    ]


def _profile(record: Chunk) -> Curve:
    """log10 of |dL/dh_t| at the first training step, as a multiple of that at T."""
    norms = record.grad_hidden[0, 0, 0].astype(float)
    return np.linspace(0.0, 1.0, len(norms)), np.log10(np.maximum(norms / norms[-1], 1e-30))


def _thinned(step: np.ndarray, values: np.ndarray) -> Curve:
    """log10 of what is finite and above 0, the largest of each of at most `POINTS` ranges."""
    keep = np.isfinite(values) & (values > 0)
    step, values = step[keep], values[keep]
    parts = np.array_split(np.arange(len(step)), min(POINTS, len(step)))
    largest = [part[np.argmax(values[part])] for part in parts]
    return step[largest].astype(float), np.log10(values[largest])


def main(arguments: Sequence[str]) -> int:
    """With --record the recordings and pictures, otherwise the measurement; returns the exit status."""
    if arguments[:1] != ["--record"]:
        run()
        return 0
    names = arguments[1:] or list(LESSONS)
    unknown = [name for name in names if name not in LESSONS]
    if unknown:
        print(f"lessons: got {unknown[0]!r}; allowed: {', '.join(LESSONS)}.", file=sys.stderr)
        return 2
    for name in names:
        record(LESSONS[name])
    size = sum(path.stat().st_size for path in (FOLDER / "recordings").glob(f"*{SUFFIX}"))
    print(f"all recordings: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
