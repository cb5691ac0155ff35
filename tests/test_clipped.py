"""What clipping makes of a gradient: against PyTorch's own functions and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from rnnviz.analysis.clipped import RULES, Clipped, between, compare, per_tensor
from rnnviz.analysis.moment import moment
from rnnviz.bptt import unroll
from rnnviz.clipping import SCOPES
from rnnviz.kernels import KERNELS
from rnnviz.runs.state import parameters_to_bytes
from rnnviz.training import advance, begin
from tests.unrolled import SHAPES, STEP, Twin, blob_of, changed, moments, small

every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_shape = pytest.mark.parametrize("shape", SHAPES)
CELLS = pytest.mark.parametrize("cell", ["tanh", "lstm_peephole", "gru"])


def in_scope(name: str, scope: str) -> bool:
    if scope == "recurrent":
        return "weight_hh" in name or "weight_peephole" in name
    return scope == "all" or not name.startswith("out.")


def by_hand(rule: str, scope: str, threshold: float, twin: Twin) -> dict[str, torch.Tensor]:
    """What is left of autograd's gradients."""
    grads = twin.gradients()
    chosen = []
    for name, p in twin.parameters.items():
        p.grad = grads[name].clone()
        if in_scope(name, scope):
            chosen.append(p)
    if rule == "norm":
        clip_grad_norm_(chosen, threshold)
    elif rule == "value":
        clip_grad_value_(chosen, threshold)
    elif rule == "agc":
        for p in chosen:
            rows = zip(p.grad, p.detach(), strict=True) if p.dim() > 1 else [(p.grad, p.detach())]
            for g, w in rows:
                limit = threshold * max(float(w.norm()), 1e-3)
                if float(g.norm()) > limit:
                    g *= limit / float(g.norm())
    return {name: p.grad for name, p in twin.parameters.items()}


def flat(tensors: dict[str, torch.Tensor]) -> np.ndarray:
    return np.concatenate([t.detach().numpy().ravel() for t in tensors.values()])


def assert_same(got: Clipped, left: dict[str, torch.Tensor], grads: dict[str, torch.Tensor]) -> None:
    one, true = flat(left), flat(grads)
    assert got.norm == pytest.approx(np.linalg.norm(one), rel=1e-9)
    cosine = one @ true / np.linalg.norm(one) / np.linalg.norm(true)
    assert got.cosine == pytest.approx(cosine, abs=1e-12)
    assert got.angle == pytest.approx(math.degrees(math.acos(min(1.0, cosine))), abs=1e-5)
    names = [name for name in grads if in_scope(name, got.scope)]
    measure = (lambda t: np.abs(t).max()) if got.rule == "value" else np.linalg.norm
    before, after = (measure(flat({n: ts[n] for n in names})) for ts in (grads, left))
    assert got.before == pytest.approx(before, rel=1e-9)
    assert got.after == pytest.approx(after, rel=1e-9)
    changed = [~torch.isclose(left[n], grads[n], rtol=1e-7, atol=0.0) for n in names]
    counts = [grads[n] != 0 for n in names]
    assert got.elements == sum(int(c.sum()) for c in changed) / sum(int(c.sum()) for c in counts)
    rows = [(c.any(-1), k.any(-1)) for c, k in zip(changed, counts, strict=True)]
    assert got.rows == sum(int(c.sum()) for c, _ in rows) / sum(int(k.sum()) for _, k in rows)
    assert got.clipped == any(bool(c.any()) for c in changed)


@CELLS
@every_kernel
@every_shape
@pytest.mark.parametrize("threshold", [1e-2, 1e3])
def test_what_is_left_is_what_others_leave(cell, kernel, shape, threshold):
    at, twin = moments(small(cell=cell, **SHAPES[shape]), kernel)
    grads = twin.gradients()
    found = {(one.rule, one.scope): one for one in compare(at, threshold)}
    rules = ("norm", "value", "agc")
    expected = {(rule, scope) for rule in rules for scope in SCOPES} | {("none", "all"), ("delta", "all")}
    assert set(found) == expected
    for rule in (*rules, "none"):
        for scope in SCOPES if rule != "none" else ("all",):
            one = found[rule, scope]
            assert_same(one, by_hand(rule, scope, threshold, twin), grads)
            assert one.limit == threshold if rule in ("norm", "value") else math.isnan(one.limit)
    assert found["norm", "all"].angle == 0.0, "the direction stays"
    assert found["none", "all"].angle == 0.0
    if threshold == 1e-2:
        assert found["norm", "recurrent"].angle > 0, "a part alone is shorter: the whole is bent"
        assert found["value", "all"].elements > 0


