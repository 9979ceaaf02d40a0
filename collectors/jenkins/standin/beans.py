"""Jenkins' items and builds as its remote API exports them, made from a forge when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from collectors._standin.forge import Forge
from collectors._standin.runs import Job, Project, Run
from collectors.jenkins.standin.tree import Bean

MULTIBRANCH, PIPELINE, FREESTYLE = "multibranch", "pipeline", "freestyle"
LEFT_QUEUE_AFTER = 1_000  # milliseconds; that is when the forge begins a run
_FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
_ORGANIZATION = "jenkins.branch.OrganizationFolder"
_MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
WORKFLOW = "org.jenkinsci.plugins.workflow.job.Workflow"
_CAUSES = {
    "push": "jenkins.branch.BranchEventCause",
    "indexing": "jenkins.branch.BranchIndexingCause",
    "timer": "hudson.triggers.TimerTrigger$TimerTriggerCause",
    "scm": "hudson.triggers.SCMTrigger$SCMTriggerCause",
    "user": "hudson.model.Cause$UserIdCause",
    "upstream": "hudson.model.Cause$UpstreamCause",
    "remote": "hudson.model.Cause$RemoteCause",
    "replay": "org.jenkinsci.plugins.workflow.cps.replay.ReplayCause",
    "restart": "org.jenkinsci.plugins.pipeline.modeldefinition.causes.RestartDeclarativePipelineCause",
}
_RESULTS = {"success": "SUCCESS", "failed": "FAILURE", "canceled": "ABORTED", "skipped": "NOT_BUILT"}
_STAGES = {
    "success": "SUCCESS",
    "failed": "FAILED",
    "canceled": "ABORTED",
    "skipped": "NOT_EXECUTED",
    "running": "IN_PROGRESS",
    "pending": "IN_PROGRESS",
}
_VIEWS = {"branch": "default", "change_request": "change-requests", "tag": "tags"}


@dataclass(slots=True)
class Settings:
    """What of Jenkins can be there or not.

    ``kinds`` are of projects by path, ``results`` overrule how a run ended, by its id. ``nodes`` are
    ``(offline, temporarily)`` by name. A build has no duration for ``closing_ms`` after its end, and those
    whose ids are in ``cut_off`` never get one.
    """

    metrics: bool = True
    stage_view: bool = True
    git: bool = True
    closing_ms: int = 0
    cut_off: set[int] = field(default_factory=set)
    kinds: dict[str, str] = field(default_factory=dict)
    organizations: set[str] = field(default_factory=set)
    results: dict[int, str] = field(default_factory=dict)
    nodes: dict[str, tuple[bool, bool]] = field(default_factory=dict)


def address(base_url: str, path: str) -> str:
    """Where the page of the item *path* is."""
    return base_url + "".join(f"/job/{quote(name, safe='')}" for name in path.split("/")) + "/"


class Beans:
    """Makes the objects; nothing is kept between two requests but the branches that a project has."""

    def __init__(self, forge: Forge, settings: Settings, base_url: str) -> None:
        self._forge = forge
        self._settings = settings
        self._url = base_url
        self.refs: dict[int, dict[str, str]] = {}

    # -- items ---------------------------------------------------------------------------------

    def root(self) -> Bean:
        """Jenkins itself."""
        return {
            "_class": "hudson.model.Hudson",
            "mode": "NORMAL",
            "nodeDescription": "the Jenkins controller's built-in node",
            "numExecutors": 0,
            "quietingDown": False,
            "url": f"{self._url}/",
            "useCrumbs": True,
            "jobs": lambda: self._below(""),
        }

    def find(self, names: list[str]) -> Bean | None:
        """The folder or job of that path; ``None`` if there is none."""
        bean: Bean | None = self.root()
        for name in names:
            below = bean["jobs"]() if bean and "jobs" in bean else []
            bean = next((one for one in below if one["name"] == name), None)
        return bean

    def _below(self, folder: str) -> list[Bean]:
        """The items in a folder, each once, by name."""
        prefix = f"{folder}/" if folder else ""
        found: dict[str, Bean] = {}
        for project in self._forge.projects.values():
            if not project.path.startswith(prefix):
                continue
            name, _, rest = project.path.removeprefix(prefix).partition("/")
            if rest:
                found.setdefault(name, self._folder(name, f"{prefix}{name}"))
            else:
                found[name] = self._project(project, name)
        return [found[name] for name in sorted(found)]

    def _folder(self, name: str, path: str) -> Bean:
        return {
            "_class": _ORGANIZATION if path in self._settings.organizations else _FOLDER,
            **self._item(name, path),
            "jobs": lambda: self._below(path),
            "primaryView": {"_class": "hudson.model.AllView", "name": "All", "url": self._address(path)},
            "views": [],
        }

    def _item(self, name: str, path: str) -> Bean:
        """What every item has."""
        return {
            "name": name,
            "fullName": path,
            "displayName": name,
            "fullDisplayName": path.replace("/", " » "),
            "url": self._address(path),
            "description": None,
            "healthReport": [],
            "actions": [{}],
        }

    def _address(self, path: str) -> str:
        return address(self._url, path)

    def kind(self, project: Project) -> str:
        """What sort of job a project is."""
        return self._settings.kinds.get(project.path, MULTIBRANCH)

    def _project(self, project: Project, name: str) -> Bean:
        if self.kind(project) != MULTIBRANCH:
            return self._job(project, name, project.path, list(project.runs.values()))
        return {
            "_class": _MULTIBRANCH,
            **self._item(name, project.path),
            "jobs": lambda: self._branches(project),
            "sources": [{}],
            "views": lambda: self._views(project),
        }

    def _refs(self, project: Project) -> dict[str, str]:
        """``ref -> kind`` of the branches; one stays when its builds are discarded."""
        refs = self.refs.setdefault(project.id, {project.default_branch: "branch"})
        refs.update({run.ref: run.ref_kind for run in project.runs.values()})
        return refs

    def _branches(self, project: Project) -> list[Bean]:
        jobs = []
        for ref in sorted(self._refs(project)):
            name = quote(ref, safe="")
            runs = [run for run in project.runs.values() if run.ref == ref]
            job = self._job(project, name, f"{project.path}/{name}", runs)
            job["displayName"] = ref
            if ref == project.default_branch:
                job["actions"] = [{"_class": "jenkins.scm.api.metadata.PrimaryInstanceMetadataAction"}]
            jobs.append(job)
        return jobs

    def _views(self, project: Project) -> list[Bean]:
        """One for each sort of ref, as the plugin branch-api makes them."""
        by_view: dict[str, list[Bean]] = {}
        for ref, kind in sorted(self._refs(project).items()):
            name = quote(ref, safe="")
            by_view.setdefault(_VIEWS[kind], []).append(
                {"_class": f"{WORKFLOW}Job", "name": name, "url": self._address(f"{project.path}/{name}")}
            )
        return [
            {"_class": "jenkins.branch.MultiBranchProjectViewHolder$ViewImpl", "name": name, "jobs": jobs}
            for name, jobs in sorted(by_view.items())
        ]

    def _job(self, project: Project, name: str, path: str, runs: list[Run]) -> Bean:
        started = [run for run in runs if self._left_queue(run)]
        builds = sorted(started, key=lambda run: -run.number)
        freestyle = self.kind(project) == FREESTYLE
        over = [run for run in builds if run.finished]

        def one(of: list[Run]) -> Bean | None:
            return self.build(of[0], path) if of else None

        return {
            "_class": "hudson.model.FreeStyleProject" if freestyle else f"{WORKFLOW}Job",
            **self._item(name, path),
            "buildable": True,
            "color": "notbuilt" if not builds else "blue",
            "builds": lambda: [self.build(run, path) for run in builds[:100]],
            "allBuilds": lambda: [self.build(run, path) for run in builds],
            "firstBuild": lambda: one(builds[-1:]),
            "lastBuild": lambda: one(builds),
            "lastCompletedBuild": lambda: one(over),
            "nextBuildNumber": max((run.number for run in runs), default=0) + 1,
            "inQueue": len(started) < len(runs),
            "keepDependencies": False,
        }

    # -- builds --------------------------------------------------------------------------------

    @staticmethod
    def _left_queue(run: Run) -> bool:
        """Whether it is a build by now; before, it is only an item of the queue."""
        return run.status != "created" and not (run.finished and run.started_at is None and not run.jobs)

    def build_of(self, job: Bean, number: int) -> tuple[Bean, Run] | None:
        """Build *number* of a job, and its run."""
        for run in self._runs_of(job):
            if run.number == number and self._left_queue(run):
                return self.build(run, job["fullName"]), run
        return None

    def _runs_of(self, job: Bean) -> Iterable[Run]:
        for project in self._forge.projects.values():
            plain = self.kind(project) != MULTIBRANCH
            for run in project.runs.values():
                path = project.path if plain else f"{project.path}/{quote(run.ref, safe='')}"
                if path == job["fullName"]:
                    yield run

    def build(self, run: Run, path: str) -> Bean:
        """One build of the job *path*."""
        began = run.created_at + LEFT_QUEUE_AFTER
        freestyle = self.kind(run.project) == FREESTYLE
        return {
            "_class": "hudson.model.FreeStyleBuild" if freestyle else f"{WORKFLOW}Run",
            "number": run.number,
            "id": str(run.number),
            "url": f"{self._address(path)}{run.number}/",
            "displayName": f"#{run.number}",
            "fullDisplayName": f"{path.replace('/', ' » ')} #{run.number}",
            "building": not run.finished,
            "inProgress": not run.finished,
            "result": self._result(run),
            "timestamp": began,
            "duration": self._duration(run, began),
            "estimatedDuration": 60_000,
            "keepLog": False,
            "queueId": run.id,
            "description": None,
            "artifacts": [],
            "actions": self._actions(run),
        }

    def _duration(self, run: Run, began: int) -> int:
        """How long it took; 0 while it goes on, and a moment longer."""
        end = run.finished_at
        if not run.finished or end is None or run.id in self._settings.cut_off:
            return 0
        return max(0, end - began) if self._forge.now >= end + self._settings.closing_ms else 0

    def _result(self, run: Run) -> str | None:
        if not run.finished:
            return None
        return self._settings.results.get(run.id, _RESULTS[run.status])

    def _actions(self, run: Run) -> list[Bean]:
        """What plugins hang on a build; most of it exports nothing."""
        cause: Bean = {
            "_class": _CAUSES.get(run.source, "org.example.UnheardOfCause"),
            "shortDescription": f"Started by {run.source}",
        }
        if run.source == "user":
            cause |= {"userId": run.username, "userName": run.username.title()}
        actions: list[Bean] = [{"_class": "hudson.model.CauseAction", "causes": [cause]}, {}]
        if self._settings.metrics:
            actions.append(
                {
                    "_class": "jenkins.metrics.impl.TimeInQueueAction",
                    "queuingDurationMillis": LEFT_QUEUE_AFTER,
                    "blockedDurationMillis": 0,
                    "buildableDurationMillis": 0,
                    "waitingDurationMillis": LEFT_QUEUE_AFTER,
                    "queuingTimeMillis": LEFT_QUEUE_AFTER,
                    "subTaskCount": len(run.jobs),
                }
            )
        if self._settings.git and run.started_at is not None:
            branch = {"SHA1": run.sha, "name": f"refs/remotes/origin/{run.ref}"}
            actions.append(
                {
                    "_class": "hudson.plugins.git.util.BuildData",
                    "lastBuiltRevision": {"SHA1": run.sha, "branch": [branch]},
                    "remoteUrls": [f"https://git.example.com/{run.project.path}.git"],
                    "scmName": "",
                }
            )
        return actions

    def stages(self, run: Run, path: str) -> Bean | None:
        """The answer of ``wfapi/describe``; ``None`` without the plugin, and for what is no pipeline."""
        if not self._settings.stage_view or self.kind(run.project) == FREESTYLE:
            return None
        began, end = run.created_at + LEFT_QUEUE_AFTER, run.finished_at or self._forge.now
        status = {"SUCCESS": "SUCCESS", "FAILURE": "FAILED", None: "IN_PROGRESS"}
        result = self._result(run)
        return {
            "_links": {"self": {"href": f"{path}/{run.number}/wfapi/describe"}},
            "id": str(run.number),
            "name": f"#{run.number}",
            "status": status.get(result, result),
            "startTimeMillis": began,
            "endTimeMillis": end,
            "durationMillis": max(0, end - began),
            "queueDurationMillis": 0,
            "pauseDurationMillis": 0,
            "stages": [self._stage(job, number) for number, job in enumerate(run.jobs)],
        }

    def _stage(self, job: Job, number: int) -> Bean:
        end = job.finished_at or self._forge.now
        return {
            "_links": {},
            "id": str(6 + 5 * number),
            "name": job.plan.name,
            "execNode": "",
            "status": _STAGES[job.status],
            "startTimeMillis": job.created_at,
            "durationMillis": end - job.created_at,
            "pauseDurationMillis": 0,
        }
