"""Somebody's own weights as a run: a row with a checkpoint at step 0, ended, to be looked at and no more."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from safetensors.numpy import save

from ..experiment import Experiment, ExperimentError
from ..first_weights import first_weights
from ..layout import Layout, layout_of
from ..tasks import TASKS
from .origin import Origin
from .schema import CHECKPOINTS, RUNS
from .store import Store, new_id, tidy
from .weights_file import HALF, PARAMETER, REALS, Module, WeightsError, WeightsFile, check_type

MOST_BYTES = 60_000_000  # of all parameters: the run has to fit into a run file
MESSAGE = "These weights came from a file; nothing was trained here."


@dataclass(frozen=True)
class Plan:
    """What becomes of a file: the run's experiment, and where each of its parameters comes from.

    sources: by the name in the network (see `layout_of`) the tensor of the file. zeros, drawn: parameters
    that the file does not have, which are 0, or drawn as the experiment's seed says.
    """

    module: Module
    experiment: Experiment
    output: str | None
    sources: Mapping[str, str]
    zeros: tuple[str, ...]
    drawn: tuple[str, ...]
    half: tuple[str, ...]  # tensors of half precision, exact in float32


def fitting_tasks(module: Module) -> list[str]:
    """The tasks that such a module can read. Raises WeightsError when there is none."""
    sizes: dict[int, list[str]] = {}
    for task in TASKS.values():
        sizes.setdefault(task.input_size, []).append(task.name)
    fitting = sizes.get(module.inputs, [])
    if not fitting:
        known = "; ".join(f"{size} ({', '.join(names)})" for size, names in sorted(sizes.items()))
        raise WeightsError(
            f"{module.tensors['weight_ih_l0']}: got {module.inputs} inputs at each time step; the tasks have "
            f"{known}."
        )
    both = [name for name in fitting if module.directions == 1 or not TASKS[name].tells_answers]
    if not both:
        raise WeightsError(
            f"{module.tensors['weight_ih_l0_reverse']}: it reads from the end, and in the tasks with "
            f"{module.inputs} inputs ({', '.join(fitting)}) these hold the answers of the steps before them."
        )
    return both


def fitting_outputs(file: WeightsFile, module: Module, task: str) -> list[str]:
    """The matrices of a file that could be the output layer, (O, D*H), in the file's order."""
    shape = (TASKS[task].output_size, module.directions * module.hidden)
    return [
        name for name, tensor in file.tensors.items()
        if tensor.shape == shape and tensor.dtype in REALS and not PARAMETER.fullmatch(name)
    ]  # fmt: skip


def plan(
    file: WeightsFile, module: Module, cell: str, task: str, length: int | None = None,
    output: str | None = None,
) -> Plan:  # fmt: skip
    """What a run of this module would be. Raises WeightsError.

    cell: one of `module.cells`. length: the task's T, None for its default. output: one of
    `fitting_outputs`, whose bias is the tensor beside it; None to have the output layer drawn.
    """
    if cell not in module.cells:
        raise WeightsError(f"cell: got {cell!r}; an nn.{module.kind} is {' or '.join(module.cells)}.")
    allowed = fitting_outputs(file, module, task)
    if output is not None and output not in allowed:
        raise WeightsError(f"output: got {output!r}; allowed: {', '.join(allowed) or 'None'}.")
    sources = {f"rnn.{name}": whole for name, whole in module.tensors.items()}
    if output is not None:
        sources["out.weight"] = output
        if (bias := _bias_of(file, output)) is not None:
            sources["out.bias"] = bias
    dtypes = {name: file.tensors[name].dtype for name in sources.values()}
    try:
        e = Experiment(
            task=task, cell=cell, hidden=module.hidden, layers=module.layers,
            length=TASKS[task].default_length if length is None else length,
            direction="both" if module.directions == 2 else "forward",
            precision="float64" if "F64" in dtypes.values() else "float32",
        )  # fmt: skip
    except ExperimentError as error:
        raise WeightsError(str(error).splitlines()[0]) from None
    layout = layout_of(e)
    size = layout.size * np.dtype(e.precision).itemsize
    if size > MOST_BYTES:
        raise WeightsError(
            f"{module.name}: got {size / 1e6:.0f} MB of weights in {e.precision}; "
            f"allowed: at most {MOST_BYTES / 1e6:.0f} MB."
        )
    missing = [name for name in layout.shapes if name not in sources]
    drawn = tuple(name for name in missing if name.startswith("out.") and output is None)
    zeros = tuple(name for name in missing if name not in drawn)
    half = tuple(name for name, dtype in dtypes.items() if dtype in HALF)
    return Plan(module, e, output, {n: sources[n] for n in layout.shapes if n in sources}, zeros, drawn, half)


def _bias_of(file: WeightsFile, output: str) -> str | None:
    """The bias of an output layer: the tensor beside its weight, as nn.Linear calls them."""
    weight = file.tensors[output]
    if not output.endswith("weight"):
        return None
    bias = file.tensors.get(f"{output.removesuffix('weight')}bias")
    if bias is None:
        return None
    if bias.shape != weight.shape[:1]:
        raise WeightsError(f"{bias.name}: got shape {bias.shape}; beside {output} it has {weight.shape[:1]}.")
    check_type(bias)
    return bias.name


def parameters(file: WeightsFile, plan: Plan) -> dict[str, np.ndarray]:
    """Every parameter of the run's network by name, in its precision. NaN and infinity stay what they are."""
    layout, precision = layout_of(plan.experiment), plan.experiment.precision
    drawn = _drawn(plan.experiment, layout) if plan.drawn else {}
    found = {}
    for name, shape in layout.shapes.items():
        if name in plan.sources:
            found[name] = file.array(plan.sources[name], precision)
        else:
            found[name] = drawn[name] if name in plan.drawn else np.zeros(shape, precision)
    return found


def _drawn(experiment: Experiment, layout: Layout) -> dict[str, np.ndarray]:
    flat, start, found = first_weights(experiment, layout).astype(experiment.precision), 0, {}
    for name, shape in layout.shapes.items():
        stop = start + math.prod(shape)
        found[name], start = flat[start:stop].reshape(shape), stop
    return found


def to_run(
    store: Store, plan: Plan, values: Mapping[str, np.ndarray], owner: str | None, name: str = ""
) -> str:
    """Keep these parameters as a run of the owner with this hash; returns its id.

    It has ended before its first step, so that no slice of it is ever handed out. Raises StoreFullError.
    """
    run, now, blob = new_id(), time.time(), save(dict(values))
    origin = Origin(plan.module.name, plan.output)
    with store.write() as connection:
        connection.execute(
            sa.insert(RUNS).values(
                id=run, created=now, updated=now, owner=owner, experiment=plan.experiment.to_json(),
                state="stopped", message=MESSAGE, command="stop", epoch=0, dispatched=0.0, failures=0, step=0,
                steps=plan.experiment.steps, clipped=0, bytes=len(blob), name=tidy(name),
                weights=origin.to_json(),
            )
        )  # fmt: skip
        connection.execute(sa.insert(CHECKPOINTS).values(run=run, step=0, parameters=blob))
    return run