class Cut(torch.autograd.Function):
    """The identity, whose gradient is cut."""

    @staticmethod
    def forward(ctx, x, limit):
        ctx.limit = limit
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(-ctx.limit, ctx.limit), None


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
@every_kernel
def test_deltas_are_cut_as_autograd_would_cut_them(cell, kernel):
    experiment = small(cell=cell, length=8)
    at, twin = moments(experiment, kernel)
    grads, limit = twin.gradients(), 2e-3
    weights = {n.split(".")[1].removesuffix("_l0"): p for n, p in twin.parameters.items() if n[0] == "r"}
    state, kind = None, at.network.cell
    for x in twin.inputs:
        (now,) = unroll(kind, weights, x[None], state)
        state = {name: Cut.apply(now[name], limit) for name in kind.states}
    y = now["h"] @ twin.parameters["out.weight"].T + twin.parameters["out.bias"]
    loss = ((y - torch.from_numpy(at.batch.targets.copy())) ** 2).sum(-1).mean()
    left = dict(zip(grads, torch.autograd.grad(loss, list(twin.parameters.values())), strict=True))
    (got,) = [one for one in compare(at, limit) if one.rule == "delta"]
    assert_same(got, left, grads)
    assert got.clipped
    assert got.angle > 0.01


@every_kernel
def test_training_clips_to_the_same_norm(kernel):
    for scope in SCOPES:
        for rule in ("norm", "value", "agc", "delta"):
            extra = {"clip_scope": scope} if rule != "delta" else {}
            experiment = small(
                cell="lstm", clip=rule, clip_threshold=3e-3, precision="float32", batch=9, **extra
            )
            state = begin(experiment, kernel=kernel)
            at = moment(experiment, 0, parameters_to_bytes(state), kernel)
            chunk = advance(state, steps=1)
            found = {(one.rule, one.scope): one for one in compare(at, 3e-3)}
            one = found[rule, scope if rule != "delta" else "all"]
            assert one.clipped
            assert (one.before, one.after) == (chunk.norm_before[0], chunk.norm_after[0])
            if scope == "all" and rule == "norm":
                assert one.angle == 0.0  # in spite of rounding


@every_kernel
def test_the_gradient_of_the_moment_stays_as_it_is(kernel):
    at, twin = moments(small(cell="lstm"), kernel)
    compare(at, 1e-4)
    torch.testing.assert_close(
        at.network.layout.views(at.true.grad),
        twin.gradients(),
        rtol=1e-9,
        atol=1e-14,
    )
    np.testing.assert_allclose(
        at.tape.traces[0][0].total["h"].norm(dim=-1) * 3, twin.norms("h", 0, 0), rtol=1e-9
    )


def test_rules_with_a_history_are_left_out():
    assert RULES == ("none", "norm", "value", "agc", "delta")


def test_the_scopes_that_are_asked_for():
    found = compare(moment(small()), 0.1, ["recurrent"])
    assert [(one.rule, one.scope) for one in found] == [
        ("none", "all"), ("norm", "recurrent"), ("value", "recurrent"), ("agc", "recurrent"),
        ("delta", "all"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0.0,), "threshold: got 0.0; allowed: a number above 0."),
        ((math.nan,), "threshold: got nan; allowed: a number above 0."),
        ((1.0, ["some"]), "scopes: got 'some'; allowed: all, recurrent, not_output."),
    ],
)
def test_what_cannot_be_compared_is_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(moment(small()), *arguments)


def test_a_gradient_that_is_not_finite_has_no_angle():
    experiment = small()
    at = moment(experiment, 0, blob_of(experiment, out__bias=math.nan))
    assert all(math.isnan(one.cosine) and math.isnan(one.angle) for one in compare(at, 1.0))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, 90.0, 179.0, 180.0])
def test_angles_between_vectors(angle):
    turned = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))], dtype=torch.float64)
    cosine, got = between(3 * turned, torch.tensor([0.2, 0.0], dtype=torch.float64))
    assert got == pytest.approx(angle, rel=1e-6, abs=1e-13)
    assert cosine == pytest.approx(math.cos(math.radians(angle)), abs=1e-15)


@CELLS
@every_kernel
@every_shape
def test_sizes_of_each_parameter(cell, kernel, shape):
    at, twin = moments(small(cell=cell, **SHAPES[shape]), kernel)
    grads, got = twin.gradients(), per_tensor(at)
    assert list(got) == list(at.network.layout.shapes)
    for name, one in got.items():
        weights = twin.parameters[name].detach()
        expected = (float(grads[name].norm()), float(grads[name].abs().max()), float(weights.norm()))
        assert tuple(one) == pytest.approx(expected, rel=1e-8, abs=1e-15)


@every_kernel
def test_one_number_of_the_parameters_changes_every_size(kernel):
    experiment = small(cell="lstm")
    blob = blob_of(experiment)
    other = changed(blob, "rnn.weight_ih_l0", (5, 1), 0.8)
    (was, _), (now, twin) = moments(experiment, kernel, blob), moments(experiment, kernel, other)
    sizes = per_tensor(now)
    assert all(sizes[name].grad != one.grad for name, one in per_tensor(was).items())
    for name, grad in twin.gradients().items():
        assert sizes[name].grad == pytest.approx(float(grad.norm()), rel=1e-9)
    for before, after in zip(compare(was, 0.01), compare(now, 0.01), strict=True):
        assert before.before != after.before
        if after.rule != "delta":
            assert_same(after, by_hand(after.rule, after.scope, 0.01, twin), twin.gradients())
    assert now.step == STEP
