"""A forge to simulate: projects, runs in attempts, jobs on runners; each stand-in shows it its own way.

Times are milliseconds since 1970. Statuses are ours (`exporter.model.runs.Status` as text); how a vendor
calls them is the business of its stand-in.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from collectors._standin.runs import FINISHED, Job, Plan, Project, Run, plan_of
from collectors._standin.times import HOUR, SECOND, Timeline, dice, iso

_STARTS_AFTER = 1 * SECOND  # from the creation of a run to that of its first jobs' wait
_STORIES: dict[str, tuple[dict[str, Any], ...]] = {
    "plain": ({"name": "build", "seconds": 40}, {"name": "unit", "stage": "test", "seconds": 60}),
    "failing": (
        {"name": "build", "seconds": 20},
        {"name": "unit", "stage": "test", "seconds": 30, "status": "failed"},
        {"name": "ship", "stage": "deploy", "seconds": 10},
    ),
    "matrix": tuple({"name": f"unit ({version})", "seconds": 45} for version in ("3.11", "3.12", "3.13")),
    "slow": ({"name": "build", "seconds": 900, "queue": 120},),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the forge is made of and how it moves.

    ``speed`` is simulated seconds per real second; at 0 time stands until it is advanced. ``start`` is
    milliseconds since 1970, ``None`` for the real time. ``runs_per_hour`` begin by themselves, also in the
    ``history_days`` before the start.
    """

    seed: int = 1
    projects: int = 0
    group: str = "acme"
    start: int | None = None
    speed: float = 0.0
    history_days: float = 0.0
    runs_per_hour: float = 0.0
    history_runs_per_hour: float = 0.0
    runners: int = 4
    token: str = "standin-token"  # noqa: S105
    latency_ms: int = 0


