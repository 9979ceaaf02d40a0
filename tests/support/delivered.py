"""What the totals of deployments and merge requests must be, computed from the stand-in's own records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.truth import Totals

Told = Iterable[Mapping[str, Any]]
_TIMES = {
    "vcs_change_time_to_first_review_seconds": "first_review_at",
    "vcs_change_time_to_approval_seconds": "first_approval_at",
    "vcs_change_time_to_merge_seconds": "merged_at",
}


def expected_deployments(deployments: Told, since: str) -> Totals:
    """``(family, project, tier, status) -> count`` of ends, and of lead times, at or after *since*."""
    found: Totals = Counter()
    for one in deployments:
        if not one["project"].startswith("acme/"):
            continue  # watched are the projects of the group, not those of users
        for end in one["ends"]:
            if end["at"] >= since:
                found["ci_deployment_finished", one["project"], one["tier"], end["status"]] += 1
                if end["status"] == "success":
                    found["ci_deployment_lead_time_seconds", one["project"], one["tier"], ""] += 1
    return found


def expected_changes(changes: Told, since: str) -> Totals:
    """``(family, project, state) -> count`` of what happened at or after *since*."""
    found: Totals = Counter()
    for one in changes:
        if not one["project"].startswith("acme/"):
            continue
        ends = [("closed", at) for at in one["closings"]] + [("merged", one["merged_at"])]
        for state, at in ends:
            found["vcs_change_ended", one["project"], state] += bool(at and at >= since)
        for family, key in _TIMES.items():
            found[family, one["project"], ""] += bool(one[key] and one[key] >= since)
    return +found


def open_changes(changes: Told) -> Totals:
    """``(project, state) -> count`` of merge requests that are open now."""
    return Counter(
        (one["project"], "wip" if one["draft"] else "open")
        for one in changes
        if one["state"] == "opened" and one["project"].startswith("acme/")
    )


def seconds_of(changes: Told, family: str) -> float:
    """The sum of all times of a family."""
    spans = [(one["created_at"], one[_TIMES[family]]) for one in changes if one[_TIMES[family]]]
    times = [(datetime.fromisoformat(begin), datetime.fromisoformat(end)) for begin, end in spans]
    return sum((end - begin).total_seconds() for begin, end in times)


def counted(exposition: str, *labels: str) -> Totals:
    """``(family, *labels) -> count`` of every counter and histogram; zeros left out, missing labels empty."""
    found: Totals = Counter()
    for metric in text_string_to_metric_families(exposition):
        suffix = {"counter": "_total", "histogram": "_count"}.get(metric.type)
        for sample in metric.samples:
            if suffix and sample.name.endswith(suffix):
                found[metric.name, *(sample.labels.get(label, "") for label in labels)] += int(sample.value)
    return +found


def shown_open(exposition: str) -> Totals:
    """What ``vcs_changes`` says, in the form of `open_changes`."""
    found: Totals = Counter()
    for metric in text_string_to_metric_families(exposition):
        if metric.name == "vcs_changes":
            for sample in metric.samples:
                found[sample.labels["project"], sample.labels["state"]] += int(sample.value)
    return +found


def at(moment: datetime) -> str:
    """*moment* as the stand-in writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
