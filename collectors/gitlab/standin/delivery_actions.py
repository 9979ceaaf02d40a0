"""What can be made to happen to deployments and merge requests by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collectors.gitlab.standin.deployments import ENDED
from collectors.gitlab.standin.records import USERS, MergeRequest, Project, User
from collectors.gitlab.standin.world import World

Json = Mapping[str, Any]
_FEATURES = ("environments", "merge_requests")


class DeliveryActions:
    """Interferences with *world*; *project_of* finds the project that one names."""

    def __init__(self, world: World, project_of: Callable[[Json], Project]) -> None:
        self._world = world
        self._project = project_of
        self._reviews = world.people.reviews
        self.by_name: dict[str, Callable[[Json], dict[str, Any]]] = {
            "deploy": self._deploy,
            "stop_environment": self._stop,
            "comment_mr": self._comment,
            "approve_mr": self._approve,
            "draft_mr": self._draft,
            "reopen_mr": self._reopen,
            "delete_mr": self._delete,
            "switch_off": self._switch_off,
        }

    def _request(self, given: Json) -> MergeRequest:
        return self._project(given).merge_requests[int(given["iid"])]

    def _user(self, given: Json, request: MergeRequest) -> User:
        """Who acts: ``user`` is a number, 0 for the author; somebody else unless it is given."""
        number = given.get("user")
        if number is None:
            return next(user for user in USERS if user.id != request.author.id)
        return request.author if number == 0 else USERS[int(number) - 1]

    def _deploy(self, given: Json) -> dict[str, Any]:
        """A deployment that no job made, of the newest commit of the default branch."""
        project, status = self._project(given), str(given.get("status", "success"))
        if status not in ("running", *ENDED):
            raise ValueError("status: running, success, failed or canceled")
        _, key = project.head(project.default_branch)
        made = self._world.deployments.made(project, str(given["environment"]), status, key)
        return {"deployment_id": made.id}

    def _stop(self, given: Json) -> dict[str, Any]:
        if not self._world.deployments.stop(self._project(given), str(given["environment"])):
            raise KeyError(str(given["environment"]))
        return {}

    def _comment(self, given: Json) -> dict[str, Any]:
        """Somebody comments, perhaps under a ``username`` of his own."""
        request = self._request(given)
        author = self._user(given, request)
        if given.get("username"):
            author = User(author.id, str(given["username"]))
        note = self._reviews.note(request, author, "Is this right?", system=bool(given.get("system", False)))
        return {"note_id": note.id}

    def _approve(self, given: Json) -> dict[str, Any]:
        request = self._request(given)
        return {"note_id": self._reviews.approve(request, self._user(given, request)).id}

    def _draft(self, given: Json) -> dict[str, Any]:
        self._reviews.set_draft(self._request(given), bool(given.get("draft", True)))
        return {}

    def _reopen(self, given: Json) -> dict[str, Any]:
        self._reviews.reopen(self._request(given))
        return {}

    def _delete(self, given: Json) -> dict[str, Any]:
        """Make it vanish: nothing tells of it any more."""
        del self._project(given).merge_requests[int(given["iid"])]
        return {}

    def _switch_off(self, given: Json) -> dict[str, Any]:
        feature = str(given["feature"])
        if feature not in _FEATURES:
            raise ValueError(f"features: {_FEATURES}")
        off = self._project(given).switched_off
        if given.get("off", True):
            off.add(feature)
        else:
            off.discard(feature)
        return {}
