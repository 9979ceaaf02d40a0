"""Up to which build each job of a unit was read, as saved with each batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """The newest build that was read: its number, and when it began (milliseconds since 1970).

    Numbers begin anew when a job is deleted and made again: only the time tells.
    """

    number: int
    timestamp: int


@dataclass(slots=True)
class Cursor:
    """Where the polling of one unit stands.

    ``marks`` are by the name of the job, which is empty for a plain one. ``unread`` are numbers of builds
    that could not be read in full: they are tried again, and neither hold up the others nor get lost.
    """

    marks: dict[str, Mark] = field(default_factory=dict)
    unread: dict[str, set[int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """The cursor in *text*; the beginning for one that cannot be read."""
        try:
            fields = json.loads(text or "{}")
            marks = {name: Mark(int(mark[0]), int(mark[1])) for name, mark in fields.get("marks", {}).items()}
            unread = {name: set(map(int, some)) for name, some in fields.get("unread", {}).items()}
        except (ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError):
            log.warning("a stored cursor could not be read; reading the job anew")
            return cls()
        return cls(marks, unread)

    def __str__(self) -> str:
        unread = {name: sorted(some) for name, some in sorted(self.unread.items()) if some}
        fields = {"marks": dict(sorted(self.marks.items()))} | ({"unread": unread} if unread else {})
        return json.dumps(fields, separators=(",", ":"))

    def keep(self, names: Collection[str]) -> None:
        """Forget jobs that are not among *names*: they are gone."""
        self.marks = {name: mark for name, mark in self.marks.items() if name in names}
        self.unread = {name: some for name, some in self.unread.items() if name in names}
