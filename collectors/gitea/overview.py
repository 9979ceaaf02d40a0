"""One look at what is new in all repositories of a scope, so that idle ones cost nothing."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from collectors._http import NotThere
from collectors.gitea.news import News, Signal
from exporter.clock import Clock, timestamp
from exporter.contract import Unit
from exporter.errors import SourceError, Stopped, Unauthorized

log = logging.getLogger(__name__)

_MOST_PAGES = 20
_MOST_REMEMBERED = 5_000


class Overview:
    """What the list of one scope told; for several threads.

    A repository is *quiet* if it was read by itself after the first look, and no look since then showed
    anything new of it, or missed anything. A look serves each repository once, and for *every* seconds; then
    whoever wants to know takes the next one.
    """

    def __init__(
        self, scope: str, news: News, clock: Clock, every: float, wake: Callable[[str], None]
    ) -> None:
        self._scope = scope
        self._news = news
        self._clock = clock
        self._every = every
        self._wake = wake
        self._turn = threading.Lock()
        self._looked_at: float | None = None
        self._usable = True
        self._keys: dict[str, str] = {}
        self._members: frozenset[str] = frozenset()
        self._quiet: set[str] = set()
        self._told: set[str] = set()
        self._seen: OrderedDict[int, Signal] = OrderedDict()

    def watch(self, units: Iterable[Unit]) -> None:
        """These are the repositories of the scope; whether the list may be read is to be tried anew."""
        with self._turn:
            self._keys = {unit.name.lower(): unit.key for unit in units}
            self._members = frozenset(self._keys.values())
            self._quiet &= self._members
            self._usable = True

    def has(self, unit: Unit) -> bool:
        """Whether the repository is one of the scope."""
        return unit.key in self._members

    def quiet(self, unit: Unit) -> bool:
        """Whether there is nothing new of the repository; false if nobody can tell."""
        with self._turn:
            if self._usable and (unit.key in self._told or self._is_old()):
                self._told.clear()
                self._look(unit)
                self._looked_at = timestamp(self._clock.now())
            self._told.add(unit.key)
            return self._usable and unit.key in self._quiet

    def _is_old(self) -> bool:
        """Whether there was no look lately."""
        now = timestamp(self._clock.now())
        return self._looked_at is None or not 0 <= now - self._looked_at < self._every

    def begin(self, unit: Unit) -> None:
        """The repository is about to be read by itself: what a look shows from now on is news again."""
        with self._turn:
            if self._usable and self._looked_at is not None:
                self._quiet.add(unit.key)

    def forget(self, unit: Unit) -> None:
        """There is something of the repository to be read; at once, also while a look is under way."""
        self._quiet.discard(unit.key)

    def _look(self, asking: Unit) -> None:
        """Read the list down to what was seen before; a repository with news is not quiet any more."""
        fresh: list[Signal] = []
        if not self._read(fresh):
            self._quiet.clear()  # what this look should have shown, no other one will
        for signal in reversed(fresh):
            self._seen[signal.order] = signal
            self._seen.move_to_end(signal.order)
            key = self._keys.get(signal.project.lower())
            if key is not None and key in self._quiet:
                self._quiet.discard(key)
                if key != asking.key:
                    self._wake(key)
        while len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)

    def _read(self, fresh: list[Signal]) -> bool:
        """Add to *fresh* what was not seen so; false if the list did not come down to what was seen."""
        try:
            met = self._read_pages(fresh)
            if not self._news.tells_all:
                fresh += self._unseen(self._news.going_on(self._scope))
            return met
        except (Stopped, Unauthorized):
            raise
        except SourceError as error:
            self._usable = not isinstance(error, NotThere)
            log.debug("no look at %s (%s): its repositories are asked one by one", self._scope, error)
            return False

    def _read_pages(self, fresh: list[Signal]) -> bool:
        begun = bool(self._seen)
        for number, page in enumerate(self._news.pages(self._scope), 1):
            fresh += self._unseen(page)
            if not begun or any(signal.order in self._seen for signal in page):
                return True
            if number >= _MOST_PAGES:
                return False
        return True

    def _unseen(self, signals: Iterable[Signal]) -> list[Signal]:
        return [signal for signal in signals if self._seen.get(signal.order) != signal]
