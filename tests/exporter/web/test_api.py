"""What the API answers, over real sockets, from a real store, against the records that the store was told."""

from __future__ import annotations

import csv
import gzip
import io
import json
import statistics
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from exporter.clock import FixedClock
from exporter.model.runs import PipelineRun, RefKind, Status
from exporter.store.sql import SqlStore
from tests.support.runs import NOW, ODD, START, Told, fill, history_of
from tests.support.stores import ready_store

Ask = Callable[..., Any]
AS_GLOB = ODD.replace(",", "?")  # a comma stands between two patterns


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqlStore, Told]]:
    store = SqlStore(ready_store(tmp_path_factory.mktemp("api")))
    yield store, fill(store, 3000)
    store.close()


@pytest.fixture
def told(filled: tuple[SqlStore, Told]) -> Told:
    return filled[1]


@pytest.fixture
def get(filled: tuple[SqlStore, Told], serve: Ask, connect: Ask) -> Ask:
    """GET of a path with header fields; parameters by keyword, ``from_`` for from."""
    client = connect(serve(history=history_of(filled[0]), clock=FixedClock(NOW)))

    def get(path: str, *fields: str, method: str = "GET", **parameters: Any) -> Any:
        pairs = [
            (name.rstrip("_"), value)
            for name, given in parameters.items()
            for value in (given if isinstance(given, list) else [given])
        ]
        return client.get(path + (f"?{urlencode(pairs)}" if pairs else ""), *fields, method=method)

    return get


@pytest.fixture
def read(get: Ask) -> Ask:
    """The JSON of a 200."""

    def read(path: str, **parameters: Any) -> Any:
        reply = get(path, **parameters)
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json"), reply.body
        return json.loads(reply.body)

    return read


def _mean(values: list[float]) -> float | None:
    return pytest.approx(statistics.fmean(values)) if values else None


def _expected(runs: list[PipelineRun]) -> dict[str, Any]:
    """The counts and means of *runs*."""
    good = sum(run.status is Status.SUCCESS for run in runs)
    bad = sum(run.status is Status.FAILED for run in runs)
    durations = [run.duration_seconds for run in runs if run.duration_seconds is not None]
    queues = [run.queue_seconds for run in runs if run.queue_seconds is not None]
    return {
        "total_count": len(runs),
        **{f"{status}_count": sum(run.status is status for run in runs) for status in Status},
        "success_rate": pytest.approx(100 * good / (good + bad), abs=1e-4) if good + bad else None,
        "avg_duration": _mean(durations),
        "avg_queue_duration": _mean(queues),
    }


# -- in numbers


def test_the_summary_is_what_the_runs_come_to(read: Ask, told: Told) -> None:
    runs = [run for _, run in told.runs]
    summary = read("/api/stats/summary")
    assert summary == summary | _expected(runs)
    durations = sorted(run.duration_seconds for run in runs if run.duration_seconds is not None)
    assert durations[0] <= summary["p50_duration"] <= summary["p95_duration"] <= durations[-1]
    assert summary["p50_duration"] == pytest.approx(statistics.median(durations), rel=0.02)
    assert summary["p95_queue_duration"] == 12.5


def test_the_names_that_boards_of_the_first_source_system_use(read: Ask) -> None:
    # Its rate is in percent: 92.3.
    summary = read("/api/stats/summary", status="success,failed")
    assert {"total_count", "avg_duration", "success_rate"} <= summary.keys()
    assert 50 < summary["success_rate"] < 100
    first = read("/api/pipelines", limit=1)[0]
    names = {"id", "project_name", "ref", "status", "created_at", "finished_at", "duration"}
    assert names <= first.keys()


def test_a_summary_of_nothing_knows_nothing(read: Ask) -> None:
    summary = read("/api/stats/summary", project="nobody/*")
    assert summary == {name: 0 if name.endswith("_count") else None for name in summary}


