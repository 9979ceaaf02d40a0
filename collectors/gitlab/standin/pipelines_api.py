"""The endpoints about pipelines, jobs and bridges."""

from __future__ import annotations

import base64
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from collectors._standin.asking import Answer, Query, Refusal
from collectors.gitlab.standin import history, testreports
from collectors.gitlab.standin.params import offset_page
from collectors.gitlab.standin.projects_api import find_project
from collectors.gitlab.standin.records import COMPLETED, KNOWN_STATUSES, Job, Pipeline, Project, sha_of
from collectors.gitlab.standin.render import Render
from collectors.gitlab.standin.world import World

_SOURCES = (
    "push",
    "web",
    "trigger",
    "schedule",
    "api",
    "external",
    "pipeline",
    "chat",
    "webide",
    "merge_request_event",
    "external_pull_request_event",
    "parent_pipeline",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "security_orchestration_policy",
)
_ORDERS: dict[str, Callable[[Pipeline], Any]] = {
    "id": lambda pipeline: pipeline.id,
    "status": lambda pipeline: (pipeline.status, pipeline.id),
    "ref": lambda pipeline: (pipeline.ref, pipeline.id),
    "updated_at": lambda pipeline: (pipeline.updated_at, pipeline.id),
    "user_id": lambda pipeline: (pipeline.user.id, pipeline.id),
}
_SCOPES = ("running", "pending", "finished", "branches", "tags")
_JOB_STATUSES = tuple(KNOWN_STATUSES)


