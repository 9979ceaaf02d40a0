"""Where the polling of one repository stands, as it is saved with each batch."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from collectors._values import parse_instant

log = logging.getLogger(__name__)

_MOST_ATTEMPTS = 500


@dataclass(frozen=True, slots=True)
class Window:
    """The runs created from ``start`` to ``end``, both included, and the ETag of that list as it was read."""

    start: datetime
    end: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """Nothing is known of a repository that is new: all fields are empty.

    ``etag`` is that of the newest page of runs, all of which was read; ``oldest`` is the creation of the last
    run on it, ``None`` if it holds all runs there are. All runs created before ``newest`` were looked at.
    ``windows`` cover what is older, oldest first, as far back as runs can be run again. ``attempts`` are, of
    runs that were run again, the last attempt of which the end was saved; one that is forgotten is read
    again. ``unread`` are runs of which GitHub said nothing usable. ``selection`` is which refs the operator
    wanted.
    """

    etag: str = ""
    oldest: datetime | None = None
    newest: datetime | None = None
    windows: tuple[Window, ...] = ()
    attempts: dict[int, int] = field(default_factory=dict)
    unread: tuple[int, ...] = ()
    refs_read_at: datetime | None = None
    selection: str = ""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor in *text*; the beginning for one that cannot be read."""
        try:
            given = json.loads(text or "{}")
            return cls(
                etag=str(given.get("etag", "")),
                oldest=_instant(given.get("oldest")),
                newest=_instant(given.get("newest")),
                windows=tuple(
                    Window(parse_instant(start), parse_instant(end), str(etag))
                    for start, end, etag in given.get("windows", ())
                ),
                attempts={int(key): int(value) for key, value in given.get("attempts", {}).items()},
                unread=tuple(int(run_id) for run_id in given.get("unread", ())),
                refs_read_at=_instant(given.get("refs_read_at")),
                selection=str(given.get("selection", "")),
            )
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            log.warning("a stored cursor could not be read; reading the repository anew")
            return cls()

    def __str__(self) -> str:
        times = {"oldest": self.oldest, "newest": self.newest, "refs_read_at": self.refs_read_at}
        fields: dict[str, Any] = {name: value.isoformat() for name, value in times.items() if value}
        kept = sorted(self.attempts.items())[-_MOST_ATTEMPTS:]
        fields |= {
            "etag": self.etag,
            "windows": [[one.start.isoformat(), one.end.isoformat(), one.etag] for one in self.windows],
            "attempts": {str(run_id): attempt for run_id, attempt in kept},
            "unread": self.unread,
            "selection": self.selection,
        }
        return json.dumps({name: value for name, value in fields.items() if value}, separators=(",", ":"))


def _instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)
