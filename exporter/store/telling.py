"""What changed about runs and jobs, as events of one stream: made while they are saved, so none is missed."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from urllib.parse import quote

from exporter.clock import EPOCH, timestamp
from exporter.model.events import RUNS, Event
from exporter.model.runs import JobRun, PipelineRun

TYPE_PREFIX = "ci_exporter"
_RUN_FIELDS = tuple(
    field.name
    for field in fields(PipelineRun)
    if field.name not in ("complete", "earlier", "ended_by", "attempt")
)
_JOB_FIELDS = tuple(field.name for field in fields(JobRun))
_run_values = attrgetter(*_RUN_FIELDS)
_job_values = attrgetter(*_JOB_FIELDS)


@dataclass(frozen=True, slots=True)
class About:
    """Whose runs they are."""

    provider: str
    target: str
    key: str
    name: str
    default_branch: str


class Teller:
    """Collects the events of one batch of one unit, in the order in which they are to be told.

    A run or job is told when it is new, and when its status changes or it ends once more; one that ended
    before *since* is history.
    """

    def __init__(self, about: About, since: datetime) -> None:
        self.events: list[Event] = []
        self._about = about
        self._since = since
        self._source = f"/{quote(about.target, safe=':/')}/{quote(about.key, safe='')}"

    def run(self, old: PipelineRun | None, new: PipelineRun) -> None:
        """Tell what *new* shows, unless *old* showed it before."""
        state = _run_state(new)
        if state is None or (old is not None and _run_state(old) == state):
            return
        time = new.finished_at or new.updated_at
        if time >= self._since:
            details = {"run": run_object(new), "previous_status": old.status.value if old else None}
            self._tell("run", new.run_id, new.status.value, time, new.updated_at, details)

    def job(self, old: JobRun | None, new: JobRun, run: PipelineRun | None) -> None:
        """Tell what *new*, a job of *run*, shows, unless *old* showed it before."""
        if old is not None and (old.status, _second(old)) == (new.status, _second(new)):
            return
        time = new.finished_at or new.started_at or new.created_at
        if time >= self._since:
            details = {
                "job": job_object(new),
                "run": run_object(run) if run else {"run_id": new.run_id},
                "previous_status": old.status.value if old else None,
            }
            version = time
            if old and run and time == new.created_at and (old.status.finished or new.status.finished):
                # It waits or is skipped once more, which tells no time of its own: only the run shows it.
                version = run.updated_at
            self._tell("job", new.job_id, new.status.value, time, version, details)

    def _tell(
        self, kind: str, number: int, status: str, time: datetime, version: datetime, details: dict[str, Any]
    ) -> None:
        about = self._about
        project = {"id": about.key, "name": about.name, "default_branch": about.default_branch}
        data = {"provider": about.provider, "target": about.target, "project": project, **details}
        self.events.append(
            Event(
                stream=RUNS,
                id=f"{kind}s/{number}/{status}/{(version - EPOCH).total_seconds():.6f}",
                source=self._source,
                type=f"{TYPE_PREFIX}.{kind}.{status}",
                subject=f"{kind}s/{number}",
                time=time,
                key=about.key,
                data=_ENCODER.encode(data).encode(),
            )
        )


def run_object(run: PipelineRun) -> dict[str, Any]:
    """*run* for :data:`_ENCODER`; durations in seconds."""
    return dict(zip(_RUN_FIELDS, _run_values(run), strict=True))


def job_object(job: JobRun) -> dict[str, Any]:
    """*job* for :data:`_ENCODER`."""
    return dict(zip(_JOB_FIELDS, _job_values(job), strict=True))


def _time(value: datetime) -> str:
    """*value* in RFC 3339."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_time)


def _run_state(run: PipelineRun) -> object:
    """What is worth telling of a run; ``None`` while of its end only a list was read, without the times."""
    if run.status.finished and not run.complete:
        return None
    return run.status, _second(run)


def _second(item: PipelineRun | JobRun) -> int | None:
    """The second in which it ended: that tells its executions, and not every source tells more."""
    return int(timestamp(item.finished_at)) if item.finished_at else None
