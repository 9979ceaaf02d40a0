"""Where the reading of one project's or user's events stands, and how far back a reading reaches."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Any

from collectors.gitlab.values import parse_instant

log = logging.getLogger(__name__)

# GitLab takes whole days, of a time zone of its own: two back hold all of yesterday wherever it is.
_BACK = timedelta(days=2)
WINDOW = timedelta(days=3)
"""How far back at most a reading reaches behind the end of the one before."""
MEMORY = WINDOW + timedelta(days=1)
"""How long told events are remembered at least: over the window, and a day without any reading."""
LATE = timedelta(hours=1)
"""How long after its time an event may become visible, when the memory no longer tells what was told."""
_WHOLE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A list of events is read in passes, each over one or several polls.

    ``after`` is the day that the pass, or the last one, asked for, and ``page`` the last page read of it.
    ``begun`` is when the pass under way began, ``None`` between passes. ``read_at`` is when the last complete
    pass began: everything visible then is told. ``whole_at`` is the same of the last one that left no page
    out, ``whole`` whether the pass under way does not either. All are ``None`` before the first.
    """

    after: date | None = None
    page: int = 1
    begun: datetime | None = None
    whole: bool = True
    read_at: datetime | None = None
    whole_at: datetime | None = None

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor in *text*; the beginning for one that cannot be read."""
        try:
            given: dict[str, Any] = json.loads(text or "{}")
            times = {
                name: parse_instant(given[name]) for name in ("begun", "read_at", "whole_at") if name in given
            }
            after = date.fromisoformat(given["after"]) if "after" in given else None
            return cls(
                after, max(1, int(given.get("page", 1))), whole=bool(given.get("whole", True)), **times
            )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            log.warning("a stored cursor could not be read; reading the events anew")
            return cls()

    def __str__(self) -> str:
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(
            {
                name: value.isoformat() if isinstance(value, date) else value
                for name, value in known.items()
                if value is not None
            }
        )

    def at_work(self, floor: datetime, now: datetime) -> Cursor:
        """The cursor of the pass to go on with, or of a new one; *floor* is where the very first begins.

        With pages in the order of ids, what is new stands at the end. Only now and then all pages are read
        again, for events that became visible later than others with greater ids.
        """
        if self.begun is not None and self.after is not None:
            return self
        after = (min(self.read_at, now) if self.read_at else floor).date() - _BACK
        rested = now - self.whole_at if self.whole_at else _WHOLE
        whole = after != self.after or not timedelta() <= rested < _WHOLE
        # From the last page on, and the one before it: it overlaps, should something have been deleted.
        page = 1 if whole else max(1, self.page - 1)
        return replace(self, after=after, page=page, begun=now, whole=whole or page == 1)

    def done(self) -> Cursor:
        """The cursor after the pass under way came to its end."""
        whole_at = self.begun if self.whole else self.whole_at
        return replace(self, begun=None, read_at=self.begun, whole_at=whole_at)

    def earliest(self, floor: datetime, now: datetime, memory: timedelta) -> datetime:
        """From when on events may be told.

        As long as all of the window is remembered, that is *floor*. After a longer silence what was told may
        be forgotten, but everything visible at the last reading was: only what may have come late is left.
        """
        if self.read_at is None or now - self.read_at < memory - WINDOW:
            return floor
        return max(floor, self.read_at - LATE)
