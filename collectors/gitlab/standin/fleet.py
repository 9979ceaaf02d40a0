"""All runners of the simulated GitLab: who there is, who takes which job, and which jobs wait or run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from collectors._standin.times import DAY, HOUR, MINUTE, dice, iso
from collectors.gitlab.standin.records import RUNNERS, Job, Namespace, RunnerName
from collectors.gitlab.standin.runners import TYPES, Manager, Runner

_EXECUTING = ("running", "canceling")
_ACTIVE = ("pending", *_EXECUTING)
_TAGS = (
    ("docker", "linux", "deploy"),
    ("docker", "linux", "large"),
    ("docker", "linux", "deploy", "large"),
    ("docker", "linux", "arm64"),
)
_CONCURRENT = 10
_VERSIONS = ("18.5.0", "18.5.0", "18.4.2", "17.11.4")
# What becomes of the fifth to eighth runner: milliseconds since its last contact, 0 for never, and paused.
_ODD = (
    ("shared-offline", 5 * HOUR, False),
    ("shared-stale", 20 * DAY, False),
    ("shared-paused", None, True),
    ("shared-new", 0, False),
)


class Fleet:
    """Runners by id, and the jobs they took; ``strict`` is false when any job finds one of the first four.

    ``active`` holds every build that waits or runs, in the order in which they began to wait.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.runners: dict[int, Runner] = {}
        self.active: dict[int, Job] = {}
        self.taken: dict[int, list[Job]] = {}
        self._runner_ids = itertools.count(1)
        self._manager_ids = itertools.count(1)

    def add(self, description: str, runner_type: str, created_at: int, **more: Any) -> Runner:
        """A new runner, which has not made contact yet."""
        if runner_type not in TYPES:
            raise ValueError(f"runner types: {TYPES}")
        runner = Runner(next(self._runner_ids), description, runner_type, created_at, **more)
        self.runners[runner.id] = runner
        return runner

    def start_manager(self, runner: Runner, at: int, version: str = _VERSIONS[0]) -> Manager:
        """A process that executes jobs for *runner* from now on."""
        number = next(self._manager_ids)
        system = f"s_{number * 0x9E3779B97F4A % (1 << 48):012x}"
        machine = "arm64" if "arm64" in runner.tags else "amd64"
        manager = Manager(number, system, at, version, architecture=machine)
        runner.managers.append(manager)
        return manager

    def give(self, job: Job) -> bool:
        """Let a runner begin *job*; false when none can now."""
        takers = self._free(job) if self.strict else self._founders()
        if not takers:
            return False
        runner = takers[job.id % len(takers)]
        awake = runner.awake or runner.managers
        job.runner = RunnerName(runner.id, runner.description, runner.runner_type)
        job.manager_id = awake[job.id % len(awake)].id if awake else None
        self.taken.setdefault(runner.id, []).append(job)
        return True

    def _founders(self) -> list[Runner]:
        return [self.runners[known.id] for known in RUNNERS if known.id in self.runners]

    def _free(self, job: Job) -> list[Runner]:
        """The runners that take *job* and are not full."""
        project, tags = job.pipeline.project, job.plan.tags
        able = [runner for runner in self.runners.values() if runner.takes(project, tags)]
        return [runner for runner in able if len(self.executing(runner)) < runner.concurrent]

    def stuck(self, job: Job) -> bool:
        """Whether it waits and no runner would take it, full or not."""
        project, tags = job.pipeline.project, job.plan.tags
        waits = self.strict and job.status == "pending"
        return waits and not any(runner.takes(project, tags) for runner in self.runners.values())

    def jobs(self, *statuses: str) -> Iterator[Job]:
        """Builds that wait or run, of *statuses*."""
        for job in self.active.values():
            if job.status in statuses and not job.pipeline.deleted:
                yield job

    def executing(self, runner: Runner) -> list[Job]:
        """What *runner* executes now."""
        return [job for job in self.jobs(*_EXECUTING) if job.runner and job.runner.id == runner.id]

    def taken_by(self, runner: Runner) -> list[Job]:
        """What *runner* ever executed, newest first; what was before the world began to move is not known."""
        kept = (job for job in self.taken.get(runner.id, ()) if not job.pipeline.deleted)
        return sorted(kept, key=lambda job: job.id, reverse=True)

    def busy_managers(self) -> set[int]:
        """The ids of the processes that execute something now."""
        return {job.manager_id for job in self.jobs(*_EXECUTING) if job.manager_id is not None}

    def stock(self, count: int, seed: int, now: int, groups: list[Namespace], projects: list[int]) -> None:
        """The first *count* runners: four that work, four that do not, then groups', projects' and more.

        The first of *groups* is the top one.
        """
        chance = dice(seed)
        for number in range(count):
            created = now - chance.randrange(30 * DAY, 400 * DAY)
            if number < len(RUNNERS):
                runner = self._founder(number, created, groups[0], projects[:1])
            elif number < len(RUNNERS) + len(_ODD):
                self._odd(number - len(RUNNERS), now, created)
                continue
            else:
                runner = self._later(number, created, groups, projects)
            for _ in range(3 if number % 3 == 1 else 1):
                begun = now - chance.randrange(HOUR, 25 * DAY)
                self.start_manager(runner, begun, _VERSIONS[chance.randrange(len(_VERSIONS))])
            runner.concurrent = _CONCURRENT * len(runner.managers)
            if len(runner.managers) > 1:
                runner.managers[0].silent_since = now - chance.randrange(10 * MINUTE, 30 * HOUR)
                runner.managers[0].created_at = runner.created_at

    def _founder(self, number: int, created: int, top: Namespace, projects: list[int]) -> Runner:
        known = RUNNERS[number]
        more: dict[str, Any] = {"tags": _TAGS[number]}
        if known.runner_type == "group_type":
            more["group"] = top
        elif known.runner_type == "project_type":
            more |= {"project_ids": set(projects), "locked": True}
        return self.add(known.description, known.runner_type, created, **more)

    def _odd(self, place: int, now: int, created: int) -> None:
        name, ago, paused = _ODD[place]
        created = now - HOUR if ago == 0 else created
        runner = self.add(name, "instance_type", created, tags=("docker",), paused=paused)
        if ago != 0:
            manager = self.start_manager(runner, created)
            manager.silent_since = None if ago is None else now - ago

    def _later(self, number: int, created: int, groups: list[Namespace], projects: list[int]) -> Runner:
        kind, tags = TYPES[(number + 1) % 3], _TAGS[number % len(_TAGS)]
        if kind == "group_type":
            group = groups[number % len(groups)]
            return self.add(f"group-{number + 1}", kind, created, tags=tags, group=group)
        if kind == "project_type" and projects:
            chosen = {projects[number % len(projects)], projects[number * 7 % len(projects)]}
            return self.add(f"project-{number + 1}", kind, created, tags=tags, project_ids=chosen)
        return self.add(f"shared-{number + 1}", "instance_type", created, tags=tags)

    def told(self, now: int) -> dict[str, Any]:
        """The truth about it as JSON: runners, and the builds that wait or run."""
        return {
            "runners": [self._told_runner(runner, now) for runner in self.runners.values()],
            "jobs": [self._told_job(job) for job in self.jobs(*_ACTIVE)],
        }

    def _told_runner(self, runner: Runner, now: int) -> dict[str, Any]:
        executing = self.executing(runner)
        return {
            "id": runner.id,
            "description": runner.description,
            "runner_type": runner.runner_type,
            "status": runner.status(now),
            "paused": runner.paused,
            "locked": runner.locked,
            "run_untagged": runner.run_untagged,
            "tags": list(runner.tags),
            "created_at": iso(runner.created_at),
            "contacted_at": iso(runner.contacted_at(now)),
            "group": runner.group.path if runner.group else None,
            "project_ids": sorted(runner.project_ids),
            "running": [job.id for job in executing],
            "taken": len(self.taken_by(runner)),
            "managers": [
                {
                    "id": manager.id,
                    "system_id": manager.system_id,
                    "version": manager.version,
                    "status": manager.status(now),
                    "contacted_at": iso(manager.contacted_at(now)),
                    "running": sum(job.manager_id == manager.id for job in executing),
                }
                for manager in runner.managers
            ],
        }

    def _told_job(self, job: Job) -> dict[str, Any]:
        project = job.pipeline.project
        return {
            "job_id": job.id,
            "status": job.status,
            "name": job.plan.name,
            "tags": list(job.plan.tags),
            "project_id": project.id,
            "project": project.path,
            "queued_at": iso(job.queued_at),
            "started_at": iso(job.started_at),
            "runner_id": job.runner.id if job.runner else None,
            "runner_type": job.runner.runner_type if job.runner else "",
            "stuck": self.stuck(job),
        }
