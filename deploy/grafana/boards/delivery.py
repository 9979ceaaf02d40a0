"""The board of deployments and of change requests."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, label_choice, source_choice, window_choice
from deploy.grafana.boards.overview import quantiles
from deploy.grafana.boards.panels import Column, Head, Query, lines, number, rows
from deploy.grafana.boards.promql import (
    RANGE,
    WINDOW,
    age,
    gauge,
    grown,
    once,
    or_zero,
    per_hour,
    quantile,
    select,
    success_rate,
    total,
)

_ENDED, _LEAD = "ci_deployment_finished_total", "ci_deployment_lead_time_seconds"
_CHANGES, _CHANGES_ENDED = "vcs_changes", "vcs_change_ended_total"
_REVIEW = "vcs_change_time_to_first_review_seconds"
_APPROVAL = "vcs_change_time_to_approval_seconds"
_MERGE = "vcs_change_time_to_merge_seconds"
_PRODUCTION = 'tier="production"'
_NO_DEPLOYMENT = "nothing was deployed in this time range"
_NO_ENVIRONMENT = "no environment is known"
_NO_CHANGE = "no change request ended in this time range"
_NONE_OPEN = "no change request is open"


def delivery() -> Dashboard:
    """What is deployed where and how old it is, and how long changes take to get there."""
    known = '{__name__=~"ci_deployment_environment_info|vcs_changes"}'
    chosen = known.replace("}", ', provider=~"$provider"}')
    return board(
        "delivery",
        "Deployments and changes",
        "What is deployed where, how old it is and how often that fails; how long change requests wait for"
        " review, approval and merge. Needs the collectors of deployments and of change requests.",
        variables=[
            source_choice(),
            label_choice("provider", "Provider", known),
            label_choice("project", "Project", chosen),
            window_choice(),
        ],
        rows=[
            Row(1, "In this time range", _numbers()),
            Row(2, "Deployments", _deployments()),
            Row(3, "Change requests", _changes()),
        ],
        since="now-7d",
    )


def _numbers() -> list[Panel]:
    return [*_deployment_numbers(), *_change_numbers()]


def _deployment_numbers() -> list[Panel]:
    often = Head(
        11,
        "To production",
        "short",
        "Deployments to production that succeeded in the time range.",
        _NO_DEPLOYMENT,
    )
    rate = Head(
        12,
        "Success rate",
        "percentunit",
        "Successful deployments, to any environment, of those that succeeded or failed.",
        _NO_DEPLOYMENT,
    )
    lead = Head(
        13,
        "Lead time, p50",
        "s",
        "Half of the successful deployments were of a commit no older than this.",
        _NO_DEPLOYMENT,
    )
    behind = Head(
        14,
        "Most commits behind",
        "short",
        "How many commits of the default branch the environment lacks that lacks the most.",
        _NO_ENVIRONMENT,
    )
    to_production = total(grown(_ENDED, RANGE, _PRODUCTION, 'status="success"'))
    return [
        number(often, or_zero(f"round({to_production})", select(_ENDED))),
        number(rate, success_rate(_ENDED, RANGE), looks.SUCCESS),
        number(lead, quantile(0.5, _LEAD, RANGE)),
        number(behind, f"max({gauge('ci_deployment_behind_commits')})", looks.rising(20, 100)),
    ]


def _change_numbers() -> list[Panel]:
    merged = Head(15, "Merged", "short", "Change requests that were merged in the time range.", _NO_CHANGE)
    open_now = Head(16, "Open now", "short", "Change requests that are open, drafts too.", _NONE_OPEN)
    review = Head(
        17,
        "First review, p50",
        "s",
        "Half of the change requests got their first comment or approval of somebody else within this time.",
        _NO_CHANGE,
    )
    merge = Head(
        18, "Merge, p50", "s", "Half of the merged change requests were open no longer than this.", _NO_CHANGE
    )
    counted = total(grown(_CHANGES_ENDED, RANGE, 'state="merged"'))
    return [
        number(merged, or_zero(f"round({counted})", select(_CHANGES_ENDED))),
        number(open_now, total(gauge(_CHANGES))),
        number(review, quantile(0.5, _REVIEW, RANGE)),
        number(merge, quantile(0.5, _MERGE, RANGE)),
    ]


def _deployments() -> list[Panel]:
    tiers = Head(
        22, "Deployments per hour, by tier", "short", "Deployments that ended, whatever way.", _NO_DEPLOYMENT
    )
    ends = Head(
        23, "Deployments per hour, by result", "short", "Deployments to all environments.", _NO_DEPLOYMENT
    )
    lead = Head(
        24,
        "Lead time, by tier",
        "s",
        "From the commit to the end of half of the deployments that succeeded within the look back.",
        _NO_DEPLOYMENT,
    )
    behind = Head(
        25,
        "Commits behind, by environment",
        "short",
        "Commits of the default branch that the environments lack, of the ten that lack the most.",
        _NO_ENVIRONMENT,
    )
    most = f"topk(10, {total(gauge('ci_deployment_behind_commits'), 'project, environment')})"
    return [
        _environments(),
        lines(tiers, Query(per_hour(_ENDED, by="tier"), "{{tier}}"), stacked=True),
        lines(
            ends,
            Query(per_hour(_ENDED, by="status"), "{{status}}"),
            stacked=True,
            coloured=looks.STATUS_COLOURS,
        ),
        lines(lead, Query(quantile(0.5, _LEAD, WINDOW, "tier"), "{{tier}}")),
        lines(behind, Query(most, "{{project}}: {{environment}}")),
    ]


def _environments() -> Panel:
    head = Head(
        21,
        "Environments",
        "none",
        "The newest deployment of each environment, and how far the newest successful one is behind the"
        " default branch. A name that ends in /* stands for all environments of that folder.",
        _NO_ENVIRONMENT,
        width=24,
        height=10,
    )
    keys = "provider, project, environment"
    about = f"max by ({keys}, tier) ({select('ci_deployment_environment_info')})"
    status = f"max by ({keys}, status) ({select('ci_deployment_status')})"
    first = f"{about} * on ({keys}) group_left (status) {status}"

    def asked(family: str) -> str:
        return f"max by ({keys}) ({select(family)})"

    columns = [
        Column("provider", "Provider", width=120),
        Column("project", "Project"),
        Column("environment", "Environment"),
        Column("tier", "Tier", width=120),
        Column("status", "Status", mappings=looks.statuses(), width=110),
        Column("B", "Created", "dateTimeFromNow", width=140),
        Column("C", "Finished", "dateTimeFromNow", width=140),
        Column("D", "Duration", "s", width=100),
        Column("E", "Job ran", "s", width=100),
        Column("F", "Commits behind", "short", looks.rising(20, 100), width=140),
        Column("G", "Behind", "s", looks.rising(86_400, 7 * 86_400), width=110),
        Column("H", "Environments", "short", width=120),
    ]
    times = [f"1000 * {asked(f'ci_deployment_last_{what}_timestamp_seconds')}" for what in _TIMES]
    return rows(head, [first, *times, *map(asked, _VALUES)], columns, "Commits behind")


_TIMES = ("created", "finished")
_VALUES = (
    "ci_deployment_last_duration_seconds",
    "ci_deployment_last_job_duration_seconds",
    "ci_deployment_behind_commits",
    "ci_deployment_behind_seconds",
    "ci_deployment_environments",
)


def _changes() -> list[Panel]:
    opened = Head(
        31,
        "Open change requests, by state",
        "short",
        "Those in state wip are drafts: not ready to be reviewed.",
        _NONE_OPEN,
    )
    ended = Head(
        32, "Change requests merged and closed per hour", "short", "How many ended, by how.", _NO_CHANGE
    )
    review = Head(
        33,
        "Time to first review",
        "s",
        "From the creation of a change request to the first comment or approval of somebody else.",
        _NO_CHANGE,
    )
    approval = Head(
        34,
        "Time to approval",
        "s",
        "From the creation of a change request to its first approval.",
        _NO_CHANGE,
    )
    merge = Head(35, "Time to merge", "s", "From the creation of a change request to its merge.", _NO_CHANGE)
    oldest = Head(
        36,
        "Oldest open change requests, by project",
        "s",
        "For how long the oldest one of a project has been open that is ready to be reviewed, of the ten"
        " oldest.",
        _NONE_OPEN,
    )
    since = f"min by (project) ({once(select('vcs_change_oldest_timestamp_seconds', _READY))})"
    return [
        lines(opened, Query(total(gauge(_CHANGES), "state"), "{{state}}"), stacked=True),
        lines(ended, Query(per_hour(_CHANGES_ENDED, by="state"), "{{state}}"), stacked=True),
        lines(review, *quantiles(_REVIEW)),
        lines(approval, *quantiles(_APPROVAL)),
        lines(merge, *quantiles(_MERGE)),
        lines(oldest, Query(f"topk(10, {age(since)})", "{{project}}")),
    ]


_READY = 'state="open"'
