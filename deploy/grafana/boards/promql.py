"""Pieces of PromQL that the boards share.

Replicas on one store show the same totals, so `max without (instance, pod)` takes one of them before anything
is summed, as the recording rules do. Only success and failed are judged: a canceled or skipped run says
nothing about the code.
"""

from __future__ import annotations

SELECTED = 'provider=~"$provider", project=~"$project"'
# The dashboard's time range, and the sliding window that its user chose.
RANGE, WINDOW = "$__range", "$window"
# Before and at work; `manual` waits for a person, not for a machine.
ACTIVE = 'status=~"created|pending|running"'
JUDGED = 'status=~"success|failed"'
FAILED = 'status="failed"'


def select(family: str, *matchers: str, scope: str = SELECTED) -> str:
    """The series of *family* that the board's variables select, narrowed by *matchers*."""
    return f"{family}{{{', '.join(filter(None, (scope, *matchers)))}}}"


def once(expression: str) -> str:
    """*expression* with the series of all replicas as one."""
    return f"max without (instance, pod) ({expression})"


def gauge(family: str, *matchers: str, scope: str = SELECTED) -> str:
    """What *family* shows now."""
    return once(select(family, *matchers, scope=scope))


def grown(family: str, window: str, *matchers: str, scope: str = SELECTED) -> str:
    """By how much the counter *family* grew within *window*."""
    return once(f"increase({select(family, *matchers, scope=scope)}[{window}])")


def per_hour(family: str, *matchers: str, by: str) -> str:
    """How much the counter *family* grows in an hour, averaged over the look back, for each value of *by*."""
    return f"3600 * {total(once(f'rate({select(family, *matchers)}[{WINDOW}])'), by)}"


def total(expression: str, by: str = "") -> str:
    """*expression* summed up, for each value of the labels *by*."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def share(part: str, whole: str, by: str = "") -> str:
    """*part* of *whole*, 0 to 1: 0 where there is none of *part*, nothing where *whole* is 0."""
    return f"({total(part, by)} or 0 * {total(whole, by)}) / ({total(whole, by)} > 0)"


def success_rate(family: str, window: str, by: str = "", scope: str = SELECTED) -> str:
    """Of what finished within *window* as success or failed, the share that succeeded; 0 to 1."""
    good = grown(family, window, 'status="success"', scope=scope)
    return share(good, grown(family, window, JUDGED, scope=scope), by)


def quantile(fraction: float, family: str, window: str, by: str = "", scope: str = SELECTED) -> str:
    """A quantile of what the histogram *family* observed within *window*; nothing where that is nothing."""
    labels = f"le, {by}" if by else "le"
    buckets = total(grown(f"{family}_bucket", window, scope=scope), labels)
    return f"histogram_quantile({fraction:g}, {buckets}) >= 0"  # >= 0: not a number is left out


def top(number: int, expression: str) -> str:
    """The *number* greatest of *expression*, those that are not above 0 left out."""
    return f"topk({number}, {expression} > 0)"


def or_zero(expression: str, witness: str) -> str:
    """A sum, and 0 where it has no series although *witness* has: nobody reports is not the same as none."""
    return f"{expression} or 0 * count({witness})"


def age(timestamp: str) -> str:
    """How long ago *timestamp* was, in seconds; clocks that differ do not make it negative."""
    return f"clamp_min(time() - {timestamp}, 0)"


def broken() -> str:
    """1 for each default branch and trigger whose newest run failed; not for child pipelines."""
    failed = gauge("ci_pipeline_status", FAILED, 'ref_kind="branch"', 'source!="parent_pipeline"')
    defaults = select("ci_project_info", 'default_branch!=""')
    as_ref = f'label_replace({defaults}, "ref", "$1", "default_branch", "(.+)")'
    return f"{failed} == 1 and on (provider, project, ref) {as_ref}"
