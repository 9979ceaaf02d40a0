"""Who and what lives in the simulated GitLab: groups, projects, refs, and how they change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from random import Random

from collectors._standin.times import DAY
from collectors.gitlab.standin.engine import Engine
from collectors.gitlab.standin.records import (
    FIRST_PROJECT,
    USERS,
    MergeRequest,
    Namespace,
    Pipeline,
    Project,
    User,
)
from collectors.gitlab.standin.reviews import Reviews

_WORDS = (
    "api",
    "web",
    "billing",
    "search",
    "auth",
    "mail",
    "etl",
    "docs",
    "infra",
    "mobile",
    "gateway",
    "audit",
)
_SUBGROUPS = ("platform", "apps", "apps/backend", "data", "data/etl")


class Population:
    """Projects by id and by every path they ever had, and the namespaces they live in."""

    def __init__(
        self, engine: Engine, chance: Random, reviews: Reviews, group: str, users: int = len(USERS)
    ) -> None:
        self.engine = engine
        self.chance = chance
        self.reviews = reviews
        self.projects = engine.projects
        self.namespaces: dict[str, Namespace] = {}
        self.by_path: dict[str, Project] = {}
        self.moved: dict[str, Project] = {}
        self.users = USERS
        self.everyone = list(USERS)
        self.came_at: dict[int, int] = {}
        for _ in range(len(USERS), users):
            self.create_user()
        self._numbers = itertools.count(FIRST_PROJECT)
        self._names = itertools.count(1)
        self._namespace_ids = itertools.count(11)
        self.root = group
        for path in (group, *(f"{group}/{sub}" for sub in _SUBGROUPS)):
            self.group(path)
        for user in USERS:
            self.namespaces[user.username] = Namespace(1_000 + user.id, "user", user.username)

    def group(self, path: str) -> Namespace:
        """The group at *path*, made with its parents when it does not exist."""
        if path not in self.namespaces:
            parent = self.group(path.rpartition("/")[0]).id if "/" in path else None
            self.namespaces[path] = Namespace(next(self._namespace_ids), "group", path, parent)
        return self.namespaces[path]

    def create_user(self) -> User:
        """A new user, who does nothing by himself."""
        number = len(self.everyone) + 1
        user = User(number, f"user-{number}")
        self.everyone.append(user)
        self.came_at[number] = self.engine.timeline.now
        return user

    def create_project(
        self, path: str = "", created_at: int | None = None, *, empty: bool = False
    ) -> Project:
        """A new project, at *path* or wherever chance puts it, with some refs unless *empty*."""
        number = next(self._numbers)
        namespace, slug = self._place(path)
        now = self.engine.timeline.now if created_at is None else created_at
        project = Project(number, namespace, slug, now, activity_at=now)
        if not empty:
            project.branches = {"main": now, "develop": now, f"feature/{number}-a.b": now}
            project.tags = {"v1.0.0": now, "v1.1.0": now}
            for _ in range(2):
                self.open_mr(project, now)
        project.first_path = project.path
        self.projects[number] = self.by_path[project.path] = project
        self.moved.pop(project.path, None)
        if created_at is None:
            self.engine.diary.created(project)
        return project

    def _place(self, path: str) -> tuple[Namespace, str]:
        if path:
            parent, _, slug = path.rpartition("/")
            return self.group(parent or self.root), slug
        count = next(self._names)
        slug = f"{_WORDS[count % len(_WORDS)]}-{count}"
        if count % 10 == 9:
            return self.namespaces[USERS[count % len(USERS)].username], slug
        groups = [space for space in self.namespaces.values() if space.path.split("/")[0] == self.root]
        return groups[count % len(groups)], slug

    def rename(self, project: Project, path: str) -> None:
        """Move it to *path*; the old path redirects from now on."""
        self.by_path.pop(project.path, None)
        self.moved[project.path] = project
        parent, _, slug = path.rpartition("/")
        project.namespace, project.slug = self.group(parent or project.namespace.path), slug
        self.by_path[project.path] = project
        self.moved.pop(project.path, None)

    def delete_project(self, project: Project) -> None:
        """Make it and all its pipelines vanish."""
        for pipeline in list(project.pipelines.values()):
            if not pipeline.deleted:
                self.engine.delete(pipeline)
        project.deleted = True
        self.engine.ledger.deleted_projects[project.id] = self.engine.timeline.now
        self.projects.pop(project.id, None)
        self.by_path.pop(project.path, None)
        self.moved = {path: other for path, other in self.moved.items() if other is not project}

    def open_mr(self, project: Project, now: int | None = None) -> MergeRequest:
        """A merge request from a branch of its own."""
        told = now is None
        now = self.engine.timeline.now if now is None else now
        iid = len(project.merge_requests) + 1
        branch = f"mr-{iid}"
        project.branches[branch] = now
        request = MergeRequest(
            project.id * 1_000 + iid, iid, branch, project.default_branch, self.user(), now, now
        )
        project.merge_requests[iid] = request
        self.reviews.begin(request)
        if told:
            self.engine.diary.merge_request(project, request, "opened")
            self.engine.tell("merge_request", (project, request, "open"))
        return request

    def end_mr(self, project: Project, request: MergeRequest, state: str) -> None:
        """Merge or close it; a merged branch is deleted."""
        request.state = state
        request.done_at = request.updated_at = self.engine.timeline.now
        if state == "closed":
            request.closings.append(request.done_at)
        self.engine.deployments.stop(project, f"review/mr-{request.iid}")
        self.engine.diary.merge_request(project, request, "accepted" if state == "merged" else state)
        self.engine.tell("merge_request", (project, request, "merge" if state == "merged" else "close"))
        if state == "merged":
            project.branches.pop(request.source_branch, None)

    def user(self) -> User:
        """Somebody."""
        return self.chance.choice(self.users)

    def pick_ref(self, project: Project) -> tuple[str, bool, str]:
        """A ref to run for: its name, whether it is a tag, and the source of the pipeline."""
        roll, chance = self.chance.random(), self.chance
        if roll < 0.1 and project.tags:
            return chance.choice(list(project.tags)), True, "push"
        opened = [request.iid for request in project.merge_requests.values() if request.state == "opened"]
        if roll < 0.3 and opened:
            kind = chance.choice(("head", "head", "merge", "train"))
            return f"refs/merge-requests/{chance.choice(opened)}/{kind}", False, "merge_request_event"
        others = [name for name in project.branches if name != project.default_branch]
        if roll < 0.5 and others:
            return chance.choice(others), False, "push"
        source = chance.choice(("push", "push", "push", "schedule", "web", "api", "trigger"))
        return project.default_branch, False, source

    def busy_project(self) -> Project | None:
        """A project that may get a pipeline now."""
        able = [p for p in self.projects.values() if p.ci_enabled and p.branches and not p.archived]
        return self.chance.choice(able) if able else None

    def change(self) -> None:
        """One thing in the life of projects: mostly refs and merge requests, seldom a project itself."""
        project = self.busy_project()
        if project is None:
            return
        changes = self._changes(project)
        name = self.chance.choices(list(changes), [weight for weight, _ in changes.values()])[0]
        changes[name][1]()

    def _changes(self, project: Project) -> Mapping[str, tuple[float, Callable[[], object]]]:
        return {
            "open_mr": (30, lambda: self.open_mr(project)),
            "end_mr": (25, lambda: self._end_some_mr(project)),
            "new_branch": (15, lambda: self._new_ref(project.branches, "topic-")),
            "delete_branch": (10, lambda: self._drop_branch(project)),
            "new_tag": (10, lambda: self._new_ref(project.tags, "v2.")),
            "delete_pipeline": (3, lambda: self._drop_pipeline(project)),
            "new_project": (2, self.create_project),
            "rename": (2, lambda: self.rename(project, f"{project.path}-x")),
            "delete_project": (1, lambda: self.delete_project(project)),
        }

    def _end_some_mr(self, project: Project) -> None:
        opened = [request for request in project.merge_requests.values() if request.state == "opened"]
        if opened:
            state = self.chance.choice(("merged", "merged", "closed"))
            self.end_mr(project, self.chance.choice(opened), state)

    def _new_ref(self, refs: dict[str, int], prefix: str) -> None:
        refs[f"{prefix}{len(refs)}.{self.chance.randrange(1_000)}"] = self.engine.timeline.now

    def _drop_branch(self, project: Project) -> None:
        names = [name for name in project.branches if name != project.default_branch]
        if names:
            project.branches.pop(self.chance.choice(names))

    def _drop_pipeline(self, project: Project) -> None:
        old: list[Pipeline] = list(project.pipelines.values())
        if old:
            self.engine.delete(self.chance.choice(old))

    def grow(self, count: int, before: int, days: float) -> None:
        """The first *count* projects, created some time before *before*."""
        for number in range(count):
            age = int((days + 1 + self.chance.random() * 300) * DAY)
            project = self.create_project(created_at=before - age, empty=number % 23 == 21)
            project.archived = number % 17 == 15
            project.ci_enabled = number % 19 != 17
