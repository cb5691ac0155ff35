"""What leaves the page and comes back: links and their QR code, downloads, and runs opened from a file."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import segno
import streamlit as st
from segno.encoder import DataOverflowError

from ..experiment import Experiment
from ..recording import GROUPS, Chunk
from ..runs.archive import (
    MAX_BYTES,
    SUFFIX,
    ArchiveError,
    Checkpoints,
    from_archive,
    records,
    to_archive,
)  # fmt: skip
from ..runs.chunk import decode
from ..runs.store import Run, Store, StoreFullError
from ..twins import MOST
from . import link, steering
from .fragments import drawn_again
from .live_text import live_text
from .overviews import overview_of
from .panes import DEFAULT_PANES
from .python_lines import letter, python_lines
from .samples import sample_of
from .slots import slots
from .standalone import standalone_page
from .summary import summary_of, title
from .text import _, plain

LARGEST_TABLE = 300_000_000  # bytes recorded, by repeats also; a table of more would be no use to anybody
UPLOAD_MB = MAX_BYTES // 1_000_000
_GONE = "These runs are no longer there; they may have been deleted."
_CONTROLS = {
    "shown": "With all controls: whoever opens it can train runs of their own",
    "hidden": "The settings are hidden until asked for",
    "none": "For watching only",
}
_CHOSEN, _LARGE = "share_controls", "share_large"
_UPLOAD, _ROUND, _TAKEN, _OPENED, _REFUSED = (
    "open_file", "open_round", "open_taken", "open_done", "open_refused",
)  # fmt: skip
FILE_NEWS = (_OPENED, _REFUSED)  # what is said until the next action

#: Columns of the table: of every training step, and of every look at the validation set.
PARTS = tuple(f"grad_{group}" for group in GROUPS)
STEP_COLUMNS = (
    "loss", "norm_before", "norm_after", "threshold", "learning_rate", *PARTS, "update_norm", "weight_norm",
    "full_norm", "full_cosine", "omega",
)  # fmt: skip
VALIDATION_COLUMNS = ("validation_loss", "validation_accuracy", "saturated", "dead")


# Links --------------------------------------------------------------------------------------------------


def share(store: Store, view: link.View, runs: Sequence[Run]) -> None:
    """The popovers "Share" and "Download" of a page that shows `view`, with its `runs` as they are now."""
    drawn_again(_share, width="content")
    downloads(store, runs, view.twins, view.panes)


def _share() -> None:
    """The page's link, how it is to open, and its QR code."""
    with st.popover(_("Share")):
        chosen = st.radio(
            _("The link"), list(_CONTROLS), key=_CHOSEN, format_func=lambda name: _(_CONTROLS[name]),
            label_visibility="collapsed",
        )  # fmt: skip
        large = st.toggle(_("Large type, for a projector"), key=_LARGE)
        address = page_link(variant(link.view(), chosen, large))
        st.code(address, language=None, wrap_lines=True)
        picture = qr_code(address)
        if picture is None:
            st.caption(_("This link is too long for a QR code: it holds too many changes."))
        else:
            st.image(picture, width=240, alt=_("QR code of the link"))
        if urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1"):
            st.caption(
                _(
                    "This address works on this computer only. For others, open the page by this "
                    "computer's name or address in the network, and share that link."
                )
            )
        if link.view().runs:
            st.caption(_("It shows these runs, live. Only the browser that started them can steer them."))


def variant(view: link.View, controls: str, large: bool) -> dict[str, list[str]]:
    """The query of a link that shows the same in another way."""
    query = link.to_query(replace(view, controls=controls, large=large))
    if controls == "none" and view.runs:  # the runs say it all, and a short link makes a clear QR code
        return {name: values for name, values in query.items() if name in link.PAGE and name != "twin"}
    return query


def page_link(query: Mapping[str, Sequence[str]]) -> str:
    """The address of this page with another query."""
    here = (st.context.url or "").split("?")[0]
    asked = urlencode([(name, value) for name, values in query.items() for value in values], safe=":,")
    return f"{here}?{asked}" if asked else here


@st.cache_data(max_entries=200, show_spinner=False)
def qr_code(text: str) -> str | None:
    """A QR code as SVG, black on white in every theme, or None when the text is too long for one."""
    try:
        code = segno.make_qr(text or " ", error="l", boost_error=True)
    except DataOverflowError:
        return None
    picture: str = code.svg_inline(dark="#000", light="#fff", border=4, omitsize=True)
    return picture


