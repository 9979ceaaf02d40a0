"""Simulated time and chance: an event queue in milliseconds, and timestamps written and read."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from random import Random

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Timeline:
    """Now, and what will happen; equal moments happen in the order in which they were planned."""

    def __init__(self, start: int) -> None:
        self.now = start
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, delay: int, action: Callable[[], None]) -> None:
        """Plan *action* in *delay* milliseconds."""
        heapq.heappush(self._queue, (self.now + max(0, delay), next(self._order), action))

    def advance_to(self, moment: int) -> None:
        """Let everything up to and including *moment* happen, each at its own time."""
        while self._queue and self._queue[0][0] <= moment:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = max(self.now, moment)


def zone_of(offset: str) -> timezone:
    """The time zone written as ``Z`` or ``+02:00``."""
    if offset == "Z":
        return UTC
    sign = -1 if offset.startswith("-") else 1
    hours, minutes = offset[1:].split(":")
    return timezone(sign * timedelta(hours=int(hours), minutes=int(minutes)))


@lru_cache(maxsize=1 << 16)
def _iso(moment: int, offset: str) -> str:
    when = datetime.fromtimestamp(moment // 1000, zone_of(offset))
    return f"{when:%Y-%m-%dT%H:%M:%S}.{moment % 1000:03d}{offset}"


def iso(moment: int | None, offset: str = "Z") -> str | None:
    """ISO 8601 with milliseconds, ``None`` for ``None``."""
    return None if moment is None else _iso(moment, offset)


def parse(text: str) -> int:
    """Milliseconds since 1970 of an ISO date or time; without a zone it is UTC.

    Raises:
        ValueError: it is none; a space is not accepted, so an unescaped ``+`` fails.
    """
    if " " in text or "-" not in text:
        raise ValueError(text)
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def dice(seed: int) -> Random:
    """A repeatable source of chance; nothing here is a secret."""
    return Random(seed)  # noqa: S311
