"""Reads the jobs that wait for a runner: all of an instance over GraphQL, or those of projects over REST."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice

from collectors._fleet import WaitingJob
from collectors.gitlab.fleet import graphql
from collectors.gitlab.fleet import mapping as parse
from collectors.gitlab.fleet.client import RunnersClient
from collectors.gitlab.fleet.graphql import NoGraphQL
from collectors.gitlab.fleet.remembered import Remembered
from collectors.gitlab.fleet.scopes import INSTANCE, Scope, ScopeProjects, Ways
from exporter.clock import Clock
from exporter.contract import Trouble, UnitTrouble

_WAITING_JOBS = "waiting jobs"
_MOST_JOBS = 10_000  # a longer queue is cut: a poll must come to its end
_CALLS_PER_POLL = 200  # of projects; what is left over is asked at the next poll


class QueueReader:
    """Remembers since when each job waits: REST tells it anew, and a little differently, each time."""

    def __init__(self, client: RunnersClient, ways: Ways, projects: ScopeProjects, clock: Clock) -> None:
        self._client = client
        self._ways = ways
        self._projects = projects
        self._clock = clock
        self._pending: Remembered[str, list[WaitingJob]] = Remembered(every=1, at_most=_CALLS_PER_POLL)
        self._since: dict[int, datetime] = {}
        self.troubles: list[UnitTrouble] = []

    def read(self, readable: Collection[Scope]) -> list[WaitingJob] | None:
        """Every job that waits in the *readable* scopes, ``None`` where nobody can tell."""
        jobs = self._everywhere() if INSTANCE in readable else None
        if jobs is None:
            jobs = self._in_projects([scope for scope in readable if scope != INSTANCE])
        once = {job.job_id: job for job in jobs or ()}  # pages may overlap while jobs come and go
        self._since = {number: self._since.get(number, job.queued_at) for number, job in once.items()}
        if jobs is None:
            return None
        return [replace(job, queued_at=self._since[number]) for number, job in once.items()]

    def _everywhere(self) -> list[WaitingJob] | None:
        """Those of the whole instance, ``None`` unless GraphQL tells them to an administrator."""
        if not self._ways.graphql(INSTANCE) or not self._ways.graphql(_WAITING_JOBS):
            return None
        now = self._clock.now()
        try:
            pages = self._client.graphql.pages("graphql_waiting_jobs", graphql.WAITING, "jobs")
            return list(self._cut(parse.graphql_waiting(node, now) for page in pages for node in page))
        except NoGraphQL as error:
            self._ways.refuse(_WAITING_JOBS, error)
            return None

    def _cut(self, jobs: Iterator[WaitingJob]) -> Iterator[WaitingJob]:
        """The first of *jobs*, and a trouble if there are more."""
        yield from islice(jobs, _MOST_JOBS)
        if next(jobs, None) is not None:
            detail = f"more than {_MOST_JOBS} jobs wait; the newest {_MOST_JOBS} are shown"
            self.troubles.append(UnitTrouble(_WAITING_JOBS, Trouble.TOO_MANY, detail))

    def _in_projects(self, scopes: Collection[Scope]) -> list[WaitingJob] | None:
        """Those of the projects in *scopes*; ``None`` if there are no scopes."""
        if not scopes:
            self._ways.tell(_WAITING_JOBS, "none", "REST tells those of groups and projects alone: name them")
            return None
        projects = self._projects.among(scopes)
        now = self._clock.now()

        def ask(key: str) -> list[WaitingJob]:
            jobs = self._client.pending_jobs(key)
            return [parse.rest_waiting(job, key, projects[key], now) for job in jobs]

        self._pending.refresh(sorted(projects), ask)
        return [job for key in sorted(projects) for job in self._pending.get(key, ())]
