"""Runs that are reported: what counts, once, and what is shown of them."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.reports import report as reporting
from collectors.reports.mapping import run_of
from collectors.reports.report import Report, schema
from exporter.errors import BadAnswer
from exporter.hooks import AcceptsHooks, NotUnderstood
from exporter.model.runs import Status
from tests.collectors.reports.conftest import NOW, SECRET, Told

RUNS, STATUS, ACTIVE = "ci_pipeline_runs_total", "ci_pipeline_status", "ci_pipeline_runs_active"
DAY = 86_400
SUCCESS = '{pipeline="",project="acme/p",ref_kind="branch",source="unknown",status="success"} 1.0'


# -- proofs ------------------------------------------------------------------------------------------


def signature(body: bytes) -> str:
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def test_a_report_proves_itself_with_a_token_or_a_signature(told: Told) -> None:
    assert isinstance(told.collector, AcceptsHooks)
    assert told.collector.accepts_hooks()
    proves = told.collector.hook_is_authentic
    assert proves(told.hook(b"{}", authorization=f"Bearer {SECRET}"))
    assert proves(told.hook(b"{}", authorization=f"bearer {SECRET} "))
    assert proves(told.hook(b"{}", x_ci_exporter_signature_256=signature(b"{}")))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer other"},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": "Bearer \udcff"},
        {"x_ci_exporter_signature_256": signature(b"[]")},
        {"x_ci_exporter_signature_256": signature(b"{}").removeprefix("sha256=")},
    ],
)
def test_any_other_report_proves_nothing(told: Told, headers: dict[str, str]) -> None:
    assert not told.collector.hook_is_authentic(told.hook(b"{}", **headers))


def test_a_secret_may_hold_any_letter(told_of: Callable[..., Told]) -> None:
    secret = "clé-voilà"
    told = told_of(hooks={"secret": secret})
    sent = secret.encode().decode("latin-1")  # as a server reads it
    assert told.collector.hook_is_authentic(told.hook(b"{}", authorization=f"Bearer {sent}"))
    assert not told.collector.hook_is_authentic(told.hook(b"{}", authorization=f"Bearer {sent[:-1]}"))


def test_without_a_secret_no_report_is_accepted(told_of: Callable[..., Told]) -> None:
    told = told_of(hooks={})
    assert not told.collector.accepts_hooks()
    assert not told.collector.hook_is_authentic(told.hook(b"{}", authorization="Bearer "))


def test_a_report_that_is_sent_again_has_the_same_id(told: Told) -> None:
    assert told.collector.hook_id(told.hook(b"{}", idempotency_key="a")) == "a"


# -- runs --------------------------------------------------------------------------------------------


def test_a_project_is_there_from_its_first_report(told: Told) -> None:
    assert told.lines(STATUS) == []
    told.report(status="success", ref="main", source="push", duration_seconds=90, queue_seconds=5)
    assert told.lines(RUNS) == [
        '{pipeline="",project="acme/p",ref_kind="branch",source="push",status="success"} 1.0'
    ]
    assert told.lines("ci_pipeline_run_duration_seconds_sum")[0].endswith(" 90.0")
    assert told.lines("ci_pipeline_run_queue_duration_seconds_sum")[0].endswith(" 5.0")
    (shown,) = told.lines(STATUS)
    assert 'ref="main"' in shown
    assert 'status="success"' in shown


def test_the_first_report_of_a_project_is_news_for_sinks_too(told: Told) -> None:
    told.store.outbox.subscribe("sink", ["runs"])
    told.report(status="failed")
    told.report(project="acme/q", status="failed")
    waiting = told.store.outbox.read("sink", 0, 9)
    assert [json.loads(entry.event.data)["project"]["name"] for entry in waiting] == ["acme/p", "acme/q"]


def test_its_end_updates_the_run_that_was_reported_to_run(told: Told) -> None:
    told.report(status="running", ref="main", started_at=told.time(0))
    assert 'status="running"' in told.lines(STATUS)[0]
    told.after(120).report(status="failed", ref="main", started_at=told.time(0))
    (shown,) = told.lines(STATUS)
    assert 'status="failed"' in shown
    assert told.lines("ci_pipeline_run_duration_seconds_sum")[0].endswith(" 120.0")


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"duration_seconds": 60},
        {"started_at": "2026-03-02T07:59:00Z"},
        {"started_at": "2026-03-02T07:59:00Z", "duration_seconds": 60},
        {"finished_at": "2026-03-02T08:00:00+00:00"},
    ],
)
def test_an_end_that_is_told_twice_counts_once(told: Told, times: dict[str, Any]) -> None:
    told.report(status="success", **times)
    told.after(20).report(status="success", **times)
    assert told.lines(RUNS) == [SUCCESS]


@pytest.mark.parametrize("again", [{"started_at": 100}, {"finished_at": 200}, {"duration_seconds": 60}])
def test_a_run_that_is_run_again_counts_again(told: Told, again: dict[str, Any]) -> None:
    times = {key: told.time(value) if key[-3:] == "_at" else value for key, value in again.items()}
    told.report(status="success")
    told.after(300).report(status="success", **times)
    assert told.lines(RUNS) == [SUCCESS.replace(" 1.0", " 2.0")]


def test_a_run_whose_end_nobody_reports_does_not_run_for_ever(told: Told) -> None:
    told.report(status="running", ref="main")
    [state] = told.rounds.states()
    told.after(6 * DAY).rounds.visit(state)
    assert told.lines(ACTIVE)
    told.after(2 * DAY).rounds.visit(state)
    assert told.lines(ACTIVE) == []
    # It was only slow.
    told.report(status="success", ref="main")
    assert told.lines(RUNS) == [SUCCESS]


def test_a_late_report_that_it_runs_changes_nothing(told: Told) -> None:
    told.report(status="success", ref="main", started_at=told.time(-60))
    told.after(5).report(status="running", ref="main", started_at=told.time(-60))
    assert 'status="success"' in told.lines(STATUS)[0]


def test_clocks_that_differ_do_not_hide_an_end(told: Told) -> None:
    told.report(status="running", ref="main")
    told.after(10).report(status="success", ref="main", finished_at=told.time(-30))
    assert 'status="success"' in told.lines(STATUS)[0]


def test_a_skipped_run_neither_waits_nor_takes_time(told: Told) -> None:
    told.report(status="skipped", duration_seconds=3, started_at=told.time(-3))
    assert told.lines(RUNS) == [SUCCESS.replace("success", "skipped")]
    assert told.lines("ci_pipeline_run_duration_seconds_count") == []


def test_runs_with_keys_are_told_apart_and_the_last_created_is_the_newest(told: Told) -> None:
    for number in range(20):
        key, created_at = f"build {number}", told.time(number)
        told.report(key=key, created_at=created_at, status="running", ref="main")
        status = "failed" if number == 19 else "success"
        told.report(key=key, created_at=created_at, status=status, ref="main")
    counts = {line.rpartition("status=")[2] for line in told.lines(RUNS)}
    assert counts == {'"failed"} 1.0', '"success"} 19.0'}
    assert 'status="failed"' in told.lines(STATUS)[0]


def test_runs_of_one_instant_are_told_apart_by_their_keys() -> None:
    made = [
        run_of(
            Report(project="p", status="running", key=key, created_at=NOW), NOW, lambda _kind, _ref: True
        ).run_id
        for key in ("a", "b", "a")
    ]
    assert made[0] == made[2] != made[1]
    assert max(made) < 2**52


def test_refs_that_are_not_selected_are_counted_unless_only_those_are(told_of: Callable[..., Told]) -> None:
    told = told_of()
    told.report(status="success", ref="feature")
    assert (len(told.lines(RUNS)), told.lines(STATUS)) == (1, [])
    other = told_of(refs={"count": "selected"})
    other.report(project="acme/q", status="success", ref="feature")
    assert not any("acme/q" in line for line in other.lines(RUNS))


# -- jobs --------------------------------------------------------------------------------------------


def test_jobs_are_counted_once_with_their_run(told: Told) -> None:
    jobs = [
        {"name": "unit", "stage": "test", "status": "failed", "duration_seconds": 30, "queue_seconds": 2},
        {"name": "unit", "stage": "test", "status": "success", "duration_seconds": 20},
        {"name": "lint", "status": "failed", "failure_reason": "script_failure", "allow_failure": True},
        {"name": "ship", "status": "skipped"},
        {"name": "later", "status": "pending"},
    ]
    for _ in range(2):
        told.report(status="success", jobs=jobs)
        told.after(10)
    assert told.lines("ci_job_runs_total") == [
        '{failure_reason="script_failure",job="lint",project="acme/p",stage="",status="failed"} 1.0',
        '{failure_reason="",job="ship",project="acme/p",stage="",status="skipped"} 1.0',
        '{failure_reason="unknown",job="unit",project="acme/p",stage="test",status="failed"} 1.0',
        '{failure_reason="",job="unit",project="acme/p",stage="test",status="success"} 1.0',
    ]
    assert told.lines("ci_job_retries_total") == ['{job="unit",project="acme/p",stage="test"} 1.0']
    assert told.lines("ci_job_run_duration_seconds_sum")[0].endswith(" 50.0")


def test_jobs_are_not_counted_where_nobody_wants_them(told_of: Callable[..., Told]) -> None:
    told = told_of(jobs={"enabled": False})
    told.report(status="success", jobs=[{"name": "unit", "status": "success"}])
    assert told.lines("ci_job_runs_total") == []


def test_many_tries_of_a_job_have_growing_numbers(told: Told) -> None:
    told.report(status="success", jobs=[{"name": "unit", "status": "success"}] * 32)
    assert told.lines("ci_job_retries_total") == ['{job="unit",project="acme/p",stage=""} 31.0']


# -- what is no report -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"status": "green"}, "status"),
        ({"project": ""}, "project"),
        ({"project": "a\nb"}, "project"),
        ({"source": "swordfish!"}, "source"),
        ({"run_id": -1}, "run_id"),
        ({"run_id": 2**52}, "run_id"),
        ({"run_id": None}, "the whole"),
        ({"run_id": 1, "key": "swordfish"}, "the whole"),
        ({"key": "swordfish"}, "the whole"),
        ({"started_at": "2026-03-02T08:00:00"}, "started_at"),
        ({"duration_seconds": -1}, "duration_seconds"),
        ({"duration_seconds": "swordfish"}, "duration_seconds"),
        ({"web_url": "javascript:swordfish"}, "web_url"),
        ({"jobs": [{"name": "unit"}]}, "jobs.0.status"),
    ],
)
def test_a_wrong_report_is_refused_and_only_its_keys_are_told(told: Told, wrong: Any, key: str) -> None:
    assert told.refused(**{"status": "success", **wrong}) == f"no report: {key}"


@pytest.mark.parametrize(
    "times",
    [
        {"finished_at": "2026-03-04T08:00:00Z"},
        {"started_at": "1999-01-01T00:00:00Z"},
        {"created_at": "0001-01-01T00:00:00+14:00"},
        {"started_at": "9999-12-31T23:59:59Z", "duration_seconds": 9_000_000},
        {"started_at": "2026-03-02T08:00:00Z", "duration_seconds": 90_000},
        {"jobs": [{"name": "unit", "status": "success", "finished_at": "9999-12-31T23:59:59Z"}]},
    ],
)
def test_times_that_cannot_be_are_refused(told: Told, times: dict[str, Any]) -> None:
    assert told.refused(status="success", **times) == "a time is years ago or in the future"


def test_a_newer_reporter_may_tell_more(told: Told) -> None:
    told.report(status="success", weather="fine")
    assert told.lines(RUNS) == [SUCCESS]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b"[" * 99999])
def test_other_bodies_are_not_understood(told: Told, body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        list(told.collector.read_hook(told.hook(body)))


def test_no_log_line_shows_the_secret(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told.collector.hook_is_authentic(told.hook(b"{}", authorization=f"Bearer {SECRET}"))
    told.report(status="success")
    assert caplog.records
    assert SECRET not in "".join(record.getMessage() + repr(vars(record)) for record in caplog.records)


# -- the schema --------------------------------------------------------------------------------------

SHIPPED = json.loads(Path(reporting.__file__).with_name("report.schema.json").read_text())
REPORTS = st.fixed_dictionaries(
    {"project": st.text(max_size=5), "status": st.sampled_from(["success", "running", "green"])},
    optional={
        "run_id": st.integers(-5, 2**53),
        "key": st.text(max_size=3),
        "created_at": st.sampled_from([NOW.isoformat(), "2026-03-02T08:00:00Z"]),
        "duration_seconds": st.floats(-5, 1e8),
        "source": st.sampled_from(["push", "Push", ""]),
        "sha": st.sampled_from(["0ff3ae1", "none"]),
    },
)


def test_the_shipped_schema_is_that_of_the_collector() -> None:
    assert schema() == SHIPPED


@settings(max_examples=100, deadline=None)
@given(sent=REPORTS)
def test_what_fits_the_schema_is_understood(sent: dict[str, Any]) -> None:
    fits = jsonschema.Draft202012Validator(SHIPPED).is_valid(sent)
    try:
        run = run_of(Report.model_validate_json(json.dumps(sent)), NOW, lambda _kind, _ref: True)
    except (ValueError, BadAnswer):
        assert not fits
    else:
        assert fits
        assert run.status in Status