class PipelinesApi:
    """Answers from *world*, written by *render*."""

    def __init__(self, world: World, render: Render) -> None:
        self.world = world
        self.render = render

    def _project(self, query: Query, key: str) -> Project:
        project = find_project(self.world, key, query)
        if not project.ci_enabled:
            raise Refusal(403, {"message": "403 Forbidden"})
        return project

    def _pipeline(self, query: Query, key: str, number: str) -> Pipeline:
        project = self._project(query, key)
        if not number.isdigit():
            raise Refusal(400, {"error": "pipeline_id is invalid"})
        pipeline = project.pipelines.get(int(number))
        if pipeline is None:
            raise Refusal(404, {"message": "404 Not found"})
        return pipeline

    def pipelines(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/pipelines``; children only when asked for by their source."""
        project = self._project(query, key)
        order = query.choice("order_by", tuple(_ORDERS), "id")
        down = query.choice("sort", ("asc", "desc"), "desc") == "desc"
        rows = self._chosen(query, project)
        rows.sort(key=_ORDERS[order], reverse=down)
        return offset_page(query, rows, self.render.pipeline)

    def _chosen(self, query: Query, project: Project) -> list[Pipeline]:
        after = query.moment("updated_after")
        rows: Iterable[Pipeline] = project.pipelines.values()
        if after is not None:
            newest_first = reversed(project.by_update.values())
            rows = itertools.takewhile(lambda pipeline: pipeline.updated_at >= after, newest_first)
        rows = _in_scope(query.choice("scope", _SCOPES, ""), project, rows)
        tests = _tests(query)
        return [pipeline for pipeline in rows if all(test(pipeline) for test in tests)]

    def pipeline(self, query: Query, key: str, number: str) -> Answer:
        """``GET /projects/:id/pipelines/:pipeline_id``, children too."""
        return Answer(self.render.pipeline_detail(self._pipeline(query, key, number)))

    def pipeline_jobs(self, query: Query, key: str, number: str) -> Answer:
        """``GET …/jobs``: the latest of each name, or all, newest first."""
        return self._part(query, self._pipeline(query, key, number), bridges=False)

    def bridges(self, query: Query, key: str, number: str) -> Answer:
        """``GET …/bridges``."""
        return self._part(query, self._pipeline(query, key, number), bridges=True)

    def _part(self, query: Query, pipeline: Pipeline, *, bridges: bool) -> Answer:
        scope = query.choices("scope", _JOB_STATUSES)
        retried = bool(query.flag("include_retried")) and not bridges
        now = self.world.now
        rows = [
            job
            for job in reversed(history.jobs_of(pipeline))
            if job.is_bridge == bridges
            and (retried or not job.retried)
            and (scope is None or job.status in scope)
        ]
        rows.sort(key=lambda job: job.id, reverse=True)
        write = self.render.bridge if bridges else self.render.job
        return offset_page(query, rows, lambda job: write(job, now), counted=False)

    def test_report_summary(self, query: Query, key: str, number: str) -> Answer:
        """``GET …/test_report_summary``, since 14.2; a job's part is there a little after its end."""
        if self.world.before((14, 2)):
            raise Refusal(404, {"error": "404 Not Found"})
        pipeline = self._pipeline(query, key, number)
        made_by = self.world.now - testreports.MADE_AFTER
        return Answer(testreports.summary(testreports.parts(pipeline, made_by)))

    def test_report(self, query: Query, key: str, number: str) -> Answer:
        """``GET …/test_report``, read from what the jobs left."""
        return Answer(testreports.report(testreports.parts(self._pipeline(query, key, number))))

    def jobs(self, query: Query, key: str) -> Answer:
        """``GET /projects/:id/jobs``, newest first, without totals; by keyset when asked."""
        project = self._project(query, key)
        scope, now = query.choices("scope", _JOB_STATUSES), self.world.now
        rows = (
            job
            for job in _jobs_newest_first(project)
            if not job.is_bridge and (scope is None or job.status in scope)
        )
        if query.choice("pagination", ("offset", "keyset", "legacy"), "offset") == "keyset":
            return self._keyset(query, rows)
        wanted = query.number("page", 1, 1) * query.per_page + 1
        found = list(itertools.islice(rows, wanted))
        return offset_page(
            query, found, lambda job: self.render.job(job, now), counted=False, limit="Ci::Build"
        )

    def _keyset(self, query: Query, rows: Iterator[Job]) -> Answer:
        last = _read_cursor(query.text("cursor"))
        later = (job for job in rows if last is None or job.id < last)
        found = list(itertools.islice(later, query.per_page + 1))
        page = found[: query.per_page]
        answer = Answer([self.render.job(job, self.world.now) for job in page])
        if len(found) > len(page):
            cursor = base64.urlsafe_b64encode(
                json.dumps({"id": str(page[-1].id), "_kd": "n"}).encode()
            ).decode()
            answer.headers.append(("Link", f'<{query.link(cursor=cursor)}>; rel="next"'))
        return answer

    def job(self, query: Query, key: str, number: str) -> Answer:
        """``GET /projects/:id/jobs/:job_id``."""
        project = self._project(query, key)
        for job in _jobs_newest_first(project):
            if str(job.id) == number and not job.is_bridge:
                return Answer(self.render.job(job, self.world.now))
        raise Refusal(404, {"message": "404 Not found"})


def _read_cursor(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(json.loads(base64.urlsafe_b64decode(text))["id"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, {"error": "cursor is invalid"}) from None


def _jobs_newest_first(project: Project) -> Iterator[Job]:
    """Every job, by falling id; those of untouched history are made one pipeline at a time."""
    kept = (job for pipeline in project.pipelines.values() for job in pipeline.jobs or ())
    newest = deque(sorted(kept, key=lambda job: job.id, reverse=True))
    frozen = [pipeline for pipeline in project.pipelines.values() if pipeline.jobs is None]
    # Pipelines of history are older than all others, but a retried one keeps old job ids among theirs.
    for pipeline in sorted(frozen, key=lambda pipeline: pipeline.id, reverse=True):
        made = sorted(history.jobs_of(pipeline), key=lambda job: job.id, reverse=True)
        while newest and made and newest[0].id > made[0].id:
            yield newest.popleft()
        yield from made
    yield from newest


def _in_scope(scope: str, project: Project, rows: Iterable[Pipeline]) -> Iterable[Pipeline]:
    """*rows* of a scope; for branches and tags only the latest of each ref that still exists."""
    if scope in ("running", "pending"):
        return (pipeline for pipeline in rows if pipeline.status == scope)
    if scope == "finished":
        return (pipeline for pipeline in rows if pipeline.status in COMPLETED)
    if scope not in ("branches", "tags"):
        return rows
    tags = scope == "tags"
    existing = project.tags if tags else project.branches
    latest: dict[str, int] = {}
    for pipeline in project.pipelines.values():
        if pipeline.tag == tags and pipeline.ref in existing and not pipeline.is_child:
            latest[pipeline.ref] = max(pipeline.id, latest.get(pipeline.ref, 0))
    chosen = set(latest.values())
    return (pipeline for pipeline in rows if pipeline.id in chosen)


def _tests(query: Query) -> list[Callable[[Pipeline], bool]]:
    status, source = query.choice("status", KNOWN_STATUSES, ""), query.choice("source", _SOURCES, "")
    ref, sha, username = query.text("ref"), query.text("sha"), query.text("username")
    tests: list[Callable[[Pipeline], bool]] = []
    tests.append((lambda p: p.source == source) if source else (lambda p: not p.is_child))
    if status:
        tests.append(lambda p: p.status == status)
    if ref is not None:
        tests.append(lambda p: p.ref == ref)
    if sha is not None:
        tests.append(lambda p: sha_of(p.sha_key) == sha)
    if username is not None:
        tests.append(lambda p: p.user.username == username)
    return tests + _time_tests(query)


def _time_tests(query: Query) -> list[Callable[[Pipeline], bool]]:
    """Bounds on times; all of them include the moment itself."""
    updated_before = query.moment("updated_before")
    created_after, created_before = query.moment("created_after"), query.moment("created_before")
    tests: list[Callable[[Pipeline], bool]] = []
    if updated_before is not None:
        tests.append(lambda p: p.updated_at <= updated_before)
    if created_after is not None:
        tests.append(lambda p: p.created_at >= created_after)
    if created_before is not None:
        tests.append(lambda p: p.created_at <= created_before)
    return tests
