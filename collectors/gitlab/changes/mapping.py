"""GitLab's JSON of merge requests and notes to records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collectors.gitlab.mapping import Unknown
from collectors.gitlab.values import (
    Json,
    instant,
    instant_or_none,
    integer,
    json_object,
    text,
    text_or_empty,
)
from exporter.model.delivery import Change, ChangeState

_STATES = {
    "opened": ChangeState.OPEN,
    "locked": ChangeState.OPEN,  # while it is merged, for seconds
    "merged": ChangeState.MERGED,
    "closed": ChangeState.CLOSED,
}
# Source: GitLab, app/services/system_notes/merge_requests_service.rb; with a capital in old versions. It is
# never translated. The list of approvals has the time of each only in newer versions, and forgets those that
# a push took back.
_APPROVED = "approved this merge request"


@dataclass(frozen=True, slots=True)
class Note:
    """One thing said about a merge request: a comment, an approval, or neither, if GitLab itself says it."""

    author: str
    created_at: datetime
    approves: bool
    comments: bool


def number(value: Any) -> int:
    """The number of a merge request of which the rest may be unreadable."""
    return integer(json_object(value, "merge request"), "iid")


def change(value: Any, *, unknown: Unknown) -> Change:
    """A merge request; an open one that is a draft is not ready to be reviewed."""
    entry = json_object(value, "merge request")
    word = text(entry, "state")
    if (state := _STATES.get(word)) is None:
        unknown("merge_request_state")
        state = ChangeState.OPEN
    if state is ChangeState.OPEN and _is_draft(entry):
        state = ChangeState.WIP
    return Change(
        number=integer(entry, "iid"),
        state=state,
        author=_author(entry),
        created_at=instant(entry, "created_at"),
        updated_at=instant(entry, "updated_at"),
        merged_at=instant_or_none(entry.get("merged_at")),
        closed_at=instant_or_none(entry.get("closed_at")),
    )


def _is_draft(entry: Json) -> bool:
    """Whether it is a draft, which versions before 13.2 call work in progress."""
    return bool(entry.get("draft", entry.get("work_in_progress", False)))


def _author(entry: Json) -> str:
    """The author's user name; empty for one that GitLab does not tell any more."""
    author = entry.get("author")
    return text_or_empty(author, "username") if isinstance(author, dict) else ""


def note(value: Any) -> Note:
    """A note."""
    entry = json_object(value, "note")
    system = entry.get("system") is True
    approves = system and text_or_empty(entry, "body").strip().lower() == _APPROVED
    return Note(_author(entry), instant(entry, "created_at"), approves, comments=not system)
