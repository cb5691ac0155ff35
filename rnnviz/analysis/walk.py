"""The walk through a small network, forward and back: at each stop one node and its equation with numbers.

The equations are LaTeX, so that they can be shown, printed or put into lecture notes. Step 1 is the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .by_hand import WEIGHTS, SmallNetwork, Worked
from .latex import array, factor, grad, number, plain, product, short

Phase = Literal["forward", "backward", "sum"]


@dataclass(frozen=True)
class Equation:
    """LaTeX: an equation in symbols, and its right-hand side with numbers, up to the result."""

    symbols: str
    numbers: str


@dataclass(frozen=True)
class Frame:
    """One stop.

    name: unique in the walk, such as "S2", "dS2", "sum W_s"; step: the time step, from 1, or None for a sum
    over all of them; kind: what happens, for the sentence that says it; values: what that sentence names.
    """

    name: str
    phase: Phase
    step: int | None
    kind: str
    equations: tuple[Equation, ...]
    values: Mapping[str, str] = field(default_factory=dict)


def walk(worked: Worked) -> tuple[Frame, ...]:
    """Forward from the first step, back from the last, and one sum for each weight."""
    steps = range(worked.network.T)
    frames = [frame for t in steps for frame in _forward(worked, t)]
    frames += [frame for t in reversed(steps) for frame in _backward(worked, t)]
    frames += [_sum(worked, name) for name in WEIGHTS]
    return tuple(frames)


def _forward(w: Worked, t: int) -> Iterator[Frame]:
    net, n = w.network, t + 1
    W_x, W_s, W_o = np.array(net.W_x), np.array(net.W_s), np.array([net.W_o])
    terms = [
        _times(array(W_x), factor(np.array(net.inputs[t]))),
        _times(factor(W_s), factor(w.before[t])),
        factor(np.array(net.b_1)),
    ]
    inside = " + ".join(terms)
    symbols = rf"S_{n} = {_phi(net, f'W_x X_{n} + W_s S_{t} + b_1')}"
    numbers = _phi(net, inside)
    if net.activation != "linear":
        numbers += f" = {_phi(net, array(w.inner[t]))}"
    yield Frame(
        f"S{n}", "forward", n, "state", (Equation(symbols, f"{numbers} = {array(w.state[t])}"),),
        {"t": str(n), "before": str(t)},
    )  # fmt: skip
    read = f"{_times(array(W_o), factor(w.state[t]))} + {factor(np.array(net.b_2))}"
    yield Frame(
        f"O{n}", "forward", n, "output",
        (Equation(rf"O_{n} = W_o S_{n} + b_2", f"{read} = {number(w.output[t])}"),), {"t": str(n)},
    )  # fmt: skip
    if t in net.counted:
        difference = f"{number(net.targets[t])} - {factor(w.output[t])}"
        yield Frame(
            f"L{n}", "forward", n, "loss",
            (
                Equation(
                    rf"L_{n} = \frac{{1}}{{2}} (Y_{n} - O_{n})^2",
                    rf"\frac{{1}}{{2}} ({difference})^2 = {number(w.loss[t])}",
                ),
            ),
            {"t": str(n)},
        )  # fmt: skip


def _backward(w: Worked, t: int) -> Iterator[Frame]:
    net, n = w.network, t + 1
    if t in net.counted:
        yield _at_output(w, t)
    if not net.reached(t):
        kind = "cut"
        lost = array(w.cut[t])
        equation = Equation(
            rf"{grad(loss_of(net), f'S_{n}')} \to 0", rf"\textcolor{{gray}}{{{lost}}} \to {number(0.0)}"
        )
        yield Frame(f"dS{n}", "backward", n, kind, (equation,), {"t": str(n), "reach": str(net.reach)})
        return
    yield _at_state(w, t)
    yield _at_weights(w, t)


def _at_output(w: Worked, t: int) -> Frame:
    net, n = w.network, t + 1
    L = loss_of(net)
    mark = "" if net.H == 1 else r"^\top"
    g = np.array(w.grad_output[t])
    first = Equation(
        rf"{grad(L, f'O_{n}')} = O_{n} - Y_{n}",
        f"{number(w.output[t])} - {factor(np.array(net.targets[t]))} = {number(w.grad_output[t])}",
    )
    weight = Equation(
        rf"{term_of(net, 'W_o', n)} = {grad(L, f'O_{n}')} S_{n}{mark}",
        f"{_times(factor(g), factor(w.state[t][None]))} = {array(w.terms['W_o'][t])}",
    )
    bias = Equation(rf"{term_of(net, 'b_2', n)} = {grad(L, f'O_{n}')}", array(w.terms["b_2"][t]))
    return Frame(f"dO{n}", "backward", n, "grad_output", (first, weight, bias), {"t": str(n)})


def _at_state(w: Worked, t: int) -> Frame:
    """dL/dS_t: what comes from the step's own loss, and what comes back through the next state."""
    net, n = w.network, t + 1
    L, own, last = loss_of(net), t in net.counted, t == net.T - 1
    one = net.H == 1
    mark = "" if one else r"^\top"
    symbols, numbers = [], []
    if own:
        symbols.append(rf"W_o{mark} {grad(L, f'O_{n}')}")
        numbers.append(_times(array(np.array(net.W_o)), factor(np.array(w.grad_output[t]))))
    later = grad(L, f"S_{n + 1}")
    partly = t + net.reach in net.counted  # that loss goes back to the next step and no further
    if not last:
        kept = w.onward[t + 1]
        slope = _slope(net, n + 1)
        if slope:
            middle = rf"{slope} {later}" if one else rf"\left( {slope} \odot {later} \right)"
            through = [factor(w.slope[t + 1]), factor(kept)]
            inner = r" \cdot ".join(through) if one else rf"\left( {through[0]} \odot {through[1]} \right)"
        else:
            middle, inner = later, factor(kept)
        symbols.append(rf"W_s{mark} {middle}")
        numbers.append(_times(array(np.array(net.W_s).T), inner))
    kind = "grad_state" if own and not last else "grad_state_last" if own else "grad_state_carried"
    equation = Equation(
        rf"{grad(L, f'S_{n}')} = {' + '.join(symbols)}",
        f"{' + '.join(_bracketed(numbers))} = {array(w.grad_state[t])}",
    )
    values = {"t": str(n), "after": str(n + 1), "cut": str(n + net.reach)}
    return Frame(
        f"dS{n}", "backward", n, f"{kind}_partly" if partly else kind, (equation,), values
    )  # fmt: skip


