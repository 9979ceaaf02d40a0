"""What people say about merge requests of the simulated GitLab: comments, approvals, drafts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

from collectors._standin.times import MINUTE, Timeline, iso
from collectors.gitlab.standin.records import APPROVED, USERS, MergeRequest, Note, Project, User

_DRAFT, _REVIEWED, _APPROVED = 0.15, 0.8, 0.6


class Reviews:
    """The life of merge requests; it has a chance of its own, so that it changes nothing else.

    Only in a ``lively`` world do people say something by themselves.
    """

    def __init__(self, timeline: Timeline, chance: Random, *, lively: bool) -> None:
        self._timeline = timeline
        self._chance = chance
        self._lively = lively
        self._ids = itertools.count(1)

    def begin(self, request: MergeRequest) -> None:
        """A merge request was opened: others will look at it, perhaps."""
        if not self._lively:
            return
        chance = self._chance
        request.draft = chance.random() < _DRAFT
        wait = chance.randrange(MINUTE, 20 * MINUTE)
        if chance.random() < _REVIEWED:
            self._later(wait, request, self._review)
        if chance.random() < _APPROVED:
            self._later(wait + chance.randrange(20 * MINUTE), request, self._approve)

    def _later(self, wait: int, request: MergeRequest, act: Callable[[MergeRequest], object]) -> None:
        def unless_ended() -> None:
            if request.state == "opened":
                act(request)

        self._timeline.after(wait, unless_ended)

    def _review(self, request: MergeRequest) -> None:
        if self._chance.random() < 0.3:
            self.note(request, request.author, "Please look at this")
        self.set_draft(request, False)
        self.note(request, self._other(request), "Why not the other way round?")

    def _approve(self, request: MergeRequest) -> None:
        self.set_draft(request, False)
        self.approve(request, self._other(request))

    def _other(self, request: MergeRequest) -> User:
        return self._chance.choice([user for user in USERS if user is not request.author])

    # -- what can happen -----------------------------------------------------------------------

    def note(self, request: MergeRequest, author: User, body: str, *, system: bool = False) -> Note:
        """Somebody says something, or GitLab in his name; the request is changed by it."""
        note = Note(next(self._ids), author, body, self._timeline.now, system)
        request.notes.append(note)
        request.updated_at = note.created_at
        return note

    def approve(self, request: MergeRequest, author: User) -> Note:
        """Somebody approves it."""
        return self.note(request, author, APPROVED, system=True)

    def set_draft(self, request: MergeRequest, draft: bool) -> None:
        """Make it a draft, or ready."""
        if draft != request.draft:
            request.draft = draft
            word = "draft" if draft else "ready"
            self.note(request, request.author, f"marked this merge request as **{word}**", system=True)

    def reopen(self, request: MergeRequest) -> None:
        """Open it again."""
        request.state, request.done_at = "opened", None
        self.note(request, request.author, "reopened", system=True)


def truth_of(project: Project, request: MergeRequest) -> dict[str, Any]:
    """What really happened to a merge request."""
    others = [note for note in request.notes if note.author is not request.author]
    approvals = [note.created_at for note in request.notes if note.approves]
    reviews = [note.created_at for note in others if note.approves or not note.system]
    merged_at = request.done_at if request.state == "merged" else None
    return {
        "project_id": project.id,
        "project": project.path,
        "iid": request.iid,
        "state": request.state,
        "draft": request.draft,
        "created_at": iso(request.created_at),
        "merged_at": iso(merged_at),
        "closings": [iso(at) for at in request.closings],
        "first_review_at": iso(_first(reviews, merged_at)),
        "first_approval_at": iso(_first(approvals, merged_at)),
    }


def _first(times: list[int], end: int | None) -> int | None:
    before = [at for at in times if end is None or at <= end]
    return min(before, default=None)
