"""Jenkins' JSON of the stages of a build to records of jobs."""

from __future__ import annotations

import re
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from collectors._values import Json, integer, json_object, text
from collectors.jenkins.mapping import Unknown, status_for
from collectors.jenkins.values import LONGEST, entries, instant
from exporter.model.runs import JobRun, PipelineRun, Status

# Source: pipeline-stage-view-plugin, StatusExt.java. What goes on in a build that is over was cut off.
STAGES = {
    "SUCCESS": Status.SUCCESS,
    "FAILED": Status.FAILED,
    "ABORTED": Status.CANCELED,
    "NOT_EXECUTED": Status.SKIPPED,
    "SKIPPED": Status.SKIPPED,
    "IN_PROGRESS": Status.CANCELED,
    "PAUSED_PENDING_INPUT": Status.CANCELED,
}
_WHOLE_IDS = 53  # bits of a whole number that JavaScript shows exactly


def stages(body: Any, of: PipelineRun, *, unstable: str, unknown: Unknown) -> list[JobRun]:
    """The stages of a build that is over, as jobs.

    A name that occurs again is no second try, as that would be a build of its own, but another branch of
    a parallel or a loop: it is told apart by its place, in the order in which they began.
    """
    entry = json_object(body, "description of stages")
    found = [json_object(one, "stage") for one in entries(entry, "stages", needed=True)]
    seen: dict[str, int] = {}
    jobs = []
    for one in sorted(found, key=_node):
        name = text(one, "name")
        seen[name] = seen.get(name, 0) + 1
        shown = name if seen[name] == 1 else f"{name} ({seen[name]})"
        jobs.append(_stage(one, shown, of, status_for(text(one, "status"), STAGES, unstable, unknown)))
    return jobs


def _stage(one: Json, name: str, of: PipelineRun, state: Status) -> JobRun:
    """One stage; the time in which it waited for an answer is none in which it ran."""
    began, took = integer(one, "startTimeMillis", LONGEST), integer(one, "durationMillis", LONGEST)
    paused = one.get("pauseDurationMillis")
    paused = paused if isinstance(paused, int) and 0 <= paused <= took else 0
    ran = state is not Status.SKIPPED
    created_at = instant(began) if began else of.created_at
    return JobRun(
        job_id=_job_id(of, text(one, "id")),
        run_id=of.run_id,
        stage="",
        name=name,
        status=state,
        created_at=created_at,
        started_at=created_at if ran else None,
        finished_at=created_at + timedelta(milliseconds=took),
        duration_seconds=(took - paused) / 1000 if ran else None,
        failure_reason="unknown" if state is Status.FAILED else "",
    )


def _job_id(of: PipelineRun, node: str) -> int:
    """Identifies a stage within its unit: 53 bits of the BLAKE2b of ``run id / start of the run / node id``.

    Jenkins numbers the nodes of each build from 1. The start tells a job's builds from those that it has
    once it was deleted and made anew.
    """
    began = of.started_at.timestamp() if of.started_at else 0
    digest = blake2b(f"{of.run_id}/{began:.3f}/{node}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> (64 - _WHOLE_IDS)


def _node(one: Json) -> tuple[int, str]:
    """What orders stages by when they began: the numbers of nodes grow."""
    name = text(one, "id")
    return (int(name) if re.fullmatch(r"\d{1,15}", name) else 0, name)
