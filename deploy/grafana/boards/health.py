"""The board of the exporter itself: how fresh its data are, and what it has trouble with."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, label_choice, source_choice
from deploy.grafana.boards.engine import (
    HERE,
    MINE,
    NO_CALLS,
    NOT_OK,
    NOTHING,
    calls,
    engine,
    now,
    rate,
    series,
    store,
)
from deploy.grafana.boards.hooks import hooks
from deploy.grafana.boards.panels import Column, Head, Query, lines, number, rows
from deploy.grafana.boards.promql import RANGE, age, once, share
from deploy.grafana.boards.sinks import sinks


# The variable is named apart from the label, since other boards have jobs of CI.
def health() -> Dashboard:
    """The exporter: freshness, calls, engine, store, sinks, series, process."""
    known = 'ci_exporter_build_info{job=~"$exporter_job"}'
    collectors = f"ci_exporter_collector_success{{{HERE}}}"
    return board(
        "health",
        "Exporter health",
        "How fresh the data are, how the exporter gets on with the sources, its own work, its store, its"
        " sinks and its process. Panels on the engine need the collector runner under its own namespace.",
        variables=[
            source_choice(),
            label_choice("exporter_job", "Scrape job", "ci_exporter_build_info", "job"),
            label_choice("instance", "Instance", known),
            label_choice("collector", "Collector", collectors),
        ],
        rows=[
            Row(1, "Now", [*_roles(), *_losses()]),
            Row(2, "Collectors", _collectors()),
            Row(3, "Calls to the sources", calls()),
            Row(4, "Engine", engine()),
            Row(5, "Store and deliveries", store()),
            Row(8, "Sinks and notifications", sinks()),
            Row(9, "Webhooks", hooks(), collapsed=True),
            Row(6, "Series", series(), collapsed=True),
            Row(7, "Process and configuration", _process(), collapsed=True),
        ],
        since="now-6h",
    )


def _roles() -> list[Panel]:
    up = Head(11, "Instances up", "short", "Instances that Prometheus could scrape last time.", NOTHING)
    leader = Head(
        12,
        "Leaders",
        "short",
        "Instances that poll. The others stand by; without a leader nobody polls.",
        NOTHING,
    )
    failing = Head(
        13,
        "Failing collectors",
        "short",
        "Collectors whose last round had a failed poll, on an instance that polls.",
        NOTHING,
    )
    oldest = Head(
        14,
        "Oldest data",
        "s",
        "How long ago the collector that is worst off last saved an answer.",
        "nothing was saved yet",
    )
    states = now("ci_exporter_collector_success", scope=MINE)
    bad = f"count({states} == 0 and on (job, instance) {now('ci_exporter_leader')} == 1)"
    saved = once(now("ci_exporter_last_success_timestamp_seconds", scope=MINE))
    return [
        number(up, f"sum({now('up')})", looks.AT_LEAST_ONE),
        number(leader, f"sum({now('ci_exporter_leader')})", looks.AT_LEAST_ONE),
        number(failing, f"{bad} or 0 * count({states})", looks.ANY_IS_BAD),
        number(oldest, age(f"min({saved})"), looks.rising(600, 1800)),
    ]


def _losses() -> list[Panel]:
    errors = Head(
        15,
        "Failed calls",
        "percentunit",
        "Of the calls to sources in the time range, the share that had no answer or one from 400 on.",
        NO_CALLS,
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
        "Series left out since the start: over the cap, or with the labels of another one.",
        NOTHING,
    )
    reloaded = Head(
        18, "Configuration taken", "none", "Whether every instance took its last configuration.", NOTHING
    )
    requests = "ci_exporter_api_requests_total"
    all_calls = f"increase({now(requests, scope=MINE)}[{RANGE}])"
    refused = f"increase({now(requests, NOT_OK, scope=MINE)}[{RANGE}])"
    taken = f"min({now('ci_exporter_config_last_reload_successful')})"
    return [
        number(errors, share(refused, all_calls), looks.rising(0.01, 0.1)),
        number(limit, f"min({now('ci_exporter_api_rate_limit_remaining', scope=MINE)})"),
        number(dropped, f"sum({now('ci_exporter_series_dropped_total')})", looks.ANY_IS_BAD),
        number(reloaded, taken, looks.AT_LEAST_ONE, mappings=looks.yes_no(good=True)),
    ]


def _collectors() -> list[Panel]:
    each = Head(
        21,
        "Collectors",
        "none",
        "Each collector: whether its last round went well, how old its data are, how long a round takes.",
        NOTHING,
        width=14,
    )
    asked = [
        f"min by (instance, collector) ({now('ci_exporter_collector_success', scope=MINE)})",
        *(
            f"max by (instance, collector) ({expr})"
            for expr in (
                age(now("ci_exporter_last_success_timestamp_seconds", scope=MINE)),
                now("ci_exporter_collector_duration_seconds", scope=MINE),
                now("ci_exporter_projects", scope=MINE),
                now("ci_exporter_series", scope=MINE),
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
    listed = f"max by (collector, project, reason) ({now('ci_exporter_project_problem', scope=MINE)}) > 0"
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
    saved = once(now("ci_exporter_last_success_timestamp_seconds", scope=MINE))
    rounds = now("ci_exporter_collector_duration_seconds", scope=MINE)
    return [
        rows(each, asked, columns, "Data saved ago"),
        rows(problems, [listed], which, "Collector", up=True),
        lines(fresh, Query(f"max by (collector) ({age(saved)})", "{{collector}}")),
        lines(took, Query(f"max by (collector) ({rounds})", "{{collector}}")),
    ]


def _process() -> list[Panel]:
    memory = Head(71, "Memory", "bytes", "Resident memory of each instance.", NOTHING)
    cpu = Head(72, "CPU", "percentunit", "Processor time of each instance; 100 % is one core.", NOTHING)
    files = Head(
        73,
        "Open files",
        "short",
        "Open file descriptors of each instance, and the greatest allowed.",
        NOTHING,
    )
    scrape = Head(74, "Duration of scrapes", "s", "How long Prometheus waited for each instance.", NOTHING)
    each = Head(
        75,
        "Instances",
        "none",
        "Version, role, start and configuration of each instance. A certificate is shown for HTTPS only.",
        NOTHING,
        width=24,
        height=7,
    )
    asked = [
        f"max by (instance, version, python_version) ({now('ci_exporter_build_info')})",
        f"max by (instance) ({now('ci_exporter_leader')})",
        f"1000 * max by (instance) ({now('process_start_time_seconds')})",
        f"max by (instance) ({now('ci_exporter_config_last_reload_successful')})",
        f"1000 * max by (instance) ({now('ci_exporter_config_last_reload_success_timestamp_seconds')})",
        f"max by (instance) ({now('ci_exporter_web_certificate_expiry_timestamp_seconds')} - time())",
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
        lines(memory, Query(now("process_resident_memory_bytes"), "{{instance}}")),
        lines(cpu, Query(rate("process_cpu_seconds_total", scope=HERE), "{{instance}}")),
        lines(
            files,
            Query(now("process_open_fds"), "{{instance}}"),
            Query(now("process_max_fds"), "{{instance}} allowed"),
        ),
        lines(scrape, Query(now("scrape_duration_seconds"), "{{instance}}")),
        rows(each, asked, columns, "Started"),
    ]
