"""Reports of tests in the stand-in: shapes as documented, and what jobs report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PIPELINES = "/projects/101/pipelines"


def begun(one: Any, *jobs: dict[str, Any]) -> str:
    number = one.act("new_pipeline", project="acme/p", jobs=list(jobs))["pipeline_id"]
    one.run(60)
    return f"{PIPELINES}/{number}"


def test_a_summary_is_as_documented(one: Any) -> None:
    tests = {"success": 3, "failed": ["a"], "error": ["b"], "skipped": 2, "seconds": 4.5}
    path = begun(one, {"name": "rspec", "tests": tests})
    assert one.json(f"{path}/test_report_summary") == {
        "total": {
            "time": 4.5,
            "count": 7,
            "success": 3,
            "failed": 1,
            "skipped": 2,
            "error": 1,
            "suite_error": None,
        },
        "test_suites": [
            {
                "name": "rspec",
                "total_time": 4.5,
                "total_count": 7,
                "success_count": 3,
                "failed_count": 1,
                "skipped_count": 2,
                "error_count": 1,
                "build_ids": [1],
                "suite_error": None,
            }
        ],
    }


def test_a_whole_report_has_every_test_and_no_builds(one: Any) -> None:
    path = begun(one, {"name": "rspec", "tests": {"success": 1, "failed": ["a"], "skipped": 1}})
    report = one.json(f"{path}/test_report")
    assert {name: report[name] for name in report if name != "test_suites"} == {
        "total_time": 1.0,
        "total_count": 3,
        "success_count": 1,
        "failed_count": 1,
        "skipped_count": 1,
        "error_count": 0,
    }
    (suite,) = report["test_suites"]
    assert "build_ids" not in suite
    assert [case["status"] for case in suite["test_cases"]] == ["failed", "success", "skipped"]
    assert set(suite["test_cases"][0]) == {
        "status",
        "name",
        "classname",
        "file",
        "execution_time",
        "system_output",
        "stack_trace",
        "recent_failures",
    }


def test_parallel_jobs_are_one_suite(one: Any) -> None:
    jobs = [{"name": f"rspec {n}/3", "tests": {"success": n}} for n in (1, 2, 3)]
    (suite,) = one.json(f"{begun(one, *jobs)}/test_report_summary")["test_suites"]
    assert (suite["name"], suite["success_count"], suite["build_ids"]) == ("rspec", 6, [1, 2, 3])


def test_only_the_newest_job_of_each_name_counts(one: Any) -> None:
    tries = [{"outcome": "failed", "tests": {"failed": ["a"]}}, {"tests": {"success": 1}}]
    path = begun(one, {"name": "rspec", "attempts": tries})
    one.act("retry_pipeline", pipeline=int(path.rpartition("/")[2]))
    one.run(60)
    (suite,) = one.json(f"{path}/test_report_summary")["test_suites"]
    assert (suite["failed_count"], suite["success_count"], suite["build_ids"]) == (0, 1, [2])


def test_a_part_of_a_summary_is_made_a_little_after_its_job(one: Any) -> None:
    number = one.act("new_pipeline", project="acme/p", jobs=[{"name": "unit", "run": 10}])["pipeline_id"]
    path = f"{PIPELINES}/{number}"
    while one.json(path)["status"] != "success":
        one.run(1)
    assert one.json(f"{path}/test_report_summary")["test_suites"] == []
    assert one.json(f"{path}/test_report")["total_count"] > 0
    one.run(5)
    assert one.json(f"{path}/test_report_summary")["total"]["count"] > 0


def test_what_cannot_be_read_is_told(one: Any) -> None:
    path = begun(one, {"name": "rspec", "tests": {"broken": "JUnit XML parsing failed"}})
    assert one.json(f"{path}/test_report_summary")["total"]["suite_error"] == "JUnit XML parsing failed"
    (suite,) = one.json(f"{path}/test_report")["test_suites"]
    assert (suite["suite_error"], suite["test_cases"]) == ("JUnit XML parsing failed", [])


def test_a_failed_unit_test_job_has_failed_tests_unless_its_runner_broke(one: Any) -> None:
    failed = {"name": "unit", "outcome": "failed"}
    total = one.json(f"{begun(one, failed)}/test_report_summary")["total"]
    assert total["failed"] > 0 or total["suite_error"]
    broken = failed | {"reason": "runner_system_failure"}
    assert one.json(f"{begun(one, broken)}/test_report_summary")["test_suites"] == []


def test_jobs_of_other_names_report_nothing(one: Any) -> None:
    path = begun(one, {"name": "compile"}, {"name": "lint"})
    assert one.json(f"{path}/test_report_summary")["total"]["count"] == 0


@pytest.mark.parametrize(("version", "status"), [("14.1.9", 404), ("14.2.0", 200)])
def test_old_versions_have_no_summary(browse: Callable[..., Any], version: str, status: int) -> None:
    browser = browse(projects=0, version=version)
    browser.act("create_project", path="acme/p")
    assert browser.get(f"{begun(browser, {'name': 'unit'})}/test_report_summary")[0] == status


def test_pipelines_of_history_have_reports_too(browse: Callable[..., Any]) -> None:
    browser = browse(projects=1, history_days=2, history_pipelines=20)
    numbers = [entry["id"] for entry in browser.json(f"{PIPELINES}?status=success&per_page=100")]
    assert numbers
    for number in numbers:
        summary = browser.json(f"{PIPELINES}/{number}/test_report_summary")
        assert {suite["name"] for suite in summary["test_suites"]} == {"unit", "integration"}
        assert summary == browser.json(f"{PIPELINES}/{number}/test_report_summary")


def test_the_truth_tells_every_report(one: Any) -> None:
    path = begun(one, {"name": "rspec", "tests": {"success": 2}})
    (told,) = one.control("GET", "test_reports")["test_reports"]
    assert (told["project"], told["execution"], told["ref"]) == ("acme/p", 1, "main")
    assert told["test_suites"] == one.json(f"{path}/test_report_summary")["test_suites"]
