"""The board on the exporter's own JSON API, through the data source plugin Infinity: single runs, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DataSourceRef,
    FieldConfig,
    Panel,
    ValueMapping,
    VariableModel,
)

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, choice, custom_choice, source_choice
from deploy.grafana.boards.panels import (
    NUMBER_WIDTH,
    Head,
    arrange,
    by_steps,
    line_fields,
    line_options,
    looks_of,
    number_options,
    override,
    panel,
    row_options,
)

_TYPE = "yesoreyeram-infinity-datasource"
_INFINITY = DataSourceRef(type_val=_TYPE, uid="${infinity}")
# What questions are narrowed by. Grafana gives the time range in milliseconds, and several values as {a,b}.
_TIMES = {"from": "${__from}", "to": "${__to}"}
_PLACE = {"provider": "${provider}", "project": "${project}"}
_CHOSEN = {**_TIMES, **_PLACE, "ref": "${ref}"}
_SUMMARY, _DORA = "/api/stats/summary", "/api/stats/dora"
_NO_RUNS = "no run was created in this time range"
_NO_DEPLOYMENT = "no deployment in this time range"


@dataclass(frozen=True, slots=True)
class Field:
    """One member of an answer, its type, the title of its column, and how that looks (see `looks_of`)."""

    name: str
    title: str
    type: str = "string"
    unit: str = ""
    steps: looks.Steps | None = None
    mappings: Sequence[ValueMapping] = ()
    to: tuple[str, str] | None = None
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Ask(Dataquery):
    """A question to the API; the plugin's backend asks it, so that it works in shared boards, too."""

    path: str
    fields: Sequence[Field]
    params: Mapping[str, str]
    over_time: bool = False

    def to_json(self) -> dict[str, object]:
        """The query as the plugin has it."""
        columns = [{"selector": f.name, "text": f.title, "type": f.type} for f in self.fields]
        params = [{"key": key, "value": value} for key, value in self.params.items()]
        return {
            "refId": "A",
            "datasource": _INFINITY,
            "type": "json",
            "source": "url",
            "parser": "backend",
            "format": "timeseries" if self.over_time else "table",
            "url": self.path,
            "url_options": {"method": "GET", "data": "", "params": params},
            "root_selector": "",
            "columns": columns,
            "filters": [],
            "global_query_id": "",
        }


def api() -> Dashboard:
    """The JSON API: summary, single runs with links to their pages, jobs, delivery."""
    return board(
        "api",
        "Runs (JSON API)",
        "What the exporter's JSON API tells of single runs, with links to their pages. It needs the"
        " data source"
        " plugin yesoreyeram-infinity-datasource; its base URL is that of the exporter.",
        variables=_choices(),
        rows=[
            Row(1, "In this time range", _numbers()),
            Row(2, "Runs", [_runs()]),
            Row(3, "Over time", _curves()),
            Row(4, "Projects and jobs", [_projects(), *_jobs()]),
            Row(5, "Delivery (DORA)", _delivery()),
        ],
        since="now-7d",
    )


def _choices() -> list[VariableModel]:
    """Data source, provider, project and ref, each narrowed by those before; and the step of the curves."""
    everywhere = {"provider": "${provider}"}
    return [
        source_choice(_TYPE, "infinity", "Data source"),
        _choice("provider", "Provider", "/api/projects", "provider", {}),
        _choice("project", "Project", "/api/projects", "project_name", everywhere, "*"),
        _choice("ref", "Ref", "/api/pipelines", "ref", {**_TIMES, **_PLACE, "limit": "1000"}, "*"),
        custom_choice("step", "Step", ("5m", "1h", "6h", "1d"), "1h", "How much time one point stands for."),
    ]


def _choice(
    name: str, label: str, path: str, member: str, params: Mapping[str, str], all_value: str | None = None
) -> VariableModel:
    """The values of *member*. All is *all_value*, a glob; or each of them, where globs are not taken."""
    ask = Ask(path, [Field(member, "__text"), Field(member, "__value")], params)
    query = {"query": "", "queryType": "infinity", "refId": "variable", "infinityQuery": ask.to_json()}
    return choice(name, label, _INFINITY, query, all_value=all_value)