@pytest.mark.parametrize(
    ("parameters", "chosen"),
    [
        ({"status": "failed"}, lambda project, run: run.status is Status.FAILED),
        ({"status": ["failed", "success"]}, lambda project, run: run.status in ("failed", "success")),
        ({"status": "failed,success"}, lambda project, run: run.status in ("failed", "success")),
        ({"source": "{push,web}"}, lambda project, run: run.source in ("push", "web")),
        ({"project": "acme/*"}, lambda project, run: project.startswith("acme/")),
        (
            {"project": "acme/rocket/*,zeta/????s"},
            lambda project, run: project[-1] in "es" and project != ODD,
        ),
        ({"project": AS_GLOB}, lambda project, run: project == ODD),
        ({"ref": "feature/*"}, lambda project, run: run.ref == "feature/=1+1"),
        ({"ref": "*🚀"}, lambda project, run: run.ref == "täg 🚀"),
        ({"ref": "a?b"}, lambda project, run: run.ref == "a,b"),
        ({"ref_kind": "tag"}, lambda project, run: run.ref_kind is RefKind.TAG),
        ({"branch": "default"}, lambda project, run: run.ref == "main"),
        ({"provider": "gitlab"}, lambda project, run: True),
        ({"provider": "jenkins"}, lambda project, run: False),
        ({"from": "2026-03-08"}, lambda project, run: run.created_at >= START + timedelta(days=7)),
        (
            {"to": "2026-03-08T01:00:00+01:00"},
            lambda project, run: run.created_at < START + timedelta(days=7),
        ),
        (
            {"from": "1772366400000", "to": "1772971200000"},
            lambda project, run: START + timedelta(hours=12) <= run.created_at < START + timedelta(days=7.5),
        ),
        (
            {"from": "now-7d", "to": "now"},
            lambda project, run: run.created_at >= NOW + timedelta(minutes=1) - timedelta(days=7),
        ),
        ({"status": "", "project": "", "from": "", "branch": ""}, lambda project, run: True),
    ],
)
def test_filters_choose_runs(
    read: Ask, told: Told, parameters: dict[str, Any], chosen: Callable[[str, PipelineRun], bool]
) -> None:
    runs = [run for project, run in told.runs if chosen(project, run)]
    assert len(runs) < 3000 or "" in parameters.values() or parameters == {"provider": "gitlab"}
    summary = read("/api/stats/summary", **parameters)
    assert summary == summary | _expected(runs)


def test_a_time_series_has_every_step_and_loses_no_run(read: Ask, told: Told) -> None:
    asked = {
        "from": START.isoformat(),
        "to": (START + timedelta(days=2)).isoformat(),
        "project": "acme/anvil",
    }
    steps = read("/api/stats/timeseries", **asked, step="6h")
    starts = [START + index * timedelta(hours=6) for index in range(8)]
    assert [datetime.fromisoformat(step["start"]) for step in steps] == starts
    for start, step in zip(starts, steps, strict=True):
        within = [
            run
            for project, run in told.runs
            if project == "acme/anvil" and start <= run.created_at < start + timedelta(hours=6)
        ]
        assert within
        assert step == step | _expected(within)


def test_a_time_series_is_of_the_last_week_by_the_hour(read: Ask, told: Told) -> None:
    steps = read("/api/stats/timeseries")
    assert len(steps) == 7 * 24
    since = NOW + timedelta(minutes=1) - timedelta(days=7)
    assert sum(step["total_count"] for step in steps) == sum(run.created_at >= since for _, run in told.runs)
    assert steps == read("/api/stats/timeseries", step=3600)


def test_projects_come_with_their_numbers_and_their_newest_run(read: Ask, told: Told) -> None:
    projects = {project["project_name"]: project for project in read("/api/projects", status="failed")}
    assert list(projects) == sorted({project for project, _ in told.runs})
    for name, project in projects.items():
        runs = [run for of, run in told.runs if of == name]
        assert project == project | _expected([run for run in runs if run.status is Status.FAILED])
        newest = max((run for run in runs if run.ref == "main"), key=lambda run: run.run_id)
        assert (project["last_id"], project["last_status"]) == (newest.run_id, newest.status)
    assert [one["project_name"] for one in read("/api/projects", project="zeta/*")] == ["zeta/tools"]


