"""Tasks with long dependencies: one file each, listed here by name."""

from .adding import Adding
from .copying import Copying
from .digits import DIGITS, DIGITS_PERMUTED, DIGITS_ROWS, DIGITS_SHUFFLED
from .echo import Echo
from .latch import Latch
from .multiplication import Multiplication
from .parity import PARITY, PARITY_RUNNING
from .permutation import Permutation
from .reber import Reber
from .repetition import REPETITION, REVERSAL
from .shuffled import Shuffled
from .spelling import Spelling
from .task import LARGEST_POOL, VALIDATION_SIZE, Batch, Solved, Task
from .temporal_order import TEMPORAL_ORDER, TEMPORAL_ORDER_3
from .text import Text

__all__ = ["LARGEST_POOL", "TASKS", "VALIDATION_SIZE", "Batch", "Solved", "Task"]

_TEMPORAL_ORDER_SHUFFLED = Shuffled(
    TEMPORAL_ORDER,
    "How many A and how many B there were can still be counted: this tells A then A and B then B, "
    "but the other two are a coin toss, so that no network can be right in more than 75 % of them.",
)

TASKS: dict[str, Task] = {
    "digits": DIGITS,
    "digits_rows": DIGITS_ROWS,
    "adding": Adding(),
    "temporal_order": TEMPORAL_ORDER,
    "copying": Copying(),
    "multiplication": Multiplication(),
    "latch": Latch(),
    "temporal_order_3": TEMPORAL_ORDER_3,
    "parity": PARITY,
    "parity_running": PARITY_RUNNING,
    "reber": Reber(),
    "permutation": Permutation(),
    "echo": Echo(),
    "repetition": REPETITION,
    "reversal": REVERSAL,
    "spelling": Spelling(),
    "digits_permuted": DIGITS_PERMUTED,
    "digits_shuffled": DIGITS_SHUFFLED,
    "temporal_order_shuffled": _TEMPORAL_ORDER_SHUFFLED,
    "text": Text(),
}
