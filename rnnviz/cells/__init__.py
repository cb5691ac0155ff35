"""Recurrent cells: equations, forward and hand-derived backward, one file for each family."""

from .cell import Cell, Ops, Product, StepGradient
from .gru import GRU, GRUChung
from .lstm import LSTM, LSTMCoupled, LSTMPeephole
from .plain import Linear, Relu, Sigmoid, Tanh

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        Tanh(),
        Relu(),
        Sigmoid(),
        Linear(),
        LSTM(),
        LSTMPeephole(),
        LSTMCoupled(),
        GRU(),
        GRUChung(),
    )
}

__all__ = ["CELLS", "Cell", "Ops", "Product", "StepGradient"]
