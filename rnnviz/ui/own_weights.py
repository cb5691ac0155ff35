"""Weights that somebody trained elsewhere: from an uploaded file to a run that the analysis pages take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from ..cells import CELLS
from ..runs.archive import MAX_BYTES
from ..runs.store import Run, Store, StoreFullError
from ..runs.weights import Plan, fitting_outputs, fitting_tasks, parameters, plan, to_run
from ..runs.weights_file import (
    CONVERT,
    Module,
    PickledError,
    WeightsError,
    WeightsFile,
    module_of,
    module_paths,
    read,
)
from ..tasks import TASKS
from . import steering
from .text import _, plain

PAGES = Path(__file__).resolve().parents[2] / "pages"
#: The pages that can look at such a run.
LOOKS = {"gradients": "Gradients", "gates": "Gates", "surface": "Loss surface"}
UPLOAD_MB = MAX_BYTES // 1_000_000
SAVE = 'safetensors.torch.save_file(model.state_dict(), "model.safetensors")'
DRAWN = (
    "The output layer is drawn by the seed and is not yours: states and gates are those of your network, "
    "loss and gradients mean little as long as it is not trained."
)
_UPLOAD, _ROUND, _MADE, _REFUSED = "own_file", "own_round", "own_made", "own_refused"
NEWS = (_MADE, _REFUSED)  # what is said until the next action


def own_weights(store: Store) -> None:
    """The popover "Your own weights"."""
    with st.popover(_("Your own weights")):
        turn = st.session_state.get(_ROUND, 0)
        # Every kind of file is let in, so that each that is refused gets its reason.
        upload = st.file_uploader(
            _("A safetensors file with an nn.RNN, nn.LSTM or nn.GRU that you trained elsewhere"),
            key=f"{_UPLOAD}_{turn}", max_upload_size=UPLOAD_MB,
        )  # fmt: skip
        if st.session_state.get(_REFUSED):
            st.warning(plain(st.session_state[_REFUSED]))
        if upload is None:
            st.caption(_("PyTorch writes one by this line, after `import safetensors.torch`:"))
            st.code(SAVE, language="python", wrap_lines=True)
            return
        try:
            _offer(store, upload.getvalue(), Path(upload.name).stem, f"{turn}_{upload.file_id}")
        except WeightsError as error:
            st.warning(plain(str(error)))
            if isinstance(error, PickledError):
                st.code(f"import safetensors.torch, torch\n{CONVERT}", language="python", wrap_lines=True)


def _offer(store: Store, blob: bytes, name: str, key: str) -> None:
    """What is open to choose, what becomes of the file then, and the button. Raises WeightsError."""
    file = read(blob)
    paths = module_paths(file)
    path = paths[0]
    if len(paths) > 1:
        labels = [one or _("(at the top)") for one in paths]
        number = st.selectbox(
            _("Module"), range(len(paths)), key=f"own_module_{key}", format_func=labels.__getitem__
        )
        path = paths[number]
    module = module_of(file, path)
    tasks = fitting_tasks(module)
    cell = _cell(module, f"own_cell_{key}_{path}")
    task = st.selectbox(
        _("Task"), tasks, key=f"own_task_{key}_{path}", format_func=lambda one: _(TASKS[one].label),
        help=_("The tasks whose sequences have {n} inputs at each time step.").format(n=module.inputs),
    )  # fmt: skip
    settled, output = _output(fitting_outputs(file, module, task), f"{key}_{path}_{task}")
    length = _length(task, f"own_length_{key}_{task}")
    made = plan(file, module, cell or module.cells[0], task, length, output)
    values = parameters(file, made)
    _found(file, made)
    for told in _notes(made, values):
        st.caption(told)
    st.button(
        _("Make it a run"), key="own_make", type="primary", disabled=not (cell and settled), on_click=_make,
        args=(store, made, values, name),
    )  # fmt: skip
    if not cell:
        st.caption(_("Choose the nonlinearity first."))
    elif not settled:
        st.caption(_("Choose the output layer first."))


def _cell(module: Module, key: str) -> str | None:
    """Which cell it is; of an nn.RNN nobody but the user knows, and None until then."""
    if len(module.cells) == 1:
        return module.cells[0]
    return st.segmented_control(
        _("Nonlinearity"), module.cells, key=key,
        help=_("The weights of an nn.RNN do not tell which it had; PyTorch's default is tanh."),
    )  # fmt: skip


def _output(names: Sequence[str], key: str) -> tuple[bool, str | None]:
    """Whether the output layer is chosen, and which tensor it is; with None it is drawn."""
    if not names:
        return True, None
    options: list[str | None] = [*names, None]
    if len(names) == 1:
        index: int | None = 0
    else:
        index = None  # nobody but the user knows
    number = st.selectbox(
        _("Output layer"), range(len(options)), index, key=f"own_output_{key}",
        format_func=lambda k: options[k] or _("none of these: draw it by the seed"),
        placeholder=_("Several tensors could be it"),
    )  # fmt: skip
    return number is not None, None if number is None else options[number]


def _length(name: str, key: str) -> int | None:
    task = TASKS[name]
    if task.fixed_length is not None:
        return None
    length: int = st.number_input(
        _("Length T"), task.min_length, task.max_length, task.default_length, key=key,
        help=_("How far apart cause and effect can be: the T of the task's definition."),
    )  # fmt: skip
    return length


def _found(file: WeightsFile, made: Plan) -> None:
    """What was found, and what becomes of it, as a table."""
    rows: list[dict[str, Any]] = [
        {_("name"): source, _("shape"): str(file.tensors[source].shape), _("becomes"): name}
        for name, source in made.sources.items()
    ]
    rows += [{_("name"): _("(zeros)"), _("shape"): "", _("becomes"): name} for name in made.zeros]
    rows += [{_("name"): _("(drawn by the seed)"), _("shape"): "", _("becomes"): name} for name in made.drawn]
    st.markdown(_about(made.module))
    st.dataframe(rows, hide_index=True, height=min(38 + 35 * len(rows), 178), alt=_("Tensors of the file"))


def _about(module: Module) -> str:
    told = [
        _("**{name}**: {inputs} inputs, {hidden} hidden units").format(
            name=plain(module.name), inputs=module.inputs, hidden=module.hidden
        ),
        _("1 layer") if module.layers == 1 else _("{n} layers").format(n=module.layers),
        _("forward") if module.directions == 1 else _("both ways"),
    ]
    return ", ".join(told) + "."


def _notes(made: Plan, values: dict[str, np.ndarray]) -> list[str]:
    """What is not as in the file, a sentence for each."""
    told = []
    if any(name.startswith("rnn.") for name in made.zeros):
        told.append(_("The module has no biases (bias=False): they are 0 here."))
    if "out.bias" in made.zeros:
        told.append(_("The output layer has no bias: it is 0 here."))
    if made.drawn:
        told.append(_(DRAWN))
    if made.half:
        told.append(_("Numbers of half precision are taken over exactly, and computed with in float32."))
    lost = sum(int(np.count_nonzero(~np.isfinite(array))) for array in values.values())
    if lost:
        told.append(
            _("{n:,} of the {all:,} weights are NaN or infinite; they stay what they are.").format(
                n=lost, all=sum(array.size for array in values.values())
            )
        )
    if made.module.directions == 2 and TASKS[made.experiment.task].readout == "last":
        told.append(
            _(
                "The output layer reads the last state of each direction, as h_n has them: of the one that "
                "reads backward that is the state at t = 1."
            )
        )
    return told


def _make(store: Store, made: Plan, values: dict[str, np.ndarray], name: str) -> None:
    for news in NEWS:
        st.session_state.pop(news, None)
    try:
        st.session_state[_MADE] = to_run(store, made, values, steering.owner(), name)
    except StoreFullError as error:
        st.session_state[_REFUSED] = str(error)
        return
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1  # an empty box for the next file


def taken_in(store: Store) -> None:
    """That the file of the last upload has become a run, and the ways to the pages that look at it."""
    name = st.session_state.get(_MADE)
    run = store.run(name) if name else None
    if run is None:
        return
    with st.container(key="own_made", horizontal=True, vertical_alignment="center"):
        st.markdown(_("Your weights are here. Look at them in:"), width="content")
        for page, label in LOOKS.items():
            st.page_link(PAGES / f"{page}.py", label=_(label), query_params={"run": run.id}, width="content")


def in_words(run: Run) -> str:
    """Where the first weights of a run came from, as plain text; empty for those that its seed drew."""
    origin = run.origin
    if origin is None:
        return ""
    told = _("Own weights, from {module} of a file").format(module=origin.module)
    if origin.output is None:
        return told + "; " + _("the output layer is drawn by the seed.")
    return told + "; " + _("output layer: {name}.").format(name=origin.output)


def remark(run: Run) -> str:
    """What has to be known of a run before its figures are read, as markup; empty where there is nothing."""
    origin = run.origin
    if origin is None:
        return ""
    name = plain(run.name or CELLS[run.experiment.cell].label)
    if origin.output is not None:
        return f"{name}: {plain(in_words(run))}"
    whence = _("weights from {module} of a file.").format(module=plain(origin.module))
    return f"{name}: {whence} {_(DRAWN)}"
