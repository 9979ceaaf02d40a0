"""The board of the exporter itself: how fresh its data are, and what it has trouble with."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, label_choice, source_choice
from deploy.grafana.boards.panels import Column, Head, Query, lines, number, rows
from deploy.grafana.boards.promql import RANGE, age, once, select, total

# The variable is named apart from the label, since other boards have jobs of CI.
_HERE = 'job=~"$exporter_job", instance=~"$instance"'
_MINE = f'{_HERE}, collector=~"$collector"'
_RATE = "$__rate_interval"
_NOT_OK = 'code!~"[123].."'
_NOTHING = "the exporter is not scraped"
_NO_CALLS = "no call in this time range"


def health() -> Dashboard:
    """The exporter: freshness, calls, engine, store, series, process."""
    known = 'ci_exporter_build_info{job=~"$exporter_job"}'
    collectors = f"ci_exporter_collector_success{{{_HERE}}}"
    return board(
        "health",
        "Exporter health",
        "How fresh the data are, how the exporter gets on with the sources, its own work, its store and its"
        " process. Panels on the engine need the collector runner under its own namespace.",
        variables=[
            source_choice(),
            label_choice("exporter_job", "Scrape job", "ci_exporter_build_info", "job"),
            label_choice("instance", "Instance", known),
            label_choice("collector", "Collector", collectors),
        ],
        rows=[
            Row(1, "Now", _numbers()),
            Row(2, "Collectors", _collectors()),
            Row(3, "Calls to the sources", _calls()),
            Row(4, "Engine", _engine()),
            Row(5, "Store and deliveries", _store()),
            Row(6, "Series", _series(), collapsed=True),
            Row(7, "Process and configuration", _process(), collapsed=True),
        ],
        since="now-6h",
    )


def _now(family: str, *matchers: str, scope: str = _HERE) -> str:
    return select(family, *matchers, scope=scope)


def _rate(family: str, *matchers: str, scope: str = _MINE) -> str:
    return f"rate({select(family, *matchers, scope=scope)}[{_RATE}])"


def _quantile(family: str, by: str = "", scope: str = _MINE) -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.95, {total(_rate(f'{family}_bucket', scope=scope), labels)}) >= 0"


def _numbers() -> list[Panel]:
    up = Head(11, "Instances up", "short", "Instances that Prometheus could scrape last time.", _NOTHING)
    leader = Head(
        12,
        "Leaders",
        "short",
        "Instances that poll. The others stand by; without a leader nobody polls.",
        _NOTHING,
    )
    failing = Head(
        13,
        "Failing collectors",
        "short",
        "Collectors whose last round had a failed poll, on an instance that polls.",
        _NOTHING,
    )
    oldest = Head(
        14,
        "Oldest data",
        "s",
        "How long ago the collector that is worst off last saved an answer.",
        "nothing was saved yet",
    )
    errors = Head(
        15,
        "Failed calls",
        "percentunit",
        "Of the calls to sources in the time range, the share that had no answer or one from 400 on.",
        _NO_CALLS,
    )
    limit = Head(
        16,
        "Calls left",
        "short",
        "The least that a source said is left of the allowance of calls.",
        "no source tells",
    )
    dropped = Head(
        17,
        "Series dropped",
        "short",
        "Series left out in the time range: over the cap, or with the labels of another one.",
        _NOTHING,
    )
    reloaded = Head(
        18, "Configuration taken", "none", "Whether every instance took its last configuration.", _NOTHING
    )
    bad = f"{_now('ci_exporter_collector_success', scope=_MINE)} == 0"
    judged = f"count({bad} and on (job, instance) {_now('ci_exporter_leader')} == 1)"
    saved = once(_now("ci_exporter_last_success_timestamp_seconds", scope=_MINE))
    calls = f"increase({_now('ci_exporter_api_requests_total', scope=_MINE)}[{RANGE}])"
    refused = f"increase({_now('ci_exporter_api_requests_total', _NOT_OK, scope=_MINE)}[{RANGE}])"
    some = f"0 * {total(calls)}"
    lost = f"increase({_now('ci_exporter_series_dropped_total')}[{RANGE}])"
    return [
        number(up, f"sum({_now('up')})", looks.falling(1, 1)),
        number(leader, f"sum({_now('ci_exporter_leader')})", looks.falling(1, 1)),
        number(
            failing,
            f"{judged} or 0 * count({_now('ci_exporter_collector_success', scope=_MINE)})",
            looks.ANY_IS_BAD,
        ),
        number(oldest, age(f"min({saved})"), looks.rising(600, 1800)),
        number(errors, f"({total(refused)} or {some}) / ({total(calls)} > 0)", looks.rising(0.01, 0.1)),
        number(limit, f"min({_now('ci_exporter_api_rate_limit_remaining', scope=_MINE)})"),
        number(
            dropped,
            f"round({total(lost)})",
            looks.ANY_IS_BAD,
        ),
        number(
            reloaded,
            f"min({_now('ci_exporter_config_last_reload_successful')})",
            looks.falling(1, 1),
            mappings=looks.yes_no(good=True),
        ),
    ]


def _collectors() -> list[Panel]:
    each = Head(
        21,
        "Collectors",
        "none",
        "Each collector: whether its last round went well, how old its data are, how long a round takes.",
        _NOTHING,
        width=14,
    )
    asked = [
        f"min by (instance, collector) ({_now('ci_exporter_collector_success', scope=_MINE)})",
        *(
            f"max by (instance, collector) ({expr})"
            for expr in (
                age(_now("ci_exporter_last_success_timestamp_seconds", scope=_MINE)),
                _now("ci_exporter_collector_duration_seconds", scope=_MINE),
                _now("ci_exporter_projects", scope=_MINE),
                _now("ci_exporter_series", scope=_MINE),
            )
        ),
    ]
    columns = [
        Column("instance", "Instance"),
        Column("collector", "Collector"),
        Column("A", "Succeeds", "none", mappings=looks.yes_no(good=True)),
        Column("B", "Data saved ago", "s", looks.rising(600, 1800)),
        Column("C", "Round takes", "s"),
        Column("D", "Projects", "short"),
        Column("E", "Series", "short"),
    ]
    problems = Head(
        22,
        "Projects with a problem",
        "none",
        "Projects that cannot be read, or are not what the configuration names.",
        "no project has a problem",
        width=10,
    )
    listed = f"max by (collector, project, reason) ({_now('ci_exporter_project_problem', scope=_MINE)}) > 0"
    which = [Column("collector", "Collector"), Column("project", "Project"), Column("reason", "Problem")]
    fresh = Head(
        23,
        "Age of the data, by collector",
        "s",
        "How long before each moment a collector had last saved an answer.",
        "nothing was saved yet",
    )
    took = Head(
        24,
        "Duration of rounds, by collector",
        "s",
        "Time that a collector spent polling and saving in its last complete round.",
        "no round is complete",
    )
    saved = once(_now("ci_exporter_last_success_timestamp_seconds", scope=_MINE))
    rounds = _now("ci_exporter_collector_duration_seconds", scope=_MINE)
    return [
        rows(each, asked, columns, "Data saved ago"),
        rows(problems, [listed], which, "Collector", up=True),
        lines(fresh, Query(f"max by (collector) ({age(saved)})", "{{collector}}")),
        lines(took, Query(f"max by (collector) ({rounds})", "{{collector}}")),
    ]


def _calls() -> list[Panel]:
    codes = Head(
        31,
        "Calls per second, by status code",
        "reqps",
        "Calls to sources, by HTTP status; error is a call without an answer.",
        _NO_CALLS,
    )
    operations = Head(
        32,
        "Calls per second, by operation",
        "reqps",
        "What the exporter asked the sources, the ten most frequent operations.",
        _NO_CALLS,
    )
    latency = Head(
        33, "Duration of calls, p95", "s", "95 % of the calls of an operation took no longer.", _NO_CALLS
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
    limit = _now("ci_exporter_api_rate_limit_remaining", scope=_MINE)
    by_operation = f"topk(10, {total(_rate(requests), 'collector, operation')})"
    errors = total(_rate("ci_exporter_client_errors_total", scope=_HERE), "method")
    return [
        lines(codes, Query(total(_rate(requests), "code"), "{{code}}"), stacked=True),
        lines(operations, Query(by_operation, "{{collector}}: {{operation}}")),
        lines(latency, Query(_quantile(seconds, "collector, operation"), "{{collector}}: {{operation}}")),
        lines(left, Query(f"min by (collector) ({limit})", "{{collector}}")),
        lines(failed, Query(f"{errors} > 0", "{{method}}")),
    ]


def _engine() -> list[Panel]:
    busy = Head(
        41,
        "Workers in use",
        "percentunit",
        "Units of work under way to those that can be at once. At 100 % for long, more is due than"
        " can be done.",
        _NOTHING,
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
        "How many there are at the scrape, and how many can be.",
        _NOTHING,
    )
    per_poll = _quantile("ci_exporter_poll_fetch_duration_seconds", "collector")
    per_job = _quantile("ci_exporter_job_duration_seconds", "collector")
    waits = _now("ci_exporter_poll_backoff_seconds", scope=_MINE)
    return [
        lines(
            busy,
            Query(_now("ci_exporter_job_capacity_utilization_ratio"), "{{instance}}"),
            maximum=1,
        ),
        lines(backoff, Query(f"max by (collector) ({waits})", "{{collector}}")),
        lines(
            polls, Query(total(_rate("ci_exporter_poll_fetch_total"), "result"), "{{result}}"), stacked=True
        ),
        lines(length, Query(per_poll, "{{collector}}: poll"), Query(per_job, "{{collector}}: unit of work")),
        lines(
            ended,
            Query(total(_rate("ci_exporter_job_total"), "status"), "{{status}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(
            under_way,
            Query(f"sum({_now('ci_exporter_job_running')})", "under way"),
            Query(f"sum({_now('ci_exporter_capacity')})", "can be at once"),
        ),
    ]


def _store() -> list[Panel]:
    commits = Head(
        51,
        "Commits per second, by result",
        "ops",
        "Commits to the store. One that fails loses nothing: what it held is read again.",
        _NOTHING,
    )
    took = Head(
        52, "Duration of commits, p95", "s", "95 % of the commits took no longer, failed ones too.", _NOTHING
    )
    deliveries = Head(
        53,
        "Deliveries per second, by result",
        "ops",
        "Deliveries of events to sinks such as Kafka; zero without any.",
        _NOTHING,
    )
    buffer = Head(
        54,
        "Rows that wait to be delivered",
        "short",
        "It rises while a sink is down, and falls once it is back.",
        _NOTHING,
    )
    state, log = "ci_exporter_report_state_total", "ci_exporter_report_log_total"
    seconds = _quantile("ci_exporter_report_state_duration_seconds", scope=_HERE)
    return [
        lines(
            commits,
            Query(total(_rate(state, scope=_HERE), "result"), "{{result}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(took, Query(seconds, "p95")),
        lines(
            deliveries,
            Query(total(_rate(log, scope=_HERE), "result"), "{{result}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(buffer, Query(f"sum({_now('ci_exporter_report_log_buffer_rows')})", "rows")),
    ]


def _series() -> list[Panel]:
    shown = Head(
        61,
        "Series, by collector",
        "short",
        "Series that each collector exposes; the greatest of the chosen instances.",
        _NOTHING,
    )
    samples = Head(
        62,
        "Samples of a scrape",
        "short",
        "What Prometheus took from the exporter in the last scrape, the most of the chosen instances.",
        _NOTHING,
    )
    dropped = Head(
        63,
        "Dropped series, by family and reason",
        "short",
        "Series left out in the time range: over the cap (limit), or with the labels of another (duplicate).",
        "no series was dropped",
    )
    unknown = Head(
        64,
        "Unknown values, by kind",
        "short",
        "Values from a source in the time range that this version does not know and shows as unknown.",
        "every value is known",
    )
    lost = f"increase({_now('ci_exporter_series_dropped_total')}[{RANGE}])"
    strange = f"increase({_now('ci_exporter_unknown_values_total', scope=_MINE)}[{RANGE}])"
    series = _now("ci_exporter_series", scope=_MINE)
    return [
        lines(shown, Query(f"max by (collector) ({series})", "{{collector}}")),
        lines(samples, Query(f"max({_now('scrape_samples_scraped')})", "samples")),
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


def _process() -> list[Panel]:
    memory = Head(71, "Memory", "bytes", "Resident memory of each instance.", _NOTHING)
    cpu = Head(72, "CPU", "percentunit", "Processor time of each instance; 100 % is one core.", _NOTHING)
    files = Head(
        73,
        "Open files",
        "short",
        "Open file descriptors of each instance, and the greatest allowed.",
        _NOTHING,
    )
    scrape = Head(74, "Duration of scrapes", "s", "How long Prometheus waited for each instance.", _NOTHING)
    each = Head(
        75,
        "Instances",
        "none",
        "Version, role, start and configuration of each instance. A certificate is shown for HTTPS only.",
        _NOTHING,
        width=24,
        height=7,
    )
    asked = [
        f"max by (instance, version, python_version) ({_now('ci_exporter_build_info')})",
        f"max by (instance) ({_now('ci_exporter_leader')})",
        f"1000 * max by (instance) ({_now('process_start_time_seconds')})",
        f"max by (instance) ({_now('ci_exporter_config_last_reload_successful')})",
        f"1000 * max by (instance) ({_now('ci_exporter_config_last_reload_success_timestamp_seconds')})",
        f"max by (instance) ({_now('ci_exporter_web_certificate_expiry_timestamp_seconds')} - time())",
    ]
    columns = [
        Column("instance", "Instance"),
        Column("version", "Version"),
        Column("python_version", "Python"),
        Column(
            "B",
            "Polls",
            "none",
            mappings=looks.words({"1": ("yes", looks.GOOD), "0": ("stands by", looks.PLAIN)}),
        ),
        Column("C", "Started", "dateTimeFromNow"),
        Column("D", "Configuration taken", "none", mappings=looks.yes_no(good=True)),
        Column("E", "Last taken", "dateTimeFromNow"),
        Column("F", "Certificate valid for", "s", looks.falling(30 * 86400, 7 * 86400)),
    ]
    return [
        lines(memory, Query(_now("process_resident_memory_bytes"), "{{instance}}")),
        lines(cpu, Query(_rate("process_cpu_seconds_total", scope=_HERE), "{{instance}}")),
        lines(
            files,
            Query(_now("process_open_fds"), "{{instance}}"),
            Query(_now("process_max_fds"), "{{instance}} allowed"),
        ),
        lines(scrape, Query(_now("scrape_duration_seconds"), "{{instance}}")),
        rows(each, asked, columns, "Started"),
    ]
