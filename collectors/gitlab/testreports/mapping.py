"""GitLab's reports of tests to ours.

Source: GitLab, doc/api/pipelines.md; app/serializers/test_suite_summary_entity.rb and test_case_entity.rb;
lib/gitlab/ci/reports/test_suite_summary.rb. A summary is made of the newest job of each name, in the
background of each job's end. ``recent_failures`` of a test is always null over REST, so that flaky tests are
told from a history of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collectors._testing import Case, Report, Suite, short
from collectors.gitlab.values import Json, integer, json_object, seconds, text, text_or_empty
from exporter import ci_test_families as families
from exporter.errors import BadAnswer

_COUNTS = {
    families.SUCCESS: "success_count",
    families.FAILED: "failed_count",
    families.ERROR: "error_count",
    families.SKIPPED: "skipped_count",
}
_FAILURES = frozenset((families.FAILED, families.ERROR))
_OTHERS = frozenset((families.SUCCESS, families.SKIPPED))
Unknown = Callable[[str], None]


def report(summary: Json) -> Report | None:
    """The report in a *summary*; ``None`` if no job of the pipeline reported tests."""
    suites = _listed(summary, "test_suites")
    return Report(tuple(map(_suite, suites))) if suites else None


def _suite(entry: Any) -> Suite:
    suite = json_object(entry, "suite of tests")
    return Suite(
        name=short(text_or_empty(suite, "name")),
        seconds=seconds(suite.get("total_time")) or 0.0,
        counts={status: integer(suite, key) for status, key in _COUNTS.items()},
        jobs=tuple(integer({"id": number}, "id") for number in _listed(suite, "build_ids")),
        broken=bool(suite.get("suite_error")),
    )


def failed_cases(detail: Json, *, unknown: Unknown) -> list[Case]:
    """The tests that failed, or broke, in a whole report, each once."""
    found: dict[Case, None] = {}
    for entry in _listed(detail, "test_suites"):
        suite = json_object(entry, "suite of tests")
        name = short(text_or_empty(suite, "name"))
        for one in _listed(suite, "test_cases"):
            case = json_object(one, "test")
            status = text(case, "status")
            if status in _FAILURES:
                classname, own = text_or_empty(case, "classname"), text_or_empty(case, "name")
                found[Case(name, short(classname), short(own))] = None
            elif status not in _OTHERS:
                unknown("test_status")
    return list(found)


def _listed(entry: Json, key: str) -> list[Any]:
    """The list under *key*: an answer without it says nothing about tests."""
    found = entry.get(key)
    if not isinstance(found, list):
        raise BadAnswer(f"{key} should be a list, got {type(found).__name__}")
    return found