def _number(
    head: Head, member: str, path: str, steps: looks.Steps = looks.NEUTRAL, *, width: int = NUMBER_WIDTH
) -> Panel:
    narrowed = {**_TIMES, **_PLACE} if path == _DORA else _CHOSEN
    ask = Ask(path, [Field(member, head.title, "number")], narrowed)
    sized = Head(head.id, head.title, head.unit, head.about, head.empty, width, 4)
    return panel("stat", sized, [ask], options=number_options(), defaults=by_steps(steps), source=_INFINITY)


def _table(
    head: Head,
    path: str,
    fields: Sequence[Field],
    sort: str,
    params: Mapping[str, str] | None = None,
    *,
    up: bool = False,
) -> Panel:
    return panel(
        "table",
        head,
        [Ask(path, fields, {**_CHOSEN, **(params or {})})],
        options=row_options(sort, up),
        defaults=by_steps(looks.NEUTRAL),
        overrides=[override(f.title, **looks_of(f.unit, f.steps, f.mappings, f.to, f.width)) for f in fields],
        transformations=[arrange({f.title: f.title for f in fields})],
        source=_INFINITY,
    )


def _lines(head: Head, fields: Sequence[Field], defaults: FieldConfig) -> Panel:
    ask = Ask(
        "/api/stats/timeseries",
        [Field("start", "Time", "timestamp"), *fields],
        {**_CHOSEN, "step": "${step}"},
        over_time=True,
    )
    return panel("timeseries", head, [ask], options=line_options(), defaults=defaults, source=_INFINITY)


def _numbers() -> list[Panel]:
    count = Head(11, "Runs", "short", "Runs created in the time range, unfinished ones too.", _NO_RUNS)
    rate = Head(12, "Success rate", "percent", "Successful runs of those that succeeded or failed.", _NO_RUNS)
    failed = Head(13, "Failed runs", "short", "Runs that failed.", _NO_RUNS)
    mean = Head(14, "Duration, mean", "s", "The mean of how long runs took.", _NO_RUNS)
    half = Head(15, "Duration, p50", "s", "Half of the runs took no longer; exact.", _NO_RUNS)
    most = Head(16, "Duration, p95", "s", "95 % of the runs took no longer; exact.", _NO_RUNS)
    queue = Head(17, "Queue time, mean", "s", "The mean of how long runs waited to start.", _NO_RUNS)
    longest = Head(18, "Queue time, p95", "s", "95 % of the runs waited no longer; exact.", _NO_RUNS)
    return [
        _number(count, "total_count", _SUMMARY),
        _number(rate, "success_rate", _SUMMARY, looks.falling(90, 70)),
        _number(failed, "failed_count", _SUMMARY, looks.ANY_IS_BAD),
        _number(mean, "avg_duration", _SUMMARY),
        _number(half, "p50_duration", _SUMMARY),
        _number(most, "p95_duration", _SUMMARY),
        _number(queue, "avg_queue_duration", _SUMMARY, looks.rising(60, 600)),
        _number(longest, "p95_queue_duration", _SUMMARY, looks.rising(60, 600)),
    ]


def _runs() -> Panel:
    head = Head(
        21,
        "Newest runs",
        "none",
        "The newest 200 runs that match, with links to their pages at the source.",
        _NO_RUNS,
        width=24,
        height=12,
    )
    fields = [
        Field("created_at", "Created", "timestamp"),
        Field("provider", "Provider", width=110),
        Field("project_name", "Project"),
        Field("ref", "Ref"),
        Field("source", "Trigger"),
        Field("status", "Status", mappings=looks.statuses(), width=100),
        Field("duration", "Duration", "number", "s"),
        Field("queue_duration", "Queue time", "number", "s", looks.rising(60, 600)),
        Field("finished_at", "Finished", "timestamp"),
        Field("username", "By"),
        Field("id", "Run"),
        Field("web_url", "Page", mappings=looks.open_page(), to=("Open the run", "${__value.raw}"), width=80),
    ]
    newest = {"limit": "200", "sort": "-created_at"}
    return _table(head, "/api/pipelines", fields, "Created", newest)