def test_jobs_are_ordered_by_what_was_asked(read: Ask, told: Told) -> None:
    all_jobs = [job for jobs in told.jobs.values() for job in jobs]
    asked = {"from": START.isoformat()}
    failing = read("/api/stats/jobs", order="failing", **asked)
    assert sum(job["total_count"] for job in failing) == len(all_jobs)
    assert sum(job["failed_count"] for job in failing) == sum(job.status is Status.FAILED for job in all_jobs)
    assert sum(job["flaky_count"] for job in failing) == sum(
        [job.status for job in jobs[:2]] == [Status.FAILED, Status.SUCCESS] and jobs[1].name == "unit"
        for jobs in told.jobs.values()
        if len(jobs) > 1
    )
    for order, key in (
        ("failing", "failed_count"),
        ("retried", "retried_count"),
        ("slowest", "avg_duration"),
    ):
        values = [job[key] for job in read("/api/stats/jobs", order=order, **asked)]
        assert values == sorted(values, reverse=True)
    assert read("/api/stats/jobs", **asked) == read("/api/stats/jobs", order="slowest", limit=100, **asked)
    assert len(read("/api/stats/jobs", limit=3)) == 3


def test_the_four_measures(read: Ask, told: Told) -> None:
    since = NOW + timedelta(minutes=1) - timedelta(days=30)
    deployments = [
        job
        for _, run in told.runs
        if run.created_at >= since
        for job in told.jobs[run.run_id]
        if job.stage == "deploy"
    ]
    failed = [job for job in deployments if job.status is Status.FAILED]
    dora = read("/api/stats/dora")
    assert (dora["deployment_count"], dora["failed_deployment_count"]) == (len(deployments), len(failed))
    assert dora["days"] == 30
    assert dora["deployments_per_day"] == pytest.approx(len(deployments) / 30)
    assert dora["change_failure_rate"] == pytest.approx(100 * len(failed) / len(deployments), abs=1e-4)
    assert dora["lead_time"] == statistics.median(
        (job.finished_at - job.created_at).total_seconds()  # type: ignore[operator]
        for job in deployments
        if job.status is Status.SUCCESS
    )
    assert dora["time_to_restore"] > 0
    none = read("/api/stats/dora", deployments="nothing*")
    assert (none["deployment_count"], none["lead_time"], none["change_failure_rate"]) == (0, None, None)


# -- run by run


def test_a_run_is_answered_with_all_that_is_known_of_it(read: Ask, told: Told) -> None:
    known = {(project, run.run_id): run for project, run in told.runs}
    runs = read("/api/pipelines", limit=1000)
    assert len(runs) == 1000
    for shown in runs:
        run = known[shown["project_name"], shown["id"]]
        assert shown == {
            "id": run.run_id,
            "provider": "gitlab",
            "project_name": shown["project_name"],
            "pipeline": "",
            "ref": run.ref,
            "ref_kind": run.ref_kind,
            "status": run.status,
            "source": run.source,
            "created_at": _written(run.created_at),
            "started_at": _written(run.started_at),
            "finished_at": _written(run.finished_at),
            "duration": run.duration_seconds,
            "queue_duration": run.queue_seconds,
            "coverage": None if run.coverage_ratio is None else 98.29,
            "username": run.username,
            "web_url": run.web_url,
            "sha": run.sha,
            "commit_title": run.commit_title,
            "number": run.number,
            "default_branch": run.ref == "main",
        }


def _written(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    fraction = f".{instant:%f}" if instant.microsecond else ""
    return f"{instant:%Y-%m-%dT%H:%M:%S}{fraction}Z"


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "-finished_at", "duration", "-queue_duration"])
def test_all_pages_together_are_all_runs_in_their_order(get: Ask, told: Told, sort: str) -> None:
    parameters = {
        "sort": sort,
        "limit": "400",
        "project": ["acme/*", AS_GLOB],
        "status": "success,failed,canceled",
    }
    wanted = {
        run.run_id
        for project, run in told.runs
        if project != "zeta/tools" and run.status in ("success", "failed", "canceled")
    }
    path, pages = f"/api/pipelines?{urlencode(parameters, doseq=True)}", []
    while path:
        reply = get(path)
        assert reply.status == 200, reply.body
        pages.append(json.loads(reply.body))
        link = reply.headers.get("link", "")
        path = f"/api/pipelines{link[1 : link.index('>')]}" if link.endswith('>; rel="next"') else ""
    assert [len(page) for page in pages[:-1]] == [400] * (len(pages) - 1)
    runs = [run for page in pages for run in page]
    assert len(runs) == len(wanted)
    assert {run["id"] for run in runs} == wanted
    values = [run[sort.removeprefix("-")] for run in runs]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=sort.startswith("-"))
    assert values[: len(known)] == known


