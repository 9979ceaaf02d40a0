"""How GitLab writes its webhooks: three forms of times, names in place of paths, source branches as refs.

Source: GitLab, lib/gitlab/data_builder/{pipeline,build,push,deployment}.rb.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from collectors._standin.times import iso
from collectors.gitlab.standin.composite import latest
from collectors.gitlab.standin.deployments import Deployment
from collectors.gitlab.standin.records import Job, MergeRequest, Pipeline, Project, User, sha_of

Json = dict[str, Any]
_MERGE_REQUEST = re.compile(r"refs/merge-requests/(\d+)/")
_NO_COMMIT = "0" * 40


class HooksRender:
    """Writes for one instance."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def pipeline(self, pipeline: Pipeline) -> Json:
        """A pipeline with the newest job of each name; no coverage, no start, no time of change."""
        request = _merge_request(pipeline)
        waited = None if pipeline.started_at is None else (pipeline.started_at - pipeline.created_at) // 1000
        sha = sha_of(pipeline.sha_key)
        written: Json = {
            "object_kind": "pipeline",
            "object_attributes": {
                "id": pipeline.id,
                "iid": pipeline.iid,
                "name": None,
                "ref": request.source_branch if request else pipeline.ref,
                "tag": pipeline.tag,
                "sha": sha,
                "before_sha": sha_of(pipeline.sha_key - 1),
                "source": pipeline.source,
                "status": pipeline.status,
                "detailed_status": {"success": "passed"}.get(pipeline.status, pipeline.status),
                "stages": list(dict.fromkeys(job.plan.stage for job in pipeline.jobs or ())),
                "created_at": _with_zone_name(pipeline.created_at),
                "finished_at": _with_zone_name(pipeline.finished_at),
                "duration": pipeline.duration,
                "queued_duration": waited or None,
                "protected_ref": False,
                "variables": [{"key": "DEPLOY_PASSWORD", "value": "variable-of-a-pipeline"}],
                "url": f"{self._base_url}/{pipeline.project.path}/-/pipelines/{pipeline.id}",
            },
            "merge_request": self._short_request(pipeline.project, request) if request else None,
            "user": _user(pipeline.user),
            "project": self.project(pipeline.project),
            "commit": self._commit(pipeline),
            "builds": [self._build(job) for job in latest(pipeline) if not job.is_bridge],
        }
        upstream = pipeline.bridge
        if upstream is not None:
            project = self.project(upstream.pipeline.project)
            keys = ("id", "web_url", "path_with_namespace")
            written["source_pipeline"] = {
                "project": {key: project[key] for key in keys},
                "job_id": upstream.id,
                "pipeline_id": upstream.pipeline.id,
            }
        return written

    def _build(self, job: Job) -> Json:
        return {
            "id": job.id,
            "stage": job.plan.stage,
            "name": job.plan.name,
            "status": job.status,
            "created_at": _with_zone_name(job.created_at),
            "started_at": _with_zone_name(job.started_at),
            "finished_at": _with_zone_name(job.finished_at),
            "duration": _span(job.started_at, job.finished_at),
            "queued_duration": _span(job.queued_at, job.started_at),
            "failure_reason": job.failure_reason or None,
            "when": job.plan.when,
            "manual": job.plan.when == "manual",
            "allow_failure": job.plan.allow_failure,
            "user": _user(job.pipeline.user),
            "runner": _runner(job),
            "artifacts_file": {"filename": None, "size": None},
            "environment": None,
        }

    def job(self, job: Job) -> Json:
        """A job; its project by name, which is no path."""
        pipeline = job.pipeline
        project = self.project(pipeline.project)
        sha = sha_of(pipeline.sha_key)
        return {
            "object_kind": "build",
            "ref": pipeline.ref,
            "tag": pipeline.tag,
            "before_sha": sha_of(pipeline.sha_key - 1),
            "sha": sha,
            "retries_count": job.attempt,
            "build_id": job.id,
            "build_name": job.plan.name,
            "build_stage": job.plan.stage,
            "build_status": job.status,
            "build_created_at": iso(job.created_at),
            "build_started_at": iso(job.started_at),
            "build_finished_at": iso(job.finished_at),
            "build_duration": _span(job.started_at, job.finished_at),
            "build_queued_duration": _span(job.queued_at, job.started_at),
            "build_allow_failure": job.plan.allow_failure,
            "build_failure_reason": job.failure_reason or "unknown_failure",
            "pipeline_id": pipeline.id,
            "runner": _runner(job),
            "project_id": pipeline.project.id,
            "project_name": " / ".join(part.capitalize() for part in pipeline.project.path.split("/")),
            "user": _user(pipeline.user),
            "commit": {
                "id": pipeline.id,
                "sha": sha,
                "message": f"Change {pipeline.sha_key}\n",
                "status": pipeline.status,
            },
            "repository": {"name": project["name"], "homepage": project["web_url"]},
            "project": project,
            "environment": None,
        }

    def push(self, pipeline: Pipeline) -> Json:
        """The push that made a pipeline."""
        kind, prefix = ("tag_push", "refs/tags/") if pipeline.tag else ("push", "refs/heads/")
        sha = sha_of(pipeline.sha_key)
        return {
            "object_kind": kind,
            "event_name": kind,
            "before": _NO_COMMIT if pipeline.tag else sha_of(pipeline.sha_key - 1),
            "after": sha,
            "ref": prefix + pipeline.ref,
            "checkout_sha": sha,
            "user_username": pipeline.user.username,
            "project_id": pipeline.project.id,
            "project": self.project(pipeline.project),
            "commits": [self._commit(pipeline)],
            "total_commits_count": 1,
        }

    def merge_request(self, about: tuple[Project, MergeRequest, str]) -> Json:
        """What somebody did to a merge request; there is no time of the merge."""
        project, request, action = about
        return {
            "object_kind": "merge_request",
            "event_type": "merge_request",
            "user": _user(request.author),
            "project": self.project(project),
            "object_attributes": self._short_request(project, request)
            | {
                "action": action,
                "created_at": _with_zone_name(request.created_at),
                "updated_at": _with_zone_name(request.updated_at),
            },
            "labels": [],
            "changes": {},
        }

    def deployment(self, one: Deployment) -> Json:
        """A deployment in its present status; it tells neither when it was created nor the whole commit."""
        project = self.project(one.environment.project)
        when = datetime.fromtimestamp(one.updated_at // 1000, UTC)
        job = one.job
        return {
            "object_kind": "deployment",
            "status": one.status,
            "status_changed_at": f"{when:%Y-%m-%d %H:%M:%S} +0000",
            "deployment_id": one.id,
            "deployable_id": job.id if job else None,
            "deployable_url": f"{project['web_url']}/-/jobs/{job.id}" if job else None,
            "environment": one.environment.name,
            "environment_tier": one.environment.tier,
            "project": project,
            "short_sha": sha_of(one.sha_key)[:8],
            "ref": one.ref,
        }

    def project(self, project: Project) -> Json:
        """A project as all hooks have it."""
        return {
            "id": project.id,
            "name": project.slug,
            "description": None,
            "web_url": f"{self._base_url}/{project.path}",
            "namespace": project.namespace.path.rpartition("/")[2],
            "visibility_level": 0,
            "path_with_namespace": project.path,
            "default_branch": project.default_branch,
        }

    def _short_request(self, project: Project, request: MergeRequest) -> Json:
        return {
            "id": request.id,
            "iid": request.iid,
            "title": f"Merge {request.source_branch}",
            "source_branch": request.source_branch,
            "source_project_id": project.id,
            "target_branch": request.target_branch,
            "target_project_id": project.id,
            "state": request.state,
            "merge_status": "can_be_merged",
            "url": f"{self._base_url}/{project.path}/-/merge_requests/{request.iid}",
        }

    def _commit(self, pipeline: Pipeline) -> Json:
        title = f"Change {pipeline.sha_key}"
        return {
            "id": sha_of(pipeline.sha_key),
            "message": f"{title}\n",
            "title": title,
            "timestamp": iso(pipeline.created_at),
            "author": {"name": "Ada", "email": "[REDACTED]"},
        }


def _merge_request(pipeline: Pipeline) -> MergeRequest | None:
    """The merge request that a pipeline is for."""
    found = _MERGE_REQUEST.match(pipeline.ref)
    return pipeline.project.merge_requests.get(int(found[1])) if found else None


def _user(user: User) -> Json:
    return {
        "id": user.id,
        "name": user.username.capitalize(),
        "username": user.username,
        "email": "[REDACTED]",
    }


def _runner(job: Job) -> Json | None:
    if job.runner is None:
        return None
    return {
        "id": job.runner.id,
        "description": job.runner.description,
        "runner_type": job.runner.runner_type,
        "active": True,
        "is_shared": job.runner.runner_type == "instance_type",
        "tags": list(job.plan.tags),
    }


def _span(begin: int | None, end: int | None) -> float | None:
    return None if begin is None or end is None else (end - begin) / 1000


def _with_zone_name(moment: int | None) -> str | None:
    """Whole seconds, as Ruby writes a time."""
    return None if moment is None else f"{datetime.fromtimestamp(moment // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
