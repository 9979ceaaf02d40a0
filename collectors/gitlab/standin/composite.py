"""The status of many jobs taken together, as GitLab works it out.

Source: GitLab, lib/gitlab/ci/status/composite.rb and the transitions of app/models/ci/pipeline.rb.
"""

from __future__ import annotations

from collections.abc import Iterable

from collectors.gitlab.standin.records import Job, Pipeline

_HARMLESS = {"warned", "ignored"}
_ONLY: tuple[tuple[set[str], str], ...] = (
    ({"skipped", "ignored"}, "skipped"),
    ({"success", "skipped"} | _HARMLESS, "success"),
    ({"created"} | _HARMLESS, "created"),
    ({"preparing"} | _HARMLESS, "preparing"),
    ({"canceled", "success", "skipped"} | _HARMLESS, "canceled"),
    ({"pending", "created", "skipped"} | _HARMLESS, "pending"),
)
_ANY: tuple[tuple[str, str], ...] = (
    ("canceling", "canceling"),
    ("running", "running"),
    ("pending", "running"),
    ("waiting_for_resource", "waiting_for_resource"),
    ("waiting_for_callback", "waiting_for_callback"),
    ("manual", "manual"),
    ("scheduled", "scheduled"),
    ("preparing", "preparing"),
    ("created", "running"),
)


def _kind(job: Job) -> str:
    if job.plan.allow_failure and job.status in ("failed", "canceled"):
        return "warned"
    if job.plan.allow_failure and job.status == "manual" and not job.played:
        return "ignored"
    return job.status


def composite(jobs: Iterable[Job]) -> str | None:
    """The status of *jobs* as a whole, ``None`` without jobs."""
    kinds = {_kind(job) for job in jobs}
    if not kinds:
        return None
    for allowed, status in _ONLY:
        if kinds <= allowed:
            return status
    return next((status for kind, status in _ANY if kind in kinds), "failed")


def latest(pipeline: Pipeline) -> list[Job]:
    """Its jobs without those that were retried."""
    return [job for job in pipeline.jobs or () if not job.retried]


def union_seconds(pipeline: Pipeline, now: int) -> int:
    """Whole seconds during which at least one build of it or downstream of it ran; the rest is cut off.

    Source: GitLab, lib/gitlab/ci/pipeline/duration.rb: latest builds only, and none that is ``canceling``.
    """
    spans = sorted((job.started_at, job.finished_at or now) for job in _builds(pipeline) if job.started_at)
    total, reached = 0, 0
    for start, end in spans:
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total // 1000


def _builds(pipeline: Pipeline) -> Iterable[Job]:
    for job in latest(pipeline):
        if not job.is_bridge:
            if job.status in ("success", "failed", "running", "canceled"):
                yield job
        elif job.downstream and not job.downstream.deleted:
            yield from _builds(job.downstream)


def transition(pipeline: Pipeline, wanted: str | None) -> str | None:
    """What the pipeline's status becomes when its jobs amount to *wanted*; ``None`` for no change.

    A finished pipeline whose jobs wait again is ``running`` at once, and a running one never goes
    back to waiting.
    """
    if wanted is None or wanted in ("created", pipeline.status):
        return None
    if wanted == "pending":
        if pipeline.status in ("success", "failed", "canceled"):
            return "running"
        if pipeline.status in ("running", "canceling"):
            return None
    return wanted
