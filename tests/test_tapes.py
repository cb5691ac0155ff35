"""A user's own model: what is recorded against each sequence computed on its own, in float64."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnnviz
from rnnviz import record

I, H, T, B = 3, 4, 6, 5  # noqa: E741
LENGTHS = torch.tensor([4, 6, 1, 6, 3])  # neither sorted nor all different
KINDS = {"tanh": nn.RNN, "relu": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def made(kind: str, **options) -> Any:
    torch.manual_seed(3)
    if kind in ("tanh", "relu"):
        options["nonlinearity"] = kind
    return KINDS[kind](I, H, dtype=torch.float64, **options)


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Reference:
    """One sequence at a time, from the formulas of PyTorch's documentation."""

    def __init__(self, module: Any, kind: str) -> None:
        self.module, self.kind = module, kind
        self.L, self.D = module.num_layers, 2 if module.bidirectional else 1
        self.states: list[dict] = []  # of each sequence, {(layer, direction, t): (h, c, gates)}

    def weight(self, name: str, end: str) -> Any:
        return getattr(self.module, name + end) if hasattr(self.module, name + end) else 0.0

    def step(self, end: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        a = self.weight("weight_ih", end) @ x + self.weight("bias_ih", end)
        b = self.weight("weight_hh", end) @ h + self.weight("bias_hh", end)
        if self.kind in ("tanh", "relu"):
            h = torch.tanh(a + b) if self.kind == "tanh" else torch.relu(a + b)
            return h, c, (h,)
        if self.kind == "gru":
            (a_r, a_z, a_n), (b_r, b_z, b_n) = a.chunk(3), b.chunk(3)
            r, z = torch.sigmoid(a_r + b_r), torch.sigmoid(a_z + b_z)
            n = torch.tanh(a_n + r * b_n)
            return (1 - z) * n + z * h, c, (r, z, n)
        i, f, g, o = (a + b).chunk(4)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * c + i * g
        h = o * torch.tanh(c)
        return (self.weight("weight_hr", end) @ h if self.module.proj_size else h), c, (i, f, g, o)

    def sequence(self, x: Tensor, h0: Tensor | None = None, c0: Tensor | None = None) -> Tensor:
        """(T, I) to (T, D*H)."""
        kept: dict = {}
        size = self.module.proj_size or H
        for layer in range(self.L):
            columns = []
            for d in range(self.D):
                end = f"_l{layer}{'_reverse' if d else ''}"
                k = layer * self.D + d
                h = torch.zeros(size, dtype=x.dtype) if h0 is None else h0[k]
                c = torch.zeros(H, dtype=x.dtype) if c0 is None else c0[k]
                column: list = [None] * len(x)
                for t in reversed(range(len(x))) if d else range(len(x)):
                    h, c, gates = self.step(end, x[t], h, c)
                    kept[layer, d, t] = (h, c, gates)
                    column[t] = h
                columns.append(torch.stack(column))
            x = torch.cat(columns, -1)
        self.states.append(kept)
        return x

    def tape(self, loss: Tensor, lengths: list[int]) -> dict[str, np.ndarray]:
        """(L, D, T, B, ...) of each quantity, 0 beyond the end of a sequence."""
        memory = self.kind == "lstm"
        result: dict[str, np.ndarray] = {}
        for b, kept in enumerate(self.states):
            for (layer, d, t), (h, c, gates) in kept.items():
                asked = (h, c) if memory else (h,)
                grads = torch.autograd.grad(loss, asked, retain_graph=True, allow_unused=True)
                names = ["hidden", "cell_state"][: len(asked)]
                for name, value, grad in zip(names, asked, grads, strict=True):
                    for key, number in ((name, value), (f"grad_{name}", grad)):
                        whole = result.setdefault(
                            key, np.zeros((self.L, self.D, max(lengths), len(lengths), len(value)))
                        )
                        if number is not None:
                            whole[layer, d, t, b] = number.detach()
                for k, gate in enumerate(gates):
                    whole = result.setdefault(
                        f"gate {k}", np.zeros((self.L, self.D, max(lengths), len(lengths), len(gate)))
                    )
                    whole[layer, d, t, b] = gate.detach()
        return result


def assert_same(tape, expected: dict[str, np.ndarray]) -> None:
    got = {"hidden": tape.hidden, "grad_hidden": tape.grad_hidden}
    if tape.cell_state is not None:
        got |= {"cell_state": tape.cell_state, "grad_cell_state": tape.grad_cell_state}
    got |= {f"gate {k}": values for k, values in enumerate(tape.gates.values())}
    assert set(got) == set(expected)
    for name, values in got.items():
        assert values.shape == expected[name].shape, name
        np.testing.assert_allclose(values, expected[name], rtol=1e-11, atol=1e-13, err_msg=name)


VARIANTS = [
    {}, {"num_layers": 3}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}, {"bias": False},
    {"num_layers": 2, "bidirectional": True, "bias": False},
]  # fmt: skip
PROJECTED = [{"proj_size": 2}, {"proj_size": 2, "num_layers": 2, "bidirectional": True}]


