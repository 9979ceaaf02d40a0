"""Jenkins' remote API: which calls there are, and which fields each of them asks for."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from collectors._api import Client
from collectors._connection import api_client
from collectors._http import Answer
from collectors.jenkins.settings import Connection
from exporter.contract import Context, Trouble
from exporter.errors import BadAnswer, UnitUnavailable

# Parameters of builds are not among them: they may hold anything.
_BUILD = (
    "_class,number,building,result,timestamp,duration,"
    "actions[queuingDurationMillis,causes[_class,userId],lastBuiltRevision[SHA1,branch[name]]]"
)
_JOB = f"_class,name,lastBuild[{_BUILD}]"
PAGE = 100  # builds a call, and as many as `builds` holds
_COMPUTERS = (
    "computer[displayName,offline,temporarilyOffline,numExecutors,assignedLabels[name],"
    "monitorData[hudson.node_monitors.ArchitectureMonitor],executors[idle],oneOffExecutors[idle]]"
)
_QUEUE = "items[id,buildable,buildableStartMilliseconds,inQueueSince,why,task[name,url]]"


def job_path(full_name: str) -> str:
    """The path of a job or folder below Jenkins' own; the empty name is Jenkins itself."""
    return "".join(f"job/{quote(name, safe='')}/" for name in full_name.split("/") if name)


def nested(depth: int) -> str:
    """The fields of a job, and of all jobs below it down to *depth* levels.

    Of what lies below the last level, one name tells that there is more.
    """
    tree = f"{_JOB},jobs[name]{{0,1}}"
    for _ in range(depth):
        tree = f"{_JOB},jobs[{tree}]"
    return tree


class JenkinsClient(Client):
    """The calls to Jenkins."""

    def __init__(self, config: Connection, context: Context, collector: str) -> None:
        super().__init__(api_client(config, context, collector, credentials=config.user_credentials()))

    def items(self, full_name: str, depth: int) -> Any:
        """A folder or job with all that lies below it, each job with its newest build.

        Raises:
            UnitUnavailable: it is not there, or hidden.
        """
        answer = self._ask(f"{job_path(full_name)}api/json", "items", nested(depth))
        return _readable(answer, full_name or "Jenkins")

    def builds(self, job: str, first: int, count: int = PAGE) -> list[Any]:
        """Builds of a job by position, the newest is at 0; none if the job is gone.

        ``builds`` ends at the hundredth. ``allBuilds`` does not, but makes Jenkins load the records of all
        builds of the job however few are asked for, since a range wants to know how long the list is.

        Source:
            stapler, Range.java, ``apply``; Jenkins core, RunList.java, ``size``.
        """
        name = "builds" if first + count <= PAGE else "allBuilds"
        tree = f"{name}[{_BUILD}]{{{first},{first + count}}}"
        answer = self._ask(f"{job_path(job)}api/json", "builds", tree)
        if answer.status == 404:
            return []
        builds = _object(_readable(answer, job), "builds").get(name)
        if not isinstance(builds, list):
            raise BadAnswer(f"builds: expected a list of builds of {job}")
        return builds

    def build(self, job: str, number: int) -> Any:
        """One build; ``None`` if it is gone."""
        answer = self._ask(f"{job_path(job)}{number}/api/json", "build", _BUILD)
        return None if answer.status == 404 else _readable(answer, job)

    def stages(self, job: str, number: int) -> Any:
        """How a pipeline build went stage by stage; ``None`` if Jenkins does not tell (no Stage View)."""
        answer = self._api.get(f"{job_path(job)}{number}/wfapi/describe", "stages")
        return None if answer.status == 404 else _readable(answer, job)

    def views(self, job: str) -> Any:
        """What a multibranch project lists under branches, change requests and tags, and its primary branch.

        Raises:
            NotThere: it does not tell.
        """
        answer = self._ask(
            f"{job_path(job)}api/json", "views", "views[name,jobs[name]],jobs[name,actions[_class]]"
        )
        return self._body(answer, "views")

    def computers(self) -> Any:
        """All nodes with their executors."""
        return _readable(self._ask("computer/api/json", "computers", _COMPUTERS), "the list of nodes")

    def queue(self) -> Any:
        """What waits to be executed."""
        return _readable(self._ask("queue/api/json", "queue", _QUEUE), "the queue")

    def _ask(self, path: str, operation: str, tree: str) -> Answer:
        """One answer, of which only the fields of *tree* are asked for."""
        return self._api.get(path, operation, {"tree": tree})


def _readable(answer: Answer, what: str) -> Any:
    if answer.status == 404:
        raise UnitUnavailable(f"{what} is not there, or hidden", Trouble.NOT_FOUND)
    if answer.status != 200:
        raise UnitUnavailable(f"the user may not read {what}", Trouble.FORBIDDEN)
    return answer.body


def _object(body: Any, operation: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadAnswer(f"{operation}: expected an object, got {type(body).__name__}")
    return body
