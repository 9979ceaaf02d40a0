"""The collector of GitHub's self-hosted runners: who is online and at work, and what waits for whom."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collectors import _fleet
from collectors._fleet import Fleet, Runner, WaitingJob
from collectors._http import NotThere
from collectors._runners import FleetCollector, Scope, read_each, together
from collectors._values import integer, json_object, text, text_or_empty
from collectors.github import demos, mapping
from collectors.github.client import GitHubClient
from collectors.github.settings import RunnersConfig
from exporter.contract import Batch, Context, Discovery, Position, Schedule, Unit
from exporter.errors import BadAnswer
from exporter.model.runs import Status

_REPOSITORIES_PER_POLL = 100  # whose queue is asked for; the others are as they were
_HOSTED = re.compile(r"(ubuntu|windows|macos)-")
_STATUSES = {"online": _fleet.ONLINE, "offline": _fleet.OFFLINE}


def scopes_of(config: RunnersConfig) -> list[Scope]:
    """Everything that the configuration names, the widest first."""
    # Many an organisation has the name of its enterprise.
    enterprises = [
        Scope(f"enterprises/{name}", _fleet.INSTANCE, f"enterprise {name}") for name in config.enterprises
    ]
    organizations = [Scope(f"orgs/{name}", _fleet.GROUP, name) for name in config.organizations]
    repositories = [Scope(f"repos/{name}", _fleet.PROJECT, name) for name in config.repositories]
    return enterprises + organizations + repositories


@dataclass(slots=True)
class _Queue:
    """The jobs of one repository that wait for a self-hosted runner, as of which poll."""

    jobs: list[WaitingJob] = field(default_factory=list)
    asked: int = 0


class GitHubRunners(FleetCollector[RunnersConfig, GitHubClient]):
    """The runners of enterprises, organisations and repositories, as one fleet.

    Each is in one list only; those of an enterprise, which take the jobs of all, count as the instance's. A
    round costs a call per page of runners of each scope, and two of each repository, which GitHub does not
    charge as long as nothing changed there. Jobs for GitHub's own runners are no part of the queue: it tells
    nothing of those runners.
    """

    name = "github_runners"
    config_model = RunnersConfig
    fleet_provider = "github"
    start_demo = staticmethod(demos.runners_source)

    def __init__(self, config: RunnersConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = GitHubClient(config, context, self.name)
        self._scopes = scopes_of(config)
        self._queues: dict[str, _Queue] = {}
        self._polls = 0

    @property
    def schedule(self) -> Schedule:
        """How often to poll, and to read anew which repositories there are."""
        return replace(super().schedule, discover=self.config.rediscover_interval_seconds)

    def discover(self) -> Discovery:
        """The one fleet there is; which repositories may have waiting jobs is read anew."""
        if self.config.queue:
            names = set(self.config.repositories)
            for organization in self.config.organizations:
                names |= self._repositories_of(organization)
            self._queues = {name: self._queues.get(name, _Queue()) for name in sorted(names)}
        return super().discover()

    def _repositories_of(self, organization: str) -> set[str]:
        try:
            pages = self._client.organization_repositories(organization)
            return {
                mapping.unit(one).name
                for page in pages
                for one in page
                if not (one.get("archived") or one.get("disabled"))
            }
        except NotThere:
            return set()  # its runners are told to be out of reach

    def poll(self, unit: Unit, position: Position) -> Batch:
        """The whole fleet; a scope that cannot be read is told, and the others are shown."""
        runners: dict[tuple[int, str], Runner] = {}
        troubles = read_each(self._scopes, lambda scope: runners.update(self._runners(scope)), "GitHub")
        found = _told_apart(runners)
        # Which repositories an enterprise has nobody tells: without any, nothing is known of the queue.
        asks = self.config.queue and (self.config.organizations or self.config.repositories)
        fleet = Fleet(found, self._waiting() if asks else None)
        samples = self._samples(
            fleet, found, at_most=self.config.max_runners, max_tag_sets=self.config.max_label_sets
        )
        return Batch(samples=samples, trouble=together(troubles) if troubles else None)

    def _runners(self, scope: Scope) -> dict[tuple[int, str], Runner]:
        values = self._client.runners(scope.path)
        found = (_runner(value, scope, self.context.api.unknown_value) for value in values)
        return {(runner.runner_id, scope.path): runner for runner in found}

    # -- the queue -----------------------------------------------------------------------------------

    def _waiting(self) -> list[WaitingJob]:
        """The jobs that wait, each repository's as of one of the last polls."""
        self._polls += 1
        due = sorted(self._queues, key=lambda name: self._queues[name].asked)[:_REPOSITORIES_PER_POLL]
        for name in due:
            self._queues[name] = _Queue(self._waiting_in(name), self._polls)
        return [job for queue in self._queues.values() for job in queue.jobs]

    def _waiting_in(self, name: str) -> list[WaitingJob]:
        """The jobs of runs that wait, and of those under way of which later jobs may."""
        found: dict[int, WaitingJob] = {}
        for status in ("queued", "in_progress"):
            for value in self._client.runs_of_status(name, status):
                run_id = integer(json_object(value, "workflow run"), "id")
                for job in self._client.latest_jobs(name, run_id):
                    if waiting := _waiting_job(job, name, self.context.api.unknown_value):
                        found[waiting.job_id] = waiting
        return list(found.values())


def _told_apart(runners: Mapping[tuple[int, str], Runner]) -> list[Runner]:
    """*runners*, by id and path of their scope; where two scopes have the same id, both are named by both."""
    often = Counter(number for number, _ in runners)
    return [
        runner if often[number] == 1 else replace(runner, named=f"{path}/{number}")
        for (number, path), runner in sorted(runners.items())
    ]


def _runner(value: Any, scope: Scope, unknown: mapping.Unknown) -> Runner:
    """One runner; GitHub tells neither when it was last seen nor whether it is paused."""
    given = json_object(value, "runner")
    word = text_or_empty(given, "status")
    if word not in _STATUSES:
        unknown("runner_status")
    status = _STATUSES.get(word, _fleet.UNKNOWN)
    return Runner(
        runner_id=integer(given, "id"),
        runner_type=scope.runner_type,
        status=status,
        paused=False,
        description=text_or_empty(given, "name"),
        tags=_labels(given.get("labels")),
        version=text_or_empty(given, "version"),
        platform=text_or_empty(given, "os"),
        projects=scope.projects,
        groups=scope.groups,
        jobs_running=int(bool(given.get("busy"))) if status == _fleet.ONLINE else None,
    )


def _labels(values: Any) -> tuple[str, ...]:
    """Names of labels, in lower case: GitHub takes no notice of it."""
    if not isinstance(values, list):
        raise BadAnswer(f"labels should be a list, got {type(values).__name__}")
    named = (
        text(value, "name") if isinstance(value, dict) else text({"name": value}, "name") for value in values
    )
    return tuple(sorted({name.lower() for name in named}))


def _waiting_job(value: Any, repository: str, unknown: mapping.Unknown) -> WaitingJob | None:
    """A job that waits for a self-hosted runner; ``None`` for any other."""
    record = mapping.job(value, unknown).record
    labels = frozenset(_labels(json_object(value, "job").get("labels") or []))
    hosted = "self-hosted" not in labels and any(_HOSTED.match(label) for label in labels)
    if record.status is not Status.PENDING or hosted:
        return None
    return WaitingJob(record.job_id, labels, repository, repository, record.created_at)
