"""What people did in the simulated GitLab, as its events tell it: by id, some of them late or hidden."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from collectors._standin.times import HOUR, MINUTE, SECOND, Timeline
from collectors.gitlab.standin.records import USERS, MergeRequest, Pipeline, Project, User, sha_of

_LATE, _HIDDEN, _COMMENTED, _JOINED, _GROUP = 0.08, 0.05, 0.5, 0.1, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Happening:
    """One event; ``project`` is ``None`` for what belongs to a group alone.

    Its id is drawn when it happens, but it is seen only from ``visible_at`` on, when its transaction is
    through: one with a greater id may be seen before. A ``hidden`` one this token never sees. ``about`` is
    what else GitLab tells.
    """

    id: int
    project: Project | None
    author: User
    action: str
    created_at: int
    visible_at: int
    hidden: bool = False
    about: dict[str, Any] = field(default_factory=dict)


class Diary:
    """Every event, by project and by user; it has a chance of its own, so that it changes nothing else."""

    def __init__(self, timeline: Timeline, chance: Random) -> None:
        self.of_project: dict[int, list[Happening]] = {}
        self.of_user: dict[int, list[Happening]] = {}
        self._timeline = timeline
        self._chance = chance
        self._ids = itertools.count(1)
        self._notes = itertools.count(1)

    @property
    def entries(self) -> list[Happening]:
        """All of them by id, those of deleted projects too."""
        return sorted(itertools.chain(*self.of_user.values()), key=lambda entry: entry.id)

    def write(
        self,
        project: Project | None,
        author: User,
        action: str,
        *,
        late: int | None = None,
        hidden: bool | None = None,
        **about: Any,
    ) -> Happening:
        """An event of now; *late* milliseconds and *hidden* are left to chance unless given."""
        now, chance = self._timeline.now, self._chance
        if late is None:
            late = chance.randrange(SECOND, 2 * MINUTE) if chance.random() < _LATE else 0
        if hidden is None:
            hidden = chance.random() < _HIDDEN
        entry = Happening(next(self._ids), project, author, action, now, now + late, hidden, about)
        self.of_user.setdefault(author.id, []).append(entry)
        if project is not None:
            self.of_project.setdefault(project.id, []).append(entry)
            # As GitLab does, to spare its database: a project's last activity moves once an hour.
            if now - project.activity_at >= HOUR:
                project.activity_at = now
        return entry

    # -- what the world tells ------------------------------------------------------------------

    def pushed(self, pipeline: Pipeline) -> None:
        """Somebody pushed what *pipeline* runs for; others talk about it, sometimes."""
        push = {
            "commit_count": 1,
            "action": "pushed",
            "ref_type": "tag" if pipeline.tag else "branch",
            "commit_from": sha_of(pipeline.sha_key - 1),
            "commit_to": sha_of(pipeline.sha_key),
            "ref": pipeline.ref,
            "commit_title": f"Change {pipeline.sha_key} — größer & <schöner>",
            "ref_count": None,
        }
        self.write(pipeline.project, pipeline.user, "pushed to", push_data=push)
        self._talk(pipeline.project)

    def merge_request(self, project: Project, request: MergeRequest, action: str) -> None:
        """A merge request was opened, closed or merged."""
        self.write(project, request.author, action, **_target("MergeRequest", request.id, request.iid))
        self._talk(project)

    def created(self, project: Project, author: User = USERS[0]) -> None:
        """A project came."""
        self.write(project, author, "created")

    def _talk(self, project: Project) -> None:
        chance = self._chance
        if chance.random() < _COMMENTED:
            self._later(partial(self._comment, project))
        if chance.random() < _JOINED:
            self._later(lambda: self._unless_deleted(project, "joined"))
        if chance.random() < _GROUP:
            self._later(lambda: self.write(None, self._anybody(), "opened", **_target("Epic", 7, 7)))

    def _later(self, action: Any) -> None:
        self._timeline.after(self._chance.randrange(10 * MINUTE), action)

    def _comment(self, project: Project) -> None:
        number = next(self._notes)
        note = {"id": number, "body": f"Comment {number}: 1.0 \u2028 \U0001f642", "system": False}
        self._unless_deleted(project, "commented on", note=note, **_target("Note", number, number))

    def _unless_deleted(self, project: Project, action: str, **about: Any) -> None:
        if not project.deleted:
            self.write(project, self._anybody(), action, **about)

    def _anybody(self) -> User:
        return self._chance.choice(USERS)


def _target(kind: str, number: int, iid: int) -> dict[str, Any]:
    return {"target_id": number, "target_iid": iid, "target_type": kind, "target_title": f"{kind} {iid}"}
