"""Training: as an independent PyTorch loop does it; the same bytes again; honest when it diverges."""

from __future__ import annotations

import copy
import math
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rnnviz.analysis.activity import PROBES
from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.clipping import CLIPPINGS
from rnnviz.experiment import CHANGEABLE, Experiment
from rnnviz.kernels import KERNELS
from rnnviz.network import Network
from rnnviz.optimizers import OPTIMIZERS
from rnnviz.recording import GROUPS, Chunk, concatenate
from rnnviz.tasks import TASKS, Batch, Solved
from rnnviz.training import DivergedError, State, advance, begin, train, validation_interval


def small(**values) -> Experiment:
    """A quick run: 25 steps of a little network on the digits by row. No default is left to change it."""
    plain = {
        "task": "digits_rows", "cell": "gru", "hidden": 4, "initialization": "pytorch", "clip": "norm",
        "clip_threshold": 1.0, "clip_scope": "all", "optimizer": "adam", "learning_rate": 0.01, "batch": 3,
        "steps": 25, "seed": 0, "precision": "float32", "train_size": 0, "until": "steps",
    }  # fmt: skip
    return Experiment(**{**plain, **values})


def whole(experiment: Experiment) -> tuple[State, Chunk]:
    state = begin(experiment)
    return state, advance(state)


def arrays_of(chunk: Chunk) -> dict[str, Any]:
    """Everything recorded, as bytes with types and shapes: NaN equals NaN here."""
    arrays = {name: (a.tobytes(), a.dtype, a.shape) for name, a in chunk.arrays().items()}
    return {**arrays, "next_step": chunk.next_step, "clipped": chunk.clipped}


def weights_of(state: State) -> dict[str, bytes]:
    """Parameters and optimizer, as bytes."""
    slots = {name: slot.numpy().tobytes() for name, slot in state.slots.items()}
    return {"flat": state.network.flat.numpy().tobytes(), **slots}


def standing_of(state: State) -> tuple:
    return (
        state.step, state.clipped, state.validated, state.validation_loss, state.validation_accuracy,
        state.train_loss, state.solved_at, state.diverged_at, state.divergence, state.values,
        state.experiment, state.clip_memory.tobytes(),
    )  # fmt: skip


# Against PyTorch


class TorchRun:
    """The same run written with torch.nn, torch.optim and torch.nn.utils only, with the same records."""

    CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "tanh": nn.RNNCell}  # noqa: RUF012
    OPTIMIZERS: dict[str, Any] = {  # noqa: RUF012
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
        "momentum": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
        "rmsprop": torch.optim.RMSprop,
    }

    def __init__(self, e: Experiment) -> None:
        task = TASKS[e.task]
        self.e, self.task = e, task
        self.every = e.task == "copying"
        self.cell = self.CELLS[e.cell](task.input_size, e.hidden, dtype=torch.float64)
        self.out = nn.Linear(e.hidden, task.output_size, dtype=torch.float64)
        first = Network(e).parameters
        self.cell.load_state_dict({n[4:-3]: p.clone() for n, p in first.items() if n.startswith("rnn.")})
        self.out.load_state_dict({n[4:]: p.clone() for n, p in first.items() if n.startswith("out.")})
        self.parameters = [*self.cell.parameters(), *self.out.parameters()]
        self.scope = {
            "all": self.parameters,
            "not_output": list(self.cell.parameters()),
            "recurrent": [self.cell.weight_hh],
        }[e.clip_scope]
        self.optimizer = self.OPTIMIZERS[e.optimizer](self.parameters, lr=e.learning_rate)
        self.norms: list[float] = []
        self.mu = self.variance = math.nan

    def forward(self, inputs):
        zero = torch.zeros(inputs.shape[1], self.e.hidden, dtype=torch.float64)
        h, c, hidden, memory = zero, zero, [], []
        for x in inputs:
            if self.e.cell == "lstm":
                h, c = self.cell(x, (h, c))
                memory.append(c)
            else:
                h = self.cell(x, h)
            hidden.append(h)
        return self.out(torch.stack(hidden) if self.every else hidden[-1]), hidden, memory

    def loss(self, outputs, targets):
        if self.e.task == "adding":
            return F.mse_loss(outputs, targets)
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def measure(self) -> float:
        grads = torch.cat([p.grad.flatten() for p in self.scope])
        return float(grads.abs().max() if self.e.clip == "value" else grads.norm())

    def clip(self) -> tuple[float, bool]:
        """Clip as the authors say; returns the limit and whether it was exceeded."""
        e, norm = self.e, self.measure()
        self.norms.append(norm)
        if e.clip == "none":
            return math.nan, False
        if e.clip == "value":
            torch.nn.utils.clip_grad_value_(self.scope, e.clip_threshold)
            return e.clip_threshold, norm > e.clip_threshold
        if e.clip == "agc":
            return math.nan, any([self.clip_rows(p) for p in self.scope])
        limit = {"norm": lambda: e.clip_threshold, "autoclip": self.autoclip, "zclip": self.zclip}[e.clip]()
        if norm > limit and e.clip == "norm":
            torch.nn.utils.clip_grad_norm_(self.scope, limit)
        elif norm > limit:  # to the limit itself, without that function's constant beside the norm
            for p in self.scope:
                p.grad.mul_(limit / norm)
        return limit, norm > limit

    def clip_rows(self, p: nn.Parameter) -> bool:
        """The adaptive_clip_grad that is in use with PyTorch, with the original's constants."""

        def unitwise(x):
            return x.norm(2) if x.ndim <= 1 else x.norm(2, dim=tuple(range(1, x.ndim)), keepdim=True)

        most = unitwise(p.detach()).clamp(min=1e-3) * self.e.clip_threshold
        norm = unitwise(p.grad)
        p.grad.copy_(torch.where(norm < most, p.grad, p.grad * (most / norm.clamp(min=1e-6))))
        return bool((norm > most).any())

    def autoclip(self) -> float:
        return float(np.percentile(self.norms, 10))

    def zclip(self) -> float:
        *before, norm = self.norms
        if len(before) < 25:
            return math.nan
        if len(before) == 25:
            self.mu, self.variance = float(np.mean(before)), float(np.var(before))
        sigma = math.sqrt(self.variance)
        z = (norm - self.mu) / (sigma + 1e-6)
        limit = self.mu + (2.5 * sigma / (z / 2.5) if z > 2.5 else 2.5 * (sigma + 1e-6))
        n = min(norm, limit)
        self.mu = 0.97 * self.mu + 0.03 * n
        self.variance = 0.97 * self.variance + 0.03 * (n - self.mu) ** 2
        return limit

    def step(self, step: int) -> dict:
        batch = self.task.training_batch(self.e.seed, step, self.e.length, self.e.batch)
        self.optimizer.zero_grad()
        outputs, hidden, memory = self.forward(torch.from_numpy(batch.inputs.copy()))
        for state in (*hidden, *memory):
            state.retain_grad()
        loss = self.loss(outputs, torch.from_numpy(batch.targets.copy()))
        loss.backward()
        before = self.measure()
        groups = [self.norm(p.grad for p in group) for group in self.groups()]
        old = [p.detach().clone() for p in self.parameters]
        limit, self.clipped = self.clip()
        after = self.measure()
        self.optimizer.step()
        return {
            "loss": loss.item(), "norm_before": before, "norm_after": after, "threshold": limit,
            "grad_hidden": self.of_one_sequence(hidden), "grad_cell_state": self.of_one_sequence(memory),
            "grad_norms": groups, "weight_norm": self.norm(old),
            "update_norm": self.norm(p - q for p, q in zip(self.parameters, old, strict=True)),
        }  # fmt: skip

    def groups(self) -> list[list]:
        """Weights that multiply a state; the rest of the recurrent layer; the output layer."""
        rest = [p for name, p in self.cell.named_parameters() if name != "weight_hh"]
        return [[self.cell.weight_hh], rest, list(self.out.parameters())]

    def norm(self, tensors) -> float:
        return float(torch.cat([t.detach().flatten() for t in tensors]).norm())

    def of_one_sequence(self, states) -> list[float]:
        """B times dL/ds_t of the batch's mean loss is that of one sequence's own loss."""
        return [float((s.grad * self.e.batch).norm(dim=1).mean()) for s in states]


