"""GitLab's JSON to records: today's answers, old ones, and senseless ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.gitlab import executions, mapping
from collectors.gitlab.pipelines import Cursor
from collectors.gitlab.standin.records import KNOWN_STATUSES
from collectors.gitlab.values import parse_instant
from exporter.contract import Unit
from exporter.errors import BadAnswer
from exporter.model.runs import Execution, JobRun, PipelineRun, RefKind, Status

FIXTURES = Path(__file__).with_name("fixtures")
DETAIL: dict[str, Any] = {
    "id": 46,
    "iid": 11,
    "project_id": 1,
    "status": "success",
    "source": "push",
    "ref": "main",
    "tag": False,
    "user": {"username": "ada"},
    "created_at": "2026-03-02T08:00:00.085Z",
    "updated_at": "2026-03-02T08:03:07.500Z",
    "started_at": "2026-03-02T08:00:04.085Z",
    "finished_at": "2026-03-02T08:03:07.400Z",
    "duration": 183,
    "queued_duration": 4,
    "coverage": "87.5",
    "web_url": "https://gitlab.test/acme/p/-/pipelines/46",
    "sha": "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd",
}
JOB: dict[str, Any] = {
    "id": 8,
    "status": "failed",
    "stage": "test",
    "name": "unit",
    "allow_failure": False,
    "created_at": "2026-03-02T08:00:00Z",
    "started_at": "2026-03-02T08:00:05Z",
    "finished_at": "2026-03-02T08:01:05Z",
    "duration": 60.25,
    "queued_duration": 1.5,
    "failure_reason": "script_failure",
}
BRIDGE: dict[str, Any] = JOB | {
    "downstream_pipeline": {
        "id": 47,
        "project_id": 1,
        "updated_at": "2026-03-02T08:00:00Z",
        "web_url": "https://gitlab.test/acme/p/-/pipelines/47",
    }
}
PROJECT = {
    "id": 1,
    "path_with_namespace": "acme/p",
    "created_at": "2026-01-01T00:00:00Z",
    "default_branch": "main",
    "web_url": "https://gitlab.test/acme/p",
}


def load(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def run_of(detail: Any, unknown: Callable[[str], None] = lambda _: None) -> PipelineRun:
    return mapping.run(detail, selects=lambda _kind, ref: ref == "main", unknown=unknown)


def job_of(detail: Any, unknown: Callable[[str], None] = lambda _: None) -> JobRun:
    return mapping.job(detail, 46, unknown=unknown)


def test_a_pipeline_in_full() -> None:
    created = datetime(2026, 3, 2, 8, 0, 0, 85_000, tzinfo=UTC)
    assert run_of(DETAIL) == PipelineRun(
        run_id=46,
        ref="main",
        ref_kind=RefKind.BRANCH,
        source="push",
        status=Status.SUCCESS,
        created_at=created,
        updated_at=datetime(2026, 3, 2, 8, 3, 7, 500_000, tzinfo=UTC),
        started_at=created + timedelta(seconds=4),
        finished_at=datetime(2026, 3, 2, 8, 3, 7, 400_000, tzinfo=UTC),
        duration_seconds=183.0,
        queue_seconds=4.0,
        coverage_ratio=0.875,
        username="ada",
        web_url=DETAIL["web_url"],
        sha=DETAIL["sha"],
        selected=True,
    )


def test_a_list_tells_the_commit_of_a_pipeline_and_its_jobs_the_title() -> None:
    listed = mapping.run_from_list(
        mapping.list_entry(load("pipelines")[0]), RefKind.BRANCH, unknown=lambda _: None
    )
    assert listed.sha == load("pipelines")[0]["sha"]
    jobs = load("pipeline_jobs")
    assert mapping.commit_title(jobs[0]) == "Test the CI integration."
    assert [mapping.commit_title(job) for job in (JOB, JOB | {"commit": None}, JOB | {"commit": {}})] == [
        None
    ] * 3


def test_a_job_has_an_address() -> None:
    assert (
        job_of(JOB | {"web_url": "https://gitlab.test/acme/p/-/jobs/8"}).web_url
        == "https://gitlab.test/acme/p/-/jobs/8"
    )
    assert job_of(JOB).web_url is None


@pytest.mark.parametrize("word", KNOWN_STATUSES)
def test_every_documented_status_has_a_meaning(word: str) -> None:
    reported: list[str] = []
    run = run_of(DETAIL | {"status": word}, reported.append)
    assert run.status is not Status.UNKNOWN
    assert reported == []
    assert (run.finished_at is None) is not run.status.finished
    assert job_of(JOB | {"status": word}, reported.append).status is run.status


@pytest.mark.parametrize("field", ["status", "source"])
def test_new_words_are_unknown_and_reported(field: str) -> None:
    reported: list[str] = []
    run = run_of(DETAIL | {field: "brand_new"}, reported.append)
    assert str(getattr(run, field)) == "unknown"
    assert reported == [field]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-02T08:00:00Z", datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ("2026-03-02T08:00:00.123Z", datetime(2026, 3, 2, 8, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-03-02T08:00:00.123456Z", datetime(2026, 3, 2, 8, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-03-02T10:00:00.5+02:00", datetime(2026, 3, 2, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-03-02T02:30:00.000-05:30", datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ("2026-03-02 08:00:00 +0000", datetime(2026, 3, 2, 8, tzinfo=UTC)),
    ],
)
def test_times_of_every_form(text: str, instant: datetime) -> None:
    try:
        assert parse_instant(text) == instant
    except ValueError:
        assert " +" in text  # only webhooks write them so


@pytest.mark.parametrize(
    "text", ["2026-03-02T08:00:00", "0001-01-01T00:00:00+14:00", "soon", "9999-12-31T23:59:59-14:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)
    with pytest.raises(BadAnswer):
        run_of(DETAIL | {"created_at": text})
    assert run_of(DETAIL | {"started_at": text}).queue_seconds is None


@pytest.mark.parametrize(
    ("coverage", "ratio"),
    [
        (None, None),
        ("87.5", 0.875),
        (30, 0.3),
        ("", None),
        ("n/a", None),
        ("NaN", None),
        ("inf", None),
        (True, None),
    ],
)
def test_coverage_is_a_ratio_or_unknown(coverage: object, ratio: float | None) -> None:
    assert run_of(DETAIL | {"coverage": coverage}).coverage_ratio == ratio


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(None, None), ("62", 62.0), (-3, 0.0), (1e400, None), (10**400, None), ([], None)],
)
def test_durations_are_finite_or_unknown(duration: object, seconds: float | None) -> None:
    assert run_of(DETAIL | {"duration": duration}).duration_seconds == seconds
    assert job_of(JOB | {"duration": duration}).duration_seconds == seconds


@pytest.mark.parametrize(
    ("started_at", "seconds"),
    [(None, None), ("2026-03-02T08:00:00.585Z", 0.5), ("2026-03-02T07:59:59Z", 0.0)],
)
def test_waits_are_counted_from_timestamps(started_at: str | None, seconds: float | None) -> None:
    assert run_of(DETAIL | {"started_at": started_at}).queue_seconds == seconds


@pytest.mark.parametrize(
    ("ref", "tag", "kind"),
    [
        ("main", False, RefKind.BRANCH),
        ("v1", True, RefKind.TAG),
        ("refs/merge-requests/7/head", False, RefKind.CHANGE_REQUEST),
        ("refs/merge-requests/7/merge", False, RefKind.CHANGE_REQUEST),
        ("refs/merge-requests/7/train", False, RefKind.CHANGE_REQUEST),
        ("refs/merge-requests/x/head", False, RefKind.BRANCH),
        ("refs/merge-requests/7/head\n", False, RefKind.BRANCH),
        ("", False, RefKind.BRANCH),
    ],
)
def test_kinds_of_refs(ref: str, tag: bool, kind: RefKind) -> None:
    run = run_of(DETAIL | {"ref": ref, "tag": tag})
    assert (run.ref_kind, run.selected) == (kind, ref == "main")


@pytest.mark.parametrize(
    ("given_", "reason", "reported"),
    [
        ({}, "script_failure", []),
        ({"failure_reason": None}, "unknown", []),
        ({"failure_reason": "new_reason"}, "unknown", ["failure_reason"]),
        ({"failure_reason": ["list"]}, "unknown", ["failure_reason"]),
        ({"status": "success"}, "", []),
        ({"status": "canceled"}, "", []),
    ],
)
def test_why_a_job_failed(given_: dict[str, Any], reason: str, reported: list[str]) -> None:
    known: list[str] = []
    assert job_of(JOB | given_, known.append).failure_reason == reason
    assert known == reported


def test_a_job_that_never_ran_waited_for_nothing() -> None:
    job = job_of(JOB | {"status": "canceled", "started_at": None, "duration": None})
    assert (job.queue_seconds, job.duration_seconds) == (None, None)


def test_what_databases_refuse_is_replaced() -> None:
    assert run_of(DETAIL | {"ref": "a\x00b\ud800"}).ref == "a\ufffdb\ufffd"


# -- old answers -------------------------------------------------------------------------------


def test_a_pipeline_of_2016() -> None:
    run = run_of(load("pipeline"))
    assert (run.run_id, run.status, run.source, run.ref) == (46, Status.SUCCESS, "unknown", "master")
    assert run.finished_at == datetime(2016, 8, 11, 11, 32, 35, 145_000, tzinfo=UTC)
    assert (run.duration_seconds, run.queue_seconds, run.coverage_ratio) == (None, None, None)


def test_a_list_of_2016() -> None:
    entries = [mapping.list_entry(entry) for entry in load("pipelines")]
    assert [(entry.run_id, entry.status, entry.source) for entry in entries] == [
        (47, "pending", ""),
        (48, "pending", ""),
    ]


def test_jobs_of_2015() -> None:
    for name in ("job", "pipeline_jobs"):
        jobs = load(name)
        for job in jobs if isinstance(jobs, list) else [jobs]:
            record = job_of(job)
            assert record.queue_seconds is None
            assert record.failure_reason in ("", "unknown")


def test_a_bridge_of_2015_tells_the_project_by_its_address_only() -> None:
    (bridge,) = load("pipeline_bridges")
    child = mapping.downstream(bridge)
    assert child is not None
    assert child.project_id is None
    at = "https://example.com/diaspora/diaspora-client"
    assert child.is_in(Unit("4", "diaspora/diaspora-client", web_url=at))
    assert not child.is_in(Unit("5", "diaspora/diaspora", web_url="https://example.com/diaspora/diaspora"))
    assert not child.is_in(Unit("6", "x"))


def test_projects_of_2012() -> None:
    with pytest.raises(BadAnswer, match="path_with_namespace"):
        mapping.unit(load("project"))
    units = [mapping.unit({"path_with_namespace": entry["path"]} | entry) for entry in load("group_projects")]
    assert [(unit.key, unit.created_at) for unit in units] == [("4", None)]  # its date has blanks in it


# -- executions --------------------------------------------------------------------------------


def at(seconds: float) -> datetime:
    return datetime(2026, 3, 2, 8, tzinfo=UTC) + timedelta(seconds=seconds)


def job(number: int, name: str, status: Status, ended: float | None, **given_: Any) -> JobRun:
    """A job that ran for 20 s until *ended*, and waited for 1 s before."""
    started = None if ended is None else at(ended - 20)
    created = at(given_.pop("created", 0))
    times = {"started_at": started, "finished_at": None if ended is None else at(ended), "queue_seconds": 1.0}
    return JobRun(number, 46, "test", name, status, created, **{**times, **given_})


def running_again(**given_: Any) -> PipelineRun:
    return PipelineRun(
        run_id=46,
        ref="main",
        ref_kind=RefKind.BRANCH,
        source="push",
        status=Status.RUNNING,
        created_at=at(0),
        updated_at=at(300),
        started_at=at(5),
        **given_,
    )


def test_a_running_pipeline_with_an_end_ran_before() -> None:
    run = run_of(DETAIL | {"status": "running"})
    assert (run.finished_at, run.duration_seconds) == (None, None)
    assert run.earlier == Execution(Status.FAILED, parse_instant(DETAIL["finished_at"]), 183.0)


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ([], Status.FAILED),
        ([job(1, "a", Status.FAILED, 50), job(2, "a", Status.RUNNING, None)], Status.FAILED),
        ([job(1, "a", Status.SUCCESS, 50), job(2, "b", Status.RUNNING, None)], Status.SUCCESS),
        ([job(1, "a", Status.CANCELED, 50), job(2, "a", Status.RUNNING, None)], Status.CANCELED),
        ([job(1, "a", Status.FAILED, 50, allow_failure=True)], Status.SUCCESS),
        ([job(1, "a", Status.CANCELED, 50, allow_failure=True)], Status.SUCCESS),
        ([job(1, "a", Status.FAILED, 30), job(2, "a", Status.SUCCESS, 55)], Status.SUCCESS),
        ([job(1, "a", Status.FAILED, 50), job(2, "a", Status.SUCCESS, 90)], Status.FAILED),
    ],
)
def test_how_the_earlier_execution_ended_is_made_out_from_jobs(jobs: list[JobRun], status: Status) -> None:
    run = running_again(earlier=Execution(Status.FAILED, at(60), 20.0))
    known = executions.with_earlier_status(run, jobs)
    assert known.earlier == Execution(status, at(60), 20.0)


def finished_again() -> PipelineRun:
    return replace(running_again(), status=Status.SUCCESS, finished_at=at(300), duration_seconds=40.0)


def test_a_retry_while_a_job_beside_it_was_still_to_come_proves_no_end() -> None:
    failed, again = job(2, "b", Status.FAILED, 60), job(3, "b", Status.SUCCESS, 300, created=100)
    stuck = replace(job(1, "a", Status.FAILED, 400), started_at=None)
    assert executions.unseen(finished_again(), [stuck, failed, again], []) == []
    delayed = replace(job(1, "a", Status.SUCCESS, 400), started_at=at(390), queue_seconds=2.0)
    assert executions.unseen(finished_again(), [delayed, failed, again], []) == []
    optional = replace(job(1, "a", Status.MANUAL, None), started_at=None, finished_at=None)
    assert len(executions.unseen(finished_again(), [optional, failed, again], [])) == 1


def test_an_execution_between_two_polls_is_told_by_its_retry() -> None:
    jobs = [
        job(1, "a", Status.SUCCESS, 30),
        job(2, "b", Status.FAILED, 60),
        job(3, "b", Status.SUCCESS, 300, created=100),
    ]
    (unseen,) = executions.unseen(finished_again(), jobs, [])
    assert (unseen.status, unseen.finished_at, unseen.updated_at) == (Status.FAILED, at(60), at(60))
    assert unseen.duration_seconds == 40.0


@pytest.mark.parametrize(
    "jobs",
    [
        # GitLab's own retry follows at once.
        [job(1, "a", Status.FAILED, 60), job(2, "a", Status.SUCCESS, 300, created=61)],
        # Another job was still running, or waiting for a runner.
        [
            job(1, "a", Status.FAILED, 60),
            job(2, "a", Status.SUCCESS, 300, created=100),
            job(3, "b", Status.SUCCESS, 110),
        ],
        [
            job(1, "a", Status.FAILED, 60),
            job(2, "a", Status.SUCCESS, 300, created=100),
            job(3, "b", Status.SUCCESS, 200, queue_seconds=130.0),
        ],
        # What was retried had been allowed to fail: the pipeline may have waited for somebody to play a job.
        [job(1, "a", Status.FAILED, 60, allow_failure=True), job(2, "a", Status.SUCCESS, 300, created=100)],
        # The end before this retry is the one that GitLab shows.
        [job(1, "a", Status.FAILED, 299), job(2, "a", Status.RUNNING, None, created=310)],
        [],
    ],
)
def test_nothing_is_told_that_no_retry_proves(jobs: list[JobRun]) -> None:
    assert executions.unseen(finished_again(), jobs, []) == []


# -- senseless answers -------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2026-03-02T08:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999-23:59"])
    | st.sampled_from([10**400, -1, 2**63, "1e400", "nan", "\ud800", "success", "failed", "running"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MAPPERS: dict[str, tuple[dict[str, Any], Callable[[Any], object]]] = {
    "run": (DETAIL, run_of),
    "entry": (DETAIL, mapping.list_entry),
    "job": (JOB, job_of),
    "bridge": (BRIDGE, mapping.downstream),
    "unit": (PROJECT, mapping.unit),
    "change_request": ({"iid": 7}, mapping.open_change_request_refs),
}


@pytest.mark.parametrize("name", MAPPERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_comes_gives_a_record_or_a_bad_answer(name: str, data: st.DataObject) -> None:
    sound, map_ = MAPPERS[name]
    spoiled = data.draw(st.dictionaries(st.sampled_from(sorted(sound)), JSON, max_size=4))
    missing = data.draw(st.sets(st.sampled_from(sorted(sound)), max_size=3))
    given_ = {key: value for key, value in (sound | spoiled).items() if key not in missing}
    if name == "bridge" and isinstance(given_.get("downstream_pipeline"), dict):
        inner = data.draw(
            st.dictionaries(st.sampled_from(["id", "project_id", "updated_at", "web_url"]), JSON)
        )
        given_["downstream_pipeline"] = given_["downstream_pipeline"] | inner
    try:
        record = map_(given_)
    except BadAnswer:
        return
    if isinstance(record, PipelineRun):
        assert isinstance(record.ref, str)
        assert isinstance(record.source, str)
        record.ref.encode()
    if isinstance(record, JobRun):
        assert 0 <= record.job_id < 2**63
    if isinstance(record, mapping.Downstream):
        record.is_in(Unit("1", "acme/p", web_url="https://gitlab.test/acme/p"))


@given(JSON)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_for_a_whole_answer_is_a_bad_one(value: Any) -> None:
    for name, (_, map_) in MAPPERS.items():
        if name == "bridge" and isinstance(value, dict):
            continue  # a bridge that has started nothing
        with pytest.raises(BadAnswer):
            map_(value)


@given(
    st.none()
    | st.text(max_size=40)
    | JSON.map(json.dumps)
    | st.dictionaries(st.sampled_from(["updated_at", "refs_read_at", "unread", "x"]), JSON).map(json.dumps)
)
@settings(max_examples=200, deadline=None)
def test_a_cursor_that_cannot_be_read_is_the_beginning(text: str | None) -> None:
    cursor = Cursor.parse(text)
    assert Cursor.parse(str(cursor)) == cursor
    if cursor.updated_at:
        assert cursor.updated_at - timedelta(days=1)


def test_a_cursor_survives_being_written() -> None:
    cursor = Cursor(at(0), at(9), (3, 4))
    assert Cursor.parse(str(cursor)) == cursor
