"""The families about deployments and change requests that every CI system shares, and how they are filled.

Those of change requests have the names that OpenTelemetry suggests for its ``vcs.change.*`` metrics, with
dots as underscores and the unit behind. They differ where OpenTelemetry wants a series for each change:

* ``vcs.change.time_to_approval`` and ``vcs.change.time_to_merge`` are gauges with the name of the branch
  there. Here they are histograms, into which each change goes once: a project has thousands of changes, and
  quantiles over many of them are what people ask for.
* ``vcs.change.count`` counts changes of every state. Here it counts those that are open (or wip) now; the
  others only grow, so they are the counter ``vcs_change_ended_total``. It is called ``vcs_changes``, since
  Prometheus keeps ``_count`` for histograms.
* ``vcs.change.duration`` is a gauge for each change. Here ``vcs_change_oldest_timestamp_seconds`` tells of
  the oldest one of each state.
* Labels are ``provider`` and ``project`` as everywhere here, not ``vcs.provider.name`` and the URL of the
  repository, so that they can be joined with ``ci_…`` families.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from exporter.clock import timestamp
from exporter.families import Family, Sample, counter, gauge, histogram
from exporter.model.delivery import ENDED, OPENED, ChangeState, Standing, Tier
from exporter.model.runs import Status
from exporter.model.views import UnitView

_HOUR, _DAY = 3600, 86_400
LEAD_BUCKETS = (
    600,
    1800,
    _HOUR,
    4 * _HOUR,
    12 * _HOUR,
    _DAY,
    2 * _DAY,
    4 * _DAY,
    7 * _DAY,
    14 * _DAY,
    30 * _DAY,
)
CHANGE_BUCKETS = (300, *LEAD_BUCKETS)
DEPLOYED = (Status.SUCCESS, Status.FAILED, Status.CANCELED)
"""How a deployment can end; one that was skipped never began."""

_PROJECT = ("provider", "project")
_ENVIRONMENT = (*_PROJECT, "environment")
_POLLED = "From the last poll, not the moment of the scrape."
_NEWEST = "newest deployment of each environment"

ENVIRONMENT_INFO = gauge(
    "ci_deployment_environment_info",
    f"An environment that can be deployed to, and what it is for. {_POLLED}",
    (*_ENVIRONMENT, "tier"),
    source="environments",
)
ENVIRONMENTS = gauge(
    "ci_deployment_environments",
    f"Environments that can be deployed to; several where alike ones are shown as one. {_POLLED}",
    _ENVIRONMENT,
    source="environments",
)
DEPLOYMENT_STATUS = gauge(
    "ci_deployment_status",
    f"1 for the status of the newest deployment of an environment. {_POLLED}",
    (*_ENVIRONMENT, "status"),
    source=_NEWEST,
)
LAST_CREATED = gauge(
    "ci_deployment_last_created_timestamp_seconds",
    f"When the newest deployment of an environment was created. {_POLLED}",
    _ENVIRONMENT,
    unit="seconds",
    source=_NEWEST,
)
LAST_FINISHED = gauge(
    "ci_deployment_last_finished_timestamp_seconds",
    f"When the newest deployment of an environment ended, once it did. {_POLLED}",
    _ENVIRONMENT,
    unit="seconds",
    source=_NEWEST,
)
LAST_DURATION = gauge(
    "ci_deployment_last_duration_seconds",
    f"From the creation of the newest deployment of an environment to its end. {_POLLED}",
    _ENVIRONMENT,
    unit="seconds",
    source=_NEWEST,
)
LAST_JOB_DURATION = gauge(
    "ci_deployment_last_job_duration_seconds",
    f"How long the job ran that made the newest deployment of an environment. {_POLLED}",
    _ENVIRONMENT,
    unit="seconds",
    source=_NEWEST,
)
BEHIND_COMMITS = gauge(
    "ci_deployment_behind_commits",
    f"Commits on the default branch that the newest successful deployment of an environment lacks. {_POLLED}",
    _ENVIRONMENT,
    source="newest successful deployment of each environment",
)
BEHIND_SECONDS = gauge(
    "ci_deployment_behind_seconds",
    "How much older the commit deployed last with success is than the newest one of the default branch."
    f" {_POLLED}",
    _ENVIRONMENT,
    unit="seconds",
    source="newest successful deployment of each environment",
)
DEPLOYMENTS_TOTAL = counter(
    "ci_deployment_finished_total",
    "Deployments that ended, each counted once and kept over restarts.",
    (*_PROJECT, "tier", "status"),
    source="every finished deployment",
)
LEAD_TIME = histogram(
    "ci_deployment_lead_time_seconds",
    "From the commit to the end of deployments that succeeded, each observed once and kept over restarts.",
    (*_PROJECT, "tier"),
    buckets=LEAD_BUCKETS,
    unit="seconds",
    source="every successful deployment",
)

DEPLOYMENT_FAMILIES: tuple[Family, ...] = (
    ENVIRONMENT_INFO,
    ENVIRONMENTS,
    DEPLOYMENT_STATUS,
    LAST_CREATED,
    LAST_FINISHED,
    LAST_DURATION,
    LAST_JOB_DURATION,
    BEHIND_COMMITS,
    BEHIND_SECONDS,
    DEPLOYMENTS_TOTAL,
    LEAD_TIME,
)

CHANGES = gauge(
    "vcs_changes",
    f"Change requests that are open now; those in state wip are not ready to be reviewed. {_POLLED}",
    (*_PROJECT, "state"),
    source="open change requests",
)
OLDEST_CHANGE = gauge(
    "vcs_change_oldest_timestamp_seconds",
    f"When the oldest open change request of a state was created. {_POLLED}",
    (*_PROJECT, "state"),
    unit="seconds",
    source="open change requests",
)
CHANGES_ENDED = counter(
    "vcs_change_ended_total",
    "Change requests that were merged or closed, counted once and kept over restarts; one that is opened"
    " again and closed again was closed twice.",
    (*_PROJECT, "state"),
    source="every merged or closed change request",
)
TIME_TO_FIRST_REVIEW = histogram(
    "vcs_change_time_to_first_review_seconds",
    "From the creation of change requests to the first comment or approval of another one than their author,"
    " each observed once and kept over restarts.",
    _PROJECT,
    buckets=CHANGE_BUCKETS,
    unit="seconds",
    source="every reviewed change request",
)
TIME_TO_APPROVAL = histogram(
    "vcs_change_time_to_approval_seconds",
    "From the creation of change requests to the first approval, each observed once and kept over restarts.",
    _PROJECT,
    buckets=CHANGE_BUCKETS,
    unit="seconds",
    source="every approved change request",
)
TIME_TO_MERGE = histogram(
    "vcs_change_time_to_merge_seconds",
    "From the creation of change requests to their merge, each observed once and kept over restarts.",
    _PROJECT,
    buckets=CHANGE_BUCKETS,
    unit="seconds",
    source="every merged change request",
)

CHANGE_FAMILIES: tuple[Family, ...] = (
    CHANGES,
    OLDEST_CHANGE,
    CHANGES_ENDED,
    TIME_TO_FIRST_REVIEW,
    TIME_TO_APPROVAL,
    TIME_TO_MERGE,
)
_PERSISTED = {
    family.name: family for family in DEPLOYMENT_FAMILIES + CHANGE_FAMILIES if family.kind != "gauge"
}
_ENDS = {DEPLOYMENTS_TOTAL: DEPLOYED, CHANGES_ENDED: ENDED}


def deployment_samples(
    provider: str, project: str, standings: Mapping[str, Standing]
) -> dict[Family, list[Sample]]:
    """What is exposed of a project's environments, by their names; what is unknown is left out."""
    found: dict[Family, list[Sample]] = {
        family: [] for family in DEPLOYMENT_FAMILIES if family.kind == "gauge"
    }
    for name, standing in sorted(standings.items()):
        _add_environment(found, (provider, project, name), standing)
    return found


