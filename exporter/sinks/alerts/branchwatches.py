"""The rule on branches that break and recover."""

from __future__ import annotations

from datetime import datetime

from exporter.config.rules import BranchBroken
from exporter.model.alerts import AlertState
from exporter.model.runs import PipelineRun, Status
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.runwatches import EXPIRY, RunWatch, newest_runs, order, provider_of
from exporter.sinks.alerts.watch import Scene
from exporter.store.records import Project


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
        for unit_id, failed in list(scene.records.ended(scene.now - EXPIRY, scene.now, Status.FAILED)):
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