def _curves() -> list[Panel]:
    count = Head(31, "Runs", "short", "Runs created in each step.", _NO_RUNS)
    rate = Head(
        32, "Success rate", "percent", "Successful runs of those that succeeded or failed, by step.", _NO_RUNS
    )
    duration = Head(33, "Duration", "s", "How long the runs took that were created in each step.", _NO_RUNS)
    queue = Head(34, "Queue time", "s", "How long the runs waited that were created in each step.", _NO_RUNS)

    def member(name: str, title: str) -> Field:
        return Field(name, title, "number")

    return [
        _lines(count, [member("total_count", "Runs")], line_fields()),
        _lines(rate, [member("success_rate", "Success rate")], line_fields(maximum=100)),
        _lines(duration, [member("p50_duration", "p50"), member("p95_duration", "p95")], line_fields()),
        _lines(
            queue, [member("p50_queue_duration", "p50"), member("p95_queue_duration", "p95")], line_fields()
        ),
    ]


def _projects() -> Panel:
    head = Head(
        41,
        "Projects",
        "none",
        "Runs created in the time range, by project, and the newest run of each default branch.",
        "no project is known",
        width=24,
        height=9,
    )
    fields = [
        Field("provider", "Provider", width=110),
        Field("project_name", "Project"),
        Field("total_count", "Runs", "number", "short"),
        Field("success_rate", "Success rate", "number", "percent", looks.falling(90, 70)),
        Field("p95_duration", "Duration, p95", "number", "s"),
        Field("p95_queue_duration", "Queue time, p95", "number", "s", looks.rising(60, 600)),
        Field("last_status", "Default branch", mappings=looks.statuses()),
        Field(
            "last_web_url",
            "Newest run",
            mappings=looks.open_page(),
            to=("Open the newest run of the default branch", "${__value.raw}"),
            width=110,
        ),
    ]
    return _table(head, "/api/projects", fields, "Success rate", up=True)


def _jobs() -> list[Panel]:
    empty = "no job ran in this time range"
    slow = Head(42, "Slowest jobs", "none", "Jobs with the longest mean duration.", empty, height=9)
    failing = Head(43, "Jobs that fail most", "none", "Jobs that failed most often.", empty, height=9)
    flaky = Head(
        44,
        "Jobs that are retried most",
        "none",
        "Jobs that were run again in the same run most often. Flaky counts runs in which a job"
        " failed and then"
        " succeeded.",
        empty,
        width=24,
        height=9,
    )
    names = [Field("project_name", "Project"), Field("stage", "Stage"), Field("name", "Job")]
    runs = Field("total_count", "Finished", "number", "short")
    failed = Field("failed_count", "Failed", "number", "short", looks.ANY_IS_BAD)
    mean = Field("avg_duration", "Mean duration", "number", "s")
    most = Field("max_duration", "Longest", "number", "s")
    retried = Field("retried_count", "Retried", "number", "short")
    lucky = Field("flaky_count", "Flaky", "number", "short", looks.ANY_IS_BAD)
    path = "/api/stats/jobs"
    return [
        _table(slow, path, [*names, mean, most, runs], "Mean duration", {"order": "slowest", "limit": "20"}),
        _table(failing, path, [*names, failed, runs], "Failed", {"order": "failing", "limit": "20"}),
        _table(
            flaky,
            path,
            [*names, retried, lucky, failed, runs],
            "Retried",
            {"order": "retried", "limit": "20"},
        ),
    ]


def _delivery() -> list[Panel]:
    often = Head(
        51,
        "Deployments per day",
        "none",
        "Deployment frequency: finished deployments of the default branch per day. The API document"
        " says which"
        " jobs count.",
        _NO_DEPLOYMENT,
    )
    lead = Head(
        52,
        "Lead time",
        "s",
        "Median from the creation of a run to the end of its successful deployment.",
        _NO_DEPLOYMENT,
    )
    failures = Head(
        53,
        "Change failure rate",
        "percent",
        "Deployments that failed, of all in the time range.",
        _NO_DEPLOYMENT,
    )
    restore = Head(
        54,
        "Time to restore",
        "s",
        "Median from a failed deployment to the next one of that job that succeeded.",
        "no deployment failed and was repaired",
    )
    return [
        _number(often, "deployments_per_day", _DORA, width=6),
        _number(lead, "lead_time", _DORA, width=6),
        _number(failures, "change_failure_rate", _DORA, looks.rising(5, 15), width=6),
        _number(restore, "time_to_restore", _DORA, looks.rising(3600, 86400), width=6),
    ]
