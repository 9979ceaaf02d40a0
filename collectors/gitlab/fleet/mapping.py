"""GitLab's JSON about runners and waiting jobs to records, from GraphQL and from REST."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from collectors import _fleet
from collectors._fleet import Runner, WaitingJob
from collectors.gitlab.values import (
    Json,
    instant_or_none,
    integer,
    json_object,
    seconds,
    text,
    text_or_empty,
)
from exporter.clock import EPOCH
from exporter.errors import BadAnswer

Unknown = Callable[[str], None]
_TYPES = {f"{kind}_type": kind for kind in _fleet.TYPES}
# GitLab before 15.0 said not_connected.
_STATUSES = {status: status for status in _fleet.STATUSES} | {"not_connected": _fleet.NEVER_CONTACTED}


class ListEntry(NamedTuple):
    """One runner as REST lists tell it; ``busy`` is ``None`` where the version does not say."""

    runner_id: int
    runner_type: str
    status: str
    paused: bool
    description: str
    busy: bool | None


class _Manager(NamedTuple):
    """One process of a runner: when it was last seen, and what it is."""

    contacted_at: datetime | None
    number: int
    version: str
    platform: str
    architecture: str


# -- REST ------------------------------------------------------------------------------------------


def list_entry(value: Any, *, unknown: Unknown) -> ListEntry:
    """One entry of a REST list of runners, also of old versions: those had no type, and other words."""
    entry = json_object(value, "runner")
    kind = text_or_empty(entry, "runner_type") or (
        "instance_type" if entry.get("is_shared") else "project_type"
    )
    paused = entry.get("paused")
    if paused is None:
        paused = entry.get("active") is False
    busy = entry.get("job_execution_status")
    return ListEntry(
        runner_id=integer(entry, "id"),
        runner_type=_type(kind, unknown),
        status=_rest_status(entry, unknown),
        paused=bool(paused),
        description=text_or_empty(entry, "description"),
        busy=busy != "idle" if isinstance(busy, str) else None,
    )


def rest_runner(entry: ListEntry, detail: Any | None, managers: Iterable[Any]) -> Runner:
    """The runner of a list *entry*; without a *detail*, which not every token may read, little is known."""
    known = json_object({} if detail is None else detail, "runner")
    tags = known.get("tag_list")
    newest = _newest(_manager(manager, "id", "platform", "architecture") for manager in managers)
    return Runner(
        runner_id=entry.runner_id,
        runner_type=entry.runner_type,
        status=entry.status,
        paused=entry.paused,
        description=entry.description,
        contacted_at=_seen(known.get("contacted_at")),
        tags=_tags(tags) if isinstance(tags, list) else None,
        run_untagged=known.get("run_untagged") is not False,
        version=newest.version or text_or_empty(known, "version"),
        platform=newest.platform or text_or_empty(known, "platform"),
        architecture=newest.architecture or text_or_empty(known, "architecture"),
        projects=_some(str(integer(each, "id")) for each in _objects(known, "projects")),
        groups=_some(_group_path(each) for each in _objects(known, "groups")),
    )


def rest_waiting(value: Any, project: str, path: str, now: datetime) -> WaitingJob:
    """One pending job of a project.

    REST does not say since when a job waits, only how long it has waited: to be remembered, for
    counted back from two moments that is two different times.
    """
    entry = json_object(value, "job")
    waited = seconds(entry.get("queued_duration"))
    created_at = instant_or_none(entry.get("created_at")) or now
    return WaitingJob(
        job_id=integer(entry, "id"),
        tags=frozenset(_tags(entry.get("tag_list") or [])),
        project=project,
        path=path,
        queued_at=_whole(created_at if waited is None else now - timedelta(seconds=waited)),
    )


def _rest_status(entry: Json, unknown: Unknown) -> str:
    word = text_or_empty(entry, "status")
    if word in ("active", "paused", ""):
        # What old versions say there tells nothing of the connection.
        online = entry.get("online")
        return _fleet.NEVER_CONTACTED if online is None else _fleet.ONLINE if online else _fleet.OFFLINE
    return _status(word, unknown)


def _group_path(group: Json) -> str:
    """The full path, which REST tells only as a part of the address."""
    try:
        path = urlsplit(text_or_empty(group, "web_url")).path
    except ValueError:
        return ""
    return unquote(path.partition("/groups/")[2]).strip("/")


# -- GraphQL ---------------------------------------------------------------------------------------


def graphql_runner(value: Any, *, unknown: Unknown) -> tuple[Runner, bool]:
    """One node of a connection of runners, and whether it executes jobs now."""
    node = json_object(value, "runner")
    newest = _newest(
        _manager(manager, "id", "platformName", "architectureName") for manager in nodes(node.get("managers"))
    )
    projects = json_object(node.get("projects") or {}, "connection")
    # A part of the projects would make it look as if nobody took the jobs of the others.
    all_projects = not json_object(projects.get("pageInfo") or {}, "pageInfo").get("hasNextPage")
    runner = Runner(
        runner_id=gid(node, "id"),
        runner_type=_type(text(node, "runnerType").lower(), unknown),
        status=_status(text(node, "status").lower(), unknown),
        paused=bool(node.get("paused")),
        description=text_or_empty(node, "description"),
        contacted_at=_seen(node.get("contactedAt")),
        tags=_tags(node.get("tagList") or []),
        run_untagged=node.get("runUntagged") is not False,
        version=newest.version,
        platform=newest.platform,
        architecture=newest.architecture,
        projects=_some(str(gid(each, "id")) for each in nodes(projects)) if all_projects else None,
        groups=_some(text(each, "fullPath") for each in nodes(node.get("groups"))),
    )
    return runner, node.get("jobExecutionStatus") != "IDLE"


def graphql_waiting(value: Any, now: datetime) -> WaitingJob:
    """One node of a connection of pending jobs."""
    node = json_object(value, "job")
    project = json_object(node.get("project") or {}, "project")
    queued_at = instant_or_none(node.get("queuedAt")) or instant_or_none(node.get("createdAt"))
    return WaitingJob(
        job_id=gid(node, "id"),
        tags=frozenset(_tags(node.get("tags") or [])),
        project=str(gid(project, "id")) if project else "",
        path=text_or_empty(project, "fullPath"),
        queued_at=_whole(queued_at or now),
    )


def running(value: Any) -> tuple[int, int | None]:
    """The id of a job, and that of the runner that executes it; ``None`` if there is none (any more)."""
    node = json_object(value, "job")
    runner = node.get("runner")
    return gid(node, "id"), gid(json_object(runner, "runner"), "id") if runner else None


def nodes(connection: Any) -> list[Json]:
    """The nodes of a connection that may be null; those that are hidden from the token are null, too."""
    if connection is None:
        return []
    return _objects(json_object(connection, "connection"), "nodes")


def gid(node: Json, key: str) -> int:
    """The number of a global id such as ``gid://gitlab/Ci::Runner/47``."""
    number = text(node, key).rpartition("/")[2]
    if not (number.isascii() and number.isdigit()):
        raise BadAnswer(f"{key} should be a global id")
    return integer({key: int(number[:20])}, key)


