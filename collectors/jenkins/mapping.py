"""Jenkins' JSON to records: its words, times and numbers, and nothing of ours trusts them before this."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from collectors._values import Json, integer, json_object, text, text_or_empty
from collectors.jenkins.values import LARGEST, LONGEST, clean, instant, objects
from exporter.errors import BadAnswer
from exporter.model.runs import PipelineRun, RefKind, Status

Unknown = Callable[[str], None]

# Source: Jenkins core, hudson/model/Result.java. UNSTABLE is the operator's choice.
RESULTS = {
    "SUCCESS": Status.SUCCESS,
    "FAILURE": Status.FAILED,
    "NOT_BUILT": Status.SKIPPED,
    "ABORTED": Status.CANCELED,
}
_UNSTABLE = "UNSTABLE"
# By the last part of the cause's class. Of several causes the first in this order counts: a build that is
# replayed has a user, too.
CAUSES = {
    "ReplayCause": "replay",
    "RestartDeclarativePipelineCause": "restart",
    "BuildUpstreamCause": "upstream",
    "UpstreamCause": "upstream",
    "BranchEventCause": "push",
    "GitHubPushCause": "push",
    "GitLabWebHookCause": "push",
    "BitBucketPushCause": "push",
    "BranchIndexingCause": "indexing",
    "SCMTriggerCause": "scm",
    "TimerTriggerCause": "timer",
    "RemoteCause": "remote",
    "UserIdCause": "user",
    "UserCause": "user",
}
_ORDER = {word: place for place, word in enumerate(dict.fromkeys(CAUSES.values()))}
# The names of its views, which are those of the categories of scm-api.
_VIEWS = {
    "default": RefKind.BRANCH,
    "change-requests": RefKind.CHANGE_REQUEST,
    "tags": RefKind.TAG,
}
_CHANGE_REQUEST = re.compile(r"(PR|MR)-\d+(-(head|merge))?\Z")
_PRIMARY = "PrimaryInstanceMetadataAction"
_REMOTE = re.compile(r"(refs/)?remotes/[^/]+/|origin/|refs/heads/|refs/tags/")
_NUMBER_BITS = 20
NUMBER_MASK = (1 << _NUMBER_BITS) - 1


@dataclass(frozen=True, slots=True)
class Build:
    """One build as Jenkins tells it; times in milliseconds.

    ``result`` is empty, and ``duration`` 0, while it goes on. ``queuing`` is ``None`` unless the plugin
    `metrics` measured it. ``branch`` is what the build checked out, empty while unknown.
    """

    number: int
    running: bool
    result: str
    timestamp: int
    duration: int
    queuing: int | None
    source: str
    user: str
    branch: str
    sha: str
    pipeline: bool

    @property
    def finished_at(self) -> datetime:
        """When it ended, or will have at the earliest."""
        return instant(self.timestamp + self.duration)


@dataclass(frozen=True, slots=True)
class Item:
    """One job, or whatever holds jobs.

    ``jobs`` is ``None`` for what holds none. ``last`` is the newest build that is there, ``None`` also if it
    cannot be understood: then ``fault`` says why.
    """

    name: str
    full_name: str
    multibranch: bool
    last: Build | None
    jobs: tuple[Item, ...] | None
    fault: str = ""


def item(body: Any, parent: str, unknown: Unknown, *, full_name: str | None = None) -> Item:
    """A job or folder with all below it; *parent* is the full name of what holds it."""
    entry = json_object(body, "job")
    name = "" if full_name == "" else text(entry, "name")
    if full_name is None:
        full_name = f"{parent}/{name}" if parent else name
    below = entry.get("jobs")
    if below is not None and not isinstance(below, list):
        raise BadAnswer(f"jobs should be a list, got {type(below).__name__}")
    last, fault = _last(entry.get("lastBuild"), unknown)
    return Item(
        name,
        full_name,
        "MultiBranch" in text_or_empty(entry, "_class").rpartition(".")[2],
        last,
        None if below is None else tuple(item(one, full_name, unknown) for one in below),
        fault,
    )


def _last(body: Any, unknown: Unknown) -> tuple[Build | None, str]:
    """The newest build, or why it cannot be understood: one odd build must not hide all of Jenkins."""
    try:
        return None if body is None else build(body, unknown), ""
    except BadAnswer as error:
        return None, str(error)


def build(body: Any, unknown: Unknown) -> Build:
    """One build."""
    entry = json_object(body, "build")
    actions = objects(entry, "actions")
    running = entry.get("building") is True or entry.get("result") is None
    source, user = _cause(actions, unknown)
    branch, sha = _revision(actions)
    return Build(
        number=integer(entry, "number", LARGEST),
        running=running,
        result="" if running else text(entry, "result"),
        timestamp=integer(entry, "timestamp", LONGEST),
        duration=0 if running else integer(entry, "duration", LONGEST),
        queuing=_queuing(actions),
        source=source,
        user=user,
        branch=branch,
        sha=sha,
        pipeline=text_or_empty(entry, "_class").endswith(".WorkflowRun"),
    )


def _queuing(actions: list[Json]) -> int | None:
    """How long it was in the queue, in milliseconds, by the action of the plugin `metrics`."""
    for action in actions:
        value = action.get("queuingDurationMillis")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONGEST:
            return value
    return None


def _cause(actions: list[Json], unknown: Unknown) -> tuple[str, str]:
    """Why it was built, of `CAUSES`, and who wanted it."""
    causes = [one for action in actions for one in objects(action, "causes")]
    words = [str(one.get("_class", "")) for one in causes]
    known = [CAUSES[name] for word in words if (name := re.split(r"[.$]", word)[-1]) in CAUSES]
    if words and not known:
        unknown("source")
    user = next((one["userId"] for one in causes if isinstance(one.get("userId"), str)), "")
    return min(known, key=_ORDER.__getitem__, default="unknown"), clean(user)


def _revision(actions: list[Json]) -> tuple[str, str]:
    """Branch and commit that it checked out; of several repositories (a library, say) nobody knows which."""
    found = {
        (_branch(revision), clean(str(revision.get("SHA1") or "")))
        for action in actions
        if isinstance(revision := action.get("lastBuiltRevision"), dict)
    }
    return found.pop() if len(found) == 1 else ("", "")


def _branch(revision: Json) -> str:
    """The branch without the name of its remote; empty for a commit that is on none."""
    branches = revision.get("branch")
    first = branches[0] if isinstance(branches, list) and branches else None
    name = first.get("name") if isinstance(first, dict) else None
    if not isinstance(name, str) or name == "detached":
        return ""
    return clean(_REMOTE.sub("", name, count=1) if _REMOTE.match(name) else name)


# -- runs --------------------------------------------------------------------------------------------


def run_id(ref: str | None, number: int) -> int:
    """Identifies build *number*, of branch *ref* if its project is a multibranch one, within its unit.

    A plain job's builds keep their numbers. Each branch of a multibranch project counts from 1, and a hook,
    a poll and a backfill must come to the same id without asking: so 32 bits are the branch's checksum, and
    20 bits the number: together 52, which JavaScript and databases hold exactly, growing with the number. Two
    branches of a project share a checksum once in a million projects with a hundred branches; their builds of
    one number then are executions of one run, each counted.
    """
    if ref is None:
        return number
    return zlib.crc32(ref.encode()) << _NUMBER_BITS | (number & NUMBER_MASK)


def number_of(ref: str | None, identity: int) -> int:
    """The number of the build that has `run_id` *identity*."""
    return identity if ref is None else identity & NUMBER_MASK


def ref_of(job_name: str) -> str:
    """The branch of a job in a multibranch project; its name is the branch's, with signs percent-encoded."""
    return clean(unquote(job_name))