@pytest.mark.parametrize(
    ("kind", "options", "batch_first"),
    [
        *((kind, options, False) for kind in KINDS for options in VARIANTS),
        *(("lstm", options, batch_first) for options in PROJECTED for batch_first in (False, True)),
        *((kind, options, True) for kind in KINDS for options in (VARIANTS[0], VARIANTS[-1])),
    ],
)
def test_a_layer_is_recorded_as_each_sequence_alone(kind, options, batch_first):
    module = made(kind, batch_first=batch_first, **options)
    x = inputs(T, B, I)
    reference = Reference(module, kind)
    outputs = torch.stack([reference.sequence(x[:, b]) for b in range(B)], 1)
    read = inputs(*outputs.shape, seed=9)
    expected = reference.tape((outputs * read).sum() + outputs[-1].pow(2).sum(), [T] * B)

    def loss(output) -> Tensor:
        out = output[0].transpose(0, 1) if batch_first else output[0]
        return (out * read).sum() + out[-1].pow(2).sum()

    tapes = record(module, x.transpose(0, 1) if batch_first else x, loss=loss)
    assert list(tapes) == [""]
    assert_same(tapes[""], expected)
    assert tapes.loss == pytest.approx(
        loss(module(x.transpose(0, 1) if batch_first else x)).item(), rel=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(
    ("given", "is_sorted"),
    [(False, False), (True, False), (True, True)],
    ids=["from zero", "from given states", "from given states, sorted"],
)
def test_packed_sequences_are_recorded_to_their_own_ends(kind, options, given, is_sorted):
    module = made(kind, **options)
    lengths = LENGTHS.sort(descending=True).values if is_sorted else LENGTHS
    x = inputs(T, B, I)
    reference = Reference(module, kind)
    start = inputs(reference.L * reference.D, B, H, seed=5)
    memory = inputs(reference.L * reference.D, B, H, seed=6)
    for b, n in enumerate(lengths.tolist()):
        states = (start[:, b], memory[:, b]) if given else ()
        reference.sequence(x[:n, b], *states)
    last, read = reference.L - 1, inputs(T, B, reference.D * H, seed=9)
    total = torch.zeros((), dtype=torch.float64)
    for b, n in enumerate(lengths.tolist()):
        for t in range(n):
            out = torch.cat([reference.states[b][last, d, t][0] for d in range(reference.D)])
            total = total + (out * read[t, b]).sum()
        for d in range(reference.D):  # and the state at each sequence's own end
            for layer in range(reference.L):
                total = total + reference.states[b][layer, d, 0 if d else n - 1][0].pow(2).sum()
    expected = reference.tape(total, lengths.tolist())
    hx = (start, memory) if kind == "lstm" else start

    def loss(output) -> Tensor:
        padded, _ = pad_packed_sequence(output[0])
        h = output[1][0] if kind == "lstm" else output[1]
        return (padded * read).sum() + h.pow(2).sum()

    packed = pack_padded_sequence(x, lengths, enforce_sorted=is_sorted)
    arguments = (packed, hx) if given else (packed,)
    tapes = record(module, *arguments, loss=loss)
    assert_same(tapes[""], expected)
    assert tapes.loss == pytest.approx(loss(module(*arguments)).item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_what_a_model_gets_while_it_is_recorded_is_what_it_always_gets(kind, batch_first, batched):
    """Outputs, last states and their shapes, with and without a batch."""
    module = made(kind, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = inputs(B, T, I) if batched else inputs(T, I)
    h0 = inputs(4, T if batched and not batch_first else B, H) if batched else inputs(4, H)
    hx = (h0, h0 * 0.5) if kind == "lstm" else h0
    seen: list[Any] = []

    def loss(out: Any) -> Tensor:
        seen.append(out)
        return out[0].sum()

    record(module, x, hx, loss=loss)
    expected = module(x, hx)
    flat = lambda out: [out[0], *(out[1] if kind == "lstm" else [out[1]])]  # noqa: E731
    for one, other in zip(flat(seen[0]), flat(expected), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "single"), [("tanh", nn.RNNCell), ("lstm", nn.LSTMCell), ("gru", nn.GRUCell)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_cells_have_a_tape_for_each_call_and_one_joined_in_time(kind, single, bias):
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = single(I, H, bias=bias, dtype=torch.float64)

        def forward(self, x):
            state, hidden = None, []
            for step in x:
                state = self.cell(step, state)
                hidden.append(state[0] if kind == "lstm" else state)
            return torch.stack(hidden)

    model, x = Loop(), inputs(T, B, I)
    module = made(kind, bias=bias)
    module.load_state_dict({f"{name}_l0": w for name, w in model.cell.state_dict().items()})
    one = record(model, x, loss=lambda out: (out**3).sum())
    whole = record(module, x, loss=lambda out: (out[0] ** 3).sum())
    assert list(one) == ["cell"]
    assert len(one.calls["cell"]) == T
    assert one.calls["cell"][2].hidden.shape == (1, 1, 1, B, H)
    for name in ("hidden", "grad_hidden", "cell_state", "grad_cell_state"):
        got, expected = getattr(one["cell"], name), getattr(whole[""], name)
        if expected is None:
            assert got is None
        else:
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


def test_a_cell_without_a_batch():
    cell = nn.GRUCell(I, H, dtype=torch.float64)
    tapes = record(cell, inputs(I), loss=lambda h: h.sum())
    assert tapes[""].hidden.shape == (1, 1, 1, 1, H)
    torch.testing.assert_close(tapes[""].hidden.flatten(), cell(inputs(I)).detach())


class Pair(nn.Module):
    """An encoder and a decoder, whose cell is called with its own outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, I)
        self.encoder = nn.ModuleDict({"lstm": nn.LSTM(I, H, 2, dropout=0.5, batch_first=True)})
        self.norm = nn.BatchNorm1d(H)
        self.decoder = nn.GRU(H, H)
        self.unused = nn.RNN(2, 2)
        self.out = nn.Linear(H, 7)

    def forward(self, symbols, steps: int = 3):
        _, (h, _) = self.encoder["lstm"](self.embed(symbols))
        x, state, outputs = self.norm(h[-1])[None], None, []
        for _ in range(steps):
            x, state = self.decoder(x, state)
            outputs.append(self.out(x[0]))
        return torch.stack(outputs)


def numpy_state() -> list[int]:
    state: Any = np.random.get_state()
    return state[1].tolist()


SYMBOLS = torch.randint(0, 7, (B, T), generator=torch.Generator().manual_seed(1))


def test_modules_are_found_by_their_paths():
    tapes = record(Pair(), SYMBOLS, loss=lambda out: out.logsumexp(-1).mean(), steps=4)
    assert list(tapes) == ["encoder.lstm", "decoder"]
    assert len(tapes) == 2
    assert [len(calls) for calls in tapes.calls.values()] == [1, 4]
    assert tapes["encoder.lstm"].hidden.shape == (2, 1, T, B, H)
    assert tapes["decoder"].hidden.shape == (1, 1, 4, B, H)
    with pytest.raises(KeyError, match=r"'unused' was not called; recorded: 'encoder.lstm', 'decoder'."):
        tapes["unused"]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    """Weights, gradients, buffers, mode, hooks and every source of random numbers."""
    torch.manual_seed(0)
    model = Pair().train(training)
    model(SYMBOLS).sum().backward()
    seen = []
    model.decoder.register_forward_hook(lambda *_: seen.append(1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    numbers = torch.get_rng_state(), random.getstate(), numpy_state()
    methods = nn.LSTM.forward, nn.GRU.forward, nn.GRUCell.forward

    def loss(out: Tensor) -> Tensor:
        random.random(), np.random.rand(), torch.rand(1)
        return out.square().mean()

    first, again = (record(model, SYMBOLS, loss=loss) for _ in range(2))
    assert first.loss == again.loss, "the same random numbers each time"
    with torch.random.fork_rng():
        assert first.loss == pytest.approx(float(model(SYMBOLS).square().mean()), rel=1e-5)
    assert seen == [1] * 9, "hooks see the calls"
    model.norm.load_state_dict(
        {n.removeprefix("norm."): v for n, v in state.items() if n.startswith("norm.")}
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for name, p in model.named_parameters():
        assert (p.grad is None and grads[name] is None) or torch.equal(p.grad, grads[name])
        assert p.requires_grad
    assert model.training is training
    assert torch.equal(torch.get_rng_state(), numbers[0])
    assert (random.getstate(), numpy_state()) == numbers[1:]
    assert (nn.LSTM.forward, nn.GRU.forward, nn.GRUCell.forward) == methods


def test_buffers_are_put_back_and_a_failure_leaves_nothing_behind():
    model = Pair()
    before, method = model.norm.running_mean.clone(), nn.GRU.forward

    def fail(_):
        raise KeyError("no loss")

    with pytest.raises(KeyError):
        record(model, SYMBOLS, loss=fail)
    assert torch.equal(model.norm.running_mean, before)
    assert nn.GRU.forward is method


class Stateful(nn.Module):
    """A model that goes on from where it was."""

    h: Tensor
    last: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(I, H)
        self.register_buffer("h", torch.zeros(1, B, H))
        self.register_buffer("last", None)

    def forward(self, x):
        self.h += 1
        out, h = self.rnn(x, self.h)
        self.h, self.last = h.detach(), out[-1]
        self.register_buffer("new", x, persistent=False)
        return out


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_that_a_model_replaces_are_put_back(fails):
    model = nn.Sequential(Stateful())
    inner: Any = model[0]
    h, before = inner.h, dict(inner._buffers)

    def loss(out):
        assert inner.h is not h
        return (out.nonsense if fails else out).sum()

    if fails:
        with pytest.raises(AttributeError):
            record(model, torch.ones(T, B, I), loss=loss)
    else:
        first, again = (record(model, torch.ones(T, B, I), loss=loss) for _ in range(2))
        assert first.loss == again.loss
    assert inner.h is h
    assert (h == 0).all()
    assert dict(inner._buffers) == before
    assert inner._non_persistent_buffers_set == set()


@pytest.mark.parametrize("frozen", [True, False])
def test_recording_needs_no_gradients_to_be_asked_for(frozen):
    model = Pair().requires_grad_(not frozen).eval()
    with torch.no_grad():
        tapes = record(model, SYMBOLS, loss=lambda out: out.square().mean())
    assert (tapes["decoder"].grad_hidden != 0).all()
    assert (tapes["encoder.lstm"].grad_hidden[:, :, 0] != 0).any()
    assert not tapes["decoder"].hidden.requires_grad
    assert not any(p.requires_grad is frozen for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "options", "asking"),
    [
        *((kind, {}, "nothing") for kind in KINDS),
        *(("lstm", options, "nothing") for options in (VARIANTS[-1], *PROJECTED)),
        *(("lstm", PROJECTED[-1], weight) for weight in ("weight_hr", "weight_hh")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_frozen_weights_have_the_same_gradients(kind, options, asking, packed):
    """At the first step of either direction too, where h hangs on nothing that asks for gradients but c."""
    module: Any = made(kind, **options)
    x: Any = inputs(T, B, I)
    x = pack_padded_sequence(x, LENGTHS, enforce_sorted=False) if packed else x

    def loss(out: Any) -> Tensor:
        return (out[0].data if packed else out[0]).pow(3).sum()

    expected = record(module, x, loss=loss)[""]
    for name, weight in module.named_parameters():
        weight.requires_grad_(name.startswith(asking))
    got = record(module, x, loss=loss)[""]
    assert torch.equal(got.grad_hidden, expected.grad_hidden)
    if expected.grad_cell_state is not None:
        assert torch.equal(got.grad_cell_state, expected.grad_cell_state)


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_a_frozen_cell_has_the_same_gradients(cell):
    module = cell(I, H, dtype=torch.float64)

    def tape():
        return record(module, inputs(B, I), loss=lambda out: (out[0] if cell is nn.LSTMCell else out).sum())[
            ""
        ]

    expected = tape()
    module.requires_grad_(False)
    got = tape()
    assert (expected.grad_hidden == 1).all()
    assert torch.equal(got.grad_hidden, expected.grad_hidden)
    if cell is nn.LSTMCell:
        assert (expected.grad_cell_state != 0).all()
        assert torch.equal(got.grad_cell_state, expected.grad_cell_state)


class Looped(nn.Module):
    """A cell in a loop, whose states the model halves."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.in_place = nn.GRUCell(I, H, dtype=torch.float64), in_place

    def forward(self, x):
        h, hidden = None, []
        for step in x:
            h = self.cell(step, h)
            h = h.mul_(0.5) if self.in_place else h * 0.5
            hidden.append(h.clone())
        return torch.stack(hidden)


def test_a_model_may_write_into_the_states_it_gets():
    one, other = (
        record(Looped(in_place), inputs(T, B, I), loss=lambda out: out.pow(3).sum())["cell"]
        for in_place in (True, False)
    )
    assert torch.equal(one.hidden, other.hidden)
    assert torch.equal(one.grad_hidden, other.grad_hidden)


def test_tapes_stay_as_they_are():
    """Whatever becomes afterwards of the model, of what it returned and of what it was given."""
    model, x = made("lstm", num_layers=2), inputs(1, B, I)
    cell = nn.LSTMCell(I, H, dtype=torch.float64)
    kept: list[Any] = []

    def loss(out: Any) -> Tensor:
        kept.extend([*out, *out[1]] if isinstance(out[1], tuple) else out)
        return out[0].pow(2).sum()

    tapes = [record(model, x, loss=loss)[""], record(cell, x[0], loss=loss)[""]]
    before = [
        (t.hidden.clone(), t.grad_hidden.clone(), t.cell_state.clone(), t.gates["f"].clone()) for t in tapes
    ]
    with torch.no_grad():
        for tensor in [*kept, x, *model.parameters(), *cell.parameters()]:
            if isinstance(tensor, Tensor):
                tensor.fill_(7.0)
    record(model, x, loss=loss), record(cell, x[0], loss=loss)
    model(x), cell(x[0])
    for tape, (hidden, grad, memory, forget) in zip(tapes, before, strict=True):
        values, total = tape.traces[0][0].values, tape.traces[0][0].total
        assert torch.equal(values["h"], hidden[0, 0])
        assert torch.equal(values["c"], memory[0, 0])
        assert torch.equal(values["f"], forget[0, 0])
        assert torch.equal(total["h"], grad[0, 0])


def test_what_the_model_computes_without_gradients_has_none():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LSTMCell(I, H), nn.GRUCell(H, H)

        def forward(self, x):
            with torch.no_grad():
                h, _ = self.first(x)
            assert not h.requires_grad
            return (self.second(h) if self.training else h @ self.second.weight_hh.T).sum()

    tapes = record(Half(), torch.ones(B, I), loss=lambda out: out)
    assert (tapes["first"].grad_hidden == 0).all()
    assert (tapes["second"].grad_hidden == 1).all()
    with pytest.raises(ValueError, match="loss: it does not depend on the recurrent modules"):
        record(Half().eval(), torch.ones(B, I), loss=lambda out: out)


def test_a_fused_output_has_the_direct_term_alone():
    """The trap that this is for: out.retain_grad() sees nothing of the recurrence."""
    module, x = made("tanh"), inputs(T, B, I)
    out, _ = module(x)
    out.retain_grad()
    out[-1].sum().backward()
    tape = record(module, x, loss=lambda output: output[0][-1].sum())[""]
    assert (out.grad[:-1] == 0).all()
    assert (tape.grad_hidden[0, 0] != 0).all()


def test_subclasses_and_other_modules_of_the_same_kind():
    class Doubled(nn.GRU):
        def forward(self, x, hx=None):
            return super().forward(2 * x, hx)

    module = Doubled(I, H, dtype=torch.float64)
    tape = record(module, inputs(T, B, I), loss=lambda out: out[0].sum())[""]
    torch.testing.assert_close(tape.hidden[0, 0], module(inputs(T, B, I))[0].detach())
    other, results = made("gru"), []

    def elsewhere(out):
        thread = threading.Thread(target=lambda: results.append(other(inputs(T, B, I))[0].grad_fn.name()))
        thread.start()
        thread.join()
        return out[0].sum() + 0 * other(inputs(T, B, I))[0].sum()

    record(module, inputs(T, B, I), loss=elsewhere)
    assert results, "other modules and other threads compute as ever"


def test_a_tape_of_a_batch_mean_is_each_sequences_share():
    module, x = made("lstm"), inputs(T, B, I)
    alone = record(module, x[:, :1], loss=lambda out: out[0].square().sum())[""]
    mean = record(module, x, loss=lambda out: out[0].square().sum() / B)[""]
    torch.testing.assert_close(mean.grad_hidden[:, :, :, :1] * B, alone.grad_hidden)


@pytest.mark.parametrize(
    ("model", "x", "loss", "sentence"),
    [
        (
            nn.Linear(2, 2),
            torch.ones(2),
            torch.sum,
            "model: Linear has no recurrent module; recorded are nn.RNN,",
        ),
        (
            Pair(),
            SYMBOLS,
            lambda out: out,
            r"loss: got the shape \(3, 5, 7\); a tensor of one number is needed",
        ),
        (
            Pair(),
            SYMBOLS,
            lambda out: float(out.sum()),
            r"loss: got -?\d.*; a tensor of one number is needed",
        ),
        (
            Pair(),
            SYMBOLS,
            lambda out: out.detach().sum(),
            "loss: it does not depend on the recurrent modules;",
        ),
        (nn.Sequential(nn.ModuleDict({"a": nn.GRU(1, 1)})["a"]), None, None, ""),
    ],
)
def test_what_cannot_be_recorded_is_said(model, x, loss, sentence):
    if x is None:
        unused = nn.Linear(2, 2)
        unused.register_module("spare", nn.GRU(2, 2))
        model, x, loss = unused, torch.ones(2), torch.sum
        sentence = "model: none of its recurrent modules was called."
    with pytest.raises(ValueError, match=sentence):
        record(model, x, loss=loss)


X = torch.ones(T, 2, 3)  # B = 2, three inputs


def state(*shape: int) -> Tensor:
    return torch.zeros(shape)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (nn.GRU(3, H), (X, state(1, 3, H))),
        (nn.GRU(3, H), (X, state(3, 2, H))),
        (nn.RNN(3, H), (X, state(2, H))),
        (nn.GRU(3, H), (X[:, 0], state(1, 1, H))),
        (nn.LSTM(3, H), (X, (state(1, 2, H), state(1, 2, H + 1)))),
        (nn.LSTM(3, H, proj_size=2), (X, (state(1, 2, H), state(1, 2, H)))),
        (nn.LSTM(3, H), (X, (state(1, 3, H), state(1, 3, H)))),
        (nn.GRU(3, H), (pack_padded_sequence(X, torch.tensor([T, T])), state(1, 3, H))),
        (nn.LSTM(3, H), (X[:0],)),
        (nn.GRU(3, H, batch_first=True), (X[:, :0],)),
        (nn.GRU(3, H), (X[None],)),
        (nn.GRU(3, H), (X[0, 0],)),
        (nn.RNN(4, H), (X,)),
        (nn.RNN(3, H), (X.double(),)),
        (nn.GRUCell(3, H), (X[0], state(H))),
        (nn.GRUCell(3, H), (X[0], state(1, H))),
        (nn.RNNCell(3, H), (X[0], state(2, H + 1))),
        (nn.LSTMCell(3, H), (X[0], (state(3, H), state(3, H)))),
        (nn.LSTMCell(3, H), (X,)),
        (nn.RNNCell(4, H), (X[0],)),
    ],
)
def test_what_pytorch_refuses_is_refused_in_its_words(module, arguments):
    with pytest.raises((RuntimeError, ValueError)) as expected:
        module(*arguments)
    numbers = torch.get_rng_state()
    with pytest.raises(type(expected.value)) as got:
        record(module, *arguments, loss=lambda out: out[0].sum())
    assert str(got.value) == str(expected.value)
    assert torch.equal(torch.get_rng_state(), numbers)


@pytest.mark.parametrize(
    ("module", "hx", "sentence"),
    [
        (
            nn.LSTM(3, H),
            state(1, 2, H),
            r"hx of LSTM: got the shape \(1, 2, 4\); a pair of tensors is needed, \(h_0, c_0\).",
        ),
        (
            nn.LSTM(3, H),
            (state(1, 2, H),) * 3,
            r"got \(Tensor, Tensor, Tensor\); a pair of tensors is needed",
        ),
        (nn.LSTM(3, H), [state(1, 2, H), None], r"got \(Tensor, NoneType\); a pair"),
        (nn.LSTMCell(3, H), state(2, H), r"hx of LSTMCell: got the shape \(2, 4\); a pair"),
        (nn.GRU(3, H), (state(1, 2, H),), "hx of GRU: got a tuple; one tensor is needed, h_0."),
        (nn.RNNCell(3, H), [state(2, H)], "hx of RNNCell: got a list; one tensor is needed, h_0."),
    ],
)
def test_states_of_another_kind_are_refused_in_a_sentence(module, hx, sentence):
    x = X[0] if isinstance(module, nn.RNNCellBase) else X
    for arguments, options in (((x, hx), {}), ((x,), {"hx": hx})):
        with pytest.raises(ValueError, match=sentence):
            record(module, *arguments, loss=lambda out: out[0].sum(), **options)


def test_a_list_of_states_is_a_pair_too():
    """As PyTorch has it."""
    for module, x, start in ((nn.LSTM(3, H), X, state(1, 2, H)), (nn.LSTMCell(3, H), X[0], state(2, H))):
        one, other = (
            record(module, x, kind([start + 1, start + 2]), loss=lambda out: out[0].sum())[""]
            for kind in (list, tuple)
        )
        assert torch.equal(one.hidden, other.hidden)


@pytest.mark.parametrize(
    ("model", "loss", "sentence"),
    [
        (lambda x: x, torch.sum, "model: got a function; a torch.nn.Module is needed."),
        (nn.GRU, torch.sum, "model: got the class GRU; a torch.nn.Module is needed."),
        (nn.GRU(3, H), "mse", "loss: got 'mse'; a function of the model's output is needed."),
        (nn.GRU(3, H), None, "loss: got None; a function"),
        (
            nn.GRU(3, H),
            lambda out: 1j * out[0].sum(),
            "loss: got a complex .*; a tensor of one number is needed",
        ),
        (nn.GRU(3, H), lambda out: None, "loss: got None; a tensor of one number is needed"),
    ],
)
def test_what_is_no_model_and_no_loss_is_said(model, loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        record(model, X, loss=loss)


def test_recording_within_inference_mode():
    model = nn.GRU(3, H)
    expected = record(model, X, loss=lambda out: out[0].sum())[""]
    with torch.inference_mode():
        got = record(model, X, loss=lambda out: out[0].sum())[""]
    assert torch.equal(got.grad_hidden, expected.grad_hidden)


def test_calls_of_different_sizes_are_not_joined():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = made("gru")

        def forward(self, x):
            return self.rnn(x)[0].sum() + self.rnn(x[:, :2])[0].sum()

    tapes = record(Twice(), inputs(T, B, I), loss=lambda out: out)
    assert [tape.hidden.shape[3] for tape in tapes.calls["rnn"]] == [B, 2]
    with pytest.raises(ValueError, match=r"'rnn': its 2 calls had batches of different sizes; tapes.calls"):
        tapes["rnn"]
    assert "rnn" in tapes
    assert "other" not in tapes
    assert list(tapes.keys()) == ["rnn"]
    assert tapes.get("other") is None
    for asked in (lambda: tapes.get("rnn"), lambda: list(tapes.items()), lambda: list(tapes.values())):
        with pytest.raises(ValueError, match=r"its 2 calls had batches of different sizes; tapes.calls"):
            asked()


@pytest.mark.parametrize("state", ["h", "c"])
def test_gradient_norms_are_means_over_the_batch(state):
    """Of packed sequences too, where one that has ended counts as 0."""
    module = made("lstm", num_layers=2, bidirectional=True)
    packed = pack_padded_sequence(inputs(T, B, I), LENGTHS, enforce_sorted=False)
    tape = record(module, packed, loss=lambda out: out[0].data.pow(2).sum())[""]
    grads = tape.grad_hidden if state == "h" else tape.grad_cell_state
    assert grads is not None
    norms = tape.grad_norms(state)
    assert norms.shape == (2, 2, T)
    np.testing.assert_allclose(norms, grads.pow(2).sum(-1).sqrt().sum(-1) / B, rtol=1e-12)
    alone = record(module, inputs(T, B, I)[:, 1:2], loss=lambda out: out[0].pow(2).sum())[""]
    only = torch.where(torch.arange(B) == 1, 1, 0)[:, None]
    np.testing.assert_allclose((grads * only).norm(dim=-1).sum(-1), alone.grad_norms(state), rtol=1e-9)


def test_gradient_norms_are_float64():
    joined = record(Pair(), SYMBOLS, loss=lambda out: out.square().mean())["decoder"]
    assert joined.grad_norms("h").shape == (1, 1, 3)
    assert joined.grad_norms("h").dtype == np.float64


def test_the_name_stays_the_functions():
    assert rnnviz.record is record
    assert callable(rnnviz.record)


def test_a_packed_output_stays_packed():
    packed = pack_padded_sequence(inputs(T, B, I), LENGTHS, enforce_sorted=False)
    seen: list[Any] = []

    def loss(out: Any) -> Tensor:
        seen.append(out)
        return out[0].data.sum()

    record(made("gru"), packed, loss=loss)
    assert isinstance(seen[0][0], PackedSequence)
    assert torch.equal(seen[0][0].batch_sizes, packed.batch_sizes)
