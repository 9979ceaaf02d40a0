"""What GitLab's GraphQL shows of the world: each object is a dict by field, computed fields are functions."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from graphql import GraphQLError

from collectors._standin.asking import Refusal
from collectors._standin.times import iso
from collectors.gitlab.standin import history
from collectors.gitlab.standin.projects_api import find_group
from collectors.gitlab.standin.records import USERS, Job, Namespace, Project, sha_of
from collectors.gitlab.standin.runners import Manager, Runner
from collectors.gitlab.standin.runners_api import serves_group
from collectors.gitlab.standin.world import World

T = TypeVar("T", Runner, Manager, Job, Project, Namespace)
Json = dict[str, Any]
Field = Callable[..., Any]
_ACTIVE = {"pending", "running", "canceling"}
_PAGE_SIZE = 100
_MOST_JOBS = 1_000
_NOT_AVAILABLE = (
    "The resource that you are attempting to access does not exist or you don't have permission to perform "
    "this action"
)


class Graph:
    """Answers from *world*; everything is looked up only when a query asks for it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fleet = world.fleet

    def root(self, complexity: Json) -> Json:
        """The root of a query that was estimated at *complexity*."""
        version = self.world.options.version
        return {
            "queryComplexity": complexity,
            "metadata": {"version": version, "revision": "0123456789a", "enterprise": False},
            "currentUser": {"id": f"gid://gitlab/User/{USERS[0].id}", "username": USERS[0].username},
            "runner": self._runner_by_id,
            "runners": self._runners,
            "jobs": self._jobs,
            "group": lambda _info, fullPath: self._group(fullPath),
            "project": lambda _info, fullPath: self._project(self.world.people.by_path.get(fullPath)),
        }

    def _runner_by_id(self, _info: Any, id: str) -> Json | None:
        head, _, number = id.rpartition("/")
        if head != "gid://gitlab/Ci::Runner" or not number.isdigit():
            raise GraphQLError(f'"{id}" does not represent an instance of Ci::Runner')
        return self._runner(self.fleet.runners.get(int(number)))

    def _runners(self, _info: Any, **asked: Any) -> Json:
        """All, for administrators only."""
        if not self.world.admin:
            raise GraphQLError(_NOT_AVAILABLE)
        return self._runner_page(self.fleet.runners.values(), asked)

    def _runner_page(self, runners: Iterable[Runner], asked: Json) -> Json:
        now = self.world.now
        rows = [
            runner
            for runner in runners
            if asked.get("paused") in (None, runner.paused)
            and asked.get("type") in (None, runner.runner_type.upper())
            and (asked.get("status") is None or runner.has_status(asked["status"].lower(), now))
            and set(asked.get("tagList") or ()) <= set(runner.tags)
            and (asked.get("search") or "") in runner.description
        ]
        return _page(rows, self._runner, asked)

    def _jobs(self, _info: Any, **asked: Any) -> Json:
        """All builds; none for who is no administrator. Who asks for runner types gets no pending ones."""
        rows = self._all_jobs(asked.get("statuses")) if self.world.admin else iter(())
        types = asked.get("runnerTypes")
        if types:
            rows = (job for job in rows if job.runner and job.runner.runner_type.upper() in types)
        return self._job_page(rows, asked)

    def _all_jobs(self, statuses: Sequence[str] | None) -> Iterator[Job]:
        wanted = {status.lower() for status in statuses or ()}
        if wanted and wanted <= _ACTIVE:
            return self.fleet.jobs(*wanted)
        pipelines = self.world.engine.pipelines.values()
        found = (job for pipeline in pipelines for job in history.jobs_of(pipeline) if not job.is_bridge)
        return (job for job in found if not wanted or job.status in wanted)

    def _job_page(self, rows: Iterable[Job], asked: Json) -> Json:
        page = _page(list(rows), self._job, asked)
        total = page["count"]
        page["count"] = lambda _info, limit=_MOST_JOBS: min(total, limit + 1)
        return page

    def _group(self, path: str) -> Json | None:
        try:
            return self._group_json(find_group(self.world, path))
        except Refusal:
            return None

    def _group_json(self, space: Namespace) -> Json:
        below = f"{space.path}/"

        def runners(_info: Any, membership: str = "DESCENDANTS", **asked: Any) -> Json:
            rows = [
                runner for runner in self.fleet.runners.values() if self._member(runner, space, membership)
            ]
            return self._runner_page(rows, asked)

        def projects(_info: Any, includeSubgroups: bool = False, **asked: Any) -> Json:
            rows = [
                project
                for project in self.world.people.projects.values()
                if project.namespace is space or (includeSubgroups and project.path.startswith(below))
            ]
            return _page(rows, self._project, asked)

        return {
            "id": f"gid://gitlab/Group/{space.id}",
            "name": space.path.rpartition("/")[2],
            "fullPath": space.path,
            "runners": runners,
            "projects": projects,
        }

    def _member(self, runner: Runner, space: Namespace, membership: str) -> bool:
        if membership == "DIRECT":
            return runner.group is space
        if membership == "ALL_AVAILABLE" and serves_group(runner, space):
            return (
                True  # its own, its ancestors' and the instance's; and those below, as DESCENDANTS has them
            )
        below, people = f"{space.path}/", self.world.people
        if runner.group is not None:
            return f"{runner.group.path}/".startswith(below)
        owners = (people.projects.get(number) for number in runner.project_ids)
        return any(project is not None and project.path.startswith(below) for project in owners)

    def _project(self, project: Project | None) -> Json | None:
        if project is None:
            return None

        def runners(_info: Any, **asked: Any) -> Json:
            return self._runner_page((r for r in self.fleet.runners.values() if r.reaches(project)), asked)

        def jobs(info: Any, **asked: Any) -> Json:
            _only_once(info)
            found = self._all_jobs(asked.get("statuses"))
            rows = (job for job in found if job.pipeline.project is project and job.status != "created")
            return self._job_page(rows, asked)

        return {
            "id": f"gid://gitlab/Project/{project.id}",
            "name": project.slug,
            "path": project.slug,
            "fullPath": project.path,
            "archived": project.archived,
            "webUrl": f"/{project.path}",
            "runners": runners,
            "jobs": jobs,
        }

    def _runner(self, runner: Runner | None) -> Json | None:
        if runner is None:
            return None
        now = self.world.now
        return {
            "id": f"gid://gitlab/Ci::Runner/{runner.id}",
            "shortSha": sha_of(runner.id)[:9],
            "description": runner.description,
            "runnerType": runner.runner_type.upper(),
            "status": runner.status(now).upper(),
            "paused": runner.paused,
            "active": not runner.paused,
            "locked": runner.locked,
            "runUntagged": runner.run_untagged,
            "tagList": list(runner.tags),
            "accessLevel": "NOT_PROTECTED",
            "contactedAt": self._time(runner.contacted_at(now)),
            "createdAt": self._time(runner.created_at),
            "creationState": "FINISHED" if runner.managers else "STARTED",
            "projectCount": len(runner.project_ids) if runner.runner_type == "project_type" else None,
            "jobCount": lambda _info: min(_MOST_JOBS + 1, len(self.fleet.taken_by(runner))),
            "jobExecutionStatus": lambda _info: "ACTIVE" if self.fleet.executing(runner) else "IDLE",
            **self._runner_connections(runner),
        }

    def _runner_connections(self, runner: Runner) -> dict[str, Field]:
        def managers(_info: Any, **asked: Any) -> Json:
            rows = [
                manager
                for manager in runner.managers
                if asked.get("systemId") in (None, manager.system_id)
                and asked.get("status") in (None, manager.status(self.world.now).upper())
            ]
            return _page(rows, lambda manager: self._manager(manager, runner), asked)

        def projects(_info: Any, **asked: Any) -> Json:
            known = (self.world.people.projects.get(number) for number in runner.project_ids)
            return _page([project for project in known if project], self._project, asked)

        def jobs(info: Any, **asked: Any) -> Json:
            _only_once(info)
            wanted = asked.get("statuses")
            taken = self.fleet.taken_by(runner)
            return self._job_page((job for job in taken if not wanted or job.status.upper() in wanted), asked)

        def groups(_info: Any, **asked: Any) -> Json:
            return _page([runner.group] if runner.group else [], self._group_json, asked)

        return {"managers": managers, "projects": projects, "groups": groups, "jobs": jobs}

    def _manager(self, manager: Manager, runner: Runner) -> Json:
        now = self.world.now
        return {
            "id": f"gid://gitlab/Ci::RunnerManager/{manager.id}",
            "systemId": manager.system_id,
            "status": manager.status(now).upper(),
            "contactedAt": self._time(manager.contacted_at(now)),
            "createdAt": self._time(manager.created_at),
            "version": manager.version,
            "revision": manager.revision,
            "platformName": manager.platform,
            "architectureName": manager.architecture,
            "executorName": "docker",
            "ipAddress": "127.0.0.1",
            "jobExecutionStatus": lambda _info: (
                "ACTIVE" if manager.id in self.fleet.busy_managers() else "IDLE"
            ),
            "runner": lambda _info: self._runner(runner),
        }

    def _job(self, job: Job) -> Json:
        now, pipeline = self.world.now, job.pipeline
        runner = self.fleet.runners.get(job.runner.id) if job.runner else None
        used = next((m for m in runner.managers if m.id == job.manager_id), None) if runner else None
        return {
            "id": f"gid://gitlab/Ci::Build/{job.id}",
            "name": job.plan.name,
            "kind": "BUILD",
            "status": job.status.upper(),
            "stage": {"name": job.plan.stage},
            "tags": list(job.plan.tags),
            "createdAt": self._time(job.created_at),
            "queuedAt": self._time(job.queued_at),
            "startedAt": self._time(job.started_at),
            "finishedAt": self._time(job.finished_at),
            "erasedAt": self._time(job.erased_at),
            "duration": None if not job.started_at else ((job.finished_at or now) - job.started_at) // 1000,
            "queuedDuration": None if not job.queued_at else ((job.started_at or now) - job.queued_at) / 1000,
            "allowFailure": job.plan.allow_failure,
            "retried": job.retried,
            "stuck": lambda _info: self.fleet.stuck(job),
            "active": job.status in ("pending", "running", "preparing", "canceling"),
            "failureMessage": job.failure_reason or None,
            "source": pipeline.source,
            "refName": pipeline.ref,
            "webPath": f"/{pipeline.project.path}/-/jobs/{job.id}",
            "runner": lambda _info: self._runner(runner),
            "runnerManager": lambda _info: self._manager(used, runner) if used and runner else None,
            "pipeline": {
                "id": f"gid://gitlab/Ci::Pipeline/{pipeline.id}",
                "iid": str(pipeline.iid),
                "status": pipeline.status.upper(),
            },
            "project": lambda _info: self._project(pipeline.project),
        }

    def _time(self, moment: int | None) -> str | None:
        """GraphQL shows whole seconds."""
        known = None if moment is None else iso(moment // 1000 * 1000, self.world.options.offset)
        return known and known.replace(".000", "", 1)


def _only_once(info: Any) -> None:
    """Refuse a field that GitLab resolves for one object per query only."""
    kind = info.parent_type.name
    asked: set[str] = info.context
    if f"{kind}.{info.field_name}" in asked:
        raise GraphQLError(f'"{info.field_name}" field can be requested only for 1 {kind}(s) at a time.')
    asked.add(f"{kind}.{info.field_name}")


def _page(rows: Sequence[T], write: Callable[[T], Json | None], asked: Json) -> Json:
    """A connection over *rows*, newest first; its cursors hold on when rows come and go."""
    after, size = asked.get("after"), asked.get("first")
    size = _PAGE_SIZE if size is None else max(0, min(size, _PAGE_SIZE))
    last = None if not after else _read_cursor(after)
    later = [row for row in sorted(rows, key=lambda row: -row.id) if last is None or row.id < last]
    page = list(itertools.islice(later, size))
    return {
        "nodes": [write(row) for row in page],
        "count": len(rows),
        "pageInfo": {
            "hasNextPage": len(later) > len(page),
            "hasPreviousPage": last is not None,
            "startCursor": _cursor(page[0].id) if page else None,
            "endCursor": _cursor(page[-1].id) if page else None,
        },
    }


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"id": str(number)}).encode()).decode().rstrip("=")


def _read_cursor(text: str) -> int:
    try:
        return int(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["id"])
    except (ValueError, KeyError, TypeError):
        raise GraphQLError("Please provide a valid cursor") from None