@pytest.mark.parametrize("safe", ["", "/"], ids=["%2F", "slashes"])
def test_one_run_comes_with_its_jobs(read: Ask, told: Told, safe: str) -> None:
    for name in ("acme/rocket/engine", ODD):
        run = next(run for project, run in told.runs if project == name and len(told.jobs[run.run_id]) == 3)
        found = read(f"/api/pipelines/gitlab/{quote(name, safe=safe)}/{run.run_id}")
        assert (found["id"], found["project_name"], found["status"]) == (run.run_id, name, run.status)
        assert [(job["id"], job["name"], job["status"]) for job in found["jobs"]] == [
            (job.job_id, job.name, job.status) for job in told.jobs[run.run_id]
        ]


@pytest.mark.parametrize(
    "path", ["gitlab/acme/anvil/99999999", "gitlab/acme/nothing/1", "jenkins/acme/anvil/1", "gitlab/%00/1"]
)
def test_what_is_not_there_is_not_found(get: Ask, path: str) -> None:
    reply = get(f"/api/pipelines/{path}")
    assert (reply.status, json.loads(reply.body)) == (404, {"error": "there is no such run"})


# -- representations


def test_a_list_as_csv_holds_the_same_as_json(get: Ask, read: Ask) -> None:
    rows = read("/api/pipelines", limit=500)
    reply = get("/api/pipelines", "Accept: text/csv", limit=500)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'rel="next"' in reply.headers["link"]
    assert reply.body.endswith(b"\r\n")
    cells = list(csv.DictReader(io.StringIO(reply.body.decode(), newline="")))
    assert [list(row) for row in cells] == [list(row) for row in rows]
    assert [[_as_cell(value) for value in row.values()] for row in rows] == [
        list(row.values()) for row in cells
    ]


def _as_cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def test_no_cell_is_a_formula(get: Ask) -> None:
    body = get("/api/pipelines", limit=1000, format="csv").body.decode()
    cells = [cell for row in csv.reader(io.StringIO(body, newline="")) for cell in row]
    assert "'-rf" in cells
    assert '\'=cmd|" /C calc"!A0' in cells
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


@pytest.mark.parametrize(
    "path", ["stats/summary", "stats/timeseries", "stats/jobs", "stats/dora", "projects"]
)
def test_everything_flat_is_there_as_csv(get: Ask, read: Ask, path: str) -> None:
    answer = read(f"/api/{path}")
    rows = answer if isinstance(answer, list) else [answer]
    lines = list(csv.reader(io.StringIO(get(f"/api/{path}", format="csv").body.decode(), newline="")))
    assert lines[0] == list(rows[0])
    assert len(lines) == len(rows) + 1


@pytest.mark.parametrize(
    ("accept", "parameters", "kind"),
    [
        ("text/csv", {}, "text/csv; charset=utf-8"),
        ("text/csv, application/json;q=0.5", {}, "text/csv; charset=utf-8"),
        ("text/*", {}, "text/csv; charset=utf-8"),
        ("text/csv;q=0.5, application/json", {}, "application/json"),
        ("text/csv, application/json", {}, "application/json"),
        ("text/csv;q=0", {}, "application/json"),
        ("text/csv;q=nonsense", {}, "application/json"),
        ("*/*", {}, "application/json"),
        ("image/png", {}, "application/json"),
        ("text/csv", {"format": "json"}, "application/json"),
        ("application/json", {"format": "csv"}, "text/csv; charset=utf-8"),
    ],
)
def test_the_form_is_what_is_asked_for(get: Ask, accept: str, parameters: dict[str, str], kind: str) -> None:
    assert get("/api/projects", f"Accept: {accept}", **parameters).headers["content-type"] == kind


