"""The endpoints about environments, deployments, commits and merge requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collectors._standin.asking import Answer, Query, Refusal
from collectors.gitlab.standin.delivery_render import DeliveryRender
from collectors.gitlab.standin.deployments import Deployment, Environment
from collectors.gitlab.standin.params import offset_page
from collectors.gitlab.standin.projects_api import find_project
from collectors.gitlab.standin.records import MergeRequest, Note, Project
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.world import World

_ORDERS: dict[str, Callable[[Deployment], Any]] = {
    "id": lambda one: one.id,
    "iid": lambda one: one.id,
    "created_at": lambda one: one.id,
    "updated_at": lambda one: one.updated_at,
    "finished_at": lambda one: one.updated_at,
}
_STATUSES = ("created", "running", "success", "failed", "canceled", "skipped", "blocked")
_STATES = ("opened", "closed", "locked", "merged", "all")


class DeliveryApi:
    """Answers from *world*, written by *render*."""

    def __init__(self, world: World, render: Render) -> None:
        self.world = world
        self.render = DeliveryRender(render)

    def _project(self, query: Query, key: str, feature: str) -> Project:
        project = find_project(self.world, key, query)
        if feature in project.switched_off:
            raise Refusal(403, {"message": "403 Forbidden"})
        return project

    # -- deployments ---------------------------------------------------------------------------

    def deployments(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/deployments``; filters by time are refused without the order of that time.

        Source: GitLab, app/finders/deployments_finder.rb; of one time, the greatest id comes first.
        """
        project = self._project(query, key, "environments")
        order = query.choice("order_by", tuple(_ORDERS), "id")
        down = query.choice("sort", ("asc", "desc"), "asc") == "desc"
        after, before = query.moment("updated_after"), query.moment("updated_before")
        status, name = query.choice("status", _STATUSES, ""), query.text("environment")
        if (after is not None or before is not None) and order != "updated_at":
            message = "`updated_at` filter requires `updated_at` sort"
            raise Refusal(400, {"message": f"400 Bad request - {message}"})
        if order == "finished_at" and status not in ("success", "failed", "canceled"):
            raise Refusal(400, {"message": "400 Bad request - `finished_at` sort requires a finished status"})
        rows = [
            one
            for one in self.world.deployments.of_project(project)
            if (after is None or one.updated_at >= after)
            and (before is None or one.updated_at <= before)
            and (not status or one.status == status)
            and name in (None, one.environment.name)
        ]
        rows.sort(key=lambda one: one.id, reverse=True)
        rows.sort(key=_ORDERS[order], reverse=down)
        return offset_page(query, rows, self._write)

    def _write(self, one: Deployment) -> object:
        return self.render.deployment(one, self.world.now)

    def deployment(self, query: Query, key: str, number: str) -> Answer:
        """``GET /projects/:id/deployments/:deployment_id``."""
        project = self._project(query, key, "environments")
        for one in self.world.deployments.of_project(project):
            if str(one.id) == number:
                return Answer(self._write(one))
        raise Refusal(404, {"message": "404 Not found"})

    def environments(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/environments``, which tells nothing of deployments."""
        project = self._project(query, key, "environments")
        state = query.choice("states", ("available", "stopping", "stopped"), "")
        name, search = query.text("name"), query.text("search") or ""
        rows = [
            one
            for one in self.world.deployments.environments(project)
            if state in ("", one.state) and name in (None, one.name) and search in one.name
        ]
        return offset_page(query, rows, self.render.environment)

    def environment(self, query: Query, key: str, number: str) -> Answer:
        """``GET /projects/:id/environments/:environment_id``, with the newest successful deployment."""
        project = self._project(query, key, "environments")
        for one in self.world.deployments.environments(project):
            if str(one.id) == number:
                return Answer(self.render.environment(one) | {"last_deployment": self._last(one)})
        raise Refusal(404, {"message": "404 Environment Not Found"})

    def _last(self, environment: Environment) -> object:
        found = [
            one
            for one in self.world.deployments.of_project(environment.project)
            if one.environment is environment and one.status == "success"
        ]
        return self._write(max(found, key=lambda one: one.id)) if found else None

    # -- commits -------------------------------------------------------------------------------

    def commit(self, query: Query, key: str, sha: str) -> Answer:
        """``GET /projects/:id/repository/commits/:sha``."""
        project = find_project(self.world, key, query)
        if (found := project.commits().get(sha)) is None:
            raise Refusal(404, {"message": "404 Commit Not Found"})
        return Answer(self.render.commit(*found))

    def compare(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/repository/compare``: the commits of the default branch between two."""
        project = find_project(self.world, key, query)
        known = project.commits()
        old, new = query.text("from") or "", query.text("to") or ""
        if old not in known or new not in known:
            raise Refusal(404, {"message": "404 Ref Not Found"})
        first, last = known[old], known[new]
        between = [one for one in project.line() if first < one <= last]
        return Answer(self.render.comparison(project, between, same=old == new))

    # -- merge requests ------------------------------------------------------------------------

    def merge_requests(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/merge_requests``, newest first."""
        project = self._project(query, key, "merge_requests")
        state = query.choice("state", _STATES, "all")
        query.choice("scope", ("created_by_me", "assigned_to_me", "all"), "all")
        order = query.choice("order_by", ("created_at", "updated_at"), "created_at")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        after = query.moment("updated_after")
        rows = [
            request
            for request in project.merge_requests.values()
            if state in ("all", request.state) and (after is None or request.updated_at >= after)
        ]

        def place(request: MergeRequest) -> tuple[int, int]:
            return (request.created_at if order == "created_at" else request.updated_at, request.id)

        rows.sort(key=place, reverse=down)
        simple = query.text("view") == "simple"
        write = self.render.simple_merge_request if simple else self.render.merge_request
        return offset_page(query, rows, lambda request: write(project, request))

    def merge_request(self, query: Query, key: str, number: str) -> Answer:
        """``GET /projects/:id/merge_requests/:iid``."""
        project, request = self._request(query, key, number)
        return Answer(self.render.merge_request(project, request))

    def _request(self, query: Query, key: str, number: str) -> tuple[Project, MergeRequest]:
        project = self._project(query, key, "merge_requests")
        request = project.merge_requests.get(int(number)) if number.isdigit() else None
        if request is None:
            raise Refusal(404, {"message": "404 Not found"})
        return project, request

    def notes(self, query: Query, key: str, number: str) -> Answer:
        """``GET /projects/:id/merge_requests/:iid/notes``, the newest first unless asked otherwise."""
        _, request = self._request(query, key, number)
        order = query.choice("order_by", ("created_at", "updated_at"), "created_at")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        assert order  # noqa: S101  # notes are never changed here: both orders are the same

        def place(note: Note) -> tuple[int, int]:
            return note.created_at, note.id

        rows = sorted(request.notes, key=place, reverse=down)
        return offset_page(query, rows, lambda note: self.render.note(request, note))
