"""Tasks with long dependencies: one file each, listed here by name."""

from .adding import Adding
from .copying import Copying
from .digits import DIGITS, DIGITS_ROWS
from .task import LARGEST_POOL, Batch, Solved, Task
from .temporal_order import TemporalOrder

__all__ = ["LARGEST_POOL", "TASKS", "Batch", "Solved", "Task"]

TASKS: dict[str, Task] = {
    "digits": DIGITS,
    "digits_rows": DIGITS_ROWS,
    "adding": Adding(),
    "temporal_order": TemporalOrder(),
    "copying": Copying(),
}
