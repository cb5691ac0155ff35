"""The settings of a page: what its widgets stand for, kept in the session and in the page's address.

A page declares its settings once. The address is read when the page opens or when somebody changed it; wrong
values are left out and named; it is written after every change and holds what differs from the usual. What
stands in the session is the truth. Widgets begin with it under a key of their own round: another round begins
whenever something else than the widgets sets a value (see `knobs.fill` for why).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from ..experiment import Problem
from .setting_kinds import Choice, Kind, Number, Numbers, Several, Words
from .text import _

Query = Mapping[str, Sequence[str]]
_ON_SHOW, _VISITS = "page_on_show", "page_visits"


@dataclass
class _Kept:
    """What the session keeps of a page."""

    values: dict[str, Any]
    problems: list[Problem] = field(default_factory=list)
    seen: set[tuple[tuple[str, tuple[str, ...]], ...]] = field(default_factory=set)
    round: int = 0
    anew: dict[str, int] = field(default_factory=dict)  # how often a setting was set by something else
    instead: dict[str, str] = field(default_factory=dict)  # of settings whose value is not offered now


class Settings:
    """The settings of one page. `others`: parameters of the address that somebody else reads and writes."""

    def __init__(self, page: str, kinds: Mapping[str, Kind], others: frozenset[str] = frozenset()) -> None:
        self.page, self.kinds, self.others = page, kinds, others

    def begin(self, new: bool | None = None) -> list[Problem]:
        """Take the settings from the address, if it is new; returns what was wrong with it.

        new: what `arrived` says, for a page that has asked already
        """
        kept = self._kept()
        if arrived(self.page) if new is None else new:
            kept.seen = {()}  # the next address is meant; none means as it was
            kept.problems = []
            kept.round += 1  # widgets that were away have lost their state
        query = {name: tuple(st.query_params.get_all(name)) for name in st.query_params}
        if _key(query) in kept.seen:
            return kept.problems
        kept.seen.add(_key(query))
        values, kept.problems = self.from_query(query)
        kept.values, kept.instead = values, {}
        kept.round += 1
        return kept.problems

    def from_query(self, query: Query) -> tuple[dict[str, Any], list[Problem]]:
        """Every setting's value, and what was wrong."""
        values = {name: kind.default for name, kind in self.kinds.items()}
        problems = []
        for name, given in query.items():
            if name in self.others or not given:
                continue
            if name not in self.kinds:
                sentence = _("this page has no such setting; it was ignored.")
                problems.append(Problem(name, given[-1], sentence))
                continue
            try:
                values[name] = self.kinds[name].read(given[-1])
            except ValueError as error:
                problems.append(Problem(name, given[-1], str(error)))
        return values, problems

    def to_query(self) -> dict[str, list[str]]:
        """What differs from the usual."""
        values = self._kept().values
        return {
            name: [kind.write(values[name])]
            for name, kind in self.kinds.items()
            if values[name] != kind.default
        }

    def finish(self, others: Query | None = None) -> None:
        """Bring the address up to date; `others` are the parameters that are not settings."""
        query = {**{name: list(values) for name, values in (others or {}).items()}, **self.to_query()}
        self._kept().seen.add(_key(query))
        if {name: st.query_params.get_all(name) for name in st.query_params} != query:
            st.query_params.from_dict(query)

    def __getitem__(self, name: str) -> Any:
        kept = self._kept()
        return kept.instead.get(name, kept.values[name])

    def set(self, **values: Any) -> None:
        """Give settings other values, from a callback or a button: their widgets begin anew with them."""
        kept = self._kept()
        kept.values |= values
        for name in values:
            kept.instead.pop(name, None)
        for name in values:  # only these: the others stay as they are while something is dragged
            kept.anew[name] = kept.anew.get(name, 0) + 1

    def note(self, name: str, value: Any) -> None:
        """Keep a value that the browser itself has set: no widget begins anew."""
        self._kept().values[name] = value

    def round(self) -> int:
        """How often something else than the widgets has set values."""
        kept = self._kept()
        return kept.round + sum(kept.anew.values())

    def key(self, name: str) -> str:
        """The key of a setting's widget in this round."""
        kept = self._kept()
        return f"{self.page}:{name}:{kept.round + kept.anew.get(name, 0)}"

    def slider(self, name: str, label: str, **more: Any) -> Any:
        """A slider for a number."""
        kind = self.kinds[name]
        assert isinstance(kind, Number)
        return self._take(
            name, st.slider, label, min_value=kind.of(kind.low), max_value=kind.of(kind.high),
            value=kind.of(self[name]), step=kind.step, **more,
        )  # fmt: skip

    def number(self, name: str, label: str, most: float | None = None, **more: Any) -> Any:
        """A field for a number; `most` where this page's network allows no more."""
        kind = self.kinds[name]
        assert isinstance(kind, Number)
        high = kind.high if most is None else min(kind.high, most)
        return self._take(
            name, st.number_input, label, min_value=kind.of(kind.low), max_value=kind.of(high),
            value=kind.of(min(self[name], high)), step=kind.step, **more,
        )  # fmt: skip

    def text(self, name: str, label: str, **more: Any) -> str:
        """A field for a text."""
        kind = self.kinds[name]
        assert isinstance(kind, Words)
        return str(self._take(name, st.text_input, label, value=self[name], max_chars=kind.most, **more))

    def numbers(
        self, name: str, labels: Mapping[int, str], across: int = 1, **more: Any
    ) -> tuple[float, ...]:
        """A field for each labelled place of a list of numbers, `across` of them in a row."""
        kind = self.kinds[name]
        assert isinstance(kind, Numbers)
        values = list(self[name])
        cells = [st.columns(across) for _row in range(0, len(labels), across)] if across > 1 else []
        for k, (place, label) in enumerate(labels.items()):
            with cells[k // across][k % across] if cells else nullcontext():
                values[place] = st.number_input(
                    label, min_value=float(kind.low), max_value=float(kind.high), value=float(values[place]),
                    key=f"{self.key(name)}:{place}", **more,
                )  # fmt: skip
        self._kept().values[name] = tuple(values)
        return tuple(values)

    def switch(self, name: str, label: str, among: Sequence[str] | None = None, **more: Any) -> str:
        """A row of buttons, one of which is pressed."""
        kind = self.kinds[name]
        assert isinstance(kind, Choice)
        names = list(kind.options if among is None else among)
        value, key = self._one_of(name, names)
        found = st.segmented_control(
            label, names, default=value, key=key, format_func=lambda option: _(kind.options[option]),
            required=True, **more,
        )  # fmt: skip
        return self._took(name, found, value)

    def select(self, name: str, label: str, among: Sequence[str] | None = None, **more: Any) -> str:
        """A list that unfolds."""
        kind = self.kinds[name]
        assert isinstance(kind, Choice)
        names = list(kind.options if among is None else among)
        value, key = self._one_of(name, names)
        found = st.selectbox(
            label, names, index=names.index(value), key=key,
            format_func=lambda option: _(kind.options[option]), **more,
        )  # fmt: skip
        return self._took(name, found, value)

    def among(self, name: str, label: str, numbers: Sequence[int], last: bool = False, **more: Any) -> int:
        """A slider over some whole numbers, at the one that the setting comes nearest to.

        last: -1 stands for the last number, and as long as that is chosen it stays so when there are more
        """
        wanted = self[name]
        value = numbers[-1] if last and wanted < 0 else min(numbers, key=lambda n: abs(n - wanted))
        key = f"{self.key(name)}:{numbers[0]}:{numbers[-1]}"  # other numbers are another widget
        found = int(st.select_slider(label, list(numbers), value=value, key=key, **more))
        if found != value:
            self._kept().values[name] = -1 if last and found == numbers[-1] else found
        return found

    def problems(self) -> list[Problem]:
        """What was wrong with the address."""
        return self._kept().problems

    def pills(self, name: str, label: str, **more: Any) -> tuple[str, ...]:
        """Names to switch on and off; the last one cannot be switched off."""
        kind = self.kinds[name]
        assert isinstance(kind, Several)
        before: tuple[str, ...] = self[name]
        chosen = self._take(
            name, st.pills, label, list(kind.options), selection_mode="multi", default=list(before),
            wrap=True, format_func=lambda option: _(kind.options[option]), **more,
        )  # fmt: skip
        if not chosen:
            self.set(**{name: before})
            st.rerun()
        self._kept().values[name] = tuple(option for option in kind.options if option in chosen)
        return self[name]  # type: ignore[no-any-return]

    def _one_of(self, name: str, names: Sequence[str]) -> tuple[str, str]:
        """What a widget that offers `names` begins with, and its key. What is not there comes back later."""
        kept, key = self._kept(), self.key(name)
        if kept.values[name] in names:
            kept.instead.pop(name, None)
            return kept.values[name], key
        kept.instead[name] = names[0]
        return names[0], f"{key}:instead"

    def _took(self, name: str, found: str, value: str) -> str:
        kept = self._kept()
        if found != value:
            kept.values[name] = found
            kept.instead.pop(name, None)
        return found

    def _take(self, name: str, widget: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        value = widget(*arguments, key=self.key(name), **more)
        self._kept().values[name] = value
        return value

    def _kept(self) -> _Kept:
        key = f"settings:{self.page}"
        if key not in st.session_state:
            st.session_state[key] = _Kept({name: kind.default for name, kind in self.kinds.items()})
        kept: _Kept = st.session_state[key]
        return kept


def _key(query: Query) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(sorted((name, tuple(values)) for name, values in query.items()))


def visit(page: str) -> None:
    """Note which page is on show; the navigation says so in every run of the script."""
    if st.session_state.get(_ON_SHOW) != page:
        st.session_state[_ON_SHOW] = page
        st.session_state[_VISITS] = st.session_state.get(_VISITS, 0) + 1


def arrived(page: str) -> bool:
    """Whether this run of the script is the first on this page since another one was on show."""
    visits, known = st.session_state.get(_VISITS, 0), f"visited:{page}"
    before = st.session_state.get(known)
    st.session_state[known] = visits
    return before is not None and before != visits
