"""Rules that hear of runs as they change, and what those that hear of their jobs share with them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar

from exporter.config.rules import RunFailed, RunRule
from exporter.model.alerts import AlertState
from exporter.model.runs import JobRun, PipelineRun, Status
from exporter.sinks.alerts.book import Book, Subject
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.watch import Globs, Scene, Watch
from exporter.store.records import Project, Records, newest_attempts

R = TypeVar("R", bound=RunRule)

EXPIRY = timedelta(days=7)
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
        return not self.expires or now - datetime.fromisoformat(about["seen"]) < EXPIRY

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
