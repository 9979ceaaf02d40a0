"""When a merge request was first reviewed and approved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from collectors.gitlab.changes.mapping import Note
from exporter.model.delivery import Change


@dataclass(frozen=True, slots=True)
class Reviews:
    """The first review and the first approval of a merge request; ``None`` if there was none yet."""

    reviewed_at: datetime | None = None
    approved_at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing more can come."""
        return self.reviewed_at is not None and self.approved_at is not None


def reviews_of(change: Change, notes: Iterable[Note], ignored: Callable[[str], bool]) -> Reviews:
    """What *notes*, the oldest first, say about *change* before it was merged; read no further than needed.

    A review is the first comment or approval of somebody else than its author, an approval anybody's.
    """
    found = Reviews()
    for one in notes:
        if change.merged_at and one.created_at > change.merged_at:
            break
        if ignored(one.author):
            continue
        reviewed, approved = found.reviewed_at, found.approved_at
        if one.author != change.author and (one.comments or one.approves):
            reviewed = reviewed or one.created_at
        if one.approves:
            approved = approved or one.created_at
        found = Reviews(reviewed, approved)
        if found.complete:
            break
    return found
