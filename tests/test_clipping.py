"""Every clipping rule: what it measures, what it changes, by torch.nn.utils and the authors' formulas."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rnnviz.bptt import unroll
from rnnviz.cells import CELLS
from rnnviz.clipping import CLIPPINGS, SCOPES, Memory, Outcome, Scoped
from rnnviz.experiment import Experiment, without_say
from rnnviz.kernels import KERNELS
from rnnviz.layout import layout_of
from rnnviz.tasks import TASKS
from rnnviz.training import advance, begin

elements = st.floats(-1e15, 1e15, allow_subnormal=False)
vectors = st.lists(elements, min_size=1, max_size=20).map(lambda v: torch.tensor(v, dtype=torch.float64))
thresholds = st.floats(1e-6, 1e6)
every_rule = pytest.mark.parametrize("name", CLIPPINGS)
#: Rules that act on the gradient as it came, and not inside the backward pass.
after_the_pass = pytest.mark.parametrize("name", [n for n, rule in CLIPPINGS.items() if not rule.inside])
#: Rules that compare one number with the threshold itself.
fixed_rules = pytest.mark.parametrize("name", ["norm", "value"])


def scoped_of(grad: torch.Tensor, weight: torch.Tensor | None = None) -> Scoped:
    """The gradient of a single parameter, which is in the scope."""
    weight = torch.ones_like(grad) if weight is None else weight
    return Scoped(grad, float(grad.double().norm()), lambda: {"weight": (grad, weight)})


def apply(
    name: str, grad: torch.Tensor, threshold: float, memory: Memory | None = None
) -> tuple[Outcome, torch.Tensor]:
    """What a rule says, and a clipped copy."""
    clipped = grad.clone()
    memory = array("d") if memory is None else memory
    return CLIPPINGS[name].apply(scoped_of(clipped), threshold, memory), clipped


def clip(name: str, grad: torch.Tensor, threshold: float) -> torch.Tensor:
    return apply(name, grad, threshold)[1]


def measure(name: str, grad: torch.Tensor) -> float:
    return apply(name, grad, 1.0)[0].before


def torch_clip(name: str, grad: torch.Tensor, threshold: float) -> torch.Tensor:
    """The same by torch.nn.utils."""
    parameter = torch.zeros_like(grad).requires_grad_()
    parameter.grad = grad.clone()
    if name == "norm":
        torch.nn.utils.clip_grad_norm_([parameter], threshold)
    else:
        torch.nn.utils.clip_grad_value_([parameter], threshold)
    return parameter.grad


@fixed_rules
@given(vectors, thresholds)
def test_clipping_is_that_of_torch(name, grad, threshold):
    # PyTorch shortens from threshold - 1e-6 on, which is no clipping yet.
    assume(not threshold - 1e-6 <= float(grad.norm()) <= threshold)
    torch.testing.assert_close(
        clip(name, grad, threshold), torch_clip(name, grad, threshold), rtol=1e-13, atol=0.0
    )


@fixed_rules
@given(vectors, thresholds)
def test_the_threshold_holds(name, grad, threshold):
    outcome, clipped = apply(name, grad, threshold)
    after = measure(name, clipped)
    assert outcome.limit == threshold
    assert after <= threshold * (1 + 1e-12)
    assert after <= outcome.before
    assert outcome.clipped == (outcome.before > threshold)
    if outcome.clipped:  # and no shorter than asked for
        assert after == pytest.approx(threshold, rel=1e-6 / threshold + 1e-12)
    else:
        assert torch.equal(clipped, grad)


@after_the_pass
@given(st.integers(0, 2**32), st.integers(1, 60), thresholds)
@settings(max_examples=40)
def test_what_a_rule_says_is_what_it_did(name, seed, steps, threshold):
    """Along a run of gradients with spikes, for each rule whatever it remembers."""
    rng, rule, memory = np.random.default_rng(seed), CLIPPINGS[name], array("d")
    for _ in range(steps):
        spike = 10.0 ** rng.integers(0, 4) if rng.random() < 0.1 else 1.0
        grad = torch.from_numpy(rng.standard_normal((3, 4))) * spike
        carried = array("d", memory.tobytes())
        outcome, clipped = apply(name, grad, threshold, memory)
        again, same = apply(name, grad, threshold, carried)  # the memory is all that a rule has
        assert repr(again) == repr(outcome)
        assert torch.equal(same, clipped)
        assert carried == memory

        size = [float(g.abs().max() if rule.by_element else g.norm()) for g in (grad, clipped)]
        assert (outcome.before, outcome.after) == pytest.approx(size, rel=1e-12)
        assert outcome.clipped == (not torch.equal(clipped, grad))
        if outcome.clipped:
            assert outcome.after < outcome.before
        else:
            assert outcome.after == outcome.before
        if not math.isnan(outcome.limit):
            assert outcome.clipped == (outcome.before > outcome.limit)
            assert outcome.after <= outcome.limit * (1 + 1e-12)


@every_rule
def test_who_remembers(name):
    memory = array("d")
    apply(name, torch.ones(3), 1.0, memory)
    assert bool(memory) == (name in ("autoclip", "zclip"))


@pytest.mark.parametrize("name", ["none", "norm", "autoclip", "zclip"])
def test_a_norm_that_is_known_is_not_taken_again(name):
    """Nothing looks at a gradient that is not clipped: its norm is that of the squares taken before."""

    def views():
        raise AssertionError("nobody asked for views")

    outcome = CLIPPINGS[name].apply(Scoped(None, 0.5, views), 1.0, array("d"))
    assert (outcome.before, outcome.after, outcome.clipped) == (0.5, 0.5, False)


@given(vectors, thresholds)
def test_clipping_by_norm_keeps_the_direction(grad, threshold):
    clipped = clip("norm", grad, threshold)
    length = float(grad.norm())
    if length > 0:
        torch.testing.assert_close(clipped / clipped.norm(), grad / length, rtol=1e-9, atol=1e-12)


def test_clipping_by_value_bends_the_direction():
    grad = torch.tensor([3.0, -0.5, 4.0, -9.0])
    assert clip("value", grad, 1.0).tolist() == [1.0, -0.5, 1.0, -1.0]
    assert measure("value", grad) == 9.0


def test_no_clipping_measures_and_leaves_the_gradient():
    grad = torch.tensor([3.0, -4.0])
    outcome, left = apply("none", grad, 1e-3)
    assert (outcome.before, outcome.after, outcome.clipped) == (5.0, 5.0, False)
    assert math.isnan(outcome.limit)
    assert torch.equal(left, grad)


def test_clipping_by_norm_uses_pytorchs_constant():
    assert clip("norm", torch.tensor([2.0], dtype=torch.float64), 1.0).item() == 2.0 * (1.0 / (2.0 + 1e-6))


@pytest.mark.parametrize("size", [1e20, 1e30, 1e38])
def test_large_finite_gradients_in_single_precision_measure_finite_and_clip(size):
    """Squares of 1e20 leave float32's range: a sum of them in single precision would be infinite."""
    grad = torch.tensor([3.0, -4.0, 0.0]) * (size / 5)
    for name in ("norm", "agc"):  # of three weights of 1
        outcome, clipped = apply(name, grad, 1.0 if name == "norm" else 1 / math.sqrt(3))
        assert (outcome.before, outcome.after) == pytest.approx((size, 1.0), rel=1e-6)
        torch.testing.assert_close(clipped, torch.tensor([0.6, -0.8, 0.0]), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(clip("value", grad, 1.0), torch.tensor([1.0, -1.0, 0.0]))


@pytest.mark.parametrize("limit", [1e-25, 1e-40])
def test_what_is_left_of_a_gradient_in_single_precision_does_not_measure_as_zero(limit):
    outcome, clipped = apply("norm", torch.tensor([1.0, 0.0]), limit)
    assert 0 < outcome.after == float(clipped[0]) == pytest.approx(limit, rel=1e-4)


@every_rule
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_measured_as_such_and_not_remembered(name, bad):
    memory = array("d")
    for _ in range(3):
        apply(name, torch.tensor([1.0, 2.0]), 1.0, memory)
    kept = array("d", memory)
    outcome, _ = apply(name, torch.tensor([1.0, bad, 2.0]), 1.0, memory)
    assert not math.isfinite(outcome.before)
    assert memory == kept


@every_rule
def test_a_rule_describes_itself(name):
    rule = CLIPPINGS[name]
    assert rule.name == name
    assert rule.label
    assert rule.summary.endswith(".")
    assert rule.measured == ("largest element" if name == "value" else "norm")
    assert rule.by_element == (name == "value")
    assert rule.uses_threshold == (name in ("norm", "value", "agc", "delta"))
    assert rule.uses_scope == (name not in ("none", "delta"))
    assert bool(rule.source) == (name != "none")
    assert rule.inside == (name == "delta")
    limits = {"norm": "fixed", "value": "fixed", "autoclip": "moving", "zclip": "moving"}
    assert rule.limit == limits.get(name, "none")
    assert (rule.note != "") == (name == "autoclip")


@every_rule
def test_knobs_have_a_say_where_the_rule_says_so(name):
    silent = without_say(Experiment(task="adding", clip=name).model_dump())
    assert ("clip_threshold" in silent) == (name in ("none", "autoclip", "zclip"))
    assert ("clip_scope" in silent) == (name in ("none", "delta"))


# AGC


def agc_by_hand(grad: np.ndarray, weight: np.ndarray, threshold: float) -> np.ndarray:
    """Row by row; a vector is one row."""
    clipped = np.array(grad)
    for g, w in zip(np.atleast_2d(clipped), np.atleast_2d(weight), strict=True):
        limit = threshold * max(np.sqrt((w**2).sum()), 1e-3)
        norm = np.sqrt((g**2).sum())
        if norm > limit:
            g *= limit / norm
    return clipped


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from([(1,), (5,), (3, 4), (4, 1), (1, 4)]), min_size=1, max_size=4),
    st.floats(1e-3, 10.0),
)
def test_agc_is_row_by_row(seed, shapes, threshold):
    rng = np.random.default_rng(seed)
    sizes = [math.prod(shape) for shape in shapes]
    flat = torch.from_numpy(rng.standard_normal(sum(sizes)) * 10.0 ** rng.uniform(-3, 2, sum(sizes)))
    flat[rng.integers(len(flat))] = 0.0
    # Rows of weights of all sizes, some of them 0.
    weights = [
        torch.from_numpy(rng.standard_normal(shape) * rng.choice([0.0, 1e-5, 0.1, 1.0], (*shape[:-1], 1)))
        if len(shape) > 1
        else torch.from_numpy(rng.standard_normal(shape) * rng.choice([0.0, 1e-5, 1.0]))
        for shape in shapes
    ]
    views = [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
    expected = [
        agc_by_hand(g.numpy(), w.numpy(), threshold).ravel() for g, w in zip(views, weights, strict=True)
    ]
    before = flat.clone()
    scoped = Scoped(
        flat,
        float(flat.norm()),
        lambda: {str(k): pair for k, pair in enumerate(zip(views, weights, strict=True))},
    )
    outcome = CLIPPINGS["agc"].apply(scoped, threshold, array("d"))
    np.testing.assert_allclose(flat.numpy(), np.concatenate(expected), rtol=1e-12)
    assert (outcome.before, outcome.after) == pytest.approx((float(before.norm()), float(flat.norm())))
    assert math.isnan(outcome.limit)
    assert outcome.clipped == (not torch.equal(before, flat))


def test_agc_leaves_rows_below_their_limit_bit_by_bit():
    grad = torch.tensor([[0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
    weight = torch.tensor([[6.0, 8.0], [6.0, 8.0], [0.0, 0.0]])
    scoped = scoped_of(grad, weight)
    CLIPPINGS["agc"].apply(scoped, 0.1, array("d"))
    torch.testing.assert_close(grad[1], torch.tensor([0.6, 0.8]))
    assert torch.equal(grad[[0, 2]], torch.tensor([[0.3, 0.4], [0.0, 0.0]]))


# AutoClip


@given(st.lists(st.floats(0.0, 1e9, allow_subnormal=False), min_size=1, max_size=60))
def test_autoclip_is_numpys_percentile_of_all_norms_so_far(norms):
    memory = array("d")
    for k, norm in enumerate(norms):
        grad = torch.tensor([norm], dtype=torch.float64)
        outcome, clipped = apply("autoclip", grad, math.nan, memory)
        limit = np.percentile(norms[: k + 1], 10)
        assert outcome.before == norm
        assert outcome.limit == pytest.approx(limit, rel=1e-12)
        assert clipped.item() == pytest.approx(norm * min(1.0, limit / norm if norm else 1.0), rel=1e-12)
    assert list(memory) == sorted(norms)


# ZClip


def zclip_by_hand(norms: list[float]) -> list[float]:
    """The limits, NaN in the warm-up, as in the authors' code without its fixed limit."""
    limits, buffer, mean, var = [], [], None, None
    for norm in norms:
        if mean is None:
            buffer.append(norm)
            if len(buffer) == 25:
                mean = sum(buffer) / 25
                var = sum((x - mean) ** 2 for x in buffer) / 25
            limits.append(math.nan)
            continue
        std = var**0.5
        z = (norm - mean) / (std + 1e-6)
        effective = mean + 2.5 * std / (z / 2.5) if z > 2.5 else norm
        limits.append(effective if z > 2.5 else mean + 2.5 * (std + 1e-6))
        mean = 0.97 * mean + 0.03 * effective
        var = 0.97 * var + 0.03 * (effective - mean) ** 2
    return limits


@given(st.integers(0, 2**32), st.integers(1, 90), st.floats(1e-3, 1e6))
def test_zclip_follows_its_formula(seed, steps, scale):
    rng = np.random.default_rng(seed)
    norms = scale * rng.gamma(4.0, 1.0, steps) * np.where(rng.random(steps) < 0.1, 20.0, 1.0)
    memory, limits = array("d"), zclip_by_hand(norms.tolist())
    for norm, limit in zip(norms, limits, strict=True):
        outcome, clipped = apply("zclip", torch.tensor([norm], dtype=torch.float64), math.nan, memory)
        assert outcome.limit == pytest.approx(limit, rel=1e-9, nan_ok=True)
        assert outcome.clipped == (norm > limit)
        assert clipped.item() == pytest.approx(limit if norm > limit else norm, rel=1e-9)
    assert len(memory) == 3


@pytest.mark.parametrize("name", [name for name, rule in CLIPPINGS.items() if rule.limit == "moving"])
def test_a_limit_of_the_rules_own_is_met_however_small_it_is(name):
    """Gradients that vanish: PyTorch's 1e-6 beside the norm would cut them to a part of the limit."""
    memory = array("d")
    for k in range(30):
        # ZClip's z has a constant of 1e-6 beside the deviation, so that less than that never stands out.
        last = 1e-5 if name == "zclip" else 4e-8
        norm = last if k == 29 else 2.2e-8 * (1 + k / 1e6)
        outcome, clipped = apply(name, torch.tensor([norm], dtype=torch.float64), 1.0, memory)
    assert outcome.clipped
    assert outcome.limit < 2.3e-8
    assert clipped.item() == outcome.after
    assert math.isclose(outcome.after, outcome.limit, rel_tol=1e-12)


def test_zclip_cuts_harder_what_stands_out_further():
    limits = []
    for norm in (30.0, 300.0):
        memory = array("d")
        for usual in torch.linspace(9.0, 11.0, 25, dtype=torch.float64):
            apply("zclip", usual.view(1), 1.0, memory)
        limits.append(apply("zclip", torch.tensor([norm]), 1.0, memory)[0].limit)
    assert 10 < limits[1] < limits[0] < 12.5


def test_zclip_of_norms_whose_squares_overflow_does_not_fail():
    memory = array("d")
    for k in range(30):
        outcome, _ = apply("zclip", torch.tensor([1e153 * (1 + k % 3)], dtype=torch.float64), 1.0, memory)
    assert outcome.limit > 0


# Deltas


def unrolled(state, batch, threshold: float) -> torch.Tensor:
    """The gradient by autograd on a plain unrolled graph, in which hooks cut what is handed back in time."""
    network = state.network
    leaves = {name: p.clone().requires_grad_() for name, p in network.parameters.items()}
    inputs, targets = network.tensors(batch)
    weights = {n.removeprefix("rnn.").removesuffix("_l0"): p for n, p in leaves.items() if "rnn" in n}
    h: dict[str, torch.Tensor] | None = None
    for x in inputs:
        (now,) = unroll(network.cell, weights, x[None], h)
        h = {}
        for name in network.cell.states:
            h[name] = now[name].clone()  # what the next step reads, and hands its gradient back to
            h[name].register_hook(lambda grad: grad.clamp(-threshold, threshold))
    y = now["h"] @ leaves["out.weight"].T + leaves["out.bias"]
    torch.nn.functional.cross_entropy(y, targets).backward()
    return torch.cat([leaf.grad.flatten() for leaf in leaves.values()])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", CELLS)
def test_deltas_are_cut_on_the_way_from_step_to_step(cell, kernel):
    """And the record says how long the gradient would have been, and how far it was bent."""
    plain = Experiment(
        task="digits_rows", cell=cell, hidden=4, batch=3, optimizer="sgd", learning_rate=1.0, steps=1,
        precision="float64", initialization="orthogonal", clip="none",
    )  # fmt: skip
    moved = {}
    for threshold in (None, 1e-3, 1e6):
        rule = {} if threshold is None else {"clip": "delta", "clip_threshold": threshold}
        state = begin(plain.changed(**rule), kernel=kernel)
        before = state.network.flat.clone()
        batch = TASKS["digits_rows"].training_batch(0, 0, 8, 3)
        expected = unrolled(state, batch, math.inf if threshold is None else threshold)
        chunk = advance(state)
        moved[threshold] = before - state.network.flat
        torch.testing.assert_close(moved[threshold], expected, rtol=1e-9, atol=1e-14)
    free, bent = moved[None], moved[1e-3]
    assert not torch.allclose(free, bent)
    assert torch.equal(moved[1e6], free)
    assert (chunk.clipped, chunk.norm_after[0], chunk.full_cosine[0]) == (
        0, chunk.norm_before[0], pytest.approx(1.0),
    )  # fmt: skip
    chunk = advance(begin(plain.changed(clip="delta", clip_threshold=1e-3), kernel=kernel))
    assert chunk.clipped == 1
    for norm in (chunk.norm_before[0], chunk.full_norm[0]):
        assert norm == pytest.approx(float(free.norm()), rel=1e-9)
    assert chunk.norm_after[0] == pytest.approx(float(bent.norm()), rel=1e-9)
    assert chunk.full_cosine[0] == pytest.approx(float(free @ bent / free.norm() / bent.norm()), rel=1e-9)
    assert math.isnan(chunk.threshold[0])


def test_a_gradient_that_only_the_cut_keeps_finite_ends_no_run():
    """What it would have been is recorded as no number, and the one in use goes on."""
    experiment = Experiment(
        task="adding", length=100, cell="linear", hidden=1, initialization="orthogonal", gain=5.0,
        clip="delta", clip_threshold=1e-3, steps=2,
    )  # fmt: skip
    state = begin(experiment)
    state.network.parameters["rnn.weight_ih_l0"].fill_(0.0)  # so that the states stay finite, and the loss
    state.network.parameters["rnn.bias_ih_l0"].fill_(0.0)
    state.network.parameters["rnn.bias_hh_l0"].fill_(0.0)
    chunk = advance(state, steps=1)
    assert not np.isfinite(chunk.norm_before[0])
    assert np.isfinite(chunk.norm_after[0])
    assert (state.step, state.diverged_at) == (1, None)


# Scopes


@pytest.mark.parametrize("name", CELLS)
def test_each_scope_is_a_prefix_of_the_parameters(name):
    cell = CELLS[name]
    plan = layout_of(Experiment(task="adding", cell=cell.name, hidden=4))
    rows = 4 * len(cell.gates)
    recurrent = rows * 4 + 4 * len(cell.peepholes)
    assert set(plan.scopes) == set(SCOPES)
    assert plan.scopes["recurrent"] == recurrent
    assert plan.scopes["not_output"] == recurrent + rows * 2 + 2 * rows
    assert plan.scopes["all"] == plan.size == plan.scopes["not_output"] + 4 + 1


@pytest.mark.parametrize("name", ["norm", "value", "agc"])
@pytest.mark.parametrize("scope", SCOPES)
def test_only_what_is_in_the_scope_is_clipped(name, scope):
    """One step of SGD shows what became of each element of the gradient."""
    base = {
        "task": "digits_rows", "cell": "lstm_peephole", "hidden": 3, "batch": 4, "optimizer": "sgd",
        "learning_rate": 1.0, "steps": 1, "precision": "float64",
    }  # fmt: skip
    update = {}
    for rule in ("none", name):
        state = begin(Experiment(**base, clip=rule, clip_scope=scope, clip_threshold=1e-3))
        before = state.network.flat.clone()
        chunk = advance(state)
        update[rule] = before - state.network.flat
    layout = state.network.layout
    inside = layout.scopes[scope]
    free, clipped = update["none"], update[name]
    assert chunk.clipped == 1
    if name == "agc":
        weights = layout.views(before)
        expected = torch.cat([
            torch.from_numpy(agc_by_hand(grad.numpy(), weights[parameter].numpy(), 1e-3)).flatten()
            for parameter, grad in layout.views(free).items()
        ])[:inside]  # fmt: skip
    else:
        assert measure(name, clipped[:inside]) == pytest.approx(1e-3, rel=2e-3)
        expected = clip(name, free[:inside], 1e-3)
    torch.testing.assert_close(clipped[:inside], expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(clipped[inside:], free[inside:])
    assert chunk.norm_before[0] == pytest.approx(measure(name, free[:inside]), rel=1e-9)
    assert chunk.norm_after[0] == pytest.approx(measure(name, clipped[:inside]), rel=1e-9)
