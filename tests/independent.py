"""A small network as plain torch, for tests: formulas written out once more, and autograd on all of them."""

from __future__ import annotations

import numpy as np
import torch

from rnnviz.analysis.by_hand import SmallNetwork

PHI = {"linear": lambda a: a, "tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


class Independent:
    """The same network as plain torch, with a copy of each weight for each step, and autograd on all of it.

    Truncated by handing each loss a network of its own, whose state is detached where its way back ends.
    """

    def __init__(self, net: SmallNetwork, reach: int) -> None:
        wide = {"dtype": torch.float64}
        values = {
            "W_x": torch.tensor(net.W_x, **wide)[:, None],
            "W_s": torch.tensor(net.W_s, **wide),
            "b_1": torch.tensor(net.b_1, **wide),
            "W_o": torch.tensor([net.W_o], **wide),
            "b_2": torch.tensor([net.b_2], **wide),
        }
        self.copies = [{k: v.clone().requires_grad_() for k, v in values.items()} for _ in net.inputs]
        self.loss, self.states, self.outputs = torch.zeros(()), [], []
        losses = range(net.T) if net.every else [net.T - 1]
        for last in losses:
            states = [torch.tensor(net.initial or [0.0] * net.H, **wide)]
            outputs = []
            for t in range(last + 1):
                w = self.copies[t]
                before = states[-1].detach() if t == last + 1 - reach else states[-1]
                inside = w["W_x"][:, 0] * net.inputs[t] + w["W_s"] @ before + w["b_1"]
                states.append(PHI[net.activation](inside))
                states[-1].retain_grad()
                outputs.append(w["W_o"][0] @ states[-1] + w["b_2"][0])
            self.loss = self.loss + (net.targets[last] - outputs[-1]) ** 2 / 2
            self.states.append(states[1:])
            self.outputs = outputs
        self.loss.backward()

    def term(self, name: str, t: int) -> np.ndarray:
        grad = self.copies[t][name].grad
        return (torch.zeros_like(self.copies[t][name]) if grad is None else grad).numpy()

    def gradient(self, name: str) -> np.ndarray:
        return np.sum([self.term(name, t) for t in range(len(self.copies))], axis=0)

    def grad_state(self, t: int) -> np.ndarray:
        states = [states for states in self.states if t < len(states)]
        grads = [own[t].grad for own in states]
        return np.sum(
            [np.zeros(len(states[0][t])) if grad is None else grad.numpy() for grad in grads], axis=0
        )
