"""What the collector knows from one poll to the next, and what hooks tell polls."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime

from collectors.github.mapping import Entry
from exporter.contract import Unit
from exporter.model.runs import RefKind

_MOST_NAMES = 50_000
_MOST_RUNS = 5_000


@dataclass(slots=True)
class Memory:
    """What is worth knowing from one poll to the next, but not worth storing; shared by all repositories.

    ``tags`` says of names that are no default branch whether they are tags, ``bad`` how often in a row a run
    could not be understood, by ``(repository id, …)``. ``read_at`` is when unfinished runs were last read,
    ``checked_at`` when the runs created in a window were last looked at, by repository and its start.
    ``refs`` are those that exist, and the ETag of their list; ``jobs`` the ETags of the jobs of runs.
    ``told`` are runs of which a webhook said that there is more to read, by repository id.
    """

    turn: threading.Lock = field(default_factory=threading.Lock)
    tags: dict[tuple[str, str], bool] = field(default_factory=dict)
    bad: dict[tuple[str, int], int] = field(default_factory=dict)
    read_at: dict[str, dict[int, datetime]] = field(default_factory=dict)
    checked_at: dict[str, dict[datetime, datetime]] = field(default_factory=dict)
    refs: dict[tuple[str, str], tuple[str, frozenset[str]]] = field(default_factory=dict)
    jobs: dict[tuple[str, int], str] = field(default_factory=dict)
    told: dict[str, set[int]] = field(default_factory=dict)

    def tell(self, unit: str, run_id: int) -> None:
        """Note that there is more to read of a run."""
        with self.turn:
            self.told.setdefault(unit, set()).add(run_id)

    def take_told(self, unit: str) -> list[int]:
        """What was told of a repository since this was last asked."""
        with self.turn:
            return sorted(self.told.pop(unit, ()))

    def remember_jobs(self, unit: str, run_id: int, etag: str) -> None:
        """Note the ETag of the jobs of a run."""
        with self.turn:
            if len(self.jobs) >= _MOST_RUNS:
                self.jobs.clear()
            self.jobs[unit, run_id] = etag

    def kind_of(self, unit: Unit, entry: Entry) -> RefKind | None:
        """What sort of ref a run is for, ``None`` if only GitHub can tell."""
        if entry.change_request:
            return RefKind.CHANGE_REQUEST
        if not entry.head or entry.head == unit.default_branch or ":" in entry.head:
            return RefKind.BRANCH
        is_tag = self.tags.get((unit.key, entry.head))
        return None if is_tag is None else RefKind.TAG if is_tag else RefKind.BRANCH

    def remember_tag(self, unit: str, name: str, is_tag: bool) -> None:
        """Note what sort of ref *name* is."""
        with self.turn:
            if len(self.tags) >= _MOST_NAMES:
                self.tags.clear()
            self.tags[unit, name] = is_tag
