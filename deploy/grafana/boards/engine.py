"""The rows on how the exporter works: calls to the sources, engine, store, series."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.panels import Column, Head, Query, lines, rows
from deploy.grafana.boards.promql import select, total

HERE = 'job=~"$exporter_job", instance=~"$instance"'
MINE = f'{HERE}, collector=~"$collector"'
RATE = "$__rate_interval"
NOT_OK = 'code!~"[123].."'
NOTHING = "the exporter is not scraped"
NO_CALLS = "no call in this time range"


def now(family: str, *matchers: str, scope: str = HERE) -> str:
    """What *family* shows now, on each instance."""
    return select(family, *matchers, scope=scope)


def rate(family: str, *matchers: str, scope: str = MINE) -> str:
    """How much the counter *family* grows per second."""
    return f"rate({select(family, *matchers, scope=scope)}[{RATE}])"


def quantile(family: str, by: str = "", scope: str = MINE) -> str:
    """The p95 of the histogram *family*."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.95, {total(rate(f'{family}_bucket', scope=scope), labels)}) >= 0"


def calls() -> list[Panel]:
    """Panels 31 to 35: how the exporter gets on with the sources."""
    codes = Head(
        31,
        "Calls per second, by status code",
        "reqps",
        "Calls to sources, by HTTP status; error is a call without an answer.",
        NO_CALLS,
    )
    operations = Head(
        32,
        "Calls per second, by operation",
        "reqps",
        "What the exporter asked the sources, the ten most frequent operations.",
        NO_CALLS,
    )
    latency = Head(
        33, "Duration of calls, p95", "s", "95 % of the calls of an operation took no longer.", NO_CALLS
    )
    left = Head(
        34,
        "Calls left, by collector",
        "short",
        "What the sources said is left of the allowance of calls. It jumps up when the allowance is renewed.",
        "no source tells",
    )
    failed = Head(
        35,
        "Failed calls per second, by operation",
        "reqps",
        "Calls to sources that failed, as the collector runner counts them.",
        "no call failed",
        width=24,
        height=6,
    )
    requests, seconds = "ci_exporter_api_requests_total", "ci_exporter_api_request_duration_seconds"
    limit = now("ci_exporter_api_rate_limit_remaining", scope=MINE)
    by_operation = f"topk(10, {total(rate(requests), 'collector, operation')})"
    errors = total(rate("ci_exporter_client_errors_total", scope=HERE), "method")
    return [
        lines(codes, Query(total(rate(requests), "code"), "{{code}}"), stacked=True),
        lines(operations, Query(by_operation, "{{collector}}: {{operation}}")),
        lines(latency, Query(quantile(seconds, "collector, operation"), "{{collector}}: {{operation}}")),
        lines(left, Query(f"min by (collector) ({limit})", "{{collector}}")),
        lines(failed, Query(f"{errors} > 0", "{{method}}")),
    ]


