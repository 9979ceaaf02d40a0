"""A forge in which jobs are made as Gitea makes them: all at once, and again in every attempt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from collectors._standin.forge import Forge, Options
from collectors._standin.runs import Job, Plan, Project, Run


class GiteaForge(Forge):
    """The world behind the stand-in.

    *attempts* says that there are any, as from Gitea 1.27 on; without them a run that is run again is
    overwritten, and so are its jobs; ``overwritten`` has them as they were.
    """

    def __init__(self, options: Options, *, attempts: bool = True) -> None:
        self.attempts = attempts
        self.overwritten: list[Job] = []
        super().__init__(options)

    def new_run(self, project: Project, jobs: Iterable[Mapping[str, Any]], **given: Any) -> Run:
        """Begin a run, with all its jobs."""
        run = super().new_run(project, jobs, **given)
        for plan in run.plans:
            self._make(run, plan)
        return run

    def rerun(self, run: Run, *, failed_only: bool = False, plans: Sequence[Plan] = ()) -> None:
        """Run it again; jobs that are not run again are copied, or left as they are without attempts.

        Raises:
            ValueError: it is not finished.
        """
        before = run.jobs_of(run.attempt)
        super().rerun(run, failed_only=failed_only, plans=plans)
        for plan in tuple(plans) or run.plans:
            old = next((job for job in before if job.plan.name == plan.name), None)
            kept = failed_only and old is not None and old.status == "success"
            if old is not None and not self.attempts:
                old.attempt, old.plan = run.attempt, plan
                if not kept:
                    self.overwritten.append(replace(old))
                    old.status, old.started_at, old.finished_at, old.runner = "created", None, None, ""
                continue
            new = self._make(run, plan)
            if kept and old is not None:
                new.status, new.runner = old.status, old.runner
                new.started_at, new.finished_at = old.started_at, old.finished_at

    def _make(self, run: Run, plan: Plan) -> Job:
        job = Job(self._id(), run, run.attempt, plan, self.now)
        run.jobs.append(job)
        return job

    def _begin_stage(self, run: Run, attempt: int, _left: list[Plan]) -> None:
        """Let the jobs of the next stage wait for runners; after a failure the others are skipped."""
        if run.finished or run.attempt != attempt:
            return
        jobs = run.jobs_of(attempt)
        blocked = [job for job in jobs if job.status == "created"]
        failed = any(job.status == "failed" for job in jobs)
        if failed:
            for job in blocked:
                self._end_job(job, "skipped")
                job.finished_at = None
        if failed or not blocked:
            self._end(run, "failed" if failed else "success")
            return
        now = [job for job in blocked if job.plan.stage == blocked[0].plan.stage]
        open_jobs = {"left": len(now)}
        for job in now:
            job.status = "pending"
            self._timeline.after(round(job.plan.queue * 1000), partial(self._start_job, job, [], open_jobs))
