"""Changes of runs and jobs as CDEvents 0.5: which of its types one is, and its content.

Source: CDEvents v0.5.1, core.md and cloudevents-binding.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from exporter.model.events import RUNS, Event
from exporter.model.runs import Status

SPEC_VERSION = "0.5.1"
_TYPE_VERSION = "0.3.0"
_PREDICATES: Mapping[str, str] = {
    Status.CREATED: "queued",
    Status.PENDING: "queued",
    Status.RUNNING: "started",
    Status.SUCCESS: "finished",
    Status.FAILED: "finished",
    Status.CANCELED: "finished",
    Status.SKIPPED: "finished",
}
_OUTCOMES: Mapping[str, str] = {
    Status.SUCCESS: "success",
    Status.FAILED: "failure",
    Status.CANCELED: "cancel",
    Status.SKIPPED: "cancel",
}
_TYPES = frozenset({"pipelinerun.queued", "pipelinerun.started", "pipelinerun.finished"}) | frozenset(
    {"taskrun.started", "taskrun.finished"}
)


def cdevent(event: Event, timestamp: str) -> dict[str, Any] | None:
    """*event* as CDEvent; ``None`` if CDEvents has no type for it.

    That is so for events that a source sent, for a job that waits, for a run or job that waits for a person,
    and for a run that goes from one way of being queued to another.
    """
    if event.stream != RUNS:
        return None
    data = json.loads(event.data)
    subject = "taskrun" if "job" in data else "pipelinerun"
    one = data["job" if "job" in data else "run"]
    predicate = _PREDICATES.get(one["status"])
    type_ = f"{subject}.{predicate}"
    if type_ not in _TYPES or (predicate == "queued" == _PREDICATES.get(data["previous_status"] or "")):
        return None
    content = _task(data) if subject == "taskrun" else _pipeline(data)
    if predicate == "finished":
        content["outcome"] = _OUTCOMES[one["status"]]
    return {
        "context": {
            "specversion": SPEC_VERSION,
            "id": event.id,
            "source": event.source,
            "type": f"dev.cdevents.{type_}.{_TYPE_VERSION}",
            "timestamp": timestamp,
        },
        "subject": {"id": event.subject, "source": event.source, "content": content},
        "customData": data,
        "customDataContentType": "application/json",
    }


def _pipeline(data: Mapping[str, Any]) -> dict[str, Any]:
    run = data["run"]
    # A source with one pipeline for each project gives it no name of its own.
    return {"pipelineName": run["pipeline"] or data["project"]["name"]} | _uri(run)


def _task(data: Mapping[str, Any]) -> dict[str, Any]:
    job = data["job"]
    content = {"taskName": job["name"], "pipelineRun": {"id": f"runs/{job['run_id']}"}} | _uri(job)
    if job["failure_reason"]:
        content["errors"] = job["failure_reason"]
    return content


def _uri(one: Mapping[str, Any]) -> dict[str, str]:
    return {"uri": one["web_url"]} if one["web_url"] else {}