class Forge:
    """The world behind a stand-in; deterministic from its seed.

    ``numbered_by_ref`` numbers the runs of each ref by themselves; ``staged`` says that jobs have stages that
    people see.
    """

    def __init__(self, options: Options, *, numbered_by_ref: bool = False, staged: bool = False) -> None:
        self.options = options
        self.projects: dict[int, Project] = {}
        self.ledger: list[dict[str, Any]] = []
        self.deleted_projects: list[str] = []
        self._numbered_by_ref, self._staged = numbered_by_ref, staged
        self._dice = dice(options.seed)
        self._next_id = 1000
        start = round(time.time() * 1000) if options.start is None else options.start
        self._timeline = Timeline(start - round(options.history_days * 24 * HOUR))
        self._began = (time.monotonic(), start)
        for number in range(options.projects):
            self.create_project(f"{options.group}/app-{number + 1}")
        self._live(options.history_runs_per_hour, until=start)
        self._timeline.advance_to(start)
        self._live(options.runs_per_hour)

    # -- time ----------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The simulated time."""
        return self._timeline.now

    def catch_up(self) -> None:
        """Let happen what is due by the real time."""
        if self.options.speed:
            real, start = self._began
            passed = (time.monotonic() - real) * self.options.speed
            self._timeline.advance_to(start + round(passed * 1000))

    def advance(self, milliseconds: int) -> None:
        """Let time pass, and happen what is due."""
        self._timeline.advance_to(self.now + milliseconds)

    def _live(self, per_hour: float, until: int | None = None) -> None:
        """Begin runs again and again, about *per_hour* of them."""
        if per_hour <= 0:
            return

        def begin() -> None:
            if until is not None and self.now >= until:
                return
            if self.projects:
                project = self._dice.choice(list(self.projects.values()))
                story = self._dice.choices(list(_STORIES), weights=(6, 2, 3, 1))[0]
                branch = self._dice.choice((project.default_branch, project.default_branch, "feature/x"))
                self.new_run(project, _STORIES[story], ref=branch)
            self._timeline.after(round(self._dice.expovariate(per_hour) * HOUR), begin)

        self._timeline.after(0, begin)

    # -- what happens --------------------------------------------------------------------------

    def create_project(self, path: str, **facts: Any) -> Project:
        """A new project."""
        project = Project(self._id(), path, self.now, **facts)
        self.projects[project.id] = project
        return project

    def delete_project(self, path: str) -> None:
        """Remove a project with all its runs."""
        del self.projects[self.project(path).id]
        self.deleted_projects.append(path)

    def project(self, path: str) -> Project:
        """The project of that path.

        Raises:
            ValueError: there is none.
        """
        for project in self.projects.values():
            if project.path == path:
                return project
        raise ValueError(f"no project {path}")

    def run(self, project: str, run_id: int) -> Run:
        """One run of a project.

        Raises:
            ValueError: there is none.
        """
        try:
            return self.project(project).runs[run_id]
        except KeyError:
            raise ValueError(f"no run {run_id} in {project}") from None

    def new_run(
        self,
        project: Project,
        jobs: Iterable[Mapping[str, Any]],
        *,
        ref: str = "",
        ref_kind: str = "branch",
        source: str = "push",
        pipeline: str = "ci",
        username: str = "alice",
    ) -> Run:
        """Begin a run of *jobs*, which are the fields of a `Plan` each."""
        ref = ref or project.default_branch
        run_id = self._id()
        counter = (pipeline, ref if self._numbered_by_ref and not project.counts_once else "")
        project.numbers[counter] = project.numbers.get(counter, 0) + 1
        run = Run(
            run_id,
            project.numbers[counter],
            project,
            pipeline,
            ref,
            ref_kind,
            source,
            f"{run_id * 0x9E3779B97F4A7C15 % (1 << 160):040x}",
            f"Change {run_id}",
            username,
            self.now,
            self.now,
            plans=tuple(plan_of(job) for job in jobs),
            asked_at=self.now,
        )
        project.runs[run.id] = run
        self._timeline.after(_STARTS_AFTER, lambda: self._begin(run, run.attempt, run.plans))
        return run

    def rerun(self, run: Run, *, failed_only: bool = False, plans: Sequence[Plan] = ()) -> None:
        """Run it again, as a further attempt: all jobs, or those that did not succeed.

        Raises:
            ValueError: it is not finished.
        """
        if not run.finished:
            raise ValueError("the run is not finished")
        again = tuple(plans) or run.plans
        if failed_only:
            good = {job.plan.name for job in run.jobs_of(run.attempt) if job.status == "success"}
            again = tuple(plan for plan in again if plan.name not in good)
        run.ended.append(replace(run, jobs=list(run.jobs), ended=[]))
        run.attempt += 1
        run.asked_at = self.now
        run.status, run.started_at, run.finished_at, run.updated_at = "created", None, None, self.now
        attempt = run.attempt
        self._timeline.after(_STARTS_AFTER, lambda: self._begin(run, attempt, again))

    def cancel(self, run: Run) -> None:
        """End it now, and all of its jobs that are not over."""
        for job in run.jobs_of(run.attempt):
            if job.status not in FINISHED:
                self._end_job(job, "canceled")
        if not run.finished:
            self._end(run, "canceled")

    def delete_run(self, run: Run) -> None:
        """Forget the run, as if a person or a retention had deleted it."""
        del run.project.runs[run.id]

    def _begin(self, run: Run, attempt: int, plans: Sequence[Plan]) -> None:
        if run.finished or run.attempt != attempt:
            return
        run.status = "pending"
        run.updated_at = self.now
        self._begin_stage(run, attempt, list(plans))

    def _begin_stage(self, run: Run, attempt: int, left: list[Plan]) -> None:
        """Make the jobs of the next stage; without one, the run is over."""
        if run.finished or run.attempt != attempt:
            return
        if not left:
            bad = any(job.status == "failed" for job in run.jobs_of(attempt))
            self._end(run, "failed" if bad else "success")
            return
        stage = left[0].stage
        count = sum(plan.stage == stage for plan in left)
        now, later = [p for p in left if p.stage == stage], [p for p in left if p.stage != stage]
        open_jobs = {"left": count}
        for plan in now:
            job = Job(self._id(), run, attempt, plan, self.now, "pending")
            run.jobs.append(job)
            self._timeline.after(round(plan.queue * 1000), partial(self._start_job, job, later, open_jobs))

    def _start_job(self, job: Job, later: list[Plan], open_jobs: dict[str, int]) -> None:
        if job.status != "pending":
            return
        job.status, job.started_at = "running", self.now
        job.runner = f"runner-{job.id % max(1, self.options.runners) + 1}"
        run = job.run
        run.status, run.updated_at = "running", self.now
        run.started_at = run.started_at or self.now

        def end() -> None:
            if job.status != "running":
                return
            self._end_job(job, job.plan.status)
            open_jobs["left"] -= 1
            if open_jobs["left"]:
                return
            if any(one.status == "failed" for one in run.jobs_of(job.attempt)):
                for plan in later:
                    skipped = Job(self._id(), run, job.attempt, plan, self.now, "pending")
                    run.jobs.append(skipped)
                    self._end_job(skipped, "skipped")
                self._begin_stage(run, job.attempt, [])
            else:
                self._begin_stage(run, job.attempt, later)

        self._timeline.after(round(job.plan.seconds * 1000), end)

    def _end_job(self, job: Job, status: str) -> None:
        job.status, job.finished_at = status, self.now
        run = job.run
        self.ledger.append(
            {
                **_of_run(run),
                "kind": "job",
                "job_id": job.id,
                "stage": job.plan.stage if self._staged else "",
                "name": job.plan.name,
                "status": status,
                "failure_reason": "",
                "finished_at": iso(self.now),
                "created_at": iso(job.created_at),
            }
        )

    def _end(self, run: Run, status: str) -> None:
        run.status, run.finished_at, run.updated_at = status, self.now, self.now
        self.ledger.append(
            {**_of_run(run), "kind": "pipeline", "status": status, "finished_at": iso(self.now)}
        )

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id

    # -- steering ------------------------------------------------------------------------------

    def act(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the action says: create_project, delete_project, new_pipeline, rerun, cancel, delete_run.

        Raises:
            ValueError, KeyError, TypeError: it cannot be done.
        """
        wanted = dict(given)
        action = wanted.pop("action")
        if action == "create_project":
            return {"id": self.create_project(**wanted).id}
        if action == "delete_project":
            self.delete_project(wanted["project"])
            return {}
        if action == "new_pipeline":
            project = self.project(wanted.pop("project"))
            jobs = wanted.pop("jobs", None) or _STORIES[wanted.pop("story", "plain")]
            return {"pipeline_id": self.new_run(project, jobs, **wanted).id}
        run = self.run(wanted.pop("project"), wanted.pop("pipeline_id"))
        if action == "rerun":
            jobs = wanted.pop("jobs", ())
            self.rerun(run, plans=[plan_of(job) for job in jobs], **wanted)
        elif action == "cancel":
            self.cancel(run)
        elif action == "delete_run":
            self.delete_run(run)
        else:
            raise ValueError(f"no action {action}")
        return {}

    def truth(self) -> dict[str, Any]:
        """Every finished execution of a run or job, in the order in which they ended."""
        return {"now": iso(self.now), "executions": list(self.ledger)}


def _of_run(run: Run) -> dict[str, Any]:
    """What the executions of a run and of its jobs have in common."""
    return {
        "project": run.project.path,
        "pipeline_id": run.id,
        "pipeline": run.pipeline,
        "execution": run.attempt,
        "ref": run.ref,
        "ref_kind": run.ref_kind,
        "source": run.source,
        "created_at": iso(run.created_at),
    }
