"""What a test or demo can make happen in the simulated GitLab by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collectors.gitlab.standin.delivery_actions import DeliveryActions
from collectors.gitlab.standin.records import (
    USERS,
    Attempt,
    BridgePlan,
    Job,
    JobPlan,
    JobTests,
    MergeRequest,
    Pipeline,
    Plan,
    Project,
)
from collectors.gitlab.standin.runner_actions import RunnerActions
from collectors.gitlab.standin.stories import STORIES, plan_for
from collectors.gitlab.standin.world import World

Json = Mapping[str, Any]


class Actions:
    """Named interferences with *world*; each takes and returns a JSON object.

    Raises ``ValueError`` or ``KeyError`` when something named does not exist or is not able.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_name: dict[str, Callable[[Json], dict[str, Any]]] = {
            "create_project": self._create_project,
            "delete_project": self._delete_project,
            "rename_project": self._rename_project,
            "archive": self._archive,
            "disable_ci": self._disable_ci,
            "create_branch": lambda given: self._add_ref(self._project(given).branches, given),
            "create_tag": lambda given: self._add_ref(self._project(given).tags, given),
            "delete_branch": lambda given: self._drop_ref(self._project(given).branches, given),
            "delete_tag": lambda given: self._drop_ref(self._project(given).tags, given),
            "open_mr": self._open_mr,
            "close_mr": lambda given: self._end_mr(given, "closed"),
            "merge_mr": lambda given: self._end_mr(given, "merged"),
            "new_pipeline": self._new_pipeline,
            "retry_pipeline": lambda given: _done(self.world.engine.retry(self._pipeline(given))),
            "cancel_pipeline": lambda given: _done(self.world.engine.cancel(self._pipeline(given))),
            "delete_pipeline": self._delete_pipeline,
            "retry_job": self._retry_job,
            "play": self._play,
            "erase_job": self._erase_job,
            "set_status": self._set_status,
            "pause": self._pause,
            "event": self._event,
            "create_user": lambda _: {"user_id": self.world.people.create_user().id},
            "hide_users": self._hide_users,
            **RunnerActions(world).by_name,
            **DeliveryActions(world, self._project).by_name,
        }

    def run(self, given: Json) -> dict[str, Any]:
        """Do what ``given["action"]`` names."""
        name = given.get("action")
        if name not in self.by_name:
            raise ValueError(f"actions: {sorted(self.by_name)}")
        return self.by_name[str(name)](given)

    def _project(self, given: Json) -> Project:
        key = given["project"]
        people = self.world.people
        return people.projects[key] if isinstance(key, int) else people.by_path[str(key)]

    def _pipeline(self, given: Json) -> Pipeline:
        pipeline = self.world.engine.pipelines[int(given["pipeline"])]
        self.world.engine.thaw(pipeline)
        return pipeline

    def _job(self, given: Json) -> Job:
        number = int(given["job"])
        for pipeline in reversed(self.world.engine.pipelines.values()):
            for job in pipeline.jobs or ():
                if job.id == number:
                    return job
        raise KeyError(f"job {number}")

    def _create_project(self, given: Json) -> dict[str, Any]:
        path = str(given.get("path", ""))
        project = self.world.people.create_project(path, empty=bool(given.get("empty", False)))
        return {"project_id": project.id, "path": project.path}

    def _delete_project(self, given: Json) -> dict[str, Any]:
        self.world.people.delete_project(self._project(given))
        return {}

    def _rename_project(self, given: Json) -> dict[str, Any]:
        project = self._project(given)
        self.world.people.rename(project, str(given["path"]))
        return {"project_id": project.id, "path": project.path}

    def _archive(self, given: Json) -> dict[str, Any]:
        self._project(given).archived = bool(given.get("archived", True))
        return {}

    def _disable_ci(self, given: Json) -> dict[str, Any]:
        self._project(given).ci_enabled = not given.get("disabled", True)
        return {}

    def _add_ref(self, refs: dict[str, int], given: Json) -> dict[str, Any]:
        refs[str(given["name"])] = self.world.now
        return {}

    def _drop_ref(self, refs: dict[str, int], given: Json) -> dict[str, Any]:
        del refs[str(given["name"])]
        return {}

    def _open_mr(self, given: Json) -> dict[str, Any]:
        request = self.world.people.open_mr(self._project(given))
        return {"iid": request.iid, "source_branch": request.source_branch}

    def _end_mr(self, given: Json, state: str) -> dict[str, Any]:
        project = self._project(given)
        request: MergeRequest = project.merge_requests[int(given["iid"])]
        self.world.people.end_mr(project, request, state)
        return {}

    def _new_pipeline(self, given: Json) -> dict[str, Any]:
        project = self._project(given)
        ref = str(given.get("ref", project.default_branch))
        asked = str(given.get("source", ""))
        usual = "merge_request_event" if ref.startswith("refs/merge-requests/") else "push"
        tag = bool(given.get("tag", ref in project.tags and ref not in project.branches))
        pipeline = self.world.engine.create(
            project, ref, self._plan(given), source=asked or usual, user=USERS[0], tag=tag
        )
        return {"pipeline_id": pipeline.id, "project_id": project.id}

    def _plan(self, given: Json) -> Plan:
        if "script" in given:
            return Plan(script=tuple((str(status), _ms(seconds)) for status, seconds in given["script"]))
        if "jobs" in given:
            return Plan(jobs_from(given["jobs"]), yaml_errors=given.get("yaml_errors"))
        story = str(given.get("story", "normal"))
        if story not in STORIES:
            raise ValueError(f"stories: {sorted(STORIES)}")
        return plan_for(story, self.world.chance, given.get("downstream"))

    def _delete_pipeline(self, given: Json) -> dict[str, Any]:
        self.world.engine.delete(self._pipeline(given))
        return {}

    def _retry_job(self, given: Json) -> dict[str, Any]:
        job = self.world.engine.retry_job(self._job(given))
        if job is None:
            raise ValueError("the job has not ended or was retried already")
        return {"job_id": job.id}

    def _play(self, given: Json) -> dict[str, Any]:
        if "job" in given:
            return _done(self.world.engine.play(self._job(given)))
        self.world.engine.play_all(self._pipeline(given))
        return {}

    def _erase_job(self, given: Json) -> dict[str, Any]:
        self._job(given).erased_at = self.world.now
        return {}

    def _set_status(self, given: Json) -> dict[str, Any]:
        """Any word, known to GitLab today or not; a job's events planned before are void."""
        if "job" in given:
            job = self._job(given)
            job.status = str(given["status"])
            job.version += 1
            self.world.fleet.active[job.id] = job
        else:
            self.world.engine.move(self._pipeline(given), str(given["status"]))
        return {}

    def _event(self, given: Json) -> dict[str, Any]:
        """Somebody does something, seen ``late`` seconds later, or never if it is ``hidden``."""
        user = self.world.people.everyone[int(given.get("user", 1)) - 1]
        entry = self.world.engine.diary.write(
            self._project(given) if given.get("project") else None,
            user,
            str(given.get("action_name", "commented on")),
            late=_ms(given.get("late", 0)),
            hidden=bool(given.get("hidden", False)),
        )
        return {"event_id": entry.id}

    def _hide_users(self, given: Json) -> dict[str, Any]:
        """The token may not list users any more."""
        self.world.users_hidden = bool(given.get("hidden", True))
        return {}

    def _pause(self, given: Json) -> dict[str, Any]:
        """No pipelines and changes come by themselves any more; what is under way goes on to its end."""
        self.world.paused = bool(given.get("paused", True))
        return {}


