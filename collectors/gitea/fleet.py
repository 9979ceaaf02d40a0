"""The collector of Gitea's runners: who is online, what runs where, and what waits for whom."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from collectors import _fleet
from collectors._fleet import Fleet, Runner, WaitingJob
from collectors._runners import FleetCollector, Scope, read_each, together
from collectors.gitea import demos, mapping
from collectors.gitea.client import INSTANCE_SCOPE, GiteaClient, organization_scope, repository_scope
from collectors.gitea.settings import RunnersConfig
from exporter.contract import Batch, Context, Position, Unit
from exporter.families import Samples


def scopes_of(config: RunnersConfig) -> list[Scope]:
    """Everything that the configuration names, the widest first."""
    instance = [Scope(INSTANCE_SCOPE, _fleet.INSTANCE, "instance")] if config.instance else []
    organizations = [Scope(organization_scope(name), _fleet.GROUP, name) for name in config.organizations]
    repositories = [Scope(repository_scope(name), _fleet.PROJECT, name) for name in config.repositories]
    return instance + organizations + repositories


@dataclass(slots=True)
class _Seen:
    """What one poll saw; the jobs are those that run and those that wait for a runner, by id."""

    runners: dict[int, Runner] = field(default_factory=dict)
    running: dict[int, mapping.Job] = field(default_factory=dict)
    waiting: dict[int, mapping.Job] = field(default_factory=dict)
    whole: bool = False


class GiteaRunners(FleetCollector[RunnersConfig, GiteaClient]):
    """The runners of an instance, of organisations and of repositories, as one fleet.

    A round costs a call per page of runners of each scope, and of the jobs that wait or run there. Gitea
    tells neither version nor last contact of a runner. The list of the instance holds the runners of
    everybody without saying whose they are: those that no other named scope has count as the instance's.
    """

    name = "gitea_runners"
    config_model = RunnersConfig
    fleet_provider = "gitea"
    start_demo = staticmethod(demos.runners_source)

    def __init__(self, config: RunnersConfig, context: Context) -> None:
        super().__init__(config, context)
        self._client = GiteaClient(config, context, self.name)
        self._scopes = scopes_of(config)

    def poll(self, unit: Unit, position: Position) -> Batch:
        """The whole fleet; a scope that cannot be read is told, and the others are shown."""
        seen = _Seen()
        troubles = read_each(self._scopes, lambda scope: self._read(scope, seen), "Gitea")
        return Batch(samples=self._shown(seen), trouble=together(troubles) if troubles else None)

    def _read(self, scope: Scope, seen: _Seen) -> None:
        """Add what one scope has; a narrower scope knows better whose a runner is."""
        runners = [
            mapping.runner(entry, scope.runner_type, groups=scope.groups, projects=scope.projects)
            for page in self._client.runners(scope.path)
            for entry in page
        ]
        seen.runners |= {runner.runner_id: runner for runner in runners}
        if seen.whole:
            return  # the instance told of all jobs
        for status, jobs in (("in_progress", seen.running), ("queued", seen.waiting)):
            if status == "queued" and not self.config.queue:
                continue
            pages = self._client.jobs_in(scope.path, status)
            jobs |= {job.job_id: job for page in pages for job in page}
        seen.whole = scope.path == INSTANCE_SCOPE

    def _shown(self, seen: _Seen) -> Samples:
        """What is exposed of what was seen."""
        working = Counter(job.runner_id for job in seen.running.values())
        runners = [
            replace(runner, jobs_running=self._jobs_running(runner, working, seen.whole))
            for _, runner in sorted(seen.runners.items())
        ]
        waiting = [
            WaitingJob(job.job_id, job.labels, job.project, job.project, job.created_at)
            for job in seen.waiting.values()
        ]
        fleet = Fleet(runners, waiting if self.config.queue else None)
        return self._samples(
            fleet, runners, at_most=self.config.max_runners, max_tag_sets=self.config.max_label_sets
        )

    def _jobs_running(self, runner: Runner, working: Counter[int], whole: bool) -> int | None:
        """How many jobs an online runner executes, ``None`` if it may execute some that are out of sight."""
        if runner.status != _fleet.ONLINE or (runner.runner_type == _fleet.INSTANCE and not whole):
            return None
        return working[runner.runner_id]
