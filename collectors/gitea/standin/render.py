"""Answers of Gitea 1.27: the same keys and types, with what is not simulated left at its usual value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collectors._standin.runs import Job, Project, Run
from collectors._standin.times import iso

_NEVER, _NO_TIME = "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"
_STATUSES = {
    "created": ("waiting", None),
    "pending": ("queued", None),
    "running": ("in_progress", None),
    "success": ("completed", "success"),
    "failed": ("completed", "failure"),
    "canceled": ("completed", "cancelled"),
    "skipped": ("completed", "skipped"),
}
# What no test and no demo looks at, by its value.
_TRUE = (
    "has_code has_issues has_wiki has_pull_requests has_projects has_releases has_packages has_actions"
    " allow_merge_commits allow_rebase allow_rebase_explicit allow_squash_merge allow_merge_update"
    " allow_fast_forward_only_merge allow_rebase_update default_allow_maintainer_edit"
)
_FALSE = (
    "fork template mirror archived ignore_whitespace_conflicts allow_manual_merge internal"
    " autodetect_manual_merge default_delete_branch_after_merge"
)
_ZERO = "stars_count forks_count open_issues_count open_pr_counter release_counter"
_EMPTY = "description language link original_url website avatar_url mirror_interval"
Json = dict[str, Any]


def moment(milliseconds: int | None) -> str:
    """A time in whole seconds; what is not known is the beginning of all times."""
    return _NO_TIME if milliseconds is None else f"{(iso(milliseconds) or '')[:19]}Z"


class Render:
    """Everything as it is shown under *base_url*; *attempts* is false for Gitea before 1.27."""

    def __init__(self, base_url: str, *, attempts: bool = True) -> None:
        self._base = base_url
        self._attempts = attempts

    def user(self, number: int, login: str, created_at: int, *, visibility: str = "public") -> Json:
        """A user, or an organisation, as others see it."""
        return {
            "id": number,
            "login": login,
            "login_name": "",
            "source_id": 0,
            "full_name": "",
            "email": f"{number}+{login}@noreply.localhost",
            "avatar_url": f"{self._base}/avatars/{number:032x}",
            "html_url": f"{self._base}/{login}",
            "language": "",
            "is_admin": False,
            "last_login": _NEVER,
            "created": moment(created_at),
            "restricted": False,
            "active": False,
            "prohibit_login": False,
            "location": "",
            "website": "",
            "description": "",
            "visibility": visibility,
            "followers_count": 0,
            "following_count": 0,
            "starred_repos_count": 0,
            "username": login,
        }

    def repository(self, project: Project) -> Json:
        """A repository."""
        owner, _, name = project.path.partition("/")
        api = f"{self._base}/api/v1/repos/{project.path}"
        created = moment(project.created_at)
        return {
            "id": project.id,
            "owner": self.user(3, owner, project.created_at, visibility="private"),
            "name": name,
            "full_name": project.path,
            "empty": not project.default_branch,
            "private": True,
            "size": 26,
            "languages_url": f"{api}/languages",
            "html_url": f"{self._base}/{project.path}",
            "url": api,
            "ssh_url": f"git@localhost:{project.path}.git",
            "clone_url": f"{self._base}/{project.path}.git",
            "watchers_count": 1,
            "branch_count": 1,
            "default_branch": project.default_branch,
            "created_at": created,
            "updated_at": created,
            "archived_at": _NO_TIME,
            "permissions": {"admin": True, "push": True, "pull": True},
            "internal_tracker": {
                "enable_time_tracker": True,
                "allow_only_contributors_to_track_time": True,
                "enable_issue_dependencies": True,
            },
            "projects_mode": "all",
            "default_merge_style": "merge",
            "default_update_style": "merge",
            "object_format_name": "sha1",
            "mirror_updated": _NEVER,
            "mirror_last_sync_at": _NEVER,
            "topics": [],
            "licenses": [],
            **dict.fromkeys(_TRUE.split(), True),
            **dict.fromkeys(_FALSE.split(), False),
            **dict.fromkeys(_ZERO.split(), 0),
            **dict.fromkeys(_EMPTY.split(), ""),
        }

    def run(self, run: Run) -> Json:
        """A run as it is, or as it was at the end of an attempt."""
        address = f"{self._base}/api/v1/repos/{run.project.path}/actions/runs/{run.id}"
        status, conclusion = _STATUSES[run.status if run.finished else standing(run.jobs_of(run.attempt))]
        ref = {"tag": f"refs/tags/{run.ref}", "change_request": run.ref}.get(
            run.ref_kind, f"refs/heads/{run.ref}"
        )
        user = self.user(1, run.username, run.project.created_at)
        before = f"{address}/attempts/{run.attempt - 1}" if run.attempt > 1 else None
        return {
            "id": run.id,
            "url": address,
            **({"previous_attempt_url": before} if self._attempts else {}),
            "html_url": f"{self._base}/{run.project.path}/actions/runs/{run.id}",
            "display_title": run.title,
            "path": f"{run.pipeline}.yml@{ref}",
            "event": run.source,
            "run_attempt": run.attempt if self._attempts else 0,
            "run_number": run.number,
            "head_sha": run.sha,
            **({"head_branch": run.ref} if run.ref_kind == "branch" else {}),
            "status": status,
            "actor": user,
            "trigger_actor": user,
            "repository": self.repository(run.project),
            **({"conclusion": conclusion} if conclusion else {}),
            **({"pull_requests": []} if self._attempts else {}),
            "started_at": moment(run.started_at),
            "completed_at": moment(run.finished_at),
        }

    def job(self, job: Job) -> Json:
        """One job of one attempt."""
        run, (status, conclusion) = job.run, _STATUSES[job.status]
        api = f"{self._base}/api/v1/repos/{run.project.path}/actions"
        number = int(job.runner.rpartition("-")[2] or 0)
        started, completed = moment(job.started_at), moment(job.finished_at)
        ended = {"conclusion": conclusion} if conclusion else {}
        step = {
            "name": "Run make",
            "number": 0,
            "status": "completed" if conclusion else "queued",
            **ended,
            "started_at": started if conclusion else _NO_TIME,
            "completed_at": completed,
        }
        return {
            "id": job.id,
            "url": f"{api}/jobs/{job.id}",
            "html_url": f"{self._base}/{run.project.path}/actions/runs/{run.id}/jobs/{job.id}",
            "run_id": run.id,
            "run_url": f"{api}/runs/{run.id}",
            "name": job.plan.name,
            "labels": list(job.plan.labels),
            "run_attempt": job.attempt,
            "head_sha": run.sha,
            **({"head_branch": run.ref} if run.ref_kind == "branch" else {}),
            "status": status,
            **ended,
            **({"runner_id": number, "runner_name": job.runner} if number else {}),
            "steps": [step] if number else [],
            "created_at": moment(job.created_at),
            "started_at": started,
            "completed_at": completed,
        }

    def runner(self, number: int, *, busy: bool, online: bool = True) -> Json:
        """One runner of the instance."""
        return {
            "id": number,
            "name": f"runner-{number}",
            "status": "online" if online else "offline",
            "busy": busy,
            "disabled": False,
            "ephemeral": False,
            "labels": [{"id": 0, "name": "linux", "type": "custom"}],
        }


def standing(jobs: Iterable[Job]) -> str:
    """How a run stands whose jobs are not all over: between two of them it waits again."""
    statuses = {job.status for job in jobs}
    return next((one for one in ("running", "pending", "created") if one in statuses), "created")