def _at_weights(w: Worked, t: int) -> Frame:
    """The step's terms: through the activation to a_t, and from there to each weight."""
    net, n = w.network, t + 1
    L, slope = loss_of(net), _slope(w.network, n)
    mark = "" if net.H == 1 else r"^\top"
    delta = factor(w.delta[t])
    between = " " if net.H == 1 else r" \odot "
    symbols = rf"\delta_{n} = {slope + between if slope else ''}{grad(L, f'S_{n}')}"
    numbers = array(w.delta[t])
    if slope:
        point = r" \cdot " if net.H == 1 else r" \odot "
        numbers = f"{array(w.slope[t])}{point}{factor(w.grad_state[t])} = {numbers}"
    before, x = w.before[t][None], np.array(net.inputs[t])
    equations = (
        Equation(symbols, numbers),
        Equation(
            rf"{term_of(net, 'W_s', n)} = \delta_{n} S_{n - 1}{mark}",
            f"{_times(delta, factor(before))} = {array(w.terms['W_s'][t])}",
        ),
        Equation(
            rf"{term_of(net, 'W_x', n)} = \delta_{n} X_{n}",
            f"{_times(delta, factor(x))} = {array(w.terms['W_x'][t])}",
        ),
        Equation(rf"{term_of(net, 'b_1', n)} = \delta_{n}", array(w.terms["b_1"][t])),
    )
    return Frame(f"dW{n}", "backward", n, "terms", equations, {"t": str(n), "before": str(n - 1)})


