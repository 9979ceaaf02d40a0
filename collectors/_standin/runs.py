"""What a forge consists of: projects, and their runs and jobs; times are milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FINISHED = ("success", "failed", "canceled", "skipped")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job will go: how long it waits and runs, both in seconds, and how it ends."""

    name: str
    stage: str = "build"
    seconds: float = 30.0
    queue: float = 2.0
    status: str = "success"
    labels: tuple[str, ...] = ("linux",)


@dataclass(slots=True, eq=False)
class Job:
    """One job of one attempt; ``runner`` is the name of who took it, empty before."""

    id: int
    run: Run
    attempt: int
    plan: Plan
    created_at: int
    status: str = "created"
    started_at: int | None = None
    finished_at: int | None = None
    runner: str = ""


@dataclass(slots=True, eq=False)
class Run:
    """One run; ``attempt`` counts its executions, ``started_at`` is of the present one.

    ``asked_at`` is when the present attempt was asked for. ``ended`` holds a copy of the run as it was at
    the end of each earlier attempt.
    """

    id: int
    number: int
    project: Project
    pipeline: str
    ref: str
    ref_kind: str
    source: str
    sha: str
    title: str
    username: str
    created_at: int
    updated_at: int
    plans: tuple[Plan, ...] = ()
    attempt: int = 1
    status: str = "created"
    started_at: int | None = None
    finished_at: int | None = None
    asked_at: int = 0
    jobs: list[Job] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether the present attempt is over."""
        return self.status in FINISHED

    def jobs_of(self, attempt: int) -> list[Job]:
        """The jobs of one attempt, in the order in which they were made."""
        return [job for job in self.jobs if job.attempt == attempt]

    def at(self, attempt: int) -> Run | None:
        """The run as it is, or was at the end of an earlier *attempt*."""
        return next((run for run in (*self.ended, self) if run.attempt == attempt), None)


@dataclass(slots=True, eq=False)
class Project:
    """A repository, or whatever runs belong to; ``runs`` by id, oldest first.

    ``counts_once`` numbers all of its runs in one row, even where others have one for each ref.
    """

    id: int
    path: str
    created_at: int
    default_branch: str = "main"
    counts_once: bool = False
    runs: dict[int, Run] = field(default_factory=dict)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)


def plan_of(given: Mapping[str, Any]) -> Plan:
    """A plan from JSON; ``duration`` is another word for ``seconds``."""
    fields = dict(given)
    if "duration" in fields:
        fields["seconds"] = fields.pop("duration")
    if "labels" in fields:
        fields["labels"] = tuple(fields["labels"])
    return Plan(**fields)
