"""The endpoints about projects, groups, users and refs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from collectors._standin.asking import Answer, Query, Refusal
from collectors.gitlab.standin.params import offset_page
from collectors.gitlab.standin.records import USERS, Namespace, Project
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.world import World

_ORDERS: dict[str, Callable[[Project], Any]] = {
    "id": lambda project: project.id,
    "name": lambda project: project.slug,
    "path": lambda project: project.slug,
    "created_at": lambda project: (project.created_at, project.id),
    "updated_at": lambda project: (project.activity_at, project.id),
    "last_activity_at": lambda project: (project.activity_at, project.id),
}


def find_project(world: World, key: str, query: Query) -> Project:
    """The project of an id or path; a path of old is answered with its new address."""
    people = world.people
    project = people.projects.get(int(key)) if key.isdigit() else people.by_path.get(key)
    if project is not None:
        return project
    moved = people.moved.get(key)
    if moved is None:
        raise Refusal(404, {"message": "404 Project Not Found"})
    head, _, tail = query.url.partition("/api/v4/projects/")
    rest = tail.partition("/")[2]
    target = f"{head}/api/v4/projects/{moved.id}" + (f"/{rest}" if rest else "")
    target += f"?{query.raw}" if query.raw else ""
    raise Refusal(301, f"This resource has been moved permanently to {target}", [("Location", target)])


def find_group(world: World, key: str) -> Namespace:
    """The group of an id or path."""
    for space in world.people.namespaces.values():
        if space.kind == "group" and key in (space.path, str(space.id)):
            return space
    raise Refusal(404, {"message": "404 Group Not Found"})


class ProjectsApi:
    """Answers from *world*, written by *render*."""

    def __init__(self, world: World, render: Render) -> None:
        self.world = world
        self.render = render

    def version(self, _query: Query, *_ids: str) -> Answer:
        """``GET /version``."""
        return Answer({"version": self.world.options.version, "revision": "0123456789a"})

    def metadata(self, _query: Query, *_ids: str) -> Answer:
        """``GET /metadata``."""
        kas = {"enabled": False, "externalUrl": None, "externalK8sProxyUrl": None, "version": None}
        version = self.world.options.version
        return Answer({"version": version, "revision": "0123456789a", "kas": kas, "enterprise": False})

    def me(self, _query: Query, *_ids: str) -> Answer:
        """``GET /user``."""
        return Answer(self.render.user(USERS[0]) | {"email": "ada@example.com", "bio": "", "bot": False})

    def project(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id``."""
        return Answer(self.render.project(find_project(self.world, key, query)))

    def projects(self, query: Query) -> Answer:
        """``GET /projects``, by offset or by keyset."""
        chosen = self._filter(query, self.world.people.projects.values())
        if query.choice("pagination", ("offset", "keyset", "legacy"), "offset") == "keyset":
            return self._keyset(query, chosen)
        return self._page(query, chosen)

    def group_projects(self, query: Query, key: str) -> Answer:
        """``GET /groups/:id/projects``; only direct ones unless subgroups are included."""
        group = find_group(self.world, key)
        below = f"{group.path}/" if query.flag("include_subgroups") else None
        query.flag("with_shared")
        members = [
            project
            for project in self.world.people.projects.values()
            if project.namespace is group or (below and project.namespace.path.startswith(below))
        ]
        return self._page(query, self._filter(query, members))

    def user_projects(self, query: Query, key: str) -> Answer:
        """``GET /users/:user/projects``."""
        names = [user.username for user in USERS if key in (str(user.id), user.username)]
        if not names:
            raise Refusal(404, {"message": "404 User Not Found"})
        owned = [p for p in self.world.people.projects.values() if p.namespace.path == names[0]]
        return self._page(query, self._filter(query, owned))

    def group(self, _query: Query, key: str) -> Answer:
        """``GET /groups/:id``."""
        return Answer(self.render.group(find_group(self.world, key)))

    def _filter(self, query: Query, projects: Iterable[Project]) -> list[Project]:
        archived, search = query.flag("archived"), (query.text("search") or "").lower()
        query.flag("membership")
        active_after = query.moment("last_activity_after")
        return [
            project
            for project in projects
            if (archived is None or project.archived == archived)
            and search in project.path.lower()
            and (active_after is None or project.activity_at > active_after)
        ]

    def _writer(self, query: Query) -> Callable[[Project], object]:
        return self.render.simple_project if query.flag("simple") else self.render.project

    def _page(self, query: Query, chosen: list[Project]) -> Answer:
        order = query.choice("order_by", tuple(_ORDERS), "created_at")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        rows = sorted(chosen, key=_ORDERS[order], reverse=down)
        return offset_page(query, rows, self._writer(query), limit="Project")

    def _keyset(self, query: Query, chosen: list[Project]) -> Answer:
        """The ``next`` link is missing only on an empty page."""
        if query.text("order_by") != "id":
            raise Refusal(405, {"error": "Keyset pagination is not yet available for this type of request"})
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        after, before = query.number("id_after", 0), query.number("id_before", 1 << 62)
        rows = sorted((p for p in chosen if after < p.id < before), key=_ORDERS["id"], reverse=down)
        page = rows[: query.per_page]
        answer = Answer([self._writer(query)(project) for project in page])
        if page:
            target = query.link(**{"id_before" if down else "id_after": page[-1].id})
            answer.headers.append(("Link", f'<{target}>; rel="next"'))
        return answer

    def branches(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/repository/branches``, by name."""
        project = find_project(self.world, key, query)
        names = _matching(query, project.branches)
        return offset_page(query, sorted(names), lambda name: self.render.branch(project, name))

    def branch(self, query: Query, key: str, name: str) -> Answer:
        """``GET /projects/:id/repository/branches/:branch``."""
        project = find_project(self.world, key, query)
        if name not in project.branches:
            raise Refusal(404, {"message": "404 Branch Not Found"})
        return Answer(self.render.branch(project, name))

    def tags(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/repository/tags``, newest first."""
        project = find_project(self.world, key, query)
        query.choice("order_by", ("name", "updated", "version"), "updated")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        names = sorted(
            _matching(query, project.tags), key=lambda name: (project.tags[name], name), reverse=down
        )
        return offset_page(query, names, lambda name: self.render.tag(project, name))


def _matching(query: Query, names: Iterable[str]) -> list[str]:
    search, pattern = query.text("search") or "", query.text("regex")
    if search.startswith("^"):
        chosen = [name for name in names if name.startswith(search[1:])]
    elif search.endswith("$"):
        chosen = [name for name in names if name.endswith(search[:-1])]
    else:
        chosen = [name for name in names if search.lower() in name.lower()]
    if pattern is None:
        return chosen
    try:
        return [name for name in chosen if re.search(pattern, name)]
    except re.error:
        raise Refusal(400, {"error": "regex is invalid"}) from None
