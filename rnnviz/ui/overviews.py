"""Everything a run has shown so far, in bounded size, kept up to date and not made anew for each viewer."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..runs.chunk import overview
from ..runs.store import Store

MOST = 64  # runs whose overview is kept

_lock = threading.Lock()
_kept: OrderedDict[tuple[str, str], tuple[int, bytes]] = OrderedDict()  # (store, run) to (last step, blob)


def overview_of(store: Store, run: str, after: int = -1) -> tuple[int, bytes] | None:
    """(last step, screen blob) of what `run` has drawn after step `after`; None before the first chunk."""
    key = (store.url, run)
    with _lock:
        last, blob = _kept.get(key, (-1, None))
    if blob is not None and store.newest(run) < last:
        last, blob = -1, None  # a slice was lost and is made again
    news = store.screens(run, last)
    if news:
        whole = overview([*([] if blob is None else [blob]), *(screen for _, screen in news)])
        assert whole is not None
        last, blob = max(last, news[-1][0]), whole
    if blob is None:
        return None
    with _lock:
        _kept[key] = (last, blob)
        _kept.move_to_end(key)
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    rest = blob if after < 0 else overview([blob], after)
    assert rest is not None
    return last, rest