SETTINGS = [
    {"cell": "lstm", "optimizer": "adam", "clip": "norm", "clip_threshold": 0.5},
    {"cell": "gru", "optimizer": "rmsprop", "clip": "value", "clip_threshold": 0.05},
    {
        "cell": "tanh",
        "optimizer": "momentum",
        "clip": "norm",
        "clip_threshold": 0.1,
        "clip_scope": "recurrent",
    },
    {"cell": "tanh", "optimizer": "sgd", "clip": "none", "learning_rate": 0.1},
    {"cell": "lstm", "optimizer": "sgd", "clip": "norm", "clip_threshold": 0.2, "clip_scope": "not_output"},
    {
        "task": "adding",
        "cell": "gru",
        "optimizer": "adam",
        "clip": "norm",
        "clip_threshold": 1.0,
        "length": 12,
    },
    {
        "task": "copying",
        "cell": "lstm",
        "optimizer": "adam",
        "clip": "value",
        "clip_threshold": 0.01,
        "length": 3,
    },
    {"task": "temporal_order", "cell": "tanh", "optimizer": "rmsprop", "clip": "norm", "length": 10},
    {"cell": "lstm", "optimizer": "sgd", "clip": "agc", "clip_threshold": 0.02, "learning_rate": 0.1},
    {"cell": "gru", "optimizer": "adam", "clip": "agc", "clip_threshold": 0.01, "clip_scope": "not_output"},
    {"cell": "tanh", "optimizer": "sgd", "clip": "autoclip", "learning_rate": 0.1},
    {"cell": "gru", "optimizer": "momentum", "clip": "autoclip", "clip_scope": "recurrent"},
    {"cell": "lstm", "optimizer": "sgd", "clip": "zclip", "learning_rate": 0.5, "steps": 60},
    {"cell": "tanh", "optimizer": "sgd", "clip": "zclip", "clip_scope": "recurrent", "steps": 60},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_a_run_is_that_of_an_independent_torch_loop(setting):
    """Loss at step s of the parameters after s updates, clip measures, counts and dL/dh_t."""
    experiment = small(**{"steps": 15, "precision": "float64", "seed": 2, **setting})
    state, chunk = whole(experiment)
    twin = TorchRun(experiment)
    rows, above = [], 0
    for s in range(experiment.steps):
        rows.append(twin.step(s))
        above += twin.clipped

    assert chunk.step.tolist() == list(range(experiment.steps))
    for name in set(rows[0]) - {"norm_after"}:
        recorded = getattr(chunk, name)
        theirs = np.array([row[name] for row in rows]).reshape(recorded.shape)
        np.testing.assert_allclose(recorded, theirs, rtol=1e-7, err_msg=name)
    # Between threshold - 1e-6 and threshold PyTorch shortens a little; that is far below these figures.
    np.testing.assert_allclose(chunk.norm_after, [row["norm_after"] for row in rows], rtol=1e-5)
    assert chunk.clipped == state.clipped == above
    if experiment.clip != "none" and experiment.task != "temporal_order":
        assert state.clipped > 0, "the setting is there to clip"
    for name, parameter in (
        *twin.cell.named_parameters(prefix="rnn"),
        *twin.out.named_parameters(prefix="out"),
    ):
        ours = state.network.parameters[name + "_l0" if name.startswith("rnn") else name]
        torch.testing.assert_close(ours, parameter.detach(), rtol=1e-6, atol=1e-9)

    # The validation at the end sees the parameters after the last update.
    batch = twin.task.validation_batch(experiment.length)
    with torch.no_grad():
        outputs = twin.forward(torch.from_numpy(batch.inputs.copy()))[0]
        expected = float(twin.loss(outputs, torch.from_numpy(batch.targets.copy())))
    assert chunk.validation_loss[-1] == pytest.approx(expected, rel=1e-7)
    assert chunk.validation_accuracy[-1] == twin.task.accuracy(outputs.numpy(), batch)
    assert (state.validation_loss, state.validation_accuracy) == (
        chunk.validation_loss[-1],
        chunk.validation_accuracy[-1],
    )


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_what_is_recorded_of_clipping_fits_together(clip):
    experiment = small(
        clip=clip, clip_threshold=0.85 if clip == "norm" else 0.3, precision="float64", steps=40
    )
    _, chunk = whole(experiment)
    over = chunk.norm_before > chunk.threshold
    assert 0 < over.sum() < 40
    assert chunk.clipped == over.sum()
    np.testing.assert_allclose(chunk.norm_after[over], chunk.threshold[over], rtol=1e-5)
    assert (chunk.norm_after[over] <= chunk.threshold[over]).all()
    assert np.array_equal(chunk.norm_after[~over], chunk.norm_before[~over])


def test_the_limit_of_autoclip_is_the_percentile_of_the_norms_on_record():
    _, chunk = whole(small(clip="autoclip", clip_threshold=1e-6, steps=40))
    for s in range(40):
        expected = np.percentile(chunk.norm_before[: s + 1], 10)
        assert chunk.threshold[s] == pytest.approx(expected, rel=1e-14)
    over = chunk.norm_before > chunk.threshold
    assert chunk.clipped == over.sum() > 20
    np.testing.assert_allclose(chunk.norm_after[over], chunk.threshold[over], rtol=1e-5)
    assert np.array_equal(chunk.norm_after[~over], chunk.norm_before[~over])


def test_zclip_watches_25_steps_and_cuts_what_stands_out():
    _, chunk = whole(RUNS["zclip"])
    assert np.isnan(chunk.threshold).tolist() == [True] * 25 + [False] * (len(chunk) - 25)
    over = chunk.norm_before > chunk.threshold
    assert 0 < chunk.clipped == over.sum() < 20
    np.testing.assert_allclose(chunk.norm_after[over], chunk.threshold[over], rtol=1e-5)
    assert np.array_equal(chunk.norm_after[~over], chunk.norm_before[~over])


def test_agc_has_a_limit_for_each_row_and_tells_none():
    _, chunk = whole(small(clip="agc", clip_threshold=0.02))
    assert np.isnan(chunk.threshold).all()
    assert 0 < chunk.clipped <= 25
    assert (chunk.norm_after < chunk.norm_before).sum() == chunk.clipped
    assert (chunk.norm_after <= chunk.norm_before).all()


@pytest.mark.parametrize("clip", CLIPPINGS)
def test_clipping_is_the_same_by_either_kernel(clip):
    experiment = small(
        clip=clip, clip_threshold=0.02, optimizer="sgd", learning_rate=0.5, steps=60, precision="float64"
    )
    chunks = [advance(begin(experiment, kernel=kernel)) for kernel in ("compiled", "torch")]
    assert chunks[0].clipped == chunks[1].clipped
    assert (chunks[0].clipped > 0) == (clip != "none")
    for name in ("loss", "norm_before", "norm_after", "threshold", "update_norm"):
        one, other = (getattr(chunk, name) for chunk in chunks)
        np.testing.assert_allclose(one, other, rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("clip", ["autoclip", "zclip"])
def test_a_rule_that_comes_into_force_remembers_nothing(clip):
    """Neither what another rule has seen nor the norms of other parameters."""
    changes = [
        {"step": 10, "field": "clip", "value": "norm"},
        {"step": 20, "field": "clip", "value": clip},
        {"step": 30, "field": "learning_rate", "value": 0.02},
        {"step": 50, "field": "clip_scope", "value": "recurrent"},
    ]
    _, chunk = whole(small(clip=clip, steps=80, changes=changes))
    assert (chunk.threshold[10:20] == 1.0).all()
    for start, end in ((0, 10), (20, 50), (50, 80)):
        limit, norm = chunk.threshold[start:end], chunk.norm_before[start:end]
        if clip == "autoclip":
            expected = [np.percentile(norm[: k + 1], 10) for k in range(len(norm))]
            np.testing.assert_allclose(limit, expected, rtol=1e-14)
        else:
            assert np.isnan(limit).tolist() == [k < 25 for k in range(len(norm))]


def test_without_clipping_there_is_no_threshold():
    _, chunk = whole(small(clip="none", clip_threshold=1e-6))
    assert np.isnan(chunk.threshold).all()
    assert chunk.clipped == 0
    assert np.array_equal(chunk.norm_after, chunk.norm_before)


@pytest.mark.parametrize("cell", CELLS)
def test_the_groups_of_the_gradient_make_up_the_whole(cell):
    """Before clipping, whatever the clip does: with the scope of all they join to what it measured."""
    _, chunk = whole(small(cell=cell, clip_threshold=1e-3, steps=5))
    assert chunk.clipped == 5
    np.testing.assert_allclose(np.linalg.norm(chunk.grad_norms, axis=1), chunk.norm_before, rtol=1e-6)
    assert (chunk.grad_norms > 0).all()
    groups = Network(small(cell=cell)).layout.groups
    assert tuple(groups) == GROUPS


@pytest.mark.parametrize("scope", ["recurrent", "not_output"])
def test_groups_are_those_of_the_clip_scopes(scope):
    _, chunk = whole(small(clip_scope=scope, steps=5))
    inside = chunk.grad_norms[:, : {"recurrent": 1, "not_output": 2}[scope]]
    np.testing.assert_allclose(np.linalg.norm(inside, axis=1), chunk.norm_before, rtol=1e-6)


def test_the_size_of_an_update_is_what_the_weights_change():
    state = begin(small())
    for _ in range(5):
        before = state.network.flat.double()
        chunk = advance(state, steps=1)
        assert chunk.weight_norm[0] == pytest.approx(float(before.norm()), rel=1e-12)
        assert chunk.update_norm[0] == pytest.approx(float((state.network.flat - before).norm()), rel=1e-12)


def test_norms_of_tiny_numbers_do_not_underflow_when_squared():
    state = begin(small(clip="none"))
    state.network.flat.mul_(1e-30)
    chunk = advance(state, steps=1)
    assert chunk.weight_norm[0] == pytest.approx(float(begin(small()).network.flat.double().norm()) * 1e-30)


# The same bytes again


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_experiment_gives_the_same_bytes(cell, optimizer):
    experiment = small(cell=cell, optimizer=optimizer, steps=12)
    (one, first), (two, second) = whole(experiment), whole(Experiment.from_json(experiment.to_json()))
    assert arrays_of(first) == arrays_of(second)
    assert weights_of(one) == weights_of(two)
    assert standing_of(one) == standing_of(two)


def test_threads_outside_do_not_change_the_bytes():
    experiment = small(hidden=40, batch=64, steps=4)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            state, chunk = whole(experiment)
            assert torch.get_num_threads() == threads
            results.append((arrays_of(chunk), weights_of(state)))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


def test_a_step_runs_on_one_thread_and_the_count_is_restored_after_a_failure(monkeypatch):
    seen = []

    def fail(*_):
        seen.append(torch.get_num_threads())
        raise KeyError("no batch")

    monkeypatch.setattr(type(TASKS["digits_rows"]), "training_batch", fail)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyError):
            whole(small())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


RUNS = {
    "adam": small(cell="lstm"),
    "momentum": small(optimizer="momentum", clip_threshold=0.3),
    "rmsprop": small(cell="lstm_peephole", optimizer="rmsprop", clip="value", clip_threshold=0.02),
    "changes": small(
        changes=[
            {"step": 9, "field": "clip", "value": "none"},
            {"step": 4, "field": "learning_rate", "value": 0.1},
            {"step": 17, "field": "clip", "value": "value"},
        ]
    ),
    "adding": small(task="adding", length=8),
    "pool": small(task="temporal_order", length=10, train_size=10),
    "agc": small(clip="agc", clip_threshold=0.01),
    "autoclip": small(clip="autoclip", optimizer="sgd", learning_rate=0.1),
    "zclip": small(cell="lstm", clip="zclip", optimizer="sgd", learning_rate=0.5, steps=60, seed=2),
    "rules": small(
        clip="zclip",
        steps=48,
        changes=[
            {"step": 5, "field": "clip", "value": "autoclip"},
            {"step": 12, "field": "clip", "value": "zclip"},
            {"step": 40, "field": "clip_scope", "value": "recurrent"},
        ],
    ),
}


@cache
def unbroken(name: str) -> tuple[State, Chunk]:
    return whole(RUNS[name])


@pytest.mark.parametrize("name", RUNS)
@given(st.lists(st.integers(0, 16), max_size=6), st.booleans())
@settings(max_examples=5)
def test_stopping_anywhere_and_going_on_gives_the_same_bytes(name, stops, copied):
    state, chunks = begin(RUNS[name]), []
    for steps in stops:
        chunks.append(advance(state, steps=steps))
        if copied:  # the state is all there is
            state = pickle.loads(pickle.dumps(state))
    chunks.append(advance(state))
    reference, chunk = unbroken(name)
    assert arrays_of(concatenate(chunks)) == arrays_of(chunk)
    assert weights_of(state) == weights_of(reference)
    assert standing_of(state) == standing_of(reference)
    assert state.done


@pytest.mark.parametrize("name", RUNS)
def test_chunks_of_any_length_in_time_add_up_to_the_run(name):
    chunks = list(train(RUNS[name], chunk_seconds=0.0))
    steps = RUNS[name].steps
    assert [len(c) for c in chunks] == [1] * steps
    assert [c.next_step for c in chunks] == list(range(1, steps + 1))
    assert arrays_of(concatenate(chunks)) == arrays_of(unbroken(name)[1])


def test_a_long_chunk_holds_the_whole_run():
    (chunk,) = train(small(), chunk_seconds=1000.0)
    assert len(chunk) == 25


def test_seconds_and_steps_may_both_be_given():
    state = begin(small())
    assert len(advance(state, seconds=1000.0, steps=3)) == 3
    assert len(advance(state, seconds=0.0, steps=3)) == 1
    assert state.step == 4
    assert len(advance(state, steps=1000)) == 21
    assert state.done


def test_a_run_may_begin_from_given_parameters():
    source, _ = whole(small())
    flat = source.network.flat.clone()
    state = begin(small(), flat)
    assert state.network.flat is flat
    assert advance(state, steps=1).validation_loss[0] == source.validation_loss
    assert not torch.equal(flat, source.network.flat)


def test_a_copied_state_is_on_its_own():
    state = begin(small())
    advance(state, steps=5)
    twin = copy.deepcopy(state)
    advance(twin)
    assert state.step == 5
    advance(state)
    assert weights_of(state) == weights_of(twin)


def test_a_finished_run_records_nothing_more():
    state, _ = whole(small(cell="lstm"))
    assert state.done
    before = weights_of(state)
    chunk = advance(state)
    assert len(chunk) == len(chunk.validation_step) == 0
    assert chunk.next_step == 25
    assert weights_of(state) == before
    assert len(concatenate([unbroken("adam")[1], chunk])) == 25


def test_no_chunks_cannot_be_joined():
    with pytest.raises(ValueError, match="got no chunks; at least one"):
        concatenate([])


# Seeds and batches


def test_batches_come_from_the_seed_and_the_step(monkeypatch):
    asked = []
    real = type(TASKS["adding"]).training_batch

    def spy(task, *arguments):
        asked.append(arguments)
        return real(task, *arguments)

    monkeypatch.setattr(type(TASKS["adding"]), "training_batch", spy)
    state = begin(small(task="adding", length=9, seed=5, steps=4, batch=2))
    advance(state, steps=2)
    advance(state)
    assert asked == [(5, step, 9, 2, 0) for step in range(4)]


def test_seeds_see_other_batches_and_other_weights():
    """With weights of zero the loss of the adding task is a matter of the batch alone."""
    losses = [whole(small(task="adding", length=9, initialization="zero", seed=s))[1].loss for s in (0, 1, 2)]
    assert len({loss.tobytes() for loss in losses}) == 3
    assert len({loss[0] for loss in losses}) == 3
    assert len(set(losses[0].tolist())) == 25, "and every step sees another batch"
    assert len({whole(small(seed=s, steps=1))[0].network.flat.numpy().tobytes() for s in (0, 1, 2)}) == 3


# Changes in mid-run

CHANGES = [
    ("learning_rate", 0.2), ("clip", "none"), ("clip", "value"), ("clip", "autoclip"), ("clip", "zclip"),
    ("clip_threshold", 0.01), ("clip_scope", "recurrent"),
]  # fmt: skip


def test_every_changeable_field_is_tried_here():
    assert {name for name, _ in CHANGES} == set(CHANGEABLE)


@pytest.mark.parametrize(("field", "value"), CHANGES)
@pytest.mark.parametrize("step", [0, 1, 10, 24])
def test_a_change_on_the_fly_is_the_change_listed_beforehand(field, value, step):
    listed = small(clip_threshold=0.2, changes=[{"step": step, "field": field, "value": value}])
    planned, expected = whole(listed)
    state = begin(small(clip_threshold=0.2))
    first = advance(state, steps=step)
    state.change(field, value)
    assert state.values[field] == value
    got = concatenate([first, advance(state)])
    assert arrays_of(got) == arrays_of(expected)
    assert weights_of(state) == weights_of(planned)
    assert state.experiment == listed

    # In force from its step, not before.
    plain, unchanged = whole(small(clip_threshold=0.2))
    assert got.loss[: step + 1].tobytes() == unchanged.loss[: step + 1].tobytes()
    assert weights_of(state) != weights_of(plain)
    if field == "learning_rate":
        assert got.learning_rate.tolist() == [listed.learning_rate] * step + [0.2] * (25 - step)
    if field == "clip_threshold":
        assert got.threshold.tolist() == [0.2] * step + [0.01] * (25 - step)


def test_a_change_on_the_fly_does_not_undo_one_that_is_listed_for_later():
    later = {"step": 15, "field": "learning_rate", "value": 0.3}
    state = begin(small(changes=[later]))
    first = advance(state, steps=5)
    state.change("learning_rate", 0.1)
    chunk = concatenate([first, advance(state)])
    assert chunk.learning_rate.tolist() == [small().learning_rate] * 5 + [0.1] * 10 + [0.3] * 10
    assert [c.step for c in state.experiment.changes] == [5, 15]


def test_of_two_changes_at_one_step_the_last_counts():
    state = begin(small())
    advance(state, steps=5)
    state.change("learning_rate", 0.1)
    state.change("learning_rate", 0.2)
    assert advance(state).learning_rate.tolist() == [0.2] * 20


def test_a_wrong_change_is_refused_and_nothing_changes():
    state = begin(small())
    advance(state, steps=3)
    before = (state.experiment, dict(state.values))
    with pytest.raises(
        ValueError, match=r"learning_rate at step 3: got -1\.0; allowed: a number above 0 to 100"
    ):
        state.change("learning_rate", -1.0)
    with pytest.raises(ValueError, match="changes"):
        state.change("hidden", 8)
    assert (state.experiment, state.values) == before


# Divergence


def assert_diverged(state: State, chunk: Chunk, what: str) -> None:
    """What every diverged run has to keep."""
    assert state.done
    assert state.diverged_at == state.step == chunk.next_step == chunk.step[-1]
    verb = "are" if what == "weights" else "is"
    assert state.divergence == f"The {what} {verb} no longer finite at step {state.step}."
    assert torch.isfinite(state.network.flat).all()
    assert len(chunk) == state.step + 1  # every step before, and the one that went wrong
    assert np.isfinite(chunk.loss[:-1]).all()
    assert np.isfinite(chunk.norm_before[:-1]).all()
    with pytest.raises(DivergedError, match=f"diverged at step {state.step} and cannot go on"):
        advance(state)
    assert chunk.step.tolist() == list(range(state.step + 1))
    assert np.isnan(chunk.update_norm[-1])
    assert np.isfinite(chunk.update_norm[:-1]).all()


EXPLODING = {
    "task": "digits", "cell": "relu", "hidden": 8, "initialization": "scaled_identity", "gain": 1.1,
    "optimizer": "sgd", "learning_rate": 1e-3, "clip": "none", "seed": 53,
    "changes": [{"step": 10, "field": "learning_rate", "value": 1.0}],
}  # fmt: skip


def test_an_exploding_run_ends_as_diverged_and_keeps_everything_before():
    state, chunk = whole(small(**EXPLODING))
    assert state.step == 14
    assert_diverged(state, chunk, "loss")
    calm = begin(small(**{**EXPLODING, "changes": []}))
    assert chunk.loss[:11].tobytes() == advance(calm).loss[:11].tobytes()
    assert calm.diverged_at is None
    assert chunk.validation_step.tolist() == [0, 10]
    # Chunks and a copy of the run change nothing about that.
    pieces = list(train(small(**EXPLODING), chunk_seconds=0.0))
    assert arrays_of(concatenate(pieces)) == arrays_of(chunk)


def test_clipping_saves_the_same_run():
    state, chunk = whole(small(**{**EXPLODING, "clip": "norm", "clip_threshold": 1e-4}))
    assert state.diverged_at is None
    assert np.isfinite(chunk.loss).all()


def set_up(cell: str, recurrent: float, **values) -> State:
    """A digit-by-pixel network that stays silent (h = 0, loss ln 10) but passes gradients back 63 steps."""
    state = begin(small(task="digits", cell=cell, hidden=1, **values))
    state.network.flat.zero_()
    state.network.parameters["rnn.weight_hh_l0"].fill_(recurrent)
    state.network.parameters["out.weight"][0] = 1.0
    return state


def test_a_loss_that_is_no_number_is_the_end():
    state = set_up("linear", 1.0)
    state.network.parameters["out.bias"][0] = math.nan
    before = state.network.flat.clone()
    chunk = advance(state)
    assert state.divergence == "The loss is no longer finite at step 0."
    assert np.isnan(chunk.loss[-1])
    assert torch.equal(state.network.flat.nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize("clip", [name for name, rule in CLIPPINGS.items() if not rule.inside])
def test_a_gradient_that_leaves_the_finite_numbers_is_the_end(clip):
    state = set_up("linear", 10.0, clip=clip)  # 10^63 is past float32's range
    before = state.network.flat.clone()
    chunk = advance(state)
    assert chunk.loss[0] == pytest.approx(math.log(10))
    assert not np.isfinite(chunk.norm_before[0])
    assert_diverged(state, chunk, "gradient")
    assert torch.equal(state.network.flat, before)


@pytest.mark.parametrize(
    "clip", [rule.name for rule in CLIPPINGS.values() if not (rule.by_element or rule.inside)]
)
def test_a_norm_that_leaves_the_finite_numbers_is_the_end_though_no_element_does(clip):
    state = set_up(
        "linear", 10**3.5, precision="float64", clip=clip
    )  # elements of 1e220: their squares overflow
    chunk = advance(state)
    assert chunk.norm_before[0] == math.inf
    assert np.isfinite(chunk.grad_hidden[0, 0, 0, -1])
    assert_diverged(state, chunk, "gradient")


def test_weights_that_leave_the_finite_numbers_are_put_back():
    state = set_up("linear", 10 ** (38 / 63), clip="none", optimizer="sgd", learning_rate=100.0)
    before = state.network.flat.clone()
    chunk = advance(state)
    assert np.isfinite(chunk.norm_before[0])
    assert_diverged(state, chunk, "weights")
    assert torch.equal(state.network.flat, before)


def test_a_gradient_norm_past_single_precision_is_recorded_as_infinite_without_a_warning(recwarn):
    state = set_up("linear", 10.0, clip="none")
    chunk = advance(state)
    assert chunk.grad_hidden[0, 0, 0, 0] == math.inf
    assert np.isfinite(chunk.grad_hidden[0, 0, 0, -1])
    assert [str(w.message) for w in recwarn] == []


# Validation


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [0, 1]), (9, [0, 9]), (10, [0, 10]), (11, [0, 10, 11]), (25, [0, 10, 20, 25]),
        (30, [0, 10, 20, 30]),
        (500, [*range(0, 500, 12), 500]), (1000, list(range(0, 1001, 25))),
        (1049, [*range(0, 1049, 26), 1049]),
    ],
)  # fmt: skip
def test_validation_comes_first_at_regular_steps_and_last(steps, expected, monkeypatch):
    real = Network.evaluate

    def cut(batch, count):
        return Batch(batch.inputs[:, :count], batch.targets[:count], batch.marks[:count])

    monkeypatch.setattr(type(TASKS["digits_rows"]), "accuracy", lambda *_: 0.0)
    monkeypatch.setattr(
        Network, "evaluate", lambda self, batch, traced: real(self, cut(batch, traced), traced)
    )
    state = begin(small(cell="tanh", hidden=1, batch=100, steps=steps))
    chunk = advance(state)
    assert chunk.validation_step.tolist() == expected
    assert state.validated == steps


