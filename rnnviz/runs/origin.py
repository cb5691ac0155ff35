"""Where the first weights of a run came from, when they were not drawn by its seed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

LONGEST = 200  # characters of a name


@dataclass(frozen=True)
class Origin:
    """A file of somebody's own. Such a run is looked at; nothing can train it or draw its weights again.

    module: "nn.LSTM encoder.rnn", what it is and where it stood in the file. output: the tensor that became
    the output layer, None where that was drawn by the seed.
    """

    module: str
    output: str | None

    def to_json(self) -> str:
        """As the run's row keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Origin:
        """The inverse, also for what a stranger wrote. Raises ValueError."""
        try:
            values = json.loads(text)
        except RecursionError:
            values = None
        if not isinstance(values, dict) or values.keys() != {"module", "output"}:
            raise ValueError("an origin has a module and an output")
        for name, value in values.items():
            words = isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()
            if not (words or (name == "output" and value is None)):
                raise ValueError(f"{name}: it is no name of at most {LONGEST} printable characters")
        return cls(**values)
