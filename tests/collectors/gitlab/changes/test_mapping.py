"""GitLab's JSON of merge requests and notes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collectors.gitlab.changes import mapping
from collectors.gitlab.changes.mapping import Note
from collectors.gitlab.changes.reviews import Reviews, reviews_of
from exporter.errors import BadAnswer
from exporter.model.delivery import Change, ChangeState

BEGAN = datetime(2026, 3, 2, 8, tzinfo=UTC)
ENTRY: dict[str, Any] = {
    "iid": 7,
    "state": "opened",
    "author": {"username": "ada"},
    "created_at": "2026-03-02T09:00:00.000+01:00",
    "updated_at": "2026-03-02T08:00:00.000Z",
    "merged_at": None,
}


def read(**changed: Any) -> Change:
    return mapping.change(ENTRY | changed, unknown=lambda kind: pytest.fail(kind))


def test_an_open_one() -> None:
    assert read() == Change(7, ChangeState.OPEN, "ada", BEGAN, BEGAN)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"draft": True}, ChangeState.WIP),
        ({"work_in_progress": True}, ChangeState.WIP),
        ({"draft": False, "work_in_progress": True}, ChangeState.OPEN),
        ({"state": "locked"}, ChangeState.OPEN),
        ({"state": "closed", "draft": True}, ChangeState.CLOSED),
        ({"state": "merged"}, ChangeState.MERGED),
    ],
)
def test_states(changed: dict[str, Any], state: ChangeState) -> None:
    assert read(**changed).state is state


def test_an_unknown_state_is_told_and_taken_for_open() -> None:
    told: list[str] = []
    found = mapping.change(ENTRY | {"state": "frozen"}, unknown=told.append)
    assert (found.state, told) == (ChangeState.OPEN, ["merge_request_state"])


def test_the_author_may_be_gone() -> None:
    assert read(author=None).author == ""


@pytest.mark.parametrize(
    "changed",
    [{"iid": "7"}, {"state": None}, {"created_at": ""}, {"updated_at": 3}, {"author": {"username": 3}}],
)
def test_what_lacks_what_matters_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        read(**changed)


@pytest.mark.parametrize(
    ("body", "system", "approves", "comments"),
    [
        ("approved this merge request", True, True, False),
        ("Approved this merge request", True, True, False),
        ("approved this merge request", False, False, True),
        ("unapproved this merge request", True, False, False),
        ("changed the description", True, False, False),
        ("Why?", False, False, True),
        ("", False, False, True),
    ],
)
def test_notes(body: str, system: bool, approves: bool, comments: bool) -> None:
    entry = {"body": body, "system": system, "author": {"username": "bob"}, "created_at": ENTRY["updated_at"]}
    assert mapping.note(entry) == Note("bob", BEGAN, approves, comments)


def said(minutes: float, author: str = "bob", *, approves: bool = False) -> Note:
    return Note(author, BEGAN + timedelta(minutes=minutes), approves, comments=not approves)


def test_notes_are_read_no_further_than_needed() -> None:
    notes = iter([said(1), said(2, approves=True), said(3)])
    found = reviews_of(read(), notes, lambda _: False)
    assert found == Reviews(BEGAN + timedelta(minutes=1), BEGAN + timedelta(minutes=2))
    assert next(notes) == said(3)


def test_users_can_be_ignored() -> None:
    notes = [said(1, "bot"), said(2, "bot", approves=True), said(3, "eve")]
    found = reviews_of(read(), notes, lambda name: name == "bot")
    assert found == Reviews(BEGAN + timedelta(minutes=3))