@given(st.integers(1, 1_000_000), st.integers(1, 1024))
def test_a_run_is_validated_ten_to_forty_times_and_no_more_often_than_every_ten_steps(steps, batch):
    interval = validation_interval(steps, batch)
    assert interval >= 10
    assert steps // interval <= 49
    assert steps < 100 or steps // interval >= 10
    if steps >= 400 and batch * (steps // 40) >= 1000:
        assert steps // interval >= 40
    if steps // interval > 10:  # small batches: as many sequences to learn from as to be validated on
        assert interval * batch > 1000 - batch or interval == 10


def test_validation_sees_the_held_out_sequences():
    state, chunk = whole(small())
    network, batch = state.network, TASKS["digits_rows"].validation_batch(8)
    seen = network.evaluate(batch)
    assert chunk.validation_loss[-1] == state.validation_loss == pytest.approx(seen.loss, rel=1e-6)
    assert state.validation_accuracy == TASKS["digits_rows"].accuracy(seen.outputs, batch)
    first = begin(small()).network.evaluate(batch)
    assert chunk.validation_loss[0] == pytest.approx(first.loss, rel=1e-6)
    assert state.train_loss == chunk.loss[-1]


def test_a_task_without_accuracy_is_recorded_as_nan(monkeypatch):
    monkeypatch.setattr(type(TASKS["digits_rows"]), "accuracy", lambda *_: None)
    state, chunk = whole(small())
    assert np.isnan(chunk.validation_accuracy).all()
    assert state.validation_accuracy is None
    assert state.solved_at is None


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_run_is_solved_at_the_first_validation_that_meets_the_criterion(metric, monkeypatch):
    experiment = small(hidden=12, batch=16, steps=80, learning_rate=0.02)
    _, chunk = whole(experiment)
    column = chunk.validation_loss if metric == "loss" else chunk.validation_accuracy
    # A criterion that is met in mid-run: just what the fourth validation reached.
    criterion = (
        Solved("loss", column[3] + 1e-9, "") if metric == "loss" else Solved("accuracy", column[3], "")
    )
    monkeypatch.setattr(TASKS["digits_rows"], "solved", criterion)
    state, again = whole(experiment)
    meets = [
        criterion.met(*pair) for pair in zip(again.validation_loss, again.validation_accuracy, strict=True)
    ]
    assert 0 < meets.index(True) <= 3
    assert state.solved_at == again.validation_step[meets.index(True)]
    assert sum(meets) > 1, "a later validation must not move it"
    assert state.step == 80, "and the run goes on"
    assert arrays_of(again) == arrays_of(chunk)


def test_a_run_that_never_meets_the_criterion_is_not_solved():
    state, chunk = whole(small())
    assert chunk.validation_accuracy.max() < 0.95
    assert state.solved_at is None


@pytest.mark.parametrize("task", ["digits_rows", "copying"])
def test_a_look_keeps_the_answer_to_the_first_sequence(task):
    values = {"length": 2} if task == "copying" else {}
    state, chunk = whole(small(task=task, **values))
    batch = TASKS[task].validation_batch(state.experiment.length)
    outputs = state.network.evaluate(batch, PROBES).outputs
    shape = (22, 9) if task == "copying" else (10,)
    assert chunk.prediction.shape == (4, math.prod(shape))
    assert np.array_equal(chunk.prediction[-1].reshape(shape), outputs[..., 0, :])
    assert not np.array_equal(chunk.prediction[0], chunk.prediction[-1])


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_look_sees_is_what_the_analysis_finds(cell):
    """Saturated gates, dead units and the spectrum, from the tape of a pass of its own."""
    state, chunk = whole(small(cell=cell, precision="float64", optimizer="sgd", learning_rate=2.0))
    network = state.network
    assert chunk.spectrum.shape == (4, 1, 1, len(network.cell.gates) + 1, 2)
    inputs, _ = network.tensors(TASKS["digits_rows"].validation_batch(8))
    steps = list(unroll(network.cell, network.weights(), inputs[:, :32]))
    flat = [
        (now[gate] < 0.1) | (now[gate] > 0.9) if kind == "sigmoid" else now[gate].abs() > 0.9
        for now in steps
        for gate, kind in zip(network.cell.gates, network.cell.activations, strict=True)
        if kind in ("sigmoid", "tanh")
    ]
    share = float(torch.stack(flat).double().mean()) if flat else math.nan
    np.testing.assert_allclose(chunk.saturated[-1], share, rtol=1e-12)
    hidden = torch.stack([now["h"] for now in steps]).flatten(0, 1)
    moved = hidden.amax(0) - hidden.amin(0)
    assert chunk.dead[-1] == float((moved < 1e-6).double().mean())
    for k, block in enumerate(network.weights()["weight_hh"].split(4)):
        radius, size = np.abs(np.linalg.eigvals(block)).max(), np.linalg.norm(block, 2)
        np.testing.assert_allclose(chunk.spectrum[-1, 0, 0, k], (radius, size), rtol=1e-3)


def test_looks_do_not_touch_the_run(monkeypatch):
    """The same losses and weights without them."""
    state, chunk = whole(small(cell="lstm"))
    monkeypatch.setattr("rnnviz.training.activity", lambda *_: (math.nan, math.nan))
    blind, unseen = whole(small(cell="lstm"))
    assert np.isnan(unseen.dead).all()
    assert weights_of(blind) == weights_of(state)
    for name in ("loss", "validation_loss", "grad_hidden", "update_norm", "prediction"):
        assert getattr(unseen, name).tobytes() == getattr(chunk, name).tobytes()


def test_large_states_have_no_spectrum():
    chunk = advance(begin(small(cell="lstm", hidden=129)), steps=1)
    assert np.isnan(chunk.spectrum).all()
    assert chunk.spectrum.shape == (1, 1, 1, 5, 2)
    assert np.isfinite(advance(begin(small(cell="lstm", hidden=128)), steps=1).spectrum).all()


# Until it is solved


def solving(**values) -> Experiment:
    return small(hidden=12, batch=16, steps=80, learning_rate=0.02, **values)


def test_a_run_until_it_is_solved_ends_at_the_validation_that_meets_the_criterion(monkeypatch):
    _, chunk = whole(solving())
    monkeypatch.setattr(TASKS["digits_rows"], "solved", Solved("accuracy", chunk.validation_accuracy[3], ""))
    state, short = whole(solving(until="solved"))
    meets = chunk.validation_accuracy >= chunk.validation_accuracy[3]
    end = chunk.validation_step[meets][0]
    assert state.done
    assert state.solved_at == state.step == state.validated == short.next_step == end <= 30
    assert short.loss.tobytes() == chunk.loss[:end].tobytes()
    assert short.validation_step.tolist() == list(range(0, end + 1, 10))
    assert len(advance(state)) == 0, "and it stays there"
    pieces = list(train(solving(until="solved"), chunk_seconds=0.0))
    assert arrays_of(concatenate(pieces)) == arrays_of(short)


def test_a_run_that_is_solved_before_its_first_step_makes_none(monkeypatch):
    monkeypatch.setattr(TASKS["digits_rows"], "solved", Solved("loss", 1e9, ""))
    state, chunk = whole(solving(until="solved"))
    assert (state.done, state.step, len(chunk)) == (True, 0, 0)
    assert chunk.validation_step.tolist() == [0]


def test_until_it_is_solved_is_no_longer_than_its_steps():
    experiment = small(until="solved")
    state, chunk = whole(experiment)
    assert (state.done, state.step, state.solved_at) == (True, 25, None)
    assert arrays_of(chunk) == arrays_of(unbroken_plain())


@cache
def unbroken_plain() -> Chunk:
    return whole(small())[1]


# Few training sequences


@pytest.mark.parametrize("task", ["digits_rows", "adding"])
def test_a_run_with_a_pool_learns_from_it_alone(task, monkeypatch):
    seen: set[bytes] = set()
    real = Network.loss_and_gradient

    def spy(network, batch, *rest):
        seen.update(batch.inputs[:, i].tobytes() for i in range(batch.inputs.shape[1]))
        return real(network, batch, *rest)

    monkeypatch.setattr(Network, "loss_and_gradient", spy)
    whole(small(task=task, train_size=7))
    assert len(seen) == 7


# What a chunk is


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_are_recorded_in_the_precision_of_the_run(precision, cell):
    _, chunk = whole(small(precision=precision, cell=cell))
    assert chunk.grad_hidden.dtype == chunk.grad_cell_state.dtype == precision
    assert chunk.grad_hidden.shape == (25, 1, 1, 8)
    assert chunk.grad_cell_state.shape == (25, 1, 1, 8 if cell == "lstm" else 0)
    assert chunk.step.dtype == chunk.validation_step.dtype == np.int64
    assert chunk.prediction.dtype == precision
    assert (chunk.grad_norms.shape, chunk.prediction.shape) == ((25, 3), (4, 10))
    new = ("grad_norms", "update_norm", "weight_norm", "saturated", "dead", "spectrum")
    assert {getattr(chunk, name).dtype for name in new} == {np.dtype("f8")}
    assert {chunk.arrays()[n].dtype for n in ("loss", "norm_before", "norm_after", "threshold")} == {
        np.dtype("f8")
    }


def test_double_precision_shows_gradients_that_single_loses():
    """0.01 to the power of 63: an answer in float64, zero in float32."""
    norms = {}
    for precision in ("float32", "float64"):
        chunk = advance(set_up("linear", 0.01, precision=precision), steps=1)
        norms[precision] = chunk.grad_hidden[0, 0, 0, 0]
    assert norms["float32"] == 0.0
    assert 0.0 < norms["float64"] == pytest.approx(0.01**63, rel=1.0)


def test_small_norms_in_single_precision_do_not_underflow_when_squared():
    chunk = advance(set_up("linear", 10 ** (-35 / 63)), steps=1)
    assert chunk.grad_hidden[0, 0, 0, 0] == pytest.approx(1e-35, rel=0.99)


def test_arrays_of_a_chunk_are_all_but_its_counters():
    _, chunk = whole(small())
    names = set(vars(chunk)) - {"next_step", "clipped"}
    assert set(chunk.arrays()) == names
    assert all(isinstance(a, np.ndarray) for a in chunk.arrays().values())


def test_a_run_under_way_is_not_done():
    state = begin(small())
    assert not state.done
    assert state.validated == -1
    advance(state, steps=24)
    assert not state.done
    advance(state, steps=1)
    assert state.done


def test_a_process_that_computes_with_fewer_bits_makes_the_same_run():
    reference = begin(small())
    advance(reference)
    torch.set_float32_matmul_precision("medium")
    try:
        state = begin(small())
        advance(state)
        assert torch.get_float32_matmul_precision() == "medium", "and keeps its setting"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert weights_of(state) == weights_of(reference)


# Truncated backpropagation


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_truncated_run_learns_from_the_truncated_gradient_and_records_the_whole_one(kernel):
    experiment = small(task="copying", length=3, cell="tanh", precision="float64", steps=6, clip="none")
    cut = experiment.changed(truncate=4, truncate_every=2, optimizer="sgd")
    state = begin(cut, kernel=kernel)
    for _ in range(3):
        before = state.network.flat.clone()
        batch = TASKS["copying"].training_batch(0, state.step, 3, cut.batch)
        used = state.network.loss_and_gradient(batch, (), (2, 4))
        chunk = advance(state, steps=1)
        torch.testing.assert_close(state.network.flat, before - cut.learning_rate * used.grad)
        assert chunk.norm_before[0] == pytest.approx(float(used.grad.norm()), rel=1e-12)
        assert chunk.full_norm[0] == pytest.approx(float(used.full.norm()), rel=1e-12)
        cosine = float(torch.nn.functional.cosine_similarity(used.full, used.grad, dim=0))
        assert chunk.full_cosine[0] == pytest.approx(cosine, rel=1e-12)
        assert 0 < cosine < 1
        norms = used.tape.grad_norms("h") * cut.batch
        np.testing.assert_allclose(chunk.grad_hidden[0], norms, rtol=1e-12)


def test_without_truncation_there_is_no_other_gradient():
    _, chunk = whole(small())
    assert np.isnan(chunk.full_norm).all()
    assert np.isnan(chunk.full_cosine).all()


def test_truncation_to_the_whole_sequence_changes_nothing():
    experiment = small(precision="float64")
    plain, cut = (whole(e)[1] for e in (experiment, experiment.changed(truncate=8)))
    np.testing.assert_allclose(cut.loss, plain.loss, rtol=1e-9)
    np.testing.assert_allclose(cut.full_cosine, 1.0, rtol=1e-12)
