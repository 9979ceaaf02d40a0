"""Answers about many things, of which each poll asks for only a part anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import ceil
from typing import Any, Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Remembered(Generic[K, V]):
    """The last answer about each of many things; not for several threads.

    An answer is asked anew at the ``every``-th poll at the latest, so that a steady poll asks about an
    ``every``-th part of all; never about more than ``at_most``, so that a poll ends.
    """

    def __init__(self, *, every: int, at_most: int) -> None:
        self._every = every
        self._at_most = at_most
        self._poll = 0
        self._answers: dict[K, V] = {}
        self._asked: dict[K, int] = {}

    @overload
    def get(self, key: K) -> V | None: ...

    @overload
    def get(self, key: K, default: D) -> V | D: ...

    def get(self, key: K, default: Any = None) -> Any:
        """The last answer about *key*, *default* if none came yet."""
        return self._answers.get(key, default)

    def refresh(self, keys: Sequence[K], ask: Callable[[K], V], changed: Collection[K] = ()) -> None:
        """Ask about what is new, *changed*, or was asked longest ago; forget what is not in *keys*.

        What was answered before an error stays answered.
        """
        self._poll += 1
        for gone in self._answers.keys() - set(keys):
            del self._answers[gone], self._asked[gone]
        for key in self._due(keys, changed):
            self._answers[key] = ask(key)
            self._asked[key] = self._poll

    def _due(self, keys: Sequence[K], changed: Collection[K]) -> list[K]:
        """Whom to ask now, the most urgent first."""
        urgent = [key for key in keys if key not in self._answers]
        urgent += [key for key in keys if key in self._answers and key in changed]
        others = [key for key in keys if key in self._answers and key not in changed]
        others.sort(key=lambda key: self._asked[key])
        share = max(0, ceil(len(keys) / self._every) - len(urgent))
        return (urgent + others[:share])[: self._at_most]
