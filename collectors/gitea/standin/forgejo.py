"""The same forge as Forgejo shows it: runs in its own words, of single repositories, and tasks for jobs."""

from __future__ import annotations

import json
from typing import Any

from collectors._standin.asking import Answer
from collectors._standin.runs import Job, Run
from collectors._standin.times import SECOND
from collectors.gitea.standin.render import moment, standing
from collectors.gitea.standin.site import Asked, Site
from collectors.gitea.standin.world import GiteaForge

_WORDS = {"created": "blocked", "pending": "waiting", "failed": "failure", "canceled": "cancelled"}
_REFS = {"branch": "refs/heads/{}", "tag": "refs/tags/{}"}


class ForgejoSite(Site):
    """A stand-in Forgejo; its forge must know no attempts."""

    def __init__(self, world: GiteaForge, base_url: str) -> None:
        super().__init__(world, base_url)
        self._forge = world
        self.tasks: dict[tuple[int, int | None], int] = {}
        self.replace("version", "/version", lambda asked: Answer({"version": "15.0.1+gitea-1.22.0"}))
        self.replace("runs", r"/repos/([^/]+/[^/]+)/actions/runs", self._forgejo_runs)
        self.replace("run", r"/repos/([^/]+/[^/]+)/actions/runs/(\d+)", self._forgejo_run)
        self.replace("tasks", r"/repos/([^/]+/[^/]+)/actions/tasks", self._tasks)
        for name in ("jobs", "runners", "run_jobs", "attempt", "attempt_jobs"):
            self.remove(name)

    def _forgejo_runs(self, asked: Asked, path: str) -> Answer:
        wanted = {value for name, value in asked.pairs if name == "status"}
        runs = [run for run in self._project(path).runs.values() if not wanted or _word(run) in wanted]
        return self._list(asked, "workflow_runs", sorted(runs, key=lambda run: -run.id), self._render_run)

    def _forgejo_run(self, _asked: Asked, path: str, number: str) -> Answer:
        return Answer(self._render_run(self._run_of(path, number, None)))

    def _render_run(self, run: Run) -> dict[str, Any]:
        change = run.ref_kind == "change_request"
        number = run.ref.split("/")[2] if change else ""
        payload = {} if change else {"ref": _REFS[run.ref_kind].format(run.ref)}
        duration = (run.finished_at or self.now) - run.started_at if run.started_at else 0
        return {
            "id": run.id,
            "title": run.title,
            "repository": self._render.repository(run.project),
            "workflow_id": f"{run.pipeline}.yml",
            "index_in_repo": run.number,
            "trigger_user": self._render.user(1, run.username, run.project.created_at),
            "ScheduleID": 0,
            "prettyref": f"#{number}" if change else run.ref,
            "is_ref_deleted": False,
            "commit_sha": run.sha,
            "is_fork_pull_request": False,
            "need_approval": False,
            "approved_by": 0,
            "event": run.source,
            "event_payload": json.dumps(payload),
            "trigger_event": run.source,
            "status": _word(run),
            "started": moment(run.started_at),
            "stopped": moment(run.finished_at),
            "created": moment(run.created_at),
            "updated": moment(run.updated_at),
            "duration": duration * 1_000_000,
            "html_url": f"{self.base_url}/{run.project.path}/actions/runs/{run.number}",
        }

    def _tasks(self, asked: Asked, path: str) -> Answer:
        """What runners executed, also of jobs that run again since; the newest first."""
        project = self._project(path)
        jobs = [job for run in project.runs.values() for job in run.jobs]
        jobs += [job for job in self._forge.overwritten if job.run.project is project]
        jobs = [job for job in jobs if job.started_at is not None]
        for job in sorted(jobs, key=lambda job: job.started_at or 0):
            self.tasks.setdefault((job.id, job.started_at), len(self.tasks) + 1)
        jobs.sort(key=lambda job: -self.tasks[job.id, job.started_at])
        return self._list(asked, "workflow_runs", jobs, self._task)

    def _task(self, job: Job) -> dict[str, Any]:
        run = job.run
        return {
            "id": self.tasks[job.id, job.started_at],
            "name": job.plan.name,
            "head_branch": run.ref,
            "head_sha": run.sha,
            "run_number": run.number,
            "event": run.source,
            "display_title": run.title,
            "status": _WORDS.get(job.status, job.status),
            "workflow_id": f"{run.pipeline}.yml",
            "url": f"{self.base_url}/{run.project.path}/actions/runs/{run.number}",
            "created_at": moment(job.started_at),
            "updated_at": moment(job.finished_at or (self.now // SECOND * SECOND)),
            "run_started_at": moment(job.started_at),
        }


def _word(run: Run) -> str:
    status = run.status if run.finished else standing(run.jobs_of(run.attempt))
    return _WORDS.get(status, status)
