"""Reports of tests through rounds, store and exposition: what is read, when, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors._standin.times import parse
from exporter.contract import Trouble
from exporter.errors import StoreError
from exporter.runnermetrics import FetchResult
from tests.support.harness import PROJECT, START, ReportsLab, gitlab
from tests.support.truth import counted_reports, counted_suites, counted_tests

Make = Callable[..., ReportsLab]
LIST, SUMMARY = "GET /projects/:id/pipelines", "GET /projects/:id/pipelines/:id/test_report_summary"
REPORT, DETAIL = "GET /projects/:id/pipelines/:id/test_report", "GET /projects/:id/pipelines/:id"
WHERE = f'project="{PROJECT}",provider="gitlab"'
MAIN = f'{WHERE},ref="main",ref_kind="branch",source="push"'


@pytest.fixture
def lab(reports_of: Make) -> ReportsLab:
    made = reports_of()
    made.exporter.poll()
    made.calls()
    return made


def job(name: str = "unit", run: int = 10, **tests: Any) -> dict[str, Any]:
    """A job whose *tests* are reported; it fails if one of them did."""
    outcome = "failed" if tests.get("failed") or tests.get("error") else "success"
    return {"name": name, "run": run, "outcome": outcome, "tests": tests}


def failing(lab: ReportsLab) -> set[str]:
    return {line.split('case="')[1].split('"')[0] for line in lab.exporter.lines("ci_test_case_failed")}


def flips(lab: ReportsLab) -> dict[str, float]:
    return {
        line.split('case="')[1].split('"')[0]: float(line.split()[-1])
        for line in lab.exporter.lines("ci_test_case_flips")
    }


def troubles(lab: ReportsLab) -> list[Trouble]:
    return [trouble.reason for trouble in lab.exporter.rounds.troubles()]


# -- what is shown -----------------------------------------------------------------------------------


def test_a_report_is_shown_and_counted(lab: ReportsLab) -> None:
    number = lab.pipeline(
        job(success=5, failed=["one"], skipped=2, seconds=3.5),
        job("it 1/2", success=2, seconds=1.0),
        job("it 2/2", success=3, error=["two"], seconds=2.0),
        job("docs", broken="JUnit XML parsing failed"),
    )
    lab.run(90)
    shown = [
        line
        for line in lab.exporter.text.splitlines()
        if not line.startswith("#") and not line.endswith(" 0.0") and "_bucket" not in line
    ]
    (finished,) = lab.exporter.lines("ci_test_last_finished_timestamp_seconds")
    assert shown == [
        f'ci_test_last_cases{{{MAIN},status="success"}} 10.0',
        f'ci_test_last_cases{{{MAIN},status="failed"}} 1.0',
        f'ci_test_last_cases{{{MAIN},status="error"}} 1.0',
        f'ci_test_last_cases{{{MAIN},status="skipped"}} 2.0',
        f'ci_test_last_suites{{{MAIN},status="failed"}} 2.0',
        f'ci_test_last_suites{{{MAIN},status="error"}} 1.0',
        f"ci_test_last_duration_seconds{{{MAIN}}} 7.5",
        f"ci_test_last_run_id{{{MAIN}}} {number}.0",
        finished,
        f'ci_test_cases_total{{{WHERE},status="error",suite="it"}} 1.0',
        f'ci_test_cases_total{{{WHERE},status="success",suite="it"}} 5.0',
        f'ci_test_cases_total{{{WHERE},status="failed",suite="unit"}} 1.0',
        f'ci_test_cases_total{{{WHERE},status="skipped",suite="unit"}} 2.0',
        f'ci_test_cases_total{{{WHERE},status="success",suite="unit"}} 5.0',
        f'ci_test_suite_reports_total{{{WHERE},status="error",suite="docs"}} 1.0',
        f'ci_test_suite_reports_total{{{WHERE},status="failed",suite="it"}} 1.0',
        f'ci_test_suite_reports_total{{{WHERE},status="failed",suite="unit"}} 1.0',
        f'ci_test_suite_duration_seconds_total{{{WHERE},suite="docs"}} 1.0',
        f'ci_test_suite_duration_seconds_total{{{WHERE},suite="it"}} 3.0',
        f'ci_test_suite_duration_seconds_total{{{WHERE},suite="unit"}} 3.5',
        f'ci_test_reports_total{{{WHERE},status="failed"}} 1.0',
        f"ci_test_report_duration_seconds_count{{{WHERE}}} 1.0",
        f"ci_test_report_duration_seconds_sum{{{WHERE}}} 7.5",
    ]


def test_a_suite_shows_the_statuses_that_it_never_had(lab: ReportsLab) -> None:
    lab.pipeline(job(success=5))
    lab.run(90)
    assert lab.exporter.value("ci_test_cases_total", suite="unit", status="failed") == 0
    assert lab.exporter.value("ci_test_suite_reports_total", suite="unit", status="error") == 0
    assert lab.exporter.value("ci_test_reports_total", status="failed") == 0


def test_an_older_pipeline_that_ends_later_is_counted_and_not_shown(lab: ReportsLab) -> None:
    lab.pipeline(job(run=120, success=1))
    newer = lab.pipeline(job(success=2))
    lab.run(240)
    assert lab.exporter.value("ci_test_last_run_id") == newer
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 2}


def test_other_refs_are_counted_and_shown_only_if_selected(lab: ReportsLab) -> None:
    lab.act("create_branch", project=PROJECT, name="feature")
    lab.act("create_tag", project=PROJECT, name="v1")
    iid = lab.act("open_mr", project=PROJECT)["iid"]
    request = f"refs/merge-requests/{iid}/head"
    for ref in ("feature", "v1", request, "main"):
        lab.pipeline(job(success=1), ref=ref)
    lab.run(90)
    shown = {line.split('ref="')[1].split('"')[0] for line in lab.exporter.lines("ci_test_last_run_id")}
    assert shown == {"v1", request, "main"}
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 4}
    lab.act("delete_tag", project=PROJECT, name="v1")
    lab.act("close_mr", project=PROJECT, iid=iid)
    lab.run(1_900, 950)
    assert lab.exporter.lines("ci_test_last_run_id", ref="main") == lab.exporter.lines("ci_test_last_run_id")
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 4}


def test_no_more_refs_are_shown_than_wanted(reports_of: Make) -> None:
    lab = reports_of(refs={"max_refs": 2})
    for name in ("v1", "v2", "v3"):
        lab.act("create_tag", project=PROJECT, name=name)
        lab.pipeline(job(success=1), ref=name)
    lab.run(90)
    assert len(lab.exporter.lines("ci_test_last_run_id")) == 2
    assert not lab.exporter.lines("ci_test_last_run_id", ref="v1")


def test_no_more_suites_are_named_than_wanted(reports_of: Make) -> None:
    lab = reports_of(max_suites=1)
    for _ in range(2):
        lab.pipeline(job("a", success=1), job("b", success=2), job("c", success=3))
        lab.run(60)
        lab.restart()
    assert counted_tests(lab.exporter.text) == {
        (PROJECT, "a", "success"): 2,
        (PROJECT, "other", "success"): 10,
    }


def test_what_the_configuration_wants_no_more_is_not_shown(reports_of: Make) -> None:
    lab = reports_of(cases={"enabled": True})
    child = {"jobs": [job("long", success=7)]}
    lab.pipeline(job(success=1, failed=["one"]), {"name": "trigger", "downstream": child})
    request = f"refs/merge-requests/{lab.act('open_mr', project=PROJECT)['iid']}/head"
    lab.pipeline(job(success=1), ref=request)
    lab.run(120, 30)
    assert len(lab.exporter.lines("ci_test_last_run_id")) == 3
    assert failing(lab) == {"test_one"}
    lab.restart(cases={"enabled": False}, child_pipelines=False, refs={"change_requests": {"enabled": False}})
    lab.exporter.poll()
    assert len(lab.exporter.lines("ci_test_last_run_id")) == 1
    assert lab.exporter.lines("ci_test_last_run_id", ref="main", source="push")
    assert failing(lab) == set()


def test_the_newest_report_from_before_the_start_is_shown_and_not_counted(tmp_path: Path) -> None:
    with gitlab(start=parse(START) - 600_000) as server:
        server.action("create_project", path=PROJECT)
        made = {"project": PROJECT, "jobs": [job(success=3)]}
        server.action("new_pipeline", **made)
        number = server.action("new_pipeline", **made)["pipeline_id"]
        server.advance(600)
        lab = ReportsLab(server, tmp_path)
        lab.exporter.poll()
        assert lab.exporter.value("ci_test_last_run_id") == number
        assert lab.exporter.value("ci_test_last_cases", status="success") == 3
        assert counted_reports(lab.exporter.text) == {}
        lab.calls()
        lab.run(4_000, 500)
        assert SUMMARY not in lab.calls()
        lab.close()


def test_history_is_counted_if_wanted(tmp_path: Path) -> None:
    with gitlab(start=parse(START) - 600_000) as server:
        server.action("create_project", path=PROJECT)
        server.action("new_pipeline", project=PROJECT, jobs=[job(success=3)])
        server.advance(600)
        lab = ReportsLab(server, tmp_path, backfill_days=1)
        lab.exporter.poll()
        assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 1}
        lab.close()


def test_totals_go_on_under_the_new_name_of_a_project(lab: ReportsLab) -> None:
    lab.pipeline(job(success=1))
    lab.run(60)
    lab.act("rename_project", project=PROJECT, path="acme/q")
    lab.exporter.discover()
    lab.pipeline(job(success=1), project="acme/q")
    lab.run(60)
    assert counted_tests(lab.exporter.text) == {("acme/q", "unit", "success"): 2}
    assert PROJECT not in lab.exporter.text


# -- what is asked, and when -------------------------------------------------------------------------


def test_no_news_costs_one_call_and_makes_polls_rarer(lab: ReportsLab) -> None:
    lab.pipeline(job(success=1))
    lab.run(120)
    lab.calls()
    lab.advance(30)
    visits = lab.exporter.poll()
    assert lab.calls() == {LIST: 1}
    assert [visit.result for visit in visits if visit] == [FetchResult.EMPTY]
    for _ in range(4):
        lab.advance(60)
        visits = lab.exporter.poll()
    assert [visit.wait for visit in visits if visit] == [300]
    assert lab.exporter.value("ci_test_last_cases", status="success") == 1


def test_a_pipeline_without_a_report_costs_one_call_and_never_again(lab: ReportsLab) -> None:
    lab.pipeline({"name": "compile"})
    lab.run(1_900, 50)
    assert lab.calls()[SUMMARY] == 1
    lab.restart()
    lab.run(1_900, 50)
    assert SUMMARY not in lab.calls()
    assert counted_reports(lab.exporter.text) == {}


def test_a_pipeline_is_read_only_some_time_after_its_end(lab: ReportsLab) -> None:
    lab.pipeline(job(run=40, success=1))
    lab.run(60, 10)
    assert SUMMARY not in lab.calls()
    lab.run(30, 10)
    assert lab.calls()[SUMMARY] == 1


def test_a_skipped_pipeline_and_one_that_waits_for_somebody_cost_nothing(lab: ReportsLab) -> None:
    lab.pipeline(story="ci_skip")
    lab.pipeline(job(success=1), {"name": "gate", "stage": "gate", "when": "manual"})
    lab.run(120)
    assert SUMMARY not in lab.calls()


def test_a_restart_shows_the_newest_reports_again_without_a_call_for_them(lab: ReportsLab) -> None:
    lab.pipeline(job(success=4))
    lab.run(90)
    before = lab.exporter.text
    lab.restart()
    lab.calls()
    lab.exporter.poll()
    assert lab.exporter.text == before
    assert lab.calls() == {LIST: 1}


def test_what_stood_by_shows_the_newest_reports_again_when_it_leads(lab: ReportsLab) -> None:
    lab.pipeline(job(success=4))
    lab.run(90)
    lab.exporter.rounds.stand_by()
    assert not lab.exporter.lines("ci_test_last_cases")
    assert lab.exporter.lines("ci_test_cases_total")
    lab.exporter.rounds.lead()
    lab.exporter.poll()
    assert lab.exporter.value("ci_test_last_cases", status="success") == 4


def test_many_pipelines_that_ended_at_one_instant_are_all_read(reports_of: Make) -> None:
    lab = reports_of(per_page=3)
    for _ in range(11):
        lab.pipeline({**job(success=1), "queue": 1})
    lab.run(120, 40)
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 11}


def test_a_long_backlog_is_read_in_parts(reports_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.gitlab.testreports.cursor._MOST_WAITING", 4)
    monkeypatch.setattr("collectors.gitlab.testreports.reader._REPORTS_PER_POLL", 3)
    lab = reports_of(per_page=2)
    for _ in range(12):
        lab.pipeline(job(success=1))
        lab.advance(2)
    lab.advance(300)
    visits = lab.exporter.poll()
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 12}
    assert [visit.wait for visit in visits if visit] == [0, 0, 0, 30]


def test_a_list_without_an_end_is_a_failed_poll(reports_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collectors.gitlab.testreports.reader._PAGES_PER_POLL", 3)
    lab = reports_of(per_page=1)
    for _ in range(5):
        lab.pipeline(job(success=1))
    lab.advance(300)
    (visit,) = lab.exporter.poll()
    assert visit
    assert visit.result is FetchResult.ERROR


@pytest.mark.parametrize("children", [True, False])
def test_children_are_read_if_wanted(reports_of: Make, children: bool) -> None:
    lab = reports_of(child_pipelines=children)
    child = {"jobs": [job("long", run=400, success=7)]}
    lab.pipeline(job(success=1), {"name": "trigger", "downstream": child})
    lab.run(600, 30)
    suites = {suite for _, suite, _ in counted_tests(lab.exporter.text)}
    assert suites == ({"unit", "long"} if children else {"unit"})
    assert bool(lab.exporter.lines("ci_test_last_run_id", source="parent_pipeline")) == children


# -- again -------------------------------------------------------------------------------------------


def test_a_retry_counts_the_suites_that_ran_again(lab: ReportsLab) -> None:
    shaky = {
        "name": "unit",
        "attempts": [job(success=1, failed=["one"]), job(success=2)],
    }
    number = lab.pipeline(shaky, job("it", success=10))
    lab.run(90)
    assert lab.exporter.value("ci_test_last_cases", status="failed") == 1
    lab.act("retry_pipeline", pipeline=number)
    lab.run(90)
    assert lab.calls()[SUMMARY] == 2
    assert counted_suites(lab.exporter.text) == {
        (PROJECT, "unit", "failed"): 1,
        (PROJECT, "unit", "success"): 1,
        (PROJECT, "it", "success"): 1,
    }
    assert counted_reports(lab.exporter.text) == {(PROJECT, "failed"): 1, (PROJECT, "success"): 1}
    assert lab.exporter.value("ci_test_last_cases", status="failed") == 0


def test_a_job_without_tests_that_runs_again_counts_nothing_again(lab: ReportsLab) -> None:
    number = lab.pipeline(job(success=3), {"name": "deploy", "outcome": "failed"})
    lab.run(90)
    lab.act("retry_pipeline", pipeline=number)
    lab.run(90)
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 1}


def test_a_retry_before_the_report_was_read_leaves_the_last_one(lab: ReportsLab) -> None:
    number = lab.pipeline({"name": "unit", "attempts": [job(failed=["one"]), job(success=2)]})
    lab.run(15, 5)
    lab.act("retry_pipeline", pipeline=number)
    lab.run(90)
    assert counted_tests(lab.exporter.text) == {(PROJECT, "unit", "success"): 2}


# -- single tests ------------------------------------------------------------------------------------


def test_failed_tests_are_named_only_when_asked_for(reports_of: Make) -> None:
    lab = reports_of()
    lab.pipeline(job(success=1, failed=["one"]))
    lab.run(90)
    assert failing(lab) == set()
    assert REPORT not in lab.calls()
    lab.restart(cases={"enabled": True, "projects": ["other/*"]})
    lab.pipeline(job(success=1, failed=["one"]))
    lab.run(90)
    assert REPORT not in lab.calls()
    lab.restart(cases={"enabled": True})
    lab.pipeline(job(success=1, failed=["one"], error=["two"]))
    lab.run(90)
    assert failing(lab) == {"test_one", "test_two"}
    assert lab.calls()[REPORT] == 1
    lab.pipeline(job(success=3))
    lab.run(90)
    assert failing(lab) == set()
    assert REPORT not in lab.calls()


def test_a_test_that_comes_and_goes_is_flaky_also_after_a_restart(reports_of: Make) -> None:
    lab = reports_of(cases={"enabled": True})
    for failed in (["one"], ["two"], ["one", "two"], ["two"]):
        lab.pipeline(job(success=5, failed=failed))
        lab.run(60, 30)
        lab.restart()
        lab.exporter.poll()
    assert flips(lab) == {"test_one": 3}
    assert failing(lab) == {"test_two"}


def test_no_more_tests_are_named_than_wanted(reports_of: Make) -> None:
    lab = reports_of(cases={"enabled": True, "max_cases": 2}, refs={"branches": {"regexp": ".*"}})
    lab.pipeline(job(failed=["one", "two", "three"]))
    lab.run(60)
    lab.act("create_branch", project=PROJECT, name="next")
    lab.pipeline(job(failed=["four"]), ref="next")
    lab.run(60)
    assert len(failing(lab)) == 2
    assert lab.exporter.value("ci_test_last_cases", status="failed", ref="main") == 3


def test_names_that_may_not_be_read_are_told_and_the_report_counts(reports_of: Make) -> None:
    lab = reports_of(cases={"enabled": True})
    lab.exporter.poll()
    lab.server.faults({"kind": "status", "status": 403, "path": "/test_report$"})
    lab.pipeline(job(success=1, failed=["one"]))
    told = []
    for _ in range(6):
        lab.run(15)
        told += troubles(lab)
    assert told == [Trouble.FORBIDDEN]
    assert counted_reports(lab.exporter.text) == {(PROJECT, "failed"): 1}
    assert lab.exporter.value("ci_test_last_cases", status="failed") == 1


# -- what goes wrong ---------------------------------------------------------------------------------


def test_an_old_gitlab_without_summaries_is_a_trouble_and_no_crash(reports_of: Make) -> None:
    lab = reports_of({"version": "14.1.0"})
    lab.act("create_project", path=PROJECT)
    lab.exporter.discover()
    lab.pipeline(job(success=1))
    lab.run(90)
    assert troubles(lab) == [Trouble.NOT_FOUND]
    (trouble,) = lab.exporter.rounds.troubles()
    assert "older than 14.2" in trouble.detail


def test_a_token_that_may_not_read_jobs_is_a_trouble_and_counts_later(lab: ReportsLab) -> None:
    lab.server.faults({"kind": "status", "status": 403, "path": "/test_report_summary"})
    lab.pipeline(job(success=1))
    lab.run(90)
    assert troubles(lab) == [Trouble.FORBIDDEN]
    lab.server.faults()
    lab.run(30)
    assert troubles(lab) == []
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 1}
    assert lab.exporter.value("ci_test_last_cases", status="success") == 1


def test_a_pipeline_that_is_deleted_before_it_was_read_is_let_go(lab: ReportsLab) -> None:
    number = lab.pipeline(job(success=1))
    lab.run(15, 5)
    lab.act("delete_pipeline", pipeline=number)
    lab.run(90)
    assert troubles(lab) == []
    assert lab.exporter.store.position(1).cursor is not None
    assert "queue" not in str(lab.exporter.store.position(1).cursor)


def test_one_report_that_cannot_be_read_holds_up_no_other(lab: ReportsLab) -> None:
    bad = lab.pipeline(job(success=1))
    lab.server.faults({"kind": "wrong_shape", "shape": "object", "path": f"/{bad}/test_report_summary"})
    lab.pipeline(job(success=1))
    lab.run(90)
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 1}
    assert troubles(lab) == [Trouble.BAD_DATA]
    lab.server.faults()
    lab.run(600, 60)
    assert troubles(lab) == []
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 2}


def test_a_poll_that_could_not_be_saved_is_read_again(
    lab: ReportsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.pipeline(job(success=1))
    lab.advance(60)
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> None:
            raise StoreError("the disk is full")

        patch.setattr(lab.exporter.store, "save", fail)
        lab.exporter.poll()
    assert lab.calls()[SUMMARY] == 1
    assert counted_reports(lab.exporter.text) == {}
    lab.restart()
    lab.run(60)
    assert lab.calls()[SUMMARY] == 1
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 1}


def test_a_refused_token_stops_everything(lab: ReportsLab) -> None:
    lab.act("set_token", token="another")
    lab.exporter.poll()
    assert "401" in (lab.exporter.rounds.halted or "")
    assert not lab.exporter.rounds.resume()


def test_many_reports_that_cannot_be_read_fail_the_poll(lab: ReportsLab) -> None:
    for _ in range(5):
        lab.pipeline(job(success=1))
    lab.server.faults({"kind": "wrong_shape", "shape": "object", "path": "/test_report_summary"})
    lab.advance(60)
    (visit,) = lab.exporter.poll()
    assert visit
    assert visit.result is FetchResult.ERROR
    assert lab.calls()[SUMMARY] == 3
    lab.server.faults()
    lab.run(240, 60)
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 5}


def test_a_null_is_no_deleted_pipeline(lab: ReportsLab) -> None:
    lab.server.faults({"kind": "wrong_shape", "shape": "null", "path": r"/pipelines/\d+"})
    lab.pipeline(job(success=1))
    lab.run(90)
    lab.server.faults()
    lab.run(600, 60)
    assert counted_reports(lab.exporter.text) == {(PROJECT, "success"): 1}
    assert lab.exporter.value("ci_test_last_cases", status="success") == 1


def test_a_report_that_never_can_be_read_is_given_up(lab: ReportsLab) -> None:
    number = lab.pipeline(job(success=1))
    lab.server.faults({"kind": "wrong_shape", "shape": "object", "path": f"/{number}/test_report_summary"})
    lab.run(140_000, 3_700)
    lab.calls()
    lab.run(9_000, 3_700)
    assert SUMMARY not in lab.calls()
    assert troubles(lab) == []
