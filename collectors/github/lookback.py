"""Finding old runs that were run again: their place in the list of runs is that of their first attempt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from collectors.github.client import GitHubClient, Listed
from collectors.github.cursor import Cursor, Window
from collectors.github.memory import Memory
from collectors.github.reader import Reader
from exporter.clock import EPOCH
from exporter.contract import Schedule

# Source: docs.github.com, "Re-running workflows and jobs": up to 30 days after its initial run.
REACH = timedelta(days=31)
_SECOND = timedelta(seconds=1)
_WINDOWS_PER_POLL = 5


@dataclass(frozen=True, slots=True)
class Slice:
    """All runs created from ``start`` to ``end``, both included."""

    start: datetime
    end: datetime
    listed: Listed


def slices(client: GitHubClient, path: str, start: datetime, end: datetime) -> Iterator[Slice]:
    """What was created from *start* to *end* in slices of one page each, the oldest first.

    A search finds a thousand runs at most, whatever it says how many there are. A page of a span that is over
    changes its place never: nothing is missed, as it may be when pages are turned while runs come and go.
    """
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    span = end - start
    while start <= end:
        until = min(start + span, end)
        listed = client.created_runs(path, start, until)
        if listed is None:
            return
        if listed.more and until > start:
            share = min(0.5, 0.8 * client.per_page / max(1, listed.total))
            span = timedelta(seconds=int((until - start).total_seconds() * share))
            continue
        if listed.more:
            listed = replace(listed, entries=client.all_created_runs(path, start), etag="")
        yield Slice(start, until, listed)
        start, span = until + _SECOND, max(_SECOND, span * 2)


class LookBack:
    """One look at a part of what is older than the newest page; each part is looked at once in a while.

    It costs a call for each hundred runs of the last month, which GitHub does not charge as long as none of
    them was run again.
    """

    def __init__(
        self, client: GitHubClient, reader: Reader, memory: Memory, schedule: Schedule, now: datetime
    ) -> None:
        self._client = client
        self._reader = reader
        self._checked_at = memory.checked_at.setdefault(reader.unit.key, {})
        self._every = schedule.discover
        self._now = now

    def run(self, cursor: Cursor) -> Cursor:
        """Read what was run again in a few windows; returns the cursor that knows them as they are now."""
        if cursor.oldest is None or cursor.oldest < self._now - REACH:
            self._checked_at.clear()
            return replace(cursor, windows=())
        windows = [one for one in cursor.windows if one.end >= self._now - REACH]
        for gone in self._checked_at.keys() - {one.start for one in windows} - {EPOCH}:
            del self._checked_at[gone]
        fresh = self._cover(windows, cursor.oldest) if self._due(EPOCH) else []
        left = max(0, _WINDOWS_PER_POLL - len(fresh))
        return replace(cursor, windows=(*self._check(windows, left), *fresh))

    def _due(self, start: datetime) -> bool:
        at = self._checked_at.get(start)
        return at is None or (self._now - at).total_seconds() >= self._every

    def _cover(self, windows: list[Window], oldest: datetime) -> list[Window]:
        """New windows behind *windows* up to *oldest*, a few at a time; none of what fills no page."""
        start = windows[-1].end + _SECOND if windows else self._now - REACH
        fresh: list[Window] = []
        for part in slices(self._client, self._reader.path, start, oldest):
            self._read(part.listed)
            is_open = part.end >= oldest and len(part.listed.entries) < self._client.per_page * 0.8
            if part.listed.entries and not is_open:
                fresh.append(Window(part.start, part.end, part.listed.etag))
                self._checked_at[part.start] = self._now
            if len(fresh) >= _WINDOWS_PER_POLL:
                return fresh
        self._checked_at[EPOCH] = self._now  # stands for all of it
        return fresh

    def _check(self, windows: list[Window], at_most: int) -> list[Window]:
        """*windows* as they are now, *at_most* so many of them asked about."""
        checked = []
        for window in windows:
            if at_most and self._due(window.start):
                at_most -= 1
                checked += self._again(window)
            else:
                checked.append(window)
        return checked

    def _again(self, window: Window) -> list[Window]:
        """*window* as it is now; several, if it no longer fits on a page."""
        self._checked_at[window.start] = self._now
        listed = self._client.created_runs(self._reader.path, window.start, window.end, window.etag)
        if listed is None:
            return [window]
        if not listed.more:
            self._read(listed)
            return [replace(window, etag=listed.etag)]
        parts = list(slices(self._client, self._reader.path, window.start, window.end))
        for part in parts:
            self._read(part.listed)
        return [Window(part.start, part.end, part.listed.etag) for part in parts]

    def _read(self, listed: Listed) -> None:
        for entry in self._reader.news(self._reader.entries(listed.entries)):
            self._reader.read(entry)
