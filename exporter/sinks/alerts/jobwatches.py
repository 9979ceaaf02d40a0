"""Rules that hear of jobs: of those that fail again and again, and of whoever waits too long to start."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Any

from exporter.config.rules import JobFailing, QueueSlow
from exporter.model.alerts import AlertState
from exporter.model.runs import JobRun, PipelineRun, Status
from exporter.sinks.alerts.book import Book, Subject
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.runwatches import RunWatch, order, provider_of
from exporter.sinks.alerts.watch import Globs, Scene
from exporter.store.records import newest_attempts


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
        facts = super().facts(state, scene)
        run: PipelineRun | None = facts.get("run")
        waited = state.about["waited"]
        if self.rule.of != "jobs" and run and run.started_at is None and run.status is Status.PENDING:
            waited = (
                scene.now - run.created_at
            ).total_seconds()  # it waits still: longer than when it was noted
        return {**facts, "value": waited, "limit": self.rule.longer_than_seconds}
