"""A stand-in for the server and the page around the live component, for tests in a real browser.

`Feed` plays one synthetic run as the stream of server-sent events does: an overview of what is newer than
the client's last step, then news, run summaries, resets. A test moves it step by step, so nothing
depends on the clock. `Server` serves the feeds, one or several over one connection, the component's files and
a page that mounts the component as Streamlit mounts one: inside a shadow root, under a wrapper that holds the
theme's custom properties.
"""

import base64
import contextlib
import json
import mimetypes
import pathlib
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from safetensors.numpy import save

from rnnviz.ui.live_text import live_text
from rnnviz.ui.summary import clip_summary, parts

STATIC = pathlib.Path(__file__).parents[2] / "rnnviz" / "ui" / "static"
UNDERFLOW, NOT_A_NUMBER, INFINITE = -32768, 32766, 32767

Arrays = dict[str, np.ndarray]


@dataclass
class Run:
    """All arrays of a synthetic run, and its summary at the end."""

    summary: dict[str, Any]
    arrays: Arrays

    @property
    def steps(self) -> int:
        return len(self.arrays["step"])


def summary(name: str = "run", **changes: Any) -> dict[str, Any]:
    """A run summary with every field; `changes` replaces some of them."""
    base: dict[str, Any] = {
        "id": name,
        "state": "running",
        "message": None,
        "step": 0,
        "steps": 2000,
        "title": "LSTM, 64 units, adding",
        "color": "#2f6fde",
        "sequence_steps": 64,
        "row_steps": 1,
        "precision": "float32",
        "loss": {
            "label": "mean squared error",
            "baseline": 1 / 6,
            "baseline_label": "always answering 1",
            "solved": 0.01,
            "solved_label": "solved below 0.01",
        },
        "accuracy": {"label": "sums right to within 0.04", "solved": None},
        "solved_at": None,
        "solved_sentence": "A validation loss below 0.01 counts as solved.",
        "clip": {**clip_summary("norm", "all"), "scope": "all parameters"},
        "truncate": 0,
        "decoder": None,
        "made_steps": 0,
        "clipped_steps": 0,
        "clipped_share": 0.0,
        "steps_per_second": 96.0,
        "queue_position": None,
        "changes": [],
        "spectrum": ["input gate", "forget gate", "cell", "output gate", "step Jacobian"],
        "parts": parts(1, 1),
        "groups": ["recurrent weights", "input weights and biases", "output layer"],
        "diagnosis": [],
        "repeats": None,
        "pace": None,
        "seed": 0,
    }
    return {**base, **changes}


