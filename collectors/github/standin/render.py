"""What the forge knows, as GitHub's JSON: its words, its whole seconds, and the fields that it promises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from collectors._standin.runs import Job, Project, Run
from collectors._standin.times import iso

Json = dict[str, Any]
CONCLUSIONS = {"success": "success", "failed": "failure", "canceled": "cancelled", "skipped": "skipped"}
_COPY = 1_000_000_000  # added to the id of a job for each attempt that only carries it over
_REPOSITORY_URLS = (
    "archive assignees blobs branches collaborators comments commits compare contents contributors",
    "deployments downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events",
    "issues keys labels languages merges milestones notifications pulls releases stargazers statuses",
    "subscribers subscription tags teams trees",
)
_USER_URLS = ("events followers following gists organizations", "received_events repos starred subscriptions")
_RUN_URLS = ("jobs logs artifacts cancel rerun",)


def second(moment: int | None) -> str | None:
    """A time as GitHub writes it: without a fraction."""
    text = iso(moment)
    return f"{text[:19]}Z" if text else None


def owner_of(path: str) -> str:
    """The first part of a path."""
    return path.partition("/")[0]


def _addresses(url: str, lines: Sequence[str]) -> Json:
    """The fields that end in ``_url``, all of them below *url*."""
    return {f"{name}_url": f"{url}/{name}" for name in " ".join(lines).split()}


class Render:
    """Makes JSON with addresses below *base_url*, the root of the API."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url

    # -- people and repositories -----------------------------------------------------------------

    def user(self, login: str) -> Json:
        """A user or organisation in short."""
        url = f"{self._base}/users/{login}"
        return {
            "login": login,
            "id": sum(login.encode()),
            "node_id": f"U_{login}",
            "avatar_url": f"{url}/avatar",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self._base}/{login}",
            "type": "User",
            "site_admin": False,
        } | _addresses(url, _USER_URLS)

    def repository(self, project: Project, path: str = "") -> Json:
        """The part of a repository that runs show; of a fork of it with another *path*."""
        path = path or project.path
        owner, _, name = path.partition("/")
        url = f"{self._base}/repos/{path}"
        return {
            "id": project.id if path == project.path else project.id + _COPY,
            "node_id": f"R_{project.id}",
            "name": name,
            "full_name": path,
            "private": False,
            "owner": self.user(owner),
            "html_url": f"{self._base}/{path}",
            "description": None,
            "fork": path != project.path,
            "url": url,
        } | _addresses(url, _REPOSITORY_URLS)

    def full_repository(self, project: Project, *, archived: bool, disabled: bool) -> Json:
        """A repository as lists of repositories and its own page show it."""
        created = second(project.created_at)
        numbers = (
            "forks forks_count open_issues open_issues_count size stargazers_count watchers watchers_count"
            " network_count subscribers_count"
        )
        known = dict.fromkeys(numbers.split(), 0)
        features = "issues projects wiki pages downloads discussions"
        addresses = ("clone_url", "git_url", "ssh_url", "svn_url")
        return (
            self.repository(project)
            | known
            | dict.fromkeys((f"has_{name}" for name in features.split()), True)
            | dict.fromkeys(addresses, f"{self._base}/{project.path}.git")
            | dict.fromkeys(("homepage", "language", "mirror_url", "license"))
            | {"default_branch": project.default_branch, "archived": archived, "disabled": disabled}
            | {"created_at": created, "updated_at": created, "pushed_at": created}
        )

    def ref(self, project: Project, name: str) -> Json:
        """A branch or tag by its full name."""
        url = f"{self._base}/repos/{project.path}/git"
        commit = {"type": "commit", "sha": "0" * 40, "url": f"{url}/commits/{'0' * 40}"}
        return {"ref": name, "node_id": f"REF_{name}", "url": f"{url}/{name}", "object": commit}

    def pull(self, project: Project, number: int, head: str) -> Json:
        """The part of an open pull request that we look at; *head* has its owner in front if it is a fork."""
        owner, _, branch = head.rpartition(":")
        label = f"{owner or owner_of(project.path)}:{branch}"
        return {
            "id": project.id * 1000 + number,
            "number": number,
            "state": "open",
            "title": f"Change {number}",
            "head": {"label": label, "ref": branch, "sha": "0" * 40},
            "base": {"label": f"{owner_of(project.path)}:main", "ref": "main", "sha": "0" * 40},
        }

    # -- runs ------------------------------------------------------------------------------------

    def run(self, run: Run, pulls: Sequence[Json] = (), *, attempt: int | None = None) -> Json:
        """A run as it is, or was at the end of an earlier *attempt*."""
        shown = run.at(attempt or run.attempt) or run
        owner, _, branch = run.ref.rpartition(":")
        url = f"{self._base}/repos/{run.project.path}/actions/runs/{run.id}"
        head = f"{owner}/{run.project.path.partition('/')[2]}" if owner else run.project.path
        before = f"{url}/attempts/{shown.attempt - 1}" if shown.attempt > 1 else None
        return {
            "id": run.id,
            "name": run.pipeline,
            "node_id": f"WFR_{run.id}",
            "check_suite_id": run.id + 1,
            "check_suite_node_id": f"CS_{run.id}",
            "head_branch": branch,
            "head_sha": run.sha,
            "path": f".github/workflows/{run.pipeline}.yml",
            "display_title": run.title,
            "run_number": run.number,
            "run_attempt": shown.attempt,
            "event": run.source,
            "status": _status(shown.status),
            "conclusion": CONCLUSIONS.get(shown.status),
            "workflow_id": sum(run.pipeline.encode()),
            "url": url,
            "html_url": f"{self._base}/{run.project.path}/actions/runs/{run.id}",
            "pull_requests": [self._pull_of(run, pull) for pull in pulls],
            "created_at": second(run.created_at),
            "updated_at": second(shown.updated_at),
            "run_started_at": second(shown.asked_at),
            "actor": self.user(run.username),
            "triggering_actor": self.user(run.username),
            "check_suite_url": f"{url}/check-suite",
            "workflow_url": f"{url}/workflow",
            "previous_attempt_url": before,
            "head_commit": self._commit(run),
            "repository": self.repository(run.project),
            "head_repository": self.repository(run.project, head),
        } | _addresses(url, _RUN_URLS)

    def _pull_of(self, run: Run, pull: Json) -> Json:
        repository = {"id": run.project.id, "url": self._base, "name": run.project.path.partition("/")[2]}
        sides = {side: {**pull[side], "repo": repository} for side in ("head", "base")}
        for side in sides.values():
            side.pop("label")
        url = f"{self._base}/repos/{run.project.path}/pulls/{pull['number']}"
        return {"id": pull["id"], "number": pull["number"], "url": url, **sides}

    def _commit(self, run: Run) -> Json:
        person = {"name": run.username, "email": f"{run.username}@example.com"}
        return {
            "id": run.sha,
            "tree_id": run.sha,
            "message": f"{run.title}\n\nWhy it was made.",
            "timestamp": second(run.created_at),
            "author": person,
            "committer": person,
        }

    # -- jobs ------------------------------------------------------------------------------------

    def jobs(self, run: Run, attempts: Iterable[int]) -> list[Json]:
        """The jobs of *attempts*: those that ran, and copies of those that were carried over unrun."""
        return [self._job(job, at) for attempt in attempts for job, at in _of_attempt(run, attempt)]

    def _job(self, job: Job, attempt: int) -> Json:
        run = job.run
        copied = attempt != job.attempt
        number = job.id + (_COPY * (attempt - job.attempt))
        asked = run.at(attempt)
        ran = job.started_at is not None
        url = f"{self._base}/repos/{run.project.path}/actions/jobs/{number}"
        return {
            "id": number,
            "run_id": run.id,
            "workflow_name": run.pipeline,
            "head_branch": run.ref.rpartition(":")[2],
            "run_url": f"{self._base}/repos/{run.project.path}/actions/runs/{run.id}",
            "run_attempt": attempt,
            "node_id": f"CR_{number}",
            "head_sha": run.sha,
            "url": url,
            "html_url": f"{self._base}/{run.project.path}/actions/runs/{run.id}/job/{number}",
            "status": _status(job.status),
            "conclusion": CONCLUSIONS.get(job.status),
            "created_at": second(asked.asked_at if copied and asked else job.created_at),
            # Until a runner takes it, GitHub shows when it began to wait; and that for ever if none does.
            "started_at": second(job.started_at if ran else job.created_at),
            "completed_at": second(job.finished_at),
            "name": job.plan.name,
            "steps": [],
            "check_run_url": f"{self._base}/repos/{run.project.path}/check-runs/{number}",
            "labels": list(job.plan.labels),
            "runner_id": int(job.runner.rpartition("-")[2]) if ran else 0,
            "runner_name": job.runner if ran else "",
            "runner_group_id": 1 if ran else 0,
            "runner_group_name": "Default" if ran else "",
        }

    def runner(self, number: int, *, busy: bool, labels: Sequence[str], online: bool = True) -> Json:
        """A runner by its number."""
        return {
            "id": number,
            "runner_group_id": 1,
            "name": f"runner-{number}",
            "os": "linux",
            "status": "online" if online else "offline",
            "busy": busy,
            "labels": [{"id": index, "name": name, "type": "custom"} for index, name in enumerate(labels)],
            "version": "2.330.0",
        }


def _of_attempt(run: Run, attempt: int) -> list[tuple[Job, int]]:
    """The jobs of one attempt, those first that only were carried over."""
    mine = [job for job in run.jobs if job.attempt == attempt]
    names = {job.plan.name for job in mine}
    if attempt == run.attempt and not run.finished:
        return [(job, attempt) for job in mine]
    kept: dict[str, Job] = {}
    for job in run.jobs:
        if job.attempt < attempt and job.plan.name not in names and job.status == "success":
            kept[job.plan.name] = job
    return [(job, attempt) for job in (*kept.values(), *mine)]


def _status(status: str) -> str:
    if status in CONCLUSIONS:
        return "completed"
    return "in_progress" if status == "running" else "queued"
