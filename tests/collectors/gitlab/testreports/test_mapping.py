"""GitLab's reports of tests to ours: documented answers, and senseless ones."""

from __future__ import annotations

from typing import Any

import pytest

from collectors._testing import Case, Suite
from collectors.gitlab.testreports.mapping import failed_cases, report
from exporter.errors import BadAnswer

SUITE: dict[str, Any] = {
    "name": "test",
    "total_time": 1904,
    "total_count": 3363,
    "success_count": 3350,
    "failed_count": 1,
    "skipped_count": 12,
    "error_count": 0,
    "build_ids": [66004],
    "suite_error": None,
}


def summary(**changed: Any) -> dict[str, Any]:
    return {"total": {}, "test_suites": [SUITE | changed]}


def test_a_suite_of_a_summary() -> None:
    found = report(summary())
    assert found
    assert found.suites == (
        Suite("test", 1904.0, {"success": 3350, "failed": 1, "error": 0, "skipped": 12}, (66004,)),
    )
    assert (found.status, found.failures, found.seconds) == ("failed", 1, 1904.0)


def test_a_pipeline_whose_jobs_reported_nothing_has_no_report() -> None:
    assert report({"total": {"time": 0, "count": 0}, "test_suites": []}) is None


def test_a_suite_that_gitlab_could_not_read() -> None:
    found = report(summary(suite_error="JUnit XML parsing failed", failed_count=0))
    assert found
    assert (found.status, found.suites[0].broken) == ("error", True)


def test_long_names_are_cut_and_missing_ones_empty() -> None:
    found = report({"test_suites": [SUITE | {"name": "x" * 1_000}, SUITE | {"name": None}]})
    assert found
    assert [len(suite.name) for suite in found.suites] == [300, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"test_suites": None},
        {"test_suites": {}},
        {"test_suites": ["test"]},
        summary(failed_count="1"),
        summary(failed_count=None),
        summary(success_count=-1),
        summary(build_ids=None),
        summary(build_ids=["x"]),
        summary(name=7),
    ],
)
def test_an_answer_of_another_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(BadAnswer):
        report(wrong)


@pytest.mark.parametrize("time", [None, "soon", -3, float("nan"), float("inf")])
def test_a_time_that_is_none_counts_nothing(time: object) -> None:
    found = report(summary(total_time=time))
    assert found
    assert found.seconds == 0


def test_failed_and_broken_tests_are_named_once() -> None:
    unknown: list[str] = []
    cases = [
        {"status": "success", "name": "a", "classname": "spec"},
        {"status": "failed", "name": "b", "classname": "spec", "recent_failures": None},
        {"status": "failed", "name": "b", "classname": "spec", "recent_failures": {"count": 3}},
        {"status": "error", "name": "c", "classname": None},
        {"status": "skipped", "name": "d"},
        {"status": "sleepy", "name": "e"},
    ]
    detail = {"test_suites": [{"name": "rspec", "test_cases": cases}, {"name": "none", "test_cases": []}]}
    assert failed_cases(detail, unknown=unknown.append) == [
        Case("rspec", "spec", "b"),
        Case("rspec", "", "c"),
    ]
    assert unknown == ["test_status"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"test_suites": [{"name": "a"}]},
        {"test_suites": [{"name": "a", "test_cases": [7]}]},
        {"test_suites": [{"name": "a", "test_cases": [{"name": "x"}]}]},
    ],
)
def test_a_whole_report_of_another_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(BadAnswer):
        failed_cases(wrong, unknown=print)
