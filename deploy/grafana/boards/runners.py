"""The board of runners and of the jobs that wait for them."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, label_choice, source_choice, window_choice
from deploy.grafana.boards.overview import QUEUE, quantiles
from deploy.grafana.boards.panels import Column, Head, Query, bars, lines, number, rows
from deploy.grafana.boards.promql import RANGE, WINDOW, age, gauge, or_zero, quantile, select, top, total

# What is known of runners and of the queue has no project.
_HERE = 'provider=~"$provider"'
_NOBODY = 'runner_type="none"'
_BY_TYPE = "ci_runner_job_queue_duration_seconds"
_NO_RUNNERS = "no runner is known"
_NO_JOBS = "no job finished in this time range"
_NONE_WAITS = "no job waits"


def runners() -> Dashboard:
    """Runners: who is there, who waits, and how long."""
    return board(
        "runners",
        "Queue and runners",
        "Jobs that wait for a runner, those that no runner may take, how long they wait, and the runners"
        " themselves. The project narrows the times of finished jobs only.",
        variables=[
            source_choice(),
            label_choice("provider", "Provider", '{__name__=~"ci_runners|ci_project_info"}'),
            label_choice("project", "Project", 'ci_project_info{provider=~"$provider"}'),
            window_choice(),
        ],
        rows=[
            Row(1, "Now", _numbers()),
            Row(2, "Queue", _queue()),
            Row(3, "Queue time", _times()),
            Row(4, "Runners", _fleet()),
        ],
        since="now-6h",
    )


def _all(family: str, *matchers: str) -> str:
    return total(gauge(family, *matchers, scope=_HERE))


def _numbers() -> list[Panel]:
    online = Head(11, "Runners online", "short", "Runners that the source takes to be at work.", _NO_RUNNERS)
    away = Head(
        12,
        "Runners not online",
        "short",
        "Runners that are offline, stale or were never seen. The source may take hours to notice.",
        _NO_RUNNERS,
    )
    paused = Head(13, "Runners paused", "short", "Runners that are told to take no jobs.", _NO_RUNNERS)
    running = Head(
        14,
        "Jobs running",
        "short",
        "Jobs that online runners execute, as far as the token may see them.",
        "the token may not see",
    )
    waiting = Head(15, "Jobs waiting", "short", "Jobs that wait for a runner now.", _NO_RUNNERS)
    nobody = Head(
        16,
        "Jobs nobody can take",
        "short",
        "Jobs that wait though no runner that is online and not paused may take them: start such a runner, or"
        " correct the tags.",
        _NO_RUNNERS,
    )
    oldest = Head(
        17, "Longest wait now", "s", "For how long the longest waiting job has waited.", _NONE_WAITS
    )
    queue = Head(
        18, "Queue time, p95", "s", "95 % of the finished jobs got a runner within this time.", _NO_JOBS
    )
    known = select("ci_runners", scope=_HERE)
    return [
        number(online, _all("ci_runners", 'status="online"'), looks.AT_LEAST_ONE),
        number(away, _all("ci_runners", 'status!="online"'), looks.rising(1, 5)),
        number(paused, _all("ci_runner_paused"), ((None, looks.GOOD), (1, looks.WARN))),
        number(running, _all("ci_runner_jobs_running")),
        number(waiting, or_zero(_all("ci_runner_queue_jobs"), known)),
        number(nobody, or_zero(_all("ci_runner_queue_jobs", _NOBODY), known), looks.ANY_IS_BAD),
        number(
            oldest,
            age(f"min({gauge('ci_runner_queue_oldest_timestamp_seconds', scope=_HERE)})"),
            looks.rising(60, 600),
        ),
        number(queue, quantile(0.95, _BY_TYPE, RANGE), looks.rising(60, 600)),
    ]


def _queue() -> list[Panel]:
    depth = Head(
        21,
        "Jobs waiting, by who can take them",
        "short",
        "Jobs that wait for a runner, by the narrowest type of online runner that may take them;"
        " none if there"
        " is no such runner.",
        _NONE_WAITS,
    )
    longest = Head(
        22,
        "Longest wait, by who can take the jobs",
        "s",
        "For how long the longest waiting job had waited at each moment.",
        _NONE_WAITS,
    )
    tags = Head(
        23,
        "Jobs waiting, by tags",
        "none",
        "What waits now, by the tags that a runner must have. The type none means that no online"
        " runner may take"
        " it.",
        _NONE_WAITS,
        width=14,
    )
    load = Head(
        24,
        "Jobs waiting per job running",
        "none",
        "How long the queue is, measured by what the runners do at once. Above 1 the runners are too few.",
        "no job runs",
        width=10,
    )
    oldest = "ci_runner_queue_oldest_timestamp_seconds"
    by = "provider, runner_type, tags"
    asked = [
        f"max by ({by}) ({select('ci_runner_queue_jobs', scope=_HERE)})",
        f"max by ({by}) ({age(select(oldest, scope=_HERE))})",
    ]
    columns = [
        Column("provider", "Provider", width=120),
        Column("runner_type", "Type", mappings=looks.words({"none": ("none: nobody", looks.BAD)})),
        Column("tags", "Tags"),
        Column("A", "Jobs", "short"),
        Column("B", "Longest wait", "s", looks.rising(60, 600)),
    ]
    waiting, known = _all("ci_runner_queue_jobs"), select("ci_runners", scope=_HERE)
    ratio = f"({or_zero(waiting, known)}) / ({_all('ci_runner_jobs_running')} > 0)"
    by_type = total(gauge("ci_runner_queue_jobs", scope=_HERE), "runner_type")
    return [
        lines(depth, Query(by_type, "{{runner_type}}"), stacked=True),
        lines(longest, Query(f"max by (runner_type) ({age(gauge(oldest, scope=_HERE))})", "{{runner_type}}")),
        rows(tags, asked, columns, "Longest wait"),
        lines(load, Query(ratio, "waiting per running")),
    ]


def _times() -> list[Panel]:
    half = Head(
        31,
        "Queue time p50, by runner type",
        "s",
        "Half of the jobs that runners of a type took waited no longer, of those that finished"
        " within the look"
        " back.",
        _NO_JOBS,
    )
    most = Head(
        32,
        "Queue time p95, by runner type",
        "s",
        "95 % of the jobs that runners of a type took waited no longer, of those that finished"
        " within the look"
        " back.",
        _NO_JOBS,
    )
    everyone = Head(
        33, "Queue time of jobs, all types", "s", "Of the jobs that finished within the look back.", _NO_JOBS
    )
    pipelines = Head(
        34,
        "Queue time of runs",
        "s",
        "From the creation of a run to its first start, of those that finished within the look back.",
        "no run finished in this time range",
    )
    projects = Head(
        35,
        "Projects whose jobs wait longest",
        "s",
        "The ten projects with the greatest p95 of the queue time of jobs in the time range.",
        _NO_JOBS,
        width=24,
    )
    p50, p95 = (quantile(fraction, _BY_TYPE, WINDOW, "runner_type") for fraction in (0.5, 0.95))
    return [
        lines(half, Query(p50, "{{runner_type}}")),
        lines(most, Query(p95, "{{runner_type}}")),
        lines(everyone, *quantiles(_BY_TYPE, 0.5, 0.95, 0.99)),
        lines(pipelines, *quantiles(QUEUE)),
        bars(
            projects,
            Query(top(10, quantile(0.95, _BY_TYPE, RANGE, "provider, project")), "{{project}}"),
            looks.rising(60, 600),
        ),
    ]


def _fleet() -> list[Panel]:
    statuses = Head(41, "Runners, by status", "short", "How many runners there were, by status.", _NO_RUNNERS)
    busy = Head(
        42,
        "Jobs running, by runner",
        "short",
        "Jobs that each online runner executed, of the ten with the most.",
        "the token may not see",
    )
    count = total(gauge("ci_runners", scope=_HERE), "status")
    running = f"topk(10, {total(gauge('ci_runner_jobs_running', scope=_HERE), 'provider, runner')})"
    return [
        lines(statuses, Query(count, "{{status}}"), stacked=True, coloured=looks.RUNNER_COLOURS),
        lines(busy, Query(running, "runner {{runner}}")),
        _executors(),
        _each(),
        _versions(),
    ]


def _executors() -> Panel:
    head = Head(
        45,
        "Executors, by state",
        "short",
        "What runs jobs on the nodes of systems that have executors, such as Jenkins.",
        "no source with executors is watched",
    )
    count = total(gauge("ci_runner_executors", scope=_HERE), "provider, state")
    return lines(head, Query(count, "{{provider}}: {{state}}"), stacked=True)


def _each() -> Panel:
    head = Head(
        43,
        "Runners",
        "none",
        "Each runner by its id at the source. It may be silent long before the source calls it offline.",
        _NO_RUNNERS,
        width=24,
        height=11,
    )
    keys = "provider, runner"
    about = "runner_type, description, version, platform, architecture, tags"
    numbers = (
        "ci_runner_online",
        "ci_runner_paused",
        "ci_runner_last_contact_timestamp_seconds",
        "ci_runner_jobs_running",
    )
    asked = [f"max by ({keys}, {about}) ({select('ci_runner_info', scope=_HERE)})"]
    asked += [f"max by ({keys}) ({select(family, scope=_HERE)})" for family in numbers]
    asked[3] = f"1000 * {asked[3]}"
    columns = [
        Column("provider", "Provider", width=120),
        Column("runner", "Runner", width=80),
        Column("description", "Description"),
        Column("runner_type", "Type", width=90),
        Column("tags", "Tags"),
        Column("version", "Version", width=90),
        Column("platform", "Platform", width=90),
        Column("architecture", "Architecture", width=110),
        Column("B", "Online", "none", mappings=looks.yes_no(good=True), width=80),
        Column("C", "Paused", "none", mappings=looks.yes_no(good=False), width=80),
        Column("D", "Last contact", "dateTimeFromNow"),
        Column("E", "Jobs", "short", width=80),
    ]
    return rows(head, asked, columns, "Last contact", up=True)


def _versions() -> Panel:
    head = Head(
        44,
        "Versions of runners",
        "short",
        "How many runners run which version.",
        _NO_RUNNERS,
        width=24,
        height=6,
    )
    info = gauge("ci_runner_info", scope=_HERE)
    return bars(head, Query(f"count by (version) ({info})", "{{version}}"))