def test_the_same_answer_is_not_sent_twice(get: Ask, filled: tuple[SqlStore, Told]) -> None:
    first = get("/api/stats/summary", project="acme/*")
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept, Accept-Encoding"
    for fields in ((f"If-None-Match: {tag}",), (f'If-None-Match: "x", {tag.removeprefix("W/")}',)):
        again = get("/api/stats/summary", *fields, project="acme/*")
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["vary"] == first.headers["vary"]
    other = get("/api/stats/summary", f"If-None-Match: {tag}", project="zeta/*")
    assert other.status == 200
    as_csv = get("/api/stats/summary", f"If-None-Match: {tag}", "Accept: text/csv", project="acme/*")
    assert as_csv.status == 200
    assert len({tag, other.headers["etag"], as_csv.headers["etag"]}) == 3


def test_news_in_the_store_end_what_is_known(
    store: SqlStore, desk: Any, make: Any, serve: Ask, connect: Ask
) -> None:
    client = connect(serve(history=store.history(lambda: {"source-1": "gitlab"})))
    desk.save(make.run(1))
    first = client.get("/api/stats/summary")
    known = f"If-None-Match: {first.headers['etag']}"
    assert client.get("/api/stats/summary", known).status == 304
    desk.save(make.run(2, Status.FAILED))
    second = client.get("/api/stats/summary", known)
    assert json.loads(first.body)["total_count"] == 1
    assert json.loads(second.body)["total_count"] == 2
    assert json.loads(second.body)["success_rate"] == 50
    runs = json.loads(client.get("/api/pipelines?status=success,failed&ref=ma*&sort=-duration").body)
    assert {run["id"] for run in runs} == {1, 2}
    assert json.loads(client.get("/api/pipelines/gitlab/group/project-7/2").body)["jobs"] == []


def test_long_answers_are_coded_for_whoever_asks(get: Ask) -> None:
    plain, coded = get("/api/pipelines"), get("/api/pipelines", "Accept-Encoding: gzip")
    assert "content-encoding" not in plain.headers
    assert coded.headers["content-encoding"] == "gzip"
    assert gzip.decompress(coded.body) == plain.body
    assert len(coded.body) < len(plain.body) / 3
    assert coded.headers["etag"] == plain.headers["etag"]


def test_head_is_get_without_its_body(get: Ask) -> None:
    whole, head = get("/api/projects"), get("/api/projects", method="HEAD")
    for reply in (whole, head):
        del reply.headers["date"]  # a second may begin between the two
    assert (head.status, head.headers, head.body) == (whole.status, whole.headers, b"")


def test_only_reading_is_allowed(get: Ask) -> None:
    for method in ("POST", "PUT", "DELETE"):
        reply = get("/api/projects", method=method)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert "access-control-allow-origin" not in get("/api/projects", "Origin: https://example.com").headers