# Downloads ----------------------------------------------------------------------------------------------


def downloads(
    store: Store, runs: Sequence[Run], experiments: Sequence[Experiment] = (),
    panes: Sequence[str] = DEFAULT_PANES,
) -> None:  # fmt: skip
    """The popover "Download" for some runs, or for `experiments` where there are none yet.

    Nothing is made before somebody clicks; `panes` are those of the replay.
    """
    made = [run.experiment for run in runs] or list(experiments)
    ids = [run.id for run in runs]
    name = file_name(made)
    several = len(made) > 1
    recorded = [run for run in runs if run.step > 0 or run.ended]
    foreign = [run for run in runs if run.weights]
    trained = len(recorded) > len(foreign)
    with st.popover(_("Download"), disabled=not made, key="download"):
        if recorded:
            _button(
                _("Every step as a table (CSV)"), lambda: table(store, ids),
                f"{name}.csv", "text/csv", "download_csv",
                disabled=not trained or _recorded_bytes(store, runs) > LARGEST_TABLE,
            )  # fmt: skip
            _button(
                _("The runs as a file") if several else _("The run as a file"), lambda: run_file(store, ids),
                f"{name}{SUFFIX}", "application/octet-stream", "download_file",
                help=_("Everything recorded, at most {n} MB. Any rnnviz opens it on its page Runs.").format(
                    n=UPLOAD_MB
                ),
            )  # fmt: skip
            _button(
                _("Replay in a browser (HTML)"), lambda: replay(store, ids, panes),
                f"{name}.html", "text/html", "download_html", disabled=len(ids) > MOST or not trained,
                help=_("One page with the figures, which needs no server and no network."),
            )  # fmt: skip
        _button(
            _("The experiments (JSON)") if several else _("The experiment (JSON)"),
            lambda: experiments_json(made),
            f"{name}.json", "application/json", "download_json", disabled=bool(foreign),
        )  # fmt: skip
        if foreign:
            st.caption(_(steering.NOT_DRAWN))
            return
        script = python_lines(made)
        _button(_("Python that repeats it"), lambda: script, f"{name}.py", "text/x-python", "download_py")
        with st.expander(_("Show the Python lines")):
            st.code(script, language="python")


def _button(
    label: str, data: Callable[[], str | bytes], file: str, mime: str, key: str, disabled: bool = False,
    help: str | None = None,
) -> None:  # fmt: skip
    st.download_button(
        label, data, file, mime, key=key, on_click="ignore", type="tertiary", icon=":material/download:",
        disabled=disabled, help=help,
    )  # fmt: skip


def file_name(experiments: Sequence[Experiment]) -> str:
    """A file's name without its ending: what was trained on what."""
    parts = ["rnnviz", *(e.cell for e in experiments), *(e.task for e in experiments)]
    return "-".join(dict.fromkeys(parts))


def table(store: Store, runs: Sequence[str]) -> str:
    """Every step of these runs and of their repeats as CSV, numbers exact.

    A row for each training step, and one for a validation after the last. A number that does not exist at a
    step leaves its field empty; NaN and inf are what was computed. Raises ValueError with a sentence when
    that would be too much.
    """
    everyone = _with_repeats(store, runs)
    size = sum(run.bytes for _name, run in everyone)
    if size > LARGEST_TABLE:
        raise ValueError(
            _(
                "These runs recorded {n} MB, and a table is made of at most {most} MB: take fewer runs."
            ).format(n=round(size / 1e6), most=round(LARGEST_TABLE / 1e6))
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "seed", "step", *STEP_COLUMNS, *VALIDATION_COLUMNS])
    for name, run in everyone:
        for row in _rows(map(decode, records(store, run.id))):
            writer.writerow([name, run.experiment.seed, *row])
    return text.getvalue()


def _rows(chunks: Iterable[Chunk]) -> Iterator[list[Any]]:
    """(step, step columns, validation columns) in the order of steps."""
    seen: dict[int, list[str]] = {}
    nothing = [""] * len(VALIDATION_COLUMNS)
    for chunk in chunks:
        # A look is recorded before the step that follows it, at times in the chunk before.
        columns = [getattr(chunk, name) for name in VALIDATION_COLUMNS]
        for k, step in enumerate(chunk.validation_step.tolist()):
            seen[step] = [_number(column[k]) for column in columns]
        split = dict(zip(PARTS, chunk.grad_norms.T, strict=True))
        columns = [split[name] if name in split else getattr(chunk, name) for name in STEP_COLUMNS]
        for k, step in enumerate(chunk.step.tolist()):
            yield [step, *(_number(column[k]) for column in columns), *seen.pop(step, nothing)]
    for step, values in seen.items():
        yield [step, *[""] * len(STEP_COLUMNS), *values]


