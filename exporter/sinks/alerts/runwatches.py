"""Rules that hear of runs and jobs as they change."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, TypeVar

from exporter.config.rules import BranchBroken, JobFailing, QueueSlow, RunFailed, RunRule
from exporter.model.alerts import AlertState
from exporter.model.runs import JobRun, PipelineRun, Status
from exporter.sinks.alerts.book import Book, Subject
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.watch import Globs, Scene, Watch
from exporter.store.records import Project, Records, newest_attempts

R = TypeVar("R", bound=RunRule)

_EXPIRY = timedelta(days=7)
_NAMED_JOBS = 20


class RunWatch(Watch[R]):
    """What all rules about runs have in common: which runs they mean, and what there is to tell of one.

    ``expires``: an alert of which nothing is heard for a week ends silently. Of a branch that somebody
    forgot, or deleted, nothing may ever be heard again.
    """

    expires: ClassVar[bool] = True

    def __init__(self, rule: R, book: Book) -> None:
        super().__init__(rule, book)
        self._providers = Globs.of(rule.providers)
        self._projects = Globs.of(rule.projects)
        self._pipelines = Globs.of(rule.pipelines)
        self._refs = Globs.of(rule.refs)
        self._sources = Globs.of(rule.sources)
        self._users = Globs.of(rule.users)

    def means(self, provider: str, project: Project, run: PipelineRun) -> bool:
        """Whether the rule is about *run*."""
        return (
            self._providers.match(provider)
            and self._projects.match(project.name)
            and self.means_run(project, run)
        )

    def means_run(self, project: Project, run: PipelineRun) -> bool:
        """Whether the rule is about *run*, of a project that it is about."""
        return (
            (not self.rule.ref_kinds or run.ref_kind in self.rule.ref_kinds)
            and self._pipelines.match(run.pipeline)
            and self._refs.match(run.ref)
            and self._sources.match(run.source)
            and self._users.match(run.username)
        )

    def identity(self, change: Change) -> tuple[str, ...]:
        """What tells the ref of *change* from others; a project that is renamed stays the same."""
        run = change.run
        return (change.project.target, change.project.key, run.pipeline, run.ref_kind.value, run.ref)

    def subject(
        self,
        change: Change,
        scene: Scene,
        since: datetime,
        *more: str,
        labels: dict[str, str] | None = None,
        **about: Any,
    ) -> Subject:
        """*change* as what an alert is about; *more* and *labels* say which part of its ref."""
        run = change.run
        named = {
            "provider": change.provider,
            "project": change.project.name,
            "pipeline": run.pipeline,
            "ref": run.ref,
            "ref_kind": run.ref_kind.value,
            **(labels or {}),
        }
        known = {
            "unit": change.project.unit_id,
            "run": run.run_id,
            "created": run.created_at.isoformat(),
            "selected": run.selected,
            "seen": scene.now.isoformat(),
            # Not those of the labels, which an operator may give other values.
            "ref": [run.pipeline, run.ref_kind.value, run.ref],
            **about,
        }
        return Subject((*self.identity(change), *more), named, known, since)

    def mend(self, state: AlertState, run: PipelineRun, scene: Scene) -> None:
        """*run* shows that all is well, unless it is older than what *state* tells of."""
        if (run.created_at, run.run_id) >= order(state):
            self.end(state, scene, fixed_by=run.run_id)

    def keep_house(self, scene: Scene) -> None:
        """End what was about projects, refs and runs that are gone."""
        by_unit: dict[int, list[AlertState]] = {}
        for state in self.standing():
            by_unit.setdefault(state.about["unit"], []).append(state)
        there = scene.records.projects(by_unit)
        for unit_id, states in by_unit.items():
            project = there.get(unit_id)
            runs = scene.records.existing(unit_id, [state.about["run"] for state in states])
            refs = scene.records.refs(unit_id)
            for state in states:
                if project is None or not self.still_means(state, project, refs, scene.now):
                    self.book.drop(state)
                elif state.about["run"] not in runs:
                    self.lost(state, project, scene)

    def still_means(
        self, state: AlertState, project: Project, refs: set[tuple[str, str]], now: datetime
    ) -> bool:
        """Whether the ref of *state* exists, and something was heard of it lately."""
        about = state.about
        if about["selected"] and tuple(about["ref"][1:]) not in refs:
            return False
        return not self.expires or now - datetime.fromisoformat(about["seen"]) < _EXPIRY

    def lost(self, state: AlertState, project: Project, scene: Scene) -> None:
        """The run that *state* tells of was deleted."""
        self.book.drop(state)

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """The run, its failed jobs, the last good run before it, and what mended it."""
        records, about = scene.records, state.about
        run = records.run(about["unit"], about["run"])
        if run is None:
            return {}
        failed = failed_jobs(records, about["unit"], run.run_id)
        older = records.older(about["unit"], run, scene.now)
        # Of runs that the rule means: a child that succeeded does not make its parent good.
        meant = (one for one in older if self._sources.match(one.source))
        good = next((one for one in meant if one.status is Status.SUCCESS), None)
        fixed_by = records.run(about["unit"], about["fixed_by"]) if "fixed_by" in about else None
        return {
            "run": run,
            "jobs": failed[:_NAMED_JOBS],
            "more_jobs": max(0, len(failed) - _NAMED_JOBS),
            "last_good": good,
            "fixed_by": fixed_by,
        }


class RunFailedWatch(RunWatch[RunFailed]):
    """Runs that fail."""

    def __init__(self, rule: RunFailed, book: Book) -> None:
        super().__init__(rule, book)
        self._jobs = Globs.of(rule.jobs)

    def begin(self, scene: Scene, *, first: bool) -> None:
        """End what a success ended while nobody watched."""
        there = scene.records.projects({state.about["unit"] for state in self.standing()})
        for state in self.standing():
            project = there.get(state.about["unit"])
            newer = newest_runs(state, scene) if project else []
            good = next((run for run in newer if project and self.means_run(project, run)), None)
            if good and good.status is Status.SUCCESS:
                self.mend(state, good, scene)

    def change(self, change: Change, scene: Scene) -> None:
        """A failure starts the alert of its ref, a success ends it."""
        run = change.run
        if change.job or not self.means(change.provider, change.project, run):
            return
        if run.status in self.rule.statuses:
            if not change.old and self._job_meant(change, scene):
                since = run.finished_at or run.updated_at
                if self.rule.every_run:
                    subject = self.subject(
                        change, scene, since, str(run.run_id), run.updated_at.isoformat(), once=True
                    )
                else:
                    subject = self.subject(change, scene, since)
                self.stand(subject, scene)
        elif run.status is Status.SUCCESS:
            state = self.book.get(self.rule.name, self.identity(change))
            if state:
                self.mend(state, run, scene)

    def _job_meant(self, change: Change, scene: Scene) -> bool:
        if not self.rule.jobs:
            return True
        failed = failed_jobs(scene.records, change.project.unit_id, change.run.run_id)
        return any(self._jobs.match(job.name) for job in failed)


class BranchBrokenWatch(RunWatch[BranchBroken]):
    """Branches of which the newest run that ended has failed."""

    expires = False

    def means_run(self, project: Project, run: PipelineRun) -> bool:
        """Whether *run* is one of the default branch, unless the rule names refs."""
        if not self.rule.refs and run.ref != project.default_branch:
            return False
        if not self.rule.ref_kinds and run.ref_kind != "branch":
            return False
        return super().means_run(project, run)

    def change(self, change: Change, scene: Scene) -> None:
        """A failure breaks the branch, and a success mends it, unless a newer run says otherwise.

        Also one of long ago breaks it: if nothing newer has mended it, then the branch is broken now.
        """
        run = change.run
        if change.job or not self.means(change.provider, change.project, run):
            return
        state = self.book.get(self.rule.name, self.identity(change))
        if run.status is Status.SUCCESS and state:
            self.mend(state, run, scene)
        elif run.status is Status.FAILED and state and (run.created_at, run.run_id) >= order(state):
            self.stand(self.subject(change, scene, state.started_at), scene)
        elif run.status is Status.FAILED and not state and not self._mended(change, scene):
            self.stand(self.subject(change, scene, self._broken_since(change, scene)), scene)

    def begin(self, scene: Scene, *, first: bool) -> None:
        """Catch up with what happened while nobody watched; *first*, with all that is broken now."""
        there = scene.records.projects({state.about["unit"] for state in self.standing()})
        for state in self.standing():
            project = there.get(state.about["unit"])
            run = self._decisive(state, project, scene) if project else None
            # One that is being tried again decides nothing, and an older one does not count then.
            if project and run and (run.created_at, run.run_id) > order(state):
                self._judge(state, project, run, scene)
        if first:
            self._take_stock(scene)

    def still_means(
        self, state: AlertState, project: Project, refs: set[tuple[str, str]], now: datetime
    ) -> bool:
        """Whether its ref exists, and is the default branch still if that is what counts."""
        is_default = bool(self.rule.refs) or state.about["ref"][2] == project.default_branch
        return is_default and super().still_means(state, project, refs, now)

    def lost(self, state: AlertState, project: Project, scene: Scene) -> None:
        """Another run decides now; without any, nothing is known of the branch."""
        run = self._decisive(state, project, scene)
        if run is None:
            self.book.drop(state)
        else:
            self._judge(state, project, run, scene)

    def _decisive(self, state: AlertState, project: Project, scene: Scene) -> PipelineRun | None:
        """The run that says how the branch of *state* is now."""
        return next((run for run in newest_runs(state, scene) if self.means_run(project, run)), None)

    def _judge(self, state: AlertState, project: Project, run: PipelineRun, scene: Scene) -> None:
        if run.status is Status.SUCCESS:
            self.end(state, scene, fixed_by=run.run_id)
        else:
            change = Change(scene.now, provider_of(scene, project), project, run)
            self.stand(self.subject(change, scene, state.started_at), scene)

    def _take_stock(self, scene: Scene) -> None:
        """What is stored was never looked at: branches that broke lately are told, but no old story."""
        last: dict[tuple[str, ...], Change] = {}
        for unit_id, failed in list(scene.records.ended(scene.now - _EXPIRY, scene.now, Status.FAILED)):
            for project in scene.records.projects([unit_id]).values():
                change = Change(scene.now, provider_of(scene, project), project, failed)
                last[self.identity(change)] = change
        for change in last.values():
            self.change(change, scene)

    def _mended(self, change: Change, scene: Scene) -> bool:
        """Whether the newest of the newer runs has succeeded."""
        newer = scene.records.newer(change.project.unit_id, change.run, scene.now)
        newest = next((run for run in newer if self.means_run(change.project, run)), None)
        return newest is not None and newest.status is Status.SUCCESS

    def _broken_since(self, change: Change, scene: Scene) -> datetime:
        """When the first run after the last good one ended."""
        first = change.run
        for run in scene.records.older(change.project.unit_id, first, scene.now):
            if not self.means_run(change.project, run):
                continue
            if run.status is Status.SUCCESS:
                break
            first = run
        return first.finished_at or first.updated_at


class JobFailingWatch(RunWatch[JobFailing]):
    """Jobs that fail in run after run of a ref."""

    def __init__(self, rule: JobFailing, book: Book) -> None:
        super().__init__(rule, book)
        self._stages = Globs.of(rule.stages)
        self._jobs = Globs.of(rule.jobs)

    @property
    def hears_jobs(self) -> bool:
        """Always."""
        return True

    def change(self, change: Change, scene: Scene) -> None:
        """The last of several failures starts the alert, a success ends it."""
        job = change.job
        if job is None or not self.means(change.provider, change.project, change.run):
            return
        if not (self._stages.match(job.stage) and self._jobs.match(job.name)):
            return
        state = self.book.get(self.rule.name, (*self.identity(change), job.stage, job.name))
        if job.status is Status.SUCCESS and state:
            self.mend(state, change.run, scene)
        elif job.status is Status.FAILED and (self.rule.allowed_to_fail or not job.allow_failure):
            self._failed(change, job, state, scene)

    def _failed(self, change: Change, job: JobRun, state: AlertState | None, scene: Scene) -> None:
        if state is None and change.old:
            return
        failures = self._in_a_row(change, job, scene)
        if not failures or (state is None and len(failures) < self.rule.times):
            return
        since = state.started_at if state else failures[-1].finished_at or failures[-1].created_at
        labels = {"stage": job.stage, "job": job.name}
        more = {"job": job.job_id, "times": len(failures)}
        self.stand(self.subject(change, scene, since, job.stage, job.name, labels=labels, **more), scene)

    def _in_a_row(self, change: Change, job: JobRun, scene: Scene) -> list[JobRun]:
        """The last failures of *job*, one of each run, newest first; none if it has succeeded since."""
        unit_id, run, records = change.project.unit_id, change.run, scene.records
        around = [
            *records.newer(unit_id, run, scene.now),
            run,
            *islice(records.older(unit_id, run, scene.now), 5 * self.rule.times),
        ]
        meant = [one.run_id for one in around if self.means_run(change.project, one)]
        ends = {
            one.run_id: one
            for one in newest_attempts(records.jobs(unit_id, meant))
            if (one.stage, one.name) == (job.stage, job.name)
        }
        failures = []
        for run_id in meant:
            end = ends.get(run_id)
            if end and end.status is Status.SUCCESS:
                break
            if end and end.status is Status.FAILED:
                failures.append(end)
        return failures

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """How many times it failed, besides what there is to tell of the run."""
        return {**super().facts(state, scene), "times": state.about["times"]}


class QueueSlowWatch(RunWatch[QueueSlow]):
    """Pipelines or jobs that wait too long until they start."""

    def __init__(self, rule: QueueSlow, book: Book) -> None:
        super().__init__(rule, book)
        self._stages = Globs.of(rule.stages)
        self._jobs = Globs.of(rule.jobs)

    @property
    def hears_jobs(self) -> bool:
        """Whether it is about them."""
        return self.rule.of == "jobs"

    def change(self, change: Change, scene: Scene) -> None:
        """A long wait starts the alert, the next short one ends it."""
        job = change.job
        if (job is not None) is not (self.rule.of == "jobs"):
            return
        if job and not (self._stages.match(job.stage) and self._jobs.match(job.name)):
            return
        if not self.means(change.provider, change.project, change.run):
            return
        waited = job.queue_seconds if job else change.run.queue_seconds
        if waited is None:
            return
        state = self.book.get(self.rule.name, self._identity(change))
        if waited > self.rule.longer_than_seconds:
            if (state and (change.run.created_at, change.run.run_id) >= order(state)) or (
                not state and not change.old
            ):
                self._slow(change, waited, state, scene)
        elif state:
            self.mend(state, change.run, scene)

    def look(self, scene: Scene) -> None:
        """A run that has waited for too long already need not start first."""
        if self.rule.of == "jobs":
            return
        limit = timedelta(seconds=self.rule.longer_than_seconds)
        waiting = [
            (unit_id, run)
            for unit_id, run in scene.records.active(scene.now)
            if run.started_at is None and run.status is Status.PENDING and scene.now - run.created_at > limit
        ]
        projects = scene.records.projects({unit_id for unit_id, _ in waiting})
        for unit_id, run in waiting:
            project = projects.get(unit_id)
            if project and self.means(provider := provider_of(scene, project), project, run):
                change = Change(scene.now, provider, project, run)
                if not self.book.get(self.rule.name, self._identity(change)):
                    self._slow(change, (scene.now - run.created_at).total_seconds(), None, scene)

    def _identity(self, change: Change) -> tuple[str, ...]:
        """The pipeline, or the job: which ref it was for says nothing of who waits."""
        its = (change.job.stage, change.job.name) if change.job else ()
        return (change.project.target, change.project.key, change.run.pipeline, *its)

    def _slow(self, change: Change, waited: float, state: AlertState | None, scene: Scene) -> None:
        job = change.job
        labels = {"stage": job.stage, "job": job.name} if job else {}
        since = state.started_at if state else change.run.created_at
        subject = self.subject(change, scene, since, labels=labels, waited=waited)
        self.stand(Subject(self._identity(change), subject.labels, subject.about, since), scene)

    def facts(self, state: AlertState, scene: Scene) -> dict[str, Any]:
        """How long it waited, and how long is too long, besides what there is to tell of the run."""
        times = {"value": state.about["waited"], "limit": self.rule.longer_than_seconds}
        return {**super().facts(state, scene), **times}


def provider_of(scene: Scene, project: Project) -> str:
    """The provider of *project*; empty while its collector is not configured."""
    return scene.providers.get(project.target, "")


def order(state: AlertState) -> tuple[datetime, int]:
    """Where the run that *state* tells of stands among the others of its ref."""
    return datetime.fromisoformat(state.about["created"]), int(state.about["run"])


def newest_runs(state: AlertState, scene: Scene) -> list[PipelineRun]:
    """The last runs of the ref of *state* that succeeded or failed, newest first."""
    pipeline, kind, ref = state.about["ref"]
    return scene.records.newest(state.about["unit"], pipeline, kind, ref, scene.now)


def failed_jobs(records: Records, unit_id: int, run_id: int) -> list[JobRun]:
    """The jobs for which the run failed: their last attempt did, and was not allowed to."""
    return [
        job
        for job in newest_attempts(records.jobs(unit_id, [run_id]))
        if job.status is Status.FAILED and not job.allow_failure
    ]
