"""A small network by hand: each number against autograd on formulas written anew, and against the notes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnviz.analysis.by_hand import ACTIVATIONS, EXAMPLES, WEIGHTS, SmallNetwork, work_out
from rnnviz.analysis.latex import array, factor, number, plain, product, short
from rnnviz.analysis.walk import chain, walk
from tests.independent import Independent

every_example = pytest.mark.parametrize("name", EXAMPLES)


@st.composite
def networks(draw: st.DrawFn) -> SmallNetwork:
    """Any small network whose numbers are not huge."""
    T, H = draw(st.integers(1, 6)), draw(st.integers(1, 2))
    value = st.integers(-20, 20).map(lambda n: n / 10)

    def row(length: int) -> tuple[float, ...]:
        return tuple(draw(value) for _ in range(length))

    return SmallNetwork(
        activation=draw(st.sampled_from(ACTIVATIONS)),
        W_x=row(H),
        W_s=tuple(row(H) for _ in range(H)),
        b_1=row(H),
        W_o=row(H),
        b_2=draw(value),
        inputs=row(T),
        targets=row(T),
        initial=draw(st.sampled_from([(), row(H)])),
        every=draw(st.booleans()),
        through=draw(st.none() | st.integers(1, 7)),
    )


def close(got, expected) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12 * scale)


@given(networks())
@settings(max_examples=120, deadline=None)
def test_each_number_is_autograds(net):
    worked, judge = work_out(net), Independent(net, net.reach)
    close(worked.total_loss, judge.loss.item())
    close(worked.state, [state.detach().numpy() for state in judge.states[-1]])
    close(worked.output, [output.item() for output in judge.outputs])
    for t in range(net.T):
        close(worked.grad_state[t], judge.grad_state(t))
        for name in WEIGHTS:
            close(worked.terms[name][t], judge.term(name, t))
    for name in WEIGHTS:
        close(worked.gradient[name], judge.gradient(name))
        close(worked.autograd[name], judge.gradient(name))
        close(worked.autograd_whole[name], Independent(net, net.T).gradient(name))


@given(networks())
@settings(max_examples=60, deadline=None)
def test_what_is_kept_and_what_is_left_out_make_the_whole(net):
    worked = work_out(net)
    for name in WEIGHTS:
        assert worked.terms[name].shape == (net.T, *worked.autograd[name].shape)
        whole = (worked.terms[name] + worked.left_out[name]).sum(0)
        close(whole, worked.autograd_whole[name])
        if net.reach == net.T:
            assert not worked.left_out[name].any()
        if name in ("W_o", "b_2"):  # they are used behind the recurrence, once for each loss
            assert not worked.left_out[name].any()
    for t in range(net.T):
        if not net.reached(t):
            assert not worked.grad_state[t].any()
            assert not any(worked.terms[name][t].any() for name in ("W_x", "W_s", "b_1"))


@given(networks())
@settings(max_examples=60, deadline=None)
def test_a_gradient_is_what_the_step_after_it_hands_back(net):
    """The recursion that the page writes out: the direct part, and the later one through the Jacobian."""
    worked = work_out(net)
    for t in range(net.T):
        close(worked.direct[t], np.array(net.W_o) * worked.grad_output[t])
        close(worked.grad_state[t], worked.direct[t] + worked.carried[t])
        close(worked.delta[t], worked.slope[t] * worked.grad_state[t])
        if t < net.T - 1:
            close(worked.carried[t], worked.jacobian[t + 1].T @ worked.onward[t + 1])
            if net.reach == net.T:
                close(worked.onward[t + 1], worked.grad_state[t + 1])


def test_the_lecture_notes_three_steps_written_out():
    """S_t = W_x X_t + W_s S_{t-1} + b_1, O_t = W_o S_t + b_2, L_3 = (Y_3 - O_3)^2 / 2."""
    net = EXAMPLES["lecture"]
    (w_x,), ((w_s,),), (b_1,), (w_o,), b_2 = net.W_x, net.W_s, net.b_1, net.W_o, net.b_2
    (x_1, x_2, x_3), y_3, (s_0,) = net.inputs, net.targets[-1], net.initial
    s_1 = w_x * x_1 + w_s * s_0 + b_1
    s_2 = w_x * x_2 + w_s * s_1 + b_1
    s_3 = w_x * x_3 + w_s * s_2 + b_1
    o_3 = w_o * s_3 + b_2
    e = o_3 - y_3  # dL_3/dO_3
    expected = {
        "W_o": e * s_3,
        "b_2": e,
        "W_s": e * w_o * (s_2 + w_s * s_1 + w_s**2 * s_0),
        "W_x": e * w_o * (x_3 + w_s * x_2 + w_s**2 * x_1),
        "b_1": e * w_o * (1 + w_s + w_s**2),
    }
    worked = work_out(net)
    assert worked.total_loss == pytest.approx((y_3 - o_3) ** 2 / 2, rel=1e-14)
    for name, value in expected.items():
        assert worked.gradient[name].item() == pytest.approx(value, rel=1e-14)
    assert worked.terms["W_s"].ravel() == pytest.approx(
        [e * w_o * w_s**2 * s_0, e * w_o * w_s * s_1, e * w_o * s_2], rel=1e-14
    )
    assert worked.passage == pytest.approx(w_s**2, rel=1e-14)
    assert not net.every
    assert all(value != 0 for value in expected.values()), "an example that shows something"


def test_the_examples_show_what_they_are_called():
    assert work_out(EXAMPLES["vanishing"]).passage < 1e-2
    assert work_out(EXAMPLES["exploding"]).passage > 10
    cut = work_out(EXAMPLES["truncated"])
    assert abs(cut.left_out["W_s"].sum()) > abs(cut.gradient["W_s"].item()) / 2
    assert EXAMPLES["two"].H == 2


@given(networks())
@settings(max_examples=40, deadline=None)
def test_the_chain_of_products_makes_each_term(net):
    worked = work_out(net)
    links = chain(worked)
    last = net.T - 1
    for one in links:
        k = one.step - 1
        back = worked.grad_output[last] * np.array(net.W_o) @ worked.product(last, k)
        term = np.outer(back * worked.slope[k], worked.before[k])
        close(worked.whole.terms["W_s"][last, k], term)
        assert one.term == array(worked.whole.terms["W_s"][last, k])
        assert one.reached == (last - k < net.reach)
        assert one.size == pytest.approx(float(np.linalg.norm(worked.product(last, k), 2)))
    assert [one.step for one in links] == list(range(net.T, 0, -1))


def test_a_linear_chain_is_a_power_of_the_weight():
    links = chain(work_out(EXAMPLES["exploding"]))
    assert [one.size for one in links] == pytest.approx([1.8**n for n in range(6)])
    assert links[2].between == r"1.8 \cdot 1.8 = 3.24"


@given(networks())
@settings(max_examples=60, deadline=None)
def test_the_walk_meets_every_node_once_and_ends_with_the_recurrent_weight(net):
    worked = work_out(net)
    frames = walk(worked)
    names = [frame.name for frame in frames]
    assert len(set(names)) == len(names)
    losses = {t + 1 for t in net.counted}
    forward = [
        f"{node}{t}" for t in range(1, net.T + 1) for node in ("S", "O", "L") if node != "L" or t in losses
    ]
    assert [frame.name for frame in frames if frame.phase == "forward"] == forward
    back = []
    for t in range(net.T, 0, -1):
        back += [f"dO{t}"] if t in losses else []
        back += [f"dS{t}", f"dW{t}"] if net.reached(t - 1) else [f"dS{t}"]
    assert [frame.name for frame in frames if frame.phase == "backward"] == back
    assert names[-5:] == [f"sum {name}" for name in WEIGHTS]
    assert names[-1] == "sum W_s"
    for frame in frames:
        for equation in frame.equations:
            for latex in (equation.symbols, equation.numbers):
                assert latex.count("{") == latex.count("}")
                assert latex.count(r"\left") == latex.count(r"\right")
                assert latex.count(r"\begin") == latex.count(r"\end")


@given(networks())
@settings(max_examples=60, deadline=None)
def test_each_equation_ends_with_its_result(net):
    worked = work_out(net)

    def ends(name: str, place: int, result: np.ndarray) -> None:
        frame = next(frame for frame in walk(worked) if frame.name == name)
        assert frame.equations[place].numbers.split(" = ")[-1] == array(result), name

    for t in range(net.T):
        n = t + 1
        ends(f"S{n}", 0, worked.state[t])
        ends(f"O{n}", 0, worked.output[t])
        if t in net.counted:
            ends(f"L{n}", 0, worked.loss[t])
            ends(f"dO{n}", 0, worked.grad_output[t])
            ends(f"dO{n}", 1, worked.terms["W_o"][t])
            ends(f"dO{n}", 2, worked.terms["b_2"][t])
        if net.reached(t):
            ends(f"dS{n}", 0, worked.grad_state[t])
            ends(f"dW{n}", 0, worked.delta[t])
            for place, name in enumerate(("W_s", "W_x", "b_1"), 1):
                ends(f"dW{n}", place, worked.terms[name][t])


def test_the_numbers_in_an_equation_are_this_steps():
    frames = {frame.name: frame for frame in walk(work_out(EXAMPLES["lecture"]))}
    assert frames["S2"].equations[0].symbols == "S_2 = W_x X_2 + W_s S_1 + b_1"
    assert frames["S2"].equations[0].numbers == r"0.5 \cdot 2 + 0.8 \cdot 1 + 0.1 = 1.9"
    assert frames["L3"].equations[0].numbers == r"\frac{1}{2} (1 - 1.48)^2 = 0.115"
    assert frames["dS2"].equations[0].numbers == r"0.8 \cdot 0.72 = 0.576"
    assert frames["sum W_s"].equations[0].numbers == "0.23 + 0.576 + 1.37 = 2.17"
    assert frames["sum W_s"].values["autograd"] == "2.17"


def test_a_slope_stands_in_the_equation_where_there_is_one():
    net = replace(EXAMPLES["vanishing"], activation="tanh")
    slopes = {"tanh": r"(1 - S_6^2)", "sigmoid": r"S_6 (1 - S_6)", "relu": r"[S_6 > 0]"}
    for activation, slope in slopes.items():
        frames = {frame.name: frame for frame in walk(work_out(replace(net, activation=activation)))}
        assert slope in frames["dS5"].equations[0].symbols
        assert slope in frames["dW6"].equations[0].symbols


def test_what_the_truncation_left_out_is_grey():
    net = EXAMPLES["truncated"]
    worked = work_out(net)
    frames = {frame.name: frame for frame in walk(worked)}
    grey = re.findall(r"\\textcolor\{gray\}\{([^}]*)\}", frames["sum W_s"].equations[0].numbers)
    assert grey == [factor(term) for term in worked.left_out["W_s"][:4]]
    assert frames["dS4"].kind == "cut"
    assert "dW4" not in frames
    assert frames["sum W_s"].kind == "sum_cut"
    assert frames["sum W_s"].values["whole"] == plain(worked.autograd_whole["W_s"])
    assert frames["sum W_o"].kind == "sum"


def test_a_loss_whose_way_ends_here_is_named():
    """With a loss at every step the gradient of S_3 that goes on to S_2 has lost what its own L_4 sent."""
    frames = {f.name: f for f in walk(work_out(replace(EXAMPLES["two"], through=2)))}
    assert frames["dS2"].kind == "grad_state_partly"
    assert frames["dS2"].values["cut"] == "4"
    assert frames["dS3"].kind == "grad_state"


@every_example
def test_every_perturbed_weight_changes_what_depends_on_it(name):
    """One weight moves: the loss follows its gradient, and so does each term."""
    net, small = EXAMPLES[name], 1e-6
    before = work_out(replace(net, through=None))
    moved = work_out(replace(net, b_1=(net.b_1[0] + small, *net.b_1[1:]), through=None))
    assert (moved.total_loss - before.total_loss) / small == pytest.approx(
        before.gradient["b_1"][0], rel=1e-3
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"activation": "lstm"}, "activation: got 'lstm'; allowed: tanh, relu, sigmoid, linear."),
        ({"inputs": ()}, "inputs: got none; at least one step is needed."),
        ({"targets": (1.0,)}, "targets: got 1 numbers; the network needs 3."),
        ({"b_1": (1.0, 2.0)}, "b_1: got 2 numbers; the network needs 1."),
        ({"W_s": ((1.0, 2.0),)}, "W_s row 1: got 2 numbers; the network needs 1."),
        ({"initial": (1.0, 2.0)}, "initial: got 2 numbers; the network needs 1."),
        ({"through": 0}, "through: got 0; a loss goes back through one step at least."),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        replace(EXAMPLES["lecture"], **change)


@pytest.mark.parametrize(
    ("value", "text", "latex"),
    [
        (0.0, "0", "0"),
        (0.5, "0.5", "0.5"),
        (-1.23456, "\u22121.23", "-1.23"),
        (999.96, "1000", "1000"),
        (1.525, "1.53", "1.53"),  # half up, as by hand, although the float lies just below
        (0.1 + 0.2 - 0.3 + 0.0125, "0.0125", "0.0125"),
        (-9.999e-4, "\u22120.001", "-0.001"),
        (9.996e-5, "1e-4", r"1\mathrm{e}{-4}"),
        (1234.0, "1230", "1230"),
        (0.00123, "0.00123", "0.00123"),
        (1.2e-5, "1.2e-5", r"1.2\mathrm{e}{-5}"),
        (-4.56e7, "\u22124.56e7", r"-4.56\mathrm{e}{7}"),
        (np.inf, "∞", r"\infty"),
        (-np.inf, "\u2212∞", r"-\infty"),
        (np.nan, "NaN", r"\text{NaN}"),
    ],
)
def test_numbers_have_three_digits(value, text, latex):
    assert short(value) == text
    assert number(value) == latex


def test_arrays_as_latex():
    assert array(np.array([[1.0, -2.0], [0.5, 0.0]])) == r"\begin{bmatrix}1 & -2 \\ 0.5 & 0\end{bmatrix}"
    assert array(np.array([1.0, 2.0])) == r"\begin{bmatrix}1 \\ 2\end{bmatrix}"
    assert factor(np.array([-2.0])) == "(-2)"
    assert product(np.array(-2.0), np.array(-3.0)) == r"-2 \cdot (-3)"
    assert plain(np.array([[1.0, 2.0], [3.0, 4.0]])) == "[1, 2; 3, 4]"
