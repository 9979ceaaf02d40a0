"""GitLab's JSON to records: its words, times and numbers, and nothing of ours trusts them before this."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collectors.gitlab.values import Json
from collectors.gitlab.values import instant as _instant
from collectors.gitlab.values import instant_or_none as _instant_or_none
from collectors.gitlab.values import integer as _integer
from collectors.gitlab.values import json_object as _object
from collectors.gitlab.values import ratio as _ratio
from collectors.gitlab.values import seconds as _seconds
from collectors.gitlab.values import text as _text
from collectors.gitlab.values import text_or_empty as _text_or_empty
from exporter.contract import Unit
from exporter.model.runners import RunnerType
from exporter.model.runs import Execution, JobRun, PipelineRun, RefKind, Status

STATUSES = {
    "created": Status.CREATED,
    "waiting_for_resource": Status.PENDING,
    "preparing": Status.PENDING,
    "waiting_for_callback": Status.PENDING,
    "pending": Status.PENDING,
    "scheduled": Status.PENDING,
    "running": Status.RUNNING,
    "canceling": Status.RUNNING,
    "manual": Status.MANUAL,
    "success": Status.SUCCESS,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
    "skipped": Status.SKIPPED,
}
_RUNNER_TYPES = {
    "instance_type": RunnerType.INSTANCE,
    "group_type": RunnerType.GROUP,
    "project_type": RunnerType.PROJECT,
}
CHILD = "parent_pipeline"
# Source: GitLab, doc/ci/jobs/job_rules.md, and app/models/concerns/enums/ci/pipeline.rb.
SOURCES = frozenset(
    (
        "api",
        "chat",
        "container_registry_push",
        "duo_workflow",
        "external",
        "external_pull_request_event",
        "merge_request_event",
        "ondemand_dast_scan",
        "ondemand_dast_validation",
        CHILD,
        "pipeline",
        "pipeline_execution_policy_schedule",
        "push",
        "schedule",
        "security_orchestration_policy",
        "trigger",
        "web",
        "webide",
    )
)
# Source: GitLab, app/models/concerns/enums/ci/commit_status.rb.
FAILURE_REASONS = frozenset(
    (
        "api_failure",
        "archived_failure",
        "bridge_pipeline_is_child_pipeline",
        "builds_disabled",
        "ci_quota_exceeded",
        "data_integrity_failure",
        "deployment_rejected",
        "downstream_bridge_project_not_found",
        "downstream_pipeline_creation_failed",
        "environment_creation_failure",
        "failed_outdated_deployment_job",
        "forward_deployment_failure",
        "insufficient_bridge_permissions",
        "insufficient_upstream_permissions",
        "invalid_bridge_trigger",
        "ip_restriction_failure",
        "job_execution_timeout",
        "missing_dependency_failure",
        "no_matching_runner",
        "pipeline_loop_detected",
        "project_deleted",
        "protected_environment_failure",
        "reached_downstream_pipeline_trigger_rate_limit",
        "reached_max_descendant_pipelines_depth",
        "reached_max_pipeline_hierarchy_size",
        "runner_provisioning_timeout",
        "runner_system_failure",
        "runner_unsupported",
        "scheduler_failure",
        "script_failure",
        "secrets_provider_not_found",
        "stale_schedule",
        "stuck_or_timeout_failure",
        "trace_size_exceeded",
        "unknown_failure",
        "unmet_prerequisites",
        "upstream_bridge_project_not_found",
        "user_blocked",
    )
)
_CHANGE_REQUEST = re.compile(r"refs/merge-requests/\d+/(head|merge|train)\Z")
Unknown = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One pipeline as the list tells it: no times but these two, no duration, no user."""

    run_id: int
    status: str
    ref: str
    source: str
    created_at: datetime
    updated_at: datetime
    web_url: str | None
    sha: str | None