def _sum(w: Worked, name: str) -> Frame:
    """dL/dW: the terms of all steps, those that the truncation left out in grey."""
    net = w.network
    mark = "" if net.H == 1 else r"^\top"
    out = grad(loss_of(net), "O_t")
    form = {
        "W_o": rf"{out} S_t{mark}", "b_2": out, "W_x": r"\delta_t X_t", "b_1": r"\delta_t",
        "W_s": rf"\delta_t S_{{t-1}}{mark}",
    }[name]  # fmt: skip
    steps = [t for t in range(net.T) if name not in ("W_o", "b_2") or t in net.counted]
    written: list[str] = []
    for t in steps:
        lost = w.left_out[name][t]
        if net.reached(t):
            written.append(factor(w.terms[name][t]) if written else array(w.terms[name][t]))
        if lost.any() or not net.reached(t):
            written.append(rf"\textcolor{{gray}}{{{factor(lost)}}}")
    result = w.gradient[name]
    apart = float(np.abs(result - w.autograd[name]).max())
    missing = float(np.abs(w.left_out[name].sum(0)).max())
    symbols = rf"{grad(loss_of(net), name)} = \sum_{{t=1}}^{{{net.T}}} {form}"
    if len(steps) == 1 and net.T > 1:
        symbols = rf"{grad(loss_of(net), name)} = {form.replace('_t', f'_{net.T}')}"
    text = " + ".join(written) + (f" = {array(result)}" if len(written) > 1 else "")
    values = {
        "weight": name,
        "autograd": plain(w.autograd[name]),
        "difference": short(apart),
        "whole": plain(w.autograd_whole[name]),
        "missing": short(missing),
    }
    return Frame(
        f"sum {name}", "sum", None, "sum_cut" if missing else "sum",
        (Equation(symbols, text),), values,
    )  # fmt: skip


@dataclass(frozen=True)
class Link:
    """The last loss's term of dL/dW_s for one step as a chain of products, in LaTeX.

    step: k, from 1. output: dL/dO and read: dO/dS_T; between: the Jacobians from S_T back to S_k and their
    product; weight: dS_k/dW_s, with two units phi'(a_k) and S_{k-1}; term: the product of all of it. size:
    the largest singular value of the product between. reached: whether the truncation lets it count.
    """

    step: int
    output: str
    read: str
    between: str
    weight: str
    term: str
    size: float
    reached: bool


def chain(w: Worked) -> tuple[Link, ...]:
    """The last loss back to each step, the last step first."""
    net = w.network
    last = net.T - 1
    links = []
    for k in range(last, -1, -1):
        between = w.product(last, k)
        factors = [w.jacobian[j] for j in range(last, k, -1)]
        if not factors:
            written = "1" if net.H == 1 else "I"
        else:
            written = product(*factors) + (f" = {array(between)}" if len(factors) > 1 else "")
        pieces = [w.slope[k], w.before[k][None]]
        if net.H > 1:
            weight = rf"{array(pieces[0])} \;,\; {array(pieces[1])}"
        elif net.activation == "linear":
            weight = array(pieces[1])
        else:
            weight = product(*pieces)
        links.append(
            Link(
                k + 1, number(w.grad_output[last]), array(np.array([net.W_o])), written, weight,
                array(w.whole.terms["W_s"][last, k]), float(np.linalg.norm(between, 2)),
                last - k < net.reach,
            )
        )  # fmt: skip
    return tuple(links)


def loss_of(net: SmallNetwork) -> str:
    """L for a sum of losses, L_T for the last one alone."""
    return "L" if net.every else f"L_{net.T}"


def term_of(net: SmallNetwork, name: str, n: int) -> str:
    """The symbol of step n's term of a weight's gradient."""
    return rf"\left[ {grad(loss_of(net), name)} \right]_{n}"


def _phi(net: SmallNetwork, inside: str) -> str:
    match net.activation:
        case "linear":
            return inside
        case "relu":
            return rf"\max\left(0, {inside}\right)"
        case "sigmoid":
            return rf"\sigma\left({inside}\right)"
        case name:
            return rf"\{name}\left({inside}\right)"


def _slope(net: SmallNetwork, n: int) -> str:
    """phi'(a_n) in terms of S_n, as the cell computes it; empty where it is 1."""
    return {
        "tanh": rf"(1 - S_{n}^2)",
        "sigmoid": rf"S_{n} (1 - S_{n})",
        "relu": rf"[S_{n} > 0]",
    }.get(net.activation, "")


def _times(left: str, right: str) -> str:
    both = "matrix" in left and "matrix" in right  # a number beside a bracket would read as an index
    return rf"{left}\, {right}" if both else rf"{left} \cdot {right}"


def _bracketed(terms: list[str]) -> list[str]:
    """Terms after the first with a bracket where they begin with a minus."""
    return [term if k == 0 or not term.startswith("-") else f"({term})" for k, term in enumerate(terms)]
