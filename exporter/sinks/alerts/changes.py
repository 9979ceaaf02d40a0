"""Events of the stream of runs, read back into the records that they tell of."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from exporter.model.events import Event
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.store.records import Project, Records

log = logging.getLogger(__name__)

_TIMES = ("created_at", "updated_at", "started_at", "finished_at")
_RUN = frozenset(field.name for field in fields(PipelineRun))
_JOB = frozenset(field.name for field in fields(JobRun)) - {"runner_type"}


@dataclass(frozen=True, slots=True)
class Change:
    """What was seen of a run, or of its ``job``; ``old`` if it happened too long ago to alert anybody."""

    time: datetime
    provider: str
    project: Project
    run: PipelineRun
    job: JobRun | None = None
    old: bool = False


class Reader:
    """Turns events into changes, as far as the store knows their projects."""

    def __init__(self) -> None:
        self._projects: dict[tuple[str, str, str, str], Project] = {}

    def read(self, event: Event, records: Records, not_before: datetime) -> Change | None:
        """What *event* tells; ``None`` for what a rule can make nothing of."""
        try:
            data = json.loads(event.data)
            project = self._project(data, records)
            if project is None:
                return None
            job = _job(data["job"]) if "job" in data else None
            told = data["run"]
            # Of a job whose run was not known yet, the event has the id alone.
            run = _run(told) if "status" in told else records.run(project.unit_id, told["run_id"])
            if run is None:
                return None
            return Change(event.time, data["provider"], project, run, job, event.time < not_before)
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("an event could not be read; no rule sees it", extra={"event": event.id})
            return None

    def _project(self, data: dict[str, Any], records: Records) -> Project | None:
        told = data["project"]
        key = (data["target"], told["id"], told["name"], told["default_branch"])
        if key not in self._projects:
            found = records.project(key[0], key[1])
            if found is None:
                return None
            self._projects[key] = Project(found.unit_id, *key)
        return self._projects[key]


def _run(data: dict[str, Any]) -> PipelineRun:
    known = {name: value for name, value in data.items() if name in _RUN}
    words = {"status": Status(data["status"]), "ref_kind": RefKind(data["ref_kind"])}
    return PipelineRun(**(known | words | _times(data)))


def _job(data: dict[str, Any]) -> JobRun:
    known = {name: value for name, value in data.items() if name in _JOB}
    return JobRun(**(known | {"status": Status(data["status"])} | _times(data)))


def _times(data: dict[str, Any]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(data[name]) for name in _TIMES if data.get(name)}