# -- both ------------------------------------------------------------------------------------------


def _manager(value: Any, number: str, platform: str, architecture: str) -> _Manager:
    entry = json_object(value, "runner manager")
    return _Manager(
        contacted_at=_seen(entry.get("contacted_at", entry.get("contactedAt"))),
        number=gid(entry, number) if isinstance(entry.get(number), str) else integer(entry, number),
        version=text_or_empty(entry, "version"),
        platform=text_or_empty(entry, platform),
        architecture=text_or_empty(entry, architecture),
    )


def _newest(managers: Iterable[_Manager]) -> _Manager:
    """The one that was seen last: the others of an upgraded or autoscaled runner may be gone for long."""
    return max(
        managers,
        key=lambda manager: (manager.contacted_at or EPOCH, manager.number),
        default=_Manager(None, 0, "", "", ""),
    )


def _objects(entry: Json, key: str) -> list[Json]:
    """The objects in the list under *key*; null stands for an empty list, or for a hidden object."""
    values = entry.get(key) or []
    if not isinstance(values, list):
        raise BadAnswer(f"{key} should be a list, got {type(values).__name__}")
    return [json_object(value, f"{key} entry") for value in values if value is not None]


def _type(word: str, unknown: Unknown) -> str:
    if word not in _TYPES:
        unknown("runner_type")
    return _TYPES.get(word, _fleet.UNKNOWN)


def _status(word: str, unknown: Unknown) -> str:
    if word not in _STATUSES:
        unknown("runner_status")
    return _STATUSES.get(word, _fleet.UNKNOWN)


def _tags(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise BadAnswer(f"tags should be a list, got {type(values).__name__}")
    return tuple(sorted(text({"tag": value}, "tag") for value in values))


def _some(values: Iterable[str]) -> frozenset[str] | None:
    """All of *values*; ``None`` for none, since what a runner is for may be hidden from the token."""
    return frozenset(value for value in values if value) or None


def _seen(value: Any) -> datetime | None:
    """When something was last seen, ``None`` if it never was."""
    at = instant_or_none(value)
    return _whole(at) if at else None


def _whole(at: datetime) -> datetime:
    """To the second, as GraphQL tells times: both APIs shall give the same series."""
    return at.replace(microsecond=0)