@dataclass(frozen=True, slots=True)
class Downstream:
    """A pipeline that a bridge started; in this or in another project.

    ``project_id`` is ``None`` in old versions of GitLab, where only ``web_url`` tells the project.
    """

    project_id: int | None
    run_id: int
    updated_at: datetime | None
    web_url: str

    def is_in(self, unit: Unit) -> bool:
        """Whether the pipeline runs in project *unit*."""
        if self.project_id is not None:
            return str(self.project_id) == unit.key
        return bool(unit.web_url) and self.web_url.startswith(f"{unit.web_url}/")


def unit(project: Any) -> Unit:
    """The project as a unit; its id is what lasts over renames."""
    entry = _object(project, "project")
    return Unit(
        key=str(_integer(entry, "id")),
        name=_text(entry, "path_with_namespace"),
        created_at=_instant_or_none(entry.get("created_at")),
        default_branch=_text_or_empty(entry, "default_branch"),
        web_url=_text_or_empty(entry, "web_url"),
    )


def list_entry(pipeline: Any) -> ListEntry:
    """One entry of a list of pipelines."""
    entry = _object(pipeline, "pipeline")
    created_at = _instant(entry, "created_at")
    return ListEntry(
        run_id=_integer(entry, "id"),
        status=_text(entry, "status"),
        ref=_text_or_empty(entry, "ref"),
        source=_text_or_empty(entry, "source"),
        created_at=created_at,
        updated_at=_instant_or_none(entry.get("updated_at")) or created_at,
        web_url=_text_or_empty(entry, "web_url") or None,
        sha=_text_or_empty(entry, "sha") or None,
    )


def run_from_list(entry: ListEntry, kind: RefKind, *, unknown: Unknown) -> PipelineRun:
    """What a list entry tells of a run; the kind of ref is known from the list that was asked for."""
    return PipelineRun(
        run_id=entry.run_id,
        ref=entry.ref,
        ref_kind=kind,
        source=_source(entry.source, unknown),
        status=_status(entry.status, unknown),
        created_at=entry.created_at,
        updated_at=entry.updated_at,
        web_url=entry.web_url,
        sha=entry.sha,
        complete=False,
    )


def run(detail: Any, *, selects: Callable[[RefKind, str], bool], unknown: Unknown) -> PipelineRun:
    """One pipeline in full.

    ``finished_at`` and ``duration`` of a pipeline that runs again are those of its last execution: they
    are told apart as such. How that one ended GitLab does not say; see :mod:`executions`.

    Source:
        GitLab, doc/api/pipelines.md; app/models/ci/pipeline.rb for the retry.
    """
    pipeline = _object(detail, "pipeline")
    entry = list_entry(pipeline)
    status = _status(entry.status, unknown)
    kind = ref_kind(entry.ref, tag=bool(pipeline.get("tag")))
    started_at = _instant_or_none(pipeline.get("started_at"))
    finished_at = _instant_or_none(pipeline.get("finished_at"))
    duration = _seconds(pipeline.get("duration"))
    earlier = Execution(Status.FAILED, finished_at, duration) if finished_at and not status.finished else None
    user = pipeline.get("user")
    username = _text_or_empty(user, "username") if isinstance(user, dict) else ""
    return PipelineRun(
        run_id=entry.run_id,
        ref=entry.ref,
        ref_kind=kind,
        source=_source(entry.source, unknown),
        status=status,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
        started_at=started_at,
        finished_at=finished_at if status.finished else None,
        duration_seconds=duration if status.finished else None,
        queue_seconds=queue_seconds(entry.created_at, started_at),
        coverage_ratio=_ratio(pipeline.get("coverage")),
        username=username or None,
        web_url=entry.web_url,
        sha=entry.sha,
        selected=selects(kind, entry.ref),
        earlier=earlier,
    )


def queue_seconds(created_at: datetime, started_at: datetime | None) -> float | None:
    """From creation to first start in seconds, 0.0 or more; ``None`` until the run has started.

    Counted from the timestamps: GitLab's own ``queued_duration`` of a pipeline is null before the
    start and for waits under a second alike, so the fastest runners would look like silent ones.
    """
    return None if started_at is None else max(0.0, (started_at - created_at).total_seconds())