def sample(kind: str = "adding", length: int = 64, seed: int = 0) -> dict[str, Any]:
    """One sequence with its answer, as the page tells it. kind: adding, symbols, digits, copying."""
    rng = np.random.default_rng(seed)
    base: dict[str, Any] = {
        "T": length, "symbols": None, "inputs": None, "marks": [], "readout": "last", "classes": None,
        "picture": None, "size": 8,
    }  # fmt: skip
    if kind == "adding":
        marks = [length // 7, length * 5 // 8]
        values = np.zeros((length, 2), "<f4")
        values[:, 0] = rng.random(length)
        values[marks, 1] = 1
        a, b = (float(x) for x in values[marks, 0])
        answer, channels = f"{a:.3f} + {b:.3f} ≈ {a + b:.3f}", ["value", "marker"]
        return {**base, "I": 2, "channels": channels, "inputs": base64.b64encode(values.tobytes()).decode(),
                "marks": marks, "answer": answer, "target": a + b}  # fmt: skip
    if kind == "symbols":
        channels = ["A", "B", "c", "d", "e", "f"]
        symbols = rng.integers(2, 6, length)
        marks = [length // 7, length * 5 // 9]
        symbols[marks] = [0, 1]
        return {**base, "I": 6, "channels": channels, "symbols": symbols.tolist(), "marks": marks,
                "answer": "A, then B", "target": 1, "classes": ["A A", "A B", "B A", "B B"]}  # fmt: skip
    if kind == "digits":
        y, x = np.mgrid[0:8, 0:8]
        picture = np.clip(1.6 - np.abs(np.hypot(x - 3.5, y - 3.5) - 2.6), 0, 1).astype("<f4")
        rows = base64.b64encode(picture.tobytes()).decode()
        columns = [f"column {i}" for i in range(1, 9)]
        return {**base, "T": 8, "I": 8, "channels": columns, "inputs": rows,
                "answer": "0", "target": 0, "classes": [*"0123456789"], "picture": rows}  # fmt: skip
    items = rng.integers(1, 9, 10)
    symbols = np.concatenate([items, np.zeros(length - 21, int), [9], np.zeros(10, int)])
    target = np.concatenate([np.zeros(length - 10, int), items])
    return {**base, "I": 10, "channels": ["blank", *map(str, range(1, 9)), "marker"],
            "symbols": symbols.tolist(), "marks": list(range(10)), "answer": " ".join(map(str, items)),
            "readout": "every", "target": target.tolist(), "classes": ["blank", *map(str, range(1, 9))],
            "silent": 0,
            }  # fmt: skip


def encode_heat(norms: np.ndarray) -> np.ndarray:
    """Norms -> int16 codes, 100 to a decade; shape unchanged."""
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.clip(np.round(np.log10(norms) * 100), -32000, 32000)
    codes = np.where(norms == 0, UNDERFLOW, codes)
    codes = np.where(np.isnan(norms), NOT_A_NUMBER, codes)
    return np.where(np.isinf(norms), INFINITE, codes).astype("<i2")


def synthetic(
    name: str = "run",
    steps: int = 400,
    length: int = 64,
    every: int = 4,
    check: int = 40,
    decay: float = 0.25,
    clip: float | None = 1.0,
    seed: int = 0,
    goes: float = 1.6,
    outputs: int = 1,
    layers: int = 1,
    directions: int = 1,
    change: Callable[[Arrays], None] | None = None,
    rule: str = "",
    **fields: Any,
) -> Run:
    """A run that learns: its loss falls; its gradient decays by e^-decay a time step, ever less as it trains.

    every, check: training steps between two heat columns and two validations; goes: decades that the loss
    falls; outputs: numbers of a prediction; each part, a layer in a direction, fades a little faster than the
    one before; change edits the arrays, the heat map's being norms still; rule: of clipping, by name, where
    it is not that of the arrays; fields go to the summary.
    """
    rng = np.random.default_rng(seed)
    step = np.arange(1, steps + 1, dtype="<i4")
    progress = step / steps
    loss = 1 / 6 * 10 ** (-goes / (1 + np.exp(-14 * (progress - 0.5)))) * np.exp(rng.normal(0, 0.18, steps))
    before = np.exp(rng.normal(0, 0.5, steps)) * (0.4 + 2.2 * np.exp(-((progress - 0.5) ** 2) / 0.02))
    after = before if clip is None else np.minimum(before, clip)
    checked = step[check - 1 :: check]
    clean = 1 / 6 * 10 ** (-goes / (1 + np.exp(-14 * (checked / steps - 0.5))))
    columns = step[::every]
    count = layers * directions
    forward = length - 1 - np.arange(length)  # time steps that the gradient has come
    distance = np.stack([forward if part % directions == 0 else forward[::-1] for part in range(count)])
    rate = (decay * (1 - 0.8 * columns / steps))[:, None] * (1 + 0.3 * np.arange(count))
    noise = np.exp(rng.normal(0, 0.1, (len(columns), 1, 1)))
    norms = 0.3 * np.exp(-rate[:, :, None] * distance) * noise  # (columns, parts, rows)
    arrays: Arrays = {
        "step": step,
        "loss": loss.astype("<f4"),
        "norm_before": before.astype("<f4"),
        "norm_after": after.astype("<f4"),
        "threshold": np.full(steps, np.nan if clip is None else clip, "<f4"),
        "validation_step": checked.astype("<i4"),
        "validation_loss": clean.astype("<f4"),
        "validation_accuracy": (1 - np.clip(clean * 6, 0, 1)).astype("<f4"),
        "heat_step": columns.astype("<i4"),
        "heat": norms,
        **_closer(rng, progress, before, checked / steps, clean, outputs, count),
        "prediction_step": checked.astype("<i4"),
    }
    if change:
        with np.errstate(all="ignore"):
            change(arrays)
    arrays["heat"] = encode_heat(arrays["heat"])
    if rule:
        fields["clip"] = clip_summary(rule, "all")
    elif clip is None:
        fields.setdefault("clip", {**clip_summary("none", "all"), "scope": "all parameters"})
    fields.setdefault("parts", parts(layers, directions))
    return Run(summary(name, **{"steps": steps, "sequence_steps": length, **fields}), arrays)


def _closer(
    rng: np.random.Generator, progress: np.ndarray, before: np.ndarray,
    checked: np.ndarray, clean: np.ndarray, outputs: int, count: int,
) -> Arrays:  # fmt: skip
    """The arrays of the panes beyond loss, norm and heat."""
    steps, looks = len(progress), len(checked)
    shares = np.array([0.9, 0.4, 0.15])[:, None] * np.exp(rng.normal(0, 0.15, (3, steps)))
    grads = before * shares
    weight = 6 + 2 * progress
    rows = np.array([0.62, 0.8, 0.95, 0.5, 0.9])[None, :]
    radius = rows * (1 + 0.25 * checked[:, None]) * np.exp(rng.normal(0, 0.02, (looks, 5)))
    each = radius[:, None] * (1 + 0.2 * np.arange(count))[:, None]
    spectrum = np.stack([each, each * 1.35], axis=3)  # (looks, parts, matrices, 2)
    errors = np.sqrt(clean)[:, None] * np.array([1.0, -0.7, 0.5, -0.4, 0.3, -0.2, 0.1])[None, :1]
    prediction = np.broadcast_to(0.9 + errors, (looks, 1))
    if outputs > 1:
        prediction = rng.normal(0, 1, (looks, outputs)) + 6 * checked[:, None] * (np.arange(outputs) == 0)
    return {
        "grad_recurrent": grads[0].astype("<f4"),
        "grad_input": grads[1].astype("<f4"),
        "grad_output": grads[2].astype("<f4"),
        "update": (weight * 2e-3 * np.exp(rng.normal(0, 0.3, steps)) * (1 - 0.8 * progress)).astype("<f4"),
        "weight": weight.astype("<f4"),
        "saturated": (0.2 * checked).astype("<f4"),
        "dead": np.zeros(looks, "<f4"),
        "spectrum": spectrum.astype("<f4"),
        "prediction": np.ascontiguousarray(prediction, dtype="<f4"),
    }


CLOCKS = {
    "step": ("step", "loss", "norm_before", "norm_after", "threshold", "grad_recurrent", "grad_input",
             "grad_output", "update", "weight", "full_norm", "full_cosine", "omega"),
    "validation_step": ("validation_step", "validation_loss", "validation_accuracy", "saturated", "dead",
                        "spectrum"),
    "heat_step": ("heat_step", "heat"),
    "prediction_step": ("prediction_step", "prediction"),
}  # fmt: skip


def select(arrays: Arrays, after: int, until: int) -> Arrays:
    """What is newer than `after` and not newer than `until`, in all series; only the newest prediction."""
    chosen: Arrays = {}
    for clock, names in CLOCKS.items():
        if clock not in arrays:
            continue
        inside = np.flatnonzero((arrays[clock] > after) & (arrays[clock] <= until))
        if clock == "prediction_step":
            inside = inside[-1:]
        chosen |= {name: arrays[name][inside] for name in names if name in arrays}
    return chosen


def blob(arrays: Arrays) -> bytes:
    """One chunk as safetensors."""
    last = int(arrays["step"][-1]) if len(arrays["step"]) else 0
    contiguous = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    return save(contiguous, {"last_step": str(last), "format": "1"})


def sse(event: str, data: str, identity: str | None = None) -> bytes:
    head = f"id: {identity}\n" if identity is not None else ""
    return f"event: {event}\n{head}data: {data}\n\n".encode()


@dataclass
class Seen:
    """What one client has been sent."""

    position: int  # last step
    generation: int  # count of resets
    version: int = -1  # of the summary
    extra: int = 0  # frames sent as they are
    drops: int = 0


@dataclass
class Feed:
    """The stream of one run under a test's control. Every method may be called while clients listen."""

    run: Run
    shown: int = 0  # steps published so far
    summary: dict[str, Any] = field(default_factory=dict)
    refused: bool = False  # answer 404
    silent: bool = False  # open the stream and say nothing
    requests: list[tuple[int | None, int | None]] = field(default_factory=list)  # (after, Last-Event-ID)
    listening: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    generation: int = 0
    drops: int = 0
    version: int = 0
    extra: list[bytes] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.run.summary["id"])

    def __post_init__(self) -> None:
        self.summary = {**self.run.summary, "step": self.shown}

    def publish(self, until: int, **fields: Any) -> None:
        """Lets the clients see everything up to step `until`."""
        with self.changed:
            self.shown = until
            before = self.run.arrays["norm_before"][:until]
            with np.errstate(invalid="ignore"):
                clipped = int((before > self.run.arrays["threshold"][:until]).sum())
            share = clipped / until if until else 0.0
            self.summary |= {"step": until, "made_steps": until, "clipped_steps": clipped}
            self.summary |= {"clipped_share": share, **fields}
            self.version += 1
            self.changed.notify_all()

    def tell(self, **fields: Any) -> None:
        """Changes the run's summary."""
        with self.changed:
            self.summary |= fields
            self.version += 1
            self.changed.notify_all()

    def repeat(self, after: int, until: int) -> None:
        """Sends steps again, as a run does that was taken up from an older state."""
        self.send(
            "chunk", f"{self.name} {base64.b64encode(blob(select(self.run.arrays, after, until))).decode()}"
        )

    def send(self, event: str, data: str) -> None:
        with self.changed:
            self.extra.append(sse(event, data))
            self.changed.notify_all()

    def rewind(self, until: int) -> None:
        """Takes the run back to an earlier step and tells every client to forget what it drew."""
        with self.changed:
            self.shown = until
            self.summary["step"] = until
            self.generation += 1
            self.changed.notify_all()

    def drop(self) -> None:
        """Cuts every connection."""
        with self.changed:
            self.drops += 1
            self.changed.notify_all()

    def window(self, points: int) -> bytes:
        """The chunk that the page sends where the stream does not pass: the last `points` steps."""
        return blob(select(self.run.arrays, self.shown - points, self.shown))

    def join(self, after: int | None, last_event: int | None) -> Seen:
        """A new client, which has drawn everything up to its last step; Last-Event-ID wins over `after`."""
        self.requests.append((after, last_event))
        self.listening += 1
        return Seen(last_event or after or 0, self.generation, extra=len(self.extra), drops=self.drops)

    def news_for(self, seen: Seen) -> bool:
        now = (self.generation, self.version, len(self.extra), self.drops)
        return self.shown > seen.position or now != (seen.generation, seen.version, seen.extra, seen.drops)

    def frames(self, seen: Seen, identity: Callable[[], str]) -> list[bytes]:
        """What a client has not got yet; the first time that includes a chunk, were it empty."""
        frames: list[bytes] = []
        first = seen.version < 0
        if self.version != seen.version:
            frames.append(sse("run", json.dumps(self.summary)))
        if self.generation != seen.generation:
            seen.position, first = 0, True
            frames.append(sse("reset", self.name))
        if self.shown > seen.position or first:
            news = base64.b64encode(blob(select(self.run.arrays, seen.position, self.shown))).decode()
            seen.position = max(seen.position, self.shown)
            frames.append(sse("chunk", f"{self.name} {news}", identity()))
        frames += self.extra[seen.extra :]
        seen.generation, seen.version, seen.extra = self.generation, self.version, len(self.extra)
        return [] if self.silent else frames

    def wait(self, condition: Callable[["Feed"], bool], seconds: float = 10) -> bool:
        """Waits until the condition holds of this feed."""
        with self.changed:
            return self.changed.wait_for(lambda: condition(self), seconds)


def serve(feeds: list[Feed], write: Callable[[bytes], None], after: list[int], last_event: list[int]) -> None:
    """One client of one or several runs, until it is dropped or gone."""
    changed = feeds[0].changed
    given = [(a[i] if (a := after) else None, e[i] if (e := last_event) else None) for i in range(len(feeds))]
    with changed:
        clients = [feed.join(*steps) for feed, steps in zip(feeds, given, strict=True)]
        changed.notify_all()
    pairs = list(zip(feeds, clients, strict=True))

    def identity() -> str:
        return ",".join(str(seen.position) for seen in clients)

    try:
        write(b"retry: 50\n\n")
        while True:
            with changed:
                changed.wait_for(lambda: any(feed.news_for(seen) for feed, seen in pairs))
                if any(feed.drops != seen.drops for feed, seen in pairs):
                    return
                frames = [frame for feed, seen in pairs for frame in feed.frames(seen, identity)]
            for frame in frames:
                write(frame)
    finally:
        with changed:
            for feed in feeds:
                feed.listening -= 1
            changed.notify_all()


# Streamlit's own values of the two themes.
LIGHT = {
    "text-color": "#31333F",
    "background-color": "#ffffff",
    "secondary-background-color": "#f0f2f6",
    "border-color": "rgba(49, 51, 63, 0.2)",
    "gray-background-color": "rgba(49, 51, 63, 0.1)",
    "gray-text-color": "rgba(49, 51, 63, 0.6)",
    "blue-background-color": "rgba(28, 131, 225, 0.1)",
    "blue-text-color": "#0054a3",
    "green-background-color": "rgba(33, 195, 84, 0.1)",
    "green-text-color": "#158237",
    "orange-background-color": "rgba(255, 164, 33, 0.1)",
    "orange-text-color": "#e2660c",
    "red-background-color": "rgba(255, 43, 43, 0.09)",
    "red-text-color": "#bd4043",
}
DARK = {
    "text-color": "#fafafa",
    "background-color": "#0e1117",
    "secondary-background-color": "#262730",
    "border-color": "rgba(250, 250, 250, 0.2)",
    "gray-background-color": "rgba(128, 132, 149, 0.2)",
    "gray-text-color": "rgba(250, 250, 250, 0.6)",
    "blue-background-color": "rgba(28, 131, 225, 0.2)",
    "blue-text-color": "#3d9df3",
    "green-background-color": "rgba(33, 195, 84, 0.2)",
    "green-text-color": "#5ce488",
    "orange-background-color": "rgba(255, 164, 33, 0.2)",
    "orange-text-color": "#ffbd45",
    "red-background-color": "rgba(255, 43, 43, 0.2)",
    "red-text-color": "#ff6c6c",
}
COMMON = {
    "primary-color": "#ff4b4b",
    "font": "'Source Sans', sans-serif",
    "base-radius": "0.5rem",
    "link-underline": "unset",
}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Live component</title><link rel="icon" href="data:,">
<style>
  __FONT__
  body { margin: 0; padding: 24px 16px; background: var(--st-background-color); font-family: var(--st-font); }
  #theme { display: contents; }
  main { max-width: 1360px; margin: 0 auto; }
</style></head>
<body><main><div id="theme"><div id="host"></div></div></main>
<script type="module">
import { mount, unmount } from "/app/static/live.js";
const themes = __THEMES__;
const text = __TEXT__;
const shadow = document.querySelector("#host").attachShadow({ mode: "open" });
const live = { states: [], triggers: [], shadow, unmount: () => unmount(shadow) };
live.theme = (name) => {
  for (const node of [document.querySelector("#theme"), document.body]) {
    for (const [key, value] of Object.entries(themes[name])) node.style.setProperty("--st-" + key, value);
  }
};
live.mount = (data) => {
  mount({
    data: { text, stream: null, runs: null, windows: null, samples: {}, ...data },
    parentElement: shadow,
    setStateValue: (name, value) => live.states.push([name, value]),
    setTriggerValue: (name, value) => live.triggers.push([name, value]),
  });
};
const wanted = new URLSearchParams(location.search);
live.theme(wanted.get("theme") ?? "light");
globalThis.live = live;
</script></body></html>
"""


class Server:
    """Feeds by name, over HTTP on a free port of this machine."""

    def __init__(self, font: pathlib.Path | None = None) -> None:
        self.feeds: dict[str, Feed] = {}
        self.changed = threading.Condition()
        themes = {"light": LIGHT | COMMON, "dark": DARK | COMMON}
        text = live_text(lambda sentence: sentence)
        face = "@font-face { font-family: 'Source Sans'; font-weight: 200 900; src: url('/font.woff2'); }"
        page = PAGE.replace("__FONT__", face if font else "")
        page = page.replace("__THEMES__", json.dumps(themes)).replace("__TEXT__", json.dumps(text))
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                if url.path == "/":
                    self.answer(page.encode(), "text/html")
                elif url.path.startswith("/app/static/"):
                    self.file(STATIC / url.path.removeprefix("/app/static/"))
                elif url.path == "/font.woff2":
                    self.answer(font.read_bytes() if font else b"", "font/woff2")
                elif url.path == "/live":
                    self.stream(url)
                else:
                    self.send_error(404)

            def file(self, path: pathlib.Path) -> None:
                kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
                self.answer(path.read_bytes(), kind or "text/plain")

            def answer(self, body: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def stream(self, url: urllib.parse.SplitResult) -> None:
                query = urllib.parse.parse_qs(url.query)
                feeds = [server.feeds.get(name) for name in query["run"]]
                known = [feed for feed in feeds if feed is not None and not feed.refused]
                if len(known) < len(feeds):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                last = self.headers.get("Last-Event-ID")
                after = query.get("after", [""])[0]
                steps = [[int(step) for step in text.split(",")] if text else [] for text in (after, last)]
                with contextlib.suppress(OSError):  # the browser has gone
                    serve(known, self.write, *steps)

            def write(self, data: bytes) -> None:
                self.wfile.write(data)
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def add(self, run: Run, shown: int = 0) -> Feed:
        """Serves the run at /live?run=<its id>."""
        feed = Feed(run, changed=self.changed)
        feed.publish(shown)
        self.feeds[feed.name] = feed
        return feed

    def close(self) -> None:
        for feed in self.feeds.values():
            feed.drop()
        self.http.shutdown()
        self.http.server_close()
