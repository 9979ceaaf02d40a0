"""A history of a few thousand runs in a real store, and the same runs as plain records to compare with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from exporter.contract import Batch, Unit
from exporter.model.history import History
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.store.sql import SqlStore

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=30)
ODD = "ünï/<b>\"quoted\" 'name', 🚀/\u202eללא"
PROJECTS = ("acme/anvil", "acme/rocket/engine", "zeta/tools", ODD)
REFS = ("main", "feature/=1+1", "release/1.0", "täg 🚀", "-rf", "a,b")
SOURCES = ("push", "schedule", "web")


@dataclass
class Told:
    """What the store was told: ``(project, run)``, and the jobs of each run by its id."""

    runs: list[tuple[str, PipelineRun]] = field(default_factory=list)
    jobs: dict[int, list[JobRun]] = field(default_factory=dict)

    def of(self, *statuses: Status) -> list[PipelineRun]:
        """The runs with one of *statuses*."""
        return [run for _, run in self.runs if run.status in statuses]


def fill(store: SqlStore, count: int, target: str = "source") -> Told:
    """Save *count* runs of 30 days in four projects of *target*."""
    told = Told()
    units = [Unit(str(number), name, default_branch="main") for number, name in enumerate(PROJECTS)]
    stored = store.register(target, units, backfill_days=0, now=START)
    for number, (unit, name) in enumerate(zip(stored, PROJECTS, strict=True)):
        runs = list(_runs(range(number, count, len(PROJECTS)), count))
        jobs = [job for run in runs for job in _jobs(run)]
        for first in range(0, len(runs), 500):
            ids = {run.run_id for run in runs[first : first + 500]}
            store.save(
                unit.id,
                Batch(
                    runs=tuple(runs[first : first + 500]),
                    jobs=tuple(job for job in jobs if job.run_id in ids),
                    cursor=str(first),
                ),
                NOW,
            )
        told.runs += [(name, run) for run in runs]
        for job in jobs:
            told.jobs.setdefault(job.run_id, []).append(job)
    return told


def history_of(store: SqlStore) -> History:
    """What is asked, with the collectors of nobody."""
    return store.history(lambda: {"source": "gitlab"})


def _runs(numbers: range, count: int) -> Iterator[PipelineRun]:
    for number in numbers:
        # Of their own number, not of their order: the same run whatever the count.
        luck = random.Random(number)
        created = START + timedelta(seconds=number * (30 * 86400 // count), milliseconds=number % 3 * 500)
        status = luck.choices(list(Status), [1, 1, 2, 1, 60, 25, 6, 3, 1])[0]
        queue = luck.choice([None, 0.0, 3.0, 12.5])
        started = created + timedelta(seconds=queue or 0) if status is not Status.CREATED else None
        duration = float(luck.randrange(10, 4000)) if status in (Status.SUCCESS, Status.FAILED) else None
        finished = started + timedelta(seconds=duration or 1) if started and status.finished else None
        ref = luck.choice(REFS)
        yield PipelineRun(
            run_id=number + 1,
            ref=ref,
            ref_kind=RefKind.TAG if ref.startswith("täg") else RefKind.BRANCH,
            source=luck.choice(SOURCES),
            status=status,
            created_at=created,
            updated_at=finished or created,
            started_at=started,
            finished_at=finished,
            duration_seconds=duration,
            queue_seconds=queue if started else None,
            coverage_ratio=luck.choice([None, 0.9829]),
            username=luck.choice([None, "ann", '=cmd|" /C calc"!A0', "אבג"]),
            web_url=luck.choice([None, f"https://ci.example.com/-/pipelines/{number}?a=1&b=2"]),
        )


def _jobs(run: PipelineRun) -> Iterator[JobRun]:
    """A job ``unit`` that sometimes fails first, and on main a job ``deploy live``."""
    luck = random.Random(-run.run_id)
    ended = run.finished_at or run.created_at + timedelta(seconds=60)
    attempts = [Status.FAILED, Status.SUCCESS] if luck.random() < 0.2 else [Status.SUCCESS]
    for attempt, status in enumerate(attempts):
        yield _job(run, attempt, "test", "unit", status, run.created_at + timedelta(seconds=20 + attempt))
    if run.ref == "main" and run.status in (Status.SUCCESS, Status.FAILED):
        yield _job(run, 5, "deploy", "deploy live", run.status, ended)


def _job(run: PipelineRun, number: int, stage: str, name: str, status: Status, finished: datetime) -> JobRun:
    return JobRun(
        job_id=run.run_id * 10 + number,
        run_id=run.run_id,
        stage=stage,
        name=name,
        status=status,
        created_at=run.created_at,
        started_at=run.created_at,
        finished_at=finished,
        duration_seconds=float(5 + run.run_id % 50),
        queue_seconds=1.0,
        failure_reason="script_failure" if status is Status.FAILED else "",
    )