def _number(value: np.floating[Any]) -> str:
    """The shortest text that reads back as the same number."""
    return repr(value.item())


def experiments_json(experiments: Sequence[Experiment]) -> str:
    """One experiment as an object, which `python -m rnnviz train --experiment` takes; several as a list."""
    values = [json.loads(experiment.to_json()) for experiment in experiments]
    return json.dumps(values[0] if len(values) == 1 else values, indent=2) + "\n"


def run_file(store: Store, runs: Sequence[str]) -> bytes:
    """These runs in one file, with their repeats and as many checkpoints as it has room for."""
    everyone = [run.id for _name, run in _with_repeats(store, runs)]
    fewer: tuple[tuple[Sequence[str], Checkpoints], ...] = (
        (everyone, "all"),
        (everyone, "last"),
        (runs, "last"),
    )
    for some, checkpoints in fewer:
        with suppress(ArchiveError):
            return to_archive(store, some, checkpoints)
    return to_archive(store, runs, "none")


def replay(store: Store, runs: Sequence[str], panes: Sequence[str]) -> str:
    """The figures of these runs as one HTML file, which shows them as a film."""
    shown = [run for run in map(store.run, runs) if run is not None]
    if not shown:
        raise ValueError(_GONE)
    experiments = [run.experiment.changed(changes=()) for run in shown]
    overviews = {run.id: overview_of(store, run.id) for run in shown}
    return standalone_page(
        " / ".join(dict.fromkeys(run.name or title(run.experiment) for run in shown)),
        slots(experiments, [run.id for run in shown]),
        [summary_of(store, run) for run in shown],
        {run: base64.b64encode(found[1]).decode() for run, found in overviews.items() if found is not None},
        {run.id: sample_of(run.experiment) for run in shown},
        live_text(_),
        list(panes),
    )


def _recorded_bytes(store: Store, runs: Sequence[Run]) -> int:
    """What these runs and their repeats have recorded."""
    own = {run.id: run.bytes for run in runs}
    return sum({**{repeat.id: repeat.bytes for repeat in store.repeating(list(own))}, **own}.values())


def _with_repeats(store: Store, runs: Sequence[str]) -> list[tuple[str, Run]]:
    """(letter, run) of these runs, each followed by those that repeat it with other seeds."""
    found = []
    for k, name in enumerate(runs):
        run = store.run(name)
        if run is not None:
            others = [repeat for repeat in store.repeats_of(name) if repeat.id not in runs]
            found += [(letter(k), one) for one in (run, *others)]
    if not found:
        raise ValueError(_GONE)
    return found


# Files --------------------------------------------------------------------------------------------------


def open_file(store: Store) -> None:
    """The popover "Open a run file"."""
    with st.popover(_("Open a run file")):
        key = f"{_UPLOAD}_{st.session_state.get(_ROUND, 0)}"
        st.file_uploader(
            _("What was downloaded as “The run as a file”, here or elsewhere"), [SUFFIX.removeprefix(".")],
            key=key, on_change=_open, args=(store, key), max_upload_size=UPLOAD_MB,
        )  # fmt: skip
        if st.session_state.get(_REFUSED):
            st.warning(plain(st.session_state[_REFUSED]))


def opened() -> None:
    """Where the runs of the file that was opened last have gone."""
    if st.session_state.get(_OPENED):
        n = len(st.session_state[_OPENED])
        st.success(
            _("The run of the file is here.")
            if n == 1
            else _("The {n} runs of the file are here.").format(n=n)
        )


def _open(store: Store, key: str) -> None:
    upload = st.session_state.get(key)
    # A page that has not yet heard of the empty box may send the same file again.
    if upload is None or upload.file_id == st.session_state.get(_TAKEN):
        return
    st.session_state[_TAKEN] = upload.file_id
    for name in FILE_NEWS:
        st.session_state.pop(name, None)
    try:
        st.session_state[_OPENED] = from_archive(store, upload.getvalue(), steering.owner())
    except (ArchiveError, StoreFullError) as error:
        st.session_state[_REFUSED] = str(error)
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1  # an empty box for the next file
