"""How GitLab writes its things as JSON."""

from __future__ import annotations

from typing import Any

from collectors._standin.times import iso
from collectors.gitlab.standin.diary import Happening
from collectors.gitlab.standin.fleet import Fleet
from collectors.gitlab.standin.records import (
    Job,
    MergeRequest,
    Namespace,
    Pipeline,
    Project,
    User,
    sha_of,
)
from collectors.gitlab.standin.runners_render import RunnersRender

Json = dict[str, Any]
_LABELS = {"success": "passed", "waiting_for_resource": "waiting for resource"}


class Render:
    """Writes for one instance: its base URL, the offset of all its timestamps, its version and runners."""

    def __init__(self, base_url: str, offset: str, version: str, fleet: Fleet) -> None:
        self.base_url = base_url
        self.offset = offset
        self.fleet = fleet
        self.runners = RunnersRender(base_url, offset, version, fleet)

    def time(self, moment: int | None) -> str | None:
        """A timestamp in the instance's zone."""
        return iso(moment, self.offset)

    def user(self, user: User) -> Json:
        """The short form of a user."""
        return {
            "id": user.id,
            "username": user.username,
            "public_email": "",
            "name": user.username.capitalize(),
            "state": "active",
            "locked": False,
            "avatar_url": None,
            "web_url": f"{self.base_url}/{user.username}",
        }

    def event(self, entry: Happening) -> Json:
        """An event; what is not known of one is null or missing, as in GitLab's own."""
        unknown = dict.fromkeys(("target_id", "target_iid", "target_type", "target_title"))
        return {
            "id": entry.id,
            "project_id": entry.project.id if entry.project else None,
            "action_name": entry.action,
            **unknown,
            "author_id": entry.author.id,
            "created_at": self.time(entry.created_at),
            "author": self.user(entry.author),
            "imported": False,
            "imported_from": "none",
            **entry.about,
            "author_username": entry.author.username,
        }

    def pipeline(self, pipeline: Pipeline) -> Json:
        """An entry of a list: no times but these two."""
        return {
            "id": pipeline.id,
            "iid": pipeline.iid,
            "project_id": pipeline.project.id,
            "sha": sha_of(pipeline.sha_key),
            "ref": pipeline.ref,
            "status": pipeline.status,
            "source": pipeline.source,
            "created_at": self.time(pipeline.created_at),
            "updated_at": self.time(pipeline.updated_at),
            "web_url": f"{self.base_url}/{pipeline.project.path}/-/pipelines/{pipeline.id}",
            "name": None,
        }

    def pipeline_detail(self, pipeline: Pipeline) -> Json:
        """A pipeline asked for by id; waits of under a second are null, coverage is text."""
        started = pipeline.started_at
        waited = 0 if started is None else (started - pipeline.created_at) // 1000
        return self.pipeline(pipeline) | {
            "before_sha": sha_of(pipeline.sha_key - 1),
            "tag": pipeline.tag,
            "yaml_errors": pipeline.yaml_errors,
            "user": self.user(pipeline.user),
            "started_at": self.time(started),
            "finished_at": self.time(pipeline.finished_at),
            "committed_at": None,
            "duration": pipeline.duration,
            "queued_duration": waited or None,
            "coverage": None if pipeline.coverage is None else f"{pipeline.coverage:.1f}",
            "detailed_status": self._detailed_status(pipeline),
            "archived": False,
        }

    def _detailed_status(self, pipeline: Pipeline) -> Json:
        label = _LABELS.get(pipeline.status, pipeline.status)
        return {
            "icon": f"status_{pipeline.status}",
            "text": label.capitalize(),
            "label": label,
            "group": pipeline.status.replace("_", "-"),
            "tooltip": label,
            "has_details": True,
            "details_path": f"/{pipeline.project.path}/-/pipelines/{pipeline.id}",
            "illustration": None,
            "favicon": None,
        }

    def job(self, job: Job, now: int) -> Json:
        """A build; its wait and duration grow with *now* until it starts and ends."""
        common = self._processable(job, now)
        taker = self.fleet.runners.get(job.runner.id) if job.runner else None
        common["runner"] = None if taker is None else self.runners.runner(taker, now)
        used = [m for m in taker.managers if m.id == job.manager_id] if taker else []
        common["runner_manager"] = self.runners.manager(used[0], now) if used else None
        common["artifacts"], common["artifacts_expire_at"] = [], None
        common["artifacts_file"] = None
        common["tag_list"] = list(job.plan.tags)
        return common

    def bridge(self, job: Job, now: int) -> Json:
        """A trigger job with the pipeline it started, which is null before."""
        down = job.downstream
        return self._processable(job, now) | {
            "downstream_pipeline": None if down is None or down.deleted else self.pipeline(down)
        }

    def _processable(self, job: Job, now: int) -> Json:
        pipeline, project = job.pipeline, job.pipeline.project
        known = {
            "id": job.id,
            "status": job.status,
            "stage": job.plan.stage,
            "name": job.plan.name,
            "ref": pipeline.ref,
            "tag": pipeline.tag,
            "coverage": job.plan.coverage if job.status == "success" else None,
            "allow_failure": job.plan.allow_failure,
            "created_at": self.time(job.created_at),
            "started_at": self.time(job.started_at),
            "finished_at": self.time(job.finished_at),
            "erased_at": self.time(job.erased_at),
            "duration": _seconds(job.started_at, job.finished_at or now),
            "queued_duration": _seconds(job.queued_at, job.started_at or now),
            "user": self.user(pipeline.user),
            "commit": self.commit(pipeline.sha_key, pipeline.created_at),
            "pipeline": self._short_pipeline(pipeline),
            "web_url": f"{self.base_url}/{project.path}/-/jobs/{job.id}",
            "project": {"ci_job_token_scope_enabled": False},
            "archived": False,
        }
        if job.failure_reason:
            known["failure_reason"] = job.failure_reason
        return known

    def _short_pipeline(self, pipeline: Pipeline) -> Json:
        entry = self.pipeline(pipeline)
        del entry["name"]
        return entry

    def job_of_runner(self, job: Job, now: int) -> Json:
        """A build as the list of a runner's jobs shows it: with its project, without the runner."""
        known = self.simple_project(job.pipeline.project)
        keys = (
            "id",
            "description",
            "name",
            "name_with_namespace",
            "path",
            "path_with_namespace",
            "created_at",
        )
        return self._processable(job, now) | {"project": {key: known[key] for key in keys}}

    def commit(self, key: int, at: int) -> Json:
        """Commit number *key*."""
        sha = sha_of(key)
        when = self.time(at)
        return {
            "id": sha,
            "short_id": sha[:8],
            "created_at": when,
            "parent_ids": [],
            "title": f"Change {key}",
            "message": f"Change {key}",
            "author_name": "Ada",
            "author_email": "ada@example.com",
            "authored_date": when,
            "committer_name": "Ada",
            "committer_email": "ada@example.com",
            "committed_date": when,
        }

    def branch(self, project: Project, name: str) -> Json:
        """A branch."""
        at, key = project.head(name)
        return {
            "name": name,
            "commit": self.commit(key, at),
            "merged": False,
            "protected": name == project.default_branch,
            "developers_can_push": False,
            "developers_can_merge": False,
            "can_push": True,
            "default": name == project.default_branch,
            "web_url": f"{self.base_url}/{project.path}/-/tree/{name}",
        }

    def tag(self, project: Project, name: str) -> Json:
        """A tag."""
        key = project.first_commit(name)
        return {
            "name": name,
            "message": "",
            "target": sha_of(key),
            "commit": self.commit(key, project.tags[name]),
            "release": None,
            "protected": False,
            "created_at": None,
        }

    def merge_request(self, project: Project, request: MergeRequest) -> Json:
        """A merge request."""
        merged = request.state == "merged"
        return {
            "id": request.id,
            "iid": request.iid,
            "project_id": project.id,
            "title": f"Merge {request.source_branch}",
            "description": "",
            "state": request.state,
            "created_at": self.time(request.created_at),
            "updated_at": self.time(request.updated_at),
            "merged_at": self.time(request.done_at) if merged else None,
            "closed_at": self.time(request.done_at) if request.state == "closed" else None,
            "target_branch": request.target_branch,
            "source_branch": request.source_branch,
            "source_project_id": project.id,
            "target_project_id": project.id,
            "author": self.user(request.author),
            "labels": [],
            "draft": False,
            "sha": sha_of(request.id),
            "merge_status": "can_be_merged",
            "detailed_merge_status": "mergeable",
            "web_url": f"{self.base_url}/{project.path}/-/merge_requests/{request.iid}",
        }

    def namespace(self, space: Namespace) -> Json:
        """A namespace as projects show it."""
        slug = space.path.rpartition("/")[2]
        return {
            "id": space.id,
            "name": slug,
            "path": slug,
            "kind": space.kind,
            "full_path": space.path,
            "parent_id": space.parent_id,
            "avatar_url": None,
            "web_url": f"{self.base_url}/{space.path}",
        }

    def group(self, space: Namespace) -> Json:
        """A group asked for by itself."""
        return self.namespace(space) | {
            "description": "",
            "visibility": "private",
            "full_name": space.path.replace("/", " / "),
            "created_at": self.time(0),
        }

    def simple_project(self, project: Project) -> Json:
        """What ``simple=true`` leaves of a project: nothing about archiving or CI."""
        path = project.path
        return {
            "id": project.id,
            "description": None,
            "name": project.slug,
            "name_with_namespace": path.replace("/", " / "),
            "path": project.slug,
            "path_with_namespace": path,
            "created_at": self.time(project.created_at),
            "default_branch": None if project.empty else project.default_branch,
            "tag_list": [],
            "topics": [],
            "ssh_url_to_repo": f"git@gitlab.example:{path}.git",
            "http_url_to_repo": f"{self.base_url}/{path}.git",
            "web_url": f"{self.base_url}/{path}",
            "readme_url": None,
            "forks_count": 0,
            "avatar_url": None,
            "star_count": 0,
            "last_activity_at": self.time(project.activity_at),
            "visibility": "private",
            "namespace": self.namespace(project.namespace),
        }

    def project(self, project: Project) -> Json:
        """A whole project."""
        level = "enabled" if project.ci_enabled else "disabled"
        off = project.switched_off
        return self.simple_project(project) | {
            "empty_repo": project.empty,
            "archived": project.archived,
            "owner": None,
            "creator_id": 1,
            "issues_enabled": True,
            "merge_requests_enabled": "merge_requests" not in off,
            "merge_requests_access_level": "disabled" if "merge_requests" in off else "enabled",
            "environments_access_level": "disabled" if "environments" in off else "enabled",
            "wiki_enabled": True,
            "snippets_enabled": True,
            "jobs_enabled": project.ci_enabled,
            "builds_access_level": level,
            "shared_runners_enabled": True,
            "open_issues_count": 0,
        }


def _seconds(begin: int | None, end: int) -> float | None:
    return None if begin is None else (end - begin) / 1000