def job(detail: Any, run_id: int, *, unknown: Unknown) -> JobRun:
    """One job of run *run_id*.

    The queue time is GitLab's own, from the moment the job became pending: its ``created_at`` is that
    of the pipeline, and would count earlier stages as waiting. A job that never started has none,
    although GitLab shows one that grows for ever.
    """
    entry = _object(detail, "job")
    status = _status(_text(entry, "status"), unknown)
    started_at = _instant_or_none(entry.get("started_at"))
    return JobRun(
        job_id=_integer(entry, "id"),
        run_id=run_id,
        stage=_text_or_empty(entry, "stage"),
        name=_text(entry, "name"),
        status=status,
        created_at=_instant(entry, "created_at"),
        started_at=started_at,
        finished_at=_instant_or_none(entry.get("finished_at")) if status.finished else None,
        duration_seconds=_seconds(entry.get("duration")) if status.finished else None,
        queue_seconds=_seconds(entry.get("queued_duration")) if started_at else None,
        failure_reason=_failure_reason(entry, status, unknown),
        allow_failure=bool(entry.get("allow_failure")),
        runner_type=_runner_type(entry.get("runner"), unknown) if started_at else None,
        web_url=_text_or_empty(entry, "web_url") or None,
    )


def commit_title(detail: Any) -> str | None:
    """The first line of the commit that a job is for; ``None`` if the job does not tell."""
    commit = _object(detail, "job").get("commit")
    return _text_or_empty(commit, "title") or None if isinstance(commit, dict) else None


def _runner_type(runner: Any, unknown: Unknown) -> RunnerType:
    """Whom the runner of a started job works for; unknown once the runner is deleted."""
    word = runner.get("runner_type") if isinstance(runner, dict) else None
    kind = _RUNNER_TYPES.get(word, RunnerType.UNKNOWN) if isinstance(word, str) else RunnerType.UNKNOWN
    if word and kind is RunnerType.UNKNOWN:
        unknown("runner_type")
    return kind


def downstream(bridge: Any) -> Downstream | None:
    """The pipeline that a bridge started; ``None`` if it has not started one (yet)."""
    pipeline = _object(bridge, "bridge").get("downstream_pipeline")
    if not isinstance(pipeline, dict):
        return None
    return Downstream(
        project_id=None if pipeline.get("project_id") is None else _integer(pipeline, "project_id"),
        run_id=_integer(pipeline, "id"),
        updated_at=_instant_or_none(pipeline.get("updated_at")),
        web_url=_text_or_empty(pipeline, "web_url"),
    )


def open_change_request_refs(change_request: Any) -> list[str]:
    """The refs for which an open merge request may have pipelines."""
    number = _integer(_object(change_request, "merge request"), "iid")
    return [f"refs/merge-requests/{number}/{suffix}" for suffix in ("head", "merge", "train")]


def ref_kind(ref: str, *, tag: bool) -> RefKind:
    """What sort of ref it is."""
    if _CHANGE_REQUEST.match(ref):
        return RefKind.CHANGE_REQUEST
    return RefKind.TAG if tag else RefKind.BRANCH


def _status(word: str, unknown: Unknown) -> Status:
    status = STATUSES.get(word)
    if status is None:
        unknown("status")
        return Status.UNKNOWN
    return status


def _source(word: str, unknown: Unknown) -> str:
    if word in SOURCES:
        return word
    if word:
        unknown("source")
    return "unknown"


def _failure_reason(entry: Json, status: Status, unknown: Unknown) -> str:
    """Why the job failed, of the documented reasons; empty unless it failed."""
    if status is not Status.FAILED:
        return ""
    reason = entry.get("failure_reason")
    if isinstance(reason, str) and reason in FAILURE_REASONS:
        return reason
    if reason:
        unknown("failure_reason")
    return "unknown"