def jobs_from(entries: list[dict[str, Any]]) -> tuple[JobPlan, ...]:
    """Job plans of their JSON form; stages run in the order in which they first appear."""
    stages = list(dict.fromkeys(str(entry.get("stage", "test")) for entry in entries))
    return tuple(_job_plan(entry, stages) for entry in entries)


def _job_plan(entry: dict[str, Any], stages: list[str]) -> JobPlan:
    stage = str(entry.get("stage", "test"))
    return JobPlan(
        str(entry["name"]),
        stage,
        stages.index(stage),
        tuple(_attempt(attempt) for attempt in entry.get("attempts", [entry])),
        auto_retry=bool(entry.get("auto_retry", False)),
        allow_failure=bool(entry.get("allow_failure", False)),
        when=str(entry.get("when", "on_success")),
        prelude=tuple((str(status), _ms(seconds)) for status, seconds in entry.get("prelude", ())),
        coverage=entry.get("coverage"),
        tags=tuple(entry.get("tags", ())),
        bridge=_bridge(entry["downstream"]) if "downstream" in entry else None,
        environment=str(entry.get("environment", "")),
    )


def _attempt(entry: dict[str, Any]) -> Attempt:
    return Attempt(
        _ms(entry.get("queue", 1)),
        _ms(entry.get("run", 30)),
        str(entry.get("outcome", "success")),
        str(entry.get("reason", "")),
        JobTests(**_tests(entry["tests"])) if "tests" in entry else None,
    )


def _tests(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}


def _bridge(entry: dict[str, Any]) -> BridgePlan:
    return BridgePlan(jobs_from(entry["jobs"]), entry.get("project_id"), bool(entry.get("depend", False)))


def _ms(seconds: float) -> int:
    return round(float(seconds) * 1000)


def _done(worked: object) -> dict[str, Any]:
    if not worked:
        raise ValueError("not possible in its present status")
    return {}
