"""GitLab's webhooks: how they prove themselves, and the runs and jobs that their payloads tell of.

A payload is rewritten as the REST API would have told the same, and read by the same mapping.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from collectors._hooks import body_object, equal
from collectors.gitlab import mapping
from collectors.gitlab.reader import Memory, RunRef
from collectors.gitlab.settings import GitLabConfig, Hooks
from collectors.gitlab.values import (
    Json,
    integer,
    json_object,
    parse_instant,
    seconds,
    text,
    text_or_empty,
)
from exporter.contract import Batch, Unit
from exporter.errors import BadAnswer
from exporter.hooks import Hook, HookNews, NotUnderstood
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

_WINDOW_SECONDS = 300  # how far the clock of a signed hook may be from ours
_MOST_SIGNATURES = 10
_LONGEST_WAIT = (
    10 * 365 * 86_400.0
)  # seconds; what is longer is no wait, and no time could be counted with it
_ZONE = re.compile(r" (?=[+-]\d\d:?\d\d\Z)")
# A pipeline that the list shows as of this very instant would look as if it had been read in full.
_NEVER_LISTED = timedelta(microseconds=1)
_NO_COMMIT = re.compile("0{40,}")
_MERGE_REQUEST_ACTIONS = ("open", "reopen", "update")


def is_configured(settings: Hooks) -> bool:
    """Whether there is anything that a hook could prove itself with."""
    return bool(settings.key or settings.signing_key)


def is_authentic(hook: Hook, settings: Hooks) -> bool:
    """Whether *hook* is signed with the signing token or, where none is configured, carries the secret."""
    if settings.signing_token is None:
        return equal(hook.headers.get("x-gitlab-token", ""), settings.key)
    return _is_signed(hook, settings.signing_key)


def _is_signed(hook: Hook, key: bytes) -> bool:
    """Whether one of the signatures is ours, and not older or newer than 5 minutes.

    Source:
        GitLab, app/services/web_hook_service.rb; https://www.standardwebhooks.com.
    """
    number, moment = hook.headers.get("webhook-id", ""), hook.headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"\d{1,12}", moment, re.ASCII):
        return False
    if abs(hook.received_at.timestamp() - int(moment)) > _WINDOW_SECONDS:
        return False
    signed = f"{number}.{moment}.".encode("utf-8", "surrogateescape") + hook.body
    wanted = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    given = hook.headers.get("webhook-signature", "").split()[:_MOST_SIGNATURES]
    found = [hmac.compare_digest(one.encode("utf-8", "surrogateescape"), wanted) for one in given]
    return any(found)


def hook_id(hook: Hook) -> str:
    """What GitLab made once for this hook, and repeats when it sends the hook again."""
    return hook.headers.get("idempotency-key") or hook.headers.get("webhook-id", "")


class HookReader:
    """What hooks say; knows from polls, and from hooks before, which ref a pipeline is for."""

    def __init__(self, config: GitLabConfig, memory: Memory, unknown: mapping.Unknown) -> None:
        self._config = config
        self._memory = memory
        self._unknown = unknown
        self._kinds: dict[str, Callable[[Json], list[HookNews]]] = {
            "pipeline": self._pipeline,
            "build": self._job,
            "push": self._push,
            "tag_push": self._push,
            "merge_request": self._merge_request,
            "deployment": self._of_no_pipeline,
            "note": self._of_no_pipeline,
        }

    def read(self, hook: Hook) -> list[HookNews]:
        """The news in *hook*, none if it says nothing of pipelines.

        Raises:
            NotUnderstood: it is of another kind or shape; the message shows nothing of its content.
        """
        body = body_object(hook)
        kind = body.get("object_kind")
        reader = self._kinds.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise NotUnderstood("a hook of another kind")
        try:
            return reader(body)
        except BadAnswer as error:
            raise NotUnderstood(str(error)) from error

    # -- pipelines -----------------------------------------------------------------------------

    def _pipeline(self, body: Json) -> list[HookNews]:
        """A pipeline as it is now, with its jobs; a poll where the payload does not tell enough.

        It does not say for which ref of a merge request a pipeline is, nor how an execution ended that
        is not the present one.
        """
        unit = unit_of(body)
        attributes = json_object(body.get("object_attributes"), "object_attributes")
        run_id, ref = integer(attributes, "id"), self._ref(unit, body, attributes)
        if ref is None:
            return [HookNews(unit)]
        self._memory.note_ref((unit.key, run_id), ref)
        if not ref.counts:
            return []
        run = mapping.run(
            _as_detail(body, attributes, ref), selects=self._config.refs.selects, unknown=self._unknown
        )
        if run.status.finished and run.status is not Status.SKIPPED and run.finished_at is None:
            return [HookNews(unit)]
        jobs = self._builds(body, run_id)
        news = HookNews(unit, Batch(runs=(_told(run, attributes, body, jobs),), jobs=tuple(jobs)))
        goes_on_again = not run.status.finished and attributes.get("finished_at") is not None
        return [news, HookNews(unit)] if goes_on_again else [news]

    def _ref(self, unit: Unit, body: Json, attributes: Json) -> RunRef | None:
        """Which ref the pipeline is for, and whether it is wanted; ``None`` if only GitLab can tell.

        For a merge request, the payload names its source branch in place of the pipeline's own ref.
        """
        source, tag = attributes.get("source"), attributes.get("tag")
        if not isinstance(source, str) or not isinstance(tag, bool):
            return None  # an old GitLab
        known = self._memory.refs.get((unit.key, integer(attributes, "id")))
        if known is not None:
            return known
        child = source == mapping.CHILD
        if child and not self._config.child_pipelines:
            return RunRef(RefKind.BRANCH, "", counts=False)
        if body.get("merge_request") or source == "merge_request_event":
            return self._memory.refs.get((unit.key, _parent_of(body))) if child else None
        name = text(attributes, "ref")
        kind = mapping.ref_kind(name, tag=tag)
        refs = self._config.refs
        return RunRef(kind, name, counts=refs.count == "all" or refs.selects(kind, name))

    def _builds(self, body: Json, run_id: int) -> list[JobRun]:
        builds = body.get("builds")
        if not self._config.jobs.enabled or not isinstance(builds, list):
            return []
        return list(self._jobs((_with_iso_times(build) for build in builds), _web_url(body), run_id))

    # -- jobs ----------------------------------------------------------------------------------

    def _job(self, body: Json) -> list[HookNews]:
        """A job as it is now; of a pipeline that is not known a poll tells more than its jobs.

        That a job waits is told before its pipeline is: it is no reason to poll.
        """
        unit = Unit(str(integer(body, "project_id")), "")
        run_id = integer(body, "pipeline_id")
        build = {key.removeprefix("build_"): value for key, value in body.items() if key.startswith("build_")}
        build["runner"] = body.get("runner")
        jobs = tuple(self._jobs(iter([_with_iso_times(build)]), _web_url(body), run_id))
        ref = self._memory.refs.get((unit.key, run_id))
        if not jobs or not self._config.jobs.enabled or (ref and not ref.counts):
            return []
        return [HookNews(unit, Batch(jobs=jobs) if ref else None)]

    def _jobs(self, builds: Iterator[dict[str, Any]], web_url: str, run_id: int) -> Iterator[JobRun]:
        """Those that started, ended or were skipped.

        The others tell nothing yet, and carry no time that shows whether they are old news. One that ended
        nobody knows when would be counted once more when a poll tells it.
        """
        for build in builds:
            address = f"{web_url}/-/jobs/{integer(build, 'id')}" if web_url else None
            job = mapping.job(build | {"web_url": address}, run_id, unknown=self._unknown)
            if (
                job.finished_at
                or job.status is Status.SKIPPED
                or (job.started_at and not job.status.finished)
            ):
                yield job

    # -- what only announces news ----------------------------------------------------------------

    def _push(self, body: Json) -> list[HookNews]:
        """A push soon makes a pipeline; one that deletes a ref does not."""
        unit = Unit(str(integer(body, "project_id")), "")
        return [] if _NO_COMMIT.fullmatch(text_or_empty(body, "after")) else [HookNews(unit)]

    def _merge_request(self, body: Json) -> list[HookNews]:
        """New commits of a merge request soon make a pipeline; labels and approvals do not."""
        unit = unit_of(body)
        attributes = json_object(body.get("object_attributes"), "object_attributes")
        action = attributes.get("action")
        if action not in _MERGE_REQUEST_ACTIONS or (action == "update" and not attributes.get("oldrev")):
            return []
        return [HookNews(unit)]

    def _of_no_pipeline(self, body: Json) -> list[HookNews]:
        """Nothing: of a deployment, its job tells the same; others are for other collectors."""
        unit_of(body)
        return []


def unit_of(body: Json) -> Unit:
    """The project that a hook is about."""
    project = json_object(body.get("project"), "project")
    return Unit(str(integer(project, "id")), text_or_empty(project, "path_with_namespace"))


def _parent_of(body: Json) -> int:
    """The id of the pipeline that started this one; -1 if the payload does not tell."""
    source = body.get("source_pipeline")
    number = source.get("pipeline_id") if isinstance(source, dict) else None
    return number if isinstance(number, int) else -1


def _web_url(body: Json) -> str:
    """The address of the project; older payloads have it in another place."""
    for place, key in (("project", "web_url"), ("repository", "homepage")):
        entry = body.get(place)
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            return str(entry[key])
    return ""


def _as_detail(body: Json, attributes: Json, ref: RunRef) -> dict[str, Any]:
    """The pipeline as REST tells it; without coverage, and with times in whole seconds as they come.

    GitLab gives no start. It leaves the wait out before the start, and if it was shorter than a second.
    """
    created_at = _moment(attributes.get("created_at"))
    if created_at is None:
        raise BadAnswer("created_at should be a time")
    wait = seconds(attributes.get("queued_duration"))
    if wait is None or wait > _LONGEST_WAIT:
        started = any(build.get("started_at") for build in _builds_of(body))
        wait = 0.0 if started or attributes.get("duration") is not None else None
    finished_at = _moment(attributes.get("finished_at"))
    ended = mapping.STATUSES.get(text(attributes, "status"), Status.UNKNOWN).finished
    return {
        "id": attributes.get("id"),
        "status": attributes.get("status"),
        "ref": ref.ref,
        "tag": ref.kind is RefKind.TAG,
        "source": attributes.get("source"),
        "sha": attributes.get("sha"),
        "created_at": created_at.isoformat(),
        "started_at": None if wait is None else (created_at + timedelta(seconds=wait)).isoformat(),
        "finished_at": finished_at.isoformat() if finished_at and ended else None,
        "duration": attributes.get("duration"),
        "user": body.get("user"),
        "web_url": attributes.get("url") or f"{_web_url(body)}/-/pipelines/{attributes.get('id')}",
    }


def _told(run: PipelineRun, attributes: Json, body: Json, jobs: list[JobRun]) -> PipelineRun:
    """*run* with the time as of which it is told: the newest that the payload names.

    It is never later than the time that GitLab gives for the same state, so that what a poll reads of
    it always replaces what a hook told. A poll may have made out the end of an execution, from its last job,
    before a late hook tells it.
    """
    if run.finished_at:
        as_of = run.finished_at
        ends = [job.finished_at for job in jobs if job.finished_at and job.finished_at <= as_of]
        run = replace(run, ended_by=max(ends, default=None))
    else:
        times = [_moment(one.get(key)) for one in (attributes, *_builds_of(body)) for key in _TIMES]
        as_of = max(time for time in (run.created_at, *times) if time)
    commit = body.get("commit")
    title = text_or_empty(commit, "title") or _first_line(commit) if isinstance(commit, dict) else ""
    return replace(run, updated_at=as_of - _NEVER_LISTED, commit_title=title or None)


_TIMES = ("created_at", "started_at", "finished_at")


def _builds_of(body: Json) -> list[Json]:
    builds = body.get("builds")
    return [build for build in builds if isinstance(build, dict)] if isinstance(builds, list) else []


def _first_line(commit: Json) -> str:
    return text_or_empty(commit, "message").partition("\n")[0]


def _with_iso_times(build: Any) -> dict[str, Any]:
    """*build* with its times as REST writes them."""
    entry = dict(json_object(build, "build"))
    for key in _TIMES:
        moment = _moment(entry.get(key))
        entry[key] = moment.isoformat() if moment else None
    return entry


def _moment(value: Any) -> datetime | None:
    """A time in one of the three forms that hooks use; ``None`` for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return parse_instant(_ZONE.sub("", value.removesuffix(" UTC") + "Z" * value.endswith(" UTC")))
    except ValueError:
        return None
