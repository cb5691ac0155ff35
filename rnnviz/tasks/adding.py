"""The adding problem: one number of each half is marked; answer their sum."""

from typing import final

from .marked import TOLERANCE, MarkedNumbers
from .task import Floats, Solved


@final
class Adding(MarkedNumbers):
    name = "adding"
    label = "Adding two numbers"
    question = "Which two numbers were marked, one in each half, and what is their sum?"
    explanation = (
        "At every step the network sees a random number between 0 and 1 and a marker, nearly always 0. "
        "The marker is 1 at one step of the first half and at one step of the second half. "
        "After the last step the network must answer the sum of the two marked numbers."
    )
    source = (
        "Hochreiter & Schmidhuber (1997), Long Short-Term Memory, experiment 4; "
        "in the form of Arjovsky, Shah & Bengio (2016), Unitary Evolution Recurrent Neural Networks"
    )
    sign = "+"
    accuracy_label = f"sums right to within {TOLERANCE}"
    baseline_label = "always answering 1: MSE 1/6"
    solved = Solved("loss", 0.01, "The mean squared error on the validation sequences is below 0.01.")

    def baseline(self, length: int) -> float:
        """Variance of the sum of two independent U[0, 1]."""
        return 1 / 6

    def result(self, first: Floats, second: Floats) -> Floats:
        return first + second