# -- what is refused


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "stats/summary?limit=1",
            "'limit': there is no such parameter here; allowed: from, to, project, ref, ",
        ),
        ("stats/summary?" + "a" * 99 + "=1", f"'{'a' * 40}': there is no such parameter here"),
        (
            "stats/summary?from=yesterday",
            "from: must be an RFC 3339 time such as 2026-03-01T12:00:00Z, a date",
        ),
        ("stats/summary?to=0001-01-01T00:00:00%2B14:00", "to: must be an RFC 3339 time"),
        ("stats/summary?from=999999999999999", "from: must be an RFC 3339 time"),
        ("stats/summary?from=now-999999w", "from: must be an RFC 3339 time"),
        ("stats/summary?from=2026-02-30", "from: must be an RFC 3339 time"),
        ("stats/summary?from=now&from=now-1h", "from: may be given once"),
        ("stats/summary?from=now&to=now-1h", "from: must be before to"),
        ("stats/summary?status=good", "status: must be one of created, pending, running, manual, success, "),
        ("stats/summary?status=success,good", "status: must be one of "),
        ("stats/summary?ref_kind=twig", "ref_kind: must be one of branch, tag, change_request"),
        ("stats/summary?branch=main", "branch: must be default, or left out"),
        ("stats/summary?project=%00", "project: must be at most 255 characters, none of them NUL"),
        ("stats/summary?project=" + "x" * 256, "project: must be at most 255 characters, none of them NUL"),
        ("stats/summary?ref=" + "*a" * 11, "ref: a pattern may hold at most 10 stars"),
        ("stats/summary?ref=" + "a*," * 21, "ref: at most 20 values with *, ? or [ may be given"),
        ("stats/summary?ref=" + "a," * 201, "ref: at most 200 values may be given"),
        ("stats/summary?" + "&" * 1001, "the query: at most 1000 parameters may be given"),
        ("stats/summary?format=xml", "format: must be json or csv"),
        ("pipelines?limit=0", "limit: must be a whole number from 1 to 1000"),
        ("pipelines?limit=1001", "limit: must be a whole number from 1 to 1000"),
        ("pipelines?limit=" + "9" * 250, "limit: must be a whole number from 1 to 1000"),
        ("pipelines?limit=%C2%B2", "limit: must be a whole number from 1 to 1000"),
        ("pipelines?sort=name", "sort: must be one of created_at, -created_at, finished_at, -finished_at, "),
        (
            "pipelines?after=nowhere",
            "after: must be copied from the Link header of the page before, with the",
        ),
        ("pipelines/gitlab/acme/anvil/first", "id: must be a whole number from 0 to 9223372036854775807"),
        (
            "pipelines/gitlab/acme/anvil/9223372036854775808",
            "id: must be a whole number from 0 to 922337203685",
        ),
        ("pipelines/gitlab/acme/anvil/1?a=1", "'a': there is no such parameter here; allowed: none"),
        (
            "stats/timeseries?step=0",
            "step: must be whole seconds, or a number with s, m, h, d or w such as 15m",
        ),
        ("stats/timeseries?step=1y", "step: must be whole seconds, or a number with s, m, h, d or w"),
        ("stats/timeseries?step=300", "step: at most 2000 steps fit between from and to; take a longer one"),
        ("stats/jobs?order=best", "order: must be one of slowest, failing, retried"),
        ("openapi.json?a=1", "'a': there is no such parameter here; allowed: none"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(get: Ask, path: str, sentence: str) -> None:
    reply = get(f"/api/{path}")
    assert (reply.status, reply.headers["content-type"]) == (400, "application/json")
    error = json.loads(reply.body)["error"]
    assert error.startswith(sentence)
    assert "\n" not in error
    as_text = get(f"/api/{path}", "Accept: text/csv")
    assert (as_text.status, as_text.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert as_text.body.decode() == f"{error}\n"


def test_a_position_is_only_good_in_its_own_list(get: Ask) -> None:
    link = get("/api/pipelines", limit=1, sort="duration").headers["link"]
    after = link[link.index("after=") : link.index(">")]
    assert get(f"/api/pipelines?limit=1&sort=duration&{after}").status == 200
    reply = get(f"/api/pipelines?limit=1&{after}")
    assert (reply.status, json.loads(reply.body)["error"][:6]) == (400, "after:")


def test_many_stars_in_a_row_are_one(read: Ask) -> None:
    stars = "*" * 100
    assert read("/api/stats/summary", ref=f"{stars}main{stars}", project=[stars] * 5) == read(
        "/api/stats/summary", ref="*main*"
    )


def test_without_a_history_there_is_no_api(serve: Ask, connect: Ask) -> None:
    client = connect(serve())
    assert client.get("/api/projects").status == 404
    assert client.get("/api/openapi.json").status == 404


def test_a_store_on_disk_that_is_gone_is_told_without_its_path(
    tmp_path: Path, serve: Ask, connect: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqlStore(ready_store(tmp_path, "secret-place.db"))
    fill(store, 50)
    client = connect(serve(history=history_of(store)))
    assert client.get("/api/projects").status == 200
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE runs")
    reply = client.get("/api/projects")
    assert reply.status == 503
    assert json.loads(reply.body) == {"error": "the store gave no answer; the exporter's log says why"}
    assert reply.headers["retry-after"] == "5"
    assert "no such table" in caplog.text
    store.close()
