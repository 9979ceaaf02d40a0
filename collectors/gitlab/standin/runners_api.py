"""The endpoints about runners, their processes and their jobs."""

from __future__ import annotations

from collections.abc import Iterable

from collectors._standin.asking import Answer, Query, Refusal
from collectors.gitlab.standin.params import offset_page
from collectors.gitlab.standin.projects_api import find_group, find_project
from collectors.gitlab.standin.records import KNOWN_STATUSES, Namespace
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.runners import STATUSES, TYPES, Runner
from collectors.gitlab.standin.world import World


def serves_group(runner: Runner, group: Namespace) -> bool:
    """Whether it is an instance runner, or one of *group* or a group above."""
    if runner.group is None:
        return runner.runner_type == "instance_type"
    return f"{group.path}/".startswith(f"{runner.group.path}/")


class RunnersApi:
    """Answers from *world*, written by *render*."""

    def __init__(self, world: World, render: Render) -> None:
        self.world = world
        self.render = render

    def own(self, query: Query) -> Answer:
        """``GET /runners``: those of groups and projects, never an instance's."""
        return self._page(query, (r for r in self._all() if r.runner_type != "instance_type"))

    def all(self, query: Query) -> Answer:
        """``GET /runners/all``, for administrators."""
        if not self.world.admin:
            raise Refusal(403, {"message": "403 Forbidden"})
        return self._page(query, self._all())

    def of_group(self, query: Query, key: str) -> Answer:
        """``GET /groups/:id/runners``: its own, those of groups above, and the instance's."""
        group = find_group(self.world, key)
        return self._page(query, (r for r in self._all() if serves_group(r, group)))

    def of_project(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/runners``: its own, those of groups above, and the instance's."""
        project = find_project(self.world, key, query)
        return self._page(query, (r for r in self._all() if r.reaches(project)))

    def runner(self, _query: Query, key: str) -> Answer:
        """``GET /runners/:id``."""
        runner = self._runner(key)
        projects = [
            self.render.simple_project(self.world.people.projects[number])
            for number in sorted(runner.project_ids)
            if number in self.world.people.projects
        ]
        return Answer(self.render.runners.detail(runner, projects, self.world.now))

    def managers(self, _query: Query, key: str) -> Answer:
        """``GET /runners/:id/managers``: all of them, without pages."""
        now = self.world.now
        return Answer([self.render.runners.manager(manager, now) for manager in self._runner(key).managers])

    def jobs(self, query: Query, key: str) -> Answer:
        """``GET /runners/:id/jobs``, newest first."""
        runner, now = self._runner(key), self.world.now
        status = query.choice("status", KNOWN_STATUSES, "")
        query.choice("order_by", ("id",), "id")
        system = query.text("system_id")
        known = {m.id for m in runner.managers if system in (None, m.system_id)}
        rows = [
            job
            for job in self.world.fleet.taken_by(runner)
            if status in ("", job.status) and (system is None or job.manager_id in known)
        ]
        if query.choice("sort", ("asc", "desc"), "desc") == "asc":
            rows.reverse()
        return offset_page(query, rows, lambda job: self.render.job_of_runner(job, now))

    def _all(self) -> Iterable[Runner]:
        return self.world.fleet.runners.values()

    def _runner(self, key: str) -> Runner:
        if not key.isdigit():
            raise Refusal(400, {"error": "id is invalid"})
        runner = self.world.fleet.runners.get(int(key))
        if runner is None:
            raise Refusal(404, {"message": "404 Not found"})
        return runner

    def _page(self, query: Query, runners: Iterable[Runner]) -> Answer:
        now = self.world.now
        kind, status = query.choice("type", TYPES, ""), query.choice("status", STATUSES, "")
        paused, tags = query.flag("paused"), (query.text("tag_list") or "").split(",")
        prefix = query.text("version_prefix") or ""
        rows = [
            runner
            for runner in runners
            if kind in ("", runner.runner_type)
            and (not status or runner.has_status(status, now))
            and paused in (None, runner.paused)
            and set(filter(None, tags)) <= set(runner.tags)
            and (not prefix or any(m.version.startswith(prefix) for m in runner.managers))
        ]
        return offset_page(query, rows, lambda runner: self.render.runners.runner(runner, now))