def status(one: Build, unstable: str, unknown: Unknown) -> Status:
    """Where a build stands."""
    if one.running:
        return Status.RUNNING
    return status_for(one.result, RESULTS, unstable, unknown)


def status_for(word: str, known: Mapping[str, Status], unstable: str, unknown: Unknown) -> Status:
    """What *word* says, of those that are *known*."""
    if word == _UNSTABLE:
        return Status(unstable)
    if word not in known:
        unknown("status")
        return Status.UNKNOWN
    return known[word]


def run(
    one: Build,
    *,
    ref: str | None,
    kind: RefKind,
    url: str,
    unstable: str,
    selects: Callable[[RefKind, str], bool],
    unknown: Unknown,
) -> PipelineRun:
    """One build as a run; *ref* is the branch of a multibranch project, ``None`` for a plain job.

    Jenkins tells when a build left the queue, not when it was asked for: without the plugin `metrics` it
    begins with its start, and how long it waited is unknown. A build that is for no ref is always shown.
    """
    state = status(one, unstable, unknown)
    name = one.branch if ref is None else ref
    started_at = instant(one.timestamp)
    return PipelineRun(
        run_id=run_id(ref, one.number),
        ref=name,
        ref_kind=kind,
        source=one.source,
        status=state,
        created_at=instant(max(0, one.timestamp - (one.queuing or 0))),
        updated_at=one.finished_at,
        started_at=started_at,
        finished_at=one.finished_at if state.finished else None,
        duration_seconds=one.duration / 1000 if state.finished else None,
        queue_seconds=None if one.queuing is None else one.queuing / 1000,
        number=one.number,
        username=one.user or None,
        web_url=f"{url}{one.number}/",
        sha=one.sha or None,
        selected=not name or selects(kind, name),
    )


# -- refs --------------------------------------------------------------------------------------------


def ref_kinds(body: Any) -> tuple[dict[str, RefKind], str]:
    """``job name -> kind`` by the views of a multibranch project, and its primary branch if that is told."""
    entry = json_object(body, "multibranch project")
    kinds = {
        name: kind
        for view in objects(entry, "views")
        if (kind := _VIEWS.get(str(view.get("name")))) is not None
        for name in _names(view)
    }
    primary = next(
        (
            ref_of(job["name"])
            for job in objects(entry, "jobs")
            if isinstance(job.get("name"), str)
            and any(str(one.get("_class", "")).endswith(_PRIMARY) for one in objects(job, "actions"))
        ),
        "",
    )
    return kinds, primary


def guessed_kind(job_name: str) -> RefKind:
    """What sort of ref a job of a multibranch project is for, by the names that branch sources give."""
    return RefKind.CHANGE_REQUEST if _CHANGE_REQUEST.match(job_name) else RefKind.BRANCH


def _names(view: Json) -> Iterator[str]:
    return (job["name"] for job in objects(view, "jobs") if isinstance(job.get("name"), str))
