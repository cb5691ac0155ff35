"""Lessons: questions that two to four experiments answer, each measured to show what it says.

Needs neither torch nor Streamlit. `python -m benchmarks lessons` measures every lesson over five seeds.
"""

from __future__ import annotations

from . import clipping, gradients, learning, memory
from .lesson import Lesson

__all__ = ["LESSONS", "Lesson"]

_ORDER = (*memory.LESSONS, *gradients.LESSONS, *clipping.LESSONS, *learning.LESSONS)

#: In the order in which they are offered.
LESSONS: dict[str, Lesson] = {lesson.name: lesson for lesson in _ORDER}