def engine() -> list[Panel]:
    """Panels 41 to 46: polls, waits, workers."""
    busy = Head(
        41,
        "Workers in use",
        "percentunit",
        "Units of work under way to those that can be at once. At 100 % for long, more is due than"
        " can be done.",
        NOTHING,
    )
    backoff = Head(
        42,
        "Wait between polls, by collector",
        "s",
        "The wait before jitter: the base while there is news, longer when there is none, or polls fail.",
        "nothing was polled yet",
    )
    polls = Head(
        43,
        "Polls per second, by result",
        "ops",
        "task brought news, empty nothing, error failed.",
        "nothing was polled in this time range",
    )
    length = Head(
        44,
        "Duration of polls and of units of work, p95",
        "s",
        "95 % of the polls of a collector took no longer; a unit of work is a poll and the saving of what it"
        " brought.",
        "nothing was polled in this time range",
    )
    ended = Head(
        45, "Units of work per second, by outcome", "ops", "Units of work that ended.", "nothing ended"
    )
    under_way = Head(
        46,
        "Units of work under way",
        "short",
        "How many there are at the scrape, how many can be, and how many wait because their collector has no"
        " worker free.",
        NOTHING,
    )
    per_poll = quantile("ci_exporter_poll_fetch_duration_seconds", "collector")
    per_job = quantile("ci_exporter_job_duration_seconds", "collector")
    waits = now("ci_exporter_poll_backoff_seconds", scope=MINE)
    return [
        lines(
            busy,
            Query(now("ci_exporter_job_capacity_utilization_ratio"), "{{instance}}"),
            maximum=1,
        ),
        lines(backoff, Query(f"max by (collector) ({waits})", "{{collector}}")),
        lines(
            polls, Query(total(rate("ci_exporter_poll_fetch_total"), "result"), "{{result}}"), stacked=True
        ),
        lines(length, Query(per_poll, "{{collector}}: poll"), Query(per_job, "{{collector}}: unit of work")),
        lines(
            ended,
            Query(total(rate("ci_exporter_job_total"), "status"), "{{status}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(
            under_way,
            Query(f"sum({now('ci_exporter_job_running')})", "under way"),
            Query(f"sum({now('ci_exporter_capacity')})", "can be at once"),
            Query(f"sum({now('ci_exporter_polls_waiting')})", "due, and waiting"),
        ),
    ]


def store() -> list[Panel]:
    """Panels 51 to 54: commits and deliveries."""
    commits = Head(
        51,
        "Commits per second, by result",
        "ops",
        "Commits to the store. One that fails loses nothing: what it held is read again.",
        NOTHING,
    )
    took = Head(
        52, "Duration of commits, p95", "s", "95 % of the commits took no longer, failed ones too.", NOTHING
    )
    deliveries = Head(
        53,
        "Deliveries per second, by result",
        "ops",
        "Deliveries of events to sinks such as Kafka; zero without any.",
        NOTHING,
    )
    buffer = Head(
        54,
        "Rows that wait to be delivered",
        "short",
        "It rises while a sink is down, and falls once it is back.",
        NOTHING,
    )
    state, log = "ci_exporter_report_state_total", "ci_exporter_report_log_total"
    seconds = quantile("ci_exporter_report_state_duration_seconds", scope=HERE)
    return [
        lines(
            commits,
            Query(total(rate(state, scope=HERE), "result"), "{{result}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(took, Query(seconds, "p95")),
        lines(
            deliveries,
            Query(total(rate(log, scope=HERE), "result"), "{{result}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(buffer, Query(f"sum({now('ci_exporter_report_log_buffer_rows')})", "rows")),
    ]


def series() -> list[Panel]:
    """Panels 61 to 64: how many series there are, and what is left out."""
    shown = Head(
        61,
        "Series, by collector",
        "short",
        "Series that each collector exposes; the greatest of the chosen instances.",
        NOTHING,
    )
    samples = Head(
        62,
        "Samples of a scrape",
        "short",
        "What Prometheus took from the exporter in the last scrape, the most of the chosen instances.",
        NOTHING,
    )
    dropped = Head(
        63,
        "Dropped series, by family and reason",
        "short",
        "Series left out since the start: over the cap (limit), or with the labels of another (duplicate).",
        "no series was dropped",
    )
    unknown = Head(
        64,
        "Unknown values, by kind",
        "short",
        "Values from a source since the start that this version does not know and shows as unknown.",
        "every value is known",
    )
    lost = now("ci_exporter_series_dropped_total")
    strange = now("ci_exporter_unknown_values_total", scope=MINE)
    exposed = now("ci_exporter_series", scope=MINE)
    return [
        lines(shown, Query(f"max by (collector) ({exposed})", "{{collector}}")),
        lines(samples, Query(f"max({now('scrape_samples_scraped')})", "samples")),
        rows(
            dropped,
            [f"{total(lost, 'family, reason')} > 0"],
            [Column("family", "Family"), Column("reason", "Reason"), Column("A", "Dropped", "short")],
            "Dropped",
        ),
        rows(
            unknown,
            [f"{total(strange, 'collector, kind')} > 0"],
            [Column("collector", "Collector"), Column("kind", "Kind"), Column("A", "Values", "short")],
            "Values",
        ),
    ]
