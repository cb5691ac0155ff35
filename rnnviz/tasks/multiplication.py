"""The multiplication problem: one number of each half is marked; answer their product."""

from typing import final

from .marked import TOLERANCE, MarkedNumbers
from .task import Floats, Solved


@final
class Multiplication(MarkedNumbers):
    name = "multiplication"
    label = "Multiplying two numbers"
    question = "Which two numbers were marked, one in each half, and what is their product?"
    explanation = (
        "At every step the network sees a random number between 0 and 1 and a marker, nearly always 0. "
        "The marker is 1 at one step of the first half and at one step of the second half. "
        "After the last step the network must answer the product of the two marked numbers: "
        "to keep a running sum is not enough, as it is in adding."
    )
    source = (
        "Hochreiter & Schmidhuber (1997), Long Short-Term Memory, experiment 5; with the values and markers "
        "of Arjovsky, Shah & Bengio (2016), Unitary Evolution Recurrent Neural Networks"
    )
    sign = "\N{MULTIPLICATION SIGN}"
    accuracy_label = f"products right to within {TOLERANCE}"
    baseline_label = "always answering 1/4: MSE 7/144"
    # The same share of the baseline, 6 %, as the adding problem's criterion.
    solved = Solved("loss", 0.003, "The mean squared error on the validation sequences is below 0.003.")

    def baseline(self, length: int) -> float:
        """Variance of the product of two independent U[0, 1]: 1/3 * 1/3 - (1/4)^2."""
        return 7 / 144

    def result(self, first: Floats, second: Floats) -> Floats:
        return first * second