def _add_environment(found: dict[Family, list[Sample]], labels: tuple[str, ...], standing: Standing) -> None:
    newest, behind = standing.newest, standing.behind
    found[ENVIRONMENT_INFO].append(Sample((*labels, standing.tier.value), 1.0))
    values: list[tuple[Family, float | datetime | None]] = [(ENVIRONMENTS, float(standing.environments))]
    if newest is not None:
        found[DEPLOYMENT_STATUS].append(Sample((*labels, newest.status.value), 1.0))
        values += [
            (LAST_CREATED, newest.created_at),
            (LAST_FINISHED, newest.finished_at),
            (LAST_DURATION, newest.duration_seconds),
            (LAST_JOB_DURATION, newest.job_seconds),
        ]
    if behind is not None:
        values += [(BEHIND_COMMITS, float(behind.commits)), (BEHIND_SECONDS, behind.seconds)]
    for family, value in values:
        if value is not None:
            found[family].append(Sample(labels, timestamp(value) if isinstance(value, datetime) else value))


def change_samples(
    provider: str, project: str, opened: Iterable[tuple[ChangeState, datetime]]
) -> dict[Family, list[Sample]]:
    """What is exposed of a project's open change requests, given as state and time of creation."""
    since: dict[ChangeState, list[datetime]] = {state: [] for state in OPENED}
    for state, created_at in opened:
        since[state].append(created_at)
    counts = [Sample((provider, project, state.value), float(len(times))) for state, times in since.items()]
    oldest = [
        Sample((provider, project, state.value), timestamp(min(times)))
        for state, times in since.items()
        if times
    ]
    return {CHANGES: counts, OLDEST_CHANGE: oldest}


def tier_of(word: str) -> Tier:
    """The tier of that name; another word, or none, is unknown."""
    return Tier(word) if word in list(Tier) else Tier.UNKNOWN


def total_samples(provider: str, view: UnitView) -> dict[Family, list[Sample]]:
    """The persisted totals of a unit; a counter that has any label set shows every way to end.

    What does not fit our families was written by another version: kept in the store, not shown.
    """
    found: dict[Family, list[Sample]] = {}
    for total in sorted(view.totals, key=lambda total: tuple(map(str, total.labels))):
        family = _PERSISTED.get(total.family)
        if family is None or len(total.labels) + 2 != len(family.labels):
            continue
        if (total.buckets is None) != (family.kind == "counter"):
            continue
        value = total.value if total.buckets is None else family.distribution(total.buckets, total.value)
        found.setdefault(family, []).append(Sample((provider, view.name, *total.labels), value))
    for family in found.keys() & _ENDS.keys():
        _add_zeros(found[family], [end.value for end in _ENDS[family]])
    return found


def _add_zeros(into: list[Sample], ends: Iterable[str]) -> None:
    """Show every way to end: a counter that first appears at 1 shows no increase to ``rate()``."""
    seen = {sample.labels for sample in into}
    for labels in sorted({labels[:-1] for labels in seen}, key=str):
        into.extend(Sample((*labels, end), 0.0) for end in ends if (*labels, end) not in seen)
    into.sort(key=lambda sample: tuple(map(str, sample.labels)))
